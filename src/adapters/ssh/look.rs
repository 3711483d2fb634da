//! A look at the key that a machine shows, before anybody logs in there and without learning it.

use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{Config, Handler};
use russh::keys::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::host_key::{self, Asked, Decision, Known};
use super::jump::Hops;
use super::session::config;
use super::{HostKeyError, HostKeyPolicy, JumpHop, SshError, SshTarget, Strictness};

/// The key that a machine showed, and what is known of it.
#[derive(Debug, Clone)]
pub struct HostKeyLook {
    machine: JumpHop,
    key: PublicKey,
    /// How it stands to what is known.
    pub standing: KeyStanding,
}

/// How a key that is shown stands to what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStanding {
    /// It is known.
    Known,
    /// Nothing is known of the machine.
    New,
    /// Another key is known ([`HostKeyError::Changed`]), or this one is revoked ([`HostKeyError::Revoked`]).
    Refused(HostKeyError),
}

impl HostKeyLook {
    /// Returns `user@host:port` of the machine that showed it: the target, or the first jump host that is not known.
    pub fn address(&self) -> String {
        self.machine.address()
    }

    /// Returns its type, as known_hosts writes it: `ssh-ed25519`.
    pub fn kind(&self) -> String {
        self.key.algorithm().to_string()
    }

    /// Returns its fingerprint, as `ssh-keygen -lf` prints it: `SHA256:..`.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
    }
}

/// Looks at the keys on the way to a target: at those of its jump hosts, then at its own, and returns the first that is not
/// known, else the target's own. Nothing is learnt, and nobody logs in but to jump hosts whose keys are known.
///
/// # Errors
/// [`SshError::Connect`] and [`SshError::TimedOut`] where a machine is not reached, [`SshError::Auth`] where a jump host lets
/// nobody through, [`SshError::KnownHosts`] where the files can't be read.
pub async fn look(target: &SshTarget) -> Result<HostKeyLook, SshError> {
    let mut target = target.clone();
    target.host_keys.strict = Strictness::Yes;
    let mut hops = Hops::begin(&target).await;
    for hop in &target.jumps {
        let seen = look_at(&target, hop, &hops).await?;
        if seen.standing != KeyStanding::Known {
            return Ok(seen);
        }
        hops.go_on(&target, hop).await?;
    }
    look_at(&target, &target.end(), &hops).await
}

/// Learns the key that was looked at into proxmaint's own file.
///
/// # Errors
/// [`SshError::HostKey`] where another key has been learnt since; [`SshError::KnownHosts`] where the file can't be written.
pub async fn trust(policy: &HostKeyPolicy, seen: &HostKeyLook) -> Result<(), SshError> {
    host_key::learn(policy, &seen.machine.host, seen.machine.port, &seen.key).await
}

async fn look_at(target: &SshTarget, machine: &JumpHop, hops: &Hops) -> Result<HostKeyLook, SshError> {
    let known = Known::look_up(&target.host_keys, &machine.host, machine.port).await?;
    let stream = hops.stream_to(target, machine).await?;
    let capturing = capture(config(target, known.algorithms(Asked::All)), stream);
    let key = match timeout(target.connect_timeout, capturing).await {
        Ok(Ok(key)) => key,
        Ok(Err(reason)) => return Err(SshError::Connect { address: machine.address(), reason }),
        Err(_) => return Err(SshError::TimedOut { address: machine.address(), after: target.connect_timeout }),
    };
    let standing = match known.decide(Strictness::AcceptNew, &key) {
        Ok(Decision::Trust) => KeyStanding::Known,
        Ok(Decision::Learn | Decision::Mistrust) => KeyStanding::New,
        Err(error) => KeyStanding::Refused(error),
    };
    Ok(HostKeyLook { machine: machine.clone(), key, standing })
}

/// Makes a key exchange that goes no further, and returns the key that the other side showed; else says why there is none.
pub(super) async fn capture<S>(config: Config, stream: S) -> Result<PublicKey, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let seen = Arc::new(Mutex::new(None));
    let ended = russh::client::connect_stream(Arc::new(config), stream, Capture(seen.clone())).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (seen, ended) {
        (Some(key), _) => Ok(key),
        (None, Err(error)) => Err(error.to_string()),
        (None, Ok(_)) => Err("the host showed no key".to_owned()),
    }
}

/// Notes the host key and breaks off. russh asks about a key only once the host has signed the key exchange with it.
struct Capture(Arc<Mutex<Option<PublicKey>>>);

impl Handler for Capture {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKey) -> Result<bool, Self::Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Ok(false)
    }
}
