//! The ways into guests and nodes: the guest agent, SSH, pct; passwords, and sudo.

use std::fs;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::shim::agent::kill_children;
use proxmaint_lab::ssh::Gate;
use proxmaint_lab::world::{Agent, MachineId, Power, World, WorldBuilder};
use serde_json::Value;

use crate::support::{Site, files, guest, host, side_by_side};

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

/// A node with a VM that nobody can log in to.
fn with_agent() -> WorldBuilder {
    World::builder().standalone("edge1").vm("edge1", 201, |vm| vm.name("mail").ssh_users(&[]).pending(3))
}

/// Takes everything out of the manifest by which somebody could log in to guests.
fn forget_logins(site: &Site) {
    site.edit(|text| {
        let before = text.split("\n[hosts.guest_inventory]").next().expect("a text").to_owned();
        let kept = before.lines().filter(|line| !line.starts_with("guest_"));
        kept.map(|line| format!("{line}\n")).collect()
    });
}

/// A site without logins.
fn agents_only(world: WorldBuilder) -> Site {
    let site = Site::new(world.build());
    forget_logins(&site);
    site
}

/// The guests of a dry run with what is decided about each.
fn planned(site: &Site) -> Vec<Value> {
    let done = site.run(&["run", "--dry-run", "--output", "json"]);
    assert!([0, 3].contains(&done.code), "{done}");
    let plan = done.events().into_iter().find(|event| event["event"] == "plan").unwrap_or_else(|| panic!("{done}"));
    plan["guests"].as_array().expect("guests").clone()
}

fn of(guests: &[Value], id: u64) -> &Value {
    guests.iter().find(|guest| guest["id"] == id).unwrap_or_else(|| panic!("no guest {id} in {guests:#?}"))
}

/// The output of a guest's upgrade, as it was kept.
fn log(site: &Site, id: u32) -> String {
    let file = format!("edge1-{id}-upgrade-guest-r1.log");
    fs::read_to_string(site.state().join("logs").join(site.run_name()).join(file)).expect("a log file")
}

/// The agent of a VM is started anew, which ends all that it has begun, and needs a while.
fn restart_agent(site: &Site, id: &MachineId) {
    kill_children(site.lab().shims.stage(), id).expect("the agent's processes end");
    site.lab().with(|world, now| {
        let guest = world.guest_mut(id).expect("a guest");
        guest.agent_execs.clear();
        guest.agent = Agent::From(now + 500);
    });
}

#[test]
fn by_the_guest_agent() {
    side_by_side(&[
        ("a_vm_without_a_login_is_entered_by_its_agent", a_vm_without_a_login_is_entered_by_its_agent),
        ("an_upgrade_outlives_the_agent_that_began_it", an_upgrade_outlives_the_agent_that_began_it),
        ("agents_that_do_not_do_are_told_apart", agents_that_do_not_do_are_told_apart),
        ("an_agent_is_waited_for_after_a_start", an_agent_is_waited_for_after_a_start),
        ("what_the_agent_began_is_gone_on_with_after_a_kill", what_the_agent_began_is_gone_on_with_after_a_kill),
        ("a_failed_upgrade_by_the_agent_is_a_failure", a_failed_upgrade_by_the_agent_is_a_failure),
    ]);
}

fn a_vm_without_a_login_is_entered_by_its_agent() {
    let site = agents_only(with_agent());
    assert_eq!(of(&planned(&site), 201)["upgrade"]["via"], "agent");
    assert_eq!(site.changes().iter().filter(|entry| entry.act != Act::AgentExec).count(), 0, "{}", site.ledger_text());
    site.run(&["run", "--dry-run", "--verbose"]).expect(0).says(&["agent"]);
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!((site.behind(&edge(201)), site.count(Act::Upgrade, "201")), (0, 1), "{}", site.ledger_text());
    assert_eq!(site.done(Act::SnapshotCreate, "201"), 1);
    let text = log(&site, 201);
    assert_eq!(text.matches("Setting up ").count(), 3, "{text}");
    site.run(&["run"]).expect(0).says(&["nothing to do"]);
}

fn an_upgrade_outlives_the_agent_that_began_it() {
    let site = agents_only(with_agent().fault(Fault::upgrade("201", UpgradeFault::Slow { ms: 1_500 })));
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "201");
    restart_agent(&site, &edge(201));
    working.finish().expect(0);
    site.assert_clean();
    assert_eq!((site.behind(&edge(201)), site.count(Act::Upgrade, "201")), (0, 1), "{}", site.ledger_text());
    let text = log(&site, 201);
    assert_eq!((text.matches("Setting up ").count(), text.matches("upgraded, ").count()), (3, 1), "{text}");
}

fn agents_that_do_not_do_are_told_apart() {
    let none = |vm: proxmaint_lab::world::GuestSpec| vm.ssh_users(&[]).pending(1);
    let world = with_agent()
        .vm("edge1", 202, |vm| none(vm).agent_exec_disabled())
        .vm("edge1", 203, |vm| none(vm).silent_agent())
        .vm("edge1", 204, |vm| none(vm).no_agent())
        .vm("edge1", 205, |vm| none(vm).silent_agent())
        .vm("edge1", 206, |vm| none(vm).agent_keeps(60));
    let site = agents_only(world);
    site.edit(|text| text + "\n[[hosts.guests]]\nid = 205\nmanaged = true\n");
    site.run(&["run"]).expect(3).says(&["guest-exec is disabled in the guest"]);
    let view = site.status(&[]);
    for (id, state, why) in [
        (201, "upgraded", ""),
        (202, "blocked", "answers, but may not run commands: guest-exec is disabled in the guest"),
        (203, "skipped", "none is running in it"),
        (204, "skipped", "its guest agent is not enabled, and no login over SSH is known"),
        (205, "blocked", "declared managed, but there is no way in: its guest agent does not answer"),
        (206, "blocked", "the answer is longer than 60 bytes"),
    ] {
        let found = guest(&view, "edge1", id);
        assert_eq!(found["state"], state, "{found:#}");
        assert!(found["reason"].as_str().unwrap_or_default().contains(why), "{found:#}");
    }
    let touched = |entry: &proxmaint_lab::ledger::Entry| entry.act != Act::AgentExec && entry.machine != "201";
    assert!(!site.changes().iter().any(touched), "{}", site.ledger_text());
}

fn an_agent_is_waited_for_after_a_start() {
    let world = World::builder()
        .standalone("edge1")
        .vm("edge1", 201, |vm| vm.ssh_users(&[]).stopped().agent_ready_ms(2_000).pending(2));
    let site = agents_only(world);
    site.replace("[defaults]\n", "[defaults]\nstopped = \"start\"\n");
    site.run(&["run"]).expect(0);
    assert_eq!((site.behind(&edge(201)), site.done(Act::Upgrade, "201")), (0, 1), "{}", site.ledger_text());
    assert_eq!((site.done(Act::Start, "201"), site.done(Act::Shutdown, "201")), (1, 1), "{}", site.ledger_text());
    assert_eq!(site.with(|world| world.guest(&edge(201)).expect("a guest").power), Power::Stopped);
    assert_eq!(guest(&site.status(&[]), "edge1", 201)["state"], "upgraded");
}

fn what_the_agent_began_is_gone_on_with_after_a_kill() {
    let site = agents_only(with_agent().fault(Fault::upgrade("201", UpgradeFault::Slow { ms: 1_500 })));
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "201");
    working.kill();
    let run = site.run_name();
    assert_eq!(guest(&site.status(&[]), "edge1", 201)["in_doubt"], true);
    site.run(&["run"]).expect(0);
    assert_eq!((site.run_name(), site.count(Act::Upgrade, "201")), (run, 1), "{}", site.ledger_text());
    site.assert_clean();
    assert_eq!(log(&site, 201).matches("Setting up ").count(), 3);
}

fn a_failed_upgrade_by_the_agent_is_a_failure() {
    let site = agents_only(with_agent().fault(Fault::upgrade("201", UpgradeFault::Exit { code: 100 })));
    site.run(&["run"]).expect(3).says(&["201", "failed", "exit status 100"]);
    site.run(&["run"]).expect(0);
    assert_eq!(site.done(Act::Upgrade, "201"), 1, "{}", site.ledger_text());
}

/// A login is known for it, but no address to log in at.
#[test]
fn a_vm_that_ssh_does_not_lead_to_is_entered_by_its_agent() {
    let world = World::builder()
        .standalone("edge1")
        .vm("edge1", 201, |vm| vm.ssh_users(&[]).addresses(&[]).pending(1))
        .vm("edge1", 202, |vm| vm.ssh_users(&[]).addresses(&[]).no_agent().pending(1));
    let site = Site::new(world.build());
    let guests = planned(&site);
    assert_eq!(of(&guests, 201)["upgrade"]["via"], "agent");
    assert_eq!(of(&guests, 202)["decision"], "skip");
    assert_eq!(of(&guests, 202)["reason"], "no way in: no address is known (no guest agent, none in the manifest)");
    site.run(&["run"]).expect(0);
    assert_eq!((site.behind(&edge(201)), site.behind(&edge(202))), (0, 1), "{}", site.ledger_text());
}

/// Every connection is cut in the middle of the upgrades, as when each of them restarts its sshd and drops its sessions.
#[test]
fn upgrades_outlive_the_connections_that_began_them() {
    let slow = |machine: &str| Fault::upgrade(machine, UpgradeFault::Slow { ms: 1_500 });
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.addresses(&[]).ssh_users(&["root"]).pending(1))
        .vm("edge1", 201, |vm| vm.no_agent().pending(1))
        .fault(slow("101"))
        .fault(slow("201"))
        .fault(slow("edge1"));
    let site = Site::new(world.build());
    let address = site.lab().vm_addr("edge1", 101).expect("a server").ip();
    site.edit(|text| text + &format!("\n[[hosts.guests]]\nid = 101\nvia = \"ssh\"\naddress = \"{address}\"\n"));
    let working = site.start(&["run"]);
    for (machine, id) in [("101", edge(101)), ("201", edge(201)), ("edge1", MachineId::node("edge1"))] {
        site.await_begun(Act::Upgrade, machine);
        site.lab().ssh.server(&id).expect("a server").set_gates(Gate::Cut);
    }
    working.finish().expect(0);
    site.assert_clean();
    for machine in ["101", "201", "edge1"] {
        assert_eq!(site.count(Act::Upgrade, machine), 1, "{}", site.ledger_text());
    }
}

#[test]
fn a_container_is_entered_over_ssh_where_the_manifest_says_so() {
    let ct = |ct: proxmaint_lab::world::GuestSpec| ct.addresses(&[]).ssh_users(&["root"]).pending(1);
    let world = World::builder().standalone("edge1").ct("edge1", 101, ct).ct("edge1", 102, ct).ct("edge1", 103, ct).ct(
        "edge1",
        104,
        |ct| ct.pending(1),
    );
    let site = Site::new(world.build());
    let address = |vmid: u32| site.lab().vm_addr("edge1", vmid).expect("a server").ip();
    // 102 has the address of 103.
    let rules = format!(
        "\n[[hosts.guests]]\nmatch = \"101-103\"\nvia = \"ssh\"\n\n[[hosts.guests]]\nid = 101\naddress = \"{}\"\n\
         \n[[hosts.guests]]\nid = 102\naddress = \"{}\"\n",
        address(101),
        address(103)
    );
    site.edit(|text| text + &rules);
    let guests = planned(&site);
    assert_eq!(
        (&of(&guests, 101)["upgrade"]["via"], &of(&guests, 104)["upgrade"]["via"]),
        (&"ssh".into(), &"pct".into())
    );
    site.run(&["run"]).expect(3);
    let view = site.status(&[]);
    for (id, state, why) in [
        (101, "upgraded", String::new()),
        (102, "blocked", format!("{} is another machine", address(103))),
        (103, "skipped", "no way in: no address is known".to_owned()),
        (104, "upgraded", String::new()),
    ] {
        let found = guest(&view, "edge1", id);
        assert_eq!(found["state"], state, "{found:#}");
        assert!(found["reason"].as_str().unwrap_or_default().contains(&why), "{found:#}");
    }
    let asked = |id: &MachineId| site.lab().ssh.server(id).expect("a server").stats().commands.join("\n");
    assert!(asked(&edge(101)).contains("apt"), "nothing was run over SSH");
    assert!(!asked(&MachineId::node("edge1")).contains("pct exec 101"), "it was entered by pct");
    assert_eq!((site.behind(&edge(101)), site.behind(&edge(102)), site.behind(&edge(103))), (0, 1, 1));
}

#[test]
fn a_way_can_be_fixed_guest_by_guest() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .vm("edge1", 201, |vm| vm.pending(1))
        .vm("edge1", 202, |vm| vm.pending(1))
        .vm("edge1", 203, |vm| vm.pending(1));
    let site = Site::new(world.build());
    let rule = |id: u32, via: &str| format!("\n[[hosts.guests]]\nid = {id}\nvia = \"{via}\"\n");
    site.edit(|text| text + &rule(101, "agent") + &rule(201, "agent") + &rule(202, "ssh") + &rule(203, "pct"));
    // What the manifest knows to be a VM can't be entered by pct; of the others it shows when they are looked at.
    site.run(&["run"]).expect(1).says(&["can't be \"pct\" for 203 (VM)"]);
    site.replace("id = 203\nvia", "match = \"203-209\"\nvia");
    let guests = planned(&site);
    for (id, via) in [(102, "pct"), (201, "agent"), (202, "ssh")] {
        assert_eq!(of(&guests, id)["upgrade"]["via"], via, "{guests:#?}");
    }
    // The inventory declares the VM to be managed.
    let pct = "a VM can't be entered by pct";
    for (id, decision, why) in [(101, "skip", "a container has no guest agent"), (203, "block", pct)] {
        let found = of(&guests, id);
        assert_eq!(found["decision"], decision, "{found:#}");
        assert!(found["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{found:#}");
    }
    site.run(&["run"]).expect(3);
    assert!(site.count(Act::AgentExec, "201") > 0 && site.count(Act::AgentExec, "202") == 0, "{}", site.ledger_text());
    let behind = [101, 102, 201, 202, 203].map(|vmid| site.behind(&edge(vmid)));
    assert_eq!(behind, [1, 0, 0, 0, 1], "{}", site.ledger_text());
}

#[test]
fn passwords_open_nodes_and_guests_and_are_told_to_nobody() {
    const NODE: &str = "correct horse";
    const GUEST: &str = "battery staple";
    let world = World::builder().standalone("edge1").node("edge1", |node| node.password(NODE).pending(1)).vm(
        "edge1",
        201,
        |vm| vm.no_agent().password(GUEST).pending(1),
    );
    let mut site = Site::new(world.build());
    site.edit(|text| {
        let kept = text.lines().filter(|line| !line.contains("identity_file"));
        kept.map(|line| format!("{line}\n")).collect()
    });
    site.run(&["run"]).expect(3).says(&["edge1"]);
    site.assert_untouched();
    site.replace("[defaults]\n", "[defaults]\npassword_env = \"NODE\"\nguest.password_env = \"GUEST\"\n");
    site.env.push(("NODE".to_owned(), "wrong".to_owned()));
    site.env.push(("GUEST".to_owned(), GUEST.to_owned()));
    site.run(&["run"]).expect(3).says(&["edge1", "password"]);
    site.assert_untouched();
    site.env.push(("NODE".to_owned(), NODE.to_owned()));
    let done = site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!((site.done(Act::Upgrade, "edge1"), site.done(Act::Upgrade, "201")), (1, 1), "{}", site.ledger_text());
    for secret in [NODE, GUEST] {
        assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret), "{done}");
        for file in files(&site.state()) {
            let text = String::from_utf8_lossy(&fs::read(&file).expect("a file")).into_owned();
            assert!(!text.contains(secret), "{} tells a password", file.display());
        }
    }
}

/// Lets a machine have a sudoers.d that allows nobody anything.
fn forbid_sudo(site: &Site, id: &MachineId) {
    fs::create_dir_all(site.lab().root_of(id).join("etc/sudoers.d")).expect("a directory");
}

#[test]
fn another_login_than_root_becomes_root_by_sudo() {
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.ssh_users(&["ops"]).pending(1))
        .ct("edge1", 101, |ct| ct.pending(2))
        .vm("edge1", 201, |vm| vm.no_agent().ssh_users(&["ops"]).pending(1))
        .vm("edge1", 202, |vm| vm.no_agent().ssh_users(&["ops"]).pending(1));
    let site = Site::new(world.build());
    site.replace("user = \"root\"\nidentity_file", "user = \"ops\"\nidentity_file");
    let refused = ["the login ops@", "can't become root: sudo wants a password", "NOPASSWD: ALL"];

    forbid_sudo(&site, &MachineId::node("edge1"));
    site.run(&["run"]).expect(3).says(&refused);
    site.assert_untouched();
    let grant = site.lab().root_of(&MachineId::node("edge1")).join("etc/sudoers.d/proxmaint");
    fs::write(grant, "ops ALL=(root) NOPASSWD: ALL\n").expect("a file");

    forbid_sudo(&site, &edge(202));
    site.run(&["run"]).expect(3).says(&["202", "can't become root: sudo wants a password"]);
    let view = site.status(&[]);
    for (id, state) in [(101, "upgraded"), (201, "upgraded"), (202, "blocked")] {
        assert_eq!(guest(&view, "edge1", id)["state"], state, "{view:#}");
    }
    assert_eq!(host(&view, "edge1")["result"], "blocked");
    assert_eq!((site.behind(&MachineId::node("edge1")), site.behind(&edge(202))), (0, 1), "{}", site.ledger_text());
    assert!(!site.changes().iter().any(|entry| entry.machine == "202"), "{}", site.ledger_text());
    let by = |machine: &str| site.ledger().into_iter().find(|e| e.act == Act::Upgrade && e.machine == machine);
    for machine in ["edge1", "201"] {
        assert_eq!(by(machine).expect("an upgrade").by, "ssh:ops", "{}", site.ledger_text());
    }
}
