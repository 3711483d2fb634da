//! The table of the node's own steps.

use super::{AfterReturn, Debt, HostPhase, HostState, HostVerdict, RebootCase, StepRecord, StepState};
use crate::choices::HostReboot;
use crate::ids::{BootId, GuestId, Step};
use crate::inventory::PackageManager;
use crate::machine::Illegal;
use crate::machine::effect::{Action, Effect, Mode};
use crate::machine::guest::Attempt;
use crate::machine::outcome::{Detail, Fault, Outcome, Probed, RebootFacts, RunningGuest, VerifyReport};
use crate::plan::HostPlan;

impl HostState {
    /// Takes the end of a step of the node's own.
    pub(super) fn own_ended(
        &mut self,
        outcome: &Outcome,
        event: &'static str,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Illegal> {
        use HostPhase as Ph;
        let phase = std::mem::replace(&mut self.phase, Ph::Pending);
        self.phase = match (phase, outcome) {
            (Ph::Discovering { .. }, Outcome::Failed(f) | Outcome::Refused(f) | Outcome::Unknown(f)) => {
                Ph::Done(HostVerdict::Failed(f.clone()))
            }
            (Ph::Pruning { plan, nth, attempt }, Outcome::Unknown(_)) if attempt.mode == Mode::Act => {
                Ph::Pruning { plan, nth, attempt: attempt.in_mode(Mode::Probe) }
            }
            // One that could not be removed is left: a later run finds it still there. Nothing else depends on it.
            (Ph::Pruning { plan, nth, .. }, Outcome::Done(Detail::Pruned) | Outcome::AlreadyDone(Detail::Pruned))
            | (Ph::Pruning { plan, nth, .. }, Outcome::Refused(_) | Outcome::Failed(_) | Outcome::Unknown(_)) => {
                self.prune(plan, nth + 1)
            }
            (
                Ph::UpgradingHost { plan, .. },
                Outcome::Done(Detail::Upgraded) | Outcome::AlreadyDone(Detail::Upgraded),
            ) => self.verifying(plan, None),
            (Ph::UpgradingHost { .. }, Outcome::Failed(f)) => Ph::Done(HostVerdict::Failed(f.clone())),
            (Ph::UpgradingHost { .. }, Outcome::Refused(f)) => Ph::Done(HostVerdict::Blocked(f.what.clone())),
            (Ph::Verifying { plan, rebooted, .. }, Outcome::Done(Detail::Verified(report))) => {
                self.verified(*plan, rebooted.is_some(), report)
            }
            (Ph::Verifying { .. }, Outcome::Failed(f) | Outcome::Refused(f) | Outcome::Unknown(f)) => {
                Ph::Done(HostVerdict::Failed(f.clone()))
            }
            (Ph::PreparingReboot { case, .. }, Outcome::Done(Detail::RebootReady(ready))) => {
                self.ready_to_reboot(case, ready)
            }
            (Ph::PreparingReboot { case, .. }, Outcome::Refused(f) | Outcome::Failed(f) | Outcome::Unknown(f)) => {
                Ph::Done(HostVerdict::NotRebooted { report: case.report, why: f.what.clone() })
            }
            (
                Ph::StoppingGuests { case, .. },
                Outcome::Done(Detail::GuestsStopped) | Outcome::AlreadyDone(Detail::GuestsStopped),
            ) if !self.gate.is_open() => {
                // The reboot itself has not begun: what was shut down for it runs again.
                let node = case.plan.node.clone();
                self.starting_guests(node, AfterReturn::Stand(Box::new(Ph::AwaitingReboot { case })))
            }
            (
                Ph::StoppingGuests { case, ready, .. },
                Outcome::Done(Detail::GuestsStopped) | Outcome::AlreadyDone(Detail::GuestsStopped),
            ) => Ph::Rebooting { case, ready, attempt: self.rounds.first(Step::RebootHost) },
            (
                Ph::Rebooting { case, ready, .. },
                Outcome::Done(Detail::Rebooted(_)) | Outcome::AlreadyDone(Detail::Rebooted(_)),
            ) => {
                let node = case.plan.node.clone();
                self.starting_guests(node, AfterReturn::Verify { plan: Box::new(case.plan), ready })
            }
            (Ph::SettingNoout { case, ready, .. }, Outcome::Done(Detail::NooutSet)) => {
                self.make_way(case, ready, Way::Maintenance)
            }
            // Somebody else set it meanwhile: it is not ours to clear.
            (Ph::SettingNoout { case, ready, .. }, Outcome::AlreadyDone(Detail::NooutSet)) => {
                self.give_up(Debt::Noout);
                self.make_way(case, ready, Way::Maintenance)
            }
            (Ph::Evacuating { case, ready, attempt, .. }, Outcome::Done(Detail::Emptied))
                if attempt.step == Step::EnterMaintenance =>
            {
                self.make_way(case, ready, Way::Move(0))
            }
            (Ph::Evacuating { case, ready, attempt, .. }, Outcome::AlreadyDone(Detail::Emptied))
                if attempt.step == Step::EnterMaintenance =>
            {
                self.not_in_maintenance();
                self.make_way(case, ready, Way::Move(0))
            }
            (
                Ph::Evacuating { case, ready, nth, attempt },
                Outcome::Done(Detail::Moved) | Outcome::AlreadyDone(Detail::Moved),
            ) if attempt.step == Step::MoveGuest => self.make_way(case, ready, Way::Move(nth + 1)),
            // Refused is not begun: nothing was borrowed. What was begun and failed is looked after like the rest.
            (phase @ (Ph::SettingNoout { .. } | Ph::Evacuating { .. }), Outcome::Refused(f) | Outcome::Failed(f)) => {
                if matches!(outcome, Outcome::Refused(_)) {
                    self.not_borrowed(&phase);
                }
                let (Ph::SettingNoout { case, .. } | Ph::Evacuating { case, .. }) = phase else { return Ok(()) };
                self.returning(AfterReturn::Hold { case, fault: f.clone() }, effects)?
            }
            (Ph::Returning { debt, then, failed, .. }, Outcome::Done(detail) | Outcome::AlreadyDone(detail))
                if is_given_back(debt, detail) =>
            {
                self.give_up(debt);
                self.next_debt(Some(debt), then, failed, effects)?
            }
            (Ph::Returning { debt, then, failed, .. }, Outcome::Refused(f) | Outcome::Failed(f)) => {
                self.next_debt(Some(debt), then, Some(with(failed, f)), effects)?
            }
            // What a look could not tell is not held: its next try looks first as well, and the rest is not to wait for it.
            (Ph::Returning { debt, then, failed, attempt, .. }, Outcome::Unknown(f)) if attempt.mode != Mode::Act => {
                self.next_debt(Some(debt), then, Some(with(failed, f)), effects)?
            }
            // No reboot, then: what was shut down runs again, and the operator looks.
            (
                Ph::StoppingGuests { case, .. } | Ph::Rebooting { case, .. },
                Outcome::Refused(f) | Outcome::Failed(f),
            ) => {
                let node = case.plan.node.clone();
                self.starting_guests(node, AfterReturn::Hold { case, fault: f.clone() })
            }
            (
                Ph::StartingGuests { then, .. },
                Outcome::Done(Detail::GuestsStarted) | Outcome::AlreadyDone(Detail::GuestsStarted),
            ) => {
                self.shut.clear();
                self.next_debt(None, then, None, effects)?
            }
            (Ph::StartingGuests { then, .. }, Outcome::Refused(f) | Outcome::Failed(f)) => {
                self.next_debt(None, then, Some(f.clone()), effects)?
            }
            (
                phase @ (Ph::UpgradingHost { .. }
                | Ph::SettingNoout { .. }
                | Ph::Evacuating { .. }
                | Ph::Returning { .. }
                | Ph::StoppingGuests { .. }
                | Ph::Rebooting { .. }
                | Ph::StartingGuests { .. }),
                Outcome::Unknown(f),
            ) => in_doubt(phase, f),
            (phase, _) => {
                let illegal = Illegal::new("host", phase.name(), event);
                self.phase = phase;
                return Err(illegal);
            }
        };
        self.emit_own(effects);
        Ok(())
    }

    /// Takes what a look at a step of the node's own found.
    pub(super) fn own_probed(&mut self, found: &Probed, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        use HostPhase as Ph;
        if !self.phase.attempt().is_some_and(|attempt| attempt.mode == Mode::Probe) {
            return Err(Illegal::new("host", "not in doubt", "probed"));
        }
        if let Probed::Ended(outcome) = found {
            return self.own_ended(outcome, "probed", effects);
        }
        let phase = std::mem::replace(&mut self.phase, Ph::Pending);
        self.phase = match (phase, found) {
            (Ph::Pruning { plan, nth, .. }, Probed::Unclear(_)) => self.prune(plan, nth + 1),
            (Ph::Returning { debt, then, failed, .. }, Probed::Unclear(fault)) => {
                self.next_debt(Some(debt), then, Some(with(failed, fault)), effects)?
            }
            (phase, Probed::Unclear(fault)) => Ph::Held { at: Box::new(phase), fault: fault.clone() },
            (phase, Probed::Running) => in_mode(phase, |attempt| attempt.in_mode(Mode::Attach)),
            (phase, Probed::NotDone) => in_mode(phase, Attempt::next_round),
            (phase, Probed::Ended(_)) => phase,
        };
        self.emit_own(effects);
        Ok(())
    }

    /// Goes on with the node's own step after an interruption.
    pub(super) fn resume_own(&mut self, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        use HostPhase as Ph;
        let phase = std::mem::replace(&mut self.phase, Ph::Pending);
        self.phase = match phase {
            Ph::Held { at, .. } => in_mode(*at, |attempt| attempt.in_mode(Mode::Probe)),
            // Time has passed: whether it may be rebooted, and what runs there, is looked at anew.
            Ph::StoppingGuests { case, attempt, .. } if !self.was_intended(None, attempt) => {
                self.rounds.take_back(attempt);
                self.shut.clear();
                match self.owes_for_reboot() {
                    // Others were moved away already: they wait elsewhere until these are off.
                    true => self.returning(AfterReturn::Stand(Box::new(Ph::AwaitingReboot { case })), effects)?,
                    false => Ph::AwaitingReboot { case },
                }
            }
            Ph::SettingNoout { case, attempt, .. } | Ph::Evacuating { case, attempt, .. }
                if !self.was_intended(None, attempt) && !self.owes_for_reboot() =>
            {
                self.rounds.take_back(attempt);
                Ph::AwaitingReboot { case }
            }
            phase => self.after_interruption(phase),
        };
        self.emit_own(effects);
        Ok(())
    }

    /// Returns how a phase goes on after an interruption.
    pub(super) fn after_interruption(&self, phase: HostPhase) -> HostPhase {
        in_mode(phase, |attempt| attempt.resumed(self.was_intended(None, attempt)))
    }

    /// Goes on behind a step of the node's own that the operator says was done.
    pub(super) fn own_declared_done(&mut self, at: HostPhase, effects: &mut Vec<Effect>) -> Result<(), Illegal> {
        let detail = match &at {
            HostPhase::UpgradingHost { .. } => Detail::Upgraded,
            HostPhase::StoppingGuests { .. } => Detail::GuestsStopped,
            // By this run: it is owed.
            HostPhase::SettingNoout { .. }
            | HostPhase::Evacuating { attempt: Attempt { step: Step::EnterMaintenance, .. }, .. } => {
                let detail = match &at {
                    HostPhase::SettingNoout { .. } => Detail::NooutSet,
                    _ => Detail::Emptied,
                };
                self.phase = at;
                return self.own_ended(&Outcome::Done(detail), "resolved", effects);
            }
            HostPhase::Evacuating { .. } => Detail::Moved,
            HostPhase::Rebooting { .. } => Detail::Rebooted(BootId::new("unknown")),
            HostPhase::StartingGuests { .. } => Detail::GuestsStarted,
            HostPhase::AwaitingReboot { case } => {
                self.phase = HostPhase::Done(HostVerdict::Verified(case.report.clone()));
                return Ok(());
            }
            other => return Err(Illegal::new("host", other.name(), "resolved")),
        };
        self.phase = at;
        self.own_ended(&Outcome::AlreadyDone(detail), "resolved", effects)
    }

    /// Goes on to the `nth` of what earlier runs left, or to the guests where there is nothing left.
    pub(super) fn prune(&self, plan: Box<HostPlan>, nth: usize) -> HostPhase {
        let step = match nth {
            nth if nth < plan.prune.len() => Step::PruneSnapshot,
            nth if nth < plan.prune.len() + plan.prune_backups.len() => Step::PruneBackup,
            _ => return HostPhase::Snapshotting { plan },
        };
        // A later run finds it still there.
        if self.gate.is_shut() {
            return HostPhase::Snapshotting { plan };
        }
        HostPhase::Pruning { plan, nth, attempt: self.rounds.first(step) }
    }

    pub(super) fn after_guests(&self, plan: Box<HostPlan>) -> HostPhase {
        let left_out = plan.upgrade.left_out.is_some();
        if plan.upgrade.manager.is_some() && !plan.upgrade.pending.is_empty() && !left_out {
            return HostPhase::UpgradingHost { plan, attempt: self.rounds.first(Step::UpgradeHost) };
        }
        let is_housekeeping = |step| matches!(step, Step::Discover | Step::PruneSnapshot | Step::PruneBackup);
        let idle = self.steps.iter().all(|record| is_housekeeping(record.step));
        if idle && !self.reboot_is_due(&plan, plan.upgrade.reboot_wanted.as_deref()) {
            return HostPhase::Done(HostVerdict::NothingToDo { reboot_wanted: plan.upgrade.reboot_wanted });
        }
        self.verifying(plan, None)
    }

    /// Ends a host that was verified, or goes on to its reboot, which is done once.
    fn verified(&self, plan: HostPlan, rebooted: bool, report: &VerifyReport) -> HostPhase {
        let report = report.clone();
        if rebooted || !self.reboot_is_due(&plan, report.reboot_wanted.as_deref()) {
            return HostPhase::Done(HostVerdict::Verified(report));
        }
        match plan.own {
            Some(own) => HostPhase::Done(HostVerdict::NotRebooted { report, why: own.to_string() }),
            None => HostPhase::AwaitingReboot { case: Box::new(RebootCase { plan, report }) },
        }
    }

    fn reboot_is_due(&self, plan: &HostPlan, wanted: Option<&str>) -> bool {
        match plan.upgrade.reboot {
            HostReboot::Never => false,
            HostReboot::IfNeeded => wanted.is_some(),
            // Once a run: what failed after the reboot is no reason for another one.
            HostReboot::Always => {
                let done = |record: &StepRecord| record.step == Step::RebootHost && record.state == StepState::Done;
                wanted.is_some() || !self.steps.iter().any(done)
            }
        }
    }

    fn verifying(&self, plan: Box<HostPlan>, rebooted: Option<Box<RebootFacts>>) -> HostPhase {
        HostPhase::Verifying { plan, rebooted, attempt: self.rounds.first(Step::Verify) }
    }

    /// Begins to make way for the reboot.
    fn ready_to_reboot(&mut self, case: Box<RebootCase>, ready: &RebootFacts) -> HostPhase {
        if !self.gate.is_open() {
            return HostPhase::AwaitingReboot { case };
        }
        let mut ready = ready.clone();
        // One that was started to be upgraded is to be off in the end: it is shut down, and not carried around.
        ready.moves.retain(|planned| !self.is_borrowed(planned.id));
        self.make_way(case, Box::new(ready), Way::Noout)
    }

    fn is_borrowed(&self, id: GuestId) -> bool {
        self.guests.get(&id).is_some_and(|guest| guest.borrowed.is_some())
    }

    /// Goes on with what comes next before a reboot: Ceph is told, so that it does not begin to heal what only is away; HA empties
    /// the node, which takes no guest in any more then; the other guests are moved; what still runs is shut down.
    fn make_way(&mut self, case: Box<RebootCase>, ready: Box<RebootFacts>, from: Way) -> HostPhase {
        match from {
            Way::Noout if ready.noout => {
                HostPhase::SettingNoout { case, ready, attempt: self.rounds.first(Step::SetNoout) }
            }
            Way::Noout | Way::Maintenance if ready.maintenance => {
                HostPhase::Evacuating { case, ready, nth: 0, attempt: self.rounds.first(Step::EnterMaintenance) }
            }
            Way::Noout | Way::Maintenance => self.move_or_stop(case, ready, 0),
            Way::Move(nth) => self.move_or_stop(case, ready, nth),
        }
    }

    fn move_or_stop(&mut self, case: Box<RebootCase>, ready: Box<RebootFacts>, nth: usize) -> HostPhase {
        if nth < ready.own_moves().count() {
            return HostPhase::Evacuating { case, ready, nth, attempt: self.rounds.first(Step::MoveGuest) };
        }
        // From here on it is a debt that they run again.
        let stays = |guest: &&RunningGuest| !guest.ha && !ready.moves_away(guest.id);
        self.shut = ready.running.iter().filter(stays).filter(|guest| !self.is_borrowed(guest.id)).cloned().collect();
        match ready.running.iter().any(|guest| stays(&guest)) {
            true => HostPhase::StoppingGuests { case, ready, attempt: self.rounds.first(Step::StopGuests) },
            false => HostPhase::Rebooting { case, ready, attempt: self.rounds.first(Step::RebootHost) },
        }
    }

    /// Takes back what the refused step of a phase would have borrowed.
    fn not_borrowed(&mut self, phase: &HostPhase) {
        match phase {
            HostPhase::SettingNoout { .. } => self.give_up(Debt::Noout),
            HostPhase::Evacuating { attempt: Attempt { step: Step::EnterMaintenance, .. }, .. } => {
                self.not_in_maintenance();
            }
            HostPhase::Evacuating { ready, nth, .. } => {
                if let Some(planned) = ready.own_moves().nth(*nth) {
                    self.give_up(Debt::Guest(planned.id));
                }
            }
            _ => {}
        }
    }

    pub(super) fn after_return(&mut self, then: AfterReturn, effects: &mut Vec<Effect>) -> Result<HostPhase, Illegal> {
        Ok(match then {
            AfterReturn::Verify { plan, ready } => self.verifying(plan, Some(ready)),
            AfterReturn::Hold { case, fault } => {
                HostPhase::Held { at: Box::new(HostPhase::AwaitingReboot { case }), fault }
            }
            AfterReturn::Stand(phase) => {
                let phase = self.after_interruption(*phase);
                self.give_guests_back(Box::new(phase), effects)?
            }
            AfterReturn::Discover => {
                let discovering = HostPhase::Discovering { attempt: self.rounds.first(Step::Discover) };
                self.give_guests_back(Box::new(discovering), effects)?
            }
        })
    }

    /// Asks for what the phase is about.
    pub(super) fn emit_own(&mut self, effects: &mut Vec<Effect>) {
        let action = match &self.phase {
            HostPhase::Discovering { .. } => Action::Discover { policy: self.policy.clone() },
            HostPhase::Pruning { plan, nth, .. } => match (plan.prune.get(*nth), nth.checked_sub(plan.prune.len())) {
                (Some(old), _) => Action::PruneSnapshot { old: old.clone() },
                (None, Some(nth)) => match plan.prune_backups.get(nth) {
                    Some(old) => Action::PruneBackup { old: old.clone() },
                    None => return,
                },
                (None, None) => return,
            },
            HostPhase::UpgradingHost { plan, .. } => match plan.upgrade.manager {
                Some(manager) => Action::UpgradeHost { manager },
                None => return,
            },
            HostPhase::Verifying { plan, rebooted, .. } => Action::Verify {
                node: plan.node.clone(),
                baseline: plan.baseline.clone(),
                pending: match plan.upgrade.left_out {
                    None => plan.upgrade.pending.clone(),
                    Some(_) => Vec::new(),
                },
                rebooted: rebooted.as_deref().cloned(),
            },
            HostPhase::PreparingReboot { case, .. } => Action::PrepareReboot {
                node: case.plan.node.clone(),
                manager: case.plan.upgrade.manager.unwrap_or(PackageManager::Apt),
                evacuate: self.policy.evacuates(),
            },
            HostPhase::SettingNoout { case, .. } => Action::SetNoout { node: case.plan.node.clone() },
            HostPhase::Evacuating { case, ready, attempt: Attempt { step: Step::EnterMaintenance, .. }, .. } => {
                let guests = ready.by_ha().map(|planned| planned.id).collect();
                Action::EnterMaintenance { node: case.plan.node.clone(), guests }
            }
            HostPhase::Evacuating { ready, nth, .. } => match ready.own_moves().nth(*nth) {
                Some(planned) => Action::MoveGuest { planned: planned.clone() },
                None => return,
            },
            HostPhase::Returning { node, debt, .. } => match debt {
                Debt::Maintenance => Action::LeaveMaintenance { node: node.clone() },
                Debt::Noout => Action::ClearNoout { node: node.clone() },
                Debt::Guest(id) => match self.moved.iter().find(|moved| moved.id == *id) {
                    Some(moved) => Action::ReturnGuest { moved: moved.clone() },
                    None => return,
                },
            },
            HostPhase::StoppingGuests { case, ready, .. } => {
                Action::StopGuests { node: case.plan.node.clone(), ready: (**ready).clone() }
            }
            HostPhase::Rebooting { case, ready, .. } => {
                Action::RebootHost { node: case.plan.node.clone(), ready: (**ready).clone() }
            }
            HostPhase::StartingGuests { node, guests, then, .. } => {
                Action::StartGuests { node: node.clone(), guests: guests.clone(), booted: may_have_booted(then) }
            }
            _ => return,
        };
        if let Some(attempt) = self.phase.attempt() {
            self.rounds.note(attempt);
            self.emit(None, attempt, action, effects);
        }
    }
}

/// What comes next before a reboot.
#[derive(Debug, Clone, Copy)]
enum Way {
    Noout,
    Maintenance,
    /// The move of that number, or what follows the last one.
    Move(usize),
}

/// Tells whether a detail is that of a debt's own step.
fn is_given_back(debt: Debt, detail: &Detail) -> bool {
    matches!(
        (debt, detail),
        (Debt::Maintenance, Detail::MaintenanceLeft)
            | (Debt::Guest(_), Detail::Returned { .. })
            | (Debt::Noout, Detail::NooutCleared)
    )
}

/// Adds a fault to what could not be given back before.
fn with(before: Option<Fault>, fault: &Fault) -> Fault {
    match before {
        Some(before) => Fault { what: format!("{}; {}", before.what, fault.what), ..before },
        None => fault.clone(),
    }
}

/// Tells whether the node may have been rebooted before its guests are started: it starts some of them by itself then.
fn may_have_booted(then: &AfterReturn) -> bool {
    match then {
        AfterReturn::Hold { .. } => false,
        AfterReturn::Stand(phase) => match &**phase {
            HostPhase::Held { at, .. } => !matches!(**at, HostPhase::AwaitingReboot { .. }),
            phase => !matches!(phase, HostPhase::AwaitingReboot { .. }),
        },
        AfterReturn::Verify { .. } | AfterReturn::Discover => true,
    }
}

fn in_mode(phase: HostPhase, change: impl Fn(Attempt) -> Attempt) -> HostPhase {
    match phase.attempt() {
        Some(attempt) => phase.with_attempt(change(attempt)),
        None => phase,
    }
}

/// Goes from "not known how it ended" to a look; what was unknown after attaching is held, since looking said "at work".
fn in_doubt(phase: HostPhase, fault: &Fault) -> HostPhase {
    match phase.attempt().map(|attempt| attempt.mode) {
        Some(Mode::Act) => in_mode(phase, |attempt| attempt.in_mode(Mode::Probe)),
        Some(Mode::Attach | Mode::Probe) | None => HostPhase::Held { at: Box::new(phase), fault: fault.clone() },
    }
}
