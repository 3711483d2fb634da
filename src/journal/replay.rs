//! Folds what was journaled into the state that it left behind. Replaying acts on nothing: effects are dropped.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::batch::{LoadedRun, LoadedStream, Seq, StoredEvent, StreamId};
use super::record::{BodyError, CloseReason, HostEntry, RunRecord, decode_checkpoint, decode_host, decode_run};
use crate::ids::{HostId, RunId};
use crate::machine::Illegal;
use crate::machine::host::{HostPhase, HostState};
use crate::machine::rollout::{Noted, Rollout};
use crate::machine::run::{RunResult, RunState};
use crate::plan::{HostPolicy, RunPolicy};
use crate::time::Timestamp;

/// A run as its journal tells it.
#[derive(Debug)]
pub struct RunHistory {
    /// The run.
    pub id: RunId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When something last happened to it.
    pub touched_at: Timestamp,
    /// What the operator wants, as frozen or replanned.
    pub policy: RunPolicy,
    /// The canonical path of the manifest that it belongs to.
    pub manifest: Option<String>,
    /// The process of its last session.
    pub pid: Option<u32>,
    /// How its last session ended; `None` where one is at work or was killed.
    pub ended: Option<SessionEnd>,
    /// Why it was closed unfinished.
    pub closed: Option<CloseReason>,
    /// What is known of its canaries.
    pub noted: Noted,
    /// Why its last session began nothing more, where it halted.
    pub halted: Option<String>,
    /// Its hosts, in the manifest's order.
    pub hosts: Vec<HostState>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnd {
    /// How the run stood.
    pub result: RunResult,
    /// Whether the operator interrupted it.
    pub interrupted: bool,
    /// Whether nothing is left to go on with.
    pub finished: bool,
}

impl RunHistory {
    /// Tells whether a later `run` may go on with it.
    pub fn is_open(&self) -> bool {
        self.closed.is_none() && !self.ended.is_some_and(|end| end.finished)
    }

    /// Tells whether it is too old to be gone on with. One in which every host is over, and only what failed could be tried again, is
    /// so after half of the time: else a nightly run would try again what failed the night before, for ever, and maintain nobody else.
    pub fn is_too_old(&self, resume_within: Duration, now: Timestamp) -> bool {
        let is_over = self.hosts.iter().all(|state| matches!(state.phase, HostPhase::Done(_)));
        now.since(self.touched_at) > if is_over { resume_within / 2 } else { resume_within }
    }

    /// Tells whether it belongs to a manifest, by its canonical path.
    pub fn is_of(&self, manifest: &Path) -> bool {
        self.manifest.as_deref().is_none_or(|path| Path::new(path) == manifest)
    }

    /// Works out how far it is with its canaries.
    pub fn rollout(&self) -> Rollout {
        Rollout::new(self.policy.rollout.clone(), self.noted, self.hosts.iter())
    }

    /// Makes the state that the engine works on.
    pub fn into_state(self) -> RunState {
        RunState::restore(self.id, self.policy.parallel_hosts, self.opened_at, self.hosts)
            .rolled_out(self.policy.rollout, self.noted)
    }
}

/// What was journaled does not add up.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A record can't be read.
    #[error("record {seq} of the journal")]
    Body {
        /// The record.
        seq: Seq,
        /// Why.
        source: BodyError,
    },
    /// A record does not fit the state before it.
    #[error("record {seq} of the journal does not fit what was before it")]
    Illegal {
        /// The record.
        seq: Seq,
        /// Why.
        source: Illegal,
    },
    /// A run's stream does not begin with its opening.
    #[error("run {0} has no opening record")]
    NoOpening(RunId),
}

/// Folds a run.
///
/// # Errors
/// A record that can't be read or does not fit: the journal is damaged, or was made by a newer version.
pub fn replay(loaded: &LoadedRun) -> Result<RunHistory, ReplayError> {
    let own = loaded.streams.iter().find(|stream| stream.stream == StreamId::Run);
    let mut history = fold_run(loaded, own.map_or(&[], |stream| stream.tail.as_slice()))?;
    let streams = loaded.streams.iter().filter_map(|stream| match &stream.stream {
        StreamId::Host(host) => Some((host, stream)),
        StreamId::Run => None,
    });
    let streams: HashMap<&HostId, &LoadedStream> = streams.collect();
    for state in &mut history.hosts {
        let Some(stream) = streams.get(state.host()) else { continue };
        fold_host(&loaded.run, state, stream)?;
        history.touched_at = history.touched_at.max(state.touched.unwrap_or(history.touched_at));
    }
    Ok(history)
}

fn fold_run(loaded: &LoadedRun, events: &[StoredEvent]) -> Result<RunHistory, ReplayError> {
    let mut history: Option<RunHistory> = None;
    for event in events {
        let record = decode_run(&event.body).map_err(|source| ReplayError::Body { seq: event.seq, source })?;
        match (&mut history, record) {
            (slot @ None, RunRecord::Opened { policy, manifest }) => {
                *slot = Some(RunHistory {
                    id: loaded.run.clone(),
                    opened_at: event.at,
                    touched_at: event.at,
                    hosts: policy.hosts.iter().map(|host| HostState::new(loaded.run.clone(), host.clone())).collect(),
                    policy,
                    manifest,
                    pid: None,
                    ended: None,
                    closed: None,
                    noted: Noted::Nothing,
                    halted: None,
                });
            }
            (Some(history), record) => {
                history.touched_at = event.at;
                fold_run_record(history, record);
            }
            (None, _) => return Err(ReplayError::NoOpening(loaded.run.clone())),
        }
    }
    history.ok_or_else(|| ReplayError::NoOpening(loaded.run.clone()))
}

fn fold_run_record(history: &mut RunHistory, record: RunRecord) {
    match record {
        RunRecord::Opened { policy, .. } | RunRecord::Replanned { policy } => {
            let run = history.id.clone();
            let before = std::mem::take(&mut history.hosts);
            let mut before: HashMap<HostId, HostState> =
                before.into_iter().map(|state| (state.host().clone(), state)).collect();
            // A host's own stream says when its policy changed, so that its earlier events are folded under the earlier one.
            let kept_or_new = |host: &HostPolicy| {
                before.remove(&host.host).unwrap_or_else(|| HostState::new(run.clone(), host.clone()))
            };
            history.hosts = policy.hosts.iter().map(kept_or_new).collect();
            // Other canaries are not those that held.
            if history.policy.rollout.canary != policy.rollout.canary {
                history.noted = Noted::Nothing;
            }
            history.policy = policy;
        }
        RunRecord::Session { pid } => {
            history.pid = Some(pid);
            history.ended = None;
            history.halted = None;
        }
        RunRecord::Soaking { since } => history.noted = Noted::SoakingSince(since),
        RunRecord::CanariesHeld => history.noted = Noted::Held,
        RunRecord::Halted { why } => history.halted = Some(why),
        RunRecord::Ended { result, interrupted, finished } => {
            history.ended = Some(SessionEnd { result, interrupted, finished });
        }
        RunRecord::Closed { reason } => history.closed = Some(reason),
    }
}

fn fold_host(run: &RunId, state: &mut HostState, stream: &LoadedStream) -> Result<(), ReplayError> {
    if let Some(checkpoint) = &stream.checkpoint {
        let unreadable = |source| ReplayError::Body { seq: checkpoint.seq, source };
        *state = decode_checkpoint(&checkpoint.bytes).map_err(unreadable)?;
    }
    let host = state.host().clone();
    for event in &stream.tail {
        let record = decode_host(&event.body).map_err(|source| ReplayError::Body { seq: event.seq, source })?;
        match record.into_entry(run, &host) {
            HostEntry::Event(event_) => {
                // What follows was intended by records of its own, or was never begun.
                let _effects =
                    state.apply(&event_, event.at).map_err(|source| ReplayError::Illegal { seq: event.seq, source })?;
            }
            HostEntry::Intent { key, mode } => state.intended(&key, mode, event.at),
        }
    }
    Ok(())
}
