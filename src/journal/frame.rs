//! The form in which a record is stored: one JSON object on one line, the same bytes in the segments and in the store.
//!
//! ```text
//! {"v":1,"seq":7,"prev":4,"left":0,"run":"..","stream":"host:pve1","at":1790000000000,"body":{..},"heads":"..","crc":"..","chain":".."}
//! ```
//!
//! - `prev`: the number of the previous record of the same stream (0: none), so a stream that lost one is noticed;
//! - `left`: how many records of the same batch follow, so a batch that was torn is noticed;
//! - `meta` (not always there): what the list of runs shows of the run from now on;
//! - `heads`: a digest over the last record of every stream of the run ([`super::heads`]), this one included;
//! - `crc`: CRC-32 of everything before `,"crc"`; it proves this record by itself;
//! - `chain`: SHA-256 of the previous record's chain value and everything before `,"chain"`; it proves that none is missing.
//!
//! The last two have a fixed length and come last, so they cover bytes as they lie and need no canonical form.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::batch::{Seq, StoredEvent, StreamId};
use crate::ids::RunId;
use crate::time::Timestamp;

/// Numbers the format of everything that the journal stores: records, segment headers, watermark, keys of the store.
///
/// # Changelog
/// - 1: the first.
///
/// A new format keeps the place and the form of `v`, `crc` and `chain`, so that an older program can tell "newer" from "damaged".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FormatVersion(pub u32);

impl FormatVersion {
    /// What this program writes, and the newest that it reads.
    pub const CURRENT: Self = Self(1);
}

/// A value of the chained hash: what it is after a record, or [`Chain::START`] before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain(pub [u8; 32]);

impl Chain {
    /// The value before the first record.
    pub const START: Self = Self([0; 32]);

    /// Returns the value after a record whose line begins with these bytes.
    pub fn after(self, covered: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(covered);
        Self(hash.finalize().into())
    }

    /// Returns 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
        self.0.iter().flat_map(digits).collect()
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

fn hex_u32(text: &[u8]) -> Option<u32> {
    (text.len() == 8).then(|| text.iter().try_fold(0, |n, c| Some((n << 4) | u32::from(hex_digit(*c)?))))?
}

fn hex_u64(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| text.bytes().try_fold(0, |n, c| Some((n << 4) | u64::from(hex_digit(c)?))))?
}

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineFault {
    /// It has not the form that we write.
    #[error("is not a record ({0})")]
    Malformed(String),
    /// Its checksum is not that of its bytes.
    #[error("has checksum {found:08x} where its bytes give {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    /// It is intact, but of a newer format.
    #[error("has format {0}")]
    Newer(u32),
}

const CRC_KEY: &[u8] = b",\"crc\":\"";
const CRC_LEN: usize = CRC_KEY.len() + 8 + 1;
const CHAIN_KEY: &[u8] = b",\"chain\":\"";
const CHAIN_LEN: usize = CHAIN_KEY.len() + 64 + 2;

/// Appends `,"crc":"..."` for what was written since `start`.
pub(crate) fn push_crc(out: &mut Vec<u8>, start: usize) {
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(CRC_KEY);
    out.extend_from_slice(format!("{crc:08x}\"").as_bytes());
}

/// Checks `,"crc":"..."` at the end of `text` and returns what it covers.
pub(crate) fn strip_crc(text: &[u8]) -> Result<&[u8], LineFault> {
    let malformed = || LineFault::Malformed("no checksum at its end".to_owned());
    let split = text.len().checked_sub(CRC_LEN).ok_or_else(malformed)?;
    let (covered, tail) = text.split_at(split);
    let digits = tail.strip_prefix(CRC_KEY).and_then(|t| t.strip_suffix(b"\"")).ok_or_else(malformed)?;
    let found = hex_u32(digits).ok_or_else(malformed)?;
    let computed = crc32fast::hash(covered);
    if found == computed { Ok(covered) } else { Err(LineFault::Checksum { found, computed }) }
}

/// What goes into a record, but for what is computed from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameParts<'a> {
    pub seq: Seq,
    pub prev: Seq,
    pub left: u32,
    pub run: &'a RunId,
    pub stream: &'a StreamId,
    pub at: Timestamp,
    pub body: &'a [u8],
    pub meta: Option<&'a [u8]>,
    pub heads: u64,
}

/// Appends a record's line with its line feed, and returns the chain value after it. `body` and `meta` must be JSON without line feeds.
pub(crate) fn push_frame(out: &mut Vec<u8>, parts: &FrameParts<'_>, chain: Chain) -> Chain {
    let start = out.len();
    let version = FormatVersion::CURRENT.0;
    let FrameParts { seq, prev, left, run, stream, at, body, meta, heads } = parts;
    out.extend_from_slice(
        format!("{{\"v\":{version},\"seq\":{seq},\"prev\":{prev},\"left\":{left},\"run\":").as_bytes(),
    );
    push_json_text(out, run.as_str());
    out.extend_from_slice(b",\"stream\":");
    push_json_text(out, &stream.to_string());
    out.extend_from_slice(format!(",\"at\":{},\"body\":", at.0).as_bytes());
    out.extend_from_slice(body);
    if let Some(meta) = meta {
        out.extend_from_slice(b",\"meta\":");
        out.extend_from_slice(meta);
    }
    out.extend_from_slice(format!(",\"heads\":\"{heads:016x}\"").as_bytes());
    push_crc(out, start);
    let chain = chain.after(&out[start..]);
    out.extend_from_slice(CHAIN_KEY);
    out.extend_from_slice(chain.to_hex().as_bytes());
    out.extend_from_slice(b"\"}\n");
    chain
}

/// Appends a text as a JSON string.
pub(crate) fn push_json_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[derive(Deserialize)]
struct Line<'a> {
    seq: u64,
    prev: u64,
    left: u32,
    #[serde(borrow)]
    run: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    at: i64,
    #[serde(borrow)]
    body: &'a RawValue,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
    heads: &'a str,
}

/// A record as it was read, its checksum proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The line without its line feed.
    pub line: Vec<u8>,
    pub seq: Seq,
    pub prev: Seq,
    pub left: u32,
    pub run: RunId,
    pub stream: StreamId,
    pub at: Timestamp,
    pub heads: u64,
    /// The chain value that the line carries; see [`Frame::follows`].
    pub chain: Chain,
    body: Range<usize>,
    meta: Option<Range<usize>>,
}

impl Frame {
    /// Reads a line without its line feed.
    pub fn parse(line: &[u8]) -> Result<Self, LineFault> {
        let malformed = |what: &str| LineFault::Malformed(what.to_owned());
        let split = line.len().checked_sub(CHAIN_LEN).ok_or_else(|| malformed("too short"))?;
        let (before_chain, tail) = line.split_at(split);
        let digits = tail.strip_prefix(CHAIN_KEY).and_then(|t| t.strip_suffix(b"\"}"));
        let chain = digits.and_then(Chain::from_hex).ok_or_else(|| malformed("no chain value at its end"))?;
        strip_crc(before_chain)?;
        check_version(line)?;
        let read: Line<'_> = serde_json::from_slice(line).map_err(|e| LineFault::Malformed(e.to_string()))?;
        let range = |raw: &RawValue| {
            let from = raw.get().as_ptr() as usize - line.as_ptr() as usize;
            from..from + raw.get().len()
        };
        Ok(Self {
            seq: Seq(read.seq),
            prev: Seq(read.prev),
            left: read.left,
            stream: read.stream.parse().map_err(|e: super::batch::NoStream| LineFault::Malformed(e.to_string()))?,
            at: Timestamp(read.at),
            heads: hex_u64(read.heads).ok_or_else(|| malformed("heads is no digest"))?,
            chain,
            body: range(read.body),
            meta: read.meta.map(range),
            run: RunId::new(read.run),
            line: line.to_vec(),
        })
    }

    /// Whether the record is the one that was written after the record with this chain value.
    pub fn follows(&self, chain: Chain) -> bool {
        chain.after(&self.line[..self.line.len() - CHAIN_LEN]) == self.chain
    }

    /// The event.
    pub fn body(&self) -> &[u8] {
        &self.line[self.body.clone()]
    }

    /// What the list of runs shows from this record on.
    pub fn meta(&self) -> Option<&[u8]> {
        self.meta.clone().map(|range| &self.line[range])
    }

    /// The record as its readers see it.
    pub fn into_event(self) -> StoredEvent {
        let body = self.body().to_vec();
        StoredEvent { seq: self.seq, run: self.run, stream: self.stream, at: self.at, body }
    }
}

/// Refuses an intact line of a newer format.
pub(crate) fn check_version(line: &[u8]) -> Result<(), LineFault> {
    let Version { v } = serde_json::from_slice(line).map_err(|e| LineFault::Malformed(e.to_string()))?;
    if v > FormatVersion::CURRENT.0 { Err(LineFault::Newer(v)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HostId;

    fn line(chain: Chain) -> (Vec<u8>, Chain) {
        let run = RunId::new("20261122-222842-abcd");
        let stream = StreamId::Host(HostId::new("p\"ve\u{e9}"));
        let parts = FrameParts {
            seq: Seq(7),
            prev: Seq(4),
            left: 2,
            run: &run,
            stream: &stream,
            at: Timestamp(-5),
            body: br#"{"crc":"x","body":[1, {"meta":2}]}"#,
            meta: Some(b"\"m\""),
            heads: 0xdead_beef,
        };
        let mut out = Vec::new();
        let chain = push_frame(&mut out, &parts, chain);
        assert_eq!(out.pop(), Some(b'\n'));
        (out, chain)
    }

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let (line, chain) = line(Chain([9; 32]));
        let frame = Frame::parse(&line).expect("parses");
        assert_eq!((frame.seq, frame.prev, frame.left, frame.at), (Seq(7), Seq(4), 2, Timestamp(-5)));
        assert_eq!(frame.stream, StreamId::Host(HostId::new("p\"ve\u{e9}")));
        assert_eq!(frame.body(), br#"{"crc":"x","body":[1, {"meta":2}]}"#);
        assert_eq!(frame.meta(), Some(&b"\"m\""[..]));
        assert_eq!((frame.heads, frame.chain), (0xdead_beef, chain));
        assert!(frame.follows(Chain([9; 32])));
        assert!(!frame.follows(Chain::START));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (line, _) = line(Chain::START);
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut bad = line.clone();
                bad[at] ^= 1 << bit;
                let noticed = Frame::parse(&bad).map_or(true, |frame| !frame.follows(Chain::START));
                assert!(noticed, "byte {at} bit {bit}: {}", String::from_utf8_lossy(&bad));
            }
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let (line, _) = line(Chain::START);
        for len in 0..line.len() {
            assert!(Frame::parse(&line[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn an_intact_line_of_a_newer_format_is_told_from_damage() {
        let mut newer = br#"{"v":2,"what":"ever""#.to_vec();
        push_crc(&mut newer, 0);
        newer.extend_from_slice(CHAIN_KEY);
        newer.extend_from_slice(Chain::START.to_hex().as_bytes());
        newer.extend_from_slice(b"\"}");
        assert_eq!(Frame::parse(&newer), Err(LineFault::Newer(2)));
        newer[5] = b'1';
        assert!(matches!(Frame::parse(&newer), Err(LineFault::Checksum { .. })));
    }
}
