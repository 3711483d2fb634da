//! What the manifest knows of hosts and guests, each with a name of its own.

use std::collections::BTreeMap;

use super::login::Login;
use super::names::{self, Names};
use crate::choices::{Selector, Traits};
use crate::cli::connect;
use crate::ids::{GuestId, GuestKind};
use crate::manifest::{HostEntry, InventoryEntry, Manifest};

/// The group of all nodes.
pub(super) const NODES: &str = "proxmox_nodes";
/// The group of all containers.
pub(super) const CTS: &str = "ct";
/// The group of all virtual machines.
pub(super) const VMS: &str = "vm";

/// What no machine is called: words of Ansible's own, this machine, and the groups.
const TAKEN: [&str; 6] = ["all", "ungrouped", "localhost", NODES, CTS, VMS];

/// A host and its guests.
pub(super) struct Host<'a> {
    pub(super) entry: &'a HostEntry,
    /// How its node is called.
    pub(super) name: String,
    /// How the group of its guests is called.
    pub(super) group: String,
    pub(super) login: Login<'a>,
    /// Those of the inventory in the order of the file, then those that only a rule speaks of.
    pub(super) guests: Vec<Guest<'a>>,
}

/// A guest.
pub(super) struct Guest<'a> {
    pub(super) id: GuestId,
    /// Not known of a guest that only a rule speaks of.
    pub(super) kind: Option<GuestKind>,
    pub(super) entry: Option<&'a InventoryEntry>,
    /// How it is called; the same in every format and whichever hosts are written.
    pub(super) name: String,
    /// Whether it is declared as ours, or to be left alone.
    pub(super) managed: Option<bool>,
    /// The variable that holds its password.
    pub(super) password_env: Option<&'a str>,
    /// As it is logged in to at the address that a run would try first, of those that the manifest has.
    pub(super) login: Login<'a>,
}

impl<'a> Guest<'a> {
    fn new(host: &'a HostEntry, id: GuestId, entry: Option<&'a InventoryEntry>, address: Option<&str>) -> Self {
        let kind = entry.map(|entry| entry.kind);
        Self {
            id,
            kind,
            entry,
            name: String::new(),
            managed: managed(host, id, entry),
            password_env: password_env(host, id, entry),
            login: Login::of_guest(host, id, address.unwrap_or_default()),
        }
    }

    /// Tells whether it is there to be logged in to, as far as is known.
    pub(super) fn is_reachable(&self) -> bool {
        let is_there = |entry: &InventoryEntry| !entry.is_gone() && entry.status.as_deref() != Some("template");
        self.login.has_host() && self.entry.is_none_or(is_there)
    }

    /// Returns how Proxmox VE calls it, where that is known.
    pub(super) fn given_name(&self) -> Option<&'a str> {
        self.entry.and_then(|entry| entry.name.as_deref()).filter(|name| !name.is_empty())
    }
}

/// Lists the hosts of a manifest.
pub(super) fn hosts(manifest: &Manifest) -> Vec<Host<'_>> {
    let mut groups = Names::without(TAKEN);
    let mut hosts: Vec<Host<'_>> = (manifest.hosts.iter())
        .map(|entry| Host {
            entry,
            name: String::new(),
            group: groups.take(&[format!("{}_guests", names::group(entry.id.as_str()))], '_'),
            login: Login::of_node(entry),
            guests: guests(entry),
        })
        .collect();
    name_all(&mut hosts);
    hosts
}

fn guests(host: &HostEntry) -> Vec<Guest<'_>> {
    let addresses = connect::addresses(host);
    let address = |id| addresses.get(&id).and_then(|known| known.first()).map(String::as_str);
    let listed = host.inventory.iter().flat_map(|inventory| &inventory.entries);
    let mut guests: Vec<Guest<'_>> =
        listed.map(|entry| Guest::new(host, entry.id, Some(entry), address(entry.id))).collect();
    for id in host.guests.iter().filter_map(|rule| rule.id()) {
        if guests.iter().all(|guest| guest.id != id) {
            guests.push(Guest::new(host, id, None, address(id)));
        }
    }
    guests
}

/// Gives each machine its name: nodes first, then guests, whose own name does where no other guest that is still there has
/// it too. Then the vmid follows it.
fn name_all(hosts: &mut [Host<'_>]) {
    let groups: Vec<String> = hosts.iter().map(|host| host.group.clone()).collect();
    let mut names = Names::without(TAKEN.into_iter().chain(groups.iter().map(String::as_str)));
    for host in hosts.iter_mut() {
        let id = host.entry.id.as_str();
        let name = if names::is_name(id) || names::is_address(id) { id.to_owned() } else { names::plain(id) };
        host.name = names.take(&[if name.is_empty() { "node".to_owned() } else { name }], '-');
    }
    let mut bearers: BTreeMap<String, usize> = BTreeMap::new();
    let there =
        hosts.iter().flat_map(|host| &host.guests).filter(|guest| !guest.entry.is_some_and(InventoryEntry::is_gone));
    for name in there.filter_map(Guest::given_name) {
        *bearers.entry(name.to_ascii_lowercase()).or_default() += 1;
    }
    for guest in hosts.iter_mut().flat_map(|host| &mut host.guests) {
        let given = guest.given_name().unwrap_or_default();
        let is_own = bearers.get(&given.to_ascii_lowercase()) == Some(&1);
        let plain = match (names::plain(given), guest.kind) {
            (plain, _) if !plain.is_empty() => plain,
            (_, Some(GuestKind::Ct)) => CTS.to_owned(),
            (_, Some(GuestKind::Vm)) => VMS.to_owned(),
            (_, None) => "guest".to_owned(),
        };
        let own = (is_own && names::is_name(given) && !names::is_address(given)).then(|| given.to_owned());
        let wishes: Vec<String> = own.into_iter().chain([format!("{plain}-{}", guest.id)]).collect();
        guest.name = names.take(&wishes, '-');
    }
}

/// Returns what is said of whether a guest is ours: by the last rule that is known to be about it, else by its entry.
fn managed(host: &HostEntry, id: GuestId, entry: Option<&InventoryEntry>) -> Option<bool> {
    let about = host.guests.iter().rev().filter(|rule| is_about(&rule.who, id, entry) == Some(true));
    about.filter_map(|rule| rule.managed).next().or_else(|| entry?.managed)
}

/// Tells whether a selector selects a guest; `None` where the manifest does not know, as it never does with tags and pools.
fn is_about(who: &Selector, id: GuestId, entry: Option<&InventoryEntry>) -> Option<bool> {
    let known = match who {
        Selector::Not(other) => return is_about(other, id, entry).map(|is| !is),
        Selector::Tag(_) | Selector::Pool(_) => return None,
        Selector::Id(_) | Selector::Range(..) => (GuestKind::Ct, ""),
        Selector::Name(_) => (GuestKind::Ct, entry?.name.as_deref()?),
        Selector::Kind(_) => (entry?.kind, ""),
    };
    Some(who.matches(&Traits { id, kind: known.0, name: known.1, tags: &[], pool: None }))
}

/// Returns the variable that a run would take the guest's password from.
fn password_env<'a>(host: &'a HostEntry, id: GuestId, entry: Option<&'a InventoryEntry>) -> Option<&'a str> {
    let ruled = host.rules_of(id).find_map(|rule| rule.password_env.as_deref());
    let listed = || entry.and_then(|entry| entry.password_env.as_deref());
    let has_own = || entry.is_some_and(|entry| entry.password.is_some());
    ruled.or_else(listed).or_else(|| if has_own() { None } else { host.guest_ssh.password_env.as_deref() })
}
