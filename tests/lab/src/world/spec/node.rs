//! What a node is like: by default PVE 9.2 on Debian 13, online, with nothing pending.

use std::collections::BTreeSet;

use super::packages::{NODE, PackageSpec};
use crate::world::machine::{Duties, Machine, Os};
use crate::world::{PveVersion, Reach, Repository, Service, node};

/// What a node is like. By default: PVE 9.2 on Debian 13, online, all services up, nothing pending.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub(crate) online: bool,
    pub(crate) version: PveVersion,
    pub(crate) os: Os,
    pub(crate) ip: Option<String>,
    pub(crate) votes: u32,
    pub(crate) kernel: String,
    pub(crate) services: Vec<Service>,
    /// `None` for those that a node has by default.
    pub(crate) repositories: Option<Vec<Repository>>,
    pub(crate) subscription: String,
    pub(crate) reach: Reach,
    pub(crate) packages: PackageSpec,
    pub(crate) memory_gib: u64,
    pub(crate) ct_preconditions: bool,
}

impl NodeSpec {
    pub(crate) fn new() -> Self {
        Self {
            online: true,
            version: PveVersion { version: "9.2.11".into(), release: "9.2".into(), repoid: "14a22df3".into() },
            os: Os::Debian13,
            ip: None,
            votes: 1,
            kernel: "6.17.2-1-pve".to_owned(),
            services: node::usual_services(),
            repositories: None,
            subscription: "notfound".to_owned(),
            reach: Reach { ssh_users: vec!["root".to_owned()], ..Reach::default() },
            packages: PackageSpec::of(NODE),
            memory_gib: 64,
            ct_preconditions: true,
        }
    }

    /// Sets who may log in over SSH; root alone by default.
    #[must_use]
    pub fn ssh_users(mut self, users: &[&str]) -> Self {
        self.reach.ssh_users = users.iter().map(|user| (*user).to_owned()).collect();
        self
    }

    /// Sets a password that its SSH server takes.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.reach.password = Some(password.to_owned());
        self
    }

    /// Sets its memory in GiB (64 by default). Guests that are configured with more than that together can't run on it.
    #[must_use]
    pub fn memory_gib(mut self, gib: u64) -> Self {
        self.memory_gib = gib;
        self
    }

    /// Lets it be too old to tell of a container whether it can move: `GET .../lxc/{vmid}/migrate` is 501.
    #[must_use]
    pub fn no_ct_preconditions(mut self) -> Self {
        self.ct_preconditions = false;
        self
    }

    /// Lets it be off.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.online = false;
        self
    }

    /// Sets its address within the cluster.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.ip = Some(ip.to_owned());
        self
    }

    /// Sets its votes in the cluster; one by default.
    #[must_use]
    pub fn votes(mut self, votes: u32) -> Self {
        self.votes = votes;
        self
    }

    /// Sets its operating system.
    #[must_use]
    pub fn os(mut self, os: Os) -> Self {
        self.os = os;
        self
    }

    /// Lets this many packages be pending, and known to be by its lists. The fourth is the kernel.
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

    /// Takes away the packages that it would have by default.
    #[must_use]
    pub fn no_packages(mut self) -> Self {
        self.packages.stock = &[];
        self
    }

    /// Sets the state of a service (`dead` and `inactive`, `failed` and `failed`).
    #[must_use]
    pub fn service(mut self, name: &str, state: &str, active: &str) -> Self {
        for service in self.services.iter_mut().filter(|s| s.name == name) {
            service.state = state.to_owned();
            service.active = active.to_owned();
        }
        self
    }

    /// Sets its repositories. By default it has those of its Debian, Proxmox VE without subscription, and the enterprise
    /// repository switched off.
    #[must_use]
    pub fn repositories(mut self, repositories: impl IntoIterator<Item = Repository>) -> Self {
        self.repositories = Some(repositories.into_iter().collect());
        self
    }

    /// Switches the enterprise repository on and the one without subscription off, as a new node has it.
    #[must_use]
    pub fn enterprise(mut self) -> Self {
        let mut all = self.repositories.take().unwrap_or_else(|| node::usual_repositories(self.os));
        for repository in &mut all {
            let is_proxmox = repository.uris.iter().any(|uri| uri.contains("proxmox.com"));
            if is_proxmox {
                repository.enabled = repository.uris.iter().any(|uri| uri.contains("enterprise"));
            }
        }
        self.repositories = Some(all);
        self
    }

    /// Sets the status of its subscription (`active`, `notfound`, `expired`, ...).
    #[must_use]
    pub fn subscription(mut self, status: &str) -> Self {
        self.subscription = status.to_owned();
        self
    }

    pub(crate) fn machine(&self, name: &str, boot_id: String, product_uuid: String) -> Machine {
        Machine {
            hostname: name.to_owned(),
            boot_id,
            booted: -7_200_000,
            product_uuid: Some(product_uuid),
            os: self.os,
            kernel_running: self.kernel.clone(),
            kernel_installed: self.kernel.clone(),
            kernel_package: Some("proxmox-kernel-6.17".to_owned()),
            reboot_required: BTreeSet::new(),
            packages: self.packages.build(),
            duties: Duties::default(),
        }
    }
}
