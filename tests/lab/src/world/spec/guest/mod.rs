//! What a guest is like: by default Debian 12, running, with nothing pending.

mod build;

use std::collections::BTreeMap;

use serde_json::Value;

use super::packages::{ALPINE, BOOKWORM, NOBLE, PackageSpec, TRIXIE};
use crate::world::machine::{Disturbance, Duties, Os, Web};
use crate::world::{AgentTraits, Kind, Reach};

/// What a guest is like. By default: Debian 12, running, on a storage that can snapshot, nothing pending.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    kind: Kind,
    vmid: u32,
    name: String,
    os: Os,
    running: bool,
    template: bool,
    lock: Option<String>,
    pub(crate) storage: String,
    disk_gib: u64,
    memory_mib: u64,
    extra: BTreeMap<String, Value>,
    addresses: Vec<String>,
    docker: bool,
    agent: bool,
    agent_traits: AgentTraits,
    pool: Option<String>,
    reach: Reach,
    obeys: bool,
    snapshots: Vec<(String, bool)>,
    auto_snapshots: bool,
    packages: PackageSpec,
    duties: Duties,
}

impl GuestSpec {
    pub(crate) fn new(kind: Kind, vmid: u32) -> Self {
        Self {
            kind,
            vmid,
            name: format!("{}{vmid}", kind.label().to_lowercase()),
            os: Os::Debian12,
            running: true,
            template: false,
            lock: None,
            storage: "local-zfs".to_owned(),
            disk_gib: 4,
            memory_mib: 512,
            extra: BTreeMap::new(),
            addresses: vec![format!("10.88.{}.{}", vmid / 250 % 250, vmid % 250 + 1)],
            docker: false,
            agent: kind == Kind::Vm,
            agent_traits: AgentTraits::default(),
            pool: None,
            // A container runs an SSH server only where a test lets somebody log in.
            reach: Reach {
                ssh_users: if kind == Kind::Vm { vec!["root".to_owned()] } else { Vec::new() },
                ..Reach::default()
            },
            obeys: true,
            snapshots: Vec::new(),
            auto_snapshots: false,
            packages: PackageSpec::of(BOOKWORM),
            duties: Duties::default(),
        }
    }

    /// Sets its name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Sets its operating system, with that system's packages.
    #[must_use]
    pub fn os(mut self, os: Os) -> Self {
        self.os = os;
        self.packages.stock = match os {
            Os::Debian12 => BOOKWORM,
            Os::Debian13 => TRIXIE,
            Os::Ubuntu2404 => NOBLE,
            Os::Alpine322 => ALPINE,
        };
        self
    }

    /// Lets it be off.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.running = false;
        self
    }

    /// Makes it a template (which is off).
    #[must_use]
    pub fn template(mut self) -> Self {
        self.template = true;
        self.running = false;
        self
    }

    /// Puts a lock into its config (`backup`, `snapshot`, ...), as something that died would leave it.
    #[must_use]
    pub fn locked(mut self, lock: &str) -> Self {
        self.lock = Some(lock.to_owned());
        self
    }

    /// Puts its root disk on a storage.
    #[must_use]
    pub fn on(mut self, storage: &str) -> Self {
        self.storage = storage.to_owned();
        self
    }

    /// Puts it on a storage that has no snapshots (a directory, with a raw image).
    #[must_use]
    pub fn no_snapshots(self) -> Self {
        self.on("local")
    }

    /// Sets the size of its root disk in GiB.
    #[must_use]
    pub fn disk_gib(mut self, gib: u64) -> Self {
        self.disk_gib = gib;
        self
    }

    /// Sets its memory in MiB (512 by default): what it is configured with, and what counts on a node that it is to run on.
    #[must_use]
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Lets a VM use a PCI device of its node, which keeps it from moving.
    #[must_use]
    pub fn pci_device(self) -> Self {
        self.config("hostpci0", "0000:01:00.0")
    }

    /// Lets it have a snapshot from before the world began, oldest first, as Proxmox VE lists it.
    #[must_use]
    pub fn snapshot(mut self, name: &str) -> Self {
        self.snapshots.push((name.to_owned(), true));
        self
    }

    /// Lets its ZFS datasets have a snapshot from before the world began that Proxmox VE does not list, newer than those that were
    /// named before it.
    #[must_use]
    pub fn foreign_snapshot(mut self, name: &str) -> Self {
        self.snapshots.push((name.to_owned(), false));
        self
    }

    /// Lets something of its node's own (`sanoid`) take a snapshot of its datasets right after each that Proxmox VE takes: no
    /// rollback is possible then.
    #[must_use]
    pub fn auto_snapshots(mut self) -> Self {
        self.auto_snapshots = true;
        self
    }

    /// Sets a key of its config.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// Starts it when its node boots.
    #[must_use]
    pub fn onboot(self) -> Self {
        self.config("onboot", 1)
    }

    /// Adds a mount point `mpN`, in backups or not.
    #[must_use]
    pub fn mount(self, n: u32, path: &str, backup: bool) -> Self {
        let (storage, vmid) = (self.storage.clone(), self.vmid);
        let backup = if backup { ",backup=1" } else { "" };
        self.config(&format!("mp{n}"), format!("{storage}:subvol-{vmid}-disk-{}{backup},mp={path},size=8G", n + 1))
    }

    /// Adds a bind mount `mpN` of a directory of the node.
    #[must_use]
    pub fn bind_mount(self, n: u32, from: &str, path: &str) -> Self {
        self.config(&format!("mp{n}"), format!("{from},mp={path}"))
    }

    /// Sets its addresses, as its agent or its node tells them.
    #[must_use]
    pub fn addresses(mut self, addresses: &[&str]) -> Self {
        self.addresses = addresses.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    /// Lets docker run in it: its bridges have addresses as well.
    #[must_use]
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// Lets a VM have no agent.
    #[must_use]
    pub fn no_agent(mut self) -> Self {
        self.agent = false;
        self
    }

    /// Lets a VM have an agent in its config that answers nobody.
    #[must_use]
    pub fn silent_agent(mut self) -> Self {
        self.agent = false;
        self.config("agent", "1")
    }

    /// Lets a VM's agent need so long after each start until it answers.
    #[must_use]
    pub fn agent_ready_ms(mut self, ms: u64) -> Self {
        self.agent_traits.ready_ms = Some(ms);
        self
    }

    /// Keeps a VM's agent from running commands, as RHEL and its kin do.
    #[must_use]
    pub fn agent_exec_disabled(mut self) -> Self {
        self.agent_traits.exec_disabled = true;
        self
    }

    /// Lets a VM's agent keep no more than so many bytes of a command's output.
    #[must_use]
    pub fn agent_keeps(mut self, bytes: usize) -> Self {
        self.agent_traits.keeps = Some(bytes);
        self
    }

    /// Gives it tags.
    #[must_use]
    pub fn tags(self, tags: &[&str]) -> Self {
        self.config("tags", tags.join(";"))
    }

    /// Puts it into a resource pool.
    #[must_use]
    pub fn pool(mut self, name: &str) -> Self {
        self.pool = Some(name.to_owned());
        self
    }

    /// Sets who may log in over SSH; a container has an SSH server only by this.
    #[must_use]
    pub fn ssh_users(mut self, users: &[&str]) -> Self {
        self.reach.ssh_users = users.iter().map(|u| (*u).to_owned()).collect();
        self
    }

    /// Sets a password that its SSH server takes.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.reach.password = Some(password.to_owned());
        self
    }

    /// Lets its SSH server take only this password at first, not the lab's key: root's where nobody else is said to log in.
    #[must_use]
    pub fn password_only(mut self, password: &str) -> Self {
        if self.reach.ssh_users.is_empty() {
            self.reach.ssh_users.push("root".to_owned());
        }
        self.reach.keyless = true;
        self.password(password)
    }

    /// Leaves no way in: no agent, no login.
    #[must_use]
    pub fn no_way_in(self) -> Self {
        self.no_agent().ssh_users(&[]).addresses(&[])
    }

    /// Lets it not obey an orderly shutdown.
    #[must_use]
    pub fn stubborn(mut self) -> Self {
        self.obeys = false;
        self
    }

    /// Lets a unit have failed.
    #[must_use]
    pub fn failed_unit(mut self, unit: &str) -> Self {
        self.duties.failed.insert(unit.to_owned(), None);
        self
    }

    /// Lets somebody listen on a TCP port.
    #[must_use]
    pub fn listens(mut self, port: u16) -> Self {
        self.duties.listening.insert(port);
        self
    }

    /// Lets a web server show a page on a port.
    #[must_use]
    pub fn serves(mut self, port: u16, page: &str) -> Self {
        self.duties.web = Some(Web { port, status: 200, page: page.to_owned() });
        self.listens(port)
    }

    /// Lets its next upgrade do something to what it does for others.
    #[must_use]
    pub fn upgrade_does(mut self, disturbance: Disturbance) -> Self {
        self.duties.disturbances.push(disturbance);
        self
    }

    /// Lets a unit fail since its next upgrade, and its web server answer 500.
    #[must_use]
    pub fn upgrade_breaks(self, unit: &str) -> Self {
        self.upgrade_does(Disturbance::Fails(unit.to_owned(), None)).upgrade_does(Disturbance::Answers(500))
    }

    /// Lets this many packages be pending, and known to be by its lists.
    #[must_use]
    pub fn pending(mut self, count: usize) -> Self {
        self.packages.pending = count;
        self
    }

    /// Lets this many more packages be newer in the repository, unknown to it until its lists are refreshed.
    #[must_use]
    pub fn unknown(mut self, count: usize) -> Self {
        self.packages.unknown = count;
        self
    }

    /// Adds a package of its own: installed, and what repository and lists have.
    #[must_use]
    pub fn package(mut self, name: &str, installed: &str, latest: &str) -> Self {
        self.packages.own.push((name.to_owned(), installed.to_owned(), Some(latest.to_owned())));
        self
    }

    /// Holds a package back.
    #[must_use]
    pub fn hold(mut self, name: &str) -> Self {
        self.packages.held.insert(name.to_owned());
        self
    }

    /// Lets its lists have been refreshed this many milliseconds before the world began; `None` is never.
    #[must_use]
    pub fn lists_age_ms(mut self, ago: Option<i64>) -> Self {
        self.packages.refreshed_ms_ago = ago;
        self
    }
}
