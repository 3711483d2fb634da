//! Keys and values of the store; all lie in one tree, because only there a batch is atomic.
//!
//! ```text
//! e 0 RUN 0 STREAM 0 seq:u64 chunk:u16   -> the record's line
//! c 0 RUN 0 STREAM 0 chunk:u16           -> the stream's checkpoint: seq:u64 length:u32 crc:u32 bytes
//! r 0 RUN                                -> last:u64 archived:u8 meta
//! m 0 format                             -> format:u32
//! m 0 last                               -> seq:u64 chain:32 bytes
//! ```
//!
//! Numbers are big-endian, so a stream is a short range in order. No name holds a 0. Values are cut into chunks of 4 KiB: sled puts
//! a page of more than 128 KiB into a file of its own that it never syncs, and a page can hold some twenty values.

use super::batch::{Checkpoint, Seq, StreamId};
use super::frame::Chain;
use crate::ids::RunId;

/// The most bytes of one value in the store.
pub(crate) const CHUNK_BYTES: usize = 4096;
/// Holds the format's version.
pub(crate) const FORMAT: &[u8] = b"m\0format";
/// Holds the last record's number and chain value.
pub(crate) const LAST: &[u8] = b"m\0last";
/// The prefix of the list of runs.
pub(crate) const RUNS: &[u8] = b"r\0";
/// The prefix of all checkpoints.
pub(crate) const CHECKPOINTS: &[u8] = b"c\0";
/// The prefix of all events.
pub(crate) const EVENTS: &[u8] = b"e\0";

const CHECKPOINT_HEAD: usize = 16;

/// The prefix of a run's events.
pub(crate) fn run_events(run: &RunId) -> Vec<u8> {
    [EVENTS, run.as_str().as_bytes(), b"\0"].concat()
}

/// The prefix of a stream's events.
pub(crate) fn stream_events(run: &RunId, stream: &StreamId) -> Vec<u8> {
    [EVENTS, run.as_str().as_bytes(), b"\0", stream.to_string().as_bytes(), b"\0"].concat()
}

/// The key of a chunk of an event, given its stream's prefix.
pub(crate) fn event(prefix: &[u8], seq: Seq, chunk: u16) -> Vec<u8> {
    [prefix, &seq.0.to_be_bytes(), &chunk.to_be_bytes()].concat()
}

/// Reads the number and the chunk from an event's key, given its stream's prefix.
pub(crate) fn parse_event(prefix: &[u8], key: &[u8]) -> Option<(Seq, u16)> {
    let (seq, chunk) = key.strip_prefix(prefix)?.split_first_chunk::<8>()?;
    Some((Seq(u64::from_be_bytes(*seq)), u16::from_be_bytes(chunk.try_into().ok()?)))
}

/// The prefix of a stream's checkpoint.
pub(crate) fn stream_checkpoint(run: &RunId, stream: &StreamId) -> Vec<u8> {
    [CHECKPOINTS, run.as_str().as_bytes(), b"\0", stream.to_string().as_bytes(), b"\0"].concat()
}

/// The key of a chunk of a checkpoint, given its prefix.
pub(crate) fn checkpoint(prefix: &[u8], chunk: u16) -> Vec<u8> {
    [prefix, &chunk.to_be_bytes()].concat()
}

/// Reads run and stream from the key of an event or a checkpoint.
pub(crate) fn run_and_stream(key: &[u8]) -> Option<(RunId, StreamId)> {
    let mut parts = key.get(2..)?.splitn(3, |c| *c == 0);
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    Some((RunId::new(text()?), text()?.parse().ok()?))
}

/// The key of a line of the list of runs.
pub(crate) fn run(run: &RunId) -> Vec<u8> {
    [RUNS, run.as_str().as_bytes()].concat()
}

/// Writes a checkpoint with its checksum.
pub(crate) fn encode_checkpoint(seq: Seq, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut value = Vec::with_capacity(CHECKPOINT_HEAD + bytes.len());
    value.extend_from_slice(&seq.0.to_be_bytes());
    value.extend_from_slice(&length.to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&value);
    crc.update(bytes);
    value.extend_from_slice(&crc.finalize().to_be_bytes());
    value.extend_from_slice(bytes);
    value
}

/// Reads a checkpoint; what a longer one left behind it is ignored. `None` where it is not intact.
pub(crate) fn decode_checkpoint(value: &[u8]) -> Option<Checkpoint> {
    let (head, rest) = value.split_first_chunk::<CHECKPOINT_HEAD>()?;
    let (seq, tail) = head.split_first_chunk::<8>()?;
    let (length, crc) = tail.split_first_chunk::<4>()?;
    let bytes = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let mut computed = crc32fast::Hasher::new();
    computed.update(&head[..12]);
    computed.update(bytes);
    let intact = computed.finalize().to_be_bytes() == crc;
    intact.then(|| Checkpoint { seq: Seq(u64::from_be_bytes(*seq)), bytes: bytes.to_vec() })
}

/// Writes a line of the list of runs.
pub(crate) fn encode_run(last: Seq, archived: bool, meta: Option<&[u8]>) -> Vec<u8> {
    let mut value = last.0.to_be_bytes().to_vec();
    value.push(u8::from(archived));
    value.extend_from_slice(meta.unwrap_or_default());
    value
}

/// Reads a line of the list of runs: last record, archived, meta.
pub(crate) fn decode_run(value: &[u8]) -> Option<(Seq, bool, Option<Vec<u8>>)> {
    let (last, rest) = value.split_first_chunk::<8>()?;
    let (archived, meta) = rest.split_first()?;
    Some((Seq(u64::from_be_bytes(*last)), *archived != 0, (!meta.is_empty()).then(|| meta.to_vec())))
}

/// Writes the last record's number and chain value.
pub(crate) fn encode_last(seq: Seq, chain: Chain) -> Vec<u8> {
    [&seq.0.to_be_bytes()[..], &chain.0].concat()
}

/// Reads the last record's number and chain value.
pub(crate) fn decode_last(value: &[u8]) -> Option<(Seq, Chain)> {
    let (seq, chain) = value.split_first_chunk::<8>()?;
    Some((Seq(u64::from_be_bytes(*seq)), Chain(chain.try_into().ok()?)))
}
