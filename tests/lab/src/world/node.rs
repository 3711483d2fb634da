//! Nodes, and what belongs to them: certificates, services, package sources.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Machine, Os, Reach, Task};

/// A version of Proxmox VE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PveVersion {
    /// `version`: `9.2.11`.
    pub version: String,
    /// `release`: `9.2`.
    pub release: String,
    /// `repoid`: a short commit.
    pub repoid: String,
}

/// A certificate as data; the real one is made when a lab is started and entered here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertData {
    /// SHA-256 of its DER form, upper case with colons.
    pub fingerprint: String,
    /// Its subject in OpenSSL's old one-line form.
    pub subject: String,
    /// The subject of its issuer.
    pub issuer: String,
    /// Its alternative names.
    pub san: Vec<String>,
    /// Its PEM form.
    pub pem: String,
    /// The type of its key (`rsaEncryption`, `id-ecPublicKey`).
    pub key_type: String,
    /// The size of its key.
    pub key_bits: u32,
    /// Begin of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
}

/// A service of a node (`systemctl`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name without `.service`.
    pub name: String,
    /// Its description.
    pub desc: String,
    /// `SubState`: `running`, `dead`, `exited`, `failed`.
    pub state: String,
    /// `ActiveState`: `active`, `inactive`, `failed`.
    pub active: String,
    /// `UnitFileState`: `enabled`, `disabled`, `static`, `not-found`.
    pub unit: String,
}

/// An entry of a node's package sources (`/etc/apt/sources.list`, `/etc/apt/sources.list.d`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// The file that names it; its ending says in which form (`.list`, `.sources`).
    pub file: String,
    /// `deb`, `deb-src`.
    pub types: Vec<String>,
    /// Its addresses.
    pub uris: Vec<String>,
    /// Its suites.
    pub suites: Vec<String>,
    /// Its components.
    pub components: Vec<String>,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl Repository {
    /// Makes one of binary packages that is switched on.
    pub fn new(file: &str, uri: &str, suites: &[&str], components: &[&str]) -> Self {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        Self {
            file: file.to_owned(),
            types: texts(&["deb"]),
            uris: texts(&[uri]),
            suites: texts(suites),
            components: texts(components),
            enabled: true,
        }
    }

    /// Switches it off.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its realm.
    pub realm: String,
    /// Its number in the cluster; 0 where it stands alone.
    pub nodeid: u32,
    /// Its votes in the cluster.
    pub votes: u32,
    /// Its address within the cluster.
    pub ip: String,
    /// Whether it is up and answers.
    pub online: bool,
    /// What it runs.
    pub version: PveVersion,
    /// The certificate of its API (`pve-ssl.pem`).
    pub cert: CertData,
    /// Its services.
    pub services: Vec<Service>,
    /// Its package sources.
    pub repositories: Vec<Repository>,
    /// The status of its subscription.
    pub subscription: String,
    /// Who may log in over SSH, and how.
    pub reach: Reach,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Whether it knows `GET .../lxc/{vmid}/migrate`, which an older one answers with 501.
    pub ct_preconditions: bool,
    /// Its system.
    pub machine: Machine,
    /// Its tasks, oldest first.
    pub tasks: Vec<Task>,
    /// Backups that hold (the first) or wait for the node's backup lock, by UPID.
    pub(crate) backup_queue: VecDeque<String>,
    /// The next process number.
    pub(crate) next_pid: u32,
}

impl Node {
    /// Returns a task.
    pub fn task(&self, upid: &str) -> Option<&Task> {
        self.tasks.iter().rev().find(|t| t.upid == upid)
    }

    /// Returns a task, to change it.
    pub(crate) fn task_mut(&mut self, upid: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().rev().find(|t| t.upid == upid)
    }

    /// Takes the next process number.
    pub(crate) fn take_pid(&mut self) -> u32 {
        self.next_pid = self.next_pid.wrapping_add(3).max(300);
        self.next_pid
    }
}

/// Returns the package sources of a node without subscription.
pub(crate) fn usual_repositories(os: Os) -> Vec<Repository> {
    let codename = os.codename().unwrap_or("trixie");
    let (updates, security) = (format!("{codename}-updates"), format!("{codename}-security"));
    let debian = "/etc/apt/sources.list.d/debian.sources";
    let enterprise = "/etc/apt/sources.list.d/pve-enterprise.sources";
    vec![
        Repository::new(debian, "http://deb.debian.org/debian", &[codename, &updates], &["main", "contrib"]),
        Repository::new(debian, "http://security.debian.org/debian-security", &[&security], &["main", "contrib"]),
        Repository::new(
            "/etc/apt/sources.list.d/proxmox.sources",
            "http://download.proxmox.com/debian/pve",
            &[codename],
            &["pve-no-subscription"],
        ),
        Repository::new(enterprise, "https://enterprise.proxmox.com/debian/pve", &[codename], &["pve-enterprise"])
            .disabled(),
    ]
}

/// Returns the services of a healthy node.
pub(crate) fn usual_services() -> Vec<Service> {
    let running = [
        ("chrony", "chrony, an NTP client/server"),
        ("cron", "Regular background program processing daemon"),
        ("corosync", "Corosync Cluster Engine"),
        ("lxcfs", "FUSE filesystem for LXC"),
        ("postfix", "Postfix Mail Transport Agent"),
        ("pve-cluster", "The Proxmox VE cluster filesystem"),
        ("pve-firewall", "Proxmox VE firewall"),
        ("pve-ha-crm", "PVE Cluster HA Resource Manager Daemon"),
        ("pve-ha-lrm", "PVE Local HA Resource Manager Daemon"),
        ("pve-lxc-syscalld", "Proxmox VE LXC Syscall Daemon"),
        ("pvedaemon", "PVE API Daemon"),
        ("pvefw-logger", "Proxmox VE firewall logger"),
        ("pveproxy", "PVE API Proxy Server"),
        ("pvescheduler", "Proxmox VE scheduler"),
        ("pvestatd", "PVE Status Daemon"),
        ("qmeventd", "PVE Qemu Event Daemon"),
        ("spiceproxy", "PVE SPICE Proxy Server"),
        ("sshd", "OpenBSD Secure Shell server"),
        ("systemd-journald", "Journal Service"),
    ];
    let absent = ["ksmtuned", "proxmox-firewall", "syslog", "systemd-timesyncd"];
    let service = |name: &str, desc: &str, state: &str, active: &str, unit: &str| Service {
        name: name.to_owned(),
        desc: desc.to_owned(),
        state: state.to_owned(),
        active: active.to_owned(),
        unit: unit.to_owned(),
    };
    let unit_state = |name: &str| if name == "systemd-journald" { "static" } else { "enabled" };
    let mut all: Vec<Service> =
        running.iter().map(|(name, desc)| service(name, desc, "running", "active", unit_state(name))).collect();
    all.extend(absent.iter().map(|name| service(name, &format!("{name}.service"), "dead", "inactive", "not-found")));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
