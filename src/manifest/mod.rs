//! The manifest: which hosts there are, how they are reached, and what is allowed there.

mod fingerprint;
mod jump;
mod paths;
mod problem;
mod secret;
mod source;
mod ssh_args;
mod types;

pub use fingerprint::{Fingerprint, FingerprintError};
pub use jump::{JumpError, JumpHost, MAX_HOPS};
pub use paths::PathError;
pub use problem::{ManifestError, Place, Problem, Severity};
pub use secret::{ApiToken, CredentialError, CredentialErrors, CredentialFault, Credentials, HostCredentials, Purpose};
pub use ssh_args::{HostKeyPolicy, KEYWORDS, SshArgs, SshArgsError};
pub use types::{ApiOptions, ApiTrust, Defaults, GuestInventory, HostEntry, InventoryEntry, Manifest, SshOptions};

use std::ffi::OsString;

/// Looks up a variable of the environment: `&|name| std::env::var_os(name)` in the program, a table in tests.
pub type Env<'a> = dyn Fn(&str) -> Option<OsString> + 'a;
