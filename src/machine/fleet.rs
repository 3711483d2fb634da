//! Hands out turns: how many hosts at once, one node of a cluster at a time, and one reboot at a time in the whole fleet.
//!
//! A node that failed or is held keeps its cluster's turn: the others of that cluster wait, since a second node down
//! may cost the quorum. The cost of a change does not grow with the fleet: queues, no scans.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::host::{HostPhase, HostState, HostVerdict};
use crate::ids::{ClusterId, HostId, NodeName};

/// A turn to hand out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Grant {
    /// The host, which an earlier session left unfinished, may be gone on with.
    Resume(HostId),
    /// The host may be discovered.
    Begin(HostId),
    /// The host may be changed.
    Turn(HostId),
    /// The host may be rebooted.
    Reboot(HostId),
}

/// Who may work.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    parallel: usize,
    /// Hosts that an earlier session left unfinished: what was at work first, then what was held.
    interrupted: VecDeque<HostId>,
    /// Hosts that have not begun, in the manifest's order.
    pending: VecDeque<HostId>,
    /// The same hosts, to queue none twice; one that is taken out here is passed over there.
    queued: BTreeSet<HostId>,
    /// Hosts that take up a place.
    active: BTreeSet<HostId>,
    /// Which host has the turn of a cluster.
    turns: BTreeMap<ClusterId, HostId>,
    /// The cluster of a host that has its turn.
    turn_of: BTreeMap<HostId, ClusterId>,
    /// Hosts that wait for the turn of a cluster.
    waiting: BTreeMap<ClusterId, VecDeque<HostId>>,
    /// Clusters whose turn became free while hosts wait for it.
    freed: VecDeque<ClusterId>,
    /// Hosts that have their turn and a fresh plan.
    ready: VecDeque<HostId>,
    /// Which host has the one turn to be rebooted. A reboot that went wrong keeps it: no other node goes down then.
    rebooting: Option<HostId>,
    /// Hosts that wait to be rebooted; they take up no place meanwhile.
    rebooters: VecDeque<HostId>,
    /// Hosts that proxmaint itself runs on or in: they come when everything else is over.
    last: VecDeque<HostId>,
    /// Which entry turned out to be which node.
    claims: BTreeMap<(ClusterId, NodeName), HostId>,
}

impl Fleet {
    /// Rebuilds the fleet from its hosts' states: for a new run as well as for one read back from the journal. A host that
    /// was begun takes up no place before it is gone on with, so that those that are held come back a few at a time as well.
    pub fn new<'a>(parallel: u32, hosts: impl Iterator<Item = &'a HostState>) -> Self {
        let mut fleet = Self { parallel: usize::try_from(parallel.max(1)).unwrap_or(usize::MAX), ..Self::default() };
        let mut held = Vec::new();
        for state in hosts {
            let host = state.host().clone();
            if let Some(identity) = &state.identity {
                fleet.claims.insert(identity.clone(), host.clone());
            }
            if let Some(cluster) = &state.turn {
                fleet.turns.insert(cluster.clone(), host.clone());
                fleet.turn_of.insert(host.clone(), cluster.clone());
            }
            if state.reboot_turn {
                fleet.rebooting = Some(host.clone());
            }
            match &state.phase {
                HostPhase::Pending | HostPhase::AwaitingTurn { .. } => fleet.queue(&host),
                HostPhase::AwaitingReboot { .. } => fleet.rebooters.push_back(host),
                HostPhase::Done(_) => {}
                _ if state.is_parked() => held.push(host),
                _ => fleet.interrupted.push_back(host),
            }
        }
        fleet.interrupted.extend(held);
        fleet
    }

    /// Takes hosts out of the queue; a turn that one of them holds stays with it.
    pub fn leave_out(&mut self, hosts: &BTreeSet<HostId>) {
        self.interrupted.retain(|host| !hosts.contains(host));
        self.queued.retain(|host| !hosts.contains(host));
        self.active.retain(|host| !hosts.contains(host));
        self.rebooters.retain(|host| !hosts.contains(host));
    }

    /// Returns the entry that claimed a node first, if it is another one, and notes the claim.
    pub fn claim(&mut self, ca: &ClusterId, node: &NodeName, host: &HostId) -> Option<HostId> {
        let first = self.claims.entry((ca.clone(), node.clone())).or_insert_with(|| host.clone());
        (first != host).then(|| first.clone())
    }

    /// Returns who has the turn of the cluster that a host waits for.
    pub fn waits_for(&self, cluster: &ClusterId) -> Option<&HostId> {
        self.turns.get(cluster)
    }

    /// Returns who is being rebooted.
    pub fn rebooting(&self) -> Option<&HostId> {
        self.rebooting.as_ref()
    }

    /// Takes note of where a host stands after an event.
    pub fn observe(&mut self, state: &HostState) {
        let host = state.host();
        match (&self.rebooting, state.reboot_turn) {
            (Some(holder), false) if holder == host => self.rebooting = None,
            (None, true) => self.rebooting = Some(host.clone()),
            _ => {}
        }
        match &state.phase {
            HostPhase::Pending => self.queue(host),
            HostPhase::AwaitingTurn { plan } if self.active.contains(host) => match plan.own {
                Some(_) if self.others_are_left(host) => {
                    self.active.remove(host);
                    self.last.push_back(host.clone());
                }
                Some(_) | None => self.await_turn(host, plan.cluster.as_ref()),
            },
            HostPhase::AwaitingTurn { .. } => {}
            HostPhase::AwaitingReboot { .. } => {
                self.active.remove(host);
                if !self.rebooters.contains(host) {
                    self.rebooters.push_back(host.clone());
                }
            }
            HostPhase::Done(verdict) => {
                self.active.remove(host);
                self.queued.remove(host);
                self.rebooters.retain(|waiting| waiting != host);
                if !matches!(verdict, HostVerdict::Failed(_)) {
                    self.give_up_turn(host);
                }
            }
            _ if state.is_parked() => {
                self.active.remove(host);
            }
            _ => {
                self.active.insert(host.clone());
            }
        }
    }

    /// Puts a host that is planned to work if its cluster's turn is free, else into that cluster's queue.
    fn await_turn(&mut self, host: &HostId, cluster: Option<&ClusterId>) {
        match cluster.map(|cluster| (cluster, self.turns.get(cluster))) {
            None => self.ready.push_back(host.clone()),
            Some((cluster, Some(holder))) if holder != host => {
                self.active.remove(host);
                self.waiting.entry(cluster.clone()).or_default().push_back(host.clone());
            }
            Some((cluster, _)) => {
                self.turns.insert(cluster.clone(), host.clone());
                self.turn_of.insert(host.clone(), cluster.clone());
                self.ready.push_back(host.clone());
            }
        }
    }

    fn queue(&mut self, host: &HostId) {
        if self.queued.insert(host.clone()) {
            self.pending.push_back(host.clone());
        }
    }

    /// Returns the turns that can be handed out now.
    pub fn grants(&mut self) -> Vec<Grant> {
        let mut grants: Vec<Grant> = self.ready.drain(..).map(Grant::Turn).collect();
        if self.rebooting.is_none()
            && self.active.len() < self.parallel
            && let Some(host) = self.rebooters.pop_front()
        {
            self.rebooting = Some(host.clone());
            self.active.insert(host.clone());
            grants.push(Grant::Reboot(host));
        }
        while self.active.len() < self.parallel {
            let (host, grant): (HostId, fn(HostId) -> Grant) = match self.interrupted.pop_front() {
                Some(host) => (host, Grant::Resume),
                None => match self.next_host() {
                    Some(host) => (host, Grant::Begin),
                    None => break,
                },
            };
            self.active.insert(host.clone());
            grants.push(grant(host));
        }
        grants
    }

    /// Tells whether nothing is at work.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.ready.is_empty()
    }

    /// Tells whether another host is at work, or may be yet.
    fn others_are_left(&self, host: &HostId) -> bool {
        self.active.iter().any(|other| other != host)
            || !self.ready.is_empty()
            || !self.queued.is_empty()
            || !self.interrupted.is_empty()
            || (self.rebooting.is_none() && !self.rebooters.is_empty())
    }

    fn next_host(&mut self) -> Option<HostId> {
        while let Some(cluster) = self.freed.pop_front() {
            if self.turns.contains_key(&cluster) {
                continue;
            }
            if let Some(host) = self.waiting.get_mut(&cluster).and_then(VecDeque::pop_front) {
                self.turns.insert(cluster.clone(), host.clone());
                self.turn_of.insert(host.clone(), cluster);
                return Some(host);
            }
        }
        while let Some(host) = self.pending.pop_front() {
            if self.queued.remove(&host) {
                return Some(host);
            }
        }
        // It is looked at anew, since it has waited.
        match self.active.is_empty() {
            true => self.last.pop_front(),
            false => None,
        }
    }

    fn give_up_turn(&mut self, host: &HostId) {
        if let Some(cluster) = self.turn_of.remove(host) {
            self.turns.remove(&cluster);
            if self.waiting.get(&cluster).is_some_and(|queue| !queue.is_empty()) {
                self.freed.push_back(cluster);
            }
        }
    }
}
