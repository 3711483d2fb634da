//! What a login was let in by.

use std::fmt;
use std::path::PathBuf;

/// What a login was let in by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The private key in this file.
    Key(PathBuf),
    /// A key of ssh-agent.
    Agent,
    /// The password.
    Password,
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(path) => write!(f, "{}", path.display()),
            Self::Agent => f.write_str("ssh-agent"),
            Self::Password => f.write_str("password"),
        }
    }
}

/// How one proves oneself: finer than [`Accepted`], since a password can be given by two methods, of which a server may take but
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Means {
    /// The private key in this file.
    Key(PathBuf),
    /// The keys of ssh-agent.
    Agent,
    /// The password, by the method of that name.
    Password,
    /// The password, as the answer to a prompt.
    Prompt,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt => f.write_str("password prompt"),
            Self::Key(_) | Self::Agent | Self::Password => Accepted::from(self).fmt(f),
        }
    }
}

impl From<&Means> for Accepted {
    fn from(means: &Means) -> Self {
        match means {
            Means::Key(path) => Self::Key(path.clone()),
            Means::Agent => Self::Agent,
            Means::Password | Means::Prompt => Self::Password,
        }
    }
}
