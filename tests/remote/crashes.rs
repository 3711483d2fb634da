//! Crashes at every step of starting a job: whatever is left never leads to a second execution, and is reported as it
//! is.

use std::process::Command;

use futures_util::future::join_all;
use proxmaint::engine::port::{JobStart, JobState, Remote};
use proxmaint::machine::outcome::FaultClass;

use crate::world::{JOB, Shell, World, exists, job, over, place, shells};

/// The scripts, as the adapter has them: the places to crash at are their lines.
const START: &str = include_str!("../../src/adapters/remote/sh/job_start.sh");
const RUNNER: &str = include_str!("../../src/adapters/remote/sh/job_runner.sh");

/// Returns every pair of neighbouring lines of a script between which it can be made to die: what it is with `kill`
/// between them must still be a script.
fn gaps(script: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = script.lines().collect();
    let mut gaps = Vec::new();
    for at in 1..lines.len() {
        let (before, after) = (lines[at - 1], lines[at]);
        if before.ends_with('\\') || after.trim_start().starts_with('#') {
            continue;
        }
        let anchor = format!("{before}\n{after}\n");
        let died = script.replacen(&anchor, &format!("{before}\nkill -9 $$\n{after}\n"), 1);
        let valid = Command::new("/bin/sh").args(["-n", "-c", &died]).output().expect("/bin/sh runs").status.success();
        if valid && script.matches(&anchor).count() == 1 {
            gaps.push((anchor, format!("{before}\nkill -9 $$\n{after}\n")));
        }
    }
    gaps
}

/// Makes the scripts wait three tenths of a second where the real ones wait long, until [`World::forget_edits`].
/// Whatever is still on its way by then is given up, which is one more way for a start to end.
fn hurry(world: &mut World) {
    for wait in ["200", "30", "20"] {
        world.edit(&format!("await \"$next\" {wait}"), "await \"$next\" 3");
    }
}

/// Lets a start die at one place, then looks, and starts again.
async fn die(shell: &Shell, from: &str, to: &str) -> JobState {
    let mut crashed = World::new(shell);
    hurry(&mut crashed);
    // Within the start script the runner is in single quotes.
    let quoted = |text: &str| text.replace('\'', "'\\''");
    let (from, to) = if RUNNER.contains(from) { (quoted(from), quoted(to)) } else { (from.to_owned(), to.to_owned()) };
    // Edits come after the replacement of the shell's path, which a line may hold.
    crashed.edit_raw(&from, &to);
    let first = crashed.adapter().start_job(&place(), &job()).await;
    assert_eq!(crashed.raw_edits(), 1, "the script holds {from:?}");
    let seen = crashed.adapter().job(&place(), JOB).await.expect("a state");
    crashed.forget_edits();
    let adapter = crashed.adapter();
    let runs = crashed.runs();
    match &seen {
        JobState::Absent => assert_eq!(runs, 0, "never started, said after {from:?} ({first:?})"),
        JobState::Finished { exit, .. } => assert_eq!((*exit, runs), (0, 1), "after {from:?}"),
        JobState::Running { .. } => {}
        JobState::Lost { .. } => {
            assert!(exists(crashed.job_path("slot.1")), "only what was claimed can be lost, after {from:?}")
        }
    }
    // Whatever was still on its way has come or gone: what was said to be absent stays so.
    crashed.until(|state| *state == JobState::Absent || over(state)).await;
    crashed.quiet().await;
    if seen == JobState::Absent {
        assert_eq!(crashed.runs(), 0, "a late runner worked after {from:?}");
    }

    let second = adapter.start_job(&place(), &job()).await;
    let state = crashed.until(over).await;
    crashed.quiet().await;
    if seen == JobState::Absent {
        assert_eq!(second, Ok(JobStart::Started), "after {from:?}");
        assert!(matches!(state, JobState::Finished { exit: 0, .. }), "{state:?} after {from:?}");
        assert_eq!(crashed.runs(), 1, "after {from:?}");
    } else {
        assert_eq!(second, Ok(JobStart::AlreadyThere), "after {from:?}");
        assert!(crashed.runs() <= 1, "{} runs after {from:?}", crashed.runs());
    }
    assert_eq!(adapter.collect_job(&place(), JOB).await, Ok(()));
    assert_eq!(adapter.job(&place(), JOB).await, Ok(JobState::Absent));
    seen
}

/// Dies in every gap of a script, some at a time, and returns what was seen.
async fn die_everywhere(shell: &Shell, script: &str) -> Vec<JobState> {
    let gaps = gaps(script);
    let mut seen = Vec::new();
    for some in gaps.chunks(6) {
        seen.extend(join_all(some.iter().map(|(from, to)| die(shell, from, to))).await);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_dies_anywhere_never_makes_two_runs() {
    for shell in shells() {
        let seen = die_everywhere(&shell, START).await;
        assert!(seen.len() > 25, "{} places", seen.len());
        assert!(seen.contains(&JobState::Absent), "some die before anything was launched");
        assert!(seen.iter().any(|state| *state != JobState::Absent), "some die after it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_dies_anywhere_never_makes_two_runs() {
    for shell in shells() {
        let seen = die_everywhere(&shell, RUNNER).await;
        assert!(seen.len() > 15, "{} places", seen.len());
        assert!(seen.contains(&JobState::Absent), "some die before the claim");
        assert!(seen.iter().any(|state| matches!(state, JobState::Lost { .. })), "some die after the claim: {seen:?}");
        assert!(seen.iter().any(|state| matches!(state, JobState::Finished { .. })), "some die after the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_comes_after_a_probe_finds_its_slot_given_up() {
    for shell in shells() {
        let mut world = World::new(&shell);
        hurry(&mut world);
        // A start whose runner never comes: as where the process could not be made.
        world.shim("setsid", "exit 0");
        let fault = world.adapter().start_job(&place(), &job()).await.expect_err("no runner came");
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(fault.what.contains("did not start"), "{fault:?}");
        assert_eq!(world.claim(1, 0), "void");
        assert_eq!(world.adapter().job(&place(), JOB).await, Ok(JobState::Absent));

        let dir = world.job_path("");
        let dir = dir.display().to_string();
        let dir = dir.trim_end_matches('/');
        let late = world.command(&format!("exec sh {dir}/run {dir} 1 4711")).status().expect("a shell");
        assert!(late.success());
        assert_eq!(world.runs(), 0);

        std::fs::remove_file(world.path("bin/setsid")).expect("removed");
        world.forget_edits();
        assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
        assert!(matches!(world.until(over).await, JobState::Finished { exit: 0, .. }));
        assert_eq!(world.claim(2, 0), "run");
        assert_eq!(world.runs(), 1);
    }
}

/// A `setsid` whose runner takes its time until the file `late` is there, as on a machine that is short of everything.
const LATE: &str = r#"n=0
while [ ! -e "$W/late" ] && [ $n -lt 1000 ]; do n=$((n + 1)); sleep 0.02; done
exec "$@""#;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_died_behind_a_late_runner_is_absent_for_good() {
    for shell in shells() {
        let mut world = World::new(&shell);
        world.edit("await \"$next\" 30", "await \"$next\" 2");
        world.edit("if ! await \"$next\" 200", "kill -9 $$\nif ! await \"$next\" 200");
        world.shim("setsid", LATE);
        let fault = world.adapter().start_job(&place(), &job()).await.expect_err("it died");
        assert_eq!(fault.class, FaultClass::Ambiguous);
        assert_eq!(world.adapter().job(&place(), JOB).await, Ok(JobState::Absent));
        world.file("late", "");
        world.quiet().await;
        assert_eq!(world.runs(), 0, "what was said to be absent began afterwards");
        assert_eq!(world.adapter().job(&place(), JOB).await, Ok(JobState::Absent));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_a_probe_gave_up_says_so() {
    let mut world = World::new(&shells()[0]);
    world.edit("await \"$next\" 30", "await \"$next\" 1");
    // Meanwhile the job is asked for.
    world.shim("setsid", LATE);
    let adapter = world.adapter();
    let (place, job) = (place(), job());
    let probe = async {
        while !exists(world.job_path("try.1")) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        adapter.job(&place, JOB).await
    };
    let (start, seen) = tokio::join!(adapter.start_job(&place, &job), probe);
    assert_eq!(seen, Ok(JobState::Absent));
    assert_eq!(start.expect_err("given up").class, FaultClass::Transient);
    world.file("late", "");
    world.quiet().await;
    assert_eq!(world.runs(), 0, "the late runner did nothing");
}
