//! The README's tables of keys are those that the program reads by.

use std::fs;
use std::path::Path;

use proxmaint::manifest::{guest_reference, host_reference};

/// Set to anything, it lets the test write the tables instead of comparing them.
const UPDATE: &str = "UPDATE_README";

/// Returns the text with what stands between the markers of that name replaced by a table.
fn put(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("README.md has no line {begin}"));
    let (_, behind) = rest.split_once(&end).unwrap_or_else(|| panic!("README.md has no line {end}"));
    format!("{before}{begin}{table}{end}{behind}")
}

#[test]
fn the_readme_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let expected = put(&put(&text, "keys of hosts", &host_reference()), "keys of guests", &guest_reference());
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, expected).unwrap();
        return;
    }
    assert!(
        text == expected,
        "the tables of README.md are not these (`{UPDATE}=1 cargo test --test manifest reference` writes them):\n{}\n{}",
        host_reference(),
        guest_reference()
    );
}
