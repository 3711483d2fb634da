//! What the host remembers of each attempt at a step: how it stands, when it began and ended, what it made.

use super::{HostState, StepRecord, StepState};
use crate::ids::{GuestId, Step, StepKey, Upid};
use crate::machine::effect::{Replay, replay};
use crate::machine::guest::Attempt;
use crate::machine::outcome::{Detail, Fault, Outcome, Protection};
use crate::time::Timestamp;

impl HostState {
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

    pub(super) fn record_mut(&mut self, key: &StepKey) -> Option<&mut StepRecord> {
        self.steps.iter_mut().rev().find(|record| record.is_of(key))
    }

    /// Counts the latest rounds of a step that left nothing behind; one that failed was not in vain in this sense.
    pub(super) fn rounds_in_vain(&self, key: &StepKey) -> usize {
        let same = |record: &&StepRecord| record.guest == key.target.guest() && record.step == key.step;
        // One that was only interrupted, and has no fault of its own, was not in vain: it may not even have been begun.
        let vain = |record: &&StepRecord| record.state == StepState::NotDone && record.note.is_some();
        self.steps.iter().rev().filter(same).take_while(vain).count()
    }

    /// Tells whether an attempt at a step that changes something may have been made: its intent is durable.
    pub(super) fn was_intended(&self, guest: Option<GuestId>, attempt: Attempt) -> bool {
        match (replay(attempt.step), self.record(&self.key(guest, attempt))) {
            (Replay::Probe, Some(record)) => record.state != StepState::Planned,
            _ => false,
        }
    }

    /// Notes what a step made: it is still known by its name when the guest's phase has gone on.
    pub(super) fn note_made(&mut self, key: &StepKey, outcome: &Outcome) {
        if let (Some(thing), Some(record)) = (made(outcome), self.record_mut(key)) {
            record.thing = Some(thing);
        }
    }

    /// Notes why a guest that was moved away was not brought back: that it is somebody else's now is worth knowing.
    pub(super) fn note_left(&mut self, key: &StepKey, outcome: &Outcome) {
        if let Outcome::Done(Detail::Returned { left: Some(why) })
        | Outcome::AlreadyDone(Detail::Returned { left: Some(why) }) = outcome
            && let Some(record) = self.record_mut(key)
        {
            record.note = Some(why.clone());
        }
    }

    /// Notes how an attempt ended, or that this is not known.
    pub(super) fn close(&mut self, key: &StepKey, state: StepState, note: Option<&Fault>, at: Timestamp) {
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
