//! Makes text from outside harmless before it reaches a terminal.
//!
//! Names of guests, messages of an API and output of commands are written by others. An escape sequence among them could
//! rewrite what the operator sees; a line break could forge a line. The one function for it is [`clean`].

use std::borrow::Cow;
use std::fmt::Write as _;

/// Tells whether a character could change how a terminal shows the others: control characters (C0, DEL, C1), marks that
/// change the direction of text, invisible ones, and separators of lines.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the text on one line with every unsafe character written out: a line break as `\n`, an escape as `\u{1b}`.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Returns the text cleaned and cut to `max` characters, the last of them `…` where something was cut.
pub fn shorten(text: &str, max: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= max {
        return text.into_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Returns JSON text with unsafe characters escaped: what `serde_json` leaves as it is (DEL, C1, marks of direction).
///
/// In JSON these can only stand within strings, so the value stays the same.
pub fn clean_json(json: String) -> String {
    if !json.contains(is_unsafe) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    let mut units = [0u16; 2];
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String can't fail.
                let _ok = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_stays_as_it_is() {
        for text in ["", "web-01", "prêt à porter", "ウェブ", "a b  c"] {
            assert!(matches!(clean(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn escapes_line_breaks_and_direction_marks_are_written_out() {
        assert_eq!(clean("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(clean("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(clean("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(shorten("äöüß", 4), "äöüß");
        assert_eq!(shorten("äöüßx", 4), "äöü…");
        assert_eq!(shorten("a\nbcdef", 4), "a\\n…");
    }

    #[test]
    fn json_keeps_its_value_and_loses_its_unsafe_characters() {
        let value = serde_json::json!({"name": "a\u{9b}b\u{202e}\u{e0001}\x7f\n"});
        let text = clean_json(value.to_string());
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
