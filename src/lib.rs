//! proxmaint: keeps fleets of Proxmox VE hosts patched, resumably.

pub mod cli;
pub mod engine;
pub mod ids;
pub mod inventory;
pub mod journal;
pub mod machine;
pub mod time;
