//! The file of a saved plan: `proxmaint plan --out` writes it, `proxmaint run --plan` reads it.
//!
//! One JSON object. `v` is its version; `digest` is `sha256:` and the digest of `plan`, written without spaces, so that a file
//! that was damaged or edited is found out. It keeps nobody from making another plan: it is no signature.
//!
//! | field of `plan` | meaning |
//! |---|---|
//! | `made` | when, in milliseconds since 1970 |
//! | `proxmaint` | the version that made it |
//! | `manifest` | the canonical path of its manifest |
//! | `policy` | what the operator wanted, by manifest and command line |
//! | `hosts[]` | `host`, `plan` (what is to be done there), `facts` (what that rests on) |
//! | `not_planned[]` | hosts that could not be looked at: `host`, `why`; a run by the plan leaves them out |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::ids::HostId;
use crate::inventory::HostFacts;
use crate::observe::log::Redactor;
use crate::plan::{HostPlan, HostPolicy, RunPolicy};
use crate::time::Timestamp;

/// The version that this program writes.
const VERSION: u16 = 1;

/// The largest file: a run journals its plans as one record, which may have as much.
const MAX_BYTES: u64 = 32 << 20;

/// A saved plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedPlan {
    /// When it was made.
    pub made: Timestamp,
    /// The version of proxmaint that made it.
    pub proxmaint: String,
    /// The canonical path of its manifest.
    pub manifest: String,
    /// What the operator wanted.
    pub policy: RunPolicy,
    /// What is to be done, in the manifest's order.
    pub hosts: Vec<SavedHost>,
    /// Hosts that could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_planned: Vec<NotPlanned>,
}

/// What is to be done on a host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedHost {
    /// The host.
    pub host: HostId,
    /// What is to be done.
    pub plan: HostPlan,
    /// What that rests on.
    pub facts: HostFacts,
}

/// A host that could not be looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotPlanned {
    /// The host.
    pub host: HostId,
    /// Why.
    pub why: String,
}

/// The file around a plan.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u16,
    digest: String,
    plan: T,
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Outside {
    v: u16,
    #[serde(rename = "digest")]
    _digest: String,
}

/// A plan can't be saved or read.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The system refused something.
    #[error("can't {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of another kind is in the way.
    #[error("{} is there and is no saved plan: it is not replaced", path.display())]
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// It holds more than it may.
    #[error("{} would have, or has, more than {} MiB", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It would hold a secret.
    #[error("the plan would hold one of the manifest's secrets: it is not saved")]
    Secret,
    /// It can't be written as JSON.
    #[error("the plan can't be written")]
    Unwritable(#[source] serde_json::Error),
    /// It is something else, or is cut off.
    #[error("{} is no saved plan, or is damaged", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A newer version of this program wrote it.
    #[error("{} was made by a newer version of proxmaint: it has version {found}, known is up to {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// It is not what was written.
    #[error("{} is not what was saved: it was damaged or edited", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl PlanFileError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "the file and its directory must be there, and be yours to read and write",
            Self::InTheWay { .. } => "name another file, or remove this one",
            Self::TooLarge { .. } => "plan for fewer hosts at a time (`--host`)",
            Self::Secret => "a password that is a common word can't be told from it: choose another one",
            Self::Unwritable(_) => "this is a bug; please report it",
            Self::Newer { .. } => "use that version, or make the plan anew",
            Self::Malformed { .. } | Self::Changed { .. } => "make it anew with `proxmaint plan --out FILE`",
        }
    }
}

impl SavedPlan {
    /// Reads a plan and makes sure that it is what was saved.
    ///
    /// # Errors
    /// A file that can't be read, is no plan, is not what was saved, or was made by a newer version.
    pub fn read(path: &Path) -> Result<Self, PlanFileError> {
        let malformed = |source| PlanFileError::Malformed { path: path.to_owned(), source };
        let text = read(path)?;
        let outside: Outside = serde_json::from_str(&text).map_err(malformed)?;
        if outside.v > VERSION {
            return Err(PlanFileError::Newer { path: path.to_owned(), found: outside.v });
        }
        let envelope: Envelope<&RawValue> = serde_json::from_str(&text).map_err(malformed)?;
        if digest(envelope.plan).map_err(malformed)? != envelope.digest {
            return Err(PlanFileError::Changed { path: path.to_owned() });
        }
        serde_json::from_str(envelope.plan.get()).map_err(malformed)
    }

    /// Returns the policy of those of these hosts that it plans for, each with its plan to follow.
    pub fn policy_of(&self, hosts: &[&HostId], parallel_hosts: u32) -> RunPolicy {
        let mut plans: BTreeMap<&HostId, &HostPlan> = self.hosts.iter().map(|host| (&host.host, &host.plan)).collect();
        let followed = |policy: &HostPolicy| {
            let plan = plans.remove(&policy.host).filter(|_| hosts.contains(&&policy.host))?;
            Some(HostPolicy { saved: Some(Box::new(plan.clone())), ..policy.clone() })
        };
        let rollout = self.policy.rollout.clone();
        RunPolicy { parallel_hosts, rollout, hosts: self.policy.hosts.iter().filter_map(followed).collect() }
    }

    fn text(&self, path: &Path, redactor: &Redactor) -> Result<String, PlanFileError> {
        let plan = serde_json::value::to_raw_value(self).map_err(PlanFileError::Unwritable)?;
        let digest = digest(&plan).map_err(PlanFileError::Unwritable)?;
        let envelope = Envelope { v: VERSION, digest, plan };
        let text = serde_json::to_string(&envelope).map_err(PlanFileError::Unwritable)? + "\n";
        if text.len() as u64 > MAX_BYTES {
            return Err(PlanFileError::TooLarge { path: path.to_owned() });
        }
        if redactor.redact(&text) != text {
            return Err(PlanFileError::Secret);
        }
        Ok(text)
    }
}

/// Returns the digest of a plan, whatever the spaces that it is written with.
fn digest(plan: &RawValue) -> Result<String, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_str(plan.get())?;
    Ok(format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(serde_json::to_vec(&value)?))))
}

fn read(path: &Path) -> Result<String, PlanFileError> {
    let failed = |source| PlanFileError::Io { what: "read", path: path.to_owned(), source };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)).map_err(failed)?;
    match read as u64 > MAX_BYTES {
        true => Err(PlanFileError::TooLarge { path: path.to_owned() }),
        false => Ok(text),
    }
}

/// A file into which a plan will be saved: that it can be is found out before the hosts are looked at.
pub struct Target {
    path: PathBuf,
    directory: PathBuf,
    /// For its owner alone: it tells what every machine lacks.
    file: tempfile::NamedTempFile,
}

impl Target {
    /// Makes sure that a plan can be saved as this file. One that is there is only replaced where it is a plan.
    ///
    /// # Errors
    /// A directory that can't be written to; a file of another kind.
    pub fn new(path: &Path) -> Result<Self, PlanFileError> {
        match fs::symlink_metadata(path) {
            Ok(_) => {
                let is_plan = read(path).is_ok_and(|text| serde_json::from_str::<Outside>(&text).is_ok());
                if !is_plan {
                    return Err(PlanFileError::InTheWay { path: path.to_owned() });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(PlanFileError::Io { what: "look at", path: path.to_owned(), source }),
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_owned();
        let file = tempfile::Builder::new()
            .prefix(".proxmaint-")
            .tempfile_in(&directory)
            .map_err(|source| PlanFileError::Io { what: "write a file in", path: directory.clone(), source })?;
        Ok(Self { path: path.to_owned(), directory, file })
    }

    /// Saves a plan: wholly, or not at all.
    ///
    /// # Errors
    /// One that is too large or would hold a secret; a disk that does not take it.
    pub fn save(mut self, plan: &SavedPlan, redactor: &Redactor) -> Result<(), PlanFileError> {
        let text = plan.text(&self.path, redactor)?;
        let path = self.path.clone();
        let failed = |source| PlanFileError::Io { what: "write", path: path.clone(), source };
        self.file.write_all(text.as_bytes()).map_err(failed)?;
        self.file.as_file().sync_all().map_err(failed)?;
        self.file.persist(&self.path).map_err(|error| failed(error.error))?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(manifest: &str) -> SavedPlan {
        SavedPlan {
            made: Timestamp(0),
            proxmaint: "0".to_owned(),
            manifest: manifest.to_owned(),
            policy: RunPolicy { parallel_hosts: 1, rollout: Default::default(), hosts: Vec::new() },
            hosts: Vec::new(),
            not_planned: Vec::new(),
        }
    }

    #[test]
    fn what_would_hold_a_secret_or_too_much_is_not_saved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.plan");
        let redactor = Redactor::new();
        redactor.register(&"correct-horse".to_owned().into());
        let save = |manifest: &str| Target::new(&path).unwrap().save(&plan(manifest), &redactor);
        assert!(matches!(save("/etc/correct-horse.toml"), Err(PlanFileError::Secret)));
        let large = "x".repeat(usize::try_from(MAX_BYTES).unwrap());
        assert!(matches!(save(&large), Err(PlanFileError::TooLarge { .. })));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
        save("/etc/fleet.toml").unwrap();
        assert_eq!(SavedPlan::read(&path).unwrap().manifest, "/etc/fleet.toml");
        fs::write(&path, &large).unwrap();
        assert!(matches!(SavedPlan::read(&path), Err(PlanFileError::Malformed { .. })));
        fs::write(&path, large + "x").unwrap();
        assert!(matches!(SavedPlan::read(&path), Err(PlanFileError::TooLarge { .. })));
    }
}
