//! The groups in which a table's keys are shown.

use crate::manifest::edit::{Kind, Scope, Setting};

/// Keys that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Where a node is and how it is logged in to.
    Connection,
    /// Its API.
    Api,
    /// How guests are logged in to.
    Guests,
    /// Which guests are maintained.
    Selection,
    /// How guests are protected.
    Protection,
    /// What may be rebooted.
    Reboot,
    /// All the rest.
    Other,
}

impl Group {
    /// All of them, in the order of the menu.
    pub(super) const ALL: [Self; 7] =
        [Self::Connection, Self::Api, Self::Guests, Self::Selection, Self::Protection, Self::Reboot, Self::Other];

    /// Returns its name.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Connection => "Connection",
            Self::Api => "API",
            Self::Guests => "Login in guests",
            Self::Selection => "Which guests",
            Self::Protection => "Protection",
            Self::Reboot => "Reboots",
            Self::Other => "Other",
        }
    }

    /// Returns its keys in a table, in the order of the reference.
    pub(super) fn settings(self, scope: Scope) -> Vec<Setting> {
        scope.settings().into_iter().filter(|setting| Self::of(setting) == Some(self)).collect()
    }

    /// Returns the group of a key; `None` where it holds tables, which have menus of their own, or
    /// are written into the file by hand (`checks`).
    fn of(setting: &Setting) -> Option<Self> {
        if setting.kind() == Kind::Tables {
            return None;
        }
        let name = setting.name();
        let is_of = |section: &str| name.starts_with(section);
        Some(match name {
            "host" | "name" | "user" | "identity_file" | "ssh.password_env" | "ssh_extra_args" => Self::Connection,
            "guests_include" | "guests_exclude" | "stopped" => Self::Selection,
            "guest_reboot" | "host_reboot" | "allow_quorum_loss" => Self::Reboot,
            "via" => Self::Guests,
            _ if is_of("guest_") || is_of("guest.") => Self::Guests,
            _ if is_of("api_") || is_of("api.") => Self::Api,
            _ if ["protect", "on_failure", "snapshot", "backup", "lock_wait"].into_iter().any(is_of) => {
                Self::Protection
            }
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_exactly_one_group() {
        for scope in [Scope::Defaults, Scope::Host] {
            let shown: Vec<Setting> = Group::ALL.into_iter().flat_map(|group| group.settings(scope)).collect();
            for setting in scope.settings() {
                let times = shown.iter().filter(|other| **other == setting).count();
                let wanted = if setting.kind() == Kind::Tables { 0 } else { 1 };
                assert_eq!(times, wanted, "{} of {}", setting.name(), scope.as_str());
            }
            let tables: Vec<&str> =
                scope.settings().iter().filter(|s| s.kind() == Kind::Tables).map(Setting::name).collect();
            let edited_apart: &[&str] =
                if scope == Scope::Host { &["checks", "guests", "guest_inventory"] } else { &["checks"] };
            assert_eq!(tables, edited_apart);
        }
    }

    #[test]
    fn no_key_is_among_the_rest_by_oversight() {
        let rest = |scope| Group::Other.settings(scope).iter().map(Setting::name).collect::<Vec<_>>();
        assert_eq!(rest(Scope::Host), ["max_parallel", "dry_run"]);
        assert_eq!(rest(Scope::Defaults), ["max_parallel", "dry_run", "resume_within"]);
    }
}
