//! The journal: makes events durable before anything is acted on, and gives them back whole or not at all.
mod batch;
mod caught;
mod dir;
mod error;
mod frame;
mod heads;
mod keys;
mod lock;
pub mod record;
pub mod replay;
mod segment;
mod sled_store;
mod store;
mod tail;
mod watermark;
mod writer;

pub use batch::{
    Ack, AckSender, Batch, Checkpoint, Committed, Entry, Journal, LoadedRun, LoadedStream, MAX_BATCH_ENTRIES,
    MAX_VALUE_BYTES, NoStream, RunListing, Seq, StoredEvent, StreamId,
};
pub use dir::StateDir;
pub use error::JournalError;
pub use frame::FormatVersion;
pub use lock::{LockAttempt, LockHolder, Purpose, RunLock};
pub use store::{OpenRead, Store};
pub use writer::SledJournal;
