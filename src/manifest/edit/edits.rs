//! The edits of a [`Document`]: each is made in the tree first, and the new text must mean exactly that.

use std::collections::BTreeSet;
use std::ops::Range;

use super::layout::{Home, Layout, Path, Step};
use super::setting::{Kind, Setting, Spot};
use super::splice::{self, Splices};
use super::tree::Node;
use super::value::Value;
use super::{Document, EditError, below, entries_of, meaning, place, rules_of};

impl Document {
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
        if let Some(spelling) = self.place_of(spot, setting) {
            let path = below(&spot.path(), spelling);
            let node = Node::of_new_like(value, self.tree.at(&path).filter(|_| setting.takes_date()));
            let is_so = self.tree.at(&path) == Some(&node);
            let mut next = if is_so { self.clone() } else { self.changed(&path, value, node)? };
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

    /// Returns the spelling in which a table has a key: the one that counts, else the first. A value of a type that no key
    /// takes is a place too, so that it can be mended; a table is the section of other keys.
    fn place_of(&self, spot: Spot, setting: &Setting) -> Option<&'static str> {
        let table = spot.path();
        let has_value = |spelling: &&&'static str| match self.tree.at(&below(&table, spelling)) {
            None | Some(Node::Table(_)) => None,
            Some(node) => Some(node.value().is_none_or(|value| !value.is_empty())),
        };
        let mut there = setting.spellings().iter().filter(|spelling| has_value(spelling).is_some());
        let first = there.clone().next();
        there.find(|spelling| has_value(spelling) == Some(true)).or(first).copied()
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
        let spot = spot(index);
        if let Some((setting, _)) = settings.iter().find(|(setting, _)| setting.scope() != spot.scope()) {
            return Err(EditError::Misplaced { key: setting.name(), scope: spot.scope() });
        }
        if let Some((setting, _)) = settings.iter().find(|(s, _)| s.kind() == Kind::Tables || s.is_secret()) {
            return Err(EditError::NotSettable(setting.name()));
        }
        // Keys without a choice of spelling are written along with their table: an inventory has many of them.
        let (plain, rest) = match spot {
            Spot::Entry(..) => (settings, &settings[..0]),
            _ => (&settings[..0], settings),
        };
        let mut table = Node::empty();
        let mut room = true;
        for (setting, value) in plain {
            room &= table.put(&[Step::key(setting.name())], Node::of_new(value));
        }
        let mut intended = self.tree.clone();
        if !(room && intended.insert(&list, index, table)) {
            return Err(EditError::NoPlace { what: "the new table".to_owned() });
        }
        let pairs: Vec<String> =
            plain.iter().map(|(setting, value)| format!("{} = {}", setting.name(), value.to_toml())).collect();
        let item = if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) };
        let by_header = || place::with_header(&self.text, &self.layout, &list, &place::header(&list, true), &pairs);
        let places = match self.layout.braces_at(&list) {
            Some(braces) => vec![splice::insert_item(&self.text, braces, index, &item)],
            None if index > 0 => vec![by_header()],
            None => {
                let in_braces = place::of_list(&self.text, &self.layout, &list, &self.first_of(&list, &item));
                if self.prefers_braces(&list) {
                    in_braces.into_iter().chain([by_header()]).collect()
                } else {
                    std::iter::once(by_header()).chain(in_braces).collect()
                }
            }
        };
        let mut next = self.clone();
        next.accept(places, &[intended], || "the new table".to_owned())?;
        for (setting, value) in rest {
            next.set(spot, setting, value)?;
        }
        *self = next;
        Ok(spot)
    }

    /// Writes a list of tables with its first item. Entries of an inventory are long, and there are many: each has a line of its own.
    fn first_of(&self, list: &[Step], item: &str) -> String {
        if list.last() != Some(&Step::key("entries")) {
            return format!("[{item}]");
        }
        let host = &list[..2];
        let block = self.layout.blocks.iter().find(|block| block.path == host).map(|block| block.header.start);
        let braces = || self.layout.braces_at(host).map(|braces| braces.span.start);
        let at = block.or_else(braces).unwrap_or_default();
        let (newline, indent) = (splice::newline(&self.text, at), splice::indent(&self.text, at));
        format!("[{newline}{indent}    {item},{newline}{indent}]")
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
    fn changed(&self, path: &[Step], value: &Value, node: Node) -> Result<Self, EditError> {
        let what = || format!("the new value of `{}`", place::header(path, false));
        let Some(pair) = self.layout.pair(path) else { return Err(EditError::NoPlace { what: what() }) };
        let mut intended = self.tree.clone();
        let written = match &node {
            Node::Date(date) => date.clone(),
            _ => value.to_toml_like(&self.text[pair.value.clone()]),
        };
        if !intended.put(path, node) {
            return Err(EditError::NoPlace { what: what() });
        }
        let whole = Splices::new().replace(pair.value.clone(), written);
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
                Home::Block(_) => {
                    break splice::remove_lines(&self.text, splice::lines_of(&self.text, pair.span()));
                }
                Home::Braces(number) => {
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
    fn runs(&self, path: &[Step]) -> Vec<Range<usize>> {
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
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
    fn with_empty_lines(&self, run: Range<usize>) -> Range<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_means_something_else_is_not_taken() {
        let mut document = Document::parse("[defaults]\nuser = \"a\"\n").unwrap();
        let mut intended = document.tree.clone();
        assert!(intended.put(&below(&Spot::Defaults.path(), "user"), Node::Text("b".to_owned())));
        let to = |text: &str| Splices::new().replace(18..21, text);
        let refused = document.accept(vec![to("\"c\""), to("b")], &[intended.clone()], || "b".to_owned());
        assert_eq!(refused, Err(EditError::NoPlace { what: "b".to_owned() }));
        assert_eq!(document.text(), "[defaults]\nuser = \"a\"\n");
        // The first that means it is taken.
        document.accept(vec![to("\"c\""), to("'b'"), to("\"b\"")], &[intended], || "b".to_owned()).unwrap();
        assert_eq!(document.text(), "[defaults]\nuser = 'b'\n");
    }
}
