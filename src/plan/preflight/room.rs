//! Room: on the node's file systems, for backups, and in the pools that hold guests.

use super::{Check, Finding};
use crate::choices::{BackupMode, ProtectChoice, Stopped};
use crate::ids::GuestKind;
use crate::inventory::{GuestFacts, HostFacts, Power, Question};
use crate::plan::planner::{backup_storage, human_bytes, is_nearly_full};
use crate::plan::{GuestSettings, HostPolicy};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A file system, the room without which nothing is begun, and the room that is comfortable.
struct Wants {
    path: &'static str,
    least: u64,
    better: u64,
}

/// What an upgrade takes.
///
/// - `/`: a kernel's package (110 MB) and what is in it (600 MB), lists (100 MB): 810 MB, so 1 GiB; with everything else of a
///   point release (500 MB of packages, which dpkg writes beside the old files) 2 GiB.
/// - `/boot`: a kernel (16 MB) and its initrd (100 MB), and that once more while it is written: 232 MB, so 256 MiB; with the
///   initrds of the kernels that stay written anew, 400 MiB.
/// - `/var/tmp`: the initrd is put together there, unpacked: 300 MB, so 512 MiB; 1 GiB for two.
const WANTS: [Wants; 3] = [
    Wants { path: "/", least: GIB, better: 2 * GIB },
    Wants { path: "/boot", least: 256 * MIB, better: 400 * MIB },
    Wants { path: "/var/tmp", least: 512 * MIB, better: GIB },
];

/// Judges the node's file systems.
pub(super) fn space(facts: &HostFacts) -> Vec<Finding> {
    if let Some(why) = facts.state.unknown.get(&Question::Node) {
        return vec![Finding::warn(Check::Space, format!("could not be looked at: {why}"))];
    }
    let mut findings = Vec::new();
    let mut rooms = Vec::new();
    for space in &facts.state.space {
        let Some(wants) = WANTS.iter().find(|wants| wants.path == space.path) else { continue };
        let free = human_bytes(space.available);
        let what = format!("{} has {free} of {} free", space.path, human_bytes(space.total));
        if space.available < wants.least {
            let what = format!("{what}, an upgrade needs {}", human_bytes(wants.least));
            findings.push(Finding::fail(Check::Space, what).remedy(free_up(wants.path)));
        } else if space.available < wants.better {
            let what = format!("{what}, {} would be comfortable", human_bytes(wants.better));
            findings.push(Finding::warn(Check::Space, what).remedy(free_up(wants.path)));
        }
        rooms.push(format!("{} {free}", space.path));
    }
    findings.push(Finding::ok(Check::Space, format!("free: {}", rooms.join(", "))));
    findings
}

fn free_up(path: &str) -> &'static str {
    match path {
        "/boot" => "on the node, remove kernels that are not needed: apt-get autoremove --purge",
        "/var/tmp" => "on the node: du -xh /var/tmp | sort -h | tail",
        _ => "on the node: apt-get clean; apt-get autoremove --purge; journalctl --vacuum-size=200M",
    }
}

/// Judges the room that backups need: where a guest's only protection is a backup, and where a container is copied first.
pub(super) fn backups(policy: &HostPolicy, facts: &HostFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (guest, settings) in concerned(policy, facts) {
        let wants = |choice| settings.protect.contains(&choice);
        let only_way = wants(ProtectChoice::Backup) && !(wants(ProtectChoice::Snapshot) && guest.can_snapshot);
        if !only_way {
            continue;
        }
        if let Err(why) = backup_storage(facts, guest, settings.backup.storage.as_deref()) {
            let what = format!("{} {} would be blocked: {why}", guest.kind, guest.id);
            findings.push(
                Finding::warn(Check::Space, what)
                    .remedy("make room there, or name another storage with backup.storage"),
            );
        }
        let copied = guest.kind == GuestKind::Ct && settings.backup.mode == BackupMode::Suspend;
        // Where /var/tmp is no file system of its own, it is on that of `/`.
        let of = |path: &str| facts.state.space.iter().find(|space| space.path == path);
        if let (true, Some(space)) = (copied, of("/var/tmp").or_else(|| of("/")))
            && space.available < guest.disk_bytes
        {
            let what = format!(
                "a backup of CT {} in mode suspend copies it to /var/tmp, which has {} free, {} at worst",
                guest.id,
                human_bytes(space.available),
                human_bytes(guest.disk_bytes)
            );
            findings.push(Finding::warn(Check::Space, what).remedy("make room there, or use backup.mode = \"stop\""));
        }
    }
    findings
}

/// Judges the pools: a guest on one that is nearly full is blocked, others are worked on.
pub(super) fn pools(policy: &HostPolicy, facts: &HostFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pool in facts.state.pools.iter().filter(|pool| pool.total > 0 && is_nearly_full(pool)) {
        let on_it = |(guest, settings): &(&GuestFacts, GuestSettings)| {
            guest.pool.as_ref().is_some_and(|of| of.name == pool.name)
                && settings.protect.as_slice() != [ProtectChoice::None]
        };
        let blocked: Vec<String> =
            concerned(policy, facts).filter(on_it).map(|(guest, _)| format!("{} {}", guest.kind, guest.id)).collect();
        let follows = match blocked.is_empty() {
            true => String::new(),
            false => format!("; not touched because of that: {}", blocked.join(", ")),
        };
        let what = format!(
            "storage {} is nearly full ({} of {} free){follows}",
            pool.name,
            human_bytes(pool.available),
            human_bytes(pool.total)
        );
        findings.push(
            Finding::warn(Check::Pools, what)
                .remedy("a full pool breaks every guest on it: enlarge it, or remove old snapshots and disks"),
        );
    }
    findings.push(Finding::ok(Check::Pools, "each has at least a twentieth of its room left"));
    findings
}

/// Returns the guests that the run works on, with what holds for each.
pub(super) fn concerned<'a>(
    policy: &'a HostPolicy,
    facts: &'a HostFacts,
) -> impl Iterator<Item = (&'a GuestFacts, GuestSettings)> {
    facts.guests.iter().filter_map(|guest| {
        let traits = guest.traits();
        if guest.template || policy.left_out(&traits).is_some() {
            return None;
        }
        let settings = policy.settings_of(&traits);
        let worked_on = match guest.power {
            Power::Running => true,
            Power::Stopped => settings.stopped == Stopped::Start,
            Power::Other => false,
        };
        worked_on.then_some((guest, settings))
    })
}
