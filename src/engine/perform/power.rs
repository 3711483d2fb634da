//! Starts, stops and reboots a guest. Such an act carries no key: what it is known by is the guest's state and its tasks.

use super::task::{TaskEnd, guest_tasks, kind_of, known_task, task_end, tell};
use super::whereabouts::{Whereabouts, find, find_by, whereabouts};
use super::{
    Context, Report, change_failed, guest_ref, idle_guest, is_guest, place_of, probed, refused, same_guest, unclear,
};
use crate::engine::port::{GuestRef, Place, TaskState};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{BootId, GuestKind, StepKey, Upid};
use crate::inventory::{Power, Via};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::GuestAddr;

/// What a look at a guest showed of its start.
enum StartLook {
    /// It runs, and a task started it since the step was intended.
    Runs,
    /// It runs, and no task that this tool could have asked for started it.
    RunsAnyway,
    /// It is being started.
    AtWork,
    /// It does not run, and the task that is known to have tried failed.
    Failed(String),
    /// It does not run, and nobody is at it.
    Off,
}

/// Starts a guest that does not run.
pub(super) async fn start(cx: &Context, key: &StepKey, guest: &GuestAddr, mode: Mode) -> Report {
    let planned = guest_ref(guest);
    let at = match mode {
        Mode::Act => planned.clone(),
        Mode::Attach | Mode::Probe => match find(cx, guest).await {
            Ok(found) => guest_ref(&found),
            Err(fault) => return unclear(mode, fault),
        },
    };
    match mode {
        Mode::Act => match idle_guest(cx, guest).await {
            // Whoever started it, it was not this step: it is not to be stopped again.
            Ok(Power::Running) => Report::Ended(Outcome::AlreadyDone(Detail::Started)),
            Ok(Power::Stopped) => Report::Ended(begin_start(cx, key, &at).await),
            Ok(Power::Other) => refused(neither(&at)),
            Err(fault) => refused(fault),
        },
        Mode::Probe => probed(match look_at_start(cx, &planned, &at).await {
            Ok(StartLook::Runs) => Probed::Ended(Outcome::Done(Detail::Started)),
            Ok(StartLook::RunsAnyway) => Probed::Ended(Outcome::AlreadyDone(Detail::Started)),
            Ok(StartLook::AtWork) => Probed::Running,
            Ok(StartLook::Failed(why)) => Probed::Ended(Outcome::Failed(Fault::permanent(why))),
            Ok(StartLook::Off) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
        Mode::Attach => {
            let mut backoff = Backoff::within(cx.limits.start);
            Report::Ended(loop {
                match look_at_start(cx, &planned, &at).await {
                    Ok(StartLook::Runs) => break Outcome::Done(Detail::Started),
                    Ok(StartLook::RunsAnyway) => break Outcome::AlreadyDone(Detail::Started),
                    Ok(StartLook::AtWork) => {}
                    Ok(StartLook::Failed(why)) => break Outcome::Failed(Fault::permanent(why)),
                    Ok(StartLook::Off) => {
                        break Outcome::Failed(Fault::permanent("its start ended and it does not run"));
                    }
                    Err(fault) => break Outcome::Unknown(fault),
                }
                if !backoff.pause().await {
                    let what = format!("its start still works after {:?}", cx.limits.start);
                    break Outcome::Unknown(Fault::ambiguous(what));
                }
            })
        }
    }
}

/// Starts a guest again that a rollback stopped: that is owed wherever the guest is by now.
pub(super) async fn revive(cx: &Context, key: &StepKey, guest: &GuestAddr, mode: Mode) -> Report {
    match find(cx, guest).await {
        Ok(found) => start(cx, key, &found, mode).await,
        Err(fault) if mode == Mode::Act => refused(fault),
        Err(fault) => unclear(mode, fault),
    }
}

/// Asks for the start of a guest that was just seen to be off, and waits until it runs.
async fn begin_start(cx: &Context, key: &StepKey, at: &GuestRef) -> Outcome {
    let task = match retried(|| cx.ports.pve.start_guest(at)).await {
        Ok(task) => task,
        Err(fault) if says_it_runs(&fault.what) => return Outcome::AlreadyDone(Detail::Started),
        Err(fault) => return change_failed(fault),
    };
    tell(cx, key, &task).await;
    let end = task_end(cx, &task, cx.limits.start).await;
    // What counts is whether it runs now, by this task: then it is owed to be stopped, however the task ended.
    let runs = match retried(|| cx.ports.pve.guest_status(at)).await {
        Ok((power, _)) => power == Power::Running,
        Err(fault) => return Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
    };
    match end {
        TaskEnd::Failed(why) if says_it_runs(&why) => Outcome::AlreadyDone(Detail::Started),
        _ if runs => Outcome::Done(Detail::Started),
        TaskEnd::Well => Outcome::Failed(Fault::permanent("its start ended well, and it does not run")),
        TaskEnd::Failed(why) => Outcome::Failed(Fault::permanent(why)),
        TaskEnd::Unknown(fault) => Outcome::Unknown(fault),
    }
}

/// Looks what became of a start. It was asked for where the guest was planned: a start on a node that it moved to is that of the
/// move.
async fn look_at_start(cx: &Context, planned: &GuestRef, at: &GuestRef) -> Result<StartLook, Fault> {
    let tasks = guest_tasks(cx, planned, &["start"]).await?;
    let there = if at == planned { Vec::new() } else { guest_tasks(cx, at, &["start"]).await? };
    let known = known_task(cx).await?;
    if tasks.iter().chain(&there).any(|task| task.running) || known == Some(TaskState::Running) {
        return Ok(StartLook::AtWork);
    }
    let (power, _) = retried(|| cx.ports.pve.guest_status(at)).await?;
    Ok(match (power, known) {
        (Power::Running, Some(TaskState::Failed(why))) if says_it_runs(&why) => StartLook::RunsAnyway,
        // The tasks that a token asked for are always shown to it.
        (Power::Running, None) if tasks.is_empty() => StartLook::RunsAnyway,
        (Power::Running, _) => StartLook::Runs,
        (Power::Stopped, Some(TaskState::Failed(why))) => StartLook::Failed(why),
        (Power::Stopped, Some(TaskState::Ok { .. })) => {
            StartLook::Failed("its start ended well, and it does not run".to_owned())
        }
        (Power::Stopped, _) => StartLook::Off,
        (Power::Other, _) => return Err(neither(at)),
    })
}

/// Makes sure that a guest runs that ran before: for guests that are given back to a node. Waits for whoever else starts it.
pub(super) async fn bring_up(cx: &Context, key: &StepKey, at: &GuestRef) -> Result<(), Fault> {
    let mut backoff = Backoff::within(cx.limits.start);
    while guest_tasks(cx, at, &["start"]).await?.iter().any(|task| task.running) {
        if !backoff.pause().await {
            return Err(Fault::permanent(format!("its start still works after {:?}", cx.limits.start)));
        }
    }
    match super::wait_for_lock(cx, at).await? {
        Power::Running => return Ok(()),
        Power::Stopped => {}
        Power::Other => return Err(neither(at)),
    }
    match begin_start(cx, key, at).await {
        Outcome::Done(_) | Outcome::AlreadyDone(_) => Ok(()),
        Outcome::Refused(fault) | Outcome::Failed(fault) => Err(fault),
        // The answer was lost. Whether it runs is all that matters.
        Outcome::Unknown(fault) => loop {
            match retried(|| cx.ports.pve.guest_status(at)).await? {
                (Power::Running, _) => break Ok(()),
                _ if backoff.pause().await => {}
                _ => break Err(fault),
            }
        },
    }
}

/// Whether a refusal, or a task's end, says that the guest runs already (`CT 103 already running`).
fn says_it_runs(text: &str) -> bool {
    text.contains("already running")
}

fn neither(at: &GuestRef) -> Fault {
    Fault::permanent(format!("{} {} is neither on nor off (paused or suspended)", at.kind, at.id))
        .hint("resume it, or shut it down, then run again")
}

/// What a look at a guest showed of its shutdown.
enum StopLook {
    /// It does not run any more, or it was stopped by this step and somebody else started it again.
    Off,
    /// It is being shut down.
    AtWork,
    /// It runs, and the task that is known to have tried failed.
    Failed(String),
    /// It runs, and nobody is at it.
    Runs,
}

/// Shuts a guest down that was started. It is never powered off hard.
pub(super) async fn stop(cx: &Context, key: &StepKey, guest: &GuestAddr, mode: Mode) -> Report {
    let at = match where_now(cx, guest).await {
        Ok(Some(at)) => at,
        // A guest that is gone does not run.
        Ok(None) if mode == Mode::Probe => return probed(Probed::Ended(Outcome::AlreadyDone(Detail::Stopped))),
        Ok(None) => return Report::Ended(Outcome::AlreadyDone(Detail::Stopped)),
        Err(fault) if mode == Mode::Act => return refused(fault),
        Err(fault) => return unclear(mode, fault),
    };
    match mode {
        Mode::Act => {
            let here = GuestAddr { node: at.node.clone(), ..guest.clone() };
            match idle_guest(cx, &here).await {
                Ok(Power::Stopped) => Report::Ended(Outcome::AlreadyDone(Detail::Stopped)),
                Ok(Power::Running) => Report::Ended(begin_stop(cx, key, &at).await),
                Ok(Power::Other) => refused(neither(&at)),
                Err(fault) => refused(fault),
            }
        }
        Mode::Probe => probed(match look_at_stop(cx, &at).await {
            Ok(StopLook::Off) => Probed::Ended(Outcome::Done(Detail::Stopped)),
            Ok(StopLook::AtWork) => Probed::Running,
            Ok(StopLook::Failed(why)) => Probed::Ended(Outcome::Failed(not_obeyed(&at, &why))),
            Ok(StopLook::Runs) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
        Mode::Attach => Report::Ended(wait_until_off(cx, &at).await),
    }
}

/// Finds the guest: it may have been moved since it was planned.
async fn where_now(cx: &Context, guest: &GuestAddr) -> Result<Option<GuestRef>, Fault> {
    Ok(match whereabouts(cx, guest).await? {
        Whereabouts::Here => Some(guest_ref(guest)),
        Whereabouts::Moved(node) => Some(GuestRef { node, ..guest_ref(guest) }),
        Whereabouts::Gone => None,
    })
}

/// How long a shutdown may take until its task says so: the time that the guest is given, and a minute for the task itself.
fn shutdown_limit(cx: &Context) -> std::time::Duration {
    cx.limits.shutdown + cx.limits.settle
}

async fn begin_stop(cx: &Context, key: &StepKey, at: &GuestRef) -> Outcome {
    let task = match retried(|| cx.ports.pve.shutdown_guest(at, cx.limits.shutdown)).await {
        Ok(task) => task,
        Err(fault) => {
            // Of a container that was stopped in between it says `CT 103 not running`: what counts is whether it is off.
            return match (fault.class, retried(|| cx.ports.pve.guest_status(at)).await) {
                (FaultClass::Permanent, Ok((Power::Stopped, _))) => Outcome::AlreadyDone(Detail::Stopped),
                _ => change_failed(fault),
            };
        }
    };
    tell(cx, key, &task).await;
    let end = task_end(cx, &task, shutdown_limit(cx)).await;
    let off = match retried(|| cx.ports.pve.guest_status(at)).await {
        Ok((power, _)) => power == Power::Stopped,
        Err(fault) => return Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
    };
    match end {
        _ if off => Outcome::Done(Detail::Stopped),
        // A guest that HA manages: its task only asks HA, and the guest follows.
        TaskEnd::Well if is_request_to_ha(&task) => {
            wait_until_off(&Context { task: Some(task), ..cx.clone() }, at).await
        }
        TaskEnd::Well => Outcome::Failed(not_obeyed(at, "its shutdown ended well, and it runs")),
        TaskEnd::Failed(why) => Outcome::Failed(not_obeyed(at, &why)),
        TaskEnd::Unknown(fault) => Outcome::Unknown(fault),
    }
}

/// Waits by looking until a guest is off.
async fn wait_until_off(cx: &Context, at: &GuestRef) -> Outcome {
    let mut backoff = Backoff::within(shutdown_limit(cx));
    loop {
        match look_at_stop(cx, at).await {
            Ok(StopLook::Off) => return Outcome::Done(Detail::Stopped),
            Ok(StopLook::AtWork) => {}
            Ok(StopLook::Failed(why)) => return Outcome::Failed(not_obeyed(at, &why)),
            Ok(StopLook::Runs) => return Outcome::Failed(not_obeyed(at, "its shutdown ended, and it runs")),
            Err(fault) => return Outcome::Unknown(fault),
        }
        if !backoff.pause().await {
            return Outcome::Failed(not_obeyed(at, "it still runs long after it was to be off"));
        }
    }
}

async fn look_at_stop(cx: &Context, at: &GuestRef) -> Result<StopLook, Fault> {
    let (power, _) = retried(|| cx.ports.pve.guest_status(at)).await?;
    if power == Power::Stopped {
        return Ok(StopLook::Off);
    }
    let tasks = guest_tasks(cx, at, &["shutdown", "hastop"]).await?;
    let known = known_task(cx).await?;
    if tasks.iter().any(|task| task.running) || known == Some(TaskState::Running) {
        return Ok(StopLook::AtWork);
    }
    let asked_ha = cx.task.as_ref().is_some_and(is_request_to_ha);
    Ok(match known {
        Some(TaskState::Ok { .. }) if asked_ha => StopLook::AtWork,
        // It was off, then: whoever started it again wants it to run.
        Some(TaskState::Ok { .. }) => StopLook::Off,
        Some(TaskState::Failed(why)) => StopLook::Failed(why),
        Some(TaskState::Running | TaskState::Unknown(_)) | None => StopLook::Runs,
    })
}

fn is_request_to_ha(task: &Upid) -> bool {
    kind_of(task) == "hastop"
}

fn not_obeyed(at: &GuestRef, why: &str) -> Fault {
    Fault::permanent(format!("{} {} did not obey its shutdown: {why}", at.kind, at.id)).hint(
        "it is never powered off hard here; shut it down by hand, or let it run and say so (`proxmaint resolve` with --skip)",
    )
}

/// What a look at a VM showed of its reboot.
enum RebootLook {
    /// It runs this other boot.
    Other(BootId),
    /// It is on its way, or does not answer.
    Away(Fault),
    /// It runs the boot that was to end, and nobody is at it.
    Same,
    /// The same, and the task that is known to have tried failed.
    Failed(String),
}

/// Reboots a VM, and waits until it runs another boot.
pub(super) async fn reboot(
    cx: &Context,
    key: &StepKey,
    guest: &GuestAddr,
    via: &Via,
    boot_id: &BootId,
    mode: Mode,
) -> Report {
    // It was upgraded, and only its reboot is left: it is rebooted where it is.
    let (cx, guest) = &match find_by(cx, guest, via).await {
        Ok(found) => found,
        Err(fault) if mode == Mode::Act => return refused(fault),
        Err(fault) => return unclear(mode, fault),
    };
    let (at, place) = (guest_ref(guest), place_of(guest, via));
    match mode {
        Mode::Act => match before_reboot(cx, guest, &place).await {
            Ok(now) if now != *boot_id => Report::Ended(Outcome::AlreadyDone(Detail::Rebooted(now))),
            Ok(_) => Report::Ended(begin_reboot(cx, key, guest, &at, &place, boot_id).await),
            Err(fault) => refused(fault),
        },
        Mode::Probe => probed(match look_at_reboot(cx, guest, &at, &place, boot_id).await {
            Ok(RebootLook::Other(now)) => Probed::Ended(Outcome::Done(Detail::Rebooted(now))),
            Ok(RebootLook::Away(_)) => Probed::Running,
            Ok(RebootLook::Same) => Probed::NotDone,
            Ok(RebootLook::Failed(why)) => Probed::Ended(Outcome::Failed(Fault::permanent(why))),
            Err(fault) => Probed::Unclear(fault),
        }),
        Mode::Attach => Report::Ended(wait_for_boot(cx, guest, &at, &place, boot_id).await),
    }
}

/// Looks at a VM that is to be rebooted; returns its boot. An error means: don't.
async fn before_reboot(cx: &Context, guest: &GuestAddr, place: &Place) -> Result<BootId, Fault> {
    if guest.kind == GuestKind::Ct {
        return Err(Fault::permanent(format!("CT {} has no kernel of its own to be rebooted into", guest.id)));
    }
    if idle_guest(cx, guest).await? != Power::Running {
        return Err(Fault::permanent(format!("VM {} does not run any more", guest.id)));
    }
    let found = retried(|| cx.ports.remote.identity(place)).await?;
    is_guest(guest, &found)?;
    Ok(found.boot_id)
}

async fn begin_reboot(
    cx: &Context,
    key: &StepKey,
    guest: &GuestAddr,
    at: &GuestRef,
    place: &Place,
    boot_id: &BootId,
) -> Outcome {
    let task = match retried(|| cx.ports.pve.reboot_guest(at, cx.limits.shutdown)).await {
        Ok(task) => task,
        Err(fault) => return change_failed(fault),
    };
    tell(cx, key, &task).await;
    // However the task ends, what counts is which boot runs: it is looked at next, and the task's end with it.
    if let TaskEnd::Unknown(fault) = task_end(cx, &task, shutdown_limit(cx)).await {
        tracing::info!(%key, %fault, "looking at the VM itself");
    }
    wait_for_boot(&Context { task: Some(task), ..cx.clone() }, guest, at, place, boot_id).await
}

/// Waits, within `limits.boot`, until a VM answers in another boot.
async fn wait_for_boot(cx: &Context, guest: &GuestAddr, at: &GuestRef, place: &Place, boot_id: &BootId) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.boot);
    loop {
        let last = match look_at_reboot(cx, guest, at, place, boot_id).await {
            Ok(RebootLook::Other(now)) => return Outcome::Done(Detail::Rebooted(now)),
            Ok(RebootLook::Failed(why)) => return Outcome::Failed(Fault::permanent(why)),
            Ok(RebootLook::Same) => Outcome::Failed(Fault::permanent("was asked to reboot, and did not")),
            Ok(RebootLook::Away(fault)) => {
                Outcome::Unknown(Fault { what: format!("does not answer after its reboot: {}", fault.what), ..fault })
            }
            Err(fault) => return Outcome::Unknown(fault),
        };
        if !backoff.pause().await {
            return last;
        }
    }
}

async fn look_at_reboot(
    cx: &Context,
    guest: &GuestAddr,
    at: &GuestRef,
    place: &Place,
    boot_id: &BootId,
) -> Result<RebootLook, Fault> {
    same_guest(cx, guest).await?;
    let tasks = guest_tasks(cx, at, &["reboot", "shutdown", "start"]).await?;
    let known = known_task(cx).await?;
    if tasks.iter().any(|task| task.running) || known == Some(TaskState::Running) {
        return Ok(RebootLook::Away(Fault::ambiguous("its reboot still works")));
    }
    let (power, _) = retried(|| cx.ports.pve.guest_status(at)).await?;
    if power != Power::Running {
        return Ok(RebootLook::Away(Fault::ambiguous("it was shut down, and does not run")));
    }
    let found = match cx.ports.remote.identity(place).await {
        Ok(found) => found,
        Err(fault) if matches!(fault.class, FaultClass::Transient | FaultClass::Ambiguous) => {
            return Ok(RebootLook::Away(fault));
        }
        Err(fault) => return Err(fault),
    };
    // While it is down, another machine may have its address.
    if let Err(fault) = is_guest(guest, &found) {
        return Ok(RebootLook::Away(fault));
    }
    Ok(match known {
        _ if found.boot_id != *boot_id => RebootLook::Other(found.boot_id),
        Some(TaskState::Failed(why)) => RebootLook::Failed(why),
        _ => RebootLook::Same,
    })
}
