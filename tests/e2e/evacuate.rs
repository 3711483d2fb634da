//! A node is emptied for its reboot and filled again: by HA, live, and by a restart. What was borrowed for it is given back.

use proxmaint_lab::faults::{Fault, HaFault, TaskFault};
use proxmaint_lab::ledger::{Act, Entry};
use proxmaint_lab::world::{Asker, Durations, HA, World, WorldBuilder};
use serde_json::Value;

use crate::support::{Site, host, side_by_side};

/// Three nodes with a Ceph; on the first, which alone wants a reboot, a guest of each kind.
fn cluster() -> WorldBuilder {
    World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ceph("lab", 1)
        .node("pve1", |node| node.pending(4))
        .ct("pve1", 101, |ct| ct.on("ceph").pending(1))
        .ct("pve1", 102, |ct| ct.on("ceph"))
        .vm("pve1", 201, |vm| vm.on("ceph").memory_mib(4096))
        .ha("lab", [102])
}

fn site(world: WorldBuilder) -> Site {
    let site = Site::new(world.build());
    site.replace("[defaults]\n", "[defaults]\nhost_reboot = \"if-needed\"\nevacuate = \"migrate\"\n");
    site
}

/// The moves of a guest that this program asked for, as `from>to`.
fn moves(site: &Site, vmid: u32) -> Vec<String> {
    let by_us = |entry: &Entry| entry.act == Act::Migrate && entry.machine == vmid.to_string() && entry.by != HA;
    let line = |entry: Entry| format!("{}>{}", entry.node, entry.key.unwrap_or_default());
    site.changes().into_iter().filter(by_us).map(line).collect()
}

/// Every guest of the first node is there and runs; no mode or flag is left.
#[track_caller]
fn assert_all_given_back(site: &Site) {
    site.with(|world| {
        for vmid in [101, 102, 201] {
            let guest = world.guest_of("pve1", vmid);
            assert!(guest.is_some_and(|guest| guest.running() && guest.node == "pve1"), "{vmid}: {guest:#?}");
        }
        let realm = &world.realms["lab"];
        assert!(realm.maintenance.values().all(|mode| mode.ending), "{:?}", realm.maintenance);
        assert!(realm.ceph.as_ref().is_some_and(|ceph| ceph.flags.is_empty()));
    });
    let view = site.status(&[]);
    assert_eq!(host(&view, "pve1")["owed"], Value::Array(Vec::new()), "{view:#}");
}

#[test]
fn a_node_is_emptied_rebooted_and_filled_again() {
    let site = site(cluster());
    let shown = site.run(&["run", "--dry-run"]).expect(0);
    shown.says(&["pve1", "moved away for it and back: CT 102 by HA, VM 201 live to pve2", "CT 101 to", "noout is set"]);
    let done = site.run(&["run"]).expect(0);
    done.says(&["HA moves 1 guest away", "1 of 3 guests moved", "rebooting the node", "bringing VM 201 back"]);
    assert_eq!((moves(&site, 201).len(), moves(&site, 101).len(), moves(&site, 102).len()), (2, 2, 0));
    assert_eq!(moves(&site, 201)[1].split('>').next_back(), Some("pve1"), "{}", site.ledger_text());
    let order: Vec<Act> = site.changes().iter().map(|entry| entry.act).collect();
    let first = |act| order.iter().position(|one| *one == act).unwrap_or_else(|| panic!("{}", site.ledger_text()));
    let in_order =
        [Act::CephFlagSet, Act::MaintenanceOn, Act::Migrate, Act::Reboot, Act::MaintenanceOff, Act::CephFlagClear];
    assert!(in_order.map(first).is_sorted(), "{}", site.ledger_text());
    assert_eq!(site.count(Act::Shutdown, "*"), 0, "{}", site.ledger_text());
    assert_all_given_back(&site);
    site.assert_clean();
}

#[test]
fn what_somebody_else_set_is_used_and_left_alone() {
    let site = site(cluster());
    site.with(|world| {
        let now = world.now();
        world.ceph_flag(now, "pve2", "noout", true, &Asker::root()).expect("there is Ceph");
    });
    site.run(&["run"]).expect(0);
    assert_eq!(
        (site.count(Act::CephFlagSet, "*"), site.count(Act::CephFlagClear, "*")),
        (1, 0),
        "{}",
        site.ledger_text()
    );
    assert!(site.with(|world| world.realms["lab"].ceph.as_ref().is_some_and(|ceph| ceph.flags.contains("noout"))));
}

#[test]
fn guests_that_can_not_all_be_moved_keep_the_node_up() {
    side_by_side(&[
        ("own_snapshot", || {
            let site = site(
                World::builder().cluster("lab", ["pve1", "pve2", "pve3"]).node("pve1", |node| node.pending(4)).vm(
                    "pve1",
                    201,
                    |vm| vm.pending(1),
                ),
            );
            let why = "VM 201 would be protected by a snapshot on local storage local-zfs";
            site.run(&["run", "--dry-run"]).expect(0).says(&[
                "the node will not be rebooted",
                why,
                "protect = [\"backup\"]",
            ]);
            site.run(&["run"]).expect(3).says(&["not rebooted", "VM 201 has snapshots (pm-"]);
            assert_eq!((site.count(Act::Reboot, "pve1"), site.count(Act::Migrate, "*")), (0, 0));
            assert_eq!(site.count(Act::Upgrade, "201"), 1, "it is upgraded all the same");
        }),
        ("memory", || {
            let small = |world: WorldBuilder, name: &str| world.node(name, |node| node.memory_gib(8));
            let world = small(small(cluster(), "pve2"), "pve3").vm("pve1", 202, |vm| vm.on("ceph").memory_mib(12_288));
            let site = site(world);
            let why = "VM 202 (12.0 GiB of memory) has no node to go to: pve2: room for";
            site.run(&["run", "--dry-run"]).expect(0).says(&["the node will not be rebooted", why, "free memory"]);
            site.run(&["run"]).expect(3).says(&["not rebooted", why]);
            assert_eq!((site.count(Act::Reboot, "pve1"), site.count(Act::Migrate, "*")), (0, 0));
        }),
        ("a_device_of_the_node", || {
            let site = site(cluster().vm("pve1", 202, |vm| vm.on("ceph").pci_device()));
            site.run(&["doctor"]).says(&["will not be rebooted", "VM 202 is bound to its node by hostpci0"]);
            site.run(&["run"]).expect(3).says(&["not rebooted", "VM 202 is bound to its node by hostpci0"]);
            assert_eq!((site.count(Act::Reboot, "pve1"), site.count(Act::MaintenanceOn, "*")), (0, 0));
        }),
        ("ceph_is_not_well", || {
            let world = cluster().ceph_warning("lab", "POOL_NEARFULL", "1 pool(s) nearfull");
            let site = site(world);
            site.run(&["run", "--dry-run"]).expect(0).says(&["before Ceph is well: POOL_NEARFULL: 1 pool(s) nearfull"]);
        }),
    ]);
}

#[test]
fn a_move_that_fails_is_undone_with_everything_else() {
    let off = TaskFault::FailOff { text: "migration aborted".to_owned() };
    let site = site(cluster().fault(Fault::task("vzmigrate", 101, off)));
    site.run(&["run"]).expect(4).says(&["held", "CT 101: migration aborted"]);
    assert_eq!(site.count(Act::Reboot, "pve1"), 0, "{}", site.ledger_text());
    assert_eq!(moves(&site, 201).len(), 2, "there and back: {}", site.ledger_text());
    assert_all_given_back(&site);
    // It was one fault: the next run empties the node and reboots it.
    site.run(&["run"]).expect(0);
    assert_eq!(site.count(Act::Reboot, "pve1"), 1);
    assert_all_given_back(&site);
}

#[test]
fn a_run_that_was_killed_in_the_middle_goes_on_from_there() {
    let durations = Durations { migrate: 1_500, ..Durations::quick() };
    let site = site(cluster().durations(durations));
    let working = site.start(&["run"]);
    site.await_begun(Act::Migrate, "201");
    working.kill();
    let view = site.status(&[]);
    let owed = host(&view, "pve1")["owed"].clone();
    let kinds: Vec<&str> = owed.as_array().expect("a list").iter().filter_map(|debt| debt["owed"].as_str()).collect();
    assert_eq!(kinds, ["leave-maintenance", "return-guest", "return-guest", "clear-noout"], "{view:#}");
    site.run(&["run"]).expect(0);
    assert_eq!((moves(&site, 201).len(), moves(&site, 101).len()), (2, 2), "{}", site.ledger_text());
    assert_all_given_back(&site);
    site.assert_clean();
}

#[test]
fn what_is_owed_is_given_back_by_restore() {
    let durations = Durations { migrate: 1_500, ..Durations::quick() };
    let site = site(cluster().durations(durations));
    let working = site.start(&["run"]);
    site.await_begun(Act::Migrate, "201");
    working.kill();
    let run = site.run_name();
    site.run(&["restore", &run]).expect(0).says(&["VM 201 was moved to"]);
    assert_eq!(site.count(Act::Reboot, "pve1"), 0, "{}", site.ledger_text());
    assert_all_given_back(&site);
}

#[test]
fn ha_guests_that_stay_are_told_with_the_policy_that_governs_them() {
    let site = Site::new(cluster().build());
    let shown = site.run(&["run", "--dry-run", "--reboot"]).expect(0);
    shown.says(&[
        "managed by HA (shutdown_policy conditional), so stopped, and started again when the node is back: CT 102",
    ]);
}

#[test]
fn a_guest_that_ha_does_not_bring_back_is_owed_and_moved() {
    // HA is given half an hour before the guest is moved from here: what is shown is that it is owed meanwhile.
    let site = site(cluster().fault(Fault::ha("pve1", HaFault::NeverBack)));
    let working = site.start(&["run"]);
    site.until("maintenance to be over", |world| world.ledger.count(Act::MaintenanceOff, "pve1") == 1);
    working.kill();
    let view = site.status(&[]);
    let owed = host(&view, "pve1")["owed"].to_string();
    assert!(owed.contains("CT 102 was moved away by HA and is to come back to pve1"), "{view:#}");
}
