//! Asks the API what is still there of what runs made. Changes nothing, and looks into no guest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::choices::Traits;
use crate::cli::kept::{Left, Thing};
use crate::engine::perform::{identity_of, local_node};
use crate::engine::port::{BackupListing, GuestRef, HostPorts, Hosts, Resource};
use crate::engine::wait::retried;
use crate::ids::{GuestId, GuestKind, HostId, NodeName, SnapshotName};
use crate::machine::outcome::Fault;
use crate::plan::{GuestAddr, HostPolicy, RunPolicy};

/// How many hosts are looked at together: what counts is the load on this machine.
const LOOKERS: usize = 16;

/// Something that a run made and that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is; host and node are those where the guest is now, and a backup's archive is known.
    pub left: Left,
    /// Why it may not be removed now, however old it is.
    pub obstacle: Option<Obstacle>,
}

/// Why something may not be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its guest is not there any more: it may be all that is left of it.
    GuestGone,
    /// Another guest has that number now.
    AnotherGuest,
    /// Something works on the guest.
    Locked,
    /// The guest is to be left alone.
    LeftAlone,
    /// The guest is on a node that was not asked.
    Elsewhere,
}

impl Obstacle {
    /// Names it for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::GuestGone => "guest-gone",
            Self::AnotherGuest => "another-guest",
            Self::Locked => "locked",
            Self::LeftAlone => "left-alone",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// Says it to people.
    pub fn words(self) -> &'static str {
        match self {
            Self::GuestGone => "its guest is gone",
            Self::AnotherGuest => "another guest has that number now",
            Self::Locked => "something works on the guest",
            Self::LeftAlone => "the guest is to be left alone",
            Self::Elsewhere => "the guest is on a node that was not asked",
        }
    }
}

/// What looking came to.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was found, by host and guest.
    pub found: Vec<Found>,
    /// What was made and is not there any more, or could not be looked for: what became of it counts all the same.
    pub missing: Vec<Left>,
    /// Hosts that could not be looked at.
    pub failed: Vec<(HostId, Fault)>,
}

/// A node as the API names it: within its cluster.
type NodePlace = (Option<String>, NodeName);

/// Why a host could not be looked at, and what would have been looked for.
type NotLooked = (Fault, Vec<Left>);

/// What was found on one host.
struct HostLook {
    host: HostId,
    place: NodePlace,
    found: Vec<Found>,
    missing: Vec<Left>,
}

/// Looks for what runs made on these hosts.
pub async fn look(hosts: Arc<dyn Hosts>, policy: &RunPolicy, all: Vec<Left>) -> Looked {
    let mut by_host: BTreeMap<HostId, Vec<Left>> = BTreeMap::new();
    for left in all {
        by_host.entry(left.host.clone()).or_default().push(left);
    }
    let mut looked = Looked::default();
    let work: Vec<(&HostPolicy, Vec<Left>)> =
        policy.hosts.iter().filter_map(|host| Some((host, by_host.remove(&host.host)?))).collect();
    looked.missing.extend(by_host.into_values().flatten());
    let looks: Vec<(HostId, Result<HostLook, NotLooked>)> = stream::iter(work)
        .map(|(policy, lefts)| {
            let hosts = Arc::clone(&hosts);
            async move { (policy.host.clone(), look_at_host(&*hosts, policy, lefts).await) }
        })
        .buffered(LOOKERS)
        .collect()
        .await;
    let places: BTreeMap<NodePlace, HostId> = looks
        .iter()
        .filter_map(|(_, look)| look.as_ref().ok().map(|look| (look.place.clone(), look.host.clone())))
        .collect();
    for (host, look) in looks {
        match look {
            Ok(look) => {
                let cluster = look.place.0;
                looked.missing.extend(look.missing);
                looked.found.extend(look.found.into_iter().map(|mut found| {
                    match places.get(&(cluster.clone(), found.left.guest.node.clone())) {
                        Some(host) => found.left.host = host.clone(),
                        None => found.obstacle = found.obstacle.or(Some(Obstacle::Elsewhere)),
                    }
                    found
                }));
            }
            Err((fault, lefts)) => {
                looked.missing.extend(lefts);
                looked.failed.push((host, fault));
            }
        }
    }
    looked
}

async fn look_at_host(hosts: &dyn Hosts, policy: &HostPolicy, lefts: Vec<Left>) -> Result<HostLook, NotLooked> {
    match try_host(hosts, policy, &lefts).await {
        Ok(look) => Ok(look),
        Err(fault) => Err((fault, lefts)),
    }
}

async fn try_host(hosts: &dyn Hosts, policy: &HostPolicy, lefts: &[Left]) -> Result<HostLook, Fault> {
    let ports = hosts.ports(&policy.host)?;
    let status = retried(|| ports.pve.cluster_status()).await?;
    let node = local_node(policy.node.as_ref(), &status)?;
    let resources = retried(|| ports.pve.resources()).await?;
    let mut look = HostLook {
        host: policy.host.clone(),
        place: (status.name, node.clone()),
        found: Vec::new(),
        missing: Vec::new(),
    };
    let guests: BTreeSet<(GuestId, GuestKind)> = lefts.iter().map(|left| (left.guest.id, left.guest.kind)).collect();
    for (id, kind) in guests {
        let resource = resources.iter().find(|resource| resource.id == id && resource.kind == kind);
        let of_guest: Vec<&Left> = lefts.iter().filter(|left| (left.guest.id, left.guest.kind) == (id, kind)).collect();
        let guest = Guest::look(&ports, &node, resource, of_guest[0]).await?;
        for left in of_guest {
            match guest.find(policy, left) {
                Some(found) => look.found.push(found),
                None => look.missing.push(left.clone()),
            }
        }
    }
    Ok(look)
}

/// A guest as the API shows it now.
struct Guest<'a> {
    resource: Option<&'a Resource>,
    identity: Option<String>,
    locked: bool,
    snapshots: Vec<SnapshotName>,
    backups: Vec<BackupListing>,
}

impl<'a> Guest<'a> {
    async fn look(
        ports: &HostPorts,
        node: &NodeName,
        resource: Option<&'a Resource>,
        left: &Left,
    ) -> Result<Self, Fault> {
        let node = resource.map_or(node, |resource| &resource.node);
        let at = GuestRef { node: node.clone(), kind: left.guest.kind, id: left.guest.id };
        let mut guest = Self { resource, identity: None, locked: false, snapshots: Vec::new(), backups: Vec::new() };
        if resource.is_some() {
            let config = retried(|| ports.pve.guest_config(&at)).await?;
            guest.identity = identity_of(at.kind, &config);
            let (_, lock) = retried(|| ports.pve.guest_status(&at)).await?;
            guest.locked = lock.is_some() || config.0.contains_key("lock");
            let snapshots = retried(|| ports.pve.snapshots(&at)).await?;
            guest.snapshots = snapshots.into_iter().map(|snapshot| snapshot.name).collect();
        }
        // An archive outlives its guest.
        for storage in retried(|| ports.pve.backup_storages(node)).await? {
            guest.backups.extend(retried(|| ports.pve.backups(&at, &storage.name)).await?);
        }
        Ok(guest)
    }

    /// Looks for one thing; `None` where it is not there.
    fn find(&self, policy: &HostPolicy, left: &Left) -> Option<Found> {
        let same = self.identity.is_some() && self.identity == left.guest.identity;
        let thing = match &left.thing {
            // A snapshot goes with its guest; of that name on another guest it is another one.
            Thing::Snapshot(name) => (same && self.snapshots.contains(name)).then(|| left.thing.clone())?,
            Thing::Backup { volid, note } => {
                let is_it = |archive: &&BackupListing| {
                    archive.notes.trim() == note && volid.as_ref().is_none_or(|volid| *volid == archive.volid)
                };
                let archive = self.backups.iter().find(is_it)?;
                Thing::Backup { volid: Some(archive.volid.clone()), note: note.clone() }
            }
        };
        let obstacle = match self.resource {
            None => Some(Obstacle::GuestGone),
            Some(_) if !same => Some(Obstacle::AnotherGuest),
            Some(_) if self.locked => Some(Obstacle::Locked),
            Some(resource) => {
                let traits = Traits {
                    id: left.guest.id,
                    kind: left.guest.kind,
                    name: &left.name,
                    tags: &resource.tags,
                    pool: resource.pool.as_deref(),
                };
                (!policy.may_prune(&traits)).then_some(Obstacle::LeftAlone)
            }
        };
        let node = self.resource.map_or_else(|| left.guest.node.clone(), |resource| resource.node.clone());
        let guest = GuestAddr { node, ..left.guest.clone() };
        Some(Found { left: Left { guest, thing, ..left.clone() }, obstacle })
    }
}
