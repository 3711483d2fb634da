//! Checks afterwards: what ran runs and answers, what was pending is applied. Reads only.

use std::collections::BTreeSet;
use std::time::Duration;

use super::health::{self, Before};
use super::whereabouts::find_by;
use super::{Context, guest_ref, place_of, right_machine_in_time};
use crate::engine::port::{GuestRef, Place};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{GuestId, NodeName};
use crate::inventory::{OsFacts, PackageChange, Power, Via};
use crate::machine::outcome::{CheckReport, Detail, Fault, Outcome, RebootFacts, Remarks, VerifyReport};
use crate::plan::{Baseline, GuestAddr};

/// Checks a guest after its upgrade.
pub(super) async fn guest(
    cx: &Context,
    guest: &GuestAddr,
    via: &Via,
    pending: &[PackageChange],
    before: &Before<'_>,
) -> Outcome {
    match check_guest(cx, guest, via, pending, before).await {
        Ok(report) => Outcome::Done(Detail::Checked(report)),
        Err(fault) => Outcome::Failed(fault),
    }
}

async fn check_guest(
    cx: &Context,
    guest: &GuestAddr,
    via: &Via,
    pending: &[PackageChange],
    before: &Before<'_>,
) -> Result<CheckReport, Fault> {
    // It may have been moved since its upgrade began: what was done is checked where it is.
    let (cx, guest) = &find_by(cx, guest, via).await?;
    let at = guest_ref(guest);
    let (power, _) = retried(|| cx.ports.pve.guest_status(&at)).await?;
    if power != Power::Running {
        return Err(Fault::permanent("it does not run any more after its upgrade"));
    }
    let place = place_of(guest, via);
    // It may have been rebooted, and its upgrade may have restarted its network.
    right_machine_in_time(cx, guest, &place).await?;
    let os = retried(|| cx.ports.remote.inspect(&place, false)).await?;
    let changes = applied(pending, &os)?;
    let health = health::compared(cx, guest, via, before).await?;
    Ok(CheckReport {
        changes,
        reboot_wanted: os.reboot_wanted,
        boot_id: Some(os.boot_id),
        remarks: Remarks { held: os.held, leftovers: os.leftovers, restart_needed: os.restart_needed, health },
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
    // Packages restart their own services; a boot starts all of them, and HA its guests after that.
    let limit = match rebooted {
        Some(_) => cx.limits.boot,
        None => cx.limits.settle,
    };
    if let Some(ready) = rebooted {
        another_boot(cx, ready).await?;
        in_quorum(cx, limit).await?;
    }
    services_up(cx, node, &baseline.services, limit).await?;
    guests_run(cx, node, baseline, if rebooted.is_some() { limit } else { Duration::ZERO }).await?;
    if let Some(ready) = rebooted {
        guests_home(cx, ready).await?;
    }
    let os = retried(|| cx.ports.remote.inspect(&Place::Node, false)).await?;
    Ok(VerifyReport {
        changes: applied(pending, &os)?,
        reboot_wanted: os.reboot_wanted,
        rebooted: rebooted.map(|_| os.kernel.clone()),
        remarks: Remarks {
            held: os.held,
            leftovers: os.leftovers,
            restart_needed: os.restart_needed,
            health: Vec::new(),
        },
    })
}

/// Makes sure that the node runs another boot than before its reboot, with the kernel that was to come.
async fn another_boot(cx: &Context, ready: &RebootFacts) -> Result<(), Fault> {
    let os = retried(|| cx.ports.remote.inspect(&Place::Node, false)).await?;
    if os.boot_id == ready.boot_id {
        return Err(Fault::permanent("the node was not rebooted: it still runs the boot from before"));
    }
    match &ready.expected {
        Some(expected) if *expected != os.kernel => Err(Fault::permanent(format!(
            "the node was rebooted into kernel {}, and not into {expected}",
            os.kernel
        ))
        .hint(
            "`proxmox-boot-tool kernel list` on the node says which kernels its boot loader has, and which is pinned",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Waits, within a limit, until the node's cluster has quorum and every node of it is online.
async fn in_quorum(cx: &Context, limit: Duration) -> Result<(), Fault> {
    let mut backoff = Backoff::within(limit);
    loop {
        let status = retried(|| cx.ports.pve.cluster_status()).await?;
        let Some(name) = &status.name else { return Ok(()) };
        let offline: Vec<&str> =
            status.nodes.iter().filter(|node| !node.online).map(|node| node.name.as_str()).collect();
        if status.quorate && offline.is_empty() {
            return Ok(());
        }
        if !backoff.pause().await {
            let what = match status.quorate {
                false => format!("cluster {name} has no quorum since the reboot"),
                true => format!("cluster {name} has a node offline since the reboot: {}", offline.join(", ")),
            };
            return Err(Fault::permanent(what).hint("`pvecm status` on the node says who is missing"));
        }
    }
}

/// Makes sure, within a limit, that the guests that ran before run.
async fn guests_run(cx: &Context, node: &NodeName, baseline: &Baseline, limit: Duration) -> Result<(), Fault> {
    let mut backoff = Backoff::within(limit);
    loop {
        let mut stopped = Vec::new();
        let here = retried(|| cx.ports.pve.guests(node)).await?;
        let runs = |id: GuestId, kind| {
            here.iter().any(|guest| guest.id == id && guest.kind == kind && guest.power == Power::Running)
        };
        for (id, kind) in baseline.running.iter().filter(|(id, kind)| !runs(*id, *kind)) {
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
        if stopped.is_empty() {
            return Ok(());
        }
        if !backoff.pause().await {
            return Err(Fault::permanent(format!("ran before and does not run any more: {}", stopped.join(", "))));
        }
    }
}

/// Makes sure that no guest is left where it was moved to. One that somebody else moved on, or destroyed, is not ours any more.
async fn guests_home(cx: &Context, ready: &RebootFacts) -> Result<(), Fault> {
    if ready.moves.is_empty() {
        return Ok(());
    }
    let all = retried(|| cx.ports.pve.resources()).await?;
    let away = ready.moves.iter().filter_map(|moved| {
        let now = all.iter().find(|guest| guest.id == moved.id && moved.to() == Some(&guest.node))?;
        Some(format!("{} {} (on {})", moved.kind, moved.id, now.node))
    });
    let away: Vec<String> = away.collect();
    match away.is_empty() {
        true => Ok(()),
        false => {
            Err(Fault::permanent(format!("were moved away for the reboot and are not home again: {}", away.join(", "))))
        }
    }
}

/// Waits, within a limit, until the services that ran before run again.
async fn services_up(cx: &Context, node: &NodeName, before: &[String], limit: Duration) -> Result<(), Fault> {
    let mut backoff = Backoff::within(limit);
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
