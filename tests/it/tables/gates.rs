//! Gates: what goes on behind one, and what does not.

use proxmaint::ids::{GuestId, Step, StepKey};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::host::{Gate, HostResult, HostState, ShutBecause};
use proxmaint::machine::outcome::{Detail, Outcome};
use proxmaint::plan::HostPolicy;

use super::{apply, check_report, guest_key, key, of_guest, plan, policy, protection, run, two_guests};

/// A host at its guests, with two of them and room for one.
fn at_its_guests() -> HostState {
    let mut state = HostState::new(run(), HostPolicy { max_parallel: 1, ..policy() });
    let planned = HostEvent::Planned { key: key(Step::Discover), plan: Box::new(plan(true, two_guests())) };
    for event in [HostEvent::Begun, planned, HostEvent::TurnGiven] {
        apply(&mut state, &event);
    }
    state
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
    let planned = HostEvent::Planned { key: key(Step::Discover), plan: Box::new(plan(true, two_guests())) };
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
    let again = StepKey { round: 2, ..guest_key(102, Step::CheckGuest) };
    apply(&mut state, &HostEvent::Ended { key: again, outcome: Outcome::Done(Detail::Checked(check_report(false))) });
    assert_eq!(state.phase.name(), "upgrading-guests");
    apply(&mut state, &HostEvent::Gated { gate: Gate::Open });
    assert_eq!((state.phase.name(), state.turn.is_some()), ("pending", true));
}
