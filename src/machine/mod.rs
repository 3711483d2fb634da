//! The state machine: pure transition tables from (state, event) to (state, effects).
//!
//! `guest` and `host` are the tables, `fleet` hands out turns, `run` is all of it for one run. Nothing here knows a
//! clock, a socket or a file: the time of an event comes with the event, and what is to be done comes out as data.

pub mod effect;
pub mod event;
pub mod fleet;
pub mod guest;
pub mod host;
pub mod outcome;
pub mod phase;
pub mod run;
pub mod step;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::Step;
use effect::Mode;
use guest::Attempt;

/// An event met a phase that has no transition for it: a bug of ours, or a journal that was tampered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {what} that is {phase} can't take the event {event}")]
pub struct Illegal {
    /// `host` or `guest`.
    pub what: &'static str,
    /// The phase.
    pub phase: &'static str,
    /// The event.
    pub event: &'static str,
}

impl Illegal {
    /// Makes the error from its names.
    pub fn new(what: &'static str, phase: &'static str, event: &'static str) -> Self {
        Self { what, phase, event }
    }
}

/// The last round of each step that a target has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rounds(BTreeMap<Step, u32>);

impl Rounds {
    /// Returns a fresh attempt at a step: the round after the last one.
    pub fn first(&self, step: Step) -> Attempt {
        Attempt { step, round: self.last(step) + 1, mode: Mode::Act }
    }

    /// Returns the last round of a step that was begun; 0 where none was.
    pub fn last(&self, step: Step) -> u32 {
        self.0.get(&step).copied().unwrap_or(0)
    }

    /// Takes back the latest round of a step, which was decided on and never begun.
    pub fn take_back(&mut self, attempt: Attempt) {
        match self.0.get_mut(&attempt.step) {
            Some(round) if *round == attempt.round && *round > 1 => *round -= 1,
            Some(round) if *round == attempt.round => {
                self.0.remove(&attempt.step);
            }
            _ => {}
        }
    }

    /// Notes that a round was begun.
    pub fn note(&mut self, attempt: Attempt) {
        let round = self.0.entry(attempt.step).or_default();
        *round = (*round).max(attempt.round);
    }
}
