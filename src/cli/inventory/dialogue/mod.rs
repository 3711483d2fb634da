//! The inventory at a terminal, question by question.
//!
//! Nothing is written before the last question; whatever ends the dialogue before it leaves the file as it was.

mod install;
mod login;
mod manage;
mod new_host;
mod password;
mod typed;
mod valid;
mod walk;

use std::path::PathBuf;

use super::check::Login;
use super::discover::{Found, Missing, discover};
use super::guests::{Guest, Host};
use super::hosts;
use super::install::Key;
use super::merge::Header;
use super::script::{exit, no_place};
use super::subject::{Attempt, Subject, write_down};
use super::table;
use super::tell;
use super::wish::Wish;
use crate::adapters::clock::SystemClock;
use crate::cli::args::{InventoryArgs, Places};
use crate::cli::diagnostics::Failure;
use crate::cli::draft::Draft;
use crate::cli::exit_code::Exit;
use crate::cli::reach;
use crate::cli::terminal::{Answered, Left, Remark, Terminal};
use crate::cli::wizard::test_host::learn_nothing;
use crate::cli::wizard::{Desk, saving};
use crate::engine::port::Clock;
use crate::ids::HostId;
use crate::manifest::HostEntry;
use crate::manifest::edit::Document;
use crate::observe::log::Redactor;
use crate::observe::style::Paint;
use crate::observe::words::count;
use walk::{Taken, walk};

/// Makes the inventory with the operator, and saves what they agree with.
///
/// # Errors
/// A variable is missing, a host can't be reached in principle, or the terminal went away.
pub(super) fn inventory(
    terminal: Terminal,
    places: &Places,
    args: &InventoryArgs,
    redactor: &Redactor,
) -> Result<Exit, Failure> {
    let draft = match Draft::open(&places.config) {
        Ok(draft) => draft,
        Err(exit) => return Ok(exit),
    };
    let mut desk = Desk { terminal, draft, places, redactor, runtime: reach::runtime()? };
    let shown = desk.draft.shown().display().to_string();
    let ended = desk.terminal.intro(&format!("proxmaint inventory: {shown}")).map_err(End::from);
    match ended.and_then(|()| make(&mut desk, args)) {
        Ok(exit) => Ok(exit),
        Err(End::Failed(failure)) => Err(failure),
        Err(End::Exit(exit)) => Ok(exit),
        Err(End::Left(Left::Back | Left::Quit)) => {
            // A terminal that does not take this line any more is no failure: everything is said by then.
            let _said = desk.terminal.outro("left; nothing was saved");
            Ok(Exit::Clean)
        }
        Err(End::Left(Left::Gone(why))) => {
            Err(Failure::new(Exit::Usage, format!("the terminal is gone: {why}")).hint("nothing was saved"))
        }
    }
}

/// Why the dialogue came to no end of its own.
enum End {
    Left(Left),
    Failed(Failure),
    /// Everything was said.
    Exit(Exit),
}

impl From<Left> for End {
    fn from(left: Left) -> Self {
        Self::Left(left)
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn make(desk: &mut Desk<'_>, args: &InventoryArgs) -> Result<Exit, End> {
    let named = new_host::ask_unknown(desk, &args.hosts)?;
    let mut manifest = hosts::manifest(&desk.draft, &named.names, desk.places).map_err(End::Exit)?;
    let is_strange = |entry: &&mut HostEntry| named.strangers.iter().any(|name| name == entry.id.as_str());
    manifest.hosts.iter_mut().filter(is_strange).for_each(learn_nothing);
    let entries = hosts::selected(&manifest, &named.names)?;
    let credentials = new_host::credentials(desk, &entries)?;
    for warning in &manifest.warnings {
        desk.terminal.remark(Remark::Warn, &warning.to_string())?;
    }
    let ways = reach::ways_with(&entries, &credentials, desk.places);
    let index_of = |id: &HostId| hosts::index_of(&desk.draft.document, id);
    let what = format!("asking {} which guests there are", count(entries.len(), "host"));
    let found = desk.terminal.work_telling(&desk.runtime, &what, async |progress| {
        let tell = |far: &str| progress.say(&format!("{what}: {far}"));
        discover(&entries, &ways, &credentials, index_of, &tell).await
    })?;
    show(desk, &found)?;
    let mut dialogue = Dialogue::new(desk, &found, args);
    dialogue.walk()?;
    dialogue.finish(&found)
}

/// Shows what was found.
fn show(desk: &Desk<'_>, found: &Found) -> Answered<()> {
    let paint = Paint::for_stream(&std::io::stderr());
    let width = Some(desk.terminal.note_columns());
    for host in &found.hosts {
        let (title, guests) = table::host(host, width, paint);
        match guests {
            Some(guests) => desk.terminal.note(&title, guests.trim_end())?,
            None => desk.terminal.remark(Remark::Info, &title)?,
        }
        if let Some(why) = tell::unseen(host) {
            desk.terminal.remark(Remark::Warn, &why)?;
        }
    }
    for Missing { host, fault } in &found.missing {
        desk.terminal.remark(Remark::Bad, &format!("{host}: {}", fault.what))?;
        for line in fault.hint.iter().flat_map(|hint| hint.lines()) {
            desk.terminal.remark(Remark::Info, line)?;
        }
    }
    Ok(())
}

/// The steps, in their order. Numbers count hosts or guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Manage(usize),
    Logins,
    LoginOfAll,
    Login(usize),
    Passwords,
    VariableOfAll,
    Variable(usize),
    Check,
    TypeOnes,
    TypedForAll,
    Typed(usize),
    CheckAgain,
    Install,
    InstallWhere,
    InstallInto(usize),
    PutKeys,
    Save,
}

/// The questions about guests that were found.
struct Dialogue<'a, 'd, 'p> {
    desk: &'d mut Desk<'p>,
    args: &'a InventoryArgs,
    hosts: &'a [Host],
    subjects: Vec<Subject<'a>>,
    /// What the login of each guest was tried with.
    tried: Vec<Option<Attempt>>,
    known_hosts: PathBuf,
    /// The document before anything was found.
    before: Document,
    answers: Answers,
    outcome: Option<String>,
}

/// What was answered, beside what is wanted of each guest.
#[derive(Default)]
struct Answers {
    logins: login::Logins,
    login_of_all: Option<String>,
    passwords: password::Passwords,
    typed: typed::Typing,
    key: Option<Key>,
    into: install::Into,
    /// The guests that get the key.
    chosen: Vec<usize>,
    /// The key that is in a guest by now.
    installed: Option<Key>,
}

impl<'a, 'd, 'p> Dialogue<'a, 'd, 'p> {
    fn new(desk: &'d mut Desk<'p>, found: &'a Found, args: &'a InventoryArgs) -> Self {
        let known = |guest: &Guest<'a>| Wish {
            managed: guest.decided().is_none().then(|| guest.by_default()),
            ..Wish::default()
        };
        let subjects = Subject::all(&found.hosts, known);
        Self {
            tried: vec![None; subjects.len()],
            known_hosts: reach::known_hosts(desk.places),
            before: desk.draft.document.clone(),
            hosts: &found.hosts,
            subjects,
            desk,
            args,
            answers: Answers::default(),
            outcome: None,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let guests = || 0..self.subjects.len();
        let mut steps: Vec<Step> = (0..self.hosts.len()).map(Step::Manage).collect();
        steps.extend([Step::Logins, Step::LoginOfAll]);
        steps.extend(guests().map(Step::Login));
        steps.extend([Step::Passwords, Step::VariableOfAll]);
        steps.extend(guests().map(Step::Variable));
        if !self.args.skip_ssh_checks {
            steps.extend([Step::Check, Step::TypeOnes, Step::TypedForAll]);
            steps.extend(guests().map(Step::Typed));
            steps.extend([Step::CheckAgain, Step::Install, Step::InstallWhere]);
            steps.extend(guests().map(Step::InstallInto));
            steps.push(Step::PutKeys);
        }
        steps.push(Step::Save);
        steps
    }

    /// Goes through the steps, until all are taken or the operator leaves.
    fn walk(&mut self) -> Result<(), End> {
        loop {
            let mut failed = None;
            let walked = walk(&self.steps(), |step| {
                let taken = self.take(step).map_err(|end| match end {
                    End::Left(left) => left,
                    other => {
                        failed = Some(other);
                        Left::Quit
                    }
                });
                // From the first answer on there is something to lose.
                if taken == Ok(Taken::Asked) {
                    self.desk.terminal.set_unsaved(self.outcome.is_none());
                }
                taken
            });
            match (failed, walked) {
                (Some(end), _) => return Err(end),
                (None, Err(Left::Back)) if !saving::may_leave(self.desk)? => {}
                (None, walked) => return walked.map_err(|left| self.left(left)),
            }
        }
    }

    fn take(&mut self, step: Step) -> Result<Taken, End> {
        let taken = match step {
            Step::Manage(host) => self.manage(host),
            Step::Logins => self.logins(),
            Step::LoginOfAll => self.login_of_all(),
            Step::Login(guest) => self.login_of(guest),
            Step::Passwords => self.passwords(),
            Step::VariableOfAll => self.variable_of_all(),
            Step::Variable(guest) => self.variable_of(guest),
            Step::Check | Step::CheckAgain => self.check(),
            Step::TypeOnes => self.type_ones(),
            Step::TypedForAll => self.typed_for_all(),
            Step::Typed(guest) => self.typed_for(guest),
            Step::Install => self.install(),
            Step::InstallWhere => self.install_where(),
            Step::InstallInto(guest) => self.install_into(guest),
            Step::PutKeys => self.put_keys(),
            Step::Save => return self.save(),
        };
        Ok(taken?)
    }

    /// Leaves the dialogue; keys that are in guests by then stay there, and that is said.
    fn left(&self, left: Left) -> End {
        if self.answers.installed.is_some() && matches!(left, Left::Back | Left::Quit) {
            let text = "the key stays in the guests that it was put into";
            if let Err(gone) = self.desk.terminal.remark(Remark::Info, text) {
                return End::Left(gone);
            }
        }
        End::Left(left)
    }

    /// Returns the numbers of the guests that runs are to maintain.
    fn managed(&self) -> Vec<usize> {
        (0..self.subjects.len()).filter(|at| self.subjects[*at].is_managed()).collect()
    }

    /// Tries the logins that were not tried yet as they are wanted now, and shows what came of all.
    fn check(&mut self) -> Answered<Taken> {
        let managed = self.managed();
        for at in 0..self.subjects.len() {
            if !managed.contains(&at) {
                (self.subjects[at].login, self.tried[at]) = (None, None);
            }
        }
        let wanting: Vec<usize> =
            managed.into_iter().filter(|at| self.tried[*at] != Some(self.subjects[*at].attempt())).collect();
        if wanting.is_empty() {
            return Ok(Taken::Passed);
        }
        let subjects: Vec<&Subject<'_>> = wanting.iter().map(|at| &self.subjects[*at]).collect();
        let what = format!("trying {}", count(subjects.len(), "login"));
        let logins = self.desk.terminal.work_telling(&self.desk.runtime, &what, async |progress| {
            let tell = |done: usize| progress.say(&format!("{what}: {done} done"));
            super::check::check(&subjects, &self.known_hosts, &tell).await
        })?;
        for (at, login) in wanting.into_iter().zip(logins) {
            self.tried[at] = Some(self.subjects[at].attempt());
            self.subjects[at].login = Some(login);
        }
        let paint = Paint::for_stream(&std::io::stderr());
        let width = Some(self.desk.terminal.note_columns());
        self.desk.terminal.note("Logins", tell::logins(&self.subjects, width, paint).trim_end())?;
        let refused = |subject: &Subject<'_>| matches!(&subject.login, Some(Login::Fails { refused_at: Some(_), .. }));
        if self.subjects.iter().any(|subject| subject.wish.typed.is_some() && refused(subject)) {
            let text = "a password that was typed is refused; Esc at the next question leads back to it";
            self.desk.terminal.remark(Remark::Warn, text)?;
        }
        Ok(Taken::Passed)
    }

    /// Writes everything down, shows the difference and saves it where the operator agrees.
    fn save(&mut self) -> Result<Taken, End> {
        let mut document = self.before.clone();
        let public_key = self.answers.installed.as_ref().map(|key| key.public.line());
        let header = Header { at: SystemClock.now(), public_key };
        write_down(&mut document, self.hosts, &self.subjects, &header).map_err(|error| no_place(&error))?;
        self.desk.replace(document);
        if self.args.dry_run || !self.desk.draft.is_changed() {
            self.outcome = Some(match self.args.dry_run {
                true => "--dry-run: nothing was saved".to_owned(),
                false => format!("{} needs no change", self.desk.draft.shown().display()),
            });
            return Ok(Taken::Passed);
        }
        loop {
            if let Some(outcome) = saving::save(self.desk)? {
                self.outcome = Some(outcome);
                return Ok(Taken::Asked);
            }
            if saving::may_leave(self.desk)? {
                self.outcome = Some("left; nothing was saved".to_owned());
                return Ok(Taken::Asked);
            }
        }
    }

    /// Ends the dialogue.
    fn finish(self, found: &Found) -> Result<Exit, End> {
        if let Some(outcome) = &self.outcome {
            self.desk.terminal.outro(outcome)?;
        }
        let saved = match self.args.dry_run {
            true => self.desk.draft.save_or_show(true)?,
            false => Exit::Clean,
        };
        Ok(exit(saved, found))
    }
}
