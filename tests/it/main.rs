//! What holds for the program as a whole: its architecture and its state machine's tables.

mod architecture;
mod tables;
