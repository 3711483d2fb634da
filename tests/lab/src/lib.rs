//! The lab: a simulated Proxmox VE world with its HTTPS API and SSH, for tests and for the demo.
//!
//! It is an independent judge: it shares no code with the tool that it tests.

pub mod api;
pub mod faults;
pub mod ledger;
pub mod world;
