//! The archive.

use proxmaint::journal::{JournalError, Seq, archive_finished, recover, verify};

use crate::support::{State, expected, folded, run, story};

#[test]
fn finished_runs_move_to_the_archive_and_stay_readable() {
    let state = State::new();
    let tales: Vec<_> = (1..=4).map(|n| story(&run(n), 3, 10 * n as usize, 4)).collect();
    for tale in &tales {
        state.fill(tale.clone());
    }
    let before = state.events();
    let lock = state.lock();
    let report = archive_finished(&state.dir, &lock, 1, |listed| listed.run != run(2)).expect("archives");
    assert_eq!(report.runs, [run(1), run(3)], "4 is kept, 2 is not finished");
    assert_eq!(report.records, 160);
    drop(lock);

    let check = |state: &State| {
        let store = state.open().expect("opens");
        assert!(matches!(store.load_run(&run(1)), Err(JournalError::Archived(_))));
        assert_eq!(folded(&store, &run(2)).expect("loads"), expected(&tales[1]));
        assert_eq!(folded(&store, &run(4)).expect("loads"), expected(&tales[3]));
        let runs = store.runs().expect("lists");
        assert_eq!(runs.iter().map(|r| r.archived).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(runs.iter().all(|r| r.meta.is_some()));
        drop(store);
        assert_eq!(state.events(), before);
        let report = verify(&state.dir, &state.lock()).expect("verifies");
        assert_eq!(report.findings, Vec::<String>::new());
        assert_eq!((report.records, report.archived), (240, 160));
    };
    check(&state);

    let lock = state.lock();
    assert_eq!(archive_finished(&state.dir, &lock, 0, |l| l.run == run(4)).expect("runs").runs, [], "the newest stays");
    let report = recover(&state.dir, &lock).expect("recovers");
    assert_eq!((report.damage, report.lost, report.kept, report.last), (vec![], vec![], 240, Seq(400)));
    drop(lock);
    check(&state);
}
