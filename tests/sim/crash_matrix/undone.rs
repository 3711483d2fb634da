//! Upgrades that broke something: what is held for the operator, and what is rolled back.

use proxmaint::ids::{GuestId, HostId};
use proxmaint::machine::guest::{GuestPhase, GuestVerdict};
use proxmaint_lab::ledger::Act;

use super::{calm, crash_everywhere, once, restore_everywhere};
use crate::scenario::undone;

#[test]
fn a_guest_that_is_broken_is_held_and_not_upgraded_again() {
    let verdicts = [("pve1", "verified"), ("pve1/101", "held after a snapshot"), ("pve1/102", "upgraded")];
    let scenario = undone::upgrade_breaks();
    let calm = calm(&scenario, &verdicts);
    assert!(calm.run.is_finished(), "it waits for the operator, and keeps nobody from the next run");
    assert_eq!(calm.picture.result, "Failed");
    let count = |vmid| calm.world.ledger.count(Act::Upgrade, vmid);
    assert_eq!((count("101"), count("102")), (1, 2));
    crash_everywhere(&scenario, &verdicts, once);
}

#[test]
fn guests_are_held_against_how_they_did_before() {
    let scenario = undone::upgrades_break_things();
    let verdicts = [
        ("pve1", "verified"),
        ("pve1/101", "held after a snapshot: nginx.service failed, and had not before"),
        ("pve1/102", "held after a snapshot: the check `web` fails, and passed before: answers Some(500)"),
        ("pve1/103", "upgraded"),
        ("pve1/104", "upgraded"),
        ("pve1/105", "upgraded"),
        ("pve1/106", "held after a snapshot: the check `mail` fails, and passed before: connection refused"),
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
fn a_killed_upgrade_in_disorder_is_held() {
    let verdicts =
        [("pve1", "upgrading-guests"), ("pve1/101", "held"), ("pve1/102", "upgraded"), ("pve2/103", "upgraded")];
    crash_everywhere(&undone::killed_in_disorder(), &verdicts, once);
}

#[test]
fn an_upgrade_that_went_wrong_is_undone_and_not_tried_again() {
    let scenario = undone::upgrades_undone();
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
    restore_everywhere(&undone::upgrades_undone());
}

#[test]
fn a_rollback_in_doubt_is_looked_at() {
    let scenario = undone::rollbacks_in_doubt();
    // Whether one is done whose task vanished can't be told: nobody has a trace of it but the task.
    let calm = calm(&scenario, &[("pve1/101", "rolled back"), ("pve1/102", "held"), ("pve1/201", "held")]);
    let rollbacks = |vmid: &str| calm.world.ledger.count(Act::Rollback, vmid);
    assert_eq!((rollbacks("101"), rollbacks("102"), rollbacks("201")), (1, 1, 1));
    crash_everywhere(&scenario, &[("pve1/101", "rolled back")], once);
}

#[test]
fn a_rollback_that_fails_is_told_with_both_reasons() {
    let scenario = undone::rollbacks_fail().sessions(1);
    let calm =
        calm(&scenario, &[("pve1/101", "held"), ("pve1/102", "rolled back, but rolled back, but not started again")]);
    let state = calm.run.host(&HostId::new("pve1")).expect("it is there");
    let GuestPhase::Settled(GuestVerdict::Failed { fault, .. }) = &state.guests[&GuestId(101)].phase else {
        panic!("not failed")
    };
    assert!(fault.what.contains("exit status 100") && fault.what.contains("dataset is busy"), "{fault:?}");
    assert!(calm.picture.verdicts["pve1 owes"].contains("CT 102 was stopped by its rollback"), "{:?}", calm.picture);
}

#[test]
fn who_could_not_be_rolled_back_is_not_upgraded() {
    let scenario = undone::no_way_back();
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
