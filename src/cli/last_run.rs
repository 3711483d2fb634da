//! What became of each host in the latest run that had it: shown beside its entry while the manifest is edited.
//!
//! It is read from the journal's segments, which need no lock and can be read beside a run at work; so a dialogue never keeps a
//! run from beginning, and a state directory that is not there is not made. What is read is bounded ([`MOST_RUNS`],
//! [`MOST_BYTES`]): of a host that no newer run had, it is said how far was looked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::status::{guest_counts, host_state};
use super::status_command::{header, waits_for};
use crate::ids::{HostId, RunId};
use crate::journal::replay::{ReplayError, RunHistory, replay};
use crate::journal::{EventFilter, JournalError, LoadedRun, Purpose, RunLock, StateDir, events, runs_in_segments};
use crate::machine::host::HostState;
use crate::observe::sanitize::clean;
use crate::observe::view::{Ask, HostStanding, HostView, RunView, Standing};
use crate::observe::words::{count, list};
use crate::time::Timestamp;

/// How many runs are looked at, the newest first: a fortnight of daily ones, and some by hand.
const MOST_RUNS: usize = 20;

/// How many bytes of events are read, in all runs together: it bounds how long a dialogue waits, and what it keeps in memory.
const MOST_BYTES: usize = 64 << 20;

/// What is known of the last runs of some hosts.
#[derive(Debug)]
pub(super) struct LastRuns {
    found: BTreeMap<HostId, LastRun>,
    others: Others,
}

/// The latest run that had a host, and what became of the host in it.
#[derive(Debug, Clone)]
pub(super) struct LastRun {
    /// The run.
    pub(super) run: RunId,
    /// Whether it is being worked on, and by which process.
    pub(super) standing: Standing,
    /// When something last happened to the host, or else when the run was opened.
    pub(super) at: Timestamp,
    /// The host as `status` shows it.
    pub(super) host: HostView,
}

/// Why nothing is known of the hosts that have no last run.
#[derive(Debug)]
enum Others {
    /// No run had them.
    NoRun,
    /// None of the newest runs, so many of which were looked at, had them.
    NotAmong(usize),
    /// The journal can't be read.
    Unreadable(String),
}

/// Looks for the last run of each of these hosts. With `manifest`, its canonical path, runs of other manifests that share the
/// state directory are passed over.
///
/// It changes nothing, waits for nobody, and has no error: where the journal can't be read, that is what is told of a host.
pub(super) fn last_runs(state_dir: &Path, manifest: Option<&Path>, wanted: &[HostId], now: Timestamp) -> LastRuns {
    let mut runs = LastRuns { found: BTreeMap::new(), others: Others::NoRun };
    if let Err(error) = runs.look(state_dir, manifest, wanted, now) {
        runs.others = Others::Unreadable(error.to_string());
    }
    runs
}

/// Why a journal can't be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl LastRuns {
    fn look(
        &mut self,
        state_dir: &Path,
        manifest: Option<&Path>,
        wanted: &[HostId],
        now: Timestamp,
    ) -> Result<(), Unreadable> {
        let Some(dir) = StateDir::open(state_dir)? else { return Ok(()) };
        let working = RunLock::held_by(&dir)?.filter(|holder| holder.purpose == Purpose::Run);
        let at_work = working.as_ref().and_then(|holder| Some((holder.run.as_ref()?, holder.pid)));
        let all = runs_in_segments(&dir)?;
        let mut bytes = MOST_BYTES;
        let mut missing: BTreeSet<&HostId> = wanted.iter().collect();
        for (looked_at, run) in all.iter().rev().enumerate() {
            if missing.is_empty() {
                return Ok(());
            }
            let history = if looked_at < MOST_RUNS { read(&dir, run, &mut bytes)? } else { None };
            let Some(history) = history else {
                self.others = Others::NotAmong(looked_at);
                return Ok(());
            };
            if manifest.is_none_or(|manifest| history.is_of(manifest)) {
                self.take(&history, at_work, &mut missing, now);
            }
        }
        Ok(())
    }

    /// Takes what a run says of the hosts that no later one had. What only removes snapshots is no run of a host.
    fn take(
        &mut self,
        history: &RunHistory,
        at_work: Option<(&RunId, u32)>,
        missing: &mut BTreeSet<&HostId>,
        now: Timestamp,
    ) {
        let is_news = |state: &&HostState| state.policy.upgrades() && missing.remove(state.host());
        let states: Vec<&HostState> = history.hosts.iter().filter(is_news).collect();
        let header = header(history, at_work);
        let waits = |state: &HostState| waits_for(history, state);
        let view = RunView::build(&header, states.iter().copied(), waits, now, &Ask::default());
        for (state, host) in states.into_iter().zip(view.hosts) {
            let at = state.touched.unwrap_or(history.opened_at);
            let last = LastRun { run: history.id.clone(), standing: header.standing, at, host };
            self.found.insert(state.host().clone(), last);
        }
    }

    /// Returns the last run of a host, where one is known.
    pub(super) fn of(&self, host: &HostId) -> Option<&LastRun> {
        self.found.get(host)
    }

    /// Says in a few words how the last run of a host came out, or nothing where there was none.
    pub(super) fn brief(&self, host: &HostId, now: Timestamp) -> String {
        match (self.of(host), &self.others) {
            (Some(last), _) => format!("last run: {}", last.brief(now)),
            (None, Others::Unreadable(_)) => "the journal can't be read".to_owned(),
            (None, Others::NoRun | Others::NotAmong(_)) => String::new(),
        }
    }

    /// Says on one line how the last run of a host came out, or why that is not known.
    pub(super) fn line(&self, host: &HostId, now: Timestamp) -> String {
        match (self.of(host), &self.others) {
            (Some(last), _) => last.line(now),
            (None, Others::NoRun) => "no run has had it yet".to_owned(),
            (None, Others::NotAmong(0)) => "its run is too long to be read here: see `proxmaint status`".to_owned(),
            (None, Others::NotAmong(runs)) => format!("none of the last {} has had it", count(*runs, "run")),
            (None, Others::Unreadable(why)) => {
                format!("the journal can't be read: {}; see `proxmaint journal verify`", clean(why))
            }
        }
    }
}

impl LastRun {
    /// Says how the host came out, on one line: `failed, 7 guests: 6 upgraded, 1 failed, 2 hours ago, run 20261122-..`.
    pub(super) fn line(&self, now: Timestamp) -> String {
        let owed = self.host.owed.iter().map(|owed| clean(&owed.what).into_owned());
        let owed = list(owed);
        let owed = if owed.is_empty() { owed } else { format!("still owed: {owed}") };
        let run = format!("run {}", clean(self.run.as_str()));
        list([self.came(), guest_counts(&self.host), owed, self.when(now), run])
    }

    /// Says the same in a few words: `failed, 2 hours ago`.
    fn brief(&self, now: Timestamp) -> String {
        let owed = if self.host.owed.is_empty() { String::new() } else { "something is owed".to_owned() };
        list([self.came(), owed, self.when(now)])
    }

    fn came(&self) -> String {
        host_state(&self.host, self.is_at_work())
    }

    fn when(&self, now: Timestamp) -> String {
        match self.host.phase {
            HostStanding::Done | HostStanding::Held => ago(now.since(self.at)),
            _ if self.is_at_work() => "the run is at work".to_owned(),
            _ => ago(now.since(self.at)),
        }
    }

    /// Tells whether somebody works on the run now.
    fn is_at_work(&self) -> bool {
        matches!(self.standing, Standing::Running { .. })
    }
}

/// Reads a run from the segments, as long as it does not go beyond the bytes that are left; `None` where it does.
fn read(dir: &StateDir, run: &RunId, bytes: &mut usize) -> Result<Option<RunHistory>, Unreadable> {
    let mut found = Vec::new();
    for event in events(dir, EventFilter { run: Some(run.clone()), ..EventFilter::default() })? {
        let event = event?;
        let Some(left) = bytes.checked_sub(event.body.len()) else { return Ok(None) };
        *bytes = left;
        found.push(event);
    }
    Ok(Some(replay(&LoadedRun::from_events(run.clone(), found))?))
}

/// Says how long ago something was, as roughly as people do.
fn ago(span: Duration) -> String {
    let (minutes, hours, days) = (span.as_secs() / 60, span.as_secs() / 3600, span.as_secs() / 86_400);
    let number = |n: u64, noun: &str| format!("{} ago", count(usize::try_from(n).unwrap_or(usize::MAX), noun));
    match (minutes, hours, days) {
        (0, ..) => "just now".to_owned(),
        (1..60, ..) => number(minutes, "minute"),
        (_, 1..48, _) => number(hours, "hour"),
        _ => number(days, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_roughly() {
        let said = |secs| ago(Duration::from_secs(secs));
        assert_eq!(said(59), "just now");
        assert_eq!(said(60), "1 minute ago");
        assert_eq!(said(59 * 60 + 59), "59 minutes ago");
        assert_eq!(said(3600), "1 hour ago");
        assert_eq!(said(47 * 3600), "47 hours ago");
        assert_eq!(said(48 * 3600), "2 days ago");
        assert_eq!(said(400 * 86_400), "400 days ago");
    }
}
