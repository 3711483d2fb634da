//! The log of a run: a file under the state directory, written by a thread of its own, with every known secret blotted out.
//!
//! Nothing writes secrets to a log on purpose. The [`Redactor`] is there for the mistake: a message of a library that
//! quotes a header, a command line in an error. Whatever is registered with it is replaced by `***` in every line.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::ids::RunId;

/// The shortest text that is blotted out. Replacing every `a` would spell out a secret `a` rather than hide it.
const MIN_SECRET: usize = 4;
/// How many log lines may wait for the file: beyond that they are dropped, never waited for.
const QUEUE: usize = 64_000;

/// What is logged where `RUST_LOG` says nothing.
const FILTER: &str = "warn,proxmaint=debug";

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directory or file could not be made.
    #[error("opening the log {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A log is open already.
    #[error("starting the log: one is open already")]
    Twice,
}

/// Knows the secrets of this process and blots them out. Clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret that holds another one goes as a whole.
    secrets: Arc<RwLock<Vec<SecretString>>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.secrets.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Redactor").field("known", &known).finish()
    }
}

impl Redactor {
    /// Makes a redactor that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a secret: as it is, and as JSON, Rust's debug output and URLs would write it. Of one with several lines
    /// (a private key) each line counts by itself, too. What is shorter than four bytes can't be blotted out.
    pub fn register(&self, secret: &SecretString) {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        let text = secret.expose_secret();
        for part in std::iter::once(text).chain(text.lines().map(str::trim)) {
            let json = serde_json::Value::from(part).to_string();
            let forms = [
                part.to_owned(),
                json.trim_matches('"').to_owned(),
                part.escape_debug().to_string(),
                utf8_percent_encode(part, NON_ALPHANUMERIC).to_string(),
            ];
            for form in forms {
                let known = |secret: &SecretString| secret.expose_secret() == form;
                if form.len() >= MIN_SECRET && !secrets.iter().any(known) {
                    secrets.push(SecretString::from(form));
                }
            }
        }
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
    }

    /// Returns the text with every registered secret replaced by `***`.
    pub fn redact(&self, text: &str) -> String {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = text.to_owned();
        for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| text.contains(*secret)) {
            out = out.replace(secret, "***");
        }
        out
    }

    /// Returns the length of the longest form of a secret in bytes; 0 where none is known.
    pub fn longest(&self) -> usize {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.first().map_or(0, |secret| secret.expose_secret().len())
    }

    /// Replaces each byte of every registered secret by `*`, so that nothing else moves.
    pub fn blot_out(&self, bytes: &mut [u8]) {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets.iter().map(|secret| secret.expose_secret().as_bytes()) {
            let mut at = 0;
            while let Some(found) = bytes[at..].windows(secret.len()).position(|part| part == secret) {
                bytes[at + found..at + found + secret.len()].fill(b'*');
                at += found + secret.len();
            }
        }
    }

    /// Wraps a writer, so that what is written through it is redacted line by line.
    pub fn wrap<W: Write>(&self, out: W) -> Redacted<W> {
        Redacted { redactor: self.clone(), out, line: Vec::new() }
    }
}

/// A writer that blots secrets out. It writes whole lines, so that a secret that comes in two writes is found as well;
/// what stands after the last line break is written by `flush` and on drop.
#[derive(Debug)]
pub struct Redacted<W: Write> {
    redactor: Redactor,
    out: W,
    line: Vec<u8>,
}

/// The longest line that is held back to be looked at as a whole.
const MAX_LINE: usize = 1 << 20;

impl<W: Write> Redacted<W> {
    /// Writes the first `n` bytes of what is held back.
    fn write_out(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Ok(());
        }
        let text = self.redactor.redact(&String::from_utf8_lossy(&self.line[..n]));
        self.line.drain(..n);
        self.out.write_all(text.as_bytes())
    }
}

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(buf);
        let whole = match self.line.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if self.line.len() >= MAX_LINE => self.line.len(),
            None => 0,
        };
        self.write_out(whole)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out(self.line.len())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Redacted<W> {
    fn drop(&mut self) {
        // A destructor has nobody to tell; callers that care flush.
        let _written = self.write_out(self.line.len());
    }
}

/// Makes redacting writers for a layer of the log.
#[derive(Debug, Clone)]
struct Writers<M> {
    redactor: Redactor,
    inner: M,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Writers<M> {
    type Writer = Redacted<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        self.redactor.wrap(self.inner.make_writer())
    }
}

/// What of the log also goes to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Nothing: bars are drawn there, or JSON is read by a program.
    Off,
    /// Warnings and errors.
    Warnings,
}

/// The log of this process. While it lives, lines are written; dropping it writes those that wait, so keep it until main
/// returns (and let main return: `process::exit` loses lines).
#[derive(Debug)]
#[must_use]
pub struct Log {
    path: PathBuf,
    _guard: WorkerGuard,
}

impl Log {
    /// Opens the log of a run, `logs/<run>.log` under the state directory (0600 in a 0700 directory, whatever the umask),
    /// and makes it the log of the whole process. `RUST_LOG` chooses what is logged, else ours from `debug` on and
    /// others' from `warn` on.
    ///
    /// # Errors
    /// Where the file can't be opened, or a log is open already.
    pub fn open(state_dir: &Path, run: &RunId, redactor: &Redactor, console: Console) -> Result<Self, LogError> {
        let path = state_dir.join("logs").join(format!("{run}.log"));
        let file = open_private(&path).map_err(|source| LogError::Open { path: path.clone(), source })?;
        let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(QUEUE).finish(file);
        let filter = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| FILTER.to_owned());
        tracing::subscriber::set_global_default(subscriber(writer, redactor, console, &filter))
            .map_err(|_| LogError::Twice)?;
        Ok(Self { path, _guard: guard })
    }

    /// Returns where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Builds the log's layers.
fn subscriber(
    file: NonBlocking,
    redactor: &Redactor,
    console: Console,
    filter: &str,
) -> impl Subscriber + Send + Sync + use<> {
    let file = Writers { redactor: redactor.clone(), inner: file };
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(filter);
    let file = fmt::layer().with_writer(file).with_ansi(false).with_target(true).with_filter(filter);
    let stderr = (console == Console::Warnings).then(|| {
        let writer = Writers { redactor: redactor.clone(), inner: io::stderr as fn() -> io::Stderr };
        fmt::layer()
            .with_writer(writer)
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .with_filter(LevelFilter::WARN)
    });
    tracing_subscriber::registry().with(file).with(stderr)
}

/// Opens a file to append to, for its owner alone, its directory as well.
fn open_private(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing(secrets: &[&str]) -> Redactor {
        let redactor = Redactor::new();
        for secret in secrets {
            redactor.register(&SecretString::from(*secret));
        }
        redactor
    }

    #[test]
    fn a_secret_is_blotted_out_in_every_form_that_it_may_take() {
        let redactor = knowing(&["pa\"ss wörd"]);
        for text in [
            "login pa\"ss wörd!".to_owned(),
            serde_json::json!({"p": "pa\"ss wörd"}).to_string(),
            format!("{:?}", "pa\"ss wörd"),
            "https://x/?p=pa%22ss%20w%C3%B6rd".to_owned(),
        ] {
            let redacted = redactor.redact(&text);
            assert!(redacted.contains("***") && !redacted.contains("pa"), "{redacted}");
        }
    }

    #[test]
    fn the_longer_secret_goes_as_a_whole_and_harmless_text_stays() {
        let redactor = knowing(&["hunter2", "hunter2-and-more", "abc", ""]);
        assert_eq!(redactor.redact("hunter2-and-more hunter2 abc"), "*** *** abc");
        assert_eq!(redactor.redact(""), "");
    }

    #[test]
    fn each_line_of_a_key_is_a_secret_of_its_own() {
        let redactor = knowing(&["-----BEGIN KEY-----\nAAAABBBB\nCCCCDDDD\n"]);
        assert_eq!(redactor.redact("got CCCCDDDD"), "got ***");
    }

    #[test]
    fn a_secret_that_comes_in_two_writes_is_found() {
        let mut out = Vec::new();
        {
            let mut writer = knowing(&["topsecret"]).wrap(&mut out);
            writer.write_all(b"a tops").unwrap();
            writer.write_all(b"ecret b\nrest tops").unwrap();
            writer.write_all(b"ecret").unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), "a *** b\nrest ***");
    }

    #[test]
    fn the_log_is_private_and_holds_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/20261122-222842-abcd.log");
        let redactor = knowing(&["s3cr3t-token"]);
        let (writer, guard) = NonBlockingBuilder::default().finish(open_private(&path).unwrap());
        let subscriber = subscriber(writer, &redactor, Console::Off, FILTER);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(header = "PVEAPIToken=s3cr3t-token", "asked\x1b[2J s3cr3t-token");
        });
        drop(guard);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("asked") && text.contains("PVEAPIToken=***"), "{text}");
        assert!(!text.contains("s3cr3t") && !text.contains('\x1b'), "{text}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn debug_output_of_a_redactor_holds_no_secret() {
        assert_eq!(format!("{:?}", knowing(&["topsecret"])), "Redactor { known: 1 }");
    }
}
