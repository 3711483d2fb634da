//! The SSH servers of a whole world: one a node, one a guest that somebody may log in to.
//!
//! Nodes listen on 127.0.0.1 with ports that the system chooses. A guest is reached at an address of its own, as in a real network: the
//! whole of 127.0.0.0/8 is this machine's, so each guest has an address of it, and all share one port (`guest_ssh_extra_args =
//! ["-p PORT"]`).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use russh::keys::PublicKey;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use super::keys::{self, KeyKind};
use super::{Account, Commands, Gate, Login, Names, SshServer, SshSetup, Trouble, authorized_keys};
use crate::faults::CommandFault;
use crate::shim::Stage;
use crate::shim::stage::home_of;
use crate::world::{Kind, MachineId, Reach, World};

/// How many ports are tried for the guests: one that is free on the first address may be taken on another.
const PORT_TRIES: usize = 50;

/// The SSH servers of a world.
pub struct SshHosts {
    servers: BTreeMap<MachineId, Arc<SshServer>>,
    client_key: PathBuf,
    client_public: PublicKey,
    vm_port: u16,
    names: Arc<Names>,
    following: Option<AbortHandle>,
}

/// Gives every guest with a login, or with something that listens, a loopback address of its own, where it has none.
pub fn assign_addresses(world: &mut World) {
    let mut number = 0;
    for kind in [Kind::Vm, Kind::Ct] {
        for id in world.machines() {
            let Some(guest) = world.guest_mut(&id).filter(|guest| guest.kind == kind) else { continue };
            number += 1;
            if (!guest.reach.ssh_users.is_empty() || !guest.machine.duties.ports().is_empty())
                && own_address(&guest.addresses).is_none()
            {
                guest.addresses = vec![loopback(number).to_string()];
            }
        }
    }
}

/// Returns the n-th loopback address for guests, from 127.10.0.1 on; there are some ten million.
pub fn loopback(n: u32) -> Ipv4Addr {
    let part = |of: u32| u8::try_from(of % 250).unwrap_or(0);
    Ipv4Addr::new(127, 10 + part(n / 62_500), part(n / 250), 1 + part(n))
}

/// Returns the loopback address of its own that a guest has: not 127.0.0.1, which is every machine's.
pub(crate) fn own_address(addresses: &[String]) -> Option<IpAddr> {
    let parsed = addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
    parsed.into_iter().find(|address| address.is_loopback() && *address != IpAddr::V4(Ipv4Addr::LOCALHOST))
}

impl SshHosts {
    /// Starts the servers of all nodes and of the guests that let somebody log in; the client's key pair is written into the stage's directory as `id_ed25519`.
    ///
    /// # Errors
    /// Where an address can't be bound or the key can't be written.
    pub async fn start(stage: &Arc<Stage>) -> io::Result<Self> {
        let client = keys::derive(KeyKind::Ed25519, "client", 0)?;
        let client_key = stage.dir().join("id_ed25519");
        keys::write_pair(&client, &client_key)?;
        let names = Arc::new(Names::default());
        let mut hosts = Self {
            servers: BTreeMap::new(),
            client_key,
            client_public: client.public_key().clone(),
            vm_port: 0,
            names,
            following: None,
        };
        let nodes = stage.with(|world, _| {
            let nodes = world.nodes.values().map(|node| (MachineId::node(&node.name), node.reach.clone()));
            nodes.collect::<Vec<_>>()
        });
        for (id, reach) in nodes {
            let accounts = hosts.accounts(&reach);
            let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
            let server = SshServer::start(hosts.setup(stage, &id, listen, accounts)?).await?;
            hosts.names.add(&id.short(), server.addr().ip(), Some(server.addr().port()));
            hosts.servers.insert(id, Arc::new(server));
        }
        hosts.start_guests(stage).await?;
        let servers = hosts.servers.iter().map(|(id, server)| (id.clone(), Arc::downgrade(server))).collect();
        hosts.following = Some(tokio::spawn(hang_up(stage.gone(), servers)).abort_handle());
        Ok(hosts)
    }

    async fn start_guests(&mut self, stage: &Arc<Stage>) -> io::Result<()> {
        let guests = stage.with(|world, _| {
            let ids = world.machines().into_iter();
            let reachable = ids.filter_map(|id| {
                let guest = world.guest(&id)?;
                let address = own_address(&guest.addresses)?;
                Some((id, address, guest.reach.clone(), guest.name.clone()))
            });
            reachable.filter(|(_, _, reach, _)| !reach.ssh_users.is_empty()).collect::<Vec<_>>()
        });
        let mut tries = 0;
        'port: loop {
            tries += 1;
            let (mut port, mut started) = (0, Vec::new());
            for (id, address, reach, name) in &guests {
                let accounts = self.accounts(reach);
                let listen = SocketAddr::new(*address, port);
                match SshServer::start(self.setup(stage, id, listen, accounts)?).await {
                    Ok(server) => {
                        port = server.addr().port();
                        started.push((id.clone(), name, server));
                    }
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => continue 'port,
                    Err(error) => return Err(error),
                }
            }
            self.vm_port = port;
            for (id, name, server) in started {
                self.names.add(name, server.addr().ip(), Some(port));
                self.servers.insert(id, Arc::new(server));
            }
            return Ok(());
        }
    }

    /// Returns who may log in: with the client's key where the machine knows it, and with the password where there is one.
    fn accounts(&self, reach: &Reach) -> BTreeMap<String, Account> {
        let keys = if reach.keyless { Vec::new() } else { vec![self.client_public.clone()] };
        let account = Account { keys, password: reach.password.clone() };
        reach.ssh_users.iter().map(|user| (user.clone(), account.clone())).collect()
    }

    fn setup(
        &self,
        stage: &Arc<Stage>,
        id: &MachineId,
        listen: SocketAddr,
        accounts: BTreeMap<String, Account>,
    ) -> io::Result<SshSetup> {
        let name = id.to_string();
        Ok(SshSetup {
            listen,
            host_keys: vec![keys::derive(KeyKind::Ed25519, &name, 0)?],
            accounts,
            names: Arc::clone(&self.names),
            commands: Arc::new(Shell { stage: Arc::clone(stage), id: id.clone() }),
            name,
        })
    }

    /// Returns a machine's server.
    pub fn server(&self, id: &MachineId) -> Option<&SshServer> {
        self.servers.get(id).map(Arc::as_ref)
    }

    /// Returns all servers.
    pub fn servers(&self) -> impl Iterator<Item = (&MachineId, &SshServer)> {
        self.servers.iter().map(|(id, server)| (id, server.as_ref()))
    }

    /// Returns the port of all guests' servers; 0 where there is none.
    pub fn vm_port(&self) -> u16 {
        self.vm_port
    }

    /// Returns the path of the client's private key; the public one is beside it (`.pub`).
    pub fn client_key(&self) -> &Path {
        &self.client_key
    }

    /// Returns the client's public key.
    pub fn client_public(&self) -> &PublicKey {
        &self.client_public
    }

    /// Returns the names that the machines resolve for forwards: nodes and guests by name, and what a test adds.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Returns a machine's `known_hosts` lines, one a host key.
    ///
    /// # Errors
    /// There is no server of that machine.
    pub fn known_hosts(&self, id: &MachineId) -> io::Result<String> {
        let server = self.servers.get(id);
        let server =
            server.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{id} has no SSH server")))?;
        let line = |key| keys::known_hosts_line(&server.addr().ip().to_string(), server.addr().port(), key);
        let lines: io::Result<Vec<String>> = server.host_keys().iter().map(line).collect();
        Ok(lines?.join("\n") + "\n")
    }

    /// Gives a machine host keys of the given kinds, as if it had been installed anew the `generation`-th time.
    ///
    /// # Errors
    /// There is no server of that machine, or a key can't be made.
    pub fn rekey(&self, id: &MachineId, kinds: &[KeyKind], generation: u32) -> io::Result<()> {
        let server = self.servers.get(id);
        let server =
            server.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{id} has no SSH server")))?;
        let name = id.to_string();
        let made: io::Result<Vec<_>> = kinds.iter().map(|kind| keys::derive(*kind, &name, generation)).collect();
        server.set_host_keys(made?);
        Ok(())
    }
}

impl Drop for SshHosts {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

/// Cuts the connections of machines that go down.
async fn hang_up(mut gone: broadcast::Receiver<MachineId>, servers: BTreeMap<MachineId, Weak<SshServer>>) {
    loop {
        match gone.recv().await {
            Ok(id) => {
                if let Some(server) = servers.get(&id).and_then(Weak::upgrade) {
                    server.set_gates(Gate::Cut);
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

impl std::fmt::Debug for SshHosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshHosts").field("machines", &self.servers.keys()).finish_non_exhaustive()
    }
}

/// A machine's shell, for its SSH server.
struct Shell {
    stage: Arc<Stage>,
    id: MachineId,
}

impl Commands for Shell {
    fn up(&self) -> bool {
        self.stage.with(|world, _| world.is_up(&self.id))
    }

    fn spawn(&self, login: &Login, command: &str) -> io::Result<tokio::process::Child> {
        let (client, server) = (login.client, login.server);
        let connection = format!("{} {} {} {}", client.ip(), client.port(), server.ip(), server.port());
        self.stage.login(&self.id, &login.user, &connection, command)
    }

    fn authorizes(&self, user: &str, key: &PublicKey) -> bool {
        // A machine whose files can't be had lets nobody in by them; its commands say why.
        self.stage.root(&self.id).is_ok_and(|root| authorized_keys::holds(&home_of(&root, user), key))
    }

    fn trouble(&self, command: &str) -> Option<Trouble> {
        let fault = self.stage.with(|world, _| world.faults.command(&self.id, command))?;
        let millis = std::time::Duration::from_millis;
        Some(match fault {
            CommandFault::Cut { after_ms } => Trouble::CutAfter(millis(after_ms)),
            CommandFault::CutBefore => Trouble::CutBefore,
            CommandFault::CutAtEnd => Trouble::CutAtEnd,
            CommandFault::Late { ms } => Trouble::Late(millis(ms)),
        })
    }
}
