//! A dialogue that is cut off: nothing of it is written.

use proxmaint_lab::faults::{Fault, RequestFault};
use rustix::process::Signal;

use super::{bare, text, world};
use crate::support::screen::{CTRL_C, ENTER, ESC};
use crate::support::{Screen, Site, until};

/// Answers until the difference is shown.
fn at_the_difference(site: &Site) -> Screen {
    let screen = Screen::start(site, &["inventory", "--skip-ssh-checks"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "Not stored");
    screen.asks("Save?");
    screen
}

#[test]
fn a_terminal_that_goes_away_writes_nothing() {
    let site = bare(world().build());
    let before = text(&site);
    at_the_difference(&site).hang_up();
    let screen = at_the_difference(&site);
    screen.signal(Signal::TERM);
    screen.finish();
    assert_eq!(text(&site), before);
    assert!(!site.fleet().join("proxmox-hosts.toml.bak").exists());
}

#[test]
fn ctrl_c_asks_where_answers_would_be_lost() {
    let site = bare(world().build());
    let before = text(&site);
    let screen = at_the_difference(&site);
    screen.press(CTRL_C);
    screen.confirm("lost", false);
    screen.asks("Save?");
    screen.press(CTRL_C);
    screen.confirm("lost", true);
    screen.finish().expect(0).says(&["nothing was saved"]);
    assert_eq!(text(&site), before);
}

#[test]
fn a_search_that_takes_too_long_is_left() {
    for key in [ESC, CTRL_C] {
        let site = bare(world().build());
        let before = text(&site);
        site.plant(Fault::request("GET", "/cluster/status", RequestFault::Silence { ms: 50_000 }));
        let screen = Screen::start(&site, &["inventory"], &[]);
        screen.sees("asking 1 host");
        assert!(until(|| site.with(|world| world.faults.unused().is_empty())), "it was never asked");
        screen.press(key);
        screen.finish().expect(0).says(&["nothing was saved"]);
        assert_eq!(text(&site), before);
    }
}

#[test]
fn off_a_terminal_it_is_interrupted_by_a_signal() {
    let site = bare(world().build());
    let before = text(&site);
    site.plant(Fault::request("GET", "/cluster/status", RequestFault::Silence { ms: 50_000 }));
    let working = site.start(&["inventory", "--yes"]);
    assert!(until(|| site.with(|world| world.faults.unused().is_empty())), "it was never asked");
    working.signal(Signal::INT);
    working.finish().expect(5).says(&["before anything was changed"]);
    assert_eq!(text(&site), before);
}
