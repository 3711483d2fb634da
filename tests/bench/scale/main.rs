//! Measures the promises of scale, each beside what was promised: a fleet of 1,000 hosts with 20 guests each, a journal of a
//! million events written by the real engine through the real journal, and the program itself on top of it.
//!
//! `cargo bench --bench scale [-- EVENTS [DIR]]`: the journal is written into DIR and left there, and used if it is there already.
//!
//! Times are those of this machine, whatever else it does meanwhile; the cost of a transition is a ratio within one process.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod program;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use program::Program;
use proxmaint::adapters::clock::SystemClock;
use proxmaint::engine::driver::{Engine, Session};
use proxmaint::engine::limits::Limits;
use proxmaint::engine::observer::{Observer, Seen};
use proxmaint::engine::port::Clock;
use proxmaint::ids::RunId;
use proxmaint::journal::record::{RunMeta, RunRecord, encode_meta, encode_run};
use proxmaint::journal::replay::replay;
use proxmaint::journal::{
    Ack, Batch, Committed, Entry, Journal, JournalError, LockAttempt, OpenRead, Purpose, RunLock, Seq, SledJournal,
    StateDir, Store, StreamId,
};
use proxmaint::machine::run::RunState;
use tokio::sync::{Notify, mpsc};
use world::{World, policy};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The fleet that is promised.
const HOSTS: usize = 1000;
/// Guests of each of its hosts.
const GUESTS: u32 = 20;
/// Records that a run over the whole fleet leaves: a host's own 9, and 7 of each guest.
const RECORDS_OF_A_RUN: u64 = HOSTS as u64 * (9 + 7 * GUESTS as u64);

fn main() -> Outcome<()> {
    // `cargo bench` adds options of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let events = args.first().map_or(Ok(1_000_000), |arg| arg.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{HOSTS} hosts with {GUESTS} guests each\n");
    transitions()?;

    let temporary = tempfile::tempdir()?;
    let root = args.get(1).map_or(temporary.path(), Path::new);
    let program = Program::prepare(root, HOSTS)?;
    program.help()?;
    if !program.state.exists() {
        runtime.block_on(fill(&program, events))?;
    }
    program.offline("first, after a killed session")?;
    parts(&program)?;
    program.offline("again")?;
    program.resume()?;
    Ok(())
}

/// Prints a measured time beside what is promised.
fn report(what: &str, took: Duration, promised: Option<Duration>) {
    let took = took.as_secs_f64() * 1e3;
    let verdict = promised.map_or_else(String::new, |promised| {
        let promised = promised.as_secs_f64() * 1e3;
        format!("  promised {promised:>6.0} ms{}", if took > promised { "  MISSED" } else { "" })
    });
    println!("{what:<58} {took:>9.1} ms{verdict}");
}

/// Compares what a transition costs in a small fleet and in a large one, without a disk.
fn transitions() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cost = |hosts: usize, times: usize| -> Outcome<f64> {
        let journal = Arc::new(Memory::default());
        let mut spent = Duration::ZERO;
        for _ in 0..times {
            let engine = engine(GUESTS, journal.clone(), Vec::new());
            let run = RunState::open(RunId::new("20261122-000000-aaaa"), &policy(hosts, 10), SystemClock.now());
            let started = Instant::now();
            runtime.block_on(engine.run(run, Session::First, mpsc::channel(1).1))?;
            spent += started.elapsed();
        }
        Ok(spent.as_secs_f64() * 1e6 / journal.batches.load(Ordering::Relaxed) as f64)
    };
    // The least of several, in turns: what else the machine does meanwhile then hits both alike.
    let (mut small, mut large) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..5 {
        small = small.min(cost(10, 20)?);
        large = large.min(cost(HOSTS, 1)?);
    }
    println!("a transition, 10 hosts at work at a time, without a disk");
    println!("  fleet of   10 hosts  {small:>8.1} us");
    println!(
        "  fleet of {HOSTS} hosts  {large:>8.1} us   {:.2} x  promised: does not grow with the fleet\n",
        large / small
    );
    Ok(())
}

fn engine(guests: u32, journal: Arc<dyn Journal>, observers: Vec<Arc<dyn Observer>>) -> Engine {
    let hosts = Arc::new(World::new(guests));
    Engine {
        hosts,
        journal,
        clock: Arc::new(SystemClock),
        observers,
        limits: Limits::default(),
        old: Arc::default(),
        output: Arc::new(proxmaint::engine::port::NoOutput),
        own_boot: None,
        who: "bench".to_owned(),
    }
}

/// A journal that only counts.
#[derive(Default)]
struct Memory {
    batches: AtomicU64,
}

#[async_trait]
impl Journal for Memory {
    async fn submit(&self, batch: Batch) -> Result<Ack, JournalError> {
        let seq = Seq(self.batches.fetch_add(1, Ordering::Relaxed) + 1);
        drop(batch);
        let (sender, ack) = Ack::channel();
        sender.send(Ok(Committed { first: seq, last: seq }));
        Ok(ack)
    }
}

/// Rings when the journal has so many records.
struct Alarm {
    at: u64,
    bell: Notify,
}

impl Observer for Alarm {
    fn seen(&self, seen: &Seen<'_>) {
        if matches!(seen, Seen::Host { seq, .. } if *seq >= self.at) {
            self.bell.notify_one();
        }
    }
}

/// Writes the journal: whole runs first, and one that is cut off when the journal has `events` records.
async fn fill(program: &Program, events: u64) -> Outcome<()> {
    let dir = StateDir::create(&program.state)?;
    let lock = match RunLock::try_acquire(&dir, Purpose::Run, None, SystemClock.now())? {
        LockAttempt::Acquired(lock) => lock,
        LockAttempt::HeldBy(holder) => return Err(format!("held by {holder}").into()),
    };
    let journal = Arc::new(SledJournal::start(Store::open(&dir, &lock)?)?);
    let older = events.saturating_sub(RECORDS_OF_A_RUN / 2) / RECORDS_OF_A_RUN;
    let started = Instant::now();
    for n in 0..older {
        let run =
            open(&journal, &RunId::new(format!("202611{:02}-030000-aaaa", n + 1)), 200, &program.manifest).await?;
        engine(GUESTS, journal.clone(), Vec::new()).run(run, Session::First, mpsc::channel(1).1).await?;
    }
    let alarm = Arc::new(Alarm { at: events, bell: Notify::new() });
    let run = open(&journal, &RunId::new("20261122-030000-bbbb"), 50, &program.manifest).await?;
    let engine = engine(GUESTS, journal.clone(), vec![alarm.clone()]);
    tokio::select! {
        ended = engine.run(run, Session::First, mpsc::channel(1).1) => drop(ended?),
        () = alarm.bell.notified() => {}
    }
    drop(engine);
    let store = Arc::into_inner(journal).ok_or("the journal is still in use")?.close()?;
    let spent = started.elapsed().as_secs_f64();
    let last = store.last().0;
    drop(store);
    let megabytes = |path: &Path| -> Outcome<u64> {
        let mut sum = 0;
        for entry in std::fs::read_dir(path)? {
            sum += entry?.metadata()?.len();
        }
        Ok(sum >> 20)
    };
    println!(
        "{last} events of {} runs written in {spent:.0} s ({:.0} a second): store {} MB, segments {} MB\n",
        older + 1,
        last as f64 / spent,
        megabytes(&dir.db())?,
        megabytes(&dir.segments())?
    );
    Ok(())
}

/// Says what reading the unfinished run back is made of.
fn parts(program: &Program) -> Outcome<()> {
    let dir = StateDir::open(&program.state)?.ok_or("there is no journal")?;
    let started = Instant::now();
    let OpenRead::Open(store) = Store::open_read(&dir, SystemClock.now())? else { return Err("it is not open".into()) };
    report("  of this: opening the journal", started.elapsed(), None);
    let run = store.runs()?.pop().ok_or("there is no run")?.run;
    let started = Instant::now();
    let loaded = store.load_run(&run)?;
    report("  of this: loading the run", started.elapsed(), None);
    let started = Instant::now();
    let history = replay(&loaded)?;
    report("  of this: folding the run", started.elapsed(), None);
    let checkpoints = loaded.streams.iter().filter_map(|stream| Some(stream.checkpoint.as_ref()?.bytes.len()));
    let tail: usize = loaded.streams.iter().map(|stream| stream.tail.len()).sum();
    println!(
        "  {} hosts, {} kB of checkpoints, {tail} events after them\n",
        history.hosts.len(),
        checkpoints.sum::<usize>() >> 10
    );
    Ok(())
}

/// Opens a run as the program does.
async fn open(journal: &SledJournal, id: &RunId, parallel_hosts: u32, manifest: &Path) -> Outcome<RunState> {
    let (at, policy) = (SystemClock.now(), policy(HOSTS, parallel_hosts));
    let opened = RunRecord::Opened { policy: policy.clone(), manifest: Some(manifest.display().to_string()) };
    let meta = RunMeta { opened_at: at, touched_at: at, hosts: HOSTS, open: true, result: None, tally: None };
    let entry = Entry { stream: StreamId::Run, at, body: encode_run(&opened), checkpoint: None };
    journal.append(Batch { run: id.clone(), entries: vec![entry], run_meta: Some(encode_meta(&meta)) }).await?;
    Ok(RunState::open(id.clone(), &policy, at))
}
