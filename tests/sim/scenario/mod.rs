//! Named scenarios: each a world, what the operator wants of it, and what goes wrong. One file a topic.

pub mod emptied;
pub mod moved;
pub mod power;
pub mod protections;
pub mod reboots;
pub mod rings;
pub mod undone;
pub mod upgrades;

use std::collections::BTreeMap;
use std::time::Duration;

use proxmaint::choices::Canary;
use proxmaint::engine::perform::identity_of;
use proxmaint::engine::port::GuestConfig;
use proxmaint::ids::{ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName};
use proxmaint::machine::order::Order;
use proxmaint::plan::{GuestAddr, HostPlan, HostPolicy, OldBackup, OldSnapshot, OldThings, RolloutPolicy, RunPolicy};
use proxmaint_lab::world::{Asker, Backup, Durations, Kind, World, WorldBuilder};

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
