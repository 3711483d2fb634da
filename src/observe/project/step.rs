//! The projection of steps: how each attempt stands, how long it took, and whether it is known how it ended.

use super::Projection;
use crate::ids::{GuestId, Step};
use crate::machine::effect::{Mode, Replay, replay};
use crate::machine::guest::Attempt;
use crate::machine::host::{StepRecord, StepState};
use crate::observe::output_name;
use crate::observe::view::{StepStanding, StepView};
use crate::time::Timestamp;

impl Projection<'_> {
    /// Tells whether it is not known how an attempt ended: it is being looked at, or nobody is there any more to know.
    pub(super) fn doubtful(&self, guest: Option<GuestId>, attempt: Attempt) -> bool {
        let left_behind =
            || self.state.record(&self.state.key(guest, attempt)).is_some_and(|r| r.state == StepState::Working);
        replay(attempt.step) == Replay::Probe && (attempt.mode == Mode::Probe || (!self.running && left_behind()))
    }

    pub(super) fn doubt(&self, guest: Option<GuestId>, attempt: Attempt) -> String {
        let note = self.state.record(&self.state.key(guest, attempt)).and_then(|record| record.note.clone());
        note.unwrap_or_else(|| "interrupted while it was at work".to_owned())
    }

    pub(super) fn steps(&self, guest: Option<GuestId>, held: Option<Attempt>) -> Vec<StepView> {
        let records = self.state.steps.iter().filter(|record| record.guest == guest);
        records.map(|record| self.step(record, held)).collect()
    }

    fn step(&self, record: &StepRecord, held: Option<Attempt>) -> StepView {
        let is_held = held.is_some_and(|held| held.step == record.step && held.round == record.round);
        let state = match record.state {
            _ if is_held => StepStanding::Held,
            StepState::Planned => StepStanding::Planned,
            StepState::Working if self.running => StepStanding::Working,
            StepState::Working => match replay(record.step) {
                Replay::Safe => StepStanding::Interrupted,
                Replay::Probe => StepStanding::InDoubt,
            },
            StepState::InDoubt => StepStanding::InDoubt,
            StepState::Done => StepStanding::Done,
            StepState::Refused => StepStanding::Refused,
            StepState::Failed => StepStanding::Failed,
            StepState::NotDone => StepStanding::NotDone,
            StepState::Held => StepStanding::Held,
        };
        let at_work = matches!(state, StepStanding::Working | StepStanding::InDoubt);
        StepView {
            step: record.step,
            round: record.round,
            state,
            began: record.began,
            ended: record.ended,
            duration_ms: self.span(record.began, record.ended, None, at_work),
            reason: record.note.clone(),
            task: record.task.clone(),
            thing: record.thing.clone(),
            log: self.log(record),
        }
    }

    /// Names the file that takes the output of an upgrade, once it was begun.
    fn log(&self, record: &StepRecord) -> Option<String> {
        let has_output = matches!(record.step, Step::UpgradeGuest | Step::UpgradeHost) && record.began.is_some();
        let attempt = Attempt { step: record.step, round: record.round, mode: Mode::Act };
        let path = has_output.then(|| output_name::file(&self.state.key(record.guest, attempt)))?;
        Some(path.to_string_lossy().into_owned())
    }

    /// Returns a span: to its end, or so far where it is at work in a live run, or to the last that is known of it.
    pub(super) fn span(
        &self,
        began: Option<Timestamp>,
        ended: Option<Timestamp>,
        last: Option<Timestamp>,
        at_work: bool,
    ) -> Option<u64> {
        let now = (at_work && self.running).then_some(self.now);
        let until = ended.or(now).or(last)?;
        Some(u64::try_from(until.since(began?).as_millis()).unwrap_or(u64::MAX))
    }
}
