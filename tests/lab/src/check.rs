//! The judgement on a world after a run: was anything done twice, was anything forgotten?

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ledger::{Act, Entry, Outcome};
use crate::world::{Asker, HA, Kind, MachineId, World};

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
    /// What was borrowed and is not as it was: guests that are away from where they were first moved from, nodes that HA is to
    /// leave alone, flags of Ceph.
    pub borrowed: Vec<String>,
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
    /// Whether nothing was done twice, nothing was forgotten, and everything that was borrowed is given back.
    pub fn good(&self) -> bool {
        self.twice.is_empty()
            && self.broken.is_empty()
            && self.borrowed.is_empty()
            && self.left.iter().all(|left| left.because.is_some())
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
        borrowed: away(world).chain(modes(world)).collect(),
    }
}

/// Names the guests that are not on the node that they were first moved away from.
fn away(world: &World) -> impl Iterator<Item = String> {
    let mut homes: BTreeMap<MachineId, &str> = BTreeMap::new();
    for entry in world.ledger.entries().iter().filter(|entry| entry.act == Act::Migrate) {
        let Ok(vmid) = entry.machine.parse() else { continue };
        let id = MachineId::guest(&entry.realm, vmid);
        // Whoever else moves a guest wants it there.
        match entry.by == Asker::root().to_string() {
            true => _ = homes.remove(&id),
            false => _ = homes.entry(id).or_insert(&entry.node),
        }
    }
    let away = homes.into_iter().filter_map(|(id, home)| {
        let node = &world.guest(&id)?.node;
        (node != home).then(|| format!("{id} is on {node}, and was on {home}"))
    });
    away.collect::<Vec<_>>().into_iter()
}

/// Names the modes and flags that are set still.
fn modes(world: &World) -> impl Iterator<Item = String> {
    world.realms.values().flat_map(|realm| {
        let nodes = realm.maintenance.iter().filter(|(_, mode)| !mode.ending);
        let nodes = nodes.map(|(node, _)| format!("{node} is in maintenance"));
        let flags =
            realm.ceph.iter().flat_map(|ceph| &ceph.flags).map(|flag| format!("{flag} is set in {}", realm.name));
        nodes.chain(flags)
    })
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
    let rolled_back = world.ledger.of(Act::Rollback, &id.short()).any(|entry| {
        entry.outcome == Outcome::Done && matches!(id, MachineId::Guest { realm, .. } if *realm == entry.realm)
    });
    let because = guest.and_then(|guest| {
        let closed = guest.kind == Kind::Vm && guest.reach.ssh_users.is_empty();
        match &guest.lock {
            _ if guest.template => Some("a template".to_owned()),
            _ if !guest.running() => Some("stopped".to_owned()),
            Some(lock) => Some(format!("locked ({lock})")),
            None if rolled_back => Some("rolled back".to_owned()),
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
        let Self { twice, left, upgraded, protected, changes, broken, borrowed } = self;
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
        if !borrowed.is_empty() {
            writeln!(f, "NOT GIVEN BACK: {}", borrowed.join(", "))?;
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

    #[test]
    fn what_was_borrowed_and_is_kept_is_found() {
        let world = World::builder().cluster("lab", ["pve1", "pve2", "pve3"]).ceph("lab", 1);
        let mut world =
            world.ct("pve1", 101, |ct| ct.on("ceph")).ct("pve1", 102, |ct| ct.on("ceph")).ha("lab", [102]).build();
        let (id, by) = (MachineId::guest("lab", 101), Asker::ssh("root"));
        world.migrate_guest(0, &id, "pve2", false, &by).unwrap_err();
        assert!(check(&world).good());
        world.ha_maintenance(0, "lab", "pve1", true, &by).unwrap();
        world.ceph_flag(0, "pve1", "noout", true, &by).unwrap();
        world.settle();
        let kept = check(&world).borrowed;
        assert_eq!(kept.len(), 3, "a guest that HA moved, the mode and the flag: {kept:?}");
        world.ha_maintenance(world.now(), "lab", "pve1", false, &by).unwrap();
        world.ceph_flag(world.now(), "pve1", "noout", false, &by).unwrap();
        world.settle();
        assert!(check(&world).good(), "{}", check(&world));
    }
}
