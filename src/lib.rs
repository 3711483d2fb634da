//! proxmaint: keeps fleets of Proxmox VE hosts patched, resumably.

pub mod adapters;
pub mod engine;
pub mod ids;
pub mod inventory;
pub mod machine;
pub mod time;
