//! The words of what is owed.

use crate::machine::host::{HostState, Unpaid};
use crate::machine::outcome::Obligation;
use crate::observe::view::{OwedKind, OwedView};
use crate::observe::words;

/// Tells what a host is owed, and why it was not given back yet.
pub fn owed_view(state: &HostState, owed: &Obligation) -> OwedView {
    let what = owed.to_string();
    let why = state.unpaid(owed).map(|why| match why {
        Unpaid::WaitsFor(step) => format!("waits for the end of: {}", words::step(step)),
        Unpaid::Tried(how) => format!("the last try: {how}"),
    });
    let (owed, guests) = match owed {
        Obligation::StopGuest { id, .. } => (OwedKind::StopGuest, vec![*id]),
        Obligation::ReviveGuest { id, .. } => (OwedKind::ReviveGuest, vec![*id]),
        Obligation::StartGuests { guests } => (OwedKind::StartGuests, guests.iter().map(|guest| guest.id).collect()),
        Obligation::LeaveMaintenance { .. } => (OwedKind::LeaveMaintenance, Vec::new()),
        Obligation::ReturnGuest { moved } => (OwedKind::ReturnGuest, vec![moved.id]),
        Obligation::ClearNoout => (OwedKind::ClearNoout, Vec::new()),
    };
    OwedView { owed, guests, what, why }
}
