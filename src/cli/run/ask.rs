//! Asks the operator, on a terminal.

use std::io;

use crate::cli::diagnostics::Failure;
use crate::cli::exit_code::Exit;
use crate::ids::RunId;

/// Asks whether to go on. Esc and Ctrl-C mean no.
pub(in crate::cli) fn confirm(question: &str) -> Result<bool, Failure> {
    answered(cliclack::confirm(question).initial_value(false).interact()).map(|answer| answer.unwrap_or(false))
}

/// Asks by which policy an unfinished run goes on: `Some(true)` by the manifest's present one; `None` means neither.
pub(super) fn replan(run: &RunId, changed: &[String]) -> Result<Option<bool>, Failure> {
    eprintln!("Manifest or command line say something else than when run {run} was opened:");
    for line in changed {
        eprintln!("  {}", crate::observe::sanitize::clean(line));
    }
    answered(
        cliclack::select("How shall it go on?")
            .item(true, "with what they say now", "steps that have begun are finished as they were planned")
            .item(false, "as it was planned", "the changes count from the next run on")
            .interact(),
    )
}

fn answered<T>(answer: io::Result<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(Failure::new(Exit::Usage, error).hint("`--yes` asks nothing")),
    }
}
