//! What a real Proxmox VE was seen to answer, held against the lab that stands for it.
//!
//! The recordings and the official schema lie beside the project and are not part of it; where they are absent, each test says so.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod compare;
mod lab;
mod recordings;
mod schema;
mod stage;
