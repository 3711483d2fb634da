//! What goes wrong on the way: lost answers, cut connections, tasks that fail. Nothing is done twice for it.

use proxmaint_lab::faults::{CommandFault, Fault, RequestFault, TaskFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Storage, StorageState, World, WorldBuilder};

use crate::support::{Site, guest, side_by_side};

/// Each with a fault of its own.
#[test]
fn one_fault_each() {
    side_by_side(&[
        ("the_answer_to_a_snapshot_is_lost_after_it_was_taken", the_answer_to_a_snapshot_is_lost_after_it_was_taken),
        ("connections_are_cut_in_the_middle_of_commands", connections_are_cut_in_the_middle_of_commands),
        ("reads_that_fail_for_a_moment_are_asked_again", reads_that_fail_for_a_moment_are_asked_again),
        ("a_node_whose_api_is_gone_fails_and_is_not_touched", a_node_whose_api_is_gone_fails_and_is_not_touched),
        ("a_snapshot_that_fails_is_replaced_by_a_backup", a_snapshot_that_fails_is_replaced_by_a_backup),
        ("a_guest_that_no_way_protects_is_blocked", a_guest_that_no_way_protects_is_blocked),
        ("a_snapshot_whose_worker_died_is_looked_for", a_snapshot_whose_worker_died_is_looked_for),
    ]);
}

fn edge() -> WorldBuilder {
    World::builder().standalone("edge1").node("edge1", |node| node.pending(1)).ct("edge1", 101, |ct| ct.pending(2)).vm(
        "edge1",
        201,
        |vm| vm.pending(1),
    )
}

fn the_answer_to_a_snapshot_is_lost_after_it_was_taken() {
    let lost = Fault::request("POST", "/nodes/*/101/snapshot", RequestFault::Lost);
    let site = Site::new(edge().fault(lost).build());
    site.run(&["run"]).expect(0).says(&["can't tell how its snapshot ended; looking"]);
    site.assert_faults_struck();
    assert_eq!(site.count(Act::SnapshotCreate, "101"), 1, "{}", site.ledger_text());
    site.assert_clean();
}

fn connections_are_cut_in_the_middle_of_commands() {
    let mut world = edge();
    for n in [2, 5, 9, 13, 17] {
        world = world.fault(Fault::command("edge1", "*", CommandFault::Cut { after_ms: 20 }).nth(n));
    }
    for n in [3, 7, 11, 15] {
        world = world.fault(Fault::command("edge1", "*", CommandFault::CutAtEnd).nth(n));
    }
    for n in [2, 4] {
        world = world.fault(Fault::command("201", "*", CommandFault::CutAtEnd).nth(n));
    }
    let site = Site::new(world.build());
    site.run(&["run"]).expect(0);
    site.assert_clean();
    let cuts = site.lab().ssh.servers().map(|(_, server)| server.stats().cuts).sum::<usize>();
    assert!(cuts >= 4, "only {cuts} connections were cut");
}

fn reads_that_fail_for_a_moment_are_asked_again() {
    let mut world = edge();
    for (path, nth) in
        [("/cluster/status", 1), ("/nodes/*/lxc/101/*", 3), ("/nodes/*/tasks/*", 2), ("/nodes/*/qemu/*", 2)]
    {
        world = world.fault(Fault::request("GET", path, RequestFault::Status { code: 502, reason: None }).nth(nth));
    }
    let site = Site::new(world.build());
    site.run(&["run"]).expect(0);
    site.assert_faults_struck();
    site.assert_clean();
}

fn a_node_whose_api_is_gone_fails_and_is_not_touched() {
    let down = Fault::request("*", "*", RequestFault::Refuse).times(0);
    let site = Site::new(World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.pending(1)).fault(down).build());
    site.run(&["run"]).expect(3).says(&["edge1"]);
    site.assert_untouched();
    site.clear_faults();
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

fn a_snapshot_that_fails_is_replaced_by_a_backup() {
    let full =
        Fault::task("vzsnapshot", 101, TaskFault::Fail { text: "zfs error: out of space".into(), leave_lock: false });
    let site = Site::new(edge().fault(full).build());
    site.run(&["run"]).expect(0);
    site.assert_faults_struck();
    site.assert_clean();
    assert_eq!((site.done(Act::Backup, "101"), site.done(Act::Upgrade, "101")), (1, 1), "{}", site.ledger_text());
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["kept"][0]["kind"], "backup");
}

fn a_guest_that_no_way_protects_is_blocked() {
    let nothing_fits = Storage {
        name: "local".into(),
        kind: "dir".into(),
        content: ["backup"].map(str::to_owned).into(),
        shared: false,
        enabled: true,
        keep_last: None,
        on: [("edge1".to_owned(), StorageState { active: true, total: 1 << 30, used: 1 << 30 })].into(),
    };
    let world = World::builder()
        .standalone("edge1")
        .storage("edge1", nothing_fits)
        .ct("edge1", 101, |ct| ct.pending(1))
        .fault(Fault::task(
            "vzsnapshot",
            101,
            TaskFault::Fail { text: "zfs error: out of space".into(), leave_lock: false },
        ))
        .build();
    let site = Site::new(world);
    site.run(&["run"]).expect(3).says(&["blocked", "out of space"]);
    assert_eq!((site.count(Act::Backup, "101"), site.count(Act::Upgrade, "101")), (0, 0), "{}", site.ledger_text());
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["state"], "blocked");
}

fn a_snapshot_whose_worker_died_is_looked_for() {
    let died = Fault::task("vzsnapshot", 101, TaskFault::DoneButVanished);
    let site = Site::new(edge().fault(died).build());
    site.run(&["run"]).expect(0).says(&["can't tell how its snapshot ended; looking"]);
    site.assert_faults_struck();
    assert_eq!(site.count(Act::SnapshotCreate, "101"), 1, "{}", site.ledger_text());
    assert!(site.judge().left.is_empty(), "{}", site.judge());
}
