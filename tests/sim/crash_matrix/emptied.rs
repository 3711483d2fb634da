//! Nodes that are emptied before their reboot: by HA and by moves, with Ceph told of it.

use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::HA;

use super::{again_and_again, calm, crash_everywhere, once, restore_everywhere};
use crate::harness::Finished;
use crate::scenario::emptied;

/// Counts the moves of a guest that were begun by this run, and not by HA.
fn moves(ended: &Finished, vmid: &str) -> usize {
    ended.world.ledger.of(Act::Migrate, vmid).filter(|entry| entry.by != HA).count()
}

#[test]
fn a_node_is_emptied_rebooted_and_filled_again() {
    let scenario = emptied::evacuated();
    let verdicts = [
        ("pve1", "verified in kernel"),
        ("pve1/101", "upgraded"),
        ("pve2", "verified in kernel"),
        ("pve3", "verified in kernel"),
    ];
    let calm = calm(&scenario, &verdicts);
    assert_eq!(
        (moves(&calm, "101"), moves(&calm, "102"), moves(&calm, "201")),
        (2, 0, 2),
        "there and back, HA its own"
    );
    let count = |act| calm.world.ledger.count(act, "*");
    assert_eq!((count(Act::MaintenanceOn), count(Act::MaintenanceOff)), (1, 1));
    assert_eq!((count(Act::CephFlagSet), count(Act::CephFlagClear)), (3, 3), "each node by itself");
    assert_eq!(calm.world.ledger.count(Act::Shutdown, "*"), 0, "nothing is shut down but to be moved");
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn an_evacuation_that_is_crashed_again_and_again() {
    crash_everywhere(&emptied::evacuated(), &[("pve1", "verified in kernel")], again_and_again);
}

#[test]
fn what_an_evacuation_borrowed_is_given_back_wherever_the_run_was_killed() {
    restore_everywhere(&emptied::evacuated());
}

#[test]
fn disks_move_with_their_guests() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel"), ("pve3", "verified in kernel")];
    let scenario = emptied::evacuated_with_disks();
    let calm = calm(&scenario, &verdicts);
    assert_eq!((moves(&calm, "101"), moves(&calm, "201"), moves(&calm, "102")), (2, 2, 2));
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn the_flag_of_ceph_is_cleared_only_where_it_was_set_here() {
    let verdicts = [("pve1", "verified in kernel"), ("pve2", "verified in kernel"), ("pve3", "verified in kernel")];
    let ours = calm(&emptied::noout(false), &verdicts);
    let count = |ended: &Finished, act| ended.world.ledger.count(act, "*");
    assert_eq!((count(&ours, Act::CephFlagSet), count(&ours, Act::CephFlagClear)), (3, 3));
    crash_everywhere(&emptied::noout(false), &verdicts, once);
    let theirs = calm(&emptied::noout(true), &verdicts);
    assert_eq!((count(&theirs, Act::CephFlagSet), count(&theirs, Act::CephFlagClear)), (1, 0), "theirs alone");
    crash_everywhere(&emptied::noout(true), &verdicts, once);
}

#[test]
fn a_drain_that_never_ends_is_undone() {
    let scenario = emptied::drain_never_ends();
    let calm = calm(&scenario, &[("pve1", "held while awaiting-reboot")]);
    let count = |act| calm.world.ledger.count(act, "*");
    assert_eq!((count(Act::MaintenanceOn), count(Act::MaintenanceOff), count(Act::Reboot)), (1, 1, 0));
    assert_eq!((moves(&calm, "101"), moves(&calm, "201")), (0, 0), "HA comes first");
    crash_everywhere(&scenario, &[("pve1", "held while awaiting-reboot")], once);
}

#[test]
fn a_move_that_fails_is_undone_with_all_others() {
    let scenario = emptied::move_fails();
    let calm = calm(&scenario, &[("pve1", "held while awaiting-reboot")]);
    assert_eq!(calm.world.ledger.count(Act::Reboot, "pve1"), 0);
    assert_eq!(moves(&calm, "201"), 2, "the largest went first, and came back");
    let guest = calm.world.guest_of("pve1", 101).expect("it is there");
    assert!(guest.running() && guest.node == "pve1", "what the move had left off runs again where it was");
    crash_everywhere(&scenario, &[], once);
}

#[test]
fn answers_of_an_evacuation_that_are_lost() {
    let verdicts = [("pve1", "verified in kernel"), ("pve3", "verified in kernel")];
    crash_everywhere(&emptied::move_answer_lost(), &verdicts, once);
}

#[test]
fn a_guest_that_ha_does_not_bring_back_is_brought_back() {
    let scenario = emptied::never_back();
    let calm = calm(&scenario, &[("pve1", "verified in kernel")]);
    assert_eq!(calm.world.ledger.count(Act::HaMigrate, "102"), 1);
    crash_everywhere(&scenario, &[("pve1", "verified in kernel")], once);
}

#[test]
fn one_debt_that_is_not_paid_keeps_no_other_from_it() {
    let scenario = emptied::return_of_a_move_fails();
    let first = calm(&scenario.clone().sessions(1), &[("pve1", "failed")]);
    let owes = &first.picture.verdicts["pve1 owes"];
    assert!(owes.starts_with("VM 201 was moved to") && !owes.contains(';'), "only that: {owes}");
    assert_eq!(first.world.ledger.count(Act::Reboot, "pve2"), 0, "the turn is kept");
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve2", "verified in kernel")]);
    assert!(!calm.picture.verdicts.contains_key("pve1 owes"));
}
