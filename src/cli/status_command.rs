//! `proxmaint status`: asks the run at work, or reads the journal where none is.
//!
//! While a run is at work it has the store, so what the run itself does not tell (other runs, events) is read from the
//! journal's segments, which need no lock.

use std::io::{self, Write};
use std::path::Path;

use super::args::{Output, Places, StatusArgs};
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::run::{journal_failure, state_failure};
use super::state::{self, Listed, StateError};
use super::status::{EventLines, RunLine, json, runs, runs_json, tree};
use crate::adapters::clock::SystemClock;
use crate::engine::port::Clock;
use crate::ids::{HostId, RunId};
use crate::journal::record::{CloseReason, HostEntry, decode_host};
use crate::journal::replay::RunHistory;
use crate::journal::{EventFilter, LoadedRun, OpenRead, StateDir, Store, StreamId, events, runs_in_segments};
use crate::machine::host::{HostPhase, HostState};
use crate::machine::run::RunResult;
use crate::observe::live::{LiveError, ask_status};
use crate::observe::project::{RunHeader, rollout_view};
use crate::observe::style::Paint;
use crate::observe::view::{Ask, Detail, HostCounts, RunView, Standing};

/// Runs `proxmaint status`.
///
/// # Errors
/// A run that is not there, a journal that can't be read.
pub fn status(places: &Places, args: &StatusArgs) -> Result<Exit, Failure> {
    let text = match StateDir::open(&places.state_dir()).map_err(journal_failure)? {
        None => nothing(args),
        Some(dir) => answer(&dir, args)?,
    };
    // Whoever closed the pipe has read enough.
    let _written = io::stdout().lock().write_all(text.as_bytes());
    Ok(Exit::Clean)
}

fn answer(dir: &StateDir, args: &StatusArgs) -> Result<String, Failure> {
    match Store::open_read(dir, SystemClock.now()).map_err(journal_failure)? {
        OpenRead::Nothing => Ok(nothing(args)),
        OpenRead::Open(store) => stored(dir, &store, args),
        OpenRead::HeldBy(holder) => match holder.run.clone() {
            Some(run) => live(dir, args, &run, holder.pid),
            // It has the lock and has not said for which run: it looks at hosts, or waits for the operator.
            None => held(dir, args),
        },
    }
}

fn nothing(args: &StatusArgs) -> String {
    match args.output {
        Output::Human => runs(&[], Paint::for_stream(&io::stdout())),
        Output::Json => runs_json(&[]),
    }
}

fn ask(args: &StatusArgs) -> Ask {
    let host = args.host.as_deref().map(HostId::new);
    let full = host.is_some() || args.output == Output::Json;
    Ask { detail: if full { Detail::Full } else { Detail::Brief }, host }
}

/// Writes a view, or says that it has no such host.
fn show(view: &RunView, args: &StatusArgs) -> Result<String, Failure> {
    if let Some(name) = args.host.as_deref().filter(|_| view.hosts.is_empty()) {
        return Err(Failure::new(Exit::Usage, format!("run {} has no host {name}", view.run))
            .hint(format!("`proxmaint status {}` lists its hosts", view.run)));
    }
    Ok(match args.output {
        Output::Human => tree(view, args.host.is_some(), Paint::for_stream(&io::stdout())),
        Output::Json => json(view),
    })
}

/// Answers while nobody works.
fn stored(dir: &StateDir, store: &Store, args: &StatusArgs) -> Result<String, Failure> {
    let listed = state::list(store).map_err(state_failure)?;
    if args.all {
        let lines = listed
            .iter()
            .map(|run| match (tallied(run), run.archived) {
                (Some(line), _) => Ok(line),
                (None, true) => from_segments(dir, &run.run).map(|history| line(&history, None)),
                (None, false) => state::load(store, &run.run).map_err(state_failure).map(|h| line(&h, None)),
            })
            .collect::<Result<Vec<RunLine>, Failure>>()?;
        return Ok(list(&lines, args));
    }
    let Some(run) = wanted(&listed, args)? else { return Ok(nothing(args)) };
    if args.events {
        return event_text(dir, &run, args);
    }
    let archived = listed.iter().any(|listed| listed.run == run && listed.archived);
    let history = if archived { from_segments(dir, &run)? } else { state::load(store, &run).map_err(state_failure)? };
    show(&view(&history, None, args), args)
}

/// Answers while a run works.
fn live(dir: &StateDir, args: &StatusArgs, working: &RunId, pid: u32) -> Result<String, Failure> {
    let at_work = Some((working, pid));
    if args.all {
        let lines = known(dir)?
            .iter()
            .map(|listed| from_segments(dir, &listed.run).map(|history| line(&history, at_work)))
            .collect::<Result<Vec<RunLine>, Failure>>()?;
        return Ok(list(&lines, args));
    }
    let run = match &args.run {
        None => working.clone(),
        Some(prefix) => state::find(&known(dir)?, prefix).map_err(state_failure)?,
    };
    if args.events {
        return event_text(dir, &run, args);
    }
    if run == *working {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::Bug, error))?;
        match runtime.block_on(ask_status(dir.root(), &ask(args))) {
            Ok(view) => return show(&view, args),
            // It has just begun, or just ended: what it has written so far is as good an answer.
            Err(LiveError::NobodyThere { .. }) => {}
            Err(error) => {
                return Err(Failure::new(Exit::Journal, error)
                    .hint(format!("process {pid} works on run {working} and does not answer")));
            }
        }
    }
    show(&view(&from_segments(dir, &run)?, at_work, args), args)
}

/// Answers while the journal is held by somebody who works on no run (yet).
fn held(dir: &StateDir, args: &StatusArgs) -> Result<String, Failure> {
    let listed = known(dir)?;
    if args.all {
        let history = |listed: &Listed| from_segments(dir, &listed.run);
        let histories = listed.iter().map(history).collect::<Result<Vec<_>, Failure>>()?;
        return Ok(list(&histories.iter().map(|history| line(history, None)).collect::<Vec<_>>(), args));
    }
    match wanted(&listed, args)? {
        None => Ok(nothing(args)),
        Some(run) if args.events => event_text(dir, &run, args),
        Some(run) => show(&view(&from_segments(dir, &run)?, None, args), args),
    }
}

/// Finds the run that is meant; `None` where there is none at all.
fn wanted(listed: &[Listed], args: &StatusArgs) -> Result<Option<RunId>, Failure> {
    match &args.run {
        Some(prefix) => state::find(listed, prefix).map(Some).map_err(state_failure),
        None => Ok(listed.last().map(|listed| listed.run.clone())),
    }
}

/// Finds the run that a unique beginning names, beside a live run as well.
///
/// # Errors
/// None or several; a journal that can't be read.
pub fn find_run(state_dir: &Path, prefix: &str) -> Result<RunId, Failure> {
    let runs = match StateDir::open(state_dir).map_err(journal_failure)? {
        Some(dir) => known(&dir)?,
        None => Vec::new(),
    };
    state::find(&runs, prefix).map_err(state_failure)
}

/// Lists the runs that the segments know, oldest first: by the names of the segments, whatever is in them.
pub(super) fn known(dir: &StateDir) -> Result<Vec<Listed>, Failure> {
    let runs = runs_in_segments(dir).map_err(journal_failure)?;
    Ok(runs.into_iter().map(|run| Listed { run, meta: None, archived: false }).collect())
}

/// Folds a run from the journal's segments.
pub(super) fn from_segments(dir: &StateDir, run: &RunId) -> Result<RunHistory, Failure> {
    let filter = EventFilter { run: Some(run.clone()), ..EventFilter::default() };
    let found =
        events(dir, filter).map_err(journal_failure)?.collect::<Result<Vec<_>, _>>().map_err(journal_failure)?;
    let loaded = LoadedRun::from_events(run.clone(), found);
    crate::journal::replay::replay(&loaded)
        .map_err(|source| state_failure(StateError::Replay { run: run.clone(), source }))
}

/// Makes the view of a run from its history; `at_work` is the run that is being worked on, and by which process.
fn view(history: &RunHistory, at_work: Option<(&RunId, u32)>, args: &StatusArgs) -> RunView {
    let header = header(history, at_work);
    RunView::build(&header, &history.hosts, |state| waits_for(history, state), SystemClock.now(), &ask(args))
}

/// Says what a view needs to know of a run; `at_work` is the run that is being worked on, and by which process.
pub(super) fn header(history: &RunHistory, at_work: Option<(&RunId, u32)>) -> RunHeader {
    let standing = match at_work {
        Some((run, pid)) if *run == history.id => Standing::Running { pid },
        _ if history.closed == Some(CloseReason::Expired) => Standing::Expired,
        _ if history.is_open() => Standing::Interrupted,
        _ => Standing::Finished,
    };
    let rollout = history.rollout();
    RunHeader {
        run: history.id.clone(),
        opened_at: history.opened_at,
        parallel_hosts: history.policy.parallel_hosts,
        standing,
        rollout: rollout_view(&rollout, history.halted.as_deref()),
        kept_back: rollout.kept_back(&history.hosts),
    }
}

/// Returns the host whose cluster's turn, or whose reboot, another one waits for.
pub(super) fn waits_for(history: &RunHistory, state: &HostState) -> Option<HostId> {
    let holder = match &state.phase {
        HostPhase::AwaitingTurn { plan } => {
            let cluster = plan.cluster.as_ref()?;
            history.hosts.iter().find(|other| other.turn.as_ref() == Some(cluster))?
        }
        HostPhase::AwaitingReboot { .. } => history.hosts.iter().find(|other| other.reboot_turn)?,
        _ => return None,
    };
    (holder.host() != state.host()).then(|| holder.host().clone())
}

/// Makes a run's line from what the list of runs says of it; `None` where it has to be read.
fn tallied(listed: &Listed) -> Option<RunLine> {
    let meta = listed.meta.as_ref()?;
    let tally = meta.tally.as_ref()?;
    let standing = match (meta.open, tally.closed) {
        (_, Some(CloseReason::Expired)) => Standing::Expired,
        (true, _) => Standing::Interrupted,
        (false, _) => Standing::Finished,
    };
    let (run, opened_at, parallel_hosts) = (listed.run.clone(), meta.opened_at, tally.parallel_hosts);
    let counts = HostCounts::of(&tally.results);
    let header = RunHeader { run, opened_at, parallel_hosts, standing, rollout: None, kept_back: Default::default() };
    Some(RunLine { header, result: counts.result(), counts, owed: tally.owed })
}

fn line(history: &RunHistory, at_work: Option<(&RunId, u32)>) -> RunLine {
    let running = at_work.is_some_and(|(run, _)| *run == history.id);
    let mut counts = HostCounts::default();
    let mut owed = 0;
    for state in &history.hosts {
        counts.add(state, running);
        owed += usize::from(!state.owed().is_empty());
    }
    let result: RunResult = counts.result();
    RunLine { header: header(history, at_work), result, counts, owed }
}

fn list(lines: &[RunLine], args: &StatusArgs) -> String {
    match args.output {
        Output::Human => runs(lines, Paint::for_stream(&io::stdout())),
        Output::Json => runs_json(lines),
    }
}

/// Writes what happened in a run, one event a line.
fn event_text(dir: &StateDir, run: &RunId, args: &StatusArgs) -> Result<String, Failure> {
    let paint = Paint::for_stream(&io::stdout());
    let only = args.host.as_deref().map(HostId::new);
    let mut lines = EventLines::new();
    let mut text = String::new();
    let filter = EventFilter { run: Some(run.clone()), ..EventFilter::default() };
    for event in events(dir, filter).map_err(journal_failure)? {
        let event = event.map_err(journal_failure)?;
        let StreamId::Host(host) = &event.stream else { continue };
        let record = decode_host(&event.body).map_err(|error| {
            Failure::new(Exit::Journal, error).hint("`proxmaint journal verify` checks every record")
        })?;
        // Intents are how the journal keeps its promise, and no news to people.
        let HostEntry::Event(happened) = record.into_entry(run, host) else { continue };
        let line = match args.output {
            Output::Human => lines.line(event.at, host, &happened, paint),
            Output::Json => lines.json_line(run, event.seq.0, event.at, host, &happened),
        };
        if only.as_ref().is_none_or(|only| only == host) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GuestId, GuestKind};
    use crate::journal::record::{RunMeta, Tally};
    use crate::machine::host::HostVerdict;
    use crate::machine::outcome::{Fault, RunningGuest};
    use crate::plan::{HostPolicy, RunPolicy};
    use crate::time::Timestamp;

    fn history(open: bool) -> RunHistory {
        let run = RunId::new("20261122-000000-test");
        let verdicts = [
            HostPhase::Done(HostVerdict::NothingToDo { reboot_wanted: None }),
            HostPhase::Done(HostVerdict::NothingToDo { reboot_wanted: None }),
            HostPhase::Done(HostVerdict::Failed(Fault::permanent("the disk is full"))),
            HostPhase::Pending,
        ];
        let host = |(n, phase): (usize, HostPhase)| {
            let policy = HostPolicy {
                host: HostId::new(format!("pve{n}")),
                node: None,
                max_parallel: 2,
                unmanaged: Default::default(),
                declared: Default::default(),
                protect_max_age_ms: 0,
                ..HostPolicy::new(HostId::new("x"))
            };
            HostState { phase, ..HostState::new(run.clone(), policy) }
        };
        let mut hosts: Vec<HostState> = verdicts.into_iter().enumerate().map(host).collect();
        let guest =
            RunningGuest { id: GuestId(101), kind: GuestKind::Ct, name: String::new(), ha: false, identity: None };
        hosts[2].shut.push(guest);
        RunHistory {
            id: run.clone(),
            opened_at: Timestamp(1),
            touched_at: Timestamp(2),
            policy: RunPolicy { parallel_hosts: 3, rollout: Default::default(), hosts: Vec::new() },
            manifest: None,
            pid: None,
            ended: None,
            noted: Default::default(),
            halted: None,
            closed: (!open).then_some(CloseReason::Expired),
            hosts,
        }
    }

    #[test]
    fn a_tally_says_what_reading_the_run_would() {
        for open in [true, false] {
            let history = history(open);
            let tally = Tally { closed: history.closed, ..Tally::of(3, history.hosts.iter()) };
            let meta = RunMeta {
                opened_at: history.opened_at,
                touched_at: history.touched_at,
                hosts: history.hosts.len(),
                open,
                result: None,
                tally: Some(tally),
            };
            let written = crate::journal::record::encode_meta(&meta);
            let meta = crate::journal::record::decode_meta(&written).unwrap();
            let listed = Listed { run: history.id.clone(), meta: Some(meta), archived: false };
            let (told, read) = (tallied(&listed).unwrap(), line(&history, None));
            assert_eq!(read.owed, 1);
            assert_eq!(
                (told.header, told.result, told.counts, told.owed),
                (read.header, read.result, read.counts, read.owed)
            );
        }
    }

    #[test]
    fn a_run_without_a_tally_has_to_be_read() {
        let old = br#"{"v":1,"body":{"opened_at":1,"touched_at":2,"hosts":4,"open":true,"result":null}}"#;
        let meta = crate::journal::record::decode_meta(old).unwrap();
        assert!(tallied(&Listed { run: RunId::new("r"), meta: Some(meta), archived: false }).is_none());
    }
}
