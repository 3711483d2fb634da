//! The state machine: pure transition tables from (state, event) to (state, effects).

pub mod outcome;
