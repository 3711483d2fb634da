//! One SSH server: its socket, its keys, its open connections.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use russh::keys::{PrivateKey, PublicKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::gate::{Gate, wire};
use super::session::Session;
use super::{Account, Commands, Names, STARTUPS_HARD, STARTUPS_SOFT, SshStats, lock};

/// What a server is made of.
pub struct SshSetup {
    /// The machine's name, for messages.
    pub name: String,
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The host keys, at least one.
    pub host_keys: Vec<PrivateKey>,
    /// Who may log in, by user name.
    pub accounts: BTreeMap<String, Account>,
    /// Names that this host resolves for forwards.
    pub names: Arc<Names>,
    /// What runs the commands.
    pub commands: Arc<dyn Commands>,
}

/// A running SSH server; dropping it closes its socket and connections.
pub struct SshServer {
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// What the connections of a server share.
pub(super) struct Shared {
    pub name: String,
    pub addr: SocketAddr,
    pub accounts: Mutex<BTreeMap<String, Account>>,
    pub names: Arc<Names>,
    pub commands: Arc<dyn Commands>,
    pub stats: Mutex<SshStats>,
    host_keys: Mutex<Vec<PrivateKey>>,
    silent: watch::Sender<bool>,
    /// Unauthenticated connections now.
    startups: Mutex<usize>,
    /// The gates of the open connections, by number.
    gates: Mutex<BTreeMap<usize, watch::Sender<Gate>>>,
}

impl SshServer {
    /// Binds the socket and starts to accept.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn start(setup: SshSetup) -> io::Result<Self> {
        let listener = TcpListener::bind(setup.listen).await.map_err(|error| {
            io::Error::new(error.kind(), format!("listening on {} for {}: {error}", setup.listen, setup.name))
        })?;
        let shared = Arc::new(Shared {
            name: setup.name,
            addr: listener.local_addr()?,
            accounts: Mutex::new(setup.accounts),
            names: setup.names,
            commands: setup.commands,
            stats: Mutex::default(),
            host_keys: Mutex::new(setup.host_keys),
            silent: watch::Sender::new(false),
            startups: Mutex::new(0),
            gates: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, accepting })
    }

    /// Returns the machine's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Returns the public parts of the host keys, in order of preference.
    pub fn host_keys(&self) -> Vec<PublicKey> {
        lock(&self.shared.host_keys).iter().map(|key| key.public_key().clone()).collect()
    }

    /// Replaces the host keys: connections from now on see the new ones.
    pub fn set_host_keys(&self, keys: Vec<PrivateKey>) {
        *lock(&self.shared.host_keys) = keys;
    }

    /// Replaces who may log in as a user.
    pub fn set_account(&self, user: &str, account: Account) {
        lock(&self.shared.accounts).insert(user.to_owned(), account);
    }

    /// Returns the names that it resolves for forwards.
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// With `true`, connections from now on are accepted and then hear nothing, not even a banner; with `false` those go on.
    pub fn set_silent(&self, silent: bool) {
        self.shared.silent.send_replace(silent);
    }

    /// Freezes, thaws or cuts all connections that are open now.
    pub fn set_gates(&self, gate: Gate) {
        for sender in lock(&self.shared.gates).values() {
            sender.send_replace(gate);
        }
    }

    /// Returns what clients did so far.
    pub fn stats(&self) -> SshStats {
        lock(&self.shared.stats).clone()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set_gates(Gate::Cut);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept (a client gone already, no descriptors left) concerns that client only.
                let Ok((socket, client)) = accepted else {
                    tokio::task::yield_now().await;
                    continue;
                };
                if let Some(startup) = Startup::begin(&shared) {
                    number += 1;
                    connections.spawn(connection(Arc::clone(&shared), socket, client, number, startup));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Counts a connection as unauthenticated until it is dropped.
pub(super) struct Startup(Arc<Shared>);

impl Startup {
    /// Counts one more, or refuses it: as a stock sshd does, 3 of 10 from the 11th on, rising to all of them at 100.
    fn begin(shared: &Arc<Shared>) -> Option<Self> {
        if !shared.commands.up() {
            return None;
        }
        let mut startups = lock(&shared.startups);
        let mut stats = lock(&shared.stats);
        if *startups >= STARTUPS_SOFT {
            let rate = 30 + 70 * (*startups - STARTUPS_SOFT) / (STARTUPS_HARD - STARTUPS_SOFT);
            // sshd draws lots; spreading the refusals evenly makes a test say the same each time.
            let asked = stats.connections + stats.dropped_startups;
            if (asked + 1) * rate / 100 > asked * rate / 100 {
                stats.dropped_startups += 1;
                return None;
            }
        }
        *startups += 1;
        stats.peak_startups = stats.peak_startups.max(*startups);
        stats.connections += 1;
        stats.open += 1;
        stats.peak_open = stats.peak_open.max(stats.open);
        drop((startups, stats));
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Startup {
    fn drop(&mut self) {
        *lock(&self.0.startups) -= 1;
    }
}

/// Forgets an open connection when it ends, however it ends.
struct Open(Arc<Shared>, usize);

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.0.gates).remove(&self.1);
        lock(&self.0.stats).open -= 1;
    }
}

async fn connection(shared: Arc<Shared>, socket: TcpStream, client: SocketAddr, number: usize, startup: Startup) {
    let gate = watch::Sender::new(Gate::Open);
    lock(&shared.gates).insert(number, gate.clone());
    let _open = Open(Arc::clone(&shared), number);
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let mut silent = shared.silent.subscribe();
    let mut cut = gate.subscribe();
    tokio::select! {
        heard = silent.wait_for(|silent| !*silent) => if heard.is_err() { return },
        _ = cut.wait_for(|gate| *gate == Gate::Cut) => return,
    }
    let config = Arc::new(russh::server::Config {
        keys: lock(&shared.host_keys).clone(),
        auth_rejection_time: std::time::Duration::ZERO,
        inactivity_timeout: None,
        max_auth_attempts: 6,
        ..russh::server::Config::default()
    });
    let (stream, pump) = wire(socket, gate.subscribe());
    let session = Session::new(Arc::clone(&shared), client, gate, startup);
    let serve = async {
        // A client that breaks the protocol or hangs up ends its own connection: nobody else is concerned.
        if let Ok(running) = russh::server::run_stream(config, stream, session).await {
            let _ = running.await;
        }
    };
    tokio::join!(serve, pump);
}
