//! What was seen of a host and its guests: observed facts as plain data, no decisions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{BootId, ClusterId, GuestId, GuestKind, NodeName, SnapshotName};
use crate::time::Timestamp;

/// Everything that discovery found out about one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The node behind the manifest's entry, as proven over API and SSH.
    pub node: NodeName,
    /// The version of Proxmox VE (`GET /version`).
    pub pve_version: String,
    /// The fingerprint of the node's root CA: the cluster's where there is one, else the node's own. With `node` it identifies the machine.
    pub ca: ClusterId,
    /// The cluster that the node belongs to, or `None` where it stands alone.
    pub cluster: Option<ClusterFacts>,
    /// When the facts were gathered.
    pub seen_at: Timestamp,
    /// The node's own operating system and what is pending there.
    pub os: OsFacts,
    /// Services of the node that ran (`GET /nodes/{node}/services`), by name.
    pub services_running: Vec<String>,
    /// Every guest that the node lists, in order of vmid.
    pub guests: Vec<GuestFacts>,
    /// Storages of the node that can take backups, most room first.
    pub backup_storages: Vec<StorageFacts>,
}

/// A node's cluster, as the node itself sees it (`GET /cluster/status`, `GET /nodes/{node}/certificates/info`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its identity: the fingerprint of its CA.
    pub id: ClusterId,
    /// Its name.
    pub name: String,
    /// Whether it has quorum.
    pub quorate: bool,
    /// Its nodes, and whether each is online.
    pub nodes: BTreeMap<NodeName, bool>,
}

/// A storage that takes backups (`GET /nodes/{node}/storage?content=backup`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageFacts {
    /// Its name.
    pub name: String,
    /// Bytes that are free.
    pub available: u64,
}

/// A storage that holds a guest's disks: snapshots grow there, and a full one breaks every guest on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFacts {
    /// Its name.
    pub name: String,
    /// Bytes that are free.
    pub available: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What was found inside a machine: a node or a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsFacts {
    /// `ID` of os-release (`debian`, `ubuntu`, `alpine`).
    pub id: String,
    /// `ID_LIKE` of os-release, as a list.
    pub id_like: Vec<String>,
    /// `PRETTY_NAME` of os-release.
    pub pretty_name: String,
    /// The package manager, or `None` where none of the known ones fits.
    pub manager: Option<PackageManager>,
    /// What would be upgraded, by the package lists as they are.
    pub pending: Vec<PackageChange>,
    /// Packages held back by the administrator (`apt-mark hold`).
    pub held: Vec<String>,
    /// When the package lists were last refreshed, where that can be told.
    pub lists_refreshed: Option<Timestamp>,
    /// The kernel that runs (`uname -r`).
    pub kernel: String,
    /// The boot that this was seen in.
    pub boot_id: BootId,
    /// Why the machine says that it wants a reboot, where it does.
    pub reboot_wanted: Option<String>,
}

/// A package manager that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageManager {
    /// Debian, Ubuntu and what is made of them.
    Apt,
    /// Alpine Linux.
    Apk,
}

/// One package going from one version to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageChange {
    /// The package.
    pub name: String,
    /// The version before; `None` for a new package.
    pub old: Option<String>,
    /// The version after; `None` for a removed package.
    pub new: Option<String>,
}

/// Facts of one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestFacts {
    /// Its vmid.
    pub id: GuestId,
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Its name; may be empty.
    pub name: String,
    /// What makes it this guest and no later one under the same vmid: a VM's `smbios1` uuid; for a CT a digest of what stays the same (its MAC addresses and root volume).
    pub identity: Option<String>,
    /// Running, stopped, or something else that the API said.
    pub power: Power,
    /// Whether it is a template.
    pub template: bool,
    /// The `lock` of its config, while something works on it.
    pub lock: Option<String>,
    /// Whether `feature?feature=snapshot` said that it can be snapshotted.
    pub can_snapshot: bool,
    /// The fullest of the storages that hold its disks, where their sizes are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolFacts>,
    /// Its snapshots that bear this tool's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_snapshots: Vec<SnapshotName>,
    /// Volumes that a backup would leave out (mount points without `backup=1`, bind mounts).
    pub not_backed_up: Vec<String>,
    /// Size of its disks in bytes (`maxdisk`), to judge the room that a backup needs.
    pub disk_bytes: u64,
    /// How the inside was reached and what was found, or why not.
    pub inside: Inside,
}

/// The power state of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It runs.
    Running,
    /// It is off.
    Stopped,
    /// Anything else (paused, suspended, unknown).
    Other,
}

/// What discovery could learn from within a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inside {
    /// It was not looked at: not running, a template, or not managed.
    NotLooked,
    /// There is no known way in (a VM without address or login).
    NoWayIn(String),
    /// A way in is known, but it failed: the reason.
    Unreachable(String),
    /// Reached; the path and what was found.
    Seen {
        /// The path.
        via: Via,
        /// What was found.
        os: Box<OsFacts>,
    },
}

/// A path into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// `pct exec` on the node, as its root.
    Pct,
    /// SSH to an address of the guest.
    Ssh {
        /// The address that proved to be this guest.
        address: String,
    },
}
