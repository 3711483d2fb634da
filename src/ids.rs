//! Names of the things that a run deals with: runs, hosts, nodes, guests, steps.
//!
//! Everything here is plain data: no clock, no randomness, no input or output. A [`StepKey`] is derived, never drawn:
//! the same step of the same run has the same key after a crash, and the world (a snapshot's name, a job's directory,
//! a backup's note) carries it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a name that was read from a manifest, an API answer or the journal.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

string_id! {
    /// Names a host entry of the manifest (its `name`, or its `host` where no name is given).
    HostId
}
string_id! {
    /// Names a Proxmox VE node as its cluster knows it (`GET /nodes`, `hostname`).
    NodeName
}
string_id! {
    /// Identifies a cluster by the SHA-256 fingerprint of its root CA (`pve-root-ca.pem`), whatever it is called.
    ClusterId
}
string_id! {
    /// Identifies one asynchronous task of a node: `UPID:node:pid:pstart:starttime:type:id:user:`.
    Upid
}
string_id! {
    /// Identifies one boot of a machine (`/proc/sys/kernel/random/boot_id`).
    BootId
}
string_id! {
    /// Names a guest snapshot: `[a-z][a-z0-9_-]+`, at most 40 characters (format `pve-configid`).
    SnapshotName
}
string_id! {
    /// Names one run: `YYYYMMDD-HHMMSS-xxxx` in UTC, with two letters for the millisecond and two random ones; sorts by age.
    RunId
}

impl Upid {
    /// Returns the node named in the UPID: the one to ask for the task's status.
    pub fn node(&self) -> Option<NodeName> {
        let mut parts = self.0.split(':');
        (parts.next()? == "UPID").then(|| parts.next().filter(|n| !n.is_empty()).map(NodeName::new))?
    }
}

/// Identifies a guest within its cluster (the vmid: 100 to 999999999, unique in a cluster, reused after a guest is destroyed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestId(pub u32);

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for GuestId {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

/// Tells a container from a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// An LXC container (API: `lxc`).
    Ct,
    /// A QEMU virtual machine (API: `qemu`).
    Vm,
}

impl GuestKind {
    /// Returns the path component of the API (`/nodes/{node}/lxc|qemu/{vmid}`).
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Ct => "lxc",
            Self::Vm => "qemu",
        }
    }
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ct => "CT",
            Self::Vm => "VM",
        })
    }
}

/// Names what a step acts on: a host itself, or one of its guests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The node.
    Host(HostId),
    /// A guest that was on that node when the host's turn came.
    Guest(HostId, GuestId),
}

impl Target {
    /// Returns the host entry that the target belongs to.
    pub fn host(&self) -> &HostId {
        match self {
            Self::Host(host) | Self::Guest(host, _) => host,
        }
    }

    /// Returns the guest, where the target is one.
    pub fn guest(&self) -> Option<GuestId> {
        match self {
            Self::Host(_) => None,
            Self::Guest(_, guest) => Some(*guest),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "{host}"),
            Self::Guest(host, guest) => write!(f, "{host}/{guest}"),
        }
    }
}

/// Names a kind of step; with run, target and round it makes a [`StepKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Gathers the facts of a host and its guests; changes nothing but package lists.
    Discover,
    /// Takes a snapshot of a guest.
    Snapshot,
    /// Deletes a snapshot that an earlier run made and that is no longer needed.
    PruneSnapshot,
    /// Deletes a backup that an earlier run made and that is no longer needed.
    PruneBackup,
    /// Backs a guest up with vzdump.
    Backup,
    /// Starts a guest that does not run, to upgrade it: a debt until it is stopped again.
    StartGuest,
    /// Looks into a guest that was started.
    LookGuest,
    /// Looks how a guest does before its upgrade.
    MeasureGuest,
    /// Upgrades a guest's packages.
    UpgradeGuest,
    /// Checks a guest after its upgrade.
    CheckGuest,
    /// Reboots a VM into its new kernel.
    RebootGuest,
    /// Stops a guest again that was started to be upgraded.
    StopGuest,
    /// Rolls a guest back to its snapshot after an upgrade that went wrong, or where the operator asks for it.
    RollbackGuest,
    /// Starts a guest again that a rollback stopped.
    ReviveGuest,
    /// Checks a guest after its rollback.
    RecheckGuest,
    /// Upgrades the node's packages.
    UpgradeHost,
    /// Looks whether the node may be rebooted, and notes what runs on it.
    PrepareReboot,
    /// Shuts all guests of the node down, before its reboot: a debt until they run again.
    StopGuests,
    /// Reboots the node.
    RebootHost,
    /// Starts again the guests that were shut down for a reboot.
    StartGuests,
    /// Checks the node and its guests at the end.
    Verify,
}

impl Step {
    /// Tells whether the step gives back what another one borrowed: it may be done even when nothing else may begin.
    pub fn gives_back(self) -> bool {
        matches!(self, Self::StopGuest | Self::StartGuests | Self::ReviveGuest)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Discover => "discover",
            Self::Snapshot => "snapshot",
            Self::PruneSnapshot => "prune-snapshot",
            Self::PruneBackup => "prune-backup",
            Self::Backup => "backup",
            Self::StartGuest => "start-guest",
            Self::LookGuest => "look-guest",
            Self::MeasureGuest => "measure-guest",
            Self::UpgradeGuest => "upgrade-guest",
            Self::CheckGuest => "check-guest",
            Self::RebootGuest => "reboot-guest",
            Self::StopGuest => "stop-guest",
            Self::RollbackGuest => "rollback-guest",
            Self::ReviveGuest => "revive-guest",
            Self::RecheckGuest => "recheck-guest",
            Self::UpgradeHost => "upgrade-host",
            Self::PrepareReboot => "prepare-reboot",
            Self::StopGuests => "stop-guests",
            Self::RebootHost => "reboot-host",
            Self::StartGuests => "start-guests",
            Self::Verify => "verify",
        })
    }
}

/// Identifies one attempt at one step: an unsafe change is made at most once a key, and a new round needs a probe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// The run.
    pub run: RunId,
    /// The host or guest.
    pub target: Target,
    /// What is done.
    pub step: Step,
    /// Counts the attempts, from 1.
    pub round: u32,
}

impl StepKey {
    /// What the names of this tool's snapshots begin with.
    pub const SNAPSHOT_PREFIX: &'static str = "pm-";

    /// Returns the name under which a snapshot of this step exists: `pm-<run>-r<round>`, 27 characters and a few digits.
    pub fn snapshot_name(&self) -> SnapshotName {
        SnapshotName::new(format!("pm-{}-r{}", self.run, self.round))
    }

    /// Returns the name of the detached job on the target: `[A-Za-z0-9._-]` only, usable as a directory and a systemd unit.
    pub fn job_name(&self) -> String {
        let target = match &self.target {
            Target::Host(_) => "host".to_owned(),
            Target::Guest(_, guest) => guest.to_string(),
        };
        format!("proxmaint-{}-{}-{}-r{}", self.run, target, self.step, self.round)
    }

    /// Returns the note that a backup of this step carries, by which its archive is found again.
    pub fn backup_note(&self) -> String {
        format!("proxmaint {self}")
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/r{}", self.run, self.target, self.step, self.round)
    }
}
