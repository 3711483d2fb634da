//! The description of a world, pleasant to write in a test.

use std::collections::{BTreeMap, VecDeque};

use super::agenda::Agenda;
use super::{
    Acl, Backup, Ceph, CertData, Durations, GuestSpec, HaService, Kind, Node, NodeSpec, Realm, Replication, Storage,
    StorageState, Token, User, Voting, World,
};
use crate::faults::{Fault, Faults};
use crate::ledger::Ledger;

/// Describes a world; see [`World::builder`].
///
/// ```
/// use proxmaint_lab::world::{Os, World};
///
/// let world = World::builder()
///     .cluster("lab", ["pve1", "pve2"])
///     .standalone("edge1")
///     .node("pve1", |node| node.pending(4))
///     .ct("pve1", 101, |ct| ct.name("web").pending(3))
///     .ct("pve1", 102, |ct| ct.os(Os::Alpine322).no_snapshots())
///     .vm("pve2", 201, |vm| vm.os(Os::Ubuntu2404).stopped())
///     .build();
/// // A cluster whose nodes can be emptied: shared and local storages, Ceph, HA, memory, replication, snapshots.
/// let cluster = World::builder()
///     .cluster("lab", ["pve1", "pve2", "pve3"])
///     .node("pve3", |node| node.memory_gib(8))
///     .disks("lab", "nfs", "nfs")
///     .ceph("lab", 2)
///     .vm("pve1", 201, |vm| vm.on("nfs").memory_mib(4_096))
///     .ct("pve1", 101, |ct| ct.on("ceph").auto_snapshots())
///     .vm("pve2", 202, |vm| vm.snapshot("old"))
///     .ha("lab", [201])
///     .replicated("lab", 202, "pve1")
///     .build();
/// assert_eq!(cluster.guest_of("pve1", 202).map(|g| g.snapshots.len()), Some(1));
/// assert_eq!(world.guest_of("pve2", 101).map(|g| g.name.as_str()), Some("web"));
/// ```
#[derive(Debug, Clone)]
pub struct WorldBuilder {
    seed: u64,
    epoch_ms: i64,
    durations: Durations,
    realms: Vec<(String, bool, Vec<String>)>,
    voting: BTreeMap<String, Voting>,
    nodes: BTreeMap<String, NodeSpec>,
    guests: Vec<(String, u32, GuestSpec)>,
    storages: Vec<(String, Storage)>,
    users: Vec<(String, User)>,
    tokens: Vec<(String, Token)>,
    backups: Vec<(String, Backup)>,
    ha: Vec<(String, u32)>,
    ceph: BTreeMap<String, Ceph>,
    replication: Vec<(String, Replication)>,
    faults: Faults,
}

/// The wall clock of a world when nothing else is said: 2026-11-22 22:06:40 UTC.
const EPOCH_MS: i64 = 1_795_385_200_000;

impl WorldBuilder {
    pub(crate) fn new() -> Self {
        Self {
            seed: 1,
            epoch_ms: EPOCH_MS,
            durations: Durations::quick(),
            realms: Vec::new(),
            voting: BTreeMap::new(),
            nodes: BTreeMap::new(),
            guests: Vec::new(),
            storages: Vec::new(),
            users: Vec::new(),
            tokens: Vec::new(),
            backups: Vec::new(),
            ha: Vec::new(),
            ceph: BTreeMap::new(),
            replication: Vec::new(),
            faults: Faults::default(),
        }
    }

    /// Sets the seed of everything that looks like chance: identifiers, and the order of lists.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the wall clock at which the world begins, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn epoch_ms(mut self, ms: i64) -> Self {
        self.epoch_ms = ms;
        self
    }

    /// Sets how long things take.
    #[must_use]
    pub fn durations(mut self, durations: Durations) -> Self {
        self.durations = durations;
        self
    }

    /// Adds a cluster of nodes.
    #[must_use]
    pub fn cluster<'a>(mut self, name: &str, nodes: impl IntoIterator<Item = &'a str>) -> Self {
        let nodes: Vec<String> = nodes.into_iter().map(str::to_owned).collect();
        self.realms.push((name.to_owned(), true, nodes));
        self
    }

    /// Says how a cluster counts votes, beside its nodes' own.
    #[must_use]
    pub fn voting(mut self, cluster: &str, voting: Voting) -> Self {
        self.voting.insert(cluster.to_owned(), voting);
        self
    }

    /// Adds a node that stands alone.
    #[must_use]
    pub fn standalone(mut self, node: &str) -> Self {
        self.realms.push((node.to_owned(), false, vec![node.to_owned()]));
        self
    }

    /// Says what a node is like.
    #[must_use]
    pub fn node(mut self, name: &str, describe: impl FnOnce(NodeSpec) -> NodeSpec) -> Self {
        let spec = self.nodes.remove(name).unwrap_or_else(NodeSpec::new);
        self.nodes.insert(name.to_owned(), describe(spec));
        self
    }

    /// Adds a container to a node.
    #[must_use]
    pub fn ct(mut self, node: &str, vmid: u32, describe: impl FnOnce(GuestSpec) -> GuestSpec) -> Self {
        self.guests.push((node.to_owned(), vmid, describe(GuestSpec::new(Kind::Ct, vmid))));
        self
    }

    /// Adds a virtual machine to a node.
    #[must_use]
    pub fn vm(mut self, node: &str, vmid: u32, describe: impl FnOnce(GuestSpec) -> GuestSpec) -> Self {
        self.guests.push((node.to_owned(), vmid, describe(GuestSpec::new(Kind::Vm, vmid))));
        self
    }

    /// Adds a storage to a realm, or replaces one of that name. Every realm has `local` (a directory that takes backups) and
    /// `local-zfs` (guests' disks, with snapshots).
    #[must_use]
    pub fn storage(mut self, realm: &str, storage: Storage) -> Self {
        self.storages.push((realm.to_owned(), storage));
        self
    }

    /// Adds a storage for guests' disks to a realm, by its type, on all of its nodes: shared where its type is (`nfs`, `rbd`).
    /// [`Storage::of_disks`] makes one that only some nodes have.
    ///
    /// # Panics
    /// A realm that was not named before is a mistake of the test.
    #[must_use]
    pub fn disks(self, realm: &str, name: &str, kind: &str) -> Self {
        let nodes = self.nodes_of(realm);
        let storage = Storage::of_disks(name, kind, nodes.iter().map(String::as_str));
        self.storage(realm, storage)
    }

    /// Puts guests under HA: they are started by it, and it has taken them up already.
    #[must_use]
    pub fn ha(mut self, cluster: &str, vmids: impl IntoIterator<Item = u32>) -> Self {
        self.ha.extend(vmids.into_iter().map(|vmid| (cluster.to_owned(), vmid)));
        self
    }

    /// Gives a cluster a Ceph that is well: a monitor and this many OSDs on each of its nodes, and the shared storage `ceph`
    /// (`rbd`) for guests' disks.
    ///
    /// # Panics
    /// A realm that was not named before is a mistake of the test.
    #[must_use]
    pub fn ceph(mut self, cluster: &str, osds_per_node: usize) -> Self {
        let nodes = self.nodes_of(cluster);
        let osds = nodes.iter().flat_map(|node| vec![node.clone(); osds_per_node]).collect();
        let made = Ceph { osds, monitors: nodes.iter().take(5).cloned().collect(), ..Ceph::default() };
        self.ceph.insert(cluster.to_owned(), made);
        self.disks(cluster, "ceph", "rbd")
    }

    /// Lets the Ceph of a cluster have a warning that lasts: a code (`POOL_NEARFULL`) and what is said.
    ///
    /// # Panics
    /// A cluster without [`WorldBuilder::ceph`] is a mistake of the test.
    #[must_use]
    pub fn ceph_warning(mut self, cluster: &str, code: &str, message: &str) -> Self {
        let ceph = self.ceph.get_mut(cluster).unwrap_or_else(|| panic!("{cluster} has no Ceph to warn of"));
        ceph.lasting.insert(code.to_owned(), ("HEALTH_WARN".to_owned(), message.to_owned()));
        self
    }

    /// Lets a guest be replicated to another node, every quarter of an hour.
    #[must_use]
    pub fn replicated(mut self, cluster: &str, guest: u32, target: &str) -> Self {
        let number = self.replication.iter().filter(|(realm, job)| realm == cluster && job.guest == guest).count();
        let job = Replication {
            guest,
            number: u32::try_from(number).unwrap_or_default(),
            target: target.to_owned(),
            schedule: "*/15".to_owned(),
            disabled: false,
        };
        self.replication.push((cluster.to_owned(), job));
        self
    }

    fn nodes_of(&self, realm: &str) -> Vec<String> {
        let found = self.realms.iter().find(|(name, ..)| name == realm);
        found.map(|(.., nodes)| nodes.clone()).unwrap_or_else(|| panic!("there is no realm {realm} yet"))
    }

    /// Adds an archive to a realm.
    #[must_use]
    pub fn backup(mut self, realm: &str, backup: Backup) -> Self {
        self.backups.push((realm.to_owned(), backup));
        self
    }

    /// Adds a user with privileges to a realm. `root@pam`, who may do everything, is there already.
    #[must_use]
    pub fn user(mut self, realm: &str, name: &str, acl: Acl) -> Self {
        self.users.push((realm.to_owned(), User { name: name.to_owned(), acl: Some(acl) }));
        self
    }

    /// Adds a token to a realm. Every realm has `root@pam!lab`, which may do everything.
    #[must_use]
    pub fn token(mut self, realm: &str, token: Token) -> Self {
        self.tokens.push((realm.to_owned(), token));
        self
    }

    /// Plants a fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.plant(fault);
        self
    }

    /// Makes the world.
    ///
    /// # Panics
    /// A description that contradicts itself (a guest on a node that is not there, a vmid or node named twice, a storage that is not
    /// there) is a mistake of the test, and said so.
    pub fn build(self) -> World {
        let mut world = World {
            epoch_ms: self.epoch_ms,
            durations: self.durations.clone(),
            realms: BTreeMap::new(),
            nodes: BTreeMap::new(),
            ledger: Ledger::default(),
            faults: self.faults.clone(),
            now: 0,
            seed: super::mix(self.seed),
            drawn: 0,
            transactions: 0,
            agenda: Agenda::default(),
        };
        let mut subnet = 76;
        for (name, clustered, nodes) in &self.realms {
            subnet += 1;
            let realm = self.realm(&mut world, name, *clustered, nodes, subnet);
            assert!(world.realms.insert(name.clone(), realm).is_none(), "realm {name} is there twice");
        }
        for name in self.voting.keys() {
            let known = world.realms.get(name).is_some_and(|realm| realm.clustered);
            assert!(known, "votes are counted in {name}, which is no cluster");
        }
        for name in self.nodes.keys() {
            assert!(world.nodes.contains_key(name), "node {name} is described but in no cluster and not standalone");
        }
        for (node, vmid, spec) in &self.guests {
            let on =
                world.nodes.get(node).unwrap_or_else(|| panic!("guest {vmid} is on node {node}, which is not there"));
            let (realm, kernel) = (on.realm.clone(), on.machine.kernel_running.clone());
            let storages = &world.realms[&realm].storages;
            let storage = storages.iter().find(|s| s.name == spec.storage).cloned();
            let mut guest = spec.build(node, &kernel, storage.as_ref(), || world.draw());
            spec.add_snapshots(&mut guest, world.unix(0), storage.is_some_and(|s| s.kind == "zfspool"));
            let realm = world.realms.get_mut(&realm).expect("every node's realm was made above");
            let known = |volid: &str| realm.storages.iter().any(|s| volid.starts_with(&format!("{}:", s.name)));
            for volid in guest.volumes().into_iter().filter_map(|(_, volid)| volid) {
                assert!(known(&volid), "guest {vmid} has volume {volid} on a storage that is not there");
            }
            assert!(realm.guests.insert(*vmid, guest).is_none(), "guest {vmid} is twice in realm {}", realm.name);
        }
        for (name, vmid) in &self.ha {
            let realm = world.realms.get_mut(name).unwrap_or_else(|| panic!("HA is in {name}, which is not there"));
            let guest = realm.guests.get(vmid).unwrap_or_else(|| panic!("HA has guest {vmid}, which is not there"));
            realm.ha.insert(super::sid(guest), HaService::new("started", "started"));
        }
        for (name, job) in &self.replication {
            let realm = world.realms.get_mut(name).unwrap_or_else(|| panic!("{name}, of a replication, is not there"));
            assert!(realm.guests.contains_key(&job.guest), "guest {} is replicated but not there", job.guest);
            realm.replication.push(job.clone());
        }
        world
    }

    fn realm(&self, world: &mut World, name: &str, clustered: bool, nodes: &[String], subnet: u32) -> Realm {
        let uuid = world.draw_uuid();
        let ca_name = format!("/CN=Proxmox Virtual Environment/OU={uuid}/O=PVE Cluster Manager CA");
        let made = world.unix(0) - 86_400;
        let cert = |world: &mut World, subject: &str, san: Vec<String>, years: i64| CertData {
            fingerprint: fingerprint([world.draw(), world.draw(), world.draw(), world.draw()]),
            subject: subject.to_owned(),
            issuer: ca_name.clone(),
            san,
            pem: "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n".to_owned(),
            key_type: "rsaEncryption".to_owned(),
            key_bits: 4096,
            not_before: made,
            not_after: made + years * 31_536_000,
        };
        for (i, node) in nodes.iter().enumerate() {
            let spec = self.nodes.get(node).cloned().unwrap_or_else(NodeSpec::new);
            let ip = spec.ip.clone().unwrap_or_else(|| format!("10.{subnet}.0.{}", 11 + i));
            let san = ["127.0.0.1", "0000:0000:0000:0000:0000:0000:0000:0001", "localhost", &ip, node];
            let san = san.iter().map(|s| (*s).to_owned()).collect();
            let (boot_id, product_uuid) = (world.draw_uuid(), world.draw_uuid());
            let made = Node {
                name: node.clone(),
                realm: name.to_owned(),
                nodeid: if clustered { u32::try_from(i).unwrap_or_default() + 1 } else { 0 },
                votes: spec.votes,
                ip,
                online: spec.online,
                version: spec.version.clone(),
                cert: cert(world, &format!("/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={node}"), san, 2),
                services: spec.services.clone(),
                repositories: spec.repositories.clone().unwrap_or_else(|| super::node::usual_repositories(spec.os)),
                subscription: spec.subscription.clone(),
                reach: spec.reach.clone(),
                memory_bytes: spec.memory_gib << 30,
                ct_preconditions: spec.ct_preconditions,
                machine: spec.machine(node, boot_id, product_uuid),
                tasks: Vec::new(),
                backup_queue: VecDeque::new(),
                next_pid: 900,
            };
            assert!(world.nodes.insert(node.clone(), made).is_none(), "node {node} is there twice");
        }
        let of_realm = |r: &String| r == name;
        let local = usual("local", "dir", "backup,iso,vztmpl,images,rootdir", nodes);
        let mut storages = vec![local, usual("local-zfs", "zfspool", "images,rootdir", nodes)];
        for (_, storage) in self.storages.iter().filter(|(r, _)| of_realm(r)) {
            storages.retain(|s| s.name != storage.name);
            storages.push(storage.clone());
        }
        let mut users = vec![User { name: "root@pam".to_owned(), acl: None }];
        users.extend(self.users.iter().filter(|(r, _)| of_realm(r)).map(|(_, u)| u.clone()));
        let root = Token { user: "root@pam".to_owned(), id: "lab".to_owned(), secret: world.draw_uuid(), acl: None };
        let mut tokens = vec![root];
        tokens.extend(self.tokens.iter().filter(|(r, _)| of_realm(r)).map(|(_, t)| t.clone()));
        let ceph = self.ceph.get(name).cloned();
        Realm {
            name: name.to_owned(),
            clustered,
            voting: self.voting.get(name).copied().unwrap_or_default(),
            ca: cert(world, &ca_name, Vec::new(), 10),
            nodes: nodes.to_vec(),
            guests: BTreeMap::new(),
            storages,
            backups: self.backups.iter().filter(|(r, _)| of_realm(r)).map(|(_, b)| b.clone()).collect(),
            users,
            tokens,
            ha: BTreeMap::new(),
            maintenance: BTreeMap::new(),
            ceph: ceph.map(|ceph| Ceph { fsid: world.draw_uuid(), ..ceph }),
            replication: Vec::new(),
        }
    }
}

fn usual(name: &str, kind: &str, content: &str, nodes: &[String]) -> Storage {
    let state = StorageState { active: true, total: 200 << 30, used: 40 << 30 };
    Storage {
        name: name.to_owned(),
        kind: kind.to_owned(),
        content: content.split(',').map(str::to_owned).collect(),
        shared: false,
        enabled: true,
        keep_last: None,
        on: nodes.iter().map(|node| (node.clone(), state.clone())).collect(),
    }
}

/// Writes 32 bytes as a fingerprint.
fn fingerprint(words: [u64; 4]) -> String {
    let bytes: Vec<String> = words.iter().flat_map(|w| w.to_be_bytes()).map(|b| format!("{b:02X}")).collect();
    bytes.join(":")
}
