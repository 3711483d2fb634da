//! Reads `guest_inventory`: what an earlier inventory, or a person, wrote down about a host's guests.

use std::collections::BTreeMap;
use std::ops::Range;

use secrecy::SecretString;
use toml_edit::TableLike;

use crate::ids::{GuestId, GuestKind};

use super::keys;
use super::raw::{Found, Reader, find};
use super::settings::login;
use super::types::{GuestInventory, InventoryEntry};

/// The version of the inventory's shape that is read here.
const VERSION: u32 = 1;
/// The vmids that Proxmox VE gives out (format `pve-vmid`).
pub(super) const VMIDS: std::ops::RangeInclusive<u32> = 100..=999_999_999;

/// Reads the inventory of a `[[hosts]]` entry; also tells where its first password lies.
pub(super) fn read(reader: &mut Reader, host: &dyn TableLike) -> (Option<GuestInventory>, Option<Range<usize>>) {
    let Some(found) = find(host, "guest_inventory") else { return (None, None) };
    let Some(table) = found.item.as_table_like() else {
        reader.wrong_type(&found, "a table");
        return (None, None);
    };
    reader.typos(table, &keys::INVENTORY);
    let version = optional(reader, table, "version", |r, found| r.number(found, u32::MAX)).map_or(VERSION, |n| n.get());
    if let Some(found) = find(table, "version").filter(|_| version != VERSION) {
        let message = format!("`guest_inventory.version` is {version}, but only {VERSION} is known");
        reader.error(found.span, message, &["it was written by a newer version: upgrade proxmaint"]);
    }
    let ssh_public_key = optional(reader, table, "ssh_public_key", Reader::string);
    let updated_at = optional(reader, table, "updated_at", Reader::string_or_date);
    let mut password_at = None;
    let mut entries = Vec::new();
    let mut seen: BTreeMap<(GuestKind, GuestId), Range<usize>> = BTreeMap::new();
    for (table, span) in entry_tables(reader, table) {
        reader.typos(table, &keys::ENTRY);
        let Some(entry) = entry(reader, table, &span) else { continue };
        if let Some(found) = find(table, "password").filter(|_| entry.password.is_some()) {
            password_at.get_or_insert(found.span);
        }
        let at = find(table, "id").map_or(span, |found| found.span);
        match seen.get(&(entry.kind, entry.id)) {
            Some(_) => {
                let message = format!("{} {} has an entry already, which goes before this one", entry.kind, entry.id);
                reader.warn(at, message, &["keep one of the two"]);
            }
            None => {
                seen.insert((entry.kind, entry.id), at);
                entries.push(entry);
            }
        }
    }
    (Some(GuestInventory { version, ssh_public_key, updated_at, entries }), password_at)
}

/// Returns the tables of `entries`, whichever way they are written, each with its place.
fn entry_tables<'t>(reader: &mut Reader, table: &'t dyn TableLike) -> Vec<(&'t dyn TableLike, Range<usize>)> {
    let Some(found) = find(table, "entries") else { return Vec::new() };
    tables(reader, &found)
}

/// Returns the tables of a list of tables, each with its place; items that are none are errors.
pub(super) fn tables<'t>(reader: &mut Reader, found: &Found<'t>) -> Vec<(&'t dyn TableLike, Range<usize>)> {
    if let Some(list) = found.item.as_array_of_tables() {
        let place = |table: &toml_edit::Table| table.span().unwrap_or_else(|| found.span.clone());
        return list.iter().map(|table| (table as &dyn TableLike, place(table))).collect();
    }
    let Some(array) = found.item.as_array() else {
        reader.wrong_type(found, "a list of tables");
        return Vec::new();
    };
    let mut tables: Vec<(&dyn TableLike, Range<usize>)> = Vec::new();
    for value in array {
        let span = value.span().unwrap_or_else(|| found.span.clone());
        match value.as_inline_table() {
            Some(table) => tables.push((table, span)),
            None => {
                let message =
                    format!("each item of `{}` must be a table, not {}", found.name, super::raw::kind_of_value(value));
                reader.error(span, message, &[]);
            }
        }
    }
    tables
}

fn optional<T>(
    reader: &mut Reader,
    table: &dyn TableLike,
    name: &str,
    read: impl FnOnce(&mut Reader, &Found<'_>) -> Option<T>,
) -> Option<T> {
    let found = find(table, name)?;
    read(reader, &found)
}

/// Reads one entry; `None`, with errors noted, where it can't be told which guest it is about.
fn entry(reader: &mut Reader, table: &dyn TableLike, span: &Range<usize>) -> Option<InventoryEntry> {
    let kind = required(reader, table, "kind", span, kind);
    let id = required(reader, table, "id", span, vmid);
    let name = optional(reader, table, "name", Reader::string);
    let status = optional(reader, table, "status", Reader::string);
    let ip = optional(reader, table, "ip", Reader::string);
    let user = optional(reader, table, "user", login);
    let managed = optional(reader, table, "managed", Reader::boolean);
    let ssh_verified = optional(reader, table, "ssh_verified", Reader::boolean);
    let ssh_key_path = optional(reader, table, "ssh_key_path", Reader::path);
    let last_checked = optional(reader, table, "last_checked", Reader::string_or_date);
    let password_env = optional(reader, table, "password_env", super::hosts::variable);
    let password = optional(reader, table, "password", Reader::string).map(SecretString::from);
    let notes = optional(reader, table, "notes", Reader::string);
    Some(InventoryEntry {
        kind: kind?,
        id: id?,
        name,
        status,
        ip,
        user,
        managed,
        ssh_verified,
        ssh_key_path,
        last_checked,
        password_env,
        password,
        notes,
    })
}

fn required<T>(
    reader: &mut Reader,
    table: &dyn TableLike,
    name: &str,
    span: &Range<usize>,
    read: impl FnOnce(&mut Reader, &Found<'_>) -> Option<T>,
) -> Option<T> {
    match find(table, name).filter(|found| found.item.as_str() != Some("")) {
        Some(found) => read(reader, &found),
        None => {
            let hint = "an entry names its guest by kind and vmid: kind = \"ct\", id = \"101\"";
            reader.error(span.clone(), format!("an entry of `guest_inventory` has no `{name}`"), &[hint]);
            None
        }
    }
}

fn kind(reader: &mut Reader, found: &Found<'_>) -> Option<GuestKind> {
    match reader.string(found)?.as_str() {
        "vm" => Some(GuestKind::Vm),
        "ct" => Some(GuestKind::Ct),
        _ => {
            reader.error(found.span.clone(), "`kind` must be \"vm\" or \"ct\"", &[]);
            None
        }
    }
}

fn vmid(reader: &mut Reader, found: &Found<'_>) -> Option<GuestId> {
    let text = reader.string(found)?;
    let id = text.parse().ok().filter(|id: &GuestId| VMIDS.contains(&id.0));
    if id.is_none() {
        let message = format!("`id` must be a vmid from {} to {}", VMIDS.start(), VMIDS.end());
        reader.error(found.span.clone(), message, &["write it as in the web interface: id = \"101\""]);
    }
    id
}
