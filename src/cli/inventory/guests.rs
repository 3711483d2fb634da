//! The guests that were found, and what the manifest says of each as it is.

use std::path::Path;

use crate::adapters::ssh::SshTarget;
use crate::cli::connect;
use crate::engine::perform::{Sighting, Survey, Way, ways_into};
use crate::inventory::Power;
use crate::manifest::{HostCredentials, HostEntry, InventoryEntry};
use crate::observe::words;
use crate::plan::{HostPolicy, SkipReason};

/// How many addresses of a guest are tried: as many as a run tries.
const MOST_ADDRESSES: usize = 6;

/// A host that was surveyed.
pub(super) struct Host {
    /// Which of the document's hosts it is, counted from 0.
    pub(super) index: usize,
    /// What the manifest says of it.
    pub(super) entry: HostEntry,
    /// What its variables hold.
    pub(super) credentials: HostCredentials,
    /// What the manifest wants of it.
    pub(super) policy: HostPolicy,
    /// What it was found to have.
    pub(super) survey: Survey,
}

impl Host {
    /// Returns its guests, templates left out: nothing is ever done with these.
    pub(super) fn guests(&self) -> impl Iterator<Item = Guest<'_>> {
        let sightings = self.survey.guests.iter().filter(|sighting| !sighting.template);
        sightings.map(|sighting| Guest { host: self, sighting })
    }
}

/// A guest of a host.
#[derive(Clone, Copy)]
pub(super) struct Guest<'a> {
    /// The host.
    pub(super) host: &'a Host,
    /// The guest, as it was seen.
    pub(super) sighting: &'a Sighting,
}

/// What goes before a guest's entry of the inventory: whatever that says of `managed` has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    /// Whether runs maintain the guest.
    pub(super) managed: bool,
    /// What says so, in words.
    pub(super) by: String,
}

impl<'a> Guest<'a> {
    /// Names it.
    pub(super) fn label(&self) -> String {
        words::guest(self.sighting.kind, self.sighting.id, &self.sighting.name)
    }

    /// Names it with its host.
    pub(super) fn full_label(&self) -> String {
        format!("{} on {}", self.label(), self.host.entry.id)
    }

    /// Returns its entry of the inventory.
    pub(super) fn listed(&self) -> Option<&'a InventoryEntry> {
        self.host.entry.guest(self.sighting.kind, self.sighting.id)
    }

    /// Tells whether it runs.
    pub(super) fn runs(&self) -> bool {
        self.sighting.power == Power::Running
    }

    /// Returns what goes before its entry: a rule that speaks of `managed`, the tag that keeps guests out, or the host's lists.
    pub(super) fn decided(&self) -> Option<Decided> {
        let traits = self.sighting.traits();
        let ruled = self.host.policy.ruled(&traits);
        match (self.host.policy.left_out(&traits), ruled) {
            (Some(SkipReason::LeftOut(by)), _) => Some(Decided { managed: false, by }),
            (_, Some(managed)) => Some(Decided { managed, by: "a rule".to_owned() }),
            (_, None) => None,
        }
    }

    /// Returns whether its entry says that it is managed.
    pub(super) fn managed_now(&self) -> Option<bool> {
        self.listed()?.managed
    }

    /// Returns whether it is managed where nobody says anything else: as its entry says, else where it runs.
    pub(super) fn by_default(&self) -> bool {
        self.managed_now().unwrap_or_else(|| self.runs())
    }

    /// Returns the login that a rule of this very guest names: it goes before that of the entry.
    pub(super) fn ruled_user(&self) -> Option<&'a str> {
        self.host.entry.rules_of(self.sighting.id).find_map(|rule| rule.user.as_deref())
    }

    /// Returns the login that the manifest has for this very guest.
    pub(super) fn own_user(&self) -> Option<&'a str> {
        self.ruled_user().or_else(|| self.listed()?.user.as_deref())
    }

    /// Returns the login that is used as the manifest is.
    pub(super) fn user(&self) -> &'a str {
        self.own_user().unwrap_or_else(|| self.host_user())
    }

    /// Returns the login in guests that have none of their own.
    pub(super) fn host_user(&self) -> &'a str {
        self.host.entry.guest_ssh.login()
    }

    /// Returns the variable that holds its own password, where the manifest names one.
    pub(super) fn password_env(&self) -> Option<&'a str> {
        let ruled = self.host.entry.rules_of(self.sighting.id).find_map(|rule| rule.password_env.as_deref());
        ruled.or_else(|| self.listed()?.password_env.as_deref())
    }

    /// Tells whether its password stands in the manifest itself, and is the one that counts.
    pub(super) fn has_inline_password(&self) -> bool {
        self.password_env().is_none() && self.listed().is_some_and(|entry| entry.password.is_some())
    }

    /// Lists where it may be reached: first where the manifest says, then where it was found.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut all = connect::addresses(&self.host.entry).remove(&self.sighting.id).unwrap_or_default();
        for address in &self.sighting.addresses {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all.truncate(MOST_ADDRESSES);
        all
    }

    /// Makes the target of a login as a run would make it.
    pub(super) fn target(&self, address: &str, known_hosts: &Path) -> SshTarget {
        let Host { entry, credentials, .. } = self.host;
        connect::guest_target(entry, Some(credentials), self.sighting.id, address, known_hosts)
    }

    /// Returns the ways that a run tries, in order.
    pub(super) fn ways(&self) -> &'static [Way] {
        let known = connect::ssh_known(&self.host.entry, self.sighting.id);
        ways_into(self.sighting.kind, self.host.policy.settings_of(&self.sighting.traits()).via, known)
    }

    /// Names these ways.
    pub(super) fn named_ways(&self) -> String {
        self.ways().iter().map(|way| way.as_str()).collect::<Vec<_>>().join(", ")
    }
}
