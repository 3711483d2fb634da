//! Builds the ways to the hosts from the manifest as it is now: the only place where adapters are made.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::adapters::pve::client::Client;
use crate::adapters::pve::http::{ApiEndpoint, HttpTransport};
use crate::adapters::pve::tls::Trust;
use crate::adapters::remote::over_agent::AgentExec;
use crate::adapters::remote::over_ssh::SshExec;
use crate::adapters::remote::{Adapter, Ways};
use crate::adapters::ssh::{self, JumpHop, SshTarget, Strictness};
use crate::engine::port::{HostPorts, Hosts};
use crate::ids::{GuestId, GuestKind, HostId};
use crate::machine::outcome::Fault;
use crate::manifest::{ApiTrust, Credentials, HostCredentials, HostEntry, HostKeyPolicy, SshOptions};

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
    let node = target(&entry.host, &entry.ssh, entry.ssh.login(), None, known_hosts);
    let vms = entry.clone();
    let passwords = credentials.guest_passwords.clone();
    let file = known_hosts.to_owned();
    let vm_targets = Box::new(move |id: GuestId, address: &str| {
        let password = passwords.get(&(GuestKind::Vm, id)).cloned();
        let listed = vms.guest(GuestKind::Vm, id);
        let user = listed.and_then(|guest| guest.user.as_deref()).unwrap_or_else(|| vms.guest_ssh.login());
        let mut made = target(address, &vms.guest_ssh, user, password, &file);
        if let Some(key) = listed.and_then(|guest| guest.ssh_key_path.clone()) {
            made.auth.identity_files.insert(0, key);
        }
        made
    });
    let api = Arc::new(Client::new(transport));
    Ok(Arc::new(HostPorts {
        pve: Arc::clone(&api) as _,
        remote: Arc::new(Adapter::new(Ways { ssh: SshExec::new(node, vm_targets), agent: AgentExec::new(api) })),
        addresses: addresses(entry),
        ssh_known: Arc::new(|_| true),
    }))
}

fn trust(trust: &ApiTrust<'_>) -> Trust {
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

/// Lists the addresses that the manifest has for VMs.
fn addresses(entry: &HostEntry) -> BTreeMap<GuestId, Vec<String>> {
    let mut all: BTreeMap<GuestId, Vec<String>> = BTreeMap::new();
    for guest in entry.inventory.iter().flat_map(|inventory| &inventory.entries) {
        if let (GuestKind::Vm, Some(ip)) = (guest.kind, &guest.ip) {
            // An address may be written with its prefix length, as the inventory's tools did.
            let ip = ip.split('/').next().unwrap_or(ip).trim();
            if !ip.is_empty() {
                all.entry(guest.id).or_default().push(ip.to_owned());
            }
        }
    }
    all
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

/// Returns the user for a jump host that names none: the one who runs this, as with OpenSSH.
fn local_user() -> String {
    ["LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::SshArgs;

    fn target_of(words: &[&str]) -> SshTarget {
        let extra_args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parsed = SshArgs::parse(&extra_args, Path::new("/srv/fleet"), None).unwrap();
        let options = SshOptions { user: "root".to_owned(), identity_file: None, extra_args, parsed };
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
