//! A machine as software sees it: what a node and a guest have in common (operating system, boot, kernel, packages).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Time;

/// Names a machine of the world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineId {
    /// A node; its name is unique in the world.
    Node(String),
    /// A guest; its vmid is unique within its realm.
    Guest {
        /// The realm: the name of the cluster, or of the node that stands alone.
        realm: String,
        /// The vmid.
        vmid: u32,
    },
}

impl MachineId {
    /// Names a node.
    pub fn node(name: impl Into<String>) -> Self {
        Self::Node(name.into())
    }

    /// Names a guest of a realm (a cluster's name, or the name of a node that stands alone).
    pub fn guest(realm: impl Into<String>, vmid: u32) -> Self {
        Self::Guest { realm: realm.into(), vmid }
    }

    /// Returns the short name that the ledger and faults use: the node's name, or the vmid.
    pub fn short(&self) -> String {
        match self {
            Self::Node(name) => name.clone(),
            Self::Guest { vmid, .. } => vmid.to_string(),
        }
    }

    /// Tells whether a name in a fault or a query means this machine: `pve1`, `101`, `lab/101` or `*`.
    pub fn is_called(&self, name: &str) -> bool {
        name == "*" || name == self.short() || name == self.to_string()
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => f.write_str(name),
            Self::Guest { realm, vmid } => write!(f, "{realm}/{vmid}"),
        }
    }
}

/// An operating system that the world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// Debian 12 (bookworm).
    Debian12,
    /// Debian 13 (trixie).
    Debian13,
    /// Ubuntu 24.04 (noble).
    Ubuntu2404,
    /// Alpine Linux 3.22.
    Alpine322,
}

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// apt and dpkg.
    Apt,
    /// apk.
    Apk,
}

impl Os {
    /// Returns the package manager.
    pub fn manager(self) -> Manager {
        match self {
            Self::Alpine322 => Manager::Apk,
            Self::Debian12 | Self::Debian13 | Self::Ubuntu2404 => Manager::Apt,
        }
    }

    /// Returns `ID` of os-release, which is also `ostype` of a container's config.
    pub fn id(self) -> &'static str {
        match self {
            Self::Debian12 | Self::Debian13 => "debian",
            Self::Ubuntu2404 => "ubuntu",
            Self::Alpine322 => "alpine",
        }
    }

    /// Returns `VERSION_ID` of os-release.
    pub fn version_id(self) -> &'static str {
        match self {
            Self::Debian12 => "12",
            Self::Debian13 => "13",
            Self::Ubuntu2404 => "24.04",
            Self::Alpine322 => "3.22.2",
        }
    }

    /// Returns `VERSION_CODENAME` of os-release; Alpine has none.
    pub fn codename(self) -> Option<&'static str> {
        match self {
            Self::Debian12 => Some("bookworm"),
            Self::Debian13 => Some("trixie"),
            Self::Ubuntu2404 => Some("noble"),
            Self::Alpine322 => None,
        }
    }

    /// Returns `NAME` of os-release.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian12 | Self::Debian13 => "Debian GNU/Linux",
            Self::Ubuntu2404 => "Ubuntu",
            Self::Alpine322 => "Alpine Linux",
        }
    }

    /// Returns `PRETTY_NAME` of os-release.
    pub fn pretty_name(self) -> &'static str {
        match self {
            Self::Debian12 => "Debian GNU/Linux 12 (bookworm)",
            Self::Debian13 => "Debian GNU/Linux 13 (trixie)",
            Self::Ubuntu2404 => "Ubuntu 24.04.3 LTS",
            Self::Alpine322 => "Alpine Linux v3.22",
        }
    }

    /// Returns the text of `/etc/os-release`.
    pub fn os_release(self) -> String {
        let mut text = format!(
            "PRETTY_NAME=\"{}\"\nNAME=\"{}\"\nVERSION_ID=\"{}\"\n",
            self.pretty_name(),
            self.name(),
            self.version_id()
        );
        if let Some(codename) = self.codename() {
            text.push_str(&format!("VERSION=\"{} ({codename})\"\nVERSION_CODENAME={codename}\n", self.version_id()));
        }
        text.push_str(&format!("ID={}\n", self.id()));
        if self == Self::Ubuntu2404 {
            text.push_str("ID_LIKE=debian\n");
        }
        text
    }
}

/// One package going from one version to another. `old` is `None` for a new package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The package.
    pub name: String,
    /// The version before.
    pub old: Option<String>,
    /// The version after.
    pub new: String,
}

/// Who holds the package manager's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockHolder {
    /// An upgrade: the number of its transaction.
    Upgrade(u64),
    /// A refresh of the lists.
    Refresh,
    /// Something else on the machine, by name (`unattended-upgr`).
    Other(String),
}

/// How an upgrade will end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Every change is made; exit status 0.
    Well,
    /// Nothing is changed; this exit status (a download that failed).
    Exit(i32),
    /// All but the last package are changed, the last stays half-configured; this exit status.
    HalfConfigure(i32),
    /// It never ends by itself.
    Hang,
}

/// A running upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Its number, unique in the world.
    pub id: u64,
    /// The key under which it was asked for (the job's name).
    pub key: Option<String>,
    /// When it began.
    pub started: Time,
    /// When it ends; `None` where it hangs.
    pub ends: Option<Time>,
    /// What it changes.
    pub changes: Vec<Change>,
    /// How it ends.
    pub ending: Ending,
    /// Its entry in the ledger.
    pub(crate) ledger: u64,
}

/// An upgrade that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The number of the transaction.
    pub id: u64,
    /// The key under which it was asked for.
    pub key: Option<String>,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// The exit status; `None` where it was killed.
    pub exit: Option<i32>,
    /// What was really changed.
    pub changes: Vec<Change>,
    /// The package that it left half-configured, if any.
    pub half_configured: Option<String>,
}

/// Packages of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Installed versions by name.
    pub installed: BTreeMap<String, String>,
    /// Versions that the repository has now.
    pub repository: BTreeMap<String, String>,
    /// Versions that the machine knows of: the repository as it was at the last refresh.
    pub lists: BTreeMap<String, String>,
    /// When the lists were last refreshed, in milliseconds since the world began (negative: before).
    pub lists_refreshed: Option<i64>,
    /// Packages held back by the administrator.
    pub held: BTreeSet<String>,
    /// Packages that are unpacked but not configured.
    pub half_configured: BTreeSet<String>,
    /// Who holds the package manager's lock.
    pub lock: Option<LockHolder>,
    /// The running upgrade.
    pub running: Option<Transaction>,
    /// Upgrades that ended, oldest first.
    pub finished: Vec<Finished>,
    /// Bytes that upgrades have written to its disk so far.
    #[serde(default)]
    pub written: u64,
}

impl Packages {
    /// Returns what would be upgraded by the lists as they are, held packages left out, in order of name.
    pub fn pending(&self) -> Vec<Change> {
        let newer = |name: &String, old: &String| {
            let new = self.lists.get(name)?;
            (new != old && !self.held.contains(name)).then(|| Change {
                name: name.clone(),
                old: Some(old.clone()),
                new: new.clone(),
            })
        };
        self.installed.iter().filter_map(|(name, old)| newer(name, old)).collect()
    }
}

/// A machine: a node's own system or a guest's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `hostname`.
    pub hostname: String,
    /// `/proc/sys/kernel/random/boot_id`: new with each boot.
    pub boot_id: String,
    /// When it was booted, in milliseconds since the world began (negative: before).
    pub booted: i64,
    /// `/sys/class/dmi/id/product_uuid`: what `smbios1` of a VM says; the hardware's on a node; a container sees its node's.
    pub product_uuid: Option<String>,
    /// The operating system.
    pub os: Os,
    /// `uname -r`.
    pub kernel_running: String,
    /// The kernel that the next boot would start.
    pub kernel_installed: String,
    /// The package whose new version is a new kernel release, where the machine has a kernel of its own.
    pub kernel_package: Option<String>,
    /// Whether `/run/reboot-required` is there, and for which packages. A stock node never writes it.
    pub reboot_required: BTreeSet<String>,
    /// Its packages.
    pub packages: Packages,
    /// What it does for others.
    #[serde(default)]
    pub duties: Duties,
}

/// What a machine does for others, how well, and what its next upgrade does to that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duties {
    /// Units that failed, and until when; `None` for good.
    pub failed: BTreeMap<String, Option<Time>>,
    /// TCP ports on which somebody listens, on all addresses.
    pub listening: BTreeSet<u16>,
    /// What answers to HTTP on one of these: the port, the status, the page.
    pub web: Option<Web>,
    /// What its next upgrade that ends well does.
    pub disturbances: Vec<Disturbance>,
}

/// A web server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Web {
    /// Its port.
    pub port: u16,
    /// The status of its answers.
    pub status: u16,
    /// Its only page.
    pub page: String,
}

/// What an upgrade does to what a machine does for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbance {
    /// The unit fails, so many milliseconds long or for good, and what listens meanwhile stays.
    Fails(String, Option<u64>),
    /// The web server answers with this status.
    Answers(u16),
    /// Who listened on the first port listens on the second.
    Moves(u16, u16),
    /// Nobody listens on the port any more.
    Closes(u16),
}

impl Duties {
    /// Returns the units that have failed at a time.
    pub fn failed_at(&self, now: Time) -> BTreeSet<String> {
        let still = self.failed.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
        still.map(|(unit, _)| unit.clone()).collect()
    }

    /// Returns the ports that somebody listens on, now or after the next upgrade.
    pub fn ports(&self) -> BTreeSet<u16> {
        let later = self.disturbances.iter().filter_map(|disturbance| match disturbance {
            Disturbance::Moves(_, to) => Some(*to),
            Disturbance::Fails(..) | Disturbance::Answers(_) | Disturbance::Closes(_) => None,
        });
        self.listening.iter().copied().chain(later).collect()
    }

    /// Puts another port in the place of one, wherever that is named.
    pub(crate) fn rename_port(&mut self, from: u16, to: u16) {
        if self.listening.remove(&from) {
            self.listening.insert(to);
        }
        let rename = |port: &mut u16| {
            if *port == from {
                *port = to;
            }
        };
        self.web.iter_mut().for_each(|web| rename(&mut web.port));
        for disturbance in &mut self.disturbances {
            match disturbance {
                Disturbance::Moves(before, after) => {
                    rename(before);
                    rename(after);
                }
                Disturbance::Closes(port) => rename(port),
                Disturbance::Fails(..) | Disturbance::Answers(_) => {}
            }
        }
    }

    /// An upgrade has ended well.
    pub(crate) fn upgraded(&mut self, now: Time) {
        for disturbance in std::mem::take(&mut self.disturbances) {
            match disturbance {
                Disturbance::Fails(unit, ms) => {
                    self.failed.insert(unit, ms.map(|ms| now.saturating_add(ms)));
                }
                Disturbance::Answers(status) => self.web.iter_mut().for_each(|web| web.status = status),
                Disturbance::Moves(from, to) => {
                    self.listening.remove(&from);
                    self.listening.insert(to);
                }
                Disturbance::Closes(port) => {
                    self.listening.remove(&port);
                }
            }
        }
    }
}
