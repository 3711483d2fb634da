//! Empties a node for its reboot, and fills it again: Ceph's flag `noout`, HA maintenance mode, guests moved away and back.
//!
//! None of these acts carries a key. A flag and a mode are known by their present state, a move by where the guest is and by its
//! tasks. What is owed is journaled with the intent of each act; whatever is given back is looked at first, so that giving back
//! twice changes nothing.

mod away;
mod back;
mod facts;
mod maintenance;
mod noout;

use std::collections::BTreeSet;

use super::task::{TaskEnd, guest_tasks, task_end, tell};
use super::{Context, identity_of};
use crate::engine::port::{GuestRef, MoveOrder, NodeStock, Stock};
use crate::engine::wait::retried;
use crate::ids::{GuestId, GuestKind, NodeName, StepKey, Upid};
use crate::inventory::{NodeRoom, Power};
use crate::machine::outcome::Fault;
use crate::plan::Move;

pub(super) use away::move_guest;
pub(super) use back::return_guest;
pub(super) use facts::facts;
pub(super) use maintenance::{enter_maintenance, leave_maintenance};
pub(super) use noout::noout;

/// Names the guests of the cluster that HA manages.
async fn managed_by_ha(cx: &Context) -> Result<BTreeSet<GuestId>, Fault> {
    let all = retried(|| cx.ports.pve.resources()).await?;
    Ok(all.into_iter().filter(|guest| guest.ha).map(|guest| guest.id).collect())
}

/// Counts the memory of each node of a cluster.
fn rooms(stock: &Stock, resting: &BTreeSet<NodeName>) -> Vec<NodeRoom> {
    let room = |node: &NodeStock| NodeRoom {
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

/// Where a guest is that was, or is to be, moved.
enum Whereabouts {
    /// It is destroyed, or another guest has its vmid: in words.
    NotOurs(String),
    /// It is there.
    At { node: NodeName, power: Power, moving: bool },
}

/// Looks where a guest is, whether it runs, and whether it is on its way.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::MoveHow;

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
