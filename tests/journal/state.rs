//! The state directory: modes, owner, lock.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proxmaint::journal::{JournalError, LockAttempt, Purpose, RunLock, StateDir, archive_finished, recover};

use crate::support::{NOW, State, run, story};

fn check_modes(path: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o7777;
    assert_eq!(mode(path), 0o700, "{}", path.display());
    for entry in fs::read_dir(path).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { check_modes(&path) } else { assert_eq!(mode(&path), 0o600, "{}", path.display()) }
    }
}

/// Runs one of the tests named `child_..` of this binary in a process of its own, by a shell that sets things up first.
pub fn child(test: &str, setup: &str, state: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{setup}; exec \"$0\" \"$@\"")).arg(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "--nocapture", test]).env("JOURNAL_TEST_STATE", state);
    command
}

/// The state directory that a child works on; `None` where it was not started by the test that it is a part of, and so has
/// nothing to do.
pub fn state_of_child() -> Option<std::path::PathBuf> {
    std::env::var_os("JOURNAL_TEST_STATE").map(Into::into)
}

#[test]
fn everything_is_private_whatever_the_umask() {
    for umask in ["000", "077", "277"] {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("state");
        let status =
            child("state::child_uses_everything", &format!("umask {umask}"), &path).stdout(Stdio::null()).status();
        assert!(status.expect("runs").success(), "umask {umask}");
        check_modes(&path);
        assert_eq!(fs::read_to_string(path.join(".gitignore")).expect("is there"), "*\n");
    }
}

#[test]
fn child_uses_everything() {
    let Some(path) = state_of_child() else { return };
    let dir = StateDir::create(&path).expect("creates");
    for n in 1..=3 {
        crate::support::fill(&dir, story(&run(n), 3, 20, 5));
    }
    let LockAttempt::Acquired(lock) = RunLock::try_acquire(&dir, Purpose::Run, None, NOW).expect("locks") else {
        panic!("held");
    };
    recover(&dir, &lock).expect("recovers");
    archive_finished(&dir, &lock, 0, |_| true).expect("archives");
    check_modes(&path);
}

#[test]
fn a_checked_out_directory_is_closed_and_an_open_one_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("state");
    fs::create_dir(&path).expect("creates");
    fs::set_permissions(&path, Permissions::from_mode(0o775)).expect("sets");
    StateDir::create(&path).expect("is ours");
    check_modes(&path);

    fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("sets");
    let error = StateDir::create(&path).expect_err("is open to all");
    assert!(matches!(error, JournalError::Untrusted { .. }));
    assert!(error.to_string().ends_with("is world-writable (mode 0777)"), "{error}");
    assert!(StateDir::open(&root.path().join("none")).expect("looks").is_none());

    fs::write(root.path().join("file"), "").expect("writes");
    assert!(matches!(StateDir::open(&root.path().join("file")), Err(JournalError::Untrusted { .. })));
}

#[test]
fn the_lock_of_another_process_names_it_and_its_run() {
    let state = State::new();
    let mut child = child("state::child_holds_the_lock", "true", &state.path());
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let held = lines.map_while(Result::ok).any(|line| line.contains("locked"));
    assert!(held, "the child took the lock");

    let LockAttempt::HeldBy(holder) = RunLock::try_acquire(&state.dir, Purpose::Run, None, NOW).expect("tries") else {
        panic!("two hold it");
    };
    assert_eq!((holder.pid, &holder.run, holder.started), (child.id(), &Some(run(7)), NOW));
    assert_eq!(RunLock::held_by(&state.dir).expect("reads"), Some(holder.clone()));
    assert_eq!(
        JournalError::Held(holder).to_string(),
        format!("the journal is held by process {} (run {}, since {NOW})", child.id(), run(7))
    );
    // However it ends, the lock is free then; the name that it left behind misleads nobody.
    child.kill().expect("is killed");
    child.wait().expect("ends");
    assert_eq!(RunLock::held_by(&state.dir).expect("reads"), None);
    assert_eq!(state.lock().holder().pid, std::process::id());
}

#[test]
fn child_holds_the_lock() {
    let Some(state) = state_of_child() else { return };
    let dir = StateDir::open(&state).expect("opens").expect("is there");
    let LockAttempt::Acquired(mut lock) = RunLock::try_acquire(&dir, Purpose::Run, None, NOW).expect("locks") else {
        panic!("held");
    };
    lock.name_run(run(7)).expect("names");
    println!("locked");
    // Until the parent kills this process or is gone.
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}

#[test]
fn a_reader_is_waited_for() {
    let state = State::new();
    let LockAttempt::Acquired(reader) = RunLock::try_acquire(&state.dir, Purpose::Read, None, NOW).expect("locks")
    else {
        panic!("held");
    };
    let dir = state.dir.clone();
    let waiting = std::thread::spawn(move || RunLock::try_acquire(&dir, Purpose::Run, Some(run(1)), NOW));
    drop(reader);
    assert!(matches!(waiting.join().expect("ends").expect("tries"), LockAttempt::Acquired(_)));
}
