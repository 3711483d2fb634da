//! `proxmaint resolve`: records what the operator decided about a step that is held.

use std::io::{self, Write};

use super::args::{Places, ResolveArgs};
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::run::{journal_failure, state_failure};
use super::session::open_store;
use super::state;
use crate::adapters::clock::SystemClock;
use crate::engine::port::Clock;
use crate::journal::{Purpose, SledJournal, StateDir};
use crate::machine::event::HostEvent;
use crate::machine::guest::Resolution;
use crate::machine::host::HostState;

/// Runs `proxmaint resolve`.
///
/// # Errors
/// A run, host or guest that is not there or not held, a journal that can't be read or written.
pub fn resolve(places: &Places, args: &ResolveArgs) -> Result<Exit, Failure> {
    let now = SystemClock.now();
    let Some(dir) = StateDir::open(&places.state_dir()).map_err(journal_failure)? else {
        return Err(Failure::new(Exit::Usage, format!("there is no run in {}", places.state_dir().display())));
    };
    let (_lock, store) = open_store(&dir, Purpose::Maintain)?;
    let run = state::list(&store).and_then(|runs| state::find(&runs, &args.run)).map_err(state_failure)?;
    let history = state::load(&store, &run).map_err(state_failure)?;
    let owes = history.hosts.iter().any(|state| !state.owed().is_empty() || state.is_rolling_back());
    let of_host = history.hosts.iter().find(|state| state.host() == &args.host());
    let left = of_host.is_some_and(|state| is_held_back(state, args));
    // What a run owes may wait for a decision even when the run itself is not gone on with, and so may whom it left to the operator.
    if !history.is_open() && !owes && !left {
        return Err(state_failure(state::StateError::Over(run)));
    }
    let host = args.host();
    let Some(host_state) = history.hosts.iter().find(|state| *state.host() == host) else {
        let known: Vec<&str> = history.hosts.iter().map(|state| state.host().as_str()).collect();
        let hint = format!("it has: {}", known.join(", "));
        return Err(Failure::new(Exit::Usage, format!("run {run} has no host {host}")).hint(hint));
    };
    let event = HostEvent::Resolved { guest: args.guest, resolution: args.resolution() };
    // What the machine would refuse must not get into the journal.
    host_state.clone().apply(&event, now).map_err(|illegal| {
        let what = args.guest.map_or_else(|| format!("host {host}"), |guest| format!("guest {guest} of {host}"));
        Failure::new(Exit::Usage, format!("{what} can't be resolved that way: {illegal}"))
            .hint(format!("`proxmaint status {run}` shows what is held, and the decisions that it waits for"))
    })?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().map_err(|error| Failure::new(Exit::Bug, error))?;
    let journal = SledJournal::start(store).map_err(journal_failure)?;
    runtime.block_on(state::record_resolution(&journal, &history, &host, &event, now)).map_err(journal_failure)?;
    journal.close().map_err(journal_failure)?;
    // The decision is recorded, whoever reads this or not.
    let next = match history.is_open() {
        true => format!("`proxmaint run` goes on with run {run} from there"),
        false if left && args.resolution() == Resolution::Retry => {
            "the next `proxmaint run` upgrades it again".to_owned()
        }
        false if left => "later runs maintain it as any other".to_owned(),
        false => format!("`proxmaint restore {run}` goes on from there"),
    };
    let _written = writeln!(io::stdout(), "recorded; {next}");
    Ok(Exit::Clean)
}

/// Tells whether it is about a guest that the run left to the operator.
fn is_held_back(state: &HostState, args: &ResolveArgs) -> bool {
    state.held_back().any(|(guest, _)| Some(guest.plan.guest.id) == args.guest)
}
