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
    /// Makes one of a type (`lvmthin`, `dir`, `rbd`) for guests' disks: 200 GiB, a fifth of it in use, active on these nodes. What
    /// all nodes share is shared (`nfs`, `cifs`, `rbd`, `cephfs`).
    pub fn of_disks<'a>(name: &str, kind: &str, nodes: impl IntoIterator<Item = &'a str>) -> Self {
        let state = StorageState { active: true, total: 200 << 30, used: 40 << 30 };
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            content: vec!["images".to_owned(), "rootdir".to_owned()],
            shared: ["nfs", "cifs", "rbd", "cephfs"].contains(&kind),
            enabled: true,
            keep_last: None,
            on: nodes.into_iter().map(|node| (node.to_owned(), state.clone())).collect(),
        }
    }

    /// Returns the pool of datasets behind a `zfspool`: `rpool/data` for `local-zfs`, as the installer makes it.
    pub fn pool(&self) -> String {
        if self.name == "local-zfs" { "rpool/data".to_owned() } else { self.name.clone() }
    }

    /// Returns the directory of a storage that keeps files.
    pub fn path(&self) -> String {
        if self.name == "local" { "/var/lib/vz".to_owned() } else { format!("/mnt/pve/{}", self.name) }
    }

    /// Tells whether it keeps volumes as files.
    pub fn has_files(&self) -> bool {
        ["dir", "nfs", "cifs", "cephfs"].contains(&self.kind.as_str())
    }

    /// Tells whether a volume on it can be snapshotted: on a file storage only a qcow2 image.
    pub fn can_snapshot(&self, volid: &str) -> bool {
        match self.kind.as_str() {
            "zfspool" | "lvmthin" | "rbd" | "btrfs" => true,
            "dir" | "nfs" | "cifs" | "cephfs" => volid.ends_with(".qcow2"),
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
