//! Who the other side is: what is known of a host's keys, what to make of the key it shows, and learning new ones.
//!
//! Keys are looked for in the operator's files and in a file of proxmaint's own, the only one that is ever written.
//!
//! | what is known | `yes` | `accept-new` (default) | `no` |
//! |---|---|---|---|
//! | this very key | go on | go on | go on |
//! | nothing | refuse | learn it, go on | learn it, go on |
//! | another key | refuse | refuse | go on with a warning, but without password (as OpenSSH does) |
//! | that it is revoked | refuse | refuse | refuse (OpenSSH would go on) |
//!
//! A host of which only a key of another type is known counts as changed, where OpenSSH takes the new type's key for a
//! new one: else whoever sits in between need only offer a type that is not known. It is asked for the known types first.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyBase64};

use super::known_hosts::{Entry, Says, entries_for, name};
use super::{HostKeyError, SshError};

/// The host key algorithms in order of preference. `ssh-rsa`, signed with SHA-1, is not among them, as in OpenSSH since 8.8.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// What to do about a host whose key is not known (`StrictHostKeyChecking`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// Refuse it.
    Yes,
    /// Learn its key; refuse a host whose key has changed.
    #[default]
    AcceptNew,
    /// Learn its key; go on without password where it has changed.
    No,
}

/// Where host keys are looked up and learnt, and how strictly they are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeyPolicy {
    /// What to do about an unknown key.
    pub strict: Strictness,
    /// The operator's files (`UserKnownHostsFile`); those that do not exist are passed over. A first entry of `/dev/null`
    /// or `none` says that nothing is to be remembered: then the own file is neither read nor written.
    pub user_known_hosts: Vec<PathBuf>,
    /// The system's files (`GlobalKnownHostsFile`).
    pub global_known_hosts: Vec<PathBuf>,
    /// proxmaint's own file, in its state directory, into which keys are learnt.
    pub own_known_hosts: PathBuf,
}

impl HostKeyPolicy {
    /// Makes the default policy: `accept-new`, `~/.ssh/known_hosts`, `/etc/ssh/ssh_known_hosts` and the own file given.
    pub fn new(own_known_hosts: PathBuf) -> Self {
        Self {
            strict: Strictness::default(),
            user_known_hosts: std::env::home_dir().map(|home| home.join(".ssh/known_hosts")).into_iter().collect(),
            global_known_hosts: vec![PathBuf::from("/etc/ssh/ssh_known_hosts")],
            own_known_hosts,
        }
    }

    /// Tells whether keys are remembered at all.
    pub fn remembers(&self) -> bool {
        !matches!(self.user_known_hosts.first().and_then(|path| path.to_str()), Some("/dev/null" | "none"))
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.remembers().then_some(&self.own_known_hosts);
        self.user_known_hosts.iter().chain(&self.global_known_hosts).chain(own)
    }
}

/// One line that speaks of a host, and the file it stands in.
#[derive(Debug, Clone)]
struct Source {
    file: PathBuf,
    entry: Entry,
}

/// What is known of one host's keys.
#[derive(Debug, Clone)]
pub(super) struct Known {
    host: String,
    sources: Vec<Source>,
    /// Lines of the host without its port: they vouch for a key, but do not make another one wrong.
    portless: Vec<Source>,
}

/// What to do with the key that a host shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Decision {
    /// It is the known one.
    Trust,
    /// It is new: learn it once the key exchange has proved that the host has it.
    Learn,
    /// It has changed, and the operator chose to go on: show it no secret.
    Mistrust,
}

impl Known {
    /// Looks a host up in all files of a policy.
    pub(super) async fn look_up(policy: &HostKeyPolicy, host: &str, port: u16) -> Result<Self, SshError> {
        let (policy, host) = (policy.clone(), host.to_owned());
        blocking(policy.own_known_hosts.clone(), move || Self::read(&policy, &host, port)).await
    }

    fn read(policy: &HostKeyPolicy, host: &str, port: u16) -> Result<Self, (PathBuf, io::Error)> {
        let mut known = Self { host: name(host, port), sources: Vec::new(), portless: Vec::new() };
        let portless = name(host, 22);
        for file in policy.files() {
            // A file that is there but cannot be read is an error: to pass it over would make known hosts unknown.
            let text = match std::fs::read(file) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err((file.clone(), error)),
            };
            let source = |entry| Source { file: file.clone(), entry };
            known.sources.extend(entries_for(&text, &known.host).into_iter().map(source));
            if portless != known.host {
                known.portless.extend(entries_for(&text, &portless).into_iter().map(source));
            }
        }
        Ok(known)
    }

    fn keys(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.entry.says == Says::Known)
    }

    fn revoked(&self, key: &PublicKey) -> Option<&Source> {
        let all = self.sources.iter().chain(&self.portless);
        all.filter(|source| source.entry.says == Says::Revoked).find(|source| same(&source.entry.key, key))
    }

    /// Returns the key to expect where there is but one of the best known type, so that it need not be asked for.
    pub(super) fn expected(&self) -> Option<&PublicKey> {
        let best = self.algorithms(Asked::Known).into_iter().next()?;
        let mut keys = self.keys().map(|source| &source.entry.key).filter(|key| signs_with(key, &best));
        let key = keys.next()?;
        (keys.all(|other| same(other, key)) && self.revoked(key).is_none()).then_some(key)
    }

    /// Returns the algorithms to offer, best first.
    pub(super) fn algorithms(&self, asked: Asked) -> Vec<Algorithm> {
        let is_known = |algorithm: &Algorithm| {
            let mut keys = self.keys().chain(&self.portless);
            keys.any(|source| source.entry.says == Says::Known && signs_with(&source.entry.key, algorithm))
        };
        let (known, rest): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(is_known);
        match asked {
            Asked::Known => known,
            Asked::All => known.into_iter().chain(rest).collect(),
        }
    }

    /// Decides about the key that the host shows.
    pub(super) fn decide(&self, strict: Strictness, offered: &PublicKey) -> Result<Decision, HostKeyError> {
        let host = self.host.clone();
        if let Some(Source { file, entry }) = self.revoked(offered) {
            let (file, line) = (file.clone(), entry.line);
            return Err(HostKeyError::Revoked { host, file, line, offered: describe(offered) });
        }
        let known = |mut sources: Box<dyn Iterator<Item = &Source> + '_>| {
            sources.any(|source| source.entry.says == Says::Known && same(&source.entry.key, offered))
        };
        if known(Box::new(self.keys())) {
            return Ok(Decision::Trust);
        }
        // The line to name is one of the same type, where there is one.
        let other = self.keys().max_by_key(|source| source.entry.key.algorithm() == offered.algorithm());
        match (other, strict) {
            (None, _) if known(Box::new(self.portless.iter())) => Ok(Decision::Trust),
            (None, Strictness::Yes) => Err(HostKeyError::Unknown { host, offered: describe(offered) }),
            (None, Strictness::AcceptNew | Strictness::No) => Ok(Decision::Learn),
            (Some(source), Strictness::Yes | Strictness::AcceptNew) => Err(changed(&host, source, offered)),
            (Some(source), Strictness::No) => {
                let what = changed(&host, source, offered);
                tracing::warn!("{what}; going on without password, as StrictHostKeyChecking=no asks for");
                Ok(Decision::Mistrust)
            }
        }
    }
}

/// Which algorithms to offer to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Those of the known keys only.
    Known,
    /// Those of the known keys first, then all others.
    All,
}

/// Appends a key to the own file, unless another session has learnt it in the meantime.
///
/// # Errors
/// [`HostKeyError::Changed`] where another session has learnt a different key; [`SshError::KnownHosts`] where the file
/// cannot be written.
pub(super) async fn learn(policy: &HostKeyPolicy, host: &str, port: u16, key: &PublicKey) -> Result<(), SshError> {
    let host = name(host, port);
    if !policy.remembers() {
        tracing::info!(%host, key = %describe(key), "accepted a new host key without remembering it");
        return Ok(());
    }
    let (path, learnt_host, learnt_key) = (policy.own_known_hosts.clone(), host.clone(), key.clone());
    let file = path.clone();
    let appended = blocking(path, move || append(&file, &learnt_host, &learnt_key).map_err(|error| (file, error)));
    match appended.await? {
        Appended::Added => {
            let file = policy.own_known_hosts.display();
            tracing::info!(%host, key = %describe(key), %file, "learnt a new host key");
            Ok(())
        }
        Appended::There => Ok(()),
        Appended::Other(entry) => {
            let source = Source { file: policy.own_known_hosts.clone(), entry };
            Err(changed(&host, &source, key).into())
        }
    }
}

/// What came of appending a key.
enum Appended {
    Added,
    There,
    Other(Entry),
}

/// Appends under a lock on the file, in one write, and durably: a crash leaves the old lines and at most a torn last one.
fn append(path: &Path, host: &str, key: &PublicKey) -> io::Result<Appended> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut lock = fd_lock::RwLock::new(file);
    let mut file = lock.write()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut entries = entries_for(&text, host).into_iter().filter(|entry| entry.says == Says::Known).peekable();
    if entries.peek().is_some() {
        let mut other = None;
        for entry in entries {
            if same(&entry.key, key) {
                return Ok(Appended::There);
            }
            other.get_or_insert(entry);
        }
        return Ok(other.map_or(Appended::There, Appended::Other));
    }
    // A line torn by a crash must not swallow the new one.
    let fresh_line = if bytes.last().is_none_or(|&byte| byte == b'\n') { "" } else { "\n" };
    let line = format!("{fresh_line}{host} {} {}\n", key.algorithm(), key.public_key_base64());
    file.write_all(line.as_bytes())?;
    file.sync_data()?;
    Ok(Appended::Added)
}

/// Runs file work off the async threads; `path` is what an error names if the work itself breaks down.
async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> Result<T, (PathBuf, io::Error)> + Send + 'static,
) -> Result<T, SshError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|(path, source)| SshError::KnownHosts { path, source: Arc::new(source) }),
        Err(error) => Err(SshError::KnownHosts { path, source: Arc::new(io::Error::other(error)) }),
    }
}

fn changed(host: &str, source: &Source, offered: &PublicKey) -> HostKeyError {
    HostKeyError::Changed {
        host: host.to_owned(),
        file: source.file.clone(),
        line: source.entry.line,
        known: describe(&source.entry.key),
        offered: describe(offered),
    }
}

/// Lists the keys that are known of a host, each as its type and fingerprint (`ssh-ed25519 SHA256:...`), in the order of the
/// files.
///
/// # Errors
/// A file that is there but can't be read.
pub async fn known_keys(policy: &HostKeyPolicy, host: &str, port: u16) -> Result<Vec<String>, SshError> {
    let known = Known::look_up(policy, host, port).await?;
    let mut keys: Vec<String> = known.keys().map(|source| describe(&source.entry.key)).collect();
    keys.dedup();
    Ok(keys)
}

/// Writes a key as its type and fingerprint, as `ssh-keygen -l` does: `ssh-ed25519 SHA256:...`.
fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

/// Returns the command by which a machine prints the fingerprint of its own key; `key` is the key's type, or a text that begins
/// with it.
pub fn fingerprint_command(key: &str) -> &'static str {
    match key {
        key if key.starts_with("ecdsa-") => "ssh-keygen -lf /etc/ssh/ssh_host_ecdsa_key.pub",
        key if key.starts_with("ssh-rsa") || key.starts_with("rsa-") => "ssh-keygen -lf /etc/ssh/ssh_host_rsa_key.pub",
        _ => "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    }
}

/// Compares the keys themselves: a comment is no part of it.
fn same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}

/// Returns whether a key makes signatures of that algorithm: an RSA key makes several.
fn signs_with(key: &PublicKey, algorithm: &Algorithm) -> bool {
    let of_key = key.algorithm();
    of_key == *algorithm || matches!((&of_key, algorithm), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

/// Returns the algorithms that a key makes signatures of, best first.
pub(super) fn algorithms_of(key: &PublicKey) -> Vec<Algorithm> {
    ALGORITHMS.into_iter().filter(|algorithm| signs_with(key, algorithm)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use russh::keys::PrivateKey;
    use russh::keys::key::safe_rng;

    use super::*;

    #[test]
    fn of_all_that_learn_a_host_at_once_one_writes() {
        const LEARNERS: usize = 8;
        const ROUNDS: usize = 25;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        let key = || PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap().public_key().clone();
        let (one, two) = (key(), key());
        for round in 0..ROUNDS {
            let host = format!("host{round}");
            let barrier = Barrier::new(LEARNERS);
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let learn = |key| {
                    let (barrier, path, host) = (&barrier, &path, &host);
                    scope.spawn(move || {
                        barrier.wait();
                        append(path, host, key).unwrap()
                    })
                };
                let learners: Vec<_> = (0..LEARNERS).map(|n| learn(if n % 2 == 0 { &one } else { &two })).collect();
                learners.into_iter().map(|learner| learner.join().unwrap()).collect()
            });
            let count = |wanted: fn(&Appended) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
            assert_eq!(count(|outcome| matches!(outcome, Appended::Added)), 1);
            assert_eq!(count(|outcome| matches!(outcome, Appended::There)), LEARNERS / 2 - 1);
            assert_eq!(count(|outcome| matches!(outcome, Appended::Other(_))), LEARNERS / 2);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), ROUNDS);
        assert!(text.lines().all(|line| line.split(' ').count() == 3), "{text}");
    }
}
