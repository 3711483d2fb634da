//! `proxmaint rollback`: brings a guest back to the snapshot that its upgrade in a run was protected by, at the operator's word.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use super::args::{Output, Places, RollbackArgs};
use super::connect::ManifestHosts;
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::run::{confirm, interrupted_before_anything, journal_failure, state_failure, unless_interrupted, warn};
use super::session::{Watchers, Workshop, close_journal, open_store};
use super::{reach, state};
use crate::adapters::clock::SystemClock;
use crate::engine::driver::Session;
use crate::engine::limits::Limits;
use crate::engine::neighbours::Neighbours;
use crate::engine::perform::{Context, Lost, lost};
use crate::engine::port::{Clock, Hosts};
use crate::ids::{GuestId, HostId, RunId};
use crate::journal::replay::RunHistory;
use crate::journal::{Purpose, SledJournal, StateDir};
use crate::machine::event::HostEvent;
use crate::machine::guest::{GuestPhase, GuestState, GuestVerdict};
use crate::machine::host::{HostState, NoWayBack, WayBack};
use crate::machine::outcome::Fault;
use crate::machine::run::RunState;
use crate::manifest::{HostEntry, Manifest};
use crate::observe::log::{Log, Redactor};
use crate::observe::project::resolve_command;
use crate::observe::sanitize::clean;
use crate::observe::words;
use crate::plan::OldThings;
use crate::time::Timestamp;

/// Runs `proxmaint rollback`.
///
/// # Errors
/// A run, host or guest that is not there or can't be rolled back, a journal that can't be read or written, a manifest that
/// can't be used. That a rollback failed is no error but the exit code returned.
pub fn rollback(places: &Places, args: &RollbackArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let Some(dir) = StateDir::open(&places.state_dir()).map_err(journal_failure)? else {
        return Err(Failure::new(Exit::Usage, format!("there is no run in {}", places.state_dir().display())));
    };
    let (mut lock, store) = open_store(&dir, Purpose::Run)?;
    let run = state::list(&store).and_then(|runs| state::find(&runs, &args.run)).map_err(state_failure)?;
    let mut history = state::load(&store, &run).map_err(state_failure)?;
    let host = HostId::new(args.host.as_str());
    let asked = Asked { run: &run, host: &host, guest: args.guest };
    let way = asked.way_back(&history)?;
    let manifest = match super::load_manifest(&places.config) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let Some(entry) = manifest.host(&host) else {
        return Err(Failure::new(Exit::Config, format!("the manifest has no host {host}"))
            .hint("put it back into the manifest: how it is reached is taken from there"));
    };
    let hosts = ways(&manifest, entry, places, redactor)?;
    let runtime = reach::runtime()?;
    let mut event = None;
    if !way.begun {
        let look = look(&hosts, asked.state(&history)?, args.guest, &way);
        let Some(lost) = runtime.block_on(unless_interrupted(look)) else {
            return Ok(interrupted_before_anything());
        };
        let lost = lost.map_err(|fault| asked.not_now(&fault))?;
        show(asked.state(&history)?, args.guest, &way, &lost, SystemClock.now());
        if !lost.obstacles.is_empty() {
            return Err(asked.blocked(&lost));
        }
        match (args.yes, reach::may_ask()) {
            (true, _) => {}
            (false, true) if confirm("Roll it back?")? => {}
            (false, true) => {
                tell!("nothing was changed");
                return Ok(Exit::Clean);
            }
            (false, false) => {
                return Err(Failure::new(Exit::Usage, "a rollback is not begun unasked, and there is nobody to ask")
                    .hint("`--yes` begins it; what would be lost is shown above"));
            }
        }
        event = Some(HostEvent::RollBack { guest: args.guest, runs: lost.runs });
    } else {
        tell!("{host}: the rollback of guest {} was begun before and goes on", args.guest);
    }
    lock.name_run(run.clone()).map_err(journal_failure)?;
    let journal = Arc::new(SledJournal::start(store).map_err(journal_failure)?);
    let only = BTreeSet::from([host.clone()]);
    let (old, journal_) = (OldThings::default(), Arc::clone(&journal));
    let shop = Workshop { dir: &dir, journal: journal_, hosts, only, old, redactor };
    let worked = runtime.block_on(async {
        if let Some(event) = &event {
            asked.record(&shop.journal, &mut history, event).await?;
        }
        asked.carry_out(shop, history, redactor).await
    });
    close_journal(journal, worked)
}

/// Which guest of which run it is about.
struct Asked<'a> {
    run: &'a RunId,
    host: &'a HostId,
    guest: GuestId,
}

impl Asked<'_> {
    fn state<'h>(&self, history: &'h RunHistory) -> Result<&'h HostState, Failure> {
        history.hosts.iter().find(|state| state.host() == self.host).ok_or_else(|| {
            let known: Vec<&str> = history.hosts.iter().map(|state| state.host().as_str()).collect();
            Failure::new(Exit::Usage, format!("run {} has no host {}", self.run, self.host))
                .hint(format!("it has: {}", known.join(", ")))
        })
    }

    /// Finds what the guest can be rolled back to, or says why it can't be.
    fn way_back(&self, history: &RunHistory) -> Result<WayBack, Failure> {
        let (run, guest) = (self.run, self.guest);
        let why = match self.state(history)?.way_back(guest) {
            Ok(way) => return Ok(way),
            Err(why) => why,
        };
        let status = format!("`proxmaint status {run}` shows how it stands");
        let (what, hint) = match why {
            NoWayBack::NoSuchGuest => {
                (format!("run {run} has no guest {guest} on {}", self.host), status)
            }
            NoWayBack::NotUpgraded => (
                format!("run {run} did not upgrade guest {guest}: there is nothing to undo"),
                "`proxmaint status --all` lists the runs".to_owned(),
            ),
            NoWayBack::NoSnapshot => (
                format!("the upgrade of guest {guest} in run {run} was not protected by a snapshot"),
                "`proxmaint snapshots list` shows what there is; a backup is restored on the node (`pct restore`, `qmrestore`)"
                    .to_owned(),
            ),
            NoWayBack::Own => (
                format!("proxmaint runs in guest {guest}: it can't roll itself back"),
                "run it from elsewhere, or roll the guest back on its node".to_owned(),
            ),
            NoWayBack::InDoubt(step) => (
                format!("guest {guest} is held: it is not known how its {} ended", words::step(step)),
                format!("decide first: {}", resolve_command(run, self.host, Some(guest))),
            ),
            NoWayBack::NotOver(step) => (
                format!("guest {guest} is not done with its {}", words::step(step)),
                format!("`proxmaint run` goes on with run {run}"),
            ),
            NoWayBack::NotSettled => {
                (format!("guest {guest} is not over in run {run}"), format!("`proxmaint run` goes on with run {run}"))
            }
            NoWayBack::NodeAtWork(step) => (
                format!("{} was interrupted at its {}, and may still be at it", self.host, words::step(step)),
                format!("`proxmaint run` goes on with run {run}"),
            ),
            NoWayBack::Owed => (
                format!("guest {guest} was stopped by a rollback and is to run again first"),
                format!("`proxmaint restore {run}` sees to that"),
            ),
        };
        Err(Failure::new(Exit::Usage, what).hint(hint))
    }

    fn not_now(&self, fault: &Fault) -> Failure {
        let failure =
            Failure::new(Exit::Failed, format!("guest {} of {} can't be rolled back: {fault}", self.guest, self.host));
        match &fault.hint {
            Some(hint) => failure.hint(hint.clone()),
            None => failure,
        }
    }

    fn blocked(&self, lost: &Lost) -> Failure {
        let what = format!("guest {} of {} can't be rolled back: {}", self.guest, self.host, lost.obstacles.join("; "));
        let failure = Failure::new(Exit::Failed, what);
        let has = |word: &str| lost.obstacles.iter().any(|obstacle| obstacle.contains(word));
        match (has("replicated"), has("newer")) {
            (true, _) => failure
                .hint("remove its replication job, roll it back, and make the job anew (Datacenter > Replication)"),
            (_, true) => failure
                .hint("remove the newer snapshots on the node (`zfs destroy`) if nobody needs them, then try again"),
            (false, false) => failure.hint("wait until nothing else works on it, then try again"),
        }
    }

    /// Writes down that the operator asked for it.
    async fn record(&self, journal: &SledJournal, history: &mut RunHistory, event: &HostEvent) -> Result<(), Failure> {
        let now = SystemClock.now();
        let mut state = self.state(history)?.clone();
        // What the machine would refuse must not get into the journal.
        state.apply(event, now).map_err(|illegal| {
            Failure::new(
                Exit::Usage,
                format!("guest {} of {} can't be rolled back now: {illegal}", self.guest, self.host),
            )
            .hint(format!("`proxmaint status {}` shows how it stands", self.run))
        })?;
        state::record_resolution(journal, history, self.host, event, now).await.map_err(journal_failure)?;
        if let Some(old) = history.hosts.iter_mut().find(|old| old.host() == self.host) {
            *old = state;
        }
        Ok(())
    }

    async fn carry_out(&self, shop: Workshop<'_>, history: RunHistory, redactor: &Redactor) -> Result<Exit, Failure> {
        let watchers = Watchers::start(Output::Human, false, redactor)?;
        let _log = Log::open(shop.dir.root(), self.run, redactor, watchers.console())
            .map_err(|error| Failure::new(Exit::Config, error))?;
        let (run, hosts) = (history.id.clone(), history.hosts.clone());
        let state = RunState::restore(run, history.policy.parallel_hosts, history.opened_at, hosts);
        let again =
            format!("proxmaint rollback {} {} {}", self.run, shell_words::quote(self.host.as_str()), self.guest);
        let Some((state, end)) = shop.work(state, Session::RollBack, &watchers).await? else {
            tell!("stopped at once; the journal is intact. `{again}` goes on from there");
            return Ok(Exit::Interrupted);
        };
        // A run that was closed is closed still.
        if let Some(reason) = history.closed {
            let now = SystemClock.now();
            state::close_run(&shop.journal, &history, &state, reason, now).await.map_err(journal_failure)?;
        }
        let guest = state.host(self.host).and_then(|host| host.guests.get(&self.guest));
        let Some(guest) = guest else {
            return Err(Failure::new(Exit::Bug, format!("guest {} is not in run {} any more", self.guest, self.run)));
        };
        Ok(self.end(guest, end.interrupted, &again))
    }

    /// Says how it ended.
    fn end(&self, guest: &GuestState, interrupted: bool, again: &str) -> Exit {
        let name = words::guest(guest.plan.guest.kind, guest.plan.guest.id, &guest.plan.name);
        match &guest.phase {
            GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell: None, .. }) if !guest.stopped => {
                let how = if undo.runs { "it runs, and was checked" } else { "it is off, as it was before" };
                say(&format!("{name} is back at snapshot {}: {how}", clean(undo.snapshot.as_str())));
                tell!(
                    "it is not upgraded again before you say so: proxmaint resolve {} {} {} --retry",
                    self.run,
                    shell_words::quote(self.host.as_str()),
                    self.guest
                );
                Exit::Clean
            }
            GuestPhase::Settled(GuestVerdict::RolledBack { unwell, .. }) => {
                let why = unwell.as_ref().map_or("it does not run again", |fault| fault.what.as_str());
                tell!("{name}: {}", clean(why));
                Exit::Failed
            }
            GuestPhase::Held { fault, .. } => {
                tell!("{name}: {}", clean(&fault.what));
                if let Some(hint) = &fault.hint {
                    tell!("hint: {}", clean(hint));
                }
                tell!("to be decided: {}", clean(&resolve_command(self.run, self.host, Some(self.guest))));
                Exit::Failed
            }
            phase if phase.undo().is_some() => {
                tell!("interrupted; nothing is lost. To go on: {}", clean(again));
                Exit::Interrupted
            }
            _ if interrupted => {
                tell!("interrupted; to try again: {}", clean(again));
                Exit::Interrupted
            }
            // It was refused: the guest is as it was, and the progress has said why.
            _ => {
                tell!("{name} was not rolled back: `proxmaint status {} --host {}` says why", self.run, self.host);
                Exit::Failed
            }
        }
    }
}

/// Makes the ways to a host, and to the others whose credentials are there: the guest may have moved to one of them.
fn ways(
    manifest: &Manifest,
    entry: &HostEntry,
    places: &Places,
    redactor: &Redactor,
) -> Result<Arc<ManifestHosts>, Failure> {
    reach::credentials(&[entry], redactor)?;
    warn(manifest, &[entry]);
    let others = manifest.hosts.iter().filter(|other| other.id != entry.id);
    let others = others.filter(|other| reach::credentials(&[other], redactor).is_ok());
    let entries: Vec<&HostEntry> = std::iter::once(entry).chain(others).collect();
    Ok(reach::ways_with(&entries, &reach::credentials(&entries, redactor)?, places))
}

/// Looks what a rollback would cost, right before it is asked about.
async fn look(hosts: &Arc<ManifestHosts>, state: &HostState, id: GuestId, way: &WayBack) -> Result<Lost, Fault> {
    let ports = hosts.ports(state.host())?;
    let cx = Context::looking(ports, Arc::new(SystemClock), Limits::default(), &state.policy, super::own_boot());
    // Which entry is which node is asked where it matters.
    let directory = Arc::new(Neighbours::new(Arc::clone(hosts) as Arc<dyn Hosts>, []));
    let neighbours = state.identity.as_ref().map(|(cluster, _)| (directory, cluster.clone()));
    let cx = Context { neighbours, ..cx };
    let Some(guest) = state.guests.get(&id) else { return Err(Fault::permanent("the run does not have it")) };
    lost(&cx, &guest.plan.guest, &way.snapshot).await
}

/// Shows what would be lost.
fn show(state: &HostState, id: GuestId, way: &WayBack, lost: &Lost, now: Timestamp) {
    let Some(guest) = state.guests.get(&id) else { return };
    let addr = &guest.plan.guest;
    let name = words::guest(addr.kind, addr.id, &guest.plan.name);
    let (came, packages) = match &guest.phase {
        GuestPhase::Settled(GuestVerdict::Upgraded { changes, .. }) => ("was upgraded".to_owned(), changes.as_slice()),
        GuestPhase::Settled(GuestVerdict::Failed { fault, .. }) => (format!("failed: {}", clean(&fault.what)), &[][..]),
        GuestPhase::Settled(GuestVerdict::RolledBack { .. }) => ("was rolled back before".to_owned(), &[][..]),
        GuestPhase::Settled(GuestVerdict::Blocked(why)) => (format!("is blocked: {}", clean(why)), &[][..]),
        _ => ("is over".to_owned(), &[][..]),
    };
    tell!("{name} on {}: in run {} it {came}", clean(addr.node.as_str()), state.run);
    for change in packages {
        tell!("  {}", words::package(change));
    }
    if lost.node != addr.node {
        tell!("it is on node {} now, and is rolled back there", clean(lost.node.as_str()));
    }
    tell!("goes back to: snapshot {}, {} old", clean(way.snapshot.as_str()), words::span(now.since(way.at)));
    let written = match lost.written {
        Some(bytes) => format!("what was written since is lost: {} (as ZFS counts)", bytes_words(bytes)),
        None => "what was written since is lost: how much is not known for its storage".to_owned(),
    };
    tell!("{written}");
    tell!("its configuration goes back as well");
    match lost.runs {
        true => tell!("it runs: it is stopped hard, and started again afterwards"),
        false => tell!("it does not run: it stays off, and is not checked"),
    }
    for newer in &lost.newer {
        tell!("it has a newer snapshot: {}", clean(newer.as_str()));
    }
}

/// Writes a number of bytes as people do.
fn bytes_words(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes.div_ceil(1 << 20)),
        _ => format!("{}.{} GiB", bytes >> 30, (bytes % (1 << 30)) * 10 / (1 << 30)),
    }
}

fn say(line: &str) {
    // What is done is done, whoever reads this or not.
    let _written = writeln!(io::stdout(), "{line}");
}
