//! How long things may take before they count as "not known".

use std::time::Duration;

/// The bounds of the engine's waits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A snapshot: seconds by nature; ten minutes is a storage in deep trouble.
    pub snapshot: Duration,
    /// A rollback: ZFS and thin pools take seconds; a VM that hangs is killed within two minutes, and a qcow2 of a terabyte is
    /// rewritten in twenty.
    pub rollback: Duration,
    /// A backup: a terabyte at 50 MB/s takes 5.6 h, and others may be in the queue before it.
    pub backup: Duration,
    /// An upgrade of packages: a slow mirror and a slow disk; two hours is stuck at a question or a lock.
    pub upgrade: Duration,
    /// How long a service of a node may take to be up again after its package was upgraded.
    pub settle: Duration,
    /// How long a guest may take to do as before after its upgrade: packages restart their own services, which come up within
    /// seconds; a check that needs longer has retries of its own. After a reboot it is `boot`.
    pub recover: Duration,
    /// Starting a guest: a VM's start waits for its devices; five minutes is stuck.
    pub start: Duration,
    /// A guest that was started, or rebooted, answers: the agent may need two minutes after a boot, a check of a large disk more.
    pub boot: Duration,
    /// Shutting a guest down: databases write for minutes.
    pub shutdown: Duration,
    /// Shutting all guests of a node down, one order after the other, each within `shutdown`.
    pub shutdown_all: Duration,
    /// A node's reboot: firmware of large servers takes ten minutes, PVE's own shutdown up to three, daemons one.
    pub reboot: Duration,
    /// The node's own start of its guests, with their delays (`up=`), and then those that are missing.
    pub start_all: Duration,
    /// How many guests of a host are looked at at the same time: each costs a channel or two of ten that a stock sshd allows.
    pub lookers: usize,
    /// How long steps that can't be left alone may go on after the operator asked to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            snapshot: Duration::from_secs(10 * 60),
            rollback: Duration::from_secs(30 * 60),
            backup: Duration::from_secs(8 * 3600),
            upgrade: Duration::from_secs(2 * 3600),
            settle: Duration::from_secs(60),
            recover: Duration::from_secs(30),
            start: Duration::from_secs(5 * 60),
            boot: Duration::from_secs(5 * 60),
            shutdown: Duration::from_secs(5 * 60),
            shutdown_all: Duration::from_secs(30 * 60),
            reboot: Duration::from_secs(30 * 60),
            start_all: Duration::from_secs(30 * 60),
            lookers: 4,
            drain: Duration::from_secs(30),
        }
    }
}
