//! The values that an edit writes: texts, numbers, truths and lists of them.

use std::fmt;

/// What a key holds or is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text. Dates are texts here: the manifest knows none.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    List(Vec<Self>),
}

impl Value {
    /// Makes a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Makes a list of texts.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// Tells whether it counts as not given: `""`, `0` and `[]`, as the manifest has it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Number(number) => *number == 0,
            Self::Boolean(_) => false,
            Self::List(items) => items.is_empty(),
        }
    }

    /// Reads a list in TOML: `["-p 2222", "-J bastion"]`.
    ///
    /// # Errors
    /// It is no TOML, or holds something else than texts and numbers; the error says so.
    pub fn parse_list(text: &str) -> Result<Self, String> {
        let list: toml_edit::Value = text.trim().parse().map_err(|error: toml_edit::TomlError| {
            format!("{}; a list is written as [\"one\", \"two\"]", error.message())
        })?;
        let items = list.as_array().ok_or("a list stands in brackets: [\"one\", \"two\"]")?;
        let items: Option<Vec<Self>> = items.iter().map(Self::scalar).collect();
        items.map(Self::List).ok_or_else(|| "a list holds texts in quotes, and numbers: [\"one\", 102]".to_owned())
    }

    fn scalar(value: &toml_edit::Value) -> Option<Self> {
        match value {
            toml_edit::Value::String(text) => Some(Self::text(text.value())),
            toml_edit::Value::Integer(number) => Some(Self::Number(*number.value())),
            toml_edit::Value::Boolean(truth) => Some(Self::Boolean(*truth.value())),
            toml_edit::Value::Datetime(date) => Some(Self::text(date.value().to_string())),
            _ => None,
        }
    }

    /// Writes it as TOML, on one line.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Boolean(truth) => truth.to_string(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::to_toml).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Writes it as TOML with the quotes that `before` has, where it can be written so.
    pub(super) fn to_toml_like(&self, before: &str) -> String {
        match self {
            Self::Text(text) if is_literal(before) && !text.contains(|c: char| c == '\'' || c.is_control()) => {
                format!("'{text}'")
            }
            _ => self.to_toml(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_toml())
    }
}

/// Tells whether a value is a text in single quotes on one line.
fn is_literal(raw: &str) -> bool {
    raw.starts_with('\'') && !raw.starts_with("'''")
}

/// Writes a text in double quotes, on one line whatever it holds.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
