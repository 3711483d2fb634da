//! What the operator wants, frozen when a run opens.
//!
//! Connection facts (addresses, users, keys, pins) are no policy: they always come from the manifest as it is now.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HostPlan, RolloutPolicy, SkipReason};
use crate::choices::health::HealthCheck;
use crate::choices::{
    BackupMode, Compression, Evacuate, GuestReboot, HostReboot, OnFailure, ProtectChoice, Scope, Selector, Stopped,
    Traits, ViaChoice, selects,
};
use crate::ids::{GuestId, GuestKind, HostId, NodeName, RunId};

/// The tag that keeps a guest out of every run.
pub const SKIP_TAG: &str = "proxmaint-skip";

/// What is said of everything that a run leaves alone which only removes what earlier ones made.
pub const PRUNE_ONLY: &str = "only old snapshots and backups are removed";

/// What the operator wants for the whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPolicy {
    /// How many hosts may be worked on at a time.
    pub parallel_hosts: u32,
    /// Who goes first, and when the run stops.
    #[serde(default, skip_serializing_if = "RolloutPolicy::is_plain")]
    pub rollout: RolloutPolicy,
    /// The hosts, in the manifest's order.
    pub hosts: Vec<HostPolicy>,
}

/// What the operator wants for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPolicy {
    /// The entry.
    pub host: HostId,
    /// The node that the entry must turn out to be, where it says so.
    pub node: Option<NodeName>,
    /// How many guests may be worked on at a time.
    pub max_parallel: u32,
    /// Guests that are not to be touched (`managed = false` in the inventory).
    pub unmanaged: BTreeSet<GuestId>,
    /// Guests that are declared managed: one that can't be reached is then blocked and not merely skipped.
    pub declared: BTreeSet<GuestId>,
    /// How old a protection may be, in milliseconds, when the upgrade that it protects begins.
    pub protect_max_age_ms: u64,
    /// Which part of the work the run is about (`--guests-only`, `--hosts-only`).
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub scope: Scope,
    /// Which guests the run is about (`--guest`); all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Selector>,
    /// Which guests are maintained (`guests.include`); all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Selector>,
    /// Which guests are left alone (`guests.exclude`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Selector>,
    /// What holds for each guest that has no rule of its own.
    #[serde(default)]
    pub guests: GuestSettings,
    /// Rules of single guests (`[[hosts.guests]]`), in the manifest's order: of two that match, the later one wins, key by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<GuestRule>,
    /// Whether the node is rebooted (`host.reboot`, `--reboot`).
    #[serde(default = "never")]
    pub reboot: HostReboot,
    /// Whether that was said for this run alone (`--reboot`), whatever the manifest says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboot_asked: bool,
    /// Whether a reboot may cost the other node of a cluster of two its quorum (`allow_quorum_loss`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_quorum_loss: bool,
    /// What becomes of the node's running guests when it is rebooted (`evacuate`).
    #[serde(default = "stay", skip_serializing_if = "stays")]
    pub evacuate: Evacuate,
    /// How long a guest's lock is waited for, in milliseconds (`lock_wait`).
    #[serde(default = "lock_wait")]
    pub lock_wait_ms: u64,
    /// How long what this tool made is kept.
    #[serde(default)]
    pub keep: Retention,
    /// Guests that failed or were rolled back, and are not tried again before the operator says so, as the journal knew them when
    /// the run was opened. They are no wish of the manifest's, and are not compared with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<HeldBack>,
    /// The saved plan that the run follows (`run --plan`): a host that is not as it says is refused. No present wish of the
    /// manifest's is ever compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Box<HostPlan>>,
}

/// Why a guest is not upgraded again before the operator says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBecause {
    /// Its upgrade, or the check after it, failed, and it was kept as it is.
    Failed,
    /// It was rolled back.
    RolledBack,
}

/// A guest that a run left to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Its vmid.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// What makes it this guest and no other.
    pub identity: String,
    /// Why.
    pub why: HeldBecause,
    /// The run that left it so.
    pub run: RunId,
    /// The name under which that run had its host.
    pub host: HostId,
}

/// What holds for a guest, with no choices left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSettings {
    /// The way into it (`via`).
    pub via: ViaChoice,
    /// What is done where it does not run (`stopped`).
    pub stopped: Stopped,
    /// How it is protected, best way first; never empty (`protect`).
    pub protect: Vec<ProtectChoice>,
    /// What is done about it where its upgrade failed (`on_failure`).
    #[serde(default = "keep", skip_serializing_if = "is_keep")]
    pub on_failure: OnFailure,
    /// Whether it is rebooted where it needs it (`guest.reboot`).
    pub reboot: GuestReboot,
    /// How it is backed up.
    pub backup: BackupSettings,
    /// What it is asked before and after its upgrade (`checks`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<HealthCheck>,
}

/// How backups are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSettings {
    /// The storage (`backup.storage`); `None` for the one with the most room.
    pub storage: Option<String>,
    /// The mode (`backup.mode`).
    pub mode: BackupMode,
    /// The compression (`backup.compress`).
    pub compress: Compression,
    /// How long vzdump waits for the node's backup lock, in milliseconds (`backup.lock_wait`).
    pub lock_wait_ms: u64,
}

/// What is said of the guests that a selector matches; `None` for what is left to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRule {
    /// Which guests (`id`, `match`).
    pub who: Selector,
    /// Whether it is maintained (`managed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<bool>,
    /// [`GuestSettings::via`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<ViaChoice>,
    /// [`GuestSettings::stopped`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// [`GuestSettings::protect`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<Vec<ProtectChoice>>,
    /// [`GuestSettings::on_failure`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// [`GuestSettings::reboot`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<GuestReboot>,
    /// [`BackupSettings::storage`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_storage: Option<String>,
    /// [`BackupSettings::mode`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_mode: Option<BackupMode>,
    /// [`BackupSettings::compress`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_compress: Option<Compression>,
    /// [`GuestSettings::checks`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<HealthCheck>>,
}

/// How long what this tool made is kept. A snapshot or backup is removed when it is older than its time and not among
/// the newest so many of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// How long snapshots are kept after a verified success, in milliseconds (`snapshot.keep_for`).
    pub snapshots_for_ms: u64,
    /// How many of a guest's snapshots are kept however old they are (`snapshot.keep_last`).
    pub snapshots_last: u32,
    /// How long backups are kept after a verified success, in milliseconds (`backup.keep_for`).
    pub backups_for_ms: u64,
    /// How many of a guest's backups are kept however old they are (`backup.keep_last`).
    pub backups_last: u32,
}

const fn all() -> Scope {
    Scope::All
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_all(scope: &Scope) -> bool {
    *scope == Scope::All
}

const fn keep() -> OnFailure {
    OnFailure::Keep
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_keep(on_failure: &OnFailure) -> bool {
    *on_failure == OnFailure::Keep
}

const fn never() -> HostReboot {
    HostReboot::Never
}

const fn stay() -> Evacuate {
    Evacuate::Never
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn stays(evacuate: &Evacuate) -> bool {
    *evacuate == Evacuate::Never
}

const fn lock_wait() -> u64 {
    HostPolicy::LOCK_WAIT_MS
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            snapshots_for_ms: 24 * 3_600_000,
            snapshots_last: 0,
            backups_for_ms: 7 * 24 * 3_600_000,
            backups_last: 1,
        }
    }
}

impl Default for GuestSettings {
    fn default() -> Self {
        Self {
            via: ViaChoice::Auto,
            stopped: Stopped::Skip,
            protect: vec![ProtectChoice::Snapshot, ProtectChoice::Backup],
            on_failure: OnFailure::Keep,
            reboot: GuestReboot::Never,
            backup: BackupSettings::default(),
            checks: Vec::new(),
        }
    }
}

impl Default for BackupSettings {
    fn default() -> Self {
        // As long as vzdump's own default, three hours.
        Self { storage: None, mode: BackupMode::Snapshot, compress: Compression::Zstd, lock_wait_ms: 3 * 3_600_000 }
    }
}

impl GuestRule {
    /// Makes a rule that says nothing of its guests yet.
    pub fn new(who: Selector) -> Self {
        Self {
            who,
            managed: None,
            via: None,
            stopped: None,
            protect: None,
            on_failure: None,
            reboot: None,
            backup_storage: None,
            backup_mode: None,
            backup_compress: None,
            checks: None,
        }
    }
}

impl HostPolicy {
    /// `max_parallel` where nothing is said.
    pub const MAX_PARALLEL: u32 = 2;
    /// `protect.max_age` where nothing is said: an hour.
    pub const PROTECT_MAX_AGE_MS: u64 = 3_600_000;
    /// `lock_wait` where nothing is said: ten minutes, longer than any snapshot and shorter than most backups.
    pub const LOCK_WAIT_MS: u64 = 600_000;

    /// Makes the policy of a host of which nothing special is said.
    pub fn new(host: HostId) -> Self {
        Self {
            host,
            node: None,
            max_parallel: Self::MAX_PARALLEL,
            unmanaged: BTreeSet::new(),
            declared: BTreeSet::new(),
            protect_max_age_ms: Self::PROTECT_MAX_AGE_MS,
            scope: Scope::All,
            only: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            guests: GuestSettings::default(),
            rules: Vec::new(),
            reboot: HostReboot::Never,
            reboot_asked: false,
            allow_quorum_loss: false,
            evacuate: Evacuate::Never,
            lock_wait_ms: Self::LOCK_WAIT_MS,
            keep: Retention::default(),
            held_back: Vec::new(),
            saved: None,
        }
    }

    /// Returns how old a protection may be when its upgrade begins.
    pub fn protect_max_age(&self) -> Duration {
        Duration::from_millis(self.protect_max_age_ms)
    }

    /// Returns how long a guest's lock is waited for.
    pub fn lock_wait(&self) -> Duration {
        Duration::from_millis(self.lock_wait_ms)
    }

    /// Returns what holds for a guest: the host's settings, and over them what its rules say.
    pub fn settings_of(&self, guest: &Traits<'_>) -> GuestSettings {
        let mut settings = self.guests.clone();
        for rule in self.rules.iter().filter(|rule| rule.who.matches(guest)) {
            settings.via = rule.via.unwrap_or(settings.via);
            settings.stopped = rule.stopped.unwrap_or(settings.stopped);
            settings.on_failure = rule.on_failure.unwrap_or(settings.on_failure);
            settings.reboot = rule.reboot.unwrap_or(settings.reboot);
            settings.backup.mode = rule.backup_mode.unwrap_or(settings.backup.mode);
            settings.backup.compress = rule.backup_compress.unwrap_or(settings.backup.compress);
            if let Some(protect) = &rule.protect {
                settings.protect.clone_from(protect);
            }
            if let Some(checks) = &rule.checks {
                settings.checks.clone_from(checks);
            }
            if let Some(storage) = &rule.backup_storage {
                settings.backup.storage = Some(storage.clone());
            }
        }
        settings
    }

    /// Tells whether a guest is declared managed: one that can't be reached is then blocked and not merely skipped.
    pub fn is_declared(&self, guest: &Traits<'_>) -> bool {
        self.declared.contains(&guest.id) || self.ruled(guest) == Some(true)
    }

    /// Returns why a guest is none of the run's business, where that is so.
    pub fn left_out(&self, guest: &Traits<'_>) -> Option<SkipReason> {
        match self.scope {
            Scope::HostsOnly => Some(SkipReason::LeftOut("--hosts-only".to_owned())),
            Scope::PruneOnly => Some(SkipReason::LeftOut(PRUNE_ONLY.to_owned())),
            Scope::All | Scope::GuestsOnly => self.unselected(guest),
        }
    }

    /// Tells whether the run upgrades anything at all.
    pub fn upgrades(&self) -> bool {
        self.scope != Scope::PruneOnly
    }

    /// Tells whether the run may reboot the node.
    pub fn reboots(&self) -> bool {
        self.reboot != HostReboot::Never && matches!(self.scope, Scope::All | Scope::HostsOnly)
    }

    /// Tells whether the node's guests are moved away when it is rebooted.
    pub fn evacuates(&self) -> bool {
        self.reboots() && self.evacuate == Evacuate::Migrate
    }

    /// Tells whether what earlier runs made of a guest may be removed: not of one that is to be left alone.
    pub fn may_prune(&self, guest: &Traits<'_>) -> bool {
        self.scope != Scope::HostsOnly && self.unselected(guest).is_none()
    }

    /// Returns why a guest is not selected, whatever part of the work the run is about.
    fn unselected(&self, guest: &Traits<'_>) -> Option<SkipReason> {
        if !self.only.is_empty() && !selects(&self.only, guest) {
            return Some(SkipReason::LeftOut("not named by --guest".to_owned()));
        }
        if guest.tags.iter().any(|tag| tag == SKIP_TAG) {
            return Some(SkipReason::LeftOut(format!("has the tag {SKIP_TAG}")));
        }
        match self.ruled(guest) {
            Some(false) => return Some(SkipReason::NotManaged),
            None if self.unmanaged.contains(&guest.id) => return Some(SkipReason::NotManaged),
            Some(true) | None => {}
        }
        if selects(&self.exclude, guest) {
            let by = self.exclude.iter().find(|selector| selector.matches(guest));
            let by = by.map_or_else(String::new, |selector| format!(" ({selector})"));
            return Some(SkipReason::LeftOut(format!("guests.exclude{by}")));
        }
        if !self.include.is_empty() && !selects(&self.include, guest) {
            return Some(SkipReason::LeftOut("not in guests.include".to_owned()));
        }
        None
    }

    /// Tells whether any guest may be rolled back by itself.
    pub fn rolls_back(&self) -> bool {
        let wants = |on_failure: &OnFailure| *on_failure == OnFailure::Rollback;
        wants(&self.guests.on_failure) || self.rules.iter().filter_map(|rule| rule.on_failure.as_ref()).any(wants)
    }

    /// Returns what the last rule says that speaks of `managed`.
    pub fn ruled(&self, guest: &Traits<'_>) -> Option<bool> {
        self.rules.iter().rev().filter(|rule| rule.who.matches(guest)).find_map(|rule| rule.managed)
    }

    /// Lists what differs from `newer`, in words, for the operator who decides between the two.
    pub fn differences(&self, newer: &Self) -> Vec<String> {
        let mut out = Vec::new();
        let mut differs = |key: &str, old: String, new: String| {
            if old != new {
                out.push(format!("{}: {key} {old} -> {new}", self.host));
            }
        };
        let name = |node: &Option<NodeName>| node.as_ref().map_or("any".to_owned(), ToString::to_string);
        differs("api.node", name(&self.node), name(&newer.node));
        differs("max_parallel", self.max_parallel.to_string(), newer.max_parallel.to_string());
        differs("protect.max_age", seconds(self.protect_max_age_ms), seconds(newer.protect_max_age_ms));
        differs("the scope", self.scope.to_string(), newer.scope.to_string());
        differs("--guest", list(&self.only), list(&newer.only));
        differs("guests.include", list(&self.include), list(&newer.include));
        differs("guests.exclude", list(&self.exclude), list(&newer.exclude));
        differs("via", self.guests.via.to_string(), newer.guests.via.to_string());
        differs("stopped", self.guests.stopped.to_string(), newer.guests.stopped.to_string());
        differs("protect", list(&self.guests.protect), list(&newer.guests.protect));
        differs("on_failure", self.guests.on_failure.to_string(), newer.guests.on_failure.to_string());
        differs("guest.reboot", self.guests.reboot.to_string(), newer.guests.reboot.to_string());
        differs("checks", list(&self.guests.checks), list(&newer.guests.checks));
        let storage = |policy: &Self| policy.guests.backup.storage.clone().unwrap_or_else(|| "any".to_owned());
        let (old, new) = (&self.guests.backup, &newer.guests.backup);
        differs("backup.storage", storage(self), storage(newer));
        differs("backup.mode", old.mode.to_string(), new.mode.to_string());
        differs("backup.compress", old.compress.to_string(), new.compress.to_string());
        differs("backup.lock_wait", seconds(old.lock_wait_ms), seconds(new.lock_wait_ms));
        differs("host.reboot", self.reboot.to_string(), newer.reboot.to_string());
        differs("allow_quorum_loss", self.allow_quorum_loss.to_string(), newer.allow_quorum_loss.to_string());
        differs("evacuate", self.evacuate.to_string(), newer.evacuate.to_string());
        differs("lock_wait", seconds(self.lock_wait_ms), seconds(newer.lock_wait_ms));
        let (old, new) = (&self.keep, &newer.keep);
        differs("snapshot.keep_for", seconds(old.snapshots_for_ms), seconds(new.snapshots_for_ms));
        differs("snapshot.keep_last", old.snapshots_last.to_string(), new.snapshots_last.to_string());
        differs("backup.keep_for", seconds(old.backups_for_ms), seconds(new.backups_for_ms));
        differs("backup.keep_last", old.backups_last.to_string(), new.backups_last.to_string());
        for (what, old, new) in
            [("unmanaged", &self.unmanaged, &newer.unmanaged), ("managed", &self.declared, &newer.declared)]
        {
            for guest in new.difference(old) {
                out.push(format!("{}: guest {guest} is now declared {what}", self.host));
            }
            for guest in old.difference(new) {
                out.push(format!("{}: guest {guest} is no longer declared {what}", self.host));
            }
        }
        for rule in newer.rules.iter().filter(|rule| !self.rules.contains(rule)) {
            out.push(format!("{}: the rule of guest {} is new or another one", self.host, rule.who));
        }
        for rule in self.rules.iter().filter(|old| !newer.rules.iter().any(|new| new.who == old.who)) {
            out.push(format!("{}: the rule of guest {} is gone", self.host, rule.who));
        }
        out
    }
}

fn seconds(ms: u64) -> String {
    format!("{} s", ms / 1000)
}

fn list<T: ToString>(items: &[T]) -> String {
    match items {
        [] => "none".to_owned(),
        items => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GuestKind;

    #[test]
    fn a_run_that_only_prunes_upgrades_nobody_and_prunes_all_but_those_left_alone() {
        let policy = HostPolicy {
            scope: Scope::PruneOnly,
            unmanaged: [GuestId(103)].into(),
            exclude: vec!["102".parse().expect("a selector")],
            ..HostPolicy::new(HostId::new("pve1"))
        };
        let skip = [SKIP_TAG.to_owned()];
        let guest = |id, tags| Traits { id: GuestId(id), kind: GuestKind::Ct, name: "", tags, pool: None };
        let guests = [guest(101, &[][..]), guest(102, &[]), guest(103, &[]), guest(104, &skip)];
        assert!(guests.iter().all(|guest| policy.left_out(guest).is_some()) && !policy.upgrades());
        assert_eq!(guests.map(|guest| policy.may_prune(&guest)), [true, false, false, false]);
        let only_hosts = HostPolicy { scope: Scope::HostsOnly, ..policy };
        assert!(!only_hosts.may_prune(&guests[0]));
    }
}
