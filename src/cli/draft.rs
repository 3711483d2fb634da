//! The manifest while it is edited in a dialogue: the file as it was read, and the document as it is to be.

use std::path::{Path, PathBuf};

use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::manifest::edit;
use crate::manifest::edit::{Document, ManifestFile, SaveError};
use crate::manifest::{Manifest, ManifestError};

/// A manifest that is being edited.
pub(super) struct Draft {
    file: ManifestFile,
    /// As it is to be.
    pub(super) document: Document,
    shown: PathBuf,
}

impl Draft {
    /// Reads the file; where there is none, one is begun. What is wrong with it is printed.
    ///
    /// # Errors
    /// How the program ends where it can't be edited: it is not TOML, or can't be read.
    pub(super) fn open(path: &Path) -> Result<Self, Exit> {
        match ManifestFile::open(path, &env) {
            Ok((file, document)) => Ok(Self { file, document, shown: path.to_owned() }),
            Err(error) => {
                // A closed stderr leaves only the exit code to tell of the failure.
                let _written = super::manifest::write_error(&error, &mut std::io::stderr().lock());
                Err(Exit::Config)
            }
        }
    }

    /// Returns where it lies, as it was named.
    pub(super) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Returns where it really lies, links followed: to that its relative paths belong.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tells whether there was a file.
    pub(super) fn existed(&self) -> bool {
        self.file.existed()
    }

    /// Returns what the document means to `run`.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub(super) fn manifest(&self) -> Result<Manifest, ManifestError> {
        self.document.manifest(self.file.path(), &env)
    }

    /// Tells whether saving would change something.
    pub(super) fn is_changed(&self) -> bool {
        !self.file.is_same(&self.document) && (self.file.existed() || !self.document.text().is_empty())
    }

    /// Returns what saving would change, in the unified format.
    pub(super) fn diff(&self) -> String {
        self.file.diff(&self.document)
    }

    /// Returns where the previous file is kept, where there is one.
    pub(super) fn backup(&self) -> Option<PathBuf> {
        Some(self.file.backup()).filter(|path| path.exists())
    }

    /// Saves it and prints the difference, or only prints it, as `manifest set` does: nobody is asked.
    ///
    /// # Errors
    /// The file can't be saved. That it would be no valid manifest is printed, and is the exit code returned.
    pub(super) fn save_or_show(&mut self, dry_run: bool) -> Result<Exit, Failure> {
        edit::save_or_show(&mut self.file, &self.document, dry_run, &env)
    }

    /// Reads the file again and forgets all edits. Where that fails everything stays as it is.
    ///
    /// # Errors
    /// As [`ManifestFile::open`].
    pub(super) fn begin_again(&mut self) -> Result<(), ManifestError> {
        (self.file, self.document) = ManifestFile::open(&self.shown, &env)?;
        Ok(())
    }

    /// Saves it.
    ///
    /// # Errors
    /// As [`ManifestFile::save`].
    pub(super) fn save(&mut self) -> Result<Manifest, SaveError> {
        self.file.save(&self.document, &env)
    }
}

/// Looks up a variable of the environment.
pub(super) fn env(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}
