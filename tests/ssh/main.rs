//! The SSH adapter against a server of the tests' own: sessions, host keys, jump hosts, the keeper of connections.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod agent;
mod host_keys;
mod jump;
mod log_in;
mod look;
mod pool;
mod public_key;
mod server;
mod session;

use std::path::{Path, PathBuf};
use std::time::Duration;

use proxmaint::adapters::ssh::{Auth, ExecLimits, SshTarget};
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKeyBase64};
use server::{Server, Spec};
use tempfile::TempDir;

/// Longer than anything here takes on a loaded machine; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of its own for the keys and files of one test.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn known_hosts(&self) -> PathBuf {
        self.path("known_hosts")
    }

    fn own(&self) -> PathBuf {
        self.path("state/known_hosts")
    }

    /// Makes a user key and writes it to a file.
    fn user_key(&self, name: &str) -> (PrivateKey, PathBuf) {
        let key = ed25519();
        (key.clone(), self.write_key(name, &key))
    }

    fn write_key(&self, name: &str, key: &PrivateKey) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, key.to_openssh(LineEnding::LF).expect("a key as text")).expect("a file");
        path
    }

    /// Makes a target that uses nothing but this directory.
    fn target(&self, server: &Server, key: &Path) -> SshTarget {
        let mut target = SshTarget::new("127.0.0.1", "root", self.own());
        target.port = server.address.port();
        target.auth = Auth { identity_files: vec![key.to_owned()], agent: false, ..Auth::default() };
        target.host_keys.user_known_hosts = vec![self.known_hosts()];
        target.host_keys.global_known_hosts = Vec::new();
        target
    }

    fn text(&self, path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

/// A server with one host key, and a target whose key may log in there.
struct Pair {
    desk: Desk,
    server: Server,
    target: SshTarget,
    host_key: PrivateKey,
}

async fn pair() -> Pair {
    pair_with(Spec::default()).await
}

async fn pair_with(spec: Spec) -> Pair {
    let desk = Desk::new();
    let host_key = ed25519();
    let (key, path) = desk.user_key("id");
    let spec = Spec { host_keys: vec![host_key.clone()], authorized: vec![key.public_key().clone()], ..spec };
    let server = Server::start(spec).await;
    let target = desk.target(&server, &path);
    Pair { desk, server, target, host_key }
}

fn ed25519() -> PrivateKey {
    PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).expect("a new key")
}

/// Returns the RSA key of the fixtures: a new one takes seconds to make.
fn rsa() -> PrivateKey {
    russh::keys::decode_secret_key(include_str!("fixtures/rsa_test_key"), None).expect("the key of the fixtures")
}

/// Writes a key as known_hosts does.
fn line(names: &str, key: &PrivateKey) -> String {
    format!("{names} {} {}\n", key.public_key().algorithm(), key.public_key().public_key_base64())
}

fn name(server: &Server) -> String {
    format!("[127.0.0.1]:{}", server.address.port())
}

fn limits() -> ExecLimits {
    ExecLimits { timeout: PATIENCE, ..ExecLimits::default() }
}

/// Waits until something is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not so: {what}"));
}
