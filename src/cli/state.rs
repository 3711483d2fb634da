//! The state directory from the commands' side: which runs there are, which one a command means, and changes between sessions.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use crate::ids::{HostId, RunId};
use crate::journal::record::{
    CloseReason, RunMeta, RunRecord, Tally, decode_meta, encode_event, encode_meta, encode_run,
};
use crate::journal::replay::{ReplayError, RunHistory, replay};
use crate::journal::{Batch, Entry, Journal, JournalError, RunListing, SledJournal, Store, StreamId};
use crate::machine::event::HostEvent;
use crate::machine::host::{HostPhase, HostState};
use crate::machine::rollout::Noted;
use crate::machine::run::RunState;
use crate::plan::RunPolicy;
use crate::time::Timestamp;

/// Why a run can't be named or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The journal itself.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is in it.
    #[error("run {run} can't be read back")]
    Replay {
        /// The run.
        run: RunId,
        /// Why.
        source: ReplayError,
    },
    /// No run has such a name.
    #[error("there is no run {0}")]
    NoSuchRun(String),
    /// Several runs have names that begin like that.
    #[error("{prefix} could be any of {} runs: {}", candidates.len(), candidates.join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// The runs.
        candidates: Vec<String>,
    },
    /// The run is over.
    #[error("run {0} is over: nothing is left to go on with")]
    Over(RunId),
}

/// A run in the list of runs.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub run: RunId,
    /// What the list shows of it.
    pub meta: Option<RunMeta>,
    /// Whether its events were moved to the archive.
    pub archived: bool,
}

impl Listed {
    /// Tells whether the run made or removed snapshots or backups, as far as the list says: if it does not say, it may have.
    pub fn is_about_things(&self) -> bool {
        let tally = self.meta.as_ref().and_then(|meta| meta.tally.as_ref());
        tally.is_none_or(|tally| tally.made != Some(0) || tally.removed != 0)
    }
}

/// Lists the runs, oldest first.
///
/// # Errors
/// A journal that can't be read.
pub fn list(store: &Store) -> Result<Vec<Listed>, StateError> {
    let listed = |listing: RunListing| Listed {
        meta: listing.meta.as_deref().and_then(|meta| decode_meta(meta).ok()),
        run: listing.run,
        archived: listing.archived,
    };
    let mut runs: Vec<Listed> = store.runs()?.into_iter().map(listed).collect();
    runs.sort_by(|a, b| a.run.cmp(&b.run));
    Ok(runs)
}

/// Finds the run that a unique beginning names.
///
/// # Errors
/// None or several.
pub fn find(runs: &[Listed], prefix: &str) -> Result<RunId, StateError> {
    let found: Vec<&Listed> = runs.iter().filter(|listed| listed.run.as_str().starts_with(prefix)).collect();
    match found.as_slice() {
        [one] => Ok(one.run.clone()),
        [] => Err(StateError::NoSuchRun(prefix.to_owned())),
        several => match several.iter().find(|listed| listed.run.as_str() == prefix) {
            Some(exact) => Ok(exact.run.clone()),
            None => Err(StateError::Ambiguous {
                prefix: prefix.to_owned(),
                candidates: several.iter().map(|listed| listed.run.to_string()).collect(),
            }),
        },
    }
}

/// Reads a run back.
///
/// # Errors
/// A journal that can't be read.
pub fn load(store: &Store, run: &RunId) -> Result<RunHistory, StateError> {
    replay(&store.load_run(run)?).map_err(|source| StateError::Replay { run: run.clone(), source })
}

/// Which run a `run` works on.
#[derive(Debug)]
#[must_use]
pub enum Choice {
    /// A new one; where there is an unfinished one, it is settled and closed first.
    New {
        /// The unfinished one, and why it is closed.
        close: Option<(Box<RunHistory>, CloseReason)>,
    },
    /// This one goes on.
    Resume(Box<RunHistory>),
}

/// What the operator wants to work on.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// This run, by a unique beginning of its name.
    pub resume: Option<&'a str>,
    /// A new run, whatever is unfinished.
    pub fresh: bool,
    /// The manifest: runs of another one that shares the state directory are not gone on with.
    pub manifest: &'a Path,
}

/// How many unfinished runs are looked at for one of this manifest: one a manifest, and few manifests share a directory.
const MOST_OPEN: usize = 64;

/// Chooses the run to work on.
///
/// # Errors
/// A journal that can't be read; a `resume` that names no run that can go on.
pub fn choose(store: &Store, wish: &Wish<'_>, resume_within: Duration, now: Timestamp) -> Result<Choice, StateError> {
    let runs = list(store)?;
    if let Some(prefix) = wish.resume {
        let run = find(&runs, prefix)?;
        let history = load(store, &run)?;
        let goes_on = history.is_open() && !only_prunes(&history);
        return if goes_on { Ok(Choice::Resume(Box::new(history))) } else { Err(StateError::Over(run)) };
    }
    let open = |listed: &&Listed| !listed.archived && listed.meta.as_ref().is_none_or(|meta| meta.open);
    let mut unfinished = None;
    for listed in runs.iter().rev().filter(open).take(MOST_OPEN) {
        let history = load(store, &listed.run)?;
        if history.is_open() && history.is_of(wish.manifest) && !only_prunes(&history) {
            unfinished = Some(Box::new(history));
            break;
        }
    }
    let Some(history) = unfinished else { return Ok(Choice::New { close: None }) };
    Ok(match wish.fresh {
        true => Choice::New { close: Some((history, CloseReason::Fresh)) },
        false if history.is_too_old(resume_within, now) => Choice::New { close: Some((history, CloseReason::Expired)) },
        false => Choice::Resume(history),
    })
}

/// A run that is not gone on with, and in which something is left to be settled before another one begins.
#[derive(Debug)]
pub struct Leftover {
    /// The run.
    pub history: Box<RunHistory>,
    /// What is left.
    pub why: Settling,
}

/// What is left to be settled in a run that is not gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Settling {
    /// It was not over and is closed.
    Close(CloseReason),
    /// It only removed what earlier runs had made, was interrupted, and is closed.
    Prune,
    /// It is over, and owes something still.
    Debts,
}

/// How many runs are looked at that are over and may owe something, and are not known to: such as were being settled when
/// they were interrupted, one at a time.
const MOST_UNKNOWN: usize = 64;

/// Finds the runs of a manifest that are over and owe something, or that only removed things and were interrupted; oldest
/// first. A run that is known to owe is never passed over.
///
/// # Errors
/// A journal that can't be read.
pub fn leftovers(store: &Store, manifest: &Path) -> Result<Vec<Leftover>, StateError> {
    let mut found = Vec::new();
    let mut unknown = 0;
    for listed in list(store)?.iter().rev().filter(|listed| !listed.archived) {
        match listed.meta.as_ref().and_then(|meta| Some((meta.open, meta.tally.as_ref()?.owed))) {
            Some((false, 0)) => continue,
            Some((false, _)) => {}
            Some((true, _)) | None => {
                unknown += 1;
                if unknown > MOST_UNKNOWN {
                    continue;
                }
            }
        }
        let history = Box::new(load(store, &listed.run)?);
        // A rollback that was interrupted stopped the guest, or may have.
        let owes = history.hosts.iter().any(|state| !state.owed().is_empty() || state.may_owe());
        let why = match history.is_open() {
            true if only_prunes(&history) => Settling::Prune,
            true => continue,
            false if owes => Settling::Debts,
            false => continue,
        };
        if history.is_of(manifest) {
            found.push(Leftover { history, why });
        }
    }
    found.reverse();
    Ok(found)
}

/// Tells whether a run does nothing but remove what earlier ones made: it is never gone on with by another one.
fn only_prunes(history: &RunHistory) -> bool {
    !history.policy.hosts.is_empty() && history.policy.hosts.iter().all(|host| !host.upgrades())
}

fn meta_of(history: &RunHistory, open: bool, at: Timestamp, tally: Option<Tally>) -> Vec<u8> {
    encode_meta(&RunMeta {
        opened_at: history.opened_at,
        touched_at: at,
        hosts: history.policy.hosts.len(),
        open,
        result: history.ended.map(|end| end.result),
        tally,
    })
}

/// Opens a run.
///
/// # Errors
/// It can't be written.
pub async fn open_run(
    journal: &SledJournal,
    run: &RunId,
    policy: &RunPolicy,
    manifest: &Path,
    at: Timestamp,
) -> Result<(), JournalError> {
    let manifest = Some(manifest.to_string_lossy().into_owned());
    let body = encode_run(&RunRecord::Opened { policy: policy.clone(), manifest });
    let meta =
        RunMeta { opened_at: at, touched_at: at, hosts: policy.hosts.len(), open: true, result: None, tally: None };
    let entry = Entry { stream: StreamId::Run, at, body, checkpoint: None };
    let batch = Batch { run: run.clone(), entries: vec![entry], run_meta: Some(encode_meta(&meta)) };
    journal.append(batch).await.map(|_| ())
}

/// Closes a run for good; `settled` is how its hosts stand.
///
/// # Errors
/// It can't be written.
pub async fn close_run(
    journal: &SledJournal,
    history: &RunHistory,
    settled: &RunState,
    reason: CloseReason,
    at: Timestamp,
) -> Result<(), JournalError> {
    let body = encode_run(&RunRecord::Closed { reason });
    let entry = Entry { stream: StreamId::Run, at, body, checkpoint: None };
    let tally = Tally { closed: Some(reason), ..Tally::of(settled.parallel_hosts, settled.hosts()) };
    let run_meta = Some(meta_of(history, false, at, Some(tally)));
    journal.append(Batch { run: history.id.clone(), entries: vec![entry], run_meta }).await.map(|_| ())
}

/// What a run that goes on takes over from the manifest as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Adoption<'a> {
    /// The present policy of the hosts that are worked on.
    pub present: &'a RunPolicy,
    /// Whether it takes the place of the frozen one. Hosts that are new join the run in any case.
    pub replan: bool,
    /// Hosts that the manifest does not have any more: with `replan` they leave the run, unless something was begun there.
    pub removed: &'a BTreeSet<HostId>,
}

/// Takes over what the manifest says now, as far as it is to be taken over. Writes nothing where nothing changes.
///
/// # Errors
/// It can't be written.
pub async fn adopt(
    journal: &SledJournal,
    history: &mut RunHistory,
    adoption: Adoption<'_>,
    at: Timestamp,
) -> Result<(), JournalError> {
    let Adoption { present, replan, removed } = adoption;
    let mut entries = Vec::new();
    let before = history.hosts.len();
    if replan {
        history.hosts.retain(|state| !(removed.contains(state.host()) && nothing_begun(state)));
    }
    let mut changed = history.hosts.len() != before;
    let places: HashMap<HostId, usize> =
        history.hosts.iter().enumerate().map(|(place, state)| (state.host().clone(), place)).collect();
    for policy in &present.hosts {
        let Some(state) = places.get(&policy.host).and_then(|place| history.hosts.get_mut(*place)) else {
            history.hosts.push(HostState::new(history.id.clone(), policy.clone()));
            changed = true;
            continue;
        };
        if replan && state.policy != *policy {
            let event = HostEvent::PolicyChanged { policy: policy.clone() };
            // What follows from it is not released here: without an intent it counts as not begun.
            if state.apply(&event, at).is_err() {
                return Err(JournalError::Invalid { what: format!("{} takes no other policy", policy.host) });
            }
            let stream = StreamId::Host(policy.host.clone());
            entries.push(Entry { stream, at, body: encode_event(&event), checkpoint: None });
            changed = true;
        }
    }
    if replan && history.policy.rollout != present.rollout {
        // Other canaries are not those that held.
        if history.policy.rollout.canary != present.rollout.canary {
            history.noted = Noted::Nothing;
        }
        history.policy.rollout.clone_from(&present.rollout);
        changed = true;
    }
    if !changed {
        return Ok(());
    }
    history.policy.hosts = history.hosts.iter().map(|state| state.policy.clone()).collect();
    let body = encode_run(&RunRecord::Replanned { policy: history.policy.clone() });
    entries.insert(0, Entry { stream: StreamId::Run, at, body, checkpoint: None });
    let run_meta = Some(meta_of(history, true, at, None));
    journal.append(Batch { run: history.id.clone(), entries, run_meta }).await.map(|_| ())
}

/// Tells whether a host may leave a run without anything being forgotten.
fn nothing_begun(state: &HostState) -> bool {
    matches!(state.phase, HostPhase::Pending | HostPhase::AwaitingTurn { .. } | HostPhase::Done(_))
}

/// Records what the operator decided about a guest or a host; the next `run` goes on from there.
///
/// # Errors
/// It can't be written.
pub async fn record_resolution(
    journal: &SledJournal,
    history: &RunHistory,
    host: &HostId,
    event: &HostEvent,
    at: Timestamp,
) -> Result<(), JournalError> {
    let entry = Entry { stream: StreamId::Host(host.clone()), at, body: encode_event(event), checkpoint: None };
    // One that is over is not read again only because of what was decided.
    let decided = history.hosts.iter().map(|state| match state.host() == host {
        true => {
            let mut state = state.clone();
            // That the machine takes it was tried before.
            state.apply(event, at).map(|_| state)
        }
        false => Ok(state.clone()),
    });
    let hosts: Result<Vec<HostState>, _> = decided.collect();
    let tally = hosts
        .ok()
        .filter(|_| !history.is_open())
        .map(|hosts| Tally { closed: history.closed, ..Tally::of(history.policy.parallel_hosts, hosts.iter()) });
    let run_meta = Some(meta_of(history, history.is_open(), at, tally));
    journal.append(Batch { run: history.id.clone(), entries: vec![entry], run_meta }).await.map(|_| ())
}
