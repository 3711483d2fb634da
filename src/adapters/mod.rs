//! What reaches out of the process: implementations of the engine's ports for real hosts.

pub mod pve;
