//! How the last run of each host came out, beside its entry.

use super::Desk;
use crate::adapters::clock::SystemClock;
use crate::cli::last_run::{LastRuns, last_runs};
use crate::cli::terminal::{Answered, Remark};
use crate::engine::port::Clock;
use crate::ids::HostId;

/// Looks for the last runs of all hosts of the draft.
pub(super) fn of_all(desk: &Desk<'_>) -> LastRuns {
    let hosts: Vec<HostId> = desk.draft.document.hosts().into_iter().map(HostId::new).collect();
    look(desk, &hosts)
}

/// Says how the last run of a host came out.
///
/// # Errors
/// The terminal is gone.
pub(super) fn tell(desk: &Desk<'_>, host: usize) -> Answered<()> {
    let host = HostId::new(desk.name(host));
    // Looked at again: a run may have begun or ended since the dialogue began.
    let last = look(desk, std::slice::from_ref(&host));
    desk.terminal.remark(Remark::Info, &format!("last run: {}", last.line(&host, SystemClock.now())))
}

fn look(desk: &Desk<'_>, hosts: &[HostId]) -> LastRuns {
    let canonical = desk.draft.path().canonicalize().ok();
    last_runs(&desk.places.state_dir(), canonical.as_deref(), hosts, SystemClock.now())
}
