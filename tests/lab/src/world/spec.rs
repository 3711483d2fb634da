//! How a test or a demo says what a guest or a node is like.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::machine::{Disturbance, Duties, Machine, Os, Packages, Web};
use super::{
    Agent, AgentTraits, DatasetSnapshot, Guest, Kind, Power, PveVersion, Reach, Repository, Service, Snapshot, Storage,
};

/// Versions of packages of an operating system: the name, what is installed, and what the repository has.
type Stock = &'static [(&'static str, &'static str, &'static str)];

const BOOKWORM: Stock = &[
    ("base-files", "12.4+deb12u11", "12.4+deb12u12"),
    ("bash", "5.2.15-2+b7", "5.2.15-2+b8"),
    ("curl", "7.88.1-10+deb12u12", "7.88.1-10+deb12u14"),
    ("libc6", "2.36-9+deb12u10", "2.36-9+deb12u13"),
    ("libssl3", "3.0.16-1~deb12u1", "3.0.17-1~deb12u3"),
    ("openssh-server", "1:9.2p1-2+deb12u6", "1:9.2p1-2+deb12u7"),
    ("openssl", "3.0.16-1~deb12u1", "3.0.17-1~deb12u3"),
    ("perl-base", "5.36.0-7+deb12u2", "5.36.0-7+deb12u3"),
    ("sudo", "1.9.13p3-1+deb12u1", "1.9.13p3-1+deb12u2"),
    ("systemd", "252.38-1~deb12u1", "252.39-1~deb12u1"),
    ("tzdata", "2025b-0+deb12u1", "2025b-0+deb12u2"),
    ("zlib1g", "1:1.2.13.dfsg-1", "1:1.2.13.dfsg-1+deb12u1"),
];

const TRIXIE: Stock = &[
    ("base-files", "13.8", "13.8+deb13u1"),
    ("bash", "5.2.37-2+b3", "5.2.37-2+b5"),
    ("curl", "8.14.1-2", "8.14.1-2+deb13u2"),
    ("libc6", "2.41-11", "2.41-12"),
    ("libssl3t64", "3.5.1-1", "3.5.4-1~deb13u1"),
    ("openssh-server", "1:10.0p1-7", "1:10.0p1-7+deb13u1"),
    ("openssl", "3.5.1-1", "3.5.4-1~deb13u1"),
    ("perl-base", "5.40.1-6", "5.40.1-6+deb13u1"),
    ("sudo", "1.9.16p2-3", "1.9.16p2-3+deb13u1"),
    ("systemd", "257.7-1", "257.9-1~deb13u1"),
    ("tzdata", "2025b-4", "2025b-4+deb13u1"),
    ("zlib1g", "1:1.3.dfsg+really1.3.1-1", "1:1.3.dfsg+really1.3.1-1+b1"),
];

const NOBLE: Stock = &[
    ("base-files", "13ubuntu10.2", "13ubuntu10.3"),
    ("bash", "5.2.21-2ubuntu4", "5.2.21-2ubuntu4.1"),
    ("curl", "8.5.0-2ubuntu10.5", "8.5.0-2ubuntu10.6"),
    ("libc6", "2.39-0ubuntu8.5", "2.39-0ubuntu8.6"),
    ("libssl3t64", "3.0.13-0ubuntu3.5", "3.0.13-0ubuntu3.6"),
    ("openssh-server", "1:9.6p1-3ubuntu13.13", "1:9.6p1-3ubuntu13.14"),
    ("openssl", "3.0.13-0ubuntu3.5", "3.0.13-0ubuntu3.6"),
    ("perl-base", "5.38.2-3.2ubuntu0.1", "5.38.2-3.2ubuntu0.2"),
    ("sudo", "1.9.15p5-3ubuntu5", "1.9.15p5-3ubuntu5.24.04.1"),
    ("systemd", "255.4-1ubuntu8.10", "255.4-1ubuntu8.11"),
    ("tzdata", "2025b-0ubuntu0.24.04", "2025b-0ubuntu0.24.04.1"),
    ("zlib1g", "1:1.3.dfsg-3.1ubuntu2", "1:1.3.dfsg-3.1ubuntu2.1"),
];

const ALPINE: Stock = &[
    ("alpine-baselayout", "3.7.0-r0", "3.7.0-r1"),
    ("busybox", "1.37.0-r18", "1.37.0-r19"),
    ("ca-certificates", "20250619-r0", "20250911-r0"),
    ("libcrypto3", "3.5.2-r0", "3.5.4-r0"),
    ("libssl3", "3.5.2-r0", "3.5.4-r0"),
    ("musl", "1.2.5-r10", "1.2.5-r12"),
    ("openssh", "10.0_p1-r7", "10.0_p1-r9"),
    ("zlib", "1.3.1-r2", "1.3.1-r3"),
];

const NODE: Stock = &[
    ("corosync", "3.1.9-pve1", "3.1.9-pve2"),
    ("libpve-common-perl", "9.0.10", "9.0.13"),
    ("lxc-pve", "6.0.5-1", "6.0.5-3"),
    ("proxmox-kernel-6.17", "6.17.2-1", "6.17.4-1"),
    ("proxmox-ve", "9.1.0", "9.2.0"),
    ("pve-container", "6.0.13", "6.0.18"),
    ("pve-ha-manager", "5.0.5", "5.0.8"),
    ("pve-manager", "9.2.11", "9.2.12"),
    ("pve-qemu-kvm", "10.1.2-1", "10.1.2-3"),
    ("qemu-server", "9.0.23", "9.0.29"),
    ("zfsutils-linux", "2.3.4-pve1", "2.3.4-pve2"),
];

/// What is installed, and how far the repository and the machine's lists are ahead.
#[derive(Debug, Clone)]
pub(crate) struct PackageSpec {
    stock: Stock,
    pending: usize,
    unknown: usize,
    refreshed_ms_ago: Option<i64>,
    own: Vec<(String, String, Option<String>)>,
    held: BTreeSet<String>,
}

impl PackageSpec {
    fn of(stock: Stock) -> Self {
        Self {
            stock,
            pending: 0,
            unknown: 0,
            refreshed_ms_ago: Some(86_400_000),
            own: Vec::new(),
            held: BTreeSet::new(),
        }
    }

    fn build(&self) -> Packages {
        let mut installed: BTreeMap<String, String> = BTreeMap::new();
        let mut repository = BTreeMap::new();
        let mut lists = BTreeMap::new();
        for (i, (name, old, new)) in self.stock.iter().enumerate() {
            let newer_known = i < self.pending;
            let newer = i < self.pending + self.unknown;
            installed.insert((*name).to_owned(), (*old).to_owned());
            repository.insert((*name).to_owned(), if newer { *new } else { *old }.to_owned());
            lists.insert((*name).to_owned(), if newer_known { *new } else { *old }.to_owned());
        }
        for (name, old, new) in &self.own {
            installed.insert(name.clone(), old.clone());
            let latest = new.as_ref().unwrap_or(old);
            repository.insert(name.clone(), latest.clone());
            lists.insert(name.clone(), latest.clone());
        }
        let held = self.held.clone();
        let lists_refreshed = self.refreshed_ms_ago.map(|ago| -ago);
        Packages { installed, repository, lists, lists_refreshed, held, ..Packages::default() }
    }
}

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

    /// Gives a guest the snapshots that it has from the beginning; `unix` is that time, `zfs` whether its disks are on ZFS.
    pub(crate) fn add_snapshots(&self, guest: &mut Guest, unix: i64, zfs: bool) {
        for (n, (name, listed)) in self.snapshots.iter().enumerate() {
            let left = i64::try_from(self.snapshots.len() - n).unwrap_or_default();
            let created = unix - 60 * left;
            if *listed {
                let snapshot = Snapshot {
                    name: name.clone(),
                    description: String::new(),
                    snaptime: created,
                    parent: guest.parent.replace(name.clone()),
                    state: None,
                    machine: guest.machine.clone(),
                    config: guest.config.clone(),
                };
                guest.snapshots.push(snapshot);
            }
            if zfs {
                guest.dataset_snapshots.push(DatasetSnapshot { name: name.clone(), created, written: 0 });
            }
        }
    }

    /// Makes the guest. Numbers that must be its own come from `draw`.
    pub(crate) fn build(
        &self,
        node: &str,
        node_kernel: &str,
        on: Option<&Storage>,
        mut draw: impl FnMut() -> u64,
    ) -> Guest {
        let uuid = super::uuid(draw(), draw());
        let boot_id = super::uuid(draw(), draw());
        let mac = draw();
        let mac = format!("BC:24:11:{:02X}:{:02X}:{:02X}", mac & 0xff, (mac >> 8) & 0xff, (mac >> 16) & 0xff);
        let (vmid, storage, gib) = (self.vmid, &self.storage, self.disk_gib);
        let file = on.is_some_and(Storage::has_files);
        let block = on.is_some_and(|on| ["rbd", "lvm", "lvmthin"].contains(&on.kind.as_str()));
        let mut config: BTreeMap<String, Value> = BTreeMap::new();
        match self.kind {
            Kind::Ct => {
                let address = self.addresses.first().map(|a| format!(",gw=10.88.0.1,ip={a}/16")).unwrap_or_default();
                let disk = match (file, block) {
                    (true, _) => format!("{vmid}/vm-{vmid}-disk-0.raw"),
                    (false, true) => format!("vm-{vmid}-disk-0"),
                    (false, false) => format!("subvol-{vmid}-disk-0"),
                };
                config.insert("arch".into(), json!("amd64"));
                config.insert("hostname".into(), json!(self.name));
                config.insert("memory".into(), json!(self.memory_mib));
                config.insert("swap".into(), json!(512));
                config.insert("ostype".into(), json!(self.os.id()));
                config.insert("unprivileged".into(), json!(1));
                config.insert("rootfs".into(), json!(format!("{storage}:{disk},size={gib}G")));
                config.insert("net0".into(), json!(format!("name=eth0,bridge=vmbr0{address},hwaddr={mac},type=veth")));
            }
            Kind::Vm => {
                let disk = if file { format!("{vmid}/vm-{vmid}-disk-0.raw") } else { format!("vm-{vmid}-disk-0") };
                config.insert("name".into(), json!(self.name));
                config.insert("memory".into(), json!(self.memory_mib.to_string()));
                config.insert("cores".into(), json!(1));
                config.insert("ostype".into(), json!("l26"));
                config.insert("boot".into(), json!("order=scsi0"));
                config.insert("scsihw".into(), json!("virtio-scsi-pci"));
                config.insert("scsi0".into(), json!(format!("{storage}:{disk},size={gib}G")));
                config.insert("net0".into(), json!(format!("virtio={mac},bridge=vmbr0")));
                config.insert("smbios1".into(), json!(format!("uuid={uuid}")));
                config.insert("meta".into(), json!("creation-qemu=10.1.2,ctime=1795385505"));
                if self.agent {
                    config.insert("agent".into(), json!("1"));
                }
            }
        }
        config.extend(self.extra.clone());
        let own_uuid = config
            .get("smbios1")
            .and_then(|v| v.as_str())
            .and_then(|v| v.split(',').find_map(|part| part.strip_prefix("uuid=")).map(str::to_lowercase));
        let kernel = match self.os {
            Os::Debian12 => "6.1.0-40-amd64",
            Os::Debian13 => "6.12.48-amd64",
            Os::Ubuntu2404 => "6.8.0-85-generic",
            Os::Alpine322 => "6.12.52-0-lts",
        };
        let kernel = if self.kind == Kind::Ct { node_kernel } else { kernel }.to_owned();
        Guest {
            vmid,
            kind: self.kind,
            name: self.name.clone(),
            node: node.to_owned(),
            pool: self.pool.clone(),
            power: if self.running { Power::Running } else { Power::Stopped },
            pid: if self.running { 2000 + vmid } else { 0 },
            started: -3_600_000,
            template: self.template,
            lock: self.lock.clone(),
            config,
            disk_bytes: gib << 30,
            memory_bytes: self.memory_mib << 20,
            snapshots: Vec::new(),
            parent: None,
            dataset_snapshots: Vec::new(),
            auto_snapshots: self.auto_snapshots,
            addresses: self.addresses.clone(),
            docker: self.docker,
            agent: if self.agent && self.kind == Kind::Vm { Agent::From(0) } else { Agent::Absent },
            agent_traits: self.agent_traits.clone(),
            reach: self.reach.clone(),
            obeys_shutdown: self.obeys,
            disk_generation: 0,
            agent_execs: Vec::new(),
            agent_pids: 0,
            machine: Machine {
                hostname: self.name.clone(),
                boot_id,
                booted: -3_600_000,
                product_uuid: own_uuid,
                os: self.os,
                kernel_running: kernel.clone(),
                kernel_installed: kernel,
                kernel_package: (self.kind == Kind::Vm).then(|| "linux-image".to_owned()),
                reboot_required: BTreeSet::new(),
                packages: self.packages.build(),
                duties: self.duties.clone(),
            },
        }
    }
}

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
            services: super::node::usual_services(),
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
        let mut all = self.repositories.take().unwrap_or_else(|| super::node::usual_repositories(self.os));
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
