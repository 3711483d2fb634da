//! Snapshots and backups: those that fail, that nobody needs any more, and locks that stand in their way.

use proxmaint::choices::{ProtectChoice, Stopped};
use proxmaint_lab::faults::{Fault, RequestFault, TaskFault};
use proxmaint_lab::world::{Asker, BackupOrder, World};

use super::Scenario;

/// A guest whose snapshots fail, so that it is backed up instead.
pub fn snapshot_fails() -> Scenario {
    let full = TaskFault::Fail { text: "zfs error: out of space".to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2))
        .ct("pve1", 102, |ct| ct.pending(1))
        .fault(Fault::task("vzsnapshot", 101, full).times(0));
    Scenario::new("a snapshot that fails", world).parallel(1, 2)
}

/// A VM that can only be backed up, and a container that can't be protected at all.
pub fn backup_only() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(1))
        .vm("pve1", 201, |vm| vm.no_snapshots().pending(2))
        .ct("pve1", 101, |ct| ct.no_snapshots().pending(2));
    Scenario::new("a backup only", world).parallel(1, 2)
}

/// The answer to a snapshot's creation is lost.
pub fn answer_lost() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2))
        .vm("pve1", 201, |vm| vm.pending(1))
        .fault(Fault::request("POST", "/nodes/*/lxc/101/snapshot", RequestFault::Lost))
        .fault(Fault::request("POST", "/nodes/*/qemu/201/snapshot", RequestFault::Lost));
    Scenario::new("a lost answer", world).parallel(1, 2)
}

/// Guests with snapshots of an earlier run, one of which can't be removed.
pub fn old_snapshots() -> Scenario {
    let busy = TaskFault::Fail { text: "can't delete snapshot: dataset is busy".to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct)
        .vm("pve1", 201, |vm| vm)
        .fault(Fault::task("vzdelsnapshot", 102, busy).times(0));
    let scenario = Scenario::new("old snapshots", world).parallel(1, 2);
    scenario.old_snapshot("pve1", 101).old_snapshot("pve1", 102).old_snapshot("pve1", 201)
}

/// Backups of an earlier run: one is removed, one bears another note, one is protected.
pub fn old_backups() -> Scenario {
    let world = World::builder().standalone("pve1").ct("pve1", 101, |ct| ct.pending(1)).ct("pve1", 102, |ct| ct).vm(
        "pve1",
        201,
        |vm| vm,
    );
    let scenario = Scenario::new("old backups", world).parallel(1, 2);
    scenario
        .old_archive("pve1", 101, true, false)
        .old_archive("pve1", 102, false, false)
        .old_archive("pve1", 201, true, true)
}

/// Guests that need no protection.
pub fn unprotected() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1).no_snapshots())
        .ct("pve1", 102, |ct| ct.pending(1).stopped())
        .ct("pve1", 103, |ct| ct.pending(1))
        .ct("pve1", 104, |ct| ct.pending(1));
    Scenario::new("no protection", world).wants(|policy| {
        policy.guests.protect = vec![ProtectChoice::None];
        policy.guests.stopped = Stopped::Start;
    })
}

/// A guest that the operator's own backup locks for two minutes, and one whose lock stays.
pub fn locked_guests() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1).locked("rollback"));
    Scenario::new("locked guests", world).parallel(1, 2).with(|world| {
        world.durations.backup = 120_000;
        let order = BackupOrder {
            vmids: vec![101],
            storage: "local".to_owned(),
            mode: "snapshot".to_owned(),
            compress: None,
            notes: Some("the operator's own".to_owned()),
            protected: false,
            remove: false,
            lock_wait_min: 1,
            line: "101".to_owned(),
        };
        world.back_up(0, "pve1", order, &Asker::root());
    })
}
