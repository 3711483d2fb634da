//! Storages and the backup archives on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A storage of a realm (an entry of `storage.cfg`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Its name.
    pub name: String,
    /// Its type (`dir`, `btrfs`, `zfspool`, `lvmthin`, `nfs`).
    pub kind: String,
    /// What it may hold (`backup`, `images`, `rootdir`, `iso`, `vztmpl`, `snippets`).
    pub content: Vec<String>,
    /// Whether all nodes see the same files.
    pub shared: bool,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Its retention: how many archives of a guest `vzdump` with `remove=1` leaves (`prune-backups keep-last`).
    pub keep_last: Option<usize>,
    /// The storage on each node that has it.
    pub on: BTreeMap<String, StorageState>,
}

/// A storage as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageState {
    /// Whether it is active there.
    pub active: bool,
    /// Its size in bytes.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
}

impl Storage {
    /// Tells whether a volume on it can be snapshotted: on a file storage only a qcow2 image.
    pub fn can_snapshot(&self, volid: &str) -> bool {
        match self.kind.as_str() {
            "zfspool" | "lvmthin" | "rbd" | "btrfs" => true,
            "dir" | "nfs" | "cifs" => volid.ends_with(".qcow2"),
            _ => false,
        }
    }

    /// Tells whether it may hold a kind of content.
    pub fn holds(&self, content: &str) -> bool {
        self.content.iter().any(|c| c == content)
    }
}

/// A backup archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Its volume identifier.
    pub volid: String,
    /// The storage.
    pub storage: String,
    /// The node that has it (and, on a shared storage, made it).
    pub node: String,
    /// The guest.
    pub vmid: u32,
    /// Whether that is a VM.
    pub vm: bool,
    /// When it was made, seconds since the Unix epoch.
    pub ctime: i64,
    /// Its size in bytes.
    pub size: u64,
    /// Its format (`tar.zst`, `vma.zst`).
    pub format: String,
    /// Its notes.
    pub notes: Option<String>,
    /// Whether it refuses deletion.
    pub protected: bool,
}
