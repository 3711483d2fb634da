//! Access to a guest over SSH, for its inventory: whether a login works and leads to that guest, and putting a public key there.

use std::path::PathBuf;

use crate::adapters::ssh::SshTarget;
use crate::engine::port::Identity;
use crate::ids::GuestId;
use crate::machine::outcome::Fault;

/// What a login was let in by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// A private key in this file.
    Key(PathBuf),
    /// A key of ssh-agent.
    Agent,
    /// The password.
    Password,
}

/// A login that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// What let it in.
    pub accepted: Accepted,
    /// Who the machine says it is; whether that is the guest is for the caller to prove.
    pub identity: Identity,
}

/// A public key as it stands in `authorized_keys`: type, data, comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    line: String,
}

/// What came of putting a key into a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Installed {
    /// It was added.
    Added,
    /// It was there already.
    AlreadyThere,
}

impl PublicKey {
    /// Returns it as it stands in `authorized_keys`.
    pub fn line(&self) -> &str {
        &self.line
    }
}

/// Logs in, and asks the machine who it is.
///
/// # Errors
/// A [`Fault`] whose class tells whether nobody was there (`Transient`), the login was refused (`Auth`) or the host key is not
/// the one that is known (`Identity`).
pub async fn visit(target: &SshTarget, guest: GuestId) -> Result<Visit, Fault> {
    let _ = (target, guest);
    Err(Fault::permanent("not there yet"))
}

/// Adds a public key to `~/.ssh/authorized_keys` of the login, once, with the permissions that sshd wants.
///
/// # Errors
/// As [`visit`]; and what kept the file from being written.
pub async fn install_key(target: &SshTarget, guest: GuestId, key: &PublicKey) -> Result<Installed, Fault> {
    let _ = (target, guest, key);
    Err(Fault::permanent("not there yet"))
}
