//! Takes the policy out of the manifest: what the operator wants, apart from how hosts are reached.

use std::collections::{BTreeSet, HashMap};

use std::time::Duration;

use crate::ids::{GuestId, HostId};
use crate::manifest::{GuestEntry, HostEntry, Manifest, Wanted};
use crate::plan::{BackupSettings, GuestRule, GuestSettings, HostPolicy, Retention, RunPolicy};

/// The hosts that a command is about.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// These only; all where empty.
    pub hosts: Vec<String>,
    /// At most so many, in the manifest's order.
    pub max_hosts: Option<u32>,
}

/// A host was named that the manifest does not have.
#[derive(Debug, thiserror::Error)]
#[error("the manifest has no host {name}")]
pub struct NoSuchHost {
    /// The name.
    pub name: String,
    /// The names that there are.
    pub known: Vec<String>,
}

impl Selection {
    /// Tells whether hosts may be left out.
    pub fn is_partial(&self) -> bool {
        !self.hosts.is_empty() || self.max_hosts.is_some()
    }

    /// Returns the entries that are meant, in the manifest's order.
    ///
    /// # Errors
    /// A name that the manifest does not have.
    pub fn of<'a>(&self, manifest: &'a Manifest) -> Result<Vec<&'a HostEntry>, NoSuchHost> {
        for name in &self.hosts {
            if manifest.host(&HostId::new(name.as_str())).is_none() {
                let known = manifest.hosts.iter().map(|entry| entry.id.to_string()).collect();
                return Err(NoSuchHost { name: name.clone(), known });
            }
        }
        let wanted = |entry: &&HostEntry| self.hosts.is_empty() || self.hosts.iter().any(|n| n == entry.id.as_str());
        let most = self.max_hosts.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        Ok(manifest.hosts.iter().filter(wanted).take(most).collect())
    }
}

/// Returns the policy of these hosts.
pub fn run_policy<'a>(entries: impl IntoIterator<Item = &'a HostEntry>, parallel_hosts: u32) -> RunPolicy {
    RunPolicy { parallel_hosts, hosts: entries.into_iter().map(host_policy).collect() }
}

/// Returns the policy of one host.
pub fn host_policy(entry: &HostEntry) -> HostPolicy {
    let listed = |managed: bool| -> BTreeSet<GuestId> {
        let entries = entry.inventory.iter().flat_map(|inventory| &inventory.entries);
        entries.filter(|guest| guest.managed == Some(managed)).map(|guest| guest.id).collect()
    };
    let Wanted { include, exclude, host_reboot, lock_wait, backup, snapshots, .. } = &entry.wanted;
    HostPolicy {
        node: entry.api.node.clone(),
        max_parallel: entry.max_parallel.get(),
        unmanaged: listed(false),
        declared: listed(true),
        protect_max_age_ms: millis(entry.protect_max_age),
        include: include.clone(),
        exclude: exclude.clone(),
        guests: guest_settings(&entry.wanted),
        rules: entry.guests.iter().map(guest_rule).collect(),
        reboot: *host_reboot,
        lock_wait_ms: millis(*lock_wait),
        keep: Retention {
            snapshots_for_ms: millis(snapshots.time),
            snapshots_last: snapshots.last,
            backups_for_ms: millis(backup.keep.time),
            backups_last: backup.keep.last,
        },
        // What is said on the command line (`only`, `scope`, `--reboot`) is put over this: see `Aim`.
        ..HostPolicy::new(entry.id.clone())
    }
}

fn guest_settings(wanted: &Wanted) -> GuestSettings {
    GuestSettings {
        via: wanted.via,
        stopped: wanted.stopped,
        protect: wanted.protect.clone(),
        reboot: wanted.guest_reboot,
        backup: BackupSettings {
            storage: wanted.backup.storage.clone(),
            mode: wanted.backup.mode,
            compress: wanted.backup.compress,
            lock_wait_ms: millis(wanted.backup.lock_wait),
        },
    }
}

/// Returns a rule's policy; how its guest is reached is none.
fn guest_rule(entry: &GuestEntry) -> GuestRule {
    GuestRule {
        who: entry.who.clone(),
        managed: entry.managed,
        via: entry.via,
        stopped: entry.stopped,
        protect: entry.protect.clone(),
        reboot: entry.reboot,
        backup_storage: entry.backup_storage.clone(),
        backup_mode: entry.backup_mode,
        backup_compress: entry.backup_compress,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Lists, in words, where the manifest's present policy differs from the one that a run was opened with. Hosts that are new
/// are no difference: they simply join the run.
pub fn differences(frozen: &RunPolicy, present: &RunPolicy) -> Vec<String> {
    let present: HashMap<&HostId, &HostPolicy> = present.hosts.iter().map(|new| (&new.host, new)).collect();
    let mut out = Vec::new();
    for old in &frozen.hosts {
        match present.get(&old.host) {
            Some(new) => out.extend(old.differences(new)),
            None => out.push(format!("{}: is not in the manifest any more", old.host)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_one_thing_in_manifest_and_policy() {
        let text = "[[hosts]]\nhost = \"pve1\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n";
        let manifest = Manifest::parse(std::path::Path::new("/etc/fleet/m.toml"), text.as_bytes(), &|_| None).unwrap();
        assert_eq!(host_policy(&manifest.hosts[0]), HostPolicy::new(HostId::new("pve1")));
    }
}
