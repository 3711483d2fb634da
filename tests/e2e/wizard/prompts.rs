//! Each kind of prompt: what it says, what it takes, and what comes of it.

use super::{FLEET, Place, back_to_main, open_key, save};
use crate::support::screen::{BACKSPACE, ENTER, ESC, Screen};

/// The last line of the first host, behind which its new keys are written.
const LAST: &str = "guests_include = [\"100-199\"]\n";

/// The last line of the first host's API, behind which more of it is written.
const LAST_OF_API: &str = "api.secret_env = \"PVE1_SECRET\"\n";

/// Types a value of a key that nothing can be chosen for.
#[track_caller]
fn type_value(screen: &Screen, key: &str, text: &str) {
    screen.choose(key, "type a value");
    screen.answer(key, text);
}

/// Edits one key of the first host in a dialogue, saves, and compares what was added behind the last line of its like.
#[track_caller]
fn adds(group: &str, key: &str, dialogue: impl Fn(&Screen), line: &str) {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    open_key(&screen, "pve1", group, key);
    dialogue(&screen);
    screen.asks(group);
    screen.sees(", set here");
    back_to_main(&screen);
    save(screen);
    let behind = if group == "API" { LAST_OF_API } else { LAST };
    place.assert_saved(&FLEET.replace(behind, &format!("{behind}{line}\n")), Some(FLEET));
}

#[test]
fn a_truth_is_chosen() {
    adds("Other", "dry_run", |screen| screen.choose("dry_run", "true"), "dry_run = true");
}

#[test]
fn a_word_is_chosen() {
    adds(
        "Login in guests",
        "via",
        |screen| {
            let offered: Vec<String> = screen.asks("via").items.iter().map(|item| item.text.clone()).collect();
            assert_eq!(offered[..4], ["auto", "pct", "ssh", "agent"]);
            assert!(offered[4].starts_with("default (auto)"), "{offered:?}");
            screen.pick("agent");
        },
        "via = \"agent\"",
    );
}

#[test]
fn an_order_of_protections_is_chosen() {
    adds(
        "Protection",
        "protect ",
        |screen| screen.choose("protect", "backup, then snapshot"),
        "protect.with = [\"backup\", \"snapshot\"]",
    );
}

#[test]
fn a_number_is_typed_and_checked_while_it_is_typed() {
    adds(
        "API",
        "api_port",
        |screen| {
            screen.sees("port of the API");
            screen.sees("default: 8006");
            screen.choose("api_port", "type a value");
            screen.asks("api_port");
            screen.press("84x");
            screen.objects("it takes a whole number");
            screen.press(&format!("{BACKSPACE}4399"));
            screen.objects("must be from 1 to 65535, not 844399");
            screen.press(ENTER);
            screen.objects("must be from 1 to 65535");
            screen.press(&BACKSPACE.repeat(6));
            screen.press("0");
            screen.objects("count as not given");
            screen.leave(&format!("{BACKSPACE}8443{ENTER}"));
        },
        "api.port = 8443",
    );
}

#[test]
fn a_time_is_typed() {
    adds(
        "Protection",
        "lock_wait",
        |screen| {
            screen.sees("write: a number and a unit: 90s, 45m, 24h, 7days");
            screen.choose("lock_wait", "type a value");
            screen.asks("lock_wait");
            screen.press("20");
            screen.objects("`lock_wait` is no duration");
            screen.leave(&format!("m{ENTER}"));
        },
        "lock_wait = \"20m\"",
    );
}

#[test]
fn a_list_is_typed_as_one_text_or_as_in_the_file() {
    adds(
        "Which guests",
        "guests_exclude",
        |screen| type_value(screen, "guests_exclude", "tag:vendor"),
        "guests_exclude = \"tag:vendor\"",
    );
    adds(
        "Which guests",
        "guests_exclude",
        |screen| {
            screen.choose("guests_exclude", "type a value");
            screen.asks("guests_exclude");
            screen.press("[\"tag:vendor\", 1");
            screen.objects("a list is written as [\"one\", \"two\"]");
            screen.leave(&format!("50]{ENTER}"));
        },
        "guests_exclude = [\"tag:vendor\", 150]",
    );
}

#[test]
fn a_path_is_typed() {
    adds(
        "Connection",
        "identity_file",
        |screen| {
            screen.sees("a relative one begins at the manifest's directory");
            type_value(screen, "identity_file", "~/.ssh/id_pve");
        },
        "ssh.identity_file = \"~/.ssh/id_pve\"",
    );
}

#[test]
fn a_variable_is_suggested_and_told_whether_it_is_set() {
    adds(
        "Connection",
        "ssh.password_env",
        |screen| {
            screen.choose("ssh.password_env", "PVE1_PASSWORD");
            screen.sees("PVE1_PASSWORD is not set in the environment now");
        },
        "ssh.password_env = \"PVE1_PASSWORD\"",
    );
}

#[test]
fn what_looks_like_the_secret_itself_is_no_name_of_a_variable() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    open_key(&screen, "pve1", "API", "api.secret_env");
    // What each host must have can't be inherited.
    let offered = screen.asks("api.secret_env").items;
    assert!(offered.iter().all(|item| !item.text.contains("inherit") && !item.text.contains("default")), "{offered:?}");
    screen.pick("another name");
    screen.asks("api.secret_env");
    screen.press("12345678-1234-1234-1234-123456789abc");
    screen.objects("not the secret itself");
    screen.leave(ESC);
    back_to_main(&screen);
    screen.leave(ESC);
    screen.finish().expect(0);
    place.assert_untouched(FLEET);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let secret = "12345678-1234-1234-1234-123456789abc";
    let place = Place::with(&FLEET.replace("PVE2_SECRET", secret));
    let screen = place.wizard(&[]);
    screen.sees("`api.secret_env` is no name of an environment variable");
    open_key(&screen, "192.0.2.12", "API", "api.secret_env");
    screen.sees("set here: set, not shown");
    screen.choose("api.secret_env", "another name");
    screen.answer("api.secret_env", "PVE2_SECRET");
    back_to_main(&screen);
    let shown = save(screen);
    assert!(!shown.contains(secret), "{shown}");
    assert_eq!(place.text(), FLEET);
}

#[test]
fn inherit_is_a_choice() {
    let before = FLEET.replace(LAST, &format!("{LAST}max_parallel = 3  # few\n"));
    let place = Place::with(&before);
    let screen = place.wizard(&["--host", "pve1"]);
    screen.choose("pve1", "Other");
    screen.asks("pve1: Other");
    screen.sees("max_parallel  3, set here");
    screen.pick("max_parallel");
    screen.sees("default: 2");
    screen.sees("inherits: 7, from [defaults]");
    screen.choose("max_parallel", "inherit (7, from [defaults])");
    screen.asks("pve1: Other");
    screen.sees("max_parallel  7, [defaults]");
    back_to_main(&screen);
    save(screen);
    place.assert_saved(FLEET, Some(&before));
}

#[test]
fn default_is_a_choice_where_nothing_is_inherited() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    screen.choose("What next?", "Defaults");
    screen.choose("Defaults for all hosts", "Other");
    screen.choose("Defaults: Other", "max_parallel");
    screen.choose("max_parallel", "default (2)");
    screen.asks("Defaults: Other");
    screen.sees("max_parallel   2, default");
    back_to_main(&screen);
    save(screen);
    place.assert_saved(&FLEET.replace("max_parallel = 7   # many\n", ""), Some(FLEET));
}

#[test]
fn a_default_is_edited_and_its_comment_stays() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    screen.choose("What next?", "Defaults");
    screen.choose("Defaults for all hosts", "Other");
    screen.choose("Defaults: Other", "max_parallel");
    screen.choose("max_parallel", "type a value");
    screen.asks("max_parallel");
    screen.sees("7  (Enter keeps it)");
    screen.leave(&format!("4{ENTER}"));
    back_to_main(&screen);
    let shown = save(screen);
    assert!(shown.contains("-max_parallel = 7   # many") && shown.contains("+max_parallel = 4   # many"), "{shown}");
    place.assert_saved(&FLEET.replace("= 7 ", "= 4 "), Some(FLEET));
}

#[test]
fn what_an_edit_makes_odd_is_said() {
    let before = FLEET.replace(LAST, &format!("{LAST}api.ca_file = \"ca.pem\"\n"));
    let place = Place::with(&before);
    let screen = place.wizard(&[]);
    open_key(&screen, "pve1", "API", "api_insecure");
    screen.choose("api_insecure", "true");
    screen.sees("has no effect, since a CA file is given too");
    back_to_main(&screen);
    screen.choose("What next?", "Save and leave");
    screen.sees("has no effect, since a CA file is given too");
    screen.confirm("Save?", false);
    screen.choose("What next?", "Leave");
    screen.confirm("Leave without saving?", true);
    screen.finish().expect(0);
    place.assert_untouched(&before);
}

#[test]
fn what_was_wrong_before_is_no_hindrance_but_to_its_own_key() {
    // On one line, so that every edit of it changes the line of the other problem as well.
    let host = "{ host = \"pve1\", api_port = 99999, api_token_env = \"T\", api_secret_env = \"S\" }";
    let before = format!("hosts = [{host}]\n");
    let place = Place::with(&before);
    let screen = place.wizard(&["--host", "pve1"]);
    screen.choose("pve1", "Connection");
    screen.choose("pve1: Connection", "host");
    screen.asks("host");
    screen.press("pve 2");
    screen.objects("`host` is no host name or address");
    screen.leave(&format!("{}2{ENTER}", BACKSPACE.repeat(2)));
    screen.asks("pve2: Connection");
    screen.leave(ESC);
    screen.choose("pve2", "API");
    screen.choose("pve2: API", "api_port");
    screen.choose("api_port", "type a value");
    screen.asks("api_port");
    screen.press("99998");
    screen.objects("must be from 1 to 65535, not 99998");
    screen.leave(&format!("{}8006{ENTER}", BACKSPACE.repeat(5)));
    back_to_main(&screen);
    save(screen);
    place.assert_saved(&before.replace("\"pve1\"", "\"pve2\"").replace("99999", "8006"), Some(&before));
}
