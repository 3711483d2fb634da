//! Which problems an edit brings: what was wrong before is not held against it, so that a half-finished host can be edited.

use std::path::PathBuf;

use crate::cli::draft::{Draft, env};
use crate::manifest::edit::{Document, Setting, Spot};
use crate::manifest::{Problem, Severity};

/// What was wrong before an edit.
pub(super) struct Before {
    path: PathBuf,
    /// With the value that the key has now.
    problems: Vec<Problem>,
    /// Without the key that is edited: these have nothing to do with it, even if they stand on the same line.
    without: Vec<Problem>,
}

impl Before {
    /// Looks at a draft before something is added to it.
    pub(super) fn adding(draft: &Draft) -> Self {
        let path = draft.path().to_owned();
        let problems = problems(&path, &draft.document);
        Self { path, without: problems.clone(), problems }
    }

    /// Looks at a draft before a key of it is set or taken out.
    pub(super) fn setting(draft: &Draft, spot: Spot, setting: &Setting) -> Self {
        let mut before = Self::adding(draft);
        let mut document = draft.document.clone();
        // Where it can't be taken out, what stands now is all there is to compare with.
        if let Ok(true) = document.unset(spot, setting) {
            before.without = problems(&before.path, &document);
        }
        before
    }

    /// Returns what is wrong or odd with a document that was not so before.
    pub(super) fn brought(&self, document: &Document) -> Vec<Problem> {
        let mut known = self.problems.clone();
        let mut without = self.without.clone();
        let mut new = problems(&self.path, document);
        new.retain(|problem| {
            let was_there = take(&mut known, |old| is_same(old, problem));
            if was_there {
                take(&mut without, |old| is_same(old, problem));
            }
            !was_there
        });
        new.retain(|problem| !take(&mut without, |old| old.message == problem.message));
        new
    }

    /// Checks a document for a prompt: the first error that was not there before, on one line.
    pub(super) fn verdict(&self, document: &Document) -> Result<(), String> {
        match self.brought(document).iter().find(|problem| problem.severity == Severity::Error) {
            Some(problem) => Err(one_line(problem)),
            None => Ok(()),
        }
    }
}

/// Says what a problem is and what to do about it, on one line.
pub(super) fn one_line(problem: &Problem) -> String {
    std::iter::once(&problem.message).chain(&problem.hints).map(String::as_str).collect::<Vec<_>>().join("; ")
}

fn problems(path: &std::path::Path, document: &Document) -> Vec<Problem> {
    match document.manifest(path, &env) {
        Ok(manifest) => manifest.warnings,
        Err(error) => error.problems().to_vec(),
    }
}

/// Tells whether two problems are one: its line may be another one, what stands there not.
fn is_same(one: &Problem, other: &Problem) -> bool {
    one.severity == other.severity && one.message == other.message && one.place.excerpt == other.place.excerpt
}

/// Takes the first problem that fits out of a list; returns whether there was one.
fn take(list: &mut Vec<Problem>, fits: impl Fn(&Problem) -> bool) -> bool {
    match list.iter().position(fits) {
        Some(at) => {
            list.remove(at);
            true
        }
        None => false,
    }
}
