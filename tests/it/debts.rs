//! What a run owes is never forgotten: not when the run is closed, not by `status`, not by the next `run`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use proxmaint::choices::Scope;
use proxmaint::cli::debts::Debts;
use proxmaint::cli::state::{self, Choice, Settling, Wish};
use proxmaint::ids::{HostId, RunId};
use proxmaint::journal::record::{CloseReason, RunMeta, encode_meta};
use proxmaint::journal::{Batch, Entry, Journal, LockAttempt, Purpose, RunLock, SledJournal, StateDir, Store};
use proxmaint::plan::{HostPolicy, RunPolicy};
use proxmaint::time::Timestamp;

use crate::journals::parsed;
use crate::story;

const MANIFEST: &str = "/srv/fleet/proxmox-hosts.toml";
const NOW: Timestamp = Timestamp(1_795_500_000_000);
const RUN: &str = "20261123-010203-tale";

/// Opens the journal in a directory and does something with it.
fn with_store<T>(root: &Path, act: impl FnOnce(Store) -> T) -> T {
    let dir = StateDir::create(root).unwrap();
    let LockAttempt::Acquired(lock) = RunLock::try_acquire(&dir, Purpose::Run, None, NOW).unwrap() else {
        panic!("somebody else has {}", root.display())
    };
    act(Store::open(&dir, &lock).unwrap())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// Writes the run of the story, as it owes two things, into a journal; and closes it, where that is asked for.
fn owing(root: &Path, close: Option<CloseReason>) {
    with_store(root, |store| {
        let journal = SledJournal::start(store).unwrap();
        let events = parsed(&story::owing());
        let meta = RunMeta {
            opened_at: events[0].at,
            touched_at: events[events.len() - 1].at,
            hosts: 3,
            open: true,
            result: None,
            tally: None,
        };
        let run = events[0].run.clone();
        let entry = |event: proxmaint::journal::StoredEvent| Entry {
            stream: event.stream,
            at: event.at,
            body: event.body,
            checkpoint: None,
        };
        let entries = events.into_iter().map(entry).collect();
        block_on(journal.append(Batch { run: run.clone(), entries, run_meta: Some(encode_meta(&meta)) })).unwrap();
        let store = journal.close().unwrap();
        let Some(reason) = close else { return };
        let history = state::load(&store, &run).unwrap();
        let settled = state::load(&store, &run).unwrap().into_state();
        let journal = SledJournal::start(store).unwrap();
        block_on(state::close_run(&journal, &history, &settled, reason, NOW)).unwrap();
        journal.close().unwrap();
    });
}

#[test]
fn a_run_that_is_closed_with_debts_is_still_known_to_owe() {
    let root = tempfile::tempdir().unwrap();
    let state_dir = root.path().join("state");
    owing(&state_dir, Some(CloseReason::Expired));
    with_store(&state_dir, |store| {
        let wish = Wish { resume: None, fresh: false, manifest: Path::new(MANIFEST) };
        let choice = state::choose(&store, &wish, Duration::MAX, NOW).unwrap();
        assert!(matches!(choice, Choice::New { close: None }), "{choice:?}");
        let listed = state::list(&store).unwrap();
        assert_eq!(listed[0].meta.as_ref().unwrap().tally.as_ref().unwrap().owed, 1, "one host");
        let left = state::leftovers(&store, Path::new(MANIFEST)).unwrap();
        let [left] = &left[..] else { panic!("not one: {left:?}") };
        assert_eq!((left.history.id.as_str(), left.why), (RUN, Settling::Debts));
        let debts = Debts::of(&left.history.id, &left.history.hosts);
        assert_eq!(
            debts.lines(),
            [
                "pve1: shut down for the node's reboot and to run again: CT 101; the last try: CT 101: no space left on device",
                "pve1: CT 102 was started to be upgraded and is to be stopped again; the last try: it did not shut down",
            ]
        );
        assert!(debts.owed.iter().all(|debt| debt.held.is_none()));
        assert!(state::leftovers(&store, Path::new("/elsewhere.toml")).unwrap().is_empty(), "another manifest's run");
    });
}

#[test]
fn an_open_run_that_owes_is_gone_on_with_and_settled_by_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let state_dir = root.path().join("state");
    owing(&state_dir, None);
    with_store(&state_dir, |store| {
        let wish = Wish { resume: None, fresh: false, manifest: Path::new(MANIFEST) };
        let choice = state::choose(&store, &wish, Duration::MAX, NOW).unwrap();
        assert!(matches!(choice, Choice::Resume(_)), "{choice:?}");
        assert!(state::leftovers(&store, Path::new(MANIFEST)).unwrap().is_empty());
    });
}

#[test]
fn a_run_that_only_prunes_is_settled_and_never_gone_on_with() {
    let root = tempfile::tempdir().unwrap();
    let state_dir = root.path().join("state");
    let run = RunId::new("20261123-020304-prun");
    with_store(&state_dir, |store| {
        let host = HostPolicy { scope: Scope::PruneOnly, ..HostPolicy::new(HostId::new("pve1")) };
        let policy = RunPolicy { parallel_hosts: 1, rollout: Default::default(), hosts: vec![host] };
        let journal = SledJournal::start(store).unwrap();
        block_on(state::open_run(&journal, &run, &policy, Path::new(MANIFEST), NOW)).unwrap();
        journal.close().unwrap();
    });
    // It hides no other run that waits to be gone on with.
    owing(&state_dir, None);
    with_store(&state_dir, |store| {
        let wish = Wish { resume: None, fresh: false, manifest: Path::new(MANIFEST) };
        let choice = state::choose(&store, &wish, Duration::MAX, NOW).unwrap();
        assert!(matches!(&choice, Choice::Resume(history) if history.id.as_str() == RUN), "{choice:?}");
        let left = state::leftovers(&store, Path::new(MANIFEST)).unwrap();
        let left: Vec<_> = left.iter().map(|left| (&left.history.id, left.why)).collect();
        assert_eq!(left, [(&run, Settling::Prune)]);
        let wish = Wish { resume: Some(run.as_str()), ..wish };
        assert!(state::choose(&store, &wish, Duration::MAX, NOW).is_err());
    });
}

fn proxmaint(root: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxmaint"));
    command.args(args).current_dir(root).env_clear().env("HOME", root).env("SECRET", "x").env("TOKEN", "a@pam!b");
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit {:?}\n{out}{err}", output.status.code())
}

#[test]
fn status_names_what_a_closed_run_owes_and_restore_needs_the_hosts_in_the_manifest() {
    let root = tempfile::tempdir().unwrap();
    owing(&root.path().join("state"), Some(CloseReason::Fresh));
    let manifest = |host: &str| {
        let api = "api.token_env = \"TOKEN\"\napi.secret_env = \"SECRET\"\n";
        let text = format!("[[hosts]]\nhost = \"127.0.0.1\"\nname = \"{host}\"\n{api}");
        fs::write(root.path().join("proxmox-hosts.toml"), text).unwrap();
    };
    manifest("other");
    let shown = text(&proxmaint(root.path(), &["status"]));
    for words in ["owed: CT 102 was started", "to run again: CT 101", &format!("proxmaint restore {RUN}")] {
        assert!(shown.contains(words), "{words} is missing:\n{shown}");
    }
    let all = text(&proxmaint(root.path(), &["status", "--all"]));
    assert!(all.contains("still owed on 1 host"), "{all}");
    let json: serde_json::Value =
        serde_json::from_slice(&proxmaint(root.path(), &["status", "--output", "json"]).stdout).unwrap();
    assert_eq!(json["hosts"][0]["owed"][0]["owed"], "start-guests", "{json:#}");
    assert_eq!(json["hosts"][0]["owed"][1]["guests"][0], 102, "{json:#}");

    let refused = proxmaint(root.path(), &["restore", RUN]);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("pve1: is not in the manifest any more"), "{said}");
    let clean = proxmaint(root.path(), &["restore", RUN, "--host", "pve2"]);
    assert_eq!((clean.status.code(), text(&clean).contains("owes nothing")), (Some(0), true), "{}", text(&clean));
}
