//! What can be set where: every key with its meaning, its default and the kind of value that it takes.

use super::super::keys::{self, Key, Level};
use super::layout::{Path, Step};
use super::value::Value;

/// A table of the file that keys stand in. Hosts, rules and entries are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// `[defaults]`.
    Defaults,
    /// A `[[hosts]]`.
    Host(usize),
    /// A `[[hosts.guests]]` of a host.
    Rule(usize, usize),
    /// `guest_inventory` of a host.
    Inventory(usize),
    /// An entry of a host's `guest_inventory`.
    Entry(usize, usize),
}

impl Spot {
    /// Returns which keys it takes.
    pub fn scope(self) -> Scope {
        match self {
            Self::Defaults => Scope::Defaults,
            Self::Host(_) => Scope::Host,
            Self::Rule(..) => Scope::Rule,
            Self::Inventory(_) => Scope::Inventory,
            Self::Entry(..) => Scope::Entry,
        }
    }

    pub(super) fn path(self) -> Path {
        let key = Step::key;
        match self {
            Self::Defaults => vec![key("defaults")],
            Self::Host(host) => vec![key("hosts"), Step::Index(host)],
            Self::Rule(host, rule) => vec![key("hosts"), Step::Index(host), key("guests"), Step::Index(rule)],
            Self::Inventory(host) => vec![key("hosts"), Step::Index(host), key("guest_inventory")],
            Self::Entry(host, entry) => {
                let above = [key("hosts"), Step::Index(host), key("guest_inventory")];
                above.into_iter().chain([key("entries"), Step::Index(entry)]).collect()
            }
        }
    }

    /// Returns the table that a path leads into, and how many steps of the path that takes.
    pub(super) fn of(path: &[Step]) -> Option<(Self, usize)> {
        let named = |at: usize, name: &str| matches!(path.get(at), Some(Step::Key(key)) if key == name);
        let index = |at: usize| match path.get(at) {
            Some(Step::Index(index)) => Some(*index),
            _ => None,
        };
        if named(0, "defaults") {
            return Some((Self::Defaults, 1));
        }
        let host = index(1).filter(|_| named(0, "hosts"))?;
        Some(match (index(3), index(4)) {
            (Some(rule), _) if named(2, "guests") => (Self::Rule(host, rule), 4),
            (_, Some(entry)) if named(2, "guest_inventory") && named(3, "entries") => (Self::Entry(host, entry), 5),
            _ if named(2, "guest_inventory") => (Self::Inventory(host), 3),
            _ => (Self::Host(host), 2),
        })
    }
}

/// Which keys a table takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of `[defaults]`.
    Defaults,
    /// Those of `[[hosts]]`.
    Host,
    /// Those of `[[hosts.guests]]`.
    Rule,
    /// Those of `guest_inventory`.
    Inventory,
    /// Those of an entry of `guest_inventory`.
    Entry,
}

impl Scope {
    /// Names it as it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Defaults => "[defaults]",
            Self::Host => "[[hosts]]",
            Self::Rule => "[[hosts.guests]]",
            Self::Inventory => "guest_inventory",
            Self::Entry => "an entry of guest_inventory",
        }
    }

    /// Returns the keys that it takes, in the order of the reference.
    pub fn settings(self) -> Vec<Setting> {
        let plain = |table: &'static [Plain]| table.iter().map(|plain| Setting::of_plain(self, plain)).collect();
        let level = match self {
            Self::Inventory => return plain(&INVENTORY),
            Self::Entry => return plain(&ENTRY),
            Self::Defaults => Level::Defaults,
            Self::Host => Level::Host,
            Self::Rule => Level::Guest,
        };
        let fits = |key: &&&Key| key.level == level || key.level == Level::Both;
        level.keys().iter().filter(fits).map(|key| Setting::of_key(self, key)).collect()
    }

    /// Returns the key that is spelled so.
    ///
    /// # Errors
    /// There is none here; the error says which one is much like it, or where it belongs.
    pub fn setting(self, spelling: &str) -> Result<Setting, UnknownKey> {
        let settings = self.settings();
        if let Some(setting) = settings.iter().find(|setting| setting.spellings.contains(&spelling)) {
            return Ok(*setting);
        }
        let others = [Self::Defaults, Self::Host, Self::Rule].into_iter().filter(|scope| *scope != self);
        let is_there = |scope: &Self| scope.settings().iter().any(|setting| setting.spellings.contains(&spelling));
        let candidates = settings.iter().flat_map(|setting| setting.spellings.iter().copied());
        Err(UnknownKey {
            given: spelling.to_owned(),
            scope: self,
            elsewhere: others.into_iter().find(is_there),
            nearest: keys::nearest(spelling, candidates).map(str::to_owned),
        })
    }
}

/// A key that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no key `{given}` in {}", scope.as_str())]
pub struct UnknownKey {
    /// As it was given.
    pub given: String,
    /// Where it was looked for.
    pub scope: Scope,
    /// Where there is such a key.
    pub elsewhere: Option<Scope>,
    /// The key that is much like it.
    pub nearest: Option<String>,
}

impl UnknownKey {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match (&self.elsewhere, &self.nearest) {
            (Some(scope), _) => format!("it stands in {} only", scope.as_str()),
            (None, Some(nearest)) => format!("did you mean `{nearest}`?"),
            (None, None) => {
                let names = self.scope.settings().iter().map(|setting| setting.name()).collect::<Vec<_>>();
                format!("the keys are {}", names.join(", "))
            }
        }
    }
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of texts, or one text.
    List,
    /// Tables, which are edited one by one.
    Tables,
}

/// A key of the manifest.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    spellings: &'static [&'static str],
    scope: Scope,
    default: &'static str,
    meaning: &'static str,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.scope == other.scope && self.name() == other.name()
    }
}

impl Eq for Setting {}

impl Setting {
    pub(super) fn of_key(scope: Scope, key: &'static Key) -> Self {
        Self { spellings: key.spellings, scope, default: key.default, meaning: key.meaning }
    }

    fn of_plain(scope: Scope, (name, default, meaning): &'static Plain) -> Self {
        Self { spellings: std::slice::from_ref(name), scope, default, meaning }
    }

    /// Returns its first spelling.
    pub fn name(&self) -> &'static str {
        self.spellings.first().copied().unwrap_or_default()
    }

    /// Returns all its spellings, dots for tables within tables.
    pub fn spellings(&self) -> &'static [&'static str] {
        self.spellings
    }

    /// Returns where it stands.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Returns what holds where it is given nowhere, as Markdown.
    pub fn default(&self) -> &'static str {
        self.default
    }

    /// Returns what it means, in one line of Markdown.
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// Returns what it takes.
    pub fn kind(&self) -> Kind {
        match self.name() {
            "api_port" | "max_parallel" | "snapshot.keep_last" | "backup.keep_last" | "version" => Kind::Number,
            // The vmid of a rule is a number, that of an inventory's entry a text.
            "id" if self.scope == Scope::Rule => Kind::Number,
            "allow_quorum_loss" | "api_insecure" | "dry_run" | "managed" | "ssh_verified" => Kind::Boolean,
            "ssh_extra_args" | "guest_ssh_extra_args" | "guests_include" | "guests_exclude" | "protect" => Kind::List,
            "guests" | "guest_inventory" | "checks" => Kind::Tables,
            _ => Kind::Text,
        }
    }

    /// Tells whether it may be a date of TOML as well as a text.
    pub(super) fn takes_date(&self) -> bool {
        matches!(self.name(), "updated_at" | "last_checked")
    }

    /// Tells whether it holds a secret itself: such a value is read where it stands, and never written.
    pub fn is_secret(&self) -> bool {
        self.name() == "password"
    }

    /// Returns the key whose value holds for a guest where its rule or its entry of the inventory has none.
    pub fn of_host(&self) -> Option<Self> {
        let name = match (self.scope, self.name()) {
            (Scope::Rule, "reboot") => "guest_reboot",
            (Scope::Rule | Scope::Entry, "user") => "guest_user",
            (Scope::Rule, "identity_file") | (Scope::Entry, "ssh_key_path") => "guest_identity_file",
            (Scope::Rule | Scope::Entry, "password_env") => "guest_password_env",
            (Scope::Rule, name @ ("via" | "stopped" | "protect" | "on_failure" | "checks")) => name,
            (Scope::Rule, name) if name.starts_with("backup.") => name,
            _ => return None,
        };
        Scope::Host.setting(name).ok()
    }

    /// Returns the key of a guest's entry of the inventory whose value holds where its rule has none.
    pub fn of_entry(&self) -> Option<Self> {
        let name = match (self.scope, self.name()) {
            (Scope::Rule, "address") => "ip",
            (Scope::Rule, "identity_file") => "ssh_key_path",
            (Scope::Rule, name @ ("managed" | "user" | "password_env")) => name,
            _ => return None,
        };
        Scope::Entry.setting(name).ok()
    }

    /// Reads a value as it is typed: a text without quotes, a number, `true`, or a list in brackets.
    ///
    /// # Errors
    /// It is no value for this key; the error says what is expected.
    pub fn parse(&self, typed: &str) -> Result<Value, WrongValue> {
        let wrong = |expected: String| WrongValue { key: self.name(), given: typed.to_owned(), expected };
        let plain = typed.trim();
        match self.kind() {
            Kind::Text => Ok(Value::text(typed)),
            Kind::Number => {
                plain.parse().map(Value::Number).map_err(|_| wrong("a whole number; 0 stands for the default".into()))
            }
            Kind::Boolean => match plain {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                _ => Err(wrong("true or false".to_owned())),
            },
            Kind::List if plain.starts_with('[') => Value::parse_list(plain).map_err(wrong),
            Kind::List => Ok(Value::text(typed)),
            Kind::Tables => Err(wrong("tables, which are edited one by one".to_owned())),
        }
    }

    /// Returns what belongs together: `api.port` and `api_node` are of the group `api`.
    pub(super) fn group(&self) -> &'static str {
        let dotted = self.spellings.iter().find_map(|spelling| spelling.split_once('.'));
        dotted.map_or(self.name(), |(section, _)| section)
    }

    /// Tells whether there is a choice between a dotted and a flat spelling.
    pub(super) fn has_choice(&self) -> bool {
        self.spellings.iter().any(|s| s.contains('.')) && self.spellings.iter().any(|s| !s.contains('.'))
    }
}

/// A value that a key does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` can't be {given:?}: it takes {expected}")]
pub struct WrongValue {
    /// The key.
    pub key: &'static str,
    /// What was typed.
    pub given: String,
    /// What it takes.
    pub expected: String,
}

/// A key without other spellings: name, default, meaning.
type Plain = (&'static str, &'static str, &'static str);

/// The keys of `guest_inventory`, but for its entries.
const INVENTORY: [Plain; 3] = [
    ("version", "`1`", "version of the inventory's shape"),
    ("ssh_public_key", "none", "public key that was put into the guests"),
    ("updated_at", "none", "when the inventory was made"),
];

/// The keys of an entry.
const ENTRY: [Plain; 13] = [
    ("kind", "required", "`\"vm\"` or `\"ct\"`"),
    ("id", "required", "the vmid, in quotes: `\"101\"`"),
    ("name", "none", "its name, to be read"),
    ("status", "none", "how it was found: `\"running\"`, `\"stopped\"`, `\"gone\"`"),
    ("ip", "none", "where it may be reached over SSH: a hint, proven before it is used"),
    ("user", "the host's `guest_user`", "login in it"),
    ("managed", "not said", "`false`: never touched"),
    ("ssh_verified", "not said", "whether a login had worked"),
    ("ssh_key_path", "none", "private key that worked"),
    ("last_checked", "none", "when that was tried"),
    ("password_env", "the host's `guest.password_env`", "variable that holds its password"),
    ("password", "none", "its password: read where it stands, never written"),
    ("notes", "none", "notes, kept as they are"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_an_inventory_are_those_that_are_read() {
        let names = |table: &[Plain]| table.iter().map(|plain| plain.0).collect::<Vec<_>>();
        assert_eq!(names(&ENTRY), keys::ENTRY);
        let but_for_entries: Vec<&str> = keys::INVENTORY.into_iter().filter(|name| *name != "entries").collect();
        assert_eq!(names(&INVENTORY), but_for_entries);
    }
}
