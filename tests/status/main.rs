//! What people and programs are shown: status in every state, plans, progress, reports, JSON and help.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod progress;
mod reports;
mod states;
mod world;
