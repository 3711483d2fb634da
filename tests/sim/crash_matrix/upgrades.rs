//! Upgrades: in turns, by a saved plan, failed and tried again, slow, killed; and runs that are gone on with much later.

use std::time::Duration;

use proxmaint::ids::HostId;
use proxmaint::machine::host::{HostPhase, HostVerdict};
use proxmaint_lab::ledger::Act;

use super::{again_and_again, calm, crash_everywhere, every_point, once};
use crate::harness::{Plan, play};
use crate::picture::Difference;
use crate::scenario::{Scenario, power, reboots, upgrades};

#[test]
fn a_mixed_node() {
    let verdicts = [
        ("pve1", "verified"),
        ("pve1/101", "upgraded"),
        ("pve1/102", "upgraded"),
        ("pve1/103", "skipped: nothing pending"),
        ("pve1/104", "skipped: not running"),
        ("pve1/201", "upgraded"),
        ("pve1/202", "skipped: template"),
        ("pve1/203", "skipped: no way in"),
    ];
    crash_everywhere(&upgrades::mixed_node(), &verdicts, once);
}

#[test]
fn a_cluster_in_turns() {
    let verdicts = [("pve1", "verified"), ("pve2", "verified"), ("pve3", "verified"), ("solo/301", "upgraded")];
    crash_everywhere(&upgrades::cluster_in_turns(), &verdicts, once);
}

#[test]
fn an_upgrade_that_fails_gets_a_new_round() {
    let once_only = upgrades::upgrade_fails_once().sessions(1);
    calm(&once_only, &[("pve1", "verified"), ("pve1/101", "failed"), ("pve1/102", "upgraded")]);
    crash_everywhere(&upgrades::upgrade_fails_once(), &[("pve1", "verified"), ("pve1/101", "upgraded")], once);
}

#[test]
fn a_saved_plan_is_followed_wherever_the_run_was_killed() {
    let scenario = upgrades::by_saved_plan();
    let verdicts = [("pve1", "verified"), ("pve1/101", "upgraded"), ("pve1/103", "upgraded"), ("pve2", "blocked")];
    let calm = calm(&scenario, &verdicts);
    let why = calm.run.host(&HostId::new("pve2")).map(|state| &state.phase);
    let moved = "not as it was planned: CT 111: curl 8.1 -> 8.3 now, was planned 8.1 -> 8.2";
    assert_eq!(why, Some(&HostPhase::Done(HostVerdict::Blocked(moved.to_owned()))));
    let touched = |act| calm.world.ledger.count(act, "pve2") + calm.world.ledger.count(act, "111");
    assert_eq!((touched(Act::SnapshotCreate), touched(Act::Upgrade)), (0, 0));
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn a_saved_plan_holds_through_turns_reboots_and_new_rounds() {
    let reboots = [("pve1", "verified in kernel"), ("pve2", "verified in kernel"), ("pve3", "verified in kernel")];
    calm(&reboots::cluster_rebooted().by_saved_plan(), &reboots);
    calm(&upgrades::cluster_in_turns().by_saved_plan(), &[("pve1", "verified"), ("pve3", "verified")]);
    calm(&power::stopped_guests().by_saved_plan(), &[("pve1", "verified"), ("pve1/103", "upgraded")]);
    calm(&reboots::return_fails_once().by_saved_plan(), &[("pve1", "verified")]);
    calm(&upgrades::node_fails_twice().by_saved_plan(), &[("pve1", "verified")]);
    crash_everywhere(&reboots::node_rebooted().by_saved_plan(), &reboots[..1], once);
}

#[test]
fn an_upgrade_that_fails_twice_may_be_interrupted_the_third_time() {
    let scenario = upgrades::node_fails_twice();
    calm(&Scenario { sessions: 2, ..scenario.clone() }, &[("pve1", "failed")]);
    crash_everywhere(&scenario, &[("pve1", "verified")], once);
}

#[test]
fn an_upgrade_that_outlives_crash_after_crash() {
    crash_everywhere(&upgrades::long_upgrade(), &[("pve1/101", "upgraded")], again_and_again);
}

#[test]
fn a_killed_upgrade_in_order_gets_a_new_round() {
    crash_everywhere(&upgrades::killed_in_order(), &[("pve1/101", "upgraded")], once);
}

#[test]
fn a_crash_that_is_noticed_hours_later() {
    let scenario = upgrades::mixed_node();
    let calm = play(&scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    for crashes in every_point(&calm) {
        let plan = Plan { downtime: Duration::from_secs(3 * 3600), ..Plan::crashes(crashes) };
        let ended = play(&scenario, &plan).unwrap_or_else(|violation| panic!("{violation}"));
        let (before, after) = (calm.picture.clone().without_protections(), ended.picture.without_protections());
        assert!(before == after, "crashed at {:?}:\n{}", ended.crashed, Difference(&before, &after));
    }
}
