//! One run: its hosts, its turns, and how it stands as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Illegal;
use super::effect::{Effect, Mode};
use super::event::HostEvent;
use super::fleet::{Fleet, Grant};
use super::host::{HostPhase, HostResult, HostState, HostVerdict};
use crate::ids::{ClusterId, HostId, RunId, StepKey};
use crate::plan::RunPolicy;
use crate::time::Timestamp;

/// A run as the engine works on it.
#[derive(Debug)]
pub struct RunState {
    /// Its name.
    pub id: RunId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What the operator wants.
    pub parallel_hosts: u32,
    /// Its hosts, in the manifest's order.
    pub order: Vec<HostId>,
    hosts: BTreeMap<HostId, HostState>,
    /// Hosts that are left as they are this time.
    left_out: BTreeSet<HostId>,
    fleet: Fleet,
}

/// How a run as a whole stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// Everything is verified, or nothing was to be done.
    Clean,
    /// A host or guest failed or was blocked.
    Failed,
    /// Nothing failed, but a step is held.
    Held,
    /// There is work left that nothing stands in the way of.
    Unfinished,
}

impl RunState {
    /// Makes a run that nothing has happened to.
    pub fn open(id: RunId, policy: &RunPolicy, at: Timestamp) -> Self {
        let hosts = policy.hosts.iter().map(|host| HostState::new(id.clone(), host.clone())).collect();
        Self::restore(id, policy.parallel_hosts, at, hosts)
    }

    /// Makes a run from its hosts' states, in the manifest's order.
    pub fn restore(id: RunId, parallel_hosts: u32, opened_at: Timestamp, hosts: Vec<HostState>) -> Self {
        let order: Vec<HostId> = hosts.iter().map(|state| state.host().clone()).collect();
        let fleet = Fleet::new(parallel_hosts, hosts.iter());
        let hosts = hosts.into_iter().map(|state| (state.host().clone(), state)).collect();
        Self { id, opened_at, parallel_hosts, order, hosts, left_out: BTreeSet::new(), fleet }
    }

    /// Leaves all hosts but these as they are: they keep what they hold, and are given no turn.
    pub fn restrict_to(&mut self, only: &BTreeSet<HostId>) {
        self.left_out = self.order.iter().filter(|host| !only.contains(*host)).cloned().collect();
        self.fleet.leave_out(&self.left_out);
    }

    /// Returns a host's state.
    pub fn host(&self, host: &HostId) -> Option<&HostState> {
        self.hosts.get(host)
    }

    /// Returns the hosts in the manifest's order.
    pub fn hosts(&self) -> impl Iterator<Item = &HostState> {
        self.order.iter().filter_map(|host| self.hosts.get(host))
    }

    /// Takes one event of a host and returns what is to be done now.
    ///
    /// # Errors
    /// An event that does not fit the host's phase, or of a host that is not in the run, is [`Illegal`].
    pub fn apply(&mut self, host: &HostId, event: &HostEvent, at: Timestamp) -> Result<Vec<Effect>, Illegal> {
        let state = self.hosts.get_mut(host).ok_or_else(|| Illegal::new("host", "not in the run", event.name()))?;
        let effects = state.apply(event, at)?;
        self.fleet.observe(state);
        Ok(effects)
    }

    /// Notes that the intent of an effect is durable.
    pub fn intended(&mut self, key: &StepKey, mode: Mode, at: Timestamp) {
        if let Some(state) = self.hosts.get_mut(key.target.host()) {
            state.intended(key, mode, at);
        }
    }

    /// Returns the turns that can be handed out now, as events of their hosts.
    pub fn grants(&mut self) -> Vec<(HostId, HostEvent)> {
        let event = |grant| match grant {
            Grant::Resume(host) => (host, HostEvent::Resumed),
            Grant::Begin(host) => (host, HostEvent::Begun),
            Grant::Turn(host) => (host, HostEvent::TurnGiven),
            Grant::Reboot(host) => (host, HostEvent::RebootTurnGiven),
        };
        self.fleet.grants().into_iter().map(event).collect()
    }

    /// The fleet, to claim nodes.
    pub fn fleet_mut(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// Tells whether nothing is at work and no turn can be handed out.
    pub fn is_idle(&self) -> bool {
        self.fleet.is_idle()
    }

    /// Returns the events by which hosts that failed, or whose guest failed, get a new round when a run is gone on with.
    /// Hosts that were interrupted or held are gone on with as places become free ([`Self::grants`]).
    pub fn new_rounds(&self) -> Vec<(HostId, HostEvent)> {
        let failed = |state: &HostState| matches!(state.phase, HostPhase::Done(_)) && state.is_to_be_tried_again();
        self.events_where(failed, &HostEvent::NewRound)
    }

    /// Returns the events by which hosts that are over, and that nothing else will happen to, give back what they owe still.
    pub fn old_debts(&self) -> Vec<(HostId, HostEvent)> {
        let over = |state: &HostState| matches!(state.phase, HostPhase::Done(_)) && !state.is_to_be_tried_again();
        self.events_where(|state| over(state) && state.can_give_back(), &HostEvent::GiveBack)
    }

    /// Returns the events by which everything in doubt is looked at at once: for a run in which nothing is begun any more.
    pub fn looks(&self) -> Vec<(HostId, HostEvent)> {
        let begun = |state: &HostState| {
            !matches!(state.phase, HostPhase::Done(_) | HostPhase::Pending | HostPhase::AwaitingTurn { .. })
        };
        self.events_where(begun, &HostEvent::Resumed)
    }

    /// Returns the events by which rollbacks are gone on with, and with them whatever else was interrupted on their hosts.
    pub fn rollbacks(&self) -> Vec<(HostId, HostEvent)> {
        self.events_where(HostState::is_rolling_back, &HostEvent::Resumed)
    }

    /// Returns the events by which what is owed is given back, where that can be done now.
    pub fn give_backs(&self) -> Vec<(HostId, HostEvent)> {
        self.events_where(HostState::can_give_back, &HostEvent::GiveBack)
    }

    fn events_where(&self, wanted: impl Fn(&HostState) -> bool, event: &HostEvent) -> Vec<(HostId, HostEvent)> {
        self.hosts()
            .filter(|state| !self.left_out.contains(state.host()) && wanted(state))
            .map(|state| (state.host().clone(), event.clone()))
            .collect()
    }

    /// Returns why a host that has not been worked on waits, where another node stands in its way.
    pub fn waits_for(&self, state: &HostState) -> Option<&HostId> {
        let holder = match &state.phase {
            HostPhase::AwaitingTurn { plan } => self.fleet.waits_for(plan.cluster.as_ref()?),
            HostPhase::AwaitingReboot { .. } => self.fleet.rebooting(),
            _ => None,
        };
        holder.filter(|holder| *holder != state.host())
    }

    /// Returns who has the turn of a cluster, where it is another host: whoever is planned now waits, and is planned anew then.
    pub fn ahead_of(&self, host: &HostId, cluster: &ClusterId) -> Option<&HostId> {
        self.fleet.waits_for(cluster).filter(|holder| *holder != host)
    }

    /// Returns how the run stands as a whole; hosts that are left out don't count.
    pub fn result(&self) -> RunResult {
        let mut result = RunResult::Clean;
        for state in self.hosts.values().filter(|state| !self.left_out.contains(state.host())) {
            match state.result() {
                HostResult::Failed | HostResult::Blocked => return RunResult::Failed,
                HostResult::Held => result = RunResult::Held,
                HostResult::Unfinished if result == RunResult::Clean => result = RunResult::Unfinished,
                _ => {}
            }
        }
        result
    }

    /// Tells whether nothing is left that a later run would go on with: every host is over, and none is held or failed in a way
    /// that another round could mend.
    pub fn is_finished(&self) -> bool {
        self.hosts.values().all(|state| {
            matches!(&state.phase, HostPhase::Done(verdict) if !matches!(verdict, HostVerdict::Failed(_)))
                && !state.is_to_be_tried_again()
                && !matches!(state.result(), HostResult::Held | HostResult::Unfinished)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, GuestId, GuestKind, NodeName};
    use crate::machine::outcome::{Detail, Fault, Outcome, RunningGuest};
    use crate::plan::HostPolicy;

    fn owing(name: &str, verdict: HostVerdict) -> HostState {
        let host = HostId::new(name);
        let guest = RunningGuest { id: GuestId(101), kind: GuestKind::Ct, name: String::new(), ha: false };
        let mut state = HostState::new(RunId::new("20261122-000000-test"), HostPolicy::new(host));
        state.phase = HostPhase::Done(verdict);
        state.identity = Some((ClusterId::new("ca"), NodeName::new(name)));
        state.shut = vec![guest];
        state
    }

    #[test]
    fn a_host_that_is_over_gives_back_what_it_owes_and_stays_over() {
        let failed = HostVerdict::Failed(Fault::permanent("no start"));
        let hosts = vec![owing("pve1", HostVerdict::Skipped), owing("pve2", failed)];
        let mut run = RunState::restore(RunId::new("20261122-000000-test"), 2, Timestamp(0), hosts);
        // One that failed gets a new round, which begins with giving back.
        let [(host, event)] = &run.old_debts()[..] else { panic!("not one: {:?}", run.old_debts()) };
        assert_eq!((host.as_str(), event), ("pve1", &HostEvent::GiveBack));
        let effects = run.apply(host, event, Timestamp(1)).expect("legal");
        let [effect] = &effects[..] else { panic!("not one: {effects:?}") };
        assert_eq!(effect.key.step, crate::ids::Step::StartGuests);
        run.intended(&effect.key, effect.mode, Timestamp(1));
        let outcome = Outcome::Done(Detail::GuestsStarted);
        run.apply(host, &HostEvent::Ended { key: effect.key.clone(), outcome }, Timestamp(2)).expect("legal");
        let state = run.host(host).expect("in the run");
        assert_eq!(state.phase, HostPhase::Done(HostVerdict::Skipped));
        assert!(state.owed().is_empty() && run.old_debts().is_empty());
    }
}
