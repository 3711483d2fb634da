//! `run` as it goes when nothing gets in its way, or only one guest does; and `--dry-run`.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::fleet;
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::{MachineId, Os, World};

use crate::support::{Site, guest, host};

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

#[test]
fn a_fleet_is_upgraded_and_then_there_is_nothing_to_do() {
    let site = Site::new(fleet::small());
    let first = site.run(&["run"]).expect(0).says(&["edge1", "done", "packages changed"]);
    assert!(!first.stdout.contains('\u{1b}') && !first.stderr.contains('\u{1b}'), "colour off a terminal: {first}");
    site.assert_clean();
    for vmid in [101, 102, 201] {
        assert_eq!(site.behind(&edge(vmid)), 0);
        assert_eq!(site.count(Act::SnapshotCreate, &vmid.to_string()), 1);
        assert_eq!(site.count(Act::Upgrade, &vmid.to_string()), 1);
    }
    assert_eq!(site.behind(&MachineId::node("edge1")), 0);
    assert_eq!(site.count(Act::Upgrade, "edge1"), 1);
    assert!(!site.ledger().iter().any(|entry| entry.machine == "103"), "the stopped one was left alone");
    // The world carries the keys: snapshots are named by the run, jobs by the step.
    let run = site.run_name();
    for entry in site.ledger() {
        match entry.act {
            Act::SnapshotCreate => assert_eq!(entry.key, Some(format!("pm-{run}-r1"))),
            Act::Upgrade => assert!(entry.key.as_ref().is_some_and(|key| key.contains(&run)), "{entry}"),
            _ => {}
        }
    }
    let snapshots = site.with(|world| world.guest(&edge(101)).expect("a guest").snapshots.len());
    assert_eq!(snapshots, 1);

    // Each upgrade came behind its guest's protection, and the node's behind all guests'.
    let order: Vec<(Act, String)> = site.changes().into_iter().map(|entry| (entry.act, entry.machine)).collect();
    let place = |act: Act, machine: &str| order.iter().position(|(a, m)| *a == act && m == machine).expect("an entry");
    for vmid in ["101", "102", "201"] {
        assert!(place(Act::SnapshotCreate, vmid) < place(Act::Upgrade, vmid));
        assert!(place(Act::Upgrade, vmid) < place(Act::Upgrade, "edge1"));
    }

    let before = site.changes().len();
    site.run(&["run"]).expect(0).says(&["nothing to do"]);
    assert_eq!(site.changes().len(), before, "a second run changed something:\n{}", site.ledger_text());
    assert_ne!(site.run_name(), run, "a run that is finished is not gone on with");
}

#[test]
fn a_guest_that_cannot_be_protected_is_blocked_and_the_others_go_on() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(2))
        .ct("edge1", 102, |ct| ct.no_snapshots().pending(2))
        .ct("edge1", 103, |ct| ct.locked("backup").pending(2))
        .vm("edge1", 201, |vm| vm.no_snapshots().pending(2))
        .build();
    let site = Site::new(world);
    site.replace("[defaults]\n", "[defaults]\nlock_wait = \"1s\"\n");
    let run = site.run(&["run", "--output", "json"]).expect(3);
    let ended = run.ended();
    assert_eq!((&ended["result"], &ended["exit_code"]), (&"failed".into(), &3.into()));
    assert_eq!(host(&ended, "edge1")["result"], "blocked");
    let view = site.status(&[]);
    for (id, why) in [(102, "storage has no snapshots"), (103, "locked (backup)")] {
        let blocked = guest(&view, "edge1", id);
        assert_eq!(blocked["state"], "blocked");
        assert!(blocked["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{blocked:#}");
        assert!(!site.changes().iter().any(|entry| entry.machine == id.to_string()), "{}", site.ledger_text());
    }
    // The VM on the same kind of storage is protected by a backup instead, which carries the step's key as its note.
    assert_eq!(guest(&view, "edge1", 201)["state"], "upgraded");
    assert_eq!(guest(&view, "edge1", 201)["kept"][0]["kind"], "backup");
    let note = format!("proxmaint {}/edge1/201/backup/r1", view["run"].as_str().expect("a name"));
    assert_eq!(site.with(|world| world.ledger.count_key(Act::Backup, &note)), 1, "{}", site.ledger_text());
    assert_eq!(guest(&view, "edge1", 101)["state"], "upgraded");
    // Blocked is finished: the next run is a new one, and no snapshot of another guest is made again.
    let before = site.changes().len();
    site.run(&["run"]).expect(3).says(&["blocked"]);
    assert_eq!(site.changes().len(), before, "{}", site.ledger_text());
    assert_ne!(site.run_name(), view["run"].as_str().expect("a name"));
}

#[test]
fn a_failed_upgrade_is_tried_again_by_the_same_run_once_its_cause_is_gone() {
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.pending(2))
        .ct("edge1", 102, |ct| ct.os(Os::Alpine322).pending(2))
        .fault(Fault::upgrade("101", UpgradeFault::Exit { code: 100 }))
        .build();
    let site = Site::new(world);
    site.run(&["run"]).expect(3).says(&["101", "failed", "exit status 100", "kept for a rollback", "proxmaint run"]);
    let run = site.run_name();
    assert_eq!((site.behind(&edge(101)), site.behind(&edge(102))), (2, 0));
    site.assert_faults_struck();

    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run, "the same run goes on");
    assert_eq!((site.behind(&edge(101)), site.behind(&edge(102))), (0, 0));
    assert_eq!(site.count(Act::Upgrade, "102"), 1, "{}", site.ledger_text());
    assert_eq!(site.count(Act::SnapshotCreate, "102"), 1, "{}", site.ledger_text());
    assert_eq!(site.done(Act::Upgrade, "edge1"), 1);
    let keys: Vec<_> = site.with(|world| world.ledger.of(Act::Upgrade, "101").map(|e| e.key.clone()).collect());
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1], "a new round has a key of its own");
    assert_eq!(site.behind(&MachineId::node("edge1")), 0);
}

#[test]
fn a_failed_node_upgrade_is_exit_code_3_and_the_next_run_goes_on() {
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(2))
        .ct("edge1", 101, |ct| ct.pending(1))
        .fault(Fault::upgrade("edge1", UpgradeFault::Exit { code: 7 }))
        .build();
    let site = Site::new(world);
    site.run(&["run"]).expect(3).says(&["edge1", "exit status 7"]);
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!(site.count(Act::Upgrade, "101"), 1);
    assert_eq!(site.done(Act::Upgrade, "edge1"), 1);
}

/// A fleet with every sort of guest that a plan has something to say about.
fn assorted() -> World {
    World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(2))
        .ct("edge1", 101, |ct| {
            let ct = ct.name("web").os(Os::Ubuntu2404).pending(3);
            ct.lists_age_ms(Some(3 * 86_400_000)).mount(0, "/data", false)
        })
        .ct("edge1", 102, |ct| ct.name("files").no_snapshots().pending(1))
        .ct("edge1", 103, |ct| ct.name("off").stopped().pending(1))
        .ct("edge1", 104, |ct| ct.name("base").template())
        .ct("edge1", 105, |ct| ct.name("new").unknown(2))
        .vm("edge1", 201, |vm| vm.name("db").no_snapshots().pending(2))
        .build()
}

#[test]
fn a_dry_run_touches_nothing_and_says_what_would_be_done() {
    let site = Site::new(assorted());
    site.run(&["run", "--dry-run", "--verbose"]).expect(3).says(&[
        "pct exec",
        "snapshot",
        "backup",
        "3d00h old",
        "a backup does not cover: mp0",
        "not running",
        "template",
        "storage has no snapshots",
        "over SSH to",
    ]);
    site.assert_untouched();
    assert!(!site.state().join("journal").exists(), "a dry run keeps no journal");

    let json = site.run(&["run", "--dry-run", "--output", "json"]).expect(3);
    let lines = json.events();
    assert_eq!((&lines[0]["event"], &lines[1]["event"], lines.len()), (&"plan".into(), &"plan-ended".into(), 2));
    let plan = |id: u64| {
        let guests = lines[0]["guests"].as_array().expect("guests");
        guests.iter().find(|guest| guest["id"] == id).unwrap_or_else(|| panic!("no guest {id}")).clone()
    };
    assert_eq!(lines[0]["node_upgrade"]["packages"].as_array().map(Vec::len), Some(2));
    assert_eq!(plan(201)["upgrade"]["via"], "ssh");
    assert_eq!(plan(201)["upgrade"]["protection"][0], "backup to local");
    assert_eq!((plan(102)["decision"].clone(), plan(103)["decision"].clone()), ("block".into(), "skip".into()));
    // The lists are not refreshed, so what only the repository knows of is not in the plan.
    assert_eq!(plan(105)["decision"], "skip");
    assert!(lines[1]["blocked"] == 1 && lines[1]["guests"].as_u64() >= Some(1), "{}", lines[1]);
    site.assert_untouched();
}

#[test]
fn a_manifest_can_ask_for_a_dry_run_host_by_host() {
    let world = World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .ct("edge1", 101, |ct| ct.pending(2))
        .ct("edge2", 101, |ct| ct.pending(2))
        .build();
    let site = Site::new(world);
    site.edit(|text| text.replace("name = \"edge1\"\n", "name = \"edge1\"\ndry_run = true\n"));
    site.run(&["run", "--host", "edge1"]).expect(0).says(&["101", "pct exec"]);
    site.assert_untouched();
    site.run(&["run"]).expect(0);
    assert!(site.ledger().iter().all(|entry| entry.node == "edge2"), "{}", site.ledger_text());
    assert_eq!(site.behind(&MachineId::guest("edge2", 101)), 0);
    assert_eq!(site.behind(&edge(101)), 2);
}

#[test]
fn what_was_unknown_before_the_lists_were_refreshed_is_upgraded_too() {
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.unknown(2))
        .ct("edge1", 101, |ct| ct.unknown(3))
        .ct("edge1", 102, |ct| ct)
        .build();
    let site = Site::new(world);
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!((site.done(Act::Upgrade, "101"), site.done(Act::Upgrade, "edge1")), (1, 1));
    assert!(!site.changes().iter().any(|entry| entry.machine == "102"), "nothing was pending there");
    assert!(site.ledger().iter().all(|entry| entry.outcome == Outcome::Done), "{}", site.ledger_text());
}
