//! What the engine needs from the outside world, as traits; `adapters` implements them for real hosts, the simulation for its world.
//!
//! One [`Pve`] and one [`Remote`] object serve one host entry of the manifest. Every error is a [`Fault`] whose class tells
//! whether the act may have happened: a request that was never sent, or was refused, is `Transient`, `Permanent`, `Auth` or
//! `Identity`; one whose answer was lost after it went out is `Ambiguous` where it changes something, `Transient` where it only reads.

mod interface;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::choices::{BackupMode, Compression};
use crate::ids::{BootId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName, StepKey, Upid};
use crate::inventory::health::Listener;
use crate::inventory::{
    CephFacts, OsFacts, PackageManager, PoolFacts, Power, QuorumFacts, RepositoryFacts, RootAccess, SpaceFacts,
    StorageFacts,
};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

pub use interface::Interface;

/// A guest's address in the API: which node has it, which kind it is, its vmid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRef {
    /// The node that has it now.
    pub node: NodeName,
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Its vmid.
    pub id: GuestId,
}

/// One entry of `GET /cluster/status` of type `node`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// The node.
    pub name: NodeName,
    /// Whether it is the node that answered (`local: 1`).
    pub local: bool,
    /// Whether it is online.
    pub online: bool,
}

/// `GET /cluster/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Name of the cluster, `None` on a node that stands alone.
    pub name: Option<String>,
    /// Whether it has quorum; true on a node that stands alone.
    pub quorate: bool,
    /// The nodes.
    pub nodes: Vec<ClusterNode>,
}

/// One guest in the list of a node (`GET /nodes/{node}/lxc`, `.../qemu`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestListing {
    /// Its vmid.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// Its name; may be empty.
    pub name: String,
    /// Its power state.
    pub power: Power,
    /// Whether it is a template.
    pub template: bool,
    /// The lock, while something works on it.
    pub lock: Option<String>,
    /// Size of its root disk in bytes.
    pub disk_bytes: u64,
}

/// A guest's config (`GET /nodes/{node}/{lxc|qemu}/{vmid}/config`): every key as text, booleans and numbers as the API writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestConfig(pub BTreeMap<String, String>);

/// One complete snapshot of a guest: `current` is left out, and so is one that is being made or was never finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotListing {
    /// Its name.
    pub name: SnapshotName,
    /// When it was taken.
    pub taken: Option<Timestamp>,
    /// Its description.
    pub description: String,
}

/// The state of a task (`GET /nodes/{node}/tasks/{upid}/status`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It still works.
    Running,
    /// It ended well (`OK`, `WARNINGS: n`).
    Ok {
        /// How many warnings it ended with.
        warnings: u32,
    },
    /// It failed; the text of `exitstatus`.
    Failed(String),
    /// The node lost track of it (`unexpected status`), or does not know it: its effect must be looked for.
    Unknown(String),
}

/// One entry of `GET /nodes/{node}/tasks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskListing {
    /// The task.
    pub upid: Upid,
    /// Its type (`vzdump`, `vzsnapshot`, `qmsnapshot`).
    pub kind: String,
    /// What it works on: a vmid as text, or empty.
    pub id: String,
    /// When it started.
    pub started: Timestamp,
    /// Whether it still works.
    pub running: bool,
}

/// What to back up and how (`POST /nodes/{node}/vzdump`; `remove=0` always).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSpec {
    /// The storage that takes the archive.
    pub storage: String,
    /// The note that carries the step's key.
    pub note: String,
    /// How long to wait for the node's backup lock, whole minutes (`lockwait`).
    pub lock_wait: Duration,
    /// How the guest is treated meanwhile.
    pub mode: BackupMode,
    /// How the archive is compressed.
    pub compress: Compression,
}

/// One archive of a guest (`GET /nodes/{node}/storage/{storage}/content?content=backup&vmid=..`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupListing {
    /// Its volume identifier.
    pub volid: String,
    /// Its note.
    pub notes: String,
    /// When it was made.
    pub made: Option<Timestamp>,
}

/// One job of `GET /cluster/replication`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationListing {
    /// Its name (`101-0`).
    pub id: String,
    /// The guest that it replicates.
    pub guest: GuestId,
}

/// What the ZFS of a node says of a guest's volumes since a snapshot of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZfsSince {
    /// Snapshots of these volumes that are newer (`rpool/data/subvol-101-disk-0@autosnap`), whoever made them.
    pub newer: Vec<String>,
    /// Bytes that were written since. `None` where a volume lies elsewhere, or does not have the snapshot.
    pub written: Option<u64>,
}

/// One service of a node (`GET /nodes/{node}/services`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceListing {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is enabled to run.
    pub enabled: bool,
}

/// One guest of the cluster (`GET /cluster/resources?type=vm`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its vmid.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// The node that has it.
    pub node: NodeName,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its resource pool.
    pub pool: Option<String>,
    /// Whether HA manages it (`hastate` is there).
    pub ha: bool,
}

/// A whole cluster as `GET /cluster/resources` lists it: who is where, and how much room there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stock {
    /// Its nodes, in order of name.
    pub nodes: Vec<NodeStock>,
    /// Its storages, one entry for each node that has it.
    pub storages: Vec<StorageStock>,
    /// Its guests, in order of vmid.
    pub guests: Vec<GuestStock>,
}

/// A node in the list of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStock {
    /// The node.
    pub name: NodeName,
    /// Whether it is online.
    pub online: bool,
    /// Bytes of memory in all.
    pub memory: u64,
    /// Bytes of memory in use.
    pub used: u64,
}

/// A storage of a node in the list of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageStock {
    /// The node.
    pub node: NodeName,
    /// Its name.
    pub name: String,
    /// Its type (`zfspool`, `rbd`, ..); empty where that was not told.
    pub kind: String,
    /// Whether all nodes that have it have the same one.
    pub shared: bool,
    /// Whether it can be used there now.
    pub active: bool,
}

/// A guest in the list of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestStock {
    /// Its vmid.
    pub id: GuestId,
    /// The node that has it.
    pub node: NodeName,
    /// Whether it runs.
    pub running: bool,
    /// Bytes of memory that it is configured with.
    pub memory: u64,
}

/// What stands against moving a guest (`GET .../migrate`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preconditions {
    /// The nodes that it may go to; `None` where that was not told.
    pub allowed: Option<BTreeSet<NodeName>>,
    /// Why it may not go to others, by node.
    pub refused: BTreeMap<NodeName, String>,
    /// What binds it to its node: devices (`hostpci0`), images in its CD drives.
    pub bound: Vec<String>,
}

/// How a guest is moved (`POST .../migrate`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveOrder {
    /// Where to.
    pub to: NodeName,
    /// Whether it runs: a VM goes on running, a container is restarted.
    pub running: bool,
    /// Whether a VM's disks are copied that only its node has.
    pub local_disks: bool,
    /// How long a container may take to shut down.
    pub shutdown: Duration,
}

/// What a VM's guest agent says to a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentState {
    /// It answers.
    Up,
    /// The VM's config does not enable one (`No QEMU guest agent configured`).
    NotConfigured,
    /// It is enabled and does not answer: it does not run in the guest, or not yet.
    NotRunning(String),
}

/// The HTTPS API of a host.
#[async_trait]
pub trait Pve: Send + Sync {
    /// `GET /version`: the `version` field.
    async fn version(&self) -> Result<String, Fault>;
    /// `GET /cluster/status`.
    async fn cluster_status(&self) -> Result<ClusterStatus, Fault>;
    /// `GET /nodes/{node}/certificates/info`: the SHA-256 fingerprint of `pve-root-ca.pem`.
    async fn ca_fingerprint(&self, node: &NodeName) -> Result<String, Fault>;
    /// `GET /nodes/{node}/lxc` and `.../qemu`, in order of vmid.
    async fn guests(&self, node: &NodeName) -> Result<Vec<GuestListing>, Fault>;
    /// `GET /cluster/resources?type=vm`: the node that has a guest now, `None` where there is no such guest.
    async fn locate(&self, guest: GuestId) -> Result<Option<NodeName>, Fault>;
    /// `GET .../config`.
    async fn guest_config(&self, guest: &GuestRef) -> Result<GuestConfig, Fault>;
    /// `GET .../status/current`: power state and lock.
    async fn guest_status(&self, guest: &GuestRef) -> Result<(Power, Option<String>), Fault>;
    /// `GET .../feature?feature=snapshot`.
    async fn can_snapshot(&self, guest: &GuestRef) -> Result<bool, Fault>;
    /// `GET .../snapshot`, without `current`.
    async fn snapshots(&self, guest: &GuestRef) -> Result<Vec<SnapshotListing>, Fault>;
    /// `POST .../snapshot`.
    async fn create_snapshot(&self, guest: &GuestRef, name: &SnapshotName, description: &str) -> Result<Upid, Fault>;
    /// `DELETE .../snapshot/{name}`.
    async fn delete_snapshot(&self, guest: &GuestRef, name: &SnapshotName) -> Result<Upid, Fault>;
    /// `POST .../snapshot/{name}/rollback`, without `start`: the guest does not run afterwards. A VM that runs is stopped hard.
    async fn rollback_snapshot(&self, guest: &GuestRef, name: &SnapshotName) -> Result<Upid, Fault>;
    /// `GET /cluster/replication`: the jobs by which guests are replicated, those that are paused as well.
    async fn replication(&self) -> Result<Vec<ReplicationListing>, Fault>;
    /// `GET /nodes/{node}/tasks/{upid}/status`, on the node named in the UPID.
    async fn task(&self, upid: &Upid) -> Result<TaskState, Fault>;
    /// The last lines of `GET /nodes/{node}/tasks/{upid}/log`, for an error's text.
    async fn task_log_tail(&self, upid: &Upid, lines: u32) -> Result<Vec<String>, Fault>;
    /// `GET /nodes/{node}/tasks?source=all&vmid=..`, from `since` on.
    async fn tasks_of(&self, guest: &GuestRef, since: Timestamp) -> Result<Vec<TaskListing>, Fault>;
    /// `GET /nodes/{node}/storage?content=backup&enabled=1`, active ones, most room first.
    async fn backup_storages(&self, node: &NodeName) -> Result<Vec<StorageFacts>, Fault>;
    /// `GET /nodes/{node}/storage?enabled=1`: active storages of any content, with their sizes.
    async fn pools(&self, node: &NodeName) -> Result<Vec<PoolFacts>, Fault>;
    /// `GET /nodes/{node}/storage/{storage}/content?content=backup&vmid=..`.
    async fn backups(&self, guest: &GuestRef, storage: &str) -> Result<Vec<BackupListing>, Fault>;
    /// `POST /nodes/{node}/vzdump` with `remove=0`, mode, compression, notes and lock wait.
    async fn start_backup(&self, guest: &GuestRef, spec: &BackupSpec) -> Result<Upid, Fault>;
    /// `GET .../qemu/{vmid}/agent/network-get-interfaces`, `GET .../lxc/{vmid}/interfaces`: the guest's network interfaces. An agent
    /// that is not up, and a container that is off, have none. An older Proxmox VE does not know the call for containers (501).
    async fn interfaces(&self, guest: &GuestRef) -> Result<Vec<Interface>, Fault>;
    /// `GET /nodes/{node}/services`.
    async fn services(&self, node: &NodeName) -> Result<Vec<ServiceListing>, Fault>;
    /// `GET /access/permissions`: what the token may do, by path; true where it holds for what is below as well.
    async fn permissions(&self) -> Result<BTreeMap<String, BTreeMap<String, bool>>, Fault>;
    /// `GET /cluster/resources?type=vm`: every guest of the cluster that the token may see.
    async fn resources(&self) -> Result<Vec<Resource>, Fault>;
    /// `GET /cluster/ha/resources`: everything that HA manages in the cluster (`ct:101`), in order of name.
    async fn ha_resources(&self) -> Result<Vec<String>, Fault>;
    /// `GET /nodes/{node}/tasks?source=active`: what is at work on the node.
    async fn active_tasks(&self, node: &NodeName) -> Result<Vec<TaskListing>, Fault>;
    /// `GET /nodes/{node}/tasks?source=all&typefilter=..` from `since` on: tasks of one type, whatever they work on.
    async fn tasks_of_type(&self, node: &NodeName, kind: &str, since: Timestamp) -> Result<Vec<TaskListing>, Fault>;
    /// `GET /nodes/{node}/apt/repositories`; `Sys.Audit`.
    async fn repositories(&self, node: &NodeName) -> Result<Vec<RepositoryFacts>, Fault>;
    /// `GET /nodes/{node}/subscription`: its `status`.
    async fn subscription(&self, node: &NodeName) -> Result<String, Fault>;
    /// `DELETE /nodes/{node}/storage/{storage}/content/{volid}`; some storages do it at once and name no task.
    async fn delete_backup(&self, node: &NodeName, volid: &str) -> Result<Option<Upid>, Fault>;
    /// `POST .../status/start`. A guest that runs already is a fault of class `Permanent` for a CT, and in the task for a VM.
    async fn start_guest(&self, guest: &GuestRef) -> Result<Upid, Fault>;
    /// `POST .../status/shutdown` with `forceStop=0` and the timeout in seconds.
    async fn shutdown_guest(&self, guest: &GuestRef, timeout: Duration) -> Result<Upid, Fault>;
    /// `POST .../status/reboot` with the timeout in seconds: a shutdown and a start, which applies pending changes of the config.
    async fn reboot_guest(&self, guest: &GuestRef, timeout: Duration) -> Result<Upid, Fault>;
    /// `POST .../qemu/{vmid}/agent/ping`. An agent that is not up takes about 3 s to say so.
    async fn agent(&self, guest: &GuestRef) -> Result<AgentState, Fault>;
    /// `POST /nodes/{node}/stopall` with `force-stop=0` and the timeout for each guest in seconds.
    async fn stop_all(&self, node: &NodeName, timeout: Duration) -> Result<Upid, Fault>;
    /// `GET /cluster/resources`: nodes, storages and guests of the whole cluster.
    async fn stock(&self) -> Result<Stock, Fault>;
    /// `GET .../migrate`; `None` where this version of Proxmox VE does not know the call (501, for containers).
    async fn preconditions(&self, guest: &GuestRef) -> Result<Option<Preconditions>, Fault>;
    /// `POST .../migrate`. Of a guest that HA manages it only notes the wish; the move comes later.
    async fn migrate(&self, guest: &GuestRef, order: &MoveOrder) -> Result<Upid, Fault>;
    /// `GET /cluster/ha/status/current`: the nodes that are in maintenance mode, be their guests gone already or not.
    async fn in_maintenance(&self) -> Result<BTreeSet<NodeName>, Fault>;
    /// `GET /cluster/options`: `shutdown_policy` of `ha`, `conditional` where nothing is said.
    async fn shutdown_policy(&self) -> Result<String, Fault>;
    /// `GET /cluster/ceph/flags` and `.../status`; `None` where the cluster has no Ceph.
    async fn ceph(&self) -> Result<Option<CephFacts>, Fault>;
    /// `PUT /cluster/ceph/flags` with `noout`: a task (`cephsetflags`) on the node that answers.
    async fn set_noout(&self, on: bool) -> Result<Upid, Fault>;
    /// `POST /nodes/{node}/status` with `command=reboot`: no task, and the answer may be lost with the node.
    async fn reboot_node(&self, node: &NodeName) -> Result<(), Fault>;
}

/// Where a command runs: the node itself, a CT through it, or a guest by a way of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// The node, as root over SSH.
    Node,
    /// A container, by `pct exec` on the node.
    Ct(GuestId),
    /// A guest, over SSH to this address with the manifest's user and key.
    Ssh(GuestId, String),
    /// A virtual machine on that node, by its guest agent through the API.
    Agent(NodeName, GuestId),
}

/// Who a machine says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `hostname`.
    pub hostname: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: BootId,
    /// `/sys/class/dmi/id/product_uuid` in lower case, where it can be read (a VM).
    pub product_uuid: Option<String>,
    /// The MAC addresses of its interfaces in lower case, loopback left out (`/sys/class/net/*/address`).
    pub macs: Vec<String>,
    /// `uname -r`.
    pub kernel: String,
}

/// What only a node is asked: see [`crate::inventory::NodeState`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLook {
    /// How the login has root's rights.
    pub root: RootAccess,
    /// Free space of `/`, `/boot` and `/var/tmp`, once for each file system.
    pub space: Vec<SpaceFacts>,
}

/// What to run detached on a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name: [`crate::ids::StepKey::job_name`].
    pub name: String,
    /// What it does.
    pub work: JobWork,
}

/// The work of a detached job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobWork {
    /// A full upgrade of all packages, without a question asked.
    Upgrade(PackageManager),
}

/// What came of asking for a job to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum JobStart {
    /// It was started now.
    Started,
    /// A job of that name was there already: attach to it.
    AlreadyThere,
}

/// The state of a detached job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// There is no job of that name: it was never started.
    Absent,
    /// It works; the log's size in bytes.
    Running {
        /// Bytes of output so far.
        log_bytes: u64,
    },
    /// It ended.
    Finished {
        /// The exit status of the work (128 + n where a signal ended it).
        exit: i32,
        /// The last lines of its output, control characters made harmless.
        log_tail: Vec<String>,
    },
    /// It is not there any more and left no exit status: the machine was restarted, or the job was killed.
    Lost {
        /// The last lines of its output.
        log_tail: Vec<String>,
    },
}

/// What is asked for with a cluster's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseAsk {
    /// The run that it is for: a lease of the same run is the asker's own, whichever process took it.
    pub run: RunId,
    /// Who asks, for those who are refused: `root@ops2 (process 4711)`.
    pub who: String,
    /// How long it holds unless it is renewed, whole seconds.
    pub span: Duration,
}

/// What came of asking for a cluster's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum LeaseAnswer {
    /// It was free, or had run out, and is the asker's now.
    Taken,
    /// It was the asker's already, and nobody had it in between.
    Renewed,
    /// Somebody else has it.
    Other(LeaseHolder),
}

/// Who else has a cluster's lease. All times are the asked node's own count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The run.
    pub run: String,
    /// Who works on it.
    pub who: String,
    /// For how long.
    pub held: Duration,
    /// How long ago it was renewed.
    pub renewed: Duration,
    /// When it runs out unless it is renewed.
    pub left: Duration,
}

/// A command that is run in a guest to know how it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestCommand {
    /// The line, for `/bin/sh`, as root.
    pub line: String,
    /// The exit status that is well.
    pub exit: u8,
    /// When it is killed, with all that it started.
    pub timeout: Duration,
}

/// How a guest does, as seen from within.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthLook {
    /// As [`crate::inventory::health::Health::failed_units`].
    pub failed_units: Option<BTreeSet<String>>,
    /// As [`crate::inventory::health::Health::listening`].
    pub listening: Option<BTreeSet<Listener>>,
    /// For each command, in order: nothing where it ended as it should, else how it ended, harmless.
    pub commands: Vec<Option<String>>,
}

/// Commands on a host and within its guests.
///
/// A cut connection is no outcome of a job: jobs run detached and are asked for again.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Asks a machine who it is.
    async fn identity(&self, place: &Place) -> Result<Identity, Fault>;
    /// Looks at operating system, pending updates, held packages, kernel and boot. With `refresh` the package lists are refreshed first;
    /// a refresh that fails is a `Fault`.
    async fn inspect(&self, place: &Place, refresh: bool) -> Result<OsFacts, Fault>;
    /// Starts a job detached, or finds that one of its name is there. Idempotent.
    async fn start_job(&self, place: &Place, job: &Job) -> Result<JobStart, Fault>;
    /// Asks for a job's state.
    async fn job(&self, place: &Place, name: &str) -> Result<JobState, Fault>;
    /// Returns the output of a job from an offset on, at most 256 KiB of it, as it was written. A job that is gone has none.
    async fn job_output(&self, place: &Place, name: &str, from: u64) -> Result<Vec<u8>, Fault>;
    /// Lists the network interfaces of a machine that have addresses.
    async fn interfaces(&self, place: &Place) -> Result<Vec<Interface>, Fault>;
    /// Looks at what only a node is asked.
    async fn look_at_node(&self) -> Result<NodeLook, Fault>;
    /// Asks corosync on the node how it counts the votes of the node's cluster. A count that can't be read, or does not add up, is
    /// a fault: it is never guessed.
    async fn quorum(&self) -> Result<QuorumFacts, Fault>;
    /// Takes or renews the lease of the node's cluster, or of the node where it stands alone. Idempotent.
    async fn hold_lease(&self, ask: &LeaseAsk) -> Result<LeaseAnswer, Fault>;
    /// Gives the lease back, where it is that run's. Idempotent.
    async fn release_lease(&self, run: &RunId) -> Result<(), Fault>;
    /// Looks how a guest does: what failed in it, who listens, and how these commands end. Whoever asks again runs them again.
    async fn health(&self, place: &Place, commands: &[GuestCommand]) -> Result<HealthLook, Fault>;
    /// Puts the node into HA maintenance mode, or takes it out again: a wish, which HA sees to within half a minute. Idempotent.
    async fn maintenance(&self, node: &NodeName, on: bool) -> Result<(), Fault>;
    /// Asks ZFS on the node what happened to these volumes (`local-zfs:subvol-101-disk-0`) since a snapshot. Those that lie on
    /// no ZFS are passed over.
    async fn zfs_since(&self, volumes: &[String], snapshot: &SnapshotName) -> Result<ZfsSince, Fault>;
    /// Removes what a finished job left behind. Nothing to remove is no error.
    async fn collect_job(&self, place: &Place, name: &str) -> Result<(), Fault>;
    /// Whether the package manager is in a clean state (`dpkg --audit` empty, no lock held); `Err` text says what is not clean.
    async fn packages_consistent(&self, place: &Place, manager: PackageManager) -> Result<Result<(), String>, Fault>;
}

/// A connection that a check asks for, with no address left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outward {
    /// Whether somebody accepts a connection.
    Tcp {
        /// The name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// What a web server answers.
    Http {
        /// The address of the page.
        url: String,
        /// The statuses that are well; any from 200 to 299 where empty.
        status: Vec<u16>,
        /// What the page must contain, within its first [`Outward::MOST_READ`] bytes.
        text: Option<String>,
        /// Whether any certificate will do.
        insecure: bool,
        /// How many redirects are followed.
        redirects: u8,
    },
}

impl Outward {
    /// How much of a page is looked through.
    pub const MOST_READ: usize = 1 << 20;
}

/// Connections from the machine that this program runs on.
#[async_trait]
pub trait Outside: Send + Sync {
    /// Asks once, and waits for the whole answer no longer than `within`. An error says in a lowercase fragment what was found
    /// instead; text of others in it is made harmless.
    async fn ask(&self, what: &Outward, within: Duration) -> Result<(), String>;
}

/// The clock: the only way to the present time. Waiting itself is tokio's, whose time the simulation controls.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// Takes the output of upgrades: a file for each guest and node.
pub trait JobOutput: Send + Sync {
    /// Returns how many bytes of a step's output there are already.
    fn length(&self, key: &StepKey) -> u64;
    /// Adds output at the end. What can't be kept is told elsewhere: the engine is not stopped by it.
    fn keep(&self, key: &StepKey, bytes: &[u8]);
}

/// Takes no output.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOutput;

impl JobOutput for NoOutput {
    fn length(&self, _: &StepKey) -> u64 {
        0
    }

    fn keep(&self, _: &StepKey, _: &[u8]) {}
}

/// The ways to one host.
pub struct HostPorts {
    /// Its API.
    pub pve: Arc<dyn Pve>,
    /// Commands on it and in its guests.
    pub remote: Arc<dyn Remote>,
    /// Connections to its guests, for their checks.
    pub outside: Arc<dyn Outside>,
    /// Addresses of guests that the manifest knows: hints, each proven before it is used.
    pub addresses: BTreeMap<GuestId, Vec<String>>,
    /// Whether a login over SSH is known for a guest of that number: else a VM is reached by its agent.
    pub ssh_known: Arc<dyn Fn(GuestId) -> bool + Send + Sync>,
}

/// The ways to all hosts.
pub trait Hosts: Send + Sync {
    /// Returns the ways to a host. Connecting happens at the first use of a port, not here.
    ///
    /// # Errors
    /// A host that the current manifest does not have any more, or whose connection facts are not usable.
    fn ports(&self, host: &HostId) -> Result<Arc<HostPorts>, Fault>;

    /// Names all hosts that there are ways to, in an order that is always the same.
    fn entries(&self) -> Vec<HostId>;

    /// Is told that nothing is at work on a host any more, so that its connections need not be kept: those of a whole
    /// fleet would be more than a process may have. It may be asked for again, and is then connected to anew.
    fn release(&self, host: &HostId) {
        let _ = host;
    }
}
