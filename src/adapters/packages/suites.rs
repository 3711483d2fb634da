//! Tells whether apt's sources belong to the release that runs; reads them, in both formats, as apt does (sources.list(5)).
//!
//! Refused is what would make, or go on with, a major upgrade by accident:
//!
//! - a suite of the distribution's own archive (Debian, Ubuntu, Proxmox, by the host, or by a mirror's path) that is not of the running
//!   release: `trixie` on bookworm, and `bookworm` on trixie as well;
//! - an alias in such an archive (`stable`, `testing`, ..), which becomes another release one day; on Debian's testing and unstable
//!   `testing`, `sid` and `unstable` are what runs;
//! - a third party's suite that is named after a newer release. One that is named after an older release is what remains of a vendor
//!   who has not followed yet: left alone, as are their other names and repositories without suites.
//!
//! `deb-src` and entries that are disabled or commented out install nothing and are passed over.

use super::os_release::OsRelease;
use crate::adapters::remote::harmless;

/// Debian's releases, oldest first.
const DEBIAN: &[&str] = &["jessie", "stretch", "buster", "bullseye", "bookworm", "trixie", "forky", "duke"];
/// Ubuntu's releases, oldest first.
const UBUNTU: &[&str] = &[
    "trusty", "xenial", "bionic", "disco", "eoan", "focal", "groovy", "hirsute", "impish", "jammy", "kinetic", "lunar",
    "mantic", "noble", "oracular", "plucky", "questing", "resolute",
];
/// Names whose meaning changes with every release.
const ALIASES: &[&str] =
    &["stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "experimental", "rc-buggy", "devel"];
/// What follows one another on Debian's way to a release.
const ROLLING: &[&str] = &["testing", "unstable", "sid", "experimental", "rc-buggy"];

/// One suite of a source that packages are installed from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suite {
    uri: String,
    name: String,
}

impl Suite {
    /// Returns the release that the suite is named after: `bookworm` of `bookworm-security` and of `bookworm/updates`.
    fn release(&self) -> &str {
        self.name.split(['-', '/']).next().unwrap_or(&self.name)
    }
}

/// Says why the packages must not be upgraded from these sources, where that is so.
///
/// `lines` are those of the script: `l` and a line of a list, `d` and a line of a deb822 file, empty between files.
pub(super) fn unfit(lines: &[String], release: &OsRelease) -> Option<String> {
    let running: Vec<&str> = release.codenames().collect();
    // A release without a codename says nothing that a suite could be compared with.
    let own = *running.first()?;
    suites(lines).iter().find_map(|suite| {
        let name = suite.release();
        if running.contains(&name) || running.contains(&suite.name.as_str()) {
            return None;
        }
        let shown = || harmless(&format!("{} ({})", suite.name, suite.uri));
        if is_own_archive(&suite.uri) {
            return match ALIASES.contains(&name) {
                true if ROLLING.contains(&name) && is_rolling(release) => None,
                true => Some(format!(
                    "its sources name {}, which becomes another release one day; {own} runs: name that one instead",
                    shown()
                )),
                false => Some(format!("its sources name {}, but {own} runs: a major upgrade is half made", shown())),
            };
        }
        let known = |list: &[&str], name: &str| list.iter().position(|one| *one == name);
        let (half_made, mirror) = running.iter().fold((false, false), |(newer, other), running| {
            [DEBIAN, UBUNTU].iter().fold((newer, other), |(newer, other), list| {
                match (known(list, running), known(list, name)) {
                    (Some(now), Some(named)) => (newer || named > now, other || is_mirror(&suite.uri)),
                    _ => (newer, other),
                }
            })
        });
        (half_made || mirror)
            .then(|| format!("its sources name {}, but {own} runs: a major upgrade is half made", shown()))
    })
}

/// Whether Debian's testing or unstable runs, which os-release tells by its name alone (`forky/sid`).
fn is_rolling(release: &OsRelease) -> bool {
    release.name().contains("/sid") || release.codename.as_deref() == Some("sid")
}

/// Whether an address leads to an archive of Debian, Ubuntu or Proxmox, also through a proxy that has the host in its path.
fn is_own_archive(uri: &str) -> bool {
    uri.split(['/', ':', '@']).any(|part| {
        ["debian.org", "ubuntu.com", "proxmox.com"]
            .iter()
            .any(|domain| part == *domain || part.strip_suffix(domain).is_some_and(|host| host.ends_with('.')))
            // The list of mirrors that Debian's cloud images bring.
            || (uri.starts_with("mirror+") && matches!(part, "debian.list" | "debian-security.list"))
    })
}

/// Whether an address has the path of a mirror of Debian or Ubuntu, and nothing before it.
fn is_mirror(uri: &str) -> bool {
    let path = uri.split_once("://").map_or("", |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    matches!(path.trim_matches('/'), "debian" | "debian-security" | "ubuntu" | "ubuntu-ports")
}

/// Reads the suites of all sources that are enabled. Flat repositories, which have a directory in the suite's place, are left out.
fn suites(lines: &[String]) -> Vec<Suite> {
    let mut found = Vec::new();
    let mut stanza = Vec::new();
    for line in lines {
        if let Some(text) = line.strip_prefix('l') {
            found.extend(of_list(text));
        }
        match line.strip_prefix('d') {
            Some(text) if text.starts_with('#') => {}
            Some(text) if !text.trim().is_empty() => stanza.push(text),
            _ => found.append(&mut of_stanza(&std::mem::take(&mut stanza))),
        }
    }
    found.append(&mut of_stanza(&stanza));
    found.retain(|suite| !suite.name.ends_with('/'));
    found
}

/// Reads a line of a list: `deb [options] uri suite components..`.
fn of_list(line: &str) -> Option<Suite> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1.trim_start(),
        None => rest,
    };
    // A medium's name stands in brackets and may have blanks.
    let (uri, rest) = match rest.strip_prefix("cdrom:[") {
        Some(medium) => ("cdrom:", medium.split_once(']')?.1.split_once([' ', '\t'])?.1),
        None => rest.split_once([' ', '\t'])?,
    };
    let name = rest.split_whitespace().next()?;
    Some(Suite { uri: uri.to_owned(), name: name.to_owned() })
}

/// Reads a stanza of a deb822 file: fields in any case, of which each may go on in lines that begin with a blank.
fn of_stanza(lines: &[&str]) -> Vec<Suite> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((field, value)) = line.split_once(':') {
            fields.push((field.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str());
    let disabled =
        matches!(field("enabled").to_ascii_lowercase().as_str(), "no" | "false" | "without" | "off" | "disable" | "0");
    if disabled || !field("types").split_whitespace().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let suite = |uri: &str, name: &str| Suite { uri: uri.to_owned(), name: name.to_owned() };
    let uris = field("uris").split_whitespace();
    uris.flat_map(|uri| field("suites").split_whitespace().map(move |name| suite(uri, name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str =
        "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\nPRETTY_NAME='Debian GNU/Linux 12 (bookworm)'";
    const NOBLE: &str = "ID=ubuntu\nVERSION_ID=24.04\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble";
    const TESTING: &str = "ID=debian\nVERSION_CODENAME=forky\nPRETTY_NAME='Debian GNU/Linux forky/sid'";

    fn judged(os: &str, prefix: &str, sources: &str) -> Option<String> {
        let release = OsRelease::parse(&os.lines().map(str::to_owned).collect::<Vec<_>>());
        let lines: Vec<String> =
            sources.lines().map(|line| if line == "--" { String::new() } else { format!("{prefix}{line}") }).collect();
        unfit(&lines, &release)
    }

    #[test]
    fn suites_of_the_running_release_fit() {
        let sources = "deb http://deb.debian.org/debian bookworm main contrib
deb [signed-by=/usr/share/x.gpg arch=amd64] http://security.debian.org/debian-security bookworm-security main
deb http://deb.debian.org/debian bookworm-updates main # deb http://deb.debian.org/debian trixie main
deb http://deb.debian.org/debian/ bookworm-backports main
deb http://security.debian.org/ bookworm/updates main
deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_ - Official amd64]/ bookworm main
deb http://download.proxmox.com/debian/pve bookworm pve-no-subscription
deb https://enterprise.proxmox.com/debian/ceph-quincy bookworm enterprise";
        assert_eq!(judged(BOOKWORM, "l", sources), None);
        assert_eq!(judged(NOBLE, "l", "deb https://esm.ubuntu.com/apps/ubuntu noble-apps-security main"), None);
    }

    #[test]
    fn what_third_parties_call_their_suites_is_their_own_business() {
        for source in [
            "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/debian bookworm stable",
            "deb https://repos.influxdata.com/debian stable main",
            "deb https://dl.google.com/linux/chrome/deb/ stable main",
            "deb https://deb.nodesource.com/node_20.x nodistro main",
            "deb https://packages.icinga.com/debian icinga-bookworm main",
            "deb https://pkg.jenkins.io/debian-stable binary/",
            "deb file:/srv/repo ./",
            "deb https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main",
            // A vendor who has not followed yet.
            "deb https://download.docker.com/linux/debian bullseye stable",
            "deb https://notdebian.org.example.com/x stable main",
        ] {
            assert_eq!(judged(BOOKWORM, "l", source), None, "{source}");
        }
    }

    #[test]
    fn another_release_is_refused() {
        for source in [
            "deb http://deb.debian.org/debian trixie main",
            "deb http://security.debian.org/debian-security trixie-security main",
            "deb http://deb.debian.org/debian bullseye main",
            "deb\thttp://proxy:3142/ftp.de.debian.org/debian\ttrixie main",
            "deb http://mirror.example.com/debian trixie main",
            "deb http://mirror.example.com/debian bullseye main",
            "deb http://download.proxmox.com/debian/pve trixie pve-no-subscription",
            "deb https://download.docker.com/linux/debian trixie stable",
            "deb http://deb.debian.org/debian unheard-of main",
        ] {
            let why = judged(BOOKWORM, "l", source).unwrap_or_else(|| panic!("{source}"));
            assert!(why.contains("bookworm runs") && why.contains("half made"), "{why}");
        }
        assert!(judged(NOBLE, "l", "deb http://archive.ubuntu.com/ubuntu jammy-updates main").is_some());
    }

    #[test]
    fn an_alias_fits_only_where_it_is_what_runs() {
        for alias in ["stable", "oldstable", "stable-security", "testing", "sid"] {
            let source = format!("deb http://deb.debian.org/debian {alias} main");
            let why = judged(BOOKWORM, "l", &source).expect("refused");
            assert!(why.contains("one day"), "{why}");
        }
        for alias in ["sid", "unstable", "testing", "testing-security", "forky"] {
            assert_eq!(
                judged(TESTING, "l", &format!("deb http://deb.debian.org/debian {alias} main")),
                None,
                "{alias}"
            );
        }
        assert!(judged(TESTING, "l", "deb http://deb.debian.org/debian stable main").is_some());
        assert!(judged(NOBLE, "l", "deb http://archive.ubuntu.com/ubuntu devel main").is_some());
    }

    #[test]
    fn stanzas_are_read_as_apt_reads_them() {
        let sources = "# a comment
Types: deb deb-src
# another, in between
uris: http://deb.debian.org/debian
 http://ftp.debian.org/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main

Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Enabled: no
--
Types: deb
URIs: mirror+file:///etc/apt/mirrors/debian.list
Suites: bookworm-backports";
        assert_eq!(judged(BOOKWORM, "d", sources), None);
        let more = format!("{sources} trixie");
        assert!(judged(BOOKWORM, "d", &more).expect("refused").contains("trixie (mirror+file:"));
        assert!(judged(BOOKWORM, "d", &sources.replace("Enabled: no", "Enabled: yes")).is_some());
        assert_eq!(suites(&["dTypes: deb".into(), "dURIs: http://a/".into(), "dSuites: x ./ y/".into()]).len(), 1);
    }

    #[test]
    fn commented_and_foreign_lines_install_nothing() {
        let sources = "#deb http://deb.debian.org/debian trixie main
 # deb http://deb.debian.org/debian trixie main
deb-src http://deb.debian.org/debian trixie main
debug http://deb.debian.org/debian trixie main
deb [broken http://deb.debian.org/debian trixie main

deb
deb http://deb.debian.org/debian";
        assert_eq!(judged(BOOKWORM, "l", sources), None);
    }

    #[test]
    fn derivatives_are_judged_by_what_they_are_made_of() {
        let mint = "ID=linuxmint\nVERSION_CODENAME=xia\nUBUNTU_CODENAME=noble";
        let fits =
            "deb http://packages.linuxmint.com xia main\ndeb http://archive.ubuntu.com/ubuntu noble-updates main";
        assert_eq!(judged(mint, "l", fits), None);
        assert!(judged(mint, "l", "deb http://archive.ubuntu.com/ubuntu plucky main").is_some());
        assert_eq!(
            judged("ID=x", "l", "deb http://deb.debian.org/debian trixie main"),
            None,
            "nothing to compare with"
        );
    }
}
