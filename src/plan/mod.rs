//! What is to be done, with no choices left: policy (from the manifest, frozen when a run opens) and the plan of each
//! host (made from policy and observed facts when its turn comes).
//!
//! Both are plain data and both are journaled, so that an edited manifest never alters what a resumed run does.

pub mod drift;
pub mod evacuation;
pub mod health;
mod old;
mod planner;
pub mod policy;
pub mod preflight;
pub mod quorum;
pub mod rollout;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::choices::health::HealthCheck;
use crate::choices::{BackupMode, Compression, HostReboot, Traits, ViaChoice};
use crate::ids::{BootId, ClusterId, GuestId, GuestKind, NodeName, SnapshotName, Step};
use crate::inventory::{PackageChange, PackageManager, Via};
use crate::time::Timestamp;

pub use drift::{Progress, hold_to};
pub use evacuation::{Move, MoveHow};
pub use old::OldThings;
pub use planner::{decide_started, plan_host, prunable, prunable_backups};
pub use policy::{
    BackupSettings, GuestRule, GuestSettings, HeldBack, HeldBecause, HostPolicy, Retention, RunPolicy, SKIP_TAG,
};
pub use preflight::{Check, Finding, Level, preflight};
pub use rollout::RolloutPolicy;

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
    /// Backups of earlier runs that are no longer needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prune_backups: Vec<OldBackup>,
    /// What the checks before the first change found, where it is not as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Whether proxmaint itself runs here: such a host comes last, and is not rebooted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnPlace>,
    /// The node's own upgrade.
    pub upgrade: HostUpgrade,
    /// What must be as it was when the work is over.
    pub baseline: Baseline,
    /// The last rounds of this run's steps with guests of this node while they were on others: names that they bear on the guest
    /// are not given twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun_elsewhere: Vec<(GuestId, Step, u32)>,
}

/// A snapshot that an earlier run made, known by the journal's word and by nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSnapshot {
    /// Its guest, as it was then.
    pub guest: GuestAddr,
    /// Its name.
    pub name: SnapshotName,
}

/// A backup that an earlier run made, known by the journal's word and by nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldBackup {
    /// Its guest, as it was then.
    pub guest: GuestAddr,
    /// The archive's volume identifier (`storage:backup/..`).
    pub volid: String,
    /// The note that it carries: [`crate::ids::StepKey::backup_note`].
    pub note: String,
}

/// Where proxmaint itself runs, as seen from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnPlace {
    /// On the node.
    Node,
    /// In this guest of it.
    Guest(GuestId),
}

impl fmt::Display for OwnPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("proxmaint runs on this node"),
            Self::Guest(id) => write!(f, "proxmaint runs in guest {id} of this node"),
        }
    }
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
    /// Why the node is neither upgraded nor rebooted by this run, where that is so (`--guests-only`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Whether it is rebooted afterwards.
    #[serde(default = "never_rebooted")]
    pub reboot: HostReboot,
    /// What its cluster's votes would be meanwhile, where they suffice; where they don't, a finding says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes: Option<String>,
    /// What becomes of its running guests at its reboot, where it may be rebooted and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guests: Option<AtReboot>,
    /// Whether Ceph's flag `noout` is set for its reboot, and cleared afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noout: bool,
}

/// What becomes of a node's running guests at its reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtReboot {
    /// They stay: they are shut down and started again, and the cluster's policy governs those that HA manages.
    Stay {
        /// Those that HA manages.
        ha: Vec<(GuestId, GuestKind)>,
        /// The cluster's `shutdown_policy`.
        policy: String,
    },
    /// They are moved away and back. By the time of the reboot other targets may be chosen.
    Move(Vec<Move>),
}

impl AtReboot {
    /// Says what a cluster's `shutdown_policy` does to guests of HA at a node's reboot.
    pub fn policy_words(policy: &str) -> &'static str {
        match policy {
            "migrate" => "moved to other nodes by HA, and back afterwards",
            "failover" => "stopped, and started on another node where this one is not back within a minute or two",
            // `conditional` freezes at a reboot.
            "freeze" | "conditional" => "stopped, and started again when the node is back",
            _ => "what HA does then is not known here",
        }
    }
}

const fn never_rebooted() -> HostReboot {
    HostReboot::Never
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
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its resource pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What is to happen.
    pub decision: Decision,
    /// Whether proxmaint itself runs in it: it comes last of its host, and is not rebooted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

impl GuestPlan {
    /// Returns what the guest is selected by.
    pub fn traits(&self) -> Traits<'_> {
        Traits {
            id: self.guest.id,
            kind: self.guest.kind,
            name: &self.name,
            tags: &self.tags,
            pool: self.pool.as_deref(),
        }
    }
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
    /// It does not run: it is started and looked into, upgraded where something is pending, and stopped again.
    Start(GuestStart),
}

/// How a guest that does not run is upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestStart {
    /// The way into it, once it runs.
    pub via: ViaChoice,
    /// How it is protected, as in [`GuestUpgrade::protection`].
    pub protection: Vec<ProtectBy>,
    /// What the protection does not cover.
    pub not_covered: Vec<String>,
    /// Whether it is declared managed: one that can't be reached is then blocked and not merely skipped.
    pub declared: bool,
    /// Whether it is rebooted where it needs it, as in [`GuestUpgrade::reboot`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboot: bool,
    /// Its checks, as in [`GuestUpgrade::checks`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<HealthCheck>>,
    /// Whether it is rolled back where its upgrade failed, as in [`GuestUpgrade::rollback`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
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
    /// Whether it is to be rebooted where it needs it; VMs only. One that proxmaint itself runs in is not, all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboot: bool,
    /// The operator's checks of it; `None` in plans of versions that did not look how a guest does before its upgrade. Such a
    /// plan is followed as it was made: without a look before, without a comparison afterwards, and what fails is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<HealthCheck>>,
    /// Whether it is rolled back to its snapshot where its upgrade failed (`on_failure = "rollback"`). One that proxmaint itself
    /// runs in is not, all the same, and a backup is never restored by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
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
        /// How.
        #[serde(default)]
        how: BackupHow,
    },
    /// Not at all, since the manifest says so (`protect = ["none"]`).
    Waived,
}

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHow {
    /// How the guest is treated meanwhile.
    pub mode: BackupMode,
    /// How the archive is compressed.
    pub compress: Compression,
    /// How long vzdump waits for the node's backup lock, in milliseconds.
    pub lock_wait_ms: u64,
}

impl Default for BackupHow {
    fn default() -> Self {
        Self::from(&BackupSettings::default())
    }
}

impl From<&BackupSettings> for BackupHow {
    fn from(settings: &BackupSettings) -> Self {
        Self { mode: settings.mode, compress: settings.compress, lock_wait_ms: settings.lock_wait_ms }
    }
}

impl fmt::Display for ProtectBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot => f.write_str("snapshot"),
            Self::Backup { storage, how: BackupHow { mode: BackupMode::Snapshot, .. } } => {
                write!(f, "backup to {storage}")
            }
            Self::Backup { storage, how } => write!(f, "backup to {storage} (mode {})", how.mode),
            Self::Waived => f.write_str("none"),
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
    /// It is not selected: by what.
    LeftOut(String),
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
            Self::LeftOut(by) => write!(f, "left out: {by}"),
        }
    }
}
