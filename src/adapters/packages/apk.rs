//! Reads what apk (apk-tools 2 and 3) prints.

use crate::adapters::remote::{Answer, fragment, harmless};
use crate::inventory::PackageChange;
use crate::machine::outcome::Fault;

/// Reads what would change (`apk upgrade --simulate`), in order of name.
///
/// # Errors
///
/// A fault where the refresh of the indexes, or the simulation, failed.
pub(super) fn pending(answer: &Answer) -> Result<Vec<PackageChange>, Fault> {
    if let Some(refresh) = answer.get("refresh").filter(|refresh| refresh.value != "0") {
        return Err(refresh_failed(&refresh.value, &refresh.lines));
    }
    match answer.value("simulate") {
        Some("0") => Ok(changes(answer.lines("simulate"))),
        code => {
            let what = format!(
                "apk's simulated upgrade ended with {}: {}",
                harmless(code.unwrap_or("nothing")),
                fragment(answer.lines("simulate"))
            );
            Err(if locked(answer.lines("simulate")) { Fault::transient(what) } else { Fault::permanent(what) })
        }
    }
}

/// Reads what the administrator tied to a version or a range of them in `/etc/apk/world`.
pub(super) fn held(answer: &Answer) -> Vec<String> {
    let mut held: Vec<String> = answer
        .lines("held")
        .iter()
        .filter_map(|line| line.trim().split(['=', '<', '>', '~', '@']).next())
        // `!name` keeps a package out; it holds none back.
        .filter(|name| !name.is_empty() && !name.starts_with('!'))
        .map(harmless)
        .collect();
    held.dedup();
    held
}

/// Tells when the indexes were last refreshed, in seconds since the epoch.
pub(super) fn lists_refreshed(answer: &Answer) -> Option<i64> {
    answer.number("refreshed").max(answer.number("lists_index"))
}

/// Makes the fault of a refresh that failed (apk ends with the number of repositories that could not be had).
fn refresh_failed(code: &str, lines: &[String]) -> Fault {
    let bad: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("ERROR") || line.starts_with("WARNING")).collect();
    let shown = if bad.is_empty() { fragment(lines) } else { fragment(&bad) };
    let what = format!("apk update ended with {}: {shown}", harmless(code));
    if lines.iter().any(|line| line.contains("UNTRUSTED")) {
        Fault::permanent(what).hint("the repository's signing key is unknown or out of date on this machine")
    } else if locked(lines) {
        Fault::transient(what).hint("another package manager is at work on that machine")
    } else {
        Fault::transient(what)
    }
}

/// Whether apk could not get its lock.
fn locked(lines: &[String]) -> bool {
    lines.iter().any(|line| line.contains("Unable to lock database"))
}

/// Reads the lines `(1/3) Upgrading name (old -> new)`, `Installing name (new)`, `Purging name (old)` and their like.
///
/// A name may carry the tag of its repository (`name@edge`), which is left out. Other lines are passed over.
fn changes(lines: &[String]) -> Vec<PackageChange> {
    let mut changes: Vec<PackageChange> = lines.iter().filter_map(|line| change(&harmless(line))).collect();
    changes.sort();
    changes
}

/// Reads one such line.
fn change(line: &str) -> Option<PackageChange> {
    let (count, rest) = line.trim().strip_prefix('(')?.split_once(") ")?;
    count.trim().split_once('/')?;
    let (what, versions) = rest.strip_suffix(')')?.rsplit_once(" (")?;
    let (act, name) = what.rsplit_once(' ')?;
    let name = name.split('@').next().filter(|name| !name.is_empty())?.to_owned();
    let (old, new) = match (act, versions.split_once(" -> ")) {
        (_, Some((old, new))) => (Some(old), Some(new)),
        ("Installing", None) => (None, Some(versions)),
        ("Purging", None) => (Some(versions), None),
        ("Reinstalling" | "Replacing" | "Updating pinning", None) => (Some(versions), Some(versions)),
        _ => return None,
    };
    Some(PackageChange { name, old: old.map(str::to_owned), new: new.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::outcome::FaultClass;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn expected(name: &str, old: Option<&str>, new: Option<&str>) -> PackageChange {
        PackageChange { name: name.into(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
    }

    #[test]
    fn a_simulated_upgrade_is_read() {
        let text = include_str!("../../../fixtures/packages/apk-simulate.txt");
        assert_eq!(
            changes(&lines(text)),
            [
                expected("lab-back", Some("2.0-r0"), Some("1.9-r4")),
                expected("lab-gone", Some("0.3-r1"), None),
                expected("lab-libs", Some("1.0.0-r0"), Some("1.0.1-r0")),
                expected("lab-new", None, Some("1.0-r0")),
                expected("lab-same", Some("3.1-r2"), Some("3.1-r2")),
                expected("lab-tagged", Some("1.0-r0"), Some("1.1-r0")),
            ]
        );
    }

    #[test]
    fn other_lines_are_passed_over() {
        let text = "WARNING: This simulation is not reliable as apk-tools upgrade is available.\nOK: 8 MiB in 20 packages\n(1/1) [APK unavailable, skipped] Reinstalling x (1)\n(x) y (z)";
        assert_eq!(changes(&lines(text)), []);
    }

    #[test]
    fn failures_are_told_apart() {
        let fault = refresh_failed(
            "1",
            &lines(
                "WARNING: Ignoring https://x/APKINDEX.tar.gz: temporary error (try again later)\n1 unavailable, 0 stale; 20 distinct packages available",
            ),
        );
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(fault.what.contains("temporary error") && !fault.what.contains("distinct"));
        assert_eq!(refresh_failed("1", &lines("ERROR: https://x: UNTRUSTED signature")).class, FaultClass::Permanent);
        assert!(
            refresh_failed("99", &lines("ERROR: Unable to lock database: Resource temporarily unavailable"))
                .hint
                .is_some()
        );
    }
}
