//! Running one command on an open connection, with a deadline and bounded memory.
//!
//! When a command ends: a server reports the exit status as soon as the process is gone, and closes the channel once
//! nobody holds its output any more. A background child that inherited stdout holds it for as long as it lives. So once
//! the exit status is known, the rest of the output is waited for only while it keeps coming ([`EXIT_QUIET`]) and for
//! [`EXIT_GRACE`] altogether; then the channel is closed and the output is marked as held open.

use std::time::Duration;

use async_ssh2_tokio::Error as ClientError;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::SshError;

/// How long output may pause after the exit status came before the channel is closed: what is left then is in the pipe
/// already (64 KiB), so a round trip would do; 2 s cover a slow link.
pub const EXIT_QUIET: Duration = Duration::from_secs(2);

/// How long a background child that keeps writing is listened to after the exit status came: five quiet periods.
pub const EXIT_GRACE: Duration = Duration::from_secs(10);

/// The bounds of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecLimits {
    /// From opening the channel to the exit status; waiting for a connection or a free channel is not part of it.
    pub timeout: Duration,
    /// Bytes kept of stdout, and as many of stderr. What is beyond is read, counted and dropped.
    pub max_output: usize,
}

impl Default for ExecLimits {
    /// A minute, enough for any look at a machine that answers; 1 MiB of each stream.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), max_output: 1 << 20 }
    }
}

/// What a command that ran to its end left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit status.
    pub exit: i32,
    /// Its output, up to the limit.
    pub stdout: Vec<u8>,
    /// Its error output, up to the limit.
    pub stderr: Vec<u8>,
    /// Bytes of either stream beyond the limit, which were dropped.
    pub dropped: u64,
    /// Whether something that the command left running held its output open: what it writes later is missing, and it is
    /// sent SIGPIPE for writing. What is to live on must have its output elsewhere.
    pub held_open: bool,
}

impl ExecOutput {
    /// Returns whether all output is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.dropped == 0 && !self.held_open
    }
}

/// Runs a command on a channel that `open` opens on the connection to `address`.
pub(super) async fn run(
    open: impl Future<Output = Result<Channel<Msg>, ClientError>>,
    address: &str,
    command: &str,
    limits: ExecLimits,
) -> Result<ExecOutput, SshError> {
    let deadline = Instant::now() + limits.timeout;
    let not_sent = |reason: String| SshError::NotSent { address: address.to_owned(), reason };
    let channel = match timeout_at(deadline, open).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(ClientError::SshError(russh::Error::ChannelOpenFailure(why)))) => {
            return Err(not_sent(format!("the server opens no further channel ({why:?})")));
        }
        Ok(Err(error)) => return Err(not_sent(format!("the connection is lost ({error})"))),
        Err(_) => return Err(not_sent(format!("no channel within {} s", limits.timeout.as_secs_f32()))),
    };
    let (mut messages, writer) = channel.split();
    let mut writer = CloseOnDrop(Some(writer));
    // An error here means that the connection's task is gone and the request was not even queued.
    writer.start(command).await.map_err(|error| not_sent(format!("the connection is lost ({error})")))?;
    // From here on the command may have run.
    let result = follow(&mut messages, address, limits, deadline).await;
    writer.close().await;
    result
}

/// Takes what the channel brings until the command has ended or its outcome is lost.
async fn follow(
    messages: &mut ChannelReadHalf,
    address: &str,
    limits: ExecLimits,
    deadline: Instant,
) -> Result<ExecOutput, SshError> {
    let mut progress = Progress::new(limits.max_output);
    loop {
        let message = match timeout_at(progress.listen_until(deadline), messages.wait()).await {
            Ok(message) => message,
            Err(_) => match progress.exit {
                Some(exit) => return Ok(progress.into_output(exit, true)),
                None => return Err(SshError::Deadline { address: address.to_owned(), after: limits.timeout }),
            },
        };
        match progress.take(message) {
            Step::On => {}
            Step::Ended(exit) => return Ok(progress.into_output(exit, false)),
            Step::Refused => {
                let reason = "the server would not start the command".to_owned();
                return Err(SshError::Refused { address: address.to_owned(), reason });
            }
            Step::Lost(how) => return Err(SshError::Lost { address: address.to_owned(), how }),
        }
    }
}

/// What a message of the channel means for the command.
#[must_use]
enum Step {
    On,
    Ended(i32),
    Refused,
    Lost(String),
}

/// What has come of a command so far.
struct Progress {
    max_output: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped: u64,
    exit: Option<i32>,
    exited: Option<Instant>,
    last_output: Instant,
}

impl Progress {
    fn new(max_output: usize) -> Self {
        let (stdout, stderr) = (Vec::new(), Vec::new());
        Self { max_output, stdout, stderr, dropped: 0, exit: None, exited: None, last_output: Instant::now() }
    }

    /// Returns until when to wait for the next message.
    fn listen_until(&self, deadline: Instant) -> Instant {
        match self.exited {
            None => deadline,
            Some(exited) => (exited.max(self.last_output) + EXIT_QUIET).min(exited + EXIT_GRACE),
        }
    }

    fn take(&mut self, message: Option<ChannelMsg>) -> Step {
        match message {
            Some(ChannelMsg::Data { data }) => {
                self.last_output = Instant::now();
                self.dropped += keep(&mut self.stdout, &data, self.max_output);
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                self.last_output = Instant::now();
                self.dropped += keep(&mut self.stderr, &data, self.max_output);
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                self.exit = Some(i32::try_from(exit_status).unwrap_or(i32::MAX));
                self.exited = Some(Instant::now());
            }
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                return Step::Lost(format!("the command was killed by signal {signal_name:?}"));
            }
            Some(ChannelMsg::Failure) if self.exit.is_none() => return Step::Refused,
            Some(ChannelMsg::Close) => return self.end("the server closed the channel without an exit status"),
            None => return self.end("the connection was lost before the exit status came"),
            // End of output comes before or after the exit status: only the latter, or a close, ends the command.
            Some(_) => {}
        }
        Step::On
    }

    fn end(&self, otherwise: &str) -> Step {
        match self.exit {
            Some(exit) => Step::Ended(exit),
            None => Step::Lost(otherwise.to_owned()),
        }
    }

    fn into_output(self, exit: i32, held_open: bool) -> ExecOutput {
        ExecOutput { exit, stdout: self.stdout, stderr: self.stderr, dropped: self.dropped, held_open }
    }
}

/// Appends what fits and returns how many bytes did not.
fn keep(kept: &mut Vec<u8>, data: &[u8], max: usize) -> u64 {
    let room = max.saturating_sub(kept.len()).min(data.len());
    kept.extend_from_slice(&data[..room]);
    (data.len() - room) as u64
}

/// Closes the channel however the wait for it ends, a cancelled future included: a channel left open would take up one
/// of the few that the server grants for as long as the command lives.
struct CloseOnDrop(Option<ChannelWriteHalf<Msg>>);

impl CloseOnDrop {
    async fn start(&self, command: &str) -> Result<(), russh::Error> {
        match &self.0 {
            Some(writer) => {
                writer.exec(true, command).await?;
                // Nothing is ever typed: a command that reads its input sees the end of it. Should the connection be
                // lost at this very moment, the wait that follows says so.
                let _ = writer.eof().await;
                Ok(())
            }
            None => Err(russh::Error::SendError),
        }
    }
}

impl CloseOnDrop {
    /// Closes it now: whoever opens the next channel on this connection then comes behind the close, not before it.
    async fn close(&mut self) {
        if let Some(writer) = &self.0
            && let Ok(closed) = timeout(EXIT_QUIET, writer.close()).await
        {
            // On a lost connection there is nothing to close.
            drop(closed);
            self.0 = None;
        }
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                // On a lost connection there is nothing to close.
                let _ = writer.close().await;
            });
        }
    }
}
