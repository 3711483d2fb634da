//! Commands on a host and within its guests, as POSIX sh programs that any transport can carry.
//!
//! [`Adapter`] implements the engine's [`Remote`] port over an [`Exec`]: one script a question, which gathers
//! everything in one round trip and prints it in a form that no program's output can imitate (see `answer`). Long work
//! runs detached (see [`detached`]). The scripts keep to POSIX sh, since they run under dash, busybox and whatever else
//! `/bin/sh` is, and to tools that both Debian and Alpine have.

pub mod access;
mod answer;
pub mod detached;
mod exec;
mod health;
mod interfaces;
mod lease;
mod node;
pub mod over_agent;
pub mod over_ssh;
mod quorum;
pub mod quote;
mod sudo;
mod text;
mod ways;
mod zfs;

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use answer::Answer;
use answer::Nature;
use exec::At;
pub use exec::{Exec, ExecLimit, ExecOutput, command_line, sudo_line};
pub(crate) use text::{fragment, harmless};
pub use ways::Ways;

use crate::adapters::packages;
use crate::engine::port::{
    GuestCommand, HealthLook, Identity, Interface, Job, JobStart, JobState, LeaseAnswer, LeaseAsk, NodeLook, Place,
    Remote, ZfsSince,
};
use crate::ids::{BootId, RunId, SnapshotName};
use crate::inventory::{OsFacts, PackageManager, QuorumFacts};
use crate::machine::outcome::{Fault, FaultClass};

const PRELUDE: &str = include_str!("sh/prelude.sh");
const IDENTITY: &str = include_str!("sh/identity.sh");
const INSPECT: &str = include_str!("sh/inspect.sh");

/// A few files read: nothing in it takes long; a loaded node's `pct exec` does.
const QUICK: ExecLimit = ExecLimit { timeout: Duration::from_secs(30), max_output: 64 * 1024 };
/// A simulated upgrade of a large machine on a slow disk takes tens of seconds; a line a package, some thousand
/// packages.
const LOOK: ExecLimit = ExecLimit { timeout: Duration::from_secs(180), max_output: 4 << 20 };
/// As [`LOOK`], after 12 times 5 s of waiting for a lock and a download that apt itself gives up after 120 s without a
/// byte.
const REFRESH: ExecLimit = ExecLimit { timeout: Duration::from_secs(900), max_output: 4 << 20 };
/// 2 s for a concurrent start, 20 s for the runner, and syncing on a busy disk.
const START: ExecLimit = ExecLimit { timeout: Duration::from_secs(60), max_output: 64 * 1024 };
/// 3 s for a runner on its way, and reading `/proc` of a large machine.
const JOB: ExecLimit = ExecLimit { timeout: Duration::from_secs(30), max_output: 64 * 1024 };
/// 256 KiB of output as hexadecimal digits are 512 KiB, in lines of 32 with a mark and a line break 544 KiB; on a slow line (128
/// kbit/s) that takes 34 s.
const OUTPUT: ExecLimit = ExecLimit { timeout: Duration::from_secs(60), max_output: 1 << 20 };

/// The engine's way to a host and its guests, over a transport.
#[derive(Debug)]
pub struct Adapter<E> {
    exec: E,
}

impl<E: Exec> Adapter<E> {
    /// Makes an adapter over a transport to one host.
    pub fn new(exec: E) -> Self {
        Self { exec }
    }

    /// Runs a script and reads its answer.
    async fn ask(
        &self,
        place: &Place,
        doing: &str,
        nature: Nature,
        script: &str,
        limit: ExecLimit,
    ) -> Result<Answer, Fault> {
        let out = self.exec.exec(place, script, limit).await.map_err(|fault| {
            // What only looks can be asked again, however far it got.
            let class = match fault.class {
                FaultClass::Ambiguous => nature.doubt(),
                other => other,
            };
            Fault { class, what: format!("{doing} on {}: {}", At(place), fault.what), hint: fault.hint }
        })?;
        Answer::read(place, doing, nature, &out)
    }
}

#[async_trait]
impl<E: Exec> Remote for Adapter<E> {
    async fn identity(&self, place: &Place) -> Result<Identity, Fault> {
        let doing = "asking for the identity";
        let script = Answer::envelope(&[PRELUDE, IDENTITY]);
        let answer = self.ask(place, doing, Nature::Reads, &script, QUICK).await?;
        Ok(Identity {
            hostname: harmless(required(place, doing, &answer, "hostname")?),
            boot_id: BootId::new(harmless(required(place, doing, &answer, "boot_id")?)),
            // Within a container this is the node's.
            product_uuid: match place {
                Place::Ct(_) => None,
                Place::Node | Place::Ssh(..) | Place::Agent(..) => {
                    answer.value("product_uuid").map(|uuid| harmless(uuid).to_ascii_lowercase())
                }
            },
            macs: macs(answer.lines("macs")),
            kernel: harmless(required(place, doing, &answer, "kernel")?),
        })
    }

    async fn inspect(&self, place: &Place, refresh: bool) -> Result<OsFacts, Fault> {
        let doing = if refresh { "refreshing package lists and looking at packages" } else { "looking at packages" };
        let kind = match place {
            Place::Node => "node",
            Place::Ct(_) => "ct",
            Place::Ssh(..) | Place::Agent(..) => "guest",
        };
        let given = format!("refresh={} kind={kind}", u8::from(refresh));
        let script = Answer::envelope(&[PRELUDE, &given, packages::FACTS, INSPECT]);
        let answer = self.ask(place, doing, Nature::Reads, &script, if refresh { REFRESH } else { LOOK }).await?;
        packages::os_facts(&answer).map_err(|fault| located(place, doing, fault))
    }

    async fn start_job(&self, place: &Place, job: &Job) -> Result<JobStart, Fault> {
        let doing = format!("starting {}", job.name);
        let script = detached::start_script(job)?;
        let answer = self.ask(place, &doing, Nature::Changes, &script, START).await?;
        detached::read_start(place, &doing, &answer)
    }

    async fn job(&self, place: &Place, name: &str) -> Result<JobState, Fault> {
        let doing = format!("looking for {name}");
        let script = detached::state_script(name)?;
        let answer = self.ask(place, &doing, Nature::Reads, &script, JOB).await?;
        detached::read_state(place, &doing, &answer)
    }

    async fn job_output(&self, place: &Place, name: &str, from: u64) -> Result<Vec<u8>, Fault> {
        let doing = format!("reading the output of {name}");
        let script = detached::output_script(name, from)?;
        let answer = self.ask(place, &doing, Nature::Reads, &script, OUTPUT).await?;
        detached::read_output(place, &doing, &answer)
    }

    async fn interfaces(&self, place: &Place) -> Result<Vec<Interface>, Fault> {
        let doing = "asking for the addresses";
        let answer = self.ask(place, doing, Nature::Reads, &interfaces::script(), QUICK).await?;
        Ok(interfaces::read(&answer))
    }

    async fn look_at_node(&self) -> Result<NodeLook, Fault> {
        let doing = "looking at the node";
        let answer = self.ask(&Place::Node, doing, Nature::Reads, &node::script(), QUICK).await?;
        node::read(doing, &answer)
    }

    async fn quorum(&self) -> Result<QuorumFacts, Fault> {
        let doing = "asking for the cluster's votes";
        let answer = self.ask(&Place::Node, doing, Nature::Reads, &quorum::script(), QUICK).await?;
        quorum::read(doing, &answer)
    }

    async fn zfs_since(&self, volumes: &[String], snapshot: &SnapshotName) -> Result<ZfsSince, Fault> {
        let doing = "asking ZFS for newer snapshots";
        let script = zfs::script(volumes, snapshot);
        let answer = self.ask(&Place::Node, doing, Nature::Reads, &script, OUTPUT).await?;
        zfs::read(doing, snapshot, &answer)
    }

    async fn hold_lease(&self, ask: &LeaseAsk) -> Result<LeaseAnswer, Fault> {
        let doing = "asking for the lease";
        // Who has it already only renews it: it may be asked for again.
        let answer = self.ask(&Place::Node, doing, Nature::Reads, &lease::hold_script(ask), lease::LIMIT).await?;
        lease::read(doing, &answer)
    }

    async fn release_lease(&self, run: &RunId) -> Result<(), Fault> {
        let doing = "giving the lease back";
        let answer = self.ask(&Place::Node, doing, Nature::Reads, &lease::release_script(run), lease::LIMIT).await?;
        lease::read_release(doing, &answer)
    }

    async fn health(&self, place: &Place, commands: &[GuestCommand]) -> Result<HealthLook, Fault> {
        let doing = format!("looking how it does on {}", At(place));
        let (script, limit) = (health::script(commands), health::limit(commands));
        let answer = self.ask(place, "looking how it does", Nature::Reads, &script, limit).await?;
        health::read(&doing, commands, &answer)
    }

    async fn collect_job(&self, place: &Place, name: &str) -> Result<(), Fault> {
        let doing = format!("removing what {name} left");
        let script = detached::collect_script(name)?;
        // Removing again what may be gone is no harm: nothing here is in doubt.
        let answer = self.ask(place, &doing, Nature::Reads, &script, JOB).await?;
        detached::read_collect(place, &doing, &answer)
    }

    async fn packages_consistent(&self, place: &Place, manager: PackageManager) -> Result<Result<(), String>, Fault> {
        let doing = "checking the package manager's state";
        let script = Answer::envelope(&[PRELUDE, packages::FACTS, packages::consistency_script(manager), "say end"]);
        let answer = self.ask(place, doing, Nature::Reads, &script, LOOK).await?;
        packages::consistent(manager, &answer).map_err(|fault| located(place, doing, fault))
    }
}

/// Returns a value that every machine has.
fn required<'a>(place: &Place, doing: &str, answer: &'a Answer, key: &str) -> Result<&'a str, Fault> {
    answer.value(key).ok_or_else(|| Fault::permanent(format!("{doing} on {}: it names no {key}", At(place))))
}

/// Takes the MAC addresses out of what `/sys/class/net/*/address` holds: loopback's is zero, that of a tunnel may be empty, or longer.
fn macs(lines: &[String]) -> Vec<String> {
    let lines = lines.iter().map(|line| line.trim().to_ascii_lowercase());
    let is_mac = |mac: &String| {
        let parts: Vec<&str> = mac.split(':').collect();
        let hex = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        parts.len() == 6 && parts.iter().all(hex) && parts.iter().any(|part| *part != "00")
    };
    lines.filter(is_mac).collect()
}

/// Says where a fault was met.
fn located(place: &Place, doing: &str, fault: Fault) -> Fault {
    Fault { what: format!("{doing} on {}: {}", At(place), fault.what), ..fault }
}
