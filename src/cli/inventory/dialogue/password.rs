//! Asks where passwords are: in variables of the environment, or nowhere. None is ever written.

use super::walk::Taken;
use super::{Dialogue, valid};
use crate::cli::draft::env;
use crate::cli::inventory::guests::Guest;
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::manifest::edit::suggested_variable;
use crate::observe::words::list;

/// Where passwords are to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Passwords {
    /// Nowhere.
    #[default]
    NotStored,
    /// Each in a variable of its own.
    Each,
    /// All in one variable.
    One,
}

impl Dialogue<'_, '_, '_> {
    /// Returns the guests for whose password no variable is named yet.
    fn without_variable(&self) -> Vec<usize> {
        let has_none = |at: &usize| self.subjects[*at].guest.password_env().is_none();
        self.managed().into_iter().filter(has_none).collect()
    }

    /// Asks where passwords are to be.
    pub(super) fn passwords(&mut self) -> Answered<Taken> {
        let guests = self.without_variable();
        if guests.is_empty() {
            return Ok(Taken::Passed);
        }
        let inline = guests.iter().map(|at| &self.subjects[*at].guest).filter(|guest| guest.has_inline_password());
        let inline = list(inline.map(Guest::full_label));
        if !inline.is_empty() {
            let text = format!(
                "the manifest itself holds a password of {inline}: it is used, and left where it is; better move it into a variable"
            );
            self.desk.terminal.remark(Remark::Warn, &text)?;
        }
        let choices = [
            Choice::new(Passwords::NotStored, "Not stored", "logins are by key"),
            Choice::new(
                Passwords::Each,
                "In environment variables, one for each guest",
                "recommended: the manifest has their names alone",
            ),
            Choice::new(Passwords::One, "In one environment variable for all", "where all have the same"),
        ];
        let question = "Where are the passwords of these guests?";
        let answer = self.desk.terminal.choose(question, &choices, Some(&self.answers.passwords))?;
        if answer != self.answers.passwords || answer == Passwords::NotStored {
            for at in guests {
                self.subjects[at].wish.variable = None;
            }
        }
        self.answers.passwords = answer;
        Ok(Taken::Asked)
    }

    /// Asks for the variable of all.
    pub(super) fn variable_of_all(&mut self) -> Answered<Taken> {
        let guests = self.without_variable();
        let (Passwords::One, Some(first)) = (self.answers.passwords, guests.first()) else { return Ok(Taken::Passed) };
        let given = self.subjects[*first].wish.variable.as_ref().map(|(name, _)| name.clone());
        let suggestion = given.unwrap_or_else(|| "GUEST_PASSWORD".to_owned());
        let variable = self.ask_variable("The variable that holds their password", &suggestion)?;
        self.tell_variable(&variable)?;
        for at in guests {
            self.set_variable(at, &variable);
        }
        Ok(Taken::Asked)
    }

    /// Asks for the variable of one.
    pub(super) fn variable_of(&mut self, at: usize) -> Answered<Taken> {
        if self.answers.passwords != Passwords::Each || !self.without_variable().contains(&at) {
            return Ok(Taken::Passed);
        }
        let subject = &self.subjects[at];
        let given = subject.wish.variable.as_ref().map(|(name, _)| name.clone());
        let suggestion = given.unwrap_or_else(|| suggested(&subject.guest));
        let question = format!("The variable that holds the password of {}", subject.guest.full_label());
        let variable = self.ask_variable(&question, &suggestion)?;
        self.tell_variable(&variable)?;
        self.set_variable(at, &variable);
        Ok(Taken::Asked)
    }

    fn ask_variable(&self, question: &str, suggestion: &str) -> Answered<String> {
        let asked = self.desk.terminal.text(question).placeholder(format!("{suggestion}  (Enter takes it)"));
        asked
            .default(suggestion)
            .check(|text| valid::entry("password_env", text))
            .ask()
            .map(|name| name.trim().to_owned())
    }

    /// Says whether a variable is set: where it is named in the manifest and is not, every run ends before it begins.
    fn tell_variable(&self, name: &str) -> Answered<()> {
        if password_in(name).is_some() {
            return self.desk.terminal.remark(Remark::Good, &format!("{name} is set"));
        }
        let text = format!("{name} is not set now: set it before the next run, which else ends at once (exit code 2)");
        self.desk.terminal.remark(Remark::Warn, &text)
    }

    fn set_variable(&mut self, at: usize, name: &str) {
        let password = password_in(name);
        if let Some(password) = &password {
            self.desk.redactor.register(password);
        }
        self.subjects[at].wish.variable = Some((name.to_owned(), password));
    }
}

/// Suggests a variable for a guest's password: `WEB_101_PASSWORD`.
fn suggested(guest: &Guest<'_>) -> String {
    let name = match guest.sighting.name.as_str() {
        "" => guest.sighting.kind.to_string(),
        name => name.split('.').next().unwrap_or(name).to_owned(),
    };
    suggested_variable(&format!("{name}_{}", guest.sighting.id), "PASSWORD")
}

fn password_in(name: &str) -> Option<secrecy::SecretString> {
    let value = env(name)?.into_string().ok()?;
    (!value.trim().is_empty()).then(|| value.into())
}
