//! A request to the API, and its answer.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A request to the API of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApiRequest {
    /// The node that was addressed.
    pub node: String,
    /// The method.
    pub method: String,
    /// The path as it was sent (percent-encoded), with or without `/api2/json`, with its query.
    pub path: String,
    /// The fields of a form, or of a JSON object; a field given several times becomes an array.
    pub body: Vec<(String, Value)>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

impl ApiRequest {
    /// Makes a request without credentials.
    pub fn new(node: &str, method: &str, path: &str) -> Self {
        Self { node: node.to_owned(), method: method.to_owned(), path: path.to_owned(), ..Self::default() }
    }

    /// Adds credentials of a token.
    #[must_use]
    pub fn token(mut self, token: &crate::world::Token) -> Self {
        self.authorization = Some(token.header());
        self
    }

    /// Adds a field of the body.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.push((name.to_owned(), value.into()));
        self
    }

    /// Returns the path without `/api2/json` and query, decoded: as messages and faults name it.
    pub fn plain_path(&self) -> String {
        decode(self.bare())
    }

    fn bare(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        path.strip_prefix("/api2/json").unwrap_or(path)
    }

    /// Returns the components of the path, each decoded by itself.
    pub(crate) fn segments(&self) -> Vec<String> {
        self.bare().split('/').filter(|s| !s.is_empty()).map(decode).collect()
    }

    /// Returns what was given in query and body.
    pub(crate) fn given(&self) -> BTreeMap<String, Value> {
        let query = self.path.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let mut given = BTreeMap::new();
        for (name, value) in form(query).into_iter().chain(self.body.iter().cloned()) {
            add(&mut given, name, value);
        }
        given
    }
}

fn add(given: &mut BTreeMap<String, Value>, name: String, value: Value) {
    let both = match given.remove(&name) {
        None => value,
        Some(Value::Array(mut several)) => {
            several.push(value);
            Value::Array(several)
        }
        Some(first) => Value::Array(vec![first, value]),
    };
    given.insert(name, both);
}

/// Reads a query or the body of a form (`application/x-www-form-urlencoded`).
pub(crate) fn form(text: &str) -> Vec<(String, Value)> {
    let field = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(&name.replace('+', " ")), Value::from(decode(&value.replace('+', " "))))
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(field).collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The reason phrase, which carries the error's text.
    pub reason: String,
    /// The body; a 401 and a gateway's own error have none.
    pub body: Option<Value>,
    /// Whether the connection is closed without an answer.
    pub lost: bool,
    /// How long the answer takes, in milliseconds.
    pub delay_ms: u64,
}

impl ApiAnswer {
    pub(crate) fn ok(body: Value, delay_ms: u64) -> Self {
        Self { status: 200, reason: "OK".to_owned(), body: Some(body), lost: false, delay_ms }
    }

    pub(crate) fn empty(status: u16, reason: &str, delay_ms: u64) -> Self {
        Self { status, reason: reason.to_owned(), body: None, lost: false, delay_ms }
    }

    /// Makes no answer at all: the connection is closed after this time.
    pub(crate) fn nothing(delay_ms: u64) -> Self {
        Self { status: 0, reason: String::new(), body: None, lost: true, delay_ms }
    }

    /// Makes an answer of something in between, with its usual reason where none is given.
    pub(crate) fn gateway(status: u16, reason: Option<String>) -> Self {
        let usual = match status {
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            595 => "Connection refused",
            596 => "Connection timed out",
            _ => "Error",
        };
        Self::empty(status, reason.as_deref().unwrap_or(usual), 0)
    }

    /// Returns the `data` of the body, null where there is none.
    pub fn data(&self) -> &Value {
        self.body.as_ref().map_or(&Value::Null, |body| &body["data"])
    }
}
