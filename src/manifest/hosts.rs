//! Turns the parsed file into a [`Manifest`](super::Manifest): each host with the defaults merged in.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::ops::Range;

use toml_edit::{Table, TableLike};

use crate::choices::{Canary, CanaryError, OnFailure, ProtectChoice, Selector};
use crate::ids::HostId;

use super::choices::words;
use super::guests;
use super::jump::is_host;
use super::keys::{self, Key, Level};
use super::problem::Severity;
use super::raw::{Found, Given, Reader, find, key_span, kind_of, span_of};
use super::settings::Settings;
use super::source::Draft;
use super::types::{ApiOptions, Defaults, HostEntry};
use super::wanted::Wanted;

/// What a file says, and where its first password lies.
#[derive(Debug)]
pub(super) struct Content {
    pub defaults: Defaults,
    pub hosts: Vec<HostEntry>,
    pub password_at: Option<Range<usize>>,
}

/// Reads the whole file. What is wrong is noted in the reader; the result is only good where nothing was.
pub(super) fn read(reader: &mut Reader, file: &Table) -> Content {
    top_level(reader, file);
    let (run, settings, canary) = defaults(reader, file);
    let mut content = Content { defaults: run, hosts: Vec::new(), password_at: None };
    let mut names: BTreeMap<HostId, Range<usize>> = BTreeMap::new();
    for (table, span) in host_tables(reader, file) {
        let Some((entry, name_at)) = host(reader, table, &span, &settings, &mut content.password_at) else { continue };
        match names.get(&entry.id) {
            Some(first) => reader.drafts.push(Draft {
                severity: Severity::Error,
                message: format!("the name `{}` is taken by an earlier host", entry.id),
                span: name_at,
                other: Some(("the earlier host".to_owned(), first.clone())),
                hints: vec!["give each host a `name` of its own".to_owned()],
            }),
            None => {
                names.insert(entry.id.clone(), name_at);
            }
        }
        content.hosts.push(entry);
    }
    content.defaults.canary = canaries(reader, canary, &content.hosts);
    content
}

/// Warns of keys of the file itself that belong somewhere else or are misspelled.
fn top_level(reader: &mut Reader, file: &Table) {
    for (name, item) in file.iter() {
        if keys::TOP.contains(&name) {
            continue;
        }
        let span = key_span(file, name).unwrap_or_else(|| span_of(file, name, item));
        // `[[host]]` is meant for `[[hosts]]`, `host = ".."` for a line within it.
        let is_key = keys::spelled(Level::Host, name).is_some();
        let is_host = name == keys::HOST.spellings[0] && !item.as_table().is_some_and(Table::is_dotted);
        let is_section = keys::is_section(Level::Defaults, name) && !is_host;
        let is_setting = item.is_value() || is_section;
        match keys::nearest(name, keys::TOP) {
            Some(meant) if !is_setting || !is_key => {
                reader.warn(span, format!("unknown key `{name}`"), &[&format!("did you mean `{meant}`?")]);
            }
            _ if is_key || is_section => {
                let hint = "write it below a line [defaults] or [[hosts]]";
                reader.warn(span, format!("`{name}` has no effect outside of [defaults] and [[hosts]]"), &[hint]);
            }
            _ => {}
        }
    }
}

/// Reads who goes first, which may be said in terms of the hosts.
fn canaries(reader: &mut Reader, given: Option<Given<Vec<Given<String>>>>, hosts: &[HostEntry]) -> Vec<Canary> {
    let mut canaries = Vec::new();
    for item in given.map_or_else(Vec::new, |given| given.value) {
        match Canary::read(&item.value, |name| hosts.iter().any(|entry| entry.id.as_str() == name)) {
            Ok(canary) => canaries.push(canary),
            Err(error) => {
                let known = hosts.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join(", ");
                let hint = match &error {
                    CanaryError::NoSuchHost(_) => format!("the manifest has: {known}"),
                    CanaryError::Selector(_) => format!("{}; {}", Canary::HELP, Selector::HELP),
                };
                reader.error(item.span, format!("`canary`: {error}"), &[&hint]);
            }
        }
    }
    canaries
}

/// What `[defaults]` says of runs, of hosts, and of canaries, which only hosts make clear.
type OfDefaults = (Defaults, Settings, Option<Given<Vec<Given<String>>>>);

fn defaults(reader: &mut Reader, file: &Table) -> OfDefaults {
    let built_in = Defaults::default();
    let Some(found) = find(file, "defaults") else { return (built_in, Settings::default(), None) };
    let Some(table) = found.item.as_table_like() else {
        let message = format!("`defaults` must be a table, not {}", kind_of(found.item));
        reader.error(found.span, message, &["begin it with a line [defaults]"]);
        return (built_in, Settings::default(), None);
    };
    reader.unknown_keys(table, Level::Defaults);
    let resume_within = reader.pick(table, &keys::RESUME_WITHIN, Reader::duration);
    let settings = Settings::read(reader, table);
    warn_of_idle_insecure(reader, table, &settings, &Settings::default());
    let canary = reader.pick(table, &keys::CANARY, words);
    let soak = reader.pick(table, &keys::SOAK, Reader::duration);
    if let (None, Some(soak)) = (&canary, &soak) {
        let message = "`soak` has no effect without `canary`: there is nobody to be left alone before the rest begins";
        reader.warn(
            soak.span.clone(),
            message,
            &["say who goes first: canary = [\"tag:canary\"]; or leave `soak` out"],
        );
    }
    let max_failures = reader.pick(table, &keys::MAX_FAILURES, Reader::whole_number);
    let run = Defaults {
        canary: built_in.canary,
        soak: soak.map_or(built_in.soak, |given| given.value),
        max_failures: max_failures.map(|given| given.value),
        resume_within: resume_within.map_or(built_in.resume_within, |given| given.value),
    };
    (run, settings, canary)
}

/// Returns the tables of the hosts; that there is none is an error.
fn host_tables<'t>(reader: &mut Reader, file: &'t Table) -> Vec<(&'t dyn TableLike, Range<usize>)> {
    const HINT: &str = "begin each host with a line [[hosts]], and below it host = \"..\"";
    let Some(found) = find(file, "hosts") else {
        reader.error(0..0, "there are no hosts", &[HINT]);
        return Vec::new();
    };
    if !found.item.is_array() && !found.item.is_array_of_tables() {
        let message = format!("`hosts` must be a list of tables, not {}", kind_of(found.item));
        reader.error(found.span, message, &[HINT]);
        return Vec::new();
    }
    let errors = reader.drafts.len();
    let tables = guests::tables(reader, &found);
    if tables.is_empty() && reader.drafts.len() == errors {
        reader.error(found.span, "there are no hosts", &[HINT]);
    }
    tables
}

/// Reads one host; `None`, with errors noted, where something is missing that it can't do without.
fn host(
    reader: &mut Reader,
    table: &dyn TableLike,
    span: &Range<usize>,
    defaults: &Settings,
    password_at: &mut Option<Range<usize>>,
) -> Option<(HostEntry, Range<usize>)> {
    let unknown_keys = reader.unknown_keys(table, Level::Host);
    let host = required(reader, table, span, &keys::HOST, address, "host = \"pve1.example.org\"");
    let name = reader.pick(table, &keys::NAME, name);
    let token_env = required(reader, table, span, &keys::API_TOKEN_ENV, variable, "api.token_env = \"PVE1_TOKEN\"");
    let secret_env = required(reader, table, span, &keys::API_SECRET_ENV, variable, "api.secret_env = \"PVE1_SECRET\"");
    let own = Settings::read(reader, table);
    let (inventory, password) = guests::read(reader, table);
    let rules = super::rules::read(reader, table, inventory.as_ref());
    if password_at.is_none() {
        *password_at = password;
    }

    warn_of_idle_insecure(reader, table, &own, defaults);
    let wanted = own.choices.clone().merge(&defaults.choices);
    warn_of_idle_rollback(reader, table, &wanted);

    let host = host?;
    let name_at = name.as_ref().unwrap_or(&host).span.clone();
    let entry = HostEntry {
        id: HostId::new(name.map_or_else(|| host.value.clone(), |name| name.value)),
        host: host.value,
        ssh: own.ssh.merge(&defaults.ssh),
        guest_ssh: own.guest_ssh.merge(&defaults.guest_ssh),
        api: ApiOptions {
            node: own.api_node.as_ref().or(defaults.api_node.as_ref()).cloned(),
            port: own.api_port.or(defaults.api_port).unwrap_or(ApiOptions::PORT),
            insecure: own.api_insecure.or(defaults.api_insecure).unwrap_or(false),
            ca_file: own.api_ca_file.as_ref().or(defaults.api_ca_file.as_ref()).cloned(),
            fingerprint: own.api_fingerprint.or(defaults.api_fingerprint),
            // Where one is missing the manifest is refused; the entry still takes part in the search for double names.
            token_env: token_env.map_or_else(String::new, |given| given.value),
            secret_env: secret_env.map_or_else(String::new, |given| given.value),
        },
        max_parallel: own.max_parallel.or(defaults.max_parallel).unwrap_or(HostEntry::MAX_PARALLEL),
        dry_run: own.dry_run.or(defaults.dry_run).unwrap_or(false),
        protect_max_age: own.protect_max_age.or(defaults.protect_max_age).unwrap_or(HostEntry::PROTECT_MAX_AGE),
        wanted,
        guests: rules,
        inventory,
        unknown_keys,
    };
    Some((entry, name_at))
}

/// Warns where a table says `api.insecure` although it, or what it falls back to, names something to check against.
fn warn_of_idle_insecure(reader: &mut Reader, table: &dyn TableLike, own: &Settings, above: &Settings) {
    let pinned = own.api_fingerprint.or(above.api_fingerprint).is_some();
    let what = match (own.api_ca_file.is_some() || above.api_ca_file.is_some(), pinned) {
        (_, true) => "a fingerprint",
        (true, false) => "a CA file",
        (false, false) => return,
    };
    let insecure = keys::API_INSECURE.spellings.iter().find_map(|spelling| find(table, spelling));
    if let Some(found) = insecure.filter(|_| own.api_insecure == Some(true)) {
        let message = format!("`{}` has no effect, since {what} is given too: the certificate is checked", found.name);
        reader.warn(found.span, message, &["keep one of the two; `api.fingerprint` fits a single host"]);
    }
}

/// Says that guests are never rolled back which are protected by no snapshot, where the manifest wants it.
fn warn_of_idle_rollback(reader: &mut Reader, table: &dyn TableLike, wanted: &Wanted) {
    if wanted.on_failure == OnFailure::Keep || wanted.protect.contains(&ProtectChoice::Snapshot) {
        return;
    }
    // Said at the host, whichever of the two stands among the defaults.
    let keys = [&keys::ON_FAILURE, &keys::PROTECT, &keys::HOST];
    let at = keys.iter().flat_map(|key| key.spellings).find_map(|spelling| find(table, spelling));
    if let Some(found) = at {
        let message = "`on_failure = \"rollback\"` has no effect here: guests are protected by no snapshot (`protect`)";
        let hint = "only a snapshot is gone back to; a backup is never restored by itself: protect = [\"snapshot\", \"backup\"]";
        reader.warn(found.span, message, &[hint]);
    }
}

/// Reads a key that each host must have.
fn required(
    reader: &mut Reader,
    table: &dyn TableLike,
    span: &Range<usize>,
    key: &'static Key,
    read: impl Fn(&mut Reader, &Found<'_>) -> Option<String>,
    example: &str,
) -> Option<Given<String>> {
    let errors = reader.drafts.len();
    let given = reader.pick(table, key, read);
    if given.is_none() && reader.drafts.len() == errors {
        let spelling = key.spellings[0];
        let found = key.spellings.iter().find_map(|spelling| find(table, spelling));
        let (at, message) = match found {
            Some(found) => (found.span, format!("`{}` is empty", found.name)),
            None => (span.clone(), format!("a host has no `{spelling}`")),
        };
        reader.error(at, message, &[&format!("each host needs it: {example}")]);
    }
    given
}

/// What to write where a `[[hosts]]` entry has both `host` and `host.reboot`, which TOML does not allow.
pub(super) const HOST_REBOOT_HINT: &str =
    "in [[hosts]] `host` is the address, so `host.reboot` stands in [defaults] only: write host_reboot = \"..\" here";

/// Reads the name or address of a host or guest.
pub(super) fn address(reader: &mut Reader, found: &Found<'_>) -> Option<String> {
    if found.name == "host" && found.item.is_table_like() {
        reader.error(found.span.clone(), "`host` must be a string, not a table", &[HOST_REBOOT_HINT]);
        return None;
    }
    let text = reader.string(found)?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
    // A zone (`fe80::1%eth0`) is no part of the address itself.
    let is_v6 = bare.split('%').next().unwrap_or(bare).parse::<Ipv6Addr>().is_ok();
    let hint = if is_v6 && is_host(bare) {
        return Some(bare.to_owned());
    } else if text.contains("://") || text.contains('/') {
        "write the name or the address alone, without https:// and path"
    } else if text.contains('@') {
        "write the login as `user`"
    } else if text.contains(':') {
        "write ports apart: `api.port`, and -p in `ssh_extra_args`"
    } else if is_host(&text) {
        return Some(text);
    } else {
        "write a DNS name or an IP address"
    };
    reader.error(found.span.clone(), format!("`{}` is no host name or address", found.name), &[hint]);
    None
}

/// Reads the name of a host.
fn name(reader: &mut Reader, found: &Found<'_>) -> Option<String> {
    let name = reader.string(found)?;
    if name.contains(char::is_control) || name.trim() != name {
        reader.error(found.span.clone(), "`name` holds control characters or blanks at its ends", &[]);
        return None;
    }
    Some(name)
}

/// Reads the name of an environment variable; what looks like the secret itself is refused and never shown.
pub(super) fn variable(reader: &mut Reader, found: &Found<'_>) -> Option<String> {
    let text = reader.string(found)?;
    if is_variable(&text) {
        return Some(text);
    }
    reader.secrets.push(found.span.clone());
    let message = format!("`{}` is no name of an environment variable", found.name);
    let hint = "write the name of the variable that holds the secret, not the secret itself";
    reader.error(found.span.clone(), message, &[hint]);
    None
}

/// Tells whether a text may be the name of an environment variable; else it is probably the secret itself.
pub(super) fn is_variable(text: &str) -> bool {
    let is_uuid = text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    !text.contains(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))) && !is_uuid
}
