//! Connections through jump hosts: each hop is an SSH connection inside a channel of the hop before it.
//!
//! The next hop is named to the bastion, not resolved here, so names that only the bastion knows work as with OpenSSH's
//! `-J`. Every hop's host key is checked like the target's.

use std::sync::{Arc, OnceLock};

use russh::Channel;
use russh::client::{Config, Handle, Handler, Msg};
use russh::keys::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::accepted::Means;
use super::auth::{Offers, log_in};
use super::host_key::{Asked, Decision, HostKeyPolicy, Known, learn};
use super::session::{config, resolve};
use super::{JumpHop, SshError, SshTarget};

/// The connection to a target together with the connections that it runs through.
pub(super) struct Chain {
    target: Handle<Checked>,
    /// Dropped after the target's.
    hops: Hops,
}

/// The connections to jump hosts of a target, in order from here, as far as they have been made.
pub(super) struct Hops {
    connected: Vec<Handle<Checked>>,
    offers: Offers,
}

impl Hops {
    /// Begins the way to a target; nothing is connected yet.
    pub(super) async fn begin(target: &SshTarget) -> Self {
        let offers = Offers::gather_for_jumps(target).await;
        Self { connected: Vec::with_capacity(target.jumps.len()), offers }
    }

    /// Connects to the next jump host, through those before it, and logs in there.
    pub(super) async fn go_on(&mut self, target: &SshTarget, hop: &JumpHop) -> Result<(), SshError> {
        let (handle, _) = self.enter(target, hop, None).await?;
        self.connected.push(handle);
        Ok(())
    }

    /// Connects to a machine through all of them and logs in there, with what there is for it or for the hops; returns what was
    /// accepted.
    async fn enter(
        &mut self,
        target: &SshTarget,
        hop: &JumpHop,
        offers: Option<&mut Offers>,
    ) -> Result<(Handle<Checked>, Means), SshError> {
        let (mut handle, decision) = self.open(target, hop).await?;
        let offers = offers.unwrap_or(&mut self.offers);
        let accepted = timed(target, hop, prove(&mut handle, hop, offers, decision)).await?;
        Ok((handle, accepted))
    }

    /// Makes the key exchange with a machine behind all of them.
    async fn open(&self, target: &SshTarget, hop: &JumpHop) -> Result<(Handle<Checked>, Decision), SshError> {
        let known = Known::look_up(&target.host_keys, &hop.host, hop.port).await?;
        let config = Arc::new(config(target, known.algorithms(Asked::All)));
        let decision = Arc::new(OnceLock::new());
        let checked = Checked { policy: target.host_keys.clone(), hop: hop.clone(), known, decision: decision.clone() };
        let stream = self.stream_to(target, hop).await?;
        let handle = timed(target, hop, exchange(config, stream, checked, hop)).await?;
        Ok((handle, decision.get().copied().unwrap_or(Decision::Mistrust)))
    }

    /// Makes the transport to a machine: over TCP from here, or through the last of the hops.
    pub(super) async fn stream_to(&self, target: &SshTarget, hop: &JumpHop) -> Result<Box<dyn Transport>, SshError> {
        let Some(bastion) = self.connected.last() else { return Ok(Box::new(tcp(target, hop).await?)) };
        timed(target, hop, async {
            // The originator is information for the bastion's log only.
            let opening = bastion.channel_open_direct_tcpip(&hop.host, u32::from(hop.port), "127.0.0.1", 0);
            let channel = opening.await.map_err(|error| {
                let reason = format!("the jump host opens no way there ({error})");
                SshError::Connect { address: hop.address(), reason }
            })?;
            Ok(Box::new(channel.into_stream()) as Box<dyn Transport>)
        })
        .await
    }
}

/// What an SSH connection runs over: a socket, or a channel of another connection.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

impl Chain {
    /// Connects through all hops and logs in at the target; returns what was accepted there.
    pub(super) async fn connect(target: &SshTarget, offers: Offers) -> Result<(Self, Means), SshError> {
        let mut offers = offers;
        let mut hops = Hops::begin(target).await;
        for hop in &target.jumps {
            hops.go_on(target, hop).await?;
        }
        let (handle, accepted) = hops.enter(target, &target.end(), Some(&mut offers)).await?;
        Ok((Self { target: handle, hops }, accepted))
    }

    /// Opens a channel for a command.
    pub(super) async fn channel(&self) -> Result<Channel<Msg>, russh::Error> {
        self.target.channel_open_session().await
    }

    /// Returns whether the connection, or one that it runs through, is known to be dead.
    pub(super) fn is_closed(&self) -> bool {
        self.target.is_closed() || self.hops.connected.iter().any(Handle::is_closed)
    }

    /// Says good-bye to the target, then to the hops, the last one first.
    pub(super) async fn disconnect(&self) -> Result<(), russh::Error> {
        let mut ended = self.target.disconnect(russh::Disconnect::ByApplication, "", "").await;
        for hop in self.hops.connected.iter().rev() {
            ended = ended.and(hop.disconnect(russh::Disconnect::ByApplication, "", "").await);
        }
        ended
    }
}

async fn tcp(target: &SshTarget, hop: &JumpHop) -> Result<TcpStream, SshError> {
    let mut last = None;
    for address in resolve(&hop.host, hop.port, target.connect_timeout).await? {
        let connecting = async {
            let failed =
                |error: std::io::Error| SshError::Connect { address: hop.address(), reason: error.to_string() };
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            Ok(stream)
        };
        match timed(target, hop, connecting).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| SshError::Connect { address: hop.address(), reason: "no address".to_owned() }))
}

async fn exchange<S>(
    config: Arc<Config>,
    stream: S,
    checked: Checked,
    hop: &JumpHop,
) -> Result<Handle<Checked>, SshError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    russh::client::connect_stream(config, stream, checked).await.map_err(|error| match error {
        HopError::Ssh(error) => error,
        HopError::Russh(error) => SshError::Connect { address: hop.address(), reason: error.to_string() },
    })
}

async fn prove(
    handle: &mut Handle<Checked>,
    hop: &JumpHop,
    offers: &mut Offers,
    decision: Decision,
) -> Result<Means, SshError> {
    if decision == Decision::Mistrust {
        offers.keep_secrets("the host key has changed");
    }
    log_in(handle, &hop.user, &hop.address(), offers).await
}

async fn timed<T>(
    target: &SshTarget,
    hop: &JumpHop,
    work: impl Future<Output = Result<T, SshError>>,
) -> Result<T, SshError> {
    let after = target.connect_timeout;
    match timeout(after, work).await {
        Ok(result) => result,
        Err(_) => Err(SshError::TimedOut { address: hop.address(), after }),
    }
}

/// Decides about a hop's key within the key exchange, and learns it: russh asks only once the hop has signed with it.
struct Checked {
    policy: HostKeyPolicy,
    hop: JumpHop,
    known: Known,
    decision: Arc<OnceLock<Decision>>,
}

/// An error of the key exchange: ours is passed through as it is.
#[derive(Debug, thiserror::Error)]
enum HopError {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error(transparent)]
    Russh(#[from] russh::Error),
}

impl Handler for Checked {
    type Error = HopError;

    async fn check_server_key(&mut self, key: &PublicKey) -> Result<bool, Self::Error> {
        let decision = self.known.decide(self.policy.strict, key).map_err(SshError::from)?;
        if decision == Decision::Learn {
            learn(&self.policy, &self.hop.host, self.hop.port, key).await?;
        }
        // Asked once a connection: a second answer would be the same.
        let _ = self.decision.set(decision);
        Ok(true)
    }
}
