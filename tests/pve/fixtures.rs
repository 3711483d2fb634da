//! Each method of the port on hand-written answers that spell things in every way that the API may: what is asked, exactly,
//! and what the answer becomes.

use std::time::Duration;

use proxmaint::adapters::pve::transport::{Answer, ApiCall};
use proxmaint::engine::port::{
    BackupSpec, ClusterNode, GuestListing, GuestRef, Interface, Pve, ServiceListing, TaskState,
};
use proxmaint::ids::{GuestId, GuestKind, NodeName, SnapshotName, Upid};
use proxmaint::inventory::{Power, StorageFacts};
use proxmaint::machine::outcome::FaultClass;
use proxmaint::time::Timestamp;
use serde_json::Value;

use crate::canned::{Canned, Route, method, split};

/// Reads a fixture.
pub fn read(name: &str) -> Value {
    let file = format!("{}/fixtures/pve/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&file).unwrap_or_else(|e| panic!("{file}: {e}"))).unwrap()
}

/// Returns a fixture's answers as routes that want exactly the parameters written there.
pub fn routes(name: &str) -> Vec<Route> {
    let fixture = read(name);
    let route = |one: &Value| {
        let (segments, _) = split(one["path"].as_str().unwrap());
        let params = one["params"].as_object().unwrap();
        // A list is a name that is repeated.
        let values = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let mut params: Vec<_> = params
            .iter()
            .flat_map(|(name, value)| values(value).into_iter().map(move |v| (name.clone(), v)))
            .map(|(name, value)| (name, value.as_str().unwrap().to_owned()))
            .collect();
        params.sort();
        Route {
            method: method(one["method"].as_str().unwrap()),
            segments: Some(segments),
            params: Some(params),
            reply: Ok(Answer {
                status: u16::try_from(one["status"].as_u64().unwrap()).unwrap(),
                reason: one["reason"].as_str().unwrap().to_owned(),
                body: one["body"].clone(),
            }),
        }
    };
    fixture["answers"].as_array().unwrap().iter().map(route).collect()
}

pub fn node() -> NodeName {
    NodeName::new("node-a")
}

pub fn ct() -> GuestRef {
    GuestRef { node: node(), kind: GuestKind::Ct, id: GuestId(120) }
}

pub fn vm() -> GuestRef {
    GuestRef { node: node(), kind: GuestKind::Vm, id: GuestId(119) }
}

pub fn upid(kind: &str, id: &str) -> Upid {
    Upid::new(format!("UPID:node-a:0001D4C3:01B2C3D4:6A5F0C01:{kind}:{id}:maint@pve!tool:"))
}

fn snapshot() -> SnapshotName {
    SnapshotName::new("pm-a")
}

fn backup(note: &str) -> BackupSpec {
    // 61 s are two of the whole minutes that vzdump counts in.
    BackupSpec {
        storage: "nfs".to_owned(),
        note: note.to_owned(),
        lock_wait: Duration::from_secs(61),
        mode: proxmaint::choices::BackupMode::Snapshot,
        compress: proxmaint::choices::Compression::Zstd,
    }
}

/// An archive.
pub const ARCHIVE: &str = "nfs:backup/vzdump-lxc-120-a.tar.zst";
/// Not a whole number of seconds: it is given rather than taken.
pub const WAIT: Duration = Duration::from_millis(90_200);
/// A command for an agent.
pub const COMMAND: [&str; 3] = ["/bin/sh", "-c", "echo a; exit 3"];
const NOTE: &str = "proxmaint 20261122-222842-abcd/h/120/backup/r1 \\ x";

/// Makes every kind of call that the client knows, of both kinds of guest, and returns the calls.
pub async fn every_call() -> Vec<ApiCall> {
    const FIXTURES: [&str; 39] = [
        "version",
        "cluster_status",
        "ca_fingerprint",
        "guests",
        "locate",
        "guest_config",
        "guest_status",
        "can_snapshot",
        "snapshots",
        "create_snapshot",
        "delete_snapshot",
        "rollback_snapshot",
        "replication",
        "task",
        "task_log_tail",
        "tasks_of",
        "backup_storages",
        "backups",
        "start_backup",
        "vm_interfaces",
        "ct_interfaces",
        "services",
        "pools",
        "permissions",
        "resources",
        "ha_resources",
        "active_tasks",
        "tasks_of_type",
        "repositories",
        "subscription",
        "delete_backup",
        "start_guest",
        "shutdown_guest",
        "reboot_guest",
        "stop_all",
        "reboot_node",
        "agent",
        "agent_exec",
        "agent_exec_status",
    ];
    let mut routes: Vec<Route> = FIXTURES.iter().flat_map(|name| routes(name)).collect();
    // What a fixture has for one kind of guest only is asked for the other kind as well.
    let other = |route: &Route, from: [&str; 2], to: [&str; 2]| {
        let segments = route.segments.as_ref()?;
        (segments.len() > 3 && segments[2..4] == from).then(|| {
            let mut segments = segments.clone();
            segments[2..4].clone_from_slice(&to.map(str::to_owned));
            Route { segments: Some(segments), ..route.clone() }
        })
    };
    let twins: Vec<Route> = routes
        .iter()
        .flat_map(|r| [other(r, ["lxc", "120"], ["qemu", "119"]), other(r, ["qemu", "119"], ["lxc", "120"])])
        .flatten()
        .collect();
    routes.extend(twins);
    let (client, canned) = Canned::client(routes);
    client.version().await.unwrap();
    client.cluster_status().await.unwrap();
    client.ca_fingerprint(&node()).await.unwrap();
    client.guests(&node()).await.unwrap();
    client.locate(GuestId(120)).await.unwrap();
    for guest in [ct(), vm()] {
        client.guest_config(&guest).await.unwrap();
        client.guest_status(&guest).await.unwrap();
        client.can_snapshot(&guest).await.unwrap();
        client.snapshots(&guest).await.unwrap();
        client.create_snapshot(&guest, &snapshot(), "").await.unwrap();
        client.delete_snapshot(&guest, &snapshot()).await.unwrap();
        client.rollback_snapshot(&guest, &snapshot()).await.unwrap();
    }
    client.task(&upid("vzdump", "120")).await.unwrap();
    client.task_log_tail(&upid("vzdump", "120"), 2).await.unwrap();
    client.tasks_of(&ct(), Timestamp::from_secs(1_790_000_000)).await.unwrap();
    client.backup_storages(&node()).await.unwrap();
    client.backups(&ct(), "nfs/odd").await.unwrap();
    client.start_backup(&ct(), &backup(NOTE)).await.unwrap();
    client.interfaces(&vm()).await.unwrap();
    client.interfaces(&ct()).await.unwrap();
    client.services(&node()).await.unwrap();
    client.pools(&node()).await.unwrap();
    client.permissions().await.unwrap();
    client.resources().await.unwrap();
    client.ha_resources().await.unwrap();
    client.replication().await.unwrap();
    client.active_tasks(&node()).await.unwrap();
    client.tasks_of_type(&node(), "startall", Timestamp::from_secs(1_790_000_000)).await.unwrap();
    client.repositories(&node()).await.unwrap();
    client.subscription(&node()).await.unwrap();
    client.delete_backup(&node(), ARCHIVE).await.unwrap();
    for guest in [ct(), vm()] {
        client.start_guest(&guest).await.unwrap();
        client.shutdown_guest(&guest, WAIT).await.unwrap();
        client.reboot_guest(&guest, WAIT).await.unwrap();
    }
    // Longer than the API takes.
    client.stop_all(&node(), Duration::from_secs(100_000)).await.unwrap();
    client.reboot_node(&node()).await.unwrap();
    client.agent(&vm()).await.unwrap();
    client.agent_exec(&vm(), &COMMAND).await.unwrap();
    client.agent_exec_status(&vm(), 284).await.unwrap();
    canned.calls()
}

#[tokio::test]
async fn every_fixture_is_asked_for() {
    assert_eq!(every_call().await.len(), 51);
}

#[tokio::test]
async fn version_and_cluster() {
    let (client, _) = Canned::client(routes("version"));
    assert_eq!(client.version().await.unwrap(), "8.4.1");
    let (client, _) = Canned::client(routes("cluster_status"));
    let status = client.cluster_status().await.unwrap();
    assert_eq!((status.name.as_deref(), status.quorate), (Some("north"), true));
    let node = |name: &str, local, online| ClusterNode { name: NodeName::new(name), local, online };
    assert_eq!(status.nodes, [node("node-a", true, true), node("node-b", false, false)]);
    let (client, _) = Canned::client(routes("ca_fingerprint"));
    assert_eq!(client.ca_fingerprint(&NodeName::new("node-a")).await.unwrap(), "AB:CD:EF");
}

#[tokio::test]
async fn a_cluster_that_does_not_tell_has_no_quorum() {
    use proxmaint::adapters::pve::transport::Method;
    let body = serde_json::json!({"data": [{"type": "cluster", "name": "c"}]});
    let (client, _) = Canned::client(vec![crate::canned::any(Method::Get, 200, "OK", body)]);
    assert!(!client.cluster_status().await.unwrap().quorate);
}

#[tokio::test]
async fn guests_and_where_they_are() {
    let (client, _) = Canned::client(routes("guests"));
    let guest = |id, kind, name: &str, power, template, lock: Option<&str>, disk_bytes| GuestListing {
        id: GuestId(id),
        kind,
        name: name.to_owned(),
        power,
        template,
        lock: lock.map(str::to_owned),
        disk_bytes,
    };
    assert_eq!(
        client.guests(&node()).await.unwrap(),
        [
            guest(118, GuestKind::Ct, "", Power::Stopped, true, None, 1_000_000_000),
            guest(119, GuestKind::Vm, "db", Power::Other, false, Some("backup"), 0),
            guest(120, GuestKind::Ct, "web", Power::Running, false, None, 8_589_934_592),
        ]
    );
    let (client, _) = Canned::client(routes("locate"));
    assert_eq!(client.locate(GuestId(120)).await.unwrap(), Some(NodeName::new("node-b")));
    assert_eq!(client.locate(GuestId(12)).await.unwrap(), None, "12 is not 120");
}

#[tokio::test]
async fn config_and_status() {
    let (client, _) = Canned::client(routes("guest_config"));
    let config = client.guest_config(&ct()).await.unwrap().0;
    let pairs: Vec<_> = config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("cores", "2"),
            ("hostname", "web"),
            ("lxc", "[[\"lxc.apparmor.profile\",\"unconfined\"]]"),
            ("mp0", "tank:subvol-120,mp=/srv,backup=1"),
            ("onboot", "1"),
            ("protection", "0"),
        ]
    );
    let (client, _) = Canned::client(routes("guest_status"));
    assert_eq!(client.guest_status(&vm()).await.unwrap(), (Power::Other, Some("suspending".to_owned())));
    assert_eq!(client.guest_status(&ct()).await.unwrap(), (Power::Stopped, None));
}

#[tokio::test]
async fn snapshots() {
    let (client, _) = Canned::client(routes("can_snapshot"));
    assert!(client.can_snapshot(&ct()).await.unwrap());
    assert!(!client.can_snapshot(&vm()).await.unwrap());
    let (client, _) = Canned::client(routes("snapshots"));
    let listed = client.snapshots(&vm()).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|s| (s.name.as_str(), s.taken, s.description.as_str())).collect();
    assert_eq!(seen, [("pm-a", Some(Timestamp::from_secs(1_790_000_000)), "first"), ("pm-b", None, "")]);
    let (client, _) = Canned::client(routes("create_snapshot"));
    let task = client.create_snapshot(&vm(), &snapshot(), "a&b=c +é\nline two").await.unwrap();
    assert_eq!(task, upid("qmsnapshot", "119"));
    let (client, _) = Canned::client(routes("rollback_snapshot"));
    assert_eq!(client.rollback_snapshot(&ct(), &snapshot()).await.unwrap(), upid("vzrollback", "120"));
    assert_eq!(client.rollback_snapshot(&vm(), &snapshot()).await.unwrap(), upid("qmrollback", "119"));
    let (client, _) = Canned::client(routes("delete_snapshot"));
    assert_eq!(client.delete_snapshot(&ct(), &snapshot()).await.unwrap(), upid("vzdelsnapshot", "120"));
}

#[tokio::test]
async fn tasks() {
    let (client, _) = Canned::client(routes("task"));
    let state = client.task(&upid("vzdump", "120")).await.unwrap();
    assert_eq!(state, TaskState::Unknown("unexpected status".to_owned()));
    let (client, canned) = Canned::client(routes("task_log_tail"));
    let lines = client.task_log_tail(&upid("vzdump", "120"), 2).await.unwrap();
    assert_eq!(lines, ["four [31mred", "TASK OK"]);
    assert_eq!(client.task_log_tail(&upid("vzdump", "120"), 0).await.unwrap(), Vec::<String>::new());
    assert_eq!(canned.calls().len(), 2, "no lines are no call");
    let (client, _) = Canned::client(routes("tasks_of"));
    let listed = client.tasks_of(&ct(), Timestamp::from_secs(1_790_000_000)).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|t| (&t.upid, t.kind.as_str(), t.id.as_str(), t.running)).collect();
    assert_eq!(
        seen,
        [
            (&upid("vzdump", "120"), "vzdump", "120", true),
            (&upid("vzsnapshot", "120"), "vzsnapshot", "120", true),
            (&upid("vzstart", "120"), "vzstart", "120", false),
        ]
    );
}

#[tokio::test]
async fn backups() {
    let (client, _) = Canned::client(routes("backup_storages"));
    let storage = |name: &str, available| StorageFacts { name: name.to_owned(), available };
    assert_eq!(
        client.backup_storages(&node()).await.unwrap(),
        [storage("big", 7_000_000_000_000), storage("alpha", 500), storage("zeta", 500), storage("unknown", 0)]
    );
    let (client, _) = Canned::client(routes("backups"));
    let archives = client.backups(&ct(), "nfs/odd").await.unwrap();
    let seen: Vec<_> = archives.iter().map(|a| (a.volid.as_str(), a.notes.as_str(), a.made)).collect();
    assert_eq!(
        seen,
        [
            ("nfs:backup/vzdump-lxc-120-a.tar.zst", "proxmaint x", Some(Timestamp::from_secs(1_790_000_000))),
            ("nfs:backup/vzdump-lxc-120-c.tar.zst", "", None),
        ]
    );
    let (client, canned) = Canned::client(routes("start_backup"));
    assert_eq!(client.start_backup(&ct(), &backup(NOTE)).await.unwrap(), upid("vzdump", "120"));
    let fault = client.start_backup(&ct(), &backup("of {{vmid}}")).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert_eq!(canned.calls().len(), 1, "a note that would be changed is not sent");
}

#[tokio::test]
async fn addresses_and_services() {
    let interface = |name: &str, mac: Option<&str>, addresses: &[&str]| Interface {
        name: name.to_owned(),
        mac: mac.map(str::to_owned),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let (client, _) = Canned::client(routes("vm_interfaces"));
    assert_eq!(
        client.interfaces(&vm()).await.unwrap(),
        [
            interface("lo", None, &[]),
            interface("down0", None, &[]),
            interface("eth0", Some("bc:24:11:00:00:01"), &["192.0.2.10", "2001:db8::10"]),
            interface("br0", None, &["192.0.2.10"]),
        ]
    );
    let (client, _) = Canned::client(routes("ct_interfaces"));
    assert_eq!(
        client.interfaces(&ct()).await.unwrap(),
        [
            interface("lo", Some("00:00:00:00:00:00"), &[]),
            interface("eth0", Some("bc:24:11:00:00:01"), &["192.0.2.20", "2001:db8::20"]),
            interface("eth1", Some("bc:24:11:00:00:02"), &["198.51.100.20"]),
            interface("down0", None, &[]),
        ]
    );
    let (client, _) = Canned::client(routes("services"));
    let service = |name: &str, running, enabled| ServiceListing { name: name.to_owned(), running, enabled };
    assert_eq!(
        client.services(&node()).await.unwrap(),
        [
            service("failed", false, true),
            service("old", true, false),
            service("pveproxy", true, true),
            service("zfs-mount", true, true),
        ]
    );
}
