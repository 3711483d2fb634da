//! The gate of a host: what may begin there.
//!
//! A gate that is shut lets what has begun come to its end: a guest that is being upgraded is checked, one that was started is
//! stopped again, guests that were shut down for a reboot are started again. Nothing else is begun. A host behind its gate at
//! which nothing is at work is parked: it takes up no place, but keeps its cluster's turn, since half of it may be done.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{HostPhase, HostState};
use crate::choices::{Selector, selects};
use crate::ids::GuestId;
use crate::machine::Illegal;
use crate::machine::effect::Effect;
use crate::machine::guest::{GuestInput, GuestPhase, GuestState, GuestVerdict};
use crate::time::Timestamp;

/// What may begin on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Everything.
    #[default]
    Open,
    /// Only guests that are canaries: the node is neither upgraded nor rebooted.
    Canaries {
        /// The canaries.
        guests: Vec<Selector>,
    },
    /// Nothing.
    Shut {
        /// Why.
        why: ShutBecause,
    },
}

/// Why nothing may begin on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutBecause {
    /// The canaries go first.
    Canaries,
    /// The run went wrong and has stopped.
    Halted,
    /// The operator said so, and will say when it goes on.
    Paused,
    /// The operator said so: it is left for a later session.
    Stopped,
}

impl fmt::Display for ShutBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Canaries => "waits for the canaries",
            Self::Halted => "the run has halted",
            Self::Paused => "paused by the operator",
            Self::Stopped => "stopped by the operator",
        })
    }
}

impl Gate {
    /// Tells whether everything may begin.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }

    /// Tells whether nothing may begin.
    pub fn is_shut(&self) -> bool {
        matches!(self, Self::Shut { .. })
    }

    /// Tells whether a guest may be begun with.
    pub fn lets(&self, guest: &GuestState) -> bool {
        match self {
            Self::Open => true,
            Self::Canaries { guests } => selects(guests, &guest.plan.traits()),
            Self::Shut { .. } => false,
        }
    }
}

impl GuestState {
    /// Tells whether it went wrong, so far: its upgrade failed or is held, or it could not be touched though it should have been.
    pub fn came_out_badly(&self) -> bool {
        match &self.phase {
            GuestPhase::Held { .. } | GuestPhase::Settled(GuestVerdict::Failed { .. } | GuestVerdict::Blocked(_)) => {
                true
            }
            GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell, .. }) => !undo.by_operator || unwell.is_some(),
            GuestPhase::Settled(_) => self.borrowed.is_some() || self.not_rebooted().is_some(),
            _ => false,
        }
    }
}

impl HostState {
    /// Tells whether it stands behind its gate: something is left to begin, nothing is at work.
    pub fn is_behind_its_gate(&self) -> bool {
        !self.gate.is_open()
            && matches!(self.phase, HostPhase::Snapshotting { .. } | HostPhase::UpgradingGuests { .. })
            && self.returning.is_empty()
            && self.guests.values().all(|guest| guest.phase.attempt().is_none())
    }

    /// Tells whether it may be planned anew: from a verdict, or from behind its gate where nothing is held.
    pub(super) fn may_begin_anew(&self) -> bool {
        let held = |guest: &GuestState| matches!(guest.phase, GuestPhase::Held { .. });
        matches!(self.phase, HostPhase::Done(_)) || (self.is_behind_its_gate() && !self.guests.values().any(held))
    }

    /// Tells whether it went wrong at a guest and stands behind its gate: it does not go on in this session.
    pub fn went_wrong_behind_its_gate(&self) -> bool {
        self.is_behind_its_gate() && self.may_begin_anew() && self.guests.values().any(GuestState::came_out_badly)
    }

    /// Tells whether it stands behind its gate with a guest that a later session tries again: it went wrong, or was brought back and
    /// may be upgraded once more.
    pub fn is_to_be_tried_again_behind_its_gate(&self) -> bool {
        let again = |guest: &GuestState| {
            matches!(
                guest.phase,
                GuestPhase::Settled(
                    GuestVerdict::Failed { held: false, .. }
                        | GuestVerdict::Blocked(_)
                        | GuestVerdict::RolledBack { retry: true, .. }
                )
            )
        };
        self.is_behind_its_gate() && self.may_begin_anew() && self.guests.values().any(again)
    }

    /// Takes another gate. Where only canaries might begin so far, time has passed since the host was planned, and what is left is
    /// planned anew, unless something of it is held or was protected already.
    pub(super) fn gated(&mut self, gate: &Gate) {
        let fresh = |guest: &GuestState| matches!(guest.phase, GuestPhase::Waiting | GuestPhase::Settled(_));
        let waited = matches!(self.gate, Gate::Canaries { .. }) && gate.is_open() && self.is_behind_its_gate();
        if waited && self.guests.values().all(fresh) {
            self.phase = HostPhase::Pending;
        }
        self.gate = gate.clone();
    }

    /// Stops the guests again that were started and that the gate keeps from going on.
    pub(super) fn stop_behind_gate(&mut self, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        let idle = |guest: &GuestState| matches!(guest.phase, GuestPhase::Waiting | GuestPhase::Protected { .. });
        let kept = |guest: &GuestState| guest.borrowed.is_some() && idle(guest) && !self.gate.lets(guest);
        let kept: Vec<GuestId> = self.guests.iter().filter(|(_, guest)| kept(guest)).map(|(id, _)| *id).collect();
        for guest in kept {
            self.guest_input(guest, GuestInput::GiveBack, effects)?;
        }
        Ok(())
    }

    /// Begins to look once more at the canaries that were upgraded.
    pub(super) fn recheck(&mut self) -> Result<(), Illegal> {
        let settled = matches!(
            self.phase,
            HostPhase::Done(_) | HostPhase::AwaitingTurn { .. } | HostPhase::AwaitingReboot { .. }
        ) || self.is_behind_its_gate();
        if !settled {
            return Err(Illegal::new("host", self.phase.name(), "recheck"));
        }
        // One that was stopped again after its upgrade can't be looked into any more.
        let there = |guest: &GuestState| {
            matches!(guest.phase, GuestPhase::Settled(GuestVerdict::Upgraded { .. })) && guest.can_be_checked()
        };
        let meant = |guest: &GuestState| !matches!(self.gate, Gate::Canaries { .. }) || self.gate.lets(guest);
        let left: BTreeSet<GuestId> =
            self.guests.iter().filter(|(_, guest)| there(guest) && meant(guest)).map(|(id, _)| *id).collect();
        let then = Box::new(std::mem::replace(&mut self.phase, HostPhase::Pending));
        self.phase = HostPhase::Rechecking { left, then };
        Ok(())
    }

    /// Looks at the next canaries while places are free, and stands where it stood when all were looked at.
    pub(super) fn advance_rechecking(&mut self, at: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        while self.free_places() > 0
            && let HostPhase::Rechecking { left, .. } = &mut self.phase
            && let Some(guest) = left.pop_first()
        {
            self.guest_input(guest, GuestInput::Recheck, effects)?;
        }
        if self.guests.values().any(|guest| guest.phase.attempt().is_some()) {
            return Ok(());
        }
        if let HostPhase::Rechecking { then, .. } = std::mem::replace(&mut self.phase, HostPhase::Pending) {
            self.phase = *then;
        }
        self.advance(at, effects)
    }
}
