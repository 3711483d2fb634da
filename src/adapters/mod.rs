//! The real world behind the engine's ports: the Proxmox VE API, SSH, package managers.

pub mod ssh;
