//! Hosts as a whole: added, edited, duplicated, deleted.

use super::{FLEET, Place, back_to_main, open_key, save};
use crate::support::screen::{BACKSPACE, ENTER, Screen};

/// Answers what a new host needs, with the suggested variables.
#[track_caller]
fn introduce(screen: &Screen, address: &str, name: &str) {
    screen.answer("Address", address);
    screen.answer("What it is called here", name);
    for question in ["the API token's name", "the token's secret"] {
        screen.asks(question);
        screen.leave(ENTER);
    }
}

#[test]
fn a_host_is_added_behind_the_others() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    screen.choose("What next?", "Add a host");
    introduce(&screen, "pve3.example.org", "");
    screen.asks("pve3");
    back_to_main(&screen);
    save(screen);
    let added = "\n[[hosts]]\nname = \"pve3\"\nhost = \"pve3.example.org\"\napi.token_env = \"PVE3_TOKEN\"\n\
                 api.secret_env = \"PVE3_SECRET\"\n";
    place.assert_saved(&format!("{FLEET}{added}"), Some(FLEET));
}

#[test]
fn a_name_that_is_taken_is_refused_as_it_is_typed() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    screen.choose("What next?", "Add a host");
    // The same address may stand twice: its name must be another one.
    screen.answer("Address", "192.0.2.12");
    screen.asks("What it is called here");
    screen.press("pve1");
    screen.objects("the name `pve1` is taken by an earlier host; give each host a `name` of its own");
    screen.leave(&format!("{BACKSPACE}9{ENTER}"));
    screen.asks("the API token's name");
    back_to_main(&screen);
    open_key(&screen, "192.0.2.12", "Connection", "name");
    screen.choose("name", "type a value");
    screen.asks("name");
    screen.press("pve1");
    screen.objects("the name `pve1` is taken by an earlier host");
    screen.leave(&format!("2{ENTER}"));
    screen.asks("pve12: Connection");
    back_to_main(&screen);
    save(screen);
    place.assert_saved(&format!("{FLEET}name = \"pve12\"\n"), Some(FLEET));
}

#[test]
fn the_address_of_a_host_is_edited_in_its_place() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    open_key(&screen, "pve1", "Connection", "host");
    // It is required: there is nothing to choose.
    screen.answer("host", "192.0.2.11");
    screen.asks("pve1: Connection");
    back_to_main(&screen);
    save(screen);
    place.assert_saved(&FLEET.replace("\"pve1.example.org\"", "\"192.0.2.11\""), Some(FLEET));
}

#[test]
fn a_copy_has_all_but_what_is_of_the_original_alone() {
    let own = "api.fingerprint = \"00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
               10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\"\n";
    let last = "guests_include = [\"100-199\"]\n";
    let rules =
        "\n[[hosts.guests]]\nid = 101\nvia = \"ssh\"\n\n[[hosts.guests]]\nmatch = \"tag:db\"\nprotect = \"backup\"\n";
    let before = FLEET.replace(last, &format!("{last}{own}{rules}"));
    let place = Place::with(&before);
    let screen = place.wizard(&[]);
    screen.choose("What next?", "pve1");
    screen.choose("pve1", "Duplicate");
    introduce(&screen, "pve3.example.org", "pve3");
    screen.sees("left out of the copy, since it is about pve1 alone: api.fingerprint, 1 rule of single guests");
    screen.asks("pve3");
    back_to_main(&screen);
    save(screen);
    let text = place.text();
    let (_, copy) = text.split_once("name = \"pve3\"").expect("the copy");
    let (copy, _) = copy.split_once("192.0.2.12").expect("the host behind it");
    for kept in ["host   =   \"pve3.example.org\"  # odd spacing", "\"PVE3_TOKEN\"", last, "tag:db"] {
        assert!(copy.contains(kept), "{kept:?} is not in the copy:\n{text}");
    }
    for left_out in ["fingerprint", "id = 101"] {
        assert!(!copy.contains(left_out), "{left_out:?} is in the copy:\n{text}");
    }
    assert!(
        text.starts_with(before.split_once("tag:db").expect("the last rule").0),
        "the original has changed:\n{text}"
    );
}

#[test]
fn a_host_is_deleted_with_all_that_is_below_it_once_that_is_meant() {
    let rule = "\n[[hosts.guests]]\nid = 101\nvia = \"ssh\"\n";
    let before = format!("{FLEET}{rule}");
    let place = Place::with(&before);
    let screen = place.wizard(&[]);
    screen.choose("What next?", "192.0.2.12");
    screen.choose("192.0.2.12", "Delete");
    screen.confirm("Delete 192.0.2.12 from the manifest, with 1 rule for its guests?", false);
    screen.choose("192.0.2.12", "Delete");
    screen.confirm("Delete 192.0.2.12 from the manifest", true);
    screen.asks("What next?");
    save(screen);
    let (rest, _) = FLEET.rsplit_once("\n[[hosts]]").expect("the second host");
    place.assert_saved(rest, Some(&before));
}

#[test]
fn a_host_that_is_not_there_is_wrong_usage() {
    let place = Place::with(FLEET);
    let done = place.wizard(&["--host", "pve9"]).finish().expect(2);
    done.says(&["the manifest has no host `pve9`", "its hosts are pve1, 192.0.2.12"]);
    place.assert_untouched(FLEET);
}
