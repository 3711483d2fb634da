//! Tells on standard error what is found and done.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use comfy_table::{Cell, Color};

use super::check::{self, Login};
use super::discover::{Found, Missing};
use super::guests::Host;
use super::subject::Subject;
use super::table;
use crate::machine::outcome::Fault;
use crate::observe::grid;
use crate::observe::log::Redactor;
use crate::observe::sanitize::clean;
use crate::observe::style::Paint;

/// Writes to standard error; secrets are blotted out.
pub(super) struct Teller<'a> {
    redactor: &'a Redactor,
    paint: Paint,
}

impl<'a> Teller<'a> {
    /// Makes one.
    pub(super) fn new(redactor: &'a Redactor) -> Self {
        Self { redactor, paint: Paint::for_stream(&io::stderr()) }
    }

    /// Tells a line.
    pub(super) fn line(&self, line: &str) {
        self.text(&format!("{}\n", clean(line)));
    }

    /// Tells a text of whole lines, which must be clean.
    pub(super) fn text(&self, text: &str) {
        // A closed stderr is no reason not to work.
        let _written = io::stderr().lock().write_all(self.redactor.redact(text).as_bytes());
    }

    /// Tells what came of logins.
    pub(super) fn logins(&self, subjects: &[Subject<'_>]) {
        self.text(&format!("{}\n", logins(subjects, grid::width_of(&io::stderr()), self.paint)));
    }

    /// Tells of something that went wrong.
    pub(super) fn fault(&self, what: &str, fault: &Fault) {
        self.text(&failed(what, fault, self.paint));
    }

    /// Tells what hosts were found to have, and which did not answer.
    pub(super) fn found(&self, found: &Found) {
        let width = grid::width_of(&io::stderr());
        for host in &found.hosts {
            let (title, guests) = table::host(host, width, self.paint);
            self.text(&format!("{}\n", self.paint.strong(&title)));
            guests.iter().for_each(|guests| self.text(&format!("{guests}\n")));
            if let Some(why) = unseen(host) {
                self.text(&format!("{} {}\n", self.paint.warn("warning:"), clean(&why)));
            }
        }
        self.missing(&found.missing);
    }

    /// Tells which hosts did not answer.
    pub(super) fn missing(&self, missing: &[Missing]) {
        for Missing { host, fault } in missing {
            self.fault(host.as_str(), fault);
        }
    }
}

/// Says why guests may be missing from what was found.
pub(super) fn unseen(host: &Host) -> Option<String> {
    let why = host.survey.unseen.as_ref()?;
    Some(format!("{}: there may be more guests than are listed: {why}", host.entry.id))
}

/// Says what went wrong with what, and what to do about it.
pub(super) fn failed(what: &str, fault: &Fault, paint: Paint) -> String {
    let mut text = format!("{} {}: {}\n", paint.bad("error:"), clean(what), clean(&fault.what));
    for line in fault.hint.iter().flat_map(|hint| hint.lines()) {
        // Writing to a String can't fail.
        let _ok = writeln!(text, "{} {}", paint.note("hint:"), clean(line));
    }
    text
}

/// Says what came of the logins, as a table.
pub(super) fn logins(subjects: &[Subject<'_>], width: Option<u16>, paint: Paint) -> String {
    let mut table = grid::table(width, paint);
    table.set_header(["host", "guest", "login", ""]);
    for subject in subjects {
        let Some(login) = &subject.login else { continue };
        let word = match login {
            Login::Works { .. } => Cell::new("works").fg(Color::Green),
            Login::Fails { .. } => Cell::new("fails").fg(Color::Red),
            Login::NotTried(_) => Cell::new("not tried"),
        };
        let (host, guest) = (subject.host().as_str(), subject.guest.label());
        table.add_row([Cell::new(clean(host)), Cell::new(guest), word, Cell::new(clean(&check::line(subject, login)))]);
    }
    table.trim_fmt()
}
