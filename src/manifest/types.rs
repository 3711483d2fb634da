//! The manifest as the rest of the program sees it: every default filled in, every path made absolute, no choices left.
//!
//! Connection facts (addresses, users, keys, arguments, pins, names of variables) are read anew by every run. Nothing in
//! here is written to the journal, and nothing secret can be printed: a password is a [`SecretString`].

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::choices::Canary;
use crate::ids::{GuestId, GuestKind, HostId, NodeName};

use super::fingerprint::Fingerprint;
use super::problem::Problem;
use super::ssh_args::SshArgs;
use super::wanted::{GuestEntry, Wanted};

/// A manifest that was read and found valid.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read from: the canonical path, which is the identity of the state kept beside it.
    pub path: PathBuf,
    /// What `[defaults]` says about runs as a whole.
    pub defaults: Defaults,
    /// The hosts, in the order of the file; at least one, all names different.
    pub hosts: Vec<HostEntry>,
    /// What was odd but not wrong: probable misspellings, values without effect.
    pub warnings: Vec<Problem>,
}

impl Manifest {
    /// Returns the directory that the manifest lies in, to which its relative paths belong.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Returns the entry of that name.
    pub fn host(&self, id: &HostId) -> Option<&HostEntry> {
        self.hosts.iter().find(|entry| entry.id == *id)
    }
}

/// Settings of `[defaults]` that belong to a run and not to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// `canary`: who goes first; all go together where it is empty.
    pub canary: Vec<Canary>,
    /// `soak`: how long canaries are left alone.
    pub soak: Duration,
    /// `max_failures`: how much may fail before a run halts.
    pub max_failures: Option<u32>,
    /// `resume_within`: how old an unfinished run may be and still be gone on with.
    pub resume_within: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { canary: Vec::new(), soak: Duration::ZERO, max_failures: None, resume_within: Self::RESUME_WITHIN }
    }
}

impl Defaults {
    /// `resume_within` where the manifest has none: a day, so that a nightly run goes on with the one of the night before.
    pub const RESUME_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
}

/// One host to keep patched: a `[[hosts]]` entry with the defaults merged in.
#[derive(Debug, Clone)]
pub struct HostEntry {
    /// `name`, or `host` where no name is given.
    pub id: HostId,
    /// `host`: the DNS name or the IP address (without brackets) of the node, for SSH and the API alike.
    pub host: String,
    /// How the node is reached over SSH.
    pub ssh: SshOptions,
    /// How guests are reached over SSH, where an entry of the inventory says nothing else.
    pub guest_ssh: SshOptions,
    /// How the node's API is reached.
    pub api: ApiOptions,
    /// `max_parallel`: how many guests are worked on at a time.
    pub max_parallel: NonZeroU32,
    /// `dry_run`: whether this host is only ever planned for.
    pub dry_run: bool,
    /// `protect.max_age`: how old a guest's protection may be when its upgrade begins.
    pub protect_max_age: Duration,
    /// What is wanted done.
    pub wanted: Wanted,
    /// `[[hosts.guests]]`: what holds for single guests; of two that say something of one guest, the later one counts.
    pub guests: Vec<GuestEntry>,
    /// `guest_inventory`, where there is one.
    pub inventory: Option<GuestInventory>,
    /// Keys of the entry that mean nothing here, as dotted paths in the order of the file. Their values are not kept.
    pub unknown_keys: Vec<String>,
}

impl HostEntry {
    /// `max_parallel` where the manifest has none.
    pub const MAX_PARALLEL: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
    /// `protect.max_age` where the manifest has none.
    pub const PROTECT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

    /// Returns what the inventory says about a guest.
    pub fn guest(&self, kind: GuestKind, id: GuestId) -> Option<&InventoryEntry> {
        self.inventory.as_ref()?.entry(kind, id)
    }

    /// Returns what the inventory says about a guest whose kind is not known: no two guests of a cluster share a vmid.
    pub fn listed(&self, id: GuestId) -> Option<&InventoryEntry> {
        self.guest(GuestKind::Vm, id).or_else(|| self.guest(GuestKind::Ct, id))
    }

    /// Returns the rules of that very guest, the one that counts most first.
    pub fn rules_of(&self, id: GuestId) -> impl Iterator<Item = &GuestEntry> {
        self.guests.iter().rev().filter(move |rule| rule.id() == Some(id))
    }
}

/// How a machine is reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshOptions {
    /// `user`: the login of the manifest; see [`SshOptions::login`] for the one that is used.
    pub user: String,
    /// `identity_file`: the private key of the manifest, absolute.
    pub identity_file: Option<PathBuf>,
    /// `ssh_extra_args`: the words, as `ssh` would get them.
    pub extra_args: Vec<String>,
    /// What these words mean.
    pub parsed: SshArgs,
    /// `password_env`: the environment variable that holds the password.
    pub password_env: Option<String>,
}

impl SshOptions {
    /// `user` where the manifest has none.
    pub const USER: &'static str = "root";
    /// The port where no argument names one.
    pub const PORT: u16 = 22;

    /// Returns the login to use.
    ///
    /// The command line that the arguments were written for is `ssh -i IDENTITY_FILE ARGS.. USER@HOST`, and OpenSSH takes
    /// the first user that it meets: `-l` or `-o User` among the arguments wins over the key `user`.
    pub fn login(&self) -> &str {
        self.parsed.user.as_deref().unwrap_or(&self.user)
    }

    /// Returns the port to use.
    pub fn port(&self) -> u16 {
        self.parsed.port.unwrap_or(Self::PORT)
    }

    /// Returns the private keys to offer, in order: `identity_file` first, then those of the arguments, none twice.
    pub fn identity_files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = Vec::new();
        for file in self.identity_file.iter().chain(&self.parsed.identity_files) {
            if !files.contains(&file.as_path()) {
                files.push(file);
            }
        }
        files
    }

    /// Tells whether the manifest says anything at all about this login: a user other than the one built in, a key, a
    /// password or arguments.
    pub fn is_given(&self) -> bool {
        self.login() != Self::USER
            || self.identity_file.is_some()
            || self.password_env.is_some()
            || !self.extra_args.is_empty()
    }

    /// Tells whether the user's own keys (`~/.ssh/id_*`) may be offered: only where no key is named, as OpenSSH does.
    pub fn offers_default_identities(&self) -> bool {
        self.identity_file.is_none() && self.parsed.identity_files.is_empty() && !self.parsed.no_default_identities
    }
}

/// How the API of a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiOptions {
    /// `api.node`: the node's name in its cluster, where it is fixed.
    pub node: Option<NodeName>,
    /// `api.port`.
    pub port: u16,
    /// `api.insecure`: whether any certificate is accepted where there is nothing to check it against; see
    /// [`ApiOptions::trust`].
    pub insecure: bool,
    /// `api.ca_file`: PEM file of the authorities that may have issued the certificate, absolute.
    pub ca_file: Option<PathBuf>,
    /// `api.fingerprint`: the certificate that the node must show.
    pub fingerprint: Option<Fingerprint>,
    /// `api.token_env`: the environment variable that holds `USER@REALM!TOKENID`.
    pub token_env: String,
    /// `api.secret_env`: the environment variable that holds the token's secret.
    pub secret_env: String,
}

impl ApiOptions {
    /// `api.port` where the manifest has none.
    pub const PORT: u16 = 8006;

    /// Returns how the node's certificate is judged: a pin before a CA file, and either before `insecure`, which may have
    /// been meant for other hosts; so whoever names something to check against gets it checked.
    pub fn trust(&self) -> ApiTrust<'_> {
        match (self.fingerprint, self.ca_file.as_deref(), self.insecure) {
            (Some(pin), _, _) => ApiTrust::Pinned(pin),
            (None, Some(file), _) => ApiTrust::CaFile(file),
            (None, None, true) => ApiTrust::Unverified,
            (None, None, false) => ApiTrust::SystemRoots,
        }
    }
}

/// How the certificate of an API is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ApiTrust<'a> {
    /// It must be exactly the one with this fingerprint.
    Pinned(Fingerprint),
    /// It must be issued by an authority of this PEM file, for this host.
    CaFile(&'a Path),
    /// It must be issued by an authority that the system trusts, for this host.
    SystemRoots,
    /// It is not judged; whoever uses this warns about it.
    Unverified,
}

/// What was written down about a host's guests (`guest_inventory`), by an earlier inventory or by hand.
#[derive(Debug, Clone)]
pub struct GuestInventory {
    /// `version` of its shape: 1.
    pub version: u32,
    /// `ssh_public_key`: the public key that was put into the guests.
    pub ssh_public_key: Option<String>,
    /// `updated_at`, as written.
    pub updated_at: Option<String>,
    /// `entries`, in the order of the file.
    pub entries: Vec<InventoryEntry>,
}

impl GuestInventory {
    /// Returns the first entry for that guest.
    pub fn entry(&self, kind: GuestKind, id: GuestId) -> Option<&InventoryEntry> {
        self.entries.iter().find(|entry| entry.kind == kind && entry.id == id)
    }
}

/// One guest of a [`GuestInventory`].
#[derive(Debug, Clone)]
pub struct InventoryEntry {
    /// `kind`: `vm` or `ct`.
    pub kind: GuestKind,
    /// `id`: its vmid.
    pub id: GuestId,
    /// `name`.
    pub name: Option<String>,
    /// `status`, as it was when the entry was written.
    pub status: Option<String>,
    /// `ip`, as written: a hint where it may be reached over SSH, never taken on trust.
    pub ip: Option<String>,
    /// `user`: the login, where it differs from the host's `guest_user`.
    pub user: Option<String>,
    /// `managed`: declared as ours (`true`) or to be left alone (`false`); `None` where nothing is said.
    pub managed: Option<bool>,
    /// `ssh_verified`: whether a login had worked.
    pub ssh_verified: Option<bool>,
    /// `ssh_key_path`: the private key that worked, absolute.
    pub ssh_key_path: Option<PathBuf>,
    /// `last_checked`, as written.
    pub last_checked: Option<String>,
    /// `password_env`: the environment variable that holds the password.
    pub password_env: Option<String>,
    /// `password`: read so that it can be used, never shown, never serialised.
    pub password: Option<SecretString>,
    /// `notes`.
    pub notes: Option<String>,
}

impl InventoryEntry {
    /// `status` of a guest that was not found any more.
    pub const GONE: &str = "gone";

    /// Tells whether the guest was not found any more.
    pub fn is_gone(&self) -> bool {
        self.status.as_deref() == Some(Self::GONE)
    }

    /// Tells whether the guest is to be left alone.
    pub fn is_excluded(&self) -> bool {
        self.managed == Some(false)
    }
}
