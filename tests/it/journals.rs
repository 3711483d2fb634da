//! Journals that earlier versions wrote must be read for ever: `fixtures/journals` holds one of each version of the bodies.
//!
//! `v1.ndjson` is what a run wrote that was killed during an upgrade, gone on with, ended with a failed guest, and was gone on
//! with again. One record a line; the frame of the storage (checksums, chain) is left out, since it is pinned elsewhere.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use proxmaint::cli::state::expired_snapshots;
use proxmaint::ids::{HostId, RunId, Step};
use proxmaint::journal::record::{HostEntry, decode_host, decode_run, encode_event, encode_intent, encode_run};
use proxmaint::journal::replay::replay;
use proxmaint::journal::{LoadedRun, Seq, StoredEvent, StreamId};
use proxmaint::machine::host::StepState;
use proxmaint::time::Timestamp;
use serde_json::Value;

fn events(name: &str) -> Vec<StoredEvent> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journals").join(name);
    let text = fs::read_to_string(path).unwrap();
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

#[test]
fn the_first_version_is_still_read() {
    let history = replay(&loaded(events("v1.ndjson"))).unwrap();
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
        assert!(state.steps.iter().all(|step| step.state != StepState::Working), "a finished run has nothing at work");
    }
    assert!(!history.is_open());
    insta::assert_snapshot!(text);
}

#[test]
fn the_written_form_has_not_changed() {
    for event in events("v1.ndjson") {
        let again = match &event.stream {
            StreamId::Run => encode_run(&decode_run(&event.body).unwrap()),
            StreamId::Host(host) => match decode_host(&event.body).unwrap().into_entry(&event.run, host) {
                HostEntry::Event(happened) => encode_event(&happened),
                HostEntry::Intent { key, mode } => encode_intent(&key, mode),
            },
        };
        let (before, now): (Value, Value) =
            (serde_json::from_slice(&event.body).unwrap(), serde_json::from_slice(&again).unwrap());
        assert_eq!(now, before, "record {}", event.seq);
    }
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
        let old = expired_snapshots(host, now);
        old.iter().map(|old| format!("{} {}", old.guest.id, old.name)).collect()
    };
    assert!(names_after(23).is_empty());
    let run = &history.id;
    let expected = [(101, 1), (102, 1), (201, 1), (102, 2)].map(|(guest, round)| format!("{guest} pm-{run}-r{round}"));
    assert_eq!(names_after(24), expected, "those of a round that failed first as well");
}
