//! A host's guests: the rules for them, and what is known of them.

use super::{FLEET, Place, back_to_main, save};
use crate::support::screen::{BACKSPACE, CTRL_C, ENTER, ESC, Screen};

/// A host with rules and an inventory, as one writes them by hand.
const GUESTS: &str = r#"# The fleet.
[[hosts]]
host   =   "pve1"  # odd spacing
api.token_env = "PVE1_TOKEN"
api.secret_env = "PVE1_SECRET"
guest_user = "debian"

# All of production.
[[hosts.guests]]
match = "tag:prod"
stopped   =   "start"   # for the night

[[hosts.guests]]
id = 101
via = "ssh"
user = "ops"

[hosts.guest_inventory]
version = 1
entries = [
    { kind = "ct", id = "101", name = "web", status = "running", ip = "192.0.2.101", user = "root", managed = true }, # mine
    { kind = "vm", id = "102", name = "db", status = "stopped", ssh_verified = true, password = "hunter2", notes = "old" },
]
"#;

/// Opens the list of guests.
#[track_caller]
fn open(place: &Place) -> Screen {
    let screen = place.wizard(&["--host", "pve1"]);
    screen.choose("pve1", "Guests");
    screen.asks("pve1: guests");
    screen
}

/// Opens the list of guests, and something in it.
#[track_caller]
fn open_at(place: &Place, label: &str) -> Screen {
    let screen = open(place);
    screen.choose("pve1: guests", label);
    screen
}

#[track_caller]
fn back_and_save(screen: Screen) {
    back_to_main(&screen);
    save(screen);
}

#[test]
fn guests_are_listed_with_what_is_known_of_them() {
    let place = Place::with(GUESTS);
    let screen = open(&place);
    screen.sees("of two rules that say the same key of a guest, the later one counts");
    let items = screen.asks("pve1: guests").items;
    let labels: Vec<String> =
        items.iter().map(|item| item.text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "rule for tag:prod stopped (what runs do with these guests)",
        "rule for 101 (web) via, user",
        "Add a rule",
        "CT 101 web running managed",
        "VM 102 db stopped",
        "Back",
    ];
    assert_eq!(labels, expected);
    screen.pick("Back");
    screen.asks("pve1");
    back_to_main(&screen);
    screen.leave(ESC);
    screen.finish().expect(0);
    place.assert_untouched(GUESTS);
}

#[test]
fn where_nothing_is_known_it_is_said_how_to_find_out() {
    let place = Place::with(FLEET);
    let screen = open(&place);
    screen.sees("nothing is known of its guests yet: `proxmaint inventory --host pve1` finds them");
    assert_eq!(screen.asks("pve1: guests").items.len(), 2);
    screen.press(CTRL_C);
    screen.finish().expect(0);
    place.assert_untouched(FLEET);
}

#[test]
fn a_key_of_a_rule_is_changed_in_its_place() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "rule for tag:prod");
    let items = screen.asks("pve1: rule for tag:prod").items;
    // What tells how one guest is logged in to is not for several.
    assert!(
        !items.iter().any(|item| ["address", "user", "identity_file"].iter().any(|key| item.text.starts_with(key)))
    );
    screen.choose("pve1: rule for tag:prod", "stopped");
    screen.choose("stopped", "skip");
    screen.asks("pve1: rule for tag:prod");
    back_and_save(screen);
    place.assert_saved(&GUESTS.replace("\"start\"", "\"skip\""), Some(GUESTS));
}

#[test]
fn a_rule_says_where_each_value_comes_from() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "rule for 101");
    let items = screen.asks("pve1: rule for 101").items;
    let known = items.iter().find(|item| item.text.starts_with("address")).expect("the address");
    assert!(known.text.ends_with("192.0.2.101, its entry of the inventory"), "{}", known.text);
    screen.choose("pve1: rule for 101 (web)", "user");
    screen.sees("inherits: root, from its entry of the inventory");
    screen.choose("user", "inherit (root, from its entry of the inventory)");
    screen.asks("pve1: rule for 101 (web)");
    back_and_save(screen);
    place.assert_saved(&GUESTS.replace("user = \"ops\"\n", ""), Some(GUESTS));
}

#[test]
fn a_later_rule_that_goes_before_is_named() {
    let later = "\n[[hosts.guests]]\nmatch = \"type:ct\"\nvia = \"pct\"\n";
    let text = GUESTS.replace("\n[hosts.guest_inventory]", &format!("{later}\n[hosts.guest_inventory]"));
    let place = Place::with(&text);
    let screen = open_at(&place, "rule for 101");
    screen.sees("a later rule says `via` of type:ct too, and goes before this one");
    screen.asks("pve1: rule for 101");
    screen.press(CTRL_C);
    screen.finish().expect(0);
    place.assert_untouched(&text);
}

#[test]
fn a_rule_for_one_guest_is_added() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "Add a rule");
    screen.choose("Which guests is the rule about?", "one guest");
    screen.asks("Its vmid");
    screen.press("99");
    screen.objects("99");
    screen.press(&format!("{BACKSPACE}{BACKSPACE}db"));
    screen.objects("a vmid is a number from 100 on");
    screen.leave(&format!("{BACKSPACE}{BACKSPACE}104{ENTER}"));
    screen.choose("pve1: rule for 104", "managed");
    screen.choose("managed", "false");
    screen.asks("pve1: rule for 104");
    back_and_save(screen);
    let added = "user = \"ops\"\n\n[[hosts.guests]]\nid = 104\nmanaged = false\n";
    place.assert_saved(&GUESTS.replace("user = \"ops\"\n", added), Some(GUESTS));
}

#[test]
fn a_rule_for_several_guests_is_added() {
    let place = Place::with(FLEET);
    let screen = open_at(&place, "Add a rule");
    screen.choose("Which guests is the rule about?", "several guests");
    screen.asks("Selector");
    screen.press("type:lxd");
    screen.objects("the types are ct and vm");
    screen.leave(&format!("{BACKSPACE}{BACKSPACE}{BACKSPACE}ct{ENTER}"));
    screen.choose("pve1: rule for type:ct", "via");
    screen.choose("via", "pct");
    screen.asks("pve1: rule for type:ct");
    back_and_save(screen);
    let last = "guests_include = [\"100-199\"]\n";
    let added = format!("{last}\n[[hosts.guests]]\nmatch = \"type:ct\"\nvia = \"pct\"\n");
    place.assert_saved(&FLEET.replace(last, &added), Some(FLEET));
}

#[test]
fn a_rule_that_says_nothing_is_not_added() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "Add a rule");
    screen.choose("Which guests is the rule about?", "one guest");
    screen.answer("Its vmid", "104");
    screen.asks("pve1: rule for 104");
    screen.leave(ESC);
    screen.sees("the rule says nothing, so it was not added");
    screen.choose("pve1: guests", "Add a rule");
    screen.choose("Which guests is the rule about?", "several guests");
    screen.answer("Selector", "web-*");
    screen.choose("pve1: rule for web-*", "Delete");
    screen.confirm("Delete the rule for web-*?", true);
    screen.asks("pve1: guests");
    back_to_main(&screen);
    // Nothing is to be lost, so nothing is asked.
    screen.leave(ESC);
    screen.finish().expect(0);
    place.assert_untouched(GUESTS);
}

#[test]
fn a_rule_is_made_to_be_about_other_guests() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "rule for tag:prod");
    screen.choose("pve1: rule for tag:prod", "for tag:prod");
    screen.choose("Which guests is the rule about?", "several guests");
    screen.asks("Selector");
    screen.sees("tag:prod  (Enter keeps it)");
    screen.leave(&format!("pool:customers{ENTER}"));
    screen.choose("pve1: rule for pool:customers", "for pool:customers");
    screen.choose("Which guests is the rule about?", "one guest");
    screen.answer("Its vmid", "102");
    screen.choose("pve1: rule for 102 (db)", "Back");
    // How a guest is logged in to is for one alone.
    screen.choose("pve1: guests", "rule for 101");
    screen.choose("pve1: rule for 101", "for 101");
    screen.choose("Which guests is the rule about?", "several guests");
    screen.asks("Selector");
    screen.press("tag:web");
    screen.objects("`user` stands in a rule with `id` only");
    screen.leave(ESC);
    screen.asks("Which guests is the rule about?");
    back_and_save(screen);
    let edited =
        GUESTS.replace("match = \"tag:prod\"\n", "").replace("# for the night\n", "# for the night\nid = 102\n");
    place.assert_saved(&edited, Some(GUESTS));
}

#[test]
fn a_rule_is_deleted_if_it_is_meant() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "rule for 101");
    for key in ["n", ESC] {
        screen.choose("pve1: rule for 101", "Delete");
        screen.asks("Delete the rule for 101 (web)?");
        screen.leave(key);
    }
    screen.choose("pve1: rule for 101", "Delete");
    screen.confirm("Delete the rule for 101 (web)?", true);
    screen.asks("pve1: guests");
    back_and_save(screen);
    let rule = "[[hosts.guests]]\nid = 101\nvia = \"ssh\"\nuser = \"ops\"\n\n";
    place.assert_saved(&GUESTS.replace(rule, ""), Some(GUESTS));
}

#[test]
fn of_an_entry_what_the_inventory_found_is_shown_and_the_rest_edited() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "CT 101");
    screen.sees("status: running");
    screen.sees("its rule says user = ops, which goes before root here");
    let items = screen.asks("pve1: CT 101 (web)").items;
    let keys: Vec<&str> = items.iter().map(|item| item.text.split_whitespace().next().unwrap_or_default()).collect();
    let by_hand = ["managed", "user", "ip", "ssh_key_path", "password_env", "notes"];
    assert_eq!(keys, [&by_hand[..], &["Its", "Delete", "Back"]].concat());
    screen.pick("managed");
    screen.choose("managed", "false");
    screen.choose("pve1: CT 101 (web)", "notes");
    screen.choose("notes", "type a value");
    screen.answer("notes", "not to be touched");
    screen.choose("pve1: CT 101 (web)", "user");
    screen.choose("user", "type a value");
    screen.asks("user");
    screen.press("two words");
    screen.objects("is no login");
    screen.leave(ESC);
    screen.asks("user");
    screen.leave(ESC);
    screen.choose("pve1: CT 101 (web)", "user");
    screen.choose("user", "inherit (debian, from the host)");
    screen.asks("pve1: CT 101 (web)");
    back_and_save(screen);
    let edited =
        GUESTS.replace(", user = \"root\", managed = true }", ", managed = false, notes = \"not to be touched\" }");
    place.assert_saved(&edited, Some(GUESTS));
}

#[test]
fn a_password_is_never_shown_and_gives_way_to_a_variable() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "VM 102");
    screen.choose("pve1: VM 102 (db)", "password: set, not shown");
    screen.choose("The password stands in the file itself", "leave it");
    screen.choose("pve1: VM 102 (db)", "password: set, not shown");
    screen.choose("The password stands in the file itself", "take it out, and");
    // Esc is one step back, and takes nothing out.
    screen.asks("password_env");
    screen.leave(ESC);
    screen.choose("The password stands in the file itself", "take it out, and");
    screen.choose("password_env", "PVE1_102_PASSWORD");
    screen.sees("PVE1_102_PASSWORD is not set in the environment now");
    screen.sees("the password is out of the manifest");
    let items = screen.asks("pve1: VM 102 (db)").items;
    assert!(!items.iter().any(|item| item.text.contains("not shown")));
    back_to_main(&screen);
    screen.choose("What next?", "Save and leave");
    screen.asks("Save?");
    screen.press("y");
    assert!(!screen.raw().contains("hunter2"), "the password was shown");
    let done = screen.finish().expect(0);
    assert!(!done.stdout.contains("hunter2"));
    let edited = GUESTS.replace(
        "password = \"hunter2\", notes = \"old\" }",
        "notes = \"old\", password_env = \"PVE1_102_PASSWORD\" }",
    );
    place.assert_saved(&edited, Some(GUESTS));
}

#[test]
fn a_password_is_taken_out_and_nothing_put_in_its_place() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "VM 102");
    screen.choose("pve1: VM 102 (db)", "password: set, not shown");
    screen.asks("The password stands in the file itself");
    screen.leave(ESC);
    screen.choose("pve1: VM 102 (db)", "password: set, not shown");
    screen.choose("The password stands in the file itself", "take it out");
    screen.asks("pve1: VM 102 (db)");
    back_and_save(screen);
    place.assert_saved(&GUESTS.replace("password = \"hunter2\", ", ""), Some(GUESTS));
}

#[test]
fn from_an_entry_one_gets_to_the_rule_of_its_guest() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "CT 101");
    screen.choose("pve1: CT 101", "Its rule: via, user");
    screen.choose("pve1: rule for 101 (web)", "Back");
    screen.choose("pve1: CT 101", "Back");
    screen.choose("pve1: guests", "VM 102");
    screen.choose("pve1: VM 102", "Make a rule for it");
    screen.choose("pve1: rule for 102 (db)", "reboot");
    screen.choose("reboot", "if-needed");
    screen.choose("pve1: rule for 102 (db)", "Back");
    screen.choose("pve1: VM 102", "Its rule: reboot");
    screen.asks("pve1: rule for 102 (db)");
    back_and_save(screen);
    let added = "user = \"ops\"\n\n[[hosts.guests]]\nid = 102\nreboot = \"if-needed\"\n";
    place.assert_saved(&GUESTS.replace("user = \"ops\"\n", added), Some(GUESTS));
}

#[test]
fn an_entry_is_deleted_if_it_is_meant() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "CT 101");
    screen.choose("pve1: CT 101", "Delete");
    screen.confirm("Delete CT 101 (web) from the inventory?", false);
    screen.choose("pve1: CT 101", "Delete");
    screen.confirm("Delete CT 101 (web) from the inventory?", true);
    screen.asks("pve1: guests");
    back_and_save(screen);
    let entry = GUESTS.lines().find(|line| line.contains("id = \"101\"")).expect("its line");
    let text = place.text();
    assert!(!text.contains("192.0.2.101") && text.contains("id = 101"), "{text}");
    assert_eq!(text, GUESTS.replace(&format!("{entry}\n"), ""), "the comment of the entry goes with it");
}

#[test]
fn esc_goes_one_step_back_at_each_level() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "CT 101");
    screen.choose("pve1: CT 101", "notes");
    screen.choose("notes", "type a value");
    screen.asks("notes");
    screen.press("half a thou");
    for back_at in ["notes", "pve1: CT 101", "pve1: guests", "pve1", "What next?"] {
        screen.leave(ESC);
        screen.asks(back_at);
    }
    screen.choose("What next?", "pve1");
    screen.choose("pve1", "Guests");
    screen.choose("pve1: guests", "Add a rule");
    screen.choose("Which guests is the rule about?", "several guests");
    screen.asks("Selector");
    screen.press("tag");
    for back_at in ["Which guests is the rule about?", "pve1: guests", "pve1", "What next?"] {
        screen.leave(ESC);
        screen.asks(back_at);
    }
    screen.leave(ESC);
    screen.finish().expect(0).says(&["nothing was saved"]);
    place.assert_untouched(GUESTS);
}

#[test]
fn ctrl_c_asks_where_something_would_be_lost() {
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "CT 101");
    screen.choose("pve1: CT 101", "managed");
    screen.choose("managed", "false");
    screen.asks("pve1: CT 101");
    screen.leave(CTRL_C);
    // Whatever is asked, Enter alone loses nothing.
    screen.asks("?");
    screen.leave(ENTER);
    screen.asks("pve1: CT 101");
    screen.leave(CTRL_C);
    screen.asks("?");
    screen.press("y");
    screen.finish().expect(0);
    place.assert_untouched(GUESTS);
}

#[test]
fn a_terminal_that_is_gone_saves_nothing() {
    for label in ["rule for tag:prod", "CT 101", "Add a rule"] {
        let place = Place::with(GUESTS);
        let screen = open_at(&place, label);
        screen.asks("");
        screen.hang_up();
        place.assert_untouched(GUESTS);
    }
    let place = Place::with(GUESTS);
    let screen = open_at(&place, "CT 101");
    screen.choose("pve1: CT 101", "managed");
    screen.choose("managed", "false");
    screen.asks("pve1: CT 101");
    screen.hang_up();
    place.assert_untouched(GUESTS);
}
