//! A host's menu: its keys, and what is done with it as a whole.

use super::group::Group;
use super::{Desk, guests, identity, last_run, menu, test_host, unless_back};
use crate::cli::manifest::count;
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::manifest::edit::{Document, EditError, Scope, Setting, Spot, Value};

/// What can be done with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Test,
    Keys(Group),
    Guests,
    Inventory,
    Duplicate,
    Delete,
    Back,
}

/// Shows a host's menu until the operator goes back, or the host is gone.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn host(desk: &mut Desk<'_>, host: usize) -> Answered<()> {
    last_run::tell(desk, host)?;
    let mut at = None;
    loop {
        let name = desk.name(host);
        let spot = Spot::Host(host);
        let test = Choice::new(
            Item::Test,
            "Test this host now",
            "shows its certificate and host key, then does as doctor does",
        );
        let mut choices = vec![test];
        choices.extend(menu::groups(desk, spot, Item::Keys));
        choices.push(Choice::new(Item::Guests, "Guests", "rules for them, and what is known of them"));
        choices.push(Choice::new(
            Item::Inventory,
            "guest_inventory",
            "when the inventory was made, and with which key",
        ));
        choices.push(Choice::new(Item::Duplicate, "Duplicate", "another host with the same settings"));
        choices.push(Choice::new(Item::Delete, "Delete", ""));
        choices.push(Choice::new(Item::Back, "Back", ""));
        let item = desk.terminal.choose(&name, &choices, at.as_ref())?;
        let done = match item {
            Item::Test => test_host::test(desk, host).map(|()| false),
            Item::Keys(group) => {
                let title = |desk: &Desk<'_>| format!("{}: {}", desk.name(host), group.title());
                menu::settings(desk, title, spot, &group.settings(Scope::Host)).map(|()| false)
            }
            Item::Guests => guests::edit(desk, host).map(|()| false),
            Item::Inventory => {
                let title = |desk: &Desk<'_>| format!("{}: guest_inventory", desk.name(host));
                menu::settings(desk, title, Spot::Inventory(host), &Scope::Inventory.settings()).map(|()| false)
            }
            Item::Duplicate => duplicate(desk, host).map(|()| false),
            Item::Delete => delete(desk, host),
            Item::Back => return Ok(()),
        };
        if unless_back(done)? == Some(true) {
            return Ok(());
        }
        at = Some(item);
    }
}

/// Adds a host: asks for what it needs, then shows its menu.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn add(desk: &mut Desk<'_>) -> Answered<()> {
    let identity = identity::ask(desk, "")?;
    if !desk.edit(|document| document.add_host(&identity.settings()).map(|_spot| ()))? {
        return Ok(());
    }
    let added = desk.draft.document.hosts().len().saturating_sub(1);
    enter(desk, added, &[&identity.token_env, &identity.secret_env])
}

/// Says which variables a new host needs, and shows its menu.
fn enter(desk: &mut Desk<'_>, new: usize, variables: &[&str]) -> Answered<()> {
    variables.iter().try_for_each(|variable| desk.tell_variable(variable))?;
    unless_back(host(desk, new)).map(|_left| ())
}

/// Adds a host like another one.
fn duplicate(desk: &mut Desk<'_>, original: usize) -> Answered<()> {
    let name = desk.name(original);
    let identity = identity::ask(desk, "")?;
    let left_out = alone(&desk.draft.document, original);
    let edited = desk.edit(|document| {
        let mut changes = identity.settings();
        // The original may have a name of its own, which the copy would take along.
        if identity.name.is_none() {
            changes.extend(setting(Scope::Host, "name").map(|key| (key, Value::text(&identity.host))));
        }
        let copy = document.duplicate_host(original, &changes)?;
        strip(document, copy)
    })?;
    if !edited {
        return Ok(());
    }
    if !left_out.is_empty() {
        let text = format!("left out of the copy, since it is about {name} alone: {}", left_out.join(", "));
        desk.terminal.remark(Remark::Info, &text)?;
    }
    enter(desk, original + 1, &[&identity.token_env, &identity.secret_env])
}

/// The keys that say something of one machine and of no other.
const ALONE: [&str; 2] = ["api_fingerprint", "api_node"];

/// Names what a host's entry says of that machine and its guests alone.
fn alone(document: &Document, host: usize) -> Vec<String> {
    let spot = Spot::Host(host);
    let keys = ALONE.into_iter().filter_map(|name| setting(Scope::Host, name));
    let given = keys.filter_map(|key| document.given(spot, &key).map(|(spelling, _)| spelling.to_owned()));
    let rules = own_rules(document, host).len();
    let entries = document.entries(host).len();
    let rules = (rules > 0).then(|| count(rules, "rule") + " of single guests");
    let entries = (entries > 0).then(|| format!("{entries} guests of the inventory"));
    given.chain(rules).chain(entries).collect()
}

/// Takes what is about another machine alone out of a copy.
fn strip(document: &mut Document, copy: Spot) -> Result<(), EditError> {
    let Spot::Host(host) = copy else { return Err(EditError::NoSuchSpot(copy)) };
    for key in ALONE.into_iter().filter_map(|name| setting(Scope::Host, name)) {
        document.unset(copy, &key)?;
    }
    // From the last to the first: the others keep their numbers.
    for spot in own_rules(document, host).into_iter().rev().chain(document.entries(host).into_iter().rev()) {
        document.remove_item(spot)?;
    }
    for key in Scope::Inventory.settings().iter().filter(|key| key.name() != "version") {
        document.unset(Spot::Inventory(host), key)?;
    }
    Ok(())
}

/// Returns a host's rules that name one guest by its vmid.
fn own_rules(document: &Document, host: usize) -> Vec<Spot> {
    let Some(id) = setting(Scope::Rule, "id") else { return Vec::new() };
    document.rules(host).into_iter().filter(|rule| document.given(*rule, &id).is_some()).collect()
}

fn setting(scope: Scope, name: &str) -> Option<Setting> {
    scope.settings().into_iter().find(|setting| setting.name() == name)
}

/// Deletes a host, if the operator means it; returns whether it is gone.
fn delete(desk: &mut Desk<'_>, host: usize) -> Answered<bool> {
    let document = &desk.draft.document;
    let (rules, entries) = (document.rules(host).len(), document.entries(host).len());
    let along = [
        (rules > 0).then(|| count(rules, "rule") + " for its guests"),
        (entries > 0).then(|| format!("what is known of {}", count(entries, "guest"))),
    ];
    let along: Vec<String> = along.into_iter().flatten().collect();
    let name = desk.name(host);
    let question = match along.is_empty() {
        true => format!("Delete {name} from the manifest?"),
        false => format!("Delete {name} from the manifest, with {}?", along.join(" and ")),
    };
    if !desk.terminal.confirm(&question, false)? {
        return Ok(false);
    }
    desk.edit(|document| document.remove_item(Spot::Host(host)))
}
