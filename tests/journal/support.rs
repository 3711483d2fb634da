//! What the tests of the journal share: a state directory, batches, and a model to compare with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proxmaint::ids::{HostId, RunId};
use proxmaint::journal::{
    Batch, Entry, EventFilter, Journal, JournalError, LockAttempt, Purpose, RunLock, SledJournal, StateDir, Store,
    StoredEvent, StreamId, events,
};
use proxmaint::time::Timestamp;

pub const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// A state directory of its own, removed at the end.
pub struct State {
    pub dir: StateDir,
    root: tempfile::TempDir,
}

impl State {
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        Self { dir: StateDir::create(&root.path().join("state")).expect("a state directory"), root }
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// A copy of it, as if the disk had been read out.
    pub fn copy(&self) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        copy_tree(&self.path(), &root.path().join("state"));
        Self { dir: StateDir::create(&root.path().join("state")).expect("a state directory"), root }
    }

    pub fn lock(&self) -> RunLock {
        lock(&self.dir)
    }

    pub fn open(&self) -> Result<Store, JournalError> {
        Store::open(&self.dir, &self.lock())
    }

    pub fn journal(&self) -> SledJournal {
        SledJournal::start(self.open().expect("opens")).expect("starts")
    }

    /// Appends batches one after the other, and closes.
    pub fn fill(&self, batches: impl IntoIterator<Item = Batch>) {
        fill(&self.dir, batches);
    }

    pub fn events(&self) -> Vec<StoredEvent> {
        let read: Result<_, _> = events(&self.dir, EventFilter::default()).expect("opens").collect();
        read.expect("reads")
    }
}

pub fn lock(dir: &StateDir) -> RunLock {
    match RunLock::try_acquire(dir, Purpose::Run, None, NOW).expect("the lock") {
        LockAttempt::Acquired(lock) => lock,
        LockAttempt::HeldBy(holder) => panic!("held by {holder}"),
    }
}

/// Appends batches one after the other, in small segments, and closes.
pub fn fill(dir: &StateDir, batches: impl IntoIterator<Item = Batch>) {
    let lock = lock(dir);
    let mut store = Store::open(dir, &lock).expect("opens");
    store.set_segment_bytes(64 << 10);
    let journal = SledJournal::start(store).expect("starts");
    block_on(async {
        let mut acks = Vec::new();
        for batch in batches {
            acks.push(journal.submit(batch).await.expect("is taken"));
        }
        for ack in acks {
            ack.await.expect("is durable");
        }
    });
    journal.close().expect("closes");
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

pub fn run(n: u32) -> RunId {
    RunId::new(format!("20261122-00000{n}-test"))
}

pub fn host(n: usize) -> StreamId {
    StreamId::Host(HostId::new(format!("pve{n}")))
}

pub fn entry(stream: StreamId, text: impl std::fmt::Display) -> Entry {
    let body = serde_json::json!({ "says": text.to_string() }).to_string().into_bytes();
    Entry { stream, at: NOW, body, checkpoint: None }
}

pub fn batch(run: &RunId, entries: Vec<Entry>) -> Batch {
    Batch { run: run.clone(), entries, run_meta: None }
}

/// Batches of a run over some hosts, with a checkpoint now and then that spells out what was folded.
pub fn story(run: &RunId, hosts: usize, batches: usize, each: usize) -> Vec<Batch> {
    let mut folded: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
    let mut made = Vec::new();
    for b in 0..batches {
        let mut entries = Vec::new();
        for e in 0..each {
            let stream = if b == 0 && e == 0 { StreamId::Run } else { host((b + e) % hosts) };
            let mut entry = entry(stream.clone(), format!("{b}.{e} {}", "x".repeat((b * 37 + e * 11) % 300)));
            let state = folded.entry(stream).or_default();
            fold(state, &entry.body);
            entry.checkpoint = ((b * each + e) % 7 == 3).then(|| state.clone());
            entries.push(entry);
        }
        let run_meta = (b % 5 == 0).then(|| format!("{{\"batch\":{b}}}").into_bytes());
        made.push(Batch { run: run.clone(), entries, run_meta });
    }
    made
}

/// The fold of the tests: a digest of all bodies in order.
pub fn fold(state: &mut Vec<u8>, body: &[u8]) {
    let mut all = std::mem::take(state);
    all.extend_from_slice(body);
    *state = [crc32(&all); 40].concat();
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    // FNV-1a: the tests need some digest that depends on order.
    bytes.iter().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)).to_be_bytes()
}

/// The folded state of each stream, from checkpoints and tails as they are loaded.
pub fn folded(store: &Store, run: &RunId) -> Result<BTreeMap<StreamId, Vec<u8>>, JournalError> {
    let mut states = BTreeMap::new();
    for stream in store.load_run(run)?.streams {
        let mut state = stream.checkpoint.map(|checkpoint| checkpoint.bytes).unwrap_or_default();
        stream.tail.iter().for_each(|event| fold(&mut state, &event.body));
        states.insert(stream.stream, state);
    }
    Ok(states)
}

/// The folded state of each stream, from all of its events.
pub fn replayed<'a>(events: impl Iterator<Item = (&'a StreamId, &'a [u8])>) -> BTreeMap<StreamId, Vec<u8>> {
    let mut states: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
    events.for_each(|(stream, body)| fold(states.entry(stream.clone()).or_default(), body));
    states
}

/// What the batches of a story fold to.
pub fn expected(batches: &[Batch]) -> BTreeMap<StreamId, Vec<u8>> {
    replayed(batches.iter().flat_map(|b| &b.entries).map(|e| (&e.stream, &e.body[..])))
}
