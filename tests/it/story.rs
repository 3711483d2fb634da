//! A run in which everything happens once that a journal can hold: told by the machine itself, written by this program.

use proxmaint::choices::health::{Ask, HealthCheck};
use proxmaint::choices::{
    BackupMode, Compression, GuestReboot, HostReboot, OnFailure, ProtectChoice, Scope, Selector, Stopped, ViaChoice,
};
use proxmaint::ids::{BootId, ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, SnapshotName, Step, Upid};
use proxmaint::inventory::health::{CheckResult, Health, Listener, Protocol};
use proxmaint::inventory::{Inside, OsFacts, PackageChange, PackageManager, Via};
use proxmaint::journal::record::{CloseReason, RunRecord, encode_event, encode_intent, encode_run};
use proxmaint::machine::effect::{Effect, Mode};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::Resolution;
use proxmaint::machine::outcome::{
    CheckReport, Detail, Fault, Outcome, Probed, Protection, RebootFacts, Remarks, RunningGuest, VerifyReport,
};
use proxmaint::machine::run::{RunResult, RunState};
use proxmaint::plan::{
    BackupHow, BackupSettings, Baseline, Check, Decision, Finding, GuestAddr, GuestPlan, GuestRule, GuestSettings,
    GuestStart, GuestUpgrade, HostPlan, HostPolicy, HostUpgrade, OldBackup, OldSnapshot, OwnPlace, ProtectBy,
    Retention, RunPolicy, SkipReason,
};
use proxmaint::time::Timestamp;
use serde_json::{Value, json};

const RUN: &str = "20261123-010203-tale";

/// Returns the records of the run, one a line.
pub fn written() -> String {
    let mut story = Story::open();
    story.first_session();
    story.second_session();
    story.third_session();
    story.lines.join("\n") + "\n"
}

/// Returns its records up to where two things are owed: a guest is to be stopped, and another one to run again.
pub fn owing() -> String {
    let mut story = Story::open();
    story.first_session();
    story.second_session();
    story.lines.join("\n") + "\n"
}

struct Story {
    run: RunState,
    at: Timestamp,
    open: Vec<Effect>,
    lines: Vec<String>,
}

fn pve(n: u32) -> HostId {
    HostId::new(format!("pve{n}"))
}

fn selectors(all: &[&str]) -> Vec<Selector> {
    all.iter().map(|one| one.parse().expect("a selector")).collect()
}

/// A policy in which every key says something else than where nothing is said.
fn policy() -> RunPolicy {
    let settings = GuestSettings {
        checks: checks(),
        via: ViaChoice::Ssh,
        stopped: Stopped::Start,
        protect: vec![ProtectChoice::Snapshot, ProtectChoice::Backup, ProtectChoice::None],
        on_failure: OnFailure::Rollback,
        reboot: GuestReboot::IfNeeded,
        backup: BackupSettings {
            storage: Some("pbs".to_owned()),
            mode: BackupMode::Suspend,
            compress: Compression::Gzip,
            lock_wait_ms: 60_000,
        },
    };
    let rule = GuestRule {
        checks: Some(checks()),
        who: "tag:db".parse().expect("a selector"),
        managed: Some(true),
        via: Some(ViaChoice::Agent),
        stopped: Some(Stopped::Skip),
        protect: Some(vec![ProtectChoice::Backup]),
        on_failure: Some(OnFailure::Keep),
        reboot: Some(GuestReboot::Never),
        backup_storage: Some("local".to_owned()),
        backup_mode: Some(BackupMode::Stop),
        backup_compress: Some(Compression::None),
    };
    let first = HostPolicy {
        node: Some(NodeName::new("pve1")),
        max_parallel: 8,
        unmanaged: [GuestId(900)].into(),
        declared: [GuestId(101)].into(),
        protect_max_age_ms: 7_200_000,
        only: selectors(&["100-199", "!150"]),
        include: selectors(&["type:ct", "name:web*"]),
        exclude: selectors(&["pool:lab"]),
        guests: settings,
        rules: vec![rule],
        reboot: HostReboot::Always,
        lock_wait_ms: 1_000,
        keep: Retention { snapshots_for_ms: 1, snapshots_last: 2, backups_for_ms: 3, backups_last: 4 },
        ..HostPolicy::new(pve(1))
    };
    let second = HostPolicy { scope: Scope::GuestsOnly, ..HostPolicy::new(pve(2)) };
    let third = HostPolicy::new(pve(3));
    RunPolicy { parallel_hosts: 3, hosts: vec![first, second, third] }
}

fn change(name: &str) -> PackageChange {
    PackageChange { name: name.to_owned(), old: Some("1".to_owned()), new: Some("2".to_owned()) }
}

fn addr(kind: GuestKind, id: u32) -> GuestAddr {
    GuestAddr { node: NodeName::new("pve1"), kind, id: GuestId(id), identity: Some(format!("identity-{id}")) }
}

fn guest(kind: GuestKind, id: u32, decision: Decision) -> GuestPlan {
    let tags = vec!["db".to_owned()];
    GuestPlan {
        guest: addr(kind, id),
        name: format!("guest{id}"),
        tags,
        pool: Some("prod".to_owned()),
        decision,
        own: false,
    }
}

fn upgrade(via: Via, manager: PackageManager, protection: Vec<ProtectBy>, reboot: bool) -> Decision {
    Decision::Upgrade(GuestUpgrade {
        via,
        manager,
        pending: vec![change("bash")],
        lists_refreshed: Some(Timestamp(1_795_396_000_000)),
        protection,
        not_covered: vec!["mp0 (/srv)".to_owned()],
        boot_id: BootId::new("boot-1"),
        reboot,
        rollback: !reboot,
        checks: Some(checks()),
    })
}

/// A check of each kind, with everything that it may say.
fn checks() -> Vec<HealthCheck> {
    let check =
        |name: &str, ask| HealthCheck { name: name.to_owned(), ask, retries: 1, every_ms: 500, timeout_ms: 3_000 };
    vec![
        check("db", Ask::Tcp { port: 5432, host: Some("192.0.2.8".to_owned()) }),
        check(
            "web",
            Ask::Http {
                url: "https://{address}/".to_owned(),
                status: vec![200, 204],
                text: Some("welcome".to_owned()),
                insecure: true,
                redirects: 1,
            },
        ),
        check("own", Ask::Command { line: "true".to_owned(), exit: 1 }),
    ]
}

fn measured() -> Detail {
    let result =
        |name: &str, failed: Option<&str>| CheckResult { name: name.to_owned(), failed: failed.map(str::to_owned) };
    Detail::Measured(Box::new(Health {
        failed_units: Some(["old.service".to_owned()].into()),
        listening: Some([Listener { protocol: Protocol::Tcp, address: [0, 0, 0, 0].into(), port: 80 }].into()),
        checks: vec![result("db", None), result("web", Some("answers 503")), result("own", None)],
    }))
}

fn plan() -> HostPlan {
    let how = BackupHow { mode: BackupMode::Stop, compress: Compression::Lzo, lock_wait_ms: 5_000 };
    let backup = ProtectBy::Backup { storage: "pbs".to_owned(), how };
    let ways = vec![ProtectBy::Snapshot, backup.clone()];
    let start = GuestStart {
        via: ViaChoice::Pct,
        protection: vec![ProtectBy::Snapshot],
        not_covered: vec!["mp1 (/data)".to_owned()],
        declared: true,
        reboot: true,
        rollback: true,
        checks: Some(checks()),
    };
    let ssh = Via::Ssh { address: "192.0.2.7".to_owned() };
    HostPlan {
        node: NodeName::new("pve1"),
        ca: ClusterId::new("AA:BB"),
        cluster: Some(ClusterId::new("AA:BB")),
        refusal: None,
        facts_at: Timestamp(1_795_396_000_000),
        guests: vec![
            guest(GuestKind::Ct, 101, upgrade(Via::Pct, PackageManager::Apt, ways, false)),
            guest(GuestKind::Ct, 102, Decision::Start(start)),
            guest(GuestKind::Vm, 103, upgrade(Via::Agent, PackageManager::Dnf, vec![ProtectBy::Waived], true)),
            guest(GuestKind::Vm, 104, upgrade(ssh, PackageManager::Zypper, vec![ProtectBy::Snapshot], false)),
            guest(GuestKind::Ct, 105, Decision::Skip(SkipReason::LeftOut("guests.exclude".to_owned()))),
            guest(GuestKind::Ct, 106, Decision::Block("no way to protect it".to_owned())),
        ],
        prune: vec![OldSnapshot { guest: addr(GuestKind::Ct, 101), name: SnapshotName::new("pm-old-r1") }],
        prune_backups: vec![OldBackup {
            guest: addr(GuestKind::Ct, 101),
            volid: "pbs:backup/ct/101/old".to_owned(),
            note: "proxmaint old".to_owned(),
        }],
        findings: vec![Finding::warn(Check::Held, "postfix is held back").remedy("apt-mark unhold postfix")],
        own: None,
        upgrade: HostUpgrade {
            manager: Some(PackageManager::Apt),
            pending: vec![change("pve-manager")],
            lists_refreshed: Some(Timestamp(1_795_396_000_000)),
            reboot_wanted: Some("another kernel is installed".to_owned()),
            left_out: None,
            reboot: HostReboot::Always,
            votes: None,
        },
        baseline: Baseline {
            services: vec!["pveproxy".to_owned()],
            running: vec![(GuestId(101), GuestKind::Ct), (GuestId(103), GuestKind::Vm)],
            boot_id: BootId::new("boot-1"),
        },
    }
}

/// A node that proxmaint runs on, and of which only guests are maintained: there are none.
fn own_plan() -> HostPlan {
    let mut plan = HostPlan { guests: Vec::new(), prune: Vec::new(), prune_backups: Vec::new(), ..plan() };
    (plan.node, plan.ca, plan.cluster) = (NodeName::new("pve2"), ClusterId::new("CC:DD"), None);
    plan.own = Some(OwnPlace::Guest(GuestId(201)));
    plan.upgrade.left_out = Some("--guests-only".to_owned());
    plan.upgrade.reboot = HostReboot::Never;
    plan
}

fn remarks() -> Remarks {
    Remarks {
        held: vec!["postfix".to_owned()],
        leftovers: vec!["/etc/x.dpkg-dist".to_owned()],
        restart_needed: vec!["cron.service".to_owned()],
        health: vec!["no longer listening: tcp 0.0.0.0:80".to_owned()],
    }
}

fn checked(reboot_wanted: Option<&str>) -> Outcome {
    Outcome::Done(Detail::Checked(CheckReport {
        changes: vec![change("bash")],
        reboot_wanted: reboot_wanted.map(str::to_owned),
        boot_id: Some(BootId::new("boot-1")),
        remarks: remarks(),
    }))
}

fn os() -> OsFacts {
    OsFacts {
        id: "debian".to_owned(),
        id_like: Vec::new(),
        pretty_name: "Debian GNU/Linux 13 (trixie)".to_owned(),
        manager: Some(PackageManager::Apt),
        pending: vec![change("bash")],
        held: Vec::new(),
        lists_refreshed: None,
        kernel: "6.14.11-4-pve".to_owned(),
        boot_id: BootId::new("boot-2"),
        reboot_wanted: None,
        kernel_next: None,
        codename: None,
        unfit: None,
        leftovers: Vec::new(),
        restart_needed: Vec::new(),
    }
}

fn failed(what: &str) -> Outcome {
    Outcome::Failed(Fault::permanent(what).hint("look at it"))
}

impl Story {
    fn open() -> Self {
        let (policy, at) = (policy(), Timestamp(1_795_395_723_000));
        let run = RunState::open(RunId::new(RUN), &policy, at);
        let mut story = Self { run, at, open: Vec::new(), lines: Vec::new() };
        story.of_run(&RunRecord::Opened { policy, manifest: Some("/srv/fleet/proxmox-hosts.toml".to_owned()) });
        story
    }

    fn line(&mut self, stream: &str, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let seq = self.lines.len() + 1;
        self.lines.push(json!({"run": RUN, "stream": stream, "seq": seq, "at": self.at.0, "body": body}).to_string());
    }

    fn of_run(&mut self, record: &RunRecord) {
        self.at = Timestamp(self.at.0 + 1_000);
        self.line("run", &encode_run(record));
    }

    fn event(&mut self, host: &HostId, event: &HostEvent) {
        self.at = Timestamp(self.at.0 + 1_000);
        let effects = self.run.apply(host, event, self.at).expect("a legal event");
        let stream = format!("host:{host}");
        self.line(&stream, &encode_event(event));
        for effect in effects {
            self.run.intended(&effect.key, effect.mode, self.at);
            self.line(&stream, &encode_intent(&effect.key, effect.mode));
            self.open.push(effect);
        }
    }

    fn grants(&mut self) {
        loop {
            let grants = self.run.grants();
            if grants.is_empty() {
                return;
            }
            for (host, event) in grants {
                self.event(&host, &event);
            }
        }
    }

    fn take(&mut self, host: u32, guest: Option<u32>, step: Step) -> Effect {
        let is_it = |effect: &Effect| {
            let target = &effect.key.target;
            *target.host() == pve(host) && target.guest() == guest.map(GuestId) && effect.key.step == step
        };
        let at = self.open.iter().position(is_it).unwrap_or_else(|| panic!("no {step} of {host} {guest:?} is open"));
        self.open.remove(at)
    }

    fn planned(&mut self, host: u32, plan: HostPlan) {
        let key = self.take(host, None, Step::Discover).key;
        self.event(&pve(host), &HostEvent::Planned { key, plan: Box::new(plan) });
        self.grants();
    }

    fn ended(&mut self, guest: Option<u32>, step: Step, outcome: Outcome) {
        let key = self.take(1, guest, step).key;
        self.event(&pve(1), &HostEvent::Ended { key, outcome });
        self.grants();
    }

    fn done(&mut self, guest: Option<u32>, step: Step, detail: Detail) {
        self.ended(guest, step, Outcome::Done(detail));
    }

    fn probed(&mut self, guest: Option<u32>, step: Step, found: Probed) {
        let Effect { key, mode, .. } = self.take(1, guest, step);
        assert_eq!(mode, Mode::Probe, "{key}");
        self.event(&pve(1), &HostEvent::Probed { key, found });
    }

    fn refused_by_the_third(&mut self) {
        let key = self.take(3, None, Step::Discover).key;
        let outcome = Outcome::Failed(Fault::auth("GET /version: 401").hint("check the token"));
        self.event(&pve(3), &HostEvent::Ended { key, outcome });
    }

    /// Up to an interruption while a guest that was started is being upgraded.
    fn first_session(&mut self) {
        self.of_run(&RunRecord::Session { pid: 4711 });
        self.grants();
        self.planned(2, own_plan());
        self.refused_by_the_third();
        self.planned(1, plan());
        self.done(None, Step::PruneSnapshot, Detail::Pruned);
        self.ended(None, Step::PruneBackup, Outcome::AlreadyDone(Detail::Pruned));
        self.ended(Some(101), Step::Snapshot, Outcome::Refused(Fault::permanent("the storage has no snapshots")));
        let backup = self.take(1, Some(101), Step::Backup);
        let task = Upid::new("UPID:pve1:000A:000B:6741:vzdump:101:root@pam!proxmaint:");
        self.event(&pve(1), &HostEvent::TaskStarted { key: backup.key.clone(), task });
        let (volid, note) = ("pbs:backup/ct/101/new".to_owned(), Some(backup.key.backup_note()));
        let protection = Protection::Backup { volid, at: self.at, note };
        self.open.push(backup);
        self.done(Some(101), Step::Backup, Detail::Protected(protection));
        let name = SnapshotName::new("pm-tale-r1");
        let snapshot = |at| Detail::Protected(Protection::Snapshot { name: name.clone(), at });
        self.done(Some(104), Step::Snapshot, snapshot(self.at));
        self.done(Some(101), Step::MeasureGuest, measured());
        self.done(Some(101), Step::UpgradeGuest, Detail::Upgraded);
        self.ended(Some(101), Step::CheckGuest, checked(None));
        self.done(Some(103), Step::MeasureGuest, measured());
        self.done(Some(103), Step::UpgradeGuest, Detail::Upgraded);
        self.ended(Some(103), Step::CheckGuest, checked(Some("another kernel is installed")));
        self.done(Some(103), Step::RebootGuest, Detail::Rebooted(BootId::new("boot-2")));
        self.ended(Some(103), Step::CheckGuest, checked(None));
        self.done(Some(102), Step::StartGuest, Detail::Started);
        let inside = Inside::Seen { via: Via::Pct, os: Box::new(os()) };
        self.done(Some(102), Step::LookGuest, Detail::Looked(Box::new(inside)));
        self.done(Some(102), Step::Snapshot, snapshot(self.at));
        self.done(Some(102), Step::MeasureGuest, measured());
        self.done(Some(104), Step::MeasureGuest, measured());
        self.of_run(&RunRecord::Ended { result: RunResult::Failed, interrupted: true, finished: false });
    }

    /// What was in doubt is looked at, one is decided by the operator, and the node is rebooted; its guests don't come up.
    fn second_session(&mut self) {
        self.open.clear();
        self.of_run(&RunRecord::Session { pid: 4712 });
        let mut policy = policy();
        policy.hosts[1].max_parallel = 3;
        self.of_run(&RunRecord::Replanned { policy: policy.clone() });
        self.event(&pve(2), &HostEvent::PolicyChanged { policy: policy.hosts[1].clone() });
        for (host, event) in self.run.new_rounds().into_iter().chain(self.run.looks()) {
            self.event(&host, &event);
        }
        self.probed(Some(102), Step::UpgradeGuest, Probed::Running);
        self.probed(Some(104), Step::UpgradeGuest, Probed::Unclear(Fault::ambiguous("it left no exit status")));
        let (guest, resolution) = (Some(GuestId(104)), Resolution::Done);
        self.event(&pve(1), &HostEvent::Resolved { guest, resolution });
        self.ended(Some(104), Step::CheckGuest, failed("it does not answer any more"));
        self.done(Some(104), Step::RollbackGuest, Detail::RolledBack);
        self.done(Some(104), Step::ReviveGuest, Detail::Started);
        self.done(Some(104), Step::RecheckGuest, Detail::Rechecked);
        self.done(Some(102), Step::UpgradeGuest, Detail::Upgraded);
        self.ended(Some(102), Step::CheckGuest, checked(None));
        self.ended(Some(102), Step::StopGuest, failed("it did not shut down"));
        self.done(None, Step::UpgradeHost, Detail::Upgraded);
        let report = VerifyReport {
            changes: vec![change("pve-manager")],
            reboot_wanted: Some("another kernel is installed".to_owned()),
            rebooted: None,
            remarks: remarks(),
        };
        self.done(None, Step::Verify, Detail::Verified(report));
        let running = |id, ha| RunningGuest { id: GuestId(id), kind: GuestKind::Ct, name: format!("guest{id}"), ha };
        let ready = RebootFacts {
            boot_id: BootId::new("boot-1"),
            kernel: "6.14.11-4-pve".to_owned(),
            expected: Some("6.17.2-1-pve".to_owned()),
            running: vec![running(101, false), running(103, true)],
        };
        self.done(None, Step::PrepareReboot, Detail::RebootReady(ready));
        self.done(None, Step::StopGuests, Detail::GuestsStopped);
        self.ended(None, Step::RebootHost, Outcome::Unknown(Fault::ambiguous("the answer was lost")));
        self.probed(None, Step::RebootHost, Probed::Ended(Outcome::Done(Detail::Rebooted(BootId::new("boot-2")))));
        self.ended(None, Step::StartGuests, failed("CT 101: no space left on device"));
        self.refused_by_the_third();
        // It comes when everything else is over, and is looked at anew then.
        self.grants();
        self.planned(2, own_plan());
        self.of_run(&RunRecord::Ended { result: RunResult::Failed, interrupted: false, finished: false });
    }

    /// What is owed is given back, and the run is closed.
    fn third_session(&mut self) {
        self.open.clear();
        self.of_run(&RunRecord::Session { pid: 4713 });
        for (host, event) in self.run.give_backs() {
            self.event(&host, &event);
        }
        self.done(None, Step::StartGuests, Detail::GuestsStarted);
        self.done(Some(102), Step::StopGuest, Detail::Stopped);
        self.event(&pve(1), &HostEvent::RollBack { guest: GuestId(104), runs: true });
        self.ended(Some(104), Step::RollbackGuest, Outcome::Refused(Fault::permanent("newer snapshots on its ZFS")));
        self.of_run(&RunRecord::Ended { result: RunResult::Failed, interrupted: false, finished: false });
        self.of_run(&RunRecord::Closed { reason: CloseReason::Expired });
    }
}
