//! How an effect ended: the vocabulary between the engine that acts and the machine that decides.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::SnapshotName;
use crate::inventory::{HostFacts, PackageChange};
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
    /// The package manager ended well.
    Upgraded,
    /// A guest was checked after its upgrade.
    Checked(CheckReport),
    /// A node was checked at the end.
    Verified(VerifyReport),
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
    },
}

impl Protection {
    /// Returns when the protection was there.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Snapshot { at, .. } | Self::Backup { at, .. } => *at,
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot { name, .. } => write!(f, "snapshot {name}"),
            Self::Backup { volid, .. } => write!(f, "backup {volid}"),
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
}

/// What a node looked like at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Packages of the node that changed.
    pub changes: Vec<PackageChange>,
    /// Why it wants a reboot, where it does. No reboot is done unasked.
    pub reboot_wanted: Option<String>,
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
