//! A node's own tools: HA maintenance, and what is under a guest's volumes.

use proxmaint_lab::faults::{CommandFault, Fault, HaFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Asker, HA, MachineId, World, WorldBuilder};

use crate::client::{Client, Site, until};

fn cluster() -> WorldBuilder {
    World::builder().cluster("lab", ["pve1", "pve2"]).node("pve1", |node| node.ssh_users(&["root", "ops"]))
}

fn on(site: &Site, vmid: u32) -> String {
    site.with(|world, _| world.node_of(&MachineId::guest("lab", vmid))).unwrap()
}

#[tokio::test]
async fn maintenance_is_asked_for_on_the_command_line_and_seen_there() {
    let site = Site::start(cluster().ct("pve1", 101, |ct| ct).ha("lab", [101]).build()).await;
    let root = site.login(&MachineId::node("pve1")).await;
    let asked = root.run("ha-manager crm-command node-maintenance enable pve1").await;
    assert_eq!((asked.code, asked.out.as_str(), asked.err.as_str()), (Some(0), "", ""));
    until("it is moved away", || on(&site, 101) == "pve2").await;
    let status = root.run("ha-manager status").await;
    let lines: Vec<&str> = status.out.lines().collect();
    assert_eq!(lines[0], "quorum OK");
    assert!(lines[1].starts_with("master pve1 (active, "), "{status:?}");
    assert!(lines[3].starts_with("lrm pve1 (maintenance mode, "), "{status:?}");
    assert!(lines[5].starts_with("service ct:101 (pve2, "), "{status:?}");
    let full = root.run("ha-manager status --verbose | sed '1,/full cluster state/d'").await.out;
    let full: serde_json::Value = serde_json::from_str(&full).unwrap();
    assert_eq!(full["manager_status"]["node_status"]["pve1"], "maintenance");
    assert_eq!(full["lrm_status"]["pve1"]["mode"], "maintenance");
    assert_eq!(root.run("ha-manager crm-command node-maintenance disable pve1").await.code, Some(0));
    until("it comes back", || on(&site, 101) == "pve1").await;
    let by: Vec<String> = site.with(|world, _| world.moves().map(|entry| entry.by.clone()).collect());
    assert_eq!(by, [HA, HA]);
    let wrong = root.run("ha-manager crm-command node-maintenance enable pve9").await;
    assert_eq!((wrong.code, wrong.err.as_str()), (Some(255), "no such cluster node 'pve9'\n"));
}

#[tokio::test]
async fn only_root_may_ask_for_maintenance_and_an_answer_may_be_lost() {
    let site = Site::start(cluster().ct("pve1", 101, |ct| ct).ha("lab", [101]).build()).await;
    let node = MachineId::node("pve1");
    let ops = Client::login(site.addr(&node), "ops", site.ssh.client_key()).await.unwrap();
    let line = "ha-manager crm-command node-maintenance enable pve1";
    let refused = ops.run(line).await;
    assert_eq!((refused.code, refused.err.as_str()), (Some(255), "please run as root\n"));
    site.with(|world, _| {
        world.plant(Fault::command("pve1", "*node-maintenance*", CommandFault::CutAtEnd));
        world.plant(Fault::ha("pve1", HaFault::DrainNeverEnds));
    });
    let lost = ops.run(&format!("sudo {line}")).await;
    assert_eq!(lost.code, None, "{lost:?}");
    let asked: Vec<String> =
        site.with(|world, _| world.ledger.of(Act::MaintenanceOn, "pve1").map(|e| e.by.clone()).collect());
    assert_eq!(asked, ["ssh:ops"], "it was done all the same");
}

#[tokio::test]
async fn what_is_under_a_volume_can_be_asked_for() {
    let world = cluster()
        .ct("pve1", 101, |ct| ct.snapshot("before").foreign_snapshot("autosnap_1"))
        .vm("pve1", 201, |vm| vm.snapshot("old"))
        .ct("pve1", 102, |ct| ct.no_snapshots())
        .ct("pve2", 103, |ct| ct);
    let site = Site::start(world.build()).await;
    let root = site.login(&MachineId::node("pve1")).await;
    for (volid, path) in [
        ("local-zfs:subvol-101-disk-0", "/rpool/data/subvol-101-disk-0\n"),
        ("local-zfs:vm-201-disk-0", "/dev/zvol/rpool/data/vm-201-disk-0\n"),
        ("local:102/vm-102-disk-0.raw", "/var/lib/vz/images/102/vm-102-disk-0.raw\n"),
    ] {
        assert_eq!(root.run(&format!("pvesm path {volid}")).await.out, path);
    }
    let unknown = root.run("pvesm path nowhere:x").await;
    assert_eq!((unknown.code, unknown.err.as_str()), (Some(255), "storage 'nowhere' does not exist\n"));
    let list = "zfs list -H -t snapshot -o name -s creation rpool/data/subvol-101-disk-0";
    let both = "rpool/data/subvol-101-disk-0@before\nrpool/data/subvol-101-disk-0@autosnap_1\n";
    assert_eq!(root.run(list).await.out, both);
    let all = root.run("zfs list -Hp -t snapshot -o name,creation -r rpool/data").await.out;
    let epoch = site.with(|world, _| world.unix(0));
    assert_eq!(all.lines().last(), Some(format!("rpool/data/vm-201-disk-0@old\t{}", epoch - 60).as_str()), "{all}");
    assert_eq!(all.lines().count(), 3);
    let gone = root.run("zfs list -H -t snapshot -o name rpool/data/subvol-103-disk-0").await;
    let said = "cannot open 'rpool/data/subvol-103-disk-0': dataset does not exist\n";
    assert_eq!((gone.code, gone.err.as_str()), (Some(1), said), "it is on the other node");
    let get = |dataset: &str, snapshot: &str, columns: &str| {
        format!("zfs get -Hp {columns} written@{snapshot} rpool/data/{dataset}")
    };
    assert_eq!(root.run(&get("subvol-101-disk-0", "before", "-o value")).await.out, "0\n");
    let never = root.run(&get("vm-201-disk-0", "never", "")).await;
    assert_eq!((never.code, never.out.as_str()), (Some(0), "rpool/data/vm-201-disk-0\twritten@never\t-\t-\n"));
    let gone = root.run(&get("subvol-103-disk-0", "before", "-o value")).await;
    assert_eq!((gone.code, gone.err.as_str()), (Some(1), said));
}

#[tokio::test]
async fn a_rollback_takes_what_was_written_since() {
    let site = Site::start(cluster().ct("pve1", 101, |ct| ct).build()).await;
    let id = MachineId::guest("lab", 101);
    let root = site.login(&MachineId::node("pve1")).await;
    let mut upid = site.with(|world, now| world.create_snapshot(now, &id, "before", "", &Asker::root())).unwrap();
    let ended = |upid: &String| site.with(|world, _| world.task(upid).is_some_and(|task| task.exit.is_some()));
    until("the task ends", || ended(&upid)).await;
    let wrote = root.run("pct exec 101 -- sh -c 'mkdir -p /var/lib/job && echo 0 > /var/lib/job/status'").await;
    assert_eq!(wrote.code, Some(0), "{wrote:?}");
    upid = site.with(|world, now| world.rollback(now, &id, "before", true, &Asker::root())).unwrap();
    until("the task ends", || ended(&upid)).await;
    let looked = root.run("pct exec 101 -- ls /var/lib/job").await;
    assert!(looked.code != Some(0) && looked.out.is_empty(), "{looked:?}");
}
