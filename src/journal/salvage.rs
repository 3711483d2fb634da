//! Looks into a database that may be damaged without touching it: sled writes to what it opens, so a copy is opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::batch::{Checkpoint, Seq, StreamId};
use super::dir::{StateDir, create_file, make_dir};
use super::error::{JournalError, Result};
use super::frame::Frame;
use super::keys;
use super::sled_store::Db;
use crate::ids::RunId;

/// A copy of the database, open; it is removed when dropped.
#[derive(Debug)]
pub(crate) struct Copy {
    pub db: Db,
    /// Declared last, so that the files go when nobody has them open.
    _dir: tempfile::TempDir,
}

impl Copy {
    /// Copies and opens the database.
    ///
    /// # Errors
    /// As [`Db::open`]; [`JournalError::Rot`] where there is none.
    pub fn open(dir: &StateDir) -> Result<Self> {
        let db = dir.db();
        if !db.exists() {
            return Err(JournalError::rot(format!("{} is missing", db.display())));
        }
        let journal = dir.journal();
        let temp = tempfile::Builder::new().prefix("look-").tempdir_in(&journal);
        let temp = temp.map_err(|e| JournalError::io("create a directory in", &journal, e))?;
        let to = temp.path().join("db");
        copy(&db, &to)?;
        Ok(Self { db: Db::open(&to)?, _dir: temp })
    }

    /// Collects the records from a number on that are intact, as far as the database can be read. Also returns what stopped it.
    pub fn records_from(&self, from: Seq) -> (BTreeMap<Seq, Frame>, Option<JournalError>) {
        let mut frames = BTreeMap::new();
        let mut open: Option<(Vec<u8>, Vec<u8>)> = None;
        let mut finish = |line: Option<(Vec<u8>, Vec<u8>)>| {
            let parsed = line.and_then(|(_, bytes)| Frame::parse(bytes.strip_suffix(b"\n")?).ok());
            if let Some(frame) = parsed.filter(|frame| frame.seq >= from) {
                frames.insert(frame.seq, frame);
            }
        };
        let walked = self.db.walk(keys::EVENTS, |key, value| {
            // What a key holds is proven by the record itself; the key only tells which chunks belong together.
            let (record, chunk) = key.split_at(key.len().saturating_sub(2));
            match open.as_mut() {
                Some((of, bytes)) if of == record && chunk != [0, 0] => bytes.extend_from_slice(value),
                _ => finish(open.replace((record.to_vec(), value.to_vec()))),
            }
            Ok(())
        });
        finish(open);
        (frames, walked.err())
    }

    /// Collects the checkpoints that are intact.
    pub fn checkpoints(&self) -> Vec<(RunId, StreamId, Checkpoint)> {
        let mut streams = Vec::new();
        // A checkpoint is a shortcut: where they can't be read, the events are folded from the beginning.
        let _ = self.db.walk(keys::CHECKPOINTS, |key, _| {
            streams.extend(keys::run_and_stream(key).filter(|found| streams.last() != Some(found)));
            Ok(())
        });
        let read = |(run, stream): (RunId, StreamId)| {
            let checkpoint = self.db.checkpoint(&run, &stream).ok()??;
            Some((run, stream, checkpoint))
        };
        streams.into_iter().filter_map(read).collect()
    }
}

/// Copies a database: its files and one level of directories.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fn walk(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
            if kind.is_file() {
                io::copy(&mut File::open(entry.path())?, &mut create_file(&target)?)?;
            } else if kind.is_dir() && depth == 0 {
                make_dir(&target).map_err(io::Error::other)?;
                walk(&entry.path(), &target, depth + 1)?;
            }
        }
        Ok(())
    }
    make_dir(to)?;
    walk(from, to, 0).map_err(|e| JournalError::io("copy", from, e))
}
