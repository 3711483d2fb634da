//! The output of upgrades: kept in a file for each guest and node, whole, however often the program was killed meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::World;

use crate::support::{Site, until};

#[test]
fn output_is_kept_whole_though_the_program_was_killed() {
    // Long enough to be killed in the first half of it on a busy machine, too.
    let slow = |machine: &str| Fault::upgrade(machine, UpgradeFault::Slow { ms: 5_000 });
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(2))
        .ct("edge1", 101, |ct| ct.pending(3))
        .vm("edge1", 201, |vm| vm.pending(1))
        .fault(slow("101"))
        .fault(slow("edge1"));
    let site = Site::new(world.build());
    let logs = || site.state().join("logs").join(site.run_name());
    let kept = |name: &str| fs::read_to_string(logs().join(name)).unwrap_or_default();
    for (machine, file) in [("101", "edge1-101-upgrade-guest-r1.log"), ("edge1", "edge1-node-upgrade-host-r1.log")] {
        let working = site.start(&["run"]);
        site.await_begun(Act::Upgrade, machine);
        // Some of it is there while the upgrade is at work.
        assert!(until(|| !kept(file).is_empty()), "nothing in {file}");
        working.kill();
        assert!(!kept(file).contains("Setting up"), "killed too late to show anything:\n{}", kept(file));
    }
    site.run(&["run"]).expect(0);
    site.assert_clean();
    for (file, packages) in [
        ("edge1-101-upgrade-guest-r1.log", 3),
        ("edge1-201-upgrade-guest-r1.log", 1),
        ("edge1-node-upgrade-host-r1.log", 2),
    ] {
        let text = kept(file);
        assert_eq!(text.matches("Setting up ").count(), packages, "{file}:\n{text}");
        assert_eq!(text.matches("upgraded, ").count(), 1, "nothing is there twice in {file}:\n{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
        let mode = fs::metadata(logs().join(file)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mode = fs::metadata(logs()).expect("a directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// What ended while nobody watched was not seen running again: its output is fetched where its outcome is.
#[test]
fn output_of_what_ended_unwatched_is_fetched() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(2))
        .fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 400 }));
    let site = Site::new(world.build());
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    working.kill();
    site.until("the upgrade has ended", |world| {
        world.ledger.of(Act::Upgrade, "101").all(|entry| entry.outcome == Outcome::Done)
    });
    site.run(&["run"]).expect(0);
    site.assert_clean();
    let file = site.state().join("logs").join(site.run_name()).join("edge1-101-upgrade-guest-r1.log");
    let text = fs::read_to_string(file).expect("a log file");
    assert_eq!(text.matches("Setting up ").count(), 2, "{text}");
}
