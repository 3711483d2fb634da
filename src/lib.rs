//! proxmaint: keeps fleets of Proxmox VE hosts patched, resumably.

pub mod cli;
pub mod engine;
pub mod ids;
pub mod inventory;
pub mod machine;
pub mod observe;
pub mod plan;
pub mod time;
