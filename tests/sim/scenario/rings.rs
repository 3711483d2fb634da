//! Who goes first, when a run halts, and what the operator says of hosts meanwhile.

use std::time::Duration;

use proxmaint::choices::Stopped;
use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::world::World;

use super::{Scenario, reboots};

/// A fleet in which a node and a guest of another one go first, and are left alone for a while.
pub fn canaries() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2"])
        .standalone("solo")
        .node("pve1", |node| node.pending(1))
        .node("pve2", |node| node.pending(1))
        .node("solo", |node| node.pending(2))
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1))
        .ct("pve2", 111, |ct| ct.pending(1))
        .ct("solo", 301, |ct| ct.pending(2))
        .ct("solo", 302, |ct| ct.pending(1).stopped());
    Scenario::new("canaries", world).parallel(2, 2).wants(|wants| wants.guests.stopped = Stopped::Start).rolled_out(
        &["solo", "pve1/101"],
        Duration::from_secs(600),
        None,
    )
}

/// The same, and a canary fails the first time.
pub fn canary_fails_once() -> Scenario {
    let mut scenario = canaries()
        .sessions(2)
        .with(|world| world.faults.plant(Fault::upgrade("101", UpgradeFault::Exit { code: 100 })));
    scenario.name = "a canary that fails once";
    scenario
}

/// Guests fail one after the other, and the run goes on with one failure only.
pub fn too_many_failures() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .standalone("pve2")
        .node("pve1", |node| node.pending(1))
        .node("pve2", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1))
        .ct("pve1", 103, |ct| ct.pending(1))
        .ct("pve2", 111, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::Exit { code: 100 }))
        .fault(Fault::upgrade("102", UpgradeFault::Exit { code: 100 }));
    Scenario::new("too many failures", world).sessions(2).rolled_out(&[], Duration::ZERO, Some(1))
}

/// Hosts that are paused, gone on with and stopped while a run works on them.
pub fn paused() -> Scenario {
    let mut scenario = reboots::cluster_rebooted()
        .with(|world| {
            let guest = world.guest_id("pve1", 101).expect("the guest is there");
            let packages = &mut world.machine_mut(&guest).expect("a machine").packages;
            packages.installed.insert("curl".to_owned(), "8.1".to_owned());
            packages.repository.insert("curl".to_owned(), "8.2".to_owned());
        })
        .sessions(2);
    scenario.name = "paused hosts";
    scenario
}
