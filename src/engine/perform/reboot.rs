//! Reboots a node: looks whether it may be, shuts its guests down, reboots it, and starts again what ran.
//!
//! None of these acts carries a key. A reboot is known by the boot that runs, the rest by which guests run. The list of
//! guests that ran is journaled before the first of them is shut down, and is owed from then on.

use std::collections::BTreeSet;
use std::time::Duration;

use super::discover::same_machine;
use super::evacuate;
use super::power::bring_up;
use super::task::{TaskEnd, known_task, since, task_end, tell};
use super::{Context, Report, change_failed, probed, refused, unclear};
use crate::engine::port::{GuestListing, GuestRef, Place, TaskState};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{BootId, GuestId, NodeName, StepKey};
use crate::inventory::{PackageManager, Power};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed, RebootFacts, RunningGuest};
use crate::plan::evacuation::{choose, sum_up};
use crate::plan::quorum::{Case, Verdict};

/// Tasks that a reboot may cut off: somebody looks at a screen.
const HARMLESS: [&str; 6] = ["vncproxy", "vncshell", "termproxy", "spiceproxy", "spiceshell", "startall"];

/// How long after the API answers the node's own start of its guests may take to appear: `pve-guests.service` follows
/// `pveproxy.service` within seconds.
const STARTALL_APPEARS: Duration = Duration::from_secs(15);

/// Looks whether the node may be rebooted now, and notes what runs on it. Changes nothing. What will pass by itself (a backup
/// at work, a guest's lock) is waited for within `lock_wait`.
///
/// Ceph, and HA that empties the node by somebody else's word, are waited for within limits of their own.
pub(super) async fn prepare(cx: &Context, node: &NodeName, manager: PackageManager, evacuate: bool) -> Outcome {
    let mut locks = Backoff::within(cx.lock_wait);
    let mut ceph = Backoff::within(cx.limits.ceph);
    let mut ha = Backoff::within(cx.limits.drain_ha);
    loop {
        let (reasons, waits) = match look_before(cx, node, manager, evacuate).await {
            Err(fault) => return Outcome::Refused(fault),
            Ok(Before::Ready(ready)) => return Outcome::Done(Detail::RebootReady(*ready)),
            Ok(Before::Never(reasons)) => return Outcome::Refused(Fault::permanent(reasons.join("; "))),
            Ok(Before::Locked(reasons)) => (reasons, locks.pause().await),
            Ok(Before::CephUnwell(reasons)) => (reasons, ceph.pause().await),
            Ok(Before::BeingEmptied(reasons)) => (reasons, ha.pause().await),
        };
        if !waits {
            return Outcome::Refused(Fault::permanent(reasons.join("; ")));
        }
    }
}

/// What a look before a reboot showed: what stands against it, and whether that passes by itself.
enum Before {
    Ready(Box<RebootFacts>),
    Never(Vec<String>),
    /// Something is at work that a reboot would cut off.
    Locked(Vec<String>),
    CephUnwell(Vec<String>),
    /// Somebody else put the node into maintenance mode, and HA still moves guests away.
    BeingEmptied(Vec<String>),
}

/// Looks what stands against a reboot. A question without an answer is an error: what is not known is not risked.
async fn look_before(cx: &Context, node: &NodeName, manager: PackageManager, evacuate: bool) -> Result<Before, Fault> {
    let found = retried(|| cx.ports.remote.identity(&Place::Node)).await?;
    same_machine(node, &found.hostname)?;
    let mut lasting = lost_quorum(cx, node).await?;
    if let Err(why) = retried(|| cx.ports.remote.packages_consistent(&Place::Node, manager)).await? {
        lasting.push(format!("the node's packages are not in order: {why}"));
    }
    let listed = retried(|| cx.ports.pve.guests(node)).await?;
    let paused = listed.iter().filter(|guest| !guest.template && guest.power == Power::Other);
    lasting.extend(paused.map(|guest| format!("{} {} is neither on nor off, and would be lost", guest.kind, guest.id)));
    let mut passing = at_work(cx, node).await?;
    for guest in listed.iter().filter(|guest| !guest.template) {
        if let Some(lock) = &guest.lock {
            passing.push(format!("{} {} is locked ({lock})", guest.kind, guest.id));
        }
    }
    if !lasting.is_empty() {
        lasting.extend(passing);
        return Ok(Before::Never(lasting));
    }
    if !passing.is_empty() {
        return Ok(Before::Locked(passing));
    }
    let ceph = retried(|| cx.ports.pve.ceph()).await?;
    if let Some(ceph) = ceph.as_ref().filter(|ceph| !ceph.troubles.is_empty()) {
        return Ok(Before::CephUnwell(vec![format!("Ceph is not well: {}", ceph.troubles.join("; "))]));
    }
    let (mut moves, mut maintenance) = (Vec::new(), false);
    if evacuate {
        let facts = evacuate::facts(cx, node, &listed).await?;
        let managed: Vec<String> =
            facts.guests.iter().filter(|guest| guest.ha).map(|guest| format!("{} {}", guest.kind, guest.id)).collect();
        if facts.maintenance && !managed.is_empty() {
            let what = "the node was put into HA maintenance mode by somebody else, and HA has not moved away yet";
            return Ok(Before::BeingEmptied(vec![format!("{what}: {}", managed.join(", "))]));
        }
        // Snapshots of this run are made by now.
        match choose(node, &facts, &BTreeSet::new()) {
            Ok(chosen) => moves = chosen,
            Err(stuck) => return Ok(Before::Never(vec![sum_up(&stuck).0])),
        }
        maintenance = !facts.maintenance && !managed.is_empty();
    }
    let os = retried(|| cx.ports.remote.inspect(&Place::Node, false)).await?;
    let ready = RebootFacts {
        boot_id: os.boot_id,
        kernel: os.kernel,
        expected: os.kernel_next,
        running: running(cx, node, &listed).await?,
        moves,
        maintenance,
        noout: ceph.is_some_and(|ceph| !ceph.noout),
    };
    Ok(Before::Ready(Box::new(ready)))
}

/// Says why the node's cluster can't do without it. A question without an answer is an error: what is not known is not risked.
async fn lost_quorum(cx: &Context, node: &NodeName) -> Result<Vec<String>, Fault> {
    let status = retried(|| cx.ports.pve.cluster_status()).await?;
    let Some(name) = &status.name else { return Ok(Vec::new()) };
    if !status.quorate {
        return Ok(vec![format!("cluster {name} has no quorum")]);
    }
    let others = status.nodes.iter().filter(|other| other.name != *node);
    let offline: Vec<&str> = others.filter(|other| !other.online).map(|other| other.name.as_str()).collect();
    if !offline.is_empty() {
        return Ok(vec![format!("cluster {name} has a node offline already: {}", offline.join(", "))]);
    }
    let quorum = retried(|| cx.ports.remote.quorum()).await?;
    let ha_resources = match Case::needs_ha(&quorum, cx.allow_quorum_loss) {
        true => retried(|| cx.ports.pve.ha_resources()).await?,
        false => Vec::new(),
    };
    let case = Case {
        cluster: name,
        nodes: status.nodes.len(),
        quorum: &quorum,
        loss_allowed: cx.allow_quorum_loss,
        ha: Ok(&ha_resources),
    };
    Ok(match case.judge() {
        Verdict::Kept(_) => Vec::new(),
        Verdict::Allowed(rest) => {
            tracing::warn!(%node, cluster = %name, "the quorum is lost while the node reboots, as allowed: {rest}");
            Vec::new()
        }
        Verdict::Refused(why) => vec![why],
    })
}

/// Names the tasks at work on the node that a reboot would cut off.
async fn at_work(cx: &Context, node: &NodeName) -> Result<Vec<String>, Fault> {
    let tasks = retried(|| cx.ports.pve.active_tasks(node)).await?;
    let cut_off = tasks.iter().filter(|task| task.running && !HARMLESS.contains(&task.kind.as_str()));
    Ok(cut_off
        .map(|task| match (task.kind.as_str(), task.id.as_str()) {
            ("vzdump", _) => format!("a backup is being made on the node ({})", task.upid),
            (kind, "") => format!("a task {kind} is at work on the node"),
            (kind, id) => format!("a task {kind} of {id} is at work on the node"),
        })
        .collect())
}

/// Returns the guests that run, in the order in which the node would start them: by `startup: order=`, those without one last,
/// then by vmid.
async fn running(cx: &Context, node: &NodeName, listed: &[GuestListing]) -> Result<Vec<RunningGuest>, Fault> {
    let ha = managed_by_ha(cx).await?;
    let mut all = Vec::new();
    for guest in listed.iter().filter(|guest| runs(guest)) {
        let at = GuestRef { node: node.clone(), kind: guest.kind, id: guest.id };
        let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
        let order = config.0.get("startup").and_then(|startup| start_order(startup));
        all.push((order.unwrap_or(u32::MAX), guest));
    }
    all.sort_by_key(|(order, guest)| (*order, guest.id));
    let noted = |guest: &GuestListing| RunningGuest {
        id: guest.id,
        kind: guest.kind,
        name: guest.name.clone(),
        ha: ha.contains(&guest.id),
    };
    Ok(all.into_iter().map(|(_, guest)| noted(guest)).collect())
}

/// Reads the order out of `startup` (`order=2,up=30`, or `2,up=30`).
fn start_order(startup: &str) -> Option<u32> {
    let of = |part: &str| part.trim().strip_prefix("order=").unwrap_or(part.trim()).parse().ok();
    startup.split(',').find_map(of)
}

async fn managed_by_ha(cx: &Context) -> Result<BTreeSet<GuestId>, Fault> {
    let all = retried(|| cx.ports.pve.resources()).await?;
    Ok(all.into_iter().filter(|guest| guest.ha).map(|guest| guest.id).collect())
}

fn runs(guest: &GuestListing) -> bool {
    !guest.template && guest.power != Power::Stopped
}

/// Lists the guests of the node that run and that HA does not see to.
async fn still_running(cx: &Context, node: &NodeName) -> Result<Vec<GuestListing>, Fault> {
    let ha = managed_by_ha(cx).await?;
    let mut listed = retried(|| cx.ports.pve.guests(node)).await?;
    listed.retain(|guest| runs(guest) && !ha.contains(&guest.id));
    Ok(listed)
}

fn names(guests: &[GuestListing]) -> String {
    let names: Vec<String> = guests.iter().map(|guest| format!("{} {}", guest.kind, guest.id)).collect();
    names.join(", ")
}

/// Shuts all guests down, in the node's own order, none of them hard.
pub(super) async fn stop_guests(
    cx: &Context,
    key: &StepKey,
    node: &NodeName,
    ready: &RebootFacts,
    mode: Mode,
) -> Report {
    match mode {
        Mode::Act => match may_stop(cx, node, ready).await {
            Ok(true) => Report::Ended(begin_stop(cx, key, node).await),
            Ok(false) => Report::Ended(Outcome::AlreadyDone(Detail::GuestsStopped)),
            Err(fault) => refused(fault),
        },
        Mode::Attach => Report::Ended(wait_until_stopped(cx, node).await),
        Mode::Probe => probed(match look_at_stop(cx, node).await {
            Ok(Stop::Done) => Probed::Ended(Outcome::Done(Detail::GuestsStopped)),
            Ok(Stop::AtWork) => Probed::Running,
            Ok(Stop::Ended(left)) => Probed::Ended(Outcome::Failed(not_obeyed(&left))),
            Ok(Stop::NotBegun(_)) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
    }
}

/// Tells whether there is anything to shut down. An error means: don't.
async fn may_stop(cx: &Context, node: &NodeName, ready: &RebootFacts) -> Result<bool, Fault> {
    let found = retried(|| cx.ports.remote.identity(&Place::Node)).await?;
    same_machine(node, &found.hostname)?;
    if found.boot_id != ready.boot_id {
        return Err(Fault::permanent("the node was rebooted meanwhile by somebody else"));
    }
    let left = still_running(cx, node).await?;
    // What is shut down here must be in the journal as owed.
    let known = |guest: &GuestListing| ready.running.iter().any(|noted| noted.id == guest.id && !noted.ha);
    let new: Vec<GuestListing> = left.iter().filter(|guest| !known(guest)).cloned().collect();
    if !new.is_empty() {
        return Err(Fault::permanent(format!("were started since it was looked at: {}", names(&new))));
    }
    Ok(!left.is_empty())
}

async fn begin_stop(cx: &Context, key: &StepKey, node: &NodeName) -> Outcome {
    let task = match retried(|| cx.ports.pve.stop_all(node, cx.limits.shutdown)).await {
        Ok(task) => task,
        Err(fault) => return change_failed(fault),
    };
    tell(cx, key, &task).await;
    match task_end(cx, &task, cx.limits.shutdown_all).await {
        // It ends well even where a guest did not obey.
        TaskEnd::Well | TaskEnd::Failed(_) => match still_running(cx, node).await {
            Ok(left) if left.is_empty() => Outcome::Done(Detail::GuestsStopped),
            Ok(left) => Outcome::Failed(not_obeyed(&left)),
            Err(fault) => Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
        },
        TaskEnd::Unknown(fault) => Outcome::Unknown(fault),
    }
}

/// How far the shutdown of all guests is.
enum Stop {
    Done,
    AtWork,
    /// The task that is known to have done it is over, and these run.
    Ended(Vec<GuestListing>),
    /// Nobody is at it, and these run.
    NotBegun(Vec<GuestListing>),
}

async fn look_at_stop(cx: &Context, node: &NodeName) -> Result<Stop, Fault> {
    let stops = |kind: &str| matches!(kind, "stopall" | "vzshutdown" | "qmshutdown");
    let known = known_task(cx).await?;
    let tasks = retried(|| cx.ports.pve.active_tasks(node)).await?;
    if known == Some(TaskState::Running) || tasks.iter().any(|task| task.running && stops(&task.kind)) {
        return Ok(Stop::AtWork);
    }
    let left = still_running(cx, node).await?;
    Ok(match known {
        _ if left.is_empty() => Stop::Done,
        Some(TaskState::Ok { .. } | TaskState::Failed(_)) => Stop::Ended(left),
        Some(TaskState::Running | TaskState::Unknown(_)) | None => Stop::NotBegun(left),
    })
}

async fn wait_until_stopped(cx: &Context, node: &NodeName) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.shutdown_all);
    loop {
        match look_at_stop(cx, node).await {
            Ok(Stop::Done) => return Outcome::Done(Detail::GuestsStopped),
            Ok(Stop::AtWork) => {}
            Ok(Stop::Ended(left) | Stop::NotBegun(left)) => return Outcome::Failed(not_obeyed(&left)),
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            let what = format!("guests are still being shut down after {:?}", cx.limits.shutdown_all);
            return Outcome::Unknown(Fault::ambiguous(what));
        }
    }
}

fn not_obeyed(left: &[GuestListing]) -> Fault {
    Fault::permanent(format!("not rebooted: did not obey their shutdown: {}", names(left)))
        .hint("guests are never powered off hard here; shut them down by hand, then run again")
}

/// Reboots the node.
pub(super) async fn reboot(cx: &Context, key: &StepKey, node: &NodeName, ready: &RebootFacts, mode: Mode) -> Report {
    match mode {
        Mode::Act => match before_reboot(cx, node, ready).await {
            Ok(Some(now)) => Report::Ended(Outcome::AlreadyDone(Detail::Rebooted(now))),
            Ok(None) => match retried(|| cx.ports.pve.reboot_node(node)).await {
                Ok(()) => Report::Ended(wait_for_boot(cx, node, &ready.boot_id).await),
                Err(fault) => {
                    tracing::info!(%key, %fault, "the answer to a reboot may go down with the node");
                    Report::Ended(change_failed(fault))
                }
            },
            Err(fault) => refused(fault),
        },
        Mode::Attach => Report::Ended(wait_for_boot(cx, node, &ready.boot_id).await),
        Mode::Probe => probe_reboot(cx, node, &ready.boot_id).await,
    }
}

/// Looks a last time before the reboot; returns the boot that runs where it is another one already. An error means: don't.
async fn before_reboot(cx: &Context, node: &NodeName, ready: &RebootFacts) -> Result<Option<BootId>, Fault> {
    let found = retried(|| cx.ports.remote.identity(&Place::Node)).await?;
    same_machine(node, &found.hostname)?;
    if found.boot_id != ready.boot_id {
        return Ok(Some(found.boot_id));
    }
    let left = still_running(cx, node).await?;
    if !left.is_empty() {
        return Err(Fault::permanent(format!("not rebooted: still run: {}", names(&left))));
    }
    // Shutting guests down takes its time, in which a node may be lost, a backup begin, and packages be upgraded.
    let mut reasons = lost_quorum(cx, node).await?;
    reasons.extend(at_work(cx, node).await?);
    if let Err(why) = retried(|| cx.ports.remote.packages_consistent(&Place::Node, PackageManager::Apt)).await? {
        reasons.push(format!("the node's packages are not in order: {why}"));
    }
    match reasons.is_empty() {
        true => Ok(None),
        false => Err(Fault::permanent(format!("not rebooted: {}", reasons.join("; ")))),
    }
}

/// Which boot the node runs.
enum Boot {
    Other(BootId),
    Same,
    /// It does not answer: it is on its way, or lost.
    Away(Fault),
}

async fn look_at_boot(cx: &Context, node: &NodeName, before: &BootId) -> Result<Boot, Fault> {
    match cx.ports.remote.identity(&Place::Node).await {
        Ok(found) => {
            same_machine(node, &found.hostname)?;
            Ok(if found.boot_id == *before { Boot::Same } else { Boot::Other(found.boot_id) })
        }
        Err(fault) if matches!(fault.class, FaultClass::Transient | FaultClass::Ambiguous) => Ok(Boot::Away(fault)),
        Err(fault) => Err(fault),
    }
}

/// Waits, within `limits.reboot`, until the node answers in another boot. That it does not answer meanwhile is expected.
async fn wait_for_boot(cx: &Context, node: &NodeName, before: &BootId) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.reboot);
    loop {
        let last = match look_at_boot(cx, node, before).await {
            Ok(Boot::Other(now)) => return Outcome::Done(Detail::Rebooted(now)),
            Ok(Boot::Same) => Outcome::Failed(Fault::permanent(format!(
                "the node was asked to reboot, and still runs the same boot after {:?}",
                cx.limits.reboot
            ))),
            Ok(Boot::Away(fault)) => Outcome::Unknown(
                Fault::ambiguous(format!("the node does not answer {:?} after its reboot: {fault}", cx.limits.reboot))
                    .hint("look at its console; no other node is rebooted meanwhile"),
            ),
            Err(fault) => Outcome::Unknown(fault),
        };
        if !backoff.pause().await {
            return last;
        }
    }
}

/// Looks whether the reboot was done. A node that goes down answers for a while: it counts as not rebooted only when SSH and
/// API answer in the same boot for all of `limits.settle`.
async fn probe_reboot(cx: &Context, node: &NodeName, before: &BootId) -> Report {
    let mut backoff = Backoff::within(cx.limits.settle);
    loop {
        match look_at_boot(cx, node, before).await {
            Ok(Boot::Other(now)) => return probed(Probed::Ended(Outcome::Done(Detail::Rebooted(now)))),
            Ok(Boot::Away(_)) => return probed(Probed::Running),
            Ok(Boot::Same) => {}
            Err(fault) => return unclear(Mode::Probe, fault),
        }
        if let Err(fault) = cx.ports.pve.version().await {
            tracing::info!(%fault, "the node's API does not answer: it may be going down");
            return probed(Probed::Running);
        }
        if !backoff.pause().await {
            return probed(Probed::NotDone);
        }
    }
}

/// Starts again what ran.
pub(super) async fn start_guests(
    cx: &Context,
    key: &StepKey,
    node: &NodeName,
    guests: &[RunningGuest],
    booted: bool,
    mode: Mode,
) -> Report {
    match mode {
        Mode::Act => Report::Ended(start_missing(cx, key, node, guests, booted).await),
        Mode::Attach => Report::Ended(wait_for_guests(cx, node, guests).await),
        Mode::Probe => probed(match missing(cx, node, guests).await {
            Ok(left) if left.is_empty() => Probed::Ended(Outcome::Done(Detail::GuestsStarted)),
            // What is being started meanwhile is waited for by the next round.
            Ok(_) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
    }
}

async fn start_missing(cx: &Context, key: &StepKey, node: &NodeName, guests: &[RunningGuest], booted: bool) -> Outcome {
    if let Err(fault) = node_started(cx, node, guests, booted).await {
        return Outcome::Failed(Fault { what: format!("guests were not started again: {}", fault.what), ..fault });
    }
    let mut failures = Vec::new();
    let left = match missing(cx, node, guests).await {
        Ok(left) => left,
        Err(fault) => return Outcome::Failed(fault),
    };
    for at in left {
        if let Err(fault) = bring_up(cx, key, &at).await {
            failures.push(format!("{} {} ({fault})", at.kind, at.id));
        }
    }
    match missing(cx, node, guests).await {
        Ok(left) if left.is_empty() => Outcome::Done(Detail::GuestsStarted),
        Ok(left) => {
            let left: Vec<String> = left.iter().map(|at| format!("{} {}", at.kind, at.id)).collect();
            let why = if failures.is_empty() { left } else { failures };
            Outcome::Failed(
                Fault::permanent(format!("ran before and do not run again: {}", why.join(", ")))
                    .hint("they stay owed: the next run starts them first"),
            )
        }
        Err(fault) => Outcome::Failed(fault),
    }
}

async fn wait_for_guests(cx: &Context, node: &NodeName, guests: &[RunningGuest]) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.start_all);
    loop {
        match missing(cx, node, guests).await {
            Ok(left) if left.is_empty() => return Outcome::Done(Detail::GuestsStarted),
            Ok(_) => {}
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            let what = format!("guests are still not started after {:?}", cx.limits.start_all);
            return Outcome::Failed(Fault::permanent(what));
        }
    }
}

/// Returns those of the guests that are here and do not run, in their order. One that was moved away or destroyed meanwhile is
/// not ours to start, and HA starts its own.
async fn missing(cx: &Context, node: &NodeName, guests: &[RunningGuest]) -> Result<Vec<GuestRef>, Fault> {
    let listed = retried(|| cx.ports.pve.guests(node)).await?;
    let off = |guest: &&RunningGuest| {
        !guest.ha
            && listed.iter().any(|here| here.id == guest.id && here.kind == guest.kind && here.power != Power::Running)
    };
    let at = |guest: &RunningGuest| GuestRef { node: node.clone(), kind: guest.kind, id: guest.id };
    Ok(guests.iter().filter(off).map(at).collect())
}

/// Waits, within `limits.start_all`, until the API answers, the cluster lets guests be started, and the node's own start of its
/// guests (`startall`) is over. Where nothing is missing, or the node was not booted, there is no such start to wait for.
async fn node_started(cx: &Context, node: &NodeName, guests: &[RunningGuest], booted: bool) -> Result<(), Fault> {
    let mut backoff = Backoff::within(cx.limits.start_all);
    // Without quorum a node starts nothing.
    loop {
        let why = match cx.ports.pve.cluster_status().await {
            Ok(status) if status.quorate => break,
            Ok(_) => Fault::permanent("the cluster has no quorum"),
            Err(fault) => fault,
        };
        if !backoff.pause().await {
            return Err(why);
        }
    }
    let since = since(cx);
    let mut appears = Backoff::within(STARTALL_APPEARS);
    loop {
        let tasks = retried(|| cx.ports.pve.tasks_of_type(node, "startall", since)).await?;
        let waits = match tasks.iter().any(|task| task.running) {
            true => backoff.pause().await,
            false if !booted || !tasks.is_empty() || missing(cx, node, guests).await?.is_empty() => false,
            false => appears.pause().await,
        };
        if !waits {
            return Ok(());
        }
    }
}
