//! The format of known_hosts files: which lines speak of a host, and what they say.
//!
//! As `sshd(8)` describes it: optional marker, names, key type, key. Names are a comma list with `*`, `?` and `!`, or one
//! hashed name. A port other than 22 is part of the name: `[host]:port`. Lines that cannot be read are passed over, as
//! OpenSSH does: they can only make a host less known, never more.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::PublicKey;
use sha1::Sha1;

/// What a line says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// The host has this key.
    Known,
    /// The key is never to be accepted (`@revoked`).
    Revoked,
}

/// A line that speaks of the host asked for.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its number, from 1.
    pub(super) line: usize,
    /// What it says.
    pub(super) says: Says,
    /// The key.
    pub(super) key: PublicKey,
}

/// Returns the name under which a host is looked up and stored.
pub(super) fn name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// Returns the entries that speak of `name`, in the order of the file.
pub(super) fn entries_for(text: &str, name: &str) -> Vec<Entry> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| entry_for(line, name).map(|(says, key)| Entry { line: index + 1, says, key }))
        .collect()
}

fn entry_for(line: &str, name: &str) -> Option<(Says, PublicKey)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    let (says, names) = match first {
        "@revoked" => (Says::Revoked, words.next()?),
        "@cert-authority" => {
            // Host certificates are not supported: such a line makes no host known.
            if words.next().is_some_and(|names| names_match(names, name)) {
                tracing::info!(host = %name, "a @cert-authority line of known_hosts is ignored: host certificates are not supported");
            }
            return None;
        }
        marker if marker.starts_with('@') => return None,
        names => (Says::Known, names),
    };
    if !names_match(names, name) {
        return None;
    }
    let (_kind, blob) = (words.next()?, words.next()?);
    russh::keys::parse_public_key_base64(blob).ok().map(|key| (says, key))
}

/// Returns whether a field of names speaks of `name`.
fn names_match(field: &str, name: &str) -> bool {
    if let Some(hashed) = field.strip_prefix("|1|") {
        return hashed_match(hashed, name).unwrap_or(false);
    }
    let mut matched = false;
    for pattern in field.split(',') {
        match pattern.strip_prefix('!') {
            // A negated match settles it, whatever else the field says.
            Some(negated) if glob(negated, name) => return false,
            Some(_) => {}
            None => matched |= glob(pattern, name),
        }
    }
    matched
}

/// Compares a name with `salt|hash`, the base64 of an HMAC-SHA1 of the name under the salt.
fn hashed_match(field: &str, name: &str) -> Option<bool> {
    let (salt, hash) = field.split_once('|')?;
    let (salt, hash) = (BASE64.decode(salt.as_bytes()).ok()?, BASE64.decode(hash.as_bytes()).ok()?);
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// Matches a name against a pattern of `*`, `?` and plain characters, ignoring case.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on after a mismatch: behind the last star, which then takes one character more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == b'?' || c.eq_ignore_ascii_case(&name[n])) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((behind, taken)) = star {
            (p, n) = (behind, taken + 1);
            star = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    const HASHED_PVE1: &str = "|1|v1wbys/NRfu5aL9Href0LhlSv0c=|uA/uWD4YED6fZlvNbVq4WMFo1yw=";
    const HASHED_PVE1_2222: &str = "|1|Ubix7hyts1TmQ6r6NkbaM5WT1+g=|khLqPXhmNBxucCDjnHlFwIDe/+0=";

    fn known(names: &str, name: &str) -> bool {
        let text = format!("# a comment\n\n{names} {KEY} some comment\n");
        let entries = entries_for(&text, name);
        assert!(entries.iter().all(|entry| entry.line == 3 && entry.says == Says::Known));
        !entries.is_empty()
    }

    #[test]
    fn plain_names_match_whole_and_without_case() {
        assert!(known("pve1.example.org", "pve1.example.org"));
        assert!(known("PVE1", &name("Pve1", 22)));
        assert!(known("a,pve1,b", "pve1"));
        assert!(!known("pve1", "pve10"));
        assert!(!known("pve10", "pve1"));
    }

    #[test]
    fn a_port_is_part_of_the_name() {
        assert_eq!(name("pve1", 2222), "[pve1]:2222");
        assert!(known("[pve1]:2222", &name("pve1", 2222)));
        assert!(!known("pve1", &name("pve1", 2222)));
        assert!(!known("[pve1]:2222", &name("pve1", 22)));
        assert!(known("[10.0.0.?]:*", &name("10.0.0.7", 2222)));
    }

    #[test]
    fn wildcards_match_and_a_negation_wins() {
        assert!(known("*.example.org", "pve1.example.org"));
        assert!(!known("*.example.org", "example.org"));
        assert!(known("pve?", "pve1"));
        assert!(!known("pve?", "pve12"));
        assert!(known("*a*b*", "xxaxxbxx"));
        assert!(!known("*.example.org,!pve1.example.org", "pve1.example.org"));
        assert!(!known("!pve1.example.org,*.example.org", "pve1.example.org"));
        assert!(known("!pve1.example.org,*.example.org", "pve2.example.org"));
        assert!(!known("!pve1", "pve2"));
    }

    /// What a pattern means, by definition and not by speed.
    fn plain_glob(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => plain_glob(rest, name) || (!name.is_empty() && plain_glob(pattern, &name[1..])),
            (Some((b'?', pattern)), Some((_, name))) => plain_glob(pattern, name),
            (Some((p, pattern)), Some((n, name))) => p.eq_ignore_ascii_case(n) && plain_glob(pattern, name),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn globs_mean_what_they_should(pattern in "[aAb?*]{0,8}", name in "[aAb]{0,8}") {
            proptest::prop_assert_eq!(glob(&pattern, &name), plain_glob(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn no_text_makes_reading_panic(text in "(pve1|\\|1\\||@revoked|,|!|\\*|AAAA|[ \t\n]|\\PC){0,40}") {
            for entry in entries_for(&text, "pve1") {
                proptest::prop_assert!(entry.line <= text.lines().count());
            }
        }
    }

    #[test]
    fn hashed_names_match() {
        // Written by `ssh-keygen -H` for the names pve1 and [pve1]:2222.
        assert!(known(HASHED_PVE1, "pve1"));
        assert!(!known(HASHED_PVE1, "pve2"));
        assert!(known(HASHED_PVE1_2222, "[pve1]:2222"));
        assert!(!known("|1|not base64|x", "pve1"));
        assert!(!known("|2|AAAA|AAAA", "pve1"));
    }

    #[test]
    fn markers_are_told_apart() {
        let text = format!("@revoked * {KEY}\n@cert-authority * {KEY}\n@other * {KEY}\npve1 {KEY}\n");
        let entries = entries_for(&text, "pve1");
        let said: Vec<_> = entries.iter().map(|entry| (entry.line, entry.says)).collect();
        assert_eq!(said, [(1, Says::Revoked), (4, Says::Known)]);
    }

    #[test]
    fn lines_that_cannot_be_read_are_passed_over() {
        let text = format!("pve1\npve1 ssh-ed25519\npve1 ssh-ed25519 %%%\npve1 1024 35 1234\n@revoked\npve1 {KEY}\r\n");
        let lines: Vec<_> = entries_for(&text, "pve1").iter().map(|entry| entry.line).collect();
        assert_eq!(lines, [6]);
    }
}
