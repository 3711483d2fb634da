//! Snapshots: taken, deleted, rolled back to.
//!
//! A snapshot stands in the config as soon as it is being taken (`snapstate: prepare`) and is complete when its task ends; until
//! then the guest is locked.

use super::task::Work;
use super::tasks::{End, Order};
use super::{Asker, Guest, MachineId, Refusal, Snapshot, Time, World};
use crate::ledger::{Act, Outcome};

impl World {
    /// Tells whether all volumes of a guest can be snapshotted (`feature?feature=snapshot`).
    pub fn can_snapshot(&self, id: &MachineId) -> bool {
        let (Some(guest), MachineId::Guest { realm, .. }) = (self.guest(id), id) else { return false };
        let Some(realm) = self.realms.get(realm) else { return false };
        let able = |volid: &str| {
            let storage = volid.split(':').next().and_then(|name| realm.storages.iter().find(|s| s.name == name));
            storage.is_some_and(|s| s.can_snapshot(volid))
        };
        guest.volumes().iter().all(|(_, volid)| volid.as_deref().is_some_and(able))
    }

    /// Begins to take a snapshot; returns the UPID. What stands against it shows only in the task.
    ///
    /// # Errors
    /// A reserved name is refused at once.
    pub fn create_snapshot(
        &mut self,
        now: Time,
        id: &MachineId,
        name: &str,
        description: &str,
        by: &Asker,
    ) -> Result<String, Refusal> {
        self.advance(now);
        if ["current", "pending"].contains(&name) {
            let why = format!("unable to use snapshot name '{name}' (reserved name)");
            self.record(
                self.now,
                id,
                Act::SnapshotCreate,
                Some(name.to_owned()),
                &by.to_string(),
                Outcome::Refused(why.clone()),
            );
            return Err(Refusal(why));
        }
        let able = self.can_snapshot(id);
        let against = |guest: &Guest| {
            if let Some(lock) = &guest.lock {
                return Some(format!("{} is locked ({lock})", guest.kind.label()));
            }
            if guest.snapshots.iter().any(|s| s.name == name) {
                return Some(format!("snapshot name '{name}' already used"));
            }
            (!able).then(|| "snapshot feature is not available".to_owned())
        };
        let (kind, against) = match self.guest(id) {
            Some(guest) => (guest.kind, against(guest)),
            None => return Err(Refusal(format!("no such guest {id}"))),
        };
        let ledger =
            self.record(self.now, id, Act::SnapshotCreate, Some(name.to_owned()), &by.to_string(), Outcome::Begun);
        let node = self.node_of(id).unwrap_or_default();
        let task = format!("{}snapshot", kind.task_prefix());
        let order = Order { node: &node, kind: &task, id: id.short(), by, ledger: Some(ledger) };
        if let Some(why) = against {
            return Ok(self.begin_failed_task(order, &why));
        }
        let snaptime = self.unix(self.now);
        let mut vmid = 0;
        let mut volumes = Vec::new();
        if let Some(guest) = self.guest_mut(id) {
            vmid = guest.vmid;
            volumes = guest.volumes();
            guest.lock = Some("snapshot".to_owned());
            let snapshot = Snapshot {
                name: name.to_owned(),
                description: description.to_owned(),
                snaptime,
                parent: guest.parent.clone(),
                state: Some("prepare".to_owned()),
                machine: guest.machine.clone(),
                config: guest.config.clone(),
            };
            guest.snapshots.push(snapshot);
        }
        let takes = self.durations.snapshot;
        let upid = self.begin_task(order, Work::Snapshot(vmid, name.to_owned()), takes);
        if kind == super::Kind::Vm {
            for (drive, volid) in volumes {
                self.task_log(&upid, format!("snapshotting 'drive-{drive}' ({})", volid.unwrap_or_default()));
            }
        }
        Ok(upid)
    }

    pub(crate) fn snapshot_due(&mut self, id: &MachineId, name: &str) -> Result<End, String> {
        let guest = self.guest_mut(id).ok_or_else(|| format!("guest {id} is gone"))?;
        let (machine, config) = (guest.machine.clone(), guest.config.clone());
        let snapshot = guest.snapshots.iter_mut().find(|s| s.name == name);
        let snapshot = snapshot.ok_or_else(|| format!("snapshot '{name}' does not exist"))?;
        snapshot.state = None;
        (snapshot.machine, snapshot.config) = (machine, config);
        guest.parent = Some(name.to_owned());
        guest.lock = None;
        let auto = guest.auto_snapshots;
        let now = self.now;
        self.foreign_snapshot(now, id, name);
        if auto {
            let clock = self.clock(now).replace(' ', "_");
            self.foreign_snapshot(now, id, &format!("autosnap_{clock}_frequently"));
        }
        Ok(End::Ok)
    }

    /// Begins to delete a snapshot; returns the UPID. What stands against it shows only in the task.
    ///
    /// # Errors
    /// An unknown guest is refused at once.
    pub fn delete_snapshot(&mut self, now: Time, id: &MachineId, name: &str, by: &Asker) -> Result<String, Refusal> {
        self.advance(now);
        let order = (Act::SnapshotDelete, "delsnapshot", "snapshot-delete", self.durations.snapshot_delete);
        let upid = self.on_snapshot(id, name, by, order, Work::SnapshotDelete)?;
        if let Some(guest) = self.guest_mut(id)
            && guest.lock.as_deref() == Some("snapshot-delete")
            && let Some(snapshot) = guest.snapshots.iter_mut().find(|s| s.name == name)
        {
            snapshot.state = Some("delete".to_owned());
        }
        Ok(upid)
    }

    pub(crate) fn snapshot_delete_due(&mut self, id: &MachineId, name: &str) -> Result<End, String> {
        let guest = self.guest_mut(id).ok_or_else(|| format!("guest {id} is gone"))?;
        let gone = guest.snapshots.iter().position(|s| s.name == name);
        let gone = guest.snapshots.remove(gone.ok_or_else(|| format!("snapshot '{name}' does not exist"))?);
        for snapshot in guest.snapshots.iter_mut().filter(|s| s.parent.as_deref() == Some(name)) {
            snapshot.parent.clone_from(&gone.parent);
        }
        if guest.parent.as_deref() == Some(name) {
            guest.parent = gone.parent;
        }
        guest.dataset_snapshots.retain(|snapshot| snapshot.name != name);
        guest.lock = None;
        Ok(End::Ok)
    }

    /// Begins to put a guest back to a snapshot; returns the UPID. The guest is stopped afterwards, unless `start` says so. On ZFS a
    /// newer snapshot, whoever took it, makes the task fail ([`World::foreign_snapshot`]) and leaves the guest as it is.
    ///
    /// # Errors
    /// An unknown guest is refused at once.
    pub fn rollback(
        &mut self,
        now: Time,
        id: &MachineId,
        name: &str,
        start: bool,
        by: &Asker,
    ) -> Result<String, Refusal> {
        self.advance(now);
        let order = (Act::Rollback, "rollback", "rollback", self.durations.rollback);
        self.on_snapshot(id, name, by, order, |vmid, name| Work::Rollback(vmid, name, start))
    }

    pub(crate) fn rollback_due(&mut self, upid: &str, id: &MachineId, name: &str, start: bool) -> Result<End, String> {
        self.power_off(id);
        let guest = self.guest_mut(id).ok_or_else(|| format!("guest {id} is gone"))?;
        let snapshot = guest.snapshots.iter().find(|s| s.name == name).cloned();
        let snapshot = snapshot.ok_or_else(|| format!("snapshot '{name}' does not exist"))?;
        guest.machine = snapshot.machine;
        guest.machine.packages.running = None;
        guest.machine.packages.lock = None;
        guest.config = snapshot.config;
        guest.parent = Some(name.to_owned());
        guest.disk_generation += 1;
        let kept = guest.dataset_snapshots.iter().position(|s| s.name == name).map_or(usize::MAX, |at| at + 1);
        guest.dataset_snapshots.truncate(kept);
        guest.lock = None;
        if start { Ok(self.warned(upid, id, true)) } else { Ok(End::Ok) }
    }

    /// Begins a task on a snapshot that must be there.
    fn on_snapshot(
        &mut self,
        id: &MachineId,
        name: &str,
        by: &Asker,
        (act, task, lock, takes): (Act, &str, &str, u64),
        work: impl FnOnce(u32, String) -> Work,
    ) -> Result<String, Refusal> {
        let guest = self.guest(id).ok_or_else(|| Refusal(format!("no such guest {id}")))?;
        let (vmid, task) = (guest.vmid, format!("{}{task}", guest.kind.task_prefix()));
        let against = match &guest.lock {
            Some(lock) => Some(format!("{} is locked ({lock})", guest.kind.label())),
            None if guest.snapshots.iter().all(|s| s.name != name) => Some(format!("snapshot '{name}' does not exist")),
            None if act == Act::Rollback => self.blocks_rollback(guest, name).or_else(|| incomplete(guest, name)),
            None => None,
        };
        let ledger = self.record(self.now, id, act, Some(name.to_owned()), &by.to_string(), Outcome::Begun);
        let node = self.node_of(id).unwrap_or_default();
        let order = Order { node: &node, kind: &task, id: id.short(), by, ledger: Some(ledger) };
        if let Some(why) = against {
            return Ok(self.begin_failed_task(order, &why));
        }
        if let Some(guest) = self.guest_mut(id) {
            guest.lock = Some(lock.to_owned());
        }
        Ok(self.begin_task(order, work(vmid, name.to_owned()), takes))
    }
}

/// Says that a guest can't go back to a snapshot that was never completed.
fn incomplete(guest: &Guest, name: &str) -> Option<String> {
    let state = guest.snapshots.iter().find(|s| s.name == name)?.state.as_ref()?;
    Some(format!("unable to rollback to incomplete snapshot (snapstate = {state})"))
}
