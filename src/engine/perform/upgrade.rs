//! Upgrades a guest or the node: a detached job on the target, named by the step's key, that is attached to.

use super::{Context, Report, place_of, ready_guest, refused, right_machine, unclear};
use crate::engine::port::{Job, JobState, JobWork, Place};
use crate::engine::wait::{Backoff, retried};
use crate::ids::StepKey;
use crate::inventory::{PackageManager, Via};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::GuestAddr;

/// Upgrades a guest.
pub(super) async fn guest(
    cx: &Context,
    key: &StepKey,
    guest: &GuestAddr,
    via: &Via,
    manager: PackageManager,
    mode: Mode,
) -> Report {
    let place = place_of(guest, via);
    if mode == Mode::Act
        && let Err(fault) = ready_guest(cx, guest).await
    {
        return refused(fault);
    }
    if let Err(fault) = right_machine(cx, guest, &place).await {
        return match mode {
            Mode::Act => refused(fault),
            Mode::Attach | Mode::Probe => unclear(mode, fault),
        };
    }
    upgrade(cx, key, &place, manager, mode).await
}

/// Upgrades the node.
pub(super) async fn host(cx: &Context, key: &StepKey, manager: PackageManager, mode: Mode) -> Report {
    upgrade(cx, key, &Place::Node, manager, mode).await
}

async fn upgrade(cx: &Context, key: &StepKey, place: &Place, manager: PackageManager, mode: Mode) -> Report {
    let name = key.job_name();
    match mode {
        Mode::Probe => probe(cx, &name, place, manager).await,
        Mode::Attach => attach(cx, &name, place).await,
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
            let job = Job { name: name.clone(), work: JobWork::Upgrade(manager) };
            // Starting is idempotent under the name, so that a lost answer is settled by asking for the job itself.
            match retried(|| cx.ports.remote.start_job(place, &job)).await {
                Ok(_) => attach(cx, &name, place).await,
                Err(fault) if fault.class == FaultClass::Ambiguous => attach(cx, &name, place).await,
                Err(fault) => refused(fault),
            }
        }
    }
}

/// Waits for the end of a job. A lost connection costs nothing: the job is asked for again.
async fn attach(cx: &Context, name: &str, place: &Place) -> Report {
    let mut backoff = Backoff::within(cx.limits.upgrade);
    loop {
        if cx.draining.is_cancelled() {
            return Report::Left;
        }
        let unreachable = match cx.ports.remote.job(place, name).await {
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
                tracing::info!(job = name, %fault, "asking for the job again");
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

/// Looks what became of a job. One that left no status is judged by the package manager's own state.
async fn probe(cx: &Context, name: &str, place: &Place, manager: PackageManager) -> Report {
    Report::Probed(match retried(|| cx.ports.remote.job(place, name)).await {
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
