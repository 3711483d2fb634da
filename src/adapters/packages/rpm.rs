//! Reads what rpm prints; shared by dnf and zypper.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapters::remote::{Answer, harmless};

/// The packages that are installed: by name and architecture, their version (the last one that rpm lists, where there are several).
pub(super) fn installed(answer: &Answer) -> BTreeMap<(String, String), String> {
    let mut installed = BTreeMap::new();
    for line in answer.lines("installed") {
        let line = harmless(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, arch, version] = words.as_slice() {
            installed.insert(((*name).to_owned(), (*arch).to_owned()), (*version).to_owned());
        }
    }
    installed
}

/// Returns the packages that are installed in two versions although none but one is to be: a transaction was cut off.
pub(super) fn cut_off(answer: &Answer) -> Vec<String> {
    let several: BTreeSet<&String> = answer.lines("several").iter().collect();
    let twice = answer.lines("twice").iter().filter(|name| !name.trim().is_empty() && !several.contains(name));
    twice.filter(|name| !name.starts_with("gpg-pubkey.")).map(|name| harmless(name)).collect()
}
