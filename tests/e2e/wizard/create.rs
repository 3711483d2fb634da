//! From nothing to a manifest.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Place, back_to_main, save};
use crate::support::screen::{BACKSPACE, ENTER, ESC, Screen};

const MADE: &str = r#"[[hosts]]
name = "pve1"
host = "pve1.example.org"
api.token_env = "PVE1_TOKEN"
api.secret_env = "PVE1_SECRET"
"#;

#[track_caller]
fn take(screen: &Screen, question: &str) {
    screen.asks(question);
    screen.leave(ENTER);
}

#[test]
fn a_manifest_is_made_by_answering_for_the_first_host() {
    let mut place = Place::empty();
    place.env.push(("PVE1_SECRET", "do-not-show"));
    let screen = place.wizard(&[]);
    screen.sees("there is no manifest yet");
    screen.answer("Address", "pve1.example.org");
    take(&screen, "What it is called here");
    screen.asks("the API token's name");
    screen.sees("PVE1_TOKEN  (Enter takes it; it is not set now)");
    screen.leave(ENTER);
    screen.asks("the token's secret");
    screen.sees("PVE1_SECRET  (Enter takes it; it is set now)");
    screen.leave(ENTER);
    screen.sees("PVE1_TOKEN is not set in the environment now");
    screen.sees("PVE1_SECRET is set in the environment");
    screen.asks("pve1");
    assert!(!place.path().exists(), "nothing is written before it is saved");
    back_to_main(&screen);
    let shown = save(screen);
    assert!(shown.contains("+host = \"pve1.example.org\""), "{shown}");
    assert!(!shown.contains("do-not-show"), "{shown}");
    place.assert_saved(MADE, None);
    assert_eq!(fs::metadata(place.path()).expect("the manifest").permissions().mode() & 0o777, 0o600);
}

#[test]
fn esc_goes_from_each_question_to_the_one_before_it() {
    let place = Place::empty();
    let screen = place.wizard(&[]);
    screen.answer("Address", "pve7.example.org");
    take(&screen, "What it is called here");
    screen.asks("the API token's name");
    screen.leave(ESC);
    screen.asks("What it is called here");
    screen.leave(ESC);
    // What was answered is still there for Enter, and what depends on it follows another answer.
    screen.asks("Address");
    screen.sees("pve7.example.org  (Enter takes it)");
    screen.leave(&format!("pve1.example.org{ENTER}"));
    take(&screen, "What it is called here");
    take(&screen, "the API token's name");
    take(&screen, "the token's secret");
    back_to_main(&screen);
    save(screen);
    place.assert_saved(MADE, None);
}

#[test]
fn what_is_wrong_is_said_while_it_is_typed() {
    let place = Place::empty();
    let screen = place.wizard(&[]);
    screen.asks("Address");
    screen.press("https://pve1");
    screen.objects("`host` is no host name or address; write the name or the address alone, without https://");
    screen.press(ENTER);
    screen.objects("`host` is no host name or address");
    screen.press(&BACKSPACE.repeat(12));
    screen.objects("type a value, or press Esc to go back");
    screen.leave(&format!("pve1.example.org{ENTER}"));
    take(&screen, "What it is called here");
    screen.asks("the API token's name");
    screen.press("root@pam!token");
    screen.objects("write the name of the variable that holds the secret, not the secret itself");
    screen.press(&BACKSPACE.repeat(14));
    screen.leave(&format!("PVE1_TOKEN{ENTER}"));
    take(&screen, "the token's secret");
    back_to_main(&screen);
    save(screen);
    place.assert_saved(MADE, None);
}

#[test]
fn esc_at_the_first_question_leads_to_the_menu_and_out() {
    let place = Place::empty();
    let screen = place.wizard(&[]);
    screen.asks("Address");
    screen.leave(ESC);
    screen.asks("What next?");
    screen.leave(ESC);
    screen.finish().expect(0).says(&["nothing was saved"]);
    assert!(!place.path().exists());
    place.assert_tidy();
}
