//! The operator at the keyboard: questions, answers, and what is said between them.
//!
//! Every question is answered, or left by Esc (one step back) or Ctrl-C (out of it all, asked again where something would be
//! lost). Everything goes to stderr: stdout is for data.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, IsTerminal};

use secrecy::SecretString;

use crate::observe::sanitize::clean;

/// How many choices are shown at a time; the rest is scrolled to, or found by typing.
const ROWS: usize = 14;

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

/// A terminal with somebody at it.
#[derive(Debug)]
pub struct Terminal {
    /// Whether Ctrl-C would lose something.
    unsaved: Cell<bool>,
}

impl Terminal {
    /// Takes the terminal; `None` where stdin or stderr is none.
    pub fn open() -> Option<Self> {
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then(|| Self { unsaved: Cell::new(false) })
    }

    /// Says whether leaving now would lose something: then Ctrl-C asks first.
    pub fn set_unsaved(&self, unsaved: bool) {
        self.unsaved.set(unsaved);
    }

    /// Opens the dialogue.
    pub fn intro(&self, title: &str) -> Answered<()> {
        said(cliclack::intro(clean(title)))
    }

    /// Ends the dialogue.
    pub fn outro(&self, text: &str) -> Answered<()> {
        said(cliclack::outro(clean(text)))
    }

    /// Says something in passing.
    pub fn remark(&self, kind: Remark, text: &str) -> Answered<()> {
        let text = clean(text);
        said(match kind {
            Remark::Info => cliclack::log::info(text),
            Remark::Good => cliclack::log::success(text),
            Remark::Warn => cliclack::log::warning(text),
            Remark::Bad => cliclack::log::error(text),
        })
    }

    /// Shows a text of several lines, which may be coloured and must be clean of anything else.
    pub fn note(&self, title: &str, text: &str) -> Answered<()> {
        said(cliclack::note(clean(title), text))
    }

    /// Asks for one of several. `first` is the one that Enter takes.
    pub fn choose<T: Clone + Eq>(&self, question: &str, choices: &[Choice<T>], first: Option<&T>) -> Answered<T> {
        self.asked(|| {
            let mut select = cliclack::select(clean(question)).max_rows(ROWS);
            if choices.len() > ROWS {
                select = select.filter_mode();
            }
            for choice in choices {
                select = select.item(choice.value.clone(), clean(&choice.label), clean(&choice.hint));
            }
            if let Some(first) = first {
                select = select.initial_value(first.clone());
            }
            select.interact()
        })
    }

    /// Asks which of several; `ticked` are ticked already. None is an answer as well.
    pub fn choose_many<T: Clone + Eq>(&self, question: &str, choices: &[Choice<T>], ticked: &[T]) -> Answered<Vec<T>> {
        self.asked(|| {
            let mut select = cliclack::multiselect(clean(question)).max_rows(ROWS).required(false);
            for choice in choices {
                select = select.item(choice.value.clone(), clean(&choice.label), clean(&choice.hint));
            }
            select.initial_values(ticked.to_vec()).interact()
        })
    }

    /// Asks yes or no.
    pub fn confirm(&self, question: &str, initial: bool) -> Answered<bool> {
        self.asked(|| cliclack::confirm(clean(question)).initial_value(initial).interact())
    }

    /// Asks for a text; see [`Text`].
    pub fn text(&self, question: impl Into<String>) -> Text<'_> {
        Text {
            terminal: self,
            question: question.into(),
            placeholder: None,
            default: None,
            optional: false,
            check: None,
        }
    }

    /// Asks for a secret, which is not shown.
    pub fn secret(&self, question: &str) -> Answered<SecretString> {
        self.asked(|| cliclack::password(clean(question)).interact()).map(SecretString::from)
    }

    /// Waits for some work, and says so. Esc and Ctrl-C end it: it is dropped, and that is a step back.
    pub fn work<T>(&self, runtime: &tokio::runtime::Runtime, what: &str, work: impl Future<Output = T>) -> Answered<T> {
        let spinner = cliclack::spinner();
        spinner.start(clean(what));
        let done = runtime.block_on(work);
        spinner.clear();
        Ok(done)
    }

    /// Asks until there is an answer or the question is left for good.
    fn asked<T>(&self, ask: impl Fn() -> io::Result<T>) -> Answered<T> {
        match ask() {
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Left::Back),
            Err(error) => Err(Left::Gone(error.to_string())),
        }
    }
}

/// A check of a text that says what is wrong with it, at each key.
type TextCheck = std::rc::Rc<dyn Fn(&str) -> Result<(), String>>;

/// A question for a text, made step by step and asked by [`Text::ask`].
pub struct Text<'a> {
    terminal: &'a Terminal,
    question: String,
    placeholder: Option<String>,
    default: Option<String>,
    optional: bool,
    check: Option<TextCheck>,
}

impl Text<'_> {
    /// What is shown where nothing is typed yet.
    #[must_use]
    pub fn placeholder(mut self, text: impl Into<String>) -> Self {
        self.placeholder = Some(text.into());
        self
    }

    /// What Enter alone stands for.
    #[must_use]
    pub fn default(mut self, text: impl Into<String>) -> Self {
        self.default = Some(text.into());
        self
    }

    /// Nothing is an answer as well.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Checks what is typed while it is typed; nothing at all is not checked where it is an answer.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&str) -> Result<(), String> + 'static) -> Self {
        self.check = Some(std::rc::Rc::new(check));
        self
    }

    /// Asks.
    ///
    /// # Errors
    /// The question was left.
    pub fn ask(self) -> Answered<String> {
        self.terminal.asked(|| {
            let mut input = cliclack::input(clean(&self.question)).required(!self.optional);
            if let Some(text) = &self.placeholder {
                input = input.placeholder(&clean(text));
            }
            if let Some(text) = &self.default {
                input = input.default_input(text);
            }
            if let Some(check) = self.check.clone() {
                let may_be_empty = self.optional || self.default.is_some();
                input = input.validate_interactively(move |text: &String| match text.is_empty() && may_be_empty {
                    true => Ok(()),
                    false => check(text),
                });
            }
            input.interact()
        })
    }
}

fn said(result: io::Result<()>) -> Answered<()> {
    result.map_err(|error| Left::Gone(error.to_string()))
}
