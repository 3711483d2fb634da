//! Guests that are started to be upgraded and stopped again, VMs that are rebooted, and what is owed in between.

use proxmaint_lab::faults::{Fault, TaskFault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::world::{Durations, MachineId, Os, World, WorldBuilder};
use serde_json::{Value, json};

use crate::support::{Site, guest, host, side_by_side};

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

/// A lab whose manifest says these lines among its defaults.
fn site(world: WorldBuilder, defaults: &str) -> Site {
    let site = Site::new(world.build());
    site.replace("[defaults]\n", &format!("[defaults]\n{defaults}\n"));
    site
}

const START: &str = "stopped = \"start\"";
const REBOOT: &str = "guest.reboot = \"if-needed\"";

fn runs(site: &Site, vmid: u32) -> bool {
    site.with(|world| world.guest(&edge(vmid)).expect("a guest").running())
}

/// What was asked for of a guest, in order, refreshes of lists left out.
fn acts(site: &Site, vmid: u32) -> Vec<Act> {
    let of_guest = |entry: &Entry| entry.machine == vmid.to_string();
    site.changes().into_iter().filter(of_guest).map(|entry| entry.act).collect()
}

/// What `status --output json` says is owed on the host.
fn owed(site: &Site) -> Value {
    let view = site.status(&[]);
    let owed = host(&view, "edge1")["owed"].clone();
    owed.as_array().expect("a list").iter().map(|owed| json!([owed["owed"], owed["guests"]])).collect()
}

/// A container that does not run, beside one that does.
fn one_stopped() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.stopped().pending(2))
        .ct("edge1", 102, |ct| ct.pending(1))
}

/// A shutdown that is not obeyed, however often.
fn stubborn(vmid: u32) -> Fault {
    let effect = TaskFault::Fail { text: "container did not stop".to_owned(), leave_lock: false };
    Fault::task("vzshutdown", vmid, effect).times(0)
}

#[test]
fn those_that_do_not_run_are_started_upgraded_and_stopped_again() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.name("off").stopped().pending(2))
        .ct("edge1", 102, |ct| ct.stopped())
        .ct("edge1", 103, |ct| ct.pending(1))
        .ct("edge1", 104, |ct| ct.stopped().template())
        .ct("edge1", 105, |ct| ct.stopped().unknown(3))
        .vm("edge1", 201, |vm| vm.os(Os::Ubuntu2404).stopped().pending(2));
    let site = site(world, START);
    let plan = site.run(&["run", "--dry-run"]).expect(0);
    plan.says(&["start", "(off)", "stop"]);
    site.assert_untouched();

    site.run(&["run"]).expect(0);
    let upgraded = [Act::Start, Act::SnapshotCreate, Act::Upgrade, Act::Shutdown];
    for vmid in [101, 105, 201] {
        assert_eq!(acts(&site, vmid), upgraded, "{vmid}\n{}", site.ledger_text());
        assert_eq!((site.behind(&edge(vmid)), runs(&site, vmid)), (0, false));
    }
    assert_eq!(acts(&site, 102), [Act::Start, Act::Shutdown], "looked into and stopped again");
    assert_eq!(acts(&site, 103), [Act::SnapshotCreate, Act::Upgrade]);
    assert_eq!(acts(&site, 104), []);
    assert!(site.ledger().iter().all(|entry| entry.outcome == Outcome::Done), "{}", site.ledger_text());
    assert_eq!([102, 103].map(|vmid| runs(&site, vmid)), [false, true]);
    let view = site.status(&[]);
    assert_eq!(guest(&view, "edge1", 201)["state"], "upgraded");
    assert_eq!(guest(&view, "edge1", 102)["state"], "skipped");
    assert_eq!(owed(&site), json!([]));
    site.assert_clean();
}

#[test]
fn one_that_does_not_obey_its_shutdown_is_owed_and_given_back_once_it_does() {
    let site = site(one_stopped().fault(stubborn(101)), START);
    let what = "CT 101 was started to be upgraded and is to be stopped again";
    let run = site.run(&["run", "--output", "json"]).expect(3);
    let ended = run.ended();
    assert_eq!(host(&ended, "edge1")["owed"][0]["owed"], "stop-guest", "{ended:#}");
    let why = host(&ended, "edge1")["owed"][0]["why"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("did not obey its shutdown")), "{why}");
    let name = site.run_name();
    run.says(&[&format!("proxmaint restore {name}")]);
    assert!(runs(&site, 101), "it is never powered off hard");
    assert_eq!(site.count(Act::Stop, "*"), 0);
    assert_eq!(owed(&site), json!([["stop-guest", [101]]]));
    site.run(&["status"]).expect(0).says(&["owed:", what, "did not obey its shutdown"]);
    assert_eq!(site.status(&["--all"])["runs"][0]["owed"], 1);

    site.run(&["restore", &name]).expect(3).says(&["still owed", what]);
    assert_eq!(site.count(Act::Shutdown, "101"), 2);
    site.clear_faults();
    site.run(&["restore", &name]).expect(0).says(&["given back", what, "owes nothing"]);
    assert_eq!((runs(&site, 101), owed(&site)), (false, json!([])));
    let before = site.changes().len();
    site.run(&["restore", &name]).expect(0).says(&["owes nothing"]);
    assert_eq!((site.changes().len(), site.count(Act::Upgrade, "101")), (before, 1), "{}", site.ledger_text());
}

#[test]
fn the_report_names_what_is_owed_and_the_next_run_gives_it_back_first() {
    let site = site(one_stopped().fault(stubborn(101)), START);
    site.run(&["run"]).expect(3).says(&["still owed", "CT 101", "proxmaint restore"]);
    site.clear_faults();
    let before = site.changes().len();
    site.run(&["run"]).expect(0);
    let next = site.changes().split_off(before);
    assert_eq!((next[0].act, next[0].machine.as_str()), (Act::Shutdown, "101"), "{}", site.ledger_text());
    assert_eq!((runs(&site, 101), owed(&site)), (false, json!([])));
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}

/// A started container is being upgraded, and takes its time.
fn killed_while_it_runs() -> (Site, String) {
    let slow = Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 });
    let site = site(one_stopped().fault(slow), START);
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    working.kill();
    assert!(runs(&site, 101));
    assert_eq!(owed(&site), json!([["stop-guest", [101]]]));
    site.run(&["status"]).expect(0).says(&["interrupted", "owed:", "CT 101 was started"]);
    let name = site.run_name();
    (site, name)
}

#[test]
fn killed_while_a_started_guest_runs() {
    side_by_side(&[
        ("the_next_run_finishes_and_stops_it", || {
            let (site, _) = killed_while_it_runs();
            site.run(&["run"]).expect(0);
            assert_eq!(acts(&site, 101), [Act::Start, Act::SnapshotCreate, Act::Upgrade, Act::Shutdown]);
            assert!(!runs(&site, 101));
            site.assert_clean();
        }),
        ("restore_leaves_an_upgrade_at_work_alone", || {
            let (site, name) = killed_while_it_runs();
            site.run(&["restore", &name]).expect(3).says(&["still owed", "CT 101", "waits for the end of: upgrade"]);
            site.until("the upgrade has ended", |world| {
                world.ledger.of(Act::Upgrade, "101").all(|e| e.outcome == Outcome::Done)
            });
            site.run(&["restore", &name]).expect(0).says(&["given back", "CT 101"]);
            assert_eq!(acts(&site, 101), [Act::Start, Act::SnapshotCreate, Act::Upgrade, Act::Shutdown]);
            assert_eq!((runs(&site, 101), owed(&site)), (false, json!([])));
            let before = site.changes().len();
            site.run(&["run"]).expect(0);
            assert_eq!(site.changes().len(), before, "all was done: {}", site.ledger_text());
        }),
        ("fresh_closes_it_and_a_later_run_gives_back", || {
            let (site, name) = killed_while_it_runs();
            site.run(&["run", "--fresh"]).expect(0).says(&[&name, "closed", "still owed by run", "proxmaint restore"]);
            assert_ne!(site.run_name(), name);
            assert!(runs(&site, 101));
            site.run(&["run", "--guest", "102"]).expect(0).says(&["given back: edge1: CT 101"]);
            assert_eq!(acts(&site, 101), [Act::Start, Act::SnapshotCreate, Act::Upgrade, Act::Shutdown]);
            assert!(!runs(&site, 101), "{}", site.ledger_text());
            site.run(&["restore", &name]).expect(0).says(&["owes nothing"]);
        }),
        ("while_it_is_started", || {
            let site = site(slow_power(one_stopped()), START);
            let working = site.start(&["run"]);
            site.await_begun(Act::Start, "101");
            working.kill();
            site.run(&["run"]).expect(0);
            assert_eq!(acts(&site, 101), [Act::Start, Act::SnapshotCreate, Act::Upgrade, Act::Shutdown]);
            assert!(!runs(&site, 101));
            site.assert_clean();
        }),
        ("while_it_is_started_and_then_restored", || {
            let site = site(slow_power(one_stopped()), START);
            let working = site.start(&["run"]);
            site.await_begun(Act::Start, "101");
            working.kill();
            site.run(&["restore", &site.run_name()]).expect(0).says(&["what became of it is looked at", "given back"]);
            assert_eq!(acts(&site, 101), [Act::Start, Act::Shutdown]);
            assert!(!runs(&site, 101));
        }),
        ("while_it_is_stopped", || {
            let site = site(slow_power(one_stopped()), START);
            let working = site.start(&["run"]);
            site.await_begun(Act::Shutdown, "101");
            working.kill();
            assert_eq!(owed(&site), json!([["stop-guest", [101]]]));
            site.run(&["run"]).expect(0);
            assert_eq!(site.count(Act::Shutdown, "101"), 1, "{}", site.ledger_text());
            assert!(!runs(&site, 101));
            site.assert_clean();
        }),
    ]);
}

/// Starts and shutdowns take long enough for a run to be killed meanwhile.
fn slow_power(world: WorldBuilder) -> WorldBuilder {
    world.durations(Durations { start: 1_000, shutdown: 1_000, ..Durations::quick() })
}

fn boots() -> WorldBuilder {
    let kernel = ("linux-image", "6.8.0-85", "6.8.0-90");
    World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .vm("edge1", 201, |vm| vm.os(Os::Ubuntu2404).package(kernel.0, kernel.1, kernel.2))
        .vm("edge1", 202, |vm| vm.pending(1))
}

/// The boot and the kernel that a guest runs.
fn boot(site: &Site, vmid: u32) -> (String, String) {
    let machine = |world: &mut World| world.machine(&edge(vmid)).expect("a machine").clone();
    let machine = site.with(machine);
    (machine.boot_id, machine.kernel_running)
}

#[test]
fn a_vm_with_a_newer_kernel_is_rebooted_once_and_a_container_never() {
    let world = boots().vm("edge1", 203, |vm| vm.stopped().package("linux-image", "6.1.0-40", "6.1.0-41")).vm(
        "edge1",
        204,
        |vm| vm.ssh_users(&[]).package("linux-image", "6.1.0-40", "6.1.0-41"),
    );
    let site = site(world, &format!("{START}\n{REBOOT}"));
    site.with(|world| {
        let container = world.machine_mut(&edge(101)).expect("a machine");
        container.reboot_required.insert("libc6".to_owned());
    });
    let before = [101, 201, 202].map(|vmid| boot(&site, vmid));
    site.run(&["run"]).expect(0).says(&["VM 201", "was rebooted"]);
    let after = [101, 201, 202].map(|vmid| boot(&site, vmid));
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]), "{}", site.ledger_text());
    assert_ne!(before[1].0, after[1].0);
    assert_eq!(after[1].1, "6.8.0-90-generic");
    assert_eq!(boot(&site, 204).1, "6.1.0-41-amd64", "over its agent");
    assert_eq!(["201", "204"].map(|vmid| site.count(Act::Reboot, vmid)), [1, 1]);
    assert_eq!(site.count(Act::Reboot, "*"), 3, "one that was started is too: that it boots is proven");
    let view = site.status(&[]);
    assert_eq!(guest(&view, "edge1", 201)["rebooted"], true);
    assert_eq!(guest(&view, "edge1", 201)["reboot_wanted"], Value::Null);
    assert_eq!(guest(&view, "edge1", 202)["rebooted"], false);
    assert!(!runs(&site, 203));
    site.assert_clean();
    site.run(&["run", "--guest", "201"]).expect(0).says(&["nothing to do"]);
    assert_eq!(site.count(Act::Reboot, "201"), 1);
}

#[test]
fn nothing_is_rebooted_unasked() {
    let site = Site::new(boots().build());
    let before = boot(&site, 201);
    site.run(&["run"]).expect(0).says(&["VM 201", "wants a reboot"]);
    assert_eq!(boot(&site, 201), before);
    assert_eq!(site.count(Act::Reboot, "*"), 0);
}

#[test]
fn killed_while_a_vm_is_rebooted_it_is_not_rebooted_again() {
    let site = site(slow_power(boots()), REBOOT);
    let working = site.start(&["run"]);
    site.await_begun(Act::Reboot, "201");
    working.kill();
    site.run(&["run"]).expect(0);
    assert_eq!((site.count(Act::Reboot, "201"), boot(&site, 201).1.as_str()), (1, "6.8.0-90-generic"));
    assert_eq!(guest(&site.status(&[]), "edge1", 201)["rebooted"], true);
    site.assert_clean();
}

#[test]
fn a_vm_that_will_not_reboot_has_failed_and_its_upgrade_is_not_repeated() {
    let effect = TaskFault::Fail { text: "VM quit/powerdown failed".to_owned(), leave_lock: false };
    let site = site(boots().fault(Fault::task("qmreboot", 201, effect)), REBOOT);
    let before = boot(&site, 201);
    site.run(&["run"]).expect(3).says(&["VM 201", "upgraded, but not rebooted", "VM quit/powerdown failed"]);
    assert_eq!(boot(&site, 201), before);
    assert_eq!(guest(&site.status(&[]), "edge1", 202)["state"], "upgraded");
    site.run(&["run"]);
    assert_eq!(site.count(Act::Upgrade, "201"), 1, "{}", site.ledger_text());
}
