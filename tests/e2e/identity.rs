//! The right machine: what is not who it should be is not touched.

use std::fs;

use proxmaint_lab::ledger::Act;
use proxmaint_lab::ssh::keys::KeyKind;
use proxmaint_lab::world::{MachineId, World};

use crate::support::{Site, guest, host};

fn edge() -> World {
    World::builder().standalone("edge1").node("edge1", |n| n.pending(1)).ct("edge1", 101, |ct| ct.pending(1)).build()
}

fn two() -> World {
    World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .node("edge1", |n| n.pending(1))
        .node("edge2", |n| n.pending(1))
        .build()
}

#[test]
fn two_entries_that_are_one_node_are_refused() {
    let site = Site::new(edge());
    site.edit(|text| {
        let entry = text[text.find("[[hosts]]").expect("a host")..].replace("name = \"edge1\"", "name = \"again\"");
        text + "\n" + &entry.replace("api.node = \"edge1\"\n", "")
    });
    site.run(&["run"]).expect(3).says(&["again", "is the same node (edge1) as the entry edge1"]);
    assert_eq!(host(&site.status(&[]), "again")["result"], "blocked");
    assert_eq!(site.count(Act::Upgrade, "edge1"), 1, "{}", site.ledger_text());
    site.assert_clean();
}

#[test]
fn a_node_that_is_not_the_one_named_is_refused() {
    let site = Site::new(edge());
    site.replace("api.node = \"edge1\"", "api.node = \"edge7\"");
    site.run(&["run"]).expect(3).says(&["edge7", "edge1"]);
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
}

#[test]
fn ssh_must_lead_to_the_node_that_the_api_names() {
    let site = Site::new(two());
    let port = |node| format!("\"-p {}\"", site.lab().ssh_addr(node).port());
    site.replace(&port("edge1"), &port("edge2"));
    site.run(&["run", "--host", "edge1"]).expect(3).says(&["edge1", "edge2"]);
    site.assert_untouched();
}

#[test]
fn an_address_that_belongs_to_another_machine_now_is_not_touched() {
    let world = World::builder()
        .standalone("edge1")
        .vm("edge1", 201, |vm| vm.no_agent().pending(1))
        .vm("edge1", 202, |vm| vm.pending(1))
        .build();
    let site = Site::new(world);
    let address = |vmid| site.lab().vm_addr("edge1", vmid).expect("a server").ip().to_string();
    site.replace(&format!("ip = \"{}\"", address(201)), &format!("ip = \"{}\"", address(202)));
    site.run(&["run"]).expect(3).says(&["201"]);
    let view = site.status(&[]);
    assert_eq!(guest(&view, "edge1", 201)["state"], "blocked", "{view:#}");
    assert_eq!(guest(&view, "edge1", 202)["state"], "upgraded", "{view:#}");
    assert_eq!(site.behind(&MachineId::guest("edge1", 201)), 1);
    for act in [Act::RefreshLists, Act::SnapshotCreate, Act::Upgrade] {
        assert_eq!((site.count(act, "201"), site.count(act, "202")), (0, 1), "{}", site.ledger_text());
    }
}

#[test]
fn a_changed_host_key_refuses_that_host() {
    let site = Site::new(two());
    site.run(&["run", "--host", "edge1"]).expect(0);
    site.lab().ssh.rekey(&MachineId::node("edge1"), &[KeyKind::Ed25519], 1).expect("another key");
    site.with(|world| {
        let packages = &mut world.machine_mut(&MachineId::node("edge1")).expect("a node").packages;
        packages.repository.insert("corosync".to_owned(), "9".to_owned());
    });
    let before = site.count(Act::RefreshLists, "edge1");
    site.run(&["run"]).expect(3).says(&["edge1", "host key"]);
    assert_eq!((site.count(Act::RefreshLists, "edge1"), site.count(Act::Upgrade, "edge1")), (before, 1));
    assert_eq!(site.done(Act::Upgrade, "edge2"), 1, "the other host goes on:\n{}", site.ledger_text());
}

#[test]
fn strict_checking_takes_known_keys_only() {
    let site = Site::new(edge());
    site.edit(|text| text.replace("ssh_extra_args = [\"-p ", "ssh_extra_args = [\"-o StrictHostKeyChecking=yes -p "));
    site.run(&["run"]).expect(3).says(&["edge1", "host key"]);
    site.assert_untouched();
    let line = site.lab().known_hosts_line(&MachineId::node("edge1"));
    fs::create_dir(site.home().join(".ssh")).expect("a directory");
    fs::write(site.home().join(".ssh/known_hosts"), line).expect("known hosts");
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_until_it_is_pinned() {
    let site = Site::new(edge());
    let ca = fs::read_to_string(&site.manifest.path).expect("the manifest");
    let ca = ca.lines().find(|line| line.starts_with("api.ca_file")).expect("a CA file").to_owned();
    let pin = site.lab().fingerprint("edge1");
    site.replace(&ca, "");
    site.run(&["run"]).expect(3).says(&["edge1", &pin]);
    site.assert_untouched();

    let name = "api.port";
    site.replace(name, &format!("api.fingerprint = \"{}\"\n{name}", "AB:".repeat(31) + "AB"));
    site.run(&["run"]).expect(3).says(&["edge1", &pin]);
    site.assert_untouched();

    site.replace(&("AB:".repeat(31) + "AB"), &pin);
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

#[test]
fn insecure_is_possible_and_warned_about() {
    let site = Site::new(edge());
    site.edit(|text| {
        let kept = text.lines().filter(|line| !line.starts_with("api.ca_file")).map(|line| format!("{line}\n"));
        kept.collect::<String>().replace("api.port", "api.insecure = true\napi.port")
    });
    site.run(&["run"]).expect(0).says(&["warning:", "not verified", "api.fingerprint"]);
    site.assert_clean();
}

#[test]
fn hosts_and_guests_are_reached_through_a_jump_host() {
    let world = World::builder()
        .standalone("bastion")
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .vm("edge1", 201, |vm| vm.pending(1))
        .build();
    let site = Site::new(world);
    let jump = format!("-J root@127.0.0.1:{}", site.lab().ssh_addr("bastion").port());
    let edge = site.lab().ssh_addr("edge1").port();
    site.edit(|text| {
        let text = text.replace(
            &format!("ssh_extra_args = [\"-p {edge}\"]"),
            &format!("ssh_extra_args = [\"-p {edge}\", \"{jump}\"]"),
        );
        text.replace("guest_ssh_extra_args = [\"", &format!("guest_ssh_extra_args = [\"{jump}\", \""))
    });
    site.run(&["run", "--host", "edge1"]).expect(0);
    site.assert_clean();
    let server = site.lab().ssh.server(&MachineId::node("bastion")).expect("a server").stats();
    assert!(server.forwards >= 2 && server.commands.is_empty(), "{server:?}");
}

#[test]
fn a_token_that_is_refused_fails_its_host_and_nothing_is_touched() {
    let mut site = Site::new(edge());
    for (name, value) in &mut site.env {
        if name.ends_with("_SECRET") {
            "00000000-0000-0000-0000-000000000000".clone_into(value);
        }
    }
    site.run(&["run"]).expect(3).says(&["edge1", "401"]);
    site.assert_untouched();
}
