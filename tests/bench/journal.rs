//! Measures the journal: durable appends (group commit against one `fdatasync` for each event, side by side in one run, because
//! only the ratio says something on a shared machine), and opening a store of a million events.
//!
//! `cargo bench --bench journal [-- EVENTS]`

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxmaint::ids::{HostId, RunId};
use proxmaint::journal::{
    Batch, Entry, Journal, LockAttempt, Purpose, RunLock, SledJournal, StateDir, Store, StreamId,
};
use proxmaint::time::Timestamp;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const PRODUCERS: usize = 64;
const PER_PRODUCER: usize = 400;
const HOSTS: usize = 1000;

fn main() -> Outcome<()> {
    let events = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

    let plain = fsync_each()?;
    let alone = runtime.block_on(grouped(1))?;
    let together = runtime.block_on(grouped(PRODUCERS))?;
    println!("durable events a second");
    println!("  append and fdatasync, one by one   {plain:>9.0}");
    println!("  journal, 1 producer                {alone:>9.0}   {:>5.1} x", alone / plain);
    println!("  journal, {PRODUCERS} producers              {together:>9.0}   {:>5.1} x", together / plain);

    let root = tempfile::tempdir()?;
    let dir = StateDir::create(&root.path().join("state"))?;
    let lock = lock(&dir)?;
    let (old, newest) = (RunId::new("20261121-000000-aaaa"), RunId::new("20261122-000000-bbbb"));
    let filled = Instant::now();
    runtime.block_on(async {
        let journal = SledJournal::start(Store::open(&dir, &lock)?)?;
        fill(&journal, &old, events - events / 10).await?;
        fill(&journal, &newest, events / 10).await?;
        journal.close()?;
        Outcome::Ok(())
    })?;
    println!("{events} events of {HOSTS} hosts written in {:.1} s", filled.elapsed().as_secs_f64());

    // sled folds its log when it is opened, so the first opening after so long a session is the slowest.
    let (first, store) = timed(|| Store::open(&dir, &lock))?;
    drop(store);
    let (open, store) = timed(|| Store::open(&dir, &lock))?;
    println!("first opening {:.3} s", first.as_secs_f64());
    for (what, run) in [("a tenth of them", &newest), ("the others", &old)] {
        let (load, loaded) = timed(|| store.load_run(run))?;
        let tail: usize = loaded.streams.iter().map(|stream| stream.tail.len()).sum();
        println!(
            "open {:.3} s + load the run that has {what} {:.3} s ({} streams, {tail} events after their checkpoints)",
            open.as_secs_f64(),
            load.as_secs_f64(),
            loaded.streams.len()
        );
    }
    Ok(())
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(Duration, T), E> {
    let started = Instant::now();
    work().map(|value| (started.elapsed(), value))
}

fn lock(dir: &StateDir) -> Outcome<RunLock> {
    match RunLock::try_acquire(dir, Purpose::Run, None, NOW)? {
        LockAttempt::Acquired(lock) => Ok(lock),
        LockAttempt::HeldBy(holder) => Err(format!("held by {holder}").into()),
    }
}

fn entry(host: usize, n: usize) -> Entry {
    let body = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(280)).into_bytes();
    Entry { stream: StreamId::Host(HostId::new(format!("pve{host}"))), at: NOW, body, checkpoint: None }
}

fn one(run: &RunId, host: usize, n: usize) -> Batch {
    Batch { run: run.clone(), entries: vec![entry(host, n)], run_meta: None }
}

/// Appends for two seconds, one `fdatasync` each.
fn fsync_each() -> Outcome<f64> {
    let root = tempfile::tempdir()?;
    let mut file = std::fs::File::create(root.path().join("log"))?;
    let (started, mut n) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&entry(1, n).body)?;
        file.sync_data()?;
        n += 1;
    }
    Ok(n as f64 / started.elapsed().as_secs_f64())
}

/// Lets producers append, each waiting for its own acknowledgements.
async fn grouped(producers: usize) -> Outcome<f64> {
    let root = tempfile::tempdir()?;
    let dir = StateDir::create(Path::new(&root.path().join("state")))?;
    let lock = lock(&dir)?;
    let journal = Arc::new(SledJournal::start(Store::open(&dir, &lock)?)?);
    let run = RunId::new("20261122-000000-aaaa");
    let started = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|producer| {
            let (journal, run) = (Arc::clone(&journal), run.clone());
            tokio::spawn(async move {
                for n in 0..PER_PRODUCER {
                    journal.append(one(&run, producer, n)).await?;
                }
                Ok::<_, proxmaint::journal::JournalError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((producers * PER_PRODUCER) as f64 / started.elapsed().as_secs_f64())
}

/// Writes events over all hosts, with a checkpoint for each host every 20 events.
async fn fill(journal: &SledJournal, run: &RunId, events: usize) -> Outcome<()> {
    let mut last = None;
    for n in 0..events {
        let mut batch = one(run, n % HOSTS, n);
        if (n / HOSTS).is_multiple_of(20) {
            batch.entries[0].checkpoint = Some(vec![b'c'; 600]);
        }
        last = Some(journal.submit(batch).await?);
    }
    if let Some(last) = last {
        last.await?;
    }
    Ok(())
}
