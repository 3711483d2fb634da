//! The run's lock: one process at a time has the journal, and everyone can read who.
//!
//! The lock is advisory and belongs to the open file (`flock`), so it is gone when its process is, however that ended; the file's
//! content only says who had it last. Readers of the store hold it too, for well under a second: sled must not be opened twice.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::dir::{StateDir, create_file};
use super::error::{JournalError, Result};
use crate::ids::RunId;
use crate::time::Timestamp;

/// How long a reader is waited for: it holds the lock to open the store and load a run, each under a second, and two may queue.
const READER_PATIENCE: Duration = Duration::from_secs(5);
/// How often the lock is tried meanwhile (`flock` has no time-out).
const RETRY: Duration = Duration::from_millis(10);
/// How long a run's name in the file is doubted: the next holder writes its own name microseconds after taking the lock.
const NAME_DOUBT: Duration = Duration::from_millis(50);
/// More than any content that we write; a longer file is not ours.
const MAX_CONTENT: u64 = 4096;

/// What the holder of the lock does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Runs: holds the lock for as long as it works.
    Run,
    /// Repairs or prunes the journal.
    Maintain,
    /// Reads the store: holds the lock for a moment.
    Read,
}

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub purpose: Purpose,
    /// The run that it works on, once that is settled.
    pub run: Option<RunId>,
    /// When it took the lock.
    pub started: Timestamp,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        match (&self.run, self.purpose) {
            (Some(run), _) => write!(f, " (run {run}, since {})", self.started),
            (None, Purpose::Run) => write!(f, " (a run that is starting, since {})", self.started),
            (None, Purpose::Maintain) => write!(f, " (repairing or pruning the journal, since {})", self.started),
            (None, Purpose::Read) => write!(f, " (reading the journal, since {})", self.started),
        }
    }
}

/// What came of trying to take the lock.
#[derive(Debug)]
#[must_use]
pub enum LockAttempt {
    /// It is ours until the [`RunLock`] is dropped.
    Acquired(RunLock),
    /// Another process has it.
    HeldBy(LockHolder),
}

/// The lock, held. Dropping it releases it.
#[derive(Debug)]
pub struct RunLock {
    /// Holds the advisory lock for as long as it is open.
    file: File,
    path: PathBuf,
    holder: LockHolder,
}

impl RunLock {
    /// Tries to take the lock. A run or repair in progress is answered at once; a reader is waited for, up to five seconds, so
    /// call this where blocking is allowed.
    ///
    /// # Errors
    /// I/O errors.
    pub fn try_acquire(dir: &StateDir, purpose: Purpose, run: Option<RunId>, now: Timestamp) -> Result<LockAttempt> {
        let path = dir.lock();
        let started = Instant::now();
        let mut file = open(&path).map_err(|e| JournalError::io("open", &path, e))?;
        loop {
            match try_flock(file).map_err(|e| JournalError::io("lock", &path, e))? {
                Flock::Ours(file) => {
                    let holder = LockHolder { pid: std::process::id(), purpose, run, started: now };
                    let mut lock = Self { file, path, holder };
                    lock.write()?;
                    return Ok(LockAttempt::Acquired(lock));
                }
                Flock::Taken(again) => file = again,
            }
            let waited = started.elapsed();
            if let Some(holder) = read_holder(&mut file).map_err(|e| JournalError::io("read", &path, e))? {
                let patience = if holder.purpose == Purpose::Read { READER_PATIENCE } else { NAME_DOUBT };
                if waited >= patience {
                    return Ok(LockAttempt::HeldBy(holder));
                }
            } else if waited >= READER_PATIENCE {
                return Err(JournalError::Untrusted {
                    path: dir.root().to_owned(),
                    why: "is locked by a process that does not say who it is".to_owned(),
                });
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a lock of another process gives no event; the wait is bounded"
            )]
            std::thread::sleep(RETRY);
        }
    }

    /// Writes down which run is worked on, for whoever meets the lock.
    ///
    /// # Errors
    /// I/O errors.
    pub fn name_run(&mut self, run: RunId) -> Result<()> {
        self.holder.run = Some(run);
        self.write()
    }

    /// Returns what is written in the lock file.
    pub fn holder(&self) -> &LockHolder {
        &self.holder
    }

    /// Returns who holds the lock of a state directory, or `None` where nobody does; waits for nobody.
    ///
    /// # Errors
    /// I/O errors.
    pub fn held_by(dir: &StateDir) -> Result<Option<LockHolder>> {
        let path = dir.lock();
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| JournalError::io("open", &path, e))?,
        };
        match try_flock(file).map_err(|e| JournalError::io("lock", &path, e))? {
            Flock::Ours(_) => Ok(None),
            Flock::Taken(mut file) => read_holder(&mut file).map_err(|e| JournalError::io("read", &path, e)),
        }
    }

    /// Rewrites the content in place: a rename would move the name away from the locked file.
    fn write(&mut self) -> Result<()> {
        let mut write = || -> io::Result<()> {
            let mut text = serde_json::to_vec(&self.holder)?;
            text.push(b'\n');
            self.file.seek(SeekFrom::Start(0))?;
            self.file.set_len(0)?;
            self.file.write_all(&text)
        };
        write().map_err(|e| JournalError::io("write", &self.path, e))
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    match create_file(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new().read(true).write(true).open(path),
        other => other,
    }
}

enum Flock {
    Ours(File),
    Taken(File),
}

fn try_flock(file: File) -> io::Result<Flock> {
    let mut lock = fd_lock::RwLock::new(file);
    let taken = match lock.try_write() {
        Ok(guard) => {
            // The guard would unlock when dropped; without it the lock lives as long as the open file, which is what we want.
            std::mem::forget(guard);
            false
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => true,
        Err(e) => return Err(e),
    };
    let file = lock.into_inner();
    Ok(if taken { Flock::Taken(file) } else { Flock::Ours(file) })
}

/// Reads who wrote the file last; `None` while a new holder is rewriting it.
fn read_holder(file: &mut File) -> io::Result<Option<LockHolder>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_CONTENT).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}
