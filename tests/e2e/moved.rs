//! Guests that somebody moves to another node of their cluster, while a run is interrupted and between runs.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Asker, Durations, MachineId, Os, World, WorldBuilder};

use crate::support::{Site, guest, side_by_side};

#[test]
fn guests_that_moved() {
    side_by_side(&[
        ("the_upgrade_of_a_vm_goes_on_where_it_was_moved_to", the_upgrade_of_a_vm_goes_on_where_it_was_moved_to),
        ("a_snapshot_is_found_and_the_rest_is_planned_afresh", a_snapshot_is_found_and_the_rest_is_planned_afresh),
        ("a_container_on_a_node_without_known_ssh_is_held", a_container_on_a_node_without_known_ssh_is_held),
        ("a_vmid_that_is_another_guest_now_is_held", a_vmid_that_is_another_guest_now_is_held),
        ("old_snapshots_are_removed_where_their_guest_is_now", old_snapshots_are_removed_where_their_guest_is_now),
        ("a_rollback_by_hand_follows_its_guest", a_rollback_by_hand_follows_its_guest),
        ("a_rollback_to_a_node_without_known_ssh_is_refused", a_rollback_to_a_node_without_known_ssh_is_refused),
    ]);
}

fn id(vmid: u32) -> MachineId {
    MachineId::guest("lab", vmid)
}

fn cluster() -> WorldBuilder {
    World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .disks("lab", "shared", "rbd")
        .node("pve1", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.on("shared").pending(2))
        .vm("pve1", 201, |vm| vm.on("shared").os(Os::Ubuntu2404).pending(1))
}

/// Moves a guest as soon as nothing works on it.
fn moved(site: &Site, vmid: u32, to: &str) {
    site.until("nothing works on the guest", |world| world.guest(&id(vmid)).is_some_and(|guest| guest.lock.is_none()));
    site.lab()
        .with(|world, now| world.migrate_guest(now, &id(vmid), to, true, &Asker::root()))
        .expect("it may be moved");
    site.until("the guest was moved", |world| {
        world.guest(&id(vmid)).is_some_and(|guest| guest.node == to && guest.lock.is_none())
    });
}

/// Takes the entry of a node out of the manifest.
fn forget(site: &Site, node: &str) {
    let from_name = format!("name = \"{node}\"");
    site.edit(|text| {
        let entries: Vec<&str> = text.split("\n[[hosts]]\n").collect();
        let kept: Vec<&str> = entries.into_iter().filter(|entry| !entry.starts_with(&from_name)).collect();
        kept.join("\n[[hosts]]\n")
    });
}

fn killed_during(site: &Site, act: Act, machine: &str) {
    let working = site.start(&["run"]);
    site.await_begun(act, machine);
    working.kill();
}

fn the_upgrade_of_a_vm_goes_on_where_it_was_moved_to() {
    let site = Site::new(cluster().fault(Fault::upgrade("201", UpgradeFault::Slow { ms: 3_000 })).build());
    killed_during(&site, Act::Upgrade, "201");
    moved(&site, 201, "pve2");
    site.run(&["run"]).expect(0);
    assert_eq!(guest(&site.status(&[]), "pve1", 201)["state"], "upgraded");
    assert_eq!(site.count(Act::Upgrade, "201"), 1, "{}", site.ledger_text());
    site.assert_clean();
}

fn a_snapshot_is_found_and_the_rest_is_planned_afresh() {
    let durations = Durations { snapshot: 1_500, ..Durations::quick() };
    let site = Site::new(cluster().durations(durations).build());
    killed_during(&site, Act::SnapshotCreate, "101");
    moved(&site, 101, "pve2");
    // What was planned for pve1 is not begun elsewhere.
    site.run(&["run"]).expect(3).says(&["CT 101 is on node pve2 now"]);
    let view = site.status(&[]);
    assert_eq!(guest(&view, "pve1", 101)["state"], "blocked", "{view:#}");
    assert_eq!(guest(&view, "pve1", 101)["kept"][0]["kind"], "snapshot", "the first one was found: {view:#}");
    assert_eq!(guest(&view, "pve2", 101)["state"], "upgraded", "{view:#}");
    // The new plan has a protection of its own, under a name of its own; the upgrade was done once.
    assert_eq!(site.done(Act::SnapshotCreate, "101"), 2, "{}", site.ledger_text());
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
    assert_eq!((site.behind(&id(101)), site.behind(&id(201))), (0, 0));
}

fn a_container_on_a_node_without_known_ssh_is_held() {
    let site = Site::new(cluster().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 })).build());
    let manifest = std::fs::read_to_string(&site.manifest.path).expect("the manifest");
    forget(&site, "pve3");
    killed_during(&site, Act::Upgrade, "101");
    site.until("the upgrade is over", |world| {
        world.machine(&id(101)).is_some_and(|machine| machine.packages.running.is_none())
    });
    moved(&site, 101, "pve3");
    let run = site.run_name();
    let command = format!("proxmaint resolve {run} pve1 101");
    site.run(&["run"]).expect(4).says(&["CT 101 is on node pve3 now", "known to lead there by SSH"]);
    site.run(&["status"]).expect(0).says(&["held", "CT 101 is on node pve3 now", &command]);
    // The node is in the manifest from now on: its entry proves to be that node, and what was done there is found.
    std::fs::write(&site.manifest.path, manifest).expect("the manifest is written");
    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run);
    assert_eq!(guest(&site.status(&[]), "pve1", 101)["state"], "upgraded");
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}

fn a_vmid_that_is_another_guest_now_is_held() {
    let site = Site::new(cluster().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 })).build());
    killed_during(&site, Act::Upgrade, "101");
    moved(&site, 101, "pve2");
    site.with(|world| {
        let guest = world.guest_mut(&id(101)).expect("a guest");
        guest.config.insert("net0".to_owned(), "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:FF:FF:FF".into());
    });
    site.run(&["run"]).expect(4).says(&["CT 101 is not the guest that was planned any more"]);
    assert_eq!(guest(&site.status(&[]), "pve1", 101)["state"], "held");
    let run = site.run_name();
    site.run(&["resolve", &run, "pve1", "101", "--skip"]).expect(0);
    site.run(&["run"]);
    assert_eq!(guest(&site.status(&[&run]), "pve1", 101)["state"], "skipped");
}

fn old_snapshots_are_removed_where_their_guest_is_now() {
    let site = Site::new(cluster().build());
    site.replace("[defaults]\n", "[defaults]\nsnapshot.keep_for = \"1ms\"\nsnapshot.keep_last = 0\n");
    site.run(&["run"]).expect(0);
    moved(&site, 101, "pve2");
    let list = site.run(&["snapshots", "list", "--host", "pve2", "--output", "json"]).expect(0).json();
    let left = list["left"].as_array().expect("a list");
    assert_eq!(left.len(), 1, "{list:#}");
    assert_eq!((&left[0]["host"], &left[0]["node"], &left[0]["guest"]), (&"pve2".into(), &"pve2".into(), &101.into()));
    site.run(&["run"]).expect(0);
    let deleted = |vmid: &str| site.done(Act::SnapshotDelete, vmid);
    assert_eq!((deleted("101"), deleted("201")), (1, 1), "{}", site.ledger_text());
    assert!(site.with(|world| world.guest(&id(101)).expect("a guest").snapshots.is_empty()));
    site.run(&["run"]).expect(0);
    assert_eq!(deleted("*"), 2, "never twice: {}", site.ledger_text());
}

fn a_rollback_by_hand_follows_its_guest() {
    let durations = Durations { rollback: 1_500, ..Durations::quick() };
    let site = Site::new(cluster().durations(durations).build());
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    moved(&site, 101, "pve2");
    moved(&site, 201, "pve3");
    let there = "it is on node pve2 now, and is rolled back there";
    site.run(&["rollback", &run, "pve1", "101"]).expect(2).says(&[there, "how much is not known", "--yes"]);
    assert_eq!(site.count(Act::Rollback, "*"), 0, "{}", site.ledger_text());
    site.run(&["rollback", &run, "pve1", "101", "--yes"]).expect(0).says(&["is back at snapshot", "was checked"]);
    // What was begun is found there as well.
    let working = site.start(&["rollback", &run, "pve1", "201", "--yes"]);
    site.await_begun(Act::Rollback, "201");
    working.kill();
    site.run(&["rollback", &run, "pve1", "201"])
        .expect(0)
        .says(&["was begun before and goes on", "is back at snapshot"]);
    for (vmid, node, behind) in [(101, "pve2", 2), (201, "pve3", 1)] {
        let (at, runs) = site.with(|world| {
            let guest = world.guest(&id(vmid)).expect("a guest");
            (guest.node.clone(), guest.running())
        });
        assert_eq!((at.as_str(), runs, site.behind(&id(vmid))), (node, true, behind), "{vmid}");
        assert_eq!(site.done(Act::Rollback, &vmid.to_string()), 1, "{}", site.ledger_text());
        assert_eq!(guest(&site.status(&[]), "pve1", vmid.into())["state"], "rolled-back");
    }
    // Known by what it is, it is left alone where it is now.
    site.run(&["run"]).expect(3).says(&[&format!("was rolled back by run {run}")]);
    assert_eq!(guest(&site.status(&[]), "pve2", 101)["state"], "blocked");
}

fn a_rollback_to_a_node_without_known_ssh_is_refused() {
    let site = Site::new(cluster().build());
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    moved(&site, 101, "pve3");
    forget(&site, "pve3");
    let refused = site.run(&["rollback", &run, "pve1", "101", "--yes"]).expect(3);
    refused.says(&["CT 101 is on node pve3 now", "add node pve3 to the manifest, or move the guest back"]);
    assert_eq!(site.count(Act::Rollback, "*"), 0, "{}", site.ledger_text());
    moved(&site, 101, "pve1");
    site.run(&["rollback", &run, "pve1", "101", "--yes"]).expect(0);
    assert_eq!((site.done(Act::Rollback, "101"), site.behind(&id(101))), (1, 2));
}
