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
    let Wanted { include, exclude, host_reboot, allow_quorum_loss, lock_wait, backup, snapshots, .. } = &entry.wanted;
    HostPolicy {
        node: entry.api.node.clone(),
        max_parallel: entry.max_parallel.get(),
        unmanaged: listed(false),
        declared: listed(true),
        protect_max_age_ms: millis(entry.protect_max_age),
        include: include.clone(),
        exclude: exclude.clone(),
        guests: guest_settings(&entry.wanted),
        rules: entry.guests.iter().filter_map(guest_rule).collect(),
        reboot: *host_reboot,
        allow_quorum_loss: *allow_quorum_loss,
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
        on_failure: wanted.on_failure,
        reboot: wanted.guest_reboot,
        backup: BackupSettings {
            storage: wanted.backup.storage.clone(),
            mode: wanted.backup.mode,
            compress: wanted.backup.compress,
            lock_wait_ms: millis(wanted.backup.lock_wait),
        },
        checks: wanted.checks.clone(),
    }
}

/// Returns a rule's policy. How its guest is reached is none: a rule that says nothing else has none.
fn guest_rule(entry: &GuestEntry) -> Option<GuestRule> {
    let silent = GuestRule::new(entry.who.clone());
    let rule = GuestRule {
        who: entry.who.clone(),
        managed: entry.managed,
        via: entry.via,
        stopped: entry.stopped,
        protect: entry.protect.clone(),
        on_failure: entry.on_failure,
        reboot: entry.reboot,
        backup_storage: entry.backup_storage.clone(),
        backup_mode: entry.backup_mode,
        backup_compress: entry.backup_compress,
        checks: entry.checks.clone(),
    };
    (rule != silent).then_some(rule)
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
    use crate::choices::{ProtectChoice, Traits, ViaChoice};
    use crate::ids::GuestKind;

    fn policy(lines: &str) -> HostPolicy {
        let text = format!("[[hosts]]\nhost = \"pve1\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n{lines}\n");
        let manifest = Manifest::parse(std::path::Path::new("/etc/fleet/m.toml"), text.as_bytes(), &|_| None);
        host_policy(&manifest.unwrap_or_else(|error| panic!("{error}")).hosts[0])
    }

    /// Of guest 101, a CT, with the tags `prod` and `web` in the pool `shop`.
    fn left_out(lines: &str) -> Option<String> {
        let tags = ["prod".to_owned(), "web".to_owned()];
        let guest = Traits { id: GuestId(101), kind: GuestKind::Ct, name: "web-1", tags: &tags, pool: Some("shop") };
        policy(lines).left_out(&guest).map(|reason| reason.to_string())
    }

    #[test]
    fn guests_are_selected_by_tag_and_pool() {
        assert_eq!(left_out(""), None);
        for lines in ["guests.include = \"tag:prod\"", "guests.include = \"pool:sh*\"", "guests.exclude = \"!tag:web\""]
        {
            assert_eq!(left_out(lines), None, "{lines}");
        }
        assert_eq!(left_out("guests.include = \"tag:test\"").as_deref(), Some("left out: not in guests.include"));
        let excluded = left_out("guests.exclude = [\"102\", \"pool:shop\"]");
        assert_eq!(excluded.as_deref(), Some("left out: guests.exclude (pool:shop)"));
        assert_eq!(left_out("guests = [{ match = \"tag:prod\", managed = false }]").as_deref(), Some("not managed"));
    }

    #[test]
    fn the_tag_that_keeps_a_guest_out_goes_before_everything_that_lets_it_in() {
        let tags = [crate::plan::SKIP_TAG.to_owned()];
        let guest = Traits { id: GuestId(101), kind: GuestKind::Ct, name: "web", tags: &tags, pool: None };
        let policy = policy("guests_include = \"101\"\nguests = [{ id = 101, managed = true }]");
        let reason = policy.left_out(&guest).map(|reason| reason.to_string());
        assert_eq!(reason.as_deref(), Some("left out: has the tag proxmaint-skip"));
    }

    #[test]
    fn everything_that_is_wanted_is_policy() {
        let lines = "guests_include = \"1\"\nguests_exclude = \"2\"\nvia = \"ssh\"\nstopped = \"start\"\nprotect = \"none\"\n\
             backup = { storage = \"dump\", mode = \"stop\", compress = \"lzo\", lock_wait = \"1m\", keep_for = \"2m\", keep_last = 3 }\n\
             snapshot = { keep_for = \"4m\", keep_last = 5 }\nlock_wait = \"6m\"\nhost_reboot = \"always\"\n\
             allow_quorum_loss = true\n\
             guest.reboot = \"if-needed\"\nguests = [{ id = 104, managed = true, via = \"pct\", stopped = \"skip\", \
             protect = \"backup\", reboot = \"never\", backup = { storage = \"nfs\", mode = \"suspend\", compress = \"gzip\" } }]\n";
        let new = policy(lines);
        let rule = &new.rules[0];
        assert_eq!((rule.via, rule.protect.as_deref()), (Some(ViaChoice::Pct), Some(&[ProtectChoice::Backup][..])));
        let words: Vec<String> = policy("").differences(&new);
        insta::assert_snapshot!(words.join("\n"), @"
        pve1: guests.include none -> 1
        pve1: guests.exclude none -> 2
        pve1: via auto -> ssh
        pve1: stopped skip -> start
        pve1: protect snapshot, backup -> none
        pve1: guest.reboot never -> if-needed
        pve1: backup.storage any -> dump
        pve1: backup.mode snapshot -> stop
        pve1: backup.compress zstd -> lzo
        pve1: backup.lock_wait 10800 s -> 60 s
        pve1: host.reboot never -> always
        pve1: allow_quorum_loss false -> true
        pve1: lock_wait 600 s -> 360 s
        pve1: snapshot.keep_for 86400 s -> 240 s
        pve1: snapshot.keep_last 0 -> 5
        pve1: backup.keep_for 604800 s -> 120 s
        pve1: backup.keep_last 1 -> 3
        pve1: the rule of guest 104 is new or another one
        ");
        assert!(serde_json::to_string(rule).unwrap().matches(':').count() == 9, "{rule:?}");
    }

    #[test]
    fn how_a_guest_is_reached_is_no_policy() {
        let facts = "user = \"ops\", address = \"192.0.2.4\", identity_file = \"k\", password_env = \"P\"";
        assert_eq!(policy(&format!("guest_user = \"x\"\nguests = [{{ id = 104, {facts} }}]")), policy(""));
    }

    #[test]
    fn what_is_built_in_is_one_thing_in_manifest_and_policy() {
        assert_eq!(policy(""), HostPolicy::new(HostId::new("pve1")));
    }
}
