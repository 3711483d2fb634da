//! The engine: commits to the journal, then acts.

pub mod observer;
pub mod port;
