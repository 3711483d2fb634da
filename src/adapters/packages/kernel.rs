//! Tells which kernel a machine would boot next, where that can be told.
//!
//! - A node: `proxmox-boot-tool kernel list` is what the node's own tools go by: a kernel pinned for the next boot, else a pinned one,
//!   else the newest of those that it keeps.
//! - Fedora, RHEL: `grubby --default-kernel`.
//! - Debian, SUSE, and a node without its tool: the newest image in `/boot`, which is GRUB's default order. Where GRUB was told something
//!   else (`GRUB_DEFAULT`, `GRUB_TOP_LEVEL`, `grub-reboot`), or what runs is none of these images, it can't be told.
//! - Alpine, Arch: an image has no version there, but the directory of its modules has: where there is one alone, that is it.

use std::cmp::Ordering;

use crate::adapters::remote::{Answer, harmless};
use crate::inventory::PackageManager;

/// Returns the release (`uname -r`) of the kernel that would boot next, where that can be told; `running` is the one that runs.
pub(super) fn next_boot(answer: &Answer, manager: Option<PackageManager>, running: &str) -> Option<String> {
    if let Some(kept) = kept_by_node(answer.lines("boot_tool")) {
        return Some(kept);
    }
    match manager? {
        PackageManager::Dnf => {
            let path = harmless(answer.value("default_kernel")?);
            let release = path.rsplit('/').next()?.strip_prefix("vmlinuz-")?;
            is_release(release).then(|| release.to_owned())
        }
        PackageManager::Apt | PackageManager::Zypper => {
            let images = releases(answer.lines("kernels"));
            let known = images.iter().any(|image| image == running) && boots_newest(answer.lines("grub"));
            newest(images).filter(|_| known)
        }
        PackageManager::Apk | PackageManager::Pacman => {
            let modules = releases(answer.lines("modules"));
            <[String; 1]>::try_from(modules).ok().map(|[only]| only)
        }
    }
}

/// Reads the node's tool.
fn kept_by_node(boot_tool: &[String]) -> Option<String> {
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
    next.or(pinned).or_else(|| newest(kept))
}

/// Whether GRUB boots its first entry, the newest kernel, by its settings (of one that is there twice the last counts) and by what it
/// keeps between boots.
fn boots_newest(grub: &[String]) -> bool {
    let value = |key: &str| {
        let lines = grub.iter().rev().map(|line| line.trim());
        lines
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == key)
            .map_or("", |(_, value)| value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']))
    };
    let first = match value("GRUB_DEFAULT") {
        "" | "0" => true,
        "saved" => matches!(value("saved_entry"), "" | "0"),
        _ => false,
    };
    first && ["GRUB_FLAVOUR_ORDER", "GRUB_TOP_LEVEL", "next_entry"].iter().all(|key| value(key).is_empty())
}

/// Reads releases, one a line.
fn releases(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| harmless(line).trim().to_owned()).filter(|line| is_release(line)).collect()
}

/// Whether a text looks like a kernel's release; leaves out `None.`, and what dpkg leaves beside an image.
fn is_release(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '~'))
        && ![".old", ".bak", ".dpkg-new", ".dpkg-old", ".dpkg-tmp", ".rpmsave", ".rpmnew"]
            .iter()
            .any(|end| text.ends_with(end))
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

    fn next(manager: PackageManager, running: &str, key: &str, text: &str) -> Option<String> {
        let lines: String = text.lines().map(|line| format!("|{line}\n")).collect();
        next_boot(&Answer::of_text(&format!("@{key}\n{lines}")), Some(manager), running)
    }

    #[test]
    fn the_newest_that_a_node_keeps_boots_next() {
        assert_eq!(kept_by_node(&lines(KEPT)), Some("6.14.0-1-pve".into()));
        assert_eq!(kept_by_node(&lines("Manually selected kernels:\nNone.\n")), None);
    }

    #[test]
    fn pins_are_respected() {
        let pinned = format!("{KEPT}\nPinned kernel:\n6.8.12-10-pve\n");
        assert_eq!(kept_by_node(&lines(&pinned)), Some("6.8.12-10-pve".into()));
        let next = format!("{pinned}\nKernel pinned on next-boot:\n6.8.12-9-pve\n");
        assert_eq!(kept_by_node(&lines(&next)), Some("6.8.12-9-pve".into()));
    }

    #[test]
    fn elsewhere_the_newest_image_counts() {
        let images = "6.1.0-9-amd64\n6.1.0-28-amd64\n6.1.0-30-amd64.dpkg-tmp\nrescue";
        let running = |running| next(PackageManager::Apt, running, "kernels", images);
        assert_eq!(running("6.1.0-9-amd64"), Some("6.1.0-28-amd64".into()));
        assert_eq!(running("6.1.0-28-amd64"), Some("6.1.0-28-amd64".into()));
        assert_eq!(running("6.6.6-from-elsewhere"), None, "it boots something that is not in /boot");
        assert_eq!(next(PackageManager::Apt, "6.1.0-9-amd64", "kernels", ""), None);
    }

    #[test]
    fn what_grub_was_told_is_respected() {
        for told in [
            "",
            "GRUB_DEFAULT=0",
            "GRUB_DEFAULT=2\nGRUB_DEFAULT=\"0\" # the first",
            "GRUB_DEFAULT=saved",
            "GRUB_DEFAULT=saved\nsaved_entry=0",
            "GRUB_DEFAULT=0\nsaved_entry=x\nnext_entry=",
        ] {
            assert!(boots_newest(&lines(told)), "{told}");
        }
        for told in [
            "GRUB_DEFAULT=2",
            "GRUB_DEFAULT='1>2'",
            "GRUB_DEFAULT=saved\nsaved_entry=gnulinux-simple",
            "GRUB_DEFAULT=0\nnext_entry=1",
            "GRUB_FLAVOUR_ORDER=\"generic lowlatency\"",
            "GRUB_TOP_LEVEL=/boot/vmlinuz-lab",
        ] {
            assert!(!boots_newest(&lines(told)), "{told}");
        }
    }

    #[test]
    fn fedora_is_asked_and_alpine_has_one_or_none() {
        let grubby = |path: &str| {
            let answer = Answer::of_text(&format!("@default_kernel {path}\n@kernels\n|6.99.0\n"));
            next_boot(&answer, Some(PackageManager::Dnf), "6.11.4-301.fc41.x86_64")
        };
        assert_eq!(grubby("/boot/vmlinuz-6.11.5-300.fc41.x86_64"), Some("6.11.5-300.fc41.x86_64".into()));
        assert_eq!((grubby(""), grubby("/boot/0123/6.11.5/linux")), (None, None));
        let alpine = |modules: &str| next(PackageManager::Apk, "6.12.38-0-virt", "modules", modules);
        assert_eq!(alpine("6.12.40-0-virt"), Some("6.12.40-0-virt".into()));
        assert_eq!((alpine("6.12.40-0-virt\n6.12.40-0-lts"), alpine("")), (None, None));
    }

    #[test]
    fn a_release_is_newer_than_its_candidates() {
        assert_eq!(by_version("6.2.0-1-pve", "6.2.0-rc3-pve"), Ordering::Greater);
        assert_eq!(by_version("6.2.16-20-pve", "6.2.16-3-pve"), Ordering::Greater);
    }
}
