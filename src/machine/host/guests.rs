//! The host's guests at work: who is given a place, and what the host goes on with when all are over.

use super::{HostPhase, HostState};
use crate::ids::GuestId;
use crate::machine::Illegal;
use crate::machine::effect::Effect;
use crate::machine::guest::{GuestInput, GuestPhase, GuestState};
use crate::machine::outcome::Protection;
use crate::time::Timestamp;

impl HostState {
    /// Goes on by itself: hands out places to guests, and leaves a phase whose work is over.
    pub(super) fn advance(&mut self, at: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
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
    pub(super) fn works_on_guests(&self) -> bool {
        matches!(
            self.phase,
            HostPhase::Snapshotting { .. }
                | HostPhase::UpgradingGuests { .. }
                | HostPhase::Rechecking { .. }
                | HostPhase::GivingBack { .. }
        )
    }

    /// Returns how many more guests may be worked on.
    pub(super) fn free_places(&self) -> usize {
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

    /// Gives a guest an input, and asks for what follows.
    pub(super) fn guest_input(
        &mut self,
        id: GuestId,
        input: GuestInput,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Illegal> {
        let Some(guest) = self.guests.get_mut(&id) else {
            return Err(Illegal::new("guest", "unknown", input.name()));
        };
        guest.apply(input)?;
        if let Some((attempt, action)) = guest.action() {
            self.emit(Some(id), attempt, action, effects);
        }
        Ok(())
    }
}
