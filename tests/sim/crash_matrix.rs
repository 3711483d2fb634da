//! Every named scenario, crashed at every point.

use std::time::Duration;

use crate::harness::{Finished, NEVER, Plan, play};
use crate::picture::Difference;
use crate::scenario::{self, Scenario};

/// Plays a scenario without a crash, and makes sure that it came out as it should: `verdicts` are the beginnings of those of
/// the hosts and guests that are named.
fn calm(scenario: &Scenario, verdicts: &[(&str, &str)]) -> Finished {
    let calm = play(scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    for (name, verdict) in verdicts {
        let found =
            calm.picture.verdicts.get(*name).unwrap_or_else(|| panic!("no {name} in {:#?}", calm.picture.verdicts));
        assert!(found.starts_with(verdict), "{}: {name} is {found}, and not {verdict}", scenario.name);
    }
    assert!(calm.world.faults.unused().is_empty(), "{}: a fault never struck", scenario.name);
    calm
}

/// Returns the crashes that hit each point of each session of a calm run.
fn every_point(calm: &Finished) -> impl Iterator<Item = Vec<u64>> {
    let sessions = calm.points.iter().enumerate();
    sessions.flat_map(|(session, points)| {
        (1..=*points).map(move |point| {
            let mut crashes = vec![NEVER; session];
            crashes.push(point);
            crashes
        })
    })
}

/// Crashes a scenario at each point of its calm run; `further` says where the incarnations after that crash.
fn crash_everywhere(scenario: &Scenario, verdicts: &[(&str, &str)], further: impl Fn(u64) -> Vec<u64>) {
    let calm = calm(scenario, verdicts);
    for mut crashes in every_point(&calm) {
        crashes.extend(further(crashes.last().copied().unwrap_or_default()));
        let plan = Plan::crashes(crashes);
        let ended = play(scenario, &plan).unwrap_or_else(|violation| panic!("{violation}"));
        assert!(
            ended.picture == calm.picture,
            "{}, crashed at {:?} (plan {plan:?}), does not end as without a crash:\n{}",
            scenario.name,
            ended.crashed,
            Difference(&calm.picture, &ended.picture)
        );
    }
}

/// No more crashes.
fn once(_: u64) -> Vec<u64> {
    Vec::new()
}

/// Three more crashes, soon after each other: within the reading back, the probes, and what follows from them.
fn again_and_again(point: u64) -> Vec<u64> {
    vec![point * 7 % 13 + 1, point * 5 % 17 + 1, point * 3 % 11 + 1]
}

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
    crash_everywhere(&scenario::mixed_node(), &verdicts, once);
}

#[test]
fn a_cluster_in_turns() {
    let verdicts = [("pve1", "verified"), ("pve2", "verified"), ("pve3", "verified"), ("solo/301", "upgraded")];
    crash_everywhere(&scenario::cluster_in_turns(), &verdicts, once);
}

#[test]
fn a_snapshot_that_fails() {
    let verdicts = [("pve1/101", "upgraded"), ("pve1/102", "upgraded")];
    let calm = calm(&scenario::snapshot_fails(), &verdicts);
    assert!(calm.picture.verdicts["pve1/101"].ends_with("after a backup"));
    crash_everywhere(&scenario::snapshot_fails(), &verdicts, once);
}

#[test]
fn a_backup_only_and_a_blocked_container() {
    crash_everywhere(&scenario::backup_only(), &[("pve1/101", "blocked"), ("pve1/201", "upgraded")], once);
}

#[test]
fn an_upgrade_that_fails_gets_a_new_round() {
    let once_only = scenario::upgrade_fails_once().sessions(1);
    calm(&once_only, &[("pve1", "verified"), ("pve1/101", "failed"), ("pve1/102", "upgraded")]);
    crash_everywhere(&scenario::upgrade_fails_once(), &[("pve1", "verified"), ("pve1/101", "upgraded")], once);
}

#[test]
fn an_upgrade_that_fails_twice_may_be_interrupted_the_third_time() {
    let scenario = scenario::node_fails_twice();
    calm(&Scenario { sessions: 2, ..scenario.clone() }, &[("pve1", "failed")]);
    crash_everywhere(&scenario, &[("pve1", "verified")], once);
}

#[test]
fn an_upgrade_that_outlives_crash_after_crash() {
    crash_everywhere(&scenario::long_upgrade(), &[("pve1/101", "upgraded")], again_and_again);
}

#[test]
fn a_killed_upgrade_in_order_gets_a_new_round() {
    crash_everywhere(&scenario::killed_in_order(), &[("pve1/101", "upgraded")], once);
}

#[test]
fn a_killed_upgrade_in_disorder_is_held() {
    let verdicts =
        [("pve1", "upgrading-guests"), ("pve1/101", "held"), ("pve1/102", "upgraded"), ("pve2/103", "upgraded")];
    crash_everywhere(&scenario::killed_in_disorder(), &verdicts, once);
}

#[test]
fn an_answer_lost_after_a_snapshot_was_begun() {
    crash_everywhere(&scenario::answer_lost(), &[("pve1/101", "upgraded"), ("pve1/201", "upgraded")], once);
}

#[test]
fn snapshots_of_an_earlier_run_are_removed() {
    let scenario = scenario::old_snapshots();
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve1/101", "upgraded"), ("pve1/201", "skipped")]);
    let deleted = |vmid: &str| calm.world.ledger.count(proxmaint_lab::ledger::Act::SnapshotDelete, vmid);
    assert_eq!((deleted("101"), deleted("102"), deleted("201")), (1, 1, 1));
    let left = |vmid| calm.world.guest_of("pve1", vmid).expect("the guest is there").snapshots.len();
    assert_eq!((left(101), left(102), left(201)), (1, 1, 0), "a new one, one that could not be removed, none");
    crash_everywhere(&scenario, &[("pve1", "verified")], once);
}

#[test]
fn a_crash_that_is_noticed_hours_later() {
    let scenario = scenario::mixed_node();
    let calm = play(&scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    for crashes in every_point(&calm) {
        let plan = Plan { downtime: Duration::from_secs(3 * 3600), ..Plan::crashes(crashes) };
        let ended = play(&scenario, &plan).unwrap_or_else(|violation| panic!("{violation}"));
        let (before, after) = (calm.picture.clone().without_protections(), ended.picture.without_protections());
        assert!(before == after, "crashed at {:?}:\n{}", ended.crashed, Difference(&before, &after));
    }
}
