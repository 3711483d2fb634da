//! What runs made and left: the snapshots and backups that the journal knows, and which of them nobody needs any more.
//!
//! The rule is [`fates`], and it is pure. What is still there, only the API can tell; what this tool made, only the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::state::{self, StateError};
use crate::ids::{ClusterId, GuestId, GuestKind, HostId, RunId, SnapshotName, Step};
use crate::journal::Store;
use crate::journal::replay::RunHistory;
use crate::machine::effect::Mode;
use crate::machine::guest::{Attempt, GuestPhase, GuestVerdict};
use crate::machine::host::{HostPhase, HostState, HostVerdict, StepState};
use crate::plan::{GuestAddr, HeldBack, OldBackup, OldSnapshot, OldThings, Retention, RunPolicy};
use crate::time::Timestamp;

/// Something that a run made of a guest, to bring it back from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The run.
    pub run: RunId,
    /// The host, as the manifest names it.
    pub host: HostId,
    /// The cluster that the host was a node of, where the journal knows it.
    pub cluster: Option<ClusterId>,
    /// The guest, as it was then.
    pub guest: GuestAddr,
    /// The guest's name; may be empty.
    pub name: String,
    /// What it is.
    pub thing: Thing,
    /// When it was there.
    pub made: Timestamp,
    /// What became of the upgrade that it was made for.
    pub upgrade: Came,
    /// Whether a later `run` may go on with the run that made it.
    pub open: bool,
    /// Whether it is there still, as far as is known.
    pub there: bool,
}

/// What a run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A snapshot.
    Snapshot(SnapshotName),
    /// A backup.
    Backup {
        /// The archive's volume identifier, where it is known: the note finds it in any case.
        volid: Option<String>,
        /// Its note.
        note: String,
    },
}

impl Thing {
    pub(super) fn is_snapshot(&self) -> bool {
        matches!(self, Self::Snapshot(_))
    }
}

/// What became of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It was never begun: the guest is as it was.
    NotBegun,
    /// It was checked, and so was its host afterwards, at that time.
    Well(Timestamp),
    /// It failed, or nobody knows how it ended, or its host was not verified.
    Ill,
}

/// What becomes of something that a run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    /// Nobody needs it any more.
    Goes,
    /// It stays.
    Stays(Why),
}

/// Why something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its run is not over.
    RunOpen,
    /// The guest did not come out well since: it may have to be brought back.
    Needed,
    /// It is not old enough.
    Young,
    /// It is among the newest of its guest, of which some are kept however old.
    Newest,
    /// It can't be told which guest it was made of.
    NoIdentity,
    /// The host is not in the manifest any more, or not asked about.
    NoPolicy,
}

impl Why {
    /// Names it for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::RunOpen => "run-open",
            Self::Needed => "needed",
            Self::Young => "young",
            Self::Newest => "newest",
            Self::NoIdentity => "no-identity",
            Self::NoPolicy => "no-policy",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RunOpen => "its run is not over",
            Self::Needed => "the guest did not come out well since",
            Self::Young => "not old enough",
            Self::Newest => "among the newest that are kept",
            Self::NoIdentity => "it can't be told which guest it was made of",
            Self::NoPolicy => "its host is not in the manifest",
        })
    }
}

/// One guest, wherever in its cluster it is now and whatever it is called.
type Who<'a> = (Option<&'a ClusterId>, GuestKind, GuestId, &'a str);

fn who(left: &Left) -> Option<Who<'_>> {
    Some((left.cluster.as_ref(), left.guest.kind, left.guest.id, left.guest.identity.as_deref()?))
}

/// Lists what a run made on one host. `open` says whether a later `run` may go on with the run.
pub fn of_host(state: &HostState, open: bool) -> Vec<Left> {
    let left = |record: &crate::machine::host::StepRecord| {
        let id = record.guest?;
        let guest = state.guests.get(&id)?;
        let key = state.key(record.guest, Attempt { step: record.step, round: record.round, mode: Mode::Act });
        let thing = match record.step {
            Step::Snapshot => Thing::Snapshot(key.snapshot_name()),
            _ => Thing::Backup { volid: record.thing.clone(), note: key.backup_note() },
        };
        Some(Left {
            run: state.run.clone(),
            host: state.host().clone(),
            cluster: state.identity.as_ref().map(|(cluster, _)| cluster.clone()),
            guest: guest.plan.guest.clone(),
            name: guest.plan.name.clone(),
            thing,
            made: record.ended?,
            upgrade: came(state, id),
            open,
            there: true,
        })
    };
    state.made().filter_map(left).collect()
}

/// Finds out how the upgrade of a guest came out, over all its rounds.
fn came(state: &HostState, id: GuestId) -> Came {
    let begun = state.steps.iter().any(|record| {
        let harmless = matches!(record.state, StepState::Planned | StepState::Refused | StepState::NotDone);
        record.guest == Some(id) && record.step == Step::UpgradeGuest && !harmless
    });
    let well = state.guests.get(&id).is_some_and(|guest| {
        matches!(guest.phase, GuestPhase::Settled(GuestVerdict::Upgraded { .. })) && guest.borrowed.is_none()
    });
    let verified = match &state.phase {
        HostPhase::Done(HostVerdict::Verified(_) | HostVerdict::NotRebooted { .. }) => {
            state.steps.iter().rev().find(|record| record.step == Step::Verify).and_then(|record| record.ended)
        }
        _ => None,
    };
    match (begun, well, verified) {
        (false, false, _) => Came::NotBegun,
        (_, true, Some(at)) => Came::Well(at),
        (_, true, None) | (true, false, _) => Came::Ill,
    }
}

/// Decides what becomes of each: it goes when it is older than its time and not among the newest so many of its guest, and
/// when the guest came out well since. `keep` says how long things of a host are kept.
pub fn fates(all: &[Left], keep: impl Fn(&HostId) -> Option<Retention>, now: Timestamp) -> Vec<Fate> {
    let mut guests: BTreeMap<Who<'_>, Vec<&Left>> = BTreeMap::new();
    for left in all {
        if let Some(guest) = who(left) {
            guests.entry(guest).or_default().push(left);
        }
    }
    let decide = |left: &Left| match (keep(&left.host), who(left).and_then(|guest| guests.get(&guest))) {
        (None, _) => Fate::Stays(Why::NoPolicy),
        (_, None) => Fate::Stays(Why::NoIdentity),
        (Some(keep), Some(of_guest)) => fate(left, of_guest, keep, now),
    };
    all.iter().map(decide).collect()
}

/// Puts what runs made of one guest in order. Within a run a guest may have moved, and have been worked on by two hosts.
fn order(left: &Left) -> (&RunId, Timestamp) {
    (&left.run, left.made)
}

/// Decides about one among all that there are of its guest.
fn fate(left: &Left, of_guest: &[&Left], keep: Retention, now: Timestamp) -> Fate {
    if left.open {
        return Fate::Stays(Why::RunOpen);
    }
    let of_guest = || of_guest.iter();
    // The last run that changed the guest says whether it may have to be brought back, from whatever there is.
    let last = of_guest().filter(|other| other.upgrade != Came::NotBegun).max_by_key(|other| order(other));
    if last.is_some_and(|last| last.open || last.upgrade == Came::Ill) {
        return Fate::Stays(Why::Needed);
    }
    let since = match left.upgrade {
        Came::NotBegun => Some(left.made),
        Came::Well(at) => Some(at),
        // It is the success of a later run that counts.
        Came::Ill => {
            let later = of_guest().filter(|other| order(other) > order(left));
            later.filter_map(|other| if let Came::Well(at) = other.upgrade { Some(at) } else { None }).min()
        }
    };
    let Some(since) = since else { return Fate::Stays(Why::Needed) };
    let (keep_for_ms, keep_last) = match left.thing {
        Thing::Snapshot(_) => (keep.snapshots_for_ms, keep.snapshots_last),
        Thing::Backup { .. } => (keep.backups_for_ms, keep.backups_last),
    };
    if now.since(since) <= Duration::from_millis(keep_for_ms) {
        return Fate::Stays(Why::Young);
    }
    let newer = of_guest().filter(|other| {
        let alike = other.there && other.thing.is_snapshot() == left.thing.is_snapshot();
        alike && (other.made, &other.run) > (left.made, &left.run)
    });
    if newer.count() < usize::try_from(keep_last).unwrap_or(usize::MAX) {
        return Fate::Stays(Why::Newest);
    }
    Fate::Goes
}

/// Gathers what runs made, without the backups that a later one of them removed.
#[derive(Debug, Default)]
pub struct Gathered {
    all: Vec<Left>,
    removed: BTreeSet<String>,
}

impl Gathered {
    /// Adds what a run made and removed.
    pub fn add(&mut self, history: &RunHistory) {
        for state in &history.hosts {
            self.all.extend(of_host(state, history.is_open()));
            let gone = state.steps.iter().filter(|r| r.step == Step::PruneBackup && r.state == StepState::Done);
            self.removed.extend(gone.filter_map(|record| record.thing.clone()));
        }
    }

    /// Returns what there may be still.
    pub fn finish(self) -> Vec<Left> {
        let Self { mut all, removed } = self;
        let gone = |thing: &Thing| matches!(thing, Thing::Backup { volid: Some(volid), .. } if removed.contains(volid));
        // How its upgrade came out counts all the same.
        all.iter_mut().filter(|left| gone(&left.thing)).for_each(|left| left.there = false);
        all
    }
}

impl Left {
    /// Adds it to what a run removes; a backup whose archive is not known is left to those who can look for it.
    pub fn add_to(&self, all: &mut OldThings) {
        let (guest, cluster) = (self.guest.clone(), self.cluster.as_ref());
        match &self.thing {
            Thing::Snapshot(name) => {
                all.add_snapshot(&self.host, cluster, OldSnapshot { guest, name: name.clone() });
            }
            Thing::Backup { volid: Some(volid), note } => {
                let old = OldBackup { guest, volid: volid.clone(), note: note.clone() };
                all.add_backup(&self.host, cluster, old);
            }
            Thing::Backup { volid: None, .. } => {}
        }
    }
}

/// How many runs of which it is not known are read for guests that they rolled back: such as were killed.
const MOST_UNKNOWN: usize = 64;

/// Finds the guests that runs of a manifest left to the operator, who has not decided about them yet. A run that is known to have
/// such guests is never passed over, however old it is.
///
/// # Errors
/// A journal that can't be read.
pub fn held_back(store: &Store, manifest: &Path) -> Result<Vec<HeldBack>, StateError> {
    let mut found = Vec::new();
    let mut unknown = 0;
    for listed in state::list(store)?.iter().rev().filter(|listed| !listed.archived) {
        match listed.meta.as_ref().and_then(|meta| meta.tally.as_ref()).map(|tally| tally.held_back) {
            Some(0) => continue,
            Some(_) => {}
            None => {
                unknown += 1;
                if unknown > MOST_UNKNOWN {
                    continue;
                }
            }
        }
        let history = state::load(store, &listed.run)?;
        if history.is_of(manifest) {
            found.extend(history.hosts.iter().flat_map(left_to_the_operator));
        }
    }
    Ok(found)
}

fn left_to_the_operator(state: &HostState) -> impl Iterator<Item = HeldBack> {
    state.held_back().filter_map(|(guest, why)| {
        let GuestAddr { kind, id, identity, .. } = guest.plan.guest.clone();
        Some(HeldBack { id, kind, identity: identity?, why, run: state.run.clone(), host: state.host().clone() })
    })
}

/// What earlier runs are remembered for when a run begins.
#[derive(Debug, Default)]
pub struct Remembered {
    /// What they left and nobody needs any more.
    pub old: OldThings,
    /// Guests that failed or were rolled back, and are not to be upgraded again before the operator says so.
    pub held_back: Vec<HeldBack>,
}

impl Remembered {
    /// Holds guests back that earlier runs left to the operator.
    pub fn hold_back(&self, policy: &mut RunPolicy) {
        for host in &mut policy.hosts {
            host.held_back.clone_from(&self.held_back);
        }
    }
}

/// How much longer than things are kept a run looks back for them: a host that was out of reach for two weeks is caught
/// up with. What is older is left to `proxmaint snapshots prune`, which reads everything.
const LOOK_BACK: Duration = Duration::from_secs(14 * 24 * 3600);
/// The most runs that are read for it, of those that made anything: three weeks of nightly runs, three times over. Each
/// costs as much as reading a run back.
const MOST_RUNS: usize = 64;

/// Finds what earlier runs of a manifest left and nobody needs any more, by the present policy.
///
/// # Errors
/// A journal that can't be read.
pub fn old_things(
    store: &Store,
    manifest: &Path,
    present: &RunPolicy,
    now: Timestamp,
) -> Result<OldThings, StateError> {
    let keep: BTreeMap<&HostId, Retention> = present.hosts.iter().map(|host| (&host.host, host.keep)).collect();
    // A guest of an entry that is not there any more may be on another node of its cluster by now, whichever that is.
    let most = keep.values().copied().reduce(longer);
    let longest = most.map_or(0, |most| most.snapshots_for_ms.max(most.backups_for_ms));
    let back = Duration::from_millis(longest).saturating_add(LOOK_BACK);
    let worth = |listed: &&state::Listed| {
        let meta = listed.meta.as_ref();
        let recent = meta.is_some_and(|meta| now.since(meta.touched_at) <= back);
        !listed.archived && recent && listed.is_about_things()
    };
    let mut gathered = Gathered::default();
    for listed in state::list(store)?.iter().rev().filter(worth).take(MOST_RUNS) {
        let history = state::load(store, &listed.run)?;
        if history.is_of(manifest) {
            gathered.add(&history);
        }
    }
    let all = gathered.finish();
    let mut old = OldThings::default();
    let fates = fates(&all, |host| keep.get(host).copied().or(most), now);
    for (left, _) in all.iter().zip(fates).filter(|(left, fate)| left.there && *fate == Fate::Goes) {
        left.add_to(&mut old);
    }
    Ok(old)
}

/// Returns the longer of each.
fn longer(a: Retention, b: Retention) -> Retention {
    Retention {
        snapshots_for_ms: a.snapshots_for_ms.max(b.snapshots_for_ms),
        snapshots_last: a.snapshots_last.max(b.snapshots_last),
        backups_for_ms: a.backups_for_ms.max(b.backups_for_ms),
        backups_last: a.backups_last.max(b.backups_last),
    }
}

#[cfg(test)]
mod tests;
