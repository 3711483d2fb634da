//! Menus of keys: each with what holds now and where that comes from.

use super::group::Group;
use super::setting;
use super::standing::Standing;
use super::{Desk, unless_back};
use crate::cli::terminal::{Answered, Choice};
use crate::manifest::edit::{Setting, Spot};
use crate::observe::sanitize::shorten;

/// How many characters of a value a menu shows: what fits beside the longest key.
const SHOWN: usize = 44;

/// Lets keys of a table be chosen and edited, until the operator goes back. The title is made anew each time, since an edit may
/// change what a host is called.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn settings(
    desk: &mut Desk<'_>,
    title: impl Fn(&Desk<'_>) -> String,
    spot: Spot,
    settings: &[Setting],
) -> Answered<()> {
    let mut at = None;
    loop {
        let title = title(desk);
        let mut choices = lines(desk, spot, settings, Some);
        choices.push(Choice::new(None, "Back", ""));
        let Some(chosen) = desk.terminal.choose(&title, &choices, at.as_ref())? else { return Ok(()) };
        unless_back(setting::ask(desk, spot, &chosen))?;
        at = Some(Some(chosen));
    }
}

/// Returns keys of a table as choices, each with what holds now and where that comes from.
pub(super) fn lines<T>(
    desk: &Desk<'_>,
    spot: Spot,
    settings: &[Setting],
    value: impl Fn(Setting) -> T,
) -> Vec<Choice<T>> {
    let standings: Vec<Standing> =
        settings.iter().map(|setting| Standing::of(&desk.draft.document, spot, setting)).collect();
    let width = standings.iter().map(|standing| standing.spelling().len()).max().unwrap_or_default();
    let line = |(setting, standing): (&Setting, &Standing)| {
        let label = format!("{:width$}  {}", standing.spelling(), shorten(&standing.to_string(), SHOWN));
        Choice::new(value(*setting), label, setting.meaning_alone())
    };
    settings.iter().zip(&standings).map(line).collect()
}

/// Returns the groups of a table as choices, each with how many of its keys are set there.
pub(super) fn groups<T>(desk: &Desk<'_>, spot: Spot, value: impl Fn(Group) -> T) -> Vec<Choice<T>> {
    let choice = |group: Group| {
        let settings = group.settings(spot.scope());
        let is_given = |setting: &&Setting| Standing::of(&desk.draft.document, spot, setting).given.is_some();
        let label = match settings.iter().filter(is_given).count() {
            0 => group.title().to_owned(),
            given => format!("{}  ({given} set here)", group.title()),
        };
        let names: Vec<&str> = settings.iter().map(Setting::name).collect();
        Choice::new(value(group), label, shorten(&names.join(", "), 2 * SHOWN))
    };
    let has_keys = |group: &Group| !group.settings(spot.scope()).is_empty();
    Group::ALL.into_iter().filter(has_keys).map(choice).collect()
}

/// Lets the keys of `[defaults]` be edited, until the operator goes back.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn defaults(desk: &mut Desk<'_>) -> Answered<()> {
    let mut at = None;
    loop {
        let mut choices = groups(desk, Spot::Defaults, Some);
        choices.push(Choice::new(None, "Back", ""));
        let Some(group) = desk.terminal.choose("Defaults for all hosts", &choices, at.as_ref())? else { return Ok(()) };
        let title = |_desk: &Desk<'_>| format!("Defaults: {}", group.title());
        unless_back(settings(desk, title, Spot::Defaults, &group.settings(Spot::Defaults.scope())))?;
        at = Some(Some(group));
    }
}
