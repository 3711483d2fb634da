//! The record of one attempt at one step: what status shows, and what tells a resumed run where doubt begins.

use serde::{Deserialize, Serialize};

use crate::ids::{GuestId, Step, StepKey, Upid};
use crate::time::Timestamp;

/// What is known of one attempt at one step, for status and for resuming.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The guest, or `None` for the node's own step.
    pub guest: Option<GuestId>,
    /// The step.
    pub step: Step,
    /// The round.
    pub round: u32,
    /// How it stands.
    pub state: StepState,
    /// When it was first released to be done.
    pub began: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The node's task that does it, once known.
    pub task: Option<Upid>,
    /// What went wrong, where something did.
    pub note: Option<String>,
    /// What it made, or is to remove, by name: a snapshot, or the volume identifier of an archive; or what it moves, and where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thing: Option<String>,
}

impl StepRecord {
    /// Tells whether this is the record of that attempt.
    pub(super) fn is_of(&self, key: &StepKey) -> bool {
        self.guest == key.target.guest() && self.step == key.step && self.round == key.round
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It follows from what happened, and no intent to do it is in the journal: it was not begun.
    Planned,
    /// The intent is durable: it is being done, or was when the run was interrupted.
    Working,
    /// It can't be told yet how it ended; it is being looked at.
    InDoubt,
    /// It ended well.
    Done,
    /// It was looked at and not begun.
    Refused,
    /// It failed.
    Failed,
    /// A look showed that it left nothing behind.
    NotDone,
    /// The operator decides.
    Held,
}
