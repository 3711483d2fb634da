//! What is due when: time passes only by [`World::advance`].

use std::collections::BTreeMap;

use super::{MachineId, Time, World};

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// A task's work is at an end (or its next part).
    Task(String),
    /// A backup has waited long enough for its node's lock.
    LockWait(String),
    /// An upgrade is at its end: its machine and number.
    Upgrade(MachineId, u64),
    /// A refresh of package lists is at its end; the entry in the ledger.
    Refresh(MachineId, u64),
    /// A node is up again.
    NodeUp(String),
    /// A service of HA follows its request: the realm and the service.
    Ha(String, String),
    /// The HA manager takes up what was asked of a node's maintenance: the realm and the node.
    Maintenance(String, String),
    /// The HA manager of a realm looks for something to do.
    HaStep(String),
}

/// What is due, in order of time, then of its entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Agenda {
    due: BTreeMap<(Time, u64), Due>,
    entered: u64,
}

impl Agenda {
    /// Enters something.
    pub fn enter(&mut self, at: Time, due: Due) {
        self.entered += 1;
        self.due.insert((at, self.entered), due);
    }

    fn pop_until(&mut self, now: Time) -> Option<(Time, Due)> {
        let (&key, _) = self.due.first_key_value().filter(|((at, _), _)| *at <= now)?;
        self.due.remove(&key).map(|due| (key.0, due))
    }
}

impl World {
    /// Lets time pass: everything that is due until `now` happens, in order, each at its own time. Time never goes back: an
    /// earlier `now` than one seen before counts as that one.
    pub fn advance(&mut self, now: Time) {
        while let Some((at, due)) = self.agenda.pop_until(now) {
            self.now = self.now.max(at);
            match due {
                Due::Task(upid) => self.task_due(&upid),
                Due::LockWait(upid) => self.backup_lock_timeout(&upid),
                Due::Upgrade(id, number) => self.upgrade_due(&id, number),
                Due::Refresh(id, entry) => self.refresh_due(&id, entry),
                Due::NodeUp(node) => self.node_up(&node),
                Due::Ha(realm, sid) => self.ha_due(&realm, &sid),
                Due::Maintenance(realm, node) => self.maintenance_due(&realm, &node),
                Due::HaStep(realm) => self.ha_step(&realm),
            }
        }
        self.now = self.now.max(now);
    }

    /// Returns when the next thing is due: what a virtual clock may jump to.
    pub fn next_due(&self) -> Option<Time> {
        self.agenda.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets time pass until nothing is due any more, and returns the time then. Work that hangs is never due.
    pub fn settle(&mut self) -> Time {
        while let Some(at) = self.next_due() {
            self.advance(at);
        }
        self.now
    }
}
