//! Reads what apt-get and dpkg print, in the C locale.

use std::collections::BTreeMap;

use crate::adapters::remote::{Answer, fragment, harmless};
use crate::inventory::PackageChange;
use crate::machine::outcome::Fault;

/// Reads what would change (`apt-get -s dist-upgrade`), by name.
///
/// # Errors
///
/// A fault where the refresh of the lists, or the simulation, failed.
pub(super) fn pending(answer: &Answer) -> Result<Vec<PackageChange>, Fault> {
    if let Some(refresh) = answer.get("refresh") {
        refreshed(&refresh.value, &refresh.lines)?;
    }
    match answer.value("simulate") {
        Some("0") => Ok(changes(answer.lines("simulate"))),
        code => Err(simulation_failed(code.unwrap_or("nothing"), answer.lines("simulate"))),
    }
}

/// Reads the packages on hold (`apt-mark showhold`).
pub(super) fn held(answer: &Answer) -> Vec<String> {
    answer.lines("held").iter().map(|line| harmless(line).trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Tells when the lists were last refreshed, in seconds since the epoch.
///
/// The lists carry the archive's times, not the time of the download, and a refresh that finds nothing new replaces
/// none of them. What tells: the stamp that update-notifier keeps; else the earlier of two times, the directory
/// `partial` (touched by every refresh, failed ones too, but kept as it was by whatever copied the machine) and the
/// newest change of a Release file's inode (touched by successful ones, and by copying the machine). Erring on the
/// early side only makes the lists look older.
pub(super) fn lists_refreshed(answer: &Answer) -> Option<i64> {
    let copied_or_refreshed = match (answer.number("lists_partial"), answer.number("lists_release")) {
        (Some(partial), Some(release)) => Some(partial.min(release)),
        _ => None,
    };
    answer.number("refreshed").max(answer.number("lists_stamp")).max(copied_or_refreshed)
}

/// Judges the outcome of `apt-get update`: its exit status, and the lines that begin with `E:`, `W:` or `Err:`.
///
/// Old versions of apt do not know `APT::Update::Error-Mode` and end with 0 although an index could not be fetched.
fn refreshed(code: &str, lines: &[String]) -> Result<(), Fault> {
    let failed = |line: &&String| {
        let line = line.trim_start();
        line.starts_with("E:")
            || line.starts_with("Err:")
            || line.contains("Failed to fetch")
            || line.contains("failed to download")
    };
    let mut bad: Vec<&String> = lines.iter().filter(failed).collect();
    if code == "0" && bad.is_empty() {
        return Ok(());
    }
    if bad.is_empty() {
        bad = lines.iter().collect();
    }
    let text = bad.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n");
    let what = format!("apt-get update ended with {code}: {}", fragment(&bad));
    let unauthorised = text.contains("401") && text.contains("nauthorized");
    Err(if unauthorised && text.contains("enterprise.proxmox.com") {
        Fault::permanent(what).hint(
            "the enterprise repositories need a subscription key: enter one, or disable them and enable the no-subscription repositories (node, Updates, Repositories)",
        )
    } else if unauthorised {
        Fault::permanent(what).hint("the repository wants credentials that this machine does not have")
    } else if text.contains("NO_PUBKEY") || text.contains("is not signed") || text.contains("signatures") {
        Fault::permanent(what).hint("the repository's signing key is unknown or out of date on this machine")
    } else if text.contains("does not have a Release file") || text.contains("404  Not Found") {
        Fault::permanent(what)
            .hint("the repository has no such suite: is the release out of support, or the sources half changed?")
    } else if text.contains("Could not get lock") {
        Fault::transient(what).hint("another package manager is at work on that machine")
    } else {
        Fault::transient(what)
    })
}

/// Makes the fault of a simulation that failed.
fn simulation_failed(code: &str, lines: &[String]) -> Fault {
    let errors: Vec<&String> = lines.iter().filter(|line| line.starts_with("E:")).collect();
    let shown = if errors.is_empty() { fragment(lines) } else { fragment(&errors) };
    let fault = Fault::permanent(format!("apt-get's simulated upgrade ended with {}: {shown}", harmless(code)));
    if lines.iter().any(|line| line.contains("dpkg --configure -a")) {
        fault.hint("an earlier run of dpkg was interrupted: look at the machine, then run 'dpkg --configure -a' there")
    } else if lines.iter().any(|line| line.contains("unmet dependencies") || line.contains("--fix-broken")) {
        fault.hint("packages there have unmet dependencies: look at the machine, then run 'apt-get --fix-broken install' there")
    } else {
        fault
    }
}

/// Reads the lines `Inst name [old] (new origin [arch])`, `Remv name [old]` and `Purg name [old]`, in order of name.
///
/// A package may be removed and installed again for ordering: its lines make one change. Other lines are passed over.
fn changes(lines: &[String]) -> Vec<PackageChange> {
    let mut by_name: BTreeMap<String, PackageChange> = BTreeMap::new();
    for line in lines {
        let line = harmless(line);
        let mut words = line.split_whitespace();
        let (Some(act @ ("Inst" | "Remv" | "Purg")), Some(name)) = (words.next(), words.next()) else { continue };
        let rest = line.split_once(name).map_or("", |(_, rest)| rest).trim_start();
        let (old, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((old, rest)) => (Some(old.to_owned()), rest.trim_start()),
            None => (None, rest),
        };
        let change = by_name.entry(name.to_owned()).or_insert_with(|| PackageChange {
            name: name.to_owned(),
            old: None,
            new: None,
        });
        change.old = change.old.take().or(old);
        if act == "Inst" {
            let new = rest.strip_prefix('(').and_then(|rest| rest.split([' ', ')']).next());
            change.new = new.filter(|version| !version.is_empty()).map(str::to_owned).or(change.new.take());
        }
    }
    // A line of which no version could be read says nothing.
    by_name.into_values().filter(|change| change.old.is_some() || change.new.is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::outcome::FaultClass;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn change(name: &str, old: Option<&str>, new: Option<&str>) -> PackageChange {
        PackageChange { name: name.into(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
    }

    #[test]
    fn a_simulated_upgrade_is_read() {
        let text = include_str!("../../../fixtures/packages/apt-simulate.txt");
        assert_eq!(
            changes(&lines(text)),
            [
                change("libexample1:i386", Some("2.36-9+deb12u3"), Some("2.36-9+deb12u4")),
                change("lab-gone", Some("1.2-3"), None),
                change("lab-kernel-6.8.12-9", None, Some("6.8.12-9")),
                change("lab-moved", Some("1:4.0~rc1-1"), Some("1:4.0-1")),
                change("lab-purged", Some("0.9"), None),
                change("lab-tool", Some("1.0"), Some("2.0")),
            ]
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        assert_eq!(changes(&lines("Conf x (1 a)\nInst\nInst lonely\nReading package lists...\n")), []);
    }

    #[test]
    fn a_refresh_without_complaint_is_good() {
        assert!(refreshed("0", &[]).is_ok());
        assert!(refreshed("0", &lines("W: Target Packages is configured multiple times")).is_ok());
    }

    #[test]
    fn the_enterprise_repository_is_explained() {
        let text = "Err:5 https://enterprise.proxmox.com/debian/pve bookworm InRelease\n\
                    E: Failed to fetch https://enterprise.proxmox.com/debian/pve/dists/bookworm/InRelease  401  Unauthorized [IP: 192.0.2.1 443]";
        let fault = refreshed("100", &lines(text)).expect_err("refused");
        assert_eq!(fault.class, FaultClass::Permanent);
        assert!(fault.what.contains("401"));
        assert!(fault.hint.is_some_and(|hint| hint.contains("subscription")));
    }

    #[test]
    fn failures_are_told_apart() {
        let class = |code, text| refreshed(code, &lines(text)).expect_err("failed").class;
        assert_eq!(
            class("100", "E: Failed to fetch http://x/InRelease  Temporary failure resolving 'x'"),
            FaultClass::Transient
        );
        assert_eq!(
            class("100", "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 12"),
            FaultClass::Transient
        );
        assert_eq!(
            class("100", "W: GPG error: http://x InRelease: NO_PUBKEY 0123\nE: The repository is not signed."),
            FaultClass::Permanent
        );
        assert_eq!(class("100", "E: The repository 'http://x' does not have a Release file."), FaultClass::Permanent);
        // What an apt says that does not know the error mode, with exit status 0.
        assert_eq!(
            class(
                "0",
                "W: Failed to fetch http://x/InRelease  Connection refused\nW: Some index files failed to download."
            ),
            FaultClass::Transient
        );
        assert_eq!(class("100", ""), FaultClass::Transient);
    }

    #[test]
    fn an_interrupted_dpkg_has_a_remedy() {
        let text = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.";
        let fault = simulation_failed("100", &lines(text));
        assert_eq!(fault.class, FaultClass::Permanent);
        assert!(fault.hint.is_some_and(|hint| hint.contains("dpkg --configure -a")));
    }
}
