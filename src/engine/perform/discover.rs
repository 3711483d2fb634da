//! Gathers the facts of a host: who it is, what runs on it, what is pending.

use futures_util::{StreamExt, stream};

use super::Context;
use super::evacuate;
use super::inside::{Around, look_at};
use crate::engine::lease::NoLease;
use crate::engine::port::{ClusterStatus, GuestListing, Place};
use crate::engine::wait::retried;
use crate::ids::{ClusterId, GuestKind, NodeName};
use crate::inventory::{ClusterFacts, GuestFacts, HostFacts, NodeState, OsFacts, Question, QuorumFacts};
use crate::machine::outcome::{Fault, FaultClass};
use crate::plan::HostPolicy;
use crate::plan::quorum::Case;

/// Gathers the facts of a host. With `refresh` package lists are refreshed first; without, nothing at all is changed.
///
/// # Errors
/// A node that can't be reached, or whose identity over API and SSH differs. A guest that can't be looked into is a fact, and so
/// is a refresh of the node's own lists that fails, and whatever only the checks before the first change look at.
pub async fn discover(cx: &Context, policy: &HostPolicy, refresh: bool) -> Result<HostFacts, Fault> {
    by_stages(cx, policy, refresh).await.map_err(|stopped| stopped.fault)
}

/// What a fault kept discovery from going on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A question to the API.
    Api,
    /// A question to the node over SSH.
    Ssh,
    /// That both lead to one node.
    Identity,
    /// The node's packages.
    Packages,
}

/// Where discovery stopped, and why.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) stage: Stage,
    pub(super) fault: Fault,
    /// The node, where that was known already.
    pub(super) node: Option<NodeName>,
}

/// [`discover`], with the stage at which it stopped.
pub(super) async fn by_stages(cx: &Context, policy: &HostPolicy, refresh: bool) -> Result<HostFacts, Stopped> {
    let (pve, remote) = (&cx.ports.pve, &cx.ports.remote);
    let stop = |stage| move |fault| Stopped { stage, fault, node: None };
    let pve_version = retried(|| pve.version()).await.map_err(stop(Stage::Api))?;
    let status = retried(|| pve.cluster_status()).await.map_err(stop(Stage::Api))?;
    let node = local_node(policy.node.as_ref(), &status).map_err(stop(Stage::Identity))?;
    let known = node.clone();
    let stop = |stage| {
        let node = Some(known.clone());
        move |fault| Stopped { stage, fault, node }
    };
    let identity = retried(|| remote.identity(&Place::Node)).await.map_err(stop(Stage::Ssh))?;
    same_machine(&node, &identity.hostname).map_err(stop(Stage::Identity))?;
    let ca = ClusterId::new(retried(|| pve.ca_fingerprint(&node)).await.map_err(stop(Stage::Api))?);
    let lease_refused = take_lease(cx, &ca).await.map_err(stop(Stage::Ssh))?;
    // Where somebody else works, nothing is touched: not even package lists, whose lock may be in use.
    let refresh = refresh && lease_refused.is_none();
    let services = retried(|| pve.services(&node)).await.map_err(stop(Stage::Api))?;
    let backup_storages = retried(|| pve.backup_storages(&node)).await.map_err(stop(Stage::Api))?;
    let pools = retried(|| pve.pools(&node)).await.map_err(stop(Stage::Api))?;
    let listed = retried(|| pve.guests(&node)).await.map_err(stop(Stage::Api))?;
    let around_a_reboot = match policy.reboots() {
        true => look_around_a_reboot(cx, policy, &node, &listed, status.name.is_some()).await,
        false => NodeState::default(),
    };
    let (os, refused) = inspect_node(cx, refresh).await.map_err(stop(Stage::Packages))?;
    let no_login = listed.iter().filter(|guest| guest.kind == GuestKind::Vm && !(cx.ports.ssh_known)(guest.id));
    let no_login = no_login.map(|guest| guest.id).collect();
    let mut state = NodeState { no_login, ..node_state(cx, &node, &os).await };
    if let Some(Fault { what, hint, .. }) = refused {
        (state.refresh_failed, state.refresh_hint) = (Some(what), hint);
    }
    if let Some(Fault { what, hint, .. }) = lease_refused {
        (state.lease_refused, state.lease_hint) = (Some(what), hint);
    }
    let NodeState { evacuation, ceph, shutdown_policy, unknown, .. } = around_a_reboot;
    (state.evacuation, state.ceph, state.shutdown_policy) = (evacuation, ceph, shutdown_policy);
    state.unknown.extend(unknown);
    let resources = retried(|| pve.resources()).await.map_err(stop(Stage::Api))?;
    let resources = resources.into_iter().map(|resource| (resource.id, resource)).collect();
    let replication = match policy.rolls_back() {
        true => retried(|| pve.replication()).await.map_err(stop(Stage::Api))?,
        false => Vec::new(),
    };
    let replication = replication.into_iter().map(|job| (job.guest, job.id)).collect();
    let around =
        Around { policy, node: &node, pools: &pools, resources: &resources, replication: &replication, refresh };
    let mut guests: Vec<GuestFacts> = stream::iter(listed)
        .map(|guest| look_at(cx, &around, guest))
        .buffer_unordered(cx.limits.lookers)
        .collect::<Vec<Result<GuestFacts, Fault>>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(stop(Stage::Api))?;
    guests.sort_by_key(|guest| guest.id);
    state.pools = pools;
    let cluster = match &status.name {
        Some(name) => Some(cluster(cx, policy, name.clone(), &ca, &status, &mut state).await),
        None => None,
    };
    Ok(HostFacts {
        pve_version,
        cluster,
        node,
        ca,
        seen_at: cx.clock.now(),
        os,
        services_running: services.into_iter().filter(|service| service.running).map(|service| service.name).collect(),
        guests,
        backup_storages,
        state,
    })
}

/// Takes the lease of the host's cluster, where something is to be changed. Returns what lastingly stands against it.
///
/// # Errors
/// Nobody could be asked for a passing reason.
async fn take_lease(cx: &Context, cluster: &ClusterId) -> Result<Option<Fault>, Fault> {
    let Some(lease) = &cx.lease else { return Ok(None) };
    match lease.take(cluster).await {
        Ok(()) => Ok(None),
        Err(NoLease::Taken(fault)) => Ok(Some(fault)),
        Err(NoLease::NotAsked(fault)) if fault.class == FaultClass::Permanent => Ok(Some(fault)),
        Err(NoLease::NotAsked(fault)) => Err(fault),
    }
}

/// Looks at the node's cluster. That its votes can't be asked keeps it from a reboot, and from nothing else.
async fn cluster(
    cx: &Context,
    policy: &HostPolicy,
    name: String,
    ca: &ClusterId,
    status: &ClusterStatus,
    state: &mut NodeState,
) -> ClusterFacts {
    let quorum = match retried(|| cx.ports.remote.quorum()).await {
        Ok(quorum) => Some(quorum),
        Err(fault) => {
            state.unknown.insert(Question::Quorum, fault.what);
            None
        }
    };
    let needs_ha = |quorum: &QuorumFacts| Case::needs_ha(quorum, policy.allow_quorum_loss && policy.reboots());
    let ha_resources = match quorum.as_ref().is_some_and(needs_ha) {
        false => None,
        true => match retried(|| cx.ports.pve.ha_resources()).await {
            Ok(managed) => Some(managed),
            Err(fault) => {
                state.unknown.insert(Question::HaResources, fault.what);
                None
            }
        },
    };
    ClusterFacts {
        id: ca.clone(),
        name,
        quorate: status.quorate,
        nodes: status.nodes.iter().map(|node| (node.name.clone(), node.online)).collect(),
        quorum,
        ha_resources,
    }
}

/// Looks at what only a reboot concerns: whether the guests can be moved away, Ceph, and what HA does. What can't be asked keeps
/// the node from its reboot, and from nothing else.
async fn look_around_a_reboot(
    cx: &Context,
    policy: &HostPolicy,
    node: &NodeName,
    listed: &[GuestListing],
    clustered: bool,
) -> NodeState {
    let mut state = NodeState::default();
    match retried(|| cx.ports.pve.ceph()).await {
        Ok(ceph) => state.ceph = ceph,
        Err(fault) => _ = state.unknown.insert(Question::Ceph, fault.what),
    }
    if policy.evacuates() {
        match evacuate::facts(cx, node, listed).await {
            Ok(facts) => state.evacuation = Some(Box::new(facts)),
            Err(fault) => _ = state.unknown.insert(Question::Evacuation, fault.what),
        }
    } else if clustered {
        match retried(|| cx.ports.pve.shutdown_policy()).await {
            Ok(said) => state.shutdown_policy = Some(said),
            Err(fault) => _ = state.unknown.insert(Question::ShutdownPolicy, fault.what),
        }
    }
    state
}

/// Looks at the node's packages. Lists that can't be refreshed are a finding and no end: what is pending is then told by the
/// lists as they are, beside the fault of the refresh.
async fn inspect_node(cx: &Context, refresh: bool) -> Result<(OsFacts, Option<Fault>), Fault> {
    let located = |fault: Fault| Fault { what: format!("the node's packages: {}", fault.what), ..fault };
    let refused = match inspect(cx, refresh).await {
        Ok(os) => return Ok((os, None)),
        Err(fault) if refresh => fault,
        Err(fault) => return Err(located(fault)),
    };
    let os = inspect(cx, false).await.map_err(located)?;
    Ok((os, Some(refused)))
}

async fn inspect(cx: &Context, refresh: bool) -> Result<OsFacts, Fault> {
    retried(|| cx.ports.remote.inspect(&Place::Node, refresh)).await
}

/// Gathers what only the checks before the first change look at. What can't be asked is a fact as well, with its reason.
async fn node_state(cx: &Context, node: &NodeName, os: &OsFacts) -> NodeState {
    let (pve, remote) = (&cx.ports.pve, &cx.ports.remote);
    let of_api = async {
        tokio::join!(
            retried(|| pve.permissions()),
            retried(|| pve.active_tasks(node)),
            retried(|| pve.repositories(node)),
            retried(|| pve.subscription(node)),
        )
    };
    // One after the other: each is a channel of the node's SSH, of which a stock sshd allows ten.
    let of_node = async {
        let look = retried(|| remote.look_at_node()).await;
        let order = match os.manager {
            Some(manager) => retried(|| remote.packages_consistent(&Place::Node, manager)).await,
            None => Ok(Ok(())),
        };
        (look, order)
    };
    let ((permissions, tasks, repositories, subscription), (look, order)) = tokio::join!(of_api, of_node);
    let mut state = NodeState { own_boot: cx.own_boot.clone(), boot: Some(os.boot_id.clone()), ..NodeState::default() };
    match permissions {
        Ok(permissions) => state.permissions = permissions,
        Err(fault) => _ = state.unknown.insert(Question::Permissions, fault.what),
    }
    match tasks {
        Ok(tasks) => {
            let backups = tasks.into_iter().filter(|task| task.running && task.kind == "vzdump");
            state.running_backups = backups.map(|task| task.id).collect();
        }
        Err(fault) => _ = state.unknown.insert(Question::Tasks, fault.what),
    }
    match repositories {
        Ok(repositories) => state.repositories = repositories,
        Err(fault) => state.repositories_unknown = Some(fault.what),
    }
    match subscription {
        Ok(status) => state.subscription = Some(status),
        Err(fault) => _ = state.unknown.insert(Question::Subscription, fault.what),
    }
    match look {
        Ok(look) => (state.root, state.space) = (Some(look.root), look.space),
        Err(fault) => _ = state.unknown.insert(Question::Node, fault.what),
    }
    match order {
        Ok(Ok(())) => {}
        Ok(Err(disorder)) => state.disorder = Some(disorder),
        Err(fault) => _ = state.unknown.insert(Question::Dpkg, fault.what),
    }
    state
}

/// Returns which node answers: the one marked `local`, or where none is the one that the manifest names. One that the manifest
/// names differently is refused by the planner.
///
/// # Errors
/// It can't be told: none is marked, and the manifest names none of them.
pub fn local_node(named: Option<&NodeName>, status: &ClusterStatus) -> Result<NodeName, Fault> {
    let local: Vec<&NodeName> = status.nodes.iter().filter(|node| node.local).map(|node| &node.name).collect();
    match (local.as_slice(), named) {
        ([one], _) => Ok((*one).clone()),
        (_, Some(named)) if status.nodes.iter().any(|node| node.name == *named) => Ok(named.clone()),
        _ => Err(Fault::identity("the API does not say which node answers (cluster/status marks none as local)")
            .hint("set api.node to the node's name")),
    }
}

/// Makes sure that API and SSH lead to one machine. `hostname` may be fully qualified.
pub(in crate::engine) fn same_machine(node: &NodeName, hostname: &str) -> Result<(), Fault> {
    let short = hostname.split('.').next().unwrap_or(hostname);
    if short.eq_ignore_ascii_case(node.as_str()) {
        return Ok(());
    }
    Err(Fault::identity(format!("the API answers as node {node}, but SSH leads to {hostname}"))
        .hint("`host`, `ssh.extra_args` and `api.port` of the entry must lead to one and the same node"))
}
