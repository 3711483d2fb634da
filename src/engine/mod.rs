//! The engine: commits to the journal, then acts.

pub mod driver;
pub mod lease;
pub mod limits;
pub mod neighbours;
pub mod observer;
pub mod perform;
pub mod port;
pub(crate) mod wait;
