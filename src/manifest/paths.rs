//! How paths in a manifest are read: `~` is the home directory, and what is relative belongs to the manifest's directory.

use std::path::{Path, PathBuf};

/// Where the paths of one manifest start from.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    /// The manifest's directory, absolute.
    pub base: PathBuf,
    /// `HOME`, where it is set and not empty.
    pub home: Option<PathBuf>,
}

/// Why a path can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `~` without a home directory.
    #[error("`~` can't be expanded: HOME is not set")]
    NoHome,
    /// `~name`.
    #[error("the home directory of another user (`{0}`) is not looked up")]
    OtherHome(String),
    /// `%h` and the like, `${NAME}`.
    #[error("`{0}` is not expanded here")]
    Token(String),
    /// A NUL, which no path can hold.
    #[error("a path can't hold a NUL character")]
    Nul,
}

impl Paths {
    /// Reads the path of a key such as `identity_file`.
    pub(super) fn resolve(&self, text: &str) -> Result<PathBuf, PathError> {
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        let Some(rest) = text.strip_prefix('~') else {
            return Ok(self.base.join(text));
        };
        let (user, below) = rest.split_once('/').unwrap_or((rest, ""));
        if !user.is_empty() {
            return Err(PathError::OtherHome(format!("~{user}")));
        }
        let home = self.home.as_deref().ok_or(PathError::NoHome)?;
        // The slashes after `~` must not make the rest absolute.
        let below = below.trim_start_matches('/');
        Ok(if below.is_empty() { home.to_owned() } else { home.join(below) })
    }

    /// Reads the path of an argument of `ssh`: as [`Paths::resolve`], with `%%` and `%d` as OpenSSH has them.
    ///
    /// Its other tokens depend on the connection and its `${NAME}` on the environment: they are refused rather than taken
    /// for a part of the name.
    pub(super) fn resolve_argument(&self, text: &str) -> Result<PathBuf, PathError> {
        let mut plain = String::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('%', Some('%')) => {
                    chars.next();
                    plain.push('%');
                }
                ('%', Some('d')) => {
                    chars.next();
                    let home = self.home.as_deref().and_then(Path::to_str).ok_or(PathError::NoHome)?;
                    plain.push_str(home);
                }
                ('%', token) => {
                    return Err(PathError::Token(token.map_or_else(|| "%".to_owned(), |t| format!("%{t}"))));
                }
                ('$', Some('{')) => {
                    let rest: String = chars.take_while(|c| *c != '}').collect();
                    return Err(PathError::Token(format!("${rest}}}")));
                }
                _ => plain.push(c),
            }
        }
        self.resolve(&plain)
    }
}
