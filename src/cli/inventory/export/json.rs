//! Writes everything that the manifest knows of hosts and guests, gone and unmanaged ones among them.
//!
//! | field | means |
//! |---|---|
//! | `v` | the version of this shape: 1; fields may be added to it |
//! | `hosts[]` | each host, in the manifest's order |
//! | `.name` | its name in the manifest |
//! | `.host` | DNS name or address of its node |
//! | `.node` | the node's name in its cluster, where the manifest fixes it; else `null` |
//! | `.user`, `.port` | the login on the node |
//! | `.identity_file` | the private key that is offered first; `null` where none is named |
//! | `.ssh_args[]` | the other words that `ssh` needs: further keys, jump hosts, what the manifest says of host keys and times; `null` where OpenSSH has no way to write it |
//! | `.password_env` | the variable that holds the password of that login; `null` where none is named |
//! | `.ssh_public_key`, `.updated_at` | of the inventory: the key that was put into guests, and when the inventory was made; `null` where not said |
//! | `.guests[]` | its guests: those of the inventory in its order, then those that only a rule speaks of |
//! | `.guests[].id`, `.kind` | the vmid (a number), and `ct` or `vm`; the kind is `null` where only a rule speaks of the guest |
//! | `.guests[].name`, `.status` | as the inventory has them: `running`, `stopped`, `gone`, ..; `null` where not said |
//! | `.guests[].managed` | `false`: to be left alone; `true`: declared as ours; `null` where nothing is said. Rules go before the inventory; those by tag or pool don't count, since the manifest knows neither |
//! | `.guests[].address` | where it is reached over SSH first: its rule's address, else the inventory's; `null` where none is known |
//! | `.guests[].user`, `.port`, `.identity_file`, `.ssh_args[]`, `.password_env` | its login, as above and as a run would use it |
//! | `.guests[].has_password` | whether the inventory holds a password in the file itself; which is never shown |
//! | `.guests[].ssh_verified`, `.last_checked` | whether a login had worked, and when that was tried; `null` where not said |
//! | `.guests[].notes` | the inventory's notes; `null` where there are none |

use std::path::Path;

use serde::Serialize;

use super::known::{Guest, Host};
use super::login::Login;
use crate::ids::{GuestId, GuestKind};
use crate::observe::sanitize::clean_json;

/// The version of the JSON's shape.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Fleet<'a> {
    v: u32,
    hosts: Vec<HostLine<'a>>,
}

#[derive(Serialize)]
struct HostLine<'a> {
    name: &'a str,
    host: &'a str,
    node: Option<&'a str>,
    #[serde(flatten)]
    login: LoginFields<'a>,
    password_env: Option<&'a str>,
    ssh_public_key: Option<&'a str>,
    updated_at: Option<&'a str>,
    guests: Vec<GuestLine<'a>>,
}

#[derive(Serialize)]
struct GuestLine<'a> {
    id: GuestId,
    kind: Option<GuestKind>,
    name: Option<&'a str>,
    status: Option<&'a str>,
    managed: Option<bool>,
    address: Option<&'a str>,
    #[serde(flatten)]
    login: LoginFields<'a>,
    password_env: Option<&'a str>,
    has_password: bool,
    ssh_verified: Option<bool>,
    last_checked: Option<&'a str>,
    notes: Option<&'a str>,
}

#[derive(Serialize)]
struct LoginFields<'a> {
    user: &'a str,
    port: u16,
    identity_file: Option<String>,
    ssh_args: Option<Vec<String>>,
}

impl<'a> LoginFields<'a> {
    fn new(login: &'a Login<'_>) -> Self {
        Self {
            user: login.user(),
            port: login.port(),
            identity_file: login.key().map(shown),
            ssh_args: login.more_words().ok(),
        }
    }
}

impl<'a> HostLine<'a> {
    fn new(host: &'a Host<'_>) -> Self {
        let inventory = host.entry.inventory.as_ref();
        Self {
            name: host.entry.id.as_str(),
            host: host.login.host(),
            node: host.entry.api.node.as_ref().map(|node| node.as_str()),
            login: LoginFields::new(&host.login),
            password_env: host.entry.ssh.password_env.as_deref(),
            ssh_public_key: inventory.and_then(|inventory| inventory.ssh_public_key.as_deref()),
            updated_at: inventory.and_then(|inventory| inventory.updated_at.as_deref()),
            guests: host.guests.iter().map(GuestLine::new).collect(),
        }
    }
}

impl<'a> GuestLine<'a> {
    fn new(guest: &'a Guest<'_>) -> Self {
        let entry = guest.entry;
        Self {
            id: guest.id,
            kind: guest.kind,
            name: entry.and_then(|entry| entry.name.as_deref()),
            status: entry.and_then(|entry| entry.status.as_deref()),
            managed: guest.managed,
            address: Some(guest.login.host()).filter(|host| !host.is_empty()),
            login: LoginFields::new(&guest.login),
            password_env: guest.password_env,
            has_password: entry.is_some_and(|entry| entry.password.is_some()),
            ssh_verified: entry.and_then(|entry| entry.ssh_verified),
            last_checked: entry.and_then(|entry| entry.last_checked.as_deref()),
            notes: entry.and_then(|entry| entry.notes.as_deref()),
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Writes it.
pub(super) fn text(hosts: &[Host<'_>]) -> String {
    let fleet = Fleet { v: VERSION, hosts: hosts.iter().map(HostLine::new).collect() };
    match serde_json::to_string(&fleet) {
        Ok(text) => clean_json(text) + "\n",
        // Plain data without odd map keys always serialises.
        Err(error) => serde_json::json!({"v": VERSION, "error": error.to_string()}).to_string(),
    }
}
