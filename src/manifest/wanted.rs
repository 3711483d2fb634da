//! What a manifest wants done, apart from how hosts are reached: which guests, by which way, with which protection, and
//! what may be rebooted. It becomes the policy of a run.

use std::path::PathBuf;
use std::time::Duration;

use crate::choices::health::HealthCheck;
use crate::choices::{
    BackupMode, Compression, GuestReboot, HostReboot, OnFailure, ProtectChoice, Selector, Stopped, ViaChoice,
};
use crate::ids::GuestId;

/// What is wanted of a host and its guests, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `guests.include`: which guests are maintained; all where empty.
    pub include: Vec<Selector>,
    /// `guests.exclude`: which guests are left alone.
    pub exclude: Vec<Selector>,
    /// `via`: the way into guests.
    pub via: ViaChoice,
    /// `stopped`: what is done about guests that don't run.
    pub stopped: Stopped,
    /// `protect`: how guests are protected, best way first; never empty, and `none` only alone.
    pub protect: Vec<ProtectChoice>,
    /// `on_failure`: what is done about a guest whose upgrade failed.
    pub on_failure: OnFailure,
    /// `guest.reboot`: whether VMs are rebooted after their upgrade.
    pub guest_reboot: GuestReboot,
    /// `host.reboot`: whether the node is rebooted after its upgrade.
    pub host_reboot: HostReboot,
    /// `allow_quorum_loss`: whether a reboot may cost the other node of a cluster of two its quorum.
    pub allow_quorum_loss: bool,
    /// `checks`: what guests are asked before and after their upgrade.
    pub checks: Vec<HealthCheck>,
    /// `lock_wait`: how long a guest's lock is waited for.
    pub lock_wait: Duration,
    /// `backup.*`.
    pub backup: Backup,
    /// `snapshot.keep_for`, `snapshot.keep_last`.
    pub snapshots: Keep,
}

/// How backups are made and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// `backup.storage`; `None` for the one with the most room.
    pub storage: Option<String>,
    /// `backup.mode`.
    pub mode: BackupMode,
    /// `backup.compress`.
    pub compress: Compression,
    /// `backup.lock_wait`: how long vzdump waits for the node's backup lock.
    pub lock_wait: Duration,
    /// `backup.keep_for`, `backup.keep_last`.
    pub keep: Keep,
}

/// How long what was made here is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// `keep_for`: how long after a verified success.
    pub time: Duration,
    /// `keep_last`: how many of a guest's newest ones however old they are.
    pub last: u32,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Default for Wanted {
    fn default() -> Self {
        Self {
            include: Vec::new(),
            exclude: Vec::new(),
            via: ViaChoice::Auto,
            stopped: Stopped::Skip,
            protect: vec![ProtectChoice::Snapshot, ProtectChoice::Backup],
            on_failure: OnFailure::Keep,
            guest_reboot: GuestReboot::Never,
            host_reboot: HostReboot::Never,
            allow_quorum_loss: false,
            checks: Vec::new(),
            lock_wait: Duration::from_secs(600),
            backup: Backup {
                storage: None,
                mode: BackupMode::Snapshot,
                compress: Compression::Zstd,
                lock_wait: 3 * HOUR,
                keep: Keep { time: 7 * 24 * HOUR, last: 1 },
            },
            snapshots: Keep { time: 24 * HOUR, last: 0 },
        }
    }
}

/// One `[[hosts.guests]]`: what holds for the guests that it names; `None` for what is left to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestEntry {
    /// `id` or `match`.
    pub who: Selector,
    /// `managed`: declared as ours (`true`) or to be left alone (`false`).
    pub managed: Option<bool>,
    /// `via`.
    pub via: Option<ViaChoice>,
    /// `stopped`.
    pub stopped: Option<Stopped>,
    /// `protect`; never empty.
    pub protect: Option<Vec<ProtectChoice>>,
    /// `on_failure`.
    pub on_failure: Option<OnFailure>,
    /// `reboot`.
    pub reboot: Option<GuestReboot>,
    /// `checks`; an empty list is one.
    pub checks: Option<Vec<HealthCheck>>,
    /// `backup.storage`.
    pub backup_storage: Option<String>,
    /// `backup.mode`.
    pub backup_mode: Option<BackupMode>,
    /// `backup.compress`.
    pub backup_compress: Option<Compression>,
    /// `address`: a hint where it may be reached. It and the next three stand with `id` only.
    pub address: Option<String>,
    /// `user`: the login.
    pub user: Option<String>,
    /// `identity_file`: the private key, absolute.
    pub identity_file: Option<PathBuf>,
    /// `password_env`: the environment variable that holds the password.
    pub password_env: Option<String>,
    /// Keys that mean nothing here, as dotted paths. Their values are not kept.
    pub unknown_keys: Vec<String>,
}

impl GuestEntry {
    /// Returns the guest, where it is about a single one.
    pub fn id(&self) -> Option<GuestId> {
        match self.who {
            Selector::Id(id) => Some(id),
            _ => None,
        }
    }

    /// Tells whether it says how the guest is reached over SSH: an address, or who logs in with what.
    pub fn knows_login(&self) -> bool {
        self.address.is_some() || self.user.is_some() || self.identity_file.is_some() || self.password_env.is_some()
    }
}
