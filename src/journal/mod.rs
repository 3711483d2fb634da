//! The journal: makes events durable before anything is acted on, and gives them back whole or not at all.
mod archive;
mod batch;
mod caught;
mod dir;
mod error;
mod export;
mod frame;
mod gaps;
mod heads;
mod history;
mod keys;
mod lock;
pub mod record;
pub mod replay;
mod recover;
mod salvage;
mod segment;
mod sled_store;
mod store;
mod tail;
mod verify;
mod watermark;
mod writer;

pub use archive::{ArchiveReport, archive_finished};
pub use batch::{
    Ack, AckSender, Batch, Checkpoint, Committed, Entry, Journal, LoadedRun, LoadedStream, MAX_BATCH_ENTRIES,
    MAX_VALUE_BYTES, NoStream, RunListing, Seq, StoredEvent, StreamId,
};
pub use dir::StateDir;
pub use error::JournalError;
pub use export::export;
pub use frame::FormatVersion;
pub use history::{EventFilter, Events, events};
pub use lock::{LockAttempt, LockHolder, Purpose, RunLock};
pub use recover::{Lost, RecoverReport, recover};
pub use store::{OpenRead, Store};
pub use verify::{VerifyReport, verify};
pub use writer::SledJournal;
