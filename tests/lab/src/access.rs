//! How a lab is reached: addresses, keys, and the manifest that leads to it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Lab;
use crate::ssh::keys::{openssh_line, write_private};
use crate::world::{Guest, Kind, MachineId};

/// A manifest that was written, and the environment that it needs.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The manifest, `proxmox-hosts.toml`.
    pub path: PathBuf,
    /// The variables that it names, with their values.
    pub env: Vec<(String, String)>,
    /// Every file that was written, the manifest included.
    pub files: Vec<PathBuf>,
}

impl Lab {
    /// Returns where the SSH server of a node is.
    ///
    /// # Panics
    /// A node that is not there is a mistake of the test.
    pub fn ssh_addr(&self, node: &str) -> SocketAddr {
        let server = self.ssh.server(&MachineId::node(node));
        server.unwrap_or_else(|| panic!("the lab has no node {node}")).addr()
    }

    /// Returns where the SSH server of a VM is; `realm` is its cluster or the node that stands alone. `None` where nobody may log in.
    pub fn vm_addr(&self, realm: &str, vmid: u32) -> Option<SocketAddr> {
        Some(self.ssh.server(&MachineId::guest(realm, vmid))?.addr())
    }

    /// Returns the path of the private key that every SSH server of the lab lets in.
    pub fn client_key_path(&self) -> &Path {
        self.ssh.client_key()
    }

    /// Returns a machine's lines for `known_hosts`.
    ///
    /// # Panics
    /// A machine without SSH server is a mistake of the test.
    pub fn known_hosts_line(&self, id: &MachineId) -> String {
        self.ssh.known_hosts(id).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the directory of a machine's files, which commands see as `/`.
    ///
    /// # Panics
    /// A machine that is not there is a mistake of the test.
    pub fn root_of(&self, id: &MachineId) -> PathBuf {
        self.shims.stage().root(id).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes a manifest for all nodes into a directory, with the files that it names: CA certificates and the client's key.
    ///
    /// # Errors
    /// Where a file can't be written.
    pub fn write_manifest(&self, dir: &Path) -> io::Result<Manifest> {
        let nodes: Vec<String> = self.with(|world, _| world.nodes.keys().cloned().collect());
        self.write_manifest_for(dir, &nodes)
    }

    /// As [`Lab::write_manifest`], for some of the nodes.
    ///
    /// # Errors
    /// Where a file can't be written, or a node is not there.
    pub fn write_manifest_for(&self, dir: &Path, nodes: &[String]) -> io::Result<Manifest> {
        let dir = dir.canonicalize()?;
        let key = dir.join("id_ed25519");
        write_private(&key, &fs::read(self.client_key_path())?)?;
        let mut written = Manifest { path: dir.join("proxmox-hosts.toml"), env: Vec::new(), files: vec![key.clone()] };
        let public = openssh_line(self.ssh.client_public())?;
        let mut text = format!(
            "# The fleet of a running lab; it is gone when the lab is.\n\n[defaults]\nuser = \"root\"\n\
             identity_file = {key}\nguest_identity_file = {key}\nguest_ssh_extra_args = [\"-p {}\"]\n",
            self.ssh.vm_port(),
            key = toml(&key.display().to_string()),
        );
        for node in nodes {
            self.describe_host(&dir, node, &public, &mut text, &mut written)?;
        }
        fs::write(&written.path, text)?;
        written.files.push(written.path.clone());
        Ok(written)
    }

    fn describe_host(
        &self,
        dir: &Path,
        node: &str,
        public: &str,
        text: &mut String,
        written: &mut Manifest,
    ) -> io::Result<()> {
        let no_node = || io::Error::new(io::ErrorKind::NotFound, format!("no node {node}"));
        let found = self.with(|world, _| {
            let realm = world.realm_of(node)?;
            let vms = realm.guests.values().filter(|guest| guest.node == node && guest.kind == Kind::Vm);
            Some((realm.name.clone(), realm.ca.pem.clone(), vms.cloned().collect::<Vec<Guest>>()))
        });
        let (realm, ca, vms) = found.ok_or_else(no_node)?;
        let ca_file = dir.join(format!("{realm}-ca.pem"));
        if !written.files.contains(&ca_file) {
            fs::write(&ca_file, ca)?;
            written.files.push(ca_file.clone());
        }
        let variable: String =
            node.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        let (token, secret) = (format!("LAB_{variable}_TOKEN"), format!("LAB_{variable}_SECRET"));
        let values = self.token(node);
        written.env.extend([(token.clone(), values.0), (secret.clone(), values.1)]);
        text.push_str(&format!(
            "\n[[hosts]]\nname = {name}\nhost = \"127.0.0.1\"\nssh_extra_args = [\"-p {ssh}\"]\napi.node = {name}\n\
             api.port = {api}\napi.ca_file = {ca}\napi.token_env = {token:?}\napi.secret_env = {secret:?}\n",
            name = toml(node),
            ssh = self.ssh_addr(node).port(),
            api = self.api_addr(node).port(),
            ca = toml(&ca_file.display().to_string()),
        ));
        let reachable: Vec<(Guest, SocketAddr)> = vms
            .into_iter()
            .filter_map(|vm| Some((self.vm_addr(&realm, vm.vmid)?, vm)))
            .map(|(a, vm)| (vm, a))
            .collect();
        if reachable.is_empty() {
            return Ok(());
        }
        // What an inventory wizard would have found out: where the VMs are and who may log in.
        text.push_str(&format!(
            "\n[hosts.guest_inventory]\nversion = 1\nssh_public_key = {}\nupdated_at = \"2026-11-22T22:00:00Z\"\n",
            toml(public)
        ));
        for (vm, address) in reachable {
            let status = if vm.running() { "running" } else { "stopped" };
            let user = vm.reach.ssh_users.first().map_or("root", String::as_str);
            text.push_str(&format!(
                "\n[[hosts.guest_inventory.entries]]\nkind = \"vm\"\nid = \"{}\"\nname = {}\nstatus = \"{status}\"\n\
                 ip = \"{}\"\nuser = {}\nmanaged = true\n",
                vm.vmid,
                toml(&vm.name),
                address.ip(),
                toml(user)
            ));
        }
        Ok(())
    }
}

/// Writes a text as a basic string of TOML.
fn toml(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}
