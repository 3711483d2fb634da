//! Tolerant reading of the API's JSON.
//!
//! Minor releases of Proxmox VE add fields and types, write the same number as `101` or `"101"`, a boolean as `1`, `"1"` or
//! `true`, and fields that do not apply as `null`. So objects are read field by field; what is missing or of an unexpected
//! type is absent, and nothing that is not asked for matters.

use serde_json::{Map, Value};

/// One JSON object of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// Reads a value as an object.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    /// Returns the names of the fields.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the field's value, where it is there and not `null`.
    pub(super) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Returns a scalar as text.
    pub(super) fn text(self, name: &str) -> Option<String> {
        self.value(name).and_then(scalar_text)
    }

    /// Returns a text that is not empty.
    pub(super) fn non_empty(self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// Returns a whole number that is not negative.
    pub(super) fn number(self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(n) => n.as_u64().or_else(|| n.as_f64().and_then(whole)),
            Value::String(s) => {
                let s = s.trim();
                s.parse().ok().or_else(|| s.parse::<f64>().ok().and_then(whole))
            }
            _ => None,
        }
    }

    /// Returns a number of seconds since the Unix epoch.
    pub(super) fn seconds(self, name: &str) -> Option<i64> {
        self.number(name).and_then(|n| i64::try_from(n).ok())
    }

    /// Returns a boolean in any of its spellings.
    pub(super) fn flag(self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(b) => Some(*b),
            Value::Number(n) => n.as_f64().map(|n| n != 0.0),
            Value::String(s) => match s.trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Some(true),
                "" | "0" | "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns an array; none where the field is missing or no array.
    pub(super) fn list(self, name: &str) -> &'a [Value] {
        self.value(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// Writes a scalar as the API's own config files do: booleans as 0 and 1. `None` for null, arrays and objects.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(u8::from(*b).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a float that is a whole number of at most 2^53, up to which floats are exact.
fn whole(n: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    // The cast is exact: the range and the missing fraction were just checked.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (n.fract() == 0.0 && (0.0..=EXACT).contains(&n)).then_some(n as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_come_in_several_spellings() {
        let value = json!({"a": 101, "b": "101", "c": 101.0, "d": " 101 ", "e": null, "f": "1.5", "g": -1, "h": [1], "i": 1e300});
        let fields = Fields::of(&value).unwrap();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(fields.number(name), Some(101), "{name}");
        }
        for name in ["e", "f", "g", "h", "i", "missing"] {
            assert_eq!(fields.number(name), None, "{name}");
        }
    }

    #[test]
    fn flags_come_in_several_spellings() {
        let value = json!({"a": 1, "b": "1", "c": true, "d": "yes", "e": 0, "f": "0", "g": false, "h": "", "i": null, "j": {}, "k": "maybe"});
        let fields = Fields::of(&value).unwrap();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(fields.flag(name), Some(true), "{name}");
        }
        for name in ["e", "f", "g", "h"] {
            assert_eq!(fields.flag(name), Some(false), "{name}");
        }
        for name in ["i", "j", "k", "missing"] {
            assert_eq!(fields.flag(name), None, "{name}");
        }
    }

    #[test]
    fn text_takes_any_scalar_and_nothing_else() {
        let value = json!({"a": "x", "b": 5, "c": true, "d": null, "e": [], "f": {}, "g": ""});
        let fields = Fields::of(&value).unwrap();
        assert_eq!(fields.text("a").as_deref(), Some("x"));
        assert_eq!(fields.text("b").as_deref(), Some("5"));
        assert_eq!(fields.text("c").as_deref(), Some("1"));
        assert_eq!((fields.text("d"), fields.text("e"), fields.text("f")), (None, None, None));
        assert_eq!(fields.text("g").as_deref(), Some(""));
        assert_eq!(fields.non_empty("g"), None);
    }
}
