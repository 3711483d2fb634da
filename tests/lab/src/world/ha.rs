//! High availability: a manager that starts, stops and moves the guests that it was given, always some time after it was asked.
//!
//! A node in maintenance loses its HA guests one after the other, and gets back those that it lost so when the maintenance is
//! over. The manager's own moves are tasks of `root@pam` as in a real cluster; the ledger says `ha` of them.

use serde::{Deserialize, Serialize};

use super::agenda::Due;
use super::migrate::MoveOrder;
use super::task::Work;
use super::tasks::Order;
use super::{Asker, Guest, Kind, MachineId, Realm, Refusal, Time, World};
use crate::faults::HaFault;
use crate::ledger::{Act, Outcome};

/// Who the ledger says has asked for a move that the HA manager made.
pub const HA: &str = "ha";

/// How often the manager tries a move that fails, until something changes.
const TRIES: u32 = 3;

/// A guest that HA manages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaService {
    /// The state that is asked for: `started`, `stopped`, `disabled`, `ignored`.
    pub requested: String,
    /// The state as the manager sees it: `queued`, `started`, `request_stop`, `stopped`, and while it moves `migrate` (a VM) or
    /// `relocate` (a container).
    pub state: String,
    /// The node that it is to come back to, having been moved away by a maintenance (`maintenance_node`).
    pub home: Option<String>,
    /// The node that it was asked to go to (`hamigrate`).
    pub asked: Option<String>,
    /// The node that it is being moved to.
    pub moving_to: Option<String>,
    /// How often moving it has failed since something changed.
    pub(crate) failed: u32,
}

impl HaService {
    /// Makes one in a state, as it is asked for.
    pub fn new(requested: &str, state: &str) -> Self {
        let (requested, state) = (requested.to_owned(), state.to_owned());
        Self { requested, state, home: None, asked: None, moving_to: None, failed: 0 }
    }
}

/// A node's maintenance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Whether the manager has taken it up: only from then on its status says `maintenance`.
    pub seen: bool,
    /// Whether it was asked to end and the manager has not taken that up.
    pub ending: bool,
    /// Whether its guests stay where they are, by a fault.
    pub(crate) stuck: bool,
    /// Whether its guests are not to come back, by a fault.
    pub(crate) never_back: bool,
}

/// Returns how HA names a guest.
pub(crate) fn sid(guest: &Guest) -> String {
    format!("{}:{}", guest.kind.label().to_lowercase(), guest.vmid)
}

/// Returns the guest that a name of HA means.
pub(crate) fn vmid_of(sid: &str) -> Option<u32> {
    sid.split(':').nth(1)?.parse().ok()
}

impl World {
    /// Puts a guest under HA, or changes what is asked of it.
    pub fn ha_set(&mut self, now: Time, realm: &str, sid: &str, requested: &str, by: &Asker) {
        self.advance(now);
        let id = MachineId::guest(realm, vmid_of(sid).unwrap_or_default());
        self.record(self.now, &id, Act::HaChange, Some(sid.to_owned()), &by.to_string(), Outcome::Done);
        if let Some(realm) = self.realms.get_mut(realm) {
            realm.ha.insert(sid.to_owned(), HaService::new(requested, "queued"));
        }
        let at = self.now.saturating_add(self.durations.ha);
        self.agenda.enter(at, Due::Ha(realm.to_owned(), sid.to_owned()));
    }

    /// Takes a guest out of HA. Returns whether it was in.
    pub fn ha_remove(&mut self, now: Time, realm: &str, sid: &str, by: &Asker) -> bool {
        self.advance(now);
        if self.realms.get_mut(realm).and_then(|r| r.ha.remove(sid)).is_none() {
            return false;
        }
        let id = MachineId::guest(realm, vmid_of(sid).unwrap_or_default());
        self.record(self.now, &id, Act::HaChange, Some(sid.to_owned()), &by.to_string(), Outcome::Done);
        true
    }

    /// Asks for a node's maintenance, or for its end (`ha-manager crm-command node-maintenance`). The manager takes it up after
    /// [`super::Durations::ha`]; then it moves the node's HA guests away, or back, one after the other. It lasts over a reboot.
    ///
    /// # Errors
    /// A node that is not in the cluster is refused. Asking again for what is already so is not an error.
    pub fn ha_maintenance(
        &mut self,
        now: Time,
        realm: &str,
        node: &str,
        enable: bool,
        by: &Asker,
    ) -> Result<(), Refusal> {
        self.advance(now);
        if !self.realms.get(realm).is_some_and(|realm| realm.nodes.iter().any(|name| name == node)) {
            return Err(Refusal(format!("no such cluster node '{node}'")));
        }
        let act = if enable { Act::MaintenanceOn } else { Act::MaintenanceOff };
        self.record(self.now, &MachineId::node(node), act, None, &by.to_string(), Outcome::Done);
        let fault = self.faults.ha(node, enable);
        let Some(all) = self.realms.get_mut(realm).map(|realm| &mut realm.maintenance) else { return Ok(()) };
        if enable {
            let maintenance = all.entry(node.to_owned()).or_default();
            maintenance.ending = false;
            maintenance.stuck = fault == Some(HaFault::DrainNeverEnds);
        } else if let Some(maintenance) = all.get_mut(node) {
            maintenance.ending = true;
            maintenance.never_back = fault == Some(HaFault::NeverBack);
        }
        let at = self.now.saturating_add(self.durations.ha);
        self.agenda.enter(at, Due::Maintenance(realm.to_owned(), node.to_owned()));
        Ok(())
    }

    /// Tells whether the HA manager of a realm has taken up any guest: before that it lists no node at all.
    pub fn ha_active(&self, realm: &Realm) -> bool {
        realm.ha.values().any(|service| service.state != "queued")
    }

    /// The manager takes up what was asked of a node's maintenance.
    pub(crate) fn maintenance_due(&mut self, name: &str, node: &str) {
        let Some(realm) = self.realms.get_mut(name) else { return };
        let Some(maintenance) = realm.maintenance.get_mut(node) else { return };
        if maintenance.ending {
            let never_back = maintenance.never_back;
            realm.maintenance.remove(node);
            for service in realm.ha.values_mut().filter(|s| never_back && s.home.as_deref() == Some(node)) {
                service.home = None;
            }
        } else {
            maintenance.seen = true;
        }
        realm.ha.values_mut().for_each(|service| service.failed = 0);
        self.ha_wake(name);
    }

    /// A guest under HA follows what is asked of it.
    pub(crate) fn ha_due(&mut self, realm: &str, sid: &str) {
        let Some(vmid) = vmid_of(sid) else { return };
        let id = MachineId::guest(realm, vmid);
        let up = self.node_of(&id).and_then(|node| self.nodes.get(&node)).is_some_and(|node| node.online);
        let Some(service) = self.realms.get_mut(realm).and_then(|r| r.ha.get_mut(sid)) else { return };
        if !up || service.moving_to.is_some() {
            return;
        }
        service.state.clone_from(&service.requested);
        let wanted = service.requested == "started";
        match (wanted, self.guest(&id).is_some_and(Guest::running)) {
            (true, false) => self.power_on(&id),
            (false, true) => self.power_off(&id),
            (true, true) | (false, false) => {}
        }
        self.ha_wake(realm);
    }

    /// A node is up again: HA brings back its own, where the node is not in maintenance.
    pub(crate) fn ha_node_up(&mut self, node: &str) {
        let Some(realm) = self.realm_of(node) else { return };
        let name = realm.name.clone();
        let here = |sid: &&String| vmid_of(sid).and_then(|v| realm.guests.get(&v)).is_some_and(|g| g.node == node);
        let drained = realm.maintenance.get(node).is_some_and(|maintenance| maintenance.seen && !maintenance.stuck);
        let due: Vec<Due> =
            realm.ha.keys().filter(here).filter(|_| !drained).map(|sid| Due::Ha(name.clone(), sid.clone())).collect();
        let at = self.now.saturating_add(self.durations.ha);
        for due in due {
            self.agenda.enter(at, due);
        }
        if let Some(realm) = self.realms.get_mut(&name) {
            realm.ha.values_mut().for_each(|service| service.failed = 0);
        }
        self.ha_wake(&name);
    }

    /// Notes a stop of a guest under HA; the guest follows later.
    pub(crate) fn ha_stop(&mut self, id: &MachineId, act: Act, by: &Asker) -> Option<String> {
        let guest = self.guest(id)?;
        let (kind, vmid, node, sid) = (guest.kind, guest.vmid, guest.node.clone(), sid(guest));
        let MachineId::Guest { realm, .. } = id else { return None };
        let at = self.now.saturating_add(self.durations.ha);
        let service = self.realms.get_mut(realm)?.ha.get_mut(&sid)?;
        service.requested = "stopped".to_owned();
        self.agenda.enter(at, Due::Ha(realm.clone(), sid));
        let ledger = self.record(self.now, id, act, None, &by.to_string(), Outcome::Begun);
        let order = Order { node: &node, kind: "hastop", id: vmid.to_string(), by, ledger: Some(ledger) };
        let upid = self.begin_task(order, Work::Nothing, self.durations.stop);
        self.task_log(&upid, format!("Requesting HA stop for {} {vmid}", kind.label()));
        Some(upid)
    }

    /// Notes that a guest under HA is to move; `None` where HA does not manage it. The task ends at once, the move comes later and
    /// has an entry of its own in the ledger.
    pub(crate) fn ha_migrate(&mut self, id: &MachineId, target: &str, by: &Asker) -> Option<String> {
        let guest = self.guest(id)?;
        let (kind, vmid, node, sid) = (guest.kind, guest.vmid, guest.node.clone(), sid(guest));
        let MachineId::Guest { realm, .. } = id else { return None };
        let service = self.realms.get_mut(realm)?.ha.get_mut(&sid)?;
        service.asked = Some(target.to_owned());
        service.failed = 0;
        self.ha_wake(realm);
        let (key, by_name) = (Some(target.to_owned()), by.to_string());
        let ledger = self.record(self.now, id, Act::HaMigrate, key, &by_name, Outcome::Begun);
        let order = Order { node: &node, kind: "hamigrate", id: vmid.to_string(), by, ledger: Some(ledger) };
        let upid = self.begin_task(order, Work::Nothing, self.durations.stop);
        self.task_log(&upid, format!("Requesting HA migration for {} {vmid} to node {target}", kind.label()));
        Some(upid)
    }

    /// Lets the manager look for something to do, a little later.
    fn ha_wake(&mut self, realm: &str) {
        if self.realms.get(realm).is_some_and(|realm| !realm.ha.is_empty()) {
            let at = self.now.saturating_add(self.durations.ha);
            self.agenda.enter(at, Due::HaStep(realm.to_owned()));
        }
    }

    /// Begins the next move that the manager wants, unless one is under way.
    pub(crate) fn ha_step(&mut self, name: &str) {
        let Some(realm) = self.realms.get(name).filter(|_| self.quorate(name)) else { return };
        if realm.ha.values().any(|service| service.moving_to.is_some()) {
            return;
        }
        let wanted = realm.ha.iter().filter(|(_, service)| service.failed < TRIES).find_map(|(sid, service)| {
            let guest = realm.guests.get(&vmid_of(sid)?)?;
            let target = self.ha_wants(realm, guest, service)?;
            Some((sid.clone(), guest.vmid, guest.kind, target))
        });
        let Some((sid, vmid, kind, target)) = wanted else { return };
        let id = MachineId::guest(name, vmid);
        if let Some(service) = self.realms.get_mut(name).and_then(|realm| realm.ha.get_mut(&sid)) {
            service.moving_to = Some(target.clone());
            service.state = if kind == Kind::Vm { "migrate" } else { "relocate" }.to_owned();
        }
        let ledger = self.record(self.now, &id, Act::Migrate, Some(target.clone()), HA, Outcome::Begun);
        self.begin_move(&id, &MoveOrder::live(&target), &Asker::root(), ledger);
    }

    /// Returns where the manager wants a guest to be, where that is not where it is: on the node that it was asked to go to, away
    /// from a node in maintenance, back on the node that it was taken from.
    fn ha_wants(&self, realm: &Realm, guest: &Guest, service: &HaService) -> Option<String> {
        let up = |node: &str| self.nodes.get(node).is_some_and(|node| node.online);
        let open = |node: &str| up(node) && !realm.maintenance.contains_key(node);
        if !up(&guest.node) || service.requested != "started" || service.state == "queued" {
            return None;
        }
        if let Some(asked) = service.asked.as_ref().filter(|asked| up(asked) && **asked != guest.node) {
            return Some(asked.clone());
        }
        if realm.maintenance.get(&guest.node).is_some_and(|m| m.seen && !m.ending && !m.stuck) {
            let load = |node: &str| {
                let sids = realm.ha.keys().filter_map(|sid| realm.guests.get(&vmid_of(sid)?));
                sids.filter(|guest| guest.node == node).count()
            };
            let others = realm.nodes.iter().filter(|node| **node != guest.node && open(node));
            return others.min_by_key(|node| load(node)).cloned();
        }
        service.home.as_ref().filter(|home| **home != guest.node && open(home)).cloned()
    }

    /// The task of a move has ended: where it was the manager's, it goes on to the next one.
    pub(crate) fn move_ended(&mut self, from: &str, vmid: u32) {
        let Some(realm) = self.realm_of(from) else { return };
        let (name, Some(guest)) = (realm.name.clone(), realm.guests.get(&vmid)) else { return };
        let (sid, at, running, locked) = (sid(guest), guest.node.clone(), guest.running(), guest.lock.is_some());
        let drained = realm.maintenance.contains_key(from);
        let Some(service) = self.realms.get_mut(&name).and_then(|realm| realm.ha.get_mut(&sid)) else { return };
        let Some(target) = service.moving_to.take() else { return };
        service.state = "started".to_owned();
        if at == target {
            service.failed = 0;
            let was_asked = service.asked.take_if(|asked| *asked == at).is_some();
            match &service.home {
                // A node that it was sent to by hand is its home from then on.
                _ if was_asked => service.home = None,
                Some(home) if *home == at => service.home = None,
                None if drained => service.home = Some(from.to_owned()),
                Some(_) | None => {}
            }
        } else {
            service.failed += 1;
        }
        if !running && !locked {
            let due = self.now.saturating_add(self.durations.ha);
            self.agenda.enter(due, Due::Ha(name.clone(), sid));
        }
        self.ha_wake(&name);
    }
}
