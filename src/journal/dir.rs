//! The state directory: where everything lives that must outlast the process, readable by its owner alone.
//!
//! ```text
//! state/                 0700
//!   .gitignore           `*`
//!   lock                 who runs (JSON), advisory lock
//!   control.sock  logs/  known_hosts          (of other modules)
//!   journal/
//!     watermark          the last acknowledged record, outside the store
//!     segments/*.ndjson  every record as a line, chained
//!     archive/*.ndjson.gz  segments of runs that were archived
//!     db/                the sled store
//! ```
//!
//! Modes are set explicitly after creation, because a umask can only be changed for the whole process, threads included.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::error::{JournalError, Result};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// How deep [`tighten`] looks: the store has two levels.
const MAX_DEPTH: u32 = 4;

/// A state directory that exists and belongs to this user alone.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the directory and creates what is missing in it.
    ///
    /// # Errors
    /// [`JournalError::Untrusted`] where it belongs to another user, is world-writable or is no directory; I/O errors.
    pub fn create(root: &Path) -> Result<Self> {
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).map_err(|e| JournalError::io("create", parent, e))?;
        }
        make_dir(root)?;
        check(root)?;
        let dir = Self { root: root.to_owned() };
        for sub in [dir.journal(), dir.segments(), dir.archive(), dir.logs()] {
            make_dir(&sub)?;
        }
        let ignore = root.join(".gitignore");
        match create_file(&ignore) {
            Ok(mut file) => file.write_all(b"*\n").map_err(|e| JournalError::io("write", &ignore, e))?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(JournalError::io("create", &ignore, e)),
        }
        Ok(dir)
    }

    /// Opens the directory where it exists; creates nothing.
    ///
    /// # Errors
    /// As [`StateDir::create`].
    pub fn open(root: &Path) -> Result<Option<Self>> {
        match fs::metadata(root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(JournalError::io("look at", root, e)),
            Ok(_) => {
                check(root)?;
                Ok(Some(Self { root: root.to_owned() }))
            }
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The lock file of the run.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The socket on which a live run answers.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The directory of the log files.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The host keys that were learnt.
    pub fn known_hosts(&self) -> PathBuf {
        self.root.join("known_hosts")
    }

    /// The directory of the journal.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The sled store.
    pub fn db(&self) -> PathBuf {
        self.journal().join("db")
    }

    /// The segments.
    pub fn segments(&self) -> PathBuf {
        self.journal().join("segments")
    }

    /// The archived segments.
    pub fn archive(&self) -> PathBuf {
        self.journal().join("archive")
    }

    /// The watermark.
    pub fn watermark(&self) -> PathBuf {
        self.journal().join("watermark")
    }
}

/// Refuses a directory in which someone else may have put things, and closes one that others may read.
fn check(root: &Path) -> Result<()> {
    let untrusted = |why: String| JournalError::Untrusted { path: root.to_owned(), why };
    let meta = fs::metadata(root).map_err(|e| JournalError::io("look at", root, e))?;
    if !meta.is_dir() {
        return Err(untrusted("is not a directory".to_owned()));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return Err(untrusted(format!("belongs to user id {}, not to {me}", meta.uid())));
    }
    if meta.mode() & 0o002 != 0 {
        return Err(untrusted(format!("is world-writable (mode {:04o})", meta.mode() & 0o7777)));
    }
    // A checkout makes directories 0755 or 0775: that is ours to close, nobody but the owner's group could write.
    set_mode(root, DIR_MODE).map_err(|e| JournalError::io("set the mode of", root, e))
}

/// Creates a directory with mode 0700 where it is missing.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Ok(()) => set_mode(path, DIR_MODE).map_err(|e| JournalError::io("set the mode of", path, e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(JournalError::io("create", path, e)),
    }
}

/// Creates a file with mode 0600 whatever the umask; an existing one is an error.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Writes a whole file so that either the old or the new content is there after a power cut.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temp = path.with_extension("tmp");
    remove_if_there(&temp)?;
    let write = |temp: &Path| -> io::Result<()> {
        let mut file = create_file(temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temp, path)
    };
    write(&temp).map_err(|e| JournalError::io("write", path, e))?;
    sync_parent(path)
}

/// Removes a file; none there is no error.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(JournalError::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| JournalError::io("sync", path, e))
}

/// Makes a file's name durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Sets 0700 and 0600 on everything below a directory: for files that sled creates with the process's umask. They lie within a
/// 0700 directory, so nobody could read them in between.
pub(crate) fn tighten(path: &Path) -> Result<()> {
    fn walk(path: &Path, depth: u32) -> io::Result<()> {
        set_mode(path, DIR_MODE)?;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < MAX_DEPTH {
                walk(&entry.path(), depth + 1)?;
            } else if kind.is_file() {
                match set_mode(&entry.path(), FILE_MODE) {
                    // sled removes what it no longer needs while we look.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }
    walk(path, 0).map_err(|e| JournalError::io("set the modes in", path, e))
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}
