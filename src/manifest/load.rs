//! From a path to a [`Manifest`]: reading, decoding, parsing; then the reader's findings become errors or warnings.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml_edit::Document;

use super::hosts;
use super::paths::Paths;
use super::problem::{ManifestError, Severity};
use super::raw::Reader;
use super::source::{Draft, Source, Trust, blotted};
use super::types::Manifest;
use super::{Env, Problem};

/// The greatest manifest that is read: a thousand hosts with inventories of twenty guests each take about 8 MiB.
pub(super) const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The permission bits of a file that let anyone but its owner read it.
const READ_BY_OTHERS: u32 = 0o044;

impl Manifest {
    /// Reads a manifest. `env` is asked for `HOME` alone, to expand `~`.
    ///
    /// # Errors
    /// The file can't be read, or it is wrong: then with everything that is wrong in it.
    pub fn load(path: &Path, env: &Env<'_>) -> Result<Self, ManifestError> {
        let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
        let canonical = path.canonicalize().map_err(unreadable)?;
        let file = File::open(&canonical).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ManifestError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
        }
        parse(path, canonical, &bytes, mode & READ_BY_OTHERS != 0, env)
    }

    /// Reads a manifest from memory, as if it lay at `path`, which must be absolute for its relative paths to be so.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn parse(path: &Path, bytes: &[u8], env: &Env<'_>) -> Result<Self, ManifestError> {
        parse(path, path.to_owned(), bytes, false, env)
    }
}

/// Reads the bytes of a file: `shown` is how messages name it, `open` whether others than its owner can read it.
fn parse(shown: &Path, canonical: PathBuf, bytes: &[u8], open: bool, env: &Env<'_>) -> Result<Manifest, ManifestError> {
    let invalid = |problems| ManifestError::Invalid { path: shown.to_owned(), problems };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(invalid(not_utf8(shown, bytes, error.valid_up_to()))),
    };
    let source = Source::new(shown.to_owned(), text);
    let document = match Document::parse(source.text()) {
        Ok(document) => document,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let draft = Draft {
                severity: Severity::Error,
                message: format!("this is not TOML: {}", error.message()),
                hints: syntax_hints(error.message(), source.text(), span.start),
                span,
                other: None,
            };
            return Err(invalid(source.problems(vec![draft], Vec::new(), Trust::Broken)));
        }
    };

    let home = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let paths = Paths { base: canonical.parent().unwrap_or(Path::new("/")).to_owned(), home };
    let mut reader = Reader::new(paths);
    let content = hosts::read(&mut reader, document.as_table());
    if let Some(at) = content.password_at.filter(|_| open) {
        let hint = format!("chmod 600 {}, or name a variable with `password_env` instead", shown.display());
        reader.warn(at, "this password can be read by other users of the system", &[&hint]);
    }
    let Reader { drafts, secrets, .. } = reader;
    drop(document);
    let problems = source.problems(drafts, secrets, Trust::Parsed);
    let (errors, warnings): (Vec<Problem>, Vec<Problem>) =
        problems.into_iter().partition(|problem| problem.severity == Severity::Error);
    if !errors.is_empty() {
        // Warnings come along: a misspelled key is often why another one is missing.
        let mut all = errors;
        all.extend(warnings);
        return Err(invalid(all));
    }
    Ok(Manifest { path: canonical, defaults: content.defaults, hosts: content.hosts, warnings })
}

/// Returns a text, which need be no valid manifest, as it may be shown: passwords and the like blotted out.
pub(super) fn showable(text: &str) -> String {
    let Ok(document) = Document::parse(text) else { return blotted(text, Vec::new(), Trust::Broken) };
    let mut reader = Reader::new(Paths { base: PathBuf::from("/"), home: None });
    let _read = hosts::read(&mut reader, document.as_table());
    blotted(text, reader.secrets, Trust::Parsed)
}

fn not_utf8(shown: &Path, bytes: &[u8], at: usize) -> Vec<Problem> {
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let what = if is_utf16 { "UTF-16" } else { "another encoding" };
    let text = String::from_utf8_lossy(bytes);
    // A byte order mark is no part of the source's text.
    let at = if text.starts_with('\u{feff}') { at - '\u{feff}'.len_utf8() } else { at };
    let draft = Draft {
        severity: Severity::Error,
        message: format!("the file is not UTF-8 but {what}"),
        span: at..at + char::REPLACEMENT_CHARACTER.len_utf8(),
        other: None,
        hints: vec!["save it as UTF-8".to_owned()],
    };
    Source::new(shown.to_owned(), &text).problems(vec![draft], Vec::new(), Trust::Broken)
}

/// Returns the line that an offset lies in.
fn line_at(text: &str, at: usize) -> &str {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[start..].lines().next().unwrap_or_default().trim_start()
}

/// Returns what to do about a syntax error at an offset, where the parser's words don't say it.
fn syntax_hints(message: &str, text: &str, at: usize) -> Vec<String> {
    let line = line_at(text, at);
    let is_twice = message.contains("duplicate key") || message.contains("dotted key");
    let key: String = line.trim_start_matches('[').chars().filter(|c| !c.is_whitespace()).collect();
    let is_of = |section: &str| key.strip_prefix(section).is_some_and(|rest| rest.starts_with(['.', '=', ']']));
    // `host` alone may simply stand twice.
    let is_host = is_of("hosts.host") || key.starts_with("host.") || is_of("host") && text.contains("host.reboot");
    let hint = if is_twice && is_host {
        hosts::HOST_REBOOT_HINT
    } else if is_twice && (is_of("guests") || is_of("hosts.guests")) {
        "beside [[hosts.guests]], TOML has no room for `guests.include`: write guests_include and guests_exclude"
    } else if is_twice {
        "a key, or a [table], stands once; each host begins with a line [[hosts]] of its own"
    } else if message.contains("comma") {
        "within [ ] and { } there is a comma between one and the next; a quote within quotes is written \\\""
    } else if message.contains("quoted") || message.contains("string") {
        "texts stand in quotes: host = \"pve1.example.org\""
    } else if message.contains("overflow") {
        "0 stands for the default"
    } else {
        "a line is KEY = VALUE, [defaults], [[hosts]] or # a comment"
    };
    vec![hint.to_owned()]
}
