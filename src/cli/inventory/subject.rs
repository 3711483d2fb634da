//! A guest with what is wanted of it and what came of its login, and how that is written down.

use super::check::Login;
use super::guests::{Guest, Host};
use super::merge::{Header, Note, merge};
use super::wish::Wish;
use crate::ids::HostId;
use crate::manifest::edit::{Document, EditError};
use crate::time::Timestamp;

/// A guest that is written down.
pub(super) struct Subject<'a> {
    /// The guest.
    pub(super) guest: Guest<'a>,
    /// What is wanted of it.
    pub(super) wish: Wish,
    /// What came of its login, where one was tried.
    pub(super) login: Option<Login>,
}

/// What a login is tried with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    user: String,
    variable: Option<String>,
}

impl<'a> Subject<'a> {
    /// Takes the guests of these hosts with what is wanted of each.
    pub(super) fn all(hosts: &'a [Host], wish: impl Fn(&Guest<'a>) -> Wish) -> Vec<Self> {
        let guests = hosts.iter().flat_map(Host::guests);
        guests.map(|guest| Self { guest, wish: wish(&guest), login: None }).collect()
    }

    /// Returns its host.
    pub(super) fn host(&self) -> &'a HostId {
        &self.guest.host.entry.id
    }

    /// Tells whether runs are to maintain it.
    pub(super) fn is_managed(&self) -> bool {
        self.wish.manages(&self.guest)
    }

    /// Returns what a login is tried with, as far as the manifest is to say it.
    pub(super) fn attempt(&self) -> Attempt {
        let user = self.wish.user(&self.guest).to_owned();
        Attempt { user, variable: self.wish.variable.as_ref().map(|(name, _)| name.clone()) }
    }

    fn note(&self, at: Timestamp) -> Note<'a> {
        Note {
            sighting: self.guest.sighting,
            managed: self.wish.managed,
            user: self.wish.user.clone(),
            password_env: self.wish.variable.as_ref().map(|(name, _)| name.clone()),
            check: self.login.as_ref().and_then(|login| login.noted(at)),
        }
    }
}

/// Writes everything down in the document, or nothing.
///
/// # Errors
/// The file has no place for it as it is written.
pub(super) fn write_down(
    document: &mut Document,
    hosts: &[Host],
    subjects: &[Subject<'_>],
    header: &Header,
) -> Result<(), EditError> {
    let mut next = document.clone();
    for host in hosts {
        let own = subjects.iter().filter(|subject| std::ptr::eq(subject.guest.host, host));
        let notes: Vec<Note<'_>> = own.map(|subject| subject.note(header.at)).collect();
        merge(&mut next, host.index, &host.survey, &notes, header)?;
    }
    *document = next;
    Ok(())
}
