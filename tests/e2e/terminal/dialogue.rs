//! Dialogues that are nothing but questions: this test binary runs itself at a pseudo-terminal and asks them there.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use proxmaint::cli::terminal::{Answered, Choice, Left, Remark, Terminal};
use tempfile::TempDir;

use crate::support::Screen;
use crate::support::screen::SIZE;

/// Names the dialogue to be held.
const NAME: &str = "PROXMAINT_TEST_DIALOGUE";
/// Where it meets the test.
const MEETING: &str = "PROXMAINT_TEST_MEETING";

/// A dialogue at a terminal, as it is started.
pub struct Dialogue {
    command: Command,
    size: (u16, u16),
    /// Removed when this is dropped.
    dir: TempDir,
}

impl Dialogue {
    /// The dialogue of this name; see [`hold`].
    pub fn of(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("proxmaint-dialogue-").tempdir().expect("a directory");
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        // In one thread, so that it is the main one, as in the program.
        command.args(["--exact", "terminal::dialogue::dialogue", "--ignored", "--nocapture", "--quiet"]);
        command.args(["--test-threads", "1"]).env(NAME, name).env(MEETING, dir.path().join("socket"));
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        Self { command, size: SIZE, dir }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn size(mut self, columns: u16, rows: u16) -> Self {
        self.size = (columns, rows);
        self
    }

    pub fn start(&self) -> Screen {
        Screen::run(&self.command, self.size)
    }

    /// A place where dialogue and test meet, to be made before it is started.
    pub fn meeting(&self) -> UnixListener {
        UnixListener::bind(self.dir.path().join("socket")).expect("a socket")
    }
}

/// Waits in the dialogue until the test lets it go on.
fn meet() {
    let path = PathBuf::from(std::env::var_os(MEETING).expect("a place"));
    let mut met = UnixStream::connect(path).expect("the test is there");
    met.read_to_end(&mut Vec::new()).expect("the test lets it go");
}

#[test]
#[ignore = "is held at a pseudo-terminal by the other tests"]
fn dialogue() {
    let name = std::env::var(NAME).expect("the name of a dialogue");
    let Some(terminal) = Terminal::open() else {
        eprintln!("no terminal");
        return;
    };
    let said = hold(&name, &terminal);
    drop(terminal);
    eprintln!("said: {said:?}");
}

fn hold(name: &str, terminal: &Terminal) -> Answered<String> {
    match name {
        "name" => terminal.text("What name?\nOf the host.").check(lower).ask(),
        "unsaved name" => {
            terminal.set_unsaved(true);
            terminal.text("What name?").check(lower).ask()
        }
        "two names" => {
            let first = terminal.text("The first name?").ask()?;
            meet();
            let second = terminal.text("The second name?").ask()?;
            Ok(format!("{first}, {second}"))
        }
        "secret" => {
            use secrecy::ExposeSecret;
            Ok(terminal.secret("The password?")?.expose_secret().len().to_string())
        }
        "few" => terminal.choose("Which?", &numbers(3), Some(&2)).map(|n| n.to_string()),
        "many" => terminal.choose("Which?", &numbers(60), Some(&30)).map(|n| n.to_string()),
        "none" => terminal.choose("Which?", &numbers(0), None).map(|n| n.to_string()),
        "ticks" => terminal.choose_many("Which ones?", &numbers(60), &[2]).map(|ticked| format!("{ticked:?}")),
        "no ticks" => terminal.choose_many("Which ones?", &numbers(0), &[2]).map(|ticked| format!("{ticked:?}")),
        "work" => work(terminal, std::future::pending()),
        "short work" => work(terminal, async { tokio::task::spawn_blocking(meet).await.expect("the test was met") }),
        "panic" => terminal.text("What name?").check(|text| panic!("{text} is a bad name")).ask(),
        "everything" => everything(terminal),
        other => panic!("no dialogue {other:?}"),
    }
}

fn lower(text: &str) -> Result<(), String> {
    match text.chars().all(|c| !c.is_uppercase()) {
        true => Ok(()),
        false => Err("in small letters".to_owned()),
    }
}

fn numbers(count: u32) -> Vec<Choice<u32>> {
    (1..=count).map(|n| Choice::new(n, format!("choice {n}"), format!("the number {n} of {count}"))).collect()
}

fn work(terminal: &Terminal, work: impl Future<Output = ()>) -> Answered<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = terminal.work_telling(&runtime, "Looking.", |progress| async move {
        progress.say("Looking at 1 of 2.");
        work.await;
    });
    match done {
        Ok(()) | Err(Left::Back) => {
            let name = terminal.text("What name?").ask()?;
            Ok(format!("{done:?}, then {name}"))
        }
        Err(left) => Err(left),
    }
}

/// One of each, with lines longer than some terminals.
fn everything(terminal: &Terminal) -> Answered<String> {
    let long = "a rather long line that says this and that and ends somewhere beyond the edge of it all";
    terminal.intro(long)?;
    for kind in [Remark::Info, Remark::Good, Remark::Warn, Remark::Bad] {
        terminal.remark(kind, &format!("{long}\nand a second line"))?;
    }
    terminal.note(long, &format!("{long}\n{long}"))?;
    let text = terminal.text(long).placeholder(long).default("it").check(lower).ask()?;
    let choices: Vec<_> = (1..=30).map(|n| Choice::new(n, format!("{n}: {long}"), long)).collect();
    let one = terminal.choose(long, &choices, None)?;
    let several = terminal.choose_many(long, &choices, &[1])?;
    let sure = terminal.confirm(long, true)?;
    terminal.outro(long)?;
    Ok(format!("{text} {one} {several:?} {sure}"))
}
