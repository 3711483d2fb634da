//! The writer: one thread that owns the [`Store`] and makes batches durable in groups.
//!
//! It takes whatever waits in the channel, writes it as one group and acknowledges every batch of it. While the disk is busy with
//! one group the next one gathers, so the rate grows with the number of those who wait, and one who waits alone waits for one group.

use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::batch::{Ack, AckSender, Batch, Journal, MAX_BATCH_ENTRIES, MAX_VALUE_BYTES};
use super::caught::caught;
use super::error::{JournalError, Result};
use super::segment::fit_for_a_name;
use super::store::{Store, fit_for_a_key};

/// How many batches may wait: more than the hosts of a large fleet that act at the same moment; each is a few kilobytes.
const QUEUE: usize = 1024;
/// From how many entries on a group takes no further batch, so that one group's time stays short.
const GROUP_ENTRIES: usize = 4096;
/// From how many bytes on a group takes no further batch.
const GROUP_BYTES: usize = 4 << 20;

/// The journal of a run: hands batches to the writer thread.
#[derive(Debug)]
pub struct SledJournal {
    /// `None` once it is closed.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<Result<Store>>>,
}

#[derive(Debug)]
struct Job {
    batch: Batch,
    ack: AckSender,
}

impl SledJournal {
    /// Starts the writer thread on an open store.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(store: Store) -> Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let path = store.dir().journal();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(store, jobs))
            .map_err(|e| JournalError::io("start the writer of", &path, e))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Lets the writer finish what was submitted and gives the store back. Blocks for as long as the writes take.
    ///
    /// # Errors
    /// The failure after which the journal took no more records.
    pub fn close(mut self) -> Result<Store> {
        self.finish().unwrap_or(Err(JournalError::Closed))
    }

    fn finish(&mut self) -> Option<Result<Store>> {
        // Without a sender the writer ends as soon as the queue is empty.
        self.queue = None;
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| Err(JournalError::rot("the journal's writer ended unexpectedly"))))
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        // Whoever needs to know of a failure was told by an acknowledgement, or calls `close`.
        let _ = self.finish();
    }
}

#[async_trait]
impl Journal for SledJournal {
    async fn submit(&self, mut batch: Batch) -> Result<Ack> {
        check(&mut batch)?;
        let (sender, ack) = Ack::channel();
        let queue = self.queue.as_ref().ok_or(JournalError::Closed)?;
        queue.send(Job { batch, ack: sender }).await.map_err(|_| JournalError::Closed)?;
        Ok(ack)
    }
}

/// Refuses what could not be read back, and brings JSON onto one line.
fn check(batch: &mut Batch) -> Result<()> {
    let invalid = |what: String| Err(JournalError::Invalid { what });
    if batch.entries.is_empty() || batch.entries.len() > MAX_BATCH_ENTRIES {
        return invalid(format!("it has {} entries", batch.entries.len()));
    }
    if !fit_for_a_name(&batch.run) {
        return invalid(format!("{:?} is no run's name", batch.run.as_str()));
    }
    if let Some(meta) = &mut batch.run_meta {
        check_json("meta", meta)?;
    }
    for entry in &mut batch.entries {
        check_json("body", &mut entry.body)?;
        if !fit_for_a_key(&entry.stream) {
            return invalid(format!("{:?} is no stream's name", entry.stream.to_string()));
        }
        if entry.checkpoint.as_ref().is_some_and(|bytes| bytes.len() > MAX_VALUE_BYTES) {
            return invalid(format!("a checkpoint is longer than {MAX_VALUE_BYTES} bytes"));
        }
    }
    Ok(())
}

fn check_json(what: &str, json: &mut [u8]) -> Result<()> {
    if json.len() > MAX_VALUE_BYTES {
        return Err(JournalError::Invalid { what: format!("a {what} is longer than {MAX_VALUE_BYTES} bytes") });
    }
    if let Err(e) = serde_json::from_slice::<&serde_json::value::RawValue>(json) {
        return Err(JournalError::Invalid { what: format!("a {what} is no JSON: {e}") });
    }
    // In JSON a line feed can only stand between tokens, never within a string.
    json.iter_mut().filter(|c| matches!(c, b'\n' | b'\r')).for_each(|c| *c = b' ');
    Ok(())
}

fn weight(batch: &Batch) -> usize {
    let entries = batch.entries.iter();
    entries.map(|entry| entry.body.len() + entry.checkpoint.as_ref().map_or(0, Vec::len)).sum()
}

fn write_all(mut store: Store, mut jobs: mpsc::Receiver<Job>) -> Result<Store> {
    let mut failed: Option<JournalError> = None;
    let mut next: Option<Job> = None;
    while let Some(first) = next.take().or_else(|| jobs.blocking_recv()) {
        let run = first.batch.run.clone();
        let (mut entries, mut bytes) = (first.batch.entries.len(), weight(&first.batch));
        let mut group = vec![first];
        while entries < GROUP_ENTRIES && bytes < GROUP_BYTES {
            let Ok(job) = jobs.try_recv() else { break };
            if job.batch.run != run {
                // A group is of one run, because a segment is.
                next = Some(job);
                break;
            }
            entries += job.batch.entries.len();
            bytes += weight(&job.batch);
            group.push(job);
        }
        let result = match &failed {
            Some(first) => Err(JournalError::Poisoned { cause: chain_text(first) }),
            None => caught("write to the journal", || store.commit(&run, group.iter().map(|job| &job.batch))),
        };
        match result {
            Ok(committed) => group.into_iter().zip(committed).for_each(|(job, at)| job.ack.send(Ok(at))),
            Err(e) => {
                failed.get_or_insert_with(|| e.clone());
                group.into_iter().for_each(|job| job.ack.send(Err(e.clone())));
            }
        }
    }
    match failed {
        Some(e) => Err(e),
        None => store.settle().map(|()| store),
    }
}

/// Writes an error and what caused it on one line.
fn chain_text(error: &JournalError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
