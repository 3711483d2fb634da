//! Crashes: a kill at any moment, a write torn at any byte, a full disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use proxmaint::journal::{Journal, JournalError, Seq, SledJournal, StateDir, Store, recover, verify};

use crate::state::{child, state_of_child};
use crate::support::{State, batch, block_on, copy_tree, entry, expected, folded, host, lock, run, story};

const PRODUCERS: usize = 4;
const KILLS: usize = 24;

#[test]
fn no_acknowledged_record_is_lost_when_the_process_is_killed() {
    let state = State::new();
    let mut acknowledged: [Option<usize>; PRODUCERS] = [None; PRODUCERS];
    for kill in 0..KILLS {
        let mut child = child("crash::child_appends_until_it_is_killed", "true", &state.path());
        let mut child = child.stdout(Stdio::piped()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut seen = 0;
        for line in lines {
            let Some((producer, n)) = line.strip_prefix("durable ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            let (producer, n): (usize, usize) = (producer.parse().expect("a number"), n.parse().expect("a number"));
            acknowledged[producer] = acknowledged[producer].max(Some(n));
            seen += 1;
            if seen == 1 + kill * 5 {
                // What it still says before it is dead was acknowledged as well, and is read by this loop.
                child.kill().expect("is killed");
            }
        }
        child.wait().expect("ends");
        assert!(seen > kill * 5, "the child worked until it was killed");

        let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let store = state.open().expect("opens");
        for stream in store.load_run(&run(1)).expect("loads").streams {
            for event in stream.tail {
                let body: serde_json::Value = serde_json::from_slice(&event.body).expect("JSON");
                let says = body["says"].as_str().expect("text");
                let (producer, n) = says.split_once(' ').expect("two words");
                found.entry(producer.parse().expect("a number")).or_default().push(n.parse().expect("a number"));
            }
        }
        for (producer, acknowledged) in acknowledged.iter().enumerate() {
            let found = found.remove(&producer).unwrap_or_default();
            assert_eq!(found, (0..found.len()).collect::<Vec<_>>(), "nothing is missing between");
            assert!(found.last() >= acknowledged.as_ref(), "{acknowledged:?} of producer {producer} was acknowledged");
            assert_eq!(found.len() % 3, 0, "a batch has three");
        }
    }
    assert!(verify(&state.dir, &state.lock()).expect("verifies").is_whole());
}

#[test]
fn child_appends_until_it_is_killed() {
    let Some(state) = state_of_child() else { return };
    let dir = StateDir::create(&state).expect("creates");
    let lock = lock(&dir);
    let mut store = Store::open(&dir, &lock).expect("opens");
    store.set_segment_bytes(32 << 10);
    let mut next = [0; PRODUCERS];
    if let Ok(loaded) = store.load_run(&run(1)) {
        for stream in loaded.streams {
            let producer = (0..PRODUCERS).find(|p| host(*p) == stream.stream).expect("a producer's");
            next[producer] = stream.tail.len();
        }
    }
    let journal = Arc::new(SledJournal::start(store).expect("starts"));
    block_on(async {
        let producers: Vec<_> = next
            .into_iter()
            .enumerate()
            .map(|(producer, first)| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    for n in (first..first + 3000).step_by(3) {
                        let entries = (n..n + 3).map(|n| entry(host(producer), format!("{producer} {n}"))).collect();
                        journal.append(batch(&run(1), entries)).await.expect("is durable");
                        println!("durable {producer} {}", n + 2);
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.await.expect("ends");
        }
    });
}

/// A journal before and after its last batch, the newest segment's bytes at both times, and what each folds to.
struct LastBatch {
    before: State,
    after: State,
    segment: String,
    told_before: Vec<proxmaint::journal::Batch>,
    told_after: Vec<proxmaint::journal::Batch>,
}

fn last_batch() -> LastBatch {
    let before = State::new();
    let told_before = story(&run(1), 3, 6, 5);
    before.fill(told_before.clone());
    let after = before.copy();
    let told_after = story(&run(1), 3, 7, 5);
    after.fill(told_after[6..].to_vec());
    let mut names: Vec<_> =
        fs::read_dir(before.dir.segments()).expect("lists").map(|e| e.expect("one").file_name()).collect();
    assert_eq!(names.len(), 1);
    let segment = names.remove(0).into_string().expect("text");
    LastBatch { before, after, segment, told_before, told_after }
}

#[test]
fn a_batch_that_was_torn_at_any_byte_is_there_as_a_whole_or_not_at_all() {
    let LastBatch { before, after, segment, told_before, told_after } = last_batch();
    let full = fs::read(after.dir.segments().join(&segment)).expect("reads");
    let from = fs::metadata(before.dir.segments().join(&segment)).expect("is there").len() as usize;
    assert!(full.len() > from + 5 * 200);
    let cuts = (from..full.len()).step_by(97).chain([from + 1, full.len() - 1, full.len()]);
    for cut in cuts {
        let state = before.copy();
        fs::write(state.dir.segments().join(&segment), &full[..cut]).expect("writes");
        let store = state.open().expect("opens");
        let whole = cut == full.len();
        assert_eq!(store.last(), Seq(if whole { 35 } else { 30 }), "cut at {cut}");
        let told = if whole { &told_after } else { &told_before };
        assert_eq!(folded(&store, &run(1)).expect("loads"), expected(told));
        drop(store);
        // And it goes on from there.
        state.fill([batch(&run(1), vec![entry(host(1), "on")])]);
        assert!(verify(&state.dir, &state.lock()).expect("verifies").is_whole(), "cut at {cut}");
    }
}

#[test]
fn a_watermark_that_lags_behind_is_brought_up() {
    let LastBatch { before, after, told_after, .. } = last_batch();
    fs::copy(before.dir.watermark(), after.dir.watermark()).expect("copies");
    let store = after.open().expect("opens");
    assert_eq!(folded(&store, &run(1)).expect("loads"), expected(&told_after));
    drop(store);
    assert_eq!(verify(&after.dir, &after.lock()).expect("verifies").acknowledged, Seq(35));
}

#[test]
fn a_segment_that_was_just_being_begun_is_dropped() {
    let LastBatch { before, told_before, .. } = last_batch();
    let name = before.dir.segments().join(format!("{:020}-{}.ndjson", 31, run(2)));
    for text in ["", "{\"v\":1,\"segm"] {
        fs::write(&name, text).expect("writes");
        let store = before.open().expect("opens");
        assert!(!name.exists());
        assert_eq!(folded(&store, &run(1)).expect("loads"), expected(&told_before));
    }
    before.fill([batch(&run(2), vec![entry(host(1), "x")])]);
    assert!(name.exists());
}

#[test]
fn what_was_acknowledged_and_is_missing_on_one_side_is_damage_and_comes_back() {
    type Damage = fn(&LastBatch);
    let cases: [(&str, Damage); 4] = [
        ("the store ends at record 30, though 35 was acknowledged", |last| {
            fs::remove_dir_all(last.after.dir.db()).expect("removes");
            copy_tree(&last.before.dir.db(), &last.after.dir.db());
        }),
        ("is shorter than it was", |last| {
            let (from, to) =
                (last.before.dir.segments().join(&last.segment), last.after.dir.segments().join(&last.segment));
            fs::copy(from, to).expect("copies");
        }),
        ("watermark is missing", |last| fs::remove_file(last.after.dir.watermark()).expect("removes")),
        ("db is missing", |last| fs::remove_dir_all(last.after.dir.db()).expect("removes")),
    ];
    for (says, damage) in cases {
        let last = last_batch();
        damage(&last);
        let error = last.after.open().expect_err("is damaged");
        assert!(error.is_unreadable() && error.to_string().contains(says), "{error}");
        assert!(error.hint().expect("one").contains("proxmaint journal recover"));
        assert!(!verify(&last.after.dir, &last.after.lock()).expect("verifies").is_whole());
        let report = recover(&last.after.dir, &last.after.lock()).expect("recovers");
        assert_eq!((report.kept, report.last, &report.lost), (35, Seq(35), &vec![]), "{says}");
        let store = last.after.open().expect("opens");
        assert_eq!(folded(&store, &run(1)).expect("loads"), expected(&last.told_after));
    }
}

#[test]
fn a_full_disk_fails_the_batch_and_ends_the_journal() {
    let state = State::new();
    // The limit makes a write beyond 2 MiB fail, as a full disk would; the signal for it is ignored.
    let mut child = child("crash::child_fills_the_disk", "trap '' XFSZ; ulimit -f 4096", &state.path());
    let output = child.output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let acknowledged: u64 =
        text.split("acknowledged ").nth(1).and_then(|t| t.lines().next()?.parse().ok()).expect("told");
    assert!(acknowledged > 100, "{text}");
    let store = state.open().expect("opens again with room");
    let loaded = store.load_run(&run(1)).expect("loads");
    assert!(loaded.last >= Seq(acknowledged));
    drop(store);
    assert!(verify(&state.dir, &state.lock()).expect("verifies").is_whole());
}

#[test]
fn child_fills_the_disk() {
    let Some(state) = state_of_child() else { return };
    let dir = StateDir::create(&state).expect("creates");
    let lock = lock(&dir);
    let journal = SledJournal::start(Store::open(&dir, &lock).expect("opens")).expect("starts");
    block_on(async {
        let mut acknowledged = Seq(0);
        let error = loop {
            match journal.append(batch(&run(1), vec![entry(host(1), "z".repeat(4000))])).await {
                Ok(committed) => acknowledged = committed.last,
                Err(error) => break error,
            }
            assert!(acknowledged < Seq(5000), "there is no limit");
        };
        println!("acknowledged {acknowledged}");
        assert!(matches!(error, JournalError::Io { .. }), "{error:?}");
        let after = journal.append(batch(&run(1), vec![entry(host(1), "small")])).await;
        assert!(matches!(after, Err(JournalError::Poisoned { .. })), "{after:?}");
    });
    assert!(journal.close().is_err());
}
