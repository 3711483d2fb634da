//! Batches: order, atomicity, reading back.

use std::sync::Arc;

use proxmaint::journal::{Entry, EventFilter, Journal, JournalError, OpenRead, Seq, Store, StreamId, events, export};

use crate::support::{NOW, State, batch, block_on, entry, expected, folded, host, replayed, run, story};

#[test]
fn a_checkpoint_and_its_tail_give_what_a_full_replay_gives() {
    let state = State::new();
    let told = story(&run(1), 5, 40, 7);
    state.fill(told.clone());
    let store = state.open().expect("opens");
    let loaded = store.load_run(&run(1)).expect("loads");
    assert_eq!(loaded.streams.len(), 6);
    assert!(loaded.streams.iter().all(|s| s.checkpoint.is_some() || s.stream == StreamId::Run));
    assert!(loaded.streams.iter().map(|s| s.tail.len()).sum::<usize>() < 100, "most is folded already");
    let full = state.events();
    assert_eq!(full.len(), 280);
    assert_eq!(folded(&store, &run(1)).expect("loads"), expected(&told));
    assert_eq!(replayed(full.iter().map(|e| (&e.stream, &e.body[..]))), expected(&told));
}

#[test]
fn numbers_are_dense_and_in_order_of_submission() {
    let state = State::new();
    let journal = state.journal();
    block_on(async {
        let mut acks = Vec::new();
        for n in 0..50 {
            let entries = (0..n % 3 + 1).map(|e| entry(host(n), e)).collect();
            acks.push((n % 3 + 1, journal.submit(batch(&run(1), entries)).await.expect("is taken")));
        }
        let mut next = 1;
        for (len, ack) in acks {
            let committed = ack.await.expect("is durable");
            assert_eq!((committed.first, committed.last), (Seq(next), Seq(next + len as u64 - 1)));
            next += len as u64;
        }
    });
    let store = journal.close().expect("closes");
    assert_eq!(store.last(), Seq(99));
    drop(store);
    let seqs: Vec<u64> = state.events().iter().map(|e| e.seq.0).collect();
    assert_eq!(seqs, (1..=99).collect::<Vec<_>>());
}

#[test]
fn concurrent_producers_lose_and_mix_up_nothing() {
    let state = State::new();
    let journal = Arc::new(state.journal());
    block_on(async {
        let producers: Vec<_> = (0..64)
            .map(|producer| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    let mut last = Seq(0);
                    for n in 0..20 {
                        let two = vec![entry(host(producer), n * 2), entry(host(producer), n * 2 + 1)];
                        let committed = journal.append(batch(&run(1), two)).await.expect("is durable");
                        assert!(committed.first > last && committed.last == committed.first.next());
                        last = committed.last;
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.await.expect("ends");
        }
    });
    Arc::into_inner(journal).expect("the last handle").close().expect("closes");
    let store = state.open().expect("opens");
    let loaded = store.load_run(&run(1)).expect("loads");
    assert_eq!(loaded.streams.len(), 64);
    for stream in loaded.streams {
        let bodies: Vec<_> = stream.tail.iter().map(|e| e.body.clone()).collect();
        assert_eq!(bodies, (0..40).map(|n| entry(host(0), n).body).collect::<Vec<_>>());
    }
}

#[test]
fn runs_are_listed_with_what_was_last_told_of_them() {
    let state = State::new();
    let mut first = batch(&run(1), vec![entry(StreamId::Run, "a")]);
    first.run_meta = Some(b"{\n\"state\":\r\"going\"}".to_vec());
    let silent = batch(&run(1), vec![entry(host(1), "b"), entry(host(1), "c")]);
    let mut second = batch(&run(2), vec![entry(StreamId::Run, "d")]);
    second.run_meta = Some(b"2".to_vec());
    // Back and forth, all waiting at once: each run keeps its own.
    let again = batch(&run(1), vec![entry(host(1), "e")]);
    state.fill([first, silent, second, again.clone()]);
    let runs = state.open().expect("opens").runs().expect("lists");
    let told: Vec<_> = runs.iter().map(|r| (r.run.clone(), r.last, r.meta.clone().expect("told"))).collect();
    assert_eq!(told, [(run(1), Seq(5), b"{ \"state\": \"going\"}".to_vec()), (run(2), Seq(4), b"2".to_vec())]);

    state.fill([again]);
    assert_eq!(state.open().expect("opens").load_run(&run(1)).expect("loads").last, Seq(6));
}

#[test]
fn what_can_not_be_read_back_is_refused_and_harms_nothing() {
    let state = State::new();
    let journal = state.journal();
    let bad_body = Entry { body: b"{} {}".to_vec(), ..entry(host(1), "") };
    let batches = [
        batch(&run(1), vec![]),
        batch(&run(1), vec![bad_body]),
        batch(&proxmaint::ids::RunId::new("../x"), vec![entry(host(1), "")]),
        batch(&run(1), vec![entry(StreamId::Host(proxmaint::ids::HostId::new("a\0b")), "")]),
    ];
    block_on(async {
        for batch in batches {
            assert!(matches!(journal.submit(batch).await, Err(JournalError::Invalid { .. })));
        }
        let committed = journal.append(batch(&run(1), vec![entry(host(1), "good")])).await.expect("is durable");
        assert_eq!(committed.last, Seq(1));
    });
}

#[test]
fn large_values_come_back() {
    let state = State::new();
    let text = "y".repeat(3 << 20);
    let mut large = entry(host(1), &text);
    large.checkpoint = Some(vec![7; 1 << 20]);
    let after = entry(host(1), &text);
    state.fill([batch(&run(1), vec![large]), batch(&run(1), vec![after.clone()])]);
    let loaded = state.open().expect("opens").load_run(&run(1)).expect("loads");
    let stream = &loaded.streams[0];
    assert_eq!(stream.checkpoint.as_ref().expect("one").bytes, vec![7; 1 << 20]);
    assert_eq!(stream.tail.iter().map(|e| &e.body).collect::<Vec<_>>(), [&after.body]);
    assert_eq!(
        std::fs::read_dir(state.dir.db().join("blobs")).expect("lists").count(),
        0,
        "sled made files it never syncs"
    );
}

#[test]
fn a_shorter_checkpoint_replaces_a_longer_one() {
    let state = State::new();
    let with = |bytes: Vec<u8>| {
        let entry = Entry { checkpoint: Some(bytes), ..entry(host(1), "") };
        batch(&run(1), vec![entry])
    };
    state.fill([with(vec![1; 100_000]), with(vec![2; 10]), with(Vec::new())]);
    let loaded = state.open().expect("opens").load_run(&run(1)).expect("loads");
    let checkpoint = loaded.streams[0].checkpoint.clone().expect("one");
    assert_eq!((checkpoint.seq, checkpoint.bytes), (Seq(3), Vec::new()));
}

#[test]
fn events_are_read_beside_a_live_journal() {
    let state = State::new();
    let journal = state.journal();
    block_on(async {
        for n in 0..10 {
            let _ = journal.append(batch(&run(1), vec![entry(host(n % 2), n), entry(StreamId::Run, n)])).await;
        }
    });
    let filter = EventFilter { run: Some(run(1)), stream: Some(host(1)), after: Seq(4) };
    let seqs: Vec<u64> = events(&state.dir, filter).expect("opens").map(|e| e.expect("reads").seq.0).collect();
    assert_eq!(seqs, [7, 11, 15, 19]);

    let mut out = Vec::new();
    let filter = EventFilter { run: Some(run(1)), ..EventFilter::default() };
    assert_eq!(export(&state.dir, filter, &mut out).expect("exports"), 20);
    let lines: Vec<serde_json::Value> = out
        .split(|c| *c == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 20);
    assert_eq!((lines[6]["stream"].as_str(), &lines[6]["body"]["says"]), (Some("host:pve1"), &"3".into()));
    let filter = EventFilter { run: Some(run(9)), ..EventFilter::default() };
    assert!(matches!(export(&state.dir, filter, &mut out), Err(JournalError::NoSuchRun(_))));
    drop(journal);
}

#[test]
fn reading_waits_for_no_run_and_finds_nothing_where_there_is_nothing() {
    let state = State::new();
    assert!(matches!(Store::open_read(&state.dir, NOW).expect("looks"), OpenRead::Nothing));
    state.fill([batch(&run(1), vec![entry(host(1), "x")])]);
    match Store::open_read(&state.dir, NOW).expect("looks") {
        OpenRead::Open(store) => assert_eq!(store.runs().expect("lists").len(), 1),
        other => panic!("{other:?}"),
    }
    let mut lock = state.lock();
    lock.name_run(run(1)).expect("names");
    match Store::open_read(&state.dir, NOW).expect("looks") {
        OpenRead::HeldBy(holder) => assert_eq!((holder.pid, holder.run), (std::process::id(), Some(run(1)))),
        other => panic!("{other:?}"),
    }
}
