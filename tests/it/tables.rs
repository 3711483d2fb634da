//! The machine's transition tables: every (phase, event) pair is either listed as legal here or refused, and a refusal
//! names both sides and changes nothing.

use std::collections::BTreeSet;

use proxmaint::ids::{
    BootId, ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName, Step, StepKey, Target, Upid,
};
use proxmaint::inventory::{PackageChange, PackageManager, Via};
use proxmaint::machine::Rounds;
use proxmaint::machine::effect::Mode;
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::{Attempt, GuestInput, GuestPhase, GuestState, GuestVerdict, Resolution};
use proxmaint::machine::host::{HostPhase, HostState, HostVerdict};
use proxmaint::machine::outcome::{CheckReport, Detail, Fault, Outcome, Probed, Protection, VerifyReport};
use proxmaint::plan::{
    Baseline, Decision, GuestAddr, GuestPlan, GuestUpgrade, HostPlan, HostPolicy, HostUpgrade, ProtectBy, SkipReason,
};
use proxmaint::time::Timestamp;

const NOW: Timestamp = Timestamp(1_000_000);

fn fault() -> Fault {
    Fault::permanent("it failed")
}

fn protection() -> Protection {
    Protection::Snapshot { name: SnapshotName::new("pm-x-r1"), at: NOW }
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
            reboot: false,
        }),
        tags: Vec::new(),
        pool: None,
        own: false,
    }
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
    }
    phases.push((
        "checking".to_owned(),
        GuestPhase::Checking {
            protection: protection(),
            attempt: attempt(Step::CheckGuest, Mode::Act),
            rebooted: false,
        },
    ));
    for (name, at) in [
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
        ("failed", GuestVerdict::Failed { fault: fault(), protection: protection() }),
    ] {
        phases.push((format!("settled/{name}"), GuestPhase::Settled(verdict)));
    }
    phases
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    vec![
        ("done:protected", Outcome::Done(Detail::Protected(protection()))),
        ("done:upgraded", Outcome::Done(Detail::Upgraded)),
        (
            "done:checked",
            Outcome::Done(Detail::Checked(CheckReport {
                changes: vec![],
                reboot_wanted: None,
                boot_id: None,
                remarks: Default::default(),
            })),
        ),
        (
            "done:verified",
            Outcome::Done(Detail::Verified(VerifyReport {
                changes: vec![],
                reboot_wanted: None,
                rebooted: None,
                remarks: Default::default(),
            })),
        ),
        ("already:protected", Outcome::AlreadyDone(Detail::Protected(protection()))),
        ("already:upgraded", Outcome::AlreadyDone(Detail::Upgraded)),
        ("refused", Outcome::Refused(fault())),
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
        other => match other.attempt() {
            Some(attempt) => {
                format!("{} {} r{} {:?}", other.name(), attempt.step, attempt.round, attempt.mode).to_lowercase()
            }
            None => other.name().to_owned(),
        },
    }
}

#[test]
fn every_pair_of_the_guest_table() {
    let mut legal = String::new();
    let mut refused = 0;
    for (from, phase) in guest_phases() {
        for (input_name, input) in guest_inputs() {
            let mut rounds = Rounds::default();
            if let Some(attempt) = phase.attempt() {
                rounds.note(attempt);
            }
            let mut state = GuestState { plan: guest_plan(), phase: phase.clone(), rounds, borrowed: None };
            match state.apply(input.clone()) {
                Ok(()) => legal.push_str(&format!("{from:<20} {input_name:<30} -> {}\n", name(&state.phase))),
                Err(illegal) => {
                    refused += 1;
                    assert_eq!(state.phase, phase, "a refused input changed the state");
                    assert_eq!((illegal.phase, illegal.event), (phase.name(), input.name()));
                }
            }
        }
    }
    assert_eq!(refused + legal.lines().count(), guest_phases().len() * guest_inputs().len());
    insta::assert_snapshot!(legal);
}

fn plan(pending: bool, guests: Vec<GuestPlan>) -> HostPlan {
    HostPlan {
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
            reboot: proxmaint::choices::HostReboot::Never,
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
    vec![
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
                ended(
                    Step::Verify,
                    Outcome::Done(Detail::Verified(VerifyReport {
                        changes: vec![],
                        reboot_wanted: None,
                        rebooted: None,
                        remarks: Default::default(),
                    })),
                ),
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
        ("resumed".to_owned(), HostEvent::Resumed),
        ("policy-changed".to_owned(), HostEvent::PolicyChanged { policy: policy() }),
        ("new-round".to_owned(), HostEvent::NewRound),
    ];
    for (word, resolution) in [("retry", Resolution::Retry), ("done", Resolution::Done), ("skip", Resolution::Skip)] {
        events.push((format!("resolved/{word}"), HostEvent::Resolved { guest: None, resolution }));
        events.push((
            format!("resolved/unknown-guest/{word}"),
            HostEvent::Resolved { guest: Some(GuestId(999)), resolution },
        ));
    }
    for step in [Step::Discover, Step::UpgradeHost, Step::Verify] {
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
                    legal.push_str(&format!(
                        "{from:<20} {event_name:<36} -> {} [{}]\n",
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
