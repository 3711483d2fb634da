//! Shows plans before anything is done: for the confirmation of `run`, for `run --dry-run` and for `plan`.
//!
//! # The JSON of `run --dry-run --output json` and `plan --output json`, version 1
//! One line a host, `{"v": 1, "event": "plan", ..}`, then one `{"v": 1, "event": "plan-ended", ..}`:
//!
//! | field | meaning |
//! |---|---|
//! | `host`, `node` | the manifest's entry and the node that it is; `node` is `null` where it could not be looked at |
//! | `error`, `hint` | why it could not be looked at, and what to do about it |
//! | `refused` | why nothing at all may be done there |
//! | `findings[]` | what the checks of `doctor` found, where it is not as it should be: `check`, `level` (`warn`, `fail`), `what`, `remedy`; left out where there is none |
//! | `facts_at` | when it was looked at |
//! | `node_upgrade` | `packages[]` (`name`, `old`, `new`), `lists_refreshed`, `lists_age_ms`, `reboot_wanted`, `left_out` (why the node is left alone), `reboot` (whether it is rebooted then: `never`, `if-needed`, `always`), `shut_down[]` (`id`, `kind`: the guests that run and would be shut down for that; empty where it is never rebooted), `votes` (what of its cluster's votes would be left meanwhile, where they suffice), `moved[]` (`id`, `kind`, `to`: the guests that would be moved away for the reboot, with `evacuate = "migrate"`; `to` is `null` where HA chooses), `by_ha[]` (`id`, `kind`: the guests that HA sees to at the reboot), `shutdown_policy` (by which policy), `noout` (whether Ceph's flag is set meanwhile) |
//! | `own` | that proxmaint runs on the node or in one of its guests: it comes last and is not rebooted |
//! | `prune`, `prune_backups` | snapshots and backups of earlier runs that would be removed: `guest`, `name`; `guest`, `volid`, `note`; left out where there are none |
//! | `guests[]` | `id`, `kind`, `name`, `decision` (`upgrade`, `start`, `skip`, `block`), `reason`, `own` (proxmaint runs in it: it comes last) |
//! | `guests[].start` | for those that are started, looked into and stopped again: `via`, `protection[]`, `not_covered[]`, `reboot`, `rollback`, `checks[]` |
//! | `guests[].upgrade` | for those that are upgraded: `via` (`pct`, `ssh` or `agent`), `address`, `manager`, `packages[]`, `lists_refreshed`, `lists_age_ms`, `protection[]` (`snapshot`, `backup to STORAGE`: tried in this order; `none` where the manifest says so), `not_covered[]` (what a backup leaves out), `reboot` (whether it is rebooted where it needs it), `rollback` (that it is rolled back where its upgrade goes wrong; left out where it is not), `checks[]` (what it is asked before and after; left out where there is nothing) |
//! | of `plan-order`, a line before the last where there are canaries or a bound of failures: `canaries[]` (`host`, `guests[]`, or `null` for all of it), `unmatched[]` (entries that match nothing), `soak_ms`, `max_failures` | who goes first, and when a run halts |
//! | of `plan-ended`: `hosts`, `guests`, `packages`, `blocked`, `refused`, `errors` | how many there are to upgrade, and how many stand in the way |

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::json;
use super::sanitize::{clean, shorten};
use super::style::Paint;
use super::when;
use super::words::{self, count, list, some};
use crate::choices::health::HealthCheck;
use crate::choices::{Canary, HostReboot, ViaChoice, selects};
use crate::ids::{GuestId, GuestKind, HostId, NodeName};
use crate::inventory::{PackageChange, PackageManager, Via};
use crate::machine::outcome::Fault;
use crate::plan::{
    AtReboot, Check, Decision, Finding, GuestPlan, GuestUpgrade, HostPlan, Level, Move, OldBackup, OldSnapshot,
    ProtectBy, RolloutPolicy,
};
use crate::time::Timestamp;

/// Package lists older than this are remarked upon: the plan may miss what has come since.
const OLD_LISTS: Duration = Duration::from_secs(24 * 3600);

/// What looking at a host came to.
pub type Looked<'a> = (&'a HostId, Result<&'a HostPlan, &'a Fault>);

/// What all plans come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PlanTotals {
    /// Hosts on which something is to be done.
    pub hosts: usize,
    /// Guests to upgrade.
    pub guests: usize,
    /// Packages to upgrade, in guests and nodes.
    pub packages: usize,
    /// Guests that should be upgraded and may not be touched.
    pub blocked: usize,
    /// Hosts on which nothing may be done.
    pub refused: usize,
    /// Hosts that could not be looked at.
    pub errors: usize,
}

impl PlanTotals {
    /// Sums up.
    pub fn of<'a>(looked: impl IntoIterator<Item = Looked<'a>>) -> Self {
        let mut totals = Self::default();
        for (_, plan) in looked {
            let plan = match plan {
                Ok(plan) if plan.refusal.is_some() => {
                    totals.refused += 1;
                    continue;
                }
                Ok(plan) => plan,
                Err(_) => {
                    totals.errors += 1;
                    continue;
                }
            };
            let before = totals.packages;
            if plan.upgrade.left_out.is_none() {
                totals.packages += plan.upgrade.pending.len();
            }
            for guest in &plan.guests {
                match &guest.decision {
                    Decision::Upgrade(upgrade) => {
                        totals.guests += 1;
                        totals.packages += upgrade.pending.len();
                    }
                    Decision::Start(_) => totals.guests += 1,
                    Decision::Block(_) => totals.blocked += 1,
                    Decision::Skip(_) => {}
                }
            }
            let starts = plan.guests.iter().any(|guest| matches!(guest.decision, Decision::Start(_)));
            if totals.packages > before || starts || plan.upgrade.reboot == HostReboot::Always {
                totals.hosts += 1;
            }
        }
        totals
    }

    /// Tells whether there is nothing to upgrade, start or reboot anywhere.
    pub fn is_nothing(&self) -> bool {
        self.packages == 0 && self.hosts == 0
    }

    /// Says it in one line: `2 hosts to work on: 5 guests, 61 packages; 1 guest blocked`.
    pub fn sentence(&self) -> String {
        let mut text = match self.is_nothing() {
            true => "nothing to upgrade".to_owned(),
            false => format!(
                "{} to work on: {}, {}",
                count(self.hosts, "host"),
                count(self.guests, "guest"),
                count(self.packages, "package")
            ),
        };
        let guests_blocked = if self.blocked > 0 { count(self.blocked, "guest") + " blocked" } else { String::new() };
        let not_touched =
            if self.refused > 0 { count(self.refused, "host") + " not to be touched" } else { String::new() };
        let unreached =
            if self.errors > 0 { count(self.errors, "host") + " could not be looked at" } else { String::new() };
        let trouble = list([guests_blocked, not_touched, unreached]);
        if !trouble.is_empty() {
            let _ok = write!(text, "; {trouble}");
        }
        text
    }
}

/// Writes plans for people. `now` tells how old the package lists are; a verbose plan lists every package.
pub fn text<'a>(looked: impl IntoIterator<Item = Looked<'a>>, now: Timestamp, verbose: bool, paint: Paint) -> String {
    let mut out = String::new();
    let mut looked_at = Vec::new();
    for (host, plan) in looked {
        let mut writer = Writer { out: &mut out, now, verbose, paint };
        match plan {
            Ok(plan) => writer.host(host, plan),
            Err(fault) => writer.unreachable(host, fault),
        }
        out.push('\n');
        looked_at.push((host, plan));
    }
    out.push_str(&PlanTotals::of(looked_at).sentence());
    out.push('\n');
    out
}

struct Writer<'a> {
    out: &'a mut String,
    now: Timestamp,
    verbose: bool,
    paint: Paint,
}

impl Writer<'_> {
    fn line(&mut self, indent: usize, text: &str) {
        // Writing to a String can't fail.
        let _ok = writeln!(self.out, "{:indent$}{text}", "");
    }

    fn unreachable(&mut self, host: &HostId, fault: &Fault) {
        let name = self.paint.strong(&clean(host.as_str()));
        let label = self.paint.bad("could not be looked at");
        self.line(0, &format!("{name}  {label}: {}", clean(&fault.what)));
        if let Some(hint) = &fault.hint {
            let label = self.paint.note("hint:");
            self.line(2, &format!("{label} {}", clean(hint)));
        }
    }

    fn host(&mut self, host: &HostId, plan: &HostPlan) {
        let name = self.paint.strong(&clean(host.as_str()));
        let node = if host.as_str() == plan.node.as_str() {
            String::new()
        } else {
            format!(" (node {})", clean(plan.node.as_str()))
        };
        if let Some(why) = &plan.refusal {
            let label = self.paint.bad("not touched");
            self.line(0, &format!("{name}{node}  {label}: {}", clean(why)));
            return self.findings(&plan.findings);
        }
        self.line(0, &format!("{name}{node}  {}", words::plan_summary(plan)));
        if let Some(own) = plan.own {
            let label = self.paint.note("comes last");
            self.line(2, &format!("{label}: {own}"));
        }
        self.findings(&plan.findings);
        for guest in &plan.guests {
            self.guest(guest);
        }
        for old in &plan.prune {
            let label = words::guest(old.guest.kind, old.guest.id, "");
            self.line(2, &format!("{label}: remove the snapshot {} of an earlier run", clean(old.name.as_str())));
        }
        for old in &plan.prune_backups {
            let label = words::guest(old.guest.kind, old.guest.id, "");
            self.line(2, &format!("{label}: remove the backup {} of an earlier run", clean(&old.volid)));
        }
        self.node(plan);
    }

    /// Says what the checks found: of what fails the reasons stand in the refusal, and only what to do about it is added.
    fn findings(&mut self, findings: &[Finding]) {
        // That the node wants a reboot is said with its upgrade.
        for finding in findings.iter().filter(|finding| finding.check != Check::Reboot) {
            match finding.level {
                Level::Ok => continue,
                Level::Warn => {
                    let label = self.paint.warn(&format!("warning ({})", finding.check));
                    self.line(2, &format!("{label}: {}", clean(&finding.what)));
                }
                Level::Fail => {
                    let label = self.paint.note(&format!("to mend it ({})", finding.check));
                    self.line(2, &format!("{label}:"));
                }
            }
            for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
                self.line(4, &clean(line));
            }
        }
    }

    fn guest(&mut self, plan: &GuestPlan) {
        let label = words::guest(plan.guest.kind, plan.guest.id, &plan.name);
        match &plan.decision {
            Decision::Skip(reason) => {
                let text = self.paint.faint(&format!("left alone: {}", clean(&reason.to_string())));
                self.line(2, &format!("{label}: {text}"));
            }
            Decision::Block(reason) => {
                let text = self.paint.bad("blocked, not touched");
                self.line(2, &format!("{label}: {text}: {}", clean(reason)));
            }
            Decision::Start(start) => {
                let what = self.paint.good("start it, look for updates, stop it again");
                let protection = self.protection(&start.protection);
                let (reboot, rollback) = (reboot_words(start.reboot, false), rollback_words(start.rollback, false));
                self.line(2, &format!("{label}: {what}; where something is pending, {protection}{reboot}{rollback}"));
                self.not_covered(&start.protection, &start.not_covered);
                self.checks(start.checks.as_deref());
            }
            Decision::Upgrade(upgrade) => {
                self.line(2, &format!("{label}: {}", self.upgrade(upgrade, plan.own)));
                if plan.own {
                    let label = self.paint.note("comes last of its host");
                    self.line(4, &format!("{label}: proxmaint runs in it"));
                }
                self.not_covered(&upgrade.protection, &upgrade.not_covered);
                self.checks(upgrade.checks.as_deref());
                self.lists(4, upgrade.lists_refreshed);
                self.packages(4, &upgrade.pending);
            }
        }
    }

    /// Says what a backup leaves out, where one may be made.
    fn not_covered(&mut self, ways: &[ProtectBy], left_out: &[String]) {
        if ways.iter().any(|way| matches!(way, ProtectBy::Backup { .. })) && !left_out.is_empty() {
            let what = list(left_out.iter().map(|volume| clean(volume).into_owned()));
            let label = self.paint.warn("a backup does not cover");
            self.line(4, &format!("{label}: {what}"));
        }
    }

    /// Says what it is asked before and after its upgrade.
    fn checks(&mut self, checks: Option<&[HealthCheck]>) {
        let checks = checks.unwrap_or_default();
        if !checks.is_empty() {
            let what = list(checks.iter().map(|check| clean(&check.to_string()).into_owned()));
            self.line(4, &format!("checked before and after: {what}"));
        }
    }

    /// Says how it is protected.
    fn protection(&self, ways: &[ProtectBy]) -> String {
        match ways {
            [ProtectBy::Waived] => self.paint.warn("not protected: it could not be brought back"),
            ways => format!("protected by {}", protection_words(ways)),
        }
    }

    fn upgrade(&self, upgrade: &GuestUpgrade, own: bool) -> String {
        let via = match &upgrade.via {
            Via::Pct => "through pct exec".to_owned(),
            Via::Ssh { address } => format!("over SSH to {}", clean(address)),
            Via::Agent => "through the guest agent".to_owned(),
        };
        let (protection, reboot) = (self.protection(&upgrade.protection), reboot_words(upgrade.reboot, own));
        let rollback = rollback_words(upgrade.rollback, own);
        format!("{} {via}; {protection}{reboot}{rollback}", self.paint.good(&upgrade_words(&upgrade.pending)))
    }

    fn node(&mut self, plan: &HostPlan) {
        if let Some(why) = &plan.upgrade.left_out {
            let text = self.paint.faint(&format!("left alone: {}", clean(why)));
            return self.line(2, &format!("node: {text}"));
        }
        match plan.upgrade.pending.len() {
            0 => self.line(2, &format!("node: {}", self.paint.faint("up to date"))),
            _ => self.line(2, &format!("node: {} over SSH", self.paint.good(&upgrade_words(&plan.upgrade.pending)))),
        }
        self.lists(4, plan.upgrade.lists_refreshed);
        let done = shut_down(plan).is_some();
        if let Some(why) = &plan.upgrade.reboot_wanted {
            let label = self.paint.warn("wants a reboot already");
            let not = if done { "" } else { " (not done by this run)" };
            self.line(4, &format!("{label}{not}: {}", shorten(why, 200)));
        }
        if let Some(guests) = shut_down(plan) {
            let label = self.paint.warn(words::reboot_plan(plan));
            let guests: Vec<String> = guests.iter().map(|(id, kind)| format!("{kind} {id}")).collect();
            let what = match (&plan.upgrade.guests, guests.is_empty()) {
                (Some(AtReboot::Move(moves)), _) if !moves.is_empty() => {
                    let all: Vec<String> = moves.iter().map(ToString::to_string).collect();
                    format!("moved away for it and back: {}", clean(&all.join(", ")))
                }
                (_, true) => "no guest runs that would be shut down for it".to_owned(),
                (_, false) => format!("shut down for it and started again: {}", guests.join(", ")),
            };
            self.line(4, &format!("{label}; {what}"));
            if let Some(AtReboot::Stay { ha, policy }) = &plan.upgrade.guests {
                let managed: Vec<String> = ha.iter().map(|(id, kind)| format!("{kind} {id}")).collect();
                let (managed, fate) = (managed.join(", "), AtReboot::policy_words(policy));
                self.line(4, &format!("managed by HA (shutdown_policy {}), so {fate}: {managed}", clean(policy)));
            }
            if plan.upgrade.noout {
                let text = self.paint.faint("Ceph's flag noout is set meanwhile");
                self.line(4, &text);
            }
            if let Some(votes) = &plan.upgrade.votes {
                let text = self.paint.faint(&format!("its cluster keeps quorum meanwhile: {}", clean(votes)));
                self.line(4, &text);
            }
        }
        self.packages(4, &plan.upgrade.pending);
    }

    /// Says how old the package lists are that the plan rests on: a dry run does not refresh them.
    fn lists(&mut self, indent: usize, refreshed: Option<Timestamp>) {
        let text = match refreshed.map(|at| self.now.since(at)) {
            None => "by package lists of unknown age".to_owned(),
            Some(age) if age >= OLD_LISTS => {
                format!("by package lists that are {} old: there may be more by now", words::span(age))
            }
            Some(age) => format!("by package lists that are {} old", words::span(age)),
        };
        let text = self.paint.faint(&text);
        self.line(indent, &text);
    }

    fn packages(&mut self, indent: usize, packages: &[PackageChange]) {
        if self.verbose {
            for change in packages {
                self.line(indent, &words::package(change));
            }
        }
    }
}

/// Lists the guests that would be shut down for the node's reboot, where it is to be rebooted at all. Those that HA manages
/// are seen to by HA, which is only known when the time comes.
fn shut_down(plan: &HostPlan) -> Option<Vec<(GuestId, GuestKind)>> {
    let rebooted = plan.upgrade.reboot != HostReboot::Never && plan.own.is_none() && plan.upgrade.left_out.is_none();
    let otherwise: Vec<GuestId> = match &plan.upgrade.guests {
        Some(AtReboot::Move(moves)) => moves.iter().map(|planned| planned.id).collect(),
        Some(AtReboot::Stay { ha, .. }) => ha.iter().map(|(id, _)| *id).collect(),
        None => Vec::new(),
    };
    let running = plan.baseline.running.iter().filter(|(id, _)| !otherwise.contains(id));
    rebooted.then(|| running.copied().collect())
}

/// Says whether a guest is rebooted; `own` says that proxmaint runs in it.
fn reboot_words(reboot: bool, own: bool) -> &'static str {
    match (reboot, own) {
        (false, _) => "",
        (true, false) => "; rebooted if it needs it",
        (true, true) => "; not rebooted, since proxmaint runs in it",
    }
}

/// Says whether a guest is rolled back where its upgrade goes wrong; `own` says that proxmaint runs in it.
fn rollback_words(rollback: bool, own: bool) -> &'static str {
    match (rollback, own) {
        (false, _) => "",
        (true, false) => "; rolled back to its snapshot if it goes wrong",
        (true, true) => "; not rolled back, since proxmaint runs in it",
    }
}

fn upgrade_words(pending: &[PackageChange]) -> String {
    let new = pending.iter().filter(|change| change.old.is_none()).count();
    let removed = pending.iter().filter(|change| change.new.is_none()).count();
    let special = list([some(new, "new"), some(removed, "removed")]);
    let text = format!("upgrade {}", count(pending.len(), "package"));
    if special.is_empty() { text } else { format!("{text} ({special})") }
}

#[derive(Debug, Default, Serialize)]
struct PlanLine<'a> {
    host: Option<&'a HostId>,
    node: Option<&'a NodeName>,
    error: Option<&'a str>,
    hint: Option<&'a str>,
    refused: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Finding]>::is_empty")]
    findings: &'a [Finding],
    #[serde(with = "when::option")]
    facts_at: Option<Timestamp>,
    node_upgrade: Option<NodeLine<'a>>,
    /// Snapshots of earlier runs that would be removed.
    #[serde(skip_serializing_if = "<[OldSnapshot]>::is_empty")]
    prune: &'a [OldSnapshot],
    /// Backups of earlier runs that would be removed.
    #[serde(skip_serializing_if = "<[OldBackup]>::is_empty")]
    prune_backups: &'a [OldBackup],
    own: Option<String>,
    guests: Vec<GuestLine<'a>>,
}

#[derive(Debug, Serialize)]
struct NodeLine<'a> {
    packages: &'a [PackageChange],
    #[serde(with = "when::option")]
    lists_refreshed: Option<Timestamp>,
    lists_age_ms: Option<u64>,
    reboot_wanted: Option<&'a str>,
    left_out: Option<&'a str>,
    reboot: HostReboot,
    shut_down: Vec<ShutDown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    votes: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved: Vec<MovedAway<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_ha: Vec<ShutDown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shutdown_policy: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    noout: bool,
}

/// A guest that would be moved away for the reboot; `to` is `null` where HA chooses.
#[derive(Debug, Serialize)]
struct MovedAway<'a> {
    id: GuestId,
    kind: GuestKind,
    to: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ShutDown {
    id: GuestId,
    kind: GuestKind,
}

#[derive(Debug, Serialize)]
struct GuestLine<'a> {
    id: GuestId,
    kind: GuestKind,
    name: &'a str,
    decision: &'static str,
    reason: Option<String>,
    own: bool,
    upgrade: Option<UpgradeLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<StartLine<'a>>,
}

#[derive(Debug, Serialize)]
struct StartLine<'a> {
    via: ViaChoice,
    protection: Vec<String>,
    not_covered: &'a [String],
    reboot: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rollback: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct UpgradeLine<'a> {
    via: &'static str,
    address: Option<&'a str>,
    manager: PackageManager,
    packages: &'a [PackageChange],
    #[serde(with = "when::option")]
    lists_refreshed: Option<Timestamp>,
    lists_age_ms: Option<u64>,
    protection: Vec<String>,
    not_covered: &'a [String],
    reboot: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rollback: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<String>,
}

fn moved(plan: &HostPlan) -> Vec<MovedAway<'_>> {
    let Some(AtReboot::Move(moves)) = &plan.upgrade.guests else { return Vec::new() };
    let away = |planned: &'_ Move| (planned.id, planned.kind);
    let to = moves.iter().map(|planned| planned.to().map(NodeName::as_str));
    moves.iter().map(away).zip(to).map(|((id, kind), to)| MovedAway { id, kind, to }).collect()
}

/// Writes the `plan` line of one host, without its line break.
pub fn json_line((host, plan): Looked<'_>, now: Timestamp) -> String {
    let age = |at: Option<Timestamp>| at.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
    let body = match plan {
        Err(fault) => {
            PlanLine { host: Some(host), error: Some(&fault.what), hint: fault.hint.as_deref(), ..PlanLine::default() }
        }
        Ok(plan) => PlanLine {
            host: Some(host),
            node: Some(&plan.node),
            refused: plan.refusal.as_deref(),
            findings: &plan.findings,
            facts_at: Some(plan.facts_at),
            prune: &plan.prune,
            prune_backups: &plan.prune_backups,
            own: plan.own.as_ref().map(ToString::to_string),
            node_upgrade: Some(NodeLine {
                packages: &plan.upgrade.pending,
                lists_refreshed: plan.upgrade.lists_refreshed,
                lists_age_ms: age(plan.upgrade.lists_refreshed),
                reboot_wanted: plan.upgrade.reboot_wanted.as_deref(),
                left_out: plan.upgrade.left_out.as_deref(),
                reboot: plan.upgrade.reboot,
                shut_down: shut_down(plan)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(id, kind)| ShutDown { id, kind })
                    .collect(),
                votes: plan.upgrade.votes.as_deref(),
                moved: moved(plan),
                by_ha: match &plan.upgrade.guests {
                    Some(AtReboot::Stay { ha, .. }) => ha.iter().map(|&(id, kind)| ShutDown { id, kind }).collect(),
                    _ => Vec::new(),
                },
                shutdown_policy: match &plan.upgrade.guests {
                    Some(AtReboot::Stay { policy, .. }) => Some(policy),
                    _ => None,
                },
                noout: plan.upgrade.noout,
            }),
            guests: plan.guests.iter().map(|guest| guest_line(guest, age)).collect(),
            ..PlanLine::default()
        },
    };
    json::line("plan", body)
}

/// Lists the ways to protect a guest: `snapshot (else backup to local)`.
fn protection_words(ways: &[ProtectBy]) -> String {
    let mut ways = ways.iter().map(|way| clean(&way.to_string()).into_owned());
    let mut protection = ways.next().unwrap_or_default();
    for way in ways {
        let _ok = write!(protection, " (else {way})");
    }
    protection
}

fn check_words(checks: Option<&[HealthCheck]>) -> Vec<String> {
    checks.unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn guest_line(plan: &GuestPlan, age: impl Fn(Option<Timestamp>) -> Option<u64>) -> GuestLine<'_> {
    let (decision, reason, upgrade) = match &plan.decision {
        Decision::Skip(reason) => ("skip", Some(reason.to_string()), None),
        Decision::Block(reason) => ("block", Some(reason.clone()), None),
        Decision::Start(_) => ("start", None, None),
        Decision::Upgrade(upgrade) => ("upgrade", None, Some(upgrade)),
    };
    let upgrade = upgrade.map(|upgrade| UpgradeLine {
        via: match upgrade.via {
            Via::Pct => "pct",
            Via::Ssh { .. } => "ssh",
            Via::Agent => "agent",
        },
        address: match &upgrade.via {
            Via::Pct | Via::Agent => None,
            Via::Ssh { address } => Some(address),
        },
        manager: upgrade.manager,
        packages: &upgrade.pending,
        lists_refreshed: upgrade.lists_refreshed,
        lists_age_ms: age(upgrade.lists_refreshed),
        protection: upgrade.protection.iter().map(ToString::to_string).collect(),
        not_covered: &upgrade.not_covered,
        reboot: upgrade.reboot && !plan.own,
        rollback: upgrade.rollback && !plan.own,
        checks: check_words(upgrade.checks.as_deref()),
    });
    let start = match &plan.decision {
        Decision::Start(start) => Some(StartLine {
            via: start.via,
            protection: start.protection.iter().map(ToString::to_string).collect(),
            not_covered: &start.not_covered,
            reboot: start.reboot,
            rollback: start.rollback,
            checks: check_words(start.checks.as_deref()),
        }),
        Decision::Skip(_) | Decision::Block(_) | Decision::Upgrade(_) => None,
    };
    let GuestPlan { guest, name, own, .. } = plan;
    GuestLine { id: guest.id, kind: guest.kind, name, decision, reason, own: *own, upgrade, start }
}

/// The canaries of a host.
#[derive(Debug, Serialize)]
struct CanaryLine<'a> {
    host: &'a HostId,
    /// The guests; `null` where it is the whole host.
    guests: Option<Vec<GuestId>>,
}

#[derive(Debug, Serialize)]
struct OrderLine<'a> {
    canaries: Vec<CanaryLine<'a>>,
    /// Entries of `canary` that match nothing here: a run halts by them, unless it is about some hosts or guests only.
    unmatched: Vec<String>,
    soak_ms: u64,
    max_failures: Option<u32>,
}

impl<'a> OrderLine<'a> {
    fn of(rollout: &RolloutPolicy, looked: impl IntoIterator<Item = Looked<'a>>) -> Self {
        let mut canaries = Vec::new();
        let mut unmatched: Vec<&Canary> = rollout.canary.iter().collect();
        for (host, plan) in looked {
            let guests = || plan.iter().flat_map(|plan| &plan.guests);
            unmatched.retain(|canary| {
                let named = matches!(canary, Canary::Host(named) if named == host);
                !named && !guests().any(|guest| canary.matches(host, &guest.traits()))
            });
            let selectors = rollout.selectors_of(host);
            let chosen: Vec<GuestId> =
                guests().filter(|guest| selects(&selectors, &guest.traits())).map(|guest| guest.guest.id).collect();
            match rollout.is_canary(host) {
                true => canaries.push(CanaryLine { host, guests: None }),
                false if chosen.is_empty() => {}
                false => canaries.push(CanaryLine { host, guests: Some(chosen) }),
            }
        }
        let unmatched = unmatched.into_iter().map(ToString::to_string).collect();
        Self { canaries, unmatched, soak_ms: rollout.soak_ms, max_failures: rollout.max_failures }
    }
}

/// Says who would go first and when the run would halt; nothing where all go together and it goes on.
pub fn order_text<'a>(rollout: &RolloutPolicy, looked: impl IntoIterator<Item = Looked<'a>>) -> String {
    let line = OrderLine::of(rollout, looked);
    let mut out = String::new();
    let name = |canary: &CanaryLine<'_>| match &canary.guests {
        None => clean(canary.host.as_str()).into_owned(),
        Some(guests) => {
            let guests: Vec<String> = guests.iter().map(|id| format!("{}/{id}", clean(canary.host.as_str()))).collect();
            guests.join(", ")
        }
    };
    if !line.canaries.is_empty() {
        let then = match rollout.soak_ms {
            0 => String::new(),
            _ => format!("after a soak of {} ", humantime::format_duration(rollout.soak())),
        };
        let names = list(line.canaries.iter().map(name));
        let _ok = writeln!(out, "canaries go first: {names}; {then}they are checked once more, and the rest begins");
    }
    for canary in line.unmatched.iter().filter(|_| !rollout.partial) {
        let _ok = writeln!(out, "the canary {} matches nothing here: a run would halt before anything", clean(canary));
    }
    if let Some(most) = line.max_failures {
        let _ok = writeln!(out, "halts when more than {most} hosts and guests have failed");
    }
    out
}

/// Writes the line `plan-order`, without its line break: who goes first, and when a run halts. Nothing where that is not said.
pub fn order_json<'a>(rollout: &RolloutPolicy, looked: impl IntoIterator<Item = Looked<'a>>) -> Option<String> {
    (!rollout.is_plain()).then(|| json::line("plan-order", OrderLine::of(rollout, looked)))
}

/// Writes the last line, `plan-ended`, without its line break.
pub fn json_end(totals: &PlanTotals) -> String {
    json::line("plan-ended", totals)
}
