//! Every key that a manifest may hold, in both spellings: the one list that reading, typo warnings and tests go by.

/// A setting and how it may be spelled.
#[derive(Debug)]
pub(super) struct Key {
    /// The spellings, dots for tables within tables; where several are given the first of this list wins.
    pub spellings: &'static [&'static str],
    /// Where it may stand.
    pub level: Level,
}

/// Where a key means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// In `[defaults]` and in each `[[hosts]]`, which goes before it.
    Both,
    /// In `[[hosts]]` only.
    Host,
    /// In `[defaults]` only.
    Defaults,
}

const fn both(spellings: &'static [&'static str]) -> Key {
    Key { spellings, level: Level::Both }
}

const fn host(spellings: &'static [&'static str]) -> Key {
    Key { spellings, level: Level::Host }
}

pub(super) const NAME: Key = host(&["name"]);
pub(super) const HOST: Key = host(&["host"]);
pub(super) const GUEST_INVENTORY: Key = host(&["guest_inventory"]);
pub(super) const USER: Key = both(&["user", "ssh.user"]);
pub(super) const GUEST_USER: Key = both(&["guest_user", "guest.user"]);
pub(super) const IDENTITY_FILE: Key = both(&["identity_file", "ssh.identity_file"]);
pub(super) const GUEST_IDENTITY_FILE: Key = both(&["guest_identity_file", "guest.identity_file"]);
pub(super) const SSH_EXTRA_ARGS: Key = both(&["ssh_extra_args", "ssh.extra_args"]);
pub(super) const GUEST_SSH_EXTRA_ARGS: Key =
    both(&["guest_ssh_extra_args", "guest.ssh_extra_args", "guest.ssh.extra_args"]);
pub(super) const API_NODE: Key = both(&["api_node", "api.node"]);
pub(super) const API_PORT: Key = both(&["api_port", "api.port"]);
pub(super) const API_INSECURE: Key = both(&["api_insecure", "api.insecure"]);
pub(super) const API_CA_FILE: Key = both(&["api_ca_file", "api.ca_file"]);
pub(super) const API_FINGERPRINT: Key = both(&["api_fingerprint", "api.fingerprint"]);
pub(super) const API_TOKEN_ENV: Key = host(&["api.token_env", "api_token_env"]);
pub(super) const API_SECRET_ENV: Key = host(&["api.secret_env", "api_secret_env"]);
pub(super) const MAX_PARALLEL: Key = both(&["max_parallel"]);
pub(super) const DRY_RUN: Key = both(&["dry_run"]);
pub(super) const PROTECT_MAX_AGE: Key = both(&["protect_max_age", "protect.max_age"]);
pub(super) const RESUME_WITHIN: Key = Key { spellings: &["resume_within"], level: Level::Defaults };

/// Every key of `[defaults]` and `[[hosts]]`.
pub(super) const ALL: [&Key; 20] = [
    &NAME,
    &HOST,
    &USER,
    &GUEST_USER,
    &IDENTITY_FILE,
    &GUEST_IDENTITY_FILE,
    &SSH_EXTRA_ARGS,
    &GUEST_SSH_EXTRA_ARGS,
    &API_NODE,
    &API_PORT,
    &API_INSECURE,
    &API_CA_FILE,
    &API_FINGERPRINT,
    &API_TOKEN_ENV,
    &API_SECRET_ENV,
    &MAX_PARALLEL,
    &DRY_RUN,
    &PROTECT_MAX_AGE,
    &RESUME_WITHIN,
    &GUEST_INVENTORY,
];

/// The keys of the file itself.
pub(super) const TOP: [&str; 2] = ["defaults", "hosts"];

/// The keys of `guest_inventory`.
pub(super) const INVENTORY: [&str; 4] = ["version", "ssh_public_key", "updated_at", "entries"];

/// The keys of an entry of `guest_inventory.entries`.
pub(super) const ENTRY: [&str; 13] = [
    "kind",
    "id",
    "name",
    "status",
    "ip",
    "user",
    "managed",
    "ssh_verified",
    "ssh_key_path",
    "last_checked",
    "password_env",
    "password",
    "notes",
];

/// Returns the key that is spelled so.
pub(super) fn spelled(path: &str) -> Option<&'static Key> {
    ALL.into_iter().find(|key| key.spellings.contains(&path))
}

/// Tells whether keys of that table are known: `ssh`, `guest`, `guest.ssh`, `api`, `protect`.
pub(super) fn is_section(path: &str) -> bool {
    let mut spellings = ALL.iter().flat_map(|key| key.spellings);
    spellings.any(|s| s.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Returns the candidate that `path` is probably a misspelling of.
pub(super) fn nearest<'a>(path: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let given = plain(path);
    // One slip in a short word, two in a longer one; two letters are too few to guess from.
    let most = match given.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&given, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
