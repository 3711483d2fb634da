//! The host's table of pairs.

use std::collections::BTreeSet;

use proxmaint::choices::HostReboot;
use proxmaint::ids::{BootId, GuestId, SnapshotName, Step, StepKey, Upid};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::{GuestPhase, Resolution};
use proxmaint::machine::host::{Gate, HostPhase, HostState, HostVerdict, ShutBecause};
use proxmaint::machine::outcome::{Detail, Outcome, Probed};
use proxmaint::plan::{HostPlan, HostUpgrade, OldSnapshot};

use super::{
    NOW, check_report, emptied, fault, guest_key, guest_plan, key, of_guest, outcomes, plan, policy, protection, ready,
    run, start, two_guests, verify_report,
};

fn canaries() -> Gate {
    Gate::Canaries { guests: vec!["101".parse().expect("a selector")] }
}

fn shut() -> Gate {
    Gate::Shut { why: ShutBecause::Paused }
}

/// A host in each of its phases, reached by events alone.
pub(super) fn hosts() -> Vec<(&'static str, HostState)> {
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
    let shut = HostEvent::Gated { gate: shut() };
    let pruning = {
        let old = OldSnapshot { guest: guest_plan().guest, name: SnapshotName::new("pm-old-r1") };
        let plan = Box::new(HostPlan { prune: vec![old], ..plan(true, vec![]) });
        [HostEvent::Begun, HostEvent::Planned { key: key(Step::Discover), plan }, HostEvent::TurnGiven]
    };
    let upgraded = |id| {
        [
            of_guest(id, Step::Snapshot, Detail::Protected(protection())),
            of_guest(id, Step::MeasureGuest, Detail::Measured(Box::default())),
            of_guest(id, Step::UpgradeGuest, Detail::Upgraded),
            of_guest(id, Step::CheckGuest, Detail::Checked(check_report(false))),
        ]
    };
    let two = [HostEvent::Begun, planned(true, two_guests()), HostEvent::TurnGiven];
    let protected = [
        of_guest(101, Step::Snapshot, Detail::Protected(protection())),
        of_guest(102, Step::Snapshot, Detail::Protected(protection())),
    ];
    // The first of two guests is a canary and was upgraded; the second one waits.
    let soaking = [&[HostEvent::Gated { gate: canaries() }], two.as_slice(), &upgraded(101)].concat();
    let canary = [HostEvent::Begun, planned(false, vec![guest_plan()]), HostEvent::TurnGiven];
    let verified = ended(Step::Verify, Outcome::Done(Detail::Verified(verify_report(false))));
    let whole = [canary.as_slice(), &upgraded(101), &[verified, HostEvent::Recheck]].concat();
    vec![
        ("pruning", after(&pruning)),
        ("pruning/probe", in_doubt(&pruning, Step::PruneSnapshot, &[])),
        ("upgrading-guests", after(&[two.as_slice(), &protected].concat())),
        ("upgrading-guests/canaries", after(&soaking)),
        ("upgrading-guests/shut", after(&[two.as_slice(), std::slice::from_ref(&shut), &protected].concat())),
        ("rechecking", after(&[soaking.as_slice(), &[HostEvent::Recheck]].concat())),
        ("rechecking/verified", after(&whole)),
        ("preparing-reboot/shut", after(&[given.as_slice(), std::slice::from_ref(&shut)].concat())),
        ("stopping-guests/shut", after(&[stopping.as_slice(), &[shut]].concat())),
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
        ("gated/open".to_owned(), HostEvent::Gated { gate: Gate::Open }),
        ("gated/canaries".to_owned(), HostEvent::Gated { gate: canaries() }),
        ("gated/shut".to_owned(), HostEvent::Gated { gate: shut() }),
        ("recheck".to_owned(), HostEvent::Recheck),
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
        Step::PruneSnapshot,
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
    // How the first guest does when it is looked at once more.
    for (name, outcome) in outcomes() {
        let key = StepKey { round: 2, ..guest_key(101, Step::CheckGuest) };
        events.push((format!("ended/check-guest-again/{name}"), HostEvent::Ended { key, outcome }));
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
    let mut reached = BTreeSet::new();
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
                    let gate = match &state.gate {
                        Gate::Open => "",
                        Gate::Canaries { .. } => " (for canaries)",
                        Gate::Shut { .. } => " (shut)",
                    };
                    reached.insert(state.phase.name());
                    legal.push_str(&format!(
                        "{from:<22} {event_name:<42} -> {}{owed}{turn}{gate} [{}]\n",
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
    let known: BTreeSet<&str> = hosts().iter().map(|(_, state)| state.phase.name()).collect();
    let unknown: Vec<&&str> = reached.difference(&known).collect();
    assert!(unknown.is_empty(), "phases that no row begins with: {unknown:?}");
    insta::assert_snapshot!(legal);
}
