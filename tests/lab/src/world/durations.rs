//! How long things take in the world, in milliseconds of its time.

use serde::{Deserialize, Serialize};

/// How long each kind of work takes, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Durations {
    /// A guest's start.
    pub start: u64,
    /// A guest's orderly shutdown.
    pub shutdown: u64,
    /// A guest's hard stop.
    pub stop: u64,
    /// Taking a snapshot.
    pub snapshot: u64,
    /// Deleting a snapshot.
    pub snapshot_delete: u64,
    /// Rolling back to a snapshot.
    pub rollback: u64,
    /// Backing up one guest.
    pub backup: u64,
    /// Deleting a backup archive.
    pub backup_delete: u64,
    /// Refreshing package lists.
    pub refresh: u64,
    /// The part of an upgrade that does not depend on the number of packages.
    pub upgrade: u64,
    /// What each package adds to an upgrade.
    pub upgrade_per_package: u64,
    /// Moving a guest to another node.
    pub migrate: u64,
    /// From a node's reboot command until it answers again.
    pub node_reboot: u64,
    /// From a VM's start until its agent answers.
    pub agent_ready: u64,
    /// How long the API waits for an agent that is not there before it says so (3 s on a real node).
    pub agent_timeout: u64,
    /// How long the API keeps back a refusal of credentials (3 s on a real node).
    pub auth_delay: u64,
    /// From an HA request until the guest follows it; also how long the HA manager needs to take up a node's maintenance, and between
    /// two moves that it makes.
    pub ha: u64,
    /// From the return of a node with OSDs until Ceph has recovered what they missed.
    pub ceph_recovery: u64,
    /// The task that sets flags of Ceph.
    pub ceph_flag: u64,
}

impl Durations {
    /// Returns what a small real node was seen to take.
    pub fn real() -> Self {
        Self {
            start: 1_500,
            shutdown: 3_000,
            stop: 800,
            snapshot: 900,
            snapshot_delete: 600,
            rollback: 900,
            backup: 3_000,
            backup_delete: 300,
            refresh: 2_000,
            upgrade: 4_000,
            upgrade_per_package: 700,
            migrate: 7_000,
            node_reboot: 60_000,
            agent_ready: 15_000,
            agent_timeout: 3_000,
            auth_delay: 3_000,
            ha: 10_000,
            ceph_recovery: 45_000,
            ceph_flag: 1_500,
        }
    }

    /// Returns times for tests over real transports: long enough to be seen running, short enough not to be waited for.
    pub fn quick() -> Self {
        Self {
            start: 60,
            shutdown: 60,
            stop: 30,
            snapshot: 80,
            snapshot_delete: 40,
            rollback: 60,
            backup: 150,
            backup_delete: 30,
            refresh: 60,
            upgrade: 200,
            upgrade_per_package: 10,
            migrate: 200,
            node_reboot: 500,
            agent_ready: 100,
            agent_timeout: 50,
            auth_delay: 0,
            ha: 100,
            ceph_recovery: 300,
            ceph_flag: 60,
        }
    }

    /// Returns these durations multiplied by `percent` / 100.
    #[must_use]
    pub fn scaled(&self, percent: u64) -> Self {
        let s = |ms: u64| ms.saturating_mul(percent) / 100;
        Self {
            start: s(self.start),
            shutdown: s(self.shutdown),
            stop: s(self.stop),
            snapshot: s(self.snapshot),
            snapshot_delete: s(self.snapshot_delete),
            rollback: s(self.rollback),
            backup: s(self.backup),
            backup_delete: s(self.backup_delete),
            refresh: s(self.refresh),
            upgrade: s(self.upgrade),
            upgrade_per_package: s(self.upgrade_per_package),
            migrate: s(self.migrate),
            node_reboot: s(self.node_reboot),
            agent_ready: s(self.agent_ready),
            agent_timeout: s(self.agent_timeout),
            auth_delay: s(self.auth_delay),
            ha: s(self.ha),
            ceph_recovery: s(self.ceph_recovery),
            ceph_flag: s(self.ceph_flag),
        }
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self::quick()
    }
}
