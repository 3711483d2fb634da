//! Nodes that are rebooted, and their guests with them.

use proxmaint::choices::{HostReboot, Stopped};
use proxmaint_lab::faults::{Fault, RequestFault, TaskFault};
use proxmaint_lab::world::{Asker, Os, Voting, World, WorldBuilder};

use super::Scenario;

fn node_with_guests() -> WorldBuilder {
    World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(4))
        .ct("pve1", 101, |ct| ct.pending(1).onboot())
        .ct("pve1", 102, |ct| ct.config("startup", "order=1"))
        .ct("pve1", 103, |ct| ct.stopped())
        .vm("pve1", 201, |vm| vm.os(Os::Ubuntu2404))
        .vm("pve1", 202, |vm| vm.template())
}

/// A node that gets a new kernel, with guests that come back by themselves and guests that don't.
pub fn node_rebooted() -> Scenario {
    Scenario::new("a node that is rebooted", node_with_guests())
        .parallel(1, 2)
        .wants(|policy| policy.reboot = HostReboot::IfNeeded)
}

/// A node that is rebooted whatever it needs, and on which a guest is started to be upgraded as well.
pub fn always_rebooted() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct)
        .ct("pve1", 102, |ct| ct.pending(1).stopped())
        .vm("pve1", 201, |vm| vm.onboot());
    Scenario::new("always rebooted", world).parallel(1, 2).wants(|policy| {
        policy.reboot = HostReboot::Always;
        policy.guests.stopped = Stopped::Start;
    })
}

/// A node with a guest that HA sees to, in a cluster of three that are all rebooted.
pub fn cluster_rebooted() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ct("pve1", 101, |ct| ct)
        .ct("pve1", 102, |ct| ct)
        .vm("pve2", 201, |vm| vm.onboot());
    Scenario::new("a cluster that is rebooted", world)
        .parallel(3, 2)
        .with(|world| {
            world.ha_set(0, "lab", "ct:102", "started", &Asker::root());
            world.settle();
        })
        .wants(|policy| policy.reboot = HostReboot::Always)
}

/// A cluster of two nodes, neither of which can do without the other.
pub fn two_nodes() -> Scenario {
    let world = World::builder().cluster("lab", ["pve1", "pve2"]).ct("pve1", 101, |ct| ct);
    Scenario::new("two nodes", world).wants(|policy| policy.reboot = HostReboot::Always)
}

/// A cluster of two nodes with a quorum device, which is rebooted.
pub fn two_nodes_with_device() -> Scenario {
    let world = World::builder().cluster("lab", ["pve1", "pve2"]).voting("lab", Voting::default().device(true)).ct(
        "pve1",
        101,
        |ct| ct,
    );
    Scenario::new("two nodes with a quorum device", world).wants(|policy| policy.reboot = HostReboot::Always)
}

/// A cluster of two nodes, each of which loses its quorum while the other one reboots, as is allowed.
pub fn two_nodes_without_quorum() -> Scenario {
    let world = World::builder().cluster("lab", ["pve1", "pve2"]).ct("pve1", 101, |ct| ct).ct("pve2", 102, |ct| ct);
    Scenario::new("two nodes that lose their quorum", world).wants(|policy| {
        policy.reboot = HostReboot::Always;
        policy.allow_quorum_loss = true;
    })
}

/// A node with a guest that does not obey its shutdown.
pub fn stubborn_guest() -> Scenario {
    let world = node_with_guests().ct("pve1", 104, |ct| ct.stubborn());
    Scenario::new("a stubborn guest", world).parallel(1, 2).wants(|policy| policy.reboot = HostReboot::IfNeeded)
}

/// The answer to the reboot is lost with the node.
pub fn reboot_answer_lost() -> Scenario {
    let world = node_with_guests().fault(Fault::request("POST", "/nodes/*/status", RequestFault::Lost));
    Scenario::new("a reboot's answer is lost", world)
        .parallel(1, 2)
        .wants(|policy| policy.reboot = HostReboot::IfNeeded)
}

/// A node that takes ten minutes to be back.
pub fn slow_node() -> Scenario {
    Scenario::new("a slow node", node_with_guests())
        .with(|world| world.durations.node_reboot = 600_000)
        .wants(|policy| policy.reboot = HostReboot::IfNeeded)
}

/// Guests of a node one of which can't be started again the first time.
pub fn return_fails_once() -> Scenario {
    let fails = TaskFault::Fail { text: "startup for container '102' failed".to_owned(), leave_lock: false };
    let world = node_with_guests().fault(Fault::task("vzstart", 102, fails));
    Scenario::new("a return that fails once", world)
        .parallel(1, 2)
        .sessions(2)
        .wants(|policy| policy.reboot = HostReboot::IfNeeded)
}

/// Nodes that stand alone and are all to be rebooted.
pub fn two_reboots() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .standalone("pve2")
        .node("pve1", |node| node.pending(4))
        .node("pve2", |node| node.pending(4))
        .ct("pve1", 101, |ct| ct)
        .ct("pve2", 102, |ct| ct.onboot());
    Scenario::new("two reboots", world).parallel(2, 2).wants(|policy| policy.reboot = HostReboot::IfNeeded)
}
