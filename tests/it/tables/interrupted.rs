//! A step that is cut off again and again.

use proxmaint::ids::{Step, StepKey};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::host::HostState;
use proxmaint::machine::outcome::{Outcome, Probed};

use super::{NOW, fault, key, plan, policy, run};

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
