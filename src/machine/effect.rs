//! What the machine asks the engine to do.

use serde::{Deserialize, Serialize};

use crate::ids::{Step, StepKey};
use crate::inventory::{PackageChange, PackageManager, Via};
use crate::machine::outcome::Protection;
use crate::plan::{Baseline, GuestAddr, HostPolicy, OldSnapshot};

/// One thing to do: performed only after the intent to do it is durable in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Which attempt at which step this is.
    pub key: StepKey,
    /// Whether to do it, to look whether it was done, or to wait for what is at work.
    pub mode: Mode,
    /// What it is.
    pub action: Action,
}

/// How an action is approached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Does it. At most once a key, unless the action is [`Replay::Safe`].
    Act,
    /// Waits for what was found at work; begins nothing.
    Attach,
    /// Looks whether it was done; changes nothing.
    Probe,
}

/// What may be done about an intent whose outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It changes nothing that matters: do it again.
    Safe,
    /// Look first.
    Probe,
}

/// The actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Gathers the facts of a host; refreshes package lists and changes nothing else.
    Discover {
        /// What the operator wants, to know what to look at.
        policy: HostPolicy,
    },
    /// Takes a snapshot named by the key.
    Snapshot {
        /// The guest.
        guest: GuestAddr,
    },
    /// Backs a guest up; the archive's note carries the key.
    Backup {
        /// The guest.
        guest: GuestAddr,
        /// Where to.
        storage: String,
    },
    /// Deletes a snapshot of an earlier run.
    PruneSnapshot {
        /// The snapshot and its guest.
        old: OldSnapshot,
    },
    /// Upgrades a guest's packages in a detached job named by the key.
    UpgradeGuest {
        /// The guest.
        guest: GuestAddr,
        /// The path into it.
        via: Via,
        /// Its package manager.
        manager: PackageManager,
        /// What it can be brought back from: no upgrade without.
        protection: Protection,
    },
    /// Checks a guest after its upgrade.
    CheckGuest {
        /// The guest.
        guest: GuestAddr,
        /// The path into it.
        via: Via,
        /// What was pending before.
        pending: Vec<PackageChange>,
    },
    /// Upgrades the node's packages in a detached job named by the key.
    UpgradeHost {
        /// Its package manager.
        manager: PackageManager,
    },
    /// Checks the node and what ran on it.
    Verify {
        /// The node.
        node: crate::ids::NodeName,
        /// What ran before.
        baseline: Baseline,
        /// What was pending on the node before.
        pending: Vec<PackageChange>,
    },
}

impl Action {
    /// Returns the step that the action belongs to.
    pub fn step(&self) -> Step {
        match self {
            Self::Discover { .. } => Step::Discover,
            Self::Snapshot { .. } => Step::Snapshot,
            Self::Backup { .. } => Step::Backup,
            Self::PruneSnapshot { .. } => Step::PruneSnapshot,
            Self::UpgradeGuest { .. } => Step::UpgradeGuest,
            Self::CheckGuest { .. } => Step::CheckGuest,
            Self::UpgradeHost { .. } => Step::UpgradeHost,
            Self::Verify { .. } => Step::Verify,
        }
    }
}

/// Returns what may be done about an intent of this step whose outcome is not known.
pub fn replay(step: Step) -> Replay {
    match step {
        Step::Discover | Step::CheckGuest | Step::Verify => Replay::Safe,
        Step::Snapshot | Step::Backup | Step::PruneSnapshot | Step::UpgradeGuest | Step::UpgradeHost => Replay::Probe,
    }
}
