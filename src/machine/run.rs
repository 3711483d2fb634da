//! One run: its hosts, its turns, and how it stands as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Illegal;
use super::effect::{Effect, Mode};
use super::event::HostEvent;
use super::fleet::{Fleet, Grant};
use super::host::{HostPhase, HostResult, HostState, HostVerdict, ShutBecause};
use super::rollout::{Noted, Rollout};
use crate::ids::{ClusterId, HostId, RunId, StepKey};
use crate::plan::{RolloutPolicy, RunPolicy};
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
    pub(super) hosts: BTreeMap<HostId, HostState>,
    /// Hosts that are left as they are this time.
    pub(super) left_out: BTreeSet<HostId>,
    pub(super) fleet: Fleet,
    /// Who goes first, and whether the run goes on.
    pub(super) rollout: Rollout,
    /// What the operator said of hosts in this session.
    pub(super) orders: BTreeMap<HostId, ShutBecause>,
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
        Self::restore(id, policy.parallel_hosts, at, hosts).rolled_out(policy.rollout.clone(), Noted::Nothing)
    }

    /// Sets the order of the run, and what the journal knows of it.
    #[must_use]
    pub fn rolled_out(mut self, policy: RolloutPolicy, noted: Noted) -> Self {
        self.rollout = Rollout::new(policy, noted, self.order.iter().filter_map(|host| self.hosts.get(host)));
        self
    }

    /// Makes a run from its hosts' states, in the manifest's order.
    pub fn restore(id: RunId, parallel_hosts: u32, opened_at: Timestamp, hosts: Vec<HostState>) -> Self {
        let order: Vec<HostId> = hosts.iter().map(|state| state.host().clone()).collect();
        let fleet = Fleet::new(parallel_hosts, hosts.iter());
        let hosts = hosts.into_iter().map(|state| (state.host().clone(), state)).collect();
        let (left_out, orders) = (BTreeSet::new(), BTreeMap::new());
        Self { id, opened_at, parallel_hosts, order, hosts, left_out, fleet, rollout: Rollout::default(), orders }
    }

    /// Leaves all hosts but these as they are: they keep what they hold, and are given no turn.
    pub fn restrict_to(&mut self, only: &BTreeSet<HostId>) {
        self.left_out = self.order.iter().filter(|host| !only.contains(*host)).cloned().collect();
        self.fleet.leave_out(&self.left_out);
        self.rollout.leave_out(&self.left_out);
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
        let rechecking = |state: &HostState| matches!(state.phase, HostPhase::Rechecking { .. });
        let was_rechecking = rechecking(state) || *event == HostEvent::Recheck;
        let effects = state.apply(event, at)?;
        self.rollout.note(state);
        if was_rechecking && !rechecking(state) {
            self.rollout.was_rechecked(host);
        }
        let Some(state) = self.hosts.get(host) else { return Ok(effects) };
        self.fleet.keep_back(state, self.keeps_back(host));
        match event {
            HostEvent::Gated { .. } => self.fleet.gated(state),
            _ => self.fleet.observe(state),
        }
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
        let grants = self.fleet.grants();
        let event = |grant| match grant {
            Grant::Resume(host) => (host, HostEvent::Resumed),
            Grant::Begin(host) => (host, HostEvent::Begun),
            Grant::Turn(host) => (host, HostEvent::TurnGiven),
            Grant::Reboot(host) => (host, HostEvent::RebootTurnGiven),
            Grant::Open(host) => self.opened(host),
            Grant::Recheck(host) => (host, HostEvent::Recheck),
        };
        grants.into_iter().map(event).collect()
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
        let failed = |state: &HostState| {
            matches!(state.phase, HostPhase::Done(_)) && state.is_to_be_tried_again()
                || state.is_to_be_tried_again_behind_its_gate()
                || self.rollout.has_blocked_canary(state)
        };
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
    use crate::choices::{HostReboot, ViaChoice};
    use crate::ids::{BootId, ClusterId, GuestId, GuestKind, NodeName, Step};
    use crate::machine::Rounds;
    use crate::machine::guest::{GuestPhase, GuestState, GuestVerdict};
    use crate::machine::host::{StepRecord, StepState};
    use crate::machine::outcome::{Detail, Fault, Obligation, Outcome, RunningGuest};
    use crate::plan::{
        Baseline, Decision, GuestAddr, GuestPlan, GuestStart, HostPlan, HostPolicy, HostUpgrade, ProtectBy,
    };

    fn owing(name: &str, verdict: HostVerdict) -> HostState {
        let host = HostId::new(name);
        let guest =
            RunningGuest { id: GuestId(101), kind: GuestKind::Ct, name: String::new(), ha: false, identity: None };
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

    /// A guest of pve1 that was upgraded in vain, or that is owed its stop.
    fn worked_on(id: u32, phase: GuestPhase, borrowed: bool) -> GuestState {
        let guest = GuestAddr {
            node: NodeName::new("pve1"),
            kind: GuestKind::Ct,
            id: GuestId(id),
            identity: Some(format!("identity-{id}")),
        };
        let start = GuestStart {
            via: ViaChoice::Auto,
            protection: vec![ProtectBy::Snapshot],
            not_covered: Vec::new(),
            declared: false,
            reboot: false,
            checks: None,
            rollback: false,
        };
        let plan = GuestPlan {
            guest,
            name: String::new(),
            tags: Vec::new(),
            pool: None,
            decision: Decision::Start(start.clone()),
            own: false,
        };
        let state = GuestState::new(plan, Rounds::default());
        GuestState { phase, borrowed: borrowed.then_some(start), ..state }
    }

    fn empty_plan() -> HostPlan {
        HostPlan {
            node: NodeName::new("pve1"),
            ca: ClusterId::new("ca"),
            cluster: Some(ClusterId::new("ca")),
            refusal: None,
            facts_at: Timestamp(5),
            guests: Vec::new(),
            prune: Vec::new(),
            prune_backups: Vec::new(),
            findings: Vec::new(),
            own: None,
            upgrade: HostUpgrade {
                manager: None,
                pending: Vec::new(),
                lists_refreshed: None,
                reboot_wanted: None,
                left_out: None,
                reboot: HostReboot::Never,
                votes: None,
                guests: None,
                noout: false,
            },
            baseline: Baseline { services: Vec::new(), running: Vec::new(), boot_id: BootId::new("boot") },
            begun_elsewhere: Vec::new(),
        }
    }

    #[test]
    fn a_guest_that_is_not_listed_any_more_is_kept_for_what_is_owed_to_it_or_was_made_of_it() {
        let blocked = || GuestPhase::Settled(GuestVerdict::Blocked("no room".to_owned()));
        let mut state = HostState::new(RunId::new("20261122-000000-test"), HostPolicy::new(HostId::new("pve1")));
        state.guests = [
            (GuestId(101), worked_on(101, blocked(), true)),
            (GuestId(102), worked_on(102, blocked(), false)),
            (GuestId(103), worked_on(103, blocked(), false)),
        ]
        .into();
        state.steps.push(StepRecord {
            guest: Some(GuestId(103)),
            step: Step::Snapshot,
            round: 1,
            state: StepState::Done,
            began: Some(Timestamp(1)),
            ended: Some(Timestamp(2)),
            task: None,
            note: None,
            thing: Some("pm-1".to_owned()),
        });
        let attempt = state.rounds.first(Step::Discover);
        state.phase = HostPhase::Discovering { attempt };
        let key = state.key(None, attempt);
        state.apply(&HostEvent::Planned { key, plan: Box::new(empty_plan()) }, Timestamp(6)).expect("legal");
        assert_eq!(state.guests.keys().map(|id| id.0).collect::<Vec<_>>(), [101, 103]);
        assert_eq!(state.owed(), [Obligation::StopGuest { id: GuestId(101), kind: GuestKind::Ct }]);
        let GuestPhase::Settled(GuestVerdict::Blocked(why)) = &state.guests[&GuestId(103)].phase else {
            panic!("{:?}", state.guests[&GuestId(103)].phase)
        };
        assert!(why.contains("not on this node any more"), "{why}");
    }

    #[test]
    fn rounds_of_a_guest_go_on_where_another_host_left_them() {
        let mut state = HostState::new(RunId::new("20261122-000000-test"), HostPolicy::new(HostId::new("pve1")));
        let attempt = state.rounds.first(Step::Discover);
        state.phase = HostPhase::Discovering { attempt };
        let key = state.key(None, attempt);
        let guests = vec![worked_on(101, GuestPhase::Waiting, false).plan];
        let begun_elsewhere = vec![(GuestId(101), Step::Snapshot, 2), (GuestId(102), Step::Snapshot, 7)];
        let plan = Box::new(HostPlan { guests, begun_elsewhere, ..empty_plan() });
        state.apply(&HostEvent::Planned { key, plan }, Timestamp(6)).expect("legal");
        let rounds = &state.guests[&GuestId(101)].rounds;
        assert_eq!((rounds.first(Step::Snapshot).round, rounds.first(Step::UpgradeGuest).round), (3, 1));
    }
}
