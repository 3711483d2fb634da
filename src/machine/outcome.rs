//! How an effect ended: the vocabulary between the engine that acts and the machine that decides.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Classifies what went wrong, so that retry and doubt are decided by data and not by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    /// May go away by itself (a refused connection, a 502, a time-out before anything was sent).
    Transient,
    /// Will not go away by itself (a parameter refused, a task that failed, a command that exited non-zero).
    Permanent,
    /// Credentials were refused or lack a privilege.
    Auth,
    /// The other side is not who it should be: a host key, certificate or machine identity that does not match.
    Identity,
    /// It cannot be told whether the act was done: the answer was lost after the request went out.
    Ambiguous,
}

/// Says what went wrong, in words that an operator can act on. Journaled, so it holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The class.
    pub class: FaultClass,
    /// A lowercase fragment: what was tried and what the other side answered.
    pub what: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    /// Makes a fault of a class from a lowercase fragment.
    pub fn new(class: FaultClass, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), hint: None }
    }

    /// Makes a transient fault.
    pub fn transient(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Transient, what)
    }

    /// Makes a permanent fault.
    pub fn permanent(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Permanent, what)
    }

    /// Makes a fault of credentials.
    pub fn auth(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Auth, what)
    }

    /// Makes a fault of identity.
    pub fn identity(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Identity, what)
    }

    /// Makes an ambiguous fault.
    pub fn ambiguous(what: impl Into<String>) -> Self {
        Self::new(FaultClass::Ambiguous, what)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}
