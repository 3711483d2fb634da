//! Planted bugs: each is something that a later change could really do wrong, and each must be caught, by an invariant or by
//! the comparison with the run without a crash. They are planted in wrappers of the ports and of the journal, never in the
//! program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proxmaint::adapters::pve::transport::{Answer, ApiCall, Method, Transport, TransportFault};
use proxmaint::engine::port::{
    GuestCommand, HealthLook, Identity, Interface, Job, JobStart, JobState, LeaseAnswer, LeaseAsk, LeaseHolder,
    NodeLook, Place, Remote, ZfsSince,
};
use proxmaint::ids::{NodeName, RunId, SnapshotName};
use proxmaint::inventory::{OsFacts, PackageManager, QuorumFacts};
use proxmaint::machine::outcome::Fault;
use proxmaint::machine::run::RunResult;
use proxmaint_lab::faults::{Fault as LabFault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::World;
use serde_json::json;

use crate::harness::{Plan, Rig, play, play_with};
use crate::journal::Acknowledges;
use crate::picture::Difference;
use crate::scenario::{self, Scenario, power, protections, reboots, upgrades};

/// Crashes a scenario at each point with something planted; returns what was caught first.
fn caught(scenario: &Scenario, rig: &dyn Rig) -> String {
    let calm = play(scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    for point in 1..=calm.points.iter().sum() {
        match play_with(scenario, &Plan::crashes([point]), rig) {
            Err(violation) => return violation.what,
            Ok(ended) if ended.picture != calm.picture => {
                return Difference(&calm.picture, &ended.picture).to_string();
            }
            Ok(_) => {}
        }
    }
    panic!("{}: the planted bug was not caught at any of the points", scenario.name);
}

fn small() -> Scenario {
    protections::answer_lost()
}

/// The journal acknowledges what is not durable: effects are released too early, and a crash takes their intents.
struct EarlyAcknowledgement;

impl Rig for EarlyAcknowledgement {
    fn acknowledges(&self) -> Acknowledges {
        Acknowledges::AtOnce
    }
}

#[test]
fn a_journal_that_acknowledges_too_early_is_caught() {
    let what = caught(&upgrades::mixed_node(), &EarlyAcknowledgement);
    assert!(what.contains("acted on before its intent was durable"), "{what}");
}

/// The disk says that it flushed, and loses the newest records in a power cut.
struct LyingDisk;

impl Rig for LyingDisk {
    fn forgets(&self) -> usize {
        2
    }
}

#[test]
fn a_disk_that_loses_what_it_flushed_is_caught() {
    let what = caught(&small(), &LyingDisk);
    assert!(what.contains("what was durable is not there any more"), "{what}");
}

/// After a crash the first look at a guest's snapshots shows none.
struct BlindProbe;

struct Blind {
    inner: Arc<dyn Transport>,
    looked: AtomicBool,
}

#[async_trait]
impl Transport for Blind {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        let answer = self.inner.call(call).await?;
        let list = call.method == Method::Get && call.path.ends_with("/snapshot");
        if list && !self.looked.swap(true, Ordering::Relaxed) {
            return Ok(Answer { body: json!({ "data": [] }), ..answer });
        }
        Ok(answer)
    }
}

impl Rig for BlindProbe {
    fn transport(&self, incarnation: usize, honest: Arc<dyn Transport>) -> Arc<dyn Transport> {
        match incarnation {
            0 => honest,
            _ => Arc::new(Blind { inner: honest, looked: AtomicBool::new(false) }),
        }
    }
}

#[test]
fn a_probe_that_sees_nothing_is_caught() {
    let what = caught(&upgrades::mixed_node(), &BlindProbe);
    assert!(what.contains("with the crash only: snapshot"), "{what}");
}

/// What a liar lies about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Jobs of the first round that are at work, or have ended, are said not to be there, and packages to be in order.
    NoJobs,
    /// One vote is said to be enough.
    OneVote,
    /// The lease is said to be somebody else's, once it was had.
    Lease,
}

/// Lies about one thing, and is honest about all others.
struct Liar(Lie, Arc<dyn Remote>);

#[async_trait]
impl Remote for Liar {
    async fn identity(&self, place: &Place) -> Result<Identity, Fault> {
        self.1.identity(place).await
    }

    async fn inspect(&self, place: &Place, refresh: bool) -> Result<OsFacts, Fault> {
        self.1.inspect(place, refresh).await
    }

    async fn hold_lease(&self, ask: &LeaseAsk) -> Result<LeaseAnswer, Fault> {
        let honest = self.1.hold_lease(ask).await?;
        match (self.0, &honest) {
            (Lie::Lease, LeaseAnswer::Renewed) => Ok(LeaseAnswer::Other(LeaseHolder {
                run: "another-run".to_owned(),
                who: "root@ops9 (process 9)".to_owned(),
                held: Duration::from_secs(20),
                renewed: Duration::from_secs(10),
                left: Duration::from_secs(290),
            })),
            _ => Ok(honest),
        }
    }

    async fn release_lease(&self, run: &RunId) -> Result<(), Fault> {
        self.1.release_lease(run).await
    }

    async fn start_job(&self, place: &Place, job: &Job) -> Result<JobStart, Fault> {
        self.1.start_job(place, job).await
    }

    async fn job(&self, place: &Place, name: &str) -> Result<JobState, Fault> {
        match self.1.job(place, name).await? {
            JobState::Running { .. } | JobState::Finished { .. } if self.0 == Lie::NoJobs && name.ends_with("-r1") => {
                Ok(JobState::Absent)
            }
            other => Ok(other),
        }
    }

    async fn job_output(&self, place: &Place, name: &str, from: u64) -> Result<Vec<u8>, Fault> {
        self.1.job_output(place, name, from).await
    }

    async fn interfaces(&self, place: &Place) -> Result<Vec<Interface>, Fault> {
        self.1.interfaces(place).await
    }

    async fn look_at_node(&self) -> Result<NodeLook, Fault> {
        self.1.look_at_node().await
    }

    async fn zfs_since(&self, volumes: &[String], snapshot: &SnapshotName) -> Result<ZfsSince, Fault> {
        self.1.zfs_since(volumes, snapshot).await
    }

    async fn quorum(&self) -> Result<QuorumFacts, Fault> {
        let honest = self.1.quorum().await?;
        Ok(match self.0 {
            Lie::OneVote => QuorumFacts { needed: 1, ..honest },
            Lie::NoJobs | Lie::Lease => honest,
        })
    }

    async fn maintenance(&self, node: &NodeName, on: bool) -> Result<(), Fault> {
        self.1.maintenance(node, on).await
    }

    async fn health(&self, place: &Place, commands: &[GuestCommand]) -> Result<HealthLook, Fault> {
        self.1.health(place, commands).await
    }

    async fn collect_job(&self, place: &Place, name: &str) -> Result<(), Fault> {
        self.1.collect_job(place, name).await
    }

    async fn packages_consistent(&self, place: &Place, manager: PackageManager) -> Result<Result<(), String>, Fault> {
        match self.0 {
            Lie::NoJobs => Ok(Ok(())),
            Lie::OneVote | Lie::Lease => self.1.packages_consistent(place, manager).await,
        }
    }
}

/// After a crash a job that is at work, or has ended, is said not to be there.
struct ForgetfulJobs;

impl Rig for ForgetfulJobs {
    fn remote(&self, incarnation: usize, honest: Arc<dyn Remote>) -> Arc<dyn Remote> {
        match incarnation {
            0 => honest,
            _ => Arc::new(Liar(Lie::NoJobs, honest)),
        }
    }
}

#[test]
fn a_job_that_is_denied_is_caught() {
    let what = caught(&upgrades::long_upgrade(), &ForgetfulJobs);
    assert!(what.contains("with the crash") || what.contains("upgraded again"), "{what}");
}

/// One vote is said to be enough.
struct GenerousCount;

impl Rig for GenerousCount {
    fn remote(&self, _: usize, honest: Arc<dyn Remote>) -> Arc<dyn Remote> {
        Arc::new(Liar(Lie::OneVote, honest))
    }
}

#[test]
fn votes_that_are_not_there_are_caught() {
    let what = caught(&reboots::two_nodes(), &GenerousCount);
    assert!(what.contains("loses its quorum by a reboot: 1 votes of 2"), "{what}");
}

/// Snapshots are said to be there, and nobody makes them.
struct Phantoms;

struct Phantom(Arc<dyn Transport>);

const PHANTOM: &str = "UPID:pve1:00000AFC:00079C8C:6B036C95:vzsnapshot:101:root@pam!lab:";

#[async_trait]
impl Transport for Phantom {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        let ok = |data| Answer { status: 200, reason: "OK".to_owned(), body: json!({ "data": data }) };
        let path = call.segments().join("/");
        Ok(match call.method {
            Method::Post if path.ends_with("/snapshot") => ok(json!(PHANTOM)),
            Method::Get if path.contains(PHANTOM) => ok(json!({ "status": "stopped", "exitstatus": "OK" })),
            Method::Get if path.ends_with("/snapshot") => {
                ok(json!([{ "name": format!("pm-{}-r1", scenario::run_id()), "snaptime": 1_795_385_200 }]))
            }
            _ => self.0.call(call).await?,
        })
    }
}

impl Rig for Phantoms {
    fn transport(&self, _: usize, honest: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Phantom(honest))
    }
}

#[test]
fn a_snapshot_that_nobody_made_is_caught() {
    let what = caught(&upgrades::mixed_node(), &Phantoms);
    assert!(what.contains("upgraded without a protection"), "{what}");
}

/// A client that sends a change again when its answer was lost.
struct Resending;

struct Resend(Arc<dyn Transport>);

#[async_trait]
impl Transport for Resend {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        match self.0.call(call).await {
            Err(TransportFault::Lost(_)) => self.0.call(call).await,
            answer => answer,
        }
    }
}

impl Rig for Resending {
    fn transport(&self, _: usize, honest: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Resend(honest))
    }
}

#[test]
fn a_change_that_is_sent_again_is_caught() {
    let what = caught(&small(), &Resending);
    assert!(what.contains("made twice under one key"), "{what}");
}

/// A node that was rebooted says that all of its guests run: what starts them again claims success.
struct Hasty;

struct AllRun {
    inner: Arc<dyn Transport>,
    rebooted: AtomicBool,
}

#[async_trait]
impl Transport for AllRun {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        let path = call.segments().join("/");
        if call.method == Method::Post && call.param("command") == Some("reboot") {
            self.rebooted.store(true, Ordering::Relaxed);
        }
        let mut answer = self.inner.call(call).await?;
        let list = call.method == Method::Get && (path.ends_with("/lxc") || path.ends_with("/qemu"));
        if list && self.rebooted.load(Ordering::Relaxed) {
            for guest in answer.body["data"].as_array_mut().into_iter().flatten() {
                guest["status"] = json!("running");
                if let Some(guest) = guest.as_object_mut() {
                    guest.remove("qmpstatus");
                }
            }
        }
        Ok(answer)
    }
}

impl Rig for Hasty {
    fn transport(&self, _: usize, honest: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(AllRun { inner: honest, rebooted: AtomicBool::new(false) })
    }
}

#[test]
fn guests_that_are_only_said_to_run_again_are_caught() {
    let what = caught(&reboots::node_rebooted(), &Hasty);
    assert!(what.contains("is Stopped, and the run does not say that it is owed"), "{what}");
}

/// After a crash no task of a guest is shown: what this run started seems to have been started by somebody else.
struct BlindToTasks;

struct NoTasks(Arc<dyn Transport>);

#[async_trait]
impl Transport for NoTasks {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        let answer = self.0.call(call).await?;
        let list = call.method == Method::Get && call.path.ends_with("/tasks");
        Ok(if list { Answer { body: json!({ "data": [] }), ..answer } } else { answer })
    }
}

impl Rig for BlindToTasks {
    fn transport(&self, incarnation: usize, honest: Arc<dyn Transport>) -> Arc<dyn Transport> {
        match incarnation {
            0 => honest,
            _ => Arc::new(NoTasks(honest)),
        }
    }
}

#[test]
fn a_start_that_is_forgotten_is_caught() {
    let what = caught(&power::stopped_guests(), &BlindToTasks);
    assert!(what.contains("is Running, and the run does not say that it is owed"), "{what}");
}

/// Somebody else gets the lease while a run works, after a time in which it could not be renewed.
struct LostLease;

impl Rig for LostLease {
    fn remote(&self, _: usize, honest: Arc<dyn Remote>) -> Arc<dyn Remote> {
        Arc::new(Liar(Lie::Lease, honest))
    }
}

#[test]
fn a_run_that_lost_its_lease_begins_nothing_more_and_says_who_has_it() {
    // Each upgrade takes longer than it takes to notice.
    let slow = |machine: &str| LabFault::upgrade(machine, UpgradeFault::Slow { ms: 120_000 });
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1))
        .fault(slow("101"));
    let scenario = Scenario::new("a lost lease", world).parallel(1, 1);
    let ended = play_with(&scenario, &Plan::calm(), &LostLease).unwrap_or_else(|violation| panic!("{violation}"));
    let upgrades = |machine: &str| ended.world.ledger.count(Act::Upgrade, machine);
    assert_eq!((upgrades("101"), upgrades("102"), upgrades("pve1")), (1, 0, 0), "{:?}", ended.picture);
    let verdicts = format!("{:?}", ended.run.hosts().collect::<Vec<_>>());
    assert!(verdicts.contains("Blocked") && verdicts.contains("root@ops9 (process 9) works here with run another-run"));
    assert_eq!(ended.run.result(), RunResult::Failed, "{verdicts}");
}
