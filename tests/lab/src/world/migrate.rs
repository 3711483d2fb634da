//! Guests move to another node of their cluster.
//!
//! As in a real one, much fails only in the task, and at two different points: what stands against a move before it is begun
//! (`prepare`) leaves the guest alone; what is found out later (`phase 1`: snapshots on local volumes) has shut a container down
//! by then, which is started anew where it was.

use serde::{Deserialize, Serialize};

use super::task::Work;
use super::tasks::{End, Order};
use super::{Asker, DatasetSnapshot, Guest, Kind, MachineId, Realm, Refusal, Storage, Time, World};
use crate::ledger::{Act, Entry, Outcome};

/// How a guest is to move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MoveOrder {
    /// The node that it is to go to.
    pub target: String,
    /// `online`: a VM that runs goes on running.
    pub online: bool,
    /// `restart`: a container that runs is shut down, moved and started.
    pub restart: bool,
    /// `with-local-disks`: disks that only the source has are copied while a VM runs.
    pub local_disks: bool,
}

impl MoveOrder {
    /// Makes the order that lets a guest that runs go on: a VM live, with its local disks, a container by a restart.
    pub fn live(target: &str) -> Self {
        Self { target: target.to_owned(), online: true, restart: true, local_disks: true }
    }
}

/// A move that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MoveWork {
    /// The guest.
    pub vmid: u32,
    /// The node that it goes to.
    pub target: String,
    /// Whether a container was shut down for it, to be started at its end.
    pub restarts: bool,
    /// What was found to stand against it: the move is given up at its end.
    pub aborts: Option<String>,
}

/// What stands against a move, by the point at which a real node finds out.
#[derive(Debug, Default)]
struct Against {
    /// Before anything is begun.
    prepare: Option<String>,
    /// When the volumes are looked at: each volume with what is wrong.
    volumes: Vec<(String, String)>,
}

impl World {
    /// Begins to move a guest to another node, the way that lets it go on running where `live` says so ([`MoveOrder::live`]).
    /// Returns the UPID.
    ///
    /// # Errors
    /// As [`World::migrate`].
    pub fn migrate_guest(
        &mut self,
        now: Time,
        id: &MachineId,
        target: &str,
        live: bool,
        by: &Asker,
    ) -> Result<String, Refusal> {
        let stopped = MoveOrder { target: target.to_owned(), local_disks: true, ..MoveOrder::default() };
        self.migrate(now, id, &if live { MoveOrder::live(target) } else { stopped }, by)
    }

    /// Begins to move a guest to another node; returns the UPID. Under HA the request is only noted (`hamigrate`), and the move
    /// comes later. What else stands against it shows in the task, which ends `migration aborted` with the reason in its log.
    ///
    /// # Errors
    /// A target that is not there or is the guest's own node, a running guest without `online` or `restart`, and for a VM also a
    /// lock, a storage that the target does not have, and a replication to another node, are refused at once.
    pub fn migrate(&mut self, now: Time, id: &MachineId, order: &MoveOrder, by: &Asker) -> Result<String, Refusal> {
        self.advance(now);
        if let Some(why) = self.refuses_move(self.known(id)?, order) {
            let target = Some(order.target.clone());
            self.record(self.now, id, Act::Migrate, target, &by.to_string(), Outcome::Refused(why.clone()));
            return Err(Refusal(why));
        }
        if let Some(upid) = self.ha_migrate(id, &order.target, by) {
            return Ok(upid);
        }
        let ledger =
            self.record(self.now, id, Act::Migrate, Some(order.target.clone()), &by.to_string(), Outcome::Begun);
        Ok(self.begin_move(id, order, by, ledger))
    }

    /// Begins the task of a move that was entered into the ledger.
    pub(crate) fn begin_move(&mut self, id: &MachineId, order: &MoveOrder, by: &Asker, ledger: u64) -> String {
        let Some(guest) = self.guest(id).cloned() else { return String::new() };
        let (kind, vmid, running) = (guest.kind, guest.vmid, guest.running());
        let against = self.stands_against_move(&guest, order);
        let task = match kind {
            Kind::Ct => "vzmigrate",
            Kind::Vm => "qmigrate",
        };
        let task = Order { node: &guest.node, kind: task, id: id.short(), by, ledger: Some(ledger) };
        let clock = self.clock(self.now);
        if let Some(why) = against.prepare {
            let upid = self.new_task(task, Work::Nothing, None);
            self.task_log(&upid, format!("{clock} ERROR: migration aborted (duration 00:00:00): {why}"));
            self.end_task(&upid, Err("migration aborted".to_owned()));
            return upid;
        }
        // A container that does not obey is not moved: its task waits for it, and gives up.
        let obeys = kind == Kind::Vm || !running || guest.obeys_shutdown;
        let stubborn = (!obeys).then(|| format!("container did not stop: CT {vmid} still runs"));
        let restarts = kind == Kind::Ct && running && obeys;
        let bad = match kind {
            _ if against.volumes.is_empty() => None,
            Kind::Ct => Some("can't migrate CT - check log".to_owned()),
            Kind::Vm => Some("Problem found while scanning volumes - can't migrate VM - check log".to_owned()),
        };
        let takes = match (&stubborn, &bad) {
            (Some(_), _) => 180_000,
            (None, Some(_)) if restarts => self.durations.shutdown + self.durations.start,
            (None, Some(_)) => 0,
            (None, None) => self.durations.migrate,
        };
        if restarts {
            self.power_off(id);
        }
        if let Some(guest) = self.guest_mut(id) {
            guest.lock = Some("migrate".to_owned());
        }
        let work = MoveWork { vmid, target: order.target.clone(), restarts, aborts: stubborn.or(bad) };
        let upid = self.begin_task(task, Work::Migrate(Box::new(work)), takes);
        let ip = self.nodes.get(&order.target).map(|n| n.ip.clone()).unwrap_or_default();
        let mut lines = Vec::new();
        if kind == Kind::Ct && running {
            lines.push(format!("shutdown CT {vmid}"));
        }
        lines.push(format!("starting migration of {} {vmid} to node '{}' ({ip})", kind.label(), order.target));
        let what = if kind == Kind::Ct { "volume" } else { "disk" };
        lines.extend(against.volumes.iter().map(|(volid, why)| format!("can't migrate local {what} '{volid}': {why}")));
        for line in lines {
            self.task_log(&upid, format!("{clock} {line}"));
        }
        upid
    }

    /// Says why a move is refused at once.
    fn refuses_move(&self, guest: &Guest, order: &MoveOrder) -> Option<String> {
        let target = order.target.as_str();
        let realm = self.realm_of(&guest.node)?;
        if target == guest.node {
            return Some("target is local node.".to_owned());
        }
        if !realm.nodes.iter().any(|node| node == target) {
            return Some(format!("no such cluster node '{target}'"));
        }
        if guest.kind == Kind::Ct {
            let refused = guest.running() && !order.online && !order.restart;
            return refused.then(|| "can't migrate running container without --online or --restart".to_owned());
        }
        if let Some(lock) = &guest.lock {
            return Some(format!("VM is locked ({lock})"));
        }
        if guest.running() && !order.online {
            return Some("can't migrate running VM without --online".to_owned());
        }
        let mut jobs = realm.replication.iter().filter(|job| job.guest == guest.vmid).peekable();
        if guest.running() && jobs.peek().is_some() && jobs.all(|job| job.target != target) {
            return Some(format!(
                "Cannot live-migrate replicated VM to node '{target}' - not a replication target. Use 'force' to override."
            ));
        }
        self.unavailable_storages(guest, target)
            .first()
            .map(|storage| format!("storage '{storage}' is not available on node '{target}'"))
    }

    /// Says what stands against a move and shows only in its task.
    fn stands_against_move(&self, guest: &Guest, order: &MoveOrder) -> Against {
        let aborts = |why: String| Against { prepare: Some(why), volumes: Vec::new() };
        let Some(realm) = self.realm_of(&guest.node) else { return Against::default() };
        let (target, running) = (order.target.as_str(), guest.running());
        if let Some(lock) = &guest.lock {
            return aborts(format!("{} is locked ({lock})", guest.kind.label()));
        }
        if guest.kind == Kind::Ct && running && !order.restart {
            return aborts("lxc live migration is currently not implemented".to_owned());
        }
        let devices = guest.local_resources();
        if !devices.is_empty() {
            return aborts(format!("can't migrate VM which uses local devices: {}", devices.join(", ")));
        }
        if let Some((point, _)) = guest.volumes().iter().find(|(_, volid)| volid.is_none()) {
            return aborts(format!("cannot migrate local bind mount point '{point}'"));
        }
        if let Some(storage) = self.unavailable_storages(guest, target).first() {
            return aborts(format!("storage '{storage}' is not available on node '{target}'"));
        }
        let offline = |s: &&Storage| s.on.get(target).is_none_or(|state| !state.active);
        if let Some(storage) = used_storages(realm, guest).into_iter().find(offline) {
            return aborts(format!("could not activate storage '{}'", storage.name));
        }
        if !self.nodes.get(target).is_some_and(|node| node.online) {
            return aborts("Can't connect to destination address using public key".to_owned());
        }
        let volumes = guest.volumes().into_iter().filter_map(|(_, volid)| volid);
        let bad = volumes.filter_map(|volid| Some((volid.clone(), wrong_with(realm, guest, &volid, order)?)));
        let mut volumes: Vec<(String, String)> = bad.collect();
        volumes.extend(
            guest
                .cdroms()
                .into_iter()
                .filter(|volid| storage_of(realm, volid).is_some_and(|s| !s.shared))
                .map(|volid| (volid, "local cdrom image".to_owned())),
        );
        Against { prepare: None, volumes }
    }

    pub(crate) fn migrate_due(&mut self, upid: &str, id: &MachineId, work: &MoveWork) -> Result<End, String> {
        let Some(guest) = self.guest(id) else { return Err(format!("guest {id} is gone")) };
        let (kind, running) = (guest.kind, guest.running());
        let mut aborts = work.aborts.clone();
        if aborts.is_none() && !self.nodes.get(&work.target).is_some_and(|node| node.online) {
            aborts = Some(format!("command '/usr/bin/ssh {}' failed: exit code 255", work.target));
        }
        let clock = self.clock(self.now);
        if (running || work.restarts) && aborts.is_none() && !self.has_room(&work.target, id) {
            if kind == Kind::Vm {
                self.give_up_move(id, work);
                for line in [
                    "kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory",
                    "ERROR: online migrate failure - remote command failed with exit code 255",
                    "ERROR: migration finished with problems (duration 00:00:03)",
                ] {
                    self.task_log(upid, format!("{clock} {line}"));
                }
                return Err("migration problems".to_owned());
            }
            aborts = Some(format!("node '{}' has not enough memory for CT {}", work.target, work.vmid));
        }
        if let Some(why) = aborts {
            self.task_log(upid, format!("{clock} ERROR: {why}"));
            self.task_log(upid, format!("{clock} aborting phase 1 - cleanup resources"));
            if work.restarts {
                self.task_log(upid, format!("{clock} start container on source node"));
            }
            self.give_up_move(id, work);
            self.task_log(upid, format!("{clock} ERROR: migration aborted (duration 00:00:01): {why}"));
            return Err("migration aborted".to_owned());
        }
        let from = self.node_of(id).unwrap_or_default();
        let started = i64::try_from(self.now).unwrap_or(i64::MAX);
        let pid = self.nodes.get_mut(&work.target).map(super::Node::take_pid).unwrap_or_default();
        if let Some(guest) = self.guest_mut(id) {
            guest.lock = None;
            guest.node.clone_from(&work.target);
            if running {
                // What runs in a VM notices nothing; its process on the new node is another one.
                (guest.pid, guest.started) = (pid, started);
                // Its disks were copied as they are: what was on the datasets besides stays behind.
                guest.dataset_snapshots.retain(DatasetSnapshot::of_replication);
            }
        }
        self.turn_replication(id, &from, &work.target);
        if work.restarts {
            self.power_on(id);
            self.task_log(upid, format!("{clock} start container on target node"));
        }
        let seconds = self.durations.migrate / 1000;
        self.task_log(upid, format!("{clock} migration finished successfully (duration 00:00:{:02})", seconds % 60));
        Ok(End::Ok)
    }

    /// Leaves a guest where it was: a container that was shut down is started again.
    pub(crate) fn give_up_move(&mut self, id: &MachineId, work: &MoveWork) {
        if let Some(guest) = self.guest_mut(id) {
            guest.lock = None;
        }
        if work.restarts {
            self.power_on(id);
        }
    }

    /// A guest that went to the node that it was replicated to is replicated back from there.
    fn turn_replication(&mut self, id: &MachineId, from: &str, to: &str) {
        let MachineId::Guest { realm, vmid } = id else { return };
        let jobs = self.realms.get_mut(realm).map(|realm| realm.replication.iter_mut());
        for job in jobs.into_iter().flatten().filter(|job| job.guest == *vmid && job.target == to) {
            from.clone_into(&mut job.target);
        }
    }

    /// Returns the nodes that a guest could move to by its cluster: all others, those that are down as well, as a real one says.
    pub fn migration_targets(&self, id: &MachineId) -> Vec<String> {
        let Some(guest) = self.guest(id) else { return Vec::new() };
        let Some(realm) = self.realm_of(&guest.node) else { return Vec::new() };
        realm.nodes.iter().filter(|name| **name != guest.node).cloned().collect()
    }

    /// Returns the storages of a guest that a node does not have, or that are disabled.
    pub fn unavailable_storages(&self, guest: &Guest, node: &str) -> Vec<String> {
        let Some(realm) = self.realm_of(&guest.node) else { return Vec::new() };
        let gone = |s: &&Storage| !s.enabled || !s.on.contains_key(node);
        used_storages(realm, guest).into_iter().filter(gone).map(|s| s.name.clone()).collect()
    }

    /// Returns how much memory the guests that run on a node are configured with, in bytes.
    pub fn memory_configured(&self, node: &str) -> u64 {
        let guests = self.guests_on(node);
        guests.iter().filter_map(|id| self.guest(id)).filter(|g| g.running()).map(|g| g.memory_bytes).sum()
    }

    /// Returns how much memory of a node is in use, in bytes: its own, and a third of what each guest that runs there is
    /// configured with, as the guests' own states say.
    pub fn memory_used(&self, node: &str) -> u64 {
        let total = self.nodes.get(node).map_or(0, |node| node.memory_bytes);
        let own = (2 << 30).min(total / 4);
        (own + self.memory_configured(node) / 3).min(total)
    }

    /// Tells whether the memory that a guest is configured with fits beside that of the guests that run on a node.
    pub(crate) fn has_room(&self, node: &str, id: &MachineId) -> bool {
        let Some((there, guest)) = self.nodes.get(node).zip(self.guest(id)) else { return false };
        let counted = if guest.running() && guest.node == node { guest.memory_bytes } else { 0 };
        self.memory_configured(node) - counted + guest.memory_bytes <= there.memory_bytes
    }

    /// Returns the moves that were begun, oldest first, each with its guest, from where, to where, by whom and how it ended.
    pub fn moves(&self) -> impl Iterator<Item = &Entry> {
        self.ledger.of(Act::Migrate, "*").filter(|entry| !matches!(entry.outcome, Outcome::Refused(_)))
    }
}

/// Returns the storage of a volume.
pub(crate) fn storage_of<'a>(realm: &'a Realm, volid: &str) -> Option<&'a Storage> {
    let name = volid.split(':').next()?;
    realm.storages.iter().find(|storage| storage.name == name)
}

/// Returns the storages that a guest's volumes are on, in order of name.
fn used_storages<'a>(realm: &'a Realm, guest: &Guest) -> Vec<&'a Storage> {
    let volumes = guest.volumes().into_iter().filter_map(|(_, volid)| volid);
    let mut used: Vec<&Storage> = volumes.filter_map(|volid| storage_of(realm, &volid)).collect();
    used.sort_by(|a, b| a.name.cmp(&b.name));
    used.dedup_by(|a, b| a.name == b.name);
    used
}

/// Says what is wrong with a volume of a guest that is to move.
fn wrong_with(realm: &Realm, guest: &Guest, volid: &str, order: &MoveOrder) -> Option<String> {
    let storage = storage_of(realm, volid).filter(|storage| !storage.shared)?;
    let kind = storage.kind.as_str();
    let in_snapshot =
        guest.snapshots.iter().any(|s| s.config.values().any(|v| v.as_str().is_some_and(|v| names(v, volid))));
    let why = match guest.kind {
        Kind::Ct if in_snapshot && !["zfspool", "btrfs"].contains(&kind) => "non-migratable snapshot exists",
        Kind::Vm if guest.running() && !order.local_disks => {
            "can't live migrate attached local disks without with-local-disks option"
        }
        Kind::Vm if in_snapshot && guest.running() && realm.replication.iter().all(|job| job.guest != guest.vmid) => {
            "online storage migration not possible if non-replicated snapshot exists"
        }
        Kind::Vm if in_snapshot && !["zfspool", "btrfs"].contains(&kind) && !volid.ends_with(".qcow2") => {
            "non-migratable snapshot exists"
        }
        _ if !["dir", "btrfs", "zfspool", "lvmthin", "lvm"].contains(&kind) => {
            return Some(format!("storage type '{kind}' not supported"));
        }
        Kind::Ct | Kind::Vm => return None,
    };
    Some(why.to_owned())
}

/// Tells whether a value of a config (`local-zfs:vm-201-disk-0,size=4G`) is of a volume.
fn names(value: &str, volid: &str) -> bool {
    value.split(',').next() == Some(volid)
}
