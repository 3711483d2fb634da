//! What the user can prove itself with, in the order in which it is offered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_ssh2_tokio::AuthMethod;
use async_ssh2_tokio::client::AuthKeyboardInteractive;
use russh::client::{Handle, Handler, KeyboardInteractiveAuthResponse};
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::accepted::Means;
use super::private_key::{Undecoded, decode};
use super::{Auth, SshError, SshTarget};

/// The files that count where none is given, below the home directory, in OpenSSH's order of today.
const USUAL_FILES: [&str; 3] = [".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa"];

/// How often a server may ask on in keyboard-interactive before it is given up: one prompt for the password and an
/// empty closing round are usual.
const MAX_PROMPT_ROUNDS: usize = 4;

/// From how many keys of an agent on a server that hangs up is taken to have been asked too often: a stock sshd lets 6 be tried
/// (MaxAuthTries), and hardened ones 3 or 4.
const MANY_KEYS: usize = 3;

/// One thing to prove oneself with.
pub(super) enum Offer {
    /// A private key from a file: its text for async-ssh2-tokio, decoded for russh.
    Key { path: PathBuf, text: SecretString, key: Arc<PrivateKey> },
    /// All keys of the agent, and how many these are.
    Agent { keys: usize },
    /// The password, by the method of that name.
    Password(SecretString),
    /// The password, as the answer to a prompt for it: what hosts with PAM ask for.
    Interactive(SecretString),
}

impl Offer {
    /// Returns what it offers, without the secret; messages name it by that.
    pub(super) fn means(&self) -> Means {
        match self {
            Self::Key { path, .. } => Means::Key(path.clone()),
            Self::Agent { .. } => Means::Agent,
            Self::Password(_) => Means::Password,
            Self::Interactive(_) => Means::Prompt,
        }
    }

    /// Returns whether the other side gets to see a secret when it is offered.
    pub(super) fn shows_secret(&self) -> bool {
        matches!(self, Self::Password(_) | Self::Interactive(_))
    }

    /// Returns how it was refused where the server hung up meanwhile: an agent of many keys uses up what a server lets try.
    pub(super) fn exhausts(&self) -> Option<String> {
        match self {
            Self::Agent { keys } if *keys >= MANY_KEYS => {
                Some(format!("the host hung up while its {keys} keys were tried: more than it lets try (MaxAuthTries)"))
            }
            _ => None,
        }
    }

    /// Returns it as async-ssh2-tokio takes it.
    pub(super) fn method(&self) -> AuthMethod {
        match self {
            Self::Key { text, .. } => AuthMethod::with_key(text.expose_secret(), None),
            Self::Agent { .. } => AuthMethod::with_agent(),
            Self::Password(password) => AuthMethod::with_password(password.expose_secret()),
            Self::Interactive(password) => {
                AuthKeyboardInteractive::new().with_response("assword", password.expose_secret()).into()
            }
        }
    }
}

/// What there is to offer, and why the rest is not.
pub(super) struct Offers {
    /// In the order to try.
    pub(super) offers: Vec<Offer>,
    /// What was tried or could not be, with the reason, for the error's text.
    pub(super) notes: Vec<String>,
    /// Files that need a passphrase.
    locked: Vec<PathBuf>,
}

impl Offers {
    /// Gathers what the target itself is logged in to with.
    pub(super) async fn gather(target: &SshTarget) -> Self {
        Self::of(&target.auth, target.connect_timeout).await
    }

    /// Gathers what the jump hosts on the way are logged in to with: anything but the password.
    pub(super) async fn gather_for_jumps(target: &SshTarget) -> Self {
        let auth = target.jump_auth.as_ref().unwrap_or(&target.auth);
        let mut found = Self::of(auth, target.connect_timeout).await;
        found.keep_secrets("it is for the target only");
        found
    }

    /// Reads the key files and looks for the agent, which is given `within` to answer.
    async fn of(auth: &Auth, within: Duration) -> Self {
        let mut found = Self { offers: Vec::new(), notes: Vec::new(), locked: Vec::new() };
        let (files, wanted) = auth.key_files();
        if wanted == Wanted::Given {
            found.add_files(&files, wanted).await;
        }
        if auth.agent && std::env::var_os("SSH_AUTH_SOCK").is_some_and(|socket| !socket.is_empty()) {
            found.add_agent(within).await;
        }
        if wanted == Wanted::Usual {
            found.add_files(&files, wanted).await;
        }
        if let Some(password) = &auth.password {
            found.offers.push(Offer::Password(password.clone()));
            found.offers.push(Offer::Interactive(password.clone()));
        }
        found
    }

    async fn add_files(&mut self, paths: &[PathBuf], wanted: Wanted) {
        for path in paths {
            self.add_file(path, wanted).await;
        }
    }

    async fn add_file(&mut self, path: &Path, wanted: Wanted) {
        let text = match tokio::fs::read_to_string(path).await {
            Ok(text) => SecretString::from(text),
            Err(error) if wanted == Wanted::Usual && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.notes.push(format!("{} cannot be read ({error})", path.display())),
        };
        match decode(text.expose_secret()) {
            Ok(key) => self.offers.push(Offer::Key { path: path.to_owned(), text, key: Arc::new(key) }),
            Err(Undecoded::Locked) => self.add_locked(path),
            Err(Undecoded::Unusable(why)) => {
                self.notes.push(format!("{} is no usable private key ({why})", path.display()));
            }
        }
    }

    /// Asks the agent which keys it has: one that does not answer, or has none, is no reason to keep the host waiting. It is given
    /// as long as a connection: a forwarded one is asked over the network.
    async fn add_agent(&mut self, within: Duration) {
        let asking = async { AgentClient::connect_env().await?.request_identities().await };
        match timeout(within, asking).await {
            Ok(Ok(keys)) if keys.is_empty() => self.notes.push("ssh-agent holds no keys".to_owned()),
            Ok(Ok(keys)) => self.offers.push(Offer::Agent { keys: keys.len() }),
            Ok(Err(error)) => self.notes.push(format!("ssh-agent cannot be asked ({error})")),
            Err(_) => self.notes.push(format!("ssh-agent does not answer within {} s", within.as_secs_f32())),
        }
    }

    fn add_locked(&mut self, path: &Path) {
        self.notes.push(format!("{} is protected by a passphrase", path.display()));
        self.locked.push(path.to_owned());
    }

    /// Puts the offer of these means first: those that were accepted the last time.
    pub(super) fn prefer(&mut self, means: &Means) {
        if let Some(at) = self.offers.iter().position(|offer| offer.means() == *means) {
            self.offers[..=at].rotate_right(1);
        }
    }

    /// Drops what shows a secret to the other side.
    pub(super) fn keep_secrets(&mut self, why: &str) {
        if self.offers.iter().any(Offer::shows_secret) {
            self.offers.retain(|offer| !offer.shows_secret());
            self.notes.push(format!("the password was not offered: {why}"));
        }
    }

    /// Makes the error of a log-in for which nothing was accepted.
    pub(super) fn error(&self, address: &str, refused: &[String]) -> SshError {
        let mut tried = refused.to_vec();
        tried.extend(self.notes.iter().cloned());
        if tried.is_empty() {
            tried.push("there is no identity to offer".to_owned());
        }
        let hint = match self.locked.first() {
            Some(path) => {
                format!("load the key into an agent (ssh-add {}) or use one without passphrase", path.display())
            }
            None => {
                "see with ssh -v what the host accepts; identity_file in the manifest names the key to use".to_owned()
            }
        };
        SshError::Auth { address: address.to_owned(), tried: tried.join("; "), hint }
    }
}

/// Whether a file was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It was: that it is not there is worth a word.
    Given,
    /// It was not: it is one of the usual files, and counts if it is there.
    Usual,
}

impl Wanted {
    /// Tells whether it was asked for.
    pub(super) fn is_given(self) -> bool {
        self == Self::Given
    }
}

impl Auth {
    /// Returns the files of private keys that count: those that were given, else the usual ones, whether they exist or not.
    pub(super) fn key_files(&self) -> (Vec<PathBuf>, Wanted) {
        if !self.identity_files.is_empty() {
            return (self.identity_files.clone(), Wanted::Given);
        }
        let home = std::env::home_dir().filter(|_| self.usual_files);
        let usual = home.into_iter().flat_map(|home| USUAL_FILES.map(|file| home.join(file)));
        (usual.collect(), Wanted::Usual)
    }
}

/// Logs in on a russh connection, and returns the means of the first offer that is accepted.
///
/// # Errors
/// [`SshError::Auth`] where none is; [`SshError::Connect`] where the connection broke off.
pub(super) async fn log_in<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    address: &str,
    offers: &Offers,
) -> Result<Means, SshError> {
    let mut refused = Vec::new();
    for offer in &offers.offers {
        let broken = |error: russh::Error| SshError::Connect { address: address.to_owned(), reason: error.to_string() };
        match attempt(handle, user, offer).await.map_err(broken)? {
            Attempt::Accepted => return Ok(offer.means()),
            // A server hangs up after too many refusals; before the first one it is the connection that failed.
            Attempt::Refused(_) if handle.is_closed() => match offer.exhausts() {
                Some(why) => {
                    refused.push(format!("{}: {why}", offer.means()));
                    return Err(offers.error(address, &refused));
                }
                None if refused.is_empty() => return Err(broken(russh::Error::HUP)),
                None => refused.push(format!("{}: refused, and the host hung up", offer.means())),
            },
            Attempt::Refused(why) => refused.push(format!("{}: {why}", offer.means())),
        }
    }
    Err(offers.error(address, &refused))
}

/// What came of one offer.
#[must_use]
enum Attempt {
    Accepted,
    Refused(String),
}

impl Attempt {
    fn of(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused("refused".to_owned()) }
    }
}

async fn attempt<H: Handler>(handle: &mut Handle<H>, user: &str, offer: &Offer) -> Result<Attempt, russh::Error> {
    match offer {
        Offer::Key { key, .. } => {
            let hash = if key.algorithm().is_rsa() { rsa_hash(handle).await? } else { None };
            let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
            Ok(Attempt::of(handle.authenticate_publickey(user, key).await?.success()))
        }
        Offer::Agent { .. } => by_agent(handle, user).await,
        Offer::Password(password) => {
            Ok(Attempt::of(handle.authenticate_password(user, password.expose_secret()).await?.success()))
        }
        Offer::Interactive(password) => by_prompt(handle, user, password).await,
    }
}

/// Returns the hash to sign with an RSA key: what the server names, else SHA-512, which all since OpenSSH 7.2 take.
async fn rsa_hash<H: Handler>(handle: &Handle<H>) -> Result<Option<HashAlg>, russh::Error> {
    Ok(handle.best_supported_rsa_hash().await?.unwrap_or(Some(HashAlg::Sha512)))
}

async fn by_agent<H: Handler>(handle: &mut Handle<H>, user: &str) -> Result<Attempt, russh::Error> {
    let mut agent = match AgentClient::connect_env().await {
        Ok(agent) => agent,
        Err(error) => return Ok(Attempt::Refused(format!("the agent does not answer ({error})"))),
    };
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(error) => return Ok(Attempt::Refused(format!("the agent lists no keys ({error})"))),
    };
    for identity in identities {
        let key = identity.public_key().into_owned();
        let hash = if key.algorithm().is_rsa() { rsa_hash(handle).await? } else { None };
        match handle.authenticate_publickey_with(user, key, hash, &mut agent).await {
            Ok(result) if result.success() => return Ok(Attempt::Accepted),
            Ok(_) => {}
            Err(error) => return Ok(Attempt::Refused(format!("the agent does not sign ({error})"))),
        }
    }
    Ok(Attempt::Refused("none of its keys is accepted".to_owned()))
}

async fn by_prompt<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    password: &SecretString,
) -> Result<Attempt, russh::Error> {
    let mut response = handle.authenticate_keyboard_interactive_start(user, None::<String>).await?;
    for _ in 0..MAX_PROMPT_ROUNDS {
        let prompts = match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(Attempt::Accepted),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(Attempt::of(false)),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        if let Some(other) = prompts.iter().find(|prompt| !prompt.prompt.contains("assword")) {
            return Ok(Attempt::Refused(format!("the host asks for something else ({:?})", other.prompt)));
        }
        let answers = prompts.iter().map(|_| password.expose_secret().to_owned()).collect();
        response = handle.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(Attempt::Refused("the host keeps asking".to_owned()))
}
