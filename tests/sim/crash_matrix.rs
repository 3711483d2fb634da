//! Every named scenario, crashed at every point.

use std::time::Duration;

use proxmaint::ids::{GuestId, HostId};
use proxmaint::machine::guest::{GuestPhase, GuestVerdict};
use proxmaint::machine::host::{HostPhase, HostVerdict};
use proxmaint_lab::ledger::Act;

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
fn guests_are_held_against_how_they_did_before() {
    let scenario = scenario::upgrades_break_things();
    let verdicts = [
        ("pve1", "verified"),
        ("pve1/101", "failed after a snapshot: nginx.service failed, and had not before"),
        ("pve1/102", "failed after a snapshot: the check `web` fails, and passed before: answers Some(500)"),
        ("pve1/103", "upgraded"),
        ("pve1/104", "upgraded"),
        ("pve1/105", "upgraded"),
        ("pve1/106", "failed after a snapshot: the check `mail` fails, and passed before: connection refused"),
        ("pve1/107", "blocked"),
    ];
    let calm = calm(&scenario, &verdicts);
    let ends =
        |name: &str, text: &str| assert!(calm.picture.verdicts[name].ends_with(text), "{:#?}", calm.picture.verdicts);
    ends("pve1/103", "; no longer listening: tcp 0.0.0.0:80; newly listening: tcp 0.0.0.0:8080");
    ends(
        "pve1/104",
        "; old.service had failed before already; the check `old.service` failed before already: ended with 3",
    );
    ends("pve1/105", "after a snapshot");
    assert_eq!(calm.world.ledger.count(Act::Upgrade, "107"), 0, "nobody would know whether it does as before");
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn a_saved_plan_is_followed_wherever_the_run_was_killed() {
    let scenario = scenario::by_saved_plan();
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
    calm(&scenario::cluster_rebooted().by_saved_plan(), &reboots);
    calm(&scenario::cluster_in_turns().by_saved_plan(), &[("pve1", "verified"), ("pve3", "verified")]);
    calm(&scenario::stopped_guests().by_saved_plan(), &[("pve1", "verified"), ("pve1/103", "upgraded")]);
    calm(&scenario::return_fails_once().by_saved_plan(), &[("pve1", "verified")]);
    calm(&scenario::node_fails_twice().by_saved_plan(), &[("pve1", "verified")]);
    crash_everywhere(&scenario::node_rebooted().by_saved_plan(), &reboots[..1], once);
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

/// Plays a scenario up to each point of its first session, and then gives back what is owed: every guest is as it was found, and
/// nothing else was begun.
fn restore_everywhere(scenario: &Scenario) {
    let calm = play(scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    for point in 1..=calm.points[0] {
        let ended =
            play(scenario, &Plan::restores_after(point)).unwrap_or_else(|violation| panic!("at {point}: {violation}"));
        let owed: Vec<String> = ended.run.hosts().flat_map(|state| state.owed()).map(|debt| debt.to_string()).collect();
        // Only an upgrade that is still at work in a guest that was started keeps it from being stopped.
        let upgrading = ended.run.hosts().flat_map(|state| state.guests.values()).any(|guest| {
            guest.borrowed.is_some() && matches!(&guest.phase, GuestPhase::Upgrading { .. } | GuestPhase::Held { .. })
        });
        assert!(owed.is_empty() || upgrading, "crashed at {:?}: still owed: {owed:?}", ended.crashed);
        for (realm, there) in &scenario.world.realms {
            for (vmid, before) in &there.guests {
                let now = &ended.world.realms[realm].guests[vmid];
                let as_found = now.power == before.power || upgrading;
                assert!(
                    as_found,
                    "crashed at {:?}: {vmid} was {:?} and is {:?}",
                    ended.crashed, before.power, now.power
                );
            }
        }
    }
}

#[test]
fn stopped_guests_are_started_upgraded_and_stopped() {
    let scenario = scenario::stopped_guests();
    let verdicts = [
        ("pve1", "verified"),
        ("pve1/101", "upgraded"),
        ("pve1/102", "skipped: nothing pending"),
        ("pve1/103", "upgraded"),
        ("pve1/201", "upgraded"),
    ];
    let calm = calm(&scenario, &verdicts);
    for vmid in [101, 102, 201] {
        assert!(!calm.world.guest_of("pve1", vmid).expect("it is there").running(), "{vmid} is off again");
    }
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn what_was_started_is_given_back_wherever_the_run_was_killed() {
    restore_everywhere(&scenario::stopped_guests());
}

#[test]
fn a_start_that_fails() {
    let verdicts = [("pve1", "verified"), ("pve1/101", "blocked"), ("pve1/102", "upgraded")];
    crash_everywhere(&scenario::start_fails(), &verdicts, once);
}

#[test]
fn a_stop_that_is_not_obeyed_is_owed() {
    let scenario = scenario::stop_not_obeyed();
    let first = calm(&scenario.clone().sessions(1), &[("pve1", "verified"), ("pve1/101", "upgraded")]);
    assert!(first.picture.verdicts["pve1 owes"].contains("CT 101 was started"), "{:#?}", first.picture.verdicts);
    assert_eq!(first.picture.result, "Failed");
    let calm = calm(&scenario, &[("pve1/101", "upgraded")]);
    assert!(!calm.picture.verdicts.contains_key("pve1 owes"), "the next run gave it back");
    crash_everywhere(&scenario, &[("pve1/101", "upgraded")], once);
}

#[test]
fn a_vm_is_rebooted_into_its_new_kernel() {
    let scenario = scenario::vm_rebooted();
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve1/201", "upgraded"), ("pve1/202", "upgraded")]);
    let rebooted = |vmid: &str| calm.picture.verdicts[&format!("pve1/{vmid}")].ends_with(", rebooted");
    assert_eq!((rebooted("201"), rebooted("202"), rebooted("203")), (true, false, true));
    assert_eq!(calm.world.guest_of("pve1", 201).expect("it is there").machine.kernel_running, "6.8.0-90-generic");
    crash_everywhere(&scenario, &[("pve1/201", "upgraded")], once);
}

#[test]
fn a_node_is_rebooted_and_its_guests_run_again() {
    let scenario = scenario::node_rebooted();
    let verdicts = [("pve1", "verified in kernel 6.17.4-1-pve"), ("pve1/101", "upgraded"), ("pve1/102", "skipped")];
    let calm = calm(&scenario, &verdicts);
    let up: Vec<bool> =
        [101, 102, 103, 201].map(|vmid| calm.world.guest_of("pve1", vmid).expect("it is there").running()).into();
    assert_eq!(up, [true, true, false, true]);
    crash_everywhere(&scenario, &verdicts, once);
    crash_everywhere(&scenario, &verdicts, again_and_again);
}

#[test]
fn what_was_shut_down_runs_again_wherever_the_run_was_killed() {
    restore_everywhere(&scenario::node_rebooted());
    restore_everywhere(&scenario::always_rebooted());
}

#[test]
fn a_node_that_is_always_rebooted() {
    crash_everywhere(&scenario::always_rebooted(), &[("pve1", "verified in kernel"), ("pve1/102", "upgraded")], once);
}

#[test]
fn a_cluster_is_rebooted_one_node_after_the_other() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel"), ("pve3", "verified in kernel")];
    crash_everywhere(&scenario::cluster_rebooted(), &verdicts, once);
}

#[test]
fn a_cluster_of_two_is_not_rebooted() {
    crash_everywhere(&scenario::two_nodes(), &[("pve1", "not rebooted"), ("pve2", "not rebooted")], once);
}

#[test]
fn a_cluster_of_two_is_rebooted_where_a_device_has_the_third_vote() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel")];
    crash_everywhere(&scenario::two_nodes_with_device(), &verdicts, once);
}

#[test]
fn a_cluster_of_two_is_rebooted_where_its_quorum_may_be_lost() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel")];
    crash_everywhere(&scenario::two_nodes_without_quorum(), &verdicts, once);
}

#[test]
fn a_guest_that_does_not_obey_keeps_its_node_up() {
    let scenario = scenario::stubborn_guest();
    let calm = calm(&scenario, &[("pve1", "held while awaiting-reboot"), ("pve1/101", "upgraded")]);
    assert_eq!(calm.world.ledger.count(proxmaint_lab::ledger::Act::Reboot, "pve1"), 0);
    crash_everywhere(&scenario, &[("pve1", "held while awaiting-reboot")], once);
}

#[test]
fn a_reboot_whose_answer_is_lost() {
    crash_everywhere(&scenario::reboot_answer_lost(), &[("pve1", "verified in kernel 6.17.4-1-pve")], once);
}

#[test]
fn a_node_that_takes_long() {
    crash_everywhere(&scenario::slow_node(), &[("pve1", "verified in kernel 6.17.4-1-pve")], once);
}

#[test]
fn a_guest_that_can_not_be_started_again_is_owed() {
    let scenario = scenario::return_fails_once();
    let first = calm(&scenario.clone().sessions(1), &[("pve1", "failed")]);
    assert!(first.picture.verdicts["pve1 owes"].contains("CT 102"), "{:#?}", first.picture.verdicts);
    let calm = calm(&scenario, &[("pve1", "verified")]);
    assert!(!calm.picture.verdicts.contains_key("pve1 owes"));
}

#[test]
fn one_node_of_the_fleet_is_rebooted_at_a_time() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel")];
    crash_everywhere(&scenario::two_reboots(), &verdicts, once);
}

#[test]
fn backups_of_an_earlier_run_are_removed() {
    let scenario = scenario::old_backups();
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve1/101", "upgraded")]);
    let left: Vec<u32> = calm.world.realms["pve1"].backups.iter().map(|backup| backup.vmid).collect();
    assert_eq!(left, [102, 201], "what bears another note or is protected stays");
    crash_everywhere(&scenario, &[("pve1", "verified")], once);
}

#[test]
fn guests_that_need_no_protection() {
    let verdicts = [("pve1/101", "upgraded"), ("pve1/102", "upgraded")];
    let calm = calm(&scenario::unprotected(), &verdicts);
    assert!(calm.picture.verdicts["pve1/101"].ends_with("after a waiver"));
    crash_everywhere(&scenario::unprotected(), &verdicts, once);
}

#[test]
fn a_lock_is_waited_for_and_never_taken_away() {
    let scenario = scenario::locked_guests();
    let verdicts = [("pve1/101", "upgraded"), ("pve1/102", "blocked")];
    let calm = calm(&scenario, &verdicts);
    assert_eq!(calm.world.guest_of("pve1", 102).expect("it is there").lock.as_deref(), Some("rollback"));
    let minutes = calm.world.now() / 60_000;
    assert_eq!(minutes, 10, "a lock that stands in the way of a snapshot is not waited for once more for a backup");
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn an_upgrade_that_went_wrong_is_undone_and_not_tried_again() {
    let scenario = scenario::upgrades_undone();
    let verdicts = [
        ("pve1", "verified"),
        ("pve1/101", "rolled back"),
        ("pve1/102", "upgraded"),
        ("pve1/103", "rolled back"),
        ("pve1/201", "rolled back"),
    ];
    let calm = calm(&scenario, &verdicts);
    assert_eq!(calm.picture.result, "Failed");
    assert!(calm.run.is_finished(), "another session would find nothing to do");
    for (vmid, runs) in [(101, true), (103, false), (201, true)] {
        let guest = calm.world.guest_of("pve1", vmid).expect("it is there");
        assert_eq!(guest.running(), runs, "{vmid} is as it was found");
        let pristine = scenario.world.guest_of("pve1", vmid).expect("it is there");
        assert_eq!(guest.machine.packages.installed, pristine.machine.packages.installed, "{vmid}");
        assert!(guest.machine.packages.half_configured.is_empty(), "{vmid}");
        let count = |act| calm.world.ledger.count(act, &vmid.to_string());
        assert_eq!((count(Act::Upgrade), count(Act::Rollback)), (1, 1), "{vmid}");
    }
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn what_was_rolled_back_runs_again_wherever_the_run_was_killed() {
    restore_everywhere(&scenario::upgrades_undone());
}

#[test]
fn a_rollback_in_doubt_is_looked_at() {
    let scenario = scenario::rollbacks_in_doubt();
    // Whether one is done whose task vanished can't be told: nobody has a trace of it but the task.
    let calm = calm(&scenario, &[("pve1/101", "rolled back"), ("pve1/102", "held"), ("pve1/201", "held")]);
    let rollbacks = |vmid: &str| calm.world.ledger.count(Act::Rollback, vmid);
    assert_eq!((rollbacks("101"), rollbacks("102"), rollbacks("201")), (1, 1, 1));
    crash_everywhere(&scenario, &[("pve1/101", "rolled back")], once);
}

#[test]
fn a_rollback_that_fails_is_told_with_both_reasons() {
    let scenario = scenario::rollbacks_fail().sessions(1);
    let calm =
        calm(&scenario, &[("pve1/101", "failed"), ("pve1/102", "rolled back, but rolled back, but not started again")]);
    let state = calm.run.host(&HostId::new("pve1")).expect("it is there");
    let GuestPhase::Settled(GuestVerdict::Failed { fault, .. }) = &state.guests[&GuestId(101)].phase else {
        panic!("not failed")
    };
    assert!(fault.what.contains("exit status 100") && fault.what.contains("dataset is busy"), "{fault:?}");
    assert!(calm.picture.verdicts["pve1 owes"].contains("CT 102 was stopped by its rollback"), "{:?}", calm.picture);
}

#[test]
fn who_could_not_be_rolled_back_is_not_upgraded() {
    let scenario = scenario::no_way_back();
    let verdicts = [("pve1/101", "blocked"), ("pve1/102", "blocked"), ("pve1/103", "upgraded")];
    let calm = calm(&scenario, &verdicts);
    assert_eq!(["101", "102"].map(|vmid| calm.world.ledger.count(Act::Upgrade, vmid)), [0, 0]);
    let state = calm.run.host(&HostId::new("pve1")).expect("it is there");
    let why = |id| match &state.guests[&GuestId(id)].phase {
        GuestPhase::Settled(GuestVerdict::Blocked(why)) => why.clone(),
        other => panic!("{id} is {}", other.name()),
    };
    assert!(why(101).contains("it is replicated (job 101-0)"), "{}", why(101));
    assert!(why(102).contains("newer snapshots on its ZFS: rpool/data/subvol-102-disk-0@autosnap"), "{}", why(102));
    crash_everywhere(&scenario, &verdicts, once);
}
