//! Moves a guest away from its node, or finds out how far such a move is.

use super::{Whereabouts, because, find, migrate, rooms};
use crate::engine::perform::task::{TaskEnd, known_task};
use crate::engine::perform::{Context, Report, change_failed, probed, refused, wait_for_lock};
use crate::engine::port::{GuestRef, TaskState};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{NodeName, StepKey};
use crate::inventory::Power;
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::Move;
use crate::plan::evacuation::room;

/// Moves a guest away.
pub(in crate::engine::perform) async fn move_guest(cx: &Context, key: &StepKey, planned: &Move, mode: Mode) -> Report {
    let Some(to) = planned.to() else {
        return refused(Fault::permanent(format!("{} {} is moved by HA", planned.kind, planned.id)));
    };
    match mode {
        Mode::Act => match may_move(cx, planned, to).await {
            Ok(Before::There) => Report::Ended(Outcome::AlreadyDone(Detail::Moved)),
            Ok(Before::Here) => Report::Ended(begin_move(cx, key, planned, to).await),
            Err(fault) => refused(fault),
        },
        Mode::Probe => probed(match look_at_move(cx, planned, to).await {
            Ok(MoveLook::There) => Probed::Ended(Outcome::Done(Detail::Moved)),
            Ok(MoveLook::AtWork) => Probed::Running,
            Ok(MoveLook::Failed(fault)) => Probed::Ended(Outcome::Failed(fault)),
            Ok(MoveLook::Here) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
        Mode::Attach => {
            let mut backoff = Backoff::within(cx.limits.migrate);
            Report::Ended(loop {
                match look_at_move(cx, planned, to).await {
                    Ok(MoveLook::There) => break Outcome::Done(Detail::Moved),
                    Ok(MoveLook::AtWork) => {}
                    Ok(MoveLook::Failed(fault)) => break Outcome::Failed(fault),
                    Ok(MoveLook::Here) => break Outcome::Failed(Fault::permanent(stayed(planned))),
                    Err(fault) => break Outcome::Unknown(fault),
                }
                if !backoff.pause().await {
                    // The rest is undone; this one is looked for when it is to come back.
                    let what = format!(
                        "the move of {} {} still works after {:?}",
                        planned.kind, planned.id, cx.limits.migrate
                    );
                    break Outcome::Failed(Fault::permanent(what));
                }
            })
        }
    }
}

fn stayed(planned: &Move) -> String {
    format!("the move of {} {} ended, and it is still on {}", planned.kind, planned.id, planned.from)
}

/// Where a guest is before it is moved.
enum Before {
    Here,
    There,
}

/// Looks a last time before a move: the plan was made before the first guest was moved. An error means: don't.
async fn may_move(cx: &Context, planned: &Move, to: &NodeName) -> Result<Before, Fault> {
    let name = format!("{} {}", planned.kind, planned.id);
    let here = GuestRef { node: planned.from.clone(), kind: planned.kind, id: planned.id };
    match find(cx, planned).await? {
        Whereabouts::NotOurs(why) => return Err(Fault::permanent(why)),
        Whereabouts::At { node, power: Power::Running, moving: false } if node == *to => return Ok(Before::There),
        Whereabouts::At { node, .. } if node != planned.from => {
            return Err(Fault::permanent(format!("{name} was moved to {node} meanwhile by somebody else")));
        }
        Whereabouts::At { .. } => {}
    }
    if wait_for_lock(cx, &here).await? != Power::Running {
        return Err(Fault::permanent(format!("{name} does not run any more")));
    }
    let told = retried(|| cx.ports.pve.preconditions(&here)).await?.unwrap_or_default();
    if let Some(why) = told.refused.get(to) {
        return Err(Fault::permanent(format!("{name} may not go to {to} any more: {why}")));
    }
    if told.allowed.is_some_and(|allowed| !allowed.contains(to)) {
        return Err(Fault::permanent(format!("{name} may not go to {to} any more")));
    }
    let stock = retried(|| cx.ports.pve.stock()).await?;
    let memory = stock.guests.iter().find(|guest| guest.id == planned.id).map_or(0, |guest| guest.memory);
    let resting = retried(|| cx.ports.pve.in_maintenance()).await?;
    match rooms(&stock, &resting).iter().find(|node| node.name == *to) {
        Some(target) if target.online && !target.maintenance && room(target) >= memory => Ok(Before::Here),
        Some(target) if target.online && !target.maintenance => {
            Err(Fault::permanent(format!("{name} does not fit on {to} any more: its memory was taken meanwhile")))
        }
        _ => Err(Fault::permanent(format!("{name} can't go to {to} any more: it is offline or in maintenance"))),
    }
}

async fn begin_move(cx: &Context, key: &StepKey, planned: &Move, to: &NodeName) -> Outcome {
    let here = GuestRef { node: planned.from.clone(), kind: planned.kind, id: planned.id };
    let (task, end) = match migrate(cx, key, &here, planned, to, true).await {
        Ok(ended) => ended,
        Err(fault) => return change_failed(fault),
    };
    let why = match end {
        TaskEnd::Well => None,
        TaskEnd::Failed(why) => Some(because(cx, &task, why).await),
        TaskEnd::Unknown(fault) => return Outcome::Unknown(fault),
    };
    match look_at_move(&Context { task: None, ..cx.clone() }, planned, to).await {
        Ok(MoveLook::There) => Outcome::Done(Detail::Moved),
        Ok(MoveLook::Failed(fault)) if why.is_none() => Outcome::Failed(fault),
        Ok(_) => {
            let why = why.map_or_else(|| stayed(planned), |why| format!("{} {}: {why}", planned.kind, planned.id));
            Outcome::Failed(Fault::permanent(why))
        }
        Err(fault) => Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
    }
}

/// How far a move is.
enum MoveLook {
    There,
    AtWork,
    Failed(Fault),
    Here,
}

async fn look_at_move(cx: &Context, planned: &Move, to: &NodeName) -> Result<MoveLook, Fault> {
    let known = known_task(cx).await?;
    let found = find(cx, planned).await?;
    Ok(match found {
        _ if known == Some(TaskState::Running) => MoveLook::AtWork,
        Whereabouts::At { moving: true, .. } => MoveLook::AtWork,
        Whereabouts::NotOurs(why) => MoveLook::Failed(Fault::permanent(why)),
        Whereabouts::At { node, power: Power::Running, .. } if node == *to => MoveLook::There,
        Whereabouts::At { node, .. } if node == *to => MoveLook::Failed(Fault::permanent(format!(
            "{} {} was moved to {to}, and does not run there",
            planned.kind, planned.id
        ))),
        Whereabouts::At { node, .. } if node != planned.from => MoveLook::Failed(Fault::permanent(format!(
            "{} {} was moved to {node} meanwhile by somebody else",
            planned.kind, planned.id
        ))),
        // A container is shut down to be moved: given up, it may be off. It is started again when all is undone.
        Whereabouts::At { power, .. } => match known {
            Some(TaskState::Failed(why)) => {
                MoveLook::Failed(Fault::permanent(format!("{} {}: {why}", planned.kind, planned.id)))
            }
            _ if power != Power::Running => MoveLook::Failed(Fault::permanent(format!(
                "{} {} was not moved, and does not run",
                planned.kind, planned.id
            ))),
            _ => MoveLook::Here,
        },
    })
}
