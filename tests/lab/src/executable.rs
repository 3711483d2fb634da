//! Writes programs that are run right after.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program: a text that may be run.
///
/// A process of its own writes it. What this process has open for writing, a child that another thread forks meanwhile has open too,
/// until it becomes its own program; and a file that anybody has open for writing can't be run (`ETXTBSY`).
///
/// # Errors
/// Where it can't be written.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    let told = writer.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let ended = writer.wait()?;
    told?;
    match ended.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{} can't be written: {ended}", path.display()))),
    }
}
