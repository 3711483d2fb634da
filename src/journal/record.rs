//! What a journaled event looks like: the schema, apart from the types that the program works with.
//!
//! The journal's storage treats the body of a record as opaque JSON; this module is the only one that knows its shape.
//! Facts, plans and outcomes are embedded as the plain data that they are; `fixtures/journals` pins their written form,
//! so that a change which an old journal would not survive fails a test.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};

use crate::ids::{GuestId, HostId, RunId, Step, StepKey, Target, Upid};
use crate::machine::effect::Mode;
use crate::machine::event::HostEvent;
use crate::machine::guest::Resolution;
use crate::machine::host::{Gate, HostResult, HostState};
use crate::machine::outcome::{Outcome, Probed};
use crate::machine::run::RunResult;
use crate::plan::{HostPlan, HostPolicy, RunPolicy};
use crate::time::Timestamp;

/// The version of the bodies that this program writes.
///
/// - 1: the first.
/// - 2: selection, ways in, protection, starts, reboots, evacuation, checks, rollbacks, canaries, retention and saved plans in policy
///   and plan; the steps and events that belong to them. Bodies of version 1 are read as they are: what they don't say is as it was then.
pub const BODY_VERSION: u16 = 2;

/// A body with its version. It is no `flatten`: that would read numbers that are keys of maps as texts.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    v: u16,
    body: T,
}

/// Just the version, for a body whose rest is not understood.
#[derive(Deserialize)]
struct VersionOnly {
    v: u16,
}

/// A body can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It was written by a newer version of this program.
    #[error("its body has version {found}; this program reads up to {BODY_VERSION}")]
    Newer {
        /// The version found.
        found: u16,
    },
    /// It is no body of the version that it names.
    #[error("its body can't be read")]
    Malformed(#[from] serde_json::Error),
}

/// An event of the run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RunRecord {
    /// The run was opened.
    Opened {
        /// What the operator wants; frozen from here on.
        policy: RunPolicy,
        /// The canonical path of the manifest that the run belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        manifest: Option<String>,
    },
    /// A process began to work on the run.
    Session {
        /// Its process id.
        pid: u32,
    },
    /// The operator chose the manifest's present policy over the frozen one.
    Replanned {
        /// The policy from here on.
        policy: RunPolicy,
    },
    /// The canaries are over, and left alone for a while.
    Soaking {
        /// When the last of them was over.
        since: Timestamp,
    },
    /// The canaries were looked at once more, and were well: the rest may begin.
    CanariesHeld,
    /// Too much went wrong, and the session began nothing more.
    Halted {
        /// Why.
        why: String,
    },
    /// A session ended.
    Ended {
        /// How the run stood.
        result: RunResult,
        /// Whether the operator interrupted it.
        interrupted: bool,
        /// Whether nothing is left to go on with.
        finished: bool,
    },
    /// The run was closed for good, unfinished as it was.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Why a run was closed unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// It was older than `resume_within`.
    Expired,
    /// The operator asked for a new run (`--fresh`).
    Fresh,
}

/// What a step key is within its host's stream: run and host are known from the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The guest; absent for the node's own step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guest: Option<GuestId>,
    step: Step,
    round: u32,
}

impl From<&StepKey> for KeyRecord {
    fn from(key: &StepKey) -> Self {
        Self { guest: key.target.guest(), step: key.step, round: key.round }
    }
}

impl KeyRecord {
    /// Returns the whole key.
    pub fn to_key(self, run: &RunId, host: &HostId) -> StepKey {
        let target = match self.guest {
            Some(guest) => Target::Guest(host.clone(), guest),
            None => Target::Host(host.clone()),
        };
        StepKey { run: run.clone(), target, step: self.step, round: self.round }
    }
}

/// An event or an intent of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum HostRecord {
    /// [`HostEvent::Begun`].
    Begun,
    /// [`HostEvent::Planned`].
    Planned {
        /// The discovery.
        key: KeyRecord,
        /// The plan.
        plan: Box<HostPlan>,
    },
    /// [`HostEvent::TurnGiven`].
    TurnGiven,
    /// [`HostEvent::RebootTurnGiven`].
    RebootTurnGiven,
    /// [`HostEvent::GiveBack`].
    GiveBack,
    /// [`HostEvent::RollBack`].
    RollBack {
        /// The guest.
        guest: GuestId,
        /// Whether it ran.
        runs: bool,
    },
    /// [`HostEvent::Ended`].
    Ended {
        /// The step.
        key: KeyRecord,
        /// How.
        outcome: Outcome,
    },
    /// [`HostEvent::TaskStarted`].
    TaskStarted {
        /// The step.
        key: KeyRecord,
        /// The task.
        task: Upid,
    },
    /// [`HostEvent::Probed`].
    Probed {
        /// The step.
        key: KeyRecord,
        /// What was found.
        found: Probed,
    },
    /// [`HostEvent::Resumed`].
    Resumed,
    /// [`HostEvent::PolicyChanged`].
    PolicyChanged {
        /// The policy from here on.
        policy: HostPolicy,
    },
    /// [`HostEvent::Gated`].
    Gated {
        /// What may begin from here on.
        gate: Gate,
    },
    /// [`HostEvent::Recheck`].
    Recheck,
    /// [`HostEvent::NewRound`].
    NewRound,
    /// [`HostEvent::Resolved`].
    Resolved {
        /// The guest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guest: Option<GuestId>,
        /// The decision.
        resolution: Resolution,
    },
    /// The intent to do a step: from here on it may have been done.
    Intent {
        /// The step.
        key: KeyRecord,
        /// How it is approached.
        mode: Mode,
    },
}

/// What a host's record means to the machine.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one is held at a time, on its way to the machine")]
pub enum HostEntry {
    /// An event to apply.
    Event(HostEvent),
    /// An intent to note.
    Intent {
        /// The step.
        key: StepKey,
        /// How it is approached.
        mode: Mode,
    },
}

impl From<&HostEvent> for HostRecord {
    fn from(event: &HostEvent) -> Self {
        match event {
            HostEvent::Begun => Self::Begun,
            HostEvent::Planned { key, plan } => Self::Planned { key: key.into(), plan: plan.clone() },
            HostEvent::TurnGiven => Self::TurnGiven,
            HostEvent::RebootTurnGiven => Self::RebootTurnGiven,
            HostEvent::GiveBack => Self::GiveBack,
            HostEvent::RollBack { guest, runs } => Self::RollBack { guest: *guest, runs: *runs },
            HostEvent::Ended { key, outcome } => Self::Ended { key: key.into(), outcome: outcome.clone() },
            HostEvent::TaskStarted { key, task } => Self::TaskStarted { key: key.into(), task: task.clone() },
            HostEvent::Probed { key, found } => Self::Probed { key: key.into(), found: found.clone() },
            HostEvent::Resumed => Self::Resumed,
            HostEvent::PolicyChanged { policy } => Self::PolicyChanged { policy: policy.clone() },
            HostEvent::Gated { gate } => Self::Gated { gate: gate.clone() },
            HostEvent::Recheck => Self::Recheck,
            HostEvent::NewRound => Self::NewRound,
            HostEvent::Resolved { guest, resolution } => Self::Resolved { guest: *guest, resolution: *resolution },
        }
    }
}

impl HostRecord {
    /// Returns what the record means, in the stream of a host of a run.
    pub fn into_entry(self, run: &RunId, host: &HostId) -> HostEntry {
        HostEntry::Event(match self {
            Self::Begun => HostEvent::Begun,
            Self::Planned { key, plan } => HostEvent::Planned { key: key.to_key(run, host), plan },
            Self::TurnGiven => HostEvent::TurnGiven,
            Self::RebootTurnGiven => HostEvent::RebootTurnGiven,
            Self::GiveBack => HostEvent::GiveBack,
            Self::RollBack { guest, runs } => HostEvent::RollBack { guest, runs },
            Self::Ended { key, outcome } => HostEvent::Ended { key: key.to_key(run, host), outcome },
            Self::TaskStarted { key, task } => HostEvent::TaskStarted { key: key.to_key(run, host), task },
            Self::Probed { key, found } => HostEvent::Probed { key: key.to_key(run, host), found },
            Self::Resumed => HostEvent::Resumed,
            Self::PolicyChanged { policy } => HostEvent::PolicyChanged { policy },
            Self::Gated { gate } => HostEvent::Gated { gate },
            Self::Recheck => HostEvent::Recheck,
            Self::NewRound => HostEvent::NewRound,
            Self::Resolved { guest, resolution } => HostEvent::Resolved { guest, resolution },
            Self::Intent { key, mode } => return HostEntry::Intent { key: key.to_key(run, host), mode },
        })
    }
}

/// What the list of runs shows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMeta {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its last session began or ended.
    pub touched_at: Timestamp,
    /// How many hosts it has.
    pub hosts: usize,
    /// Whether a later `run` may go on with it.
    pub open: bool,
    /// How it stood when its last session ended; `None` while one works, or after one was killed.
    pub result: Option<RunResult>,
    /// How its hosts stood when its last session ended; `None` while one works, after one was killed, and where something
    /// happened since: then the run itself has to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
}

/// How the hosts of a run stood when it was last worked on: what the list of runs says without reading them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many hosts were worked on at a time.
    pub parallel_hosts: u32,
    /// Why the run was closed unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<CloseReason>,
    /// How many hosts came out how.
    pub results: BTreeMap<HostResult, usize>,
    /// How many hosts are owed something that was borrowed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub owed: usize,
    /// How many guests failed in it or were rolled back, and are not to be tried again before the operator says so.
    #[serde(default, skip_serializing_if = "is_none")]
    pub held_back: usize,
    /// How many snapshots and backups the run made; what a later one removed is counted still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<usize>,
    /// How many snapshots and backups of earlier runs it removed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub removed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Tally {
    /// Counts the hosts of a run.
    pub fn of<'a>(parallel_hosts: u32, hosts: impl Iterator<Item = &'a HostState>) -> Self {
        let (mut results, mut owed, mut made, mut removed) = (BTreeMap::new(), 0, 0, 0);
        let mut held_back = 0;
        for state in hosts {
            *results.entry(state.result()).or_default() += 1;
            owed += usize::from(!state.owed().is_empty());
            held_back += state.held_back().count();
            made += state.made().count();
            removed += state.removed().count();
        }
        Self { parallel_hosts, closed: None, results, owed, held_back, made: Some(made), removed }
    }
}

/// The folded state of a host, as it is kept beside the events.
#[derive(Debug, Serialize, Deserialize)]
struct CheckpointBody<S> {
    state: S,
}

/// The first byte of a compressed checkpoint (raw DEFLATE follows); a plain one begins with its brace.
const PACKED: u8 = 1;
/// The most that a checkpoint is unpacked to: as much as a value may have in the journal.
const MAX_UNPACKED_BYTES: usize = super::batch::MAX_VALUE_BYTES;

fn encode<T: Serialize>(body: T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { v: BODY_VERSION, body })
        .expect("these types hold no map with keys that are not text, and no number that JSON lacks")
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, BodyError> {
    // The version alone is looked for only where the whole can't be read: reading everything twice is what costs.
    let newer = |v: u16| BodyError::Newer { found: v };
    match serde_json::from_slice::<Versioned<T>>(bytes) {
        Ok(read) if read.v <= BODY_VERSION => Ok(read.body),
        Ok(read) => Err(newer(read.v)),
        Err(error) => match serde_json::from_slice::<VersionOnly>(bytes) {
            Ok(VersionOnly { v }) if v > BODY_VERSION => Err(newer(v)),
            Ok(_) | Err(_) => Err(error.into()),
        },
    }
}

/// Writes a record of the run.
pub fn encode_run(record: &RunRecord) -> Vec<u8> {
    encode(record)
}

/// Reads a record of the run.
///
/// # Errors
/// A body of a newer version, or of none.
pub fn decode_run(bytes: &[u8]) -> Result<RunRecord, BodyError> {
    decode(bytes)
}

/// Writes a host's event.
pub fn encode_event(event: &HostEvent) -> Vec<u8> {
    encode(HostRecord::from(event))
}

/// Writes a host's intent.
pub fn encode_intent(key: &StepKey, mode: Mode) -> Vec<u8> {
    encode(HostRecord::Intent { key: key.into(), mode })
}

/// Reads a host's record.
///
/// # Errors
/// A body of a newer version, or of none.
pub fn decode_host(bytes: &[u8]) -> Result<HostRecord, BodyError> {
    decode(bytes)
}

/// Writes a host's checkpoint, compressed: of all that a run writes, the plans in its checkpoints are the most, and a
/// fraction of it when the store does not have to carry them as text.
pub fn encode_checkpoint(state: &HostState) -> Vec<u8> {
    let text = encode(CheckpointBody { state });
    let mut packed = vec![PACKED];
    let mut writer = DeflateEncoder::new(&mut packed, Compression::fast());
    let written = writer.write_all(&text).and_then(|()| writer.try_finish());
    drop(writer);
    match written {
        Ok(()) => packed,
        // A vector takes whatever is written to it; the text itself is a checkpoint as well.
        Err(_) => text,
    }
}

/// Reads a host's checkpoint, compressed or not.
///
/// # Errors
/// A body of a newer version, or of none.
pub fn decode_checkpoint(bytes: &[u8]) -> Result<HostState, BodyError> {
    let mut text = Vec::new();
    let text = match bytes.split_first() {
        Some((&PACKED, packed)) => {
            let most = u64::try_from(MAX_UNPACKED_BYTES).unwrap_or(u64::MAX);
            let read = DeflateDecoder::new(packed).take(most).read_to_end(&mut text);
            read.map_err(serde_json::Error::io)?;
            &text
        }
        Some(_) | None => bytes,
    };
    decode::<CheckpointBody<HostState>>(text).map(|body| body.state)
}

/// Writes what the list of runs shows.
pub fn encode_meta(meta: &RunMeta) -> Vec<u8> {
    encode(meta)
}

/// Reads what the list of runs shows.
///
/// # Errors
/// A body of a newer version, or of none.
pub fn decode_meta(bytes: &[u8]) -> Result<RunMeta, BodyError> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ids::{GuestKind, NodeName};
    use crate::machine::Rounds;
    use crate::machine::guest::GuestState;
    use crate::plan::{Decision, GuestAddr, GuestPlan, SkipReason};

    fn state() -> HostState {
        let policy = HostPolicy {
            host: HostId::new("pve1"),
            node: None,
            max_parallel: 2,
            unmanaged: BTreeSet::from([GuestId(105)]),
            declared: BTreeSet::new(),
            protect_max_age_ms: 3_600_000,
            ..HostPolicy::new(HostId::new("x"))
        };
        let plan = GuestPlan {
            guest: GuestAddr { node: NodeName::new("pve1"), kind: GuestKind::Ct, id: GuestId(101), identity: None },
            name: "web".to_owned(),
            decision: Decision::Skip(SkipReason::Template),
            tags: Vec::new(),
            pool: None,
            own: false,
        };
        let mut state = HostState::new(RunId::new("20261122-000000-test"), policy);
        state.guests = BTreeMap::from([(GuestId(101), GuestState::new(plan, Rounds::default()))]);
        state
    }

    #[test]
    fn a_checkpoint_is_read_back_as_it_was() {
        let packed = encode_checkpoint(&state());
        assert_eq!(decode_checkpoint(&packed).unwrap(), state());
        let plain = encode(CheckpointBody { state: state() });
        assert_eq!(decode_checkpoint(&plain).unwrap(), state(), "one that was never compressed");
        assert!(packed.len() < plain.len());
        assert!(decode_checkpoint(&packed[..packed.len() / 2]).is_err(), "half of one");
    }

    #[test]
    fn a_newer_body_is_told_apart_from_a_broken_one() {
        assert!(matches!(decode_run(br#"{"v":3,"body":{"event":"unheard-of"}}"#), Err(BodyError::Newer { found: 3 })));
        assert!(matches!(decode_run(br#"{"v":1,"body":{"event":"unheard-of"}}"#), Err(BodyError::Malformed(_))));
    }

    #[test]
    fn every_event_is_read_back_as_it_was() {
        let (run, host) = (RunId::new("20261122-000000-test"), HostId::new("pve1"));
        let key = StepKey {
            run: run.clone(),
            target: Target::Guest(host.clone(), GuestId(101)),
            step: Step::Snapshot,
            round: 2,
        };
        for event in [
            HostEvent::Begun,
            HostEvent::TurnGiven,
            HostEvent::Ended {
                key: key.clone(),
                outcome: Outcome::Unknown(crate::machine::outcome::Fault::ambiguous("?")),
            },
            HostEvent::TaskStarted { key: key.clone(), task: Upid::new("UPID:pve1:1:2:3:vzsnapshot:101:root@pam:") },
            HostEvent::Probed { key: key.clone(), found: Probed::NotDone },
            HostEvent::Resumed,
            HostEvent::PolicyChanged { policy: state().policy },
            HostEvent::NewRound,
            HostEvent::Gated { gate: Gate::Canaries { guests: vec!["tag:canary".parse().unwrap()] } },
            HostEvent::Recheck,
            HostEvent::RollBack { guest: GuestId(101), runs: true },
            HostEvent::Resolved { guest: Some(GuestId(101)), resolution: Resolution::Retry },
        ] {
            let entry = decode_host(&encode_event(&event)).unwrap().into_entry(&run, &host);
            assert_eq!(entry, HostEntry::Event(event));
        }
        let intent = decode_host(&encode_intent(&key, Mode::Act)).unwrap().into_entry(&run, &host);
        assert_eq!(intent, HostEntry::Intent { key, mode: Mode::Act });
    }
}
