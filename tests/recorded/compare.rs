//! Whether two bodies say the same: the same keys, the same JSON types, the same words; what differs from run to run left out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// How lists and maps are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The same entries, each the same.
    Same,
    /// Entries of the same kind, however many: every entry of the lab's has the keys that all recorded ones have, and no key that none
    /// of them has.
    Kind,
    /// What was recorded is there; there may be more.
    AtLeast,
}

/// Keys whose values are compared; all others only by type.
const TELLING: &[&str] = &[
    "status",
    "exitstatus",
    "type",
    "name",
    "vmid",
    "node",
    "message",
    "errors",
    "hasFeature",
    "lock",
    "content",
    "user",
    "tokenid",
    "sid",
    "quorate",
    "local",
    "online",
    "managed",
    "running",
    "exited",
    "exitcode",
    "out-data",
    "err-data",
    "out-truncated",
    "err-truncated",
    "allowed-nodes",
    "not-allowed-nodes",
    "parent",
    "description",
    "notes",
    "subtype",
    "format",
    "protected",
    "filename",
    "active",
    "enabled",
    "shared",
    "storage",
    "service",
    "request_state",
    "key",
    "vmstate",
    "qmpstatus",
    "hostname",
    "ostype",
    "unprivileged",
    "arch",
    "agent",
    "nodes",
    "version",
    "release",
    "total",
];

/// Names an entry of a list.
const NAMES: &[&str] = &["vmid", "filename", "service", "key", "n", "id", "name", "node", "storage", "Package"];

/// Returns what differs, each with its place in the body.
pub fn differences(mode: Mode, recorded: &Value, lab: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(mode, "", recorded, lab, &mut found);
    found
}

fn compare(mode: Mode, at: &str, recorded: &Value, lab: &Value, found: &mut Vec<String>) {
    match (recorded, lab) {
        (Value::Object(r), Value::Object(l)) => objects(mode, at, r, l, found),
        (Value::Array(r), Value::Array(l)) => arrays(mode, at, r, l, found),
        // Some numbers are null on a node that does not measure them.
        (Value::Null, Value::Number(_)) | (Value::Number(_), Value::Null) if at.contains("pressure") => {}
        // Null where the recorded package had no section; the schema says text.
        (Value::Null | Value::Number(_), Value::String(_)) if at.ends_with("Section") || at.ends_with("Priority") => {}
        _ if kind(recorded) != kind(lab) => {
            found.push(format!("{at}: recorded {recorded} ({}), lab {lab} ({})", kind(recorded), kind(lab)));
        }
        _ => {
            let key = at.rsplit('/').next().unwrap_or_default();
            if mode == Mode::Same && TELLING.contains(&key) && plain(recorded) != plain(lab) {
                found.push(format!("{at}: recorded {recorded}, lab {lab}"));
            }
        }
    }
}

fn objects(mode: Mode, at: &str, recorded: &Map<String, Value>, lab: &Map<String, Value>, found: &mut Vec<String>) {
    for (key, value) in recorded {
        match lab.get(key) {
            Some(own) => compare(mode, &format!("{at}/{key}"), value, own, found),
            None => found.push(format!("{at}/{key}: recorded {value}, lab has no such key")),
        }
    }
    if mode != Mode::AtLeast {
        for (key, value) in lab.iter().filter(|(key, _)| !recorded.contains_key(*key)) {
            found.push(format!("{at}/{key}: only the lab has it: {value}"));
        }
    }
}

fn arrays(mode: Mode, at: &str, recorded: &[Value], lab: &[Value], found: &mut Vec<String>) {
    if mode == Mode::Kind && recorded.iter().any(Value::is_object) {
        return kinds(at, recorded, lab, found);
    }
    let Some(name) = NAMES.iter().find(|n| recorded.iter().chain(lab).all(|e| e.get(**n).is_some())) else {
        for (i, own) in lab.iter().enumerate() {
            if let Some(first) = recorded.first() {
                compare(mode, &format!("{at}[{i}]"), recorded.get(i).unwrap_or(first), own, found);
            }
        }
        if mode == Mode::Same && recorded.len() != lab.len() {
            found.push(format!("{at}: recorded {} entries, lab {}", recorded.len(), lab.len()));
        }
        return;
    };
    let named = |list: &[Value]| -> BTreeSet<String> { list.iter().map(|e| e[*name].to_string()).collect() };
    for entry in recorded {
        let here = format!("{at}[{name}={}]", entry[*name]);
        match lab.iter().find(|own| own[*name] == entry[*name]) {
            Some(own) => compare(mode, &here, entry, own, found),
            None => found.push(format!("{here}: the lab does not have it")),
        }
    }
    for extra in named(lab).difference(&named(recorded)).filter(|_| mode == Mode::Same) {
        found.push(format!("{at}[{name}={extra}]: only the lab has it"));
    }
}

fn kinds(at: &str, recorded: &[Value], lab: &[Value], found: &mut Vec<String>) {
    let keys =
        |e: &Value| -> BTreeSet<String> { e.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default() };
    let every: BTreeSet<String> = recorded.iter().flat_map(keys).collect();
    let always: BTreeSet<String> =
        every.iter().filter(|k| recorded.iter().all(|e| e.get(*k).is_some())).cloned().collect();
    if lab.is_empty() {
        found.push(format!("{at}: the lab's list is empty, nothing was compared"));
    }
    for (i, own) in lab.iter().enumerate() {
        let has = keys(own);
        found.extend(has.difference(&every).map(|k| format!("{at}[{i}]/{k}: no recorded entry has it")));
        found.extend(always.difference(&has).map(|k| format!("{at}[{i}]/{k}: every recorded entry has it")));
        for key in &has {
            if let Some(example) = recorded.iter().find_map(|e| e.get(key)) {
                compare(Mode::Kind, &format!("{at}[{i}]/{key}"), example, &own[key], found);
            }
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Makes a value comparable: identifiers of tasks, and lists whose order means nothing.
fn plain(value: &Value) -> String {
    let mut parts: Vec<&str> = value.as_str().map(|text| text.split(',').collect()).unwrap_or_default();
    parts.sort_unstable();
    let text = if parts.is_empty() { value.to_string() } else { parts.join(",") };
    if text.contains("UPID:") { "a UPID".to_owned() } else { lines::normal(&text) }
}

/// Lines of task logs.
pub mod lines {
    /// Replaces what differs from run to run: dates, numbers of processes, sizes, the file system of a temporary directory.
    pub fn normal(line: &str) -> String {
        let mut out = String::new();
        let mut digits = false;
        for c in line.chars() {
            if c.is_ascii_digit() {
                if !digits {
                    out.push('#');
                }
                digits = true;
            } else {
                digits = false;
                out.push(c);
            }
        }
        out.replace("'overlay'", "'fs'").replace("'ext#'", "'fs'").replace("<#", "#").replace("#_#_#-#_#_#", "DATE")
    }

    /// Makes a log comparable: what an interpreter mutters is left out, a command line's words are put in order.
    pub fn log(lines: &[serde_json::Value]) -> Vec<String> {
        let text = |l: &serde_json::Value| l["t"].as_str().unwrap_or_default().to_owned();
        let muttered = |l: &String| !l.contains("warning of the Perl interpreter");
        let tidy = |l: String| match l.strip_prefix("INFO: starting new backup job: vzdump ") {
            Some(words) => {
                let mut options: Vec<&str> = words.split(" --").collect();
                options.sort_unstable();
                normal(&options.join(" --"))
            }
            None => normal(&l),
        };
        lines.iter().map(text).filter(muttered).map(tidy).collect()
    }
}
