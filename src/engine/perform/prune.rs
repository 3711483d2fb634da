//! Removes what an earlier run made: a snapshot by the name that the journal knows, from the very guest that it was made of; a
//! backup by its volume identifier and the note that it must carry.

use super::task::{TaskEnd, known_task, since, task_end, tell};
use super::whereabouts::find;
use super::{Context, Report, change_failed, guest_ref, idle_guest, probed, refused, unclear};
use crate::engine::port::{GuestRef, TaskState};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{StepKey, Upid};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, Outcome, Probed};
use crate::plan::{OldBackup, OldSnapshot};

/// The lock that a guest's config carries while a snapshot is being deleted.
const LOCK: &str = "snapshot-delete";

/// What a look at the guest showed.
enum Found {
    Gone,
    AtWork,
    There,
}

/// Removes a snapshot.
pub(super) async fn snapshot(cx: &Context, key: &StepKey, old: &OldSnapshot, mode: Mode) -> Report {
    let at = match mode {
        Mode::Act => guest_ref(&old.guest),
        // A snapshot moves along with its guest.
        Mode::Attach | Mode::Probe => match find(cx, &old.guest).await {
            Ok(found) => guest_ref(&found),
            Err(fault) => return unclear(mode, fault),
        },
    };
    match mode {
        Mode::Act => {
            if let Err(fault) = idle_guest(cx, &old.guest).await {
                return refused(fault);
            }
            match look(cx, &at, old).await {
                Ok(Found::Gone) => return Report::Ended(Outcome::AlreadyDone(Detail::Pruned)),
                Ok(Found::There) => {}
                Ok(Found::AtWork) => {
                    return refused(Fault::permanent("something else deletes a snapshot of the guest"));
                }
                Err(fault) => return refused(fault),
            }
            Report::Ended(match retried(|| cx.ports.pve.delete_snapshot(&at, &old.name)).await {
                Ok(task) => {
                    tell(cx, key, &task).await;
                    wait_for_task(cx, &task).await
                }
                Err(fault) => change_failed(fault),
            })
        }
        Mode::Attach => Report::Ended(wait_by_looking(cx, &at, old).await),
        Mode::Probe => Report::Probed(match look(cx, &at, old).await {
            Ok(Found::Gone) => Probed::Ended(Outcome::AlreadyDone(Detail::Pruned)),
            Ok(Found::AtWork) => Probed::Running,
            Ok(Found::There) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
    }
}

/// Looks for the snapshot; the lock first, since one that is being deleted is still listed.
async fn look(cx: &Context, at: &GuestRef, old: &OldSnapshot) -> Result<Found, Fault> {
    let (_, lock) = retried(|| cx.ports.pve.guest_status(at)).await?;
    if lock.as_deref() == Some(LOCK) {
        return Ok(Found::AtWork);
    }
    let there = retried(|| cx.ports.pve.snapshots(at)).await?.iter().any(|snapshot| snapshot.name == old.name);
    Ok(if there { Found::There } else { Found::Gone })
}

async fn wait_for_task(cx: &Context, task: &Upid) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.snapshot);
    loop {
        match retried(|| cx.ports.pve.task(task)).await {
            Ok(TaskState::Running) => {}
            Ok(TaskState::Ok { .. }) => return Outcome::Done(Detail::Pruned),
            Ok(TaskState::Failed(why)) => return Outcome::Failed(Fault::permanent(why)),
            Ok(TaskState::Unknown(why)) => return Outcome::Unknown(Fault::ambiguous(why)),
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            return too_long(cx);
        }
    }
}

async fn wait_by_looking(cx: &Context, at: &GuestRef, old: &OldSnapshot) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.snapshot);
    loop {
        match look(cx, at, old).await {
            Ok(Found::Gone) => return Outcome::Done(Detail::Pruned),
            Ok(Found::There) => return Outcome::Failed(Fault::permanent("it ended and the snapshot is still there")),
            Ok(Found::AtWork) => {}
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            return too_long(cx);
        }
    }
}

fn too_long(cx: &Context) -> Outcome {
    Outcome::Unknown(Fault::ambiguous(format!("deleting the snapshot still works after {:?}", cx.limits.snapshot)))
}

/// What a look at a storage showed of an archive.
enum Archive {
    Gone,
    AtWork,
    /// The task that is known to have tried failed, and it is there.
    Failed(String),
    There,
}

/// Removes a backup. One that is protected refuses it in its task, and stays.
pub(super) async fn backup(cx: &Context, key: &StepKey, old: &OldBackup, mode: Mode) -> Report {
    match mode {
        Mode::Act => {
            // What restores a guest from the archive locks the guest meanwhile.
            // The guest may be elsewhere: the archive stays where it was made.
            let idle = match find(cx, &old.guest).await {
                Ok(found) => idle_guest(cx, &found).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = idle {
                return refused(fault);
            }
            match look_at_archive(cx, old).await {
                Ok(Archive::Gone) => return Report::Ended(Outcome::AlreadyDone(Detail::Pruned)),
                Ok(Archive::There | Archive::Failed(_)) => {}
                Ok(Archive::AtWork) => return refused(Fault::permanent("something else deletes it")),
                Err(fault) => return refused(fault),
            }
            Report::Ended(match retried(|| cx.ports.pve.delete_backup(&old.guest.node, &old.volid)).await {
                Ok(task) => deleted(cx, key, old, task.as_ref()).await,
                Err(fault) => change_failed(fault),
            })
        }
        Mode::Attach => Report::Ended(wait_until_gone(cx, old).await),
        Mode::Probe => probed(match look_at_archive(cx, old).await {
            Ok(Archive::Gone) => Probed::Ended(Outcome::AlreadyDone(Detail::Pruned)),
            Ok(Archive::AtWork) => Probed::Running,
            Ok(Archive::Failed(why)) => Probed::Ended(Outcome::Failed(Fault::permanent(why))),
            Ok(Archive::There) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
    }
}

/// Waits for the end of a removal that was just asked for; some storages remove at once and name no task.
async fn deleted(cx: &Context, key: &StepKey, old: &OldBackup, task: Option<&Upid>) -> Outcome {
    if let Some(task) = task {
        tell(cx, key, task).await;
        match task_end(cx, task, cx.limits.snapshot).await {
            TaskEnd::Well => {}
            TaskEnd::Failed(why) => return Outcome::Failed(Fault::permanent(why)),
            TaskEnd::Unknown(fault) => return Outcome::Unknown(fault),
        }
    }
    match listed(cx, old).await {
        Ok(None) => Outcome::Done(Detail::Pruned),
        Ok(Some(())) => Outcome::Failed(Fault::permanent("its removal ended well, and it is still there")),
        Err(fault) => Outcome::Unknown(fault),
    }
}

async fn wait_until_gone(cx: &Context, old: &OldBackup) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.snapshot);
    loop {
        match look_at_archive(cx, old).await {
            Ok(Archive::Gone) => return Outcome::Done(Detail::Pruned),
            Ok(Archive::Failed(why)) => return Outcome::Failed(Fault::permanent(why)),
            Ok(Archive::There) => return Outcome::Failed(Fault::permanent("it ended and the backup is still there")),
            Ok(Archive::AtWork) => {}
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            let what = format!("deleting the backup still works after {:?}", cx.limits.snapshot);
            return Outcome::Unknown(Fault::ambiguous(what));
        }
    }
}

async fn look_at_archive(cx: &Context, old: &OldBackup) -> Result<Archive, Fault> {
    if listed(cx, old).await?.is_none() {
        return Ok(Archive::Gone);
    }
    let known = known_task(cx).await?;
    // A removal of this guest's archives counts whoever asked for it: it bears the guest and the storage, not the archive.
    let (node, since) = (&old.guest.node, since(cx));
    let about = format!("{}@{}", old.guest.id, storage_of(&old.volid));
    let tasks = retried(|| cx.ports.pve.tasks_of_type(node, "imgdel", since)).await?;
    Ok(match known {
        Some(TaskState::Running) => Archive::AtWork,
        _ if tasks.iter().any(|task| task.running && task.id == about) => Archive::AtWork,
        Some(TaskState::Failed(why)) => Archive::Failed(why),
        Some(TaskState::Ok { .. } | TaskState::Unknown(_)) | None => Archive::There,
    })
}

/// Looks whether the archive is listed for its guest, as the one that the journal means.
async fn listed(cx: &Context, old: &OldBackup) -> Result<Option<()>, Fault> {
    let at = guest_ref(&old.guest);
    let all = retried(|| cx.ports.pve.backups(&at, storage_of(&old.volid))).await?;
    match all.iter().find(|archive| archive.volid == old.volid) {
        None => Ok(None),
        Some(archive) if archive.notes.trim() == old.note => Ok(Some(())),
        Some(archive) => Err(Fault::identity(format!(
            "the backup {} does not carry the note that it was made with, but: {}",
            old.volid,
            archive.notes.trim()
        ))
        .hint("somebody has changed its note: it is theirs now, and stays")),
    }
}

/// Returns the storage of a volume identifier (`storage:backup/..`).
fn storage_of(volid: &str) -> &str {
    volid.split_once(':').map_or(volid, |(storage, _)| storage)
}
