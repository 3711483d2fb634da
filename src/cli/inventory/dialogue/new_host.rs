//! Hosts that the manifest does not have yet: asked for, looked at, and added to the draft.

use super::End;
use crate::cli::inventory::hosts::index_of;
use crate::cli::reach;
use crate::cli::terminal::{Answered, Left, Remark};
use crate::cli::wizard::{Desk, identity, saving, test_host};
use crate::ids::HostId;
use crate::manifest::{Credentials, HostEntry};

/// Which hosts an inventory is about.
#[derive(Default)]
pub(super) struct Named {
    /// Their names; none means all.
    pub(super) names: Vec<String>,
    /// Those of them whose host keys the operator does not vouch for: nothing must be learnt of these.
    pub(super) strangers: Vec<String>,
}

/// Asks for what is needed of hosts that the manifest does not have, and adds them.
///
/// # Errors
/// The dialogue was left.
pub(super) fn ask_unknown(desk: &mut Desk<'_>, named: &[String]) -> Result<Named, End> {
    let mut all = Named::default();
    if named.is_empty() && desk.draft.document.hosts().is_empty() {
        desk.terminal.remark(Remark::Info, "the manifest has no host yet: it begins with the first")?;
        add(desk, "", &mut all)?;
    }
    for name in named {
        if index_of(&desk.draft.document, &HostId::new(name.as_str())).is_some() {
            all.names.push(name.clone());
            continue;
        }
        desk.terminal.remark(Remark::Info, &format!("the manifest has no host {name}: it is added"))?;
        add(desk, name, &mut all)?;
    }
    Ok(all)
}

/// Adds a host, and gets to know it: its certificate and its host key. Esc leads from these back to what it is.
fn add(desk: &mut Desk<'_>, address: &str, all: &mut Named) -> Result<(), End> {
    let before = desk.draft.document.clone();
    loop {
        let identity = identity::ask(desk, address)?;
        let name = identity.name.clone().unwrap_or_else(|| identity.host.clone());
        if !desk.edit(|document| document.add_host(&identity.settings()).map(|_spot| ()))? {
            continue;
        }
        for variable in [&identity.token_env, &identity.secret_env] {
            desk.tell_variable(variable)?;
        }
        match get_to_know(desk, &name) {
            Ok(is_known) => {
                if !is_known {
                    all.strangers.push(name.clone());
                }
                all.names.push(name);
                return Ok(());
            }
            Err(Left::Back) => desk.replace(before.clone()),
            Err(left) => return Err(left.into()),
        }
    }
}

/// Shows what a host shows of itself; returns whether its host key may be relied on.
fn get_to_know(desk: &mut Desk<'_>, name: &str) -> Answered<bool> {
    let id = HostId::new(name);
    let entry = desk.draft.manifest().ok().and_then(|manifest| manifest.host(&id).cloned());
    let (Some(index), Some(entry)) = (index_of(&desk.draft.document, &id), entry) else {
        // What is wrong with the manifest is told when it is read the next time.
        return Ok(false);
    };
    Ok(test_host::make_known(desk, index, &entry)?.is_some_and(|known| known.host_key))
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
