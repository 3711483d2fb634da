//! Where a guest may stand, what can happen to it, and how it may come out: the words of its table.

use serde::{Deserialize, Serialize};

use crate::ids::Step;
use crate::inventory::PackageChange;
use crate::machine::effect::{Mode, Replay, replay};
use crate::machine::outcome::{CheckReport, Fault, Outcome, Probed, Protection, Remarks};
use crate::plan::SkipReason;

/// One attempt at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The step.
    pub step: Step,
    /// Counts the attempts at this step for this target, from 1.
    pub round: u32,
    /// What is being done about it now.
    pub mode: Mode,
}

impl Attempt {
    /// Returns the attempt in another mode.
    #[must_use]
    pub fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Returns the next round of the same step, to be acted on.
    #[must_use]
    pub fn next_round(self) -> Self {
        Self { round: self.round + 1, mode: Mode::Act, ..self }
    }

    /// Returns how the attempt goes on after an interruption: an intent that was never durable was never acted on.
    #[must_use]
    pub fn resumed(self, intended: bool) -> Self {
        match (replay(self.step), intended) {
            (Replay::Probe, true) => self.in_mode(Mode::Probe),
            (Replay::Probe, false) | (Replay::Safe, _) => self,
        }
    }
}

/// Where a guest stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestPhase {
    /// It is to be upgraded, and neither started nor protected yet.
    Waiting,
    /// It does not run and is being started.
    Starting {
        /// The attempt.
        attempt: Attempt,
    },
    /// It was started and is being looked into.
    Looking {
        /// The attempt.
        attempt: Attempt,
    },
    /// A protection is being made.
    Protecting {
        /// Which of the plan's ways is being tried.
        way: usize,
        /// The attempt.
        attempt: Attempt,
    },
    /// It is protected and waits for its turn to be upgraded.
    Protected {
        /// What it can be brought back from.
        protection: Protection,
    },
    /// It is protected, and it is being looked at how it does before its upgrade.
    Measuring {
        /// What it can be brought back from.
        protection: Protection,
        /// The attempt.
        attempt: Attempt,
    },
    /// Its packages are being upgraded.
    Upgrading {
        /// What it can be brought back from.
        protection: Protection,
        /// The attempt.
        attempt: Attempt,
    },
    /// It is being checked after its upgrade.
    Checking {
        /// What it can be brought back from.
        protection: Protection,
        /// Whether it was rebooted since its upgrade.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rebooted: bool,
        /// The attempt.
        attempt: Attempt,
    },
    /// It is a VM that was upgraded and checked, and is being rebooted into its new kernel.
    Rebooting {
        /// What it can be brought back from.
        protection: Protection,
        /// What the check showed.
        report: Box<CheckReport>,
        /// The attempt.
        attempt: Attempt,
    },
    /// It was started to be upgraded and is being stopped again.
    Stopping {
        /// What comes then.
        then: Box<AfterStop>,
        /// The attempt.
        attempt: Attempt,
    },
    /// It can't be told how a step ended: the operator, or the next run's probe, decides.
    Held {
        /// The phase that was left, to go back to.
        at: Box<GuestPhase>,
        /// Why.
        fault: Fault,
    },
    /// It is over.
    Settled(GuestVerdict),
}

/// What comes after a guest that was started was stopped again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "it is boxed in the one phase that has it")]
pub enum AfterStop {
    /// It is over.
    Settle(GuestVerdict),
    /// It waits as before it was started: it was given back in between.
    Wait,
}

/// How a guest came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestVerdict {
    /// Upgraded and checked.
    Upgraded {
        /// Packages that changed.
        changes: Vec<PackageChange>,
        /// Why it wants a reboot, where it does.
        reboot_wanted: Option<String>,
        /// What it can be brought back from.
        protection: Protection,
        /// Whether it was rebooted into its new kernel.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rebooted: bool,
        /// What is left for the administrator.
        #[serde(default, skip_serializing_if = "Remarks::is_empty")]
        remarks: Remarks,
    },
    /// Left alone, as it should be.
    Skipped(SkipReason),
    /// It should have been upgraded, but was not touched.
    Blocked(String),
    /// Its upgrade or the check after it failed.
    Failed {
        /// What went wrong.
        fault: Fault,
        /// What it can be brought back from.
        protection: Protection,
    },
}

/// What can happen to a guest.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestInput {
    /// It may be started where it has to be, and protected now.
    Protect,
    /// It may be upgraded now.
    Upgrade,
    /// Its effect ended.
    Ended(Outcome),
    /// The probe of its step in doubt answered.
    Probed(Probed),
    /// A run goes on; whether the intent of the attempt was durable.
    Resume {
        /// Whether the current attempt may have been acted on.
        intended: bool,
    },
    /// The operator decides.
    Resolve(Resolution),
    /// What was borrowed is to be given back now.
    GiveBack,
}

/// What the operator says of a step that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It was not done: try it anew.
    Retry,
    /// It was done: go on behind it.
    Done,
    /// Leave this guest or host alone for the rest of this run.
    Skip,
}

impl GuestInput {
    /// Names the input for an error's text and for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Protect => "protect",
            Self::Upgrade => "upgrade",
            Self::Ended(_) => "ended",
            Self::Probed(_) => "probed",
            Self::Resume { .. } => "resume",
            Self::Resolve(_) => "resolve",
            Self::GiveBack => "give-back",
        }
    }
}

impl GuestPhase {
    /// Names the phase for status, errors and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting { .. } => "starting",
            Self::Looking { .. } => "looking",
            Self::Protecting { .. } => "protecting",
            Self::Protected { .. } => "protected",
            Self::Measuring { .. } => "measuring",
            Self::Upgrading { .. } => "upgrading",
            Self::Checking { .. } => "checking",
            Self::Rebooting { .. } => "rebooting",
            Self::Stopping { .. } => "stopping",
            Self::Held { .. } => "held",
            Self::Settled(_) => "settled",
        }
    }

    /// Returns the attempt in flight.
    pub fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Starting { attempt }
            | Self::Looking { attempt }
            | Self::Protecting { attempt, .. }
            | Self::Measuring { attempt, .. }
            | Self::Upgrading { attempt, .. }
            | Self::Checking { attempt, .. }
            | Self::Rebooting { attempt, .. }
            | Self::Stopping { attempt, .. } => Some(*attempt),
            Self::Waiting | Self::Protected { .. } | Self::Held { .. } | Self::Settled(_) => None,
        }
    }

    fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Starting { attempt }
            | Self::Looking { attempt }
            | Self::Protecting { attempt, .. }
            | Self::Measuring { attempt, .. }
            | Self::Upgrading { attempt, .. }
            | Self::Checking { attempt, .. }
            | Self::Rebooting { attempt, .. }
            | Self::Stopping { attempt, .. } => Some(attempt),
            Self::Waiting | Self::Protected { .. } | Self::Held { .. } | Self::Settled(_) => None,
        }
    }

    pub(super) fn with_attempt(mut self, attempt: Attempt) -> Self {
        if let Some(slot) = self.attempt_mut() {
            *slot = attempt;
        }
        self
    }

    /// Tells whether nothing more happens to the guest in this run unless the operator or a new run says so.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Settled(_))
    }
}
