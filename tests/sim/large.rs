//! A large cluster, of which each node is upgraded, emptied, rebooted and filled again, with random faults and crashes from seeds.
//!
//! The judge sees to "one down, never below quorum" at each act. When the faults are over and the operator has mended what they
//! left broken, everything must be upgraded, each node rebooted once, and every guest, mode and flag be where it was and as it was.
//!
//! The suite plays one seed on 8 nodes with 20 guests each. `make large` plays 50 nodes with 1,000 guests. `LARGE_NODES=n` says how
//! many nodes there are, `LARGE_SEED=n` plays one seed, `LARGE_SEEDS=n` the first n.

use std::time::Duration;

use proxmaint::choices::{Evacuate, HostReboot};
use proxmaint::machine::host::HostResult;
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::{MachineId, Os, World};

use crate::harness::{Finished, Plan, play};
use crate::scenario::Scenario;
use crate::seeds::{Dice, evacuation_fault, fault, number};

/// How large the cluster is when nothing else is said.
const NODES: u64 = 8;
const GUESTS_OF_A_NODE: u32 = 20;

/// How many seeds are played when nothing else is said.
const SEEDS: u64 = 1;

/// Sessions with faults, and sessions in all: a node that failed keeps the others waiting until the next one.
const FAULTY_SESSIONS: u32 = 3;
const SESSIONS: u32 = 8;

fn node(n: u32) -> String {
    format!("pve{n:02}")
}

/// Makes the cluster, the operator's wishes and the crashes of a seed.
fn stage(seed: u64) -> (Scenario, Plan) {
    let nodes =
        u32::try_from(number("LARGE_NODES").unwrap_or(NODES)).expect("a cluster of less than four thousand million");
    let mut dice = Dice::new(seed);
    let names: Vec<String> = (1..=nodes).map(node).collect();
    let mut world = World::builder().seed(seed).cluster("lab", names.iter().map(String::as_str)).ceph("lab", 1);
    for (n, name) in (1..=nodes).zip(&names) {
        world = world.node(name, |spec| spec.pending(4));
        for g in 0..GUESTS_OF_A_NODE {
            let vmid = n * 100 + g;
            let os = dice.pick(&[Os::Debian12, Os::Debian13, Os::Ubuntu2404, Os::Alpine322]);
            let pending = usize::from(dice.once_in(4));
            world = match g % 5 {
                4 => world.vm(name, vmid, |vm| vm.os(os).on("ceph").pending(pending).onboot()),
                _ => world.ct(name, vmid, |ct| ct.os(os).on("ceph").pending(pending).onboot()),
            };
        }
    }
    // Two guests of each node are HA's; about one fault for each second node to begin with, half of them to do with moves.
    let mut world = world.ha("lab", (1..=nodes).flat_map(|n| [n * 100, n * 100 + 4]));
    for _ in 0..nodes.div_ceil(4) {
        world = world.fault(fault(&mut dice)).fault(evacuation_fault(&mut dice));
    }
    let scenario = Scenario::new("a large cluster", world)
        .parallel(4, 4)
        .sessions(SESSIONS)
        .wants(|policy| (policy.reboot, policy.evacuate) = (HostReboot::Always, Evacuate::Migrate));
    // An incarnation passes some hundreds of points for each node when it is let be.
    let crashes = (0..6).map(|_| dice.between(1, u64::from(nodes) * 100)).collect();
    let plan =
        Plan { crashes, downtime: Duration::from_secs(60), faults_end_after: Some(FAULTY_SESSIONS), ..Plan::calm() };
    (scenario, Plan { mends: Some(mend), tries_again: true, ..plan })
}

/// What an operator mends once the faults are over: what hangs is stopped, and what dead tasks and upgrades left is put in order.
fn mend(world: &mut World) {
    let now = world.now();
    let hanging = world.nodes.values().flat_map(|node| &node.tasks).filter(|task| task.running());
    for upid in hanging.map(|task| task.upid.clone()).collect::<Vec<_>>() {
        world.stop_task(now, &upid);
    }
    for id in world.machines() {
        let running = world.machine(&id).and_then(|machine| machine.packages.running.as_ref());
        if let Some(number) = running.filter(|running| running.ends.is_none()).map(|running| running.id) {
            world.abort_upgrade(now, &id, number);
        }
        if let Some(machine) = world.machine_mut(&id) {
            machine.packages.half_configured.clear();
            machine.packages.lock = None;
        }
        if let Some(guest) = world.guest_mut(&id) {
            guest.lock = None;
        }
    }
}

fn check(seed: u64) {
    let (scenario, plan) = stage(seed);
    let again = format!("play it again with LARGE_SEED={seed} cargo test --test sim large");
    let ended = play(&scenario, &plan).unwrap_or_else(|violation| panic!("{again}\n{violation}"));
    if let Err(what) = all_is_well(&scenario.world, &ended) {
        let unwell = ended.picture.verdicts.iter().filter(|(_, verdict)| {
            !["verified", "upgraded", "skipped", "awaiting-turn", "waiting"]
                .iter()
                .any(|word| verdict.starts_with(word))
        });
        let unwell: String = unwell.map(|(name, verdict)| format!("  {name}: {verdict}\n")).collect();
        panic!("{again}\n{what}\n{unwell}{plan:?}\ncrashed at {:?}", ended.crashed);
    }
}

/// Makes sure that everything was done, once, and that nothing is left that was borrowed.
fn all_is_well(before: &World, ended: &Finished) -> Result<(), String> {
    let world = &ended.world;
    for state in ended.run.hosts() {
        let (host, result) = (state.host(), state.result());
        if result != HostResult::Succeeded {
            return Err(format!("{host} is {result:?} ({})", state.phase.name()));
        }
        if !state.owed().is_empty() {
            return Err(format!("{host} owes {:?}", state.owed()));
        }
        let reboots =
            world.ledger.of(Act::Reboot, host.as_str()).filter(|entry| entry.outcome == Outcome::Done).count();
        if reboots != 1 {
            return Err(format!("{host} was rebooted {reboots} times"));
        }
    }
    let left = world.machines().into_iter().find(|id| !world.pending(id).is_empty());
    if let Some(id) = left {
        return Err(format!("{id} is not upgraded"));
    }
    let (was, is) = (&before.realms["lab"].guests, &world.realms["lab"].guests);
    for (vmid, was) in was {
        let is = is.get(vmid).ok_or_else(|| format!("guest {vmid} is gone"))?;
        if (&was.node, was.power) != (&is.node, is.power) {
            return Err(format!(
                "guest {vmid} was {:?} on {}, and is {:?} on {}",
                was.power, was.node, is.power, is.node
            ));
        }
    }
    let realm = &world.realms["lab"];
    if let Some((node, _)) = realm.maintenance.iter().find(|(_, mode)| !mode.ending) {
        return Err(format!("{node} is in maintenance still"));
    }
    if realm.ceph.as_ref().is_some_and(|ceph| !ceph.flags.is_empty()) {
        return Err("a flag of Ceph is set still".to_owned());
    }
    match world.nodes.values().find(|node| !node.online || !world.is_up(&MachineId::node(&node.name))) {
        Some(node) => Err(format!("{} is down", node.name)),
        None => Ok(()),
    }
}

#[test]
fn a_large_cluster_with_faults_and_crashes() {
    match number("LARGE_SEED") {
        Some(seed) => check(seed),
        None => (1..=number("LARGE_SEEDS").unwrap_or(SEEDS)).for_each(check),
    }
}
