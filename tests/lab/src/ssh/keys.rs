//! Key pairs of the lab: host keys and the client's key, derived from a seed so that a lab is the same each time.
//!
//! They guard nothing but loopback servers of a test, so being predictable is a virtue here.

use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey, PublicKey};
use sha2::{Digest, Sha256};

/// Names a kind of host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `ssh-ed25519`, what the lab's servers have unless told otherwise.
    Ed25519,
    /// `ecdsa-sha2-nistp256`.
    Ecdsa,
    /// `ssh-rsa` with 2048 bits; takes the longest to make.
    Rsa,
}

/// Derives the key pair that belongs to a name; `generation` counts the times that the host "was installed anew".
///
/// # Errors
/// Only where the key library fails to make a key of that kind.
pub fn derive(kind: KeyKind, name: &str, generation: u32) -> io::Result<PrivateKey> {
    let mut hash = Sha256::new();
    hash.update(b"proxmaint-lab key\0");
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(generation.to_be_bytes());
    let mut seed = [0; 32];
    seed.copy_from_slice(&hash.finalize());
    let made = match kind {
        KeyKind::Ed25519 => {
            PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), format!("root@{name}"))
        }
        KeyKind::Ecdsa => {
            PrivateKey::random(&mut ChaCha20Rng::from_seed(seed), Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })
        }
        KeyKind::Rsa => russh::keys::ssh_key::private::RsaKeypair::random(&mut ChaCha20Rng::from_seed(seed), 2048)
            .and_then(|pair| PrivateKey::new(KeypairData::Rsa(pair), format!("root@{name}"))),
    };
    made.map_err(|error| io::Error::other(format!("making a host key for {name}: {error}")))
}

/// Writes a private key in OpenSSH's format with mode 0600, and the public one beside it as `<path>.pub`.
///
/// # Errors
/// Where the files cannot be written.
pub fn write_pair(key: &PrivateKey, path: &Path) -> io::Result<()> {
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    write_private(path, text.as_bytes())?;
    let public = openssh_line(key.public_key())?;
    std::fs::write(path.with_extension("pub"), public + "\n")
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)
}

/// Returns a public key as it stands in `authorized_keys`.
///
/// # Errors
/// Only where the key library cannot encode it.
pub fn openssh_line(key: &PublicKey) -> io::Result<String> {
    key.to_openssh().map_err(io::Error::other)
}

/// Returns the `known_hosts` line of a key for an address: `[host]:port type base64`, without brackets for port 22.
///
/// # Errors
/// Only where the key library cannot encode it.
pub fn known_hosts_line(host: &str, port: u16, key: &PublicKey) -> io::Result<String> {
    let place = if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") };
    let encoded = openssh_line(key)?;
    let mut words = encoded.split(' ');
    match (words.next(), words.next()) {
        (Some(kind), Some(data)) => Ok(format!("{place} {kind} {data}")),
        _ => Err(io::Error::other("a public key without type or data")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_each_time_and_another_for_another_name() {
        let line = |name, generation| {
            let key = derive(KeyKind::Ed25519, name, generation).unwrap();
            known_hosts_line("127.0.0.1", 2222, key.public_key()).unwrap()
        };
        assert_eq!(line("pve1", 0), line("pve1", 0));
        assert!(line("pve1", 0).starts_with("[127.0.0.1]:2222 ssh-ed25519 AAAA"));
        assert_ne!(line("pve1", 0), line("pve2", 0));
        assert_ne!(line("pve1", 0), line("pve1", 1));
    }

    #[test]
    fn an_rsa_key_can_be_made() {
        let key = derive(KeyKind::Rsa, "pve1", 0).unwrap();
        assert!(openssh_line(key.public_key()).unwrap().starts_with("ssh-rsa "));
    }
}
