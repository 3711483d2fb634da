//! Tries the login of each chosen guest, many at a time, and proves where it leads.

use std::path::Path;

use super::crowd::with_each;
use super::merge::Check;
use super::subject::Subject;
use crate::adapters::remote::access::Accepted;
use crate::adapters::ssh::SshTarget;
use crate::engine::perform::Way;
use crate::machine::outcome::FaultClass;
use crate::time::Timestamp;

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

    /// Says where a login failed, where that is not said.
    fn named(&self, address: &str, why: String) -> String {
        match why.contains(address) {
            true => why,
            false => format!("{}@{address}: {why}", self.wish.user(&self.guest)),
        }
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
            match self.arrive(&self.target(&address, known_hosts)).await {
                Ok(accepted) => return Login::Works { address, accepted },
                Err(fault) => {
                    if fault.class == FaultClass::Auth {
                        refused_at.get_or_insert_with(|| address.clone());
                    }
                    why.push(self.named(&address, fault.what));
                }
            }
        }
        Login::Fails { why, refused_at }
    }
}

/// Tries the logins of these guests; the results stand in the same order. `tell` hears of how many it is done.
pub(super) async fn check(subjects: &[&Subject<'_>], known_hosts: &Path, tell: &dyn Fn(usize)) -> Vec<Login> {
    with_each(subjects, async |subject| subject.log_in(known_hosts).await, tell).await
}

/// Says what came of a guest's login, in a line.
pub(super) fn line(subject: &Subject<'_>, login: &Login) -> String {
    let user = subject.wish.user(&subject.guest);
    match login {
        Login::Works { address, accepted } => format!("{user}@{address}: logged in {}", by(accepted)),
        Login::Fails { why, .. } => format!("{}{}", why.join("; "), otherwise(subject)),
        Login::NotTried(why) => why.clone(),
    }
}

/// Says which other way leads into a guest: where there is one, nothing is lost by a login that fails.
fn otherwise(subject: &Subject<'_>) -> &'static str {
    let tries = |way| subject.guest.ways().contains(&way);
    if tries(Way::Pct) {
        "; runs enter it by pct anyway"
    } else if tries(Way::Agent) && subject.guest.sighting.unaddressed.is_none() {
        "; runs try its guest agent as well"
    } else {
        ""
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
