//! The text of a manifest: where an offset lies in it, and how a line of it may be shown.
//!
//! A line is part of every error message, and a manifest may hold passwords. So whatever looks like one is blotted out
//! before a line leaves this module, in a file that can't be parsed too.

use std::ops::Range;
use std::path::PathBuf;

use super::problem::{Place, Problem, Severity};

/// How many characters of a line are shown: what fits a terminal beside the line's number.
const WINDOW: usize = 100;
/// How many characters are shown before the place in a line that is longer.
const BEFORE: usize = 40;
/// What stands for a blotted value, whatever its length.
const BLOT: &str = "***";

/// A problem before its place is looked up.
#[derive(Debug)]
pub(super) struct Draft {
    pub severity: Severity,
    pub message: String,
    pub span: Range<usize>,
    pub other: Option<(String, Range<usize>)>,
    pub hints: Vec<String>,
}

/// The text of a manifest, without a byte order mark.
#[derive(Debug)]
pub(super) struct Source {
    /// The path as it was named, for messages.
    file: PathBuf,
    text: String,
    /// Offsets at which lines begin.
    lines: Vec<usize>,
    /// What must not be shown, in order, not overlapping.
    blots: Vec<Range<usize>>,
}

impl Source {
    pub(super) fn new(file: PathBuf, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines, blots: Vec::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Turns drafts into problems, in the order of the file; `also_secret` are places that are blotted out besides.
    pub(super) fn problems(
        mut self,
        mut drafts: Vec<Draft>,
        also_secret: Vec<Range<usize>>,
        trust: Trust,
    ) -> Vec<Problem> {
        self.blots = merge(secrets(&self.text, trust).into_iter().chain(also_secret).collect());
        drafts.sort_by_key(|draft| draft.span.start);
        let problem = |draft: Draft| Problem {
            severity: draft.severity,
            message: draft.message,
            file: self.file.clone(),
            place: self.place(&draft.span),
            other: draft.other.map(|(what, span)| (what, self.place(&span))),
            hints: draft.hints,
        };
        drafts.into_iter().map(problem).collect()
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let at = span.start.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines[line - 1];
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        let content = self.text[start..end].trim_end_matches('\r');
        let before = self.text.get(start..at).unwrap_or(content);
        let (excerpt, marker) = self.excerpt(start, content, at..span.end.max(at));
        Place { line, column: before.chars().count() + 1, excerpt, marker }
    }

    /// Returns what may be shown of the line `content` that begins at `start`, and carets below what lies in `span`.
    fn excerpt(&self, start: usize, content: &str, span: Range<usize>) -> (String, String) {
        // An inventory can be one line of megabytes: only what is near the place is looked at. A character has up to four
        // bytes.
        let near = |offset: usize| content.floor_char_boundary(offset.saturating_sub(start).min(content.len()));
        let (low, high) = (near(span.start.saturating_sub(4 * WINDOW)), near(span.start + 8 * WINDOW));
        // The characters to show, each with what it stands for in the text.
        let mut shown: Vec<(char, Range<usize>)> = Vec::new();
        let first_blot = self.blots.partition_point(|blot| blot.end <= start + low);
        let mut blots = self.blots[first_blot..].iter().peekable();
        let mut blotted_until = 0;
        for (at, c) in content[low..high].char_indices().map(|(at, c)| (start + low + at, c)) {
            if at < blotted_until {
                continue;
            }
            while blots.next_if(|blot| blot.end <= at).is_some() {}
            if let Some(blot) = blots.next_if(|blot| blot.start <= at) {
                shown.extend(BLOT.chars().map(|c| (c, blot.clone())));
                blotted_until = blot.end;
                continue;
            }
            // A control character could play tricks on the terminal.
            let c = if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
            shown.push((c, at..at + c.len_utf8()));
        }
        let is_marked = |place: &Range<usize>| place.start < span.end && place.end > span.start;
        let first = shown.iter().position(|(_, place)| is_marked(place) || place.start >= span.start);
        let first = first.unwrap_or(shown.len());
        let is_long = shown.len() > WINDOW || low > 0 || high < content.len();
        let from = if is_long { first.saturating_sub(BEFORE) } else { 0 };
        let to = shown.len().min(from + WINDOW);

        let mut excerpt = if from > 0 || low > 0 { "...".to_owned() } else { String::new() };
        let mut marker = " ".repeat(excerpt.len());
        for (i, (c, place)) in shown.iter().enumerate().take(to).skip(from) {
            excerpt.push(*c);
            marker.push(match c {
                _ if i == first || is_marked(place) => '^',
                '\t' => '\t',
                _ => ' ',
            });
        }
        if first >= to {
            marker.push('^');
        }
        if to < shown.len() || high < content.len() {
            excerpt.push_str("...");
        }
        (excerpt, marker.trim_end().to_owned())
    }
}

/// Returns a text with everything blotted out that must not be shown: what sounds secret, and `also_secret`.
pub(super) fn blotted(text: &str, also_secret: Vec<Range<usize>>, trust: Trust) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for blot in merge(secrets(text, trust).into_iter().chain(also_secret).collect()) {
        shown.push_str(text.get(at..blot.start).unwrap_or_default());
        shown.push_str(BLOT);
        at = blot.end;
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    shown
}

/// Whether the quotes of a text can be relied on to tell where a secret ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is TOML.
    Parsed,
    /// It is not; a secret is taken to reach to the end of its line.
    Broken,
}

/// Finds the values of keys that sound secret: `password`, `api_secret`, but not `password_env`.
fn secrets(text: &str, trust: Trust) -> Vec<Range<usize>> {
    const WORDS: [&str; 4] = ["password", "passphrase", "secret", "token"];
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for word in WORDS {
        for (at, _) in lower.match_indices(word) {
            let behind = at + word.len();
            let end = lower[behind..].find(|c: char| !is_key(c)).map_or(lower.len(), |n| behind + n);
            if lower[at..end].ends_with("_env") {
                continue;
            }
            let rest = lower[end..].trim_start_matches(['"', '\'', ' ', '\t']);
            let Some(rest) = rest.strip_prefix('=') else { continue };
            let value = rest.trim_start_matches([' ', '\t']);
            let start = lower.len() - value.len();
            found.push(start..start + value_length(value, trust));
        }
    }
    found
}

/// Returns how far the value at the beginning of `text` reaches at most.
fn value_length(text: &str, trust: Trust) -> usize {
    for quotes in ["\"\"\"", "'''"] {
        if let Some(body) = text.strip_prefix(quotes) {
            return body.find(quotes).map_or(text.len(), |n| n + 2 * quotes.len());
        }
    }
    let line = text.lines().next().unwrap_or_default();
    match (line.chars().next(), trust) {
        (Some(quote @ ('"' | '\'')), Trust::Parsed) => {
            let mut escaped = false;
            for (at, c) in line.char_indices().skip(1) {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if quote == '"' => escaped = true,
                    _ if c == quote => return at + 1,
                    _ => {}
                }
            }
            line.len()
        }
        _ => line.len(),
    }
}

/// Sorts ranges and joins those that overlap.
fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
