//! Protection before an upgrade: which, how, what stands in its way, and how long it is kept.

use proxmaint_lab::faults::{Fault, TaskFault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::{Backup, MachineId, Storage, StorageState, World};
use serde_json::Value;

use crate::support::{Done, Site, guest, host, side_by_side};

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

fn defaults(site: &Site, lines: &str) {
    site.replace("[defaults]\n", &format!("[defaults]\n{lines}\n"));
}

/// Puts something into the repository that a guest has not got yet.
fn publish(site: &Site, vmid: u32, version: &str) {
    site.with(|world| {
        let packages = &mut world.machine_mut(&edge(vmid)).expect("a guest").packages;
        packages.repository.insert("tzdata".to_owned(), version.to_owned());
    });
}

fn reason(site: &Site, vmid: u64, state: &str) -> String {
    let found = guest(&site.status(&[]), "edge1", vmid);
    assert_eq!(found["state"], state, "{found:#}");
    found["reason"].as_str().unwrap_or_default().to_owned()
}

fn snapshots(site: &Site, vmid: u32) -> Vec<String> {
    site.with(|world| world.guest(&edge(vmid)).expect("a guest").snapshots.iter().map(|s| s.name.clone()).collect())
}

/// The notes of the archives of a guest, oldest first.
fn archives(site: &Site, vmid: u32) -> Vec<String> {
    site.with(|world| {
        let of_guest = world.realms["edge1"].backups.iter().filter(|backup| backup.vmid == vmid);
        of_guest.map(|backup| backup.notes.clone().unwrap_or_default()).collect()
    })
}

/// What the tasks of a kind wrote first.
fn begun(site: &Site, kind: &str) -> Vec<String> {
    site.with(|world| {
        let tasks = world.nodes["edge1"].tasks.iter().filter(|task| task.kind == kind);
        tasks.filter_map(|task| task.log.first().cloned()).collect()
    })
}

/// An archive that somebody else made.
fn foreign(vmid: u32, storage: &str) -> Backup {
    Backup {
        volid: format!("{storage}:backup/vzdump-lxc-{vmid}-2026_01_01-00_00_00.tar.zst"),
        storage: storage.to_owned(),
        node: "edge1".to_owned(),
        vmid,
        vm: false,
        ctime: 1_767_225_600,
        size: 1 << 20,
        format: "tar.zst".to_owned(),
        notes: Some("by hand".to_owned()),
        protected: false,
    }
}

fn storage(name: &str, keep_last: Option<usize>) -> Storage {
    let state = StorageState { active: true, total: 100 << 30, used: 60 << 30 };
    Storage {
        name: name.to_owned(),
        kind: "dir".to_owned(),
        content: vec!["backup".to_owned()],
        shared: false,
        enabled: true,
        keep_last,
        on: [("edge1".to_owned(), state)].into(),
    }
}

#[test]
fn guests_are_protected_as_the_manifest_says() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.mount(0, "/data", false).pending(1))
        .ct("edge1", 103, |ct| ct.pending(1))
        .ct("edge1", 104, |ct| ct.no_snapshots().pending(1));
    let site = Site::new(world.build());
    let rule = |id: u32, protect: &str| format!("\n[[hosts.guests]]\nid = {id}\nprotect = {protect}\n");
    site.edit(|text| {
        text + &rule(101, "[\"none\"]")
            + &rule(102, "[\"backup\"]")
            + &rule(103, "\"snapshot\"")
            + &rule(104, "\"none\"")
    });
    let said = ["not protected: it could not be brought back", "backup to local", "a backup does not cover: mp0"];
    site.run(&["run", "--dry-run", "--verbose"]).expect(0).says(&said);
    site.assert_untouched();
    let done = site.run(&["run", "--output", "json"]).expect(0);
    let planned = done.events().into_iter().find(|event| event["event"] == "host-planned").expect("a plan");
    let ways: Vec<&Value> = planned["guests"].as_array().expect("guests").iter().map(|g| &g["protection"][0]).collect();
    assert_eq!(ways, ["none", "backup to local", "snapshot", "none"]);
    let made = |vmid: &str| (site.count(Act::SnapshotCreate, vmid), site.count(Act::Backup, vmid));
    assert_eq!((made("101"), made("102"), made("103"), made("104")), ((0, 0), (0, 1), (1, 0), (0, 0)));
    assert!([101, 102, 103, 104].into_iter().all(|vmid| site.behind(&edge(vmid)) == 0), "{}", site.ledger_text());
    let view = site.status(&[]);
    let unprotected = [101, 102, 103, 104].map(|id| guest(&view, "edge1", id)["unprotected"].clone());
    assert_eq!(unprotected, [true, false, false, true]);
    site.run(&["status"]).expect(0);
}

#[test]
fn a_backup_is_made_as_the_manifest_says() {
    let world = World::builder()
        .standalone("edge1")
        .storage("edge1", storage("dump", Some(1)))
        .backup("edge1", foreign(101, "dump"))
        .ct("edge1", 101, |ct| ct.no_snapshots().pending(1))
        .vm("edge1", 201, |vm| vm.pending(1));
    let site = Site::new(world.build());
    defaults(
        &site,
        "protect = \"backup\"\nbackup = { storage = \"dump\", mode = \"suspend\", compress = \"gzip\", lock_wait = \"5m\" }",
    );
    site.edit(|text| {
        text + "\n[[hosts.guests]]\nid = 201\nbackup.mode = \"stop\"\nbackup.compress = \"none\"\nbackup.storage = \"local\"\n"
    });
    site.run(&["run", "--dry-run", "--verbose"])
        .expect(0)
        .says(&["backup to dump (mode suspend)", "backup to local (mode stop)"]);
    site.run(&["run"]).expect(0);
    let lines = begun(&site, "vzdump");
    let line = |vmid: &str| {
        let line = lines.iter().find(|line| line.contains(&format!("vzdump {vmid} ")));
        line.unwrap_or_else(|| panic!("no backup of {vmid}: {lines:?}")).clone()
    };
    for (vmid, words) in [
        ("101", ["--storage dump", "--mode suspend", "--compress gzip", "--lockwait 5", "--remove 0"]),
        ("201", ["--storage local", "--mode stop", "--compress 0", "--lockwait 5", "--remove 0"]),
    ] {
        for word in words {
            assert!(line(vmid).contains(word), "{word}: {}", line(vmid));
        }
    }
    // The storage would keep one archive: nobody's is removed but by our own retention.
    let run = site.run_name();
    assert_eq!(archives(&site, 101), ["by hand".to_owned(), format!("proxmaint {run}/edge1/101/backup/r1")]);
    assert_eq!(archives(&site, 201), [format!("proxmaint {run}/edge1/201/backup/r1")]);
    assert!(site.behind(&edge(101)) == 0 && site.behind(&edge(201)) == 0);
}

#[test]
fn where_no_protection_can_be_made_nothing_is_touched() {
    let world = World::builder()
        .standalone("edge1")
        .storage("edge1", Storage { on: [].into(), ..storage("elsewhere", None) })
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .ct("edge1", 103, |ct| ct.pending(1))
        .vm("edge1", 201, |vm| vm.disk_gib(500).pending(1))
        .fault(Fault::task(
            "vzsnapshot",
            101,
            TaskFault::Fail { text: "zfs error: out of space".into(), leave_lock: false },
        ))
        .fault(Fault::task("vzdump", 101, TaskFault::Fail { text: "no space left".into(), leave_lock: false }));
    let site = Site::new(world.build());
    site.edit(|text| {
        text + "\n[[hosts.guests]]\nid = 102\nprotect = \"backup\"\nbackup.storage = \"elsewhere\"\n\n[[hosts.guests]]\n\
                id = 201\nprotect = \"backup\"\n"
    });
    site.run(&["run"]).expect(3);
    site.assert_faults_struck();
    assert!(reason(&site, 101, "blocked").contains("no space left"), "{}", reason(&site, 101, "blocked"));
    let why = reason(&site, 102, "blocked");
    assert!(why.contains("storage elsewhere is not there, not active, or takes no backups"), "{why}");
    let why = reason(&site, 201, "blocked");
    assert!(why.contains("no storage has room for a backup"), "{why}");
    assert_eq!(reason(&site, 103, "upgraded"), "");
    assert_eq!([101, 102, 103, 201].map(|vmid| site.behind(&edge(vmid))), [1, 1, 0, 1], "{}", site.ledger_text());
}

#[test]
fn a_snapshot_that_fails_is_made_up_for_by_a_backup() {
    let refused = TaskFault::Fail { text: "snapshot feature is not available".into(), leave_lock: false };
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .fault(Fault::task("vzsnapshot", 101, refused))
        .fault(Fault::task("vzsnapshot", 102, TaskFault::Fail { text: "zfs error: busy".into(), leave_lock: true }));
    let site = Site::new(world.build());
    defaults(&site, "lock_wait = \"300ms\"");
    site.run(&["run"]).expect(3);
    site.assert_faults_struck();
    let view = site.status(&[]);
    assert_eq!(guest(&view, "edge1", 101)["state"], "upgraded");
    assert_eq!(guest(&view, "edge1", 101)["kept"][0]["kind"], "backup", "{view:#}");
    // The lock that the failed snapshot left behind is not taken away, and what is locked can't be backed up.
    assert!(reason(&site, 102, "blocked").contains("locked (snapshot)"), "{}", reason(&site, 102, "blocked"));
    assert_eq!((site.behind(&edge(101)), site.behind(&edge(102))), (0, 1), "{}", site.ledger_text());
    assert_eq!(site.with(|world| world.guest(&edge(102)).expect("a guest").lock.clone()).as_deref(), Some("snapshot"));
}

#[test]
fn locks_are_waited_for_and_never_taken_away() {
    side_by_side(&[
        ("a_lock_that_goes_away_is_waited_for", a_lock_that_goes_away_is_waited_for),
        ("a_lock_that_stays_blocks_its_guest", a_lock_that_stays_blocks_its_guest),
        ("a_lock_that_comes_after_the_protection", a_lock_that_comes_after_the_protection),
    ]);
}

fn a_lock_that_goes_away_is_waited_for() {
    let world = World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.locked("backup").pending(1));
    let site = Site::new(world.build());
    defaults(&site, "lock_wait = \"50s\"");
    let working = site.start(&["run", "--output", "json"]);
    working.event(|event| event["event"] == "guest-changed" && event["state"] == "protecting");
    assert_eq!(site.count(Act::SnapshotCreate, "101"), 0, "{}", site.ledger_text());
    site.with(|world| world.guest_mut(&edge(101)).expect("a guest").lock = None);
    working.finish().expect(0);
    assert_eq!((site.done(Act::SnapshotCreate, "101"), site.behind(&edge(101))), (1, 0), "{}", site.ledger_text());
    site.assert_clean();
}

fn a_lock_that_stays_blocks_its_guest() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.locked("migrate").pending(1))
        .vm("edge1", 201, |vm| vm.locked("backup").pending(1))
        .ct("edge1", 102, |ct| ct.pending(1));
    let site = Site::new(world.build());
    defaults(&site, "lock_wait = \"300ms\"");
    site.run(&["run"]).expect(3).says(&["locked (migrate)", "locked (backup)"]);
    let why = reason(&site, 101, "blocked");
    assert!(why.contains("CT 101 is locked (migrate), and still so after 300ms: something else works on it"), "{why}");
    assert_eq!(reason(&site, 102, "upgraded"), "");
    assert!(!site.changes().iter().any(|entry| ["101", "201"].contains(&&*entry.machine)), "{}", site.ledger_text());
    let locks = [101, 201].map(|vmid| site.with(|world| world.guest(&edge(vmid)).expect("a guest").lock.clone()));
    assert_eq!(locks.map(Option::unwrap_or_default), ["migrate", "backup"]);
    site.run(&["status"]).expect(0).says(&["locked (migrate)"]);
}

/// Somebody's backup begins between the snapshot and the upgrade.
fn a_lock_that_comes_after_the_protection() {
    let world = World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.pending(1));
    let site = Site::new(world.build());
    defaults(&site, "lock_wait = \"50s\"");
    let working = site.start(&["run"]);
    site.until("the snapshot is there", |world| {
        let there = world.ledger.of(Act::SnapshotCreate, "101").any(|entry| entry.outcome == Outcome::Done);
        if there {
            world.guest_mut(&edge(101)).expect("a guest").lock = Some("backup".to_owned());
        }
        there
    });
    let began = site.with(|world| world.now());
    site.until("some time has passed", |world| world.now() > began + 700);
    assert_eq!(site.count(Act::Upgrade, "101"), 0, "{}", site.ledger_text());
    site.with(|world| world.guest_mut(&edge(101)).expect("a guest").lock = None);
    working.finish().expect(0);
    site.assert_clean();
}

#[test]
fn a_pool_that_is_nearly_full_is_not_filled_up() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .vm("edge1", 201, |vm| vm.no_snapshots().pending(1));
    let site = Site::new(world.build());
    site.with(|world| {
        let realm = world.realms.get_mut("edge1").expect("a realm");
        let pool = realm.storages.iter_mut().find(|storage| storage.name == "local-zfs").expect("a pool");
        pool.on.values_mut().for_each(|state| state.used = state.total - state.total / 30);
    });
    site.edit(|text| text + "\n[[hosts.guests]]\nid = 102\nprotect = \"backup\"\n");
    site.run(&["run"]).expect(3).says(&["storage local-zfs is nearly full"]);
    for vmid in [101, 102] {
        let why = reason(&site, vmid, "blocked");
        assert!(why.contains("can't be protected: storage local-zfs is nearly full"), "{why}");
        assert!(!site.changes().iter().any(|entry| entry.machine == vmid.to_string()), "{}", site.ledger_text());
    }
    assert_eq!(reason(&site, 201, "upgraded"), "");
}

fn listed(site: &Site) -> Vec<Value> {
    let list = site.run(&["snapshots", "list", "--output", "json"]).expect(0).json();
    list["left"].as_array().expect("a list").clone()
}

fn prune(site: &Site, args: &[&str]) -> Done {
    site.run(&[&["snapshots", "prune", "--yes"], args].concat())
}

#[test]
fn backups_of_runs_are_pruned_and_those_of_others_never() {
    let world = World::builder()
        .standalone("edge1")
        .backup("edge1", foreign(101, "local"))
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1));
    let site = Site::new(world.build());
    defaults(&site, "protect = \"backup\"");
    let mut runs = Vec::new();
    for version in ["9", "10", "11"] {
        publish(&site, 101, version);
        site.run(&["run"]).expect(0);
        runs.push(site.run_name());
    }
    let note = |run: &String| format!("proxmaint {run}/edge1/101/backup/r1");
    let own: Vec<String> = runs.iter().map(note).collect();
    let left = listed(&site);
    assert_eq!(left.len(), 4, "three of 101 and one of 102: {left:#?}");
    for thing in &left {
        assert_eq!(
            (&thing["what"], &thing["removable"], &thing["stays"]),
            (&"backup".into(), &false.into(), &"young".into())
        );
    }
    // An archive whose note somebody changed is theirs.
    site.with(|world| {
        let backups = &mut world.realms.get_mut("edge1").expect("a realm").backups;
        backups
            .iter_mut()
            .filter(|backup| backup.vmid == 102)
            .for_each(|backup| backup.notes = Some("mine".to_owned()));
    });
    prune(&site, &["--older-than", "0s", "--keep-last", "2"]).expect(0).says(&["removed 1 snapshot or backup"]);
    assert_eq!(archives(&site, 101), ["by hand".to_owned(), own[1].clone(), own[2].clone()]);
    // One that is protected refuses to be removed, stays, and is told.
    site.with(|world| {
        let backups = &mut world.realms.get_mut("edge1").expect("a realm").backups;
        backups.iter_mut().filter(|b| b.notes.as_ref() == Some(&own[1])).for_each(|backup| backup.protected = true);
    });
    let pruned = prune(&site, &["--older-than", "0s", "--keep-last", "0"]).expect(3).says(&["removed 1 of 2"]);
    assert_eq!(archives(&site, 101), ["by hand".to_owned(), own[1].clone()], "{pruned}");
    assert_eq!(archives(&site, 102), ["mine"]);
    site.run(&["status"])
        .expect(0)
        .says(&["prune-backup local:backup/vzdump-lxc-101", "cannot remove protected volume"]);
    site.run(&["journal", "verify"]).expect(0);
    // A later run is not kept from its work by that.
    publish(&site, 101, "12");
    site.run(&["run"]).expect(0);
    assert_eq!(site.behind(&edge(101)), 0);
}

#[test]
fn a_later_run_removes_what_is_old_enough_by_itself() {
    let world = World::builder()
        .standalone("edge1")
        .backup("edge1", foreign(102, "local"))
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .ct("edge1", 103, |ct| ct.pending(1));
    let site = Site::new(world.build());
    defaults(&site, "snapshot.keep_for = \"1ms\"\nbackup.keep_for = \"1ms\"");
    site.edit(|text| text + "\n[[hosts.guests]]\nid = 102\nprotect = \"backup\"\n");
    let next = |version: &str| {
        [101, 102, 103].into_iter().for_each(|vmid| publish(&site, vmid, version));
        site.run(&["run"]).expect(0);
        site.run_name()
    };
    let first = site.run(&["run"]).expect(0);
    let first = if first.code == 0 { site.run_name() } else { unreachable!() };
    site.with(|world| {
        let guest = world.guest_mut(&edge(101)).expect("a guest");
        let mut other = guest.snapshots[0].clone();
        (other.name, other.parent) = ("before-i-break-it".to_owned(), Some(other.name));
        guest.snapshots.push(other);
    });
    let second = next("9");
    assert_eq!(host(&site.status(&[]), "edge1")["removed"], 2, "of 101 and 103; the newest backup stays");
    assert_eq!(snapshots(&site, 101), ["before-i-break-it".to_owned(), format!("pm-{second}-r1")]);
    assert_eq!(snapshots(&site, 103), [format!("pm-{second}-r1")]);
    let note = |run: &str| format!("proxmaint {run}/edge1/102/backup/r1");
    assert_eq!(archives(&site, 102), ["by hand".to_owned(), note(&first), note(&second)]);
    let third = next("10");
    assert_eq!(archives(&site, 102), ["by hand".to_owned(), note(&second), note(&third)]);
    assert_eq!(site.count(Act::SnapshotDelete, "*"), site.done(Act::SnapshotDelete, "*"));
    assert_eq!(site.count(Act::SnapshotDelete, "*"), 4, "{}", site.ledger_text());
}

#[test]
fn a_guest_that_failed_keeps_what_it_could_be_brought_back_from() {
    let world =
        World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.pending(1)).ct("edge1", 102, |ct| ct.pending(1));
    let site = Site::new(world.build());
    defaults(&site, "snapshot.keep_for = \"1ms\"\nprotect = \"snapshot\"");
    site.run(&["run"]).expect(0);
    let first = format!("pm-{}-r1", site.run_name());
    for vmid in [101, 102] {
        publish(&site, vmid, "9");
    }
    site.plant(Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 }));
    site.run(&["run"]).expect(3);
    let second = format!("pm-{}-r1", site.run_name());
    assert_eq!((snapshots(&site, 101), snapshots(&site, 102)), (vec![second.clone()], vec![second.clone()]), "{first}");
    // Neither a fresh run nor the operator's own removal takes it away.
    publish(&site, 102, "10");
    site.run(&["run", "--fresh"]).expect(3);
    assert!(snapshots(&site, 101).contains(&second), "{}", site.ledger_text());
    prune(&site, &["--older-than", "0s"]);
    assert!(snapshots(&site, 101).contains(&second), "{}", site.ledger_text());
}
