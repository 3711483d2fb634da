//! What must be right before the first guest is touched: the findings of `doctor`, and what a run refuses because of them.
//!
//! [`preflight`] is a function of policy and facts; what can't be told from facts (whether the manifest can be read, whether
//! the API answers at all) is found by whoever gathers them.

mod packages;
pub mod privileges;
mod room;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::quorum::{Case, Verdict};
use super::{HostPolicy, OwnPlace};
use crate::choices::{HostReboot, Scope};
use crate::inventory::{ClusterFacts, GuestFacts, HostFacts, Inside, Question, RootAccess};

/// What is checked, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Whether proxmaint runs on this node or in one of its guests.
    Here,
    /// The manifest can be read.
    Manifest,
    /// The environment variables hold credentials.
    Credentials,
    /// The API's certificate is one that is trusted.
    Tls,
    /// The SSH host key is one that is known.
    HostKey,
    /// The API answers and takes the token.
    Api,
    /// The version of Proxmox VE is one that is known here.
    Version,
    /// API and SSH lead to the same node.
    Identity,
    /// The token has the privileges that the configured run needs.
    Privileges,
    /// The login on the node is root, or becomes it without a password.
    Root,
    /// Nobody else's run works on the cluster, or on the node where it stands alone.
    Lease,
    /// The cluster has quorum and all its nodes.
    Cluster,
    /// The suites of the repositories are those of the release that runs.
    Suites,
    /// The repositories answer.
    Repositories,
    /// There is room where upgrades and backups need it.
    Space,
    /// The pools that hold guests have room for snapshots.
    Pools,
    /// `dpkg --audit` is clean and nothing holds its lock.
    Dpkg,
    /// The upgrade would not remove what makes the node a node.
    Removals,
    /// No backup is running.
    Backups,
    /// The checks of guests can be made.
    Health,
    /// Packages that are held back.
    Held,
    /// Whether the node wants a reboot.
    Reboot,
}

impl Check {
    /// Every check, in the order in which it is shown.
    pub const ALL: [Self; 22] = [
        Self::Here,
        Self::Manifest,
        Self::Credentials,
        Self::Tls,
        Self::HostKey,
        Self::Api,
        Self::Version,
        Self::Identity,
        Self::Privileges,
        Self::Root,
        Self::Lease,
        Self::Cluster,
        Self::Suites,
        Self::Repositories,
        Self::Space,
        Self::Pools,
        Self::Dpkg,
        Self::Removals,
        Self::Backups,
        Self::Health,
        Self::Held,
        Self::Reboot,
    ];

    /// Names the check for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Credentials => "credentials",
            Self::Tls => "tls",
            Self::HostKey => "host-key",
            Self::Api => "api",
            Self::Version => "version",
            Self::Identity => "identity",
            Self::Privileges => "privileges",
            Self::Root => "root",
            Self::Lease => "lease",
            Self::Cluster => "cluster",
            Self::Suites => "suites",
            Self::Repositories => "repositories",
            Self::Space => "space",
            Self::Pools => "pools",
            Self::Dpkg => "dpkg",
            Self::Removals => "removals",
            Self::Backups => "backups",
            Self::Health => "health",
            Self::Held => "held",
            Self::Reboot => "reboot",
            Self::Here => "here",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; a run goes on.
    Warn,
    /// A run does not touch the host.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// How it came out.
    pub level: Level,
    /// What was found: a lowercase fragment.
    pub what: String,
    /// What to do about it; may hold commands, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Makes a finding that is as it should be.
    pub fn ok(check: Check, what: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, what: what.into(), remedy: None }
    }

    /// Makes a finding that is worth knowing.
    pub fn warn(check: Check, what: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, what: what.into(), remedy: None }
    }

    /// Makes a finding for which a run does not touch the host.
    pub fn fail(check: Check, what: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, what: what.into(), remedy: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// The newest major version of Proxmox VE that is known here, and the oldest.
const KNOWN_MAJORS: std::ops::RangeInclusive<u32> = 8..=9;

/// Judges a host before anything of it is changed: every check that facts alone can answer, in the order of [`Check`], a line
/// at least for each but the lease, which only a run that changes something asks for, and the checks of guests, of which only
/// those are told that can't be made.
///
/// A run that leaves the node itself alone (`--guests-only`) is only warned of what stands in the way of the node's upgrade.
pub fn preflight(policy: &HostPolicy, facts: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![here(policy, facts), version(facts), identity(policy, facts)];
    findings.extend(privileges::judge(policy, facts, None));
    findings.push(root(facts));
    findings.extend(lease(facts));
    findings.extend(cluster(policy, facts));
    let mut of_node = packages::suites(facts);
    of_node.extend(packages::repositories(facts));
    of_node.extend(room::space(facts));
    of_node.extend(packages::dpkg(facts));
    of_node.extend(packages::removals(facts));
    if policy.scope == Scope::GuestsOnly {
        for finding in &mut of_node {
            finding.level = finding.level.min(Level::Warn);
        }
    }
    findings.extend(of_node);
    findings.extend(room::backups(policy, facts));
    findings.extend(room::pools(policy, facts));
    findings.push(running_backups(facts));
    findings.extend(health(policy, facts));
    findings.push(packages::held(facts));
    findings.push(reboot(policy, facts));
    // Stable: what one check found stays in its own order.
    findings.sort_by_key(|finding| finding.check);
    only_one_ok(findings)
}

/// Drops what is as it should be of a check that found something else as well.
fn only_one_ok(findings: Vec<Finding>) -> Vec<Finding> {
    let troubled: Vec<Check> = findings.iter().filter(|f| f.level != Level::Ok).map(|f| f.check).collect();
    findings.into_iter().filter(|f| f.level != Level::Ok || !troubled.contains(&f.check)).collect()
}

fn here(policy: &HostPolicy, facts: &HostFacts) -> Finding {
    let Some(own) = super::planner::own_place(facts) else {
        return Finding::ok(Check::Here, "proxmaint runs elsewhere");
    };
    let machine = match own {
        OwnPlace::Node => "the node",
        OwnPlace::Guest(_) => "that guest, and the node",
    };
    let what = match policy.reboot {
        HostReboot::Never => format!("{own}: it comes last"),
        HostReboot::IfNeeded | HostReboot::Always => {
            format!("{own}: it comes last, and {machine} will not be rebooted")
        }
    };
    let remedy = "its upgrade goes on by itself where proxmaint is ended by it: `proxmaint run` goes on from there";
    let finding = Finding::warn(Check::Here, what);
    match policy.reboot {
        HostReboot::Never => finding.remedy(remedy),
        HostReboot::IfNeeded | HostReboot::Always => {
            finding.remedy(format!("{remedy}\nreboot it yourself afterwards, or run proxmaint from another machine"))
        }
    }
}

/// Returns the major version of Proxmox VE.
fn major(version: &str) -> Option<u32> {
    version.split(['.', '-']).next()?.trim().parse().ok()
}

fn version(facts: &HostFacts) -> Finding {
    let version = &facts.pve_version;
    match major(version) {
        Some(major) if KNOWN_MAJORS.contains(&major) => Finding::ok(Check::Version, format!("Proxmox VE {version}")),
        Some(major) if major < *KNOWN_MAJORS.start() => {
            Finding::fail(Check::Version, format!("Proxmox VE {version} is older than {}", KNOWN_MAJORS.start()))
                .remedy("upgrade it by hand, as Proxmox describes it: https://pve.proxmox.com/wiki/Upgrade_from_7_to_8")
        }
        Some(_) => Finding::warn(
            Check::Version,
            format!("Proxmox VE {version} is newer than what this version of proxmaint knows ({})", KNOWN_MAJORS.end()),
        )
        .remedy("look for a newer proxmaint; until then begin with `proxmaint run --dry-run`"),
        None => Finding::warn(Check::Version, format!("the API names a version that can't be read: {version}")),
    }
}

fn identity(policy: &HostPolicy, facts: &HostFacts) -> Finding {
    match policy.node.as_ref().filter(|wanted| **wanted != facts.node) {
        Some(wanted) => {
            Finding::fail(Check::Identity, format!("the manifest says node {wanted}, but it answers as {}", facts.node))
                .remedy("correct `host` or `api.node` of the entry")
        }
        None => Finding::ok(Check::Identity, format!("API and SSH lead to node {}", facts.node)),
    }
}

fn root(facts: &HostFacts) -> Finding {
    match (facts.state.root, facts.state.unknown.get(&Question::Node)) {
        (Some(RootAccess::Root), _) => Finding::ok(Check::Root, "the login is root"),
        (Some(RootAccess::Sudo), _) => Finding::ok(Check::Root, "the login becomes root by sudo, without a password"),
        (None, Some(why)) => Finding::warn(Check::Root, format!("could not be looked at: {why}")),
        (None, None) => Finding::warn(Check::Root, "was not looked at"),
    }
}

fn lease(facts: &HostFacts) -> Option<Finding> {
    let refused = Finding::fail(Check::Lease, facts.state.lease_refused.as_ref()?);
    Some(match &facts.state.lease_hint {
        Some(hint) => refused.remedy(hint),
        None => refused,
    })
}

fn cluster(policy: &HostPolicy, facts: &HostFacts) -> Vec<Finding> {
    let Some(cluster) = &facts.cluster else {
        return vec![Finding::ok(Check::Cluster, "the node stands alone")];
    };
    if !cluster.quorate {
        return vec![
            Finding::fail(Check::Cluster, format!("cluster {} has no quorum", cluster.name))
                .remedy("bring its other nodes back; on a node: pvecm status"),
        ];
    }
    let offline: Vec<&str> =
        cluster.nodes.iter().filter(|(_, online)| !**online).map(|(name, _)| name.as_str()).collect();
    if !offline.is_empty() {
        let what = format!("cluster {} has a node offline already: {}", cluster.name, offline.join(", "));
        return vec![
            Finding::fail(Check::Cluster, what)
                .remedy("bring it back, or take it out of the cluster for good (pvecm delnode NODE)"),
        ];
    }
    let count = cluster.nodes.len();
    let well = format!("cluster {} has quorum, all {count} nodes are online", cluster.name);
    vec![match quorum(policy, facts, cluster) {
        None => Finding::ok(Check::Cluster, well),
        Some(Ok(Verdict::Kept(rest))) => Finding::ok(Check::Cluster, format!("{well}; without this one {rest}")),
        // The upgrade itself costs no vote: the node is only not rebooted.
        Some(_) if !policy.reboots() => Finding::ok(Check::Cluster, well),
        Some(Ok(Verdict::Allowed(rest))) => {
            let what = "while this node reboots the other one is without quorum, as allow_quorum_loss allows";
            Finding::warn(Check::Cluster, format!("{what}: {rest}"))
                .remedy("its guests run on; nothing of it can be changed, started or moved until this node is back")
        }
        Some(Ok(Verdict::Refused(why))) => {
            Finding::warn(Check::Cluster, format!("the node will not be rebooted: {why}"))
                .remedy(super::quorum::remedy(count, policy.allow_quorum_loss))
        }
        Some(Err(why)) => {
            let what = format!("the node will not be rebooted: its cluster's votes are not known: {why}");
            Finding::warn(Check::Cluster, what).remedy("on the node: corosync-quorumtool -s")
        }
    }]
}

/// Judges what a reboot of the node would make of its cluster's quorum; an error says why that is not known. `None` where it was
/// not asked.
pub(super) fn quorum<'a>(
    policy: &HostPolicy,
    facts: &'a HostFacts,
    cluster: &ClusterFacts,
) -> Option<Result<Verdict, &'a str>> {
    let unknown = |question| facts.state.unknown.get(&question).map(String::as_str);
    let Some(quorum) = &cluster.quorum else { return unknown(Question::Quorum).map(Err) };
    let ha = match &cluster.ha_resources {
        Some(managed) => Ok(managed.as_slice()),
        None => Err(unknown(Question::HaResources).unwrap_or("it was not asked")),
    };
    let case =
        Case { cluster: &cluster.name, nodes: cluster.nodes.len(), quorum, loss_allowed: policy.allow_quorum_loss, ha };
    Some(Ok(case.judge()))
}

fn running_backups(facts: &HostFacts) -> Finding {
    let running = &facts.state.running_backups;
    if let Some(why) = facts.state.unknown.get(&Question::Tasks) {
        return Finding::warn(Check::Backups, format!("running tasks could not be listed: {why}"));
    }
    if running.is_empty() {
        return Finding::ok(Check::Backups, "no backup is running");
    }
    let of = running.iter().map(|id| if id.is_empty() { "a job of several guests" } else { id }).collect::<Vec<_>>();
    Finding::warn(Check::Backups, format!("a backup is running: {}", of.join(", ")))
        .remedy("a guest that is backed up is waited for (lock_wait), and the node is not rebooted meanwhile")
}

/// Names guests whose checks can't be made. Of one that is off, or that nobody got into, it is not known yet.
fn health(policy: &HostPolicy, facts: &HostFacts) -> Vec<Finding> {
    let looked = facts.guests.iter().filter(|guest| matches!(guest.inside, Inside::Seen { .. }));
    let concerned = looked.filter(|guest| !guest.template && policy.left_out(&guest.traits()).is_none());
    let lost = |guest: &GuestFacts| {
        let why = super::planner::no_address(&policy.settings_of(&guest.traits()), guest)?;
        Some(Finding::warn(Check::Health, format!("{} {}: {why}", guest.kind, guest.id)).remedy(
            "such a guest is not upgraded: give it an `address` in a [[hosts.guests]] rule, or the check a `host`",
        ))
    };
    concerned.filter_map(lost).collect()
}

fn reboot(policy: &HostPolicy, facts: &HostFacts) -> Finding {
    let rebooted = policy.reboots();
    match (&facts.os.reboot_wanted, rebooted) {
        (None, _) => Finding::ok(Check::Reboot, "the node wants no reboot"),
        (Some(why), true) => Finding::ok(Check::Reboot, format!("the node wants a reboot and gets it ({why})")),
        (Some(why), false) => Finding::warn(Check::Reboot, format!("the node wants a reboot: {why}"))
            .remedy("reboot it when it suits you, or let a run do it: host.reboot = \"if-needed\", or --reboot once"),
    }
}

#[cfg(test)]
mod tests;
