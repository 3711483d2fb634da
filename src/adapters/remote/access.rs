//! Access to a guest over SSH, for its inventory: whether a login works and leads to that guest, and putting a public key there.

use crate::adapters::ssh::SshTarget;
use crate::engine::port::Identity;
use crate::ids::GuestId;
use crate::machine::outcome::Fault;

pub use crate::adapters::ssh::{Accepted, PublicKey, PublicKeyError};

/// A login that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// What let it in.
    pub accepted: Accepted,
    /// Who the machine says it is; whether that is the guest is for the caller to prove.
    pub identity: Identity,
}

/// A public key that is where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// What came of the key.
    pub outcome: Installed,
    /// What had to be put right so that sshd heeds it, in words: permissions that were too wide, a last line without its end.
    pub mended: Vec<String>,
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

/// Logs in, and asks the machine who it is.
///
/// # Errors
/// A [`Fault`] whose class tells whether nobody was there (`Transient`), the login was refused (`Auth`), the host key is not the
/// one that is known (`Identity`), or the login works but is of no use (`Permanent`: it can't become root, or there is no shell).
pub async fn visit(target: &SshTarget, guest: GuestId) -> Result<Visit, Fault> {
    let _ = (target, guest);
    Err(Fault::permanent("not there yet"))
}

/// Adds a public key to `~/.ssh/authorized_keys` of the login, once, with the permissions that sshd wants.
///
/// # Errors
/// As [`visit`]; and what kept the file from being written (`Permanent`), or from telling whether it was (`Ambiguous`: it may
/// simply be done again, for a key is never there twice).
pub async fn install_key(target: &SshTarget, guest: GuestId, key: &PublicKey) -> Result<Installation, Fault> {
    let _ = (target, guest, key);
    Err(Fault::permanent("not there yet"))
}
