//! The journal on a real file system: batches, crashes, decay, locks and modes.

mod archive;
mod batches;
mod commands;
mod crash;
mod rot;
mod state;
mod support;
