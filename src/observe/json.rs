//! `run --output json`: one JSON event a line on standard output, and nothing else there.
//!
//! # Format, version 1
//! Every line is an object with `v` (1) and `event`. `at` is RFC 3339 in UTC with milliseconds. Events of a host carry
//! `seq` (their place in the journal, rising but with gaps), `at` and `host`; those of a step also `guest` (its number, or
//! `null` for the node's own step), `step` and `round`. What is not known is `null`. New events and fields may come within
//! version 1: ignore what you don't know.
//!
//! | event | fields beside those | when |
//! |---|---|---|
//! | `run-began` | `at`, `run`, `resumed`, `hosts` (names) | first line |
//! | `host-began` | | its discovery begins |
//! | `host-planned` | `node`, `refused` (why nothing may be done), `node_packages`, `left_out` (why the node is left alone), `reboot` (`never`, `if-needed`, `always`), `own` (that proxmaint runs here), `guests[]`: `id`, `kind`, `name`, `decision` (`upgrade`, `start`, `skip`, `block`), `reason`, `packages`, `protection[]` (ways, tried in this order; `none` where the manifest says so), `own` | discovery ended well |
//! | `turn-given` | | the host may be changed now |
//! | `reboot-turn-given` | | the host may be rebooted now |
//! | `give-back` | | what was borrowed is given back before anything else |
//! | `task-started` | `task` (UPID) | the node took up a task for a step |
//! | `step-ended` | `outcome` (`done`, `already-done`, `refused`, `failed`, `unknown`), `reason`, `hint`, `protection` (`{"kind", "name"}`), `packages[]` (`name`, `old`, `new`), `reboot_wanted`, `rebooted` (the node's kernel, or a machine's boot, after a reboot), `remarks` (as in `status`) | a step ended |
//! | `step-probed` | `found` (those of `outcome`, or `running`, `not-done`, `unclear`), and the fields of `step-ended` | a step in doubt was looked at |
//! | `resumed` | | an interrupted host goes on |
//! | `policy-changed` | | the host goes on by what the manifest says now |
//! | `new-round` | | a host that failed is tried again |
//! | `resolved` | `guest`, `resolution` (`retry`, `done`, `skip`) | the operator decided |
//! | `guest-changed` | `guest`, `kind`, `name`, `state` (as in `status`), `in_doubt`, `reason` | follows from the event before it |
//! | `host-changed` | `phase`, `result` (as in `status`), `in_doubt`, `reason` | follows from the event before it |
//! | `gated` | `gate` (as in `status`) | what may begin on the host changed |
//! | `recheck` | | its canaries are looked at once more |
//! | `soaking` | `at`, `until` | the canaries are done, and left alone until then |
//! | `canaries-held` | `at` | the canaries are well: the rest begins |
//! | `halted` | `at`, `reason`, `not_begun` (how many hosts) | too much went wrong: nothing more begins |
//! | `draining` | `at` | the operator asked to stop |
//! | `dropped` | `count` | so many lines were left out because they were not read fast enough |
//! | `run-ended` | `at`, `run`, `result`, `interrupted`, `halted`, `rollout` (as in `status`), `exit_code`, `counts`, `hosts[]`, `next[]` (as in `status`); a host has `host`, `result`, `phase`, `reason`, `hint`, `waits_for`, `duration_ms`, `counts`, `changed`, `reboot_wanted`, `rebooted`, `not_rebooted`, `remarks`, `removed`, `owed[]` (as in `status`: what is to be given back) | last line |
//!
//! `--dry-run --output json` writes the events of [`super::plan_view`] instead.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::sanitize::clean_json;
use super::sink::LineSink;
use super::view::{
    Advice, GateView, GuestCounts, GuestStanding, HostCounts, HostStanding, HostView, KeptKind, OwedView, RemarksView,
    RolloutView, RunView,
};
use super::watch::{News, Watch};
use super::{project, when};
use crate::choices::HostReboot;
use crate::engine::observer::{Observer, RunEnd, Seen};
use crate::engine::port::Clock;
use crate::ids::{GuestId, GuestKind, HostId, NodeName, RunId, Step, StepKey, Upid};
use crate::inventory::PackageChange;
use crate::machine::effect::Mode;
use crate::machine::event::HostEvent;
use crate::machine::guest::{GuestPhase, GuestVerdict, Resolution};
use crate::machine::host::{HostPhase, HostResult, HostState, HostVerdict};
use crate::machine::outcome::{Detail, Fault, Outcome, Probed, Protection};
use crate::machine::run::RunResult;
use crate::plan::{Decision, HostPlan};
use crate::time::Timestamp;

/// The version of the format.
pub const JSON_VERSION: u32 = 1;

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a, E> {
    v: u32,
    event: &'static str,
    #[serde(flatten)]
    place: Option<Place<'a>>,
    #[serde(flatten)]
    body: E,
}

/// Where and when an event of a host happened.
#[derive(Debug, Clone, Copy, Serialize)]
struct Place<'a> {
    seq: u64,
    #[serde(with = "when")]
    at: Timestamp,
    host: &'a HostId,
}

/// The fields of an event that has none of its own.
#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Serialize)]
struct RunBegan<'a> {
    #[serde(with = "when")]
    at: Timestamp,
    run: &'a RunId,
    resumed: bool,
    hosts: &'a [HostId],
}

#[derive(Debug, Serialize)]
struct Draining {
    #[serde(with = "when")]
    at: Timestamp,
}

#[derive(Debug, Serialize)]
struct Gated {
    gate: GateView,
}

#[derive(Debug, Serialize)]
struct Soaking {
    #[serde(with = "when")]
    at: Timestamp,
    #[serde(with = "when")]
    until: Timestamp,
}

#[derive(Debug, Serialize)]
struct Halted<'a> {
    #[serde(with = "when")]
    at: Timestamp,
    reason: &'a str,
    not_begun: usize,
}

#[derive(Debug, Serialize)]
struct Dropped {
    count: u64,
}

#[derive(Debug, Serialize)]
struct Planned<'a> {
    node: &'a NodeName,
    refused: Option<&'a str>,
    node_packages: usize,
    left_out: Option<&'a str>,
    reboot: HostReboot,
    own: Option<String>,
    guests: Vec<PlannedGuest<'a>>,
}

#[derive(Debug, Serialize)]
struct PlannedGuest<'a> {
    id: GuestId,
    kind: GuestKind,
    name: &'a str,
    decision: &'static str,
    reason: Option<String>,
    packages: usize,
    protection: Vec<String>,
    own: bool,
}

#[derive(Debug, Serialize)]
struct OfStep<E> {
    guest: Option<GuestId>,
    step: Step,
    round: u32,
    #[serde(flatten)]
    body: E,
}

#[derive(Debug, Serialize)]
struct Task<'a> {
    task: &'a Upid,
}

#[derive(Debug, Serialize)]
struct Ended<'a> {
    outcome: &'static str,
    #[serde(flatten)]
    found: Findings<'a>,
}

#[derive(Debug, Serialize)]
struct Found<'a> {
    found: &'static str,
    #[serde(flatten)]
    findings: Findings<'a>,
}

#[derive(Debug, Default, Serialize)]
struct Findings<'a> {
    reason: Option<&'a str>,
    hint: Option<&'a str>,
    protection: Option<Protected<'a>>,
    packages: &'a [PackageChange],
    reboot_wanted: Option<&'a str>,
    rebooted: Option<&'a str>,
    remarks: Option<RemarksView>,
}

#[derive(Debug, Serialize)]
struct Protected<'a> {
    kind: KeptKind,
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct RollBack {
    guest: GuestId,
    runs: bool,
}

#[derive(Debug, Serialize)]
struct Resolved {
    guest: Option<GuestId>,
    resolution: Resolution,
}

#[derive(Debug, Serialize)]
struct GuestChanged<'a> {
    guest: GuestId,
    kind: GuestKind,
    name: &'a str,
    state: GuestStanding,
    in_doubt: bool,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct HostChanged<'a> {
    phase: HostStanding,
    result: HostResult,
    in_doubt: bool,
    reason: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct RunEnded<'a> {
    #[serde(with = "when")]
    at: Timestamp,
    run: &'a RunId,
    result: RunResult,
    interrupted: bool,
    halted: bool,
    rollout: Option<&'a RolloutView>,
    exit_code: u8,
    counts: HostCounts,
    hosts: Vec<EndedHost<'a>>,
    next: &'a [Advice],
}

#[derive(Debug, Serialize)]
struct EndedHost<'a> {
    host: &'a HostId,
    result: HostResult,
    phase: HostStanding,
    reason: Option<&'a str>,
    hint: Option<&'a str>,
    waits_for: Option<&'a HostId>,
    duration_ms: Option<u64>,
    counts: GuestCounts,
    changed: usize,
    reboot_wanted: Option<&'a str>,
    rebooted: Option<&'a str>,
    not_rebooted: Option<&'a str>,
    remarks: &'a RemarksView,
    removed: usize,
    owed: &'a [OwedView],
}

/// Writes events as JSON lines.
pub struct JsonLines {
    sink: LineSink,
    watch: Mutex<Watch>,
    clock: Arc<dyn Clock>,
}

impl JsonLines {
    /// Starts writing to `out`: standard output. The clock times what carries no time of its own.
    ///
    /// # Errors
    /// Where the system gives no thread to write from.
    pub fn start(out: impl Write + Send + 'static, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let sink = LineSink::start(out, |count| text("dropped", None, Dropped { count }))?;
        Ok(Self { sink, watch: Mutex::new(Watch::new()), clock })
    }

    /// Writes the last line, `run-ended`, and waits until all is written.
    pub fn finish(&self, view: &RunView, end: RunEnd, exit_code: u8) {
        let body = RunEnded {
            at: self.clock.now(),
            run: &view.run,
            result: end.result,
            interrupted: end.interrupted,
            halted: end.halted,
            rollout: view.rollout.as_ref(),
            exit_code,
            counts: view.counts,
            hosts: view.hosts.iter().map(ended_host).collect(),
            next: &view.next,
        };
        self.say("run-ended", None, body);
        self.sink.finish();
    }

    fn say(&self, event: &'static str, place: Option<Place<'_>>, body: impl Serialize) {
        self.sink.line(text(event, place, body));
    }

    fn step(&self, event: &'static str, place: Place<'_>, key: &StepKey, body: impl Serialize) {
        let (guest, step, round) = (key.target.guest(), key.step, key.round);
        self.say(event, Some(place), OfStep { guest, step, round, body });
    }

    fn host(&self, place: Place<'_>, event: &HostEvent, state: &HostState) {
        match event {
            HostEvent::Begun => self.say("host-began", Some(place), Nothing {}),
            HostEvent::Planned { plan, .. } => self.say("host-planned", Some(place), planned(plan)),
            HostEvent::TurnGiven => self.say("turn-given", Some(place), Nothing {}),
            HostEvent::RebootTurnGiven => self.say("reboot-turn-given", Some(place), Nothing {}),
            HostEvent::GiveBack => self.say("give-back", Some(place), Nothing {}),
            HostEvent::RollBack { guest, runs } => {
                self.say("roll-back", Some(place), RollBack { guest: *guest, runs: *runs });
            }
            HostEvent::TaskStarted { key, task } => self.step("task-started", place, key, Task { task }),
            HostEvent::Ended { key, outcome } => self.step("step-ended", place, key, ended(outcome)),
            HostEvent::Probed { key, found } => self.step("step-probed", place, key, probed(found)),
            HostEvent::Resumed => self.say("resumed", Some(place), Nothing {}),
            HostEvent::PolicyChanged { .. } => self.say("policy-changed", Some(place), Nothing {}),
            HostEvent::Gated { gate } => self.say("gated", Some(place), Gated { gate: project::gate_view(gate) }),
            HostEvent::Recheck => self.say("recheck", Some(place), Nothing {}),
            HostEvent::NewRound => self.say("new-round", Some(place), Nothing {}),
            HostEvent::Resolved { guest, resolution } => {
                self.say("resolved", Some(place), Resolved { guest: *guest, resolution: *resolution });
            }
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        for news in watch.note(state) {
            match news {
                News::Host => self.say("host-changed", Some(place), host_changed(state)),
                News::Guest(id, guest) => {
                    let body = GuestChanged {
                        guest: id,
                        kind: guest.plan.guest.kind,
                        name: &guest.plan.name,
                        state: project::guest_standing(&guest.phase),
                        in_doubt: guest.phase.attempt().is_some_and(|attempt| attempt.mode == Mode::Probe),
                        reason: guest_reason(&guest.phase),
                    };
                    self.say("guest-changed", Some(place), body);
                }
            }
        }
    }
}

impl Observer for JsonLines {
    fn seen(&self, seen: &Seen<'_>) {
        match seen {
            Seen::RunBegan { run, hosts, resumed, whole: _ } => {
                self.say("run-began", None, RunBegan { at: self.clock.now(), run, resumed: *resumed, hosts });
            }
            Seen::Host { seq, at, event, state } => {
                self.host(Place { seq: *seq, at: *at, host: state.host() }, event, state);
            }
            Seen::Soaking { until } => self.say("soaking", None, Soaking { at: self.clock.now(), until: *until }),
            Seen::CanariesHeld => self.say("canaries-held", None, Draining { at: self.clock.now() }),
            Seen::Halted { why, not_begun } => {
                self.say("halted", None, Halted { at: self.clock.now(), reason: why, not_begun: *not_begun });
            }
            Seen::Draining => self.say("draining", None, Draining { at: self.clock.now() }),
            // The last line needs the exit code and every host: `finish` writes it.
            Seen::RunEnded(_) => {}
        }
    }
}

/// Writes one line's text, without its line break.
pub(super) fn line(event: &'static str, body: impl Serialize) -> String {
    text(event, None, body)
}

fn text(event: &'static str, place: Option<Place<'_>>, body: impl Serialize) -> String {
    match serde_json::to_string(&Line { v: JSON_VERSION, event, place, body }) {
        Ok(json) => clean_json(json),
        // None of these types can fail to serialise: no maps with odd keys, no fallible impls.
        Err(error) => {
            serde_json::json!({"v": JSON_VERSION, "event": "error", "message": error.to_string()}).to_string()
        }
    }
}

fn ended_host(host: &HostView) -> EndedHost<'_> {
    EndedHost {
        host: &host.host,
        result: host.result,
        phase: host.phase,
        reason: host.reason.as_deref(),
        hint: host.hint.as_deref(),
        waits_for: host.waits_for.as_ref(),
        duration_ms: host.duration_ms,
        counts: host.counts,
        changed: host.changed,
        reboot_wanted: host.reboot_wanted.as_deref(),
        rebooted: host.rebooted.as_deref(),
        not_rebooted: host.not_rebooted.as_deref(),
        remarks: &host.remarks,
        removed: host.removed,
        owed: &host.owed,
    }
}

fn planned(plan: &HostPlan) -> Planned<'_> {
    let guests = plan.guests.iter().map(|plan| {
        let (decision, reason, packages, ways) = match &plan.decision {
            Decision::Upgrade(upgrade) => ("upgrade", None, upgrade.pending.len(), upgrade.protection.as_slice()),
            Decision::Skip(reason) => ("skip", Some(reason.to_string()), 0, &[][..]),
            Decision::Block(reason) => ("block", Some(reason.clone()), 0, &[][..]),
            Decision::Start(start) => ("start", None, 0, start.protection.as_slice()),
        };
        PlannedGuest {
            id: plan.guest.id,
            kind: plan.guest.kind,
            name: &plan.name,
            decision,
            reason,
            packages,
            protection: ways.iter().map(ToString::to_string).collect(),
            own: plan.own,
        }
    });
    Planned {
        node: &plan.node,
        refused: plan.refusal.as_deref(),
        node_packages: plan.upgrade.pending.len(),
        left_out: plan.upgrade.left_out.as_deref(),
        reboot: plan.upgrade.reboot,
        own: plan.own.as_ref().map(ToString::to_string),
        guests: guests.collect(),
    }
}

fn ended(outcome: &Outcome) -> Ended<'_> {
    let (outcome, found) = match outcome {
        Outcome::Done(detail) => ("done", findings(detail)),
        Outcome::AlreadyDone(detail) => ("already-done", findings(detail)),
        Outcome::Refused(fault) => ("refused", of_fault(fault)),
        Outcome::Failed(fault) => ("failed", of_fault(fault)),
        Outcome::Unknown(fault) => ("unknown", of_fault(fault)),
    };
    Ended { outcome, found }
}

fn probed(found: &Probed) -> Found<'_> {
    match found {
        Probed::Ended(outcome) => {
            let ended = ended(outcome);
            Found { found: ended.outcome, findings: ended.found }
        }
        Probed::Running => Found { found: "running", findings: Findings::default() },
        Probed::NotDone => Found { found: "not-done", findings: Findings::default() },
        Probed::Unclear(fault) => Found { found: "unclear", findings: of_fault(fault) },
    }
}

fn of_fault(fault: &Fault) -> Findings<'_> {
    Findings { reason: Some(&fault.what), hint: fault.hint.as_deref(), ..Findings::default() }
}

fn findings(detail: &Detail) -> Findings<'_> {
    let none = Findings::default();
    match detail {
        Detail::Discovered(_)
        | Detail::Measured(_)
        | Detail::Upgraded
        | Detail::Pruned
        | Detail::Started
        | Detail::Looked(_)
        | Detail::Stopped
        | Detail::RebootReady(_)
        | Detail::NooutSet
        | Detail::Emptied
        | Detail::Moved
        | Detail::MaintenanceLeft
        | Detail::Returned { left: None }
        | Detail::NooutCleared
        | Detail::GuestsStopped
        | Detail::GuestsStarted
        | Detail::RolledBack
        | Detail::Rechecked
        | Detail::Protected(Protection::Waived) => none,
        Detail::Protected(Protection::Snapshot { name, .. }) => {
            Findings { protection: Some(Protected { kind: KeptKind::Snapshot, name: name.as_str() }), ..none }
        }
        Detail::Protected(Protection::Backup { volid, .. }) => {
            Findings { protection: Some(Protected { kind: KeptKind::Backup, name: volid }), ..none }
        }
        Detail::Returned { left: Some(why) } => Findings { reason: Some(why), ..none },
        Detail::Rebooted(boot) => Findings { rebooted: Some(boot.as_str()), ..none },
        Detail::Checked(report) => Findings {
            packages: &report.changes,
            reboot_wanted: report.reboot_wanted.as_deref(),
            remarks: Some((&report.remarks).into()),
            ..none
        },
        Detail::Verified(report) => Findings {
            packages: &report.changes,
            reboot_wanted: report.reboot_wanted.as_deref(),
            rebooted: report.rebooted.as_deref(),
            remarks: Some((&report.remarks).into()),
            ..none
        },
    }
}

fn guest_reason(phase: &GuestPhase) -> Option<String> {
    match phase {
        GuestPhase::Held { fault, .. } | GuestPhase::Settled(GuestVerdict::Failed { fault, .. }) => {
            Some(fault.what.clone())
        }
        GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell, .. }) => {
            project::rolled_back_why(undo, unwell.as_ref()).0
        }
        GuestPhase::Settled(GuestVerdict::Skipped(reason)) => Some(reason.to_string()),
        GuestPhase::Settled(GuestVerdict::Blocked(reason)) => Some(reason.clone()),
        _ => None,
    }
}

fn host_changed(state: &HostState) -> HostChanged<'_> {
    let reason = match &state.phase {
        HostPhase::Held { fault, .. } | HostPhase::Done(HostVerdict::Failed(fault)) => Some(fault.what.as_str()),
        HostPhase::Done(HostVerdict::Blocked(why) | HostVerdict::NotRebooted { why, .. }) => Some(why.as_str()),
        _ => None,
    };
    HostChanged {
        phase: project::host_standing(&state.phase),
        result: state.result(),
        in_doubt: state.phase.attempt().is_some_and(|attempt| attempt.mode == Mode::Probe),
        reason,
    }
}
