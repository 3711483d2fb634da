//! What is to be done, with no choices left: policy (from the manifest, frozen when a run opens) and the plan of each
//! host (made from policy and observed facts when its turn comes).
//!
//! Both are plain data and both are journaled, so that an edited manifest never alters what a resumed run does.

mod planner;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{BootId, ClusterId, GuestId, GuestKind, HostId, NodeName, SnapshotName};
use crate::inventory::{PackageChange, PackageManager, Via};
use crate::time::Timestamp;

pub use planner::{plan_host, prunable};

/// What the operator wants for the whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPolicy {
    /// How many hosts may be worked on at a time.
    pub parallel_hosts: u32,
    /// The hosts, in the manifest's order.
    pub hosts: Vec<HostPolicy>,
}

/// What the operator wants for one host. Connection facts (addresses, users, keys, pins) are no policy: they always come
/// from the manifest as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPolicy {
    /// The entry.
    pub host: HostId,
    /// The node that the entry must turn out to be, where it says so.
    pub node: Option<NodeName>,
    /// How many guests may be worked on at a time.
    pub max_parallel: u32,
    /// Guests that are not to be touched (`managed = false`).
    pub unmanaged: BTreeSet<GuestId>,
    /// Guests that are declared managed: one that can't be reached is then blocked and not merely skipped.
    pub declared: BTreeSet<GuestId>,
    /// How old a protection may be, in milliseconds, when the upgrade that it protects begins.
    pub protect_max_age_ms: u64,
}

impl HostPolicy {
    /// Returns how old a protection may be when its upgrade begins.
    pub fn protect_max_age(&self) -> Duration {
        Duration::from_millis(self.protect_max_age_ms)
    }

    /// Lists what differs from `newer`, in words, for the operator who decides between the two.
    pub fn differences(&self, newer: &Self) -> Vec<String> {
        let mut out = Vec::new();
        if self.node != newer.node {
            let name = |node: &Option<NodeName>| node.as_ref().map_or("any".to_owned(), ToString::to_string);
            out.push(format!("{}: api.node {} -> {}", self.host, name(&self.node), name(&newer.node)));
        }
        if self.max_parallel != newer.max_parallel {
            out.push(format!("{}: max_parallel {} -> {}", self.host, self.max_parallel, newer.max_parallel));
        }
        if self.protect_max_age_ms != newer.protect_max_age_ms {
            out.push(format!(
                "{}: protect.max_age {} s -> {} s",
                self.host,
                self.protect_max_age_ms / 1000,
                newer.protect_max_age_ms / 1000
            ));
        }
        for (what, old, new) in
            [("unmanaged", &self.unmanaged, &newer.unmanaged), ("managed", &self.declared, &newer.declared)]
        {
            for guest in new.difference(old) {
                out.push(format!("{}: guest {guest} is now declared {what}", self.host));
            }
            for guest in old.difference(new) {
                out.push(format!("{}: guest {guest} is no longer declared {what}", self.host));
            }
        }
        out
    }
}

/// What is to be done on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// The node.
    pub node: NodeName,
    /// Its CA's fingerprint; with `node` it identifies the machine.
    pub ca: ClusterId,
    /// Its cluster, whose nodes take turns.
    pub cluster: Option<ClusterId>,
    /// Why nothing at all may be done here, where that is so.
    pub refusal: Option<String>,
    /// When the facts were gathered that the plan rests on.
    pub facts_at: Timestamp,
    /// Every guest with what is to happen to it, in order of vmid.
    pub guests: Vec<GuestPlan>,
    /// Snapshots of earlier runs that are no longer needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prune: Vec<OldSnapshot>,
    /// The node's own upgrade.
    pub upgrade: HostUpgrade,
    /// What must be as it was when the work is over.
    pub baseline: Baseline,
}

/// A snapshot that an earlier run made, known by the journal's word and by nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSnapshot {
    /// Its guest, as it was then.
    pub guest: GuestAddr,
    /// Its name.
    pub name: SnapshotName,
}

/// The node's own upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostUpgrade {
    /// Its package manager; `None` where it is not apt, which a Proxmox VE node always has.
    pub manager: Option<PackageManager>,
    /// What is pending.
    pub pending: Vec<PackageChange>,
    /// When the package lists were refreshed.
    pub lists_refreshed: Option<Timestamp>,
    /// Why the node wants a reboot already, where it does.
    pub reboot_wanted: Option<String>,
}

/// What ran before, to be compared with what runs afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Services of the node that ran.
    pub services: Vec<String>,
    /// Guests that ran.
    pub running: Vec<(GuestId, GuestKind)>,
    /// The node's boot.
    pub boot_id: BootId,
}

/// A guest and what is to happen to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPlan {
    /// Where it is and what it is.
    pub guest: GuestAddr,
    /// Its name; may be empty.
    pub name: String,
    /// What is to happen.
    pub decision: Decision,
}

/// A guest's place and identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestAddr {
    /// The node that had it when the facts were gathered.
    pub node: NodeName,
    /// Its kind.
    pub kind: GuestKind,
    /// Its vmid.
    pub id: GuestId,
    /// What makes it this guest and no other under the same vmid.
    pub identity: Option<String>,
}

/// What is to happen to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is left alone, as it should be.
    Skip(SkipReason),
    /// It should be upgraded, but may not be touched: why.
    Block(String),
    /// It is upgraded.
    Upgrade(GuestUpgrade),
}

/// How a guest is upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestUpgrade {
    /// The path into it.
    pub via: Via,
    /// Its package manager.
    pub manager: PackageManager,
    /// What is pending.
    pub pending: Vec<PackageChange>,
    /// When its package lists were refreshed.
    pub lists_refreshed: Option<Timestamp>,
    /// How it is protected first: the ways in order of preference, never empty.
    pub protection: Vec<ProtectBy>,
    /// What the protection does not cover.
    pub not_covered: Vec<String>,
    /// Its boot when the facts were gathered.
    pub boot_id: BootId,
}

/// A way to protect a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtectBy {
    /// A snapshot, taken through the API.
    Snapshot,
    /// A backup by vzdump onto this storage.
    Backup {
        /// The storage.
        storage: String,
    },
}

impl fmt::Display for ProtectBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot => f.write_str("snapshot"),
            Self::Backup { storage } => write!(f, "backup to {storage}"),
        }
    }
}

/// Why a guest is left alone. None of these is a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// `managed = false` in the manifest.
    NotManaged,
    /// It is a template.
    Template,
    /// It does not run.
    Stopped,
    /// Nothing is pending.
    NothingPending,
    /// Its operating system or package manager is not known here.
    UnsupportedOs(String),
    /// No way into it is known, and it is not declared managed.
    NoWayIn(String),
    /// The operator said so (`resolve --skip`).
    ByOperator,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotManaged => f.write_str("not managed"),
            Self::Template => f.write_str("template"),
            Self::Stopped => f.write_str("not running"),
            Self::NothingPending => f.write_str("nothing pending"),
            Self::UnsupportedOs(os) => write!(f, "unsupported system: {os}"),
            Self::NoWayIn(why) => write!(f, "no way in: {why}"),
            Self::ByOperator => f.write_str("skipped by the operator"),
        }
    }
}
