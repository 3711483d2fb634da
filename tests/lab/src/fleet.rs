//! Fleets by name, and one of any size.

use crate::faults::{Fault, UpgradeFault};
use crate::world::{Durations, Os, World, WorldBuilder};

/// The names that [`named`] knows.
pub const NAMES: &[&str] = &["demo", "cluster", "small"];

/// Returns a fleet by its name, or by `scale:HOSTS:GUESTS` (guests of each host).
pub fn named(name: &str) -> Option<World> {
    match name {
        "demo" => Some(demo()),
        "cluster" => Some(hyperconverged()),
        "small" => Some(small()),
        other => {
            let (hosts, guests) = other.strip_prefix("scale:")?.split_once(':')?;
            Some(scale(hosts.parse().ok()?, guests.parse().ok()?))
        }
    }
}

/// The fleet of the demo: a cluster of three nodes and two nodes that stand alone, with 20 guests of every sort. An upgrade takes one to
/// three seconds.
pub fn demo() -> World {
    let durations = Durations {
        refresh: 250,
        snapshot: 300,
        backup: 1_000,
        upgrade: 900,
        upgrade_per_package: 250,
        ..Durations::quick()
    };
    let world = World::builder()
        .durations(durations)
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .standalone("edge1")
        .standalone("edge2")
        .node("pve1", |node| node.pending(3))
        .node("pve2", |node| node.pending(3))
        .node("pve3", |node| node.pending(4))
        .node("edge1", |node| node.unknown(2))
        .node("edge2", |node| node.pending(0));
    edges(cluster(world)).build()
}

/// The guests of the demo's cluster.
fn cluster(world: WorldBuilder) -> WorldBuilder {
    world
        .ct("pve1", 101, |ct| ct.name("web").pending(4).onboot())
        .ct("pve1", 102, |ct| ct.name("dns").os(Os::Alpine322).pending(3).onboot())
        .ct("pve1", 103, |ct| ct.name("wiki").stopped().pending(2))
        .vm("pve1", 104, |vm| vm.name("db").os(Os::Ubuntu2404).pending(5).onboot())
        .ct("pve1", 105, |ct| ct.name("cache"))
        .ct("pve2", 111, |ct| ct.name("mail").pending(6).onboot())
        .ct("pve2", 112, |ct| ct.name("files").no_snapshots().pending(2))
        .vm("pve2", 113, |vm| vm.name("ci").pending(3))
        .ct("pve2", 114, |ct| ct.name("proxy").os(Os::Alpine322))
        .ct("pve2", 115, |ct| ct.name("queue").locked("backup").pending(2))
        .ct("pve3", 121, |ct| ct.name("git").unknown(3))
        .vm("pve3", 122, |vm| vm.name("metrics").os(Os::Alpine322).pending(2))
        .ct("pve3", 123, |ct| ct.name("template-debian").template())
        .ct("pve3", 124, |ct| ct.name("chat").os(Os::Ubuntu2404).pending(4))
}

/// The guests of the demo's nodes that stand alone.
fn edges(world: WorldBuilder) -> WorldBuilder {
    world
        .ct("edge1", 201, |ct| ct.name("vpn").os(Os::Alpine322).pending(2).onboot())
        .vm("edge1", 202, |vm| vm.name("camera").no_way_in().pending(2))
        .vm("edge1", 203, |vm| vm.name("printer").no_snapshots().pending(2))
        .ct("edge2", 201, |ct| ct.name("backup").pending(5).hold("libc6"))
        .vm("edge2", 202, |vm| vm.name("phone").os(Os::Ubuntu2404).ssh_users(&["ops", "root"]))
        .ct("edge2", 203, |ct| ct.name("archive").stopped())
}

/// A cluster of three nodes whose guests can move: Ceph on all of them, HA for two guests, something pending everywhere, and a
/// guest whose upgrade fails. Moves, reboots and recoveries take a second or two.
pub fn hyperconverged() -> World {
    let durations = Durations {
        refresh: 200,
        upgrade: 600,
        upgrade_per_package: 150,
        migrate: 700,
        node_reboot: 2_000,
        ha: 300,
        ceph_recovery: 1_000,
        ..Durations::quick()
    };
    World::builder()
        .durations(durations)
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ceph("lab", 2)
        // The last one is the kernel.
        .node("pve1", |node| node.pending(4))
        .node("pve2", |node| node.pending(4))
        .node("pve3", |node| node.pending(4))
        .ct("pve1", 101, |ct| ct.name("web").on("ceph").pending(3).onboot())
        .ct("pve1", 102, |ct| ct.name("dns").os(Os::Alpine322).on("ceph").onboot())
        .vm("pve1", 103, |vm| vm.name("db").os(Os::Ubuntu2404).on("ceph").pending(4).memory_mib(2048).onboot())
        .ct("pve1", 104, |ct| ct.name("old").on("ceph").stopped().pending(1))
        .ct("pve2", 111, |ct| ct.name("mail").on("ceph").pending(2).onboot())
        .vm("pve2", 112, |vm| vm.name("ci").on("ceph").memory_mib(1024))
        .vm("pve3", 121, |vm| vm.name("metrics").on("ceph").pending(2).onboot())
        .ct("pve3", 122, |ct| ct.name("git").on("ceph").pending(1).onboot())
        .ha("lab", [102, 121])
        .fault(Fault::upgrade("111", UpgradeFault::HalfConfigure { code: 100 }).times(0))
        .build()
}

/// A fleet for tests: one node that stands alone, with a Debian and an Alpine container, a stopped one, and an Ubuntu VM.
pub fn small() -> World {
    World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(2))
        .ct("edge1", 101, |ct| ct.name("web").pending(3))
        .ct("edge1", 102, |ct| ct.name("dns").os(Os::Alpine322).pending(2))
        .ct("edge1", 103, |ct| ct.name("off").stopped())
        .vm("edge1", 201, |vm| vm.name("db").os(Os::Ubuntu2404).pending(2))
        .build()
}

/// A fleet of nodes that stand alone, each with this many guests: mostly containers, each fifth a VM, half of them with something pending.
pub fn scale(hosts: u32, guests: u32) -> World {
    (1..=hosts)
        .fold(World::builder(), |world, host| {
            let node = format!("node{host:04}");
            let world = world.standalone(&node).node(&node, |n| n.pending(usize::from(host % 2 == 0)));
            (0..guests).fold(world, |world, i| {
                let (vmid, pending) = (100 + i, usize::from(i % 2 == 0) * 2);
                match i % 5 {
                    4 => world.vm(&node, vmid, |vm| vm.pending(pending)),
                    3 => world.ct(&node, vmid, |ct| ct.os(Os::Alpine322).pending(pending)),
                    _ => world.ct(&node, vmid, |ct| ct.pending(pending)),
                }
            })
        })
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_what_it_says() {
        let world = demo();
        assert_eq!(world.nodes.len(), 5);
        let guests: Vec<_> = world.realms.values().flat_map(|realm| realm.guests.values()).collect();
        assert_eq!(guests.len(), 20);
        assert!(guests.iter().any(|g| g.template) && guests.iter().any(|g| g.lock.is_some() && g.running()));
        for os in [Os::Debian12, Os::Ubuntu2404, Os::Alpine322] {
            assert!(guests.iter().any(|g| g.machine.os == os));
        }
        assert!(guests.iter().filter(|g| g.running() && g.machine.packages.pending().is_empty()).count() >= 3);
    }

    #[test]
    fn fleets_have_names() {
        for name in NAMES {
            assert!(named(name).is_some());
        }
        assert_eq!(named("scale:3:4").map(|world| world.machines().len()), Some(15));
        assert!(named("scale:3").is_none() && named("none").is_none());
    }
}
