//! The recordings: requests to a real Proxmox VE 9.2 and what it answered, kept beside the project.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// A request and its answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Recording {
    /// The request.
    pub request: Request,
    /// The HTTP status.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The body: an object, or an empty text where there was none.
    pub body: Value,
}

/// A request.
#[derive(Debug, Clone, Deserialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The fields of a form, in order.
    pub form: Option<Vec<(String, String)>>,
    /// The JSON body.
    pub json: Option<serde_json::Map<String, Value>>,
}

impl Recording {
    /// Tells whether the answer has a body.
    pub fn has_body(&self) -> bool {
        self.body.is_object()
    }
}

/// Returns the directory with what was recorded, which only a developer's checkout has.
pub fn shared() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/pve");
    dir.is_dir().then_some(dir)
}

/// How many recordings there are, said where they are not.
const COUNT: usize = 218;

/// Says that no recording was compared.
pub fn not_run() {
    writeln!(std::io::stderr(), "not run: {COUNT} recordings (../shared absent)").expect("stderr is open");
}

/// Says that nothing was held against the official schema.
pub fn schema_not_run(what: &str) {
    writeln!(std::io::stderr(), "not run: {what} against the official schema (../shared absent)")
        .expect("stderr is open");
}

/// Reads all recordings of the API, by name; `None` where they are not there.
pub fn all() -> Option<BTreeMap<String, Recording>> {
    let dir = shared()?.join("recorded/api");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(&dir).expect("the directory of recordings can be read") {
        let path = entry.expect("its entries can be read").path();
        let name = path.file_stem().and_then(|s| s.to_str()).expect("a recording has a name").to_owned();
        let text = fs::read_to_string(&path).expect("a recording can be read");
        let recording = serde_json::from_str(&text).unwrap_or_else(|e| panic!("recording {name}: {e}"));
        all.insert(name, recording);
    }
    assert_eq!(all.len(), COUNT, "the number that is said where they are absent");
    Some(all)
}

/// Returns an endpoint's entry of the official schema, by `METHOD /path`; `None` where the schema is not there.
pub fn schema() -> Option<BTreeMap<String, Value>> {
    let text = fs::read_to_string(shared()?.join("apidoc.json")).expect("the schema can be read");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("the schema is JSON");
    let key = |e: &Value| format!("{} {}", e["method"].as_str().unwrap_or(""), e["path"].as_str().unwrap_or(""));
    Some(entries.into_iter().map(|e| (key(&e), e)).collect())
}
