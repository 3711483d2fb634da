//! The program itself, from its command line to its exit code, against the lab's real HTTPS and SSH on loopback.
//!
//! Every test has a lab and a directory of its own. What is asserted is what an operator can see: the exit code, what is
//! printed, and what the world's ledger says was really asked for.
#![expect(clippy::disallowed_methods, reason = "these tests run the program and look again until something is so")]

mod acquaint;
mod cluster;
mod doctor;
mod errors;
mod faults;
mod fit;
mod health;
mod held;
mod identity;
mod interrupt;
mod inventory;
mod kills;
mod last_run;
mod lease;
mod logs;
mod output;
mod own;
mod plan;
mod policy;
mod power;
mod protection;
mod quorum;
mod reboot;
mod restore;
mod rollback;
mod run;
mod secrets;
mod selection;
mod snapshots;
mod state;
mod support;
mod terminal;
mod ways;
mod wizard;
