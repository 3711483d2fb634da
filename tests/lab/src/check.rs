//! The judgement on a world after a run: was anything done twice, was anything forgotten?

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ledger::{Act, Entry, Outcome};
use crate::world::{HA, Kind, MachineId, World};

/// Changes that must not be made twice.
const UNSAFE: &[Act] =
    &[Act::SnapshotCreate, Act::Backup, Act::Rollback, Act::Upgrade, Act::Reboot, Act::Stop, Act::Shutdown];

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Changes that were begun twice under the same key, or succeeded twice on the same machine, in words.
    pub twice: Vec<String>,
    /// Machines that still have something to be upgraded.
    pub left: Vec<Left>,
    /// Upgrades that succeeded.
    pub upgraded: usize,
    /// Snapshots and backups that succeeded.
    pub protected: usize,
    /// Changes that were asked for in all, refused ones left out.
    pub changes: usize,
    /// Machines whose packages are half-configured.
    pub broken: Vec<String>,
}

/// A machine that still has something to be upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The machine and its name: `lab/103 (wiki)`.
    pub machine: String,
    /// How many packages.
    pub packages: usize,
    /// Why that is to be expected, where it is (`stopped`, `locked (backup)`, ...).
    pub because: Option<String>,
}

impl Judgement {
    /// Whether nothing was done twice and nothing was forgotten.
    pub fn good(&self) -> bool {
        self.twice.is_empty() && self.broken.is_empty() && self.left.iter().all(|left| left.because.is_some())
    }
}

/// Judges a world.
pub fn check(world: &World) -> Judgement {
    let entries = world.ledger.entries();
    let done = |act: Act| entries.iter().filter(|entry| entry.act == act && entry.outcome == Outcome::Done).count();
    let mut twice: Vec<String> = world
        .ledger
        .repeated()
        .into_iter()
        .filter(|entry| UNSAFE.contains(&entry.act))
        .map(|entry| {
            let key = entry.key.as_deref().unwrap_or("-");
            format!("{:?} of {}/{} begun again under the key {key}", entry.act, entry.realm, entry.machine)
        })
        .collect();
    for (i, entry) in entries.iter().enumerate() {
        let same = |earlier: &&Entry| {
            earlier.act == entry.act
                && earlier.realm == entry.realm
                && earlier.machine == entry.machine
                && earlier.outcome == Outcome::Done
        };
        if UNSAFE.contains(&entry.act) && entry.outcome == Outcome::Done && entries[..i].iter().any(|e| same(&e)) {
            twice.push(format!("{:?} of {}/{} succeeded a second time", entry.act, entry.realm, entry.machine));
        }
    }
    twice.extend(moved_twice(entries));
    let machines = world.machines();
    Judgement {
        twice,
        left: machines.iter().filter_map(|id| left(world, id)).collect(),
        upgraded: done(Act::Upgrade),
        protected: done(Act::SnapshotCreate) + done(Act::Backup),
        changes: entries.iter().filter(|entry| !matches!(entry.outcome, Outcome::Refused(_))).count(),
        broken: machines
            .iter()
            .filter(|id| world.machine(id).is_some_and(|m| !m.packages.half_configured.is_empty()))
            .map(ToString::to_string)
            .collect(),
    }
}

/// Says which moves were begun although the guest was there already, or on its way there. A guest may well move to and fro, and a move
/// that failed may be tried again; what the HA manager does is its own affair.
fn moved_twice(entries: &[Entry]) -> Vec<String> {
    let moves: Vec<&Entry> = entries
        .iter()
        .filter(|e| e.act == Act::Migrate && e.by != HA && !matches!(e.outcome, Outcome::Refused(_)))
        .collect();
    let again = |(i, entry): &(usize, &&Entry)| {
        let mut of_guest = moves[..*i].iter().filter(|e| (&e.realm, &e.machine) == (&entry.realm, &entry.machine));
        let last = of_guest.rfind(|e| !matches!(e.outcome, Outcome::Failed(_)));
        last.is_some_and(|last| last.key == entry.key || last.outcome == Outcome::Begun)
    };
    let say = |(_, e): (usize, &&Entry)| {
        let to = e.key.as_deref().unwrap_or("-");
        format!("Migrate of {}/{} begun again to {to}", e.realm, e.machine)
    };
    moves.iter().enumerate().filter(again).map(say).collect()
}

/// Looks whether a machine has something to be upgraded, by what the repository has and not only by what the machine knows of.
fn left(world: &World, id: &MachineId) -> Option<Left> {
    let machine = world.machine(id)?;
    let packages = &machine.packages;
    let newer = |(name, version): &(&String, &String)| {
        !packages.held.contains(*name) && packages.repository.get(*name).is_some_and(|new| new != *version)
    };
    let count = packages.installed.iter().filter(newer).count();
    let guest = world.guest(id);
    let because = guest.and_then(|guest| {
        let closed = guest.kind == Kind::Vm && guest.reach.ssh_users.is_empty();
        match &guest.lock {
            _ if guest.template => Some("a template".to_owned()),
            _ if !guest.running() => Some("stopped".to_owned()),
            Some(lock) => Some(format!("locked ({lock})")),
            None if closed => Some("no way in: nobody may log in".to_owned()),
            // vzdump would suspend it, which nobody asked for.
            None if guest.kind == Kind::Ct && !world.can_snapshot(id) => {
                Some("can't be protected: its storage has no snapshots, and a backup would suspend it".to_owned())
            }
            None => None,
        }
    });
    let name = guest.map(|guest| format!(" ({})", guest.name)).unwrap_or_default();
    (count > 0).then(|| Left { machine: format!("{id}{name}"), packages: count, because })
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { twice, left, upgraded, protected, changes, broken } = self;
        writeln!(f, "{changes} changes: {protected} protections and {upgraded} upgrades succeeded.")?;
        match twice.as_slice() {
            [] => writeln!(f, "Nothing was done twice.")?,
            twice => {
                writeln!(f, "DONE TWICE:")?;
                twice.iter().try_for_each(|what| writeln!(f, "  {what}"))?;
            }
        }
        if !broken.is_empty() {
            writeln!(f, "LEFT HALF-CONFIGURED: {}", broken.join(", "))?;
        }
        let (expected, forgotten): (Vec<&Left>, Vec<&Left>) = left.iter().partition(|left| left.because.is_some());
        if forgotten.is_empty() {
            writeln!(f, "Nothing was left out.")?;
        } else {
            writeln!(f, "LEFT OUT:")?;
            forgotten.iter().try_for_each(|l| writeln!(f, "  {:<24} {} packages", l.machine, l.packages))?;
        }
        if !expected.is_empty() {
            writeln!(f, "Not upgraded, and rightly so:")?;
            for Left { machine, packages, because } in expected {
                writeln!(f, "  {machine:<24} {packages} packages, {}", because.as_deref().unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Asker;

    #[test]
    fn what_is_done_twice_or_forgotten_is_found() {
        let mut world = World::builder()
            .standalone("edge1")
            .ct("edge1", 101, |ct| ct.pending(1))
            .ct("edge1", 102, |ct| ct.unknown(1))
            .ct("edge1", 103, |ct| ct.stopped().pending(1))
            .build();
        let id = MachineId::guest("edge1", 101);
        let by = Asker::ssh("root");
        let before = check(&world);
        assert_eq!(before.left.iter().filter(|left| left.because.is_none()).count(), 2);
        world.begin_upgrade(0, &id, Some("job"), &by).unwrap();
        world.advance(10_000);
        assert!(check(&world).twice.is_empty());
        world.machine_mut(&id).unwrap().packages.lists.insert("bash".into(), "9".into());
        world.begin_upgrade(10_000, &id, Some("job"), &by).unwrap();
        world.advance(20_000);
        let after = check(&world);
        assert_eq!(after.twice.len(), 2, "the same key, and the same act on the same machine: {after:?}");
        assert!(!after.good() && after.to_string().contains("edge1/102"), "{after}");
    }
}
