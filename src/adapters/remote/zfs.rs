//! Asks the node's ZFS about a guest's volumes: which snapshots are newer than one of the guest's, and what was written since.
//!
//! Proxmox VE lists only the snapshots that it took itself. ZFS rolls back to the newest snapshot of a dataset and to no older
//! one, so those that other tools take (zfs-auto-snapshot, sanoid, replication) stand in the way all the same.

use super::answer::Answer;
use super::exec::At;
use super::quote::quote;
use super::text::harmless;
use crate::engine::port::{Place, ZfsSince};
use crate::ids::SnapshotName;
use crate::machine::outcome::Fault;

const PRELUDE: &str = include_str!("sh/prelude.sh");
const ZFS: &str = include_str!("sh/zfs.sh");

/// Makes the script. Names of volumes have no blanks: the API would not have taken them.
pub(super) fn script(volumes: &[String], snapshot: &SnapshotName) -> String {
    let volumes = quote(&volumes.join(" "));
    let names = format!("volumes={volumes}\nsnapshot={}\n", quote(snapshot.as_str()));
    Answer::envelope(&[PRELUDE, &names, ZFS])
}

/// Reads the answer of [`script`].
pub(super) fn read(doing: &str, snapshot: &SnapshotName, answer: &Answer) -> Result<ZfsSince, Fault> {
    let mut since = ZfsSince { newer: Vec::new(), written: Some(0) };
    // Of the dataset that is being read: whether the snapshot was seen, and whether what was written since is known.
    let (mut seen, mut counted) = (false, true);
    let mut datasets = 0;
    for line in answer.lines("since") {
        let (what, text) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "failed" => {
                return Err(Fault::permanent(format!("{doing} on {}: {}", At(&Place::Node), harmless(text))));
            }
            "elsewhere" => since.written = None,
            "dataset" => {
                if !counted {
                    since.written = None;
                }
                (seen, counted) = (false, false);
                datasets += 1;
            }
            "snapshot" if text.rsplit_once('@').is_some_and(|(_, name)| name == snapshot.as_str()) => seen = true,
            "snapshot" if seen && !text.is_empty() => since.newer.push(harmless(text)),
            "written" => match (text.trim().parse::<u64>(), since.written) {
                (Ok(bytes), Some(sum)) => {
                    since.written = Some(sum.saturating_add(bytes));
                    counted = true;
                }
                _ => since.written = None,
            },
            _ => {}
        }
    }
    if !counted || datasets == 0 {
        since.written = None;
    }
    Ok(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(lines: &[&str]) -> Result<ZfsSince, Fault> {
        let answer = Answer::of_text(&format!("@since \n{}", lines.join("\n")));
        read("asking ZFS", &SnapshotName::new("pm-a"), &answer)
    }

    #[test]
    fn only_what_is_newer_stands_in_the_way() {
        let found = since(&[
            "|dataset rpool/data/subvol-101-disk-0",
            "|snapshot rpool/data/subvol-101-disk-0@daily",
            "|snapshot rpool/data/subvol-101-disk-0@pm-a",
            "|snapshot rpool/data/subvol-101-disk-0@autosnap",
            "|written 4096",
            "|dataset rpool/data/subvol-101-disk-1",
            "|snapshot rpool/data/subvol-101-disk-1@pm-a",
            "|written 512",
        ])
        .expect("an answer");
        assert_eq!(found.newer, ["rpool/data/subvol-101-disk-0@autosnap"]);
        assert_eq!(found.written, Some(4608));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let one = ["|dataset a/b", "|snapshot a/b@pm-a"];
        assert_eq!(since(&one).expect("an answer").written, None, "an old ZFS");
        let two = ["|dataset a/b", "|snapshot a/b@pm-a", "|written 1", "|elsewhere nfs:101/vm-101-disk-0.qcow2"];
        assert_eq!(since(&two).expect("an answer").written, None);
        assert_eq!(since(&["|elsewhere all"]).expect("an answer"), ZfsSince { newer: vec![], written: None });
        let fault = since(&["|failed local-zfs:subvol-101-disk-0: storage 'local-zfs' does not exist"]);
        assert!(fault.expect_err("no answer").what.contains("does not exist"));
    }
}
