//! proxmaint: keeps fleets of Proxmox VE hosts patched, resumably.

pub mod cli;
pub mod adapters;
pub mod engine;
pub mod ids;
pub mod inventory;
pub mod machine;
pub mod plan;
pub mod manifest;
pub mod time;
