//! Removes a snapshot that an earlier run made: by the name that the journal knows, from the very guest that it was made of.

use super::protect::tell;
use super::{Context, Report, change_failed, guest_ref, refused, same_guest};
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
    let at = guest_ref(&old.guest);
    match mode {
        Mode::Act => {
            if let Err(fault) = same_guest(cx, &old.guest).await {
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

/// Removes a backup.
pub(super) async fn backup(_cx: &Context, _key: &StepKey, _old: &OldBackup, _mode: Mode) -> Report {
    refused(Fault::permanent("not there yet"))
}
