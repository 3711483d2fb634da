//! Where the guests of a node go while it is rebooted: pure, so that plan and run decide by one rule.
//!
//! Guests are placed largest first, each on the node that has the most room then. Room is counted by what guests are
//! *configured* with, since a VM that is idle now may want all of it tomorrow. Either all guests that run find a place, or
//! nothing is moved: a node that is half empty can't be rebooted either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::planner::human_bytes;
use crate::ids::{GuestId, GuestKind, NodeName};
use crate::inventory::{EvacuationFacts, MovableFacts, NodeRoom};

/// The least memory of a node that is left free: its kernel, daemons and corosync are in no guest's configuration, and a node that
/// swaps is fenced.
const LEAST_RESERVE: u64 = 1 << 30;
/// On a large node a twentieth is left free: page tables, caches and what each VM's process needs besides grow with the memory.
const RESERVED_PART: u64 = 20;

/// A guest that is moved away from its node, and back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Its vmid.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// Its name; may be empty.
    pub name: String,
    /// What makes it this guest and no other under the same vmid.
    pub identity: Option<String>,
    /// Its node, to which it comes back.
    pub from: NodeName,
    /// How, and where to.
    pub how: MoveHow,
}

/// How a guest is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveHow {
    /// A VM, live.
    Live {
        /// Where to.
        to: NodeName,
        /// Whether disks are copied that only its node has.
        local_disks: bool,
    },
    /// A container: it is shut down, moved and started.
    Restart {
        /// Where to.
        to: NodeName,
    },
    /// By HA, which chooses the node as well.
    Ha,
}

impl Move {
    /// Returns where it is moved to; `None` where HA decides.
    pub fn to(&self) -> Option<&NodeName> {
        match &self.how {
            MoveHow::Live { to, .. } | MoveHow::Restart { to } => Some(to),
            MoveHow::Ha => None,
        }
    }

    /// Returns how it comes back from where it is.
    #[must_use]
    pub fn with_local_disks(&self) -> bool {
        matches!(self.how, MoveHow::Live { local_disks: true, .. })
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)?;
        match &self.how {
            MoveHow::Live { to, local_disks: false } => write!(f, " live to {to}"),
            MoveHow::Live { to, local_disks: true } => write!(f, " live to {to} with its local disks"),
            MoveHow::Restart { to } => write!(f, " to {to} with a restart"),
            MoveHow::Ha => write!(f, " by HA"),
        }
    }
}

/// A guest that can't be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Its vmid.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// Why: goes on from its name.
    pub why: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind, self.id, self.why)
    }
}

const FREE_MEMORY: &str = "free memory on another node, or move or stop guests by hand before the run";
const ASK_PVE: &str = "on the node: `qm migrate VMID TARGET` or `pct migrate VMID TARGET --restart` says more";
const DETACH: &str = "detach it, use a mapped resource, or stop the guest before the run";
const SNAPSHOTS: &str = "remove its snapshots, or put its disks on a storage that the nodes share";
const OWN_SNAPSHOT: &str =
    "protect it by a backup (protect = [\"backup\"]), or put its disks on a storage that the nodes share";

/// Returns how much memory a node has for guests that come to it.
pub fn room(node: &NodeRoom) -> u64 {
    let reserve = LEAST_RESERVE.max(node.total / RESERVED_PART);
    node.total.saturating_sub(node.used.max(node.configured)).saturating_sub(reserve)
}

/// Decides where each guest goes, those that HA moves first. `to_be_snapshotted` are guests of which the run itself will make a
/// snapshot before the node is rebooted.
///
/// # Errors
/// The guests that can't be moved: then none is.
pub fn choose(
    from: &NodeName,
    facts: &EvacuationFacts,
    to_be_snapshotted: &BTreeSet<GuestId>,
) -> Result<Vec<Move>, Vec<Stuck>> {
    let mut rooms: BTreeMap<&NodeName, u64> = facts.nodes.iter().map(|node| (&node.name, room(node))).collect();
    let mut guests: Vec<&MovableFacts> = facts.guests.iter().collect();
    guests.sort_by_key(|guest| (std::cmp::Reverse(guest.memory), guest.id));
    let (mut moves, mut stuck) = (Vec::new(), Vec::new());
    for guest in guests {
        match place(facts, guest, to_be_snapshotted.contains(&guest.id), &rooms) {
            Err((why, hint)) => stuck.push(Stuck { id: guest.id, kind: guest.kind, why, hint }),
            Ok(to) => {
                if let Some(left) = rooms.get_mut(to) {
                    *left = left.saturating_sub(guest.memory);
                }
                moves.push(Move {
                    id: guest.id,
                    kind: guest.kind,
                    name: guest.name.clone(),
                    identity: guest.identity.clone(),
                    from: from.clone(),
                    how: match guest.kind {
                        // HA chooses by itself; the place that was found says only that there is room.
                        _ if guest.ha => MoveHow::Ha,
                        GuestKind::Vm => MoveHow::Live { to: to.clone(), local_disks: !guest.local.is_empty() },
                        GuestKind::Ct => MoveHow::Restart { to: to.clone() },
                    },
                });
            }
        }
    }
    if stuck.is_empty() {
        moves.sort_by_key(|planned| planned.how != MoveHow::Ha);
        return Ok(moves);
    }
    stuck.sort_by_key(|stuck| stuck.id);
    Err(stuck)
}

/// Finds the node for a guest: of those that it may go to and that have room, the one with the most.
fn place<'a>(
    facts: &'a EvacuationFacts,
    guest: &MovableFacts,
    to_be_snapshotted: bool,
    rooms: &BTreeMap<&NodeName, u64>,
) -> Result<&'a NodeName, (String, &'static str)> {
    if guest.paused {
        return Err(("is neither on nor off".to_owned(), "resume or stop it"));
    }
    if !guest.bound.is_empty() {
        return Err((format!("is bound to its node by {}", guest.bound.join(", ")), DETACH));
    }
    let stays_behind = |volume: &&crate::inventory::LocalVolume| guest.kind == GuestKind::Vm || !volume.with_snapshots;
    if let Some(volume) = guest.local.iter().find(stays_behind) {
        let storage = &volume.storage;
        if !guest.snapshots.is_empty() {
            let names: Vec<&str> = guest.snapshots.iter().map(|name| name.as_str()).collect();
            let names = names.join(", ");
            return Err((
                format!("has snapshots ({names}) on local storage {storage}, which can't move with it"),
                SNAPSHOTS,
            ));
        }
        if to_be_snapshotted {
            let what = "would be protected by a snapshot on local storage";
            return Err((format!("{what} {storage}, with which it can't be moved"), OWN_SNAPSHOT));
        }
    }
    let mut reasons: Vec<String> = Vec::new();
    let mut best: Option<(&NodeName, u64)> = None;
    for node in &facts.nodes {
        match may_go(guest, node) {
            Err(why) => reasons.push(format!("{}: {why}", node.name)),
            Ok(()) => {
                let left = rooms.get(&node.name).copied().unwrap_or(0);
                if left < guest.memory {
                    reasons.push(format!("{}: room for {} only", node.name, human_bytes(left)));
                } else if best.is_none_or(|(_, most)| left > most) {
                    best = Some((&node.name, left));
                }
            }
        }
    }
    let hint = if reasons.iter().any(|why| why.contains("room for")) { FREE_MEMORY } else { ASK_PVE };
    best.map(|(node, _)| node).ok_or_else(|| {
        let why = if reasons.is_empty() { "there is no other node".to_owned() } else { reasons.join("; ") };
        (format!("({} of memory) has no node to go to: {why}", human_bytes(guest.memory)), hint)
    })
}

/// Says why a guest may not go to a node, its memory apart.
fn may_go(guest: &MovableFacts, node: &NodeRoom) -> Result<(), String> {
    if !node.online {
        return Err("offline".to_owned());
    }
    if node.maintenance {
        return Err("in maintenance".to_owned());
    }
    if let Some(why) = guest.refused.get(&node.name) {
        return Err(why.clone());
    }
    if guest.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&node.name)) {
        return Err("not allowed by Proxmox VE".to_owned());
    }
    let lacking: Vec<&str> = guest.storages.difference(&node.storages).map(String::as_str).collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(format!("lacks storage {}", lacking.join(", "))),
    }
}

/// Sums up why nothing is moved, with what to do about it.
pub fn sum_up(stuck: &[Stuck]) -> (String, String) {
    let why: Vec<String> = stuck.iter().map(ToString::to_string).collect();
    let mut hints: Vec<&str> = stuck.iter().map(|stuck| stuck.hint).collect();
    hints.sort_unstable();
    hints.dedup();
    (format!("not all guests can be moved away: {}", why.join("; ")), hints.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SnapshotName;
    use crate::inventory::LocalVolume;

    const GIB: u64 = 1 << 30;

    fn node(name: &str, total: u64, used: u64, configured: u64) -> NodeRoom {
        NodeRoom {
            name: NodeName::new(name),
            online: true,
            maintenance: false,
            total: total * GIB,
            used: used * GIB,
            configured: configured * GIB,
            storages: BTreeSet::from(["ceph".to_owned(), "thin".to_owned()]),
        }
    }

    fn guest(id: u32, kind: GuestKind, memory: u64) -> MovableFacts {
        MovableFacts {
            id: GuestId(id),
            kind,
            name: String::new(),
            identity: None,
            ha: false,
            paused: false,
            memory: memory * GIB,
            storages: BTreeSet::from(["ceph".to_owned()]),
            local: Vec::new(),
            snapshots: Vec::new(),
            bound: Vec::new(),
            allowed: None,
            refused: BTreeMap::new(),
        }
    }

    fn local(guest: MovableFacts, with_snapshots: bool) -> MovableFacts {
        let local = vec![LocalVolume { storage: "thin".to_owned(), with_snapshots }];
        MovableFacts { local, storages: BTreeSet::from(["thin".to_owned()]), ..guest }
    }

    /// Decides, in words: one line a move, or one a guest that is stuck.
    fn decide(nodes: &[NodeRoom], guests: &[MovableFacts], snapshotted: &[u32]) -> Vec<String> {
        let facts = EvacuationFacts { maintenance: false, nodes: nodes.to_vec(), guests: guests.to_vec() };
        let snapshotted = snapshotted.iter().map(|id| GuestId(*id)).collect();
        match choose(&NodeName::new("pve1"), &facts, &snapshotted) {
            Ok(moves) => moves.iter().map(ToString::to_string).collect(),
            Err(stuck) => stuck.iter().map(|stuck| format!("stuck: {stuck}")).collect(),
        }
    }

    use GuestKind::{Ct, Vm};

    #[test]
    fn the_largest_guest_comes_first_and_goes_where_most_room_is() {
        let nodes = [node("pve2", 32, 4, 8), node("pve3", 32, 4, 4)];
        let guests = [guest(101, Ct, 2), guest(201, Vm, 16), guest(202, Vm, 12)];
        assert_eq!(
            decide(&nodes, &guests, &[]),
            ["VM 201 live to pve3", "VM 202 live to pve2", "CT 101 to pve2 with a restart"],
            "rooms: pve2 22.4, pve3 26.4; then pve3 10.4, pve2 10.4: the first by name takes the last"
        );
    }

    #[test]
    fn memory_counts_by_what_is_used_or_configured_whichever_is_more() {
        let roomy = node("pve2", 16, 2, 2);
        // 16 - 2 - 1 reserved.
        assert_eq!((room(&roomy) / GIB, room(&node("pve2", 16, 2, 8)) / GIB), (13, 7));
        assert_eq!(room(&node("pve2", 16, 9, 8)) / GIB, 6);
        assert_eq!(room(&node("pve2", 400, 0, 0)) / GIB, 380, "a twentieth of a large node");
        assert_eq!(room(&node("pve2", 1, 4, 4)), 0);
        let told = decide(&[node("pve2", 16, 2, 8)], &[guest(201, Vm, 8)], &[]);
        assert_eq!(told, ["stuck: VM 201 (8.0 GiB of memory) has no node to go to: pve2: room for 7.0 GiB only"]);
        // Each fits alone, both don't: then neither is moved.
        let told = decide(&[roomy], &[guest(201, Vm, 8), guest(202, Vm, 8)], &[]);
        assert_eq!(told, ["stuck: VM 202 (8.0 GiB of memory) has no node to go to: pve2: room for 5.0 GiB only"]);
    }

    #[test]
    fn a_guest_of_ha_takes_room_and_is_moved_by_ha() {
        let managed = MovableFacts { ha: true, ..guest(102, Ct, 4) };
        let nodes = [node("pve2", 16, 2, 2)];
        assert_eq!(decide(&nodes, &[guest(201, Vm, 8), managed.clone()], &[]), ["CT 102 by HA", "VM 201 live to pve2"]);
        let told = decide(&nodes, &[guest(201, Vm, 10), managed], &[]);
        assert!(told[0].starts_with("stuck: CT 102 (4.0 GiB"), "{told:?}");
    }

    #[test]
    fn local_disks_move_with_a_vm_but_not_with_its_snapshots() {
        let nodes = [node("pve2", 16, 2, 2)];
        let snapshots = vec![SnapshotName::new("before")];
        let vm = local(guest(201, Vm, 2), true);
        assert_eq!(decide(&nodes, std::slice::from_ref(&vm), &[]), ["VM 201 live to pve2 with its local disks"]);
        let told = decide(&nodes, std::slice::from_ref(&vm), &[201]);
        assert!(told[0].contains("would be protected by a snapshot on local storage thin"), "{told:?}");
        let told = decide(&nodes, &[MovableFacts { snapshots: snapshots.clone(), ..vm }], &[]);
        assert!(told[0].contains("has snapshots (before) on local storage thin"), "{told:?}");
        // A container's snapshots move with it where the storage can send them.
        let ct = |with| MovableFacts { snapshots: snapshots.clone(), ..local(guest(101, Ct, 2), with) };
        assert_eq!(decide(&nodes, &[ct(true)], &[101]), ["CT 101 to pve2 with a restart"]);
        assert!(decide(&nodes, &[ct(false)], &[])[0].contains("has snapshots (before)"));
        // On shared storage nothing stays behind.
        let shared = MovableFacts { snapshots, ..guest(202, Vm, 2) };
        assert_eq!(decide(&nodes, &[shared], &[202]), ["VM 202 live to pve2"]);
    }

    #[test]
    fn a_guest_that_may_go_nowhere_keeps_all_where_they_are() {
        let nodes = [node("pve2", 64, 2, 2), NodeRoom { online: false, ..node("pve3", 64, 2, 2) }];
        let why = |guest: MovableFacts| decide(&nodes, &[guest, self::guest(101, Ct, 1)], &[]).join("\n");
        let vm = || guest(201, Vm, 2);
        let told = why(MovableFacts { bound: vec!["hostpci0".to_owned()], ..vm() });
        assert_eq!(told, "stuck: VM 201 is bound to its node by hostpci0");
        assert!(why(MovableFacts { paused: true, ..vm() }).contains("neither on nor off"));
        let told = why(MovableFacts { allowed: Some(BTreeSet::from([NodeName::new("pve3")])), ..vm() });
        assert!(told.contains("pve2: not allowed by Proxmox VE; pve3: offline"), "{told}");
        let refused = BTreeMap::from([(NodeName::new("pve2"), "an affinity rule keeps it from there".to_owned())]);
        assert!(why(MovableFacts { refused, ..vm() }).contains("pve2: an affinity rule"));
        let told = why(MovableFacts { storages: BTreeSet::from(["nfs".to_owned()]), ..vm() });
        assert!(told.contains("pve2: lacks storage nfs"), "{told}");
        assert!(decide(&[], &[vm()], &[])[0].contains("there is no other node"));
        let emptied = [NodeRoom { maintenance: true, ..node("pve2", 64, 2, 2) }];
        assert!(decide(&emptied, &[vm()], &[])[0].contains("pve2: in maintenance"));
        assert!(decide(&nodes, &[], &[]).is_empty(), "nothing runs, nothing is moved");
    }
}
