//! The simulated journal: a queue, a writer that makes batches durable in groups, and crash points around each step.

use std::sync::Arc;

use async_trait::async_trait;
use proxmaint::journal::{Ack, AckSender, Batch, Committed, Journal, JournalError, Seq, StreamId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::gate::{Gate, Point};
use crate::stage::Theatre;

/// How long a flush takes: time enough for batches of other hosts to join the group.
const FLUSH_MS: u64 = 2;

/// A flush on a disk that is busy: long enough for an effect that was released too early to be performed meanwhile.
const SLOW_FLUSH_MS: u64 = 500;

/// When the journal acknowledges a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledges {
    /// When it is durable.
    #[default]
    WhenDurable,
    /// As soon as it was handed over: a planted bug.
    AtOnce,
}

/// The journal of one incarnation.
pub struct SimJournal {
    theatre: Theatre,
    gate: Arc<Gate>,
    acknowledges: Acknowledges,
    queue: mpsc::UnboundedSender<AckSender>,
    writer: JoinHandle<()>,
}

impl SimJournal {
    /// Opens the journal and starts its writer.
    pub fn open(theatre: Theatre, gate: Arc<Gate>, acknowledges: Acknowledges) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let flush_ms = match acknowledges {
            Acknowledges::WhenDurable => FLUSH_MS,
            Acknowledges::AtOnce => SLOW_FLUSH_MS,
        };
        let writer = tokio::spawn(write(theatre.clone(), Arc::clone(&gate), waiting, flush_ms));
        Self { theatre, gate, acknowledges, queue, writer }
    }
}

impl Drop for SimJournal {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

#[async_trait]
impl Journal for SimJournal {
    async fn submit(&self, batch: Batch) -> Result<Ack, JournalError> {
        self.gate.point(Point::BeforeAppend).await;
        let (sender, ack) = Ack::channel();
        self.theatre.on(|stage, _| {
            for entry in &batch.entries {
                if let StreamId::Host(host) = &entry.stream {
                    stage.judge.handed_over(host);
                }
            }
            stage.disk.append(batch);
        });
        self.queue.send(sender).map_err(|_| JournalError::Closed)?;
        self.gate.point(Point::Appended).await;
        Ok(match self.acknowledges {
            Acknowledges::WhenDurable => ack,
            Acknowledges::AtOnce => {
                drop(ack);
                Ack::ready(Ok(Committed { first: Seq(1), last: Seq(1) }))
            }
        })
    }
}

/// The writer: what was handed over until a flush begins becomes durable with it.
async fn write(theatre: Theatre, gate: Arc<Gate>, mut waiting: mpsc::UnboundedReceiver<AckSender>, flush_ms: u64) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, usize::MAX).await > 0 {
        gate.sleep(flush_ms).await;
        let mut committed = Vec::new();
        theatre.on(|stage, _| {
            for _ in 0..group.len() {
                if let Some((place, records)) = stage.disk.flush_one() {
                    stage.judge.durable(&records);
                    committed.push(place);
                }
            }
        });
        gate.point(Point::Flushed).await;
        for (ack, place) in group.drain(..).zip(committed) {
            ack.send(Ok(place));
        }
    }
}
