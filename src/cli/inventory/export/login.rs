//! How a machine is logged in to, as a run does it, in the words of OpenSSH's files and of its command line.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::adapters::ssh::{JumpHop, SshTarget};
use crate::cli::connect::{guest_target, node_target};
use crate::ids::GuestId;
use crate::manifest::{HostEntry, HostKeyPolicy, SshArgs};

/// How a machine is logged in to.
pub(super) struct Login<'a> {
    target: SshTarget,
    /// What the manifest says itself; where it says nothing of host keys and times, OpenSSH's own settings are left alone.
    said: &'a SshArgs,
}

/// Something that OpenSSH's files have no way to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{keyword} can't be {given:?}: OpenSSH has no way to write that")]
pub(super) struct NoWords {
    keyword: &'static str,
    given: String,
}

/// A keyword of OpenSSH with its value, quoted and escaped as it stands in a file and behind `-o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    keyword: &'static str,
    value: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.keyword, self.value)
    }
}

impl Line {
    fn new(keyword: &'static str, value: impl fmt::Display) -> Self {
        Self { keyword, value: value.to_string() }
    }

    /// Returns the words `-o` and `Keyword=value`, not quoted for any shell.
    fn words(&self) -> [String; 2] {
        ["-o".to_owned(), format!("{}={}", self.keyword, self.value)]
    }
}

impl<'a> Login<'a> {
    /// Says how a node is logged in to.
    pub(super) fn of_node(entry: &'a HostEntry) -> Self {
        // Nothing is connected to, so no key is learnt into any file.
        Self { target: node_target(entry, None, Path::new("")), said: &entry.ssh.parsed }
    }

    /// Says how a guest is logged in to.
    pub(super) fn of_guest(entry: &'a HostEntry, id: GuestId, address: &str) -> Self {
        Self { target: guest_target(entry, None, id, address, Path::new("")), said: &entry.guest_ssh.parsed }
    }

    /// Returns where it is; an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        &self.target.host
    }

    /// Tells whether there is an address that is one at all: it may come from an inventory that somebody wrote.
    pub(super) fn has_host(&self) -> bool {
        let host = self.host();
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:-_%".contains(c);
        !host.is_empty() && !host.starts_with('-') && host.chars().all(fits)
    }

    /// Returns the user.
    pub(super) fn user(&self) -> &str {
        &self.target.user
    }

    /// Returns the port.
    pub(super) fn port(&self) -> u16 {
        self.target.port
    }

    /// Returns the private key that is offered first; `None` where the user's own ones are, or none.
    pub(super) fn key(&self) -> Option<&Path> {
        self.target.auth.identity_files.first().map(PathBuf::as_path)
    }

    /// Returns how long a connection may take, where the manifest says so.
    pub(super) fn connect_timeout(&self) -> Option<u64> {
        self.said.connect_timeout.map(|time| time.as_secs())
    }

    /// Returns everything as the lines of a `Host` entry.
    ///
    /// # Errors
    /// Something can't be written so.
    pub(super) fn lines(&self) -> Result<Vec<Line>, NoWords> {
        let mut lines = vec![
            Line::new("HostName", token("HostName", self.host())?),
            Line::new("User", user(self.user())?),
            Line::new("Port", self.port()),
        ];
        lines.extend(self.key().map(identity).transpose()?);
        lines.extend(self.more()?);
        Ok(lines)
    }

    /// Returns what `ssh -p PORT -i KEY USER@HOST` lacks, as words of its command line that are not quoted for any shell.
    ///
    /// # Errors
    /// Something can't be written so.
    pub(super) fn more_words(&self) -> Result<Vec<String>, NoWords> {
        Ok(self.more()?.iter().flat_map(Line::words).collect())
    }

    /// Returns the key that is offered first as such words; empty where none is named.
    ///
    /// # Errors
    /// It can't be written so.
    pub(super) fn key_words(&self) -> Result<Vec<String>, NoWords> {
        Ok(self.key().map(identity).transpose()?.iter().flat_map(Line::words).collect())
    }

    fn more(&self) -> Result<Vec<Line>, NoWords> {
        let auth = &self.target.auth;
        let mut lines = auth.identity_files.iter().skip(1).map(|key| identity(key)).collect::<Result<Vec<_>, _>>()?;
        if auth.identity_files.is_empty() && !auth.usual_files {
            lines.push(Line::new("IdentityFile", "none"));
        }
        if !self.target.jumps.is_empty() {
            let hops = self.target.jumps.iter().map(hop).collect::<Result<Vec<_>, _>>()?;
            // The one keyword whose value is taken as it stands: neither quotes nor tokens are read.
            lines.push(Line::new("ProxyJump", hops.join(",")));
        }
        lines.extend(self.said.host_keys.map(|policy| Line::new("StrictHostKeyChecking", strictness(policy))));
        if let Some(files) = &self.said.known_hosts_files {
            let files = files.iter().map(|file| path("UserKnownHostsFile", file)).collect::<Result<Vec<_>, _>>()?;
            let files = if files.is_empty() { "none".to_owned() } else { files.join(" ") };
            lines.push(Line::new("UserKnownHostsFile", files));
        }
        lines.extend(self.connect_timeout().map(|seconds| Line::new("ConnectTimeout", seconds)));
        let alive = self.said.server_alive_interval;
        lines.extend(alive.map(|time| Line::new("ServerAliveInterval", time.as_secs())));
        Ok(lines)
    }
}

fn identity(file: &Path) -> Result<Line, NoWords> {
    Ok(Line::new("IdentityFile", path("IdentityFile", file)?))
}

fn strictness(policy: HostKeyPolicy) -> &'static str {
    match policy {
        HostKeyPolicy::Strict => "yes",
        HostKeyPolicy::AcceptNew => "accept-new",
        HostKeyPolicy::Off => "no",
    }
}

fn path(keyword: &'static str, file: &Path) -> Result<String, NoWords> {
    match file.to_str() {
        Some(text) => token(keyword, text),
        None => Err(NoWords { keyword, given: file.display().to_string() }),
    }
}

/// Writes a value in which OpenSSH expands `%` and `${NAME}`: the one is doubled, the other can't be escaped.
fn token(keyword: &'static str, text: &str) -> Result<String, NoWords> {
    if text.contains("${") {
        return Err(NoWords { keyword, given: text.to_owned() });
    }
    word(keyword, &text.replace('%', "%%"))
}

/// Writes a user: newer versions of OpenSSH expand tokens in it and older ones don't, so there must be none.
fn user(text: &str) -> Result<String, NoWords> {
    if text.contains('%') || text.contains("${") {
        return Err(NoWords { keyword: "User", given: text.to_owned() });
    }
    word("User", text)
}

/// Writes a text as one word, in quotes where it needs them.
fn word(keyword: &'static str, text: &str) -> Result<String, NoWords> {
    if text.contains(char::is_control) {
        return Err(NoWords { keyword, given: text.to_owned() });
    }
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || "/._-:%+@,".contains(c);
    if !text.is_empty() && text.chars().all(is_harmless) {
        return Ok(text.to_owned());
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Writes a jump host, with user and port even where they are the usual ones: an entry of OpenSSH's files for the same host,
/// which may be one of those that are written here, must not replace them.
fn hop(hop: &JumpHop) -> Result<String, NoWords> {
    let JumpHop { user, host, port } = hop;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let whole = format!("{user}@{host}:{port}");
    // What ends a hop, or what a shell would read: OpenSSH runs itself through one to get there.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || ",%'`\"$;&<>|(){}\\".contains(c);
    if whole.contains(is_odd) {
        return Err(NoWords { keyword: "ProxyJump", given: whole });
    }
    Ok(whole)
}
