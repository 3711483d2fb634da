//! Reads `[[hosts.guests]]`: what holds for single guests, and how these are reached.

use std::ops::Range;

use toml_edit::TableLike;

use crate::choices::{Selector, ViaChoice};
use crate::ids::{GuestId, GuestKind};

use super::checks::checks;
use super::choices::{protect, selector, storage, vmid, word};
use super::hosts::{address, variable};
use super::keys::{self, Key, Level};
use super::raw::{self, Given, Reader, find};
use super::settings::{login, value};
use super::types::GuestInventory;
use super::wanted::GuestEntry;

/// Reads the rules of a `[[hosts]]` entry. The inventory tells the kinds of guests, where it knows them.
pub(super) fn read(reader: &mut Reader, host: &dyn TableLike, inventory: Option<&GuestInventory>) -> Vec<GuestEntry> {
    // A table in its place is the section of `guests.include` and `guests.exclude`.
    let Some(found) = find(host, "guests").filter(|found| !found.item.is_table_like()) else { return Vec::new() };
    if !found.item.is_array() && !found.item.is_array_of_tables() {
        let message = format!("`guests` must be a list of tables, not {}", raw::kind_of(found.item));
        let hint = "guests are selected by `guests_include`; here stand rules: [[hosts.guests]]";
        reader.error(found.span, message, &[hint]);
        return Vec::new();
    }
    let tables = super::guests::tables(reader, &found);
    tables.into_iter().filter_map(|(table, span)| rule(reader, table, &span, inventory)).collect()
}

/// Reads one rule; `None`, with errors noted, where it can't be told which guests it is about.
fn rule(
    reader: &mut Reader,
    table: &dyn TableLike,
    span: &Range<usize>,
    inventory: Option<&GuestInventory>,
) -> Option<GuestEntry> {
    let unknown_keys = reader.unknown_keys(table, Level::Guest);
    let who = who(reader, table, span);
    let via = reader.pick(table, &keys::RULE_VIA, word);
    let entry = GuestEntry {
        who: who.clone().unwrap_or(Selector::Id(GuestId(0))),
        managed: value(reader.pick(table, &keys::RULE_MANAGED, Reader::boolean)),
        via: via.as_ref().map(|via| via.value),
        stopped: value(reader.pick(table, &keys::RULE_STOPPED, word)),
        protect: value(reader.pick(table, &keys::RULE_PROTECT, protect)),
        on_failure: value(reader.pick(table, &keys::RULE_ON_FAILURE, word)),
        reboot: value(reader.pick(table, &keys::RULE_REBOOT, word)),
        checks: value(reader.pick(table, &keys::RULE_CHECKS, checks)),
        backup_storage: value(reader.pick(table, &keys::RULE_BACKUP_STORAGE, storage)),
        backup_mode: value(reader.pick(table, &keys::RULE_BACKUP_MODE, word)),
        backup_compress: value(reader.pick(table, &keys::RULE_BACKUP_COMPRESS, word)),
        address: value(reader.pick(table, &keys::RULE_ADDRESS, address)),
        user: value(reader.pick(table, &keys::RULE_USER, login)),
        identity_file: value(reader.pick(table, &keys::RULE_IDENTITY_FILE, Reader::path)),
        password_env: value(reader.pick(table, &keys::RULE_PASSWORD_ENV, variable)),
        unknown_keys,
    };
    let who = who?;
    if let Some(via) = via {
        way_fits(reader, &who, &via, inventory);
    }
    if entry.id().is_none() {
        refuse_logins(reader, table);
    }
    Some(entry)
}

/// Reads which guests a rule is about: by `id` or by `match`.
fn who(reader: &mut Reader, table: &dyn TableLike, span: &Range<usize>) -> Option<Selector> {
    const HINT: &str = "name one guest (id = 104), or those that a selector matches (match = \"tag:prod\")";
    let errors = reader.drafts.len();
    let id = reader.pick(table, &keys::RULE_ID, vmid);
    let by_match = reader.pick(table, &keys::RULE_MATCH, selector);
    match (id, by_match) {
        (Some(_), Some(given)) => {
            reader.error(given.span, "a rule of `guests` has both `id` and `match`", &[HINT]);
            None
        }
        (Some(id), None) => Some(Selector::Id(id.value)),
        (None, Some(given)) => Some(given.value),
        (None, None) => {
            if reader.drafts.len() == errors {
                reader.error(span.clone(), "a rule of `guests` names no guests", &[HINT]);
            }
            None
        }
    }
}

/// Refuses a way that no guest of that kind has.
fn way_fits(reader: &mut Reader, who: &Selector, via: &Given<ViaChoice>, inventory: Option<&GuestInventory>) {
    let (kinds, why) = match via.value {
        ViaChoice::Pct => (GuestKind::Vm, "`pct` enters containers only"),
        ViaChoice::Agent => (GuestKind::Ct, "only VMs have a guest agent"),
        ViaChoice::Auto | ViaChoice::Ssh => return,
    };
    if kind_of(who, inventory) == Some(kinds) {
        let message = format!("`via` can't be \"{}\" for {who} ({kinds}): {why}", via.value);
        reader.error(via.span.clone(), message, &["\"auto\" takes the way that fits; \"ssh\" fits both kinds"]);
    }
}

/// Returns the kind of the guests that are selected, where that can be told.
fn kind_of(who: &Selector, inventory: Option<&GuestInventory>) -> Option<GuestKind> {
    match who {
        Selector::Kind(kind) => Some(*kind),
        Selector::Not(other) => match **other {
            Selector::Kind(GuestKind::Ct) => Some(GuestKind::Vm),
            Selector::Kind(GuestKind::Vm) => Some(GuestKind::Ct),
            _ => None,
        },
        Selector::Id(id) => {
            let mut listed = inventory?.entries.iter().filter(|entry| entry.id == *id).map(|entry| entry.kind);
            // One that is listed as both may be either.
            listed.next().filter(|kind| listed.all(|other| other == *kind))
        }
        Selector::Range(..) | Selector::Name(_) | Selector::Tag(_) | Selector::Pool(_) => None,
    }
}

/// Refuses what tells how a guest is reached, in a rule that may be about several: each guest has a login of its own, and
/// which ones a selector matches is not known before the host has been looked at.
fn refuse_logins(reader: &mut Reader, table: &dyn TableLike) {
    let facts: [&'static Key; 4] =
        [&keys::RULE_ADDRESS, &keys::RULE_USER, &keys::RULE_IDENTITY_FILE, &keys::RULE_PASSWORD_ENV];
    for name in facts.iter().flat_map(|key| key.spellings) {
        if let Some(found) = find(table, name).filter(|found| found.item.as_str() != Some("")) {
            let message = format!("`{name}` stands in a rule with `id` only");
            let hint =
                "what holds for all guests of a host is written as guest_user, guest_identity_file, guest_password_env";
            reader.error(found.span, message, &[hint]);
        }
    }
}
