//! Upgrades: of guests and nodes, in turns, by a saved plan, failed once, slow, and killed.

use std::time::Duration;

use proxmaint::choices::Stopped;
use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::world::{Os, World};

use super::Scenario;

/// One node with containers and VMs of several distributions, some of which need nothing.
pub fn mixed_node() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(4))
        .ct("pve1", 101, |ct| ct.pending(3))
        .ct("pve1", 102, |ct| ct.os(Os::Alpine322).pending(2).unknown(1))
        .ct("pve1", 103, |ct| ct)
        .ct("pve1", 104, |ct| ct.pending(2).stopped())
        .vm("pve1", 201, |vm| vm.os(Os::Ubuntu2404).pending(2))
        .vm("pve1", 202, |vm| vm.os(Os::Debian13).template())
        .vm("pve1", 203, |vm| vm.no_way_in().pending(1));
    Scenario::new("a mixed node", world).parallel(1, 2)
}

/// A cluster whose nodes take turns, while a node that stands alone is worked on at the same time.
pub fn cluster_in_turns() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .standalone("solo")
        .node("pve1", |node| node.pending(2))
        .node("pve3", |node| node.pending(1))
        .node("solo", |node| node.pending(3))
        .ct("pve1", 101, |ct| ct.pending(2))
        .ct("pve2", 102, |ct| ct.pending(1))
        .ct("solo", 301, |ct| ct.pending(2));
    Scenario::new("a cluster in turns", world).parallel(3, 2)
}

/// A guest whose upgrade fails; the others go on, and the next `run` tries it anew.
pub fn upgrade_fails_once() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(2))
        .ct("pve1", 102, |ct| ct.pending(2))
        .fault(Fault::upgrade("101", UpgradeFault::Exit { code: 100 }));
    Scenario::new("an upgrade that fails once", world).parallel(1, 2).sessions(2)
}

/// A saved plan for two nodes, in the first of which an upgrade fails once; in the second, a guest's repository moves on.
pub fn by_saved_plan() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .standalone("pve2")
        .node("pve1", |node| node.pending(1))
        .node("pve2", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(2))
        .ct("pve1", 103, |ct| ct.pending(1).stopped())
        .ct("pve2", 111, |ct| ct.package("curl", "8.1", "8.2"))
        .fault(Fault::upgrade("101", UpgradeFault::Exit { code: 100 }));
    Scenario::new("a saved plan", world)
        .parallel(1, 2)
        .sessions(2)
        .wants(|wants| wants.guests.stopped = Stopped::Start)
        .by_saved_plan()
        .with(|world| {
            let guest = world.guest_id("pve2", 111).expect("the guest is there");
            let packages = &mut world.machine_mut(&guest).expect("a machine").packages;
            packages.repository.insert("curl".to_owned(), "8.3".to_owned());
        })
}

/// A node whose upgrade fails twice.
pub fn node_fails_twice() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(2))
        .fault(Fault::upgrade("pve1", UpgradeFault::Exit { code: 100 }).times(2));
    Scenario::new("a node that fails twice", world).sessions(3)
}

/// An upgrade that takes longer than several crashes.
pub fn long_upgrade() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(3))
        .ct("pve1", 102, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 900_000 }));
    Scenario::new("a long upgrade", world).parallel(1, 2)
}

/// An upgrade that is killed and leaves everything in order: a new round finishes it.
pub fn killed_in_order() -> Scenario {
    let world = World::builder().standalone("pve1").ct("pve1", 101, |ct| ct.os(Os::Alpine322).pending(5)).ct(
        "pve1",
        102,
        |ct| ct.pending(1),
    );
    Scenario::new("a killed upgrade, in order", world).parallel(1, 2).kill("101", Duration::from_millis(3_000))
}
