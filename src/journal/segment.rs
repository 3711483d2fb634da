//! Segments: the plain files outside the store that hold every record, one JSON object a line.
//!
//! A segment holds records of one run only and is named after its first record and that run, so that a run is found without an
//! index and archived by moving files. Its first line is a header that carries the chain value before its first record:
//!
//! ```text
//! {"v":1,"segment":"20261122-222842-abcd","first":1201,"prev_chain":"..","crc":".."}
//! ```
//!
//! So each segment can be proven by itself, and two neighbours prove that nothing is missing between them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::batch::{MAX_VALUE_BYTES, Seq};
use super::dir::{create_file, sync_parent};
use super::error::{JournalError, Result};
use super::frame::{Chain, FormatVersion, Frame, LineFault, check_version, push_crc, push_json_text, strip_crc};
use crate::ids::RunId;

/// When a segment is followed by a new one: small enough to look at with a pager, large enough to keep the directory short.
pub(crate) const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;
/// The longest line: body and meta at their largest, and room for the rest.
const MAX_LINE_BYTES: u64 = 2 * MAX_VALUE_BYTES as u64 + (64 << 10);
/// The longest name of a run: it is part of file names and keys.
const MAX_RUN_NAME: usize = 64;

/// Names a segment: its first record and its run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub first: Seq,
    pub run: RunId,
}

impl SegmentName {
    /// Returns the file's name; names sort as the records do.
    pub fn file_name(&self) -> String {
        format!("{:020}-{}.ndjson", self.first.0, self.run)
    }

    /// Reads a file's name; `None` where it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (first, run) = name.strip_suffix(".ndjson")?.split_once('-')?;
        let run = RunId::new(run);
        (first.len() == 20 && fit_for_a_name(&run)).then(|| first.parse().ok().map(|n| Self { first: Seq(n), run }))?
    }
}

/// Whether a run's name can be part of a file's name.
pub(crate) fn fit_for_a_name(run: &RunId) -> bool {
    let name = run.as_str();
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    !name.is_empty() && name.len() <= MAX_RUN_NAME && name.bytes().all(fits)
}

/// Lists the segments of a directory in order; files that are no segments are left out.
pub(crate) fn list(dir: &Path) -> Result<Vec<SegmentName>> {
    list_with(dir, SegmentName::parse)
}

/// Lists what `parse` makes of the file names of a directory, in order; a missing directory is an empty one.
pub(crate) fn list_with(dir: &Path, parse: impl Fn(&str) -> Option<SegmentName>) -> Result<Vec<SegmentName>> {
    let failed = |e| JournalError::io("list", dir, e);
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().to_str().and_then(&parse));
    }
    names.sort();
    Ok(names)
}

#[derive(Deserialize)]
struct HeaderLine {
    segment: RunId,
    first: u64,
    prev_chain: String,
}

/// Appends a segment's header line.
pub(crate) fn push_header(out: &mut Vec<u8>, name: &SegmentName, chain: Chain) {
    let start = out.len();
    out.extend_from_slice(format!("{{\"v\":{},\"segment\":", FormatVersion::CURRENT.0).as_bytes());
    push_json_text(out, name.run.as_str());
    out.extend_from_slice(format!(",\"first\":{},\"prev_chain\":\"{}\"", name.first, chain.to_hex()).as_bytes());
    push_crc(out, start);
    out.extend_from_slice(b"}\n");
}

/// Reads a header line without its line feed: the chain value before the segment's first record.
fn parse_header(line: &[u8], name: &SegmentName) -> Result<Chain, LineFault> {
    let malformed = |what: &str| LineFault::Malformed(what.to_owned());
    strip_crc(line.strip_suffix(b"}").ok_or_else(|| malformed("no header"))?)?;
    check_version(line)?;
    let read: HeaderLine = serde_json::from_slice(line).map_err(|e| LineFault::Malformed(e.to_string()))?;
    if read.segment != name.run || read.first != name.first.0 {
        return Err(malformed("a header of another segment"));
    }
    Chain::from_hex(read.prev_chain.as_bytes()).ok_or_else(|| malformed("prev_chain is no chain value"))
}

/// A line of a segment that is not what was written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}, line {line} (byte {offset}): {why}", path = path.display())]
pub(crate) struct SegmentFault {
    pub path: PathBuf,
    /// Counts from 1, the header.
    pub line: u64,
    /// Where the line begins.
    pub offset: u64,
    pub why: Why,
}

/// What is wrong with a line of a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    #[error("the line {0}")]
    Line(#[from] LineFault),
    #[error("the line has no end")]
    Unended,
    #[error("the file ends before its header")]
    NoHeader,
    #[error("record {found} where record {expected} belongs")]
    Order { found: Seq, expected: Seq },
    #[error("a record of run {0}")]
    OtherRun(RunId),
    #[error("record {0} does not continue the chain")]
    Chain(Seq),
    #[error("{0}")]
    Read(String),
}

impl From<SegmentFault> for JournalError {
    fn from(fault: SegmentFault) -> Self {
        match fault.why {
            Why::Line(LineFault::Newer(found)) => {
                Self::Newer { path: fault.path, found, known: FormatVersion::CURRENT.0 }
            }
            _ => Self::rot(fault.to_string()),
        }
    }
}

/// Reads a segment record by record and proves each.
#[derive(Debug)]
pub(crate) struct SegmentReader<R> {
    input: R,
    path: PathBuf,
    run: RunId,
    line: u64,
    offset: u64,
    next: Seq,
    chain: Chain,
    buf: Vec<u8>,
}

impl SegmentReader<BufReader<File>> {
    /// Opens a segment file and reads its header.
    pub fn open(dir: &Path, name: &SegmentName) -> Result<Result<Self, SegmentFault>> {
        let path = dir.join(name.file_name());
        let file = File::open(&path).map_err(|e| JournalError::io("open", &path, e))?;
        Ok(Self::new(BufReader::new(file), path, name))
    }

    /// Opens a segment file in its middle, where a record begins whose number and predecessor's chain value are known.
    pub fn open_at(dir: &Path, name: &SegmentName, offset: u64, next: Seq, chain: Chain) -> Result<Self> {
        let path = dir.join(name.file_name());
        let open = || -> io::Result<File> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        let input = BufReader::new(open().map_err(|e| JournalError::io("open", &path, e))?);
        Ok(Self { input, path, run: name.run.clone(), line: 0, offset, next, chain, buf: Vec::new() })
    }
}

impl<R: BufRead> SegmentReader<R> {
    /// Reads the header of a segment from its beginning.
    pub fn new(input: R, path: PathBuf, name: &SegmentName) -> Result<Self, SegmentFault> {
        let run = name.run.clone();
        let chain = Chain::START;
        let mut reader = Self { input, path, run, line: 0, offset: 0, next: name.first, chain, buf: Vec::new() };
        let length = reader.read_line()?;
        if length == 0 {
            return Err(reader.fault(Why::NoHeader));
        }
        reader.chain = parse_header(&reader.buf, name).map_err(|e| reader.fault(e.into()))?;
        reader.offset += length;
        Ok(reader)
    }

    /// Reads the next record; `None` at the end of the file.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, SegmentFault> {
        let length = self.read_line()?;
        if length == 0 {
            return Ok(None);
        }
        let frame = Frame::parse(&self.buf).map_err(|e| self.fault(e.into()))?;
        if frame.seq != self.next {
            return Err(self.fault(Why::Order { found: frame.seq, expected: self.next }));
        }
        if frame.run != self.run {
            return Err(self.fault(Why::OtherRun(frame.run)));
        }
        if !frame.follows(self.chain) {
            return Err(self.fault(Why::Chain(frame.seq)));
        }
        self.offset += length;
        self.chain = frame.chain;
        self.next = frame.seq.next();
        Ok(Some(frame))
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The chain value before the next record.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// The number of the next record.
    pub fn next_seq(&self) -> Seq {
        self.next
    }

    fn read_line(&mut self) -> Result<u64, SegmentFault> {
        self.buf.clear();
        self.line += 1;
        let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buf);
        read.map_err(|e| self.fault(Why::Read(e.to_string())))?;
        let length = self.buf.len() as u64;
        if length > 0 && self.buf.pop() != Some(b'\n') {
            return Err(self.fault(Why::Unended));
        }
        Ok(length)
    }

    fn fault(&self, why: Why) -> SegmentFault {
        SegmentFault { path: self.path.clone(), line: self.line, offset: self.offset, why }
    }
}

/// Reads the last record of a segment without reading what is before it; `None` where there is none that is intact.
pub(crate) fn last_frame(dir: &Path, name: &SegmentName) -> Result<Option<Frame>> {
    let path = dir.join(name.file_name());
    let failed = |e| JournalError::io("read", &path, e);
    let mut file = File::open(&path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut window = 64 << 10;
    loop {
        let from = len.saturating_sub(window);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        (&mut file).take(window).read_to_end(&mut tail).map_err(failed)?;
        let Some(text) = tail.strip_suffix(b"\n") else { return Ok(None) };
        if let Some(before) = text.iter().rposition(|c| *c == b'\n') {
            return Ok(Frame::parse(&text[before + 1..]).ok());
        }
        if from == 0 || window > MAX_LINE_BYTES {
            return Ok(None);
        }
        window *= 2;
    }
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub segment: SegmentName,
    /// Where its line begins.
    pub start: u64,
    /// Where its line ends, the line feed included.
    pub end: u64,
}

/// Appends to the newest segment and begins new ones.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    dir: PathBuf,
    limit: u64,
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    name: SegmentName,
    path: PathBuf,
    file: File,
    /// What is durable of it.
    len: u64,
    /// What waits to be written.
    pending: Vec<u8>,
    /// Whether its name is not durable yet.
    fresh: bool,
}

impl SegmentWriter {
    /// Makes a writer that goes on with the segment `newest`, whose proven length is `len`; anything behind that is cut off.
    pub fn new(dir: PathBuf, limit: u64, newest: Option<(SegmentName, u64)>) -> Result<Self> {
        let open = newest.map(|(name, len)| reopen(&dir, name, len)).transpose()?;
        Ok(Self { dir, limit, open })
    }

    /// Sets the size in bytes from which on a new segment is begun.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Makes sure that the batch that begins with record `first` goes to a segment of its run, and to a new one where the newest is full.
    pub fn begin(&mut self, run: &RunId, first: Seq, chain: Chain) -> Result<()> {
        let fits = |open: &OpenSegment| open.name.run == *run && open.len + (open.pending.len() as u64) < self.limit;
        if self.open.as_ref().is_some_and(fits) {
            return Ok(());
        }
        // The old segment is durable before the new one exists: a gap between segments can't come from a crash.
        self.sync()?;
        let name = SegmentName { first, run: run.clone() };
        let path = self.dir.join(name.file_name());
        let file = create_file(&path).map_err(|e| JournalError::io("create", &path, e))?;
        let mut pending = Vec::new();
        push_header(&mut pending, &name, chain);
        self.open = Some(OpenSegment { name, path, file, len: 0, pending, fresh: true });
        Ok(())
    }

    /// Lets `push` append one line to what waits to be written, and returns where it will lie. Call [`SegmentWriter::begin`] before.
    pub fn push<T>(&mut self, push: impl FnOnce(&mut Vec<u8>) -> T) -> Result<(T, Place, &[u8])> {
        let open =
            self.open.as_mut().ok_or_else(|| JournalError::Invalid { what: "no segment was begun".to_owned() })?;
        let from = open.pending.len();
        let result = push(&mut open.pending);
        let (start, end) = (open.len + from as u64, open.len + open.pending.len() as u64);
        Ok((result, Place { segment: open.name.clone(), start, end }, &open.pending[from..]))
    }

    /// Writes what waits and makes it durable.
    pub fn sync(&mut self) -> Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| !open.pending.is_empty()) else { return Ok(()) };
        let write = |open: &mut OpenSegment| -> io::Result<()> {
            open.file.write_all(&open.pending)?;
            open.file.sync_data()
        };
        write(open).map_err(|e| JournalError::io("append to", &open.path, e))?;
        open.len += open.pending.len() as u64;
        open.pending.clear();
        if open.fresh {
            sync_parent(&open.path)?;
            open.fresh = false;
        }
        Ok(())
    }
}

fn reopen(dir: &Path, name: SegmentName, len: u64) -> Result<OpenSegment> {
    let path = dir.join(name.file_name());
    let open = || -> io::Result<File> {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        if file.metadata()?.len() != len {
            file.set_len(len)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(len))?;
        Ok(file)
    };
    let file = open().map_err(|e| JournalError::io("open", &path, e))?;
    Ok(OpenSegment { name, path, file, len, pending: Vec::new(), fresh: false })
}
