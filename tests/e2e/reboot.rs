//! Nodes that are rebooted: their guests go down in order and run again, one node at a time, and nothing that was borrowed is
//! lost, whenever the program is killed.

use proxmaint_lab::faults::{Fault, RequestFault, TaskFault};
use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::world::{Asker, BackupOrder, Durations, MachineId, Os, World, WorldBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Site, host, side_by_side};

/// The kernel that the fourth of a node's pending packages brings.
const NEWER: &str = "6.17.4-1-pve";

/// A node that gets a new kernel, with guests that it starts by itself and guests that it doesn't.
fn with_guests() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(4))
        .ct("edge1", 101, |ct| ct.onboot())
        .ct("edge1", 102, |ct| ct.config("startup", "order=2"))
        .ct("edge1", 103, |ct| ct.stopped())
        .ct("edge1", 104, |ct| ct.config("startup", "order=1"))
        .vm("edge1", 201, |vm| vm.os(Os::Ubuntu2404).pending(1))
}

fn running(site: &Site, node: &str) -> Vec<u32> {
    site.with(|world| {
        let realm = world.realm_of(node).expect("a realm");
        realm.guests.values().filter(|guest| guest.node == node && guest.running()).map(|guest| guest.vmid).collect()
    })
}

/// The node's boot and kernel.
fn boot(site: &Site, node: &str) -> (String, String) {
    let machine = site.with(|world| world.machine(&MachineId::node(node)).expect("a machine").clone());
    (machine.boot_id, machine.kernel_running)
}

/// The acts of power, in order.
fn power(site: &Site) -> Vec<Entry> {
    let of_power = |entry: &Entry| matches!(entry.act, Act::Start | Act::Shutdown | Act::Stop | Act::Reboot);
    site.changes().into_iter().filter(of_power).collect()
}

fn owed(site: &Site) -> Value {
    let view = site.status(&[]);
    let owed = host(&view, "edge1")["owed"].clone();
    owed.as_array().expect("a list").iter().map(|owed| json!([owed["owed"], owed["guests"]])).collect()
}

/// The node was rebooted once, and all that ran before runs again.
#[track_caller]
fn assert_rebooted(site: &Site, before: &(String, String)) {
    let after = boot(site, "edge1");
    assert_ne!(before.0, after.0, "{}", site.ledger_text());
    assert_eq!(after.1, NEWER);
    assert_eq!(site.count(Act::Reboot, "edge1"), 1, "{}", site.ledger_text());
    assert_eq!(running(site, "edge1"), [101, 102, 104, 201], "{}", site.ledger_text());
    assert_eq!(site.count(Act::Stop, "*"), 0, "nothing is powered off hard");
    assert_eq!(owed(site), json!([]));
}

#[test]
fn a_node_with_a_newer_kernel_is_rebooted_and_its_guests_run_again() {
    let site = Site::new(with_guests().build());
    let before = boot(&site, "edge1");
    site.run(&["run", "--dry-run", "--reboot"]).expect(0).says(&["reboot"]);
    site.assert_untouched();
    site.run(&["run", "--reboot"]).expect(0).says(&["edge1", &format!("was rebooted into kernel {NEWER}")]);
    assert_rebooted(&site, &before);
    let acts = power(&site);
    let down = acts.iter().position(|entry| entry.act == Act::Reboot).expect("a reboot");
    let mut shut: Vec<&str> = acts[..down].iter().map(|entry| entry.machine.as_str()).collect();
    shut.sort_unstable();
    assert_eq!(shut, ["101", "102", "104", "201"]);
    assert!(acts[..down].iter().all(|entry| entry.act == Act::Shutdown));
    // The node starts its own; the others follow in their order.
    let up: Vec<(&str, &str)> = acts[down + 1..].iter().map(|e| (e.machine.as_str(), e.by.as_str())).collect();
    let ours = "root@pam!lab";
    assert_eq!(up, [("101", "root@pam"), ("104", ours), ("102", ours), ("201", ours)]);
    let view = site.status(&[]);
    assert_eq!(host(&view, "edge1")["rebooted"], NEWER);
    assert_eq!(host(&view, "edge1")["reboot_wanted"], Value::Null);
    site.assert_clean();
    site.run(&["run", "--reboot"]).expect(0).says(&["nothing to do"]);
    assert_eq!(site.count(Act::Reboot, "edge1"), 1);
}

#[test]
fn a_node_is_rebooted_only_where_it_is_asked_for_and_needed() {
    side_by_side(&[
        ("never", || {
            let site = Site::new(with_guests().build());
            site.run(&["run"]).expect(0).says(&["edge1", "wants a reboot", "6.17.4"]);
            assert_eq!(power(&site), []);
        }),
        ("if_needed", || {
            let world = with_guests().standalone("edge2").node("edge2", |node| node.pending(2));
            let site = Site::new(world.build());
            site.replace("[defaults]\n", "[defaults]\nhost.reboot = \"if-needed\"\n");
            site.run(&["run"]).expect(0);
            assert_eq!((site.count(Act::Reboot, "edge1"), site.count(Act::Reboot, "edge2")), (1, 0));
        }),
        ("never_after_all", || {
            let site = Site::new(with_guests().build());
            site.replace("[defaults]\n", "[defaults]\nhost.reboot = \"always\"\n");
            site.run(&["run", "--reboot", "never"]).expect(2).says(&["--reboot"]);
            site.assert_untouched();
        }),
        ("always", || {
            let world = World::builder().standalone("edge1").ct("edge1", 101, |ct| ct);
            let site = Site::new(world.build());
            site.replace("name = \"edge1\"\n", "name = \"edge1\"\nhost_reboot = \"always\"\n");
            let before = boot(&site, "edge1");
            site.run(&["run"]).expect(0).says(&["was rebooted"]);
            let after = boot(&site, "edge1");
            assert!(before.0 != after.0 && before.1 == after.1, "{before:?} {after:?}");
            assert_eq!((site.count(Act::Reboot, "edge1"), running(&site, "edge1")), (1, vec![101]));
            site.run(&["run"]).expect(0);
            assert_eq!(site.count(Act::Reboot, "edge1"), 2, "once a run");
        }),
    ]);
}

#[test]
fn of_two_nodes_never_two_are_down() {
    let mut world = World::builder();
    for node in ["edge1", "edge2"] {
        world = world.standalone(node).node(node, |node| node.pending(4)).ct(node, 101, |ct| ct.onboot()).ct(
            node,
            102,
            |ct| ct,
        );
    }
    let site = Site::new(world.build());
    site.run(&["run", "--reboot", "--parallel-hosts", "2"]).expect(0);
    let acts = power(&site);
    let first = &acts[0].node;
    let turn: Vec<&str> = acts.iter().map(|entry| entry.node.as_str()).collect();
    let change = turn.iter().position(|node| node != first).expect("both were rebooted");
    assert!(turn[change..].iter().all(|node| node != first), "they took turns:\n{}", site.ledger_text());
    // The second went down when the first had been up again and all its guests ran.
    let up = site.with(|world| world.machine(&MachineId::node(first)).expect("a machine").booted);
    assert!(i64::try_from(acts[change].at).expect("a time") > up);
    for node in ["edge1", "edge2"] {
        assert_eq!((boot(&site, node).1.as_str(), running(&site, node)), (NEWER, vec![101, 102]));
    }
    site.assert_clean();
}

/// A shutdown that is not obeyed, however often.
fn stubborn(vmid: u32) -> Fault {
    let effect = TaskFault::Fail { text: "container did not stop".to_owned(), leave_lock: false };
    Fault::task("vzshutdown", vmid, effect).times(0)
}

/// A guest kept the node from its reboot.
fn kept_from_it() -> (Site, (String, String)) {
    let site = Site::new(with_guests().fault(stubborn(102)).build());
    let before = boot(&site, "edge1");
    let run = site.run(&["run", "--reboot", "--output", "json"]).expect(4);
    assert_eq!(host(&run.ended(), "edge1")["result"], "held");
    assert_eq!(boot(&site, "edge1"), before);
    assert_eq!(site.count(Act::Reboot, "*"), 0);
    assert_eq!(running(&site, "edge1"), [101, 102, 104, 201], "{}", site.ledger_text());
    assert_eq!((site.count(Act::Stop, "*"), owed(&site)), (0, json!([])));
    // The node was not booted, so it starts nothing by itself that would have to be waited for (15 s).
    let acts = power(&site);
    let at = |act: Act| acts.iter().filter(|entry| entry.act == act).map(|entry| entry.at).max().expect("an entry");
    assert!(at(Act::Start) < at(Act::Shutdown) + 12_000, "{}", site.ledger_text());
    site.run(&["status"]).expect(0).says(&["held", "did not obey their shutdown: CT 102", "proxmaint resolve"]);
    (site, before)
}

#[test]
fn a_guest_that_will_not_stop_keeps_the_node_from_its_reboot() {
    side_by_side(&[
        ("retry", || {
            let (site, before) = kept_from_it();
            site.clear_faults();
            site.run(&["resolve", &site.run_name(), "edge1", "--retry"]).expect(0);
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
            assert_eq!(site.done(Act::Upgrade, "edge1"), 1);
        }),
        ("skip", || {
            let (site, before) = kept_from_it();
            let count = power(&site).len();
            site.run(&["resolve", &site.run_name(), "edge1", "--skip"]).expect(0);
            site.run(&["run"]);
            assert_eq!((boot(&site, "edge1"), power(&site).len()), (before, count), "{}", site.ledger_text());
            assert_eq!(host(&site.status(&[]), "edge1")["result"], "skipped");
        }),
        ("run_looks_again", || {
            let (site, before) = kept_from_it();
            site.clear_faults();
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
        }),
    ]);
}

/// Shutdowns and the reboot take long enough for a run to be killed meanwhile.
fn slow() -> Site {
    let durations = Durations { shutdown: 1_200, node_reboot: 2_500, ..Durations::quick() };
    Site::new(with_guests().durations(durations).build())
}

/// Killed while the guests are being shut down.
fn killed_in_shutdown() -> (Site, (String, String)) {
    let site = slow();
    let before = boot(&site, "edge1");
    let working = site.start(&["run", "--reboot"]);
    site.await_begun(Act::Shutdown, "101");
    working.kill();
    let view = site.status(&[]);
    let debt = &host(&view, "edge1")["owed"][0];
    assert_eq!((&debt["owed"], debt["guests"].as_array().map(Vec::len)), (&"start-guests".into(), Some(4)), "{debt}");
    site.run(&["status"]).expect(0).says(&["owed:", "shut down for the node's reboot and to run again", "CT 104"]);
    (site, before)
}

/// Killed while the node is down.
fn killed_in_reboot() -> (Site, (String, String)) {
    let site = slow();
    let before = boot(&site, "edge1");
    let working = site.start(&["run", "--reboot"]);
    site.until("the node is down", |world| !world.nodes["edge1"].online);
    working.kill();
    site.run(&["status"]).expect(0).says(&["owed:", "to run again"]);
    (site, before)
}

/// Killed while the node, which is up again, starts its guests.
fn killed_in_return() -> (Site, (String, String)) {
    let durations = Durations { start: 1_500, ..Durations::quick() };
    let site = Site::new(with_guests().durations(durations).build());
    let before = boot(&site, "edge1");
    let working = site.start(&["run", "--reboot"]);
    site.await_begun(Act::Start, "104");
    working.kill();
    site.run(&["status"]).expect(0).says(&["owed:", "to run again"]);
    (site, before)
}

/// The guests whose start was asked for, each as often as it was.
fn starts(site: &Site) -> Vec<u32> {
    let starts = power(site).into_iter().filter(|entry| entry.act == Act::Start);
    let mut vmids: Vec<u32> = starts.map(|entry| entry.machine.parse().expect("a vmid")).collect();
    vmids.sort_unstable();
    vmids
}

#[test]
fn killed_on_the_way() {
    side_by_side(&[
        ("while_guests_are_shut_down_and_the_next_run_finishes", || {
            let (site, before) = killed_in_shutdown();
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
            site.assert_clean();
        }),
        ("while_guests_are_shut_down_and_restore_gives_them_back", || {
            let (site, before) = killed_in_shutdown();
            let name = site.run_name();
            site.run(&["restore", &name]).expect(0).says(&["given back", "shut down for the node's reboot"]);
            assert_eq!(boot(&site, "edge1"), before);
            assert_eq!((running(&site, "edge1"), owed(&site)), (vec![101, 102, 104, 201], json!([])));
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
        }),
        ("after_guests_are_shut_down_for_good", || {
            let (site, before) = killed_in_shutdown();
            site.until("all are off", |world| {
                world.ledger.of(Act::Shutdown, "*").all(|entry| entry.outcome == Outcome::Done)
            });
            assert!(running(&site, "edge1").is_empty());
            site.run(&["run", "--fresh", "--reboot"]).expect(0).says(&["given back"]);
            assert_rebooted(&site, &before);
        }),
        ("while_the_node_is_down_and_the_next_run_finishes", || {
            let (site, before) = killed_in_reboot();
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
            site.assert_clean();
        }),
        ("while_guests_are_started_again_and_the_next_run_finishes", || {
            let (site, before) = killed_in_return();
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
            assert_eq!(starts(&site), [101, 102, 104, 201], "{}", site.ledger_text());
        }),
        ("while_guests_are_started_again_and_restore_finishes", || {
            let (site, before) = killed_in_return();
            let name = site.run_name();
            site.run(&["restore", &name]).expect(0).says(&["given back"]);
            assert_rebooted(&site, &before);
            assert_eq!(starts(&site), [101, 102, 104, 201], "{}", site.ledger_text());
        }),
        ("while_the_node_is_down_and_no_other_is_rebooted_before_it_is_back", || {
            let durations = Durations { node_reboot: 6_000, ..Durations::quick() };
            let world = with_guests().durations(durations).standalone("edge2").node("edge2", |node| node.pending(4));
            let site = Site::new(world.build());
            let before = boot(&site, "edge1");
            let working = site.start(&["run", "--reboot"]);
            site.until("the node is down", |world| !world.nodes["edge1"].online);
            working.kill();
            site.run(&["run", "--parallel-hosts", "2"]).expect(0);
            assert_rebooted(&site, &before);
            let up = site.with(|world| world.machine(&MachineId::node("edge1")).expect("a machine").booted);
            let second = power(&site).into_iter().find(|entry| entry.node == "edge2").expect("a reboot");
            assert!(i64::try_from(second.at).expect("a time") > up, "{}", site.ledger_text());
        }),
        ("by_an_interrupt_while_the_node_is_down", || {
            let site = slow();
            let before = boot(&site, "edge1");
            let working = site.start(&["run", "--reboot"]);
            site.until("the node is down", |world| !world.nodes["edge1"].online);
            working.signal(Signal::INT);
            // It waits for the node to be back and its guests to run, or leaves that to the next run: it says which.
            let done = working.finish().expect(5);
            let debts = owed(&site);
            assert_eq!(debts != json!([]), done.stderr.contains("still owed"), "{debts} {done}");
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
        }),
        ("while_the_node_is_down_and_restore_gives_back", || {
            let (site, before) = killed_in_reboot();
            let name = site.run_name();
            site.run(&["restore", &name]).expect(0).says(&["given back"]);
            assert_rebooted(&site, &before);
            site.run(&["run"]).expect(0);
            assert_rebooted(&site, &before);
        }),
    ]);
}

/// A backup of one of the node's guests that somebody else makes, and that takes this long.
fn foreign_backup(site: &Site, vmid: u32, ms: u64) {
    let order = BackupOrder {
        vmids: vec![vmid],
        storage: "local".to_owned(),
        mode: "snapshot".to_owned(),
        compress: None,
        notes: Some("the operator's own".to_owned()),
        protected: false,
        remove: false,
        lock_wait_min: 1,
        line: vmid.to_string(),
    };
    site.with(|world| {
        world.durations.backup = ms;
        world.back_up(world.now(), "edge1", order, &Asker::root());
    });
}

#[test]
fn a_node_that_is_needed_is_not_rebooted() {
    side_by_side(&[
        ("for_a_backup", || {
            let world =
                World::builder().standalone("edge1").node("edge1", |node| node.pending(4)).vm("edge1", 201, |vm| vm);
            let site = Site::new(world.build());
            site.replace("[defaults]\n", "[defaults]\nlock_wait = \"1s\"\n");
            let before = boot(&site, "edge1");
            let working = site.start(&["run", "--reboot"]);
            site.await_begun(Act::Upgrade, "edge1");
            foreign_backup(&site, 201, 600_000);
            working.finish().expect(3).says(&["not rebooted", "a backup is being made on the node"]);
            assert_eq!((boot(&site, "edge1"), running(&site, "edge1")), (before.clone(), vec![201]));
            assert_eq!(power(&site), []);
            let view = site.status(&[]);
            assert!(
                host(&view, "edge1")["not_rebooted"].as_str().is_some_and(|why| why.contains("backup")),
                "{view:#}"
            );
        }),
        ("until_a_backup_is_over", || {
            let world =
                World::builder().standalone("edge1").node("edge1", |node| node.pending(4)).vm("edge1", 201, |vm| vm);
            let site = Site::new(world.build());
            let before = boot(&site, "edge1");
            let working = site.start(&["run", "--reboot"]);
            site.await_begun(Act::Upgrade, "edge1");
            foreign_backup(&site, 201, 3_000);
            working.finish().expect(0);
            assert_ne!(boot(&site, "edge1").0, before.0);
            let backup = site.with(|world| world.ledger.of(Act::Backup, "201").all(|e| e.outcome == Outcome::Done));
            assert!(backup, "{}", site.ledger_text());
        }),
        ("for_its_quorum", || {
            let world = World::builder().cluster("lab", ["pve1", "pve2"]).node("pve1", |node| node.pending(4)).ct(
                "pve1",
                101,
                |ct| ct,
            );
            let site = Site::new(world.build());
            site.run(&["run", "--reboot"]).expect(3).says(&[
                "pve1",
                "not rebooted",
                "has two nodes",
                "lose its quorum",
            ]);
            assert_eq!((boot(&site, "pve1").1.as_str(), power(&site)), ("6.17.2-1-pve", vec![]));
            assert_eq!(site.behind(&MachineId::node("pve1")), 0, "upgraded it is");
            assert_eq!(host(&site.status(&[]), "pve2")["result"], "nothing-to-do");
        }),
    ]);
}

#[test]
fn a_node_that_comes_up_with_another_kernel_has_failed() {
    let durations = Durations { node_reboot: 1_500, ..Durations::quick() };
    let site = Site::new(with_guests().durations(durations).build());
    let working = site.start(&["run", "--reboot"]);
    site.until("the node is down", |world| !world.nodes["edge1"].online);
    // Its boot loader has the old one pinned.
    let old = boot(&site, "edge1").1;
    site.with(|world| {
        let node = world.machine_mut(&MachineId::node("edge1")).expect("a machine");
        node.kernel_installed.clone_from(&old);
    });
    let done = working.finish().expect(3);
    done.says(&[&format!("was rebooted into kernel {old}, and not into {NEWER}"), "proxmox-boot-tool kernel list"]);
    assert_eq!((running(&site, "edge1"), owed(&site)), (vec![101, 102, 104, 201], json!([])));
}

#[test]
fn a_reboot_whose_answer_goes_down_with_the_node_is_known_by_its_boot() {
    let lost = Fault::request("POST", "/nodes/edge1/status", RequestFault::Lost);
    let site = Site::new(with_guests().fault(lost).build());
    let before = boot(&site, "edge1");
    site.run(&["run", "--reboot"]).expect(0);
    site.assert_faults_struck();
    assert_rebooted(&site, &before);
    site.assert_clean();
}
