//! At a terminal: what an operator sees, which keys they have, and what is left of the terminal afterwards.

use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::World;
use rustix::process::Signal;

use crate::support::screen::{CTRL_C, DOWN, ENTER, ESC};
use crate::support::{Screen, Site};

fn edge() -> World {
    World::builder().standalone("edge1").ct("edge1", 101, |ct| ct.pending(1)).build()
}

#[test]
fn a_run_is_begun_by_yes_alone() {
    let site = Site::new(edge());
    for key in [ENTER, ESC, CTRL_C, "n"] {
        let screen = Screen::start(&site, &["run"], &[]);
        let prompt = screen.asks("Begin?");
        assert_eq!(prompt.items[0].text, "Yes  / ● No");
        screen.sees("CT 101");
        screen.leave(key);
        screen.finish().expect(0).says(&["nothing was changed"]);
    }
    site.assert_untouched();
    let screen = Screen::start(&site, &["run"], &[]);
    screen.confirm("Begin?", true);
    screen.finish().expect(0).says(&["upgraded"]);
    assert_eq!(site.done(Act::Upgrade, "101"), 1);
}

#[test]
fn a_run_is_not_begun_where_the_terminal_is_taken_away() {
    let site = Site::new(edge());
    let screen = Screen::start(&site, &["run"], &[]);
    screen.asks("Begin?");
    screen.press(DOWN);
    screen.hang_up();
    let screen = Screen::start(&site, &["run"], &[]);
    screen.asks("Begin?");
    screen.signal(Signal::TERM);
    screen.finish().says(&["nothing was changed"]);
    site.assert_untouched();
}
