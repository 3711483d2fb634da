//! Makes a host's plan from policy and facts: pure, total, and the only place where it is decided what happens to a guest.

use super::{
    Baseline, Decision, GuestAddr, GuestPlan, GuestUpgrade, HostPlan, HostPolicy, HostUpgrade, OldSnapshot, ProtectBy,
    SkipReason,
};
use crate::ids::{GuestKind, HostId};
use crate::inventory::{GuestFacts, HostFacts, Inside, PoolFacts, Power};

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
        prune: Vec::new(),
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

/// Picks those of the old snapshots that are there still, on the very guest that they were made of. A guest that is not
/// managed, or that something else works on, keeps what it has.
pub fn prunable(policy: &HostPolicy, facts: &HostFacts, old: &[OldSnapshot]) -> Vec<OldSnapshot> {
    let still_there = |old: &&OldSnapshot| {
        facts.guests.iter().any(|guest| {
            guest.id == old.guest.id
                && guest.kind == old.guest.kind
                && guest.identity.is_some()
                && guest.identity == old.guest.identity
                && guest.lock.is_none()
                && !policy.unmanaged.contains(&guest.id)
                && guest.own_snapshots.contains(&old.name)
        })
    };
    let here = |old: &OldSnapshot| OldSnapshot {
        guest: GuestAddr { node: facts.node.clone(), ..old.guest.clone() },
        name: old.name.clone(),
    };
    old.iter().filter(still_there).map(here).collect()
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
    if let Some(pool) = guest.pool.as_ref().filter(|pool| is_nearly_full(pool)) {
        return Err(format!(
            "can't be protected: storage {} is nearly full ({} of {} free), and a snapshot could fill it up",
            pool.name,
            human_bytes(pool.available),
            human_bytes(pool.total)
        ));
    }
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

/// Tells whether a pool has less than a twentieth of its room left: an upgrade writes some hundred megabytes that a snapshot
/// keeps twice, and a full pool breaks every guest on it.
fn is_nearly_full(pool: &PoolFacts) -> bool {
    pool.available < pool.total / 20
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::ids::{BootId, ClusterId, GuestId, NodeName, SnapshotName};
    use crate::inventory::{ClusterFacts, OsFacts, PackageChange, PackageManager, StorageFacts, Via};
    use crate::time::Timestamp;

    const GIB: u64 = 1 << 30;

    fn change(name: &str, new: Option<&str>) -> PackageChange {
        PackageChange { name: name.to_owned(), old: Some("1".to_owned()), new: new.map(str::to_owned) }
    }

    fn os(pending: Vec<PackageChange>) -> OsFacts {
        OsFacts {
            id: "debian".to_owned(),
            id_like: Vec::new(),
            pretty_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            manager: Some(PackageManager::Apt),
            pending,
            held: Vec::new(),
            lists_refreshed: None,
            kernel: "6.8".to_owned(),
            boot_id: BootId::new("boot"),
            reboot_wanted: None,
        }
    }

    fn guest(kind: GuestKind) -> GuestFacts {
        GuestFacts {
            id: GuestId(101),
            kind,
            name: "web".to_owned(),
            identity: Some("x".to_owned()),
            power: Power::Running,
            template: false,
            lock: None,
            can_snapshot: true,
            pool: None,
            own_snapshots: Vec::new(),
            not_backed_up: Vec::new(),
            disk_bytes: 8 * GIB,
            inside: Inside::Seen { via: Via::Pct, os: Box::new(os(vec![change("openssl", Some("2"))])) },
        }
    }

    fn facts(guest: GuestFacts) -> HostFacts {
        HostFacts {
            node: NodeName::new("pve1"),
            pve_version: "9.2".to_owned(),
            ca: ClusterId::new("AA"),
            cluster: None,
            seen_at: Timestamp(0),
            os: os(Vec::new()),
            services_running: Vec::new(),
            guests: vec![guest],
            backup_storages: vec![StorageFacts { name: "local".to_owned(), available: 100 * GIB }],
        }
    }

    fn policy() -> HostPolicy {
        HostPolicy {
            host: HostId::new("pve1"),
            node: None,
            max_parallel: 2,
            unmanaged: BTreeSet::new(),
            declared: BTreeSet::new(),
            protect_max_age_ms: 3_600_000,
        }
    }

    fn decision(guest: GuestFacts) -> Decision {
        plan_host(&policy(), &facts(guest), None).guests.remove(0).decision
    }

    fn protection_of(decision: &Decision) -> Vec<String> {
        match decision {
            Decision::Upgrade(upgrade) => upgrade.protection.iter().map(ToString::to_string).collect(),
            other => panic!("not upgraded: {other:?}"),
        }
    }

    #[test]
    fn a_snapshot_comes_before_a_backup() {
        assert_eq!(protection_of(&decision(guest(GuestKind::Vm))), ["snapshot", "backup to local"]);
    }

    #[test]
    fn a_vm_without_snapshots_is_backed_up_and_a_container_is_blocked() {
        let without = |kind| GuestFacts { can_snapshot: false, ..guest(kind) };
        assert_eq!(protection_of(&decision(without(GuestKind::Vm))), ["backup to local"]);
        assert!(matches!(decision(without(GuestKind::Ct)), Decision::Block(why) if why.contains("suspend")));
    }

    #[test]
    fn a_backup_needs_room_for_the_whole_disk() {
        let vm = GuestFacts { can_snapshot: false, disk_bytes: 101 * GIB, ..guest(GuestKind::Vm) };
        assert!(matches!(decision(vm), Decision::Block(why) if why.contains("100.0 GiB on local")), "no room");
    }

    #[test]
    fn a_nearly_full_pool_is_not_filled_up_by_a_snapshot() {
        let pool = |available| Some(PoolFacts { name: "thin".to_owned(), available, total: 100 * GIB });
        let full = GuestFacts { pool: pool(4 * GIB), ..guest(GuestKind::Ct) };
        assert!(
            matches!(decision(full), Decision::Block(why) if why.contains("thin is nearly full (4.0 GiB of 100.0 GiB"))
        );
        let roomy = GuestFacts { pool: pool(5 * GIB), ..guest(GuestKind::Ct) };
        assert!(matches!(decision(roomy), Decision::Upgrade(_)));
    }

    #[test]
    fn a_guest_is_left_alone_for_the_first_reason_that_holds() {
        let stopped = GuestFacts { power: Power::Stopped, inside: Inside::NotLooked, ..guest(GuestKind::Ct) };
        assert_eq!(decision(stopped.clone()), Decision::Skip(SkipReason::Stopped));
        assert_eq!(decision(GuestFacts { template: true, ..stopped }), Decision::Skip(SkipReason::Template));
        let idle = Inside::Seen { via: Via::Pct, os: Box::new(os(Vec::new())) };
        let idle = GuestFacts { inside: idle, lock: Some("backup".to_owned()), ..guest(GuestKind::Ct) };
        assert_eq!(decision(idle), Decision::Skip(SkipReason::NothingPending), "a lock matters to nobody then");
        let locked = GuestFacts { lock: Some("backup".to_owned()), ..guest(GuestKind::Ct) };
        assert!(matches!(decision(locked), Decision::Block(why) if why.starts_with("locked (backup)")));
    }

    #[test]
    fn no_way_in_is_a_block_only_where_the_guest_is_declared_managed() {
        let closed = || GuestFacts { inside: Inside::NoWayIn("no address".to_owned()), ..guest(GuestKind::Vm) };
        assert!(matches!(decision(closed()), Decision::Skip(SkipReason::NoWayIn(_))));
        let declared = HostPolicy { declared: BTreeSet::from([GuestId(101)]), ..policy() };
        let plan = plan_host(&declared, &facts(closed()), None);
        assert!(matches!(&plan.guests[0].decision, Decision::Block(_)));
        let unmanaged = HostPolicy { unmanaged: BTreeSet::from([GuestId(101)]), ..policy() };
        let plan = plan_host(&unmanaged, &facts(closed()), None);
        assert_eq!(plan.guests[0].decision, Decision::Skip(SkipReason::NotManaged));
    }

    #[test]
    fn a_whole_host_is_refused_for_what_makes_every_change_dangerous() {
        let cluster = |quorate, online| {
            let nodes = BTreeMap::from([(NodeName::new("pve1"), true), (NodeName::new("pve2"), online)]);
            Some(ClusterFacts { id: ClusterId::new("AA"), name: "lab".to_owned(), quorate, nodes })
        };
        let refusal = |change: &dyn Fn(&mut HostFacts), same: Option<&HostId>, policy: &HostPolicy| {
            let mut facts = facts(guest(GuestKind::Ct));
            change(&mut facts);
            plan_host(policy, &facts, same).refusal.unwrap_or_default()
        };
        assert_eq!(refusal(&|f| f.cluster = cluster(true, true), None, &policy()), "");
        assert!(refusal(&|f| f.cluster = cluster(false, true), None, &policy()).contains("no quorum"));
        assert!(refusal(&|f| f.cluster = cluster(true, false), None, &policy()).contains("offline already: pve2"));
        assert!(refusal(&|_| {}, Some(&HostId::new("twin")), &policy()).contains("same node (pve1) as the entry twin"));
        let other = HostPolicy { node: Some(NodeName::new("pve9")), ..policy() };
        assert!(refusal(&|_| {}, None, &other).contains("says node pve9"));
        let removal = |f: &mut HostFacts| f.os.pending = vec![change("proxmox-ve", None)];
        assert!(refusal(&removal, None, &policy()).contains("would remove proxmox-ve"));
    }

    #[test]
    fn only_what_the_journal_knows_is_removed_and_only_from_the_same_guest() {
        let name = |text: &str| SnapshotName::new(text);
        let old = |identity: &str, snapshot: &str| OldSnapshot {
            guest: GuestAddr {
                node: NodeName::new("elsewhere"),
                kind: GuestKind::Ct,
                id: GuestId(101),
                identity: Some(identity.to_owned()),
            },
            name: name(snapshot),
        };
        let has = GuestFacts { own_snapshots: vec![name("pm-a-r1"), name("pm-b-r1")], ..guest(GuestKind::Ct) };
        let known = [old("x", "pm-a-r1"), old("x", "pm-gone-r1"), old("another", "pm-b-r1")];
        let found = prunable(&policy(), &facts(has.clone()), &known);
        let names: Vec<&str> = found.iter().map(|old| old.name.as_str()).collect();
        assert_eq!(names, ["pm-a-r1"]);
        assert_eq!(found[0].guest.node, NodeName::new("pve1"), "it is removed where the guest is now");
        let locked = GuestFacts { lock: Some("backup".to_owned()), ..has.clone() };
        assert!(prunable(&policy(), &facts(locked), &known).is_empty());
        let unmanaged = HostPolicy { unmanaged: BTreeSet::from([GuestId(101)]), ..policy() };
        assert!(prunable(&unmanaged, &facts(has), &known).is_empty());
    }
}
