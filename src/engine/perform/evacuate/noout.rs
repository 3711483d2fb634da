//! Ceph's flag `noout`: set before a node goes down, so that Ceph moves no data for its sake, and cleared once Ceph is well.

use crate::engine::perform::discover::same_machine;
use crate::engine::perform::task::{TaskEnd, known_task, since, task_end, tell};
use crate::engine::perform::{Context, Report, change_failed, probed, refused};
use crate::engine::port::{Place, TaskState};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{NodeName, StepKey};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, Outcome, Probed};

/// The task that sets flags of Ceph.
const SET_FLAGS: &str = "cephsetflags";

/// Sets Ceph's flag `noout`, or clears it once Ceph is well.
pub(in crate::engine::perform) async fn noout(
    cx: &Context,
    key: &StepKey,
    node: &NodeName,
    on: bool,
    mode: Mode,
) -> Report {
    let done = || if on { Detail::NooutSet } else { Detail::NooutCleared };
    match mode {
        Mode::Act => match may_set(cx, node, on).await {
            // Of an earlier round whose answer was lost it may have come late: it counts as ours.
            Ok(true) if on && key.round > 1 => Report::Ended(Outcome::Done(done())),
            Ok(true) => Report::Ended(Outcome::AlreadyDone(done())),
            Ok(false) => Report::Ended(set_noout(cx, key, on).await),
            Err(fault) => refused(fault),
        },
        Mode::Probe => probed(match look_at_noout(cx, node, on).await {
            Ok(Flag::AsWanted { ours: true }) => Probed::Ended(Outcome::Done(done())),
            Ok(Flag::AsWanted { ours: false }) => Probed::Ended(Outcome::AlreadyDone(done())),
            Ok(Flag::AtWork) => Probed::Running,
            Ok(Flag::Otherwise) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
        Mode::Attach => {
            let mut backoff = Backoff::within(cx.limits.settle);
            Report::Ended(loop {
                match look_at_noout(cx, node, on).await {
                    Ok(Flag::AsWanted { .. }) => break Outcome::Done(done()),
                    Ok(Flag::AtWork) => {}
                    Ok(Flag::Otherwise) => {
                        break Outcome::Failed(Fault::permanent("Ceph's flag noout is not as it was asked for"));
                    }
                    Err(fault) => break Outcome::Unknown(fault),
                }
                if !backoff.pause().await {
                    break Outcome::Unknown(Fault::ambiguous("Ceph's flag noout is still being set"));
                }
            })
        }
    }
}

/// Tells whether the flag is as wanted already. Before it is cleared, Ceph's health is waited for within `limits.ceph`. An error
/// means: don't.
async fn may_set(cx: &Context, node: &NodeName, on: bool) -> Result<bool, Fault> {
    let found = retried(|| cx.ports.remote.identity(&Place::Node)).await?;
    same_machine(node, &found.hostname)?;
    let mut backoff = Backoff::within(cx.limits.ceph);
    loop {
        let troubles = match retried(|| cx.ports.pve.ceph()).await? {
            // There is none any more: nothing is set.
            None => return Ok(!on),
            Some(ceph) if ceph.noout == on => return Ok(true),
            Some(_) if on => return Ok(false),
            Some(ceph) if ceph.troubles.is_empty() => return Ok(false),
            Some(ceph) => ceph.troubles,
        };
        if !backoff.pause().await {
            let what = format!("Ceph is not well {:?} after the reboot: {}", cx.limits.ceph, troubles.join("; "));
            return Err(Fault::permanent(what).hint(
                "`ceph health detail` on a node says more; noout stays set meanwhile, and is cleared by the next run",
            ));
        }
    }
}

async fn set_noout(cx: &Context, key: &StepKey, on: bool) -> Outcome {
    let task = match retried(|| cx.ports.pve.set_noout(on)).await {
        Ok(task) => task,
        Err(fault) => return change_failed(fault),
    };
    tell(cx, key, &task).await;
    match task_end(cx, &task, cx.limits.settle).await {
        TaskEnd::Well if on => Outcome::Done(Detail::NooutSet),
        TaskEnd::Well => Outcome::Done(Detail::NooutCleared),
        TaskEnd::Failed(why) => Outcome::Failed(Fault::permanent(format!("setting Ceph's flag noout: {why}"))),
        TaskEnd::Unknown(fault) => Outcome::Unknown(fault),
    }
}

/// How the flag stands.
enum Flag {
    /// As it is wanted, and whether a task since the intent can have done it.
    AsWanted {
        ours: bool,
    },
    AtWork,
    Otherwise,
}

async fn look_at_noout(cx: &Context, node: &NodeName, on: bool) -> Result<Flag, Fault> {
    let tasks = retried(|| cx.ports.pve.tasks_of_type(node, SET_FLAGS, since(cx))).await?;
    let known = known_task(cx).await?;
    if known == Some(TaskState::Running) || tasks.iter().any(|task| task.running) {
        return Ok(Flag::AtWork);
    }
    let set = retried(|| cx.ports.pve.ceph()).await?.is_some_and(|ceph| ceph.noout);
    Ok(match set == on {
        true => Flag::AsWanted { ours: known.is_some() || !tasks.is_empty() },
        false => Flag::Otherwise,
    })
}
