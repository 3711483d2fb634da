//! How an effect ended: the vocabulary between the engine that acts and the machine that decides.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{BootId, GuestId, GuestKind, SnapshotName};
use crate::inventory::health::Health;
use crate::inventory::{HostFacts, Inside, PackageChange};
use crate::time::Timestamp;

/// Classifies what went wrong, so that retry and doubt are decided by data and not by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    /// May go away by itself (a refused connection, a 502, a time-out before anything was sent).
    Transient,
    /// Will not go away by itself (a parameter refused, a task that failed, a command that exited non-zero).
    Permanent,
    /// Credentials were refused or lack a privilege.
    Auth,
    /// The other side is not who it should be: a host key, certificate or machine identity that does not match.
    Identity,
    /// It cannot be told whether the act was done: the answer was lost after the request went out.
    Ambiguous,
}

/// Says what went wrong, in words that an operator can act on. Journaled, so it holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The class.
    pub class: FaultClass,
    /// A lowercase fragment: what was tried and what the other side answered.
    pub what: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    /// Makes a fault of a class from a lowercase fragment.
    pub fn new(class: FaultClass, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), hint: None }
    }

    /// Makes a transient fault.
    pub fn transient(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Transient, what)
    }

    /// Makes a permanent fault.
    pub fn permanent(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Permanent, what)
    }

    /// Makes a fault of credentials.
    pub fn auth(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Auth, what)
    }

    /// Makes a fault of identity.
    pub fn identity(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Identity, what)
    }

    /// Makes an ambiguous fault.
    pub fn ambiguous(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Ambiguous, what)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done now.
    Done(Detail),
    /// It was found done already: as good as done.
    AlreadyDone(Detail),
    /// It was looked at and not begun: nothing changed.
    Refused(Fault),
    /// It was begun and failed, or could not be begun for good: known not to be at work any more.
    Failed(Fault),
    /// It can't be told whether it was done.
    Unknown(Fault),
}

/// What an effect that succeeded found out or made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Facts of a host.
    Discovered(Box<HostFacts>),
    /// A protection that exists now.
    Protected(Protection),
    /// The snapshot is gone.
    Pruned,
    /// How a guest does before its upgrade.
    Measured(Box<Health>),
    /// The package manager ended well.
    Upgraded,
    /// A guest was checked after its upgrade.
    Checked(CheckReport),
    /// A node was checked at the end.
    Verified(VerifyReport),
    /// The guest runs now, by this step's doing.
    Started,
    /// What was found in a guest that was started.
    Looked(Box<Inside>),
    /// The guest does not run any more.
    Stopped,
    /// The guest is as it was when the snapshot was taken, and does not run.
    RolledBack,
    /// A guest was checked after its rollback, and is as it was before its upgrade.
    Rechecked,
    /// The machine runs another boot: this one.
    Rebooted(BootId),
    /// The node may be rebooted; this is how it stands before.
    RebootReady(RebootFacts),
    /// No guest of the node runs any more, but for those that HA manages.
    GuestsStopped,
    /// The guests that ran before run again.
    GuestsStarted,
}

/// How a node stands before its reboot: what it must differ in afterwards, and what is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootFacts {
    /// The boot that must end.
    pub boot_id: BootId,
    /// The kernel that runs.
    pub kernel: String,
    /// The kernel that must run afterwards, where that can be told.
    pub expected: Option<String>,
    /// The guests that run, in the order in which the node would start them: a debt from the moment that they are shut down.
    pub running: Vec<RunningGuest>,
}

/// A guest that runs on a node that is to be rebooted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningGuest {
    /// Its vmid.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// Its name; may be empty.
    pub name: String,
    /// Whether HA manages it: the node's shutdown and HA see to it, and it is neither shut down nor started here.
    pub ha: bool,
}

/// Something that was borrowed and must be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obligation {
    /// A guest that did not run was started to be upgraded: it is to be stopped again.
    StopGuest {
        /// The guest.
        id: GuestId,
        /// Its kind.
        kind: GuestKind,
    },
    /// A guest was stopped by its rollback: it is to run again.
    ReviveGuest {
        /// The guest.
        id: GuestId,
        /// Its kind.
        kind: GuestKind,
    },
    /// Guests were shut down so that their node could be rebooted: they are to run again.
    StartGuests {
        /// The guests.
        guests: Vec<RunningGuest>,
    },
}

impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StopGuest { id, kind } => {
                write!(f, "{kind} {id} was started to be upgraded and is to be stopped again")
            }
            Self::ReviveGuest { id, kind } => {
                write!(f, "{kind} {id} was stopped by its rollback and is to run again")
            }
            Self::StartGuests { guests } => {
                let names: Vec<String> = guests.iter().map(|guest| format!("{} {}", guest.kind, guest.id)).collect();
                write!(f, "shut down for the node's reboot and to run again: {}", names.join(", "))
            }
        }
    }
}

/// What a guest can be brought back from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// A snapshot.
    Snapshot {
        /// Its name.
        name: SnapshotName,
        /// When it was there.
        at: Timestamp,
    },
    /// A backup.
    Backup {
        /// The archive's volume identifier.
        volid: String,
        /// When it was there.
        at: Timestamp,
        /// The note that it carries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Nothing: the manifest says that this guest needs no protection.
    Waived,
}

impl Protection {
    /// Returns when the protection was there; `None` where there is none to grow old.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Snapshot { at, .. } | Self::Backup { at, .. } => Some(*at),
            Self::Waived => None,
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot { name, .. } => write!(f, "snapshot {name}"),
            Self::Backup { volid, .. } => write!(f, "backup {volid}"),
            Self::Waived => f.write_str("no protection"),
        }
    }
}

/// What a guest looked like after its upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Packages that changed.
    pub changes: Vec<PackageChange>,
    /// Why it wants a reboot, where it does.
    pub reboot_wanted: Option<String>,
    /// Its boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<BootId>,
    /// What is left for the administrator.
    #[serde(default, skip_serializing_if = "Remarks::is_empty")]
    pub remarks: Remarks,
}

/// What an upgrade leaves for the administrator to look at. None of it is a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remarks {
    /// Packages that are held back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Configuration files that packages left beside the administrator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
    /// Services that still run files that were replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_needed: Vec<String>,
    /// How a guest does otherwise than before, as far as that is no failure (ports that nobody listens on any more, what had
    /// failed before already), and what can't be compared: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<String>,
}

impl Remarks {
    /// Tells whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.leftovers.is_empty() && self.restart_needed.is_empty() && self.health.is_empty()
    }
}

/// What a node looked like at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Packages of the node that changed.
    pub changes: Vec<PackageChange>,
    /// Why it wants a reboot, where it does. No reboot is done unasked.
    pub reboot_wanted: Option<String>,
    /// The kernel that it was rebooted into, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebooted: Option<String>,
    /// What is left for the administrator.
    #[serde(default, skip_serializing_if = "Remarks::is_empty")]
    pub remarks: Remarks,
}

/// What a probe found out about a step in doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed {
    /// It has ended: how.
    Ended(Outcome),
    /// It is still at work: attach to it.
    Running,
    /// It was never begun, or left nothing behind: it may be tried anew, under a new round.
    NotDone,
    /// It can't be told: the operator must look.
    Unclear(Fault),
}
