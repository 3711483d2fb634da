//! What reaches out of the process: implementations of the engine's ports for real hosts.

pub mod pve;
//! The real world behind the engine's ports: the Proxmox VE API, SSH, package managers.

pub mod ssh;
//! Adapters: the engine's ports, implemented for real hosts.

pub mod packages;
pub mod remote;
