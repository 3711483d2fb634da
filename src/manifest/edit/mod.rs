//! Edits a manifest and loses nothing of it: whatever is not edited stays as it is, to the byte.
//!
//! Text in, text out; only `save` touches files. `edits` are the edits, `layout` says where everything lies in the text, `place` where something
//! new goes, `splice` replaces ranges, and `tree` is what the text means. Each edit is proven: it is first made in the tree,
//! and the new text must mean exactly that tree, else the next possible place is tried, and where there is none the edit is
//! refused. Line breaks, a byte order mark, odd spacing and comments are never touched, since nothing is written anew.

mod diff;
mod edits;
mod form;
mod identity;
mod layout;
mod place;
mod save;
mod setting;
mod splice;
mod tree;
mod value;

use std::path::Path as FilePath;

use toml_edit::Document as Toml;

use crate::ids::{GuestId, GuestKind};

use super::{Env, Manifest, ManifestError};
use layout::{Layout, Path, Step};
use tree::Node;

pub use diff::unified;
pub use form::Form;
pub use identity::{Identity, suggested_variable, suggested_variables};
pub use save::{ManifestFile, SaveError};
pub use setting::{Kind, Scope, Setting, Spot, UnknownKey, WrongValue};
pub use value::Value;

/// The byte order mark that some editors put before everything.
const MARK: char = '\u{feff}';

/// A manifest as text, with edits.
#[derive(Debug, Clone)]
pub struct Document {
    /// Whether a byte order mark stands before the text.
    marked: bool,
    text: String,
    layout: Layout,
    tree: Node,
}

/// Why an edit is refused; nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is not TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// There is no such host, rule or entry.
    #[error("there is nothing at {0:?}")]
    NoSuchSpot(Spot),
    /// The key stands somewhere else.
    #[error("`{key}` does not stand in {}", scope.as_str())]
    Misplaced {
        /// The key.
        key: &'static str,
        /// Where it was to stand.
        scope: Scope,
    },
    /// The key holds tables, or a secret.
    #[error("`{0}` can't be set like that")]
    NotSettable(&'static str),
    /// There is no way to write it that means what it should.
    #[error("{what} finds no place in the file as it is written")]
    NoPlace {
        /// What was to be written.
        what: String,
    },
}

impl EditError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "`proxmaint manifest check` shows the place",
            Self::NoSuchSpot(_) => "hosts, rules and entries are counted from 0, in the order of the file",
            Self::Misplaced { .. } => "ask the table that it stands in for its keys",
            Self::NotSettable("password") => "name a variable of the environment with `password_env`",
            Self::NotSettable(_) => "guests are edited one by one",
            Self::NoPlace { .. } => {
                "edit the file by hand: beside [[hosts.guests]], TOML has no room for a table `guests`"
            }
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// The table that says so.
    pub from: Scope,
    /// What it says.
    pub value: Value,
}

impl Default for Document {
    /// Makes an empty one.
    fn default() -> Self {
        Self { marked: false, text: String::new(), layout: Layout::of(""), tree: Node::empty() }
    }
}

impl Document {
    /// Reads a text. It need not be a valid manifest, but TOML.
    ///
    /// # Errors
    /// It is not TOML.
    pub fn parse(text: &str) -> Result<Self, EditError> {
        let (marked, text) = match text.strip_prefix(MARK) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let tree = meaning(text).map_err(EditError::Syntax)?;
        Ok(Self { marked, text: text.to_owned(), layout: Layout::of(text), tree })
    }

    /// Returns the text, byte order mark included.
    pub fn text(&self) -> String {
        if self.marked { format!("{MARK}{}", self.text) } else { self.text.clone() }
    }

    /// Returns what the text means, read as `run` reads it. `path` is where it lies or is to lie, absolute.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn manifest(&self, path: &FilePath, env: &Env<'_>) -> Result<Manifest, ManifestError> {
        Manifest::parse(path, self.text().as_bytes(), env)
    }

    /// Returns the names of the hosts, in the order of the file; a host without one is called like its `host`.
    pub fn hosts(&self) -> Vec<String> {
        let count = self.count(&[Step::key("hosts")]);
        let text = |host, key: &str| match self.tree.at(&Spot::Host(host).path())?.at(&[Step::key(key)])? {
            Node::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        (0..count).map(|host| text(host, "name").or_else(|| text(host, "host")).unwrap_or_default()).collect()
    }

    /// Returns the host of that name.
    pub fn host(&self, name: &str) -> Option<Spot> {
        self.hosts().iter().position(|host| host == name).map(Spot::Host)
    }

    /// Returns the rules of a host, in the order of the file.
    pub fn rules(&self, host: usize) -> Vec<Spot> {
        (0..self.count(&rules_of(host))).map(|rule| Spot::Rule(host, rule)).collect()
    }

    /// Returns the rule of that very guest that counts, which is the last one.
    pub fn rule(&self, host: usize, guest: GuestId) -> Option<Spot> {
        let is_id = |spot: &Spot| match self.tree.at(&spot.path()).and_then(|rule| rule.at(&[Step::key("id")])) {
            Some(Node::Number(id)) => *id == i64::from(guest.0),
            Some(Node::Text(id)) => id.parse() == Ok(guest.0),
            _ => false,
        };
        self.rules(host).into_iter().rfind(is_id)
    }

    /// Returns the entries of a host's inventory, in the order of the file.
    pub fn entries(&self, host: usize) -> Vec<Spot> {
        (0..self.count(&entries_of(host))).map(|entry| Spot::Entry(host, entry)).collect()
    }

    /// Returns the entry of that guest.
    pub fn entry(&self, host: usize, kind: GuestKind, guest: GuestId) -> Option<Spot> {
        let text = |spot: &Spot, key: &str| self.tree.at(&spot.path())?.at(&[Step::key(key)])?.value();
        let kind = match kind {
            GuestKind::Ct => "ct",
            GuestKind::Vm => "vm",
        };
        let fits = |spot: &Spot| {
            let id = match text(spot, "id") {
                Some(Value::Text(id)) => id.parse().ok(),
                _ => None,
            };
            id == Some(guest.0) && text(spot, "kind") == Some(Value::text(kind))
        };
        self.entries(host).into_iter().find(fits)
    }

    fn count(&self, list: &[Step]) -> usize {
        match self.tree.at(list) {
            Some(Node::List(items)) => items.len(),
            _ => 0,
        }
    }

    /// Returns what a table itself says of a key: the spelling that counts, and its value. Empty values count as said here.
    pub fn given(&self, spot: Spot, setting: &Setting) -> Option<(&'static str, Value)> {
        let table = spot.path();
        let said = setting.spellings().iter().filter_map(|spelling| {
            let value = self.tree.at(&below(&table, spelling))?.value()?;
            Some((*spelling, value))
        });
        let said: Vec<_> = said.collect();
        said.iter().find(|(_, value)| !value.is_empty()).or(said.first()).cloned()
    }

    /// Returns what holds for a table where it says nothing itself; `None` where that is what is built in
    /// ([`Setting::default`]).
    pub fn inherited(&self, spot: Spot, setting: &Setting) -> Option<Inherited> {
        if let Some(known) = self.of_entry(spot, setting) {
            return Some(Inherited { from: Scope::Entry, value: known });
        }
        let (above, setting) = match spot {
            Spot::Host(_) => (Spot::Defaults, Scope::Defaults.setting(setting.name()).ok()?),
            Spot::Rule(host, _) | Spot::Entry(host, _) => (Spot::Host(host), setting.of_host()?),
            Spot::Defaults | Spot::Inventory(_) => return None,
        };
        match self.given(above, &setting).filter(|(_, value)| !value.is_empty()) {
            Some((_, value)) => Some(Inherited { from: above.scope(), value }),
            None => self.inherited(above, &setting),
        }
    }

    /// Returns what the inventory knows of the single guest that a rule is about, where that holds in place of a key.
    fn of_entry(&self, spot: Spot, setting: &Setting) -> Option<Value> {
        let Spot::Rule(host, _) = spot else { return None };
        let known = setting.of_entry()?;
        let id = match self.given(spot, &Scope::Rule.setting("id").ok()?)?.1 {
            Value::Number(id) => GuestId(u32::try_from(id).ok()?),
            Value::Text(id) => id.parse().ok()?,
            Value::Boolean(_) | Value::List(_) => return None,
        };
        let kinds = [GuestKind::Vm, GuestKind::Ct];
        let entry = kinds.into_iter().find_map(|kind| self.entry(host, kind, id))?;
        self.given(entry, &known).map(|(_, value)| value).filter(|value| !value.is_empty())
    }
}

fn rules_of(host: usize) -> Path {
    below(&Spot::Host(host).path(), "guests")
}

fn entries_of(host: usize) -> Path {
    below(&Spot::Inventory(host).path(), "entries")
}

fn below(table: &[Step], spelling: &str) -> Path {
    table.iter().cloned().chain(spelling.split('.').map(Step::key)).collect()
}

/// Returns what a text means.
fn meaning(text: &str) -> Result<Node, String> {
    let toml = Toml::parse(text).map_err(|error| error.message().to_owned())?;
    Ok(Node::of_table(toml.as_table()))
}
