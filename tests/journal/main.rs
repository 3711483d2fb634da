//! The journal on a real file system: batches, crashes, decay, locks and modes.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod archive;
mod batches;
mod commands;
mod crash;
mod rot;
mod state;
mod support;
