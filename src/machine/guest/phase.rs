//! Where a guest may stand, what can happen to it, and how it may come out: the words of its table.

use serde::{Deserialize, Serialize};

use crate::ids::{SnapshotName, Step};
use crate::inventory::PackageChange;
use crate::machine::effect::{Mode, Replay, replay};
use crate::machine::outcome::{CheckReport, Fault, Outcome, Probed, Protection, Remarks};
use crate::plan::SkipReason;
use crate::time::Timestamp;

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
        /// Whether it is a canary that was checked before, and is only looked at once more.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
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
    /// Its upgrade is being undone: it is being rolled back to its snapshot.
    RollingBack {
        /// What is undone, and to which snapshot.
        undo: Box<Undo>,
        /// The attempt.
        attempt: Attempt,
    },
    /// It was rolled back, which stopped it, and is being started again.
    Reviving {
        /// What was undone.
        undo: Box<Undo>,
        /// The attempt.
        attempt: Attempt,
    },
    /// It is being checked after its rollback.
    Rechecking {
        /// What was undone.
        undo: Box<Undo>,
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

/// A rollback: what is undone, and to which snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// How the guest came out before, or would have: where the rollback is not begun after all, that is how it came out.
    pub before: GuestVerdict,
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// When the snapshot was there.
    pub at: Timestamp,
    /// Whether the operator asked for it; else it follows from `on_failure`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_operator: bool,
    /// Whether the guest ran before it: then it is to run again.
    pub runs: bool,
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
        /// Whether it is kept as it is and held for the operator: its upgrade may have changed it. It is not upgraded again, in this
        /// run or a later one, before the operator says so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        held: bool,
    },
    /// It is as it was before its upgrade: it was rolled back to its snapshot. It is not upgraded again, in this run or a later
    /// one, before the operator says so.
    RolledBack {
        /// What was undone.
        undo: Box<Undo>,
        /// What is not as it was before, all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unwell: Option<Fault>,
        /// Whether the operator says that its upgrade may be tried again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        retry: bool,
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
    /// It was upgraded a while ago and is to be checked once more.
    Recheck,
    /// The operator asked for a rollback to a snapshot that this run took.
    RollBack {
        /// The snapshot.
        snapshot: SnapshotName,
        /// When it was there.
        at: Timestamp,
        /// Whether the guest runs.
        runs: bool,
    },
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
            Self::Recheck => "recheck",
            Self::RollBack { .. } => "roll-back",
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
            Self::RollingBack { .. } => "rolling-back",
            Self::Reviving { .. } => "reviving",
            Self::Rechecking { .. } => "rechecking",
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
            | Self::RollingBack { attempt, .. }
            | Self::Reviving { attempt, .. }
            | Self::Rechecking { attempt, .. }
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
            | Self::RollingBack { attempt, .. }
            | Self::Reviving { attempt, .. }
            | Self::Rechecking { attempt, .. }
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

    /// Returns the rollback that the guest is at, or was at when it came to be held.
    pub fn undo(&self) -> Option<&Undo> {
        match self {
            Self::RollingBack { undo, .. } | Self::Reviving { undo, .. } | Self::Rechecking { undo, .. } => Some(undo),
            Self::Held { at, .. } => at.undo(),
            _ => None,
        }
    }

    /// Tells whether nothing more happens to the guest in this run unless the operator or a new run says so.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Settled(_))
    }
}
