//! Holds a plan that was just made against one that was saved before: where reality is not what the saved plan rests on.
//!
//! What counts is everything that is done, and to what: the machine, its guests, what happens to each, by which kind of way
//! and which package manager, every package with its versions, how it is protected and what that does not cover, what it is
//! asked before and after, and reboots. What does not count, since the plan does the same all the same: addresses (a guest proves itself before each
//! change), the storage that a backup goes to where the manifest leaves that open, names and tags, services and boots, and
//! why a guest is left alone.

use std::collections::BTreeSet;
use std::mem::discriminant;

use super::{Decision, GuestPlan, HostPlan, HostUpgrade, ProtectBy, SkipReason};
use crate::choices::HostReboot;
use crate::choices::health::HealthCheck;
use crate::ids::{GuestId, GuestKind};
use crate::inventory::PackageChange;

/// How many differences a refusal names: beyond that nobody reads them one by one.
const MOST_NAMED: usize = 30;

/// How far a run came with a host already. What it did itself is no drift.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The node's own upgrade or reboot was begun.
    pub node: bool,
    /// Guests that something was begun in: what is left of their plan is still to be done.
    pub begun: BTreeSet<GuestId>,
    /// Guests that nothing more is done to in this run.
    pub over: BTreeSet<GuestId>,
}

/// Makes of a plan that was just made one that does what the saved one says, or refuses the host as a whole where that does
/// not fit any more. Of what earlier runs left, only what the saved plan names is removed.
pub fn hold_to(saved: &HostPlan, fresh: HostPlan, progress: &Progress) -> HostPlan {
    let differences = drift(saved, &fresh, progress);
    let mut plan = fresh;
    plan.prune.retain(|old| saved.prune.contains(old));
    plan.prune_backups.retain(|old| saved.prune_backups.contains(old));
    if plan.refusal.is_none() && !differences.is_empty() {
        plan.refusal = Some(sentence(&differences));
    }
    plan
}

fn sentence(differences: &[String]) -> String {
    let named = differences.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match differences.len().saturating_sub(MOST_NAMED) {
        0 => format!("not as it was planned: {named}"),
        more => format!("not as it was planned: {named}; and {more} more differences"),
    }
}

/// Lists, in words, where a plan that was just made is not the saved one, in so far as something else would be done.
pub fn drift(saved: &HostPlan, fresh: &HostPlan, progress: &Progress) -> Vec<String> {
    if (&saved.node, &saved.ca) != (&fresh.node, &fresh.ca) {
        return vec![format!("this is node {} ({}), planned was {} ({})", fresh.node, fresh.ca, saved.node, saved.ca)];
    }
    if let Some(why) = &saved.refusal {
        return vec![format!("it was planned to leave the host alone ({why})")];
    }
    let mut out = Vec::new();
    if saved.cluster != fresh.cluster {
        let cluster = |plan: &HostPlan| plan.cluster.as_ref().map_or("none".to_owned(), ToString::to_string);
        out.push(format!("its cluster is {} now, was {}", cluster(fresh), cluster(saved)));
    }
    guests(saved, fresh, progress, &mut out);
    node(saved, fresh, progress, &mut out);
    out
}

fn name(guest: &GuestPlan) -> String {
    format!("{} {}", guest.guest.kind, guest.guest.id)
}

fn guests(saved: &HostPlan, fresh: &HostPlan, progress: &Progress, out: &mut Vec<String>) {
    for planned in &saved.guests {
        let Some(now) = fresh.guests.iter().find(|now| now.guest.id == planned.guest.id) else {
            out.push(format!("{} is gone", name(planned)));
            continue;
        };
        if (now.guest.kind, &now.guest.identity) != (planned.guest.kind, &planned.guest.identity) {
            out.push(format!("{} is another guest now", name(planned)));
        } else if !progress.over.contains(&now.guest.id) {
            let begun = progress.begun.contains(&now.guest.id);
            let mut found = Vec::new();
            decision(&planned.decision, &now.decision, begun, &mut found);
            out.extend(found.into_iter().map(|what| format!("{}: {what}", name(planned))));
        }
    }
    let known: BTreeSet<GuestId> = saved.guests.iter().map(|guest| guest.guest.id).collect();
    let new = fresh.guests.iter().filter(|guest| !known.contains(&guest.guest.id));
    out.extend(new.map(|guest| format!("{} is new", name(guest))));
}

fn decision(saved: &Decision, fresh: &Decision, begun: bool, out: &mut Vec<String>) {
    match (saved, fresh) {
        (Decision::Skip(_), Decision::Skip(_)) | (Decision::Block(_), Decision::Block(_)) => {}
        (Decision::Upgrade(_) | Decision::Start(_), Decision::Skip(SkipReason::NothingPending)) if begun => {}
        (Decision::Upgrade(old), Decision::Upgrade(new)) => {
            if discriminant(&old.via) != discriminant(&new.via) {
                out.push(format!("the way in is {} now, was planned {}", new.via, old.via));
            }
            if old.manager != new.manager {
                out.push(format!("its package manager is {} now, was {}", new.manager.name(), old.manager.name()));
            }
            packages(&old.pending, &new.pending, begun, out);
            protection((&old.protection, &old.not_covered), (&new.protection, &new.not_covered), out);
            reboot(old.reboot, new.reboot, out);
            rollback(old.rollback, new.rollback, out);
            checks(old.checks.as_deref(), new.checks.as_deref(), out);
        }
        (Decision::Start(old), Decision::Start(new)) => {
            protection((&old.protection, &old.not_covered), (&new.protection, &new.not_covered), out);
            reboot(old.reboot, new.reboot, out);
            rollback(old.rollback, new.rollback, out);
            checks(old.checks.as_deref(), new.checks.as_deref(), out);
        }
        // It was started by this run, and still runs.
        (Decision::Start(old), Decision::Upgrade(new)) if begun => {
            protection((&old.protection, &old.not_covered), (&new.protection, &new.not_covered), out);
            checks(old.checks.as_deref(), new.checks.as_deref(), out);
        }
        (old, new) => out.push(format!("{} now, was planned to be {}", words(new), words(old))),
    }
}

fn words(decision: &Decision) -> String {
    match decision {
        Decision::Skip(reason) => format!("left alone ({reason})"),
        Decision::Block(why) => format!("blocked ({why})"),
        Decision::Upgrade(_) => "upgraded".to_owned(),
        Decision::Start(_) => "started, upgraded and stopped".to_owned(),
    }
}

/// Compares what a guest is asked before and after. A plan of a version without checks has none.
fn checks(old: Option<&[HealthCheck]>, new: Option<&[HealthCheck]>, out: &mut Vec<String>) {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    if old != new {
        let list = |checks: &[HealthCheck]| match checks {
            [] => "nothing".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        out.push(format!("it is asked {} before and after now, was planned {}", list(new), list(old)));
    }
}

fn reboot(old: bool, new: bool, out: &mut Vec<String>) {
    match (old, new) {
        (true, false) => out.push("is not rebooted now, was planned to be where it needs it".to_owned()),
        (false, true) => out.push("is rebooted now where it needs it, was planned not to be".to_owned()),
        _ => {}
    }
}

fn rollback(old: bool, new: bool, out: &mut Vec<String>) {
    match (old, new) {
        (true, false) => out.push("is not rolled back now where its upgrade fails, was planned to be".to_owned()),
        (false, true) => out.push("is rolled back now where its upgrade fails, was planned not to be".to_owned()),
        _ => {}
    }
}

/// Compares what is pending. Of a machine that was begun with, some may be done; what is left must have been planned.
fn packages(saved: &[PackageChange], fresh: &[PackageChange], begun: bool, out: &mut Vec<String>) {
    let (saved, fresh): (BTreeSet<_>, BTreeSet<_>) = (saved.iter().collect(), fresh.iter().collect());
    let mut gone: Vec<&PackageChange> = saved.difference(&fresh).copied().collect();
    for now in fresh.difference(&saved) {
        let before = gone.iter().position(|change| change.name == now.name).map(|at| gone.remove(at));
        match before {
            Some(before) if begun && before.new == now.new => {}
            Some(before) => {
                out.push(format!("{} {} now, was planned {}", now.name, versions(now), versions(before)));
            }
            None => out.push(format!("{} {} was not planned", now.name, versions(now))),
        }
    }
    let gone = gone.iter().filter(|_| !begun);
    out.extend(gone.map(|change| format!("{} {} is not pending any more", change.name, versions(change))));
}

fn versions(change: &PackageChange) -> String {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{old} -> {new}"),
        (None, Some(new)) => format!("(new) {new}"),
        (Some(old), None) => format!("{old} -> removed"),
        (None, None) => "unknown".to_owned(),
    }
}

type Protection<'a> = (&'a [ProtectBy], &'a [String]);

fn protection((old, old_gaps): Protection<'_>, (new, new_gaps): Protection<'_>, out: &mut Vec<String>) {
    let same = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same_way(old, new));
    if !same {
        let list = |ways: &[ProtectBy]| ways.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        out.push(format!("protected by {} now, was planned {}", list(new), list(old)));
    }
    let gaps = |gaps: &[String]| gaps.iter().cloned().collect::<BTreeSet<String>>();
    if gaps(old_gaps) != gaps(new_gaps) {
        let list = |gaps: &[String]| if gaps.is_empty() { "nothing".to_owned() } else { gaps.join(", ") };
        out.push(format!("a protection does not cover {} now, was planned {}", list(new_gaps), list(old_gaps)));
    }
}

/// Tells whether two protections are as good as each other. Where the manifest names a storage, both have that one.
fn same_way(old: &ProtectBy, new: &ProtectBy) -> bool {
    match (old, new) {
        (ProtectBy::Backup { how: old, .. }, ProtectBy::Backup { how: new, .. }) => old == new,
        (old, new) => old == new,
    }
}

fn node(saved: &HostPlan, fresh: &HostPlan, progress: &Progress, out: &mut Vec<String>) {
    let (old, new) = (&saved.upgrade, &fresh.upgrade);
    if old.left_out.is_some() && new.left_out.is_some() {
        return;
    }
    let mut found = Vec::new();
    if old.manager != new.manager {
        found.push("its package manager is another one".to_owned());
    }
    packages(&old.pending, &new.pending, progress.node, &mut found);
    if old.reboot != new.reboot {
        found.push(format!("the reboot is {} now, was planned {}", new.reboot, old.reboot));
    } else if old.reboot != HostReboot::Never && !progress.node {
        around_a_reboot(saved, fresh, progress, &mut found);
    }
    out.extend(found.into_iter().map(|what| format!("the node: {what}")));
}

/// Compares what a reboot rests on: whether it is needed already, which guests it shuts down, and whether it takes this
/// program along.
fn around_a_reboot(saved: &HostPlan, fresh: &HostPlan, progress: &Progress, out: &mut Vec<String>) {
    let wanted = |upgrade: &HostUpgrade| upgrade.reboot_wanted.is_some();
    if saved.upgrade.reboot == HostReboot::IfNeeded && wanted(&saved.upgrade) != wanted(&fresh.upgrade) {
        out.push(match &fresh.upgrade.reboot_wanted {
            Some(why) => format!("it wants a reboot now ({why}), did not when it was planned"),
            None => "it wants no reboot now, did when it was planned".to_owned(),
        });
    }
    if saved.own != fresh.own {
        let place = |plan: &HostPlan| plan.own.map_or("proxmaint runs elsewhere".to_owned(), |own| own.to_string());
        out.push(format!("{} now, was planned where {}", place(fresh), place(saved)));
    }
    let running = |plan: &HostPlan| -> BTreeSet<(GuestId, GuestKind)> {
        let theirs = |guest: &&(GuestId, GuestKind)| !progress.begun.contains(&guest.0);
        plan.baseline.running.iter().filter(theirs).copied().collect()
    };
    let (before, now) = (running(saved), running(fresh));
    out.extend(now.difference(&before).map(|(id, kind)| format!("{kind} {id} runs now, did not when it was planned")));
    out.extend(
        before.difference(&now).map(|(id, kind)| format!("{kind} {id} does not run now, did when it was planned")),
    );
}

#[cfg(test)]
mod tests;
