//! The machine's transition tables: every (phase, event) pair is either listed as legal here or refused, and a refusal
//! names both sides and changes nothing.

mod gates;
mod guests;
mod hosts;
mod interrupted;
mod reboots;

use std::collections::BTreeSet;

use proxmaint::choices::{HostReboot, ViaChoice};
use proxmaint::ids::{
    BootId, ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName, Step, StepKey, Target,
};
use proxmaint::inventory::{Inside, OsFacts, PackageChange, PackageManager, Via};
use proxmaint::machine::effect::Mode;
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::{Attempt, GuestVerdict, Undo};
use proxmaint::machine::host::HostState;
use proxmaint::machine::outcome::{
    CheckReport, Detail, Fault, Outcome, Protection, RebootFacts, RunningGuest, VerifyReport,
};
use proxmaint::plan::{
    Baseline, Decision, GuestAddr, GuestPlan, GuestStart, GuestUpgrade, HostPlan, HostPolicy, HostUpgrade, Move,
    MoveHow, ProtectBy,
};
use proxmaint::time::Timestamp;

const NOW: Timestamp = Timestamp(1_000_000);

fn fault() -> Fault {
    Fault::permanent("it failed")
}

fn protection() -> Protection {
    Protection::Snapshot { name: SnapshotName::new("pm-x-r1"), at: NOW }
}

/// A rollback of an upgrade that failed, or of one that went well and is not liked.
fn undo(by_operator: bool) -> Undo {
    let before = match by_operator {
        true => GuestVerdict::Upgraded {
            changes: vec![change()],
            reboot_wanted: None,
            protection: protection(),
            rebooted: false,
            remarks: Default::default(),
        },
        false => GuestVerdict::Failed { fault: fault(), protection: protection(), held: true },
    };
    Undo { before, snapshot: SnapshotName::new("pm-x-r1"), at: NOW, by_operator, runs: true }
}

fn attempt(step: Step, mode: Mode) -> Attempt {
    Attempt { step, round: 1, mode }
}

fn change() -> PackageChange {
    PackageChange { name: "openssl".into(), old: Some("1".into()), new: Some("2".into()) }
}

fn guest_plan() -> GuestPlan {
    GuestPlan {
        guest: GuestAddr {
            node: NodeName::new("pve1"),
            kind: GuestKind::Ct,
            id: GuestId(101),
            identity: Some("x".into()),
        },
        name: "web".into(),
        decision: Decision::Upgrade(GuestUpgrade {
            via: Via::Pct,
            manager: PackageManager::Apt,
            pending: vec![change()],
            lists_refreshed: None,
            protection: vec![
                ProtectBy::Snapshot,
                ProtectBy::Backup { storage: "local".into(), how: Default::default() },
            ],
            not_covered: vec![],
            boot_id: BootId::new("b"),
            reboot: true,
            checks: Some(Vec::new()),
            rollback: false,
        }),
        tags: Vec::new(),
        pool: None,
        own: false,
    }
}

/// Two guests that are to be upgraded.
fn two_guests() -> Vec<GuestPlan> {
    let second = GuestPlan { guest: GuestAddr { id: GuestId(102), ..guest_plan().guest }, ..guest_plan() };
    vec![guest_plan(), second]
}

/// How a guest that does not run is upgraded.
fn start() -> GuestStart {
    GuestStart {
        via: ViaChoice::Auto,
        protection: vec![ProtectBy::Snapshot],
        not_covered: vec![],
        declared: false,
        reboot: false,
        checks: Some(Vec::new()),
        rollback: false,
    }
}

fn started_os() -> OsFacts {
    OsFacts {
        id: "debian".into(),
        id_like: vec![],
        pretty_name: "Debian".into(),
        manager: Some(PackageManager::Apt),
        pending: vec![change()],
        held: vec![],
        lists_refreshed: None,
        kernel: "6".into(),
        boot_id: BootId::new("b"),
        reboot_wanted: None,
        kernel_next: None,
        codename: None,
        unfit: None,
        leftovers: vec![],
        restart_needed: vec![],
    }
}

fn check_report(wants_reboot: bool) -> CheckReport {
    let reboot_wanted = wants_reboot.then(|| "kernel".to_owned());
    CheckReport { changes: vec![], reboot_wanted, boot_id: None, remarks: Default::default() }
}

fn verify_report(wants_reboot: bool) -> VerifyReport {
    let reboot_wanted = wants_reboot.then(|| "kernel".to_owned());
    VerifyReport { changes: vec![], reboot_wanted, rebooted: None, remarks: Default::default() }
}

fn ready(guests: bool) -> RebootFacts {
    let guest = RunningGuest { id: GuestId(101), kind: GuestKind::Ct, name: "web".into(), ha: false, identity: None };
    RebootFacts {
        boot_id: BootId::new("b"),
        kernel: "6.1".into(),
        expected: Some("6.2".into()),
        running: if guests { vec![guest] } else { vec![] },
        moves: vec![],
        maintenance: false,
        noout: false,
    }
}

/// How a node stands whose guests are moved away, one of them by HA, in a cluster with Ceph.
fn emptied() -> RebootFacts {
    let moved = |id, how| Move {
        id: GuestId(id),
        kind: GuestKind::Vm,
        name: "web".into(),
        identity: Some("x".into()),
        from: NodeName::new("pve1"),
        how,
    };
    let guest = |id, ha| RunningGuest { id: GuestId(id), kind: GuestKind::Vm, name: "web".into(), ha, identity: None };
    RebootFacts {
        running: vec![guest(101, false), guest(102, true)],
        moves: vec![
            moved(102, MoveHow::Ha),
            moved(101, MoveHow::Live { to: NodeName::new("pve2"), local_disks: false }),
        ],
        maintenance: true,
        noout: true,
        ..ready(false)
    }
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    vec![
        ("done:protected", Outcome::Done(Detail::Protected(protection()))),
        ("done:measured", Outcome::Done(Detail::Measured(Default::default()))),
        ("done:upgraded", Outcome::Done(Detail::Upgraded)),
        ("done:checked", Outcome::Done(Detail::Checked(check_report(false)))),
        ("done:checked+reboot", Outcome::Done(Detail::Checked(check_report(true)))),
        ("done:verified", Outcome::Done(Detail::Verified(verify_report(false)))),
        ("done:verified+reboot", Outcome::Done(Detail::Verified(verify_report(true)))),
        ("done:pruned", Outcome::Done(Detail::Pruned)),
        ("done:started", Outcome::Done(Detail::Started)),
        ("already:started", Outcome::AlreadyDone(Detail::Started)),
        ("done:looked", {
            let inside = Inside::Seen { via: Via::Pct, os: Box::new(started_os()) };
            Outcome::Done(Detail::Looked(Box::new(inside)))
        }),
        ("done:looked+closed", Outcome::Done(Detail::Looked(Box::new(Inside::NoWayIn("no".into()))))),
        ("done:stopped", Outcome::Done(Detail::Stopped)),
        ("already:stopped", Outcome::AlreadyDone(Detail::Stopped)),
        ("done:rolled-back", Outcome::Done(Detail::RolledBack)),
        ("done:rechecked", Outcome::Done(Detail::Rechecked)),
        ("done:rebooted", Outcome::Done(Detail::Rebooted(BootId::new("c")))),
        ("done:ready", Outcome::Done(Detail::RebootReady(ready(true)))),
        ("done:ready+none", Outcome::Done(Detail::RebootReady(ready(false)))),
        ("done:ready+emptied", Outcome::Done(Detail::RebootReady(emptied()))),
        ("done:noout", Outcome::Done(Detail::NooutSet)),
        ("already:noout", Outcome::AlreadyDone(Detail::NooutSet)),
        ("done:emptied", Outcome::Done(Detail::Emptied)),
        ("already:emptied", Outcome::AlreadyDone(Detail::Emptied)),
        ("done:moved", Outcome::Done(Detail::Moved)),
        ("done:left", Outcome::Done(Detail::MaintenanceLeft)),
        ("done:returned", Outcome::Done(Detail::Returned { left: None })),
        ("done:cleared", Outcome::Done(Detail::NooutCleared)),
        ("done:guests-stopped", Outcome::Done(Detail::GuestsStopped)),
        ("done:guests-started", Outcome::Done(Detail::GuestsStarted)),
        ("already:protected", Outcome::AlreadyDone(Detail::Protected(protection()))),
        ("already:upgraded", Outcome::AlreadyDone(Detail::Upgraded)),
        ("refused", Outcome::Refused(fault())),
        ("refused+transient", Outcome::Refused(Fault::transient("it is locked"))),
        ("failed", Outcome::Failed(fault())),
        ("unknown", Outcome::Unknown(fault())),
    ]
}

fn plan(pending: bool, guests: Vec<GuestPlan>) -> HostPlan {
    HostPlan {
        begun_elsewhere: Default::default(),
        node: NodeName::new("pve1"),
        ca: ClusterId::new("AA"),
        cluster: Some(ClusterId::new("AA")),
        refusal: None,
        facts_at: NOW,
        guests,
        prune: vec![],
        upgrade: HostUpgrade {
            manager: Some(PackageManager::Apt),
            pending: if pending { vec![change()] } else { vec![] },
            lists_refreshed: None,
            reboot_wanted: None,
            left_out: None,
            reboot: HostReboot::Never,
            votes: None,
            guests: None,
            noout: false,
        },
        baseline: Baseline { services: vec![], running: vec![], boot_id: BootId::new("b") },
        prune_backups: Vec::new(),
        findings: Vec::new(),
        own: None,
    }
}

fn run() -> RunId {
    RunId::new("20261122-000000-test")
}

fn policy() -> HostPolicy {
    HostPolicy {
        host: HostId::new("pve1"),
        node: None,
        max_parallel: 2,
        unmanaged: BTreeSet::new(),
        declared: BTreeSet::new(),
        protect_max_age_ms: 3_600_000,
        ..HostPolicy::new(proxmaint::ids::HostId::new("unused"))
    }
}

fn key(step: Step) -> StepKey {
    StepKey { run: run(), target: Target::Host(HostId::new("pve1")), step, round: 1 }
}

fn guest_key(id: u32, step: Step) -> StepKey {
    StepKey { target: Target::Guest(HostId::new("pve1"), GuestId(id)), ..key(step) }
}

/// The end of a guest's step that went well.
fn of_guest(id: u32, step: Step, detail: Detail) -> HostEvent {
    HostEvent::Ended { key: guest_key(id, step), outcome: Outcome::Done(detail) }
}

fn apply(state: &mut HostState, event: &HostEvent) {
    for effect in state.apply(event, NOW).unwrap() {
        state.intended(&effect.key, effect.mode, NOW);
    }
}
