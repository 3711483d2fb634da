//! Carries scripts to VMs by their QEMU guest agent, through the API: no network into the guest and no login is needed.
//!
//! `agent/exec` gives the command to the agent and names its process; `agent/exec-status` is asked until it has ended. The
//! agent runs as root.
//!
//! # How a script gets there
//!
//! As an argument of `/bin/sh -c`, so that its exit status is the command's. `input-data` would do for no more than 64 KiB
//! (65536 characters by the schema), and the script would compete with its own commands for what is read. An argument may
//! be 128 KiB long (the kernel's `MAX_ARG_STRLEN`). What is narrower is the API's web server: it takes a request of at most
//! 64 KiB (read in the source of libpve-http-server-perl up to 5.2.0; later ones are said to take 512 KiB) and writes it
//! anew for the daemon behind it. Our own scripts are some 8 KiB, and a test keeps them below 48. One that would not fit is
//! sent compressed, to a line of shell that unpacks it (shell scripts shrink to a quarter, base64 adds a third: 100 KiB
//! become some 35).
//!
//! # What is kept of the output
//!
//! The agent keeps 16 MiB of either stream and says where that was not all of it. It tells a command's end once: whoever
//! misses that answer finds the command forgotten, which is doubt for what changes something, and no harm for what only
//! looks.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::exec::{At, Exec, ExecLimit, ExecOutput};
use crate::adapters::pve::agent::{AgentCommand, AgentEnd};
use crate::adapters::pve::client::Client;
use crate::adapters::pve::transport::Transport;
use crate::engine::port::{GuestRef, Place};
use crate::ids::GuestKind;
use crate::machine::outcome::{Fault, FaultClass};

/// The longest script that is sent as it is, as JSON writes it: 64 KiB for the whole request, less an eighth for the names
/// around it and for how the node writes it anew.
const PLAIN: usize = 56 * 1024;
/// The longest argument that a kernel hands over, less its final zero.
const ARGUMENT: usize = 128 * 1024 - 1;
/// Runs its first argument, unpacked. base64 and gzip are in coreutils and gzip, which every distribution has in its base,
/// and in busybox.
const UNPACK: &str = r#"script=$(printf %s "$1" | base64 -d | gzip -dc) && [ -n "$script" ] || exit 126
exec /bin/sh -c "$script""#;
/// The first pause before the command is asked about: a script takes some 100 ms, a question 50 to 200.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: a refresh of the package lists of a minute costs some 35 questions.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The way to the VMs of one host by their guest agents.
#[derive(Debug)]
pub struct AgentExec<T> {
    api: Arc<Client<T>>,
}

impl<T: Transport> AgentExec<T> {
    /// Makes the way over a host's API.
    pub fn new(api: Arc<Client<T>>) -> Self {
        Self { api }
    }

    /// Asks for a command until it has ended.
    ///
    /// Asking is harmless, so a question without an answer is asked again until the time is over. What the command did is
    /// unknown wherever its end is.
    async fn end_of(&self, guest: &GuestRef, pid: u64, deadline: Instant) -> Result<AgentEnd, Fault> {
        let mut pause = FIRST_PAUSE;
        let mut hiccup: Option<Fault> = None;
        while Instant::now() < deadline {
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 8 / 5).min(LONGEST_PAUSE);
            let Ok(answer) = timeout_at(deadline, self.api.agent_exec_status(guest, pid)).await else { break };
            match answer {
                Ok(AgentCommand::Running) => hiccup = None,
                Ok(AgentCommand::Ended(end)) => return Ok(end),
                Ok(AgentCommand::Forgotten(text)) => {
                    return Err(Fault::ambiguous(format!(
                        "the guest agent does not know the command any more ({text}): the guest or its agent was started \
                         anew, or the answer that told its end was lost"
                    )));
                }
                Err(fault) if fault.class == FaultClass::Transient => {
                    tracing::debug!(target: "proxmaint::remote", %fault, pid, "asking again for a command of a guest agent");
                    hiccup = Some(fault);
                }
                Err(fault) => return Err(Fault { class: FaultClass::Ambiguous, ..fault }),
            }
        }
        let last = hiccup.map(|fault| format!("; the last answer: {}", fault.what)).unwrap_or_default();
        Err(Fault::ambiguous(format!("the command did not end in time{last}")))
    }
}

#[async_trait]
impl<T: Transport> Exec for AgentExec<T> {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        let Place::Agent(node, id) = place else {
            return Err(Fault::permanent(format!("{} is not reached by a guest agent", At(place))));
        };
        let guest = GuestRef { node: node.clone(), kind: GuestKind::Vm, id: *id };
        let deadline = Instant::now() + limit.timeout;
        let command = command(script)?;
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let Ok(started) = timeout_at(deadline, self.api.agent_exec(&guest, &command)).await else {
            return Err(Fault::ambiguous("no answer in time to whether the guest agent began the command"));
        };
        let end = self.end_of(&guest, started?, deadline).await?;
        let exit = match (end.exit, end.signal) {
            (Some(exit), _) => exit,
            // As a shell tells it.
            (None, Some(signal)) => signal.saturating_add(128),
            (None, None) => {
                return Err(Fault::ambiguous("the guest agent tells of the command's end, but not how it ended"));
            }
        };
        let mut output = ExecOutput { exit, stdout: end.stdout, stderr: end.stderr, truncated: end.truncated };
        for stream in [&mut output.stdout, &mut output.stderr] {
            output.truncated |= stream.len() > limit.max_output;
            stream.truncate(limit.max_output);
        }
        Ok(output)
    }
}

/// Makes the command that runs a script.
fn command(script: &str) -> Result<Vec<String>, Fault> {
    // An argument ends at a zero byte.
    let script = script.replace('\0', "");
    let too_long = |bytes: usize| {
        Fault::permanent(format!("a script of {bytes} bytes is too long for a guest agent"))
            .hint("give a login over SSH for this guest")
    };
    if script.len() > ARGUMENT {
        return Err(too_long(script.len()));
    }
    let shell = |rest: &[&str]| ["/bin/sh", "-c"].iter().chain(rest).map(|word| (*word).to_owned()).collect();
    if json_length(&script) <= PLAIN {
        return Ok(shell(&[&script]));
    }
    let packed = packed(&script).map_err(|error| Fault::permanent(format!("packing a script: {error}")))?;
    if packed.len() > PLAIN {
        return Err(too_long(script.len()));
    }
    Ok(shell(&[UNPACK, "sh", &packed]))
}

/// Returns how long a text is once JSON has written it.
fn json_length(text: &str) -> usize {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        // The node writes what is not ASCII as it is, or escaped.
        c if c.is_control() || !c.is_ascii() => 12,
        _ => 1,
    };
    text.chars().map(escaped).sum()
}

fn packed(script: &str) -> std::io::Result<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(script.as_bytes())?;
    Ok(BASE64.encode(&encoder.finish()?))
}
