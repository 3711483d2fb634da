//! What lies behind the watermark in the segments: read when the journal is opened.

use std::path::Path;

use super::batch::Seq;
use super::error::{JournalError, Result};
use super::frame::{Chain, Frame};
use super::segment::{Place, SegmentFault, SegmentName, SegmentReader};
use super::watermark::Watermark;

/// The most records that may lie behind the watermark: a second's worth at several times the measured rate, lost at a power cut.
const MAX_TAIL: usize = 1 << 20;

/// The end of the segments as it is proven from the watermark on.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The records behind the watermark that belong to complete batches, in order.
    pub frames: Vec<Frame>,
    /// The last record.
    pub seq: Seq,
    pub chain: Chain,
    pub place: Option<Place>,
    /// The newest segment and its proven length; what is behind is a torn write.
    pub newest: Option<(SegmentName, u64)>,
    /// A newest segment that has no complete batch: it was just being begun.
    pub stillborn: Option<SegmentName>,
}

/// Reads the segments from the watermark on.
///
/// # Errors
/// [`JournalError::Rot`] where the watermark's record is not where it was, or where a segment that is not the newest is damaged.
pub(crate) fn read(dir: &Path, names: &[SegmentName], mark: &Watermark) -> Result<Tail> {
    let mut tail = Tail {
        frames: Vec::new(),
        seq: mark.seq,
        chain: mark.chain,
        place: mark.place.clone(),
        newest: None,
        stillborn: None,
    };
    let mut rest = names;
    if let Some(place) = &mark.place {
        let at = names.binary_search(&place.segment).map_err(|_| {
            JournalError::rot_at(mark.seq, format!("the segment {} is missing", place.segment.file_name()))
        })?;
        let (frame, end) = read_marked(dir, place)?;
        if frame.seq != mark.seq || frame.chain != mark.chain || end != place.end || frame.left != 0 {
            return Err(JournalError::rot_at(mark.seq, "the watermark's record is not in its place"));
        }
        rest = &names[at + 1..];
        let reader = SegmentReader::open_at(dir, &place.segment, place.end, mark.seq.next(), mark.chain)?;
        tail.read_segment(reader, &place.segment, rest.is_empty())?;
    }
    while let Some((name, after)) = rest.split_first() {
        rest = after;
        match SegmentReader::open(dir, name)? {
            Ok(reader) => {
                if name.first != tail.seq.next() || reader.chain() != tail.chain {
                    return Err(JournalError::rot_at(name.first, "its segment does not continue the one before"));
                }
                tail.read_segment(reader, name, rest.is_empty())?;
            }
            Err(fault) if rest.is_empty() && tail.seq.next() == name.first => refuse_newer(fault)?,
            Err(fault) => return Err(fault.into()),
        }
        if tail.place.as_ref().is_none_or(|place| place.segment != *name) {
            tail.stillborn = Some(name.clone());
        }
    }
    tail.newest = tail.place.as_ref().map(|place| (place.segment.clone(), place.end));
    Ok(tail)
}

/// Reads the watermark's record. It was durable, so nothing but damage keeps it from being intact.
fn read_marked(dir: &Path, place: &Place) -> Result<(Frame, u64)> {
    use std::os::unix::fs::FileExt as _;
    let path = dir.join(place.segment.file_name());
    let length = usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(0);
    let mut line = vec![0; length.min(3 * super::batch::MAX_VALUE_BYTES)];
    let read = std::fs::File::open(&path).and_then(|file| file.read_exact_at(&mut line, place.start));
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(JournalError::rot(format!("{} is shorter than it was", path.display())));
        }
        read => read.map_err(|e| JournalError::io("read", &path, e))?,
    }
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    let frame = Frame::parse(text)
        .map_err(|e| JournalError::rot(format!("{} (byte {}): the line {e}", path.display(), place.start)))?;
    Ok((frame, place.start + line.len() as u64))
}

impl Tail {
    /// Takes in the rest of a segment. Only in the newest may it end in a torn write: from the last complete batch on it counts as
    /// never written. Were it more than that, the store would hold records that are not here, and that is noticed.
    fn read_segment(
        &mut self,
        mut reader: SegmentReader<impl std::io::BufRead>,
        name: &SegmentName,
        newest: bool,
    ) -> Result<()> {
        let mut open: Vec<(Frame, u64, u64)> = Vec::new();
        loop {
            let start = reader.offset();
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(fault) if newest => return refuse_newer(fault),
                Err(fault) => return Err(fault.into()),
            };
            let complete = frame.left == 0;
            open.push((frame, start, reader.offset()));
            if self.frames.len() + open.len() > MAX_TAIL {
                return Err(JournalError::rot(format!("more than {MAX_TAIL} records lie behind the watermark")));
            }
            if complete {
                for (frame, start, end) in open.drain(..) {
                    (self.seq, self.chain) = (frame.seq, frame.chain);
                    self.place = Some(Place { segment: name.clone(), start, end });
                    self.frames.push(frame);
                }
            }
        }
        if !open.is_empty() && !newest {
            return Err(JournalError::rot(format!("{} ends within a batch", name.file_name())));
        }
        Ok(())
    }
}

/// Lets a torn line pass, but not an intact one of a newer program.
fn refuse_newer(fault: SegmentFault) -> Result<()> {
    match JournalError::from(fault) {
        newer @ JournalError::Newer { .. } => Err(newer),
        _ => Ok(()),
    }
}
