//! The machine's transition tables: every (phase, event) pair is either listed as legal here or refused, and a refusal
//! names both sides and changes nothing.

use std::collections::BTreeSet;

use proxmaint::choices::{HostReboot, ViaChoice};
use proxmaint::ids::{
    BootId, ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName, Step, StepKey, Target, Upid,
};
use proxmaint::inventory::{Inside, OsFacts, PackageChange, PackageManager, Via};
use proxmaint::machine::Rounds;
use proxmaint::machine::effect::Mode;
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::{
    AfterStop, Attempt, GuestInput, GuestPhase, GuestState, GuestVerdict, Resolution, Undo,
};
use proxmaint::machine::host::{Gate, HostPhase, HostResult, HostState, HostVerdict, ShutBecause};
use proxmaint::machine::outcome::{
    CheckReport, Detail, Fault, Outcome, Probed, Protection, RebootFacts, RunningGuest, VerifyReport,
};
use proxmaint::machine::run::RunState;
use proxmaint::plan::{
    Baseline, Decision, GuestAddr, GuestPlan, GuestStart, GuestUpgrade, HostPlan, HostPolicy, HostUpgrade, Move,
    MoveHow, ProtectBy, RunPolicy, SkipReason,
};
use proxmaint::time::Timestamp;

const NOW: Timestamp = Timestamp(1_000_000);

fn fault() -> Fault {
    Fault::permanent("it failed")
}

fn protection() -> Protection {
    Protection::Snapshot { name: SnapshotName::new("pm-x-r1"), at: NOW }
}

/// A rollback of an upgrade that failed, or of one that went well and is not liked.
fn undo(by_operator: bool) -> Undo {
    let before = match by_operator {
        true => GuestVerdict::Upgraded {
            changes: vec![change()],
            reboot_wanted: None,
            protection: protection(),
            rebooted: false,
            remarks: Default::default(),
        },
        false => GuestVerdict::Failed { fault: fault(), protection: protection(), held: true },
    };
    Undo { before, snapshot: SnapshotName::new("pm-x-r1"), at: NOW, by_operator, runs: true }
}

fn attempt(step: Step, mode: Mode) -> Attempt {
    Attempt { step, round: 1, mode }
}

fn change() -> PackageChange {
    PackageChange { name: "openssl".into(), old: Some("1".into()), new: Some("2".into()) }
}

fn guest_plan() -> GuestPlan {
    GuestPlan {
        guest: GuestAddr {
            node: NodeName::new("pve1"),
            kind: GuestKind::Ct,
            id: GuestId(101),
            identity: Some("x".into()),
        },
        name: "web".into(),
        decision: Decision::Upgrade(GuestUpgrade {
            via: Via::Pct,
            manager: PackageManager::Apt,
            pending: vec![change()],
            lists_refreshed: None,
            protection: vec![
                ProtectBy::Snapshot,
                ProtectBy::Backup { storage: "local".into(), how: Default::default() },
            ],
            not_covered: vec![],
            boot_id: BootId::new("b"),
            reboot: true,
            checks: Some(Vec::new()),
            rollback: false,
        }),
        tags: Vec::new(),
        pool: None,
        own: false,
    }
}

/// How a guest that does not run is upgraded.
fn start() -> GuestStart {
    GuestStart {
        via: ViaChoice::Auto,
        protection: vec![ProtectBy::Snapshot],
        not_covered: vec![],
        declared: false,
        reboot: false,
        checks: Some(Vec::new()),
        rollback: false,
    }
}

fn started_os() -> OsFacts {
    OsFacts {
        id: "debian".into(),
        id_like: vec![],
        pretty_name: "Debian".into(),
        manager: Some(PackageManager::Apt),
        pending: vec![change()],
        held: vec![],
        lists_refreshed: None,
        kernel: "6".into(),
        boot_id: BootId::new("b"),
        reboot_wanted: None,
        kernel_next: None,
        codename: None,
        unfit: None,
        leftovers: vec![],
        restart_needed: vec![],
    }
}

fn check_report(wants_reboot: bool) -> CheckReport {
    let reboot_wanted = wants_reboot.then(|| "kernel".to_owned());
    CheckReport { changes: vec![], reboot_wanted, boot_id: None, remarks: Default::default() }
}

fn verify_report(wants_reboot: bool) -> VerifyReport {
    let reboot_wanted = wants_reboot.then(|| "kernel".to_owned());
    VerifyReport { changes: vec![], reboot_wanted, rebooted: None, remarks: Default::default() }
}

fn ready(guests: bool) -> RebootFacts {
    let guest = RunningGuest { id: GuestId(101), kind: GuestKind::Ct, name: "web".into(), ha: false, identity: None };
    RebootFacts {
        boot_id: BootId::new("b"),
        kernel: "6.1".into(),
        expected: Some("6.2".into()),
        running: if guests { vec![guest] } else { vec![] },
        moves: vec![],
        maintenance: false,
        noout: false,
    }
}

/// How a node stands whose guests are moved away, one of them by HA, in a cluster with Ceph.
fn emptied() -> RebootFacts {
    let moved = |id, how| Move {
        id: GuestId(id),
        kind: GuestKind::Vm,
        name: "web".into(),
        identity: Some("x".into()),
        from: NodeName::new("pve1"),
        how,
    };
    let guest = |id, ha| RunningGuest { id: GuestId(id), kind: GuestKind::Vm, name: "web".into(), ha, identity: None };
    RebootFacts {
        running: vec![guest(101, false), guest(102, true)],
        moves: vec![
            moved(102, MoveHow::Ha),
            moved(101, MoveHow::Live { to: NodeName::new("pve2"), local_disks: false }),
        ],
        maintenance: true,
        noout: true,
        ..ready(false)
    }
}

/// A guest in a phase: planned to be started where the phase comes before it was looked into, and borrowed where the phase
/// comes after its start.
fn guest_in(phase: &GuestPhase, borrowed: bool) -> GuestState {
    let mut rounds = Rounds::default();
    if let Some(attempt) = phase.attempt() {
        rounds.note(attempt);
    }
    let mut plan = guest_plan();
    let at = if let GuestPhase::Held { at, .. } = phase { at } else { phase };
    if matches!(at, GuestPhase::Starting { .. } | GuestPhase::Looking { .. }) {
        plan.decision = Decision::Start(start());
    }
    let borrowed = borrowed || matches!(at, GuestPhase::Looking { .. } | GuestPhase::Stopping { .. });
    GuestState { plan, phase: phase.clone(), rounds, borrowed: borrowed.then(start), baseline: None, stopped: false }
}

fn guest_phases() -> Vec<(String, GuestPhase)> {
    let mut phases = vec![
        ("waiting".to_owned(), GuestPhase::Waiting),
        ("protected".to_owned(), GuestPhase::Protected { protection: protection() }),
    ];
    for mode in [Mode::Act, Mode::Attach, Mode::Probe] {
        let word = format!("{mode:?}").to_lowercase();
        phases.push((
            format!("protecting/{word}"),
            GuestPhase::Protecting { way: 0, attempt: attempt(Step::Snapshot, mode) },
        ));
        phases.push((
            format!("upgrading/{word}"),
            GuestPhase::Upgrading { protection: protection(), attempt: attempt(Step::UpgradeGuest, mode) },
        ));
        phases.push((format!("starting/{word}"), GuestPhase::Starting { attempt: attempt(Step::StartGuest, mode) }));
        phases.push((
            format!("rebooting/{word}"),
            GuestPhase::Rebooting {
                protection: protection(),
                report: Box::new(check_report(true)),
                attempt: attempt(Step::RebootGuest, mode),
            },
        ));
        for (by, undo) in [("failed", undo(false)), ("asked", undo(true))] {
            let undo = Box::new(undo);
            phases.push((
                format!("rolling-back/{word}/{by}"),
                GuestPhase::RollingBack { undo: undo.clone(), attempt: attempt(Step::RollbackGuest, mode) },
            ));
            phases.push((
                format!("reviving/{word}/{by}"),
                GuestPhase::Reviving { undo, attempt: attempt(Step::ReviveGuest, mode) },
            ));
        }
        for (then, after) in [
            ("settle", AfterStop::Settle(GuestVerdict::Skipped(SkipReason::NothingPending))),
            ("wait", AfterStop::Wait),
        ] {
            phases.push((
                format!("stopping/{word}/{then}"),
                GuestPhase::Stopping { then: Box::new(after), attempt: attempt(Step::StopGuest, mode) },
            ));
        }
    }
    phases.push((
        "measuring".to_owned(),
        GuestPhase::Measuring { protection: protection(), attempt: attempt(Step::MeasureGuest, Mode::Act) },
    ));
    let rechecking =
        |mode| GuestPhase::Rechecking { undo: Box::new(undo(false)), attempt: attempt(Step::RecheckGuest, mode) };
    phases.push(("rechecking".to_owned(), rechecking(Mode::Act)));
    phases.push(("looking".to_owned(), GuestPhase::Looking { attempt: attempt(Step::LookGuest, Mode::Act) }));
    phases.push((
        "checking/rebooted".to_owned(),
        GuestPhase::Checking {
            protection: protection(),
            attempt: attempt(Step::CheckGuest, Mode::Act),
            rebooted: true,
        },
    ));
    phases.push((
        "checking".to_owned(),
        GuestPhase::Checking {
            protection: protection(),
            attempt: attempt(Step::CheckGuest, Mode::Act),
            rebooted: false,
        },
    ));
    let settle = || Box::new(AfterStop::Settle(GuestVerdict::Skipped(SkipReason::NothingPending)));
    for (name, at) in [
        ("held/starting", GuestPhase::Starting { attempt: attempt(Step::StartGuest, Mode::Probe) }),
        ("held/stopping", GuestPhase::Stopping { then: settle(), attempt: attempt(Step::StopGuest, Mode::Probe) }),
        (
            "held/rebooting",
            GuestPhase::Rebooting {
                protection: protection(),
                report: Box::new(check_report(true)),
                attempt: attempt(Step::RebootGuest, Mode::Probe),
            },
        ),
        (
            "held/rolling-back",
            GuestPhase::RollingBack { undo: Box::new(undo(true)), attempt: attempt(Step::RollbackGuest, Mode::Probe) },
        ),
        (
            "held/reviving",
            GuestPhase::Reviving { undo: Box::new(undo(false)), attempt: attempt(Step::ReviveGuest, Mode::Probe) },
        ),
        ("held/protecting", GuestPhase::Protecting { way: 0, attempt: attempt(Step::Snapshot, Mode::Probe) }),
        (
            "held/upgrading",
            GuestPhase::Upgrading { protection: protection(), attempt: attempt(Step::UpgradeGuest, Mode::Probe) },
        ),
    ] {
        phases.push((name.to_owned(), GuestPhase::Held { at: Box::new(at), fault: fault() }));
    }
    for (name, verdict) in [
        (
            "upgraded",
            GuestVerdict::Upgraded {
                changes: vec![],
                reboot_wanted: None,
                protection: protection(),
                rebooted: false,
                remarks: Default::default(),
            },
        ),
        ("skipped", GuestVerdict::Skipped(SkipReason::Template)),
        ("blocked", GuestVerdict::Blocked("why".into())),
        ("failed", GuestVerdict::Failed { fault: fault(), protection: protection(), held: true }),
        ("rolled-back", GuestVerdict::RolledBack { undo: Box::new(undo(false)), unwell: None, retry: false }),
    ] {
        phases.push((format!("settled/{name}"), GuestPhase::Settled(verdict)));
    }
    phases
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    vec![
        ("done:protected", Outcome::Done(Detail::Protected(protection()))),
        ("done:measured", Outcome::Done(Detail::Measured(Default::default()))),
        ("done:upgraded", Outcome::Done(Detail::Upgraded)),
        ("done:checked", Outcome::Done(Detail::Checked(check_report(false)))),
        ("done:checked+reboot", Outcome::Done(Detail::Checked(check_report(true)))),
        ("done:verified", Outcome::Done(Detail::Verified(verify_report(false)))),
        ("done:verified+reboot", Outcome::Done(Detail::Verified(verify_report(true)))),
        ("done:pruned", Outcome::Done(Detail::Pruned)),
        ("done:started", Outcome::Done(Detail::Started)),
        ("already:started", Outcome::AlreadyDone(Detail::Started)),
        ("done:looked", {
            let inside = Inside::Seen { via: Via::Pct, os: Box::new(started_os()) };
            Outcome::Done(Detail::Looked(Box::new(inside)))
        }),
        ("done:looked+closed", Outcome::Done(Detail::Looked(Box::new(Inside::NoWayIn("no".into()))))),
        ("done:stopped", Outcome::Done(Detail::Stopped)),
        ("already:stopped", Outcome::AlreadyDone(Detail::Stopped)),
        ("done:rolled-back", Outcome::Done(Detail::RolledBack)),
        ("done:rechecked", Outcome::Done(Detail::Rechecked)),
        ("done:rebooted", Outcome::Done(Detail::Rebooted(BootId::new("c")))),
        ("done:ready", Outcome::Done(Detail::RebootReady(ready(true)))),
        ("done:ready+none", Outcome::Done(Detail::RebootReady(ready(false)))),
        ("done:ready+emptied", Outcome::Done(Detail::RebootReady(emptied()))),
        ("done:noout", Outcome::Done(Detail::NooutSet)),
        ("already:noout", Outcome::AlreadyDone(Detail::NooutSet)),
        ("done:emptied", Outcome::Done(Detail::Emptied)),
        ("already:emptied", Outcome::AlreadyDone(Detail::Emptied)),
        ("done:moved", Outcome::Done(Detail::Moved)),
        ("done:left", Outcome::Done(Detail::MaintenanceLeft)),
        ("done:returned", Outcome::Done(Detail::Returned { left: None })),
        ("done:cleared", Outcome::Done(Detail::NooutCleared)),
        ("done:guests-stopped", Outcome::Done(Detail::GuestsStopped)),
        ("done:guests-started", Outcome::Done(Detail::GuestsStarted)),
        ("already:protected", Outcome::AlreadyDone(Detail::Protected(protection()))),
        ("already:upgraded", Outcome::AlreadyDone(Detail::Upgraded)),
        ("refused", Outcome::Refused(fault())),
        ("refused+transient", Outcome::Refused(Fault::transient("it is locked"))),
        ("failed", Outcome::Failed(fault())),
        ("unknown", Outcome::Unknown(fault())),
    ]
}

fn guest_inputs() -> Vec<(String, GuestInput)> {
    let mut inputs = vec![
        ("protect".to_owned(), GuestInput::Protect),
        ("upgrade".to_owned(), GuestInput::Upgrade),
        ("resume/intended".to_owned(), GuestInput::Resume { intended: true }),
        ("resume/planned".to_owned(), GuestInput::Resume { intended: false }),
        ("resolve/retry".to_owned(), GuestInput::Resolve(Resolution::Retry)),
        ("resolve/done".to_owned(), GuestInput::Resolve(Resolution::Done)),
        ("resolve/skip".to_owned(), GuestInput::Resolve(Resolution::Skip)),
        ("give-back".to_owned(), GuestInput::GiveBack),
        ("roll-back".to_owned(), GuestInput::RollBack { snapshot: SnapshotName::new("pm-x-r1"), at: NOW, runs: true }),
        ("probed/running".to_owned(), GuestInput::Probed(Probed::Running)),
        ("probed/not-done".to_owned(), GuestInput::Probed(Probed::NotDone)),
        ("probed/unclear".to_owned(), GuestInput::Probed(Probed::Unclear(fault()))),
    ];
    for (name, outcome) in outcomes() {
        inputs.push((format!("probed/ended/{name}"), GuestInput::Probed(Probed::Ended(outcome.clone()))));
        inputs.push((format!("ended/{name}"), GuestInput::Ended(outcome)));
    }
    inputs
}

/// Writes where a phase stands, with its mode and round, for the table.
fn name(phase: &GuestPhase) -> String {
    match phase {
        GuestPhase::Settled(verdict) => {
            let word = format!("{verdict:?}");
            format!("settled {}", word.split([' ', '(', '{']).next().unwrap().to_lowercase())
        }
        GuestPhase::Held { at, .. } => format!("held ({})", name(at)),
        other => match other.attempt() {
            Some(attempt) => {
                format!("{} {} r{} {:?}", other.name(), attempt.step, attempt.round, attempt.mode).to_lowercase()
            }
            None => other.name().to_owned(),
        },
    }
}

/// Goes through all pairs with guests that were running, or were started for this.
fn guest_table(borrowed: bool) -> String {
    let mut legal = String::new();
    let mut refused = 0;
    for (from, phase) in guest_phases() {
        for (input_name, input) in guest_inputs() {
            let before = guest_in(&phase, borrowed);
            let mut state = before.clone();
            match state.apply(input.clone()) {
                Ok(()) => {
                    let owed = if state.owed().is_some() { " (owed)" } else { "" };
                    legal.push_str(&format!("{from:<20} {input_name:<34} -> {}{owed}\n", name(&state.phase)));
                }
                Err(illegal) => {
                    refused += 1;
                    assert_eq!(state, before, "a refused input changed the state");
                    assert_eq!((illegal.phase, illegal.event), (phase.name(), input.name()));
                }
            }
        }
    }
    assert_eq!(refused + legal.lines().count(), guest_phases().len() * guest_inputs().len());
    legal
}

#[test]
fn every_pair_of_the_guest_table() {
    insta::assert_snapshot!(guest_table(false));
}

#[test]
fn every_pair_of_the_table_of_a_guest_that_was_started() {
    insta::assert_snapshot!(guest_table(true));
}

fn plan(pending: bool, guests: Vec<GuestPlan>) -> HostPlan {
    HostPlan {
        begun_elsewhere: Default::default(),
        node: NodeName::new("pve1"),
        ca: ClusterId::new("AA"),
        cluster: Some(ClusterId::new("AA")),
        refusal: None,
        facts_at: NOW,
        guests,
        prune: vec![],
        upgrade: HostUpgrade {
            manager: Some(PackageManager::Apt),
            pending: if pending { vec![change()] } else { vec![] },
            lists_refreshed: None,
            reboot_wanted: None,
            left_out: None,
            reboot: HostReboot::Never,
            votes: None,
            guests: None,
            noout: false,
        },
        baseline: Baseline { services: vec![], running: vec![], boot_id: BootId::new("b") },
        prune_backups: Vec::new(),
        findings: Vec::new(),
        own: None,
    }
}

fn run() -> RunId {
    RunId::new("20261122-000000-test")
}

fn policy() -> HostPolicy {
    HostPolicy {
        host: HostId::new("pve1"),
        node: None,
        max_parallel: 2,
        unmanaged: BTreeSet::new(),
        declared: BTreeSet::new(),
        protect_max_age_ms: 3_600_000,
        ..HostPolicy::new(proxmaint::ids::HostId::new("unused"))
    }
}

fn key(step: Step) -> StepKey {
    StepKey { run: run(), target: Target::Host(HostId::new("pve1")), step, round: 1 }
}

/// A host in each of its phases, reached by events alone.
fn hosts() -> Vec<(&'static str, HostState)> {
    let new = || HostState::new(run(), policy());
    let after = |events: &[HostEvent]| {
        let mut state = new();
        for event in events {
            let effects = state.apply(event, NOW).unwrap();
            for effect in effects {
                state.intended(&effect.key, effect.mode, NOW);
            }
        }
        state
    };
    let planned =
        |pending, guests| HostEvent::Planned { key: key(Step::Discover), plan: Box::new(plan(pending, guests)) };
    let ended = |step, outcome| HostEvent::Ended { key: key(step), outcome };
    let turn = vec![HostEvent::Begun, planned(true, vec![]), HostEvent::TurnGiven];
    let with = |more: &[HostEvent]| after(&[turn.as_slice(), more].concat());
    let unknown = ended(Step::UpgradeHost, Outcome::Unknown(fault()));
    let unclear = HostEvent::Probed { key: key(Step::UpgradeHost), found: Probed::Unclear(fault()) };
    let rebooted = {
        let plan = plan(true, vec![]);
        let upgrade = HostUpgrade { reboot: HostReboot::IfNeeded, ..plan.upgrade.clone() };
        HostEvent::Planned { key: key(Step::Discover), plan: Box::new(HostPlan { upgrade, ..plan }) }
    };
    let to_reboot = [
        HostEvent::Begun,
        rebooted,
        HostEvent::TurnGiven,
        ended(Step::UpgradeHost, Outcome::Done(Detail::Upgraded)),
        ended(Step::Verify, Outcome::Done(Detail::Verified(verify_report(true)))),
    ];
    let given = [to_reboot.as_slice(), &[HostEvent::RebootTurnGiven]].concat();
    let stopping =
        [given.as_slice(), &[ended(Step::PrepareReboot, Outcome::Done(Detail::RebootReady(ready(true))))]].concat();
    let down = [stopping.as_slice(), &[ended(Step::StopGuests, Outcome::Done(Detail::GuestsStopped))]].concat();
    let up = [down.as_slice(), &[ended(Step::RebootHost, Outcome::Done(Detail::Rebooted(BootId::new("c"))))]].concat();
    let prepared = ended(Step::PrepareReboot, Outcome::Done(Detail::RebootReady(emptied())));
    let noout = [given.as_slice(), &[prepared]].concat();
    let draining = [noout.as_slice(), &[ended(Step::SetNoout, Outcome::Done(Detail::NooutSet))]].concat();
    let moving = [draining.as_slice(), &[ended(Step::EnterMaintenance, Outcome::Done(Detail::Emptied))]].concat();
    let away = [
        moving.as_slice(),
        &[
            ended(Step::MoveGuest, Outcome::Done(Detail::Moved)),
            ended(Step::RebootHost, Outcome::Done(Detail::Rebooted(BootId::new("c")))),
            ended(Step::StartGuests, Outcome::Done(Detail::GuestsStarted)),
        ],
    ]
    .concat();
    let returning =
        [away.as_slice(), &[ended(Step::LeaveMaintenance, Outcome::Done(Detail::MaintenanceLeft))]].concat();
    let returned = Outcome::Done(Detail::Returned { left: None });
    let again = |outcome| HostEvent::Ended { key: StepKey { round: 2, ..key(Step::ReturnGuest) }, outcome };
    let clearing = [returning.as_slice(), &[ended(Step::ReturnGuest, returned.clone()), again(returned)]].concat();
    let in_doubt = |events: &[HostEvent], step, then: &[HostEvent]| {
        after(&[events, &[ended(step, Outcome::Unknown(fault()))], then].concat())
    };
    let unclear_at = |step| HostEvent::Probed { key: key(step), found: Probed::Unclear(fault()) };
    let not_obeyed = ended(Step::StopGuests, Outcome::Failed(fault()));
    let started = ended(Step::StartGuests, Outcome::Done(Detail::GuestsStarted));
    let giving_back = || {
        let mut state = after(&[HostEvent::Begun, planned(true, vec![guest_plan()]), HostEvent::TurnGiven]);
        for guest in state.guests.values_mut() {
            (guest.phase, guest.borrowed) = (GuestPhase::Protected { protection: protection() }, Some(start()));
        }
        state.apply(&HostEvent::GiveBack, NOW).unwrap();
        state
    };
    vec![
        ("awaiting-reboot", after(&to_reboot)),
        ("preparing-reboot", after(&given)),
        ("setting-noout", after(&noout)),
        ("setting-noout/probe", in_doubt(&noout, Step::SetNoout, &[])),
        ("evacuating/ha", after(&draining)),
        ("evacuating/ha/probe", in_doubt(&draining, Step::EnterMaintenance, &[])),
        ("evacuating/move", after(&moving)),
        ("evacuating/move/probe", in_doubt(&moving, Step::MoveGuest, &[])),
        ("held/evacuating", in_doubt(&moving, Step::MoveGuest, &[unclear_at(Step::MoveGuest)])),
        ("returning/maintenance", after(&away)),
        ("returning/guest", after(&returning)),
        ("returning/guest/probe", in_doubt(&returning, Step::ReturnGuest, &[])),
        ("returning/noout", after(&clearing)),
        ("stopping-guests", after(&stopping)),
        ("stopping-guests/probe", in_doubt(&stopping, Step::StopGuests, &[])),
        ("rebooting", after(&down)),
        ("rebooting/probe", in_doubt(&down, Step::RebootHost, &[])),
        ("starting-guests", after(&up)),
        ("starting-guests/probe", in_doubt(&up, Step::StartGuests, &[])),
        ("starting-guests/hold", after(&[stopping.as_slice(), std::slice::from_ref(&not_obeyed)].concat())),
        ("verifying/rebooted", after(&[up.as_slice(), std::slice::from_ref(&started)].concat())),
        ("held/stopping", in_doubt(&stopping, Step::StopGuests, &[unclear_at(Step::StopGuests)])),
        ("held/rebooting", in_doubt(&down, Step::RebootHost, &[unclear_at(Step::RebootHost)])),
        ("held/starting", in_doubt(&up, Step::StartGuests, &[unclear_at(Step::StartGuests)])),
        ("held/not-obeyed", after(&[stopping.as_slice(), &[not_obeyed.clone(), started.clone()]].concat())),
        ("giving-back", giving_back()),
        ("pending", new()),
        ("discovering", after(&[HostEvent::Begun])),
        ("awaiting-turn", after(&[HostEvent::Begun, planned(true, vec![])])),
        ("snapshotting", after(&[HostEvent::Begun, planned(true, vec![guest_plan()]), HostEvent::TurnGiven])),
        ("upgrading-host", with(&[])),
        ("upgrading-host/probe", with(std::slice::from_ref(&unknown))),
        ("verifying", with(&[ended(Step::UpgradeHost, Outcome::Done(Detail::Upgraded))])),
        ("held", with(&[unknown, unclear])),
        ("done/failed", with(&[ended(Step::UpgradeHost, Outcome::Failed(fault()))])),
        (
            "done/verified",
            with(&[
                ended(Step::UpgradeHost, Outcome::Done(Detail::Upgraded)),
                ended(Step::Verify, Outcome::Done(Detail::Verified(verify_report(false)))),
            ]),
        ),
        ("done/nothing-to-do", after(&[HostEvent::Begun, planned(false, vec![]), HostEvent::TurnGiven])),
    ]
}

fn host_events() -> Vec<(String, HostEvent)> {
    let mut events = vec![
        ("begun".to_owned(), HostEvent::Begun),
        ("planned".to_owned(), HostEvent::Planned { key: key(Step::Discover), plan: Box::new(plan(true, vec![])) }),
        ("turn-given".to_owned(), HostEvent::TurnGiven),
        ("task-started".to_owned(), HostEvent::TaskStarted { key: key(Step::UpgradeHost), task: Upid::new("UPID:x") }),
        ("reboot-turn-given".to_owned(), HostEvent::RebootTurnGiven),
        ("give-back".to_owned(), HostEvent::GiveBack),
        ("resumed".to_owned(), HostEvent::Resumed),
        ("policy-changed".to_owned(), HostEvent::PolicyChanged { policy: policy() }),
        ("new-round".to_owned(), HostEvent::NewRound),
        ("roll-back".to_owned(), HostEvent::RollBack { guest: GuestId(101), runs: true }),
    ];
    for (word, resolution) in [("retry", Resolution::Retry), ("done", Resolution::Done), ("skip", Resolution::Skip)] {
        events.push((format!("resolved/{word}"), HostEvent::Resolved { guest: None, resolution }));
        events.push((
            format!("resolved/unknown-guest/{word}"),
            HostEvent::Resolved { guest: Some(GuestId(999)), resolution },
        ));
    }
    for step in [
        Step::Discover,
        Step::UpgradeHost,
        Step::Verify,
        Step::PrepareReboot,
        Step::SetNoout,
        Step::EnterMaintenance,
        Step::MoveGuest,
        Step::StopGuests,
        Step::RebootHost,
        Step::StartGuests,
        Step::LeaveMaintenance,
        Step::ReturnGuest,
        Step::ClearNoout,
    ] {
        for (name, outcome) in outcomes() {
            events
                .push((format!("ended/{step}/{name}"), HostEvent::Ended { key: key(step), outcome: outcome.clone() }));
            events.push((
                format!("probed/{step}/ended/{name}"),
                HostEvent::Probed { key: key(step), found: Probed::Ended(outcome) },
            ));
        }
        for (name, found) in
            [("running", Probed::Running), ("not-done", Probed::NotDone), ("unclear", Probed::Unclear(fault()))]
        {
            events.push((format!("probed/{step}/{name}"), HostEvent::Probed { key: key(step), found }));
        }
    }
    events
}

fn host_name(phase: &HostPhase) -> String {
    match phase {
        HostPhase::Done(verdict) => {
            let word = match verdict {
                HostVerdict::NothingToDo { .. } => "nothing-to-do",
                HostVerdict::Verified(_) => "verified",
                HostVerdict::NotRebooted { .. } => "not-rebooted",
                HostVerdict::Blocked(_) => "blocked",
                HostVerdict::Failed(_) => "failed",
                HostVerdict::Skipped => "skipped",
            };
            format!("done {word}")
        }
        HostPhase::Held { at, .. } => format!("held ({})", host_name(at)),
        other => match other.attempt() {
            Some(attempt) => format!("{} r{} {:?}", other.name(), attempt.round, attempt.mode).to_lowercase(),
            None => other.name().to_owned(),
        },
    }
}

#[test]
fn every_pair_of_the_host_table() {
    let mut legal = String::new();
    let mut pairs = 0;
    let mut refused = 0;
    for (from, state) in hosts() {
        for (event_name, event) in host_events() {
            pairs += 1;
            let mut state = state.clone();
            match state.apply(&event, NOW) {
                Ok(effects) => {
                    let effects: Vec<String> = effects
                        .iter()
                        .map(|e| format!("{} r{} {:?}", e.key.step, e.key.round, e.mode).to_lowercase())
                        .collect();
                    let borrowed = state.maintenance || state.noout || !state.moved.is_empty();
                    let owed = if state.shut.is_empty() && !borrowed { "" } else { " (owed)" };
                    let turn = if state.reboot_turn { " (has the turn)" } else { "" };
                    legal.push_str(&format!(
                        "{from:<22} {event_name:<42} -> {}{owed}{turn} [{}]\n",
                        host_name(&state.phase),
                        effects.join(", ")
                    ));
                }
                Err(illegal) => {
                    refused += 1;
                    // A guest's own table names what it made of the event.
                    assert!(illegal.event == event.name() || illegal.what == "guest", "a refusal names the event");
                    assert!(!illegal.phase.is_empty());
                }
            }
        }
    }
    assert_eq!(refused + legal.lines().count(), pairs);
    insta::assert_snapshot!(legal);
}

/// Cuts the node's upgrade off so often, each time looking finds nothing, and returns the phase that this ends in.
fn cut_off(times: u32, by: &[HostEvent]) -> &'static str {
    let plan = HostEvent::Planned { key: key(Step::Discover), plan: Box::new(plan(true, vec![])) };
    let mut state = HostState::new(run(), policy());
    for event in [HostEvent::Begun, plan, HostEvent::TurnGiven] {
        for effect in state.apply(&event, NOW).unwrap() {
            state.intended(&effect.key, effect.mode, NOW);
        }
    }
    for round in 1..=times {
        let key = StepKey { round, ..key(Step::UpgradeHost) };
        let rounded = by.iter().map(|event| match event {
            HostEvent::Ended { outcome, .. } => HostEvent::Ended { key: key.clone(), outcome: outcome.clone() },
            other => other.clone(),
        });
        for event in rounded.chain([HostEvent::Probed { key: key.clone(), found: Probed::NotDone }]) {
            for effect in state.apply(&event, NOW).unwrap() {
                state.intended(&effect.key, effect.mode, NOW);
            }
        }
    }
    state.phase.name()
}

#[test]
fn interruptions_never_add_up_to_a_hold() {
    assert_eq!(cut_off(10, &[HostEvent::Resumed]), "upgrading-host", "the session ended, not the step");
    let vanished = HostEvent::Ended { key: key(Step::UpgradeHost), outcome: Outcome::Unknown(fault()) };
    assert_eq!(cut_off(2, std::slice::from_ref(&vanished)), "upgrading-host");
    assert_eq!(cut_off(3, &[vanished]), "held", "a step that vanishes by itself has a cause");
}

/// A host whose guests were shut down for its reboot, and whose shutdown is held; every intent is durable.
fn held_with_guests_down() -> HostState {
    hosts().into_iter().find(|(name, _)| *name == "held/stopping").expect("it is in the table").1
}

fn apply(state: &mut HostState, event: &HostEvent) {
    for effect in state.apply(event, NOW).unwrap() {
        state.intended(&effect.key, effect.mode, NOW);
    }
}

#[test]
fn what_was_given_back_is_not_shut_down_again_without_being_owed() {
    let mut state = held_with_guests_down();
    assert_eq!(state.owed().len(), 1);
    apply(&mut state, &HostEvent::GiveBack);
    apply(&mut state, &HostEvent::Ended { key: key(Step::StartGuests), outcome: Outcome::Done(Detail::GuestsStarted) });
    assert!(state.owed().is_empty());
    apply(&mut state, &HostEvent::Resumed);
    assert_eq!(state.phase.name(), "awaiting-reboot", "it is prepared anew, and what runs then is noted anew");
}

#[test]
fn a_host_that_waits_for_its_reboot_again_has_no_turn() {
    let mut state = hosts().into_iter().find(|(name, _)| *name == "preparing-reboot").expect("it is in the table").1;
    // The batch with the outcome became durable, the intent that follows did not: time has passed, and it is prepared anew.
    let ended =
        HostEvent::Ended { key: key(Step::PrepareReboot), outcome: Outcome::Done(Detail::RebootReady(ready(true))) };
    state.apply(&ended, NOW).unwrap();
    apply(&mut state, &HostEvent::Resumed);
    assert_eq!((state.phase.name(), state.reboot_turn), ("awaiting-reboot", false));
    assert!(state.owed().is_empty(), "nothing was shut down");
    let policy = RunPolicy { parallel_hosts: 1, rollout: Default::default(), hosts: vec![policy()] };
    let mut run = RunState::restore(run(), policy.parallel_hosts, NOW, vec![state]);
    let grants: Vec<&str> = run.grants().iter().map(|(_, event)| event.name()).collect();
    assert_eq!(grants, ["reboot-turn-given"]);
}

#[test]
fn skipping_a_held_reboot_starts_the_guests_first() {
    let mut state = held_with_guests_down();
    apply(&mut state, &HostEvent::Resolved { guest: None, resolution: Resolution::Skip });
    assert_eq!((state.phase.name(), state.owed().len()), ("starting-guests", 1));
    apply(&mut state, &HostEvent::Ended { key: key(Step::StartGuests), outcome: Outcome::Done(Detail::GuestsStarted) });
    assert_eq!(state.phase, HostPhase::Done(HostVerdict::Skipped));
    assert!(state.owed().is_empty());
}

#[test]
fn a_node_is_rebooted_once_a_run_where_it_always_is() {
    let always = |pending| {
        let plan = plan(pending, vec![]);
        let upgrade = HostUpgrade { reboot: HostReboot::Always, ..plan.upgrade.clone() };
        HostPlan { upgrade, ..plan }
    };
    let at = |step, round| StepKey { round, ..key(step) };
    let ended = |step, round, detail| HostEvent::Ended { key: at(step, round), outcome: Outcome::Done(detail) };
    let verified = |round| ended(Step::Verify, round, Detail::Verified(verify_report(false)));
    let failed = HostEvent::Ended { key: at(Step::Verify, 2), outcome: Outcome::Failed(fault()) };
    let mut state = HostState::new(run(), policy());
    for event in [
        HostEvent::Begun,
        HostEvent::Planned { key: at(Step::Discover, 1), plan: Box::new(always(false)) },
        HostEvent::TurnGiven,
        verified(1),
        HostEvent::RebootTurnGiven,
        ended(Step::PrepareReboot, 1, Detail::RebootReady(ready(false))),
        ended(Step::RebootHost, 1, Detail::Rebooted(BootId::new("c"))),
        ended(Step::StartGuests, 1, Detail::GuestsStarted),
        failed,
        HostEvent::NewRound,
        HostEvent::Begun,
        HostEvent::Planned { key: at(Step::Discover, 2), plan: Box::new(always(false)) },
        HostEvent::TurnGiven,
        verified(3),
    ] {
        apply(&mut state, &event);
    }
    assert!(matches!(state.phase, HostPhase::Done(HostVerdict::Verified(_))), "{}", state.phase.name());
}

/// A host at its guests, with two of them and room for one.
fn at_its_guests() -> HostState {
    let second = GuestPlan { guest: GuestAddr { id: GuestId(102), ..guest_plan().guest }, ..guest_plan() };
    let mut state = HostState::new(run(), HostPolicy { max_parallel: 1, ..policy() });
    let planned =
        HostEvent::Planned { key: key(Step::Discover), plan: Box::new(plan(true, vec![guest_plan(), second])) };
    for event in [HostEvent::Begun, planned, HostEvent::TurnGiven] {
        apply(&mut state, &event);
    }
    state
}

fn of_guest(id: u32, step: Step, detail: Detail) -> HostEvent {
    let key = StepKey { target: Target::Guest(HostId::new("pve1"), GuestId(id)), ..key(step) };
    HostEvent::Ended { key, outcome: Outcome::Done(detail) }
}

#[test]
fn a_gate_that_is_shut_lets_what_has_begun_come_to_its_end() {
    let mut state = at_its_guests();
    let gate = Gate::Shut { why: ShutBecause::Paused };
    apply(&mut state, &HostEvent::Gated { gate });
    assert!(!state.is_parked(), "a snapshot is being made");
    apply(&mut state, &of_guest(101, Step::Snapshot, Detail::Protected(protection())));
    let names = |state: &HostState| state.guests.values().map(|guest| guest.phase.name()).collect::<Vec<_>>();
    assert_eq!((names(&state), state.is_parked()), (vec!["protected", "waiting"], true));
    assert_eq!(state.result(), HostResult::Unfinished);
    apply(&mut state, &HostEvent::Gated { gate: Gate::Open });
    assert!(!state.is_parked() && names(&state) != ["protected", "waiting"], "{:?}", names(&state));
}

#[test]
fn behind_a_gate_for_canaries_only_these_go_on_and_the_rest_is_planned_anew() {
    let mut state = HostState::new(run(), HostPolicy { max_parallel: 1, ..policy() });
    let second = GuestPlan { guest: GuestAddr { id: GuestId(102), ..guest_plan().guest }, ..guest_plan() };
    let planned =
        HostEvent::Planned { key: key(Step::Discover), plan: Box::new(plan(true, vec![guest_plan(), second])) };
    let gate = Gate::Canaries { guests: vec!["102".parse().unwrap()] };
    for event in [
        HostEvent::Gated { gate },
        HostEvent::Begun,
        planned,
        HostEvent::TurnGiven,
        of_guest(102, Step::Snapshot, Detail::Protected(protection())),
        of_guest(102, Step::MeasureGuest, Detail::Measured(Box::default())),
        of_guest(102, Step::UpgradeGuest, Detail::Upgraded),
        of_guest(102, Step::CheckGuest, Detail::Checked(check_report(false))),
    ] {
        apply(&mut state, &event);
    }
    assert!(state.is_parked() && state.turn.is_some(), "it keeps its cluster's turn");
    assert_eq!(state.guests[&GuestId(101)].phase.name(), "waiting");
    apply(&mut state, &HostEvent::Recheck);
    assert_eq!((state.phase.name(), state.is_parked()), ("rechecking", false));
    let again = StepKey { round: 2, target: Target::Guest(HostId::new("pve1"), GuestId(102)), ..key(Step::CheckGuest) };
    apply(&mut state, &HostEvent::Ended { key: again, outcome: Outcome::Done(Detail::Checked(check_report(false))) });
    assert_eq!(state.phase.name(), "upgrading-guests");
    apply(&mut state, &HostEvent::Gated { gate: Gate::Open });
    assert_eq!((state.phase.name(), state.turn.is_some()), ("pending", true));
}
