//! The commands, one file each. They build what they need, call it, and print; everything else is below them.

pub mod connect;
pub mod manifest;
pub mod policy;
pub mod state;
