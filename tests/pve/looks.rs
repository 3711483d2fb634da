//! What is looked at before and between changes: privileges, the cluster's guests, tasks, repositories, subscription, pools.

use std::collections::BTreeMap;

use proxmaint::adapters::pve::transport::Method;
use proxmaint::engine::port::{Pve, Resource};
use proxmaint::ids::{GuestId, GuestKind, NodeName};
use proxmaint::inventory::{PoolFacts, RepositoryFacts};
use proxmaint::machine::outcome::FaultClass;
use proxmaint::time::Timestamp;
use serde_json::json;

use crate::canned::{Canned, any};
use crate::fixtures::{node, routes, upid};

#[tokio::test]
async fn privileges_by_path() {
    let (client, _) = Canned::client(routes("permissions"));
    let held = |all: &[(&str, bool)]| -> BTreeMap<String, bool> {
        all.iter().map(|(name, below)| ((*name).to_owned(), *below)).collect()
    };
    let expected = BTreeMap::from([
        // That a flag is 0 says that it holds at that path alone, not that it is not had.
        ("/".to_owned(), held(&[("Sys.Audit", true), ("VM.Audit", true), ("Sys.Modify", false)])),
        ("/vms/120".to_owned(), held(&[("VM.PowerMgmt", true), ("VM.Snapshot", false)])),
        ("/storage/nfs".to_owned(), held(&[])),
    ]);
    assert_eq!(client.permissions().await.unwrap(), expected);
}

#[tokio::test]
async fn whatever_ha_manages_is_listed() {
    let (client, _) = Canned::client(routes("replication"));
    let jobs: Vec<String> =
        client.replication().await.unwrap().iter().map(|job| format!("{} of {}", job.id, job.guest)).collect();
    assert_eq!(jobs, ["119-0 of 119", "120-0 of 120", "201-1 of 201"]);
    let (client, _) = Canned::client(routes("ha_resources"));
    assert_eq!(client.ha_resources().await.unwrap(), ["?", "?", "ct:120", "vm:201"]);
    let (client, _) = Canned::client(vec![any(Method::Get, 200, "OK", json!({ "data": null }))]);
    assert!(client.ha_resources().await.is_err(), "nothing is not an empty list");
}

#[tokio::test]
async fn the_guests_of_a_cluster() {
    let (client, _) = Canned::client(routes("resources"));
    let guest = |id, kind, node: &str, tags: &[&str], pool: Option<&str>, ha| Resource {
        id: GuestId(id),
        kind,
        node: NodeName::new(node),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        pool: pool.map(str::to_owned),
        ha,
    };
    assert_eq!(
        client.resources().await.unwrap(),
        [
            guest(118, GuestKind::Ct, "node-a", &[], None, false),
            guest(119, GuestKind::Vm, "node-b", &["prod", "db"], Some("north"), true),
            guest(120, GuestKind::Ct, "node-a", &["a", "b", "c"], None, false),
        ]
    );
}

#[tokio::test]
async fn what_is_at_work_and_what_was() {
    let (client, _) = Canned::client(routes("active_tasks"));
    let active = client.active_tasks(&node()).await.unwrap();
    let seen: Vec<_> = active.iter().map(|t| (&t.upid, t.id.as_str(), t.running)).collect();
    assert_eq!(seen, [(&upid("vzdump", "120"), "120", true)], "one that has ended is not at work");
    let (client, _) = Canned::client(routes("tasks_of_type"));
    let since = Timestamp(1_790_000_000_999);
    let tasks = client.tasks_of_type(&node(), "startall", since).await.unwrap();
    let seen: Vec<_> = tasks.iter().map(|t| (t.kind.as_str(), t.started, t.running)).collect();
    assert_eq!(seen, [("startall", Timestamp::from_secs(1_790_000_002), true)]);
}

#[tokio::test]
async fn repositories_of_both_forms() {
    let (client, _) = Canned::client(routes("repositories"));
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    let repository = |file: &str, uri: &str, suites: &[&str], components: &[&str], enabled| RepositoryFacts {
        file: file.to_owned(),
        uris: texts(&[uri]),
        suites: texts(suites),
        components: texts(components),
        enabled,
    };
    let debian = "/etc/apt/sources.list.d/debian.sources";
    assert_eq!(
        client.repositories(&node()).await.unwrap(),
        [
            repository(
                debian,
                "http://deb.debian.org/debian",
                &["trixie", "trixie-updates"],
                &["main", "contrib"],
                true
            ),
            repository(debian, "https://enterprise.proxmox.com/debian/pve", &["trixie"], &["pve-enterprise"], false),
            repository("/etc/apt/sources.list", "http://mirror.example.org/flat/", &["./"], &[], true),
        ]
    );
}

#[tokio::test]
async fn a_file_of_repositories_that_cannot_be_read_is_named() {
    let errors = json!([{"path": "/etc/apt/sources.list", "error": "malformed entry in line 3\n"}]);
    let body = json!({"data": {"files": [], "errors": errors}});
    let (client, _) = Canned::client(vec![any(Method::Get, 200, "OK", body)]);
    let fault = client.repositories(&node()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent);
    assert!(fault.what.ends_with("says of /etc/apt/sources.list: malformed entry in line 3"), "{fault}");
    assert!(fault.hint.unwrap().contains("apt-get update"));
}

#[tokio::test]
async fn subscription_and_pools() {
    let (client, _) = Canned::client(routes("subscription"));
    assert_eq!(client.subscription(&node()).await.unwrap(), "active");
    let (client, _) = Canned::client(vec![any(Method::Get, 200, "OK", json!({"data": {}}))]);
    assert_eq!(client.subscription(&node()).await.unwrap_err().class, FaultClass::Permanent);
    let (client, _) = Canned::client(routes("pools"));
    let mut pools = client.pools(&node()).await.unwrap();
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    let pool = |name: &str, available, total| PoolFacts { name: name.to_owned(), available, total };
    assert_eq!(pools, [pool("nfs", 7, 9), pool("tank", 500, 1000)]);
}
