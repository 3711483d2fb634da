//! Where a host may stand, and how it may come out: the phases of its table, each with the data that it needs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::guest::Attempt;
use super::outcome::{Fault, RebootFacts, RunningGuest, VerifyReport};
use crate::ids::{GuestId, NodeName, Step};
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
        /// What was noted before its reboot, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rebooted: Option<Box<RebootFacts>>,
        /// The attempt.
        attempt: Attempt,
    },
    /// It is to be rebooted, and waits until no other node of the fleet is being rebooted.
    AwaitingReboot {
        /// What the reboot comes after.
        case: Box<RebootCase>,
    },
    /// It is being looked at whether it may be rebooted now.
    PreparingReboot {
        /// What the reboot comes after.
        case: Box<RebootCase>,
        /// The attempt.
        attempt: Attempt,
    },
    /// Ceph's flag `noout` is being set.
    SettingNoout {
        /// What the reboot comes after.
        case: Box<RebootCase>,
        /// What was noted before.
        ready: Box<RebootFacts>,
        /// The attempt.
        attempt: Attempt,
    },
    /// Its guests are being moved away: by HA ([`crate::ids::Step::EnterMaintenance`]), or one of the others.
    Evacuating {
        /// What the reboot comes after.
        case: Box<RebootCase>,
        /// What was noted before.
        ready: Box<RebootFacts>,
        /// Which of [`RebootFacts::own_moves`] it is about.
        nth: usize,
        /// The attempt.
        attempt: Attempt,
    },
    /// Its guests are being shut down.
    StoppingGuests {
        /// What the reboot comes after.
        case: Box<RebootCase>,
        /// What was noted before.
        ready: Box<RebootFacts>,
        /// The attempt.
        attempt: Attempt,
    },
    /// The node is being rebooted.
    Rebooting {
        /// What the reboot comes after.
        case: Box<RebootCase>,
        /// What was noted before.
        ready: Box<RebootFacts>,
        /// The attempt.
        attempt: Attempt,
    },
    /// The guests that were shut down for a reboot are being started again.
    StartingGuests {
        /// The node.
        node: NodeName,
        /// The guests.
        guests: Vec<RunningGuest>,
        /// What comes then.
        then: AfterReturn,
        /// The attempt.
        attempt: Attempt,
    },
    /// Something else that was borrowed for a reboot is being given back.
    Returning {
        /// The node.
        node: NodeName,
        /// What.
        debt: Debt,
        /// What comes when all of it is given back.
        then: AfterReturn,
        /// Why something before it could not be given back, where that is so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<Fault>,
        /// The attempt.
        attempt: Attempt,
    },
    /// Guests that were started to be upgraded are being stopped, before or instead of anything else.
    GivingBack {
        /// What comes then.
        then: Box<HostPhase>,
    },
    /// Canaries that were upgraded are being looked at once more, before the rest of the run begins.
    Rechecking {
        /// Those that have not been looked at yet.
        left: BTreeSet<GuestId>,
        /// What comes then.
        then: Box<HostPhase>,
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

/// What a node owes because of its reboot, its guests that were shut down apart; in the order in which it is given back.
///
/// Guests that were shut down come before all of this, since they are the only ones that nobody can use. Maintenance mode ends
/// before guests come back, since HA brings nothing back before. Ceph comes last: its health is waited for, which may take long,
/// and a guest can do without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Debt {
    /// HA maintenance mode.
    Maintenance,
    /// A guest that was moved away.
    Guest(GuestId),
    /// Ceph's flag `noout`.
    Noout,
}

impl Debt {
    /// Returns the step by which it is given back.
    pub fn step(self) -> Step {
        match self {
            Self::Maintenance => Step::LeaveMaintenance,
            Self::Guest(_) => Step::ReturnGuest,
            Self::Noout => Step::ClearNoout,
        }
    }
}

/// What a reboot comes after: everything else was done and verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RebootCase {
    /// The plan.
    pub plan: HostPlan,
    /// What the check showed.
    pub report: VerifyReport,
}

/// What comes after the guests of a node were started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterReturn {
    /// It was rebooted: it is verified.
    Verify {
        /// The plan.
        plan: Box<HostPlan>,
        /// What was noted before.
        ready: Box<RebootFacts>,
    },
    /// It was not rebooted: it is held.
    Hold {
        /// What the reboot comes after.
        case: Box<RebootCase>,
        /// Why it was not.
        fault: Fault,
    },
    /// A new round begins: it is discovered.
    Discover,
    /// It stands where it stood.
    Stand(Box<HostPhase>),
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
    /// What was to be done was done and verified, but for its reboot.
    NotRebooted {
        /// What the check showed.
        report: VerifyReport,
        /// Why it was not rebooted.
        why: String,
    },
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
            Self::AwaitingReboot { .. } => "awaiting-reboot",
            Self::PreparingReboot { .. } => "preparing-reboot",
            Self::SettingNoout { .. } => "setting-noout",
            Self::Evacuating { .. } => "evacuating",
            Self::Returning { .. } => "returning",
            Self::StoppingGuests { .. } => "stopping-guests",
            Self::Rebooting { .. } => "rebooting",
            Self::StartingGuests { .. } => "starting-guests",
            Self::GivingBack { .. } => "giving-back",
            Self::Rechecking { .. } => "rechecking",
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
            | Self::Verifying { attempt, .. }
            | Self::PreparingReboot { attempt, .. }
            | Self::SettingNoout { attempt, .. }
            | Self::Evacuating { attempt, .. }
            | Self::Returning { attempt, .. }
            | Self::StoppingGuests { attempt, .. }
            | Self::Rebooting { attempt, .. }
            | Self::StartingGuests { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    pub(super) fn with_attempt(mut self, new: Attempt) -> Self {
        if let Self::Discovering { attempt }
        | Self::Pruning { attempt, .. }
        | Self::UpgradingHost { attempt, .. }
        | Self::Verifying { attempt, .. }
        | Self::PreparingReboot { attempt, .. }
        | Self::SettingNoout { attempt, .. }
        | Self::Evacuating { attempt, .. }
        | Self::Returning { attempt, .. }
        | Self::StoppingGuests { attempt, .. }
        | Self::Rebooting { attempt, .. }
        | Self::StartingGuests { attempt, .. } = &mut self
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
            Self::AwaitingReboot { case }
            | Self::PreparingReboot { case, .. }
            | Self::SettingNoout { case, .. }
            | Self::Evacuating { case, .. }
            | Self::StoppingGuests { case, .. }
            | Self::Rebooting { case, .. } => Some(&case.plan),
            Self::StartingGuests { then, .. } | Self::Returning { then, .. } => match then {
                AfterReturn::Verify { plan, .. } => Some(plan),
                AfterReturn::Hold { case, .. } => Some(&case.plan),
                AfterReturn::Stand(at) => at.plan(),
                AfterReturn::Discover => None,
            },
            Self::GivingBack { then: at } | Self::Rechecking { then: at, .. } => at.plan(),
            Self::Held { at, .. } => at.plan(),
            Self::Pending | Self::Discovering { .. } | Self::Done(_) => None,
        }
    }
}
