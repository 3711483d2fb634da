//! What is wrong or odd in a manifest, told so that one can act on it: place, line, caret, hint.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file can't be read.
    #[error("can't read the manifest {}", path.display())]
    Unreadable {
        /// The path that was tried.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any manifest.
    #[error("the manifest {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// The greatest size that is read, in bytes.
        limit: u64,
    },
    /// It was read and is wrong; every error that was found, in the order of the file.
    #[error("{}", listing(problems))]
    Invalid {
        /// The path.
        path: PathBuf,
        /// The errors; at least one.
        problems: Vec<Problem>,
    },
}

impl ManifestError {
    /// Returns the errors within the file; none where it could not be read at all.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { .. } | Self::TooLarge { .. } => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }

    /// Returns what an operator can do about it; the errors within a file carry hints of their own.
    pub fn hint(&self) -> Option<String> {
        use std::io::ErrorKind;
        match self {
            Self::Unreadable { path, source } => Some(match source.kind() {
                ErrorKind::NotFound => "name the manifest with `--config FILE`, or write one: see the sample proxmox-hosts.toml of the project".to_owned(),
                ErrorKind::PermissionDenied => "run as a user who may read it".to_owned(),
                ErrorKind::IsADirectory => format!("name the file within it: --config {}", path.join("proxmox-hosts.toml").display()),
                _ => "check that the path names a regular file".to_owned(),
            }),
            Self::TooLarge { .. } => Some("check that `--config` names a manifest".to_owned()),
            Self::Invalid { .. } => None,
        }
    }
}

/// Writes problems one below the other, an empty line between them.
fn listing(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// How much a [`Problem`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The manifest can't be used.
    Error,
    /// It can, but something in it probably is not meant so.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong and what was expected, as a lowercase fragment.
    pub message: String,
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// Another place that has to do with it, and what that is.
    pub other: Option<(String, Place)>,
    /// What to do about it, one a line.
    pub hints: Vec<String>,
}

/// A place in a file, with its line as it may be shown: passwords and the like are blotted out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line, or a part of it around the place where it is long.
    pub excerpt: String,
    /// What goes below the excerpt: blanks and carets.
    pub marker: String,
}

impl Place {
    fn write(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        writeln!(f, "{:width$} |", "")?;
        writeln!(f, "{}", format!("{:width$} | {}", self.line, self.excerpt).trim_end())?;
        writeln!(f, "{:width$} | {}", "", self.marker)
    }
}

impl Problem {
    /// Returns the file's path with line and column, as editors and terminals make a link of it.
    pub fn location(&self) -> String {
        location(&self.file, &self.place)
    }
}

fn location(file: &Path, place: &Place) -> String {
    format!("{}:{}:{}", file.display(), place.line, place.column)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.other.as_ref().map_or(0, |(_, place)| place.line).max(self.place.line);
        let width = last.to_string().len();
        writeln!(f, "{}: {}", self.severity, self.message)?;
        writeln!(f, "{:width$}--> {}", "", self.location())?;
        self.place.write(f, width)?;
        if let Some((what, place)) = &self.other {
            writeln!(f, "{:width$}--> {}: {what}", "", location(&self.file, place))?;
            place.write(f, width)?;
        }
        for hint in &self.hints {
            writeln!(f, "{:width$} hint: {hint}", "")?;
        }
        Ok(())
    }
}
