//! What the world must do when guests move, HA empties a node, and Ceph loses disks.

use serde_json::{Value, json};

use super::*;
use crate::api::{ApiAnswer, ApiRequest};
use crate::faults::{Fault, HaFault, TaskFault};

fn builder() -> WorldBuilder {
    World::builder().cluster("lab", ["pve1", "pve2", "pve3"])
}

fn guest(vmid: u32) -> MachineId {
    MachineId::guest("lab", vmid)
}

fn by() -> Asker {
    Asker { user: "root@pam".into(), token: Some("lab".into()) }
}

fn ask(w: &mut World, method: &str, path: &str, fields: &[(&str, &str)]) -> ApiAnswer {
    let token = w.realms["lab"].tokens[0].clone();
    let request = ApiRequest::new("pve1", method, path).token(&token);
    w.api(w.now(), &fields.iter().fold(request, |request, (name, value)| request.field(name, *value)))
}

fn get(w: &mut World, path: &str) -> Value {
    let answer = ask(w, "GET", path, &[]);
    assert_eq!(answer.status, 200, "{path}: {}", answer.reason);
    answer.data().clone()
}

/// Asks for a move and returns how its task ended, and its log.
fn moved(w: &mut World, path: &str, fields: &[(&str, &str)]) -> (String, String) {
    let answer = ask(w, "POST", path, fields);
    assert_eq!(answer.status, 200, "{}", answer.reason);
    let upid = answer.data().as_str().unwrap().to_owned();
    w.settle();
    let task = w.task(&upid).unwrap();
    (task.exit.clone().unwrap(), task.log.join("\n"))
}

fn on(w: &World, vmid: u32) -> &str {
    &w.guest(&guest(vmid)).unwrap().node
}

#[test]
fn the_preconditions_of_a_vm_name_what_each_node_lacks() {
    let mut w = builder()
        .node("pve3", |node| node.offline())
        .disks("lab", "nfs", "nfs")
        .storage("lab", Storage::of_disks("thin", "lvmthin", ["pve1", "pve3"]))
        .vm("pve1", 201, |vm| vm.on("thin").pci_device().config("usb0", "spice"))
        .vm("pve1", 202, |vm| vm.on("nfs").config("ide2", "none,media=cdrom"))
        .build();
    let local = get(&mut w, "/nodes/pve1/qemu/201/migrate?target=pve2");
    assert_eq!(local["allowed_nodes"], json!(["pve3"]), "a node that is down is allowed, as a real one says");
    assert_eq!(local["not_allowed_nodes"], json!({ "pve2": { "unavailable_storages": ["thin"] }, "pve3": {} }));
    assert_eq!((&local["running"], &local["local_resources"]), (&json!(1), &json!(["hostpci0"])));
    assert_eq!(local["local_disks"][0]["volid"], "thin:vm-201-disk-0");
    let shared = get(&mut w, "/nodes/pve1/qemu/202/migrate");
    assert_eq!((&shared["local_disks"], &shared["allowed_nodes"]), (&json!([]), &json!(["pve2", "pve3"])));
    let refused = ask(&mut w, "POST", "/nodes/pve1/qemu/201/migrate", &[("target", "pve2"), ("online", "1")]);
    assert_eq!((refused.status, refused.reason.as_str()), (500, "storage 'thin' is not available on node 'pve2'"));
}

#[test]
fn an_older_node_does_not_know_the_preconditions_of_a_container() {
    let mut w = builder()
        .node("pve2", |node| node.no_ct_preconditions())
        .ct("pve1", 101, |ct| ct)
        .ct("pve2", 102, |ct| ct)
        .build();
    let answer = get(&mut w, "/nodes/pve1/lxc/101/migrate");
    assert_eq!(answer, json!({ "running": 1, "allowed-nodes": ["pve2", "pve3"], "not-allowed-nodes": {} }));
    let older = ask(&mut w, "GET", "/nodes/pve2/lxc/102/migrate", &[]);
    assert_eq!(
        (older.status, older.reason.as_str()),
        (501, "Method 'GET /nodes/pve2/lxc/102/migrate' not implemented")
    );
}

#[test]
fn a_vm_moves_live_and_was_not_booted_by_it() {
    let mut w = builder().disks("lab", "nfs", "nfs").vm("pve1", 201, |vm| vm.on("nfs")).build();
    w.advance(60_000);
    let before = w.guest(&guest(201)).unwrap().clone();
    let (exit, log) = moved(&mut w, "/nodes/pve1/qemu/201/migrate", &[("target", "pve2"), ("online", "1")]);
    assert_eq!(exit, "OK", "{log}");
    let after = w.guest(&guest(201)).unwrap();
    assert_eq!((after.node.as_str(), &after.machine.boot_id), ("pve2", &before.machine.boot_id));
    assert!(after.running() && after.lock.is_none() && after.pid != before.pid);
    assert_eq!(get(&mut w, "/nodes/pve2/qemu/201/status/current")["uptime"], 1, "its process is a new one");
    let entry = w.moves().next().unwrap();
    assert_eq!((entry.node.as_str(), entry.key.as_deref(), &entry.outcome), ("pve1", Some("pve2"), &Outcome::Done));
    assert_eq!(entry.by, "root@pam!lab");
}

#[test]
fn local_disks_of_a_vm_want_to_be_asked_for_and_bear_no_snapshot() {
    let mut w = builder().vm("pve1", 201, |vm| vm).build();
    let path = "/nodes/pve1/qemu/201/migrate";
    let (exit, log) = moved(&mut w, path, &[("target", "pve2"), ("online", "1")]);
    assert_eq!(exit, "migration aborted");
    assert!(log.contains("can't live migrate attached local disks without with-local-disks option"), "{log}");
    let full = [("target", "pve2"), ("online", "1"), ("with-local-disks", "1")];
    w.create_snapshot(w.now(), &guest(201), "before", "", &by()).unwrap();
    w.settle();
    let (exit, log) = moved(&mut w, path, &full);
    assert_eq!(exit, "migration aborted");
    assert!(log.contains("online storage migration not possible if non-replicated snapshot exists"), "{log}");
    assert!(log.contains("Problem found while scanning volumes - can't migrate VM - check log"), "{log}");
    let vm = w.guest(&guest(201)).unwrap();
    assert!(vm.running() && vm.lock.is_none() && vm.node == "pve1");
    w.delete_snapshot(w.now(), &guest(201), "before", &by()).unwrap();
    w.settle();
    assert_eq!(moved(&mut w, path, &full).0, "OK");
    assert_eq!(on(&w, 201), "pve2");
}

#[test]
fn a_device_of_the_node_keeps_a_vm_where_it_is() {
    let mut w = builder().vm("pve1", 201, |vm| vm.pci_device()).build();
    let fields = [("target", "pve2"), ("online", "1"), ("with-local-disks", "1")];
    let (exit, log) = moved(&mut w, "/nodes/pve1/qemu/201/migrate", &fields);
    assert_eq!(exit, "migration aborted");
    assert!(log.contains("can't migrate VM which uses local devices: hostpci0"), "{log}");
}

#[test]
fn a_container_restarts_to_move_and_where_its_snapshots_can_not_it_restarts_in_vain() {
    let mut w =
        builder().disks("lab", "thin", "lvmthin").ct("pve1", 101, |ct| ct).ct("pve1", 102, |ct| ct.on("thin")).build();
    for vmid in [101, 102] {
        w.create_snapshot(w.now(), &guest(vmid), "before", "", &by()).unwrap();
        w.settle();
    }
    let boots = [101, 102].map(|vmid| w.guest(&guest(vmid)).unwrap().machine.boot_id.clone());
    let fields = [("target", "pve2"), ("restart", "1")];
    let (exit, log) = moved(&mut w, "/nodes/pve1/lxc/101/migrate", &fields);
    assert_eq!(exit, "OK", "zfs takes its snapshots along: {log}");
    assert_eq!(w.guest(&guest(101)).unwrap().snapshots.len(), 1);
    let (exit, log) = moved(&mut w, "/nodes/pve1/lxc/102/migrate", &fields);
    assert_eq!(exit, "migration aborted");
    assert!(log.contains("can't migrate local volume 'thin:vm-102-disk-0': non-migratable snapshot exists"), "{log}");
    assert!(log.contains("start container on source node"), "{log}");
    for (vmid, boot) in [101, 102].into_iter().zip(boots) {
        let ct = w.guest(&guest(vmid)).unwrap();
        assert!(ct.running() && ct.lock.is_none() && ct.machine.boot_id != boot, "{vmid} was restarted");
    }
    assert_eq!(on(&w, 102), "pve1");
}

#[test]
fn a_container_is_off_while_it_moves_and_stays_so_where_a_fault_says() {
    let mut w = builder().ct("pve1", 101, |ct| ct).ct("pve1", 102, |ct| ct.bind_mount(0, "/srv", "/srv")).build();
    w.plant(Fault::task("vzmigrate", 101, TaskFault::FailOff { text: "migration aborted".into() }));
    w.migrate_guest(0, &guest(101), "pve2", true, &by()).unwrap();
    assert!(!w.is_up(&guest(101)) && w.guest(&guest(101)).unwrap().lock.as_deref() == Some("migrate"));
    w.settle();
    let ct = w.guest(&guest(101)).unwrap();
    assert_eq!((ct.running(), ct.node.as_str(), ct.lock.as_deref()), (false, "pve1", None));
    w.plant(Fault::task("vzmigrate", 101, TaskFault::Fail { text: "migration aborted".into(), leave_lock: false }));
    w.start_guest(w.now(), &guest(101), &by()).unwrap();
    w.settle();
    w.migrate_guest(w.now(), &guest(101), "pve2", true, &by()).unwrap();
    w.settle();
    assert!(w.is_up(&guest(101)) && on(&w, 101) == "pve1", "an ordinary failure starts it where it was");
    let (exit, log) = moved(&mut w, "/nodes/pve1/lxc/102/migrate", &[("target", "pve2"), ("restart", "1")]);
    assert_eq!(exit, "migration aborted");
    assert!(log.contains("cannot migrate local bind mount point 'mp0'") && !log.contains("shutdown"), "{log}");
}

#[test]
fn what_a_node_has_no_memory_for_neither_starts_nor_comes_there() {
    let mut w = builder()
        .node("pve2", |node| node.memory_gib(4))
        .disks("lab", "nfs", "nfs")
        .vm("pve1", 201, |vm| vm.on("nfs").memory_mib(2_048))
        .ct("pve1", 101, |ct| ct.memory_mib(2_048))
        .vm("pve2", 202, |vm| vm.memory_mib(2_560))
        .vm("pve2", 203, |vm| vm.memory_mib(2_048).stopped())
        .build();
    let node = |w: &mut World| get(w, "/nodes/pve2/status")["memory"]["used"].as_u64().unwrap();
    assert_eq!(node(&mut w), (1 << 30) + (2_560 << 20) / 3, "its own, and what the guests say of themselves");
    let listed = get(&mut w, "/nodes");
    let pve2 = listed.as_array().unwrap().iter().find(|n| n["node"] == "pve2").unwrap();
    assert_eq!((pve2["mem"].as_u64(), pve2["maxmem"].as_u64()), (Some(node(&mut w)), Some(4 << 30)));
    let (exit, log) = moved(&mut w, "/nodes/pve1/qemu/201/migrate", &[("target", "pve2"), ("online", "1")]);
    assert_eq!(exit, "migration problems");
    assert!(log.contains("Cannot allocate memory") && w.is_up(&guest(201)) && on(&w, 201) == "pve1", "{log}");
    let (exit, _) = moved(&mut w, "/nodes/pve1/lxc/101/migrate", &[("target", "pve2"), ("restart", "1")]);
    assert_eq!(exit, "migration aborted");
    assert!(w.is_up(&guest(101)) && on(&w, 101) == "pve1");
    let upid = w.start_guest(w.now(), &guest(203), &by()).unwrap();
    w.settle();
    assert_eq!(w.task(&upid).unwrap().exit.as_deref(), Some("start failed: QEMU exited with code 1"));
}

#[test]
fn a_replicated_vm_moves_live_only_to_where_it_is_replicated() {
    let mut w = builder().vm("pve1", 201, |vm| vm).replicated("lab", 201, "pve2").build();
    w.create_snapshot(0, &guest(201), "before", "", &by()).unwrap();
    w.settle();
    let refused = w.migrate_guest(w.now(), &guest(201), "pve3", true, &by()).unwrap_err();
    assert!(refused.0.starts_with("Cannot live-migrate replicated VM to node 'pve3'"), "{refused}");
    w.migrate_guest(w.now(), &guest(201), "pve2", true, &by()).unwrap();
    w.settle();
    assert_eq!(on(&w, 201), "pve2", "a snapshot that is replicated is no hindrance");
    let jobs = get(&mut w, "/cluster/replication");
    assert_eq!(
        (&jobs[0]["id"], &jobs[0]["source"], &jobs[0]["target"]),
        (&json!("201-0"), &json!("pve2"), &json!("pve1"))
    );
}

#[test]
fn a_guest_under_ha_is_moved_by_ha_after_the_task_has_ended() {
    let mut w = builder().ct("pve1", 101, |ct| ct).ha("lab", [101]).build();
    let answer = ask(&mut w, "POST", "/nodes/pve1/lxc/101/migrate", &[("target", "pve2"), ("restart", "1")]);
    let upid = answer.data().as_str().unwrap().to_owned();
    assert!(upid.contains(":hamigrate:101:"));
    w.advance(w.now() + w.durations.stop);
    assert_eq!((w.task(&upid).unwrap().exit.as_deref(), on(&w, 101)), (Some("OK"), "pve1"));
    w.settle();
    assert_eq!((on(&w, 101), w.is_up(&guest(101))), ("pve2", true));
    assert_eq!(w.moves().map(|entry| entry.by.as_str()).collect::<Vec<_>>(), [HA]);
    assert_eq!(w.ledger.count(Act::HaMigrate, "101"), 1);
}

fn node_status(w: &mut World) -> Value {
    get(w, "/cluster/ha/status/manager_status")["manager_status"]["node_status"].clone()
}

#[test]
fn maintenance_empties_a_node_one_by_one_and_gives_its_guests_back() {
    let mut w = builder()
        .disks("lab", "nfs", "nfs")
        .vm("pve1", 201, |vm| vm.on("nfs"))
        .ct("pve1", 101, |ct| ct)
        .ct("pve1", 102, |ct| ct)
        .ct("pve2", 103, |ct| ct)
        .ha("lab", [201, 101, 103])
        .build();
    let boots = [201, 101].map(|vmid| w.guest(&guest(vmid)).unwrap().machine.boot_id.clone());
    w.ha_maintenance(0, "lab", "pve1", true, &Asker::ssh("root")).unwrap();
    assert_eq!(node_status(&mut w)["pve1"], "online", "it is not taken up at once");
    w.advance(w.durations.ha);
    assert_eq!(node_status(&mut w)["pve1"], "maintenance");
    assert_eq!([on(&w, 201), on(&w, 101)], ["pve1", "pve1"], "that is said before anything has moved");
    let mut together = 0;
    while let Some(at) = w.next_due() {
        w.advance(at);
        let moving = w.realms["lab"].guests.values().filter(|g| g.lock.as_deref() == Some("migrate")).count();
        together = together.max(moving);
    }
    assert_eq!(together, 1);
    assert!(on(&w, 201) != "pve1" && on(&w, 101) != "pve1" && on(&w, 102) == "pve1", "HA moves only its own");
    assert_eq!(w.guest(&guest(201)).unwrap().machine.boot_id, boots[0]);
    assert_ne!(w.guest(&guest(101)).unwrap().machine.boot_id, boots[1]);
    w.power_node(w.now(), "pve1", true, &by());
    w.settle();
    assert_eq!(node_status(&mut w)["pve1"], "maintenance", "it lasts over a reboot");
    assert_ne!(on(&w, 201), "pve1");
    w.ha_maintenance(w.now(), "lab", "pve1", false, &Asker::ssh("root")).unwrap();
    assert_ne!(on(&w, 201), "pve1", "they come back later");
    w.settle();
    assert_eq!([on(&w, 201), on(&w, 101), on(&w, 103)], ["pve1", "pve1", "pve2"]);
    assert_eq!(node_status(&mut w)["pve1"], "online");
    assert!(w.moves().all(|entry| entry.by == HA && entry.outcome == Outcome::Done));
    let asked = |act| w.ledger.of(act, "pve1").map(|e| e.by.clone()).collect::<Vec<_>>();
    assert_eq!(
        (asked(Act::MaintenanceOn), asked(Act::MaintenanceOff)),
        (vec!["ssh:root".into()], vec!["ssh:root".into()])
    );
    assert!(crate::check::check(&w).good(), "{:?}", crate::check::check(&w));
}

#[test]
fn maintenance_goes_wrong_as_planted() {
    let world = || builder().ct("pve1", 101, |ct| ct).ha("lab", [101]).build();
    let mut stuck = world();
    stuck.plant(Fault::ha("pve1", HaFault::DrainNeverEnds));
    stuck.ha_maintenance(0, "lab", "pve1", true, &by()).unwrap();
    stuck.settle();
    assert_eq!((on(&stuck, 101), &node_status(&mut stuck.clone())["pve1"]), ("pve1", &json!("maintenance")));
    let mut lost = world();
    lost.plant(Fault::ha("pve1", HaFault::NeverBack));
    lost.ha_maintenance(0, "lab", "pve1", true, &by()).unwrap();
    lost.settle();
    let away = on(&lost, 101).to_owned();
    assert_ne!(away, "pve1");
    lost.ha_maintenance(lost.now(), "lab", "pve1", false, &by()).unwrap();
    lost.settle();
    assert_eq!((on(&lost, 101), &node_status(&mut lost.clone())["pve1"]), (away.as_str(), &json!("online")));
    assert!(stuck.faults.unused().is_empty() && lost.faults.unused().is_empty());
    assert!(world().ha_maintenance(0, "lab", "pve9", true, &by()).is_err());
}

#[test]
fn a_drain_whose_moves_fail_is_given_up_until_something_changes() {
    let mut w = builder().ct("pve1", 101, |ct| ct).ha("lab", [101]).build();
    w.plant(Fault::task("vzmigrate", 101, TaskFault::Fail { text: "no".into(), leave_lock: false }).times(3));
    w.ha_maintenance(0, "lab", "pve1", true, &by()).unwrap();
    w.settle();
    assert_eq!((on(&w, 101), w.moves().count()), ("pve1", 3));
    w.ha_maintenance(w.now(), "lab", "pve1", true, &by()).unwrap();
    w.settle();
    assert_ne!(on(&w, 101), "pve1");
}

#[test]
fn without_a_guest_under_ha_no_node_is_listed() {
    let mut w = builder().ct("pve1", 101, |ct| ct).build();
    w.ha_maintenance(0, "lab", "pve1", true, &by()).unwrap();
    w.settle();
    assert_eq!(node_status(&mut w), Value::Null);
    let entries = |w: &mut World| {
        let list = get(w, "/cluster/ha/status/current");
        list.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(entries(&mut w), ["quorum", "fencing"]);
    w.ha_set(w.now(), "lab", "ct:101", "started", &by());
    w.settle();
    assert_eq!(entries(&mut w), ["quorum", "master", "fencing", "lrm:pve1", "lrm:pve2", "lrm:pve3", "service:ct:101"]);
    assert_ne!(on(&w, 101), "pve1", "what was asked before holds for it");
}

#[test]
fn ceph_says_what_a_node_that_is_down_costs() {
    let mut w = builder().ceph("lab", 2).ct("pve3", 101, |ct| ct.on("ceph")).build();
    let health = |w: &mut World| {
        let health = get(w, "/cluster/ceph/status")["health"].clone();
        let checks: Vec<String> = health["checks"].as_object().unwrap().keys().cloned().collect();
        (health["status"].as_str().unwrap().to_owned(), checks.join(" "))
    };
    assert_eq!(health(&mut w), ("HEALTH_OK".into(), String::new()));
    assert!(ask(&mut w, "PUT", "/cluster/ceph/flags/noout", &[("value", "1")]).data().is_null());
    assert_eq!(health(&mut w), ("HEALTH_WARN".into(), "OSDMAP_FLAGS".into()));
    assert_eq!(get(&mut w, "/cluster/ceph/flags/noout"), 1);
    w.power_node(w.now(), "pve3", true, &by());
    assert_eq!(health(&mut w).1, "MON_DOWN OSDMAP_FLAGS OSD_DOWN OSD_HOST_DOWN PG_DEGRADED");
    w.settle();
    assert!(w.nodes["pve3"].online);
    assert_eq!(health(&mut w).1, "OSDMAP_FLAGS PG_DEGRADED", "what was missed is recovered later");
    w.advance(w.now() + w.durations.ceph_recovery);
    assert_eq!(health(&mut w).1, "OSDMAP_FLAGS");
    let answer = ask(&mut w, "PUT", "/cluster/ceph/flags", &[("noout", "0"), ("nobackfill", "1")]);
    let upid = answer.data().as_str().unwrap().to_owned();
    assert!(upid.contains(":cephsetflags::"), "{upid}");
    assert_eq!(get(&mut w, "/cluster/ceph/flags/noout"), 1, "not before the task has ended");
    w.settle();
    let flags = get(&mut w, "/cluster/ceph/flags");
    let set: Vec<&Value> = flags.as_array().unwrap().iter().filter(|f| f["value"] == 1).map(|f| &f["name"]).collect();
    assert_eq!(set, ["nobackfill"]);
    let acts: Vec<_> =
        w.ledger.entries().iter().filter(|e| e.key.is_some()).map(|e| (e.act, e.key.as_deref())).collect();
    let (on, off) = (Act::CephFlagSet, Act::CephFlagClear);
    assert_eq!(acts, [(on, Some("noout")), (on, Some("nobackfill")), (off, Some("noout"))]);
}

#[test]
fn ceph_may_have_other_worries_or_not_be_there() {
    let mut w = builder().ceph("lab", 1).ceph_warning("lab", "POOL_NEARFULL", "1 pool(s) nearfull").build();
    let health = get(&mut w, "/nodes/pve2/ceph/status")["health"].clone();
    assert_eq!(health["checks"]["POOL_NEARFULL"]["summary"]["message"], "1 pool(s) nearfull");
    w.ceph_warning("lab", "OSD_FULL", "HEALTH_ERR", "1 full osd(s)");
    assert_eq!(get(&mut w, "/cluster/ceph/status")["health"]["status"], "HEALTH_ERR");
    w.ceph_no_warning("lab", "OSD_FULL");
    w.ceph_no_warning("lab", "POOL_NEARFULL");
    assert_eq!(get(&mut w, "/cluster/ceph/status")["health"]["status"], "HEALTH_OK");
    let mut none = builder().build();
    for (method, path) in
        [("GET", "/cluster/ceph/status"), ("GET", "/cluster/ceph/flags"), ("PUT", "/cluster/ceph/flags/noout")]
    {
        let answer = ask(&mut none, method, path, if method == "PUT" { &[("value", "1")] } else { &[] });
        assert_eq!((answer.status, answer.reason.as_str()), (500, "binary not installed: /usr/bin/ceph-mon"));
    }
    assert!(matches!(none.ledger.entries()[0].outcome, Outcome::Refused(_)));
}

#[test]
fn a_guest_may_go_and_come_back_but_not_twice_to_the_same_place() {
    let mut w = builder().ct("pve1", 101, |ct| ct).build();
    for target in ["pve2", "pve1", "pve2"] {
        w.migrate_guest(w.now(), &guest(101), target, true, &by()).unwrap();
        w.settle();
    }
    assert!(crate::check::check(&w).twice.is_empty());
    w.migrate_guest(w.now(), &guest(101), "pve3", true, &by()).unwrap();
    w.migrate_guest(w.now(), &guest(101), "pve3", true, &by()).unwrap();
    w.settle();
    // The second one failed by the lock, which makes it a harmless attempt; it was still begun while the first was under way.
    assert_eq!(crate::check::check(&w).twice.len(), 1);
}

fn rolled_back(w: &mut World, vmid: u32, name: &str, start: bool) -> String {
    let upid = w.rollback(w.now(), &guest(vmid), name, start, &by()).unwrap();
    w.settle();
    w.task(&upid).unwrap().exit.clone().unwrap()
}

#[test]
fn on_zfs_a_newer_snapshot_whoever_took_it_blocks_a_rollback() {
    let mut w = builder()
        .disks("lab", "thin", "lvmthin")
        .ct("pve1", 101, |ct| ct.snapshot("old").snapshot("before").foreign_snapshot("autosnap_hourly"))
        .vm("pve1", 201, |vm| vm.auto_snapshots())
        .ct("pve1", 102, |ct| ct.on("thin").snapshot("old").snapshot("before"))
        .build();
    let blocked =
        |name: &str, volid: &str| format!("can't rollback, '{name}' is not most recent snapshot on '{volid}'");
    assert_eq!(rolled_back(&mut w, 101, "before", false), blocked("before", "local-zfs:subvol-101-disk-0"));
    assert!(w.is_up(&guest(101)) && w.guest(&guest(101)).unwrap().lock.is_none(), "it was left alone");
    let listed = get(&mut w, "/nodes/pve1/lxc/101/snapshot");
    assert!(!listed.to_string().contains("autosnap"), "{listed}");
    w.destroy_foreign_snapshot(w.now(), &guest(101), "autosnap_hourly");
    assert_eq!(rolled_back(&mut w, 101, "old", false), blocked("old", "local-zfs:subvol-101-disk-0"));
    assert_eq!(rolled_back(&mut w, 101, "before", false), "OK");
    w.create_snapshot(w.now(), &guest(201), "mine", "", &by()).unwrap();
    w.settle();
    assert_eq!(rolled_back(&mut w, 201, "mine", true), blocked("mine", "local-zfs:vm-201-disk-0"));
    assert_eq!(rolled_back(&mut w, 102, "old", false), "OK", "thin LVM goes back to any");
    assert_eq!(get(&mut w, "/nodes/pve1/qemu/201/feature?feature=snapshot")["hasFeature"], 1);
}

#[test]
fn a_snapshot_of_replication_goes_where_it_is_in_the_way() {
    let mut w = builder().vm("pve1", 201, |vm| vm).replicated("lab", 201, "pve2").build();
    w.create_snapshot(0, &guest(201), "before", "", &by()).unwrap();
    w.settle();
    w.replicate(w.now(), &guest(201));
    let names = |w: &World| {
        let all = &w.guest(&guest(201)).unwrap().dataset_snapshots;
        all.iter().map(|s| s.name.split("_1").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&w), ["before", "__replicate_201-0"]);
    assert_eq!(rolled_back(&mut w, 201, "before", false), "OK");
    assert_eq!(names(&w), ["before"]);
}

#[test]
fn a_rollback_leaves_a_guest_off_unless_it_is_to_start() {
    let mut w = builder().ct("pve1", 101, |ct| ct.pending(2)).vm("pve1", 201, |vm| vm.pending(2)).build();
    for vmid in [101, 201] {
        w.create_snapshot(w.now(), &guest(vmid), "before", "", &by()).unwrap();
        w.settle();
        w.guest_mut(&guest(vmid)).unwrap().config.insert("tags".into(), "changed".into());
        w.begin_upgrade(w.now(), &guest(vmid), None, &by()).unwrap();
        w.settle();
        let boot = w.guest(&guest(vmid)).unwrap().machine.boot_id.clone();
        let written = |w: &World| {
            let there = w.guest(&guest(vmid)).unwrap();
            w.written_since(there, &w.datasets(there)[0].1, "before").unwrap()
        };
        assert_eq!(written(&w), 2 * WRITTEN_BY_A_PACKAGE);
        assert_eq!(rolled_back(&mut w, vmid, "before", false), "OK");
        assert_eq!(written(&w), 0);
        let back = w.guest(&guest(vmid)).unwrap();
        assert!(!back.running() && !back.config.contains_key("tags") && back.machine.packages.pending().len() == 2);
        let exit = rolled_back(&mut w, vmid, "before", true);
        assert!(exit == "OK" || exit == "WARNINGS: 1", "{exit}");
        let back = w.guest(&guest(vmid)).unwrap();
        assert!(back.running() && back.machine.boot_id != boot);
    }
}
