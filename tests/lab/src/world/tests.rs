//! What the world must do, whoever looks: time, locks, the ledger, faults, packages, power, backups.

use super::*;
use crate::api::ApiRequest;
use crate::faults::{Fault, RequestFault, TaskFault, UpgradeFault};

fn world() -> World {
    let slow =
        Durations { snapshot: 1_000, backup: 5_000, upgrade: 10_000, upgrade_per_package: 0, ..Durations::quick() };
    World::builder()
        .durations(slow)
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .standalone("edge1")
        .node("pve1", |n| n.pending(4))
        .ct("pve1", 101, |ct| ct.name("web").pending(3))
        .ct("pve1", 102, |ct| ct.no_snapshots().pending(1).unknown(2))
        .ct("pve2", 103, |ct| ct.stopped().onboot())
        .vm("pve2", 201, |vm| vm.os(Os::Ubuntu2404).package("linux-image", "6.8.0-85", "6.8.0-90"))
        .ct("edge1", 101, |ct| ct.name("other"))
        .build()
}

fn ct(vmid: u32) -> MachineId {
    MachineId::guest("lab", vmid)
}

fn by() -> Asker {
    Asker::root()
}

fn exit<'a>(world: &'a World, upid: &str) -> Option<&'a str> {
    world.task(upid).expect("the task is remembered").exit.as_deref()
}

fn get(world: &mut World, node: &str, path: &str) -> crate::api::ApiAnswer {
    let token = world.realm_of(node).expect("a realm").tokens[0].clone();
    world.api(world.now(), &ApiRequest::new(node, "GET", path).token(&token))
}

fn post(world: &mut World, node: &str, path: &str, fields: &[(&str, &str)]) -> crate::api::ApiAnswer {
    let token = world.realm_of(node).expect("a realm").tokens[0].clone();
    let request = ApiRequest::new(node, "POST", path).token(&token);
    let request = fields.iter().fold(request, |r, (k, v)| r.field(k, *v));
    world.api(world.now(), &request)
}

#[test]
fn the_same_seed_makes_the_same_world() {
    assert_eq!(world(), world());
    let other = World::builder().seed(2).standalone("pve1").build();
    let one = World::builder().seed(1).standalone("pve1").build();
    assert_ne!(other.nodes["pve1"].machine.boot_id, one.nodes["pve1"].machine.boot_id);
}

#[test]
fn a_snapshot_is_complete_and_its_lock_gone_only_when_its_task_ends() {
    let mut w = world();
    let upid = w.create_snapshot(500, &ct(101), "before", "why", &by()).unwrap();
    w.advance(1_499);
    let guest = w.guest(&ct(101)).unwrap();
    assert_eq!(guest.lock.as_deref(), Some("snapshot"));
    assert_eq!(guest.snapshots[0].state.as_deref(), Some("prepare"));
    assert_eq!(exit(&w, &upid), None);
    w.advance(1_500);
    let guest = w.guest(&ct(101)).unwrap();
    assert_eq!((guest.lock.as_deref(), guest.snapshots[0].state.as_deref()), (None, None));
    assert_eq!((exit(&w, &upid), w.task(&upid).unwrap().ended), (Some("OK"), Some(1_500)));
}

#[test]
fn time_does_not_go_back_and_what_is_due_happens_at_its_own_time() {
    let mut w = world();
    let upid = w.create_snapshot(0, &ct(101), "one", "", &by()).unwrap();
    assert_eq!(w.next_due(), Some(1_000));
    w.advance(60_000);
    assert_eq!(w.task(&upid).unwrap().ended, Some(1_000), "not when somebody looked");
    w.advance(5);
    assert_eq!(w.now(), 60_000);
    assert_eq!(w.next_due(), None);
}

#[test]
fn what_stands_against_a_snapshot_shows_in_its_task() {
    let mut w = world();
    let upid = w.create_snapshot(0, &ct(102), "a1", "", &by()).unwrap();
    assert_eq!(exit(&w, &upid), Some("snapshot feature is not available"));
    let first = w.create_snapshot(0, &ct(101), "a1", "", &by()).unwrap();
    let locked = w.create_snapshot(10, &ct(101), "a2", "", &by()).unwrap();
    assert_eq!(exit(&w, &locked), Some("CT is locked (snapshot)"));
    w.settle();
    assert_eq!(exit(&w, &first), Some("OK"));
    let again = w.create_snapshot(w.now(), &ct(101), "a1", "", &by()).unwrap();
    assert_eq!(exit(&w, &again), Some("snapshot name 'a1' already used"));
    assert!(w.create_snapshot(w.now(), &ct(101), "current", "", &by()).is_err());
    assert_eq!(w.ledger.count(Act::SnapshotCreate, "101"), 3, "the reserved name was refused at once");
    assert_eq!(w.ledger.repeated().len(), 1, "a1 on 101 was asked for twice");
}

#[test]
fn a_rollback_brings_back_packages_and_leaves_the_guest_off() {
    let mut w = world();
    w.create_snapshot(0, &ct(101), "before", "", &by()).unwrap();
    let now = w.settle();
    let number = w.begin_upgrade(now, &ct(101), Some("job"), &by()).unwrap();
    let now = w.settle();
    assert_eq!(w.finished_upgrade(&ct(101), number).unwrap().exit, Some(0));
    assert!(w.pending(&ct(101)).is_empty());
    let upid = w.rollback(now, &ct(101), "before", false, &by()).unwrap();
    assert_eq!(w.guest(&ct(101)).unwrap().lock.as_deref(), Some("rollback"));
    w.settle();
    assert_eq!(exit(&w, &upid), Some("OK"));
    let guest = w.guest(&ct(101)).unwrap();
    assert_eq!((guest.power, guest.disk_generation), (Power::Stopped, 1));
    assert_eq!(w.pending(&ct(101)).len(), 3);
}

#[test]
fn deleting_a_snapshot_joins_its_neighbours() {
    let mut w = world();
    for name in ["s1", "s2", "s3"] {
        let now = w.now();
        w.create_snapshot(now, &ct(101), name, "", &by()).unwrap();
        w.settle();
    }
    w.delete_snapshot(w.now(), &ct(101), "s2", &by()).unwrap();
    w.settle();
    let guest = w.guest(&ct(101)).unwrap();
    let chain: Vec<_> = guest.snapshots.iter().map(|s| (s.name.as_str(), s.parent.as_deref())).collect();
    assert_eq!(chain, [("s1", None), ("s3", Some("s1"))]);
    assert_eq!(guest.parent.as_deref(), Some("s3"));
}

#[test]
fn backups_of_one_node_take_turns_and_those_of_two_do_not() {
    let mut w = world();
    let order = |vmid| BackupOrder {
        vmids: vec![vmid],
        storage: "local".into(),
        mode: "snapshot".into(),
        compress: Some("zstd".into()),
        notes: Some("key {{guestname}} {{vmid}} {{node}} {{cluster}}".into()),
        protected: false,
        remove: false,
        lock_wait_min: 180,
        line: String::new(),
    };
    let first = w.back_up(0, "pve1", order(101), &by());
    let second = w.back_up(10, "pve1", order(102), &by());
    let elsewhere = w.back_up(10, "pve2", order(103), &by());
    assert_eq!(w.guest(&ct(101)).unwrap().lock.as_deref(), Some("backup"));
    assert_eq!(w.guest(&ct(102)).unwrap().lock, None, "it waits for the node's lock");
    w.settle();
    let ended = |upid: &str| w.task(upid).unwrap().ended;
    assert_eq!((ended(&first), ended(&second), ended(&elsewhere)), (Some(5_000), Some(10_000), Some(5_010)));
    let notes: Vec<_> = w.realms["lab"].backups.iter().filter_map(|b| b.notes.clone()).collect();
    assert_eq!(notes, ["key web 101 pve1 lab", "key ct103 103 pve2 lab", "key ct102 102 pve1 lab"]);
    assert_eq!(w.ledger.count_key(Act::Backup, "key web 101 pve1 lab"), 1);
    assert_eq!(w.ledger.count(Act::BackupSuspended, "102"), 1, "no snapshots there, so it was suspended");
    assert_eq!(w.ledger.count(Act::BackupSuspended, "101"), 0);
    assert!(w.ledger.of(Act::Backup, "*").all(|e| e.outcome == Outcome::Done));
}

#[test]
fn a_backup_waits_for_the_lock_no_longer_than_it_was_told() {
    let mut w = world();
    w.plant(Fault::task("vzdump", 101, TaskFault::Hang));
    post(&mut w, "pve1", "/nodes/pve1/vzdump", &[("vmid", "101"), ("storage", "local")]);
    let fields = [("vmid", "102"), ("storage", "local"), ("lockwait", "2")];
    let upid = post(&mut w, "pve1", "/nodes/pve1/vzdump", &fields).data().as_str().unwrap().to_owned();
    w.advance(119_999);
    assert_eq!(exit(&w, &upid), None);
    w.advance(120_000);
    assert_eq!(exit(&w, &upid), Some("can't acquire lock '/var/run/vzdump.lock' - got timeout"));
    assert_eq!(w.ledger.of(Act::Backup, "102").count(), 1);
    assert!(matches!(w.ledger.of(Act::Backup, "102").next().unwrap().outcome, Outcome::Failed(_)));
}

#[test]
fn remove_is_on_by_default_and_deletes_by_the_storages_retention() {
    let mut w = world();
    w.realms.get_mut("lab").unwrap().storages[0].keep_last = Some(1);
    for remove in ["0", "0", "1"] {
        let fields = [("vmid", "101"), ("storage", "local"), ("remove", remove)];
        post(&mut w, "pve1", "/nodes/pve1/vzdump", &fields);
        w.settle();
    }
    assert_eq!(w.realms["lab"].backups.len(), 1);
    assert_eq!(w.ledger.count(Act::BackupDelete, "101"), 2);
    let answer = post(&mut w, "pve1", "/nodes/pve1/vzdump", &[("vmid", "103")]);
    assert_eq!(*answer.data(), "OK", "a guest of another node is passed over in silence");
}

#[test]
fn a_failed_task_leaves_its_lock_only_where_it_is_told_to() {
    let fail = |leave_lock| TaskFault::Fail { text: "zfs error".into(), leave_lock };
    for leave in [false, true] {
        let mut w = world();
        w.plant(Fault::task("*snapshot", 101, fail(leave)));
        let upid = w.create_snapshot(0, &ct(101), "s1", "", &by()).unwrap();
        w.settle();
        assert_eq!(exit(&w, &upid), Some("zfs error"));
        assert_eq!(w.guest(&ct(101)).unwrap().lock.is_some(), leave);
        assert_eq!(w.guest(&ct(101)).unwrap().snapshots.is_empty(), !leave);
    }
}

#[test]
fn a_vanished_worker_leaves_no_word_of_how_it_went() {
    let mut w = world();
    w.plant(Fault::task("vzsnapshot", 101, TaskFault::DoneButVanished));
    let upid = w.create_snapshot(0, &ct(101), "s1", "", &by()).unwrap();
    w.settle();
    assert_eq!(exit(&w, &upid), Some("unexpected status"));
    assert_eq!(w.guest(&ct(101)).unwrap().snapshots[0].state, None, "it was done all the same");
    w.plant(Fault::task("vzsnapshot", 101, TaskFault::Vanish));
    w.create_snapshot(w.now(), &ct(101), "s2", "", &by()).unwrap();
    w.settle();
    assert_eq!(w.guest(&ct(101)).unwrap().lock.as_deref(), Some("snapshot"));
}

#[test]
fn what_is_pending_is_what_the_lists_of_the_last_refresh_say() {
    let mut w = world();
    assert_eq!(w.pending(&ct(102)).len(), 1);
    let done = w.refresh_lists(0, &ct(102), &by()).unwrap();
    assert_eq!(w.pending(&ct(102)).len(), 1, "not before it is done");
    assert!(matches!(w.begin_upgrade(0, &ct(102), None, &by()), Err(PackageError::Locked(LockHolder::Refresh))));
    w.advance(done);
    assert_eq!(w.pending(&ct(102)).len(), 3);
    assert_eq!(w.machine(&ct(102)).unwrap().packages.lists_refreshed, Some(i64::try_from(done).unwrap()));
    assert!(matches!(w.refresh_lists(done, &ct(103), &by()), Err(PackageError::NotUp(_))));
    assert_eq!(w.ledger.count(Act::RefreshLists, "102"), 1);
}

#[test]
fn a_held_package_is_not_pending() {
    let mut w = world();
    let first = w.pending(&ct(101))[0].name.clone();
    w.machine_mut(&ct(101)).unwrap().packages.held.insert(first.clone());
    assert!(w.pending(&ct(101)).iter().all(|c| c.name != first));
}

#[test]
fn an_upgrade_holds_the_lock_and_changes_packages_at_its_end() {
    let mut w = world();
    let before = w.pending(&ct(101));
    let number = w.begin_upgrade(0, &ct(101), Some("job-1"), &by()).unwrap();
    assert!(matches!(w.begin_upgrade(5, &ct(101), Some("job-2"), &by()), Err(PackageError::Locked(_))));
    w.advance(9_999);
    assert_eq!(w.pending(&ct(101)), before);
    w.advance(10_000);
    let finished = w.finished_upgrade(&ct(101), number).unwrap();
    assert_eq!((&finished.changes, finished.exit), (&before, Some(0)));
    assert_eq!(w.begin_upgrade(10_000, &ct(101), None, &by()), Err(PackageError::NothingPending));
    assert_eq!(w.ledger.count(Act::Upgrade, "101"), 1, "refused ones don't count");
    assert_eq!(w.ledger.of(Act::Upgrade, "101").count(), 3, "but they are there");
}

#[test]
fn upgrades_go_wrong_as_planted() {
    let mut w = world();
    w.plant(Fault::upgrade("101", UpgradeFault::Exit { code: 100 }));
    w.plant(Fault::upgrade("lab/102", UpgradeFault::HalfConfigure { code: 1 }));
    w.plant(Fault::upgrade("pve1", UpgradeFault::Hang));
    let exits = w.begin_upgrade(0, &ct(101), None, &by()).unwrap();
    let breaks = w.begin_upgrade(0, &ct(102), None, &by()).unwrap();
    w.begin_upgrade(0, &MachineId::node("pve1"), None, &by()).unwrap();
    w.settle();
    assert_eq!(w.finished_upgrade(&ct(101), exits).unwrap().exit, Some(100));
    assert_eq!(w.pending(&ct(101)).len(), 3, "nothing was changed");
    assert_eq!(w.finished_upgrade(&ct(102), breaks).unwrap().exit, Some(1));
    assert_eq!(w.machine(&ct(102)).unwrap().packages.half_configured.len(), 1);
    assert!(matches!(w.refresh_lists(w.now(), &MachineId::node("pve1"), &by()), Err(PackageError::Locked(_))));
    assert!(w.faults.unused().is_empty());
    let fixed = w.configure_packages(w.now(), &ct(102), &by()).unwrap();
    assert_eq!(fixed.len(), 1);
    assert!(w.machine(&ct(102)).unwrap().packages.half_configured.is_empty());
}

#[test]
fn a_killed_upgrade_has_done_a_part_and_left_one_half_done() {
    let mut w = world();
    let number = w.begin_upgrade(0, &ct(101), Some("job"), &by()).unwrap();
    w.abort_upgrade(5_000, &ct(101), number);
    let packages = &w.machine(&ct(101)).unwrap().packages;
    let finished = w.finished_upgrade(&ct(101), number).unwrap();
    assert_eq!((finished.exit, finished.changes.len(), packages.half_configured.len()), (None, 2, 1));
    assert_eq!((w.pending(&ct(101)).len(), &packages.lock), (1, &None));
    w.settle();
    assert_eq!(w.machine(&ct(101)).unwrap().packages.finished.len(), 1, "its end does not come a second time");
    assert!(matches!(w.begin_upgrade(w.now(), &ct(101), None, &by()), Err(PackageError::Interrupted(_))));
}

#[test]
fn stopping_a_guest_kills_its_upgrade_and_a_start_is_a_new_boot() {
    let mut w = world();
    let boot = w.machine(&ct(101)).unwrap().boot_id.clone();
    w.begin_upgrade(0, &ct(101), None, &by()).unwrap();
    w.stop_guest(10, &ct(101), &by()).unwrap();
    let now = w.settle();
    assert!(!w.is_up(&ct(101)));
    assert_eq!(w.machine(&ct(101)).unwrap().packages.finished[0].exit, None);
    w.start_guest(now, &ct(101), &by()).unwrap();
    w.settle();
    assert!(w.is_up(&ct(101)));
    assert_ne!(w.machine(&ct(101)).unwrap().boot_id, boot);
    assert_eq!(w.machine(&ct(101)).unwrap().packages.lock, None);
}

#[test]
fn a_nodes_reboot_takes_everything_with_it_and_brings_back_what_boots() {
    let mut w = world();
    let node = MachineId::node("pve2");
    let (boot, guest_boot) = (w.machine(&node).unwrap().boot_id.clone(), w.machine(&ct(201)).unwrap().boot_id.clone());
    let cut = w.create_snapshot(0, &ct(201), "s1", "", &by()).unwrap();
    assert!(post(&mut w, "pve1", "/nodes/pve2/status", &[("command", "reboot")]).data().is_null());
    assert_eq!(exit(&w, &cut), Some("unexpected status"));
    assert!(!w.is_up(&node) && !w.is_up(&ct(201)));
    assert!(w.quorate("lab"), "two of three are left");
    assert_eq!(get(&mut w, "pve1", "/nodes/pve2/lxc").status, 595);
    assert!(get(&mut w, "pve2", "/version").lost, "it does not answer itself");
    w.settle();
    assert_ne!(w.machine(&node).unwrap().boot_id, boot);
    assert!(w.is_up(&ct(103)), "it boots with its node");
    assert!(!w.is_up(&ct(201)), "it does not");
    assert_eq!(w.machine(&ct(201)).unwrap().boot_id, guest_boot);
    assert_eq!(w.ledger.count(Act::Reboot, "pve2"), 1);
}

#[test]
fn a_new_kernel_waits_for_a_reboot() {
    let mut w = world();
    let node = MachineId::node("pve1");
    w.begin_upgrade(0, &node, Some("host"), &by()).unwrap();
    w.begin_upgrade(0, &ct(201), None, &by()).unwrap();
    w.settle();
    let machine = w.machine(&node).unwrap();
    assert_eq!((machine.kernel_running.as_str(), machine.kernel_installed.as_str()), ("6.17.2-1-pve", "6.17.4-1-pve"));
    assert!(machine.reboot_required.is_empty(), "a stock node does not write /run/reboot-required");
    assert!(w.machine(&ct(201)).unwrap().reboot_required.contains("linux-image"), "Ubuntu does");
    w.reboot_machine(w.now(), &ct(201), &by());
    assert_eq!(w.machine(&ct(201)).unwrap().kernel_running, "6.8.0-90-generic");
}

#[test]
fn a_guest_that_moves_is_found_on_its_new_node() {
    let mut w = world();
    assert!(w.migrate_guest(0, &ct(101), "pve2", false, &by()).is_err(), "it runs");
    assert!(w.migrate_guest(0, &ct(101), "edge1", true, &by()).is_err(), "that is no node of its cluster");
    w.migrate_guest(0, &ct(101), "pve2", true, &by()).unwrap();
    w.settle();
    assert_eq!(w.node_of(&ct(101)).as_deref(), Some("pve2"));
    let gone = get(&mut w, "pve1", "/nodes/pve1/lxc/101/status/current");
    assert_eq!(gone.reason, "Configuration file 'nodes/pve1/lxc/101.conf' does not exist");
    assert_eq!(get(&mut w, "pve1", "/nodes/pve2/lxc/101/status/current").status, 200);
}

#[test]
fn realms_know_nothing_of_each_other() {
    let mut w = world();
    assert_eq!(get(&mut w, "edge1", "/nodes/edge1/lxc/101/config").data()["hostname"], "other");
    assert_eq!(get(&mut w, "edge1", "/nodes/pve1/lxc").status, 500);
    let token = w.realms["lab"].tokens[0].clone();
    let stranger = ApiRequest::new("edge1", "GET", "/version").token(&token);
    assert_eq!(w.api(0, &stranger).status, 401);
}

#[test]
fn reads_never_enter_the_ledger_and_change_nothing() {
    let mut w = world();
    let before = w.clone();
    for path in
        ["/version", "/nodes", "/cluster/resources", "/nodes/pve1/lxc", "/nodes/pve1/apt/update", "/nodes/pve1/tasks"]
    {
        assert_eq!(get(&mut w, "pve1", path).status, 200, "{path}");
    }
    assert!(w.ledger.entries().is_empty());
    assert_eq!(w, before);
}

#[test]
fn a_lost_answer_is_not_a_lost_act() {
    let mut w = world();
    w.plant(Fault::request("POST", "/nodes/*/lxc/101/snapshot", RequestFault::Lost));
    let fields = [("snapname", "s1")];
    assert!(post(&mut w, "pve1", "/nodes/pve1/lxc/101/snapshot", &fields).lost);
    w.settle();
    assert_eq!(w.guest(&ct(101)).unwrap().snapshots.len(), 1);
    assert!(w.ledger.entries()[0].answer_lost);
    assert!(!post(&mut w, "pve1", "/nodes/pve1/lxc/101/snapshot", &fields).lost, "it was lost once");
    assert_eq!(w.ledger.repeated().len(), 1);
}

#[test]
fn a_request_that_fails_before_it_is_executed_does_nothing() {
    let mut w = world();
    w.plant(
        Fault::request("*", "/nodes/pve1/lxc/101/status/stop", RequestFault::Status { code: 502, reason: None }).nth(2),
    );
    w.plant(Fault::request("GET", "/version", RequestFault::Silence { ms: 30_000 }));
    let stop = |w: &mut World| post(w, "pve1", "/nodes/pve1/lxc/101/status/stop", &[]);
    assert_eq!(stop(&mut w).status, 200);
    let answer = stop(&mut w);
    assert_eq!((answer.status, answer.reason.as_str(), answer.body), (502, "Bad Gateway", None));
    assert_eq!(w.ledger.entries().len(), 1);
    let silent = get(&mut w, "pve1", "/version");
    assert!(silent.lost && silent.delay_ms == 30_000);
}

#[test]
fn a_token_may_do_what_both_it_and_its_user_may() {
    let token = |acl| Token { user: "auto@pve".into(), id: "t".into(), secret: "s".into(), acl };
    let user: &[&str] = &["VM.Audit", "VM.Snapshot"];
    let mut w = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct)
        .ct("pve1", 102, |ct| ct)
        .user("pve1", "auto@pve", Acl::of(&[("/", user)]))
        .token("pve1", token(Some(Acl::of(&[("/vms/101", &["VM.Audit", "VM.Snapshot", "VM.PowerMgmt"])]))))
        .build();
    let own = w.realms["pve1"].tokens[1].clone();
    let mut ask =
        |method: &str, path: &str| w.api(0, &ApiRequest::new("pve1", method, path).token(&own).field("snapname", "s1"));
    assert_eq!(ask("POST", "/nodes/pve1/lxc/101/snapshot").status, 200);
    let denied = ask("POST", "/nodes/pve1/lxc/102/snapshot");
    assert_eq!(denied.reason, "Permission check failed (/vms/102, VM.Snapshot)");
    assert_eq!(ask("POST", "/nodes/pve1/lxc/101/status/stop").status, 403, "its user may not");
    let request = ApiRequest::new("pve1", "GET", "/nodes/pve1/lxc").token(&own);
    assert_eq!(w.api(0, &request).data().as_array().unwrap().len(), 1, "it sees one of two");
}

#[test]
fn what_is_refused_at_once_is_in_the_ledger_as_refused() {
    let mut w = world();
    for (path, fields) in [
        ("/nodes/pve1/lxc/101/snapshot", [("snapname", "1 bad")]),
        ("/nodes/pve1/lxc/999/status/stop", [("bogus", "1")]),
        ("/nodes/pve1/qemu/201/agent/ping", [("bogus", "1")]),
    ] {
        assert!(post(&mut w, "pve1", path, &fields).status >= 400);
    }
    let all: Vec<_> = w.ledger.entries().iter().map(|e| (e.act, e.machine.as_str(), e.key.as_deref())).collect();
    assert_eq!(all, [(Act::SnapshotCreate, "101", Some("1 bad")), (Act::Stop, "999", None)]);
    let why = Outcome::Refused("Parameter verification failed.".into());
    assert!(w.ledger.entries().iter().all(|e| e.outcome == why));
    assert_eq!(w.ledger.count(Act::SnapshotCreate, "101"), 0);
    assert!(post(&mut w, "pve1", "/nodes/pve1/lxc/103/status/shutdown", &[]).status == 500);
}

#[test]
fn archives_of_the_same_second_have_names_of_their_own() {
    let mut w = world();
    w.durations.backup = 10;
    for _ in 0..3 {
        post(&mut w, "pve1", "/nodes/pve1/vzdump", &[("vmid", "101"), ("storage", "local"), ("remove", "0")]);
        w.settle();
    }
    let names: std::collections::BTreeSet<_> = w.realms["lab"].backups.iter().map(|b| &b.volid).collect();
    assert_eq!(names.len(), 3);
}

#[test]
fn the_agent_has_three_ways_of_not_answering() {
    let mut w = World::builder()
        .standalone("pve1")
        .vm("pve1", 201, |vm| vm.no_agent())
        .vm("pve1", 202, |vm| vm.silent_agent())
        .vm("pve1", 203, |vm| vm.stopped())
        .vm("pve1", 204, |vm| vm.config("agent", "enabled=1,fstrim_cloned_disks=1"))
        .build();
    let mut ping = |vmid: u32| post(&mut w, "pve1", &format!("/nodes/pve1/qemu/{vmid}/agent/ping"), &[]);
    assert_eq!(ping(201).reason, "No QEMU guest agent configured");
    let silent = ping(202);
    assert_eq!(
        (silent.reason.as_str(), silent.delay_ms),
        ("QEMU guest agent is not running", Durations::quick().agent_timeout)
    );
    assert_eq!(ping(203).reason, "VM 203 is not running");
    assert_eq!(ping(204).status, 200);
}

#[test]
fn a_guest_under_ha_follows_later() {
    let mut w = world();
    let add = [("sid", "ct:101"), ("state", "started")];
    assert!(post(&mut w, "pve1", "/cluster/ha/resources", &add).data().is_null());
    let upid = w.shutdown_guest(0, &ct(101), None, false, &by()).unwrap();
    assert!(upid.contains(":hastop:101:"));
    w.advance(w.durations.stop);
    assert_eq!(exit(&w, &upid), Some("OK"));
    assert!(w.is_up(&ct(101)), "the task is over, the guest still runs");
    w.settle();
    assert!(!w.is_up(&ct(101)));
}

#[test]
fn the_ledger_is_one_json_object_a_line() {
    let mut w = world();
    w.create_snapshot(7, &ct(101), "s1", "", &by()).unwrap();
    w.settle();
    let text = w.ledger.to_ndjson();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (line["act"].as_str(), line["key"].as_str(), line["at"].as_u64()),
        (Some("snapshot-create"), Some("s1"), Some(7))
    );
    assert_eq!((line["outcome"].as_str(), line["by"].as_str()), (Some("done"), Some("root@pam")));
}

#[test]
fn a_nodes_memory_of_tasks_is_bounded() {
    let mut w = World::builder().standalone("pve1").ct("pve1", 102, |ct| ct.no_snapshots()).build();
    for _ in 0..1_100 {
        w.create_snapshot(0, &MachineId::guest("pve1", 102), "s1", "", &by()).unwrap();
    }
    assert_eq!(w.nodes["pve1"].tasks.len(), 1_000);
    let upids: std::collections::BTreeSet<_> = w.nodes["pve1"].tasks.iter().map(|t| &t.upid).collect();
    assert_eq!(upids.len(), 1_000, "each has an identifier of its own");
}
