//! All the ways out that save nothing: the file is as it was.

use rustix::process::Signal;

use super::{FLEET, Place, open_key};
use crate::support::screen::{CTRL_C, ENTER, ESC, Screen};

/// Changes something, and stays in the group's menu.
#[track_caller]
fn change(screen: &Screen) {
    open_key(screen, "pve1", "Other", "dry_run");
    screen.choose("dry_run", "true");
    screen.asks("pve1: Other");
}

#[test]
fn esc_goes_one_step_back_at_each_level() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    open_key(&screen, "pve1", "API", "api_port");
    screen.choose("api_port", "type a value");
    for (question, behind) in
        [("api_port", "84"), ("api_port", ""), ("pve1: API", ""), ("pve1", ""), ("What next?", "")]
    {
        screen.asks(question);
        screen.press(behind);
        screen.leave(ESC);
    }
    screen.finish().expect(0).says(&["nothing was saved"]);
    place.assert_untouched(FLEET);
}

#[test]
fn leaving_asks_where_something_would_be_lost() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    change(&screen);
    super::back_to_main(&screen);
    screen.leave(ESC);
    screen.confirm("Leave without saving?", false);
    screen.asks("What next?");
    screen.leave(ESC);
    screen.asks("Leave without saving?");
    screen.leave(ESC);
    screen.choose("What next?", "Show what changed");
    screen.sees("+dry_run = true");
    screen.choose("What next?", "Leave");
    screen.confirm("Leave without saving?", true);
    screen.finish().expect(0).says(&["nothing was saved"]);
    place.assert_untouched(FLEET);
}

#[test]
fn esc_at_the_last_question_saves_nothing() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    change(&screen);
    super::back_to_main(&screen);
    screen.choose("What next?", "Save and leave");
    screen.asks("Save?");
    screen.leave(ESC);
    screen.choose("What next?", "Leave");
    screen.confirm("Leave without saving?", true);
    screen.finish().expect(0);
    place.assert_untouched(FLEET);
}

#[test]
fn saving_nothing_is_leaving() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    screen.choose("What next?", "Show what changed");
    screen.sees("nothing has changed");
    screen.choose("What next?", "Save and leave");
    screen.finish().expect(0).says(&["nothing to save"]);
    place.assert_untouched(FLEET);
}

#[test]
fn a_lost_terminal_leaves_the_file_as_it_was() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    change(&screen);
    screen.hang_up().expect(2);
    place.assert_untouched(FLEET);
}

#[test]
fn a_terminal_that_is_lost_at_the_last_question_too() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    change(&screen);
    super::back_to_main(&screen);
    screen.choose("What next?", "Save and leave");
    screen.asks("Save?");
    screen.hang_up().expect(2);
    place.assert_untouched(FLEET);
}

#[test]
fn a_signal_that_ends_it_leaves_the_file_as_it_was() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    change(&screen);
    screen.signal(Signal::TERM);
    screen.finish().expect(2).says(&["nothing was saved"]);
    place.assert_untouched(FLEET);
}

#[test]
fn being_killed_leaves_the_file_as_it_was() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    change(&screen);
    screen.signal(Signal::KILL);
    screen.hang_up();
    place.assert_untouched(FLEET);
}

#[test]
fn a_terminal_that_can_t_draw_is_none() {
    let mut place = Place::with(FLEET);
    place.env.push(("TERM", "dumb"));
    place.wizard(&[]).finish().expect(2).says(&["the wizard needs a terminal"]);
    place.assert_untouched(FLEET);
}

#[test]
fn without_a_terminal_there_is_nobody_to_ask() {
    let place = Place::with(FLEET);
    let done = place.without_terminal().finish().expect(2);
    done.says(&["error: the wizard needs a terminal", "proxmaint manifest set", "add-host"]);
    place.assert_untouched(FLEET);
}

#[test]
fn ctrl_c_leaves_at_once_where_nothing_is_lost() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    open_key(&screen, "pve1", "API", "api_port");
    screen.asks("api_port");
    screen.press(CTRL_C);
    screen.finish().expect(0);
    place.assert_untouched(FLEET);
}

#[test]
fn ctrl_c_asks_where_something_would_be_lost() {
    let place = Place::with(FLEET);
    let screen = place.wizard(&[]);
    change(&screen);
    screen.leave(CTRL_C);
    // Whatever is asked, Enter alone loses nothing.
    screen.asks("?");
    screen.leave(ENTER);
    screen.asks("pve1: Other");
    screen.leave(CTRL_C);
    screen.asks("?");
    screen.press("y");
    screen.finish().expect(0);
    place.assert_untouched(FLEET);
}
