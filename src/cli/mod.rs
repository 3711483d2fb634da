//! The commands, one file each. They build what they need, call it, and print; everything else is below them.

pub mod connect;
pub mod manifest;
pub mod policy;
pub mod state;
//! The command line: what is asked for, and how the answer is shown. The only place where everything is put together.

pub mod args;
pub mod diagnostics;
pub mod exit_code;
