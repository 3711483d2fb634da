//! Nodes that are rebooted, and their guests with them.

use super::{again_and_again, calm, crash_everywhere, once, restore_everywhere};
use crate::scenario::reboots;

#[test]
fn a_node_is_rebooted_and_its_guests_run_again() {
    let scenario = reboots::node_rebooted();
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
    restore_everywhere(&reboots::node_rebooted());
    restore_everywhere(&reboots::always_rebooted());
}

#[test]
fn a_node_that_is_always_rebooted() {
    crash_everywhere(&reboots::always_rebooted(), &[("pve1", "verified in kernel"), ("pve1/102", "upgraded")], once);
}

#[test]
fn a_cluster_is_rebooted_one_node_after_the_other() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel"), ("pve3", "verified in kernel")];
    crash_everywhere(&reboots::cluster_rebooted(), &verdicts, once);
}

#[test]
fn a_cluster_of_two_is_not_rebooted() {
    crash_everywhere(&reboots::two_nodes(), &[("pve1", "not rebooted"), ("pve2", "not rebooted")], once);
}

#[test]
fn a_cluster_of_two_is_rebooted_where_a_device_has_the_third_vote() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel")];
    crash_everywhere(&reboots::two_nodes_with_device(), &verdicts, once);
}

#[test]
fn a_cluster_of_two_is_rebooted_where_its_quorum_may_be_lost() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel")];
    crash_everywhere(&reboots::two_nodes_without_quorum(), &verdicts, once);
}

#[test]
fn a_guest_that_does_not_obey_keeps_its_node_up() {
    let scenario = reboots::stubborn_guest();
    let calm = calm(&scenario, &[("pve1", "held while awaiting-reboot"), ("pve1/101", "upgraded")]);
    assert_eq!(calm.world.ledger.count(proxmaint_lab::ledger::Act::Reboot, "pve1"), 0);
    crash_everywhere(&scenario, &[("pve1", "held while awaiting-reboot")], once);
}

#[test]
fn a_reboot_whose_answer_is_lost() {
    crash_everywhere(&reboots::reboot_answer_lost(), &[("pve1", "verified in kernel 6.17.4-1-pve")], once);
}

#[test]
fn a_node_that_takes_long() {
    crash_everywhere(&reboots::slow_node(), &[("pve1", "verified in kernel 6.17.4-1-pve")], once);
}

#[test]
fn a_guest_that_can_not_be_started_again_is_owed() {
    let scenario = reboots::return_fails_once();
    let first = calm(&scenario.clone().sessions(1), &[("pve1", "failed")]);
    assert!(first.picture.verdicts["pve1 owes"].contains("CT 102"), "{:#?}", first.picture.verdicts);
    let calm = calm(&scenario, &[("pve1", "verified")]);
    assert!(!calm.picture.verdicts.contains_key("pve1 owes"));
}

#[test]
fn one_node_of_the_fleet_is_rebooted_at_a_time() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel")];
    crash_everywhere(&reboots::two_reboots(), &verdicts, once);
}
