//! A rule's menu: which guests it is about, every key, and its end.

use super::super::{Desk, menu, setting, unless_back};
use super::{called, guest, said, who};
use crate::cli::manifest::edit::overruled;
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::manifest::edit::{Document, Scope, Setting, Spot};

/// The keys that say which guests a rule is about.
const WHO: [&str; 2] = ["id", "match"];

/// The keys that only a rule of a single guest has.
const LOGIN: [&str; 4] = ["address", "user", "identity_file", "password_env"];

/// What can be done with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Who,
    Key(Setting),
    Delete,
    Back,
}

/// Shows a rule's menu until the operator goes back, or the rule is gone.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn edit(desk: &mut Desk<'_>, host: usize, rule: usize) -> Answered<()> {
    let spot = Spot::Rule(host, rule);
    tell(desk, spot)?;
    let mut at = None;
    loop {
        let document = &desk.draft.document;
        let title = format!("{}: rule for {}", desk.name(host), about(document, spot));
        let keys = keys(document, spot);
        let mut choices = vec![Choice::new(Item::Who, format!("for {}", about(document, spot)), "which guests")];
        choices.extend(menu::lines(desk, spot, &keys, Item::Key));
        choices.push(Choice::new(Item::Delete, "Delete", "the host's settings hold then"));
        choices.push(Choice::new(Item::Back, "Back", ""));
        let first = at.filter(|item| choices.iter().any(|choice| choice.value == *item));
        let item = desk.terminal.choose(&title, &choices, first.as_ref())?;
        match item {
            Item::Who => {
                unless_back(who::change(desk, spot))?;
            }
            Item::Key(key) => {
                unless_back(setting::ask(desk, spot, &key))?;
            }
            Item::Delete => {
                if unless_back(delete(desk, spot))? == Some(true) {
                    return Ok(());
                }
            }
            Item::Back => return Ok(()),
        }
        at = Some(item);
    }
}

/// Names later rules that say something else of the same guests.
fn tell(desk: &Desk<'_>, spot: Spot) -> Answered<()> {
    let document = &desk.draft.document;
    for key in said_keys(document, spot) {
        for remark in overruled(document, spot, &key) {
            desk.terminal.remark(Remark::Warn, &remark)?;
        }
    }
    Ok(())
}

/// Names the guests of a rule as it does: a vmid, with the name where it is known, or a selector.
pub(super) fn about(document: &Document, spot: Spot) -> String {
    match (guest(document, spot), spot) {
        (Some(id), Spot::Rule(host, _)) => called(document, host, id),
        _ => said(document, spot, "match").unwrap_or_else(|| "no guest yet".to_owned()),
    }
}

/// Names the keys that a rule says something of; nothing where there are none.
pub(super) fn says(document: &Document, spot: Spot) -> String {
    said_keys(document, spot).iter().map(Setting::name).collect::<Vec<_>>().join(", ")
}

fn said_keys(document: &Document, spot: Spot) -> Vec<Setting> {
    let is_said = |key: &Setting| {
        !WHO.contains(&key.name()) && document.given(spot, key).is_some_and(|(_, value)| !value.is_empty())
    };
    Scope::Rule.settings().into_iter().filter(is_said).collect()
}

/// Returns the keys that a rule may have: how a guest is logged in to only where it is a single one, or where that is said
/// by mistake and has to be taken out.
fn keys(document: &Document, spot: Spot) -> Vec<Setting> {
    let is_single = said(document, spot, "match").is_none();
    let is_login = |key: &Setting| LOGIN.contains(&key.name());
    let fits = |key: &Setting| {
        !WHO.contains(&key.name()) && (is_single || !is_login(key) || document.given(spot, key).is_some())
    };
    Scope::Rule.settings().into_iter().filter(fits).collect()
}

/// Deletes a rule, if the operator means it; returns whether it is gone.
fn delete(desk: &mut Desk<'_>, spot: Spot) -> Answered<bool> {
    let question = format!("Delete the rule for {}?", about(&desk.draft.document, spot));
    if !desk.terminal.confirm(&question, false)? {
        return Ok(false);
    }
    desk.edit(|document| document.remove_item(spot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_single_guests_are_those_that_say_so() {
        for key in Scope::Rule.settings() {
            let is_login = LOGIN.contains(&key.name());
            assert_eq!(is_login, key.meaning().ends_with("with `id` only"), "{}", key.name());
        }
    }
}
