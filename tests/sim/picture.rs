//! What is left at the end, in a form that two runs can be compared by: rounds are left out of names, since a crash may cost one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proxmaint::machine::guest::{GuestPhase, GuestVerdict};
use proxmaint::machine::host::{HostPhase, HostState, HostVerdict};
use proxmaint::machine::outcome::Protection;
use proxmaint::machine::run::RunState;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::World;

/// The world and the run at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Machines by name, each as lines.
    pub machines: BTreeMap<String, BTreeSet<String>>,
    /// Verdicts by `host` or `host/guest`.
    pub verdicts: BTreeMap<String, String>,
    /// How the run stands.
    pub result: String,
}

impl Picture {
    /// Takes the picture.
    pub fn of(world: &World, run: &RunState) -> Self {
        let machines = world.machines().into_iter().map(|id| {
            let mut lines = BTreeSet::new();
            if let Some(machine) = world.machine(&id) {
                let packages = &machine.packages;
                lines.extend(packages.installed.iter().map(|(name, version)| format!("package {name} {version}")));
                lines.extend(packages.half_configured.iter().map(|name| format!("half-configured {name}")));
                lines.extend(packages.lock.iter().map(|_| "package manager at work".to_owned()));
            }
            if let Some(guest) = world.guest(&id) {
                lines.insert(format!("power {:?} on {}", guest.power, guest.node));
                lines.extend(guest.lock.iter().map(|lock| format!("lock {lock}")));
                lines.extend(numbered("snapshot", guest.snapshots.iter().map(|s| without_round(&s.name))));
            }
            let begun = world.ledger.count(Act::Upgrade, &id.short());
            lines.insert(format!("upgrades {begun}"));
            lines.insert(format!("rollbacks {}", world.ledger.count(Act::Rollback, &id.short())));
            lines.insert(format!("reboots {}", world.ledger.count(Act::Reboot, &id.short())));
            (id.to_string(), lines)
        });
        let mut machines: BTreeMap<String, BTreeSet<String>> = machines.collect();
        for (name, realm) in &world.realms {
            let notes = |backup: &proxmaint_lab::world::Backup| {
                format!("{} {}", backup.vmid, without_round(backup.notes.as_deref().unwrap_or_default()))
            };
            let flags = realm.ceph.iter().flat_map(|ceph| ceph.flags.iter().map(|flag| format!("flag {flag}")));
            let modes = realm.maintenance.keys().map(|node| format!("maintenance of {node}"));
            machines.insert(format!("cluster {name}"), flags.chain(modes).collect());
            machines
                .insert(format!("archives of {name}"), numbered("archive", realm.backups.iter().map(notes)).collect());
        }
        let verdicts = run.hosts().flat_map(verdicts).collect();
        Self { machines, verdicts, result: format!("{:?}", run.result()) }
    }

    /// Leaves out how often a guest was protected: what may differ where a protection became too old.
    #[must_use]
    pub fn without_protections(mut self) -> Self {
        for lines in self.machines.values_mut() {
            lines.retain(|line| !line.starts_with("snapshot") && !line.starts_with("archive"));
        }
        self
    }
}

/// Numbers equal texts, so that a set keeps how often each is there.
fn numbered(what: &str, texts: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    texts.map(move |text| {
        let count = seen.entry(text.clone()).or_default();
        *count += 1;
        format!("{what} {text} #{count}")
    })
}

/// Leaves the round at the end of a name out: `pm-...-r2`, `.../snapshot/r2`.
fn without_round(name: &str) -> String {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match stem.strip_suffix('r') {
        Some(stem) if stem.len() + 1 < name.len() => stem.trim_end_matches(['-', '/']).to_owned(),
        _ => name.to_owned(),
    }
}

fn verdicts(state: &HostState) -> Vec<(String, String)> {
    let own = match &state.phase {
        HostPhase::Done(HostVerdict::Verified(report)) => {
            let kernel = report.rebooted.as_ref().map(|kernel| format!(" in kernel {kernel}")).unwrap_or_default();
            format!("verified{kernel} {:?}", report.changes)
        }
        HostPhase::Done(HostVerdict::NotRebooted { .. }) => "not rebooted".to_owned(),
        HostPhase::Held { at, .. } => format!("held while {}", at.name()),
        HostPhase::Done(HostVerdict::NothingToDo { .. }) => "nothing to do".to_owned(),
        HostPhase::Done(HostVerdict::Blocked(_)) => "blocked".to_owned(),
        HostPhase::Done(HostVerdict::Failed(_)) => "failed".to_owned(),
        HostPhase::Done(HostVerdict::Skipped) => "skipped".to_owned(),
        other => other.name().to_owned(),
    };
    let guests = state.guests.iter().map(|(id, guest)| {
        let verdict = match &guest.phase {
            GuestPhase::Settled(GuestVerdict::Upgraded { changes, protection, rebooted, remarks, .. }) => {
                let rebooted = if *rebooted { ", rebooted" } else { "" };
                let health: String = remarks.health.iter().map(|remark| format!("; {remark}")).collect();
                format!("upgraded {changes:?} after a {}{rebooted}{health}", kind(protection))
            }
            GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell, retry }) => {
                let by = if undo.by_operator { " by hand" } else { "" };
                let unwell = unwell.as_ref().map_or_else(String::new, |fault| format!(", but {}", fault.what));
                let retry = if *retry { ", to be tried again" } else { "" };
                format!("rolled back{by}{unwell}{retry}")
            }
            GuestPhase::Settled(GuestVerdict::Skipped(reason)) => format!("skipped: {reason}"),
            GuestPhase::Settled(GuestVerdict::Blocked(_)) => "blocked".to_owned(),
            GuestPhase::Settled(GuestVerdict::Failed { protection, fault, held }) => {
                let worse = fault.what.strip_prefix("it does not do as before its upgrade").unwrap_or_default();
                let how = if *held { "held" } else { "failed" };
                format!("{how} after a {}{worse}", kind(protection))
            }
            other => other.name().to_owned(),
        };
        (format!("{}/{id}", state.host()), verdict)
    });
    let owed: Vec<String> = state.owed().iter().map(ToString::to_string).collect();
    let owed = (!owed.is_empty()).then(|| (format!("{} owes", state.host()), owed.join("; ")));
    std::iter::once((state.host().to_string(), own)).chain(owed).chain(guests).collect()
}

fn kind(protection: &Protection) -> &'static str {
    match protection {
        Protection::Snapshot { .. } => "snapshot",
        Protection::Backup { .. } => "backup",
        Protection::Waived => "waiver",
    }
}

/// What two pictures differ in.
pub struct Difference<'a>(pub &'a Picture, pub &'a Picture);

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(before, after) = self;
        let nothing = BTreeSet::new();
        let names: BTreeSet<&String> = before.machines.keys().chain(after.machines.keys()).collect();
        for name in names {
            let (a, b) = (before.machines.get(name).unwrap_or(&nothing), after.machines.get(name).unwrap_or(&nothing));
            for line in a.difference(b) {
                writeln!(f, "  {name}: without the crash only: {line}")?;
            }
            for line in b.difference(a) {
                writeln!(f, "  {name}: with the crash only: {line}")?;
            }
        }
        let names: BTreeSet<&String> = before.verdicts.keys().chain(after.verdicts.keys()).collect();
        for name in names {
            let (a, b) = (before.verdicts.get(name), after.verdicts.get(name));
            if a != b {
                writeln!(f, "  {name}: {a:?} without the crash, {b:?} with it")?;
            }
        }
        if before.result != after.result {
            writeln!(f, "  result: {} without the crash, {} with it", before.result, after.result)?;
        }
        Ok(())
    }
}
