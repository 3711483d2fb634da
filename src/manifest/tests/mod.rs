//! Tests of the manifest's parts; those on whole files and on what is printed are in `tests/manifest`.

mod checks;
mod guests;
mod keys;
mod rules;
mod secret;
mod source;
mod ssh_args;

use std::ffi::OsString;
use std::path::Path;

use super::{Manifest, ManifestError};

/// An environment with a home directory and nothing else.
pub(super) fn home(name: &str) -> Option<OsString> {
    (name == "HOME").then(|| OsString::from("/home/op"))
}

/// Reads a manifest that lies in `/etc/fleet`.
pub(super) fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(Path::new("/etc/fleet/proxmox-hosts.toml"), text.as_bytes(), &home)
}

/// Reads a manifest that must be valid.
pub(super) fn valid(text: &str) -> Manifest {
    parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}
