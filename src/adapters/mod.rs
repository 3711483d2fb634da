//! Adapters: the engine's ports, implemented for real hosts.

pub mod packages;
pub mod remote;
