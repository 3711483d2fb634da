//! A host's guests: the rules for them, and what is known of them.
//!
//! A rule (`[[hosts.guests]]`) says what runs do with a guest and how they get into it; an entry of `guest_inventory` is what
//! was found. Both are edited here: rules wholly, entries as far as a hand may.

mod entry;
mod rule;
mod who;

use super::{Desk, unless_back};
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::ids::GuestId;
use crate::manifest::edit::{Document, Setting, Spot, Value};
use crate::observe::sanitize::shorten;

/// How many characters of a name a menu shows.
const SHOWN: usize = 24;

/// What the list of guests offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Rule(usize),
    AddRule,
    Entry(usize),
    Back,
}

/// Shows a host's guests until the operator goes back.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn edit(desk: &mut Desk<'_>, host: usize) -> Answered<()> {
    introduce(desk, host)?;
    let title = format!("{}: guests", desk.name(host));
    let mut at = None;
    loop {
        let choices = choices(&desk.draft.document, host);
        // What was chosen last may be gone.
        let first = at.filter(|item| choices.iter().any(|choice| choice.value == *item));
        let item = desk.terminal.choose(&title, &choices, first.as_ref())?;
        let done = match item {
            Item::Rule(rule) => rule::edit(desk, host, rule),
            Item::AddRule => add(desk, host),
            Item::Entry(entry) => entry::edit(desk, host, entry),
            Item::Back => return Ok(()),
        };
        unless_back(done)?;
        at = Some(item);
    }
}

/// Says what there is, and how to get what there is not.
fn introduce(desk: &Desk<'_>, host: usize) -> Answered<()> {
    let document = &desk.draft.document;
    if document.entries(host).is_empty() {
        let name = shell_words::quote(&desk.name(host)).into_owned();
        let text = format!("nothing is known of its guests yet: `proxmaint inventory --host {name}` finds them");
        desk.terminal.remark(Remark::Info, &text)?;
    }
    if document.rules(host).len() > 1 {
        desk.terminal.remark(Remark::Info, "of two rules that say the same key of a guest, the later one counts")?;
    }
    Ok(())
}

fn choices(document: &Document, host: usize) -> Vec<Choice<Item>> {
    let rules = document.rules(host).into_iter().enumerate().map(|(rule, spot)| {
        let label = format!("rule for {}  {}", rule::about(document, spot), rule::says(document, spot));
        Choice::new(Item::Rule(rule), label.trim_end(), "what runs do with these guests")
    });
    let add = Choice::new(Item::AddRule, "Add a rule", "for one guest, or for several at once");
    let entries = document.entries(host).into_iter().enumerate().map(|(entry, spot)| {
        Choice::new(Item::Entry(entry), entry::line(document, spot), "what is known of this guest")
    });
    rules.chain([add]).chain(entries).chain([Choice::new(Item::Back, "Back", "")]).collect()
}

/// Adds a rule: asks which guests it is about, then shows its menu.
fn add(desk: &mut Desk<'_>, host: usize) -> Answered<()> {
    let (key, value) = who::of_new(desk, host)?;
    begin(desk, host, key, value)
}

/// Makes a rule and shows its menu. One that says nothing in the end is taken out again, to the byte.
fn begin(desk: &mut Desk<'_>, host: usize, key: Setting, value: Value) -> Answered<()> {
    let was = desk.draft.document.clone();
    let made = was.rules(host).len();
    if !desk.edit(|document| document.add_rule(host, &[(key, value)]).map(|_spot| ()))? {
        return Ok(());
    }
    let ended = rule::edit(desk, host, made);
    let document = &desk.draft.document;
    let is_deleted = document.rules(host).len() == made;
    if is_deleted || rule::says(document, Spot::Rule(host, made)).is_empty() {
        desk.replace(was);
        if !is_deleted {
            desk.terminal.remark(Remark::Info, "the rule says nothing, so it was not added")?;
        }
    }
    ended
}

/// Shows the rule of a single guest; it is made where there is none.
fn rule_of(desk: &mut Desk<'_>, host: usize, guest: GuestId) -> Answered<()> {
    match (desk.draft.document.rule(host, guest), Spot::Rule(host, 0).scope().setting("id")) {
        (Some(Spot::Rule(_, rule)), _) => rule::edit(desk, host, rule),
        (_, Ok(id)) => begin(desk, host, id, Value::Number(i64::from(guest.0))),
        // The vmid is a key of every rule.
        (_, Err(_)) => Ok(()),
    }
}

/// Returns what a table itself says of a key, as it may be shown; `None` where it says nothing or holds a secret.
fn said(document: &Document, spot: Spot, key: &str) -> Option<String> {
    let setting = spot.scope().setting(key).ok()?;
    let (_, value) = document.given(spot, &setting).filter(|(_, value)| !value.is_empty())?;
    setting.shown(&value)
}

/// Returns the vmid that a rule or an entry is about; `None` where it has none that is one.
fn guest(document: &Document, spot: Spot) -> Option<GuestId> {
    said(document, spot, "id")?.parse().ok()
}

/// Returns the entry of a guest, whatever its kind.
fn entry_of(document: &Document, host: usize, id: GuestId) -> Option<Spot> {
    document.entries(host).into_iter().find(|spot| guest(document, *spot) == Some(id))
}

/// Names a guest by its vmid, and by its name where that is known.
fn called(document: &Document, host: usize, id: GuestId) -> String {
    match entry_of(document, host, id).and_then(|spot| said(document, spot, "name")) {
        Some(name) => format!("{id} ({})", shorten(&name, SHOWN)),
        None => id.to_string(),
    }
}
