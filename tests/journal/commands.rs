//! `journal recover|verify|export` as functions: what they print and how they end.

use proxmaint::cli::journal::{Verdict, export, recover, verify};
use proxmaint::journal::JournalError;

use crate::support::{NOW, State, batch, entry, host, run};

#[test]
fn the_commands_say_what_they_found_and_did() {
    let state = State::new();
    state.fill([batch(&run(1), vec![entry(host(1), "a"), entry(host(2), "b")])]);
    let path = state.path();
    let told = |out: Vec<u8>| String::from_utf8(out).expect("text");

    let mut out = Vec::new();
    assert_eq!(verify(&path, NOW, &mut out).expect("verifies"), Verdict::Whole);
    assert_eq!(told(out), "2 records in segments, 0 archived, acknowledged up to 2: the journal is whole\n");

    std::fs::remove_file(state.dir.watermark()).expect("removes");
    let mut out = Vec::new();
    assert_eq!(verify(&path, NOW, &mut out).expect("verifies"), Verdict::Damaged);
    let watermark = state.dir.watermark();
    let text = told(out);
    assert!(text.starts_with(&format!("damaged: {} is missing\n", watermark.display())), "{text}");
    assert!(text.ends_with("the journal is damaged\n"), "{text}");

    let mut out = Vec::new();
    assert_eq!(recover(&path, NOW, &mut out).expect("recovers"), Verdict::Whole);
    let aside = state.dir.journal().join("db.broken-1");
    let (watermark, aside) = (watermark.display(), aside.display());
    let expected =
        format!("damaged: {watermark} is missing\nset aside: {aside}\nthe journal has 2 records, up to number 2\n");
    assert_eq!(told(out), expected);

    let mut out = Vec::new();
    assert_eq!(export(&path, Some(run(1)), &mut out).expect("exports"), 2);
    assert_eq!(told(out).lines().count(), 2);
    assert!(matches!(export(&path, Some(run(2)), &mut Vec::new()), Err(JournalError::NoSuchRun(_))));

    let _lock = state.lock();
    assert!(verify(&path, NOW, &mut Vec::new()).is_err_and(|e| e.is_held()));
    assert_eq!(export(&path, None, &mut Vec::new()).expect("needs no lock"), 2);
}

#[test]
fn without_a_journal_there_is_nothing_to_say() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("none");
    let mut out = Vec::new();
    assert_eq!(verify(&path, NOW, &mut out).expect("looks"), Verdict::Whole);
    assert_eq!(String::from_utf8(out).expect("text"), format!("there is no journal in {}\n", path.display()));
    assert_eq!(export(&path, None, &mut Vec::new()).expect("looks"), 0);
    assert!(!path.exists(), "looking creates nothing");
}
