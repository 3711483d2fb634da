//! Hosts that the manifest does not have yet: asked for, looked at, and added to the draft.

use super::End;
use crate::cli::inventory::hosts::index_of;
use crate::cli::reach;
use crate::cli::terminal::Remark;
use crate::cli::wizard::{Desk, identity, saving};
use crate::ids::HostId;
use crate::manifest::{Credentials, HostEntry};

/// Asks for what is needed of hosts that the manifest does not have, and adds them. Returns the names of those that the inventory is
/// about: none means all.
///
/// # Errors
/// The dialogue was left.
pub(super) fn ask_unknown(desk: &mut Desk<'_>, named: &[String]) -> Result<Vec<String>, End> {
    if named.is_empty() && desk.draft.document.hosts().is_empty() {
        let text = "the manifest has no host yet: it begins with the first";
        desk.terminal.remark(Remark::Info, text)?;
        return Ok(vec![add(desk, "")?]);
    }
    let mut names = Vec::new();
    for name in named {
        if index_of(&desk.draft.document, &HostId::new(name.as_str())).is_some() {
            names.push(name.clone());
            continue;
        }
        desk.terminal.remark(Remark::Info, &format!("the manifest has no host {name}: it is added"))?;
        names.push(add(desk, name)?);
    }
    Ok(names)
}

/// Adds a host, and gets to know it: its certificate and its host key.
fn add(desk: &mut Desk<'_>, address: &str) -> Result<String, End> {
    let identity = identity::ask(desk, address)?;
    let name = identity.name.clone().unwrap_or_else(|| identity.host.clone());
    if !desk.edit(|document| document.add_host(&identity.settings()).map(|_spot| ()))? {
        return Err(End::Exit(crate::cli::exit_code::Exit::Config));
    }
    for variable in [&identity.token_env, &identity.secret_env] {
        desk.tell_variable(variable)?;
    }
    Ok(name)
}

/// Looks up the variables of these hosts. Where one of a new host is missing, what was entered may be saved before it ends.
///
/// # Errors
/// One is missing, or the dialogue was left.
pub(super) fn credentials(desk: &mut Desk<'_>, entries: &[&HostEntry]) -> Result<Credentials, End> {
    let missing = match reach::credentials(entries, desk.redactor) {
        Ok(credentials) => return Ok(credentials),
        Err(failure) => failure,
    };
    if desk.draft.is_changed() {
        desk.terminal.remark(Remark::Warn, &missing.error.to_string())?;
        if let Some(saved) = saving::save(desk)? {
            desk.terminal.remark(Remark::Good, &saved)?;
        }
    }
    Err(missing.into())
}
