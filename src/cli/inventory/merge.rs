//! Puts what was found into `guest_inventory`, and keeps what is there: notes, hand edits, guests that nobody asked about.
//!
//! - An entry is found by kind and vmid. Those of guests that have none are put behind the others, in order of vmid. Templates
//!   get none.
//! - Name and status follow the survey, in every entry: whether or not the operator was asked about the guest, an old status is
//!   of no use. An entry whose guest the survey does not list becomes `gone`, and nothing else of it changes; a vmid that is of
//!   another kind now is another guest. Where the survey may not see all guests, none is called gone.
//! - `ip` is what a hand wrote, unless a login at another address led to this very guest; where there is none it is the likeliest
//!   address.
//! - Login, password variable and `managed` change only where the note says so. A password in the file stays there.
//! - `last_checked` and `updated_at` alone are no change: they are written together with another one, such as a check that came
//!   out differently. So a second inventory makes no difference, and a nightly one no noise in a repository.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::engine::perform::{Sighting, Survey};
use crate::ids::{GuestId, GuestKind};
use crate::inventory::Power;
use crate::manifest::edit::{Document, EditError, Scope, Setting, Spot, Value};
use crate::time::Timestamp;

/// The version of the inventory's shape that is written here.
const VERSION: i64 = 1;
/// The status of a guest that is not there any more.
const GONE: &str = "gone";

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

/// Merges the notes into a host's `guest_inventory`, which is made where there is none and a guest is noted. Where nothing but the
/// time would change, nothing does.
///
/// # Errors
/// There is no such host, or the file has no place for it as it is written; nothing has changed then.
pub(super) fn merge(
    document: &mut Document,
    host: usize,
    survey: &Survey,
    notes: &[Note<'_>],
    header: &Header,
) -> Result<(), EditError> {
    let notes: BTreeMap<Guest, &Note<'_>> =
        notes.iter().filter(|note| !note.sighting.template).map(|note| (guest_of(note.sighting), note)).collect();
    let mut next = document.clone();
    // The head of a new inventory is written first, so that it stands above the entries.
    let is_new = !has_inventory(&next, host);
    if is_new && !notes.is_empty() {
        write_head(&mut next, host, header)?;
    }
    update(&mut next, host, survey, &notes)?;
    add_missing(&mut next, host, &notes)?;
    let is_other_key = header.public_key.is_some() && header.public_key != head_text(&next, host, "ssh_public_key");
    if !is_new && (is_other_key || next.text() != document.text()) {
        write_head(&mut next, host, header)?;
    }
    *document = next;
    Ok(())
}

/// What an entry is found by; in order of vmid.
type Guest = (GuestId, GuestKind);

fn guest_of(sighting: &Sighting) -> Guest {
    (sighting.id, sighting.kind)
}

/// A key of an entry with its value.
type Pair = (&'static str, Value);

fn setting(scope: Scope, key: &'static str) -> Result<Setting, EditError> {
    scope.setting(key).map_err(|_| EditError::Misplaced { key, scope })
}

/// Returns what a table says of a key, where that is not empty.
fn given(document: &Document, spot: Spot, key: &'static str) -> Option<Value> {
    let setting = setting(spot.scope(), key).ok()?;
    document.given(spot, &setting).map(|(_, value)| value).filter(|value| !value.is_empty())
}

fn text(document: &Document, spot: Spot, key: &'static str) -> Option<String> {
    match given(document, spot, key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn head_text(document: &Document, host: usize, key: &'static str) -> Option<String> {
    text(document, Spot::Inventory(host), key)
}

fn has_inventory(document: &Document, host: usize) -> bool {
    let spot = Spot::Inventory(host);
    let says = |setting: &Setting| document.given(spot, setting).is_some();
    !document.entries(host).is_empty() || Scope::Inventory.settings().iter().any(says)
}

/// Writes what is said of the inventory as a whole.
fn write_head(document: &mut Document, host: usize, header: &Header) -> Result<(), EditError> {
    let spot = Spot::Inventory(host);
    let mut put = |key, value: Value| document.set(spot, &setting(Scope::Inventory, key)?, &value);
    put("version", Value::Number(VERSION))?;
    if let Some(key) = &header.public_key {
        put("ssh_public_key", Value::text(key))?;
    }
    put("updated_at", Value::text(header.at.to_string()))
}

/// Returns which guest an entry is about; `None` where that can't be told, or another entry is about it and comes first.
fn guest_at(document: &Document, host: usize, spot: Spot) -> Option<Guest> {
    let kind = match text(document, spot, "kind")?.as_str() {
        "ct" => GuestKind::Ct,
        "vm" => GuestKind::Vm,
        _ => return None,
    };
    let id: GuestId = text(document, spot, "id")?.parse().ok()?;
    (document.entry(host, kind, id) == Some(spot)).then_some((id, kind))
}

/// Brings the entries that are there up to date.
fn update(
    document: &mut Document,
    host: usize,
    survey: &Survey,
    notes: &BTreeMap<Guest, &Note<'_>>,
) -> Result<(), EditError> {
    let seen: BTreeMap<Guest, &Sighting> = survey.guests.iter().map(|seen| (guest_of(seen), seen)).collect();
    for spot in document.entries(host) {
        let Some(guest) = guest_at(document, host, spot) else { continue };
        let changes = match seen.get(&guest) {
            Some(sighting) => changes(document, spot, sighting, notes.get(&guest).copied()),
            None if survey.unseen.is_some() => Vec::new(),
            None => vec![("status", Value::text(GONE))],
        };
        for (key, value) in changes {
            document.set(spot, &setting(Scope::Entry, key)?, &value)?;
        }
    }
    Ok(())
}

/// Returns what changes in an entry that is there.
fn changes(document: &Document, spot: Spot, sighting: &Sighting, note: Option<&Note<'_>>) -> Vec<Pair> {
    let check = note.and_then(|note| note.check.as_ref());
    let mut pairs = seen_pairs(sighting);
    if let Some(note) = note {
        let written = text(document, spot, "ip");
        pairs.extend(address(note, written.as_deref()).map(|address| ("ip", Value::text(address))));
        pairs.extend(noted_pairs(note));
    }
    pairs.retain(|(key, value)| match (*key, value, text(document, spot, key)) {
        ("ssh_key_path", Value::Text(key), Some(written)) => !is_same_path(&written, Path::new(key)),
        _ => given(document, spot, key).as_ref() != Some(value),
    });
    if let Some(check) = check.filter(|_| !pairs.is_empty()) {
        pairs.push(("last_checked", Value::text(check.at.to_string())));
    }
    pairs
}

/// Adds an entry for each noted guest that has none.
fn add_missing(document: &mut Document, host: usize, notes: &BTreeMap<Guest, &Note<'_>>) -> Result<(), EditError> {
    for ((id, kind), note) in notes {
        if document.entry(host, *kind, *id).is_some() {
            continue;
        }
        let mut pairs: BTreeMap<&str, Value> = BTreeMap::new();
        let word = match kind {
            GuestKind::Ct => "ct",
            GuestKind::Vm => "vm",
        };
        pairs.extend([("kind", Value::text(word)), ("id", Value::text(id.to_string()))]);
        pairs.extend(seen_pairs(note.sighting));
        pairs.extend(address(note, None).map(|address| ("ip", Value::text(address))));
        pairs.extend(noted_pairs(note));
        pairs.extend(note.check.as_ref().map(|check| ("last_checked", Value::text(check.at.to_string()))));
        // In the order of the reference.
        let settings = Scope::Entry.settings().into_iter();
        let ordered = settings.filter_map(|setting| Some((setting, pairs.remove(setting.name())?)));
        let ordered: Vec<(Setting, Value)> = ordered.collect();
        document.add_entry(host, &ordered)?;
    }
    Ok(())
}

/// Returns what the survey says of a guest.
fn seen_pairs(sighting: &Sighting) -> Vec<Pair> {
    let status = match sighting.power {
        Power::Running => "running",
        Power::Stopped => "stopped",
        Power::Other => "unknown",
    };
    let name = Some(&sighting.name).filter(|name| !name.is_empty());
    let name = name.map(|name| ("name", Value::text(name)));
    name.into_iter().chain([("status", Value::text(status))]).collect()
}

/// Returns what the operator, or a check, says of a guest; the time of the check and the address apart.
fn noted_pairs(note: &Note<'_>) -> Vec<Pair> {
    let user = note.user.as_ref().map(|user| ("user", Value::text(user)));
    let managed = note.managed.map(|managed| ("managed", Value::Boolean(managed)));
    let verified = note.check.as_ref().map(|check| ("ssh_verified", Value::Boolean(check.address.is_some())));
    let key = note.check.as_ref().and_then(|check| check.key.as_deref()?.to_str());
    let key = key.map(|key| ("ssh_key_path", Value::text(key)));
    let password = note.password_env.as_ref().map(|name| ("password_env", Value::text(name)));
    [user, managed, verified, key, password].into_iter().flatten().collect()
}

/// Returns the address to write, where it is another one than is written: one that proved itself, or where there is none the
/// likeliest.
fn address(note: &Note<'_>, written: Option<&str>) -> Option<String> {
    let proven = note.check.as_ref().and_then(|check| check.address.clone());
    match (proven, written) {
        (Some(proven), Some(written)) => (!is_same_address(written, &proven)).then_some(proven),
        (Some(proven), None) => Some(proven),
        (None, Some(_)) => None,
        (None, None) => note.sighting.addresses.first().cloned(),
    }
}

/// Tells whether two texts name one address; either may have a prefix length (`192.0.2.5/24`).
fn is_same_address(one: &str, other: &str) -> bool {
    let bare = |text: &'_ str| text.split_once('/').map_or(text, |(bare, _)| bare).trim().to_ascii_lowercase();
    let (one, other) = (bare(one), bare(other));
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Tells whether a path of the file names that key: it may be written from the home directory, or from the file's own.
fn is_same_path(written: &str, key: &Path) -> bool {
    let short = written.strip_prefix("~/").unwrap_or(written);
    key.ends_with(short.trim_start_matches("./"))
}

#[cfg(test)]
mod tests;
