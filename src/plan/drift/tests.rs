use super::*;
use crate::ids::{BootId, ClusterId, NodeName, SnapshotName};
use crate::inventory::{PackageManager, Via};
use crate::plan::{BackupHow, Baseline, GuestAddr, GuestStart, GuestUpgrade, OldSnapshot, OwnPlace};
use crate::time::Timestamp;

fn change(name: &str, old: &str, new: &str) -> PackageChange {
    PackageChange { name: name.to_owned(), old: Some(old.to_owned()), new: Some(new.to_owned()) }
}

fn address(id: u32) -> GuestAddr {
    let identity = Some(format!("identity of {id}"));
    GuestAddr { node: NodeName::new("pve1"), kind: GuestKind::Ct, id: GuestId(id), identity }
}

fn upgraded(id: u32, pending: &[PackageChange]) -> GuestPlan {
    let decision = Decision::Upgrade(GuestUpgrade {
        via: Via::Pct,
        manager: PackageManager::Apt,
        pending: pending.to_vec(),
        lists_refreshed: None,
        protection: vec![
            ProtectBy::Snapshot,
            ProtectBy::Backup { storage: "local".to_owned(), how: BackupHow::default() },
        ],
        not_covered: Vec::new(),
        boot_id: BootId::new("boot"),
        reboot: false,
        rollback: false,
        checks: Some(Vec::new()),
    });
    guest(id, decision)
}

fn guest(id: u32, decision: Decision) -> GuestPlan {
    GuestPlan { guest: address(id), name: String::new(), tags: Vec::new(), pool: None, decision, own: false }
}

fn started(id: u32) -> GuestPlan {
    let start = GuestStart {
        via: crate::choices::ViaChoice::Auto,
        protection: vec![ProtectBy::Snapshot],
        not_covered: Vec::new(),
        declared: false,
        reboot: false,
        rollback: false,
        checks: Some(Vec::new()),
    };
    guest(id, Decision::Start(start))
}

/// A node with something pending, CT 101 that is upgraded, CT 102 with nothing pending, CT 103 that is started.
fn saved() -> HostPlan {
    HostPlan {
        node: NodeName::new("pve1"),
        ca: ClusterId::new("AA"),
        cluster: None,
        refusal: None,
        facts_at: Timestamp(0),
        guests: vec![
            upgraded(101, &[change("curl", "8.1", "8.2"), change("vim", "9", "10")]),
            guest(102, Decision::Skip(SkipReason::NothingPending)),
            started(103),
        ],
        prune: Vec::new(),
        prune_backups: Vec::new(),
        findings: Vec::new(),
        own: None,
        upgrade: HostUpgrade {
            manager: Some(PackageManager::Apt),
            pending: vec![change("pve-manager", "9.1", "9.2")],
            lists_refreshed: None,
            reboot_wanted: None,
            left_out: None,
            reboot: HostReboot::IfNeeded,
            votes: None,
        },
        baseline: Baseline {
            services: vec!["pveproxy".to_owned()],
            running: vec![(GuestId(101), GuestKind::Ct), (GuestId(102), GuestKind::Ct)],
            boot_id: BootId::new("boot"),
        },
    }
}

fn upgrade_of(plan: &mut HostPlan) -> &mut GuestUpgrade {
    match &mut plan.guests[0].decision {
        Decision::Upgrade(upgrade) => upgrade,
        other => panic!("not upgraded: {other:?}"),
    }
}

/// The differences after a change, of a run that has not begun here.
fn after(change: impl FnOnce(&mut HostPlan)) -> Vec<String> {
    after_with(&Progress::default(), change)
}

fn after_with(progress: &Progress, change: impl FnOnce(&mut HostPlan)) -> Vec<String> {
    let mut fresh = saved();
    change(&mut fresh);
    drift(&saved(), &fresh, progress)
}

#[test]
fn what_does_the_same_is_no_drift() {
    let differences = after(|plan| {
        plan.facts_at = Timestamp(9);
        plan.baseline.services.clear();
        plan.baseline.boot_id = BootId::new("another");
        plan.guests[0].name = "web".to_owned();
        plan.guests[1].decision = Decision::Skip(SkipReason::Stopped);
        let upgrade = upgrade_of(plan);
        upgrade.pending.reverse();
        upgrade.boot_id = BootId::new("another");
        upgrade.protection[1] = ProtectBy::Backup { storage: "nfs".to_owned(), how: BackupHow::default() };
    });
    assert_eq!(differences, [""; 0]);
    let ssh = |address: &str| Via::Ssh { address: address.to_owned() };
    let (mut before, mut now) = (saved(), saved());
    upgrade_of(&mut before).via = ssh("192.0.2.1");
    upgrade_of(&mut now).via = ssh("192.0.2.2");
    assert_eq!(drift(&before, &now, &Progress::default()), [""; 0], "the guest proves itself under any address");
}

#[test]
fn every_package_counts_with_its_versions() {
    let differences = after(|plan| {
        upgrade_of(plan).pending = vec![change("curl", "8.1", "8.3"), change("zsh", "5", "6")];
        plan.upgrade.pending.push(PackageChange { name: "new".to_owned(), old: None, new: Some("1".to_owned()) });
    });
    assert_eq!(
        differences,
        [
            "CT 101: curl 8.1 -> 8.3 now, was planned 8.1 -> 8.2",
            "CT 101: zsh 5 -> 6 was not planned",
            "CT 101: vim 9 -> 10 is not pending any more",
            "the node: new (new) 1 was not planned",
        ]
    );
}

#[test]
fn guests_come_go_and_are_others() {
    let differences = after(|plan| {
        plan.guests[0].guest.identity = Some("another".to_owned());
        plan.guests.remove(1);
        plan.guests.push(guest(203, Decision::Skip(SkipReason::Template)));
    });
    assert_eq!(differences, ["CT 101 is another guest now", "CT 102 is gone", "CT 203 is new"]);
}

#[test]
fn what_happens_to_a_guest_and_how_counts() {
    let one = |change: &dyn Fn(&mut GuestUpgrade)| after(|plan| change(upgrade_of(plan))).join("; ");
    assert_eq!(one(&|upgrade| upgrade.via = Via::Agent), "CT 101: the way in is agent now, was planned pct");
    assert_eq!(
        one(&|upgrade| upgrade.manager = PackageManager::Dnf),
        "CT 101: its package manager is dnf now, was apt"
    );
    assert_eq!(
        one(&|upgrade| drop(upgrade.protection.remove(0))),
        "CT 101: protected by backup to local now, was planned snapshot, backup to local"
    );
    assert_eq!(
        one(&|upgrade| upgrade.not_covered.push("mp0".to_owned())),
        "CT 101: a protection does not cover mp0 now, was planned nothing"
    );
    assert!(one(&|upgrade| upgrade.reboot = true).starts_with("CT 101: is rebooted now"));
    let decided = |decision: Decision| after(|plan| plan.guests[1].decision = decision.clone()).join("; ");
    assert_eq!(
        decided(Decision::Block("no way".to_owned())),
        "CT 102: blocked (no way) now, was planned to be left alone (nothing pending)"
    );
    let upgrade = upgraded(102, &[]).decision;
    assert_eq!(decided(upgrade), "CT 102: upgraded now, was planned to be left alone (nothing pending)");
    let runs = after(|plan| plan.guests[2] = upgraded(103, &[]));
    assert_eq!(runs, ["CT 103: upgraded now, was planned to be started, upgraded and stopped"]);
}

#[test]
fn a_reboot_rests_on_its_need_and_on_what_runs() {
    let differences = after(|plan| {
        plan.upgrade.reboot_wanted = Some("a new kernel".to_owned());
        plan.own = Some(OwnPlace::Node);
        plan.baseline.running[0] = (GuestId(104), GuestKind::Vm);
    });
    assert_eq!(
        differences,
        [
            "the node: it wants a reboot now (a new kernel), did not when it was planned",
            "the node: proxmaint runs on this node now, was planned where proxmaint runs elsewhere",
            "the node: VM 104 runs now, did not when it was planned",
            "the node: CT 101 does not run now, did when it was planned",
        ]
    );
    let (mut before, mut now) = (saved(), saved());
    (before.upgrade.reboot, now.upgrade.reboot) = (HostReboot::Never, HostReboot::Never);
    now.upgrade.reboot_wanted = Some("a new kernel".to_owned());
    now.baseline.running.clear();
    assert_eq!(drift(&before, &now, &Progress::default()), [""; 0], "nobody reboots it");
    assert_eq!(
        drift(&saved(), &before, &Progress::default()),
        ["the node: the reboot is never now, was planned if-needed"]
    );
}

#[test]
fn another_machine_is_all_that_is_said_of_it() {
    let differences = after(|plan| (plan.node, plan.guests) = (NodeName::new("pve9"), Vec::new()));
    assert_eq!(differences, ["this is node pve9 (AA), planned was pve1 (AA)"]);
    let clustered = after(|plan| plan.cluster = Some(ClusterId::new("AA")));
    assert_eq!(clustered, ["its cluster is AA now, was none"]);
}

#[test]
fn what_the_run_did_itself_is_no_drift() {
    let done = Progress { node: true, begun: [GuestId(101), GuestId(103)].into(), over: [GuestId(103)].into() };
    let differences = after_with(&done, |plan| {
        // Half of it is done; it got as far as unpacking the other half.
        upgrade_of(plan).pending = vec![change("curl", "8.1.1", "8.2")];
        plan.guests[2].decision = Decision::Skip(SkipReason::Stopped);
        plan.upgrade.pending.clear();
        plan.upgrade.reboot_wanted = Some("a new kernel".to_owned());
        plan.baseline.running.clear();
    });
    assert_eq!(differences, [""; 0]);
    let all_done = after_with(&done, |plan| plan.guests[0].decision = Decision::Skip(SkipReason::NothingPending));
    assert_eq!(all_done, [""; 0]);
    let more = after_with(&done, |plan| upgrade_of(plan).pending = vec![change("curl", "8.1", "8.3")]);
    assert_eq!(more, ["CT 101: curl 8.1 -> 8.3 now, was planned 8.1 -> 8.2"]);
    let other = after_with(&done, |plan| plan.guests[2].guest.identity = None);
    assert_eq!(other, ["CT 103 is another guest now"], "a guest that is over is still the one that was planned");
}

#[test]
fn a_host_is_refused_as_a_whole_and_a_refusal_of_its_own_stays() {
    let none = Progress::default();
    let held = |fresh: HostPlan| hold_to(&saved(), fresh, &none).refusal;
    assert_eq!(held(saved()), None);
    let mut fresh = saved();
    fresh.guests.remove(1);
    assert_eq!(held(fresh.clone()).as_deref(), Some("not as it was planned: CT 102 is gone"));
    fresh.refusal = Some("no quorum".to_owned());
    assert_eq!(held(fresh.clone()).as_deref(), Some("no quorum"));
    let refused = hold_to(&fresh, saved(), &none).refusal;
    assert_eq!(
        refused.as_deref(),
        Some("not as it was planned: it was planned to leave the host alone (no quorum)"),
        "nothing is done that the plan does not say"
    );
    let mut crowd = saved();
    crowd.guests.extend((500..540).map(|id| guest(id, Decision::Skip(SkipReason::Stopped))));
    assert!(held(crowd).is_some_and(|why| why.ends_with("CT 529 is new; and 10 more differences")));
}

#[test]
fn only_what_the_plan_names_is_removed() {
    let old = |name: &str| OldSnapshot { guest: address(101), name: SnapshotName::new(name) };
    let (mut before, mut now) = (saved(), saved());
    before.prune = vec![old("pm-a-r1"), old("pm-b-r1")];
    now.prune = vec![old("pm-b-r1"), old("pm-c-r1")];
    let plan = hold_to(&before, now, &Progress::default());
    assert_eq!((plan.prune, plan.refusal), (vec![old("pm-b-r1")], None));
}
