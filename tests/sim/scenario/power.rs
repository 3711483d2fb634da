//! Guests that are started to be upgraded, stopped again, or rebooted.

use proxmaint::choices::{GuestReboot, Stopped};
use proxmaint_lab::faults::{Fault, TaskFault};
use proxmaint_lab::world::{Os, World};

use super::Scenario;

/// Stopped guests that are started to be upgraded: one has something pending, one has nothing, one is a VM.
pub fn stopped_guests() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(2).stopped())
        .ct("pve1", 102, |ct| ct.stopped())
        .ct("pve1", 103, |ct| ct.pending(1))
        .vm("pve1", 201, |vm| vm.os(Os::Ubuntu2404).pending(1).stopped());
    Scenario::new("stopped guests", world).parallel(1, 2).wants(|policy| policy.guests.stopped = Stopped::Start)
}

/// A stopped guest that can't be started.
pub fn start_fails() -> Scenario {
    let fails = TaskFault::Fail { text: "startup for container '101' failed".to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2).stopped())
        .ct("pve1", 102, |ct| ct.pending(2).stopped())
        .fault(Fault::task("vzstart", 101, fails).times(0));
    Scenario::new("a start that fails", world).parallel(1, 2).wants(|policy| policy.guests.stopped = Stopped::Start)
}

/// A started guest that does not obey its first shutdown: it is owed, and the next `run` gives it back.
pub fn stop_not_obeyed() -> Scenario {
    let stubborn = TaskFault::Fail { text: "container did not stop".to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2).stopped())
        .ct("pve1", 102, |ct| ct.pending(1))
        .fault(Fault::task("vzshutdown", 101, stubborn));
    Scenario::new("a stop that is not obeyed", world)
        .parallel(1, 2)
        .sessions(2)
        .wants(|policy| policy.guests.stopped = Stopped::Start)
}

/// VMs one of which gets a new kernel.
pub fn vm_rebooted() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .vm("pve1", 201, |vm| vm.os(Os::Ubuntu2404).package("linux-image", "6.8.0-85", "6.8.0-90").pending(1))
        .vm("pve1", 202, |vm| vm.os(Os::Debian13).pending(1))
        .vm("pve1", 203, |vm| vm.package("linux-image", "6.1.0-40", "6.1.0-41").stopped());
    Scenario::new("a VM that is rebooted", world).parallel(1, 2).wants(|policy| {
        policy.guests.reboot = GuestReboot::IfNeeded;
        policy.guests.stopped = Stopped::Start;
    })
}
