//! Every named scenario, crashed at every point. One file a topic, as of the scenarios.

mod emptied;
mod moved;
mod power;
mod protections;
mod reboots;
mod rings;
mod undone;
mod upgrades;

use proxmaint::machine::guest::GuestPhase;
use proxmaint::machine::host::{HostPhase, HostVerdict};

use crate::harness::{Finished, NEVER, Plan, play};
use crate::picture::Difference;
use crate::scenario::Scenario;

/// Plays a scenario without a crash, and makes sure that it came out as it should: `verdicts` are the beginnings of those of
/// the hosts and guests that are named.
fn calm(scenario: &Scenario, verdicts: &[(&str, &str)]) -> Finished {
    let calm = play(scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    for (name, verdict) in verdicts {
        let found =
            calm.picture.verdicts.get(*name).unwrap_or_else(|| panic!("no {name} in {:#?}", calm.picture.verdicts));
        let why: Vec<String> = calm.run.hosts().filter_map(|state| why(&state.phase)).collect();
        assert!(found.starts_with(verdict), "{}: {name} is {found}, and not {verdict}: {why:#?}", scenario.name);
    }
    assert!(calm.world.faults.unused().is_empty(), "{}: a fault never struck", scenario.name);
    calm
}

/// Says why a host did not end well.
fn why(phase: &HostPhase) -> Option<String> {
    match phase {
        HostPhase::Held { fault, .. } | HostPhase::Done(HostVerdict::Failed(fault)) => Some(fault.what.clone()),
        HostPhase::Done(HostVerdict::Blocked(why) | HostVerdict::NotRebooted { why, .. }) => Some(why.clone()),
        _ => None,
    }
}

/// Returns the crashes that hit each point of each session of a calm run.
fn every_point(calm: &Finished) -> impl Iterator<Item = Vec<u64>> {
    let sessions = calm.points.iter().enumerate();
    sessions.flat_map(|(session, points)| {
        (1..=*points).map(move |point| {
            let mut crashes = vec![NEVER; session];
            crashes.push(point);
            crashes
        })
    })
}

/// Crashes a scenario at each point of its calm run; `further` says where the incarnations after that crash.
fn crash_everywhere(scenario: &Scenario, verdicts: &[(&str, &str)], further: impl Fn(u64) -> Vec<u64>) {
    let calm = calm(scenario, verdicts);
    for mut crashes in every_point(&calm) {
        crashes.extend(further(crashes.last().copied().unwrap_or_default()));
        let plan = Plan::crashes(crashes);
        let ended = play(scenario, &plan).unwrap_or_else(|violation| panic!("{violation}"));
        assert!(
            ended.picture == calm.picture,
            "{}, crashed at {:?} (plan {plan:?}), does not end as without a crash:\n{}{:#?}",
            scenario.name,
            ended.crashed,
            Difference(&calm.picture, &ended.picture),
            ended.run.hosts().filter_map(|state| why(&state.phase)).collect::<Vec<_>>()
        );
    }
}

/// The same where it depends on the session in which something goes wrong how often a guest is protected.
fn crash_everywhere_but_protections(scenario: &Scenario, verdicts: &[(&str, &str)]) {
    let calm = calm(scenario, verdicts);
    let before = calm.picture.clone().without_protections();
    for crashes in every_point(&calm) {
        let ended = play(scenario, &Plan::crashes(crashes)).unwrap_or_else(|violation| panic!("{violation}"));
        let after = ended.picture.without_protections();
        assert!(before == after, "crashed at {:?}:\n{}", ended.crashed, Difference(&before, &after));
    }
}

/// No more crashes.
fn once(_: u64) -> Vec<u64> {
    Vec::new()
}

/// Three more crashes, soon after each other: within the reading back, the probes, and what follows from them.
fn again_and_again(point: u64) -> Vec<u64> {
    vec![point * 7 % 13 + 1, point * 5 % 17 + 1, point * 3 % 11 + 1]
}

/// Plays a scenario up to each point of its first session, and then gives back what is owed: every guest is as it was found, and
/// nothing else was begun.
fn restore_everywhere(scenario: &Scenario) {
    let calm = play(scenario, &Plan::calm()).unwrap_or_else(|violation| panic!("{violation}"));
    for point in 1..=calm.points[0] {
        let ended =
            play(scenario, &Plan::restores_after(point)).unwrap_or_else(|violation| panic!("at {point}: {violation}"));
        let owed: Vec<String> = ended.run.hosts().flat_map(|state| state.owed()).map(|debt| debt.to_string()).collect();
        // Only an upgrade that is still at work in a guest that was started keeps it from being stopped.
        let upgrading = ended.run.hosts().flat_map(|state| state.guests.values()).any(|guest| {
            guest.borrowed.is_some() && matches!(&guest.phase, GuestPhase::Upgrading { .. } | GuestPhase::Held { .. })
        });
        assert!(owed.is_empty() || upgrading, "crashed at {:?}: still owed: {owed:?}", ended.crashed);
        for (realm, there) in &scenario.world.realms {
            for (vmid, before) in &there.guests {
                let now = &ended.world.realms[realm].guests[vmid];
                let as_found = now.power == before.power || upgrading;
                assert!(
                    as_found,
                    "crashed at {:?}: {vmid} was {:?} and is {:?}",
                    ended.crashed, before.power, now.power
                );
                assert_eq!(before.node, now.node, "crashed at {:?}: {vmid} is not home", ended.crashed);
            }
            let now = &ended.world.realms[realm];
            assert!(now.maintenance.values().all(|mode| mode.ending), "crashed at {:?}: {now:?}", ended.crashed);
            assert_eq!(
                there.ceph.as_ref().map(|ceph| &ceph.flags),
                now.ceph.as_ref().map(|ceph| &ceph.flags),
                "crashed at {:?}",
                ended.crashed
            );
        }
    }
}
