//! The operator at the keyboard: questions, answers, and what is said between them.
//!
//! Every question is answered, or left by Esc (one step back) or Ctrl-C (out of it all, asked again where something would be
//! lost). Everything goes to stderr: stdout is for data.
//!
//! `keyboard` has the terminal itself, `keys` and `feed` tell the keys apart; what prompts look like is in `look`.

mod feed;
mod keyboard;
mod keys;
mod list;
mod look;
mod text;
mod work;

use std::cell::Cell;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal};

use secrecy::SecretString;

use self::keyboard::Keyboard;
use self::keys::Cancel;
use self::look::{beside_bar, clean_lines, note_lines};
pub use self::text::Text;
pub use self::work::Progress;
use crate::observe::style::dumb_terminal;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Esc: one step back.
    Back,
    /// Ctrl-C, and nothing is to be lost by it or the operator has agreed to that.
    Quit,
    /// There is nobody to ask any more.
    Gone(String),
}

/// An answer, or why there is none.
pub type Answered<T> = Result<T, Left>;

/// One of several possible answers.
#[derive(Debug, Clone)]
pub struct Choice<T> {
    /// What it stands for.
    pub value: T,
    /// How it is called.
    pub label: String,
    /// What is said of it where it is the one that would be taken.
    pub hint: String,
}

impl<T> Choice<T> {
    /// Makes a choice.
    pub fn new(value: T, label: impl Display, hint: impl Display) -> Self {
        Self { value, label: label.to_string(), hint: hint.to_string() }
    }
}

/// What kind of remark something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// News.
    Info,
    /// Something came out well.
    Good,
    /// Something to look at.
    Warn,
    /// Something went wrong.
    Bad,
}

/// A terminal with somebody at it, held until this is dropped. It is to be the last thing that a program does: signals that would
/// end the program have no effect after it (while it is there they end the dialogue, with [`Left::Gone`]).
pub struct Terminal {
    keyboard: Keyboard,
    /// Whether Ctrl-C would lose something.
    unsaved: Cell<bool>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("unsaved", &self.unsaved).finish_non_exhaustive()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A prompt that panics leaves it hidden. A terminal that is gone needs it no more.
        let _shown = console::Term::stderr().show_cursor();
    }
}

/// How a question was left, where it has no answer.
enum Prompted<T> {
    Answer(T),
    Cancelled(Cancel),
}

impl Terminal {
    /// Takes the terminal; `None` where stdin or stderr is none, or it can't do what prompts need.
    pub fn open() -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() || dumb_terminal() {
            return None;
        }
        look::set();
        match Keyboard::take() {
            Ok(keyboard) => Some(Self { keyboard, unsaved: Cell::new(false) }),
            Err(error) => {
                tracing::warn!(%error, "the terminal can't be taken");
                None
            }
        }
    }

    /// Says whether leaving now would lose something: then Ctrl-C asks first.
    pub fn set_unsaved(&self, unsaved: bool) {
        self.unsaved.set(unsaved);
    }

    /// Opens the dialogue.
    ///
    /// # Errors
    /// There is nobody any more.
    pub fn intro(&self, title: &str) -> Answered<()> {
        self.say(|| cliclack::intro(clean_lines(title)))
    }

    /// Ends the dialogue.
    ///
    /// # Errors
    /// There is nobody any more.
    pub fn outro(&self, text: &str) -> Answered<()> {
        self.say(|| cliclack::outro(clean_lines(text)))
    }

    /// Says something in passing, in one line or several.
    ///
    /// # Errors
    /// There is nobody any more.
    pub fn remark(&self, kind: Remark, text: &str) -> Answered<()> {
        let text = beside_bar(text);
        self.say(|| match kind {
            Remark::Info => cliclack::log::info(text),
            Remark::Good => cliclack::log::success(text),
            Remark::Warn => cliclack::log::warning(text),
            Remark::Bad => cliclack::log::error(text),
        })
    }

    /// Shows a text of several lines, which may be coloured and must be clean of anything else.
    ///
    /// # Errors
    /// There is nobody any more.
    pub fn note(&self, title: &str, text: &str) -> Answered<()> {
        self.say(|| cliclack::note(clean_lines(title), note_lines(text)))
    }

    /// Returns how long a line of a note may be without being broken, in columns.
    pub fn note_columns(&self) -> u16 {
        look::note_columns()
    }

    /// Asks yes or no.
    ///
    /// # Errors
    /// The question was left.
    pub fn confirm(&self, question: &str, initial: bool) -> Answered<bool> {
        self.asked(|| cliclack::confirm(beside_bar(question)).initial_value(initial).interact())
    }

    /// Asks for a secret, which is not shown.
    ///
    /// # Errors
    /// The question was left.
    pub fn secret(&self, question: &str) -> Answered<SecretString> {
        self.asked(|| cliclack::password(beside_bar(question)).interact()).map(SecretString::from)
    }

    /// Asks until there is an answer or the question is left for good.
    fn asked<T>(&self, ask: impl Fn() -> io::Result<T>) -> Answered<T> {
        loop {
            match self.prompted(&ask)? {
                Prompted::Answer(answer) => return Ok(answer),
                Prompted::Cancelled(Cancel::Esc) => return Err(Left::Back),
                Prompted::Cancelled(Cancel::CtrlC) if self.gives_up()? => return Err(Left::Quit),
                Prompted::Cancelled(Cancel::CtrlC) => {}
            }
        }
    }

    /// Tells whether the operator leaves, whatever is lost by it.
    fn gives_up(&self) -> Answered<bool> {
        if !self.unsaved.get() {
            return Ok(true);
        }
        let question = "Leave without saving? What you changed is lost. (Ctrl-C again leaves)";
        let ask = || cliclack::confirm(beside_bar(question)).initial_value(false).interact();
        Ok(match self.prompted(&ask)? {
            Prompted::Answer(leave) => leave,
            Prompted::Cancelled(cancel) => cancel == Cancel::CtrlC,
        })
    }

    /// Asks until the operator answers or leaves the question.
    fn prompted<T>(&self, ask: &impl Fn() -> io::Result<T>) -> Answered<Prompted<T>> {
        loop {
            self.is_there()?;
            match ask() {
                Ok(answer) => return Ok(Prompted::Answer(answer)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if let Some(cancel) = self.keyboard.take_cancel() {
                        return Ok(Prompted::Cancelled(cancel));
                    }
                    // No key: a signal came, which means that nobody is there any more, or nothing.
                }
                Err(error) => return Err(self.gone(&error)),
            }
        }
    }

    fn say(&self, say: impl FnOnce() -> io::Result<()>) -> Answered<()> {
        self.is_there()?;
        say().map_err(|error| self.gone(&error))
    }

    fn is_there(&self) -> Answered<()> {
        self.keyboard.gone().map_or(Ok(()), |why| Err(Left::Gone(why)))
    }

    /// What an error of the terminal means; why it is gone is known better where the keyboard has noticed as well.
    fn gone(&self, error: &io::Error) -> Left {
        Left::Gone(self.keyboard.gone().unwrap_or_else(|| error.to_string()))
    }
}
