//! What can't be told is held: an upgrade whose job was killed and left its packages half-configured.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::shim::{Stage, reap};
use proxmaint_lab::world::{Asker, MachineId, World};

use crate::support::{Site, guest, side_by_side};

/// Each with a half-configured container of its own.
#[test]
fn held_steps() {
    side_by_side(&[
        ("it_is_held_and_status_says_what_to_do", it_is_held_and_status_says_what_to_do),
        ("a_decision_that_makes_no_sense_is_refused", a_decision_that_makes_no_sense_is_refused),
        ("retry_does_it_anew", retry_does_it_anew),
        ("what_was_mended_needs_no_decision", what_was_mended_needs_no_decision),
        ("done_goes_on_behind_it", done_goes_on_behind_it),
        ("skip_leaves_it_alone", skip_leaves_it_alone),
    ]);
}

fn id() -> MachineId {
    MachineId::guest("edge1", 101)
}

/// A run in which the upgrade of 101 was killed half-way, together with the program.
fn half_configured() -> (Site, String) {
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.pending(4))
        .ct("edge1", 102, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 20_000 }))
        .build();
    let site = Site::new(world);
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    working.kill();
    reap::kill_all(site.lab().shims.stage().id(), Some(&Stage::name_of(&id()))).expect("the container's processes end");
    site.until("packages are half-configured", |world| {
        !world.machine(&id()).expect("a machine").packages.half_configured.is_empty()
    });
    let run = site.run_name();
    (site, run)
}

/// As above, and the next run has looked at it and holds it.
fn held() -> (Site, String) {
    let (site, run) = half_configured();
    site.run(&["run"]).expect(4).says(&["101", "held", "half configured", "resolve", "dpkg --configure -a"]);
    assert_eq!(site.run_name(), run);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "it was done again:\n{}", site.ledger_text());
    assert_eq!(site.done(Act::Upgrade, "102"), 1, "the other guest goes on:\n{}", site.ledger_text());
    assert_eq!(site.count(Act::Upgrade, "edge1"), 0, "the node waits:\n{}", site.ledger_text());
    (site, run)
}

/// What the operator does on the machine.
fn mend(site: &Site) {
    site.lab()
        .with(|world, now| world.configure_packages(now, &id(), &Asker::root()))
        .expect("packages are configured");
}

fn it_is_held_and_status_says_what_to_do() {
    let (site, run) = held();
    let command = format!("proxmaint resolve {run} edge1 101");
    site.run(&["status"]).expect(0).says(&["held", &command, "half configured"]);
    let view = site.status(&[]);
    let held = guest(&view, "edge1", 101);
    assert_eq!((held["state"].as_str(), view["result"].as_str()), (Some("held"), Some("held")), "{view:#}");
    assert!(held["reason"].as_str().is_some_and(|reason| reason.contains("cut off")), "{held:#}");
    assert!(view["next"].as_array().is_some_and(|next| next.iter().any(|advice| advice["guest"] == 101)), "{view:#}");
    // As long as nothing changes it stays held, and nothing is done again.
    site.run(&["run"]).expect(4);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}

fn a_decision_that_makes_no_sense_is_refused() {
    let (site, run) = held();
    for args in [
        &["resolve", &run, "edge1", "101"][..],
        &["resolve", &run, "edge1", "101", "--retry", "--done"],
        &["resolve", &run, "edge1", "102", "--retry"],
        &["resolve", &run, "edge1", "999", "--retry"],
        &["resolve", &run, "edge1", "--retry"],
        &["resolve", &run, "edge9", "101", "--retry"],
        &["resolve", "20200101", "edge1", "101", "--retry"],
    ] {
        site.run(args).expect(2);
    }
    site.run(&["resolve", &run, "edge9", "101", "--skip"]).says(&["edge9", "it has: edge1"]);
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["state"], "held", "nothing was recorded");
}

fn retry_does_it_anew() {
    let (site, run) = held();
    mend(&site);
    site.run(&["resolve", &run[..13], "edge1", "101", "--retry"]).expect(0).says(&["proxmaint run"]);
    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run);
    site.assert_clean();
    assert_eq!(site.done(Act::Upgrade, "101"), 1);
    assert_eq!(site.count(Act::Upgrade, "102"), 1);
    site.run(&["resolve", &run, "edge1", "101", "--retry"]).expect(2).says(&["is over"]);
}

fn what_was_mended_needs_no_decision() {
    let (site, run) = held();
    mend(&site);
    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run);
    site.assert_clean();
}

fn done_goes_on_behind_it() {
    let (site, run) = held();
    mend(&site);
    site.with(|world| {
        let packages = &mut world.machine_mut(&id()).expect("a machine").packages;
        packages.installed = packages.repository.clone();
    });
    site.run(&["resolve", &run, "edge1", "101", "--done"]).expect(0);
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["state"], "upgraded");
}

fn skip_leaves_it_alone() {
    let (site, run) = held();
    site.run(&["resolve", &run, "edge1", "101", "--skip"]).expect(0);
    site.run(&["run"]).expect(0);
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["state"], "skipped");
    assert_eq!((site.count(Act::Upgrade, "101"), site.done(Act::Upgrade, "edge1")), (1, 1), "{}", site.ledger_text());
}
