//! The command line: what is asked for, and how the answer is shown. The only place where everything is put together.

pub mod args;
pub mod diagnostics;
pub mod exit_code;
pub mod status;
