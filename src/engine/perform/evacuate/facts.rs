//! What moving the guests of a node away rests on: where each may go, what binds it to its node, and how much room there is.
//! Looks only.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use super::{managed_by_ha, rooms};
use crate::engine::perform::{Context, identity_of};
use crate::engine::port::{GuestConfig, GuestListing, GuestRef, Preconditions, Stock, StorageStock};
use crate::engine::wait::retried;
use crate::ids::{GuestId, GuestKind, NodeName};
use crate::inventory::{EvacuationFacts, LocalVolume, MovableFacts, Power};
use crate::machine::outcome::Fault;

/// Gathers what moving the guests of a node away rests on. Changes nothing.
///
/// # Errors
/// Something could not be asked: what is not known is not risked.
pub(in crate::engine::perform) async fn facts(
    cx: &Context,
    node: &NodeName,
    listed: &[GuestListing],
) -> Result<EvacuationFacts, Fault> {
    let stock = retried(|| cx.ports.pve.stock()).await?;
    let resting = retried(|| cx.ports.pve.in_maintenance()).await?;
    let ha = managed_by_ha(cx).await?;
    let runs = |guest: &&GuestListing| !guest.template && guest.power != Power::Stopped;
    let running: Vec<GuestListing> = listed.iter().filter(runs).cloned().collect();
    let around = Around { node, stock: &stock, ha: &ha };
    let mut guests: Vec<MovableFacts> = stream::iter(running)
        .map(|guest| look_at(cx, &around, guest))
        .buffer_unordered(cx.limits.lookers)
        .collect::<Vec<Result<MovableFacts, Fault>>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    guests.sort_by_key(|guest| guest.id);
    let mut nodes = rooms(&stock, &resting);
    nodes.retain(|other| other.name != *node);
    Ok(EvacuationFacts { maintenance: resting.contains(node), nodes, guests })
}

/// What is known of a guest's surroundings.
struct Around<'a> {
    node: &'a NodeName,
    stock: &'a Stock,
    ha: &'a BTreeSet<GuestId>,
}

async fn look_at(cx: &Context, around: &Around<'_>, guest: GuestListing) -> Result<MovableFacts, Fault> {
    let Around { node, stock, ha } = *around;
    let at = GuestRef { node: node.clone(), kind: guest.kind, id: guest.id };
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    // Of a guest that is locked Proxmox VE says nothing: a lock passes, and is waited for before anything is moved.
    let told = match guest.lock {
        Some(_) => None,
        None => retried(|| cx.ports.pve.preconditions(&at)).await?,
    };
    let Preconditions { allowed, refused, mut bound } = told.unwrap_or_default();
    bound.extend(bound_by(guest.kind, &config));
    let volumes = storages_of(guest.kind, &config);
    let here: Vec<&StorageStock> = stock.storages.iter().filter(|storage| storage.node == *node).collect();
    let local: Vec<LocalVolume> = here
        .iter()
        .filter(|storage| !storage.shared && volumes.contains(&storage.name))
        .map(|storage| LocalVolume {
            storage: storage.name.clone(),
            with_snapshots: matches!(storage.kind.as_str(), "zfspool" | "btrfs"),
        })
        .collect();
    let snapshots = match local.is_empty() {
        true => Vec::new(),
        false => retried(|| cx.ports.pve.snapshots(&at)).await?.into_iter().map(|snapshot| snapshot.name).collect(),
    };
    let listed = stock.guests.iter().find(|listed| listed.id == guest.id);
    let memory = listed.map(|listed| listed.memory).filter(|memory| *memory > 0);
    let memory = memory.ok_or_else(|| {
        Fault::permanent(format!("the memory of {} {} is not told: it can't be sized", guest.kind, guest.id))
    })?;
    Ok(MovableFacts {
        id: guest.id,
        kind: guest.kind,
        identity: identity_of(guest.kind, &config),
        ha: ha.contains(&guest.id),
        name: guest.name,
        paused: guest.power == Power::Other,
        memory,
        storages: volumes,
        local,
        snapshots,
        bound,
        allowed,
        refused,
    })
}

/// Returns the storages that a guest's volumes are on, those that it does not use now as well: they move with it.
fn storages_of(kind: GuestKind, config: &GuestConfig) -> BTreeSet<String> {
    let keys: &[&str] = match kind {
        GuestKind::Ct => &["rootfs", "mp", "unused"],
        GuestKind::Vm => &["scsi", "virtio", "sata", "ide", "efidisk", "tpmstate", "unused"],
    };
    let volumes = config.0.iter().filter(|(key, value)| is_one_of(key, keys) && !is_cdrom(value));
    let named = volumes.filter_map(|(_, value)| value.split(',').next()?.split_once(':'));
    named.map(|(storage, _)| storage.trim_start_matches("file=").to_owned()).collect()
}

/// Names what of a container's config binds it to its node: directories and devices of the node. A VM's are told by Proxmox VE.
fn bound_by(kind: GuestKind, config: &GuestConfig) -> Vec<String> {
    let binds = |key: &str, value: &str| {
        let shared = value.split(',').any(|part| part.trim() == "shared=1");
        (is_one_of(key, &["mp"]) && value.starts_with('/') && !shared) || is_one_of(key, &["dev"])
    };
    let binding = config.0.iter().filter(|(key, value)| kind == GuestKind::Ct && binds(key, value));
    binding.map(|(key, value)| format!("{key} ({})", value.split(',').next().unwrap_or(value))).collect()
}

fn is_one_of(key: &str, kinds: &[&str]) -> bool {
    let numbered = |n: &str| n.chars().all(|c| c.is_ascii_digit());
    kinds.iter().any(|kind| key.strip_prefix(kind).is_some_and(numbered))
}

fn is_cdrom(value: &str) -> bool {
    value.split(',').any(|part| part.trim() == "media=cdrom")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> GuestConfig {
        GuestConfig(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn storages_and_what_binds_a_guest_are_read_from_its_config() {
        let ct = config(&[
            ("rootfs", "thin:vm-101-disk-0,size=8G"),
            ("mp0", "nfs:101/vm-101-disk-1.raw,mp=/srv"),
            ("mp1", "/mnt/pictures,mp=/pictures"),
            ("mp2", "/mnt/everywhere,mp=/e,shared=1"),
            ("dev0", "/dev/ttyUSB0"),
            ("net0", "name=eth0,bridge=vmbr0:1"),
        ]);
        let storages: Vec<String> = storages_of(GuestKind::Ct, &ct).into_iter().collect();
        assert_eq!(storages, ["nfs", "thin"]);
        assert_eq!(bound_by(GuestKind::Ct, &ct), ["dev0 (/dev/ttyUSB0)", "mp1 (/mnt/pictures)"]);
        let vm = config(&[
            ("scsi0", "file=ceph:vm-201-disk-0,size=8G"),
            ("ide2", "local:iso/debian.iso,media=cdrom"),
            ("scsihw", "virtio-scsi-single"),
            ("unused0", "thin:vm-201-disk-9"),
        ]);
        let storages: Vec<String> = storages_of(GuestKind::Vm, &vm).into_iter().collect();
        assert_eq!(storages, ["ceph", "thin"]);
    }
}
