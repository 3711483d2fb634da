//! Selects guests by number, name, tag, pool or kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{GuestId, GuestKind};

/// Selects guests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selector {
    /// One guest: `104`. Numbers are matched whole: 104 is not 10443.
    Id(GuestId),
    /// A range of numbers, both ends included: `100-199`.
    Range(GuestId, GuestId),
    /// A name, in which `*` stands for any text and `?` for one character: `web-*`.
    Name(String),
    /// A tag, with the same wildcards: `tag:prod`.
    Tag(String),
    /// A resource pool, with the same wildcards: `pool:customers`.
    Pool(String),
    /// A kind: `type:ct`, `type:vm`.
    Kind(GuestKind),
    /// All that the other does not select: `!tag:prod`.
    Not(Box<Selector>),
}

/// What a guest is selected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits<'a> {
    /// Its vmid.
    pub id: GuestId,
    /// Its kind.
    pub kind: GuestKind,
    /// Its name; may be empty.
    pub name: &'a str,
    /// Its tags.
    pub tags: &'a [String],
    /// Its resource pool.
    pub pool: Option<&'a str>,
}

/// A text that selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` selects no guests: {why}")]
pub struct SelectorError {
    /// What was written.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Selector {
    /// What can be written, for messages.
    pub const HELP: &'static str = "write a number, a range (100-199), a name (web-*), tag:NAME, pool:NAME, type:ct or type:vm; `!` in front negates";

    /// Tells whether a guest is selected.
    pub fn matches(&self, guest: &Traits<'_>) -> bool {
        match self {
            Self::Id(id) => guest.id == *id,
            Self::Range(first, last) => (*first..=*last).contains(&guest.id),
            Self::Name(pattern) => wildcard(pattern, guest.name),
            Self::Tag(pattern) => guest.tags.iter().any(|tag| wildcard(pattern, tag)),
            Self::Pool(pattern) => guest.pool.is_some_and(|pool| wildcard(pattern, pool)),
            Self::Kind(kind) => guest.kind == *kind,
            Self::Not(other) => !other.matches(guest),
        }
    }
}

/// Tells whether a list selects a guest: one that is not negated does, or there is none of these, and every negated one does.
/// So `["!tag:prod"]` is all but those with the tag, and `["100-199", "!150"]` the range without one.
pub fn selects(list: &[Selector], guest: &Traits<'_>) -> bool {
    let (negated, plain): (Vec<&Selector>, Vec<&Selector>) =
        list.iter().partition(|selector| matches!(selector, Selector::Not(_)));
    let any = plain.is_empty() || plain.iter().any(|selector| selector.matches(guest));
    any && !list.is_empty() && negated.iter().all(|selector| selector.matches(guest))
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrong = |why| SelectorError { given: text.to_owned(), why };
        let trimmed = text.trim();
        if let Some(rest) = trimmed.strip_prefix('!') {
            return match rest.parse()? {
                Self::Not(_) => Err(wrong("it is negated twice")),
                other => Ok(Self::Not(Box::new(other))),
            };
        }
        if trimmed.is_empty() {
            return Err(wrong("it is empty"));
        }
        if let Some((key, value)) = trimmed.split_once(':') {
            let value = value.trim();
            if value.is_empty() {
                return Err(wrong("nothing follows the colon"));
            }
            return match key.trim() {
                "tag" => Ok(Self::Tag(value.to_owned())),
                "pool" => Ok(Self::Pool(value.to_owned())),
                "name" => Ok(Self::Name(value.to_owned())),
                "id" => value.parse().map(Self::Id).map_err(|_| wrong("it is no number")),
                "type" => match value {
                    "ct" | "lxc" => Ok(Self::Kind(GuestKind::Ct)),
                    "vm" | "qemu" => Ok(Self::Kind(GuestKind::Vm)),
                    _ => Err(wrong("the types are ct and vm")),
                },
                _ => Err(wrong("before a colon stands tag, pool, type, name or id")),
            };
        }
        if trimmed.chars().all(|c| c.is_ascii_digit()) {
            return trimmed.parse().map(Self::Id).map_err(|_| wrong("the number is too large"));
        }
        if let Some((first, last)) = trimmed.split_once('-')
            && [first, last].iter().all(|end| !end.is_empty() && end.chars().all(|c| c.is_ascii_digit()))
        {
            let (Ok(first), Ok(last)) = (first.parse::<GuestId>(), last.parse::<GuestId>()) else {
                return Err(wrong("a number is too large"));
            };
            return if first <= last {
                Ok(Self::Range(first, last))
            } else {
                Err(wrong("the range ends before it begins"))
            };
        }
        if trimmed.contains(char::is_whitespace) {
            return Err(wrong("names hold no blanks"));
        }
        Ok(Self::Name(trimmed.to_owned()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            // A name that could be read as something else says that it is a name.
            Self::Name(name) => match name.parse() {
                Ok(Self::Name(_)) => f.write_str(name),
                _ => write!(f, "name:{name}"),
            },
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Pool(pool) => write!(f, "pool:{pool}"),
            Self::Kind(GuestKind::Ct) => f.write_str("type:ct"),
            Self::Kind(GuestKind::Vm) => f.write_str("type:vm"),
            Self::Not(other) => write!(f, "!{other}"),
        }
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

/// Matches a whole text, letter case aside: `*` is any text, `?` one character.
fn wildcard(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the latest star stands, and from where on the text behind it is tried.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, t) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest<'a>(id: u32, name: &'a str, tags: &'a [String]) -> Traits<'a> {
        Traits { id: GuestId(id), kind: GuestKind::Ct, name, tags, pool: Some("customers") }
    }

    fn list(texts: &[&str]) -> Vec<Selector> {
        texts.iter().map(|text| text.parse().unwrap_or_else(|error| panic!("{error}"))).collect()
    }

    #[test]
    fn each_form_selects_what_it_says() {
        let tags = ["prod".to_owned(), "db".to_owned()];
        let web = guest(104, "web-1", &tags);
        for (text, hit) in [
            ("104", true),
            ("10443", false),
            ("10", false),
            ("100-199", true),
            ("104-104", true),
            ("105-199", false),
            ("web-*", true),
            ("WEB-?", true),
            ("web", false),
            ("*", true),
            ("*e*1", true),
            ("tag:prod", true),
            ("tag:p*", true),
            ("tag:pro", false),
            ("pool:customers", true),
            ("pool:other", false),
            ("type:ct", true),
            ("type:vm", false),
            ("!104", false),
            ("!tag:test", true),
        ] {
            assert_eq!(list(&[text])[0].matches(&web), hit, "{text}");
        }
    }

    #[test]
    fn a_list_is_what_any_selects_less_what_is_negated() {
        let none = [];
        let hit = |texts: &[&str], id| selects(&list(texts), &guest(id, "web", &none));
        assert!(hit(&["100-199", "!150"], 151));
        assert!(!hit(&["100-199", "!150"], 150));
        assert!(!hit(&["100-199", "!150"], 250));
        assert!(hit(&["!150"], 250));
        assert!(hit(&["101", "102"], 102));
        assert!(!hit(&[], 101), "an empty list selects nothing");
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        for text in ["", "!", "!!101", "tag:", "type:lxd", "colour:red", "199-100", "99999999999", "two words", "id:x"]
        {
            assert!(text.parse::<Selector>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["101", "100-199", "web-*", "tag:a", "pool:b", "type:vm", "!type:ct", "!100-200", "name:101"] {
            let selector = list(&[text]).remove(0);
            assert_eq!(selector.to_string(), text);
            assert_eq!(selector.to_string().parse(), Ok(selector));
        }
    }
}
