//! The Proxmox VE API adapter: what it asks, how it reads answers and errors, and whom it trusts.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod acts;
mod agent;
mod canned;
mod certificate;
mod errors;
mod fixtures;
mod looks;
mod over_agent;
mod recorded;
mod schema;
mod server;
mod shared;
mod survey;
mod tls;
mod wire;
