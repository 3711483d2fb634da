//! The Proxmox VE API adapter: what it asks, how it reads answers and errors, and whom it trusts.

mod canned;
mod errors;
mod fixtures;
mod recorded;
mod schema;
mod server;
mod shared;
mod tls;
mod wire;
