//! Recovery: rebuilds a damaged journal from its segments, and damaged segments from what the store still has.
//!
//! Every record that is put back is proven by the chained hash, wherever it comes from. Where a record is in neither, what follows it
//! in its run is lost as well, because a state that was folded over a gap could not be trusted: that is reported, not hidden. Nothing
//! is deleted: the old database and every damaged segment are set aside as `NAME.broken-N`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::archive::remove_dir_if_there;
use super::batch::Seq;
use super::dir::{StateDir, remove_if_there, replace_file, sync_dir};
use super::error::{JournalError, Result};
use super::frame::{Chain, Frame, LineFault};
use super::gaps::{self, Gap};
use super::history::{archived_names, open_archived};
use super::lock::RunLock;
use super::salvage::Copy;
use super::segment::{self, Place, SegmentName, SegmentReader, Why, push_header};
use super::sled_store::{Db, DbBatch};
use super::store::{REPLAY_CHUNK, Store, free_name, new_db_path, replay, swap_db};
use super::watermark::{Watermark, WatermarkFile};
use crate::ids::RunId;

/// What a recovery found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoverReport {
    /// How many records the journal has now, archived ones left out.
    pub kept: u64,
    /// The number of the last of them.
    pub last: Seq,
    /// How many of them came from the old store, because the segments had lost them.
    pub from_store: u64,
    /// Each damage that was found, the first bad record of each segment named.
    pub damage: Vec<String>,
    /// What could not be brought back: look at these runs' hosts by hand.
    pub lost: Vec<Lost>,
    /// What was set aside.
    pub set_aside: Vec<PathBuf>,
}

/// Records that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub first: Seq,
    /// The last, as far as it is known.
    pub last: Seq,
    /// Their run, where it is known.
    pub run: Option<RunId>,
}

/// Rebuilds the journal. Works on an intact one as well, which it leaves as it was but for a fresh database.
///
/// # Errors
/// [`JournalError::Newer`] (nothing is touched then), I/O errors.
pub fn recover(dir: &StateDir, lock: &RunLock) -> Result<RecoverReport> {
    let mut work = Recovery::begin(dir)?;
    work.walk_segments()?;
    work.finish()?;
    drop(work.store.take());
    // Opening proves that the three agree.
    drop(Store::open(dir, lock)?);
    Ok(work.report)
}

struct Recovery<'a> {
    dir: &'a StateDir,
    report: RecoverReport,
    /// A copy of the old database, as far as it can be opened.
    store: Option<Copy>,
    /// Its records, read only when a segment needs them.
    salvage: Option<BTreeMap<Seq, Frame>>,
    archived: Vec<SegmentName>,
    mark: Option<Watermark>,
    /// The end of what is proven so far.
    last: Seq,
    chain: Chain,
    place: Option<Place>,
    /// Runs of which a record is lost: what follows in them is lost too.
    broken: BTreeSet<RunId>,
}

impl<'a> Recovery<'a> {
    fn begin(dir: &'a StateDir) -> Result<Self> {
        let mut report = RecoverReport::default();
        let mark = tolerate(WatermarkFile::read(&dir.watermark()), &mut report.damage)?.flatten();
        if mark.is_none() && report.damage.is_empty() {
            report.damage.push(format!("{} is missing", dir.watermark().display()));
        }
        let store = tolerate(Copy::open(dir), &mut report.damage)?;
        let archived = archived_names(dir)?;
        let (last, chain) = (Seq(0), Chain::START);
        let (salvage, place, broken) = (None, None, BTreeSet::new());
        Ok(Self { dir, report, store, salvage, archived, mark, last, chain, place, broken })
    }

    /// Walks over all segments in order; each is kept, mended or set aside.
    fn walk_segments(&mut self) -> Result<()> {
        let names = segment::list(&self.dir.segments())?;
        for (at, name) in names.iter().enumerate() {
            if name.first > self.last.next() {
                self.bridge(name.first)?;
            }
            let end = names.get(at + 1).map(|next| next.first);
            if self.broken.contains(&name.run) || name.first <= self.last {
                self.discard(name, end)?;
                continue;
            }
            if !self.keep(name, end)? {
                self.mend(name, end)?;
            }
        }
        // Whole segments may be missing at the end.
        self.bridge(Seq(u64::MAX))
    }

    /// Keeps a segment that is intact and reaches its successor. `false` where it is not.
    fn keep(&mut self, name: &SegmentName, end: Option<Seq>) -> Result<bool> {
        let mut reader = match SegmentReader::open(&self.dir.segments(), name)? {
            Ok(reader) => reader,
            Err(fault) => return self.damaged(fault.into()),
        };
        if name.first == self.last.next() && self.last > Seq(0) && reader.chain() != self.chain {
            return self.damaged(JournalError::rot_at(name.first, "its segment does not continue the one before"));
        }
        let (mut place, mut complete, mut records) = (None, true, 0);
        loop {
            let start = reader.offset();
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    complete = frame.left == 0;
                    records += 1;
                    place = Some(Place { segment: name.clone(), start, end: reader.offset() });
                }
                Ok(None) => break,
                Err(fault) => return self.damaged(fault.into()),
            }
        }
        let acknowledged = self.mark.as_ref().is_some_and(|mark| mark.seq >= reader.next_seq());
        if !complete || records == 0 || (end.is_none() && acknowledged) {
            return Ok(false);
        }
        if end.is_some_and(|end| end > reader.next_seq() && !self.is_archived(reader.next_seq())) {
            // Whether it is this segment's end that is missing, or other segments, comes out when it is mended.
            return Ok(false);
        }
        self.report.kept += records;
        (self.last, self.chain, self.place) = (Seq(reader.next_seq().0 - 1), reader.chain(), place);
        Ok(true)
    }

    /// Rebuilds a segment from what is intact in it and from the old store.
    fn mend(&mut self, name: &SegmentName, end: Option<Seq>) -> Result<()> {
        let path = self.dir.segments().join(name.file_name());
        let bytes = std::fs::read(&path).map_err(|e| JournalError::io("read", &path, e))?;
        let mut have: BTreeMap<Seq, Frame> = BTreeMap::new();
        for line in bytes.split(|c| *c == b'\n').skip(1) {
            match Frame::parse(line) {
                Ok(frame) if frame.run == name.run => drop(have.insert(frame.seq, frame)),
                Err(LineFault::Newer(found)) => return Err(segment_newer(path, found)),
                _ => {}
            }
        }
        let highest = have.keys().next_back().copied();
        let chain = if name.first == self.last.next() { self.chain } else { self.chain_before(name, &have)? };
        let limit = end.unwrap_or(Seq(u64::MAX));
        let found = self.collect(name.first, chain, limit, Some(&name.run), &have)?;
        let mut text = Vec::new();
        self.write_back(name.clone(), chain, &found, &mut text)?;
        if text != bytes {
            let aside = free_name(&path)?;
            std::fs::rename(&path, &aside).map_err(|e| JournalError::io("set aside", &path, e))?;
            self.report.set_aside.push(aside);
            if !found.is_empty() {
                replace_file(&path, &text)?;
            }
            sync_dir(&self.dir.segments())?;
        }
        // What lies behind the last complete batch was never acknowledged, unless the watermark or a later segment says otherwise.
        let acknowledged = self.mark.as_ref().map_or(Seq(0), |mark| mark.seq);
        let known = highest.unwrap_or(self.last).min(Seq(limit.0 - 1)).max(self.last);
        if known > self.last && (self.last < acknowledged || end.is_some()) {
            self.lose(self.last.next(), known, Some(name.run.clone()));
        }
        Ok(())
    }

    /// Brings back records up to `end` (exclusive) of which no segment is there.
    fn bridge(&mut self, end: Seq) -> Result<()> {
        while self.last.next() < end {
            let next = self.last.next();
            if let Some(last) = self.skip_archived(next)? {
                self.last = last;
                continue;
            }
            let none = BTreeMap::new();
            let run = self.salvaged().get(&next).map(|frame| frame.run.clone());
            let found = match &run {
                Some(run) if !self.broken.contains(run) => self.collect(next, self.chain, end, Some(run), &none)?,
                _ => Vec::new(),
            };
            let (Some(run), false) = (run, found.is_empty()) else { break };
            let (name, mut text) = (SegmentName { first: next, run }, Vec::new());
            let chain = self.chain;
            self.write_back(name.clone(), chain, &found, &mut text)?;
            replace_file(&self.dir.segments().join(name.file_name()), &text)?;
            self.report.damage.push(format!("the segment {} was missing", name.file_name()));
        }
        let acknowledged = self.mark.as_ref().map_or(Seq(0), |mark| mark.seq);
        let last = if end == Seq(u64::MAX) { acknowledged } else { Seq(end.0 - 1) };
        let told = self.report.lost.iter().map(|lost| lost.last).max().unwrap_or_default();
        let first = self.last.max(told).next();
        if first <= last && !gaps::covers(&gaps::read(self.dir)?, first, last) {
            self.lose(first, last, None);
        }
        Ok(())
    }

    /// Collects consecutive records of complete batches, each proven by the chain.
    fn collect(
        &mut self,
        first: Seq,
        mut chain: Chain,
        end: Seq,
        run: Option<&RunId>,
        have: &BTreeMap<Seq, Frame>,
    ) -> Result<Vec<Frame>> {
        let (mut found, mut complete, mut from_store) = (Vec::new(), 0, 0);
        let mut seq = first;
        while seq < end {
            let fits = |frame: &&Frame| run.is_none_or(|run| frame.run == *run) && frame.follows(chain);
            let frame = match have.get(&seq).filter(fits) {
                Some(frame) => frame.clone(),
                None => {
                    let Some(frame) = self.salvaged().get(&seq).filter(fits).cloned() else { break };
                    from_store += 1;
                    frame
                }
            };
            chain = frame.chain;
            let whole = frame.left == 0;
            found.push(frame);
            if whole {
                complete = found.len();
                self.report.from_store += std::mem::take(&mut from_store);
            }
            seq = seq.next();
        }
        found.truncate(complete);
        Ok(found)
    }

    /// Makes a segment's text of records and moves on to its end.
    fn write_back(&mut self, name: SegmentName, chain: Chain, frames: &[Frame], text: &mut Vec<u8>) -> Result<()> {
        push_header(text, &name, chain);
        for frame in frames {
            let start = text.len() as u64;
            text.extend_from_slice(&frame.line);
            text.push(b'\n');
            self.place = Some(Place { segment: name.clone(), start, end: text.len() as u64 });
            (self.last, self.chain) = (frame.seq, frame.chain);
        }
        self.report.kept += frames.len() as u64;
        Ok(())
    }

    /// Finds the chain value before a segment whose predecessor is not there: in its header, else it can't be proven.
    fn chain_before(&self, name: &SegmentName, have: &BTreeMap<Seq, Frame>) -> Result<Chain> {
        if let Ok(reader) = SegmentReader::open(&self.dir.segments(), name)? {
            return Ok(reader.chain());
        }
        // Its header is damaged: the old store may have the record before.
        let before = self.salvage.as_ref().and_then(|salvage| salvage.get(&Seq(name.first.0 - 1)));
        let fits = |before: &&Frame| have.get(&name.first).is_none_or(|first| first.follows(before.chain));
        Ok(before.filter(fits).map_or(self.chain, |before| before.chain))
    }

    /// Sets a segment aside that can't be kept.
    fn discard(&mut self, name: &SegmentName, end: Option<Seq>) -> Result<()> {
        let path = self.dir.segments().join(name.file_name());
        let last = segment::last_frame(&self.dir.segments(), name)?.map(|frame| frame.seq);
        let aside = free_name(&path)?;
        std::fs::rename(&path, &aside).map_err(|e| JournalError::io("set aside", &path, e))?;
        self.report.set_aside.push(aside);
        let last = last.or(end.map(|end| Seq(end.0 - 1))).unwrap_or(name.first);
        if last > self.last {
            self.lose(name.first.max(self.last.next()), last, Some(name.run.clone()));
        }
        Ok(())
    }

    fn lose(&mut self, first: Seq, last: Seq, run: Option<RunId>) {
        self.broken.extend(run.clone());
        self.report.lost.push(Lost { first, last, run });
    }

    fn damaged(&mut self, e: JournalError) -> Result<bool> {
        if let newer @ JournalError::Newer { .. } = e {
            return Err(newer);
        }
        self.report.damage.push(e.to_string());
        Ok(false)
    }

    fn is_archived(&self, seq: Seq) -> bool {
        self.archived.iter().any(|name| name.first == seq)
    }

    /// Moves over an archived segment that begins with this record.
    fn skip_archived(&mut self, seq: Seq) -> Result<Option<Seq>> {
        let Some(name) = self.archived.iter().find(|name| name.first == seq) else { return Ok(None) };
        let mut reader = match open_archived(&self.dir.archive(), name)? {
            Ok(reader) => reader,
            Err(fault) => return self.damaged(fault.into()).map(|_| None),
        };
        loop {
            match reader.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(fault) => return self.damaged(fault.into()).map(|_| None),
            }
        }
        self.chain = reader.chain();
        Ok(Some(Seq(reader.next_seq().0 - 1)).filter(|last| *last >= seq))
    }

    /// Returns the records that the old store has beyond what is proven so far.
    fn salvaged(&mut self) -> &BTreeMap<Seq, Frame> {
        let (store, from, damage) = (&self.store, self.last, &mut self.report.damage);
        self.salvage.get_or_insert_with(|| {
            let Some(store) = store else { return BTreeMap::new() };
            let (frames, stopped) = store.records_from(from);
            damage.extend(stopped.map(|e| e.to_string()));
            frames
        })
    }

    /// Builds the new database, swaps it in and writes the watermark.
    fn finish(&mut self) -> Result<()> {
        self.report.last = self.last;
        let path = new_db_path(self.dir);
        remove_dir_if_there(&path)?;
        let db = Db::open(&path)?;
        self.list_archived(&db)?;
        for name in segment::list(&self.dir.segments())? {
            fill(&db, SegmentReader::open(&self.dir.segments(), &name)??)?;
        }
        let mut changes = DbBatch::default();
        for (run, stream, checkpoint) in self.store.iter().flat_map(Copy::checkpoints) {
            // Only where its record was kept; a later checkpoint would hide that what it holds is lost.
            if db.line(&run, &stream, checkpoint.seq)?.is_some() {
                changes.put_checkpoint(&run, &stream, checkpoint.seq, &checkpoint.bytes);
            }
        }
        changes.put_last(self.last, self.chain);
        db.apply(changes)?;
        db.sync()?;
        drop(db);
        gaps::add(self.dir, self.report.lost.iter().map(|lost| Gap { first: lost.first, last: lost.last }), self.last)?;
        // From here to the last line the journal does not open if this is interrupted, and recovering again finishes it.
        remove_if_there(&self.dir.watermark())?;
        if self.dir.db().exists() {
            let aside = free_name(&self.dir.db())?;
            swap_db(self.dir, &aside)?;
            self.report.set_aside.push(aside);
        } else {
            swap_db(self.dir, &self.dir.journal().join("db.old"))?;
        }
        let mark = Watermark { seq: self.last, chain: self.chain, place: self.place.clone() };
        WatermarkFile::create(&self.dir.watermark(), &mark)?;
        Ok(())
    }

    /// Puts archived runs into the list of runs.
    fn list_archived(&mut self, db: &Db) -> Result<()> {
        let mut runs: BTreeMap<RunId, (Seq, Option<Vec<u8>>)> = BTreeMap::new();
        for name in self.archived.clone() {
            let Ok(mut reader) = open_archived(&self.dir.archive(), &name)? else { continue };
            // Damage in the archive was reported above or is by `verify`; it does not keep the journal from working.
            while let Ok(Some(frame)) = reader.next_frame() {
                let run = runs.entry(frame.run.clone()).or_default();
                run.0 = frame.seq;
                run.1 = frame.meta().map(<[u8]>::to_vec).or(run.1.take());
            }
        }
        let mut changes = DbBatch::default();
        for (run, (last, meta)) in runs {
            changes.put_run(&run, last, true, meta.as_deref());
        }
        db.apply(changes)
    }
}

/// Notes damage, but stops at what a newer program made.
fn tolerate<T>(result: Result<T>, damage: &mut Vec<String>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(newer @ JournalError::Newer { .. }) => Err(newer),
        Err(e) => {
            damage.push(e.to_string());
            Ok(None)
        }
    }
}

fn fill(db: &Db, mut reader: SegmentReader<impl std::io::BufRead>) -> Result<()> {
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
        if frames.len() >= REPLAY_CHUNK {
            replay(db, &frames)?;
            frames.clear();
        }
    }
    replay(db, &frames)
}

fn segment_newer(path: PathBuf, found: u32) -> JournalError {
    segment::SegmentFault { path, line: 0, offset: 0, why: Why::Line(LineFault::Newer(found)) }.into()
}
