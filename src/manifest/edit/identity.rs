//! What a host must have of its own: how it is called, where it is, and the variables that hold its token.

use super::super::keys;
use super::{Scope, Setting, Value};

/// What no two hosts share, and no host can do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it is called; `None` where it is called like its address.
    pub name: Option<String>,
    /// Its DNS name or address.
    pub host: String,
    /// The variable that holds the token's name.
    pub token_env: String,
    /// The variable that holds the token's secret.
    pub secret_env: String,
}

impl Identity {
    /// Returns the identity of a host with suggested names of its variables.
    pub fn suggested(name: Option<String>, host: String) -> Self {
        let (token_env, secret_env) = suggested_variables(name.as_deref().unwrap_or(&host));
        Self { name, host, token_env, secret_env }
    }

    /// Returns the keys that say so, in the order in which they are written.
    pub fn settings(&self) -> Vec<(Setting, Value)> {
        let named = self.name.as_ref().map(|name| (&keys::NAME, name));
        let others = [
            (&keys::HOST, &self.host),
            (&keys::API_TOKEN_ENV, &self.token_env),
            (&keys::API_SECRET_ENV, &self.secret_env),
        ];
        let all = named.into_iter().chain(others);
        all.map(|(key, text)| (Setting::of_key(Scope::Host, key), Value::text(text))).collect()
    }
}

/// Suggests names of the variables that hold a host's token and its secret: `PVE1_TOKEN` and `PVE1_SECRET` for `pve1`.
pub fn suggested_variables(name: &str) -> (String, String) {
    (suggested_variable(name, "TOKEN"), suggested_variable(name, "SECRET"))
}

/// Suggests the name of a variable that holds something of a host: `PVE1_PASSWORD` for the `PASSWORD` of `pve1`.
pub fn suggested_variable(name: &str, what: &str) -> String {
    let short = if name.parse::<std::net::IpAddr>().is_ok() { name } else { name.split('.').next().unwrap_or(name) };
    let plain: String =
        short.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    // A shell takes no name that begins with a digit.
    let stem = match plain.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => plain,
        _ => format!("PVE_{plain}"),
    };
    format!("{stem}_{what}")
}
