//! Shows what was found, as tables.

use comfy_table::{Cell, Color};

use super::guests::{Guest, Host};
use crate::inventory::Power;
use crate::observe::grid;
use crate::observe::sanitize::{clean, shorten};
use crate::observe::style::Paint;
use crate::observe::words::count;

/// Longest reason in a table, in characters.
const MAX_REASON: usize = 120;

/// Says what a host was found to have: in a line, and in a table of its guests, where it has any.
pub(super) fn host(host: &Host, width: Option<u16>, paint: Paint) -> (String, Option<String>) {
    let node = host.survey.node.as_str();
    let name = match host.entry.id.as_str() {
        id if id == node => clean(id).into_owned(),
        id => format!("{} (node {})", clean(id), clean(node)),
    };
    let guests: Vec<Guest<'_>> = host.guests().collect();
    let templates = host.survey.guests.len() - guests.len();
    let left_out = match templates {
        0 => String::new(),
        n => format!(" (and {}, left out)", count(n, "template")),
    };
    let title = format!("{name}: {}{left_out}", count(guests.len(), "guest"));
    if guests.is_empty() {
        return (title, None);
    }
    let mut table = grid::table(width, paint);
    table.set_header(["vmid", "kind", "name", "status", "address", "managed", "user", "ways in"]);
    for guest in &guests {
        table.add_row([
            Cell::new(guest.sighting.id),
            Cell::new(guest.sighting.kind),
            Cell::new(clean(&guest.sighting.name)),
            status(guest),
            Cell::new(address(guest)),
            Cell::new(managed(guest)),
            Cell::new(clean(guest.user())),
            Cell::new(entered_by(guest)),
        ]);
    }
    (title, Some(table.trim_fmt()))
}

/// Names a power state.
fn power(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Stopped => "stopped",
        Power::Other => "neither on nor off",
    }
}

fn status(guest: &Guest<'_>) -> Cell {
    let cell = Cell::new(power(guest.sighting.power));
    if guest.runs() { cell.fg(Color::Green) } else { cell }
}

/// Says where it is, the manifest's word first; or why nobody knows.
fn address(guest: &Guest<'_>) -> String {
    let addresses = guest.addresses();
    match (addresses.first(), &guest.sighting.unaddressed) {
        (Some(address), _) => match addresses.len() {
            1 => clean(address).into_owned(),
            n => format!("{} (+{})", clean(address), n - 1),
        },
        (None, Some(why)) => format!("- ({})", shorten(why, MAX_REASON)),
        (None, None) => "-".to_owned(),
    }
}

/// Says what the manifest says now of whether it is managed.
fn managed(guest: &Guest<'_>) -> String {
    let word = |managed: bool| if managed { "yes" } else { "no" };
    match (guest.decided(), guest.managed_now()) {
        (Some(decided), _) => format!("{} ({})", word(decided.managed), clean(&decided.by)),
        (None, Some(managed)) => word(managed).to_owned(),
        (None, None) if guest.listed().is_some() => "not said".to_owned(),
        (None, None) => "not known yet".to_owned(),
    }
}

fn entered_by(guest: &Guest<'_>) -> String {
    match guest.ways().is_empty() {
        true => format!("no way ({} has none such)", guest.sighting.kind),
        false => guest.named_ways(),
    }
}
