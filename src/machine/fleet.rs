//! Hands out turns: how many hosts at once, one node of a cluster at a time, and one reboot at a time in the whole fleet.
//!
//! A node that failed or is held keeps its cluster's turn: the others of that cluster wait, since a second node down
//! may cost the quorum. The cost of a change does not grow with the fleet: queues, no scans.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::guest::GuestPhase;
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
    /// The host's gate may be opened.
    Open(HostId),
    /// The host's canaries may be looked at once more.
    Recheck(HostId),
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
    /// Hosts that nothing may begin on: they keep their places in the queues.
    kept_back: BTreeSet<HostId>,
    /// Hosts whose gate is to be opened when there is a place for them.
    opening: VecDeque<HostId>,
    /// Hosts whose canaries are to be looked at once more.
    rechecks: VecDeque<HostId>,
    /// Whether nothing is handed out any more.
    halted: bool,
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
                // It goes on when its gate is opened.
                _ if state.is_behind_its_gate() && !has_held(state) => {}
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
        self.opening.retain(|host| !hosts.contains(host));
    }

    /// Hands nothing out any more.
    pub fn halt(&mut self) {
        self.halted = true;
    }

    /// Lets a host begin, or keeps it from it. One that waits goes on from where it waits.
    pub fn keep_back(&mut self, state: &HostState, keep: bool) {
        let host = state.host();
        if keep {
            self.kept_back.insert(host.clone());
            return;
        }
        if !self.kept_back.remove(host) {
            return;
        }
        match &state.phase {
            HostPhase::Pending => self.queue(host),
            HostPhase::AwaitingTurn { plan } => match &plan.cluster {
                Some(cluster) if self.waiting.get(cluster).is_some_and(|queue| queue.contains(host)) => {
                    self.freed.push_back(cluster.clone());
                }
                Some(_) | None if !self.last.contains(host) && !self.active.contains(host) => self.queue(host),
                Some(_) | None => {}
            },
            _ => {}
        }
    }

    /// Tells whether a host takes up a place.
    pub fn is_active(&self, host: &HostId) -> bool {
        self.active.contains(host)
    }

    /// Opens the gate of a host as soon as there is a place for it.
    pub fn open_later(&mut self, host: &HostId) {
        if !self.opening.contains(host) {
            self.opening.push_back(host.clone());
        }
    }

    /// Leaves the gate of a host as it is after all.
    pub fn open_no_more(&mut self, host: &HostId) {
        self.opening.retain(|other| other != host);
    }

    /// Looks once more at the canaries of a host as soon as there is a place for it.
    pub fn recheck_later(&mut self, host: &HostId) {
        self.rechecks.push_back(host.clone());
    }

    /// Takes note of another gate of a host, which by itself puts nothing to work that was not.
    pub fn gated(&mut self, state: &HostState) {
        if self.active.contains(state.host()) || !state.is_parked() && !self.interrupted.contains(state.host()) {
            self.observe(state);
        } else if matches!(state.phase, HostPhase::Pending) {
            self.interrupted.retain(|host| host != state.host());
            self.queue(state.host());
        }
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
            HostPhase::Pending => {
                self.active.remove(host);
                self.queue(host);
            }
            // It is planned anew when it may go on.
            HostPhase::AwaitingTurn { .. } if self.kept_back.contains(host) => {
                self.active.remove(host);
            }
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
        if self.halted {
            return Vec::new();
        }
        let mut grants: Vec<Grant> = self.ready.drain(..).map(Grant::Turn).collect();
        if self.rebooting.is_none()
            && self.active.len() < self.parallel
            && let Some(place) = self.rebooters.iter().position(|host| !self.kept_back.contains(host))
            && let Some(host) = self.rebooters.remove(place)
        {
            self.rebooting = Some(host.clone());
            self.active.insert(host.clone());
            grants.push(Grant::Reboot(host));
        }
        // Those that are at work have their place.
        let (at_work, others): (VecDeque<HostId>, VecDeque<HostId>) =
            std::mem::take(&mut self.opening).into_iter().partition(|host| self.active.contains(host));
        self.opening = others;
        grants.extend(at_work.into_iter().map(Grant::Open));
        while self.active.len() < self.parallel {
            let (host, grant): (HostId, fn(HostId) -> Grant) = if let Some(host) = self.interrupted.pop_front() {
                (host, Grant::Resume)
            } else if let Some(host) = self.opening.pop_front() {
                (host, Grant::Open)
            } else if let Some(host) = self.rechecks.pop_front() {
                (host, Grant::Recheck)
            } else if let Some(host) = self.next_host() {
                (host, Grant::Begin)
            } else {
                break;
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
            || !self.opening.is_empty()
            || (self.rebooting.is_none() && !self.rebooters.is_empty())
    }

    fn next_host(&mut self) -> Option<HostId> {
        while let Some(cluster) = self.freed.pop_front() {
            if self.turns.contains_key(&cluster) {
                continue;
            }
            let kept_back = &self.kept_back;
            let next = |queue: &mut VecDeque<HostId>| {
                let place = queue.iter().position(|host| !kept_back.contains(host))?;
                queue.remove(place)
            };
            if let Some(host) = self.waiting.get_mut(&cluster).and_then(next) {
                self.turns.insert(cluster.clone(), host.clone());
                self.turn_of.insert(host.clone(), cluster);
                return Some(host);
            }
        }
        while let Some(host) = self.pending.pop_front() {
            // It is put into the queue again when it may begin.
            if self.queued.remove(&host) && !self.kept_back.contains(&host) {
                return Some(host);
            }
        }
        // It is looked at anew, since it has waited.
        match self.active.is_empty() {
            true => {
                let place = self.last.iter().position(|host| !self.kept_back.contains(host))?;
                self.last.remove(place)
            }
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

/// Tells whether a guest of a host is held: it is looked at when the run goes on.
fn has_held(state: &HostState) -> bool {
    state.guests.values().any(|guest| matches!(guest.phase, GuestPhase::Held { .. }))
}
