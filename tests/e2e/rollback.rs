//! Rollbacks: by themselves where an upgrade went wrong, and at the operator's word; what stands in their way, and what comes after.

use proxmaint_lab::faults::{Fault, TaskFault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Disturbance, Durations, MachineId, Os, World, WorldBuilder};

use crate::support::{Screen, Site, guest};

const ROLLBACK: &str = "on_failure = \"rollback\"";

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

/// A lab whose manifest says these lines among its defaults.
fn site(world: WorldBuilder, defaults: &str) -> Site {
    let site = Site::new(world.build());
    site.replace("[defaults]\n", &format!("[defaults]\n{defaults}\n"));
    site
}

fn runs(site: &Site, vmid: u32) -> bool {
    site.with(|world| world.guest(&edge(vmid)).expect("a guest").running())
}

fn breaks(machine: &str) -> Fault {
    Fault::upgrade(machine, UpgradeFault::HalfConfigure { code: 100 })
}

fn state_of(site: &Site, vmid: u64) -> String {
    guest(&site.status(&[]), "edge1", vmid)["state"].as_str().unwrap_or_default().to_owned()
}

/// A container over pct, a VM over its agent or SSH, and one that comes out well.
fn three() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.name("web").pending(2))
        .ct("edge1", 102, |ct| ct.pending(1))
        .vm("edge1", 201, |vm| vm.os(Os::Ubuntu2404).pending(2))
}

#[test]
fn what_went_wrong_is_undone_and_not_tried_again_unless_said() {
    let site = site(three().fault(breaks("101")).fault(breaks("201")), ROLLBACK);
    let run = site.run(&["run"]).expect(3);
    run.says(&["rolling back to pm-", "CT 101 (web)"]);
    for vmid in [101, 201] {
        assert_eq!(state_of(&site, u64::from(vmid)), "rolled-back");
        assert!(runs(&site, vmid), "{vmid} runs again");
        assert_eq!(site.behind(&edge(vmid)), 2, "{vmid} has its old packages");
        let half = site.with(|world| world.machine(&edge(vmid)).expect("a machine").packages.half_configured.len());
        assert_eq!(half, 0, "{vmid}");
        assert_eq!((site.count(Act::Rollback, &vmid.to_string()), site.count(Act::Upgrade, &vmid.to_string())), (1, 1));
    }
    assert_eq!(state_of(&site, 102), "upgraded");
    let first = site.run_name();
    let retry = format!("proxmaint resolve {first} edge1 101 --retry");
    site.run(&["status"]).expect(0).says(&["rolled back", &retry]);

    // The next run is another one, and leaves them alone.
    site.run(&["plan"]).expect(3).says(&[&format!("was rolled back by run {first}"), &retry]);
    site.run(&["run"]).expect(3).says(&[&format!("was rolled back by run {first}"), &retry]);
    assert_ne!(site.run_name(), first, "nothing was left to go on with");
    assert_eq!((state_of(&site, 101), state_of(&site, 201)), ("blocked".to_owned(), "blocked".to_owned()));
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());

    site.run(&["resolve", &first, "edge1", "101", "--retry"]).expect(0).says(&["the next `proxmaint run` upgrades it"]);
    site.run(&["run"]).expect(3);
    assert_eq!((state_of(&site, 101), state_of(&site, 201)), ("upgraded".to_owned(), "blocked".to_owned()));
    assert_eq!((site.behind(&edge(101)), site.count(Act::Upgrade, "201")), (0, 1));
}

#[test]
fn by_hand_on_a_run_that_is_over() {
    let site = Site::new(three().build());
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    let before = site.changes().len();
    site.run(&["rollback", &run, "edge9", "101"]).expect(2).says(&["has no host edge9", "it has: edge1"]);
    site.run(&["rollback", &run, "edge1", "999"]).expect(2).says(&["has no guest 999"]);
    // Nobody is there to ask.
    site.run(&["rollback", &run, "edge1", "101"]).expect(2).says(&[
        "CT 101 (web) on edge1",
        "was upgraded",
        "goes back to: snapshot pm-",
        // Two packages, of 3 MiB each in the lab.
        "what was written since is lost: 6 MiB (as ZFS counts)",
        "it is stopped hard, and started again",
        "--yes",
    ]);
    site.run(&["rollback", &run, "edge1", "102"]).expect(2).says(&["is lost: 3 MiB (as ZFS counts)"]);
    site.run(&["rollback", &run, "edge1", "201"]).expect(2).says(&["is lost: 6 MiB (as ZFS counts)"]);
    assert_eq!(site.changes().len(), before, "{}", site.ledger_text());

    let done = site.run(&["rollback", &run, "edge1", "101", "--yes"]).expect(0);
    done.says(&["CT 101 (web) is back at snapshot pm-", "it runs, and was checked", "--retry"]);
    assert_eq!((site.behind(&edge(101)), runs(&site, 101)), (2, true));
    assert_eq!(state_of(&site, 101), "rolled-back");
    site.run(&["rollback", &run, "edge1", "101"]).expect(2).says(&["was rolled back before", "is lost: 0 bytes"]);
    // It is no failure, and the run is over still: the next one is another one, and leaves it alone.
    site.run(&["run"]).expect(3).says(&["was rolled back by run"]);
    assert_ne!(site.run_name(), run);
    assert_eq!(site.count(Act::Upgrade, "101"), 1);
}

#[test]
fn by_hand_after_a_failure_that_was_kept() {
    let site = Site::new(three().fault(breaks("201")).build());
    let failed = site.run(&["run"]).expect(3);
    let run = site.run_name();
    let command = format!("proxmaint rollback {run} edge1 201");
    let resolve = format!("proxmaint resolve {run} edge1 201 --retry|--done|--skip");
    let ways = [
        format!("{command}  (undoes its upgrade: it goes back to its snapshot, and what was written since is lost)"),
        format!("{resolve}  (--done: you mended it; --retry: upgrade it again; --skip: leave it as it is in this run)"),
    ];
    for way in &ways {
        failed.clone().says(&[&format!("To decide about guest 201 on edge1: {way}")]);
        site.run(&["status"]).expect(0).says(&["failed, held", &format!("To decide: {way}")]);
    }
    site.run(&["rollback", &run, "edge1", "201", "--yes"]).expect(0);
    assert_eq!((site.behind(&edge(201)), runs(&site, 201)), (2, true));
    assert_eq!(site.status(&[])["hosts"][0]["result"], "succeeded", "{:#}", site.status(&[]));
}

#[test]
fn what_is_said_in_the_end_is_about_the_guest_and_not_about_the_run() {
    let world = three().standalone("edge2").ct("edge2", 111, |ct| ct.pending(1));
    let site = Site::new(world.fault(breaks("101")).fault(breaks("111")).build());
    site.run(&["run"]).expect(3);
    let run = site.run_name();
    let done = site.run(&["rollback", &run, "edge1", "101", "--yes"]).expect(0);
    done.clone().says(&[
        "CT 101 (web): rolling back to pm-",
        "CT 101 (web) is back at snapshot pm-",
        "it runs, and was checked",
    ]);
    for other in ["everything is verified", "the run is over", "goes on where it stopped", "stopping guests", "done in"]
    {
        assert!(!done.stderr.contains(other), "{other:?} is not true of the run, or was not asked:\n{done}");
    }
    // The other guest waits for its own decision.
    let rollback = format!("proxmaint rollback {run} edge2 111");
    site.run(&["status"]).expect(0).says(&["failed, held", &rollback]);
}

#[test]
fn what_stands_in_the_way_is_found_before() {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1).auto_snapshots())
        .ct("pve1", 103, |ct| ct.pending(1))
        .replicated("lab", 101, "pve2");
    let site = site(world, ROLLBACK);
    site.run(&["plan", "--host", "pve1"]).expect(3).says(&["can't be rolled back: it is replicated (job 101-0)"]);
    site.run(&["run", "--host", "pve1"]).expect(3);
    let view = site.status(&[]);
    for (vmid, why) in [(101, "replicated (job 101-0)"), (102, "rpool/data/subvol-102-disk-0@autosnap")] {
        let seen = guest(&view, "pve1", vmid);
        assert_eq!(seen["state"], "blocked", "{view:#}");
        assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{seen:#}");
        assert_eq!(site.count(Act::Upgrade, &vmid.to_string()), 0);
    }
    assert_eq!(guest(&view, "pve1", 103)["state"], "upgraded");

    // By hand it is refused as well, with what to do about it.
    let run = site.run_name();
    let id = MachineId::guest("lab", 103);
    site.with(|world| {
        let now = world.now();
        world.foreign_snapshot(now, &id, "sanoid_daily");
    });
    let refused = site.run(&["rollback", &run, "pve1", "103", "--yes"]).expect(3);
    refused.says(&["newer snapshots on its ZFS: rpool/data/subvol-103-disk-0@sanoid_daily", "zfs destroy"]);
    assert_eq!(site.count(Act::Rollback, "103"), 0);
}

#[test]
fn one_that_was_killed_goes_on_by_the_same_command() {
    let world = three().durations(Durations { rollback: 1_500, ..Durations::quick() });
    let site = Site::new(world.build());
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    let working = site.start(&["rollback", &run, "edge1", "101", "--yes"]);
    site.await_begun(Act::Rollback, "101");
    working.kill();
    site.run(&["rollback", &run, "edge1", "101"])
        .expect(0)
        .says(&["was begun before and goes on", "is back at snapshot"]);
    assert_eq!((site.count(Act::Rollback, "101"), runs(&site, 101), site.behind(&edge(101))), (1, true, 2));
    // Or by `restore`, which makes it run again.
    let working = site.start(&["rollback", &run, "edge1", "201", "--yes"]);
    site.await_begun(Act::Rollback, "201");
    working.kill();
    site.run(&["restore", &run, "--yes"]).expect(0);
    assert_eq!((site.count(Act::Rollback, "201"), runs(&site, 201), site.behind(&edge(201))), (1, true, 2));
    assert_eq!(state_of(&site, 201), "rolled-back");
}

#[test]
fn on_a_terminal_it_asks_and_takes_no_for_an_answer() {
    let site = Site::new(three().build());
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    for (yes, rollbacks) in [(false, 0), (true, 1)] {
        let screen = Screen::start(&site, &["rollback", &run, "edge1", "101"], &[]);
        screen.confirm("Roll it back?", yes);
        screen.finish().expect(0);
        assert_eq!(site.count(Act::Rollback, "101"), rollbacks, "{yes}");
    }
    assert!(runs(&site, 101));
}

#[test]
fn a_rollback_that_fails_by_hand_is_held_until_it_is_decided_about() {
    let site = Site::new(three().build());
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    let text = "zfs error: dataset is busy".to_owned();
    site.plant(Fault::task("vzrollback", 101, TaskFault::Fail { text, leave_lock: false }));
    site.run(&["rollback", &run, "edge1", "101", "--yes"]).expect(3).says(&["dataset is busy", "proxmaint resolve"]);
    assert_eq!(state_of(&site, 101), "held");
    site.run(&["rollback", &run, "edge1", "101", "--yes"]).expect(2).says(&["is held", "decide first"]);
    site.run(&["resolve", &run, "edge1", "101", "--retry"]).expect(0);
    site.run(&["rollback", &run, "edge1", "101", "--yes"]).expect(0).says(&["is back at snapshot"]);
    assert_eq!((site.count(Act::Rollback, "101"), runs(&site, 101)), (2, true));
}

#[test]
fn what_does_not_do_as_before_is_undone_and_does_again() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| {
            ct.pending(1).listens(22).upgrade_does(Disturbance::Fails("shop.service".to_owned(), None))
        })
        .vm("edge1", 201, |vm| vm.pending(1));
    let site = site(world, ROLLBACK);
    site.run(&["run"]).expect(3).says(&["shop.service", "rolling back to pm-"]);
    let seen = guest(&site.status(&[]), "edge1", 101);
    assert_eq!(seen["state"], "rolled-back", "{seen:#}");
    let reason = seen["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("shop.service") && !reason.contains("not as it was before"), "it does as before: {reason}");
    assert_eq!((site.count(Act::Rollback, "101"), site.behind(&edge(101)), runs(&site, 101)), (1, 1, true));
    assert_eq!(state_of(&site, 201), "upgraded");
}
