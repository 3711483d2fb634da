//! Reads events in the order in which they happened, from the segments and the archive: without a lock, also beside a live run.
//!
//! What is beyond the watermark is left out: it is not acknowledged, and its last line may be half-written.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::vec;

use flate2::read::MultiGzDecoder;

use super::batch::{Seq, StoredEvent, StreamId};
use super::dir::StateDir;
use super::error::{JournalError, Result};
use super::frame::Frame;
use super::segment::{self, SegmentFault, SegmentName, SegmentReader};
use super::watermark::WatermarkFile;
use crate::ids::RunId;

/// A segment's reader, whether it is compressed or not.
pub(crate) type AnyReader = SegmentReader<Box<dyn BufRead + Send>>;

/// Which events to read; the default is all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those of this stream.
    pub stream: Option<StreamId>,
    /// Only those after this number.
    pub after: Seq,
}

/// Reads events in order of their numbers; see [`events`].
pub struct Events(Frames);

/// Reads the acknowledged events of a journal, archived ones included, in order of their numbers. Needs no lock.
///
/// # Errors
/// [`JournalError::Rot`] where there is no intact watermark; each item is an error where its line is damaged or one is missing,
/// and the last item then.
pub fn events(dir: &StateDir, filter: EventFilter) -> Result<Events> {
    Ok(Events(Frames::new(dir, filter)?))
}

impl Iterator for Events {
    type Item = Result<StoredEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(Frame::into_event))
    }
}

/// Reads records in order of their numbers.
pub(crate) struct Frames {
    dir: StateDir,
    filter: EventFilter,
    /// The last acknowledged record.
    end: Seq,
    names: vec::IntoIter<SegmentName>,
    open: Option<AnyReader>,
    /// The last record of each stream so far, to notice one that is missing.
    heads: HashMap<(RunId, StreamId), Seq>,
}

impl Frames {
    pub fn new(dir: &StateDir, filter: EventFilter) -> Result<Self> {
        let end = match WatermarkFile::read(&dir.watermark())? {
            Some(mark) => mark.seq,
            None if segment::list(&dir.segments())?.is_empty() => Seq(0),
            None => return Err(JournalError::rot(format!("{} is missing", dir.watermark().display()))),
        };
        let mut names = all_names(dir)?;
        names.retain(|name| filter.run.as_ref().is_none_or(|run| name.run == *run));
        Ok(Self { dir: dir.clone(), filter, end, names: names.into_iter(), open: None, heads: HashMap::new() })
    }

    /// Whether there is anything to be read from, of the run that was asked for.
    pub fn has_segments(&self) -> bool {
        !self.names.as_slice().is_empty()
    }

    /// Returns the next acknowledged record, whether it is asked for or not.
    fn read(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(reader) = &mut self.open {
                if reader.next_seq() > self.end {
                    return Ok(None);
                }
                if let Some(frame) = reader.next_frame()? {
                    let key = (frame.run.clone(), frame.stream.clone());
                    let before = self.heads.insert(key, frame.seq).unwrap_or_default();
                    if before != frame.prev {
                        let what = format!("record {} of {}, the one before, is missing", frame.prev, frame.stream);
                        return Err(JournalError::rot_at(frame.seq, what));
                    }
                    return Ok(Some(frame));
                }
            }
            let Some(name) = self.names.next().filter(|name| name.first <= self.end) else { return Ok(None) };
            self.open = Some(open_any(&self.dir, &name)??);
        }
    }
}

impl Iterator for Frames {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Ok(Some(frame)) => {
                    let wanted = self.filter.stream.as_ref().is_none_or(|stream| frame.stream == *stream);
                    if wanted && frame.seq > self.filter.after {
                        return Some(Ok(frame));
                    }
                }
                Ok(None) => return None,
                Err(e) => {
                    // What follows can't be trusted to be complete.
                    (self.open, self.names) = (None, Vec::new().into_iter());
                    return Some(Err(e));
                }
            }
        }
    }
}

/// Lists the runs that have acknowledged events, archived ones included, in order of their names. Needs no lock, and reads
/// no event.
///
/// # Errors
/// As [`events`].
pub fn runs_in_segments(dir: &StateDir) -> Result<BTreeSet<RunId>> {
    let Frames { end, names, .. } = Frames::new(dir, EventFilter::default())?;
    Ok(names.filter(|name| name.first <= end).map(|name| name.run).collect())
}

/// Lists all segments, archived ones included, each once.
pub(crate) fn all_names(dir: &StateDir) -> Result<Vec<SegmentName>> {
    let mut names = segment::list(&dir.segments())?;
    names.extend(archived_names(dir)?);
    names.sort();
    names.dedup();
    Ok(names)
}

/// Lists the archived segments.
pub(crate) fn archived_names(dir: &StateDir) -> Result<Vec<SegmentName>> {
    segment::list_with(&dir.archive(), |name| SegmentName::parse(name.strip_suffix(".gz")?))
}

/// Returns the name of a segment's file in the archive.
pub(crate) fn archived_file_name(name: &SegmentName) -> String {
    format!("{}.gz", name.file_name())
}

/// Opens a segment where it is: in its place, else in the archive.
pub(crate) fn open_any(dir: &StateDir, name: &SegmentName) -> Result<Result<AnyReader, SegmentFault>> {
    let plain = dir.segments().join(name.file_name());
    if plain.exists() {
        let input = File::open(&plain).map_err(|e| JournalError::io("open", &plain, e))?;
        return Ok(SegmentReader::new(Box::new(BufReader::new(input)), plain, name));
    }
    open_archived(&dir.archive(), name)
}

/// Opens a segment in the archive.
pub(crate) fn open_archived(archive: &Path, name: &SegmentName) -> Result<Result<AnyReader, SegmentFault>> {
    let path = archive.join(archived_file_name(name));
    let input = File::open(&path).map_err(|e| JournalError::io("open", &path, e))?;
    let input: Box<dyn BufRead + Send> = Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(input))));
    Ok(SegmentReader::new(input, path, name))
}
