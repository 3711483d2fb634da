//! Points in time as people and programs read them: RFC 3339 in UTC with milliseconds (`2026-11-22T22:28:42.125Z`).
//!
//! For `#[serde(with = "when")]` on a [`Timestamp`], and `#[serde(with = "when::option")]` on an optional one.

use serde::{Deserialize as _, Deserializer, Serializer, de};

use crate::time::Timestamp;

/// Writes a point in time.
pub fn text(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => format!("{at:.3}"),
        // Beyond the year 9999: nothing that a clock says.
        Err(_) => at.to_string(),
    }
}

fn parse<E: de::Error>(text: &str) -> Result<Timestamp, E> {
    let at: jiff::Timestamp =
        text.parse().map_err(|error| E::custom(format!("reading the time \"{text}\": {error}")))?;
    Ok(Timestamp(at.as_millisecond()))
}

/// Serialises a point in time.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*at))
}

/// Reads a point in time.
///
/// # Errors
/// What is not RFC 3339.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

/// The same for a point in time that may be missing (`null`).
pub mod option {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::time::Timestamp;

    /// Serialises a point in time or `null`.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a point in time or `null`.
    ///
    /// # Errors
    /// What is neither RFC 3339 nor `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(deserializer)?.as_deref().map(super::parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Both {
        #[serde(with = "super")]
        at: Timestamp,
        #[serde(with = "super::option")]
        maybe: Option<Timestamp>,
    }

    #[test]
    fn a_time_is_written_with_milliseconds_and_read_back() {
        let both = Both { at: Timestamp(1_795_386_522_125), maybe: None };
        let json = serde_json::to_string(&both).unwrap();
        assert_eq!(json, r#"{"at":"2026-11-22T22:28:42.125Z","maybe":null}"#);
        assert_eq!(serde_json::from_str::<Both>(&json).unwrap(), both);
        let both = Both { maybe: Some(Timestamp(0)), ..both };
        assert_eq!(serde_json::from_str::<Both>(&serde_json::to_string(&both).unwrap()).unwrap(), both);
        assert!(serde_json::from_str::<Both>(r#"{"at":"yesterday","maybe":null}"#).is_err());
    }
}
