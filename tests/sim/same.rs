//! That the simulation is deterministic: what is played again is the same, to the millisecond. A test that fails now and then, and
//! passes when it is played again, would be worth nothing.

use crate::harness::{Plan, play};
use crate::scenario::{self, Scenario};

/// Everything that anybody could have seen: what the world was asked for and when, what crashed where, and what was left.
fn told(scenario: &Scenario, plan: &Plan) -> String {
    let ended = play(scenario, plan).unwrap_or_else(|violation| panic!("{violation}"));
    let ledger: String = ended.world.ledger.entries().iter().map(|entry| format!("{entry}\n")).collect();
    format!("{ledger}points {:?}, crashed at {:?}\n{:#?}", ended.points, ended.crashed, ended.picture.verdicts)
}

#[test]
fn what_is_played_again_is_the_same() {
    let scenarios = [
        scenario::emptied::evacuated(),
        scenario::emptied::noout(false),
        scenario::rings::canaries(),
        scenario::upgrades::by_saved_plan(),
        scenario::upgrades::cluster_in_turns(),
    ];
    for scenario in &scenarios {
        for plan in [Plan::calm(), Plan::crashes([56]), Plan::crashes([20, 7, 31])] {
            let first = told(scenario, &plan);
            for _ in 0..3 {
                let again = told(scenario, &plan);
                let differs = first.lines().zip(again.lines()).find(|(before, now)| before != now);
                assert!(first == again, "{}, {plan:?}: another time: {differs:?}", scenario.name);
            }
        }
    }
}
