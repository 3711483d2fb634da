//! Ctrl-C and SIGTERM, once and twice.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Durations, World};
use rustix::process::Signal;

use crate::support::{Site, guest, side_by_side};

/// Each signal at a moment of its own.
#[test]
fn signals() {
    side_by_side(&[
        ("ctrl_c_leaves_a_hung_upgrade_at_work", ctrl_c_leaves_a_hung_upgrade_at_work),
        ("sigterm_leaves_a_hung_upgrade_at_work", sigterm_leaves_a_hung_upgrade_at_work),
        ("an_upgrade_that_was_left_at_work_is_attached_to", an_upgrade_that_was_left_at_work_is_attached_to),
        ("a_snapshot_that_is_being_made_is_waited_for", a_snapshot_that_is_being_made_is_waited_for),
        (
            "the_second_signal_ends_it_at_once_and_the_journal_is_intact",
            the_second_signal_ends_it_at_once_and_the_journal_is_intact,
        ),
    ]);
}

/// One container to upgrade, and one that has to wait for it.
fn two() -> World {
    World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .build()
}

fn one_at_a_time(site: &Site) {
    site.replace("[defaults]\n", "[defaults]\nmax_parallel = 1\n");
}

/// An upgrade that never ends is left at work, the program ends with 5 and says how to go on.
fn hung_upgrade(signal: Signal) {
    let site = Site::new(two());
    one_at_a_time(&site);
    site.plant(Fault::upgrade("101", UpgradeFault::Hang));
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    working.signal(signal);
    working.finish().expect(5).says(&["interrupted", "proxmaint run"]);
    assert_eq!(site.count(Act::Upgrade, "102"), 0, "a step began after the signal:\n{}", site.ledger_text());
    let view = site.status(&[]);
    assert_eq!(view["standing"]["state"], "interrupted");
    assert_eq!(guest(&view, "edge1", 101)["in_doubt"], true, "{view:#}");
    site.run(&["status"]).expect(0).says(&["in doubt", "proxmaint run"]);
    site.run(&["journal", "verify"]).expect(0);
}

fn ctrl_c_leaves_a_hung_upgrade_at_work() {
    hung_upgrade(Signal::INT);
}

fn sigterm_leaves_a_hung_upgrade_at_work() {
    hung_upgrade(Signal::TERM);
}

fn an_upgrade_that_was_left_at_work_is_attached_to() {
    let site = Site::new(two());
    one_at_a_time(&site);
    site.plant(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 }));
    let working = site.start(&["run", "--output", "json"]);
    site.await_begun(Act::Upgrade, "101");
    working.signal(Signal::INT);
    let done = working.finish().expect(5);
    assert!(done.events().iter().any(|event| event["event"] == "draining"), "{done}");
    let ended = done.ended();
    assert_eq!((&ended["interrupted"], &ended["exit_code"]), (&true.into(), &5.into()));
    assert_eq!(ended["next"][0]["command"], "proxmaint run");
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}

/// A world in which a snapshot takes long enough to be met at work.
fn slow_snapshots() -> World {
    let durations = Durations { snapshot: 2_500, ..Durations::quick() };
    World::builder().durations(durations).standalone("edge1").ct("edge1", 101, |ct| ct.pending(1)).build()
}

fn a_snapshot_that_is_being_made_is_waited_for() {
    let site = Site::new(slow_snapshots());
    let working = site.start(&["run"]);
    site.await_begun(Act::SnapshotCreate, "101");
    working.signal(Signal::INT);
    working.finish().expect(5);
    assert_eq!(site.done(Act::SnapshotCreate, "101"), 1, "it was not waited for:\n{}", site.ledger_text());
    let view = site.status(&[]);
    assert_eq!((guest(&view, "edge1", 101)["in_doubt"].clone(), site.count(Act::Upgrade, "101")), (false.into(), 0));
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

fn the_second_signal_ends_it_at_once_and_the_journal_is_intact() {
    let site = Site::new(slow_snapshots());
    let working = site.start(&["run", "--output", "json"]);
    site.await_begun(Act::SnapshotCreate, "101");
    working.signal(Signal::INT);
    working.event(|event| event["event"] == "draining");
    working.signal(Signal::TERM);
    working.finish().expect(5).says(&["stopped at once", "journal is intact", "proxmaint run"]);
    assert_eq!(site.done(Act::SnapshotCreate, "101"), 0, "it was waited for:\n{}", site.ledger_text());
    site.run(&["journal", "verify"]).expect(0).says(&["the journal is whole"]);
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["in_doubt"], true);
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!(site.count(Act::SnapshotCreate, "101"), 1, "{}", site.ledger_text());
}
