//! A run by a saved plan: what discovery finds is held against it each time that the host's turn comes.

use super::planned::keeps_verdict;
use super::{HostState, StepState};
use crate::ids::Step;
use crate::plan::{HostPlan, Progress, hold_to};

impl HostState {
    /// Holds a plan that was just made to the saved one, where the run follows one: either it does the same, or the host is
    /// refused with the differences. What this run did here before is no difference.
    pub fn hold_to_saved(&self, fresh: HostPlan) -> HostPlan {
        match &self.policy.saved {
            Some(saved) => hold_to(saved, fresh, &self.progress()),
            None => fresh,
        }
    }

    fn progress(&self) -> Progress {
        let changing = |step: Step| matches!(step, Step::UpgradeGuest | Step::StartGuest | Step::RebootGuest);
        let begun = self
            .steps
            .iter()
            .filter(|record| !matches!(record.state, StepState::Planned | StepState::NotDone | StepState::Refused));
        let mut progress = Progress::default();
        for record in begun {
            match record.guest {
                Some(guest) if changing(record.step) => drop(progress.begun.insert(guest)),
                Some(_) => {}
                None => progress.node |= matches!(record.step, Step::UpgradeHost | Step::StopGuests | Step::RebootHost),
            }
        }
        let over = self.guests.iter().filter(|(_, guest)| keeps_verdict(guest));
        progress.over = over.map(|(id, _)| *id).collect();
        progress
    }
}
