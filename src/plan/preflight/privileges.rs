//! What the token must be allowed, what it is not, and the commands that change that.
//!
//! Proxmox VE gives privileges by path. `GET /access/permissions` answers with those in force at each path of its own
//! list; below a path of that list the same hold, as far as they are handed down. A token whose privileges are separated
//! needs an ACL of its own, and never may more than its user: what is granted is granted to both.

use std::collections::{BTreeMap, BTreeSet};

use super::room::concerned;
use super::{Check, Finding, major};
use crate::choices::{GuestReboot, OnFailure, ProtectChoice, Scope, Stopped, ViaChoice};
use crate::ids::{GuestKind, NodeName};
use crate::inventory::{HostFacts, Inside, Power, Question, Via};
use crate::plan::HostPolicy;

/// Privileges by path, as [`crate::inventory::NodeState::permissions`] has them.
pub type Permissions = BTreeMap<String, BTreeMap<String, bool>>;

/// The role that the commands make and grant.
pub const ROLE: &str = "Proxmaint";
/// The token that is spoken of where none is known yet.
const SOME_TOKEN: &str = "proxmaint@pve!proxmaint";

/// How much hangs on a privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The run asks for it.
    Must,
    /// It shows guests or storages: a token that sees some of them works on these, and one that sees none on nothing.
    Sight,
    /// It is of use, and nothing has been refused for want of it.
    Useful,
}

/// A privilege that the configured run needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Where.
    pub path: String,
    /// One of these will do; the first is the one to grant.
    pub any_of: &'static [&'static str],
    /// What for: goes on from `to`.
    pub why: &'static str,
    /// How much hangs on it.
    pub weight: Weight,
}

impl Need {
    fn new(path: impl Into<String>, any_of: &'static [&'static str], why: &'static str) -> Self {
        Self { path: path.into(), any_of, why, weight: Weight::Must }
    }

    fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }
}

const SYS_AUDIT: &[&str] = &["Sys.Audit"];
const SYS_MODIFY: &[&str] = &["Sys.Modify"];
const SYS_POWER: &[&str] = &["Sys.PowerMgmt"];
const VM_AUDIT: &[&str] = &["VM.Audit"];
const VM_SNAPSHOT: &[&str] = &["VM.Snapshot"];
/// Either lets a guest be rolled back.
const VM_ROLLBACK: &[&str] = &["VM.Snapshot", "VM.Snapshot.Rollback"];
const VM_BACKUP: &[&str] = &["VM.Backup"];
const VM_POWER: &[&str] = &["VM.PowerMgmt"];
const VM_MIGRATE: &[&str] = &["VM.Migrate"];
const SPACE: &[&str] = &["Datastore.AllocateSpace"];
const STORAGES: &[&str] = &["Datastore.Audit", "Datastore.AllocateSpace"];
/// Proxmox VE 8 has one privilege for all that goes through the agent.
const MONITOR: &[&str] = &["VM.Monitor"];
const AGENT_EXEC: &[&str] = &["VM.GuestAgent.Unrestricted"];
const AGENT_READ: &[&str] = &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"];

const TO_SNAPSHOT: &str = "take and remove snapshots";
const TO_ROLL_BACK: &str = "roll guests back whose upgrade failed";
const TO_BACK_UP: &str = "back guests up, and remove these backups again";
const TO_START: &str = "start, stop and reboot guests";
const TO_MOVE: &str = "move guests to other nodes, and back";
const TO_FLAG: &str = "set and clear Ceph's flag noout";
const TO_ENTER: &str = "upgrade VMs through their agent";
const TO_ASK: &str = "ask agents for the addresses of VMs";

/// Returns what asking an agent takes, or running commands by it.
fn agent(exec: bool, major: Option<u32>) -> &'static [&'static str] {
    match (major, exec) {
        (Some(..=8), _) => MONITOR,
        (_, true) => AGENT_EXEC,
        (_, false) => AGENT_READ,
    }
}

/// Returns what looking at a host needs, whatever is on it. `node` is `None` where it is not known yet which node answers.
pub fn basic(node: Option<&NodeName>) -> Vec<Need> {
    let at = node.map_or_else(|| "/nodes".to_owned(), |node| format!("/nodes/{node}"));
    vec![
        Need::new("/", SYS_AUDIT, "see the cluster's state"),
        Need::new(at, SYS_AUDIT, "see services, tasks and repositories"),
        Need::new("/vms", VM_AUDIT, "see the guests").weighing(Weight::Sight),
        Need::new("/storage", STORAGES, "see the storages and their room").weighing(Weight::Sight),
    ]
}

/// Returns what the configured run needs on a host, as it was seen.
pub fn needed(policy: &HostPolicy, facts: &HostFacts) -> Vec<Need> {
    let major = major(&facts.pve_version);
    let mut needs = basic(Some(&facts.node));
    for (guest, settings) in concerned(policy, facts) {
        let at = format!("/vms/{}", guest.id);
        let mut need = |any_of, why| needs.push(Need::new(at.clone(), any_of, why));
        let protect = |choice| settings.protect.contains(&choice);
        if (protect(ProtectChoice::Snapshot) && guest.can_snapshot) || !guest.own_snapshots.is_empty() {
            need(VM_SNAPSHOT, TO_SNAPSHOT);
        }
        if protect(ProtectChoice::Backup) {
            need(VM_BACKUP, TO_BACK_UP);
        }
        let rolled_back = settings.on_failure == OnFailure::Rollback && protect(ProtectChoice::Snapshot);
        if rolled_back {
            need(VM_ROLLBACK, TO_ROLL_BACK);
        }
        let started = guest.power == Power::Stopped && settings.stopped == Stopped::Start;
        let rebooted = guest.kind == GuestKind::Vm && settings.reboot == GuestReboot::IfNeeded;
        // A rollback stops what it brings back.
        if started || rebooted || rolled_back {
            need(VM_POWER, TO_START);
        }
        if guest.kind == GuestKind::Vm {
            let chosen = settings.via == ViaChoice::Agent
                || (settings.via == ViaChoice::Auto && facts.state.no_login.contains(&guest.id));
            // What the API refuses, it names: `Permission check failed (/vms/201, VM.GuestAgent.Unrestricted)`.
            let (enters, asks) = match &guest.inside {
                Inside::Seen { via, .. } => (matches!(via, Via::Agent), false),
                // Its agent is not enabled, for one.
                Inside::NoWayIn(_) => (false, false),
                Inside::NotLooked => (chosen, false),
                Inside::Unreachable(why) => (
                    chosen || why.contains(", VM.GuestAgent.Unrestricted"),
                    why.contains("VM.GuestAgent") || why.contains("VM.Monitor"),
                ),
            };
            match (enters, asks) {
                (true, _) => need(agent(true, major), TO_ENTER),
                (false, true) => need(agent(false, major), TO_ASK),
                // It was reached without, or not for want of it.
                (false, false) => needs.push(Need::new(at, agent(false, major), TO_ASK).weighing(Weight::Useful)),
            }
        }
        if protect(ProtectChoice::Backup) {
            let named = settings.backup.storage.as_deref();
            let storage = named.or_else(|| facts.backup_storages.first().map(|storage| storage.name.as_str()));
            let at = storage.map_or_else(|| "/storage".to_owned(), |storage| format!("/storage/{storage}"));
            let need = Need::new(at, SPACE, "write backups");
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
    }
    needs.extend(for_reboot(policy, Some(&facts.node)));
    if policy.reboots() && facts.state.ceph.is_some() {
        needs.push(Need::new("/", SYS_MODIFY, TO_FLAG));
    }
    if let Some(around) = facts.state.evacuation.as_ref().filter(|_| policy.evacuates()) {
        needs.extend(around.guests.iter().map(|guest| Need::new(format!("/vms/{}", guest.id), VM_MIGRATE, TO_MOVE)));
    }
    // What the API refuses, it names: `Permission check failed (/vms/201, VM.Migrate)`.
    let untold = facts.state.unknown.get(&Question::Evacuation).filter(|_| policy.evacuates());
    if untold.is_some_and(|why| why.contains(", VM.Migrate")) {
        needs.push(Need::new("/vms", VM_MIGRATE, TO_MOVE));
    }
    needs
}

/// Returns what a reboot of the node needs, where the policy has one.
fn for_reboot(policy: &HostPolicy, node: Option<&NodeName>) -> Vec<Need> {
    if !policy.reboots() {
        return Vec::new();
    }
    let at = node.map_or_else(|| "/nodes".to_owned(), |node| format!("/nodes/{node}"));
    vec![
        Need::new(at, SYS_POWER, "reboot the node"),
        // `stopall` without a list of guests asks for it at the top.
        Need::new("/", VM_POWER, "shut the node's guests down, and start them again"),
    ]
}

/// Returns what the configured run may need of any guest: for the role, which is made before a guest is seen.
fn expected(policy: &HostPolicy, major: Option<u32>) -> Vec<Need> {
    let mut needs = basic(None);
    needs.extend(for_reboot(policy, None));
    if policy.evacuates() {
        needs.push(Need::new("/vms", VM_MIGRATE, TO_MOVE));
    }
    if policy.scope == Scope::HostsOnly {
        return needs;
    }
    let rules = &policy.rules;
    let protect = |choice: ProtectChoice| {
        policy.guests.protect.contains(&choice)
            || rules.iter().filter_map(|rule| rule.protect.as_ref()).any(|protect| protect.contains(&choice))
    };
    let started = policy.guests.stopped == Stopped::Start || rules.iter().any(|r| r.stopped == Some(Stopped::Start));
    let rebooted = policy.guests.reboot == GuestReboot::IfNeeded
        || rules.iter().any(|rule| rule.reboot == Some(GuestReboot::IfNeeded));
    if protect(ProtectChoice::Snapshot) {
        needs.push(Need::new("/vms", VM_SNAPSHOT, TO_SNAPSHOT));
    }
    if protect(ProtectChoice::Backup) {
        needs.push(Need::new("/vms", VM_BACKUP, TO_BACK_UP));
        needs.push(Need::new("/storage", SPACE, "write backups"));
    }
    if started || rebooted || policy.rolls_back() {
        needs.push(Need::new("/vms", VM_POWER, TO_START));
    }
    needs.push(Need::new("/vms", agent(true, major), TO_ENTER));
    needs
}

/// Picks the fewest privileges that meet the needs.
fn cover(needs: &[Need]) -> BTreeSet<&'static str> {
    let mut chosen: BTreeSet<&'static str> = BTreeSet::new();
    // Those without a choice first: one of them often meets a need that has one.
    for need in needs.iter().filter(|need| need.any_of.len() == 1).chain(needs) {
        if !need.any_of.iter().any(|privilege| chosen.contains(privilege)) {
            chosen.extend(need.any_of.first());
        }
    }
    chosen
}

/// Tells whether a privilege holds at a path: what is listed nearest above it decides.
fn holds(permissions: &Permissions, path: &str, privilege: &str) -> bool {
    let mut at = path;
    loop {
        if let Some(here) = permissions.get(at) {
            return here.get(privilege).is_some_and(|handed_down| at == path || *handed_down);
        }
        match at.rsplit_once('/') {
            Some(("", "")) | None => return false,
            Some(("", _)) => at = "/",
            Some((above, _)) => at = above,
        }
    }
}

/// Tells whether a token sees every guest: what it may not see is left out of lists without a word.
pub fn sees_every_guest(permissions: &Permissions) -> bool {
    // Any vmid stands for those of which nothing of their own is said.
    let of_any = std::iter::once("/vms/any");
    let said = permissions.keys().map(String::as_str).filter(|path| path.starts_with("/vms/"));
    of_any.chain(said).all(|path| VM_AUDIT.iter().any(|privilege| holds(permissions, path, privilege)))
}

/// Returns the needs that a token's permissions don't meet. One that a stricter unmet one covers is left out: who may write
/// to a storage sees it.
pub fn missing<'a>(needs: &'a [Need], permissions: &Permissions) -> Vec<&'a Need> {
    let unmet: Vec<&Need> = needs
        .iter()
        .filter(|need| !need.any_of.iter().any(|privilege| holds(permissions, &need.path, privilege)))
        .collect();
    let stricter = |need: &&Need| {
        let covers = |other: &&Need| {
            other.any_of.len() < need.any_of.len() && other.any_of.iter().all(|p| need.any_of.contains(p))
        };
        unmet.iter().any(covers)
    };
    unmet.iter().copied().filter(|need| !stricter(need)).collect()
}

/// Judges what the token may do. `token` is its name (`USER@REALM!ID`), where it is known: it then stands in the commands.
pub fn judge(policy: &HostPolicy, facts: &HostFacts, token: Option<&str>) -> Vec<Finding> {
    if let Some(why) = facts.state.unknown.get(&Question::Permissions) {
        return vec![Finding::warn(Check::Privileges, format!("could not be asked: {why}"))];
    }
    let permissions = &facts.state.permissions;
    if permissions.is_empty() {
        return vec![Finding::warn(Check::Privileges, "were not asked for")];
    }
    let sees = |need: &Need| match need.path.as_str() {
        "/vms" => !facts.guests.is_empty(),
        _ => !facts.backup_storages.is_empty() || !facts.state.pools.is_empty(),
    };
    unmet(&needed(policy, facts), permissions, token, sees)
}

/// Says which needs are not met, a finding for each privilege, or that all are. `sees` tells of a need of [`Weight::Sight`]
/// whether anything is seen without it.
pub fn unmet(
    needs: &[Need],
    permissions: &Permissions,
    token: Option<&str>,
    sees: impl Fn(&Need) -> bool,
) -> Vec<Finding> {
    /// So many paths are named.
    const SHOWN: usize = 3;
    let who = token.map_or_else(|| "the token".to_owned(), |token| format!("the token {token}"));
    let mut by_privilege: BTreeMap<&'static [&'static str], Vec<&Need>> = BTreeMap::new();
    for need in missing(needs, permissions).into_iter().filter(|need| need.weight != Weight::Useful) {
        by_privilege.entry(need.any_of).or_default().push(need);
    }
    if by_privilege.is_empty() {
        let privileges = cover(needs).into_iter().collect::<Vec<_>>().join(", ");
        return vec![Finding::ok(Check::Privileges, format!("{who} has what the run needs ({privileges})"))];
    }
    let finding = |(any_of, needs): (&'static [&'static str], Vec<&Need>)| {
        let paths: Vec<&str> = needs.iter().map(|need| need.path.as_str()).collect();
        let mut on = paths[..paths.len().min(SHOWN)].join(", ");
        if paths.len() > SHOWN {
            on.push_str(&format!(" and {} more", paths.len() - SHOWN));
        }
        let mut why: Vec<&str> = needs.iter().map(|need| need.why).collect();
        why.dedup();
        let what = format!("{who} lacks {} on {on}, needed to {}", any_of.join(" or "), why.join(", and to "));
        let partly = needs.iter().all(|need| need.weight == Weight::Sight && sees(need));
        let finding = match partly {
            true => Finding::warn(Check::Privileges, format!("{what}: what it does not see is left out")),
            false => Finding::fail(Check::Privileges, what),
        };
        let grant = any_of.first().map(|privilege| grant(privilege, token));
        finding.remedy(grant.unwrap_or_default())
    };
    by_privilege.into_iter().map(finding).collect()
}

/// Writes the commands that add a privilege to the role, and grant the role, as a node's root runs them.
fn grant(privilege: &str, token: Option<&str>) -> String {
    let mut lines = vec![format!("pveum role modify {ROLE} --append 1 --privs {privilege}")];
    lines.extend(acl(token.unwrap_or(SOME_TOKEN)));
    lines.join("\n")
}

/// Writes the commands that grant the role to a user and to its token: nothing is changed where that is so already.
fn acl(token: &str) -> Vec<String> {
    let user = token.split('!').next().unwrap_or(token);
    let mut lines = Vec::new();
    if user != "root@pam" {
        lines.push(format!("pveum acl modify / --users {user} --roles {ROLE}"));
    }
    lines.push(format!("pveum acl modify / --tokens '{token}' --roles {ROLE}"));
    lines
}

/// Writes the commands that make a token with the least privileges for the configured run, as a node's root runs them.
/// `token` is the name that the manifest's variables hold, where they do.
pub fn set_up(policy: &HostPolicy, facts: Option<&HostFacts>, token: Option<&str>) -> Vec<String> {
    let major = facts.and_then(|facts| major(&facts.pve_version));
    let mut needs = expected(policy, major);
    if policy.reboots() && facts.is_some_and(|facts| facts.state.ceph.is_some()) {
        needs.push(Need::new("/", SYS_MODIFY, TO_FLAG));
    }
    if let Some(facts) = facts.filter(|facts| !facts.guests.is_empty()) {
        // What the agents are asked for can be told once the VMs are seen.
        needs.retain(|need| need.why != TO_ENTER);
        needs.extend(needed(policy, facts).into_iter().filter(|need| need.why == TO_ENTER || need.why == TO_ASK));
    }
    let token = token.unwrap_or(SOME_TOKEN);
    let (user, id) = token.split_once('!').unwrap_or((token, "proxmaint"));
    let privileges = cover(&needs).into_iter().collect::<Vec<_>>().join(" ");
    let mut lines = vec![format!("pveum role add {ROLE} --privs \"{privileges}\"")];
    if user != "root@pam" {
        lines.push(format!("pveum user add {user}"));
    }
    lines.push(format!("pveum user token add {user} {id} --privsep 1"));
    lines.extend(acl(token));
    lines
}
