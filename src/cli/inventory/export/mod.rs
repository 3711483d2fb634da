//! Writes what the manifest knows of hosts and guests for other programs.
//!
//! `known` gathers it, with a name for each machine that is its own (`names`); `login` says how each is logged in to, which
//! is the same as what a run would do. `json`, `ansible` and `ssh_config` write it down. No secret is written: of a
//! password only the variable that holds it.

mod ansible;
mod json;
mod known;
mod login;
mod names;
mod ssh_config;
#[cfg(test)]
mod tests;

use crate::cli::args::Export;
use crate::ids::HostId;
use crate::manifest::Manifest;

/// Writes these hosts (all where none is named) of a manifest.
pub(super) fn text(manifest: &Manifest, hosts: &[HostId], format: Export) -> String {
    let mut known = known::hosts(manifest);
    known.retain(|host| hosts.is_empty() || hosts.contains(&host.entry.id));
    match format {
        Export::Json => json::text(&known),
        Export::Ansible => ansible::text(&known),
        Export::SshConfig => ssh_config::text(&known),
    }
}
