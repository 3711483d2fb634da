//! What a host owes, and how it is given back.
//!
//! A debt follows from the state: from the steps that were done, and not from a list of its own that could differ from them.

use std::collections::BTreeSet;

use super::{AfterReturn, Debt, HostPhase, HostState, HostVerdict, StepRecord, StepState};
use crate::ids::{GuestId, NodeName, Step};
use crate::machine::Illegal;
use crate::machine::effect::Effect;
use crate::machine::guest::{GuestInput, GuestPhase, GuestState};
use crate::machine::outcome::{Fault, Obligation};
use crate::plan::MoveHow;
use crate::time::Timestamp;

/// Why something that is owed is not given back yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Unpaid {
    /// This step was begun, and its end has to be known first.
    WaitsFor(Step),
    /// It was tried: how that ended.
    Tried(String),
}

impl HostState {
    /// Returns what is owed.
    pub fn owed(&self) -> Vec<Obligation> {
        let shut = (!self.shut.is_empty()).then(|| Obligation::StartGuests { guests: self.shut.clone() });
        let borrowed = self.node_debts().into_iter().filter_map(|debt| self.obligation(debt));
        shut.into_iter().chain(borrowed).chain(self.guests.values().filter_map(GuestState::owed)).collect()
    }

    /// Returns what is owed because of the node's reboot, guests that were shut down apart, in the order of giving back.
    pub(super) fn node_debts(&self) -> BTreeSet<Debt> {
        let flags = [(self.maintenance, Debt::Maintenance), (self.noout, Debt::Noout)];
        let flags = flags.into_iter().filter_map(|(owed, debt)| owed.then_some(debt));
        flags.chain(self.moved.iter().map(|moved| Debt::Guest(moved.id))).collect()
    }

    fn obligation(&self, debt: Debt) -> Option<Obligation> {
        Some(match debt {
            Debt::Maintenance => Obligation::LeaveMaintenance { node: self.node()? },
            Debt::Guest(id) => {
                Obligation::ReturnGuest { moved: self.moved.iter().find(|moved| moved.id == id)?.clone() }
            }
            Debt::Noout => Obligation::ClearNoout,
        })
    }

    /// Tells whether anything is owed because of the node's reboot.
    pub(super) fn owes_for_reboot(&self) -> bool {
        !self.shut.is_empty() || self.maintenance || self.noout || !self.moved.is_empty()
    }

    /// Takes note of what a step borrows whose intent is durable: from here on it may have been done.
    pub(super) fn borrow(&mut self, step: Step) {
        match (step, &self.phase) {
            (Step::SetNoout, HostPhase::SettingNoout { .. }) => self.noout = true,
            (Step::EnterMaintenance, HostPhase::Evacuating { ready, .. }) => {
                self.maintenance = true;
                let known: BTreeSet<GuestId> = self.moved.iter().map(|moved| moved.id).collect();
                self.moved.extend(ready.by_ha().filter(|planned| !known.contains(&planned.id)).cloned());
            }
            (Step::MoveGuest, HostPhase::Evacuating { ready, nth, .. }) => {
                let planned = ready.own_moves().nth(*nth).cloned();
                self.moved.extend(planned.filter(|planned| !self.moved.iter().any(|moved| moved.id == planned.id)));
            }
            _ => {}
        }
    }

    /// Takes note that something was given back, or was never borrowed.
    pub(super) fn give_up(&mut self, debt: Debt) {
        match debt {
            Debt::Maintenance => self.maintenance = false,
            Debt::Guest(id) => self.moved.retain(|moved| moved.id != id),
            Debt::Noout => self.noout = false,
        }
    }

    /// Takes note that the node was not put into maintenance mode here: what HA moves by somebody else's word is not ours.
    pub(super) fn not_in_maintenance(&mut self) {
        self.maintenance = false;
        self.moved.retain(|moved| moved.how != MoveHow::Ha);
    }

    /// Begins to give back what was borrowed for a reboot; `then` follows at once where nothing is owed.
    pub(super) fn returning(&mut self, then: AfterReturn, effects: &mut Vec<Effect>) -> Result<HostPhase, Illegal> {
        match self.node().filter(|_| !self.shut.is_empty()) {
            Some(node) => Ok(self.starting_guests(node, then)),
            None => self.next_debt(None, then, None, effects),
        }
    }

    /// Goes on with the next thing to be given back. What could not be is still owed, and keeps nothing else from its turn; the
    /// host has failed then.
    pub(super) fn next_debt(
        &mut self,
        after: Option<Debt>,
        then: AfterReturn,
        failed: Option<Fault>,
        effects: &mut Vec<Effect>,
    ) -> Result<HostPhase, Illegal> {
        let next = self.node_debts().into_iter().find(|debt| after.is_none_or(|after| *debt > after));
        match (next.zip(self.node()), failed) {
            (Some((debt, node)), failed) => {
                Ok(HostPhase::Returning { node, debt, then, failed, attempt: self.rounds.first(debt.step()) })
            }
            (None, Some(fault)) => Ok(HostPhase::Done(HostVerdict::Failed(fault))),
            (None, None) => self.after_return(then, effects),
        }
    }

    /// Leaves the host alone once everything is given back.
    pub(super) fn left_alone(&mut self, effects: &mut Vec<Effect>) -> Result<HostPhase, Illegal> {
        let skipped = Box::new(HostPhase::Done(HostVerdict::Skipped));
        self.returning(AfterReturn::Stand(skipped), effects)
    }

    /// Tells whether more may be owed than is known: the start of a guest, or a rollback, which stops it, was begun, and nobody
    /// saw how it ended.
    pub fn may_owe(&self) -> bool {
        let starts = |(id, guest): (&GuestId, &GuestState)| {
            let phase = match &guest.phase {
                GuestPhase::Held { at, .. } => at,
                phase => phase,
            };
            let begun = || phase.attempt().is_some_and(|attempt| self.was_intended(Some(*id), attempt));
            let off_then = matches!(phase, GuestPhase::RollingBack { undo, .. } if undo.runs);
            (off_then || matches!(phase, GuestPhase::Starting { .. })) && begun()
        };
        self.guests.iter().any(starts)
    }

    /// Says why something that is owed was not given back yet, where there is more to be said than that nobody tried.
    pub fn unpaid(&self, owed: &Obligation) -> Option<Unpaid> {
        let (guest, undo, attempt) = match owed {
            Obligation::StopGuest { id, .. } => {
                let attempt = self.guests.get(id).and_then(|guest| guest.phase.attempt());
                (Some(*id), Step::StopGuest, attempt)
            }
            Obligation::ReviveGuest { id, .. } => {
                let attempt = self.guests.get(id).and_then(|guest| guest.phase.attempt());
                (Some(*id), Step::ReviveGuest, attempt)
            }
            Obligation::StartGuests { .. } => (None, Step::StartGuests, self.phase.attempt()),
            Obligation::LeaveMaintenance { .. } => (None, Step::LeaveMaintenance, self.phase.attempt()),
            Obligation::ReturnGuest { .. } => (None, Step::ReturnGuest, self.phase.attempt()),
            Obligation::ClearNoout => (None, Step::ClearNoout, self.phase.attempt()),
        };
        let thing = match owed {
            Obligation::ReturnGuest { moved } => Some(format!("{} {}", moved.kind, moved.id)),
            _ => None,
        };
        match attempt {
            Some(attempt) if attempt.step != undo && self.was_intended(guest, attempt) => {
                Some(Unpaid::WaitsFor(attempt.step))
            }
            _ => {
                let tried = |record: &&StepRecord| {
                    record.guest == guest && record.step == undo && (thing.is_none() || record.thing == thing)
                };
                let last = self.steps.iter().rfind(tried)?;
                let failed = matches!(last.state, StepState::Failed | StepState::Refused | StepState::InDoubt);
                last.note.clone().filter(|_| failed).map(Unpaid::Tried)
            }
        }
    }

    /// Tells whether something is owed that can be given back now: what is at work or in doubt has to be settled first.
    pub fn can_give_back(&self) -> bool {
        (self.owes_for_reboot() && self.may_start_guests()) || self.guests.keys().any(|id| self.may_give_back(*id))
    }

    /// Begins a round: what is owed is given back before anything is looked at.
    pub(super) fn settle_debts(&mut self, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        self.phase = self.returning(AfterReturn::Discover, effects)?;
        self.emit_own(effects);
        Ok(())
    }

    /// Gives back what is owed and can be, and stands then where it stood.
    pub(super) fn give_back(&mut self, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        let phase = std::mem::replace(&mut self.phase, HostPhase::Pending);
        let stand = self.when_returned(phase);
        self.phase = self.returning(AfterReturn::Stand(Box::new(stand)), effects)?;
        self.emit_own(effects);
        Ok(())
    }

    /// Starts again what was shut down.
    pub(super) fn starting_guests(&self, node: NodeName, then: AfterReturn) -> HostPhase {
        let attempt = self.rounds.first(Step::StartGuests);
        HostPhase::StartingGuests { node, guests: self.shut.clone(), then, attempt }
    }

    /// Stops the guests that were started and with which nothing else goes on; `then` follows at once where there are none.
    pub(super) fn give_guests_back(
        &mut self,
        then: Box<HostPhase>,
        effects: &mut Vec<Effect>,
    ) -> Result<HostPhase, Illegal> {
        let owed: Vec<GuestId> = self.guests.keys().copied().filter(|id| self.may_give_back(*id)).collect();
        if owed.is_empty() {
            return Ok(*then);
        }
        for guest in owed {
            self.guest_input(guest, GuestInput::GiveBack, effects)?;
        }
        Ok(HostPhase::GivingBack { then })
    }

    /// Goes on when the last of them is stopped, or can't be.
    pub(super) fn advance_giving_back(&mut self, at: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        let at_it = |guest: &GuestState| {
            matches!(guest.phase, GuestPhase::Stopping { .. })
                || (guest.phase.undo().is_some() && !guest.phase.is_over())
        };
        // A rollback that is held keeps the host here, so that it is gone on with from here.
        let held = |guest: &GuestState| matches!(&guest.phase, GuestPhase::Held { at, .. } if at.undo().is_some());
        if !self.returning.is_empty() || self.guests.values().any(|guest| at_it(guest) || held(guest)) {
            return Ok(());
        }
        if let HostPhase::GivingBack { then } = std::mem::replace(&mut self.phase, HostPhase::Pending) {
            self.phase = self.after_interruption(*then);
            self.emit_own(effects);
        }
        self.advance(at, effects)
    }

    /// Returns where the host stands when its guests run again: a reboot that was not begun is prepared anew.
    fn when_returned(&self, phase: HostPhase) -> HostPhase {
        match phase {
            HostPhase::SettingNoout { case, .. }
            | HostPhase::Evacuating { case, .. }
            | HostPhase::StoppingGuests { case, .. } => HostPhase::AwaitingReboot { case },
            HostPhase::Rebooting { case, attempt, .. } if !self.was_intended(None, attempt) => {
                HostPhase::AwaitingReboot { case }
            }
            // Its guests run again, and are owed nothing: to go on with their shutdown would be to begin it.
            HostPhase::Held { at, fault } => HostPhase::Held { at: Box::new(self.when_returned(*at)), fault },
            other => other,
        }
    }

    /// Tells whether nothing of the node's own is at work that starting guests would get in the way of.
    fn may_start_guests(&self) -> bool {
        match &self.phase {
            HostPhase::StartingGuests { .. }
            | HostPhase::Returning { .. }
            | HostPhase::GivingBack { .. }
            | HostPhase::Discovering { .. } => false,
            HostPhase::Held { at, .. } => matches!(
                **at,
                HostPhase::SettingNoout { .. }
                    | HostPhase::Evacuating { .. }
                    | HostPhase::StoppingGuests { .. }
                    | HostPhase::StartingGuests { .. }
            ),
            phase => phase.attempt().is_none_or(|attempt| !self.was_intended(None, attempt)),
        }
    }

    /// Tells whether a guest that was started can be stopped, or one that a rollback stopped be started: nothing is at work in
    /// it, and nothing is in doubt.
    fn may_give_back(&self, id: GuestId) -> bool {
        let Some(guest) = self.guests.get(&id).filter(|guest| guest.owed().is_some()) else { return false };
        if guest.borrowed.is_none() {
            return matches!(guest.phase, GuestPhase::Settled(_));
        }
        match (&guest.phase, guest.phase.attempt()) {
            (
                GuestPhase::Stopping { .. }
                | GuestPhase::Checking { .. }
                | GuestPhase::Reviving { .. }
                | GuestPhase::Rechecking { .. }
                | GuestPhase::Held { .. },
                _,
            ) => false,
            (_, None) => true,
            (_, Some(attempt)) => !self.was_intended(Some(id), attempt),
        }
    }

    pub(super) fn node(&self) -> Option<NodeName> {
        self.identity.as_ref().map(|(_, node)| node.clone())
    }
}
