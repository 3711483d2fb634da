//! Empties a node for its reboot, and fills it again: Ceph's flag `noout`, HA maintenance mode, guests moved away and back.
//!
//! None of these acts carries a key. A flag and a mode are known by their present state, a move by where the guest is and by its
//! tasks. What is owed is journaled with the intent of each act; whatever is given back is looked at first, so that giving back
//! twice changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::discover::same_machine;
use super::power::bring_up;
use super::task::{TaskEnd, guest_tasks, known_task, since, task_end, tell};
use super::{Context, Report, change_failed, identity_of, probed, refused, wait_for_lock};
use crate::engine::port::{
    GuestConfig, GuestListing, GuestRef, MoveOrder, Place, Preconditions, Stock, StorageStock, TaskState,
};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{GuestId, GuestKind, NodeName, StepKey, Upid};
use crate::inventory::{EvacuationFacts, LocalVolume, MovableFacts, NodeRoom, Power};
use crate::machine::effect::Mode;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::evacuation::room;
use crate::plan::{Move, MoveHow};

/// The task that sets flags of Ceph.
const SET_FLAGS: &str = "cephsetflags";

/// Gathers what moving the guests of a node away rests on. Changes nothing.
///
/// # Errors
/// Something could not be asked: what is not known is not risked.
pub(super) async fn facts(cx: &Context, node: &NodeName, listed: &[GuestListing]) -> Result<EvacuationFacts, Fault> {
    let stock = retried(|| cx.ports.pve.stock()).await?;
    let resting = retried(|| cx.ports.pve.in_maintenance()).await?;
    let ha = managed_by_ha(cx).await?;
    let runs = |guest: &&GuestListing| !guest.template && guest.power != Power::Stopped;
    let running: Vec<GuestListing> = listed.iter().filter(runs).cloned().collect();
    let around = Around { node, stock: &stock, ha: &ha };
    let mut guests: Vec<MovableFacts> = stream::iter(running)
        .map(|guest| look_at(cx, &around, guest))
        .buffer_unordered(cx.limits.lookers)
        .collect::<Vec<Result<MovableFacts, Fault>>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    guests.sort_by_key(|guest| guest.id);
    let mut nodes = rooms(&stock, &resting);
    nodes.retain(|other| other.name != *node);
    Ok(EvacuationFacts { maintenance: resting.contains(node), nodes, guests })
}

async fn managed_by_ha(cx: &Context) -> Result<BTreeSet<GuestId>, Fault> {
    let all = retried(|| cx.ports.pve.resources()).await?;
    Ok(all.into_iter().filter(|guest| guest.ha).map(|guest| guest.id).collect())
}

/// Counts the memory of each node of a cluster.
fn rooms(stock: &Stock, resting: &BTreeSet<NodeName>) -> Vec<NodeRoom> {
    let room = |node: &crate::engine::port::NodeStock| NodeRoom {
        name: node.name.clone(),
        online: node.online,
        maintenance: resting.contains(&node.name),
        total: node.memory,
        used: node.used,
        configured: stock.guests.iter().filter(|g| g.running && g.node == node.name).map(|g| g.memory).sum(),
        storages: stock.storages.iter().filter(|s| s.active && s.node == node.name).map(|s| s.name.clone()).collect(),
    };
    stock.nodes.iter().map(room).collect()
}

/// What is known of a guest's surroundings.
struct Around<'a> {
    node: &'a NodeName,
    stock: &'a Stock,
    ha: &'a BTreeSet<GuestId>,
}

async fn look_at(cx: &Context, around: &Around<'_>, guest: GuestListing) -> Result<MovableFacts, Fault> {
    let Around { node, stock, ha } = *around;
    let at = GuestRef { node: node.clone(), kind: guest.kind, id: guest.id };
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    // Of a guest that is locked Proxmox VE says nothing: a lock passes, and is waited for before anything is moved.
    let told = match guest.lock {
        Some(_) => None,
        None => retried(|| cx.ports.pve.preconditions(&at)).await?,
    };
    let Preconditions { allowed, refused, mut bound } = told.unwrap_or_default();
    bound.extend(bound_by(guest.kind, &config));
    let volumes = storages_of(guest.kind, &config);
    let here: Vec<&StorageStock> = stock.storages.iter().filter(|storage| storage.node == *node).collect();
    let local: Vec<LocalVolume> = here
        .iter()
        .filter(|storage| !storage.shared && volumes.contains(&storage.name))
        .map(|storage| LocalVolume {
            storage: storage.name.clone(),
            with_snapshots: matches!(storage.kind.as_str(), "zfspool" | "btrfs"),
        })
        .collect();
    let snapshots = match local.is_empty() {
        true => Vec::new(),
        false => retried(|| cx.ports.pve.snapshots(&at)).await?.into_iter().map(|snapshot| snapshot.name).collect(),
    };
    let listed = stock.guests.iter().find(|listed| listed.id == guest.id);
    let memory = listed.map(|listed| listed.memory).filter(|memory| *memory > 0);
    let memory = memory.ok_or_else(|| {
        Fault::permanent(format!("the memory of {} {} is not told: it can't be sized", guest.kind, guest.id))
    })?;
    Ok(MovableFacts {
        id: guest.id,
        kind: guest.kind,
        identity: identity_of(guest.kind, &config),
        ha: ha.contains(&guest.id),
        name: guest.name,
        paused: guest.power == Power::Other,
        memory,
        storages: volumes,
        local,
        snapshots,
        bound,
        allowed,
        refused,
    })
}

/// Returns the storages that a guest's volumes are on, those that it does not use now as well: they move with it.
fn storages_of(kind: GuestKind, config: &GuestConfig) -> BTreeSet<String> {
    let keys: &[&str] = match kind {
        GuestKind::Ct => &["rootfs", "mp", "unused"],
        GuestKind::Vm => &["scsi", "virtio", "sata", "ide", "efidisk", "tpmstate", "unused"],
    };
    let volumes = config.0.iter().filter(|(key, value)| is_one_of(key, keys) && !is_cdrom(value));
    let named = volumes.filter_map(|(_, value)| value.split(',').next()?.split_once(':'));
    named.map(|(storage, _)| storage.trim_start_matches("file=").to_owned()).collect()
}

/// Names what of a container's config binds it to its node: directories and devices of the node. A VM's are told by Proxmox VE.
fn bound_by(kind: GuestKind, config: &GuestConfig) -> Vec<String> {
    let binds = |key: &str, value: &str| {
        let shared = value.split(',').any(|part| part.trim() == "shared=1");
        (is_one_of(key, &["mp"]) && value.starts_with('/') && !shared) || is_one_of(key, &["dev"])
    };
    let binding = config.0.iter().filter(|(key, value)| kind == GuestKind::Ct && binds(key, value));
    binding.map(|(key, value)| format!("{key} ({})", value.split(',').next().unwrap_or(value))).collect()
}

fn is_one_of(key: &str, kinds: &[&str]) -> bool {
    let numbered = |n: &str| n.chars().all(|c| c.is_ascii_digit());
    kinds.iter().any(|kind| key.strip_prefix(kind).is_some_and(numbered))
}

fn is_cdrom(value: &str) -> bool {
    value.split(',').any(|part| part.trim() == "media=cdrom")
}

/// Sets Ceph's flag `noout`, or clears it once Ceph is well.
pub(super) async fn noout(cx: &Context, key: &StepKey, node: &NodeName, on: bool, mode: Mode) -> Report {
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

/// Puts the node into HA maintenance mode and waits until HA has emptied it.
pub(super) async fn enter_maintenance(
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
pub(super) async fn leave_maintenance(cx: &Context, node: &NodeName, mode: Mode) -> Report {
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

/// Where a guest is that was, or is to be, moved.
enum Whereabouts {
    /// It is destroyed, or another guest has its vmid: in words.
    NotOurs(String),
    /// It is there.
    At { node: NodeName, power: Power, moving: bool },
}

async fn find(cx: &Context, planned: &Move) -> Result<Whereabouts, Fault> {
    let name = || format!("{} {}", planned.kind, planned.id);
    let Some(node) = retried(|| cx.ports.pve.locate(planned.id)).await? else {
        return Ok(Whereabouts::NotOurs(format!("{} is gone", name())));
    };
    let at = GuestRef { node: node.clone(), kind: planned.kind, id: planned.id };
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    if !is_same(planned, identity_of(planned.kind, &config).as_deref()) {
        return Ok(Whereabouts::NotOurs(format!("{} is another guest now", name())));
    }
    let (power, lock) = retried(|| cx.ports.pve.guest_status(&at)).await?;
    let tasks = guest_tasks(cx, &at, &["migrate", "qmigrate", "hamigrate"]).await?;
    let moving = lock.as_deref() == Some("migrate") || tasks.iter().any(|task| task.running);
    Ok(Whereabouts::At { node, power, moving })
}

/// Tells whether an identity is that of the guest: a container's volume may be called otherwise where it comes to lie, its MAC
/// addresses stay.
fn is_same(planned: &Move, now: Option<&str>) -> bool {
    let macs = |identity: Option<&str>| -> Vec<String> {
        identity.unwrap_or_default().split_whitespace().skip(1).map(str::to_ascii_lowercase).collect()
    };
    let own = macs(planned.identity.as_deref());
    planned.identity.as_deref() == now || (planned.kind == GuestKind::Ct && !own.is_empty() && own == macs(now))
}

/// Moves a guest away.
pub(super) async fn move_guest(cx: &Context, key: &StepKey, planned: &Move, mode: Mode) -> Report {
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

/// Asks for a move and waits for its task.
async fn migrate(
    cx: &Context,
    key: &StepKey,
    at: &GuestRef,
    planned: &Move,
    to: &NodeName,
    running: bool,
) -> Result<(Upid, TaskEnd), Fault> {
    let order =
        MoveOrder { to: to.clone(), running, local_disks: planned.with_local_disks(), shutdown: cx.limits.shutdown };
    let task = retried(|| cx.ports.pve.migrate(at, &order)).await?;
    tell(cx, key, &task).await;
    let end = task_end(cx, &task, cx.limits.migrate).await;
    Ok((task, end))
}

/// Finds the reason in a task's log: a move that is given up says only that it was.
async fn because(cx: &Context, task: &Upid, exit: String) -> String {
    let lines = retried(|| cx.ports.pve.task_log_tail(task, 20)).await.unwrap_or_default();
    let told = lines.iter().find_map(|line| line.split_once("ERROR: ")).map(|(_, why)| why.trim().to_owned());
    told.map_or(exit.clone(), |why| format!("{exit} ({why})"))
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

/// Brings a guest back, and sees to it that it runs.
pub(super) async fn return_guest(cx: &Context, key: &StepKey, moved: &Move, mode: Mode) -> Report {
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
                Ok((_, TaskEnd::Well)) if by_ha => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> GuestConfig {
        GuestConfig(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn storages_and_what_binds_a_guest_are_read_from_its_config() {
        let ct = config(&[
            ("rootfs", "thin:vm-101-disk-0,size=8G"),
            ("mp0", "nfs:101/vm-101-disk-1.raw,mp=/srv"),
            ("mp1", "/mnt/pictures,mp=/pictures"),
            ("mp2", "/mnt/everywhere,mp=/e,shared=1"),
            ("dev0", "/dev/ttyUSB0"),
            ("net0", "name=eth0,bridge=vmbr0:1"),
        ]);
        let storages: Vec<String> = storages_of(GuestKind::Ct, &ct).into_iter().collect();
        assert_eq!(storages, ["nfs", "thin"]);
        assert_eq!(bound_by(GuestKind::Ct, &ct), ["dev0 (/dev/ttyUSB0)", "mp1 (/mnt/pictures)"]);
        let vm = config(&[
            ("scsi0", "file=ceph:vm-201-disk-0,size=8G"),
            ("ide2", "local:iso/debian.iso,media=cdrom"),
            ("scsihw", "virtio-scsi-single"),
            ("unused0", "thin:vm-201-disk-9"),
        ]);
        let storages: Vec<String> = storages_of(GuestKind::Vm, &vm).into_iter().collect();
        assert_eq!(storages, ["ceph", "thin"]);
    }

    #[test]
    fn a_container_is_known_by_its_addresses_wherever_its_volume_lies() {
        let planned = |kind, identity: &str| Move {
            id: GuestId(101),
            kind,
            name: String::new(),
            identity: Some(identity.to_owned()),
            from: NodeName::new("pve1"),
            how: MoveHow::Ha,
        };
        let ct = planned(GuestKind::Ct, "thin:vm-101-disk-0 bc:24:11:00:00:01");
        assert!(is_same(&ct, Some("thin:vm-101-disk-1 BC:24:11:00:00:01")));
        assert!(!is_same(&ct, Some("thin:vm-101-disk-0 bc:24:11:00:00:02")) && !is_same(&ct, None));
        assert!(!is_same(&planned(GuestKind::Ct, "thin:vm-101-disk-0"), Some("thin:vm-101-disk-1")));
        let vm = planned(GuestKind::Vm, "a-b-c");
        assert!(is_same(&vm, Some("a-b-c")) && !is_same(&vm, Some("a-b-d")));
    }
}
