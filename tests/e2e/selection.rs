//! Which guests and nodes a run is about: by the manifest, by the command line, and when it goes on.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{MachineId, World};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Done, Site, guest, host};

/// A node with five guests; in each of them, and on the node, something is pending.
fn world() -> World {
    World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.name("web-1").pending(1))
        .ct("edge1", 102, |ct| ct.name("web-2").pending(1))
        .ct("edge1", 103, |ct| ct.name("db").pending(1))
        .ct("edge1", 150, |ct| ct.name("batch").pending(1))
        .vm("edge1", 201, |vm| vm.name("mail").pending(1))
        .build()
}

const ALL: [u64; 5] = [101, 102, 103, 150, 201];

/// Puts lines of its own into `[defaults]`, in the place of those from before.
fn with_defaults(site: &Site, lines: &str) {
    const END: &str = "# end of these\n";
    site.edit(|text| {
        let (before, behind) = text.split_once("[defaults]\n").expect("defaults");
        let behind = behind.split_once(END).map_or(behind, |(_, behind)| behind);
        format!("{before}[defaults]\n{lines}\n{END}{behind}")
    });
}

/// The guests of a dry run with what is decided about each.
fn planned(site: &Site, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["run", "--dry-run", "--output", "json"];
    all.extend(args);
    let done = site.run(&all);
    assert!([0, 2].contains(&done.code), "{done}");
    let plan = done.events().into_iter().find(|event| event["event"] == "plan").unwrap_or_else(|| panic!("{done}"));
    plan["guests"].as_array().expect("guests").clone()
}

/// Those that would be upgraded.
fn upgraded(guests: &[Value]) -> Vec<u64> {
    let is = |guest: &&Value| guest["decision"] == "upgrade";
    guests.iter().filter(is).map(|guest| guest["id"].as_u64().expect("an id")).collect()
}

fn reason(guests: &[Value], id: u64) -> String {
    let found = guests.iter().find(|guest| guest["id"] == id).unwrap_or_else(|| panic!("no guest {id}"));
    assert_eq!(found["decision"], "skip", "{found}");
    found["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_manifest_selects_guests() {
    let site = Site::new(world());
    with_defaults(&site, "");
    assert_eq!(upgraded(&planned(&site, &[])), ALL);
    for (lines, ids, left_out, why) in [
        ("guests.include = [101, \"web-2\"]", &[101, 102][..], 103, "left out: not in guests.include"),
        ("guests_include = \"100-149\"", &[101, 102, 103], 150, "left out: not in guests.include"),
        ("guests.include = [\"web-?\", \"!102\"]", &[101], 102, "left out: not in guests.include"),
        ("guests.include = \"type:vm\"", &[201], 101, "left out: not in guests.include"),
        ("guests.exclude = [\"web-*\"]", &[103, 150, 201], 102, "left out: guests.exclude (web-*)"),
        ("guests_exclude = \"!type:ct\"", &[101, 102, 103, 150], 201, "left out: guests.exclude (!type:ct)"),
        (
            "guests = { include = \"100-199\", exclude = [\"103\", \"b*\"] }",
            &[101, 102],
            150,
            "left out: guests.exclude (b*)",
        ),
    ] {
        with_defaults(&site, lines);
        let guests = planned(&site, &[]);
        assert_eq!(upgraded(&guests), ids, "{lines}");
        assert_eq!(reason(&guests, left_out), why, "{lines}");
    }
    // A rule of a single guest says whether it is maintained; the later of two counts.
    with_defaults(&site, "");
    site.replace(
        "[hosts.guest_inventory]\n",
        "guests = [{ match = \"100-150\", managed = false }, { id = 103, managed = true }]\n[hosts.guest_inventory]\n",
    );
    let guests = planned(&site, &[]);
    assert_eq!((upgraded(&guests), reason(&guests, 150)), (vec![103, 201], "not managed".to_owned()));
    site.assert_untouched();
}

#[test]
fn tags_and_pools_select_guests() {
    let world = World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.name("web-1").tags(&["prod", "web"]).pool("front").pending(1))
        .ct("edge1", 102, |ct| ct.name("web-2").tags(&["test"]).pool("front").pending(1))
        .ct("edge1", 103, |ct| ct.name("db").tags(&["prod", "proxmaint-skip"]).pool("back").pending(1))
        .vm("edge1", 201, |vm| vm.name("mail").tags(&["prod"]).pending(1));
    let site = Site::new(world.build());
    let skipped = "left out: has the tag proxmaint-skip";
    for (lines, args, ids, left_out, why) in [
        ("max_parallel = 3", &[][..], &[101, 102, 201][..], 103, skipped),
        ("guests.include = \"tag:prod\"", &[], &[101, 201], 102, "left out: not in guests.include"),
        ("guests.exclude = \"pool:front\"", &[], &[201], 101, "left out: guests.exclude (pool:front)"),
        ("guests.include = [\"pool:front\", \"!tag:web\"]", &[], &[102], 101, "left out: not in guests.include"),
        ("max_parallel = 1", &["--guest", "tag:test"], &[102], 101, "left out: not named by --guest"),
        ("max_parallel = 2", &["--guest", "pool:front"], &[101, 102], 201, "left out: not named by --guest"),
        // Who is named is left in peace all the same.
        ("max_parallel = 3", &["--guest", "103", "--guest", "tag:web"], &[101], 103, skipped),
        (
            "max_parallel = 1",
            &["--guest", "tag:prod", "--guest", "!type:vm"],
            &[101],
            201,
            "left out: not named by --guest",
        ),
    ] {
        with_defaults(&site, lines);
        let guests = planned(&site, args);
        assert_eq!(upgraded(&guests), ids, "{lines} {args:?}");
        assert_eq!(reason(&guests, left_out), why, "{lines} {args:?}");
    }
    with_defaults(&site, "");
    site.edit(|text| {
        text + "\n[[hosts.guests]]\nmatch = \"tag:prod\"\nprotect = \"none\"\n\n[[hosts.guests]]\nmatch = \"pool:front\"\n\
                protect = \"backup\"\n\n[[hosts.guests]]\nmatch = \"tag:test\"\nmanaged = false\n"
    });
    let guests = planned(&site, &[]);
    let protection = |id: u64| {
        let found = guests.iter().find(|guest| guest["id"] == id).expect("a guest");
        found["upgrade"]["protection"][0].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!((protection(101), protection(201)), ("backup to local".to_owned(), "none".to_owned()), "the later rule");
    assert_eq!(reason(&guests, 102), "not managed");
    site.assert_untouched();
    site.run(&["run"]).expect(0);
    assert!(behind(&site, 103) && behind(&site, 102) && !behind(&site, 101) && !behind(&site, 201));
    assert_eq!(guest(&site.status(&[]), "edge1", 103)["reason"], skipped);
    assert!(!site.ledger().iter().any(|entry| entry.machine == "103"), "{}", site.ledger_text());
}

#[test]
fn the_command_line_selects_among_them() {
    let site = Site::new(world());
    with_defaults(&site, "guests.exclude = \"db\"");
    for (args, ids, left_out, why) in [
        (&["--guest", "101", "--guest", "201"][..], &[101, 201][..], 102, "left out: not named by --guest"),
        (&["--guest", "web-*", "--guest", "!101"], &[102], 101, "left out: not named by --guest"),
        (&["--guest", "100-199"], &[101, 102, 150], 103, "left out: guests.exclude (db)"),
        (&["--guest", "type:vm"], &[201], 101, "left out: not named by --guest"),
        (&["--guests-only"], &[101, 102, 150, 201], 103, "left out: guests.exclude (db)"),
        (&["--hosts-only"], &[], 101, "left out: --hosts-only"),
    ] {
        let guests = planned(&site, args);
        assert_eq!(upgraded(&guests), ids, "{args:?}");
        assert_eq!(reason(&guests, left_out), why, "{args:?}");
    }
    site.assert_untouched();
}

#[test]
fn selectors_that_are_wrong_and_aims_that_contradict_each_other_are_usage() {
    let site = Site::new(world());
    site.run(&["run", "--guest", "colour:red"]).expect(2).says(&["before a colon stands tag, pool, type", "tag:NAME"]);
    site.run(&["run", "--guest", "101", "--hosts-only"]).expect(2);
    site.run(&["run", "--guests-only", "--reboot"]).expect(2);
    site.run(&["run", "--reboot", "never"]).expect(2).says(&["if-needed", "always"]);
    assert!(!site.state().exists());
}

fn node() -> MachineId {
    MachineId::node("edge1")
}

fn behind(site: &Site, vmid: u32) -> bool {
    site.behind(&MachineId::guest("edge1", vmid)) > 0
}

#[test]
fn a_run_about_one_guest_touches_nothing_else_and_says_why() {
    let site = Site::new(world());
    site.run(&["run", "--guest", "102"]).expect(0);
    assert!(!behind(&site, 102) && [101, 103, 150, 201].into_iter().all(|vmid| behind(&site, vmid)));
    assert!(site.behind(&node()) > 0, "no node is upgraded");
    let status = site.status(&[]);
    assert_eq!(guest(&status, "edge1", 102)["state"], "upgraded");
    let other = guest(&status, "edge1", 101);
    assert_eq!(
        (other["state"].as_str(), other["reason"].as_str()),
        (Some("skipped"), Some("left out: not named by --guest"))
    );
    site.run(&["status"]).expect(0).says(&["not named by --guest"]);
    // The next run is about everything again.
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

#[test]
fn guests_only_leaves_the_node_and_hosts_only_the_guests() {
    let site = Site::new(world());
    site.run(&["run", "--hosts-only"]).expect(0);
    assert!(site.behind(&node()) == 0 && behind(&site, 101) && behind(&site, 201));
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["reason"], "left out: --hosts-only");

    let site = Site::new(world());
    site.run(&["run", "--guests-only"]).expect(0);
    assert!(site.behind(&node()) > 0 && !behind(&site, 101) && !behind(&site, 201));
    assert_eq!(host(&site.status(&[]), "edge1")["result"], "succeeded");
}

#[test]
fn selectors_that_no_guest_matches_do_nothing_silently() {
    let site = Site::new(world());
    let nothing = "--guest 999 selects no guest of any host";
    site.run(&["run", "--dry-run", "--guest", "999"]).expect(2).says(&[nothing]);
    let idle = site.run(&["run", "--dry-run", "--guest", "101", "--guest", "999"]).expect(0);
    idle.says(&["--guest 999 matches no guest of any host"]);
    site.assert_untouched();
    let ran = site.run(&["run", "--guest", "999", "--output", "json"]).expect(2).says(&[nothing]);
    assert_eq!(ran.ended()["exit_code"], 2);
    assert_eq!(site.changes(), [], "{}", site.ledger_text());
    site.run(&["run", "--guest", "101", "--guest", "999"]).expect(0).says(&["--guest 999 matches no guest"]);
    assert!(!behind(&site, 101) && behind(&site, 102));
}

#[test]
fn a_rule_says_how_its_guest_is_reached() {
    const PASSWORD: &str = "open sesame";
    let vm = |vmid: u32, user: &'static str| {
        move |world: proxmaint_lab::world::WorldBuilder| {
            world.vm("edge1", vmid, move |vm| vm.no_agent().ssh_users(&[user]).password(PASSWORD).pending(1))
        }
    };
    let world = vm(202, "root")(vm(201, "ops")(World::builder().standalone("edge1"))).build();
    let mut site = Site::new(world);
    // Nothing but two rules knows where the VMs are and what opens them: the key does not.
    let address = |vmid: u32| site.lab().vm_addr("edge1", vmid).expect("a server").ip();
    let rules = format!(
        "\n[[hosts.guests]]\nid = 201\naddress = \"{}\"\nuser = \"ops\"\npassword_env = \"OPS\"\n\
         \n[[hosts.guests]]\nid = 202\naddress = \"{}\"\n",
        address(201),
        address(202),
    );
    site.edit(|text| {
        let before = text.split("\n[hosts.guest_inventory]").next().expect("a text").to_owned();
        before.lines().filter(|line| !line.starts_with("guest_identity_file")).map(|line| format!("{line}\n")).collect()
    });
    site.edit(|text| text + &rules);
    with_defaults(&site, "guest.password_env = \"ALL\"");
    site.env.push(("OPS".to_owned(), PASSWORD.to_owned()));
    site.run(&["run"]).expect(2).says(&["ALL is not set", "guest.password_env"]);
    site.env.push(("ALL".to_owned(), PASSWORD.to_owned()));
    site.run(&["run"]).expect(0);
    assert_eq!((site.count(Act::Upgrade, "201"), site.count(Act::Upgrade, "202")), (1, 1), "{}", site.ledger_text());
    site.assert_clean();
}

/// A run that was interrupted while it worked on guest 101.
fn interrupted(args: &[&str]) -> (Site, String) {
    let site = Site::new(world());
    site.plant(Fault::upgrade("edge1/101", UpgradeFault::Slow { ms: 800 }));
    let mut all = vec!["run"];
    all.extend(args);
    let working = site.start(&all);
    site.await_begun(Act::Upgrade, "101");
    working.signal(Signal::INT);
    working.finish().expect(5);
    let run = site.run_name();
    (site, run)
}

/// Goes on with the run, and says what it says about that.
fn goes_on(site: &Site, run: &str, args: &[&str]) -> Done {
    let done = site.run(args).expect(0);
    assert_eq!(site.run_name(), run, "{done}");
    done
}

#[test]
fn what_is_not_said_again_is_as_the_run_was_begun() {
    let (site, run) = interrupted(&["--guest", "web-*"]);
    let line = format!("run {run} goes on as it was begun, with --guest web-*");
    goes_on(&site, &run, &["run"]).says(&[&line]);
    assert!(!behind(&site, 101) && !behind(&site, 102) && behind(&site, 103) && site.behind(&node()) > 0);
    // The run is over: the next one is about everything.
    let next = site.run(&["run"]).expect(0);
    assert!(!next.stderr.contains("as it was begun"), "{next}");
    site.assert_clean();
}

#[test]
fn what_is_said_again_in_the_same_words_is_no_difference() {
    let (site, run) = interrupted(&["--guest", "101", "--guest", "102"]);
    let done = goes_on(&site, &run, &["run", "--guest", "101", "--guest", "102"]);
    assert!(!done.stderr.contains("as it was begun"), "{done}");
    assert!(!behind(&site, 101) && !behind(&site, 102) && behind(&site, 103));
}

#[test]
fn what_is_said_otherwise_is_a_difference_like_those_of_the_manifest() {
    let (site, run) = interrupted(&["--guest", "101"]);
    let before = site.ledger().len();
    let asked = site.run(&["run", "--guests-only"]).expect(1);
    asked.says(&[&run, "edge1: --guest 101 -> none", "--replan", "--keep-plan"]);
    assert_eq!(site.ledger().len(), before, "{}", site.ledger_text());
    site.run(&["run", "--hosts-only"]).expect(1).says(&["the scope guests-only -> hosts-only"]);
    site.run(&["run", "--reboot"]).expect(1).says(&["host.reboot never -> if-needed"]);
    goes_on(&site, &run, &["run", "--guests-only", "--keep-plan"]);
    assert!(!behind(&site, 101) && behind(&site, 102));
}

#[test]
fn replan_widens_a_run_as_far_as_its_hosts_have_not_come() {
    let world = World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge2", 101, |ct| ct.pending(1))
        .ct("edge2", 102, |ct| ct.pending(1))
        .fault(Fault::upgrade("edge1/101", UpgradeFault::Slow { ms: 800 }))
        .build();
    let site = Site::new(world);
    let working = site.start(&["run", "--guest", "101"]);
    site.await_begun(Act::Upgrade, "101");
    working.signal(Signal::INT);
    working.finish().expect(5);
    let run = site.run_name();
    goes_on(&site, &run, &["run", "--guests-only", "--replan"]);
    assert_eq!(site.behind(&MachineId::guest("edge2", 102)), 0, "{}", site.ledger_text());
    site.assert_clean();
}

#[test]
fn a_reboot_that_was_asked_for_is_asked_for_still() {
    let (site, run) = interrupted(&["--reboot"]);
    goes_on(&site, &run, &["run"]).says(&["as it was begun, with --reboot if-needed"]);
    // One that the manifest asks for is the manifest's: a change of it is a difference.
    let (site, _) = interrupted(&[]);
    with_defaults(&site, "host.reboot = \"always\"");
    site.run(&["run"]).expect(1).says(&["host.reboot never -> always"]);
}

#[test]
fn a_guest_of_a_host_that_is_only_planned_for_is_a_guest_all_the_same() {
    let world = World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge2", 102, |ct| ct.pending(1))
        .build();
    let site = Site::new(world);
    site.replace("name = \"edge1\"\n", "name = \"edge1\"\ndry_run = true\n");
    for (selector, changed) in [("101", 0), ("102", 1)] {
        let done = site.run(&["run", "--guest", selector]).expect(0);
        assert!(!done.stderr.contains("selects no guest"), "{done}");
        assert_eq!(site.count(Act::Upgrade, "*"), changed, "{}", site.ledger_text());
    }
    site.run(&["run", "--guest", "999"]).expect(2).says(&["--guest 999 selects no guest of any host"]);
}

#[test]
fn hosts_that_are_only_planned_for_are_aimed_at_alike() {
    let site = Site::new(world());
    with_defaults(&site, "dry_run = true");
    let done = site.run(&["run", "--guest", "101", "--output", "json"]).expect(0);
    let plan = done.events().into_iter().find(|event| event["event"] == "plan").expect("a plan");
    assert_eq!(upgraded(plan["guests"].as_array().expect("guests")), [101]);
    site.assert_untouched();
}
