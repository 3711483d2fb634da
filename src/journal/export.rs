//! Export: prints journaled records as NDJSON, one a line, just as they are stored.

use std::io::Write;
use std::path::Path;

use super::dir::StateDir;
use super::error::{JournalError, Result};
use super::history::{EventFilter, Frames};

/// Writes the acknowledged records that `filter` lets through, archived ones included, and returns how many. Needs no lock.
///
/// # Errors
/// [`JournalError::Rot`] at the first damaged record; those before it are written. [`JournalError::NoSuchRun`]. I/O errors.
pub fn export(dir: &StateDir, filter: EventFilter, out: &mut dyn Write) -> Result<u64> {
    let failed = |e| JournalError::io("write", Path::new("the export"), e);
    let run = filter.run.clone();
    let mut records = 0;
    let frames = Frames::new(dir, filter)?;
    if let Some(run) = run.filter(|_| !frames.has_segments()) {
        return Err(JournalError::NoSuchRun(run));
    }
    for frame in frames {
        out.write_all(&frame?.line).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        records += 1;
    }
    out.flush().map_err(failed)?;
    Ok(records)
}
