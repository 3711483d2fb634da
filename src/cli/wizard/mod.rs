//! `proxmaint wizard`: makes and edits the manifest in the terminal, question by question.

use super::args::{Places, WizardArgs};
use super::diagnostics::Failure;
use super::draft::Draft;
use super::exit_code::Exit;
use super::terminal::Terminal;
use crate::observe::log::Redactor;

/// What a dialogue works with.
pub(super) struct Desk<'a> {
    pub(super) terminal: Terminal,
    pub(super) draft: Draft,
    pub(super) places: &'a Places,
    pub(super) redactor: &'a Redactor,
    pub(super) runtime: tokio::runtime::Runtime,
}

/// Runs `proxmaint wizard`.
///
/// # Errors
/// There is nobody to ask, or the manifest can't be read or saved.
pub fn wizard(places: &Places, args: &WizardArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let _ = (places, args, redactor);
    Err(Failure::new(Exit::Bug, "not there yet"))
}
