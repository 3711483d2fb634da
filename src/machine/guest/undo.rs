//! The part of the guest's table that brings a guest back: rolled back to its snapshot, started again where it ran, checked.

use super::{GuestPhase, GuestState, GuestVerdict, Undo, in_doubt};
use crate::choices::ViaChoice;
use crate::ids::Step;
use crate::inventory::Via;
use crate::machine::effect::Action;
use crate::machine::outcome::{Detail, Fault, FaultClass, Outcome, Protection};
use crate::plan::{Decision, GuestAddr};

impl GuestState {
    /// Ends a guest whose upgrade was begun and went wrong: it is rolled back where that is wanted and can be, else it stays as
    /// it is, held for the operator.
    pub(super) fn went_wrong(&self, fault: Fault, protection: Protection) -> GuestPhase {
        if !self.upgrade().is_some_and(|upgrade| upgrade.rollback) {
            return self.finish(GuestVerdict::Failed { fault, protection, held: self.is_held_where_it_fails() });
        }
        let instead = match (&protection, fault.class) {
            _ if self.plan.own => "proxmaint runs in it",
            // What answered, or who may ask, is the trouble: the guest itself may be well.
            (_, FaultClass::Identity | FaultClass::Auth) => "it is not known that the guest is unwell",
            (Protection::Backup { .. }, _) => "its protection is a backup, which is never restored by itself",
            (Protection::Waived, _) => "it has no protection",
            (Protection::Snapshot { name, at }, _) => {
                let (snapshot, at) = (name.clone(), *at);
                let before = GuestVerdict::Failed { fault, protection, held: true };
                return self.rolling_back(Undo { before, snapshot, at, by_operator: false, runs: true });
            }
        };
        let fault = Fault { what: format!("{}; not rolled back: {instead}", fault.what), ..fault };
        self.finish(GuestVerdict::Failed { fault, protection, held: true })
    }

    /// Tells whether it is held where its upgrade goes wrong. A plan of a version that did not do that is followed as it was made: the
    /// next run tries it again.
    fn is_held_where_it_fails(&self) -> bool {
        self.upgrade().is_some_and(|upgrade| upgrade.checks.is_some())
    }

    /// Begins a rollback.
    pub(super) fn rolling_back(&self, undo: Undo) -> GuestPhase {
        GuestPhase::RollingBack { undo: Box::new(undo), attempt: self.rounds.first(Step::RollbackGuest) }
    }

    /// Takes the end of a step of a rollback.
    pub(super) fn undo_ended(&self, phase: GuestPhase, outcome: Outcome) -> Option<GuestPhase> {
        use GuestPhase as Ph;
        Some(match (phase, outcome) {
            (
                Ph::RollingBack { undo, .. },
                Outcome::Done(Detail::RolledBack) | Outcome::AlreadyDone(Detail::RolledBack),
            ) => match undo.runs {
                true => Ph::Reviving { undo, attempt: self.rounds.first(Step::ReviveGuest) },
                // It was off, and is off.
                false => self.rolled_back(undo, None),
            },
            (Ph::RollingBack { undo, .. }, Outcome::Refused(fault)) => self.not_rolled_back(*undo, &fault),
            // Whoever asked for it decides what comes now: it may be half done.
            (phase @ Ph::RollingBack { .. }, Outcome::Failed(fault)) if phase.undo()?.by_operator => {
                Ph::Held { at: Box::new(phase), fault }
            }
            (Ph::RollingBack { undo, .. }, Outcome::Failed(fault)) => self.rollback_failed(*undo, &fault),
            (Ph::Reviving { undo, .. }, Outcome::Done(Detail::Started) | Outcome::AlreadyDone(Detail::Started)) => {
                Ph::Rechecking { undo, attempt: self.rounds.first(Step::RecheckGuest) }
            }
            // That it is to run again is owed.
            (Ph::Reviving { undo, .. }, Outcome::Refused(fault) | Outcome::Failed(fault)) => {
                let what = format!("rolled back, but not started again: {}", fault.what);
                self.rolled_back(undo, Some(Fault { what, ..fault }))
            }
            (Ph::Rechecking { undo, .. }, Outcome::Done(Detail::Rechecked)) => self.rolled_back(undo, None),
            (
                Ph::Rechecking { undo, .. },
                Outcome::Failed(fault) | Outcome::Refused(fault) | Outcome::Unknown(fault),
            ) => {
                let what = format!("rolled back, but not as it was before: {}", fault.what);
                self.rolled_back(undo, Some(Fault { what, ..fault }))
            }
            (phase @ (Ph::RollingBack { .. } | Ph::Reviving { .. }), Outcome::Unknown(fault)) => {
                in_doubt(phase, fault)?
            }
            _ => return None,
        })
    }

    fn rolled_back(&self, undo: Box<Undo>, unwell: Option<Fault>) -> GuestPhase {
        self.finish(GuestVerdict::RolledBack { undo, unwell, retry: false })
    }

    /// Ends a rollback that was not begun: the guest is as it was, and came out as it had.
    pub(super) fn not_rolled_back(&self, undo: Undo, why: &Fault) -> GuestPhase {
        match undo.by_operator {
            true => self.finish(undo.before),
            false => self.rollback_failed(undo, why),
        }
    }

    fn rollback_failed(&self, undo: Undo, why: &Fault) -> GuestPhase {
        let protection = Protection::Snapshot { name: undo.snapshot, at: undo.at };
        let fault = match undo.before {
            GuestVerdict::Failed { fault, .. } => Fault {
                what: format!("{}; and not rolled back: {}", fault.what, why.what),
                hint: why.hint.clone().or(fault.hint),
                ..fault
            },
            _ => why.clone(),
        };
        self.finish(GuestVerdict::Failed { fault, protection, held: true })
    }

    /// Leaves a guest as it is whose rollback is held: the operator says so.
    pub(super) fn left_alone(&self, at: GuestPhase) -> Option<GuestPhase> {
        Some(match at {
            GuestPhase::RollingBack { undo, .. } => self.finish(undo.before),
            GuestPhase::Reviving { undo, .. } | GuestPhase::Rechecking { undo, .. } => self.rolled_back(undo, None),
            _ => return None,
        })
    }

    /// Says how a guest is checked after its rollback: by the way in that was chosen before, and not by the very address, which
    /// may be another one after a start.
    pub(super) fn recheck(&self, guest: GuestAddr, undo: &Undo) -> Action {
        let (via, planned) = match &self.plan.decision {
            Decision::Upgrade(upgrade) => (choice(&upgrade.via), upgrade.pending.as_slice()),
            Decision::Start(start) => (start.via, &[][..]),
            Decision::Skip(_) | Decision::Block(_) => (ViaChoice::Auto, &[][..]),
        };
        // What was changed is to be as it was; of an upgrade that failed, all that was planned may have been.
        let pending = match &undo.before {
            GuestVerdict::Upgraded { changes, .. } => changes.as_slice(),
            _ => planned,
        };
        let checks = match &self.plan.decision {
            Decision::Upgrade(upgrade) => upgrade.checks.clone(),
            Decision::Start(start) => start.checks.clone(),
            Decision::Skip(_) | Decision::Block(_) => None,
        };
        Action::RecheckGuest {
            guest,
            via,
            pending: pending.to_vec(),
            baseline: self.baseline.clone(),
            checks: checks.unwrap_or_default(),
        }
    }
}

fn choice(via: &Via) -> ViaChoice {
    match via {
        Via::Pct => ViaChoice::Pct,
        Via::Ssh { .. } => ViaChoice::Ssh,
        Via::Agent => ViaChoice::Agent,
    }
}
