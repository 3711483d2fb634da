//! Colour for people: a handful of meanings, and the rule when there is none.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// Paints words, or leaves them as they are. Meaning never rests on colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// No colour.
    pub const fn plain() -> Self {
        Self { colour: false }
    }

    /// Colour, whatever the stream.
    pub const fn coloured() -> Self {
        Self { colour: true }
    }

    /// Colour where the stream is a terminal that can show it and the user has nothing against it.
    pub fn for_stream(stream: &impl IsTerminal) -> Self {
        Self { colour: stream.is_terminal() && colour_welcome() }
    }

    /// Tells whether there is colour.
    pub fn is_coloured(self) -> bool {
        self.colour
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Something that came out well.
    pub fn good(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    /// Something that failed or was blocked.
    pub fn bad(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    /// Something that needs the operator: held, in doubt.
    pub fn warn(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default().bold(), text)
    }

    /// Something at work, or advice.
    pub fn note(self, text: &str) -> String {
        self.paint(AnsiColor::Cyan.on_default(), text)
    }

    /// Something of less weight.
    pub fn faint(self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    /// A heading.
    pub fn strong(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
}

/// Tells whether the environment is without `NO_COLOR` (any value but an empty one) and the terminal not a dumb one.
pub fn colour_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !dumb_terminal()
}

/// Tells whether `TERM` says that the terminal can neither colour nor move its cursor.
pub fn dumb_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
