//! Offers to put a public key into guests that let in by password alone.

use super::Dialogue;
use super::walk::Taken;
use crate::adapters::ssh::{Accepted, candidates};
use crate::cli::inventory::check::Login;
use crate::cli::inventory::crowd::with_each;
use crate::cli::inventory::install::Key;
use crate::cli::inventory::subject::Subject;
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::observe::words::count;

/// Which guests get the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Into {
    /// All that need it.
    #[default]
    All,
    /// Those that are said yes to.
    Asked,
}

impl Dialogue<'_, '_, '_> {
    /// Returns the guests that let in by password and by no key.
    fn keyless(&self) -> Vec<usize> {
        self.managed().into_iter().filter(|at| self.subjects[*at].password_opens().is_some()).collect()
    }

    /// Asks which key is to be put there.
    pub(super) fn install(&mut self) -> Answered<Taken> {
        self.answers.key = None;
        let guests = self.keyless();
        if guests.is_empty() || self.args.dry_run {
            return Ok(Taken::Passed);
        }
        let keys = self.keys(&guests)?;
        if keys.is_empty() {
            let text = "there is no key on this machine to put into guests; `ssh-keygen -t ed25519` makes one";
            self.desk.terminal.remark(Remark::Info, text)?;
            return Ok(Taken::Passed);
        }
        let mut choices = vec![Choice::new(None, "No", "logins stay by password")];
        choices.extend(keys.iter().enumerate().map(|(at, key)| {
            let file = key.private.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            Choice::new(Some(at), key.shown(), file)
        }));
        let question = match guests.len() {
            1 => "1 guest lets in by password only. Put a public key into it?".to_owned(),
            n => format!("{} let in by password only. Put a public key into them?", count(n, "guest")),
        };
        let answer = self.desk.terminal.choose(&question, &choices, Some(&None))?;
        self.answers.key = answer.and_then(|at: usize| keys.get(at).cloned());
        Ok(Taken::Asked)
    }

    /// Lists the keys by which a run would log in to any of these guests, none twice.
    fn keys(&self, guests: &[usize]) -> Answered<Vec<Key>> {
        let mut keys: Vec<Key> = Vec::new();
        for at in guests {
            let subject = &self.subjects[*at];
            let Some(address) = subject.password_opens() else { continue };
            for found in candidates(&subject.target(address, &self.known_hosts).auth) {
                match found {
                    Ok(pair) if keys.iter().any(|key| key.public.is_same_key(&pair.public)) => {}
                    Ok(pair) => keys.push(Key { public: pair.public, private: Some(pair.private) }),
                    Err(error) => self.desk.terminal.remark(Remark::Warn, &format!("{error}; {}", error.hint()))?,
                }
            }
        }
        Ok(keys)
    }

    /// Shows which key goes where, and asks once for all whether it may.
    pub(super) fn install_where(&mut self) -> Answered<Taken> {
        self.answers.chosen.clear();
        let guests = self.keyless();
        let (Some(key), false) = (&self.answers.key, guests.is_empty()) else { return Ok(Taken::Passed) };
        let places: Vec<String> = guests.iter().filter_map(|at| self.place(*at)).collect();
        let text = format!("{}\ngoes to\n{}", key.shown(), places.join("\n"));
        self.desk.show("The key, and where it goes", &text)?;
        let choices = [
            Choice::new(
                Into::All,
                format!("Into {}", count(guests.len(), "guest")),
                "added once; nothing else is changed there",
            ),
            Choice::new(Into::Asked, "Ask for each guest", ""),
        ];
        let answer = self.desk.terminal.choose("Into which guests?", &choices, Some(&self.answers.into))?;
        self.answers.into = answer;
        if answer == Into::All {
            self.answers.chosen = guests;
        }
        Ok(Taken::Asked)
    }

    /// Asks about one guest.
    pub(super) fn install_into(&mut self, at: usize) -> Answered<Taken> {
        if self.answers.key.is_none() || self.answers.into != Into::Asked || !self.keyless().contains(&at) {
            return Ok(Taken::Passed);
        }
        let Some(place) = self.place(at) else { return Ok(Taken::Passed) };
        let yes = self.desk.terminal.confirm(&format!("Add the key to {place}?"), true)?;
        self.answers.chosen.retain(|chosen| *chosen != at);
        if yes {
            self.answers.chosen.push(at);
        }
        Ok(Taken::Asked)
    }

    /// Puts the key where it was agreed to, and says what came of each.
    pub(super) fn put_keys(&mut self) -> Answered<Taken> {
        let Some(key) = self.answers.key.clone().filter(|_| !self.answers.chosen.is_empty()) else {
            return Ok(Taken::Passed);
        };
        let chosen = std::mem::take(&mut self.answers.chosen);
        let subjects: Vec<&Subject<'_>> = chosen.iter().map(|at| &self.subjects[*at]).collect();
        let put = async |subject: &Subject<'_>| match subject.password_opens() {
            Some(address) => Some(subject.put(&key, address, &self.known_hosts).await),
            None => None,
        };
        let what = format!("putting the key into {}", count(subjects.len(), "guest"));
        let results = self.desk.terminal.work_telling(&self.desk.runtime, &what, async |progress| {
            let tell = |done: usize| progress.say(&format!("{what}: {done} done"));
            with_each(&subjects, put, &tell).await
        })?;
        for (at, result) in chosen.into_iter().zip(results) {
            let place = self.place(at).unwrap_or_default();
            match result {
                Some(Ok(put)) => {
                    self.desk.terminal.remark(Remark::Good, &put.line(&place))?;
                    self.answers.installed = Some(key.clone());
                    self.log_in_by(at, put.accepted);
                }
                Some(Err(fault)) => {
                    let hint = fault.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                    self.desk.terminal.remark(Remark::Bad, &format!("{place}: {}{hint}", fault.what))?;
                }
                None => {}
            }
        }
        Ok(Taken::Passed)
    }

    /// Notes that a guest is logged in to by a key now. A password that was typed is of no use any more.
    fn log_in_by(&mut self, at: usize, accepted: Accepted) {
        let subject = &mut self.subjects[at];
        if let Some(Login::Works { address, .. }) = subject.login.take() {
            subject.login = Some(Login::Works { address, accepted });
        }
        subject.wish.typed = None;
        self.tried[at] = Some(self.subjects[at].attempt());
    }

    fn place(&self, at: usize) -> Option<String> {
        let subject = &self.subjects[at];
        Some(subject.authorized_keys(subject.password_opens()?))
    }
}
