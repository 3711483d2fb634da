//! The HTTPS API of Proxmox VE.
//!
//! From the engine's side to the wire: [`client`] implements [`crate::engine::port::Pve`]; what each method asks for and what
//! the answer means stands in a file for each topic (`cluster`, `guests`, `migration`, `snapshots`, `tasks`, `storage`,
//! `node`, `ceph`, [`agent`]); [`fault`] says what an error answer means; `fields` reads answers tolerantly; [`transport`] is the seam where
//! a call leaves, which a simulated world implements as well; [`http`] is the real transport, [`tls`] decides whether the
//! other side may be trusted, and [`certificate`] looks at what it shows without a judgement.
//!
//! Nothing here retries: whether a call is repeated is decided once, in the engine, by the class of the fault.

pub mod agent;
mod ceph;
pub mod certificate;
pub mod client;
mod cluster;
pub mod fault;
mod fields;
mod guests;
pub mod http;
mod migration;
mod node;
mod snapshots;
mod storage;
mod tasks;
pub mod tls;
pub mod transport;
