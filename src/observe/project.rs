//! Makes a [`RunView`] from the states of a run's hosts: the one place where states become what is shown.

mod advice;
mod counts;
mod guest;
mod host;
mod owed;
mod step;

use std::collections::BTreeSet;

use self::advice::{advise, advise_debts, advise_run};
use super::view::{
    Ask, Detail, GateView, HostCounts, HostStanding, HostView, RolloutStage, RolloutView, RunView, SMALL_FLEET,
    Standing, VIEW_VERSION,
};
use crate::ids::{HostId, RunId};
use crate::machine::host::{Gate, HostState, ShutBecause};
use crate::machine::outcome::Fault;
use crate::machine::rollout::{Rollout, Stage};
use crate::machine::run::{RunResult, RunState};
use crate::time::Timestamp;

pub use advice::{resolve_command, rollback_command};
pub use guest::guest_standing;
pub(super) use guest::rolled_back_why;
pub use host::host_standing;
pub use owed::owed_view;

/// What a view needs to know of a run beside its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunHeader {
    /// Its name.
    pub run: RunId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How many hosts are worked on at a time.
    pub parallel_hosts: u32,
    /// Whether it is being worked on.
    pub standing: Standing,
    /// How far it is with its canaries, where it has some, or a bound of failures.
    pub rollout: Option<RolloutView>,
    /// Hosts that have not begun, since the canaries go first.
    pub kept_back: BTreeSet<HostId>,
}

/// Returns how far a run is with its canaries; nothing where all go together and it goes on. `halted` says why it stopped.
pub fn rollout_view(rollout: &Rollout, halted: Option<&str>) -> Option<RolloutView> {
    let stage = match rollout.stage() {
        Stage::Finding => RolloutStage::Finding,
        Stage::Canaries => RolloutStage::Canaries,
        Stage::Soaking { .. } => RolloutStage::Soaking,
        Stage::Rechecking => RolloutStage::Rechecking,
        Stage::Rest => RolloutStage::Rest,
    };
    let halted = halted.map(str::to_owned);
    (!rollout.is_plain()).then(|| RolloutView { stage, until: rollout.soaks_until(), halted })
}

/// Returns what may begin on a host.
pub fn gate_view(gate: &Gate) -> GateView {
    match gate {
        Gate::Open => GateView::Open,
        Gate::Canaries { .. } => GateView::Canaries,
        Gate::Shut { why: ShutBecause::Canaries } => GateView::WaitsForCanaries,
        Gate::Shut { why: ShutBecause::Halted } => GateView::Halted,
        Gate::Shut { why: ShutBecause::Paused } => GateView::Paused,
        Gate::Shut { why: ShutBecause::Stopped } => GateView::Stopped,
    }
}

impl RunView {
    /// Makes the view of a run that is in memory.
    pub fn of_run(run: &RunState, standing: Standing, now: Timestamp, ask: &Ask) -> Self {
        let rollout = rollout_view(run.rollout(), run.rollout().halted());
        let header = RunHeader {
            run: run.id.clone(),
            opened_at: run.opened_at,
            parallel_hosts: run.parallel_hosts,
            standing,
            rollout,
            kept_back: run.kept_back(),
        };
        Self::build(&header, run.hosts(), |state| run.waits_for(state).cloned(), now, ask)
    }

    /// Makes the view of a run from its hosts' states, in the manifest's order. `waits` tells which host another one
    /// waits for; `now` is when the view is made.
    pub fn build<'a>(
        header: &RunHeader,
        hosts: impl IntoIterator<Item = &'a HostState>,
        waits: impl Fn(&HostState) -> Option<HostId>,
        now: Timestamp,
        ask: &Ask,
    ) -> Self {
        let running = matches!(header.standing, Standing::Running { .. });
        let mut view = Self {
            v: VIEW_VERSION,
            run: header.run.clone(),
            opened_at: header.opened_at,
            seen_at: now,
            standing: header.standing,
            result: RunResult::Clean,
            parallel_hosts: header.parallel_hosts,
            rollout: header.rollout.clone(),
            counts: HostCounts::default(),
            hosts: Vec::new(),
            next: Vec::new(),
        };
        let hosts: Vec<&HostState> = hosts.into_iter().collect();
        let fold = ask.detail == Detail::Brief && hosts.len() > SMALL_FLEET;
        let mut owing = 0;
        for state in hosts {
            owing += usize::from(!state.owed().is_empty());
            view.counts.add(state, running);
            advise(&mut view.next, state, running);
            if ask.host.as_ref().is_none_or(|wanted| wanted == state.host()) {
                let projection = Projection { state, running, now, detail: ask.detail };
                let mut host = projection.host(waits(state));
                let waits = matches!(host.phase, HostStanding::Pending | HostStanding::AwaitingTurn);
                if waits && host.gate == GateView::Open && header.kept_back.contains(&host.host) {
                    host.gate = GateView::WaitsForCanaries;
                    host.reason.get_or_insert_with(|| ShutBecause::Canaries.to_string());
                }
                if fold && host.is_quiet() {
                    host.guests = Vec::new();
                }
                view.hosts.push(host);
            }
        }
        view.result = view.counts.result();
        advise_run(&mut view);
        advise_debts(&mut view, owing);
        view
    }

    /// Returns what a host's line and everything below it shows.
    pub fn host(&self, host: &HostId) -> Option<&HostView> {
        self.hosts.iter().find(|view| view.host == *host)
    }
}

/// A reason and what to do about it.
type Why = (Option<String>, Option<String>);

fn why_of(fault: &Fault) -> Why {
    (Some(fault.what.clone()), fault.hint.clone())
}

/// One host being looked at.
struct Projection<'a> {
    state: &'a HostState,
    running: bool,
    now: Timestamp,
    detail: Detail,
}

impl Projection<'_> {
    fn brief_enough(&self, ended_well: bool) -> bool {
        self.detail == Detail::Brief && ended_well
    }
}
