//! Debts: after every session that ended, whatever is not as it was found is owed by the run's own word, or not settled yet.

use proxmaint::ids::GuestId;
use proxmaint::machine::guest::{GuestPhase, GuestState, GuestVerdict};
use proxmaint::machine::host::HostState;
use proxmaint::machine::outcome::Obligation;
use proxmaint::machine::run::RunState;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Asker, World};

/// Compares the power of every guest with how it was before the run.
pub fn honest(before: &World, now: &World, run: &RunState) -> Result<(), String> {
    for (realm, there) in &before.realms {
        for (vmid, was) in &there.guests {
            let is = &now.realms[realm].guests[vmid];
            // Somebody may have moved it meanwhile.
            let hosts = || run.hosts().filter(|state| there.nodes.iter().any(|node| node == state.host().as_str()));
            let id = GuestId(*vmid);
            let owed = match (was.running(), is.running()) {
                (true, true) | (false, false) => true,
                (false, true) => hosts().any(|state| is_to_be_stopped(state, id)) || boots_with_its_node(is),
                (true, false) => hosts().any(|state| is_to_be_started(state, id)),
            };
            if !owed {
                let (was, is) = (was.power, is.power);
                return Err(format!("guest {vmid} was {was:?}, is {is:?}, and the run does not say that it is owed"));
            }
        }
    }
    lent(before, now, run)?;
    match run.hosts().find(|state| run.is_finished() && !state.owed().is_empty()) {
        Some(state) => Err(format!("the run is finished, and {} owes {:?}", state.host(), state.owed())),
        None => Ok(()),
    }
}

/// Compares where every guest is, and each cluster's modes and flags: what differs is owed.
fn lent(before: &World, now: &World, run: &RunState) -> Result<(), String> {
    let owes = |wanted: &dyn Fn(&Obligation) -> bool| run.hosts().any(|state| state.owed().iter().any(wanted));
    for (name, was) in &before.realms {
        let is = &now.realms[name];
        for (vmid, guest) in &was.guests {
            let there = &is.guests[vmid].node;
            let said = |debt: &Obligation| matches!(debt, Obligation::ReturnGuest { moved } if moved.id.0 == *vmid);
            // Whoever else moved it wants it there.
            let machine = vmid.to_string();
            let last = now.ledger.of(Act::Migrate, &machine).filter(|entry| entry.realm == *name).last();
            let by_others = last.is_some_and(|entry| entry.by == Asker::root().to_string());
            if *there != guest.node && !by_others && !owes(&said) {
                return Err(format!(
                    "guest {vmid} was on {}, is on {there}, and nobody says that it is owed",
                    guest.node
                ));
            }
        }
        for node in is.maintenance.iter().filter(|(node, m)| !m.ending && !was.maintenance.contains_key(*node)) {
            let said = |debt: &Obligation| matches!(debt, Obligation::LeaveMaintenance { node: owed } if owed.as_str() == node.0);
            if !owes(&said) {
                return Err(format!("node {} is in maintenance, and nobody says that it is owed", node.0));
            }
        }
        let set =
            |realm: &proxmaint_lab::world::Realm| realm.ceph.as_ref().is_some_and(|ceph| ceph.flags.contains("noout"));
        if set(is) && !set(was) && !owes(&|debt| *debt == Obligation::ClearNoout) {
            return Err(format!("noout is set in {name}, and nobody says that it is owed"));
        }
        if set(was) && !set(is) {
            return Err(format!("noout of {name} was somebody else's, and is cleared"));
        }
    }
    Ok(())
}

fn boots_with_its_node(guest: &proxmaint_lab::world::Guest) -> bool {
    guest.config.get("onboot").is_some_and(|onboot| onboot == 1)
}

/// Tells whether a step of a guest is in flight, or in doubt.
fn in_doubt(state: &HostState, id: GuestId) -> bool {
    let of = |guest: &GuestState| guest.phase.attempt().is_some() || matches!(guest.phase, GuestPhase::Held { .. });
    state.guests.get(&id).is_some_and(of)
}

fn is_to_be_stopped(state: &HostState, id: GuestId) -> bool {
    let said = |debt: &Obligation| matches!(debt, Obligation::StopGuest { id: owed, .. } if *owed == id);
    state.owed().iter().any(said) || in_doubt(state, id)
}

fn is_to_be_started(state: &HostState, id: GuestId) -> bool {
    let said = |debt: &Obligation| match debt {
        Obligation::StartGuests { guests } => guests.iter().any(|guest| guest.id == id),
        // One that is off after a move that failed is started when it is brought back.
        Obligation::ReturnGuest { moved } => moved.id == id,
        Obligation::ReviveGuest { id: owed, .. } => *owed == id,
        Obligation::StopGuest { .. } | Obligation::LeaveMaintenance { .. } | Obligation::ClearNoout => false,
    };
    // A VM that did not come back from its reboot is said to have failed.
    let failed = |guest: &GuestState| matches!(guest.phase, GuestPhase::Settled(GuestVerdict::Failed { .. }));
    state.owed().iter().any(said) || in_doubt(state, id) || state.guests.get(&id).is_some_and(failed)
}
