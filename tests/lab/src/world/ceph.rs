//! Ceph: disks that the nodes give to one storage, and how well that is.
//!
//! Nothing is stored: an OSD is up while its node is, and what was written while it was down is recovered within
//! [`super::Durations::ceph_recovery`] after it is back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::task::Work;
use super::tasks::Order;
use super::{Asker, MachineId, Time, World};
use crate::ledger::{Act, Outcome};

/// The flags of an OSD map that the API sets and clears, each with what it says of it.
pub const CEPH_FLAGS: &[(&str, &str)] = &[
    ("nobackfill", "Backfilling of PGs is suspended."),
    ("nodeep-scrub", "Deep Scrubbing is disabled."),
    ("nodown", "OSD failure reports are being ignored, such that the monitors will not mark OSDs down."),
    ("noin", "OSDs that were previously marked out will not be marked back in when they start."),
    ("noout", "OSDs will not automatically be marked out after the configured interval."),
    ("norebalance", "Rebalancing of PGs is suspended."),
    ("norecover", "Recovery of PGs is suspended."),
    ("noscrub", "Scrubbing is disabled."),
    ("notieragent", "Cache tiering activity is suspended."),
    ("noup", "OSDs are not allowed to start."),
    ("pause", "Pauses read and writes."),
];

/// How many placement groups the lab's Ceph has.
const PGS: u64 = 96;
/// How many copies of objects are in them: three of each of a thousand.
const COPIES: u64 = 3_000;

/// The Ceph of a realm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceph {
    /// Its identifier.
    pub fsid: String,
    /// The node of each OSD; its place is its number.
    pub osds: Vec<String>,
    /// Nodes with a monitor.
    pub monitors: Vec<String>,
    /// Flags that are set.
    pub flags: BTreeSet<String>,
    /// Warnings that last, whatever the nodes do: by code (`POOL_NEARFULL`), each with its severity (`HEALTH_WARN`, `HEALTH_ERR`)
    /// and what is said of it.
    pub lasting: BTreeMap<String, (String, String)>,
    /// When all that was missed is recovered.
    pub recovered: Time,
}

/// One of Ceph's health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CephCheck {
    /// Its code: `OSD_DOWN`.
    pub code: String,
    /// `HEALTH_WARN` or `HEALTH_ERR`.
    pub severity: String,
    /// What is said of it.
    pub message: String,
    /// How many things it counts.
    pub count: u64,
}

/// How well a Ceph is at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CephHealth {
    /// `HEALTH_OK`, `HEALTH_WARN` or `HEALTH_ERR`.
    pub status: String,
    /// What is not well, in order of code.
    pub checks: Vec<CephCheck>,
    /// How many OSDs are up.
    pub osds_up: usize,
    /// How many placement groups are clean.
    pub clean: u64,
    /// How many placement groups there are.
    pub pgs: u64,
    /// Nodes whose monitors are in quorum.
    pub quorum: Vec<String>,
}

impl World {
    /// Tells how well the Ceph of a realm is; `None` where it has none.
    pub fn ceph_health(&self, realm: &str) -> Option<CephHealth> {
        let ceph = self.realms.get(realm)?.ceph.as_ref()?;
        let up = |node: &&String| self.nodes.get(*node).is_some_and(|node| node.online);
        let osds = ceph.osds.len();
        let osds_up = ceph.osds.iter().filter(up).count();
        let quorum: Vec<String> = ceph.monitors.iter().filter(up).cloned().collect();
        let down = osds - osds_up;
        let hosts: BTreeSet<&String> = ceph.osds.iter().filter(|node| !up(node)).collect();
        let recovering = down == 0 && self.now < ceph.recovered;
        let mut checks = Vec::new();
        let mut check = |code: &str, severity: &str, count: usize, message: String| {
            let (code, severity) = (code.to_owned(), severity.to_owned());
            checks.push(CephCheck { code, severity, message, count: count as u64 });
        };
        if quorum.len() < ceph.monitors.len() {
            let (lost, all) = (ceph.monitors.len() - quorum.len(), ceph.monitors.len());
            check("MON_DOWN", "HEALTH_WARN", lost, format!("{lost}/{all} mons down, quorum {}", quorum.join(",")));
        }
        if !ceph.flags.is_empty() {
            let flags: Vec<&str> =
                ceph.flags.iter().map(|f| if f == "pause" { "pauserd,pausewr" } else { f.as_str() }).collect();
            check("OSDMAP_FLAGS", "HEALTH_WARN", flags.len(), format!("{} flag(s) set", flags.join(",")));
        }
        if down > 0 {
            check("OSD_DOWN", "HEALTH_WARN", down, format!("{down} osds down"));
            let s = if hosts.len() == 1 { "" } else { "s" };
            check("OSD_HOST_DOWN", "HEALTH_WARN", hosts.len(), format!("{} host{s} ({down} osds) down", hosts.len()));
        }
        let degraded = match (down, recovering) {
            (0, false) => 0,
            (0, true) => 8,
            (down, _) => PGS * down as u64 / osds.max(1) as u64,
        };
        if degraded > 0 {
            let copies = COPIES * degraded / PGS;
            let tenths = copies * 100_000 / COPIES;
            let undersized = if recovering { String::new() } else { format!(", {degraded} pgs undersized") };
            let message = format!(
                "Degraded data redundancy: {copies}/{COPIES} objects degraded ({}.{:03}%), {degraded} pgs degraded{undersized}",
                tenths / 1000,
                tenths % 1000
            );
            check("PG_DEGRADED", "HEALTH_WARN", usize::try_from(degraded).unwrap_or(usize::MAX), message);
        }
        // Of three copies, two must be there (`min_size`).
        if hosts.len() > 1 {
            let message = format!("Reduced data availability: {degraded} pgs inactive");
            check("PG_AVAILABILITY", "HEALTH_WARN", usize::try_from(degraded).unwrap_or(usize::MAX), message);
        }
        for (code, (severity, message)) in &ceph.lasting {
            check(code, severity, 1, message.clone());
        }
        checks.sort_by(|a, b| a.code.cmp(&b.code));
        let worst = checks.iter().map(|check| check.severity.as_str()).min().unwrap_or("HEALTH_OK").to_owned();
        Some(CephHealth { status: worst, checks, osds_up, clean: PGS - degraded, pgs: PGS, quorum })
    }

    /// Sets or clears a flag of a realm's Ceph. What is so already is entered into the ledger as well, and is no error.
    ///
    /// # Errors
    /// A realm without Ceph: what a real node says of it.
    pub fn ceph_flag(
        &mut self,
        now: Time,
        node: &str,
        flag: &str,
        set: bool,
        by: &Asker,
    ) -> Result<(), super::Refusal> {
        self.advance(now);
        let act = if set { Act::CephFlagSet } else { Act::CephFlagClear };
        let realm = self.nodes.get(node).map(|node| node.realm.clone()).unwrap_or_default();
        let Some(ceph) = self.realms.get_mut(&realm).and_then(|realm| realm.ceph.as_mut()) else {
            return Err(super::Refusal(NO_CEPH.to_owned()));
        };
        if set {
            ceph.flags.insert(flag.to_owned());
        } else {
            ceph.flags.remove(flag);
        }
        self.record(self.now, &MachineId::node(node), act, Some(flag.to_owned()), &by.to_string(), Outcome::Done);
        Ok(())
    }

    /// Begins a task that sets and clears flags of a realm's Ceph; returns the UPID. They are as asked when it ends.
    ///
    /// # Errors
    /// A realm without Ceph.
    pub fn ceph_flags(
        &mut self,
        now: Time,
        node: &str,
        flags: &[(String, bool)],
        by: &Asker,
    ) -> Result<String, super::Refusal> {
        self.advance(now);
        if self.realm_of(node).is_none_or(|realm| realm.ceph.is_none()) {
            return Err(super::Refusal(NO_CEPH.to_owned()));
        }
        let order = Order { node, kind: "cephsetflags", id: String::new(), by, ledger: None };
        let work = Work::CephFlags(flags.to_vec(), by.clone());
        Ok(self.begin_task(order, work, self.durations.ceph_flag))
    }

    /// A node with OSDs is up again: what they missed is recovered from now on.
    pub(crate) fn ceph_node_up(&mut self, node: &str) {
        let recovered = self.now.saturating_add(self.durations.ceph_recovery);
        let realm = self.nodes.get(node).map(|node| node.realm.clone()).unwrap_or_default();
        let ceph = self.realms.get_mut(&realm).and_then(|realm| realm.ceph.as_mut());
        if let Some(ceph) = ceph.filter(|ceph| ceph.osds.iter().any(|on| on == node)) {
            ceph.recovered = recovered;
        }
    }

    /// Lets the Ceph of a realm have a warning that lasts until [`World::ceph_no_warning`]: a code (`POOL_NEARFULL`), a severity
    /// (`HEALTH_WARN`, `HEALTH_ERR`), and what is said.
    pub fn ceph_warning(&mut self, realm: &str, code: &str, severity: &str, message: &str) {
        if let Some(ceph) = self.realms.get_mut(realm).and_then(|realm| realm.ceph.as_mut()) {
            ceph.lasting.insert(code.to_owned(), (severity.to_owned(), message.to_owned()));
        }
    }

    /// Takes a lasting warning away.
    pub fn ceph_no_warning(&mut self, realm: &str, code: &str) {
        if let Some(ceph) = self.realms.get_mut(realm).and_then(|realm| realm.ceph.as_mut()) {
            ceph.lasting.remove(code);
        }
    }
}

/// What a node says that has no Ceph.
pub(crate) const NO_CEPH: &str = "binary not installed: /usr/bin/ceph-mon";
