//! Reboots that are held, given back, and not made twice.

use proxmaint::choices::HostReboot;
use proxmaint::ids::{BootId, Step, StepKey};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::Resolution;
use proxmaint::machine::host::{HostPhase, HostState, HostVerdict};
use proxmaint::machine::outcome::{Detail, Outcome};
use proxmaint::machine::run::RunState;
use proxmaint::plan::{HostPlan, HostUpgrade, RunPolicy};

use super::hosts::hosts;
use super::{NOW, apply, fault, key, plan, policy, ready, run, verify_report};

/// A host whose guests were shut down for its reboot, and whose shutdown is held; every intent is durable.
fn held_with_guests_down() -> HostState {
    hosts().into_iter().find(|(name, _)| *name == "held/stopping").expect("it is in the table").1
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
