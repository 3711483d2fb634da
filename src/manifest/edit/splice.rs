//! Surgery on text: replaces ranges and leaves every other byte alone.

use std::ops::Range;

use super::layout::Braces;

/// Replacements that are made at once; no two overlap.
#[derive(Debug, Default)]
pub(super) struct Splices(Vec<(Range<usize>, String)>);

impl Splices {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn replace(mut self, range: Range<usize>, with: impl Into<String>) -> Self {
        self.0.push((range, with.into()));
        self
    }

    pub(super) fn remove(self, range: Range<usize>) -> Self {
        self.replace(range, "")
    }

    pub(super) fn insert(self, at: usize, text: impl Into<String>) -> Self {
        self.replace(at..at, text)
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Returns the text with everything replaced.
    pub(super) fn apply(mut self, text: &str) -> String {
        // Stable: insertions at one place stay in the order in which they were asked for.
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(text.len() + self.0.iter().map(|(_, new)| new.len()).sum::<usize>());
        let mut at = 0;
        for (range, new) in self.0 {
            // What overlaps is a slip of ours; the proof that follows each edit then refuses the result.
            out.push_str(text.get(at..range.start).unwrap_or_default());
            out.push_str(&new);
            at = at.max(range.end);
        }
        out.push_str(&text[at..]);
        out
    }
}

/// Returns where the line begins that `at` lies in.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Returns where the next line begins, or the end of the text.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// Returns the line break that a text uses around `at`: that of the line, else that of the last line which has one.
pub(super) fn newline(text: &str, at: usize) -> &'static str {
    let of = |newline: usize| if text[..newline].ends_with('\r') { "\r\n" } else { "\n" };
    text[at..].find('\n').map(|n| at + n).or_else(|| text.rfind('\n')).map_or("\n", of)
}

/// Tells whether a piece of a line is nothing but blanks.
fn is_blank(piece: &str) -> bool {
    piece.chars().all(|c| c == ' ' || c == '\t')
}

/// Returns the blanks that a line begins with.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Tells whether from `at` to the end of the line there are only blanks and perhaps a comment.
fn ends_line(text: &str, at: usize) -> bool {
    let rest = text[at..line_end(text, at)].trim_start_matches([' ', '\t']);
    rest.starts_with(['#', '\n']) || rest.starts_with("\r\n")
}

/// Returns how many blanks there are at `at`.
fn blanks(text: &str, at: usize) -> usize {
    text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len()
}

/// Tells whether an item stands first in a line of its own.
fn begins_line(text: &str, braces: &Braces, at: usize) -> bool {
    let start = line_start(text, at);
    start > braces.span.start && is_blank(&text[start..at])
}

/// Returns where the comma behind an item is, if they share a line and nothing but blanks is between them.
fn comma_behind(text: &str, braces: &Braces, index: usize) -> Option<usize> {
    let comma = *braces.commas.get(index)?;
    is_blank(&text[braces.items[index].end..comma]).then_some(comma)
}

/// Puts an item into a list or inline table, before the item of that number.
pub(super) fn insert_item(text: &str, braces: &Braces, index: usize, new: &str) -> Splices {
    let inside = braces.span.start + 1..braces.span.end - 1;
    let Some(first) = braces.items.first() else {
        let blank = &text[inside.clone()];
        let open = if braces.is_table { " " } else { "" };
        return match blank {
            "" => Splices::new().insert(inside.start, format!("{open}{new}{open}")),
            _ if !is_blank(blank) => Splices::new().insert(inside.start, format!("{open}{new}")),
            _ => Splices::new().insert(inside.end, format!("{new} ")),
        };
    };
    if index == 0 {
        if begins_line(text, braces, first.start) {
            let line = format!("{}{new},{}", indent(text, first.start), newline(text, first.start));
            return Splices::new().insert(line_start(text, first.start), line);
        }
        return Splices::new().insert(first.start, format!("{new}, "));
    }
    let before = &braces.items[index - 1];
    let comma = comma_behind(text, braces, index - 1);
    let end = comma.map_or(before.end, |comma| comma + 1);
    let comma_elsewhere = comma.is_none() && braces.commas.len() >= index;
    if comma_elsewhere || !begins_line(text, braces, before.start) || !ends_line(text, end) {
        return Splices::new().insert(before.end, format!(", {new}"));
    }
    let (indent, newline) = (indent(text, before.start), newline(text, end));
    let at = line_end(text, end);
    match comma {
        Some(_) => Splices::new().insert(at, format!("{indent}{new},{newline}")),
        None => Splices::new().insert(before.end, ",").insert(at, format!("{indent}{new}{newline}")),
    }
}

/// Takes an item out of a list or inline table, with one comma.
pub(super) fn remove_item(text: &str, braces: &Braces, index: usize) -> Splices {
    let item = braces.items[index].clone();
    let alone = begins_line(text, braces, item.start);
    if let Some(comma) = braces.commas.get(index).copied() {
        if comma_behind(text, braces, index).is_none() {
            return Splices::new().remove(item).remove(comma..comma + 1);
        }
        let end = comma + 1;
        if alone && ends_line(text, end) {
            return Splices::new().remove(line_start(text, item.start)..line_end(text, end));
        }
        return Splices::new().remove(item.start..end + blanks(text, end));
    }
    let own_line = alone && ends_line(text, item.end);
    let range = if own_line {
        line_start(text, item.start)..line_end(text, item.end)
    } else {
        item.start..item.end + blanks(text, item.end)
    };
    // The last one: a list may keep the comma before it, an inline table may not.
    match index.checked_sub(1).map(|before| braces.commas[before]) {
        None => Splices::new().remove(range),
        Some(_) if own_line && !braces.is_table => Splices::new().remove(range),
        Some(comma) if is_blank(&text[comma + 1..item.start]) => Splices::new().remove(comma..item.end),
        Some(comma) => Splices::new().remove(comma..comma + 1).remove(range),
    }
}

/// Returns the whole lines that a range touches, the last line break included.
pub(super) fn lines_of(text: &str, range: Range<usize>) -> Range<usize> {
    line_start(text, range.start)..line_end(text, range.end)
}

/// Takes whole lines out; at the end of a text without a final line break the one before goes, so that there still is none.
pub(super) fn remove_lines(text: &str, lines: Range<usize>) -> Splices {
    let is_open = lines.end == text.len() && !text.ends_with('\n');
    let above = &text[..lines.start];
    let cut = match above.strip_suffix('\n').filter(|_| is_open) {
        Some(above) => above.strip_suffix('\r').unwrap_or(above).len(),
        None => lines.start,
    };
    Splices::new().remove(cut..lines.end)
}

/// Puts whole lines, written without a line break at their end, behind the line that `at` lies in.
pub(super) fn insert_lines(text: &str, at: usize, lines: &str) -> Splices {
    insert_above(text, line_end(text, at), lines)
}

/// Puts whole lines, written without a line break at their end, where a line begins or the text ends.
pub(super) fn insert_above(text: &str, at: usize, lines: &str) -> Splices {
    let newline = newline(text, at);
    if at == text.len() && !text.is_empty() && !text.ends_with('\n') {
        return Splices::new().insert(at, format!("{newline}{lines}"));
    }
    Splices::new().insert(at, format!("{lines}{newline}"))
}

/// Returns where the comment of the line that `at` ends in goes on below, in lines that hold nothing but a `#` at the same
/// column; the end of the line itself where it does not.
pub(super) fn comment_end(text: &str, at: usize) -> usize {
    let rest = text[at..line_end(text, at)].trim_start_matches([' ', '\t']);
    let own_end = at + text[at..].find('\n').unwrap_or(text.len() - at);
    if !rest.starts_with('#') {
        return own_end;
    }
    let column = |at: usize| text[line_start(text, at)..at].chars().count();
    let sign = line_end(text, at) - rest.len();
    let mut end = own_end;
    loop {
        let next = line_end(text, end);
        if next <= end || next >= text.len() {
            return end;
        }
        let below = next + blanks(text, next);
        if !text[below..].starts_with('#') || below == next || column(below) != column(sign) {
            return end;
        }
        end = below + text[below..].find('\n').unwrap_or(text.len() - below);
    }
}

/// Returns where the comments end that follow the line of `at` without an empty line between, if an empty line or the end of
/// the text comes behind them: then they belong to what stands above. Else the end of the line itself.
pub(super) fn own_comments_end(text: &str, at: usize) -> usize {
    let line_of = |at: usize| text[at..line_end(text, at)].trim();
    let own_end = at + text[at..].find('\n').unwrap_or(text.len() - at);
    let mut end = own_end;
    loop {
        let next = line_end(text, end);
        if next <= end || next >= text.len() || line_of(next).is_empty() {
            return end;
        }
        if !line_of(next).starts_with('#') {
            return own_end;
        }
        end = next + text[next..].find('\n').unwrap_or(text.len() - next);
    }
}
