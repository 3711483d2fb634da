//! Finds out what is new about a host: compares its state with what was last seen of it.
//!
//! An event says what happened; what follows from it (a guest's upgrade begins) stands in the state alone. Comparing
//! states also stays right when a state is already ahead of its event. The cost is that of one host, not of the fleet.

use std::collections::BTreeMap;

use crate::ids::{GuestId, HostId};
use crate::machine::guest::{Attempt, GuestState};
use crate::machine::host::HostState;

/// Something new.
#[derive(Debug, Clone, Copy)]
pub enum News<'a> {
    /// The host is in another phase, or at another attempt of it.
    Host,
    /// A guest is. Guests that were over when they were first seen are no news.
    Guest(GuestId, &'a GuestState),
}

/// A phase by name, and the attempt that it is at.
type Glance = (&'static str, Option<Attempt>);

#[derive(Debug, Default)]
struct Remembered {
    host: Option<Glance>,
    guests: BTreeMap<GuestId, Glance>,
}

/// Remembers what was last seen of each host.
#[derive(Debug, Default)]
pub struct Watch {
    hosts: BTreeMap<HostId, Remembered>,
}

impl Watch {
    /// Makes a watch that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a host's state and returns what is new about it: guests first where the host is over, since their news
    /// led there; the host first otherwise.
    pub fn note<'a>(&mut self, state: &'a HostState) -> Vec<News<'a>> {
        let remembered = self.hosts.entry(state.host().clone()).or_default();
        let mut news = Vec::new();
        for (id, guest) in &state.guests {
            let glance = (guest.phase.name(), guest.phase.attempt());
            match remembered.guests.insert(*id, glance) {
                Some(before) if before == glance => {}
                None if matches!(guest.phase.name(), "settled" | "waiting" | "protected") => {}
                Some(_) | None => news.push(News::Guest(*id, guest)),
            }
        }
        if remembered.guests.len() > state.guests.len() {
            remembered.guests.retain(|id, _| state.guests.contains_key(id));
        }
        let glance = (state.phase.name(), state.phase.attempt());
        if remembered.host.replace(glance) != Some(glance) {
            let at = if glance.0 == "done" { news.len() } else { 0 };
            news.insert(at, News::Host);
        }
        news
    }
}
