//! The ZFS datasets under guests' volumes, and their snapshots: those that Proxmox VE has taken, and those that somebody else has
//! (`zfs-auto-snapshot`, `sanoid`, replication), which no list of Proxmox VE's own shows and which block a rollback to an older one.

use serde::{Deserialize, Serialize};

use super::migrate::storage_of;
use super::{Guest, MachineId, Time, World};

/// A snapshot of the datasets of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSnapshot {
    /// Its name: what comes after the `@`.
    pub name: String,
    /// When it was taken, seconds since the Unix epoch.
    pub created: i64,
    /// Bytes that had been written when it was taken.
    #[serde(default)]
    pub written: u64,
}

impl DatasetSnapshot {
    /// Tells whether it belongs to a replication job: Proxmox VE deletes such a one where it is in the way of a rollback.
    pub fn of_replication(&self) -> bool {
        self.name.starts_with("__replicate_")
    }
}

impl World {
    /// Returns the datasets of a guest, by volume: `local-zfs:subvol-101-disk-0` is on `rpool/data/subvol-101-disk-0`.
    pub fn datasets(&self, guest: &Guest) -> Vec<(String, String)> {
        let Some(realm) = self.realm_of(&guest.node) else { return Vec::new() };
        let dataset = |volid: String| {
            let storage = storage_of(realm, &volid).filter(|storage| storage.kind == "zfspool")?;
            let volume = volid.split_once(':')?.1.to_owned();
            Some((volid, format!("{}/{volume}", storage.pool())))
        };
        guest.volumes().into_iter().filter_map(|(_, volid)| dataset(volid?)).collect()
    }

    /// Returns how many bytes were written to a dataset of a guest since a snapshot of it; `None` where it has no such snapshot.
    /// Packages lie on the first of a guest's datasets, and nothing is ever written to the others.
    pub fn written_since(&self, guest: &Guest, dataset: &str, snapshot: &str) -> Option<u64> {
        let then = guest.dataset_snapshots.iter().find(|there| there.name == snapshot)?.written;
        let first = self.datasets(guest).first().is_some_and(|(_, first)| first == dataset);
        Some(if first { guest.machine.packages.written.saturating_sub(then) } else { 0 })
    }

    /// Takes a snapshot of a guest's datasets that Proxmox VE knows nothing of, as `sanoid` and its like do. A guest that has no
    /// dataset gets none. The ledger does not have it: nobody asked the node for it.
    pub fn foreign_snapshot(&mut self, now: Time, id: &MachineId, name: &str) {
        self.advance(now);
        let created = self.unix(self.now);
        let Some(guest) = self.guest(id) else { return };
        if self.datasets(guest).is_empty() {
            return;
        }
        if let Some(guest) = self.guest_mut(id) {
            let written = guest.machine.packages.written;
            guest.dataset_snapshots.push(DatasetSnapshot { name: name.to_owned(), created, written });
        }
    }

    /// Destroys a snapshot of a guest's datasets behind Proxmox VE's back.
    pub fn destroy_foreign_snapshot(&mut self, now: Time, id: &MachineId, name: &str) {
        self.advance(now);
        if let Some(guest) = self.guest_mut(id) {
            guest.dataset_snapshots.retain(|snapshot| snapshot.name != name);
        }
    }

    /// Lets the replication jobs of a guest run: each has one snapshot of its own, the newest.
    pub fn replicate(&mut self, now: Time, id: &MachineId) {
        self.advance(now);
        let (MachineId::Guest { realm, vmid }, created) = (id, self.unix(self.now)) else { return };
        let Some(realm) = self.realms.get_mut(realm) else { return };
        let Some(guest) = realm.guests.get_mut(vmid) else { return };
        for job in realm.replication.iter().filter(|job| job.guest == *vmid && !job.disabled) {
            let own = format!("__replicate_{}_", job.id());
            guest.dataset_snapshots.retain(|snapshot| !snapshot.name.starts_with(&own));
            let (name, written) = (format!("{own}{created}__"), guest.machine.packages.written);
            guest.dataset_snapshots.push(DatasetSnapshot { name, created, written });
        }
    }

    /// Says why a guest's volumes can't be put back to a snapshot: a dataset goes back to its newest one only. Snapshots of
    /// replication are no hindrance.
    pub(crate) fn blocks_rollback(&self, guest: &Guest, name: &str) -> Option<String> {
        let (volid, _) = self.datasets(guest).into_iter().next()?;
        let all = &guest.dataset_snapshots;
        let Some(at) = all.iter().position(|snapshot| snapshot.name == name) else {
            return Some(format!("can't rollback, snapshot '{name}' does not exist on '{volid}'"));
        };
        let newer = all[at + 1..].iter().any(|snapshot| !snapshot.of_replication());
        newer.then(|| format!("can't rollback, '{name}' is not most recent snapshot on '{volid}'"))
    }
}
