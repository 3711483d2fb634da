//! Where a host may stand, and how it may come out: the phases of its table, each with the data that it needs.

use serde::{Deserialize, Serialize};

use super::guest::Attempt;
use super::outcome::{Fault, VerifyReport};
use crate::plan::HostPlan;

/// Where a host stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPhase {
    /// Nothing has happened yet.
    Pending,
    /// Facts are being gathered.
    Discovering {
        /// The attempt.
        attempt: Attempt,
    },
    /// It is planned, and waits until no other node of its cluster is being worked on.
    AwaitingTurn {
        /// The plan; made anew when the turn comes after a wait, since guests move.
        plan: Box<HostPlan>,
    },
    /// Snapshots of earlier runs are being removed, one after the other.
    Pruning {
        /// The plan.
        plan: Box<HostPlan>,
        /// Which of the plan's old snapshots it is about.
        nth: usize,
        /// The attempt.
        attempt: Attempt,
    },
    /// Its guests are being protected.
    Snapshotting {
        /// The plan.
        plan: Box<HostPlan>,
    },
    /// Its guests are being upgraded.
    UpgradingGuests {
        /// The plan.
        plan: Box<HostPlan>,
    },
    /// The node itself is being upgraded.
    UpgradingHost {
        /// The plan.
        plan: Box<HostPlan>,
        /// The attempt.
        attempt: Attempt,
    },
    /// The node and what ran on it are being checked.
    Verifying {
        /// The plan.
        plan: Box<HostPlan>,
        /// The attempt.
        attempt: Attempt,
    },
    /// It can't be told how a step of the node ended.
    Held {
        /// The phase that was left, to go back to.
        at: Box<HostPhase>,
        /// Why.
        fault: Fault,
    },
    /// It is over.
    Done(HostVerdict),
}

/// How a host came out, its guests apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostVerdict {
    /// There was nothing to do on the node or in any guest.
    NothingToDo {
        /// Why the node wants a reboot, where it does.
        reboot_wanted: Option<String>,
    },
    /// What was to be done was done and verified.
    Verified(VerifyReport),
    /// It may not be touched.
    Blocked(String),
    /// A step of the node failed.
    Failed(Fault),
    /// The operator said to leave it alone.
    Skipped,
}

impl HostPhase {
    /// Names the phase for status, errors and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Discovering { .. } => "discovering",
            Self::AwaitingTurn { .. } => "awaiting-turn",
            Self::Pruning { .. } => "pruning",
            Self::Snapshotting { .. } => "snapshotting",
            Self::UpgradingGuests { .. } => "upgrading-guests",
            Self::UpgradingHost { .. } => "upgrading-host",
            Self::Verifying { .. } => "verifying",
            Self::Held { .. } => "held",
            Self::Done(_) => "done",
        }
    }

    /// Returns the node's own attempt in flight.
    pub fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Discovering { attempt }
            | Self::Pruning { attempt, .. }
            | Self::UpgradingHost { attempt, .. }
            | Self::Verifying { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    pub(super) fn with_attempt(mut self, new: Attempt) -> Self {
        if let Self::Discovering { attempt }
        | Self::Pruning { attempt, .. }
        | Self::UpgradingHost { attempt, .. }
        | Self::Verifying { attempt, .. } = &mut self
        {
            *attempt = new;
        }
        self
    }

    /// Returns the plan, while there is one.
    pub fn plan(&self) -> Option<&HostPlan> {
        match self {
            Self::AwaitingTurn { plan }
            | Self::Pruning { plan, .. }
            | Self::Snapshotting { plan }
            | Self::UpgradingGuests { plan }
            | Self::UpgradingHost { plan, .. }
            | Self::Verifying { plan, .. } => Some(plan),
            Self::Held { at, .. } => at.plan(),
            Self::Pending | Self::Discovering { .. } | Self::Done(_) => None,
        }
    }
}
