//! Which module may import which. The table is the one in ARCHITECTURE.md; here it is enforced.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what it may import of ours besides itself. A path with `::` allows just that part.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("time", &[]),
    ("choices", &["ids"]),
    ("manifest", &["choices", "ids", "time"]),
    ("inventory", &["choices", "ids", "time"]),
    ("plan", &["inventory", "choices", "ids", "time"]),
    ("machine", &["plan", "inventory", "choices", "ids", "time"]),
    ("journal", &["machine", "plan", "inventory", "ids", "time"]),
    ("engine", &["machine", "plan", "journal", "inventory", "choices", "ids", "time"]),
    ("adapters", &["engine::port", "inventory", "choices", "ids", "time", "machine::effect", "machine::outcome"]),
    (
        "observe",
        &[
            "engine::port",
            "engine::observer",
            "machine",
            "plan",
            "journal::record",
            "journal::replay",
            "inventory",
            "choices",
            "ids",
            "time",
        ],
    ),
    (
        "cli",
        &[
            "adapters",
            "choices",
            "engine",
            "ids",
            "inventory",
            "journal",
            "machine",
            "manifest",
            "observe",
            "plan",
            "time",
        ],
    ),
];

/// What the pure modules may not even name.
const IMPURE: &[&str] =
    &["tokio::", "reqwest::", "sled::", "std::fs", "SystemTime", "Instant::now", "getrandom", "std::net", "std::env"];

fn sources(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![under.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of a file, unit tests and comments left out.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths behind `crate::`, with `use crate::{a, b::c}` taken apart at its first level.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inside = &group[..group.find('}').unwrap_or(group.len())];
            found.extend(inside.split(',').map(|part| path_of(part.trim())).filter(|path| !path.is_empty()));
        } else {
            found.insert(path_of(rest));
        }
    }
    found
}

/// The leading lower-case components of a path: `machine::outcome::Fault` is `machine::outcome`.
fn path_of(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let parts = text[..end].split("::").take_while(|part| part.starts_with(|c: char| c.is_lowercase()));
    parts.collect::<Vec<_>>().join("::")
}

fn module_of(path: &Path) -> Option<String> {
    let first = path.strip_prefix(src()).unwrap().components().next()?;
    let name = first.as_os_str().to_str()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (!matches!(name, "main" | "lib")).then(|| name.to_owned())
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let Some(module) = module_of(&path) else { continue };
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            panic!("{} is in a module that the table does not have", path.display());
        };
        for import in imports(&code(&path)) {
            let within = import.split("::").next() == Some(module.as_str());
            let fits = |entry: &&&str| import == **entry || import.starts_with(&format!("{entry}::"));
            if !within && !allowed.iter().any(|entry| fits(&entry)) {
                wrong.push(format!("{} imports crate::{import}", path.strip_prefix(src()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn plan_and_machine_are_pure() {
    let mut wrong = Vec::new();
    for module in ["plan", "machine", "ids.rs", "time.rs", "inventory.rs"] {
        for path in sources(&src().join(module)) {
            let code = code(&path);
            wrong.extend(
                IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_cli_and_observe_print() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        if module_of(&path).is_none_or(|module| matches!(module.as_str(), "cli" | "observe")) {
            continue;
        }
        let code = code(&path);
        for word in ["tell!", "println!", "eprintln!", "print!(", "eprint!(", "stdout()", "stderr()"] {
            if code.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_driver_alone_appends_in_the_engine() {
    for path in sources(&src().join("engine")) {
        if path.ends_with("driver.rs") {
            continue;
        }
        let code = code(&path);
        assert!(!code.contains(".append(") && !code.contains(".submit("), "{} appends to the journal", path.display());
    }
}

#[test]
fn the_table_in_the_document_is_this_one() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (module, allowed) in MAY_IMPORT {
        let cell = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
        let row = format!("| `{module}` | {cell} |");
        assert!(document.contains(&row), "ARCHITECTURE.md lacks the row\n{row}");
    }
}
