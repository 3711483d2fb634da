//! SSH: who is connected to, how it proves itself, and what runs there.
//!
//! A [`SshTarget`] says everything about one machine; [`Session::connect`] makes one authenticated connection to it, and
//! [`pool::Connection`] keeps such a connection, makes it anew when it died, and stays within what a stock sshd allows.
//!
//! Ordinary sessions run on async-ssh2-tokio. Three things are beyond it and use russh, on which it is built:
//! - the key of a host that is not known yet is captured by a key exchange that goes no further ([`look`]; [`host_key`] decides about it);
//! - sessions through jump hosts, because async-ssh2-tokio takes no stream and resolves the names of later hops on this
//!   machine, where OpenSSH lets the bastion resolve them (`jump`);
//! - the channels that commands run on: its `execute` keeps all output in memory and turns it into text, so commands
//!   use the channels of its client directly (`exec`).

mod accepted;
mod auth;
mod error;
mod exec;
pub mod host_key;
mod jump;
mod known_hosts;
pub mod look;
pub mod pool;
mod private_key;
pub mod public_key;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use accepted::Accepted;
pub use error::{HostKeyError, SshError};
pub use exec::{ExecLimits, ExecOutput};
pub use host_key::{HostKeyPolicy, Strictness};
pub use public_key::{KeyPair, PublicKey, PublicKeyError, candidates};
pub use session::Session;

/// How long a connection may take from the first packet to the end of authentication: a reachable sshd needs well under
/// a second, its reverse look-up of our address up to 5 s when its resolver is down, and as much again is left for a slow link.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be silent before a keepalive is sent; with [`KEEPALIVE_MAX`] a frozen server is noticed after a minute.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How many keepalives may stay unanswered.
pub const KEEPALIVE_MAX: usize = 3;

/// The machine to connect to, the way there, and how both sides prove themselves.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// Its name or address (IPv6 without brackets, with its zone where it needs one: `fe80::1%eth0`); with jump hosts it is
    /// resolved on the last of them, as OpenSSH does.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// How that user proves itself.
    pub auth: Auth,
    /// How that user proves itself to the jump hosts, where that is not by `auth`; a password in it is shown to nobody.
    pub jump_auth: Option<Auth>,
    /// How the machine, and each jump host, proves itself.
    pub host_keys: HostKeyPolicy,
    /// The hosts to go through, in order (`ssh -J a,b`).
    pub jumps: Vec<JumpHop>,
    /// How long each attempt at a connection may take, authentication included (`ConnectTimeout`).
    pub connect_timeout: Duration,
    /// Silence after which a keepalive is sent (`ServerAliveInterval`); zero sends none.
    pub keepalive_interval: Duration,
    /// How many keepalives may stay unanswered before the connection counts as dead (`ServerAliveCountMax`).
    pub keepalive_max: usize,
}

impl SshTarget {
    /// Makes a target with the defaults: port 22, the usual identities, keys learnt into `own_known_hosts`. The brackets of an
    /// IPv6 address, as URLs have them, are taken off.
    pub fn new(host: impl Into<String>, user: impl Into<String>, own_known_hosts: PathBuf) -> Self {
        let host = host.into();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).filter(|bare| bare.contains(':'));
        Self {
            host: bare.map_or_else(|| host.clone(), str::to_owned),
            port: 22,
            user: user.into(),
            auth: Auth::default(),
            jump_auth: None,
            host_keys: HostKeyPolicy::new(own_known_hosts),
            jumps: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_max: KEEPALIVE_MAX,
        }
    }

    /// Returns the same target, logged in to by nothing but `auth`. The way there stays open: jump hosts are still shown what they
    /// were shown before.
    #[must_use]
    pub fn proven_by(&self, auth: Auth) -> Self {
        let jump_auth = self.jump_auth.clone().unwrap_or_else(|| self.auth.clone());
        Self { auth, jump_auth: Some(jump_auth), ..self.clone() }
    }

    /// Returns `user@host:port`, as error messages name the target.
    pub fn address(&self) -> String {
        format!("{}@{}", self.user, host_and_port(&self.host, self.port))
    }

    /// Returns the machine at the end of the way, as the jump hosts before it are written.
    fn end(&self) -> JumpHop {
        JumpHop { user: self.user.clone(), host: self.host.clone(), port: self.port }
    }
}

/// How the user proves itself: the files given, then the agent, then the usual files, then the password.
///
/// The usual files (`~/.ssh/id_ed25519`, `id_ecdsa`, `id_rsa`, those that exist) count only where no file is given, as with OpenSSH.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Private keys in OpenSSH, PKCS#1 or PKCS#8 format (`IdentityFile`, `-i`). One with a passphrase is of use only through the agent.
    pub identity_files: Vec<PathBuf>,
    /// Whether the usual files count where no file is given; not so with `IdentityFile none`.
    pub usual_files: bool,
    /// The password, for the target only: jump hosts never see it.
    pub password: Option<SecretString>,
    /// Whether to use the agent that `SSH_AUTH_SOCK` names.
    pub agent: bool,
}

impl Auth {
    /// Returns one that offers this private key and nothing else.
    #[must_use]
    pub fn only_key(private: PathBuf) -> Self {
        Self { identity_files: vec![private], usual_files: false, password: None, agent: false }
    }

    /// Returns one that offers this password and nothing else.
    #[must_use]
    pub fn only_password(password: SecretString) -> Self {
        Self { identity_files: Vec::new(), usual_files: false, password: Some(password), agent: false }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { identity_files: Vec::new(), usual_files: true, password: None, agent: true }
    }
}

/// A host to go through. It is authenticated to with the target's files, the agent or the usual files, never with the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JumpHop {
    /// The user there.
    pub user: String,
    /// Its name or address, resolved by the hop before it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl JumpHop {
    /// Returns `user@host:port`, as error messages name the hop.
    pub fn address(&self) -> String {
        format!("{}@{}", self.user, host_and_port(&self.host, self.port))
    }
}

/// Writes a host with its port, leaving the usual port out and putting an IPv6 address in brackets.
fn host_and_port(host: &str, port: u16) -> String {
    match (port, host.contains(':')) {
        (22, _) => host.to_owned(),
        (_, true) => format!("[{host}]:{port}"),
        (_, false) => format!("{host}:{port}"),
    }
}
