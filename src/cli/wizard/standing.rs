//! What holds for a key, and where that comes from.

use std::fmt;

use crate::manifest::edit::{Document, Scope, Setting, Spot, Value};

/// What stands for a secret.
const HIDDEN: &str = "set, not shown";

/// What holds for a key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    setting: Setting,
    /// What the table itself says, where that is not empty, and in which spelling.
    pub(super) given: Option<(&'static str, Value)>,
    /// What holds where it says nothing.
    above: Above,
}

/// What holds where a table itself says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Above {
    /// What this table says.
    Table(Scope, Value),
    /// What is built in.
    BuiltIn,
}

impl Standing {
    /// Looks what holds.
    pub(super) fn of(document: &Document, spot: Spot, setting: &Setting) -> Self {
        let above = match document.inherited(spot, setting) {
            Some(inherited) => Above::Table(inherited.from, inherited.value),
            None => Above::BuiltIn,
        };
        let given = document.given(spot, setting).filter(|(_, value)| !value.is_empty());
        Self { setting: *setting, given, above }
    }

    /// Returns how the key is spelled here.
    pub(super) fn spelling(&self) -> &'static str {
        self.given.as_ref().map_or(self.setting.name(), |(spelling, _)| spelling)
    }

    /// Says what the table inherits: `7, from [defaults]`; `None` where it inherits nothing.
    pub(super) fn inherited(&self) -> Option<String> {
        match &self.above {
            Above::Table(from, value) => Some(format!("{}, from {}", shown(&self.setting, value), place(*from))),
            Above::BuiltIn => None,
        }
    }

    /// Says what holds where the table itself says nothing: `inherit (7, from [defaults])`, `default (8006)`.
    pub(super) fn otherwise(&self) -> String {
        match self.inherited() {
            Some(inherited) => format!("inherit ({inherited})"),
            None => format!("default ({})", self.setting.built_in()),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.given, &self.above) {
            (Some((_, value)), _) => match self.setting.shown(value) {
                Some(text) => write!(f, "{text}, set here"),
                None => f.write_str(HIDDEN),
            },
            (None, Above::Table(from, value)) => write!(f, "{}, {}", shown(&self.setting, value), place(*from)),
            (None, Above::BuiltIn) if self.setting.is_required() => f.write_str("missing"),
            (None, Above::BuiltIn) => write!(f, "{}, default", self.setting.built_in()),
        }
    }
}

/// Writes a value as it may be shown.
pub(super) fn shown(setting: &Setting, value: &Value) -> String {
    setting.shown(value).unwrap_or_else(|| HIDDEN.to_owned())
}

fn place(scope: Scope) -> &'static str {
    match scope {
        Scope::Host => "the host",
        Scope::Entry => "its entry of the inventory",
        other => other.as_str(),
    }
}
