//! What is printed: for programs, for people without a terminal, and for people at one.

use std::time::Duration;

use expectrl::session::OsSession;
use expectrl::{Eof, Expect, Session};
use proxmaint_lab::fleet;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Os, World};

use crate::support::{Done, PATIENCE, Site};

fn edge() -> World {
    World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.os(Os::Ubuntu2404).pending(2))
        .ct("edge1", 102, |ct| ct.stopped())
        .build()
}

#[test]
fn json_is_documented_events_and_nothing_else() {
    let site = Site::new(fleet::small());
    let done = site.run(&["run", "--output", "json"]).expect(0);
    let events = done.documented();
    assert_eq!((&events[0]["event"], &events[0]["resumed"]), (&"run-began".into(), &false.into()));
    let ended = done.ended();
    assert_eq!(
        (&ended["result"], &ended["exit_code"], &ended["interrupted"]),
        (&"clean".into(), &0.into(), &false.into())
    );
    assert_eq!(ended["hosts"][0]["counts"]["upgraded"], 3);
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert!(numbers.is_sorted() && numbers.len() > 10, "{numbers:?}");
    // The packages that changed are in the events.
    let changed = events.iter().filter(|event| event["event"] == "step-ended" && event["guest"] == 101);
    let packages: Vec<&str> =
        changed.flat_map(|e| e["packages"].as_array().expect("a list")).filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(packages, ["base-files", "bash", "curl"]);
    assert!(done.stderr.is_empty(), "{done}");
}

#[test]
fn off_a_terminal_lines_are_plain_and_carry_times() {
    let site = Site::new(edge());
    let done = site.run(&["run", "--verbose"]).expect(0);
    assert!(!done.stderr.contains('\u{1b}') && !done.stderr.contains('\r'), "{done}");
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert!(lines.len() > 5, "{done}");
    for line in &lines {
        assert!(line.starts_with("20") && line[..20].ends_with('Z'), "a line without a time: {line}\n{done}");
    }
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 120), "{done}");
    done.clone().says(&["edge1", "done", "CT 101", "verdict", "upgraded", "packages changed"]);
    let quiet = site.run(&["run"]).expect(0);
    assert!(quiet.stderr.lines().count() < lines.len(), "--verbose says no more:\n{quiet}");
}

/// The program at a pseudo-terminal.
struct AtTerminal(OsSession);

impl AtTerminal {
    fn start(site: &Site, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = site.command(args);
        command.env("TERM", "xterm-256color").envs(env.iter().copied());
        let mut session = Session::spawn(command).expect("a pseudo-terminal");
        session.set_expect_timeout(Some(PATIENCE));
        Self(session)
    }

    /// Waits until this is shown, and returns what was shown before it.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        match self.0.expect(text) {
            Ok(found) => String::from_utf8_lossy(found.before()).into_owned(),
            Err(error) => panic!("{text:?} is never shown: {error}"),
        }
    }

    fn press(&mut self, keys: &str) {
        self.0.send(keys).expect("the terminal takes keys");
    }

    /// Waits for the end; returns the exit code and what was shown since the last look.
    fn finish(mut self) -> Done {
        // What matches the end is all that is left.
        let shown = self.0.expect(Eof).map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned());
        let shown = shown.unwrap_or_else(|error| panic!("it does not end: {error}"));
        let status = self.0.get_process().wait().expect("an end");
        let code = match status {
            expectrl::process::unix::WaitStatus::Exited(_, code) => code,
            other => panic!("it ended with {other:?}"),
        };
        Done { args: "at a terminal".to_owned(), code, stdout: shown, stderr: String::new() }
    }
}

#[test]
fn at_a_terminal_the_plan_is_shown_and_no_changes_nothing() {
    let site = Site::new(edge());
    for answer in ["n", "\r", "\u{1b}", "\u{3}"] {
        let mut terminal = AtTerminal::start(&site, &["run"], &[]);
        let shown = terminal.expect("Begin?");
        for words in ["edge1", "CT 101", "upgrade 2 packages", "snapshot", "1 host to work on"] {
            assert!(shown.contains(words), "{words:?} is not in the plan:\n{shown}");
        }
        terminal.press(answer);
        terminal.finish().expect(0).says(&["nothing was changed"]);
        site.assert_untouched();
    }
}

#[test]
fn at_a_terminal_yes_runs_and_progress_is_drawn() {
    let site = Site::new(edge());
    let mut terminal = AtTerminal::start(&site, &["run"], &[]);
    terminal.expect("Begin?");
    terminal.press("y");
    let done = terminal.finish().expect(0).says(&["edge1", "verdict", "packages changed"]);
    assert!(done.stdout.contains("\u{1b}["), "nothing was drawn:\n{done}");
    site.assert_clean();
    assert_eq!(site.done(Act::Upgrade, "*"), 2);
}

#[test]
fn yes_on_the_command_line_asks_nothing_and_no_color_paints_nothing() {
    let site = Site::new(edge());
    let done = AtTerminal::start(&site, &["run", "--yes"], &[("NO_COLOR", "1")]).finish().expect(0);
    assert!(!done.stdout.contains("Begin?"), "{done}");
    assert!(painted(&done.stdout).is_empty(), "{:?}", painted(&done.stdout));
    site.assert_clean();
    let status = AtTerminal::start(&site, &["status"], &[]).finish().expect(0);
    assert!(!painted(&status.stdout).is_empty(), "colour at a terminal");
    let status = AtTerminal::start(&site, &["status"], &[("NO_COLOR", "1")]).finish().expect(0);
    assert!(!status.stdout.contains('\u{1b}'), "{:?}", status.stdout);
}

/// The sequences in a text that set a colour or a style (`ESC [ .. m`), a plain reset left out.
fn painted(text: &str) -> Vec<String> {
    let sequences = text.split("\u{1b}[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        rest[end..].starts_with('m').then(|| rest[..end].to_owned())
    });
    sequences.filter(|style| !style.is_empty() && style != "0").collect()
}

#[test]
fn json_at_a_terminal_asks_nothing() {
    let site = Site::new(edge());
    let done = AtTerminal::start(&site, &["run", "--output", "json"], &[]).finish().expect(0).says(&["run-ended"]);
    assert!(!done.stdout.contains("Begin?"), "{done}");
    site.assert_clean();
}

#[test]
fn a_changed_manifest_is_asked_about_at_a_terminal() {
    use proxmaint_lab::faults::{Fault, UpgradeFault};
    let site = Site::new(edge());
    site.plant(Fault::upgrade("101", UpgradeFault::Exit { code: 1 }));
    site.run(&["run"]).expect(3);
    site.replace("[defaults]\n", "[defaults]\nmax_parallel = 1\n");
    let before = site.ledger().len();
    let mut terminal = AtTerminal::start(&site, &["run"], &[]);
    let shown = terminal.expect("How shall it go on?");
    assert!(shown.contains("max_parallel 2 -> 1"), "{shown}");
    terminal.press("\u{1b}");
    terminal.finish().expect(0).says(&["nothing was changed"]);
    assert_eq!(site.ledger().len(), before);
    let mut terminal = AtTerminal::start(&site, &["run"], &[]);
    terminal.expect("How shall it go on?");
    terminal.press("\r");
    terminal.finish().expect(0);
    assert!(site.judge().left.is_empty(), "{}", site.judge());
}

#[test]
fn help_is_a_document() {
    let site = Site::new(World::builder().standalone("edge1").build());
    let commands: [&[&str]; 14] = [
        &[],
        &["run"],
        &["doctor"],
        &["status"],
        &["resolve"],
        &["wizard"],
        &["inventory"],
        &["manifest"],
        &["manifest", "show"],
        &["manifest", "check"],
        &["journal"],
        &["journal", "recover"],
        &["journal", "verify"],
        &["journal", "export"],
    ];
    for command in commands {
        let mut args = command.to_vec();
        args.push("--help");
        let help = site.run(&args).expect(0);
        assert!(help.stderr.is_empty(), "{help}");
        let name = format!("help-{}", if command.is_empty() { "proxmaint".to_owned() } else { command.join("-") });
        insta::assert_snapshot!(name, help.stdout);
    }
    assert!(!site.state().exists());
    site.run(&[]).expect(2);
    site.run(&["run", "--no-such-option"]).expect(2).says(&["--no-such-option"]);
    site.run(&["--version"]).expect(0).says(&[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn help_is_there_at_once() {
    // Ten milliseconds are the aim on a quiet machine; the quickest of many tries on a busy debug build stays below 50.
    let site = Site::new(World::builder().standalone("edge1").build());
    let quickest = (0..20).map(|_| {
        let began = std::time::Instant::now();
        site.run(&["--help"]).expect(0);
        began.elapsed()
    });
    let quickest = quickest.min().expect("twenty tries");
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
}

#[test]
fn at_a_terminal_a_run_that_selects_nothing_is_not_begun() {
    let site = Site::new(edge());
    let done = AtTerminal::start(&site, &["run", "--guest", "999"], &[]).finish().expect(2);
    let done = done.says(&["CT 101", "left out: not named by --guest", "--guest 999 selects no guest of any host"]);
    assert!(!done.stdout.contains("Begin?"), "{done}");
    site.assert_untouched();
    assert_eq!(site.run(&["journal", "export"]).expect(0).stdout, "", "no run was opened");
    let mut terminal = AtTerminal::start(&site, &["run", "--guest", "101", "--guest", "999"], &[]);
    let shown = terminal.expect("Begin?");
    assert!(shown.contains("warning: --guest 999 matches no guest of any host"), "{shown}");
    terminal.press("n");
    terminal.finish().expect(0);
    site.assert_untouched();
}
