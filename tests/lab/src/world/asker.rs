//! Who asks for a change, and how a change is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Token;

/// Who asks: a token over the API, or a user over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The user: `root@pam`, or `ssh:root`.
    pub user: String,
    /// The token's own name.
    pub token: Option<String>,
}

impl Asker {
    /// Names a token.
    pub fn token(token: &Token) -> Self {
        Self { user: token.user.clone(), token: Some(token.id.clone()) }
    }

    /// Names a user who is logged in over SSH.
    pub fn ssh(user: &str) -> Self {
        Self { user: format!("ssh:{user}"), token: None }
    }

    /// Names the node's own root, as `pct` and `qm` on its command line act.
    pub fn root() -> Self {
        Self { user: "root@pam".to_owned(), token: None }
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some(token) => write!(f, "{}!{token}", self.user),
            None => f.write_str(&self.user),
        }
    }
}

/// Why a change was refused at once: the text that the API answers with status 500.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
