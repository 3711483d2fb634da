//! Checks afterwards: what ran runs and answers, what was pending is applied. Reads only.

use std::collections::BTreeSet;

use super::{Context, guest_ref, place_of, right_machine};
use crate::engine::port::{GuestRef, Place};
use crate::engine::wait::{Backoff, retried};
use crate::ids::NodeName;
use crate::inventory::{OsFacts, PackageChange, Power, Via};
use crate::machine::outcome::{CheckReport, Detail, Fault, Outcome, RebootFacts, Remarks, VerifyReport};
use crate::plan::{Baseline, GuestAddr};

/// Checks a guest after its upgrade.
pub(super) async fn guest(cx: &Context, guest: &GuestAddr, via: &Via, pending: &[PackageChange]) -> Outcome {
    match check_guest(cx, guest, via, pending).await {
        Ok(report) => Outcome::Done(Detail::Checked(report)),
        Err(fault) => Outcome::Failed(fault),
    }
}

async fn check_guest(
    cx: &Context,
    guest: &GuestAddr,
    via: &Via,
    pending: &[PackageChange],
) -> Result<CheckReport, Fault> {
    let at = guest_ref(guest);
    let (power, _) = retried(|| cx.ports.pve.guest_status(&at)).await?;
    if power != Power::Running {
        return Err(Fault::permanent("it does not run any more after its upgrade"));
    }
    let place = place_of(guest, via);
    right_machine(cx, guest, &place).await?;
    let os = retried(|| cx.ports.remote.inspect(&place, false)).await?;
    Ok(CheckReport {
        changes: applied(pending, &os)?,
        reboot_wanted: os.reboot_wanted,
        boot_id: Some(os.boot_id),
        remarks: Remarks { held: os.held, leftovers: os.leftovers, restart_needed: os.restart_needed },
    })
}

/// Returns what was applied of what was pending. Packages that are held back stay by the administrator's will.
fn applied(pending: &[PackageChange], os: &OsFacts) -> Result<Vec<PackageChange>, Fault> {
    let still: BTreeSet<&str> = os.pending.iter().map(|change| change.name.as_str()).collect();
    let (left, done): (Vec<&PackageChange>, Vec<&PackageChange>) =
        pending.iter().partition(|change| still.contains(change.name.as_str()));
    let unwanted: Vec<&str> = left
        .iter()
        .map(|change| change.name.as_str())
        .filter(|name| !os.held.iter().any(|held| held == name))
        .collect();
    if unwanted.is_empty() {
        return Ok(done.into_iter().cloned().collect());
    }
    Err(Fault::permanent(format!("still pending after the upgrade: {}", unwanted.join(", "))))
}

/// Checks the node and what ran on it.
pub(super) async fn node(
    cx: &Context,
    node: &NodeName,
    baseline: &Baseline,
    pending: &[PackageChange],
    rebooted: Option<&RebootFacts>,
) -> Outcome {
    match check_node(cx, node, baseline, pending, rebooted).await {
        Ok(report) => Outcome::Done(Detail::Verified(report)),
        Err(fault) => Outcome::Failed(fault),
    }
}

async fn check_node(
    cx: &Context,
    node: &NodeName,
    baseline: &Baseline,
    pending: &[PackageChange],
    rebooted: Option<&RebootFacts>,
) -> Result<VerifyReport, Fault> {
    services_up(cx, node, &baseline.services).await?;
    let mut stopped = Vec::new();
    for (id, kind) in &baseline.running {
        // A guest may have been moved away meanwhile by somebody else: it is looked for where it is now.
        let Some(node) = retried(|| cx.ports.pve.locate(*id)).await? else {
            stopped.push(format!("{kind} {id} (gone)"));
            continue;
        };
        let at = GuestRef { node, kind: *kind, id: *id };
        let (power, _) = retried(|| cx.ports.pve.guest_status(&at)).await?;
        if power != Power::Running {
            stopped.push(format!("{kind} {id}"));
        }
    }
    if !stopped.is_empty() {
        return Err(Fault::permanent(format!("ran before and does not run any more: {}", stopped.join(", "))));
    }
    let os = retried(|| cx.ports.remote.inspect(&Place::Node, false)).await?;
    Ok(VerifyReport {
        changes: applied(pending, &os)?,
        reboot_wanted: os.reboot_wanted,
        rebooted: rebooted.map(|_| os.kernel.clone()),
        remarks: Remarks { held: os.held, leftovers: os.leftovers, restart_needed: os.restart_needed },
    })
}

/// Waits, within bounds, until the services that ran before run again: packages restart their own.
async fn services_up(cx: &Context, node: &NodeName, before: &[String]) -> Result<(), Fault> {
    let mut backoff = Backoff::within(cx.limits.settle);
    loop {
        let now = retried(|| cx.ports.pve.services(node)).await?;
        let down: Vec<&str> = before
            .iter()
            .filter(|name| !now.iter().any(|service| service.name == **name && service.running))
            .map(String::as_str)
            .collect();
        if down.is_empty() {
            return Ok(());
        }
        if !backoff.pause().await {
            return Err(Fault::permanent(format!("services of the node are down: {}", down.join(", ")))
                .hint("`systemctl status` on the node says why"));
        }
    }
}
