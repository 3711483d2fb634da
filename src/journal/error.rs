//! What can go wrong with the journal, and what an operator can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::batch::Seq;
use super::lock::LockHolder;
use crate::ids::RunId;

/// Says why the journal could not do what it was asked for.
///
/// It is `Clone`, because one failed write answers every batch of its group.
#[derive(Debug, Clone, Error)]
pub enum JournalError {
    /// The operating system refused something (a full disk, a missing permission).
    #[error("{what}")]
    Io {
        /// What was tried, as a lowercase fragment with the path.
        what: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// What is stored is not what was written: nothing may be built on it before `journal recover`.
    #[error("the journal is damaged: {what}")]
    Rot {
        /// What does not fit, as a lowercase fragment.
        what: String,
    },
    /// The journal was made by a newer version of this program.
    #[error("{path} has format {found}, made by a newer version (this one reads up to {known})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// The state directory can't be trusted.
    #[error("the state directory {path} {why}")]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another process has the journal.
    #[error("the journal is held by {0}")]
    Held(LockHolder),
    /// The batch can't be stored as it is: a defect of the caller.
    #[error("a batch can't be journaled: {what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },
    /// An earlier write failed, so nothing may be added: what is durable is not known to this process any more.
    #[error("the journal takes no more records since a write failed: {cause}")]
    Poisoned {
        /// The text of that failure.
        cause: String,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// There is no such run.
    #[error("there is no run {0} in the journal")]
    NoSuchRun(RunId),
    /// The run was archived: its events can be listed and exported, but it can't go on.
    #[error("run {0} is archived")]
    Archived(RunId),
}

impl JournalError {
    /// Makes an I/O error from what was tried on which path.
    pub(crate) fn io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("could not {verb} {}", path.display()), source: Arc::new(source) }
    }

    /// Makes an error of damage.
    pub(crate) fn rot(what: impl Into<String>) -> Self {
        Self::Rot { what: what.into() }
    }

    /// Makes an error of damage that names a record.
    pub(crate) fn rot_at(seq: Seq, what: impl std::fmt::Display) -> Self {
        Self::Rot { what: format!("record {seq}: {what}") }
    }

    /// Whether the journal can't be read as it is (exit code 7).
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Rot { .. } | Self::Newer { .. })
    }

    /// Whether another process has the journal (exit code 6).
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }

    /// Returns what an operator can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Rot { .. } => Some(
                "`proxmaint journal verify` names every damaged record, `proxmaint journal recover` rebuilds the store from its segments"
                    .to_owned(),
            ),
            Self::Newer { .. } => Some("use the version of proxmaint that made it, or a later one".to_owned()),
            Self::Untrusted { path, .. } => {
                Some(format!("look at what is in {}, or name another directory with --state-dir", path.display()))
            }
            Self::Held(holder) => Some(match &holder.run {
                Some(run) => format!("`proxmaint status {run}` shows what it does"),
                None => format!("wait until process {} has ended", holder.pid),
            }),
            Self::Poisoned { .. } | Self::Io { .. } => {
                Some("free space or repair the disk, then start `proxmaint run` again: it goes on from the last durable record".to_owned())
            }
            Self::Archived(run) => Some(format!("`proxmaint journal export {run}` prints its events")),
            Self::NoSuchRun(_) => Some("`proxmaint status --all` lists the runs".to_owned()),
            Self::Invalid { .. } | Self::Closed => None,
        }
    }
}

/// The result of asking the journal for something.
pub type Result<T, E = JournalError> = std::result::Result<T, E>;
