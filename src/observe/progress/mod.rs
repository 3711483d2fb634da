//! Progress of a run for people, on standard error: bars on a terminal, plain lines with times elsewhere.

pub mod bars;
pub mod narrator;
pub mod plain;

use std::io::{self, IsTerminal};
use std::sync::Arc;

use super::log::Redactor;
use super::style::{Paint, dumb_terminal};
use crate::engine::observer::Observer;
use crate::engine::port::Clock;
use crate::machine::host::HostState;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line for each active host, redrawn in place.
    Bars,
    /// A line for each thing that happens, with its time.
    Plain,
}

impl Style {
    /// Chooses by where standard error goes: bars need a terminal that can move its cursor.
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() && !dumb_terminal() { Self::Bars } else { Self::Plain }
    }
}

/// Shows how the work goes on.
pub trait Progress: Observer {
    /// Takes note of how hosts stood before a run was gone on with, so that what was over then counts as over.
    fn recall(&self, hosts: &mut dyn Iterator<Item = &HostState>);

    /// Takes the bars away and writes what is still to be written. What is seen afterwards is not shown.
    fn finish(&self);
}

/// Starts showing progress on standard error, secrets blotted out.
///
/// # Errors
/// Where the system gives no thread to write from.
pub fn start(style: Style, verbose: bool, clock: Arc<dyn Clock>, redactor: &Redactor) -> io::Result<Box<dyn Progress>> {
    let paint = Paint::for_stream(&io::stderr());
    Ok(match style {
        Style::Bars => {
            Box::new(bars::Bars::start(indicatif::ProgressDrawTarget::stderr(), verbose, paint, redactor.clone())?)
        }
        Style::Plain => Box::new(plain::Plain::start(redactor.wrap(io::stderr()), verbose, paint, clock)?),
    })
}
