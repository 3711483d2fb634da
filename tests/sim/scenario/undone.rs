//! Upgrades that broke something: what is held for the operator, and what is rolled back.

use std::time::Duration;

use proxmaint::choices::health::{Ask, HealthCheck};
use proxmaint::choices::{OnFailure, Stopped};
use proxmaint::plan::GuestRule;
use proxmaint_lab::faults::{Fault, RequestFault, TaskFault, UpgradeFault};
use proxmaint_lab::world::{Disturbance, Os, World, WorldBuilder};

use super::Scenario;

/// A guest whose upgrade breaks it, which is held, beside one whose upgrade fails and changes nothing, which is tried again.
pub fn upgrade_breaks() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(3))
        .ct("pve1", 102, |ct| ct.pending(2))
        .fault(Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 }))
        .fault(Fault::upgrade("102", UpgradeFault::Exit { code: 100 }));
    Scenario::new("an upgrade that breaks its guest", world).parallel(1, 2).sessions(2)
}

/// Guests whose upgrades break something: a unit, a check from outside, a port that nobody asks for; and some that were broken
/// before, or recover in time. The last one's checks can't be made.
pub fn upgrades_break_things() -> Scenario {
    let http = |port: u16| Ask::Http {
        url: format!("http://{{address}}:{port}/"),
        status: vec![200],
        text: None,
        insecure: false,
        redirects: 0,
    };
    let check =
        |name: &str, ask| HealthCheck { name: name.to_owned(), ask, retries: 1, every_ms: 1_000, timeout_ms: 5_000 };
    let unit = |name: &str| check(name, Ask::Command { line: name.to_owned(), exit: 0 });
    let rule = |id: u32, checks: Vec<HealthCheck>| {
        let who = id.to_string().parse().expect("a selector");
        GuestRule { checks: Some(checks), ..GuestRule::new(who) }
    };
    let fails = |unit: &str, ms| Disturbance::Fails(unit.to_owned(), ms);
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(2).upgrade_breaks("nginx.service"))
        .vm("pve1", 102, |vm| vm.pending(1).serves(80, "hello").upgrade_does(Disturbance::Answers(500)))
        .ct("pve1", 103, |ct| ct.pending(1).listens(22).listens(80).upgrade_does(Disturbance::Moves(80, 8080)))
        .ct("pve1", 104, |ct| ct.pending(1).failed_unit("old.service"))
        .ct("pve1", 105, |ct| ct.pending(1).upgrade_does(fails("slow.service", Some(20_000))))
        .vm("pve1", 106, |vm| vm.pending(1).listens(25).upgrade_does(Disturbance::Closes(25)))
        .ct("pve1", 107, |ct| ct.pending(1).addresses(&[]));
    Scenario::new("upgrades that break things", world).parallel(1, 2).wants(|wants| {
        wants.rules = vec![
            rule(102, vec![check("web", http(80))]),
            rule(104, vec![unit("old.service")]),
            rule(106, vec![check("mail", Ask::Tcp { port: 25, host: None })]),
            rule(107, vec![check("lost", Ask::Tcp { port: 25, host: None })]),
        ];
    })
}

fn rolled_back(name: &'static str, world: WorldBuilder) -> Scenario {
    Scenario::new(name, world).parallel(1, 2).sessions(2).wants(|wants| wants.guests.on_failure = OnFailure::Rollback)
}

/// Guests whose upgrades break them half-way, and that are rolled back: a container, a VM, and one that was started for it.
pub fn upgrades_undone() -> Scenario {
    let breaks = UpgradeFault::HalfConfigure { code: 100 };
    let world = World::builder()
        .standalone("pve1")
        .node("pve1", |node| node.pending(1))
        .ct("pve1", 101, |ct| ct.pending(3))
        .ct("pve1", 102, |ct| ct.pending(1))
        .ct("pve1", 103, |ct| ct.pending(2).stopped())
        .vm("pve1", 201, |vm| vm.os(Os::Ubuntu2404).pending(2))
        .fault(Fault::upgrade("101", breaks.clone()))
        .fault(Fault::upgrade("103", breaks.clone()))
        .fault(Fault::upgrade("201", breaks));
    rolled_back("upgrades that are undone", world).wants(|wants| wants.guests.stopped = Stopped::Start)
}

/// A rollback whose answer is lost, one whose task vanishes when it was done, and one whose task vanishes before that.
pub fn rollbacks_in_doubt() -> Scenario {
    let breaks = UpgradeFault::HalfConfigure { code: 100 };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1))
        .vm("pve1", 201, |vm| vm.pending(1))
        .fault(Fault::upgrade("101", breaks.clone()))
        .fault(Fault::upgrade("102", breaks.clone()))
        .fault(Fault::upgrade("201", breaks))
        .fault(Fault::request("POST", "/nodes/*/lxc/101/snapshot/*/rollback", RequestFault::Lost))
        .fault(Fault::task("vzrollback", 102, TaskFault::Vanish))
        .fault(Fault::task("qmrollback", 201, TaskFault::DoneButVanished));
    rolled_back("rollbacks in doubt", world)
}

/// Rollbacks that fail, and a guest that can't be started again after its own.
pub fn rollbacks_fail() -> Scenario {
    let breaks = UpgradeFault::HalfConfigure { code: 100 };
    let fail = |text: &str| TaskFault::Fail { text: text.to_owned(), leave_lock: false };
    let world = World::builder()
        .standalone("pve1")
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", breaks.clone()))
        .fault(Fault::upgrade("102", breaks))
        .fault(Fault::task("vzrollback", 101, fail("zfs error: dataset is busy")).times(0))
        .fault(Fault::task("vzstart", 102, fail("startup for container '102' failed")));
    rolled_back("rollbacks that fail", world)
}

/// Guests that could not be rolled back: one is replicated, one has newer snapshots that nobody lists. Neither is upgraded.
pub fn no_way_back() -> Scenario {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .ct("pve1", 101, |ct| ct.pending(1))
        .ct("pve1", 102, |ct| ct.pending(1).auto_snapshots())
        .ct("pve1", 103, |ct| ct.pending(1))
        .replicated("lab", 101, "pve2");
    rolled_back("no way back", world).sessions(1)
}

/// An upgrade that is killed and leaves a package half-configured: it is held. Another host comes after it.
pub fn killed_in_disorder() -> Scenario {
    let world = World::builder()
        .standalone("pve1")
        .standalone("pve2")
        .ct("pve1", 101, |ct| ct.pending(5))
        .ct("pve1", 102, |ct| ct.pending(1))
        .ct("pve2", 103, |ct| ct.pending(1));
    Scenario::new("a killed upgrade, in disorder", world)
        .parallel(1, 2)
        .sessions(2)
        .kill("101", Duration::from_millis(3_000))
}
