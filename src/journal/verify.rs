//! Verification: compares segments, store, watermark and archive record by record, and names every discrepancy. Changes nothing.

use std::collections::{BTreeMap, HashSet};

use super::batch::Seq;
use super::dir::StateDir;
use super::error::{JournalError, Result};
use super::frame::{Chain, Frame};
use super::gaps;
use super::heads::Heads;
use super::history::{archived_names, open_archived};
use super::keys;
use super::lock::RunLock;
use super::salvage::Copy;
use super::segment::{self, SegmentName, SegmentReader};
use super::watermark::WatermarkFile;
use crate::ids::RunId;

/// How many findings are listed; a store that is broken throughout has one for each record.
const MAX_FINDINGS: usize = 200;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// How many records the segments have.
    pub records: u64,
    /// How many records the archive has.
    pub archived: u64,
    /// The last acknowledged record.
    pub acknowledged: Seq,
    /// Every discrepancy, up to 200; none means that the journal is whole.
    pub findings: Vec<String>,
    /// How many more there are.
    pub more: u64,
    /// What is unusual but no damage: a torn write that the next opening cuts off.
    pub notes: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, what: impl std::fmt::Display) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(what.to_string());
        } else {
            self.more += 1;
        }
    }
}

/// Verifies the journal. The lock is proof that nobody writes meanwhile.
///
/// # Errors
/// I/O errors only; damage is what the report is about.
pub fn verify(dir: &StateDir, _lock: &RunLock) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    match WatermarkFile::read(&dir.watermark()) {
        Ok(Some(mark)) => report.acknowledged = mark.seq,
        Ok(None) if segment::list(&dir.segments())?.is_empty() && !dir.db().exists() => return Ok(report),
        Ok(None) => report.find(format!("{} is missing", dir.watermark().display())),
        Err(e @ JournalError::Io { .. }) => return Err(e),
        Err(e) => report.find(e),
    }
    let store = match Copy::open(dir) {
        Ok(store) => Some(store),
        Err(e @ JournalError::Io { .. }) => return Err(e),
        Err(e) => {
            report.find(e);
            None
        }
    };
    let mut check =
        Check { dir, report, store, seen: HashSet::new(), runs: BTreeMap::new(), last: Seq(0), chain: Chain::START };
    check.segments()?;
    check.store();
    Ok(check.report)
}

/// What the segments say of a run.
#[derive(Default)]
struct RunSeen {
    heads: Heads,
    last: Seq,
}

struct Check<'a> {
    dir: &'a StateDir,
    report: VerifyReport,
    store: Option<Copy>,
    /// Every record that the segments have.
    seen: HashSet<Seq>,
    runs: BTreeMap<RunId, RunSeen>,
    last: Seq,
    chain: Chain,
}

impl Check<'_> {
    fn segments(&mut self) -> Result<()> {
        let plain = segment::list(&self.dir.segments())?;
        let archived = archived_names(self.dir)?;
        let mut all: Vec<(SegmentName, bool)> = archived.into_iter().map(|name| (name, true)).collect();
        // A segment whose archived copy is there already was about to be removed.
        all.retain(|(name, _)| !plain.contains(name));
        all.extend(plain.iter().map(|name| (name.clone(), false)));
        all.sort();
        let gaps = gaps::read(self.dir)?;
        for (name, is_archived) in &all {
            let (expected, before) = (self.last.next(), Seq(name.first.0.saturating_sub(1)));
            if name.first > expected && !gaps::covers(&gaps, expected, before) {
                self.report.find(format!("records {expected} to {before} are in no segment"));
            } else if name.first < expected {
                self.report.find(format!("{} begins with a record that another segment has", name.file_name()));
            }
            if *is_archived {
                match open_archived(&self.dir.archive(), name)? {
                    Ok(reader) => self.segment(reader, name, true, false),
                    Err(fault) => self.report.find(fault),
                }
            } else {
                let newest = plain.last() == Some(name);
                match SegmentReader::open(&self.dir.segments(), name)? {
                    Ok(reader) => self.segment(reader, name, false, newest),
                    Err(fault) if newest && name.first > self.report.acknowledged => {
                        self.report.notes.push(fault.to_string())
                    }
                    Err(fault) => self.report.find(fault),
                }
            }
        }
        if self.last < self.report.acknowledged {
            let acknowledged = self.report.acknowledged;
            self.report
                .find(format!("the segments end at record {}, though {acknowledged} was acknowledged", self.last));
        }
        Ok(())
    }

    fn segment(
        &mut self,
        mut reader: SegmentReader<impl std::io::BufRead>,
        name: &SegmentName,
        is_archived: bool,
        newest: bool,
    ) {
        if name.first == self.last.next() && self.last > Seq(0) && reader.chain() != self.chain {
            self.report.find(format!("{} does not continue the chain of the segment before", name.file_name()));
        }
        let mut complete = true;
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    complete = frame.left == 0;
                    if is_archived {
                        self.report.archived += 1
                    } else {
                        self.record(&frame)
                    }
                    (self.last, self.chain) = (frame.seq, frame.chain);
                }
                Ok(None) => break,
                Err(fault) => {
                    let torn = newest && reader.next_seq() > self.report.acknowledged;
                    if torn {
                        self.report.notes.push(fault.to_string())
                    } else {
                        self.report.find(fault)
                    }
                    return;
                }
            }
        }
        if !complete {
            let what = format!("{} ends within a batch", name.file_name());
            let torn = newest && self.last > self.report.acknowledged;
            if torn { self.report.notes.push(what) } else { self.report.find(what) }
        }
    }

    fn record(&mut self, frame: &Frame) {
        self.report.records += 1;
        self.seen.insert(frame.seq);
        let run = self.runs.entry(frame.run.clone()).or_default();
        if run.heads.last(&frame.stream) != frame.prev {
            self.report.find(format!(
                "record {}: the one before it in {}, {}, is missing",
                frame.seq, frame.stream, frame.prev
            ));
        }
        run.heads.advance(&frame.stream, frame.seq, frame.body());
        run.last = frame.seq;
        if run.heads.digest() != frame.heads {
            self.report.find(format!("record {}: its digest of the run's heads is another", frame.seq));
        }
        let Some(store) = &self.store else { return };
        match store.db.line(&frame.run, &frame.stream, frame.seq) {
            Ok(Some(line)) if line.strip_suffix(b"\n") == Some(&frame.line[..]) => {}
            Ok(Some(_)) => {
                self.report.find(format!("record {}: the store has another line than the segment", frame.seq))
            }
            // Beyond the watermark the next opening puts it there.
            Ok(None) if frame.seq > self.report.acknowledged => {}
            Ok(None) => self.report.find(format!("record {}: the store does not have it", frame.seq)),
            Err(e) => self.report.find(e),
        }
    }

    /// Looks for what the store has and the segments have not.
    fn store(&mut self) {
        let Some(store) = self.store.take() else { return };
        let (records, stopped) = store.records_from(Seq(0));
        for seq in records.keys().filter(|seq| !self.seen.contains(seq)) {
            self.report.find(format!("record {seq}: only the store has it"));
        }
        if let Some(e) = stopped {
            self.report.find(e);
        }
        match store.db.last() {
            Ok((last, _)) if last < self.report.acknowledged => {
                let acknowledged = self.report.acknowledged;
                self.report.find(format!("the store ends at record {last}, though {acknowledged} was acknowledged"));
            }
            Ok((last, chain)) if last == self.last && chain != self.chain => {
                self.report.find(format!("record {last}: the store has another chain value"));
            }
            Ok(_) => {}
            Err(e) => self.report.find(e),
        }
        match store.db.runs() {
            Ok(listed) => {
                for run in listed.iter().filter(|run| !run.archived) {
                    let last = self.runs.get(&run.run).map_or(Seq(0), |seen| seen.last);
                    if run.last != last && run.last <= self.report.acknowledged && last <= self.report.acknowledged {
                        let what = format!(
                            "run {}: the store ends it at record {}, the segments at {last}",
                            run.run, run.last
                        );
                        self.report.find(what);
                    }
                }
            }
            Err(e) => self.report.find(e),
        }
        let mut checkpoints = BTreeMap::new();
        let walked = store.db.walk(keys::CHECKPOINTS, |key, _| {
            let found =
                keys::run_and_stream(key).ok_or_else(|| JournalError::rot("a checkpoint's key is unreadable"))?;
            checkpoints.insert(found, ());
            Ok(())
        });
        if let Err(e) = walked {
            self.report.find(e);
        }
        for (run, stream) in checkpoints.into_keys() {
            match store.db.checkpoint(&run, &stream) {
                Ok(Some(checkpoint)) if self.seen.contains(&checkpoint.seq) => {}
                Ok(_) => self.report.find(format!("the checkpoint of {stream} in run {run} belongs to no record")),
                Err(e) => self.report.find(e),
            }
        }
    }
}
