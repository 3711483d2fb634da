//! What must be right before the first guest is touched: the findings of `doctor`, and what a run refuses because of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is checked, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The manifest can be read.
    Manifest,
    /// The environment variables hold credentials.
    Credentials,
    /// The API's certificate is one that is trusted.
    Tls,
    /// The SSH host key is one that is known.
    HostKey,
    /// The API answers and takes the token.
    Api,
    /// The version of Proxmox VE is one that is known here.
    Version,
    /// API and SSH lead to the same node.
    Identity,
    /// The token has the privileges that the configured run needs.
    Privileges,
    /// The login on the node is root, or becomes it without a password.
    Root,
    /// The cluster has quorum and all its nodes.
    Cluster,
    /// The suites of the repositories are those of the release that runs.
    Suites,
    /// The repositories answer.
    Repositories,
    /// There is room where upgrades and backups need it.
    Space,
    /// The pools that hold guests have room for snapshots.
    Pools,
    /// `dpkg --audit` is clean and nothing holds its lock.
    Dpkg,
    /// The upgrade would not remove what makes the node a node.
    Removals,
    /// No backup is running.
    Backups,
    /// Packages that are held back.
    Held,
    /// Whether the node wants a reboot.
    Reboot,
    /// Whether proxmaint runs on this node or in one of its guests.
    Here,
}

impl Check {
    /// Names the check for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Credentials => "credentials",
            Self::Tls => "tls",
            Self::HostKey => "host-key",
            Self::Api => "api",
            Self::Version => "version",
            Self::Identity => "identity",
            Self::Privileges => "privileges",
            Self::Root => "root",
            Self::Cluster => "cluster",
            Self::Suites => "suites",
            Self::Repositories => "repositories",
            Self::Space => "space",
            Self::Pools => "pools",
            Self::Dpkg => "dpkg",
            Self::Removals => "removals",
            Self::Backups => "backups",
            Self::Held => "held",
            Self::Reboot => "reboot",
            Self::Here => "here",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; a run goes on.
    Warn,
    /// A run does not touch the host.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// How it came out.
    pub level: Level,
    /// What was found: a lowercase fragment.
    pub what: String,
    /// What to do about it; may hold commands, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Makes a finding that is as it should be.
    pub fn ok(check: Check, what: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, what: what.into(), remedy: None }
    }

    /// Makes a finding that is worth knowing.
    pub fn warn(check: Check, what: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, what: what.into(), remedy: None }
    }

    /// Makes a finding for which a run does not touch the host.
    pub fn fail(check: Check, what: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, what: what.into(), remedy: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
