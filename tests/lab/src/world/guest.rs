//! Guests: containers and virtual machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DatasetSnapshot, Machine, Time};

/// Container or virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An LXC container.
    Ct,
    /// A QEMU virtual machine.
    Vm,
}

impl Kind {
    /// Returns the path component of the API.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Ct => "lxc",
            Self::Vm => "qemu",
        }
    }

    /// Returns how messages call it (`CT`, `VM`).
    pub fn label(self) -> &'static str {
        match self {
            Self::Ct => "CT",
            Self::Vm => "VM",
        }
    }

    /// Returns the prefix of its task types (`vz`, `qm`).
    pub fn task_prefix(self) -> &'static str {
        match self {
            Self::Ct => "vz",
            Self::Vm => "qm",
        }
    }
}

/// Power state of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It runs.
    Running,
    /// It is off.
    Stopped,
}

/// A snapshot of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Its description, as it was given.
    pub description: String,
    /// When it was taken, seconds since the Unix epoch.
    pub snaptime: i64,
    /// The snapshot that came before.
    pub parent: Option<String>,
    /// `prepare` while it is taken, `delete` while it is deleted.
    pub state: Option<String>,
    /// The machine as it was.
    pub(crate) machine: Machine,
    /// The config as it was.
    pub(crate) config: BTreeMap<String, Value>,
}

/// The guest agent of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Agent {
    /// Nothing answers within the guest, whatever its config says.
    Absent,
    /// It runs, and answers from this time on (set anew by each start).
    From(Time),
}

/// What is peculiar about a VM's agent; a test may change it while the VM runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTraits {
    /// How long it needs after a start, in milliseconds, where that is not [`super::Durations::agent_ready`].
    pub ready_ms: Option<u64>,
    /// Whether the guest's administrator keeps it from running commands.
    pub exec_disabled: bool,
    /// Whether the guest's file systems are frozen.
    pub frozen: bool,
    /// How many bytes it keeps of a command's output, and as many of its errors (16 MiB in a real one).
    pub keeps: Option<usize>,
}

/// How a guest can be reached apart from its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Users that may log in over SSH; nobody can where it is empty.
    pub ssh_users: Vec<String>,
    /// The password, where it takes one.
    pub password: Option<String>,
    /// Whether it does not know the lab's key: then only the password lets in, and what users have in their `authorized_keys`.
    pub keyless: bool,
}

/// A command that was given to a VM's agent (`agent/exec`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentExec {
    /// Its process number within the guest.
    pub pid: u32,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// What it reads from standard input.
    pub input: Option<String>,
    /// Whether a transport has taken it to run it.
    pub(crate) taken: bool,
    /// How it ended.
    pub result: Option<ExecResult>,
}

/// How a command of the agent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecResult {
    /// Its exit status.
    pub exit: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// The signal that ended it; `exit` means nothing then.
    pub signal: Option<i32>,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Its vmid.
    pub vmid: u32,
    /// Container or virtual machine.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The node that has it.
    pub node: String,
    /// The resource pool that it is in.
    pub pool: Option<String>,
    /// Its power state.
    pub power: Power,
    /// Process number of its main process on the node, while it runs.
    pub pid: u32,
    /// When that process was started, in milliseconds since the world began (negative: before). A VM that moves live has a new
    /// one, though it was not booted.
    pub started: i64,
    /// Whether it is a template.
    pub template: bool,
    /// What works on it.
    pub lock: Option<String>,
    /// Its config but for `lock`, `digest`, `template`: values with the JSON type that the API gives them.
    pub config: BTreeMap<String, Value>,
    /// Size of its root disk in bytes.
    pub disk_bytes: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The snapshot that its present state descends from.
    pub parent: Option<String>,
    /// Snapshots of its ZFS datasets, oldest first: those that Proxmox VE has taken, and others.
    pub dataset_snapshots: Vec<DatasetSnapshot>,
    /// Whether something of its node's own (`sanoid`) takes a snapshot of its datasets right after each that Proxmox VE takes.
    pub auto_snapshots: bool,
    /// Its addresses, as its agent or its node tells them (loopback left out).
    pub addresses: Vec<String>,
    /// Whether docker runs in it, with bridges of its own.
    #[serde(default)]
    pub docker: bool,
    /// Its agent; containers have none.
    pub agent: Agent,
    /// What is peculiar about its agent.
    pub agent_traits: AgentTraits,
    /// How it can be reached apart from its node.
    pub reach: Reach,
    /// Whether an orderly shutdown is obeyed.
    pub obeys_shutdown: bool,
    /// Counts how often its disk was put back to an earlier state: what was written since is gone.
    pub disk_generation: u64,
    /// Commands given to its agent.
    pub agent_execs: Vec<AgentExec>,
    /// How many commands its agent was ever given.
    pub(crate) agent_pids: u32,
    /// Its system. Meaningless while it is stopped, but for its packages and names.
    pub machine: Machine,
}

impl Snapshot {
    /// Returns the guest's config as it was.
    pub fn config(&self) -> &BTreeMap<String, Value> {
        &self.config
    }
}

impl Guest {
    /// Tells whether it runs.
    pub fn running(&self) -> bool {
        self.power == Power::Running
    }

    /// Returns its volumes (`rootfs`, `mp0`, `scsi0`, ...) with their volume identifiers; a bind mount has none.
    pub fn volumes(&self) -> Vec<(String, Option<String>)> {
        let is_volume = |key: &str| {
            let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
            match self.kind {
                Kind::Ct => key == "rootfs" || (stem == "mp" && stem != key),
                Kind::Vm => stem != key && ["scsi", "virtio", "ide", "sata", "efidisk", "tpmstate"].contains(&stem),
            }
        };
        let volid = |value: &Value| {
            let first = value.as_str()?.split(',').next()?;
            first.contains(':').then(|| first.to_owned())
        };
        let is_disk = |value: &Value| !value.as_str().is_some_and(is_cdrom);
        let volumes = self.config.iter().filter(|(key, value)| is_volume(key) && is_disk(value));
        volumes.map(|(key, value)| (key.clone(), volid(value))).collect()
    }

    /// Returns the images in a VM's CD drives.
    pub fn cdroms(&self) -> Vec<String> {
        let drives = self.config.values().filter_map(Value::as_str).filter(|value| is_cdrom(value));
        drives.filter_map(|v| v.split(',').next()).filter(|v| v.contains(':')).map(str::to_owned).collect()
    }

    /// Returns the devices of its node that a VM uses (`hostpci0`, `usb1`): with one it can't move.
    pub fn local_resources(&self) -> Vec<String> {
        let is_device = |key: &str| {
            let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
            stem != key && ["hostpci", "usb"].contains(&stem)
        };
        let own = |value: &Value| value.as_str().is_none_or(|v| !v.starts_with("spice") && !v.contains("mapping="));
        let used = self.config.iter().filter(|(key, value)| self.kind == Kind::Vm && is_device(key) && own(value));
        used.map(|(key, _)| key.clone()).collect()
    }
}

/// Tells whether a value of a VM's config is of a CD drive.
fn is_cdrom(value: &str) -> bool {
    value.split(',').any(|part| part == "media=cdrom")
}
