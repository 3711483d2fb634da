//! Reads what zypper prints with `--xmlout`.

use crate::adapters::remote::{Answer, fragment, harmless};
use crate::inventory::PackageChange;
use crate::machine::outcome::Fault;

/// What zypper ends with where another one has its lock (`ZYPPER_EXIT_ZYPP_LOCKED`).
const LOCKED: &str = "7";

/// Reads what would change (`zypper update --dry-run`), in order of name.
///
/// # Errors
///
/// A fault where the refresh of the repositories, or the simulation, failed.
pub(super) fn pending(answer: &Answer) -> Result<Vec<PackageChange>, Fault> {
    if let Some(refresh) = answer.get("refresh").filter(|refresh| refresh.value != "0") {
        return Err(failed("zypper refresh", &refresh.value, &refresh.lines));
    }
    match answer.value("simulate") {
        Some("0" | "102" | "103") => Ok(changes(answer.lines("simulate"))),
        code => Err(failed("zypper's simulated update", code.unwrap_or("nothing"), answer.lines("simulate"))),
    }
}

/// Reads the locks (`zypper addlock`): names, which may have wildcards.
pub(super) fn held(answer: &Answer) -> Vec<String> {
    let mut held: Vec<String> = answer.lines("held").iter().map(|line| harmless(line).trim().to_owned()).collect();
    held.retain(|name| !name.is_empty());
    held.sort();
    held.dedup();
    held
}

/// Tells when the lists were last refreshed, in seconds since the epoch.
pub(super) fn lists_refreshed(answer: &Answer) -> Option<i64> {
    answer.number("refreshed").max(answer.number("lists_index"))
}

/// Makes the fault of a zypper that failed; its exit codes are in zypper(8).
fn failed(doing: &str, code: &str, lines: &[String]) -> Fault {
    let plain: Vec<String> = lines.iter().map(|line| without_tags(line)).collect();
    let what = format!("{doing} ended with {}: {}", harmless(code), fragment(&plain));
    let said = |sign: &str| plain.iter().any(|line| line.contains(sign));
    match code {
        LOCKED => Fault::transient(what).hint("another package manager is at work on that machine"),
        "6" => Fault::permanent(what).hint("no repositories are defined there"),
        _ if said("ignature") && (said("failed") || said("key")) => {
            Fault::permanent(what).hint("the repository's signing key is unknown or out of date on this machine")
        }
        // 106: repositories were passed over because they could not be had; a refresh ends with 4 or 106 for what the network did.
        _ if doing == "zypper refresh" => Fault::transient(what),
        _ => Fault::permanent(what),
    }
}

/// Reads the packages of an install summary: sections `<to-upgrade>`, `<to-remove>` and so on, of `<solvable ..>` elements. What is no
/// package (a patch, a product, a pattern) has no version of its own to go from.
fn changes(lines: &[String]) -> Vec<PackageChange> {
    let mut changes = Vec::new();
    let mut section = String::new();
    for line in lines.iter().map(|line| harmless(line)) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("<to-") {
            section = rest.split(['>', ' ']).next().unwrap_or_default().to_owned();
        }
        if !line.starts_with("<solvable ") || attribute(line, "type").as_deref() != Some("package") {
            continue;
        }
        let (Some(name), Some(edition)) = (attribute(line, "name"), attribute(line, "edition")) else { continue };
        let old = attribute(line, "edition-old");
        let (old, new) = match section.as_str() {
            "remove" => (Some(edition), None),
            "reinstall" => (Some(edition.clone()), Some(edition)),
            _ => (old, Some(edition)),
        };
        let arch = attribute(line, "arch").unwrap_or_default();
        changes.push((arch, PackageChange { name, old, new }));
    }
    let names: Vec<String> = changes.iter().map(|(_, change)| change.name.clone()).collect();
    let mut changes: Vec<PackageChange> = changes
        .into_iter()
        .map(|(arch, mut change)| {
            if names.iter().filter(|name| **name == change.name).count() > 1 {
                change.name = format!("{}.{arch}", change.name);
            }
            change
        })
        .collect();
    changes.sort();
    changes
}

/// Reads an attribute of an element.
fn attribute(element: &str, name: &str) -> Option<String> {
    let mark = format!(" {name}=\"");
    let value = &element[element.find(&mark)? + mark.len()..];
    Some(unescape(&value[..value.find('"')?]))
}

/// Writes an error's element as plain text.
fn without_tags(line: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for c in line.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    unescape(plain.trim())
}

/// Takes XML's escapes off a text.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::outcome::FaultClass;

    fn answer(code: &str, text: &str) -> Answer {
        let lines = text.lines().map(|line| format!("|{line}\n")).collect::<String>();
        Answer::of_text(&format!("@simulate {code}\n{lines}"))
    }

    #[test]
    fn an_install_summary_is_read() {
        let text = include_str!("../../../fixtures/packages/zypper-simulate.xml");
        let expected = |name: &str, old: Option<&str>, new: Option<&str>| PackageChange {
            name: name.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        for code in ["0", "102", "103"] {
            assert_eq!(
                pending(&answer(code, text)).expect("a list"),
                [
                    expected("lab-added", None, Some("1.0-1")),
                    expected("lab-daemon", Some("1.0-1"), Some("2.0-1")),
                    expected("lab-new", None, Some("2.0-1")),
                    expected("lab-old", Some("1.0-1"), None),
                    expected("lab-tool", Some("1.0-1"), Some("2.0-1")),
                ]
            );
        }
    }

    #[test]
    fn what_is_no_package_is_passed_over() {
        let text = "<to-upgrade>\n<solvable type=\"patch\" name=\"lab-2026-1\" edition=\"1\" arch=\"noarch\"/>\n\
                    <solvable type=\"package\" name=\"a&amp;b\" edition=\"2\" arch=\"i586\" edition-old=\"1\"/>\n</to-upgrade>";
        assert_eq!(pending(&answer("0", text)).expect("a list").len(), 1);
        assert_eq!(pending(&answer("0", text)).expect("a list")[0].name, "a&b");
    }

    #[test]
    fn failures_are_told_apart() {
        let locked = "<message type=\"error\">System management is locked by the application with pid 540 (sleep).\nClose it</message>";
        let fault = pending(&answer("7", locked)).expect_err("locked");
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(fault.what.contains("pid 540") && !fault.what.contains('<'), "{}", fault.what);
        assert_eq!(pending(&answer("4", "")).expect_err("failed").class, FaultClass::Permanent);
        let refresh = |code| pending(&Answer::of_text(&format!("@refresh {code}\n"))).expect_err("failed").class;
        assert_eq!((refresh("106"), refresh("6")), (FaultClass::Transient, FaultClass::Permanent));
    }
}
