//! The watermark: the last acknowledged record, kept outside the store so that a store that lost records is found out.
//!
//! The file has two slots of 512 bytes that are written in turn, each a line of JSON with a checksum, so a torn write leaves the
//! other. It is written after store and segment are durable and before the batch is acknowledged, but not synced each time:
//! after a power cut it may lag behind (never run ahead), and what it does not cover yet is then found in both of the others.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::batch::Seq;
use super::dir::replace_file;
use super::error::{JournalError, Result};
use super::frame::{Chain, FormatVersion, LineFault, check_version, push_crc, strip_crc};
use super::segment::{Place, SegmentName};

const SLOT: usize = 512;

/// The last acknowledged record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watermark {
    pub seq: Seq,
    pub chain: Chain,
    /// Where it lies; `None` before the first record.
    pub place: Option<Place>,
}

impl Watermark {
    /// The watermark of an empty journal.
    pub const EMPTY: Self = Self { seq: Seq(0), chain: Chain::START, place: None };
}

/// The open file.
#[derive(Debug)]
pub(crate) struct WatermarkFile {
    path: PathBuf,
    file: File,
    /// Counts the writes; its parity names the slot that was written last.
    count: u64,
}

impl WatermarkFile {
    /// Writes a file anew, durable, with both slots alike.
    pub fn create(path: &Path, mark: &Watermark) -> Result<Self> {
        let mut bytes = slot(0, mark).to_vec();
        bytes.extend_from_slice(&slot(1, mark));
        replace_file(path, &bytes)?;
        let (file, _) = Self::open(path)?.ok_or_else(|| JournalError::rot("the watermark vanished"))?;
        Ok(file)
    }

    /// Opens the file and reads the newer intact slot; `None` where there is no file.
    ///
    /// # Errors
    /// [`JournalError::Rot`] where neither slot is intact, [`JournalError::Newer`].
    pub fn open(path: &Path) -> Result<Option<(Self, Watermark)>> {
        let Some(file) = open_if_there(path, OpenOptions::new().read(true).write(true))? else { return Ok(None) };
        let (count, mark) = read_slots(&file, path)?;
        Ok(Some((Self { path: path.to_owned(), file, count }, mark)))
    }

    /// Reads the watermark and nothing else.
    ///
    /// # Errors
    /// As [`WatermarkFile::open`].
    pub fn read(path: &Path) -> Result<Option<Watermark>> {
        let Some(file) = open_if_there(path, OpenOptions::new().read(true))? else { return Ok(None) };
        Ok(Some(read_slots(&file, path)?.1))
    }

    /// Replaces the older slot.
    pub fn write(&mut self, mark: &Watermark) -> Result<()> {
        self.count += 1;
        let at = (self.count % 2) * SLOT as u64;
        let written = self.file.write_all_at(&slot(self.count, mark), at);
        written.map_err(|e| JournalError::io("write", &self.path, e))
    }

    /// Makes it durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| JournalError::io("sync", &self.path, e))
    }
}

fn open_if_there(path: &Path, options: &OpenOptions) -> Result<Option<File>> {
    match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(|e| JournalError::io("open", path, e)),
    }
}

/// Returns the newer intact slot.
fn read_slots(file: &File, path: &Path) -> Result<(u64, Watermark)> {
    let failed = |e| JournalError::io("read", path, e);
    let len = file.metadata().map_err(failed)?.len();
    if len != 2 * SLOT as u64 {
        return Err(JournalError::rot(format!("{} has {len} bytes instead of {}", path.display(), 2 * SLOT)));
    }
    let mut bytes = [0; 2 * SLOT];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let mut newest: Option<(u64, Watermark)> = None;
    for text in bytes.chunks_exact(SLOT) {
        match parse(text) {
            Ok(read) if newest.as_ref().is_none_or(|(count, _)| read.0 > *count) => newest = Some(read),
            Err(LineFault::Newer(found)) => {
                return Err(JournalError::Newer { path: path.to_owned(), found, known: FormatVersion::CURRENT.0 });
            }
            // An older slot, or one that was being written when the power went.
            Ok(_) | Err(_) => {}
        }
    }
    newest.ok_or_else(|| JournalError::rot(format!("{} has no intact entry", path.display())))
}

fn slot(count: u64, mark: &Watermark) -> [u8; SLOT] {
    let version = FormatVersion::CURRENT.0;
    let (seq, chain) = (mark.seq, mark.chain.to_hex());
    let mut text = format!("{{\"v\":{version},\"count\":{count},\"seq\":{seq},\"chain\":\"{chain}\"").into_bytes();
    if let Some(place) = &mark.place {
        // A segment's name has only characters that JSON takes as they are.
        let (name, start, end) = (place.segment.file_name(), place.start, place.end);
        text.extend_from_slice(format!(",\"segment\":\"{name}\",\"start\":{start},\"end\":{end}").as_bytes());
    }
    push_crc(&mut text, 0);
    text.push(b'}');
    let mut slot = [b' '; SLOT];
    slot[..text.len()].copy_from_slice(&text);
    slot[SLOT - 1] = b'\n';
    slot
}

#[derive(Deserialize)]
struct Line {
    count: u64,
    seq: u64,
    chain: String,
    segment: Option<String>,
    start: Option<u64>,
    end: Option<u64>,
}

fn parse(slot: &[u8]) -> Result<(u64, Watermark), LineFault> {
    let malformed = |what: &str| LineFault::Malformed(what.to_owned());
    let text = slot.trim_ascii_end();
    strip_crc(text.strip_suffix(b"}").ok_or_else(|| malformed("no object"))?)?;
    check_version(text)?;
    let line: Line = serde_json::from_slice(text).map_err(|e| LineFault::Malformed(e.to_string()))?;
    let chain = Chain::from_hex(line.chain.as_bytes()).ok_or_else(|| malformed("no chain value"))?;
    let place = match (line.segment, line.start, line.end) {
        (Some(name), Some(start), Some(end)) => {
            let segment = SegmentName::parse(&name).ok_or_else(|| malformed("no segment's name"))?;
            Some(Place { segment, start, end })
        }
        _ => None,
    };
    Ok((line.count, Watermark { seq: Seq(line.seq), chain, place }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;

    fn mark(seq: u64) -> Watermark {
        let segment = SegmentName { first: Seq(1), run: RunId::new("r".repeat(64)) };
        Watermark {
            seq: Seq(seq),
            chain: Chain([7; 32]),
            place: Some(Place { segment, start: u64::MAX, end: u64::MAX }),
        }
    }

    #[test]
    fn the_newer_slot_is_read_and_a_damaged_one_leaves_the_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("watermark");
        let mut file = WatermarkFile::create(&path, &Watermark::EMPTY).expect("creates");
        for seq in [u64::MAX - 1, u64::MAX] {
            file.write(&mark(seq)).expect("writes");
        }
        let (file, read) = WatermarkFile::open(&path).expect("opens").expect("is there");
        assert_eq!(read, mark(u64::MAX));

        let newest = (file.count % 2) * SLOT as u64;
        file.file.write_all_at(b"x", newest + 30).expect("damages");
        let (_, read) = WatermarkFile::open(&path).expect("opens").expect("is there");
        assert_eq!(read, mark(u64::MAX - 1));

        file.file.write_all_at(b"x", (SLOT as u64 - newest) + 30).expect("damages");
        assert!(matches!(WatermarkFile::open(&path), Err(JournalError::Rot { .. })));
    }

    #[test]
    fn a_watermark_of_a_newer_format_is_told_from_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("watermark");
        let mut text = br#"{"v":2,"count":9,"more":true"#.to_vec();
        push_crc(&mut text, 0);
        text.push(b'}');
        text.resize(2 * SLOT, b' ');
        std::fs::write(&path, &text).expect("writes");
        let error = WatermarkFile::open(&path).expect_err("is newer");
        assert!(matches!(error, JournalError::Newer { found: 2, known: 1, .. }) && error.is_unreadable(), "{error}");
    }

    #[test]
    fn a_file_of_another_length_is_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("watermark");
        let file = WatermarkFile::create(&path, &mark(3)).expect("creates");
        file.file.set_len(SLOT as u64).expect("cuts");
        assert!(matches!(WatermarkFile::open(&path), Err(JournalError::Rot { .. })));
    }
}
