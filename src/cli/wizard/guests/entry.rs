//! An entry of `guest_inventory`: what is known of a guest, and what of it a hand may edit.
//!
//! What the inventory finds out by itself is shown and not edited: it would be written over.

use super::super::{Desk, menu, setting, unless_back};
use super::{SHOWN, guest, rule, rule_of, said};
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::ids::GuestId;
use crate::manifest::edit::{Document, Scope, Setting, Spot};
use crate::observe::sanitize::shorten;

/// The keys that a hand may edit.
const BY_HAND: [&str; 6] = ["managed", "user", "ip", "ssh_key_path", "password_env", "notes"];

/// What can be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Key(Setting),
    Password(Setting),
    Rule(GuestId),
    Delete,
    Back,
}

/// Shows an entry's menu until the operator goes back, or the entry is gone.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn edit(desk: &mut Desk<'_>, host: usize, entry: usize) -> Answered<()> {
    let spot = Spot::Entry(host, entry);
    tell(desk, host, spot)?;
    let title = format!("{}: {}", desk.name(host), called(&desk.draft.document, spot));
    let mut at = None;
    loop {
        let choices = choices(desk, host, spot);
        let first = at.filter(|item| choices.iter().any(|choice| choice.value == *item));
        let item = desk.terminal.choose(&title, &choices, first.as_ref())?;
        match item {
            Item::Key(key) => {
                unless_back(setting::ask(desk, spot, &key))?;
            }
            Item::Password(key) => {
                unless_back(password(desk, spot, &key))?;
            }
            Item::Rule(id) => {
                unless_back(rule_of(desk, host, id))?;
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

fn choices(desk: &Desk<'_>, host: usize, spot: Spot) -> Vec<Choice<Item>> {
    let document = &desk.draft.document;
    let by_hand: Vec<Setting> = BY_HAND.iter().filter_map(|key| Scope::Entry.setting(key).ok()).collect();
    let mut choices = menu::lines(desk, spot, &by_hand, Item::Key);
    let secret = Scope::Entry.settings().into_iter().find(Setting::is_secret);
    if let Some(key) = secret.filter(|key| is_given(document, spot, key)) {
        choices.push(Choice::new(Item::Password(key), format!("{}: set, not shown", key.name()), "take it out"));
    }
    if let Some(id) = guest(document, spot) {
        let label = match document.rule(host, id).map(|rule| rule::says(document, rule)) {
            None => "Make a rule for it".to_owned(),
            Some(says) if says.is_empty() => "Its rule".to_owned(),
            Some(says) => format!("Its rule: {says}"),
        };
        choices.push(Choice::new(Item::Rule(id), label, "what runs do with this guest"));
    }
    choices.push(Choice::new(Item::Delete, "Delete", "`proxmaint inventory` would find it again"));
    choices.push(Choice::new(Item::Back, "Back", ""));
    choices
}

/// Shows what the inventory found out, and what a rule says in place of this entry.
fn tell(desk: &Desk<'_>, host: usize, spot: Spot) -> Answered<()> {
    let document = &desk.draft.document;
    let found = Scope::Entry.settings();
    let found = found.iter().filter(|key| !BY_HAND.contains(&key.name()) && !key.is_secret());
    let lines = found.filter_map(|key| Some(format!("{}: {}", key.name(), said(document, spot, key.name())?)));
    desk.show("As the inventory found it", &lines.collect::<Vec<_>>().join("\n"))?;
    let Some(rule) = guest(document, spot).and_then(|id| document.rule(host, id)) else { return Ok(()) };
    let over = Scope::Rule.settings().into_iter().filter_map(|key| {
        let own = said(document, spot, key.of_entry()?.name())?;
        Some((key.name(), said(document, rule, key.name())?, own))
    });
    for (key, ruled, own) in over.filter(|(_, ruled, own)| ruled != own) {
        let text = format!("its rule says {key} = {ruled}, which goes before {own} here");
        desk.terminal.remark(Remark::Info, &text)?;
    }
    Ok(())
}

/// What can be done about a password that stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instead {
    Variable,
    Nothing,
    Leave,
}

/// Offers to take a password out of the file, and to name a variable in its place.
fn password(desk: &mut Desk<'_>, spot: Spot, key: &Setting) -> Answered<()> {
    let choices = [
        Choice::new(Instead::Variable, "take it out, and name a variable instead", "recommended"),
        Choice::new(Instead::Nothing, "take it out", "the host's password for guests holds then, or a key"),
        Choice::new(Instead::Leave, "leave it", "whoever reads the file has it"),
    ];
    loop {
        match desk.terminal.choose("The password stands in the file itself", &choices, None)? {
            Instead::Variable => {
                let Ok(variable) = Scope::Entry.setting("password_env") else { return Ok(()) };
                if unless_back(setting::ask(desk, spot, &variable))?.is_none() {
                    continue;
                }
                if !is_given(&desk.draft.document, spot, &variable) {
                    let text = "no variable is named, so the password stays where it is";
                    return desk.terminal.remark(Remark::Info, text);
                }
            }
            Instead::Nothing => {}
            Instead::Leave => return Ok(()),
        }
        if setting::apply(desk, spot, key, None)? {
            let text =
                "the password is out of the manifest; it stays in the previous version, which saving keeps beside it";
            desk.terminal.remark(Remark::Good, text)?;
        }
        return Ok(());
    }
}

/// Deletes an entry, if the operator means it; returns whether it is gone.
fn delete(desk: &mut Desk<'_>, spot: Spot) -> Answered<bool> {
    let question = format!("Delete {} from the inventory?", called(&desk.draft.document, spot));
    if !desk.terminal.confirm(&question, false)? {
        return Ok(false);
    }
    desk.edit(|document| document.remove_item(spot))
}

fn is_given(document: &Document, spot: Spot, key: &Setting) -> bool {
    document.given(spot, key).is_some_and(|(_, value)| !value.is_empty())
}

/// Names the guest of an entry: `CT 101 (web)`.
fn called(document: &Document, spot: Spot) -> String {
    let name = said(document, spot, "name").map(|name| format!(" ({})", shorten(&name, SHOWN)));
    format!("{}{}", number(document, spot), name.unwrap_or_default())
}

/// Returns an entry as a line of the list: `CT 101  web  running  managed`.
pub(super) fn line(document: &Document, spot: Spot) -> String {
    let name = said(document, spot, "name").map(|name| shorten(&name, SHOWN));
    let managed = match said(document, spot, "managed").as_deref() {
        Some("true") => "managed",
        Some("false") => "left alone",
        _ => "",
    };
    let status = said(document, spot, "status").unwrap_or_default();
    let line = format!("{:12}  {:SHOWN$}  {status:8}  {managed}", number(document, spot), name.unwrap_or_default());
    line.trim_end().to_owned()
}

fn number(document: &Document, spot: Spot) -> String {
    let part = |key| said(document, spot, key).unwrap_or_else(|| "?".to_owned());
    format!("{} {}", part("kind").to_uppercase(), part("id"))
}
