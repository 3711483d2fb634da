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
    /// Moving a guest to another node: 256 GiB of memory over 1 Gbit/s (110 MB/s) take 42 min, a terabyte of local disks 2.5 h.
    pub migrate: Duration,
    /// HA moves all its guests away from a node: 20 VMs of 64 GiB, four at a time (`max_workers`), over 10 Gbit/s (1.1 GB/s shared)
    /// take 20 min; that over a slower line, and containers that take their five minutes to shut down.
    pub drain_ha: Duration,
    /// HA brings a guest back when maintenance mode is over: the same way round, but nobody waits for the node meanwhile; then it is
    /// moved from here.
    pub ha_return: Duration,
    /// HA takes up a wish for maintenance mode, or for its end: two rounds of its manager and of the node's own, 10 s each, and its
    /// manager may have to be taken over (60 s).
    pub maintenance: Duration,
    /// Ceph gets well: OSDs are back in a minute, and what was written while they were away (half an hour at most) is copied about
    /// as fast as it was written.
    pub ceph: Duration,
    /// How many guests of a host are looked at at the same time: each costs a channel or two of ten that a stock sshd allows.
    pub lookers: usize,
    /// How long a session with nothing else to do waits for hosts that the operator paused: a day, as an unfinished run is gone on
    /// with for so long.
    pub paused: Duration,
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
            migrate: Duration::from_secs(4 * 3600),
            drain_ha: Duration::from_secs(3600),
            ha_return: Duration::from_secs(30 * 60),
            maintenance: Duration::from_secs(2 * 60),
            ceph: Duration::from_secs(30 * 60),
            lookers: 4,
            paused: Duration::from_secs(24 * 3600),
            drain: Duration::from_secs(30),
        }
    }
}
