//! Guests that are started to be upgraded, stopped again, or rebooted.

use super::{calm, crash_everywhere, once, restore_everywhere};
use crate::scenario::power;

#[test]
fn stopped_guests_are_started_upgraded_and_stopped() {
    let scenario = power::stopped_guests();
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
    restore_everywhere(&power::stopped_guests());
}

#[test]
fn a_start_that_fails() {
    let verdicts = [("pve1", "verified"), ("pve1/101", "blocked"), ("pve1/102", "upgraded")];
    crash_everywhere(&power::start_fails(), &verdicts, once);
}

#[test]
fn a_stop_that_is_not_obeyed_is_owed() {
    let scenario = power::stop_not_obeyed();
    let first = calm(&scenario.clone().sessions(1), &[("pve1", "verified"), ("pve1/101", "upgraded")]);
    assert!(first.picture.verdicts["pve1 owes"].contains("CT 101 was started"), "{:#?}", first.picture.verdicts);
    assert_eq!(first.picture.result, "Failed");
    let calm = calm(&scenario, &[("pve1/101", "upgraded")]);
    assert!(!calm.picture.verdicts.contains_key("pve1 owes"), "the next run gave it back");
    crash_everywhere(&scenario, &[("pve1/101", "upgraded")], once);
}

#[test]
fn a_vm_is_rebooted_into_its_new_kernel() {
    let scenario = power::vm_rebooted();
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve1/201", "upgraded"), ("pve1/202", "upgraded")]);
    let rebooted = |vmid: &str| calm.picture.verdicts[&format!("pve1/{vmid}")].ends_with(", rebooted");
    assert_eq!((rebooted("201"), rebooted("202"), rebooted("203")), (true, false, true));
    assert_eq!(calm.world.guest_of("pve1", 201).expect("it is there").machine.kernel_running, "6.8.0-90-generic");
    crash_everywhere(&scenario, &[("pve1/201", "upgraded")], once);
}
