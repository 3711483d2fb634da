//! What can go wrong over SSH, split by the one question that matters: may the command have run?

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::host_key::fingerprint_command;
use crate::machine::outcome::{Fault, FaultClass};

/// Says why a connection or a command failed. No variant holds the command's text or a secret.
#[derive(Debug, Clone, Error)]
pub enum SshError {
    /// No connection came about: refused, unreachable, not resolved, or broken off before authentication ended.
    #[error("connecting to {address}: {reason}")]
    Connect {
        /// The target or the hop.
        address: String,
        /// What the system or the other side said.
        reason: String,
    },
    /// The other side did not answer in time; nothing was sent to be run.
    #[error("connecting to {address}: no answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// The target or the hop.
        address: String,
        /// The time allowed.
        after: Duration,
    },
    /// No identity was accepted, or there was none to offer.
    #[error("logging in as {address}: {tried}")]
    Auth {
        /// The target or the hop.
        address: String,
        /// What was offered, and what came of each.
        tried: String,
        /// What to do about it.
        hint: String,
    },
    /// The host is not who it should be.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// The known hosts could not be read, or the host's key could not be remembered.
    #[error("host keys in {}: {source}", path.display())]
    KnownHosts {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The server would not start the command; it did not run.
    #[error("running a command on {address}: {reason}")]
    Refused {
        /// The target.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The connection was dead, had no channel free, or the time was over before the command was sent; it did not run.
    #[error("running a command on {address}: {reason}; the command was not sent")]
    NotSent {
        /// The target.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// The command did not end in time. Its channel is closed, but it may still be at work: the outcome is unknown.
    #[error("running a command on {address}: not ended after {} s; whether it ran to its end is unknown", after.as_secs_f32())]
    Deadline {
        /// The target.
        address: String,
        /// The time allowed.
        after: Duration,
    },
    /// The connection was lost, or the command was killed, before its exit status came: the outcome is unknown.
    #[error("running a command on {address}: {how}; whether it ran to its end is unknown")]
    Lost {
        /// The target.
        address: String,
        /// What was seen.
        how: String,
    },
}

impl SshError {
    /// Returns whether the command may have run, wholly or in part.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Lost { .. })
    }

    /// Makes the fault of a command that changes nothing: a lost answer may simply be asked for again.
    pub fn into_read_fault(self) -> Fault {
        let mut fault = Fault::from(self);
        if fault.class == FaultClass::Ambiguous {
            fault.class = FaultClass::Transient;
        }
        fault
    }
}

/// Makes the fault of a command that may change something.
impl From<SshError> for Fault {
    fn from(error: SshError) -> Self {
        let what = error.to_string();
        match error {
            SshError::Connect { .. }
            | SshError::TimedOut { .. }
            | SshError::Refused { .. }
            | SshError::NotSent { .. } => Fault::transient(what),
            SshError::Auth { hint, .. } => Fault::auth(what).hint(hint),
            SshError::HostKey(error) => Fault::identity(what).hint(error.hint()),
            SshError::KnownHosts { path, .. } => {
                Fault::permanent(what).hint(format!("make {} readable and its directory writable", path.display()))
            }
            SshError::Deadline { .. } | SshError::Lost { .. } => Fault::ambiguous(what),
        }
    }
}

/// Says why a host's key was not accepted. Nothing was run on such a host, and no credential was shown to it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostKeyError {
    /// Another key is known for this host.
    #[error(
        "the host key of {host} has changed: {}:{line} knows {known}, the host offers {offered}",
        file.display()
    )]
    Changed {
        /// The host as known_hosts names it.
        host: String,
        /// The file that knows another key.
        file: PathBuf,
        /// The line in it, from 1.
        line: usize,
        /// The algorithm and SHA-256 fingerprint known.
        known: String,
        /// The algorithm and SHA-256 fingerprint offered.
        offered: String,
    },
    /// No key is known and none may be learnt.
    #[error(
        "the host key of {host} is not known, and StrictHostKeyChecking=yes learns none; the host offers {offered}"
    )]
    Unknown {
        /// The host as known_hosts names it.
        host: String,
        /// The algorithm and SHA-256 fingerprint offered.
        offered: String,
    },
    /// The key is marked as revoked.
    #[error("the host key of {host} is revoked by {}:{line}: {offered}", file.display())]
    Revoked {
        /// The host as known_hosts names it.
        host: String,
        /// The file that says so.
        file: PathBuf,
        /// The line in it, from 1.
        line: usize,
        /// The algorithm and SHA-256 fingerprint offered.
        offered: String,
    },
}

impl HostKeyError {
    /// Returns what an operator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Changed { host, file, offered, .. } => format!(
                "compare the fingerprint on the host's console ({}); if the change is meant: ssh-keygen -R '{host}' -f '{}'",
                fingerprint_command(offered),
                file.display()
            ),
            Self::Unknown { host, offered } => format!(
                "compare the fingerprint on the host's console ({}), then add the key of '{host}' to known_hosts, or use \
                 StrictHostKeyChecking=accept-new",
                fingerprint_command(offered)
            ),
            Self::Revoked { file, line, .. } => format!(
                "give the host new keys (rm /etc/ssh/ssh_host_*, ssh-keygen -A), or remove line {line} of {} if it is wrong",
                file.display()
            ),
        }
    }
}
