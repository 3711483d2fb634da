//! Every key that a manifest may hold, in both spellings: the one list that reading, typo warnings and tests go by.

/// A setting: how it may be spelled, where it may stand, and what the reference says of it.
#[derive(Debug)]
pub(super) struct Key {
    /// The spellings, dots for tables within tables; where several are given the first of this list wins.
    pub spellings: &'static [&'static str],
    /// Where it may stand.
    pub level: Level,
    /// What holds where it is not given, as Markdown.
    pub default: &'static str,
    /// What it means, in one line of Markdown.
    pub meaning: &'static str,
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
    /// In `[[hosts.guests]]`.
    Guest,
}

impl Level {
    /// Returns the keys that are known there, those that have no effect there among them.
    pub(super) fn keys(self) -> &'static [&'static Key] {
        match self {
            Self::Both | Self::Host | Self::Defaults => &ALL,
            Self::Guest => &GUEST,
        }
    }
}

macro_rules! keys {
    ($level:ident: $($name:ident = $spellings:expr, $default:literal, $meaning:literal;)+) => {
        $(pub(super) const $name: Key =
            Key { spellings: &$spellings, level: Level::$level, default: $default, meaning: $meaning };)+
    };
}

keys! { Host:
    NAME = ["name"], "`host`", "what it is called here; must be unique";
    HOST = ["host"], "required", "DNS name or address of the node, for SSH and the API";
    API_TOKEN_ENV = ["api.token_env", "api_token_env"], "required", "variable that holds `USER@REALM!TOKENID`";
    API_SECRET_ENV = ["api.secret_env", "api_secret_env"], "required", "variable that holds the token's secret";
    GUESTS = ["guests"], "none", "rules of single guests (`[[hosts.guests]]`), see below";
    GUEST_INVENTORY = ["guest_inventory"], "none", "what is known of the host's guests, see below";
}

keys! { Both:
    USER = ["user", "ssh.user"], "`root`", "login on the node";
    IDENTITY_FILE = ["identity_file", "ssh.identity_file"], "none", "private key for the node";
    PASSWORD_ENV = ["ssh.password_env", "password_env"], "none", "variable that holds the password of the login on the node";
    SSH_EXTRA_ARGS = ["ssh_extra_args", "ssh.extra_args"], "`[]`", "arguments as for `ssh`, see below";
    GUEST_USER = ["guest_user", "guest.user"], "`root`", "login in guests";
    GUEST_IDENTITY_FILE = ["guest_identity_file", "guest.identity_file"], "none", "private key for guests";
    GUEST_PASSWORD_ENV = ["guest.password_env", "guest_password_env"], "none",
        "variable that holds the password of guests that have none of their own";
    GUEST_SSH_EXTRA_ARGS = ["guest_ssh_extra_args", "guest.ssh_extra_args", "guest.ssh.extra_args"], "`[]`",
        "arguments as for `ssh`, for guests";
    API_NODE = ["api_node", "api.node"], "found out", "the node's name, where it can't be told or must be a certain one";
    API_PORT = ["api_port", "api.port"], "`8006`", "port of the API";
    API_INSECURE = ["api_insecure", "api.insecure"], "`false`", "takes any certificate where neither of the next two is given";
    API_CA_FILE = ["api_ca_file", "api.ca_file"], "none", "PEM file of the authorities that may have issued the certificate";
    API_FINGERPRINT = ["api_fingerprint", "api.fingerprint"], "none", "SHA-256 of the certificate that the node must show";
    MAX_PARALLEL = ["max_parallel"], "`2`", "guests of a host that are worked on at a time";
    DRY_RUN = ["dry_run"], "`false`", "only ever plan for this host";
    GUESTS_INCLUDE = ["guests_include", "guests.include"], "all", "selectors of the guests that are maintained, see below";
    GUESTS_EXCLUDE = ["guests_exclude", "guests.exclude"], "`[]`", "selectors of the guests that are left alone";
    VIA = ["via"], "`\"auto\"`",
        "the way into guests: `\"pct\"` (CTs), `\"ssh\"`, `\"agent\"` (VMs), or `\"auto\"`: a CT by pct, then SSH; a VM by SSH where a login is known, else by its agent";
    STOPPED = ["stopped"], "`\"skip\"`", "guests that don't run: `\"skip\"`, or `\"start\"` them, upgrade them and stop them again";
    PROTECT = ["protect", "protect_with", "protect.with"], "`[\"snapshot\", \"backup\"]`",
        "how guests are protected before their upgrade, best way first; `\"none\"` stands alone and leaves no way back";
    PROTECT_MAX_AGE = ["protect_max_age", "protect.max_age"], "`\"1h\"`", "how old a protection may be when the upgrade begins";
    ON_FAILURE = ["on_failure"], "`\"keep\"`",
        "what is done about a guest whose upgrade failed, or the check after it: `\"keep\"` leaves it as it is and holds it for you, `\"rollback\"` rolls it back to its snapshot, see below";
    SNAPSHOT_KEEP_FOR = ["snapshot.keep_for", "snapshot_keep_for"], "`\"24h\"`", "how long snapshots made here are kept after a verified success";
    SNAPSHOT_KEEP_LAST = ["snapshot.keep_last", "snapshot_keep_last"], "`0`", "how many snapshots of a guest are kept however old they are";
    BACKUP_STORAGE = ["backup.storage", "backup_storage"], "the one with the most room", "storage that backups go to";
    BACKUP_MODE = ["backup.mode", "backup_mode"], "`\"snapshot\"`", "mode of vzdump: `\"snapshot\"`, `\"suspend\"` or `\"stop\"`, which is downtime";
    BACKUP_COMPRESS = ["backup.compress", "backup_compress"], "`\"zstd\"`", "`\"zstd\"`, `\"gzip\"`, `\"lzo\"` or `\"none\"`";
    BACKUP_LOCK_WAIT = ["backup.lock_wait", "backup_lock_wait"], "`\"3h\"`", "how long vzdump waits for other backups of the node";
    BACKUP_KEEP_FOR = ["backup.keep_for", "backup_keep_for"], "`\"7days\"`", "how long backups made here are kept after a verified success";
    BACKUP_KEEP_LAST = ["backup.keep_last", "backup_keep_last"], "`1`", "how many backups of a guest are kept however old they are";
    LOCK_WAIT = ["lock_wait"], "`\"10m\"`", "how long a guest's lock (backup, migration, ..) is waited for";
    GUEST_REBOOT = ["guest_reboot", "guest.reboot"], "`\"never\"`",
        "`\"if-needed\"` reboots VMs whose upgrade brought another kernel";
    HOST_REBOOT = ["host_reboot", "host.reboot"], "`\"never\"`",
        "`\"if-needed\"` reboots the node after its upgrade where it needs it, `\"always\"` in any case; in `[[hosts]]`, where `host` is the address, `host_reboot` only";
    CHECKS = ["checks"], "`[]`",
        "what guests are asked before and after their upgrade (`{ tcp = 443 }`, `{ http = \"https://{address}/\" }`, `{ command = \"..\" }`), see below";
    ALLOW_QUORUM_LOSS = ["allow_quorum_loss"], "`false`",
        "in a cluster of two nodes, where HA manages nothing, lets a node be rebooted though the other one loses its quorum meanwhile";
    EVACUATE = ["evacuate"], "`\"never\"`",
        "`\"migrate\"` moves the guests of a node that is rebooted to other nodes of its cluster, and back; `\"never\"` shuts them down, and leaves those that HA manages to the cluster's shutdown policy";
}

keys! { Defaults:
    RESUME_WITHIN = ["resume_within"], "`\"24h\"`", "how long after its last event an unfinished run may still be gone on with";
    CANARY = ["canary"], "none", "who goes first: names of hosts, guests of one (`\"pve1/104\"`), selectors of guests (`\"tag:canary\"`)";
    SOAK = ["soak"], "none", "how long canaries are left alone before they are checked once more and the rest begins";
    MAX_FAILURES = ["max_failures"], "no bound", "hosts and guests that may fail before a run halts: 0 halts at the first one";
}

keys! { Guest:
    RULE_ID = ["id"], "one of the two", "the vmid of the guest: `104` or `\"104\"`";
    RULE_MATCH = ["match"], "one of the two", "selector of the guests: `\"tag:prod\"`";
    RULE_MANAGED = ["managed"], "not said", "`false`: never touched. `true`: one that can't be reached is `blocked` and not merely skipped";
    RULE_VIA = ["via"], "the host's", "the way in";
    RULE_STOPPED = ["stopped"], "the host's", "what is done where it does not run";
    RULE_PROTECT = ["protect", "protect_with", "protect.with"], "the host's", "how it is protected";
    RULE_ON_FAILURE = ["on_failure"], "the host's", "what is done where its upgrade failed";
    RULE_REBOOT = ["reboot"], "the host's `guest.reboot`", "`\"never\"` or `\"if-needed\"`";
    RULE_CHECKS = ["checks"], "the host's", "what it is asked before and after its upgrade, see below; `[]` for nothing";
    RULE_BACKUP_STORAGE = ["backup.storage", "backup_storage"], "the host's", "storage that its backup goes to";
    RULE_BACKUP_MODE = ["backup.mode", "backup_mode"], "the host's", "mode of vzdump";
    RULE_BACKUP_COMPRESS = ["backup.compress", "backup_compress"], "the host's", "compression of its backup";
    RULE_ADDRESS = ["address"], "none", "where it may be reached over SSH: a hint, proven before it is used; with `id` only";
    RULE_USER = ["user"], "the host's `guest_user`", "login in it; with `id` only";
    RULE_IDENTITY_FILE = ["identity_file"], "the host's `guest_identity_file`", "private key for it, offered first; with `id` only";
    RULE_PASSWORD_ENV = ["password_env"], "the host's `guest.password_env`", "variable that holds its password; with `id` only";
}

/// Every key of `[defaults]` and `[[hosts]]`, in the order of the reference.
pub(super) const ALL: [&Key; 46] = [
    &HOST,
    &NAME,
    &USER,
    &IDENTITY_FILE,
    &PASSWORD_ENV,
    &SSH_EXTRA_ARGS,
    &API_NODE,
    &API_PORT,
    &API_INSECURE,
    &API_CA_FILE,
    &API_FINGERPRINT,
    &API_TOKEN_ENV,
    &API_SECRET_ENV,
    &GUEST_USER,
    &GUEST_IDENTITY_FILE,
    &GUEST_PASSWORD_ENV,
    &GUEST_SSH_EXTRA_ARGS,
    &GUESTS_INCLUDE,
    &GUESTS_EXCLUDE,
    &VIA,
    &STOPPED,
    &PROTECT,
    &PROTECT_MAX_AGE,
    &ON_FAILURE,
    &SNAPSHOT_KEEP_FOR,
    &SNAPSHOT_KEEP_LAST,
    &BACKUP_STORAGE,
    &BACKUP_MODE,
    &BACKUP_COMPRESS,
    &BACKUP_LOCK_WAIT,
    &BACKUP_KEEP_FOR,
    &BACKUP_KEEP_LAST,
    &LOCK_WAIT,
    &GUEST_REBOOT,
    &HOST_REBOOT,
    &CHECKS,
    &ALLOW_QUORUM_LOSS,
    &EVACUATE,
    &MAX_PARALLEL,
    &DRY_RUN,
    &RESUME_WITHIN,
    &CANARY,
    &SOAK,
    &MAX_FAILURES,
    &GUESTS,
    &GUEST_INVENTORY,
];

/// Every key of `[[hosts.guests]]`, in the order of the reference.
pub(super) const GUEST: [&Key; 16] = [
    &RULE_ID,
    &RULE_MATCH,
    &RULE_MANAGED,
    &RULE_VIA,
    &RULE_STOPPED,
    &RULE_PROTECT,
    &RULE_ON_FAILURE,
    &RULE_REBOOT,
    &RULE_CHECKS,
    &RULE_BACKUP_STORAGE,
    &RULE_BACKUP_MODE,
    &RULE_BACKUP_COMPRESS,
    &RULE_ADDRESS,
    &RULE_USER,
    &RULE_IDENTITY_FILE,
    &RULE_PASSWORD_ENV,
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

/// Returns the key that is spelled so at that level.
pub(super) fn spelled(here: Level, path: &str) -> Option<&'static Key> {
    here.keys().iter().find(|key| key.spellings.contains(&path)).copied()
}

/// Tells whether a table of that name holds keys: `ssh`, `guest`, `guest.ssh`, `protect`, ...
///
/// Some are keys themselves (`protect`, `guests`): the type tells which is meant. `host` is the address in `[[hosts]]` and a
/// section in `[defaults]`.
pub(super) fn is_section(here: Level, path: &str) -> bool {
    if here == Level::Host && path == HOST.spellings[0] {
        return false;
    }
    let mut spellings = here.keys().iter().flat_map(|key| key.spellings);
    spellings.any(|s| s.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Returns the outermost sections of that level.
pub(super) fn sections(here: Level) -> impl Iterator<Item = &'static str> {
    here.keys().iter().flat_map(|key| key.spellings).filter_map(|s| s.split_once('.')).map(|(section, _)| section)
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
