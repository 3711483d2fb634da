//! What holds for the program as a whole: its architecture and its state machine's tables.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod architecture;
mod debts;
mod journals;
mod story;
mod tables;
