//! Words for people: spans, counts, steps, and what each event of the journal means.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::sanitize::clean;
use super::view::RemarksView;
use crate::choices::HostReboot;
use crate::ids::{GuestId, GuestKind, HostId, Step, StepKey};
use crate::inventory::PackageChange;
use crate::machine::event::HostEvent;
use crate::machine::guest::Resolution;
use crate::machine::host::HostState;
use crate::machine::outcome::{Detail, Outcome, Probed, Remarks};
use crate::plan::{Decision, GuestPlan, HostPlan};

/// Writes a span as people say it: `0.4 s`, `42 s`, `4m10s`, `2h04m`, `3d02h`.
pub fn span(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..10 => format!("{}.{} s", secs, span.subsec_millis() / 100),
        10..60 => format!("{secs} s"),
        60..3600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h{:02}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d{:02}h", secs / 86_400, secs / 3600 % 24),
    }
}

/// Writes a number with its noun: `1 package`, `12 packages`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Joins parts with commas, leaving the empty ones out.
pub fn list(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Writes `n noun`, or nothing where there is none: for lists of counts.
pub fn some(n: usize, what: &str) -> String {
    if n == 0 { String::new() } else { format!("{n} {what}") }
}

/// Names a guest: `CT 101 (web)`.
pub fn guest(kind: GuestKind, id: GuestId, name: &str) -> String {
    match name {
        "" => format!("{kind} {id}"),
        name => format!("{kind} {id} ({})", clean(name)),
    }
}

/// Writes a package's change: `nginx 1.22.1-9 -> 1.22.1-9+deb12u1`, `linux-image-6.8 new 6.8.12`, `old-lib 1.0 removed`.
pub fn package(change: &PackageChange) -> String {
    let name = clean(&change.name);
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{name} {} -> {}", clean(old), clean(new)),
        (None, Some(new)) => format!("{name} {} (new)", clean(new)),
        (Some(old), None) => format!("{name} {} (removed)", clean(old)),
        (None, None) => name.into_owned(),
    }
}

/// Names a step as something that is being done.
pub fn step(step: Step) -> &'static str {
    match step {
        Step::Discover => "looking for pending updates",
        Step::Snapshot => "snapshot",
        Step::PruneSnapshot => "removal of an old snapshot",
        Step::PruneBackup => "removal of an old backup",
        Step::Backup => "backup",
        Step::StartGuest => "start",
        Step::LookGuest => "look into the started guest",
        Step::MeasureGuest => "look how it does before the upgrade",
        Step::UpgradeGuest => "upgrade",
        Step::CheckGuest => "check after the upgrade",
        Step::RebootGuest => "reboot",
        Step::StopGuest => "shutdown of the started guest",
        Step::RollbackGuest => "rollback",
        Step::ReviveGuest => "start after the rollback",
        Step::RecheckGuest => "check after the rollback",
        Step::UpgradeHost => "upgrade of the node",
        Step::PrepareReboot => "look whether the node may be rebooted",
        Step::StopGuests => "shutdown of all guests",
        Step::RebootHost => "reboot of the node",
        Step::StartGuests => "start of the guests that ran",
        Step::Verify => "verification",
    }
}

/// Sums up a plan: `3 of 5 guests to upgrade (41 packages), 1 blocked, 1 left alone; node: 7 packages`.
pub fn plan_summary(plan: &HostPlan) -> String {
    let (mut upgrade, mut packages, mut blocked, mut skipped, mut start) = (0, 0, 0, 0, 0);
    for guest in &plan.guests {
        match &guest.decision {
            Decision::Upgrade(with) => {
                upgrade += 1;
                packages += with.pending.len();
            }
            Decision::Start(_) => start += 1,
            Decision::Block(_) => blocked += 1,
            Decision::Skip(_) => skipped += 1,
        }
    }
    let guests = match upgrade {
        0 => format!("nothing to upgrade in {}", count(plan.guests.len(), "guest")),
        _ => format!("{upgrade} of {} to upgrade ({})", count(plan.guests.len(), "guest"), count(packages, "package")),
    };
    let mut text =
        list([guests, some(start, "to start and look into"), some(blocked, "blocked"), some(skipped, "left alone")]);
    let node = match (&plan.upgrade.left_out, plan.upgrade.pending.len()) {
        (Some(why), _) => format!("left alone: {}", clean(why)),
        (None, 0) => "up to date".to_owned(),
        (None, n) => count(n, "package"),
    };
    let _ok = write!(text, "; node: {}", list([node, reboot_plan(plan).to_owned()]));
    let old = [(plan.prune.len(), "old snapshot"), (plan.prune_backups.len(), "old backup")];
    let old = list(old.map(|(n, what)| if n == 0 { String::new() } else { count(n, what) }));
    if !old.is_empty() {
        let _ok = write!(text, "; {old} to be removed");
    }
    text
}

/// Says whether the node is to be rebooted: nothing where it is not.
pub fn reboot_plan(plan: &HostPlan) -> &'static str {
    match (plan.upgrade.reboot, plan.own) {
        (HostReboot::Never, _) => "",
        (_, Some(_)) => "not rebooted, since proxmaint runs here",
        (HostReboot::IfNeeded, None) => "to be rebooted if it needs it",
        (HostReboot::Always, None) => "to be rebooted",
    }
}

/// Says what an upgrade left for the administrator, one sentence a kind.
pub fn remarks(left: &RemarksView) -> Vec<String> {
    /// How many names a line has room for.
    const MOST: usize = 8;
    let sentence = |what: &str, names: &[String]| {
        let more = some(names.len().saturating_sub(MOST), "more");
        let names = list(names.iter().take(MOST).map(|name| clean(name).into_owned()).chain([more]));
        (!names.is_empty()).then(|| format!("{what}: {names}"))
    };
    [
        sentence("held back", &left.held),
        sentence("new configuration files beside yours", &left.leftovers),
        sentence("services that still run old files", &left.restart_needed),
    ]
    .into_iter()
    .flatten()
    .chain(left.health.iter().map(|remark| clean(remark).into_owned()))
    .collect()
}

/// Tells events in words. Learns guests' names from the plans that pass by; without one a guest is its number.
#[derive(Debug, Default)]
pub struct Teller {
    guests: BTreeMap<HostId, Names>,
}

type Names = BTreeMap<GuestId, (GuestKind, String)>;

fn names<'a>(plans: impl Iterator<Item = &'a GuestPlan>) -> Names {
    plans.map(|plan| (plan.guest.id, (plan.guest.kind, plan.name.clone()))).collect()
}

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The guest that it is about, by name and number; `None` for the node itself.
    pub guest: Option<String>,
    /// What happened.
    pub what: String,
}

impl Teller {
    /// Makes a teller that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns the guests of a host that is not known yet from its state, as after a run was gone on with.
    pub fn learn(&mut self, state: &HostState) {
        if !state.guests.is_empty() && !self.guests.contains_key(state.host()) {
            let plans = state.guests.values().map(|guest| &guest.plan);
            self.guests.insert(state.host().clone(), names(plans));
        }
    }

    /// Tells one event. Texts are clean.
    pub fn tell(&mut self, host: &HostId, event: &HostEvent) -> Told {
        let (about, what) = match event {
            HostEvent::Begun => (None, "began: looking for pending updates".to_owned()),
            HostEvent::Planned { plan, .. } => {
                self.guests.insert(host.clone(), names(plan.guests.iter()));
                let what = match &plan.refusal {
                    Some(why) => format!("may not be touched: {}", clean(why)),
                    None => format!("planned: {}", plan_summary(plan)),
                };
                (None, what)
            }
            HostEvent::TurnGiven => (None, "has its turn: it may be changed now".to_owned()),
            HostEvent::RebootTurnGiven => (None, "has the turn to be rebooted".to_owned()),
            HostEvent::GiveBack => (None, "gives back what was borrowed".to_owned()),
            HostEvent::RollBack { guest, .. } => (Some(*guest), "the operator asked for its rollback".to_owned()),
            HostEvent::Ended { key, outcome } => (key.target.guest(), ended(key, outcome)),
            HostEvent::TaskStarted { key, task } => {
                (key.target.guest(), format!("{}: the node works on it as task {}", name(key), clean(task.as_str())))
            }
            HostEvent::Probed { key, found } => (key.target.guest(), probed(key, found)),
            HostEvent::Resumed => {
                (None, "the run went on: what was at work is looked at before anything else".to_owned())
            }
            HostEvent::PolicyChanged { .. } => (None, "goes on by what the manifest says now".to_owned()),
            HostEvent::NewRound => (None, "is tried again, from looking for updates on".to_owned()),
            HostEvent::Resolved { guest, resolution } => (*guest, resolved(*resolution).to_owned()),
        };
        Told { guest: about.map(|id| self.name(host, id)), what }
    }

    fn name(&self, host: &HostId, id: GuestId) -> String {
        match self.guests.get(host).and_then(|guests| guests.get(&id)) {
            Some((kind, name)) => guest(*kind, id, name),
            None => format!("guest {id}"),
        }
    }
}

fn name(key: &StepKey) -> String {
    match key.round {
        1 => step(key.step).to_owned(),
        round => format!("{} (attempt {round})", step(key.step)),
    }
}

fn ended(key: &StepKey, outcome: &Outcome) -> String {
    let name = name(key);
    match outcome {
        Outcome::Done(detail) => format!("{name}: done{}", detail_words(detail)),
        Outcome::AlreadyDone(detail) => format!("{name}: was done already{}", detail_words(detail)),
        Outcome::Refused(fault) => format!("{name}: not begun: {}", clean(&fault.what)),
        Outcome::Failed(fault) => format!("{name}: failed: {}", clean(&fault.what)),
        Outcome::Unknown(fault) => format!("{name}: can't be told how it ended: {}", clean(&fault.what)),
    }
}

fn detail_words(detail: &Detail) -> String {
    let reboot = |wanted: &Option<String>| match wanted {
        Some(why) => format!("; wants a reboot: {}", clean(why)),
        None => String::new(),
    };
    let left = |remarks: &Remarks| {
        let all = self::remarks(&remarks.into());
        all.iter().fold(String::new(), |text, remark| text + "; " + remark)
    };
    match detail {
        Detail::Measured(health) => {
            let failed = health.checks.iter().filter(|check| check.failed.is_some()).count();
            let units = health.failed_units.as_ref().map_or(0, BTreeSet::len);
            let found = list([some(failed, "of its checks fail"), some(units, "of its services failed")]);
            if found.is_empty() { String::new() } else { format!(": {found} already") }
        }
        Detail::Discovered(_)
        | Detail::Upgraded
        | Detail::Pruned
        | Detail::Started
        | Detail::Looked(_)
        | Detail::Stopped
        | Detail::GuestsStopped
        | Detail::RolledBack
        | Detail::Rechecked
        | Detail::GuestsStarted => String::new(),
        Detail::Rebooted(boot) => format!(": boot {}", clean(boot.as_str())),
        Detail::RebootReady(ready) => {
            let kernel =
                ready.expected.as_ref().map_or(String::new(), |kernel| format!(" into kernel {}", clean(kernel)));
            format!(": may be rebooted{kernel}; {} run", count(ready.running.len(), "guest"))
        }
        Detail::Protected(protection) => format!(": {}", clean(&protection.to_string())),
        Detail::Checked(report) => {
            let changed = count(report.changes.len(), "package");
            format!(": {changed} changed{}{}", reboot(&report.reboot_wanted), left(&report.remarks))
        }
        Detail::Verified(report) => {
            let changed = count(report.changes.len(), "package");
            let kernel = report
                .rebooted
                .as_ref()
                .map_or_else(String::new, |kernel| format!("; was rebooted into kernel {}", clean(kernel)));
            let (wanted, remarks) = (reboot(&report.reboot_wanted), left(&report.remarks));
            format!(": {changed} of the node changed{kernel}{wanted}{remarks}")
        }
    }
}

fn probed(key: &StepKey, found: &Probed) -> String {
    match found {
        Probed::Ended(outcome) => format!("looked: {}", ended(key, outcome)),
        Probed::Running => format!("looked: {} is still at work", name(key)),
        Probed::NotDone => format!("looked: {} left nothing behind, so it may be tried anew", name(key)),
        Probed::Unclear(fault) => format!("looked: {} can't be settled: {}", name(key), clean(&fault.what)),
    }
}

fn resolved(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Retry => "the operator decided: not done, try it anew",
        Resolution::Done => "the operator decided: it was done, go on behind it",
        Resolution::Skip => "the operator decided: leave it alone in this run",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_naturally() {
        let text = |ms| span(Duration::from_millis(ms));
        assert_eq!(text(0), "0.0 s");
        assert_eq!(text(9_950), "9.9 s");
        assert_eq!(text(42_000), "42 s");
        assert_eq!(text(250_000), "4m10s");
        assert_eq!(text(7_440_000), "2h04m");
        assert_eq!(text(266_400_000), "3d02h");
    }

    #[test]
    fn names_of_others_are_made_harmless() {
        assert_eq!(guest(GuestKind::Vm, GuestId(7), "a\x1b[2J"), "VM 7 (a\\u{1b}[2J)");
        let change = PackageChange { name: "x\n".into(), old: Some("1".into()), new: Some("2\r".into()) };
        assert_eq!(package(&change), "x\\n 1 -> 2\\r");
    }
}
