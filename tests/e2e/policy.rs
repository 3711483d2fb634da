//! What changed between two sessions, which run goes on, and which hosts are meant.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{MachineId, World};
use rustix::process::Signal;

use crate::support::{Site, guest};

const UNMANAGED: &str = "
[hosts.guest_inventory]
version = 1
[[hosts.guest_inventory.entries]]
kind = \"ct\"
id = \"101\"
managed = false
";

/// Two hosts; the run was interrupted in the first one, and then the manifest says of the second one's only guest that
/// it is not managed.
fn interrupted() -> (Site, String) {
    let world = World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge2", 101, |ct| ct.pending(1))
        .fault(Fault::upgrade("edge1/101", UpgradeFault::Slow { ms: 800 }))
        .build();
    let site = Site::new(world);
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    working.signal(Signal::INT);
    working.finish().expect(5);
    let run = site.run_name();
    (site, run)
}

fn changed() -> (Site, String) {
    let (site, run) = interrupted();
    site.edit(|text| text + UNMANAGED);
    (site, run)
}

fn second() -> MachineId {
    MachineId::guest("edge2", 101)
}

#[test]
fn a_changed_policy_is_shown_and_nothing_is_decided_off_a_terminal() {
    let (site, run) = changed();
    let before = site.ledger().len();
    let asked = site.run(&["run"]).expect(1);
    asked.says(&[&run, "edge2: guest 101 is now declared unmanaged", "--replan", "--keep-plan"]);
    assert_eq!(site.ledger().len(), before, "{}", site.ledger_text());
}

#[test]
fn keep_plan_goes_on_as_it_was_planned() {
    let (site, run) = changed();
    site.run(&["run", "--keep-plan"]).expect(0);
    assert_eq!((site.run_name(), site.behind(&second())), (run, 0));
    site.assert_clean();
}

#[test]
fn replan_takes_what_the_manifest_says_now() {
    let (site, run) = changed();
    let done = site.run(&["run", "--replan", "--output", "json"]).expect(0);
    assert_eq!(done.ended()["result"], "clean");
    assert_eq!((site.run_name(), site.behind(&second())), (run, 1));
    assert_eq!(guest(&site.status(&[]), "edge2", 101)["state"], "skipped");
    assert_eq!(site.done(Act::Upgrade, "*"), 1, "{}", site.ledger_text());
}

#[test]
fn how_a_host_is_reached_is_no_policy() {
    let (site, run) = interrupted();
    site.edit(|text| text.replace("ssh_extra_args = [\"-p ", "ssh_extra_args = [\"-o ConnectTimeout=7 -p "));
    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run);
    site.assert_clean();
}

#[test]
fn fresh_closes_the_unfinished_run_and_begins_another() {
    let (site, first) = interrupted();
    site.run(&["run", "--fresh"]).expect(0).says(&[&first, "closed"]);
    let second = site.run_name();
    assert_ne!(second, first);
    assert_eq!(site.count(Act::Upgrade, "101"), 2, "one a host, and none again:\n{}", site.ledger_text());
    site.assert_clean();
    site.run(&["run", "--resume", &first]).expect(2).says(&["is over"]);
    site.run(&["run", "--resume", "19990101"]).expect(2).says(&["there is no run 19990101"]);
}

#[test]
fn a_run_that_is_too_old_is_closed_unless_it_is_asked_for() {
    for named in [false, true] {
        let (site, first) = interrupted();
        site.replace("[defaults]\n", "[defaults]\nresume_within = \"1ms\"\n");
        if named {
            site.run(&["run", "--resume", &first[..13]]).expect(0);
            assert_eq!(site.run_name(), first);
        } else {
            site.run(&["run"]).expect(0).says(&[&first, "too old"]);
            assert_ne!(site.run_name(), first);
            assert_eq!(site.status(&[&first])["standing"]["state"], "expired");
        }
        site.assert_clean();
        assert_eq!(site.count(Act::Upgrade, "101"), 2, "{}", site.ledger_text());
    }
}

fn three() -> Site {
    let mut world = World::builder();
    for node in ["edge1", "edge2", "edge3"] {
        world = world.standalone(node).node(node, |node| node.pending(1));
    }
    Site::new(world.build())
}

/// The nodes whose packages were upgraded.
fn upgraded(site: &Site) -> Vec<String> {
    site.changes().into_iter().map(|entry| entry.node).collect()
}

#[test]
fn only_the_hosts_that_are_named_are_touched() {
    let site = three();
    site.run(&["run", "--host", "edge3", "--host", "edge1"]).expect(0);
    assert_eq!(upgraded(&site), ["edge1", "edge3"]);
    assert!(site.ledger().iter().all(|entry| entry.node != "edge2"), "{}", site.ledger_text());
    site.run(&["run", "--host", "edge9"]).expect(2).says(&["no host edge9", "edge1, edge2, edge3"]);
}

#[test]
fn max_hosts_takes_the_first_ones() {
    let site = three();
    site.run(&["run", "--max-hosts", "2"]).expect(0);
    assert_eq!(upgraded(&site), ["edge1", "edge2"]);
    site.run(&["run", "--max-hosts", "0"]).expect(2);
}

#[test]
fn an_unfinished_run_can_be_gone_on_with_host_by_host() {
    let (site, run) = interrupted();
    let go_on = site.run(&["run", "--host", "edge2"]);
    assert_eq!(site.run_name(), run, "{go_on}");
    assert_eq!((site.behind(&second()), site.count(Act::Upgrade, "101")), (0, 2), "{}", site.ledger_text());
    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run);
    site.assert_clean();
}

#[test]
fn a_manifest_that_is_wrong_is_exit_code_1_and_says_where() {
    let site = three();
    site.replace("api.node = \"edge2\"", "api.node = 2");
    site.run(&["run"]).expect(1).says(&["proxmox-hosts.toml", "api.node = 2", "1 error"]);
    site.run(&["run", "--config", "nowhere.toml"]).expect(1).says(&["nowhere.toml"]);
    site.assert_untouched();
    assert!(!site.state().exists());
}
