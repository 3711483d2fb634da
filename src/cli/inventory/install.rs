//! Puts a public key into a guest that lets in by password, and proves that the key lets in from then on.

use std::path::{Path, PathBuf};

use super::check::Login;
use super::subject::Subject;
use crate::adapters::remote::access::{
    Accepted, Installation, Installed, PublicKey, PublicKeyError, install_key, visit,
};
use crate::adapters::ssh::{Auth, SshTarget};
use crate::engine::perform::proven;
use crate::machine::outcome::{Fault, FaultClass};

/// A key that can be put into guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// What is put there.
    pub(super) public: PublicKey,
    /// The private half's file; `None` where only ssh-agent may have it.
    pub(super) private: Option<PathBuf>,
}

/// A key that was put into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Put {
    /// What came of it.
    pub(super) installation: Installation,
    /// What the login with that key alone was let in by.
    pub(super) accepted: Accepted,
}

impl Key {
    /// Reads a public key's file. The private half is looked for beside it, without `.pub`.
    ///
    /// # Errors
    /// It is no public key.
    pub(super) fn read(path: &Path) -> Result<Self, PublicKeyError> {
        let public = PublicKey::read(path)?;
        let is_public = path.extension().is_some_and(|extension| extension == "pub");
        let private = is_public.then(|| path.with_extension("")).filter(|private| private.is_file());
        // What is written into the manifest must not depend on where this was started.
        let private = private.map(|private| private.canonicalize().unwrap_or(private));
        Ok(Self { public, private })
    }

    /// Says which it is: its type, its fingerprint and whose it is.
    pub(super) fn shown(&self) -> String {
        let comment = match self.public.comment() {
            "" => String::new(),
            comment => format!(" ({comment})"),
        };
        format!("{} {}{comment}", self.public.kind(), self.public.fingerprint())
    }

    /// Makes a target that is logged in to with this key and nothing else. Jump hosts are gone through as before.
    fn alone(&self, target: &SshTarget, by_agent: bool) -> SshTarget {
        let files = self.private.iter().filter(|_| !by_agent).cloned().collect();
        let auth = Auth { identity_files: files, usual_files: false, password: None, agent: by_agent };
        let jump_auth = target.jump_auth.clone().unwrap_or_else(|| target.auth.clone());
        SshTarget { auth, jump_auth: Some(jump_auth), ..target.clone() }
    }
}

impl Subject<'_> {
    /// Returns where it lets in by password, and by no key.
    pub(super) fn password_opens(&self) -> Option<&str> {
        match &self.login {
            Some(Login::Works { address, accepted: Accepted::Password }) => Some(address),
            _ => None,
        }
    }

    /// Says where a key would go.
    pub(super) fn authorized_keys(&self, address: &str) -> String {
        format!("{}@{address}:~/.ssh/authorized_keys of {}", self.wish.user(&self.guest), self.guest.label())
    }

    /// Puts a key into the guest, once the machine at the address is proven to be that guest, and logs in with it alone.
    ///
    /// # Errors
    /// What kept the key from being put there, or from letting in.
    pub(super) async fn put(&self, key: &Key, address: &str, known_hosts: &Path) -> Result<Put, Fault> {
        let target = self.target(address, known_hosts);
        self.arrive(&target).await?;
        let installation = install_key(&target, self.guest.sighting.id, &key.public).await?;
        let accepted = self.by_key_alone(key, &target).await.map_err(|fault| {
            let what =
                format!("the key is in {}, but it does not let in: {}", self.authorized_keys(address), fault.what);
            Fault { what, ..fault }
        })?;
        Ok(Put { installation, accepted })
    }

    /// Logs in with the key alone: by its file, and where that is of no use (it has a passphrase) by ssh-agent.
    async fn by_key_alone(&self, key: &Key, target: &SshTarget) -> Result<Accepted, Fault> {
        if key.private.is_none() {
            return self.arrive(&key.alone(target, true)).await;
        }
        match self.arrive(&key.alone(target, false)).await {
            Err(by_file) if by_file.class == FaultClass::Auth => {
                self.arrive(&key.alone(target, true)).await.map_err(|_| by_file)
            }
            other => other,
        }
    }

    /// Logs in and makes sure that this is the guest.
    pub(super) async fn arrive(&self, target: &SshTarget) -> Result<Accepted, Fault> {
        let sighting = self.guest.sighting;
        let visit = visit(target, sighting.id).await?;
        proven(sighting.kind, sighting.id, sighting.identity.as_deref(), &visit.identity)?;
        Ok(visit.accepted)
    }
}

impl Put {
    /// Says what was done, in a line.
    pub(super) fn line(&self, place: &str) -> String {
        let did = match self.installation.outcome {
            Installed::Added => "the key was added to",
            Installed::AlreadyThere => "the key was already in",
        };
        let mended = match self.installation.mended.as_slice() {
            [] => String::new(),
            mended => format!(" ({})", mended.join(", ")),
        };
        format!("{did} {place}{mended}, and lets in by itself")
    }
}
