//! `doctor`: a healthy node is all ok, and each thing that is wrong is named by itself.

use proxmaint_lab::faults::{Fault, Site as Occasion};
use proxmaint_lab::fleet;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::ssh::keys::KeyKind;
use proxmaint_lab::world::{Acl, MachineId, Packages, Repository, Token, World};
use serde_json::Value;

use crate::support::{Done, Site, side_by_side};

/// What the configured run needs, and nothing else: the manifest says nothing of reboots, and the VM has a login.
const NEEDED: [&str; 6] =
    ["Datastore.AllocateSpace", "Sys.Audit", "VM.Audit", "VM.Backup", "VM.GuestAgent.Audit", "VM.Snapshot"];
/// What it needs where guests are started, the node is rebooted, and the VM is entered by its agent.
const NEEDED_FOR_POWER: [&str; 8] = [
    "Datastore.AllocateSpace",
    "Sys.Audit",
    "Sys.PowerMgmt",
    "VM.Audit",
    "VM.Backup",
    "VM.GuestAgent.Unrestricted",
    "VM.PowerMgmt",
    "VM.Snapshot",
];
const TOKEN: &str = "proxmaint@pve!doctor";

/// A node whose token has these privileges at the top, and its user all that may be needed.
fn with_token(privileges: &[&str]) -> Site {
    let token = Token {
        user: "proxmaint@pve".to_owned(),
        id: "doctor".to_owned(),
        secret: "4f0e1a3c-0000-4000-8000-000000000000".to_owned(),
        acl: Some(Acl::of(&[("/", privileges)])),
    };
    let world = World::builder()
        .standalone("edge1")
        .user("edge1", "proxmaint@pve", Acl::of(&[("/", &[&NEEDED[..], &NEEDED_FOR_POWER].concat())]))
        .token("edge1", token.clone())
        .node("edge1", |node| node.pending(2))
        .ct("edge1", 101, |ct| ct.pending(1))
        .vm("edge1", 201, |vm| vm.pending(1))
        .build();
    let mut site = Site::new(world);
    for (name, value) in &mut site.env {
        match name.as_str() {
            "LAB_EDGE1_TOKEN" => *value = token.full_id(),
            "LAB_EDGE1_SECRET" => value.clone_from(&token.secret),
            _ => {}
        }
    }
    site
}

fn findings(report: &Value, level: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_hosts = report["hosts"].as_array().expect("hosts").iter().flat_map(|host| host["findings"].as_array());
    let all = report["findings"].as_array().into_iter().chain(of_hosts).flatten();
    all.filter(|finding| finding["level"] == level)
        .map(|finding| (text(&finding["check"]), text(&finding["what"]), text(&finding["remedy"])))
        .collect()
}

fn doctor(site: &Site, args: &[&str]) -> Done {
    site.run(&[&["doctor", "--output", "json"], args].concat())
}

#[test]
fn a_healthy_node_is_all_ok() {
    let site = Site::new(fleet::small());
    let report = doctor(&site, &[]).expect(0).json();
    assert_eq!(findings(&report, "warn"), []);
    assert_eq!((&report["v"], &report["fail"], &report["warn"]), (&1.into(), &0.into(), &0.into()), "{report:#}");
    assert_eq!(report["hosts"][0]["fingerprint"], site.lab().fingerprint("edge1"));
    assert_eq!(report["hosts"][0]["not_checked"].as_array().map(Vec::len), Some(0));
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
    site.run(&["doctor"]).expect(0).says(&["ok    version", "ok    privileges", "ok    tls"]);
}

#[test]
fn a_token_that_lacks_one_privilege_is_told_that_very_one() {
    each_in_turn(&NEEDED, "");
}

#[test]
fn power_and_the_agent_need_privileges_of_their_own() {
    each_in_turn(&NEEDED_FOR_POWER, "host_reboot = \"if-needed\"\nstopped = \"start\"\nvia = \"auto\"\n");
}

/// Takes each privilege away in turn, under a manifest whose defaults say this besides.
fn each_in_turn(needed: &[&str], wanted: &str) {
    let site = |privileges: &[&str]| {
        let site = with_token(privileges);
        if !wanted.is_empty() {
            site.replace("[defaults]\n", &format!("[defaults]\n{wanted}"));
            site.edit(|text| format!("{text}\n[[hosts.guests]]\nid = 201\nvia = \"agent\"\n"));
        }
        site
    };
    let complete = doctor(&site(needed), &[]).json();
    assert_eq!(findings(&complete, "fail"), [], "{complete:#}");
    for lacking in needed {
        let others: Vec<&str> = needed.iter().copied().filter(|privilege| privilege != lacking).collect();
        let site = site(&others);
        let report = doctor(&site, &[]).expect(3).json();
        let failing = findings(&report, "fail");
        let [(check, what, remedy)] = failing.as_slice() else { panic!("{lacking}: {failing:#?}") };
        assert_eq!(check, "privileges", "{lacking}: {what}");
        for privilege in needed {
            assert_eq!(what.contains(privilege), privilege == lacking, "{lacking}: {what}");
        }
        assert!(what.contains(TOKEN), "{what}");
        for command in [
            format!("pveum role modify Proxmaint --append 1 --privs {lacking}"),
            "pveum acl modify / --users proxmaint@pve --roles Proxmaint".to_owned(),
            format!("pveum acl modify / --tokens '{TOKEN}' --roles Proxmaint"),
        ] {
            assert!(remedy.contains(&command), "{command} is not in:\n{remedy}");
        }
        // A look through the agent is a command given to it.
        let looks = site.changes().iter().all(|entry| entry.act == Act::AgentExec);
        assert!(looks, "{}", site.ledger_text());
    }
}

#[test]
fn what_doctor_calls_a_failure_keeps_a_run_from_the_host() {
    let others: Vec<&str> = NEEDED.into_iter().filter(|privilege| *privilege != "VM.Snapshot").collect();
    let site = with_token(&others);
    site.run(&["run"]).expect(3).says(&["not touched", "VM.Snapshot"]);
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
}

fn edge() -> Site {
    Site::new(World::builder().standalone("edge1").node("edge1", |node| node.pending(1)).build())
}

/// Changes what there is of packages on the node.
fn packages(site: &Site, change: impl FnOnce(&mut Packages)) {
    site.with(|world| change(&mut world.machine_mut(&MachineId::node("edge1")).expect("a node").packages));
}

/// Says which checks fail, and what the first of them says with its remedy.
fn failing(site: &Site) -> (Vec<String>, String) {
    let report = doctor(site, &[]).expect(3).json();
    let failing = findings(&report, "fail");
    let (_, what, remedy) = failing.first().expect("a failing check");
    let said = format!("{what}\n{remedy}");
    (failing.iter().map(|(check, ..)| check.clone()).collect(), said)
}

#[track_caller]
fn assert_fails(site: &Site, check: &str, words: &[&str]) {
    let (checks, said) = failing(site);
    assert_eq!(checks, [check], "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not said:\n{said}");
    }
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
}

fn a_certificate_that_is_not_trusted() {
    let site = edge();
    let shown = site.lab().fingerprint("edge1");
    site.edit(|text| text.lines().filter(|line| !line.starts_with("api.ca_file")).map(|l| format!("{l}\n")).collect());
    assert_fails(&site, "tls", &[&shown, &format!("api.fingerprint = \"{shown}\"")]);
    let report = doctor(&site, &[]).json();
    let not_checked: Vec<&str> =
        report["hosts"][0]["not_checked"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for check in ["api", "version", "privileges", "cluster", "dpkg"] {
        assert!(not_checked.contains(&check), "{check} is not among {not_checked:?}");
    }
    for finding in report["hosts"][0]["findings"].as_array().expect("findings") {
        let check = finding["check"].as_str().expect("a check");
        assert!(!not_checked.contains(&check), "{check} was checked and not checked");
        assert!(["credentials", "tls", "host-key"].contains(&check), "{check} can't be known here: {finding}");
    }
    site.edit(|text| text + &format!("api.fingerprint = \"{shown}\"\n"));
    let report = doctor(&site, &[]).expect(0).json();
    let tls = findings(&report, "ok").into_iter().find(|(check, ..)| check == "tls").expect("a line");
    assert!(tls.1.contains(&shown) && tls.1.contains("pinned"), "{tls:?}");
}

fn a_host_key_is_learnt_known_and_changed() {
    let site = edge();
    let host_key = || {
        let report = doctor(&site, &[]).expect(0).json();
        findings(&report, "ok").into_iter().find(|(check, ..)| check == "host-key").expect("a line").1
    };
    let learnt = host_key();
    assert!(learnt.contains("learnt just now: ssh-ed25519 SHA256:"), "{learnt}");
    let known = host_key();
    assert!(known.starts_with("known: ssh-ed25519 SHA256:"), "{known}");
    site.lab().ssh.rekey(&MachineId::node("edge1"), &[KeyKind::Ed25519], 1).expect("another key");
    assert_fails(&site, "host-key", &["has changed", "ssh-keygen -R"]);
}

fn variables_that_are_missing() {
    let mut site = edge();
    site.env.retain(|(name, _)| name != "LAB_EDGE1_SECRET");
    assert_fails(&site, "credentials", &["LAB_EDGE1_SECRET is not set"]);
    let done = site.run(&["doctor"]).expect(3);
    done.says(&["pveum role add Proxmaint --privs", "pveum user token add proxmaint@pve proxmaint --privsep 1"]);
}

fn a_token_that_is_refused() {
    let mut site = edge();
    for (_, value) in site.env.iter_mut().filter(|(name, _)| name == "LAB_EDGE1_SECRET") {
        *value = "00000000-0000-4000-8000-000000000000".to_owned();
    }
    assert_fails(&site, "api", &["401"]);
    let done = site.run(&["doctor"]).expect(3).says(&["pveum user token add root@pam lab --privsep 1"]);
    assert!(!done.stdout.contains("00000000-0000"), "a secret: {done}");
}

fn a_login_that_is_refused() {
    let site = edge();
    site.replace("user = \"root\"", "user = \"stranger\"");
    assert_fails(&site, "root", &["stranger"]);
}

fn lists_that_cant_be_refreshed() {
    let site = edge();
    site.plant(Fault::new(Occasion::Refresh { machine: "edge1".to_owned(), exit: 100 }).times(0));
    assert_fails(&site, "repositories", &["apt-get update ended with 100"]);
    site.assert_faults_struck();
}

fn a_run_without_fresh_lists() {
    let site = edge();
    site.plant(Fault::new(Occasion::Refresh { machine: "edge1".to_owned(), exit: 100 }).times(0));
    site.run(&["run"]).expect(3).says(&["apt-get update ended with 100"]);
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
}

fn the_enterprise_repository_without_subscription() {
    let site = edge();
    site.with(|world| {
        let node = world.nodes.get_mut("edge1").expect("a node");
        let uri = "https://enterprise.proxmox.com/debian/pve";
        let suite = node.repositories[0].suites[0].clone();
        let file = "/etc/apt/sources.list.d/own-enterprise.sources";
        node.repositories.push(Repository::new(file, uri, &[&suite], &["pve-enterprise"]));
    });
    assert_fails(
        &site,
        "repositories",
        &[
            "without an active subscription (status: notfound)",
            "401",
            "pvesubscription set KEY",
            "own-enterprise.sources.disabled",
        ],
    );
    site.with(|world| world.nodes.get_mut("edge1").expect("a node").subscription = "active".to_owned());
    doctor(&site, &[]).expect(0);
}

fn a_half_made_major_upgrade() {
    let site = edge();
    site.with(|world| {
        let node = world.nodes.get_mut("edge1").expect("a node");
        let file = node.repositories[0].file.clone();
        node.repositories.push(Repository::new(&file, "http://deb.debian.org/debian", &["forky"], &["main"]));
    });
    assert_fails(&site, "suites", &["forky", "but the node runs trixie"]);
    site.run(&["run"]).expect(3).says(&["not touched", "forky"]);
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
}

fn packages_in_disorder() {
    let site = edge();
    packages(&site, |packages| _ = packages.half_configured.insert("pve-manager".to_owned()));
    assert_fails(&site, "dpkg", &["pve-manager", "dpkg --configure -a"]);
    site.run(&["run"]).expect(3).says(&["in disorder"]);
}

fn held_packages() {
    let site = edge();
    packages(&site, |packages| _ = packages.held.insert("corosync".to_owned()));
    let report = doctor(&site, &[]).expect(0).json();
    let held = findings(&report, "warn").into_iter().find(|(check, ..)| check == "held").expect("a line");
    assert!(held.1.contains("corosync") && held.2.contains("apt-mark unhold corosync"), "{held:?}");
    site.run(&["run", "--dry-run"]).expect(0).says(&["warning (held): held back, and not upgraded: corosync"]);
}

fn a_node_of_the_cluster_is_offline() {
    let world = World::builder().cluster("lab", ["pve1", "pve2", "pve3"]).node("pve3", |node| node.offline()).build();
    let site = Site::new(world);
    let report = site.run(&["doctor", "--host", "pve1", "--output", "json"]).expect(3).json();
    let failing = findings(&report, "fail");
    assert_eq!(failing.len(), 1, "{failing:#?}");
    assert!(failing[0].0 == "cluster" && failing[0].1.contains("offline already: pve3"), "{failing:#?}");
    assert_eq!(report["hosts"].as_array().map(Vec::len), Some(1), "only the host that was asked for");
}

fn two_entries_that_are_one_node() {
    let site = edge();
    site.edit(|text| {
        let entry = text[text.find("[[hosts]]").expect("a host")..].replace("name = \"edge1\"", "name = \"again\"");
        text + "\n" + &entry.replace("api.node = \"edge1\"\n", "")
    });
    assert_fails(&site, "identity", &["is the same node (edge1) as the entry edge1"]);
}

fn the_api_is_that_of_another_node() {
    let site = edge();
    site.replace("api.node = \"edge1\"", "api.node = \"edge7\"");
    assert_fails(&site, "identity", &["says node edge7"]);
}

#[test]
fn each_thing_that_is_wrong_is_named_by_itself() {
    side_by_side(&[
        ("a certificate that is not trusted", a_certificate_that_is_not_trusted),
        ("a host key is learnt, known and changed", a_host_key_is_learnt_known_and_changed),
        ("variables that are missing", variables_that_are_missing),
        ("a token that is refused", a_token_that_is_refused),
        ("a login that is refused", a_login_that_is_refused),
        ("lists that can't be refreshed", lists_that_cant_be_refreshed),
        ("a run without fresh lists", a_run_without_fresh_lists),
        ("the enterprise repository without subscription", the_enterprise_repository_without_subscription),
        ("a half-made major upgrade", a_half_made_major_upgrade),
        ("packages in disorder", packages_in_disorder),
        ("held packages", held_packages),
        ("a node of the cluster is offline", a_node_of_the_cluster_is_offline),
        ("two entries that are one node", two_entries_that_are_one_node),
        ("the API is that of another node", the_api_is_that_of_another_node),
    ]);
}

#[test]
fn a_manifest_that_is_wrong_and_a_host_that_is_not_there_end_as_elsewhere() {
    let site = edge();
    site.run(&["doctor", "--host", "edge9"]).expect(2).says(&["edge9", "the manifest has: edge1"]);
    site.edit(|text| text.replace("api.port", "api.prot = 1\napi.port"));
    let report = doctor(&site, &[]).expect(0).json();
    let warned = findings(&report, "warn");
    assert!(warned.iter().any(|(check, what, _)| check == "manifest" && what.contains("prot")), "{warned:#?}");
    site.edit(|text| text.replace("host = \"127.0.0.1\"", "host = 7"));
    site.run(&["doctor"]).expect(1);
}

#[test]
fn what_is_printed_for_programs() {
    let mut site = edge();
    site.env.retain(|(name, _)| name != "LAB_EDGE1_SECRET");
    let mut report = doctor(&site, &[]).expect(3).stdout;
    let (shown, dir) = (site.lab().fingerprint("edge1"), site.fleet().canonicalize().expect("a directory"));
    for (from, to) in [(shown.as_str(), "AA:BB"), (dir.to_str().expect("a path"), "/srv/fleet")] {
        report = report.replace(from, to);
    }
    insta::assert_snapshot!(report);
}
