//! Names that are one machine's own, and that no program takes for anything but a name.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is taken already, in lower case: who types a name does not think of its case.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// Makes a set in which these are taken.
    pub(super) fn without<'a>(taken: impl IntoIterator<Item = &'a str>) -> Self {
        Self(taken.into_iter().map(str::to_ascii_lowercase).collect())
    }

    /// Takes the first of the wishes that is free; where none is, the last one with a number behind it.
    pub(super) fn take(&mut self, wishes: &[String], before_number: char) -> String {
        let last = wishes.last().map_or("", String::as_str);
        let numbered = (2_usize..).map(|number| format!("{last}{before_number}{number}"));
        let mut free = wishes.iter().cloned().chain(numbered);
        // The numbers don't end before one is free.
        let name = free.find(|name| self.0.insert(name.to_ascii_lowercase()));
        name.unwrap_or_default()
    }
}

/// Tells whether a text is a name as it is: nothing in it is a pattern, an option, a range or a blank to anyone.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_plain)
}

/// Tells whether it reads as an address: `ssh 10.0.0.1` is to lead there, and OpenSSH takes `101` for one too.
pub(super) fn is_address(text: &str) -> bool {
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_number || text.parse::<IpAddr>().is_ok()
}

/// Makes a name of any text, `-` standing for whatever a name can't hold; may be empty.
pub(super) fn plain(text: &str) -> String {
    let parts = text.split(|c| !is_plain(c)).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Makes a name that Ansible takes for a group: letters, digits and `_`, no digit first.
pub(super) fn group(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("_{plain}") } else { plain }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once() {
        let mut names = Names::without(["all"]);
        let wish = |names: &mut Names, wishes: &[&str]| {
            names.take(&wishes.iter().map(|wish| (*wish).to_owned()).collect::<Vec<_>>(), '-')
        };
        assert_eq!(wish(&mut names, &["web", "web-101"]), "web");
        assert_eq!(wish(&mut names, &["Web", "web-102"]), "web-102");
        assert_eq!(wish(&mut names, &["web", "web-102"]), "web-102-2");
        assert_eq!(wish(&mut names, &["web", "web-102"]), "web-102-3");
        assert_eq!(wish(&mut names, &["all", "all-7"]), "all-7");
    }

    #[test]
    fn any_text_becomes_a_name() {
        for (text, name) in [
            ("web-01.example.org", "web-01.example.org"),
            ("-oProxyCommand=x", "oProxyCommand-x"),
            ("a*b ?!c", "a-b-c"),
            ("ü", ""),
            ("", ""),
            ("a\nHost *", "a-Host"),
        ] {
            assert_eq!(plain(text), name, "{text:?}");
            assert!(name.is_empty() || is_name(name), "{name}");
        }
        assert_eq!(group("10.0.0.1"), "_10_0_0_1");
        assert_eq!(group("pve-1.example"), "pve_1_example");
    }

    #[test]
    fn addresses_are_no_names_of_guests() {
        assert!(["101", "10.0.0.1", "1.2", "2001:db8::1"].into_iter().all(is_address));
        assert!(!["web", "1.example", "10a", ""].into_iter().any(is_address));
    }
}
