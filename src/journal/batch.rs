//! The vocabulary between the journal and those who use it: batches that go in, acknowledgements and events that come out.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::error::{JournalError, Result};
use crate::ids::{HostId, RunId};
use crate::time::Timestamp;

/// The largest body, checkpoint or meta value in bytes: far above any real one, it bounds what a reader holds in memory.
pub const MAX_VALUE_BYTES: usize = 32 << 20;
/// The most entries that one batch may have: a transition releases a handful, a plan of 1,000 hosts one for each.
pub const MAX_BATCH_ENTRIES: usize = 65_536;

/// Numbers a record within its state directory: dense from 1, in the order of submission. 0 stands for "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// Returns the number that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Names an ordered stream of events within a run: each is folded by itself, so that a transition's cost does not grow with the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    /// What concerns the run as a whole (text form: `run`).
    Run,
    /// What concerns one host and its guests (text form: `host:NAME`).
    Host(HostId),
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("run"),
            Self::Host(host) => write!(f, "host:{host}"),
        }
    }
}

/// Says that a text names no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no stream (expected `run` or `host:NAME`)")]
pub struct NoStream(pub String);

impl FromStr for StreamId {
    type Err = NoStream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("host:") {
            Some(host) if !host.is_empty() => Ok(Self::Host(HostId::new(host))),
            _ if text == "run" => Ok(Self::Run),
            _ => Err(NoStream(text.to_owned())),
        }
    }
}

/// One event to be journaled.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// When it happened.
    pub at: Timestamp,
    /// The event as JSON (any one value); opaque to the journal.
    pub body: Vec<u8>,
    /// The folded state of the stream *including this event*, any bytes; replaces the stream's earlier checkpoint in the same
    /// atomic write. It is a shortcut and never the only copy of anything, so it goes to the store but not to the segments.
    pub checkpoint: Option<Vec<u8>>,
}

/// Events that become durable together or not at all.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// The events in order; at least one, at most [`MAX_BATCH_ENTRIES`].
    pub entries: Vec<Entry>,
    /// What the list of runs shows of this run from now on, as JSON (any one value); `None` leaves it as it is.
    pub run_meta: Option<Vec<u8>>,
}

/// Where a durable batch ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The number of its first event.
    pub first: Seq,
    /// The number of its last event.
    pub last: Seq,
}

/// Resolves when a batch is durable, or has failed. Dropping it changes nothing: the batch is written all the same.
#[derive(Debug)]
#[must_use = "nothing may be acted on before the batch is durable"]
pub struct Ack(oneshot::Receiver<Result<Committed>>);

/// The other end of an [`Ack`], for those who implement [`Journal`].
#[derive(Debug)]
pub struct AckSender(oneshot::Sender<Result<Committed>>);

impl Ack {
    /// Makes an acknowledgement and its other end.
    pub fn channel() -> (AckSender, Self) {
        let (tx, rx) = oneshot::channel();
        (AckSender(tx), Self(rx))
    }

    /// Makes an acknowledgement that is settled already.
    pub fn ready(result: Result<Committed>) -> Self {
        let (tx, ack) = Self::channel();
        tx.send(result);
        ack
    }
}

impl AckSender {
    /// Settles the acknowledgement. That nobody waits any more is no error.
    pub fn send(self, result: Result<Committed>) {
        // A receiver that is gone lost interest; the batch's fate does not depend on it.
        let _ = self.0.send(result);
    }
}

impl Future for Ack {
    type Output = Result<Committed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A sender dropped unsent means that the writer is gone, and with it any promise about this batch.
        Pin::new(&mut self.0).poll(cx).map(|got| got.unwrap_or(Err(JournalError::Closed)))
    }
}

/// Takes batches and makes them durable, in the order in which they were submitted.
///
/// The engine's driver is the only caller in a run; the simulation has an implementation of its own.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Hands a batch over. Waits only while the queue is full, never for the disk; the [`Ack`] resolves when the batch is durable.
    /// The order is that of the calls where each is awaited before the next.
    ///
    /// # Errors
    /// A batch that can't be stored ([`JournalError::Invalid`]) and a journal that has ended ([`JournalError::Closed`]). A failed
    /// write is told through the [`Ack`].
    async fn submit(&self, batch: Batch) -> Result<Ack>;

    /// Hands a batch over and waits until it is durable.
    ///
    /// # Errors
    /// Whatever kept the batch from becoming durable.
    async fn append(&self, batch: Batch) -> Result<Committed> {
        self.submit(batch).await?.await
    }
}

/// One event as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number.
    pub seq: Seq,
    /// Its run.
    pub run: RunId,
    /// Its stream.
    pub stream: StreamId,
    /// When it happened.
    pub at: Timestamp,
    /// The event as JSON on one line.
    pub body: Vec<u8>,
}

/// The folded state of a stream, as it was handed over with the event `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last event that is folded into it.
    pub seq: Seq,
    /// The state.
    pub bytes: Vec<u8>,
}

/// A stream as it is loaded: fold `tail` onto `checkpoint` (onto nothing where there is none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedStream {
    /// The stream.
    pub stream: StreamId,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Every event after the checkpoint, in order.
    pub tail: Vec<StoredEvent>,
    /// The number of the stream's last event.
    pub last: Seq,
}

/// A run as it is loaded; proven complete against the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedRun {
    /// The run.
    pub run: RunId,
    /// The number of its last event.
    pub last: Seq,
    /// Its streams in order of their text form.
    pub streams: Vec<LoadedStream>,
}

impl LoadedRun {
    /// Sorts a run's events, in order of their numbers, into its streams: a run as it is without checkpoints.
    pub fn from_events(run: RunId, events: impl IntoIterator<Item = StoredEvent>) -> Self {
        let mut last = Seq::default();
        let mut streams: BTreeMap<StreamId, LoadedStream> = BTreeMap::new();
        for event in events {
            last = event.seq;
            let stream = streams.entry(event.stream.clone()).or_insert_with(|| LoadedStream {
                stream: event.stream.clone(),
                checkpoint: None,
                tail: Vec::new(),
                last,
            });
            stream.last = event.seq;
            stream.tail.push(event);
        }
        Self { run, last, streams: streams.into_values().collect() }
    }
}

/// A line of the list of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunListing {
    /// The run.
    pub run: RunId,
    /// The number of its last event.
    pub last: Seq,
    /// What was last handed over as `run_meta`.
    pub meta: Option<Vec<u8>>,
    /// Whether its events were moved to the archive.
    pub archived: bool,
}
