//! Answers that a real Proxmox VE 9.2 gave, read by the client. Each recording is replayed; what it must become is told by
//! hand for those that matter and by its status for the others.

use std::collections::BTreeMap;
use std::path::Path;

use proxmaint::adapters::pve::agent::{AgentCommand, AgentEnd};
use proxmaint::engine::port::{AgentState, BackupSpec, GuestRef, Interface, Pve, TaskState};
use proxmaint::ids::{GuestId, GuestKind, NodeName, SnapshotName, Upid};
use proxmaint::inventory::Power;
use proxmaint::machine::outcome::{Fault, FaultClass};
use proxmaint::time::Timestamp;
use serde_json::{Value, json};

use crate::canned::{Canned, Route, any, method, split};
use crate::fixtures::WAIT;
use crate::shared::beside;
use proxmaint::adapters::pve::transport::{Answer, Method};

/// One recording: the request and the answer.
struct Recording {
    method: Method,
    segments: Vec<String>,
    params: Vec<(String, String)>,
    answer: Answer,
}

impl Recording {
    fn read(file: &Path) -> Self {
        let all: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let (mut segments, mut params) = split(all["request"]["path"].as_str().unwrap());
        assert_eq!(segments.drain(..2).collect::<Vec<_>>(), ["api2", "json"]);
        for pair in all["request"]["form"].as_array().into_iter().flatten() {
            params.push((pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned()));
        }
        params.sort();
        let answer = Answer {
            status: u16::try_from(all["status"].as_u64().unwrap()).unwrap(),
            reason: all["reason"].as_str().unwrap().to_owned(),
            body: all["body"].clone(),
        };
        Self { method: method(all["request"]["method"].as_str().unwrap()), segments, params, answer }
    }

    /// Serves the answer to the recorded path, whatever the parameters.
    fn route(&self) -> Route {
        Route {
            method: self.method,
            segments: Some(self.segments.clone()),
            params: None,
            reply: Ok(self.answer.clone()),
        }
    }

    /// Serves the answer to exactly the recorded request.
    fn exact_route(&self) -> Route {
        Route { params: Some(self.params.clone()), ..self.route() }
    }

    fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }
}

/// Reads recordings by name, or says that the test is not run.
fn recordings<const N: usize>(names: [&str; N], test: &str) -> Option<[Recording; N]> {
    let folder = beside("recorded/api", test)?;
    Some(names.map(|name| Recording::read(&folder.join(format!("{name}.json")))))
}

fn node() -> NodeName {
    NodeName::new("pve1")
}

fn ct(id: u32) -> GuestRef {
    GuestRef { node: node(), kind: GuestKind::Ct, id: GuestId(id) }
}

fn vm(id: u32) -> GuestRef {
    GuestRef { node: node(), kind: GuestKind::Vm, id: GuestId(id) }
}

/// Asks the one port method that a recording's request belongs to; `None` where the client never makes such a request.
async fn replay(recording: &Recording) -> Option<Result<(), Fault>> {
    let segments: Vec<&str> = recording.segments.iter().map(String::as_str).collect();
    let guest = |node: &str, kind: &str, id: &str| GuestRef {
        node: NodeName::new(node),
        kind: if kind == "lxc" { GuestKind::Ct } else { GuestKind::Vm },
        id: id.parse().unwrap(),
    };
    let mut routes = vec![recording.route()];
    if let [.., "lxc" | "qemu"] = segments.as_slice() {
        routes.push(any(Method::Get, 200, "OK", json!({"data": []})));
    }
    let (client, _) = Canned::client(routes);
    let name = SnapshotName::new(recording.param("snapname"));
    Some(match (recording.method, segments.as_slice()) {
        (Method::Get, ["version"]) => client.version().await.map(drop),
        (Method::Get, ["cluster", "status"]) => client.cluster_status().await.map(drop),
        (Method::Get, ["cluster", "resources"]) => {
            client.locate(GuestId(101)).await.and(client.resources().await).map(drop)
        }
        (Method::Get, ["access", "permissions"]) => client.permissions().await.map(drop),
        (Method::Get, ["nodes", n, "certificates", "info"]) => {
            client.ca_fingerprint(&NodeName::new(*n)).await.map(drop)
        }
        (Method::Get, ["nodes", n, "lxc" | "qemu"]) => client.guests(&NodeName::new(*n)).await.map(drop),
        (Method::Get, ["nodes", n, k @ ("lxc" | "qemu"), id, "config"]) => {
            client.guest_config(&guest(n, k, id)).await.map(drop)
        }
        (Method::Get, ["nodes", n, k @ ("lxc" | "qemu"), id, "status", "current"]) => {
            client.guest_status(&guest(n, k, id)).await.map(drop)
        }
        (Method::Get, ["nodes", n, k @ ("lxc" | "qemu"), id, "feature"]) => {
            client.can_snapshot(&guest(n, k, id)).await.map(drop)
        }
        (Method::Get, ["nodes", n, k @ ("lxc" | "qemu"), id, "snapshot"]) => {
            client.snapshots(&guest(n, k, id)).await.map(drop)
        }
        (Method::Post, ["nodes", n, k @ ("lxc" | "qemu"), id, "snapshot"]) => {
            let guest = guest(n, k, id);
            client.create_snapshot(&guest, &name, recording.param("description")).await.map(drop)
        }
        (Method::Delete, ["nodes", n, k @ ("lxc" | "qemu"), id, "snapshot", name]) => {
            client.delete_snapshot(&guest(n, k, id), &SnapshotName::new(*name)).await.map(drop)
        }
        (Method::Get, ["nodes", _, "tasks", upid, "status"]) => client.task(&Upid::new(*upid)).await.map(drop),
        (Method::Get, ["nodes", _, "tasks", upid, "log"]) => {
            client.task_log_tail(&Upid::new(*upid), 50).await.map(drop)
        }
        (Method::Get, ["nodes", n, "tasks"]) => {
            let node = NodeName::new(*n);
            let of_node = client.active_tasks(&node).await;
            let of_type = client.tasks_of_type(&node, "vzdump", Timestamp(0)).await;
            of_node.and(of_type).and(client.tasks_of(&ct(101), Timestamp(0)).await).map(drop)
        }
        (Method::Get, ["nodes", n, "storage"]) => client.backup_storages(&NodeName::new(*n)).await.map(drop),
        (Method::Get, ["nodes", _, "storage", storage, "content"]) => client.backups(&ct(101), storage).await.map(drop),
        (Method::Post, ["nodes", _, "vzdump"]) => {
            let spec = BackupSpec {
                storage: recording.param("storage").to_owned(),
                note: "n".to_owned(),
                lock_wait: std::time::Duration::from_secs(60),
                mode: proxmaint::choices::BackupMode::Snapshot,
                compress: proxmaint::choices::Compression::Zstd,
            };
            client.start_backup(&ct(101), &spec).await.map(drop)
        }
        (Method::Get, ["nodes", n, "qemu", id, "agent", "network-get-interfaces"]) => {
            client.interfaces(&guest(n, "qemu", id)).await.map(drop)
        }
        (Method::Get, ["nodes", n, "lxc", id, "interfaces"]) => client.interfaces(&guest(n, "lxc", id)).await.map(drop),
        (Method::Get, ["nodes", n, "services"]) => client.services(&NodeName::new(*n)).await.map(drop),
        (Method::Post, ["nodes", n, k @ ("lxc" | "qemu"), id, "status", "start"]) => {
            client.start_guest(&guest(n, k, id)).await.map(drop)
        }
        (Method::Post, ["nodes", n, k @ ("lxc" | "qemu"), id, "status", "shutdown"]) => {
            client.shutdown_guest(&guest(n, k, id), WAIT).await.map(drop)
        }
        (Method::Post, ["nodes", n, k @ ("lxc" | "qemu"), id, "status", "reboot"]) => {
            client.reboot_guest(&guest(n, k, id), WAIT).await.map(drop)
        }
        (Method::Post, ["nodes", n, "stopall"]) => client.stop_all(&NodeName::new(*n), WAIT).await.map(drop),
        (Method::Post, ["nodes", n, "status"]) => client.reboot_node(&NodeName::new(*n)).await,
        (Method::Delete, ["nodes", n, "storage", _, "content", volid]) => {
            client.delete_backup(&NodeName::new(*n), volid).await.map(drop)
        }
        _ => return None,
    })
}

/// The class that the status of an answer stands for.
fn class_of(status: u16) -> FaultClass {
    match status {
        401 | 403 => FaultClass::Auth,
        _ => FaultClass::Permanent,
    }
}

#[tokio::test]
async fn every_recording_is_understood() {
    let Some(folder) = beside("recorded/api", "every_recording_is_understood") else { return };
    let (mut good, mut bad) = (0, 0);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let recording = Recording::read(&file);
        let name = file.file_stem().unwrap().to_str().unwrap();
        let status = recording.answer.status;
        // Some errors are answers: an agent that is not up has no addresses, an unknown task is in doubt.
        let settled = matches!(name, "agent-interfaces-noagent" | "task-unknown");
        if status == 200 || settled {
            if let Some(outcome) = replay(&recording).await {
                outcome.unwrap_or_else(|fault| panic!("{name}: {fault}"));
                good += 1;
            }
            continue;
        }
        // An error means the same whatever was asked, so those of other calls are replayed as well.
        let fault = match replay(&recording).await {
            Some(outcome) => outcome.unwrap_err(),
            None if recording.method == Method::Get => {
                let answer = recording.answer.clone();
                let (client, _) = Canned::client(vec![any(Method::Get, status, &answer.reason, answer.body)]);
                client.version().await.unwrap_err()
            }
            None => {
                let answer = recording.answer.clone();
                let (client, _) = Canned::client(vec![any(Method::Post, status, &answer.reason, answer.body)]);
                client.create_snapshot(&ct(1), &SnapshotName::new("x"), "").await.unwrap_err()
            }
        };
        assert_eq!(fault.class, class_of(status), "{name}: {fault}");
        assert!(fault.what.contains(recording.answer.reason.trim_end_matches('.')), "{name}: {fault}");
        bad += 1;
    }
    assert!(good >= 100 && bad >= 25, "{good} good and {bad} bad answers replayed");
}

#[tokio::test]
async fn a_cluster_and_a_node_alone() {
    let Some([version, cluster, alone, certificates]) = recordings(
        ["version", "cluster-status", "standalone-cluster-status", "certificates"],
        "a_cluster_and_a_node_alone",
    ) else {
        return;
    };
    let (client, _) = Canned::client(vec![version.exact_route(), cluster.exact_route(), certificates.exact_route()]);
    assert_eq!(client.version().await.unwrap(), "9.2.11");
    let status = client.cluster_status().await.unwrap();
    assert_eq!((status.name.as_deref(), status.quorate), (Some("labcl"), true));
    let nodes: Vec<_> = status.nodes.iter().map(|n| (n.name.as_str(), n.local, n.online)).collect();
    assert_eq!(nodes, [("pve2", false, true), ("pve1", true, true)]);
    assert_eq!(
        client.ca_fingerprint(&node()).await.unwrap(),
        "A8:9E:F8:11:53:FC:B2:7B:67:FA:E6:E4:34:97:C0:22:1C:51:2E:9F:D4:92:86:13:4F:67:A0:D6:ED:26:0A:D9"
    );

    let (client, _) = Canned::client(vec![alone.exact_route()]);
    let status = client.cluster_status().await.unwrap();
    assert_eq!((status.name, status.quorate), (None, true));
    assert_eq!(status.nodes.iter().map(|n| (n.name.as_str(), n.local)).collect::<Vec<_>>(), [("pve3", true)]);
}

#[tokio::test]
async fn guests_of_both_kinds_in_order() {
    let Some([cts, vms, resources, after]) = recordings(
        ["lxc-list-locked", "qemu-list", "cluster-resources-vm", "cluster-resources-after-migrate"],
        "guests_of_both_kinds_in_order",
    ) else {
        return;
    };
    let (client, _) = Canned::client(vec![cts.exact_route(), vms.exact_route(), resources.exact_route()]);
    let guests = client.guests(&node()).await.unwrap();
    let seen: Vec<_> =
        guests.iter().map(|g| (g.id.0, g.kind, g.name.as_str(), g.power, g.lock.as_deref(), g.disk_bytes)).collect();
    assert_eq!(
        seen,
        [
            (101, GuestKind::Ct, "ct101", Power::Running, Some("backup"), 270_553_174_016),
            (103, GuestKind::Ct, "ct103", Power::Stopped, None, 4_294_967_296),
            (201, GuestKind::Vm, "vm201", Power::Running, None, 1_073_741_824),
            (202, GuestKind::Vm, "vm202", Power::Running, Some("snapshot"), 1_572_864_000),
        ]
    );
    assert!(guests.iter().all(|g| !g.template));
    assert_eq!(client.locate(GuestId(101)).await.unwrap(), Some(node()));
    assert_eq!(client.locate(GuestId(999)).await.unwrap(), None);
    let (client, _) = Canned::client(vec![after.exact_route()]);
    assert_eq!(client.locate(GuestId(101)).await.unwrap(), Some(NodeName::new("pve2")));
}

#[tokio::test]
async fn a_guest_config_and_status() {
    let Some([ct_config, vm_config, ct_status, vm_status]) =
        recordings(["lxc-config-locked", "qemu-config", "lxc-status", "qemu-status"], "a_guest_config_and_status")
    else {
        return;
    };
    let routes = [ct_config, vm_config, ct_status, vm_status].iter().map(Recording::exact_route).collect();
    let (client, _) = Canned::client(routes);
    let config = client.guest_config(&ct(101)).await.unwrap().0;
    assert_eq!(config["memory"], "256");
    assert_eq!(config["lock"], "backup");
    assert_eq!(config["unprivileged"], "1");
    let config = client.guest_config(&vm(202)).await.unwrap().0;
    assert_eq!(config["smbios1"], "uuid=a75e914a-16bd-47f6-9961-e0a1ab1ed00f");
    assert_eq!((config["agent"].as_str(), config["memory"].as_str()), ("1", "512"));
    assert_eq!(client.guest_status(&ct(101)).await.unwrap(), (Power::Running, None));
    assert_eq!(client.guest_status(&vm(202)).await.unwrap(), (Power::Running, Some("snapshot".to_owned())));
}

#[tokio::test]
async fn snapshots_and_whether_they_can_be_had() {
    let Some([can, cannot, listed, listed_vm, none, create, delete]) = recordings(
        [
            "lxc-feature-snapshot-btrfs",
            "lxc-feature-snapshot-dir",
            "snapshot-btrfs-list",
            "qemu-snapshot-list2",
            "lxc-snapshots",
            "snapshot-btrfs-create",
            "snapshot-delete",
        ],
        "snapshots_and_whether_they_can_be_had",
    ) else {
        return;
    };
    let routes = [&can, &cannot, &listed, &listed_vm, &create, &delete].map(Recording::exact_route).to_vec();
    let (client, _) = Canned::client(routes);
    assert!(client.can_snapshot(&ct(103)).await.unwrap());
    assert!(!client.can_snapshot(&ct(101)).await.unwrap());
    let snapshots = client.snapshots(&ct(103)).await.unwrap();
    assert_eq!(snapshots.len(), 1, "`current` is no snapshot");
    assert_eq!(snapshots[0].name.as_str(), "pm-test1");
    assert_eq!(snapshots[0].description, "made by a test");
    assert_eq!(snapshots[0].taken, Some(Timestamp::from_secs(1_795_386_517)));
    let names: Vec<_> =
        client.snapshots(&vm(201)).await.unwrap().into_iter().map(|s| (s.name.to_string(), s.description)).collect();
    assert_eq!(names, [("pre".to_owned(), String::new()), ("pm-q1".to_owned(), "key run_x/201".to_owned())]);
    let name = SnapshotName::new("pm-test1");
    let upid = client.create_snapshot(&ct(103), &name, "made by a test").await.unwrap();
    assert_eq!(upid.as_str(), "UPID:pve1:00000AFC:00079C8C:6B036C95:vzsnapshot:103:root@pam!lab:");
    let upid = client.delete_snapshot(&ct(103), &name).await.unwrap();
    assert_eq!(upid.node(), Some(node()));
    let (client, _) = Canned::client(vec![none.exact_route()]);
    assert_eq!(client.snapshots(&ct(103)).await.unwrap(), []);
}

#[tokio::test]
async fn how_tasks_end() {
    let expected = BTreeMap::from([
        ("lxc-start-task-status-running", TaskState::Running),
        ("snapshot-btrfs-task-status", TaskState::Ok { warnings: 0 }),
        ("lxc-start-task-status", TaskState::Ok { warnings: 1 }),
        ("snapshot-dir-task-status", TaskState::Failed("snapshot feature is not available".to_owned())),
        ("snapshot-dup-task-status", TaskState::Failed("snapshot name 'pm-test1' already used".to_owned())),
        ("snapshot-while-locked-task-status", TaskState::Failed("CT is locked (backup)".to_owned())),
        ("task-unknown", TaskState::Unknown("no such task".to_owned())),
    ]);
    for (name, state) in expected {
        let Some([recording]) = recordings([name], "how_tasks_end") else { return };
        let (client, _) = Canned::client(vec![recording.exact_route()]);
        assert_eq!(client.task(&Upid::new(&recording.segments[3])).await.unwrap(), state, "{name}");
    }
}

#[tokio::test]
async fn tasks_and_the_end_of_a_log() {
    let Some([log, tasks]) = recordings(["vzdump-lxc-task-log", "tasks-filter"], "tasks_and_the_end_of_a_log") else {
        return;
    };
    let (client, canned) = Canned::client(vec![log.route(), tasks.route()]);
    let upid = Upid::new(&log.segments[3]);
    let lines = client.task_log_tail(&upid, 50).await.unwrap();
    assert_eq!((lines.len(), lines[27].as_str()), (28, "TASK OK"));
    assert_eq!(canned.calls().len(), 1);
    client.task_log_tail(&upid, 5).await.unwrap();
    let asked: Vec<_> = canned.calls()[1..].iter().map(|c| c.params.clone()).collect();
    let page = |start: &str| vec![("start".to_owned(), start.to_owned()), ("limit".to_owned(), "5".to_owned())];
    assert_eq!(asked, [page("0"), page("23")], "28 lines, of which the last 5 are asked for");

    let listed = client.tasks_of(&ct(101), Timestamp(1_795_385_000_999)).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|t| (t.kind.as_str(), t.id.as_str(), t.started, t.running)).collect();
    assert_eq!(
        seen,
        [
            ("vzdump", "101", Timestamp::from_secs(1_795_385_248), false),
            ("vzdump", "101", Timestamp::from_secs(1_795_385_211), false)
        ]
    );
    assert_eq!(listed[0].upid.as_str(), "UPID:pve1:000002DA:0005ACD1:6B0367A0:vzdump:101:root@pam!lab:");
    assert_eq!(canned.calls().last().unwrap().param("since"), Some("1795385000"));
}

#[tokio::test]
async fn storages_and_archives() {
    let Some([storage, content]) = recordings(["storage", "storage-content-3"], "storages_and_archives") else {
        return;
    };
    let (client, _) = Canned::client(vec![storage.route(), content.exact_route()]);
    let storages = client.backup_storages(&node()).await.unwrap();
    let seen: Vec<_> = storages.iter().map(|s| (s.name.as_str(), s.available)).collect();
    assert_eq!(seen, [("local", 74_127_036_416), ("btr", 3_485_503_488)]);
    let archives = client.backups(&ct(101), "local").await.unwrap();
    let notes: Vec<_> = archives.iter().map(|a| a.notes.as_str()).collect();
    assert_eq!(notes, ["", "pm-test ct101", "pm-test ct101", "key run_x/101"]);
    assert_eq!(archives[3].volid, "local:backup/vzdump-lxc-101-2026_11_22-23_08_28.tar.zst");
    assert_eq!(archives[3].made, Some(Timestamp::from_secs(1_795_388_908)));
}

#[tokio::test]
async fn addresses_and_services() {
    let names = ["agent-interfaces", "agent-interfaces-noagent", "lxc-interfaces", "services"];
    let Some([up, down, container, services]) = recordings(names, "addresses_and_services") else { return };
    let (client, _) = Canned::client([&up, &down, &container, &services].map(Recording::exact_route).to_vec());
    let told = async |guest| {
        let interfaces = client.interfaces(&guest).await.unwrap();
        let shown = |i: Interface| (i.name, i.mac.unwrap(), i.addresses.iter().map(ToString::to_string).collect());
        interfaces.into_iter().map(shown).collect::<Vec<(String, String, Vec<String>)>>()
    };
    let is = |name: &str, mac: &str, addresses: &[&str]| {
        (name.to_owned(), mac.to_owned(), addresses.iter().map(|address| (*address).to_owned()).collect())
    };
    let lo = is("lo", "00:00:00:00:00:00", &[]);
    assert_eq!(told(vm(202)).await, [lo.clone(), is("ens18", "bc:24:11:07:06:2e", &["10.88.0.201"])]);
    assert_eq!(told(vm(201)).await, []);
    assert_eq!(told(ct(101)).await, [lo, is("eth0", "bc:24:11:69:1f:b7", &["10.88.0.101"])]);
    let services = client.services(&node()).await.unwrap();
    let running: Vec<_> = services.iter().filter(|s| s.running).map(|s| s.name.as_str()).collect();
    assert_eq!(
        running,
        ["corosync", "pve-cluster", "pvedaemon", "pveproxy", "pvescheduler", "pvestatd", "sshd", "systemd-journald"]
    );
    let enabled: Vec<_> = services.iter().filter(|s| s.enabled && !s.running).map(|s| s.name.as_str()).collect();
    assert_eq!(enabled, ["lxcfs"]);
}

#[tokio::test]
async fn refusals_name_what_to_do() {
    let Some([privilege, parameter, gone]) =
        recordings(["perm-snapshot", "snapshot-badname", "unknown-guest-config"], "refusals_name_what_to_do")
    else {
        return;
    };
    let attempt = async |recording: Recording| {
        let (client, _) = Canned::client(vec![recording.route()]);
        client.create_snapshot(&ct(103), &SnapshotName::new("x1"), "").await.unwrap_err()
    };
    let fault = attempt(privilege).await;
    assert_eq!(
        fault.what,
        "api call POST /nodes/pve1/lxc/103/snapshot answered 403: Permission check failed (/vms/103, VM.Snapshot)"
    );
    assert!(fault.hint.unwrap().starts_with("grant the token a role with VM.Snapshot on /vms/103 "));
    let fault = attempt(parameter).await;
    assert!(fault.what.ends_with("(snapname: invalid format - invalid configuration ID '1bad name')"), "{fault}");
    let (client, _) = Canned::client(vec![gone.exact_route()]);
    let fault = client.guest_config(&ct(999)).await.unwrap_err();
    assert!(proxmaint::adapters::pve::fault::is_missing_guest(&fault.what), "{fault}");
    assert_eq!(fault.class, FaultClass::Permanent);
}

#[tokio::test]
async fn power_and_archives() {
    let Some([start, running, shutdown, off, reboot, stop_all, node, delete]) = recordings(
        [
            "lxc-start",
            "lxc-start-running",
            "qemu-shutdown-agent",
            "lxc-shutdown-stopped",
            "lxc-reboot-101",
            "node-stopall",
            "node-reboot",
            "backup-delete",
        ],
        "power_and_archives",
    ) else {
        return;
    };
    let id = |recording: &Recording| recording.segments[3].parse().unwrap();
    let upid = |recording: &Recording| Upid::new(recording.answer.body["data"].as_str().unwrap());
    let on = |recording: &Recording| Canned::client(vec![recording.route()]).0;
    assert_eq!(on(&start).start_guest(&ct(id(&start))).await.unwrap(), upid(&start));
    let fault = on(&running).start_guest(&ct(id(&running))).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent);
    assert!(fault.what.contains("already running"), "{fault}");
    assert_eq!(on(&shutdown).shutdown_guest(&vm(id(&shutdown)), WAIT).await.unwrap(), upid(&shutdown));
    let fault = on(&off).shutdown_guest(&ct(id(&off)), WAIT).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent);
    assert!(fault.what.contains("not running"), "{fault}");
    assert_eq!(on(&reboot).reboot_guest(&ct(id(&reboot)), WAIT).await.unwrap(), upid(&reboot));
    // The very request that was recorded.
    let (client, _) = Canned::client(vec![stop_all.exact_route()]);
    let edge = NodeName::new("pve3");
    assert_eq!(client.stop_all(&edge, std::time::Duration::from_secs(60)).await.unwrap(), upid(&stop_all));
    let (client, _) = Canned::client(vec![node.exact_route()]);
    client.reboot_node(&edge).await.unwrap();
    // It was recorded with its slash as it is; the client writes the volume as one segment, which the API reads alike.
    let route = Route { segments: None, ..delete.route() };
    let (client, canned) = Canned::client(vec![route]);
    let volid = "local:backup/vzdump-lxc-101-2026_11_22-23_08_28.tar.zst";
    assert_eq!(client.delete_backup(&self::node(), volid).await.unwrap(), Some(upid(&delete)));
    assert_eq!(canned.calls()[0].segments().join("/"), delete.segments.join("/"));
}

#[tokio::test]
async fn an_agent_and_its_commands() {
    let Some([ping, none, early, exec, running, exited, unknown, denied]) = recordings(
        [
            "agent-ping",
            "agent-ping-noagent",
            "agent-ping-early",
            "agent-exec",
            "agent-exec-status-running",
            "agent-exec-status-exited",
            "agent-exec-status-unknown-pid",
            "perm-agent-exec",
        ],
        "an_agent_and_its_commands",
    ) else {
        return;
    };
    let on = |recording: &Recording| Canned::client(vec![recording.route()]).0;
    assert_eq!(on(&ping).agent(&vm(202)).await.unwrap(), AgentState::Up);
    for down in [none, early] {
        let state = |agent, uptime| Route {
            segments: Some(["nodes", "pve1", "qemu", "202", "status", "current"].map(str::to_owned).to_vec()),
            ..any(Method::Get, 200, "OK", json!({"data": {"agent": agent, "uptime": uptime}}))
        };
        let route = || Route { segments: None, ..down.route() };
        let told = async |agent, uptime| {
            let (client, _) = Canned::client(vec![route(), state(agent, uptime)]);
            client.agent(&vm(202)).await.unwrap()
        };
        assert_eq!(told(0, 400).await, AgentState::NotConfigured);
        assert!(matches!(told(1, 4).await, AgentState::NotRunning(text) if text.contains("not ready yet")));
        assert!(matches!(told(1, 400).await, AgentState::NotRunning(text) if text.contains("none is running")));
    }
    let (client, canned) = Canned::client(vec![exec.route()]);
    assert_eq!(client.agent_exec(&vm(202), &["/bin/sh", "-c", "true"]).await.unwrap(), 284);
    let words: Vec<_> = canned.calls()[0].params.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(words, ["command"; 3]);
    assert_eq!(on(&running).agent_exec_status(&vm(202), 284).await.unwrap(), AgentCommand::Running);
    let end = AgentEnd {
        exit: Some(3),
        signal: None,
        stdout: b"out\n".to_vec(),
        stderr: b"err\n".to_vec(),
        truncated: false,
    };
    assert_eq!(on(&exited).agent_exec_status(&vm(202), 284).await.unwrap(), AgentCommand::Ended(end));
    let forgotten = on(&unknown).agent_exec_status(&vm(202), 999_999).await.unwrap();
    assert_eq!(forgotten, AgentCommand::Forgotten("Agent error: Invalid parameter 'pid'".to_owned()));
    let fault = on(&denied).agent_exec(&vm(202), &["/bin/true"]).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Auth);
    assert!(fault.hint.unwrap().contains("VM.GuestAgent.Unrestricted on /vms/202"));
}

#[tokio::test]
async fn privileges_and_resources() {
    let Some([all, one, resources, after]) = recordings(
        ["access-permissions", "permissions-path", "cluster-resources", "cluster-resources-after-migrate"],
        "privileges_and_resources",
    ) else {
        return;
    };
    let on = |recording: &Recording| Canned::client(vec![recording.route()]).0;
    let held = on(&all).permissions().await.unwrap();
    assert!(held["/vms"]["VM.Snapshot"] && held["/storage"]["Datastore.AllocateSpace"], "{held:?}");
    assert_eq!(on(&one).permissions().await.unwrap().len(), 1);
    let guests = on(&resources).resources().await.unwrap();
    let seen: Vec<_> = guests.iter().map(|g| (g.id.0, g.node.as_str(), g.ha)).collect();
    assert_eq!(seen, [(101, "pve1", false), (103, "pve1", false), (201, "pve1", false), (202, "pve1", false)]);
    let guests = on(&after).resources().await.unwrap();
    assert_eq!(guests[0].node, NodeName::new("pve2"));
}
