//! Access to a guest over SSH, for its inventory: whether a login works and leads to that guest, and putting a public key there.

use std::time::Duration;

use async_trait::async_trait;

use super::answer::{Answer, Nature};
use super::exec::{At, Exec, ExecLimit, ExecOutput};
use super::over_ssh::{as_login, as_root};
use super::quote::quote;
use super::text::{fragment, harmless};
use super::{Adapter, PRELUDE, located};
use crate::adapters::ssh::SshTarget;
use crate::adapters::ssh::pool::Connection;
use crate::engine::port::{Identity, Place, Remote};
use crate::ids::GuestId;
use crate::machine::outcome::{Fault, FaultClass};

pub use crate::adapters::ssh::{Accepted, PublicKey, PublicKeyError};

const INSTALL_KEY: &str = include_str!("sh/install_key.sh");

/// A few files looked at and a line written: what may take long is a home directory on a busy file server.
const INSTALL: ExecLimit = ExecLimit { timeout: Duration::from_secs(60), max_output: 64 * 1024 };

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
/// one that is known (`Identity`), or the login works but is of no use (`Permanent`: it can't become root, or has no shell).
pub async fn visit(target: &SshTarget, guest: GuestId) -> Result<Visit, Fault> {
    let inside = Inside::enter(target, guest).await?;
    let accepted = inside.accepted.clone();
    // What let in is not asked again: credentials that are refused from here on are those for root.
    let identity = inside.identity().await.map_err(|fault| match fault.class {
        FaultClass::Auth => Fault { class: FaultClass::Permanent, ..fault },
        _ => fault,
    });
    inside.leave().await;
    Ok(Visit { accepted, identity: identity? })
}

/// Adds a public key to `~/.ssh/authorized_keys` of the login, once, with the permissions that sshd wants. Root's rights are not
/// needed: it is the file of the user that logs in.
///
/// # Errors
/// As [`visit`]; what keeps the file from being written, or sshd from heeding it (`Permanent`); a connection that was lost before
/// the answer came (`Ambiguous`: it may simply be done again, for a key is never there twice).
pub async fn install_key(target: &SshTarget, guest: GuestId, key: &PublicKey) -> Result<Installation, Fault> {
    let inside = Inside::enter(target, guest).await?;
    let installed = install_over(&inside, &inside.place, key).await;
    inside.leave().await;
    installed
}

/// Adds a public key for whoever `exec` runs scripts as at that place: see [`install_key`].
///
/// # Errors
/// As [`install_key`].
pub async fn install_over(exec: &impl Exec, place: &Place, key: &PublicKey) -> Result<Installation, Fault> {
    let doing = "installing the public key";
    let out = exec.exec(place, &script(key), INSTALL).await.map_err(|fault| located(place, doing, fault))?;
    read(place, doing, &Answer::read(place, doing, Nature::Changes, &out)?)
}

fn script(key: &PublicKey) -> String {
    let (kind, data, comment) = (quote(key.kind()), quote(key.data()), quote(key.comment()));
    Answer::envelope(&[PRELUDE, &format!("kind={kind} data={data} comment={comment}"), INSTALL_KEY])
}

fn read(place: &Place, doing: &str, answer: &Answer) -> Result<Installation, Fault> {
    let said = |why: &str| format!("{doing} on {}: {}", At(place), fragment(&[why]));
    if let Some(why) = answer.value("refused") {
        return Err(Fault::permanent(said(why)).hint(
            "sshd takes no key where that is so (StrictModes): put it right there, with chmod or chown, and try again",
        ));
    }
    if let Some(why) = answer.value("failed") {
        return Err(Fault::permanent(said(why)));
    }
    let outcome = match answer.value("key") {
        Some("added") => Installed::Added,
        Some("already") => Installed::AlreadyThere,
        _ => return Err(Fault::ambiguous(said("it does not say what came of it"))),
    };
    let mended = answer.lines("mended").iter().map(|line| harmless(line)).filter(|line| !line.is_empty());
    Ok(Installation { outcome, mended: mended.collect() })
}

/// A login in a guest, on a connection of its own.
struct Inside {
    connection: Connection,
    accepted: Accepted,
    place: Place,
}

impl Inside {
    async fn enter(target: &SshTarget, guest: GuestId) -> Result<Self, Fault> {
        let place = Place::Ssh(guest, target.host.clone());
        let connection = Connection::new(target.clone());
        let accepted = connection.session().await?.accepted();
        Ok(Self { connection, accepted, place })
    }

    async fn identity(&self) -> Result<Identity, Fault> {
        Adapter::new(AsRoot(&self.connection)).identity(&self.place).await
    }

    async fn leave(self) {
        self.connection.close().await;
    }
}

/// Runs scripts as the user that logs in.
#[async_trait]
impl Exec for Inside {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        as_login(&self.connection, place, script, limit).await
    }
}

/// Runs scripts over a connection with root's rights.
struct AsRoot<'a>(&'a Connection);

#[async_trait]
impl Exec for AsRoot<'_> {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        as_root(self.0, place, script, limit).await
    }
}
