//! The ledger: every change that anyone asked the world for. Reads never enter it.
//!
//! It is how "nothing twice, nothing forgotten" is shown: an entry names the act, the machine, and the key that the asker gave
//! (a snapshot's name, a backup's note, a job's name).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::world::Time;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A snapshot was to be taken; its key is the snapshot's name.
    SnapshotCreate,
    /// A snapshot was to be deleted; its key is the snapshot's name.
    SnapshotDelete,
    /// A guest was to go back to a snapshot; its key is the snapshot's name.
    Rollback,
    /// A backup was to be made; its key is the note as it was expanded.
    Backup,
    /// A backup that was asked for in mode `snapshot` suspended the container instead.
    BackupSuspended,
    /// An archive was to be deleted; its key is the volume identifier.
    BackupDelete,
    /// An archive's notes or protection were to be changed; its key is the volume identifier.
    BackupChange,
    /// Package lists were to be refreshed.
    RefreshLists,
    /// Packages were to be upgraded; its key is the job's name.
    Upgrade,
    /// Half-configured packages were to be put in order (`dpkg --configure -a`).
    Configure,
    /// A guest was to start.
    Start,
    /// A guest was to go down in order.
    Shutdown,
    /// A guest was to be stopped hard.
    Stop,
    /// A machine was to be booted anew.
    Reboot,
    /// A guest was to move to another node; its key is that node, the entry's own node the one that it was on. Moves that the HA
    /// manager makes are by `ha`.
    Migrate,
    /// HA was asked to move a guest; its key is the node. The move itself has an entry of its own.
    HaMigrate,
    /// HA maintenance of a node was to begin; the machine is that node.
    MaintenanceOn,
    /// HA maintenance of a node was to end; the machine is that node.
    MaintenanceOff,
    /// A flag of Ceph was to be set; its key is the flag.
    CephFlagSet,
    /// A flag of Ceph was to be cleared; its key is the flag.
    CephFlagClear,
    /// HA resources were to be changed; its key is the service.
    HaChange,
    /// A command was given to a VM's agent; its key is the command.
    AgentExec,
    /// A service was to be started, stopped or restarted; its key is the service.
    Service,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is being worked on.
    Begun,
    /// It was done.
    Done,
    /// It was begun and failed: the reason.
    Failed(String),
    /// It was refused at once: the reason.
    Refused(String),
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was asked for, in milliseconds since the world began.
    pub at: Time,
    /// Its number, from 1.
    pub seq: u64,
    /// The cluster, or the node that stands alone.
    pub realm: String,
    /// The node that it concerns.
    pub node: String,
    /// The machine: the node's name, or the vmid.
    pub machine: String,
    /// What was asked for.
    pub act: Act,
    /// The key that the asker gave, where the act has one.
    pub key: Option<String>,
    /// Who asked: a token (`root@pam!lab`) or a user over SSH (`ssh:root`).
    pub by: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the answer to it was lost on the way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer_lost: bool,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, seq, node, machine, act, key, by, outcome, .. } = self;
        // A command of an agent may be a long script: its first line says which.
        let key: String = key.as_deref().unwrap_or("-").lines().next().unwrap_or_default().chars().take(100).collect();
        write!(f, "{seq:>4} {at:>8} ms {node} {machine} {act:?} {key} by {by}: {outcome:?}")
    }
}

/// Every change that was asked for, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// Returns all entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entries of an act on a machine (the node's name, a vmid, or `*`), refused ones included.
    pub fn of<'a>(&'a self, act: Act, machine: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |e| e.act == act && (machine == "*" || e.machine == machine))
    }

    /// Counts how often an act on a machine was begun, whatever came of it; refused ones don't count.
    pub fn count(&self, act: Act, machine: &str) -> usize {
        self.of(act, machine).filter(|e| !matches!(e.outcome, Outcome::Refused(_))).count()
    }

    /// Counts how often an act was begun under a key, on whatever machine; refused ones don't count.
    pub fn count_key(&self, act: Act, key: &str) -> usize {
        self.of(act, "*").filter(|e| e.key.as_deref() == Some(key) && !matches!(e.outcome, Outcome::Refused(_))).count()
    }

    /// Returns acts that were begun more than once for the same machine and key: what must never be for an unsafe change.
    pub fn repeated(&self) -> Vec<&Entry> {
        let same = |a: &Entry, b: &Entry| {
            a.act == b.act && a.realm == b.realm && a.machine == b.machine && a.key == b.key && a.key.is_some()
        };
        let begun: Vec<&Entry> = self.entries.iter().filter(|e| !matches!(e.outcome, Outcome::Refused(_))).collect();
        let repeats = |(i, e): (usize, &&Entry)| begun.iter().take(i).any(|earlier| same(earlier, e));
        begun.iter().enumerate().filter(|&(i, e)| repeats((i, e))).map(|(_, e)| *e).collect()
    }

    /// Returns the ledger as NDJSON, one entry a line.
    pub fn to_ndjson(&self) -> String {
        let line = |e: &Entry| serde_json::to_string(e).expect("an entry is made of strings and numbers") + "\n";
        self.entries.iter().map(line).collect()
    }

    /// Adds an entry and returns its number.
    pub fn add(&mut self, mut entry: Entry) -> u64 {
        entry.seq = self.entries.len() as u64 + 1;
        self.entries.push(entry);
        self.entries.len() as u64
    }

    /// Says what became of an entry.
    pub fn settle(&mut self, seq: u64, outcome: Outcome) {
        if let Some(entry) = self.at(seq) {
            entry.outcome = outcome;
        }
    }

    /// Notes that the answers to all entries after `seq` were lost.
    pub fn mark_lost_after(&mut self, seq: u64) {
        for entry in self.entries.iter_mut().filter(|e| e.seq > seq) {
            entry.answer_lost = true;
        }
    }

    fn at(&mut self, seq: u64) -> Option<&mut Entry> {
        let index = usize::try_from(seq).ok()?.checked_sub(1)?;
        self.entries.get_mut(index)
    }
}
