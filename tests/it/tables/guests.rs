//! The guest's table of pairs.

use proxmaint::ids::{SnapshotName, Step};
use proxmaint::machine::Rounds;
use proxmaint::machine::effect::Mode;
use proxmaint::machine::guest::{AfterStop, GuestInput, GuestPhase, GuestState, GuestVerdict, Resolution};
use proxmaint::machine::outcome::Probed;
use proxmaint::plan::{Decision, SkipReason};

use super::{NOW, attempt, check_report, fault, guest_plan, outcomes, protection, start, undo};

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
            again: false,
        },
    ));
    phases.push((
        "checking".to_owned(),
        GuestPhase::Checking {
            protection: protection(),
            attempt: attempt(Step::CheckGuest, Mode::Act),
            rebooted: false,
            again: false,
        },
    ));
    for (name, rebooted) in [("checking/again", false), ("checking/again/rebooted", true)] {
        let attempt = attempt(Step::CheckGuest, Mode::Act);
        phases
            .push((name.to_owned(), GuestPhase::Checking { protection: protection(), attempt, rebooted, again: true }));
    }
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
        ("recheck".to_owned(), GuestInput::Recheck),
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
