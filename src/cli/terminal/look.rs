//! What prompts look like: colour, marks, and what fits.

use cliclack::{StringCursor, Theme, ThemeState};
use console::{Emoji, Style, Term, measure_text_width, style, truncate_str};

use crate::observe::sanitize::clean;
use crate::observe::style::colour_welcome;

/// Where the cursor is in a list with boxes.
const POINTER: Emoji<'_, '_> = Emoji("❯", ">");
const BOX_TICKED: Emoji<'_, '_> = Emoji("◼", "[+]");
const BOX_EMPTY: Emoji<'_, '_> = Emoji("◻", "[ ]");
/// The cursor in a text, where it can't be shown by colour.
const BAR: Emoji<'_, '_> = Emoji("▏", "|");

/// What a prompt ends with, and what goes on below one that has ended.
const END: Emoji<'_, '_> = Emoji("└", "—");
const GOES_ON: Emoji<'_, '_> = Emoji("│", "|");

/// What a line of a choice has beside label and hint: bar, pointer, mark and the blanks between, and one column that stays free,
/// since some terminals go to the next line with the last one. In columns.
const EDGE: usize = 9;

/// A hint that would be shorter is left out. In columns.
const SHORTEST_HINT: usize = 8;

/// Sets for the whole program how prompts look.
pub(super) fn set() {
    let colour = colour_welcome();
    console::set_colors_enabled(colour);
    console::set_colors_enabled_stderr(colour);
    cliclack::set_theme(Look);
}

/// The usual look, but for what would be told by colour alone.
struct Look;

impl Theme for Look {
    fn checkbox_symbol(&self, state: &ThemeState, selected: bool, active: bool) -> String {
        if matches!(state, ThemeState::Submit | ThemeState::Cancel) {
            return String::new();
        }
        let pointer = if active { style(POINTER).cyan().to_string() } else { " ".to_owned() };
        let mark = if selected { style(BOX_TICKED).green() } else { style(BOX_EMPTY).dim() };
        format!("{pointer} {mark}")
    }

    // A question that was left by Esc is one step back, and nothing that failed: the dialogue simply goes on below it.
    fn format_footer_with_message(&self, state: &ThemeState, message: &str) -> String {
        let line = match state {
            ThemeState::Active => format!("{END}  {message}"),
            ThemeState::Error(wrong) => format!("{END}  {wrong}"),
            ThemeState::Submit | ThemeState::Cancel => GOES_ON.to_string(),
        };
        format!("{}\n", self.bar_color(state).apply_to(line))
    }

    fn cursor_with_style(&self, cursor: &StringCursor, new_style: &Style) -> String {
        let (left, at, right) = cursor.split();
        let (left, right) = (new_style.apply_to(left), new_style.apply_to(right));
        if console::colors_enabled() {
            format!("{left}{}{right}", style(at).reverse())
        } else {
            format!("{left}{BAR}{at}{right}")
        }
    }
}

/// How much the terminal shows, in rows and columns.
pub(super) struct Room {
    rows: usize,
    columns: usize,
}

impl Room {
    pub(super) fn of_terminal() -> Self {
        let (rows, columns) = Term::stderr().size();
        Self { rows: rows.into(), columns: columns.into() }
    }

    /// Returns how many choices fit below a question: it, a line to type in, one below the choices and the one with the cursor
    /// have to be on the screen as well. At least one.
    pub(super) fn rows(&self, question: &str) -> usize {
        let asked = beside_bar(question).lines().count() + 1;
        self.rows.saturating_sub(asked + 3).max(1)
    }

    /// Cuts label and hint of a choice to what fits on a line.
    pub(super) fn choice(&self, label: &str, hint: &str) -> (String, String) {
        let columns = self.columns.saturating_sub(EDGE).max(1);
        let label = fit(label, columns);
        // Brackets and a blank.
        let left = columns.saturating_sub(measure_text_width(&label) + 3);
        let hint = if left < SHORTEST_HINT { String::new() } else { fit(hint, left) };
        (label, hint)
    }

    /// Cuts what is said beside a spinner to one line.
    pub(super) fn beside_spinner(&self, text: &str) -> String {
        fit(text, self.columns.saturating_sub(4).max(1))
    }
}

fn fit(text: &str, columns: usize) -> String {
    truncate_str(&clean(text), columns, "…").into_owned()
}

/// Makes each line of a text harmless by itself.
pub(super) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// Makes a text harmless and breaks its lines between words, for where a bar is drawn beside them.
pub(super) fn beside_bar(question: &str) -> String {
    cliclack::termwrap(&clean_lines(question), 4)
}

/// What the frame of a note takes beside a line, in columns: one more than cliclack counts.
const FRAME: u16 = 7;

/// Breaks the lines of a note between words, so that its frame fits.
pub(super) fn note_lines(text: &str) -> String {
    cliclack::termwrap(text, FRAME)
}

/// Returns how long a line of a note may be, in columns.
pub(super) fn note_columns() -> u16 {
    Term::stderr().size().1.saturating_sub(FRAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_of_a_note_fits() {
        let columns = usize::from(Term::stderr().size().1);
        let text = format!("{}\n{}", "word ".repeat(columns), "AA:BB:CC:".repeat(columns));
        let note = Look.format_note("title", &note_lines(&text));
        let widest = note.lines().map(measure_text_width).max();
        assert!(widest <= Some(columns), "{widest:?} of {columns}:\n{note}");
    }

    #[test]
    fn lines_are_kept_and_what_is_in_them_is_made_harmless() {
        assert_eq!(clean_lines("a\nb\x1b[2J\r\nc"), "a\nb\\u{1b}[2J\nc");
    }

    #[test]
    fn a_choice_fits_on_a_line_of_any_terminal() {
        for columns in 0..200 {
            let room = Room { rows: 24, columns };
            let (label, hint) =
                room.choice("a label that is rather long", "a hint that says even more of it than that");
            let hint_columns = if hint.is_empty() { 0 } else { measure_text_width(&hint) + 3 };
            let taken = measure_text_width(&label) + hint_columns;
            assert!(taken <= columns.saturating_sub(EDGE).max(1), "{columns}: {label:?} {hint:?}");
        }
        let wide = Room { rows: 24, columns: 100 };
        assert_eq!(wide.choice("label", "hint"), ("label".to_owned(), "hint".to_owned()));
        assert_eq!(Room { rows: 24, columns: 14 }.choice("ウェブ", "").0, "ウェ…");
    }

    #[test]
    fn a_list_never_takes_more_rows_than_there_are_and_always_one() {
        for rows in 0..40 {
            let fitting = Room { rows, columns: 80 }.rows("one\ntwo");
            assert!(fitting == 1 || fitting + 2 + 3 < rows, "{rows}: {fitting}");
        }
    }
}
