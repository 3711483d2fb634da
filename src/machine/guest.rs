//! The guest's transition table: protect, measure, upgrade, check; and around them, where it is asked for, start, reboot and stop.
//!
//! An upgrade without a protection can't be expressed: [`GuestPhase::Upgrading`] holds one. Each phase at work holds its
//! [`Attempt`], and the effect in flight follows from the phase alone, so a state that was read back from the journal
//! knows what it was about to do. `phase` has the words of the table, `undo` the part of it that brings a guest back.

mod phase;
mod undo;

use serde::{Deserialize, Serialize};

use super::Illegal;
use super::effect::{Action, Mode};
use super::outcome::{CheckReport, Detail, Fault, FaultClass, Obligation, Outcome, Probed, Protection, Remarks};
use crate::ids::Step;
use crate::inventory::health::Health;
use crate::plan::{Decision, GuestPlan, GuestStart, GuestUpgrade, ProtectBy, SkipReason, decide_started};

pub use phase::{AfterStop, Attempt, GuestInput, GuestPhase, GuestVerdict, Resolution, Undo};

/// A guest within a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestState {
    /// What is to happen to it.
    pub plan: GuestPlan,
    /// Where it stands.
    pub phase: GuestPhase,
    /// The last round of each step that was begun.
    pub rounds: super::Rounds,
    /// How it is started, from when it was started until it is stopped again: a debt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub borrowed: Option<GuestStart>,
    /// How it did before its upgrade, from when that was looked at: what it is compared with afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Box<Health>>,
    /// Whether its rollback stopped it, and it is to run again: a debt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

impl GuestState {
    /// Makes the state of a guest that nothing has happened to. `rounds` are those of an earlier round of its host.
    pub fn new(plan: GuestPlan, rounds: super::Rounds) -> Self {
        let phase = match &plan.decision {
            Decision::Skip(reason) => GuestPhase::Settled(GuestVerdict::Skipped(reason.clone())),
            Decision::Block(reason) => GuestPhase::Settled(GuestVerdict::Blocked(reason.clone())),
            Decision::Upgrade(_) | Decision::Start(_) => GuestPhase::Waiting,
        };
        Self { plan, phase, rounds, borrowed: None, baseline: None, stopped: false }
    }

    /// Returns what is owed to the guest.
    pub fn owed(&self) -> Option<Obligation> {
        let guest = &self.plan.guest;
        let (id, kind) = (guest.id, guest.kind);
        match &self.borrowed {
            Some(_) => Some(Obligation::StopGuest { id, kind }),
            None => self.stopped.then_some(Obligation::ReviveGuest { id, kind }),
        }
    }

    /// Tells whether it has to be started before anything else can be done.
    pub fn is_to_be_started(&self) -> bool {
        matches!((&self.phase, &self.plan.decision), (GuestPhase::Waiting, Decision::Start(_)))
    }

    /// Returns what the guest's upgrade looks like, where it has one.
    fn upgrade(&self) -> Option<&GuestUpgrade> {
        match &self.plan.decision {
            Decision::Upgrade(upgrade) => Some(upgrade),
            Decision::Skip(_) | Decision::Block(_) | Decision::Start(_) => None,
        }
    }

    /// Tells whether it can be looked into as after its upgrade: one that was stopped again can't.
    pub(super) fn can_be_checked(&self) -> bool {
        self.upgrade().is_some()
    }

    /// Returns how the guest is started, where it is to be.
    fn start(&self) -> Option<&GuestStart> {
        match &self.plan.decision {
            Decision::Start(start) => Some(start),
            Decision::Skip(_) | Decision::Block(_) | Decision::Upgrade(_) => None,
        }
    }

    /// Returns the attempt in flight and the action that it makes.
    pub fn action(&self) -> Option<(Attempt, Action)> {
        let attempt = self.phase.attempt()?;
        let guest = self.plan.guest.clone();
        let action = match &self.phase {
            GuestPhase::Starting { .. } => Action::StartGuest { guest },
            GuestPhase::Looking { .. } => Action::LookGuest { guest, via: self.borrowed.as_ref()?.via },
            GuestPhase::Protecting { way, .. } => match self.upgrade()?.protection.get(*way)? {
                ProtectBy::Snapshot => Action::Snapshot { guest },
                ProtectBy::Backup { storage, how } => Action::Backup { guest, storage: storage.clone(), how: *how },
                ProtectBy::Waived => return None,
            },
            GuestPhase::Measuring { .. } => {
                let upgrade = self.upgrade()?;
                Action::MeasureGuest { guest, via: upgrade.via.clone(), checks: upgrade.checks.clone()? }
            }
            GuestPhase::Upgrading { protection, .. } => {
                let upgrade = self.upgrade()?;
                Action::UpgradeGuest {
                    guest,
                    via: upgrade.via.clone(),
                    manager: upgrade.manager,
                    pending: upgrade.pending.clone(),
                    protection: protection.clone(),
                    rollback: upgrade.rollback && !self.plan.own,
                }
            }
            GuestPhase::RollingBack { undo, .. } => Action::RollbackGuest { guest, snapshot: undo.snapshot.clone() },
            GuestPhase::Reviving { .. } => Action::ReviveGuest { guest },
            GuestPhase::Rechecking { undo, .. } => self.recheck(guest, undo),
            GuestPhase::Checking { rebooted, .. } => {
                let upgrade = self.upgrade()?;
                Action::CheckGuest {
                    guest,
                    via: upgrade.via.clone(),
                    pending: upgrade.pending.clone(),
                    rebooted: *rebooted,
                    baseline: self.baseline.clone(),
                    checks: upgrade.checks.clone().unwrap_or_default(),
                }
            }
            GuestPhase::Rebooting { report, .. } => {
                let upgrade = self.upgrade()?;
                let boot_id = report.boot_id.clone().unwrap_or_else(|| upgrade.boot_id.clone());
                Action::RebootGuest { guest, via: upgrade.via.clone(), boot_id }
            }
            GuestPhase::Stopping { .. } => Action::StopGuest { guest },
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
        let before = (self.plan.decision.clone(), self.borrowed.clone(), self.baseline.clone(), self.stopped);
        self.take_note(&input);
        let Some(next) = self.next(input) else {
            (self.plan.decision, self.borrowed, self.baseline, self.stopped) = before;
            return Err(Illegal::new("guest", self.phase.name(), name));
        };
        if let Some(attempt) = never_begun {
            self.rounds.take_back(attempt);
        }
        if let Some(attempt) = next.attempt() {
            self.rounds.note(attempt);
        }
        self.phase = next;
        Ok(())
    }

    /// Notes what an input says beyond the phase: a debt that was made or paid, what a look at a started guest decides, and how
    /// it does before its upgrade.
    fn take_note(&mut self, input: &GuestInput) {
        self.note_baseline(input);
        let (GuestInput::Ended(outcome) | GuestInput::Probed(Probed::Ended(outcome))) = input else {
            // The operator's word that a start or a stop was done counts as well.
            let GuestPhase::Held { at, .. } = &self.phase else { return };
            match (input, &**at) {
                // One that is to be left alone may have been started all the same: it is stopped first.
                (GuestInput::Resolve(Resolution::Done | Resolution::Skip), GuestPhase::Starting { .. }) => {
                    self.borrowed = self.start().cloned();
                }
                (GuestInput::Resolve(Resolution::Done), GuestPhase::Stopping { .. }) => self.returned(),
                // It may stay as it is, running.
                (GuestInput::Resolve(Resolution::Skip), GuestPhase::Stopping { .. }) => self.borrowed = None,
                (GuestInput::Resolve(Resolution::Done), GuestPhase::RollingBack { undo, .. }) => {
                    self.stopped = undo.runs && self.borrowed.is_none();
                }
                // It runs again, or may stay off.
                (GuestInput::Resolve(Resolution::Done | Resolution::Skip), GuestPhase::Reviving { .. }) => {
                    self.stopped = false;
                }
                _ => {}
            }
            return;
        };
        match (&self.phase, outcome) {
            // One that somebody else had started meanwhile is not ours to stop.
            (GuestPhase::Starting { .. }, Outcome::Done(Detail::Started)) => self.borrowed = self.start().cloned(),
            (GuestPhase::Looking { .. }, Outcome::Done(Detail::Looked(inside))) => {
                if let Some(start) = &self.borrowed {
                    self.plan.decision = decide_started(start, inside);
                }
            }
            (GuestPhase::Stopping { .. }, Outcome::Done(Detail::Stopped) | Outcome::AlreadyDone(Detail::Stopped)) => {
                self.returned();
            }
            (
                GuestPhase::RollingBack { undo, .. },
                Outcome::Done(Detail::RolledBack) | Outcome::AlreadyDone(Detail::RolledBack),
            ) => self.stopped = undo.runs && self.borrowed.is_none(),
            (GuestPhase::Reviving { .. }, Outcome::Done(Detail::Started) | Outcome::AlreadyDone(Detail::Started)) => {
                self.stopped = false
            }
            _ => {}
        }
    }

    /// Keeps how the guest does before its upgrade, as long as that is how it did just before. When time has passed and no
    /// upgrade was ever begun, it is looked at anew; after one that was begun it would be too late for that.
    fn note_baseline(&mut self, input: &GuestInput) {
        match (&self.phase, input) {
            (GuestPhase::Measuring { .. }, GuestInput::Ended(Outcome::Done(Detail::Measured(health)))) => {
                self.baseline = Some(health.clone());
            }
            // It may have been off meanwhile.
            (GuestPhase::Waiting, GuestInput::Protect) => self.baseline = None,
            (GuestPhase::Protected { .. }, GuestInput::Resume { .. })
            | (GuestPhase::Upgrading { .. }, GuestInput::Resume { intended: false }) => {
                let begun = self.rounds.last(Step::UpgradeGuest);
                let current = self.phase.attempt().map_or(0, |attempt| attempt.round);
                if begun == 0 || begun == current && current == 1 {
                    self.baseline = None;
                }
            }
            _ => {}
        }
    }

    /// Lets a guest that failed be checked in a new round of its host, where nothing is pending in it any more: it was upgraded and
    /// failed the check after it, or somebody finished its upgrade. `None` where that does not fit.
    pub(super) fn checked_again(&self, planned: &Decision) -> Option<Self> {
        let nothing_pending = matches!(planned, Decision::Skip(SkipReason::NothingPending));
        match &self.phase {
            GuestPhase::Settled(GuestVerdict::Failed { fault, protection, .. })
                if nothing_pending && self.baseline.is_some() && self.borrowed.is_none() =>
            {
                let attempt = self.rounds.first(Step::CheckGuest);
                let at = Box::new(GuestPhase::Checking {
                    protection: protection.clone(),
                    rebooted: false,
                    again: false,
                    attempt,
                });
                Some(Self { phase: GuestPhase::Held { at, fault: fault.clone() }, ..self.clone() })
            }
            _ => None,
        }
    }

    /// Tells whether it is protected and was measured: what is begun with it is finished before others are.
    pub fn is_measured(&self) -> bool {
        matches!(self.phase, GuestPhase::Protected { .. }) && self.baseline.is_some()
    }

    /// Tells whether it is still to be looked at how it does before its upgrade.
    fn is_to_be_measured(&self) -> bool {
        self.baseline.is_none() && self.upgrade().is_some_and(|upgrade| upgrade.checks.is_some())
    }

    /// Says why a guest that was to be rebooted where it needs it, and needs it, was not.
    pub fn not_rebooted(&self) -> Option<&'static str> {
        let needs = matches!(&self.phase, GuestPhase::Settled(GuestVerdict::Upgraded { reboot_wanted: Some(_), .. }));
        let due = self.upgrade().is_some_and(|upgrade| upgrade.reboot);
        (needs && due && self.plan.own).then_some("proxmaint runs in it")
    }

    /// Notes that the guest does not run any more: to upgrade it, it would have to be started again.
    fn returned(&mut self) {
        if let Some(start) = self.borrowed.take() {
            self.plan.decision = Decision::Start(start);
        }
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
            (Ph::Waiting, In::Protect) if self.start().is_some() => {
                Ph::Starting { attempt: self.rounds.first(Step::StartGuest) }
            }
            (Ph::Waiting | Ph::Protected { .. }, In::Protect) => self.protecting(0)?,
            (Ph::Protected { protection }, In::Upgrade) if self.is_to_be_measured() => {
                Ph::Measuring { protection, attempt: self.rounds.first(Step::MeasureGuest) }
            }
            (Ph::Protected { protection }, In::Upgrade) => {
                Ph::Upgrading { protection, attempt: self.rounds.first(Step::UpgradeGuest) }
            }
            (phase, In::Ended(outcome)) if phase.attempt().is_some_and(|attempt| attempt.mode != Mode::Probe) => {
                self.ended(phase, outcome)?
            }
            (
                phase @ (Ph::Starting { .. }
                | Ph::Protecting { .. }
                | Ph::Upgrading { .. }
                | Ph::Rebooting { .. }
                | Ph::RollingBack { .. }
                | Ph::Reviving { .. }
                | Ph::Stopping { .. }),
                In::Probed(found),
            ) => {
                if phase.attempt()?.mode != Mode::Probe {
                    return None;
                }
                self.probed(phase, found)?
            }
            // Time has passed: its protection may be too old by now, which its host looks at before it lets it go on.
            (Ph::Upgrading { protection, attempt }, In::Resume { intended: false }) if attempt.mode == Mode::Act => {
                Ph::Protected { protection }
            }
            // The same for one that was only being looked at.
            (Ph::Measuring { protection, .. }, In::Resume { .. }) => Ph::Protected { protection },
            (Ph::Held { at, .. }, In::Resume { .. }) => {
                let attempt = at.attempt()?.resumed(true);
                at.with_attempt(attempt)
            }
            (phase, In::Resume { intended }) => match phase.attempt() {
                Some(attempt) => phase.with_attempt(attempt.resumed(intended)),
                None => phase,
            },
            // It waits for a place again, like those that have not begun.
            (Ph::Held { at, .. }, In::Resolve(Resolution::Retry))
                if matches!(*at, Ph::Protecting { .. } | Ph::Starting { .. }) =>
            {
                Ph::Waiting
            }
            (Ph::Held { at, .. }, In::Resolve(Resolution::Retry)) => anew(*at)?,
            (Ph::Held { at: held, .. }, In::Resolve(Resolution::Done)) => self.declared_done(*held)?,
            // That it may stay as it is, running, is what the operator says of a guest that can't be stopped.
            (Ph::Held { at, .. }, In::Resolve(Resolution::Skip)) if matches!(*at, Ph::Stopping { .. }) => {
                Ph::Settled(GuestVerdict::Skipped(SkipReason::ByOperator))
            }
            (Ph::Held { at, .. }, In::Resolve(Resolution::Skip)) if at.undo().is_some() => self.left_alone(*at)?,
            (Ph::Settled(GuestVerdict::RolledBack { undo, unwell, .. }), In::Resolve(Resolution::Retry)) => {
                Ph::Settled(GuestVerdict::RolledBack { undo, unwell, retry: true })
            }
            (Ph::Settled(GuestVerdict::Failed { fault, protection, held: true }), In::Resolve(Resolution::Retry)) => {
                Ph::Settled(GuestVerdict::Failed { fault, protection, held: false })
            }
            (Ph::Settled(GuestVerdict::Failed { protection, held: true, .. }), In::Resolve(Resolution::Done)) => {
                self.declared_upgraded(protection, false)
            }
            (Ph::Settled(before), In::RollBack { snapshot, at, runs }) if !self.plan.own && !self.stopped => {
                self.rolling_back(Undo { before, snapshot, at, by_operator: true, runs })
            }
            (Ph::Held { .. } | Ph::Waiting | Ph::Protected { .. }, In::Resolve(Resolution::Skip)) => {
                self.finish(GuestVerdict::Skipped(SkipReason::ByOperator))
            }
            (Ph::Settled(GuestVerdict::Failed { .. } | GuestVerdict::Blocked(_)), In::Resolve(Resolution::Skip)) => {
                Ph::Settled(GuestVerdict::Skipped(SkipReason::ByOperator))
            }
            (Ph::Settled(GuestVerdict::Upgraded { protection, rebooted, .. }), In::Recheck)
                if self.can_be_checked() =>
            {
                Ph::Checking { protection, rebooted, again: true, attempt: self.rounds.first(Step::CheckGuest) }
            }
            (Ph::Settled(verdict), In::GiveBack) if self.borrowed.is_some() => self.finish(verdict),
            (Ph::Settled(GuestVerdict::RolledBack { undo, .. }), In::GiveBack) if self.stopped => {
                Ph::Reviving { undo, attempt: self.rounds.first(Step::ReviveGuest) }
            }
            // A rollback that was not begun is not begun any more.
            (Ph::RollingBack { undo, .. }, In::GiveBack) if self.borrowed.is_some() => {
                self.not_rolled_back(*undo, &Fault::permanent("it was given back before that was begun"))
            }
            (
                Ph::Waiting
                | Ph::Looking { .. }
                | Ph::Protecting { .. }
                | Ph::Protected { .. }
                | Ph::Measuring { .. }
                | Ph::Upgrading { .. }
                | Ph::Rebooting { .. },
                In::GiveBack,
            ) if self.borrowed.is_some() => {
                Ph::Stopping { then: Box::new(AfterStop::Wait), attempt: self.rounds.first(Step::StopGuest) }
            }
            _ => return None,
        })
    }

    /// Ends the guest's part of the run: one that was started for it is stopped again first.
    fn finish(&self, verdict: GuestVerdict) -> GuestPhase {
        match self.borrowed {
            Some(_) => GuestPhase::Stopping {
                then: Box::new(AfterStop::Settle(verdict)),
                attempt: self.rounds.first(Step::StopGuest),
            },
            None => GuestPhase::Settled(verdict),
        }
    }

    /// Starts the plan's `way`-th protection.
    fn protecting(&self, way: usize) -> Option<GuestPhase> {
        let step = match self.upgrade()?.protection.get(way)? {
            ProtectBy::Snapshot => Step::Snapshot,
            ProtectBy::Backup { .. } => Step::Backup,
            ProtectBy::Waived => return Some(GuestPhase::Protected { protection: Protection::Waived }),
        };
        Some(GuestPhase::Protecting { way, attempt: self.rounds.first(step) })
    }

    fn ended(&self, phase: GuestPhase, outcome: Outcome) -> Option<GuestPhase> {
        use GuestPhase as Ph;
        Some(match (phase, outcome) {
            (Ph::Starting { .. }, Outcome::Done(Detail::Started)) => {
                Ph::Looking { attempt: self.rounds.first(Step::LookGuest) }
            }
            (Ph::Starting { .. }, Outcome::AlreadyDone(Detail::Started)) => Ph::Settled(GuestVerdict::Blocked(
                "somebody started it meanwhile: the next run plans it afresh".to_owned(),
            )),
            (Ph::Starting { .. }, Outcome::Refused(fault) | Outcome::Failed(fault)) => {
                Ph::Settled(GuestVerdict::Blocked(format!("could not be started: {fault}")))
            }
            // What is to happen was decided when the answer was taken note of.
            (Ph::Looking { .. }, Outcome::Done(Detail::Looked(_))) => match &self.plan.decision {
                Decision::Upgrade(_) => self.protecting(0)?,
                Decision::Skip(reason) => self.finish(GuestVerdict::Skipped(reason.clone())),
                Decision::Block(why) => self.finish(GuestVerdict::Blocked(why.clone())),
                Decision::Start(_) => return None,
            },
            (Ph::Looking { .. }, Outcome::Failed(fault) | Outcome::Refused(fault) | Outcome::Unknown(fault)) => {
                self.finish(GuestVerdict::Blocked(format!("was started, but can't be looked into: {fault}")))
            }
            (Ph::Protecting { .. }, Outcome::Done(Detail::Protected(protection)))
            | (Ph::Protecting { .. }, Outcome::AlreadyDone(Detail::Protected(protection))) => {
                Ph::Protected { protection }
            }
            // A lock that stays, or an API that does not answer: every other way would meet the same.
            (Ph::Protecting { .. }, Outcome::Refused(fault)) if fault.class == FaultClass::Transient => {
                self.finish(GuestVerdict::Blocked(format!("could not be protected: {fault}")))
            }
            (Ph::Protecting { way, .. }, Outcome::Refused(fault) | Outcome::Failed(fault)) => self
                .protecting(way + 1)
                .unwrap_or_else(|| self.finish(GuestVerdict::Blocked(format!("could not be protected: {fault}")))),
            // Its host lets it go on at once, unless its protection became too old meanwhile.
            (Ph::Measuring { protection, .. }, Outcome::Done(Detail::Measured(_))) => Ph::Protected { protection },
            (Ph::Measuring { .. }, Outcome::Failed(fault) | Outcome::Refused(fault) | Outcome::Unknown(fault)) => {
                let what = format!("not upgraded: how it does can't be told, to compare it with afterwards: {fault}");
                self.finish(GuestVerdict::Blocked(what))
            }
            (
                Ph::Upgrading { protection, .. },
                Outcome::Done(Detail::Upgraded) | Outcome::AlreadyDone(Detail::Upgraded),
            ) => {
                Ph::Checking { protection, rebooted: false, again: false, attempt: self.rounds.first(Step::CheckGuest) }
            }
            (Ph::Upgrading { .. }, Outcome::Refused(fault)) => {
                self.finish(GuestVerdict::Blocked(format!("not upgraded: {fault}")))
            }
            // It is as it was, and what stood in the way may go away by itself: nothing is to be undone or decided about.
            (Ph::Upgrading { protection, .. }, Outcome::Failed(fault)) if fault.class == FaultClass::Transient => {
                self.finish(GuestVerdict::Failed { fault, protection, held: false })
            }
            (Ph::Upgrading { protection, .. }, Outcome::Failed(fault)) => self.went_wrong(fault, protection),
            // What asks for a reboot since then is not this upgrade's doing, and the reboot of a canary would be a change that
            // nobody waited for: it is told, and no more.
            (Ph::Checking { protection, rebooted, again: true, .. }, Outcome::Done(Detail::Checked(report))) => {
                self.finish(upgraded(protection, rebooted, report))
            }
            (Ph::Checking { protection, rebooted, .. }, Outcome::Done(Detail::Checked(report))) => {
                self.checked(protection, rebooted, report)
            }
            (Ph::Checking { protection, .. }, Outcome::Failed(fault) | Outcome::Unknown(fault)) => {
                self.went_wrong(fault, protection)
            }
            // Nobody looked: nothing is known that would have to be undone.
            (Ph::Checking { protection, .. }, Outcome::Refused(fault)) => {
                self.finish(GuestVerdict::Failed { fault, protection, held: false })
            }
            (
                Ph::Rebooting { protection, .. },
                Outcome::Done(Detail::Rebooted(_)) | Outcome::AlreadyDone(Detail::Rebooted(_)),
            ) => {
                Ph::Checking { protection, rebooted: true, again: false, attempt: self.rounds.first(Step::CheckGuest) }
            }
            (Ph::Rebooting { protection, .. }, Outcome::Failed(fault)) => {
                self.went_wrong(not_rebooted(fault), protection)
            }
            // It was not begun: it runs well in its old kernel, as far as is known.
            (Ph::Rebooting { protection, .. }, Outcome::Refused(fault)) => {
                self.finish(GuestVerdict::Failed { fault: not_rebooted(fault), protection, held: false })
            }
            (phase @ (Ph::RollingBack { .. } | Ph::Reviving { .. } | Ph::Rechecking { .. }), outcome) => {
                self.undo_ended(phase, outcome)?
            }
            (Ph::Stopping { then, .. }, Outcome::Done(Detail::Stopped) | Outcome::AlreadyDone(Detail::Stopped)) => {
                match *then {
                    AfterStop::Settle(verdict) => Ph::Settled(verdict),
                    AfterStop::Wait => Ph::Waiting,
                }
            }
            // It still runs, and that is owed.
            (Ph::Stopping { then, .. }, Outcome::Failed(_) | Outcome::Refused(_)) => match *then {
                AfterStop::Settle(verdict) => Ph::Settled(verdict),
                AfterStop::Wait => {
                    Ph::Settled(GuestVerdict::Blocked("was started and could not be stopped".to_owned()))
                }
            },
            (
                phase @ (Ph::Starting { .. }
                | Ph::Protecting { .. }
                | Ph::Upgrading { .. }
                | Ph::Rebooting { .. }
                | Ph::Stopping { .. }),
                Outcome::Unknown(fault),
            ) => in_doubt(phase, fault)?,
            _ => return None,
        })
    }

    /// Goes on after a check that ended well: to a reboot where one is due, which is done once.
    fn checked(&self, protection: Protection, rebooted: bool, report: CheckReport) -> GuestPhase {
        let due = self.upgrade().is_some_and(|upgrade| upgrade.reboot) && !self.plan.own;
        match (&report.reboot_wanted, due, rebooted) {
            (Some(_), true, false) => GuestPhase::Rebooting {
                protection,
                report: Box::new(report),
                attempt: self.rounds.first(Step::RebootGuest),
            },
            (Some(why), true, true) => {
                let fault = Fault::permanent(format!("was rebooted, and still wants a reboot: {why}"));
                self.went_wrong(fault, protection)
            }
            _ => self.finish(upgraded(protection, rebooted, report)),
        }
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
            Ph::Starting { .. } => self.ended(held, Outcome::Done(Detail::Started)),
            Ph::Upgrading { .. } => self.ended(held, Outcome::AlreadyDone(Detail::Upgraded)),
            Ph::Checking { protection, rebooted, .. } => Some(self.declared_upgraded(protection, rebooted)),
            Ph::Rebooting { protection, .. } => Some(Ph::Checking {
                protection,
                rebooted: true,
                again: false,
                attempt: self.rounds.first(Step::CheckGuest),
            }),
            Ph::Stopping { .. } => self.ended(held, Outcome::AlreadyDone(Detail::Stopped)),
            Ph::RollingBack { .. } => self.ended(held, Outcome::AlreadyDone(Detail::RolledBack)),
            Ph::Reviving { .. } => self.ended(held, Outcome::AlreadyDone(Detail::Started)),
            Ph::Rechecking { .. } => self.ended(held, Outcome::Done(Detail::Rechecked)),
            // That there is a protection is proven or not: nobody's word stands for it.
            Ph::Protecting { .. } => None,
            Ph::Waiting
            | Ph::Looking { .. }
            | Ph::Protected { .. }
            | Ph::Measuring { .. }
            | Ph::Held { .. }
            | Ph::Settled(_) => None,
        }
    }

    /// Takes a guest as upgraded, since the operator says that it is well. Of one that was stopped again it is not known any more
    /// what was to change.
    fn declared_upgraded(&self, protection: Protection, rebooted: bool) -> GuestPhase {
        self.finish(GuestVerdict::Upgraded {
            changes: self.upgrade().map_or_else(Vec::new, |upgrade| upgrade.pending.clone()),
            reboot_wanted: None,
            protection,
            rebooted,
            remarks: Remarks::default(),
        })
    }
}

/// The verdict of a guest whose check ended well, and that is not rebooted after it.
fn upgraded(protection: Protection, rebooted: bool, report: CheckReport) -> GuestVerdict {
    let CheckReport { changes, reboot_wanted, remarks, .. } = report;
    GuestVerdict::Upgraded { changes, reboot_wanted, protection, rebooted, remarks }
}

fn not_rebooted(fault: Fault) -> Fault {
    Fault { what: format!("upgraded, but not rebooted: {}", fault.what), ..fault }
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
