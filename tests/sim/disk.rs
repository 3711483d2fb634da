//! The disk under the journal: records that are durable, and batches that were handed over and are not.

use std::collections::{BTreeMap, VecDeque};

use proxmaint::ids::RunId;
use proxmaint::journal::{Batch, Checkpoint, Committed, LoadedRun, LoadedStream, Seq, StoredEvent, StreamId};

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    durable: Vec<StoredEvent>,
    checkpoints: BTreeMap<StreamId, Checkpoint>,
    /// Batches that a power cut may take.
    volatile: VecDeque<Batch>,
}

impl Disk {
    /// Takes a batch; it is not durable yet.
    pub fn append(&mut self, batch: Batch) {
        self.volatile.push_back(batch);
    }

    /// Makes the oldest batch durable; returns where it ended up, and its records.
    pub fn flush_one(&mut self) -> Option<(Committed, Vec<StoredEvent>)> {
        let batch = self.volatile.pop_front()?;
        let first = Seq(self.durable.len() as u64 + 1);
        let begin = self.durable.len();
        for entry in batch.entries {
            let seq = Seq(self.durable.len() as u64 + 1);
            if let Some(bytes) = entry.checkpoint {
                self.checkpoints.insert(entry.stream.clone(), Checkpoint { seq, bytes });
            }
            let event =
                StoredEvent { seq, run: batch.run.clone(), stream: entry.stream, at: entry.at, body: entry.body };
            self.durable.push(event);
        }
        let last = Seq(self.durable.len() as u64);
        Some((Committed { first, last }, self.durable[begin..].to_vec()))
    }

    /// The power goes: what is not durable is lost.
    pub fn power_cut(&mut self) {
        self.volatile.clear();
    }

    /// Tells how many batches are not durable.
    pub fn volatile(&self) -> usize {
        self.volatile.len()
    }

    /// Takes back the newest durable records, all but the first: what a disk does that lied about its flushes.
    pub fn forget(&mut self, records: usize) {
        let keep = self.durable.len().saturating_sub(records).max(1);
        self.durable.truncate(keep);
        self.checkpoints.retain(|_, checkpoint| checkpoint.seq.0 <= keep as u64);
    }

    /// Loads the run as a store would: from the newest checkpoints on, or all of it.
    pub fn load(&self, run: &RunId, from_checkpoints: bool) -> LoadedRun {
        let mut streams: BTreeMap<String, LoadedStream> = BTreeMap::new();
        for event in &self.durable {
            let stream = streams.entry(event.stream.to_string()).or_insert_with(|| LoadedStream {
                stream: event.stream.clone(),
                checkpoint: self.checkpoints.get(&event.stream).filter(|_| from_checkpoints).cloned(),
                tail: Vec::new(),
                last: event.seq,
            });
            stream.last = event.seq;
            if stream.checkpoint.as_ref().is_none_or(|checkpoint| event.seq > checkpoint.seq) {
                stream.tail.push(event.clone());
            }
        }
        LoadedRun { run: run.clone(), last: Seq(self.durable.len() as u64), streams: streams.into_values().collect() }
    }
}
