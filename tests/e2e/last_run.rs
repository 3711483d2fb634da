//! The last run of a host, as the wizard shows it beside the host's entry.

use std::fs;
use std::path::Path;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::World;

use crate::support::{Screen, Site, files, side_by_side};

fn edges() -> Site {
    let world = World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .build();
    Site::new(world)
}

/// What the wizard says of a host's last run, in the main menu where the cursor is on the host, and in the host's menu.
fn told(site: &Site, host: &str) -> (String, String) {
    // Wide enough for the whole of it.
    let screen = Screen::start_sized(site, &["wizard"], &[], (160, 40));
    screen.asks("What next?");
    let item = screen.go_to(host);
    screen.pick(host);
    screen.asks(host);
    let text = screen.text();
    let line = text.rsplit("last run: ").next().expect("a text").lines().next().expect("a line").trim().to_owned();
    screen.pick("Back");
    screen.choose("What next?", "Leave");
    screen.finish().expect(0);
    (item.text, line)
}

/// Every file of the state directory with its content and when it was changed.
fn picture(state: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all: Vec<_> = files(state)
        .into_iter()
        .map(|file| {
            let changed = fs::metadata(&file).and_then(|meta| meta.modified()).expect("a time");
            (file.clone(), fs::read(&file).expect("a file"), changed)
        })
        .collect();
    all.sort();
    all
}

fn a_host_that_no_run_had() {
    let site = edges();
    let (beside, line) = told(&site, "edge1");
    assert!(!beside.contains("last run"), "{beside}");
    assert_eq!(line, "no run has had it yet");
    assert!(!site.state().exists(), "looking makes no state directory");
    site.run(&["run", "--host", "edge2"]).expect(0);
    assert_eq!(told(&site, "edge1").1, "no run has had it yet");
}

fn the_latest_run_of_each_host_counts() {
    let site = edges();
    site.run(&["run"]).expect(0);
    let first = site.run_name();
    site.run(&["run", "--host", "edge2"]).expect(0);
    let before = picture(&site.state());
    let (beside, line) = told(&site, "edge1");
    assert!(beside.contains("last run: done, just now"), "{beside}");
    assert_eq!(line, format!("done, 2 guests: 2 upgraded, just now, run {first}"));
    let (beside, line) = told(&site, "edge2");
    assert!(beside.contains("last run: nothing to do, just now"), "{beside}");
    assert!(line.starts_with("nothing to do, just now, run ") && !line.contains(&first), "{line}");
    assert_eq!(picture(&site.state()), before, "looking has changed the state directory");
    // A run that only removes what others left is no run of the host.
    site.run(&["snapshots", "prune", "--older-than", "0s", "--keep-last", "0", "--yes"]).expect(0);
    assert!(told(&site, "edge1").1.ends_with(&first));
}

fn a_guest_that_failed() {
    let site = edges();
    site.plant(Fault::upgrade("102", UpgradeFault::Exit { code: 1 }));
    site.run(&["run", "--host", "edge1"]).expect(3);
    let (beside, line) = told(&site, "edge1");
    assert!(beside.contains("last run: failed, just now"), "{beside}");
    assert!(line.starts_with("failed, 2 guests: 1 upgraded, 1 failed, just now, run 20"), "{line}");
    assert!(site.run(&["status"]).expect(0).stdout.contains("2 guests: 1 upgraded, 1 failed"), "as status says it");
}

fn a_run_at_work() {
    let site = edges();
    site.plant(Fault::upgrade("101", UpgradeFault::Slow { ms: 600_000 }));
    let working = site.start(&["run", "--host", "edge1"]);
    site.await_begun(Act::Upgrade, "101");
    let (beside, line) = told(&site, "edge1");
    assert!(beside.contains("last run: upgrading guests, the run is at work"), "{beside}");
    assert!(line.starts_with("upgrading guests, 2 guests: "), "{line}");
    working.kill();
    let (_, line) = told(&site, "edge1");
    assert!(line.starts_with("stopped while upgrading guests, 2 guests: ") && line.contains("just now"), "{line}");
}

fn a_damaged_journal() {
    let site = edges();
    site.run(&["run"]).expect(0);
    let segments = site.state().join("journal/segments");
    let segment = files(&segments).pop().expect("a segment");
    let text = fs::read_to_string(&segment).expect("a segment");
    fs::write(&segment, text.replacen("edge1", "edge7", 3)).expect("it is written");
    let (beside, line) = told(&site, "edge1");
    assert!(beside.contains("the journal can't be read"), "{beside}");
    assert!(line.starts_with("the journal can't be read: "), "{line}");
    site.run(&["journal", "verify"]).expect(7);
    fs::remove_file(site.state().join("journal/watermark")).expect("it was there");
    assert!(told(&site, "edge1").1.starts_with("the journal can't be read: "));
}

fn many_runs() {
    let site = edges();
    site.run(&["run", "--host", "edge2"]).expect(0);
    for _ in 0..20 {
        site.run(&["run", "--host", "edge1"]).expect(0);
    }
    assert_eq!(told(&site, "edge2").1, "none of the last 20 runs has had it");
    assert!(told(&site, "edge1").1.starts_with("nothing to do"));
}

#[test]
fn the_last_run_of_a_host_is_told_beside_it() {
    side_by_side(&[
        ("a host that no run had", a_host_that_no_run_had),
        ("the latest run of each host", the_latest_run_of_each_host_counts),
        ("a guest that failed", a_guest_that_failed),
        ("a run at work", a_run_at_work),
        ("a damaged journal", a_damaged_journal),
        ("many runs", many_runs),
    ]);
}
