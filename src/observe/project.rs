//! Makes a [`RunView`] from the states of a run's hosts: the one place where states become what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::output_name;
use super::view::{
    Advice, Ask, Detail, GateView, GuestCounts, GuestStanding, GuestView, HostCounts, HostStanding, HostView, Kept,
    KeptKind, OwedKind, OwedView, RemarksView, RolloutStage, RolloutView, RunView, SMALL_FLEET, Standing, StepStanding,
    StepView, VIEW_VERSION,
};
use super::words;
use crate::choices::Scope;
use crate::ids::{GuestId, HostId, RunId, Step, StepKey, Target};
use crate::machine::effect::{Mode, Replay, replay};
use crate::machine::guest::{AfterStop, Attempt, GuestPhase, GuestState, GuestVerdict, Undo};
use crate::machine::host::{
    Gate, HostPhase, HostResult, HostState, HostVerdict, ShutBecause, StepRecord, StepState, Unpaid,
};
use crate::machine::outcome::{Fault, FaultClass, Obligation, Protection, Remarks, VerifyReport};
use crate::machine::rollout::{Rollout, Stage};
use crate::machine::run::{RunResult, RunState};
use crate::plan::policy::PRUNE_ONLY;
use crate::plan::{Decision, OwnPlace, ProtectBy};
use crate::time::Timestamp;

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

impl HostCounts {
    /// Counts a host of a run that is, or is not, being worked on.
    pub fn add(&mut self, state: &HostState, running: bool) {
        self.put(state.result(), 1);
        if running && !state.is_parked() {
            self.active += 1;
        }
    }

    /// Makes the counts of a run that is not being worked on.
    pub fn of(results: &BTreeMap<HostResult, usize>) -> Self {
        let mut counts = Self::default();
        for (result, count) in results {
            counts.put(*result, *count);
        }
        counts
    }

    fn put(&mut self, result: HostResult, count: usize) {
        let slot = match result {
            HostResult::NothingToDo => &mut self.nothing_to_do,
            HostResult::Succeeded => &mut self.succeeded,
            HostResult::Skipped => &mut self.skipped,
            HostResult::Blocked => &mut self.blocked,
            HostResult::Failed => &mut self.failed,
            HostResult::Held => &mut self.held,
            HostResult::Unfinished => &mut self.unfinished,
        };
        *slot += count;
        self.total += count;
    }

    /// Returns how the run stands as a whole.
    pub fn result(&self) -> RunResult {
        if self.failed + self.blocked > 0 {
            RunResult::Failed
        } else if self.held > 0 {
            RunResult::Held
        } else if self.unfinished > 0 {
            RunResult::Unfinished
        } else {
            RunResult::Clean
        }
    }

    /// Returns how many hosts are over, however they came out.
    pub fn over(&self) -> usize {
        self.total - self.unfinished - self.held
    }
}

impl GuestCounts {
    /// Counts one more guest.
    pub fn add(&mut self, state: GuestStanding) {
        self.total += 1;
        let slot = match state {
            GuestStanding::Upgraded => &mut self.upgraded,
            GuestStanding::Skipped => &mut self.skipped,
            GuestStanding::Blocked => &mut self.blocked,
            GuestStanding::Failed => &mut self.failed,
            GuestStanding::RolledBack => &mut self.rolled_back,
            GuestStanding::Held => &mut self.held,
            GuestStanding::Waiting
            | GuestStanding::Protecting
            | GuestStanding::Protected
            | GuestStanding::Measuring
            | GuestStanding::Upgrading
            | GuestStanding::Checking
            | GuestStanding::Starting
            | GuestStanding::Looking
            | GuestStanding::Rebooting
            | GuestStanding::RollingBack
            | GuestStanding::Reviving
            | GuestStanding::Rechecking
            | GuestStanding::Stopping => &mut self.unfinished,
        };
        *slot += 1;
    }

    /// Counts the guests of a host.
    pub fn of(state: &HostState) -> Self {
        let mut counts = Self::default();
        for guest in state.guests.values() {
            counts.add(guest_standing(&guest.phase));
        }
        counts
    }
}

/// Returns where a guest stands.
pub fn guest_standing(phase: &GuestPhase) -> GuestStanding {
    match phase {
        GuestPhase::Waiting => GuestStanding::Waiting,
        GuestPhase::Starting { .. } => GuestStanding::Starting,
        GuestPhase::Looking { .. } => GuestStanding::Looking,
        GuestPhase::Rebooting { .. } => GuestStanding::Rebooting,
        GuestPhase::RollingBack { .. } => GuestStanding::RollingBack,
        GuestPhase::Reviving { .. } => GuestStanding::Reviving,
        GuestPhase::Rechecking { .. } => GuestStanding::Rechecking,
        GuestPhase::Stopping { .. } => GuestStanding::Stopping,
        GuestPhase::Protecting { .. } => GuestStanding::Protecting,
        GuestPhase::Protected { .. } => GuestStanding::Protected,
        GuestPhase::Measuring { .. } => GuestStanding::Measuring,
        GuestPhase::Upgrading { .. } => GuestStanding::Upgrading,
        GuestPhase::Checking { .. } => GuestStanding::Checking,
        GuestPhase::Held { .. } => GuestStanding::Held,
        GuestPhase::Settled(GuestVerdict::Upgraded { .. }) => GuestStanding::Upgraded,
        GuestPhase::Settled(GuestVerdict::Skipped(_)) => GuestStanding::Skipped,
        GuestPhase::Settled(GuestVerdict::Blocked(_)) => GuestStanding::Blocked,
        GuestPhase::Settled(GuestVerdict::Failed { .. }) => GuestStanding::Failed,
        GuestPhase::Settled(GuestVerdict::RolledBack { .. }) => GuestStanding::RolledBack,
    }
}

/// Returns where a host stands.
pub fn host_standing(phase: &HostPhase) -> HostStanding {
    match phase {
        HostPhase::Pending => HostStanding::Pending,
        HostPhase::Discovering { .. } => HostStanding::Discovering,
        HostPhase::AwaitingTurn { .. } => HostStanding::AwaitingTurn,
        HostPhase::Pruning { .. } => HostStanding::Pruning,
        HostPhase::Snapshotting { .. } => HostStanding::Snapshotting,
        HostPhase::UpgradingGuests { .. } => HostStanding::UpgradingGuests,
        HostPhase::UpgradingHost { .. } => HostStanding::UpgradingHost,
        HostPhase::Verifying { .. } => HostStanding::Verifying,
        HostPhase::AwaitingReboot { .. } => HostStanding::AwaitingReboot,
        HostPhase::PreparingReboot { .. } => HostStanding::PreparingReboot,
        HostPhase::SettingNoout { .. } => HostStanding::SettingNoout,
        HostPhase::Evacuating { .. } => HostStanding::Evacuating,
        HostPhase::Returning { .. } => HostStanding::Returning,
        HostPhase::StoppingGuests { .. } => HostStanding::StoppingGuests,
        HostPhase::Rebooting { .. } => HostStanding::Rebooting,
        HostPhase::StartingGuests { .. } => HostStanding::StartingGuests,
        HostPhase::GivingBack { .. } => HostStanding::GivingBack,
        HostPhase::Rechecking { .. } => HostStanding::Rechecking,
        HostPhase::Held { .. } => HostStanding::Held,
        HostPhase::Done(_) => HostStanding::Done,
    }
}

/// A reason and what to do about it.
type Why = (Option<String>, Option<String>);

fn why_of(fault: &Fault) -> Why {
    (Some(fault.what.clone()), fault.hint.clone())
}

/// Says why a guest was rolled back, and what is not as it was before all the same.
pub(super) fn rolled_back_why(undo: &Undo, unwell: Option<&Fault>) -> Why {
    let (why, hint) = match (&undo.before, undo.by_operator) {
        (GuestVerdict::Failed { fault, .. }, false) => (fault.what.clone(), fault.hint.clone()),
        _ => ("as the operator asked".to_owned(), None),
    };
    match unwell {
        Some(fault) => (Some(format!("{}; {why}", fault.what)), fault.hint.clone().or(hint)),
        None => (Some(why), hint),
    }
}

/// One host being looked at.
struct Projection<'a> {
    state: &'a HostState,
    running: bool,
    now: Timestamp,
    detail: Detail,
}

impl Projection<'_> {
    fn host(&self, waits_for: Option<HostId>) -> HostView {
        let state = self.state;
        let attempt = state.phase.attempt();
        let in_doubt = attempt.is_some_and(|attempt| self.doubtful(None, attempt));
        let guests: Vec<GuestView> = state.guests.iter().map(|(id, guest)| self.guest(*id, guest)).collect();
        let mut counts = GuestCounts::default();
        for guest in &guests {
            counts.add(guest.state);
        }
        let report = report(&state.phase);
        let changes = report.map_or(&[][..], |report| report.changes.as_slice());
        let owed: Vec<OwedView> = state.owed().iter().map(|owed| owed_view(state, owed)).collect();
        let over = matches!(state.phase, HostPhase::Done(_));
        let ended = if over { state.touched } else { None };
        let (reason, hint) = self.host_why(attempt.filter(|_| in_doubt), &guests, waits_for.as_ref());
        let reason = match (state.result(), reason) {
            // Nothing else is wrong, then.
            (HostResult::Failed, None) if !owed.is_empty() => {
                Some("something that was borrowed could not be given back".to_owned())
            }
            (_, reason) => reason,
        };
        let held = match &state.phase {
            HostPhase::Held { at, .. } => at.attempt(),
            _ => None,
        };
        HostView {
            host: state.host().clone(),
            node: self.node(),
            phase: host_standing(&state.phase),
            result: state.result(),
            gate: gate_view(&state.gate),
            in_doubt,
            reason,
            hint,
            waits_for,
            began: state.began,
            ended,
            duration_ms: self.span(state.began, ended, state.touched, !state.is_parked()),
            counts,
            pending: state.phase.plan().map_or(0, |plan| plan.upgrade.pending.len()),
            changed: changes.len(),
            packages: if self.detail == Detail::Full { changes.to_vec() } else { Vec::new() },
            reboot_wanted: self.host_reboot_wanted(),
            reboot: state.policy.reboot,
            rebooted: report.and_then(|report| report.rebooted.clone()),
            not_rebooted: match &state.phase {
                HostPhase::Done(HostVerdict::NotRebooted { why, .. }) => Some(why.clone()),
                _ => None,
            },
            own: state.phase.plan().and_then(|plan| plan.own).as_ref().map(OwnPlace::to_string),
            left_out: match state.policy.scope {
                Scope::GuestsOnly => Some("--guests-only".to_owned()),
                Scope::PruneOnly => Some(PRUNE_ONLY.to_owned()),
                Scope::All | Scope::HostsOnly => None,
            },
            remarks: report.map_or_else(RemarksView::default, |report| (&report.remarks).into()),
            removed: state.removed().count(),
            owed,
            snapshots: kept_of(&guests, KeptKind::Snapshot),
            backups: kept_of(&guests, KeptKind::Backup),
            steps: if self.brief_enough(over && !self.went_wrong()) { Vec::new() } else { self.steps(None, held) },
            guests,
        }
    }

    fn guest(&self, id: GuestId, guest: &GuestState) -> GuestView {
        let attempt = guest.phase.attempt();
        let in_doubt = attempt.is_some_and(|attempt| self.doubtful(Some(id), attempt));
        let none = Remarks::default();
        let (changes, reboot_wanted, rebooted, remarks) = match upgraded(&guest.phase) {
            Some(GuestVerdict::Upgraded { changes, reboot_wanted, rebooted, remarks, .. }) => {
                (changes.as_slice(), reboot_wanted.clone(), *rebooted, remarks)
            }
            _ => (&[][..], None, matches!(guest.phase, GuestPhase::Checking { rebooted: true, .. }), &none),
        };
        let (reason, hint) = match &guest.phase {
            GuestPhase::Settled(GuestVerdict::Skipped(reason)) => (Some(reason.to_string()), None),
            GuestPhase::Settled(GuestVerdict::Blocked(reason)) => (Some(reason.clone()), None),
            GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell, .. }) => {
                rolled_back_why(undo, unwell.as_ref())
            }
            GuestPhase::Settled(GuestVerdict::Failed { fault, .. }) | GuestPhase::Held { fault, .. } => why_of(fault),
            _ => match guest.not_rebooted() {
                Some(why) => (Some(format!("not rebooted, though it should have been: {why}")), None),
                None => (attempt.filter(|_| in_doubt).map(|attempt| self.doubt(Some(id), attempt)), None),
            },
        };
        let records = || self.state.steps.iter().filter(|record| record.guest == Some(id));
        let began = records().find_map(|record| record.began);
        let last = records().filter_map(|record| record.ended).max();
        let settled = matches!(guest.phase, GuestPhase::Settled(_));
        let ended = if settled { last } else { None };
        let well = matches!(
            guest.phase,
            GuestPhase::Settled(GuestVerdict::Upgraded { .. } | GuestVerdict::Skipped(_) | GuestVerdict::Blocked(_))
        );
        let held = match &guest.phase {
            GuestPhase::Held { at, .. } => at.attempt(),
            _ => None,
        };
        GuestView {
            id,
            kind: guest.plan.guest.kind,
            name: guest.plan.name.clone(),
            state: guest_standing(&guest.phase),
            in_doubt,
            held: matches!(
                guest.phase,
                GuestPhase::Held { .. } | GuestPhase::Settled(GuestVerdict::Failed { held: true, .. })
            ),
            reason,
            hint,
            began,
            ended,
            duration_ms: self.span(began, ended, last, attempt.is_some()),
            pending: match &guest.plan.decision {
                Decision::Upgrade(upgrade) => upgrade.pending.len(),
                Decision::Skip(_) | Decision::Block(_) | Decision::Start(_) => 0,
            },
            changed: changes.len(),
            packages: if self.detail == Detail::Full { changes.to_vec() } else { Vec::new() },
            reboot_wanted,
            rebooted,
            unprotected: match protection(&guest.phase) {
                Some(now) => *now == Protection::Waived,
                None => matches!(&guest.plan.decision, Decision::Upgrade(upgrade)
                    if upgrade.protection == [ProtectBy::Waived] && !guest.phase.is_over()),
            },
            own: guest.plan.own,
            remarks: remarks.into(),
            kept: self.kept(id, guest),
            steps: if self.brief_enough(well) { Vec::new() } else { self.steps(Some(id), held) },
        }
    }

    fn brief_enough(&self, ended_well: bool) -> bool {
        self.detail == Detail::Brief && ended_well
    }

    fn went_wrong(&self) -> bool {
        matches!(self.state.phase, HostPhase::Done(HostVerdict::Failed(_))) || self.state.not_removed().next().is_some()
    }

    /// Returns the node, which a host that is over no longer has a plan to tell.
    fn node(&self) -> Option<crate::ids::NodeName> {
        let state = self.state;
        let of_guests = || state.guests.values().next().map(|guest| guest.plan.guest.node.clone());
        state.phase.plan().map(|plan| plan.node.clone()).or_else(of_guests).or_else(|| state.policy.node.clone())
    }

    fn host_reboot_wanted(&self) -> Option<String> {
        match &self.state.phase {
            HostPhase::Done(HostVerdict::Verified(report) | HostVerdict::NotRebooted { report, .. }) => {
                report.reboot_wanted.clone()
            }
            HostPhase::Done(HostVerdict::NothingToDo { reboot_wanted }) => reboot_wanted.clone(),
            phase => phase.plan().and_then(|plan| plan.upgrade.reboot_wanted.clone()),
        }
    }

    /// Returns the host's own reason, else that of the first guest that has one that matters, else what it waits for.
    fn host_why(&self, doubtful: Option<Attempt>, guests: &[GuestView], waits_for: Option<&HostId>) -> Why {
        match &self.state.phase {
            HostPhase::Done(HostVerdict::Failed(fault)) | HostPhase::Held { fault, .. } => return why_of(fault),
            HostPhase::Done(HostVerdict::Blocked(why)) => return (Some(why.clone()), None),
            HostPhase::Done(HostVerdict::NotRebooted { why, .. }) => {
                return (Some(format!("not rebooted, though it should have been: {why}")), None);
            }
            HostPhase::Done(HostVerdict::Skipped) => return (Some("left out by the operator".to_owned()), None),
            _ => {}
        }
        let worst = [GuestStanding::Failed, GuestStanding::RolledBack, GuestStanding::Blocked, GuestStanding::Held];
        let first = worst.iter().find_map(|wanted| guests.iter().find(|guest| guest.state == *wanted));
        if let Some(guest) = first
            .or_else(|| guests.iter().find(|guest| guest.in_doubt))
            .or_else(|| guests.iter().find(|guest| guest.state == GuestStanding::Upgraded && guest.reason.is_some()))
        {
            let reason = guest.reason.as_deref().unwrap_or("no reason is known");
            return (Some(format!("{}: {reason}", guest.label())), guest.hint.clone());
        }
        if let Some(attempt) = doubtful {
            return (Some(self.doubt(None, attempt)), None);
        }
        let waits = |holder: &HostId| match self.state.phase {
            HostPhase::AwaitingReboot { .. } => format!("waits for the reboot of {holder}"),
            _ => format!("waits for {holder}, a node of the same cluster"),
        };
        let gate = match &self.state.gate {
            Gate::Shut { why } if !matches!(self.state.phase, HostPhase::Done(_)) => Some(why.to_string()),
            _ => None,
        };
        (waits_for.map(waits).or(gate), None)
    }

    /// Tells whether it is not known how an attempt ended: it is being looked at, or nobody is there any more to know.
    fn doubtful(&self, guest: Option<GuestId>, attempt: Attempt) -> bool {
        let left_behind =
            || self.state.record(&self.state.key(guest, attempt)).is_some_and(|r| r.state == StepState::Working);
        replay(attempt.step) == Replay::Probe && (attempt.mode == Mode::Probe || (!self.running && left_behind()))
    }

    fn doubt(&self, guest: Option<GuestId>, attempt: Attempt) -> String {
        let note = self.state.record(&self.state.key(guest, attempt)).and_then(|record| record.note.clone());
        note.unwrap_or_else(|| "interrupted while it was at work".to_owned())
    }

    fn steps(&self, guest: Option<GuestId>, held: Option<Attempt>) -> Vec<StepView> {
        let records = self.state.steps.iter().filter(|record| record.guest == guest);
        records.map(|record| self.step(record, held)).collect()
    }

    fn step(&self, record: &StepRecord, held: Option<Attempt>) -> StepView {
        let is_held = held.is_some_and(|held| held.step == record.step && held.round == record.round);
        let state = match record.state {
            _ if is_held => StepStanding::Held,
            StepState::Planned => StepStanding::Planned,
            StepState::Working if self.running => StepStanding::Working,
            StepState::Working => match replay(record.step) {
                Replay::Safe => StepStanding::Interrupted,
                Replay::Probe => StepStanding::InDoubt,
            },
            StepState::InDoubt => StepStanding::InDoubt,
            StepState::Done => StepStanding::Done,
            StepState::Refused => StepStanding::Refused,
            StepState::Failed => StepStanding::Failed,
            StepState::NotDone => StepStanding::NotDone,
            StepState::Held => StepStanding::Held,
        };
        let at_work = matches!(state, StepStanding::Working | StepStanding::InDoubt);
        StepView {
            step: record.step,
            round: record.round,
            state,
            began: record.began,
            ended: record.ended,
            duration_ms: self.span(record.began, record.ended, None, at_work),
            reason: record.note.clone(),
            task: record.task.clone(),
            thing: record.thing.clone(),
            log: self.log(record),
        }
    }

    /// Names the file that takes the output of an upgrade, once it was begun.
    fn log(&self, record: &StepRecord) -> Option<String> {
        let has_output = matches!(record.step, Step::UpgradeGuest | Step::UpgradeHost) && record.began.is_some();
        let attempt = Attempt { step: record.step, round: record.round, mode: Mode::Act };
        let path = has_output.then(|| output_name::file(&self.state.key(record.guest, attempt)))?;
        Some(path.to_string_lossy().into_owned())
    }

    /// Returns a span: to its end, or so far where it is at work in a live run, or to the last that is known of it.
    fn span(
        &self,
        began: Option<Timestamp>,
        ended: Option<Timestamp>,
        last: Option<Timestamp>,
        at_work: bool,
    ) -> Option<u64> {
        let now = (at_work && self.running).then_some(self.now);
        let until = ended.or(now).or(last)?;
        Some(u64::try_from(until.since(began?).as_millis()).unwrap_or(u64::MAX))
    }

    /// Lists what was made for a guest and is still there: a step's key names what the step made.
    fn kept(&self, id: GuestId, guest: &GuestState) -> Vec<Kept> {
        let now = protection(&guest.phase);
        let mut kept: Vec<Kept> = Vec::new();
        for record in self.state.steps.iter().filter(|r| r.guest == Some(id) && r.state == StepState::Done) {
            let key = StepKey {
                run: self.state.run.clone(),
                target: Target::Guest(self.state.host().clone(), id),
                step: record.step,
                round: record.round,
            };
            let (kind, name) = match record.step {
                Step::Snapshot => (KeptKind::Snapshot, key.snapshot_name().to_string()),
                Step::Backup => (KeptKind::Backup, format!("the archive with the note \"{}\"", key.backup_note())),
                _ => continue,
            };
            kept.push(Kept { kind, name, at: record.ended });
        }
        let Some(now) = now else { return kept };
        let (kind, name) = match now {
            Protection::Snapshot { name, .. } => (KeptKind::Snapshot, name.to_string()),
            Protection::Backup { volid, .. } => (KeptKind::Backup, volid.clone()),
            Protection::Waived => return kept,
        };
        match kept.iter_mut().rev().find(|kept| kept.kind == kind) {
            Some(same) => (same.name, same.at) = (name, now.at()),
            None => kept.push(Kept { kind, name, at: now.at() }),
        }
        kept
    }
}

/// Returns what the last check of a node showed.
fn report(phase: &HostPhase) -> Option<&VerifyReport> {
    match phase {
        HostPhase::Done(HostVerdict::Verified(report) | HostVerdict::NotRebooted { report, .. }) => Some(report),
        HostPhase::AwaitingReboot { case }
        | HostPhase::PreparingReboot { case, .. }
        | HostPhase::SettingNoout { case, .. }
        | HostPhase::Evacuating { case, .. }
        | HostPhase::StoppingGuests { case, .. }
        | HostPhase::Rebooting { case, .. } => Some(&case.report),
        HostPhase::Held { at, .. } => report(at),
        _ => None,
    }
}

/// Returns how a guest came out that is over, or is only being stopped again.
fn upgraded(phase: &GuestPhase) -> Option<&GuestVerdict> {
    match phase {
        GuestPhase::Settled(verdict) => Some(verdict),
        GuestPhase::Stopping { then, .. } => match &**then {
            AfterStop::Settle(verdict) => Some(verdict),
            AfterStop::Wait => None,
        },
        _ => None,
    }
}

/// Tells what a host is owed, and why it was not given back yet.
pub fn owed_view(state: &HostState, owed: &Obligation) -> OwedView {
    let what = owed.to_string();
    let why = state.unpaid(owed).map(|why| match why {
        Unpaid::WaitsFor(step) => format!("waits for the end of: {}", words::step(step)),
        Unpaid::Tried(how) => format!("the last try: {how}"),
    });
    let (owed, guests) = match owed {
        Obligation::StopGuest { id, .. } => (OwedKind::StopGuest, vec![*id]),
        Obligation::ReviveGuest { id, .. } => (OwedKind::ReviveGuest, vec![*id]),
        Obligation::StartGuests { guests } => (OwedKind::StartGuests, guests.iter().map(|guest| guest.id).collect()),
        Obligation::LeaveMaintenance { .. } => (OwedKind::LeaveMaintenance, Vec::new()),
        Obligation::ReturnGuest { moved } => (OwedKind::ReturnGuest, vec![moved.id]),
        Obligation::ClearNoout => (OwedKind::ClearNoout, Vec::new()),
    };
    OwedView { owed, guests, what, why }
}

fn kept_of(guests: &[GuestView], kind: KeptKind) -> usize {
    guests.iter().flat_map(|guest| &guest.kept).filter(|kept| kept.kind == kind).count()
}

fn protection(phase: &GuestPhase) -> Option<&Protection> {
    match phase {
        GuestPhase::Protected { protection }
        | GuestPhase::Measuring { protection, .. }
        | GuestPhase::Upgrading { protection, .. }
        | GuestPhase::Checking { protection, .. }
        | GuestPhase::Rebooting { protection, .. }
        | GuestPhase::Settled(GuestVerdict::Upgraded { protection, .. } | GuestVerdict::Failed { protection, .. }) => {
            Some(protection)
        }
        GuestPhase::RollingBack { undo, .. }
        | GuestPhase::Reviving { undo, .. }
        | GuestPhase::Rechecking { undo, .. } => undone(undo),
        GuestPhase::Settled(GuestVerdict::RolledBack { undo, .. }) => undone(undo),
        GuestPhase::Held { at, .. } => protection(at),
        GuestPhase::Stopping { then, .. } => match &**then {
            AfterStop::Settle(GuestVerdict::Upgraded { protection, .. } | GuestVerdict::Failed { protection, .. }) => {
                Some(protection)
            }
            AfterStop::Settle(_) | AfterStop::Wait => None,
        },
        GuestPhase::Waiting
        | GuestPhase::Starting { .. }
        | GuestPhase::Looking { .. }
        | GuestPhase::Protecting { .. }
        | GuestPhase::Settled(_) => None,
    }
}

/// Returns the protection of a guest whose upgrade was undone.
fn undone(undo: &Undo) -> Option<&Protection> {
    match &undo.before {
        GuestVerdict::Upgraded { protection, .. } | GuestVerdict::Failed { protection, .. } => Some(protection),
        GuestVerdict::RolledBack { undo, .. } => undone(undo),
        GuestVerdict::Skipped(_) | GuestVerdict::Blocked(_) => None,
    }
}

impl GuestView {
    /// Names the guest as people do: `CT 101 (web)`.
    pub fn label(&self) -> String {
        match self.name.as_str() {
            "" => format!("{} {}", self.kind, self.id),
            name => format!("{} {} ({name})", self.kind, self.id),
        }
    }
}

impl HostView {
    /// Returns how long the host took, or has taken so far.
    pub fn duration(&self) -> Option<Duration> {
        self.duration_ms.map(Duration::from_millis)
    }

    /// Tells whether the host's reason is that of one of its guests, and not its own.
    pub fn reason_is_a_guests(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or("");
        let is_of = |guest: &GuestView| reason.strip_prefix(&guest.label()).is_some_and(|rest| rest.starts_with(": "));
        self.guests.iter().any(is_of)
    }
}

/// Adds what to do about what is held on one host.
fn advise(next: &mut Vec<Advice>, state: &HostState, running: bool) {
    if running && !state.is_parked() {
        return;
    }
    let mut held = |guest: Option<GuestId>, fault: &Fault| {
        next.push(Advice {
            command: resolve_command(&state.run, state.host(), guest),
            why: fault.what.clone(),
            host: Some(state.host().clone()),
            guest,
        });
    };
    if let HostPhase::Held { fault, .. } = &state.phase {
        held(None, fault);
    }
    for (id, guest) in &state.guests {
        if let GuestPhase::Held { fault, .. } = &guest.phase {
            held(Some(*id), fault);
        }
    }
    for (id, guest) in &state.guests {
        let mut advise = |command: String, why: &str| {
            let (host, guest) = (Some(state.host().clone()), Some(*id));
            next.push(Advice { command, why: why.to_owned(), host, guest });
        };
        let GuestPhase::Settled(verdict) = &guest.phase else { continue };
        let changed = |fault: &Fault| fault.class != FaultClass::Transient;
        if matches!(verdict, GuestVerdict::Failed { fault, held, .. } if *held || changed(fault))
            && state.way_back(*id).is_ok()
        {
            let command = rollback_command(&state.run, state.host(), *id);
            advise(command, "undoes its upgrade: it goes back to its snapshot, and what was written since is lost");
        }
        match verdict {
            GuestVerdict::Failed { held: true, .. } => {
                let command = resolve_command(&state.run, state.host(), Some(*id));
                advise(
                    command,
                    "--done: you mended it; --retry: upgrade it again; --skip: leave it as it is in this run",
                );
            }
            GuestVerdict::RolledBack { retry: false, .. } => {
                advise(
                    retry_command(&state.run, state.host(), *id),
                    "lets the next run upgrade it again; until then it is left alone",
                );
            }
            _ => {}
        }
    }
}

/// Returns the command by which the operator decides about a step that is held.
pub fn resolve_command(run: &RunId, host: &HostId, guest: Option<GuestId>) -> String {
    let guest = guest.map_or_else(String::new, |guest| format!(" {guest}"));
    let host = shell_words::quote(host.as_str());
    format!("proxmaint resolve {run} {host}{guest} --retry|--done|--skip")
}

/// Returns the command by which the operator brings a guest back.
pub fn rollback_command(run: &RunId, host: &HostId, guest: GuestId) -> String {
    format!("proxmaint rollback {run} {} {guest}", shell_words::quote(host.as_str()))
}

/// Returns the command by which the operator lets a guest be upgraded again that was rolled back.
fn retry_command(run: &RunId, host: &HostId, guest: GuestId) -> String {
    format!("proxmaint resolve {run} {} {guest} --retry", shell_words::quote(host.as_str()))
}

/// Adds what to do about the run as a whole.
fn advise_run(view: &mut RunView) {
    let why = match (view.standing, view.counts) {
        (Standing::Running { .. }, _) => return,
        (Standing::Expired, _) => "begins a new run: this one is too old to go on with",
        (Standing::Interrupted, counts) if counts.failed > 0 && counts.unfinished > 0 => {
            "goes on from where it stopped, and tries again what failed"
        }
        (Standing::Interrupted, counts) if counts.failed > 0 => "looks at what failed, and tries it again",
        (Standing::Interrupted, counts) if counts.unfinished > 0 => "goes on from where it stopped",
        (Standing::Interrupted, counts) if counts.held > 0 => "looks again at what is held, and goes on where it can",
        (Standing::Interrupted, _) => "goes on with this run",
        (Standing::Finished, counts) if counts.blocked + counts.failed > 0 => {
            "begins a new run, once what stood in the way is mended"
        }
        (Standing::Finished, _) => return,
    };
    view.next.push(Advice { command: "proxmaint run".to_owned(), why: why.to_owned(), host: None, guest: None });
}

/// Adds what to do about what is owed, once nobody works on it.
fn advise_debts(view: &mut RunView, owing: usize) {
    if owing == 0 || matches!(view.standing, Standing::Running { .. }) {
        return;
    }
    let why = match owing {
        1 => "gives back what is owed on 1 host".to_owned(),
        n => format!("gives back what is owed on {n} hosts"),
    };
    let command = format!("proxmaint restore {}", view.run);
    view.next.push(Advice { command, why, host: None, guest: None });
}
