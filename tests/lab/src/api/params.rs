//! What an endpoint takes, and the answer to what it does not.
//!
//! The rules and the error texts are those of the real API's schema checker; each problem is named under its parameter.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What a parameter must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `1`, `0`, `on`, `off`, `yes`, `no`, `true`, `false`.
    Bool,
    /// A whole number within bounds.
    Int(i64, i64),
    /// A number.
    Number,
    /// One of these.
    Enum(&'static [&'static str]),
    /// Any text up to a length.
    Str(usize),
    /// Several texts.
    List,
    /// A configuration identifier (`pve-configid`) of at most 40 characters.
    ConfigId,
    /// A node's name.
    Node,
    /// A storage's name.
    Storage,
}

/// A parameter of an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it must look like.
    pub kind: Kind,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether the world knows what it means. One that it does not know is refused rather than ignored.
    pub modelled: bool,
    /// A parameter that must be given along with it.
    pub requires: Option<&'static str>,
}

/// Any text.
pub(crate) const TEXT: Kind = Kind::Str(usize::MAX);

/// A vmid.
pub(crate) const VMID: Kind = Kind::Int(100, 999_999_999);

/// Makes an optional parameter.
pub(crate) const fn opt(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, optional: true, modelled: true, requires: None }
}

/// Makes a parameter that must be given.
pub(crate) const fn must(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, optional: false, modelled: true, requires: None }
}

/// Makes an optional parameter whose effect the world does not have.
pub(crate) const fn unmodelled(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, optional: true, modelled: false, requires: None }
}

impl Param {
    /// Adds a parameter that must be given along with it.
    pub(crate) const fn with(mut self, other: &'static str) -> Self {
        self.requires = Some(other);
        self
    }
}

/// Returns what a placeholder of a path must look like.
pub(crate) fn of_path(name: &str) -> Kind {
    match name {
        "node" => Kind::Node,
        "vmid" => VMID,
        "storage" => Kind::Storage,
        "snapname" => Kind::ConfigId,
        "flag" => Kind::Enum(super::routes::FLAGS),
        _ => TEXT,
    }
}

/// Checks what was given: from the path (`in_path`), and from query and body (`given`). Returns the values in the types that the
/// endpoint works with, or what is wrong by parameter.
pub(crate) fn check(
    params: &[Param],
    in_path: &BTreeMap<String, String>,
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Map<String, Value>> {
    let mut errors = Map::new();
    let mut good = BTreeMap::new();
    for (name, text) in in_path {
        match value(of_path(name), &Value::from(text.as_str())) {
            Ok(v) => drop(good.insert(name.clone(), v)),
            Err(why) => drop(errors.insert(name.clone(), why.into())),
        }
    }
    for (name, raw) in given {
        let Some(param) = params.iter().find(|p| p.name == name) else {
            let why = "property is not defined in schema and the schema does not allow additional properties";
            errors.insert(name.clone(), why.into());
            continue;
        };
        match value(param.kind, raw) {
            Ok(v) => drop(good.insert(name.clone(), v)),
            Err(why) => drop(errors.insert(name.clone(), why.into())),
        }
        if let Some(other) = param.requires.filter(|other| !given.contains_key(*other)) {
            errors.insert(other.to_owned(), format!("missing property - '{name}' requires this property").into());
        }
    }
    for param in params.iter().filter(|p| !p.optional && !given.contains_key(p.name)) {
        errors.insert(param.name.to_owned(), "property is missing and it is not optional".into());
    }
    if errors.is_empty() { Ok(good) } else { Err(errors) }
}

/// Checks one value.
fn value(kind: Kind, raw: &Value) -> Result<Value, String> {
    if kind == Kind::List {
        let text = |v: &Value| Value::from(plain(v));
        return Ok(match raw {
            Value::Array(items) => items.iter().map(text).collect(),
            one => Value::Array(vec![text(one)]),
        });
    }
    let text = plain(raw);
    match kind {
        Kind::Bool => match text.to_lowercase().as_str() {
            "1" | "on" | "yes" | "true" => Ok(true.into()),
            "0" | "off" | "no" | "false" => Ok(false.into()),
            _ => Err(format!("type check ('boolean') failed - got '{text}'")),
        },
        Kind::Int(min, max) => match text.parse::<i64>() {
            Err(_) => Err(format!("type check ('integer') failed - got '{text}'")),
            Ok(n) if n < min => Err(format!("value must have a minimum value of {min}")),
            Ok(n) if n > max => Err(format!("value must have a maximum value of {max}")),
            Ok(n) => Ok(n.into()),
        },
        Kind::Number => {
            text.parse::<f64>().map(Value::from).map_err(|_| format!("type check ('number') failed - got '{text}'"))
        }
        Kind::Enum(values) => match values.contains(&text.as_str()) {
            true => Ok(text.into()),
            false => Err(format!("value '{text}' does not have a value in the enumeration '{}'", values.join(", "))),
        },
        Kind::Str(max) if text.chars().count() > max => Err(format!("value may only be {max} characters long")),
        Kind::ConfigId if !is_config_id(&text) => Err(format!("invalid format - invalid configuration ID '{text}'\n")),
        Kind::ConfigId if text.len() > 40 => Err("value may only be 40 characters long".to_owned()),
        Kind::Node if !is_name(&text, |c| c.is_ascii_alphanumeric() || c == '-') => {
            Err("invalid format - value does not look like a valid node name\n".to_owned())
        }
        Kind::Storage if !is_name(&text, |c| c.is_ascii_alphanumeric() || "-_.".contains(c)) => {
            Err(format!("invalid format - storage ID '{text}' contains illegal characters\n"))
        }
        Kind::Str(_) | Kind::ConfigId | Kind::Node | Kind::Storage | Kind::List => Ok(text.into()),
    }
}

fn plain(raw: &Value) -> String {
    match raw {
        Value::String(s) => s.clone(),
        Value::Bool(b) => u8::from(*b).to_string(),
        other => other.to_string(),
    }
}

fn is_config_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && text.len() > 1
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn is_name(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(params: &[Param], given: &[(&str, &str)]) -> Map<String, Value> {
        let given = given.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
        check(params, &BTreeMap::new(), &given).expect_err("something is wrong with it")
    }

    #[test]
    fn each_problem_is_named_under_its_parameter() {
        let params = [must("snapname", Kind::ConfigId), opt("limit", Kind::Int(0, 9)), opt("start", Kind::Bool)];
        let all = errors(&params, &[("limit", "x"), ("start", "maybe"), ("bogus", "1")]);
        assert_eq!(all["limit"], "type check ('integer') failed - got 'x'");
        assert_eq!(all["start"], "type check ('boolean') failed - got 'maybe'");
        assert_eq!(
            all["bogus"],
            "property is not defined in schema and the schema does not allow additional properties"
        );
        assert_eq!(all["snapname"], "property is missing and it is not optional");
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn names_are_checked_as_the_real_ones_are() {
        let params = [must("snapname", Kind::ConfigId)];
        for bad in ["1x", "x", "a b", "", "ä1"] {
            assert!(errors(&params, &[("snapname", bad)]).contains_key("snapname"), "{bad}");
        }
        assert_eq!(
            errors(&params, &[("snapname", &"a".repeat(41))])["snapname"],
            "value may only be 40 characters long"
        );
        let good = BTreeMap::from([("snapname".to_owned(), Value::from("pm-20261122-r1"))]);
        assert!(check(&params, &BTreeMap::new(), &good).is_ok());
    }

    #[test]
    fn a_parameter_can_require_another() {
        let params = [opt("storage", Kind::Storage), opt("notes-template", TEXT).with("storage")];
        assert_eq!(
            errors(&params, &[("notes-template", "x")])["storage"],
            "missing property - 'notes-template' requires this property"
        );
    }
}
