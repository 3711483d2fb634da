//! Plays a scenario: incarnations of the real engine, each crashed as planned, resumed from what is durable, until the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::transport::Transport;
use proxmaint::engine::driver::{Engine, EngineError, OrderTaken, Request, Session};
use proxmaint::engine::limits::Limits;
use proxmaint::engine::observer::{Observer, Seen};
use proxmaint::engine::perform::{Context, discover};
use proxmaint::engine::port::{Clock, HostPorts, Hosts, Remote};
use proxmaint::ids::HostId;
use proxmaint::journal::record::{RunRecord, encode_event, encode_run};
use proxmaint::journal::replay::{RunHistory, replay};
use proxmaint::journal::{Batch, Entry, StreamId};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::Resolution;
use proxmaint::machine::host::HostState;
use proxmaint::machine::outcome::Fault;
use proxmaint::machine::run::RunState;
use proxmaint::plan::{HeldBecause, HostPlan, HostPolicy, plan_host};
use proxmaint_lab::faults::{self, Site};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Asker, World};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::debts;
use crate::disk::Disk;
use crate::gate::{Crashed, Gate};
use crate::journal::{Acknowledges, SimJournal};
use crate::judge::Judge;
use crate::picture::Picture;
use crate::remote::{SimOutside, SimRemote};
use crate::scenario::{Scenario, run_id};
use crate::stage::{Jobs, Leases, Stage, Theatre};
use crate::transport::SimTransport;

/// How long an incarnation may take, in virtual time: the longest wait that the limits below allow, some times over. One that
/// takes longer stands still.
const INCARNATION: Duration = Duration::from_secs(24 * 3600);

/// The most incarnations of one run.
const INCARNATIONS: usize = 40;

/// The bounds of the engine's waits: shorter than the real ones, so that what hangs costs fewer polls.
const LIMITS: Limits = Limits {
    snapshot: Duration::from_secs(3 * 60),
    rollback: Duration::from_secs(30 * 60),
    backup: Duration::from_secs(10 * 60),
    upgrade: Duration::from_secs(30 * 60),
    settle: Duration::from_secs(60),
    recover: Duration::from_secs(60),
    start: Duration::from_secs(60),
    boot: Duration::from_secs(5 * 60),
    shutdown: Duration::from_secs(3 * 60),
    shutdown_all: Duration::from_secs(10 * 60),
    reboot: Duration::from_secs(15 * 60),
    start_all: Duration::from_secs(10 * 60),
    migrate: Duration::from_secs(20 * 60),
    drain_ha: Duration::from_secs(10 * 60),
    ha_return: Duration::from_secs(5 * 60),
    maintenance: Duration::from_secs(2 * 60),
    ceph: Duration::from_secs(5 * 60),
    lookers: 4,
    paused: Duration::from_secs(12 * 3600),
    drain: Duration::from_secs(30),
};

/// No crash point has this number.
pub const NEVER: u64 = 0;

/// When and how proxmaint is made to crash.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The crash point of each incarnation, or [`NEVER`]; later ones end by themselves.
    pub crashes: Vec<u64>,
    /// How long it stays down after a crash.
    pub downtime: Duration,
    /// Faults are taken away after so many sessions that ended by themselves.
    pub faults_end_after: Option<u32>,
    /// What the operator mends then.
    pub mends: Option<fn(&mut World)>,
    /// Whether the operator lets guests be tried again that are held since they failed, after each session.
    pub tries_again: bool,
    /// After the crashes the operator asks for what is owed, and for nothing else.
    pub restores: bool,
}

impl Plan {
    /// Nothing crashes.
    pub fn calm() -> Self {
        Self {
            crashes: Vec::new(),
            downtime: Duration::from_secs(5),
            faults_end_after: None,
            mends: None,
            tries_again: false,
            restores: false,
        }
    }

    /// Each incarnation crashes at its point.
    pub fn crashes(points: impl Into<Vec<u64>>) -> Self {
        Self { crashes: points.into(), ..Self::calm() }
    }

    /// The first incarnation crashes at its point, and the next one gives back what is owed.
    pub fn restores_after(point: u64) -> Self {
        Self { restores: true, ..Self::crashes([point]) }
    }
}

/// The hooks through which a planted bug gets into an incarnation; by default there is none.
pub trait Rig {
    /// Wraps the way to a node's API. `incarnation` counts from 0.
    fn transport(&self, _incarnation: usize, honest: Arc<dyn Transport>) -> Arc<dyn Transport> {
        honest
    }

    /// Wraps the way to commands.
    fn remote(&self, _incarnation: usize, honest: Arc<dyn Remote>) -> Arc<dyn Remote> {
        honest
    }

    /// When the journal acknowledges.
    fn acknowledges(&self) -> Acknowledges {
        Acknowledges::WhenDurable
    }

    /// How many durable records the disk forgets at each crash.
    fn forgets(&self) -> usize {
        0
    }
}

/// Nothing planted.
pub struct Honest;

impl Rig for Honest {}

/// A violated invariant.
#[derive(Debug)]
pub struct Violation {
    /// The scenario.
    pub scenario: &'static str,
    /// The plan, to play it again.
    pub plan: Box<Plan>,
    /// In which incarnation, from 0.
    pub incarnation: usize,
    /// What was violated.
    pub what: String,
    /// The ledger until then.
    pub ledger: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, plan, incarnation, what, ledger } = self;
        write!(f, "{scenario}, {plan:?}, incarnation {incarnation}: {what}\nledger:\n{ledger}")
    }
}

/// How a scenario ended.
pub struct Finished {
    /// The world and the verdicts.
    pub picture: Picture,
    /// The world itself.
    pub world: World,
    /// The run.
    pub run: RunState,
    /// Points that each incarnation passed.
    pub points: Vec<u64>,
    /// Where the incarnations crashed.
    pub crashed: Vec<Crashed>,
}

/// Plays a scenario to its end.
pub fn play(scenario: &Scenario, plan: &Plan) -> Result<Finished, Violation> {
    play_with(scenario, plan, &Honest)
}

/// Plays a scenario with something planted.
pub fn play_with(scenario: &Scenario, plan: &Plan, rig: &dyn Rig) -> Result<Finished, Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing of the system").block_on(Play::new(scenario, plan, rig).go())
}

/// Looks at the world of a scenario, changing nothing, and returns what a run would do on each host.
pub fn foresee(scenario: &Scenario) -> BTreeMap<HostId, HostPlan> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing of the system");
    runtime.block_on(async {
        let calm = Plan::calm();
        let engine = Play::new(scenario, &calm, &Honest).engine(&Arc::new(Gate::new(None)));
        let mut plans = BTreeMap::new();
        for policy in &scenario.policy().hosts {
            let facts = discover(&looking(&engine, policy), policy, false).await.expect("the host can be looked at");
            plans.insert(policy.host.clone(), plan_host(policy, &facts, None));
        }
        plans
    })
}

/// What a look at a host works with.
fn looking(engine: &Engine, policy: &HostPolicy) -> Context {
    let ports = engine.hosts.ports(&policy.host).expect("every host has ports");
    Context::looking(ports, Arc::clone(&engine.clock), LIMITS, policy, None)
}

/// A scenario being played.
struct Play<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    rig: &'a dyn Rig,
    theatre: Theatre,
    incarnation: usize,
    points: Vec<u64>,
    crashed: Vec<Crashed>,
    sessions: u32,
}

/// How an incarnation ended.
enum End {
    Crashed(Crashed),
    Itself(Box<RunState>),
}

impl<'a> Play<'a> {
    fn new(scenario: &'a Scenario, plan: &'a Plan, rig: &'a dyn Rig) -> Self {
        let policy = scenario.policy();
        let mut disk = Disk::default();
        let at = proxmaint::time::Timestamp(scenario.world.epoch_ms);
        let body = encode_run(&RunRecord::Opened { policy: policy.clone(), manifest: None });
        let entries = vec![Entry { stream: StreamId::Run, at, body, checkpoint: None }];
        disk.append(Batch { run: run_id(), entries, run_meta: None });
        disk.flush_one();
        let judge = Judge::new(run_id(), policy);
        let stage =
            Stage { world: scenario.world.clone(), jobs: Jobs::default(), leases: Leases::default(), disk, judge };
        let theatre = Theatre::new(stage);
        let (points, crashed) = (Vec::new(), Vec::new());
        Self { scenario, plan, rig, theatre, incarnation: 0, points, crashed, sessions: 0 }
    }

    async fn go(mut self) -> Result<Finished, Violation> {
        let mut last: Option<RunState> = None;
        while self.incarnation < INCARNATIONS {
            let history = self.load()?;
            if !history.is_open() {
                return self.finish(history.into_state());
            }
            match self.incarnate(history.into_state()).await? {
                End::Crashed(crashed) => {
                    self.crashed.push(crashed);
                    self.theatre.on(|stage, _| {
                        stage.disk.power_cut();
                        stage.disk.forget(self.rig.forgets());
                        stage.judge.incarnation_ended();
                    });
                    tokio::time::sleep(self.plan.downtime).await;
                    if self.crashed.len() == 1 {
                        self.move_guests().await;
                    }
                }
                End::Itself(run) => {
                    self.sessions += 1;
                    self.ended(&run)?;
                    let sessions = self.sessions;
                    let over = self.plan.restores && self.incarnation > 0;
                    if run.is_finished() || over || sessions >= self.scenario.sessions {
                        return self.finish(*run);
                    }
                    if self.plan.tries_again {
                        self.try_again(&run);
                    }
                    if self.plan.faults_end_after == Some(sessions) {
                        let mends = self.plan.mends;
                        self.theatre.on(|stage, _| {
                            stage.world.faults.clear();
                            if let Some(mend) = mends {
                                mend(&mut stage.world);
                            }
                        });
                    }
                    last = Some(*run);
                }
            }
            self.incarnation += 1;
        }
        let stands = last.map(|run| format!("{:?}", run.result()));
        Err(self.violation(format!("not at an end after {INCARNATIONS} incarnations ({stands:?})")))
    }

    /// Lets the operator say of all guests that are held since they failed that they may be tried again.
    fn try_again(&self, run: &RunState) {
        let at = Clock::now(&self.theatre);
        self.theatre.on(|stage, _| {
            for state in run.hosts() {
                let failed = state.held_back().filter(|(_, why)| *why == HeldBecause::Failed);
                for id in failed.map(|(guest, _)| guest.plan.guest.id) {
                    let event = HostEvent::Resolved { guest: Some(id), resolution: Resolution::Retry };
                    let stream = StreamId::Host(state.host().clone());
                    let entries = vec![Entry { stream, at, body: encode_event(&event), checkpoint: None }];
                    stage.disk.append(Batch { run: run_id(), entries, run_meta: None });
                    let (_, records) = stage.disk.flush_one().expect("nothing else waits between sessions");
                    stage.judge.durable(&records);
                }
            }
        });
    }

    /// Lets somebody move guests: those that something works on when that is over.
    async fn move_guests(&self) {
        for (vmid, to) in &self.scenario.moves {
            for tries in 0.. {
                // An hour, longer than anything that locks a guest.
                assert!(tries < 720, "guest {vmid} can't be moved to {to}");
                let there = self.theatre.on(|stage, now| {
                    let ids = stage.world.machines().into_iter().filter(|id| stage.world.guest(id).is_some());
                    let id = ids.into_iter().find(|id| id.short() == vmid.to_string()).expect("the guest is there");
                    let guest = stage.world.guest(&id).expect("the guest is there");
                    let (there, locked) = (guest.node == *to, guest.lock.is_some());
                    if !there && !locked {
                        stage.world.migrate_guest(now, &id, to, true, &Asker::root()).expect("it may be moved");
                    }
                    there
                });
                if there {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }

    /// Reads back what is durable, in both ways; nothing is acted on by that.
    fn load(&self) -> Result<RunHistory, Violation> {
        let (whole, short, shadow) = self.theatre.on(|stage, _| {
            let before = stage.world.ledger.entries().len();
            let whole = replay(&stage.disk.load(&run_id(), false));
            let short = replay(&stage.disk.load(&run_id(), true));
            assert_eq!(before, stage.world.ledger.entries().len(), "replaying acted on something");
            (whole, short, stage.judge.shadow().clone())
        });
        let whole = whole.map_err(|error| self.violation(format!("can't be replayed: {}", chain(&error))))?;
        let short = short.map_err(|error| self.violation(format!("can't be replayed: {}", chain(&error))))?;
        let by_name = |hosts: &[HostState]| -> BTreeMap<HostId, HostState> {
            hosts.iter().map(|state| (state.host().clone(), state.clone())).collect()
        };
        if whole.hosts != short.hosts {
            return Err(self.violation("replayed from its checkpoints the run is another"));
        }
        if by_name(&whole.hosts) != shadow {
            return Err(self.violation("what was durable is not there any more"));
        }
        Ok(short)
    }

    async fn incarnate(&mut self, run: RunState) -> Result<End, Violation> {
        let gate = Arc::new(Gate::new(self.plan.crashes.get(self.incarnation).copied()));
        let engine = self.engine(&gate);
        let session = match (self.incarnation, self.plan.restores) {
            (0, _) => Session::First,
            (_, true) => Session::Restore,
            (_, false) => Session::Again,
        };
        let (operator, requests) = mpsc::channel(1);
        let _operator = self.operate(operator);
        let end = tokio::select! {
            biased;
            () = self.theatre.alarm() => Err("the judge objected".to_owned()),
            crashed = gate.down() => Ok(End::Crashed(crashed)),
            ended = tokio::time::timeout(INCARNATION, engine.run(run, session, requests)) => match ended {
                Ok(Ok((run, _))) => Ok(End::Itself(Box::new(run))),
                Ok(Err(error)) => Err(format!("the engine stopped: {}", engine_error(&error))),
                Err(_) => Err(format!("stands still: not at an end after {INCARNATION:?}")),
            },
        };
        self.points.push(gate.passed());
        if let Some(objection) = self.theatre.on(|stage, _| stage.judge.violation().map(str::to_owned)) {
            return Err(self.violation(objection));
        }
        end.map_err(|what| self.violation(what))
    }

    /// Lets the operator say what is planned, each at its time in the world.
    fn operate(&self, requests: mpsc::Sender<Request>) -> JoinSet<()> {
        let mut operator = JoinSet::new();
        let (orders, theatre) = (self.scenario.orders.clone(), self.theatre.clone());
        operator.spawn(async move {
            for (after, order, host) in orders {
                let passed = Duration::from_millis(theatre.now());
                let Some(left) = after.checked_sub(passed) else { continue };
                tokio::time::sleep(left).await;
                let report = Box::new(|_: &RunState, _: OrderTaken| -> Box<dyn FnOnce() + Send> { Box::new(|| {}) });
                let request = Request::Order { order, hosts: vec![HostId::new(host)], report };
                if requests.send(request).await.is_err() {
                    return;
                }
            }
            // The operator is there as long as the run.
            requests.closed().await;
        });
        operator
    }

    /// Builds an engine whose ports lead to the stage.
    fn engine(&self, gate: &Arc<Gate>) -> Engine {
        let ports = |node: &String| {
            let transport = Arc::new(SimTransport::new(self.theatre.clone(), Arc::clone(gate), node));
            let transport = self.rig.transport(self.incarnation, transport);
            let remote = Arc::new(SimRemote::new(self.theatre.clone(), Arc::clone(gate), node, &self.scenario.kills));
            let remote = self.rig.remote(self.incarnation, remote);
            let ports = HostPorts {
                pve: Arc::new(Client::new(transport)),
                remote,
                outside: Arc::new(SimOutside::new(self.theatre.clone(), Arc::clone(gate))),
                addresses: BTreeMap::new(),
                ssh_known: Arc::new(|_| true),
            };
            (HostId::new(node.clone()), Arc::new(ports))
        };
        let journal = SimJournal::open(self.theatre.clone(), Arc::clone(gate), self.rig.acknowledges());
        Engine {
            hosts: Arc::new(Ways(self.scenario.world.nodes.keys().map(ports).collect())),
            journal: Arc::new(journal),
            clock: Arc::new(self.theatre.clone()) as Arc<dyn Clock>,
            observers: vec![Arc::new(Watcher(self.theatre.clone()))],
            limits: LIMITS,
            old: Arc::new(self.scenario.old_things()),
            output: Arc::new(proxmaint::engine::port::NoOutput),
            own_boot: None,
            who: "the simulation".to_owned(),
        }
    }

    /// Looks at a session that ended by itself: everything that it knew is durable.
    fn ended(&self, run: &RunState) -> Result<(), Violation> {
        let (volatile, shadow) = self.theatre.on(|stage, _| {
            stage.judge.incarnation_ended();
            (stage.disk.volatile(), stage.judge.shadow().clone())
        });
        if volatile > 0 {
            return Err(self.violation(format!("the session ended with {volatile} batches not durable")));
        }
        if let Some(state) = run.hosts().find(|state| shadow.get(state.host()) != Some(state)) {
            return Err(self.violation(format!("{} is not what is durable at the end", state.host())));
        }
        let kept = self.theatre.on(|stage, now| stage.leases.held(now).join(", "));
        // What a crash left of a host that nothing more is done on runs out by itself, as does one that cut connections kept.
        let cut = |fault: &&faults::Fault| matches!(fault.site, Site::Command { .. });
        let disturbed = !self.crashed.is_empty() || self.scenario.world.faults.unused().iter().any(cut);
        if !kept.is_empty() && !disturbed {
            return Err(self.violation(format!("the session ended and kept the lease of {kept}")));
        }
        let world = self.theatre.on(|stage, _| stage.world.clone());
        debts::honest(&self.scenario.world, &world, run).map_err(|what| self.violation(what))
    }

    fn finish(self, run: RunState) -> Result<Finished, Violation> {
        let world = self.theatre.on(|stage, _| stage.world.clone());
        // A removal that failed may be tried again: what is gone can't be removed twice. What is borrowed for a reboot has no name of
        // its own, and is borrowed anew where the reboot is prepared anew: the judge holds each to its step.
        let may_come_again = [
            Act::SnapshotDelete,
            Act::BackupDelete,
            Act::Migrate,
            Act::HaMigrate,
            Act::CephFlagSet,
            Act::CephFlagClear,
        ];
        let repeated = world.ledger.repeated();
        if let Some(entry) = repeated.iter().find(|entry| !may_come_again.contains(&entry.act)) {
            return Err(self.violation(format!("an act was made twice: {entry}")));
        }
        let picture = Picture::of(&world, &run);
        let Self { points, crashed, .. } = self;
        Ok(Finished { picture, world, run, points, crashed })
    }

    fn violation(&self, what: impl Into<String>) -> Violation {
        let ledger = self.theatre.on(|stage, _| {
            let lines = stage.world.ledger.entries().iter().map(|entry| format!("{entry}\n"));
            lines.collect::<String>()
        });
        Violation {
            scenario: self.scenario.name,
            plan: Box::new(self.plan.clone()),
            incarnation: self.incarnation,
            what: what.into(),
            ledger,
        }
    }
}

/// The ways to all hosts.
struct Ways(BTreeMap<HostId, Arc<HostPorts>>);

impl Hosts for Ways {
    fn ports(&self, host: &HostId) -> Result<Arc<HostPorts>, Fault> {
        self.0.get(host).cloned().ok_or_else(|| Fault::permanent(format!("{host} is not in the manifest")))
    }

    fn entries(&self) -> Vec<HostId> {
        self.0.keys().cloned().collect()
    }
}

/// Shows the judge what the driver has.
struct Watcher(Theatre);

impl Observer for Watcher {
    fn seen(&self, seen: &Seen<'_>) {
        if let Seen::Host { state, .. } = seen {
            self.0.on(|stage, _| stage.judge.shown(state));
        }
    }
}

fn engine_error(error: &EngineError) -> String {
    chain(error)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
