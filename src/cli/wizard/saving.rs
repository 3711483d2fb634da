//! The end of the dialogue: showing what has changed, saving it, or leaving without.

use std::error::Error;

use super::Desk;
use crate::cli::manifest::edit::painted;
use crate::cli::manifest::write_problems;
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::manifest::edit::SaveError;
use crate::manifest::{ManifestError, Problem};
use crate::observe::sanitize::clean;
use crate::observe::style::Paint;

/// What is said where a difference can't be shown.
const NOTHING_TO_SHOW: &str = "the difference is in what is not shown: passwords and line breaks";

/// Shows what saving would change.
///
/// # Errors
/// The terminal is gone.
pub(super) fn show_changes(desk: &Desk<'_>) -> Answered<()> {
    match desk.draft.is_changed() {
        true => show_diff(desk, "What has changed", &desk.draft.diff()),
        false => desk.terminal.remark(Remark::Info, "nothing has changed"),
    }
}

/// Saves, if the operator agrees with what that changes. Returns how it ended; `None` where the dialogue goes on.
///
/// # Errors
/// Esc, or the dialogue was left for good: nothing is saved then.
pub(in crate::cli) fn save(desk: &mut Desk<'_>) -> Answered<Option<String>> {
    if !desk.draft.is_changed() {
        return Ok(Some("nothing has changed: nothing to save".to_owned()));
    }
    let warnings = match desk.draft.manifest() {
        Ok(manifest) => manifest.warnings,
        Err(error) => return refuse(desk, &error).map(|()| None),
    };
    show_diff(desk, "What has changed", &desk.draft.diff())?;
    if !warnings.is_empty() {
        show_problems(desk, "To look at", &warnings)?;
    }
    if !desk.terminal.confirm("Save?", true)? {
        return Ok(None);
    }
    let saved = desk.draft.save();
    desk.terminal.set_unsaved(desk.draft.is_changed());
    match saved {
        Ok(_manifest) => Ok(Some(said_saved(desk))),
        Err(error @ SaveError::Directory { .. }) => {
            desk.terminal.remark(Remark::Warn, &in_full(&error))?;
            Ok(Some(said_saved(desk)))
        }
        Err(SaveError::Invalid(error)) => refuse(desk, &error).map(|()| None),
        Err(SaveError::Changed { diff, .. }) => changed_meanwhile(desk, &diff).map(|()| None),
        Err(error) => {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            desk.terminal.remark(Remark::Bad, &format!("not saved: {}{hint}", in_full(&error)))?;
            Ok(None)
        }
    }
}

/// Asks whether to leave without saving, where there is something to save.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(in crate::cli) fn may_leave(desk: &Desk<'_>) -> Answered<bool> {
    match desk.draft.is_changed() {
        true => desk.terminal.confirm("Leave without saving? What has changed is lost.", false),
        false => Ok(true),
    }
}

/// Shows problems with their places and hints.
///
/// # Errors
/// The terminal is gone.
pub(super) fn show_problems(desk: &Desk<'_>, title: &str, problems: &[Problem]) -> Answered<()> {
    let mut text = Vec::new();
    // Writing to memory can't fail.
    let _written = write_problems(problems, &mut text);
    desk.show(title, String::from_utf8_lossy(&text).trim_end())
}

fn refuse(desk: &Desk<'_>, error: &ManifestError) -> Answered<()> {
    match error.problems() {
        [] => desk.terminal.remark(Remark::Bad, &in_full(error))?,
        problems => show_problems(desk, "What is wrong", problems)?,
    }
    let text = "nothing is saved: this is no valid manifest yet; the lines are those of the file as it would be";
    desk.terminal.remark(Remark::Bad, text)
}

/// Says what somebody else has changed, and asks how to go on.
fn changed_meanwhile(desk: &mut Desk<'_>, diff: &str) -> Answered<()> {
    show_diff(desk, "What somebody else has changed meanwhile", diff)?;
    desk.terminal.remark(Remark::Bad, "nothing is saved: the file is not as it was when it was read")?;
    let choices = [
        Choice::new(
            false,
            "Go back, and keep the changes made here",
            "they can be looked at, but not saved over the file",
        ),
        Choice::new(true, "Begin again from the file as it is now", "the changes made here are lost"),
    ];
    if !desk.terminal.choose("How shall it go on?", &choices, Some(&false))? {
        return Ok(());
    }
    match desk.draft.begin_again() {
        Ok(()) => {
            desk.terminal.set_unsaved(false);
            desk.terminal.remark(Remark::Info, "this is the file as it is now")
        }
        Err(error) => refuse_file(desk, &error),
    }
}

/// Says why the file can't be read again; what was edited is still there.
fn refuse_file(desk: &Desk<'_>, error: &ManifestError) -> Answered<()> {
    if !error.problems().is_empty() {
        show_problems(desk, "What is wrong with the file", error.problems())?;
    }
    let first = error.problems().first().map_or_else(|| in_full(error), |problem| problem.message.clone());
    desk.terminal.remark(Remark::Bad, &format!("it can't be begun again: {first}; the changes made here are kept"))
}

fn show_diff(desk: &Desk<'_>, title: &str, diff: &str) -> Answered<()> {
    if diff.is_empty() {
        return desk.show(title, NOTHING_TO_SHOW);
    }
    let clean: String = diff.lines().map(|line| clean(&line.replace('\t', "    ")).into_owned() + "\n").collect();
    desk.terminal.note(title, painted(&clean, Paint::for_stream(&std::io::stderr())).trim_end())
}

fn said_saved(desk: &Desk<'_>) -> String {
    let kept = desk.draft.backup().map(|backup| format!("; the previous one is {}", backup.display()));
    format!("saved {}{}", desk.draft.shown().display(), kept.unwrap_or_default())
}

/// Says an error and its causes on one line.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    text
}
