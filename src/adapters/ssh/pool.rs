//! A connection that is made when it is first needed, kept, and made anew when it died.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::accepted::Means;
use super::{ExecLimits, ExecOutput, Session, SshError, SshTarget};

/// Commands at once on one connection: a stock sshd allows 10 sessions (MaxSessions), and one that has just been closed
/// here may still count there for a moment.
pub const MAX_CHANNELS: usize = 8;

/// Handshakes at once with one server, or through one bastion: a stock sshd turns some away from the 11th on (MaxStartups 10:30:100).
pub const MAX_HANDSHAKES: usize = 8;

/// Holds the connection to one target.
///
/// At most one connection is made at a time, and one handshake serves all that wait for it. A command that was not sent,
/// because the connection had died or the server had no channel left on it, is sent once more on a new one; one that may
/// have run never is. (sshd counts a command that outlived its deadline until it ends, so channels can run out for good
/// on a connection. The old one stays open for what still runs on it.)
pub struct Connection {
    target: SshTarget,
    slots: Semaphore,
    /// How many attempts to connect have failed; whoever sees it grow while waiting shares that failure.
    failures: AtomicU64,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// What was accepted the last time, to be offered first the next time.
    accepted: Option<Means>,
    /// How the last attempt failed.
    failure: Option<SshError>,
}

impl Connection {
    /// Makes a holder; nothing is connected yet.
    pub fn new(target: SshTarget) -> Self {
        let (slots, failures) = (Semaphore::new(MAX_CHANNELS), AtomicU64::new(0));
        Self { target, slots, failures, state: tokio::sync::Mutex::default() }
    }

    /// Returns the target.
    pub fn target(&self) -> &SshTarget {
        &self.target
    }

    /// Returns the open connection, or makes one.
    ///
    /// # Errors
    /// As [`Session::connect`]. All that wait for an attempt share its failure, so a host that does not answer costs one
    /// time-out and not one a command; a call that comes later tries anew.
    pub async fn session(&self) -> Result<Session, SshError> {
        let failures = self.failures.load(Ordering::SeqCst);
        let mut state = self.state.lock().await;
        if let Some(session) = state.session.as_ref().filter(|session| !session.is_closed()) {
            return Ok(session.clone());
        }
        if self.failures.load(Ordering::SeqCst) != failures
            && let Some(failure) = &state.failure
        {
            return Err(failure.clone());
        }
        state.session = None;
        let gate = handshakes_with(&self.target);
        let _turn = permit(&gate).await;
        let connected = Session::connect_preferring(&self.target, state.accepted.as_ref()).await;
        let session = connected.inspect_err(|error| {
            state.failure = Some(error.clone());
            self.failures.fetch_add(1, Ordering::SeqCst);
        })?;
        state.accepted = Some(session.means().clone());
        state.session = Some(session.clone());
        Ok(session)
    }

    /// Runs a command, connecting first where need be. The limits count from when a channel is free.
    ///
    /// # Errors
    /// As [`Session::connect`] and [`Session::exec`].
    pub async fn exec(&self, command: &str, limits: ExecLimits) -> Result<ExecOutput, SshError> {
        let _slot = permit(&self.slots).await;
        let session = self.session().await?;
        match session.exec(command, limits).await {
            Err(SshError::NotSent { reason, .. }) => {
                tracing::debug!(address = %self.target.address(), %reason, "connecting anew");
                self.forget(&session).await;
                self.session().await?.exec(command, limits).await
            }
            result => result,
        }
    }

    /// Closes the connection, if there is one; the next command makes a new one.
    pub async fn close(&self) {
        let session = self.state.lock().await.session.take();
        if let Some(session) = session {
            session.close().await;
        }
    }

    /// Gives a dead connection up, unless somebody else has replaced it already.
    async fn forget(&self, dead: &Session) {
        let mut state = self.state.lock().await;
        if state.session.as_ref().is_some_and(|session| session.is_same(dead)) {
            state.session = None;
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("target", &self.target.address()).finish_non_exhaustive()
    }
}

/// Takes a permit. Neither semaphore here is ever closed, which would be the one reason for there to be none.
async fn permit(semaphore: &Semaphore) -> Option<SemaphorePermit<'_>> {
    semaphore.acquire().await.ok()
}

type Gates = HashMap<(String, u16), Weak<Semaphore>>;

/// Returns the gate that handshakes with the target's first hop share across the process.
fn handshakes_with(target: &SshTarget) -> Arc<Semaphore> {
    static GATES: LazyLock<Mutex<Gates>> = LazyLock::new(Mutex::default);
    let first = match target.jumps.first() {
        Some(hop) => (hop.host.clone(), hop.port),
        None => (target.host.clone(), target.port),
    };
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gate) = gates.get(&first).and_then(Weak::upgrade) {
        return gate;
    }
    // Gates that nobody waits at are dropped, so the table is never larger than what connects at this moment.
    gates.retain(|_, gate| gate.strong_count() > 0);
    let gate = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    gates.insert(first, Arc::downgrade(&gate));
    gate
}
