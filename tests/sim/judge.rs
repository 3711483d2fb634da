//! The judge: sees every durable record, every change that the world is asked for, and every state that the driver shows, and
//! holds them against the invariants. The first violation ends the simulation.
//!
//! | invariant | seen at |
//! |---|---|
//! | nothing is acted on before its intent is durable | each entry of the ledger |
//! | an unsafe change at most once a key | each intent, each entry of the ledger |
//! | nothing is upgraded again that was upgraded, or still is | each entry of the ledger |
//! | no upgrade of a guest without a fresh protection that exists | each entry of the ledger |
//! | no upgrade of a guest without a look at how it does before | each entry of the ledger |
//! | no act of a kind that nobody asked for; none of a step that is not at work | each entry of the ledger |
//! | no node goes down while another one is, or while a guest runs there that HA does not see to | each entry of the ledger |
//! | no cluster loses its quorum by a reboot, unless that was allowed | each entry of the ledger |
//! | no guest is stopped hard; none is stopped that this run did not start, but for a reboot | each entry of the ledger |
//! | no guest is rolled back whose upgrade did not go wrong, unless it was asked for; none but to the snapshot that was meant | each entry of the ledger |
//! | one node of a cluster at a time; parallel hosts and guests within bounds | each durable record |
//! | what is durable folds to the state that the driver has | each event that the driver shows |

use std::collections::{BTreeMap, BTreeSet};

use proxmaint::choices::ProtectChoice;
use proxmaint::ids::{GuestId, HostId, RunId, Step, StepKey};
use proxmaint::journal::record::{HostEntry, decode_host};
use proxmaint::journal::{StoredEvent, StreamId};
use proxmaint::machine::effect::Mode;
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::{GuestPhase, GuestState, GuestVerdict};
use proxmaint::machine::host::{AfterReturn, HostPhase, HostState, StepState};
use proxmaint::plan::RunPolicy;
use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::world::{Asker, Guest, MachineId, Realm, World};

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
    /// The guests that ran, and that HA does not see to, when the world was last looked at, with their nodes; kept while a
    /// host is at its reboot.
    ran: BTreeSet<(String, u32)>,
    violation: Option<String>,
}

/// Returns what the world will see of an unsafe step: its act, and the key that the act carries.
fn trace(key: &StepKey) -> Option<(Act, String)> {
    match key.step {
        Step::Snapshot => Some((Act::SnapshotCreate, key.snapshot_name().to_string())),
        Step::Backup => Some((Act::Backup, key.backup_note())),
        Step::UpgradeGuest | Step::UpgradeHost => Some((Act::Upgrade, key.job_name())),
        // What it removes bears the name of another run's step: see `Judge::pruned`.
        Step::PruneSnapshot | Step::Discover | Step::MeasureGuest | Step::CheckGuest | Step::Verify => None,
        // Their acts carry no key: see `Judge::act_without_key`.
        Step::PruneBackup
        | Step::StartGuest
        | Step::LookGuest
        | Step::RebootGuest
        | Step::StopGuest
        | Step::RollbackGuest
        | Step::ReviveGuest
        | Step::RecheckGuest
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
            ran: BTreeSet::new(),
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
                if matches!(
                    event,
                    HostEvent::Begun | HostEvent::TurnGiven | HostEvent::Resumed | HostEvent::RebootTurnGiven
                ) {
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
        let rebooted: Vec<&HostId> =
            self.shadow.iter().filter(|(_, state)| is_at_its_reboot(&state.phase)).map(|(host, _)| host).collect();
        if rebooted.len() > 1 {
            return Err(format!("{rebooted:?} are rebooted at a time"));
        }
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
            // What the nodes do by themselves, and their administrators, is not this run's.
            if entry.by == Asker::root().to_string() {
                continue;
            }
            if let Err(what) = self.act(world, entry) {
                self.object(format!("{what}\n  {entry}"));
            }
        }
        // It matters only where a node is about to go down, and costs a walk through the world at each scene.
        self.ran = match self.shadow.values().any(|state| is_at_its_reboot(&state.phase)) {
            true => running(world),
            false => BTreeSet::new(),
        };
    }

    fn act(&mut self, world: &World, entry: &Entry) -> Result<(), String> {
        if matches!(entry.outcome, Outcome::Refused(_)) {
            return Ok(());
        }
        match entry.act {
            Act::RefreshLists => return Ok(()),
            Act::SnapshotCreate | Act::Backup | Act::Upgrade | Act::SnapshotDelete => {}
            Act::Start | Act::Shutdown | Act::Reboot | Act::Rollback | Act::BackupDelete => {
                return self.act_without_key(world, entry);
            }
            other => return Err(format!("an act that no step makes: {other:?}")),
        }
        let key = entry.key.clone().ok_or("an unsafe act without a key")?;
        let seen = (entry.act, entry.machine.clone(), key.clone());
        let step = self.intents.get(&seen).ok_or("acted on before its intent was durable")?;
        if entry.act == Act::Upgrade {
            upgraded_once(world, entry)?;
            if step.step == Step::UpgradeGuest {
                self.protected(world, entry, step)?;
                self.measured(step)?;
            }
        }
        // A removal that failed may be tried again: its intent has a new round, and what is gone can't be removed twice.
        let again = !self.begun.insert((entry.act, entry.realm.clone(), entry.machine.clone(), key));
        if again && entry.act != Act::SnapshotDelete {
            return Err("an unsafe act was made twice under one key".to_owned());
        }
        Ok(())
    }

    /// A node of a cluster goes down only where the others keep their quorum, or where the operator lets the other one of two lose
    /// it and HA manages nothing.
    fn keeps_quorum(&self, world: &World, entry: &Entry) -> Result<(), String> {
        let Some(realm) = world.realms.get(&entry.realm).filter(|realm| realm.clustered) else { return Ok(()) };
        let Some(tally) = world.tally(&realm.name) else { return Ok(()) };
        let others = world.nodes.values().filter(|node| node.realm == realm.name && node.name != entry.node);
        let left = others.filter(|node| node.online).map(|node| node.votes).sum::<u32>() + realm.voting.cast();
        let policy = self.policy.hosts.iter().find(|policy| policy.host.as_str() == entry.node);
        let allowed =
            policy.is_some_and(|policy| policy.allow_quorum_loss) && realm.nodes.len() == 2 && realm.ha.is_empty();
        match left >= tally.needed || allowed {
            true => Ok(()),
            false => {
                Err(format!("a cluster loses its quorum by a reboot: {left} votes of {} are left", tally.expected))
            }
        }
    }

    /// An act that carries no key of this run: it belongs to the step that is at work on the machine, and is made once for it.
    fn act_without_key(&mut self, world: &World, entry: &Entry) -> Result<(), String> {
        let key = self.at_work(entry).ok_or("no step is at work that asks for this, or its intent is not durable")?;
        if entry.act == Act::Reboot && entry.machine == entry.node {
            let others = world.nodes.values().filter(|node| node.name != entry.node && !node.online);
            let others: Vec<&str> = others.map(|node| node.name.as_str()).collect();
            if !others.is_empty() {
                return Err(format!("a node goes down while others are: {others:?}"));
            }
            let left: Vec<u32> = self.ran.iter().filter(|(node, _)| *node == entry.node).map(|(_, id)| *id).collect();
            if !left.is_empty() {
                return Err(format!("a node goes down while guests run there: {left:?}"));
            }
            self.keeps_quorum(world, entry)?;
        }
        if !self.begun.insert((entry.act, entry.realm.clone(), entry.machine.clone(), key.to_string())) {
            return Err(format!("an unsafe act was made twice under one key: {key}"));
        }
        Ok(())
    }

    /// Returns the step whose act an entry of the ledger is, if one is at work with a durable intent.
    fn at_work(&self, entry: &Entry) -> Option<StepKey> {
        let state = self.shadow.get(&HostId::new(entry.node.clone()))?;
        let vmid = entry.machine.parse().ok().map(GuestId);
        let guest = vmid.and_then(|id| state.guests.get(&id));
        let of_guest = match (entry.act, guest.map(|guest| &guest.phase)) {
            (Act::Rollback, Some(GuestPhase::RollingBack { undo, attempt })) => {
                let went_wrong = matches!(undo.before, GuestVerdict::Failed { .. });
                let meant = entry.key.as_deref() == Some(undo.snapshot.as_str());
                (meant && (went_wrong || undo.by_operator)).then_some((vmid, *attempt))
            }
            (Act::Start, Some(GuestPhase::Starting { attempt } | GuestPhase::Reviving { attempt, .. }))
            | (Act::Shutdown, Some(GuestPhase::Stopping { attempt, .. }))
            | (Act::Reboot, Some(GuestPhase::Rebooting { attempt, .. })) => Some((vmid, *attempt)),
            _ => None,
        };
        let of_node = match (entry.act, &state.phase) {
            (Act::Start, HostPhase::StartingGuests { guests, attempt, .. }) => {
                guests.iter().any(|guest| Some(guest.id) == vmid && !guest.ha).then_some((None, *attempt))
            }
            (Act::Shutdown, HostPhase::StoppingGuests { ready, attempt, .. }) => {
                let noted = ready.running.iter().any(|guest| Some(guest.id) == vmid && !guest.ha);
                noted.then_some((None, *attempt))
            }
            (Act::Reboot, HostPhase::Rebooting { attempt, .. }) if vmid.is_none() => Some((None, *attempt)),
            (Act::BackupDelete, HostPhase::Pruning { plan, nth, attempt }) => {
                let old = nth.checked_sub(plan.prune.len()).and_then(|nth| plan.prune_backups.get(nth))?;
                (Some(&old.volid) == entry.key.as_ref()).then_some((None, *attempt))
            }
            _ => None,
        };
        let (guest, attempt) = of_guest.or(of_node)?;
        let key = state.key(guest, attempt);
        let intended = attempt.mode == Mode::Act && state.record(&key)?.state == StepState::Working;
        intended.then_some(key)
    }

    /// Makes sure that it was looked how a guest does before it is upgraded.
    fn measured(&self, step: &StepKey) -> Result<(), String> {
        let guest = step.target.guest().and_then(|id| self.shadow[step.target.host()].guests.get(&id));
        match guest.is_some_and(|guest| guest.baseline.is_some()) {
            true => Ok(()),
            false => Err("a guest is upgraded that was not looked at before".to_owned()),
        }
    }

    /// Makes sure that a guest that is being upgraded can be brought back from something that this run made, and lately.
    fn protected(&self, world: &World, entry: &Entry, step: &StepKey) -> Result<(), String> {
        let vmid = entry.machine.parse().map_err(|_| "an upgrade of a guest without a vmid")?;
        let state = &self.shadow[step.target.host()];
        let plan = state.guests.get(&GuestId(vmid)).map(|guest| &guest.plan).ok_or("a guest without a plan")?;
        if state.policy.settings_of(&plan.traits()).protect == [ProtectChoice::None] {
            return Ok(());
        }
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

/// Tells whether a host is past the look before its reboot, and not yet at the end of what follows from it.
fn is_at_its_reboot(phase: &HostPhase) -> bool {
    match phase {
        HostPhase::PreparingReboot { .. } | HostPhase::StoppingGuests { .. } | HostPhase::Rebooting { .. } => true,
        HostPhase::StartingGuests { then, .. } => matches!(then, AfterReturn::Verify { .. } | AfterReturn::Hold { .. }),
        HostPhase::Held { at, .. } => is_at_its_reboot(at),
        _ => false,
    }
}

/// Lists the guests that run and that HA does not see to, with their nodes.
fn running(world: &World) -> BTreeSet<(String, u32)> {
    let of = |realm: &Realm| {
        let ha =
            |guest: &Guest| realm.ha.contains_key(&format!("{}:{}", guest.kind.label().to_lowercase(), guest.vmid));
        let there = realm.guests.values().filter(|guest| guest.running() && !ha(guest));
        there.map(|guest| (guest.node.clone(), guest.vmid)).collect::<Vec<_>>()
    };
    world.realms.values().flat_map(of).collect()
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
