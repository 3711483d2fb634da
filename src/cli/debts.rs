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
use crate::observe::project::resolve_command;
use crate::observe::sanitize::clean;

/// What a run owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debts {
    /// The run.
    pub run: RunId,
    /// What it owes, and where.
    pub owed: Vec<(HostId, Obligation)>,
    /// Commands that decide about what is held there: what is held can't be given back.
    pub held: Vec<String>,
}

impl Debts {
    /// Looks what a run's hosts are owed.
    pub fn of<'a>(run: &RunId, hosts: impl IntoIterator<Item = &'a HostState>) -> Self {
        let mut debts = Self { run: run.clone(), owed: Vec::new(), held: Vec::new() };
        for state in hosts {
            let owed = state.owed();
            if owed.is_empty() {
                continue;
            }
            debts.owed.extend(owed.into_iter().map(|owed| (state.host().clone(), owed)));
            if matches!(state.phase, HostPhase::Held { .. }) {
                debts.held.push(resolve_command(run, state.host(), None));
            }
            let held = state
                .guests
                .iter()
                .filter(|(_, guest)| guest.borrowed.is_some() && matches!(guest.phase, GuestPhase::Held { .. }));
            debts.held.extend(held.map(|(id, _)| resolve_command(run, state.host(), Some(*id))));
        }
        debts
    }

    /// Tells whether nothing is owed.
    pub fn is_none(&self) -> bool {
        self.owed.is_empty()
    }

    /// Returns a line for each debt: `pve1: CT 103 was started ..`.
    pub fn lines(&self) -> Vec<String> {
        self.owed.iter().map(|(host, owed)| format!("{}: {owed}", clean(host.as_str()))).collect()
    }

    /// Says on standard error what is owed.
    pub fn say(&self, what: &str) {
        for line in self.lines() {
            eprintln!("{what}: {line}");
        }
    }

    /// Says what was given back between then and now, and what is owed still.
    pub fn compare(before: &Self, after: &Self) {
        for (host, owed) in before.owed.iter().filter(|debt| !after.owed.contains(debt)) {
            eprintln!("given back: {}: {owed}", clean(host.as_str()));
        }
        after.say("still owed");
    }

    /// Says that something is still owed by a run that is over, and how it is given back.
    pub fn remind(&self) {
        self.say(&format!("still owed by run {}", self.run));
        if !self.is_none() {
            eprintln!("to give it back: proxmaint restore {}", self.run);
        }
    }
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
            eprintln!("run {run} {why}: what is in doubt is looked at, then it is closed");
            (Session::Settle, Some(reason))
        }
        Settling::Prune => {
            eprintln!("run {run} only removed old snapshots and was interrupted: it is looked at, then it is closed");
            (Session::Settle, Some(CloseReason::Fresh))
        }
        Settling::Debts => (Session::Restore, history.closed),
    };
    if why == Settling::Debts && !before.owed.iter().any(|(host, _)| shop.only.contains(host)) {
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
