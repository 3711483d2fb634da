//! Each check with what makes it warn and fail, and the privileges one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::privileges::{Permissions, Weight, missing, needed, set_up};
use super::*;
use crate::choices::{BackupMode, GuestReboot, ProtectChoice, Stopped, ViaChoice};
use crate::ids::{BootId, ClusterId, GuestId, GuestKind, HostId, NodeName};
use crate::inventory::{
    ClusterFacts, GuestFacts, Inside, NodeState, OsFacts, PackageChange, PackageManager, PoolFacts, Power, QuorumFacts,
    RepositoryFacts, SpaceFacts, StorageFacts, Via,
};
use crate::plan::plan_host;
use crate::time::Timestamp;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn os() -> OsFacts {
    OsFacts {
        id: "debian".to_owned(),
        id_like: Vec::new(),
        pretty_name: "Debian GNU/Linux 13 (trixie)".to_owned(),
        manager: Some(PackageManager::Apt),
        pending: Vec::new(),
        held: Vec::new(),
        lists_refreshed: None,
        kernel: "6.14.8-2-pve".to_owned(),
        boot_id: BootId::new("boot"),
        reboot_wanted: None,
        kernel_next: None,
        codename: Some("trixie".to_owned()),
        unfit: None,
        leftovers: Vec::new(),
        restart_needed: Vec::new(),
    }
}

fn guest(kind: GuestKind, id: u32) -> GuestFacts {
    let via = match kind {
        GuestKind::Ct => Via::Pct,
        GuestKind::Vm => Via::Ssh { address: "10.0.0.1".to_owned() },
    };
    GuestFacts {
        id: GuestId(id),
        kind,
        name: "web".to_owned(),
        identity: Some("x".to_owned()),
        power: Power::Running,
        template: false,
        lock: None,
        can_snapshot: true,
        pool: Some(PoolFacts { name: "thin".to_owned(), available: 50 * GIB, total: 100 * GIB }),
        own_snapshots: Vec::new(),
        not_backed_up: Vec::new(),
        disk_bytes: 8 * GIB,
        tags: Vec::new(),
        resource_pool: None,
        ha: false,
        replicated: None,
        address: None,
        inside: Inside::Seen { via, os: Box::new(OsFacts { boot_id: BootId::new(format!("boot-{id}")), ..os() }) },
    }
}

fn repository(file: &str, uri: &str, suite: &str, component: &str) -> RepositoryFacts {
    RepositoryFacts {
        file: format!("/etc/apt/sources.list.d/{file}.sources"),
        uris: vec![uri.to_owned()],
        suites: vec![suite.to_owned()],
        components: vec![component.to_owned()],
        enabled: true,
    }
}

const ALL: [&str; 9] = [
    "Datastore.AllocateSpace",
    "Sys.Audit",
    "Sys.PowerMgmt",
    "VM.Audit",
    "VM.Backup",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.Unrestricted",
    "VM.PowerMgmt",
    "VM.Snapshot",
];

fn granted(privileges: &[&str]) -> Permissions {
    let flags: BTreeMap<String, bool> = privileges.iter().map(|name| ((*name).to_owned(), true)).collect();
    ["/", "/nodes", "/storage", "/vms"].iter().map(|path| ((*path).to_owned(), flags.clone())).collect()
}

/// A node on which there is nothing to remark.
fn healthy() -> HostFacts {
    let space = |path: &str, available| SpaceFacts { path: path.to_owned(), available, total: 10 * GIB };
    HostFacts {
        node: NodeName::new("pve1"),
        pve_version: "9.2.11".to_owned(),
        ca: ClusterId::new("AA"),
        cluster: None,
        seen_at: Timestamp(0),
        os: os(),
        services_running: Vec::new(),
        guests: vec![guest(GuestKind::Ct, 101), guest(GuestKind::Vm, 201)],
        backup_storages: vec![StorageFacts { name: "local".to_owned(), available: 100 * GIB }],
        state: NodeState {
            permissions: granted(&ALL),
            root: Some(RootAccess::Root),
            space: vec![space("/", 5 * GIB), space("/boot", GIB), space("/var/tmp", 5 * GIB)],
            repositories: vec![
                repository("debian", "http://deb.debian.org/debian", "trixie-updates", "main"),
                repository("proxmox", "http://download.proxmox.com/debian/pve", "trixie", "pve-no-subscription"),
                repository("other", "https://download.example.com/linux", "stable", "main"),
            ],
            subscription: Some("notfound".to_owned()),
            pools: vec![PoolFacts { name: "thin".to_owned(), available: 50 * GIB, total: 100 * GIB }],
            own_boot: Some(BootId::new("elsewhere")),
            ..NodeState::default()
        },
    }
}

fn policy() -> HostPolicy {
    HostPolicy::new(HostId::new("pve1"))
}

/// What is not as it should be, as `check level what`.
fn troubles_with(policy: &HostPolicy, change: impl FnOnce(&mut HostFacts)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    preflight(policy, &facts).into_iter().filter(|finding| finding.level != Level::Ok).collect()
}

/// The only thing that is not as it should be.
#[track_caller]
fn trouble(level: Level, check: Check, change: impl FnOnce(&mut HostFacts)) -> Finding {
    trouble_with(&policy(), level, check, change)
}

#[track_caller]
fn trouble_with(policy: &HostPolicy, level: Level, check: Check, change: impl FnOnce(&mut HostFacts)) -> Finding {
    let mut found = troubles_with(policy, change);
    assert_eq!(found.len(), 1, "{found:#?}");
    let finding = found.remove(0);
    assert_eq!((finding.level, finding.check), (level, check), "{finding:#?}");
    finding
}

fn remedy(finding: &Finding) -> &str {
    finding.remedy.as_deref().unwrap_or_default()
}

#[test]
fn a_healthy_node_has_a_good_line_for_each_check() {
    let findings = preflight(&policy(), &healthy());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    // Those that facts can't tell of are found by whoever gathers them.
    // That checks can be made is not said: most guests have none.
    let elsewhere =
        [Check::Health, Check::Manifest, Check::Credentials, Check::Tls, Check::HostKey, Check::Api, Check::Lease];
    for check in Check::ALL {
        let lines = findings.iter().filter(|finding| finding.check == check).count();
        assert_eq!(lines > 0, !elsewhere.contains(&check), "{check}");
    }
    assert_eq!(findings[0].check, Check::Here, "where proxmaint runs is said first");
    assert_eq!(plan_host(&policy(), &healthy(), None).refusal, None);
    assert_eq!(plan_host(&policy(), &healthy(), None).findings, []);
}

#[test]
fn every_check_is_listed_once_and_in_order() {
    assert!(Check::ALL.is_sorted());
    assert_eq!(BTreeSet::from(Check::ALL).len(), Check::ALL.len());
}

#[test]
fn old_versions_are_refused_and_new_ones_remarked_upon() {
    for (version, level) in [("7.4-17", Level::Fail), ("10.0.1", Level::Warn), ("nine", Level::Warn)] {
        let found = trouble(level, Check::Version, |facts| {
            facts.pve_version = version.to_owned();
            facts.state.permissions = granted(&[&ALL[..], &["VM.Monitor"]].concat());
        });
        assert!(found.what.contains(version), "{found:#?}");
    }
    let eight = troubles_with(&policy(), |facts| {
        facts.pve_version = "8.4.1".to_owned();
        facts.os.codename = Some("bookworm".to_owned());
        facts.state.repositories.retain(|repository| !repository.file.contains("debian"));
        facts.state.repositories[0].suites = vec!["bookworm".to_owned()];
    });
    assert_eq!(eight, []);
}

#[test]
fn the_place_of_its_own_comes_first_and_is_not_rebooted() {
    let own = |facts: &mut HostFacts| facts.state.own_boot = Some(BootId::new("boot-101"));
    let found = trouble(Level::Warn, Check::Here, own);
    assert!(found.what.contains("in guest 101") && !found.what.contains("rebooted"), "{found:#?}");
    let policy = HostPolicy { reboot: HostReboot::Always, ..policy() };
    let found = trouble_with(&policy, Level::Warn, Check::Here, |f| f.state.own_boot = Some(BootId::new("boot")));
    assert!(found.what.contains("on this node") && found.what.contains("will not be rebooted"), "{found:#?}");
}

#[test]
fn another_node_than_the_named_one_fails() {
    let policy = HostPolicy { node: Some(NodeName::new("pve9")), ..policy() };
    assert!(trouble_with(&policy, Level::Fail, Check::Identity, |_| {}).what.contains("says node pve9"));
}

#[test]
fn a_cluster_needs_quorum_and_all_nodes() {
    let cluster = |quorate, online| {
        let nodes = BTreeMap::from([(NodeName::new("pve1"), true), (NodeName::new("pve2"), online)]);
        Some(ClusterFacts {
            id: ClusterId::new("AA"),
            name: "lab".to_owned(),
            quorate,
            nodes,
            quorum: None,
            ha_resources: None,
        })
    };
    assert_eq!(troubles_with(&policy(), |facts| facts.cluster = cluster(true, true)), []);
    let found = trouble(Level::Fail, Check::Cluster, |facts| facts.cluster = cluster(false, true));
    assert!(found.what.contains("no quorum"));
    let found = trouble(Level::Fail, Check::Cluster, |facts| facts.cluster = cluster(true, false));
    assert!(found.what.contains("offline already: pve2"));
}

#[test]
fn what_a_reboot_would_cost_in_votes_is_told_and_never_guessed() {
    let two = |needed: u32, ha_resources: Option<Vec<String>>| {
        let nodes = BTreeMap::from([(NodeName::new("pve1"), true), (NodeName::new("pve2"), true)]);
        let quorum = QuorumFacts { quorate: true, expected: 2, needed, own: 1, others: vec![1], device: None };
        let (id, name) = (ClusterId::new("AA"), "lab".to_owned());
        Some(ClusterFacts { id, name, quorate: true, nodes, quorum: Some(quorum), ha_resources })
    };
    let rebooting = HostPolicy { reboot: HostReboot::IfNeeded, ..policy() };
    let losing = HostPolicy { allow_quorum_loss: true, ..rebooting.clone() };
    let of = |policy: &HostPolicy, change: &dyn Fn(&mut HostFacts)| {
        trouble_with(policy, Level::Warn, Check::Cluster, change)
    };

    let found = of(&rebooting, &|facts| facts.cluster = two(2, None));
    assert!(found.what.contains("not be rebooted") && found.what.contains("1 of 2 votes would be left, 2 are needed"));
    assert!(remedy(&found).contains("QDevice") && remedy(&found).contains("allow_quorum_loss = true"), "{found:#?}");
    assert_eq!(troubles_with(&policy(), |facts| facts.cluster = two(2, None)), [], "nobody reboots it");
    let guests_only = HostPolicy { scope: Scope::GuestsOnly, ..rebooting.clone() };
    assert_eq!(troubles_with(&guests_only, |facts| facts.cluster = two(2, None)), []);
    assert_eq!(troubles_with(&rebooting, |facts| facts.cluster = two(1, None)), [], "two_node: one vote is enough");

    let found = of(&losing, &|facts| facts.cluster = two(2, Some(Vec::new())));
    assert!(found.what.contains("as allow_quorum_loss allows: 1 of 2 votes"), "{found:#?}");
    let found = of(&losing, &|facts| facts.cluster = two(2, Some(vec!["ct:101".to_owned()])));
    assert!(found.what.contains("not be rebooted") && found.what.contains("(ct:101)"), "{found:#?}");
    let found = of(&losing, &|facts| {
        facts.cluster = two(2, None);
        facts.state.unknown.insert(Question::HaResources, "403".to_owned());
    });
    assert!(found.what.contains("not be rebooted") && found.what.contains("not known: 403"), "{found:#?}");
    let found = of(&losing, &|facts| {
        facts.cluster = two(2, None).map(|cluster| ClusterFacts { quorum: None, ..cluster });
        facts.state.unknown.insert(Question::Quorum, "no answer".to_owned());
    });
    assert!(found.what.contains("not be rebooted") && found.what.contains("not known: no answer"), "{found:#?}");
}

#[test]
fn a_half_made_major_upgrade_fails_and_third_parties_are_not_judged() {
    let found = trouble(Level::Fail, Check::Suites, |facts| {
        facts.state.repositories[0].suites = vec!["forky".to_owned(), "trixie-security".to_owned()];
    });
    assert!(found.what.contains("debian.sources names forky,"), "{found:#?}");
    let found =
        trouble(Level::Fail, Check::Suites, |facts| facts.state.repositories[1].suites = vec!["stable".to_owned()]);
    assert!(found.what.contains("stable"), "it becomes another release one day: {found:#?}");
    let disabled = |facts: &mut HostFacts| {
        facts.state.repositories[0].suites = vec!["bookworm".to_owned()];
        facts.state.repositories[0].enabled = false;
    };
    assert_eq!(troubles_with(&policy(), disabled), []);
    let found = trouble(Level::Fail, Check::Suites, |facts| facts.os.unfit = Some("suites of two releases".to_owned()));
    assert!(found.what.contains("two releases"));
    let found = troubles_with(&policy(), |facts| facts.os.codename = Some("bookworm".to_owned()));
    assert!(found.iter().any(|f| f.check == Check::Suites && f.what.contains("9 belongs to trixie")), "{found:#?}");
}

#[test]
fn the_enterprise_repository_without_subscription_is_named_with_its_remedy() {
    let enterprise =
        repository("pve-enterprise", "https://enterprise.proxmox.com/debian/pve", "trixie", "pve-enterprise");
    let found = trouble(Level::Fail, Check::Repositories, |facts| facts.state.repositories.push(enterprise.clone()));
    assert!(found.what.contains("401") && found.what.contains("notfound"), "{found:#?}");
    for command in [
        "pvesubscription set KEY",
        "mv /etc/apt/sources.list.d/pve-enterprise.sources /etc/apt/sources.list.d/pve-enterprise.sources.disabled",
        "pvesh set /nodes/pve1/apt/repositories --handle no-subscription",
    ] {
        assert!(remedy(&found).contains(command), "{command} is not in {found:#?}");
    }
    // One line for what is one thing, though the refresh failed of it.
    let found = trouble(Level::Fail, Check::Repositories, |facts| {
        facts.state.repositories.push(enterprise.clone());
        facts.state.refresh_failed = Some("apt-get update ended with 100: .. 401  Unauthorized".to_owned());
    });
    assert!(found.what.contains("ended with 100") && remedy(&found).contains("pvesubscription"), "{found:#?}");
    let subscribed = |facts: &mut HostFacts| {
        facts.state.repositories.push(enterprise.clone());
        facts.state.subscription = Some("active".to_owned());
    };
    assert_eq!(troubles_with(&policy(), subscribed), []);
    let ceph = repository("ceph", "https://enterprise.proxmox.com/debian/ceph-squid", "trixie", "enterprise");
    let found = trouble(Level::Fail, Check::Repositories, |facts| {
        facts.state.repositories.push(RepositoryFacts { file: "/etc/apt/sources.list".to_owned(), ..ceph });
        facts.state.repositories[0].file = "/etc/apt/sources.list".to_owned();
    });
    assert!(remedy(&found).contains("--handle ceph-squid-no-subscription"), "{found:#?}");
    assert!(!remedy(&found).contains("mv /etc/apt/sources.list "), "others stand in that file: {found:#?}");
}

#[test]
fn lists_that_cant_be_refreshed_fail_and_a_node_without_repository_is_remarked_upon() {
    let found = trouble(Level::Fail, Check::Repositories, |facts| {
        facts.state.refresh_failed = Some("Temporary failure resolving".to_owned());
        facts.state.refresh_hint = Some("look at the resolver".to_owned());
    });
    assert!(found.what.contains("resolving") && remedy(&found) == "look at the resolver");
    let found = trouble(Level::Warn, Check::Repositories, |facts| facts.state.repositories.truncate(1));
    assert!(found.what.contains("no repository of Proxmox VE"), "{found:#?}");
}

#[test]
fn room_is_judged_by_what_an_upgrade_takes() {
    let at = |n: usize, available: u64| move |facts: &mut HostFacts| facts.state.space[n].available = available;
    for (n, least, better) in [(0, GIB, 2 * GIB), (1, 256 * MIB, 400 * MIB), (2, 512 * MIB, GIB)] {
        let path = healthy().state.space[n].path.clone();
        assert!(trouble(Level::Fail, Check::Space, at(n, least - 1)).what.starts_with(&format!("{path} has")));
        assert!(trouble(Level::Warn, Check::Space, at(n, least)).what.starts_with(&format!("{path} has")));
        assert_eq!(troubles_with(&policy(), at(n, better)), []);
    }
}

#[test]
fn room_for_backups_is_judged_where_a_backup_is_the_only_protection() {
    let little = |facts: &mut HostFacts| facts.backup_storages[0].available = GIB;
    assert_eq!(troubles_with(&policy(), little), [], "snapshots will do");
    let mut policy = policy();
    policy.guests.protect = vec![ProtectChoice::Backup];
    let found = troubles_with(&policy, little);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|f| f.level == Level::Warn && f.check == Check::Space && f.what.contains("on local")));
    policy.guests.backup.mode = BackupMode::Suspend;
    let found = trouble_with(&policy, Level::Warn, Check::Space, |facts| facts.state.space[2].available = 2 * GIB);
    assert!(found.what.contains("CT 101") && found.what.contains("/var/tmp"), "{found:#?}");
}

#[test]
fn a_nearly_full_pool_is_named_with_the_guests_on_it() {
    let full = PoolFacts { name: "thin".to_owned(), available: 4 * GIB, total: 100 * GIB };
    let found = trouble(Level::Warn, Check::Pools, |facts| {
        facts.state.pools = vec![full.clone()];
        facts.guests[0].pool = Some(full.clone());
        facts.guests[1].pool = None;
    });
    assert!(found.what.contains("thin is nearly full (4.0 GiB of 100.0 GiB free)"), "{found:#?}");
    assert!(found.what.ends_with("not touched because of that: CT 101"), "{found:#?}");
}

#[test]
fn packages_in_disorder_fail_and_a_lock_is_waited_for() {
    let found = trouble(Level::Fail, Check::Dpkg, |f| f.state.disorder = Some("dpkg --audit: pve-manager".to_owned()));
    assert!(found.what.contains("pve-manager") && remedy(&found).contains("dpkg --configure -a"));
    let lock = "process 4711 holds /var/lib/dpkg/lock-frontend".to_owned();
    trouble(Level::Warn, Check::Dpkg, |facts| facts.state.disorder = Some(lock));
}

#[test]
fn an_upgrade_that_takes_the_node_or_its_kernel_away_fails() {
    let removal = |name: &str| PackageChange { name: name.to_owned(), old: Some("1".to_owned()), new: None };
    for name in [
        "proxmox-ve",
        "pve-manager",
        "proxmox-default-kernel",
        "proxmox-kernel-6.14",
        "proxmox-kernel-6.14.8-2-pve",
        "proxmox-kernel-6.14.8-2-pve-signed",
        "pve-kernel-6.14.8-2-pve",
    ] {
        let found = trouble(Level::Fail, Check::Removals, |facts| facts.os.pending = vec![removal(name)]);
        assert!(found.what.contains(&format!("would remove {name}:")), "{found:#?}");
    }
    for name in ["libfoo1", "proxmox-kernel-6.8", "proxmox-kernel-6.14.5-1-pve-signed", "proxmox-kernel-helper"] {
        let found = trouble(Level::Warn, Check::Removals, |facts| facts.os.pending = vec![removal(name)]);
        assert!(found.what.contains(name), "{found:#?}");
    }
}

#[test]
fn backups_at_work_held_packages_and_a_wanted_reboot_are_remarked_upon() {
    let found =
        trouble(Level::Warn, Check::Backups, |f| f.state.running_backups = vec!["101".to_owned(), String::new()]);
    assert!(found.what.ends_with("101, a job of several guests"), "{found:#?}");
    let found = trouble(Level::Warn, Check::Held, |facts| facts.os.held = vec!["corosync".to_owned()]);
    assert!(found.what.contains("corosync") && remedy(&found).ends_with("apt-mark unhold corosync"));
    let wanted = |facts: &mut HostFacts| facts.os.reboot_wanted = Some("kernel 6.17 is installed".to_owned());
    assert!(trouble(Level::Warn, Check::Reboot, wanted).what.contains("6.17"));
    let rebooting = HostPolicy { reboot: HostReboot::IfNeeded, ..policy() };
    assert_eq!(troubles_with(&rebooting, wanted), []);
}

#[test]
fn what_could_not_be_asked_is_a_warning_and_never_good() {
    for (question, checks) in [
        (Question::Permissions, vec![Check::Privileges]),
        (Question::Node, vec![Check::Root, Check::Space]),
        (Question::Tasks, vec![Check::Backups]),
        (Question::Dpkg, vec![Check::Dpkg]),
    ] {
        let found = troubles_with(&policy(), |facts| {
            facts.state.root = facts.state.root.filter(|_| question != Question::Node);
            facts.state.unknown.insert(question, "no answer".to_owned());
        });
        let levels: Vec<Level> = found.iter().map(|finding| finding.level).collect();
        assert_eq!(found.iter().map(|finding| finding.check).collect::<Vec<_>>(), checks);
        assert!(levels.iter().all(|level| *level == Level::Warn), "{found:#?}");
    }
    let found = troubles_with(&policy(), |facts| facts.state.repositories_unknown = Some("no answer".to_owned()));
    assert_eq!(
        found.iter().map(|f| (f.check, f.level)).collect::<Vec<_>>(),
        [(Check::Suites, Level::Warn), (Check::Repositories, Level::Warn)]
    );
}

#[test]
fn a_run_that_leaves_the_node_alone_is_only_warned_of_its_packages() {
    let policy = HostPolicy { scope: Scope::GuestsOnly, ..policy() };
    let broken = |facts: &mut HostFacts| {
        facts.state.refresh_failed = Some("no route to host".to_owned());
        facts.state.disorder = Some("dpkg --audit: x".to_owned());
        facts.state.space[0].available = 0;
    };
    let found = troubles_with(&policy, broken);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.iter().all(|finding| finding.level == Level::Warn));
}

#[test]
fn all_that_fails_is_in_the_refusal() {
    let mut facts = healthy();
    facts.state.disorder = Some("dpkg --audit: x".to_owned());
    facts.pve_version = "7.4".to_owned();
    facts.state.permissions = granted(&[&ALL[..], &["VM.Monitor"]].concat());
    facts.os.held = vec!["corosync".to_owned()];
    let plan = plan_host(&policy(), &facts, Some(&HostId::new("twin")));
    let refusal = plan.refusal.unwrap();
    for part in ["same node (pve1) as the entry twin", "7.4 is older", "in disorder"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert!(!refusal.contains("corosync"));
    assert_eq!(plan.findings.len(), 4, "{:#?}", plan.findings);
}

/// What the policy needs, but for what is of use only: privilege and path.
fn needs(policy: &HostPolicy, facts: &HostFacts) -> Vec<(String, String)> {
    let musts = needed(policy, facts).into_iter().filter(|need| need.weight == Weight::Must);
    musts.map(|need| (need.any_of.join("|"), need.path)).collect()
}

#[track_caller]
fn assert_needs(policy: &HostPolicy, facts: &HostFacts, wanted: &[(&str, &str)]) {
    let found = needs(policy, facts);
    for (privilege, path) in wanted {
        assert!(found.contains(&((*privilege).to_owned(), (*path).to_owned())), "{privilege} on {path}: {found:#?}");
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

const BASIC: [(&str, &str); 2] = [("Sys.Audit", "/"), ("Sys.Audit", "/nodes/pve1")];

#[test]
fn exactly_what_the_configured_run_asks_for_is_needed() {
    let mut one = policy();
    one.guests.protect = vec![ProtectChoice::Snapshot];
    let snapshots = [("VM.Snapshot", "/vms/101"), ("VM.Snapshot", "/vms/201")];
    assert_needs(&one, &healthy(), &[&BASIC[..], &snapshots].concat());
    one.guests.protect = vec![ProtectChoice::Backup];
    one.guests.backup.storage = Some("nas".to_owned());
    let backups = [("VM.Backup", "/vms/101"), ("VM.Backup", "/vms/201"), ("Datastore.AllocateSpace", "/storage/nas")];
    assert_needs(&one, &healthy(), &[&BASIC[..], &backups].concat());
    one.guests.protect = vec![ProtectChoice::None];
    assert_needs(&one, &healthy(), &BASIC);
    one.guests.reboot = GuestReboot::IfNeeded;
    assert_needs(&one, &healthy(), &[&BASIC[..], &[("VM.PowerMgmt", "/vms/201")]].concat());
    one.guests.reboot = GuestReboot::Never;
    let mut stopped = healthy();
    stopped.guests[0].power = Power::Stopped;
    assert_needs(&one, &stopped, &BASIC);
    one.guests.stopped = Stopped::Start;
    assert_needs(&one, &stopped, &[&BASIC[..], &[("VM.PowerMgmt", "/vms/101")]].concat());
    one.reboot = HostReboot::IfNeeded;
    let reboot = [("Sys.PowerMgmt", "/nodes/pve1"), ("VM.PowerMgmt", "/")];
    assert_needs(&one, &healthy(), &[&BASIC[..], &reboot].concat());
    one.scope = Scope::GuestsOnly;
    assert_needs(&one, &healthy(), &BASIC);
}

#[test]
fn an_agent_takes_privileges_of_its_own_by_release() {
    let mut policy = policy();
    policy.guests.protect = vec![ProtectChoice::None];
    let mut by_agent = healthy();
    by_agent.state.no_login = BTreeSet::from([GuestId(201)]);
    by_agent.guests[1].inside = Inside::Unreachable("agent: no answer".to_owned());
    let exec = [("VM.GuestAgent.Unrestricted", "/vms/201")];
    assert_needs(&policy, &by_agent, &[&BASIC[..], &exec].concat());
    by_agent.pve_version = "8.4".to_owned();
    assert_needs(&policy, &by_agent, &[&BASIC[..], &[("VM.Monitor", "/vms/201")]].concat());
    let mut chosen = healthy();
    chosen.guests[1].inside = Inside::Seen { via: Via::Agent, os: Box::new(os()) };
    assert_needs(
        &HostPolicy {
            guests: crate::plan::GuestSettings { via: ViaChoice::Agent, ..policy.guests.clone() },
            ..policy.clone()
        },
        &chosen,
        &[&BASIC[..], &exec].concat(),
    );
    let mut asked = healthy();
    let said = "Permission check failed (/vms/201, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)";
    asked.guests[1].inside = Inside::Unreachable(said.to_owned());
    let read = [("VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted", "/vms/201")];
    assert_needs(&policy, &asked, &[&BASIC[..], &read].concat());
}

#[test]
fn a_token_that_lacks_one_privilege_is_told_that_very_one() {
    let mut policy = HostPolicy { reboot: HostReboot::IfNeeded, ..policy() };
    policy.guests.via = ViaChoice::Agent;
    let mut facts = healthy();
    facts.guests[1].inside = Inside::Seen { via: Via::Agent, os: Box::new(os()) };
    // The agent is run commands by, which includes asking it.
    for lacking in ALL.into_iter().filter(|privilege| *privilege != "VM.GuestAgent.Audit") {
        let others: Vec<&str> = ALL.into_iter().filter(|privilege| *privilege != lacking).collect();
        facts.state.permissions = granted(&others);
        let failing: Vec<Finding> =
            preflight(&policy, &facts).into_iter().filter(|finding| finding.level != Level::Ok).collect();
        let [finding] = failing.as_slice() else { panic!("{lacking}: {failing:#?}") };
        assert_eq!(finding.check, Check::Privileges);
        assert!(finding.what.contains(&format!("lacks {lacking} on ")), "{finding:#?}");
        assert!(remedy(finding).starts_with(&format!("pveum role modify Proxmaint --append 1 --privs {lacking}\n")));
    }
}

#[test]
fn privileges_are_those_of_the_nearest_path_and_are_handed_down_where_that_is_said() {
    let mut policy = policy();
    policy.guests.protect = vec![ProtectChoice::Snapshot];
    let facts = healthy();
    let needs = needed(&policy, &facts);
    let lacking = |permissions: &Permissions| -> Vec<String> {
        let unmet = missing(&needs, permissions).into_iter().filter(|need| need.weight == Weight::Must);
        unmet.map(|need| format!("{} {}", need.path, need.any_of[0])).collect()
    };
    let mut permissions = granted(&["Sys.Audit", "VM.Audit", "VM.Snapshot", "Datastore.Audit"]);
    assert_eq!(lacking(&permissions), Vec::<String>::new());
    // An ACL of a guest's own takes the place of what is above it.
    permissions.insert("/vms/101".to_owned(), BTreeMap::from([("VM.Audit".to_owned(), true)]));
    assert_eq!(lacking(&permissions), ["/vms/101 VM.Snapshot"]);
    permissions.get_mut("/vms").unwrap().insert("VM.Snapshot".to_owned(), false);
    assert_eq!(lacking(&permissions), ["/vms/101 VM.Snapshot", "/vms/201 VM.Snapshot"], "not handed down");
    permissions.insert("/nodes/pve1".to_owned(), BTreeMap::from([("Sys.Audit".to_owned(), false)]));
    assert!(!lacking(&permissions).contains(&"/nodes/pve1 Sys.Audit".to_owned()), "at the path itself it holds");
}

#[test]
fn a_token_for_some_guests_is_remarked_upon_and_one_for_none_is_refused() {
    let some = |facts: &mut HostFacts| {
        let others: Vec<&str> = ALL.into_iter().filter(|privilege| *privilege != "VM.Audit").collect();
        facts.state.permissions = granted(&others);
    };
    let found = trouble(Level::Warn, Check::Privileges, some);
    assert!(found.what.contains("VM.Audit on /vms") && found.what.ends_with("is left out"), "{found:#?}");
    trouble(Level::Fail, Check::Privileges, |facts| {
        some(facts);
        facts.guests.clear();
    });
}

#[test]
fn the_set_up_is_the_least_that_will_do() {
    let text = |policy: &HostPolicy, facts: Option<&HostFacts>, token| set_up(policy, facts, token).join("\n");
    let mut policy = policy();
    insta::assert_snapshot!(text(&policy, None, None), @r#"
    pveum role add Proxmaint --privs "Datastore.AllocateSpace Sys.Audit VM.Audit VM.Backup VM.GuestAgent.Unrestricted VM.Snapshot"
    pveum user add proxmaint@pve
    pveum user token add proxmaint@pve proxmaint --privsep 1
    pveum acl modify / --users proxmaint@pve --roles Proxmaint
    pveum acl modify / --tokens 'proxmaint@pve!proxmaint' --roles Proxmaint
    "#);
    policy.reboot = HostReboot::IfNeeded;
    policy.guests.protect = vec![ProtectChoice::Snapshot];
    let mut facts = healthy();
    facts.guests.truncate(1);
    insta::assert_snapshot!(text(&policy, Some(&facts), Some("root@pam!ops")), @r#"
    pveum role add Proxmaint --privs "Datastore.Audit Sys.Audit Sys.PowerMgmt VM.Audit VM.PowerMgmt VM.Snapshot"
    pveum user token add root@pam ops --privsep 1
    pveum acl modify / --tokens 'root@pam!ops' --roles Proxmaint
    "#);
}

#[test]
fn a_role_of_the_set_up_meets_every_need() {
    let mut policy = HostPolicy { reboot: HostReboot::Always, ..policy() };
    policy.guests.reboot = GuestReboot::IfNeeded;
    policy.guests.stopped = Stopped::Start;
    let mut facts = healthy();
    facts.state.no_login = BTreeSet::from([GuestId(201)]);
    facts.guests[1].inside = Inside::NotLooked;
    for seen in [None, Some(&facts)] {
        let role = set_up(&policy, seen, None).remove(0);
        let privileges: Vec<&str> = role.split('"').nth(1).unwrap().split(' ').collect();
        assert_eq!(missing(&needed(&policy, &facts), &granted(&privileges)), Vec::<&super::privileges::Need>::new());
    }
}
