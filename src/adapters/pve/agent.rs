//! The guest agent of a VM: what it is asked, and the different ways in which it does not answer.
//!
//! Proxmox VE tells them apart by words only: before it hands a command over it looks whether the config enables an agent,
//! whether the VM runs, and whether the agent answers a ping within 3 s; what the agent itself objects to comes as `Agent
//! error: ..`; an agent that took the command and did not answer within 5 s is `failed - got timeout`. That the agent does
//! not answer *yet* is not among it: that is told by how long the VM has been up.

use std::time::Duration;

use serde_json::Value;

use super::client::{Client, data_of, guest_call, unexpected};
use super::fault;
use super::fields::Fields;
use super::guests;
use super::transport::{Answer, ApiCall, Method, Transport};
use crate::engine::port::{AgentState, GuestRef, Interface};
use crate::ids::GuestKind;
use crate::machine::outcome::{Fault, FaultClass};

/// How long after a VM's start its agent may be on its way: two minutes, as long as a slow guest was seen to need.
const READY: Duration = Duration::from_secs(120);

/// How a command is getting on that was given to a guest agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentCommand {
    /// It is at work.
    Running,
    /// It ended.
    Ended(AgentEnd),
    /// The agent does not know it; the API's words. The guest or its agent was started anew, or the answer that told its end
    /// did not come through: that one is given once.
    Forgotten(String),
}

/// How a command of a guest agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEnd {
    /// Its exit status, where it ended by itself.
    pub exit: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it printed to stderr.
    pub stderr: Vec<u8>,
    /// Whether the agent threw away a part of either (it keeps 16 MiB).
    pub truncated: bool,
}

impl<T: Transport> Client<T> {
    /// Runs a command in a VM by its agent (`POST .../agent/exec`), as root and without standard input; returns its process
    /// number there. `VM.GuestAgent.Unrestricted`, before Proxmox VE 9 `VM.Monitor`.
    ///
    /// # Errors
    /// Of class `Ambiguous` where the command may have been started; any other says that it was not: `Transient` where the
    /// agent does not answer (yet) or its file systems are frozen, `Permanent` where it is not configured, the VM is off,
    /// the agent may not run commands, or there is no such program.
    pub async fn agent_exec(&self, guest: &GuestRef, command: &[&str]) -> Result<u64, Fault> {
        let call = agent_call(Method::Post, guest, "exec")?;
        let call = command.iter().fold(call, |call, word| call.with("command", *word));
        let answer = self.ask(&call).await?;
        if let Some(refusal) = Refusal::of(&answer) {
            return Err(refused(self, &call, guest, refusal, &answer).await);
        }
        let data = exec_data(&call, answer)?;
        Fields::of(&data).and_then(|f| f.number("pid")).ok_or_else(|| unexpected(&call, "a process number", &data))
    }

    /// Asks how a command is getting on (`GET .../agent/exec-status`).
    ///
    /// # Errors
    /// Any of class `Transient` may go away: the agent does not answer, or the API does not. None says anything about the
    /// command.
    pub async fn agent_exec_status(&self, guest: &GuestRef, pid: u64) -> Result<AgentCommand, Fault> {
        let call = agent_call(Method::Get, guest, "exec-status")?.with("pid", pid.to_string());
        let answer = self.ask(&call).await?;
        match Refusal::of(&answer) {
            Some(Refusal::UnknownPid) => return Ok(AgentCommand::Forgotten(fault::error_text(&answer))),
            Some(refusal) => return Err(refused(self, &call, guest, refusal, &answer).await),
            None => {}
        }
        let data = exec_data(&call, answer)?;
        let status = Fields::of(&data).ok_or_else(|| unexpected(&call, "a command's status", &data))?;
        let exited = status.flag("exited").ok_or_else(|| unexpected(&call, "whether the command exited", &data))?;
        if !exited {
            return Ok(AgentCommand::Running);
        }
        // An exit status is 32 bits; Windows writes its own as unsigned ones, which nothing here runs on.
        let code = |name: &str| status.number(name).and_then(|code| i32::try_from(code).ok());
        let is_cut = |name: &str| status.flag(name).unwrap_or(false);
        Ok(AgentCommand::Ended(AgentEnd {
            exit: code("exitcode"),
            signal: code("signal"),
            stdout: bytes(&status.text("out-data").unwrap_or_default()),
            stderr: bytes(&status.text("err-data").unwrap_or_default()),
            truncated: is_cut("out-truncated") || is_cut("err-truncated"),
        }))
    }
}

pub(super) async fn agent<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Result<AgentState, Fault> {
    let call = agent_call(Method::Post, guest, "ping")?;
    let answer = api.ask(&call).await?;
    Ok(match Refusal::of(&answer) {
        None => {
            data_of(&call, answer)?;
            AgentState::Up
        }
        Some(Refusal::NotConfigured) => AgentState::NotConfigured,
        Some(Refusal::NotRunning) => match Down::of(api, guest).await {
            Down::NotEnabled => AgentState::NotConfigured,
            down => AgentState::NotRunning(down.text(guest)),
        },
        Some(refusal) if refusal.is_down() => AgentState::NotRunning(fault::error_text(&answer)),
        Some(refusal) => return Err(refused(api, &call, guest, refusal, &answer).await),
    })
}

pub(super) async fn interfaces<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Result<Vec<Interface>, Fault> {
    let call = agent_call(Method::Get, guest, "network-get-interfaces")?;
    let answer = api.ask(&call).await?;
    if Refusal::of(&answer).is_some_and(Refusal::is_down) {
        return Ok(Vec::new());
    }
    let data = data_of(&call, answer)?;
    let list = Fields::of(&data).ok_or_else(|| unexpected(&call, "interfaces", &data))?.list("result");
    Ok(guests::read_interfaces(&call, list))
}

/// Makes a call below `/nodes/{node}/qemu/{vmid}/agent`.
fn agent_call(method: Method, guest: &GuestRef, what: &str) -> Result<ApiCall, Fault> {
    if guest.kind != GuestKind::Vm {
        return Err(Fault::permanent(format!(
            "asking {} {} for its guest agent: only a VM has one",
            guest.kind, guest.id
        )));
    }
    guest_call(method, guest, &["agent", what])
}

/// Takes `data` out of an answer about a command; a missing privilege is named for either generation of Proxmox VE.
fn exec_data(call: &ApiCall, answer: Answer) -> Result<Value, Fault> {
    let denied = answer.status == 403;
    data_of(call, answer).map_err(|fault| match fault.hint {
        Some(hint) if denied => {
            let both =
                "running commands by a guest agent takes VM.GuestAgent.Unrestricted, before Proxmox VE 9 VM.Monitor";
            Fault { hint: Some(format!("{hint}; {both}")), ..fault }
        }
        _ => fault,
    })
}

/// Why an agent did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The config enables none.
    NotConfigured,
    /// The VM is off.
    VmOff,
    /// It does not answer a ping: not installed, not started, not ready yet, or started anew just now.
    NotRunning,
    /// Its socket is taken by another who talks with it; nothing was handed over.
    Busy,
    /// It took the request and did not answer in time.
    Unanswered,
    /// The guest's file systems are frozen: it does nothing else meanwhile.
    Frozen,
    /// The guest's administrator does not let it run commands.
    Disabled,
    /// It could not run the program.
    NotStarted,
    /// It does not know that process.
    UnknownPid,
}

impl Refusal {
    /// Reads an answer; `None` where it is none of these.
    fn of(answer: &Answer) -> Option<Self> {
        if answer.status != 500 {
            return None;
        }
        let text = fault::error_text(answer).to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().all(|part| text.contains(part));
        // In the order of the most telling words: what the agent objects to can hold any of the others.
        let told = [
            (&["has been disabled", "frozen"][..], Self::Frozen),
            (&["guest-exec", "has been disabled"], Self::Disabled),
            (&["guest-exec", "has not been found"], Self::Disabled),
            (&["failed to execute"], Self::NotStarted),
            (&["invalid parameter", "pid"], Self::UnknownPid),
            (&["agent error", "pid", "does not exist"], Self::UnknownPid),
            (&["no qemu guest agent configured"], Self::NotConfigured),
            (&["guest agent is not enabled"], Self::NotConfigured),
            (&["unable to connect to vm"], Self::Busy),
            (&["guest-ping", "failed"], Self::NotRunning),
            (&["guest agent", "not running"], Self::NotRunning),
            (&["guest agent", "not ready"], Self::NotRunning),
            (&["command 'guest-", "failed - "], Self::Unanswered),
            (&["vm ", " not running"], Self::VmOff),
        ];
        told.into_iter().find_map(|(parts, refusal)| has(parts).then_some(refusal))
    }

    /// Whether there is nobody to answer at present.
    fn is_down(self) -> bool {
        matches!(self, Self::NotConfigured | Self::VmOff | Self::NotRunning | Self::Busy | Self::Unanswered)
    }
}

/// What is behind an agent that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    /// The config mentions it, but does not enable it (`agent: 0`).
    NotEnabled,
    /// The VM was started this many seconds ago: it may be on its way.
    Booting(u64),
    /// It does not run in the guest.
    NotRunning,
    /// The VM could not be asked about.
    NotTold,
}

impl Down {
    /// Looks at the VM (`GET .../status/current`; `VM.Audit`).
    async fn of<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Self {
        let status = match guest_call(Method::Get, guest, &["status", "current"]) {
            Ok(call) => api.data(&call).await,
            Err(fault) => Err(fault),
        };
        let status = status.inspect_err(|fault| {
            // What is asked for here only makes a refusal's words better; the refusal stays.
            tracing::debug!(target: "proxmaint::pve", %fault, "no state of a VM whose agent does not answer");
        });
        let Some(status) = status.as_ref().ok().and_then(Fields::of) else { return Self::NotTold };
        match status.number("uptime") {
            _ if !status.flag("agent").unwrap_or(false) => Self::NotEnabled,
            Some(up) if up < READY.as_secs() => Self::Booting(up),
            _ => Self::NotRunning,
        }
    }

    /// Says so.
    fn text(self, guest: &GuestRef) -> String {
        let id = guest.id;
        match self {
            Self::NotEnabled => format!("the config of VM {id} does not enable a guest agent"),
            Self::Booting(up) => format!("the guest agent of VM {id} is not ready yet: the VM was started {up} s ago"),
            Self::NotRunning | Self::NotTold => {
                format!("a guest agent is enabled for VM {id}, but none is running in it")
            }
        }
    }
}

/// Makes the fault of a refusal.
async fn refused<T: Transport>(
    api: &Client<T>,
    call: &ApiCall,
    guest: &GuestRef,
    refusal: Refusal,
    answer: &Answer,
) -> Fault {
    let id = guest.id;
    let enable = format!(
        "enable it (`qm set {id} --agent enabled=1` on the node), install qemu-guest-agent in the guest, then shut the VM \
         down and start it again: the agent's device comes with a start"
    );
    let start = "install and start qemu-guest-agent in the guest; where the agent was enabled while the VM ran, shut the VM \
                 down and start it again";
    let (class, what, hint) = match refusal {
        Refusal::NotConfigured => {
            (FaultClass::Permanent, format!("the config of VM {id} enables no guest agent"), Some(enable))
        }
        Refusal::VmOff => (FaultClass::Permanent, format!("VM {id} is not running"), None),
        Refusal::NotRunning => match Down::of(api, guest).await {
            down @ Down::NotEnabled => (FaultClass::Permanent, down.text(guest), Some(enable)),
            down @ Down::Booting(_) => (
                FaultClass::Transient,
                down.text(guest),
                Some(format!("an agent may need {} s after a start", READY.as_secs())),
            ),
            // An upgrade of its own package restarts it: it is asked again before it is given up.
            down => (FaultClass::Transient, down.text(guest), Some(start.to_owned())),
        },
        Refusal::Busy => {
            (FaultClass::Transient, format!("the guest agent of VM {id} is busy with another request"), None)
        }
        Refusal::Unanswered if call.method.changes() => (
            FaultClass::Ambiguous,
            format!("the guest agent of VM {id} took the request and did not answer in time"),
            None,
        ),
        Refusal::Unanswered => {
            (FaultClass::Transient, format!("the guest agent of VM {id} did not answer in time"), None)
        }
        Refusal::Frozen => (
            FaultClass::Transient,
            format!("the guest agent of VM {id} runs nothing while the guest's file systems are frozen"),
            Some("a backup or snapshot freezes them for some seconds; where it died, `qm guest cmd VMID fsfreeze-thaw` thaws them".to_owned()),
        ),
        Refusal::Disabled => (
            FaultClass::Permanent,
            format!("the guest agent of VM {id} answers, but may not run commands: guest-exec is disabled in the guest"),
            Some(
                "allow guest-exec in the guest (FILTER_RPC_ARGS or BLACKLIST_RPC in /etc/sysconfig/qemu-ga of RHEL and its \
                 kin, block-rpcs in /etc/qemu/qemu-ga.conf elsewhere) and restart the agent, or give a login over SSH"
                    .to_owned(),
            ),
        ),
        Refusal::NotStarted => (
            FaultClass::Permanent,
            format!("the guest agent of VM {id} could not run the command"),
            Some("a POSIX shell at /bin/sh is needed there".to_owned()),
        ),
        Refusal::UnknownPid => {
            (FaultClass::Permanent, format!("the guest agent of VM {id} does not know the command"), None)
        }
    };
    let fault = Fault::new(class, format!("{what} (api call {call} answered: {})", fault::error_text(answer)));
    match hint {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

/// Takes a command's output back to the bytes that it was. Proxmox VE decodes the agent's base64 and writes each byte as a
/// character of its own, so that `é` arrives as `Ã©`; a release that decodes the text as well would be left as it is.
fn bytes(text: &str) -> Vec<u8> {
    let narrow: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match narrow {
        Some(narrow) if std::str::from_utf8(&narrow).is_ok() => narrow,
        _ => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_not_answering_is_told_apart() {
        let told = |text: &str| Refusal::of(&Answer { status: 500, reason: text.to_owned(), body: Value::Null });
        for (text, refusal) in [
            ("No QEMU guest agent configured", Refusal::NotConfigured),
            ("QEMU guest agent is not running", Refusal::NotRunning),
            ("VM 201 is not running", Refusal::VmOff),
            ("VM 201 qga command 'guest-ping' failed - got timeout", Refusal::NotRunning),
            ("VM 201 qmp command 'guest-exec' failed - got timeout", Refusal::Unanswered),
            ("VM 201 qga command 'guest-exec-status' failed - got timeout", Refusal::Unanswered),
            ("VM 201 qmp command 'guest-exec' failed - client closed connection", Refusal::Unanswered),
            (
                "VM 201 qmp command 'guest-exec' failed - unable to connect to VM 201 qga socket - timeout after 31 retries",
                Refusal::Busy,
            ),
            ("Agent error: guest-exec has been disabled", Refusal::Disabled),
            ("Agent error: Command guest-exec has been disabled", Refusal::Disabled),
            ("Agent error: The command guest-exec has been disabled for this instance", Refusal::Disabled),
            ("Agent error: Command guest-exec has been disabled: the command is not allowed", Refusal::Disabled),
            ("Agent error: The command guest-exec has not been found", Refusal::Disabled),
            ("Agent error: Command guest-exec has been disabled: the agent is in frozen state", Refusal::Frozen),
            (
                "Agent error: Guest agent command failed, error was 'Failed to execute child process “/bin/sh” (No such file or directory)'",
                Refusal::NotStarted,
            ),
            ("Agent error: Invalid parameter 'pid'", Refusal::UnknownPid),
            ("Agent error: PID 284 does not exist", Refusal::UnknownPid),
        ] {
            assert_eq!(told(text), Some(refusal), "{text}");
        }
        assert_eq!(told("Configuration file 'nodes/pve1/qemu-server/9.conf' does not exist"), None);
        let denied = Answer { status: 403, reason: "QEMU guest agent is not running".to_owned(), body: Value::Null };
        assert_eq!(Refusal::of(&denied), None, "only a 500 is the agent's");
    }

    #[test]
    fn output_is_the_bytes_that_it_was() {
        let written: String = "grün → ok\n".bytes().map(char::from).collect();
        assert_eq!(bytes(&written), "grün → ok\n".as_bytes());
        assert_eq!(bytes("grün → ok"), "grün → ok".as_bytes(), "one that was decoded already");
        assert_eq!(bytes("ü"), "ü".as_bytes(), "no byte of its own");
        assert_eq!(bytes("plain"), b"plain");
    }
}
