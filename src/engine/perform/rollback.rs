//! Brings a guest back to its snapshot: looks first whether that can be done, does it, and checks the guest afterwards.
//!
//! A rollback stops a VM hard, restores the guest's old config, and takes back everything that was written since, the files of
//! detached jobs among it. It carries no key: what it is known by are its task and the guest's lock.
//!
//! It undoes what was begun, so it follows its guest: a snapshot moves along with it to another node.

use std::collections::BTreeMap;

use super::health::{self, Before};
use super::inside::{self, volumes};
use super::task::{TaskEnd, guest_tasks, known_task, task_end, tell};
use super::whereabouts::{find, find_by};
use super::{Context, Report, change_failed, guest_ref, idle_guest, probed, refused, unclear};
use crate::choices::ViaChoice;
use crate::engine::port::{GuestRef, TaskState, ZfsSince};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{GuestKind, NodeName, SnapshotName, StepKey};
use crate::inventory::{Inside, PackageChange, Power, Via};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed, Protection};
use crate::plan::GuestAddr;

/// The lock that a guest's config carries while it is rolled back.
const LOCK: &str = "rollback";

/// What a look at a guest showed of its rollback.
enum Found {
    Done,
    AtWork,
    Failed(String),
    NotDone,
}

/// Rolls a guest back.
pub(super) async fn roll_back(
    cx: &Context,
    key: &StepKey,
    guest: &GuestAddr,
    snapshot: &SnapshotName,
    mode: Mode,
) -> Report {
    let at = match mode {
        Mode::Act => match before(cx, guest, snapshot).await {
            Ok(at) => return Report::Ended(begin(cx, key, &at, snapshot).await),
            Err(fault) => return refused(fault),
        },
        Mode::Attach | Mode::Probe => match find(cx, guest).await {
            Ok(found) => guest_ref(&found),
            Err(fault) => return unclear(mode, fault),
        },
    };
    let planned = guest_ref(guest);
    if mode == Mode::Attach {
        return Report::Ended(wait_by_looking(cx, &planned, &at).await);
    }
    probed(match look(cx, &planned, &at).await {
        Ok(Found::Done) => Probed::Ended(Outcome::Done(Detail::RolledBack)),
        Ok(Found::AtWork) => Probed::Running,
        Ok(Found::Failed(why)) => Probed::Ended(Outcome::Failed(failed(cx, &at, &why).await)),
        Ok(Found::NotDone) => Probed::NotDone,
        Err(fault) => Probed::Unclear(fault),
    })
}

/// Finds a guest, and the ways to the node that has it now: that one is asked what is on its disks.
async fn on_its_node(cx: &Context, guest: &GuestAddr) -> Result<(Context, GuestAddr), Fault> {
    find_by(cx, guest, &Via::Pct).await
}

/// Looks right before; returns where the guest is. An error means: don't.
async fn before(cx: &Context, guest: &GuestAddr, snapshot: &SnapshotName) -> Result<GuestRef, Fault> {
    let (cx, guest) = &on_its_node(cx, guest).await?;
    idle_guest(cx, guest).await?;
    let at = guest_ref(guest);
    // One that is not complete is not listed.
    if !retried(|| cx.ports.pve.snapshots(&at)).await?.iter().any(|there| there.name == *snapshot) {
        return Err(Fault::permanent(format!("its snapshot {snapshot} is not there any more")));
    }
    nothing_in_the_way(cx, guest, snapshot).await?;
    Ok(at)
}

/// Makes sure, before an upgrade that is to be rolled back where it fails, that it could be.
pub(super) async fn possible(cx: &Context, guest: &GuestAddr, protection: &Protection) -> Result<(), Fault> {
    match protection {
        Protection::Snapshot { name, .. } => nothing_in_the_way(cx, guest, name).await,
        // What can't be rolled back in any case is not asked for it.
        Protection::Backup { .. } | Protection::Waived => Ok(()),
    }
}

async fn nothing_in_the_way(cx: &Context, guest: &GuestAddr, snapshot: &SnapshotName) -> Result<(), Fault> {
    let obstacles = obstacles(cx, guest, snapshot).await?;
    match obstacles.is_empty() {
        true => Ok(()),
        false => Err(Fault::permanent(format!("could not be rolled back: {}", obstacles.join("; "))).hint(
            "remove what stands in the way, or leave the guest as it is where its upgrade fails: on_failure = \"keep\"",
        )),
    }
}

/// Says what stands in the way of a rollback, in words: replication, and newer snapshots on ZFS, which only rolls back to the
/// newest one.
///
/// # Errors
/// API or node can't be asked.
pub async fn obstacles(cx: &Context, guest: &GuestAddr, snapshot: &SnapshotName) -> Result<Vec<String>, Fault> {
    let jobs = retried(|| cx.ports.pve.replication()).await?;
    let jobs = jobs.into_iter().filter(|job| job.guest == guest.id);
    let mut all: Vec<String> = jobs.map(|job| format!("it is replicated (job {})", job.id)).collect();
    let newer = since(cx, guest, snapshot).await?.newer;
    if let Some((first, others)) = newer.split_first() {
        let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        all.push(format!("newer snapshots on its ZFS: {first}{others}"));
    }
    Ok(all)
}

async fn since(cx: &Context, guest: &GuestAddr, snapshot: &SnapshotName) -> Result<ZfsSince, Fault> {
    let at = guest_ref(guest);
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    let volumes = volumes(&config);
    if volumes.is_empty() {
        return Ok(ZfsSince::default());
    }
    retried(|| cx.ports.remote.zfs_since(&volumes, snapshot)).await
}

/// What a rollback would cost, as far as can be told beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The node that has the guest now, and on which it is rolled back.
    pub node: NodeName,
    /// Whether the guest runs: it is stopped hard then.
    pub runs: bool,
    /// Bytes that were written since the snapshot, where the node's ZFS tells.
    pub written: Option<u64>,
    /// What stands in the way, in words.
    pub obstacles: Vec<String>,
    /// Snapshots that are newer than the one that is gone back to, by name.
    pub newer: Vec<SnapshotName>,
}

/// Looks at a guest before the operator is asked about its rollback.
///
/// # Errors
/// The snapshot is not there, it is another guest, or API or node can't be asked.
pub async fn lost(cx: &Context, guest: &GuestAddr, snapshot: &SnapshotName) -> Result<Lost, Fault> {
    let (cx, guest) = &on_its_node(cx, guest).await?;
    let at = guest_ref(guest);
    let (power, lock) = retried(|| cx.ports.pve.guest_status(&at)).await?;
    let all = retried(|| cx.ports.pve.snapshots(&at)).await?;
    let Some(own) = all.iter().find(|there| there.name == *snapshot) else {
        return Err(Fault::permanent(format!("its snapshot {snapshot} is not there any more"))
            .hint("`proxmaint snapshots list` shows what there is"));
    };
    let newer = all.iter().filter(|other| other.name != own.name && other.taken > own.taken);
    let newer = newer.map(|other| other.name.clone()).collect();
    let mut obstacles = obstacles(cx, guest, snapshot).await?;
    obstacles.extend(lock.map(|lock| format!("it is locked ({lock}): something else works on it")));
    let written = since(cx, guest, snapshot).await?.written;
    Ok(Lost { node: at.node, runs: power == Power::Running, written, obstacles, newer })
}

async fn begin(cx: &Context, key: &StepKey, at: &GuestRef, snapshot: &SnapshotName) -> Outcome {
    let task = match retried(|| cx.ports.pve.rollback_snapshot(at, snapshot)).await {
        Ok(task) => task,
        Err(fault) => return change_failed(fault),
    };
    tell(cx, key, &task).await;
    match task_end(cx, &task, cx.limits.rollback).await {
        TaskEnd::Well => Outcome::Done(Detail::RolledBack),
        TaskEnd::Failed(why) => Outcome::Failed(failed(cx, at, &why).await),
        TaskEnd::Unknown(fault) => Outcome::Unknown(fault),
    }
}

/// Says how a rollback failed, and whether the guest runs: one that fails half-way has stopped it already.
async fn failed(cx: &Context, at: &GuestRef, why: &str) -> Fault {
    let power = match retried(|| cx.ports.pve.guest_status(at)).await {
        Ok((Power::Running, _)) => "",
        Ok((Power::Stopped | Power::Other, _)) => "; it does not run now",
        Err(_) => "; whether it runs can't be told",
    };
    let tool = match at.kind {
        GuestKind::Ct => "pct",
        GuestKind::Vm => "qm",
    };
    Fault::permanent(format!("its rollback failed: {why}{power}")).hint(format!(
        "on {}: `{tool} listsnapshot {}` and `{tool} config {}` show how it stands",
        at.node, at.id, at.id
    ))
}

/// Looks what became of a rollback: its task, then the lock that a rollback holds, then whatever task rolled the guest back since
/// the intent, where the guest is now or was planned.
async fn look(cx: &Context, planned: &GuestRef, at: &GuestRef) -> Result<Found, Fault> {
    let mut tasks = guest_tasks(cx, at, &["rollback"]).await?;
    if at != planned {
        tasks.extend(guest_tasks(cx, planned, &["rollback"]).await?);
    }
    let known = known_task(cx).await?;
    if tasks.iter().any(|task| task.running) || known == Some(TaskState::Running) {
        return Ok(Found::AtWork);
    }
    match known {
        Some(TaskState::Ok { .. }) => return Ok(Found::Done),
        Some(TaskState::Failed(why)) => return Ok(Found::Failed(why)),
        Some(TaskState::Running | TaskState::Unknown(_)) | None => {}
    }
    let (_, lock) = retried(|| cx.ports.pve.guest_status(at)).await?;
    if lock.as_deref() == Some(LOCK) {
        return match (known, tasks.is_empty()) {
            // Its task may not be listed yet.
            (None, true) => Ok(Found::AtWork),
            _ => Err(Fault::permanent(format!("its rollback died and left the lock `{LOCK}` behind"))
                .hint("look at the guest on its node; when nothing works on it any more, unlock it (`pct unlock`, `qm unlock`)")),
        };
    }
    // The token's own tasks are always shown to it; those of earlier rounds are known, and are not this one's.
    let mut newest = BTreeMap::new();
    for task in tasks.into_iter().filter(|task| !cx.earlier.contains(&task.upid)) {
        newest.insert(task.started, task.upid);
    }
    let Some((_, task)) = newest.pop_last() else { return Ok(Found::NotDone) };
    match retried(|| cx.ports.pve.task(&task)).await? {
        TaskState::Running => Ok(Found::AtWork),
        TaskState::Ok { .. } => Ok(Found::Done),
        TaskState::Failed(why) => Ok(Found::Failed(why)),
        TaskState::Unknown(why) => Err(Fault::ambiguous(format!("what became of its rollback can't be told: {why}"))),
    }
}

async fn wait_by_looking(cx: &Context, planned: &GuestRef, at: &GuestRef) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.rollback);
    loop {
        match look(cx, planned, at).await {
            Ok(Found::Done) => return Outcome::Done(Detail::RolledBack),
            Ok(Found::Failed(why)) => return Outcome::Failed(failed(cx, at, &why).await),
            Ok(Found::NotDone) => {
                return Outcome::Unknown(Fault::ambiguous("its rollback ended, and it can't be told how"));
            }
            Ok(Found::AtWork) => {}
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            let what = format!("its rollback still works after {:?}", cx.limits.rollback);
            return Outcome::Unknown(Fault::ambiguous(what));
        }
    }
}

/// Checks a guest after its rollback: it runs, it is the right machine, its packages are what they were before the upgrade, and
/// it does as it did then.
/// It has just been started, so it is asked within the limit of a boot.
pub(super) async fn recheck(
    cx: &Context,
    guest: &GuestAddr,
    via: ViaChoice,
    pending: &[PackageChange],
    before: &Before<'_>,
) -> Outcome {
    match rechecked(cx, guest, via, pending, before).await {
        Ok(()) => Outcome::Done(Detail::Rechecked),
        Err(fault) => Outcome::Failed(fault),
    }
}

async fn rechecked(
    cx: &Context,
    guest: &GuestAddr,
    via: ViaChoice,
    pending: &[PackageChange],
    before: &Before<'_>,
) -> Result<(), Fault> {
    // It may be entered through its node.
    let (cx, guest) = &match via {
        ViaChoice::Pct | ViaChoice::Auto => on_its_node(cx, guest).await?,
        ViaChoice::Ssh | ViaChoice::Agent => (cx.clone(), find(cx, guest).await?),
    };
    let at = guest_ref(guest);
    let (power, _) = retried(|| cx.ports.pve.guest_status(&at)).await?;
    if power != Power::Running {
        return Err(Fault::permanent("it does not run"));
    }
    let (via, os) = match inside::answering(cx, guest, via, false).await? {
        Inside::Seen { via, os } => (via, os),
        Inside::Unreachable(why) | Inside::NoWayIn(why) => return Err(Fault::transient(format!("no answer: {why}"))),
        Inside::NotLooked => return Err(Fault::new(FaultClass::Transient, "it was not looked into")),
    };
    if let Some(why) = &os.unfit {
        return Err(Fault::permanent(format!("its packages are not in order: {why}")));
    }
    let now: BTreeMap<&str, &PackageChange> = os.pending.iter().map(|change| (change.name.as_str(), change)).collect();
    // What is pending again has the version that it had. Another new version may have come meanwhile.
    let other = pending.iter().filter(|was| now.get(was.name.as_str()).is_none_or(|is| is.old != was.old));
    let other: Vec<&str> = other.map(|was| was.name.as_str()).collect();
    if !other.is_empty() {
        return Err(Fault::permanent(format!("packages are not what they were before: {}", other.join(", "))));
    }
    for remark in health::compared(cx, guest, &via, before).await? {
        tracing::info!(guest = %guest.id, %remark, "after its rollback");
    }
    Ok(())
}
