//! Gathers the facts of a host: who it is, what runs on it, what is pending.

use futures_util::{StreamExt, stream};

use super::Context;
use super::inside::{Around, look_at};
use crate::engine::port::{ClusterStatus, Place};
use crate::engine::wait::retried;
use crate::ids::{ClusterId, NodeName};
use crate::inventory::{ClusterFacts, GuestFacts, HostFacts, NodeState};
use crate::machine::outcome::Fault;
use crate::plan::HostPolicy;

/// Gathers the facts of a host. With `refresh` package lists are refreshed first; without, nothing at all is changed.
///
/// # Errors
/// A node that can't be reached, or whose identity over API and SSH differs. A guest that can't be looked into is a fact.
pub async fn discover(cx: &Context, policy: &HostPolicy, refresh: bool) -> Result<HostFacts, Fault> {
    let (pve, remote) = (&cx.ports.pve, &cx.ports.remote);
    let pve_version = retried(|| pve.version()).await?;
    let status = retried(|| pve.cluster_status()).await?;
    let node = local_node(policy, &status)?;
    let identity = retried(|| remote.identity(&Place::Node)).await?;
    same_machine(&node, &identity.hostname)?;
    let ca = ClusterId::new(retried(|| pve.ca_fingerprint(&node)).await?);
    let services = retried(|| pve.services(&node)).await?;
    let backup_storages = retried(|| pve.backup_storages(&node)).await?;
    let pools = retried(|| pve.pools(&node)).await?;
    let listed = retried(|| pve.guests(&node)).await?;
    let os = inspect(cx, &Place::Node, refresh)
        .await
        .map_err(|fault| Fault { what: format!("the node's packages: {}", fault.what), ..fault })?;
    let resources = retried(|| pve.resources()).await?;
    let resources = resources.into_iter().map(|resource| (resource.id, resource)).collect();
    let around = Around { policy, node: &node, pools: &pools, resources: &resources, refresh };
    let mut guests: Vec<GuestFacts> = stream::iter(listed)
        .map(|guest| look_at(cx, &around, guest))
        .buffer_unordered(cx.limits.lookers)
        .collect::<Vec<Result<GuestFacts, Fault>>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    guests.sort_by_key(|guest| guest.id);
    Ok(HostFacts {
        pve_version,
        cluster: status.name.map(|name| ClusterFacts {
            id: ca.clone(),
            name,
            quorate: status.quorate,
            nodes: status.nodes.into_iter().map(|node| (node.name, node.online)).collect(),
        }),
        node,
        ca,
        seen_at: cx.clock.now(),
        os,
        services_running: services.into_iter().filter(|service| service.running).map(|service| service.name).collect(),
        guests,
        backup_storages,
        state: NodeState { own_boot: cx.own_boot.clone(), ..NodeState::default() },
    })
}

/// Returns which node answers: the one marked `local`. One that the manifest names differently is refused by the planner.
fn local_node(policy: &HostPolicy, status: &ClusterStatus) -> Result<NodeName, Fault> {
    let local: Vec<&NodeName> = status.nodes.iter().filter(|node| node.local).map(|node| &node.name).collect();
    match (local.as_slice(), &policy.node) {
        ([one], _) => Ok((*one).clone()),
        (_, Some(named)) if status.nodes.iter().any(|node| node.name == *named) => Ok(named.clone()),
        _ => Err(Fault::identity("the API does not say which node answers (cluster/status marks none as local)")
            .hint("set api.node to the node's name")),
    }
}

/// Makes sure that API and SSH lead to one machine. `hostname` may be fully qualified.
pub(super) fn same_machine(node: &NodeName, hostname: &str) -> Result<(), Fault> {
    let short = hostname.split('.').next().unwrap_or(hostname);
    if short.eq_ignore_ascii_case(node.as_str()) {
        return Ok(());
    }
    Err(Fault::identity(format!("the API answers as node {node}, but SSH leads to {hostname}"))
        .hint("`host`, `ssh.extra_args` and `api.port` of the entry must lead to one and the same node"))
}

async fn inspect(cx: &Context, place: &Place, refresh: bool) -> Result<crate::inventory::OsFacts, Fault> {
    retried(|| cx.ports.remote.inspect(place, refresh)).await
}
