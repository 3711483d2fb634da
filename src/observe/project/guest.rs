//! The projection of a guest: where it stands, how it came out and why, and what was made for it that is still there.

use super::{Projection, Why, why_of};
use crate::ids::{GuestId, Step, StepKey, Target};
use crate::machine::guest::{AfterStop, GuestPhase, GuestState, GuestVerdict, Undo};
use crate::machine::host::StepState;
use crate::machine::outcome::{Fault, Protection, Remarks};
use crate::observe::view::{Detail, GuestStanding, GuestView, Kept, KeptKind};
use crate::plan::{Decision, ProtectBy};

/// Returns where a guest stands.
pub fn guest_standing(phase: &GuestPhase) -> GuestStanding {
    match phase {
        GuestPhase::Waiting => GuestStanding::Waiting,
        GuestPhase::Starting { .. } => GuestStanding::Starting,
        GuestPhase::Looking { .. } => GuestStanding::Looking,
        GuestPhase::Rebooting { .. } => GuestStanding::Rebooting,
        GuestPhase::RollingBack { .. } => GuestStanding::RollingBack,
        GuestPhase::Reviving { .. } => GuestStanding::Reviving,
        GuestPhase::Rechecking { .. } => GuestStanding::Rechecking,
        GuestPhase::Stopping { .. } => GuestStanding::Stopping,
        GuestPhase::Protecting { .. } => GuestStanding::Protecting,
        GuestPhase::Protected { .. } => GuestStanding::Protected,
        GuestPhase::Measuring { .. } => GuestStanding::Measuring,
        GuestPhase::Upgrading { .. } => GuestStanding::Upgrading,
        GuestPhase::Checking { .. } => GuestStanding::Checking,
        GuestPhase::Held { .. } => GuestStanding::Held,
        GuestPhase::Settled(GuestVerdict::Upgraded { .. }) => GuestStanding::Upgraded,
        GuestPhase::Settled(GuestVerdict::Skipped(_)) => GuestStanding::Skipped,
        GuestPhase::Settled(GuestVerdict::Blocked(_)) => GuestStanding::Blocked,
        GuestPhase::Settled(GuestVerdict::Failed { .. }) => GuestStanding::Failed,
        GuestPhase::Settled(GuestVerdict::RolledBack { .. }) => GuestStanding::RolledBack,
    }
}

/// Says why a guest was rolled back, and what is not as it was before all the same.
pub(in crate::observe) fn rolled_back_why(undo: &Undo, unwell: Option<&Fault>) -> Why {
    let (why, hint) = match (&undo.before, undo.by_operator) {
        (GuestVerdict::Failed { fault, .. }, false) => (fault.what.clone(), fault.hint.clone()),
        _ => ("as the operator asked".to_owned(), None),
    };
    match unwell {
        Some(fault) => (Some(format!("{}; {why}", fault.what)), fault.hint.clone().or(hint)),
        None => (Some(why), hint),
    }
}

impl Projection<'_> {
    pub(super) fn guest(&self, id: GuestId, guest: &GuestState) -> GuestView {
        let attempt = guest.phase.attempt();
        let in_doubt = attempt.is_some_and(|attempt| self.doubtful(Some(id), attempt));
        let none = Remarks::default();
        let (changes, reboot_wanted, rebooted, remarks) = match upgraded(&guest.phase) {
            Some(GuestVerdict::Upgraded { changes, reboot_wanted, rebooted, remarks, .. }) => {
                (changes.as_slice(), reboot_wanted.clone(), *rebooted, remarks)
            }
            _ => (&[][..], None, matches!(guest.phase, GuestPhase::Checking { rebooted: true, .. }), &none),
        };
        let (reason, hint) = match &guest.phase {
            GuestPhase::Settled(GuestVerdict::Skipped(reason)) => (Some(reason.to_string()), None),
            GuestPhase::Settled(GuestVerdict::Blocked(reason)) => (Some(reason.clone()), None),
            GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell, .. }) => {
                rolled_back_why(undo, unwell.as_ref())
            }
            GuestPhase::Settled(GuestVerdict::Failed { fault, .. }) | GuestPhase::Held { fault, .. } => why_of(fault),
            _ => match guest.not_rebooted() {
                Some(why) => (Some(format!("not rebooted, though it should have been: {why}")), None),
                None => (attempt.filter(|_| in_doubt).map(|attempt| self.doubt(Some(id), attempt)), None),
            },
        };
        let records = || self.state.steps.iter().filter(|record| record.guest == Some(id));
        let began = records().find_map(|record| record.began);
        let last = records().filter_map(|record| record.ended).max();
        let settled = matches!(guest.phase, GuestPhase::Settled(_));
        let ended = if settled { last } else { None };
        let well = matches!(
            guest.phase,
            GuestPhase::Settled(GuestVerdict::Upgraded { .. } | GuestVerdict::Skipped(_) | GuestVerdict::Blocked(_))
        );
        let held = match &guest.phase {
            GuestPhase::Held { at, .. } => at.attempt(),
            _ => None,
        };
        GuestView {
            id,
            kind: guest.plan.guest.kind,
            name: guest.plan.name.clone(),
            state: guest_standing(&guest.phase),
            in_doubt,
            held: matches!(
                guest.phase,
                GuestPhase::Held { .. } | GuestPhase::Settled(GuestVerdict::Failed { held: true, .. })
            ),
            reason,
            hint,
            began,
            ended,
            duration_ms: self.span(began, ended, last, attempt.is_some()),
            pending: match &guest.plan.decision {
                Decision::Upgrade(upgrade) => upgrade.pending.len(),
                Decision::Skip(_) | Decision::Block(_) | Decision::Start(_) => 0,
            },
            changed: changes.len(),
            packages: if self.detail == Detail::Full { changes.to_vec() } else { Vec::new() },
            reboot_wanted,
            rebooted,
            unprotected: match protection(&guest.phase) {
                Some(now) => *now == Protection::Waived,
                None => matches!(&guest.plan.decision, Decision::Upgrade(upgrade)
                    if upgrade.protection == [ProtectBy::Waived] && !guest.phase.is_over()),
            },
            own: guest.plan.own,
            remarks: remarks.into(),
            kept: self.kept(id, guest),
            steps: if self.brief_enough(well) { Vec::new() } else { self.steps(Some(id), held) },
        }
    }

    /// Lists what was made for a guest and is still there: a step's key names what the step made.
    fn kept(&self, id: GuestId, guest: &GuestState) -> Vec<Kept> {
        let now = protection(&guest.phase);
        let mut kept: Vec<Kept> = Vec::new();
        for record in self.state.steps.iter().filter(|r| r.guest == Some(id) && r.state == StepState::Done) {
            let key = StepKey {
                run: self.state.run.clone(),
                target: Target::Guest(self.state.host().clone(), id),
                step: record.step,
                round: record.round,
            };
            let (kind, name) = match record.step {
                Step::Snapshot => (KeptKind::Snapshot, key.snapshot_name().to_string()),
                Step::Backup => (KeptKind::Backup, format!("the archive with the note \"{}\"", key.backup_note())),
                _ => continue,
            };
            kept.push(Kept { kind, name, at: record.ended });
        }
        let Some(now) = now else { return kept };
        let (kind, name) = match now {
            Protection::Snapshot { name, .. } => (KeptKind::Snapshot, name.to_string()),
            Protection::Backup { volid, .. } => (KeptKind::Backup, volid.clone()),
            Protection::Waived => return kept,
        };
        match kept.iter_mut().rev().find(|kept| kept.kind == kind) {
            Some(same) => (same.name, same.at) = (name, now.at()),
            None => kept.push(Kept { kind, name, at: now.at() }),
        }
        kept
    }
}

/// Returns how a guest came out that is over, or is only being stopped again.
fn upgraded(phase: &GuestPhase) -> Option<&GuestVerdict> {
    match phase {
        GuestPhase::Settled(verdict) => Some(verdict),
        GuestPhase::Stopping { then, .. } => match &**then {
            AfterStop::Settle(verdict) => Some(verdict),
            AfterStop::Wait => None,
        },
        _ => None,
    }
}

fn protection(phase: &GuestPhase) -> Option<&Protection> {
    match phase {
        GuestPhase::Protected { protection }
        | GuestPhase::Measuring { protection, .. }
        | GuestPhase::Upgrading { protection, .. }
        | GuestPhase::Checking { protection, .. }
        | GuestPhase::Rebooting { protection, .. }
        | GuestPhase::Settled(GuestVerdict::Upgraded { protection, .. } | GuestVerdict::Failed { protection, .. }) => {
            Some(protection)
        }
        GuestPhase::RollingBack { undo, .. }
        | GuestPhase::Reviving { undo, .. }
        | GuestPhase::Rechecking { undo, .. } => undone(undo),
        GuestPhase::Settled(GuestVerdict::RolledBack { undo, .. }) => undone(undo),
        GuestPhase::Held { at, .. } => protection(at),
        GuestPhase::Stopping { then, .. } => match &**then {
            AfterStop::Settle(GuestVerdict::Upgraded { protection, .. } | GuestVerdict::Failed { protection, .. }) => {
                Some(protection)
            }
            AfterStop::Settle(_) | AfterStop::Wait => None,
        },
        GuestPhase::Waiting
        | GuestPhase::Starting { .. }
        | GuestPhase::Looking { .. }
        | GuestPhase::Protecting { .. }
        | GuestPhase::Settled(_) => None,
    }
}

/// Returns the protection of a guest whose upgrade was undone.
fn undone(undo: &Undo) -> Option<&Protection> {
    match &undo.before {
        GuestVerdict::Upgraded { protection, .. } | GuestVerdict::Failed { protection, .. } => Some(protection),
        GuestVerdict::RolledBack { undo, .. } => undone(undo),
        GuestVerdict::Skipped(_) | GuestVerdict::Blocked(_) => None,
    }
}

impl GuestView {
    /// Names the guest as people do: `CT 101 (web)`.
    pub fn label(&self) -> String {
        match self.name.as_str() {
            "" => format!("{} {}", self.kind, self.id),
            name => format!("{} {} ({name})", self.kind, self.id),
        }
    }
}
