//! Reads what a table wants done: the words, lists and times that `[defaults]`, `[[hosts]]` and `[[hosts.guests]]` share.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml_edit::{TableLike, Value};

use crate::choices::health::HealthCheck;
use crate::choices::{
    BackupMode, Compression, GuestReboot, HostReboot, OnFailure, ProtectChoice, Selector, Stopped, UnknownWord,
    ViaChoice,
};
use crate::ids::GuestId;

use super::checks::checks;
use super::keys;
use super::raw::{Found, Reader};
use super::settings::value;
use super::wanted::{Backup, Keep, Wanted};

/// What one table wants; `None` for what it leaves to the level below.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    include: Option<Vec<Selector>>,
    exclude: Option<Vec<Selector>>,
    via: Option<ViaChoice>,
    stopped: Option<Stopped>,
    protect: Option<Vec<ProtectChoice>>,
    on_failure: Option<OnFailure>,
    guest_reboot: Option<GuestReboot>,
    host_reboot: Option<HostReboot>,
    allow_quorum_loss: Option<bool>,
    checks: Option<Vec<HealthCheck>>,
    lock_wait: Option<Duration>,
    backup_storage: Option<String>,
    backup_mode: Option<BackupMode>,
    backup_compress: Option<Compression>,
    backup_lock_wait: Option<Duration>,
    backup_keep_for: Option<Duration>,
    backup_keep_last: Option<u32>,
    snapshot_keep_for: Option<Duration>,
    snapshot_keep_last: Option<u32>,
}

impl Choices {
    pub(super) fn read(reader: &mut Reader, table: &dyn TableLike) -> Self {
        Self {
            include: value(reader.pick(table, &keys::GUESTS_INCLUDE, selectors)),
            exclude: value(reader.pick(table, &keys::GUESTS_EXCLUDE, selectors)),
            via: value(reader.pick(table, &keys::VIA, word)),
            stopped: value(reader.pick(table, &keys::STOPPED, word)),
            protect: value(reader.pick(table, &keys::PROTECT, protect)),
            on_failure: value(reader.pick(table, &keys::ON_FAILURE, word)),
            guest_reboot: value(reader.pick(table, &keys::GUEST_REBOOT, word)),
            host_reboot: value(reader.pick(table, &keys::HOST_REBOOT, word)),
            allow_quorum_loss: value(reader.pick(table, &keys::ALLOW_QUORUM_LOSS, Reader::boolean)),
            checks: value(reader.pick(table, &keys::CHECKS, checks)),
            lock_wait: value(reader.pick(table, &keys::LOCK_WAIT, Reader::duration)),
            backup_storage: value(reader.pick(table, &keys::BACKUP_STORAGE, storage)),
            backup_mode: value(reader.pick(table, &keys::BACKUP_MODE, word)),
            backup_compress: value(reader.pick(table, &keys::BACKUP_COMPRESS, word)),
            backup_lock_wait: value(reader.pick(table, &keys::BACKUP_LOCK_WAIT, Reader::duration)),
            backup_keep_for: value(reader.pick(table, &keys::BACKUP_KEEP_FOR, Reader::duration)),
            backup_keep_last: value(reader.pick(table, &keys::BACKUP_KEEP_LAST, count)),
            snapshot_keep_for: value(reader.pick(table, &keys::SNAPSHOT_KEEP_FOR, Reader::duration)),
            snapshot_keep_last: value(reader.pick(table, &keys::SNAPSHOT_KEEP_LAST, count)),
        }
    }

    /// Fills in what the host leaves open, from the defaults and then from what is built in.
    pub(super) fn merge(self, defaults: &Self) -> Wanted {
        let built_in = Wanted::default();
        let above = defaults.clone();
        let backup = built_in.backup;
        Wanted {
            include: self.include.or(above.include).unwrap_or(built_in.include),
            exclude: self.exclude.or(above.exclude).unwrap_or(built_in.exclude),
            via: self.via.or(above.via).unwrap_or(built_in.via),
            stopped: self.stopped.or(above.stopped).unwrap_or(built_in.stopped),
            protect: self.protect.or(above.protect).unwrap_or(built_in.protect),
            on_failure: self.on_failure.or(above.on_failure).unwrap_or(built_in.on_failure),
            guest_reboot: self.guest_reboot.or(above.guest_reboot).unwrap_or(built_in.guest_reboot),
            host_reboot: self.host_reboot.or(above.host_reboot).unwrap_or(built_in.host_reboot),
            allow_quorum_loss: self.allow_quorum_loss.or(above.allow_quorum_loss).unwrap_or(built_in.allow_quorum_loss),
            checks: self.checks.or(above.checks).unwrap_or(built_in.checks),
            lock_wait: self.lock_wait.or(above.lock_wait).unwrap_or(built_in.lock_wait),
            backup: Backup {
                storage: self.backup_storage.or(above.backup_storage).or(backup.storage),
                mode: self.backup_mode.or(above.backup_mode).unwrap_or(backup.mode),
                compress: self.backup_compress.or(above.backup_compress).unwrap_or(backup.compress),
                lock_wait: self.backup_lock_wait.or(above.backup_lock_wait).unwrap_or(backup.lock_wait),
                keep: Keep {
                    time: self.backup_keep_for.or(above.backup_keep_for).unwrap_or(backup.keep.time),
                    last: self.backup_keep_last.or(above.backup_keep_last).unwrap_or(backup.keep.last),
                },
            },
            snapshots: Keep {
                time: self.snapshot_keep_for.or(above.snapshot_keep_for).unwrap_or(built_in.snapshots.time),
                last: self.snapshot_keep_last.or(above.snapshot_keep_last).unwrap_or(built_in.snapshots.last),
            },
        }
    }
}

/// Reads one of the words that a key takes.
pub(super) fn word<T: FromStr<Err = UnknownWord>>(reader: &mut Reader, found: &Found<'_>) -> Option<T> {
    let text = reader.string(found)?;
    known(reader, found.name, &text, found.span.clone())
}

fn known<T: FromStr<Err = UnknownWord>>(reader: &mut Reader, name: &str, text: &str, span: Range<usize>) -> Option<T> {
    match text.parse() {
        Ok(word) => Some(word),
        Err(error) => {
            let known = error.known.join("\", \"");
            let meant = keys::nearest(text, error.known.iter().copied());
            let hint = meant.map(|meant| format!("did you mean \"{meant}\"?"));
            let hints: Vec<&str> = hint.as_deref().into_iter().collect();
            reader.error(span, format!("`{name}`: \"{text}\" is none of \"{known}\""), &hints);
            None
        }
    }
}

/// Reads how guests are protected; a table in its place holds `protect.with` and `protect.max_age` and is none of this.
pub(super) fn protect(reader: &mut Reader, found: &Found<'_>) -> Option<Vec<ProtectChoice>> {
    if found.item.is_table_like() {
        return None;
    }
    let errors = reader.drafts.len();
    let mut ways: Vec<ProtectChoice> = Vec::new();
    for item in reader.strings(found)? {
        let Some(way) = known(reader, found.name, &item.value, item.span.clone()) else { continue };
        if ways.contains(&way) {
            reader.error(item.span, format!("`{}` names \"{way}\" twice", found.name), &["name each way once"]);
        } else {
            ways.push(way);
        }
    }
    if ways.len() > 1 && ways.contains(&ProtectChoice::None) {
        let message = format!("`{}`: \"none\" stands alone", found.name);
        let hint = "leave it out: where no way is left, the guest is not touched";
        reader.error(found.span.clone(), message, &[hint]);
    }
    (reader.drafts.len() == errors).then_some(ways)
}

/// Reads a list of selectors; numbers may stand without quotes.
fn selectors(reader: &mut Reader, found: &Found<'_>) -> Option<Vec<Selector>> {
    let errors = reader.drafts.len();
    let mut list = Vec::new();
    match found.item.as_array() {
        Some(array) => {
            for item in array {
                let span = item.span().unwrap_or_else(|| found.span.clone());
                match item {
                    Value::String(text) => list.extend(selector_of(reader, found.name, text.value(), span)),
                    Value::Integer(number) => list.extend(selector_of(reader, found.name, &number.to_string(), span)),
                    other => {
                        let kind = super::raw::kind_of_value(other);
                        let message = format!("each item of `{}` must be a string, not {kind}", found.name);
                        reader.error(span, message, &[Selector::HELP]);
                    }
                }
            }
        }
        None => {
            for item in reader.strings(found)? {
                list.extend(selector_of(reader, found.name, &item.value, item.span));
            }
        }
    }
    (reader.drafts.len() == errors && !list.is_empty()).then_some(list)
}

/// Reads one selector.
pub(super) fn selector(reader: &mut Reader, found: &Found<'_>) -> Option<Selector> {
    let text = reader.string(found)?;
    selector_of(reader, found.name, &text, found.span.clone())
}

fn selector_of(reader: &mut Reader, name: &str, text: &str, span: Range<usize>) -> Option<Selector> {
    match text.parse() {
        Ok(selector) => Some(selector),
        Err(error) => {
            reader.error(span, format!("`{name}`: {error}"), &[Selector::HELP]);
            None
        }
    }
}

/// Reads the vmid of a guest, as a number or a text; 0 and `""` count as not given.
pub(super) fn vmid(reader: &mut Reader, found: &Found<'_>) -> Option<GuestId> {
    let vmids = super::guests::VMIDS;
    let id = match (found.item.as_integer(), found.item.as_str()) {
        (Some(0), _) | (_, Some("")) => return None,
        (Some(number), _) => u32::try_from(number).ok().map(GuestId),
        (_, Some(text)) => text.parse().ok(),
        (None, None) => {
            reader.wrong_type(found, "a vmid");
            return None;
        }
    };
    let id = id.filter(|id| vmids.contains(&id.0));
    if id.is_none() {
        let message = format!("`{}` must be a vmid from {} to {}", found.name, vmids.start(), vmids.end());
        reader.error(found.span.clone(), message, &["several guests are named by `match`"]);
    }
    id
}

/// Reads the name of a storage (format `pve-storage-id`).
pub(super) fn storage(reader: &mut Reader, found: &Found<'_>) -> Option<String> {
    let name = reader.string(found)?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_name {
        return Some(name);
    }
    let message = format!("`{}` is no name of a storage", found.name);
    reader.error(found.span.clone(), message, &["write it as `pvesm status` on the node prints it"]);
    None
}

fn count(reader: &mut Reader, found: &Found<'_>) -> Option<u32> {
    /// More than any storage keeps of a guest.
    const MOST: u32 = 10_000;
    reader.number(found, MOST).map(std::num::NonZeroU32::get)
}
