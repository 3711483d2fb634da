//! What runs borrowed and owe: what is said of it, and how runs that are not gone on with are settled.

use crate::adapters::clock::SystemClock;
use crate::cli::diagnostics::Failure;
use crate::cli::run::journal_failure;
use crate::cli::session::Workshop;
use crate::cli::state::{self, Leftover, Settling};
use crate::engine::driver::Session;
use crate::engine::port::Clock;
use crate::ids::{HostId, RunId};
use crate::journal::record::CloseReason;
use crate::machine::guest::GuestPhase;
use crate::machine::host::{HostPhase, HostState};
use crate::machine::outcome::Obligation;
use crate::observe::project::{owed_view, resolve_command};
use crate::observe::sanitize::clean;

/// Something that a run owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debt {
    /// Where.
    pub host: HostId,
    /// What.
    pub owed: Obligation,
    /// Why it was not given back yet, where more is known than that nobody tried.
    pub why: Option<String>,
    /// The command that decides about what is held and keeps it from being given back.
    pub held: Option<String>,
}

/// What a run owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debts {
    /// The run.
    pub run: RunId,
    /// What it owes.
    pub owed: Vec<Debt>,
}

impl Debts {
    /// Looks what a run's hosts are owed.
    pub fn of<'a>(run: &RunId, hosts: impl IntoIterator<Item = &'a HostState>) -> Self {
        let debts = |state: &HostState| -> Vec<Debt> {
            let why = |owed: &Obligation| owed_view(state, owed).why;
            let debt = |owed| Debt { host: state.host().clone(), why: why(&owed), held: held(state, &owed), owed };
            state.owed().into_iter().map(debt).collect()
        };
        Self { run: run.clone(), owed: hosts.into_iter().flat_map(debts).collect() }
    }

    /// Tells whether nothing is owed.
    pub fn is_none(&self) -> bool {
        self.owed.is_empty()
    }

    /// Returns a line for each debt: `pve1: CT 103 was started ..`.
    pub fn lines(&self) -> Vec<String> {
        let why = |debt: &Debt| debt.why.as_ref().map_or_else(String::new, |why| format!("; {}", clean(why)));
        self.owed.iter().map(|debt| format!("{}: {}{}", clean(debt.host.as_str()), debt.owed, why(debt))).collect()
    }

    /// Says on standard error what is owed.
    pub fn say(&self, what: &str) {
        for line in self.lines() {
            tell!("{what}: {line}");
        }
    }

    /// Says what was given back between then and now, and what is owed still.
    pub fn compare(before: &Self, after: &Self) {
        for debt in &before.owed {
            if !after.owed.iter().any(|still| (&still.host, &still.owed) == (&debt.host, &debt.owed)) {
                tell!("given back: {}: {}", clean(debt.host.as_str()), debt.owed);
            }
        }
        after.say("still owed");
    }

    /// Says that something is still owed by a run that is over, and how it is given back.
    pub fn remind(&self) {
        self.say(&format!("still owed by run {}", self.run));
        if !self.is_none() {
            tell!("to give it back: proxmaint restore {}", self.run);
        }
    }
}

/// Returns the command that has to come first, where what is owed can't be given back because a step is held.
fn held(state: &HostState, owed: &Obligation) -> Option<String> {
    let guest = match owed {
        Obligation::StartGuests { .. }
        | Obligation::LeaveMaintenance { .. }
        | Obligation::ReturnGuest { .. }
        | Obligation::ClearNoout
            if matches!(state.phase, HostPhase::Held { .. }) =>
        {
            None
        }
        Obligation::StopGuest { id, .. } | Obligation::ReviveGuest { id, .. }
            if state.guests.get(id).is_some_and(|guest| matches!(guest.phase, GuestPhase::Held { .. })) =>
        {
            Some(*id)
        }
        Obligation::StartGuests { .. }
        | Obligation::StopGuest { .. }
        | Obligation::ReviveGuest { .. }
        | Obligation::LeaveMaintenance { .. }
        | Obligation::ReturnGuest { .. }
        | Obligation::ClearNoout => return None,
    };
    Some(resolve_command(&state.run, state.host(), guest))
}

/// Settles a run that is not gone on with: looks at what is in doubt, gives back what is owed, and closes it. One that owes
/// something still is closed all the same: it stays known as owing, and each later run tries again.
///
/// # Errors
/// A journal that fails.
pub(super) async fn settle(shop: &Workshop<'_>, leftover: Leftover) -> Result<Debts, Failure> {
    let Leftover { history, why } = leftover;
    let run = &history.id;
    let before = Debts::of(run, &history.hosts);
    let (session, close) = match why {
        Settling::Close(reason) => {
            let why = match reason {
                CloseReason::Expired => "is too old to go on with",
                CloseReason::Fresh => "is left as it is, as you asked",
            };
            tell!("run {run} {why}: what is in doubt is looked at, then it is closed");
            (Session::Settle, Some(reason))
        }
        Settling::Prune => {
            tell!("run {run} only removed old snapshots and was interrupted: it is looked at, then it is closed");
            (Session::Settle, Some(CloseReason::Fresh))
        }
        Settling::Debts => (Session::Restore, history.closed),
    };
    if why == Settling::Debts && !before.owed.iter().any(|debt| shop.only.contains(&debt.host)) {
        return Ok(before);
    }
    before.say("owed from before, and given back first");
    let settled = shop.quietly(&history, session).await?;
    let after = Debts::of(run, settled.hosts());
    Debts::compare(&before, &after);
    if let Some(reason) = close {
        let now = SystemClock.now();
        state::close_run(&shop.journal, &history, &settled, reason, now).await.map_err(journal_failure)?;
    }
    Ok(after)
}
