//! What people and programs are shown: status in every state, plans, progress, reports, JSON and help.

mod progress;
mod reports;
mod states;
mod world;
