//! The lease of a cluster, in its own replicated file system: one orchestrator at a time.

use std::time::Duration;

use super::answer::Answer;
use super::exec::{At, ExecLimit};
use super::quote::quote;
use super::text::{fragment, harmless};
use crate::engine::port::{LeaseAnswer, LeaseAsk, LeaseHolder, Place};
use crate::ids::RunId;
use crate::machine::outcome::Fault;

const PRELUDE: &str = include_str!("sh/prelude.sh");
const LEASE: &str = include_str!("sh/lease.sh");

/// 10 s for a lock that is held, and writing to a cluster that is busy.
pub(super) const LIMIT: ExecLimit = ExecLimit { timeout: Duration::from_secs(30), max_output: 64 * 1024 };

/// Makes the script that takes or renews the lease.
pub(super) fn hold_script(ask: &LeaseAsk) -> String {
    script("hold", &ask.run, &ask.who, ask.span)
}

/// Makes the script that gives the lease back.
pub(super) fn release_script(run: &RunId) -> String {
    script("release", run, "", Duration::ZERO)
}

fn script(want: &str, run: &RunId, who: &str, span: Duration) -> String {
    let (run, who) = (quote(run.as_str()), quote(&harmless(who)));
    Answer::envelope(&[PRELUDE, &format!("want={want} run={run} who={who} span={}", span.as_secs()), LEASE])
}

/// Reads the answer of [`hold_script`].
pub(super) fn read(doing: &str, answer: &Answer) -> Result<LeaseAnswer, Fault> {
    match answer.value("lease") {
        Some("taken") => Ok(LeaseAnswer::Taken),
        Some("renewed") => Ok(LeaseAnswer::Renewed),
        Some("other") => Ok(LeaseAnswer::Other(LeaseHolder {
            run: harmless(answer.value("run").unwrap_or_default()),
            who: harmless(answer.value("who").unwrap_or_default()),
            held: seconds(answer, "held"),
            renewed: seconds(answer, "renewed"),
            left: seconds(answer, "left"),
        })),
        other => Err(kept(doing, other, answer)),
    }
}

/// Reads the answer of [`release_script`]: a lease that somebody else has needs no giving back.
pub(super) fn read_release(doing: &str, answer: &Answer) -> Result<(), Fault> {
    match answer.value("lease") {
        Some("released" | "other") => Ok(()),
        other => Err(kept(doing, other, answer)),
    }
}

/// Says what kept the lease from being asked for.
fn kept(doing: &str, outcome: Option<&str>, answer: &Answer) -> Fault {
    let why = fragment(&answer.lines("why").iter().map(String::as_str).collect::<Vec<_>>());
    let what = format!("{doing} on {}: {why}", At(&Place::Node));
    match outcome {
        Some("busy") => Fault::transient(what),
        _ => Fault::permanent(what).hint("/etc/pve is read-only without quorum; on the node: pvecm status"),
    }
}

/// Returns a number of seconds.
fn seconds(answer: &Answer, key: &str) -> Duration {
    Duration::from_secs(answer.number(key).and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}
