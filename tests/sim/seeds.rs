//! Random worlds, faults and crashes, each from a seed: whatever happens, no invariant is violated, and once the faults stop the
//! run comes to an end that the world accounts for.
//!
//! `SIM_SEED=n` plays one seed, `SIM_SEEDS=n` plays the first n.

use std::time::Duration;

use proxmaint::choices::{BackupMode, Evacuate, GuestReboot, HostReboot, ProtectChoice, Stopped};
use proxmaint::machine::guest::{GuestPhase, GuestVerdict};
use proxmaint::machine::host::{HostPhase, HostResult, HostState, HostVerdict};
use proxmaint::machine::run::RunState;
use proxmaint::plan::HostPolicy;
use proxmaint_lab::faults::{CommandFault, Fault, HaFault, RequestFault, Site, TaskFault, UpgradeFault};
use proxmaint_lab::world::{Guest, GuestSpec, MachineId, Os, World, WorldBuilder};

use crate::harness::{Plan, play};
use crate::scenario::Scenario;

/// How many seeds are played when nothing else is said.
const SEEDS: u64 = 300;

/// Sessions with faults, and sessions in all.
const FAULTY_SESSIONS: u32 = 2;
const SESSIONS: u32 = 5;

/// Chance from a seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    fn count(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.between(low.into(), high.into())).expect("not above `high`")
    }

    /// Returns true once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }

    /// Picks one of several.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll() % of.len() as u64).expect("an index")].clone()
    }
}

/// Makes the world, the operator's wishes and the crashes of a seed.
fn stage(seed: u64) -> (Scenario, Plan) {
    let mut dice = Dice::new(seed);
    let (mut world, nodes, clustered) = realms(&mut dice, World::builder().seed(seed));
    let mut vmid = 100;
    // Rolled apart, so that what came of a seed before stays so.
    let mut more = Dice::new(seed ^ 0x5eed_c10d);
    let emptied = nodes == ["pve1", "pve2", "pve3"] && clustered && more.once_in(2);
    if emptied {
        world = world.ceph("lab", 1).ct("pve1", 190, |ct| ct.on("ceph")).ha("lab", [190]);
    }
    for node in nodes {
        // The fourth is the kernel.
        let pending = dice.between(0, 5) as usize;
        world = world.node(node, |spec| spec.pending(pending));
        for _ in 0..dice.between(1, 3) {
            vmid += 1;
            let vm = dice.once_in(3);
            let shared = emptied && more.once_in(2);
            let make = |spec: GuestSpec| {
                let spec = guest(&mut dice, spec);
                if shared { spec.on("ceph") } else { spec }
            };
            world = if vm { world.vm(node, vmid, make) } else { world.ct(node, vmid, make) };
        }
    }
    for _ in 0..dice.between(0, 6) {
        world = world.fault(fault(&mut dice));
    }
    for _ in 0..if emptied { more.between(0, 3) } else { 0 } {
        world = world.fault(evacuation_fault(&mut more));
    }
    let scenario = Scenario::new("a seed", world).parallel(dice.count(1, 3), dice.count(1, 3)).sessions(SESSIONS);
    let slow = dice.once_in(4);
    let scenario = scenario
        .with(|world| world.durations.node_reboot = if slow { 600_000 } else { 60_000 })
        .wants(|policy| wishes(&mut dice, policy))
        .wants(|policy| {
            if emptied {
                policy.evacuate = more.pick(&[Evacuate::Never, Evacuate::Migrate, Evacuate::Migrate]);
                policy.reboot = more.pick(&[HostReboot::IfNeeded, HostReboot::Always]);
            }
        });
    let crashes: Vec<u64> = (0..dice.between(0, 5)).map(|_| dice.between(1, 70)).collect();
    let downtime = Duration::from_secs(dice.pick(&[5, 600, 7200]));
    (scenario, Plan { crashes, downtime, faults_end_after: Some(FAULTY_SESSIONS), tries_again: true, ..Plan::calm() })
}

/// Makes the realms; tells which nodes there are, and whether the first three are of one cluster.
fn realms(dice: &mut Dice, world: WorldBuilder) -> (WorldBuilder, &'static [&'static str], bool) {
    match dice.between(0, 3) {
        0 => (world.standalone("pve1"), &["pve1"], false),
        1 => (world.standalone("pve1").standalone("pve2").standalone("pve3"), &["pve1", "pve2", "pve3"], false),
        2 => (world.cluster("lab", ["pve1", "pve2", "pve3"]), &["pve1", "pve2", "pve3"], true),
        _ => (world.cluster("lab", ["pve1", "pve2"]).standalone("solo"), &["pve1", "pve2", "solo"], false),
    }
}

/// Makes a fault of what goes wrong while guests are moved.
pub fn evacuation_fault(dice: &mut Dice) -> Fault {
    let task = match dice.between(0, 4) {
        0 => TaskFault::FailOff { text: "migration aborted".to_owned() },
        1 => TaskFault::Fail { text: "migration aborted".to_owned(), leave_lock: false },
        2 => TaskFault::Vanish,
        3 => TaskFault::Hang,
        _ => TaskFault::DoneButVanished,
    };
    match dice.between(0, 5) {
        0 => Fault::task("*migrate", 0, task).nth(dice.count(1, 4)),
        1 => Fault::task("cephsetflags", 0, task),
        2 => Fault::ha("*", HaFault::DrainNeverEnds),
        3 => Fault::ha("*", HaFault::NeverBack),
        4 => Fault::request("POST", "/nodes/*/migrate", RequestFault::Lost).nth(dice.count(1, 4)),
        _ => Fault::command("*", "*able maintenance", CommandFault::CutAtEnd).nth(dice.count(1, 2)),
    }
}

fn wishes(dice: &mut Dice, policy: &mut HostPolicy) {
    policy.guests.stopped = dice.pick(&[Stopped::Skip, Stopped::Start, Stopped::Start]);
    policy.guests.reboot = dice.pick(&[GuestReboot::Never, GuestReboot::IfNeeded]);
    policy.reboot = dice.pick(&[HostReboot::Never, HostReboot::IfNeeded, HostReboot::Always]);
    if dice.once_in(8) {
        policy.guests.protect = vec![ProtectChoice::None];
    }
    if dice.once_in(8) {
        policy.guests.backup.mode = BackupMode::Suspend;
    }
}

fn guest(dice: &mut Dice, spec: GuestSpec) -> GuestSpec {
    let os = dice.pick(&[Os::Debian12, Os::Debian13, Os::Ubuntu2404, Os::Alpine322]);
    let mut spec = spec.os(os).pending(dice.between(0, 4) as usize).unknown(dice.between(0, 2) as usize);
    if dice.once_in(4) {
        spec = spec.no_snapshots();
    }
    if dice.once_in(3) {
        spec = spec.onboot();
    }
    if dice.once_in(4) {
        spec = spec.package("linux-image", "6.8.0-85", "6.8.0-90");
    }
    match dice.between(0, 15) {
        0..=2 => spec.stopped().config("onboot", 0),
        3 => spec.no_agent(),
        4 => spec.locked("backup"),
        5 => spec.hold("openssl"),
        6 => spec.stubborn(),
        7 => spec.stubborn().stopped().config("onboot", 0),
        _ => spec,
    }
}

/// Makes a fault of any sort.
pub fn fault(dice: &mut Dice) -> Fault {
    let task = |dice: &mut Dice| match dice.between(0, 4) {
        0 => TaskFault::Fail { text: "zfs error: out of space".to_owned(), leave_lock: false },
        1 => TaskFault::Fail { text: "zfs error: dataset is busy".to_owned(), leave_lock: true },
        2 => TaskFault::Hang,
        3 => TaskFault::Vanish,
        _ => TaskFault::DoneButVanished,
    };
    let request = |dice: &mut Dice| match dice.between(0, 5) {
        0 => RequestFault::Status { code: 500, reason: None },
        1 => RequestFault::Status { code: dice.pick(&[502, 503, 596]), reason: None },
        2 => RequestFault::Silence { ms: 30_000 },
        3 => RequestFault::Refuse,
        4 => RequestFault::Lost,
        _ => RequestFault::Late { ms: 20_000 },
    };
    let upgrade = |dice: &mut Dice| match dice.between(0, 3) {
        0 => UpgradeFault::Exit { code: 100 },
        1 => UpgradeFault::HalfConfigure { code: 100 },
        2 => UpgradeFault::Hang,
        _ => UpgradeFault::Slow { ms: 600_000 },
    };
    let command = |dice: &mut Dice| match dice.between(0, 3) {
        0 => CommandFault::CutBefore,
        1 => CommandFault::Cut { after_ms: 50 },
        2 => CommandFault::CutAtEnd,
        _ => CommandFault::Late { ms: 40_000 },
    };
    match dice.between(0, 10) {
        8 => Fault::task("*start", 0, task(dice)).nth(dice.count(1, 3)).times(dice.count(1, 2)),
        9 => Fault::task("*shutdown", 0, task(dice)).nth(dice.count(1, 2)).times(dice.count(1, 2)),
        10 => Fault::task(dice.pick(&["stopall", "startall", "qmreboot"]), 0, task(dice)),
        0 => Fault::task("*snapshot", 0, task(dice)).nth(dice.count(1, 5)),
        1 => Fault::task("vzdump", 0, task(dice)).nth(dice.count(1, 2)),
        2 => Fault::request("GET", "/nodes/*", request(dice)).nth(dice.count(1, 90)).times(dice.count(1, 6)),
        3 => Fault::request("POST", "/nodes/*", request(dice)).nth(dice.count(1, 5)).times(dice.count(1, 2)),
        4 => Fault::upgrade("*", upgrade(dice)).nth(dice.count(1, 7)).times(dice.count(1, 2)),
        5 => Fault::command("*", "start *", command(dice)).nth(dice.count(1, 5)).times(dice.count(1, 6)),
        6 => Fault::command("*", "*", command(dice)).nth(dice.count(1, 80)).times(dice.count(1, 6)),
        _ => Fault::new(Site::Refresh { machine: "*".to_owned(), exit: 100 }).nth(dice.count(1, 8)),
    }
}

/// Makes sure that what a run came to is true of the world, and that whatever did not end well has a cause that is still there.
fn honest(before: &World, world: &World, run: &RunState) -> Result<(), String> {
    for state in run.hosts() {
        let host = state.host();
        let cause = cause(world, &MachineId::node(host.as_str()))
            .or_else(|| stubborn(world, host.as_str()))
            .or_else(|| stuck(state, world));
        match (&state.phase, state.result()) {
            (HostPhase::Done(HostVerdict::Failed(fault)), _) | (HostPhase::Held { fault, .. }, _) => {
                cause.ok_or_else(|| format!("{host} did not end well without a cause that is left: {fault}"))?;
            }
            (HostPhase::Done(HostVerdict::Blocked(why)), _) => {
                // A refresh that fails leaves no trace, and neither does a connection that could not be made.
                if !why.contains("could not be refreshed") && !why.contains("before it began") {
                    cause.ok_or_else(|| format!("{host} was not touched without a cause that is left: {why}"))?;
                }
                // Left alone from the start, or over since an earlier round.
                let at_rest = |phase: &GuestPhase| matches!(phase, GuestPhase::Waiting | GuestPhase::Settled(_));
                if let Some((id, _)) = state.guests.iter().find(|(_, guest)| !at_rest(&guest.phase)) {
                    return Err(format!("{host} is not touched, and its guest {id} is in the middle of something"));
                }
                continue;
            }
            (_, HostResult::Skipped) => return Err(format!("{host} is skipped, and nobody said so")),
            (_, HostResult::Unfinished) => waits(run, state)?,
            _ => {}
        }
        for (id, guest) in &state.guests {
            let machine = world.guest_id(host.as_str(), id.0).ok_or("a guest that is not there")?;
            let who = format!("{host}/{id}");
            match &guest.phase {
                GuestPhase::Settled(GuestVerdict::Upgraded { .. }) if !world.pending(&machine).is_empty() => {
                    return Err(format!("{who} is said to be upgraded"));
                }
                // Whatever else became of it, it runs, or is off, as it was found.
                // One that was moved to here, and is owed to another host, is that one's.
                _ if state.owed().is_empty()
                    && !run.hosts().any(|other| other.moved.iter().any(|moved| moved.id == *id))
                    && !matches!(guest.phase, GuestPhase::Held { .. })
                    && before.guest(&machine).map(|was| was.power) != world.guest(&machine).map(|is| is.power) =>
                {
                    return Err(format!("{who} is not as it was found"));
                }
                // The run was over before the operator could let it be tried again.
                GuestPhase::Settled(GuestVerdict::Failed { held: true, .. }) if run.is_finished() => {}
                // A guest that failed gets its new round when its host is over; a held one may keep the host from that.
                GuestPhase::Settled(GuestVerdict::Failed { fault, .. })
                    if matches!(state.phase, HostPhase::Done(_)) =>
                {
                    accounted_for(world, &machine, &who, &fault.what)?;
                }
                GuestPhase::Held { fault, .. } => accounted_for(world, &machine, &who, &fault.what)?,
                GuestPhase::Settled(_) => {}
                other if state.is_parked() && !matches!(state.phase, HostPhase::AwaitingTurn { .. }) => {
                    return Err(format!("{who} is {} though its host is over", other.name()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Makes sure that a host that was not worked on to its end waits for another one: of its cluster, or that is being rebooted.
fn waits(run: &RunState, state: &HostState) -> Result<(), String> {
    let unwell = |other: &HostState| {
        matches!(other.phase, HostPhase::Done(HostVerdict::Failed(_)) | HostPhase::Held { .. })
            || other.guests.values().any(|guest| matches!(guest.phase, GuestPhase::Held { .. }))
    };
    let holder = match state.phase {
        HostPhase::Pending | HostPhase::AwaitingTurn { .. } | HostPhase::AwaitingReboot { .. } => run.waits_for(state),
        _ => None,
    };
    let holder = holder.and_then(|holder| run.host(holder));
    let holder = holder.ok_or_else(|| format!("{} is {} and waits for nothing", state.host(), state.phase.name()))?;
    // Whoever it waits for may itself wait to be rebooted.
    if unwell(holder) { Ok(()) } else { waits(run, holder) }
}

/// What did not end well has its cause in the machine, or came to nothing as often as it may.
fn accounted_for(world: &World, machine: &MachineId, who: &str, why: &str) -> Result<(), String> {
    if cause(world, machine).is_some() || why.contains("came to nothing") {
        return Ok(());
    }
    Err(format!("{who} did not end well without a cause that is left: {why}"))
}

/// Names a guest that keeps its node from being rebooted, since it does not obey its shutdown.
fn stubborn(world: &World, node: &str) -> Option<String> {
    let guests = world.guests_on(node);
    let found = guests.iter().filter_map(|id| world.guest(id)).find(|guest| guest.running() && !guest.obeys_shutdown);
    found.map(|guest| format!("{} does not obey its shutdown", guest.vmid))
}

/// Names a guest of a host, or one that is owed to it, on which a move that died has left its lock.
fn stuck(state: &HostState, world: &World) -> Option<String> {
    let of_host = |guest: &&Guest| {
        guest.node == state.host().as_str() || state.moved.iter().any(|moved| moved.id.0 == guest.vmid)
    };
    let mut guests = world.realms.values().flat_map(|realm| realm.guests.values());
    let found = guests.find(|guest| guest.lock.as_deref() == Some("migrate") && of_host(guest));
    found.map(|guest| format!("{} is locked by a move that died", guest.vmid))
}

/// Names what is wrong with a machine, if anything is.
fn cause(world: &World, id: &MachineId) -> Option<String> {
    let packages = &world.machine(id)?.packages;
    let lock = world.guest(id).and_then(|guest| guest.lock.clone());
    let broken = packages.half_configured.first().map(|name| format!("half-configured {name}"));
    let held = packages.lock.as_ref().map(|holder| format!("package lock {holder:?}"));
    // A backup that hangs keeps every other one of its node waiting.
    let node = world.node_of(id).and_then(|node| world.nodes.get(&node));
    let task = node.and_then(|node| node.tasks.iter().find(|task| task.running()));
    lock.or(broken).or(held).or(task.map(|task| format!("task {}", task.upid)))
}

fn check(seed: u64) {
    let (scenario, plan) = stage(seed);
    let again = format!("play it again with SIM_SEED={seed} cargo test --test sim seeds");
    let faults: Vec<String> = scenario.world.faults.planted().iter().map(|fault| format!("{fault:?}\n")).collect();
    let faults = faults.concat();
    let ended = play(&scenario, &plan).unwrap_or_else(|violation| panic!("{again}\n{violation}\nfaults:\n{faults}"));
    if let Err(what) = honest(&scenario.world, &ended.world, &ended.run) {
        let ledger: String = ended.world.ledger.entries().iter().map(|entry| format!("{entry}\n")).collect();
        panic!("{again}\n{what}\n{plan:?}\n{:#?}\nledger:\n{ledger}\nfaults:\n{faults}", ended.picture.verdicts);
    }
}

/// Reads a number from the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

#[test]
fn random_worlds_faults_and_crashes() {
    match number("SIM_SEED") {
        Some(seed) => check(seed),
        None => (1..=number("SIM_SEEDS").unwrap_or(SEEDS)).for_each(check),
    }
}
