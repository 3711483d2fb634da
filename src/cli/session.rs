//! A session of the engine, as commands carry it out: those who watch, the socket, the operator's signals.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::args::Output;
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::run::journal_failure;
use crate::adapters::clock::SystemClock;
use crate::engine::driver::{Engine, EngineError, OrderTaken, Request, Session};
use crate::engine::limits::Limits;
use crate::engine::observer::{Observer, RunEnd};
use crate::engine::port::{Clock, Hosts};
use crate::ids::HostId;
use crate::journal::replay::RunHistory;
use crate::journal::{JournalError, LockAttempt, Purpose, RunLock, SledJournal, StateDir, Store};
use crate::machine::order::Order;
use crate::machine::run::RunState;
use crate::observe::json::JsonLines;
use crate::observe::live::{Answers, Live};
use crate::observe::log::{Console, Redactor};
use crate::observe::order::{OrderReply, replies};
use crate::observe::output::LogFiles;
use crate::observe::progress::{self, Progress, Style};
use crate::observe::view::{Ask, RunView, Standing};
use crate::plan::OldThings;

/// How many questions to the engine may wait: each is answered between two steps of its loop.
const REQUESTS: usize = 64;

/// Takes the lock of a state directory and opens its journal.
///
/// # Errors
/// Somebody else works there; a journal that can't be read.
pub(super) fn open_store(dir: &StateDir, purpose: Purpose) -> Result<(RunLock, Store), Failure> {
    let lock = match RunLock::try_acquire(dir, purpose, None, SystemClock.now()).map_err(journal_failure)? {
        LockAttempt::Acquired(lock) => lock,
        LockAttempt::HeldBy(holder) => return Err(journal_failure(JournalError::Held(holder))),
    };
    let store = Store::open(dir, &lock).map_err(journal_failure)?;
    Ok((lock, store))
}

/// Ends a journal that commands worked with: writes what is left, and reports a failure that nobody has been told of.
///
/// # Errors
/// The work's own, else the journal's.
pub(super) fn close_journal<T>(journal: Arc<SledJournal>, worked: Result<T, Failure>) -> Result<T, Failure> {
    match (worked, Arc::into_inner(journal).map(SledJournal::close)) {
        (Ok(_), Some(Err(error))) => Err(journal_failure(error)),
        (worked, _) => worked,
    }
}

/// What sessions work with.
pub(super) struct Workshop<'a> {
    pub(super) dir: &'a StateDir,
    pub(super) journal: Arc<SledJournal>,
    pub(super) hosts: Arc<dyn Hosts>,
    /// The hosts that are worked on; others in the run stay as they are.
    pub(super) only: BTreeSet<HostId>,
    /// What earlier runs left and is removed.
    pub(super) old: OldThings,
    /// What blots secrets out, should output ever hold one.
    pub(super) redactor: &'a Redactor,
}

impl Workshop<'_> {
    fn engine(&self, observers: Vec<Arc<dyn Observer>>) -> Engine {
        Engine {
            hosts: Arc::clone(&self.hosts),
            journal: self.journal.clone(),
            clock: Arc::new(SystemClock),
            observers,
            limits: Limits::default(),
            old: Arc::new(self.old.clone()),
            output: Arc::new(LogFiles::new(self.dir.root(), self.redactor)),
            own_boot: super::own_boot(),
            who: super::own_name(),
        }
    }

    /// Carries out a session that begins nothing, watched by nobody, and returns how the run stands then.
    ///
    /// # Errors
    /// A journal that fails.
    pub(super) async fn quietly(&self, history: &RunHistory, session: Session) -> Result<RunState, Failure> {
        let (parallel, hosts) = (history.policy.parallel_hosts, history.hosts.clone());
        let mut run = RunState::restore(history.id.clone(), parallel, history.opened_at, hosts);
        run.restrict_to(&self.only);
        let (_requests, waiting) = mpsc::channel(1);
        let (run, _) = self.engine(Vec::new()).run(run, session, waiting).await.map_err(engine_failure)?;
        Ok(run)
    }

    /// Works on a run until there is nothing left to do, or the operator asks to stop. `None` where it was stopped at once.
    ///
    /// # Errors
    /// A journal that fails; a socket that can't be made.
    pub(super) async fn work(
        &self,
        mut run: RunState,
        session: Session,
        watchers: &Watchers,
    ) -> Result<Option<(RunState, RunEnd)>, Failure> {
        run.restrict_to(&self.only);
        if let Some(progress) = &watchers.progress {
            progress.recall(&mut run.hosts());
        }
        let (requests, waiting) = mpsc::channel(REQUESTS);
        let stop = CancellationToken::new();
        let live = Live::bind(self.dir.root()).map_err(|error| Failure::new(Exit::Config, error))?;
        let asked = requests.clone();
        let serving = tokio::spawn(live.serve(AtWork(asked), stop.clone()));
        let engine = self.engine(watchers.observers());
        let ended = tokio::select! {
            ended = engine.run(run, session, waiting) => Some(ended),
            () = interrupted_twice(requests) => None,
        };
        stop.cancel();
        // The socket's clients are told that the run is gone by its end; nothing else depends on them.
        let _served = serving.await;
        watchers.close();
        ended.transpose().map_err(engine_failure)
    }
}

/// Those who watch a run.
pub(super) struct Watchers {
    progress: Option<Arc<dyn Progress>>,
    style: Style,
    /// Those who write JSON, where that is asked for.
    pub(super) json: Option<Arc<JsonLines>>,
}

impl Watchers {
    /// Starts them.
    ///
    /// # Errors
    /// Where the system gives no thread to write from.
    pub(super) fn start(output: Output, verbose: bool, redactor: &Redactor) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(Exit::Bug, error);
        let style = Style::for_stderr();
        Ok(match output {
            Output::Json => {
                let json = JsonLines::start(redactor.wrap(io::stdout()), Arc::new(SystemClock)).map_err(failed)?;
                Self { progress: None, style, json: Some(Arc::new(json)) }
            }
            Output::Human => {
                let progress = progress::start(style, verbose, Arc::new(SystemClock), redactor).map_err(failed)?;
                Self { progress: Some(Arc::from(progress)), style, json: None }
            }
        })
    }

    /// Returns what of the log goes to standard error: nothing while bars are drawn there.
    pub(super) fn console(&self) -> Console {
        match self.progress.is_some() && self.style == Style::Bars {
            true => Console::Off,
            false => Console::Warnings,
        }
    }

    fn observers(&self) -> Vec<Arc<dyn Observer>> {
        let progress = self.progress.iter().map(|p| Arc::clone(p) as Arc<dyn Observer>);
        let json = self.json.iter().map(|j| Arc::clone(j) as Arc<dyn Observer>);
        progress.chain(json).collect()
    }

    fn close(&self) {
        if let Some(progress) = &self.progress {
            progress.finish();
        }
    }
}

/// The run at work, as the socket's clients are answered.
#[derive(Clone)]
struct AtWork(mpsc::Sender<Request>);

impl Answers for AtWork {
    async fn status(&self, ask: Ask) -> RunView {
        status(self.0.clone(), ask).await
    }

    async fn order(&self, order: Order, hosts: Vec<HostId>) -> Result<Vec<OrderReply>, String> {
        let (answer, answered) = oneshot::channel();
        let report = Box::new(move |run: &RunState, taken: OrderTaken| {
            let replies = taken.map(|taken| replies(order, run, &taken)).map_err(|error| error.to_string());
            // A client that went away has no use for its answer.
            let hand_over: Box<dyn FnOnce() + Send> = Box::new(move || drop(answer.send(replies)));
            hand_over
        });
        let ended = || "the run is over".to_owned();
        self.0.send(Request::Order { order, hosts, report }).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

/// Asks the engine how the run durably stands.
async fn status(requests: mpsc::Sender<Request>, ask: Ask) -> RunView {
    let (answer, answered) = oneshot::channel();
    let look = Box::new(move |run: &RunState| {
        let standing = Standing::Running { pid: std::process::id() };
        let view = RunView::of_run(run, standing, SystemClock.now(), &ask);
        // A client that went away has no use for its answer.
        let hand_over: Box<dyn FnOnce() + Send> = Box::new(move || drop(answer.send(view)));
        hand_over
    });
    match requests.send(Request::Inspect(look)).await {
        Ok(()) => match answered.await {
            Ok(view) => view,
            Err(_) => std::future::pending().await,
        },
        Err(_) => std::future::pending().await,
    }
}

/// The signals by which the program is asked to stop.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// That the terminal is gone; whoever has none (`nohup`, cron) is not asked to stop by it.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Listens from here on.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: io::stdin().is_terminal().then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Ends when the operator has asked to stop for the second time; the first time the engine is told to begin nothing new.
async fn interrupted_twice(requests: mpsc::Sender<Request>) {
    let Ok(mut stops) = StopSignals::listen() else {
        tracing::warn!("signals can't be waited for: Ctrl-C ends the program at once");
        return std::future::pending().await;
    };
    let mut asked = false;
    loop {
        stops.next().await;
        if asked {
            return;
        }
        asked = true;
        if requests.send(Request::Drain).await.is_err() {
            tracing::debug!("the run is over already");
        }
    }
}

fn engine_failure(error: EngineError) -> Failure {
    match error {
        // What is durable is not lost: the next run goes on from there.
        EngineError::Journal(error @ (JournalError::Io { .. } | JournalError::Poisoned { .. })) => {
            Failure { exit: Exit::Interrupted, ..journal_failure(error) }
        }
        EngineError::Journal(error) => journal_failure(error),
        error => Failure::new(Exit::Bug, error)
            .hint("this is a bug in proxmaint; the journal is intact, and `proxmaint status` shows how far it came"),
    }
}
