//! The order of a run: canaries first, then a soak, then the rest; and when it stops since too much went wrong.
//!
//! Everything here follows from the policy, from the hosts' states, and from two notes in the journal: since when the canaries are
//! left alone, and that they held. The cost of an event is that of its host: what is known of each is kept, and counted.

use std::collections::{BTreeMap, BTreeSet};

use super::guest::{GuestPhase, GuestVerdict};
use super::host::{Gate, HostPhase, HostResult, HostState, HostVerdict, ShutBecause};
use super::step::StepState;
use crate::choices::{Canary, selects};
use crate::ids::{GuestId, HostId, Step};
use crate::plan::RolloutPolicy;
use crate::time::Timestamp;

/// How far a run is with its canaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Hosts are looked at to know which guests are canaries: nothing is changed yet.
    Finding,
    /// The canaries are worked on.
    Canaries,
    /// They are done, and left alone.
    Soaking {
        /// When the last of them was over.
        since: Timestamp,
    },
    /// They are looked at once more.
    Rechecking,
    /// All may begin: the canaries held, or there are none.
    Rest,
}

/// What the journal knows of the canaries, beyond the hosts' states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Noted {
    /// Nothing.
    #[default]
    Nothing,
    /// They were all over then.
    SoakingSince(Timestamp),
    /// They were looked at once more, and were well.
    Held,
}

/// What follows for the run as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Nothing now.
    Nothing,
    /// It stops: why.
    Halt(String),
    /// All canaries are known, and may begin.
    Begin,
    /// The canaries are over, since then: they are left alone from here on.
    Soak(Timestamp),
    /// They were left alone for long enough: they are looked at once more.
    Recheck,
    /// They held: the rest begins.
    Open,
}

/// Whatever can go wrong: a guest, or the node where there is none.
type Target = (HostId, Option<GuestId>);

/// How the canaries of one host stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Canaries {
    over: bool,
    /// Those that went wrong, and how.
    wrong: BTreeMap<Option<GuestId>, String>,
    /// Entries of the policy, by number, that match here.
    matched: BTreeSet<usize>,
    /// When the last of them changed something.
    changed: Option<Timestamp>,
}

/// The order of a run, and what it follows from.
#[derive(Debug, Clone)]
pub struct Rollout {
    policy: RolloutPolicy,
    stage: Stage,
    /// Hosts that have to be looked at before it is known which guests are canaries.
    unknown: BTreeSet<HostId>,
    /// The canaries of the hosts that have some, or may.
    canaries: BTreeMap<HostId, Canaries>,
    /// Hosts whose canaries are not over.
    open: BTreeSet<HostId>,
    /// Hosts whose canaries are yet to be looked at once more.
    rechecked: BTreeSet<HostId>,
    /// What failed.
    failed: BTreeSet<Target>,
    /// What had gone wrong before this session: the operator said to go on all the same.
    forgiven: BTreeSet<Target>,
    halted: Option<String>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            policy: RolloutPolicy::default(),
            stage: Stage::Rest,
            unknown: BTreeSet::new(),
            canaries: BTreeMap::new(),
            open: BTreeSet::new(),
            rechecked: BTreeSet::new(),
            failed: BTreeSet::new(),
            forgiven: BTreeSet::new(),
            halted: None,
        }
    }
}

impl Rollout {
    /// Works out how far a run is.
    pub fn new<'a>(policy: RolloutPolicy, noted: Noted, hosts: impl Iterator<Item = &'a HostState>) -> Self {
        let mut rollout = Self { policy, ..Self::default() };
        if rollout.policy.is_plain() {
            return rollout;
        }
        let hosts: Vec<&HostState> = hosts.collect();
        let there: BTreeSet<&HostId> = hosts.iter().map(|state| state.host()).collect();
        let is_there = |canary: &Canary| match canary {
            Canary::Host(host) | Canary::Guests { host: Some(host), .. } => there.contains(host),
            Canary::Guests { host: None, .. } => true,
        };
        let any = rollout.policy.canary.iter().any(is_there);
        rollout.stage = match noted {
            _ if !any => Stage::Rest,
            Noted::Nothing => Stage::Finding,
            Noted::SoakingSince(since) => Stage::Soaking { since },
            Noted::Held => Stage::Rest,
        };
        for state in &hosts {
            if rollout.stage != Stage::Rest && rollout.policy.canary.iter().any(|canary| canary.concerns(state.host()))
            {
                rollout.canaries.insert(state.host().clone(), Canaries::default());
            }
            rollout.note(state);
        }
        // A canary that has gone wrong since is tried again, and then the others are left alone with it once more.
        let wrong = rollout.canaries.values().any(|canaries| !canaries.wrong.is_empty());
        if matches!(rollout.stage, Stage::Soaking { .. }) && (wrong || !rollout.unknown.is_empty()) {
            rollout.stage = Stage::Finding;
        }
        rollout
    }

    /// Takes hosts out that a session is not about. One that is named as a canary is waited for all the same.
    pub fn leave_out(&mut self, hosts: &BTreeSet<HostId>) {
        let named = |host: &HostId| {
            self.policy.canary.iter().any(|canary| match canary {
                Canary::Host(named) | Canary::Guests { host: Some(named), .. } => named == host,
                Canary::Guests { host: None, .. } => false,
            })
        };
        for host in hosts.iter().filter(|host| !named(host)) {
            self.unknown.remove(host);
            self.open.remove(host);
            self.canaries.remove(host);
            self.policy.partial = true;
        }
    }

    /// Tells whether a host that is over was not touched, and is a canary: the rest waits for it, so it is tried again.
    pub fn has_blocked_canary(&self, state: &HostState) -> bool {
        let wrong = self.canaries.get(state.host()).is_some_and(|canaries| !canaries.wrong.is_empty());
        wrong && self.stage != Stage::Rest && matches!(state.phase, HostPhase::Done(_))
    }

    /// Begins a session: what went wrong before it is no reason to stop, since the operator asked to go on.
    pub fn forgive(&mut self) {
        self.forgiven = self.failed.clone();
        for (host, canaries) in &self.canaries {
            self.forgiven.extend(canaries.wrong.keys().map(|guest| (host.clone(), *guest)));
        }
    }

    /// Tells whether all go together, and the run goes on whatever fails.
    pub fn is_plain(&self) -> bool {
        self.policy.is_plain()
    }

    /// Returns how far it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns why the run has stopped, where it has.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// Returns until when the canaries are left alone.
    pub fn soaks_until(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Soaking { since } => Some(since.after(self.policy.soak())),
            _ => None,
        }
    }

    /// Tells whether all canaries are over.
    pub fn canaries_are_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns for how long canaries are left alone.
    pub fn soak(&self) -> std::time::Duration {
        self.policy.soak()
    }

    /// Returns the gate that a host has by the order of the run.
    pub fn gate_of(&self, host: &HostId) -> Gate {
        if self.halted.is_some() {
            return Gate::Shut { why: ShutBecause::Halted };
        }
        let shut = Gate::Shut { why: ShutBecause::Canaries };
        if self.stage == Stage::Rest {
            return Gate::Open;
        }
        if self.policy.is_canary(host) {
            return if self.stage == Stage::Finding { shut } else { Gate::Open };
        }
        match self.policy.selectors_of(host) {
            guests if guests.is_empty() => shut,
            guests => Gate::Canaries { guests },
        }
    }

    /// Tells whether a host that has not begun is kept from it by the order of the run.
    pub fn keeps_back(&self, host: &HostId) -> bool {
        match self.stage {
            _ if self.halted.is_some() => true,
            Stage::Rest => false,
            Stage::Finding => !self.unknown.contains(host),
            // Where there are none, or they are over, the host is not worth its turn.
            Stage::Canaries => !self.open.contains(host),
            Stage::Soaking { .. } | Stage::Rechecking => true,
        }
    }

    /// Tells whether a host that has not begun waits for the canaries of others.
    pub fn waits_for_canaries(&self, host: &HostId) -> bool {
        self.stage != Stage::Rest && self.keeps_back(host) && !self.policy.is_canary(host)
    }

    /// Returns the hosts whose canaries are to be looked at once more.
    pub fn to_be_rechecked(&self) -> impl Iterator<Item = &HostId> {
        self.rechecked.iter()
    }

    /// Returns the hosts that have canaries, or may have.
    pub fn canaries(&self) -> impl Iterator<Item = &HostId> {
        self.canaries.keys()
    }

    /// Returns the hosts that have not begun since the canaries of others go first.
    pub fn kept_back<'a>(&self, hosts: impl IntoIterator<Item = &'a HostState>) -> BTreeSet<HostId> {
        let waits = |state: &&HostState| matches!(state.phase, HostPhase::Pending | HostPhase::AwaitingTurn { .. });
        let kept = hosts.into_iter().filter(waits).map(|state| state.host());
        kept.filter(|host| self.waits_for_canaries(host)).cloned().collect()
    }

    /// Takes note of how a host stands.
    pub fn note(&mut self, state: &HostState) {
        if self.is_plain() {
            return;
        }
        let host = state.host();
        let failures = failures(state);
        self.failed.retain(|(other, guest)| other != host || failures.contains(guest));
        self.failed.extend(failures.into_iter().map(|guest| (host.clone(), guest)));
        if let Some(slot) = self.canaries.get_mut(host) {
            let now = canaries_of(&self.policy, state);
            match now.over {
                true => self.open.remove(host),
                false => self.open.insert(host.clone()),
            };
            let wholly = self.policy.is_canary(host);
            match wholly || state.identity.is_some() || matches!(state.phase, HostPhase::Done(_)) {
                true => self.unknown.remove(host),
                false => self.unknown.insert(host.clone()),
            };
            *slot = now;
        }
        let (failed, canaries) = (&self.failed, &self.canaries);
        self.forgiven.retain(|(other, guest)| {
            let wrong = || canaries.get(other).is_some_and(|canaries| canaries.wrong.contains_key(guest));
            other != host || failed.contains(&(other.clone(), *guest)) || wrong()
        });
    }

    /// Takes note that a host's canaries were looked at once more.
    pub fn was_rechecked(&mut self, host: &HostId) {
        self.rechecked.remove(host);
    }

    /// Says whether the run would stop where a host stood so.
    pub fn would_halt(&self, state: &HostState) -> Option<String> {
        let mut then = self.clone();
        then.note(state);
        then.went_wrong()
    }

    /// Says why the run has to stop, where something went wrong in this session.
    fn went_wrong(&self) -> Option<String> {
        if self.halted.is_some() {
            return None;
        }
        if self.stage != Stage::Rest {
            for (host, canaries) in &self.canaries {
                let mut new =
                    canaries.wrong.iter().filter(|(guest, _)| !self.forgiven.contains(&(host.clone(), **guest)));
                if let Some((_, why)) = new.next() {
                    return Some(format!("a canary went wrong: {host}: {why}"));
                }
            }
        }
        let most = usize::try_from(self.policy.max_failures?).unwrap_or(usize::MAX);
        let count = self.failed.difference(&self.forgiven).count();
        (count > most).then(|| match most {
            0 => "something failed, and max_failures is 0".to_owned(),
            _ => format!("{count} hosts and guests failed, and max_failures is {most}"),
        })
    }

    /// Says what follows now; `idle` is whether nothing is at work that the order of the run waits for.
    pub fn next(&self, now: Timestamp, idle: bool) -> Next {
        if self.halted.is_some() {
            return Next::Nothing;
        }
        if let Some(why) = self.went_wrong() {
            return Next::Halt(why);
        }
        match self.stage {
            Stage::Rest => Next::Nothing,
            Stage::Finding if !self.unknown.is_empty() => match self.unknown.first() {
                Some(host) if idle => Next::Halt(format!("{host} may have canaries, and could not be looked at")),
                Some(_) | None => Next::Nothing,
            },
            Stage::Finding => match self.unmatched() {
                Some(canary) if !self.policy.partial => Next::Halt(format!(
                    "the canary `{canary}` is no host of this run, and matches no guest: nothing was begun"
                )),
                Some(_) | None => Next::Begin,
            },
            Stage::Canaries if !self.open.is_empty() => match self.stands_still() {
                Some(why) if idle => Next::Halt(why),
                Some(_) | None => Next::Nothing,
            },
            Stage::Canaries => match self.canaries.iter().find(|(_, canaries)| !canaries.wrong.is_empty()) {
                Some((host, canaries)) => {
                    let why = canaries.wrong.values().next().map_or("", String::as_str);
                    Next::Halt(format!("a canary is not well: {host}: {why}"))
                }
                None => match self.canaries.values().filter_map(|canaries| canaries.changed).max() {
                    Some(last) => Next::Soak(last),
                    // Nothing was changed: there is nothing to be seen by waiting.
                    None => Next::Open,
                },
            },
            // One is looked at still, from before an interruption.
            Stage::Soaking { .. } if !self.open.is_empty() => Next::Nothing,
            Stage::Soaking { since } if now >= since.after(self.policy.soak()) => Next::Recheck,
            Stage::Soaking { .. } => Next::Nothing,
            Stage::Rechecking if self.rechecked.is_empty() => Next::Open,
            Stage::Rechecking => Next::Nothing,
        }
    }

    /// Says why canaries can't come to their end in this session by themselves: one is held from before, or is left out.
    fn stands_still(&self) -> Option<String> {
        let open = || self.open.iter().filter_map(|host| Some((host, self.canaries.get(host)?)));
        let mut wrong = open().filter_map(|(host, canaries)| Some((host, canaries.wrong.values().next()?)));
        let wrong = wrong.next().map(|(host, why)| format!("a canary is not well: {host}: {why}"));
        wrong.or_else(|| {
            open().next().map(|(host, _)| format!("the canaries of {host} are not over, and nothing goes on there"))
        })
    }

    /// Returns the first entry that matches nothing.
    fn unmatched(&self) -> Option<&Canary> {
        let matched: BTreeSet<usize> =
            self.canaries.values().flat_map(|canaries| canaries.matched.iter().copied()).collect();
        let mut all = self.policy.canary.iter().enumerate();
        all.find(|(number, _)| !matched.contains(number)).map(|(_, canary)| canary)
    }

    /// Goes on: what was said to follow is done, and durable where it has to be.
    pub fn enter(&mut self, next: &Next) {
        match next {
            Next::Nothing => {}
            Next::Halt(why) => self.halted = Some(why.clone()),
            Next::Begin => self.stage = Stage::Canaries,
            Next::Soak(since) => self.stage = Stage::Soaking { since: *since },
            Next::Recheck => {
                self.stage = Stage::Rechecking;
                self.rechecked =
                    self.canaries.iter().filter(|(_, c)| c.changed.is_some()).map(|(host, _)| host.clone()).collect();
            }
            Next::Open => self.stage = Stage::Rest,
        }
    }
}

/// Lists what failed on a host: what will be tried again in this session does not count.
fn failures(state: &HostState) -> BTreeSet<Option<GuestId>> {
    let mut failed = BTreeSet::new();
    if matches!(state.phase, HostPhase::Pending | HostPhase::Discovering { .. }) {
        return failed;
    }
    if matches!(state.phase, HostPhase::Done(HostVerdict::Failed(_))) {
        failed.insert(None);
    }
    let guests = state.guests.iter();
    let is_failed = |phase: &GuestPhase| match phase {
        GuestPhase::Settled(GuestVerdict::Failed { .. }) => true,
        GuestPhase::Settled(GuestVerdict::RolledBack { undo, .. }) => !undo.by_operator,
        _ => false,
    };
    failed.extend(guests.filter(|(_, guest)| is_failed(&guest.phase)).map(|(id, _)| Some(*id)));
    failed
}

/// Works out how the canaries of a host stand.
fn canaries_of(policy: &RolloutPolicy, state: &HostState) -> Canaries {
    let host = state.host();
    let wholly = policy.is_canary(host);
    let selectors = policy.selectors_of(host);
    let done = matches!(state.phase, HostPhase::Done(_));
    // Its guests are looked at anew.
    let begins = matches!(state.phase, HostPhase::Pending | HostPhase::Discovering { .. });
    let is_one = |traits: &crate::choices::Traits<'_>| wholly || selects(&selectors, traits);
    let mut found = Canaries { over: done, ..Canaries::default() };
    let mut guests_over = true;
    let mut any = false;
    for (id, guest) in &state.guests {
        let traits = guest.plan.traits();
        for (number, canary) in policy.canary.iter().enumerate() {
            if canary.matches(host, &traits) {
                found.matched.insert(number);
            }
        }
        if !is_one(&traits) {
            continue;
        }
        any = true;
        guests_over &= matches!(guest.phase, GuestPhase::Settled(_));
        // One whose upgrade was taken back says nothing for the others, whoever took it back.
        let undone = matches!(guest.phase, GuestPhase::Settled(GuestVerdict::RolledBack { .. }));
        if (guest.came_out_badly() || undone) && !begins {
            let words = format!("{} {id} {}", guest.plan.guest.kind, wrong_words(&guest.phase));
            found.wrong.insert(Some(*id), words);
        }
    }
    for (number, canary) in policy.canary.iter().enumerate() {
        if matches!(canary, Canary::Host(named) if named == host) {
            found.matched.insert(number);
        }
    }
    // That nothing of it can be worked on, or known, is a canary that went wrong where one is meant to be there.
    let meant =
        wholly || any || policy.canary.iter().any(|c| matches!(c, Canary::Guests { host: Some(h), .. } if h == host));
    if meant {
        let why = match &state.phase {
            HostPhase::Done(HostVerdict::Failed(fault)) => Some(format!("failed: {fault}")),
            HostPhase::Done(HostVerdict::Blocked(why)) => Some(format!("blocked: {why}")),
            HostPhase::Done(HostVerdict::NotRebooted { why, .. }) if wholly => Some(format!("not rebooted: {why}")),
            HostPhase::Held { fault, .. } => Some(format!("held: {fault}")),
            HostPhase::Done(_) if wholly && state.result() == HostResult::Failed && found.wrong.is_empty() => {
                Some("something that was borrowed could not be given back".to_owned())
            }
            _ => None,
        };
        found.wrong.extend(why.map(|why| (None, why)));
    }
    let known = state.identity.is_some() && !begins;
    let checking = matches!(state.phase, HostPhase::Rechecking { .. });
    found.over = (done || (!wholly && known && guests_over && state.is_parked())) && !checking;
    let changes = |step: Step| {
        matches!(
            step,
            Step::UpgradeGuest | Step::RebootGuest | Step::UpgradeHost | Step::RebootHost | Step::StartGuests
        )
    };
    let of_canary = |guest: Option<GuestId>| match guest {
        Some(id) => state.guests.get(&id).is_some_and(|guest| is_one(&guest.plan.traits())),
        None => wholly,
    };
    let mine = || state.steps.iter().filter(|record| of_canary(record.guest));
    if mine().any(|record| changes(record.step) && record.state == StepState::Done) {
        found.changed = mine().filter_map(|record| record.ended).max();
    }
    found
}

fn wrong_words(phase: &GuestPhase) -> String {
    match phase {
        GuestPhase::Held { fault, .. } => format!("is held: {fault}"),
        GuestPhase::Settled(GuestVerdict::Failed { fault, .. }) => format!("failed: {fault}"),
        GuestPhase::Settled(GuestVerdict::Blocked(why)) => format!("is blocked: {why}"),
        GuestPhase::Settled(GuestVerdict::RolledBack { .. }) => "was rolled back".to_owned(),
        _ => "is not as it was before".to_owned(),
    }
}
