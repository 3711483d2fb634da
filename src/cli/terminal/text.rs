//! Questions for a text.

use std::cell::RefCell;
use std::rc::Rc;

use super::look::beside_bar;
use super::{Answered, Terminal};
use crate::observe::sanitize::clean;

/// A check of a text that says what is wrong with it, at each key.
type TextCheck = Rc<dyn Fn(&str) -> Result<(), String>>;

/// A question for a text, made step by step and asked by [`Text::ask`].
pub struct Text<'a> {
    terminal: &'a Terminal,
    question: String,
    placeholder: Option<String>,
    default: Option<String>,
    optional: bool,
    check: Option<TextCheck>,
}

impl Terminal {
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
        self.check = Some(Rc::new(check));
        self
    }

    /// Asks. Where the operator was about to leave and stays, what was typed is there again.
    ///
    /// # Errors
    /// The question was left.
    pub fn ask(self) -> Answered<String> {
        let typed = Rc::new(RefCell::new(String::new()));
        self.terminal.asked(|| {
            let before = typed.take();
            if !before.is_empty() {
                self.terminal.keyboard.retype(&before);
            }
            self.prompt(Rc::clone(&typed)).interact()
        })
    }

    /// Returns the prompt, which keeps what is typed by now.
    fn prompt(&self, typed: Rc<RefCell<String>>) -> cliclack::Input {
        let mut input = cliclack::input(beside_bar(&self.question)).required(!self.optional);
        if let Some(text) = &self.placeholder {
            input = input.placeholder(&clean(text));
        }
        if let Some(text) = &self.default {
            input = input.default_input(text);
        }
        let may_be_empty = self.optional || self.default.is_some();
        let check = self.check.clone();
        input.validate_interactively(move |text: &String| {
            typed.replace(text.clone());
            match &check {
                Some(check) if !(text.is_empty() && may_be_empty) => {
                    check(text).map_err(|wrong| clean(&wrong).into_owned())
                }
                _ => Ok(()),
            }
        })
    }
}
