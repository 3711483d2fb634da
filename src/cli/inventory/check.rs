//! Tries the login of each chosen guest, many at a time, and proves where it leads.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::merge::Check;
use super::subject::Subject;
use crate::adapters::remote::access::{Accepted, visit};
use crate::adapters::ssh::SshTarget;
use crate::engine::perform::proven;
use crate::ids::HostId;
use crate::machine::outcome::{Fault, FaultClass};
use crate::observe::words::count;
use crate::time::Timestamp;

/// How many guests of one host are logged in to together: they may share a jump host, whose sshd starts to drop connections at
/// ten unauthenticated ones (MaxStartups 10:30:100).
const OF_A_HOST: usize = 8;
/// How many guests are logged in to together.
const TOGETHER: usize = 32;

/// What came of trying to log in to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// It works, at this address, and leads to this very guest.
    Works {
        /// Where.
        address: String,
        /// What let it in.
        accepted: Accepted,
    },
    /// It does not.
    Fails {
        /// Why not, one text an address.
        why: Vec<String>,
        /// The first address at which somebody answered and refused the login.
        refused_at: Option<String>,
    },
    /// It was not tried.
    NotTried(String),
}

impl Login {
    /// Returns what is noted of it.
    pub(super) fn noted(&self, at: Timestamp) -> Option<Check> {
        match self {
            Self::Works { address, accepted } => {
                let key = match accepted {
                    Accepted::Key(path) => Some(path.clone()),
                    Accepted::Agent | Accepted::Password => None,
                };
                Some(Check { at, address: Some(address.clone()), key })
            }
            Self::Fails { .. } => Some(Check { at, address: None, key: None }),
            Self::NotTried(_) => None,
        }
    }

    /// Tells whether it works by a key, so that nothing is left to be done.
    pub(super) fn by_key(&self) -> bool {
        matches!(self, Self::Works { accepted: Accepted::Key(_) | Accepted::Agent, .. })
    }
}

impl Subject<'_> {
    /// Makes the target of its login at an address, as a run would make it once what is wanted is written down.
    pub(super) fn target(&self, address: &str, known_hosts: &Path) -> SshTarget {
        let mut target = self.guest.target(address, known_hosts);
        target.user = self.wish.user(&self.guest).to_owned();
        let variable = self.wish.variable.as_ref().and_then(|(_, password)| password.as_ref());
        if let Some(password) = self.wish.typed.as_ref().or(variable) {
            target.auth.password = Some(password.clone());
        }
        target
    }

    /// Tries its addresses, one after the other, until one leads to this very guest.
    async fn log_in(&self, known_hosts: &Path) -> Login {
        let addresses = self.guest.addresses();
        if !self.guest.runs() {
            return Login::NotTried("is off".to_owned());
        }
        if addresses.is_empty() {
            let why = self.guest.sighting.unaddressed.clone();
            return Login::NotTried(why.unwrap_or_else(|| "no address is known".to_owned()));
        }
        let (mut why, mut refused_at) = (Vec::new(), None);
        for address in addresses {
            match self.log_in_at(&address, known_hosts).await {
                Ok(accepted) => return Login::Works { address, accepted },
                Err(fault) => {
                    if fault.class == FaultClass::Auth {
                        refused_at.get_or_insert_with(|| address.clone());
                    }
                    why.push(format!("{address}: {}", fault.what));
                }
            }
        }
        Login::Fails { why, refused_at }
    }

    async fn log_in_at(&self, address: &str, known_hosts: &Path) -> Result<Accepted, Fault> {
        let sighting = self.guest.sighting;
        let visit = visit(&self.target(address, known_hosts), sighting.id).await?;
        proven(sighting.kind, sighting.id, sighting.identity.as_deref(), &visit.identity)?;
        Ok(visit.accepted)
    }
}

/// Tries the logins of these guests; the results stand in the same order. `tell` hears how far it is.
pub(super) async fn check(subjects: &[&Subject<'_>], known_hosts: &Path, tell: &dyn Fn(&str)) -> Vec<Login> {
    let together = Semaphore::new(TOGETHER);
    let hosts: BTreeMap<&HostId, Semaphore> =
        subjects.iter().map(|subject| (subject.host(), Semaphore::new(OF_A_HOST))).collect();
    let done = Cell::new(0);
    let one = async |subject: &&Subject<'_>| {
        // Neither is ever closed, which would be the one reason for there to be no permit. The host's comes first: who waits
        // for it keeps no other host's guests waiting.
        let of_host = hosts.get(subject.host()).map(Semaphore::acquire);
        let _of_host = match of_host {
            Some(permit) => permit.await.ok(),
            None => None,
        };
        let _together = together.acquire().await.ok();
        let login = subject.log_in(known_hosts).await;
        done.set(done.get() + 1);
        tell(&format!("{} of {} tried", done.get(), count(subjects.len(), "login")));
        login
    };
    join_all(subjects.iter().map(one)).await
}

/// Says what came of a guest's login, in a line. One that runs enter some other way loses nothing by a login that fails.
pub(super) fn line(subject: &Subject<'_>, login: &Login) -> String {
    let user = subject.wish.user(&subject.guest);
    let otherwise = subject.guest.ways().iter().find(|way| **way != "ssh");
    let otherwise = otherwise.map_or_else(String::new, |way| format!("; runs enter it by {way} anyway"));
    match login {
        Login::Works { address, accepted } => format!("{user}@{address}: logged in {}", by(accepted)),
        Login::Fails { why, .. } => format!("login as {user}: {}{otherwise}", why.join("; ")),
        Login::NotTried(why) => format!("no login tried: {why}"),
    }
}

/// Says by what a login was let in.
fn by(accepted: &Accepted) -> String {
    match accepted {
        Accepted::Key(path) => format!("by the key {}", path.display()),
        Accepted::Agent => "by a key of ssh-agent".to_owned(),
        Accepted::Password => "by password".to_owned(),
    }
}
