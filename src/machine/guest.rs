//! The guest's transition table: protect, upgrade, check.
//!
//! An upgrade without a protection can't be expressed: [`GuestPhase::Upgrading`] holds one. Each phase at work holds its
//! [`Attempt`], and the effect in flight follows from the phase alone, so a state that was read back from the journal
//! knows what it was about to do.

use serde::{Deserialize, Serialize};

use super::Illegal;
use super::effect::{Action, Mode, Replay, replay};
use super::outcome::{Detail, Fault, Outcome, Probed, Protection};
use crate::ids::Step;
use crate::inventory::PackageChange;
use crate::plan::{Decision, GuestPlan, GuestUpgrade, ProtectBy, SkipReason};

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
    /// It is to be upgraded and not protected yet.
    Waiting,
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
    /// It may be protected now.
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
        }
    }
}

impl GuestPhase {
    /// Names the phase for status, errors and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Protecting { .. } => "protecting",
            Self::Protected { .. } => "protected",
            Self::Upgrading { .. } => "upgrading",
            Self::Checking { .. } => "checking",
            Self::Held { .. } => "held",
            Self::Settled(_) => "settled",
        }
    }

    /// Returns the attempt in flight.
    pub fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Protecting { attempt, .. } | Self::Upgrading { attempt, .. } | Self::Checking { attempt, .. } => {
                Some(*attempt)
            }
            Self::Waiting | Self::Protected { .. } | Self::Held { .. } | Self::Settled(_) => None,
        }
    }

    fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Protecting { attempt, .. } | Self::Upgrading { attempt, .. } | Self::Checking { attempt, .. } => {
                Some(attempt)
            }
            Self::Waiting | Self::Protected { .. } | Self::Held { .. } | Self::Settled(_) => None,
        }
    }

    fn with_attempt(mut self, attempt: Attempt) -> Self {
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

/// A guest within a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestState {
    /// What is to happen to it.
    pub plan: GuestPlan,
    /// Where it stands.
    pub phase: GuestPhase,
    /// The last round of each step that was begun.
    pub rounds: super::Rounds,
}

impl GuestState {
    /// Makes the state of a guest that nothing has happened to. `rounds` are those of an earlier round of its host.
    pub fn new(plan: GuestPlan, rounds: super::Rounds) -> Self {
        let phase = match &plan.decision {
            Decision::Skip(reason) => GuestPhase::Settled(GuestVerdict::Skipped(reason.clone())),
            Decision::Block(reason) => GuestPhase::Settled(GuestVerdict::Blocked(reason.clone())),
            Decision::Upgrade(_) => GuestPhase::Waiting,
        };
        Self { plan, phase, rounds }
    }

    /// Returns what the guest's upgrade looks like, where it has one.
    fn upgrade(&self) -> Option<&GuestUpgrade> {
        match &self.plan.decision {
            Decision::Upgrade(upgrade) => Some(upgrade),
            Decision::Skip(_) | Decision::Block(_) => None,
        }
    }

    /// Returns the attempt in flight and the action that it makes.
    pub fn action(&self) -> Option<(Attempt, Action)> {
        let attempt = self.phase.attempt()?;
        let upgrade = self.upgrade()?;
        let guest = self.plan.guest.clone();
        let action = match &self.phase {
            GuestPhase::Protecting { way, .. } => match upgrade.protection.get(*way)? {
                ProtectBy::Snapshot => Action::Snapshot { guest },
                ProtectBy::Backup { storage } => Action::Backup { guest, storage: storage.clone() },
            },
            GuestPhase::Upgrading { protection, .. } => Action::UpgradeGuest {
                guest,
                via: upgrade.via.clone(),
                manager: upgrade.manager,
                protection: protection.clone(),
            },
            GuestPhase::Checking { .. } => {
                Action::CheckGuest { guest, via: upgrade.via.clone(), pending: upgrade.pending.clone() }
            }
            GuestPhase::Waiting | GuestPhase::Protected { .. } | GuestPhase::Held { .. } | GuestPhase::Settled(_) => {
                return None;
            }
        };
        Some((attempt, action))
    }

    /// Takes one input. After `Ok`, [`Self::action`] is what is to be done now, if anything.
    ///
    /// # Errors
    /// An input that the phase has no transition for is [`Illegal`]; the state is then as it was.
    pub fn apply(&mut self, input: GuestInput) -> Result<(), Illegal> {
        let name = input.name();
        let never_begun = self.never_begun(&input);
        let next = self.next(input).ok_or_else(|| Illegal::new("guest", self.phase.name(), name))?;
        if let Some(attempt) = never_begun {
            self.rounds.take_back(attempt);
        }
        if let Some(attempt) = next.attempt() {
            self.rounds.note(attempt);
        }
        self.phase = next;
        Ok(())
    }

    /// Returns the upgrade that was decided on before an interruption and whose intent never became durable.
    fn never_begun(&self, input: &GuestInput) -> Option<Attempt> {
        match (&self.phase, input) {
            (GuestPhase::Upgrading { attempt, .. }, GuestInput::Resume { intended: false })
                if attempt.mode == Mode::Act =>
            {
                Some(*attempt)
            }
            _ => None,
        }
    }

    /// The table: one line a legal pair.
    fn next(&self, input: GuestInput) -> Option<GuestPhase> {
        use GuestInput as In;
        use GuestPhase as Ph;
        let phase = self.phase.clone();
        Some(match (phase, input) {
            (Ph::Waiting | Ph::Protected { .. }, In::Protect) => self.protecting(0)?,
            (Ph::Protected { protection }, In::Upgrade) => {
                Ph::Upgrading { protection, attempt: self.rounds.first(Step::UpgradeGuest) }
            }
            (phase @ (Ph::Protecting { .. } | Ph::Upgrading { .. } | Ph::Checking { .. }), In::Ended(outcome)) => {
                if phase.attempt()?.mode == Mode::Probe {
                    return None;
                }
                self.ended(phase, outcome)?
            }
            (phase @ (Ph::Protecting { .. } | Ph::Upgrading { .. }), In::Probed(found)) => {
                if phase.attempt()?.mode != Mode::Probe {
                    return None;
                }
                self.probed(phase, found)?
            }
            // Time has passed: its protection may be too old by now, which its host looks at before it lets it go on.
            (Ph::Upgrading { protection, attempt }, In::Resume { intended: false }) if attempt.mode == Mode::Act => {
                Ph::Protected { protection }
            }
            (phase @ (Ph::Protecting { .. } | Ph::Upgrading { .. } | Ph::Checking { .. }), In::Resume { intended }) => {
                let attempt = phase.attempt()?.resumed(intended);
                phase.with_attempt(attempt)
            }
            (phase @ (Ph::Waiting | Ph::Protected { .. } | Ph::Settled(_)), In::Resume { .. }) => phase,
            (Ph::Held { at, .. }, In::Resume { .. }) => {
                let attempt = at.attempt()?.resumed(true);
                at.with_attempt(attempt)
            }
            // It waits for a place again, like those that have not begun.
            (Ph::Held { at, .. }, In::Resolve(Resolution::Retry)) if matches!(*at, Ph::Protecting { .. }) => {
                Ph::Waiting
            }
            (Ph::Held { at, .. }, In::Resolve(Resolution::Retry)) => anew(*at)?,
            (Ph::Held { at: held, .. }, In::Resolve(Resolution::Done)) => self.declared_done(*held)?,
            (Ph::Held { .. } | Ph::Waiting | Ph::Protected { .. }, In::Resolve(Resolution::Skip))
            | (Ph::Settled(GuestVerdict::Failed { .. } | GuestVerdict::Blocked(_)), In::Resolve(Resolution::Skip)) => {
                Ph::Settled(GuestVerdict::Skipped(SkipReason::ByOperator))
            }
            _ => return None,
        })
    }

    /// Starts the plan's `way`-th protection.
    fn protecting(&self, way: usize) -> Option<GuestPhase> {
        let step = match self.upgrade()?.protection.get(way)? {
            ProtectBy::Snapshot => Step::Snapshot,
            ProtectBy::Backup { .. } => Step::Backup,
        };
        Some(GuestPhase::Protecting { way, attempt: self.rounds.first(step) })
    }

    fn ended(&self, phase: GuestPhase, outcome: Outcome) -> Option<GuestPhase> {
        use GuestPhase as Ph;
        Some(match (phase, outcome) {
            (Ph::Protecting { .. }, Outcome::Done(Detail::Protected(protection)))
            | (Ph::Protecting { .. }, Outcome::AlreadyDone(Detail::Protected(protection))) => {
                Ph::Protected { protection }
            }
            (Ph::Protecting { way, .. }, Outcome::Refused(fault) | Outcome::Failed(fault)) => self
                .protecting(way + 1)
                .unwrap_or_else(|| Ph::Settled(GuestVerdict::Blocked(format!("could not be protected: {fault}")))),
            (
                Ph::Upgrading { protection, .. },
                Outcome::Done(Detail::Upgraded) | Outcome::AlreadyDone(Detail::Upgraded),
            ) => Ph::Checking { protection, attempt: self.rounds.first(Step::CheckGuest) },
            (Ph::Upgrading { .. }, Outcome::Refused(fault)) => {
                Ph::Settled(GuestVerdict::Blocked(format!("not upgraded: {fault}")))
            }
            (Ph::Upgrading { protection, .. }, Outcome::Failed(fault)) => {
                Ph::Settled(GuestVerdict::Failed { fault, protection })
            }
            (phase @ (Ph::Protecting { .. } | Ph::Upgrading { .. }), Outcome::Unknown(fault)) => {
                in_doubt(phase, fault)?
            }
            (Ph::Checking { protection, .. }, Outcome::Done(Detail::Checked(report))) => {
                Ph::Settled(GuestVerdict::Upgraded {
                    changes: report.changes,
                    reboot_wanted: report.reboot_wanted,
                    protection,
                })
            }
            (
                Ph::Checking { protection, .. },
                Outcome::Failed(fault) | Outcome::Refused(fault) | Outcome::Unknown(fault),
            ) => Ph::Settled(GuestVerdict::Failed { fault, protection }),
            _ => return None,
        })
    }

    fn probed(&self, phase: GuestPhase, found: Probed) -> Option<GuestPhase> {
        let attempt = phase.attempt()?;
        Some(match found {
            Probed::Ended(outcome) => self.ended(phase, outcome)?,
            Probed::Running => phase.with_attempt(attempt.in_mode(Mode::Attach)),
            Probed::NotDone => anew(phase)?,
            Probed::Unclear(fault) => GuestPhase::Held { at: Box::new(phase), fault },
        })
    }

    /// Goes on behind a step that the operator says was done.
    fn declared_done(&self, held: GuestPhase) -> Option<GuestPhase> {
        use GuestPhase as Ph;
        match held {
            Ph::Upgrading { .. } => self.ended(held, Outcome::AlreadyDone(Detail::Upgraded)),
            Ph::Checking { protection, .. } => Some(Ph::Settled(GuestVerdict::Upgraded {
                changes: self.upgrade()?.pending.clone(),
                reboot_wanted: None,
                protection,
            })),
            // That there is a protection is proven or not: nobody's word stands for it.
            Ph::Protecting { .. } => None,
            Ph::Waiting | Ph::Protected { .. } | Ph::Held { .. } | Ph::Settled(_) => None,
        }
    }
}

/// Goes back to where a step can be begun anew, under its next round. An upgrade waits for its host's word again, since its
/// protection may have become too old meanwhile.
fn anew(phase: GuestPhase) -> Option<GuestPhase> {
    Some(match phase {
        GuestPhase::Upgrading { protection, .. } => GuestPhase::Protected { protection },
        other => {
            let attempt = other.attempt()?.next_round();
            other.with_attempt(attempt)
        }
    })
}

/// Goes from "not known how it ended" to a look; what was unknown after attaching is held, since looking said "at work".
fn in_doubt(phase: GuestPhase, fault: Fault) -> Option<GuestPhase> {
    let attempt = phase.attempt()?;
    Some(match attempt.mode {
        Mode::Act => phase.with_attempt(attempt.in_mode(Mode::Probe)),
        Mode::Attach | Mode::Probe => GuestPhase::Held { at: Box::new(phase), fault },
    })
}
