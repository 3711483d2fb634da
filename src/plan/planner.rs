//! Makes a host's plan from policy and facts: pure, total, and the only place where it is decided what happens to a guest.

use super::evacuation::{Stuck, choose};
use super::policy::PRUNE_ONLY;
use super::preflight::{Check, Finding, Level, preflight, quorum};
use super::quorum::Verdict;
use super::{
    AtReboot, BackupHow, Baseline, Decision, GuestAddr, GuestPlan, GuestSettings, GuestStart, GuestUpgrade, HeldBack,
    HeldBecause, HostPlan, HostPolicy, HostUpgrade, Move, OldBackup, OldSnapshot, OwnPlace, ProtectBy, SkipReason,
};
use crate::choices::{BackupMode, GuestReboot, HostReboot, OnFailure, ProtectChoice, Scope, Stopped};
use crate::ids::{GuestKind, HostId, NodeName, SnapshotName};
use crate::inventory::{GuestFacts, HostFacts, Inside, OsFacts, PackageManager, PoolFacts, Power, Via};

/// Makes the plan of one host. `same_node` names another entry of the manifest that turned out to be the same node.
pub fn plan_host(policy: &HostPolicy, facts: &HostFacts, same_node: Option<&HostId>) -> HostPlan {
    let findings = findings(policy, facts, same_node);
    HostPlan {
        begun_elsewhere: Default::default(),
        node: facts.node.clone(),
        ca: facts.ca.clone(),
        cluster: facts.cluster.as_ref().map(|cluster| cluster.id.clone()),
        refusal: refusal(&findings),
        facts_at: facts.seen_at,
        guests: facts.guests.iter().map(|guest| plan_guest(policy, facts, guest)).collect(),
        prune: Vec::new(),
        prune_backups: Vec::new(),
        findings,
        own: own_place(facts),
        upgrade: HostUpgrade {
            manager: facts.os.manager,
            pending: facts.os.pending.clone(),
            lists_refreshed: facts.os.lists_refreshed,
            reboot_wanted: facts.os.reboot_wanted.clone(),
            left_out: match policy.scope {
                Scope::GuestsOnly => Some("--guests-only".to_owned()),
                Scope::PruneOnly => Some(PRUNE_ONLY.to_owned()),
                Scope::All | Scope::HostsOnly => None,
            },
            reboot: if policy.reboots() { policy.reboot } else { HostReboot::Never },
            votes: votes(policy, facts),
            guests: at_reboot(policy, facts),
            noout: policy.reboots() && facts.state.ceph.as_ref().is_some_and(|ceph| !ceph.noout),
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

/// Picks those of the old snapshots that are there still, on the very guest that they were made of.
pub fn prunable<'a>(
    policy: &HostPolicy,
    facts: &HostFacts,
    old: impl IntoIterator<Item = &'a OldSnapshot>,
) -> Vec<OldSnapshot> {
    let still_there = |old: &OldSnapshot| {
        free_guest(policy, facts, &old.guest).is_some_and(|guest| {
            guest.own_snapshots.contains(&old.name)
                && !is_among_newest(&old.name, &guest.own_snapshots, policy.keep.snapshots_last)
        })
    };
    let here = |old: &OldSnapshot| OldSnapshot { guest: on_this_node(facts, &old.guest), name: old.name.clone() };
    old.into_iter().filter(|old| still_there(old)).map(here).collect()
}

/// Picks those of the old backups whose guests are those that they were made of. Whether an archive is still there, and is
/// the one that the journal means, is looked at when it is removed: on the node where it was made, whose own its storage may be.
pub fn prunable_backups<'a>(
    policy: &HostPolicy,
    facts: &HostFacts,
    old: impl IntoIterator<Item = &'a OldBackup>,
) -> Vec<OldBackup> {
    let is_there = |node: &NodeName| facts.cluster.as_ref().is_some_and(|cluster| cluster.nodes.contains_key(node));
    let still = |old: &OldBackup| match is_there(&old.guest.node) {
        true => old.clone(),
        false => OldBackup { guest: on_this_node(facts, &old.guest), ..old.clone() },
    };
    let same_guest = |old: &&OldBackup| free_guest(policy, facts, &old.guest).is_some();
    old.into_iter().filter(same_guest).map(still).collect()
}

/// Returns the very guest that something was made of, where it is here and what was made may be removed. A guest that is not
/// managed, or that something else works on, keeps what it has.
fn free_guest<'a>(policy: &HostPolicy, facts: &'a HostFacts, made_of: &GuestAddr) -> Option<&'a GuestFacts> {
    facts.guests.iter().find(|guest| {
        guest.id == made_of.id
            && guest.kind == made_of.kind
            && guest.identity.is_some()
            && guest.identity == made_of.identity
            && guest.lock.is_none()
            && policy.may_prune(&guest.traits())
    })
}

fn on_this_node(facts: &HostFacts, guest: &GuestAddr) -> GuestAddr {
    GuestAddr { node: facts.node.clone(), ..guest.clone() }
}

/// Tells whether a snapshot is among the newest so many that are there: their names are in the order in which runs began.
fn is_among_newest(name: &SnapshotName, there: &[SnapshotName], most: u32) -> bool {
    let newer = there.iter().filter(|other| other.as_str() > name.as_str()).count();
    newer < usize::try_from(most).unwrap_or(usize::MAX)
}

/// Finds out whether proxmaint itself runs here: no two machines, and no two containers, have the same boot.
pub(super) fn own_place(facts: &HostFacts) -> Option<OwnPlace> {
    let own = facts.state.own_boot.as_ref()?;
    if facts.os.boot_id == *own {
        return Some(OwnPlace::Node);
    }
    facts.guests.iter().find(|guest| runs_here(facts, guest)).map(|guest| OwnPlace::Guest(guest.id))
}

fn runs_here(facts: &HostFacts, guest: &GuestFacts) -> bool {
    match (&guest.inside, &facts.state.own_boot) {
        (Inside::Seen { os, .. }, Some(own)) => os.boot_id == *own,
        _ => false,
    }
}

/// Sums up why a whole host may not be touched: all that the checks found failing.
fn refusal(findings: &[Finding]) -> Option<String> {
    let failing: Vec<&str> =
        findings.iter().filter(|finding| finding.level == Level::Fail).map(|finding| finding.what.as_str()).collect();
    (!failing.is_empty()).then(|| failing.join("; "))
}

/// Returns what the checks found, where it is not as it should be.
fn findings(policy: &HostPolicy, facts: &HostFacts, same_node: Option<&HostId>) -> Vec<Finding> {
    let mut findings = preflight(policy, facts);
    findings.retain(|finding| finding.level != Level::Ok);
    if let Some(other) = same_node {
        let what = format!("is the same node ({}) as the entry {other}", facts.node);
        let twin = Finding::fail(Check::Identity, what).remedy("remove one of the two entries from the manifest");
        findings.insert(0, twin);
    }
    // To remove what earlier runs left it must be the right node; the rest is about upgrades.
    if policy.scope == Scope::PruneOnly {
        findings.retain(|finding| finding.check == Check::Identity);
    }
    findings
}

/// Says what the votes of the node's cluster are while it reboots, where it may and they suffice.
fn votes(policy: &HostPolicy, facts: &HostFacts) -> Option<String> {
    let cluster = facts.cluster.as_ref().filter(|_| policy.reboots())?;
    match quorum(policy, facts, cluster)?.ok()? {
        Verdict::Kept(rest) => Some(rest.to_string()),
        Verdict::Allowed(_) | Verdict::Refused(_) => None,
    }
}

/// Says what becomes of the running guests at the node's reboot, where it may be rebooted. Where not all can be moved, a finding
/// says so.
fn at_reboot(policy: &HostPolicy, facts: &HostFacts) -> Option<AtReboot> {
    if policy.evacuates() {
        return evacuation(policy, facts)?.ok().map(AtReboot::Move);
    }
    let managed = facts.guests.iter().filter(|guest| guest.ha && guest.power == Power::Running && !guest.template);
    let ha: Vec<_> = managed.map(|guest| (guest.id, guest.kind)).collect();
    let said = facts.state.shutdown_policy.clone().filter(|_| policy.reboots() && !ha.is_empty())?;
    Some(AtReboot::Stay { ha, policy: said })
}

/// Chooses where the running guests go, where they are to be moved and that was asked. Guests that are upgraded have a snapshot by
/// the time of the reboot, where it is by a snapshot that they are protected.
pub(super) fn evacuation(policy: &HostPolicy, facts: &HostFacts) -> Option<Result<Vec<Move>, Vec<Stuck>>> {
    let around = facts.state.evacuation.as_ref().filter(|_| policy.evacuates())?;
    let by_snapshot = |decision: Decision| match decision {
        Decision::Upgrade(upgrade) => upgrade.protection.first() == Some(&ProtectBy::Snapshot),
        // One that is started only for its upgrade is off again by then.
        Decision::Start(_) | Decision::Skip(_) | Decision::Block(_) => false,
    };
    let snapshotted = facts.guests.iter().filter(|guest| by_snapshot(decide(policy, facts, guest)));
    Some(choose(&facts.node, around, &snapshotted.map(|guest| guest.id).collect()))
}

fn plan_guest(policy: &HostPolicy, facts: &HostFacts, guest: &GuestFacts) -> GuestPlan {
    GuestPlan {
        guest: GuestAddr { node: facts.node.clone(), kind: guest.kind, id: guest.id, identity: guest.identity.clone() },
        name: guest.name.clone(),
        tags: guest.tags.clone(),
        pool: guest.resource_pool.clone(),
        decision: decide(policy, facts, guest),
        own: runs_here(facts, guest),
    }
}

fn decide(policy: &HostPolicy, facts: &HostFacts, guest: &GuestFacts) -> Decision {
    let traits = guest.traits();
    if guest.template {
        return Decision::Skip(SkipReason::Template);
    }
    if let Some(reason) = policy.left_out(&traits) {
        return Decision::Skip(reason);
    }
    let settings = policy.settings_of(&traits);
    let declared = policy.is_declared(&traits);
    if guest.power != Power::Running {
        return match (settings.stopped, guest.power) {
            (Stopped::Start, Power::Stopped) if guest.ha => Decision::Block(
                "is managed by HA and requested to be stopped: it is not started behind HA's back".to_owned(),
            ),
            (Stopped::Start, Power::Stopped) if let Some(held) = held_back(policy, guest) => {
                Decision::Block(not_again(held))
            }
            (Stopped::Start, Power::Stopped) => match protection(facts, guest, &settings) {
                Ok(protection) => Decision::Start(start_of(&settings, guest, declared, protection)),
                Err(why) => Decision::Block(why),
            },
            _ => Decision::Skip(SkipReason::Stopped),
        };
    }
    if let Some(why) = no_address(&settings, guest) {
        return Decision::Block(why);
    }
    match (look(&guest.inside, declared), held_back(policy, guest)) {
        // Where nothing is pending one that was rolled back is left alone; of one that failed nobody said yet that it is well.
        (Ok(_), Some(held)) => Decision::Block(not_again(held)),
        (Err(Instead::Skip(SkipReason::NothingPending)), Some(held)) if held.why == HeldBecause::Failed => {
            Decision::Block(not_again(held))
        }
        (Err(Instead::Block(why)), Some(held)) => Decision::Block(format!("{}; now {why}", not_again(held))),
        (Err(instead), _) => instead.into(),
        (Ok(found), None) => match protection(facts, guest, &settings) {
            Ok(protection) => {
                let start = start_of(&settings, guest, declared, protection);
                Decision::Upgrade(upgrade(found, start))
            }
            Err(why) => Decision::Block(why),
        },
    }
}

/// Returns what is done with a guest once it runs, and was looked into.
fn start_of(settings: &GuestSettings, guest: &GuestFacts, declared: bool, protection: Vec<ProtectBy>) -> GuestStart {
    GuestStart {
        via: settings.via,
        protection,
        not_covered: guest.not_backed_up.clone(),
        declared,
        reboot: reboots(settings, guest.kind),
        checks: Some(settings.checks.clone()),
        rollback: rolls_back(settings),
    }
}

/// Decides about a guest that was started, by what was found in it.
pub fn decide_started(start: &GuestStart, inside: &Inside) -> Decision {
    match look(inside, start.declared) {
        Err(instead) => instead.into(),
        Ok(found) => Decision::Upgrade(upgrade(found, start.clone())),
    }
}

/// Says why a guest is not to be upgraded whose checks can't be made: nobody would know whether it does as before.
pub(super) fn no_address(settings: &GuestSettings, guest: &GuestFacts) -> Option<String> {
    let lost = settings.checks.iter().find(|check| check.needs_address() && guest.address.is_none())?;
    Some(format!("its check `{}` can't be made: no address of the guest is known", lost.name))
}

/// Tells whether a guest is rolled back where its upgrade fails: only a snapshot is gone back to.
fn rolls_back(settings: &GuestSettings) -> bool {
    settings.on_failure == OnFailure::Rollback && settings.protect.contains(&ProtectChoice::Snapshot)
}

/// Finds an earlier run that left a guest to the operator.
fn held_back<'a>(policy: &'a HostPolicy, guest: &GuestFacts) -> Option<&'a HeldBack> {
    let same = |held: &&HeldBack| {
        held.id == guest.id && held.kind == guest.kind && Some(&held.identity) == guest.identity.as_ref()
    };
    policy.held_back.iter().find(same)
}

/// Says why a guest is not to be upgraded that an earlier run left to the operator. What was pending when one was rolled back
/// broke it, and whatever is pending now very likely contains it; each try costs a hard stop. One that failed may be half upgraded,
/// and a snapshot of that protects nothing. So the operator decides, and not a changed list.
fn not_again(held: &HeldBack) -> String {
    let HeldBack { id, why, run, host, .. } = held;
    let command = format!("proxmaint resolve {run} {} {id}", shell_words::quote(host.as_str()));
    match why {
        HeldBecause::RolledBack => {
            format!("was rolled back by run {run}: `{command} --retry` lets it be tried again")
        }
        HeldBecause::Failed => format!(
            "is held since it failed in run {run}: mend it or bring it back, then `{command} --done`, or `--retry` to try again"
        ),
    }
}

/// Tells whether a guest is rebooted where it needs it. A container has no kernel of its own.
fn reboots(settings: &GuestSettings, kind: GuestKind) -> bool {
    settings.reboot == GuestReboot::IfNeeded && kind == GuestKind::Vm
}

/// Why a guest that was looked into is not upgraded.
#[must_use]
enum Instead {
    Skip(SkipReason),
    Block(String),
}

impl From<Instead> for Decision {
    fn from(instead: Instead) -> Self {
        match instead {
            Instead::Skip(reason) => Self::Skip(reason),
            Instead::Block(why) => Self::Block(why),
        }
    }
}

/// Returns the way into a guest and what was found there, if there is something to upgrade; else what happens instead.
fn look(inside: &Inside, declared: bool) -> Result<(&Via, &OsFacts, PackageManager), Instead> {
    let (via, os) = match inside {
        Inside::Seen { via, os } => (via, os),
        Inside::NotLooked => return Err(Instead::Block("it was not looked into".to_owned())),
        Inside::Unreachable(why) => return Err(Instead::Block(format!("not reachable: {why}"))),
        Inside::NoWayIn(why) if declared => {
            return Err(Instead::Block(format!("declared managed, but there is no way in: {why}")));
        }
        Inside::NoWayIn(why) => return Err(Instead::Skip(SkipReason::NoWayIn(why.clone()))),
    };
    let Some(manager) = os.manager else {
        return Err(Instead::Skip(SkipReason::UnsupportedOs(os.pretty_name.clone())));
    };
    if let Some(why) = &os.unfit {
        return Err(Instead::Block(format!("not to be upgraded: {why}")));
    }
    if os.pending.is_empty() {
        return Err(Instead::Skip(SkipReason::NothingPending));
    }
    Ok((via, os, manager))
}

fn upgrade((via, os, manager): (&Via, &OsFacts, PackageManager), start: GuestStart) -> GuestUpgrade {
    let GuestStart { via: _, protection, not_covered, declared: _, reboot, checks, rollback } = start;
    GuestUpgrade {
        via: via.clone(),
        manager,
        pending: os.pending.clone(),
        lists_refreshed: os.lists_refreshed,
        protection,
        not_covered,
        boot_id: os.boot_id.clone(),
        reboot,
        checks,
        rollback,
    }
}

/// Chooses how a guest is protected, in the order that the manifest names; an error says why it can't be.
///
/// vzdump in mode `snapshot` of a CT whose storage has no snapshots silently becomes `suspend`, which freezes the CT:
/// that is never done unasked, so such a CT can't be backed up here unless the manifest says another mode.
fn protection(facts: &HostFacts, guest: &GuestFacts, settings: &GuestSettings) -> Result<Vec<ProtectBy>, String> {
    if settings.protect == [ProtectChoice::None] {
        return Ok(vec![ProtectBy::Waived]);
    }
    // A full pool breaks every guest on it, and whatever protects this one, its upgrade writes to the pool.
    if let Some(pool) = guest.pool.as_ref().filter(|pool| is_nearly_full(pool)) {
        return Err(format!(
            "can't be protected: storage {} is nearly full ({} of {} free), and a snapshot could fill it up",
            pool.name,
            human_bytes(pool.available),
            human_bytes(pool.total)
        ));
    }
    if let Some(job) = guest.replicated.as_ref().filter(|_| rolls_back(settings)) {
        return Err(format!(
            "can't be rolled back: it is replicated (job {job}); on_failure = \"keep\" lets it be upgraded all the same"
        ));
    }
    let mut ways = Vec::new();
    let mut reasons = Vec::new();
    for choice in &settings.protect {
        match way(facts, guest, settings, *choice) {
            Ok(way) => ways.push(way),
            Err(why) => reasons.push(why),
        }
    }
    if ways.is_empty() {
        return Err(format!("can't be protected: {}", reasons.join(", and ")));
    }
    Ok(ways)
}

fn way(
    facts: &HostFacts,
    guest: &GuestFacts,
    settings: &GuestSettings,
    choice: ProtectChoice,
) -> Result<ProtectBy, String> {
    match choice {
        ProtectChoice::None => Ok(ProtectBy::Waived),
        ProtectChoice::Snapshot => {
            guest.can_snapshot.then_some(ProtectBy::Snapshot).ok_or_else(|| "its storage has no snapshots".to_owned())
        }
        ProtectChoice::Backup => {
            let how = BackupHow::from(&settings.backup);
            if guest.kind == GuestKind::Ct && !guest.can_snapshot && how.mode == BackupMode::Snapshot {
                return Err("a backup would suspend the container (backup.mode = \"suspend\" allows that)".to_owned());
            }
            let storage = backup_storage(facts, guest, settings.backup.storage.as_deref())?;
            Ok(ProtectBy::Backup { storage, how })
        }
    }
}

/// Tells whether a pool has less than a twentieth of its room left: an upgrade writes some hundred megabytes that a snapshot
/// keeps twice, and a full pool breaks every guest on it.
pub(super) fn is_nearly_full(pool: &PoolFacts) -> bool {
    pool.available < pool.total / 20
}

/// Picks the named storage, or the one with the most room, if an archive as large as the guest's disk would fit.
pub(super) fn backup_storage(facts: &HostFacts, guest: &GuestFacts, named: Option<&str>) -> Result<String, String> {
    let found = match named {
        Some(name) => facts.backup_storages.iter().find(|storage| storage.name == name),
        None => facts.backup_storages.first(),
    };
    let Some(storage) = found else {
        return Err(match named {
            Some(name) => format!("storage {name} is not there, not active, or takes no backups"),
            None => "no active storage takes backups".to_owned(),
        });
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
pub(super) fn human_bytes(bytes: u64) -> String {
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
            kernel_next: None,
            codename: None,
            unfit: None,
            leftovers: Vec::new(),
            restart_needed: Vec::new(),
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
            tags: Vec::new(),
            resource_pool: None,
            ha: false,
            address: None,
            replicated: None,
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
            state: Default::default(),
        }
    }

    fn policy() -> HostPolicy {
        HostPolicy::new(HostId::new("pve1"))
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
        assert!(matches!(decision(locked), Decision::Upgrade(_)), "its lock is waited for when its turn comes");
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
            Some(ClusterFacts {
                id: ClusterId::new("AA"),
                name: "lab".to_owned(),
                quorate,
                nodes,
                quorum: None,
                ha_resources: None,
            })
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
