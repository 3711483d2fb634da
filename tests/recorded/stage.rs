//! A world like the one that was recorded: a cluster of two nodes and one that stands alone.

use std::collections::BTreeMap;

use proxmaint_lab::world::{Acl, Backup, Durations, MachineId, NodeSpec, Os, Storage, StorageState, Token, World};

/// The token of a user who may look, but not act.
pub const LOOKER: (&str, &str) = ("looker@pve", "poor");

/// Builds the world as it was when the recording began.
pub fn world() -> World {
    let on =
        |node: &str| (node.to_owned(), StorageState { active: true, total: 270_553_174_016, used: 23_445_712_896 });
    let content = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
    let local = Storage {
        name: "local".into(),
        kind: "dir".into(),
        content: content("iso,vztmpl,images,snippets,rootdir,backup"),
        shared: false,
        enabled: true,
        keep_last: None,
        on: BTreeMap::from([on("pve1"), on("pve2")]),
    };
    let mut btr = Storage {
        name: "btr".into(),
        kind: "btrfs".into(),
        content: content("backup,images,rootdir"),
        on: BTreeMap::from([on("pve1"), on("pve2")]),
        ..local.clone()
    };
    btr.on.get_mut("pve2").expect("it was put there").active = false;
    let backup = Backup {
        volid: "local:backup/vzdump-lxc-101-2026_11_22-22_07_28.tar.zst".into(),
        storage: "local".into(),
        node: "pve1".into(),
        vmid: 101,
        vm: false,
        ctime: 1_795_385_248,
        size: 65_643_217,
        format: "tar.zst".into(),
        notes: None,
        protected: false,
    };
    let node = |ip: &'static str| move |n: NodeSpec| n.ip(ip).os(Os::Debian12).package("lab-hello", "1.0", "2.0");
    let net = "name=eth0,bridge=vmbr0,gw=10.88.0.1,hwaddr=BC:24:11:69:1F:B7,ip=10.88.0.101/24,type=veth";
    let sees: &[&str] = &["VM.Audit", "Sys.Audit"];
    let looker = Token {
        user: LOOKER.0.into(),
        id: LOOKER.1.into(),
        secret: "00000000-0000-4000-8000-000000000000".into(),
        acl: None,
    };
    let seed = Token { user: "root@pam".into(), id: "seed".into(), ..looker.clone() };
    let mut world = World::builder()
        .durations(Durations::real())
        .cluster("labcl", ["pve1", "pve2"])
        .standalone("pve3")
        .node("pve1", node("10.77.0.11"))
        .node("pve2", node("10.77.0.12"))
        .node("pve3", |n| n.ip("10.77.0.13"))
        .storage("labcl", local)
        .storage("labcl", btr)
        .backup("labcl", backup)
        .user("labcl", LOOKER.0, Acl::of(&[("/", sees)]))
        .token("labcl", looker)
        .token("pve3", seed)
        .ct("pve1", 101, |ct| {
            ct.config("rootfs", "local:101/subvol-101-disk-0.subvol,size=0T")
                .config("net0", net)
                .addresses(&["10.88.0.101"])
        })
        .ct("pve1", 103, |ct| ct.on("btr").stopped())
        .vm("pve1", 201, |vm| {
            vm.on("local").config("scsi0", "local:201/vm-201-disk-0.qcow2,size=1G").silent_agent().stubborn()
        })
        .vm("pve1", 202, |vm| {
            vm.on("local")
                .config("scsi0", "local:202/vm-202-disk-0.qcow2,size=1500M")
                .config("serial0", "socket")
                .stubborn()
        })
        .ct("pve3", 301, |ct| ct.onboot())
        .build();
    let bare = world.guest_mut(&MachineId::guest("labcl", 201)).expect("it was put there");
    bare.config.remove("net0");
    let full = world.guest_mut(&MachineId::guest("labcl", 202)).expect("it was put there");
    for (key, value) in [("args", "-kernel x"), ("cpu", "qemu64"), ("vga", "serial0"), ("vmgenid", "6c90f983")] {
        full.config.insert(key.into(), value.into());
    }
    full.config.insert("kvm".into(), 0.into());
    for realm in world.realms.values_mut() {
        realm.storages.retain(|s| s.name != "local-zfs" || realm.name == "pve3");
    }
    world
}
