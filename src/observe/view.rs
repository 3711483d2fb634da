//! What `proxmaint status` shows, as plain data: a run, its hosts, their guests, their steps.
//!
//! The same [`RunView`] answers through the socket of a live run, is read from the journal offline, is printed by
//! `status --output json`, and feeds the closing report. [`super::project`] makes it.
//!
//! # The JSON of `proxmaint status --output json`
//! One object. Times are RFC 3339 in UTC, spans are milliseconds; what is not known is `null`; lists are never missing.
//! New fields may come within version 1; a field that is here does not change its meaning.
//!
//! | field | meaning |
//! |---|---|
//! | `v` | version of this format: 1 |
//! | `run`, `opened_at`, `parallel_hosts` | the run's name, when it was opened, how many hosts at a time |
//! | `standing` | `{"state": "running", "pid": 4711}`, or `state` is `interrupted` (a later run goes on), `finished`, `expired` (too old to go on with) |
//! | `result` | `clean`, `failed` (something failed or was blocked), `held`, `unfinished` |
//! | `seen_at` | when this view was made |
//! | `rollout` | where there are canaries, or a bound of failures: `{"stage": "finding" (hosts are looked at for canaries), "canaries", "soaking", "rechecking" or "rest", "until": the end of the soak, "halted": why}` |
//! | `counts` | hosts by result: `total`, `nothing_to_do`, `succeeded`, `skipped`, `blocked`, `failed`, `held`, `unfinished`; `active` of the unfinished are being worked on |
//! | `hosts[]` | the hosts in the manifest's order |
//! | `hosts[].host`, `.node` | the manifest's entry, and the node that it is |
//! | `hosts[].phase` | `pending`, `discovering`, `awaiting-turn`, `pruning`, `snapshotting`, `upgrading-guests`, `upgrading-host`, `verifying`, `awaiting-reboot`, `preparing-reboot`, `stopping-guests`, `rebooting`, `starting-guests`, `giving-back`, `rechecking`, `held`, `done` |
//! | `hosts[].result` | `nothing-to-do`, `succeeded`, `skipped`, `blocked`, `failed`, `held`, `unfinished`: the host with all its guests |
//! | `hosts[].gate` | what may begin there: `open`, `canaries` (only these), or nothing: `waits-for-canaries`, `halted`, `paused`, `stopped` |
//! | `hosts[].reason`, `.hint` | the first thing that went wrong or is waited for, and what to do about it |
//! | `hosts[].in_doubt` | whether it can't be told yet how a step of the node itself ended |
//! | `hosts[].waits_for` | the host whose turn must end first |
//! | `hosts[].began`, `.ended`, `.duration_ms` | when something first happened to it, when it was over, how long that is |
//! | `hosts[].counts` | its guests: `total`, `upgraded`, `skipped`, `blocked`, `failed`, `rolled_back`, `held`, `unfinished` |
//! | `hosts[].pending`, `.changed` | how many packages of the node are to be upgraded, and how many changed |
//! | `hosts[].packages[]` | the node's packages that changed: `{"name", "old", "new"}`; `old` is `null` for a new one, `new` for a removed one |
//! | `hosts[].reboot_wanted` | why the node wants a reboot |
//! | `hosts[].reboot` | whether the run reboots it: `never`, `if-needed`, `always` |
//! | `hosts[].rebooted`, `.not_rebooted` | the kernel that it was rebooted into; why it was not rebooted, though it should have been |
//! | `hosts[].own` | that proxmaint runs on it or in one of its guests, while it is planned: it comes last and is not rebooted |
//! | `hosts[].left_out` | why the node itself is left alone |
//! | `hosts[].remarks` | what is left for the administrator: `{"held": [packages], "leftovers": [configuration files], "restart_needed": [services]}` |
//! | `hosts[].removed` | how many snapshots and backups of earlier runs were removed |
//! | `hosts[].owed[]` | what was borrowed and is to be given back: `{"owed": "stop-guest" or "start-guests", "guests": [numbers], "what": words, "why": words}`; `why` says why it was not given back yet, where more is known than that nobody tried |
//! | `hosts[].steps[]` | the node's own steps |
//! | `hosts[].snapshots`, `.backups` | how many the run made of its guests and left for a rollback |
//! | `hosts[].guests[]` | its guests in order of number |
//! | `..guests[].id`, `.kind`, `.name` | number, `ct` or `vm`, name |
//! | `..guests[].state` | `waiting`, `protecting`, `protected`, `upgrading`, `checking`, `starting`, `looking`, `rebooting`, `stopping`, `held`, `upgraded`, `skipped`, `blocked`, `failed` |
//! | `..guests[].in_doubt`, `.reason`, `.hint`, `.began`, `.ended`, `.duration_ms`, `.pending`, `.changed`, `.packages`, `.reboot_wanted`, `.remarks`, `.steps` | as for a host |
//! | `..guests[].rebooted` | whether it was rebooted into its new kernel |
//! | `..guests[].unprotected` | whether it is upgraded without a protection, since the manifest says so |
//! | `..guests[].own` | whether proxmaint runs in it: it comes last of its host and is not rebooted |
//! | `..guests[].kept[]` | what the run made and left for a rollback: `{"kind": "snapshot" or "backup", "name", "at"}` |
//! | `..steps[].step`, `.round` | `discover`, `prune-snapshot`, `prune-backup`, `snapshot`, `backup`, `start-guest`, `look-guest`, `upgrade-guest`, `check-guest`, `reboot-guest`, `stop-guest`, `upgrade-host`, `prepare-reboot`, `stop-guests`, `reboot-host`, `start-guests`, `verify`; which attempt, from 1 |
//! | `..steps[].state` | `planned`, `working`, `in-doubt`, `interrupted` (harmless, is done again), `done`, `refused`, `failed`, `not-done`, `held` |
//! | `..steps[].began`, `.ended`, `.duration_ms`, `.reason`, `.task` | when, how long, what went wrong, the node's task (UPID) |
//! | `..steps[].thing` | what it made or removed: a snapshot's name, an archive's volume identifier |
//! | `..steps[].log` | where the output of an upgrade is, relative to the state directory |
//! | `next[]` | what to do now: `{"command", "why", "host", "guest"}` |

use serde::{Deserialize, Serialize};

use super::when;
use crate::choices::HostReboot;
use crate::ids::{GuestId, GuestKind, HostId, NodeName, RunId, Step, Upid};
use crate::inventory::PackageChange;
use crate::machine::host::HostResult;
use crate::machine::outcome::Remarks;
use crate::machine::run::RunResult;
use crate::time::Timestamp;

/// The version of the format.
pub const VIEW_VERSION: u32 = 1;

/// A fleet with more hosts than this is shown with one line for each host that needs nobody's attention.
pub const SMALL_FLEET: usize = 12;

/// How much of a run is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// How deep.
    #[serde(default)]
    pub detail: Detail,
    /// Only this host; the counts are the whole run's all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
}

/// How deep a view goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// Without package lists, and without the steps of what ended well; in a fleet of more than [`SMALL_FLEET`] hosts also
    /// without the guests of hosts that came out well. This is what the status of a large fleet is quick with.
    #[default]
    Brief,
    /// Everything.
    Full,
}

/// Whether a run is being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// A process works on it.
    Running {
        /// The process.
        pid: u32,
    },
    /// Nobody works on it, and a later run goes on with it.
    Interrupted,
    /// It is over.
    Finished,
    /// It was closed because it was too old to go on with.
    Expired,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// [`VIEW_VERSION`].
    pub v: u32,
    /// Its name.
    pub run: RunId,
    /// When it was opened.
    #[serde(with = "when")]
    pub opened_at: Timestamp,
    /// When this view was made.
    #[serde(with = "when")]
    pub seen_at: Timestamp,
    /// Whether it is being worked on.
    pub standing: Standing,
    /// How it stands as a whole.
    pub result: RunResult,
    /// How many hosts are worked on at a time.
    pub parallel_hosts: u32,
    /// How far it is with its canaries, and whether it halted; nothing where all go together and it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// Its hosts, counted.
    pub counts: HostCounts,
    /// Its hosts, in the manifest's order.
    pub hosts: Vec<HostView>,
    /// What to do now.
    pub next: Vec<Advice>,
}

/// Hosts by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCounts {
    /// All of them.
    pub total: usize,
    /// Nothing was to be done.
    pub nothing_to_do: usize,
    /// All is done and verified.
    pub succeeded: usize,
    /// Left out by the operator.
    pub skipped: usize,
    /// Not touched though they, or a guest, should have been.
    pub blocked: usize,
    /// They, or a guest, failed.
    pub failed: usize,
    /// A step is held.
    pub held: usize,
    /// Not over.
    pub unfinished: usize,
    /// Those of the unfinished that are being worked on.
    pub active: usize,
}

/// A command that goes on, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The command line.
    pub command: String,
    /// Why.
    pub why: String,
    /// The host that it is about, if it is about one.
    pub host: Option<HostId>,
    /// The guest that it is about, if it is about one.
    pub guest: Option<GuestId>,
}

/// How far a run is with its canaries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutView {
    /// How far.
    pub stage: RolloutStage,
    /// Until when the canaries are left alone.
    #[serde(default, with = "when::option")]
    pub until: Option<Timestamp>,
    /// Why the run halted.
    #[serde(default)]
    pub halted: Option<String>,
}

/// How far a run is with its canaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStage {
    /// Hosts are looked at for canaries.
    Finding,
    /// The canaries are worked on.
    Canaries,
    /// They are done, and left alone.
    Soaking,
    /// They are looked at once more.
    Rechecking,
    /// All may begin.
    Rest,
}

/// What may begin on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateView {
    /// Everything.
    #[default]
    Open,
    /// Guests that are canaries.
    Canaries,
    /// Nothing: the canaries go first.
    WaitsForCanaries,
    /// Nothing: the run has halted.
    Halted,
    /// Nothing: the operator paused it.
    Paused,
    /// Nothing: the operator stopped it.
    Stopped,
}

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostStanding {
    /// Nothing has happened yet.
    Pending,
    /// Facts are being gathered.
    Discovering,
    /// Planned; another node of its cluster comes first.
    AwaitingTurn,
    /// Snapshots of earlier runs are being removed.
    Pruning,
    /// Guests are being protected.
    Snapshotting,
    /// Guests are being upgraded.
    UpgradingGuests,
    /// The node is being upgraded.
    UpgradingHost,
    /// Node and guests are being checked.
    Verifying,
    /// It waits for its reboot: another node is being rebooted.
    AwaitingReboot,
    /// It is being looked at whether it may be rebooted.
    PreparingReboot,
    /// Ceph's flag `noout` is being set.
    SettingNoout,
    /// Its guests are being moved away.
    Evacuating,
    /// Its guests are being shut down.
    StoppingGuests,
    /// The node is being rebooted.
    Rebooting,
    /// The guests that ran are being started again.
    StartingGuests,
    /// Guests come back, maintenance mode ends, or Ceph's flag is being cleared.
    Returning,
    /// Guests that were started to be upgraded are being stopped.
    GivingBack,
    /// Canaries that were upgraded are being looked at once more.
    Rechecking,
    /// A step of the node is held.
    Held,
    /// It is over.
    Done,
}

/// A host within a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// The manifest's entry.
    pub host: HostId,
    /// The node, once known.
    pub node: Option<NodeName>,
    /// Where it stands.
    pub phase: HostStanding,
    /// The host with all its guests.
    pub result: HostResult,
    /// What may begin there.
    #[serde(default)]
    pub gate: GateView,
    /// Whether it can't be told yet how a step of the node itself ended.
    pub in_doubt: bool,
    /// The first thing that went wrong or is waited for.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The host whose turn must end first.
    pub waits_for: Option<HostId>,
    /// When something first happened to it.
    #[serde(with = "when::option")]
    pub began: Option<Timestamp>,
    /// When it was over.
    #[serde(with = "when::option")]
    pub ended: Option<Timestamp>,
    /// How long it took, or has taken so far.
    pub duration_ms: Option<u64>,
    /// Its guests, counted.
    pub counts: GuestCounts,
    /// How many packages of the node are to be upgraded.
    pub pending: usize,
    /// How many packages of the node changed.
    pub changed: usize,
    /// Packages of the node that changed.
    pub packages: Vec<PackageChange>,
    /// Why the node wants a reboot.
    pub reboot_wanted: Option<String>,
    /// The node's own steps, oldest first.
    pub steps: Vec<StepView>,
    /// How many snapshots of its guests the run made and left.
    pub snapshots: usize,
    /// How many backups of its guests the run made and left.
    pub backups: usize,
    /// Whether the run reboots the node.
    #[serde(default = "never")]
    pub reboot: HostReboot,
    /// The kernel that it was rebooted into.
    #[serde(default)]
    pub rebooted: Option<String>,
    /// Why it was not rebooted, though it should have been.
    #[serde(default)]
    pub not_rebooted: Option<String>,
    /// That proxmaint runs on it or in one of its guests, while it is planned.
    #[serde(default)]
    pub own: Option<String>,
    /// Why the node itself is left alone.
    #[serde(default)]
    pub left_out: Option<String>,
    /// What is left for the administrator on the node.
    #[serde(default)]
    pub remarks: RemarksView,
    /// How many snapshots and backups of earlier runs were removed.
    #[serde(default)]
    pub removed: usize,
    /// What was borrowed and is to be given back.
    #[serde(default)]
    pub owed: Vec<OwedView>,
    /// Its guests, in order of number.
    pub guests: Vec<GuestView>,
}

const fn never() -> HostReboot {
    HostReboot::Never
}

/// What an upgrade left for the administrator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemarksView {
    /// Packages that are held back.
    pub held: Vec<String>,
    /// Configuration files that packages left beside the administrator's.
    pub leftovers: Vec<String>,
    /// Services that still run files that were replaced.
    pub restart_needed: Vec<String>,
    /// How a guest does otherwise than before its upgrade, where that is no failure, one sentence each.
    #[serde(default)]
    pub health: Vec<String>,
}

impl From<&Remarks> for RemarksView {
    fn from(remarks: &Remarks) -> Self {
        let Remarks { held, leftovers, restart_needed, health } = remarks.clone();
        Self { held, leftovers, restart_needed, health }
    }
}

/// Something that was borrowed and is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedView {
    /// What has to be done.
    pub owed: OwedKind,
    /// The guests that it is about.
    pub guests: Vec<GuestId>,
    /// The same in words.
    pub what: String,
    /// Why it was not given back yet, where more is known than that nobody tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl OwedView {
    /// Returns what is owed and why, on one line.
    pub fn line(&self) -> String {
        match &self.why {
            Some(why) => format!("{}; {why}", self.what),
            None => self.what.clone(),
        }
    }
}

/// What has to be done about something that was borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwedKind {
    /// A guest that was started is to be stopped again.
    StopGuest,
    /// A guest that a rollback stopped is to run again.
    ReviveGuest,
    /// Guests that were shut down are to run again.
    StartGuests,
    /// The node is to leave HA maintenance mode.
    LeaveMaintenance,
    /// A guest that was moved away is to come back.
    ReturnGuest,
    /// Ceph's flag `noout` is to be cleared.
    ClearNoout,
}

/// Guests by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestCounts {
    /// All of them.
    pub total: usize,
    /// Upgraded and checked.
    pub upgraded: usize,
    /// Left alone, as they should be.
    pub skipped: usize,
    /// Not touched though they should have been.
    pub blocked: usize,
    /// Their upgrade or the check after it failed.
    pub failed: usize,
    /// Rolled back to their snapshot.
    #[serde(default)]
    pub rolled_back: usize,
    /// A step is held.
    pub held: usize,
    /// Not over.
    pub unfinished: usize,
}

/// Where a guest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestStanding {
    /// Not begun.
    Waiting,
    /// A protection is being made.
    Protecting,
    /// Protected; its upgrade has not begun.
    Protected,
    /// Being looked at, how it does before its upgrade.
    Measuring,
    /// Being upgraded.
    Upgrading,
    /// Being checked.
    Checking,
    /// Being started, since it did not run.
    Starting,
    /// Started, and being looked into.
    Looking,
    /// Being rebooted into its new kernel.
    Rebooting,
    /// Being rolled back to its snapshot.
    RollingBack,
    /// Being started again after its rollback.
    Reviving,
    /// Being checked after its rollback.
    Rechecking,
    /// Being stopped again.
    Stopping,
    /// A step is held.
    Held,
    /// Upgraded and checked.
    Upgraded,
    /// Left alone, as it should be.
    Skipped,
    /// Not touched though it should have been.
    Blocked,
    /// Its upgrade or the check after it failed.
    Failed,
    /// It was rolled back to its snapshot.
    RolledBack,
}

/// A guest within a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestView {
    /// Its number.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// Its name; may be empty.
    pub name: String,
    /// Where it stands.
    pub state: GuestStanding,
    /// Whether it can't be told yet how its step ended.
    pub in_doubt: bool,
    /// Whether it waits for the operator: one that is held, and one that failed and was kept as it is, which is not upgraded again
    /// before they decide.
    #[serde(default)]
    pub held: bool,
    /// Why it is as it is, where that needs a reason.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// When its first step began.
    #[serde(with = "when::option")]
    pub began: Option<Timestamp>,
    /// When its last step ended, once it is over.
    #[serde(with = "when::option")]
    pub ended: Option<Timestamp>,
    /// How long it took, or has taken so far.
    pub duration_ms: Option<u64>,
    /// How many packages are to be upgraded.
    pub pending: usize,
    /// How many packages changed.
    pub changed: usize,
    /// Packages that changed.
    pub packages: Vec<PackageChange>,
    /// Why it wants a reboot.
    pub reboot_wanted: Option<String>,
    /// Whether it was rebooted into its new kernel.
    #[serde(default)]
    pub rebooted: bool,
    /// Whether it is upgraded without a protection, since the manifest says so.
    #[serde(default)]
    pub unprotected: bool,
    /// Whether proxmaint itself runs in it.
    #[serde(default)]
    pub own: bool,
    /// What is left for the administrator.
    #[serde(default)]
    pub remarks: RemarksView,
    /// What the run made and left for a rollback.
    pub kept: Vec<Kept>,
    /// Its steps, oldest first.
    pub steps: Vec<StepView>,
}

/// A protection that a run made and left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What it is.
    pub kind: KeptKind,
    /// The snapshot's name, or the archive's volume identifier.
    pub name: String,
    /// When it was made.
    #[serde(with = "when::option")]
    pub at: Option<Timestamp>,
}

/// Tells snapshots from backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptKind {
    /// A snapshot.
    Snapshot,
    /// A backup.
    Backup,
}

impl HostView {
    /// Tells whether the host needs nobody's attention: it came out well, or has not begun.
    pub fn is_quiet(&self) -> bool {
        matches!(self.phase, HostStanding::Pending)
            || matches!(self.result, HostResult::NothingToDo | HostResult::Succeeded | HostResult::Skipped)
    }
}

impl KeptKind {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Backup => "backup",
        }
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepStanding {
    /// Not begun.
    Planned,
    /// At work.
    Working,
    /// It can't be told yet how it ended: it is looked at before anything else is done.
    InDoubt,
    /// Cut short by an interruption; it changes nothing and is simply done again.
    Interrupted,
    /// It ended well.
    Done,
    /// It was looked at and not begun.
    Refused,
    /// It failed.
    Failed,
    /// A look showed that it left nothing behind.
    NotDone,
    /// The operator decides.
    Held,
}

/// One attempt at one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// The step.
    pub step: Step,
    /// Which attempt, from 1.
    pub round: u32,
    /// How it stands.
    pub state: StepStanding,
    /// When it began.
    #[serde(with = "when::option")]
    pub began: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "when::option")]
    pub ended: Option<Timestamp>,
    /// How long it took, or has taken so far.
    pub duration_ms: Option<u64>,
    /// What went wrong.
    pub reason: Option<String>,
    /// The node's task that does it.
    pub task: Option<Upid>,
    /// What it made or removed, by name.
    #[serde(default)]
    pub thing: Option<String>,
    /// Where the output of an upgrade is, relative to the state directory.
    #[serde(default)]
    pub log: Option<String>,
}
