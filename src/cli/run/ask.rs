//! Asks the operator, on a terminal.

use std::io;

use crate::cli::diagnostics::Failure;
use crate::cli::exit_code::Exit;
use crate::cli::terminal::{Answered, Choice, Left, Terminal};
use crate::ids::RunId;
use crate::observe::sanitize::clean;

/// Asks whether to go on. Esc and Ctrl-C mean no.
pub(in crate::cli) fn confirm(question: &str) -> Result<bool, Failure> {
    let answer = match Terminal::open() {
        Some(terminal) => answered(terminal.confirm(question, false))?,
        None => typed(cliclack::confirm(question).initial_value(false).interact())?,
    };
    Ok(answer.unwrap_or(false))
}

/// Asks by which policy an unfinished run goes on: `Some(true)` by the manifest's present one; `None` means neither.
pub(super) fn replan(run: &RunId, changed: &[String]) -> Result<Option<bool>, Failure> {
    tell!("Manifest or command line say something else than when run {run} was opened:");
    for line in changed {
        tell!("  {}", clean(line));
    }
    let question = "How shall it go on?";
    let choices = [
        Choice::new(true, "with what they say now", "steps that have begun are finished as they were planned"),
        Choice::new(false, "as it was planned", "the changes count from the next run on"),
    ];
    match Terminal::open() {
        Some(terminal) => answered(terminal.choose(question, &choices, None)),
        None => {
            let items = choices.map(|choice| (choice.value, choice.label, choice.hint));
            typed(cliclack::select(question).items(&items).interact())
        }
    }
}

/// What was answered; `None` where the question was left.
fn answered<T>(answer: Answered<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Left::Back | Left::Quit) => Ok(None),
        Err(Left::Gone(why)) => {
            Err(Failure::new(Exit::Interrupted, format!("nothing was changed: {why}")).hint("`--yes` asks nothing"))
        }
    }
}

/// As [`answered`], at a terminal that can't be held (`TERM=dumb`).
fn typed<T>(answer: io::Result<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(Failure::new(Exit::Usage, error).hint("`--yes` asks nothing")),
    }
}
