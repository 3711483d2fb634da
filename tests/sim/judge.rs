//! The judge: sees every durable record, every change that the world is asked for, and every state that the driver shows, and
//! holds them against the invariants. The first violation ends the simulation.
//!
//! | invariant | seen at |
//! |---|---|
//! | nothing is acted on before its intent is durable | each entry of the ledger |
//! | an unsafe change at most once a key | each intent, each entry of the ledger |
//! | nothing is upgraded again that was upgraded, or still is | each entry of the ledger |
//! | no upgrade of a guest without a fresh protection that exists | each entry of the ledger |
//! | no act of a kind that nobody asked for | each entry of the ledger |
//! | one node of a cluster at a time; parallel hosts and guests within bounds | each durable record |
//! | what is durable folds to the state that the driver has | each event that the driver shows |

use std::collections::{BTreeMap, BTreeSet};

use proxmaint::ids::{HostId, RunId, Step, StepKey};
use proxmaint::journal::record::{HostEntry, decode_host};
use proxmaint::journal::{StoredEvent, StreamId};
use proxmaint::machine::effect::Mode;
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::GuestState;
use proxmaint::machine::host::{HostPhase, HostState};
use proxmaint::plan::RunPolicy;
use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::world::{MachineId, World};

/// How much later than the decision an upgrade may begin: what reads and their retries before it may take.
const SLACK_S: i64 = 300;

/// The judge.
#[derive(Debug)]
pub struct Judge {
    run: RunId,
    policy: RunPolicy,
    /// The fold of what is durable.
    shadow: BTreeMap<HostId, HostState>,
    /// Records of each host that were handed over and are not durable.
    in_flight: BTreeMap<HostId, usize>,
    /// Durable intents to change something, by what the world will see of them.
    intents: BTreeMap<(Act, String, String), StepKey>,
    /// What was begun in the world, by act, realm, machine and key.
    begun: BTreeSet<(Act, String, String, String)>,
    /// Entries of the ledger that were looked at.
    looked: usize,
    violation: Option<String>,
}

/// Returns what the world will see of an unsafe step: its act, and the key that the act carries.
fn trace(key: &StepKey) -> Option<(Act, String)> {
    match key.step {
        Step::Snapshot => Some((Act::SnapshotCreate, key.snapshot_name().to_string())),
        Step::Backup => Some((Act::Backup, key.backup_note())),
        Step::UpgradeGuest | Step::UpgradeHost => Some((Act::Upgrade, key.job_name())),
        // What it removes bears the name of another run's step: see `Judge::pruned`.
        Step::PruneSnapshot | Step::Discover | Step::CheckGuest | Step::Verify => None,
        // Their acts carry no key: the state of the world is what they are known by.
        Step::PruneBackup
        | Step::StartGuest
        | Step::LookGuest
        | Step::RebootGuest
        | Step::StopGuest
        | Step::PrepareReboot
        | Step::StopGuests
        | Step::RebootHost
        | Step::StartGuests => None,
    }
}

/// Returns how the ledger calls the machine of a step. Hosts of a simulation are called as their nodes.
fn machine(key: &StepKey) -> String {
    key.target.guest().map_or_else(|| key.target.host().to_string(), |guest| guest.to_string())
}

impl Judge {
    /// Makes the judge of a run.
    pub fn new(run: RunId, policy: RunPolicy) -> Self {
        let state = |host: &proxmaint::plan::HostPolicy| (host.host.clone(), HostState::new(run.clone(), host.clone()));
        Self {
            shadow: policy.hosts.iter().map(state).collect(),
            run,
            policy,
            in_flight: BTreeMap::new(),
            intents: BTreeMap::new(),
            begun: BTreeSet::new(),
            looked: 0,
            violation: None,
        }
    }

    /// Returns the first violation.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Enters a violation.
    pub fn object(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert(what.into());
    }

    /// Returns the states that the durable records fold to.
    pub fn shadow(&self) -> &BTreeMap<HostId, HostState> {
        &self.shadow
    }

    /// A record of a host was handed over.
    pub fn handed_over(&mut self, host: &HostId) {
        *self.in_flight.entry(host.clone()).or_default() += 1;
    }

    /// An incarnation is over: what it handed over and did not become durable is lost.
    pub fn incarnation_ended(&mut self) {
        self.in_flight.clear();
    }

    /// A batch became durable.
    pub fn durable(&mut self, records: &[StoredEvent]) {
        for record in records {
            let StreamId::Host(host) = &record.stream else { continue };
            if let Some(count) = self.in_flight.get_mut(host) {
                *count = count.saturating_sub(1);
            }
            if let Err(what) = self.fold(host, record) {
                self.object(what);
            }
        }
    }

    fn fold(&mut self, host: &HostId, record: &StoredEvent) -> Result<(), String> {
        let body =
            decode_host(&record.body).map_err(|error| format!("record {} can't be read: {error}", record.seq))?;
        let state = self.shadow.get_mut(host).ok_or_else(|| format!("a record of {host}, which is not in the run"))?;
        match body.into_entry(&self.run, host) {
            HostEntry::Event(event) => {
                state.apply(&event, record.at).map_err(|illegal| format!("record {}: {illegal}", record.seq))?;
                if matches!(event, HostEvent::Begun | HostEvent::TurnGiven | HostEvent::Resumed) {
                    self.hosts_within_bounds(host)?;
                }
            }
            HostEntry::Intent { key, mode } => {
                state.intended(&key, mode, record.at);
                if mode == Mode::Act {
                    self.intent(host, key)?;
                }
            }
        }
        Ok(())
    }

    /// An intent to do something became durable.
    fn intent(&mut self, host: &HostId, key: StepKey) -> Result<(), String> {
        let seen = match key.step {
            Step::PruneSnapshot => Some(self.pruned(host)?),
            _ => trace(&key).map(|(act, name)| (act, machine(&key), name)),
        };
        let Some(seen) = seen else { return Ok(()) };
        // A removal may be tried again under a next round: what is gone can't be removed twice.
        if let Some(twice) = self.intents.insert(seen, key.clone()).filter(|before| before.step != Step::PruneSnapshot)
        {
            return Err(format!("a second intent to act under the key {twice}"));
        }
        let state = &self.shadow[host];
        if key.target.guest().is_none() {
            return Ok(());
        }
        let at_work = |guest: &&GuestState| guest.phase.attempt().is_some_and(|attempt| attempt.mode != Mode::Probe);
        let working = state.guests.values().filter(at_work).count();
        if working > state.policy.max_parallel as usize {
            return Err(format!("{working} guests of {host} at work, and {} allowed", state.policy.max_parallel));
        }
        Ok(())
    }

    /// Returns what the world will see of the removal that a host is at.
    fn pruned(&self, host: &HostId) -> Result<(Act, String, String), String> {
        let HostPhase::Pruning { plan, nth, .. } = &self.shadow[host].phase else {
            return Err(format!("{host} intends to remove a snapshot and is not at that"));
        };
        let old = plan.prune.get(*nth).ok_or("an old snapshot that the plan does not have")?;
        Ok((Act::SnapshotDelete, old.guest.id.to_string(), old.name.to_string()))
    }

    fn hosts_within_bounds(&self, changed: &HostId) -> Result<(), String> {
        let active: Vec<&HostId> =
            self.shadow.iter().filter(|(_, state)| !state.is_parked()).map(|(host, _)| host).collect();
        if active.len() > self.policy.parallel_hosts as usize {
            return Err(format!("{active:?} are worked on, and {} allowed", self.policy.parallel_hosts));
        }
        let changing = |state: &HostState| {
            let phase = match &state.phase {
                HostPhase::Pruning { .. }
                | HostPhase::Snapshotting { .. }
                | HostPhase::UpgradingGuests { .. }
                | HostPhase::UpgradingHost { .. }
                | HostPhase::Verifying { .. }
                | HostPhase::Held { .. } => state.phase.plan().and_then(|plan| plan.cluster.clone()),
                _ => None,
            };
            phase.or_else(|| state.turn.clone())
        };
        let Some(cluster) = changing(&self.shadow[changed]) else { return Ok(()) };
        let same: Vec<&HostId> = self
            .shadow
            .iter()
            .filter(|(_, state)| changing(state).as_ref() == Some(&cluster))
            .map(|(host, _)| host)
            .collect();
        if same.len() > 1 {
            return Err(format!("{same:?} of one cluster are changed at a time"));
        }
        Ok(())
    }

    /// Looks at what the world was asked for since the last look.
    pub fn look_at_acts(&mut self, world: &World) {
        let entries = &world.ledger.entries()[self.looked..];
        self.looked += entries.len();
        for entry in entries {
            if let Err(what) = self.act(world, entry) {
                self.object(format!("{what}\n  {entry}"));
            }
        }
    }

    fn act(&mut self, world: &World, entry: &Entry) -> Result<(), String> {
        if matches!(entry.outcome, Outcome::Refused(_)) {
            return Ok(());
        }
        match entry.act {
            Act::RefreshLists => return Ok(()),
            Act::SnapshotCreate | Act::Backup | Act::Upgrade | Act::SnapshotDelete => {}
            other => return Err(format!("an act that no step makes: {other:?}")),
        }
        let key = entry.key.clone().ok_or("an unsafe act without a key")?;
        let seen = (entry.act, entry.machine.clone(), key.clone());
        let step = self.intents.get(&seen).ok_or("acted on before its intent was durable")?;
        if entry.act == Act::Upgrade {
            upgraded_once(world, entry)?;
            if step.step == Step::UpgradeGuest {
                self.protected(world, entry, step)?;
            }
        }
        // A removal that failed may be tried again: its intent has a new round, and what is gone can't be removed twice.
        let again = !self.begun.insert((entry.act, entry.realm.clone(), entry.machine.clone(), key));
        if again && entry.act != Act::SnapshotDelete {
            return Err("an unsafe act was made twice under one key".to_owned());
        }
        Ok(())
    }

    /// Makes sure that a guest that is being upgraded can be brought back from something that this run made, and lately.
    fn protected(&self, world: &World, entry: &Entry, step: &StepKey) -> Result<(), String> {
        let vmid = entry.machine.parse().map_err(|_| "an upgrade of a guest without a vmid")?;
        let guest =
            world.guest(&MachineId::guest(&entry.realm, vmid)).ok_or("an upgrade of a guest that is not there")?;
        let (snapshot, note) = (format!("pm-{}-r", self.run), format!("proxmaint {}/", self.run));
        let snapshots = guest.snapshots.iter().filter(|s| s.state.is_none() && s.name.starts_with(&snapshot));
        let archives = world.realms[&entry.realm].backups.iter();
        let archives =
            archives.filter(|b| b.vmid == vmid && b.notes.as_ref().is_some_and(|notes| notes.starts_with(&note)));
        let newest = snapshots.map(|s| s.snaptime).chain(archives.map(|b| b.ctime)).max();
        let newest = newest.ok_or("a guest is upgraded without a protection of this run")?;
        let policy = &self.shadow[step.target.host()].policy;
        let age = world.unix(entry.at) - newest;
        if age > i64::try_from(policy.protect_max_age().as_secs()).unwrap_or(i64::MAX) + SLACK_S {
            return Err(format!("a guest is upgraded whose protection is {age} s old"));
        }
        Ok(())
    }

    /// Compares what the driver has with the fold of what is durable, where nothing is on its way.
    pub fn shown(&mut self, state: &HostState) {
        let host = state.host();
        if self.in_flight.get(host).is_some_and(|count| *count > 0) {
            return;
        }
        if self.shadow.get(host) != Some(state) {
            let shadow = self.shadow.get(host);
            self.object(format!("the driver's state of {host} is not what is durable:\n{state:#?}\n{shadow:#?}"));
        }
    }
}

/// Makes sure that a machine is not upgraded again while an upgrade of this run is at work there, or after one that ended well.
fn upgraded_once(world: &World, entry: &Entry) -> Result<(), String> {
    let mut earlier = world
        .ledger
        .of(Act::Upgrade, &entry.machine)
        .filter(|e| e.seq < entry.seq && e.realm == entry.realm && matches!(e.outcome, Outcome::Begun | Outcome::Done));
    match earlier.next() {
        Some(first) => Err(format!("upgraded again, though this was begun and not in vain:\n  {first}")),
        None => Ok(()),
    }
}
