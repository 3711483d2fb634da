//! One authenticated connection: who logs in, which channels it may open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::watch;

use super::gate::Gate;
use super::server::{Shared, Startup};
use super::{Login, MAX_SESSIONS, exec, forward, lock};

/// The state of one connection.
pub(super) struct Session {
    shared: Arc<Shared>,
    client: SocketAddr,
    gate: watch::Sender<Gate>,
    startup: Option<Startup>,
    user: String,
    open_sessions: Arc<AtomicUsize>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, client: SocketAddr, gate: watch::Sender<Gate>, startup: Startup) -> Self {
        let open_sessions = Arc::default();
        Self { shared, client, gate, startup: Some(startup), user: String::new(), open_sessions }
    }

    fn knows(&self, user: &str, key: &PublicKey) -> bool {
        let Some(account) = lock(&self.shared.accounts).get(user).cloned() else { return false };
        account.keys.iter().any(|known| known.key_data() == key.key_data())
            || self.shared.commands.authorizes(user, key)
    }

    fn refuse(&self) -> Auth {
        lock(&self.shared.stats).refused_logins += 1;
        Auth::reject()
    }
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, key: &PublicKey) -> Result<Auth, Self::Error> {
        Ok(if self.knows(user, key) { Auth::Accept } else { self.refuse() })
    }

    async fn auth_publickey(&mut self, user: &str, key: &PublicKey) -> Result<Auth, Self::Error> {
        Ok(if self.knows(user, key) {
            user.clone_into(&mut self.user);
            Auth::Accept
        } else {
            self.refuse()
        })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let good = lock(&self.shared.accounts)
            .get(user)
            .and_then(|account| account.password.as_deref())
            .is_some_and(|known| known == password);
        Ok(if good {
            user.clone_into(&mut self.user);
            Auth::Accept
        } else {
            self.refuse()
        })
    }

    async fn auth_succeeded(&mut self, _session: &mut russh::server::Session) -> Result<(), Self::Error> {
        self.startup = None;
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let open = self.open_sessions.load(Ordering::SeqCst);
        if open >= MAX_SESSIONS {
            lock(&self.shared.stats).refused_sessions += 1;
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        {
            let mut stats = lock(&self.shared.stats);
            stats.sessions += 1;
            stats.peak_sessions = stats.peak_sessions.max(open + 1);
        }
        let slot = exec::Slot::take(&self.open_sessions);
        reply.accept().await;
        let login = Login { user: self.user.clone(), client: self.client, server: self.shared.addr };
        let serving = exec::serve(Arc::clone(&self.shared), login, self.gate.clone(), session.handle(), channel, slot);
        // It ends with its channel or its process; a process that outlives its connection is waited for here as well.
        tokio::spawn(serving);
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        match forward::connect(&self.shared.names, host, port).await {
            Ok(socket) => {
                lock(&self.shared.stats).forwards += 1;
                reply.accept().await;
                tokio::spawn(forward::carry(channel, socket));
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    // Replies to requests are given here and not where the channel is served: only here they are in the order of the requests.

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
