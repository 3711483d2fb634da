//! SSH servers of the lab: one a node and one a guest with logins, on loopback, speaking the real protocol.
//!
//! A server authenticates by public key (the lab's own, and those in a user's `authorized_keys`) or password, runs each `exec` request as a process of its own (see
//! [`Commands`]) with streaming input and output, forwards `direct-tcpip` for jump hosts with names that only it
//! resolves, and keeps the limits of a stock sshd: 10 sessions a connection (`MaxSessions`) and `MaxStartups 10:30:100`.
//! It can be made silent, frozen, cut or given a new host key, and it counts what clients do.

mod authorized_keys;
mod exec;
mod forward;
pub mod gate;
pub mod hosts;
pub mod keys;
mod server;
mod session;

pub use gate::Gate;
pub use hosts::SshHosts;
pub use keys::KeyKind;
pub use server::{SshServer, SshSetup};

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use russh::keys::PublicKey;

/// How many sessions a stock sshd allows on one connection (`MaxSessions`).
pub const MAX_SESSIONS: usize = 10;
/// From how many unauthenticated connections on a stock sshd drops some (`MaxStartups 10:30:100`).
pub const STARTUPS_SOFT: usize = 10;
/// From how many unauthenticated connections on a stock sshd drops all.
pub const STARTUPS_HARD: usize = 100;
/// How many of the last commands a server remembers.
const REMEMBERED_COMMANDS: usize = 10_000;

/// What goes wrong with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The connection is cut before the command is started: nothing happens on the machine.
    CutBefore,
    /// The connection is cut this long after the command was started; it goes on without its client.
    CutAfter(Duration),
    /// The connection is cut when the command has ended, before its exit status is sent.
    CutAtEnd,
    /// The command is started this late.
    Late(Duration),
}

/// Who asks for a command.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user that was authenticated.
    pub user: String,
    /// The client's address and port, for `SSH_CONNECTION`.
    pub client: std::net::SocketAddr,
    /// The server's address and port.
    pub server: std::net::SocketAddr,
}

/// What a server needs from its machine.
pub trait Commands: Send + Sync + 'static {
    /// Whether the machine is up; connections to one that is down are dropped at once.
    fn up(&self) -> bool;

    /// Starts a command as the user's shell would run it, with all three streams piped and in a process group of its own.
    ///
    /// # Errors
    /// Where the process cannot be started.
    fn spawn(&self, login: &Login, command: &str) -> io::Result<tokio::process::Child>;

    /// Tells whether a user of the machine has this key in `~/.ssh/authorized_keys`, in a file that sshd trusts.
    fn authorizes(&self, user: &str, key: &PublicKey) -> bool;

    /// What is to go wrong with this command, if anything. Asked once a command.
    fn trouble(&self, command: &str) -> Option<Trouble>;
}

/// Who may log in; the keys of `authorized_keys` let a user with an account in as well.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Public keys that are accepted without being in any file.
    pub keys: Vec<PublicKey>,
    /// The password, where one is accepted.
    pub password: Option<String>,
}

/// Names that a bastion resolves for `direct-tcpip`: to an address, and to a port where the port asked for is mapped too.
#[derive(Debug, Default)]
pub struct Names(Mutex<BTreeMap<String, (IpAddr, Option<u16>)>>);

impl Names {
    /// Adds a name; with `port`, a connection to it goes to that port whatever port was asked for.
    pub fn add(&self, name: &str, to: IpAddr, port: Option<u16>) {
        lock(&self.0).insert(name.to_owned(), (to, port));
    }

    fn resolve(&self, name: &str) -> Option<(IpAddr, Option<u16>)> {
        match name.parse() {
            Ok(address) => Some((address, None)),
            Err(_) => lock(&self.0).get(name).copied(),
        }
    }
}

/// What clients did to a server so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshStats {
    /// Connections accepted.
    pub connections: usize,
    /// Connections open now.
    pub open: usize,
    /// The most connections open at a time.
    pub peak_open: usize,
    /// The most connections at a time that were not authenticated yet.
    pub peak_startups: usize,
    /// Connections dropped because too many were not authenticated yet.
    pub dropped_startups: usize,
    /// Logins refused.
    pub refused_logins: usize,
    /// Sessions opened.
    pub sessions: usize,
    /// The most sessions open on one connection at a time.
    pub peak_sessions: usize,
    /// Sessions refused by `MaxSessions`.
    pub refused_sessions: usize,
    /// Forwards opened (`direct-tcpip`).
    pub forwards: usize,
    /// Connections cut by a fault.
    pub cuts: usize,
    /// The commands asked for, the last 10,000.
    pub commands: Vec<String>,
}

impl SshStats {
    fn remember(&mut self, command: &str) {
        if self.commands.len() == REMEMBERED_COMMANDS {
            self.commands.remove(0);
        }
        self.commands.push(command.to_owned());
    }
}

/// Locks a mutex whose holders do not panic; the data of one that did is still the best there is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
