//! Canaries and their soak, a run that halts, and hosts that are paused, gone on with or stopped.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{MachineId, World, WorldBuilder};
use rustix::process::Signal;

use crate::support::{Site, guest, host, side_by_side};

/// Each on a site of its own.
#[test]
fn rings() {
    side_by_side(&[
        ("a_canary_that_fails_stops_the_run", a_canary_that_fails_stops_the_run),
        ("the_rest_begins_after_the_soak", the_rest_begins_after_the_soak),
        ("a_soak_is_interrupted_at_once_and_goes_on", a_soak_is_interrupted_at_once_and_goes_on),
        ("a_canary_that_is_nowhere_stops_the_run", a_canary_that_is_nowhere_stops_the_run),
        ("too_many_failures_stop_the_run", too_many_failures_stop_the_run),
        ("a_host_is_paused_and_goes_on", a_host_is_paused_and_goes_on),
        ("a_host_is_stopped_and_left_for_the_next_run", a_host_is_stopped_and_left_for_the_next_run),
        ("nobody_is_there_to_be_paused", nobody_is_there_to_be_paused),
        ("canaries_are_checked_when_the_manifest_is_read", canaries_are_checked_when_the_manifest_is_read),
        ("a_broken_canary_waits_for_the_operator", a_broken_canary_waits_for_the_operator),
        ("a_canary_that_was_brought_back_is_tried_first", a_canary_that_was_brought_back_is_tried_first),
        ("a_broken_guest_of_a_canary_host_waits_as_well", a_broken_guest_of_a_canary_host_waits_as_well),
        ("a_soak_without_canaries_is_remarked_upon", a_soak_without_canaries_is_remarked_upon),
    ]);
}

fn two() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .node("edge1", |node| node.pending(1))
        .node("edge2", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .ct("edge2", 111, |ct| ct.pending(1))
}

fn site(world: WorldBuilder, defaults: &str) -> Site {
    let site = Site::new(world.build());
    site.replace("[defaults]\n", &format!("[defaults]\nmax_parallel = 1\n{defaults}\n"));
    site
}

/// Everything is upgraded in the end; what failed was protected once more for that.
fn left_nothing(site: &Site) {
    for (node, guest) in [("edge1", 101), ("edge1", 102), ("edge2", 111)] {
        assert_eq!(site.behind(&MachineId::guest(node, guest)), 0, "{guest}:\n{}", site.ledger_text());
        assert_eq!(site.behind(&MachineId::node(node)), 0, "{node}:\n{}", site.ledger_text());
    }
}

fn a_canary_that_fails_stops_the_run() {
    let fails = Fault::upgrade("111", UpgradeFault::Exit { code: 100 });
    let site = site(two().fault(fails), "canary = [\"edge2/111\"]");
    let done = site.run(&["run"]).expect(3);
    done.says(&["halted: a canary went wrong: edge2: CT 111 failed", "1 host not begun"]);
    assert_eq!(site.count(Act::Upgrade, "*"), 1, "{}", site.ledger_text());
    site.run(&["status"]).expect(0).says(&["Halted: a canary went wrong", "proxmaint run"]);
    let view = site.status(&[]);
    assert!(view["rollout"]["halted"].as_str().is_some_and(|why| why.contains("CT 111")), "{view:#}");
    assert_eq!(host(&view, "edge1")["phase"], "pending");
    // It is mended: the same run goes on with the canary, and then with the rest.
    let run = site.run_name();
    site.run(&["run"]).expect(0).says(&["the canaries are well: the rest begins"]);
    assert_eq!(site.run_name(), run);
    left_nothing(&site);
}

fn the_rest_begins_after_the_soak() {
    let site = site(two(), "canary = [\"edge2\"]\nsoak = \"2s\"");
    site.run(&["plan"]).expect(0).says(&["canaries go first: edge2", "after a soak of 2s"]);
    let working = site.start(&["run", "--output", "json"]);
    working.event(|event| event["event"] == "soaking");
    let view = site.status(&[]);
    assert_eq!(
        (&view["rollout"]["stage"], &host(&view, "edge1")["gate"]),
        (&"soaking".into(), &"waits-for-canaries".into())
    );
    assert!(view["rollout"]["until"].is_string(), "{view:#}");
    assert_eq!((site.done(Act::Upgrade, "111"), site.count(Act::Upgrade, "101")), (1, 0), "{}", site.ledger_text());
    site.run(&["status"]).expect(0).says(&["soaking until", "waits for the canaries"]);
    let done = working.finish().expect(0);
    assert!(done.events().iter().any(|event| event["event"] == "canaries-held"), "{done}");
    site.assert_clean();
}

fn a_soak_is_interrupted_at_once_and_goes_on() {
    let site = site(two(), "canary = [\"111\"]\nsoak = \"5s\"");
    let working = site.start(&["run", "--output", "json"]);
    let until = working.event(|event| event["event"] == "soaking")["until"].clone();
    working.signal(Signal::INT);
    working.finish().expect(5);
    assert_eq!(site.count(Act::Upgrade, "101") + site.count(Act::Upgrade, "edge2"), 0, "{}", site.ledger_text());
    // What is left of the soak is waited for, and not all of it anew.
    let working = site.start(&["run", "--output", "json"]);
    assert_eq!(working.event(|event| event["event"] == "soaking")["until"], until);
    working.finish().expect(0);
    site.assert_clean();
    assert_eq!(site.count(Act::Upgrade, "111"), 1, "{}", site.ledger_text());
}

fn a_canary_that_is_nowhere_stops_the_run() {
    let site = site(two(), "canary = [\"111\", \"tag:nowhere\"]");
    site.run(&["run"]).expect(3).says(&["the canary `tag:nowhere`", "matches no guest"]);
    assert_eq!(site.count(Act::SnapshotCreate, "*") + site.count(Act::Upgrade, "*"), 0, "{}", site.ledger_text());
    site.replace(", \"tag:nowhere\"", "");
    site.run(&["run"]).expect(1).says(&["canary 111, tag:nowhere -> 111", "--replan"]);
    site.run(&["run", "--replan"]).expect(0);
    site.assert_clean();
}

fn too_many_failures_stop_the_run() {
    let fails = |guest: &str| Fault::upgrade(guest, UpgradeFault::Exit { code: 100 });
    let site = site(two().fault(fails("101")), "max_failures = 5");
    site.run(&["run", "--max-failures", "0"]).expect(3).says(&["something failed, and max_failures is 0"]);
    assert_eq!(site.count(Act::Upgrade, "*"), 1, "{}", site.ledger_text());
    site.run(&["run"]).expect(0);
    left_nothing(&site);
}

fn a_host_is_paused_and_goes_on() {
    let site = site(two().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 })), "");
    let working = site.start(&["run", "--output", "json"]);
    site.await_begun(Act::Upgrade, "101");
    let said = site.run(&["pause", "edge1"]).expect(0);
    said.says(&["edge1: paused: what is at work comes to its end (CT 101", "upgrade); nothing else begins"]);
    site.run(&["pause", "edge9"]).expect(2).says(&["the run has no host edge9"]);
    // The other host is worked on meanwhile, and the session waits for this one.
    working.event(|event| event["event"] == "host-changed" && event["host"] == "edge2" && event["phase"] == "done");
    site.until("edge1 is parked", |_| guest(&site.status(&[]), "edge1", 101)["state"] == "upgraded");
    let view = site.status(&[]);
    assert_eq!((&host(&view, "edge1")["gate"], &view["counts"]["active"]), (&"paused".into(), &0.into()), "{view:#}");
    assert_eq!(site.count(Act::Upgrade, "102"), 0, "{}", site.ledger_text());
    site.run(&["status"]).expect(0).says(&["edge1  paused"]);
    site.run(&["continue", "--all", "--output", "json"]).expect(0).says(&["\"done\":true"]);
    working.finish().expect(0);
    site.assert_clean();
}

fn a_host_is_stopped_and_left_for_the_next_run() {
    let site = site(two().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 })), "");
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    site.run(&["stop", "edge2"]).expect(0).says(&["edge2: stopped: nothing was begun there"]);
    site.run(&["stop", "edge2"]).expect(0).says(&["was stopped already"]);
    working.finish().expect(5);
    assert_eq!((site.done(Act::Upgrade, "edge1"), site.count(Act::Upgrade, "111")), (1, 0), "{}", site.ledger_text());
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

fn nobody_is_there_to_be_paused() {
    let site = site(two(), "");
    for order in ["pause", "continue", "stop"] {
        site.run(&[order, "edge1"]).expect(2).says(&["no run is at work", "proxmaint status"]);
    }
    site.run(&["pause"]).expect(2);
}

fn canaries_are_checked_when_the_manifest_is_read() {
    let site = site(two(), "canary = [\"edge9/101\", \"colour:red\"]");
    site.run(&["run"]).expect(1).says(&["there is no host `edge9`", "the manifest has: edge1, edge2", "`colour:red`"]);
    assert_eq!(site.ledger().len(), 0);
}

/// A run that halts since its canary, CT 111 of edge2, was broken by its upgrade; and its name.
fn broken(canary: &str) -> (Site, String) {
    let breaks = Fault::upgrade("111", UpgradeFault::HalfConfigure { code: 100 });
    let site = site(two().fault(breaks), &format!("canary = [\"{canary}\"]"));
    let halted = site.run(&["run"]).expect(3);
    let run = site.run_name();
    halted.says(&[
        "halted: a canary went wrong: edge2: CT 111 failed",
        &format!("proxmaint rollback {run} edge2 111"),
        &format!("proxmaint resolve {run} edge2 111 --retry|--done|--skip"),
    ]);
    assert_eq!((site.count(Act::Upgrade, "111"), site.count(Act::Upgrade, "edge1")), (1, 0), "{}", site.ledger_text());
    let seen = guest(&site.status(&[]), "edge2", 111);
    assert_eq!((&seen["state"], &seen["held"]), (&"failed".into(), &true.into()), "{seen:#}");
    (site, run)
}

/// The rest does not begin while the canary is as it is, however often the run is gone on with, and the canary is left alone.
fn halts_again(site: &Site, run: &str, why: &str) {
    for _ in 0..2 {
        let again = site.run(&["run"]).expect(3);
        again.says(&[why, &format!("proxmaint resolve {run} edge2 111 --retry")]);
        let upgraded = ["111", "101", "102", "edge1"].map(|machine| site.count(Act::Upgrade, machine));
        assert_eq!((site.run_name().as_str(), upgraded), (run, [1, 0, 0, 0]), "{}", site.ledger_text());
    }
    site.run(&["status"]).expect(0).says(&[&format!("proxmaint resolve {run} edge2 111 --retry")]);
}

fn mended_by_hand(site: &Site) {
    site.with(|world| {
        let id = MachineId::guest("edge2", 111);
        world.machine_mut(&id).expect("a guest").packages.half_configured.clear();
    });
}

fn a_broken_canary_waits_for_the_operator() {
    let (site, run) = broken("edge2/111");
    halts_again(&site, &run, "halted: a canary is not well: edge2: CT 111 failed");
    mended_by_hand(&site);
    site.run(&["resolve", &run, "edge2", "111", "--done"]).expect(0).says(&[&format!("goes on with run {run}")]);
    site.run(&["run"]).expect(0).says(&["the canaries are well: the rest begins"]);
    assert_eq!((site.run_name(), site.count(Act::Upgrade, "111")), (run, 1), "{}", site.ledger_text());
    left_nothing(&site);
}

fn a_canary_that_was_brought_back_is_tried_first() {
    let (site, run) = broken("edge2/111");
    site.run(&["rollback", &run, "edge2", "111", "--yes"]).expect(0);
    halts_again(&site, &run, "halted: a canary is not well: edge2: CT 111 was rolled back");
    site.run(&["resolve", &run, "edge2", "111", "--retry"]).expect(0);
    site.run(&["run"]).expect(0).says(&["the canaries are well: the rest begins"]);
    assert_eq!((site.run_name(), site.done(Act::Upgrade, "111")), (run, 1), "{}", site.ledger_text());
    let upgrades = site.ledger().into_iter().filter(|entry| entry.act == Act::Upgrade);
    let order: Vec<String> = upgrades.map(|entry| entry.machine.to_string()).collect();
    assert!(order[1].contains("111"), "the canary is tried again before anything else: {order:?}");
    left_nothing(&site);
}

fn a_broken_guest_of_a_canary_host_waits_as_well() {
    let (site, run) = broken("edge2");
    halts_again(&site, &run, "CT 111 failed");
    site.run(&["resolve", &run, "edge2", "111", "--skip"]).expect(0);
    site.run(&["run"]).expect(0).says(&["the canaries are well: the rest begins"]);
    assert_eq!((site.run_name(), site.count(Act::Upgrade, "111")), (run, 1), "{}", site.ledger_text());
    for guest in [101, 102] {
        assert_eq!(site.behind(&MachineId::guest("edge1", guest)), 0, "{guest}:\n{}", site.ledger_text());
    }
}

fn a_soak_without_canaries_is_remarked_upon() {
    let site = site(two(), "soak = \"2h\"");
    let said = "`soak` has no effect without `canary`";
    site.run(&["manifest", "check"]).expect(0).says(&[said]);
    site.run(&["run"]).expect(0).says(&[said, "say who goes first"]);
    site.assert_clean();
}
