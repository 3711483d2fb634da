//! Reads what pacman prints, in the C locale.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapters::remote::{Answer, fragment, harmless};
use crate::inventory::PackageChange;
use crate::machine::outcome::Fault;

/// Reads what would change (`pacman -Su --print`), in order of name. What is replaced is removed: the lists say so of the new package.
///
/// # Errors
///
/// A fault where the refresh of the lists, or the simulation, failed.
pub(super) fn pending(answer: &Answer) -> Result<Vec<PackageChange>, Fault> {
    if let Some(refresh) = answer.get("refresh").filter(|refresh| refresh.value != "0") {
        return Err(failed("refreshing pacman's lists", &refresh.value, &refresh.lines, true));
    }
    match answer.value("simulate") {
        Some("0") => Ok(changes(answer)),
        code => Err(failed("pacman's simulated upgrade", code.unwrap_or("nothing"), answer.lines("simulate"), false)),
    }
}

/// Reads `IgnorePkg` and `IgnoreGroup`, which may have wildcards.
pub(super) fn held(answer: &Answer) -> Vec<String> {
    let words = answer.lines("held").iter().flat_map(|line| line.split_whitespace().map(harmless).collect::<Vec<_>>());
    words.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Tells when the lists were last refreshed, in seconds since the epoch.
pub(super) fn lists_refreshed(answer: &Answer) -> Option<i64> {
    answer.number("refreshed")
}

/// Makes the fault of a pacman that failed.
fn failed(doing: &str, code: &str, lines: &[String], refresh: bool) -> Fault {
    let errors: Vec<&String> = lines.iter().filter(|line| line.starts_with("error")).collect();
    let shown = if errors.is_empty() { fragment(lines) } else { fragment(&errors) };
    let what = format!("{doing} ended with {}: {shown}", harmless(code));
    let said = |sign: &str| lines.iter().any(|line| line.contains(sign));
    if said("could not lock database") || said("unable to lock database") {
        Fault::transient(what).hint("another package manager is at work on that machine")
    } else if said("PGP signature") || said("is unknown trust") || said("keyring is not writable") {
        Fault::permanent(what).hint("the repository's signing key is unknown or out of date on this machine")
    } else if refresh {
        Fault::transient(what)
    } else {
        Fault::permanent(what)
    }
}

/// Puts together what is installed, what would be installed, and what that replaces.
fn changes(answer: &Answer) -> Vec<PackageChange> {
    let pairs = |key: &str| -> BTreeMap<String, String> {
        let lines = answer.lines(key).iter().map(|line| harmless(line.strip_prefix("> ").unwrap_or(line)));
        lines
            .filter_map(|line| line.split_once(' ').map(|(name, version)| (name.to_owned(), version.trim().to_owned())))
            .collect()
    };
    let (installed, targets) = (pairs("installed"), pairs("simulate"));
    let change = |name: &str, new: Option<&String>| PackageChange {
        name: name.to_owned(),
        old: installed.get(name).cloned(),
        new: new.cloned(),
    };
    let mut changes: BTreeSet<PackageChange> =
        targets.iter().map(|(name, version)| change(name, Some(version))).collect();
    for line in answer.lines("replaces") {
        let Some((field, value)) = line.split_once(':') else { continue };
        if field.trim() != "Replaces" {
            continue;
        }
        // `name`, or `name<version`; `None` where there are none.
        let names = value.split_whitespace().filter_map(|word| word.split(['<', '>', '=']).next());
        let gone = names.filter(|name| installed.contains_key(*name) && !targets.contains_key(*name));
        changes.extend(gone.map(|name| change(&harmless(name), None)));
    }
    changes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::outcome::FaultClass;

    #[test]
    fn targets_are_joined_with_what_is_installed_and_replaced() {
        let answer = Answer::of_text(include_str!("../../../fixtures/packages/pacman-facts.txt"));
        let expected = |name: &str, old: Option<&str>, new: Option<&str>| PackageChange {
            name: name.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        assert_eq!(
            pending(&answer).expect("a list"),
            [
                expected("archlinux-keyring", Some("1.0-1"), Some("2.0-1")),
                expected("lab-added", None, Some("1.0-1")),
                expected("lab-daemon", Some("1.0-1"), Some("2.0-1")),
                expected("lab-new", None, Some("2.0-1")),
                expected("lab-old", Some("1.0-1"), None),
                expected("lab-tool", Some("1.0-1"), Some("2.0-1")),
            ]
        );
        assert_eq!(held(&answer), ["lab-held", "lab-kept"]);
    }

    #[test]
    fn failures_are_told_apart() {
        let class = |text: &str| pending(&Answer::of_text(text)).expect_err("failed").class;
        assert_eq!(
            class("@simulate 1\n|error: failed to prepare transaction (could not satisfy dependencies)"),
            FaultClass::Permanent
        );
        assert_eq!(class("@refresh 1\n|error: failed retrieving file 'lab.db'"), FaultClass::Transient);
        assert_eq!(class("@refresh 1\n|error: lab: key \"x\" is unknown trust"), FaultClass::Permanent);
        assert_eq!(class("@simulate 1\n|error: unable to lock database"), FaultClass::Transient);
    }
}
