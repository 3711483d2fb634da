//! Performs one effect: acts, attaches to what is at work, or looks whether something was done.
//!
//! Each performer looks first: what is done already is success, and a guest that is no longer the one that was planned
//! is refused. A cut connection is no outcome; where it can't be told whether a change happened, the outcome is
//! [`Outcome::Unknown`], and the machine asks for a probe.

mod discover;
mod inside;
mod power;
mod protect;
mod prune;
mod reboot;
mod upgrade;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::port::{Clock, GuestRef, HostPorts, JobOutput, Place};
use super::wait::retried;
use crate::ids::{BootId, GuestKind, StepKey, Upid};
use crate::inventory::{Power, Via};
use crate::machine::effect::{Action, Effect, Mode};
use crate::machine::host::HostState;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::{Decision, GuestAddr};
use crate::time::Timestamp;

pub use discover::discover;
pub use inside::identity_of;

/// What came of performing an effect.
#[derive(Debug)]
pub enum Report {
    /// The effect (mode act or attach) ended.
    Ended(Outcome),
    /// The probe answered.
    Probed(Probed),
    /// The operator asked to stop, and the work goes on by itself on the target: the next run attaches to it.
    Left,
}

/// A task that a step started, told while the step is still at work.
#[derive(Debug)]
pub struct TaskNews {
    /// The step.
    pub key: StepKey,
    /// The task.
    pub task: Upid,
}

/// What a performer works with.
#[derive(Clone)]
pub struct Context {
    /// The ways to the host.
    pub ports: Arc<HostPorts>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How long things may take.
    pub limits: Limits,
    /// Where tasks are told of.
    pub news: mpsc::Sender<TaskNews>,
    /// Set when no new step shall begin.
    pub draining: CancellationToken,
    /// When the intent of the effect's key was first recorded: tasks older than this are not its own.
    pub since: Timestamp,
    /// The task that is known to do the step.
    pub task: Option<Upid>,
    /// How long a guest's lock is waited for.
    pub lock_wait: Duration,
    /// Where the output of upgrades goes.
    pub output: Arc<dyn JobOutput>,
    /// The boot of the machine that this program runs on.
    pub own_boot: Option<BootId>,
}

/// Performs an effect.
pub async fn perform(cx: &Context, effect: &Effect) -> Report {
    match (&effect.action, effect.mode) {
        // Whoever upgrades nothing needs no fresh package lists.
        (Action::Discover { policy }, _) => Report::Ended(match discover(cx, policy, policy.upgrades()).await {
            Ok(facts) => Outcome::Done(Detail::Discovered(Box::new(facts))),
            Err(fault) => Outcome::Failed(fault),
        }),
        (Action::Snapshot { guest }, mode) => protect::snapshot(cx, &effect.key, guest, mode).await,
        (Action::Backup { guest, storage, how }, mode) => {
            protect::backup(cx, &effect.key, guest, storage, *how, mode).await
        }
        (Action::PruneSnapshot { old }, mode) => prune::snapshot(cx, &effect.key, old, mode).await,
        (Action::UpgradeGuest { guest, via, manager, .. }, mode) => {
            upgrade::guest(cx, &effect.key, guest, via, *manager, mode).await
        }
        (Action::UpgradeHost { manager }, mode) => upgrade::host(cx, &effect.key, *manager, mode).await,
        (Action::CheckGuest { guest, via, pending }, _) => Report::Ended(verify::guest(cx, guest, via, pending).await),
        (Action::Verify { node, baseline, pending, rebooted }, _) => {
            Report::Ended(verify::node(cx, node, baseline, pending, rebooted.as_ref()).await)
        }
        (Action::PruneBackup { old }, mode) => prune::backup(cx, &effect.key, old, mode).await,
        (Action::StartGuest { guest }, mode) => power::start(cx, &effect.key, guest, mode).await,
        (Action::LookGuest { guest, via }, _) => Report::Ended(inside::started(cx, guest, *via).await),
        (Action::StopGuest { guest }, mode) => power::stop(cx, &effect.key, guest, mode).await,
        (Action::RebootGuest { guest, via, boot_id }, mode) => {
            power::reboot(cx, &effect.key, guest, via, boot_id, mode).await
        }
        (Action::PrepareReboot { node, manager }, _) => Report::Ended(reboot::prepare(cx, node, *manager).await),
        (Action::StopGuests { node, ready }, mode) => reboot::stop_guests(cx, &effect.key, node, ready, mode).await,
        (Action::RebootHost { node, ready }, mode) => reboot::reboot(cx, &effect.key, node, ready, mode).await,
        (Action::StartGuests { node, guests }, mode) => reboot::start_guests(cx, &effect.key, node, guests, mode).await,
    }
}

/// Removes what a finished job left on its target. A failure is only logged: the job's outcome is durable already.
pub async fn collect(ports: &HostPorts, key: &StepKey, place: &Place) {
    if let Err(fault) = ports.remote.collect_job(place, &key.job_name()).await {
        tracing::warn!(%key, %fault, "a finished job's files stay on the target");
    }
}

/// Returns where the job of an upgrade step runs.
pub fn job_place(state: &HostState, key: &StepKey) -> Option<Place> {
    let Some(guest) = key.target.guest() else { return Some(Place::Node) };
    let plan = &state.guests.get(&guest)?.plan;
    match &plan.decision {
        Decision::Upgrade(upgrade) => Some(place_of(&plan.guest, &upgrade.via)),
        Decision::Skip(_) | Decision::Block(_) | Decision::Start(_) => None,
    }
}

/// Returns where commands for a guest run.
fn place_of(guest: &GuestAddr, via: &Via) -> Place {
    match via {
        Via::Pct => Place::Ct(guest.id),
        Via::Ssh { address } => Place::Ssh(guest.id, address.clone()),
        Via::Agent => Place::Agent(guest.node.clone(), guest.id),
    }
}

fn guest_ref(guest: &GuestAddr) -> GuestRef {
    GuestRef { node: guest.node.clone(), kind: guest.kind, id: guest.id }
}

/// Makes sure that a guest is still the one that was planned, by its config. An error means: don't touch it.
async fn same_guest(cx: &Context, guest: &GuestAddr) -> Result<(), Fault> {
    let at = guest_ref(guest);
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    let now = identity_of(guest.kind, &config);
    if now == guest.identity {
        return Ok(());
    }
    Err(Fault::identity(format!("{} {} is not the guest that was planned any more", guest.kind, guest.id))
        .hint("it was destroyed and made anew, or restored: the next run plans it afresh"))
}

/// Makes sure that a guest is the planned one, runs, and that nothing else works on it.
async fn ready_guest(cx: &Context, guest: &GuestAddr) -> Result<(), Fault> {
    same_guest(cx, guest).await?;
    let at = guest_ref(guest);
    let (power, lock) = retried(|| cx.ports.pve.guest_status(&at)).await?;
    if power != Power::Running {
        return Err(Fault::permanent(format!("{} {} does not run any more", guest.kind, guest.id)));
    }
    match lock {
        Some(lock) => {
            Err(Fault::permanent(format!("{} {} is locked ({lock}): something else works on it", guest.kind, guest.id)))
        }
        None => Ok(()),
    }
}

/// Makes sure over the path itself that it leads to the planned guest: a VM by its product uuid. For a CT the path is
/// the node's own `pct`, which goes by the vmid that the config was checked for.
async fn right_machine(cx: &Context, guest: &GuestAddr, place: &Place) -> Result<(), Fault> {
    if guest.kind == GuestKind::Ct {
        return Ok(());
    }
    let found = retried(|| cx.ports.remote.identity(place)).await?;
    if found.product_uuid.is_some() && found.product_uuid == guest.identity {
        return Ok(());
    }
    Err(Fault::identity(format!(
        "the machine that answers ({}) is not VM {}: its product uuid is {}",
        found.hostname,
        guest.id,
        found.product_uuid.as_deref().unwrap_or("not readable")
    )))
}

/// Turns what kept a change from being tried into an outcome: nothing was changed yet.
fn refused(fault: Fault) -> Report {
    Report::Ended(Outcome::Refused(fault))
}

/// Turns the fault of a change itself into an outcome.
fn change_failed(fault: Fault) -> Outcome {
    match fault.class {
        FaultClass::Ambiguous => Outcome::Unknown(fault),
        FaultClass::Transient | FaultClass::Permanent | FaultClass::Auth | FaultClass::Identity => {
            Outcome::Failed(fault)
        }
    }
}

/// Wraps the outcome of a mode: a probe's answer and an act's end are different events.
fn unclear(mode: Mode, fault: Fault) -> Report {
    match mode {
        Mode::Probe => Report::Probed(Probed::Unclear(fault)),
        Mode::Act | Mode::Attach => Report::Ended(Outcome::Unknown(fault)),
    }
}
