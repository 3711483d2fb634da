//! Saved plans: what is done by them, what is refused, and how a run by one goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::{MachineId, World, WorldBuilder};
use rustix::process::Signal;
use serde_json::Value;
use sha2::Digest as _;

use crate::support::{Done, Screen, Site, guest, host, side_by_side};

const FILE: &str = "monday.plan";
const PLAN: &[&str] = &["plan", "--out", FILE];
const RUN: &[&str] = &["run", "--plan", FILE];

fn builder() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .node("edge1", |node| node.pending(1))
        .node("edge2", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.package("curl", "8.1", "8.2"))
        .ct("edge1", 102, |ct| ct)
        .ct("edge2", 111, |ct| ct.pending(1))
}

/// Two nodes; CT 101 of the first one would get curl 8.2.
fn two() -> Site {
    Site::new(builder().build())
}

fn in_repository(site: &Site, machine: &MachineId, package: &str, version: &str) {
    site.with(|world| {
        let packages = &mut world.machine_mut(machine).expect("a machine").packages;
        packages.installed.entry(package.to_owned()).or_insert_with(|| "0".to_owned());
        packages.repository.insert(package.to_owned(), version.to_owned());
    });
}

fn curl(site: &Site, version: &str) {
    in_repository(site, &MachineId::guest("edge1", 101), "curl", version);
}

/// The machines that were changed, each as its node and itself.
fn changed(site: &Site) -> Vec<(String, String)> {
    site.changes().into_iter().map(|entry| (entry.node, entry.machine.to_string())).collect()
}

fn file(site: &Site) -> String {
    fs::read_to_string(site.fleet().join(FILE)).expect("a plan")
}

/// What was left behind of files that were being written.
fn staged(site: &Site) -> Vec<String> {
    let names = fs::read_dir(site.fleet()).expect("a directory");
    let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".proxmaint")).collect()
}

#[test]
fn what_was_planned_is_done_and_nothing_else() {
    let site = two();
    let done = site.run(&["plan", "--host", "edge1", "--guests-only", "--out", FILE]).expect(0);
    done.says(&["edge1", "CT 101", "saved", "proxmaint run --plan monday.plan"]);
    site.assert_untouched();
    assert!(!site.state().join("journal").exists(), "planning is no run");
    let mode = fs::metadata(site.fleet().join(FILE)).expect("a plan").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let json: Value = serde_json::from_str(&file(&site)).expect("JSON");
    assert_eq!((&json["v"], &json["plan"]["hosts"][0]["facts"]["node"]), (&1.into(), &"edge1".into()));

    let ended = site.run(&["run", "--plan", FILE, "--output", "json"]).expect(0).ended();
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["state"], "upgraded");
    assert_eq!(ended["hosts"].as_array().map(Vec::len), Some(1), "{ended:#}");
    assert_eq!((site.done(Act::Upgrade, "*"), site.done(Act::Upgrade, "101")), (1, 1), "{}", site.ledger_text());
    assert_eq!(staged(&site), [""; 0]);
}

#[test]
fn the_same_is_shown_as_by_a_dry_run() {
    let site = two();
    let without_times = |done: &Done| {
        let events = done.events().into_iter().map(|mut event| {
            for key in ["facts_at", "node_upgrade", "guests", "t"] {
                event.as_object_mut().expect("an object").remove(key);
            }
            event
        });
        events.collect::<Vec<Value>>()
    };
    let dry = site.run(&["run", "--dry-run", "--output", "json"]).expect(0);
    let plan = site.run(&["plan", "--output", "json"]).expect(0);
    assert_eq!(without_times(&plan), without_times(&dry));
    assert_eq!(plan.events().len(), 3);
    site.run(&["plan", "--guest", "999", "--out", FILE]).expect(2).says(&["--guest 999 selects no guest of any host"]);
    site.run(&["plan", "--host", "edge9"]).expect(2).says(&["no host edge9"]);
}

/// Plans, lets something happen on `edge1`, and runs by the plan: `edge1` is refused with these words, `edge2` is done.
#[track_caller]
fn refused(happens: impl FnOnce(&Site), words: &[&str]) {
    let site = two();
    site.run(PLAN).expect(0);
    happens(&site);
    site.run(RUN).expect(3).says(words).says(&["not as it was planned"]);
    let view = site.status(&[]);
    assert_eq!(
        (&host(&view, "edge1")["result"], &host(&view, "edge2")["result"]),
        (&"blocked".into(), &"succeeded".into())
    );
    let touched = changed(&site);
    assert!(!touched.is_empty() && touched.iter().all(|(node, _)| node == "edge2"), "{}", site.ledger_text());
    assert_eq!(site.behind(&MachineId::guest("edge2", 111)), 0);
}

fn another_version_in_a_guest() {
    refused(|site| curl(site, "8.3"), &["CT 101: curl 8.1 -> 8.3 now, was planned 8.1 -> 8.2"]);
}

fn an_upgrade_made_by_hand() {
    let by_hand = |site: &Site| {
        site.with(|world| {
            let packages = &mut world.machine_mut(&MachineId::guest("edge1", 101)).expect("a guest").packages;
            packages.installed = packages.repository.clone();
        });
    };
    refused(by_hand, &["CT 101: left alone (nothing pending) now, was planned to be upgraded"]);
}

fn another_package_of_the_node() {
    let corosync = |site: &Site| in_repository(site, &MachineId::node("edge1"), "zsh", "9");
    refused(corosync, &["the node: zsh 0 -> 9 was not planned"]);
}

fn a_guest_that_is_new() {
    let other = builder().ct("edge1", 190, |ct| ct.stopped()).build();
    let new = other.realms["edge1"].guests[&190].clone();
    refused(
        move |site| site.with(|world| drop(world.realms.get_mut("edge1").expect("a node").guests.insert(190, new))),
        &["CT 190 is new"],
    );
}

fn a_guest_that_is_gone() {
    let gone =
        |site: &Site| site.with(|world| drop(world.realms.get_mut("edge1").expect("a node").guests.remove(&102)));
    refused(gone, &["CT 102 is gone"]);
}

fn another_guest_under_the_same_number() {
    let other = |site: &Site| {
        site.with(|world| {
            let guests = &mut world.realms.get_mut("edge1").expect("a node").guests;
            let net = "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:99:99:99,type=veth";
            guests.get_mut(&102).expect("a guest").config.insert("net0".to_owned(), net.into());
        });
    };
    refused(other, &["CT 102 is another guest now"]);
}

#[test]
fn a_host_where_reality_moved_is_refused_untouched_and_the_others_are_done() {
    side_by_side(&[
        ("another version in a guest", another_version_in_a_guest),
        ("an upgrade made by hand", an_upgrade_made_by_hand),
        ("another package of the node", another_package_of_the_node),
        ("a guest that is new", a_guest_that_is_new),
        ("a guest that is gone", a_guest_that_is_gone),
        ("another guest under the same number", another_guest_under_the_same_number),
    ]);
}

#[test]
fn a_plan_with_refreshed_lists_knows_what_the_run_will_find() {
    let world = World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.pending(1).unknown(1)).build();
    let site = Site::new(world);
    site.run(PLAN).expect(0);
    site.run(RUN).expect(3).says(&["was not planned"]);
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
    let refreshed = site.count(Act::RefreshLists, "101");
    site.run(&["plan", "--refresh", "--out", FILE]).expect(0);
    assert_eq!(site.count(Act::RefreshLists, "101"), refreshed + 1);
    site.run(RUN).expect(0);
    site.assert_clean();
}

#[test]
fn a_file_that_is_not_what_was_saved_is_refused() {
    let site = two();
    site.run(PLAN).expect(0);
    let good = file(&site);
    let write = |text: &str| fs::write(site.fleet().join(FILE), text).expect("the plan is written");
    let cases: [(String, &str); 5] = [
        (good.replace("8.2", "8.9"), "it was damaged or edited"),
        (good[..good.len() / 2].to_owned(), "is no saved plan, or is damaged"),
        (good.replacen("{\"v\":1", "{\"v\":2", 1), "was made by a newer version of proxmaint: it has version 2"),
        ("[defaults]\n".to_owned(), "is no saved plan, or is damaged"),
        (String::new(), "is no saved plan, or is damaged"),
    ];
    for (text, why) in cases {
        assert_ne!(text, good);
        write(&text);
        site.run(RUN).expect(2).says(&[FILE, why]);
    }
    site.run(&["run", "--plan", "tuesday.plan"]).expect(2).says(&["can't read tuesday.plan"]);
    site.assert_untouched();
    assert!(!site.state().join("journal").exists());
    // Spaces are no edit.
    let spaced: Value = serde_json::from_str(&good).expect("JSON");
    write(&serde_json::to_string_pretty(&spaced).expect("JSON"));
    site.run(RUN).expect(0);
    site.assert_clean();
}

#[test]
fn a_plan_that_is_old_is_remarked_upon_and_followed() {
    let site = two();
    site.run(PLAN).expect(0);
    let mut saved: Value = serde_json::from_str(&file(&site)).expect("JSON");
    let made = saved["plan"]["made"].as_i64().expect("a time");
    saved["plan"]["made"] = (made - 26 * 3_600_000).into();
    let plan = serde_json::to_vec(&saved["plan"]).expect("JSON");
    let digest = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(plan));
    saved["digest"] = format!("sha256:{digest}").into();
    fs::write(site.fleet().join(FILE), saved.to_string()).expect("the plan is written");
    site.run(RUN).expect(0).says(&["warning: the plan is 1day 2h"]);
    site.assert_clean();
}

#[test]
fn a_plan_of_another_manifest_or_of_a_host_that_is_gone_is_refused() {
    let site = two();
    site.run(PLAN).expect(0);
    let other = site.fleet().join("other.toml");
    fs::copy(&site.manifest.path, &other).expect("a copy");
    let other = other.to_string_lossy().into_owned();
    site.run(&["run", "--plan", FILE, "--config", &other])
        .expect(2)
        .says(&["of another manifest", "proxmox-hosts.toml"]);
    site.run(&["run", "--plan", FILE, "--host", "edge9"])
        .expect(2)
        .says(&["the plan has no host edge9", "edge1, edge2"]);
    site.replace("name = \"edge2\"", "name = \"edge3\"");
    site.run(RUN).expect(2).says(&["edge2 is planned for", "--host"]);
    site.assert_untouched();
    site.run(&["run", "--plan", FILE, "--host", "edge1"]).expect(0);
    assert!(changed(&site).iter().all(|(node, _)| node == "edge1"), "{}", site.ledger_text());
}

#[test]
fn what_is_no_plan_is_not_replaced() {
    let site = two();
    let manifest = fs::read_to_string(&site.manifest.path).expect("the manifest");
    site.run(&["plan", "--out", "proxmox-hosts.toml"]).expect(2).says(&["is no saved plan: it is not replaced"]);
    assert_eq!(fs::read_to_string(&site.manifest.path).expect("the manifest"), manifest);
    site.run(&["plan", "--out", "nowhere/monday.plan"]).expect(2).says(&["can't write a file in nowhere"]);
    site.run(PLAN).expect(0);
    let first = file(&site);
    site.run(PLAN).expect(0);
    assert_ne!(file(&site), first, "an older plan is replaced");
    assert_eq!(staged(&site), [""; 0]);
}

#[test]
fn a_host_that_could_not_be_looked_at_is_left_out_and_named() {
    let site = two();
    let port = format!("\"-p {}\"", site.lab().ssh_addr("edge2").port());
    site.replace(&port, "\"-p 1\"");
    site.run(PLAN).expect(3).says(&["edge2"]);
    site.replace("\"-p 1\"", &port);
    site.run(RUN).expect(0).says(&["edge2: left out, since it could not be planned for"]);
    assert!(changed(&site).iter().all(|(node, _)| node == "edge1"), "{}", site.ledger_text());
    site.run(&["run", "--plan", FILE, "--host", "edge2"]).expect(2).says(&["no host that can be worked on"]);
}

#[test]
fn a_host_that_was_refused_is_not_touched_by_the_plan_later() {
    let site = two();
    let wrong = "api.node = \"edge7\"";
    site.replace("api.node = \"edge2\"", wrong);
    site.run(PLAN).expect(3).says(&["edge7"]);
    site.replace(wrong, "api.node = \"edge2\"");
    site.run(RUN).expect(3);
    assert!(changed(&site).iter().all(|(node, _)| node == "edge1"), "{}", site.ledger_text());
}

#[test]
fn a_host_that_may_only_be_planned_for_is_left_out() {
    let site = two();
    site.run(PLAN).expect(0);
    site.replace("name = \"edge2\"\n", "name = \"edge2\"\ndry_run = true\n");
    site.run(RUN).expect(0).says(&["edge2: left out, since the manifest says dry_run = true"]);
    assert!(changed(&site).iter().all(|(node, _)| node == "edge1"), "{}", site.ledger_text());
}

/// A run by a plan for `edge1` and `edge2` that was killed while it upgraded CT 101.
fn killed(third: bool) -> Site {
    let world = match third {
        true => builder().standalone("edge3").node("edge3", |node| node.pending(1)),
        false => builder(),
    };
    let site = Site::new(world.fault(Fault::upgrade("edge1/101", UpgradeFault::Slow { ms: 600 })).build());
    site.run(&["plan", "--host", "edge1", "--host", "edge2", "--out", FILE]).expect(0);
    let working = site.start(RUN);
    site.await_begun(Act::Upgrade, "101");
    working.signal(Signal::KILL);
    working.finish();
    site
}

#[test]
fn a_killed_run_goes_on_by_its_plan_without_being_told() {
    let site = killed(true);
    let run = site.run_name();
    // The file is not needed any more.
    fs::remove_file(site.fleet().join(FILE)).expect("a plan");
    in_repository(&site, &MachineId::guest("edge2", 111), "corosync", "9");
    let done = site.run(&["run"]).expect(3);
    done.says(&["goes on by the saved plan", "CT 111: corosync 0 -> 9 was not planned"]);
    assert_eq!(site.run_name(), run);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
    assert_eq!(host(&site.status(&[]), "edge1")["result"], "succeeded");
    assert!(
        changed(&site).iter().all(|(node, _)| node == "edge1"),
        "edge3 has no place in it:\n{}",
        site.ledger_text()
    );
}

#[test]
fn what_a_run_has_done_itself_is_no_drift_when_it_goes_on() {
    let site = Site::new(builder().fault(Fault::upgrade("edge1", UpgradeFault::Exit { code: 1 })).build());
    site.run(PLAN).expect(0);
    site.run(RUN).expect(3);
    // The guest is upgraded by now, and the node gets a new round.
    let run = site.run_name();
    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run);
    assert_eq!((site.done(Act::Upgrade, "101"), site.done(Act::Upgrade, "edge1")), (1, 1), "{}", site.ledger_text());
    site.assert_clean();
}

#[test]
fn the_same_plan_goes_on_and_another_one_does_not() {
    let site = killed(false);
    let run = site.run_name();
    fs::rename(site.fleet().join(FILE), site.fleet().join("first.plan")).expect("a plan");
    site.run(PLAN).expect(0);
    let before = site.changes().len();
    site.run(RUN).expect(2).says(&[&run, "is unfinished, and does not follow this plan", "--fresh"]);
    assert_eq!(site.changes().len(), before, "{}", site.ledger_text());
    site.run(&["run", "--plan", "first.plan"]).expect(0);
    assert_eq!(site.run_name(), run);
    site.assert_clean();
}

#[test]
fn fresh_closes_the_unfinished_run_and_begins_one_by_the_plan() {
    let site = killed(false);
    let first = site.run_name();
    site.until("CT 101 is upgraded", |world| {
        world.ledger.of(Act::Upgrade, "101").any(|entry| entry.outcome == Outcome::Done)
    });
    site.run(PLAN).expect(0);
    site.run(&["run", "--plan", FILE, "--fresh"]).expect(0).says(&[&first, "closed"]);
    assert_ne!(site.run_name(), first);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
    site.assert_clean();
}

#[test]
fn replan_gives_the_saved_plan_up() {
    let site = killed(false);
    let run = site.run_name();
    in_repository(&site, &MachineId::guest("edge2", 111), "corosync", "9");
    site.run(&["run", "--replan"]).expect(0).says(&["gives up the saved plan"]);
    assert_eq!(site.run_name(), run);
    assert_eq!(site.behind(&MachineId::guest("edge2", 111)), 0);
    site.assert_clean();
}

#[test]
fn at_a_terminal_the_saved_plan_is_shown() {
    let site = two();
    site.run(PLAN).expect(0);
    curl(&site, "8.3");
    let screen = Screen::start(&site, &["run", "--plan", FILE, "--verbose"], &[]);
    screen.asks("Begin?");
    screen.sees("8.2");
    screen.press("n");
    screen.finish().expect(0).says(&["nothing was changed"]);
    site.assert_untouched();
}

#[test]
fn the_canaries_of_a_saved_plan_go_first_and_are_left_alone() {
    let site = two();
    site.replace("[defaults]\n", "[defaults]\ncanary = [\"edge2/111\"]\nsoak = \"2s\"\n");
    site.run(PLAN).expect(0).says(&["canaries go first: edge2/111", "after a soak of 2s"]);
    let working = site.start(&["run", "--plan", FILE, "--output", "json"]);
    let until = working.event(|event| event["event"] == "soaking")["until"].clone();
    assert!(until.is_string(), "{until}");
    assert_eq!((site.done(Act::Upgrade, "111"), site.count(Act::Upgrade, "*")), (1, 1), "{}", site.ledger_text());
    assert_eq!(host(&site.status(&[]), "edge1")["gate"], "waits-for-canaries");
    let done = working.finish().expect(0);
    assert!(done.events().iter().any(|event| event["event"] == "canaries-held"), "{done}");
    site.assert_clean();
}

#[test]
fn a_canary_that_drifted_from_its_plan_halts_the_run() {
    let site = two();
    site.replace("[defaults]\n", "[defaults]\ncanary = [\"edge1/101\"]\n");
    site.run(PLAN).expect(0);
    curl(&site, "8.3");
    site.run(RUN).expect(3).says(&["halted", "not as it was planned"]);
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
}
