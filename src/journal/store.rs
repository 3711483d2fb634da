//! The journal as a whole: segments, store and watermark, opened together and kept in step.

use std::path::{Path, PathBuf};

use super::batch::{Batch, Committed, LoadedRun, RunListing, Seq, StreamId};
use super::dir::{StateDir, make_dir, remove_if_there, sync_dir};
use super::error::{JournalError, Result};
use super::frame::{Chain, Frame, FrameParts, push_frame};
use super::heads::Heads;
use super::lock::{LockAttempt, LockHolder, Purpose, RunLock};
use super::segment::{self, DEFAULT_SEGMENT_BYTES, Place, SegmentName, SegmentWriter};
use super::sled_store::{Db, DbBatch};
use super::tail;
use super::watermark::{Watermark, WatermarkFile};
use crate::ids::RunId;
use crate::time::Timestamp;

/// How many records are replayed into the store in one of its batches.
pub(crate) const REPLAY_CHUNK: usize = 1000;

/// The journal, open and proven as far as opening proves it: store, segments and watermark agree on the last record.
///
/// Reads of a run are proven completely: see [`Store::load_run`].
#[derive(Debug)]
pub struct Store {
    dir: StateDir,
    db: Db,
    segments: SegmentWriter,
    watermark: WatermarkFile,
    last: Seq,
    chain: Chain,
    place: Option<Place>,
    /// The run that was written to last.
    active: Option<Active>,
    /// Held by a store that was opened for reading; declared last, so that it is released when the rest is closed.
    _lock: Option<RunLock>,
}

/// What is known of the run that is being written to.
#[derive(Debug)]
struct Active {
    run: RunId,
    heads: Heads,
    meta: Option<Vec<u8>>,
}

/// What came of opening the journal for reading.
#[derive(Debug)]
#[must_use]
pub enum OpenRead {
    /// It is open; nobody can write until it is dropped.
    Open(Box<Store>),
    /// A run has it: ask that run.
    HeldBy(LockHolder),
    /// There is no journal yet.
    Nothing,
}

impl Store {
    /// Opens the journal for writing, creating what is missing, and brings segments and store in step.
    ///
    /// The lock is asked for as proof that no other process has the journal; keep it for as long as the store lives.
    ///
    /// # Errors
    /// [`JournalError::Rot`] and [`JournalError::Newer`] (exit code 7), I/O errors.
    pub fn open(dir: &StateDir, _lock: &RunLock) -> Result<Self> {
        Self::open_with(dir, None)
    }

    /// Opens the journal for reading, holding the lock for as long as the store lives: keep it short. Waits for other readers, not
    /// for a run.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_read(dir: &StateDir, now: Timestamp) -> Result<OpenRead> {
        if !dir.watermark().exists() && segment::list(&dir.segments())?.is_empty() && !dir.db().exists() {
            return Ok(match RunLock::held_by(dir)?.filter(|holder| holder.purpose != Purpose::Read) {
                Some(holder) => OpenRead::HeldBy(holder),
                None => OpenRead::Nothing,
            });
        }
        match RunLock::try_acquire(dir, Purpose::Read, None, now)? {
            LockAttempt::HeldBy(holder) => Ok(OpenRead::HeldBy(holder)),
            LockAttempt::Acquired(lock) => Ok(OpenRead::Open(Box::new(Self::open_with(dir, Some(lock))?))),
        }
    }

    fn open_with(dir: &StateDir, lock: Option<RunLock>) -> Result<Self> {
        for sub in [dir.journal(), dir.segments(), dir.archive()] {
            make_dir(&sub)?;
        }
        finish_swap(dir)?;
        let names = segment::list(&dir.segments())?;
        let (mut watermark, mark) = open_watermark(dir, &names)?;
        let db = open_db(dir, &names, &mark)?;
        let tail = tail::read(&dir.segments(), &names, &mark)?;
        let (held, held_chain) = db.last()?;
        if held < mark.seq {
            return Err(JournalError::rot(format!(
                "the store ends at record {held}, though {} was acknowledged",
                mark.seq
            )));
        }
        if held > tail.seq {
            return Err(JournalError::rot(format!("the segments end at record {}, the store at {held}", tail.seq)));
        }
        let missing = tail.frames.partition_point(|frame| frame.seq <= held);
        let expected = missing.checked_sub(1).map_or(mark.chain, |at| tail.frames[at].chain);
        if expected != held_chain {
            return Err(JournalError::rot_at(held, "the store and the segments differ in its chain value"));
        }
        replay(&db, &tail.frames[missing..])?;
        if let Some(name) = &tail.stillborn {
            remove_if_there(&dir.segments().join(name.file_name()))?;
            sync_dir(&dir.segments())?;
        }
        let segments = SegmentWriter::new(dir.segments(), DEFAULT_SEGMENT_BYTES, tail.newest)?;
        if tail.seq != mark.seq {
            watermark.write(&Watermark { seq: tail.seq, chain: tail.chain, place: tail.place.clone() })?;
            watermark.sync()?;
        }
        let (last, chain, place) = (tail.seq, tail.chain, tail.place);
        Ok(Self { dir: dir.clone(), db, segments, watermark, last, chain, place, active: None, _lock: lock })
    }

    /// Sets the size in bytes from which on a new segment is begun (16 MiB unless set).
    pub fn set_segment_bytes(&mut self, bytes: u64) {
        self.segments.set_limit(bytes);
    }

    /// Returns the state directory.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// Returns the number of the last record.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Returns the runs in order of their names, which is that of their age.
    ///
    /// # Errors
    /// [`JournalError::Rot`].
    pub fn runs(&self) -> Result<Vec<RunListing>> {
        self.db.runs()
    }

    /// Loads a run: for each stream its checkpoint and what follows. The cost depends on the number of streams and the length of
    /// what follows, not on that of the run.
    ///
    /// What is returned is proven complete and unaltered: the last records of all streams against the digest in the last line of
    /// the run's segments, the others by their checksums and links.
    ///
    /// # Errors
    /// [`JournalError::NoSuchRun`], [`JournalError::Archived`], [`JournalError::Rot`].
    pub fn load_run(&self, run: &RunId) -> Result<LoadedRun> {
        let listed = self.db.run_listing(run)?;
        if listed.as_ref().is_some_and(|listed| listed.archived) {
            return Err(JournalError::Archived(run.clone()));
        }
        let Some(last) = self.last_in_segments(run)? else {
            return Err(match listed {
                Some(_) => JournalError::rot(format!("the segments of run {run} are missing")),
                None => JournalError::NoSuchRun(run.clone()),
            });
        };
        if listed.is_none_or(|listed| listed.last != last.seq) {
            return Err(JournalError::rot(format!("the list of runs does not know record {} of run {run}", last.seq)));
        }
        let mut heads = Heads::default();
        let mut streams = Vec::new();
        for stream in self.db.streams(run)? {
            let (loaded, head) = self.db.load_stream(run, &stream)?;
            heads.advance(&stream, head.seq, head.body());
            streams.push(loaded);
        }
        prove(&heads, &last)?;
        Ok(LoadedRun { run: run.clone(), last: last.seq, streams })
    }

    /// Loads what is needed to go on with a run, or to begin it.
    fn activate(&self, run: &RunId) -> Result<Active> {
        let listed = self.db.run_listing(run)?;
        if listed.as_ref().is_some_and(|listed| listed.archived) {
            return Err(JournalError::Archived(run.clone()));
        }
        let mut heads = Heads::default();
        for stream in self.db.streams(run)? {
            if let Some(frame) = self.db.last_of(run, &stream)? {
                heads.advance(&stream, frame.seq, frame.body());
            }
        }
        if let Some(last) = self.last_in_segments(run)? {
            prove(&heads, &last)?;
        } else if heads != Heads::default() {
            return Err(JournalError::rot(format!("the segments of run {run} are missing")));
        }
        Ok(Active { run: run.clone(), heads, meta: listed.and_then(|listed| listed.meta) })
    }

    /// Reads the last line of a run's segments.
    fn last_in_segments(&self, run: &RunId) -> Result<Option<Frame>> {
        let dir = self.dir.segments();
        let Some(name) = segment::list(&dir)?.into_iter().rev().find(|name| name.run == *run) else { return Ok(None) };
        let frame = segment::last_frame(&dir, &name)?.filter(|frame| frame.run == *run);
        let damaged = || JournalError::rot(format!("the last line of {} is unreadable", name.file_name()));
        frame.map(Some).ok_or_else(damaged)
    }

    /// Makes batches of one run durable, all or none: segment, store, watermark, in this order (see [`super`]).
    ///
    /// After an error this store must not be written to again: what it holds in memory is ahead of what is durable.
    pub(crate) fn commit<'a>(
        &mut self,
        run: &RunId,
        batches: impl Iterator<Item = &'a Batch>,
    ) -> Result<Vec<Committed>> {
        let mut active = match self.active.take() {
            Some(active) if active.run == *run => active,
            _ => self.activate(run)?,
        };
        let mut changes = DbBatch::default();
        let mut committed = Vec::new();
        for batch in batches {
            committed.push(self.stage(batch, &mut active, &mut changes)?);
        }
        self.segments.sync()?;
        changes.put_run(run, self.last, false, active.meta.as_deref());
        changes.put_last(self.last, self.chain);
        let bytes = changes.bytes();
        self.db.apply(changes)?;
        self.db.sync()?;
        self.watermark.write(&Watermark { seq: self.last, chain: self.chain, place: self.place.clone() })?;
        self.db.wrote(bytes)?;
        self.active = Some(active);
        Ok(committed)
    }

    /// Numbers a batch and adds it to what waits to be written.
    fn stage(&mut self, batch: &Batch, active: &mut Active, changes: &mut DbBatch) -> Result<Committed> {
        let run = &active.run;
        let first = self.last.next();
        self.segments.begin(run, first, self.chain)?;
        let mut left = batch.entries.len();
        for entry in &batch.entries {
            left -= 1;
            let seq = self.last.next();
            let prev = active.heads.last(&entry.stream);
            active.heads.advance(&entry.stream, seq, &entry.body);
            let parts = FrameParts {
                seq,
                prev,
                left: u32::try_from(left).map_err(|_| JournalError::Invalid { what: "it is too long".to_owned() })?,
                run,
                stream: &entry.stream,
                at: entry.at,
                body: &entry.body,
                meta: batch.run_meta.as_deref().filter(|_| left == 0),
                heads: active.heads.digest(),
            };
            let chain = self.chain;
            let (chain, place, line) = self.segments.push(|out| push_frame(out, &parts, chain))?;
            changes.put_event(run, &entry.stream, seq, line);
            if let Some(bytes) = &entry.checkpoint {
                changes.put_checkpoint(run, &entry.stream, seq, bytes);
            }
            (self.last, self.chain, self.place) = (seq, chain, Some(place));
        }
        if batch.run_meta.is_some() {
            active.meta.clone_from(&batch.run_meta);
        }
        Ok(Committed { first, last: self.last })
    }

    /// Makes the watermark durable, before the journal is closed.
    pub(crate) fn settle(&self) -> Result<()> {
        self.watermark.sync()
    }

    /// Returns the database.
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }
}

/// Compares the last records that the store has with the digest that the segments have.
pub(crate) fn prove(heads: &Heads, last: &Frame) -> Result<()> {
    if heads.digest() == last.heads {
        return Ok(());
    }
    Err(JournalError::rot(format!("the store has not all of run {} up to record {}", last.run, last.seq)))
}

/// Puts records into the database that only the segments have.
pub(crate) fn replay(db: &Db, frames: &[Frame]) -> Result<()> {
    for chunk in frames.chunks(REPLAY_CHUNK) {
        let mut changes = DbBatch::default();
        for frame in chunk {
            put_frame(&mut changes, frame);
            let listed = match frame.meta() {
                Some(meta) => Some(meta.to_vec()),
                // An earlier record of this very chunk may have set it: it is among those in `changes`, which can't be asked.
                None => {
                    match chunk.iter().rev().filter(|f| f.run == frame.run && f.seq < frame.seq).find_map(Frame::meta) {
                        Some(meta) => Some(meta.to_vec()),
                        None => db.run_listing(&frame.run)?.and_then(|listed| listed.meta),
                    }
                }
            };
            changes.put_run(&frame.run, frame.seq, false, listed.as_deref());
        }
        if let Some(last) = chunk.last() {
            changes.put_last(last.seq, last.chain);
        }
        db.apply(changes)?;
    }
    if !frames.is_empty() {
        db.sync()?;
    }
    Ok(())
}

/// Adds a record to a batch as it lies in a segment.
pub(crate) fn put_frame(changes: &mut DbBatch, frame: &Frame) {
    let mut line = frame.line.clone();
    line.push(b'\n');
    changes.put_event(&frame.run, &frame.stream, frame.seq, &line);
}

fn open_watermark(dir: &StateDir, names: &[SegmentName]) -> Result<(WatermarkFile, Watermark)> {
    let path = dir.watermark();
    if let Some(opened) = WatermarkFile::open(&path)? {
        return Ok(opened);
    }
    // It is the first thing that is ever written, so without it there may be nothing else.
    if !names.is_empty() || dir.db().exists() {
        return Err(JournalError::rot(format!("{} is missing", path.display())));
    }
    let file = WatermarkFile::create(&path, &Watermark::EMPTY)?;
    sync_dir(&dir.journal())?;
    sync_dir(dir.root())?;
    Ok((file, Watermark::EMPTY))
}

fn open_db(dir: &StateDir, names: &[SegmentName], mark: &Watermark) -> Result<Db> {
    let path = dir.db();
    if mark.seq > Seq(0) && !path.exists() {
        return Err(JournalError::rot(format!("{} is missing", path.display())));
    }
    match Db::open(&path) {
        // Nothing was ever acknowledged: this is a database whose very creation was interrupted.
        Err(JournalError::Rot { .. }) if mark.seq == Seq(0) && names.is_empty() => {
            set_aside(&path)?;
            Db::open(&path)
        }
        opened => opened,
    }
}

/// Where a database is built that is to take the place of the present one.
pub(crate) fn new_db_path(dir: &StateDir) -> PathBuf {
    dir.journal().join("db.new")
}

/// Puts the finished new database in the place of the present one, which is moved to `aside`.
pub(crate) fn swap_db(dir: &StateDir, aside: &Path) -> Result<()> {
    let db = dir.db();
    if db.exists() {
        std::fs::rename(&db, aside).map_err(|e| JournalError::io("set aside", &db, e))?;
    }
    finish_swap(dir)
}

/// Finishes a swap that was interrupted: the new database is complete before the old one is moved away.
fn finish_swap(dir: &StateDir) -> Result<()> {
    let (new, db) = (new_db_path(dir), dir.db());
    if !db.exists() && new.exists() {
        std::fs::rename(&new, &db).map_err(|e| JournalError::io("rename", &new, e))?;
        sync_dir(&dir.journal())?;
    }
    Ok(())
}

/// Moves a file or directory to the first free name `NAME.broken-N`.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let aside = free_name(path)?;
    std::fs::rename(path, &aside).map_err(|e| JournalError::io("set aside", path, e))?;
    Ok(aside)
}

/// Returns the first free name `NAME.broken-N`.
pub(crate) fn free_name(path: &Path) -> Result<PathBuf> {
    const MAX_ASIDE: u32 = 10_000;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names = (1..=MAX_ASIDE).map(|n| path.with_file_name(format!("{name}.broken-{n}")));
    let full =
        || JournalError::Untrusted { path: path.to_owned(), why: format!("was set aside {MAX_ASIDE} times already") };
    names.find(|aside| !aside.exists()).ok_or_else(full)
}

/// Whether a stream's name can be part of a key.
pub(crate) fn fit_for_a_key(stream: &StreamId) -> bool {
    !stream.to_string().contains('\0') && !matches!(stream, StreamId::Host(host) if host.as_str().is_empty())
}
