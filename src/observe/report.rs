//! The closing report of a run: a table of hosts, what wants a reboot, and what to do next.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color};

use super::grid;
use super::sanitize::{clean, shorten};
use super::style::Paint;
use super::view::{GuestStanding, HostView, RunView};
use super::words::{self, count, list, some};
use crate::machine::host::HostResult;

/// Longest reason in the table: the whole of it stands in `proxmaint status RUN --host HOST`.
const MAX_REASON: usize = 200;
/// Most hosts whose trouble is spelled out below the table; the table itself has them all.
const MAX_SPELLED: usize = 50;

/// Returns the word for a host's result.
pub fn verdict(result: HostResult) -> &'static str {
    match result {
        HostResult::NothingToDo => "nothing to do",
        HostResult::Succeeded => "done",
        HostResult::Skipped => "left out",
        HostResult::Blocked => "blocked",
        HostResult::Failed => "failed",
        HostResult::Held => "held",
        HostResult::Unfinished => "not over",
    }
}

/// Paints a word by a host's result.
pub fn painted(result: HostResult, text: &str, paint: Paint) -> String {
    match result {
        HostResult::NothingToDo | HostResult::Succeeded => paint.good(text),
        HostResult::Skipped => paint.faint(text),
        HostResult::Blocked | HostResult::Failed => paint.bad(text),
        HostResult::Held => paint.warn(text),
        HostResult::Unfinished => paint.note(text),
    }
}

/// Writes the closing report of a full view. `width` is the terminal's, where there is one.
pub fn text(view: &RunView, width: Option<u16>, paint: Paint) -> String {
    let mut out = table(view, width, paint);
    out.push('\n');
    reboots(&mut out, view);
    remarks(&mut out, view);
    owed(&mut out, view, paint);
    next(&mut out, view, paint);
    if let Some(host) = view.hosts.iter().find(|host| changed(host) > 0) {
        let packages: usize = view.hosts.iter().map(changed).sum();
        let all = format!("proxmaint status {} --host {}", view.run, quoted(host.host.as_str()));
        let _ok = writeln!(out, "{} changed; old and new versions: {}", count(packages, "package"), paint.note(&all));
    }
    out
}

/// Returns how many packages changed on a host and in its guests.
fn changed(host: &HostView) -> usize {
    host.changed + host.guests.iter().map(|guest| guest.changed).sum::<usize>()
}

fn quoted(name: &str) -> String {
    clean(&shell_words::quote(name)).into_owned()
}

fn table(view: &RunView, width: Option<u16>, paint: Paint) -> String {
    let mut table = grid::table(width, paint);
    // Rare enough that most tables do without.
    let undone = view.hosts.iter().any(|host| host.counts.rolled_back > 0);
    let header = ["host", "verdict", "upgraded", "skipped", "blocked", "failed", "rolled back", "time", "reason"];
    table.set_header(header.into_iter().filter(|word| undone || *word != "rolled back"));
    for host in &view.hosts {
        let counts = host.counts;
        let mut verdict_cell = Cell::new(verdict(host.result));
        verdict_cell = match host.result {
            HostResult::NothingToDo | HostResult::Succeeded => verdict_cell.fg(Color::Green),
            HostResult::Blocked | HostResult::Failed => verdict_cell.fg(Color::Red).add_attribute(Attribute::Bold),
            HostResult::Held => verdict_cell.fg(Color::Yellow).add_attribute(Attribute::Bold),
            HostResult::Skipped | HostResult::Unfinished => verdict_cell,
        };
        let spent = host.duration_ms.map_or_else(String::new, |ms| words::span(Duration::from_millis(ms)));
        let mut row = vec![
            Cell::new(clean(host.host.as_str())),
            verdict_cell,
            Cell::new(counts.upgraded),
            Cell::new(counts.skipped),
            Cell::new(counts.blocked),
            Cell::new(counts.failed),
        ];
        row.extend(undone.then(|| Cell::new(counts.rolled_back)));
        row.push(Cell::new(spent));
        row.push(Cell::new(host.reason.as_deref().map_or_else(String::new, |reason| shorten(reason, MAX_REASON))));
        table.add_row(row);
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Names what wants a reboot: none is done unasked.
fn reboots(out: &mut String, view: &RunView) {
    let mut wanted = Vec::new();
    for host in &view.hosts {
        if host.reboot_wanted.is_some() {
            wanted.push(format!("{} (the node)", clean(host.host.as_str())));
        }
        let guests = host.guests.iter().filter(|guest| guest.reboot_wanted.is_some());
        wanted.extend(guests.map(|guest| format!("{} on {}", clean(&guest.label()), clean(host.host.as_str()))));
    }
    if !wanted.is_empty() {
        let more = some(wanted.len().saturating_sub(MAX_SPELLED), "more");
        wanted.truncate(MAX_SPELLED);
        let _ok = writeln!(out, "Reboot pending, not done by this run: {}", list(wanted.into_iter().chain([more])));
    }
}

/// Names what was rebooted, and what upgrades left for the administrator.
fn remarks(out: &mut String, view: &RunView) {
    let mut lines = Vec::new();
    for host in &view.hosts {
        let name = clean(host.host.as_str());
        if let Some(kernel) = &host.rebooted {
            lines.push(format!("{name}: was rebooted into kernel {}", clean(kernel)));
        }
        let of_node = words::remarks(&host.remarks);
        lines.extend(of_node.into_iter().map(|remark| format!("{name}: {remark}")));
        for guest in &host.guests {
            let label = guest.label();
            let found = words::remarks(&guest.remarks);
            let rebooted = guest.rebooted.then(|| "was rebooted".to_owned());
            lines
                .extend(rebooted.into_iter().chain(found).map(|remark| format!("{name}: {}: {remark}", clean(&label))));
        }
    }
    let more = lines.len().saturating_sub(MAX_SPELLED);
    for line in lines.iter().take(MAX_SPELLED) {
        let _ok = writeln!(out, "{line}");
    }
    if more > 0 {
        let _ok = writeln!(out, "... and {more} more: proxmaint status {} --output json", view.run);
    }
}

/// Names what is still owed: every bit of it, however long the list is.
fn owed(out: &mut String, view: &RunView, paint: Paint) {
    for host in &view.hosts {
        for owed in &host.owed {
            let label = paint.warn("still owed");
            let _ok = writeln!(out, "{}: {label}: {}", clean(host.host.as_str()), clean(&owed.line()));
        }
    }
}

/// Says what to do about each failure, hold and wait.
fn next(out: &mut String, view: &RunView, paint: Paint) {
    let trouble = |host: &&HostView| {
        matches!(host.result, HostResult::Failed | HostResult::Blocked | HostResult::Held | HostResult::Unfinished)
    };
    let hosts: Vec<&HostView> = view.hosts.iter().filter(trouble).collect();
    for host in hosts.iter().take(MAX_SPELLED) {
        troubles(out, host, paint);
    }
    if hosts.len() > MAX_SPELLED {
        let _ok = writeln!(out, "... and {} more: proxmaint status {}", hosts.len() - MAX_SPELLED, view.run);
    }
    for advice in view.next.iter().take(MAX_SPELLED) {
        let command = paint.note(&clean(&advice.command));
        match advice.host {
            Some(_) => {
                let about = match (&advice.host, advice.guest) {
                    (Some(host), Some(guest)) => format!("guest {guest} on {}", clean(host.as_str())),
                    (Some(host), None) => clean(host.as_str()).into_owned(),
                    (None, _) => String::new(),
                };
                let why = shorten(&advice.why, MAX_REASON);
                let _ok = writeln!(out, "To decide about {about}: {command}  ({why})");
            }
            None => {
                let _ok = writeln!(out, "Next: {command}  ({})", clean(&advice.why));
            }
        }
    }
}

/// Spells out what went wrong on one host: each guest by itself, since the table has the first reason only.
fn troubles(out: &mut String, host: &HostView, paint: Paint) {
    let name = clean(host.host.as_str());
    for guest in &host.guests {
        let what = match guest.state {
            GuestStanding::Failed if guest.held => paint.bad("failed, held"),
            GuestStanding::Failed => paint.bad("failed"),
            GuestStanding::RolledBack => paint.bad("rolled back"),
            GuestStanding::Blocked => paint.bad("blocked"),
            GuestStanding::Held => paint.warn("held"),
            _ => continue,
        };
        let reason = guest.reason.as_deref().unwrap_or("no reason is known");
        let _ok = writeln!(out, "{name}: {} {what}: {}", clean(&guest.label()), clean(reason));
        if let Some(kept) = guest.kept.last() {
            let _ok = writeln!(out, "  kept for a rollback: {} {}", kept.kind.word(), clean(&kept.name));
        }
        if let Some(hint) = &guest.hint {
            let _ok = writeln!(out, "  {} {}", paint.note("hint:"), clean(hint));
        }
    }
    if let Some(reason) = host.reason.as_deref().filter(|_| !host.reason_is_a_guests()) {
        let _ok = writeln!(out, "{name}: {}: {}", painted(host.result, verdict(host.result), paint), clean(reason));
        if let Some(hint) = &host.hint {
            let _ok = writeln!(out, "  {} {}", paint.note("hint:"), clean(hint));
        }
    }
}
