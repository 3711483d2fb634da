//! Journals that earlier versions wrote must be read for ever: `fixtures/journals` holds one of each version of the bodies.
//!
//! `v1.ndjson` is what a run wrote that was killed during an upgrade, gone on with, ended with a failed guest, and was gone on
//! with again: it is read, and nothing writes it any more. `v2.ndjson` is what this program writes of the run in [`story`], in
//! which everything happens once; `PROXMAINT_WRITE_FIXTURES=1` writes it anew, which is only right before a version is
//! released. One record a line; the frame of the storage (checksums, chain) is left out, since it is pinned elsewhere.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxmaint::cli::kept::{Fate, fates, of_host};
use proxmaint::ids::{GuestId, HostId, RunId, Step};
use proxmaint::journal::record::{HostEntry, decode_host, decode_run, encode_event, encode_intent, encode_run};
use proxmaint::journal::replay::{RunHistory, replay};
use proxmaint::journal::{LoadedRun, Seq, StoredEvent, StreamId};
use proxmaint::machine::host::{HostPhase, StepState};
use proxmaint::plan::{HostPolicy, Retention};
use proxmaint::time::Timestamp;
use serde_json::Value;

use crate::story;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journals").join(name)
}

fn events(name: &str) -> Vec<StoredEvent> {
    parsed(&fs::read_to_string(fixture(name)).unwrap())
}

/// Reads records, one a line.
pub fn parsed(text: &str) -> Vec<StoredEvent> {
    text.lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            StoredEvent {
                seq: Seq(record["seq"].as_u64().unwrap()),
                run: RunId::new(record["run"].as_str().unwrap()),
                stream: record["stream"].as_str().unwrap().parse().unwrap(),
                at: Timestamp(record["at"].as_i64().unwrap()),
                body: record["body"].to_string().into_bytes(),
            }
        })
        .collect()
}

fn loaded(events: Vec<StoredEvent>) -> LoadedRun {
    LoadedRun::from_events(events[0].run.clone(), events)
}

/// Says how a run stands that was read back.
fn told(history: &RunHistory) -> String {
    let mut text = String::new();
    for state in &history.hosts {
        writeln!(text, "{} {} {:?}", state.host(), state.phase.name(), state.result()).unwrap();
        for (id, guest) in &state.guests {
            let verdict = format!("{:?}", guest.phase);
            writeln!(text, "  {id} {}", verdict.split([' ', '{']).next().unwrap()).unwrap();
        }
        for step in &state.steps {
            let on = step.guest.map_or("node".to_owned(), |guest| guest.to_string());
            writeln!(text, "  {on} {} r{} {:?}", step.step, step.round, step.state).unwrap();
        }
        for owed in state.owed() {
            writeln!(text, "  owed: {owed}").unwrap();
        }
        assert!(state.steps.iter().all(|step| step.state != StepState::Working), "a finished run has nothing at work");
    }
    text
}

#[test]
fn the_first_version_is_still_read() {
    let history = replay(&loaded(events("v1.ndjson"))).unwrap();
    assert!(!history.is_open());
    insta::assert_snapshot!(told(&history));
}

#[test]
fn the_first_version_means_what_it_meant() {
    // What version 1 did not say is as it was then: written as version 2 it folds to the same state.
    let again: Vec<StoredEvent> =
        events("v1.ndjson").into_iter().map(|event| StoredEvent { body: rewritten(&event), ..event }).collect();
    let (before, now) = (replay(&loaded(events("v1.ndjson"))).unwrap(), replay(&loaded(again)).unwrap());
    assert_eq!(before.hosts, now.hosts);
    assert_eq!(before.policy, now.policy);
    let host = &before.hosts[0];
    assert_eq!(
        host.policy,
        HostPolicy {
            declared: [GuestId(201)].into(),
            node: host.policy.node.clone(),
            ..HostPolicy::new(HostId::new("edge1"))
        }
    );
    assert!(host.owed().is_empty());
}

#[test]
fn the_second_version_is_read() {
    let history = replay(&loaded(events("v2.ndjson"))).unwrap();
    assert!(!history.is_open());
    insta::assert_snapshot!(told(&history));
}

#[test]
fn what_this_program_writes_is_the_second_version() {
    let (path, written) = (fixture("v2.ndjson"), story::written());
    if std::env::var_os("PROXMAINT_WRITE_FIXTURES").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let pinned = fs::read_to_string(path).unwrap();
    for (n, (now, before)) in written.lines().zip(pinned.lines()).enumerate() {
        assert_eq!(now, before, "record {}", n + 1);
    }
    assert_eq!(written.lines().count(), pinned.lines().count());
}

/// The steps and events of the schema, so that none is left out of the pinned journal.
#[test]
fn the_second_version_holds_every_step_and_every_event() {
    let text = fs::read_to_string(fixture("v2.ndjson")).unwrap();
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine/event.rs")).unwrap();
    let body = schema.split("impl HostEvent").nth(1).unwrap();
    let names: Vec<&str> = body.lines().filter_map(|line| line.split("=> \"").nth(1)?.split('"').next()).collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        assert!(text.contains(&format!("\"event\":\"{name}\"")), "no event {name}");
    }
    let ids = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ids.rs")).unwrap();
    let steps: Vec<&str> = ids
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split("=> \"").nth(1)?.split('"').next())
        .collect();
    assert!(steps.contains(&"verify") && steps.len() >= 17, "{steps:?}");
    for step in steps.iter().filter(|step| !["CT", "VM", "lxc", "qemu"].contains(step)) {
        assert!(text.contains(&format!("\"step\":\"{step}\"")), "no step {step}");
    }
}

/// Reads a record and writes it again.
fn rewritten(event: &StoredEvent) -> Vec<u8> {
    match &event.stream {
        StreamId::Run => encode_run(&decode_run(&event.body).unwrap()),
        StreamId::Host(host) => match decode_host(&event.body).unwrap().into_entry(&event.run, host) {
            HostEntry::Event(happened) => encode_event(&happened),
            HostEntry::Intent { key, mode } => encode_intent(&key, mode),
        },
    }
}

#[test]
fn the_written_form_has_not_changed() {
    for event in events("v2.ndjson") {
        let again = rewritten(&event);
        let (before, now): (Value, Value) =
            (serde_json::from_slice(&event.body).unwrap(), serde_json::from_slice(&again).unwrap());
        assert_eq!(now, before, "record {}", event.seq);
    }
}

#[test]
fn a_run_in_which_only_failures_are_left_is_too_old_sooner() {
    let day = Duration::from_secs(24 * 3600);
    let mut history = replay(&loaded(events("v1.ndjson"))).unwrap();
    let after = |history: &RunHistory, hours: u64| history.touched_at.after(Duration::from_secs(hours * 3600));
    assert!(matches!(history.hosts[0].phase, HostPhase::Done(_)));
    assert!(!history.is_too_old(day, after(&history, 11)), "what failed at night is tried again in the morning");
    assert!(history.is_too_old(day, after(&history, 23)), "the next night all are maintained");
    // Something is left to be gone on with.
    history.hosts[0].phase = HostPhase::Pending;
    assert!(!history.is_too_old(day, after(&history, 23)));
    assert!(history.is_too_old(day, after(&history, 25)));
}

#[test]
fn a_record_that_does_not_fit_is_named() {
    let mut all = events("v1.ndjson");
    let host = StreamId::Host(HostId::new("edge1"));
    let turn = all.iter().position(|e| e.stream == host && e.body.windows(10).any(|w| w == b"turn-given")).unwrap();
    let seq = all[turn + 1].seq;
    let twice = StoredEvent { seq, ..all[turn].clone() };
    all.insert(turn + 1, twice);
    let error = replay(&loaded(all)).unwrap_err();
    assert_eq!(error.to_string(), format!("record {seq} of the journal does not fit what was before it"));
}

#[test]
fn snapshots_are_kept_for_a_day_after_their_guests_were_verified() {
    let history = replay(&loaded(events("v1.ndjson"))).unwrap();
    let host = &history.hosts[0];
    let verified = host.steps.iter().rev().find(|step| step.step == Step::Verify).unwrap().ended.unwrap();
    let names_after = |hours: u64| -> Vec<String> {
        let now = verified.after(Duration::from_secs(hours * 3600 + 1));
        let left = of_host(host, history.is_open());
        let fates = fates(&left, |_| Some(Retention::default()), now);
        let gone = left.iter().zip(fates).filter(|(_, fate)| *fate == Fate::Goes);
        gone.map(|(left, _)| format!("{} {:?}", left.guest.id, left.thing)).collect()
    };
    assert!(names_after(23).is_empty());
    let run = &history.id;
    let expected = [(101, 1), (102, 1), (201, 1), (102, 2)]
        .map(|(guest, round)| format!("{guest} Snapshot(SnapshotName(\"pm-{run}-r{round}\"))"));
    assert_eq!(names_after(24), expected, "those of a round that failed first as well");
}
