//! How a guest does, as plain data: what failed in it, who listens, and what came of the operator's checks.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How a guest does at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Units that failed (systemd) and services that crashed (OpenRC); `None` where neither can be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_units: Option<BTreeSet<String>>,
    /// Who listens on which port; `None` where that can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<BTreeSet<Listener>>,
    /// What came of the checks, in the order of the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
}

/// A socket that waits for others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listener {
    /// By which protocol.
    pub protocol: Protocol,
    /// On which address.
    pub address: IpAddr,
    /// On which port.
    pub port: u16,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// Why it failed, at its last try; `None` where it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{} {address}:{}", self.protocol, self.port),
            IpAddr::V6(address) => write!(f, "{} [{address}]:{}", self.protocol, self.port),
        }
    }
}
