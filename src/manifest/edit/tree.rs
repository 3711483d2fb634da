//! What a file means, apart from how it is written: the proof of an edit is that the new text means the intended tree.

use std::collections::BTreeMap;

use toml_edit::{Item, TableLike};

use super::layout::Step;
use super::value::Value;

/// A node of what a file means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A table, however it is written.
    Table(BTreeMap<String, Self>),
    /// A list, of tables or of values.
    List(Vec<Self>),
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// A float, by its bits, so that it equals itself.
    Float(u64),
    /// A date or time, in TOML's own spelling.
    Date(String),
}

impl Node {
    pub(super) fn empty() -> Self {
        Self::Table(BTreeMap::new())
    }

    pub(super) fn of_table(table: &dyn TableLike) -> Self {
        let entries = table.iter().filter(|(_, item)| !item.is_none());
        Self::Table(entries.map(|(name, item)| (name.to_owned(), Self::of(item))).collect())
    }

    fn of(item: &Item) -> Self {
        match item {
            Item::None => Self::empty(),
            Item::Value(value) => Self::of_value(value),
            Item::Table(table) => Self::of_table(table),
            Item::ArrayOfTables(tables) => Self::List(tables.iter().map(|table| Self::of_table(table)).collect()),
        }
    }

    fn of_value(value: &toml_edit::Value) -> Self {
        match value {
            toml_edit::Value::String(text) => Self::Text(text.value().clone()),
            toml_edit::Value::Integer(number) => Self::Number(*number.value()),
            toml_edit::Value::Float(number) => Self::Float(number.value().to_bits()),
            toml_edit::Value::Boolean(truth) => Self::Boolean(*truth.value()),
            toml_edit::Value::Datetime(date) => Self::Date(date.value().to_string()),
            toml_edit::Value::Array(items) => Self::List(items.iter().map(Self::of_value).collect()),
            toml_edit::Value::InlineTable(table) => Self::of_table(table),
        }
    }

    pub(super) fn of_new(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.clone()),
            Value::Number(number) => Self::Number(*number),
            Value::Boolean(truth) => Self::Boolean(*truth),
            Value::List(items) => Self::List(items.iter().map(Self::of_new).collect()),
        }
    }

    /// As [`Node::of_new`], in place of another one: a date stays a date, where the text is one.
    pub(super) fn of_new_like(value: &Value, before: Option<&Self>) -> Self {
        match (value, before) {
            (Value::Text(text), Some(Self::Date(_))) => match text.parse::<toml_edit::Datetime>() {
                Ok(date) => Self::Date(date.to_string()),
                Err(_) => Self::of_new(value),
            },
            _ => Self::of_new(value),
        }
    }

    /// Returns it as a value; `None` for tables, lists of tables and floats.
    pub(super) fn value(&self) -> Option<Value> {
        match self {
            Self::Text(text) | Self::Date(text) => Some(Value::text(text)),
            Self::Number(number) => Some(Value::Number(*number)),
            Self::Boolean(truth) => Some(Value::Boolean(*truth)),
            Self::List(items) => items.iter().map(Self::value).collect::<Option<_>>().map(Value::List),
            Self::Table(_) | Self::Float(_) => None,
        }
    }

    pub(super) fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, |node, step| match (node, step) {
            (Self::Table(entries), Step::Key(name)) => entries.get(name),
            (Self::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        })
    }

    /// Returns the node at a path, tables on the way made where there are none; `None` where something else is in the way.
    fn make(&mut self, path: &[Step]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, step| match (node, step) {
            (Self::Table(entries), Step::Key(name)) => Some(entries.entry(name.clone()).or_insert_with(Self::empty)),
            (Self::List(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        })
    }

    /// Puts a node at a path; returns whether there was room for it.
    #[must_use]
    pub(super) fn put(&mut self, path: &[Step], node: Self) -> bool {
        match self.make(path) {
            Some(place) => {
                *place = node;
                true
            }
            None => false,
        }
    }

    /// Takes the last step of a path out of what it is in.
    pub(super) fn take(&mut self, path: &[Step]) {
        let Some((last, above)) = path.split_last() else { return };
        match (self.make(above), last) {
            (Some(Self::Table(entries)), Step::Key(name)) => {
                entries.remove(name);
            }
            (Some(Self::List(items)), Step::Index(index)) if *index < items.len() => {
                items.remove(*index);
            }
            _ => {}
        }
    }

    /// Puts a node into the list at a path, before the item of that number; the list is made where there is none.
    #[must_use]
    pub(super) fn insert(&mut self, list: &[Step], index: usize, node: Self) -> bool {
        let Some(place) = self.make(list) else { return false };
        if *place == Self::empty() {
            *place = Self::List(Vec::new());
        }
        match place {
            Self::List(items) if index <= items.len() => {
                items.insert(index, node);
                true
            }
            _ => false,
        }
    }

    /// Returns it without empty tables in tables: `[hosts.api]` with nothing below it means nothing.
    pub(super) fn pruned(&self) -> Self {
        match self {
            Self::Table(entries) => {
                let entries = entries.iter().map(|(name, node)| (name.clone(), node.pruned()));
                Self::Table(entries.filter(|(_, node)| *node != Self::empty()).collect())
            }
            Self::List(items) => Self::List(items.iter().map(Self::pruned).collect()),
            other => other.clone(),
        }
    }
}
