//! What the engine tells those who watch: each event, once it is durable. An observer can't fail, stop or slow the engine.

use serde::Serialize;

use crate::ids::{HostId, RunId};
use crate::machine::event::HostEvent;
use crate::machine::host::HostState;
use crate::machine::run::RunResult;
use crate::time::Timestamp;

/// What can be watched.
#[derive(Debug, Clone)]
pub enum Seen<'a> {
    /// The engine works on a run, newly opened or gone on with.
    RunBegan {
        /// The run.
        run: &'a RunId,
        /// Its hosts, in the manifest's order.
        hosts: &'a [HostId],
        /// Whether it was interrupted before.
        resumed: bool,
        /// Whether all of it is worked on: else only what the operator asked for, a debt or a rollback, and whoever was asked says
        /// what came of that.
        whole: bool,
    },
    /// An event of a host is durable. `state` is the host as the event, and perhaps already later ones, left it.
    Host {
        /// The event's place in the journal.
        seq: u64,
        /// When it happened.
        at: Timestamp,
        /// The event.
        event: &'a HostEvent,
        /// The host.
        state: &'a HostState,
    },
    /// The canaries are over, and left alone until then.
    Soaking {
        /// Until when.
        until: Timestamp,
    },
    /// The canaries held: the rest of the run begins.
    CanariesHeld,
    /// Too much went wrong: nothing more is begun.
    Halted {
        /// Why.
        why: &'a str,
        /// How many hosts nothing was begun on.
        not_begun: usize,
    },
    /// The operator asked to stop: no new step begins.
    Draining,
    /// The engine stopped working on the run.
    RunEnded(RunEnd),
}

/// How the engine's work on a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RunEnd {
    /// How the run stands.
    pub result: RunResult,
    /// Whether the operator interrupted it.
    pub interrupted: bool,
    /// Whether it halted, since too much went wrong.
    pub halted: bool,
}

/// Someone who watches.
pub trait Observer: Send + Sync {
    /// Is told of something. Must return at once.
    fn seen(&self, seen: &Seen<'_>);
}
