//! Carries a run out: the engine at work, those who watch it, the operator's signals, and the report at the end.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Decided, interrupted_before_anything, journal_failure, unless_interrupted};
use crate::adapters::clock::SystemClock;
use crate::cli::args::{Output, RunArgs};
use crate::cli::diagnostics::Failure;
use crate::cli::exit_code::Exit;
use crate::cli::state::{self, Adoption, OldSnapshots};
use crate::engine::driver::{Engine, EngineError, Request, Session};
use crate::engine::limits::Limits;
use crate::engine::observer::{Observer, RunEnd};
use crate::engine::port::{Clock, Hosts};
use crate::ids::{HostId, RunId};
use crate::journal::record::CloseReason;
use crate::journal::replay::RunHistory;
use crate::journal::{JournalError, SledJournal, StateDir};
use crate::machine::run::RunState;
use crate::observe::json::JsonLines;
use crate::observe::live::Live;
use crate::observe::log::{Console, Log, Redactor};
use crate::observe::output::LogFiles;
use crate::observe::progress::{self, Progress, Style};
use crate::observe::report;
use crate::observe::style::Paint;
use crate::observe::view::{Ask, Detail, RunView, Standing};
use crate::plan::RunPolicy;

/// How many questions to the engine may wait: each is answered between two steps of its loop.
const REQUESTS: usize = 64;

/// What a session works with.
pub(super) struct Work<'a> {
    pub(super) run: RunId,
    pub(super) dir: &'a StateDir,
    pub(super) journal: Arc<SledJournal>,
    pub(super) hosts: Arc<dyn Hosts>,
    pub(super) redactor: &'a Redactor,
    pub(super) args: &'a RunArgs,
    /// The hosts that are worked on; others in the run stay as they are.
    pub(super) only: BTreeSet<HostId>,
    pub(super) manifest: &'a Path,
    pub(super) old_snapshots: Arc<OldSnapshots>,
}

impl Work<'_> {
    /// Does what was decided.
    pub(super) async fn carry_out(self, decided: Decided, present: &RunPolicy) -> Result<Exit, Failure> {
        let watchers = Watchers::start(self.args, self.redactor)?;
        let console = if watchers.own_stderr() { Console::Off } else { Console::Warnings };
        let _log = Log::open(self.dir.root(), &self.run, self.redactor, console)
            .map_err(|error| Failure::new(Exit::Config, error))?;
        if let Some((history, reason)) = decided.close {
            match unless_interrupted(self.settle(*history, reason)).await {
                Some(settled) => settled?,
                None => return Ok(interrupted_before_anything()),
            }
        }
        let (run, session) = match decided.goes_on {
            Some(mut history) => {
                let adoption = Adoption { present, replan: decided.replan, removed: &decided.removed };
                let now = SystemClock.now();
                state::adopt(&self.journal, &mut history, adoption, now).await.map_err(journal_failure)?;
                history.policy.parallel_hosts = self.args.parallel_hosts;
                (history.into_state(), Session::Again)
            }
            None => {
                let now = SystemClock.now();
                state::open_run(&self.journal, &self.run, present, self.manifest, now)
                    .await
                    .map_err(journal_failure)?;
                (RunState::open(self.run.clone(), present, now), Session::First)
            }
        };
        self.work(run, session, watchers).await
    }

    fn engine(&self, observers: Vec<Arc<dyn Observer>>) -> Engine {
        Engine {
            hosts: Arc::clone(&self.hosts),
            journal: self.journal.clone(),
            clock: Arc::new(SystemClock),
            observers,
            limits: Limits::default(),
            old_snapshots: Arc::clone(&self.old_snapshots),
            old_backups: Arc::default(),
            output: Arc::new(LogFiles::new(self.dir.root(), self.redactor)),
            own_boot: crate::cli::own_boot(),
        }
    }

    /// Looks at what is in doubt in a run that is not gone on with, and closes it.
    async fn settle(&self, history: RunHistory, reason: CloseReason) -> Result<(), Failure> {
        let why = match reason {
            CloseReason::Expired => "is too old to go on with",
            CloseReason::Fresh => "is left as it is, as you asked",
        };
        eprintln!("run {} {why}: what is in doubt is looked at, then it is closed", history.id);
        let hosts = history.hosts.clone();
        let mut run = RunState::restore(history.id.clone(), self.args.parallel_hosts, history.opened_at, hosts);
        run.restrict_to(&self.only);
        let (_requests, waiting) = mpsc::channel(1);
        let (settled, _) = self.engine(Vec::new()).run(run, Session::Settle, waiting).await.map_err(engine_failure)?;
        state::close_run(&self.journal, &history, &settled, reason, SystemClock.now()).await.map_err(journal_failure)
    }

    async fn work(self, mut run: RunState, session: Session, watchers: Watchers) -> Result<Exit, Failure> {
        run.restrict_to(&self.only);
        if let Some(progress) = &watchers.progress {
            progress.recall(&mut run.hosts());
        }
        let (requests, waiting) = mpsc::channel(REQUESTS);
        let stop = CancellationToken::new();
        let live = Live::bind(self.dir.root()).map_err(|error| Failure::new(Exit::Config, error))?;
        let asked = requests.clone();
        let serving = tokio::spawn(live.serve(move |ask| status(asked.clone(), ask), stop.clone()));
        let engine = self.engine(watchers.observers());
        let ended = tokio::select! {
            ended = engine.run(run, session, waiting) => Some(ended),
            () = interrupted_twice(requests) => None,
        };
        stop.cancel();
        // The socket's clients are told that the run is gone by its end; nothing else depends on them.
        let _served = serving.await;
        let Some(ended) = ended else {
            watchers.close();
            eprintln!("stopped at once; the journal is intact. `proxmaint run` goes on from there");
            return Ok(Exit::Interrupted);
        };
        match ended {
            Ok((run, end)) => Ok(self.report(&run, end, &watchers)),
            Err(error) => {
                watchers.close();
                Err(engine_failure(error))
            }
        }
    }

    fn report(&self, run: &RunState, end: RunEnd, watchers: &Watchers) -> Exit {
        let exit = Exit::of_run(end);
        let standing = if run.is_finished() { Standing::Finished } else { Standing::Interrupted };
        let view = RunView::of_run(run, standing, SystemClock.now(), &Ask { detail: Detail::Full, host: None });
        watchers.close();
        match &watchers.json {
            Some(json) => json.finish(&view, end, exit.code()),
            None => {
                let paint = Paint::for_stream(&io::stdout());
                let width = terminal_width();
                let text = report::text(&view, width, paint);
                // A closed stdout is no reason to lose the exit code.
                let _written = io::Write::write_all(&mut io::stdout().lock(), text.as_bytes());
            }
        }
        if end.interrupted {
            eprintln!("interrupted; nothing is lost. To go on: proxmaint run");
        }
        exit
    }
}

/// Those who watch a run.
struct Watchers {
    progress: Option<Arc<dyn Progress>>,
    style: Style,
    json: Option<Arc<JsonLines>>,
}

impl Watchers {
    fn start(args: &RunArgs, redactor: &Redactor) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(Exit::Bug, error);
        let style = Style::for_stderr();
        Ok(match args.output {
            Output::Json => {
                let json = JsonLines::start(redactor.wrap(io::stdout()), Arc::new(SystemClock)).map_err(failed)?;
                Self { progress: None, style, json: Some(Arc::new(json)) }
            }
            Output::Human => {
                let progress = progress::start(style, args.verbose, Arc::new(SystemClock), redactor).map_err(failed)?;
                Self { progress: Some(Arc::from(progress)), style, json: None }
            }
        })
    }

    /// Tells whether standard error is theirs alone: bars are drawn there.
    fn own_stderr(&self) -> bool {
        self.progress.is_some() && self.style == Style::Bars
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

/// Returns the width of the terminal that the report goes to.
fn terminal_width() -> Option<u16> {
    let out = io::stdout();
    out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col)).flatten()
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

/// Ends when the operator has asked to stop for the second time; the first time the engine is told to begin nothing new.
async fn interrupted_twice(requests: mpsc::Sender<Request>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals can't be waited for: Ctrl-C ends the program at once");
        return std::future::pending().await;
    };
    let mut asked = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
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
