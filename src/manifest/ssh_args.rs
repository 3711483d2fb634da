//! The arguments of `ssh_extra_args`, read as OpenSSH's client reads its command line.
//!
//! Understood are `-p -i -l -J`, joined or apart (`-p2222`, `-p 2222`), and `-o` with the keywords of [`KEYWORDS`]. As in
//! OpenSSH the first value of an option wins, whichever way it is written (`-p 1 -o Port=2` is port 1), identity files
//! add up, and a second `-J` is an error. Anything else is refused, since it would silently do nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::jump::{self, JumpError, JumpHost};
use super::paths::{PathError, Paths};

/// The keywords of `-o` that are understood, as OpenSSH's manual spells them.
pub const KEYWORDS: [&str; 8] = [
    "Port",
    "User",
    "IdentityFile",
    "ProxyJump",
    "StrictHostKeyChecking",
    "UserKnownHostsFile",
    "ConnectTimeout",
    "ServerAliveInterval",
];

/// What the arguments say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SshArgs {
    /// `-l`, `-o User`.
    pub user: Option<String>,
    /// `-p`, `-o Port`.
    pub port: Option<u16>,
    /// `-i`, `-o IdentityFile`: absolute, in order, none twice.
    pub identity_files: Vec<PathBuf>,
    /// `-o IdentityFile=none` was among them: the user's own keys are not offered, even where no other key is named.
    pub no_default_identities: bool,
    /// `-J`, `-o ProxyJump`: the hosts to go through, the first one nearest to us; empty for a direct connection.
    pub jumps: Vec<JumpHost>,
    /// `-o StrictHostKeyChecking`.
    pub host_keys: Option<HostKeyPolicy>,
    /// `-o UserKnownHostsFile`: absolute; an empty list for `none`.
    pub known_hosts_files: Option<Vec<PathBuf>>,
    /// `-o ConnectTimeout`; `None` also for `none` and 0, which leave the wait to our own bound.
    pub connect_timeout: Option<Duration>,
    /// `-o ServerAliveInterval`; zero switches it off, as in OpenSSH.
    pub server_alive_interval: Option<Duration>,
}

/// What to do about a host key (`-o StrictHostKeyChecking`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// `yes`, and `ask`, as nobody is asked here: only a known key is accepted.
    Strict,
    /// `accept-new`: an unknown key is accepted and learnt, a changed one refused.
    AcceptNew,
    /// `no`, `off`: any key is accepted.
    Off,
}

/// Why a word is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshArgsError {
    /// An option that is not supported, `-v` for example.
    #[error("ssh option `{0}` is not supported")]
    Option(String),
    /// A keyword of `-o` that is not supported.
    #[error("ssh option `-o {0}` is not supported")]
    Keyword(String),
    /// A word that is no option: `ssh` would take it for the host.
    #[error("`{0}` is no ssh option")]
    Stray(String),
    /// An option at the end, or a keyword, without its value.
    #[error("`{0}` has no value")]
    NoValue(String),
    /// A value that does not fit.
    #[error("`{value}` is no value for `{option}`")]
    Value {
        /// The option, as `-p` or `-o Port`.
        option: String,
        /// Its value.
        value: String,
        /// What would fit.
        expected: &'static str,
    },
    /// A path that can't be read.
    #[error("the file of `{option}` can't be told: {why}")]
    Path {
        /// The option.
        option: String,
        /// Why.
        why: PathError,
    },
    /// A jump host that can't be read.
    #[error("the jump host of `{option}` can't be told: {why}")]
    Jump {
        /// The option.
        option: String,
        /// Why.
        why: JumpError,
    },
    /// `-J` after an earlier `-J` or `-o ProxyJump`.
    #[error("`-J` is given after another jump host")]
    SecondJump,
}

impl SshArgsError {
    /// Returns what an operator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Option(_) | Self::Keyword(_) => {
                format!("supported are -p, -i, -l, -J and -o {}", KEYWORDS.join(", "))
            }
            Self::Stray(_) => {
                "the host is taken from `host`; a value with blanks needs quotes of its own: \"-o 'Port 22'\""
                    .to_owned()
            }
            Self::NoValue(_) => "write the value behind it: \"-p 2222\", \"-o Port=2222\"".to_owned(),
            Self::Value { expected, .. } => format!("expected {expected}"),
            Self::Path { why: PathError::Token(_), .. } => "write the path out; only %% and %d are expanded".to_owned(),
            Self::Path { .. } => "write the path out".to_owned(),
            Self::Jump { .. } => "write [USER@]HOST[:PORT], several with commas between them".to_owned(),
            Self::SecondJump => "name all jump hosts in one -J, with commas between them: -J first,second".to_owned(),
        }
    }
}

impl SshArgs {
    /// Reads words, as a manifest in `directory` would hold them and for a user with that home directory.
    ///
    /// # Errors
    /// Everything that is not understood.
    pub fn parse(words: &[String], directory: &Path, home: Option<&Path>) -> Result<Self, Vec<SshArgsError>> {
        let paths = Paths { base: directory.to_owned(), home: home.map(Path::to_owned) };
        let (args, errors) = parse(words, &paths);
        if errors.is_empty() { Ok(args) } else { Err(errors.into_iter().map(|(_, error)| error).collect()) }
    }
}

/// Reads the words; every error with the index of the word that it is about.
pub(super) fn parse(words: &[String], paths: &Paths) -> (SshArgs, Vec<(usize, SshArgsError)>) {
    let mut parser = Parser { paths, args: SshArgs::default(), first: Given::default(), errors: Vec::new() };
    let mut index = 0;
    while let Some(word) = words.get(index) {
        let start = index;
        index += 1;
        let mut chars = word.chars();
        let letter = match (chars.next(), chars.next()) {
            (Some('-'), Some(letter)) => letter,
            _ => {
                parser.errors.push((start, SshArgsError::Stray(word.clone())));
                continue;
            }
        };
        let joined = chars.as_str();
        if !matches!(letter, 'p' | 'i' | 'l' | 'J' | 'o') {
            parser.errors.push((start, SshArgsError::Option(word.clone())));
            continue;
        }
        let value = if joined.is_empty() {
            let value = words.get(index).map(String::as_str);
            index += 1;
            value
        } else {
            Some(joined)
        };
        let result = match value {
            Some(value) => parser.option(letter, value),
            None => Err(SshArgsError::NoValue(word.clone())),
        };
        if let Err(error) = result {
            parser.errors.push((start, error));
        }
    }
    (parser.args, parser.errors)
}

/// Which options of a single value were given already, where the value itself does not tell.
#[derive(Default)]
struct Given {
    jump: bool,
    connect_timeout: bool,
}

struct Parser<'a> {
    paths: &'a Paths,
    args: SshArgs,
    first: Given,
    errors: Vec<(usize, SshArgsError)>,
}

impl Parser<'_> {
    fn option(&mut self, letter: char, value: &str) -> Result<(), SshArgsError> {
        let option = format!("-{letter}");
        match letter {
            'p' => self.port(&option, value),
            'l' => self.user(&option, value),
            'i' => self.identity(&option, value),
            'J' if self.first.jump => Err(SshArgsError::SecondJump),
            'J' => self.jump(&option, value),
            _ => self.keyword(value),
        }
    }

    /// Reads `Keyword=value`, `Keyword value` or `Keyword = value`.
    fn keyword(&mut self, text: &str) -> Result<(), SshArgsError> {
        let text = text.trim();
        // OpenSSH reads it as a line of its configuration file: an empty one or a comment means nothing.
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let end = text.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let Some(keyword) = KEYWORDS.into_iter().find(|k| k.eq_ignore_ascii_case(name)) else {
            return Err(SshArgsError::Keyword(name.to_owned()));
        };
        let option = format!("-o {keyword}");
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        let misquoted = |expected| SshArgsError::Value { option: option.clone(), value: rest.to_owned(), expected };
        let words = shell_words::split(rest).map_err(|_| misquoted("quotes that are closed"))?;
        if keyword == "UserKnownHostsFile" {
            return self.known_hosts(&option, &words);
        }
        let value = match words.as_slice() {
            [] => return Err(SshArgsError::NoValue(option)),
            [value] => value,
            [..] => return Err(misquoted("a single word")),
        };
        match keyword {
            "Port" => self.port(&option, value),
            "User" => self.user(&option, value),
            "IdentityFile" if value.eq_ignore_ascii_case("none") => {
                self.args.no_default_identities = true;
                Ok(())
            }
            "IdentityFile" => self.identity(&option, value),
            "ProxyJump" => self.jump(&option, value),
            "StrictHostKeyChecking" => self.host_keys(&option, value),
            "ConnectTimeout" => {
                let time = seconds(&option, value)?;
                if !self.first.connect_timeout {
                    self.first.connect_timeout = true;
                    self.args.connect_timeout = time.filter(|time| !time.is_zero());
                }
                Ok(())
            }
            _ => {
                let time = seconds(&option, value)?.unwrap_or(Duration::ZERO);
                self.args.server_alive_interval.get_or_insert(time);
                Ok(())
            }
        }
    }

    fn port(&mut self, option: &str, value: &str) -> Result<(), SshArgsError> {
        let port = value.trim().parse::<u16>().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| bad(option, value, "a port from 1 to 65535"))?;
        self.args.port.get_or_insert(port);
        Ok(())
    }

    fn user(&mut self, option: &str, value: &str) -> Result<(), SshArgsError> {
        if !is_login(value) {
            return Err(bad(option, value, "the name of a user"));
        }
        self.args.user.get_or_insert_with(|| value.to_owned());
        Ok(())
    }

    fn identity(&mut self, option: &str, value: &str) -> Result<(), SshArgsError> {
        let file = self.path(option, value)?;
        if !self.args.identity_files.contains(&file) {
            self.args.identity_files.push(file);
        }
        Ok(())
    }

    fn jump(&mut self, option: &str, value: &str) -> Result<(), SshArgsError> {
        let jumps = jump::parse_chain(value).map_err(|why| SshArgsError::Jump { option: option.to_owned(), why })?;
        if !self.first.jump {
            self.first.jump = true;
            self.args.jumps = jumps;
        }
        Ok(())
    }

    fn host_keys(&mut self, option: &str, value: &str) -> Result<(), SshArgsError> {
        let policy = match value.to_ascii_lowercase().as_str() {
            "yes" | "true" | "ask" => HostKeyPolicy::Strict,
            "accept-new" => HostKeyPolicy::AcceptNew,
            "no" | "false" | "off" => HostKeyPolicy::Off,
            _ => return Err(bad(option, value, "yes, no, ask, off or accept-new")),
        };
        self.args.host_keys.get_or_insert(policy);
        Ok(())
    }

    fn known_hosts(&mut self, option: &str, words: &[String]) -> Result<(), SshArgsError> {
        let is_none = |word: &String| word.eq_ignore_ascii_case("none");
        let files = match words {
            [] => return Err(SshArgsError::NoValue(option.to_owned())),
            [word] if is_none(word) => Vec::new(),
            _ if words.iter().any(is_none) => return Err(bad(option, "none", "`none` to stand alone")),
            _ => words.iter().map(|word| self.path(option, word)).collect::<Result<_, _>>()?,
        };
        self.args.known_hosts_files.get_or_insert(files);
        Ok(())
    }

    fn path(&self, option: &str, value: &str) -> Result<PathBuf, SshArgsError> {
        if value.is_empty() {
            return Err(bad(option, value, "the path of a file"));
        }
        self.paths.resolve_argument(value).map_err(|why| SshArgsError::Path { option: option.to_owned(), why })
    }
}

fn bad(option: &str, value: &str, expected: &'static str) -> SshArgsError {
    SshArgsError::Value { option: option.to_owned(), value: value.to_owned(), expected }
}

/// Tells whether a login can be handed to a server: not empty, nothing that an option or a terminal would be upset by.
pub(super) fn is_login(user: &str) -> bool {
    !user.is_empty() && !user.starts_with('-') && !user.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Reads a time as OpenSSH does: numbers with `s m h d w` behind them, added up, seconds without; `none` is `None`.
fn seconds(option: &str, value: &str) -> Result<Option<Duration>, SshArgsError> {
    /// The greatest number of seconds that OpenSSH holds.
    const MOST: u64 = i32::MAX as u64;
    let wrong = || bad(option, value, "seconds, or a time such as 1m30s");
    if value.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let mut total = 0_u64;
    let mut rest = value;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
        let mut behind = rest[end..].chars();
        let unit = match behind.next().map(|c| c.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 60 * 60,
            Some('d') => 24 * 60 * 60,
            Some('w') => 7 * 24 * 60 * 60,
            Some(_) => return Err(wrong()),
        };
        rest = behind.as_str();
        total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
    }
    if value.is_empty() || total > MOST {
        return Err(wrong());
    }
    Ok(Some(Duration::from_secs(total)))
}
