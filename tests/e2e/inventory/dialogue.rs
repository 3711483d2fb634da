//! At a terminal: every question, the way back from each, and what is saved.

use proxmaint_lab::faults::{Fault, RequestFault};

use super::{bare, connections, edge, entry, text, world};
use crate::support::screen::{CTRL_C, ENTER, ESC};
use crate::support::{Screen, side_by_side};

/// Answers as far as the question about the difference: nothing is chosen but what is suggested.
fn to_the_end(screen: &Screen) {
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "Not stored");
}

#[test]
fn at_a_terminal() {
    side_by_side(&[
        ("what_is_suggested_is_saved", what_is_suggested_is_saved),
        ("a_tick_says_who_is_managed", a_tick_says_who_is_managed),
        ("esc_goes_one_question_back_and_keeps_the_answers", esc_goes_one_question_back_and_keeps_the_answers),
        ("logins_are_named_for_all_or_for_each", logins_are_named_for_all_or_for_each),
        ("a_variable_that_is_not_set_is_warned_of", a_variable_that_is_not_set_is_warned_of),
        ("who_leaves_changes_nothing", who_leaves_changes_nothing),
        ("no_to_the_difference_saves_nothing", no_to_the_difference_saves_nothing),
        ("a_second_time_there_is_nothing_to_save", a_second_time_there_is_nothing_to_save),
        ("a_dry_run_prints_the_difference", a_dry_run_prints_the_difference),
        ("without_checks_no_login_is_tried", without_checks_no_login_is_tried),
        ("what_rules_decide_is_not_asked", what_rules_decide_is_not_asked),
        ("a_host_that_does_not_answer_is_told_of", a_host_that_does_not_answer_is_told_of),
        ("a_password_in_the_manifest_is_used_and_left_there", a_password_in_the_manifest_is_used_and_left_there),
    ]);
}

fn what_is_suggested_is_saved() {
    let site = bare(world().build());
    let before = text(&site);
    let screen = Screen::start(&site, &["inventory"], &[]);
    let prompt = screen.asks("Which guests of edge1");
    screen.sees("edge1: 3 guests (and 1 template, left out)");
    screen.sees("where it can't be reached it is blocked");
    screen.sees("Runs never touch it");
    let ticked: Vec<(bool, &str)> = prompt.items.iter().map(|item| (item.ticked, item.text.as_str())).collect();
    assert_eq!(ticked.iter().map(|(ticked, _)| *ticked).collect::<Vec<_>>(), [true, false, true], "{ticked:?}");
    assert!(ticked[0].1.starts_with("CT 101 (web)") && ticked[2].1.starts_with("VM 201 (db)"), "{ticked:?}");
    to_the_end(&screen);
    screen.asks("Save?");
    assert_eq!(text(&site), before, "nothing is written before it is agreed to");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["logged in by the key", "saved", "What has changed"]);
    for (vmid, managed, verified) in [(101, true, Some(true)), (102, false, None), (201, true, Some(true))] {
        let found = entry(&site, "edge1", vmid);
        assert_eq!((found["managed"].as_bool(), found["ssh_verified"].as_bool()), (Some(managed), verified), "{found}");
    }
    // To the byte, but for the moment that it was written at.
    let asked = text(&site);
    let updated = value(&asked, "updated_at");
    let addresses =
        [101, 201].map(|vmid| site.with(|world| world.guest(&edge(vmid)).expect("a guest").addresses[0].clone()));
    let key = site.fleet().canonicalize().expect("a directory").join("id_ed25519").display().to_string();
    let verified = |address: &str| {
        format!(
            "ip = \"{address}\"\nmanaged = true\nssh_verified = true\nssh_key_path = \"{key}\"\nlast_checked = {updated}\n"
        )
    };
    let head = |kind: &str, vmid: u32, name: &str, status: &str| {
        format!(
            "\n[[hosts.guest_inventory.entries]]\nkind = \"{kind}\"\nid = \"{vmid}\"\nname = \"{name}\"\nstatus = \"{status}\"\n"
        )
    };
    // The empty line at the end of the file stays there.
    let before = before.strip_suffix("\n").expect("a line break");
    let expected = [
        before.to_owned(),
        format!("\n[hosts.guest_inventory]\nversion = 1\nupdated_at = {updated}\n"),
        head("ct", 101, "web", "running") + &verified(&addresses[0]),
        // One that is off has the address that its config fixes.
        head("ct", 102, "cache", "stopped") + "ip = \"10.88.0.103\"\nmanaged = false\n",
        head("vm", 201, "db", "running") + &verified(&addresses[1]) + "\n",
    ];
    assert_eq!(asked, expected.concat());
}

/// What a key holds where it stands first, as it is written.
fn value(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
    line.unwrap_or_else(|| panic!("no {key} in:\n{text}")).to_owned()
}

fn a_tick_says_who_is_managed() {
    let site = bare(world().build());
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.asks("Which guests of edge1");
    screen.untick("CT 101 (web)");
    screen.tick("CT 102 (cache)");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "Not stored");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["not tried   is off"]);
    let managed = [101, 102, 201].map(|vmid| entry(&site, "edge1", vmid)["managed"].as_bool());
    assert_eq!(managed, [Some(false), Some(true), Some(true)]);
    assert_eq!(connections(&site, &edge(101)), 0, "who is not managed is not logged in to");
}

fn esc_goes_one_question_back_and_keeps_the_answers() {
    let site = bare(world().build());
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.asks("Which guests of edge1");
    screen.untick("CT 101 (web)");
    screen.leave(ENTER);
    screen.choose("Who logs in", "One login for all");
    screen.answer("The login in all of them", "ops");
    screen.asks("Where are the passwords");
    screen.leave(ESC);
    screen.asks("The login in all of them");
    screen.sees("ops");
    screen.leave(ESC);
    let prompt = screen.asks("Who logs in");
    assert_eq!(prompt.active().expect("a choice").text, "One login for all", "the answer is kept");
    screen.leave(ESC);
    let prompt = screen.asks("Which guests of edge1");
    assert!(!prompt.item("CT 101 (web)").expect("a guest").ticked, "the answer is kept");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "Not stored");
    // From the difference back to the questions, and forth again.
    screen.asks("Save?");
    screen.leave(ESC);
    screen.choose("Where are the passwords", "Not stored");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["saved"]);
    assert!(entry(&site, "edge1", 201)["user"].is_null(), "what was taken back is not written");
    assert_eq!(entry(&site, "edge1", 101)["managed"], false);
}

fn logins_are_named_for_all_or_for_each() {
    let site = bare(world().build());
    let screen = Screen::start(&site, &["inventory", "--skip-ssh-checks"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "A login for each guest");
    screen.asks("The login in CT 101 (web) on edge1");
    screen.press("-x");
    screen.objects("no login");
    screen.press("\u{7f}\u{7f}");
    screen.leave(ENTER);
    screen.answer("The login in VM 201 (db) on edge1", "ops");
    screen.choose("Where are the passwords", "Not stored");
    screen.confirm("Save?", true);
    screen.finish().expect(0);
    assert!(entry(&site, "edge1", 101)["user"].is_null(), "it is what holds anyway");
    assert_eq!(entry(&site, "edge1", 201)["user"], "ops");
}

fn a_variable_that_is_not_set_is_warned_of() {
    let site = bare(world().build());
    let screen = Screen::start(&site, &["inventory", "--skip-ssh-checks"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "In one environment variable for all");
    screen.answer("The variable that holds their password", "ALL_PW");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["ALL_PW is not set now"]);
    for vmid in [101, 201] {
        assert_eq!(entry(&site, "edge1", vmid)["password_env"], "ALL_PW");
    }
    assert!(entry(&site, "edge1", 102)["password_env"].is_null());
}

fn who_leaves_changes_nothing() {
    let site = bare(world().build());
    let before = text(&site);
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(ESC);
    screen.finish().expect(0).says(&["nothing was saved"]);
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(CTRL_C);
    screen.finish().expect(0).says(&["nothing was saved"]);
    assert_eq!(text(&site), before);
    site.assert_untouched();
}

fn no_to_the_difference_saves_nothing() {
    let site = bare(world().build());
    let before = text(&site);
    let screen = Screen::start(&site, &["inventory"], &[]);
    to_the_end(&screen);
    screen.confirm("Save?", false);
    screen.confirm("Leave without saving?", true);
    screen.finish().expect(0).says(&["nothing was saved"]);
    assert_eq!(text(&site), before);
}

fn a_second_time_there_is_nothing_to_save() {
    let site = bare(world().build());
    site.run(&["inventory", "--yes"]).expect(0);
    let before = text(&site);
    let screen = Screen::start(&site, &["inventory"], &[]);
    to_the_end(&screen);
    screen.finish().expect(0).says(&["needs no change"]);
    assert_eq!(text(&site), before);
}

fn a_dry_run_prints_the_difference() {
    let site = bare(world().build());
    let before = text(&site);
    let screen = Screen::start(&site, &["inventory", "--dry-run"], &[]);
    to_the_end(&screen);
    screen.finish().expect(0).says(&["+++ ", "name = \"web\"", "nothing was saved"]);
    assert_eq!(text(&site), before);
}

fn without_checks_no_login_is_tried() {
    let site = bare(world().build());
    let screen = Screen::start(&site, &["inventory", "--skip-ssh-checks"], &[]);
    to_the_end(&screen);
    screen.confirm("Save?", true);
    screen.finish().expect(0);
    assert_eq!((connections(&site, &edge(101)), connections(&site, &edge(201))), (0, 0));
    assert!(entry(&site, "edge1", 201)["ssh_verified"].is_null());
}

fn what_rules_decide_is_not_asked() {
    let site = bare(world().build());
    site.edit(|text| text + "\n[[hosts.guests]]\nid = 101\nmanaged = false\n");
    let screen = Screen::start(&site, &["inventory", "--skip-ssh-checks"], &[]);
    let prompt = screen.asks("Which guests of edge1");
    assert!(prompt.item("CT 101 (web)").is_none(), "{:?}", prompt.items.len());
    screen.sees("CT 101 (web): not managed (a rule)");
    to_the_end(&screen);
    screen.confirm("Save?", true);
    screen.finish().expect(0);
    assert!(entry(&site, "edge1", 101)["managed"].is_null());
}

fn a_password_in_the_manifest_is_used_and_left_there() {
    const PASSWORD: &str = "battery staple";
    let old = proxmaint_lab::world::World::builder()
        .standalone("edge1")
        .vm("edge1", 201, |vm| vm.name("db").password_only(PASSWORD).no_agent());
    let site = bare(old.build());
    let address = site.lab().vm_addr("edge1", 201).expect("a server").ip();
    let line = format!("password = \"{PASSWORD}\" # of old");
    site.edit(|text| {
        text + &format!(
            "\n[[hosts.guest_inventory.entries]]\nkind = \"vm\"\nid = \"201\"\nip = \"{address}\"\n{line}\n"
        )
    });
    let screen = Screen::start(&site, &["inventory"], &[]);
    to_the_end(&screen);
    screen.choose("1 guest lets in by password only", "No");
    screen.confirm("Save?", true);
    let done = screen
        .finish()
        .expect(0)
        .says(&["the manifest itself holds a password of VM 201 (db)", "logged in by password"]);
    assert!(!done.stdout.contains(PASSWORD), "{done}");
    assert_eq!(text(&site).matches(&line).count(), 1, "{}", text(&site));
}

fn a_host_that_does_not_answer_is_told_of() {
    let site = bare(world().build());
    let before = text(&site);
    site.plant(Fault::request("GET", "/cluster/status", RequestFault::Status { code: 501, reason: None }));
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.finish().expect(3).says(&["edge1: api call GET /cluster/status answered 501", "needs no change"]);
    assert_eq!(text(&site), before);
    site.assert_faults_struck();
}
