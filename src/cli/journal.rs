//! `proxmaint journal recover|verify|export`: looking after the journal itself.
//!
//! Each command takes the state directory and a writer for what it prints (stdout's data), and returns how it went.

use std::io::Write;
use std::path::Path;

use crate::ids::RunId;
use crate::journal::{
    self, EventFilter, JournalError, LockAttempt, Lost, Purpose, RecoverReport, RunLock, Seq, StateDir, VerifyReport,
};
use crate::time::Timestamp;

/// How a command on the journal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// All is well: exit code 0.
    Whole,
    /// Something is damaged, or was lost for good: exit code 7.
    Damaged,
}

/// Rebuilds the journal from its segments and prints what was found and done.
///
/// # Errors
/// [`JournalError::Held`] while a run has the journal, [`JournalError::Newer`], I/O errors.
pub fn recover(state: &Path, now: Timestamp, out: &mut dyn Write) -> Result<Verdict, JournalError> {
    let dir = StateDir::create(state)?;
    let report = journal::recover(&dir, &lock(&dir, Purpose::Maintain, now)?)?;
    print_recovery(&report, out).map_err(printing)?;
    Ok(if report.lost.is_empty() { Verdict::Whole } else { Verdict::Damaged })
}

/// Compares segments, store, watermark and archive, changes nothing and prints every discrepancy.
///
/// # Errors
/// [`JournalError::Held`] while a run has the journal, I/O errors.
pub fn verify(state: &Path, now: Timestamp, out: &mut dyn Write) -> Result<Verdict, JournalError> {
    let Some(dir) = StateDir::open(state)? else {
        writeln!(out, "there is no journal in {}", state.display()).map_err(printing)?;
        return Ok(Verdict::Whole);
    };
    let report = journal::verify(&dir, &lock(&dir, Purpose::Maintain, now)?)?;
    print_verification(&report, out).map_err(printing)?;
    Ok(if report.is_whole() { Verdict::Whole } else { Verdict::Damaged })
}

/// Prints the acknowledged records of one run, or of all, as NDJSON; works beside a live run. Returns how many.
///
/// # Errors
/// [`JournalError::NoSuchRun`], [`JournalError::Rot`] at the first damaged record (those before it are printed), I/O errors.
pub fn export(state: &Path, run: Option<RunId>, out: &mut dyn Write) -> Result<u64, JournalError> {
    match (StateDir::open(state)?, run) {
        (Some(dir), run) => journal::export(&dir, EventFilter { run, ..EventFilter::default() }, out),
        (None, Some(run)) => Err(JournalError::NoSuchRun(run)),
        (None, None) => Ok(0),
    }
}

fn lock(dir: &StateDir, purpose: Purpose, now: Timestamp) -> Result<RunLock, JournalError> {
    match RunLock::try_acquire(dir, purpose, None, now)? {
        LockAttempt::Acquired(lock) => Ok(lock),
        LockAttempt::HeldBy(holder) => Err(JournalError::Held(holder)),
    }
}

fn printing(e: std::io::Error) -> JournalError {
    JournalError::Io { what: "could not print the report".to_owned(), source: e.into() }
}

fn print_recovery(report: &RecoverReport, out: &mut dyn Write) -> std::io::Result<()> {
    for damage in &report.damage {
        writeln!(out, "damaged: {damage}")?;
    }
    for aside in &report.set_aside {
        writeln!(out, "set aside: {}", aside.display())?;
    }
    if report.from_store > 0 {
        writeln!(out, "brought back from the old store: {}", records(report.from_store))?;
    }
    for Lost { first, last, run } in &report.lost {
        write!(out, "lost: records {first} to {last}")?;
        match run {
            Some(run) => writeln!(out, " of run {run}: look at its hosts by hand before the next run")?,
            None => writeln!(out, ": look at the hosts by hand before the next run")?,
        }
    }
    match report.last {
        Seq(0) => writeln!(out, "the journal is empty"),
        last => writeln!(out, "the journal has {}, up to number {last}", records(report.kept)),
    }
}

fn print_verification(report: &VerifyReport, out: &mut dyn Write) -> std::io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "damaged: {finding}")?;
    }
    if report.more > 0 {
        writeln!(out, "damaged: {} more of this kind", report.more)?;
    }
    for note in &report.notes {
        writeln!(out, "never acknowledged, will be cut off: {note}")?;
    }
    let (records, acknowledged) = (records(report.records), report.acknowledged);
    write!(out, "{records} in segments, {} archived, acknowledged up to {acknowledged}: ", report.archived)?;
    if report.is_whole() { writeln!(out, "the journal is whole") } else { writeln!(out, "the journal is damaged") }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}
