//! The ways to some hosts of the manifest, for commands that reach hosts and are no `run`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use super::args::Places;
use super::connect::ManifestHosts;
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::run::{allow_many_connections, register_secrets, warn};
use crate::manifest::Manifest;
use crate::manifest::{Credentials, HostEntry};
use crate::observe::log::Redactor;

/// Makes the ways to these hosts, with their credentials; nothing is connected to yet.
///
/// # Errors
/// A variable with a credential that is missing.
pub(super) fn ways(
    manifest: &Manifest,
    entries: &[&HostEntry],
    places: &Places,
    redactor: &Redactor,
) -> Result<Arc<ManifestHosts>, Failure> {
    let credentials = credentials(entries, redactor)?;
    warn(manifest, entries);
    Ok(ways_with(entries, &credentials, places))
}

/// Looks up every variable that these hosts name; what they hold is told to nobody from then on.
///
/// # Errors
/// A variable that is missing.
pub(super) fn credentials(entries: &[&HostEntry], redactor: &Redactor) -> Result<Credentials, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let credentials = Credentials::resolve(entries.iter().copied(), &env).map_err(|error| {
        Failure::new(Exit::Usage, error).hint("set the variables, then try again; nothing was touched")
    })?;
    register_secrets(redactor, entries, &credentials);
    Ok(credentials)
}

/// Makes the ways to these hosts with credentials that are known.
pub(super) fn ways_with(entries: &[&HostEntry], credentials: &Credentials, places: &Places) -> Arc<ManifestHosts> {
    allow_many_connections();
    let known_hosts = known_hosts(places);
    Arc::new(ManifestHosts::new(entries.iter().copied(), credentials, known_hosts))
}

/// Returns the file into which host keys are learnt.
pub(super) fn known_hosts(places: &Places) -> PathBuf {
    places.state_dir().join("known_hosts")
}

/// Makes what asynchronous work is done on.
///
/// # Errors
/// Where the system gives no threads.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Bug, error))
}

/// Tells whether there is somebody to ask.
pub(super) fn may_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
