//! Every key, in every spelling, at every level: driven by one table, which a test holds against `keys::ALL`.

use std::collections::BTreeSet;

use super::super::keys::{self, Key, Level};
use super::super::{HostEntry, Manifest, Severity};
use super::{parse, valid};

/// Stands for what is built in, where nothing is.
const REQUIRED: &str = "(required)";

/// How one key is tested.
struct Case {
    key: &'static Key,
    /// Two values, as TOML.
    values: [&'static str; 2],
    /// The manifest's view of them, and of nothing given.
    seen: [&'static str; 3],
    /// A value that counts as not given, where the type has one.
    empty: Option<&'static str>,
    /// Values of wrong types, as TOML.
    wrong: &'static [&'static str],
    look: fn(&Manifest) -> String,
}

const NOT_TEXT: &[&str] = &["1", "true", "1.5", "[\"x\"]", "{ x = 1 }", "2026-01-01"];
const NOT_NUMBER: &[&str] = &["\"1\"", "true", "1.5", "[1]", "{ x = 1 }"];
const NOT_BOOLEAN: &[&str] = &["\"true\"", "1", "0", "\"\"", "[true]", "{ x = true }"];
const NOT_LIST: &[&str] = &["1", "true", "[1]", "[\"-p 1\", true]", "{ x = 1 }", "[[\"-p 1\"]]"];

fn host(manifest: &Manifest) -> &HostEntry {
    &manifest.hosts[0]
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

const PIN: &str = "\"00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\"";
const OTHER_PIN: &str = "\"ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"";

fn cases() -> Vec<Case> {
    let text_key = |key, seen: [&'static str; 3], look| Case {
        key,
        values: ["\"one\"", "\"two\""],
        seen,
        empty: Some("\"\""),
        wrong: NOT_TEXT,
        look,
    };
    let file_key = |key, look| text_key(key, ["/etc/fleet/one", "/etc/fleet/two", "-"], look);
    let list_key = |key, look| Case {
        key,
        values: ["\"-p 1\"", "[\"-p\", \"2\", \"-l x\"]"],
        seen: ["-p 1", "-p 2 -l x", ""],
        empty: Some("[]"),
        wrong: NOT_LIST,
        look,
    };
    let variable_key = |key, look| text_key(key, ["one", "two", "-"], look);
    let word_key = |key, seen: [&'static str; 3], look| Case {
        key,
        values: [quoted(seen[0]), quoted(seen[1])],
        seen,
        empty: Some("\"\""),
        wrong: NOT_TEXT,
        look,
    };
    let selectors_key = |key, look| Case {
        key,
        values: ["\"web-*\"", "[101, \"100-199\", \"!tag:a\"]"],
        seen: ["web-*", "101, 100-199, !tag:a", ""],
        empty: Some("[]"),
        wrong: &["1", "true", "[1.5]", "[\"101\", true]", "{ x = 1 }", "[[\"101\"]]"],
        look,
    };
    let time_key = |key, built_in, look| Case {
        key,
        values: ["\"10m\"", "\"2h 30m\""],
        seen: ["600", "9000", built_in],
        empty: Some("\"\""),
        wrong: NOT_TEXT,
        look,
    };
    let count_key = |key, built_in, look| Case {
        key,
        values: ["7", "10000"],
        seen: ["7", "10000", built_in],
        empty: Some("0"),
        wrong: NOT_NUMBER,
        look,
    };
    let bool_key = |key, look| Case {
        key,
        values: ["true", "false"],
        seen: ["true", "false", "false"],
        empty: None,
        wrong: NOT_BOOLEAN,
        look,
    };
    vec![
        text_key(&keys::NAME, ["one", "two", "pve1"], |m| host(m).id.to_string()),
        text_key(&keys::HOST, ["one", "two", REQUIRED], |m| host(m).host.clone()),
        text_key(&keys::USER, ["one", "two", "root"], |m| host(m).ssh.user.clone()),
        text_key(&keys::GUEST_USER, ["one", "two", "root"], |m| host(m).guest_ssh.user.clone()),
        file_key(&keys::IDENTITY_FILE, |m| text(host(m).ssh.identity_file.as_ref().map(|p| p.display()))),
        file_key(&keys::GUEST_IDENTITY_FILE, |m| text(host(m).guest_ssh.identity_file.as_ref().map(|p| p.display()))),
        list_key(&keys::SSH_EXTRA_ARGS, |m| host(m).ssh.extra_args.join(" ")),
        list_key(&keys::GUEST_SSH_EXTRA_ARGS, |m| host(m).guest_ssh.extra_args.join(" ")),
        text_key(&keys::API_NODE, ["one", "two", "-"], |m| text(host(m).api.node.as_ref())),
        Case {
            key: &keys::API_PORT,
            values: ["1", "65535"],
            seen: ["1", "65535", "8006"],
            empty: Some("0"),
            wrong: NOT_NUMBER,
            look: |m| host(m).api.port.to_string(),
        },
        bool_key(&keys::API_INSECURE, |m| host(m).api.insecure.to_string()),
        file_key(&keys::API_CA_FILE, |m| text(host(m).api.ca_file.as_ref().map(|p| p.display()))),
        Case {
            key: &keys::API_FINGERPRINT,
            values: [PIN, OTHER_PIN],
            seen: [
                "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F",
                "FF:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F",
                "-",
            ],
            empty: Some("\"\""),
            wrong: NOT_TEXT,
            look: |m| text(host(m).api.fingerprint),
        },
        text_key(&keys::API_TOKEN_ENV, ["one", "two", REQUIRED], |m| host(m).api.token_env.clone()),
        text_key(&keys::API_SECRET_ENV, ["one", "two", REQUIRED], |m| host(m).api.secret_env.clone()),
        Case {
            key: &keys::MAX_PARALLEL,
            values: ["1", "4294967295"],
            seen: ["1", "4294967295", "2"],
            empty: Some("0"),
            wrong: NOT_NUMBER,
            look: |m| host(m).max_parallel.to_string(),
        },
        bool_key(&keys::DRY_RUN, |m| host(m).dry_run.to_string()),
        variable_key(&keys::PASSWORD_ENV, |m| text(host(m).ssh.password_env.as_ref())),
        variable_key(&keys::GUEST_PASSWORD_ENV, |m| text(host(m).guest_ssh.password_env.as_ref())),
        selectors_key(&keys::GUESTS_INCLUDE, |m| list(&host(m).wanted.include)),
        selectors_key(&keys::GUESTS_EXCLUDE, |m| list(&host(m).wanted.exclude)),
        word_key(&keys::VIA, ["ssh", "agent", "auto"], |m| host(m).wanted.via.to_string()),
        word_key(&keys::STOPPED, ["start", "skip", "skip"], |m| host(m).wanted.stopped.to_string()),
        Case {
            key: &keys::PROTECT,
            values: ["\"none\"", "[\"backup\", \"snapshot\"]"],
            seen: ["none", "backup, snapshot", "snapshot, backup"],
            empty: Some("[]"),
            // A table in its place is the section of `protect.with`.
            wrong: &["1", "true", "[1]", "[\"snapshot\", true]", "[[\"backup\"]]"],
            look: |m| list(&host(m).wanted.protect),
        },
        word_key(&keys::ON_FAILURE, ["rollback", "keep", "keep"], |m| host(m).wanted.on_failure.to_string()),
        word_key(&keys::GUEST_REBOOT, ["if-needed", "never", "never"], |m| host(m).wanted.guest_reboot.to_string()),
        word_key(&keys::HOST_REBOOT, ["if-needed", "always", "never"], |m| host(m).wanted.host_reboot.to_string()),
        bool_key(&keys::ALLOW_QUORUM_LOSS, |m| host(m).wanted.allow_quorum_loss.to_string()),
        word_key(&keys::EVACUATE, ["migrate", "never", "never"], |m| host(m).wanted.evacuate.to_string()),
        text_key(&keys::BACKUP_STORAGE, ["one", "two", "-"], |m| text(host(m).wanted.backup.storage.as_ref())),
        word_key(&keys::BACKUP_MODE, ["suspend", "stop", "snapshot"], |m| host(m).wanted.backup.mode.to_string()),
        word_key(&keys::BACKUP_COMPRESS, ["lzo", "none", "zstd"], |m| host(m).wanted.backup.compress.to_string()),
        time_key(&keys::LOCK_WAIT, "600", |m| host(m).wanted.lock_wait.as_secs().to_string()),
        time_key(&keys::BACKUP_LOCK_WAIT, "10800", |m| host(m).wanted.backup.lock_wait.as_secs().to_string()),
        time_key(&keys::BACKUP_KEEP_FOR, "604800", |m| host(m).wanted.backup.keep.time.as_secs().to_string()),
        time_key(&keys::SNAPSHOT_KEEP_FOR, "86400", |m| host(m).wanted.snapshots.time.as_secs().to_string()),
        count_key(&keys::BACKUP_KEEP_LAST, "1", |m| host(m).wanted.backup.keep.last.to_string()),
        count_key(&keys::SNAPSHOT_KEEP_LAST, "0", |m| host(m).wanted.snapshots.last.to_string()),
        Case {
            key: &keys::GUESTS,
            values: ["[{ id = 101 }]", "[{ match = \"tag:a\" }, { id = \"102\" }]"],
            seen: ["101", "tag:a, 102", ""],
            empty: None,
            // A table in its place is the section of `guests.include`.
            wrong: &["1", "\"x\"", "true", "[1]", "[\"x\"]"],
            look: |m| list(&host(m).guests.iter().map(|rule| rule.who.clone()).collect::<Vec<_>>()),
        },
        Case {
            key: &keys::CHECKS,
            values: ["[{ tcp = 443 }]", "[{ command = 'true', name = 'own' }, { tcp = 1 }]"],
            seen: ["tcp 443", "own: command true, tcp 1", ""],
            // An empty list takes those of the level below away.
            empty: None,
            wrong: &["1", "\"x\"", "true", "{ tcp = 1 }"],
            look: |m| list(&host(m).wanted.checks),
        },
        Case {
            key: &keys::PROTECT_MAX_AGE,
            values: ["\"10m\"", "\"2h 30m\""],
            seen: ["600", "9000", "3600"],
            empty: Some("\"\""),
            wrong: NOT_TEXT,
            look: |m| host(m).protect_max_age.as_secs().to_string(),
        },
        Case {
            key: &keys::RESUME_WITHIN,
            values: ["\"10m\"", "\"2days\""],
            seen: ["600", "172800", "86400"],
            empty: Some("\"\""),
            wrong: NOT_TEXT,
            look: |m| m.defaults.resume_within.as_secs().to_string(),
        },
        Case {
            key: &keys::CANARY,
            values: ["\"pve1\"", "[101, \"pve1/104\", \"tag:a\"]"],
            seen: ["pve1", "101, pve1/104, tag:a", ""],
            empty: Some("[]"),
            wrong: &["1", "true", "[1.5]", "[\"101\", true]", "{ x = 1 }", "[[\"101\"]]"],
            look: |m| list(&m.defaults.canary),
        },
        Case {
            key: &keys::SOAK,
            values: ["\"10m\"", "\"2days\""],
            seen: ["600", "172800", "0"],
            empty: Some("\"\""),
            wrong: NOT_TEXT,
            look: |m| m.defaults.soak.as_secs().to_string(),
        },
        Case {
            key: &keys::MAX_FAILURES,
            values: ["0", "10000"],
            seen: ["0", "10000", "-"],
            empty: None,
            wrong: NOT_NUMBER,
            look: |m| text(m.defaults.max_failures),
        },
        Case {
            key: &keys::GUEST_INVENTORY,
            values: [
                "{ version = 1, entries = [{ kind = \"ct\", id = \"101\" }] }",
                "{ entries = [{ kind = \"vm\", id = \"102\" }] }",
            ],
            seen: ["CT 101", "VM 102", "-"],
            empty: None,
            wrong: &["1", "\"x\"", "true", "[1]", "{ entries = 1 }", "{ version = \"1\" }", "{ entries = [1] }"],
            look: |m| {
                let first = host(m).inventory.as_ref().and_then(|inventory| inventory.entries.first());
                text(first.map(|entry| format!("{} {}", entry.kind, entry.id)))
            },
        },
    ]
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A word as TOML.
fn quoted(word: &'static str) -> &'static str {
    format!("\"{word}\"").leak()
}

/// A manifest with one host, these lines in `[defaults]` and in the host, and what a host needs unless it is among them.
fn manifest(defaults: &[String], host: &[String]) -> String {
    let mut lines = vec!["[defaults]".to_owned()];
    lines.extend_from_slice(defaults);
    lines.push("[[hosts]]".to_owned());
    for (key, line) in [
        (&keys::HOST, "host = \"pve1\""),
        (&keys::API_TOKEN_ENV, "api_token_env = \"T\""),
        (&keys::API_SECRET_ENV, "api_secret_env = \"S\""),
    ] {
        if !host.iter().any(|line| key.spellings.iter().any(|s| line.starts_with(&format!("{s} =")))) {
            lines.push(line.to_owned());
        }
    }
    lines.extend_from_slice(host);
    lines.join("\n")
}

fn line(spelling: &str, value: &str) -> String {
    format!("{spelling} = {value}")
}

/// The levels of a key in one of its spellings, each as a function that makes a manifest with a line there.
fn levels(key: &Key, spelling: &str) -> Vec<fn(String) -> String> {
    let in_defaults: fn(String) -> String = |line| manifest(&[line], &[]);
    let in_host: fn(String) -> String = |line| manifest(&[], &[line]);
    match key.level {
        // In [[hosts]], `host` is a text: TOML has no room for it there.
        Level::Both if spelling == "host.reboot" => vec![in_defaults],
        Level::Both => vec![in_defaults, in_host],
        Level::Host => vec![in_host],
        // Without canaries it is warned of.
        Level::Defaults if spelling == "soak" => vec![|line| manifest(&[line, "canary = \"101\"".to_owned()], &[])],
        Level::Defaults => vec![in_defaults],
        Level::Guest => panic!("keys of rules are tested in `rules`"),
    }
}

#[test]
fn the_table_has_every_key() {
    let tested: BTreeSet<_> = cases().iter().flat_map(|case| case.key.spellings).collect();
    let known: BTreeSet<_> = keys::ALL.iter().flat_map(|key| key.spellings).collect();
    assert_eq!(tested, known);
}

#[test]
fn every_spelling_works_at_every_level() {
    for case in cases() {
        for spelling in case.key.spellings {
            for place in levels(case.key, spelling) {
                for (value, seen) in case.values.iter().zip(case.seen) {
                    let text = place(line(spelling, value));
                    let manifest = valid(&text);
                    assert_eq!((case.look)(&manifest), seen, "{text}");
                    assert_eq!(manifest.warnings, [], "{text}");
                    assert_eq!(manifest.hosts[0].unknown_keys, [""; 0], "{text}");
                }
            }
        }
    }
}

#[test]
fn a_dotted_spelling_may_be_a_table() {
    for case in cases() {
        for spelling in case.key.spellings {
            let Some((section, name)) = spelling.rsplit_once('.') else { continue };
            let (value, seen) = (case.values[0], case.seen[0]);
            let mut texts = Vec::new();
            if *spelling != "host.reboot" {
                texts.push(manifest(&[], &[format!("{section} = {{ {name} = {value} }}")]));
                texts.push(manifest(&[], &[format!("\n[hosts.{section}]"), line(name, value)]));
            }
            if case.key.level == Level::Both {
                texts.push(manifest(&[format!("{section} = {{ {name} = {value} }}")], &[]));
                texts.push(manifest(&[format!("\n[defaults.{section}]"), line(name, value)], &[]));
            }
            for text in texts {
                assert_eq!((case.look)(&valid(&text)), seen, "{text}");
            }
        }
    }
}

#[test]
fn what_is_not_given_is_built_in() {
    for case in cases().iter().filter(|case| case.seen[2] != REQUIRED) {
        assert_eq!((case.look)(&valid(&manifest(&[], &[]))), case.seen[2], "{:?}", case.key);
    }
}

#[test]
fn a_host_goes_before_the_defaults() {
    for case in cases().iter().filter(|case| case.key.level == Level::Both) {
        for of_defaults in case.key.spellings {
            for of_host in case.key.spellings.iter().filter(|spelling| **spelling != "host.reboot") {
                let text = manifest(&[line(of_defaults, case.values[0])], &[line(of_host, case.values[1])]);
                assert_eq!((case.look)(&valid(&text)), case.seen[1], "{text}");
            }
        }
    }
}

#[test]
fn the_spelling_that_is_named_first_wins() {
    for case in cases() {
        for (i, first) in case.key.spellings.iter().enumerate() {
            for second in &case.key.spellings[i + 1..] {
                // TOML has no room for a value and a table of one name.
                if second.strip_prefix(first).is_some_and(|rest| rest.starts_with('.')) {
                    continue;
                }
                for place in levels(case.key, second) {
                    let lines = [line(first, case.values[0]), line(second, case.values[1])];
                    for text in [lines.join("\n"), format!("{}\n{}", lines[1], lines[0])].map(place) {
                        let manifest = valid(&text);
                        assert_eq!((case.look)(&manifest), case.seen[0], "{text}");
                        let warnings: Vec<_> = manifest.warnings.iter().map(|w| w.message.as_str()).collect();
                        assert_eq!(warnings, [format!("`{second}` has no effect, since `{first}` is given too")]);
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_empty_falls_back() {
    for case in cases() {
        let Some(empty) = case.empty else { continue };
        for spelling in case.key.spellings {
            if case.key.level == Level::Both && *spelling != "host.reboot" {
                let text = manifest(&[line(spelling, case.values[0])], &[line(spelling, empty)]);
                assert_eq!((case.look)(&valid(&text)), case.seen[0], "to the default: {text}");
            }
            for place in levels(case.key, spelling) {
                let text = place(line(spelling, empty));
                match (case.seen[2], parse(&text)) {
                    (REQUIRED, Err(error)) => {
                        assert_eq!(error.problems()[0].message, format!("`{spelling}` is empty"));
                    }
                    (REQUIRED, Ok(_)) => panic!("accepted: {text}"),
                    (built_in, result) => assert_eq!((case.look)(&result.unwrap()), built_in, "built in: {text}"),
                }
            }
            // An empty first spelling leaves the word to the second one.
            let fits = |other: &&&str| {
                let within = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
                *other != spelling && !within(other, spelling) && !within(spelling, other)
            };
            for other in case.key.spellings.iter().filter(fits) {
                let text =
                    levels(case.key, other)[0](format!("{}\n{}", line(spelling, empty), line(other, case.values[0])));
                assert_eq!((case.look)(&valid(&text)), case.seen[0], "{text}");
            }
        }
    }
}

#[test]
fn a_wrong_type_is_an_error_at_its_place() {
    for case in cases() {
        for spelling in case.key.spellings {
            for place in levels(case.key, spelling) {
                for wrong in case.wrong {
                    let wrong_line = line(spelling, wrong);
                    let text = place(wrong_line.clone());
                    let Err(error) = parse(&text) else { panic!("accepted: {text}") };
                    let [problem] = error.problems() else { panic!("not one error: {text}\n{error}") };
                    assert_eq!(problem.severity, Severity::Error);
                    assert!(problem.message.contains(" must be "), "{text}\n{error}");
                    let number = text.lines().position(|l| l == wrong_line).unwrap() + 1;
                    assert_eq!(problem.place.line, number, "{text}\n{error}");
                    // At the value, or at an item within it.
                    assert!(problem.place.column > spelling.len() + 3, "{text}\n{error}");
                }
            }
        }
    }
}

#[test]
fn numbers_out_of_range_are_errors() {
    for (key, numbers) in [
        ("api_port", &["-1", "65536", "9223372036854775807"][..]),
        ("api.port", &["-1", "65536"]),
        ("max_parallel", &["-1", "4294967296"]),
    ] {
        for number in numbers {
            let text = manifest(&[line(key, number)], &[]);
            let Err(error) = parse(&text) else { panic!("accepted: {text}") };
            assert!(error.problems()[0].message.starts_with(&format!("`{key}` must be from 1 to ")), "{error}");
        }
    }
}

#[test]
fn a_key_at_the_wrong_level_has_no_effect_and_is_warned_of() {
    for case in cases() {
        let lines = [line(case.key.spellings[0], case.values[0])];
        let (text, place) = match case.key.level {
            Level::Both | Level::Guest => continue,
            Level::Host => (manifest(&lines, &[]), "[[hosts]]"),
            Level::Defaults => (manifest(&[], &lines), "[defaults]"),
        };
        let manifest = valid(&text);
        assert_ne!((case.look)(&manifest), case.seen[0], "{text}");
        let expected = format!("`{}` has no effect here: it is read in {place} only", case.key.spellings[0]);
        assert_eq!(manifest.warnings.iter().map(|w| w.message.clone()).collect::<Vec<_>>(), [expected], "{text}");
    }
}

#[test]
fn unknown_keys_are_kept_and_never_an_error() {
    let text = manifest(
        &[line("colour", "1"), line("ssh.cipher", "[1]")],
        &[line("rack", "{ row = 3 }"), line("api.timeout", "5"), line("guest.ssh.agent", "true"), line("tags", "[]")],
    );
    let manifest = valid(&format!("site = 3\n{text}\n[extra]\nkey = 1\n"));
    assert_eq!(manifest.warnings, []);
    let mut unknown = manifest.hosts[0].unknown_keys.clone();
    unknown.sort();
    assert_eq!(unknown, ["api.timeout", "guest.ssh.agent", "rack", "tags"]);
}

#[test]
fn misspelled_keys_are_warned_of() {
    for (given, meant) in [
        ("usr", "user"),
        ("max-parallel", "max_parallel"),
        ("Dry_Run", "dry_run"),
        ("api.isecure", "api.insecure"),
        ("ssh.identityfile", "ssh.identity_file"),
        ("guest.ssh.extra_arg", "guest.ssh.extra_args"),
        ("guest_inventry", "guest_inventory"),
    ] {
        let manifest = valid(&manifest(&[], &[line(given, "1")]));
        let [warning] = manifest.warnings.as_slice() else { panic!("{given}: {:?}", manifest.warnings) };
        assert_eq!(warning.message, format!("unknown key `{given}`"));
        assert_eq!(warning.hints, [format!("did you mean `{meant}`?")]);
        assert_eq!(manifest.hosts[0].unknown_keys, [given]);
    }
}

/// The spellings and their order are an interface: manifests out there rely on them.
#[test]
fn the_spellings_are_these() {
    let spellings: Vec<_> = keys::ALL.iter().map(|key| key.spellings.join("|")).collect();
    assert_eq!(
        spellings,
        [
            "host",
            "name",
            "user|ssh.user",
            "identity_file|ssh.identity_file",
            "ssh.password_env|password_env",
            "ssh_extra_args|ssh.extra_args",
            "api_node|api.node",
            "api_port|api.port",
            "api_insecure|api.insecure",
            "api_ca_file|api.ca_file",
            "api_fingerprint|api.fingerprint",
            "api.token_env|api_token_env",
            "api.secret_env|api_secret_env",
            "guest_user|guest.user",
            "guest_identity_file|guest.identity_file",
            "guest.password_env|guest_password_env",
            "guest_ssh_extra_args|guest.ssh_extra_args|guest.ssh.extra_args",
            "guests_include|guests.include",
            "guests_exclude|guests.exclude",
            "via",
            "stopped",
            "protect|protect_with|protect.with",
            "protect_max_age|protect.max_age",
            "on_failure",
            "snapshot.keep_for|snapshot_keep_for",
            "snapshot.keep_last|snapshot_keep_last",
            "backup.storage|backup_storage",
            "backup.mode|backup_mode",
            "backup.compress|backup_compress",
            "backup.lock_wait|backup_lock_wait",
            "backup.keep_for|backup_keep_for",
            "backup.keep_last|backup_keep_last",
            "lock_wait",
            "guest_reboot|guest.reboot",
            "host_reboot|host.reboot",
            "checks",
            "allow_quorum_loss",
            "evacuate",
            "max_parallel",
            "dry_run",
            "resume_within",
            "canary",
            "soak",
            "max_failures",
            "guests",
            "guest_inventory",
        ]
    );
}
