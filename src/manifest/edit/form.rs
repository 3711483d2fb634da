//! How the value of a key is written: what its kind leaves open, for those who ask a person for it.

use crate::choices::{
    BackupMode, Compression, Evacuate, GuestReboot, HostReboot, OnFailure, ProtectChoice, Stopped, ViaChoice,
};

use super::super::hosts::is_variable;
use super::setting::Setting;
use super::value::Value;

/// How the value of a key is written, beyond its [`Kind`](super::Kind).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As its kind says.
    Plain,
    /// One of these words; of a list several of them, in an order that matters.
    Words(&'static [&'static str]),
    /// A time.
    Duration,
    /// A path on this machine.
    Path,
    /// The name of a variable of the environment.
    Variable,
    /// Selectors of guests.
    Selectors,
    /// Arguments as for `ssh`.
    Arguments,
}

impl Form {
    /// Says how to write it, where that is not plain, as a fragment.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Words(_) => None,
            Self::Duration => Some("a number and a unit: 90s, 45m, 24h, 7days"),
            Self::Path => Some("a path; ~ is your home directory, a relative one begins at the manifest's directory"),
            Self::Variable => Some("the name of a variable of the environment, never the secret itself"),
            Self::Selectors => {
                Some("one selector as it is: tag:prod; several as in the file: [\"100-199\", \"!web-*\"]")
            }
            Self::Arguments => Some("as for ssh: -p 2222 -J bastion; or as in the file: [\"-p 2222\", \"-J bastion\"]"),
        }
    }
}

impl Setting {
    /// Returns how its value is written.
    pub fn form(&self) -> Form {
        match self.name() {
            "via" => Form::Words(ViaChoice::WORDS),
            "stopped" => Form::Words(Stopped::WORDS),
            "protect" => Form::Words(ProtectChoice::WORDS),
            "backup.mode" => Form::Words(BackupMode::WORDS),
            "backup.compress" => Form::Words(Compression::WORDS),
            "on_failure" => Form::Words(OnFailure::WORDS),
            "guest_reboot" | "reboot" => Form::Words(GuestReboot::WORDS),
            "host_reboot" => Form::Words(HostReboot::WORDS),
            "evacuate" => Form::Words(Evacuate::WORDS),
            "protect_max_age" | "snapshot.keep_for" | "backup.keep_for" | "backup.lock_wait" | "lock_wait"
            | "resume_within" | "soak" => Form::Duration,
            "identity_file" | "guest_identity_file" | "api_ca_file" | "ssh_key_path" => Form::Path,
            "guests_include" | "guests_exclude" | "match" | "canary" => Form::Selectors,
            "ssh_extra_args" | "guest_ssh_extra_args" => Form::Arguments,
            name if name.ends_with("_env") => Form::Variable,
            _ => Form::Plain,
        }
    }

    /// Tells whether nothing holds where it is not given: then the manifest is refused.
    pub fn is_required(&self) -> bool {
        self.default() == "required"
    }

    /// Returns what it means as plain text, which stands alone: without Markdown, and without pointing at the reference.
    pub fn meaning_alone(&self) -> String {
        self.meaning().replace(", see below", "").replace('`', "")
    }

    /// Returns what is built in, as plain text. A guest's key falls back to the host's and so to what is built in for that.
    pub fn built_in(&self) -> String {
        self.of_host().unwrap_or(*self).default().replace(['`', '"'], "")
    }

    /// Returns a value of it as it may be shown: a text without quotes, a list as in the file; `None` where it is a secret,
    /// or probably one that stands where the name of a variable belongs.
    pub fn shown(&self, value: &Value) -> Option<String> {
        let text = match value {
            Value::Text(text) => text.clone(),
            other => other.to_toml(),
        };
        let is_hidden = self.is_secret() || self.form() == Form::Variable && !is_variable(&text);
        (!is_hidden).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Document, Kind, Scope, Spot};
    use super::*;

    const FILE: &str =
        "[[hosts]]\nhost = 'a'\napi.token_env = 'T'\napi.secret_env = 'S'\n\n[[hosts.guests]]\nid = 1001\n";

    /// What the loader says of a value that no key but a plain text takes.
    fn complaint(spot: Spot, setting: &Setting) -> String {
        let mut document = Document::parse(FILE).unwrap();
        document.set(spot, setting, &Value::text("? ?")).unwrap();
        let read = document.manifest(Path::new("/m.toml"), &|_| None);
        read.err().and_then(|error| error.problems().first().map(|problem| problem.message.clone())).unwrap_or_default()
    }

    #[test]
    fn each_form_is_the_one_that_the_loader_reads() {
        for spot in [Spot::Defaults, Spot::Host(0), Spot::Rule(0, 0)] {
            for setting in spot.scope().settings() {
                if !matches!(setting.kind(), Kind::Text | Kind::List) {
                    continue;
                }
                let said = complaint(spot, &setting);
                let name = setting.name();
                let is = |form: bool, words: &str| assert_eq!(form, said.contains(words), "{name}: {said}");
                is(setting.form() == Form::Duration, "is no duration");
                is(setting.form() == Form::Variable, "is no name of an environment variable");
                is(setting.form() == Form::Selectors, "selects no guests");
                is(matches!(setting.form(), Form::Words(_)), "is none of");
            }
        }
    }

    #[test]
    fn the_words_are_those_that_the_loader_takes() {
        for spot in [Spot::Defaults, Spot::Host(0), Spot::Rule(0, 0)] {
            for setting in spot.scope().settings() {
                let Form::Words(words) = setting.form() else { continue };
                for word in words {
                    let mut document = Document::parse(FILE).unwrap();
                    document.set(spot, &setting, &Value::text(*word)).unwrap();
                    let read = document.manifest(Path::new("/m.toml"), &|_| None);
                    assert!(read.is_ok(), "{} does not take {word}: {}", setting.name(), read.unwrap_err());
                }
            }
        }
    }

    #[test]
    fn what_is_built_in_for_a_rule_is_what_is_built_in_for_its_host() {
        let built_in = |scope: Scope, name| scope.setting(name).unwrap().built_in();
        assert_eq!(built_in(Scope::Rule, "reboot"), "never");
        assert_eq!(built_in(Scope::Rule, "protect"), "[snapshot, backup]");
        assert_eq!(built_in(Scope::Host, "api_port"), "8006");
        assert_eq!(built_in(Scope::Entry, "user"), "root");
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = |scope: Scope, name, text| scope.setting(name).unwrap().shown(&Value::text(text));
        assert_eq!(shown(Scope::Entry, "password", "hunter2"), None);
        assert_eq!(shown(Scope::Host, "api.secret_env", "12345678-1234-1234-1234-123456789abc"), None);
        assert_eq!(shown(Scope::Host, "api.secret_env", "PVE1_SECRET").as_deref(), Some("PVE1_SECRET"));
        assert_eq!(shown(Scope::Host, "user", "root").as_deref(), Some("root"));
    }
}
