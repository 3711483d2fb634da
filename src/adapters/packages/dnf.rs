//! Reads what dnf prints, in the C locale: of dnf 4, and of dnf 5, which differs in a few words.

use std::collections::BTreeMap;

use super::rpm;
use crate::adapters::remote::{Answer, fragment, harmless};
use crate::inventory::PackageChange;
use crate::machine::outcome::Fault;

/// What dnf ends with where it is told not to wait for its lock.
const LOCKED: &str = "200";

/// Reads what would change (`dnf --assumeno upgrade`), in order of name.
///
/// # Errors
///
/// A fault where the refresh of the lists, or the simulation, failed.
pub(super) fn pending(answer: &Answer) -> Result<Vec<PackageChange>, Fault> {
    if let Some(refresh) = answer.get("refresh") {
        refreshed(&refresh.value, &refresh.lines)?;
    }
    let lines = answer.lines("simulate");
    let summary = lines.iter().any(|line| line.starts_with("Transaction Summary"));
    match answer.value("simulate") {
        // It ends with 1 because the question was answered with no.
        Some("0" | "1") if summary => Ok(changes(lines, &rpm::installed(answer))),
        Some("0") => Ok(Vec::new()),
        code => Err(failed("dnf's simulated upgrade", code.unwrap_or("nothing"), lines)),
    }
}

/// Reads the packages that are locked to a version (plugin versionlock) or left out of all transactions (`excludepkgs`).
pub(super) fn held(answer: &Answer) -> Vec<String> {
    let mut held = Vec::new();
    for line in answer.lines("held").iter().map(|line| harmless(line)) {
        let Some((kind, text)) = line.split_once(' ') else { continue };
        let text = text.split('#').next().unwrap_or_default().trim();
        match kind {
            // `!` leaves single versions out, and the package goes on with others.
            "lock" if !text.starts_with('!') => held.push(locked_name(text).to_owned()),
            "toml" | "conf" => {
                let value = text.split_once('=').map_or("", |(_, value)| value);
                let names = value.split([',', ' ', '"', '\'']).map(str::trim);
                held.extend(names.map(str::to_owned));
            }
            _ => {}
        }
    }
    held.retain(|name| !name.is_empty());
    held.sort();
    held.dedup();
    held
}

/// Takes the version off a lock's pattern: `lab-tool-0:1.0-1.*` locks `lab-tool`.
fn locked_name(pattern: &str) -> &str {
    let mut parts = pattern.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_release), Some(version), Some(name)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => pattern,
    }
}

/// Tells when the lists were last refreshed, in seconds since the epoch.
pub(super) fn lists_refreshed(answer: &Answer) -> Option<i64> {
    answer.number("refreshed").max(answer.number("lists_index"))
}

/// Judges a refresh. A repository that may be missing (`skip_if_unavailable`) is passed over by dnf with a line: what is pending there
/// is then not known.
fn refreshed(code: &str, lines: &[String]) -> Result<(), Fault> {
    if code == "0" && lines.iter().all(|line| line.trim().is_empty()) {
        return Ok(());
    }
    Err(failed("refreshing dnf's lists", code, lines))
}

/// Makes the fault of a dnf that failed.
fn failed(doing: &str, code: &str, lines: &[String]) -> Fault {
    let telling = |line: &&String| line.starts_with("Error") || line.contains("Ignoring repositories");
    let shown: Vec<&String> = lines.iter().filter(telling).collect();
    let shown = if shown.is_empty() { fragment(lines) } else { fragment(&shown) };
    let what = format!("{doing} ended with {}: {shown}", harmless(code));
    let said = |sign: &str| lines.iter().any(|line| line.contains(sign));
    if code == LOCKED || said("locked by") || said("transaction lock") {
        Fault::transient(what).hint("another package manager is at work on that machine")
    } else if said("GPG") || said("key") && said("not installed") {
        Fault::permanent(what).hint("the repository's signing key is unknown or out of date on this machine")
    } else if said("Failed to download metadata") || said("Ignoring repositories") || said("Curl error") {
        Fault::transient(what)
    } else {
        Fault::permanent(what)
    }
}

/// What a section of the table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Change,
    Install,
    Remove,
}

/// Reads the table of a transaction: sections (`Upgrading:`, `Installing dependencies:`, `Removing:`, ..), of which each has rows
/// `name arch version repository size unit`, broken into lines where they are long. Below a row may stand what the package takes the
/// place of: `replacing name.arch version` (dnf 4), `replacing name arch version ..` (dnf 5, also of the package's own old version).
fn changes(lines: &[String], installed: &BTreeMap<(String, String), String>) -> Vec<PackageChange> {
    let mut rows: Vec<(String, String, Option<String>, Option<String>)> = Vec::new();
    let mut act = None;
    let mut words: Vec<String> = Vec::new();
    for line in lines.iter().map(|line| harmless(line)) {
        if line.starts_with("Transaction Summary") {
            break;
        }
        if !line.starts_with(' ') {
            words.clear();
            act = section(line.trim());
            continue;
        }
        let Some(act) = act else { continue };
        words.extend(line.split_whitespace().map(str::to_owned));
        let row: Vec<&str> = words.iter().map(String::as_str).collect();
        match row.as_slice() {
            ["replacing", name_arch, version] => {
                if let Some((name, arch)) = name_arch.rsplit_once('.') {
                    rows.push((name.to_owned(), arch.to_owned(), Some((*version).to_owned()), None));
                }
            }
            ["replacing", name, arch, version, ..] => {
                // The old version of a package that is listed itself is no removal.
                match rows.last_mut().filter(|row| row.0 == *name) {
                    Some(row) => row.2 = Some((*version).to_owned()),
                    None => rows.push(((*name).to_owned(), (*arch).to_owned(), Some((*version).to_owned()), None)),
                }
            }
            ["replacing", ..] => {}
            [name, arch, version, _repository, _size, _unit] => {
                let (name, arch, version) = ((*name).to_owned(), (*arch).to_owned(), (*version).to_owned());
                // Also where it changes from one architecture to another, as long as there is no doubt.
                let old = || {
                    let mut others = installed.iter().filter(|((one, _), _)| *one == name).map(|(_, version)| version);
                    let only = others.next().filter(|_| others.next().is_none());
                    installed.get(&(name.clone(), arch.clone())).or(only).cloned()
                };
                let (old, new) = match act {
                    Act::Change => (old(), Some(version)),
                    Act::Install => (None, Some(version)),
                    Act::Remove => (Some(version), None),
                };
                rows.push((name, arch, old, new));
            }
            // A row that goes on in the next line.
            _ => continue,
        }
        words.clear();
    }
    let several = |name: &str| rows.iter().filter(|row| row.0 == name).count() > 1;
    let mut changes: Vec<PackageChange> = rows
        .iter()
        .map(|(name, arch, old, new)| PackageChange {
            name: if several(name) { format!("{name}.{arch}") } else { name.clone() },
            old: old.clone(),
            new: new.clone(),
        })
        .collect();
    changes.sort();
    changes.dedup();
    changes
}

/// Reads the head of a section.
fn section(head: &str) -> Option<Act> {
    let head = head.strip_suffix(':')?;
    let begins = |word: &str| head == word || head.strip_prefix(word).is_some_and(|rest| rest.starts_with(' '));
    if begins("Upgrading") || begins("Downgrading") || begins("Reinstalling") {
        Some(Act::Change)
    } else if begins("Installing") {
        Some(Act::Install)
    } else if begins("Removing") {
        Some(Act::Remove)
    } else {
        // `Skipping packages with conflicts`, modules, groups: nothing that is done to a package.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::outcome::FaultClass;

    const FOUR: &str = include_str!("../../../fixtures/packages/dnf4-simulate.txt");
    const FIVE: &str = include_str!("../../../fixtures/packages/dnf5-simulate.txt");

    fn expected(name: &str, old: Option<&str>, new: Option<&str>) -> PackageChange {
        PackageChange { name: name.into(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
    }

    fn answer(code: &str, text: &str, installed: &str) -> Answer {
        let lines = |text: &str| text.lines().map(|line| format!("|{line}\n")).collect::<String>();
        Answer::of_text(&format!("@simulate {code}\n{}@installed\n{}", lines(text), lines(installed)))
    }

    #[test]
    fn a_table_of_dnf_4_is_read() {
        let installed = "lab-daemon noarch 1.0-1\nlab-held noarch 1.0-1\nlab-tool noarch 1.0-1\nlab-old noarch 1.0-1\n\
                         lab-with-a-name-that-is-longer-than-any-column-of-the-table x86_64 1:1.0-1\nlab-lib i686 1-1\nlab-lib x86_64 1-1\nlab-user x86_64 1.0-1";
        assert_eq!(
            pending(&answer("1", FOUR, installed)).expect("a list"),
            [
                expected("lab-added", None, Some("1.0-1")),
                expected("lab-daemon", Some("1.0-1"), Some("2.0-1")),
                expected("lab-lib.i686", Some("1-1"), Some("2-1")),
                expected("lab-lib.x86_64", Some("1-1"), Some("2-1")),
                expected("lab-new", None, Some("2.0-1")),
                expected("lab-old", Some("1.0-1"), None),
                expected("lab-tool", Some("1.0-1"), Some("2.0-1")),
                expected("lab-unneeded", Some("0.9-1"), None),
                expected("lab-user", Some("1.0-1"), Some("2.0-1")),
                expected(
                    "lab-with-a-name-that-is-longer-than-any-column-of-the-table",
                    Some("1:1.0-1"),
                    Some("1:2.0-1")
                ),
            ]
        );
    }

    #[test]
    fn a_table_of_dnf_5_is_read() {
        assert_eq!(
            pending(&answer("1", FIVE, "lab-tool x86_64 1.0-1\nlab-old noarch 1.0-1")).expect("a list"),
            [
                expected("lab-added", None, Some("1.0-1")),
                expected("lab-new", None, Some("2.0-1")),
                expected("lab-old", Some("1.0-1"), None),
                expected("lab-tool", Some("1.0-1"), Some("2.0-1")),
                expected("lab-unneeded", Some("0.9-1"), None),
            ]
        );
    }

    #[test]
    fn nothing_to_do_is_told_from_a_failure() {
        assert_eq!(pending(&answer("0", "Dependencies resolved.\nNothing to do.\nComplete!", "")), Ok(Vec::new()));
        let class = |code, text| pending(&answer(code, text, "")).expect_err("failed").class;
        assert_eq!(class("1", "Error: \n Problem: package a requires b, but none is installed"), FaultClass::Permanent);
        assert_eq!(class("200", "metadata already locked by 491"), FaultClass::Transient);
        assert_eq!(class("1", "Error: Failed to download metadata for repo 'lab'"), FaultClass::Transient);
        assert_eq!(pending(&answer("", "", "")).expect_err("no answer").class, FaultClass::Permanent);
    }

    #[test]
    fn a_repository_that_was_passed_over_is_a_failed_refresh() {
        let refreshed = |text: &str| pending(&Answer::of_text(&format!("@refresh {text}\n@simulate 0\n")));
        assert!(refreshed("0").is_ok());
        let fault = refreshed("0\n|Ignoring repositories: lab").expect_err("passed over");
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(refreshed("1\n|Error: GPG check FAILED").expect_err("failed").hint.is_some());
    }

    #[test]
    fn locks_and_excludes_are_named() {
        let text = "@held\n|lock # Added lock on ..\n|lock lab-held-0:1.0-1.*\n|lock lab-glob-*\n|lock !lab-not-0:1-1.*\n\
                    |toml name = \"lab-five\"\n|conf exclude=lab-a, lab-b* lab-c # no more\n|conf excludepkgs =\n";
        assert_eq!(held(&Answer::of_text(text)), ["lab-a", "lab-b*", "lab-c", "lab-five", "lab-glob-*", "lab-held"]);
    }
}
