//! Makes a host known: shows the certificate of its API and its host key, and takes over what the operator vouches for.
//!
//! Nothing is taken over without being shown first, with the command that prints the same on the host itself. A host key
//! that has changed, or is revoked, is never replaced here: whoever meant that takes the old one out of its file.

use std::io;
use std::path::Path;

use tokio::runtime::Runtime;

use super::connect::{node_target, trust as trust_of};
use super::doctor::{not_remembered, of_certificate};
use super::terminal::{Answered, Left, Remark, Terminal};
use crate::adapters::pve::certificate::{CertificateLook, FINGERPRINT_COMMAND, inspect_certificate};
use crate::adapters::ssh::host_key::fingerprint_command;
use crate::adapters::ssh::look::{HostKeyLook, KeyStanding, look, trust};
use crate::adapters::ssh::{SshError, SshTarget};
use crate::journal::StateDir;
use crate::machine::outcome::Fault;
use crate::manifest::{ApiTrust, HostEntry};
use crate::observe::sanitize::clean;
use crate::observe::style::Paint;
use crate::observe::words::list;
use crate::plan::Finding;

/// What came of making a host known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Acquaintance {
    /// The fingerprint that the operator vouches for, to be set as `api.fingerprint`; `None` where the manifest stays as it is.
    pub(super) fingerprint: Option<String>,
    /// Whether the host key, and those of the jump hosts before it, may be relied on. Where not, nothing must be learnt.
    pub(super) host_key: bool,
}

/// Looks at what a host shows of itself, and asks about what is not known yet. A host key that is taken over is learnt into
/// the state directory at once; the fingerprint is the caller's to set.
///
/// # Errors
/// The first question was left, or the dialogue for good.
pub(super) fn acquaint(
    terminal: &Terminal,
    runtime: &Runtime,
    entry: &HostEntry,
    state_dir: &Path,
) -> Answered<Acquaintance> {
    let stranger = Stranger { terminal, runtime, entry, target: target(entry, state_dir), state_dir };
    let (certificate, key) = stranger.look()?;
    loop {
        let (fingerprint, asked) = match stranger.certificate(&certificate)? {
            Pin::NotAsked => (None, false),
            Pin::Refused => (None, true),
            Pin::TakenOver(fingerprint) => (Some(fingerprint), true),
        };
        match stranger.host_key(key.clone()) {
            Ok(host_key) => return Ok(Acquaintance { fingerprint, host_key }),
            // One step back: to the question about the certificate.
            Err(Left::Back) if asked => {}
            Err(left) => return Err(left),
        }
    }
}

fn target(entry: &HostEntry, state_dir: &Path) -> SshTarget {
    node_target(entry, None, &state_dir.join("known_hosts"))
}

/// A host that is being made known.
struct Stranger<'a> {
    terminal: &'a Terminal,
    runtime: &'a Runtime,
    entry: &'a HostEntry,
    target: SshTarget,
    state_dir: &'a Path,
}

/// What is done about a certificate.
enum Pin {
    NotAsked,
    Refused,
    TakenOver(String),
}

impl Stranger<'_> {
    /// Looks at both at once.
    fn look(&self) -> Answered<(Result<CertificateLook, Fault>, Result<HostKeyLook, SshError>)> {
        let what = format!("looking at the certificate and the host key of {}", self.entry.id);
        let trust = trust_of(&self.entry.api.trust());
        let certificate = inspect_certificate(&self.entry.host, self.entry.api.port, &trust);
        self.terminal.work(self.runtime, &what, async { tokio::join!(certificate, look(&self.target)) })
    }

    /// Says how the certificate stands, and asks whether to pin it where nobody vouches for it.
    fn certificate(&self, seen: &Result<CertificateLook, Fault>) -> Answered<Pin> {
        let seen = match seen {
            Ok(seen) => seen,
            Err(fault) => {
                self.fault(fault)?;
                return Ok(Pin::NotAsked);
            }
        };
        let trust = self.entry.api.trust();
        let unverified = matches!(trust, ApiTrust::Unverified);
        if seen.verdict.is_ok() && !unverified {
            self.terminal.remark(Remark::Good, &of_certificate(seen, &trust).what)?;
            return Ok(Pin::NotAsked);
        }
        let pinned = match trust {
            ApiTrust::Pinned(pin) => Some(pin.to_string()),
            ApiTrust::CaFile(_) | ApiTrust::SystemRoots | ApiTrust::Unverified => None,
        };
        self.terminal.note(
            &format!("The certificate of {}", self.entry.id),
            &certificate_text(seen, pinned.as_deref(), paint()),
        )?;
        let question = match &pinned {
            Some(_) => {
                let text =
                    "this is NOT the certificate that api.fingerprint names: it was renewed, or somebody is in between";
                self.terminal.remark(Remark::Warn, text)?;
                "Is the new one right, and shall api.fingerprint be replaced?"
            }
            None => "Is it the same on the node, and shall it be trusted (api.fingerprint)?",
        };
        Ok(match self.terminal.confirm(question, false)? {
            true => Pin::TakenOver(seen.fingerprint.clone()),
            false => Pin::Refused,
        })
    }

    /// Says how the host key stands, and asks whether to learn it where it is new; then goes on to the next machine on the way.
    /// Returns whether all of them are known in the end.
    fn host_key(&self, first: Result<HostKeyLook, SshError>) -> Answered<bool> {
        let mut seen = first;
        // Each jump host, and the host behind them.
        for _ in 0..=self.target.jumps.len() {
            let key = match seen {
                Ok(key) => key,
                Err(error) => {
                    self.fault(&Fault::from(error))?;
                    return Ok(false);
                }
            };
            match &key.standing {
                KeyStanding::Known => {
                    let text = format!("the host key of {} is known: {}", key.address(), described(&key));
                    self.terminal.remark(Remark::Good, &text)?;
                    return Ok(true);
                }
                KeyStanding::Refused(why) => {
                    self.terminal.remark(Remark::Bad, &format!("{why}\n{}", why.hint()))?;
                    self.terminal.remark(Remark::Info, "it is not replaced here")?;
                    return Ok(false);
                }
                KeyStanding::New if !self.target.host_keys.remembers() => {
                    self.finding(&not_remembered())?;
                    return Ok(true);
                }
                KeyStanding::New => {
                    if !self.learn(&key)? {
                        return Ok(false);
                    }
                }
            }
            if key.address() == self.target.address() {
                return Ok(true);
            }
            let what = format!("going on to {}", self.target.address());
            seen = self.terminal.work(self.runtime, &what, look(&self.target))?;
        }
        Ok(false)
    }

    /// Shows a new host key and learns it, if the operator vouches for it; returns whether it is known now.
    fn learn(&self, key: &HostKeyLook) -> Answered<bool> {
        self.terminal.note(&format!("The host key of {}", key.address()), &host_key_text(key, paint()))?;
        if !self.terminal.confirm("Is it the same there, and shall it be learnt?", false)? {
            return Ok(false);
        }
        // Made as a run would make it.
        let learnt = match StateDir::create(self.state_dir) {
            Ok(_dir) => self.runtime.block_on(trust(&self.target.host_keys, key)).map_err(Fault::from),
            Err(error) => Err(Fault::permanent(error.to_string())),
        };
        match learnt {
            Ok(()) => {
                let file = self.target.host_keys.own_known_hosts.display();
                let text = format!("learnt into {file}, at once: that file is no part of the manifest");
                self.terminal.remark(Remark::Good, &text)?;
                Ok(true)
            }
            Err(fault) => {
                self.fault(&fault)?;
                Ok(false)
            }
        }
    }

    fn fault(&self, fault: &Fault) -> Answered<()> {
        let hint = fault.hint.as_deref().map(|hint| format!("\n{hint}")).unwrap_or_default();
        self.terminal.remark(Remark::Warn, &format!("{}{hint}", fault.what))
    }

    fn finding(&self, finding: &Finding) -> Answered<()> {
        let remedy = finding.remedy.as_deref().map(|remedy| format!("\n{remedy}")).unwrap_or_default();
        self.terminal.remark(Remark::Warn, &format!("{}{remedy}", finding.what))
    }
}

/// Dialogues are written to stderr.
fn paint() -> Paint {
    Paint::for_stream(&io::stderr())
}

/// Writes a key as known_hosts has it: `ssh-ed25519 SHA256:..`.
fn described(key: &HostKeyLook) -> String {
    format!("{} {}", key.kind(), key.fingerprint())
}

/// Writes what stands in a certificate, and how to compare it.
fn certificate_text(seen: &CertificateLook, pinned: Option<&str>, paint: Paint) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: &str| lines.push(format!("{name:<12}{text}"));
    if let Some(names) = &seen.names {
        line("subject", &clean(&names.subject));
        line("issuer", &clean(&names.issuer));
        line("made out to", &clean(&list(names.hosts.iter().cloned())));
        line("valid", &format!("{} to {}", names.not_before, names.not_after));
    }
    let [first, rest] = halves(&seen.fingerprint);
    line("SHA-256", &paint.strong(first));
    line("", &paint.strong(rest));
    if let Some([first, rest]) = pinned.map(halves) {
        line("pinned", &paint.warn(first));
        line("", &paint.warn(rest));
    }
    match &seen.verdict {
        Ok(()) => line("trusted", "it is not verified (api.insecure)"),
        Err(why) => line("not trusted", &clean(why)),
    }
    lines.push(String::new());
    lines.push("on the node, this prints the same:".to_owned());
    lines.push(paint.note(FINGERPRINT_COMMAND));
    lines.join("\n")
}

/// Breaks a certificate's fingerprint in the middle, as it does not fit on a line of 80 columns: `AA:BB:..:` and the rest.
fn halves(fingerprint: &str) -> [&str; 2] {
    let (first, rest) = fingerprint.split_at_checked(fingerprint.len().div_ceil(2)).unwrap_or((fingerprint, ""));
    [first, rest]
}

/// Writes a host key, and how to compare it.
fn host_key_text(key: &HostKeyLook, paint: Paint) -> String {
    let kind = key.kind();
    [
        format!("{:<12}{kind}", "type"),
        format!("{:<12}{}", "SHA-256", paint.strong(&key.fingerprint())),
        String::new(),
        "on that machine, this prints the same:".to_owned(),
        paint.note(fingerprint_command(&kind)),
    ]
    .join("\n")
}
