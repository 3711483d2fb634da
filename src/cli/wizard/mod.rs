//! `proxmaint wizard`: makes and edits the manifest in the terminal, question by question.

use super::args::{Places, WizardArgs};
use super::diagnostics::Failure;
use super::draft::Draft;
use super::exit_code::Exit;
use super::terminal::{Answered, Left, Remark, Terminal};
use crate::manifest::edit::{Document, EditError};
use crate::observe::log::Redactor;

/// What a dialogue works with.
pub(super) struct Desk<'a> {
    pub(super) terminal: Terminal,
    pub(super) draft: Draft,
    pub(super) places: &'a Places,
    pub(super) redactor: &'a Redactor,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Desk<'_> {
    /// Makes edits, all or none; says why where one is refused. Returns whether they were made.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn edit(&mut self, edits: impl FnOnce(&mut Document) -> Result<(), EditError>) -> Answered<bool> {
        let mut next = self.draft.document.clone();
        if let Err(error) = edits(&mut next) {
            self.terminal.remark(Remark::Bad, &format!("{error}; {}", error.hint()))?;
            return Ok(false);
        }
        self.replace(next);
        Ok(true)
    }

    /// Puts another document in place of the present one; Ctrl-C asks from then on where something would be lost.
    pub(super) fn replace(&mut self, document: Document) {
        self.draft.document = document;
        self.terminal.set_unsaved(self.draft.is_changed());
    }
}

/// Takes Esc for an answer: within a menu it leads back to that menu.
///
/// # Errors
/// The dialogue was left for good.
pub(super) fn unless_back<T>(answer: Answered<T>) -> Answered<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Left::Back) => Ok(None),
        Err(left) => Err(left),
    }
}

/// Runs `proxmaint wizard`.
///
/// # Errors
/// There is nobody to ask, or the manifest can't be read or saved.
pub fn wizard(places: &Places, args: &WizardArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let _ = (places, args, redactor);
    Err(Failure::new(Exit::Bug, "not there yet"))
}
