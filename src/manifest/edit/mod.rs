//! Edits a manifest and loses nothing of it: whatever is not edited stays as it is, to the byte.
//!
//! Text in, text out; only [`save`] touches files. `layout` says where everything lies in the text, `place` where something
//! new goes, `splice` replaces ranges, and `tree` is what the text means. Each edit is proven: it is first made in the tree,
//! and the new text must mean exactly that tree, else the next possible place is tried, and where there is none the edit is
//! refused. Line breaks, a byte order mark, odd spacing and comments are never touched, since nothing is written anew.

mod diff;
mod layout;
mod place;
mod save;
mod setting;
mod splice;
mod tree;
mod value;

use std::collections::BTreeSet;
use std::path::Path as FilePath;

use toml_edit::Document as Toml;

use crate::ids::{GuestId, GuestKind};

use super::{Env, Manifest, ManifestError};
use layout::{Layout, Path, Step};
use splice::Splices;
use tree::Node;

pub use diff::unified;
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
        let (above, setting) = match spot {
            Spot::Host(_) => (Spot::Defaults, Scope::Defaults.setting(setting.name()).ok()?),
            Spot::Rule(host, _) => (Spot::Host(host), setting.of_host()?),
            Spot::Defaults | Spot::Inventory(_) | Spot::Entry(..) => return None,
        };
        match self.given(above, &setting).filter(|(_, value)| !value.is_empty()) {
            Some((_, value)) => Some(Inherited { from: above.scope(), value }),
            None => self.inherited(above, &setting),
        }
    }

    /// Sets a key, where the file has it and in the spelling that it has there; else where its like is. What is so already
    /// stays as it is written.
    ///
    /// # Errors
    /// There is no such table, the key does not stand there, or finds no place. Whether the value is a good one is told by
    /// [`Document::manifest`].
    pub fn set(&mut self, spot: Spot, setting: &Setting, value: &Value) -> Result<(), EditError> {
        if setting.scope() != spot.scope() {
            return Err(EditError::Misplaced { key: setting.name(), scope: spot.scope() });
        }
        if setting.kind() == Kind::Tables || setting.is_secret() {
            return Err(EditError::NotSettable(setting.name()));
        }
        self.must_exist(spot)?;
        if let Some((spelling, old)) = self.given(spot, setting) {
            let path = below(&spot.path(), spelling);
            let mut next = if old == *value { self.clone() } else { self.changed(&path, value)? };
            // Another spelling, which had no effect so far, would speak up where this one falls silent.
            for other in setting.spellings().iter().filter(|other| value.is_empty() && **other != spelling) {
                next.remove(&below(&spot.path(), other))?;
            }
            *self = next;
            return Ok(());
        }
        let node = Node::of_new(value);
        let intended = setting.spellings().iter().map(|spelling| {
            let mut tree = self.tree.clone();
            tree.put(&below(&spot.path(), spelling), node.clone()).then_some(tree)
        });
        let intended: Vec<Node> = intended.flatten().collect();
        let places = place::of_setting(&self.text, &self.layout, spot, setting, &value.to_toml());
        self.accept(places, &intended, || format!("`{}`", setting.name()))
    }

    /// Takes a key out of a table, in all its spellings; returns whether it was there.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn unset(&mut self, spot: Spot, setting: &Setting) -> Result<bool, EditError> {
        if setting.scope() != spot.scope() {
            return Err(EditError::Misplaced { key: setting.name(), scope: spot.scope() });
        }
        self.must_exist(spot)?;
        let mut next = self.clone();
        let mut found = false;
        for spelling in setting.spellings() {
            let path = below(&spot.path(), spelling);
            // A table in its place is the section of other keys: `protect` is one of `protect.max_age`.
            if matches!(next.tree.at(&path), Some(node) if !matches!(node, Node::Table(_))) {
                next.remove(&path)?;
                found = true;
            }
        }
        *self = next;
        Ok(found)
    }

    /// Adds a host behind the others, with these keys in that order.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn add_host(&mut self, settings: &[(Setting, Value)]) -> Result<Spot, EditError> {
        self.add(vec![Step::key("hosts")], Spot::Host, settings)
    }

    /// Adds a rule behind the others of a host, with these keys in that order.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn add_rule(&mut self, host: usize, settings: &[(Setting, Value)]) -> Result<Spot, EditError> {
        self.must_exist(Spot::Host(host))?;
        let mut next = self.clone();
        next.make_room_for_rules(host)?;
        let spot = next.add(rules_of(host), |rule| Spot::Rule(host, rule), settings)?;
        *self = next;
        Ok(spot)
    }

    /// Adds an entry behind the others of a host's inventory, with these keys in that order.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn add_entry(&mut self, host: usize, settings: &[(Setting, Value)]) -> Result<Spot, EditError> {
        self.must_exist(Spot::Host(host))?;
        self.add(entries_of(host), |entry| Spot::Entry(host, entry), settings)
    }

    /// Copies a host, and puts the copy behind it with these keys changed; comments within it are copied, those above it not.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn duplicate_host(&mut self, host: usize, changes: &[(Setting, Value)]) -> Result<Spot, EditError> {
        self.must_exist(Spot::Host(host))?;
        let path = Spot::Host(host).path();
        let list = vec![Step::key("hosts")];
        let mut intended = self.tree.clone();
        let node = self.tree.at(&path).cloned().unwrap_or_else(Node::empty);
        if !intended.insert(&list, host + 1, node) {
            return Err(EditError::NoSuchSpot(Spot::Host(host)));
        }
        let splices = match self.layout.braces_at(&list) {
            Some(braces) => {
                let copy = self.text[braces.items[host].clone()].to_owned();
                splice::insert_item(&self.text, braces, host + 1, &copy)
            }
            None => {
                let runs = self.runs(&path);
                let copy: String = runs.iter().map(|run| &self.text[run.clone()]).collect();
                let at = runs.last().map_or(self.text.len(), |run| run.end);
                let newline = splice::newline(&self.text, at);
                let copy = copy.trim_end_matches(['\n', '\r']);
                splice::insert_above(&self.text, at, &format!("{newline}{copy}"))
            }
        };
        let mut next = self.clone();
        next.accept(vec![splices], &[intended], || "the copy".to_owned())?;
        let spot = Spot::Host(host + 1);
        for (setting, value) in changes {
            next.set(spot, setting, value)?;
        }
        *self = next;
        Ok(spot)
    }

    /// Takes a host, a rule or an entry out, with the comments in it; comments above it stay.
    ///
    /// # Errors
    /// There is none, or it can't be taken out.
    pub fn remove_item(&mut self, spot: Spot) -> Result<(), EditError> {
        let path = spot.path();
        let Some((Step::Index(index), list)) = path.split_last() else { return Err(EditError::NoSuchSpot(spot)) };
        self.must_exist(spot)?;
        let mut intended = self.tree.clone();
        intended.take(&path);
        let splices = match self.layout.braces_at(list) {
            Some(braces) => splice::remove_item(&self.text, braces, *index),
            None => {
                if intended.at(list) == Some(&Node::List(Vec::new())) {
                    intended.take(list);
                }
                let runs = self.runs(&path).into_iter().map(|run| self.with_empty_lines(run));
                runs.fold(Splices::new(), |splices, run| splices.and(splice::remove_lines(&self.text, run)))
            }
        };
        self.accept(vec![splices], &[intended], || "the file without it".to_owned())
    }

    fn must_exist(&self, spot: Spot) -> Result<(), EditError> {
        let path = match spot {
            // These come to be with their first key.
            Spot::Defaults => return Ok(()),
            Spot::Inventory(host) => Spot::Host(host).path(),
            spot => spot.path(),
        };
        match self.tree.at(&path) {
            Some(Node::Table(_)) => Ok(()),
            _ => Err(EditError::NoSuchSpot(spot)),
        }
    }

    fn add(
        &mut self,
        list: Path,
        spot: impl Fn(usize) -> Spot,
        settings: &[(Setting, Value)],
    ) -> Result<Spot, EditError> {
        let index = self.count(&list);
        let mut intended = self.tree.clone();
        let refused = || EditError::NoPlace { what: "the new table".to_owned() };
        if !intended.insert(&list, index, Node::empty()) {
            return Err(refused());
        }
        let by_header = || place::with_header(&self.text, &self.layout, &list, &place::header(&list, true), None);
        let places = match self.layout.braces_at(&list) {
            Some(braces) => vec![splice::insert_item(&self.text, braces, index, "{}")],
            None if index > 0 => vec![by_header()],
            None => {
                let in_braces = place::of_list(&self.text, &self.layout, &list);
                if self.prefers_braces(&list) {
                    in_braces.into_iter().chain([by_header()]).collect()
                } else {
                    std::iter::once(by_header()).chain(in_braces).collect()
                }
            }
        };
        let mut next = self.clone();
        next.accept(places, &[intended], || "the new table".to_owned())?;
        let spot = spot(index);
        for (setting, value) in settings {
            next.set(spot, setting, value)?;
        }
        *self = next;
        Ok(spot)
    }

    /// Tells whether other hosts write such a list in braces, or the host itself is written so.
    fn prefers_braces(&self, list: &[Step]) -> bool {
        let names =
            |path: &[Step]| path.iter().filter(|step| matches!(step, Step::Key(_))).cloned().collect::<Vec<_>>();
        let wanted = names(list);
        let in_braces = self.layout.braces.iter().filter(|braces| !braces.is_table && names(&braces.path) == wanted);
        let headers: BTreeSet<&[Step]> = (self.layout.blocks.iter())
            .filter(|block| matches!(block.path.last(), Some(Step::Index(_))) && names(&block.path) == wanted)
            .map(|block| &block.path[..block.path.len() - 1])
            .collect();
        in_braces.count() > headers.len()
    }

    /// Writes `guests.include` of a host as `guests_include`: beside `[[hosts.guests]]` TOML has no room for it.
    fn make_room_for_rules(&mut self, host: usize) -> Result<(), EditError> {
        let table = Spot::Host(host).path();
        let section = below(&table, "guests");
        if !matches!(self.tree.at(&section), Some(Node::Table(_))) {
            return Ok(());
        }
        let mut intended = self.tree.clone();
        let mut splices = Splices::new();
        for pair in self.layout.pairs.iter().filter(|pair| pair.path.starts_with(&section)) {
            let (Some(Step::Key(name)), 4, true) = (pair.path.last(), pair.path.len(), pair.home_path() == table)
            else {
                return Err(EditError::NoPlace { what: "a rule beside a table `guests`".to_owned() });
            };
            let flat = format!("guests_{name}");
            let node = intended.at(&pair.path).cloned().unwrap_or_else(Node::empty);
            if !intended.put(&below(&table, &flat), node) {
                return Err(EditError::NoPlace { what: format!("`{flat}`") });
            }
            splices = splices.replace(pair.key.clone(), flat);
        }
        intended.take(&section);
        self.accept(vec![splices], &[intended], || "a rule".to_owned())
    }

    /// Returns the document with another value at a path that has one.
    fn changed(&self, path: &[Step], value: &Value) -> Result<Self, EditError> {
        let what = || format!("the new value of `{}`", place::header(path, false));
        let Some(pair) = self.layout.pair(path) else { return Err(EditError::NoPlace { what: what() }) };
        let mut intended = self.tree.clone();
        if !intended.put(path, Node::of_new(value)) {
            return Err(EditError::NoPlace { what: what() });
        }
        let whole = Splices::new().replace(pair.value.clone(), value.to_toml_like(&self.text[pair.value.clone()]));
        let mut next = self.clone();
        if let (Value::List(new), Some(Node::List(old))) = (value, self.tree.at(path)) {
            match self.changed_items(path, old, new) {
                Some(text) if next.accept_text(&text, std::slice::from_ref(&intended)) => return Ok(next),
                _ => {}
            }
        }
        next.accept(vec![whole], &[intended], what)?;
        Ok(next)
    }

    /// Changes a list item by item, so that comments within it stay with their items.
    fn changed_items(&self, path: &[Step], old: &[Node], new: &[Value]) -> Option<String> {
        let new_nodes: Vec<Node> = new.iter().map(Node::of_new).collect();
        let head = old.iter().zip(&new_nodes).take_while(|(a, b)| a == b).count();
        let tail = old[head..].iter().rev().zip(new_nodes[head..].iter().rev()).take_while(|(a, b)| a == b).count();
        let (old_end, new_end) = (old.len() - tail, new.len() - tail);
        let mut text = self.text.clone();
        let both = head + (old_end.min(new_end) - head);
        for (index, value) in new.iter().enumerate().take(both).skip(head) {
            let layout = Layout::of(&text);
            let item = layout.braces_at(path)?.items.get(index)?.clone();
            let value = value.to_toml_like(&text[item.clone()]);
            text = Splices::new().replace(item, value).apply(&text);
        }
        for _ in both..old_end {
            let layout = Layout::of(&text);
            text = splice::remove_item(&text, layout.braces_at(path)?, both).apply(&text);
        }
        for (index, value) in new.iter().enumerate().take(new_end).skip(both) {
            let layout = Layout::of(&text);
            text = splice::insert_item(&text, layout.braces_at(path)?, index, &value.to_toml()).apply(&text);
        }
        Some(text)
    }

    /// Takes the pair at a path out, if there is one; braces that are left empty go with it.
    fn remove(&mut self, path: &[Step]) -> Result<(), EditError> {
        let Some(mut pair) = self.layout.pair(path) else { return Ok(()) };
        let mut intended = self.tree.clone();
        intended.take(path);
        let splices = loop {
            match pair.home {
                layout::Home::Block(_) => {
                    break splice::remove_lines(&self.text, splice::lines_of(&self.text, pair.span()));
                }
                layout::Home::Braces(number) => {
                    let braces = &self.layout.braces[number];
                    let section = self.layout.pair(&braces.path).filter(|_| braces.items.len() == 1);
                    if let Some(section) = section {
                        pair = section;
                        continue;
                    }
                    let Some(index) = braces.items.iter().position(|item| *item == pair.span()) else {
                        return Ok(());
                    };
                    break splice::remove_item(&self.text, braces, index);
                }
            }
        };
        self.accept(vec![splices], &[intended], || "the file without it".to_owned())
    }

    /// Returns the lines of the blocks at a path and below it, comments and empty lines between them included.
    fn runs(&self, path: &[Step]) -> Vec<std::ops::Range<usize>> {
        let mut runs: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
        for number in self.layout.blocks_below(path) {
            let block = &self.layout.blocks[number];
            let start = splice::line_start(&self.text, block.header.start);
            let end = splice::line_end(&self.text, splice::own_comments_end(&self.text, block.end));
            match runs.last_mut() {
                Some((last, run)) if *last + 1 == number => {
                    *last = number;
                    run.end = end;
                }
                _ => runs.push((number, start..end)),
            }
        }
        runs.into_iter().map(|(_, run)| run).collect()
    }

    /// Extends lines that are taken out by the empty ones around them that would be too many.
    fn with_empty_lines(&self, run: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let text = &self.text;
        let (mut start, mut end) = (run.start, run.end);
        let above = |start: usize| splice::line_start(text, start.saturating_sub(1));
        let is_empty = |line: &str| line.trim().is_empty();
        if start == 0 || is_empty(&text[above(start)..start]) {
            while end < text.len() && is_empty(&text[end..splice::line_end(text, end)]) {
                end = splice::line_end(text, end);
            }
        }
        if text[end..].trim().is_empty() {
            while start > 0 && is_empty(&text[above(start)..start]) {
                start = above(start);
            }
        }
        start..end
    }

    /// Makes the first of the edits whose result means one of the intended trees.
    fn accept(&mut self, edits: Vec<Splices>, intended: &[Node], what: impl Fn() -> String) -> Result<(), EditError> {
        for edit in edits {
            let text = edit.apply(&self.text);
            if self.accept_text(&text, intended) {
                return Ok(());
            }
        }
        Err(EditError::NoPlace { what: what() })
    }

    fn accept_text(&mut self, text: &str, intended: &[Node]) -> bool {
        let Ok(tree) = meaning(text) else { return false };
        let pruned = tree.pruned();
        if !intended.iter().any(|intended| intended.pruned() == pruned) {
            return false;
        }
        self.text = text.to_owned();
        self.layout = Layout::of(text);
        self.tree = tree;
        true
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

/// Suggests names of the variables that hold a host's token and its secret: `PVE1_TOKEN` and `PVE1_SECRET` for `pve1`.
pub fn suggested_variables(name: &str) -> (String, String) {
    let short = if name.parse::<std::net::IpAddr>().is_ok() { name } else { name.split('.').next().unwrap_or(name) };
    let plain: String =
        short.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    // A shell takes no name that begins with a digit.
    let stem = match plain.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => plain,
        _ => format!("PVE_{plain}"),
    };
    (format!("{stem}_TOKEN"), format!("{stem}_SECRET"))
}
