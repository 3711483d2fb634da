//! Where everything lies in the text of a manifest: headers, pairs, lists and inline tables, each with its place to the byte.
//!
//! It is made from the events of the same parser that `toml_edit` reads with, so both see the same file. Nothing of the text
//! is kept or normalised: an edit replaces ranges of the original.

use std::collections::BTreeMap;
use std::ops::Range;

use toml_parser::Source;
use toml_parser::parser::{Event, EventKind, parse_document};

/// One step of a path from the file's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into the key of a table.
    Key(String),
    /// Into an item of a list, counted from 0.
    Index(usize),
}

impl Step {
    pub(super) fn key(name: &str) -> Self {
        Self::Key(name.to_owned())
    }
}

/// A path from the file's root.
pub(super) type Path = Vec<Step>;

/// What stands below one header, or before the first one.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The table that the pairs belong to.
    pub path: Path,
    /// From the first bracket of the header to the last; an empty range at 0 for what stands before the first header.
    pub header: Range<usize>,
    /// The pairs that stand there, by their number in [`Layout::pairs`].
    pub pairs: Vec<usize>,
    /// Where the last expression ends: that of the last pair, or the header.
    pub end: usize,
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The path of what the pair holds.
    pub path: Path,
    /// What it stands in.
    pub home: Home,
    /// How many of the path's last steps the pair spells.
    pub depth: usize,
    /// The key as it is spelled, dots, blanks and quotes included.
    pub key: Range<usize>,
    /// The value.
    pub value: Range<usize>,
}

impl Pair {
    /// Returns the path of the table whose header or braces the pair stands in.
    pub(super) fn home_path(&self) -> &[Step] {
        &self.path[..self.path.len() - self.depth]
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.key.start..self.value.end
    }
}

/// What a pair stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Number of a [`Block`].
    Block(usize),
    /// Number of a [`Braces`].
    Braces(usize),
}

/// A list in brackets or an inline table in braces: items between commas.
#[derive(Debug, Clone)]
pub(super) struct Braces {
    /// The path of the list or table.
    pub path: Path,
    /// The brackets included.
    pub span: Range<usize>,
    /// The items; of an inline table its pairs, from key to value.
    pub items: Vec<Range<usize>>,
    /// Where the commas are; the one behind `items[i]` is `commas[i]`.
    pub commas: Vec<usize>,
    /// Whether it is an inline table.
    pub is_table: bool,
}

/// The places of a whole file.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub blocks: Vec<Block>,
    pub pairs: Vec<Pair>,
    pub braces: Vec<Braces>,
}

impl Layout {
    /// Lays out a text that `toml_edit` has accepted.
    pub(super) fn of(text: &str) -> Self {
        let source = Source::new(text);
        let mut events: Vec<Event> = Vec::new();
        parse_document(&source.lex().into_vec(), &mut events, &mut ());
        let is_blank =
            |event: &Event| matches!(event.kind(), EventKind::Whitespace | EventKind::Newline | EventKind::Comment);
        events.retain(|event| !is_blank(event));
        let mut walk = Walk { source, events: &events, at: 0, counts: BTreeMap::new(), layout: Self::default() };
        walk.file();
        walk.layout
    }

    /// Returns the pair that holds exactly that path.
    pub(super) fn pair(&self, path: &[Step]) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.path == path)
    }

    /// Returns the list or inline table at that path.
    pub(super) fn braces_at(&self, path: &[Step]) -> Option<&Braces> {
        self.braces.iter().find(|braces| braces.path == path)
    }

    /// Returns the numbers of the blocks at that path or below it, in the order of the file.
    pub(super) fn blocks_below(&self, path: &[Step]) -> Vec<usize> {
        (0..self.blocks.len()).filter(|i| *i > 0 && self.blocks[*i].path.starts_with(path)).collect()
    }
}

/// A walk over the events.
struct Walk<'t> {
    source: Source<'t>,
    events: &'t [Event],
    at: usize,
    /// How many `[[..]]` of a path there were.
    counts: BTreeMap<Path, usize>,
    layout: Layout,
}

impl Walk<'_> {
    fn peek(&self) -> Option<EventKind> {
        self.events.get(self.at).map(Event::kind)
    }

    fn file(&mut self) {
        self.layout.blocks.push(Block { path: Vec::new(), header: 0..0, pairs: Vec::new(), end: 0 });
        while let Some(kind) = self.peek() {
            match kind {
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => self.header(kind == EventKind::ArrayTableOpen),
                EventKind::SimpleKey => {
                    let number = self.layout.blocks.len() - 1;
                    let path = self.layout.blocks[number].path.clone();
                    let pair = self.pair(&path, Home::Block(number));
                    let end = self.layout.pairs[pair].value.end;
                    let block = &mut self.layout.blocks[number];
                    block.pairs.push(pair);
                    block.end = end;
                }
                // Nothing else stands at the top of an accepted file.
                _ => self.at += 1,
            }
        }
    }

    fn header(&mut self, is_list: bool) {
        let start = self.events[self.at].span().start();
        let mut end = self.events[self.at].span().end();
        self.at += 1;
        let mut names = Vec::new();
        while let Some(event) = self.events.get(self.at) {
            match event.kind() {
                EventKind::SimpleKey => names.push(self.name(event)),
                EventKind::KeySep => {}
                EventKind::StdTableClose | EventKind::ArrayTableClose => {
                    end = event.span().end();
                    self.at += 1;
                    break;
                }
                _ => break,
            }
            self.at += 1;
        }
        let mut path = Path::new();
        let last = names.len().saturating_sub(1);
        for (i, name) in names.into_iter().enumerate() {
            path.push(Step::Key(name));
            if i == last && is_list {
                let count = self.counts.entry(path.clone()).or_insert(0);
                *count += 1;
            }
            if let Some(count) = self.counts.get(&path).filter(|_| i < last || is_list) {
                path.push(Step::Index(count - 1));
            }
        }
        self.layout.blocks.push(Block { path, header: start..end, pairs: Vec::new(), end });
    }

    /// Reads a pair within the table at `path`, and returns its number.
    fn pair(&mut self, path: &Path, home: Home) -> usize {
        let mut path = path.clone();
        let mut key: Option<Range<usize>> = None;
        let mut depth = 0;
        while let Some(event) = self.events.get(self.at) {
            let span = event.span();
            self.at += 1;
            match event.kind() {
                EventKind::SimpleKey => {
                    path.push(Step::Key(self.name(event)));
                    depth += 1;
                    key = Some(key.map_or(span.start(), |key| key.start)..span.end());
                }
                EventKind::KeyValSep => break,
                _ => {}
            }
        }
        // The number is taken before the value is read, which may hold pairs of its own.
        let number = self.layout.pairs.len();
        let key = key.unwrap_or_default();
        self.layout.pairs.push(Pair { path: path.clone(), home, depth, key, value: 0..0 });
        let value = self.value(&path);
        self.layout.pairs[number].value = value;
        number
    }

    fn value(&mut self, path: &Path) -> Range<usize> {
        let Some(event) = self.events.get(self.at) else { return 0..0 };
        let span = event.span();
        match event.kind() {
            EventKind::ArrayOpen => self.braces(path, span.start(), false),
            EventKind::InlineTableOpen => self.braces(path, span.start(), true),
            _ => {
                self.at += 1;
                span.start()..span.end()
            }
        }
    }

    fn braces(&mut self, path: &Path, start: usize, is_table: bool) -> Range<usize> {
        self.at += 1;
        let number = self.layout.braces.len();
        let braces = Braces { path: path.clone(), span: start..start, items: Vec::new(), commas: Vec::new(), is_table };
        self.layout.braces.push(braces);
        while let Some(event) = self.events.get(self.at) {
            match event.kind() {
                EventKind::ArrayClose | EventKind::InlineTableClose => {
                    self.layout.braces[number].span.end = event.span().end();
                    self.at += 1;
                    break;
                }
                EventKind::ValueSep => {
                    self.layout.braces[number].commas.push(event.span().start());
                    self.at += 1;
                }
                EventKind::SimpleKey if is_table => {
                    let pair = self.pair(path, Home::Braces(number));
                    let span = self.layout.pairs[pair].span();
                    self.layout.braces[number].items.push(span);
                }
                _ => {
                    let mut item = path.clone();
                    item.push(Step::Index(self.layout.braces[number].items.len()));
                    let span = self.value(&item);
                    self.layout.braces[number].items.push(span);
                }
            }
        }
        self.layout.braces[number].span.clone()
    }

    fn name(&self, event: &Event) -> String {
        let mut name = String::new();
        if let Some(raw) = self.source.get(event) {
            raw.decode_key(&mut name, &mut ());
        }
        name
    }
}

/// Returns a key as it is written within a dotted one: bare where that is possible.
pub(super) fn spelled(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { super::value::quoted(name) }
}
