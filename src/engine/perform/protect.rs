//! Protects a guest: a snapshot or a backup, found again by the name or note that carries the step's key.

use std::time::Duration;

use super::task::{since, tell};
use super::whereabouts::find;
use super::{Context, Report, change_failed, guest_ref, ready_guest, refused, unclear};
use crate::choices::BackupMode;
use crate::engine::port::{BackupListing, BackupSpec, GuestRef, TaskState};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{GuestKind, StepKey, Upid};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, Outcome, Probed, Protection};
use crate::plan::{BackupHow, GuestAddr};

/// What a look at the guest showed of the step.
enum Found {
    /// The protection exists, complete.
    There(Protection),
    /// Something is still at work on it.
    AtWork,
    /// A task of the step's time ended without making it.
    Failed(String),
    /// No trace.
    Absent,
}

/// The two ways to protect, as far as they differ.
enum Way<'a> {
    Snapshot,
    Backup { storage: &'a str, how: BackupHow },
}

impl Way<'_> {
    fn limit(&self, cx: &Context) -> Duration {
        match self {
            Self::Snapshot => cx.limits.snapshot,
            Self::Backup { .. } => cx.limits.backup,
        }
    }

    fn task_kind(&self, kind: GuestKind) -> &'static str {
        match (self, kind) {
            (Self::Snapshot, GuestKind::Ct) => "vzsnapshot",
            (Self::Snapshot, GuestKind::Vm) => "qmsnapshot",
            (Self::Backup { .. }, _) => "vzdump",
        }
    }

    /// The lock that the guest's config carries while such a task works.
    fn lock(&self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Backup { .. } => "backup",
        }
    }
}

/// The step, wherever its guest is by now.
struct Protecting<'a> {
    key: &'a StepKey,
    way: &'a Way<'a>,
    /// The guest on the node where it was planned, which alone makes something of it.
    made: &'a GuestRef,
}

/// Takes a snapshot.
pub(super) async fn snapshot(cx: &Context, key: &StepKey, guest: &GuestAddr, mode: Mode) -> Report {
    protect(cx, key, guest, &Way::Snapshot, mode).await
}

/// Makes a backup.
pub(super) async fn backup(
    cx: &Context,
    key: &StepKey,
    guest: &GuestAddr,
    storage: &str,
    how: BackupHow,
    mode: Mode,
) -> Report {
    protect(cx, key, guest, &Way::Backup { storage, how }, mode).await
}

async fn protect(cx: &Context, key: &StepKey, guest: &GuestAddr, way: &Way<'_>, mode: Mode) -> Report {
    let made = guest_ref(guest);
    // What was begun is looked for where the guest is now; nothing is begun but where it was planned.
    let at = match mode {
        Mode::Act => made.clone(),
        Mode::Probe | Mode::Attach => match find(cx, guest).await {
            Ok(found) => guest_ref(&found),
            Err(fault) => return unclear(mode, fault),
        },
    };
    let step = Protecting { key, way, made: &made };
    match mode {
        Mode::Probe => match look(cx, &step, &at).await {
            Ok(Found::There(protection)) => Report::Probed(Probed::Ended(done(protection))),
            Ok(Found::AtWork) => Report::Probed(Probed::Running),
            Ok(Found::Failed(why)) => Report::Probed(Probed::Ended(Outcome::Failed(Fault::permanent(why)))),
            Ok(Found::Absent) => Report::Probed(Probed::NotDone),
            Err(fault) => Report::Probed(Probed::Unclear(fault)),
        },
        Mode::Attach => Report::Ended(wait_by_looking(cx, &step, &at).await),
        Mode::Act => {
            if let Err(fault) = ready_guest(cx, guest).await {
                return refused(fault);
            }
            match existing(cx, &step, &at).await {
                Ok(Some(protection)) => return Report::Ended(Outcome::AlreadyDone(Detail::Protected(protection))),
                Ok(None) => {}
                Err(fault) => return refused(fault),
            }
            if let Err(fault) = possible(cx, &at, way).await {
                return refused(fault);
            }
            match begin(cx, key, &at, way).await {
                Ok(task) => {
                    tell(cx, key, &task).await;
                    Report::Ended(wait_for_task(cx, &step, &at, &task).await)
                }
                Err(fault) => Report::Ended(change_failed(fault)),
            }
        }
    }
}

fn done(protection: Protection) -> Outcome {
    Outcome::Done(Detail::Protected(protection))
}

/// Asks right before whether it can be done without harm: a volume that came since the plan was made may not have snapshots.
async fn possible(cx: &Context, at: &GuestRef, way: &Way<'_>) -> Result<(), Fault> {
    let needed = match way {
        Way::Snapshot => "it can't be snapshotted now",
        // vzdump would silently suspend the container instead.
        Way::Backup { how, .. } if at.kind == GuestKind::Ct && how.mode == BackupMode::Snapshot => {
            "a backup would suspend the container, since it can't be snapshotted now"
        }
        Way::Backup { .. } => return Ok(()),
    };
    match retried(|| cx.ports.pve.can_snapshot(at)).await? {
        true => Ok(()),
        false => Err(Fault::permanent(needed)),
    }
}

/// Asks the API to begin. Nothing is retried that may have been taken up.
async fn begin(cx: &Context, key: &StepKey, at: &GuestRef, way: &Way<'_>) -> Result<Upid, Fault> {
    match way {
        Way::Snapshot => {
            let name = key.snapshot_name();
            let description = format!("before an upgrade by proxmaint, run {} ({key})", key.run);
            retried(|| cx.ports.pve.create_snapshot(at, &name, &description)).await
        }
        Way::Backup { storage, how } => {
            let spec = BackupSpec {
                storage: (*storage).to_owned(),
                note: key.backup_note(),
                lock_wait: Duration::from_millis(how.lock_wait_ms),
                mode: how.mode,
                compress: how.compress,
            };
            retried(|| cx.ports.pve.start_backup(at, &spec)).await
        }
    }
}

/// Looks for the finished thing itself.
async fn existing(cx: &Context, step: &Protecting<'_>, at: &GuestRef) -> Result<Option<Protection>, Fault> {
    let key = step.key;
    match step.way {
        Way::Snapshot => {
            let name = key.snapshot_name();
            let all = retried(|| cx.ports.pve.snapshots(at)).await?;
            let found = all.into_iter().find(|snapshot| snapshot.name == name);
            Ok(found.map(|s| Protection::Snapshot { at: s.taken.unwrap_or_else(|| cx.clock.now()), name }))
        }
        Way::Backup { storage, .. } => {
            let note = key.backup_note();
            let all = archives(cx, step.made, at, storage, &note).await?;
            let found = all.into_iter().find(|archive| archive.notes.trim() == note);
            Ok(found.map(|a| Protection::Backup {
                at: a.made.unwrap_or_else(|| cx.clock.now()),
                volid: a.volid,
                note: Some(note),
            }))
        }
    }
}

/// Lists the archives of a guest. They are where they were made: a storage may be that node's own, and bear the name of another
/// one on the node that has the guest now. That one is asked where the first can't be, and believed where it has the archive.
async fn archives(
    cx: &Context,
    made: &GuestRef,
    at: &GuestRef,
    storage: &str,
    note: &str,
) -> Result<Vec<BackupListing>, Fault> {
    let fault = match retried(|| cx.ports.pve.backups(made, storage)).await {
        Err(fault) if at != made => fault,
        listed => return listed,
    };
    let all = retried(|| cx.ports.pve.backups(at, storage)).await?;
    if all.iter().any(|archive| archive.notes.trim() == note) { Ok(all) } else { Err(fault) }
}

/// Looks what became of the step. A task that is known to do it says most; without one the guest's lock counts before the
/// thing itself, since that may be listed while it is being made. A lock that a dead task left behind is nobody's work.
async fn look(cx: &Context, step: &Protecting<'_>, at: &GuestRef) -> Result<Found, Fault> {
    let way = step.way;
    let (_, lock) = retried(|| cx.ports.pve.guest_status(at)).await?;
    // The node's clock need not agree with ours; a task of the kind that still runs counts whoever began it.
    let tasks = retried(|| cx.ports.pve.tasks_of(at, since(cx))).await?;
    if tasks.iter().any(|task| task.running && task.kind == way.task_kind(at.kind)) {
        return Ok(Found::AtWork);
    }
    let known = match &cx.task {
        Some(task) => Some((task, retried(|| cx.ports.pve.task(task)).await?)),
        None => None,
    };
    let there = existing(cx, step, at).await?;
    Ok(match (known, there) {
        (Some((_, TaskState::Running)), _) => Found::AtWork,
        (Some((_, TaskState::Ok { .. } | TaskState::Failed(_))), Some(protection)) => Found::There(protection),
        (Some((_, TaskState::Failed(why))), None) => Found::Failed(why),
        (Some((task, TaskState::Ok { .. })), None) => {
            return Err(Fault::permanent(format!("the task {task} ended well, but what it made is not there")));
        }
        (Some((task, TaskState::Unknown(_))), _) if lock.as_deref() == Some(way.lock()) => {
            return Err(Fault::permanent(format!("the task {task} died and left the lock `{}` behind", way.lock()))
                .hint("when nothing works on the guest any more, unlock it on the node (`pct unlock`, `qm unlock`)"));
        }
        (None, _) if lock.as_deref() == Some(way.lock()) => Found::AtWork,
        (_, Some(protection)) => Found::There(protection),
        (_, None) => Found::Absent,
    })
}

/// Waits for the end of a task that was just begun.
async fn wait_for_task(cx: &Context, step: &Protecting<'_>, at: &GuestRef, task: &Upid) -> Outcome {
    let way = step.way;
    let mut backoff = Backoff::within(way.limit(cx));
    loop {
        match retried(|| cx.ports.pve.task(task)).await {
            Ok(TaskState::Running) => {}
            Ok(TaskState::Ok { .. }) => {
                return match existing(cx, step, at).await {
                    Ok(Some(protection)) => done(protection),
                    Ok(None) => Outcome::Failed(Fault::permanent(format!(
                        "the task {task} ended well, but made no {}",
                        way.lock()
                    ))),
                    Err(fault) => Outcome::Unknown(fault),
                };
            }
            Ok(TaskState::Failed(why)) => return Outcome::Failed(Fault::permanent(why)),
            Ok(TaskState::Unknown(why)) => return Outcome::Unknown(Fault::ambiguous(why)),
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            return Outcome::Unknown(Fault::ambiguous(format!(
                "the task {task} still works after {:?}",
                way.limit(cx)
            )));
        }
    }
}

/// Waits for something that another session of this run began.
async fn wait_by_looking(cx: &Context, step: &Protecting<'_>, at: &GuestRef) -> Outcome {
    let way = step.way;
    let mut backoff = Backoff::within(way.limit(cx));
    loop {
        match look(cx, step, at).await {
            Ok(Found::There(protection)) => return done(protection),
            Ok(Found::AtWork) => {}
            Ok(Found::Failed(why)) => return Outcome::Failed(Fault::permanent(why)),
            Ok(Found::Absent) => return Outcome::Failed(Fault::permanent("it ended and left nothing behind")),
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            return Outcome::Unknown(Fault::ambiguous(format!(
                "a {} of the guest still works after {:?}",
                way.lock(),
                way.limit(cx)
            )));
        }
    }
}
