//! The file behind a document: read once, and replaced as a whole or not at all.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};

use super::super::load::MAX_BYTES;
use super::super::{Env, Manifest, ManifestError};
use super::{Document, unified};

/// The permissions of a manifest that is made here: it may come to hold passwords.
const NEW_MODE: u32 = 0o600;

/// A manifest's file, as it was when it was read.
#[derive(Debug, Clone)]
pub struct ManifestFile {
    /// As it was named, for messages.
    shown: PathBuf,
    /// Where it really lies, links followed.
    path: PathBuf,
    /// What it held; `None` where there was none.
    before: Option<String>,
}

/// Why a manifest was not saved. The file is then as it was, but for [`SaveError::Directory`].
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// With the edits it would be no valid manifest.
    #[error(transparent)]
    Invalid(#[from] ManifestError),
    /// Somebody else has changed it since it was read.
    #[error("{} was changed by somebody else meanwhile", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is different, in the unified format; empty where it is nothing that may be shown.
        diff: String,
    },
    /// The owner of the file can't be kept.
    #[error("the owner of {} can't be kept", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("can't {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is replaced, but it is not known whether that outlasts a power cut.
    #[error("{} is saved, but its directory can't be synced", path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SaveError {
    /// Returns what to do about it; problems of an invalid manifest carry their own hints.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(_) => None,
            Self::Changed { .. } => Some("look at what was changed, then do it again"),
            Self::Owner { .. } => Some("run as the owner of the file"),
            Self::Io { .. } => Some("the manifest and its directory must be writable"),
            Self::Directory { .. } => Some("check the disk"),
        }
    }
}

impl ManifestFile {
    /// Reads a file and what it holds. Where there is none the document is empty, and saving makes the file.
    ///
    /// # Errors
    /// As [`Manifest::load`]; that it is no valid manifest is no error, that it is not TOML is one. `env` is asked for `HOME`.
    pub fn open(shown: &Path, env: &Env<'_>) -> Result<(Self, Document), ManifestError> {
        let unreadable = |source| ManifestError::Unreadable { path: shown.to_owned(), source };
        let path = match shown.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = absent(shown).map_err(unreadable)?;
                let file = Self { shown: shown.to_owned(), path, before: None };
                return Ok((file, Document::default()));
            }
            Err(error) => return Err(unreadable(error)),
        };
        let bytes = read(&path).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ManifestError::TooLarge { path: shown.to_owned(), limit: MAX_BYTES });
        }
        let text = String::from_utf8(bytes).map_err(|error| error.into_bytes());
        let parsed = text.as_ref().ok().and_then(|text| Document::parse(text).ok());
        match (text, parsed) {
            (Ok(text), Some(document)) => Ok((Self { shown: shown.to_owned(), path, before: Some(text) }, document)),
            (text, _) => {
                // The loader says what is wrong, and where.
                let bytes = text.map_or_else(|bytes| bytes, String::into_bytes);
                match Manifest::parse(shown, &bytes, env) {
                    Err(error) => Err(error),
                    Ok(_) => Err(unreadable(io::Error::other("it is a manifest to run, but not to the editor"))),
                }
            }
        }
    }

    /// Returns how the file was named.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Returns where the file really lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether there was a file.
    pub fn existed(&self) -> bool {
        self.before.is_some()
    }

    /// Returns where the previous file is kept: beside it, with `.bak` behind its name.
    pub fn backup(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".bak");
        name.into()
    }

    /// Reads the file as it was, as `run` reads it.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn manifest_before(&self, env: &Env<'_>) -> Result<Manifest, ManifestError> {
        Manifest::parse(&self.path, self.before.as_deref().unwrap_or_default().as_bytes(), env)
    }

    /// Returns what saving would change, in the unified format; nothing where it would change nothing.
    pub fn diff(&self, document: &Document) -> String {
        unified(&self.shown.display().to_string(), self.before.as_deref().unwrap_or_default(), &document.text())
    }

    /// Tells whether saving would change nothing.
    pub fn is_same(&self, document: &Document) -> bool {
        self.before.as_deref() == Some(document.text().as_str())
    }

    /// Replaces the file by the document, after `run`'s own loader has accepted it: either wholly or not at all, with the same
    /// owner and permissions. The previous one is kept, see [`ManifestFile::backup`].
    ///
    /// # Errors
    /// The document is no valid manifest, the file is not as it was read, or it can't be written.
    pub fn save(&mut self, document: &Document, env: &Env<'_>) -> Result<Manifest, SaveError> {
        let text = document.text();
        let manifest = document.manifest(&self.path, env)?;
        let Some(before) = &self.before else {
            let file = self.staged(&text, None)?;
            file.persist_noclobber(&self.path).map_err(|failed| self.not_made(failed.error))?;
            self.before = Some(text);
            self.sync_directory()?;
            return Ok(manifest);
        };
        let meta = fs::metadata(&self.path).map_err(|source| self.failed("look at", source))?;
        let backup = self.staged(before, Some(&meta))?;
        let file = self.staged(&text, Some(&meta))?;
        // As late as can be: what is written between this look and the rename is lost but for nobody's notice.
        self.must_be_unchanged(before)?;
        let backup_path = self.backup();
        backup.persist(&backup_path).map_err(|failed| SaveError::Io {
            what: "keep the previous manifest as",
            path: backup_path,
            source: failed.error,
        })?;
        file.persist(&self.path).map_err(|failed| self.failed("replace", failed.error))?;
        self.before = Some(text);
        self.sync_directory()?;
        Ok(manifest)
    }

    fn must_be_unchanged(&self, before: &str) -> Result<(), SaveError> {
        let now = read(&self.path).map_err(|source| self.failed("read", source))?;
        if now == before.as_bytes() {
            return Ok(());
        }
        let now = String::from_utf8_lossy(&now);
        Err(SaveError::Changed {
            path: self.shown.clone(),
            diff: unified(&self.shown.display().to_string(), before, &now),
        })
    }

    /// Writes a text to a file in the same directory, durable, as its owner has it.
    fn staged(&self, text: &str, like: Option<&Metadata>) -> Result<tempfile::NamedTempFile, SaveError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let failed = |source| SaveError::Io { what: "write a file in", path: directory.to_owned(), source };
        let mut file = tempfile::Builder::new().prefix(".proxmaint-").tempfile_in(directory).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        let own = file.as_file().metadata().map_err(failed)?;
        let mode = like.map_or(NEW_MODE, |like| like.permissions().mode() & 0o7777);
        if let Some(like) = like.filter(|like| (like.uid(), like.gid()) != (own.uid(), own.gid())) {
            let (uid, gid) = (Uid::from_raw(like.uid()), Gid::from_raw(like.gid()));
            rustix::fs::fchown(file.as_file().as_fd(), Some(uid), Some(gid))
                .map_err(|error| SaveError::Owner { path: self.shown.clone(), source: error.into() })?;
        }
        // After the change of the owner, which may take permissions away.
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        Ok(file)
    }

    fn sync_directory(&self) -> Result<(), SaveError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| SaveError::Directory { path: self.shown.clone(), source })
    }

    fn not_made(&self, error: io::Error) -> SaveError {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return self.failed("make", error);
        }
        match fs::read_to_string(&self.path) {
            Ok(now) => SaveError::Changed {
                path: self.shown.clone(),
                diff: unified(&self.shown.display().to_string(), "", &now),
            },
            Err(source) => self.failed("read", source),
        }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> SaveError {
        SaveError::Io { what, path: self.shown.clone(), source }
    }
}

/// Reads a file, and one byte more than is allowed at most.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns where a file that is not there would lie; a link that leads nowhere is an error.
fn absent(shown: &Path) -> io::Result<PathBuf> {
    if shown.symlink_metadata().is_ok() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is a link that leads nowhere"));
    }
    let name = shown.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = shown.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(parent.canonicalize()?.join(name))
}
