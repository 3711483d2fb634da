//! What was seen of a host and its guests: observed facts as plain data, no decisions.

pub mod health;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::choices::Traits;
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
    /// What only the checks before the first change look at.
    #[serde(default)]
    pub state: NodeState,
}

/// What the checks before the first change look at: the state that the node is in. What could not be asked is `None` or a
/// text that says why; nothing here keeps a host from being looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// The token's privileges (`GET /access/permissions`): by path, those that it has there (and below, where the value is true).
    pub permissions: BTreeMap<String, BTreeMap<String, bool>>,
    /// How the login on the node has root's rights.
    pub root: Option<RootAccess>,
    /// Free space of the file systems that matter (`/`, `/boot`, `/var/tmp`), once for each file system.
    pub space: Vec<SpaceFacts>,
    /// The repositories of the node (`GET /nodes/{node}/apt/repositories`).
    pub repositories: Vec<RepositoryFacts>,
    /// Why they could not be asked.
    pub repositories_unknown: Option<String>,
    /// The subscription's status (`GET /nodes/{node}/subscription`): `active`, `notfound`, ..
    pub subscription: Option<String>,
    /// What `dpkg --audit`, or a lock that is held, says; `None` where all is in order.
    pub disorder: Option<String>,
    /// What refreshing the package lists said, where it failed.
    pub refresh_failed: Option<String>,
    /// What to do about that.
    pub refresh_hint: Option<String>,
    /// What keeps the run from the lease of the node's cluster: who else works there. Only a run that changes something asks.
    pub lease_refused: Option<String>,
    /// What to do about that.
    pub lease_hint: Option<String>,
    /// Backups at work on the node, by the vmid that they are of (empty for a job of several guests).
    pub running_backups: Vec<String>,
    /// Pools that hold guests, and storages of any other kind.
    pub pools: Vec<PoolFacts>,
    /// The boot of the machine that proxmaint itself runs on.
    pub own_boot: Option<BootId>,
    /// The node's boot.
    pub boot: Option<BootId>,
    /// VMs for which no login over SSH is known: `via = "auto"` leads to their agents.
    pub no_login: BTreeSet<GuestId>,
    /// What else could not be asked, and why.
    pub unknown: BTreeMap<Question, String>,
}

/// A question about a node that discovery can go on without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// What the token may do.
    Permissions,
    /// How the login has root's rights, and which room there is.
    Node,
    /// What is at work.
    Tasks,
    /// Whether there is a subscription.
    Subscription,
    /// Whether the package manager is in order.
    Dpkg,
    /// How the cluster's votes are counted.
    Quorum,
    /// What HA manages in the cluster.
    HaResources,
}

/// How the login on a node has root's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootAccess {
    /// It is root.
    Root,
    /// By `sudo`, without a password.
    Sudo,
}

/// Free space of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceFacts {
    /// The path that was asked for.
    pub path: String,
    /// Bytes that are free, without what is reserved for root (`df`'s `Available`).
    pub available: u64,
    /// Bytes in all.
    pub total: u64,
}

/// One repository of a node (`GET /nodes/{node}/apt/repositories`, `.list` and deb822 files alike).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryFacts {
    /// The file that names it.
    pub file: String,
    /// Its addresses.
    pub uris: Vec<String>,
    /// Its suites.
    pub suites: Vec<String>,
    /// Its components.
    pub components: Vec<String>,
    /// Whether it is enabled.
    pub enabled: bool,
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
    /// How its votes are counted, where that was asked and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<QuorumFacts>,
    /// What HA manages in it (`ct:101`), where that was asked and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha_resources: Option<Vec<String>>,
}

/// How corosync on a node counts the votes of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumFacts {
    /// Whether the node is in a quorate part of the cluster.
    pub quorate: bool,
    /// Votes that there would be if everybody were there, a quorum device among them.
    pub expected: u32,
    /// Votes that it takes. A cluster of two with `two_node` takes one.
    pub needed: u32,
    /// Votes of the node that was asked.
    pub own: u32,
    /// Votes of the other nodes that are there, one entry a node.
    pub others: Vec<u32>,
    /// The quorum device (QDevice), where one is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceFacts>,
}

/// A quorum device, as the members of the cluster have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// Votes that it casts where it does.
    pub votes: u32,
    /// Whether it casts them for each of the other nodes: it is registered there, alive, and votes.
    pub for_others: bool,
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
    /// The kernel that would boot next, where that can be told; never for a CT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_next: Option<String>,
    /// The release's codename (`VERSION_CODENAME` of os-release).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codename: Option<String>,
    /// Why its packages must not be upgraded, where that is so: a major upgrade that is half made (suites of another release
    /// than the one that runs), a rolling release that must be upgraded in another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
    /// Configuration files that packages left beside the administrator's (`.dpkg-dist`, `.rpmnew`, `.apk-new`, `.pacnew`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
    /// Services that still run files of packages that were replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_needed: Vec<String>,
}

/// A package manager that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageManager {
    /// Debian, Ubuntu and what is made of them.
    Apt,
    /// Alpine Linux.
    Apk,
    /// Fedora, RHEL and its rebuilds.
    Dnf,
    /// SUSE.
    Zypper,
    /// Arch Linux.
    Pacman,
}

impl PackageManager {
    /// Names the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Apk => "apk",
            Self::Dnf => "dnf",
            Self::Zypper => "zypper",
            Self::Pacman => "pacman",
        }
    }
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
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its resource pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_pool: Option<String>,
    /// Whether HA manages it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ha: bool,
    /// The job by which it is replicated, where it is, and where that was asked for: it can't be rolled back then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicated: Option<String>,
    /// The address that its checks from outside go to, where it has such checks and an address is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How the inside was reached and what was found, or why not.
    pub inside: Inside,
}

impl GuestFacts {
    /// Returns what the guest is selected by.
    pub fn traits(&self) -> Traits<'_> {
        Traits { id: self.id, kind: self.kind, name: &self.name, tags: &self.tags, pool: self.resource_pool.as_deref() }
    }
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
    /// The QEMU guest agent, through the API.
    Agent,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pct => f.write_str("pct"),
            Self::Ssh { address } => write!(f, "ssh {address}"),
            Self::Agent => f.write_str("agent"),
        }
    }
}
