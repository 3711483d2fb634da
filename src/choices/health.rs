//! What an operator may have a guest asked before and after its upgrade, to know whether it still does its work.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One check of a guest (`checks`), with no choices left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What it is called; no two checks of a guest have the same name.
    pub name: String,
    /// What is asked.
    pub ask: Ask,
    /// How often it is asked again after it failed (`retries`), at most [`HealthCheck::MOST_RETRIES`].
    pub retries: u32,
    /// The pause before each of these, in milliseconds (`every`), at most [`HealthCheck::LONGEST_EVERY_MS`].
    pub every_ms: u64,
    /// How long an answer is waited for, in milliseconds (`timeout`), at most [`HealthCheck::LONGEST_TIMEOUT_MS`].
    pub timeout_ms: u64,
}

impl HealthCheck {
    /// How many checks a guest may have. At worst all of them fail slowly: connections are asked side by side, commands one
    /// after the other, so 16 commands of 30 s with two retries take 25 minutes, and nobody waits for that by accident.
    pub const MOST: usize = 16;
    /// `retries` where nothing is said.
    pub const RETRIES: u32 = 2;
    /// The most retries.
    pub const MOST_RETRIES: u32 = 10;
    /// `every` where nothing is said: 2 s, twice, is what a service needs that has just been restarted.
    pub const EVERY_MS: u64 = 2_000;
    /// The longest `every`.
    pub const LONGEST_EVERY_MS: u64 = 60_000;
    /// `timeout` where nothing is said.
    pub const TIMEOUT_MS: u64 = 10_000;
    /// The longest `timeout`.
    pub const LONGEST_TIMEOUT_MS: u64 = 120_000;

    /// Tells whether it can't be made without an address of the guest.
    pub fn needs_address(&self) -> bool {
        match &self.ask {
            Ask::Tcp { host, .. } => host.is_none(),
            Ask::Http { url, .. } => url.contains(ADDRESS),
            Ask::Command { .. } => false,
        }
    }
}

/// What stands for the guest's address in the URL of a check.
pub const ADDRESS: &str = "{address}";

/// What a check asks. Connections are made from where proxmaint runs; a command runs in the guest, as root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Whether somebody accepts a connection.
    Tcp {
        /// The port.
        port: u16,
        /// The name or address to connect to; `None` for the guest's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// What a web server answers to a GET.
    Http {
        /// The address of the page; [`ADDRESS`] in it stands for the guest's.
        url: String,
        /// The statuses that are well; any from 200 to 299 where empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        status: Vec<u16>,
        /// What the page must contain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Whether any certificate will do.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        insecure: bool,
        /// How many redirects are followed.
        #[serde(default, skip_serializing_if = "is_zero")]
        redirects: u8,
    },
    /// How a command ends.
    Command {
        /// The line, for `/bin/sh`.
        line: String,
        /// The exit status that is well.
        exit: u8,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &u8) -> bool {
    *count == 0
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { port, host: None } => write!(f, "tcp {port}"),
            Self::Tcp { port, host: Some(host) } if host.contains(':') => write!(f, "tcp [{host}]:{port}"),
            Self::Tcp { port, host: Some(host) } => write!(f, "tcp {host}:{port}"),
            Self::Http { url, .. } => write!(f, "http {url}"),
            Self::Command { line, .. } => write!(f, "command {line}"),
        }
    }
}

/// All that it says, but for what is built in: what two checks differ in shows.
impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ask = self.ask.to_string();
        if ask != self.name {
            write!(f, "{}: ", self.name)?;
        }
        f.write_str(&ask)?;
        match &self.ask {
            Ask::Http { status, text, insecure, redirects, .. } => {
                if !status.is_empty() {
                    let all: Vec<String> = status.iter().map(u16::to_string).collect();
                    write!(f, ", status {}", all.join(" or "))?;
                }
                if let Some(text) = text {
                    write!(f, ", with {text:?}")?;
                }
                if *insecure {
                    f.write_str(", any certificate")?;
                }
                if *redirects > 0 {
                    write!(f, ", up to {redirects} redirects")?;
                }
            }
            Ask::Command { exit, .. } if *exit != 0 => write!(f, ", exit {exit}")?,
            Ask::Tcp { .. } | Ask::Command { .. } => {}
        }
        if self.retries != Self::RETRIES {
            write!(f, ", {} retries", self.retries)?;
        }
        if self.every_ms != Self::EVERY_MS {
            write!(f, ", every {} ms", self.every_ms)?;
        }
        if self.timeout_ms != Self::TIMEOUT_MS {
            write!(f, ", timeout {} ms", self.timeout_ms)?;
        }
        Ok(())
    }
}
