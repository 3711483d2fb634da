//! Upgrades a guest or the node: a detached job on the target, named by the step's key, that is attached to.

use std::time::Duration;

use super::output::Follower;
use super::whereabouts::find_by;
use super::{Context, Report, place_of, ready_guest, refused, right_machine, unclear};
use crate::engine::port::{Job, JobState, JobWork, Place};
use crate::engine::wait::{Backoff, retried};
use crate::ids::StepKey;
use crate::inventory::{PackageChange, PackageManager, Via};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::GuestAddr;

/// How long the outcome of a job may wait for the rest of its output: 64 MiB at 1 MiB a second, which is 4 questions a second.
const OUTPUT_TIME: Duration = Duration::from_secs(64);

/// Upgrades a guest.
pub(super) async fn guest(
    cx: &Context,
    key: &StepKey,
    guest: &GuestAddr,
    via: &Via,
    (manager, pending): (PackageManager, &[PackageChange]),
    mode: Mode,
) -> Report {
    // A job that was begun moves along with its guest; none is begun elsewhere than planned.
    let found = match mode {
        Mode::Act => ready_guest(cx, guest).await.map(|()| (cx.clone(), guest.clone())),
        Mode::Attach | Mode::Probe => find_by(cx, guest, via).await,
    };
    let proven = match found {
        Ok((cx, guest)) => {
            let place = place_of(&guest, via);
            right_machine(&cx, &guest, &place).await.map(|()| (cx, place))
        }
        Err(fault) => Err(fault),
    };
    match (proven, mode) {
        (Ok((cx, place)), mode) => match upgrade(&cx, key, &place, manager, mode).await {
            Report::Ended(Outcome::Failed(fault)) => {
                Report::Ended(Outcome::Failed(changed(&cx, &place, manager, pending, fault).await))
            }
            Report::Probed(Probed::Ended(Outcome::Failed(fault))) => {
                Report::Probed(Probed::Ended(Outcome::Failed(changed(&cx, &place, manager, pending, fault).await)))
            }
            other => other,
        },
        (Err(fault), Mode::Act) => refused(fault),
        (Err(fault), Mode::Attach | Mode::Probe) => unclear(mode, fault),
    }
}

/// Upgrades the node.
pub(super) async fn host(cx: &Context, key: &StepKey, manager: PackageManager, mode: Mode) -> Report {
    upgrade(cx, key, &Place::Node, manager, mode).await
}

async fn upgrade(cx: &Context, key: &StepKey, place: &Place, manager: PackageManager, mode: Mode) -> Report {
    match mode {
        Mode::Probe => probe(cx, key, place, manager).await,
        Mode::Attach => attach(cx, key, place).await,
        Mode::Act => {
            match retried(|| cx.ports.remote.packages_consistent(place, manager)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    return refused(
                        Fault::permanent(format!("its packages are not in order: {why}"))
                            .hint("finish or mend what was begun there (`dpkg --configure -a`), then run again"),
                    );
                }
                Err(fault) => return refused(fault),
            }
            let job = Job { name: key.job_name(), work: JobWork::Upgrade(manager) };
            // Starting is idempotent under the name, so that a lost answer is settled by asking for the job itself.
            match retried(|| cx.ports.remote.start_job(place, &job)).await {
                Ok(_) => attach(cx, key, place).await,
                Err(fault) if fault.class == FaultClass::Ambiguous => attach(cx, key, place).await,
                Err(fault) => refused(fault),
            }
        }
    }
}

/// Returns what takes over the output of a step's job.
fn follower<'a>(cx: &'a Context, key: &'a StepKey, place: &'a Place) -> Follower<'a> {
    Follower::new(cx.ports.remote.as_ref(), cx.output.as_ref(), key, place)
}

/// Waits for the end of a job, and takes over its output meanwhile. A lost connection costs nothing: the job is asked for again.
async fn attach(cx: &Context, key: &StepKey, place: &Place) -> Report {
    let name = key.job_name();
    let mut output = follower(cx, key, place);
    let mut backoff = Backoff::within(cx.limits.upgrade);
    loop {
        if cx.draining.is_cancelled() {
            return Report::Left;
        }
        let state = cx.ports.remote.job(place, &name).await;
        follow(cx, &mut output, &state).await;
        let unreachable = match state {
            Ok(JobState::Running { .. }) => None,
            Ok(JobState::Finished { exit: 0, .. }) => return Report::Ended(Outcome::Done(Detail::Upgraded)),
            Ok(JobState::Finished { exit, log_tail }) => {
                return Report::Ended(Outcome::Failed(exited(exit, &log_tail)));
            }
            Ok(JobState::Lost { log_tail }) => {
                return Report::Ended(Outcome::Unknown(Fault::ambiguous(format!(
                    "the upgrade is not at work any more and left no exit status{}",
                    last_line(&log_tail)
                ))));
            }
            Ok(JobState::Absent) => {
                return Report::Ended(Outcome::Unknown(Fault::ambiguous("it is not known whether the upgrade began")));
            }
            Err(fault) if matches!(fault.class, FaultClass::Transient | FaultClass::Ambiguous) => {
                tracing::info!(job = %name, %fault, "asking for the job again");
                Some(fault)
            }
            Err(fault) => return Report::Ended(Outcome::Unknown(fault)),
        };
        let drained = tokio::select! {
            biased;
            () = cx.draining.cancelled() => true,
            more = backoff.pause() => {
                if !more {
                    let fault = unreachable.unwrap_or_else(|| {
                        Fault::ambiguous(format!("the upgrade still works after {:?}", cx.limits.upgrade))
                            .hint("it goes on by itself; the next run attaches to it")
                    });
                    return Report::Ended(Outcome::Unknown(fault));
                }
                false
            }
        };
        if drained {
            return Report::Left;
        }
    }
}

/// Takes over the output that a job in this state has. Of one that has ended this is the last chance: its files are removed
/// once its outcome is durable.
async fn follow(cx: &Context, output: &mut Follower<'_>, state: &Result<JobState, Fault>) {
    match state {
        Ok(JobState::Running { log_bytes }) => tokio::select! {
            biased;
            // What is left is taken over by the session that finds the job again.
            () = cx.draining.cancelled() => {}
            () = output.catch_up(*log_bytes) => {}
        },
        Ok(JobState::Finished { .. } | JobState::Lost { .. }) => {
            if tokio::time::timeout(OUTPUT_TIME, output.finish()).await.is_err() {
                tracing::warn!("a job's output takes too long; the rest is missing from its log file");
            }
        }
        Ok(JobState::Absent) | Err(_) => {}
    }
}

/// Looks what became of a job, and takes over the output that it left. One that left no status is judged by the package
/// manager's own state.
async fn probe(cx: &Context, key: &StepKey, place: &Place, manager: PackageManager) -> Report {
    let name = key.job_name();
    let state = retried(|| cx.ports.remote.job(place, &name)).await;
    follow(cx, &mut follower(cx, key, place), &state).await;
    Report::Probed(match state {
        Ok(JobState::Running { .. }) => Probed::Running,
        Ok(JobState::Finished { exit: 0, .. }) => Probed::Ended(Outcome::Done(Detail::Upgraded)),
        Ok(JobState::Finished { exit, log_tail }) => Probed::Ended(Outcome::Failed(exited(exit, &log_tail))),
        Ok(JobState::Absent) => Probed::NotDone,
        Ok(JobState::Lost { log_tail }) => judge_packages(cx, place, manager, &log_tail).await,
        Err(fault) => Probed::Unclear(fault),
    })
}

async fn judge_packages(cx: &Context, place: &Place, manager: PackageManager, log_tail: &[String]) -> Probed {
    match retried(|| cx.ports.remote.packages_consistent(place, manager)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => {
            return Probed::Unclear(
                Fault::ambiguous(format!("the upgrade was cut off{}; {why}", last_line(log_tail)))
                    .hint("mend it there (`dpkg --configure -a`), then `proxmaint resolve` with --retry"),
            );
        }
        Err(fault) => return Probed::Unclear(fault),
    }
    match retried(|| cx.ports.remote.inspect(place, false)).await {
        Ok(os) if os.pending.is_empty() => Probed::Ended(Outcome::AlreadyDone(Detail::Upgraded)),
        Ok(_) => Probed::NotDone,
        Err(fault) => Probed::Unclear(fault),
    }
}

/// Says of an upgrade that failed whether it has changed anything: one that could not fetch its packages has not, and may well
/// be tried again. Where that can't be told it counts as changed.
async fn changed(
    cx: &Context,
    place: &Place,
    manager: PackageManager,
    pending: &[PackageChange],
    fault: Fault,
) -> Fault {
    let in_order = matches!(retried(|| cx.ports.remote.packages_consistent(place, manager)).await, Ok(Ok(())));
    if !in_order || !retried(|| cx.ports.remote.inspect(place, false)).await.is_ok_and(|os| os.pending == pending) {
        return fault;
    }
    Fault { class: FaultClass::Transient, what: format!("{}; nothing was changed", fault.what), ..fault }
}

fn exited(exit: i32, log_tail: &[String]) -> Fault {
    Fault::permanent(format!("the upgrade ended with exit status {exit}{}", last_line(log_tail)))
}

/// Quotes the last line that says something, for an error's text.
fn last_line(log_tail: &[String]) -> String {
    match log_tail.iter().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}
