//! Tasks: what a node works on after the request that asked for it was answered.

use serde::{Deserialize, Serialize};

use super::Time;

/// What a task does when its time comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// Nothing more: it had already failed or succeeded.
    Nothing,
    /// A guest starts.
    Start(u32),
    /// A guest goes down in order.
    Shutdown(u32),
    /// A guest is stopped hard.
    Stop(u32),
    /// A guest goes down and up.
    Reboot(u32),
    /// A snapshot becomes complete.
    Snapshot(u32, String),
    /// A snapshot goes.
    SnapshotDelete(u32, String),
    /// A guest goes back to a snapshot, and starts where the flag says so.
    Rollback(u32, String, bool),
    /// A backup of several guests.
    Backup(Box<BackupWork>),
    /// An archive is deleted.
    BackupDelete(String),
    /// The node's package lists are refreshed.
    Refresh,
    /// A guest moves to another node.
    Migrate(Box<super::migrate::MoveWork>),
    /// Flags of Ceph are set and cleared, by whom.
    CephFlags(Vec<(String, bool)>, super::Asker),
}

/// A vzdump job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupWork {
    /// Guests still to do, each with its entry in the ledger; the first is at work.
    pub todo: Vec<(u32, u64)>,
    /// The storage.
    pub storage: String,
    /// The mode that was asked for (`snapshot`, `suspend`, `stop`).
    pub mode: String,
    /// `compress`.
    pub compress: Option<String>,
    /// `notes-template`.
    pub notes: Option<String>,
    /// `protected`.
    pub protected: bool,
    /// `remove`: whether the storage's retention deletes older archives.
    pub remove: bool,
    /// How long to wait for the node's backup lock, in milliseconds.
    pub lock_wait: u64,
    /// When the guest at work was begun.
    pub begun: Time,
    /// Whether any guest failed.
    pub failed: bool,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its identifier.
    pub upid: String,
    /// The node that works on it.
    pub node: String,
    /// Its type (`vzsnapshot`, `vzdump`, `aptupdate`).
    pub kind: String,
    /// What it works on: a vmid, `VMID@STORAGE`, or empty.
    pub id: String,
    /// The user.
    pub user: String,
    /// The token's own name, where one asked for it.
    pub token: Option<String>,
    /// Process number of its worker.
    pub pid: u32,
    /// When the worker was started, in hundredths of a second since the node's boot.
    pub pstart: u64,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// How it ended: `OK`, `WARNINGS: n`, or what went wrong.
    pub exit: Option<String>,
    /// Its log.
    pub log: Vec<String>,
    /// What it does at its end.
    pub(crate) work: Work,
    /// How it is made to fail, where a fault was planted.
    pub(crate) fault: Option<crate::faults::TaskFault>,
    /// Its entry in the ledger.
    pub(crate) ledger: Option<u64>,
}

impl Task {
    /// Tells whether it still works.
    pub fn running(&self) -> bool {
        self.exit.is_none()
    }

    /// Returns who asked for it: `USER@REALM` or `USER@REALM!TOKENID`.
    pub fn by(&self) -> String {
        match &self.token {
            Some(token) => format!("{}!{token}", self.user),
            None => self.user.clone(),
        }
    }
}
