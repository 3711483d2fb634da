//! One session channel: a command, its streams and how it ended.
//!
//! As with OpenSSH's sshd: the exit status is sent when the command ends, the channel is closed when all that hold its
//! output have let go of it (a background child that keeps stdout delays that), and a client that goes away kills
//! nothing: the command runs on, with nobody at the other end of its pipes.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, watch};

use super::gate::Gate;
use super::server::Shared;
use super::{Login, Trouble, lock};

/// Messages of input that may wait for a command that does not read.
const INPUT_QUEUE: usize = 1024;

/// One of the sessions that a connection may have open; given back when dropped.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    pub(super) fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves a session channel: waits for what to run, runs it, closes.
pub(super) async fn serve(
    shared: Arc<Shared>,
    login: Login,
    gate: watch::Sender<Gate>,
    handle: Handle,
    channel: Channel<Msg>,
    slot: Slot,
) {
    let (mut requests, output) = channel.split();
    let command = loop {
        match requests.wait().await {
            Some(ChannelMsg::Exec { command, .. }) => break String::from_utf8_lossy(&command).into_owned(),
            // A shell without a terminal reads its commands from the channel.
            Some(ChannelMsg::RequestShell { .. }) => break "exec /bin/sh".to_owned(),
            Some(ChannelMsg::Close) | None => return,
            Some(_) => {}
        }
    };
    lock(&shared.stats).remember(&command);
    let trouble = shared.commands.trouble(&command);
    let cut = || {
        lock(&shared.stats).cuts += 1;
        gate.send_replace(Gate::Cut);
    };
    match trouble {
        Some(Trouble::CutBefore) => return cut(),
        Some(Trouble::Late(by)) => tokio::time::sleep(by).await,
        Some(Trouble::CutAfter(_) | Trouble::CutAtEnd) | None => {}
    }
    let mut child = match shared.commands.spawn(&login, &command) {
        Ok(child) => child,
        Err(error) => {
            let words = format!("{}: starting the command: {error}\n", shared.name);
            let _ = output.extended_data_bytes(1, words).await;
            let _ = output.exit_status(255).await;
            let _ = output.close().await;
            return;
        }
    };
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let output = Arc::new(output);
    // Input is its own task: it ends when the client closes the channel, and must not hold up the command's end.
    let mut input = tokio::spawn(feed(requests, stdin, group));
    let pumps = async {
        let both = async {
            tokio::join!(
                pump(stdout, |bytes| output.data_bytes(bytes)),
                pump(stderr, |bytes| output.extended_data_bytes(1, bytes))
            );
        };
        // A client that is gone grants no more window: its command's pipes are closed, and it gets SIGPIPE if it still writes.
        tokio::select! {
            () = both => {}
            _ = &mut input => {}
        }
    };
    let ended = async {
        let status = child.wait().await;
        if trouble == Some(Trouble::CutAtEnd) {
            cut();
        } else {
            tell(&handle, &output, status).await;
        }
    };
    let whole = async { tokio::join!(pumps, ended) };
    let scissors = async {
        if let Some(Trouble::CutAfter(after)) = trouble {
            tokio::time::sleep(after).await;
            cut();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = whole => {}
        () = scissors => {}
    }
    drop(child);
    drop(slot);
    let _ = output.eof().await;
    let _ = output.close().await;
    input.abort();
}

/// Copies one output of the command to the channel until all writers have closed it or the channel is gone.
async fn pump<S, F>(from: Option<impl AsyncRead + Unpin>, send: S)
where
    S: Fn(Bytes) -> F,
    F: Future<Output = Result<(), russh::Error>>,
{
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(read) if read > 0 => {
                if send(Bytes::copy_from_slice(&buffer[..read])).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Hands the client's input to the command until end of file, and its signals to the command's process group.
async fn feed(mut requests: ChannelReadHalf, stdin: Option<ChildStdin>, group: Option<Pid>) {
    let (queue, queued) = mpsc::channel(INPUT_QUEUE);
    let writing = tokio::spawn(write_input(stdin, queued));
    let mut queue = Some(queue);
    loop {
        match requests.wait().await {
            Some(ChannelMsg::Data { data }) => {
                // A command that has closed its input gets no more of it, and nobody is told, as with a real pipe.
                if let Some(open) = &queue
                    && open.send(data).await.is_err()
                {
                    queue = None;
                }
            }
            Some(ChannelMsg::Eof) => queue = None,
            Some(ChannelMsg::Signal { signal }) => {
                if let (Some(group), Some(signal)) = (group, to_signal(&signal)) {
                    let _ = kill_process_group(group, signal);
                }
            }
            Some(ChannelMsg::Close) | None => break,
            Some(_) => {}
        }
    }
    drop(queue);
    let _ = writing.await;
}

async fn write_input(stdin: Option<ChildStdin>, mut queued: mpsc::Receiver<Bytes>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(data) = queued.recv().await {
        if stdin.write_all(&data).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Tells the client how the command ended.
async fn tell(handle: &Handle, output: &ChannelWriteHalf<Msg>, status: std::io::Result<ExitStatus>) {
    let Ok(status) = status else { return };
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            let _ = output.exit_status(code.cast_unsigned()).await;
        }
        (None, Some(signal)) => {
            let name = from_signal(signal);
            let _ =
                handle.exit_signal_request(output.id(), name, status.core_dumped(), String::new(), String::new()).await;
        }
        (None, None) => {}
    }
}

fn to_signal(signal: &Sig) -> Option<Signal> {
    Some(match signal {
        Sig::HUP => Signal::HUP,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::QUIT => Signal::QUIT,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        _ => return None,
    })
}

fn from_signal(signal: i32) -> Sig {
    match signal {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("SIG{other}")),
    }
}
