//! The program runs on a node, or in a guest, that it is about to change: that one comes last and is not rebooted.

use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::world::{MachineId, World, WorldBuilder};

use crate::support::{Site, guest, host};

/// A lab in which a machine runs the boot that this program runs in.
fn within(world: WorldBuilder, own: &MachineId, defaults: &str) -> Site {
    let site = Site::new(world.build());
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
    site.with(|world| world.machine_mut(own).expect("a machine").boot_id = text.trim().to_owned());
    site.replace("[defaults]\n", &format!("[defaults]\n{defaults}\n"));
    site
}

fn fleet() -> WorldBuilder {
    let mut world = World::builder();
    for node in ["edge1", "edge2"] {
        world = world
            .standalone(node)
            .node(node, |node| node.pending(4))
            .ct(node, 101, |ct| ct.pending(1).onboot())
            .vm(node, 201, |vm| vm.pending(1).package("linux-image", "6.1.0-40", "6.1.0-41").onboot());
    }
    world
}

/// Upgrades that were begun, in order.
fn upgrades(site: &Site) -> Vec<(String, String)> {
    let upgrade = |entry: &Entry| entry.act == Act::Upgrade && entry.outcome == Outcome::Done;
    site.changes().into_iter().filter(upgrade).map(|entry| (entry.node, entry.machine)).collect()
}

const REBOOTS: &str = "host.reboot = \"if-needed\"\nguest.reboot = \"if-needed\"\nmax_parallel = 4";

#[test]
fn the_node_that_it_runs_on_comes_last_and_is_not_rebooted() {
    let site = within(fleet(), &MachineId::node("edge1"), REBOOTS);
    let why = "proxmaint runs on this node";
    site.run(&["run", "--dry-run"]).expect(0).says(&["comes last", why, "not rebooted, since proxmaint runs here"]);
    site.assert_untouched();
    let run = site.run(&["run", "--parallel-hosts", "2"]).expect(3).says(&["edge1", "not rebooted", why]);
    let order: Vec<String> = upgrades(&site).into_iter().map(|(node, _)| node).collect();
    assert_eq!(order, ["edge2", "edge2", "edge2", "edge1", "edge1", "edge1"], "{run}");
    assert_eq!((site.count(Act::Reboot, "edge1"), site.count(Act::Reboot, "edge2")), (0, 1));
    // The other was up again, and over, before this one was touched.
    let touched = site.changes().into_iter().find(|entry| entry.node == "edge1").expect("an entry");
    let up = site.with(|world| world.machine(&MachineId::node("edge2")).expect("a machine").booted);
    assert!(i64::try_from(touched.at).expect("a time") > up, "{}", site.ledger_text());
    // Its upgrade runs under the node's systemd, not under the program.
    let job = site.ledger().into_iter().find(|entry| entry.act == Act::Upgrade && entry.machine == "edge1");
    assert!(job.expect("an upgrade").key.expect("a key").starts_with("proxmaint-"));
    let view = site.status(&[]);
    let own = host(&view, "edge1");
    assert_eq!(own["result"], "blocked");
    assert!(own["not_rebooted"].as_str().is_some_and(|text| text.contains(why)), "{own:#}");
    assert_eq!(host(&view, "edge2")["result"], "succeeded");
    site.assert_clean();
    assert_eq!(
        site.run(&["run", "--output", "json"]).expect(3).ended()["hosts"][0]["rebooted"],
        serde_json::Value::Null
    );
    assert_eq!(site.count(Act::Reboot, "edge1"), 0);
}

#[test]
fn the_guest_that_it_runs_in_comes_last_of_its_host_and_is_not_rebooted() {
    for vmid in [101, 201] {
        let site = within(fleet(), &MachineId::guest("edge1", vmid), REBOOTS);
        let why = format!("proxmaint runs in guest {vmid} of this node");
        site.run(&["run", "--dry-run", "--host", "edge1"])
            .expect(0)
            .says(&["comes last of its host: proxmaint runs in it", &why]);
        site.run(&["run", "--parallel-hosts", "2"]).expect(3).says(&["edge1", "not rebooted", &why]);
        let order = upgrades(&site);
        let other = if vmid == 101 { "201" } else { "101" };
        let last = |machine: &str| ("edge1".to_owned(), machine.to_owned());
        assert_eq!(order[3..], [last(other), last(&vmid.to_string()), last("edge1")]);
        assert_eq!(site.count(Act::Reboot, "edge1"), 0);
        let rebooted = site.ledger().into_iter().filter(|e| e.act == Act::Reboot && e.machine == "201");
        let rebooted: Vec<String> = rebooted.map(|entry| entry.node).collect();
        let expected: &[&str] = if vmid == 101 { &["edge2", "edge1"] } else { &["edge2"] };
        assert_eq!(rebooted, expected, "{}", site.ledger_text());
        let view = site.status(&[]);
        assert_eq!(guest(&view, "edge1", u64::from(vmid))["own"], true);
        if vmid == 201 {
            let wanted = guest(&view, "edge1", 201)["reboot_wanted"].clone();
            assert!(wanted.as_str().is_some_and(|text| text.contains("6.1.0-41")), "{wanted}");
        }
    }
}

#[test]
fn where_nothing_is_to_be_rebooted_it_is_no_trouble() {
    let site = within(fleet(), &MachineId::node("edge1"), "max_parallel = 4");
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!(site.count(Act::Reboot, "*"), 0);
}

#[test]
fn a_reboot_of_its_own_vm_alone_is_refused_and_said() {
    let site = within(fleet(), &MachineId::guest("edge1", 201), "guest.reboot = \"if-needed\"");
    site.run(&["run", "--dry-run", "--host", "edge1"]).expect(0).says(&["not rebooted, since proxmaint runs in it"]);
    let why = "not rebooted, though it should have been: proxmaint runs in it";
    site.run(&["run", "--host", "edge1"])
        .expect(3)
        .says(&["VM 201 (vm201): not rebooted", "; not rebooted: proxmaint runs in it"]);
    assert_eq!((site.count(Act::Reboot, "201"), site.behind(&MachineId::guest("edge1", 201))), (0, 0));
    let view = site.status(&[]);
    assert_eq!(
        (&host(&view, "edge1")["result"], &guest(&view, "edge1", 201)["reason"]),
        (&"blocked".into(), &why.into())
    );
    site.run(&["status"]).expect(0).says(&[why]);
}

#[test]
fn a_kernel_of_its_own_vm_that_nobody_wants_to_boot_is_no_trouble() {
    let site = within(fleet(), &MachineId::guest("edge1", 201), "");
    site.run(&["run", "--host", "edge1"]).expect(0).says(&["Reboot pending", "VM 201"]);
}
