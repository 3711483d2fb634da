//! Tells whether the repositories of other systems than Debian's belong to the release that runs. What is refused, and why, is said by
//! the functions; apt's sources are read in `suites`.

use super::os_release::OsRelease;
use crate::adapters::remote::{Answer, harmless};

/// Judges Alpine's repositories: the branch in an address (`v3.22`, `edge`) is to be that of the release.
///
/// `latest-stable` is refused: it becomes another release one day. `edge` fits on edge, whose version is a snapshot's
/// (`3.23_alpha20250612`). A tagged repository (`@edge ..`) gives only what is asked for from it by its tag.
pub(super) fn alpine(lines: &[String], release: &OsRelease) -> Option<String> {
    let version = release.version_id.as_deref()?;
    let edge = version.contains("_alpha") || release.name().contains("edge");
    let branch = format!("v{}", numbers(version, 2)?);
    lines.iter().map(|line| line.trim()).filter(|line| !line.starts_with(['#', '@']) && !line.is_empty()).find_map(
        |line| {
            let mut parts = line.split(['/', ' ']).peekable();
            let mut named = None;
            while let (Some(part), next) = (parts.next(), parts.peek()) {
                let is_branch = part == "edge"
                    || part == "latest-stable"
                    || part.strip_prefix('v').is_some_and(|rest| numbers(rest, 2).as_deref() == Some(rest));
                if is_branch && matches!(next, None | Some(&("main" | "community" | "testing"))) {
                    named = Some(part);
                }
            }
            match named? {
                "latest-stable" => Some(harmless(&format!(
                    "its repositories name latest-stable ({line}), which becomes another release one day; {branch} runs: name that one instead"
                ))),
                "edge" if edge => None,
                name if name == branch && !edge => None,
                name => Some(harmless(&format!(
                    "its repositories name {name} ({line}), but {} runs: a major upgrade is half made",
                    if edge { "edge" } else { &branch }
                ))),
            }
        },
    )
}

/// Judges dnf's release: one that is fixed by hand (`/etc/dnf/vars/releasever`, `stream`) is to be of the running one's major version.
///
/// A minor version that is fixed (`9.4`, `2023.4.20240319`) is the administrator's choice within the release. A name says nothing
/// here but `rawhide`, which is to be what runs.
pub(super) fn dnf(answer: &Answer, release: &OsRelease) -> Option<String> {
    let running = numbers(release.version_id.as_deref()?, 1)?;
    ["releasever", "stream"].iter().find_map(|variable| {
        let value = answer.value(variable)?;
        let fits = match numbers(value, 1) {
            Some(fixed) => fixed == running,
            None => value != "rawhide" || release.name().to_ascii_lowercase().contains("rawhide"),
        };
        (!fits).then(|| {
            harmless(&format!("dnf's {variable} is fixed at {value}, but {running} runs: a major upgrade is half made"))
        })
    })
}

/// Judges SUSE: Tumbleweed is refused, and repositories of another version of Leap than the one that runs.
///
/// Tumbleweed is a rolling release that is upgraded as a whole, by `zypper dup`, which changes vendors and removes packages as the
/// snapshot asks for; `zypper update` leaves it between two snapshots, which is not supported there. Neither is done here.
pub(super) fn suse(lines: &[String], release: &OsRelease) -> Option<String> {
    if std::iter::once(&release.id).chain(&release.id_like).any(|id| id == "opensuse-tumbleweed") {
        return Some("Tumbleweed is upgraded as a whole, by 'zypper dup', which is not done here".to_owned());
    }
    let running = release.version_id.as_deref()?;
    let mut enabled = true;
    let mut address: Option<&str> = None;
    let mut judged = None;
    // A section ends where the next one begins, and `enabled` may stand behind the address.
    for line in lines.iter().map(|line| line.trim()).chain(["["]) {
        if line.starts_with('[') {
            if let (true, Some(address)) = (enabled, address.take()) {
                judged = judged.or_else(|| foreign_leap(address, running));
            }
            (enabled, address) = (true, None);
        } else if let Some((key, value)) = line.split_once('=') {
            match key.trim() {
                "enabled" => enabled = !matches!(value.trim(), "0" | "no" | "false" | "off"),
                "baseurl" | "mirrorlist" => address = Some(value.trim()),
                _ => {}
            }
        }
    }
    judged
}

/// Says what is wrong with an address that names another version of openSUSE: `/leap/15.6/`, `/tumbleweed/`.
fn foreign_leap(address: &str, running: &str) -> Option<String> {
    let mut parts = address.split('/');
    let named = loop {
        match parts.next()? {
            "leap" => match parts.next()? {
                version if numbers(version, 2).as_deref() == Some(version) => break version,
                _ => {}
            },
            "tumbleweed" => break "tumbleweed",
            _ => {}
        }
    };
    (named != running).then(|| {
        harmless(&format!(
            "its repositories name {named} ({address}), but {running} runs: a major upgrade is half made"
        ))
    })
}

/// Returns the first `count` numbers of a version, with their dots; none where it does not begin with that many.
fn numbers(version: &str, count: usize) -> Option<String> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let parts: Vec<&str> = version[..end].split('.').take(count).collect();
    (parts.len() == count && parts.iter().all(|part| !part.is_empty())).then(|| parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> OsRelease {
        OsRelease::parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn alpine_is_judged_by_its_branch() {
        let stable = release("ID=alpine\nVERSION_ID=3.22.1\nPRETTY_NAME='Alpine Linux v3.22'");
        let judged = |text: &str| alpine(&lines(text), &stable);
        assert_eq!(judged("https://dl-cdn.alpinelinux.org/alpine/v3.22/main\nhttp://x/alpine/v3.22/community"), None);
        assert_eq!(judged("#http://x/alpine/v3.21/main\n@edge http://x/alpine/edge/testing\n\n"), None);
        assert_eq!(
            judged("https://packages.example.com/alpine/3.18/prod\n/media/cdrom/apks\nhttp://x/v8/release"),
            None
        );
        for text in ["http://x/alpine/v3.23/main", "http://x/alpine/v3.21/main/", "http://x/alpine/edge/main"] {
            assert!(judged(text).expect("refused").contains("half made"), "{text}");
        }
        assert!(judged("http://x/alpine/latest-stable/main").expect("refused").contains("one day"));
        let edge = release("ID=alpine\nVERSION_ID=3.23_alpha20250612\nPRETTY_NAME='Alpine Linux edge'");
        assert_eq!(alpine(&lines("http://x/alpine/edge/main\n/home/x/packages/main"), &edge), None);
        assert!(alpine(&lines("http://x/alpine/v3.22/main"), &edge).is_some());
    }

    #[test]
    fn a_fixed_release_of_dnf_is_to_be_the_running_one() {
        let judged =
            |os: &str, key: &str, value: &str| dnf(&Answer::of_text(&format!("@{key} {value}\n")), &release(os));
        let fedora = "ID=fedora\nVERSION_ID=41";
        assert_eq!(judged(fedora, "releasever", "41"), None);
        assert_eq!(judged(fedora, "releasever", ""), None);
        assert!(judged(fedora, "releasever", "42").expect("refused").contains("42"));
        assert!(judged(fedora, "releasever", "rawhide").is_some());
        assert_eq!(judged("ID=amzn\nVERSION_ID=2023", "releasever", "2023.4.20240319"), None);
        assert_eq!(judged("ID=amzn\nVERSION_ID=2023", "releasever", "latest"), None);
        assert_eq!(judged("ID=rhel\nVERSION_ID=9.4", "releasever", "9.2"), None);
        assert!(judged("ID=centos\nVERSION_ID=9", "stream", "10-stream").is_some());
    }

    #[test]
    fn tumbleweed_and_another_leap_are_refused() {
        let tumbleweed = release("ID=opensuse-tumbleweed\nID_LIKE='opensuse suse'\nVERSION_ID=20261122");
        assert!(suse(&[], &tumbleweed).expect("refused").contains("zypper dup"));
        let leap = release("ID=opensuse-leap\nID_LIKE='suse opensuse'\nVERSION_ID=15.6");
        let repo = |url: &str, rest: &str| lines(&format!("[a]\nenabled=1\nbaseurl={url}\n{rest}"));
        let fits = "http://download.opensuse.org/distribution/leap/15.6/repo/oss/";
        assert_eq!(suse(&repo(fits, ""), &leap), None);
        assert_eq!(
            suse(&repo("http://download.opensuse.org/distribution/leap/$releasever/repo/oss/", ""), &leap),
            None
        );
        let other = "http://download.opensuse.org/distribution/leap/16.0/repo/oss/";
        assert!(suse(&repo(other, "[b]\nbaseurl=dir:///x"), &leap).expect("refused").contains("16.0"));
        assert_eq!(suse(&repo(other, "enabled=0"), &leap), None);
        assert!(suse(&repo("https://download.opensuse.org/tumbleweed/repo/oss/", ""), &leap).is_some());
    }
}
