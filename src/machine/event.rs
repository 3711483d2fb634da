//! What happens to a host: each of these is journaled before anything that follows from it is done.

use serde::{Deserialize, Serialize};

use super::guest::Resolution;
use super::host::Gate;
use super::outcome::{Outcome, Probed};
use crate::ids::{GuestId, StepKey, Upid};
use crate::plan::{HostPlan, HostPolicy};

/// An event of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostEvent {
    /// A place is free: discovery may begin.
    Begun,
    /// Discovery ended well, and this is to be done.
    Planned {
        /// The discovery.
        key: StepKey,
        /// The plan.
        plan: Box<HostPlan>,
    },
    /// The host may be changed now: no other node of its cluster is being worked on.
    TurnGiven,
    /// An effect ended. A discovery that ended well is `Planned` instead.
    Ended {
        /// Which.
        key: StepKey,
        /// How.
        outcome: Outcome,
    },
    /// The node took up a task for a step: worth knowing when the step comes to be in doubt.
    TaskStarted {
        /// The step.
        key: StepKey,
        /// The task.
        task: Upid,
    },
    /// A look at a step in doubt ended.
    Probed {
        /// The step.
        key: StepKey,
        /// What was found.
        found: Probed,
    },
    /// The node may be rebooted now: no other node of the fleet is being rebooted.
    RebootTurnGiven,
    /// What was borrowed here is to be given back, and nothing else is to be done.
    GiveBack,
    /// The operator asked for a guest to be rolled back to the snapshot that its last upgrade was protected by.
    RollBack {
        /// The guest.
        guest: GuestId,
        /// Whether it ran then: it is to run again afterwards.
        runs: bool,
    },
    /// A run goes on after an interruption: what was in flight is in doubt.
    Resumed,
    /// The operator chose the manifest's present policy over the frozen one.
    PolicyChanged {
        /// The policy from here on.
        policy: HostPolicy,
    },
    /// What may begin on the host changed.
    Gated {
        /// What may begin from here on.
        gate: Gate,
    },
    /// Canaries that were upgraded are to be looked at once more.
    Recheck,
    /// A host that came out badly is tried again from discovery.
    NewRound,
    /// The operator decided about a guest, or about the host where `guest` is `None`.
    Resolved {
        /// The guest.
        guest: Option<GuestId>,
        /// The decision.
        resolution: Resolution,
    },
}

impl HostEvent {
    /// Names the event for errors, tables and `status --events`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Planned { .. } => "planned",
            Self::TurnGiven => "turn-given",
            Self::RebootTurnGiven => "reboot-turn-given",
            Self::GiveBack => "give-back",
            Self::RollBack { .. } => "roll-back",
            Self::Ended { .. } => "ended",
            Self::TaskStarted { .. } => "task-started",
            Self::Probed { .. } => "probed",
            Self::Resumed => "resumed",
            Self::PolicyChanged { .. } => "policy-changed",
            Self::Gated { .. } => "gated",
            Self::Recheck => "recheck",
            Self::NewRound => "new-round",
            Self::Resolved { .. } => "resolved",
        }
    }
}
