//! What only a node is asked: how the login has root's rights there, and how much room there is.

use super::answer::Answer;
use super::exec::At;
use super::text::harmless;
use crate::engine::port::{NodeLook, Place};
use crate::inventory::{RootAccess, SpaceFacts};
use crate::machine::outcome::Fault;

const PRELUDE: &str = include_str!("sh/prelude.sh");
const NODE: &str = include_str!("sh/node.sh");

/// The directories whose file systems an upgrade fills: packages are unpacked below `/`, kernels come to lie in `/boot`, and a
/// backup of a container may be put together in `/var/tmp`.
const PATHS: [&str; 3] = ["/", "/boot", "/var/tmp"];

/// Makes the script.
pub(super) fn script() -> String {
    Answer::envelope(&[PRELUDE, &format!("paths='{}'", PATHS.join(" ")), NODE])
}

/// Reads the answer of [`script`].
pub(super) fn read(doing: &str, answer: &Answer) -> Result<NodeLook, Fault> {
    let root = match (answer.value("uid"), answer.value("sudo")) {
        (Some("0"), None) => RootAccess::Root,
        (Some("0"), Some(_)) => RootAccess::Sudo,
        (uid, _) => {
            let uid = harmless(uid.unwrap_or("unknown"));
            return Err(Fault::auth(format!("{doing} on {}: the login is not root (uid {uid})", At(&Place::Node)))
                .hint("log in as root, or as a user who may run sudo without a password"));
        }
    };
    let mut seen = Vec::new();
    let mut space = Vec::new();
    for (n, path) in PATHS.iter().enumerate() {
        // A directory that is not there has no line: /boot may be missing where the node boots otherwise.
        let Some(line) = answer.lines(&format!("space.{n}")).iter().find(|line| !line.trim().is_empty()) else {
            continue;
        };
        let Some(found) = FileSystem::read(line) else {
            return Err(Fault::permanent(format!(
                "{doing} on {}: df answers for {path} with {:?}",
                At(&Place::Node),
                harmless(line)
            )));
        };
        if !seen.iter().any(|known: &FileSystem| known.is_same(&found)) {
            space.push(SpaceFacts { path: (*path).to_owned(), available: found.available, total: found.total });
            seen.push(found);
        }
    }
    Ok(NodeLook { root, space })
}

/// A line of `df -P -k`: `device blocks used available capacity mount-point`. Device and mount point may hold blanks.
#[derive(Debug, PartialEq, Eq)]
struct FileSystem {
    device: String,
    total: u64,
    available: u64,
    mounted: String,
}

impl FileSystem {
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The numbers are looked for by what follows them: the share in use.
        let share = (4..words.len().saturating_sub(1)).find(|at| {
            let percent = words[*at].strip_suffix('%').is_some_and(|n| n.parse::<u32>().is_ok());
            percent && words[at - 3..*at].iter().all(|word| word.parse::<u64>().is_ok())
        })?;
        // Kibibytes, by -k.
        let bytes = |word: &str| word.parse::<u64>().ok()?.checked_mul(1024);
        Some(Self {
            device: words[..share - 3].join(" "),
            total: bytes(words[share - 3])?,
            available: bytes(words[share - 1])?,
            mounted: words[share + 1..].join(" "),
        })
    }

    /// Whether both are one file system: the same mount point, or the same device mounted twice. A name that is no device's
    /// (`tmpfs`, `overlay`) may stand for many.
    fn is_same(&self, other: &Self) -> bool {
        self.mounted == other.mounted || (self.device.starts_with('/') && self.device == other.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::remote::answer::Nature;
    use crate::adapters::remote::exec::ExecOutput;
    use crate::machine::outcome::FaultClass;

    fn look(text: &str) -> Result<NodeLook, Fault> {
        let stdout = format!("@proxmaint 1\n{text}@end\n").into_bytes();
        let out = ExecOutput { exit: 0, stdout, stderr: Vec::new(), truncated: false };
        read("looking", &Answer::read(&Place::Node, "looking", Nature::Reads, &out)?)
    }

    #[test]
    fn each_file_system_is_named_once() {
        let found = look(
            "@uid 0\n@sudo \n\
             @space.0\n|/dev/mapper/pve-root   98497780 20000000 73448288      22% /\n|\n\
             @space.1\n|/dev/mapper/pve-root   98497780 20000000 73448288      22% /\n|\n\
             @space.2\n|rpool/var tmp   1000 10 990      1% /var/tmp\n|\n",
        )
        .expect("an answer");
        assert_eq!(found.root, RootAccess::Root);
        let space = |path: &str, available, total| SpaceFacts { path: path.to_owned(), available, total };
        let kib = 1024;
        assert_eq!(
            found.space,
            [space("/", 73_448_288 * kib, 98_497_780 * kib), space("/var/tmp", 990 * kib, 1000 * kib)]
        );
    }

    #[test]
    fn a_device_that_is_mounted_twice_is_one_file_system_and_two_tmpfs_are_two() {
        let found = look(
            "@uid 0\n@sudo 1000\n@space.0\n|tmpfs 100 10 90 10% /\n@space.1\n|/dev/sda1 100 10 90 10% /boot\n\
             @space.2\n|tmpfs 100 10 90 10% /var/tmp\n",
        )
        .expect("an answer");
        assert_eq!(found.root, RootAccess::Sudo);
        assert_eq!(found.space.iter().map(|space| space.path.as_str()).collect::<Vec<_>>(), ["/", "/boot", "/var/tmp"]);
        let found = look(
            "@uid 0\n@space.0\n|/dev/sda2 100 10 90 10% /\n@space.1\n@space.2\n|/dev/sda2 100 10 90 10% /var/tmp\n",
        )
        .expect("an answer");
        assert_eq!(found.space.len(), 1);
    }

    #[test]
    fn what_can_not_be_read_is_an_error() {
        assert_eq!(look("@uid 1000\n@sudo \n").expect_err("no root").class, FaultClass::Auth);
        for line in [
            "nonsense",
            "/dev/sda1 100 10 90 10%",
            "/dev/sda1 x 10 90 10% /",
            "/dev/sda1 18446744073709551615 1 1 1% /",
        ] {
            let fault = look(&format!("@uid 0\n@space.0\n|{line}\n")).expect_err(line);
            assert_eq!(fault.class, FaultClass::Permanent);
        }
    }
}
