//! Public keys of the operator's: read from files, told apart from what is none, and named as `ssh-keygen -l` names them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use russh::keys::{HashAlg, PrivateKey, PublicKey as Decoded};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::Auth;
use super::private_key::{Undecoded, decode};

/// The types of keys that an sshd of today takes in `authorized_keys`.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The largest file that is read as a key, in bytes: an RSA key of 16,384 bits has 13 KB as a private key.
const MAX_FILE: u64 = 64 * 1024;

/// A public key as it stands in `authorized_keys`: type, data, comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: String,
    data: String,
    comment: String,
    fingerprint: String,
}

/// A private key of the operator's, and its public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The file of the private key.
    pub private: PathBuf,
    /// What is to be put where that key shall log in.
    pub public: PublicKey,
}

impl PublicKey {
    /// Reads a file that holds a public key in OpenSSH's format (`id_ed25519.pub`).
    ///
    /// # Errors
    /// The file can't be read, or holds anything but one public key.
    pub fn read(path: &Path) -> Result<Self, PublicKeyError> {
        let text = text_of(path)?;
        Self::parse(text.expose_secret()).map_err(PublicKeyError::at(path))
    }

    /// Returns the public half of a private key's file. A passphrase is not needed where the file has OpenSSH's format, which
    /// keeps that half in the clear; else the `.pub` beside it serves. The comment is that of the `.pub`, where it is this key's.
    ///
    /// # Errors
    /// The file can't be read, holds no private key, or hides its public half with no `.pub` beside it.
    pub fn of_private(path: &Path) -> Result<Self, PublicKeyError> {
        let text = text_of(path)?;
        let beside = beside(path);
        let found = match half_of(text.expose_secret()).map_err(PublicKeyError::at(path))? {
            Some(found) => found,
            None if beside.exists() => return Self::read(&beside),
            None => {
                let problem = PublicKeyProblem::Locked { private: path.to_owned(), public: beside };
                return Err(PublicKeyError { path: path.to_owned(), problem });
            }
        };
        // That file is of use for its comment alone: whatever else is wrong with it does not matter.
        Ok(Self::read(&beside).ok().filter(|named| named.is_same_key(&found)).unwrap_or(found))
    }

    /// Reads a public key from the one line that it is.
    ///
    /// # Errors
    /// It is anything but one public key.
    pub fn parse(text: &str) -> Result<Self, PublicKeyProblem> {
        let text = text.trim();
        if text.is_empty() {
            return Err(PublicKeyProblem::Empty);
        }
        if is_private(text) {
            return Err(PublicKeyProblem::Private);
        }
        if text.starts_with("---") {
            return Err(PublicKeyProblem::OtherFormat);
        }
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        if lines != 1 {
            return Err(PublicKeyProblem::Lines(lines));
        }
        let (kind, rest) = word(text);
        let (data, comment) = word(rest);
        if !KINDS.contains(&kind) {
            return Err(not_a_kind(kind, text));
        }
        if comment.chars().any(char::is_control) {
            return Err(PublicKeyProblem::Control);
        }
        let decoded = Decoded::from_openssh(&format!("{kind} {data}"))
            .map_err(|error| PublicKeyProblem::Damaged { kind: kind.to_owned(), why: error.to_string() })?;
        Ok(Self {
            kind: kind.to_owned(),
            data: data.to_owned(),
            comment: comment.to_owned(),
            fingerprint: decoded.fingerprint(HashAlg::Sha256).to_string(),
        })
    }

    /// Returns it as it stands in `authorized_keys`, without the line's end.
    pub fn line(&self) -> String {
        let Self { kind, data, comment, .. } = self;
        if comment.is_empty() { format!("{kind} {data}") } else { format!("{kind} {data} {comment}") }
    }

    /// Returns its type, as `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the key itself, in base64.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Returns its comment, which says whose it is; empty where there is none.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Returns its fingerprint as `ssh-keygen -l` prints it: `SHA256:` and 43 characters.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Tells whether both are the same key, whatever their comments are.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        (&self.kind, &self.data) == (&other.kind, &other.data)
    }
}

/// Lists the keys by which somebody logs in with `auth`: the files that were given, in their order, else the usual files that
/// exist. A file that is no key is named with its reason, for it may be the one that was meant.
pub fn candidates(auth: &Auth) -> Vec<Result<KeyPair, PublicKeyError>> {
    let (files, wanted) = auth.key_files();
    let counts = |path: &PathBuf| wanted.is_given() || path.exists();
    let pair = |path: PathBuf| Ok(KeyPair { public: PublicKey::of_private(&path)?, private: path });
    files.into_iter().filter(counts).map(pair).collect()
}

/// A key's file that is of no use.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct PublicKeyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: PublicKeyProblem,
}

impl PublicKeyError {
    fn at(path: &Path) -> impl FnOnce(PublicKeyProblem) -> Self {
        |problem| Self { path: path.to_owned(), problem }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        self.problem.hint()
    }
}

/// Why something is no public key, or has none.
#[derive(Debug, Error)]
pub enum PublicKeyProblem {
    /// It can't be read.
    #[error("can't be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is longer than any key.
    #[error("is longer than any key")]
    TooLong,
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It is a private key, which must never leave its machine.
    #[error("holds a private key, not a public one")]
    Private,
    /// It is a public key where a private one is expected.
    #[error("holds a public key, not a private one")]
    Public,
    /// It is a public key, but not in OpenSSH's format.
    #[error("holds a public key in another format than OpenSSH's")]
    OtherFormat,
    /// It has several lines.
    #[error("holds {0} lines, where one public key is expected")]
    Lines(usize),
    /// Something stands in front of the key, as in `authorized_keys`.
    #[error("has options in front of the key")]
    Options,
    /// It is a certificate.
    #[error("holds a certificate, not a public key")]
    Certificate,
    /// It is of a type that sshd does not take, or no key at all.
    #[error("holds no public key in OpenSSH's format")]
    NoKey,
    /// The comment holds control characters.
    #[error("has control characters in its comment")]
    Control,
    /// What follows the type is not a key of that type.
    #[error("does not hold the {kind} key that it begins as ({why})")]
    Damaged {
        /// The type.
        kind: String,
        /// What the decoder says.
        why: String,
    },
    /// The file holds no private key.
    #[error("is no usable private key ({0})")]
    NotPrivate(String),
    /// The private key is encrypted in a format that hides the public half as well.
    #[error("is protected by a passphrase, in a format that hides its public key too, and there is no {}", public.display())]
    Locked {
        /// The file of the private key.
        private: PathBuf,
        /// Where its public half would be.
        public: PathBuf,
    },
}

impl PublicKeyProblem {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Private => "name the file that ends in .pub; a private key stays where it is".to_owned(),
            Self::Public => "name the file without .pub".to_owned(),
            Self::OtherFormat => {
                "convert it: ssh-keygen -i -f FILE (with -m PKCS8 for one that begins with BEGIN PUBLIC KEY)".to_owned()
            }
            Self::Options => "name a file that holds only the key: type, data, comment".to_owned(),
            Self::Locked { private, public } => {
                format!("make it: ssh-keygen -y -f '{}' > '{}'", private.display(), public.display())
            }
            Self::Unreadable(_) | Self::NotPrivate(_) => {
                "name the file of a key that exists; ssh-keygen makes one".to_owned()
            }
            Self::TooLong
            | Self::Empty
            | Self::Lines(_)
            | Self::Certificate
            | Self::NoKey
            | Self::Control
            | Self::Damaged { .. } => {
                "a public key is one line as ssh-keygen writes it: type, data, comment (ssh-ed25519 AAAA... me@here)"
                    .to_owned()
            }
        }
    }
}

/// Says why a text that does not begin with a type of key is none.
fn not_a_kind(first: &str, text: &str) -> PublicKeyProblem {
    if first.contains("-cert-v01@") {
        PublicKeyProblem::Certificate
    } else if text.split_whitespace().any(|word| KINDS.contains(&word)) {
        PublicKeyProblem::Options
    } else {
        PublicKeyProblem::NoKey
    }
}

fn is_private(text: &str) -> bool {
    text.starts_with("-----BEGIN") && text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File-")
}

/// Returns the public half of a private key's text; `None` where the passphrase hides it as well.
fn half_of(text: &str) -> Result<Option<PublicKey>, PublicKeyProblem> {
    if PublicKey::parse(text).is_ok() {
        return Err(PublicKeyProblem::Public);
    }
    let unusable = |error: russh::keys::ssh_key::Error| PublicKeyProblem::NotPrivate(error.to_string());
    let key = if text.trim_start().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        PrivateKey::from_openssh(text.trim_start()).map_err(unusable)?
    } else {
        match decode(text) {
            Ok(key) => key,
            Err(Undecoded::Locked) => return Ok(None),
            Err(Undecoded::Unusable(why)) => return Err(PublicKeyProblem::NotPrivate(why)),
        }
    };
    let line = key.public_key().to_openssh().map_err(unusable)?;
    PublicKey::parse(&line).map(Some)
}

/// Returns where the public key of a private one's file is: beside it, as ssh-keygen writes it.
fn beside(private: &Path) -> PathBuf {
    let mut name = OsString::from(private);
    name.push(".pub");
    PathBuf::from(name)
}

/// Reads a file that may hold a secret.
fn text_of(path: &Path) -> Result<SecretString, PublicKeyError> {
    let reading = || {
        // Opening a pipe would wait for whoever writes to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(PublicKeyProblem::Unreadable(io::Error::other("it is no regular file")));
        }
        let mut text = String::new();
        let read = File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
        let text = SecretString::from(text);
        if read as u64 > MAX_FILE { Err(PublicKeyProblem::TooLong) } else { Ok(text) }
    };
    reading().map_err(PublicKeyError::at(path))
}

/// Splits a text after its first word.
fn word(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (first, rest.trim())
}
