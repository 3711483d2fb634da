//! The guest that a spec makes: its config, its machine, and the snapshots that it has from the beginning.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::GuestSpec;
use crate::world::machine::{Machine, Os};
use crate::world::{self, Agent, DatasetSnapshot, Guest, Kind, Power, Snapshot, Storage};

impl GuestSpec {
    /// Gives a guest the snapshots that it has from the beginning; `unix` is that time, `zfs` whether its disks are on ZFS.
    pub(crate) fn add_snapshots(&self, guest: &mut Guest, unix: i64, zfs: bool) {
        for (n, (name, listed)) in self.snapshots.iter().enumerate() {
            let left = i64::try_from(self.snapshots.len() - n).unwrap_or_default();
            let created = unix - 60 * left;
            if *listed {
                let snapshot = Snapshot {
                    name: name.clone(),
                    description: String::new(),
                    snaptime: created,
                    parent: guest.parent.replace(name.clone()),
                    state: None,
                    machine: guest.machine.clone(),
                    config: guest.config.clone(),
                };
                guest.snapshots.push(snapshot);
            }
            if zfs {
                guest.dataset_snapshots.push(DatasetSnapshot { name: name.clone(), created, written: 0 });
            }
        }
    }

    /// Makes the guest. Numbers that must be its own come from `draw`.
    pub(crate) fn build(
        &self,
        node: &str,
        node_kernel: &str,
        on: Option<&Storage>,
        mut draw: impl FnMut() -> u64,
    ) -> Guest {
        let uuid = world::uuid(draw(), draw());
        let boot_id = world::uuid(draw(), draw());
        let mac = draw();
        let mac = format!("BC:24:11:{:02X}:{:02X}:{:02X}", mac & 0xff, (mac >> 8) & 0xff, (mac >> 16) & 0xff);
        let (vmid, storage, gib) = (self.vmid, &self.storage, self.disk_gib);
        let file = on.is_some_and(Storage::has_files);
        let block = on.is_some_and(|on| ["rbd", "lvm", "lvmthin"].contains(&on.kind.as_str()));
        let mut config: BTreeMap<String, Value> = BTreeMap::new();
        match self.kind {
            Kind::Ct => {
                let address = self.addresses.first().map(|a| format!(",gw=10.88.0.1,ip={a}/16")).unwrap_or_default();
                let disk = match (file, block) {
                    (true, _) => format!("{vmid}/vm-{vmid}-disk-0.raw"),
                    (false, true) => format!("vm-{vmid}-disk-0"),
                    (false, false) => format!("subvol-{vmid}-disk-0"),
                };
                config.insert("arch".into(), json!("amd64"));
                config.insert("hostname".into(), json!(self.name));
                config.insert("memory".into(), json!(self.memory_mib));
                config.insert("swap".into(), json!(512));
                config.insert("ostype".into(), json!(self.os.id()));
                config.insert("unprivileged".into(), json!(1));
                config.insert("rootfs".into(), json!(format!("{storage}:{disk},size={gib}G")));
                config.insert("net0".into(), json!(format!("name=eth0,bridge=vmbr0{address},hwaddr={mac},type=veth")));
            }
            Kind::Vm => {
                let disk = if file { format!("{vmid}/vm-{vmid}-disk-0.raw") } else { format!("vm-{vmid}-disk-0") };
                config.insert("name".into(), json!(self.name));
                config.insert("memory".into(), json!(self.memory_mib.to_string()));
                config.insert("cores".into(), json!(1));
                config.insert("ostype".into(), json!("l26"));
                config.insert("boot".into(), json!("order=scsi0"));
                config.insert("scsihw".into(), json!("virtio-scsi-pci"));
                config.insert("scsi0".into(), json!(format!("{storage}:{disk},size={gib}G")));
                config.insert("net0".into(), json!(format!("virtio={mac},bridge=vmbr0")));
                config.insert("smbios1".into(), json!(format!("uuid={uuid}")));
                config.insert("meta".into(), json!("creation-qemu=10.1.2,ctime=1795385505"));
                if self.agent {
                    config.insert("agent".into(), json!("1"));
                }
            }
        }
        config.extend(self.extra.clone());
        let own_uuid = config
            .get("smbios1")
            .and_then(|v| v.as_str())
            .and_then(|v| v.split(',').find_map(|part| part.strip_prefix("uuid=")).map(str::to_lowercase));
        let kernel = match self.os {
            Os::Debian12 => "6.1.0-40-amd64",
            Os::Debian13 => "6.12.48-amd64",
            Os::Ubuntu2404 => "6.8.0-85-generic",
            Os::Alpine322 => "6.12.52-0-lts",
        };
        let kernel = if self.kind == Kind::Ct { node_kernel } else { kernel }.to_owned();
        Guest {
            vmid,
            kind: self.kind,
            name: self.name.clone(),
            node: node.to_owned(),
            pool: self.pool.clone(),
            power: if self.running { Power::Running } else { Power::Stopped },
            pid: if self.running { 2000 + vmid } else { 0 },
            started: -3_600_000,
            template: self.template,
            lock: self.lock.clone(),
            config,
            disk_bytes: gib << 30,
            memory_bytes: self.memory_mib << 20,
            snapshots: Vec::new(),
            parent: None,
            dataset_snapshots: Vec::new(),
            auto_snapshots: self.auto_snapshots,
            addresses: self.addresses.clone(),
            docker: self.docker,
            agent: if self.agent && self.kind == Kind::Vm { Agent::From(0) } else { Agent::Absent },
            agent_traits: self.agent_traits.clone(),
            reach: self.reach.clone(),
            obeys_shutdown: self.obeys,
            disk_generation: 0,
            agent_execs: Vec::new(),
            agent_pids: 0,
            machine: Machine {
                hostname: self.name.clone(),
                boot_id,
                booted: -3_600_000,
                product_uuid: own_uuid,
                os: self.os,
                kernel_running: kernel.clone(),
                kernel_installed: kernel,
                kernel_package: (self.kind == Kind::Vm).then(|| "linux-image".to_owned()),
                reboot_required: BTreeSet::new(),
                packages: self.packages.build(),
                duties: self.duties.clone(),
            },
        }
    }
}
