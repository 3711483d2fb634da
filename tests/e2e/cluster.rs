//! Nodes of one cluster take turns; hosts that stand alone may be worked on at the same time.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Entry};
use proxmaint_lab::world::{MachineId, World, WorldBuilder};
use rustix::process::Signal;

use crate::support::{Site, host};

fn cluster() -> WorldBuilder {
    let mut world = World::builder().cluster("lab", ["pve1", "pve2", "pve3"]);
    for (n, node) in ["pve1", "pve2", "pve3"].into_iter().enumerate() {
        let first = 100 + 10 * u32::try_from(n).expect("a small number");
        world =
            world
                .node(node, |node| node.pending(1))
                .ct(node, first, |ct| ct.pending(1))
                .ct(node, first + 1, |ct| ct.pending(1));
    }
    world
}

/// The nodes in the order in which they were changed, each named once for each unbroken sequence of changes.
fn turns(changes: &[Entry]) -> Vec<String> {
    let mut nodes: Vec<String> = changes.iter().map(|entry| entry.node.clone()).collect();
    nodes.dedup();
    nodes
}

#[test]
fn nodes_of_a_cluster_take_turns_however_many_hosts_are_allowed_at_a_time() {
    let site = Site::new(cluster().build());
    site.run(&["run", "--parallel-hosts", "4"]).expect(0);
    site.assert_clean();
    assert_eq!(turns(&site.changes()).len(), 3, "changes of two nodes are mixed:\n{}", site.ledger_text());
    assert_eq!(site.done(Act::Upgrade, "*"), 9);
}

#[test]
fn a_node_that_failed_keeps_the_turn_and_the_others_are_told() {
    let site = Site::new(cluster().fault(Fault::upgrade("pve1", UpgradeFault::Exit { code: 1 })).build());
    site.run(&["run"]).expect(3).says(&["pve2", "waits for pve1, a node of the same cluster"]);
    assert_eq!(turns(&site.changes()), ["pve1"], "{}", site.ledger_text());
    let view = site.status(&[]);
    for waiting in ["pve2", "pve3"] {
        assert_eq!(host(&view, waiting)["waits_for"], "pve1", "{view:#}");
    }
    // Once it is mended, the same run goes on with all of them.
    site.run(&["run"]).expect(0);
    site.assert_clean();
    assert_eq!(turns(&site.changes()), ["pve1", "pve2", "pve3"], "{}", site.ledger_text());
}

#[test]
fn hosts_that_stand_alone_do_not_wait_for_each_other() {
    let world = World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .node("edge2", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge2", 101, |ct| ct.pending(1))
        .fault(Fault::upgrade("edge1/101", UpgradeFault::Hang))
        .build();
    let site = Site::new(world);
    let working = site.start(&["run", "--parallel-hosts", "2", "--output", "json"]);
    // The first host's guest is upgraded for ever; the second host comes to its end meanwhile.
    working.event(|event| event["event"] == "host-changed" && event["host"] == "edge2" && event["phase"] == "done");
    site.await_begun(Act::Upgrade, "101");
    working.signal(Signal::INT);
    let ended = working.finish().expect(5).ended();
    assert_eq!(
        (&host(&ended, "edge1")["result"], &host(&ended, "edge2")["result"]),
        (&"unfinished".into(), &"succeeded".into())
    );
    assert_eq!(site.behind(&MachineId::guest("edge2", 101)), 0);
}

#[test]
fn hosts_come_one_after_another_unless_told_otherwise() {
    let world = World::builder()
        .standalone("edge1")
        .standalone("edge2")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge2", 101, |ct| ct.pending(1))
        .build();
    let site = Site::new(world);
    site.run(&["run"]).expect(0);
    assert_eq!(turns(&site.ledger()), ["edge1", "edge2"], "{}", site.ledger_text());
}

#[test]
fn a_cluster_with_a_node_offline_is_not_touched() {
    let world = World::builder()
        .cluster("lab", ["pve1", "pve2", "pve3"])
        .node("pve3", |node| node.offline())
        .ct("pve1", 101, |ct| ct.pending(1))
        .build();
    let site = Site::new(world);
    site.run(&["run", "--host", "pve1"]).expect(3).says(&["pve3", "offline"]);
    assert!(site.changes().is_empty(), "{}", site.ledger_text());
}
