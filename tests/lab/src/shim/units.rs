//! Transient systemd units: what `systemd-run` started on a machine.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::Mutex;

use crate::ssh::lock;
use crate::world::MachineId;

/// The transient units of all machines, by machine and name.
#[derive(Debug, Default)]
pub struct Units {
    units: Mutex<BTreeMap<(MachineId, String), Unit>>,
    drawn: Mutex<u32>,
}

/// One transient unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its description: the command.
    pub description: String,
    /// Its state.
    pub state: UnitState,
    /// Whether it is unloaded when it fails, too (`--collect`).
    pub collect: bool,
    /// Its process group, while it runs.
    pub group: Option<i32>,
}

/// The state of a transient unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    /// Its command runs.
    Active,
    /// Its command failed, and it is still loaded.
    Failed,
}

impl Units {
    /// Takes a name; false where a unit of that name is loaded.
    #[must_use]
    pub fn load(&self, machine: &MachineId, name: &str, unit: Unit) -> bool {
        let mut units = lock(&self.units);
        let key = (machine.clone(), name.to_owned());
        if units.contains_key(&key) {
            return false;
        }
        units.insert(key, unit);
        true
    }

    /// Returns a name for a unit that was given none: `run-u7`.
    pub fn draw_name(&self) -> String {
        let mut drawn = lock(&self.drawn);
        *drawn += 1;
        format!("run-u{drawn}")
    }

    /// Returns a unit.
    pub fn get(&self, machine: &MachineId, name: &str) -> Option<Unit> {
        lock(&self.units).get(&(machine.clone(), name.to_owned())).cloned()
    }

    /// Notes the process group of a unit that was started.
    pub fn started(&self, machine: &MachineId, name: &str, group: Option<i32>) {
        if let Some(unit) = lock(&self.units).get_mut(&(machine.clone(), name.to_owned())) {
            unit.group = group;
        }
    }

    /// Notes that a unit's command ended: it is unloaded, unless it failed and is kept for the administrator to see.
    pub fn ended(&self, machine: &MachineId, name: &str, status: Option<ExitStatus>) {
        let mut units = lock(&self.units);
        let key = (machine.clone(), name.to_owned());
        let Some(unit) = units.get_mut(&key) else { return };
        if unit.collect || status.is_some_and(|status| status.success()) {
            units.remove(&key);
        } else {
            unit.state = UnitState::Failed;
            unit.group = None;
        }
    }

    /// Unloads a failed unit (`systemctl reset-failed`); false where there is none.
    pub fn reset_failed(&self, machine: &MachineId, name: &str) -> bool {
        let mut units = lock(&self.units);
        let key = (machine.clone(), name.to_owned());
        units.get(&key).is_some_and(|unit| unit.state == UnitState::Failed) && units.remove(&key).is_some()
    }

    /// Lists a machine's units.
    pub fn of(&self, machine: &MachineId) -> Vec<(String, Unit)> {
        let units = lock(&self.units);
        units
            .iter()
            .filter(|((on, _), _)| on == machine)
            .map(|((_, name), unit)| (name.clone(), unit.clone()))
            .collect()
    }

    /// Forgets a machine's units: it was switched off.
    pub fn forget(&self, machine: &MachineId) {
        lock(&self.units).retain(|(on, _), _| on != machine);
    }
}
