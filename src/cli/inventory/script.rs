//! The inventory where nobody is asked: what the command line says is done, and told on standard error.

use std::path::Path;

use super::check::{self, Login};
use super::crowd::with_each;
use super::discover::{Found, discover};
use super::guests::Guest;
use super::hosts;
use super::install::Key;
use super::merge::Header;
use super::subject::{Subject, write_down};
use super::tell::Teller;
use super::wish::Wish;
use crate::adapters::clock::SystemClock;
use crate::cli::args::{InventoryArgs, Places};
use crate::cli::diagnostics::Failure;
use crate::cli::draft::Draft;
use crate::cli::exit_code::Exit;
use crate::cli::reach;
use crate::cli::run::{interrupted_before_anything, unless_interrupted, warn};
use crate::engine::port::Clock;
use crate::ids::HostId;
use crate::manifest::edit::EditError;
use crate::observe::log::Redactor;
use crate::observe::words::count;

/// Makes the inventory and saves it.
///
/// # Errors
/// A host can't be added, a variable is missing, a key is none, or the manifest can't be saved.
pub(super) fn inventory(places: &Places, args: &InventoryArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let key = args.install_key.as_deref().map(read_key).transpose()?;
    let mut draft = match Draft::open(&places.config) {
        Ok(draft) => draft,
        Err(exit) => return Ok(exit),
    };
    let runtime = reach::runtime()?;
    hosts::add_unknown(&mut draft, &args.hosts, &runtime)?;
    let manifest = match hosts::manifest(&draft, &args.hosts, places) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let entries = hosts::selected(&manifest, &args.hosts)?;
    let credentials = reach::credentials(&entries, redactor)?;
    warn(&manifest, &entries);
    let ways = reach::ways_with(&entries, &credentials, places);
    let teller = Teller::new(redactor);
    let index_of = |id: &HostId| hosts::index_of(&draft.document, id);
    let tell = |line: &str| teller.line(line);
    let asking = discover(&entries, &ways, &credentials, index_of, &tell);
    let Some(found) = runtime.block_on(unless_interrupted(asking)) else { return Ok(interrupted_before_anything()) };
    teller.found(&found);
    let wish = |guest: &Guest<'_>| Wish::by_args(guest, &args.manage, args.user.as_deref());
    let mut subjects = Subject::all(&found.hosts, wish);
    let mut header = Header { at: SystemClock.now(), public_key: None };
    if !args.skip_ssh_checks {
        let work = Work { teller: &teller, known_hosts: &reach::known_hosts(places), key: key.as_ref(), args };
        let Some(installed) = runtime.block_on(unless_interrupted(work.carry_out(&mut subjects))) else {
            return Ok(interrupted_in_guests(key.is_some() && !args.dry_run));
        };
        header.public_key = key.filter(|_| installed).map(|key| key.public.line());
    }
    write_down(&mut draft.document, &found.hosts, &subjects, &header).map_err(|error| no_place(&error))?;
    let saved = draft.save_or_show(args.dry_run)?;
    Ok(exit(saved, &found))
}

/// Says what is there of work in guests that was interrupted.
fn interrupted_in_guests(with_key: bool) -> Exit {
    if !with_key {
        return interrupted_before_anything();
    }
    tell!("interrupted; nothing was saved, but the key may be in some guests by now: it is never there twice");
    Exit::Interrupted
}

/// Returns how it ends: a host that did not answer is a failure, though all the others are saved.
pub(super) fn exit(saved: Exit, found: &Found) -> Exit {
    match saved {
        Exit::Clean if !found.missing.is_empty() => Exit::Failed,
        other => other,
    }
}

/// Makes a failure of an edit that the file has no place for.
pub(super) fn no_place(error: &EditError) -> Failure {
    Failure::new(Exit::Config, error.to_string()).hint(error.hint())
}

fn read_key(path: &Path) -> Result<Key, Failure> {
    Key::read(path).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Usage, error).hint(hint)
    })
}

/// What is done in guests.
struct Work<'a> {
    teller: &'a Teller<'a>,
    known_hosts: &'a Path,
    key: Option<&'a Key>,
    args: &'a InventoryArgs,
}

impl Work<'_> {
    /// Tries the logins, and puts the key where they need it; returns whether it is anywhere now.
    async fn carry_out(&self, subjects: &mut [Subject<'_>]) -> bool {
        let managed: Vec<usize> = (0..subjects.len()).filter(|at| subjects[*at].is_managed()).collect();
        if managed.is_empty() {
            return false;
        }
        self.teller.line(&format!("trying {}", count(managed.len(), "login")));
        let tried: Vec<&Subject<'_>> = managed.iter().map(|at| &subjects[*at]).collect();
        let logins = check::check(&tried, self.known_hosts, &|_| {}).await;
        for (at, login) in managed.into_iter().zip(logins) {
            subjects[at].login = Some(login);
        }
        self.teller.logins(subjects);
        match self.key {
            Some(key) => self.install(key, subjects).await,
            None => false,
        }
    }

    async fn install(&self, key: &Key, subjects: &mut [Subject<'_>]) -> bool {
        let places: Vec<(usize, String)> =
            (0..subjects.len()).filter_map(|at| Some((at, subjects[at].password_opens()?.to_owned()))).collect();
        if self.args.dry_run {
            for (at, address) in &places {
                let place = subjects[*at].authorized_keys(address);
                self.teller.line(&format!("would be put into {place}: {}", key.shown()));
            }
            return false;
        }
        let wanting: Vec<&Subject<'_>> = places.iter().map(|(at, _)| &subjects[*at]).collect();
        let put = async |subject: &Subject<'_>| match subject.password_opens() {
            Some(address) => Some(subject.put(key, address, self.known_hosts).await),
            None => None,
        };
        let results = with_each(&wanting, put, &|_| {}).await;
        let mut installed = false;
        for ((at, address), result) in places.into_iter().zip(results) {
            let place = subjects[at].authorized_keys(&address);
            match result {
                Some(Ok(put)) => {
                    installed = true;
                    self.teller.line(&put.line(&place));
                    subjects[at].login = Some(Login::Works { address, accepted: put.accepted });
                }
                Some(Err(fault)) => self.teller.fault(&place, &fault),
                None => {}
            }
        }
        installed
    }
}
