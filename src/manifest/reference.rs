//! The reference of all keys, as the tables of the README: made from the one list that reading goes by.

use super::keys::{Key, Level};

/// Returns the table of the keys of `[defaults]` and `[[hosts]]`, in Markdown.
pub fn host_reference() -> String {
    table(Level::Host)
}

/// Returns the table of the keys of `[[hosts.guests]]`, in Markdown.
pub fn guest_reference() -> String {
    table(Level::Guest)
}

fn table(level: Level) -> String {
    let head = "| key | other spellings | default | meaning |\n|---|---|---|---|\n".to_owned();
    level.keys().iter().fold(head, |table, key| table + &row(key))
}

fn row(key: &Key) -> String {
    let code = |spelling: &&str| format!("`{spelling}`");
    let (first, others) = (code(&key.spellings[0]), key.spellings[1..].iter().map(code).collect::<Vec<_>>());
    let only = match key.level {
        Level::Host => "; `[[hosts]]` only",
        Level::Defaults => "; `[defaults]` only",
        Level::Both | Level::Guest => "",
    };
    let others = others.iter().map(|other| format!(" {other}")).collect::<Vec<_>>().join(",");
    format!("| {first} |{others} | {} | {}{only} |\n", key.default, key.meaning)
}
