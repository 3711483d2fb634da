//! Guests that are brought back: when the operator may ask for it, and which runs have to do with it.

use super::{HostPhase, HostResult, HostState, HostVerdict, StepState};
use crate::ids::{GuestId, SnapshotName, Step};
use crate::machine::Illegal;
use crate::machine::effect::Effect;
use crate::machine::effect::Mode;
use crate::machine::guest::{Attempt, GuestInput, GuestPhase, GuestState, GuestVerdict};
use crate::plan::HeldBecause;
use crate::time::Timestamp;

/// What a guest can be rolled back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// The snapshot that its last upgrade in this run was protected by.
    pub snapshot: SnapshotName,
    /// When the snapshot was there.
    pub at: Timestamp,
    /// Whether a rollback was begun already and only has to be gone on with.
    pub begun: bool,
}

/// Why a guest can't be rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoWayBack {
    /// The run does not have it.
    NoSuchGuest,
    /// No upgrade of it was begun in this run.
    NotUpgraded,
    /// Its upgrade was not protected by a snapshot.
    NoSnapshot,
    /// proxmaint runs in it.
    Own,
    /// It is not known how this step of it ended.
    InDoubt(Step),
    /// This step of it is at work, or waits to be gone on with.
    NotOver(Step),
    /// It has not come so far, or is not over yet.
    NotSettled,
    /// A step of its node is at work or in doubt.
    NodeAtWork(Step),
    /// It was stopped by a rollback and is to run again first.
    Owed,
}

impl HostState {
    /// Finds what a guest can be rolled back to by hand.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn way_back(&self, id: GuestId) -> Result<WayBack, NoWayBack> {
        let guest = self.guests.get(&id).ok_or(NoWayBack::NoSuchGuest)?;
        if guest.plan.own {
            return Err(NoWayBack::Own);
        }
        match (&guest.phase, guest.phase.undo()) {
            (GuestPhase::Held { at, .. }, _) => {
                return match at.attempt() {
                    Some(attempt) => Err(NoWayBack::InDoubt(attempt.step)),
                    None => Err(NoWayBack::NotSettled),
                };
            }
            (_, Some(undo)) => {
                return Ok(WayBack { snapshot: undo.snapshot.clone(), at: undo.at, begun: true });
            }
            (GuestPhase::Settled(_), None) => {}
            (phase, None) => {
                return Err(phase.attempt().map_or(NoWayBack::NotSettled, |attempt| NoWayBack::NotOver(attempt.step)));
            }
        }
        if guest.stopped {
            return Err(NoWayBack::Owed);
        }
        let (snapshot, at) = self.protected_by(id)?;
        match self.phase.attempt() {
            Some(attempt) if self.may_be_at_work(attempt) => Err(NoWayBack::NodeAtWork(attempt.step)),
            _ => Ok(WayBack { snapshot, at, begun: false }),
        }
    }

    /// Returns the snapshot that the guest's last upgrade in this run was protected by.
    fn protected_by(&self, id: GuestId) -> Result<(SnapshotName, Timestamp), NoWayBack> {
        let mut newest = None;
        let mut found = Err(NoWayBack::NotUpgraded);
        for record in self.steps.iter().filter(|record| record.guest == Some(id)) {
            match (record.step, record.state) {
                (Step::Snapshot, StepState::Done) => {
                    let attempt = Attempt { step: record.step, round: record.round, mode: Mode::Act };
                    newest = record.ended.map(|at| (self.key(Some(id), attempt).snapshot_name(), at));
                }
                (Step::Backup, StepState::Done) => newest = None,
                (Step::UpgradeGuest, StepState::Planned | StepState::Refused | StepState::NotDone) => {}
                (Step::UpgradeGuest, _) => found = newest.clone().ok_or(NoWayBack::NoSnapshot),
                _ => {}
            }
        }
        found
    }

    /// Tells whether a step of the node's own may be at work: a discovery changes nothing, and is simply made again.
    fn may_be_at_work(&self, attempt: Attempt) -> bool {
        self.was_intended(None, attempt)
    }

    /// Begins a rollback by hand; the host stands then where it stood.
    pub(super) fn roll_back(&mut self, id: GuestId, runs: bool, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        let way = match self.way_back(id) {
            Ok(way) if !way.begun => way,
            Ok(_) | Err(_) => {
                let phase = self.guests.get(&id).map_or("unknown", |guest| guest.phase.name());
                return Err(Illegal::new("guest", phase, "roll-back"));
            }
        };
        self.guest_input(id, GuestInput::RollBack { snapshot: way.snapshot, at: way.at, runs }, effects)?;
        self.phase = match std::mem::replace(&mut self.phase, HostPhase::Pending) {
            already @ HostPhase::GivingBack { .. } => already,
            stood => HostPhase::GivingBack { then: Box::new(stood) },
        };
        Ok(())
    }

    /// Returns the guests whose upgrade went wrong, or was undone, and that are not to be tried again before the operator says so.
    pub fn held_back(&self) -> impl Iterator<Item = (&GuestState, HeldBecause)> {
        self.guests.values().filter_map(|guest| match guest.phase {
            GuestPhase::Settled(GuestVerdict::RolledBack { retry: false, .. }) => {
                Some((guest, HeldBecause::RolledBack))
            }
            GuestPhase::Settled(GuestVerdict::Failed { held: true, .. }) => Some((guest, HeldBecause::Failed)),
            _ => None,
        })
    }

    /// Tells whether a rollback was begun here and is not over.
    pub fn is_rolling_back(&self) -> bool {
        self.guests.values().any(|guest| guest.phase.undo().is_some())
    }

    /// Tells whether the host failed in a way that another round could mend: a guest that is held, or was rolled back, waits for the
    /// operator, and keeps nobody from the next run.
    pub fn is_to_be_tried_again(&self) -> bool {
        if self.result() != HostResult::Failed {
            return false;
        }
        let own = matches!(self.phase, HostPhase::Done(HostVerdict::Failed(_)));
        let failed = |guest: &GuestState| match &guest.phase {
            GuestPhase::Settled(_) if guest.borrowed.is_some() || guest.stopped => true,
            GuestPhase::Settled(GuestVerdict::Failed { held, .. }) => !held,
            GuestPhase::Settled(GuestVerdict::RolledBack { retry, .. }) => *retry,
            _ => false,
        };
        own || self.guests.values().any(failed)
    }
}
