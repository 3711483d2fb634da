//! HA maintenance mode: a node is put into it and emptied by HA, and taken out of it again.

use super::managed_by_ha;
use crate::engine::perform::discover::same_machine;
use crate::engine::perform::{Context, Report, change_failed, probed, refused};
use crate::engine::port::{GuestListing, Place};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{GuestId, NodeName, StepKey};
use crate::inventory::Power;
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};

/// Puts the node into HA maintenance mode and waits until HA has emptied it.
pub(in crate::engine::perform) async fn enter_maintenance(
    cx: &Context,
    key: &StepKey,
    node: &NodeName,
    guests: &[GuestId],
    mode: Mode,
) -> Report {
    match mode {
        Mode::Act => {
            let resting = match right_node_rests(cx, node).await {
                Ok(resting) => resting,
                Err(fault) => return refused(fault),
            };
            if !resting && let Err(fault) = retried(|| cx.ports.remote.maintenance(node, true)).await {
                return Report::Ended(change_failed(fault));
            }
            Report::Ended(match wait_until_empty(cx, node, guests).await {
                // Somebody else's, unless an earlier round of ours was heard late.
                Outcome::Done(done) if resting && key.round == 1 => Outcome::AlreadyDone(done),
                outcome => outcome,
            })
        }
        Mode::Attach => Report::Ended(wait_until_empty(cx, node, guests).await),
        // HA takes up a wish within half a minute: it counts as not heard only after `limits.maintenance`.
        Mode::Probe => {
            let mut backoff = Backoff::within(cx.limits.maintenance);
            loop {
                match rests(cx, node).await {
                    Ok(true) => {
                        return probed(match left_to_ha(cx, node, guests).await {
                            Ok(left) if left.is_empty() => Probed::Ended(Outcome::Done(Detail::Emptied)),
                            Ok(_) => Probed::Running,
                            Err(fault) => Probed::Unclear(fault),
                        });
                    }
                    Ok(false) => {}
                    Err(fault) => return probed(Probed::Unclear(fault)),
                }
                if !backoff.pause().await {
                    return probed(Probed::NotDone);
                }
            }
        }
    }
}

async fn rests(cx: &Context, node: &NodeName) -> Result<bool, Fault> {
    Ok(retried(|| cx.ports.pve.in_maintenance()).await?.contains(node))
}

/// Makes sure that SSH leads to the node, and tells whether it is in maintenance mode already.
async fn right_node_rests(cx: &Context, node: &NodeName) -> Result<bool, Fault> {
    let found = retried(|| cx.ports.remote.identity(&Place::Node)).await?;
    same_machine(node, &found.hostname)?;
    rests(cx, node).await
}

/// Names the guests of HA that are still on the node: those that were to be moved, on or off, and others that run.
async fn left_to_ha(cx: &Context, node: &NodeName, guests: &[GuestId]) -> Result<Vec<String>, Fault> {
    let ha = managed_by_ha(cx).await?;
    let listed = retried(|| cx.ports.pve.guests(node)).await?;
    let here = |g: &&GuestListing| guests.contains(&g.id) || g.power != Power::Stopped;
    let left = listed.iter().filter(|g| !g.template && ha.contains(&g.id)).filter(here);
    Ok(left.map(|guest| format!("{} {}", guest.kind, guest.id)).collect())
}

/// Waits, within `limits.drain_ha`, until the node is in maintenance mode and HA runs nothing there: the mode is told before the
/// guests are gone.
async fn wait_until_empty(cx: &Context, node: &NodeName, guests: &[GuestId]) -> Outcome {
    let mut backoff = Backoff::within(cx.limits.drain_ha);
    loop {
        let rests = match rests(cx, node).await {
            Ok(rests) => rests,
            Err(fault) => return Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
        };
        let left = match left_to_ha(cx, node, guests).await {
            Ok(left) if rests && left.is_empty() => return Outcome::Done(Detail::Emptied),
            Ok(left) => left,
            Err(fault) => return Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
        };
        if !backoff.pause().await {
            let limit = cx.limits.drain_ha;
            let what = match rests {
                true => format!("HA did not move its guests away within {limit:?}: still here: {}", left.join(", ")),
                false => format!("HA did not take up maintenance mode within {limit:?}"),
            };
            // It is undone at once, so HA has nothing left to do here.
            return Outcome::Failed(Fault::permanent(what).hint("on a node: ha-manager status"));
        }
    }
}

/// Takes the node out of HA maintenance mode.
pub(in crate::engine::perform) async fn leave_maintenance(cx: &Context, node: &NodeName, mode: Mode) -> Report {
    match mode {
        Mode::Act => match right_node_rests(cx, node).await {
            Ok(false) => Report::Ended(Outcome::AlreadyDone(Detail::MaintenanceLeft)),
            Ok(true) => {
                if let Err(fault) = retried(|| cx.ports.remote.maintenance(node, false)).await {
                    return Report::Ended(change_failed(fault));
                }
                Report::Ended(match awake(cx, node).await {
                    Ok(true) => Outcome::Done(Detail::MaintenanceLeft),
                    Ok(false) => Outcome::Failed(still_resting(cx)),
                    Err(fault) => Outcome::Unknown(Fault { class: FaultClass::Ambiguous, ..fault }),
                })
            }
            Err(fault) => refused(fault),
        },
        Mode::Probe => probed(match awake(cx, node).await {
            Ok(true) => Probed::Ended(Outcome::Done(Detail::MaintenanceLeft)),
            Ok(false) => Probed::NotDone,
            Err(fault) => Probed::Unclear(fault),
        }),
        Mode::Attach => Report::Ended(match awake(cx, node).await {
            Ok(true) => Outcome::Done(Detail::MaintenanceLeft),
            Ok(false) => Outcome::Failed(still_resting(cx)),
            Err(fault) => Outcome::Unknown(fault),
        }),
    }
}

fn still_resting(cx: &Context) -> Fault {
    Fault::permanent(format!("the node is still in HA maintenance mode after {:?}", cx.limits.maintenance))
        .hint("on a node: ha-manager status")
}

/// Waits, within `limits.maintenance`, until the node is not in maintenance mode any more.
async fn awake(cx: &Context, node: &NodeName) -> Result<bool, Fault> {
    let mut backoff = Backoff::within(cx.limits.maintenance);
    loop {
        if !rests(cx, node).await? {
            return Ok(true);
        }
        if !backoff.pause().await {
            return Ok(false);
        }
    }
}
