//! Where the output of an upgrade is kept: one file for each step, under the state directory.
//!
//! `logs/RUN/HOST-101-upgrade-guest-r1.log` for a guest, `logs/RUN/HOST-node-upgrade-host-r1.log` for the node. Two steps
//! never share a file: what is no safe character of a host's name is written as `%` and two digits for each byte, and of
//! a name that is too long for a file the beginning is followed by its checksum.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::ids::{RunId, StepKey};

/// The directory of all logs within the state directory.
pub const LOGS: &str = "logs";

/// The longest part of a file's name that a host takes up: a file system allows 255 bytes, and what follows the host
/// (`-4294967295-upgrade-guest-r4294967295.log`) takes 41.
const LONGEST_HOST: usize = 200;

/// Returns the name of a run's directory within [`LOGS`].
pub fn directory(run: &RunId) -> String {
    safe(run.as_str())
}

/// Returns the name of the file that takes the output of a step, within its run's directory.
pub fn file_name(key: &StepKey) -> String {
    let host = safe(key.target.host().as_str());
    let target = key.target.guest().map_or_else(|| "node".to_owned(), |guest| guest.to_string());
    format!("{host}-{target}-{}-r{}.log", key.step, key.round)
}

/// Returns the file that takes the output of a step, relative to the state directory.
pub fn file(key: &StepKey) -> PathBuf {
    [LOGS, &directory(&key.run), &file_name(key)].iter().collect()
}

/// Makes a name fit for one component of a path. Different names stay different.
fn safe(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut out = String::new();
    for byte in name.bytes() {
        // Neither hidden, nor `..`, nor an option of the program that it is handed to.
        let plain = byte.is_ascii_alphanumeric() || (matches!(byte, b'-' | b'_' | b'.') && !out.is_empty());
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ok = write!(out, "%{byte:02x}");
        }
    }
    if out.len() > LONGEST_HOST {
        // All of it is ASCII by now.
        out.truncate(LONGEST_HOST - 9);
        let _ok = write!(out, "~{:08x}", crc32fast::hash(name.as_bytes()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GuestId, HostId, Step, Target};

    fn name(host: &str, guest: Option<u32>, step: Step, round: u32) -> String {
        let host = HostId::new(host);
        let target = match guest {
            Some(guest) => Target::Guest(host, GuestId(guest)),
            None => Target::Host(host),
        };
        let key = StepKey { run: RunId::new("20261122-222842-kqzt"), target, step, round };
        file(&key).to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn a_guest_and_a_node_have_a_file_for_each_round() {
        assert_eq!(
            name("pve1.lan", Some(101), Step::UpgradeGuest, 2),
            "logs/20261122-222842-kqzt/pve1.lan-101-upgrade-guest-r2.log"
        );
        assert_eq!(name("pve1", None, Step::UpgradeHost, 1), "logs/20261122-222842-kqzt/pve1-node-upgrade-host-r1.log");
    }

    #[test]
    fn no_name_leads_out_of_the_directory_or_into_anothers_file() {
        let of = |host: &str| name(host, None, Step::UpgradeHost, 1);
        assert_eq!(of("../../etc/x"), "logs/20261122-222842-kqzt/%2e.%2f..%2fetc%2fx-node-upgrade-host-r1.log");
        assert_eq!(of("a b\n"), "logs/20261122-222842-kqzt/a%20b%0a-node-upgrade-host-r1.log");
        assert_ne!(of("a b"), of("a%20b"));
        let (long, other) = ("ä".repeat(300), "ä".repeat(299) + "ö");
        for host in [&long, &other] {
            let file = of(host);
            let last = file.rsplit('/').next().expect("a name");
            assert!(last.len() <= 255 && last.is_ascii(), "{last}");
        }
        assert_ne!(of(&long), of(&other));
        assert_ne!(name("a", Some(1), Step::UpgradeGuest, 1), name("a-1", None, Step::UpgradeHost, 1));
    }
}
