//! The projection of a host: where it stands, why, and what it waits for.

use std::time::Duration;

use super::{Projection, Why, gate_view, owed_view, why_of};
use crate::choices::Scope;
use crate::ids::{HostId, NodeName};
use crate::machine::guest::Attempt;
use crate::machine::host::{Gate, HostPhase, HostResult, HostVerdict};
use crate::machine::outcome::VerifyReport;
use crate::observe::view::{
    Detail, GuestCounts, GuestStanding, GuestView, HostStanding, HostView, KeptKind, OwedView, RemarksView,
};
use crate::plan::OwnPlace;
use crate::plan::policy::PRUNE_ONLY;

/// Returns where a host stands.
pub fn host_standing(phase: &HostPhase) -> HostStanding {
    match phase {
        HostPhase::Pending => HostStanding::Pending,
        HostPhase::Discovering { .. } => HostStanding::Discovering,
        HostPhase::AwaitingTurn { .. } => HostStanding::AwaitingTurn,
        HostPhase::Pruning { .. } => HostStanding::Pruning,
        HostPhase::Snapshotting { .. } => HostStanding::Snapshotting,
        HostPhase::UpgradingGuests { .. } => HostStanding::UpgradingGuests,
        HostPhase::UpgradingHost { .. } => HostStanding::UpgradingHost,
        HostPhase::Verifying { .. } => HostStanding::Verifying,
        HostPhase::AwaitingReboot { .. } => HostStanding::AwaitingReboot,
        HostPhase::PreparingReboot { .. } => HostStanding::PreparingReboot,
        HostPhase::SettingNoout { .. } => HostStanding::SettingNoout,
        HostPhase::Evacuating { .. } => HostStanding::Evacuating,
        HostPhase::Returning { .. } => HostStanding::Returning,
        HostPhase::StoppingGuests { .. } => HostStanding::StoppingGuests,
        HostPhase::Rebooting { .. } => HostStanding::Rebooting,
        HostPhase::StartingGuests { .. } => HostStanding::StartingGuests,
        HostPhase::GivingBack { .. } => HostStanding::GivingBack,
        HostPhase::Rechecking { .. } => HostStanding::Rechecking,
        HostPhase::Held { .. } => HostStanding::Held,
        HostPhase::Done(_) => HostStanding::Done,
    }
}

impl Projection<'_> {
    pub(super) fn host(&self, waits_for: Option<HostId>) -> HostView {
        let state = self.state;
        let attempt = state.phase.attempt();
        let in_doubt = attempt.is_some_and(|attempt| self.doubtful(None, attempt));
        let guests: Vec<GuestView> = state.guests.iter().map(|(id, guest)| self.guest(*id, guest)).collect();
        let mut counts = GuestCounts::default();
        for guest in &guests {
            counts.add(guest.state);
        }
        let report = report(&state.phase);
        let changes = report.map_or(&[][..], |report| report.changes.as_slice());
        let owed: Vec<OwedView> = state.owed().iter().map(|owed| owed_view(state, owed)).collect();
        let over = matches!(state.phase, HostPhase::Done(_));
        let ended = if over { state.touched } else { None };
        let (reason, hint) = self.host_why(attempt.filter(|_| in_doubt), &guests, waits_for.as_ref());
        let reason = match (state.result(), reason) {
            // Nothing else is wrong, then.
            (HostResult::Failed, None) if !owed.is_empty() => {
                Some("something that was borrowed could not be given back".to_owned())
            }
            (_, reason) => reason,
        };
        let held = match &state.phase {
            HostPhase::Held { at, .. } => at.attempt(),
            _ => None,
        };
        HostView {
            host: state.host().clone(),
            node: self.node(),
            phase: host_standing(&state.phase),
            result: state.result(),
            gate: gate_view(&state.gate),
            in_doubt,
            reason,
            hint,
            waits_for,
            began: state.began,
            ended,
            duration_ms: self.span(state.began, ended, state.touched, !state.is_parked()),
            counts,
            pending: state.phase.plan().map_or(0, |plan| plan.upgrade.pending.len()),
            changed: changes.len(),
            packages: if self.detail == Detail::Full { changes.to_vec() } else { Vec::new() },
            reboot_wanted: self.host_reboot_wanted(),
            reboot: state.policy.reboot,
            rebooted: report.and_then(|report| report.rebooted.clone()),
            not_rebooted: match &state.phase {
                HostPhase::Done(HostVerdict::NotRebooted { why, .. }) => Some(why.clone()),
                _ => None,
            },
            own: state.phase.plan().and_then(|plan| plan.own).as_ref().map(OwnPlace::to_string),
            left_out: match state.policy.scope {
                Scope::GuestsOnly => Some("--guests-only".to_owned()),
                Scope::PruneOnly => Some(PRUNE_ONLY.to_owned()),
                Scope::All | Scope::HostsOnly => None,
            },
            remarks: report.map_or_else(RemarksView::default, |report| (&report.remarks).into()),
            removed: state.removed().count(),
            owed,
            snapshots: kept_of(&guests, KeptKind::Snapshot),
            backups: kept_of(&guests, KeptKind::Backup),
            steps: if self.brief_enough(over && !self.went_wrong()) { Vec::new() } else { self.steps(None, held) },
            guests,
        }
    }

    fn went_wrong(&self) -> bool {
        matches!(self.state.phase, HostPhase::Done(HostVerdict::Failed(_))) || self.state.not_removed().next().is_some()
    }

    /// Returns the node, which a host that is over no longer has a plan to tell.
    fn node(&self) -> Option<NodeName> {
        let state = self.state;
        let of_guests = || state.guests.values().next().map(|guest| guest.plan.guest.node.clone());
        state.phase.plan().map(|plan| plan.node.clone()).or_else(of_guests).or_else(|| state.policy.node.clone())
    }

    fn host_reboot_wanted(&self) -> Option<String> {
        match &self.state.phase {
            HostPhase::Done(HostVerdict::Verified(report) | HostVerdict::NotRebooted { report, .. }) => {
                report.reboot_wanted.clone()
            }
            HostPhase::Done(HostVerdict::NothingToDo { reboot_wanted }) => reboot_wanted.clone(),
            phase => phase.plan().and_then(|plan| plan.upgrade.reboot_wanted.clone()),
        }
    }

    /// Returns the host's own reason, else that of the first guest that has one that matters, else what it waits for.
    fn host_why(&self, doubtful: Option<Attempt>, guests: &[GuestView], waits_for: Option<&HostId>) -> Why {
        match &self.state.phase {
            HostPhase::Done(HostVerdict::Failed(fault)) | HostPhase::Held { fault, .. } => return why_of(fault),
            HostPhase::Done(HostVerdict::Blocked(why)) => return (Some(why.clone()), None),
            HostPhase::Done(HostVerdict::NotRebooted { why, .. }) => {
                return (Some(format!("not rebooted, though it should have been: {why}")), None);
            }
            HostPhase::Done(HostVerdict::Skipped) => return (Some("left out by the operator".to_owned()), None),
            _ => {}
        }
        let worst = [GuestStanding::Failed, GuestStanding::RolledBack, GuestStanding::Blocked, GuestStanding::Held];
        let first = worst.iter().find_map(|wanted| guests.iter().find(|guest| guest.state == *wanted));
        if let Some(guest) = first
            .or_else(|| guests.iter().find(|guest| guest.in_doubt))
            .or_else(|| guests.iter().find(|guest| guest.state == GuestStanding::Upgraded && guest.reason.is_some()))
        {
            let reason = guest.reason.as_deref().unwrap_or("no reason is known");
            return (Some(format!("{}: {reason}", guest.label())), guest.hint.clone());
        }
        if let Some(attempt) = doubtful {
            return (Some(self.doubt(None, attempt)), None);
        }
        let waits = |holder: &HostId| match self.state.phase {
            HostPhase::AwaitingReboot { .. } => format!("waits for the reboot of {holder}"),
            _ => format!("waits for {holder}, a node of the same cluster"),
        };
        let gate = match &self.state.gate {
            Gate::Shut { why } if !matches!(self.state.phase, HostPhase::Done(_)) => Some(why.to_string()),
            _ => None,
        };
        (waits_for.map(waits).or(gate), None)
    }
}

/// Returns what the last check of a node showed.
fn report(phase: &HostPhase) -> Option<&VerifyReport> {
    match phase {
        HostPhase::Done(HostVerdict::Verified(report) | HostVerdict::NotRebooted { report, .. }) => Some(report),
        HostPhase::AwaitingReboot { case }
        | HostPhase::PreparingReboot { case, .. }
        | HostPhase::SettingNoout { case, .. }
        | HostPhase::Evacuating { case, .. }
        | HostPhase::StoppingGuests { case, .. }
        | HostPhase::Rebooting { case, .. } => Some(&case.report),
        HostPhase::Held { at, .. } => report(at),
        _ => None,
    }
}

fn kept_of(guests: &[GuestView], kind: KeptKind) -> usize {
    guests.iter().flat_map(|guest| &guest.kept).filter(|kept| kept.kind == kind).count()
}

impl HostView {
    /// Returns how long the host took, or has taken so far.
    pub fn duration(&self) -> Option<Duration> {
        self.duration_ms.map(Duration::from_millis)
    }

    /// Tells whether the host's reason is that of one of its guests, and not its own.
    pub fn reason_is_a_guests(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or("");
        let is_of = |guest: &GuestView| reason.strip_prefix(&guest.label()).is_some_and(|rest| rest.starts_with(": "));
        self.guests.iter().any(is_of)
    }
}
