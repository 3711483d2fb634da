//! The commands, one file each. They build what they need, call it, and print; everything else is below them.

pub mod args;
pub mod connect;
pub mod diagnostics;
pub mod exit_code;
pub mod manifest;
pub mod policy;
pub mod state;
