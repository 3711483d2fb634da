//! The stage: everything that outlives a crash of proxmaint. The world, the jobs that run in it, the disk with the journal,
//! and the judge who watches them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proxmaint::engine::port::{Clock, LeaseAnswer, LeaseAsk, LeaseHolder};
use proxmaint::ids::RunId;
use proxmaint::machine::outcome::Fault;
use proxmaint::time::Timestamp;
use proxmaint_lab::world::{Asker, MachineId, PackageError, Time, World};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::disk::Disk;
use crate::judge::Judge;

/// What is on the stage.
pub struct Stage {
    /// The world.
    pub world: World,
    /// Detached jobs on the world's machines.
    pub jobs: Jobs,
    /// The leases in the file systems of the world's clusters.
    pub leases: Leases,
    /// The journal's disk.
    pub disk: Disk,
    /// Who watches.
    pub judge: Judge,
}

/// The stage with its time, as everyone holds it.
#[derive(Clone)]
pub struct Theatre {
    began: Instant,
    epoch_ms: i64,
    stage: Arc<Mutex<Stage>>,
    alarm: Arc<Notify>,
}

impl Theatre {
    /// Opens a theatre; its time begins now. To be called within a runtime whose time is paused.
    pub fn new(stage: Stage) -> Self {
        let epoch_ms = stage.world.epoch_ms;
        Self { began: Instant::now(), epoch_ms, stage: Arc::new(Mutex::new(stage)), alarm: Arc::new(Notify::new()) }
    }

    /// Returns the world's time: virtual milliseconds since the beginning.
    pub fn now(&self) -> Time {
        u64::try_from(self.began.elapsed().as_millis()).expect("a run of less than 500 million years")
    }

    /// Does something on the stage at the present time; the judge looks at what it changed, at once.
    pub fn on<T>(&self, scene: impl FnOnce(&mut Stage, Time) -> T) -> T {
        let now = self.now();
        let mut stage = self.lock();
        stage.world.advance(now);
        let result = scene(&mut stage, now);
        let Stage { world, judge, .. } = &mut *stage;
        judge.look_at_acts(world);
        if judge.violation().is_some() {
            self.alarm.notify_one();
        }
        result
    }

    /// Waits until the judge has seen a violation.
    pub async fn alarm(&self) {
        self.alarm.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("nothing on the stage panics without ending the test")
    }

    /// Kills the job of a machine, `after` it was begun: its process dies, proxmaint is not asked.
    pub fn kill_later(&self, machine: MachineId, transaction: u64, after: Duration) {
        let theatre = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            theatre.on(|stage, now| stage.world.abort_upgrade(now, &machine, transaction));
        });
    }
}

impl Clock for Theatre {
    fn now(&self) -> Timestamp {
        Timestamp(self.epoch_ms).after(self.began.elapsed())
    }
}

/// How a detached job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobLook {
    /// There is none of that name.
    Absent,
    /// It works.
    Running,
    /// It ended with this exit status.
    Finished(i32),
    /// Its process is gone and left no status.
    Lost,
}

/// What a job turned out to be when it was begun.
#[derive(Debug, Clone, Copy)]
enum JobWork {
    /// An upgrade of the world's, by its number.
    Transaction(u64),
    /// The package manager ended at once with this exit status.
    Ended(i32),
}

/// Detached jobs by machine and name. They live on the targets, so a crash of proxmaint does not touch them.
#[derive(Debug, Clone, Default)]
pub struct Jobs(BTreeMap<(MachineId, String), JobWork>);

impl Jobs {
    /// Begins an upgrade under a name, unless one of that name is there. Returns whether it was begun now, and the number of
    /// the world's transaction.
    pub fn start(&mut self, world: &mut World, now: Time, machine: &MachineId, name: &str) -> (bool, Option<u64>) {
        let at = (machine.clone(), name.to_owned());
        if self.0.contains_key(&at) {
            return (false, None);
        }
        let (work, number) = match world.begin_upgrade(now, machine, Some(name), &Asker::ssh("root")) {
            Ok(number) => (JobWork::Transaction(number), Some(number)),
            Err(PackageError::NothingPending) => (JobWork::Ended(0), None),
            // apt-get ends with 100 whatever keeps it from working.
            Err(_) => (JobWork::Ended(100), None),
        };
        self.0.insert(at, work);
        (true, number)
    }

    /// Looks for a job.
    pub fn look(&self, world: &World, machine: &MachineId, name: &str) -> JobLook {
        match self.0.get(&(machine.clone(), name.to_owned())) {
            None => JobLook::Absent,
            Some(JobWork::Ended(exit)) => JobLook::Finished(*exit),
            Some(JobWork::Transaction(number)) => {
                let running = world.machine(machine).and_then(|m| m.packages.running.as_ref());
                match world.finished_upgrade(machine, *number) {
                    Some(finished) => finished.exit.map_or(JobLook::Lost, JobLook::Finished),
                    None if running.is_some_and(|running| running.id == *number) => JobLook::Running,
                    None => JobLook::Lost,
                }
            }
        }
    }

    /// Removes what a job left.
    pub fn collect(&mut self, machine: &MachineId, name: &str) {
        self.0.remove(&(machine.clone(), name.to_owned()));
    }
}

/// The leases of all clusters, by the cluster's name.
#[derive(Debug, Clone, Default)]
pub struct Leases(BTreeMap<String, Lease>);

#[derive(Debug, Clone)]
struct Lease {
    run: String,
    who: String,
    since: Time,
    renewed: Time,
    ends: Time,
}

impl Leases {
    /// Takes or renews a lease, or tells who has it.
    pub fn hold(&mut self, realm: &str, now: Time, ask: &LeaseAsk) -> LeaseAnswer {
        let ends = now + u64::try_from(ask.span.as_millis()).expect("a span of less than 500 million years");
        let (run, who) = (ask.run.to_string(), ask.who.clone());
        let passed = |since: Time| Duration::from_millis(now.saturating_sub(since));
        match self.0.get_mut(realm) {
            Some(lease) if lease.run == run => {
                (lease.renewed, lease.ends) = (now, ends);
                LeaseAnswer::Renewed
            }
            Some(lease) if now < lease.ends => LeaseAnswer::Other(LeaseHolder {
                run: lease.run.clone(),
                who: lease.who.clone(),
                held: passed(lease.since),
                renewed: passed(lease.renewed),
                left: Duration::from_millis(lease.ends - now),
            }),
            _ => {
                self.0.insert(realm.to_owned(), Lease { run, who, since: now, renewed: now, ends });
                LeaseAnswer::Taken
            }
        }
    }

    /// Gives a lease back.
    pub fn release(&mut self, realm: &str, run: &RunId) {
        if self.0.get(realm).is_some_and(|lease| lease.run == run.as_str()) {
            self.0.remove(realm);
        }
    }

    /// The clusters whose lease somebody has at that time.
    pub fn held(&self, now: Time) -> Vec<&str> {
        self.0.iter().filter(|(_, lease)| now < lease.ends).map(|(realm, _)| realm.as_str()).collect()
    }
}

impl Stage {
    /// Lets the judge object to a change of a node, or of a guest of it, while nobody has the lease of its cluster.
    pub fn leased(&mut self, now: Time, node: &str, line: &str) {
        let realm = self.world.realm_of(node).map(|realm| realm.name.clone()).unwrap_or_default();
        if !self.leases.held(now).contains(&realm.as_str()) {
            self.judge.object(format!("{line}: nobody has the lease of {realm}"));
        }
    }

    /// Returns the name of the cluster whose file system a node has, where that can be written to: not without quorum.
    pub fn writable_realm(&self, node: &str) -> Result<String, Fault> {
        let realm = self.world.realm_of(node).ok_or_else(|| Fault::permanent(format!("there is no node {node}")))?;
        let quorate = !realm.clustered || self.world.tally(&realm.name).is_none_or(|tally| tally.quorate());
        match quorate {
            true => Ok(realm.name.clone()),
            false => Err(Fault::permanent(format!("{node}: /etc/pve is read-only"))),
        }
    }
}
