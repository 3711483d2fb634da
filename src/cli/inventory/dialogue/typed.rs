//! Asks for passwords that are used now and stored nowhere.

use secrecy::{ExposeSecret, SecretString};

use super::Dialogue;
use super::walk::Taken;
use crate::cli::inventory::check::Login;
use crate::cli::terminal::{Answered, Choice};
use crate::observe::words::count;

/// Whether passwords are typed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Typing {
    /// No.
    #[default]
    None,
    /// One for all.
    One,
    /// One for each.
    Each,
}

impl Dialogue<'_, '_, '_> {
    /// Returns the guests that answered and refused the login, or did before one was typed.
    fn refused(&self) -> Vec<usize> {
        let is_refused = |at: &usize| {
            let subject = &self.subjects[*at];
            matches!(&subject.login, Some(Login::Fails { refused_at: Some(_), .. })) || subject.wish.typed.is_some()
        };
        self.managed().into_iter().filter(is_refused).collect()
    }

    /// Asks whether passwords are to be typed.
    pub(super) fn type_ones(&mut self) -> Answered<Taken> {
        let guests = self.refused();
        if guests.is_empty() {
            return Ok(Taken::Passed);
        }
        let choices = [
            Choice::new(Typing::None, "No", "the logins stay as they are"),
            Choice::new(Typing::One, "Type one for all of them", "for this session only: it is stored nowhere"),
            Choice::new(Typing::Each, "Type one for each", "for this session only: they are stored nowhere"),
        ];
        let question = format!(
            "{} the login. Log in by password?",
            match guests.len() {
                1 => "1 guest refuses".to_owned(),
                n => format!("{} refuse", count(n, "guest")),
            }
        );
        let answer = self.desk.terminal.choose(&question, &choices, Some(&self.answers.typed))?;
        if answer == Typing::None {
            for at in guests {
                self.set_typed(at, None);
            }
        }
        self.answers.typed = answer;
        Ok(Taken::Asked)
    }

    /// Asks for the password of all.
    pub(super) fn typed_for_all(&mut self) -> Answered<Taken> {
        let guests = self.refused();
        if self.answers.typed != Typing::One || guests.is_empty() {
            return Ok(Taken::Passed);
        }
        let password = self.ask_password("Their password")?;
        for at in guests {
            self.set_typed(at, password.clone());
        }
        Ok(Taken::Asked)
    }

    /// Asks for the password of one.
    pub(super) fn typed_for(&mut self, at: usize) -> Answered<Taken> {
        if self.answers.typed != Typing::Each || !self.refused().contains(&at) {
            return Ok(Taken::Passed);
        }
        let subject = &self.subjects[at];
        let user = subject.wish.user(&subject.guest);
        let question = format!("The password of {user} in {} (nothing: leave it out)", subject.guest.full_label());
        let password = self.ask_password(&question)?;
        self.set_typed(at, password);
        Ok(Taken::Asked)
    }

    /// Takes a password, by which the login is to be tried anew.
    fn set_typed(&mut self, at: usize, password: Option<SecretString>) {
        let typed = &mut self.subjects[at].wish.typed;
        if password.is_some() || typed.is_some() {
            self.tried[at] = None;
        }
        *typed = password;
    }

    /// Asks for a password; none is one that is not tried.
    fn ask_password(&self, question: &str) -> Answered<Option<SecretString>> {
        let password = self.desk.terminal.secret(question)?;
        if password.expose_secret().is_empty() {
            return Ok(None);
        }
        self.desk.redactor.register(&password);
        Ok(Some(password))
    }
}
