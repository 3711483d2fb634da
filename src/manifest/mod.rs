//! The manifest: which hosts there are, how they are reached, and what is allowed there.
//!
//! [`Manifest::load`] reads `proxmox-hosts.toml`: `load` decodes and parses it, `hosts`, `settings`, `choices`, `rules` and
//! `guests` walk the tables with the help of `raw` (types and spellings) and `keys` (the one list of all keys), and whatever is wrong comes
//! out as a list of [`Problem`]s, each with its place in the file. Values fall through from the host to `[defaults]` to
//! what is built in; 0, `""` and `[]` count as not given. Relative paths belong to the manifest's directory, wherever the
//! program was started. [`Credentials`] are what the variables that a manifest names hold; they are looked up apart.

mod checks;
mod choices;
pub mod edit;
mod fingerprint;
mod guests;
mod hosts;
mod jump;
mod keys;
mod load;
mod paths;
mod problem;
mod raw;
mod reference;
mod rules;
mod secret;
mod settings;
mod source;
mod ssh_args;
mod types;
mod wanted;

pub use fingerprint::{Fingerprint, FingerprintError};
pub use jump::{JumpError, JumpHost, MAX_HOPS};
pub use paths::PathError;
pub use problem::{ManifestError, Place, Problem, Severity};
pub use reference::{guest_reference, host_reference};
pub use secret::{ApiToken, CredentialError, CredentialErrors, CredentialFault, Credentials, HostCredentials, Purpose};
pub use ssh_args::{HostKeyPolicy, KEYWORDS, SshArgs, SshArgsError};
pub use types::{ApiOptions, ApiTrust, Defaults, GuestInventory, HostEntry, InventoryEntry, Manifest, SshOptions};
pub use wanted::{Backup, GuestEntry, Keep, Wanted};

use std::ffi::OsString;

/// Looks up a variable of the environment: `&|name| std::env::var_os(name)` in the program, a table in tests.
pub type Env<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

#[cfg(test)]
mod tests;
