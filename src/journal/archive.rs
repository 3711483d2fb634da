//! The archive: moves the events of finished runs out of the store, which never shrinks by itself.
//!
//! A run's segments are compressed into `archive/`, a fresh database without that run takes the old one's place, and only when that
//! is proven complete are the segments removed. Interrupted anywhere, the journal opens as before or after, and the next call goes on.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use super::batch::RunListing;
use super::dir::{StateDir, create_file, remove_if_there, sync_dir};
use super::error::{JournalError, Result};
use super::history::{archived_file_name, archived_names, open_archived};
use super::lock::RunLock;
use super::segment::{self, SegmentName, SegmentReader};
use super::sled_store::{Db, DbBatch};
use super::store::{REPLAY_CHUNK, Store, new_db_path, swap_db};
use super::{frame::Chain, keys};
use crate::ids::RunId;

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchiveReport {
    /// The runs, oldest first.
    pub runs: Vec<RunId>,
    /// How many records they have.
    pub records: u64,
}

/// Archives all but the `keep` newest of the runs that `finished` accepts. The run that was written to last always stays.
///
/// # Errors
/// [`JournalError::Rot`] where a run can't be proven complete (then nothing is removed), I/O errors.
pub fn archive_finished(
    dir: &StateDir,
    lock: &RunLock,
    keep: usize,
    finished: impl Fn(&RunListing) -> bool,
) -> Result<ArchiveReport> {
    let store = Store::open(dir, lock)?;
    let names = segment::list(&dir.segments())?;
    let newest = names.last().map(|name| name.run.clone());
    let mut runs: Vec<RunId> = Vec::new();
    let listed = store.runs()?;
    for run in listed.iter().rev().filter(|run| !run.archived && finished(run)).skip(keep).map(|run| &run.run) {
        if newest.as_ref() != Some(run) {
            // Proves that segments and store agree about it before either is touched.
            store.load_run(run)?;
            runs.push(run.clone());
        }
    }
    runs.reverse();
    let mut report = ArchiveReport { runs, records: 0 };
    for name in names.iter().filter(|name| report.runs.contains(&name.run)) {
        report.records += compress(dir, name)?;
    }
    sync_dir(&dir.archive())?;
    let store = if report.runs.is_empty() {
        store
    } else {
        rebuild_without(dir, store.db(), &report.runs)?;
        drop(store);
        swap_in(dir)?;
        let store = Store::open(dir, lock)?;
        for run in store.runs()?.iter().filter(|run| !run.archived) {
            store.load_run(&run.run)?;
        }
        store
    };
    remove_archived(&store)?;
    Ok(report)
}

/// Writes a segment's compressed copy and proves it by reading it back.
fn compress(dir: &StateDir, name: &SegmentName) -> Result<u64> {
    let (plain, packed) = (dir.segments().join(name.file_name()), dir.archive().join(archived_file_name(name)));
    let temp = packed.with_extension("tmp");
    remove_if_there(&temp)?;
    let pack = || -> io::Result<()> {
        let mut from = BufReader::new(File::open(&plain)?);
        let mut to = GzEncoder::new(create_file(&temp)?, Compression::default());
        io::copy(&mut from, &mut to)?;
        to.finish()?.sync_all()?;
        std::fs::rename(&temp, &packed)
    };
    pack().map_err(|e| JournalError::io("compress", &plain, e))?;
    let (records, end) = count(open_archived(&dir.archive(), name)??)?;
    let expected = count(SegmentReader::open(&dir.segments(), name)??)?;
    if (records, end) == expected {
        return Ok(records);
    }
    Err(JournalError::rot(format!("{} is not what it was made from", packed.display())))
}

fn count(mut reader: SegmentReader<impl io::BufRead>) -> Result<(u64, Chain)> {
    let mut records = 0;
    while reader.next_frame()?.is_some() {
        records += 1;
    }
    Ok((records, reader.chain()))
}

fn rebuild_without(dir: &StateDir, old: &Db, runs: &[RunId]) -> Result<()> {
    let path = new_db_path(dir);
    remove_dir_if_there(&path)?;
    let new = Db::open(&path)?;
    let mut changes = DbBatch::default();
    old.walk(b"", |key, value| {
        if key.starts_with(keys::EVENTS) || key.starts_with(keys::CHECKPOINTS) {
            let (run, _) =
                keys::run_and_stream(key).ok_or_else(|| JournalError::rot("a key of the store is unreadable"))?;
            if runs.contains(&run) {
                return Ok(());
            }
        }
        changes.put(key, value);
        if changes.len() >= REPLAY_CHUNK {
            new.apply(std::mem::take(&mut changes))?;
        }
        Ok(())
    })?;
    for listed in old.runs()?.iter().filter(|listed| runs.contains(&listed.run)) {
        changes.put_run(&listed.run, listed.last, true, listed.meta.as_deref());
    }
    new.apply(changes)?;
    new.sync()
}

fn swap_in(dir: &StateDir) -> Result<()> {
    let old = dir.journal().join("db.old");
    remove_dir_if_there(&old)?;
    swap_db(dir, &old)?;
    remove_dir_if_there(&old)
}

/// Removes the segments of runs that the list of runs has as archived and whose copies are there.
fn remove_archived(store: &Store) -> Result<()> {
    let dir = store.dir();
    let (archived, runs) = (archived_names(dir)?, store.runs()?);
    for name in segment::list(&dir.segments())? {
        let listed = runs.iter().any(|run| run.archived && run.run == name.run);
        if listed && archived.contains(&name) {
            remove_if_there(&dir.segments().join(name.file_name()))?;
        }
    }
    sync_dir(&dir.segments())
}

/// Removes a directory with what is in it; none there is no error.
pub(crate) fn remove_dir_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(JournalError::io("remove", path, e)),
        _ => Ok(()),
    }
}
