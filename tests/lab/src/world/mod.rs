//! The world: clusters, nodes, guests, their packages, and time that passes only when it is told to.
//!
//! It is plain data and synchronous: no clock, no input or output, no threads, no chance but what comes from its seed. Every
//! operation is given the present [`Time`]; what was due until then has happened before the operation looks. So it serves the pure
//! simulation (virtual time, thousands of runs) and the real transports alike.

mod access;
mod agenda;
mod asker;
mod backup;
mod builder;
mod ceph;
#[cfg(test)]
mod cluster_tests;
mod dataset;
mod durations;
mod guest;
mod ha;
mod machine;
mod migrate;
mod node;
mod packages;
mod power;
mod quorum;
mod replication;
mod snapshot;
mod spec;
mod storage;
mod task;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use access::{ALL_PRIVILEGES, Acl, Token, User};
pub use asker::{Asker, Refusal};
pub use backup::BackupOrder;
pub(crate) use backup::ctime;
pub use builder::WorldBuilder;
pub(crate) use ceph::NO_CEPH;
pub use ceph::{CEPH_FLAGS, Ceph, CephCheck, CephHealth};
pub use dataset::DatasetSnapshot;
pub use durations::Durations;
pub use guest::{Agent, AgentExec, AgentTraits, ExecResult, Guest, Kind, Power, Reach, Snapshot};
pub use ha::{HA, HaService, Maintenance};
pub(crate) use ha::{sid, vmid_of};
pub use machine::{
    Change, Disturbance, Duties, Ending, Finished, LockHolder, Machine, MachineId, Manager, Os, Packages, Transaction,
    Web,
};
pub use migrate::MoveOrder;
pub use node::{CertData, Node, PveVersion, Repository, Service};
pub use packages::{PackageError, WRITTEN_BY_A_PACKAGE};
pub use quorum::{Device, Tally, Voting};
pub use replication::Replication;
pub use spec::{GuestSpec, NodeSpec};
pub use storage::{Backup, Storage, StorageState};
pub use task::Task;

use crate::faults::Faults;
use crate::ledger::{Act, Entry, Ledger, Outcome};
use agenda::Agenda;

/// A point in time: milliseconds since the world began.
pub type Time = u64;

/// A realm: a cluster, or a node that stands alone. Guests, storages and access control are its.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realm {
    /// The cluster's name, or that of the node that stands alone.
    pub name: String,
    /// Whether it is a cluster.
    pub clustered: bool,
    /// How it counts votes, beside its nodes' own.
    pub voting: Voting,
    /// The certificate of its own CA (`pve-root-ca.pem`).
    pub ca: CertData,
    /// Its nodes, in order of their numbers.
    pub nodes: Vec<String>,
    /// Its guests.
    pub guests: BTreeMap<u32, Guest>,
    /// Its storages.
    pub storages: Vec<Storage>,
    /// Its backup archives.
    pub backups: Vec<Backup>,
    /// Users.
    pub users: Vec<User>,
    /// API tokens.
    pub tokens: Vec<Token>,
    /// Services that HA manages, by `ct:101`.
    pub ha: BTreeMap<String, HaService>,
    /// Nodes in HA maintenance, or asked to be.
    pub maintenance: BTreeMap<String, Maintenance>,
    /// Its Ceph, where it has one.
    pub ceph: Option<Ceph>,
    /// Its replication jobs.
    pub replication: Vec<Replication>,
}

/// The simulated world.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// The wall clock when the world began, in milliseconds since the Unix epoch.
    pub epoch_ms: i64,
    /// How long things take.
    pub durations: Durations,
    /// Realms by name.
    pub realms: BTreeMap<String, Realm>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Every change that was asked for.
    pub ledger: Ledger,
    /// Faults that are planted.
    pub faults: Faults,
    now: Time,
    seed: u64,
    drawn: u64,
    transactions: u64,
    agenda: Agenda,
}

impl World {
    /// Begins to describe a world.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::new()
    }

    /// Returns the time that the world has reached.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Returns the wall clock at a time, in seconds since the Unix epoch.
    pub fn unix(&self, at: Time) -> i64 {
        self.epoch_ms.saturating_add(i64::try_from(at).unwrap_or(i64::MAX)).div_euclid(1000)
    }

    /// Sets the wall clock at which the world began, in milliseconds since the Unix epoch. The snapshots that guests have are as old
    /// then as they were before.
    pub fn set_epoch(&mut self, ms: i64) {
        let before = self.unix(0);
        self.epoch_ms = ms;
        let later = self.unix(0).saturating_sub(before);
        for guest in self.realms.values_mut().flat_map(|realm| realm.guests.values_mut()) {
            guest.snapshots.iter_mut().for_each(|snapshot| snapshot.snaptime += later);
            guest.dataset_snapshots.iter_mut().for_each(|snapshot| snapshot.created += later);
        }
    }

    /// Returns the realm that a node belongs to.
    pub fn realm_of(&self, node: &str) -> Option<&Realm> {
        self.realms.get(&self.nodes.get(node)?.realm)
    }

    /// Returns a guest of the realm that a node belongs to, whichever of its nodes has it.
    pub fn guest_of(&self, node: &str, vmid: u32) -> Option<&Guest> {
        self.realm_of(node)?.guests.get(&vmid)
    }

    /// Returns the identity of a guest of the realm that a node belongs to.
    pub fn guest_id(&self, node: &str, vmid: u32) -> Option<MachineId> {
        let realm = self.realm_of(node)?;
        realm.guests.contains_key(&vmid).then(|| MachineId::guest(&realm.name, vmid))
    }

    /// Returns the guest that an identity names.
    pub fn guest(&self, id: &MachineId) -> Option<&Guest> {
        match id {
            MachineId::Guest { realm, vmid } => self.realms.get(realm)?.guests.get(vmid),
            MachineId::Node(_) => None,
        }
    }

    /// Returns the guest that an identity names, to change it from outside (a test's own setting of the stage).
    pub fn guest_mut(&mut self, id: &MachineId) -> Option<&mut Guest> {
        match id {
            MachineId::Guest { realm, vmid } => self.realms.get_mut(realm)?.guests.get_mut(vmid),
            MachineId::Node(_) => None,
        }
    }

    /// Returns a machine.
    pub fn machine(&self, id: &MachineId) -> Option<&Machine> {
        match id {
            MachineId::Node(name) => self.nodes.get(name).map(|node| &node.machine),
            MachineId::Guest { .. } => self.guest(id).map(|guest| &guest.machine),
        }
    }

    /// Returns a machine, to change it from outside (a test's own setting of the stage).
    pub fn machine_mut(&mut self, id: &MachineId) -> Option<&mut Machine> {
        match id {
            MachineId::Node(name) => self.nodes.get_mut(name).map(|node| &mut node.machine),
            MachineId::Guest { .. } => self.guest_mut(id).map(|guest| &mut guest.machine),
        }
    }

    /// Tells whether a machine is up: an online node, or a running guest on one.
    pub fn is_up(&self, id: &MachineId) -> bool {
        match id {
            MachineId::Node(name) => self.nodes.get(name).is_some_and(|node| node.online),
            MachineId::Guest { .. } => {
                self.guest(id).is_some_and(|g| g.running() && self.nodes.get(&g.node).is_some_and(|node| node.online))
            }
        }
    }

    /// Returns the node that a machine is on: itself, or the one that has the guest.
    pub fn node_of(&self, id: &MachineId) -> Option<String> {
        match id {
            MachineId::Node(name) => self.nodes.contains_key(name).then(|| name.clone()),
            MachineId::Guest { .. } => self.guest(id).map(|g| g.node.clone()),
        }
    }

    /// Returns every machine: nodes, then guests by realm and vmid.
    pub fn machines(&self) -> Vec<MachineId> {
        let guests = self.realms.values().flat_map(|r| r.guests.keys().map(|vmid| MachineId::guest(&r.name, *vmid)));
        self.nodes.keys().map(MachineId::node).chain(guests).collect()
    }

    /// Plants a fault.
    pub fn plant(&mut self, fault: crate::faults::Fault) {
        self.faults.plant(fault);
    }

    /// Enters a change into the ledger: for transports that change the world by ways of their own. Returns its number.
    pub fn record(
        &mut self,
        now: Time,
        id: &MachineId,
        act: Act,
        key: Option<String>,
        by: &str,
        outcome: Outcome,
    ) -> u64 {
        self.advance(now);
        let node = self.node_of(id).unwrap_or_default();
        let realm = self.nodes.get(&node).map(|n| n.realm.clone()).unwrap_or_default();
        self.ledger.add(Entry {
            at: self.now,
            seq: 0,
            realm,
            node,
            machine: id.short(),
            act,
            key,
            by: by.to_owned(),
            outcome,
            answer_lost: false,
        })
    }

    /// Draws the next number of the world's own deterministic sequence (splitmix64 over the seed and a counter).
    pub(crate) fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        mix(self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Draws a UUID (version 4 in shape).
    pub(crate) fn draw_uuid(&mut self) -> String {
        uuid(self.draw(), self.draw())
    }
}

/// Mixes a number: the finaliser of splitmix64.
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Writes two numbers as a UUID, version 4 in shape.
pub(crate) fn uuid(high: u64, low: u64) -> String {
    let high = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
