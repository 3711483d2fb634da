//! Faults on demand: what goes wrong, where, and how often. All of it is plain data, so that it can come from JSON.
//!
//! ```
//! let faults: Vec<proxmaint_lab::faults::Fault> = serde_json::from_str(
//!     r#"[
//!         {"on": "task", "kind": "vzsnapshot", "vmid": 101, "effect": {"fail": {"text": "zfs error: out of space"}}},
//!         {"on": "request", "method": "GET", "path": "/nodes/*/lxc", "effect": {"status": {"code": 502}}, "nth": 2},
//!         {"on": "upgrade", "machine": "103", "effect": "hang"},
//!         {"on": "ha", "node": "pve1", "effect": "drain-never-ends"},
//!         {"on": "command", "machine": "pve1", "pattern": "*apt-get*", "effect": {"cut": {"after_ms": 50}}}
//!     ]"#,
//! )?;
//! # assert_eq!(faults.len(), 5);
//! # Ok::<(), serde_json::Error>(())
//! ```

use serde::{Deserialize, Serialize};

/// One fault: where it strikes, and at which of the matching occasions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where it strikes, and what it does.
    #[serde(flatten)]
    pub site: Site,
    /// Strikes from the n-th matching occasion on, counted from 1.
    #[serde(default = "one")]
    pub nth: u32,
    /// Strikes this often (`0`: for ever).
    #[serde(default = "one")]
    pub times: u32,
    /// How many matching occasions there were.
    #[serde(default)]
    pub seen: u32,
}

fn one() -> u32 {
    1
}

/// Where a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub enum Site {
    /// A task, when it begins.
    Task {
        /// Pattern of its type (`vzsnapshot`, `*snapshot`, `vzdump`).
        kind: String,
        /// The guest, or any.
        #[serde(default)]
        vmid: Option<u32>,
        /// The node, or any.
        #[serde(default)]
        node: Option<String>,
        /// What happens.
        effect: TaskFault,
    },
    /// A request to the API.
    Request {
        /// Pattern of the method.
        #[serde(default = "any")]
        method: String,
        /// Pattern of the path, without `/api2/json` and without the query (`/nodes/*/lxc/101/snapshot`).
        path: String,
        /// The node that was addressed, or any.
        #[serde(default)]
        node: Option<String>,
        /// What happens.
        effect: RequestFault,
    },
    /// An upgrade of a machine's packages, when it begins.
    Upgrade {
        /// The machine: a node's name, a vmid, `realm/vmid`, or `*`.
        machine: String,
        /// What happens.
        effect: UpgradeFault,
    },
    /// A refresh of a machine's package lists fails with this exit status.
    Refresh {
        /// The machine: a node's name, a vmid, `realm/vmid`, or `*`.
        machine: String,
        /// The exit status.
        exit: i32,
    },
    /// A node's HA maintenance, when it is asked to begin or to end.
    Ha {
        /// Pattern of the node.
        node: String,
        /// What happens.
        effect: HaFault,
    },
    /// A command over SSH.
    Command {
        /// The machine that was logged in to: a node's name, a vmid, `realm/vmid`, or `*`.
        machine: String,
        /// Pattern of the command line.
        pattern: String,
        /// What happens.
        effect: CommandFault,
    },
}

fn any() -> String {
    "*".to_owned()
}

/// What goes wrong with a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskFault {
    /// It fails at its end with a text; its effect does not happen.
    Fail {
        /// The exit status of the task.
        text: String,
        /// Whether it leaves its lock in the guest's config, as a real failed snapshot can.
        #[serde(default)]
        leave_lock: bool,
    },
    /// It fails half-way, at its end, with a text: a container that a move has shut down stays off where it was.
    FailOff {
        /// The exit status of the task.
        text: String,
    },
    /// It never ends; its lock stays.
    Hang,
    /// Its worker dies without a trace: the task ends `unexpected status`, its effect does not happen, its lock stays.
    Vanish,
    /// Its effect happens, but the worker dies before it says so: the task ends `unexpected status`.
    DoneButVanished,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestFault {
    /// It is not executed; this status is the answer (500, 502, 596).
    Status {
        /// The HTTP status.
        code: u16,
        /// The reason phrase, where it is not the usual one.
        #[serde(default)]
        reason: Option<String>,
    },
    /// It is not executed, and no answer comes within this time; then the connection is closed.
    Silence {
        /// Milliseconds.
        ms: u64,
    },
    /// It is not executed, and the connection is closed at once.
    Refuse,
    /// It is executed, and the connection is closed without an answer.
    Lost,
    /// It is executed, and its answer comes late.
    Late {
        /// Milliseconds.
        ms: u64,
    },
}

/// What goes wrong with an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeFault {
    /// It exits with this status and has changed nothing.
    Exit {
        /// The exit status.
        code: i32,
    },
    /// It leaves its last package half-configured and exits with this status.
    HalfConfigure {
        /// The exit status.
        code: i32,
    },
    /// It never ends.
    Hang,
    /// It takes this much longer.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
}

/// What goes wrong with a node's HA maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaFault {
    /// It begins, but the node's guests stay where they are: the drain never ends.
    DrainNeverEnds,
    /// It ends, but the guests that it has moved away don't come back.
    NeverBack,
}

/// What goes wrong with a command over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandFault {
    /// The connection is cut this long after the command began; the command goes on.
    Cut {
        /// Milliseconds.
        after_ms: u64,
    },
    /// The connection is cut before the command is begun: it never runs.
    CutBefore,
    /// The connection is cut when the command has ended, before its exit status is sent.
    CutAtEnd,
    /// The command begins late.
    Late {
        /// Milliseconds.
        ms: u64,
    },
}

impl Fault {
    /// Makes a fault that strikes once, at the first matching occasion.
    pub fn new(site: Site) -> Self {
        Self { site, nth: 1, times: 1, seen: 0 }
    }

    /// Makes a task of a type (a pattern) fail, hang or vanish; `vmid` 0 means any guest.
    pub fn task(kind: &str, vmid: u32, effect: TaskFault) -> Self {
        Self::new(Site::Task { kind: kind.to_owned(), vmid: (vmid != 0).then_some(vmid), node: None, effect })
    }

    /// Makes a request fail, by patterns of method and path.
    pub fn request(method: &str, path: &str, effect: RequestFault) -> Self {
        Self::new(Site::Request { method: method.to_owned(), path: path.to_owned(), node: None, effect })
    }

    /// Makes an upgrade of a machine fail.
    pub fn upgrade(machine: &str, effect: UpgradeFault) -> Self {
        Self::new(Site::Upgrade { machine: machine.to_owned(), effect })
    }

    /// Makes a node's HA maintenance fail: the drain that it begins with, or the return of the guests that it ends with.
    pub fn ha(node: &str, effect: HaFault) -> Self {
        Self::new(Site::Ha { node: node.to_owned(), effect })
    }

    /// Makes a command over SSH fail.
    pub fn command(machine: &str, pattern: &str, effect: CommandFault) -> Self {
        Self::new(Site::Command { machine: machine.to_owned(), pattern: pattern.to_owned(), effect })
    }

    /// Strikes from the n-th matching occasion on (from 1).
    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = nth;
        self
    }

    /// Strikes this often; 0 is for ever.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Counts an occasion that matches and tells whether the fault strikes.
    fn strikes(&mut self) -> bool {
        self.seen = self.seen.saturating_add(1);
        let from = self.nth.max(1);
        self.seen >= from && (self.times == 0 || self.seen < from.saturating_add(self.times))
    }
}

/// The faults that are planted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults {
    planted: Vec<Fault>,
}

impl Faults {
    /// Plants a fault.
    pub fn plant(&mut self, fault: Fault) {
        self.planted.push(fault);
    }

    /// Removes all faults.
    pub fn clear(&mut self) {
        self.planted.clear();
    }

    /// Returns what is planted.
    pub fn planted(&self) -> &[Fault] {
        &self.planted
    }

    /// Returns faults that never struck: a test that planted them tested nothing.
    pub fn unused(&self) -> Vec<&Fault> {
        self.planted.iter().filter(|f| f.seen < f.nth.max(1)).collect()
    }

    /// Asks what goes wrong with a command over SSH on a machine (its short name and its full name). Counts the occasion.
    pub fn command(&mut self, machine: &crate::world::MachineId, line: &str) -> Option<CommandFault> {
        self.take(|site| match site {
            Site::Command { machine: name, pattern, effect } if machine.is_called(name) && matches(pattern, line) => {
                Some(effect.clone())
            }
            _ => None,
        })
    }

    /// Asks what goes wrong with a node's HA maintenance that is to begin, or to end. Counts the occasion.
    pub fn ha(&mut self, node: &str, begins: bool) -> Option<HaFault> {
        let fits = |effect: HaFault| (effect == HaFault::DrainNeverEnds) == begins;
        self.take(|site| match site {
            Site::Ha { node: pattern, effect } if matches(pattern, node) && fits(*effect) => Some(*effect),
            _ => None,
        })
    }

    /// Asks what goes wrong with a task. Counts the occasion.
    pub fn task(&mut self, node: &str, kind: &str, vmid: Option<u32>) -> Option<TaskFault> {
        self.take(|site| match site {
            Site::Task { kind: pattern, vmid: want, node: on, effect }
                if matches(pattern, kind)
                    && want.is_none_or(|w| vmid == Some(w))
                    && on.as_ref().is_none_or(|n| n == node) =>
            {
                Some(effect.clone())
            }
            _ => None,
        })
    }

    /// Asks what goes wrong with a request. Counts the occasion.
    pub fn request(&mut self, node: &str, method: &str, path: &str) -> Option<RequestFault> {
        self.take(|site| match site {
            Site::Request { method: m, path: p, node: on, effect }
                if matches(m, method) && matches(p, path) && on.as_ref().is_none_or(|n| n == node) =>
            {
                Some(effect.clone())
            }
            _ => None,
        })
    }

    /// Asks what goes wrong with an upgrade. Counts the occasion.
    pub fn upgrade(&mut self, machine: &crate::world::MachineId) -> Option<UpgradeFault> {
        self.take(|site| match site {
            Site::Upgrade { machine: name, effect } if machine.is_called(name) => Some(effect.clone()),
            _ => None,
        })
    }

    /// Asks whether a refresh fails, and with which exit status. Counts the occasion.
    pub fn refresh(&mut self, machine: &crate::world::MachineId) -> Option<i32> {
        self.take(|site| match site {
            Site::Refresh { machine: name, exit } if machine.is_called(name) => Some(*exit),
            _ => None,
        })
    }

    /// Counts an occasion in every fault that matches it; the first that strikes decides.
    fn take<E>(&mut self, effect: impl Fn(&Site) -> Option<E>) -> Option<E> {
        let mut decided = None;
        for fault in &mut self.planted {
            if let Some(effect) = effect(&fault.site)
                && fault.strikes()
                && decided.is_none()
            {
                decided = Some(effect);
            }
        }
        decided
    }
}

/// Tells whether a text matches a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text() {
        assert!(matches("/nodes/*/lxc", "/nodes/pve1/lxc"));
        assert!(!matches("/nodes/*/lxc", "/nodes/pve1/lxc/101"));
        assert!(matches("*snapshot", "vzsnapshot"));
        assert!(!matches("*snapshot", "vzdump"));
        assert!(matches("*a*b*", "xxaxxbxx"));
        assert!(!matches("*a*b*", "xxbxxaxx"));
        assert!(!matches("aa*aa", "aaa"), "a text is not used twice");
        assert!(matches("*", ""));
    }

    #[test]
    fn a_fault_strikes_at_its_occasions_only() {
        let mut faults = Faults::default();
        faults.plant(Fault::request("GET", "/version", RequestFault::Refuse).nth(2).times(2));
        let struck: Vec<bool> = (0..5).map(|_| faults.request("pve1", "GET", "/version").is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.request("pve1", "POST", "/version").is_none());
        assert!(faults.unused().is_empty());
    }

    #[test]
    fn faults_survive_json() {
        let fault = Fault::task("vz*", 101, TaskFault::Fail { text: "no".into(), leave_lock: true }).nth(3).times(0);
        let text = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault);
    }
}
