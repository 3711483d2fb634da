//! Saving: what is refused, what is kept, and that not a byte is changed but for the edit.

use std::fs;
use std::os::unix::fs::symlink;

use super::{FLEET, Place, back_to_main, open_key, save};
use crate::support::screen::{ENTER, SIZE, Screen};

/// Gives the first host's API another port.
#[track_caller]
fn set_port(screen: &Screen, port: &str) {
    open_key(screen, "pve1", "API", "api_port");
    screen.choose("api_port", "type a value");
    screen.answer("api_port", port);
    screen.asks("pve1: API");
    back_to_main(screen);
}

/// Makes the first host a dry one.
#[track_caller]
fn set_dry(screen: &Screen) {
    open_key(screen, "pve1", "Other", "dry_run");
    screen.choose("dry_run", "true");
    screen.asks("pve1: Other");
    back_to_main(screen);
}

#[test]
fn a_manifest_with_odd_line_breaks_and_spacing_keeps_them() {
    let odd = "\u{feff}# fleet\r\n\r\n[[hosts]]   # one\r\n\thost='pve1'\r\nname   =  'pve1'\r\napi . token_env = 'T'\r\n\
               api.secret_env = 'S' # secret\r\ndry_run = false    # as yet\r\nssh_extra_args = [\r\n  '-p 2222', # odd\r\n]";
    let place = Place::with(odd);
    let screen = place.wizard(&[]);
    set_dry(&screen);
    save(screen);
    place.assert_saved(&odd.replace("dry_run = false ", "dry_run = true "), Some(odd));
}

#[test]
fn what_somebody_else_changed_meanwhile_is_shown_and_not_overwritten() {
    let place = Place::with(FLEET);
    let theirs = FLEET.replace("max_parallel = 7", "max_parallel = 5");
    let screen = place.wizard(&[]);
    set_dry(&screen);
    fs::write(place.path(), &theirs).expect("somebody else writes");
    screen.choose("What next?", "Save and leave");
    screen.confirm("Save?", true);
    screen.sees("What somebody else has changed meanwhile");
    screen.sees("+max_parallel = 5   # many");
    screen.choose("How shall it go on?", "Go back, and keep");
    // The changes are still there.
    screen.choose("What next?", "Show what changed");
    screen.sees("+dry_run = true");
    screen.choose("What next?", "Save and leave");
    screen.confirm("Save?", true);
    screen.choose("How shall it go on?", "Begin again");
    screen.sees("this is the file as it is now");
    set_dry(&screen);
    save(screen);
    let last = "guests_include = [\"100-199\"]\n";
    place.assert_saved(&theirs.replace(last, &format!("{last}dry_run = true\n")), Some(&theirs));
}

#[test]
fn a_file_that_is_no_toml_any_more_costs_no_change() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    set_dry(&screen);
    fs::write(place.path(), "[[hosts\n").expect("somebody else writes");
    screen.choose("What next?", "Save and leave");
    screen.confirm("Save?", true);
    screen.choose("How shall it go on?", "Begin again");
    screen.sees("it can't be begun again: this is not TOML");
    fs::write(place.path(), FLEET).expect("it is as it was");
    save(screen);
    assert!(place.text().contains("dry_run = true"));
}

#[test]
fn an_invalid_manifest_is_shown_and_can_be_mended() {
    let before = FLEET.replace("max_parallel = 7", "max_parallel = \"7\"").replace("192.0.2.12", "https://pve2");
    let place = Place::with(&before);
    let screen = place.wizard(&[]);
    screen.sees("`max_parallel` must be an integer");
    screen.sees("`host` is no host name or address");
    screen.sees("`proxmaint run` refuses this manifest");
    // Half of it is mended: what is left is no hindrance to that, but to saving.
    open_key(&screen, "https://pve2", "Connection", "host");
    screen.answer("host", "192.0.2.12");
    screen.asks("192.0.2.12: Connection");
    back_to_main(&screen);
    screen.choose("What next?", "Save and leave");
    screen.sees("nothing is saved: this is no valid manifest yet");
    screen.choose("What next?", "Defaults");
    screen.choose("Defaults for all hosts", "Other");
    screen.choose("Defaults: Other", "max_parallel");
    screen.choose("max_parallel", "type a value");
    screen.answer("max_parallel", "7");
    screen.asks("Defaults: Other");
    back_to_main(&screen);
    save(screen);
    place.assert_saved(FLEET, Some(&before));
}

#[test]
fn without_hosts_there_is_nothing_to_save() {
    let host = "[[hosts]]\nhost = \"pve1\"\napi.token_env = \"T\"\napi.secret_env = \"S\"\n";
    let place = Place::with(host);
    let screen = place.wizard(&["--host", "pve1"]);
    screen.choose("pve1", "Delete");
    screen.confirm("Delete pve1", true);
    screen.choose("What next?", "Save and leave");
    screen.sees("there are no hosts");
    screen.sees("nothing is saved");
    screen.choose("What next?", "Leave");
    screen.confirm("Leave without saving?", true);
    screen.finish().expect(0);
    place.assert_untouched(host);
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let place = Place::with("[[hosts]]\nhost = pve1\n");
    place.wizard(&[]).finish().expect(1).says(&["this is not TOML", "fleet.toml:2:8"]);
    place.assert_untouched("[[hosts]]\nhost = pve1\n");
}

#[test]
fn a_link_stays_a_link() {
    let place = Place::empty();
    let real = place.dir.path().join("home/real.toml");
    fs::write(&real, FLEET).expect("the manifest is written");
    symlink(&real, place.path()).expect("a link");
    let screen = place.wizard(&[]);
    set_dry(&screen);
    screen.choose("What next?", "Save and leave");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["real.toml.bak"]);
    assert!(place.path().is_symlink());
    assert!(fs::read_to_string(&real).expect("the manifest").contains("dry_run = true"));
    assert_eq!(fs::read_to_string(place.dir.path().join("home/real.toml.bak")).expect("the previous one"), FLEET);
}

#[test]
fn what_can_t_be_written_costs_no_change() {
    let place = Place::with(FLEET);
    // For root too there is no putting a file in place of a directory.
    fs::create_dir(place.backup()).expect("a directory in the way");
    let screen = place.wizard(&[]);
    set_dry(&screen);
    screen.choose("What next?", "Save and leave");
    screen.confirm("Save?", true);
    screen.sees("not saved: can't keep the previous manifest as");
    screen.sees("the manifest and its directory must be writable");
    assert_eq!(place.text(), FLEET);
    fs::remove_dir(place.backup()).expect("the way is free");
    save(screen);
    assert!(place.text().contains("dry_run = true"));
    place.assert_tidy();
}

#[test]
fn a_second_value_is_written_beside_the_first() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    set_port(&screen, "8443");
    open_key(&screen, "pve1", "API", "api.port");
    screen.choose("api.port", "type a value");
    screen.asks("api.port");
    screen.sees("8443  (Enter keeps it)");
    screen.leave(ENTER);
    back_to_main(&screen);
    save(screen);
    let secret = "api.secret_env = \"PVE1_SECRET\"\n";
    place.assert_saved(&FLEET.replace(secret, &format!("{secret}api.port = 8443\n")), Some(FLEET));
}

#[test]
fn what_has_changed_is_shown_in_colour_where_that_is_welcome() {
    let place = Place::with(FLEET);
    for (no_color, added, removed) in [
        ("", "\u{1b}[32m+max_parallel = 3   # many\u{1b}[0m", "\u{1b}[1m\u{1b}[31m-max_parallel = 7   # many\u{1b}[0m"),
        ("1", "  +max_parallel = 3   # many ", "  -max_parallel = 7   # many "),
    ] {
        let mut command = place.command(&[]);
        command.env("NO_COLOR", no_color);
        let screen = Screen::run(&command, SIZE);
        screen.choose("What next?", "Defaults");
        screen.choose("Defaults for all hosts", "Other");
        screen.choose("Defaults: Other", "max_parallel");
        screen.choose("max_parallel", "type a value");
        screen.answer("max_parallel", "3");
        screen.asks("Defaults: Other");
        back_to_main(&screen);
        screen.choose("What next?", "Show what changed");
        screen.asks("What next?");
        let raw = screen.raw();
        assert!(raw.contains(added) && raw.contains(removed), "{raw:?}");
        screen.choose("What next?", "Leave");
        screen.confirm("Leave without saving?", true);
        screen.finish().expect(0);
    }
    place.assert_untouched(FLEET);
}
