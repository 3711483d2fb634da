//! Adapters: the engine's ports, implemented for real hosts. Only `cli` builds them.

pub mod clock;
pub mod outside;
pub mod packages;
pub mod pve;
pub mod remote;
pub mod ssh;
