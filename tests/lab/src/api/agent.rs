//! The guest agent of a VM: three different ways of not answering, and a command that runs while it is asked about.
//!
//! The world does not run commands. `agent/exec` only notes them; a transport takes them with [`World::take_agent_exec`], runs
//! them, and says with [`World::finish_agent_exec`] how they ended.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use super::guest::{Link, links};
use crate::ledger::{Act, Outcome};
use crate::world::{Agent, AgentExec, AgentTraits, ExecResult, Guest, Kind, MachineId, World};

/// Commands that an agent remembers.
const REMEMBERED: usize = 500;
/// Bytes that a real agent keeps of a command's output, and as many of its errors.
const KEPT: usize = 16 << 20;

/// Tells whether the config of a VM has its agent enabled (`agent`: `1`, `enabled=1`, `1,fstrim_cloned_disks=1`).
pub(crate) fn configured(guest: &Guest) -> bool {
    let text = match guest.config.get("agent") {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => return false,
    };
    text.split(',').any(|part| matches!(part, "1" | "enabled=1"))
}

/// Returns the guest of the path whose agent answers, or says how it does not.
fn answering<'a>(call: &'a mut Call<'_>) -> Result<&'a Guest, Failure> {
    let guest = call.guest()?;
    // The real one asks whether the config mentions an agent, not whether it enables one.
    if !guest.config.contains_key("agent") {
        return Err(Failure::text("No QEMU guest agent configured"));
    }
    if !guest.running() {
        return Err(Failure::text(format!("VM {} is not running", guest.vmid)));
    }
    let up = configured(guest) && matches!(guest.agent, Agent::From(at) if at <= call.now());
    if !up {
        call.delay_ms = call.world.durations.agent_timeout;
        return Err(Failure::text("QEMU guest agent is not running"));
    }
    call.guest()
}

/// `POST .../agent/ping`
pub(crate) fn ping(call: &mut Call<'_>) -> Result<Value, Failure> {
    answering(call)?;
    Ok(json!({ "result": {} }))
}

/// `GET .../agent/get-osinfo`
pub(crate) fn osinfo(call: &mut Call<'_>) -> Result<Value, Failure> {
    let machine = &answering(call)?.machine;
    let os = machine.os;
    let mut info = json!({
        "id": os.id(), "name": os.name(), "pretty-name": os.pretty_name(), "version-id": os.version_id(),
        "machine": "x86_64", "kernel-release": machine.kernel_running, "kernel-version": "#1 SMP PREEMPT_DYNAMIC",
    });
    if let Some(codename) = os.codename() {
        info["version"] = format!("{} ({codename})", os.version_id()).into();
    }
    Ok(json!({ "result": info }))
}

/// `GET .../agent/network-get-interfaces`: the loopback and, with docker, its bridges come along, as they do.
pub(crate) fn interfaces(call: &mut Call<'_>) -> Result<Value, Failure> {
    let interface = |link: Link| {
        let address = |(ip, prefix): &(String, u8)| {
            let kind = if ip.contains(':') { "ipv6" } else { "ipv4" };
            json!({ "ip-address": ip, "ip-address-type": kind, "prefix": prefix })
        };
        json!({
            "name": link.name, "hardware-address": link.mac,
            "ip-addresses": link.addresses.iter().map(address).collect::<Vec<_>>(),
            "statistics": {
                "rx-bytes": 0, "rx-packets": 0, "rx-errs": 0, "rx-dropped": 0,
                "tx-bytes": 0, "tx-packets": 0, "tx-errs": 0, "tx-dropped": 0,
            },
        })
    };
    let found: Vec<Value> = links(answering(call)?).into_iter().map(interface).collect();
    Ok(json!({ "result": found }))
}

/// `POST .../agent/exec`
pub(crate) fn exec(call: &mut Call<'_>) -> Result<Value, Failure> {
    may_run(&answering(call)?.agent_traits)?;
    let command: Vec<String> = call
        .params
        .get("command")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let input = call.opt("input-data").map(str::to_owned);
    let (id, now, by) = (call.guest_id()?, call.now(), call.asker());
    Ok(json!({ "pid": call.world.agent_exec(now, &id, command, input, &by.to_string()) }))
}

/// Says why an agent runs no commands, where it does not.
fn may_run(traits: &AgentTraits) -> Result<(), Failure> {
    let why = match traits {
        AgentTraits { exec_disabled: true, .. } => "the command is not allowed",
        AgentTraits { frozen: true, .. } => "the agent is in frozen state",
        _ => return Ok(()),
    };
    Err(Failure::text(format!("Agent error: Command guest-exec has been disabled: {why}")))
}

/// `GET .../agent/exec-status`
pub(crate) fn exec_status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let pid = call.int("pid").and_then(|pid| u32::try_from(pid).ok());
    let guest = answering(call)?;
    let exec = guest.agent_execs.iter().find(|e| Some(e.pid) == pid);
    let exec = exec.ok_or_else(|| Failure::text("Agent error: Invalid parameter 'pid'"))?;
    let Some(result) = &exec.result else { return Ok(json!({ "exited": 0 })) };
    let mut answer = match result.signal {
        Some(signal) => json!({ "exited": 1, "signal": signal }),
        None => json!({ "exited": 1, "exitcode": result.exit }),
    };
    let keeps = guest.agent_traits.keeps.unwrap_or(KEPT);
    for (name, text) in [("out", &result.out), ("err", &result.err)] {
        if !text.is_empty() {
            // The real one decodes the agent's base64 and takes each byte for a character.
            let kept: String = text.bytes().take(keeps).map(char::from).collect();
            answer[format!("{name}-data")] = kept.into();
            answer[format!("{name}-truncated")] = u8::from(text.len() > keeps).into();
        }
    }
    // An agent tells the end of a command once.
    let told = exec.pid;
    let id = call.guest_id()?;
    if let Some(guest) = call.world.guest_mut(&id) {
        guest.agent_execs.retain(|e| e.pid != told);
    }
    Ok(answer)
}

impl World {
    /// Notes a command for a VM's agent; returns its process number.
    pub(crate) fn agent_exec(
        &mut self,
        now: u64,
        id: &MachineId,
        command: Vec<String>,
        input: Option<String>,
        by: &str,
    ) -> u32 {
        self.record(now, id, Act::AgentExec, Some(command.join(" ")), by, Outcome::Begun);
        let Some(guest) = self.guest_mut(id) else { return 0 };
        if guest.agent_execs.len() >= REMEMBERED {
            guest.agent_execs.remove(0);
        }
        guest.agent_pids += 1;
        let pid = 280 + 4 * guest.agent_pids;
        guest.agent_execs.push(AgentExec { pid, command, input, taken: false, result: None });
        pid
    }

    /// Takes the next command that was given to the agent of a VM, for a transport to run. Each is taken once.
    pub fn take_agent_exec(&mut self) -> Option<(MachineId, AgentExec)> {
        for realm in self.realms.values_mut() {
            for guest in realm.guests.values_mut().filter(|g| g.kind == Kind::Vm) {
                if let Some(exec) = guest.agent_execs.iter_mut().find(|e| !e.taken) {
                    exec.taken = true;
                    return Some((MachineId::guest(&realm.name, guest.vmid), exec.clone()));
                }
            }
        }
        None
    }

    /// Says how a command of an agent ended. Nothing happens where the guest was booted since.
    pub fn finish_agent_exec(&mut self, id: &MachineId, pid: u32, result: ExecResult) {
        let exec = self.guest_mut(id).and_then(|g| g.agent_execs.iter_mut().find(|e| e.pid == pid));
        if let Some(exec) = exec {
            exec.result = Some(result);
        }
    }
}
