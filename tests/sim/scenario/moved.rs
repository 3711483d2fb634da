//! Guests that somebody moves while proxmaint is down.

use proxmaint::choices::{HostReboot, Stopped};
use proxmaint_lab::world::{Os, World};

use super::Scenario;

/// A cluster of which the first node's guests are moved to the second by somebody else while proxmaint is down.
pub fn guests_move() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .node("pve1", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(2))
        .ct("pve1", 102, |ct| ct.pending(1).stopped())
        .ct("pve2", 111, |ct| ct.pending(1))
        // With snapshots on a disk of its own it could not be moved live.
        .disks("lab", "shared", "rbd")
        .vm("pve1", 201, |vm| vm.on("shared").os(Os::Ubuntu2404).pending(2))
        .vm("pve1", 202, |vm| vm.no_snapshots().pending(1));
    Scenario::new("guests that move", world)
        .parallel(1, 2)
        .sessions(3)
        .wants(|policy| policy.guests.stopped = Stopped::Start)
        .moves(101, "pve2")
        .moves(102, "pve2")
        .moves(201, "pve2")
        .moves(202, "pve2")
}

/// A cluster whose nodes are rebooted, and whose guests are moved off the first one by somebody else while proxmaint is down.
pub fn shut_guests_move() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .node("pve1", |node| node.pending(4))
        .ct("pve1", 101, |ct| ct)
        .vm("pve1", 201, |vm| vm)
        .ct("pve2", 111, |ct| ct);
    Scenario::new("shut guests that move", world)
        .parallel(1, 2)
        .sessions(3)
        .wants(|policy| policy.reboot = HostReboot::IfNeeded)
        .moves(101, "pve2")
        .moves(201, "pve3")
}
