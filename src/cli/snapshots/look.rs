//! Asks the API what is still there of what runs made. Changes nothing, and looks into no guest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::choices::Traits;
use crate::cli::kept::{Left, Thing};
use crate::engine::perform::{identity_of, local_node};
use crate::engine::port::{BackupListing, ClusterNode, GuestRef, HostPorts, Hosts, Resource};
use crate::engine::wait::retried;
use crate::ids::{ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName};
use crate::machine::outcome::Fault;
use crate::plan::{GuestAddr, HostPolicy, RunPolicy};

/// How many hosts are looked at together: what counts is the load on this machine.
const LOOKERS: usize = 16;

/// Something that a run made and that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is; the host is the one where the guest is now. A backup's archive is known, and the node of its address is the one
    /// that has the archive.
    pub left: Left,
    /// The node that has the guest now; of one that is gone, the node that had it.
    pub node: NodeName,
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
    // What was made over an entry that is not asked is looked for on the node where its guest is now.
    let unasked: Vec<Left> = by_host.into_values().flatten().collect();
    let mut idle: Vec<(&HostPolicy, Vec<Left>)> = Vec::new();
    if unasked.iter().any(|left| left.cluster.is_some()) {
        let has_work = |host: &&HostPolicy| work.iter().any(|(busy, _)| busy.host == host.host);
        idle.extend(policy.hosts.iter().filter(|host| !has_work(host)).map(|host| (host, Vec::new())));
    }
    let looks: Vec<(HostId, Result<HostLook, NotLooked>)> = stream::iter(work.into_iter().chain(idle))
        .map(|(policy, lefts)| {
            let (hosts, unasked) = (Arc::clone(&hosts), &unasked);
            async move { (policy.host.clone(), look_at_host(&*hosts, policy, lefts, unasked).await) }
        })
        .buffered(LOOKERS)
        .collect()
        .await;
    let places: BTreeMap<NodePlace, HostId> = looks
        .iter()
        .filter_map(|(_, look)| look.as_ref().ok().map(|look| (look.place.clone(), look.host.clone())))
        .collect();
    // Two entries may lead to one node.
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    for (host, look) in looks {
        match look {
            Ok(mut look) => {
                look.found.retain(|found| seen.insert(name(&found.left)));
                let cluster = look.place.0;
                looked.missing.extend(look.missing);
                looked.found.extend(look.found.into_iter().map(|mut found| {
                    match places.get(&(cluster.clone(), found.node.clone())) {
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
    looked.missing.extend(unasked.into_iter().filter(|left| !seen.contains(&name(left))));
    looked
}

/// What tells things that runs made apart: the same is not shown twice.
type Name = (RunId, Option<ClusterId>, GuestId, String);

fn name(left: &Left) -> Name {
    let thing = match &left.thing {
        Thing::Snapshot(name) => name.to_string(),
        Thing::Backup { note, .. } => note.clone(),
    };
    (left.run.clone(), left.cluster.clone(), left.guest.id, thing)
}

async fn look_at_host(
    hosts: &dyn Hosts,
    policy: &HostPolicy,
    lefts: Vec<Left>,
    unasked: &[Left],
) -> Result<HostLook, NotLooked> {
    match try_host(hosts, policy, &lefts, unasked).await {
        Ok(look) => Ok(look),
        Err(fault) => Err((fault, lefts)),
    }
}

async fn try_host(hosts: &dyn Hosts, policy: &HostPolicy, lefts: &[Left], unasked: &[Left]) -> Result<HostLook, Fault> {
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
    let moved_here: Vec<&Left> = match unasked {
        [] => Vec::new(),
        unasked => {
            let cluster = ClusterId::new(retried(|| ports.pve.ca_fingerprint(&node)).await?);
            let here = |left: &Left| {
                let is_it = |resource: &Resource| (resource.id, resource.kind) == (left.guest.id, left.guest.kind);
                resources.iter().any(|resource| is_it(resource) && resource.node == node)
            };
            unasked.iter().filter(|left| left.cluster.as_ref() == Some(&cluster) && here(left)).collect()
        }
    };
    let mut guests: BTreeMap<(GuestId, GuestKind), Vec<(&Left, Asked)>> = BTreeMap::new();
    let own = lefts.iter().map(|left| (left, Asked::Yes));
    for (left, asked) in own.chain(moved_here.into_iter().map(|left| (left, Asked::No))) {
        guests.entry((left.guest.id, left.guest.kind)).or_default().push((left, asked));
    }
    for ((id, kind), of_guest) in guests {
        let resource = resources.iter().find(|resource| resource.id == id && resource.kind == kind);
        let things: Vec<&Left> = of_guest.iter().map(|(left, _)| *left).collect();
        let guest = Guest::look(&ports, &node, &status.nodes, resource, &things).await?;
        for (left, asked) in of_guest {
            match (guest.find(policy, left), asked) {
                (Some(found), _) => look.found.push(found),
                (None, Asked::Yes) => look.missing.push(left.clone()),
                // Whoever asked for it enters it once.
                (None, Asked::No) => {}
            }
        }
    }
    Ok(look)
}

/// Whether something was made over the entry that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}

/// A guest as the API shows it now.
struct Guest<'a> {
    resource: Option<&'a Resource>,
    identity: Option<String>,
    locked: bool,
    snapshots: Vec<SnapshotName>,
    /// Its archives, with the nodes that have them.
    backups: Vec<(NodeName, BackupListing)>,
}

impl<'a> Guest<'a> {
    async fn look(
        ports: &HostPorts,
        node: &NodeName,
        nodes: &[ClusterNode],
        resource: Option<&'a Resource>,
        things: &[&Left],
    ) -> Result<Self, Fault> {
        let node = resource.map_or(node, |resource| &resource.node);
        let at = GuestRef { node: node.clone(), kind: things[0].guest.kind, id: things[0].guest.id };
        let mut guest = Self { resource, identity: None, locked: false, snapshots: Vec::new(), backups: Vec::new() };
        if resource.is_some() {
            let config = retried(|| ports.pve.guest_config(&at)).await?;
            guest.identity = identity_of(at.kind, &config);
            let (_, lock) = retried(|| ports.pve.guest_status(&at)).await?;
            guest.locked = lock.is_some() || config.0.contains_key("lock");
            let snapshots = retried(|| ports.pve.snapshots(&at)).await?;
            guest.snapshots = snapshots.into_iter().map(|snapshot| snapshot.name).collect();
        }
        // An archive outlives its guest, and stays where it was made when its guest moves.
        let there = |node: &&NodeName| nodes.iter().any(|other| other.online && other.name == **node);
        let made_on = things.iter().filter(|left| !left.thing.is_snapshot()).map(|left| &left.guest.node).filter(there);
        for node in made_on.chain([node]).collect::<BTreeSet<&NodeName>>() {
            let at = GuestRef { node: node.clone(), ..at.clone() };
            for storage in retried(|| ports.pve.backup_storages(node)).await? {
                let archives = retried(|| ports.pve.backups(&at, &storage.name)).await?;
                guest.backups.extend(archives.into_iter().map(|archive| (node.clone(), archive)));
            }
        }
        Ok(guest)
    }

    /// Looks for one thing; `None` where it is not there.
    fn find(&self, policy: &HostPolicy, left: &Left) -> Option<Found> {
        let same = self.identity.is_some() && self.identity == left.guest.identity;
        let on = self.resource.map_or_else(|| left.guest.node.clone(), |resource| resource.node.clone());
        let (thing, node) = match &left.thing {
            // A snapshot goes with its guest; of that name on another guest it is another one.
            Thing::Snapshot(name) => {
                (same && self.snapshots.contains(name)).then(|| (left.thing.clone(), on.clone()))?
            }
            Thing::Backup { volid, note } => {
                let is_it = |(_, archive): &&(NodeName, BackupListing)| {
                    archive.notes.trim() == note && volid.as_ref().is_none_or(|volid| *volid == archive.volid)
                };
                let (node, archive) = self.backups.iter().find(is_it)?;
                (Thing::Backup { volid: Some(archive.volid.clone()), note: note.clone() }, node.clone())
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
        let guest = GuestAddr { node, ..left.guest.clone() };
        Some(Found { left: Left { guest, thing, ..left.clone() }, node: on, obstacle })
    }
}
