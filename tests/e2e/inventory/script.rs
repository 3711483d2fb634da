//! With `--yes`: what the command line says is done, and nobody is asked.

use std::fs;

use proxmaint_lab::faults::{Fault, RequestFault};
use proxmaint_lab::world::World;

use super::{bare, connections, edge, entry, text, world};
use crate::support::side_by_side;

#[test]
fn by_the_command_line() {
    side_by_side(&[
        ("what_is_found_is_written_and_written_once", what_is_found_is_written_and_written_once),
        ("which_guests_are_managed_is_said", which_guests_are_managed_is_said),
        ("a_user_is_for_guests_that_have_none", a_user_is_for_guests_that_have_none),
        ("without_checks_nobody_is_logged_in_to", without_checks_nobody_is_logged_in_to),
        ("a_dry_run_saves_nothing", a_dry_run_saves_nothing),
        (
            "what_was_written_by_hand_stays_and_who_is_gone_is_marked",
            what_was_written_by_hand_stays_and_who_is_gone_is_marked,
        ),
        (
            "a_host_that_does_not_answer_keeps_no_other_from_being_saved",
            a_host_that_does_not_answer_keeps_no_other_from_being_saved,
        ),
        ("two_entries_of_one_node_are_told_apart", two_entries_of_one_node_are_told_apart),
        ("another_machine_at_the_address_is_not_taken", another_machine_at_the_address_is_not_taken),
        ("rules_go_before_what_the_command_line_says", rules_go_before_what_the_command_line_says),
    ]);
}

fn what_is_found_is_written_and_written_once() {
    let site = bare(world().build());
    let before = text(&site);
    let done =
        site.run(&["inventory", "--yes"]).expect(0).says(&["edge1: 3 guests (and 1 template, left out)", "saved"]);
    assert_eq!(done.stdout, "", "{done}");
    let after = text(&site);
    assert!(after.starts_with(before.trim_end()), "what was there has changed:\n{after}");
    let (web, cache, db) = (entry(&site, "edge1", 101), entry(&site, "edge1", 102), entry(&site, "edge1", 201));
    for (found, name, status, managed) in
        [(&web, "web", "running", true), (&cache, "cache", "stopped", false), (&db, "db", "running", true)]
    {
        assert_eq!(
            (&found["name"], &found["status"], &found["managed"]),
            (&name.into(), &status.into(), &managed.into())
        );
    }
    let address = |vmid| site.lab().vm_addr("edge1", vmid).expect("a server").ip().to_string();
    for (found, vmid) in [(&web, 101), (&db, 201)] {
        assert_eq!(found["ip"].as_str().and_then(|ip| ip.split('/').next()), Some(address(vmid).as_str()), "{found}");
        assert_eq!(found["ssh_verified"], true, "{done}");
        assert!(found["ssh_key_path"].as_str().is_some_and(|path| path.ends_with("id_ed25519")), "{found}");
    }
    assert!(cache["ssh_verified"].is_null(), "one that is off is not tried: {cache}");
    assert!(!after.contains("golden"), "a template is no guest to maintain");
    site.run(&["inventory", "--yes"]).expect(0).says(&["needs no change"]);
    assert_eq!(text(&site), after, "the second run changed something");
    assert_eq!(fs::read_to_string(site.fleet().join("proxmox-hosts.toml.bak")).expect("the previous file"), before);
    site.run(&["run"]).expect(0);
    assert_eq!((site.behind(&edge(101)), site.behind(&edge(201))), (0, 0), "{}", site.ledger_text());
}

fn which_guests_are_managed_is_said() {
    let site = bare(world().build());
    let managed = || [101, 102, 201].map(|vmid| entry(&site, "edge1", vmid)["managed"].as_bool().expect("it is said"));
    for (words, expected) in [
        (&["all"][..], [true, true, true]),
        (&["none"], [false, false, false]),
        (&["running"], [true, false, true]),
        (&["type:vm"], [false, false, true]),
        (&["running", "102"], [true, true, true]),
        (&["all", "!cache"], [true, false, true]),
    ] {
        let manage = words.iter().flat_map(|word| ["--manage", word]);
        let args: Vec<&str> = ["inventory", "--yes", "--skip-ssh-checks"].into_iter().chain(manage).collect();
        site.run(&args).expect(0);
        assert_eq!(managed(), expected, "{words:?}");
    }
    // What the manifest says is kept where the command line says nothing.
    site.run(&["inventory", "--yes", "--skip-ssh-checks", "--manage", "none"]).expect(0);
    site.run(&["inventory", "--yes", "--skip-ssh-checks"]).expect(0).says(&["needs no change"]);
    assert_eq!(managed(), [false, false, false]);
    site.run(&["inventory", "--yes", "--manage", "two words"]).expect(2).says(&["all, running, none"]);
}

fn a_user_is_for_guests_that_have_none() {
    let site = bare(world().build());
    site.edit(|text| text + "\n[[hosts.guest_inventory.entries]]\nkind = \"ct\"\nid = \"101\"\nuser = \"root\"\n");
    site.run(&["inventory", "--yes", "--user", "ops", "--manage", "running"]).expect(0).says(&["ops@"]);
    let user = |vmid| entry(&site, "edge1", vmid)["user"].clone();
    assert_eq!((user(101), user(201)), ("root".into(), "ops".into()));
    assert!(user(102).is_null(), "it is not managed");
    assert_eq!(entry(&site, "edge1", 101)["ssh_verified"], true);
    assert_eq!(entry(&site, "edge1", 201)["ssh_verified"], false, "nobody is called ops there");
}

fn without_checks_nobody_is_logged_in_to() {
    let site = bare(world().build());
    site.run(&["inventory", "--yes", "--skip-ssh-checks"]).expect(0);
    assert_eq!((connections(&site, &edge(101)), connections(&site, &edge(201))), (0, 0));
    assert!(entry(&site, "edge1", 101)["ssh_verified"].is_null());
    site.assert_untouched();
}

fn a_dry_run_saves_nothing() {
    let site = bare(world().build());
    let before = text(&site);
    let done = site.run(&["inventory", "--yes", "--dry-run"]).expect(0);
    assert!(done.stdout.contains("+name = \"web\"") || done.stdout.contains("name = \"web\""), "{done}");
    assert!(done.stdout.lines().any(|line| line.starts_with("+++ ")), "it is no difference:\n{done}");
    assert_eq!(text(&site), before);
}

fn what_was_written_by_hand_stays_and_who_is_gone_is_marked() {
    let site = bare(world().build());
    site.run(&["inventory", "--yes"]).expect(0);
    site.edit(|text| {
        let at = text.find("name = \"db\"").expect("the entry");
        let (before, after) = text.split_at(at);
        format!("{before}notes = \"the ledger\" # ask finance\n{after}")
    });
    site.with(|world| world.realms.get_mut("edge1").expect("the node").guests.remove(&101).expect("a guest"));
    site.run(&["inventory", "--yes"]).expect(0);
    assert_eq!(entry(&site, "edge1", 101)["status"], "gone");
    assert!(text(&site).contains("notes = \"the ledger\" # ask finance\n"), "{}", text(&site));
    let after = text(&site);
    site.run(&["inventory", "--yes"]).expect(0).says(&["needs no change"]);
    assert_eq!(text(&site), after);
}

fn a_host_that_does_not_answer_keeps_no_other_from_being_saved() {
    let site = bare(world().standalone("edge2").ct("edge2", 301, |ct| ct).build());
    let unreadable = RequestFault::Status { code: 501, reason: None };
    site.plant(Fault::request("GET", "/nodes/edge1/qemu", unreadable));
    let done = site.run(&["inventory", "--yes"]).expect(3).says(&["error: edge1", "hint:", "saved"]);
    assert!(!done.stderr.contains("error: edge2"), "{done}");
    assert_eq!(entry(&site, "edge2", 301)["status"], "running");
    assert!(!text(&site).contains("name = \"web\""), "{}", text(&site));
    site.assert_faults_struck();
}

fn two_entries_of_one_node_are_told_apart() {
    let site = bare(world().build());
    site.edit(|text| {
        let at = text.find("[[hosts]]").expect("a host");
        let twin = text[at..].replace("name = \"edge1\"", "name = \"twin\"");
        format!("{text}\n{twin}")
    });
    site.run(&["inventory", "--yes", "--skip-ssh-checks"])
        .expect(3)
        .says(&["twin", "is the same node (edge1) as the entry edge1"]);
    assert_eq!(text(&site).matches("name = \"web\"").count(), 1, "{}", text(&site));
}

fn another_machine_at_the_address_is_not_taken() {
    let both =
        World::builder()
            .standalone("edge1")
            .vm("edge1", 201, |vm| vm.name("db").no_agent())
            .vm("edge1", 202, |vm| vm.no_agent());
    let site = bare(both.build());
    let other = site.lab().vm_addr("edge1", 202).expect("a server").ip();
    site.edit(|text| {
        text + &format!(
            "\n[[hosts.guest_inventory.entries]]\nkind = \"vm\"\nid = \"201\"\nip = \"{other}\"\nmanaged = true\n"
        )
    });
    site.run(&["inventory", "--yes", "--manage", "201"]).expect(0).says(&["fails", "(vm202) is not proven"]);
    let found = entry(&site, "edge1", 201);
    assert_eq!(found["ssh_verified"], false);
    assert!(found["ssh_key_path"].is_null(), "{found}");
}

fn rules_go_before_what_the_command_line_says() {
    let site = bare(world().build());
    site.edit(|text| text + "\n[[hosts.guests]]\nid = 101\nmanaged = false\n");
    site.run(&["inventory", "--yes", "--manage", "all"]).expect(0).says(&["no (a rule)"]);
    assert!(entry(&site, "edge1", 101)["managed"].is_null(), "an entry without effect is not written");
    assert_eq!(entry(&site, "edge1", 102)["managed"], true);
    assert_eq!(connections(&site, &edge(101)), 0, "it is to be left alone");
}

#[test]
fn where_nobody_can_be_asked_that_is_said() {
    let mut site = bare(world().build());
    let before = text(&site);
    site.run(&["inventory"]).expect(2).says(&["--yes", "--output"]);
    site.env.retain(|(name, _)| !name.ends_with("_SECRET"));
    site.run(&["inventory", "--yes"]).expect(2).says(&["LAB_EDGE1_SECRET is not set"]);
    let elsewhere = site.fleet().join("none.toml");
    let config = elsewhere.display().to_string();
    site.run(&["--config", &config, "inventory", "--yes"]).expect(1).says(&["none.toml", "--host"]);
    assert_eq!(text(&site), before);
    assert!(!elsewhere.exists());
}
