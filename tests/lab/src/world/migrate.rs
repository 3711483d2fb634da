//! Guests move to another node of their cluster.

use super::task::Work;
use super::tasks::{End, Order};
use super::{Asker, Kind, MachineId, Refusal, Time, World};
use crate::ledger::{Act, Outcome};

impl World {
    /// Begins to move a guest to another node; returns the UPID. A running container needs `restart`, a running VM `online`.
    ///
    /// # Errors
    /// A target that is not there or is the guest's own node, and a running guest without the flag, are refused at once.
    pub fn migrate_guest(
        &mut self,
        now: Time,
        id: &MachineId,
        target: &str,
        live: bool,
        by: &Asker,
    ) -> Result<String, Refusal> {
        self.advance(now);
        let guest = self.known(id)?;
        let (kind, vmid, node, running) = (guest.kind, guest.vmid, guest.node.clone(), guest.running());
        let lock = guest.lock.clone();
        let against = match self.nodes.get(target) {
            _ if target == node => Some("target is local node.".to_owned()),
            Some(to) if Some(&to.realm) != self.nodes.get(&node).map(|n| &n.realm) => {
                Some(format!("no such cluster node '{target}'"))
            }
            None => Some(format!("no such cluster node '{target}'")),
            Some(to) if !to.online => Some(format!("target node '{target}' is offline")),
            Some(_) if running && !live && kind == Kind::Ct => {
                Some("can't migrate running container without --online or --restart".to_owned())
            }
            Some(_) if running && !live => Some("can't migrate running VM without --online".to_owned()),
            Some(_) => None,
        };
        if let Some(why) = against {
            self.record(
                self.now,
                id,
                Act::Migrate,
                Some(target.to_owned()),
                &by.to_string(),
                Outcome::Refused(why.clone()),
            );
            return Err(Refusal(why));
        }
        let ledger = self.record(self.now, id, Act::Migrate, Some(target.to_owned()), &by.to_string(), Outcome::Begun);
        let task = format!("{}migrate", kind.task_prefix());
        let order = Order { node: &node, kind: &task, id: id.short(), by, ledger: Some(ledger) };
        if let Some(lock) = lock {
            return Ok(self.begin_failed_task(order, &format!("{} is locked ({lock})", kind.label())));
        }
        if let Some(guest) = self.guest_mut(id) {
            guest.lock = Some("migrate".to_owned());
        }
        let takes = self.durations.migrate;
        let upid = self.begin_task(order, Work::Migrate(vmid, target.to_owned()), takes);
        let clock = self.clock(self.now);
        if running && kind == Kind::Ct {
            self.task_log(&upid, format!("{clock} shutdown CT {vmid}"));
        }
        let ip = self.nodes.get(target).map(|n| n.ip.clone()).unwrap_or_default();
        self.task_log(
            &upid,
            format!("{clock} starting migration of {} {vmid} to node '{target}' ({ip})", kind.label()),
        );
        Ok(upid)
    }

    pub(crate) fn migrate_due(&mut self, upid: &str, id: &MachineId, target: &str) -> Result<End, String> {
        let guest = self.guest_mut(id).ok_or_else(|| format!("guest {id} is gone"))?;
        let restarts = guest.running() && guest.kind == Kind::Ct;
        guest.lock = None;
        guest.node = target.to_owned();
        if restarts {
            self.power_off(id);
            self.power_on(id);
        }
        let clock = self.clock(self.now);
        let seconds = self.durations.migrate / 1000;
        if restarts {
            self.task_log(upid, format!("{clock} start container on target node"));
        }
        self.task_log(upid, format!("{clock} migration finished successfully (duration 00:00:{:02})", seconds % 60));
        Ok(End::Ok)
    }

    /// Returns the nodes that a guest could move to: the others of its cluster that are up.
    pub fn migration_targets(&self, id: &MachineId) -> Vec<String> {
        let Some(guest) = self.guest(id) else { return Vec::new() };
        let Some(realm) = self.realm_of(&guest.node) else { return Vec::new() };
        let fits = |name: &&String| **name != guest.node && self.nodes.get(*name).is_some_and(|n| n.online);
        realm.nodes.iter().filter(fits).cloned().collect()
    }
}
