//! Tools that say what a machine is: `uname`, `hostname`, and a node's own.

use std::sync::Arc;

use super::{no_machine, not_simulated};
use crate::api::guest::{Link, links};
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::{Machine, MachineId, Node, Realm};

fn machine(stage: &Stage, call: &Call) -> Option<Machine> {
    stage.with(|world, _| world.machine(&call.machine).cloned())
}

pub(super) fn node(stage: &Stage, call: &Call) -> Option<(Node, Realm)> {
    let MachineId::Node(name) = &call.machine else { return None };
    stage.with(|world, _| Some((world.nodes.get(name)?.clone(), world.realm_of(name)?.clone())))
}

pub(super) async fn uname(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some(machine) = machine(stage, call) else { return no_machine(call, streams).await };
    let mut flags: String = call.args.iter().map(|arg| arg.trim_start_matches('-')).collect();
    if flags.is_empty() {
        flags.push('s');
    }
    if flags.contains('a') {
        "snrvmo".clone_into(&mut flags);
    }
    let version = "#1 SMP PREEMPT_DYNAMIC (lab)";
    let known = [
        ('s', "Linux"),
        ('n', machine.hostname.as_str()),
        ('r', machine.kernel_running.as_str()),
        ('v', version),
        ('m', "x86_64"),
        ('o', "GNU/Linux"),
    ];
    let words: Vec<&str> = known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect();
    streams.done(&format!("{}\n", words.join(" "))).await
}

pub(super) async fn hostname(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some(machine) = machine(stage, call) else { return no_machine(call, streams).await };
    let name = &machine.hostname;
    match call.words().as_slice() {
        [] | ["-s"] => streams.done(&format!("{}\n", name.split('.').next().unwrap_or(name))).await,
        ["-f" | "--fqdn"] => streams.done(&format!("{name}\n")).await,
        ["-I"] => {
            let addresses = stage.with(|world, _| match &call.machine {
                MachineId::Node(name) => world.nodes.get(name).map(|node| vec![node.ip.clone()]),
                id @ MachineId::Guest { .. } => world.guest(id).map(|guest| guest.addresses.clone()),
            });
            let text: String = addresses.unwrap_or_default().iter().map(|address| format!("{address} ")).collect();
            streams.done(&format!("{text}\n")).await
        }
        _ => not_simulated(call, streams).await,
    }
}

/// `ip -o addr show`: a line for each address, as iproute2 prints it.
pub(super) async fn ip(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    if call.words() != ["-o", "addr", "show"] {
        return not_simulated(call, streams).await;
    }
    let links = stage.with(|world, _| match &call.machine {
        MachineId::Node(name) => {
            let node = world.nodes.get(name)?;
            Some(vec![Link { name: "vmbr0".to_owned(), mac: String::new(), addresses: vec![(node.ip.clone(), 24)] }])
        }
        id @ MachineId::Guest { .. } => world.guest(id).map(links),
    });
    let Some(links) = links else { return no_machine(call, streams).await };
    let mut text = String::new();
    for (n, link) in links.iter().enumerate() {
        for (ip, prefix) in &link.addresses {
            let family = if ip.contains(':') { "inet6" } else { "inet" };
            let (number, name) = (n + 1, &link.name);
            text.push_str(&format!(
                "{number}: {name}    {family} {ip}/{prefix} scope global {name}\\       valid_lft forever\n"
            ));
        }
    }
    streams.done(&text).await
}

pub(super) async fn pveversion(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some((node, _)) = node(stage, call) else { return no_machine(call, streams).await };
    let (version, kernel) = (&node.version, &node.machine.kernel_running);
    match call.words().as_slice() {
        [] => {
            let text = format!("pve-manager/{}/{} (running kernel: {kernel})\n", version.version, version.repoid);
            streams.done(&text).await
        }
        ["-v" | "--verbose"] => {
            let packages = node.machine.packages.installed.iter();
            let lines: String = packages.map(|(name, version)| format!("{name}: {version}\n")).collect();
            let head =
                format!("pve-manager: {} (running version: {}/{})\n", version.version, version.version, version.repoid);
            streams.done(&(head + &lines)).await
        }
        _ => not_simulated(call, streams).await,
    }
}

pub(super) async fn boot_tool(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some(machine) = machine(stage, call) else { return no_machine(call, streams).await };
    match call.words().as_slice() {
        ["kernel", "list"] => {
            let kernels = std::collections::BTreeSet::from([&machine.kernel_running, &machine.kernel_installed]);
            let lines: String = kernels.iter().map(|kernel| format!("{kernel}\n")).collect();
            let head = "Manually selected kernels:\nNone.\n\nAutomatically selected kernels:\n";
            streams.done(&format!("{head}{lines}")).await
        }
        ["status"] => {
            let text = "E: /etc/kernel/proxmox-boot-uuids does not exist.";
            streams.fail(2, text).await
        }
        _ => not_simulated(call, streams).await,
    }
}
