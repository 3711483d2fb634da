//! `pct` and `qm`: a node's guests on its command line.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::not_simulated;
use super::user::exec_line;
use crate::shim::agent;
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::{Agent, Guest, Kind, MachineId, Power};

/// How long `qm guest exec` waits for the command (its default).
const GUEST_EXEC_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the guests of a kind that are on the calling node.
fn guests(stage: &Stage, call: &Call, kind: Kind) -> Vec<(MachineId, Guest)> {
    let MachineId::Node(node) = &call.machine else { return Vec::new() };
    stage.with(|world, _| {
        let all = world.guests_on(node).into_iter();
        all.filter_map(|id| world.guest(&id).filter(|guest| guest.kind == kind).cloned().map(|guest| (id, guest)))
            .collect()
    })
}

/// Finds a guest by its vmid, or says what the real tool says of one that is not there.
async fn find(
    stage: &Stage,
    call: &Call,
    kind: Kind,
    vmid: &str,
    streams: &mut Streams,
) -> Result<(MachineId, Guest), Answer> {
    if vmid.is_empty() || vmid.chars().any(|c| !c.is_ascii_digit()) {
        let text = format!("400 Parameter verification failed.\nvmid: type check ('integer') failed - got '{vmid}'");
        return Err(streams.fail(255, &text).await);
    }
    match guests(stage, call, kind).into_iter().find(|(_, guest)| guest.vmid.to_string() == vmid) {
        Some(found) => Ok(found),
        None => {
            let (dir, node) = (if kind == Kind::Ct { "lxc" } else { "qemu-server" }, &call.machine);
            let text = format!("Configuration file 'nodes/{node}/{dir}/{vmid}.conf' does not exist");
            Err(streams.fail(2, &text).await)
        }
    }
}

fn power(guest: &Guest) -> &'static str {
    match guest.power {
        Power::Running => "running",
        Power::Stopped => "stopped",
    }
}

fn config(guest: &Guest) -> String {
    let mut lines: Vec<String> = guest
        .config
        .iter()
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key}: {text}\n"),
            other => format!("{key}: {other}\n"),
        })
        .collect();
    lines.extend(guest.lock.as_ref().map(|lock| format!("lock: {lock}\n")));
    if guest.template {
        lines.push("template: 1\n".to_owned());
    }
    lines.sort();
    lines.concat()
}

pub(super) async fn pct(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    if !call.is_root() {
        return streams.fail(255, "please run as root").await;
    }
    let words = call.words();
    let (verb, vmid) = match words.as_slice() {
        ["list"] => return list_cts(stage, call, streams).await,
        [verb @ ("status" | "config" | "exec"), vmid, ..] => (*verb, *vmid),
        _ => return not_simulated(call, streams).await,
    };
    let (id, guest) = match find(stage, call, Kind::Ct, vmid, streams).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    match verb {
        "status" => streams.done(&format!("status: {}\n", power(&guest))).await,
        "config" => streams.done(&config(&guest)).await,
        _ => exec(stage, &id, &guest, &words[2..], streams).await,
    }
}

async fn list_cts(stage: &Stage, call: &Call, streams: &mut Streams) -> Answer {
    let mut text = format!("{:<10} {:<10} {:<12} {:<20}\n", "VMID", "Status", "Lock", "Name");
    for (_, guest) in guests(stage, call, Kind::Ct) {
        let lock = guest.lock.as_deref().unwrap_or("");
        text.push_str(&format!("{:<10} {:<10} {lock:<12} {:<20}\n", guest.vmid, power(&guest), guest.name));
    }
    streams.done(&text).await
}

/// Runs a command in a container: the shim becomes it, so its streams, signals and exit status are the caller's own.
async fn exec(stage: &Arc<Stage>, id: &MachineId, guest: &Guest, words: &[&str], streams: &mut Streams) -> Answer {
    let command = match words.iter().position(|word| *word == "--") {
        Some(at) => &words[at + 1..],
        None => words,
    };
    if command.is_empty() {
        return streams.fail(255, "400 not enough arguments").await;
    }
    if !guest.running() {
        return streams.fail(255, &format!("container '{}' not running!", guest.vmid)).await;
    }
    let root = match stage.root(id) {
        Ok(root) => root,
        Err(error) => return streams.fail(255, &format!("lab: {error}")).await,
    };
    // As lxc-attach with a cleared environment: no HOME, no USER, a PATH and the mark of a container.
    let mut env = stage.marks(id, &root);
    env.extend([("container", "lxc"), ("LAB_USER", "root"), ("LAB_LOGIN", "root")].map(|(n, v)| (n.into(), v.into())));
    let line = exec_line(stage, &root, &env, command);
    Answer::Exec(format!("cd {} && {line}", crate::shim::quote(&root.display().to_string())))
}

pub(super) async fn qm(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    if !call.is_root() {
        return streams.fail(255, "please run as root").await;
    }
    let words = call.words();
    let (verb, vmid) = match words.as_slice() {
        ["list"] => return list_vms(stage, call, streams).await,
        ["guest", "exec", vmid, ..] => ("exec", *vmid),
        [verb @ ("status" | "config"), vmid] => (*verb, *vmid),
        _ => return not_simulated(call, streams).await,
    };
    let (id, guest) = match find(stage, call, Kind::Vm, vmid, streams).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    match verb {
        "status" => streams.done(&format!("status: {}\n", power(&guest))).await,
        "config" => streams.done(&config(&guest)).await,
        _ => guest_exec(stage, call, &id, &guest, &words[3..], streams).await,
    }
}

async fn list_vms(stage: &Stage, call: &Call, streams: &mut Streams) -> Answer {
    let mut text = format!(
        "{:>10} {:<20} {:<10} {:<10} {:>12} {:<10}\n",
        "VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID"
    );
    for (_, guest) in guests(stage, call, Kind::Vm) {
        let (memory, disk) = (guest.memory_bytes >> 20, guest.disk_bytes as f64 / f64::from(1 << 30));
        text.push_str(&format!(
            "{:>10} {:<20} {:<10} {memory:<10} {disk:>12.2} {:<10}\n",
            guest.vmid,
            guest.name,
            power(&guest),
            guest.pid
        ));
    }
    streams.done(&text).await
}

/// Runs a command in a VM through its agent; the tool's own exit status only says whether the agent answered.
async fn guest_exec(
    stage: &Arc<Stage>,
    call: &Call,
    id: &MachineId,
    guest: &Guest,
    words: &[&str],
    streams: &mut Streams,
) -> Answer {
    if !guest.running() {
        return streams.fail(255, &format!("VM {} is not running", guest.vmid)).await;
    }
    let now = stage.with(|_, now| now);
    if !matches!(guest.agent, Agent::From(at) if at <= now) {
        return streams.fail(255, "QEMU guest agent is not running").await;
    }
    let command = match words.iter().position(|word| *word == "--") {
        Some(at) => &words[at + 1..],
        None => words,
    };
    if command.is_empty() {
        return not_simulated(call, streams).await;
    }
    let ran = agent::run(stage, id, command, None);
    match tokio::time::timeout(GUEST_EXEC_TIMEOUT, ran).await {
        Ok(Ok(output)) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let mut answer = json!({"exitcode": output.status.code().unwrap_or(255), "exited": 1});
            if let Some(fields) = answer.as_object_mut() {
                for (name, bytes) in [("out", &output.stdout), ("err", &output.stderr)] {
                    if !bytes.is_empty() {
                        fields.insert(format!("{name}-data"), text(bytes).into());
                        fields.insert(format!("{name}-truncated"), 0.into());
                    }
                }
            }
            let pretty = serde_json::to_string_pretty(&answer).unwrap_or_default();
            streams.done(&format!("{pretty}\n")).await
        }
        Ok(Err(error)) => {
            let text = format!("Agent error: Guest agent command failed, error was '{error}'");
            streams.fail(255, &text).await
        }
        Err(_) => streams.fail(255, "timeout reached, returning pid").await,
    }
}
