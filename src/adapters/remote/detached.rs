//! Detached jobs on a target: work that goes on whatever becomes of the connection, of `pct exec` or of proxmaint, and
//! that is found again by its name.
//!
//! # What is on the target
//!
//! `/var/lib/proxmaint/jobs/<name>/`, owned by root, 0700 (a base that others could write to is refused):
//!
//! | file | written by | meaning |
//! |---|---|---|
//! | `run`, `work` | every start, by rename | the runner and the work; the same whoever writes them |
//! | `try.N` | a start, before it launches a runner for slot N | a runner for slot N may exist |
//! | `slot.N` | by link(2), once, never changed | `run STARTER PID START SESSION BOOT`: that process does the work; or `void`: given up |
//! | `log` | the work | its output |
//! | `status` | the runner, by rename after a sync | the exit status: the job has ended |
//!
//! # Why it runs at most once, and why its state can always be told
//!
//! The claim is not the directory but the slot, and it is the *runner* that fills it, with its own identity, durably,
//! before any work begins. So there is no moment in which something claims to be started without being: whoever crashes
//! before the slot is filled has started nothing, and whoever comes later may launch another runner without harm, since
//! one runner wins the slot and every other ends. Two starts at once, a start repeated after a lost connection, a unit
//! restarted by needrestart: all of them end at the filled slot.
//!
//! | seen | means | answer |
//! |---|---|---|
//! | no directory, or no `try` beyond the filled slots, newest slot not `run` | nothing was ever launched | Absent |
//! | `try.N`, but no `slot.N` | a runner may be on its way: it gets 3 s | as below where it came; else `slot.N` is filled with `void` by link(2), so that a late runner ends: Absent, for good |
//! | newest slot is `run`, `status` there | ended | Finished |
//! | ... no `status`; same boot; PID has that START time and is no zombie | works | Running |
//! | ... that process is gone, but one of its session still carries `PROXMAINT_JOB` | the runner was killed, the work goes on | Running |
//! | ... none of these | | Lost |
//!
//! `void` and a later start of the same name take the next slot (64 at most); nothing is ever taken back, so there is
//! no lock to be left behind and no order of crashes that matters. A pid alone proves nothing, it is reused; with its
//! start time it is unique within a boot. A container shares the boot id of its node: its restart shows in pid and
//! start time.
//!
//! Output is read from the log by offset, as the work writes it; reading changes nothing and gives no slot up.
//!
//! What remains: a start whose command is still on its way to the target when the job is asked for. It can't be told
//! from one that was never sent; asked again under the same name, the two end in one run.

use data_encoding::HEXLOWER_PERMISSIVE;

use super::answer::{Answer, Nature};
use super::exec::At;
use super::quote::quote;
use super::text::{fragment, tail};
use crate::adapters::packages::upgrade_script;
use crate::engine::port::{Job, JobStart, JobState, JobWork, Place};
use crate::machine::outcome::{Fault, FaultClass};

const PRELUDE: &str = include_str!("sh/prelude.sh");
const COMMON: &str = include_str!("sh/job_common.sh");
const START: &str = include_str!("sh/job_start.sh");
const RUNNER: &str = include_str!("sh/job_runner.sh");
const LOOK: &str = include_str!("sh/job_look.sh");
const STATE: &str = include_str!("sh/job_state.sh");
const OUTPUT: &str = include_str!("sh/job_output.sh");
const COLLECT: &str = include_str!("sh/job_collect.sh");

/// Most bytes of a job's output in one answer: what [`crate::engine::port::Remote::job_output`] promises.
pub const OUTPUT_MAX: usize = 256 * 1024;

/// Longest name of a job: it is a directory and, with `.service`, a systemd unit (at most 255 characters).
const NAME_MAX: usize = 128;

/// Refuses a name that is not plain: it becomes a path and a unit, and is handed to a shell.
fn check_name(name: &str) -> Result<(), Fault> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if plain && name.len() <= NAME_MAX && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(Fault::permanent(format!(
        "refused the job name {shown:?}: letters, digits, '.', '_' and '-' only, beginning with a letter or digit, at most {NAME_MAX}"
    )))
}

/// Makes the script that starts a job.
pub(super) fn start_script(job: &Job) -> Result<String, Fault> {
    check_name(&job.name)?;
    let work = match job.work {
        JobWork::Upgrade(manager) => upgrade_script(manager),
    };
    let texts = format!("job={} runner={} work={}", quote(&job.name), quote(RUNNER), quote(work));
    Ok(Answer::envelope(&[PRELUDE, &texts, COMMON, START]))
}

/// Makes the script that asks for a job's state.
pub(super) fn state_script(name: &str) -> Result<String, Fault> {
    check_name(name)?;
    Ok(Answer::envelope(&[PRELUDE, &format!("job={}", quote(name)), COMMON, LOOK, STATE]))
}

/// Makes the script that hands out a job's output from an offset on.
pub(super) fn output_script(name: &str, from: u64) -> Result<String, Fault> {
    check_name(name)?;
    // The shell calculates with signed numbers of 64 bits; no log is as long as that.
    let from = from.min(i64::MAX as u64);
    let given = format!("job={} from={from} most={OUTPUT_MAX}", quote(name));
    Ok(Answer::envelope(&[PRELUDE, &given, COMMON, OUTPUT]))
}

/// Makes the script that removes what a job left.
pub(super) fn collect_script(name: &str) -> Result<String, Fault> {
    check_name(name)?;
    Ok(Answer::envelope(&[PRELUDE, &format!("job={}", quote(name)), COMMON, LOOK, COLLECT]))
}

/// Turns the answers that every job script may give instead of its own into faults.
fn refusals(place: &Place, doing: &str, answer: &Answer) -> Result<(), Fault> {
    if let Some(why) = answer.value("unsafe") {
        return Err(Fault::permanent(format!("{doing} on {}: {}", At(place), fragment(&[why]))).hint(
            "what lies in that directory is run as root: see who changed it, then remove it or give it back to root, mode 0700",
        ));
    }
    if let Some(why) = answer.value("late") {
        // The slot was given up: this start can't come to anything any more, another one may.
        return Err(Fault::transient(format!("{doing} on {}: {}", At(place), fragment(&[why]))));
    }
    if let Some(why) = answer.value("failed") {
        // Every one of these is said before a runner was launched.
        return Err(Fault::permanent(format!("{doing} on {}: {}", At(place), fragment(&[why]))));
    }
    Ok(())
}

/// Reads the answer of [`start_script`].
pub(super) fn read_start(place: &Place, doing: &str, answer: &Answer) -> Result<JobStart, Fault> {
    refusals(place, doing, answer)?;
    match answer.value("start") {
        Some("started") => Ok(JobStart::Started),
        Some("already") => Ok(JobStart::AlreadyThere),
        Some("void") => {
            Err(Fault::transient(format!("{doing} on {}: a probe gave this start up before it began", At(place))))
        }
        other => Err(unknown(place, doing, Nature::Changes, other)),
    }
}

/// Reads the answer of [`state_script`].
pub(super) fn read_state(place: &Place, doing: &str, answer: &Answer) -> Result<JobState, Fault> {
    refusals(place, doing, answer)?;
    let value = answer.value("job");
    let (word, number) = value.map_or(("", ""), |value| value.split_once(' ').unwrap_or((value, "")));
    let log_tail = || tail(answer.lines("log"));
    match word {
        "absent" => Ok(JobState::Absent),
        "running" => Ok(JobState::Running { log_bytes: number.trim().parse().unwrap_or(0) }),
        // A status that can't be read is no exit status: the file system lost it, and the work's effect is to be looked
        // for.
        "finished" => Ok(match number.trim().parse() {
            Ok(exit) => JobState::Finished { exit, log_tail: log_tail() },
            Err(_) => JobState::Lost { log_tail: log_tail() },
        }),
        "lost" => Ok(JobState::Lost { log_tail: log_tail() }),
        _ => Err(unknown(place, doing, Nature::Reads, value)),
    }
}

/// Reads the answer of [`output_script`].
pub(super) fn read_output(place: &Place, doing: &str, answer: &Answer) -> Result<Vec<u8>, Fault> {
    refusals(place, doing, answer)?;
    let said = answer.value("output");
    let bytes = HEXLOWER_PERMISSIVE.decode(answer.lines("output").concat().as_bytes()).unwrap_or_default();
    // The pair of what was announced and what came: od may be missing, or the file may be another one by now.
    match said.and_then(|said| said.parse::<usize>().ok()) {
        Some(count) if count == bytes.len() && count <= OUTPUT_MAX => Ok(bytes),
        Some(count) => Err(Fault::transient(format!(
            "{doing} on {}: {count} bytes were announced, {} came",
            At(place),
            bytes.len()
        ))),
        None => Err(unknown(place, doing, Nature::Reads, said)),
    }
}

/// Reads the answer of [`collect_script`].
pub(super) fn read_collect(place: &Place, doing: &str, answer: &Answer) -> Result<(), Fault> {
    refusals(place, doing, answer)?;
    match answer.value("job") {
        None => Ok(()),
        Some(_) => Err(Fault::new(FaultClass::Transient, format!("{doing} on {}: it is still at work", At(place)))),
    }
}

/// Makes the fault of an answer that none of our scripts gives.
fn unknown(place: &Place, doing: &str, nature: Nature, answer: Option<&str>) -> Fault {
    let shown = fragment(&[answer.unwrap_or("nothing")]);
    Fault::new(nature.doubt(), format!("{doing} on {}: unknown answer: {shown}", At(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for name in
            ["", ".", "..", ".hidden", "-rf", "a/b", "../x", "a b", "a;id", "a'b", "a\nb", "$x", "ä", &"x".repeat(129)]
        {
            let fault = state_script(name).expect_err("refused");
            assert_eq!(fault.class, FaultClass::Permanent);
            assert!(collect_script(name).is_err());
        }
        assert!(state_script("proxmaint-20261122-222842-abcd-101-upgrade-guest-r1").is_ok());
    }

    #[test]
    fn scripts_stay_far_below_the_limit_of_one_argument() {
        let job = Job { name: "a".into(), work: JobWork::Upgrade(crate::inventory::PackageManager::Apt) };
        // Quoted once more for ssh and pct; the kernel allows 128 KiB.
        assert!(quote(&start_script(&job).expect("a script")).len() < 32 * 1024);
    }
}
