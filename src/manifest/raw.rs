//! Typed reading of TOML tables: looks keys up in all their spellings, checks types, and gathers what is wrong.
//!
//! Nothing here stops at an error: what can't be read counts as not given, and the manifest is refused in the end.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml_edit::{Item, TableLike, Value};

use super::keys::{self, Key, Level};
use super::paths::Paths;
use super::problem::Severity;
use super::source::Draft;

/// A value that was given, and where.
#[derive(Debug, Clone)]
pub(super) struct Given<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// One spelling of a key that a table holds.
pub(super) struct Found<'t> {
    /// The key as it was spelled.
    pub name: &'t str,
    /// What it holds.
    pub item: &'t Item,
    /// Where the value lies.
    pub span: Range<usize>,
}

/// Reads tables and remembers what was wrong with them.
#[derive(Debug)]
pub(super) struct Reader {
    pub paths: Paths,
    pub drafts: Vec<Draft>,
    /// Values that turned out to be secrets where none belongs.
    pub secrets: Vec<Range<usize>>,
}

impl Reader {
    pub(super) fn new(paths: Paths) -> Self {
        Self { paths, drafts: Vec::new(), secrets: Vec::new() }
    }

    /// Notes an error with its hints.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, hints: &[&str]) {
        self.note(Severity::Error, span, message.into(), hints);
    }

    /// Notes a warning with its hints.
    pub(super) fn warn(&mut self, span: Range<usize>, message: impl Into<String>, hints: &[&str]) {
        self.note(Severity::Warning, span, message.into(), hints);
    }

    fn note(&mut self, severity: Severity, span: Range<usize>, message: String, hints: &[&str]) {
        let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
        self.drafts.push(Draft { severity, message, span, other: None, hints });
    }

    /// Reads the first spelling of a key that holds something, and warns of the others.
    ///
    /// All spellings that are given are read, so that an error in one does not hide behind another.
    pub(super) fn pick<T>(
        &mut self,
        table: &dyn TableLike,
        key: &'static Key,
        read: impl Fn(&mut Self, &Found<'_>) -> Option<T>,
    ) -> Option<Given<T>> {
        let mut picked: Option<(&str, Given<T>)> = None;
        for name in key.spellings {
            let Some(found) = find(table, name) else { continue };
            let Some(value) = read(self, &found) else { continue };
            match &picked {
                None => picked = Some((name, Given { value, span: found.span })),
                Some((first, _)) => {
                    let message = format!("`{name}` has no effect, since `{first}` is given too");
                    self.warn(found.span, message, &["keep one of the two"]);
                }
            }
        }
        picked.map(|(_, given)| given)
    }

    /// Reads a text; an empty one counts as not given.
    pub(super) fn string(&mut self, found: &Found<'_>) -> Option<String> {
        match found.item.as_str() {
            Some(text) => Some(text.to_owned()).filter(|text| !text.is_empty()),
            None => {
                self.wrong_type(found, "a string");
                None
            }
        }
    }

    /// Reads a text, or a date and time as it is written.
    pub(super) fn string_or_date(&mut self, found: &Found<'_>) -> Option<String> {
        match found.item.as_datetime() {
            Some(date) => Some(date.to_string()),
            None => self.string(found),
        }
    }

    pub(super) fn boolean(&mut self, found: &Found<'_>) -> Option<bool> {
        let value = found.item.as_bool();
        if value.is_none() {
            self.wrong_type(found, "true or false");
        }
        value
    }

    /// Reads a whole number from 1 to `most`; 0 counts as not given.
    pub(super) fn number(&mut self, found: &Found<'_>, most: u32) -> Option<NonZeroU32> {
        let Some(number) = found.item.as_integer() else {
            self.wrong_type(found, "an integer");
            return None;
        };
        match u32::try_from(number) {
            Ok(number) if number <= most => NonZeroU32::new(number),
            _ => {
                let message = format!("`{}` must be from 1 to {most}, not {number}", found.name);
                self.error(found.span.clone(), message, &["0 stands for the default"]);
                None
            }
        }
    }

    /// Reads a whole number that may be 0 as well.
    pub(super) fn whole_number(&mut self, found: &Found<'_>) -> Option<u32> {
        let Some(number) = found.item.as_integer() else {
            self.wrong_type(found, "an integer");
            return None;
        };
        let read = u32::try_from(number).ok();
        if read.is_none() {
            let message = format!("`{}` must be from 0 to {}, not {number}", found.name, u32::MAX);
            self.error(found.span.clone(), message, &[]);
        }
        read
    }

    pub(super) fn port(&mut self, found: &Found<'_>) -> Option<u16> {
        let number = self.number(found, u32::from(u16::MAX))?;
        u16::try_from(number.get()).ok()
    }

    /// Reads a time such as `24h`.
    pub(super) fn duration(&mut self, found: &Found<'_>) -> Option<Duration> {
        const HINT: &str = "write a number and a unit, such as \"90s\", \"45m\", \"24h\" or \"1h 30m\"";
        let text = self.string(found)?;
        match humantime::parse_duration(&text) {
            Ok(time) if time.is_zero() => {
                let message = format!("`{}` must be longer than nothing", found.name);
                self.error(found.span.clone(), message, &[HINT, "\"\" stands for the default"]);
                None
            }
            Ok(time) => Some(time),
            Err(error) => {
                self.error(found.span.clone(), format!("`{}` is no duration: {error}", found.name), &[HINT]);
                None
            }
        }
    }

    pub(super) fn path(&mut self, found: &Found<'_>) -> Option<PathBuf> {
        let text = self.string(found)?;
        match self.paths.resolve(&text) {
            Ok(path) => Some(path),
            Err(error) => {
                self.error(found.span.clone(), format!("`{}`: {error}", found.name), &["write the path out"]);
                None
            }
        }
    }

    /// Reads a list of texts, or one text in its stead; an empty one counts as not given.
    pub(super) fn strings(&mut self, found: &Found<'_>) -> Option<Vec<Given<String>>> {
        if let Some(text) = found.item.as_str() {
            let only = Given { value: text.to_owned(), span: found.span.clone() };
            return Some(vec![only]).filter(|_| !text.is_empty());
        }
        let Some(array) = found.item.as_array() else {
            self.wrong_type(found, "a list of strings or a string");
            return None;
        };
        let mut texts = Vec::new();
        for value in array {
            let span = value.span().unwrap_or_else(|| found.span.clone());
            match value.as_str() {
                Some(text) => texts.push(Given { value: text.to_owned(), span }),
                None => {
                    let kind = kind_of_value(value);
                    let message = format!("each item of `{}` must be a string, not {kind}", found.name);
                    self.error(span, message, &["write it in quotes"]);
                }
            }
        }
        Some(texts).filter(|texts| !texts.is_empty())
    }

    /// Notes that a value is of another type than `expected`.
    pub(super) fn wrong_type(&mut self, found: &Found<'_>, expected: &str) {
        let message = format!("`{}` must be {expected}, not {}", found.name, kind_of(found.item));
        let name = found.name.rsplit('.').next().unwrap_or(found.name);
        let hint = match (expected, found.item.as_value()) {
            ("an integer", Some(Value::String(text))) if text.value().trim().parse::<u32>().is_ok() => {
                Some(format!("write it without quotes: {name} = {}", text.value().trim()))
            }
            ("true or false", Some(Value::String(text))) => match text.value().to_ascii_lowercase().as_str() {
                truth @ ("true" | "false") => Some(format!("write it without quotes: {name} = {truth}")),
                "yes" | "on" | "1" => Some(format!("write {name} = true")),
                "no" | "off" | "0" | "" => Some(format!("write {name} = false")),
                _ => None,
            },
            ("true or false", Some(Value::Integer(_))) => Some(format!("write {name} = true or {name} = false")),
            ("a string", Some(Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_))) => {
                Some(format!("write it in quotes: {name} = \"..\""))
            }
            ("a table", _) => Some(format!("write its keys one by one, such as {}.KEY = VALUE", found.name)),
            _ => None,
        };
        let hints: Vec<&str> = hint.as_deref().into_iter().collect();
        self.error(found.span.clone(), message, &hints);
    }

    /// Looks at the keys of a table of that level: returns the unknown ones, warns of those that are probably misspelled or
    /// have no effect there, and refuses a section that is no table.
    pub(super) fn unknown_keys(&mut self, table: &dyn TableLike, here: Level) -> Vec<String> {
        let mut unknown = Vec::new();
        // Sections are nested two deep at most (`guest.ssh`), and only known ones are entered.
        let mut open: Vec<(String, &dyn TableLike)> = vec![(String::new(), table)];
        while let Some((prefix, table)) = open.pop() {
            for (name, item) in table.iter() {
                let path = format!("{prefix}{name}");
                let span = span_of(table, name, item);
                let is_section = keys::is_section(here, &path);
                if let Some(section) = item.as_table_like().filter(|_| is_section) {
                    open.push((format!("{path}."), section));
                } else if let Some(key) = keys::spelled(here, &path) {
                    if key.level != Level::Both && key.level != here {
                        let place = if key.level == Level::Host { "[[hosts]]" } else { "[defaults]" };
                        let message = format!("`{path}` has no effect here: it is read in {place} only");
                        let key_span = key_span(table, name).unwrap_or(span);
                        self.warn(key_span, message, &[]);
                    }
                } else if is_section {
                    self.wrong_type(&Found { name: &path, item, span }, "a table");
                } else {
                    let known = here.keys().iter().filter(|key| key.level == Level::Both || key.level == here);
                    let candidates = known.flat_map(|key| key.spellings.iter().copied());
                    self.warn_of_typo(table, name, &path, candidates.chain(keys::sections(here)));
                    unknown.push(path);
                }
            }
        }
        unknown
    }

    /// Warns of keys that are none of `known` but much like one of them.
    pub(super) fn typos(&mut self, table: &dyn TableLike, known: &[&'static str]) {
        for (name, _) in table.iter() {
            if !known.contains(&name) {
                self.warn_of_typo(table, name, name, known.iter().copied());
            }
        }
    }

    fn warn_of_typo<'c>(
        &mut self,
        table: &dyn TableLike,
        name: &str,
        path: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) {
        if let (Some(meant), Some(span)) = (keys::nearest(path, candidates), key_span(table, name)) {
            if let Some(item) = table.get(name).filter(|_| meant == "password") {
                self.secrets.push(span_of(table, name, item));
            }
            self.warn(span, format!("unknown key `{path}`"), &[&format!("did you mean `{meant}`?")]);
        }
    }
}

/// Follows a dotted path into a table.
pub(super) fn find<'t>(table: &'t dyn TableLike, path: &'t str) -> Option<Found<'t>> {
    let (sections, name) = path.rsplit_once('.').map_or((None, path), |(before, last)| (Some(before), last));
    let mut table = table;
    for section in sections.into_iter().flat_map(|s| s.split('.')) {
        table = table.get(section)?.as_table_like()?;
    }
    let item = table.get(name).filter(|item| !item.is_none())?;
    Some(Found { name: path, item, span: span_of(table, name, item) })
}

/// Returns where a value lies; for a table made of dotted keys, where its first key lies.
pub(super) fn span_of(table: &dyn TableLike, name: &str, item: &Item) -> Range<usize> {
    item.span().or_else(|| key_span(table, name)).unwrap_or(0..0)
}

/// Returns where a key lies.
pub(super) fn key_span(table: &dyn TableLike, name: &str) -> Option<Range<usize>> {
    table.key(name).and_then(toml_edit::Key::span)
}

/// Names the type of what a key holds, for a message.
pub(super) fn kind_of(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Value(value) => kind_of_value(value),
        Item::Table(_) => "a table",
        Item::ArrayOfTables(_) => "a list of tables",
    }
}

/// Names the type of a value, for a message.
pub(super) fn kind_of_value(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}
