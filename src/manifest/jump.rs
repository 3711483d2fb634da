//! Jump hosts, as `-J` and `ProxyJump` write them.

use percent_encoding::percent_decode_str;

use super::ssh_args::is_login;

/// A host that a connection goes through.
///
/// As with OpenSSH, neither the user nor the port nor the keys of the machine behind it apply to it: it has what is written
/// here, and the defaults of whoever runs the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JumpHost {
    /// The login, where one is named; else the name of the local user.
    pub user: Option<String>,
    /// The name or the address, without brackets; resolved by the hop before it.
    pub host: String,
    /// The port, where one is named; else 22.
    pub port: Option<u16>,
}

/// Why a jump host can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JumpError {
    /// Nothing between two commas, or nothing at all.
    #[error("a host is missing")]
    Empty,
    /// `none` among others.
    #[error("`none` must stand alone")]
    NoneAmongOthers,
    /// A user that is empty or can't be one.
    #[error("`{0}` has no usable user before the `@`")]
    User(String),
    /// A name with blanks, of several colons without brackets, or the like.
    #[error("`{0}` is no host name; an IPv6 address stands in brackets")]
    Host(String),
    /// A port that is none.
    #[error("`{0}` has no port from 1 to 65535 behind the colon")]
    Port(String),
    /// `ssh://host/path`.
    #[error("`{0}` has a path behind the host")]
    Path(String),
    /// More hops than anyone needs.
    #[error("{0} hosts are more than the {MAX_HOPS} that are followed")]
    TooMany(usize),
}

/// The longest chain that is followed: each hop is a connection within a connection.
pub const MAX_HOPS: usize = 8;

/// Reads `HOP[,HOP..]` or `none`; an empty list is a direct connection.
pub(super) fn parse_chain(text: &str) -> Result<Vec<JumpHost>, JumpError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    let hops = text.split(',').count();
    if hops > MAX_HOPS {
        return Err(JumpError::TooMany(hops));
    }
    text.split(',').map(parse_hop).collect()
}

/// Reads `[USER@]HOST[:PORT]` or `ssh://[USER@]HOST[:PORT][/]`.
fn parse_hop(text: &str) -> Result<JumpHost, JumpError> {
    if text.is_empty() {
        return Err(JumpError::Empty);
    }
    if text.eq_ignore_ascii_case("none") {
        return Err(JumpError::NoneAmongOthers);
    }
    let uri = text.get(..6).filter(|head| head.eq_ignore_ascii_case("ssh://")).map(|head| &text[head.len()..]);
    let rest = match uri {
        None => text,
        Some(rest) => match rest.split_once('/') {
            None => rest,
            Some((authority, "")) => authority,
            Some(_) => return Err(JumpError::Path(text.to_owned())),
        },
    };
    // The last one counts: a user may hold an `@` of its own.
    let (user, host) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((user, host)) => {
            let user = if uri.is_some() {
                // `;` begins parameters of the URI, which OpenSSH leaves aside too.
                let plain = user.split(';').next().unwrap_or(user);
                percent_decode_str(plain).decode_utf8().map_err(|_| JumpError::User(text.to_owned()))?.into_owned()
            } else {
                user.to_owned()
            };
            if !is_login(&user) {
                return Err(JumpError::User(text.to_owned()));
            }
            (Some(user), host)
        }
    };
    let (host, port) = match host.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, "")) => (host, ""),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, port),
                None => return Err(JumpError::Host(text.to_owned())),
            },
            None => return Err(JumpError::Host(text.to_owned())),
        },
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if port.contains(':') || !is_host(host) {
        return Err(JumpError::Host(text.to_owned()));
    }
    let port = match port {
        "" => None,
        port => {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            Some(port.ok_or_else(|| JumpError::Port(text.to_owned()))?)
        }
    };
    Ok(JumpHost { user, host: host.to_owned(), port })
}

/// Tells whether a text can be a host name or an address: nothing that a shell, an option or a URL would stumble over.
pub(super) fn is_host(host: &str) -> bool {
    !host.is_empty()
        && !host.starts_with('-')
        && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@[]?#\"'\\,".contains(c))
}
