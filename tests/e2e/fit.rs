//! Machines whose sources belong to another release than the one that runs are left alone.

use std::fs;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Asker, MachineId, Os, World};

use crate::support::{Site, guest};

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

/// Writes a file of a machine.
fn write(site: &Site, id: &MachineId, path: &str, text: &str) {
    let root = site.lab().shims.stage().root(id).expect("the machine has a root");
    fs::write(root.join(path), text).expect("a file");
}

#[test]
fn a_guest_in_the_middle_of_a_major_upgrade_is_refused() {
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.pending(2))
        .ct("edge1", 102, |ct| ct.os(Os::Alpine322).pending(2))
        .ct("edge1", 103, |ct| ct.os(Os::Alpine322).pending(1))
        .build();
    let site = Site::new(world);
    let stanza = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: forky\nComponents: main\n";
    write(&site, &edge(101), "etc/apt/sources.list.d/next.sources", stanza);
    write(&site, &edge(102), "etc/apk/repositories", "https://dl-cdn.alpinelinux.org/alpine/edge/main\n");
    // A third party's own name for a suite, and a repository that only its tag gives packages of.
    write(
        &site,
        &MachineId::node("edge1"),
        "etc/apt/sources.list.d/x.list",
        "deb https://repos.example.com/debian stable main\n",
    );
    let own =
        "https://dl-cdn.alpinelinux.org/alpine/v3.22/main\n@edge https://dl-cdn.alpinelinux.org/alpine/edge/testing\n";
    write(&site, &edge(103), "etc/apk/repositories", own);
    site.run(&["run"]).says(&["101", "forky", "102", "edge/main", "half made"]);
    let behind = (site.behind(&edge(101)), site.behind(&edge(102)), site.behind(&edge(103)));
    assert_eq!(behind, (2, 2, 0), "{}", site.ledger_text());
    assert_eq!(site.count(Act::SnapshotCreate, "101") + site.count(Act::SnapshotCreate, "102"), 0);
    assert_eq!(site.done(Act::Upgrade, "103"), 1, "{}", site.ledger_text());
}

/// Nothing is pending any more in a guest whose last package was unpacked and not configured: that is not "up to date".
#[test]
fn a_guest_whose_packages_are_half_configured_is_blocked_until_they_are_mended() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(2))
        .ct("edge1", 102, |ct| ct.os(Os::Alpine322).pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 }));
    let site = Site::new(world.build());
    site.run(&["run"]).expect(3).says(&["101", "exit status 100"]);
    site.assert_faults_struck();
    let run = site.run_name();
    let decides = |resolution| site.run(&["resolve", &run, "edge1", "101", resolution]).expect(0);
    for args in [&["plan"][..], &["run"], &["run"]] {
        site.run(args).expect(3).says(&["101", "is held since it failed in run"]);
    }
    // Whatever the operator says: what is not in order is not upgraded.
    decides("--retry");
    for args in [&["run"][..], &["run"], &["run", "--dry-run"]] {
        site.run(args).expect(3).says(&["101", "not in order: dpkg --audit"]);
    }
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["state"], "blocked");
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
    site.lab()
        .with(|world, now| world.configure_packages(now, &edge(101), &Asker::root()))
        .expect("packages are configured");
    site.run(&["run"]).expect(0);
    site.assert_clean();
}
