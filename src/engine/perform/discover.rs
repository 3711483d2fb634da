//! Gathers the facts of a host: who it is, what runs on it, what is pending.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};

use super::{Context, guest_ref};
use crate::choices::ViaChoice;
use crate::engine::port::{ClusterStatus, GuestConfig, GuestListing, GuestRef, Place};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{ClusterId, GuestKind, NodeName, SnapshotName, StepKey};
use crate::inventory::{ClusterFacts, GuestFacts, HostFacts, Inside, NodeState, PoolFacts, Power, Via};
use crate::machine::outcome::{Detail, Fault, Outcome};
use crate::plan::{GuestAddr, HostPolicy};

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
    let mut guests: Vec<GuestFacts> = stream::iter(listed)
        .map(|guest| look_at(cx, policy, &node, &pools, guest, refresh))
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

/// Looks at one guest. Only a failing API is an error: what is wrong within the guest is a fact about it.
async fn look_at(
    cx: &Context,
    policy: &HostPolicy,
    node: &NodeName,
    pools: &[PoolFacts],
    guest: GuestListing,
    refresh: bool,
) -> Result<GuestFacts, Fault> {
    let at = GuestRef { node: node.clone(), kind: guest.kind, id: guest.id };
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    let own_snapshots = if guest.template || policy.unmanaged.contains(&guest.id) {
        Vec::new()
    } else {
        let all = retried(|| cx.ports.pve.snapshots(&at)).await?;
        let own = |name: &SnapshotName| name.as_str().starts_with(StepKey::SNAPSHOT_PREFIX);
        all.into_iter().map(|snapshot| snapshot.name).filter(own).collect()
    };
    let looked_into = guest.power == Power::Running && !guest.template && !policy.unmanaged.contains(&guest.id);
    let identity = identity_of(guest.kind, &config);
    let (can_snapshot, inside) = if looked_into {
        let can_snapshot = retried(|| cx.ports.pve.can_snapshot(&at)).await?;
        (can_snapshot, look_inside(cx, &at, identity.as_deref(), &config, refresh).await)
    } else if !guest.template && !policy.unmanaged.contains(&guest.id) {
        // It may be started to be upgraded.
        (retried(|| cx.ports.pve.can_snapshot(&at)).await?, Inside::NotLooked)
    } else {
        (false, Inside::NotLooked)
    };
    Ok(GuestFacts {
        id: guest.id,
        kind: guest.kind,
        name: guest.name,
        identity,
        power: guest.power,
        template: guest.template,
        lock: guest.lock.or_else(|| config.0.get("lock").cloned()),
        can_snapshot,
        pool: fullest_pool(&config, pools),
        own_snapshots,
        not_backed_up: not_backed_up(guest.kind, &config),
        disk_bytes: guest.disk_bytes,
        tags: Vec::new(),
        resource_pool: None,
        ha: false,
        inside,
    })
}

async fn look_inside(
    cx: &Context,
    at: &GuestRef,
    identity: Option<&str>,
    config: &GuestConfig,
    refresh: bool,
) -> Inside {
    if at.kind == GuestKind::Ct {
        return match inspect(cx, &Place::Ct(at.id), refresh).await {
            Ok(os) => Inside::Seen { via: Via::Pct, os: Box::new(os) },
            Err(fault) => Inside::Unreachable(fault.what),
        };
    }
    let Some(uuid) = identity else {
        return Inside::NoWayIn("its config has no smbios1 uuid to know it by".to_owned());
    };
    let addresses = match addresses(cx, at, config).await {
        Ok(addresses) => addresses,
        Err(fault) => return Inside::Unreachable(fault.what),
    };
    if addresses.is_empty() {
        return Inside::NoWayIn("no address is known (no guest agent, none in the manifest)".to_owned());
    }
    let mut failures = BTreeMap::new();
    for address in addresses {
        let place = Place::Ssh(at.id, address.clone());
        match cx.ports.remote.identity(&place).await {
            Ok(found) if found.product_uuid.as_deref() == Some(uuid) => {
                return match inspect(cx, &place, refresh).await {
                    Ok(os) => Inside::Seen { via: Via::Ssh { address }, os: Box::new(os) },
                    Err(fault) => Inside::Unreachable(format!("{address}: {}", fault.what)),
                };
            }
            Ok(found) => {
                failures.insert(address, format!("is another machine ({})", found.hostname));
            }
            Err(fault) => {
                failures.insert(address, fault.what);
            }
        }
    }
    let all: Vec<String> = failures.into_iter().map(|(address, why)| format!("{address} {why}")).collect();
    Inside::Unreachable(all.join("; "))
}

/// Lists the addresses to try: the manifest's first, then what the agent says. An address is a hint and proves nothing.
async fn addresses(cx: &Context, at: &GuestRef, config: &GuestConfig) -> Result<Vec<String>, Fault> {
    /// How many addresses are tried: a VM with docker lists dozens.
    const MOST: usize = 6;
    let mut all = cx.ports.addresses.get(&at.id).cloned().unwrap_or_default();
    if agent_enabled(config) {
        for address in retried(|| cx.ports.pve.vm_addresses(at)).await? {
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    all.truncate(MOST);
    Ok(all)
}

/// Reads whether the guest agent is enabled: `agent` is a property string (`1`, `enabled=1,fstrim_cloned_disks=1`).
fn agent_enabled(config: &GuestConfig) -> bool {
    let Some(agent) = config.0.get("agent") else { return false };
    agent.split(',').any(|part| matches!(part.trim(), "1" | "enabled=1"))
}

/// Returns what makes a guest this guest, from its config: a VM's `smbios1` uuid; a CT's root volume and MAC addresses,
/// which a clone or a guest made anew under the same vmid does not share.
pub fn identity_of(kind: GuestKind, config: &GuestConfig) -> Option<String> {
    match kind {
        GuestKind::Vm => {
            let smbios = config.0.get("smbios1")?;
            let uuid = smbios.split(',').find_map(|part| part.trim().strip_prefix("uuid="))?;
            Some(uuid.to_ascii_lowercase())
        }
        GuestKind::Ct => {
            let volume = config.0.get("rootfs")?.split(',').next()?.to_owned();
            let macs = config.0.iter().filter(|(key, _)| key.starts_with("net")).filter_map(|(_, value)| {
                value.split(',').find_map(|part| part.trim().strip_prefix("hwaddr=")).map(str::to_ascii_lowercase)
            });
            Some(macs.fold(volume, |all, mac| format!("{all} {mac}")))
        }
    }
}

/// Returns the fullest of the storages that hold a guest's disks: the part before the colon of each volume.
fn fullest_pool(config: &GuestConfig, pools: &[PoolFacts]) -> Option<PoolFacts> {
    let holds = |pool: &&PoolFacts| {
        config.0.iter().any(|(key, value)| {
            let disk = ["rootfs", "mp", "scsi", "virtio", "sata", "ide", "efidisk", "tpmstate"]
                .iter()
                .any(|kind| key.strip_prefix(kind).is_some_and(|n| n.chars().all(|c| c.is_ascii_digit())));
            let cdrom = value.split(',').any(|part| part.trim() == "media=cdrom");
            disk && !cdrom && value.split_once(':').is_some_and(|(storage, _)| storage == pool.name)
        })
    };
    // Compared by the free share, without division: a/b < c/d where a*d < c*b.
    let fuller = |a: &&PoolFacts, b: &&PoolFacts| {
        let share = |x: &PoolFacts, y: &PoolFacts| u128::from(x.available) * u128::from(y.total);
        share(a, b).cmp(&share(b, a))
    };
    pools.iter().filter(|pool| pool.total > 0).filter(holds).min_by(fuller).cloned()
}

/// Names the volumes that a backup would leave out: for a CT mount points that are not marked (bind mounts always), for
/// a VM disks with `backup=0`.
fn not_backed_up(kind: GuestKind, config: &GuestConfig) -> Vec<String> {
    let left_out = |key: &str, value: &str| match kind {
        GuestKind::Ct => {
            let mount = key.strip_prefix("mp").is_some_and(|n| n.parse::<u32>().is_ok());
            mount && (value.starts_with('/') || !value.split(',').any(|part| part.trim() == "backup=1"))
        }
        GuestKind::Vm => value.split(',').any(|part| part.trim() == "backup=0"),
    };
    config
        .0
        .iter()
        .filter(|(key, value)| left_out(key, value))
        .map(|(key, value)| format!("{key} ({})", value.split(',').next().unwrap_or(value)))
        .collect()
}

/// Waits until a guest that was started answers, and looks what is pending there. One that does not answer within `limits.boot`
/// is what it was seen to be last.
pub(super) async fn started(cx: &Context, guest: &GuestAddr, _via: ViaChoice) -> Outcome {
    let at = guest_ref(guest);
    let config = match retried(|| cx.ports.pve.guest_config(&at)).await {
        Ok(config) => config,
        Err(fault) => return Outcome::Failed(fault),
    };
    let identity = identity_of(guest.kind, &config);
    let mut backoff = Backoff::within(cx.limits.boot);
    loop {
        let inside = look_inside(cx, &at, identity.as_deref(), &config, true).await;
        if matches!(inside, Inside::Seen { .. }) || !backoff.pause().await {
            return Outcome::Done(Detail::Looked(Box::new(inside)));
        }
    }
}
