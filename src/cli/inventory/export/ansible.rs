//! Writes a static inventory for Ansible, as JSON in the shape of its YAML inventories: JSON is YAML, so `hosts.yml` and
//! `hosts.json` are read alike.
//!
//! | group | holds |
//! |---|---|
//! | `proxmox_nodes` | the nodes |
//! | `NAME_guests` | the guests of the host NAME, with `_` for what Ansible does not allow in the name of a group |
//! | `ct`, `vm` | the guests of that kind |
//!
//! Besides Ansible's own (`ansible_host`, `ansible_user`, `ansible_port`, `ansible_ssh_private_key_file`,
//! `ansible_ssh_common_args`, `ansible_ssh_timeout`) a machine has the variables `proxmaint_host` (the manifest's entry) and, where
//! they are known, `proxmaint_node`; a guest also `proxmaint_vmid`, `proxmaint_kind` and `proxmaint_status`.
//!
//! Left out are guests that Ansible could not or must not reach: `managed = false`, gone, templates, without an address, or with
//! a login that OpenSSH has no way to write. Values are marked as unsafe where Ansible would take them for a template.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::known::{CTS, Guest, Host, NODES, VMS};
use super::login::{Login, NoWords};
use crate::ids::{GuestId, GuestKind};
use crate::observe::sanitize::{clean, clean_json};

/// The groups that are not a host's own.
const GROUPS: [&str; 3] = [NODES, CTS, VMS];

#[derive(Serialize)]
struct Inventory<'a> {
    all: All<'a>,
}

#[derive(Serialize)]
struct All<'a> {
    children: BTreeMap<&'a str, Group<'a>>,
}

#[derive(Default, Serialize)]
struct Group<'a> {
    hosts: BTreeMap<&'a str, Option<Variables>>,
}

/// The variables of a machine. They stand in its first group; `null` stands for "as said there".
#[derive(Serialize)]
struct Variables {
    ansible_host: Word,
    ansible_user: Word,
    ansible_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    ansible_ssh_private_key_file: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ansible_ssh_common_args: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ansible_ssh_timeout: Option<u64>,
    proxmaint_host: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxmaint_node: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxmaint_vmid: Option<GuestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxmaint_kind: Option<GuestKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxmaint_status: Option<Word>,
}

/// A text that means itself.
#[derive(Serialize)]
#[serde(untagged)]
enum Word {
    Plain(String),
    /// One that Ansible would take for a template.
    Unsafe {
        __ansible_unsafe: String,
    },
}

impl Word {
    fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        if ["{{", "{%", "{#"].iter().any(|opening| text.contains(opening)) {
            Self::Unsafe { __ansible_unsafe: text }
        } else {
            Self::Plain(text)
        }
    }
}

impl Variables {
    /// Says how a machine is reached; `None` where OpenSSH has no way to write it.
    fn new(host: &Host<'_>, login: &Login<'_>) -> Option<Self> {
        let (key, args) = key_and_args(login).ok()?;
        Some(Self {
            ansible_host: Word::new(login.host()),
            ansible_user: Word::new(login.user()),
            ansible_port: login.port(),
            ansible_ssh_private_key_file: key.map(Word::new),
            ansible_ssh_common_args: (!args.is_empty()).then(|| Word::new(shell_words::join(args))),
            ansible_ssh_timeout: login.connect_timeout(),
            proxmaint_host: Word::new(host.entry.id.as_str()),
            proxmaint_node: host.entry.api.node.as_ref().map(|node| Word::new(node.as_str())),
            proxmaint_vmid: None,
            proxmaint_kind: None,
            proxmaint_status: None,
        })
    }

    fn of_guest(host: &Host<'_>, guest: &Guest<'_>) -> Option<Self> {
        let status = guest.entry.and_then(|entry| entry.status.as_deref());
        Some(Self {
            proxmaint_vmid: Some(guest.id),
            proxmaint_kind: guest.kind,
            proxmaint_status: status.map(|status| Word::new(clean(status))),
            ..Self::new(host, &guest.login)?
        })
    }
}

/// Returns the key's file and the further arguments. Ansible puts the file between quotes without a look at what it holds, so
/// one that holds something special goes among the arguments instead.
fn key_and_args(login: &Login<'_>) -> Result<(Option<String>, Vec<String>), NoWords> {
    login.lines()?;
    let more = login.more_words()?;
    let is_plain = |key: &&str| !key.contains(|c| "%\"\\$~".contains(c));
    match login.key().and_then(Path::to_str).filter(is_plain) {
        Some(key) => Ok((Some(key.to_owned()), more)),
        None => Ok((None, login.key_words()?.into_iter().chain(more).collect())),
    }
}

/// Writes it.
pub(super) fn text(hosts: &[Host<'_>]) -> String {
    let mut groups: BTreeMap<&str, Group<'_>> = GROUPS.iter().map(|name| (*name, Group::default())).collect();
    for host in hosts {
        let mut put = |group, name, variables| groups.entry(group).or_default().hosts.insert(name, variables);
        if let Some(variables) = Variables::new(host, &host.login) {
            put(NODES, host.name.as_str(), Some(variables));
        }
        for guest in host.guests.iter().filter(|guest| guest.is_reachable() && guest.managed != Some(false)) {
            let Some(variables) = Variables::of_guest(host, guest) else { continue };
            put(&host.group, &guest.name, Some(variables));
            let kind = guest.kind.map(|kind| match kind {
                GuestKind::Ct => CTS,
                GuestKind::Vm => VMS,
            });
            if let Some(kind) = kind {
                put(kind, &guest.name, None);
            }
        }
    }
    let inventory = Inventory { all: All { children: groups } };
    match serde_json::to_string_pretty(&inventory) {
        // A line break is part of no text in it.
        Ok(text) => text.lines().map(|line| clean_json(line.to_owned()) + "\n").collect(),
        // Plain data without odd map keys always serialises.
        Err(error) => serde_json::json!({"error": error.to_string()}).to_string(),
    }
}
