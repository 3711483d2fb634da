//! `proxmaint snapshots`: shows the snapshots and backups that runs made, and removes those that nobody needs any more.
//!
//! What this tool made, the journal knows and nobody else; what is there, the API. Only what both name is shown. Removing
//! is a run of its own, whose policy leaves everything else alone: so each removal is journaled before it is done.

mod look;
mod show;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use self::look::{Found, look};
use super::args::{Output, Places, SnapshotsArgs, SnapshotsCommand};
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::kept::{Fate, Gathered, Left, fates};
use super::policy::{Selection, run_policy};
use super::run::{
    confirm, interrupted_before_anything, journal_failure, new_run_id, state_failure, unless_interrupted,
};
use super::session::{Watchers, Workshop, close_journal, open_store};
use super::status_command::{from_segments, known};
use super::{debts, reach, state};
use crate::adapters::clock::SystemClock;
use crate::choices::Scope;
use crate::engine::driver::Session;
use crate::engine::port::{Clock, Hosts};
use crate::ids::{HostId, RunId};
use crate::journal::{OpenRead, Purpose, RunLock, SledJournal, StateDir, Store};
use crate::machine::host::HostState;
use crate::machine::outcome::Fault;
use crate::machine::run::RunState;
use crate::manifest::{HostEntry, Manifest};
use crate::observe::log::{Log, Redactor};
use crate::observe::style::Paint;
use crate::observe::words::count;
use crate::plan::{HostPolicy, OldThings, Retention, RunPolicy};
use crate::time::Timestamp;

/// How many hosts are worked on at a time: removing a snapshot costs the node little, and nodes don't depend on each other.
const PARALLEL: u32 = 4;

/// Something that is there, and what becomes of it.
pub(super) struct Item {
    found: Found,
    fate: Fate,
}

impl Item {
    fn goes(&self) -> bool {
        self.found.obstacle.is_none() && self.fate == Fate::Goes
    }

    /// Says why it stays, where it does.
    fn stays(&self) -> Option<String> {
        match (self.found.obstacle, self.fate) {
            (Some(obstacle), _) => Some(obstacle.words().to_owned()),
            (None, Fate::Stays(why)) => Some(why.to_string()),
            (None, Fate::Goes) => None,
        }
    }
}

/// Runs `proxmaint snapshots`.
///
/// # Errors
/// A manifest, journal or host name that can't be used. What could not be removed is no error but the exit code returned.
pub fn snapshots(places: &Places, command: &SnapshotsCommand, redactor: &Redactor) -> Result<Exit, Failure> {
    let manifest = match super::load_manifest(&places.config) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let (SnapshotsCommand::List { hosts, .. } | SnapshotsCommand::Prune(SnapshotsArgs { hosts, .. })) = command;
    let selection = Selection { hosts: hosts.clone(), ..Selection::default() };
    let entries = selection.of(&manifest).map_err(|error| {
        let known = format!("the manifest has: {}", error.known.join(", "));
        Failure::new(Exit::Usage, error).hint(known)
    })?;
    let now = SystemClock.now();
    let place = Place { places, manifest: &manifest, entries: &entries, redactor, now };
    match command {
        SnapshotsCommand::List { output, .. } => place.list(*output),
        SnapshotsCommand::Prune(args) => place.prune(args),
    }
}

/// What both commands work with.
struct Place<'a> {
    places: &'a Places,
    manifest: &'a Manifest,
    entries: &'a [&'a HostEntry],
    redactor: &'a Redactor,
    now: Timestamp,
}

/// What is there, and the hosts that could not be looked at.
type Listed = (Vec<Item>, Vec<(HostId, Fault)>);

impl Place<'_> {
    fn list(&self, output: Output) -> Result<Exit, Failure> {
        let all = match StateDir::open(&self.places.state_dir()).map_err(journal_failure)? {
            None => Vec::new(),
            Some(dir) => match Store::open_read(&dir, self.now).map_err(journal_failure)? {
                OpenRead::Nothing => Vec::new(),
                OpenRead::Open(store) => stored(&dir, &store, &self.manifest.path)?,
                // While a run works it has the store; what it has not made durable is not there yet.
                OpenRead::HeldBy(_) => in_segments(&dir, &self.manifest.path)?,
            },
        };
        let policy = run_policy(self.entries.iter().copied(), PARALLEL);
        let (items, failed) = match all.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => {
                let hosts = reach::ways(self.manifest, self.entries, self.places, self.redactor)?;
                match self.looked(&reach::runtime()?, hosts, &policy, all) {
                    Some(listed) => listed,
                    None => return Ok(interrupted_before_anything()),
                }
            }
        };
        write_out(&match output {
            Output::Human => show::text(&items, &failed, self.now, Paint::for_stream(&io::stdout())),
            Output::Json => show::json(&items, &failed, self.now),
        });
        Ok(if failed.is_empty() { Exit::Clean } else { Exit::Failed })
    }

    /// Looks what is there and decides what becomes of it; `None` where the operator asked to stop.
    fn looked(
        &self,
        runtime: &tokio::runtime::Runtime,
        hosts: Arc<dyn Hosts>,
        policy: &RunPolicy,
        all: Vec<Left>,
    ) -> Option<Listed> {
        let looked = runtime.block_on(unless_interrupted(look(hosts, policy, all)))?;
        let keep = |host: &HostId| policy.hosts.iter().find(|policy| policy.host == *host).map(|policy| policy.keep);
        // What is gone is not counted, but how its upgrade came out is.
        let gone = looked.missing.into_iter().map(|left| Left { there: false, ..left });
        let there: Vec<Left> = looked.found.iter().map(|found| found.left.clone()).collect();
        let all: Vec<Left> = there.into_iter().chain(gone).collect();
        let fates = fates(&all, keep, self.now);
        let mut items: Vec<Item> =
            looked.found.into_iter().zip(fates).map(|(found, fate)| Item { found, fate }).collect();
        let place = |item: &Item| policy.hosts.iter().position(|policy| policy.host == item.found.left.host);
        items.sort_by_key(|item| (place(item), item.found.left.guest.id, item.found.left.made));
        Some((items, looked.failed))
    }

    fn prune(&self, args: &SnapshotsArgs) -> Result<Exit, Failure> {
        let may_ask = reach::may_ask();
        if !(may_ask || args.yes || args.dry_run) {
            return Err(Failure::new(Exit::Usage, "there is nobody to ask whether this shall be removed")
                .hint("`--yes` asks nothing; `--dry-run` shows what would be removed"));
        }
        let Some(dir) = StateDir::open(&self.places.state_dir()).map_err(journal_failure)? else {
            write_out("no run has made anything yet\n");
            return Ok(Exit::Clean);
        };
        let (lock, store) = open_store(&dir, Purpose::Run)?;
        let all = stored(&dir, &store, &self.manifest.path)?;
        let mut policy = run_policy(self.entries.iter().copied(), PARALLEL);
        policy.hosts.iter_mut().for_each(|host| *host = only_prune(host.clone(), args));
        let hosts = reach::ways(self.manifest, self.entries, self.places, self.redactor)?;
        let runtime = reach::runtime()?;
        let Some((mut items, failed)) = self.looked(&runtime, hosts.clone(), &policy, all) else {
            return Ok(interrupted_before_anything());
        };
        items.retain(Item::goes);
        let unreached = if failed.is_empty() { Exit::Clean } else { Exit::Failed };
        if items.is_empty() {
            if !failed.is_empty() {
                write_err(&show::text(&[], &failed, self.now, Paint::for_stream(&io::stderr())));
            }
            write_out("nothing is to be removed\n");
            return Ok(unreached);
        }
        if args.dry_run {
            write_out(&show::text(&items, &failed, self.now, Paint::for_stream(&io::stdout())));
            return Ok(unreached);
        }
        write_err(&show::text(&items, &failed, self.now, Paint::for_stream(&io::stderr())));
        if !args.yes && !confirm(&format!("Remove {}?", things(items.len())))? {
            tell!("nothing was changed");
            return Ok(Exit::Clean);
        }
        let mut old = OldThings::default();
        items.iter().for_each(|item| item.found.left.add_to(&mut old));
        let concerned: BTreeSet<HostId> = items.iter().map(|item| item.found.left.host.clone()).collect();
        policy.hosts.retain(|host| concerned.contains(&host.host));
        let removal = Removal { dir: &dir, policy, old, wanted: items.len(), hosts, only: concerned };
        let removed = self.remove(&runtime, removal, (lock, store))?;
        Ok(match removed {
            Exit::Clean => unreached,
            other => other,
        })
    }

    /// Removes what was agreed on, by a run of its own.
    fn remove(
        &self,
        runtime: &tokio::runtime::Runtime,
        removal: Removal<'_>,
        (mut lock, store): (RunLock, Store),
    ) -> Result<Exit, Failure> {
        let leftovers = state::leftovers(&store, &self.manifest.path).map_err(state_failure)?;
        let run = new_run_id(SystemClock.now())?;
        lock.name_run(run.clone()).map_err(journal_failure)?;
        let journal = Arc::new(SledJournal::start(store).map_err(journal_failure)?);
        let Removal { dir, policy, old, wanted, hosts, only } = removal;
        let shop = Workshop { dir, journal: Arc::clone(&journal), hosts, only, old, redactor: self.redactor };
        let work = async {
            // An earlier removal that was interrupted is settled; what runs owe is left to those who are asked for it.
            for leftover in leftovers.into_iter().filter(|leftover| leftover.why == state::Settling::Prune) {
                debts::settle(&shop, leftover).await?;
            }
            self.carry_out(&shop, run, &policy, wanted).await
        };
        let done = runtime.block_on(work);
        drop(shop);
        close_journal(journal, done)
    }

    async fn carry_out(
        &self,
        shop: &Workshop<'_>,
        run: RunId,
        policy: &RunPolicy,
        wanted: usize,
    ) -> Result<Exit, Failure> {
        let watchers = Watchers::start(Output::Human, false, self.redactor)?;
        let _log = Log::open(shop.dir.root(), &run, self.redactor, watchers.console())
            .map_err(|error| Failure::new(Exit::Config, error))?;
        let now = SystemClock.now();
        state::open_run(&shop.journal, &run, policy, &self.manifest.path, now).await.map_err(journal_failure)?;
        let opened = RunState::open(run.clone(), policy, now);
        let Some((ended, end)) = shop.work(opened, Session::First, &watchers).await? else {
            tell!("stopped at once; the journal is intact. The next command looks what became of it");
            return Ok(Exit::Interrupted);
        };
        let removed = ended.hosts().flat_map(HostState::removed).count();
        write_out(&match removed == wanted {
            true => format!("removed {}\n", things(removed)),
            false => format!("removed {removed} of {}; `proxmaint status {run}` says more\n", things(wanted)),
        });
        Ok(match (removed == wanted, end.interrupted) {
            (true, _) => Exit::Clean,
            (false, true) => Exit::Interrupted,
            (false, false) => Exit::Failed,
        })
    }
}

/// What is to be removed, and where.
struct Removal<'a> {
    dir: &'a StateDir,
    policy: RunPolicy,
    old: OldThings,
    wanted: usize,
    hosts: Arc<dyn Hosts>,
    only: BTreeSet<HostId>,
}

/// Makes the policy of a host on which nothing is done but removing; what was asked for goes before what the manifest says.
fn only_prune(host: HostPolicy, args: &SnapshotsArgs) -> HostPolicy {
    let age = args.older_than.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let keep = Retention {
        snapshots_for_ms: age.unwrap_or(host.keep.snapshots_for_ms),
        snapshots_last: args.keep_last.unwrap_or(host.keep.snapshots_last),
        backups_for_ms: age.unwrap_or(host.keep.backups_for_ms),
        backups_last: args.keep_last.unwrap_or(host.keep.backups_last),
    };
    HostPolicy { scope: Scope::PruneOnly, keep, ..host }
}

/// Lists what all runs of a manifest made, archived ones included.
fn stored(dir: &StateDir, store: &Store, manifest: &Path) -> Result<Vec<Left>, Failure> {
    let mut gathered = Gathered::default();
    for listed in state::list(store).map_err(state_failure)? {
        if !listed.is_about_things() {
            continue;
        }
        let history = match listed.archived {
            true => from_segments(dir, &listed.run)?,
            false => state::load(store, &listed.run).map_err(state_failure)?,
        };
        if history.is_of(manifest) {
            gathered.add(&history);
        }
    }
    Ok(gathered.finish())
}

fn in_segments(dir: &StateDir, manifest: &Path) -> Result<Vec<Left>, Failure> {
    let mut gathered = Gathered::default();
    for listed in known(dir)? {
        let history = from_segments(dir, &listed.run)?;
        if history.is_of(manifest) {
            gathered.add(&history);
        }
    }
    Ok(gathered.finish())
}

fn things(n: usize) -> String {
    match n {
        1 => "1 snapshot or backup".to_owned(),
        n => count(n, "snapshot").replace("snapshots", "snapshots and backups"),
    }
}

fn write_out(text: &str) {
    // Whoever closed the pipe has read enough.
    let _written = io::stdout().lock().write_all(text.as_bytes());
}

fn write_err(text: &str) {
    // A closed stderr is found out when the question is asked.
    let _written = io::stderr().lock().write_all(text.as_bytes());
}
