//! The host's transition table: discover, wait for the turn, protect guests, upgrade them, upgrade the node, verify, and
//! where it is asked for reboot. `own` is the table of the node's own steps, `debts` what is owed and how it is given back.

mod debts;
mod gate;
mod own;
mod saved;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::effect::{Action, Effect, Mode, Replay, replay};
use super::event::HostEvent;
use super::guest::{Attempt, GuestInput, GuestPhase, GuestState, GuestVerdict, Resolution};
use super::outcome::{Detail, Fault, Outcome, Probed, Protection, RunningGuest};
pub use debts::Unpaid;
pub use gate::{Gate, ShutBecause};
pub use undo::{NoWayBack, WayBack};

pub use super::phase::{AfterReturn, Debt, HostPhase, HostVerdict, RebootCase};
pub use super::step::{StepRecord, StepState};
use super::{Illegal, Rounds};
use crate::ids::{ClusterId, GuestId, HostId, NodeName, RunId, Step, StepKey, Target, Upid};
use crate::plan::{HostPlan, HostPolicy, Move, SkipReason};
use crate::time::Timestamp;

/// How many rounds of a step in a row may leave nothing behind before it is held for the operator: a step that vanishes
/// three times has a cause that a fourth try does not mend.
pub const MAX_VAIN_ROUNDS: usize = 3;

/// A host within a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// The run.
    pub run: RunId,
    /// What the operator wants for it.
    pub policy: HostPolicy,
    /// Where it stands.
    pub phase: HostPhase,
    /// Its guests, once known.
    pub guests: BTreeMap<GuestId, GuestState>,
    /// Guests that were held when the run was gone on with: each is looked at again as soon as there is a place for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub returning: BTreeSet<GuestId>,
    /// The last round of each of the node's own steps.
    pub rounds: Rounds,
    /// Every attempt so far, oldest first.
    pub steps: Vec<StepRecord>,
    /// The cluster whose turn it has; a failed host keeps it, into its next round as well.
    pub turn: Option<ClusterId>,
    /// The machine behind it, once known: its CA's fingerprint and its name.
    pub identity: Option<(ClusterId, NodeName)>,
    /// Guests that were shut down for its reboot and are to run again: a debt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shut: Vec<RunningGuest>,
    /// Guests that were moved away for its reboot, or are being moved, and are to come back: a debt each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<Move>,
    /// Whether it was put into HA maintenance mode here: a debt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maintenance: bool,
    /// Whether Ceph's flag `noout` was set here: a debt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noout: bool,
    /// Whether it has the fleet's one turn to be rebooted; a reboot that went wrong keeps it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboot_turn: bool,
    /// What may begin there.
    #[serde(default, skip_serializing_if = "Gate::is_open")]
    pub gate: Gate,
    /// When something first happened to it.
    pub began: Option<Timestamp>,
    /// When something last happened to it.
    pub touched: Option<Timestamp>,
}

/// How a host with all its guests stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostResult {
    /// Nothing was to be done.
    NothingToDo,
    /// All that was to be done is done and verified.
    Succeeded,
    /// The operator left it out.
    Skipped,
    /// A step is held for the operator, and nothing else went wrong.
    Held,
    /// It, or a guest, could not be touched though it should have been.
    Blocked,
    /// It, or a guest, failed.
    Failed,
    /// It is not over.
    Unfinished,
}

impl HostState {
    /// Makes the state of a host that nothing has happened to.
    pub fn new(run: RunId, policy: HostPolicy) -> Self {
        Self {
            run,
            policy,
            phase: HostPhase::Pending,
            guests: BTreeMap::new(),
            returning: BTreeSet::new(),
            rounds: Rounds::default(),
            steps: Vec::new(),
            turn: None,
            identity: None,
            shut: Vec::new(),
            moved: Vec::new(),
            maintenance: false,
            noout: false,
            reboot_turn: false,
            gate: Gate::Open,
            began: None,
            touched: None,
        }
    }

    /// Returns the host's name.
    pub fn host(&self) -> &HostId {
        &self.policy.host
    }

    /// Takes one event and returns what is to be done now.
    ///
    /// # Errors
    /// An event that the phase has no transition for is [`Illegal`]; the state is then not to be used any more.
    pub fn apply(&mut self, event: &HostEvent, at: Timestamp) -> Result<Vec<Effect>, Illegal> {
        let mut effects = Vec::new();
        self.touched = Some(at);
        match event {
            HostEvent::Begun => self.begin(at, &mut effects)?,
            HostEvent::Planned { key, plan } => self.planned(key, plan, at)?,
            HostEvent::RebootTurnGiven => match std::mem::replace(&mut self.phase, HostPhase::Pending) {
                HostPhase::AwaitingReboot { case } => {
                    self.reboot_turn = true;
                    let attempt = self.rounds.first(Step::PrepareReboot);
                    self.phase = HostPhase::PreparingReboot { case, attempt };
                    self.emit_own(&mut effects);
                }
                other => return Err(self.illegal(other, event)),
            },
            HostEvent::GiveBack => self.give_back(&mut effects)?,
            HostEvent::RollBack { guest, runs } => self.roll_back(*guest, *runs, &mut effects)?,
            HostEvent::TurnGiven => match std::mem::replace(&mut self.phase, HostPhase::Pending) {
                HostPhase::AwaitingTurn { plan } => {
                    self.turn.clone_from(&plan.cluster);
                    self.phase = self.prune(plan, 0);
                    self.emit_own(&mut effects);
                }
                other => return Err(self.illegal(other, event)),
            },
            HostEvent::TaskStarted { key, task } => {
                let record =
                    self.record_mut(key).ok_or_else(|| Illegal::new("host", "without that step", "task-started"))?;
                record.task = Some(task.clone());
            }
            HostEvent::Ended { key, outcome } => self.ended(key, outcome, at, &mut effects)?,
            HostEvent::Probed { key, found } => self.probed(key, found, at, &mut effects)?,
            HostEvent::Resumed => self.resumed(&mut effects)?,
            HostEvent::PolicyChanged { policy } => self.change_policy(policy),
            HostEvent::Gated { gate } => self.gated(gate),
            HostEvent::Recheck => self.recheck()?,
            HostEvent::NewRound => {
                if !self.may_begin_anew() {
                    return Err(Illegal::new("host", self.phase.name(), event.name()));
                }
                self.phase = HostPhase::Pending;
            }
            HostEvent::Resolved { guest, resolution } => self.resolved(*guest, *resolution, &mut effects)?,
        }
        self.advance(at, &mut effects)?;
        match &self.phase {
            HostPhase::Done(HostVerdict::Failed(_)) => {}
            HostPhase::Done(_) => (self.turn, self.reboot_turn) = (None, false),
            // One that waits for its turn to be rebooted, be it once more, does not have it.
            HostPhase::AwaitingReboot { .. } => self.reboot_turn = false,
            // One that was not rebooted after all, and where everything runs again, stands in nobody's way.
            HostPhase::Held { at, .. } if matches!(**at, HostPhase::AwaitingReboot { .. }) => self.reboot_turn = false,
            _ => {}
        }
        Ok(effects)
    }

    /// Notes that the intent of an effect is durable: from here on it may have been done.
    pub fn intended(&mut self, key: &StepKey, mode: Mode, at: Timestamp) {
        if let Some(record) = self.record_mut(key) {
            record.began.get_or_insert(at);
            record.state = match mode {
                Mode::Probe => StepState::InDoubt,
                Mode::Act | Mode::Attach => StepState::Working,
            };
        }
        if mode == Mode::Act && key.target.guest().is_none() {
            self.borrow(key.step);
        }
    }

    /// Returns the steps that made a snapshot or backup, oldest first.
    pub fn made(&self) -> impl Iterator<Item = &StepRecord> {
        let made = |record: &&StepRecord| {
            matches!(record.step, Step::Snapshot | Step::Backup) && record.state == StepState::Done
        };
        self.steps.iter().filter(made)
    }

    /// Returns the steps that removed a snapshot or backup of an earlier run, oldest first.
    pub fn removed(&self) -> impl Iterator<Item = &StepRecord> {
        let removed = |record: &&StepRecord| {
            matches!(record.step, Step::PruneSnapshot | Step::PruneBackup) && record.state == StepState::Done
        };
        self.steps.iter().filter(removed)
    }

    /// Returns the steps that were to remove a snapshot or backup of an earlier run and could not, oldest first.
    pub fn not_removed(&self) -> impl Iterator<Item = &StepRecord> {
        let left = |record: &&StepRecord| {
            matches!(record.step, Step::PruneSnapshot | Step::PruneBackup)
                && matches!(record.state, StepState::Failed | StepState::Refused)
        };
        self.steps.iter().filter(left)
    }

    /// Returns the host's result so far.
    pub fn result(&self) -> HostResult {
        let held_guest = self.guests.values().any(|guest| matches!(guest.phase, GuestPhase::Held { .. }));
        let own = match &self.phase {
            HostPhase::Held { .. } => HostResult::Held,
            HostPhase::Done(HostVerdict::NothingToDo { .. }) => HostResult::NothingToDo,
            HostPhase::Done(HostVerdict::Verified(_)) => HostResult::Succeeded,
            HostPhase::Done(HostVerdict::Blocked(_) | HostVerdict::NotRebooted { .. }) => HostResult::Blocked,
            HostPhase::Done(HostVerdict::Failed(_)) => HostResult::Failed,
            HostPhase::Done(HostVerdict::Skipped) => HostResult::Skipped,
            _ if held_guest && self.is_parked() => HostResult::Held,
            // What went wrong is not tried again in this session.
            _ if self.went_wrong_behind_its_gate() => HostResult::NothingToDo,
            _ => return HostResult::Unfinished,
        };
        let guests = self.guests.values().map(|guest| match &guest.phase {
            GuestPhase::Settled(_) if guest.borrowed.is_some() || guest.stopped => HostResult::Failed,
            GuestPhase::Settled(GuestVerdict::Failed { .. }) => HostResult::Failed,
            // What the operator asked for and got is no failure.
            GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell, .. }) => {
                match undo.by_operator && unwell.is_none() {
                    true => HostResult::NothingToDo,
                    false => HostResult::Failed,
                }
            }
            GuestPhase::Settled(GuestVerdict::Blocked(_)) => HostResult::Blocked,
            _ if guest.not_rebooted().is_some() => HostResult::Blocked,
            _ => HostResult::NothingToDo,
        });
        guests.fold(own, HostResult::max)
    }

    /// Tells whether nothing is at work and nothing follows by itself: done, held, or waiting for a turn.
    pub fn is_parked(&self) -> bool {
        match &self.phase {
            HostPhase::Pending
            | HostPhase::AwaitingTurn { .. }
            | HostPhase::AwaitingReboot { .. }
            | HostPhase::Held { .. }
            | HostPhase::Done(_) => true,
            HostPhase::Discovering { .. }
            | HostPhase::Pruning { .. }
            | HostPhase::UpgradingHost { .. }
            | HostPhase::Verifying { .. }
            | HostPhase::PreparingReboot { .. }
            | HostPhase::SettingNoout { .. }
            | HostPhase::Evacuating { .. }
            | HostPhase::Returning { .. }
            | HostPhase::StoppingGuests { .. }
            | HostPhase::Rebooting { .. }
            | HostPhase::StartingGuests { .. }
            | HostPhase::Rechecking { .. } => false,
            // A rollback that is held keeps it here.
            HostPhase::GivingBack { .. } => {
                self.returning.is_empty() && self.guests.values().all(|guest| guest.phase.attempt().is_none())
            }
            _ if self.is_behind_its_gate() => true,
            HostPhase::Snapshotting { .. } | HostPhase::UpgradingGuests { .. } => {
                self.returning.is_empty() && self.guests.values().all(|guest| guest.phase.is_over())
            }
        }
    }

    /// Returns the record of an attempt.
    pub fn record(&self, key: &StepKey) -> Option<&StepRecord> {
        self.steps.iter().rev().find(|record| record.is_of(key))
    }

    /// Returns the tasks that did earlier rounds of a step.
    pub fn earlier_tasks(&self, key: &StepKey) -> Vec<Upid> {
        let same = |record: &&StepRecord| {
            record.guest == key.target.guest() && record.step == key.step && record.round != key.round
        };
        self.steps.iter().filter(same).filter_map(|record| record.task.clone()).collect()
    }

    fn record_mut(&mut self, key: &StepKey) -> Option<&mut StepRecord> {
        self.steps.iter_mut().rev().find(|record| record.is_of(key))
    }

    /// Returns the key of an attempt at a step of the node or of a guest.
    pub fn key(&self, guest: Option<GuestId>, attempt: Attempt) -> StepKey {
        let target = match guest {
            Some(guest) => Target::Guest(self.host().clone(), guest),
            None => Target::Host(self.host().clone()),
        };
        StepKey { run: self.run.clone(), target, step: attempt.step, round: attempt.round }
    }

    fn illegal(&mut self, phase: HostPhase, event: &HostEvent) -> Illegal {
        let illegal = Illegal::new("host", phase.name(), event.name());
        self.phase = phase;
        illegal
    }

    /// Takes another policy over: a guest whose upgrade has not begun, and that is not to be touched any more, is left alone.
    fn change_policy(&mut self, policy: &HostPolicy) {
        for guest in self.guests.values_mut() {
            let not_begun = matches!(guest.phase, GuestPhase::Waiting | GuestPhase::Protected { .. });
            if let Some(reason) =
                policy.left_out(&guest.plan.traits()).filter(|_| not_begun && guest.borrowed.is_none())
            {
                guest.phase = GuestPhase::Settled(GuestVerdict::Skipped(reason));
            }
        }
        self.policy = policy.clone();
    }

    fn begin(&mut self, at: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        if !matches!(self.phase, HostPhase::Pending | HostPhase::AwaitingTurn { .. }) {
            return Err(Illegal::new("host", self.phase.name(), "begun"));
        }
        self.began.get_or_insert(at);
        // What is owed from before is given back first.
        self.settle_debts(effects)
    }

    fn planned(&mut self, key: &StepKey, plan: &HostPlan, at: Timestamp) -> Result<(), Illegal> {
        let current = matches!(&self.phase, HostPhase::Discovering { attempt }
            if key.target.guest().is_none() && attempt.step == key.step && attempt.round == key.round);
        if !current {
            return Err(Illegal::new("host", self.phase.name(), "planned"));
        }
        self.close(key, StepState::Done, None, at);
        let mut plan = plan.clone();
        let planned = std::mem::take(&mut plan.guests);
        let begun_elsewhere = std::mem::take(&mut plan.begun_elsewhere);
        let mut before = std::mem::take(&mut self.guests);
        let worse: BTreeSet<GuestId> = before.keys().copied().filter(|id| self.failed_its_check(*id)).collect();
        self.guests = planned
            .into_iter()
            .map(|guest| {
                let id = guest.guest.id;
                let mut state = match before.remove(&id) {
                    Some(old)
                        if (worse.contains(&id) || is_held_back(&old))
                            && old.plan.guest.identity == guest.guest.identity
                            && let Some(again) = old.checked_again(&guest.decision) =>
                    {
                        self.returning.insert(id);
                        again
                    }
                    Some(old) if keeps_verdict(&old) && old.plan.guest.identity == guest.guest.identity => old,
                    Some(old) if old.plan.guest.identity == guest.guest.identity => {
                        GuestState { borrowed: old.borrowed, ..GuestState::new(guest, old.rounds) }
                    }
                    Some(old) => GuestState::new(guest, old.rounds),
                    None => GuestState::new(guest, Rounds::default()),
                };
                for (_, step, round) in begun_elsewhere.iter().filter(|(guest, ..)| *guest == id) {
                    state.rounds.raise(*step, *round);
                }
                (id, state)
            })
            .collect();
        // One that was moved away is somebody else's to plan. What is owed to it, in doubt, or was made of it stays this host's.
        let made: BTreeSet<GuestId> = self.made().filter_map(|record| record.guest).collect();
        let left = before.into_iter().filter_map(|(id, guest)| match &guest {
            guest if is_unsettled(guest) || keeps_verdict(guest) => Some((id, guest.clone())),
            guest if made.contains(&id) => {
                let away = "is not on this node any more: what was to be done is planned afresh where it is now";
                let phase = GuestPhase::Settled(GuestVerdict::Blocked(away.to_owned()));
                Some((id, GuestState { phase, ..guest.clone() }))
            }
            _ => None,
        });
        self.guests.extend(left);
        self.identity = Some((plan.ca.clone(), plan.node.clone()));
        self.phase = match &plan.refusal {
            Some(why) => HostPhase::Done(HostVerdict::Blocked(why.clone())),
            None => HostPhase::AwaitingTurn { plan: Box::new(plan) },
        };
        Ok(())
    }

    /// Tells whether the last that was done with a guest is a check that failed, or could not be made.
    fn failed_its_check(&self, id: GuestId) -> bool {
        let last = self.steps.iter().rev().find(|record| record.guest == Some(id));
        let failed = |record: &StepRecord| matches!(record.state, StepState::Failed | StepState::Refused);
        last.is_some_and(|record| record.step == Step::CheckGuest && failed(record))
    }

    fn ended(
        &mut self,
        key: &StepKey,
        outcome: &Outcome,
        at: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Illegal> {
        self.expect_current(key, "ended", |mode| mode != Mode::Probe)?;
        let (state, note) = match outcome {
            Outcome::Done(_) | Outcome::AlreadyDone(_) => (StepState::Done, None),
            Outcome::Refused(fault) => (StepState::Refused, Some(fault)),
            Outcome::Failed(fault) => (StepState::Failed, Some(fault)),
            Outcome::Unknown(fault) => (StepState::InDoubt, Some(fault)),
        };
        self.close(key, state, note, at);
        self.note_made(key, outcome);
        self.note_left(key, outcome);
        match key.target.guest() {
            Some(guest) => self.guest_input(guest, GuestInput::Ended(outcome.clone()), effects),
            None => self.own_ended(outcome, "ended", effects),
        }
    }

    fn probed(
        &mut self,
        key: &StepKey,
        found: &Probed,
        at: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Illegal> {
        self.expect_current(key, "probed", |mode| mode == Mode::Probe)?;
        let (state, note) = match found {
            Probed::Ended(Outcome::Done(_) | Outcome::AlreadyDone(_)) => (StepState::Done, None),
            Probed::Ended(Outcome::Refused(fault)) => (StepState::Refused, Some(fault)),
            Probed::Ended(Outcome::Failed(fault)) => (StepState::Failed, Some(fault)),
            Probed::Ended(Outcome::Unknown(fault)) | Probed::Unclear(fault) => (StepState::Held, Some(fault)),
            Probed::NotDone => (StepState::NotDone, None),
            Probed::Running => (StepState::Working, None),
        };
        if !matches!(found, Probed::Running) {
            self.close(key, state, note, at);
        }
        if let Probed::Ended(outcome) = found {
            self.note_made(key, outcome);
            self.note_left(key, outcome);
        }
        let in_vain = matches!(found, Probed::NotDone) && self.rounds_in_vain(key) >= MAX_VAIN_ROUNDS;
        let found = match in_vain {
            true => {
                let fault = Fault::permanent(format!("{} came to nothing {MAX_VAIN_ROUNDS} times", key.step));
                match key.step {
                    // It is up, then, and is not rebooted: what was shut down for it is owed to it now.
                    Step::SetNoout | Step::EnterMaintenance | Step::MoveGuest | Step::StopGuests | Step::RebootHost => {
                        Probed::Ended(Outcome::Failed(fault))
                    }
                    _ => Probed::Unclear(fault),
                }
            }
            false => found.clone(),
        };
        let Some(guest) = key.target.guest() else { return self.own_probed(&found, effects) };
        self.guest_input(guest, GuestInput::Probed(found), effects)
    }

    /// Counts the latest rounds of a step that left nothing behind; one that failed was not in vain in this sense.
    fn rounds_in_vain(&self, key: &StepKey) -> usize {
        let same = |record: &&StepRecord| record.guest == key.target.guest() && record.step == key.step;
        // One that was only interrupted, and has no fault of its own, was not in vain: it may not even have been begun.
        let vain = |record: &&StepRecord| record.state == StepState::NotDone && record.note.is_some();
        self.steps.iter().rev().filter(same).take_while(vain).count()
    }

    fn resumed(&mut self, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        self.resume_own(effects)?;
        if !self.works_on_guests() {
            return Ok(());
        }
        let held = |(id, guest): (&GuestId, &GuestState)| matches!(guest.phase, GuestPhase::Held { .. }).then_some(*id);
        self.returning = self.guests.iter().filter_map(held).collect();
        let others: Vec<GuestId> = self.guests.keys().filter(|id| !self.returning.contains(id)).copied().collect();
        for guest in others {
            let intended = self
                .guests
                .get(&guest)
                .and_then(|state| state.phase.attempt())
                .is_some_and(|attempt| self.was_intended(Some(guest), attempt));
            self.guest_input(guest, GuestInput::Resume { intended }, effects)?;
        }
        Ok(())
    }

    fn resolved(
        &mut self,
        guest: Option<GuestId>,
        resolution: Resolution,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Illegal> {
        if let Some(guest) = guest {
            self.returning.remove(&guest);
            return self.guest_input(guest, GuestInput::Resolve(resolution), effects);
        }
        let phase = std::mem::replace(&mut self.phase, HostPhase::Pending);
        self.phase = match (phase, resolution) {
            (HostPhase::Held { at, .. }, Resolution::Retry) => match at.attempt() {
                Some(attempt) => at.with_attempt(attempt.next_round()),
                None => *at,
            },
            (HostPhase::Held { at, .. }, Resolution::Done) => return self.own_declared_done(*at, effects),
            // That guests stay off which can't be started is what the operator says of a start that is held.
            (HostPhase::Held { at, .. }, Resolution::Skip) if matches!(*at, HostPhase::StartingGuests { .. }) => {
                self.shut.clear();
                self.left_alone(effects)?
            }
            // What was borrowed for its reboot is given back before it is left alone.
            (HostPhase::Held { .. }, Resolution::Skip) if self.owes_for_reboot() => self.left_alone(effects)?,
            (
                HostPhase::Held { .. }
                | HostPhase::Pending
                | HostPhase::AwaitingTurn { .. }
                | HostPhase::AwaitingReboot { .. }
                | HostPhase::Done(HostVerdict::Failed(_)),
                Resolution::Skip,
            ) => HostPhase::Done(HostVerdict::Skipped),
            (HostPhase::Done(HostVerdict::Failed(_) | HostVerdict::Blocked(_)), Resolution::Retry) => {
                HostPhase::Pending
            }
            (phase, _) => {
                let illegal = Illegal::new("host", phase.name(), "resolved");
                self.phase = phase;
                return Err(illegal);
            }
        };
        self.emit_own(effects);
        Ok(())
    }

    /// Goes on by itself: hands out places to guests, and leaves a phase whose work is over.
    fn advance(&mut self, at: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        if let HostPhase::GivingBack { .. } = self.phase {
            self.bring_back(effects)?;
            return self.advance_giving_back(at, effects);
        }
        if let HostPhase::Rechecking { .. } = self.phase {
            self.bring_back(effects)?;
            return self.advance_rechecking(at, effects);
        }
        if self.works_on_guests() {
            self.bring_back(effects)?;
        }
        if matches!(self.phase, HostPhase::Snapshotting { .. } | HostPhase::UpgradingGuests { .. }) {
            self.stop_behind_gate(effects)?;
        }
        let gate = self.gate.clone();
        if matches!(self.phase, HostPhase::Snapshotting { .. }) {
            // One that has to be started first runs no longer than it must: its turn comes with the upgrades.
            let now = |guest: &GuestState| {
                matches!(guest.phase, GuestPhase::Waiting) && !guest.is_to_be_started() && gate.lets(guest)
            };
            self.hand_out(effects, |guest| now(guest).then_some(GuestInput::Protect))?;
            let protecting = |g: &GuestState| now(g) || matches!(g.phase, GuestPhase::Protecting { .. });
            if !self.guests.values().any(protecting)
                && let HostPhase::Snapshotting { plan } = std::mem::replace(&mut self.phase, HostPhase::Pending)
            {
                self.phase = HostPhase::UpgradingGuests { plan };
            }
        }
        if matches!(self.phase, HostPhase::UpgradingGuests { .. }) {
            let max_age = self.policy.protect_max_age();
            let fresh = |protection: &Protection| protection.at().is_none_or(|then| at.since(then) <= max_age);
            // Whoever proxmaint itself runs in comes last.
            let others_are_over = self.guests.values().all(|guest| guest.plan.own || guest.phase.is_over());
            let next = |guest: &GuestState| match &guest.phase {
                _ if guest.plan.own && !others_are_over => None,
                _ if !gate.lets(guest) => None,
                GuestPhase::Protected { protection } if fresh(protection) => Some(GuestInput::Upgrade),
                GuestPhase::Protected { .. } | GuestPhase::Waiting => Some(GuestInput::Protect),
                _ => None,
            };
            // What is begun is finished before another guest is begun with, and that before another is started.
            self.hand_out(effects, |guest| next(guest).filter(|_| guest.is_measured()))?;
            self.hand_out(effects, |guest| next(guest).filter(|_| !guest.is_to_be_started()))?;
            self.hand_out(effects, next)?;
            if gate.is_open()
                && self.guests.values().all(|guest| matches!(guest.phase, GuestPhase::Settled(_)))
                && let HostPhase::UpgradingGuests { plan } = std::mem::replace(&mut self.phase, HostPhase::Pending)
            {
                self.phase = self.after_guests(plan);
                self.emit_own(effects);
            }
        }
        Ok(())
    }

    /// Tells whether guests are at work, or may be.
    fn works_on_guests(&self) -> bool {
        matches!(
            self.phase,
            HostPhase::Snapshotting { .. }
                | HostPhase::UpgradingGuests { .. }
                | HostPhase::Rechecking { .. }
                | HostPhase::GivingBack { .. }
        )
    }

    /// Returns how many more guests may be worked on.
    fn free_places(&self) -> usize {
        let working = self.guests.values().filter(|guest| guest.phase.attempt().is_some()).count();
        usize::try_from(self.policy.max_parallel.max(1)).unwrap_or(usize::MAX).saturating_sub(working)
    }

    /// Looks again at guests that were held while places are free.
    fn bring_back(&mut self, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        while self.free_places() > 0
            && let Some(guest) = self.returning.pop_first()
        {
            self.guest_input(guest, GuestInput::Resume { intended: true }, effects)?;
        }
        Ok(())
    }

    /// Gives inputs to guests in order of vmid while places are free. One that needs no protection is protected at once and
    /// takes up no place: whoever comes after it is not to wait for an end of a step that there is none of.
    fn hand_out(
        &mut self,
        effects: &mut Vec<Effect>,
        wants: impl Fn(&GuestState) -> Option<GuestInput>,
    ) -> Result<(), Illegal> {
        // A guest takes two inputs at most before a step of its own is at work: protect and upgrade, which measures it first.
        for _ in 0..=2 * self.guests.len() {
            let free = self.free_places();
            let next: Vec<(GuestId, GuestInput)> = self
                .guests
                .iter()
                .filter_map(|(id, guest)| wants(guest).map(|input| (*id, input)))
                .take(free)
                .collect();
            if next.is_empty() {
                break;
            }
            for (guest, input) in next {
                self.guest_input(guest, input, effects)?;
            }
        }
        Ok(())
    }

    fn guest_input(&mut self, id: GuestId, input: GuestInput, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        let Some(guest) = self.guests.get_mut(&id) else {
            return Err(Illegal::new("guest", "unknown", input.name()));
        };
        guest.apply(input)?;
        if let Some((attempt, action)) = guest.action() {
            self.emit(Some(id), attempt, action, effects);
        }
        Ok(())
    }

    fn emit(&mut self, guest: Option<GuestId>, attempt: Attempt, action: Action, effects: &mut Vec<Effect>) {
        let key = self.key(guest, attempt);
        match self.record_mut(&key) {
            Some(record) => record.ended = None,
            None => self.steps.push(StepRecord {
                guest,
                step: attempt.step,
                round: attempt.round,
                state: StepState::Planned,
                began: None,
                ended: None,
                task: None,
                note: None,
                thing: match &action {
                    Action::PruneSnapshot { old } => Some(old.name.to_string()),
                    Action::PruneBackup { old } => Some(old.volid.clone()),
                    Action::MoveGuest { planned } => Some(planned.to_string()),
                    Action::ReturnGuest { moved } => Some(format!("{} {}", moved.kind, moved.id)),
                    _ => None,
                },
            }),
        }
        effects.push(Effect { key, mode: attempt.mode, action });
    }

    /// Refuses an answer that is not of the attempt in flight, or not of the mode that it is in.
    fn expect_current(&self, key: &StepKey, event: &'static str, fits: impl Fn(Mode) -> bool) -> Result<(), Illegal> {
        let attempt = match key.target.guest() {
            Some(guest) => self.guests.get(&guest).and_then(|guest| guest.phase.attempt()),
            None => self.phase.attempt(),
        };
        match attempt {
            Some(attempt) if attempt.step == key.step && attempt.round == key.round && fits(attempt.mode) => Ok(()),
            Some(_) => Err(Illegal::new("host", "at another step", event)),
            None => Err(Illegal::new("host", self.phase.name(), event)),
        }
    }

    fn was_intended(&self, guest: Option<GuestId>, attempt: Attempt) -> bool {
        match (replay(attempt.step), self.record(&self.key(guest, attempt))) {
            (Replay::Probe, Some(record)) => record.state != StepState::Planned,
            _ => false,
        }
    }

    /// Notes what a step made: it is still known by its name when the guest's phase has gone on.
    fn note_made(&mut self, key: &StepKey, outcome: &Outcome) {
        if let (Some(thing), Some(record)) = (made(outcome), self.record_mut(key)) {
            record.thing = Some(thing);
        }
    }

    /// Notes why a guest that was moved away was not brought back: that it is somebody else's now is worth knowing.
    fn note_left(&mut self, key: &StepKey, outcome: &Outcome) {
        if let Outcome::Done(Detail::Returned { left: Some(why) })
        | Outcome::AlreadyDone(Detail::Returned { left: Some(why) }) = outcome
            && let Some(record) = self.record_mut(key)
        {
            record.note = Some(why.clone());
        }
    }

    fn close(&mut self, key: &StepKey, state: StepState, note: Option<&Fault>, at: Timestamp) {
        if let Some(record) = self.record_mut(key) {
            record.state = state;
            record.ended = (state != StepState::InDoubt).then_some(at);
            // What put a step in doubt is still worth knowing when a look shows that it left nothing behind.
            if note.is_some() || state != StepState::NotDone {
                record.note = note.map(|fault| fault.what.clone());
            }
        }
    }
}

/// Names what a guest can be brought back from.
fn made(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Done(Detail::Protected(protection)) | Outcome::AlreadyDone(Detail::Protected(protection)) => {
            match protection {
                Protection::Snapshot { name, .. } => Some(name.to_string()),
                Protection::Backup { volid, .. } => Some(volid.clone()),
                Protection::Waived => None,
            }
        }
        _ => None,
    }
}

/// Tells whether something is owed to a guest, or it can't be told how a step of it ended: it is then not forgotten, wherever it is.
fn is_unsettled(guest: &GuestState) -> bool {
    guest.borrowed.is_some() || matches!(guest.phase, GuestPhase::Held { .. })
}

/// Tells whether a guest failed and is held for the operator.
fn is_held_back(guest: &GuestState) -> bool {
    matches!(guest.phase, GuestPhase::Settled(GuestVerdict::Failed { held: true, .. }))
}

/// Tells whether a guest's verdict outlives a new round of its host.
fn keeps_verdict(guest: &GuestState) -> bool {
    matches!(
        guest.phase,
        GuestPhase::Settled(
            GuestVerdict::Upgraded { .. }
                | GuestVerdict::Failed { held: true, .. }
                | GuestVerdict::Skipped(SkipReason::ByOperator)
                | GuestVerdict::RolledBack { retry: false, .. }
        )
    )
}
