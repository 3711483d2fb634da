//! What the machine asks the engine to do.

use serde::{Deserialize, Serialize};

use crate::choices::ViaChoice;
use crate::choices::health::HealthCheck;
use crate::ids::{SnapshotName, Step, StepKey};
use crate::inventory::health::Health;
use crate::inventory::{PackageChange, PackageManager, Via};
use crate::machine::outcome::{Protection, RebootFacts, RunningGuest};
use crate::plan::{BackupHow, Baseline, GuestAddr, HostPolicy, Move, OldBackup, OldSnapshot};

/// One thing to do: performed only after the intent to do it is durable in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Which attempt at which step this is.
    pub key: StepKey,
    /// Whether to do it, to look whether it was done, or to wait for what is at work.
    pub mode: Mode,
    /// What it is.
    pub action: Action,
}

/// How an action is approached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Does it. At most once a key, unless the action is [`Replay::Safe`].
    Act,
    /// Waits for what was found at work; begins nothing.
    Attach,
    /// Looks whether it was done; changes nothing.
    Probe,
}

/// What may be done about an intent whose outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It changes nothing that matters: do it again.
    Safe,
    /// Look first.
    Probe,
}

/// The actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Gathers the facts of a host; refreshes package lists and changes nothing else.
    Discover {
        /// What the operator wants, to know what to look at.
        policy: HostPolicy,
    },
    /// Takes a snapshot named by the key.
    Snapshot {
        /// The guest.
        guest: GuestAddr,
    },
    /// Backs a guest up; the archive's note carries the key.
    Backup {
        /// The guest.
        guest: GuestAddr,
        /// Where to.
        storage: String,
        /// How.
        how: BackupHow,
    },
    /// Deletes a backup of an earlier run.
    PruneBackup {
        /// The backup and its guest.
        old: OldBackup,
    },
    /// Starts a guest that does not run.
    StartGuest {
        /// The guest.
        guest: GuestAddr,
    },
    /// Waits until a guest that was started answers, refreshes its package lists, and looks what is pending.
    LookGuest {
        /// The guest.
        guest: GuestAddr,
        /// The way into it.
        via: ViaChoice,
    },
    /// Shuts a guest down that was started to be upgraded. It is never powered off hard.
    StopGuest {
        /// The guest.
        guest: GuestAddr,
    },
    /// Reboots a VM, and waits until it runs another boot.
    RebootGuest {
        /// The VM.
        guest: GuestAddr,
        /// The path into it.
        via: Via,
        /// The boot that must end.
        boot_id: crate::ids::BootId,
    },
    /// Deletes a snapshot of an earlier run.
    PruneSnapshot {
        /// The snapshot and its guest.
        old: OldSnapshot,
    },
    /// Looks how a guest does before its upgrade: what failed in it, who listens, what comes of the operator's checks.
    MeasureGuest {
        /// The guest.
        guest: GuestAddr,
        /// The path into it.
        via: Via,
        /// The operator's checks.
        checks: Vec<HealthCheck>,
    },
    /// Upgrades a guest's packages in a detached job named by the key.
    UpgradeGuest {
        /// The guest.
        guest: GuestAddr,
        /// The path into it.
        via: Via,
        /// Its package manager.
        manager: PackageManager,
        /// What is to change: where it fails and all of that is still to be done, it has changed nothing.
        pending: Vec<PackageChange>,
        /// What it can be brought back from: no upgrade without.
        protection: Protection,
        /// Whether it will be rolled back to that where the upgrade fails: then nothing may stand in the way of a rollback.
        rollback: bool,
    },
    /// Checks a guest after its upgrade.
    CheckGuest {
        /// The guest.
        guest: GuestAddr,
        /// The path into it.
        via: Via,
        /// What was pending before.
        pending: Vec<PackageChange>,
        /// Whether it was rebooted since its upgrade: it may be booting still.
        rebooted: bool,
        /// How it did before, to be compared with; `None` where nobody looked.
        baseline: Option<Box<Health>>,
        /// The operator's checks.
        checks: Vec<HealthCheck>,
    },
    /// Rolls a guest back to a snapshot (`POST .../snapshot/{name}/rollback`); it does not run afterwards.
    RollbackGuest {
        /// The guest.
        guest: GuestAddr,
        /// The snapshot.
        snapshot: SnapshotName,
    },
    /// Starts a guest again that a rollback stopped.
    ReviveGuest {
        /// The guest.
        guest: GuestAddr,
    },
    /// Checks a guest after its rollback.
    RecheckGuest {
        /// The guest.
        guest: GuestAddr,
        /// The way into it.
        via: ViaChoice,
        /// What was pending before its upgrade, and is to be pending again.
        pending: Vec<PackageChange>,
        /// How it did before its upgrade, to be compared with; `None` where nobody looked.
        baseline: Option<Box<Health>>,
        /// The operator's checks.
        checks: Vec<HealthCheck>,
    },
    /// Upgrades the node's packages in a detached job named by the key.
    UpgradeHost {
        /// Its package manager.
        manager: PackageManager,
    },
    /// Looks whether the node may be rebooted now, and notes what runs on it. Changes nothing.
    PrepareReboot {
        /// The node.
        node: crate::ids::NodeName,
        /// Its package manager.
        manager: PackageManager,
        /// Whether its guests are moved away.
        evacuate: bool,
    },
    /// Sets the flag `noout` of the cluster's Ceph (`PUT /cluster/ceph/flags`).
    SetNoout {
        /// The node.
        node: crate::ids::NodeName,
    },
    /// Puts the node into HA maintenance mode, and waits until no guest of HA's runs there any more
    /// (`ha-manager crm-command node-maintenance enable`).
    EnterMaintenance {
        /// The node.
        node: crate::ids::NodeName,
        /// The guests that HA moves away. One that is being moved is off for a while, and counts until it is elsewhere.
        guests: Vec<crate::ids::GuestId>,
    },
    /// Moves a guest to another node (`POST /nodes/{node}/{lxc|qemu}/{vmid}/migrate`).
    MoveGuest {
        /// The guest, and where it goes.
        planned: Move,
    },
    /// Takes the node out of HA maintenance mode.
    LeaveMaintenance {
        /// The node.
        node: crate::ids::NodeName,
    },
    /// Brings a guest back to its node and sees to it that it runs there.
    ReturnGuest {
        /// The guest, and where it was moved to.
        moved: Move,
    },
    /// Waits until the cluster's Ceph is well, and clears the flag `noout`.
    ClearNoout {
        /// The node.
        node: crate::ids::NodeName,
    },
    /// Shuts all guests of the node down, in the node's own order, none of them hard (`POST /nodes/{node}/stopall`).
    StopGuests {
        /// The node.
        node: crate::ids::NodeName,
        /// What runs there and must not run afterwards.
        ready: RebootFacts,
    },
    /// Reboots the node, and waits until it is back in another boot.
    RebootHost {
        /// The node.
        node: crate::ids::NodeName,
        /// What was noted before.
        ready: RebootFacts,
    },
    /// Waits for the node's own start of its guests, then starts what is missing of those that ran.
    StartGuests {
        /// The node.
        node: crate::ids::NodeName,
        /// What is to run again.
        guests: Vec<RunningGuest>,
        /// Whether the node may have been booted before, and starts some of them by itself.
        booted: bool,
    },
    /// Checks the node and what ran on it.
    Verify {
        /// The node.
        node: crate::ids::NodeName,
        /// What ran before.
        baseline: Baseline,
        /// What was pending on the node before.
        pending: Vec<PackageChange>,
        /// What was noted before its reboot, where there was one.
        rebooted: Option<RebootFacts>,
    },
}

impl Action {
    /// Returns the step that the action belongs to.
    pub fn step(&self) -> Step {
        match self {
            Self::Discover { .. } => Step::Discover,
            Self::Snapshot { .. } => Step::Snapshot,
            Self::Backup { .. } => Step::Backup,
            Self::PruneSnapshot { .. } => Step::PruneSnapshot,
            Self::PruneBackup { .. } => Step::PruneBackup,
            Self::StartGuest { .. } => Step::StartGuest,
            Self::LookGuest { .. } => Step::LookGuest,
            Self::MeasureGuest { .. } => Step::MeasureGuest,
            Self::UpgradeGuest { .. } => Step::UpgradeGuest,
            Self::CheckGuest { .. } => Step::CheckGuest,
            Self::RebootGuest { .. } => Step::RebootGuest,
            Self::StopGuest { .. } => Step::StopGuest,
            Self::RollbackGuest { .. } => Step::RollbackGuest,
            Self::ReviveGuest { .. } => Step::ReviveGuest,
            Self::RecheckGuest { .. } => Step::RecheckGuest,
            Self::UpgradeHost { .. } => Step::UpgradeHost,
            Self::PrepareReboot { .. } => Step::PrepareReboot,
            Self::SetNoout { .. } => Step::SetNoout,
            Self::EnterMaintenance { .. } => Step::EnterMaintenance,
            Self::MoveGuest { .. } => Step::MoveGuest,
            Self::LeaveMaintenance { .. } => Step::LeaveMaintenance,
            Self::ReturnGuest { .. } => Step::ReturnGuest,
            Self::ClearNoout { .. } => Step::ClearNoout,
            Self::StopGuests { .. } => Step::StopGuests,
            Self::RebootHost { .. } => Step::RebootHost,
            Self::StartGuests { .. } => Step::StartGuests,
            Self::Verify { .. } => Step::Verify,
        }
    }
}

/// Returns what may be done about an intent of this step whose outcome is not known.
pub fn replay(step: Step) -> Replay {
    match step {
        Step::Discover
        | Step::LookGuest
        | Step::MeasureGuest
        | Step::CheckGuest
        | Step::RecheckGuest
        | Step::PrepareReboot
        | Step::Verify => Replay::Safe,
        Step::Snapshot
        | Step::Backup
        | Step::PruneSnapshot
        | Step::PruneBackup
        | Step::StartGuest
        | Step::UpgradeGuest
        | Step::RebootGuest
        | Step::StopGuest
        | Step::RollbackGuest
        | Step::ReviveGuest
        | Step::UpgradeHost
        | Step::SetNoout
        | Step::EnterMaintenance
        | Step::MoveGuest
        | Step::LeaveMaintenance
        | Step::ReturnGuest
        | Step::ClearNoout
        | Step::StopGuests
        | Step::RebootHost
        | Step::StartGuests => Replay::Probe,
    }
}
