//! At a terminal: what an operator sees, which keys they have, and what is left of the terminal afterwards.
//!
//! [`Screen::finish`] asserts for each of them that the terminal is as it was before: modes, and the cursor in sight.

mod dialogue;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::World;
use rustix::process::Signal;

use self::dialogue::Dialogue;
use crate::support::screen::{BACKSPACE, CTRL_C, CTRL_Z, DOWN, ENTER, ESC, SPACE, UP};
use crate::support::{Screen, Site};

const BACK: &[&str] = &["said: Err(Back)"];
const QUIT: &[&str] = &["said: Err(Quit)"];
const LEAVE: &str = "Leave without saving?";

#[test]
fn a_run_is_begun_by_yes_alone() {
    let site = Site::new(World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.pending(1)).build());
    for key in [ENTER, ESC, CTRL_C, "n"] {
        let screen = Screen::start(&site, &["run"], &[]);
        screen.asks("Begin?");
        screen.sees("CT 101");
        screen.press(key);
        screen.finish().expect(0).says(&["nothing was changed"]);
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let screen = Screen::start(&site, &["run"], &[]);
        screen.asks("Begin?");
        screen.signal(signal);
        screen.finish().expect(5).says(&["nothing was changed"]);
    }
    let screen = Screen::start(&site, &["run"], &[]);
    screen.asks("Begin?");
    screen.hang_up();
    site.assert_untouched();
    let screen = Screen::start(&site, &["run"], &[]);
    screen.asks("Begin?");
    screen.press("y");
    screen.finish().expect(0).says(&["upgraded"]);
    assert_eq!(site.done(Act::Upgrade, "101"), 1);
}

#[test]
fn a_terminal_that_hangs_up_is_like_ctrl_c_to_a_run() {
    let site = Site::new(World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.pending(1)).build());
    site.plant(Fault::upgrade("101", UpgradeFault::Slow { ms: 3_000 }));
    let screen = Screen::start(&site, &["run"], &[]);
    screen.asks("Begin?");
    screen.press("y");
    site.await_begun(Act::Upgrade, "101");
    screen.hang_up().expect(5);
    site.run(&["run"]).expect(0);
    assert_eq!(site.done(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}

#[test]
fn esc_is_a_step_back_and_ctrl_c_the_way_out() {
    for name in ["name", "few", "many", "ticks", "secret"] {
        for (key, left) in [(ESC, BACK), (CTRL_C, QUIT)] {
            let screen = Dialogue::of(name).start();
            screen.asks("?");
            screen.leave(key);
            screen.finish().expect(0).says(left);
        }
    }
}

#[test]
fn ctrl_c_asks_before_something_is_lost() {
    let dialogue = Dialogue::of("unsaved name");
    for (keys, left) in [("y", QUIT), (CTRL_C, QUIT)] {
        let screen = dialogue.start();
        screen.asks("What name?");
        screen.leave(CTRL_C);
        screen.asks(LEAVE);
        screen.leave(keys);
        screen.finish().expect(0).says(left);
    }
    // Both at once, and with Esc typed ahead.
    let screen = dialogue.start();
    screen.asks("What name?");
    screen.press(&format!("{CTRL_C}{CTRL_C}"));
    screen.finish().expect(0).says(QUIT);
    let screen = dialogue.start();
    screen.asks("What name?");
    screen.leave(ESC);
    screen.finish().expect(0).says(BACK);
}

#[test]
fn who_stays_finds_the_question_with_what_was_typed() {
    for stay in ["n", ENTER, ESC] {
        let screen = Dialogue::of("unsaved name").start();
        screen.asks("What name?");
        screen.press("edge");
        screen.sees("edge");
        screen.leave(CTRL_C);
        screen.asks(LEAVE);
        screen.leave(stay);
        screen.until_typed("What name?", "edge");
        screen.leave(&format!("1{ENTER}"));
        screen.finish().expect(0).says(&["said: Ok(\"edge1\")"]);
    }
}

#[test]
fn what_is_wrong_is_said_while_it_is_typed_and_not_taken() {
    let screen = Dialogue::of("name").start();
    screen.asks("What name?");
    screen.press("eD");
    screen.objects("in small letters");
    screen.press(ENTER);
    screen.press(BACKSPACE);
    screen.until_typed("What name?", "e");
    screen.sees_not("in small letters");
    screen.leave(&format!("dge1{ENTER}"));
    screen.finish().expect(0).says(&["said: Ok(\"edge1\")"]);
}

#[test]
fn a_terminal_that_is_taken_away_ends_the_dialogue() {
    for name in ["name", "unsaved name", "ticks", "secret", "work"] {
        let screen = Dialogue::of(name).start();
        screen.sees(if name == "work" { "Looking at 1 of 2." } else { "?" });
        // The end is its own: no signal kills it.
        assert_ne!(screen.hang_up().code, -1, "{name}");
    }
}

#[test]
fn signals_end_the_dialogue_and_leave_the_terminal_in_order() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        for name in ["unsaved name", "work"] {
            let screen = Dialogue::of(name).start();
            screen.sees(if name == "work" { "Looking at 1 of 2." } else { "?" });
            screen.signal(signal);
            screen.finish().expect(0).says(&["said: Err(Gone("]);
        }
    }
}

#[test]
fn a_program_that_was_stopped_goes_on() {
    let screen = Dialogue::of("name").start();
    screen.asks("What name?");
    screen.press(&format!("ed{CTRL_Z}"));
    screen.until_typed("What name?", "ed");
    screen.suspend();
    screen.until_typed("What name?", "ed");
    screen.leave(&format!("ge1{ENTER}"));
    screen.finish().expect(0).says(&["said: Ok(\"edge1\")"]);
}

#[test]
fn a_panic_leaves_the_terminal_in_order() {
    let screen = Dialogue::of("panic").start();
    screen.asks("What name?");
    screen.press("x");
    screen.finish().expect(101).says(&["x is a bad name"]);
}

#[test]
fn what_is_typed_ahead_is_neither_lost_nor_echoed() {
    let dialogue = Dialogue::of("two names");
    let meeting = dialogue.meeting();
    let screen = dialogue.start();
    screen.answer("The first name?", "one");
    let (met, _) = meeting.accept().expect("the dialogue comes");
    screen.press("typed ahead\r");
    drop(met);
    screen.awaits_text("said: Ok(\"one, typed ahead\")");
    let raw = screen.raw();
    let before = raw.split("The second name?").next().expect("a beginning");
    assert!(!before.contains("typed") && !before.contains("ahead"), "{before:?}");
    screen.finish().expect(0);
}

#[test]
fn a_key_that_ends_a_question_is_not_lost_ahead_of_it() {
    let dialogue = Dialogue::of("two names");
    let meeting = dialogue.meeting();
    let screen = dialogue.start();
    screen.answer("The first name?", "one");
    let (met, _) = meeting.accept().expect("the dialogue comes");
    screen.press(&format!("tw{CTRL_C}o"));
    drop(met);
    screen.finish().expect(0).says(QUIT);
}

#[test]
fn a_paste_arrives_whole() {
    let pasted: String = "äbc-é€😀".chars().cycle().take(300).collect();
    let screen = Dialogue::of("name").start();
    screen.answer("What name?", &pasted);
    screen.finish().expect(0).says(&[&format!("said: Ok({pasted:?})")]);
    let screen = Dialogue::of("secret").start();
    screen.answer("The password?", &"x".repeat(300));
    let done = screen.finish().expect(0).says(&["said: Ok(\"300\")"]);
    assert!(!done.stdout.contains("xx"), "{done}");
}

#[test]
fn work_is_ended_by_esc_and_ctrl_c_and_swallows_other_keys() {
    for key in [ESC, CTRL_C] {
        let screen = Dialogue::of("work").start();
        screen.sees("Looking at 1 of 2.");
        screen.press("lost");
        screen.press(UP);
        screen.press(key);
        screen.answer("What name?", "edge1");
        let done = screen.finish().expect(0).says(&["said: Ok(\"Err(Back), then edge1\")"]);
        assert!(!done.stdout.contains("lost"), "{done}");
    }
}

#[test]
fn what_is_typed_during_work_is_for_nobody() {
    let dialogue = Dialogue::of("short work");
    let meeting = dialogue.meeting();
    let screen = dialogue.start();
    let (met, _) = meeting.accept().expect("the work has begun");
    screen.press("lost\r");
    screen.press(DOWN);
    screen.sees("Looking at 1 of 2.");
    drop(met);
    screen.answer("What name?", "edge1");
    screen.finish().expect(0).says(&["said: Ok(\"Ok(()), then edge1\")"]);
}

#[test]
fn a_choice_is_found_by_moving_and_by_typing() {
    let screen = Dialogue::of("few").start();
    assert_eq!(screen.asks("Which?").active().expect("a cursor").text, "choice 2 (the number 2 of 3)");
    screen.choose("Which?", "choice 3");
    screen.finish().expect(0).says(&["said: Ok(\"3\")"]);
    let screen = Dialogue::of("many").start();
    assert_eq!(screen.asks("Which?").items.len(), 14);
    screen.press("47");
    screen.until_typed("Which?", "47");
    screen.leave(ENTER);
    screen.finish().expect(0).says(&["said: Ok(\"47\")"]);
    for (label, said) in [("choice 44", "said: Ok(\"44\")"), ("choice 5", "said: Ok(\"5\")")] {
        let screen = Dialogue::of("many").start();
        screen.pick(label);
        screen.finish().expect(0).says(&[said]);
    }
    Dialogue::of("none").start().finish().expect(0).says(&["nothing to choose from", BACK[0]]);
}

#[test]
fn ticks_are_set_and_taken_away_far_down_the_list() {
    let screen = Dialogue::of("ticks").start();
    screen.asks("space ticks, Enter goes on, Esc goes back");
    screen.tick("choice 40");
    screen.untick("choice 2");
    screen.tick("choice 3");
    screen.leave(ENTER);
    screen.finish().expect(0).says(&["said: Ok(\"[3, 40]\")"]);
    Dialogue::of("no ticks").start().finish().expect(0).says(&["nothing to choose from", "said: Ok(\"[]\")"]);
}

/// Takes what each question of the dialogue with everything offers.
fn through_everything(screen: &Screen) {
    for keys in [ENTER, DOWN, ENTER, DOWN, SPACE, ENTER, "n"] {
        if keys.starts_with(['\r', 'n']) {
            screen.leave(keys);
        } else {
            screen.asks("");
            screen.press(keys);
        }
    }
}

#[test]
fn every_terminal_is_wide_enough() {
    for (columns, rows) in [(20, 40), (20, 5), (8, 8), (3, 3), (100, 10), (200, 60)] {
        let screen = Dialogue::of("everything").size(columns, rows).start();
        if columns < 20 || rows < 10 {
            // Nothing of use is seen there, so the keys are pressed ahead.
            screen.press(&[ENTER, DOWN, ENTER, DOWN, SPACE, ENTER, "n"].concat());
        } else {
            through_everything(&screen);
        }
        let done = screen.finish().expect(0);
        let text: String = done.stdout.split_whitespace().collect();
        assert!(text.contains("said:Ok(\"it2[1,2]false\")"), "{columns}x{rows}: {done}");
    }
}

#[test]
fn nothing_is_drawn_twice() {
    let screen = Dialogue::of("ticks").size(40, 12).start();
    screen.go_to("choice 30");
    let text = screen.text();
    assert_eq!(text.matches("Which ones?").count(), 1, "{text}");
    screen.leave(ESC);
    screen.finish().expect(0).says(BACK);
}

#[test]
fn without_colour_nothing_is_painted_and_all_can_be_seen() {
    let screen = Dialogue::of("everything").env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1").start();
    through_everything(&screen);
    screen.awaits_text("said:");
    let raw = screen.raw();
    let styles: Vec<&str> = raw
        .split("\u{1b}[")
        .skip(1)
        .filter_map(|rest| {
            let (style, _) = rest.split_once(|c: char| c.is_ascii_alphabetic())?;
            (rest[style.len()..].starts_with('m') && !style.is_empty() && style != "0").then_some(style)
        })
        .collect();
    assert!(styles.is_empty(), "{styles:?}");
    screen.finish().expect(0).says(&["said: Ok(\"it 2 [1, 2] false\")"]);
    let screen = Dialogue::of("ticks").env("NO_COLOR", "1").start();
    screen.tick("choice 4");
    screen.leave(ENTER);
    screen.finish().expect(0).says(&["said: Ok(\"[2, 4]\")"]);
}

#[test]
fn a_dumb_terminal_is_none() {
    Dialogue::of("name").env("TERM", "dumb").start().finish().expect(0).says(&["no terminal"]);
}
