//! Judges what is typed by the manifest's own reader.

use std::path::Path;

use crate::manifest::edit::{Document, Scope, Value};

/// A manifest with one host and nothing to complain about.
const PLAIN: &str = "[[hosts]]\nhost = \"h\"\napi.token_env = \"T\"\napi.secret_env = \"S\"\n";

/// Says what is wrong with the value of a key of an inventory's entry.
///
/// # Errors
/// What is wrong, as the manifest's reader says it.
pub(super) fn entry(key: &str, text: &str) -> Result<(), String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("type a value, or press Esc to go back".to_owned());
    }
    let setting = |name: &str| Scope::Entry.setting(name).map_err(|error| error.to_string());
    let settings = [
        (setting("kind")?, Value::text("ct")),
        (setting("id")?, Value::text("100")),
        (setting(key)?, Value::text(text)),
    ];
    let mut document = Document::parse(PLAIN).map_err(|error| error.to_string())?;
    document.add_entry(0, &settings).map_err(|error| error.to_string())?;
    match document.manifest(Path::new("/"), &|_| None) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(error.problems().first().map_or_else(|| error.to_string(), |problem| problem.message.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn what_the_manifest_would_refuse_is_refused() {
        for (key, good, bad) in
            [("user", "ops", "two words"), ("user", "root", "-x"), ("password_env", "WEB_PW", "p w")]
        {
            assert_eq!(entry(key, good), Ok(()));
            let why = entry(key, bad).expect_err("it is wrong");
            assert!(why.contains(key), "{why}");
            assert!(entry(key, " ").is_err());
        }
    }
}
