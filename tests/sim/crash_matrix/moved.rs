//! Guests that somebody moves while proxmaint is down.

use proxmaint::machine::guest::GuestPhase;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::Asker;

use super::{calm, every_point};
use crate::harness::{Plan, play};
use crate::scenario::moved;

/// Somebody moves guests while proxmaint is down: what was begun is found where they are, what was not is planned afresh there.
#[test]
fn guests_that_move_are_found_again() {
    let scenario = moved::guests_move();
    let calm = calm(&scenario, &[("pve1", "verified"), ("pve1/101", "upgraded"), ("pve1/201", "upgraded")]);
    let (mut found, mut afresh) = (0, 0);
    for crashes in every_point(&calm) {
        let plan = Plan::crashes(crashes);
        let ended = play(&scenario, &plan).unwrap_or_else(|violation| panic!("{violation}"));
        let at = format!("crashed at {:?} (plan {plan:?})", ended.crashed);
        for vmid in [101, 102, 201, 202] {
            let guest = ended.world.guest_of("pve2", vmid).unwrap_or_else(|| panic!("{at}: {vmid} was not moved"));
            let packages = &guest.machine.packages;
            let behind = packages.installed.iter().any(|(name, old)| packages.repository.get(name) != Some(old));
            // A container is restarted by its move: an upgrade that was at work there is cut off, which is held.
            let came = |vmid: u32, word: &str| {
                let verdict = ended.picture.verdicts.get(&format!("pve1/{vmid}"));
                verdict.is_some_and(|verdict| verdict.starts_with(word))
            };
            // While one is held the turn is kept: what was refused since it moved is not planned afresh yet.
            let kept = came(101, "held") || came(102, "held");
            let excused = (came(vmid, "held") && vmid < 200) || (came(vmid, "blocked") && kept);
            assert!(!behind || excused, "{at}: {vmid} was not upgraded: {:#?}", ended.picture.verdicts);
            let done = |host: &str| {
                let verdict = ended.picture.verdicts.get(&format!("{host}/{vmid}"));
                verdict.is_some_and(|verdict| verdict.starts_with("upgraded"))
            };
            (found, afresh) = (found + usize::from(done("pve1")), afresh + usize::from(done("pve2")));
        }
        assert!(
            !ended.world.guest_of("pve2", 102).expect("it is there").running()
                || ended
                    .run
                    .hosts()
                    .any(|state| { state.guests.values().any(|guest| matches!(guest.phase, GuestPhase::Held { .. })) }),
            "{at}: 102 still runs"
        );
    }
    assert!(found > 0 && afresh > 0, "{found} were gone on with, {afresh} planned afresh");
}

/// Guests that were shut down for a reboot and moved meanwhile are owed their start where they are.
#[test]
fn guests_that_were_shut_down_and_moved_run_again() {
    let scenario = moved::shut_guests_move();
    let calm = calm(&scenario, &[("pve1", "verified in kernel")]);
    let mut started = 0;
    for crashes in every_point(&calm) {
        let plan = Plan::crashes(crashes);
        let ended = play(&scenario, &plan).unwrap_or_else(|violation| panic!("{violation}"));
        let at = format!("crashed at {:?} (plan {plan:?})", ended.crashed);
        for (node, vmid) in [("pve2", 101), ("pve3", 201)] {
            let guest = ended.world.guest_of(node, vmid).unwrap_or_else(|| panic!("{at}: {vmid} was not moved"));
            assert!(guest.running(), "{at}: {vmid} does not run: {:#?}", ended.picture.verdicts);
        }
        assert!(
            ended.picture.verdicts["pve1"].starts_with("verified in kernel"),
            "{at}: {:#?}",
            ended.picture.verdicts
        );
        let by_us =
            |entry: &proxmaint_lab::ledger::Entry| entry.node == "pve2" && entry.by != Asker::root().to_string();
        started += ended.world.ledger.of(Act::Start, "101").filter(|entry| by_us(entry)).count();
    }
    assert!(started > 0, "nowhere was it started on its new node");
}
