//! Builds the ways to the hosts from the manifest as it is now: the only place where adapters are made.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::adapters::outside::FromHere;
use crate::adapters::pve::client::Client;
use crate::adapters::pve::http::{ApiEndpoint, HttpTransport};
use crate::adapters::pve::tls::Trust;
use crate::adapters::remote::over_agent::AgentExec;
use crate::adapters::remote::over_ssh::SshExec;
use crate::adapters::remote::{Adapter, Ways};
use crate::adapters::ssh::{self, JumpHop, SshTarget, Strictness};
use crate::engine::port::{HostPorts, Hosts};
use crate::ids::{GuestId, HostId};
use crate::machine::outcome::Fault;
use crate::manifest::{ApiTrust, Credentials, GuestEntry, HostCredentials, HostEntry, HostKeyPolicy, SshOptions};

/// The hosts of a manifest, each connected to when it is first needed.
pub struct ManifestHosts {
    hosts: HashMap<HostId, Host>,
    known_hosts: PathBuf,
}

struct Host {
    entry: HostEntry,
    credentials: HostCredentials,
    /// What is connected; `None` before it is needed, and after it was let go.
    ports: Mutex<Option<Result<Arc<HostPorts>, Fault>>>,
}

impl ManifestHosts {
    /// Takes the entries whose credentials were resolved. `known_hosts` is the file into which host keys are learnt.
    pub fn new<'a>(
        entries: impl IntoIterator<Item = &'a HostEntry>,
        credentials: &Credentials,
        known_hosts: PathBuf,
    ) -> Self {
        let host = |entry: &HostEntry| {
            let credentials = credentials.host(&entry.id)?.clone();
            Some((entry.id.clone(), Host { entry: entry.clone(), credentials, ports: Mutex::default() }))
        };
        Self { hosts: entries.into_iter().filter_map(host).collect(), known_hosts }
    }
}

impl Hosts for ManifestHosts {
    fn ports(&self, host: &HostId) -> Result<Arc<HostPorts>, Fault> {
        let Some(host) = self.hosts.get(host) else {
            return Err(Fault::permanent(format!("{host} is not among the hosts of the manifest any more"))
                .hint("put it back, or leave it out with `proxmaint resolve RUN HOST --skip`"));
        };
        let mut ports = host.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.get_or_insert_with(|| connect(host, &self.known_hosts)).clone()
    }

    fn release(&self, host: &HostId) {
        let Some(host) = self.hosts.get(host) else { return };
        // Whoever still works with them keeps them open; the connections end with the last one.
        let mut ports = host.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*ports, Some(Ok(_))) {
            *ports = None;
        }
    }
}

fn connect(host: &Host, known_hosts: &Path) -> Result<Arc<HostPorts>, Fault> {
    let Host { entry, credentials, .. } = host;
    let transport = HttpTransport::new(&ApiEndpoint {
        host: entry.host.clone(),
        port: entry.api.port,
        trust: trust(&entry.api.trust()),
        token: token(credentials),
    })
    .map_err(|error| Fault::permanent(format!("the API of {} can't be asked: {error}", entry.id)))?;
    let node = node_target(entry, Some(credentials), known_hosts);
    let (guests, secrets, file) = (entry.clone(), credentials.clone(), known_hosts.to_owned());
    let guest_targets =
        Box::new(move |id: GuestId, address: &str| guest_target(&guests, Some(&secrets), id, address, &file));
    let known = entry.clone();
    let api = Arc::new(Client::new(transport));
    Ok(Arc::new(HostPorts {
        pve: Arc::clone(&api) as _,
        remote: Arc::new(Adapter::new(Ways { ssh: SshExec::new(node, guest_targets), agent: AgentExec::new(api) })),
        outside: Arc::new(FromHere),
        addresses: addresses(entry),
        ssh_known: Arc::new(move |id| ssh_known(&known, id)),
    }))
}

pub(super) fn trust(trust: &ApiTrust<'_>) -> Trust {
    match trust {
        ApiTrust::Pinned(pin) => Trust::Pin(*pin.as_bytes()),
        ApiTrust::CaFile(file) => Trust::CaFile(file.to_path_buf()),
        ApiTrust::SystemRoots => Trust::System,
        ApiTrust::Unverified => Trust::Insecure,
    }
}

/// Takes the scheme off the header's value: the transport puts its own.
fn token(credentials: &HostCredentials) -> SecretString {
    let header = credentials.api.header();
    let value = header.expose_secret();
    value.strip_prefix("PVEAPIToken=").unwrap_or(value).to_owned().into()
}

/// Lists the addresses that the manifest has for guests: those of their rules before those of the inventory.
pub(super) fn addresses(entry: &HostEntry) -> BTreeMap<GuestId, Vec<String>> {
    let ruled = entry.guests.iter().rev().filter_map(|rule| Some((rule.id()?, rule.address.clone()?)));
    let listed = entry.inventory.iter().flat_map(|inventory| &inventory.entries).filter_map(|guest| {
        // An address may be written with its prefix length, as the inventory's tools did.
        let ip = guest.ip.as_deref()?.split('/').next()?.trim();
        (!ip.is_empty()).then(|| (guest.id, ip.to_owned()))
    });
    let mut all: BTreeMap<GuestId, Vec<String>> = BTreeMap::new();
    for (id, address) in ruled.chain(listed) {
        let known = all.entry(id).or_default();
        if !known.contains(&address) {
            known.push(address);
        }
    }
    all
}

/// Tells whether a login over SSH is known for a guest, so that `via = "auto"` takes SSH and not the guest agent: the
/// manifest says where it is or who logs in with what, in a rule or an entry of the inventory of its own, or names a user
/// other than the one built in, a key, a password or arguments for all guests of the host. That somebody could log in with
/// what is built in (root, with the usual keys) is no such knowledge.
pub(super) fn ssh_known(entry: &HostEntry, id: GuestId) -> bool {
    let in_inventory = entry.listed(id).is_some_and(|guest| {
        guest.ip.is_some()
            || guest.user.is_some()
            || guest.ssh_key_path.is_some()
            || guest.password_env.is_some()
            || guest.password.is_some()
    });
    in_inventory || entry.guest_ssh.is_given() || entry.rules_of(id).any(GuestEntry::knows_login)
}

/// Makes the SSH target of a node; without credentials one that only tells where it is.
pub(super) fn node_target(entry: &HostEntry, credentials: Option<&HostCredentials>, known_hosts: &Path) -> SshTarget {
    let password = credentials.and_then(|credentials| credentials.node_password.clone());
    target(&entry.host, &entry.ssh, entry.ssh.login(), password, known_hosts)
}

/// Makes the SSH target of a guest: what its rules say, else its entry of the inventory, else the settings for all guests;
/// without credentials one that only tells where it is.
pub(super) fn guest_target(
    entry: &HostEntry,
    credentials: Option<&HostCredentials>,
    id: GuestId,
    address: &str,
    known_hosts: &Path,
) -> SshTarget {
    let listed = entry.listed(id);
    let ruled = entry.rules_of(id).find_map(|rule| rule.user.as_deref());
    let user = ruled.or_else(|| listed?.user.as_deref()).unwrap_or_else(|| entry.guest_ssh.login());
    let password = credentials.and_then(|credentials| credentials.guest(id).cloned());
    let mut made = target(address, &entry.guest_ssh, user, password, known_hosts);
    let ruled = entry.rules_of(id).find_map(|rule| rule.identity_file.clone());
    if let Some(key) = ruled.or_else(|| listed?.ssh_key_path.clone()) {
        // Twice refused, it would count twice for the server, which lets few be tried (MaxAuthTries).
        made.auth.identity_files.retain(|other| *other != key);
        made.auth.identity_files.insert(0, key);
    }
    made
}

fn target(
    host: &str,
    options: &SshOptions,
    user: &str,
    password: Option<SecretString>,
    known_hosts: &Path,
) -> SshTarget {
    let mut target = SshTarget::new(host, user, known_hosts.to_owned());
    let args = &options.parsed;
    target.port = options.port();
    target.auth.identity_files = options.identity_files().into_iter().map(Path::to_owned).collect();
    target.auth.usual_files = options.offers_default_identities();
    target.auth.password = password;
    target.jumps = args
        .jumps
        .iter()
        .map(|hop| JumpHop {
            user: hop.user.clone().unwrap_or_else(local_user),
            host: hop.host.clone(),
            port: hop.port.unwrap_or(SshOptions::PORT),
        })
        .collect();
    if let Some(policy) = args.host_keys {
        target.host_keys.strict = match policy {
            HostKeyPolicy::Strict => Strictness::Yes,
            HostKeyPolicy::AcceptNew => Strictness::AcceptNew,
            HostKeyPolicy::Off => Strictness::No,
        };
    }
    if let Some(files) = &args.known_hosts_files {
        // `none`: nothing is known beforehand, and nothing is to be remembered.
        let none = || vec![PathBuf::from("none")];
        target.host_keys.user_known_hosts = if files.is_empty() { none() } else { files.clone() };
    }
    target.connect_timeout = args.connect_timeout.unwrap_or(ssh::CONNECT_TIMEOUT);
    target.keepalive_interval = args.server_alive_interval.unwrap_or(ssh::KEEPALIVE_INTERVAL);
    target
}

/// Returns the user who runs this: the one for a jump host that names none, as with OpenSSH.
pub(super) fn local_user() -> String {
    ["LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Manifest, SshArgs};

    const FLEET: &str = r#"
[[hosts]]
host = "pve1"
api.token_env = "TOKEN"
api.secret_env = "SECRET"
ssh.password_env = "NODE"
guest_inventory.entries = [
    { kind = "vm", id = "201", ip = "192.0.2.201/24", user = "ops", ssh_key_path = "/keys/201", password_env = "LISTED" },
    { kind = "ct", id = "101", ip = "192.0.2.101" },
    { kind = "vm", id = "202", managed = true },
]
guests = [
    { id = 201, address = "db.example.org", user = "admin", identity_file = "/keys/rule", password_env = "RULE" },
    { id = 201, address = "192.0.2.201" },
    { id = 203, user = "ops" },
    { match = "204", via = "ssh" },
]
"#;

    fn fleet(more: &str) -> (HostEntry, HostCredentials) {
        let text = FLEET.replace("[[hosts]]\n", &format!("[[hosts]]\n{more}\n"));
        let manifest = Manifest::parse(Path::new("/srv/fleet/m.toml"), text.as_bytes(), &|_| None).unwrap();
        let env = |name: &str| Some(if name == "TOKEN" { "root@pam!t".to_owned() } else { name.to_owned() }.into());
        let credentials = Credentials::resolve(&manifest.hosts, &env).unwrap();
        let found = credentials.host(&manifest.hosts[0].id).unwrap().clone();
        (manifest.hosts[0].clone(), found)
    }

    #[test]
    fn addresses_are_known_for_guests_of_both_kinds_and_those_of_rules_come_first() {
        let all = addresses(&fleet("").0);
        assert_eq!(all[&GuestId(201)], ["192.0.2.201", "db.example.org"]);
        assert_eq!(all[&GuestId(101)], ["192.0.2.101"]);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_guest_is_logged_in_to_as_its_rule_says_then_the_inventory_then_the_host() {
        let (entry, credentials) = fleet("guest_user = \"debian\"\nguest.password_env = \"ALL\"");
        let guest = |id| {
            let target = guest_target(&entry, Some(&credentials), GuestId(id), "192.0.2.9", Path::new("/known"));
            let key = target.auth.identity_files.first().map(|file| file.display().to_string()).unwrap_or_default();
            let password = target.auth.password.map(|password| password.expose_secret().to_owned()).unwrap_or_default();
            (target.user, key, password)
        };
        let seen = |user: &str, key: &str, password: &str| (user.to_owned(), key.to_owned(), password.to_owned());
        assert_eq!(guest(201), seen("admin", "/keys/rule", "RULE"));
        assert_eq!(guest(203), seen("ops", "", "ALL"));
        assert_eq!(guest(101), seen("debian", "", "ALL"));
        let (unruled, credentials) = (
            HostEntry { guests: Vec::new(), ..entry.clone() },
            HostCredentials { rule_passwords: BTreeMap::new(), ..credentials.clone() },
        );
        let target = guest_target(&unruled, Some(&credentials), GuestId(201), "192.0.2.9", Path::new("/known"));
        assert_eq!((target.user.as_str(), target.auth.identity_files), ("ops", vec![PathBuf::from("/keys/201")]));
        assert_eq!(target.auth.password.unwrap().expose_secret(), "LISTED");
    }

    #[test]
    fn a_guests_own_key_is_offered_first_and_once() {
        let (entry, credentials) = fleet("guest_identity_file = \"/keys/rule\"");
        let target = guest_target(&entry, Some(&credentials), GuestId(201), "192.0.2.9", Path::new("/known"));
        assert_eq!(target.auth.identity_files, [PathBuf::from("/keys/rule")]);
    }

    #[test]
    fn the_node_is_logged_in_to_with_its_password_and_no_other() {
        let (entry, credentials) = fleet("guest.password_env = \"ALL\"");
        let target = node_target(&entry, Some(&credentials), Path::new("/known"));
        assert_eq!(target.auth.password.unwrap().expose_secret(), "NODE");
    }

    #[test]
    fn ssh_is_known_where_something_is_said_about_it() {
        let known = |more: &str| {
            let entry = fleet(more).0;
            [101, 201, 202, 203, 204].map(|id| ssh_known(&entry, GuestId(id)))
        };
        // An address or a login of its own; `managed` and `via` say nothing about a login.
        assert_eq!(known(""), [true, true, false, true, false]);
        assert_eq!(known("guest_user = \"root\""), [true, true, false, true, false], "what is built in anyway");
        for more in ["guest_user = \"ops\"", "guest_identity_file = \"k\"", "guest_ssh_extra_args = \"-p 2200\""] {
            assert_eq!(known(more), [true; 5], "{more}");
        }
    }

    fn target_of(words: &[&str]) -> SshTarget {
        let extra_args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parsed = SshArgs::parse(&extra_args, Path::new("/srv/fleet"), None).unwrap();
        let options =
            SshOptions { user: "root".to_owned(), identity_file: None, extra_args, parsed, password_env: None };
        target("pve1.example.org", &options, options.login(), None, Path::new("/srv/fleet/state/known_hosts"))
    }

    #[test]
    fn none_means_none() {
        let plain = target_of(&[]);
        assert!(plain.auth.usual_files && plain.host_keys.user_known_hosts != [PathBuf::from("none")]);
        let none = target_of(&["-o", "IdentityFile=none", "-o", "UserKnownHostsFile=none"]);
        assert!(!none.auth.usual_files, "the usual keys are not offered");
        assert_eq!(none.host_keys.user_known_hosts, [PathBuf::from("none")], "nothing is remembered");
    }

    #[test]
    fn arguments_reach_the_connection() {
        let words = ["-p", "2222", "-l", "ops", "-J", "jump@bastion:2200", "-o", "StrictHostKeyChecking=yes"];
        let target = target_of(&[&words[..], &["-o", "ConnectTimeout=3", "-o", "ServerAliveInterval=7"]].concat());
        assert_eq!((target.port, target.user.as_str()), (2222, "ops"));
        assert_eq!(target.jumps, [JumpHop { user: "jump".to_owned(), host: "bastion".to_owned(), port: 2200 }]);
        assert_eq!(target.host_keys.strict, Strictness::Yes);
        assert_eq!((target.connect_timeout.as_secs(), target.keepalive_interval.as_secs()), (3, 7));
    }
}
