//! The manifest from the outside: files as an operator has them, and what `manifest show` and `manifest check` say.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod broken;
mod edit;
mod edit_commands;
mod edit_property;
mod openssh;
mod reference;
mod show;

use std::ffi::OsString;
use std::path::Path;

use proxmaint::manifest::{Manifest, ManifestError};

/// An environment with a home directory and nothing else.
fn home(name: &str) -> Option<OsString> {
    (name == "HOME").then(|| OsString::from("/home/op"))
}

/// Reads a manifest that would lie in `/etc/fleet`.
fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    Manifest::parse(Path::new("/etc/fleet/proxmox-hosts.toml"), bytes, &home)
}
