//! Builds runs by feeding events to the machine: what the engine would do, without one.

use std::collections::BTreeMap;

use proxmaint::ids::{BootId, ClusterId, GuestId, GuestKind, HostId, NodeName, RunId, Step, StepKey, Target, Upid};
use proxmaint::inventory::{
    ClusterFacts, GuestFacts, HostFacts, Inside, NodeState, OsFacts, PackageChange, PackageManager, Power,
    RepositoryFacts, RootAccess, StorageFacts, Via,
};
use proxmaint::machine::effect::{Effect, Mode};
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::outcome::{CheckReport, Detail, Fault, Outcome, Probed, Protection, VerifyReport};
use proxmaint::machine::run::RunState;
use proxmaint::observe::view::{Ask, Detail as Depth, RunView, Standing};
use proxmaint::plan::{HostPlan, HostPolicy, RunPolicy, plan_host};
use proxmaint::time::Timestamp;

/// 2026-11-22T22:28:42Z.
pub const OPENED: Timestamp = Timestamp(1_795_386_522_000);

pub fn change(name: &str, old: &str, new: &str) -> PackageChange {
    let version = |v: &str| (!v.is_empty()).then(|| v.to_owned());
    PackageChange { name: name.to_owned(), old: version(old), new: version(new) }
}

pub fn os(pending: Vec<PackageChange>) -> OsFacts {
    OsFacts {
        id: "debian".to_owned(),
        id_like: Vec::new(),
        pretty_name: "Debian GNU/Linux 13 (trixie)".to_owned(),
        manager: Some(PackageManager::Apt),
        pending,
        held: Vec::new(),
        lists_refreshed: Some(OPENED),
        kernel: "6.14.11-4-pve".to_owned(),
        boot_id: BootId::new("6d0c5f3a"),
        reboot_wanted: None,
        kernel_next: None,
        codename: None,
        unfit: None,
        leftovers: Vec::new(),
        restart_needed: Vec::new(),
    }
}

pub fn ct(id: u32, name: &str, inside: Inside) -> GuestFacts {
    GuestFacts {
        id: GuestId(id),
        kind: GuestKind::Ct,
        name: name.to_owned(),
        identity: Some(format!("id-{id}")),
        power: Power::Running,
        template: false,
        lock: None,
        can_snapshot: true,
        pool: None,
        own_snapshots: Vec::new(),
        not_backed_up: Vec::new(),
        disk_bytes: 8 << 30,
        address: None,
        inside,
        tags: Vec::new(),
        resource_pool: None,
        ha: false,
        replicated: None,
    }
}

pub fn seen(pending: Vec<PackageChange>) -> Inside {
    Inside::Seen { via: Via::Pct, os: Box::new(os(pending)) }
}

pub fn pending() -> Vec<PackageChange> {
    vec![change("nginx", "1.26.3-2", "1.26.3-3"), change("openssl", "3.5.1-1", "3.5.4-1")]
}

/// Two containers to upgrade, one with nothing pending, one template, one virtual machine without a way in.
pub fn guests() -> Vec<GuestFacts> {
    let mut template = ct(900, "debian-13", Inside::NotLooked);
    template.template = true;
    let mut vm = ct(110, "windows", Inside::NoWayIn("no address and no login are known".to_owned()));
    vm.kind = GuestKind::Vm;
    vec![
        ct(101, "web", seen(pending())),
        ct(102, "db", seen(vec![change("postgresql-17", "17.5-1", "17.6-1")])),
        ct(103, "idle", seen(Vec::new())),
        vm,
        template,
    ]
}

pub fn facts(node: &str, guests: Vec<GuestFacts>) -> HostFacts {
    HostFacts {
        node: NodeName::new(node),
        pve_version: "9.2.1".to_owned(),
        ca: ClusterId::new(format!("ca-{node}")),
        cluster: None,
        seen_at: OPENED,
        os: os(vec![change("pve-manager", "9.1.1", "9.2.1")]),
        services_running: vec!["pveproxy".to_owned()],
        guests,
        backup_storages: vec![StorageFacts { name: "local".to_owned(), available: 100 << 30 }],
        state: in_order(),
    }
}

/// A node of which the checks find nothing to remark.
fn in_order() -> NodeState {
    let all: BTreeMap<String, bool> = [
        "Datastore.AllocateSpace",
        "Sys.Audit",
        "Sys.PowerMgmt",
        "VM.Audit",
        "VM.Backup",
        "VM.GuestAgent.Unrestricted",
        "VM.PowerMgmt",
        "VM.Snapshot",
    ]
    .map(|privilege| (privilege.to_owned(), true))
    .into();
    NodeState {
        permissions: BTreeMap::from([("/".to_owned(), all)]),
        root: Some(RootAccess::Root),
        repositories: vec![RepositoryFacts {
            file: "/etc/apt/sources.list.d/proxmox.sources".to_owned(),
            uris: vec!["http://download.proxmox.com/debian/pve".to_owned()],
            suites: vec!["trixie".to_owned()],
            components: vec!["pve-no-subscription".to_owned()],
            enabled: true,
        }],
        subscription: Some("notfound".to_owned()),
        ..NodeState::default()
    }
}

/// The same within a cluster of pve1 and pve2.
pub fn clustered(node: &str, guests: Vec<GuestFacts>) -> HostFacts {
    let id = ClusterId::new("ca-lab");
    let nodes = ["pve1", "pve2"].map(|name| (NodeName::new(name), true)).into();
    let cluster =
        ClusterFacts { id: id.clone(), name: "lab".to_owned(), quorate: true, nodes, quorum: None, ha_resources: None };
    HostFacts { ca: id, cluster: Some(cluster), ..facts(node, guests) }
}

pub fn policy(host: &str) -> HostPolicy {
    HostPolicy {
        host: HostId::new(host),
        node: None,
        max_parallel: 2,
        unmanaged: Default::default(),
        declared: Default::default(),
        protect_max_age_ms: 3_600_000,
        ..HostPolicy::new(proxmaint::ids::HostId::new("unused"))
    }
}

pub fn plan(host: &str, facts: &HostFacts) -> HostPlan {
    plan_host(&policy(host), facts, None)
}

/// A run that is driven by hand.
pub struct World {
    pub run: RunState,
    pub now: Timestamp,
    /// What was released and not answered yet.
    pub open: Vec<Effect>,
    pub events: Vec<(Timestamp, HostId, HostEvent)>,
}

impl World {
    pub fn new(hosts: &[&str]) -> Self {
        Self::with(hosts, |_| {})
    }

    /// A world whose hosts have another policy than the default.
    pub fn with(hosts: &[&str], change: impl Fn(&mut HostPolicy)) -> Self {
        let mut policy = RunPolicy { parallel_hosts: 2, hosts: hosts.iter().map(|host| policy(host)).collect() };
        policy.hosts.iter_mut().for_each(change);
        let run = RunState::open(RunId::new("20261122-222842-kqzt"), &policy, OPENED);
        Self { run, now: OPENED, open: Vec::new(), events: Vec::new() }
    }

    /// Lets time pass.
    pub fn pass(&mut self, secs: u64) {
        self.now = self.now.after(std::time::Duration::from_secs(secs));
    }

    pub fn event(&mut self, host: &HostId, event: HostEvent) {
        let effects = self.run.apply(host, &event, self.now).expect("a legal event");
        for effect in &effects {
            self.run.intended(&effect.key, effect.mode, self.now);
        }
        self.open.extend(effects);
        self.events.push((self.now, host.clone(), event));
        self.measured();
    }

    /// Guests that are looked at before their upgrade do well.
    fn measured(&mut self) {
        let measures = |effect: &Effect| effect.key.step == Step::MeasureGuest;
        if let Some(at) = self.open.iter().position(measures) {
            let key = self.open.remove(at).key;
            let outcome = Outcome::Done(Detail::Measured(Box::default()));
            self.event(&key.target.host().clone(), HostEvent::Ended { key, outcome });
        }
    }

    /// Hands out the turns that are free.
    pub fn turns(&mut self) {
        for (host, event) in self.run.grants() {
            self.event(&host, event);
        }
    }

    pub fn take(&mut self, host: &str, guest: Option<u32>, step: Step) -> Effect {
        let matches = |effect: &Effect| {
            effect.key.target.host().as_str() == host
                && effect.key.target.guest() == guest.map(GuestId)
                && effect.key.step == step
        };
        let at = self.open.iter().position(matches).unwrap_or_else(|| panic!("no open {step} of {host} {guest:?}"));
        self.open.remove(at)
    }

    /// Answers a discovery with a plan made from facts, and hands out the turn.
    pub fn discovered(&mut self, host: &str, facts: &HostFacts) {
        let key = self.take(host, None, Step::Discover).key;
        let policy = self.run.host(&HostId::new(host)).expect("in the run").policy.clone();
        self.planned(key, plan_host(&policy, facts, None));
    }

    /// Answers a discovery with a plan, and hands out the turn.
    pub fn planned(&mut self, key: StepKey, plan: HostPlan) {
        self.event(&key.target.host().clone(), HostEvent::Planned { key, plan: Box::new(plan) });
        self.turns();
    }

    pub fn ended(&mut self, host: &str, guest: Option<u32>, step: Step, outcome: Outcome) {
        let key = self.take(host, guest, step).key;
        self.event(&HostId::new(host), HostEvent::Ended { key, outcome });
    }

    /// Answers the open probe of a guest's step, or of the node's with no guest.
    pub fn probed(&mut self, host: &str, guest: Option<u32>, found: Probed) {
        let of = |effect: &Effect| {
            effect.mode == Mode::Probe
                && effect.key.target.host().as_str() == host
                && effect.key.target.guest() == guest.map(GuestId)
        };
        let at = self.open.iter().position(of).expect("an open probe");
        let key = self.open.remove(at).key;
        self.event(&HostId::new(host), HostEvent::Probed { key, found });
    }

    pub fn task(&mut self, host: &str, guest: u32, step: Step, round: u32) {
        let key =
            StepKey { run: self.run.id.clone(), target: Target::Guest(HostId::new(host), GuestId(guest)), step, round };
        let task = Upid::new("UPID:pve1:000A:000B:6741:vzsnapshot:101:root@pam!proxmaint:");
        self.event(&HostId::new(host), HostEvent::TaskStarted { key, task });
    }

    pub fn protected(&mut self, host: &str, guest: u32) {
        let key = self.take(host, Some(guest), Step::Snapshot).key;
        let protection = Protection::Snapshot { name: key.snapshot_name(), at: self.now };
        let outcome = Outcome::Done(Detail::Protected(protection));
        self.event(&HostId::new(host), HostEvent::Ended { key, outcome });
    }

    pub fn upgraded(&mut self, host: &str, guest: u32) {
        self.ended(host, Some(guest), Step::UpgradeGuest, Outcome::Done(Detail::Upgraded));
    }

    pub fn checked(&mut self, host: &str, guest: u32, changes: Vec<PackageChange>, reboot: Option<&str>) {
        let report = CheckReport {
            changes,
            reboot_wanted: reboot.map(str::to_owned),
            boot_id: None,
            remarks: Default::default(),
        };
        self.ended(host, Some(guest), Step::CheckGuest, Outcome::Done(Detail::Checked(report)));
    }

    /// Goes through a host with the guests of [`guests`] to its end.
    pub fn whole(&mut self, host: &str, reboot: Option<&str>) {
        self.pass(12);
        self.discovered(host, &facts(host, guests()));
        self.pass(4);
        self.protected(host, 101);
        self.protected(host, 102);
        self.pass(90);
        self.upgraded(host, 101);
        self.upgraded(host, 102);
        self.pass(5);
        self.checked(host, 101, pending(), None);
        self.checked(host, 102, vec![change("postgresql-17", "17.5-1", "17.6-1")], None);
        self.pass(61);
        self.ended(host, None, Step::UpgradeHost, Outcome::Done(Detail::Upgraded));
        self.pass(3);
        let changes = vec![
            change("pve-manager", "9.1.1", "9.2.1"),
            change("proxmox-kernel-6.17.2-1-pve", "", "6.17.2-1"),
            change("proxmox-kernel-6.14.8-2-pve", "6.14.8-2", ""),
        ];
        let report = VerifyReport {
            changes,
            reboot_wanted: reboot.map(str::to_owned),
            rebooted: None,
            remarks: Default::default(),
        };
        self.ended(host, None, Step::Verify, Outcome::Done(Detail::Verified(report)));
        self.turns();
    }

    /// Goes on after an interruption.
    pub fn resume(&mut self) {
        self.open.clear();
        for (host, event) in self.run.looks().into_iter().chain(self.run.new_rounds()) {
            self.event(&host, event);
        }
    }

    pub fn view(&self, standing: Standing, detail: Depth, host: Option<&str>) -> RunView {
        let ask = Ask { detail, host: host.map(HostId::new) };
        let view = RunView::of_run(&self.run, standing, self.now, &ask);
        assert_eq!(view.result, self.run.result(), "the view and the machine disagree");
        view
    }
}

pub fn failed(what: &str) -> Outcome {
    Outcome::Failed(Fault::permanent(what))
}
