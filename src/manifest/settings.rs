//! The settings that `[defaults]` and `[[hosts]]` share: read from either, then merged.

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml_edit::TableLike;

use crate::ids::NodeName;

use super::choices::Choices;
use super::fingerprint::Fingerprint;
use super::hosts::variable;
use super::jump::is_host;
use super::keys::{self, Key};
use super::raw::{Found, Given, Reader};
use super::ssh_args::{self, SshArgs, is_login};
use super::types::SshOptions;

/// What one table says; `None` for what it leaves to the level below.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub ssh: SshSettings,
    pub guest_ssh: SshSettings,
    pub api_node: Option<NodeName>,
    pub api_port: Option<u16>,
    pub api_insecure: Option<bool>,
    pub api_ca_file: Option<PathBuf>,
    pub api_fingerprint: Option<Fingerprint>,
    pub max_parallel: Option<NonZeroU32>,
    pub dry_run: Option<bool>,
    pub protect_max_age: Option<Duration>,
    pub choices: Choices,
}

/// What one table says about SSH to the node, or to its guests.
#[derive(Debug, Clone, Default)]
pub(super) struct SshSettings {
    user: Option<String>,
    identity_file: Option<PathBuf>,
    extra_args: Option<ExtraArgs>,
    password_env: Option<String>,
}

/// Arguments as words, and their meaning.
#[derive(Debug, Clone, Default)]
struct ExtraArgs {
    words: Vec<String>,
    parsed: SshArgs,
}

impl SshSettings {
    fn read(
        reader: &mut Reader,
        table: &dyn TableLike,
        [user, identity_file, extra_args, password_env]: [&'static Key; 4],
    ) -> Self {
        Self {
            user: value(reader.pick(table, user, login)),
            identity_file: value(reader.pick(table, identity_file, Reader::path)),
            extra_args: value(reader.pick(table, extra_args, self::extra_args)),
            password_env: value(reader.pick(table, password_env, variable)),
        }
    }

    /// Fills in what the host leaves open, from the defaults and then from what is built in.
    pub(super) fn merge(&self, defaults: &Self) -> SshOptions {
        let ExtraArgs { words, parsed } =
            self.extra_args.as_ref().or(defaults.extra_args.as_ref()).cloned().unwrap_or_default();
        SshOptions {
            user: self.user.as_ref().or(defaults.user.as_ref()).map_or(SshOptions::USER, String::as_str).to_owned(),
            identity_file: self.identity_file.as_ref().or(defaults.identity_file.as_ref()).cloned(),
            extra_args: words,
            parsed,
            password_env: self.password_env.as_ref().or(defaults.password_env.as_ref()).cloned(),
        }
    }
}

impl Settings {
    pub(super) fn read(reader: &mut Reader, table: &dyn TableLike) -> Self {
        let ssh = [&keys::USER, &keys::IDENTITY_FILE, &keys::SSH_EXTRA_ARGS, &keys::PASSWORD_ENV];
        let guest_ssh =
            [&keys::GUEST_USER, &keys::GUEST_IDENTITY_FILE, &keys::GUEST_SSH_EXTRA_ARGS, &keys::GUEST_PASSWORD_ENV];
        Self {
            ssh: SshSettings::read(reader, table, ssh),
            guest_ssh: SshSettings::read(reader, table, guest_ssh),
            api_node: value(reader.pick(table, &keys::API_NODE, node)),
            api_port: value(reader.pick(table, &keys::API_PORT, Reader::port)),
            api_insecure: value(reader.pick(table, &keys::API_INSECURE, Reader::boolean)),
            api_ca_file: value(reader.pick(table, &keys::API_CA_FILE, Reader::path)),
            api_fingerprint: value(reader.pick(table, &keys::API_FINGERPRINT, fingerprint)),
            max_parallel: value(reader.pick(table, &keys::MAX_PARALLEL, |r, found| r.number(found, u32::MAX))),
            dry_run: value(reader.pick(table, &keys::DRY_RUN, Reader::boolean)),
            protect_max_age: value(reader.pick(table, &keys::PROTECT_MAX_AGE, Reader::duration)),
            choices: Choices::read(reader, table),
        }
    }
}

pub(super) fn value<T>(given: Option<Given<T>>) -> Option<T> {
    given.map(|given| given.value)
}

/// Reads a login.
pub(super) fn login(reader: &mut Reader, found: &Found<'_>) -> Option<String> {
    let user = reader.string(found)?;
    if is_login(&user) {
        return Some(user);
    }
    let message = format!("`{}` is no login: it must not hold blanks or begin with `-`", found.name);
    reader.error(found.span.clone(), message, &[]);
    None
}

fn node(reader: &mut Reader, found: &Found<'_>) -> Option<NodeName> {
    let name = reader.string(found)?;
    if is_host(&name) {
        return Some(NodeName::new(name));
    }
    let message = format!("`{}` is no name of a node", found.name);
    reader.error(found.span.clone(), message, &["write it as `hostname` on the node prints it"]);
    None
}

fn fingerprint(reader: &mut Reader, found: &Found<'_>) -> Option<Fingerprint> {
    let text = reader.string(found)?;
    match text.parse() {
        Ok(fingerprint) => Some(fingerprint),
        Err(error) => {
            let message = format!("`{}` is no SHA-256 fingerprint: {error}", found.name);
            let hint = "copy it from `pvenode cert info` on the node: 32 bytes as AA:BB:..";
            reader.error(found.span.clone(), message, &[hint]);
            None
        }
    }
}

/// Splits each item into words, as a shell would, and reads the words as `ssh` would.
fn extra_args(reader: &mut Reader, found: &Found<'_>) -> Option<ExtraArgs> {
    let mut words = Vec::new();
    let mut spans: Vec<Range<usize>> = Vec::new();
    for item in reader.strings(found)? {
        match shell_words::split(&item.value) {
            Ok(split) => {
                spans.extend(split.iter().map(|_| item.span.clone()));
                words.extend(split);
            }
            Err(_) => {
                let message = format!("a quote in `{}` is not closed", found.name);
                reader.error(item.span, message, &["quotes work as in a shell: \"-o 'Port 22'\""]);
            }
        }
    }
    if words.is_empty() {
        return None;
    }
    let (parsed, errors) = ssh_args::parse(&words, &reader.paths);
    for (index, error) in errors {
        reader.error(spans[index].clone(), format!("`{}`: {error}", found.name), &[&error.hint()]);
    }
    Some(ExtraArgs { words, parsed })
}
