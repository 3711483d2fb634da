//! Performs one effect: acts, attaches to what is at work, or looks whether something was done.
//!
//! Each performer looks first: what is done already is success, and a guest that is no longer the one that was planned
//! is refused. A cut connection is no outcome; where it can't be told whether a change happened, the outcome is
//! [`Outcome::Unknown`], and the machine asks for a probe.

mod addresses;
mod discover;
mod evacuate;
mod examine;
mod health;
mod inside;
mod output;
mod power;
mod protect;
mod prune;
mod reboot;
mod rollback;
mod survey;
mod task;
mod upgrade;
mod verify;
mod whereabouts;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::lease::HostLease;
use super::limits::Limits;
use super::neighbours::Neighbours;
use super::port::{Clock, GuestRef, HostPorts, Identity, JobOutput, NoOutput, Place};
use super::wait::{Backoff, retried};
use crate::ids::{BootId, ClusterId, GuestId, GuestKind, Step, StepKey, Upid};
use crate::inventory::{Power, Via};
use crate::machine::effect::{Action, Effect, Mode, Replay, replay};
use crate::machine::host::HostState;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Probed};
use crate::plan::{Decision, GuestAddr, HostPolicy};
use crate::time::Timestamp;

pub(super) use discover::same_machine;
pub use discover::{discover, local_node};
pub use examine::{Examination, examine};
pub use inside::{Way, identity_of, ways_into};
pub use rollback::{Lost, lost, obstacles};
pub use survey::{Sighting, Survey, survey};

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
    /// The tasks that did earlier rounds of the step.
    pub earlier: Vec<Upid>,
    /// How long a guest's lock is waited for.
    pub lock_wait: Duration,
    /// Whether a reboot may cost the other node of a cluster of two its quorum.
    pub allow_quorum_loss: bool,
    /// Where the output of upgrades goes.
    pub output: Arc<dyn JobOutput>,
    /// The boot of the machine that this program runs on.
    pub own_boot: Option<BootId>,
    /// The lease of the host's cluster; whoever only looks has none.
    pub lease: Option<HostLease>,
    /// The ways to the other nodes of the host's cluster, for guests that moved there; whoever only looks has none.
    pub neighbours: Option<(Arc<Neighbours>, ClusterId)>,
}

impl Context {
    /// Makes what a look works with that is no step of a run: nobody has news of it, it keeps no output, and it has no lease.
    pub fn looking(
        ports: Arc<HostPorts>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        policy: &HostPolicy,
        own_boot: Option<BootId>,
    ) -> Self {
        Self {
            ports,
            since: clock.now(),
            clock,
            limits,
            // Looking starts no task that there would be news of.
            news: mpsc::channel(1).0,
            draining: CancellationToken::new(),
            task: None,
            earlier: Vec::new(),
            lock_wait: policy.lock_wait(),
            allow_quorum_loss: policy.allow_quorum_loss,
            output: Arc::new(NoOutput),
            own_boot,
            lease: None,
            neighbours: None,
        }
    }
}

/// Performs an effect. What changes something is only begun while the lease of the host's cluster is had.
pub async fn perform(cx: &Context, effect: &Effect) -> Report {
    let Some(lease) = &cx.lease else { return perform_leased(cx, effect).await };
    let step = effect.key.step;
    match (effect.mode, step) {
        // Its cluster is what it finds out.
        (_, Step::Discover) => {}
        (Mode::Act, Step::RebootHost) => {
            if let Err(fault) = lease.stretch(cx.limits.reboot).await {
                return refused(fault);
            }
            let report = perform_leased(cx, effect).await;
            lease.relax().await;
            return report;
        }
        (Mode::Act, step) if step == Step::PrepareReboot || begins_unsafe(step) => {
            if let Err(fault) = lease.confirm().await {
                return refused(fault);
            }
        }
        // What is under way goes on, and what is owed is given back.
        _ => lease.join().await,
    }
    perform_leased(cx, effect).await
}

/// Tells whether a step makes a change that is not one being given back.
fn begins_unsafe(step: Step) -> bool {
    replay(step) == Replay::Probe && !step.gives_back()
}

async fn perform_leased(cx: &Context, effect: &Effect) -> Report {
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
        (Action::UpgradeGuest { guest, via, manager, pending, protection, rollback }, mode) => {
            if mode == Mode::Act
                && *rollback
                && let Err(fault) = rollback::possible(cx, guest, protection).await
            {
                return refused(fault);
            }
            upgrade::guest(cx, &effect.key, guest, via, (*manager, pending), mode).await
        }
        (Action::RollbackGuest { guest, snapshot }, mode) => {
            rollback::roll_back(cx, &effect.key, guest, snapshot, mode).await
        }
        (Action::ReviveGuest { guest }, mode) => power::revive(cx, &effect.key, guest, mode).await,
        (Action::RecheckGuest { guest, via, pending, baseline, checks }, _) => {
            // It was started just now.
            let before = health::Before { baseline: baseline.as_deref(), checks, limit: cx.limits.boot };
            Report::Ended(rollback::recheck(cx, guest, *via, pending, &before).await)
        }
        (Action::UpgradeHost { manager }, mode) => upgrade::host(cx, &effect.key, *manager, mode).await,
        (Action::MeasureGuest { guest, via, checks }, _) => {
            Report::Ended(health::measure(cx, guest, via, checks).await)
        }
        (Action::CheckGuest { guest, via, pending, rebooted, baseline, checks }, _) => {
            let limit = if *rebooted { cx.limits.boot } else { cx.limits.recover };
            let before = health::Before { baseline: baseline.as_deref(), checks, limit };
            Report::Ended(verify::guest(cx, guest, via, pending, &before).await)
        }
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
        (Action::PrepareReboot { node, manager, evacuate }, _) => {
            Report::Ended(reboot::prepare(cx, node, *manager, *evacuate).await)
        }
        (Action::SetNoout { node }, mode) => evacuate::noout(cx, &effect.key, node, true, mode).await,
        (Action::ClearNoout { node }, mode) => evacuate::noout(cx, &effect.key, node, false, mode).await,
        (Action::EnterMaintenance { node, guests }, mode) => {
            evacuate::enter_maintenance(cx, &effect.key, node, guests, mode).await
        }
        (Action::LeaveMaintenance { node }, mode) => evacuate::leave_maintenance(cx, node, mode).await,
        (Action::MoveGuest { planned }, mode) => evacuate::move_guest(cx, &effect.key, planned, mode).await,
        (Action::ReturnGuest { moved }, mode) => evacuate::return_guest(cx, &effect.key, moved, mode).await,
        (Action::StopGuests { node, ready }, mode) => reboot::stop_guests(cx, &effect.key, node, ready, mode).await,
        (Action::RebootHost { node, ready }, mode) => reboot::reboot(cx, &effect.key, node, ready, mode).await,
        (Action::StartGuests { node, guests, booted }, mode) => {
            reboot::start_guests(cx, &effect.key, node, guests, *booted, mode).await
        }
    }
}

/// Where the job of an upgrade step was begun.
#[derive(Debug)]
pub enum JobAt {
    /// On the node.
    Node,
    /// In this guest, on this path.
    Guest(GuestAddr, Via),
}

/// Removes what a finished job left on its target. A failure is only logged: the job's outcome is durable already.
pub async fn collect(cx: &Context, key: &StepKey, at: &JobAt) {
    let name = key.job_name();
    let collected = match at {
        JobAt::Node => cx.ports.remote.collect_job(&Place::Node, &name).await,
        JobAt::Guest(guest, via) => match whereabouts::find_by(cx, guest, via).await {
            Ok((cx, guest)) => cx.ports.remote.collect_job(&place_of(&guest, via), &name).await,
            Err(fault) => Err(fault),
        },
    };
    if let Err(fault) = collected {
        tracing::warn!(%key, %fault, "a finished job's files stay on the target");
    }
}

/// Returns where the job of an upgrade step was begun.
pub fn job_place(state: &HostState, key: &StepKey) -> Option<JobAt> {
    let Some(guest) = key.target.guest() else { return Some(JobAt::Node) };
    let plan = &state.guests.get(&guest)?.plan;
    match &plan.decision {
        Decision::Upgrade(upgrade) => Some(JobAt::Guest(plan.guest.clone(), upgrade.via.clone())),
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
    let config = match retried(|| cx.ports.pve.guest_config(&at)).await {
        Ok(config) => config,
        Err(fault) => return Err(whereabouts::explained(cx, guest, fault).await),
    };
    whereabouts::is_same(guest, identity_of(guest.kind, &config))
}

/// Makes sure that a guest is the planned one, runs, and that nothing else works on it.
async fn ready_guest(cx: &Context, guest: &GuestAddr) -> Result<(), Fault> {
    match idle_guest(cx, guest).await? {
        Power::Running => Ok(()),
        Power::Stopped | Power::Other => {
            Err(Fault::permanent(format!("{} {} does not run any more", guest.kind, guest.id)))
        }
    }
}

/// Waits until nothing else works on a guest, makes sure that it is the planned one, and returns its power state.
async fn idle_guest(cx: &Context, guest: &GuestAddr) -> Result<Power, Fault> {
    let power = match wait_for_lock(cx, &guest_ref(guest)).await {
        Ok(power) => power,
        Err(fault) => return Err(whereabouts::explained(cx, guest, fault).await),
    };
    // What held the lock may have been a restore: who it is, is looked at afterwards.
    same_guest(cx, guest).await?;
    Ok(power)
}

/// Waits, within `lock_wait`, until nothing else works on a guest; returns its power state. Nothing is unlocked here: whoever
/// set a lock may still be at work.
async fn wait_for_lock(cx: &Context, at: &GuestRef) -> Result<Power, Fault> {
    let mut backoff = Backoff::within(cx.lock_wait);
    loop {
        let (power, lock) = retried(|| cx.ports.pve.guest_status(at)).await?;
        let Some(lock) = lock else { return Ok(power) };
        if !backoff.pause().await {
            let tool = match at.kind {
                GuestKind::Ct => "pct",
                GuestKind::Vm => "qm",
            };
            // Transient: it goes away by itself, and until then it stands in the way of whatever else might be tried.
            return Err(Fault::transient(format!(
                "{} {} is locked ({lock}), and still so after {:?}: something else works on it",
                at.kind, at.id, cx.lock_wait
            ))
            .hint(format!(
                "locks are never taken away here; when nothing works on it any more: `{tool} unlock {}` on {}",
                at.id, at.node
            )));
        }
    }
}

/// Makes sure over the path itself that it leads to the planned guest. The node's own `pct` goes by the vmid that the config
/// was checked for, and needs no more; every other path must prove itself (see [`proven`]).
async fn right_machine(cx: &Context, guest: &GuestAddr, place: &Place) -> Result<(), Fault> {
    if matches!(place, Place::Ct(_)) {
        return Ok(());
    }
    let found = retried(|| cx.ports.remote.identity(place)).await?;
    is_guest(guest, &found)
}

/// The same for a guest that may be booting: it is asked within `limits.boot` until it answers.
async fn right_machine_in_time(cx: &Context, guest: &GuestAddr, place: &Place) -> Result<(), Fault> {
    if matches!(place, Place::Ct(_)) {
        return Ok(());
    }
    let mut backoff = Backoff::within(cx.limits.boot);
    loop {
        match cx.ports.remote.identity(place).await {
            Ok(found) => return is_guest(guest, &found),
            Err(fault) if !matches!(fault.class, FaultClass::Transient | FaultClass::Ambiguous) => return Err(fault),
            Err(fault) => {
                if !backoff.pause().await {
                    return Err(fault);
                }
            }
        }
    }
}

/// Makes sure that the machine that answered is the planned guest.
fn is_guest(guest: &GuestAddr, found: &Identity) -> Result<(), Fault> {
    proven(guest.kind, guest.id, guest.identity.as_deref(), found)
}

/// Decides whether the machine that answers is the guest of that identity ([`identity_of`]): a VM by its product uuid, a CT
/// by one of its MAC addresses, which its config fixes and no other machine of the network may have.
pub fn proven(kind: GuestKind, id: GuestId, identity: Option<&str>, found: &Identity) -> Result<(), Fault> {
    let another = |why: String| {
        Fault::identity(format!("the machine that answers ({}) is not proven to be {kind} {id}: {why}", found.hostname))
    };
    match kind {
        GuestKind::Vm if found.product_uuid.is_some() && found.product_uuid.as_deref() == identity => Ok(()),
        GuestKind::Vm => {
            let uuid = found.product_uuid.as_deref().unwrap_or("not readable");
            Err(another(format!("its product uuid is {uuid}")))
        }
        GuestKind::Ct => {
            // The first word is the root volume.
            let own: Vec<&str> = identity.unwrap_or_default().split_whitespace().skip(1).collect();
            if own.is_empty() {
                return Err(another("the container's config fixes no MAC address".to_owned())
                    .hint("let it be reached by pct (`via = \"pct\"`), or give its network interface a `hwaddr`"));
            }
            if own.iter().any(|mac| found.macs.iter().any(|seen| seen.eq_ignore_ascii_case(mac))) {
                return Ok(());
            }
            Err(another(format!("none of its interfaces has {}", own.join(" or "))))
        }
    }
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

/// Wraps what a look found: a probe's answer is an event of its own.
fn probed(found: Probed) -> Report {
    Report::Probed(found)
}

/// Wraps the outcome of a mode: a probe's answer and an act's end are different events.
fn unclear(mode: Mode, fault: Fault) -> Report {
    match mode {
        Mode::Probe => Report::Probed(Probed::Unclear(fault)),
        Mode::Act | Mode::Attach => Report::Ended(Outcome::Unknown(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(uuid: Option<&str>, macs: &[&str]) -> Identity {
        Identity {
            hostname: "web".to_owned(),
            boot_id: BootId::new("1"),
            product_uuid: uuid.map(str::to_owned),
            macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
            kernel: "6.8.12-9-pve".to_owned(),
        }
    }

    #[test]
    fn a_vm_is_proven_by_its_uuid_alone() {
        let vm = |identity: Option<&str>, found: &Identity| proven(GuestKind::Vm, GuestId(201), identity, found);
        assert_eq!(vm(Some("a-b"), &machine(Some("a-b"), &[])), Ok(()));
        for (identity, found) in [
            (Some("a-b"), machine(Some("a-c"), &["bc:24:11:00:00:01"])),
            (Some("a-b"), machine(None, &[])),
            (None, machine(None, &[])),
        ] {
            let fault = vm(identity, &found).expect_err("another machine");
            assert_eq!(fault.class, FaultClass::Identity);
            assert!(fault.what.contains("VM 201") && fault.what.contains("web"), "{fault:?}");
        }
    }

    #[test]
    fn a_ct_is_proven_by_one_of_its_mac_addresses() {
        // A container sees the uuid of its node: it proves nothing.
        let found = machine(Some("a-b"), &["02:42:00:00:00:01", "bc:24:11:00:00:02"]);
        let ct = |identity: Option<&str>| proven(GuestKind::Ct, GuestId(101), identity, &found);
        assert_eq!(ct(Some("local-zfs:subvol-101-disk-0 bc:24:11:00:00:01 bc:24:11:00:00:02")), Ok(()));
        assert_eq!(ct(Some("local-zfs:subvol-101-disk-0 BC:24:11:00:00:02")), Ok(()));
        let other = ct(Some("local-zfs:subvol-101-disk-0 bc:24:11:00:00:03")).expect_err("another machine");
        assert_eq!(other.class, FaultClass::Identity);
        assert!(other.what.contains("CT 101") && other.what.contains("bc:24:11:00:00:03"), "{other:?}");
        for unprovable in [Some("local-zfs:subvol-101-disk-0"), Some("a-b"), None] {
            let fault = ct(unprovable).expect_err("can't be proven");
            assert_eq!(fault.class, FaultClass::Identity);
            assert!(fault.hint.is_some(), "{fault:?}");
        }
    }
}
