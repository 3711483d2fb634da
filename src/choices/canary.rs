//! Who goes first in a run: a host wholly, or guests by a selector.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::selector::{Selector, SelectorError, Traits, selects};
use crate::ids::HostId;

/// An entry of `canary`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Canary {
    /// A host with all that is to be done there.
    Host(HostId),
    /// Guests.
    Guests {
        /// The host that they are on; every host where it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostId>,
        /// Which guests.
        who: Selector,
    },
}

/// A text that names no canary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanaryError {
    /// Before the slash stands no host.
    #[error("there is no host `{0}`")]
    NoSuchHost(String),
    /// It is no host, and no selector either.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

impl Canary {
    /// What can be written, for messages.
    pub const HELP: &'static str =
        "write the name of a host, a guest of a host (pve1/104), or a selector of guests (tag:canary)";

    /// Reads an entry: the name of a host goes before a selector, since a guest can still be named with `name:`.
    ///
    /// # Errors
    /// A host that is none; a text that is no selector.
    pub fn read(text: &str, is_host: impl Fn(&str) -> bool) -> Result<Self, CanaryError> {
        if is_host(text) {
            return Ok(Self::Host(HostId::new(text)));
        }
        let Some((host, who)) = text.rsplit_once('/') else {
            return Ok(Self::Guests { host: None, who: text.parse()? });
        };
        match is_host(host) {
            true => Ok(Self::Guests { host: Some(HostId::new(host)), who: who.parse()? }),
            false => Err(CanaryError::NoSuchHost(host.to_owned())),
        }
    }

    /// Tells whether it may select guests of a host.
    pub fn concerns(&self, host: &HostId) -> bool {
        match self {
            Self::Host(named) => named == host,
            Self::Guests { host: named, .. } => named.as_ref().is_none_or(|named| named == host),
        }
    }

    /// Returns the selector by which it selects guests of a host.
    pub fn selector_of(&self, host: &HostId) -> Option<&Selector> {
        match self {
            Self::Guests { who, .. } if self.concerns(host) => Some(who),
            Self::Guests { .. } | Self::Host(_) => None,
        }
    }

    /// Tells whether it selects a guest of a host, the other entries apart.
    pub fn matches(&self, host: &HostId, guest: &Traits<'_>) -> bool {
        self.selector_of(host).is_some_and(|who| selects(std::slice::from_ref(who), guest))
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "{host}"),
            Self::Guests { host: Some(host), who } => write!(f, "{host}/{who}"),
            Self::Guests { host: None, who } => write!(f, "{who}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_goes_before_a_selector() {
        let read = |text| Canary::read(text, |name| name == "pve1");
        assert_eq!(read("pve1"), Ok(Canary::Host(HostId::new("pve1"))));
        for text in ["pve1/104", "pve1/tag:canary", "tag:canary", "name:pve1", "web-*", "!104"] {
            let canary = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(matches!(canary, Canary::Guests { .. }), "{text}");
        }
        assert_eq!(read("pve2/104"), Err(CanaryError::NoSuchHost("pve2".to_owned())));
        assert!(read("pve1/").is_err() && read("colour:red").is_err());
    }
}
