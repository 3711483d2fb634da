//! Exit codes: one list, one mapping. Scripts and CI jobs rely on them.

use std::process::ExitCode;

use crate::engine::observer::RunEnd;
use crate::machine::run::RunResult;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All verified, or nothing to do.
    Clean,
    /// The manifest or the configuration is wrong.
    Config,
    /// Wrong usage, or a credential's environment variable is missing.
    Usage,
    /// Something failed, was blocked or was rolled back.
    Failed,
    /// Nothing failed, but something is held for the operator.
    Held,
    /// Interrupted; the next run goes on.
    Interrupted,
    /// Another run holds the journal.
    Busy,
    /// The journal can't be read, or was made by a newer version.
    Journal,
    /// A bug of ours.
    Bug,
}

impl Exit {
    /// Every exit, in the order of its code.
    pub const ALL: [Self; 9] = [
        Self::Clean,
        Self::Config,
        Self::Usage,
        Self::Failed,
        Self::Held,
        Self::Interrupted,
        Self::Busy,
        Self::Journal,
        Self::Bug,
    ];

    /// Returns the process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Config => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::Held => 4,
            Self::Interrupted => 5,
            Self::Busy => 6,
            Self::Journal => 7,
            Self::Bug => 70,
        }
    }

    /// Says what the code means, for `--help` and the README.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Clean => "everything is verified, or there was nothing to do",
            Self::Config => "the manifest or the configuration is wrong",
            Self::Usage => "wrong usage, or an environment variable with a credential is missing",
            Self::Failed => {
                "something failed, was rolled back, or was blocked because it could not be protected or reached"
            }
            Self::Held => "nothing failed, but a step is held until you decide about it",
            Self::Interrupted => "interrupted; the next `proxmaint run` goes on from there",
            Self::Busy => "another run is at work on the same state",
            Self::Journal => "the journal can't be read, or was made by a newer version",
            Self::Bug => "a bug in proxmaint",
        }
    }

    /// Returns how the program ends after a run.
    ///
    /// A run that was interrupted ends with 5 whatever came out so far, since its verdict is not final; where the
    /// interruption came too late to leave anything undone, the run's own result counts.
    pub fn of_run(end: RunEnd) -> Self {
        match (end.result, end.interrupted) {
            (RunResult::Clean, _) => Self::Clean,
            // It stopped by itself, since something is wrong with it.
            (RunResult::Unfinished, false) if end.halted => Self::Failed,
            (RunResult::Unfinished, _) | (RunResult::Failed | RunResult::Held, true) => Self::Interrupted,
            (RunResult::Failed, false) => Self::Failed,
            (RunResult::Held, false) => Self::Held,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones_and_differ() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7, 70]);
    }

    #[test]
    fn a_run_ends_as_it_came_out() {
        let end = |result, interrupted| Exit::of_run(RunEnd { result, interrupted, halted: false });
        assert_eq!(end(RunResult::Clean, false), Exit::Clean);
        assert_eq!(end(RunResult::Clean, true), Exit::Clean);
        assert_eq!(end(RunResult::Failed, false), Exit::Failed);
        assert_eq!(end(RunResult::Failed, true), Exit::Interrupted);
        assert_eq!(end(RunResult::Held, false), Exit::Held);
        assert_eq!(end(RunResult::Unfinished, false), Exit::Interrupted);
        assert_eq!(end(RunResult::Unfinished, true), Exit::Interrupted);
        let halted = RunEnd { result: RunResult::Unfinished, interrupted: false, halted: true };
        assert_eq!(Exit::of_run(halted), Exit::Failed);
    }
}
