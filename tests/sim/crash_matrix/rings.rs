//! Who goes first, when a run halts, and what the operator says of hosts meanwhile.

use std::time::Duration;

use proxmaint::ids::{GuestId, HostId, Step};
use proxmaint::machine::order::Order;
use proxmaint_lab::ledger::Act;

use super::{calm, crash_everywhere, crash_everywhere_but_protections, every_point, once};
use crate::harness::{Plan, play};
use crate::picture::Difference;
use crate::scenario::rings;

const MINUTE: Duration = Duration::from_secs(60);

const WELL: [(&str, &str); 8] = [
    ("solo", "verified"),
    ("solo/301", "upgraded"),
    ("solo/302", "upgraded"),
    ("pve1", "verified"),
    ("pve1/101", "upgraded"),
    ("pve1/102", "upgraded"),
    ("pve2", "verified"),
    ("pve2/111", "upgraded"),
];

#[test]
fn canaries_go_first_and_are_left_alone() {
    let scenario = rings::canaries();
    let calm = calm(&scenario, &WELL);
    assert!(calm.world.now() >= 600_000, "nobody waited: {} ms", calm.world.now());
    let checks = |host: &str, guest: u32| {
        let state = calm.run.host(&HostId::new(host)).expect("it is in the run");
        state.steps.iter().filter(|s| s.guest == Some(GuestId(guest)) && s.step == Step::CheckGuest).count()
    };
    // One that was stopped again can't be looked into once more; what was no canary need not be.
    assert_eq!((checks("solo", 301), checks("solo", 302), checks("pve1", 101), checks("pve1", 102)), (2, 1, 2, 1));
    crash_everywhere(&scenario, &WELL, once);
}

#[test]
fn a_canary_that_fails_stops_the_run_and_is_tried_again() {
    let scenario = rings::canary_fails_once();
    let first = calm(&scenario.clone().sessions(1), &[("pve1/101", "failed"), ("pve2", "pending")]);
    let touched = |act| first.world.ledger.count(act, "102") + first.world.ledger.count(act, "111");
    assert_eq!((touched(Act::SnapshotCreate), touched(Act::Upgrade)), (0, 0));
    assert_eq!(first.picture.result, "Failed");
    crash_everywhere_but_protections(&scenario, &WELL);
}

#[test]
fn a_run_with_too_many_failures_stops() {
    let scenario = rings::too_many_failures();
    let verdicts = [("pve1/101", "failed"), ("pve1/102", "failed"), ("pve1/103", "protected"), ("pve2", "pending")];
    let first = calm(&scenario.clone().sessions(1), &verdicts);
    assert_eq!(first.world.ledger.count(Act::Upgrade, "pve1"), 0);
    let well = [("pve1", "verified"), ("pve1/103", "upgraded"), ("pve2", "verified"), ("pve2/111", "upgraded")];
    // Crashed, it is a new session that goes on, and counts anew: what ends when may differ, and not what is there in the end.
    let calm = calm(&scenario, &well);
    for crashes in every_point(&calm) {
        let ended = play(&scenario, &Plan::crashes(crashes)).unwrap_or_else(|violation| panic!("{violation}"));
        let (before, after) = (calm.picture.clone().without_protections(), ended.picture.without_protections());
        assert!(before.machines == after.machines, "crashed at {:?}:\n{}", ended.crashed, Difference(&before, &after));
    }
}

#[test]
fn hosts_are_paused_and_gone_on_with_at_any_time() {
    let scenario = rings::paused();
    let whole = play(&scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    let end = whole.world.now();
    for nth in 0..60 {
        let at = Duration::from_millis(end * nth / 60);
        let paused = scenario.clone().order(at, Order::Pause, "pve1").order(at + MINUTE, Order::Stop, "pve2");
        let paused = paused.order(at + 30 * MINUTE, Order::Continue, "pve1");
        let ended = play(&paused, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
        let (before, after) = (whole.picture.clone().without_protections(), ended.picture.without_protections());
        assert!(before == after, "paused at {at:?}:\n{}", Difference(&before, &after));
    }
}

#[test]
fn a_session_waits_for_a_paused_host_for_so_long_only() {
    let scenario = rings::paused().sessions(1).order(Duration::from_secs(20), Order::Pause, "pve1");
    let ended = play(&scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    let hours = ended.world.now() / 3_600_000;
    assert_eq!((hours, ended.picture.result.as_str()), (12, "Unfinished"));
}
