//! The host's transition table: discover, wait for the turn, protect guests, upgrade them, upgrade the node, verify, and
//! where it is asked for reboot. `own` is the table of the node's own steps, `planned` takes a plan, `guests` gives guests their
//! places, `records` remembers each attempt, `debts` is what is owed and how it is given back.

mod debts;
mod gate;
mod guests;
mod own;
mod planned;
mod records;
mod saved;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::effect::{Action, Effect, Mode};
use super::event::HostEvent;
use super::guest::{Attempt, GuestInput, GuestPhase, GuestState, GuestVerdict, Resolution};
use super::outcome::{Fault, Outcome, Probed, RunningGuest};
pub use debts::Unpaid;
pub use gate::{Gate, ShutBecause};
pub use undo::{NoWayBack, WayBack};

pub use super::phase::{AfterReturn, Debt, HostPhase, HostVerdict, RebootCase};
pub use super::step::{StepRecord, StepState};
use super::{Illegal, Rounds};
use crate::ids::{ClusterId, GuestId, HostId, NodeName, RunId, Step, StepKey, Target};
use crate::plan::{HostPolicy, Move};
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
}
