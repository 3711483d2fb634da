//! Places and excerpts, blots above all.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::problem::Severity;
use super::super::source::{Draft, Source, Trust};
use super::super::{Fingerprint, FingerprintError, Place};
use super::parse;

fn place(text: &str, span: std::ops::Range<usize>, trust: Trust) -> Place {
    let draft = Draft { severity: Severity::Error, message: String::new(), span, other: None, hints: Vec::new() };
    let mut problems = Source::new(PathBuf::from("m.toml"), text).problems(vec![draft], Vec::new(), trust);
    problems.remove(0).place
}

/// The place of the first `needle` in a text.
fn find(text: &str, needle: &str) -> Place {
    let at = text.find(needle).unwrap();
    place(text, at..at + needle.len(), Trust::Parsed)
}

#[test]
fn lines_and_columns_count_characters() {
    let text = "a = 1\r\n\u{e4}\u{1f980}\tb = \"x\"\r\nlast";
    let Place { line, column, excerpt, marker } = find(text, "\"x\"");
    assert_eq!((line, column), (2, 8));
    assert_eq!(excerpt, "\u{e4}\u{1f980}\tb = \"x\"");
    assert_eq!(marker, "  \t    ^^^");
    assert_eq!((find(text, "last").line, find(text, "last").column), (3, 1));
    let end = place(text, text.len()..text.len(), Trust::Parsed);
    assert_eq!((end.line, end.column, end.marker.as_str()), (3, 5, "    ^"));
}

#[test]
fn a_byte_order_mark_takes_no_column() {
    let source = Source::new(PathBuf::from("m.toml"), "\u{feff}a = 1");
    assert_eq!(source.text(), "a = 1");
}

#[test]
fn a_span_of_several_lines_is_marked_in_its_first() {
    let place = place("a = [\n1,\n]\n", 4..10, Trust::Parsed);
    assert_eq!((place.excerpt.as_str(), place.marker.as_str()), ("a = [", "    ^"));
}

#[test]
fn long_lines_are_cut_around_the_place() {
    let text = format!("{}HERE{}", "\u{e4}".repeat(5000), "z".repeat(5000));
    let place = find(&text, "HERE");
    assert_eq!(place.column, 5001);
    assert!(place.excerpt.starts_with("...\u{e4}") && place.excerpt.ends_with("z..."), "{}", place.excerpt);
    assert!(place.excerpt.chars().count() <= 106);
    let at = place.marker.find('^').unwrap();
    assert_eq!(place.excerpt.chars().skip(at).take(4).collect::<String>(), "HERE");
    assert_eq!(place.marker.trim_start(), "^^^^");
}

#[test]
fn secrets_are_blotted_out() {
    for text in [
        "x = 1, password = \"HUSH\", HERE = 1",
        "x = 1, \"password\"=\"HUSH\", HERE = 1",
        "x = 1, Guest_Password  =  'HUSH', HERE = 1",
        "x = 1, api_secret = \"a\\\"HUSH\", HERE = 1",
        "x = 1, token = \"root@pam!x=HUSH\", HERE = 1",
        "x = 1, key-passphrase = \"\"\"HUSH\"\"\", HERE = 1",
    ] {
        let place = find(text, "HERE");
        assert!(!place.excerpt.contains("HUSH"), "{}", place.excerpt);
        assert!(place.excerpt.contains("***, HERE"), "{}", place.excerpt);
        assert_eq!(place.excerpt.find("HERE"), place.marker.find('^'), "{}\n{}", place.excerpt, place.marker);
        // The same when it is the secret itself that is wrong.
        assert!(!find(text, "HUSH").excerpt.contains("HUSH"));
    }
    // A line within a text of several lines.
    assert_eq!(find("password = \"\"\"\nHUSH\n\"\"\"\n", "HUSH").excerpt, "***");
    assert_eq!(find("password_env = \"NAME\" # HERE", "HERE").excerpt, "password_env = \"NAME\" # HERE");
}

#[test]
fn in_a_broken_file_a_secret_reaches_to_the_end_of_the_line() {
    for text in
        ["x = [ password = \"HU\"SH\" }", "x = [ password = HUSH, y", "password = \"HUSH\nx = ", "secret = '''\nHUSH"]
    {
        for at in 0..text.len() {
            let place = place(text, at..at, Trust::Broken);
            assert!(!place.excerpt.contains("SH"), "{}", place.excerpt);
        }
    }
}

#[test]
fn a_misspelled_password_is_blotted_out_too() {
    let text = "[[hosts]]\nhost = 1\nguest_inventory.entries = [{ kind = \"vm\", id = 1, pasword = \"HUSH\" }]";
    let error = parse(text).unwrap_err().to_string();
    assert!(error.contains("did you mean `password`?") && !error.contains("HUSH"), "{error}");
}

#[test]
fn control_characters_are_not_passed_on() {
    assert_eq!(find("a = \u{1b}[31m HERE", "HERE").excerpt, "a = \u{fffd}[31m HERE");
}

#[test]
fn fingerprints_are_read_as_pasted() {
    let bytes: Vec<u8> = (0..32).collect();
    let plain: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let colons: String = bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":");
    for text in [plain.clone(), colons.clone(), format!("SHA256:{plain}"), format!(" sha256={colons} ")] {
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.as_bytes().as_slice(), bytes);
        assert_eq!(fingerprint.to_string(), colons);
    }
    let error = |text: &str| text.parse::<Fingerprint>().unwrap_err();
    assert_eq!(error(""), FingerprintError::Length(0));
    assert_eq!(error(&plain[1..]), FingerprintError::Length(63));
    assert_eq!(error(&plain.replace('0', "g")), FingerprintError::NotHex('g'));
    assert_eq!(error(&format!("{plain}:")), FingerprintError::StrayColon);
    assert_eq!(error("\u{e4}\u{e4}\u{e4}\u{e4}"), FingerprintError::NotHex('\u{e4}'));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the span, the excerpt is short, one line, and the marker is below it.
    #[test]
    fn any_span_can_be_shown(text in "(?s)[a-z=\"' \t\r\n\u{e4}\u{1f980}{},]{0,300}(password = )?.{0,40}", a in 0..400_usize, b in 0..400_usize) {
        for trust in [Trust::Parsed, Trust::Broken] {
            let Place { line, column, excerpt, marker } = place(&text, a.min(b)..b.max(a), trust);
            prop_assert!(line >= 1 && column >= 1);
            prop_assert!(!excerpt.contains(['\n', '\r']) && excerpt.chars().count() <= 106);
            prop_assert!(marker.ends_with('^') && marker.chars().count() <= excerpt.chars().count() + 1);
        }
    }
}
