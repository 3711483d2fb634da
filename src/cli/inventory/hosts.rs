//! Which hosts an inventory is about; one that the manifest does not have is added to it.

use std::io;

use tokio::runtime::Runtime;

use crate::adapters::pve::certificate::inspect_certificate;
use crate::cli::args::Places;
use crate::cli::connect;
use crate::cli::diagnostics::Failure;
use crate::cli::draft::Draft;
use crate::cli::exit_code::Exit;
use crate::cli::manifest::write_error;
use crate::cli::policy::Selection;
use crate::ids::HostId;
use crate::manifest::edit::{Document, Identity};
use crate::manifest::{HostEntry, Manifest};
use crate::observe::sanitize::clean;

use super::script::no_place;

/// Returns which of the document's hosts has that name.
pub(super) fn index_of(document: &Document, id: &HostId) -> Option<usize> {
    document.hosts().iter().position(|host| host == id.as_str())
}

/// Reads the draft as a run would, or prints what is wrong with it. Where there is no file and no host is named, that is what
/// is wrong.
///
/// # Errors
/// How the program ends.
pub(super) fn manifest(draft: &Draft, named: &[String], places: &Places) -> Result<Manifest, Exit> {
    if !draft.existed() && named.is_empty() {
        let loaded = crate::cli::load_manifest(&places.config);
        tell!("hint: `proxmaint inventory --host NAME` begins one, and so does `proxmaint wizard`");
        return loaded;
    }
    draft.manifest().map_err(|error| {
        // A closed stderr leaves only the exit code to tell of the failure.
        let _written = write_error(&error, &mut io::stderr().lock());
        Exit::Config
    })
}

/// Returns the entries of the hosts that are meant: all where none is named.
///
/// # Errors
/// A name that the manifest does not have.
pub(super) fn selected<'a>(manifest: &'a Manifest, named: &[String]) -> Result<Vec<&'a HostEntry>, Failure> {
    let selection = Selection { hosts: named.to_vec(), max_hosts: None };
    selection.of(manifest).map_err(|error| {
        let known = format!("the manifest has: {}", error.known.join(", "));
        Failure::new(Exit::Usage, error).hint(known)
    })
}

/// Adds the hosts that the manifest does not have, by the names that are suggested for their variables. Nobody is asked: a
/// certificate that is not trusted is refused.
///
/// # Errors
/// As it says; or nobody is there, or the file has no place for the host.
pub(super) fn add_unknown(draft: &mut Draft, named: &[String], runtime: &Runtime) -> Result<(), Failure> {
    let mut added = Vec::new();
    for name in named {
        if index_of(&draft.document, &HostId::new(name.as_str())).is_some() {
            continue;
        }
        let identity = Identity::suggested(None, name.clone());
        draft.document.add_host(&identity.settings()).map_err(|error| no_place(&error))?;
        let Identity { token_env, secret_env, .. } = identity;
        tell!("{} is added, with its token in the variables {token_env} and {secret_env}", clean(name));
        added.push(name);
    }
    // What is wrong with it is told when it is read the next time.
    let Ok(manifest) = draft.manifest() else { return Ok(()) };
    let is_new = |entry: &&HostEntry| added.iter().any(|name| *name == entry.id.as_str());
    manifest.hosts.iter().filter(is_new).try_for_each(|entry| runtime.block_on(must_be_trusted(entry)))
}

/// Refuses a host whose certificate nobody vouches for: no token is sent to it.
async fn must_be_trusted(entry: &HostEntry) -> Result<(), Failure> {
    let trust = connect::trust(&entry.api.trust());
    let look = inspect_certificate(&entry.host, entry.api.port, &trust).await;
    let look = look.map_err(|fault| Failure::of_fault(Exit::Failed, fault))?;
    let Err(why) = look.verdict else { return Ok(()) };
    let text = format!("{}: the certificate {} is not trusted: {why}", entry.id, look.fingerprint);
    Err(Failure::new(Exit::Failed, text)
        .hint("compare the fingerprint with what the node itself says")
        .hint(format!("then: proxmaint manifest add-host {} api.fingerprint={}", entry.id, look.fingerprint)))
}
