//! A world that answers at once: hosts with guests that all have something pending, for the engine to work on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proxmaint::engine::port::{
    AgentState, BackupListing, BackupSpec, ClusterNode, ClusterStatus, GuestCommand, GuestConfig, GuestListing,
    GuestRef, HealthLook, HostPorts, Hosts, Identity, Interface, Job, JobStart, JobState, LeaseAnswer, LeaseAsk,
    NodeLook, Outside, Outward, Place, Pve, Remote, ReplicationListing, Resource, ServiceListing, SnapshotListing,
    TaskListing, TaskState, ZfsSince,
};
use proxmaint::ids::{BootId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName, Upid};
use proxmaint::inventory::health::{Listener, Protocol};
use proxmaint::inventory::{
    OsFacts, PackageChange, PackageManager, PoolFacts, Power, QuorumFacts, RepositoryFacts, RootAccess, SpaceFacts,
    StorageFacts,
};
use proxmaint::machine::outcome::Fault;
use proxmaint::plan::{HostPolicy, RunPolicy};
use proxmaint::time::Timestamp;

/// Packages that a guest has pending: what a Debian guest gathers in two weeks.
const GUEST_PENDING: usize = 12;
/// Packages that a node has pending.
const NODE_PENDING: usize = 25;

/// The name of a host.
pub fn host_name(host: usize) -> String {
    format!("pve{host:04}")
}

/// What the operator wants of a fleet.
pub fn policy(hosts: usize, parallel_hosts: u32) -> RunPolicy {
    let host = |n| HostPolicy {
        host: HostId::new(host_name(n)),
        node: None,
        max_parallel: 2,
        unmanaged: BTreeSet::new(),
        declared: BTreeSet::new(),
        protect_max_age_ms: 3_600_000,
        ..HostPolicy::new(proxmaint::ids::HostId::new("unused"))
    };
    RunPolicy { parallel_hosts, hosts: (0..hosts).map(host).collect() }
}

/// All hosts of the world, each with so many guests; what was done to one is there the next time.
pub struct World {
    guests: u32,
    hosts: Mutex<BTreeMap<HostId, Arc<HostPorts>>>,
}

impl World {
    pub fn new(guests: u32) -> Self {
        Self { guests, hosts: Mutex::default() }
    }
}

impl Hosts for World {
    fn ports(&self, host: &HostId) -> Result<Arc<HostPorts>, Fault> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = hosts.entry(host.clone()).or_insert_with(|| {
            let node = Arc::new(Node {
                name: NodeName::new(host.as_str()),
                guests: self.guests,
                snapshots: Mutex::default(),
                upgraded: Mutex::default(),
            });
            Arc::new(HostPorts {
                pve: node.clone(),
                remote: node.clone(),
                outside: node,
                addresses: BTreeMap::new(),
                ssh_known: Arc::new(|_| true),
            })
        });
        Ok(Arc::clone(ports))
    }
}

struct Node {
    name: NodeName,
    guests: u32,
    snapshots: Mutex<BTreeMap<GuestId, Vec<SnapshotName>>>,
    /// The places whose packages were upgraded; `None` is the node.
    upgraded: Mutex<BTreeSet<Option<GuestId>>>,
}

fn packages(count: usize, what: &str) -> Vec<PackageChange> {
    let package = |n: usize| PackageChange {
        name: format!("{what}-package-{n}"),
        old: Some(format!("1:2.{n}.7-3+deb12u1")),
        new: Some(format!("1:2.{n}.7-3+deb12u4")),
    };
    (0..count).map(package).collect()
}

fn guest_of(place: &Place) -> Option<GuestId> {
    match place {
        Place::Node => None,
        Place::Ct(id) | Place::Ssh(id, _) | Place::Agent(_, id) => Some(*id),
    }
}

#[async_trait]
impl Pve for Node {
    async fn version(&self) -> Result<String, Fault> {
        Ok("9.0.5".to_owned())
    }
    async fn cluster_status(&self) -> Result<ClusterStatus, Fault> {
        let node = ClusterNode { name: self.name.clone(), local: true, online: true };
        Ok(ClusterStatus { name: None, quorate: true, nodes: vec![node] })
    }
    async fn ca_fingerprint(&self, node: &NodeName) -> Result<String, Fault> {
        Ok(format!("ca-of-{node}-{}", "4F:".repeat(20)))
    }
    async fn guests(&self, _: &NodeName) -> Result<Vec<GuestListing>, Fault> {
        let guest = |n| GuestListing {
            id: GuestId(100 + n),
            kind: GuestKind::Ct,
            name: format!("guest-{n}"),
            power: Power::Running,
            template: false,
            lock: None,
            disk_bytes: 8 << 30,
        };
        Ok((0..self.guests).map(guest).collect())
    }
    async fn locate(&self, _: GuestId) -> Result<Option<NodeName>, Fault> {
        Ok(Some(self.name.clone()))
    }
    async fn guest_config(&self, guest: &GuestRef) -> Result<GuestConfig, Fault> {
        let volume = format!("local-zfs:subvol-{}-disk-0,size=8G", guest.id);
        let net = format!("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{:02X},type=veth", guest.id.0 % 256);
        Ok(GuestConfig(BTreeMap::from([("rootfs".to_owned(), volume), ("net0".to_owned(), net)])))
    }
    async fn guest_status(&self, _: &GuestRef) -> Result<(Power, Option<String>), Fault> {
        Ok((Power::Running, None))
    }
    async fn can_snapshot(&self, _: &GuestRef) -> Result<bool, Fault> {
        Ok(true)
    }
    async fn snapshots(&self, guest: &GuestRef) -> Result<Vec<SnapshotListing>, Fault> {
        let taken = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let listing =
            |name: &SnapshotName| SnapshotListing { name: name.clone(), taken: None, description: String::new() };
        Ok(taken.get(&guest.id).into_iter().flatten().map(listing).collect())
    }
    async fn create_snapshot(&self, guest: &GuestRef, name: &SnapshotName, _: &str) -> Result<Upid, Fault> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).entry(guest.id).or_default().push(name.clone());
        Ok(Upid::new(format!(
            "UPID:{}:000AB12C:0F3B5D10:6922F0C1:vzsnapshot:{}:root@pam!proxmaint:",
            self.name, guest.id
        )))
    }
    async fn delete_snapshot(&self, _: &GuestRef, _: &SnapshotName) -> Result<Upid, Fault> {
        Err(Fault::permanent("nothing is deleted here"))
    }
    async fn rollback_snapshot(&self, _: &GuestRef, _: &SnapshotName) -> Result<Upid, Fault> {
        Err(Fault::permanent("nothing is rolled back here"))
    }
    async fn replication(&self) -> Result<Vec<ReplicationListing>, Fault> {
        Ok(Vec::new())
    }
    async fn task(&self, _: &Upid) -> Result<TaskState, Fault> {
        Ok(TaskState::Ok { warnings: 0 })
    }
    async fn task_log_tail(&self, _: &Upid, _: u32) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }
    async fn tasks_of(&self, _: &GuestRef, _: Timestamp) -> Result<Vec<TaskListing>, Fault> {
        Ok(Vec::new())
    }
    async fn backup_storages(&self, _: &NodeName) -> Result<Vec<StorageFacts>, Fault> {
        Ok(vec![StorageFacts { name: "backups".to_owned(), available: 1 << 40 }])
    }
    async fn pools(&self, _: &NodeName) -> Result<Vec<PoolFacts>, Fault> {
        Ok(vec![PoolFacts { name: "local-zfs".to_owned(), available: 1 << 40, total: 1 << 41 }])
    }
    async fn backups(&self, _: &GuestRef, _: &str) -> Result<Vec<BackupListing>, Fault> {
        Ok(Vec::new())
    }
    async fn start_backup(&self, _: &GuestRef, _: &BackupSpec) -> Result<Upid, Fault> {
        Err(Fault::permanent("nothing is backed up here"))
    }
    async fn interfaces(&self, _: &GuestRef) -> Result<Vec<Interface>, Fault> {
        Ok(Vec::new())
    }
    async fn permissions(&self) -> Result<BTreeMap<String, BTreeMap<String, bool>>, Fault> {
        let all = ["Sys.Audit", "VM.Audit", "VM.Snapshot", "VM.Backup", "Datastore.Audit", "Datastore.AllocateSpace"];
        Ok(BTreeMap::from([("/".to_owned(), all.iter().map(|name| ((*name).to_owned(), true)).collect())]))
    }
    async fn resources(&self) -> Result<Vec<Resource>, Fault> {
        Ok(Vec::new())
    }
    async fn ha_resources(&self) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }
    async fn active_tasks(&self, _: &NodeName) -> Result<Vec<TaskListing>, Fault> {
        Ok(Vec::new())
    }
    async fn tasks_of_type(&self, _: &NodeName, _: &str, _: Timestamp) -> Result<Vec<TaskListing>, Fault> {
        Ok(Vec::new())
    }
    async fn repositories(&self, _: &NodeName) -> Result<Vec<RepositoryFacts>, Fault> {
        Ok(Vec::new())
    }
    async fn subscription(&self, _: &NodeName) -> Result<String, Fault> {
        Ok("active".to_owned())
    }
    async fn delete_backup(&self, _: &NodeName, _: &str) -> Result<Option<Upid>, Fault> {
        Err(Fault::permanent("nothing is deleted here"))
    }
    async fn start_guest(&self, _: &GuestRef) -> Result<Upid, Fault> {
        Err(Fault::permanent("nothing is started here"))
    }
    async fn shutdown_guest(&self, _: &GuestRef, _: Duration) -> Result<Upid, Fault> {
        Err(Fault::permanent("nothing is shut down here"))
    }
    async fn reboot_guest(&self, _: &GuestRef, _: Duration) -> Result<Upid, Fault> {
        Err(Fault::permanent("nothing is rebooted here"))
    }
    async fn agent(&self, _: &GuestRef) -> Result<AgentState, Fault> {
        Ok(AgentState::NotConfigured)
    }
    async fn stop_all(&self, _: &NodeName, _: Duration) -> Result<Upid, Fault> {
        Err(Fault::permanent("nothing is shut down here"))
    }
    async fn reboot_node(&self, _: &NodeName) -> Result<(), Fault> {
        Err(Fault::permanent("nothing is rebooted here"))
    }
    async fn services(&self, _: &NodeName) -> Result<Vec<ServiceListing>, Fault> {
        let names = ["pve-cluster", "pvedaemon", "pveproxy", "pvestatd", "pvescheduler", "corosync", "ssh", "cron"];
        let service = |name: &&str| ServiceListing { name: (*name).to_owned(), running: true, enabled: true };
        Ok(names.iter().map(service).collect())
    }
}

#[async_trait]
impl Outside for Node {
    async fn ask(&self, _: &Outward, _: Duration) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl Remote for Node {
    async fn identity(&self, _: &Place) -> Result<Identity, Fault> {
        let boot_id = BootId::new("3f0c3a5e-6a0e-4f0f-9d6e-0a6f2f3b9c11");
        Ok(Identity {
            hostname: self.name.to_string(),
            boot_id,
            product_uuid: None,
            macs: Vec::new(),
            kernel: String::new(),
        })
    }
    async fn hold_lease(&self, _: &LeaseAsk) -> Result<LeaseAnswer, Fault> {
        Ok(LeaseAnswer::Renewed)
    }
    async fn zfs_since(&self, _: &[String], _: &SnapshotName) -> Result<ZfsSince, Fault> {
        Ok(ZfsSince::default())
    }
    async fn release_lease(&self, _: &RunId) -> Result<(), Fault> {
        Ok(())
    }
    async fn inspect(&self, place: &Place, _: bool) -> Result<OsFacts, Fault> {
        let guest = guest_of(place);
        let done = self.upgraded.lock().unwrap_or_else(PoisonError::into_inner).contains(&guest);
        let pending = match (done, guest) {
            (true, _) => Vec::new(),
            (false, Some(_)) => packages(GUEST_PENDING, "guest"),
            (false, None) => packages(NODE_PENDING, "node"),
        };
        Ok(OsFacts {
            id: "debian".to_owned(),
            id_like: Vec::new(),
            pretty_name: "Debian GNU/Linux 13 (trixie)".to_owned(),
            manager: Some(PackageManager::Apt),
            pending,
            held: Vec::new(),
            lists_refreshed: Some(Timestamp(1_790_000_000_000)),
            kernel: "6.14.8-2-pve".to_owned(),
            boot_id: BootId::new("3f0c3a5e-6a0e-4f0f-9d6e-0a6f2f3b9c11"),
            reboot_wanted: None,
            kernel_next: None,
            codename: None,
            unfit: None,
            leftovers: Vec::new(),
            restart_needed: Vec::new(),
        })
    }
    async fn start_job(&self, place: &Place, _: &Job) -> Result<JobStart, Fault> {
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner).insert(guest_of(place));
        Ok(JobStart::Started)
    }
    async fn job(&self, _: &Place, _: &str) -> Result<JobState, Fault> {
        Ok(JobState::Finished { exit: 0, log_tail: Vec::new() })
    }
    async fn job_output(&self, _: &Place, _: &str, _: u64) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }
    async fn interfaces(&self, _: &Place) -> Result<Vec<Interface>, Fault> {
        Ok(Vec::new())
    }
    async fn look_at_node(&self) -> Result<NodeLook, Fault> {
        let space = SpaceFacts { path: "/".to_owned(), available: 1 << 36, total: 1 << 37 };
        Ok(NodeLook { root: RootAccess::Root, space: vec![space] })
    }
    async fn quorum(&self) -> Result<QuorumFacts, Fault> {
        Err(Fault::permanent("not in a cluster"))
    }
    async fn health(&self, _: &Place, _: &[GuestCommand]) -> Result<HealthLook, Fault> {
        let services = [22, 80, 443, 5432];
        let listener = |port| Listener { protocol: Protocol::Tcp, address: [0, 0, 0, 0].into(), port };
        let listening = Some(services.map(listener).into());
        Ok(HealthLook { failed_units: Some(BTreeSet::new()), listening, commands: Vec::new() })
    }
    async fn collect_job(&self, _: &Place, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    async fn packages_consistent(&self, _: &Place, _: PackageManager) -> Result<Result<(), String>, Fault> {
        Ok(Ok(()))
    }
}
