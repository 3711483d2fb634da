//! The driver: one loop, and the only place that appends to the journal while a run is worked on.
//!
//! The write protocol: an event and the intents of the effects that it releases go into one batch; when the batch is
//! durable, the effects are performed; what comes of them is the next event. So nothing is acted on before its intent
//! is durable, and an intent without an outcome is in doubt. Batches of different hosts are in flight together, and
//! the journal's writer makes them durable in groups.

mod steer;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::lease::{HostLease, Leases};
use super::limits::Limits;
use super::neighbours::Neighbours;
use super::observer::{Observer, RunEnd, Seen};
use super::perform::{Context, Report, TaskNews, collect, job_place, perform};
use super::port::{Clock, HostPorts, Hosts, JobOutput};
use crate::ids::{BootId, ClusterId, GuestId, HostId, Step, StepKey};
use crate::inventory::{HostFacts, Question};
use crate::journal::JournalError;
use crate::journal::record::{
    RunMeta, RunRecord, Tally, encode_checkpoint, encode_event, encode_intent, encode_meta, encode_run,
};
use crate::journal::{Batch, Committed, Entry, Journal, StreamId};
use crate::machine::Illegal;
use crate::machine::effect::{Effect, Mode, Replay, replay};
use crate::machine::event::HostEvent;
use crate::machine::guest::{GuestPhase, GuestState};
use crate::machine::host::{HostPhase, HostState, StepState};
use crate::machine::order::{NotOrdered, Order, Ordered};
use crate::machine::outcome::{Detail, Fault, Outcome, Probed};
use crate::machine::run::RunState;
use crate::plan::{HostPlan, OldThings, plan_host, prunable, prunable_backups};
use crate::time::Timestamp;
use steer::Waits;

/// A host's state is checkpointed after so many of its events: a resumed run folds at most this many for each host.
const CHECKPOINT_EVERY: u32 = 32;

/// How many task news may wait: one for each step that is at work is plenty, and a performer waits where it is not.
const NEWS_QUEUE: usize = 256;

/// What the engine works with.
#[derive(Clone)]
pub struct Engine {
    /// The ways to the hosts.
    pub hosts: Arc<dyn Hosts>,
    /// Where everything is written first.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Those who watch.
    pub observers: Vec<Arc<dyn Observer>>,
    /// The bounds of waits.
    pub limits: Limits,
    /// What earlier runs left and is no longer needed: what is still there of it is removed.
    pub old: Arc<OldThings>,
    /// Where the output of upgrades goes.
    pub output: Arc<dyn JobOutput>,
    /// The boot of the machine that this program runs on, to notice that it is one of those that it is about to change.
    pub own_boot: Option<BootId>,
    /// Who this is, for other orchestrators that find a cluster's lease taken: `root@ops2 (process 4711)`.
    pub who: String,
}

/// What a session is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The run is new.
    First,
    /// The run was worked on before, by a session that is over: it goes on.
    Again,
    /// The run was worked on before and is about to be closed: what is in doubt is looked at, what is owed is given back,
    /// and nothing else is begun.
    Settle,
    /// The same, for a run that stays open: the operator asked for what is owed.
    Restore,
    /// The operator asked for a guest to be rolled back: that is gone on with, and nothing else is begun.
    RollBack,
}

impl Session {
    /// Tells whether the session only looks and gives back.
    fn begins_nothing(self) -> bool {
        matches!(self, Self::Settle | Self::Restore | Self::RollBack)
    }

    /// Tells whether an effect may be released in such a session: a look, a debt being paid, the check of what is done, and the
    /// wait for what makes or ends a debt. An upgrade at work is not waited for: it may take hours.
    fn releases(self, effect: &Effect) -> bool {
        let step = effect.key.step;
        let harmless = match effect.mode {
            Mode::Probe => true,
            Mode::Attach => matches!(
                step,
                Step::StartGuest
                    | Step::RebootGuest
                    | Step::RollbackGuest
                    | Step::SetNoout
                    | Step::EnterMaintenance
                    | Step::MoveGuest
                    | Step::StopGuests
                    | Step::RebootHost
            ),
            Mode::Act => matches!(step, Step::CheckGuest | Step::RecheckGuest),
        };
        let asked_for = self == Self::RollBack && step == Step::RollbackGuest;
        !self.begins_nothing() || harmless || asked_for || step.gives_back()
    }
}

/// Looks at the run and returns what hands the result over; called once what it saw is durable.
pub type Inspect = Box<dyn FnOnce(&RunState) -> Box<dyn FnOnce() + Send> + Send>;

/// What came of an order, host by host.
pub type OrderTaken = Result<Vec<(HostId, Ordered)>, NotOrdered>;

/// Looks at what came of an order and returns what hands the answer over; called once what follows from it is durable.
pub type OrderReport = Box<dyn FnOnce(&RunState, OrderTaken) -> Box<dyn FnOnce() + Send> + Send>;

/// What can be asked of a run at work.
pub enum Request {
    /// Begin no new step; end when what can't be left alone has ended.
    Drain,
    /// Look at the run as it durably is.
    Inspect(Inspect),
    /// Pause hosts, go on with them, or stop there.
    Order {
        /// Which of these.
        order: Order,
        /// The hosts; all that are not over where none is named.
        hosts: Vec<HostId>,
        /// Takes the answer.
        report: OrderReport,
    },
}

/// Why the engine stopped short.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing can be written any more, so nothing may be done any more.
    #[error("the journal failed")]
    Journal(#[from] JournalError),
    /// The machine met an event that it has no transition for.
    #[error("the state machine refused an event")]
    Illegal(#[from] Illegal),
    /// A performer panicked.
    #[error("a step ended in a panic")]
    Panic(#[from] tokio::task::JoinError),
    /// Nothing is at work, and yet the run is not idle.
    #[error("the run stands still with work left")]
    Stuck,
}

/// An event on its way to the journal, with what follows from it.
struct Pending {
    host: HostId,
    event: HostEvent,
    at: Timestamp,
    released: Vec<Effect>,
}

/// What the driver waits for, in order of submission.
enum Durable {
    Event(Committed, Box<Pending>),
    Look(Box<dyn FnOnce() + Send>),
}

type DurableFuture = Pin<Box<dyn Future<Output = Result<Durable, JournalError>> + Send>>;

struct Driver<'a> {
    engine: &'a Engine,
    run: RunState,
    /// Performers at work.
    tasks: JoinSet<Report>,
    /// Which effect a performer performs.
    effects: HashMap<Id, (Effect, AbortHandle)>,
    /// Removals of finished jobs' files, and leases given back: nothing depends on them.
    chores: JoinSet<()>,
    /// The leases of the clusters that are worked on.
    leases: Arc<Leases>,
    /// Which entry is which node.
    neighbours: Arc<Neighbours>,
    /// Renews them; aborted with the driver.
    keeper: JoinSet<()>,
    news_out: mpsc::Sender<TaskNews>,
    news: mpsc::Receiver<TaskNews>,
    submitted: FuturesOrdered<DurableFuture>,
    /// Events of each host since its last checkpoint.
    since_checkpoint: HashMap<HostId, u32>,
    draining: CancellationToken,
    session: Session,
    /// How many events of each host are on their way to the journal.
    on_their_way: HashMap<HostId, usize>,
    /// Hosts whose debts were paid, or tried to be, in this session.
    paid: HashSet<HostId>,
    /// What is waited for besides steps.
    waits: Waits,
}

impl Engine {
    /// Works on a run until nothing is left to do or the operator asks to stop. To stop at once, drop the future: the
    /// journal is intact, and what was at work is in doubt.
    ///
    /// # Errors
    /// A journal that fails, and defects of this program. Failures of hosts are no errors but results.
    pub async fn run(
        &self,
        run: RunState,
        session: Session,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<(RunState, RunEnd), EngineError> {
        let (news_out, news) = mpsc::channel(NEWS_QUEUE);
        let leases = Arc::new(Leases::new(run.id.clone(), self.who.clone(), Arc::clone(&self.clock)));
        let mut keeper = JoinSet::new();
        keeper.spawn(Arc::clone(&leases).keep());
        let known = run.hosts().filter_map(|state| Some((state.host().clone(), state.identity.clone()?)));
        let neighbours = Arc::new(Neighbours::new(Arc::clone(&self.hosts), known));
        let mut driver = Driver {
            engine: self,
            leases,
            neighbours,
            keeper,
            run,
            tasks: JoinSet::new(),
            effects: HashMap::new(),
            chores: JoinSet::new(),
            news_out,
            news,
            submitted: FuturesOrdered::new(),
            since_checkpoint: HashMap::new(),
            draining: CancellationToken::new(),
            session,
            on_their_way: HashMap::new(),
            paid: HashSet::new(),
            waits: Waits::default(),
        };
        driver.begin().await?;
        driver.work(&mut requests).await?;
        driver.end().await
    }
}

impl Driver<'_> {
    fn tell(&self, seen: &Seen<'_>) {
        for observer in &self.engine.observers {
            observer.seen(seen);
        }
    }

    /// Opens the session and releases what the run's state calls for.
    async fn begin(&mut self) -> Result<(), EngineError> {
        let resumed = self.session != Session::First;
        self.append_run(RunRecord::Session { pid: std::process::id() }, None).await?;
        let whole = !matches!(self.session, Session::Restore | Session::RollBack);
        self.tell(&Seen::RunBegan { run: &self.run.id, hosts: &self.run.order, resumed, whole });
        let events = match self.session {
            Session::First => Vec::new(),
            Session::Again => self.run.new_rounds().into_iter().chain(self.run.old_debts()).collect(),
            Session::Settle | Session::Restore => self.run.looks(),
            Session::RollBack => self.run.rollbacks(),
        };
        for (host, event) in events {
            self.commit(host, event).await?;
        }
        if !self.session.begins_nothing() {
            self.run.begin_session();
            self.steer(false).await?;
            self.set_gates().await?;
            self.note_soak();
        }
        self.hand_out_turns().await?;
        self.pay_debts().await
    }

    /// Gives back what is owed and can be given back now, in a session that does nothing else: each host is asked once, since
    /// what could not be given back is not tried again in the same session.
    async fn pay_debts(&mut self) -> Result<(), EngineError> {
        let pays = matches!(self.session, Session::Settle | Session::Restore);
        if !pays || self.draining.is_cancelled() {
            return Ok(());
        }
        for (host, event) in self.run.give_backs() {
            let looked_at = !self.effects.values().any(|(effect, _)| effect.key.target.host() == &host);
            if looked_at && self.in_flight(&host) == 0 && self.paid.insert(host.clone()) {
                self.commit(host, event).await?;
            }
        }
        Ok(())
    }

    /// Counts the events of a host that are on their way to the journal.
    fn in_flight(&self, host: &HostId) -> usize {
        self.on_their_way.get(host).copied().unwrap_or(0)
    }

    async fn work(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), EngineError> {
        let mut asking = true;
        let deadline = tokio::time::sleep(std::time::Duration::MAX);
        tokio::pin!(deadline);
        loop {
            let busy = !(self.tasks.is_empty() && self.submitted.is_empty());
            let wakes_at = self.wakes_at(busy, asking);
            if !busy && wakes_at.is_none() {
                break;
            }
            tokio::select! {
                biased;
                Some(durable) = self.submitted.next() => {
                    self.durable(durable?);
                    self.pay_debts().await?;
                }
                Some(news) = self.news.recv() => self.task_started(news).await?,
                Some(ended) = self.tasks.join_next_with_id() => self.joined(ended).await?,
                request = requests.recv(), if asking => match request {
                    Some(Request::Drain) if self.draining.is_cancelled() => {}
                    Some(Request::Drain) => {
                        self.drain();
                        deadline.as_mut().reset(tokio::time::Instant::now() + self.engine.limits.drain);
                    }
                    Some(Request::Inspect(look)) => {
                        let hand_over = look(&self.run);
                        self.submitted.push_back(Box::pin(async move { Ok(Durable::Look(hand_over)) }));
                    }
                    Some(Request::Order { order, hosts, report }) => self.order(order, &hosts, report).await?,
                    None => asking = false,
                },
                () = until(wakes_at) => self.woken().await?,
                () = &mut deadline, if self.draining.is_cancelled() => {
                    // What still works is left: its intent is durable, so the next run looks what became of it.
                    self.tasks.abort_all();
                    while self.tasks.join_next().await.is_some() {}
                }
            }
        }
        let may_stop = self.draining.is_cancelled() || self.session.begins_nothing() || self.run.is_idle();
        if may_stop { Ok(()) } else { Err(EngineError::Stuck) }
    }

    /// Lets nothing new begin, and drops what can be done again at any time.
    fn drain(&mut self) {
        self.draining.cancel();
        self.tell(&Seen::Draining);
        for (effect, handle) in self.effects.values() {
            if effect.mode == Mode::Probe || replay(effect.key.step) == Replay::Safe {
                handle.abort();
            }
        }
    }

    async fn joined(&mut self, ended: Result<(Id, Report), JoinError>) -> Result<(), EngineError> {
        match ended {
            Ok((id, report)) => self.performed(id, report).await,
            Err(error) if error.is_cancelled() => {
                self.effects.remove(&error.id());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Closes the session.
    async fn end(mut self) -> Result<(RunState, RunEnd), EngineError> {
        // Files of finished jobs are removed for tidiness; a host that went away meanwhile is not waited for.
        let tidied = async {
            while self.chores.join_next().await.is_some() {}
            self.leases.leave_all().await;
        };
        if tokio::time::timeout(self.engine.limits.drain, tidied).await.is_err() {
            tracing::warn!("finished jobs' files, or a lease, stay on a target that does not answer");
        }
        // Not before: a renewal that is under way would come after the giving back.
        self.keeper.abort_all();
        let end = RunEnd {
            result: self.run.result(),
            interrupted: self.draining.is_cancelled() && !self.run.is_finished(),
            halted: self.run.rollout().halted().is_some(),
        };
        let finished = self.run.is_finished();
        let record = RunRecord::Ended { result: end.result, interrupted: end.interrupted, finished };
        self.append_run(record, Some(end)).await?;
        self.tell(&Seen::RunEnded(end));
        Ok((self.run, end))
    }

    /// Writes a record of the run and waits until it is durable.
    async fn append_run(&self, record: RunRecord, end: Option<RunEnd>) -> Result<(), JournalError> {
        let at = self.engine.clock.now();
        let meta = RunMeta {
            opened_at: self.run.opened_at,
            touched_at: at,
            hosts: self.run.order.len(),
            open: !self.run.is_finished(),
            result: end.map(|end| end.result),
            tally: end.map(|_| Tally::of(self.run.parallel_hosts, self.run.hosts())),
        };
        let entry = Entry { stream: StreamId::Run, at, body: encode_run(&record), checkpoint: None };
        let batch = Batch { run: self.run.id.clone(), entries: vec![entry], run_meta: Some(encode_meta(&meta)) };
        self.engine.journal.append(batch).await.map(|_| ())
    }

    /// Applies an event and hands it to the journal, together with the intents of what it releases.
    async fn commit(&mut self, host: HostId, event: HostEvent) -> Result<(), EngineError> {
        let at = self.engine.clock.now();
        let effects = self.run.apply(&host, &event, at)?;
        // What is not released has no intent in the journal, and so counts as not begun.
        let released: Vec<Effect> = match self.draining.is_cancelled() {
            true => Vec::new(),
            false => effects.into_iter().filter(|effect| self.session.releases(effect)).collect(),
        };
        let stream = StreamId::Host(host.clone());
        let mut entries = vec![Entry { stream: stream.clone(), at, body: encode_event(&event), checkpoint: None }];
        for effect in &released {
            self.run.intended(&effect.key, effect.mode, at);
            let body = encode_intent(&effect.key, effect.mode);
            entries.push(Entry { stream: stream.clone(), at, body, checkpoint: None });
        }
        self.checkpoint(&host, &mut entries);
        let batch = Batch { run: self.run.id.clone(), entries, run_meta: None };
        let ack = self.engine.journal.submit(batch).await?;
        *self.on_their_way.entry(host.clone()).or_default() += 1;
        let pending = Box::new(Pending { host, event, at, released });
        self.submitted.push_back(Box::pin(async move { Ok(Durable::Event(ack.await?, pending)) }));
        Ok(())
    }

    fn checkpoint(&mut self, host: &HostId, entries: &mut [Entry]) {
        let Some(state) = self.run.host(host) else { return };
        let count = self.since_checkpoint.entry(host.clone()).or_default();
        *count += 1;
        if (*count >= CHECKPOINT_EVERY || state.is_parked())
            && let Some(last) = entries.last_mut()
        {
            *count = 0;
            last.checkpoint = Some(encode_checkpoint(state));
        }
    }

    async fn hand_out_turns(&mut self) -> Result<(), EngineError> {
        while !self.draining.is_cancelled() && !self.session.begins_nothing() {
            self.steer(false).await?;
            let grants = self.run.grants();
            if grants.is_empty() && !self.steer(true).await? {
                break;
            }
            for (host, event) in grants {
                self.commit(host, event).await?;
            }
        }
        Ok(())
    }

    /// Something is durable: those who watch are told, and what it released is performed.
    fn durable(&mut self, durable: Durable) {
        let (committed, pending) = match durable {
            Durable::Look(hand_over) => return hand_over(),
            Durable::Event(committed, pending) => (committed, *pending),
        };
        if let Some(count) = self.on_their_way.get_mut(&pending.host) {
            *count = count.saturating_sub(1);
        }
        if let Some(state) = self.run.host(&pending.host) {
            self.tell(&Seen::Host { seq: committed.first.0, at: pending.at, event: &pending.event, state });
        }
        self.tidy_up(&pending);
        self.let_go(&pending.host);
        if self.draining.is_cancelled() {
            // Their intents are durable and they were not begun: the next run looks, and finds nothing.
            return;
        }
        for effect in pending.released {
            self.perform(effect, pending.at);
        }
    }

    /// Lets go of a host that nothing is at work on: of the lease as well, where its turn is over.
    fn let_go(&mut self, host: &HostId) {
        let Some(state) = self.run.host(host).filter(|state| state.is_parked()) else { return };
        if !matches!(state.phase, HostPhase::Done(_) | HostPhase::Held { .. }) {
            return self.engine.hosts.release(host);
        }
        let (leases, hosts, host) = (Arc::clone(&self.leases), Arc::clone(&self.engine.hosts), host.clone());
        self.chores.spawn(async move {
            leases.leave(&host).await;
            hosts.release(&host);
        });
    }

    fn perform(&mut self, effect: Effect, at: Timestamp) {
        let ports = match self.engine.hosts.ports(effect.key.target.host()) {
            Ok(ports) => ports,
            Err(fault) => {
                let report = no_way(&effect, fault);
                let handle = self.tasks.spawn(async move { report });
                self.effects.insert(handle.id(), (effect, handle));
                return;
            }
        };
        if let Some(fault) = self.worked_on_elsewhere(&effect) {
            let handle = self.tasks.spawn(async move { Report::Ended(Outcome::Refused(fault)) });
            self.effects.insert(handle.id(), (effect, handle));
            return;
        }
        let cx = self.context(&effect.key, ports, at);
        let performed = effect.clone();
        let handle = self.tasks.spawn(async move { perform(&cx, &performed).await });
        self.effects.insert(handle.id(), (effect, handle));
    }

    /// Says why a guest that is owed its stop may not be stopped now: it moved, and this run is at work in it on its new node.
    fn worked_on_elsewhere(&self, effect: &Effect) -> Option<Fault> {
        let guest =
            effect.key.target.guest().filter(|_| (effect.key.step, effect.mode) == (Step::StopGuest, Mode::Act))?;
        let own = self.run.host(effect.key.target.host())?;
        let plan = &own.guests.get(&guest)?.plan.guest;
        let (cluster, _) = own.identity.as_ref()?;
        let begun = |theirs: &GuestState| {
            theirs.phase.attempt().is_some()
                || matches!(theirs.phase, GuestPhase::Protected { .. } | GuestPhase::Held { .. })
        };
        let at_work = |other: &&HostState| {
            let same_cluster = other.identity.as_ref().is_some_and(|(other, _)| other == cluster);
            let theirs = other.guests.get(&guest).filter(|theirs| theirs.plan.guest.identity == plan.identity);
            other.host() != own.host() && same_cluster && theirs.is_some_and(begun)
        };
        let other = self.run.hosts().find(at_work)?;
        Some(Fault::transient(format!(
            "{} {guest} moved, and is being worked on as a guest of {}",
            plan.kind,
            other.host()
        )))
    }

    /// Returns what a step is performed with.
    fn context(&self, key: &StepKey, ports: Arc<HostPorts>, at: Timestamp) -> Context {
        let state = self.run.host(key.target.host());
        let record = state.and_then(|state| state.record(key));
        let cluster = state.and_then(|state| state.identity.as_ref()).map(|(ca, _)| ca.clone());
        let host = key.target.host().clone();
        Context {
            neighbours: cluster.clone().map(|cluster| (Arc::clone(&self.neighbours), cluster)),
            lease: Some(HostLease::new(Arc::clone(&self.leases), host, Arc::clone(&ports), cluster)),
            ports,
            clock: Arc::clone(&self.engine.clock),
            limits: self.engine.limits,
            news: self.news_out.clone(),
            draining: self.draining.clone(),
            since: record.and_then(|record| record.began).unwrap_or(at),
            task: record.and_then(|record| record.task.clone()),
            earlier: state.map_or_else(Vec::new, |state| state.earlier_tasks(key)),
            lock_wait: state.map_or(Duration::ZERO, |state| state.policy.lock_wait()),
            allow_quorum_loss: state.is_some_and(|state| state.policy.allow_quorum_loss),
            output: Arc::clone(&self.engine.output),
            own_boot: self.engine.own_boot.clone(),
        }
    }

    async fn performed(&mut self, id: Id, report: Report) -> Result<(), EngineError> {
        let Some((effect, _)) = self.effects.remove(&id) else { return Err(EngineError::Stuck) };
        let host = effect.key.target.host().clone();
        let event = match report {
            Report::Left => return Ok(()),
            Report::Probed(found) => HostEvent::Probed { key: effect.key, found },
            Report::Ended(Outcome::Done(Detail::Discovered(mut facts))) => {
                self.overlook_turn(&host, &mut facts);
                self.neighbours.note(&host, &facts.ca, &facts.node);
                let same_node = self.run.fleet_mut().claim(&facts.ca, &facts.node, &host);
                let Some(state) = self.run.host(&host) else { return Err(EngineError::Stuck) };
                let old = &self.engine.old;
                let prune = prunable(&state.policy, &facts, old.snapshots(&host, &facts.ca));
                let mut prune_backups = prunable_backups(&state.policy, &facts, old.backups(&host, &facts.ca));
                if !prune_backups.is_empty() {
                    let removed = self.removed_backups(&facts.ca);
                    prune_backups.retain(|old| !removed.contains(old.volid.as_str()));
                }
                let plan = plan_host(&state.policy, &facts, same_node.as_ref());
                let mut plan = state.hold_to_saved(HostPlan { prune, prune_backups, ..plan });
                plan.begun_elsewhere = self.begun_elsewhere(state, &facts.ca, &plan);
                HostEvent::Planned { key: effect.key, plan: Box::new(plan) }
            }
            Report::Ended(outcome) => HostEvent::Ended { key: effect.key, outcome },
        };
        self.halt_before(&host, &event).await?;
        self.commit(host, event).await?;
        self.hand_out_turns().await
    }

    /// Finds the last rounds of steps with the guests of a plan that other hosts of the cluster had before they moved, and those of
    /// guests that had left the host and are back.
    fn begun_elsewhere(&self, host: &HostState, cluster: &ClusterId, plan: &HostPlan) -> Vec<(GuestId, Step, u32)> {
        let here: BTreeSet<GuestId> = plan.guests.iter().map(|guest| guest.guest.id).collect();
        let mut begun: BTreeMap<(GuestId, Step), u32> = BTreeMap::new();
        for other in self.run.hosts().filter(|other| other.identity.as_ref().is_some_and(|(of, _)| of == cluster)) {
            let own = other.host() == host.host();
            for record in other.steps.iter().filter(|record| record.state != StepState::Planned) {
                let guest = record.guest.filter(|id| here.contains(id) && !(own && other.guests.contains_key(id)));
                if let Some(guest) = guest {
                    let last = begun.entry((guest, record.step)).or_default();
                    *last = (*last).max(record.round);
                }
            }
        }
        begun.into_iter().map(|((guest, step), round)| (guest, step, round)).collect()
    }

    /// Names the old backups that this run removed in a cluster: their guest may have been on another node then.
    fn removed_backups(&self, cluster: &ClusterId) -> BTreeSet<&str> {
        let of_cluster = self.run.hosts().filter(|state| state.identity.as_ref().is_some_and(|(of, _)| of == cluster));
        let records = of_cluster.flat_map(HostState::removed).filter(|record| record.step == Step::PruneBackup);
        records.filter_map(|record| record.thing.as_deref()).collect()
    }

    /// Overlooks how the cluster of a host stands that waits behind another node of it: that node may be down for its reboot,
    /// by our own doing. When the turn is free, the host is looked at anew.
    fn overlook_turn(&self, host: &HostId, facts: &mut HostFacts) {
        if let Some(cluster) = &mut facts.cluster
            && self.run.ahead_of(host, &cluster.id).is_some()
        {
            cluster.quorate = true;
            cluster.nodes.values_mut().for_each(|online| *online = true);
            cluster.quorum = None;
            facts.state.unknown.remove(&Question::Quorum);
            // Guests that are moved around, and a Ceph that heals, are of the other node's reboot as well.
            (facts.state.evacuation, facts.state.ceph) = (None, None);
            for question in [Question::Evacuation, Question::Ceph] {
                facts.state.unknown.remove(&question);
            }
        }
    }

    async fn task_started(&mut self, news: TaskNews) -> Result<(), EngineError> {
        let host = news.key.target.host().clone();
        self.commit(host, HostEvent::TaskStarted { key: news.key, task: news.task }).await
    }

    /// Removes a finished job's files from its target, now that its outcome is durable.
    fn tidy_up(&mut self, pending: &Pending) {
        let key = match &pending.event {
            HostEvent::Ended { key, outcome: Outcome::Done(_) | Outcome::AlreadyDone(_) | Outcome::Failed(_) }
            | HostEvent::Probed {
                key,
                found: Probed::Ended(Outcome::Done(_) | Outcome::AlreadyDone(_) | Outcome::Failed(_)),
            } => key,
            _ => return,
        };
        if !matches!(key.step, Step::UpgradeGuest | Step::UpgradeHost) {
            return;
        }
        let Some(place) = self.run.host(&pending.host).and_then(|state| job_place(state, key)) else { return };
        if let Ok(ports) = self.engine.hosts.ports(&pending.host) {
            let (cx, key) = (self.context(key, ports, pending.at), key.clone());
            self.chores.spawn(async move { collect(&cx, &key, &place).await });
        }
    }
}

/// Waits until then; for ever where there is no such time.
async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Reports that there is no way to the host of an effect: nothing was done now.
fn no_way(effect: &Effect, fault: Fault) -> Report {
    match (effect.mode, replay(effect.key.step)) {
        (Mode::Probe, _) => Report::Probed(Probed::Unclear(fault)),
        (Mode::Act, _) => Report::Ended(Outcome::Refused(fault)),
        (Mode::Attach, Replay::Safe | Replay::Probe) => Report::Ended(Outcome::Unknown(fault)),
    }
}
