//! Nodes that are emptied before their reboot: by HA and by moves, with Ceph told of it.

use proxmaint::choices::{Evacuate, HostReboot};
use proxmaint::plan::HostPolicy;
use proxmaint_lab::faults::{CommandFault, Fault, HaFault, RequestFault, TaskFault};
use proxmaint_lab::world::{Asker, World, WorldBuilder};

use super::Scenario;

/// A cluster whose guests share a Ceph: one moves live, one by a restart, one by HA, and two stay off.
fn cluster_on_ceph() -> WorldBuilder {
    World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ceph("lab", 2)
        .ct("pve1", 101, |ct| ct.on("ceph").pending(1))
        .ct("pve1", 102, |ct| ct.on("ceph"))
        .ct("pve1", 103, |ct| ct.on("ceph").stopped())
        .vm("pve1", 201, |vm| vm.on("ceph").memory_mib(4096))
        .ct("pve2", 104, |ct| ct.on("ceph").stopped())
        .ha("lab", [102])
}

/// Lets a node's guests be moved away when it is rebooted, which it is.
fn emptied(policy: &mut HostPolicy) {
    policy.reboot = HostReboot::Always;
    policy.evacuate = Evacuate::Migrate;
}

/// A node that is emptied, rebooted and filled again, as are the two others after it.
pub fn evacuated() -> Scenario {
    Scenario::new("an evacuated node", cluster_on_ceph()).parallel(1, 2).wants(emptied)
}

/// Guests with disks of their own: they move with them, a container with the snapshots that its storage sends along.
pub fn evacuated_with_disks() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ct("pve1", 101, |ct| ct.pending(1).onboot())
        .vm("pve1", 201, |vm| vm)
        .ct("pve3", 102, |ct| ct.onboot());
    Scenario::new("guests with disks of their own", world).parallel(3, 2).wants(emptied)
}

/// A node whose guests stay: only Ceph's flag is set, which somebody else has set already in the other world.
pub fn noout(set_before: bool) -> Scenario {
    let world =
        World::builder().cluster("lab", ["pve1", "pve2", "pve3"]).ceph("lab", 1).ct("pve1", 101, |ct| ct.on("ceph"));
    let scenario = Scenario::new("a flag of Ceph", world).wants(|policy| policy.reboot = HostReboot::Always);
    scenario.with(|world| {
        if set_before {
            world.ceph_flag(0, "pve2", "noout", true, &Asker::root()).expect("there is Ceph");
        }
    })
}

/// HA does not empty the node: it is not rebooted, and everything is undone.
pub fn drain_never_ends() -> Scenario {
    let world = cluster_on_ceph().fault(Fault::ha("pve1", HaFault::DrainNeverEnds).times(0));
    Scenario::new("a drain that never ends", world).wants(emptied)
}

/// The move of a guest fails, and leaves a container off.
pub fn move_fails() -> Scenario {
    let off = TaskFault::FailOff { text: "migration aborted".to_owned() };
    let world = cluster_on_ceph().fault(Fault::task("vzmigrate", 101, off).times(0));
    Scenario::new("a move that fails", world).wants(emptied)
}

/// The answer to a move is lost, that of Ceph's flag, and the connection over which HA is asked.
pub fn move_answer_lost() -> Scenario {
    let world = cluster_on_ceph()
        .fault(Fault::request("POST", "/nodes/*/qemu/201/migrate", RequestFault::Lost).times(2))
        .fault(Fault::request("POST", "/nodes/*/lxc/101/migrate", RequestFault::Lost))
        .fault(Fault::request("PUT", "/cluster/ceph/flags", RequestFault::Lost).times(2))
        .fault(Fault::command("pve1", "enable *", CommandFault::CutAtEnd))
        .fault(Fault::command("pve1", "disable *", CommandFault::CutAtEnd));
    Scenario::new("lost answers of an evacuation", world).wants(emptied)
}

/// HA does not bring its guest back: it is moved from here.
pub fn never_back() -> Scenario {
    let world = cluster_on_ceph().fault(Fault::ha("pve1", HaFault::NeverBack));
    Scenario::new("a guest that HA does not bring back", world).wants(emptied)
}

/// A guest can't be brought back the first time; the rest is given back all the same.
pub fn return_of_a_move_fails() -> Scenario {
    let fails = TaskFault::Fail { text: "migration aborted".to_owned(), leave_lock: false };
    let world = cluster_on_ceph().fault(Fault::task("qmigrate", 201, fails).nth(2));
    Scenario::new("a guest that can't be brought back", world).sessions(2).wants(emptied)
}
