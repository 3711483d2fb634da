//! What an operator says of hosts of a live run: pause, go on, stop.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::event::HostEvent;
use super::host::{Gate, HostPhase, HostState, ShutBecause};
use super::rollout::{Next, Rollout};
use super::run::RunState;
use crate::ids::HostId;
use crate::time::Timestamp;

/// What the operator says of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Nothing new begins there, until told to go on.
    Pause,
    /// It goes on.
    Continue,
    /// Nothing new begins there in this session, which does not wait for it.
    Stop,
}

/// What came of an order for one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    /// It is as was said.
    Taken,
    /// It was so already.
    Already,
    /// The host is over: nothing is left to begin there.
    Over,
    /// This session is not about it.
    LeftOut,
}

/// Why an order can't be taken at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOrdered {
    /// The run has no such hosts.
    #[error("the run has no host {}", list(.0))]
    Unknown(Vec<HostId>),
    /// The run begins nothing more: it was asked to stop, or it has halted.
    #[error("the run begins nothing more: {0}")]
    Ending(String),
}

fn list(hosts: &[HostId]) -> String {
    hosts.iter().map(HostId::as_str).collect::<Vec<_>>().join(", ")
}

impl RunState {
    /// Takes an order for hosts, for all that are not over where none is named. The gates follow ([`Self::gate_events`]).
    ///
    /// # Errors
    /// A host that is not in the run; a run that has halted. Nothing is changed then.
    pub fn order(&mut self, order: Order, hosts: &[HostId]) -> Result<Vec<(HostId, Ordered)>, NotOrdered> {
        let unknown: Vec<HostId> = hosts.iter().filter(|host| self.host(host).is_none()).cloned().collect();
        if !unknown.is_empty() {
            return Err(NotOrdered::Unknown(unknown));
        }
        if let Some(why) = self.rollout.halted() {
            return Err(NotOrdered::Ending(why.to_owned()));
        }
        let over = |state: &HostState| matches!(state.phase, HostPhase::Done(_));
        let named: Vec<HostId> = match hosts {
            [] => {
                let meant = |state: &&HostState| !over(state) && !self.left_out.contains(state.host());
                self.hosts().filter(meant).map(|state| state.host().clone()).collect()
            }
            named => named.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
        };
        let taken = named.into_iter().map(|host| {
            let ordered = match self.host(&host) {
                _ if self.left_out.contains(&host) => Ordered::LeftOut,
                Some(state) if over(state) => Ordered::Over,
                _ => {
                    let before = match order {
                        Order::Pause => self.orders.insert(host.clone(), ShutBecause::Paused),
                        Order::Stop => self.orders.insert(host.clone(), ShutBecause::Stopped),
                        Order::Continue => self.orders.remove(&host),
                    };
                    match (order, before) {
                        (Order::Pause, Some(ShutBecause::Paused))
                        | (Order::Stop, Some(ShutBecause::Stopped))
                        | (Order::Continue, None) => Ordered::Already,
                        _ => Ordered::Taken,
                    }
                }
            };
            (host, ordered)
        });
        Ok(taken.collect())
    }

    /// Counts the hosts that nothing was begun on, of those that this session is about.
    pub fn not_begun(&self) -> usize {
        let waits = |state: &&HostState| matches!(state.phase, HostPhase::Pending | HostPhase::AwaitingTurn { .. });
        self.hosts().filter(|state| !self.left_out.contains(state.host())).filter(waits).count()
    }

    /// Returns the hosts that have not begun since the canaries go first.
    pub fn kept_back(&self) -> BTreeSet<HostId> {
        self.rollout.kept_back(self.hosts())
    }

    /// Tells whether a host that is not over was paused: the session waits for it.
    pub fn waits_for_the_operator(&self) -> bool {
        let over = |host: &HostId| self.host(host).is_none_or(|state| matches!(state.phase, HostPhase::Done(_)));
        self.orders.iter().any(|(host, why)| *why == ShutBecause::Paused && !over(host))
    }

    /// Waits for paused hosts no longer.
    pub fn stop_paused(&mut self) {
        self.orders.values_mut().for_each(|why| *why = ShutBecause::Stopped);
    }

    /// Returns the order of the run.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Begins a session: what went wrong before it is no reason to stop.
    pub fn begin_session(&mut self) {
        self.rollout.forgive();
    }

    /// Says what follows for the run as a whole.
    pub fn next(&self, now: Timestamp, idle: bool) -> Next {
        self.rollout.next(now, idle && !self.waits_for_the_operator())
    }

    /// Goes on to what follows. The gates follow ([`Self::gate_events`]).
    pub fn enter(&mut self, next: &Next) {
        self.rollout.enter(next);
        match next {
            Next::Halt(_) => self.fleet.halt(),
            Next::Recheck => self.rollout.to_be_rechecked().for_each(|host| self.fleet.recheck_later(host)),
            Next::Nothing | Next::Begin | Next::Soak(_) | Next::Open => {}
        }
    }

    /// Says whether the run would stop by an event of a host.
    pub fn would_halt(&self, host: &HostId, event: &HostEvent, at: Timestamp) -> Option<String> {
        if self.rollout.is_plain() || self.rollout.halted().is_some() {
            return None;
        }
        let mut then = self.host(host)?.clone();
        then.apply(event, at).ok()?;
        self.rollout.would_halt(&then)
    }

    /// Returns the gate that a host is to have.
    fn gate_of(&self, host: &HostId) -> Gate {
        match self.orders.get(host) {
            Some(why) if self.rollout.halted().is_none() => Gate::Shut { why: *why },
            _ => self.rollout.gate_of(host),
        }
    }

    pub(super) fn keeps_back(&self, host: &HostId) -> bool {
        self.orders.contains_key(host) || self.rollout.keeps_back(host)
    }

    /// Returns the event by which a host's gate is opened now that there is a place for it.
    pub(super) fn opened(&self, host: HostId) -> (HostId, HostEvent) {
        let gate = self.gate_of(&host);
        (host, HostEvent::Gated { gate })
    }

    /// Returns the events by which gates become what they are to be. One that opens something that is not at work is handed out
    /// like a turn, when there is a place for it.
    pub fn gate_events(&mut self) -> Vec<(HostId, HostEvent)> {
        let mut events = Vec::new();
        for host in self.order.iter().filter(|host| !self.left_out.contains(*host)) {
            let Some(state) = self.hosts.get(host) else { continue };
            self.fleet.keep_back(state, self.keeps_back(host));
            let gate = self.gate_of(host);
            if gate == state.gate {
                self.fleet.open_no_more(host);
                continue;
            }
            let not_begun = matches!(state.phase, HostPhase::Pending | HostPhase::AwaitingTurn { .. });
            let waits = not_begun || matches!(state.phase, HostPhase::AwaitingReboot { .. } | HostPhase::Held { .. });
            let needs_none = match &gate {
                // It is not handed anything any more, and is gone on with by a session that sets its gate anew.
                Gate::Shut { why: ShutBecause::Halted } => state.is_parked() || !self.fleet.is_active(host),
                Gate::Shut { why: ShutBecause::Canaries } => not_begun,
                _ => false,
            };
            if needs_none || matches!(state.phase, HostPhase::Done(_)) {
                continue;
            }
            let opens = gate.is_open() || state.gate.is_shut() && !gate.is_shut();
            if opens && !waits && !self.fleet.is_active(host) {
                self.fleet.open_later(host);
                continue;
            }
            self.fleet.open_no_more(host);
            events.push((host.clone(), HostEvent::Gated { gate }));
        }
        events
    }
}
