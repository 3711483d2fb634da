//! A host's plan that was just made: what of the guests as they were before outlives it.

use std::collections::BTreeSet;

use super::{HostPhase, HostState, HostVerdict, StepRecord, StepState};
use crate::ids::{GuestId, Step, StepKey};
use crate::machine::guest::{GuestPhase, GuestState, GuestVerdict};
use crate::machine::{Illegal, Rounds};
use crate::plan::{HostPlan, SkipReason};
use crate::time::Timestamp;

impl HostState {
    /// Takes a plan: each guest in it begins anew, unless how it came out before still holds.
    pub(super) fn planned(&mut self, key: &StepKey, plan: &HostPlan, at: Timestamp) -> Result<(), Illegal> {
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
pub(super) fn keeps_verdict(guest: &GuestState) -> bool {
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
