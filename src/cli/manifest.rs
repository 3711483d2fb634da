//! `proxmaint manifest show` and `proxmaint manifest check`; what edits the manifest is in [`edit`].
//!
//! Both take the two streams to write to: data goes to `out`, everything else to `err`. They return the exit code: 0, or 1
//! where the manifest can't be used.

pub mod edit;
mod human;
mod json;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use crate::manifest::{Env, HostEntry, Manifest, ManifestError, Problem, Severity};

/// The exit code for a manifest that is in order.
const VALID: u8 = 0;
/// The exit code for a manifest that can't be used.
const INVALID: u8 = 1;
/// How many errors are printed; with more than that one cause is behind most of them.
const MOST_ERRORS: usize = 50;

/// How `manifest show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowFormat {
    /// For people.
    Human,
    /// One JSON object, see [`show`].
    Json,
}

/// Prints the manifest with every default filled in.
///
/// As JSON it is `{"hosts": [{"name", "host", "user", "identity_file", "ssh_extra_args", ..}]}`: `null` for what is not set,
/// the arguments as the words that `ssh` gets, times in seconds, no password. A later version may add keys; it takes none away.
///
/// # Errors
/// Writing failed.
pub fn show(
    path: &Path,
    format: ShowFormat,
    env: &Env<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let manifest = match Manifest::load(path, env) {
        Ok(manifest) => manifest,
        Err(error) => {
            write_error(&error, err)?;
            return Ok(INVALID);
        }
    };
    write_problems(&manifest.warnings, err)?;
    match format {
        ShowFormat::Human => out.write_all(human::text(&manifest).as_bytes())?,
        ShowFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &json::ManifestView::new(&manifest))?;
            writeln!(out)?;
        }
    }
    Ok(VALID)
}

/// Says of each host that it is in order, or prints everything that is wrong.
///
/// # Errors
/// Writing failed.
pub fn check(path: &Path, env: &Env<'_>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let manifest = match Manifest::load(path, env) {
        Ok(manifest) => manifest,
        Err(error) => {
            write_error(&error, err)?;
            return Ok(INVALID);
        }
    };
    write_problems(&manifest.warnings, err)?;
    for host in &manifest.hosts {
        write!(out, "ok {} ({})", host.id, destination(host))?;
        if !host.unknown_keys.is_empty() {
            write!(out, ", not known here: {}", host.unknown_keys.join(", "))?;
        }
        writeln!(out)?;
    }
    let warnings = match manifest.warnings.len() {
        0 => String::new(),
        n => format!(", {}", count(n, "warning")),
    };
    writeln!(out, "ok {}: {}{warnings}", path.display(), count(manifest.hosts.len(), "host"))?;
    Ok(VALID)
}

/// Writes why a manifest can't be used: each error with its place and hints, and how many there are.
///
/// # Errors
/// Writing failed.
pub fn write_error(error: &ManifestError, err: &mut dyn Write) -> io::Result<()> {
    let problems = error.problems();
    if problems.is_empty() {
        write!(err, "error: {error}")?;
        let mut cause = error.source();
        while let Some(why) = cause {
            write!(err, ": {why}")?;
            cause = why.source();
        }
        writeln!(err)?;
        if let Some(hint) = error.hint() {
            writeln!(err, "hint: {hint}")?;
        }
        return Ok(());
    }
    write_problems(problems, err)?;
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let file = problems.first().map(|problem| problem.file.display().to_string()).unwrap_or_default();
    writeln!(err, "{file}: {}", count(errors, "error"))
}

/// Writes problems with their places and hints; of very many only the first.
///
/// # Errors
/// Writing failed.
pub(in crate::cli) fn write_problems(problems: &[Problem], err: &mut dyn Write) -> io::Result<()> {
    for problem in problems.iter().take(MOST_ERRORS) {
        writeln!(err, "{problem}")?;
    }
    match problems.len().saturating_sub(MOST_ERRORS) {
        0 => Ok(()),
        more => writeln!(err, "and {more} more like these\n"),
    }
}

/// Returns a number of things: `1 host`, `2 hosts`.
pub(in crate::cli) fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// Returns `user@host:port`, as it is connected to.
fn destination(host: &HostEntry) -> String {
    let address = if host.host.contains(':') { format!("[{}]", host.host) } else { host.host.clone() };
    format!("{}@{address}:{}", host.ssh.login(), host.ssh.port())
}
