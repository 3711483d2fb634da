//! Debts: after every session that ended, whatever is not as it was found is owed by the run's own word, or not settled yet.

use proxmaint::ids::GuestId;
use proxmaint::machine::guest::{GuestPhase, GuestState, GuestVerdict};
use proxmaint::machine::host::HostState;
use proxmaint::machine::outcome::Obligation;
use proxmaint::machine::run::RunState;
use proxmaint_lab::world::World;

/// Compares the power of every guest with how it was before the run.
pub fn honest(before: &World, now: &World, run: &RunState) -> Result<(), String> {
    for (realm, there) in &before.realms {
        for (vmid, was) in &there.guests {
            let is = &now.realms[realm].guests[vmid];
            let host = run.hosts().find(|state| state.host().as_str() == was.node);
            let (id, state) = (GuestId(*vmid), host.ok_or("a guest of a node that is not in the run")?);
            let owed = match (was.running(), is.running()) {
                (true, true) | (false, false) => true,
                (false, true) => is_to_be_stopped(state, id) || boots_with_its_node(is),
                (true, false) => is_to_be_started(state, id),
            };
            if !owed {
                let (was, is) = (was.power, is.power);
                return Err(format!("guest {vmid} was {was:?}, is {is:?}, and the run does not say that it is owed"));
            }
        }
    }
    match run.hosts().find(|state| run.is_finished() && !state.owed().is_empty()) {
        Some(state) => Err(format!("the run is finished, and {} owes {:?}", state.host(), state.owed())),
        None => Ok(()),
    }
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
        Obligation::ReviveGuest { id: owed, .. } => *owed == id,
        Obligation::StopGuest { .. } => false,
    };
    // A VM that did not come back from its reboot is said to have failed.
    let failed = |guest: &GuestState| matches!(guest.phase, GuestPhase::Settled(GuestVerdict::Failed { .. }));
    state.owed().iter().any(said) || in_doubt(state, id) || state.guests.get(&id).is_some_and(failed)
}
