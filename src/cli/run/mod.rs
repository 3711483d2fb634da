//! `proxmaint run`: what is to be worked on, whether the operator agrees, the work itself, and how it came out.

mod aim;
mod ask;
mod by_plan;
pub(super) mod preview;
mod session;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::ExposeSecret;

use super::args::{Output, Places, RunArgs};
use super::connect::ManifestHosts;
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::kept::{Remembered, held_back, old_things};
use super::policy::{NoSuchHost, Selection, differences, rollout_policy, run_policy};
use super::session::{StopSignals, Workshop, close_journal, open_store};
use super::state::{self, Choice, Leftover, Settling, StateError};
use crate::adapters::clock::SystemClock;
use crate::engine::port::Clock;
use crate::ids::{HostId, RunId};
use crate::journal::replay::RunHistory;
use crate::journal::{JournalError, OpenRead, Purpose, SledJournal, StateDir, Store};
use crate::manifest::{ApiTrust, Credentials, HostEntry, Manifest};
use crate::observe::log::Redactor;
use crate::observe::style::Paint;
use crate::plan::{HostPolicy, OldThings, RunPolicy};
use crate::time::Timestamp;

pub use aim::Aim;
pub(super) use ask::confirm;
use by_plan::ByPlan;
use session::Work;

/// Runs `proxmaint run`.
///
/// # Errors
/// Whatever keeps it from working, with its exit code. What went wrong on hosts is no error but the exit code returned.
pub fn run(places: &Places, args: &RunArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let manifest = match super::load_manifest(&places.config) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let by_plan = ByPlan::of(args, &manifest, SystemClock.now())?;
    let selection = Selection { hosts: args.hosts.clone(), max_hosts: args.max_hosts };
    let selected = match &by_plan {
        Some(by_plan) => by_plan.entries(&manifest)?,
        None => selection.of(&manifest).map_err(no_such_host)?,
    };
    let credentials =
        Credentials::resolve(selected.iter().copied(), &|name| std::env::var_os(name)).map_err(|error| {
            Failure::new(Exit::Usage, error).hint("set the variables, then run again; nothing was touched")
        })?;
    register_secrets(redactor, &selected, &credentials);
    warn(&manifest, &selected);
    allow_many_connections();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    let planned: Vec<&HostEntry> = selected.iter().copied().filter(|entry| args.dry_run || entry.dry_run).collect();
    let worked: Vec<&HostEntry> = selected.iter().copied().filter(|entry| !(args.dry_run || entry.dry_run)).collect();
    let known_hosts = places.state_dir().join("known_hosts");
    let hosts = Arc::new(ManifestHosts::new(selected.iter().copied(), &credentials, known_hosts));
    let mut selected_elsewhere = false;
    if !planned.is_empty() {
        let mut policy = args.work.aim().begin(run_policy(planned.iter().copied(), args.parallel_hosts));
        let partial = selection.is_partial() || !args.work.guests.is_empty() || !worked.is_empty();
        policy.rollout = rollout_policy(&manifest, args.max_failures, partial);
        let known = known_things(places, &manifest, &policy)?;
        known.hold_back(&mut policy);
        let old = known.old;
        let Some(preview) = runtime.block_on(unless_interrupted(preview::look(hosts.clone(), &policy, &old, false)))
        else {
            return Ok(interrupted_before_anything());
        };
        let exit = preview.print(args.output, args.verbose, &SystemClock);
        if worked.is_empty() {
            return Ok(preview.judge_selection(exit));
        }
        selected_elsewhere = preview.selects_any();
    }
    let prepared = Prepared {
        manifest: &manifest,
        selection: &selection,
        by_plan: by_plan.as_ref(),
        worked,
        selected_elsewhere,
        hosts,
        redactor,
        args,
        places,
    };
    prepared.work(&runtime)
}

/// Lets this process have as many descriptors as it may: the usual 1,024 are for programs that use select(), which this
/// one doesn't, and a host at work with 20 guests takes up to 25 (the API, the node, a connection for each VM).
pub(super) fn allow_many_connections() {
    let allowed = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed }) {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
}

/// Everything that is settled before the state directory is touched.
struct Prepared<'a> {
    manifest: &'a Manifest,
    selection: &'a Selection,
    /// The saved plan that is followed.
    by_plan: Option<&'a ByPlan>,
    worked: Vec<&'a HostEntry>,
    /// Whether `--guest` names a guest of a host that is only planned for.
    selected_elsewhere: bool,
    hosts: Arc<ManifestHosts>,
    redactor: &'a Redactor,
    args: &'a RunArgs,
    places: &'a Places,
}

impl Prepared<'_> {
    fn work(&self, runtime: &tokio::runtime::Runtime) -> Result<Exit, Failure> {
        let now = SystemClock.now();
        let dir = StateDir::create(&self.places.state_dir()).map_err(journal_failure)?;
        let (mut lock, store) = open_store(&dir, Purpose::Run)?;
        let resume_within = self.manifest.defaults.resume_within;
        let choice = state::choose(&store, &self.wish(), resume_within, now).map_err(state_failure)?;
        if let (Choice::Resume(history), Some(by_plan)) = (&choice, self.by_plan) {
            by_plan.may_go_on(history)?;
        }
        // A run that goes on acts at once: what is old is left to the next new one.
        let mut present = self.present(&choice);
        let old = match &choice {
            Choice::New { .. } => old_things(&store, &self.manifest.path, &present, now).map_err(state_failure)?,
            Choice::Resume(_) => OldThings::default(),
        };
        let held_back = held_back(&store, &self.manifest.path).map_err(state_failure)?;
        let known = Remembered { old, held_back };
        known.hold_back(&mut present);
        let old = known.old;
        let leftovers = state::leftovers(&store, &self.manifest.path).map_err(state_failure)?;
        let mut plan = self.decide(runtime, choice, &present, &old)?;
        plan.first.splice(0..0, leftovers);
        if plan.declined {
            tell!("nothing was changed");
            return Ok(Exit::Clean);
        }
        let run = match &plan.goes_on {
            Some(history) => history.id.clone(),
            None => new_run_id(now)?,
        };
        lock.name_run(run.clone()).map_err(journal_failure)?;
        let journal = Arc::new(SledJournal::start(store).map_err(journal_failure)?);
        let (hosts, only) = (self.hosts.clone(), self.only());
        let redactor = self.redactor;
        let shop = Workshop { dir: &dir, journal: Arc::clone(&journal), hosts, only, old, redactor };
        let (args, selected_elsewhere) = (self.args, self.selected_elsewhere);
        let work = Work { run, shop, redactor, args, selected_elsewhere, manifest: &self.manifest.path };
        close_journal(journal, runtime.block_on(work.carry_out(plan, &present)))
    }

    /// What is wanted now: by the manifest, by the command line, and, where a run goes on, by the one that began it.
    fn present(&self, choice: &Choice) -> RunPolicy {
        if let Some(by_plan) = self.by_plan {
            let mut policy = by_plan.policy(&self.worked, self.args.parallel_hosts);
            if let Some(most) = self.args.max_failures {
                (policy.rollout.max_failures, policy.rollout.max_failures_asked) = (Some(most), true);
            }
            policy.rollout.partial |= !self.args.hosts.is_empty();
            return policy;
        }
        let (aim, mut present) =
            (self.args.work.aim(), run_policy(self.worked.iter().copied(), self.args.parallel_hosts));
        let partial = self.selection.is_partial() || !self.args.work.guests.is_empty();
        present.rollout = rollout_policy(self.manifest, self.args.max_failures, partial);
        let Choice::Resume(history) = choice else { return aim.begin(present) };
        present.rollout.inherit(&history.policy.rollout);
        if by_plan::follows(history) {
            // A host that nobody planned for has no place in it.
            present.hosts.retain(|policy| history.hosts.iter().any(|state| state.host() == &policy.host));
            match self.args.replan {
                true => tell!("run {} gives up the saved plan that it was begun with", history.id),
                false => tell!("run {} goes on by the saved plan that it was begun with", history.id),
            }
        }
        let begun: Vec<HostPolicy> = history.hosts.iter().map(|state| state.policy.clone()).collect();
        if let Some(words) = aim.inherited(&begun) {
            tell!("run {} goes on as it was begun, with {words}; `proxmaint run --fresh` begins another", history.id);
        }
        aim.go_on(present, &begun)
    }

    fn wish(&self) -> state::Wish<'_> {
        state::Wish { resume: self.args.resume.as_deref(), fresh: self.args.fresh, manifest: &self.manifest.path }
    }

    /// The hosts that this session works on; others may be in the run.
    fn only(&self) -> BTreeSet<HostId> {
        self.worked.iter().map(|entry| entry.id.clone()).collect()
    }

    /// Hosts of a run that the manifest does not have any more, where this session is about all of them.
    fn removed(&self, history: &RunHistory) -> BTreeSet<HostId> {
        let gone = |host: &&HostId| !self.selection.is_partial() && self.manifest.host(host).is_none();
        history.hosts.iter().map(|state| state.host()).filter(gone).cloned().collect()
    }

    /// Settles what is worked on: a new run or the unfinished one, by which policy, with the operator's consent.
    fn decide(
        &self,
        runtime: &tokio::runtime::Runtime,
        choice: Choice,
        present: &RunPolicy,
        old: &OldThings,
    ) -> Result<Decided, Failure> {
        let may_ask = io::stdin().is_terminal() && io::stderr().is_terminal() && self.args.output == Output::Human;
        match choice {
            Choice::New { close } => {
                let first = close.map(|(history, reason)| Leftover { history, why: Settling::Close(reason) });
                let mut decided = Decided { first: first.into_iter().collect(), ..Decided::default() };
                if may_ask && !self.args.yes {
                    let look = async {
                        match self.by_plan {
                            Some(by_plan) => by_plan.preview(present),
                            None => preview::look(self.hosts.clone(), present, old, false).await,
                        }
                    };
                    let Some(preview) = runtime.block_on(unless_interrupted(look)) else {
                        interrupted_before_anything();
                        return Ok(Decided::declined());
                    };
                    preview.print_plan(self.args.verbose, &SystemClock);
                    if !self.selected_elsewhere {
                        preview.refuse_nothing()?;
                    }
                    decided.declined = !ask::confirm("Begin?")?;
                }
                Ok(decided)
            }
            Choice::Resume(history) => {
                let frozen = self.frozen(&history);
                let changed = differences(&frozen, present);
                // What is planned anew follows no saved plan any more, be the manifest as it was.
                let same = changed.is_empty() && !(self.args.replan && by_plan::follows(&history));
                let replan = match (same, self.args.replan, self.args.keep_plan) {
                    (true, ..) | (false, false, true) => false,
                    (false, true, _) => true,
                    (false, false, false) if may_ask => match ask::replan(&history.id, &changed)? {
                        Some(replan) => replan,
                        None => return Ok(Decided::declined()),
                    },
                    (false, false, false) => return Err(policy_changed(&history, &changed)),
                };
                if may_ask && !self.args.yes && changed.is_empty() && !ask::confirm(&resume_question(&history))? {
                    return Ok(Decided::declined());
                }
                let removed = self.removed(&history);
                Ok(Decided { goes_on: Some(history), replan, removed, ..Decided::default() })
            }
        }
    }

    /// The policy that the run was opened with, as far as this session is about its hosts.
    fn frozen(&self, history: &RunHistory) -> RunPolicy {
        let (only, removed) = (self.only(), self.removed(history));
        let concerns = |host: &HostId| only.contains(host) || removed.contains(host);
        RunPolicy {
            rollout: history.policy.rollout.clone(),
            parallel_hosts: self.args.parallel_hosts,
            hosts: history.hosts.iter().map(|state| state.policy.clone()).filter(|p| concerns(&p.host)).collect(),
        }
    }
}

/// Makes a failure of a name that the manifest does not have.
pub(super) fn no_such_host(error: NoSuchHost) -> Failure {
    let known = format!("the manifest has: {}", error.known.join(", "));
    Failure::new(Exit::Usage, error).hint(known)
}

/// Reads what earlier runs made that is no longer needed, for a dry run: it changes nothing, and does without where
/// there is no journal or another run has it.
pub(super) fn known_things(places: &Places, manifest: &Manifest, policy: &RunPolicy) -> Result<Remembered, Failure> {
    let now = SystemClock.now();
    let Some(dir) = StateDir::open(&places.state_dir()).map_err(journal_failure)? else {
        return Ok(Remembered::default());
    };
    match Store::open_read(&dir, now).map_err(journal_failure)? {
        OpenRead::Open(store) => {
            let old = old_things(&store, &manifest.path, policy, now).map_err(state_failure)?;
            Ok(Remembered { old, held_back: held_back(&store, &manifest.path).map_err(state_failure)? })
        }
        OpenRead::HeldBy(_) | OpenRead::Nothing => Ok(Remembered::default()),
    }
}

/// Waits for something that may be dropped at any moment, unless the operator asks to stop.
pub(super) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    let Ok(mut stops) = StopSignals::listen() else { return Some(work.await) };
    tokio::select! {
        done = work => Some(done),
        () = stops.next() => None,
    }
}

pub(super) fn interrupted_before_anything() -> Exit {
    tell!("interrupted before anything was changed");
    Exit::Interrupted
}

/// What is to be worked on.
#[derive(Default)]
struct Decided {
    /// The run that goes on; none is a new one.
    goes_on: Option<Box<RunHistory>>,
    /// Runs that are settled first.
    first: Vec<Leftover>,
    /// Whether the manifest's present policy takes the place of the frozen one.
    replan: bool,
    /// Hosts of the run that the manifest does not have any more.
    removed: BTreeSet<HostId>,
    /// Whether the operator said no.
    declined: bool,
}

impl Decided {
    fn declined() -> Self {
        Self { declined: true, ..Self::default() }
    }
}

fn resume_question(history: &RunHistory) -> String {
    let left = history.hosts.iter().filter(|state| !matches!(state.phase, crate::machine::host::HostPhase::Done(_)));
    format!("Go on with run {} ({} of {} hosts are not over)?", history.id, left.count(), history.hosts.len())
}

fn policy_changed(history: &RunHistory, changed: &[String]) -> Failure {
    let text = format!(
        "run {} is unfinished, and manifest or command line say something else than when it was opened:\n{}",
        history.id,
        changed.join("\n")
    );
    Failure::new(Exit::Config, text)
        .hint("`proxmaint run --replan` goes on with what they say now")
        .hint("`proxmaint run --keep-plan` goes on as planned")
}

/// Names a run by the time in UTC and four random letters.
pub(super) fn new_run_id(now: Timestamp) -> Result<RunId, Failure> {
    let mut random = [0_u8; 2];
    getrandom::fill(&mut random).map_err(|error| Failure::new(Exit::Bug, error))?;
    let letters = letters(now, random);
    let at = jiff::Timestamp::from_millisecond(now.0).map_err(|error| Failure::new(Exit::Bug, error))?;
    Ok(RunId::new(format!("{}-{letters}", at.strftime("%Y%m%d-%H%M%S"))))
}

/// Returns the end of a run's name: the millisecond within its second, so that names sort by age, and what was drawn.
fn letters(now: Timestamp, random: [u8; 2]) -> String {
    // In the order in which they sort; those that are easily taken for another are left out.
    const LETTERS: &[u8; 32] = b"23456789abcdefghijkmnpqrstuvwxyz";
    let millisecond = usize::try_from(now.0.rem_euclid(1000)).unwrap_or_default();
    let [first, second] = random.map(|byte| usize::from(byte) % 32);
    [millisecond / 32, millisecond % 32, first, second].iter().map(|n| char::from(LETTERS[*n])).collect()
}

/// Registers every secret, so that none can reach a log or an error's text.
pub(super) fn register_secrets(redactor: &Redactor, selected: &[&HostEntry], credentials: &Credentials) {
    for found in selected.iter().filter_map(|entry| credentials.host(&entry.id)) {
        let header = found.api.header();
        if let Some((_, secret)) = header.expose_secret().rsplit_once('=') {
            redactor.register(&secret.to_owned().into());
        }
        for password in found.passwords() {
            redactor.register(password);
        }
    }
}

/// Prints what is odd about the manifest, and what is not verified.
pub(super) fn warn(manifest: &Manifest, selected: &[&HostEntry]) {
    let mut err = io::stderr().lock();
    let paint = Paint::for_stream(&io::stderr());
    let mut lines: Vec<String> = manifest.warnings.iter().map(ToString::to_string).collect();
    let unverified: Vec<&str> = selected
        .iter()
        .filter(|entry| matches!(entry.api.trust(), ApiTrust::Unverified))
        .map(|entry| entry.id.as_str())
        .collect();
    // One line for all: a thousand would drown what else there is to say.
    if let Some((first, others)) = unverified.split_first() {
        let hosts = match others.len() {
            0 => (*first).to_owned(),
            n => format!("{first} and {n} more hosts"),
        };
        lines.push(format!(
            "{hosts}: the API's certificate is not verified (api.insecure); pin it with api.fingerprint"
        ));
    }
    for line in lines {
        // A closed stderr is no reason not to work.
        let _written = writeln!(err, "{} {line}", paint.warn("warning:"));
    }
}

/// Makes a failure of the journal.
pub(super) fn journal_failure(error: JournalError) -> Failure {
    let exit = match () {
        () if error.is_held() => Exit::Busy,
        () if error.is_unreadable() => Exit::Journal,
        () if matches!(error, JournalError::NoSuchRun(_) | JournalError::Archived(_)) => Exit::Usage,
        () if matches!(error, JournalError::Invalid { .. } | JournalError::Closed) => Exit::Bug,
        () => Exit::Config,
    };
    let hint = error.hint();
    let failure = Failure::new(exit, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Makes a failure of reading a run.
pub(super) fn state_failure(error: StateError) -> Failure {
    match error {
        StateError::Journal(error) => journal_failure(error),
        StateError::Replay { .. } => Failure::new(Exit::Journal, error)
            .hint("`proxmaint journal verify` checks every record; a newer version of proxmaint may have written it"),
        StateError::NoSuchRun(_) | StateError::Ambiguous { .. } => {
            Failure::new(Exit::Usage, error).hint("`proxmaint status --all` lists the runs")
        }
        StateError::Over(_) => Failure::new(Exit::Usage, error).hint("`proxmaint run` begins a new one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_sort_by_age_within_a_second_as_well() {
        let names: Vec<String> = (0..1000).map(|ms| letters(Timestamp(1_795_396_000_000 + ms), [7, 255])).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|name| name.len() == 4));
        assert!(letters(Timestamp(5), [255, 255]) < letters(Timestamp(6), [0, 0]));
    }
}
