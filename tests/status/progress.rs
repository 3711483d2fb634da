//! Progress as it scrolls by, as bars, and as JSON.

use std::io::Write;
use std::sync::{Arc, Mutex};

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use insta::assert_snapshot;
use proxmaint::choices::Stopped;
use proxmaint::engine::observer::{Observer, RunEnd, Seen};
use proxmaint::engine::port::Clock;
use proxmaint::ids::{HostId, Step};
use proxmaint::inventory::{Inside, Power};
use proxmaint::machine::host::HostState;
use proxmaint::machine::outcome::{Detail as Done, Fault, Outcome, Probed};
use proxmaint::machine::run::RunResult;
use proxmaint::observe::json::JsonLines;
use proxmaint::observe::log::Redactor;
use proxmaint::observe::progress::Progress;
use proxmaint::observe::progress::bars::Bars;
use proxmaint::observe::progress::plain::Plain;
use proxmaint::observe::style::Paint;
use proxmaint::observe::view::{Detail, Standing};
use proxmaint::time::Timestamp;

use crate::world::{OPENED, World, ct, facts, failed, guests, pending};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
    }
}

impl Write for Shared {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A story in steps: each step's new events are shown with the state that they led to.
struct Story {
    world: World,
    states: Vec<HostState>,
}

impl Story {
    fn new(world: World) -> Self {
        Self { world, states: Vec::new() }
    }

    fn then(&mut self, act: impl FnOnce(&mut World)) {
        act(&mut self.world);
        while self.states.len() < self.world.events.len() {
            let host = &self.world.events[self.states.len()].1;
            self.states.push(self.world.run.host(host).expect("in the run").clone());
        }
    }

    fn tell(&self, observer: &dyn Observer, from: usize) {
        for (n, ((at, _, event), state)) in self.world.events.iter().zip(&self.states).enumerate().skip(from) {
            observer.seen(&Seen::Host { seq: n as u64, at: *at, event, state });
        }
    }
}

/// A whole run: a guest upgraded, one failed, interrupted, gone on with.
fn story() -> Story {
    let mut story = Story::new(World::new(&["pve1"]));
    story.then(World::turns);
    story.then(|world| {
        world.pass(12);
        world.discovered("pve1", &facts("pve1", guests()));
    });
    story.then(|world| world.task("pve1", 101, Step::Snapshot, 1));
    for guest in [101, 102] {
        story.then(|world| {
            world.pass(4);
            world.protected("pve1", guest);
        });
    }
    story.then(|world| {
        world.pass(30);
        world.resume();
    });
    for (guest, found) in [
        (101, Probed::Running),
        (102, Probed::Unclear(Fault::ambiguous("the job left no exit status, and dpkg --audit is not clean"))),
    ] {
        story.then(|world| world.probed("pve1", Some(guest), found));
    }
    story.then(|world| {
        world.pass(60);
        world.upgraded("pve1", 101);
    });
    story.then(|world| world.checked("pve1", 101, pending(), Some("libc6 was upgraded")));
    story
}

fn plain(story: &Story, verbose: bool) -> String {
    let out = Shared::default();
    let plain = Plain::start(out.clone(), verbose, Paint::plain(), Arc::new(Still(OPENED))).expect("a thread");
    let hosts = [HostId::new("pve1")];
    plain.seen(&Seen::RunBegan { run: &story.world.run.id, hosts: &hosts, resumed: false, whole: true });
    story.tell(&plain, 0);
    plain.seen(&Seen::Draining);
    plain.seen(&Seen::RunEnded(RunEnd { result: RunResult::Held, interrupted: true, halted: false }));
    plain.finish();
    out.text()
}

#[test]
fn plain_lines() {
    assert_snapshot!(plain(&story(), false));
}

#[test]
fn verbose_lines() {
    assert_snapshot!(plain(&story(), true));
}

#[test]
fn plain_lines_of_a_host_that_ends() {
    let mut story = Story::new(World::new(&["pve1"]));
    story.then(World::turns);
    story.then(|world| {
        world.pass(12);
        world.discovered("pve1", &facts("pve1", guests()));
    });
    for guest in [101, 102] {
        story.then(|world| world.protected("pve1", guest));
    }
    story.then(|world| world.ended("pve1", Some(102), Step::UpgradeGuest, failed("apt-get exited with 100")));
    story.then(|world| world.upgraded("pve1", 101));
    story.then(|world| world.checked("pve1", 101, pending(), None));
    story.then(|world| {
        world.pass(80);
        world.ended("pve1", None, Step::UpgradeHost, failed("apt-get exited with 100"));
    });
    assert_snapshot!(plain(&story, false));
}

#[test]
fn what_is_owed_is_told_when_the_work_ends() {
    let mut story = Story::new(World::with(&["pve1"], |policy| policy.guests.stopped = Stopped::Start));
    story.then(World::turns);
    story.then(|world| {
        let mut off = ct(103, "off", Inside::NotLooked);
        off.power = Power::Stopped;
        world.discovered("pve1", &facts("pve1", vec![off]));
    });
    story.then(|world| world.ended("pve1", Some(103), Step::StartGuest, Outcome::Done(Done::Started)));
    assert_snapshot!(plain(&story, false));
}

#[test]
fn json_lines() {
    let story = story();
    let out = Shared::default();
    let json = JsonLines::start(out.clone(), Arc::new(Still(OPENED))).expect("a thread");
    let hosts = [HostId::new("pve1")];
    json.seen(&Seen::RunBegan { run: &story.world.run.id, hosts: &hosts, resumed: false, whole: true });
    story.tell(&json, 0);
    json.seen(&Seen::Draining);
    let view = story.world.view(Standing::Interrupted, Detail::Brief, None);
    json.finish(&view, RunEnd { result: view.result, interrupted: true, halted: false }, 5);
    for line in out.text().lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert_eq!(value["v"], 1);
        assert!(value["event"].is_string());
    }
    assert_snapshot!(out.text());
}

/// Waits until the terminal shows what is wanted: the bars have a thread of their own.
fn shown(term: &InMemoryTerm, wanted: impl Fn(&str) -> bool) -> String {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let text = term.contents();
        if wanted(&text) || std::time::Instant::now() > deadline {
            return text;
        }
        std::thread::yield_now();
    }
}

#[test]
fn bars_show_active_hosts_and_leave_no_ghosts() {
    let term = InMemoryTerm::new(24, 80);
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 200);
    let bars = Bars::start(target, false, Paint::plain(), Redactor::new()).expect("a thread");
    let mut story = Story::new(World::new(&["pve1", "pve2"]));
    let hosts = [HostId::new("pve1"), HostId::new("pve2")];
    bars.seen(&Seen::RunBegan { run: &story.world.run.id, hosts: &hosts, resumed: false, whole: true });
    story.then(World::turns);
    story.then(|world| world.discovered("pve1", &facts("pve1", guests())));
    story.then(|world| world.protected("pve1", 101));
    story.then(|world| world.protected("pve1", 102));
    story.tell(&bars, 0);
    let text = shown(&term, |text| text.contains("2 at work") && text.contains("upgrading guests"));
    assert!(text.contains("  pve1  upgrading guests, 0 of 2 guests done"), "{text}");
    assert!(text.contains("  pve2  looking for pending updates"), "{text}");
    assert!(text.contains("0 of 2 hosts done, 2 at work"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    let from = story.world.events.len();
    story.then(|world| world.ended("pve2", None, Step::Discover, failed("connecting to pve2: no route to host")));
    story.tell(&bars, from);
    let text = shown(&term, |text| text.contains("1 at work"));
    assert!(text.contains("pve2: failed: connecting to pve2: no route to host"), "{text}");
    assert!(text.contains("1 of 2 hosts done, 1 failed, 1 at work"), "{text}");
    assert!(!text.contains("  pve2  looking"), "{text}");

    bars.finish();
    let text = term.contents();
    assert!(!text.contains("at work") && text.contains("pve2: failed"), "{text}");
}
