//! Decay: flipped bits and cut files, one at a time, all over the journal. Each time it opens with everything that was acknowledged,
//! or says that it is damaged and is recovered in full; it never loses anything silently and never panics.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proxmaint::journal::{JournalError, Seq, Store, StreamId, recover, verify};

use crate::support::{State, expected, folded, run, story};

/// What the journal must fold to, by run.
type Truth = [BTreeMap<StreamId, Vec<u8>>; 2];

#[derive(Debug, Clone)]
enum Decay {
    Flip(PathBuf, usize),
    Cut(PathBuf, usize),
}

impl Decay {
    fn strike(&self, root: &Path) {
        let (Self::Flip(file, at) | Self::Cut(file, at)) = self;
        let path = root.join(file);
        let mut bytes = fs::read(&path).expect("reads");
        match self {
            Self::Flip(..) => bytes[*at] ^= 1 << (at % 8),
            Self::Cut(..) => bytes.truncate(*at),
        }
        fs::write(path, bytes).expect("writes");
    }
}

fn journal() -> (State, Truth) {
    let state = State::new();
    let told = [1, 2].map(|n| story(&run(n), 8, 50, 20));
    for batches in &told {
        for part in batches.chunks(10) {
            state.fill(part.to_vec());
        }
    }
    (state, told.map(|batches| expected(&batches)))
}

/// Files below a directory with their sizes, in order.
fn files(root: &Path, below: &str) -> Vec<(PathBuf, usize)> {
    let mut found: Vec<_> = fs::read_dir(root.join(below))
        .expect("lists")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().expect("a type").is_file())
        .map(|entry| (Path::new(below).join(entry.file_name()), entry.metadata().expect("a size").len() as usize))
        .collect();
    found.sort();
    found
}

/// `count` places, evenly spread over all the bytes of some files.
fn spread(files: &[(PathBuf, usize)], count: usize) -> Vec<(PathBuf, usize)> {
    let total: usize = files.iter().map(|(_, size)| size).sum();
    let place = |n: usize| {
        let mut at = (2 * n + 1) * total / (2 * count);
        files.iter().find_map(|(file, size)| {
            if at < *size {
                Some((file.clone(), at))
            } else {
                at -= size;
                None
            }
        })
    };
    (0..count).filter_map(place).collect()
}

fn load(store: &Store) -> Result<Truth, JournalError> {
    Ok([folded(store, &run(1))?, folded(store, &run(2))?])
}

/// Lets one decay happen to a copy; returns whether it was noticed on opening and loading.
fn survive(sound: &State, truth: &Truth, decay: &Decay) -> bool {
    let state = sound.copy();
    decay.strike(&state.path());
    let read = state.open().and_then(|store| load(&store));
    match read {
        Ok(found) => {
            assert!(found == *truth, "{decay:?}: silent loss");
            let in_segments = matches!(decay, Decay::Flip(file, _) if file.starts_with("journal/segments"));
            if in_segments {
                assert!(!verify(&state.dir, &state.lock()).expect("verifies").is_whole(), "{decay:?}: not verified");
            } else {
                return false;
            }
        }
        Err(error) => assert!(error.is_unreadable(), "{decay:?}: {error:?}"),
    }
    let report = recover(&state.dir, &state.lock()).unwrap_or_else(|e| panic!("{decay:?}: {e}"));
    assert_eq!((report.last, report.kept, report.lost), (Seq(2000), 2000, vec![]), "{decay:?}: {:?}", report.damage);
    let store = state.open().unwrap_or_else(|e| panic!("{decay:?} after recovery: {e}"));
    assert!(load(&store).expect("loads") == *truth, "{decay:?}: recovered to something else");
    true
}

/// Tries decays of the files below a directory on copies of one journal; returns how many were noticed.
fn survive_all(below: &str, flips: usize, cuts: usize) -> usize {
    let (sound, truth) = journal();
    let files = files(&sound.path(), below);
    let flips = spread(&files, flips).into_iter().map(|(file, at)| Decay::Flip(file, at));
    let cuts = spread(&files, cuts).into_iter().map(|(file, at)| Decay::Cut(file, at));
    let decays: Vec<_> = flips.chain(cuts).collect();
    let (next, noticed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(decay) = decays.get(next.fetch_add(1, Ordering::Relaxed)) {
                    noticed.fetch_add(usize::from(survive(&sound, &truth, decay)), Ordering::Relaxed);
                }
            });
        }
    });
    let noticed = noticed.into_inner();
    println!("{noticed} of {} were noticed", decays.len());
    noticed
}

#[test]
fn the_store_decays() {
    let noticed = survive_all("journal/db", 100, 50);
    assert!(noticed > 20, "only {noticed} were noticed: the damage did not reach the store");
}

#[test]
fn a_segment_decays() {
    let noticed = survive_all("journal/segments", 50, 25);
    assert!(noticed >= 50, "each flip is found, by opening or by verify");
}

#[test]
fn the_watermark_decays() {
    // One damaged slot leaves the other; what is cut off is noticed.
    let noticed = survive_all("journal", 24, 8);
    assert_eq!(noticed, 8);
}

/// Flips a bit of the record with this number in its segment.
fn strike_record(state: &State, seq: u64) {
    let line = format!("{{\"v\":1,\"seq\":{seq},");
    for (file, _) in files(&state.path(), "journal/segments") {
        let path = state.path().join(&file);
        let text = fs::read_to_string(&path).expect("reads");
        if let Some(at) = text.find(&line) {
            return Decay::Flip(file, at + 60).strike(&state.path());
        }
    }
    panic!("there is no record {seq}");
}

#[test]
fn what_is_lost_on_both_sides_is_reported_and_the_rest_is_kept() {
    let (state, truth) = journal();
    let before = state.events();
    strike_record(&state, 505);
    fs::remove_dir_all(state.dir.db()).expect("removes");

    let report = recover(&state.dir, &state.lock()).expect("recovers");
    assert!(report.damage.iter().any(|d| d.contains("ndjson, line ")), "the bad line is named: {:?}", report.damage);
    // A batch has 20: the one with record 505 is lost as a whole, and with it what follows in its run.
    let lost = |range: std::ops::RangeInclusive<u64>| {
        report.lost.iter().any(|l| l.first.0 <= *range.start() && l.last.0 >= *range.end())
    };
    assert_eq!(report.lost[0].first, Seq(501), "{:?}", report.lost);
    assert_eq!(report.lost.iter().map(|l| l.last).max(), Some(Seq(1000)));
    assert!(report.lost.iter().all(|l| l.run == Some(run(1))) && lost(505..=505), "{:?}", report.lost);
    assert_eq!(report.lost.iter().map(|l| l.last.0 - l.first.0 + 1).sum::<u64>(), 500);
    assert_eq!((report.kept, report.last), (1500, Seq(2000)));

    let store = state.open().expect("opens");
    assert_eq!(store.load_run(&run(1)).expect("loads").last, Seq(500));
    assert!(folded(&store, &run(2)).expect("loads") == truth[1]);
    drop(store);
    let after = state.events();
    assert_eq!(after, before.into_iter().filter(|e| e.seq <= Seq(500) || e.seq > Seq(1000)).collect::<Vec<_>>());

    // The loss is on record, so it is no new damage; and the journal goes on, in either run.
    assert_eq!(verify(&state.dir, &state.lock()).expect("verifies").findings, Vec::<String>::new());
    state.fill(story(&run(1), 8, 2, 3));
    state.fill(story(&run(2), 8, 2, 3));
    assert_eq!(verify(&state.dir, &state.lock()).expect("verifies").findings, Vec::<String>::new());
    let again = recover(&state.dir, &state.lock()).expect("recovers");
    assert_eq!((again.damage, again.lost, again.kept), (vec![], vec![], 1512));
}

#[test]
fn an_end_that_is_lost_on_both_sides_is_reported_and_its_numbers_are_given_again() {
    let (state, _) = journal();
    strike_record(&state, 1990);
    fs::remove_dir_all(state.dir.db()).expect("removes");
    let report = recover(&state.dir, &state.lock()).expect("recovers");
    let lost: Vec<_> = report.lost.iter().map(|l| (l.first.0, l.last.0, l.run.clone())).collect();
    assert_eq!((report.last, lost), (Seq(1980), vec![(1981, 2000, Some(run(2)))]));
    state.fill(story(&run(2), 8, 1, 5));
    assert_eq!(state.events().last().expect("some").seq, Seq(1985));
    assert_eq!(verify(&state.dir, &state.lock()).expect("verifies").findings, Vec::<String>::new());
}

#[test]
fn a_missing_segment_comes_back_from_the_store() {
    let (sound, truth) = journal();
    let count = files(&sound.path(), "journal/segments").len();
    assert!(count > 4);
    for missing in [vec![0], vec![1, 2], vec![count - 1], (0..count).collect()] {
        let state = sound.copy();
        let files = files(&state.path(), "journal/segments");
        for at in &missing {
            fs::remove_file(state.path().join(&files[*at].0)).expect("removes");
        }
        assert!(!verify(&state.dir, &state.lock()).expect("verifies").is_whole(), "{missing:?}");
        let report = recover(&state.dir, &state.lock()).expect("recovers");
        assert_eq!((report.kept, report.lost), (2000, vec![]), "{missing:?}");
        assert!(report.from_store > 0);
        assert!(load(&state.open().expect("opens")).expect("loads") == truth, "{missing:?}");
        assert_eq!(verify(&state.dir, &state.lock()).expect("verifies").findings, Vec::<String>::new(), "{missing:?}");
    }
}

/// Removes keys from the store behind the journal's back, as a page of sled does that fell back to an older state.
fn remove_keys(state: &State, choose: impl FnOnce(Vec<Vec<u8>>) -> Vec<Vec<u8>>) {
    let store = sled::open(state.dir.db()).expect("opens");
    let keys = store.iter().keys().map(|key| key.expect("reads").to_vec()).collect();
    let chosen = choose(keys);
    assert!(!chosen.is_empty());
    for key in chosen {
        store.remove(key).expect("removes");
    }
    store.flush().expect("flushes");
}

#[test]
fn a_store_that_forgot_records_and_looks_sound_is_found_out() {
    let (sound, truth) = journal();
    let events = format!("e\0{}\0host:pve3\0", run(1)).into_bytes();
    let of_stream = |keys: Vec<Vec<u8>>| keys.into_iter().filter(|key| key.starts_with(&events)).collect::<Vec<_>>();
    type Choice = fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>;
    let cases: [(&str, Choice); 3] = [
        ("has not all of run", |mut keys| keys.split_off(keys.len() - 1)),
        ("has not all of run", |keys| keys),
        ("follows", |mut keys| vec![keys.remove(keys.len() - 2)]),
    ];
    for (says, choose) in cases {
        let state = sound.copy();
        // Without its checkpoint the whole stream is read.
        let checkpoint = format!("c\0{}\0host:pve3\0", run(1)).into_bytes();
        remove_keys(&state, |keys| keys.into_iter().filter(|key| key.starts_with(&checkpoint)).collect());
        let store = state.open().expect("its end is as it was");
        assert!(load(&store).expect("loads") == truth, "a checkpoint is only a shortcut");
        drop(store);
        remove_keys(&state, |keys| choose(of_stream(keys)));
        let store = state.open().expect("its end is as it was");
        let error = store.load_run(&run(1)).expect_err("is not whole");
        assert!(error.is_unreadable() && error.to_string().contains(says), "{error}");
        assert!(folded(&store, &run(2)).expect("is whole") == truth[1]);
        drop(store);
        assert!(!verify(&state.dir, &state.lock()).expect("verifies").is_whole());
        assert_eq!(recover(&state.dir, &state.lock()).expect("recovers").lost, vec![]);
        assert!(load(&state.open().expect("opens")).expect("loads") == truth);
    }
}
