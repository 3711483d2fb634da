//! Two orchestrators and one cluster: the second one is refused by name.

use std::fs;
use std::path::PathBuf;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::{World, WorldBuilder};
use rustix::process::Signal;

use crate::support::{Site, host};

fn cluster() -> WorldBuilder {
    World::builder()
        .cluster("lab", ["pve1", "pve2"])
        .node("pve1", |node| node.pending(1))
        .node("pve2", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve2", 102, |ct| ct.pending(1))
}

fn alone() -> WorldBuilder {
    World::builder().standalone("edge1").node("edge1", |node| node.pending(1)).ct("edge1", 101, |ct| ct.pending(1))
}

/// The lease of a cluster, or of a node that stands alone, as its file system has it.
fn lease(site: &Site, realm: &str) -> PathBuf {
    site.lab().dir().join("pve").join(realm).join("priv/proxmaint.lease")
}

/// The name of this machine, as a lease has it.
fn here() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    format!("root@{} (process ", name.trim())
}

#[test]
fn a_second_orchestrator_is_refused_by_name_and_gets_its_turn_afterwards() {
    let site = Site::new(cluster().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 6_000 })).build());
    let first = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    let run = site.run_name();
    let before = site.ledger().len();
    // The other one knows another node of the cluster only.
    let second = ["run", "--state-dir", "other-state", "--host", "pve2"];
    site.run(&second).expect(3).says(&["pve2", "blocked", &here(), &format!("works here with run {run}")]);
    assert_eq!(site.ledger().len(), before, "the second one touched something:\n{}", site.ledger_text());
    first.finish().expect(0);
    assert!(!lease(&site, "lab").exists(), "the lease is given back");
    site.run(&second).expect(0);
    assert!(!lease(&site, "lab").exists(), "the lease is given back");
    site.assert_clean();
}

#[test]
fn a_dead_run_s_lease_is_its_own_again_and_another_s_when_it_ran_out() {
    let site = Site::new(alone().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 500 })).build());
    let first = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    first.kill();
    let run = site.run_name();
    site.until("the guest's upgrade has ended", |world| {
        world.ledger.of(Act::Upgrade, "101").all(|entry| entry.outcome == Outcome::Done)
    });
    let second = ["run", "--state-dir", "other-state"];
    site.run(&second).expect(3).says(&["edge1", &format!("works here with run {run}"), "runs out in"]);
    assert_eq!(site.count(Act::Upgrade, "edge1"), 0, "{}", site.ledger_text());
    // As if it had not been renewed for long.
    let file = lease(&site, "edge1");
    let text = fs::read_to_string(&file).expect("a lease");
    let old = text.lines().map(|line| match line.split_once('=') {
        Some(("renewed", at)) => format!("renewed={}\n", at.parse::<u64>().expect("a time") - 301),
        _ => format!("{line}\n"),
    });
    fs::write(&file, old.collect::<String>()).expect("a lease");
    site.run(&second).expect(0);
    assert_eq!(site.done(Act::Upgrade, "edge1"), 1, "{}", site.ledger_text());
    assert!(!file.exists(), "the lease is given back");
    // The dead run goes on, finds all done, and does nothing twice.
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

#[test]
fn the_same_run_goes_on_at_once() {
    let site = Site::new(alone().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 })).build());
    let first = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    first.kill();
    let file = lease(&site, "edge1");
    assert!(file.exists(), "nobody gave it back");
    let resumed = site.start(&["run"]);
    site.until("the guest's upgrade has ended", |world| {
        world.ledger.of(Act::Upgrade, "101").all(|entry| entry.outcome == Outcome::Done)
    });
    resumed.finish().expect(0);
    assert!(!file.exists(), "the lease is given back");
}

#[test]
fn ctrl_c_gives_the_lease_back() {
    let site = Site::new(alone().fault(Fault::upgrade("101", UpgradeFault::Hang)).build());
    let drained = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    let file = lease(&site, "edge1");
    assert!(file.exists(), "the lease is had");
    drained.signal(Signal::INT);
    drained.finish().expect(5);
    assert!(!file.exists(), "the lease is given back");
}

#[test]
fn whoever_only_looks_takes_no_lease_and_is_not_refused() {
    let site = Site::new(alone().build());
    site.run(&["run", "--dry-run"]).expect(0);
    site.run(&["doctor"]).expect(0);
    assert!(!lease(&site, "edge1").exists());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let text = format!("run=r-other\nwho=root@ops2 (process 7)\nsince={now}\nrenewed={now}\nspan=300\n");
    fs::write(lease(&site, "edge1"), &text).expect("a lease");
    site.run(&["run", "--dry-run"]).expect(0);
    site.run(&["doctor"]).expect(0);
    let before = site.ledger().len();
    let refused = site.run(&["run", "--output", "json"]).expect(3).ended();
    assert_eq!(host(&refused, "edge1")["result"], "blocked", "{refused:#}");
    assert_eq!(site.ledger().len(), before, "it touched something:\n{}", site.ledger_text());
    assert_eq!(fs::read_to_string(lease(&site, "edge1")).expect("a lease"), text);
}
