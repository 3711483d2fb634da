//! `proxmaint restore`: what it says and how it ends where nothing is owed, and where it can't tell.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::fleet;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::World;

use crate::support::Site;

#[test]
fn a_run_that_owes_nothing_is_left_as_it_is() {
    let site = Site::new(fleet::small());
    site.run(&["restore", "2026"]).expect(2).says(&["there is no run in"]);
    assert!(!site.state().exists(), "looking leaves nothing behind");
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    let (changes, records) = (site.changes().len(), site.run(&["journal", "export"]).stdout);
    site.run(&["restore", &run]).expect(0).says(&[&format!("run {run} owes nothing")]);
    site.run(&["restore", &run[..15], "--host", "edge1", "--yes"]).expect(0).says(&["owes nothing"]);
    site.run(&["restore", &run, "--host", "edge9"]).expect(2).says(&["has no host edge9", "it has: edge1"]);
    site.run(&["restore", "19990101"]).expect(2).says(&["there is no run 19990101"]);
    assert_eq!(site.changes().len(), changes, "{}", site.ledger_text());
    assert_eq!(site.run(&["journal", "export"]).stdout, records, "nothing was written");
    let view = site.status(&[]);
    assert_eq!(view["hosts"][0]["owed"].as_array().map(Vec::len), Some(0), "{view:#}");
    assert_eq!(site.status(&["--all"])["runs"][0]["owed"], 0);
}

#[test]
fn beside_a_run_it_is_turned_away() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::Hang))
        .build();
    let site = Site::new(world);
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    let pid = working.pid().to_string();
    site.run(&["restore", "2026"]).expect(6).says(&[&pid]);
    site.run(&["snapshots", "prune", "--yes"]).expect(6).says(&[&pid]);
    working.signal(rustix::process::Signal::TERM);
    working.finish().expect(5);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}
