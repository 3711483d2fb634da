//! How what runs made is written: for people, and as JSON.
//!
//! # The JSON of `proxmaint snapshots list --output json`
//! One object. Times are RFC 3339 in UTC, spans are milliseconds, what is not known is `null`. New fields may come within
//! version 1.
//!
//! | field | meaning |
//! |---|---|
//! | `v` | version of this format: 1 |
//! | `left[]` | what is there now of what runs made, by host and guest, oldest first |
//! | `left[].host`, `.node` | the manifest's entry, and the node that has the guest |
//! | `left[].guest`, `.kind`, `.guest_name` | number, `ct` or `vm`, name |
//! | `left[].what`, `.name`, `.note` | `snapshot` with its name, or `backup` with its volume identifier and its note |
//! | `left[].run`, `.made`, `.age_ms` | the run that made it, when, and how long ago that is |
//! | `left[].removable` | whether `snapshots prune` would remove it |
//! | `left[].stays` | why it stays: `run-open`, `needed` (the guest did not come out well since), `young`, `newest`, `no-identity`, `no-policy`, `guest-gone`, `another-guest`, `locked`, `left-alone`, `elsewhere`; `null` where it is removable |
//! | `errors[]` | hosts that could not be looked at: `host`, `error`, `hint` |

use std::fmt::Write as _;

use serde::Serialize;

use super::Item;
use crate::cli::kept::{Fate, Thing};
use crate::ids::{GuestId, GuestKind, HostId, NodeName, RunId};
use crate::machine::outcome::Fault;
use crate::observe::sanitize::{clean, clean_json};
use crate::observe::style::Paint;
use crate::observe::when;
use crate::observe::words;
use crate::time::Timestamp;

/// The version of the JSON.
const VERSION: u32 = 1;

/// Writes what is there for people, hosts apart.
pub(super) fn text(items: &[Item], failed: &[(HostId, Fault)], now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    let mut host: Option<&HostId> = None;
    for item in items {
        let left = &item.found.left;
        if host.replace(&left.host) != Some(&left.host) {
            let _ok = writeln!(out, "{}", paint.strong(&clean(left.host.as_str())));
        }
        let guest = words::guest(left.guest.kind, left.guest.id, &left.name);
        let (what, name) = named(&left.thing);
        let age = words::span(now.since(left.made));
        let fate = match item.stays() {
            None => paint.warn("to be removed"),
            Some(why) => paint.faint(&format!("stays: {why}")),
        };
        let _ok = writeln!(out, "  {guest}: {what} {}, {age} old, of run {}  {fate}", clean(name), left.run);
    }
    for (host, fault) in failed {
        let label = paint.bad("could not be looked at");
        let _ok = writeln!(out, "{}  {label}: {}", clean(host.as_str()), clean(&fault.what));
        if let Some(hint) = &fault.hint {
            let _ok = writeln!(out, "  {} {}", paint.note("hint:"), clean(hint));
        }
    }
    if out.is_empty() {
        out.push_str("No snapshot and no backup that proxmaint made is there.\n");
    }
    out
}

fn named(thing: &Thing) -> (&'static str, &str) {
    match thing {
        Thing::Snapshot(name) => ("snapshot", name.as_str()),
        Thing::Backup { volid: Some(volid), .. } => ("backup", volid),
        Thing::Backup { volid: None, note } => ("backup", note),
    }
}

#[derive(Serialize)]
struct Report<'a> {
    v: u32,
    left: Vec<Entry<'a>>,
    errors: Vec<Trouble<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    host: &'a HostId,
    node: &'a NodeName,
    guest: GuestId,
    kind: GuestKind,
    guest_name: &'a str,
    what: &'static str,
    name: &'a str,
    note: Option<&'a str>,
    run: &'a RunId,
    #[serde(with = "when")]
    made: Timestamp,
    age_ms: u64,
    removable: bool,
    stays: Option<&'static str>,
}

#[derive(Serialize)]
struct Trouble<'a> {
    host: &'a HostId,
    error: &'a str,
    hint: Option<&'a str>,
}

/// Writes what is there for programs, ending in a line break.
pub(super) fn json(items: &[Item], failed: &[(HostId, Fault)], now: Timestamp) -> String {
    let left = items.iter().map(|item| entry(item, now)).collect();
    let errors =
        failed.iter().map(|(host, fault)| Trouble { host, error: &fault.what, hint: fault.hint.as_deref() }).collect();
    match serde_json::to_string(&Report { v: VERSION, left, errors }) {
        Ok(text) => clean_json(text) + "\n",
        // Plain data without odd map keys always serialises.
        Err(error) => serde_json::json!({"v": VERSION, "error": error.to_string()}).to_string() + "\n",
    }
}

fn entry(item: &Item, now: Timestamp) -> Entry<'_> {
    let left = &item.found.left;
    let (what, name) = named(&left.thing);
    Entry {
        host: &left.host,
        node: &item.found.node,
        guest: left.guest.id,
        kind: left.guest.kind,
        guest_name: &left.name,
        what,
        name,
        note: match &left.thing {
            Thing::Snapshot(_) => None,
            Thing::Backup { note, .. } => Some(note),
        },
        run: &left.run,
        made: left.made,
        age_ms: u64::try_from(now.since(left.made).as_millis()).unwrap_or(u64::MAX),
        removable: item.goes(),
        stays: match (item.found.obstacle, item.fate) {
            (Some(obstacle), _) => Some(obstacle.name()),
            (None, Fate::Stays(why)) => Some(why.name()),
            (None, Fate::Goes) => None,
        },
    }
}
