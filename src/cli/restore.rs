//! `proxmaint restore`: gives back what a run borrowed and owes, and does nothing else.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use super::args::{Output, Places, RestoreArgs};
use super::debts::Debts;
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::run::{confirm, journal_failure, state_failure};
use super::session::{Watchers, Workshop, close_journal, open_store};
use super::{reach, state};
use crate::adapters::clock::SystemClock;
use crate::engine::driver::Session;
use crate::engine::port::Clock;
use crate::ids::HostId;
use crate::journal::replay::RunHistory;
use crate::journal::{Purpose, SledJournal, StateDir};
use crate::machine::host::HostState;
use crate::machine::run::RunState;
use crate::manifest::{HostEntry, Manifest};
use crate::observe::log::{Log, Redactor};
use crate::observe::sanitize::clean;
use crate::plan::OldThings;

/// Runs `proxmaint restore`.
///
/// # Errors
/// A run or host that is not there, a journal that can't be read or written, a manifest that can't be used. What could not
/// be given back is no error but the exit code returned.
pub fn restore(places: &Places, args: &RestoreArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let Some(dir) = StateDir::open(&places.state_dir()).map_err(journal_failure)? else {
        return Err(Failure::new(Exit::Usage, format!("there is no run in {}", places.state_dir().display())));
    };
    let (mut lock, store) = open_store(&dir, Purpose::Run)?;
    let run = state::list(&store).and_then(|runs| state::find(&runs, &args.run)).map_err(state_failure)?;
    let history = state::load(&store, &run).map_err(state_failure)?;
    let asked = asked(&history, &args.hosts)?;
    let owing = |state: &&HostState| asked.contains(state.host()) && (!state.owed().is_empty() || state.may_owe());
    let debts = Debts::of(&run, history.hosts.iter().filter(owing));
    let owing: BTreeSet<HostId> = history.hosts.iter().filter(owing).map(|state| state.host().clone()).collect();
    if owing.is_empty() {
        say(&format!("run {run} owes nothing"));
        return Ok(Exit::Clean);
    }
    let manifest = match super::load_manifest(&places.config) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let entries = entries(&manifest, &owing)?;
    let hosts = reach::ways(&manifest, &entries, places, redactor)?;
    debts.say(&format!("owed by run {run}"));
    let in_doubt = |state: &&HostState| owing.contains(state.host()) && state.may_owe();
    for state in history.hosts.iter().filter(in_doubt) {
        tell!("{}: a guest's start was begun: what became of it is looked at first", clean(state.host().as_str()));
    }
    if reach::may_ask() && !args.yes && !confirm("Give it back?")? {
        tell!("nothing was changed");
        return Ok(Exit::Clean);
    }
    lock.name_run(run.clone()).map_err(journal_failure)?;
    let runtime = reach::runtime()?;
    let journal = Arc::new(SledJournal::start(store).map_err(journal_failure)?);
    let only: BTreeSet<HostId> = entries.iter().map(|entry| entry.id.clone()).collect();
    let (old, journal_) = (OldThings::default(), Arc::clone(&journal));
    let shop = Workshop { dir: &dir, journal: journal_, hosts, only, old, redactor };
    let given_back = runtime.block_on(give_back(shop, history, &debts, &owing, redactor));
    close_journal(journal, given_back)
}

/// Returns the hosts that are asked about: all, or those that were named.
fn asked(history: &RunHistory, named: &[String]) -> Result<BTreeSet<HostId>, Failure> {
    let known: Vec<&HostId> = history.hosts.iter().map(|state| state.host()).collect();
    for name in named {
        if !known.iter().any(|host| host.as_str() == name) {
            let names: Vec<&str> = known.iter().map(|host| host.as_str()).collect();
            return Err(Failure::new(Exit::Usage, format!("run {} has no host {name}", history.id))
                .hint(format!("it has: {}", names.join(", "))));
        }
    }
    let wanted = |host: &&&HostId| named.is_empty() || named.iter().any(|name| name == host.as_str());
    Ok(known.iter().filter(wanted).map(|host| (*host).clone()).collect())
}

/// Returns the manifest's entries of the hosts that are owed something; it has to have one of them at least.
fn entries<'a>(manifest: &'a Manifest, owing: &BTreeSet<HostId>) -> Result<Vec<&'a HostEntry>, Failure> {
    let (there, gone): (Vec<&HostId>, Vec<&HostId>) = owing.iter().partition(|host| manifest.host(host).is_some());
    for host in &gone {
        tell!("{}: is not in the manifest any more, so nothing can be given back there", clean(host.as_str()));
    }
    if there.is_empty() {
        return Err(Failure::new(Exit::Config, "the manifest has none of the hosts that are owed something")
            .hint("put them back into the manifest: how they are reached is taken from there"));
    }
    Ok(there.into_iter().filter_map(|host| manifest.host(host)).collect())
}

async fn give_back(
    shop: Workshop<'_>,
    history: RunHistory,
    before: &Debts,
    owing: &BTreeSet<HostId>,
    redactor: &Redactor,
) -> Result<Exit, Failure> {
    let watchers = Watchers::start(Output::Human, false, redactor)?;
    let _log = Log::open(shop.dir.root(), &history.id, redactor, watchers.console())
        .map_err(|error| Failure::new(Exit::Config, error))?;
    let (run, hosts) = (history.id.clone(), history.hosts.clone());
    let state = RunState::restore(run.clone(), history.policy.parallel_hosts, history.opened_at, hosts);
    let Some((state, end)) = shop.work(state, Session::Restore, &watchers).await? else {
        tell!("stopped at once; the journal is intact. `proxmaint restore {run}` goes on from there");
        return Ok(Exit::Interrupted);
    };
    // A run that was closed is closed still, and the list of runs says what it owes now.
    if let Some(reason) = history.closed {
        let now = SystemClock.now();
        state::close_run(&shop.journal, &history, &state, reason, now).await.map_err(journal_failure)?;
    }
    let concerned = || state.hosts().filter(|state| owing.contains(state.host()));
    let after = Debts::of(&run, concerned());
    Debts::compare(before, &after);
    for command in after.owed.iter().filter_map(|debt| debt.held.as_ref()) {
        tell!("held, and to be decided first: {}", clean(command));
    }
    let in_doubt = concerned().any(HostState::may_owe);
    let exit = exit(&after, in_doubt, end.interrupted);
    match exit {
        Exit::Clean => say(&format!("everything is given back; run {run} owes nothing there")),
        Exit::Interrupted => tell!("interrupted; nothing is lost. To go on: proxmaint restore {run}"),
        _ => {}
    }
    Ok(exit)
}

/// Returns how the command ends: held counts where nothing that is owed is owed for another reason.
fn exit(after: &Debts, in_doubt: bool, interrupted: bool) -> Exit {
    match after.is_none() {
        true if !in_doubt => Exit::Clean,
        _ if interrupted => Exit::Interrupted,
        // What can't be told by looking is held.
        _ if after.owed.iter().all(|debt| debt.held.is_some()) => Exit::Held,
        _ => Exit::Failed,
    }
}

fn say(line: &str) {
    // What is given back is given back, whoever reads this or not.
    let _written = writeln!(io::stdout(), "{line}");
}
