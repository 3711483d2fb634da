//! Snapshots and backups: those that fail, that nobody needs any more, and locks that stand in their way.

use super::{calm, crash_everywhere, once};
use crate::scenario::protections;

#[test]
fn a_snapshot_that_fails() {
    let verdicts = [("pve1/101", "upgraded"), ("pve1/102", "upgraded")];
    let calm = calm(&protections::snapshot_fails(), &verdicts);
    assert!(calm.picture.verdicts["pve1/101"].ends_with("after a backup"));
    crash_everywhere(&protections::snapshot_fails(), &verdicts, once);
}

#[test]
fn a_backup_only_and_a_blocked_container() {
    crash_everywhere(&protections::backup_only(), &[("pve1/101", "blocked"), ("pve1/201", "upgraded")], once);
}

#[test]
fn an_answer_lost_after_a_snapshot_was_begun() {
    crash_everywhere(&protections::answer_lost(), &[("pve1/101", "upgraded"), ("pve1/201", "upgraded")], once);
}

#[test]
fn snapshots_of_an_earlier_run_are_removed() {
    let scenario = protections::old_snapshots();
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve1/101", "upgraded"), ("pve1/201", "skipped")]);
    let deleted = |vmid: &str| calm.world.ledger.count(proxmaint_lab::ledger::Act::SnapshotDelete, vmid);
    assert_eq!((deleted("101"), deleted("102"), deleted("201")), (1, 1, 1));
    let left = |vmid| calm.world.guest_of("pve1", vmid).expect("the guest is there").snapshots.len();
    assert_eq!((left(101), left(102), left(201)), (1, 1, 0), "a new one, one that could not be removed, none");
    crash_everywhere(&scenario, &[("pve1", "verified")], once);
}

#[test]
fn backups_of_an_earlier_run_are_removed() {
    let scenario = protections::old_backups();
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve1/101", "upgraded")]);
    let left: Vec<u32> = calm.world.realms["pve1"].backups.iter().map(|backup| backup.vmid).collect();
    assert_eq!(left, [102, 201], "what bears another note or is protected stays");
    crash_everywhere(&scenario, &[("pve1", "verified")], once);
}

#[test]
fn guests_that_need_no_protection() {
    let verdicts = [("pve1/101", "upgraded"), ("pve1/102", "upgraded")];
    let calm = calm(&protections::unprotected(), &verdicts);
    assert!(calm.picture.verdicts["pve1/101"].ends_with("after a waiver"));
    crash_everywhere(&protections::unprotected(), &verdicts, once);
}

#[test]
fn a_lock_is_waited_for_and_never_taken_away() {
    let scenario = protections::locked_guests();
    let verdicts = [("pve1/101", "upgraded"), ("pve1/102", "blocked")];
    let calm = calm(&scenario, &verdicts);
    assert_eq!(calm.world.guest_of("pve1", 102).expect("it is there").lock.as_deref(), Some("rollback"));
    let minutes = calm.world.now() / 60_000;
    assert_eq!(minutes, 10, "a lock that stands in the way of a snapshot is not waited for once more for a backup");
    crash_everywhere(&scenario, &verdicts, once);
}
