//! The program at work: its output as it comes, signals, and how it ended.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;

/// How the program ended and what it said.
#[derive(Debug, Clone)]
pub struct Done {
    /// The command line.
    pub args: String,
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Asserts the exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Asserts that standard output and standard error, taken together, say all of these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word) || self.stderr.contains(word), "{word:?} is not said:\n{self}");
        }
        self
    }

    /// The one JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{self}"))
    }

    /// Standard output as JSON, line by line.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The events of `run --output json`, each of which the format's documentation must name.
    #[track_caller]
    pub fn documented(&self) -> Vec<Value> {
        let source =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/observe/json.rs")).expect("the source");
        let names: Vec<&str> =
            source.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next()).collect();
        assert!(names.len() > 10, "{names:?}");
        let events = self.events();
        for event in &events {
            assert_eq!(event["v"], 1, "{event}");
            assert!(event["event"].as_str().is_some_and(|name| names.contains(&name)), "not documented: {event}");
        }
        events
    }

    /// The last event, which is `run-ended` where a run came to its end.
    #[track_caller]
    pub fn ended(&self) -> Value {
        let last = self.documented().pop().unwrap_or_else(|| panic!("no events:\n{self}"));
        assert_eq!(last["event"], "run-ended", "{self}");
        last
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { args, code, stdout, stderr } = self;
        write!(f, "proxmaint {args}: exit code {code}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    over: bool,
}

/// One of the program's outputs, read as it comes.
#[derive(Clone, Default)]
struct Stream(Arc<(Mutex<Said>, Condvar)>);

impl Stream {
    fn read(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let this = self.clone();
        std::thread::spawn(move || {
            let (said, news) = &*this.0;
            for line in BufReader::new(from).split(b'\n') {
                let line = String::from_utf8_lossy(&line.expect("output can be read")).into_owned();
                said.lock().expect("no reader panics").lines.push(line);
                news.notify_all();
            }
            said.lock().expect("no reader panics").over = true;
            news.notify_all();
        })
    }

    fn text(&self) -> String {
        self.0.0.lock().expect("no reader panics").lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Waits for a line; `None` where the output ends without one, or too much time passes.
    fn line(&self, is: impl Fn(&str) -> bool) -> Option<String> {
        let (said, news) = &*self.0;
        let began = Instant::now();
        let mut seen = 0;
        let mut said = said.lock().expect("no reader panics");
        loop {
            if let Some(line) = said.lines[seen..].iter().find(|line| is(line)) {
                return Some(line.clone());
            }
            seen = said.lines.len();
            let left = PATIENCE.saturating_sub(began.elapsed());
            if said.over || left.is_zero() {
                return None;
            }
            said = news.wait_timeout(said, left).expect("no reader panics").0;
        }
    }
}

/// Lines of standard output as they come.
pub struct Lines(Stream);

impl Lines {
    /// The lines from the n-th on.
    pub fn from(&self, n: usize) -> Vec<String> {
        self.0.0.0.lock().expect("no reader panics").lines[n..].to_vec()
    }
}

/// The program at work. Dropping it kills it.
pub struct Working {
    child: Child,
    args: String,
    stdout: Stream,
    stderr: Stream,
    readers: Vec<JoinHandle<()>>,
}

impl Working {
    pub fn start(mut command: Command, args: &[&str]) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (stdout, stderr) = (Stream::default(), Stream::default());
        let readers =
            vec![stdout.read(child.stdout.take().expect("piped")), stderr.read(child.stderr.take().expect("piped"))];
        Self { child, args: args.join(" "), stdout, stderr, readers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an event on standard output (`--output json`).
    #[track_caller]
    pub fn event(&self, is: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
        match self.stdout.line(|line| parse(line).is_some_and(|event| is(&event))) {
            Some(line) => parse(&line).expect("it was parsed before"),
            None => panic!("the event never came\n{}", self.so_far()),
        }
    }

    /// What is on standard output so far, to be looked at again and again.
    pub fn lines(&self) -> Lines {
        Lines(self.stdout.clone())
    }

    fn so_far(&self) -> String {
        format!("proxmaint {}\n--- stdout\n{}--- stderr\n{}---", self.args, self.stdout.text(), self.stderr.text())
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the program is there");
    }

    /// Kills it with SIGKILL and waits until it is gone.
    #[track_caller]
    pub fn kill(mut self) -> Done {
        if let Some(status) = self.child.try_wait().expect("a child's state") {
            panic!("it was over before it could be killed ({status})\n{}", self.so_far());
        }
        self.signal(Signal::KILL);
        self.finish()
    }

    /// Whether it has ended by itself.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child's state").is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Done {
        // Standard error is the last that closes: the program is over, or as good as that.
        if self.stderr.line(|_| false).is_none() && !self.stderr.0.0.lock().expect("no reader panics").over {
            panic!("it does not end\n{}", self.so_far());
        }
        let status = self.child.wait().expect("a child's end");
        for reader in self.readers.drain(..) {
            reader.join().expect("no reader panics");
        }
        Done {
            args: self.args.clone(),
            code: status.code().unwrap_or(-1),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // It is over already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
