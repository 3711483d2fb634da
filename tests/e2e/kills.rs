//! `kill -9` at known points and at random moments: the next run goes on from that very step.

use std::time::Duration;

use proxmaint_lab::faults::{Fault, TaskFault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::{Durations, MachineId, Os, World};

use crate::support::{Site, guest, host, side_by_side};

/// Each at a point of its own.
#[test]
fn at_known_points() {
    side_by_side(&[
        ("during_a_container_s_upgrade", during_a_container_s_upgrade),
        ("during_a_virtual_machine_s_upgrade", during_a_virtual_machine_s_upgrade),
        ("during_the_node_s_upgrade", during_the_node_s_upgrade),
        ("during_a_snapshot", during_a_snapshot),
        ("during_a_backup", during_a_backup),
        ("what_ended_while_nobody_watched_is_not_done_again", what_ended_while_nobody_watched_is_not_done_again),
        ("a_hanging_snapshot_that_somebody_stops_meanwhile", a_hanging_snapshot_that_somebody_stops_meanwhile),
    ]);
}

/// Kills a run while an act on a machine is at work, resumes it, and looks that all is done and nothing twice.
fn killed_during(site: &Site, act: Act, machine: &str) {
    let working = site.start(&["run"]);
    site.await_begun(act, machine);
    working.kill();
    let run = site.run_name();
    let view = site.status(&[]);
    assert_eq!(view["standing"]["state"], "interrupted", "{view:#}");
    let in_doubt = match machine.parse() {
        Ok(vmid) => guest(&view, "edge1", vmid)["in_doubt"].clone(),
        Err(_) => host(&view, "edge1")["in_doubt"].clone(),
    };
    assert_eq!(in_doubt, true, "{view:#}");
    site.run(&["status"]).expect(0).says(&["in doubt", "proxmaint run"]);
    let resumed = site.run(&["run", "--output", "json"]).expect(0);
    assert_eq!(resumed.documented()[0]["resumed"], true, "{resumed}");
    assert_eq!(site.run_name(), run, "another run was begun");
    assert_eq!(site.count(act, machine), 1, "{}", site.ledger_text());
    site.assert_clean();
}

fn edge() -> proxmaint_lab::world::WorldBuilder {
    World::builder().standalone("edge1").node("edge1", |node| node.pending(1)).ct("edge1", 101, |ct| ct.pending(2)).vm(
        "edge1",
        201,
        |vm| vm.os(Os::Ubuntu2404).pending(1),
    )
}

fn during_a_container_s_upgrade() {
    let site = Site::new(edge().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_500 })).build());
    killed_during(&site, Act::Upgrade, "101");
}

fn during_a_virtual_machine_s_upgrade() {
    let site = Site::new(edge().fault(Fault::upgrade("201", UpgradeFault::Slow { ms: 1_500 })).build());
    killed_during(&site, Act::Upgrade, "201");
}

fn during_the_node_s_upgrade() {
    let site = Site::new(edge().fault(Fault::upgrade("edge1", UpgradeFault::Slow { ms: 1_500 })).build());
    killed_during(&site, Act::Upgrade, "edge1");
}

fn during_a_snapshot() {
    let site = Site::new(edge().durations(Durations { snapshot: 1_500, ..Durations::quick() }).build());
    killed_during(&site, Act::SnapshotCreate, "101");
}

fn during_a_backup() {
    let world = World::builder()
        .durations(Durations { backup: 1_500, ..Durations::quick() })
        .standalone("edge1")
        .vm("edge1", 201, |vm| vm.no_snapshots().pending(1))
        .build();
    killed_during(&Site::new(world), Act::Backup, "201");
}

/// The upgrade ended while nobody watched: it is not done again, and its outcome is taken from where it was left.
fn what_ended_while_nobody_watched_is_not_done_again() {
    let site = Site::new(edge().fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 400 })).build());
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    working.kill();
    site.until("the upgrade has ended", |world| {
        world.ledger.of(Act::Upgrade, "101").all(|entry| entry.outcome == Outcome::Done)
    });
    site.run(&["run"]).expect(0);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
    site.assert_clean();
}

/// The snapshot's task hangs, the program is killed, and somebody stops the task: the backup is made instead.
fn a_hanging_snapshot_that_somebody_stops_meanwhile() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .fault(Fault::task("vzsnapshot", 101, TaskFault::Hang))
        .build();
    let site = Site::new(world);
    let working = site.start(&["run", "--output", "json"]);
    working.event(|event| event["event"] == "task-started");
    working.kill();
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["in_doubt"], true);
    site.with(|world| {
        let hung = world.ledger.of(Act::SnapshotCreate, "101").next().expect("the snapshot").seq;
        world.ledger.settle(hung, Outcome::Failed("stopped".to_owned()));
        world.guest_mut(&MachineId::guest("edge1", 101)).expect("a guest").lock = None;
        let now = world.now();
        let tasks = &mut world.nodes.get_mut("edge1").expect("a node").tasks;
        for task in tasks.iter_mut().filter(|task| task.exit.is_none()) {
            task.exit = Some("received interrupt".to_owned());
            task.ended = Some(now);
        }
    });
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!(guest(&site.status(&[]), "edge1", 101)["kept"][0]["kind"], "backup", "{}", site.ledger_text());
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Killed ten times at random moments. All ten sessions together are shorter than the work, so that none comes to the end.
#[test]
fn ten_times_at_random_moments() {
    let durations =
        Durations { snapshot: 200, backup: 400, upgrade: 1_300, upgrade_per_package: 100, ..Durations::quick() };
    let world = World::builder()
        .durations(durations)
        .cluster("lab", ["pve1", "pve2"])
        .standalone("edge1")
        .node("pve1", |node| node.pending(2))
        .node("pve2", |node| node.pending(1))
        .node("edge1", |node| node.unknown(1))
        .ct("pve1", 101, |ct| ct.pending(3))
        .ct("pve1", 102, |ct| ct.os(Os::Alpine322).pending(2))
        .vm("pve1", 103, |vm| vm.os(Os::Ubuntu2404).pending(2))
        .ct("pve2", 111, |ct| ct.pending(2))
        .vm("pve2", 112, |vm| vm.no_snapshots().pending(2))
        .ct("edge1", 101, |ct| ct.unknown(2))
        .build();
    let site = Site::new(world);
    let mut random = Random(0x5eed_0001);
    let mut killed = 0;
    while killed < 10 {
        let mut working = site.start(&["run", "--output", "json", "--parallel-hosts", "2"]);
        std::thread::sleep(Duration::from_millis(100 + random.below(800)));
        if working.is_over() {
            panic!("it ended after {killed} kills already\n{}", working.finish());
        }
        working.kill();
        killed += 1;
        site.run(&["journal", "verify"]).expect(0);
        site.run(&["status"]).expect(0);
    }
    site.run(&["run", "--parallel-hosts", "2"]).expect(0);
    site.assert_clean();
    let judgement = site.judge();
    assert_eq!((judgement.upgraded, judgement.protected), (9, 6), "{judgement}\n{}", site.ledger_text());
    assert_eq!(site.status(&["--all"])["runs"].as_array().map(Vec::len), Some(1), "one run all along");
}
