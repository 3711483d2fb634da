//! Makes a host's plan from policy and facts: pure, total, and the only place where it is decided what happens to a guest.

use super::{
    Baseline, Decision, GuestAddr, GuestPlan, GuestUpgrade, HostPlan, HostPolicy, HostUpgrade, ProtectBy, SkipReason,
};
use crate::ids::{GuestKind, HostId};
use crate::inventory::{GuestFacts, HostFacts, Inside, Power};

/// Packages without which a node is no node any more: an upgrade that would remove one is never begun.
const ESSENTIAL: [&str; 4] = ["proxmox-ve", "pve-manager", "proxmox-default-kernel", "pve-kernel"];

/// Makes the plan of one host. `same_node` names another entry of the manifest that turned out to be the same node.
pub fn plan_host(policy: &HostPolicy, facts: &HostFacts, same_node: Option<&HostId>) -> HostPlan {
    HostPlan {
        node: facts.node.clone(),
        ca: facts.ca.clone(),
        cluster: facts.cluster.as_ref().map(|cluster| cluster.id.clone()),
        refusal: refusal(policy, facts, same_node),
        facts_at: facts.seen_at,
        guests: facts.guests.iter().map(|guest| plan_guest(policy, facts, guest)).collect(),
        upgrade: HostUpgrade {
            manager: facts.os.manager,
            pending: facts.os.pending.clone(),
            lists_refreshed: facts.os.lists_refreshed,
            reboot_wanted: facts.os.reboot_wanted.clone(),
        },
        baseline: Baseline {
            services: facts.services_running.clone(),
            running: facts
                .guests
                .iter()
                .filter(|guest| guest.power == Power::Running && !guest.template)
                .map(|guest| (guest.id, guest.kind))
                .collect(),
            boot_id: facts.os.boot_id.clone(),
        },
    }
}

/// Finds out why a whole host may not be touched.
fn refusal(policy: &HostPolicy, facts: &HostFacts, same_node: Option<&HostId>) -> Option<String> {
    if let Some(other) = same_node {
        return Some(format!("is the same node ({}) as the entry {other}", facts.node));
    }
    if let Some(wanted) = policy.node.as_ref().filter(|wanted| **wanted != facts.node) {
        return Some(format!("the manifest says node {wanted}, but it answers as {}", facts.node));
    }
    if let Some(lost) =
        facts.os.pending.iter().find(|change| change.new.is_none() && ESSENTIAL.contains(&change.name.as_str()))
    {
        return Some(format!(
            "the pending upgrade of the node would remove {}: its repositories don't fit together",
            lost.name
        ));
    }
    let cluster = facts.cluster.as_ref()?;
    if !cluster.quorate {
        return Some(format!("cluster {} has no quorum", cluster.name));
    }
    let offline: Vec<&str> =
        cluster.nodes.iter().filter(|(_, online)| !**online).map(|(name, _)| name.as_str()).collect();
    (!offline.is_empty())
        .then(|| format!("cluster {} has a node offline already: {}", cluster.name, offline.join(", ")))
}

fn plan_guest(policy: &HostPolicy, facts: &HostFacts, guest: &GuestFacts) -> GuestPlan {
    GuestPlan {
        guest: GuestAddr { node: facts.node.clone(), kind: guest.kind, id: guest.id, identity: guest.identity.clone() },
        name: guest.name.clone(),
        decision: decide(policy, facts, guest),
    }
}

fn decide(policy: &HostPolicy, facts: &HostFacts, guest: &GuestFacts) -> Decision {
    if policy.unmanaged.contains(&guest.id) {
        return Decision::Skip(SkipReason::NotManaged);
    }
    if guest.template {
        return Decision::Skip(SkipReason::Template);
    }
    if guest.power != Power::Running {
        return Decision::Skip(SkipReason::Stopped);
    }
    let (via, os) = match &guest.inside {
        Inside::Seen { via, os } => (via, os),
        Inside::NotLooked => return Decision::Block("it was not looked into".to_owned()),
        Inside::Unreachable(why) => return Decision::Block(format!("not reachable: {why}")),
        Inside::NoWayIn(why) if policy.declared.contains(&guest.id) => {
            return Decision::Block(format!("declared managed, but there is no way in: {why}"));
        }
        Inside::NoWayIn(why) => return Decision::Skip(SkipReason::NoWayIn(why.clone())),
    };
    let Some(manager) = os.manager else {
        return Decision::Skip(SkipReason::UnsupportedOs(os.pretty_name.clone()));
    };
    if os.pending.is_empty() {
        return Decision::Skip(SkipReason::NothingPending);
    }
    if let Some(lock) = &guest.lock {
        return Decision::Block(format!("locked ({lock}): something else works on it"));
    }
    match protection(facts, guest) {
        Ok(protection) => Decision::Upgrade(GuestUpgrade {
            via: via.clone(),
            manager,
            pending: os.pending.clone(),
            lists_refreshed: os.lists_refreshed,
            protection,
            not_covered: guest.not_backed_up.clone(),
            boot_id: os.boot_id.clone(),
        }),
        Err(why) => Decision::Block(why),
    }
}

/// Chooses how a guest is protected, best way first; an error says why it can't be.
///
/// vzdump in mode `snapshot` of a CT whose storage has no snapshots silently becomes `suspend`, which freezes the CT:
/// that is never done unasked, so such a CT can't be protected here.
fn protection(facts: &HostFacts, guest: &GuestFacts) -> Result<Vec<ProtectBy>, String> {
    let backup = backup_storage(facts, guest);
    match (guest.can_snapshot, guest.kind, backup) {
        (true, _, Ok(storage)) => Ok(vec![ProtectBy::Snapshot, ProtectBy::Backup { storage }]),
        (true, _, Err(_)) => Ok(vec![ProtectBy::Snapshot]),
        (false, GuestKind::Vm, Ok(storage)) => Ok(vec![ProtectBy::Backup { storage }]),
        (false, GuestKind::Vm, Err(why)) => Err(format!("can't be protected: its storage has no snapshots, and {why}")),
        (false, GuestKind::Ct, _) => {
            Err("can't be protected: its storage has no snapshots, and a backup would suspend the container".to_owned())
        }
    }
}

/// Picks the storage with the most room, if an archive as large as the guest's disk would fit.
fn backup_storage(facts: &HostFacts, guest: &GuestFacts) -> Result<String, String> {
    let Some(storage) = facts.backup_storages.first() else {
        return Err("no active storage takes backups".to_owned());
    };
    if storage.available < guest.disk_bytes {
        return Err(format!(
            "no storage has room for a backup ({} on {}, {} needed at worst)",
            human_bytes(storage.available),
            storage.name,
            human_bytes(guest.disk_bytes)
        ));
    }
    Ok(storage.name.clone())
}

/// Writes a size in GiB with one digit: what disks and dumps are measured in.
fn human_bytes(bytes: u64) -> String {
    let tenths = bytes / (1024 * 1024 * 1024 / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}
