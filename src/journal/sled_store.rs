//! The sled database behind the journal: keyed access to streams, checkpoints and the list of runs.
//!
//! sled is handled with care (see [`super`]): one thread writes, `flush_async` is never called, `flush` is followed by
//! `sync_data` on the database's file (`flush` alone survives a kill but no power cut), the background flusher is off (it ends
//! silently on a full disk), and every call that may meet damage is wrapped, because sled panics on much of it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::batch::{Checkpoint, LoadedStream, RunListing, Seq, StreamId};
use super::caught::caught;
use super::dir::{make_dir, sync_parent, tighten};
use super::error::{JournalError, Result};
use super::frame::{Chain, FormatVersion, Frame, LineFault};
use super::keys;
use crate::ids::RunId;

/// What sled may hold in memory: streams are read once, at the start, and written at their ends.
const CACHE_BYTES: u64 = 64 << 20;
/// How long a database that this process has just closed may still be locked: sled's threads let go of it one after the other.
const UNLOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How often opening is tried meanwhile.
const UNLOCK_RETRY: Duration = Duration::from_millis(5);
/// From how many bytes written on the database is opened anew: sled's log is about twice that, which takes an opening
/// well under half a second to read through; a run over 1,000 hosts with 20 guests each writes about as much.
const FOLD_BYTES: usize = 128 << 20;
/// More streams than a run can have: a bound for the walk over them.
const MAX_STREAMS: usize = 1 << 20;

/// An open database.
#[derive(Debug)]
pub(crate) struct Db {
    /// `None` only where opening it anew failed.
    sled: Option<sled::Db>,
    /// The database's file, for `sync_data`.
    file: File,
    path: PathBuf,
    /// Bytes that were written to it since it was opened.
    written: usize,
}

/// Changes that reach the database together or not at all.
#[derive(Debug, Default)]
pub(crate) struct DbBatch {
    sled: sled::Batch,
    len: usize,
    bytes: usize,
}

impl DbBatch {
    /// Adds a record.
    pub fn put_event(&mut self, run: &RunId, stream: &StreamId, seq: Seq, line: &[u8]) {
        let prefix = keys::stream_events(run, stream);
        self.put_chunks(line, |chunk| keys::event(&prefix, seq, chunk));
    }

    /// Replaces a stream's checkpoint.
    pub fn put_checkpoint(&mut self, run: &RunId, stream: &StreamId, seq: Seq, bytes: &[u8]) {
        let prefix = keys::stream_checkpoint(run, stream);
        self.put_chunks(&keys::encode_checkpoint(seq, bytes), |chunk| keys::checkpoint(&prefix, chunk));
    }

    /// Replaces a line of the list of runs.
    pub fn put_run(&mut self, run: &RunId, last: Seq, archived: bool, meta: Option<&[u8]>) {
        self.put(&keys::run(run), &keys::encode_run(last, archived, meta));
    }

    /// Replaces the last record's number and chain value.
    pub fn put_last(&mut self, seq: Seq, chain: Chain) {
        self.put(keys::LAST, &keys::encode_last(seq, chain));
    }

    /// Adds a key as it is.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.sled.insert(key, value);
        self.len += 1;
        self.bytes += key.len() + value.len();
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes its keys and values have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn put_chunks(&mut self, bytes: &[u8], key: impl Fn(u16) -> Vec<u8>) {
        // MAX_VALUE_BYTES keeps the count of chunks within u16.
        for (chunk, part) in (0u16..).zip(bytes.chunks(keys::CHUNK_BYTES)) {
            self.put(&key(chunk), part);
        }
    }
}

impl Db {
    /// Opens or creates a database.
    ///
    /// # Errors
    /// [`JournalError::Rot`] where sled finds damage (or panics over it), [`JournalError::Newer`], I/O errors.
    pub fn open(path: &Path) -> Result<Self> {
        let existed = path.exists();
        make_dir(path)?;
        let sled = open_sled(path)?;
        tighten(path)?;
        let file_path = path.join("db");
        let file = OpenOptions::new().read(true).write(true).open(&file_path);
        let file = file.map_err(|e| JournalError::io("open", &file_path, e))?;
        let db = Self { sled: Some(sled), file, path: path.to_owned(), written: 0 };
        match db.get(keys::FORMAT)?.as_deref().map(<[u8; 4]>::try_from) {
            Some(Ok(found)) => {
                let (found, known) = (u32::from_be_bytes(found), FormatVersion::CURRENT.0);
                if found > known {
                    return Err(JournalError::Newer { path: path.to_owned(), found, known });
                }
            }
            Some(Err(_)) => return Err(JournalError::rot("the store's format is unreadable")),
            None if existed && db.last()?.0 > Seq(0) => return Err(JournalError::rot("the store has no format")),
            None => {
                let mut batch = DbBatch::default();
                batch.put(keys::FORMAT, &FormatVersion::CURRENT.0.to_be_bytes());
                db.apply(batch)?;
                db.sync()?;
                sync_parent(&file_path)?;
                sync_parent(path)?;
            }
        }
        Ok(db)
    }

    /// Applies a batch; call [`Db::sync`] to make it durable.
    pub fn apply(&self, batch: DbBatch) -> Result<()> {
        self.run("write to the store", |sled| sled.apply_batch(batch.sled))
    }

    /// Takes note of bytes that were applied and made durable, and opens the database anew where they have become many. sled notes where its pages lie only when it is opened, so
    /// what was written since is what the next opening has to read through, most of all after a long session was killed.
    pub fn wrote(&mut self, bytes: usize) -> Result<()> {
        self.written += bytes;
        if self.written < FOLD_BYTES {
            return Ok(());
        }
        drop(self.sled.take());
        self.sled = Some(open_sled(&self.path)?);
        self.written = 0;
        tighten(&self.path)
    }

    /// Makes everything durable that was applied.
    pub fn sync(&self) -> Result<()> {
        self.run("flush the store", |sled| sled.flush())?;
        self.file.sync_data().map_err(|e| JournalError::io("sync", &self.path, e))
    }

    /// Returns the last record's number and chain value.
    pub fn last(&self) -> Result<(Seq, Chain)> {
        match self.get(keys::LAST)? {
            None => Ok((Seq(0), Chain::START)),
            Some(value) => {
                keys::decode_last(&value).ok_or_else(|| JournalError::rot("the store's last record is unreadable"))
            }
        }
    }

    /// Returns the list of runs in order of their names.
    pub fn runs(&self) -> Result<Vec<RunListing>> {
        let mut runs = Vec::new();
        self.walk(keys::RUNS, |key, value| {
            let run = std::str::from_utf8(&key[keys::RUNS.len()..]).map(RunId::new).ok();
            let (Some(run), Some((last, archived, meta))) = (run, keys::decode_run(value)) else {
                return Err(JournalError::rot("the list of runs has an unreadable line"));
            };
            runs.push(RunListing { run, last, meta, archived });
            Ok(())
        })?;
        Ok(runs)
    }

    /// Returns a line of the list of runs.
    pub fn run_listing(&self, run: &RunId) -> Result<Option<RunListing>> {
        let Some(value) = self.get(&keys::run(run))? else { return Ok(None) };
        let decoded = keys::decode_run(&value);
        let (last, archived, meta) =
            decoded.ok_or_else(|| JournalError::rot(format!("the list of runs: the line of {run} is unreadable")))?;
        Ok(Some(RunListing { run: run.clone(), last, meta, archived }))
    }

    /// Returns the streams of a run in order of their text form: two look-ups for each, however long it is.
    pub fn streams(&self, run: &RunId) -> Result<Vec<StreamId>> {
        let prefix = keys::run_events(run);
        let mut streams = Vec::new();
        let mut from = prefix.clone();
        while streams.len() < MAX_STREAMS {
            let key = self.run("read the store", |sled| sled.range(from.clone()..).keys().next().transpose())?;
            let Some(key) = key.filter(|key| key.starts_with(&prefix)) else { return Ok(streams) };
            let (_, stream) =
                keys::run_and_stream(&key).ok_or_else(|| JournalError::rot("an event's key is unreadable"))?;
            from = keys::stream_events(run, &stream);
            // The first key behind all keys of that stream.
            if let Some(end) = from.last_mut() {
                *end = 1;
            }
            streams.push(stream);
        }
        Err(JournalError::rot(format!("run {run} has more than {MAX_STREAMS} streams")))
    }

    /// Returns the last record of a stream.
    pub fn last_of(&self, run: &RunId, stream: &StreamId) -> Result<Option<Frame>> {
        let prefix = keys::stream_events(run, stream);
        let key = self.run("read the store", |sled| sled.scan_prefix(&prefix).keys().next_back().transpose())?;
        let Some(key) = key else { return Ok(None) };
        let (seq, _) =
            keys::parse_event(&prefix, &key).ok_or_else(|| JournalError::rot("an event's key is unreadable"))?;
        Ok(self.events_from(run, stream, seq)?.pop())
    }

    /// Returns the records of a stream from a number on, each proven by its checksum and by its link to the one before.
    pub fn events_from(&self, run: &RunId, stream: &StreamId, from: Seq) -> Result<Vec<Frame>> {
        let prefix = keys::stream_events(run, stream);
        let mut frames: Vec<Frame> = Vec::new();
        let mut line: Option<(Seq, Vec<u8>)> = None;
        let mut finish = |line: Option<(Seq, Vec<u8>)>| -> Result<()> {
            let Some((seq, bytes)) = line else { return Ok(()) };
            let frame = read_frame(&bytes, run, stream, seq)?;
            if let Some(before) = frames.last().filter(|before| before.seq != frame.prev) {
                return Err(JournalError::rot_at(
                    seq,
                    format!("follows {} in {stream}, not {}", before.seq, frame.prev),
                ));
            }
            frames.push(frame);
            Ok(())
        };
        let first = keys::event(&prefix, from, 0);
        let unreadable = || JournalError::rot(format!("the store has an unreadable key in {stream} of run {run}"));
        self.walk_from(&first, &prefix, |key, value| {
            let (seq, chunk) = keys::parse_event(&prefix, key).ok_or_else(unreadable)?;
            match line.as_mut() {
                Some((of, bytes)) if *of == seq => bytes.extend_from_slice(value),
                _ if chunk == 0 => finish(line.replace((seq, value.to_vec())))?,
                _ => return Err(JournalError::rot_at(seq, "its beginning is missing in the store")),
            }
            Ok(())
        })?;
        finish(line)?;
        Ok(frames)
    }

    /// Returns a record's line as it is stored, if there is one.
    pub fn line(&self, run: &RunId, stream: &StreamId, seq: Seq) -> Result<Option<Vec<u8>>> {
        let prefix = [&keys::stream_events(run, stream)[..], &seq.0.to_be_bytes()].concat();
        let mut line = Vec::new();
        self.walk(&prefix, |_, chunk| {
            line.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok((!line.is_empty()).then_some(line))
    }

    /// Returns a stream's checkpoint.
    pub fn checkpoint(&self, run: &RunId, stream: &StreamId) -> Result<Option<Checkpoint>> {
        let mut value = Vec::new();
        self.walk(&keys::stream_checkpoint(run, stream), |_, chunk| {
            value.extend_from_slice(chunk);
            Ok(())
        })?;
        if value.is_empty() {
            return Ok(None);
        }
        let damaged = || JournalError::rot(format!("the checkpoint of {stream} in run {run} is unreadable"));
        keys::decode_checkpoint(&value).map(Some).ok_or_else(damaged)
    }

    /// Loads a stream: its checkpoint and what follows. Also returns the stream's last record.
    pub fn load_stream(&self, run: &RunId, stream: &StreamId) -> Result<(LoadedStream, Frame)> {
        let checkpoint = self.checkpoint(run, stream)?;
        let folded = checkpoint.as_ref().map_or(Seq(0), |checkpoint| checkpoint.seq);
        let frames = self.events_from(run, stream, folded.next())?;
        let last = match frames.last() {
            Some(last) => last.clone(),
            None => {
                let last = self.last_of(run, stream)?.filter(|last| last.seq == folded);
                last.ok_or_else(|| {
                    JournalError::rot_at(folded, format!("the last of {stream} in run {run} is missing"))
                })?
            }
        };
        if let Some(first) = frames.first().filter(|first| first.prev != folded) {
            return Err(JournalError::rot_at(first.seq, format!("follows {} in {stream}, not {folded}", first.prev)));
        }
        let tail = frames.into_iter().map(Frame::into_event).collect();
        Ok((LoadedStream { stream: stream.clone(), checkpoint, tail, last: last.seq }, last))
    }

    /// Calls `each` with every key below a prefix, in order.
    pub fn walk(&self, prefix: &[u8], each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.walk_from(prefix, prefix, each)
    }

    fn walk_from(&self, from: &[u8], prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let sled = self.sled()?;
        caught("read the store", || {
            for pair in sled.range(from.to_vec()..) {
                let (key, value) = pair.map_err(|e| failure("read the store", &self.path, e))?;
                if !key.starts_with(prefix) {
                    break;
                }
                each(&key, &value)?;
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.run("read the store", |sled| sled.get(key))?.map(|value| value.to_vec()))
    }

    fn run<T>(&self, what: &str, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T> {
        let sled = self.sled()?;
        caught(what, || work(sled).map_err(|e| failure(what, &self.path, e)))
    }

    fn sled(&self) -> Result<&sled::Db> {
        self.sled.as_ref().ok_or_else(|| JournalError::rot(format!("{} could not be opened anew", self.path.display())))
    }
}

/// Opens or creates what sled keeps in a directory.
fn open_sled(path: &Path) -> Result<sled::Db> {
    let started = Instant::now();
    loop {
        let opened = caught("open the store", || {
            let config = sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .mode(sled::Mode::HighThroughput);
            Ok(config.open())
        })?;
        match opened {
            Ok(sled) => return Ok(sled),
            // Our own lock keeps other processes out, so this one is held by a handle of ours that is still being dropped.
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => {
                if started.elapsed() >= UNLOCK_PATIENCE {
                    return Err(JournalError::io("lock", path, e));
                }
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a lock of another process gives no event; the wait is bounded"
                )]
                std::thread::sleep(UNLOCK_RETRY);
            }
            Err(e) => return Err(failure("open the store", path, e)),
        }
    }
}

/// Reads a record that was found under a key.
pub(crate) fn read_frame(line: &[u8], run: &RunId, stream: &StreamId, seq: Seq) -> Result<Frame> {
    // The store has the line with its line feed, as the segment has.
    let frame =
        line.strip_suffix(b"\n").ok_or_else(|| JournalError::rot_at(seq, "its line in the store has no end"))?;
    let frame = Frame::parse(frame).map_err(|e| match e {
        LineFault::Newer(found) => {
            JournalError::Newer { path: PathBuf::from("the store"), found, known: FormatVersion::CURRENT.0 }
        }
        e => JournalError::rot_at(seq, format!("its line in the store {e}")),
    })?;
    if frame.seq != seq || frame.run != *run || frame.stream != *stream {
        return Err(JournalError::rot_at(seq, "the store has another record in its place"));
    }
    Ok(frame)
}

fn failure(what: &str, path: &Path, error: sled::Error) -> JournalError {
    use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    match error {
        // Not refusals of the operating system, but reads that led nowhere: behind the end, at an impossible place, of a missing file.
        sled::Error::Io(e) if !matches!(e.kind(), UnexpectedEof | InvalidData | InvalidInput | NotFound | Other) => {
            JournalError::io(what, path, e)
        }
        other => JournalError::rot(format!("could not {what} {}: {other}", path.display())),
    }
}
