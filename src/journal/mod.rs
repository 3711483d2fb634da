//! The journal: makes events durable before anything is acted on, and gives them back whole or not at all.
//!
//! # Three places
//!
//! | place | holds | is for |
//! |---|---|---|
//! | segments | every record, a line of JSON each, chained (`segment.rs`) | surviving the store; reading, exporting |
//! | store (sled) | the same lines by stream, checkpoints, the list of runs (`sled_store.rs`) | loading a run without reading all of it |
//! | watermark | number, hash and place of the last acknowledged record (`watermark.rs`) | noticing that one of the others lost its end |
//!
//! sled alone is not enough: after a flipped bit or a truncation it often panics, and sometimes opens with records missing.
//!
//! # Writing
//!
//! One thread writes (`writer.rs`). It takes all batches that wait and then, for the whole group:
//!
//! 1. numbers them and appends their lines to the segment, `fdatasync`;
//! 2. applies one atomic batch to sled, `flush`, `fdatasync` of sled's file;
//! 3. writes the watermark (into the page cache: not synced each time);
//! 4. acknowledges.
//!
//! So at any moment, on disk: watermark <= store <= segments, and everything acknowledged is in store and segments.
//! What a crash can leave, and what opening ([`Store::open`]) makes of it:
//!
//! | crashed | found | on opening |
//! |---|---|---|
//! | within 1 | the newest segment ends in a torn line or batch | it is cut back to the last complete batch: nobody was told of it |
//! | between 1 and 2, within 2 | segments ahead of the store | replayed into the store, silently |
//! | between 2 and 3; power cut after 3 | watermark behind both | brought up |
//! | after 3 | all agree | |
//!
//! A record that was never acknowledged may thus be there after a crash, as a whole batch. That is harmless, because an intent without
//! an outcome is in doubt and is probed, whether or not the act was begun. The other way round can't come from a crash, so it is damage
//! ([`JournalError::Rot`], exit code 7): a store that ends before the watermark or after the segments, a segment that is shorter than
//! the watermark says, two places that differ about a record. It is not mended silently, because who lost one record may have lost
//! others: [`recover`] rebuilds the store, proves every record by the chained hash and says what it found.
//!
//! A failed write ends the journal for this process ([`JournalError::Poisoned`]): after a failed sync nobody knows what is durable, so
//! only opening anew can tell.
//!
//! # Reading
//!
//! [`Store::load_run`] reads for each stream its checkpoint and the events after it. Opening compares only the ends of the three places,
//! so loading proves the rest of what it returns: each record has a checksum and names the one before it in its stream, and a digest over
//! the last records of all streams stands in the last line of the run's segments (`heads.rs`), outside sled. A stale page of sled, however
//! consistent in itself, does not pass.
//!
//! [`events`] and [`export`] read segments and archive up to the watermark, prove the chain, and need no lock. [`verify`] compares
//! everything with everything. [`archive_finished`] compresses old runs and starts a fresh database, since sled's never shrinks.

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
mod recover;
pub mod replay;
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
pub use history::{EventFilter, Events, events, runs_in_segments};
pub use lock::{LockAttempt, LockHolder, Purpose, RunLock};
pub use recover::{Lost, RecoverReport, recover};
pub use store::{OpenRead, Store};
pub use verify::{VerifyReport, verify};
pub use writer::SledJournal;
