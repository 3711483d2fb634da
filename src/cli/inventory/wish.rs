//! What is wanted of each guest: asked at the terminal, or taken from the command line.

use secrecy::SecretString;

use super::guests::Guest;
use crate::choices::{Selector, Traits};
use crate::cli::args::Manage;

/// What is wanted of a guest. `None` leaves what the manifest says.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// Whether it is to be managed.
    pub(super) managed: Option<bool>,
    /// The login in it.
    pub(super) user: Option<String>,
    /// The variable that is to hold its password, and what that holds now.
    pub(super) variable: Option<(String, Option<SecretString>)>,
    /// A password for this session alone: it is stored nowhere.
    pub(super) typed: Option<SecretString>,
}

impl Wish {
    /// Takes the command line's word. Guests that something else decides about are left as they are.
    pub(super) fn by_args(guest: &Guest<'_>, manage: &[Manage], user: Option<&str>) -> Self {
        let mut wish = Self::default();
        if guest.decided().is_none() {
            wish.managed = match (manage.is_empty(), guest.listed()) {
                (true, Some(_)) => None,
                (true, None) => Some(guest.runs()),
                (false, _) => Some(is_meant(manage, &guest.sighting.traits(), guest.runs())),
            };
        }
        if guest.own_user().is_none() && wish.manages(guest) {
            wish.set_user(guest, user);
        }
        wish
    }

    /// Tells whether runs are to maintain the guest.
    pub(super) fn manages(&self, guest: &Guest<'_>) -> bool {
        match guest.decided() {
            Some(decided) => decided.managed,
            None => self.managed.unwrap_or_else(|| guest.by_default()),
        }
    }

    /// Notes the login, where the manifest does not lead to the same one anyway.
    pub(super) fn set_user(&mut self, guest: &Guest<'_>, user: Option<&str>) {
        self.user = user.filter(|user| *user != guest.user()).map(str::to_owned);
    }

    /// Returns the login that is to be used.
    pub(super) fn user<'a>(&'a self, guest: &Guest<'a>) -> &'a str {
        self.user.as_deref().unwrap_or_else(|| guest.user())
    }
}

/// Tells whether a guest is meant: by any of what is named, and by every selector that is negated, as in the manifest's lists.
fn is_meant(manage: &[Manage], guest: &Traits<'_>, runs: bool) -> bool {
    let is_negated = |which: &&Manage| matches!(which, Manage::Selected(Selector::Not(_)));
    let (negated, plain): (Vec<&Manage>, Vec<&Manage>) = manage.iter().partition(is_negated);
    let matches = |which: &&Manage| match which {
        Manage::All => true,
        Manage::Running => runs,
        Manage::None => false,
        Manage::Selected(selector) => selector.matches(guest),
    };
    (plain.is_empty() || plain.iter().any(matches)) && negated.iter().all(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GuestId, GuestKind};

    fn meant(words: &[&str], id: u32, runs: bool) -> bool {
        let manage: Vec<Manage> = words.iter().map(|word| word.parse().unwrap()).collect();
        let tags = ["prod".to_owned()];
        let guest = Traits { id: GuestId(id), kind: GuestKind::Ct, name: "web", tags: &tags, pool: None };
        is_meant(&manage, &guest, runs)
    }

    #[test]
    fn any_of_what_is_named_is_meant_less_what_is_negated() {
        assert!(meant(&["all"], 101, false) && !meant(&["none"], 101, true));
        assert!(meant(&["running"], 101, true) && !meant(&["running"], 101, false));
        assert!(meant(&["running", "101"], 101, false) && !meant(&["running", "102"], 101, false));
        assert!(meant(&["none", "tag:prod"], 101, false), "none adds nothing and takes nothing away");
        assert!(!meant(&["all", "!101"], 101, true) && meant(&["all", "!101"], 102, true));
        assert!(!meant(&["!tag:prod"], 101, true) && meant(&["!tag:test"], 101, false));
        assert!(!meant(&["running", "!tag:test"], 101, false), "a negation restricts, it adds nothing");
    }
}
