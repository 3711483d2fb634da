//! One authenticated connection to one machine.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_ssh2_tokio::{Client, Error as ClientError, ServerCheckMethod};
use russh::client::{Config, Msg};
use russh::keys::{Algorithm, PublicKey, PublicKeyBase64};
use russh::{AlgorithmKind, Channel, Preferred};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::accepted::{Accepted, Means};
use super::auth::Offers;
use super::host_key::{Asked, Decision, Known, learn};
use super::jump::Chain;
use super::look::capture;
use super::{ExecLimits, ExecOutput, SshError, SshTarget, exec, host_and_port, host_key};

/// How many addresses of a name are tried: two families, each with a second address.
const MAX_ADDRESSES: usize = 4;

/// How long a good-bye may take: it is one packet, which waits only where a frozen connection takes none.
const GOODBYE: Duration = Duration::from_secs(1);

/// An open, authenticated connection; clones share it, and it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Session {
    link: Link,
    address: Arc<str>,
    accepted: Arc<Means>,
}

#[derive(Clone)]
enum Link {
    /// By async-ssh2-tokio.
    Direct(Client),
    /// Through jump hosts, by russh.
    Jumped(Arc<Chain>),
}

impl Session {
    /// Connects, checks the host's key, and logs in.
    ///
    /// # Errors
    /// [`SshError::Connect`] and [`SshError::TimedOut`] where no connection came about, [`SshError::HostKey`] where the
    /// host is not who it should be, [`SshError::Auth`] where no identity was accepted.
    pub async fn connect(target: &SshTarget) -> Result<Self, SshError> {
        Self::connect_preferring(target, None).await
    }

    /// Connects, offering first what is preferred.
    pub(super) async fn connect_preferring(target: &SshTarget, preferred: Option<&Means>) -> Result<Self, SshError> {
        let mut offers = Offers::gather(target).await;
        if let Some(preferred) = preferred {
            offers.prefer(preferred);
        }
        let (link, accepted) = if target.jumps.is_empty() {
            let (client, accepted) = direct(target, offers).await?;
            (Link::Direct(client), accepted)
        } else {
            let (chain, accepted) = Chain::connect(target, offers).await?;
            (Link::Jumped(Arc::new(chain)), accepted)
        };
        let address = target.address();
        tracing::debug!(%address, %accepted, "connected");
        Ok(Self { link, address: address.into(), accepted: accepted.into() })
    }

    /// Runs a command by the user's login shell and collects what it leaves, whatever its exit status. Its input is empty.
    ///
    /// # Errors
    /// [`SshError::NotSent`] and [`SshError::Refused`] where it did not run; [`SshError::Deadline`] and
    /// [`SshError::Lost`] where it may have.
    pub async fn exec(&self, command: &str, limits: ExecLimits) -> Result<ExecOutput, SshError> {
        exec::run(self.channel(), &self.address, command, limits).await
    }

    async fn channel(&self) -> Result<Channel<Msg>, ClientError> {
        match &self.link {
            Link::Direct(client) => client.get_channel().await,
            Link::Jumped(chain) => chain.channel().await.map_err(ClientError::SshError),
        }
    }

    /// Returns whether the connection is known to be dead. One that died silently is noticed by its keepalives.
    pub fn is_closed(&self) -> bool {
        match &self.link {
            Link::Direct(client) => client.is_closed(),
            Link::Jumped(chain) => chain.is_closed(),
        }
    }

    /// Returns whether both are the same connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.address, &other.address)
    }

    /// Returns `user@host:port` of the target.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what was accepted as proof.
    pub fn accepted(&self) -> Accepted {
        Accepted::from(&*self.accepted)
    }

    /// Returns by which means the login came about, to be preferred the next time.
    pub(super) fn means(&self) -> &Means {
        &self.accepted
    }

    /// Says good-bye; commands that still run are lost.
    pub async fn close(&self) {
        let closing = async {
            match &self.link {
                Link::Direct(client) => client.disconnect().await.map_err(|error| error.to_string()),
                Link::Jumped(chain) => chain.disconnect().await.map_err(|error| error.to_string()),
            }
        };
        match timeout(GOODBYE, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(address = %self.address, %error, "the connection was closed already"),
            Err(_) => tracing::debug!(address = %self.address, "the connection is stuck and is dropped as it is"),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("address", &self.address).field("accepted", &self.accepted).finish()
    }
}

/// Makes russh's configuration of one connection.
pub(super) fn config(target: &SshTarget, host_keys: Vec<Algorithm>) -> Config {
    Config {
        preferred: Preferred { key: Cow::Owned(host_keys), ..Preferred::DEFAULT },
        keepalive_interval: Some(target.keepalive_interval).filter(|interval| !interval.is_zero()),
        keepalive_max: target.keepalive_max,
        // Commands and answers are small: waiting to fill packets costs 40 ms on each.
        nodelay: true,
        ..Config::default()
    }
}

/// Resolves a name here, off the async threads.
pub(super) async fn resolve(host: &str, port: u16, after: Duration) -> Result<Vec<SocketAddr>, SshError> {
    let address = host_and_port(host, port);
    match timeout(after, lookup_host((host, port))).await {
        Ok(Ok(found)) => {
            let found: Vec<_> = found.take(MAX_ADDRESSES).collect();
            if found.is_empty() {
                return Err(SshError::Connect { address, reason: "the name has no address".to_owned() });
            }
            Ok(found)
        }
        Ok(Err(error)) => Err(SshError::Connect { address, reason: format!("the name is not resolved ({error})") }),
        Err(_) => Err(SshError::TimedOut { address, after }),
    }
}

/// Connects without a jump host, trying the addresses of the name in turn.
async fn direct(target: &SshTarget, mut offers: Offers) -> Result<(Client, Means), SshError> {
    let known = Known::look_up(&target.host_keys, &target.host, target.port).await?;
    let mut last = None;
    for address in resolve(&target.host, target.port, target.connect_timeout).await? {
        match (Attempt { target, known: &known, address }).connect(&mut offers).await {
            Err(error @ (SshError::Connect { .. } | SshError::TimedOut { .. })) => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| SshError::Connect { address: target.address(), reason: "no address".to_owned() }))
}

/// An attempt at one address.
struct Attempt<'a> {
    target: &'a SshTarget,
    known: &'a Known,
    address: SocketAddr,
}

/// How a log-in with an expected host key ended.
enum Login {
    Done(Client, Means),
    OtherKey,
    Failed(SshError),
}

impl Attempt<'_> {
    async fn connect(&self, offers: &mut Offers) -> Result<(Client, Means), SshError> {
        // The usual case: one key is known and the host has it, so one connection does.
        if let Some(expected) = self.known.expected() {
            match self.log_in(expected, offers).await {
                Login::Done(client, accepted) => return Ok((client, accepted)),
                Login::Failed(error) => return Err(error),
                Login::OtherKey => {}
            }
        }
        let offered = self.capture().await?;
        let policy = &self.target.host_keys;
        let decision = self.known.decide(policy.strict, &offered)?;
        if decision == Decision::Mistrust {
            offers.keep_secrets("the host key has changed");
        }
        let login = self.log_in(&offered, offers).await;
        // Whether or not an identity was accepted, the host has signed a key exchange with this key by now.
        if decision == Decision::Learn && matches!(login, Login::Done(..) | Login::Failed(SshError::Auth { .. })) {
            learn(policy, &self.target.host, self.target.port, &offered).await?;
        }
        match login {
            Login::Done(client, accepted) => Ok((client, accepted)),
            Login::Failed(error) => Err(error),
            Login::OtherKey => {
                Err(self.broken("the host showed two different keys in a row: several machines behind one address?"))
            }
        }
    }

    /// Connects with the host key given and offers one identity after the other, each on a connection of its own:
    /// async-ssh2-tokio takes one a connection.
    async fn log_in(&self, expected: &PublicKey, offers: &Offers) -> Login {
        let user = &self.target.user;
        let mut refused = Vec::new();
        for offer in &offers.offers {
            let check = ServerCheckMethod::PublicKey(expected.public_key_base64());
            let config = config(self.target, host_key::algorithms_of(expected));
            let connecting = Client::connect_with_config(self.address, user, offer.method(), check, config);
            let error = match timeout(self.target.connect_timeout, connecting).await {
                Ok(Ok(client)) => return Login::Done(client, offer.means()),
                Ok(Err(error)) => error,
                Err(_) => return Login::Failed(self.timed_out()),
            };
            match error {
                ClientError::ServerCheckFailed | ClientError::SshError(russh::Error::UnknownKey) => {
                    return Login::OtherKey;
                }
                ClientError::SshError(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, .. }) => {
                    return Login::OtherKey;
                }
                ClientError::KeyAuthFailed
                | ClientError::PasswordWrong
                | ClientError::KeyboardInteractiveAuthFailed
                | ClientError::AgentAuthenticationFailed => refused.push(format!("{}: refused", offer.means())),
                error @ (ClientError::KeyInvalid(_)
                | ClientError::KeyboardInteractiveNoResponseForPrompt(_)
                | ClientError::AgentAuthError(_)
                | ClientError::AgentConnectionFailed
                | ClientError::AgentRequestIdentitiesFailed
                | ClientError::AgentNoIdentities) => refused.push(format!("{}: {error}", offer.means())),
                error => match offer.exhausts() {
                    Some(why) => refused.push(format!("{}: {why}", offer.means())),
                    None => return Login::Failed(self.broken(error)),
                },
            }
        }
        Login::Failed(offers.error(&self.target.address(), &refused))
    }

    /// Makes a key exchange that goes no further, to see which key the host shows: known types are asked for first.
    async fn capture(&self) -> Result<PublicKey, SshError> {
        let capturing = async {
            let stream = TcpStream::connect(self.address).await.map_err(|error| self.broken(error))?;
            let config = config(self.target, self.known.algorithms(Asked::All));
            capture(config, stream).await.map_err(|reason| self.broken(reason))
        };
        timeout(self.target.connect_timeout, capturing).await.map_err(|_| self.timed_out())?
    }

    fn broken(&self, reason: impl std::fmt::Display) -> SshError {
        SshError::Connect { address: self.target.address(), reason: reason.to_string() }
    }

    fn timed_out(&self) -> SshError {
        SshError::TimedOut { address: self.target.address(), after: self.target.connect_timeout }
    }
}
