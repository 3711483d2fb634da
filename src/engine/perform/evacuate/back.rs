//! Brings a guest back that was moved away, and sees to it that it runs; or finds out how far its return is.

use std::time::Duration;

use super::{Whereabouts, because, find, migrate};
use crate::engine::perform::power::bring_up;
use crate::engine::perform::task::{TaskEnd, known_task};
use crate::engine::perform::{Context, Report, change_failed, probed, wait_for_lock};
use crate::engine::port::{GuestRef, TaskState};
use crate::engine::wait::Backoff;
use crate::ids::{NodeName, StepKey};
use crate::inventory::Power;
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::{Move, MoveHow};

/// Brings a guest back, and sees to it that it runs.
pub(in crate::engine::perform) async fn return_guest(cx: &Context, key: &StepKey, moved: &Move, mode: Mode) -> Report {
    match mode {
        Mode::Act => Report::Ended(bring_back(cx, key, moved).await),
        Mode::Probe => probed(match look_at_return(cx, moved).await {
            Ok(ReturnLook::Over(detail)) => Probed::Ended(Outcome::Done(detail)),
            Ok(ReturnLook::AtWork) => Probed::Running,
            Ok(ReturnLook::Home | ReturnLook::Away { .. }) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
        Mode::Attach => Report::Ended(match wait_for_return(cx, moved, cx.limits.migrate, false).await {
            Ok(ReturnLook::Over(detail)) => Outcome::Done(detail),
            Ok(_) => Outcome::Failed(not_back(moved, "its move ended, and it is not back or does not run")),
            Err(fault) => Outcome::Unknown(fault),
        }),
    }
}

/// How far the return of a guest is.
enum ReturnLook {
    /// It is home and runs, or is not ours to bring back.
    Over(Detail),
    AtWork,
    /// It is home and does not run.
    Home,
    /// It is where it was moved to.
    Away {
        node: NodeName,
        power: Power,
    },
}

async fn look_at_return(cx: &Context, moved: &Move) -> Result<ReturnLook, Fault> {
    let known = known_task(cx).await?;
    Ok(match find(cx, moved).await? {
        Whereabouts::NotOurs(why) => {
            ReturnLook::Over(Detail::Returned { left: Some(format!("{why}: nothing is brought back")) })
        }
        Whereabouts::At { moving: true, .. } => ReturnLook::AtWork,
        _ if known == Some(TaskState::Running) => ReturnLook::AtWork,
        Whereabouts::At { node, power: Power::Running, .. } if node == moved.from => {
            ReturnLook::Over(Detail::Returned { left: None })
        }
        Whereabouts::At { node, .. } if node == moved.from => ReturnLook::Home,
        Whereabouts::At { node, power, .. } if moved.to().is_none_or(|to| node == *to) => {
            ReturnLook::Away { node, power }
        }
        // Whoever moved it on had a reason.
        Whereabouts::At { node, .. } => ReturnLook::Over(Detail::Returned {
            left: Some(format!("{} {} was moved on to {node} by somebody else, and stays there", moved.kind, moved.id)),
        }),
    })
}

/// Waits, within a limit, until a guest is home and runs, or nothing is at it any more. HA begins by itself (`patient`).
async fn wait_for_return(cx: &Context, moved: &Move, limit: Duration, patient: bool) -> Result<ReturnLook, Fault> {
    let mut backoff = Backoff::within(limit);
    loop {
        let found = look_at_return(cx, moved).await?;
        let waits = match found {
            ReturnLook::Over(_) => false,
            ReturnLook::AtWork => true,
            ReturnLook::Home | ReturnLook::Away { .. } => patient,
        };
        if !waits || !backoff.pause().await {
            return Ok(found);
        }
    }
}

fn not_back(moved: &Move, why: &str) -> Fault {
    Fault::permanent(format!("{} {} did not come back to {}: {why}", moved.kind, moved.id, moved.from))
        .hint("it stays owed: the next run brings it back first")
}

async fn bring_back(cx: &Context, key: &StepKey, moved: &Move) -> Outcome {
    let by_ha = moved.how == MoveHow::Ha;
    let limit = if by_ha { cx.limits.ha_return } else { cx.limits.migrate };
    let found = match wait_for_return(cx, moved, limit, by_ha).await {
        Ok(found) => found,
        Err(fault) => return Outcome::Failed(not_back(moved, &fault.what)),
    };
    let home = GuestRef { node: moved.from.clone(), kind: moved.kind, id: moved.id };
    match found {
        ReturnLook::Over(detail) => return Outcome::AlreadyDone(detail),
        ReturnLook::AtWork => {
            return Outcome::Failed(not_back(moved, &format!("its move still works after {limit:?}")));
        }
        ReturnLook::Home => {}
        ReturnLook::Away { node, power } => {
            let there = GuestRef { node, ..home.clone() };
            // One that a move left off is of more use where it is than on its way.
            if power == Power::Stopped
                && !by_ha
                && let Err(fault) = bring_up(cx, key, &there).await
            {
                tracing::warn!(%key, %fault, "a guest that was moved away is off, and could not be started there");
            }
            let power = match wait_for_lock(cx, &there).await {
                Ok(power) => power,
                Err(fault) => return Outcome::Failed(not_back(moved, &fault.what)),
            };
            match migrate(cx, key, &there, moved, &moved.from, power == Power::Running).await {
                Err(fault) => return change_failed(Fault { what: not_back(moved, &fault.what).what, ..fault }),
                Ok((_, TaskEnd::Unknown(fault))) => return Outcome::Unknown(fault),
                Ok((_, TaskEnd::Well)) => {}
                Ok((task, TaskEnd::Failed(why))) => {
                    let why = because(cx, &task, why).await;
                    // It may have been shut down for that.
                    if !by_ha && let Err(fault) = bring_up(cx, key, &there).await {
                        return Outcome::Failed(not_back(moved, &format!("{why}; and it is off: {fault}")));
                    }
                    return Outcome::Failed(not_back(moved, &why));
                }
            }
        }
    }
    if by_ha {
        // HA only notes the wish; the move itself comes later.
        return match wait_for_return(&Context { task: None, ..cx.clone() }, moved, cx.limits.ha_return, true).await {
            Ok(ReturnLook::Over(detail)) => Outcome::Done(detail),
            Ok(_) => Outcome::Failed(not_back(moved, "HA does not bring it back")),
            Err(fault) => Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
        };
    }
    match bring_up(cx, key, &home).await {
        Ok(()) => Outcome::Done(Detail::Returned { left: None }),
        Err(fault) => Outcome::Failed(Fault {
            what: format!("{} {} is back on {} and does not run: {}", moved.kind, moved.id, moved.from, fault.what),
            ..fault
        }),
    }
}
