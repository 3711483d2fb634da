//! What `manifest show --output json` prints. A later version may add keys; it takes none away.

use std::path::Path;

use serde::Serialize;

use crate::choices::health::HealthCheck;
use crate::choices::{
    BackupMode, Compression, GuestReboot, HostReboot, OnFailure, ProtectChoice, Selector, Stopped, ViaChoice,
};
use crate::ids::GuestKind;
use crate::manifest::{GuestEntry, GuestInventory, HostEntry, InventoryEntry, Manifest, Wanted};

/// What `manifest show --output json` prints.
#[derive(Debug, Serialize)]
pub(super) struct ManifestView<'a> {
    hosts: Vec<HostView<'a>>,
}

impl<'a> ManifestView<'a> {
    pub(super) fn new(manifest: &'a Manifest) -> Self {
        Self { hosts: manifest.hosts.iter().map(HostView::new).collect() }
    }
}

/// One host of it. The first fifteen keys are an interface that other programs rely on.
#[derive(Debug, Serialize)]
struct HostView<'a> {
    name: &'a str,
    host: &'a str,
    user: &'a str,
    identity_file: Option<String>,
    ssh_extra_args: &'a [String],
    guest_user: &'a str,
    guest_identity_file: Option<String>,
    guest_ssh_extra_args: &'a [String],
    api_node: Option<&'a str>,
    api_port: u16,
    api_insecure: bool,
    api_token_env: &'a str,
    api_secret_env: &'a str,
    max_parallel: u32,
    dry_run: bool,
    api_ca_file: Option<String>,
    api_fingerprint: Option<String>,
    protect_max_age_seconds: u64,
    password_env: Option<&'a str>,
    guest_password_env: Option<&'a str>,
    guests_include: &'a [Selector],
    guests_exclude: &'a [Selector],
    via: ViaChoice,
    stopped: Stopped,
    protect: &'a [ProtectChoice],
    snapshot_keep_for_seconds: u64,
    snapshot_keep_last: u32,
    backup_storage: Option<&'a str>,
    backup_mode: BackupMode,
    backup_compress: Compression,
    backup_lock_wait_seconds: u64,
    backup_keep_for_seconds: u64,
    backup_keep_last: u32,
    lock_wait_seconds: u64,
    on_failure: OnFailure,
    guest_reboot: GuestReboot,
    host_reboot: HostReboot,
    allow_quorum_loss: bool,
    checks: &'a [HealthCheck],
    guests: Vec<GuestView<'a>>,
    guest_inventory: Option<InventoryView<'a>>,
    unknown_keys: &'a [String],
}

impl<'a> HostView<'a> {
    fn new(host: &'a HostEntry) -> Self {
        let Wanted {
            include,
            exclude,
            via,
            stopped,
            protect,
            on_failure,
            guest_reboot,
            host_reboot,
            allow_quorum_loss,
            checks,
            lock_wait,
            backup,
            snapshots,
        } = &host.wanted;
        Self {
            name: host.id.as_str(),
            host: &host.host,
            user: &host.ssh.user,
            identity_file: host.ssh.identity_file.as_deref().map(shown),
            ssh_extra_args: &host.ssh.extra_args,
            guest_user: &host.guest_ssh.user,
            guest_identity_file: host.guest_ssh.identity_file.as_deref().map(shown),
            guest_ssh_extra_args: &host.guest_ssh.extra_args,
            api_node: host.api.node.as_ref().map(|node| node.as_str()),
            api_port: host.api.port,
            api_insecure: host.api.insecure,
            api_token_env: &host.api.token_env,
            api_secret_env: &host.api.secret_env,
            max_parallel: host.max_parallel.get(),
            dry_run: host.dry_run,
            api_ca_file: host.api.ca_file.as_deref().map(shown),
            api_fingerprint: host.api.fingerprint.map(|fingerprint| fingerprint.to_string()),
            protect_max_age_seconds: host.protect_max_age.as_secs(),
            password_env: host.ssh.password_env.as_deref(),
            guest_password_env: host.guest_ssh.password_env.as_deref(),
            guests_include: include,
            guests_exclude: exclude,
            via: *via,
            stopped: *stopped,
            protect,
            snapshot_keep_for_seconds: snapshots.time.as_secs(),
            snapshot_keep_last: snapshots.last,
            backup_storage: backup.storage.as_deref(),
            backup_mode: backup.mode,
            backup_compress: backup.compress,
            backup_lock_wait_seconds: backup.lock_wait.as_secs(),
            backup_keep_for_seconds: backup.keep.time.as_secs(),
            backup_keep_last: backup.keep.last,
            lock_wait_seconds: lock_wait.as_secs(),
            on_failure: *on_failure,
            guest_reboot: *guest_reboot,
            host_reboot: *host_reboot,
            allow_quorum_loss: *allow_quorum_loss,
            checks,
            guests: host.guests.iter().map(GuestView::new).collect(),
            guest_inventory: host.inventory.as_ref().map(InventoryView::new),
            unknown_keys: &host.unknown_keys,
        }
    }
}

/// One `[[hosts.guests]]`; `null` for what is left to the host.
#[derive(Debug, Serialize)]
struct GuestView<'a> {
    #[serde(rename = "match")]
    who: &'a Selector,
    managed: Option<bool>,
    via: Option<ViaChoice>,
    stopped: Option<Stopped>,
    protect: Option<&'a [ProtectChoice]>,
    on_failure: Option<OnFailure>,
    reboot: Option<GuestReboot>,
    checks: Option<&'a [HealthCheck]>,
    backup_storage: Option<&'a str>,
    backup_mode: Option<BackupMode>,
    backup_compress: Option<Compression>,
    address: Option<&'a str>,
    user: Option<&'a str>,
    identity_file: Option<String>,
    password_env: Option<&'a str>,
    unknown_keys: &'a [String],
}

impl<'a> GuestView<'a> {
    fn new(rule: &'a GuestEntry) -> Self {
        Self {
            who: &rule.who,
            managed: rule.managed,
            via: rule.via,
            stopped: rule.stopped,
            protect: rule.protect.as_deref(),
            on_failure: rule.on_failure,
            reboot: rule.reboot,
            checks: rule.checks.as_deref(),
            backup_storage: rule.backup_storage.as_deref(),
            backup_mode: rule.backup_mode,
            backup_compress: rule.backup_compress,
            address: rule.address.as_deref(),
            user: rule.user.as_deref(),
            identity_file: rule.identity_file.as_deref().map(shown),
            password_env: rule.password_env.as_deref(),
            unknown_keys: &rule.unknown_keys,
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A host's inventory: everything but passwords.
#[derive(Debug, Serialize)]
struct InventoryView<'a> {
    version: u32,
    ssh_public_key: Option<&'a str>,
    updated_at: Option<&'a str>,
    entries: Vec<EntryView<'a>>,
}

impl<'a> InventoryView<'a> {
    fn new(inventory: &'a GuestInventory) -> Self {
        Self {
            version: inventory.version,
            ssh_public_key: inventory.ssh_public_key.as_deref(),
            updated_at: inventory.updated_at.as_deref(),
            entries: inventory.entries.iter().map(EntryView::new).collect(),
        }
    }
}

/// One guest of it. Of a `password` it tells only that there is one.
#[derive(Debug, Serialize)]
struct EntryView<'a> {
    kind: GuestKind,
    id: String,
    name: Option<&'a str>,
    status: Option<&'a str>,
    ip: Option<&'a str>,
    user: Option<&'a str>,
    managed: Option<bool>,
    ssh_verified: Option<bool>,
    ssh_key_path: Option<String>,
    last_checked: Option<&'a str>,
    password_env: Option<&'a str>,
    has_password: bool,
    notes: Option<&'a str>,
}

impl<'a> EntryView<'a> {
    fn new(entry: &'a InventoryEntry) -> Self {
        Self {
            kind: entry.kind,
            id: entry.id.to_string(),
            name: entry.name.as_deref(),
            status: entry.status.as_deref(),
            ip: entry.ip.as_deref(),
            user: entry.user.as_deref(),
            managed: entry.managed,
            ssh_verified: entry.ssh_verified,
            ssh_key_path: entry.ssh_key_path.as_deref().map(shown),
            last_checked: entry.last_checked.as_deref(),
            password_env: entry.password_env.as_deref(),
            has_password: entry.password.is_some(),
            notes: entry.notes.as_deref(),
        }
    }
}
