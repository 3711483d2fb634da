//! The gaps that a recovery had to leave: kept beside the segments, so that `verify` tells what is known to be lost from new damage.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::batch::Seq;
use super::dir::{StateDir, replace_file};
use super::error::{JournalError, Result};

/// Records that are known to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub first: Seq,
    pub last: Seq,
}

#[derive(Serialize, Deserialize)]
struct Line {
    first: u64,
    last: u64,
}

fn path(dir: &StateDir) -> PathBuf {
    dir.journal().join("gaps.ndjson")
}

/// Reads the gaps; none where nothing was ever lost.
pub(crate) fn read(dir: &StateDir) -> Result<Vec<Gap>> {
    let path = path(dir);
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|e| JournalError::io("read", &path, e))?,
    };
    // It only explains: a line that can't be read explains nothing, and the gap is reported as new damage.
    let parse = |line: &[u8]| serde_json::from_slice::<Line>(line).ok();
    let lines = text.split(|c| *c == b'\n').filter_map(parse);
    Ok(lines.map(|line| Gap { first: Seq(line.first), last: Seq(line.last) }).collect())
}

/// Adds gaps below `end`; what is lost at the end is no gap, its numbers are given again.
pub(crate) fn add(dir: &StateDir, gaps: impl Iterator<Item = Gap>, end: Seq) -> Result<()> {
    let mut all = read(dir)?;
    let before = all.len();
    all.extend(gaps.filter(|gap| gap.first < end));
    if all.len() == before {
        return Ok(());
    }
    let line = |gap: &Gap| format!("{{\"first\":{},\"last\":{}}}\n", gap.first, gap.last);
    replace_file(&path(dir), all.iter().map(line).collect::<String>().as_bytes())
}

/// Whether all records from `first` to `last` lie in gaps.
pub(crate) fn covers(gaps: &[Gap], first: Seq, last: Seq) -> bool {
    let mut next = first;
    while next <= last {
        let Some(gap) = gaps.iter().find(|gap| gap.first <= next && next <= gap.last) else { return false };
        next = gap.last.next();
    }
    true
}
