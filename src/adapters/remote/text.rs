//! Output of foreign programs, made harmless for a terminal, a log and the journal.

/// Most lines that a tail keeps.
const TAIL_LINES: usize = 20;
/// Most bytes that a tail keeps, over all its lines.
const TAIL_BYTES: usize = 4096;

/// Makes a line harmless: escape sequences are left out, other control characters and the ones that reorder text are
/// replaced.
///
/// A carriage return within a line (a progress display) leaves what was last written over it.
pub(crate) fn harmless(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
    let mut clean = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => clean.push(' '),
            c if c.is_control() || reorders(c) => clean.push(char::REPLACEMENT_CHARACTER),
            c => clean.push(c),
        }
    }
    clean
}

/// Skips the rest of an escape sequence: CSI up to its final byte, OSC and the other strings up to BEL or ST, else one
/// character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for c in chars.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        _ => {}
    }
}

/// Whether a character changes the order in which its neighbours are shown.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Keeps the end of a log: its last lines, harmless, within both bounds; blank lines are left out.
pub(crate) fn tail<S: AsRef<str>>(lines: &[S]) -> Vec<String> {
    let mut room = TAIL_BYTES;
    let mut kept = Vec::new();
    for line in lines.iter().rev().map(|line| harmless(line.as_ref())).filter(|line| !line.trim().is_empty()) {
        if kept.len() == TAIL_LINES || room == 0 {
            break;
        }
        let line = ending(line, room);
        room -= line.len();
        kept.push(line);
    }
    kept.reverse();
    kept
}

/// Keeps the end of a line that is longer than `room` bytes.
fn ending(line: String, room: usize) -> String {
    if line.len() <= room {
        return line;
    }
    let start = (line.len() - room..line.len()).find(|at| line.is_char_boundary(*at)).unwrap_or(line.len());
    line[start..].to_owned()
}

/// Joins the first lines of a message into one harmless fragment, at most about 300 characters, for an error's text.
pub(crate) fn fragment<S: AsRef<str>>(lines: &[S]) -> String {
    let joined: Vec<String> =
        lines.iter().map(|line| harmless(line.as_ref()).trim().to_owned()).filter(|line| !line.is_empty()).collect();
    let joined = joined.join("; ");
    match joined.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", &joined[..at]),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_no_harm() {
        assert_eq!(harmless("plain äöü →"), "plain äöü →");
        assert_eq!(harmless("\u{1b}[31mred\u{1b}[0m"), "red");
        assert_eq!(harmless("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(harmless("\u{1b}]0;title\u{1b}\\text"), "text");
        assert_eq!(harmless("\u{1b}]never ended"), "");
        assert_eq!(harmless("a\u{8}b\u{0}c\u{9b}d"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
        assert_eq!(harmless("evil\u{202e}txt"), "evil\u{fffd}txt");
        assert_eq!(harmless(" 10%\r 50%\r100%\r\n"), "100%");
        assert_eq!(harmless("a\tb"), "a b");
    }

    #[test]
    fn a_tail_is_bounded_in_lines_and_bytes() {
        let many: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
        let kept = tail(&many);
        assert_eq!(kept.len(), 20);
        assert_eq!(kept[0], "line 80");
        assert_eq!(kept[19], "line 99");

        let long = ["x".repeat(3000), "é".repeat(3000)];
        let kept = tail(&long);
        assert!(kept.iter().map(String::len).sum::<usize>() <= 4096);
        assert!(kept.last().is_some_and(|line| line.ends_with('é')));
    }

    #[test]
    fn a_tail_leaves_blank_lines_out() {
        assert_eq!(tail(&["a", "", "  ", "b", ""]), ["a", "b"]);
        assert!(tail::<&str>(&[]).is_empty());
    }

    #[test]
    fn a_fragment_is_one_short_line() {
        assert_eq!(fragment(&["E: one ", "", "E: two"]), "E: one; E: two");
        assert!(fragment(&["x".repeat(1000)]).chars().count() <= 303);
    }
}
