//! The HTTPS API of Proxmox VE.
//!
//! From the engine's side to the wire: [`client`] turns each method of [`crate::engine::port::Pve`] into calls and their
//! answers into plain data; [`fault`] says what an error answer means; `fields` reads answers tolerantly; [`transport`] is
//! the seam where a call leaves, which a simulated world implements as well; [`http`] is the real transport and [`tls`]
//! decides whether the other side may be trusted.
//!
//! Nothing here retries: whether a call is repeated is decided once, in the engine, by the class of the fault.

pub mod certificate;
pub mod client;
pub mod fault;
mod fields;
pub mod http;
pub mod tls;
pub mod transport;
