//! Credentials: what the environment variables named in a manifest hold, gathered before anything is touched.
//!
//! The values are wrapped from the moment they are read; errors name hosts and variables, never a value.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::choices::ViaChoice;
use crate::ids::{GuestId, GuestKind, HostId};

use super::Env;
use super::types::{HostEntry, InventoryEntry};
use super::wanted::GuestEntry;

/// An API token of Proxmox VE.
#[derive(Debug, Clone)]
pub struct ApiToken {
    id: String,
    secret: SecretString,
}

impl ApiToken {
    /// Puts a token together from `USER@REALM!TOKENID` and its secret.
    pub fn new(id: impl Into<String>, secret: SecretString) -> Self {
        Self { id: id.into(), secret }
    }

    /// Returns `USER@REALM!TOKENID`: no secret, fit for a message.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the value of the header `Authorization`: `PVEAPIToken=USER@REALM!TOKENID=SECRET`.
    pub fn header(&self) -> SecretString {
        SecretString::from(format!("PVEAPIToken={}={}", self.id, self.secret.expose_secret()))
    }
}

/// The credentials of one host entry.
#[derive(Debug, Clone)]
pub struct HostCredentials {
    /// The token for its API.
    pub api: ApiToken,
    /// The password of the login on the node.
    pub node_password: Option<SecretString>,
    /// Passwords of guests that a rule has one for (`[[hosts.guests]]`).
    pub rule_passwords: BTreeMap<GuestId, SecretString>,
    /// Passwords of guests that the inventory has one for, by kind and vmid.
    pub guest_passwords: BTreeMap<(GuestKind, GuestId), SecretString>,
    /// The password of guests that have none of their own.
    pub default_password: Option<SecretString>,
}

impl HostCredentials {
    /// Returns the password of a guest: its rule's, else the inventory's, else that of all guests.
    pub fn guest(&self, id: GuestId) -> Option<&SecretString> {
        let listed = || [GuestKind::Vm, GuestKind::Ct].iter().find_map(|kind| self.guest_passwords.get(&(*kind, id)));
        self.rule_passwords.get(&id).or_else(listed).or(self.default_password.as_ref())
    }

    /// Returns every password.
    pub fn passwords(&self) -> impl Iterator<Item = &SecretString> {
        let of_guests = self.rule_passwords.values().chain(self.guest_passwords.values());
        of_guests.chain(&self.node_password).chain(&self.default_password)
    }
}

/// The credentials of all hosts of a run.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    hosts: BTreeMap<HostId, HostCredentials>,
}

impl Credentials {
    /// Looks up every variable that these hosts name.
    ///
    /// A guest's `password_env` goes before its `password`. Guests that are to be left alone, or that SSH is no way into,
    /// need none. A token variable may hold the whole `USER@REALM!TOKENID=SECRET`: its secret then serves where the other variable is not set.
    ///
    /// # Errors
    /// All that is missing or unusable, by host and variable. The program ends with exit code 2 on it.
    pub fn resolve<'a>(
        hosts: impl IntoIterator<Item = &'a HostEntry>,
        env: &Env<'_>,
    ) -> Result<Self, CredentialErrors> {
        let mut found = Self::default();
        let mut errors = Vec::new();
        for host in hosts {
            let api = api_token(host, env, &mut errors);
            let mut password = |variable: &Option<String>, purpose| {
                let variable = variable.as_ref()?;
                let fail =
                    |fault| CredentialError { host: host.id.clone(), variable: variable.clone(), purpose, fault };
                read(env, variable).map_err(|fault| errors.push(fail(fault))).ok()
            };
            let node_password = password(&host.ssh.password_env, Purpose::NodePassword);
            let by_default = host.guest_ssh.password_env.clone().filter(|_| default_is_needed(host));
            let default_password = password(&by_default, Purpose::GuestPasswords);
            let mut rule_passwords = BTreeMap::new();
            for (id, variable) in rule_variables(host) {
                let found = password(&Some(variable), Purpose::RulePassword(id));
                rule_passwords.extend(found.map(|password| (id, password)));
            }
            let guest_passwords = guest_passwords(host, env, &mut errors);
            if let Some(api) = api {
                let found_here =
                    HostCredentials { api, node_password, rule_passwords, guest_passwords, default_password };
                found.hosts.insert(host.id.clone(), found_here);
            }
        }
        if errors.is_empty() { Ok(found) } else { Err(CredentialErrors(errors)) }
    }

    /// Returns the credentials of a host that was among those resolved.
    pub fn host(&self, id: &HostId) -> Option<&HostCredentials> {
        self.hosts.get(id)
    }
}

/// Everything that is wrong with the variables that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(CredentialError::to_string).collect::<Vec<_>>().join("\n"))]
pub struct CredentialErrors(pub Vec<CredentialError>);

/// What is wrong with one variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host}: environment variable {variable} {fault} ({purpose})")]
pub struct CredentialError {
    /// The host whose entry names it.
    pub host: HostId,
    /// The variable.
    pub variable: String,
    /// What it is for.
    pub purpose: Purpose,
    /// What is wrong with it.
    pub fault: CredentialFault,
}

/// What a variable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `api.token_env`.
    ApiToken,
    /// `api.secret_env`.
    ApiSecret,
    /// `ssh.password_env`.
    NodePassword,
    /// `guest.password_env`.
    GuestPasswords,
    /// `password_env` of a rule.
    RulePassword(GuestId),
    /// `password_env` of a guest of the inventory.
    GuestPassword(GuestKind, GuestId),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiToken => f.write_str("named by api.token_env: USER@REALM!TOKENID"),
            Self::ApiSecret => f.write_str("named by api.secret_env: the token's secret"),
            Self::NodePassword => f.write_str("named by ssh.password_env: the password of the login on the node"),
            Self::GuestPasswords => f.write_str("named by guest.password_env: the password of the login in guests"),
            Self::RulePassword(id) => write!(f, "named by password_env of guest {id}"),
            Self::GuestPassword(kind, id) => write!(f, "named by password_env of {kind} {id}"),
        }
    }
}

/// What is wrong with a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialFault {
    /// It is not set.
    Missing,
    /// It is set to nothing, or to blanks.
    Empty,
    /// It is not UTF-8.
    NotText,
    /// Its value is not of the form that it should have.
    Malformed,
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "is not set",
            Self::Empty => "is empty",
            Self::NotText => "is not UTF-8 text",
            Self::Malformed => "does not hold what it should",
        })
    }
}

/// Reads a variable; blanks at its ends (a line's end from a file, mostly) don't count unless it is a password.
fn read(env: &Env<'_>, variable: &str) -> Result<SecretString, CredentialFault> {
    let value = env(variable).ok_or(CredentialFault::Missing)?;
    let value = value.into_string().map_err(|_| CredentialFault::NotText)?;
    if value.trim().is_empty() { Err(CredentialFault::Empty) } else { Ok(value.into()) }
}

fn api_token(host: &HostEntry, env: &Env<'_>, errors: &mut Vec<CredentialError>) -> Option<ApiToken> {
    let mut fail = |variable: &str, purpose, fault| {
        errors.push(CredentialError { host: host.id.clone(), variable: variable.to_owned(), purpose, fault });
    };
    let token = read(env, &host.api.token_env).and_then(|text| split_token(&text));
    let secret = read(env, &host.api.secret_env).and_then(|text| check_secret(&text));
    let (id, embedded) = match token {
        Ok((id, embedded)) => (Some(id), embedded),
        Err(fault) => {
            fail(&host.api.token_env, Purpose::ApiToken, fault);
            (None, None)
        }
    };
    let secret = match (secret, embedded) {
        (Ok(secret), _) | (Err(CredentialFault::Missing | CredentialFault::Empty), Some(secret)) => Some(secret),
        (Err(fault), _) => {
            fail(&host.api.secret_env, Purpose::ApiSecret, fault);
            None
        }
    };
    Some(ApiToken::new(id?, secret?))
}

/// Takes `[PVEAPIToken=]USER@REALM!TOKENID[=SECRET]` apart.
fn split_token(text: &SecretString) -> Result<(String, Option<SecretString>), CredentialFault> {
    let text = text.expose_secret().trim();
    let text = text.strip_prefix("PVEAPIToken=").unwrap_or(text);
    let (id, secret) = match text.split_once('=') {
        Some((id, secret)) => (id, Some(check_secret(&secret.to_owned().into())?)),
        None => (text, None),
    };
    let well_formed = id.split_once('!').is_some_and(|(user, token)| {
        let (name, realm) = user.rsplit_once('@').unwrap_or_default();
        !name.is_empty() && !realm.is_empty() && !token.is_empty()
    });
    if well_formed && is_header_text(id) { Ok((id.to_owned(), secret)) } else { Err(CredentialFault::Malformed) }
}

fn check_secret(text: &SecretString) -> Result<SecretString, CredentialFault> {
    let text = text.expose_secret().trim();
    if !text.is_empty() && is_header_text(text) { Ok(text.to_owned().into()) } else { Err(CredentialFault::Malformed) }
}

/// Tells whether a text may stand in a header: visible ASCII only.
fn is_header_text(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic())
}

/// Tells whether SSH may be the way into guests that are not said to have a password of their own.
fn default_is_needed(host: &HostEntry) -> bool {
    let rules = host.guests.iter().filter(|rule| rule.managed != Some(false)).filter_map(|rule| rule.via);
    std::iter::once(host.wanted.via).chain(rules).any(may_be_ssh)
}

fn may_be_ssh(via: ViaChoice) -> bool {
    matches!(via, ViaChoice::Auto | ViaChoice::Ssh)
}

/// Tells whether a guest may be worked on over SSH: it is not to be left alone, and no other way is fixed. A rule goes
/// before the inventory, and before what holds for all guests.
fn may_log_in(host: &HostEntry, id: GuestId) -> bool {
    let managed = host.rules_of(id).find_map(|rule| rule.managed);
    let is_left_alone = managed.or_else(|| host.listed(id)?.managed) == Some(false);
    let via = host.rules_of(id).find_map(|rule| rule.via).unwrap_or(host.wanted.via);
    !is_left_alone && may_be_ssh(via)
}

/// Returns the variables that rules name, of each guest the one that counts.
fn rule_variables(host: &HostEntry) -> BTreeMap<GuestId, String> {
    let ids = host.guests.iter().filter_map(GuestEntry::id).filter(|id| may_log_in(host, *id));
    ids.filter_map(|id| Some((id, host.rules_of(id).find_map(|rule| rule.password_env.clone())?))).collect()
}

fn guest_passwords(
    host: &HostEntry,
    env: &Env<'_>,
    errors: &mut Vec<CredentialError>,
) -> BTreeMap<(GuestKind, GuestId), SecretString> {
    let mut passwords = BTreeMap::new();
    let entries = host.inventory.iter().flat_map(|inventory| &inventory.entries);
    for InventoryEntry { kind, id, password_env, password, .. } in entries.filter(|entry| may_log_in(host, entry.id)) {
        let password = match password_env {
            Some(variable) => match read(env, variable) {
                Ok(password) => Some(password),
                Err(fault) => {
                    errors.push(CredentialError {
                        host: host.id.clone(),
                        variable: variable.clone(),
                        purpose: Purpose::GuestPassword(*kind, *id),
                        fault,
                    });
                    None
                }
            },
            None => password.clone(),
        };
        if let Some(password) = password {
            // The first entry of a guest counts, as everywhere.
            passwords.entry((*kind, *id)).or_insert(password);
        }
    }
    passwords
}
