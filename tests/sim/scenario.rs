//! Named scenarios: each a world, what the operator wants of it, and what goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use proxmaint::engine::perform::identity_of;
use proxmaint::engine::port::GuestConfig;
use proxmaint::ids::{GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName};
use proxmaint::plan::{GuestAddr, HostPolicy, OldSnapshot, RunPolicy};
use proxmaint_lab::faults::{Fault, RequestFault, TaskFault, UpgradeFault};
use proxmaint_lab::world::{Asker, Durations, Os, World, WorldBuilder};

/// A scenario.
#[derive(Clone)]
pub struct Scenario {
    /// Its name, for messages.
    pub name: &'static str,
    /// The world at the beginning, with its faults.
    pub world: World,
    /// Whether several hosts are worked on at a time, and how many.
    pub parallel_hosts: u32,
    /// How many guests of a host are worked on at a time.
    pub max_parallel: u32,
    /// How often `run` is called, crashes not counted, unless the run is finished before.
    pub sessions: u32,
    /// Jobs that are killed.
    pub kills: Vec<Kill>,
    /// Guests that have a snapshot of an earlier run, which is no longer needed.
    pub old: Vec<(&'static str, u32)>,
}

/// The first upgrade of a machine is killed.
#[derive(Debug, Clone, Copy)]
pub struct Kill {
    /// The machine, as the ledger calls it.
    pub machine: &'static str,
    /// How long after it was begun.
    pub after: Duration,
}

/// The name of each old snapshot.
const OLD_SNAPSHOT: &str = "pm-20261102-010000-efgh-r1";

/// The name of every simulated run.
pub fn run_id() -> RunId {
    RunId::new("20261122-220640-abcd")
}

impl Scenario {
    /// Makes a scenario in which nothing is at work in parallel, and `run` is called once.
    pub fn new(name: &'static str, world: WorldBuilder) -> Self {
        let world = world.durations(Durations::real()).build();
        Self { name, world, parallel_hosts: 1, max_parallel: 1, sessions: 1, kills: Vec::new(), old: Vec::new() }
    }

    /// Sets how many hosts, and how many guests of each, are worked on at a time.
    #[must_use]
    pub fn parallel(mut self, hosts: u32, guests: u32) -> Self {
        (self.parallel_hosts, self.max_parallel) = (hosts, guests);
        self
    }

    /// Sets how often `run` is called.
    #[must_use]
    pub fn sessions(mut self, sessions: u32) -> Self {
        self.sessions = sessions;
        self
    }

    /// Kills a machine's first upgrade.
    #[must_use]
    pub fn kill(mut self, machine: &'static str, after: Duration) -> Self {
        self.kills.push(Kill { machine, after });
        self
    }

    /// Gives a guest a snapshot of an earlier run.
    #[must_use]
    pub fn old_snapshot(mut self, node: &'static str, vmid: u32) -> Self {
        let id = self.world.guest_id(node, vmid).expect("the guest is there");
        self.world.create_snapshot(0, &id, OLD_SNAPSHOT, "earlier", &Asker::root()).expect("it is begun");
        self.world.settle();
        // Whoever took it, it was not in this simulation.
        self.world.ledger = Default::default();
        self.old.push((node, vmid));
        self
    }

    /// Returns what the journal knows of earlier runs' snapshots, and of one that is gone already.
    pub fn old_snapshots(&self) -> BTreeMap<HostId, Vec<OldSnapshot>> {
        let mut all: BTreeMap<HostId, Vec<OldSnapshot>> = BTreeMap::new();
        for (node, vmid) in &self.old {
            let guest = self.world.guest_of(node, *vmid).expect("the guest is there");
            let kind = if guest.config.contains_key("rootfs") { GuestKind::Ct } else { GuestKind::Vm };
            let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let config = guest.config.iter().map(|(key, value)| (key.clone(), text(value))).collect();
            let guest = GuestAddr {
                node: NodeName::new(*node),
                kind,
                id: GuestId(*vmid),
                identity: identity_of(kind, &GuestConfig(config)),
            };
            let old = |name: &str| OldSnapshot { guest: guest.clone(), name: SnapshotName::new(name) };
            all.entry(HostId::new(*node)).or_default().extend([old(OLD_SNAPSHOT), old("pm-20261101-000000-gone-r1")]);
        }
        all
    }

    /// Returns what the operator wants: every node, each under its own name.
    pub fn policy(&self) -> RunPolicy {
        let host = |name: &String| HostPolicy {
            host: HostId::new(name.clone()),
            node: None,
            max_parallel: self.max_parallel,
            unmanaged: Default::default(),
            declared: Default::default(),
            protect_max_age_ms: 3_600_000,
            ..HostPolicy::new(proxmaint::ids::HostId::new("unused"))
        };
        RunPolicy { parallel_hosts: self.parallel_hosts, hosts: self.world.nodes.keys().map(host).collect() }
    }
}

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

/// A guest whose snapshots fail, so that it is backed up instead.
pub fn snapshot_fails() -> Scenario {
    let full = TaskFault::Fail { text: "zfs error: out of space".to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2))
        .ct("pve1", 102, |ct| ct.pending(1))
        .fault(Fault::task("vzsnapshot", 101, full).times(0));
    Scenario::new("a snapshot that fails", world).parallel(1, 2)
}

/// A VM that can only be backed up, and a container that can't be protected at all.
pub fn backup_only() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(1))
        .vm("pve1", 201, |vm| vm.no_snapshots().pending(2))
        .ct("pve1", 101, |ct| ct.no_snapshots().pending(2));
    Scenario::new("a backup only", world).parallel(1, 2)
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

/// An upgrade that is killed and leaves a package half-configured: it is held. Another host comes after it.
pub fn killed_in_disorder() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .standalone("pve2")
        .ct("pve1", 101, |ct| ct.pending(5))
        .ct("pve1", 102, |ct| ct.pending(1))
        .ct("pve2", 103, |ct| ct.pending(1));
    Scenario::new("a killed upgrade, in disorder", world)
        .parallel(1, 2)
        .sessions(2)
        .kill("101", Duration::from_millis(3_000))
}

/// The answer to a snapshot's creation is lost.
pub fn answer_lost() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2))
        .vm("pve1", 201, |vm| vm.pending(1))
        .fault(Fault::request("POST", "/nodes/*/lxc/101/snapshot", RequestFault::Lost))
        .fault(Fault::request("POST", "/nodes/*/qemu/201/snapshot", RequestFault::Lost));
    Scenario::new("a lost answer", world).parallel(1, 2)
}

/// Guests with snapshots of an earlier run, one of which can't be removed.
pub fn old_snapshots() -> Scenario {
    let busy = TaskFault::Fail { text: "can't delete snapshot: dataset is busy".to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct)
        .vm("pve1", 201, |vm| vm)
        .fault(Fault::task("vzdelsnapshot", 102, busy).times(0));
    let scenario = Scenario::new("old snapshots", world).parallel(1, 2);
    scenario.old_snapshot("pve1", 101).old_snapshot("pve1", 102).old_snapshot("pve1", 201)
}
