//! Gates: what goes on behind one, and what does not.

use proxmaint::ids::{BootId, GuestId, Step, StepKey};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::{GuestPhase, GuestVerdict};
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

#[test]
fn a_canary_that_is_looked_at_once_more_is_not_rebooted_and_not_blamed_for_wanting_it() {
    let check = |round, wants| {
        let key = StepKey { round, ..guest_key(101, Step::CheckGuest) };
        HostEvent::Ended { key, outcome: Outcome::Done(Detail::Checked(check_report(wants))) }
    };
    let first_look = |rebooted| match rebooted {
        false => vec![check(1, false)],
        true => {
            vec![check(1, true), of_guest(101, Step::RebootGuest, Detail::Rebooted(BootId::new("c"))), check(2, false)]
        }
    };
    for rebooted in [false, true] {
        let mut state = at_its_guests();
        apply(&mut state, &HostEvent::Gated { gate: Gate::Canaries { guests: vec!["101".parse().unwrap()] } });
        for event in [
            of_guest(101, Step::Snapshot, Detail::Protected(protection())),
            of_guest(101, Step::MeasureGuest, Detail::Measured(Box::default())),
            of_guest(101, Step::UpgradeGuest, Detail::Upgraded),
        ] {
            apply(&mut state, &event);
        }
        let looks = first_look(rebooted);
        let again = if rebooted { 3 } else { 2 };
        looks.iter().for_each(|event| apply(&mut state, event));
        apply(&mut state, &HostEvent::Recheck);
        apply(&mut state, &check(again, true));
        assert_eq!(state.phase.name(), "upgrading-guests", "nothing more is done there");
        let GuestPhase::Settled(GuestVerdict::Upgraded { reboot_wanted, rebooted: was, .. }) =
            &state.guests[&GuestId(101)].phase
        else {
            panic!("it is {:?}", state.guests[&GuestId(101)].phase)
        };
        assert_eq!((reboot_wanted.as_deref(), *was), (Some("kernel"), rebooted), "it is told");
    }
}
