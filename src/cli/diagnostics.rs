//! Prints an error once, at the edge: what happened, why, and what to do about it.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::exit_code::Exit;
use crate::machine::outcome::Fault;
use crate::observe::log::Redactor;
use crate::observe::sanitize::clean;
use crate::observe::style::Paint;

/// How many causes are shown: a longer chain is a loop.
const MAX_CAUSES: usize = 16;

/// An error on its way out of the program: with its exit code and what the operator can do.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What went wrong; its sources say why.
    pub error: Box<dyn Error + Send + Sync>,
    /// What to do about it, each ideally with the next command.
    pub hints: Vec<String>,
}

impl Failure {
    /// Makes a failure from an error.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), hints: Vec::new() }
    }

    /// Makes a failure from a fault, with the fault's own hint.
    pub fn of_fault(exit: Exit, fault: Fault) -> Self {
        let hint = fault.hint.clone();
        Self { hints: hint.into_iter().collect(), ..Self::new(exit, fault) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Prints the failure on standard error, secrets blotted out, and returns the code to exit with.
    pub fn print(&self, redactor: &Redactor) -> ExitCode {
        let mut stderr = io::stderr().lock();
        let text = redactor.redact(&self.render(Paint::for_stream(&stderr)));
        // Nobody is left to tell that standard error can't be written to.
        let _printed = stderr.write_all(text.as_bytes());
        self.exit.into()
    }

    /// Writes the failure for people: `error: ..`, its causes, then `hint:` lines. Ends in a line break.
    ///
    /// Lines of a multi-line error (a manifest's, with the line itself shown) are kept, each made harmless.
    pub fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        let mut said = self.error.to_string();
        entry(&mut out, &paint.bad("error:"), &said);
        let mut cause = self.error.source();
        for _ in 0..MAX_CAUSES {
            let Some(error) = cause else { break };
            let text = error.to_string();
            // Some libraries repeat their source in their own text: saying it twice helps nobody.
            if !said.contains(&text) {
                entry(&mut out, "  caused by:", &text);
            }
            said = text;
            cause = error.source();
        }
        for hint in &self.hints {
            entry(&mut out, &paint.note("hint:"), hint);
        }
        out
    }
}

fn entry(out: &mut String, label: &str, text: &str) {
    let mut lines = text.lines();
    // Writing to a String can't fail.
    let _ok = writeln!(out, "{label} {}", clean(lines.next().unwrap_or("")));
    for line in lines {
        let _ok = writeln!(out, "  {}", clean(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading the manifest\x1b[2J")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("opening hosts.toml: {0}")]
    struct Inner(#[source] std::io::Error);

    #[test]
    fn a_chain_is_printed_once_with_its_hints_last() {
        let io = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let failure = Failure::new(Exit::Config, Outer(Inner(io))).hint("name it with --config FILE");
        assert_eq!(
            failure.render(Paint::plain()),
            "error: reading the manifest\\u{1b}[2J\n  caused by: opening hosts.toml: no such file\n\
             hint: name it with --config FILE\n"
        );
    }

    #[test]
    fn a_fault_brings_its_own_hint() {
        let failure = Failure::of_fault(Exit::Failed, Fault::auth("asking pve1: 401").hint("check the token"));
        assert_eq!(failure.render(Paint::plain()), "error: asking pve1: 401\nhint: check the token\n");
    }

    #[test]
    fn lines_of_one_error_stay_lines() {
        let failure = Failure::new(Exit::Config, "two things are wrong\nfirst\nsecond");
        assert_eq!(failure.render(Paint::plain()), "error: two things are wrong\n  first\n  second\n");
    }
}
