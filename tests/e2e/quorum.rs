//! A node is rebooted only where its cluster keeps its quorum meanwhile, as corosync counts votes, or where the operator lets the
//! other one of two lose it.

use proxmaint_lab::ledger::{Act, Entry};
use proxmaint_lab::world::{Asker, Durations, MachineId, Voting, World, WorldBuilder};

use crate::support::{Site, host, side_by_side};

const NODES: [&str; 3] = ["pve1", "pve2", "pve3"];

/// A cluster of so many nodes, each of which gets a new kernel.
fn cluster(nodes: usize) -> WorldBuilder {
    let names = &NODES[..nodes];
    let world = World::builder().cluster("lab", names.iter().copied());
    names.iter().fold(world, |world, name| world.node(name, |node| node.pending(4)))
}

/// The nodes that were rebooted, in order.
fn rebooted(site: &Site) -> Vec<String> {
    let reboots = |entry: &Entry| entry.act == Act::Reboot;
    site.changes().into_iter().filter(reboots).map(|entry| entry.node).collect()
}

/// Nobody was rebooted, and nobody's guests were shut down for it; upgraded are all.
#[track_caller]
fn assert_upgraded_only(site: &Site, nodes: usize) {
    assert_eq!(rebooted(site), [""; 0], "{}", site.ledger_text());
    assert_eq!(site.count(Act::Shutdown, "*"), 0, "{}", site.ledger_text());
    for node in &NODES[..nodes] {
        assert_eq!(site.behind(&MachineId::node(*node)), 0, "{}", site.ledger_text());
    }
}

fn allow(site: &Site) {
    site.replace("[defaults]\n", "[defaults]\nallow_quorum_loss = true\n");
}

#[test]
fn the_votes_that_are_left_decide_and_not_the_nodes() {
    let site = Site::new(cluster(3).node("pve1", |node| node.votes(2)).build());
    site.run(&["run", "--dry-run", "--reboot"]).expect(0).says(&[
        "pve1",
        "will not be rebooted: cluster lab would lose its quorum: 2 of 4 votes would be left, 3 are needed",
        "pve2",
        "its cluster keeps quorum meanwhile: 3 of 4 votes would be left, 3 are needed",
    ]);
    site.run(&["run", "--reboot"]).expect(3).says(&[
        "pve1",
        "not rebooted",
        "2 of 4 votes would be left, 3 are needed",
    ]);
    assert_eq!(rebooted(&site), ["pve2", "pve3"], "{}", site.ledger_text());
    let view = site.status(&[]);
    let why = host(&view, "pve1")["not_rebooted"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("2 of 4 votes")), "{view:#}");
}

#[test]
fn two_nodes_are_rebooted_where_a_third_vote_or_one_alone_is_enough() {
    side_by_side(&[
        ("with_a_quorum_device", || {
            let site = Site::new(cluster(2).voting("lab", Voting::default().device(true)).build());
            site.run(&["doctor"]).says(&["without this one 2 of 3 votes would be left, 2 are needed"]);
            site.run(&["run", "--reboot"]).expect(0);
            assert_eq!(rebooted(&site), ["pve1", "pve2"], "{}", site.ledger_text());
            site.assert_clean();
        }),
        ("with_two_node", || {
            let site = Site::new(cluster(2).voting("lab", Voting::default().two_node()).build());
            site.run(&["run", "--reboot"]).expect(0);
            assert_eq!(rebooted(&site), ["pve1", "pve2"], "{}", site.ledger_text());
            site.assert_clean();
        }),
    ]);
}

#[test]
fn two_nodes_without_a_third_vote_are_not_rebooted() {
    side_by_side(&[
        ("without_a_quorum_device", || {
            let site = Site::new(cluster(2).ct("pve1", 101, |ct| ct).build());
            let done = site.run(&["run", "--reboot"]).expect(3);
            done.says(&["pve1", "not rebooted", "has two nodes", "1 of 2 votes would be left, 2 are needed"]);
            assert_upgraded_only(&site, 2);
        }),
        ("with_a_quorum_device_that_is_not_reached", || {
            let site = Site::new(cluster(2).voting("lab", Voting::default().device(false)).build());
            let done = site.run(&["run", "--reboot"]).expect(3);
            done.says(&["not rebooted", "1 of 3 votes would be left, 2 are needed", "QDevice does not vote"]);
            assert_upgraded_only(&site, 2);
        }),
        ("where_votes_are_not_told", || {
            let site = Site::new(cluster(3).voting("lab", Voting::default().not_told()).build());
            allow(&site);
            let shown = site.run(&["run", "--dry-run", "--reboot"]).expect(0);
            shown.says(&["will not be rebooted: its cluster's votes are not known", "quorum provider: Not configured"]);
            site.run(&["run", "--reboot"]).expect(3).says(&["pve1", "not rebooted", "quorum provider: Not configured"]);
            assert_upgraded_only(&site, 3);
        }),
    ]);
}

#[test]
fn the_quorum_of_two_nodes_may_be_lost_where_that_is_allowed() {
    side_by_side(&[
        ("one_at_a_time", || {
            let durations = Durations { node_reboot: 1_500, ..Durations::quick() };
            let world = cluster(2).ct("pve1", 101, |ct| ct).ct("pve2", 201, |ct| ct).durations(durations);
            let site = Site::new(world.build());
            allow(&site);
            let shown = site.run(&["run", "--dry-run", "--reboot"]).expect(0);
            shown.says(&["the other one is without quorum, as allow_quorum_loss allows: 1 of 2 votes would be left"]);
            let working = site.start(&["run", "--reboot"]);
            site.until("the quorum is lost", |world| !world.quorate("lab"));
            let (left, boots) = site.with(|world| {
                let guest = world.guest_of("pve2", 201).expect("a guest");
                (world.nodes["pve2"].online && guest.running(), world.ledger.count(Act::Shutdown, "201"))
            });
            assert!(left && boots == 0, "the other node and its guests run on:\n{}", site.ledger_text());
            working.finish().expect(0);
            assert_eq!(rebooted(&site), ["pve1", "pve2"], "{}", site.ledger_text());
            site.assert_clean();
            assert!(site.with(|world| world.quorate("lab")));
            let running = |vmid| site.with(|world| world.guest_of("pve1", vmid).is_some_and(|guest| guest.running()));
            assert!(running(101) && running(201), "{}", site.ledger_text());
        }),
        ("not_where_ha_manages_a_guest", || {
            let site = Site::new(cluster(2).ct("pve2", 201, |ct| ct).build());
            site.with(|world| world.ha_set(world.now(), "lab", "ct:201", "started", &Asker::root()));
            allow(&site);
            let shown = site.run(&["run", "--dry-run", "--reboot"]).expect(0);
            shown.says(&["where HA manages something (ct:201): the other node would be reset by its watchdog"]);
            site.run(&["run", "--reboot"]).expect(3).says(&["not rebooted", "(ct:201)", "watchdog"]);
            assert_upgraded_only(&site, 2);
        }),
        ("not_with_three_nodes", || {
            let site = Site::new(cluster(3).node("pve1", |node| node.votes(3)).build());
            allow(&site);
            site.run(&["run", "--reboot", "--host", "pve1"]).expect(3).says(&["of two nodes only, this one has 3"]);
            assert_eq!(rebooted(&site), [""; 0], "{}", site.ledger_text());
        }),
    ]);
}

#[test]
fn votes_are_counted_again_when_the_guests_are_down() {
    let durations = Durations { shutdown: 1_500, ..Durations::quick() };
    let world = cluster(2).ct("pve1", 101, |ct| ct).voting("lab", Voting::default().device(true)).durations(durations);
    let site = Site::new(world.build());
    let working = site.start(&["run", "--reboot", "--host", "pve1"]);
    site.await_begun(Act::Shutdown, "101");
    site.with(|world| world.realms.get_mut("lab").expect("a cluster").voting = Voting::default().device(false));
    working.finish().expect(4).says(&["held: not rebooted", "1 of 3 votes would be left, 2 are needed"]);
    assert_eq!(rebooted(&site), [""; 0], "{}", site.ledger_text());
    let runs = site.with(|world| world.guest_of("pve1", 101).is_some_and(|guest| guest.running()));
    assert!(runs, "what was shut down for it runs again:\n{}", site.ledger_text());
}
