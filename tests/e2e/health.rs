//! How guests do: measured before their upgrade, compared afterwards, over every way in and from outside.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Asker, Disturbance, MachineId, Os, World, WorldBuilder};

use crate::support::{Done, Site, guest, side_by_side};

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

fn world() -> WorldBuilder {
    World::builder().standalone("edge1")
}

/// The rules of guests, at the end of the manifest.
fn rules(site: &Site, rules: &[(u32, String)]) {
    let text: String = rules.iter().map(|(id, lines)| format!("\n[[hosts.guests]]\nid = {id}\n{lines}\n")).collect();
    site.edit(|before| before + &text);
}

/// Where a guest is, for those that the manifest does not know.
fn address(site: &Site, vmid: u32) -> String {
    site.with(|world| world.guest(&edge(vmid)).expect("a guest").addresses[0].clone())
}

fn port(site: &Site, vmid: u32, made_with: u16) -> u16 {
    site.lab().services.port(&edge(vmid), made_with)
}

/// The remarks on a guest's health, and why it is as it is.
fn told(site: &Site, vmid: u64) -> (String, Vec<String>, String) {
    let found = guest(&site.status(&[]), "edge1", vmid);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let remarks = found["remarks"]["health"].as_array().expect("remarks").iter().map(text).collect();
    (text(&found["state"]), remarks, text(&found["reason"]))
}

fn run(site: &Site, code: u8) -> Done {
    site.run(&["run"]).expect(code.into())
}

#[test]
fn guests_are_compared_with_how_they_did_before() {
    side_by_side(&[
        (
            "a_unit_that_fails_since_is_a_failure_over_each_way_in",
            a_unit_that_fails_since_is_a_failure_over_each_way_in,
        ),
        ("ports_only_get_a_remark", ports_only_get_a_remark),
        ("what_had_failed_before_is_no_difference", what_had_failed_before_is_no_difference),
        ("what_comes_back_in_time_is_well", what_comes_back_in_time_is_well),
        ("connections_are_made_from_outside", connections_are_made_from_outside),
        ("commands_run_in_the_guest", commands_run_in_the_guest),
        ("a_check_that_can_not_be_made_keeps_from_upgrading", a_check_that_can_not_be_made_keeps_from_upgrading),
        ("who_failed_is_held_until_it_is_decided_about", who_failed_is_held_until_it_is_decided_about),
        (
            "who_failed_is_upgraded_again_where_it_may_be_tried_again",
            who_failed_is_upgraded_again_where_it_may_be_tried_again,
        ),
        (
            "who_is_held_is_left_alone_while_others_are_tried_again",
            who_is_held_is_left_alone_while_others_are_tried_again,
        ),
        (
            "who_was_started_for_its_upgrade_and_is_held_may_be_said_to_be_mended",
            who_was_started_for_its_upgrade_and_is_held_may_be_said_to_be_mended,
        ),
        ("what_was_not_changed_is_tried_again_by_the_next_run", what_was_not_changed_is_tried_again_by_the_next_run),
    ]);
}

fn a_unit_that_fails_since_is_a_failure_over_each_way_in() {
    let broken = |unit: &str| Disturbance::Fails(unit.to_owned(), None);
    let site = Site::new(
        world()
            .ct("edge1", 101, |ct| ct.pending(1).upgrade_does(broken("nginx.service")))
            .ct("edge1", 102, |ct| ct.os(Os::Alpine322).pending(1).upgrade_does(broken("sshd")))
            .vm("edge1", 201, |vm| vm.pending(1).upgrade_does(broken("nginx.service")))
            .vm("edge1", 202, |vm| vm.ssh_users(&[]).pending(1).upgrade_does(broken("nginx.service")))
            .vm("edge1", 203, |vm| vm.pending(1))
            .build(),
    );
    rules(&site, &[(202, "via = \"agent\"".to_owned())]);
    // What is worse stays so: each of them is waited for to the end.
    site.replace("[defaults]\n", "[defaults]\nmax_parallel = 5\n");
    run(&site, 3).says(&["nginx.service failed, and had not before"]);
    for (id, unit) in [(101, "nginx.service"), (102, "sshd"), (201, "nginx.service"), (202, "nginx.service")] {
        let (state, _, why) = told(&site, id);
        let expected = format!("it does not do as before its upgrade: {unit} failed, and had not before");
        assert_eq!((state.as_str(), why.as_str()), ("failed", expected.as_str()), "{id}");
    }
    assert_eq!(told(&site, 203), ("upgraded".to_owned(), vec![], String::new()));
}

fn ports_only_get_a_remark() {
    let site = Site::new(
        world().ct("edge1", 101, |ct| ct.pending(1).listens(25).upgrade_does(Disturbance::Moves(25, 2525))).build(),
    );
    run(&site, 0);
    let (gone, new) = (port(&site, 101, 25), port(&site, 101, 2525));
    let expected = [format!("no longer listening: tcp 0.0.0.0:{gone}"), format!("newly listening: tcp 0.0.0.0:{new}")];
    assert_eq!(told(&site, 101), ("upgraded".to_owned(), expected.to_vec(), String::new()));
    site.run(&["status", &site.run_name(), "--host", "edge1"]).expect(0).says(&[&expected[0], &expected[1]]);
}

fn what_had_failed_before_is_no_difference() {
    let site = Site::new(world().ct("edge1", 101, |ct| ct.pending(1).failed_unit("old.service")).build());
    let check = "checks = [{ command = \"systemctl is-active old\", name = \"old\", retries = 0 }]";
    rules(&site, &[(101, check.to_owned())]);
    run(&site, 0);
    let (state, remarks, _) = told(&site, 101);
    assert_eq!(state, "upgraded");
    assert_eq!(
        remarks,
        [
            "old.service had failed before already",
            "the check `old` failed before already: ended with 3, expected was 0: failed",
        ]
    );
}

fn what_comes_back_in_time_is_well() {
    let back = |ms| Disturbance::Fails("slow.service".to_owned(), Some(ms));
    let site = Site::new(world().ct("edge1", 101, |ct| ct.pending(1).upgrade_does(back(3_000))).build());
    run(&site, 0);
    assert_eq!(told(&site, 101), ("upgraded".to_owned(), vec![], String::new()));
}

fn connections_are_made_from_outside() {
    let site = Site::new(
        world()
            .vm("edge1", 201, |vm| vm.pending(1).serves(80, "<h1>welcome</h1>"))
            .vm("edge1", 202, |vm| vm.pending(1).serves(80, "x").upgrade_does(Disturbance::Answers(500)))
            .ct("edge1", 103, |ct| ct.pending(1).listens(5432).upgrade_does(Disturbance::Closes(5432)))
            .ct("edge1", 104, |ct| ct.pending(1).serves(80, "other"))
            .build(),
    );
    let quick = "retries = 1, every = \"100ms\", timeout = \"5s\"";
    let http = |id: u32, more: &str| {
        let url = format!("http://{{address}}:{}/", port(&site, id, 80));
        format!("checks = [{{ http = \"{url}\", name = \"web\", {more}{quick} }}]")
    };
    let database = format!(
        "address = \"{}\"\nchecks = [{{ tcp = {}, name = \"db\", {quick} }}]",
        address(&site, 103),
        port(&site, 103, 5432)
    );
    let other = format!("address = \"{}\"\n{}", address(&site, 104), http(104, "text = \"welcome\", "));
    rules(
        &site,
        &[(201, http(201, "status = 200, text = \"welcome\", ")), (202, http(202, "")), (103, database), (104, other)],
    );
    site.run(&["run", "--dry-run"]).expect(0).says(&["checked before and after: web: http http://{address}:"]);
    run(&site, 3);
    assert_eq!(told(&site, 201), ("upgraded".to_owned(), vec![], String::new()));
    let (state, _, why) = told(&site, 202);
    assert_eq!(state, "failed");
    assert!(why.ends_with("the check `web` fails, and passed before: answers 500, expected was 200 to 299"), "{why}");
    let (state, _, why) = told(&site, 103);
    assert_eq!(state, "failed");
    assert!(why.contains("the check `db` fails, and passed before: no connection to 127."), "{why}");
    let (state, remarks, _) = told(&site, 104);
    assert_eq!(state, "upgraded");
    assert_eq!(remarks, ["the check `web` failed before already: answers 200, but without \"welcome\""]);
}

fn commands_run_in_the_guest() {
    let broken = |unit: &str| Disturbance::Fails(unit.to_owned(), None);
    let site = Site::new(
        world()
            .ct("edge1", 101, |ct| ct.pending(1).upgrade_does(broken("cron.service")))
            .vm("edge1", 202, |vm| vm.ssh_users(&[]).pending(1))
            .build(),
    );
    let active = "checks = [{ command = \"systemctl is-active cron\", name = \"cron\", retries = 0 }]".to_owned();
    let hostname = "checks = [{ command = \"test -r /etc/os-release && hostname; exit 4\", exit = 4 }]";
    rules(&site, &[(101, active), (202, format!("via = \"agent\"\n{hostname}"))]);
    run(&site, 3);
    let (_, _, why) = told(&site, 101);
    let expected = "cron.service failed, and had not before; the check `cron` fails, and passed before: \
                    ended with 3, expected was 0: failed";
    assert!(why.ends_with(expected), "{why}");
    assert_eq!(told(&site, 202), ("upgraded".to_owned(), vec![], String::new()));
}

fn a_check_that_can_not_be_made_keeps_from_upgrading() {
    let site = Site::new(world().ct("edge1", 101, |ct| ct.pending(1).addresses(&[])).build());
    rules(&site, &[(101, "checks = [{ tcp = 80 }]".to_owned())]);
    let why = "its check `tcp 80` can't be made: no address of the guest is known";
    site.run(&["run", "--dry-run"]).expect(3).says(&["CT 101", why, "warning (health)"]);
    run(&site, 3);
    assert_eq!(told(&site, 101).0, "blocked");
    assert_eq!((site.count(Act::Upgrade, "101"), site.count(Act::SnapshotCreate, "101")), (0, 0));
}

fn who_failed_is_held_until_it_is_decided_about() {
    let world = world()
        .ct("edge1", 101, |ct| ct.pending(1).upgrade_breaks("nginx.service"))
        .ct("edge1", 102, |ct| ct.pending(1));
    let site = Site::new(world.build());
    let first = site.run(&["run"]).expect(3);
    first.says(&["failed: ", "nginx.service", "; held; to bring it back to its snapshot: proxmaint rollback"]);
    let name = site.run_name();
    let found = guest(&site.status(&[]), "edge1", 101);
    assert_eq!((found["state"].as_str(), found["held"].as_bool()), (Some("failed"), Some(true)), "{found:#}");
    assert_eq!(guest(&site.status(&[]), "edge1", 102)["held"], false);
    let decide = format!("proxmaint resolve {name} edge1 101 --retry|--done|--skip");
    site.run(&["status"]).expect(0).says(&["failed", &format!("proxmaint rollback {name} edge1 101"), &decide]);
    // That nothing is pending any more mends nothing, and keeps nobody else from the next run.
    let why = format!("is held since it failed in run {name}");
    let done = format!("proxmaint resolve {name} edge1 101 --done");
    site.run(&["plan"]).expect(3).says(&["CT 101", &why]);
    site.run(&["run"]).expect(3).says(&[&why, &done]);
    assert_ne!(site.run_name(), name, "nothing was left to go on with");
    assert_eq!(told(&site, 101).0, "blocked");
    site.with(|world| world.machine_mut(&edge(101)).expect("a machine").duties.failed.clear());
    site.run(&["resolve", &name, "edge1", "101", "--done"]).expect(0).says(&["recorded", "later runs maintain it"]);
    run(&site, 0);
    assert_eq!(told(&site, 101).0, "skipped");
    assert_eq!(site.count(Act::Upgrade, "101"), 1);
}

fn who_failed_is_upgraded_again_where_it_may_be_tried_again() {
    let fault = Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 });
    let site = Site::new(world().ct("edge1", 101, |ct| ct.pending(2)).fault(fault).build());
    run(&site, 3);
    let name = site.run_name();
    site.lab().with(|world, now| world.configure_packages(now, &edge(101), &Asker::root())).expect("configured");
    site.with(|world| {
        let packages = &mut world.machine_mut(&edge(101)).expect("a machine").packages;
        packages.repository.insert("tzdata".to_owned(), "2027a-1".to_owned());
    });
    run(&site, 3);
    assert_eq!((told(&site, 101).0.as_str(), site.count(Act::Upgrade, "101")), ("blocked", 1));
    site.run(&["resolve", &name, "edge1", "101", "--retry"]).expect(0).says(&["the next `proxmaint run` upgrades it"]);
    run(&site, 0);
    assert_eq!((told(&site, 101).0.as_str(), site.count(Act::Upgrade, "101")), ("upgraded", 2));
}

fn who_was_started_for_its_upgrade_and_is_held_may_be_said_to_be_mended() {
    let fault = Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 });
    let site = Site::new(world().ct("edge1", 101, |ct| ct.stopped().pending(1)).fault(fault).build());
    site.replace("[defaults]\n", "[defaults]\nstopped = \"start\"\n");
    run(&site, 3);
    let name = site.run_name();
    assert_eq!(told(&site, 101).0, "failed");
    assert!(!site.with(|world| world.guest(&edge(101)).expect("a guest").running()), "it is off again");
    site.run(&["resolve", &name, "edge1", "101", "--done"]).expect(0).says(&["recorded", "later runs maintain it"]);
    assert_eq!(guest(&site.status(&[&name]), "edge1", 101)["state"], "upgraded");
}

fn who_is_held_is_left_alone_while_others_are_tried_again() {
    let world = world()
        .ct("edge1", 101, |ct| ct.pending(2))
        .ct("edge1", 102, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 }))
        .fault(Fault::upgrade("102", UpgradeFault::Exit { code: 100 }));
    let site = Site::new(world.build());
    run(&site, 3);
    let name = site.run_name();
    let again = run(&site, 3);
    let again = again.says(&["goes on", "CT 101 (ct101): still held: failed: the upgrade ended with exit status 100"]);
    assert!(!again.stderr.contains("blocked, not touched"), "what the new plan says is not about it: {}", again.stderr);
    assert_eq!(site.run_name(), name);
    assert_eq!((told(&site, 101).0.as_str(), told(&site, 102).0.as_str()), ("failed", "upgraded"));
    assert_eq!((site.count(Act::Upgrade, "101"), site.count(Act::SnapshotCreate, "101")), (1, 1));
}

fn what_was_not_changed_is_tried_again_by_the_next_run() {
    let fault = Fault::upgrade("101", UpgradeFault::Exit { code: 100 });
    let site = Site::new(world().ct("edge1", 101, |ct| ct.pending(2)).fault(fault).build());
    site.edit(|before| before.replace("[defaults]\n", "[defaults]\non_failure = \"rollback\"\n"));
    site.run(&["run"]).expect(3).says(&["Unable to fetch", "nothing was changed; the next run tries again"]);
    assert_eq!((told(&site, 101).0.as_str(), site.count(Act::Rollback, "101")), ("failed", 0));
    run(&site, 0);
    assert_eq!((told(&site, 101).0.as_str(), site.count(Act::Upgrade, "101")), ("upgraded", 2));
}
