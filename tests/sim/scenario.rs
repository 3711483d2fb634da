//! Named scenarios: each a world, what the operator wants of it, and what goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use proxmaint::choices::health::{Ask, HealthCheck};
use proxmaint::choices::{Canary, Evacuate, GuestReboot, HostReboot, OnFailure, ProtectChoice, Stopped};
use proxmaint::engine::perform::identity_of;
use proxmaint::engine::port::GuestConfig;
use proxmaint::ids::{ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName};
use proxmaint::machine::order::Order;
use proxmaint::plan::{
    GuestAddr, GuestRule, HostPlan, HostPolicy, OldBackup, OldSnapshot, OldThings, RolloutPolicy, RunPolicy,
};
use proxmaint_lab::faults::{CommandFault, Fault, HaFault, RequestFault, TaskFault, UpgradeFault};
use proxmaint_lab::world::{Asker, Backup, BackupOrder, Disturbance, Durations, Kind, Os, Voting, World, WorldBuilder};

use crate::harness::foresee;

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
    /// Guests that somebody moves to another node while proxmaint is down after its first crash.
    pub moves: Vec<(u32, &'static str)>,
    /// Jobs that are killed.
    pub kills: Vec<Kill>,
    /// Guests that have a snapshot of an earlier run, which is no longer needed.
    pub old: Vec<(&'static str, u32)>,
    /// Backups of an earlier run that are no longer needed: node, guest, archive and the note that it is to carry.
    pub old_archives: Vec<(&'static str, u32, String, String)>,
    /// What the operator wants for each host.
    pub wants: HostPolicy,
    /// Who goes first, and when the run halts.
    pub rollout: RolloutPolicy,
    /// What the operator says of hosts, and how long after the run was begun.
    pub orders: Vec<(Duration, Order, &'static str)>,
    /// The saved plans that the run follows.
    pub saved: BTreeMap<HostId, HostPlan>,
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
        let wants = HostPolicy::new(HostId::new("any"));
        let (kills, old, old_archives) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            name,
            world,
            parallel_hosts: 1,
            max_parallel: 1,
            sessions: 1,
            moves: Vec::new(),
            kills,
            old,
            old_archives,
            wants,
            rollout: RolloutPolicy::default(),
            orders: Vec::new(),
            saved: BTreeMap::new(),
        }
    }

    /// Says what the operator wants for each host.
    #[must_use]
    pub fn wants(mut self, change: impl FnOnce(&mut HostPolicy)) -> Self {
        change(&mut self.wants);
        self
    }

    /// Says who goes first, for how long they are left alone, and how much may fail.
    #[must_use]
    pub fn rolled_out(mut self, canary: &[&str], soak: Duration, max_failures: Option<u32>) -> Self {
        let is_host = |name: &str| self.world.nodes.contains_key(name);
        let canary = canary.iter().map(|text| Canary::read(text, is_host).expect("a canary")).collect();
        let soak_ms = u64::try_from(soak.as_millis()).expect("a soak of less than 500 million years");
        self.rollout = RolloutPolicy { max_failures, canary, soak_ms, ..RolloutPolicy::default() };
        self
    }

    /// Lets the operator say something of a host, so long after the run was begun.
    #[must_use]
    pub fn order(mut self, after: Duration, order: Order, host: &'static str) -> Self {
        self.orders.push((after, order, host));
        self
    }

    /// Saves a plan of the world as it is now, which the run then follows.
    #[must_use]
    pub fn by_saved_plan(mut self) -> Self {
        self.saved = foresee(&self);
        self
    }

    /// Changes the world after it was built.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.world);
        self
    }

    /// Gives a guest a backup of an earlier run, which carries this note or another one.
    #[must_use]
    pub fn old_archive(mut self, node: &'static str, vmid: u32, honest: bool, protected: bool) -> Self {
        let realm = self.world.realm_of(node).expect("the node is there").name.clone();
        let made = self.world.epoch_ms / 1000 - 864_000;
        let kind = self.world.guest_of(node, vmid).expect("the guest is there").kind;
        let volid = format!("local:backup/vzdump-{}-{vmid}-2026_11_12-22_06_40.tar.zst", kind.api_name());
        let note = format!("proxmaint 20261102-010000-efgh/{node}/{vmid}/backup/r1");
        let archive = Backup {
            volid: volid.clone(),
            storage: "local".to_owned(),
            node: node.to_owned(),
            vmid,
            vm: kind == Kind::Vm,
            ctime: made,
            size: 1 << 26,
            format: "tar.zst".to_owned(),
            notes: Some(if honest { note.clone() } else { "keep this one".to_owned() }),
            protected,
        };
        self.world.realms.get_mut(&realm).expect("the realm is there").backups.push(archive);
        self.old_archives.push((node, vmid, volid, note));
        self
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

    /// Moves a guest after the first crash.
    #[must_use]
    pub fn moves(mut self, vmid: u32, to: &'static str) -> Self {
        self.moves.push((vmid, to));
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

    /// Returns what the journal knows of earlier runs' snapshots and backups, and of some that are gone already.
    pub fn old_things(&self) -> OldThings {
        let mut all = OldThings::default();
        for (node, vmid) in &self.old {
            let (host, cluster, guest) = (HostId::new(*node), self.cluster(node), self.address(node, *vmid));
            for name in [OLD_SNAPSHOT, "pm-20261101-000000-gone-r1"] {
                let old = OldSnapshot { guest: guest.clone(), name: SnapshotName::new(name) };
                all.add_snapshot(&host, Some(&cluster), old);
            }
        }
        for (node, vmid, volid, note) in &self.old_archives {
            let (host, cluster, guest) = (HostId::new(*node), self.cluster(node), self.address(node, *vmid));
            for volid in [volid.as_str(), "local:backup/gone.tar.zst"] {
                let old = OldBackup { guest: guest.clone(), volid: volid.to_owned(), note: note.clone() };
                all.add_backup(&host, Some(&cluster), old);
            }
        }
        all
    }

    fn cluster(&self, node: &str) -> ClusterId {
        let realm = self.world.realm_of(node).expect("the node is there");
        ClusterId::new(realm.ca.fingerprint.clone())
    }

    fn address(&self, node: &str, vmid: u32) -> GuestAddr {
        let guest = self.world.guest_of(node, vmid).expect("the guest is there");
        let kind = if guest.config.contains_key("rootfs") { GuestKind::Ct } else { GuestKind::Vm };
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let config = guest.config.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        let identity = identity_of(kind, &GuestConfig(config));
        GuestAddr { node: NodeName::new(node), kind, id: GuestId(vmid), identity }
    }

    /// Returns what the operator wants: every node, each under its own name.
    pub fn policy(&self) -> RunPolicy {
        let host = |name: &String| HostPolicy {
            host: HostId::new(name.clone()),
            max_parallel: self.max_parallel,
            saved: self.saved.get(&HostId::new(name.clone())).cloned().map(Box::new),
            ..self.wants.clone()
        };
        let rollout = self.rollout.clone();
        RunPolicy { parallel_hosts: self.parallel_hosts, rollout, hosts: self.world.nodes.keys().map(host).collect() }
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

/// A guest whose upgrade breaks it, which is held, beside one whose upgrade fails and changes nothing, which is tried again.
pub fn upgrade_breaks() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(3))
        .ct("pve1", 102, |ct| ct.pending(2))
        .fault(Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 }))
        .fault(Fault::upgrade("102", UpgradeFault::Exit { code: 100 }));
    Scenario::new("an upgrade that breaks its guest", world).parallel(1, 2).sessions(2)
}

/// Guests whose upgrades break something: a unit, a check from outside, a port that nobody asks for; and some that were broken
/// before, or recover in time. The last one's checks can't be made.
pub fn upgrades_break_things() -> Scenario {
    let http = |port: u16| Ask::Http {
        url: format!("http://{{address}}:{port}/"),
        status: vec![200],
        text: None,
        insecure: false,
        redirects: 0,
    };
    let check =
        |name: &str, ask| HealthCheck { name: name.to_owned(), ask, retries: 1, every_ms: 1_000, timeout_ms: 5_000 };
    let unit = |name: &str| check(name, Ask::Command { line: name.to_owned(), exit: 0 });
    let rule = |id: u32, checks: Vec<HealthCheck>| {
        let who = id.to_string().parse().expect("a selector");
        GuestRule { checks: Some(checks), ..GuestRule::new(who) }
    };
    let fails = |unit: &str, ms| Disturbance::Fails(unit.to_owned(), ms);
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2).upgrade_breaks("nginx.service"))
        .vm("pve1", 102, |vm| vm.pending(1).serves(80, "hello").upgrade_does(Disturbance::Answers(500)))
        .ct("pve1", 103, |ct| ct.pending(1).listens(22).listens(80).upgrade_does(Disturbance::Moves(80, 8080)))
        .ct("pve1", 104, |ct| ct.pending(1).failed_unit("old.service"))
        .ct("pve1", 105, |ct| ct.pending(1).upgrade_does(fails("slow.service", Some(20_000))))
        .vm("pve1", 106, |vm| vm.pending(1).listens(25).upgrade_does(Disturbance::Closes(25)))
        .ct("pve1", 107, |ct| ct.pending(1).addresses(&[]));
    Scenario::new("upgrades that break things", world).parallel(1, 2).wants(|wants| {
        wants.rules = vec![
            rule(102, vec![check("web", http(80))]),
            rule(104, vec![unit("old.service")]),
            rule(106, vec![check("mail", Ask::Tcp { port: 25, host: None })]),
            rule(107, vec![check("lost", Ask::Tcp { port: 25, host: None })]),
        ];
    })
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

fn rolled_back(name: &'static str, world: WorldBuilder) -> Scenario {
    Scenario::new(name, world).parallel(1, 2).sessions(2).wants(|wants| wants.guests.on_failure = OnFailure::Rollback)
}

/// Guests whose upgrades break them half-way, and that are rolled back: a container, a VM, and one that was started for it.
pub fn upgrades_undone() -> Scenario {
    let breaks = UpgradeFault::HalfConfigure { code: 100 };
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(3))
        .ct("pve1", 102, |ct| ct.pending(1))
        .ct("pve1", 103, |ct| ct.pending(2).stopped())
        .vm("pve1", 201, |vm| vm.os(Os::Ubuntu2404).pending(2))
        .fault(Fault::upgrade("101", breaks.clone()))
        .fault(Fault::upgrade("103", breaks.clone()))
        .fault(Fault::upgrade("201", breaks));
    rolled_back("upgrades that are undone", world).wants(|wants| wants.guests.stopped = Stopped::Start)
}

/// A rollback whose answer is lost, one whose task vanishes when it was done, and one whose task vanishes before that.
pub fn rollbacks_in_doubt() -> Scenario {
    let breaks = UpgradeFault::HalfConfigure { code: 100 };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1))
        .vm("pve1", 201, |vm| vm.pending(1))
        .fault(Fault::upgrade("101", breaks.clone()))
        .fault(Fault::upgrade("102", breaks.clone()))
        .fault(Fault::upgrade("201", breaks))
        .fault(Fault::request("POST", "/nodes/*/lxc/101/snapshot/*/rollback", RequestFault::Lost))
        .fault(Fault::task("vzrollback", 102, TaskFault::Vanish))
        .fault(Fault::task("qmrollback", 201, TaskFault::DoneButVanished));
    rolled_back("rollbacks in doubt", world)
}

/// Rollbacks that fail, and a guest that can't be started again after its own.
pub fn rollbacks_fail() -> Scenario {
    let breaks = UpgradeFault::HalfConfigure { code: 100 };
    let fail = |text: &str| TaskFault::Fail { text: text.to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", breaks.clone()))
        .fault(Fault::upgrade("102", breaks))
        .fault(Fault::task("vzrollback", 101, fail("zfs error: dataset is busy")).times(0))
        .fault(Fault::task("vzstart", 102, fail("startup for container '102' failed")));
    rolled_back("rollbacks that fail", world)
}

/// Guests that could not be rolled back: one is replicated, one has newer snapshots that nobody lists. Neither is upgraded.
pub fn no_way_back() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1).auto_snapshots())
        .ct("pve1", 103, |ct| ct.pending(1))
        .replicated("lab", 101, "pve2");
    rolled_back("no way back", world).sessions(1)
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

/// Backups of an earlier run: one is removed, one bears another note, one is protected.
pub fn old_backups() -> Scenario {
    let world = World::builder().standalone("pve1").ct("pve1", 101, |ct| ct.pending(1)).ct("pve1", 102, |ct| ct).vm(
        "pve1",
        201,
        |vm| vm,
    );
    let scenario = Scenario::new("old backups", world).parallel(1, 2);
    scenario
        .old_archive("pve1", 101, true, false)
        .old_archive("pve1", 102, false, false)
        .old_archive("pve1", 201, true, true)
}

/// Guests that need no protection.
pub fn unprotected() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1).no_snapshots())
        .ct("pve1", 102, |ct| ct.pending(1).stopped())
        .ct("pve1", 103, |ct| ct.pending(1))
        .ct("pve1", 104, |ct| ct.pending(1));
    Scenario::new("no protection", world).wants(|policy| {
        policy.guests.protect = vec![ProtectChoice::None];
        policy.guests.stopped = Stopped::Start;
    })
}

/// A guest that the operator's own backup locks for two minutes, and one whose lock stays.
pub fn locked_guests() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1).locked("rollback"));
    Scenario::new("locked guests", world).parallel(1, 2).with(|world| {
        world.durations.backup = 120_000;
        let order = BackupOrder {
            vmids: vec![101],
            storage: "local".to_owned(),
            mode: "snapshot".to_owned(),
            compress: None,
            notes: Some("the operator's own".to_owned()),
            protected: false,
            remove: false,
            lock_wait_min: 1,
            line: "101".to_owned(),
        };
        world.back_up(0, "pve1", order, &Asker::root());
    })
}

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
    let mut scenario = cluster_rebooted()
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
