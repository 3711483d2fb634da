//! Replication jobs: a guest's volumes copied to another node, again and again.

use serde::{Deserialize, Serialize};

/// A replication job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// The guest.
    pub guest: u32,
    /// Its number among the guest's jobs.
    pub number: u32,
    /// The node that it copies to.
    pub target: String,
    /// When it runs (`*/15`).
    pub schedule: String,
    /// Whether it is switched off.
    pub disabled: bool,
}

impl Replication {
    /// Returns its identifier (`101-0`).
    pub fn id(&self) -> String {
        format!("{}-{}", self.guest, self.number)
    }
}
