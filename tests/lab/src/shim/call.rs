//! One call of a shim: who calls, with what, and the streams of the answer.
//!
//! The caller holds the reading end of a FIFO of its own: when that closes, it was killed, and the work is dropped where it
//! stands, as a real tool's would be.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

use super::quote;
use super::stage::Stage;
use super::tools;
use crate::world::MachineId;

/// What a tool was called with.
#[derive(Debug, Clone)]
pub struct Call {
    /// The machine that it was called on.
    pub machine: MachineId,
    /// The tool's name.
    pub tool: String,
    /// Its arguments, with the paths that the machine itself would see.
    pub args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// The caller's process number.
    pub pid: i32,
}

impl Call {
    /// Returns the user that calls: who logged in, or root under `sudo`.
    pub fn user(&self) -> &str {
        self.env.get("LAB_USER").map_or("root", String::as_str)
    }

    /// Whether the caller is root.
    pub fn is_root(&self) -> bool {
        self.user() == "root"
    }

    /// Returns the user that logged in, whoever the command runs as now.
    pub fn login(&self) -> &str {
        self.env.get("LAB_LOGIN").map_or("root", String::as_str)
    }

    /// Returns the name of the detached job that calls, if it is one.
    pub fn job(&self) -> Option<String> {
        self.env.get("PROXMAINT_JOB").filter(|job| !job.is_empty()).cloned()
    }

    /// Returns the arguments as text slices, for matching.
    pub fn words(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }
}

/// How a call is answered.
#[derive(Debug)]
#[must_use]
pub enum Answer {
    /// The tool ends with this exit status.
    Exit(i32),
    /// The shim becomes this command: a line of shell. Only before anything was written.
    Exec(String),
}

/// Bytes of an answer that are kept back until the tool ends; a longer answer is streamed.
const KEPT: usize = 32 * 1024;

/// The streams of an answer. A stream whose reader is gone swallows what is written.
///
/// What a tool that answers at once prints is kept and told in one go, which spares the shim two processes; a tool that takes its
/// time calls [`Streams::live`] first.
pub struct Streams {
    go: pipe::Sender,
    out: Option<pipe::Sender>,
    err: Option<pipe::Sender>,
    kept_out: String,
    kept_err: String,
    live: bool,
}

impl Streams {
    /// Lets everything from now on be seen as it is written.
    pub async fn live(&mut self) {
        if !self.live {
            self.live = true;
            self.tell("stream\n").await;
            write(&mut self.out, &std::mem::take(&mut self.kept_out)).await;
            write(&mut self.err, &std::mem::take(&mut self.kept_err)).await;
        }
    }

    /// Writes to the tool's standard output.
    pub async fn out(&mut self, text: &str) {
        match self.live {
            true => write(&mut self.out, text).await,
            false => self.kept_out.push_str(text),
        }
        self.keep_bounded().await;
    }

    /// Writes to the tool's standard error.
    pub async fn err(&mut self, text: &str) {
        match self.live {
            true => write(&mut self.err, text).await,
            false => self.kept_err.push_str(text),
        }
        self.keep_bounded().await;
    }

    async fn keep_bounded(&mut self) {
        if self.kept_out.len() + self.kept_err.len() > KEPT {
            self.live().await;
        }
    }

    /// Writes a message to standard error and returns an exit status: how most tools fail.
    pub async fn fail(&mut self, code: i32, message: &str) -> Answer {
        self.err(message).await;
        if !message.ends_with('\n') {
            self.err("\n").await;
        }
        Answer::Exit(code)
    }

    /// Writes to standard output and returns success.
    pub async fn done(&mut self, text: &str) -> Answer {
        self.out(text).await;
        Answer::Exit(0)
    }

    async fn tell(&mut self, word: &str) {
        // A caller that is gone does not hear it, and needs not.
        let _ = self.go.write_all(word.as_bytes()).await;
    }

    /// Lets the shim go on with a line of shell.
    async fn exec(&mut self, script: &Path, line: &str) -> io::Result<()> {
        fs::write(script, format!("{line}\n"))?;
        self.tell("exec\n").await;
        Ok(())
    }

    async fn end(mut self, script: &Path, code: i32) {
        if !self.live {
            let (out, err) = (quote(&self.kept_out), quote(&self.kept_err));
            let line = format!("printf %s {out}; printf %s {err} >&2; exit {code}");
            if self.exec(script, &line).await.is_ok() {
                return;
            }
            self.live().await;
        }
        self.tell(&format!("{code}\n")).await;
    }
}

async fn write(to: &mut Option<pipe::Sender>, text: &str) {
    if let Some(sender) = to
        && sender.write_all(text.as_bytes()).await.is_err()
    {
        *to = None;
    }
}

/// Opens the FIFO on which shims announce themselves.
///
/// # Errors
/// Where it cannot be made.
pub(super) fn open_requests(dir: &Path) -> io::Result<pipe::Receiver> {
    let path = dir.join("requests");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    pipe::OpenOptions::new().read_write(true).open_receiver(path)
}

/// Answers shims until the task is aborted.
pub(super) async fn serve(stage: Arc<Stage>, requests: pipe::Receiver) {
    let mut requests = BufReader::new(requests).lines();
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            line = requests.next_line() => match line {
                Ok(Some(line)) => if let Ok(pid) = line.trim().parse() {
                    calls.spawn(answer(Arc::clone(&stage), pid));
                },
                // Not while this end is open for writing too.
                Ok(None) | Err(_) => return,
            },
            Some(_) = calls.join_next() => {}
        }
    }
}

async fn answer(stage: Arc<Stage>, pid: i32) {
    // A caller that was killed between asking and now is no longer waiting.
    let Ok((watch, call, streams)) = open(&stage, pid) else { return };
    tokio::select! {
        // An error of the watch itself ends the call as well: better a tool cut short than one that nobody can stop.
        _ = watch.ready(Interest::ERROR) => stage.refresh(&call.machine),
        () = work(&stage, &call, streams) => {}
    }
}

async fn work(stage: &Arc<Stage>, call: &Call, mut streams: Streams) {
    let script = script_path(stage, call.pid);
    let answer = tools::run(stage, call, &mut streams).await;
    // First: what the caller looks at next is to be as the tool has left it.
    stage.refresh(&call.machine);
    match answer {
        Answer::Exit(code) => streams.end(&script, code).await,
        Answer::Exec(line) => {
            if let Err(error) = streams.exec(&script, &line).await {
                streams.live().await;
                streams.err(&format!("{}: writing the lab's script: {error}\n", call.tool)).await;
                streams.end(&script, 255).await;
            }
        }
    }
}

/// Where the script of an `exec` is. It stays until the lab ends: only its caller knows when it has been read.
fn script_path(stage: &Stage, pid: i32) -> PathBuf {
    stage.dir().join("c").join(format!("{pid}.sh"))
}

/// Opens the FIFOs of a caller, whose names are not needed any more then, and reads what it asks for. The first sender is never
/// written to: it is how the caller's end is noticed.
fn open(stage: &Stage, pid: i32) -> io::Result<(pipe::Sender, Call, Streams)> {
    let base = stage.dir().join("c").join(pid.to_string());
    let watch = pipe::OpenOptions::new().open_sender(base.with_extension("go"))?;
    let sender = |kind: &str| {
        let path = base.with_extension(kind);
        let sender = pipe::OpenOptions::new().open_sender(&path)?;
        fs::remove_file(path)?;
        io::Result::Ok(sender)
    };
    let (go, out, err) = (sender("go")?, sender("out")?, sender("err")?);
    let call = read_call(stage, pid)?;
    let (out, err) = (Some(out), Some(err));
    let streams = Streams { go, out, err, kept_out: String::new(), kept_err: String::new(), live: false };
    Ok((watch, call, streams))
}

/// Reads who calls and with what from `/proc`: `sh <machine's root>/usr/bin/<tool> arguments...`.
fn read_call(stage: &Stage, pid: i32) -> io::Result<Call> {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline"))?;
    let environ = fs::read(format!("/proc/{pid}/environ"))?;
    let split = |bytes: &[u8]| -> Vec<String> {
        bytes
            .strip_suffix(b"\0")
            .unwrap_or(bytes)
            .split(|b| *b == 0)
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect()
    };
    let mut words = split(&cmdline).into_iter().skip(1);
    let path = words.next().ok_or_else(|| io::Error::other("a shim without a path"))?;
    let (machine, tool) = stage.place_of(&path).ok_or_else(|| io::Error::other(format!("{path} is no shim's path")))?;
    let args = words.map(|word| stage.globalize(&word)).collect();
    let env = split(&environ)
        .into_iter()
        .filter_map(|variable| variable.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect();
    Ok(Call { machine, tool, args, env, pid })
}
