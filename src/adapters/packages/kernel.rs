//! Tells which kernel a node would boot next; best effort.
//!
//! `proxmox-boot-tool kernel list` is what the node's own tools go by: a kernel pinned for the next boot, else a pinned
//! one, else the newest of those that it keeps. Where there is no such tool, or it says nothing, the newest image in
//! `/boot` counts, which is GRUB's default order. A default that was set in GRUB by hand is not seen.

use std::cmp::Ordering;

use crate::adapters::remote::harmless;

/// Returns the release (`uname -r`) of the kernel that would boot next, where that can be told.
pub(super) fn next_boot(boot_tool: &[String], images: &[String]) -> Option<String> {
    let mut pinned = None;
    let mut next = None;
    let mut kept: Vec<String> = Vec::new();
    let mut section = "";
    for line in boot_tool.iter().map(|line| harmless(line)) {
        let line = line.trim();
        match line {
            "Manually selected kernels:" | "Automatically selected kernels:" => section = "kept",
            "Pinned kernel:" => section = "pinned",
            "Kernel pinned on next-boot:" => section = "next",
            _ if !is_release(line) => {}
            _ => match section {
                "kept" => kept.push(line.to_owned()),
                "pinned" => pinned = Some(line.to_owned()),
                "next" => next = Some(line.to_owned()),
                _ => {}
            },
        }
    }
    next.or(pinned).or_else(|| newest(kept)).or_else(|| newest(images.iter().map(|image| harmless(image)).collect()))
}

/// Whether a text looks like a kernel's release; leaves out `None.`, and what dpkg leaves beside an image.
fn is_release(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '~'))
        && ![".old", ".bak", ".dpkg-new", ".dpkg-old", ".dpkg-tmp"].iter().any(|end| text.ends_with(end))
}

/// Returns the newest of some releases.
fn newest(releases: Vec<String>) -> Option<String> {
    releases.into_iter().filter(|release| is_release(release)).max_by(|a, b| by_version(a, b))
}

/// Orders releases by their numbers: `6.14.0-2` is newer than `6.8.12-10`.
fn by_version(a: &str, b: &str) -> Ordering {
    let (a, b) = (pieces(a), pieces(b));
    a.cmp(&b)
}

/// One piece of a version; a number is newer than a word, so that a release is newer than its `rc`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Word(&'a str),
    Number(u64),
}

/// Cuts a version into its numbers and words.
fn pieces(version: &str) -> Vec<Piece<'_>> {
    version
        .split(['.', '-', '_', '+', '~'])
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.parse().map_or(Piece::Word(piece), Piece::Number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const KEPT: &str = "Manually selected kernels:\nNone.\n\nAutomatically selected kernels:\n6.8.12-9-pve\n6.14.0-1-pve\n6.8.12-10-pve\n";

    #[test]
    fn the_newest_that_is_kept_boots_next() {
        assert_eq!(next_boot(&lines(KEPT), &lines("6.99.0-1-pve")), Some("6.14.0-1-pve".into()));
    }

    #[test]
    fn pins_are_respected() {
        let pinned = format!("{KEPT}\nPinned kernel:\n6.8.12-10-pve\n");
        assert_eq!(next_boot(&lines(&pinned), &[]), Some("6.8.12-10-pve".into()));
        let next = format!("{pinned}\nKernel pinned on next-boot:\n6.8.12-9-pve\n");
        assert_eq!(next_boot(&lines(&next), &[]), Some("6.8.12-9-pve".into()));
    }

    #[test]
    fn without_the_tool_the_newest_image_counts() {
        let images = lines("6.1.0-9-amd64\n6.1.0-28-amd64\n6.1.0-30-amd64.dpkg-tmp\nrescue");
        assert_eq!(next_boot(&[], &images), Some("6.1.0-28-amd64".into()));
        assert_eq!(next_boot(&[], &[]), None);
        assert_eq!(next_boot(&lines("Manually selected kernels:\nNone.\n"), &[]), None);
    }

    #[test]
    fn a_release_is_newer_than_its_candidates() {
        assert_eq!(by_version("6.2.0-1-pve", "6.2.0-rc3-pve"), Ordering::Greater);
        assert_eq!(by_version("6.2.16-20-pve", "6.2.16-3-pve"), Ordering::Greater);
    }
}
