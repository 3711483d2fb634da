//! Asks who logs in.

use super::walk::Taken;
use super::{Dialogue, valid};
use crate::cli::terminal::{Answered, Choice};

/// How logins are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Logins {
    /// As the manifest has them.
    #[default]
    AsTheyAre,
    /// One for all.
    One,
    /// One for each.
    Each,
}

impl Dialogue<'_, '_, '_> {
    /// Returns the guests whose login is asked for: those that are managed, and have none by a rule, which goes before.
    fn nameable(&self) -> Vec<usize> {
        let is_free = |at: &usize| self.subjects[*at].guest.ruled_user().is_none();
        self.managed().into_iter().filter(is_free).collect()
    }

    /// Asks how logins are to be named.
    pub(super) fn logins(&mut self) -> Answered<Taken> {
        let guests = self.nameable();
        if guests.is_empty() {
            return Ok(Taken::Passed);
        }
        let mut users: Vec<&str> = guests.iter().map(|at| self.subjects[*at].guest.user()).collect();
        users.sort_unstable();
        users.dedup();
        let choices = [
            Choice::new(Logins::AsTheyAre, format!("As it is: {}", users.join(", ")), "what the manifest says now"),
            Choice::new(Logins::One, "One login for all", ""),
            Choice::new(Logins::Each, "A login for each guest", ""),
        ];
        let question = "Who logs in to these guests over SSH?";
        let answer = self.desk.terminal.choose(question, &choices, Some(&self.answers.logins))?;
        if answer == Logins::AsTheyAre {
            for at in guests {
                self.subjects[at].wish.user = None;
            }
        }
        self.answers.logins = answer;
        Ok(Taken::Asked)
    }

    /// Asks for the login of all.
    pub(super) fn login_of_all(&mut self) -> Answered<Taken> {
        let guests = self.nameable();
        let (Logins::One, Some(first)) = (self.answers.logins, guests.first()) else { return Ok(Taken::Passed) };
        let suggestion =
            self.answers.login_of_all.clone().unwrap_or_else(|| self.subjects[*first].guest.host_user().to_owned());
        let user = self.ask_login("The login in all of them", &suggestion)?;
        for at in guests {
            let subject = &mut self.subjects[at];
            subject.wish.set_user(&subject.guest, Some(&user));
        }
        self.answers.login_of_all = Some(user);
        Ok(Taken::Asked)
    }

    /// Asks for the login of one.
    pub(super) fn login_of(&mut self, at: usize) -> Answered<Taken> {
        if self.answers.logins != Logins::Each || !self.nameable().contains(&at) {
            return Ok(Taken::Passed);
        }
        let subject = &self.subjects[at];
        let suggestion = subject.wish.user(&subject.guest).to_owned();
        let user = self.ask_login(&format!("The login in {}", subject.guest.full_label()), &suggestion)?;
        let subject = &mut self.subjects[at];
        subject.wish.set_user(&subject.guest, Some(&user));
        Ok(Taken::Asked)
    }

    fn ask_login(&self, question: &str, suggestion: &str) -> Answered<String> {
        let asked = self.desk.terminal.text(question).placeholder(format!("{suggestion}  (Enter takes it)"));
        asked.default(suggestion).check(|text| valid::entry("user", text)).ask().map(|user| user.trim().to_owned())
    }
}
