//! `[[hosts.guests]]`, and what TOML has no room for beside it.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;

use crate::choices::{BackupMode, Compression, GuestReboot, OnFailure, ProtectChoice, Selector, Stopped, ViaChoice};
use crate::ids::GuestId;

use super::super::keys::{self, GUEST};
use super::super::{Credentials, GuestEntry, Manifest};
use super::{parse, valid};

const HOST: &str = "[[hosts]]\nhost = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n";

/// A key, two values, what counts as not given, and values of wrong types.
type Case = (&'static keys::Key, [&'static str; 2], Option<&'static str>, &'static [&'static str]);

/// Every key of a rule beside `id` and `match`.
const KEYS: [Case; 14] = [
    (&keys::RULE_MANAGED, ["true", "false"], None, &["\"true\"", "1", "[true]"]),
    (&keys::RULE_VIA, ["\"ssh\"", "\"auto\""], Some("\"\""), &["1", "[\"ssh\"]"]),
    (&keys::RULE_STOPPED, ["\"start\"", "\"skip\""], Some("\"\""), &["true", "{ x = 1 }"]),
    (&keys::RULE_PROTECT, ["\"none\"", "[\"backup\"]"], Some("[]"), &["1", "[1]", "true"]),
    (&keys::RULE_ON_FAILURE, ["\"rollback\"", "\"keep\""], Some("\"\""), &["true", "1"]),
    (&keys::RULE_REBOOT, ["\"if-needed\"", "\"never\""], Some("\"\""), &["true", "1"]),
    (&keys::RULE_CHECKS, ["[{ tcp = 1 }]", "[]"], None, &["1", "\"x\"", "{ tcp = 1 }", "true"]),
    (&keys::RULE_BACKUP_STORAGE, ["\"dump\"", "\"nfs\""], Some("\"\""), &["1", "[\"dump\"]"]),
    (&keys::RULE_BACKUP_MODE, ["\"suspend\"", "\"stop\""], Some("\"\""), &["1", "true"]),
    (&keys::RULE_BACKUP_COMPRESS, ["\"gzip\"", "\"none\""], Some("\"\""), &["0", "true"]),
    (&keys::RULE_ADDRESS, ["\"192.0.2.7\"", "\"db.example.org\""], Some("\"\""), &["1", "[\"::1\"]"]),
    (&keys::RULE_USER, ["\"ops\"", "\"root\""], Some("\"\""), &["0", "[\"ops\"]"]),
    (&keys::RULE_IDENTITY_FILE, ["\"key\"", "\"~/key\""], Some("\"\""), &["1", "[\"key\"]"]),
    (&keys::RULE_PASSWORD_ENV, ["\"A\"", "\"B\""], Some("\"\""), &["1", "[\"A\"]"]),
];

fn rules(text: &str) -> Manifest {
    valid(&format!("{HOST}{text}"))
}

fn rule(lines: &str) -> GuestEntry {
    let manifest = rules(&format!("[[hosts.guests]]\n{lines}\n"));
    assert_eq!(manifest.warnings, [], "{lines}");
    manifest.hosts[0].guests[0].clone()
}

/// What is wrong with a rule: each message.
fn wrong(lines: &str) -> Vec<String> {
    let text = format!("{HOST}[[hosts.guests]]\n{lines}\n");
    let Err(error) = parse(&text) else { panic!("accepted: {text}") };
    error.problems().iter().map(|problem| problem.message.clone()).collect()
}

#[test]
fn the_table_has_every_key() {
    let tested: BTreeSet<_> = KEYS.iter().map(|case| case.0.spellings).collect();
    let known: BTreeSet<_> =
        GUEST.iter().filter(|key| !["id", "match"].contains(&key.spellings[0])).map(|key| key.spellings).collect();
    assert_eq!(tested, known);
    assert_eq!(tested.len(), KEYS.len());
}

#[test]
fn every_key_is_read_in_every_spelling() {
    for (key, [one, two], empty, wrongs) in KEYS {
        for spelling in key.spellings {
            let read = |value: &str| rule(&format!("id = 104\n{spelling} = {value}"));
            let nothing = rule("id = 104");
            assert_ne!(read(one), nothing, "{spelling}");
            assert_ne!(read(one), read(two), "{spelling}");
            assert_eq!(read(one), rule(&format!("id = 104\n{} = {one}", key.spellings[0])), "{spelling}");
            if let Some(empty) = empty {
                assert_eq!(read(empty), nothing, "{spelling} = {empty}");
            }
            for value in wrongs {
                let messages = wrong(&format!("id = 104\n{spelling} = {value}"));
                assert!(messages.len() == 1 && messages[0].contains(" must be "), "{spelling}: {messages:?}");
            }
        }
    }
}

#[test]
fn a_rule_is_what_it_says() {
    let entry = rule(
        "id = \"104\"\nmanaged = false\nvia = \"agent\"\nstopped = \"start\"\nprotect = [\"backup\", \"snapshot\"]\n\
         on_failure = \"rollback\"\nreboot = \"if-needed\"\nbackup = { storage = \"dump\", mode = \"stop\", compress = \"lzo\" }\n\
         address = \"[2001:db8::1]\"\nuser = \"ops\"\nidentity_file = \"~/k\"\npassword_env = \"P\"",
    );
    let expected = GuestEntry {
        who: Selector::Id(GuestId(104)),
        managed: Some(false),
        via: Some(ViaChoice::Agent),
        stopped: Some(Stopped::Start),
        protect: Some(vec![ProtectChoice::Backup, ProtectChoice::Snapshot]),
        on_failure: Some(OnFailure::Rollback),
        reboot: Some(GuestReboot::IfNeeded),
        checks: None,
        backup_storage: Some("dump".to_owned()),
        backup_mode: Some(BackupMode::Stop),
        backup_compress: Some(Compression::Lzo),
        address: Some("2001:db8::1".to_owned()),
        user: Some("ops".to_owned()),
        identity_file: Some("/home/op/k".into()),
        password_env: Some("P".to_owned()),
        unknown_keys: Vec::new(),
    };
    assert_eq!(entry, expected);
}

#[test]
fn a_rule_names_its_guests_in_exactly_one_way() {
    assert_eq!(rule("id = 104").who, rule("id = \"104\"").who);
    assert_eq!(rule("match = \"!pool:lab\"").who.to_string(), "!pool:lab");
    assert_eq!(rule("id = 0\nmatch = \"104\"").who, Selector::Id(GuestId(104)), "0 counts as not given");
    assert_eq!(wrong("id = 104\nmatch = \"104\""), ["a rule of `guests` has both `id` and `match`"]);
    assert_eq!(wrong("managed = true"), ["a rule of `guests` names no guests"]);
    assert_eq!(wrong("id = 0\nmatch = \"\""), ["a rule of `guests` names no guests"]);
    for id in ["99", "-1", "\"web\"", "1000000000", "\"100-199\""] {
        assert_eq!(wrong(&format!("id = {id}")), ["`id` must be a vmid from 100 to 999999999"], "{id}");
    }
    assert_eq!(wrong("id = [104]"), ["`id` must be a vmid, not a list"]);
    assert_eq!(wrong("match = \"tag:\""), ["`match`: `tag:` selects no guests: nothing follows the colon"]);
}

#[test]
fn a_way_in_must_be_one_that_such_guests_have() {
    for lines in [
        "match = \"type:vm\"\nvia = \"pct\"",
        "match = \"!type:ct\"\nvia = \"pct\"",
        "match = \"type:ct\"\nvia = \"agent\"",
        "match = \"!type:vm\"\nvia = \"agent\"",
    ] {
        let messages = wrong(lines);
        assert!(messages.len() == 1 && messages[0].starts_with("`via` can't be "), "{lines}: {messages:?}");
    }
    for lines in
        ["match = \"type:vm\"\nvia = \"agent\"", "match = \"type:ct\"\nvia = \"pct\"", "id = 104\nvia = \"pct\""]
    {
        rule(lines);
    }
    let inventory =
        "guest_inventory = { entries = [{ kind = \"vm\", id = \"201\" }, { kind = \"ct\", id = \"101\" }] }";
    let with = |rule: &str| parse(&format!("{HOST}{inventory}\n[[hosts.guests]]\n{rule}\n"));
    assert!(with("id = 201\nvia = \"pct\"").unwrap_err().to_string().contains("for 201 (VM)"));
    assert!(with("id = 101\nvia = \"agent\"").unwrap_err().to_string().contains("only VMs have a guest agent"));
    assert!(with("id = 201\nvia = \"agent\"").is_ok() && with("id = 101\nvia = \"pct\"").is_ok());
}

#[test]
fn how_a_guest_is_reached_is_said_of_one_guest_only() {
    let facts = "address = \"::1\"\nuser = \"ops\"\nidentity_file = \"k\"\npassword_env = \"P\"";
    let messages = wrong(&format!("match = \"104\\u002d105\"\n{facts}"));
    let names = ["address", "user", "identity_file", "password_env"];
    assert_eq!(messages, names.map(|name| format!("`{name}` stands in a rule with `id` only")));
    // A selector of one number is one guest.
    assert!(rule(&format!("match = \"104\"\n{facts}")).knows_login());
}

#[test]
fn unknown_keys_are_kept_and_misspelled_ones_warned_of() {
    let entry = rule("id = 104\ncolour = \"red\"\nbackup.speed = 3");
    assert_eq!(entry.unknown_keys, ["colour", "backup.speed"]);
    let manifest = rules("[[hosts.guests]]\nid = 104\nmanagd = true\nbackup.stroage = \"x\"\n");
    let warnings: Vec<_> = manifest.warnings.iter().map(|w| (w.message.as_str(), w.hints[0].as_str())).collect();
    assert_eq!(
        warnings,
        [
            ("unknown key `managd`", "did you mean `managed`?"),
            ("unknown key `backup.stroage`", "did you mean `backup.storage`?"),
        ]
    );
    assert_eq!(manifest.hosts[0].unknown_keys, [""; 0], "they are the rule's");
}

#[test]
fn of_two_rules_for_a_guest_the_later_one_counts() {
    let manifest =
        rules("guests = [{ id = 104, user = \"a\" }, { match = \"104\", user = \"b\" }, { match = \"tag:x\" }]");
    let users: Vec<_> = manifest.hosts[0].rules_of(GuestId(104)).map(|rule| rule.user.as_deref()).collect();
    assert_eq!(users, [Some("b"), Some("a")]);
}

#[test]
fn how_guests_are_protected() {
    let protect = |value: &str| {
        let text = format!("{HOST}protect = {value}\n");
        parse(&text).map(|manifest| manifest.hosts[0].wanted.protect.clone()).map_err(|error| {
            error.problems().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
        })
    };
    assert_eq!(protect("\"backup\"").unwrap(), [ProtectChoice::Backup]);
    assert_eq!(protect("[\"none\"]").unwrap(), [ProtectChoice::None]);
    assert_eq!(protect("[\"snapshot\", \"none\"]").unwrap_err(), "`protect`: \"none\" stands alone");
    assert_eq!(protect("[\"backup\", \"backup\"]").unwrap_err(), "`protect` names \"backup\" twice");
    let unknown = "`protect`: \"tape\" is none of \"snapshot\", \"backup\", \"none\"";
    assert_eq!(protect("[\"tape\"]").unwrap_err(), unknown);
}

#[test]
fn ways_to_protect_and_their_age_stand_side_by_side() {
    for lines in [
        "protect = [\"backup\"]\nprotect_max_age = \"5m\"",
        "protect_with = [\"backup\"]\nprotect.max_age = \"5m\"",
        "protect.with = \"backup\"\nprotect.max_age = \"5m\"",
        "protect = { with = [\"backup\"], max_age = \"5m\" }",
        "[hosts.protect]\nwith = \"backup\"\nmax_age = \"5m\"",
    ] {
        let manifest = rules(lines);
        assert_eq!(manifest.warnings, [], "{lines}");
        let host = &manifest.hosts[0];
        assert_eq!(
            (host.wanted.protect.as_slice(), host.protect_max_age.as_secs()),
            (&[ProtectChoice::Backup][..], 300)
        );
    }
}

#[test]
fn what_toml_has_no_room_for_is_told_how_to_write() {
    let hints = |text: &str| {
        let Err(error) = parse(text) else { panic!("accepted: {text}") };
        assert_eq!(error.problems().len(), 1, "{error}");
        error.problems()[0].hints.join(" ")
    };
    for text in [
        format!("{HOST}host.reboot = \"always\"\n"),
        format!("{HOST}[hosts.host]\nreboot = \"always\"\n"),
        "[[hosts]]\nhost.reboot = \"always\"\nhost = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n".to_owned(),
        "[[hosts]]\nhost.reboot = \"always\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n".to_owned(),
    ] {
        assert!(hints(&text).contains("write host_reboot"), "{text}\n{}", hints(&text));
    }
    for text in [
        format!("{HOST}guests.include = [\"101\"]\n[[hosts.guests]]\nid = 104\n"),
        format!("{HOST}guests = [{{ id = 104 }}]\nguests.exclude = \"101\"\n"),
        format!("{HOST}[hosts.guests]\ninclude = \"101\"\n[[hosts.guests]]\nid = 104\n"),
    ] {
        assert!(hints(&text).contains("write guests_include and guests_exclude"), "{text}\n{}", hints(&text));
    }
    let both = rules("guests_include = [\"101\"]\n[[hosts.guests]]\nid = 104\n");
    assert_eq!((both.hosts[0].wanted.include.len(), both.hosts[0].guests.len()), (1, 1));
    // What stands twice for another reason is not explained by this.
    let twice = hints("[[hosts]]\nhost = \"a\"\nhost = \"b\"\n");
    assert!(!twice.contains("host_reboot"), "{twice}");
}

const PASSWORDS: &str = r#"
[defaults]
guest.password_env = "ALL"
[[hosts]]
host = "pve1"
api.token_env = "T"
api.secret_env = "S"
ssh.password_env = "NODE"
guest_inventory.entries = [
    { kind = "vm", id = "201", password_env = "P201" },
    { kind = "ct", id = "101", password = "listed" },
    { kind = "vm", id = "202", password_env = "GONE", managed = true },
    { kind = "vm", id = "203", password_env = "GONE" },
]
guests = [
    { id = 201, password_env = "R201" },
    { id = 202, password_env = "GONE", managed = false },
    { id = 203, password_env = "GONE", via = "agent" },
    { id = 204, password_env = "GONE" },
    { id = 204, password_env = "R204" },
]
"#;

#[test]
fn passwords_are_those_that_count_and_only_they_are_needed() {
    let env = |name: &str| match name {
        "T" => Some("root@pam!t=secret".into()),
        "S" | "GONE" => None,
        other => Some(format!("secret of {other}").into()),
    };
    let manifest = valid(PASSWORDS);
    let found = Credentials::resolve(&manifest.hosts, &env).unwrap();
    let host = found.host(&manifest.hosts[0].id).unwrap();
    assert_eq!(host.node_password.as_ref().unwrap().expose_secret(), "secret of NODE");
    for (id, secret) in [
        (201, "secret of R201"),
        (101, "listed"),
        (204, "secret of R204"),
        (102, "secret of ALL"),
        (203, "secret of ALL"),
    ] {
        assert_eq!(host.guest(GuestId(id)).unwrap().expose_secret(), secret, "{id}");
    }
    assert_eq!(host.passwords().count(), 6);
    // What is missing is named with what it is for.
    let without = |name: &str| (name == "T").then(|| "root@pam!t=s".into());
    insta::assert_snapshot!(Credentials::resolve(&manifest.hosts, &without).unwrap_err(), @"
    pve1: environment variable NODE is not set (named by ssh.password_env: the password of the login on the node)
    pve1: environment variable ALL is not set (named by guest.password_env: the password of the login in guests)
    pve1: environment variable R201 is not set (named by password_env of guest 201)
    pve1: environment variable R204 is not set (named by password_env of guest 204)
    pve1: environment variable P201 is not set (named by password_env of VM 201)
    ");
    // Where SSH is no way into any guest, nobody needs the guests' password.
    let by_agent =
        valid(PASSWORDS.replace("[defaults]", "[defaults]\nvia = \"agent\"").split("guest_inventory").next().unwrap());
    let env = |name: &str| if name == "ALL" { None } else { env(name) };
    assert!(
        Credentials::resolve(&by_agent.hosts, &env)
            .unwrap()
            .host(&manifest.hosts[0].id)
            .unwrap()
            .default_password
            .is_none()
    );
}

#[test]
fn a_login_is_known_where_anything_is_said_about_it() {
    let says = |lines: &str| rules(lines).hosts[0].guest_ssh.is_given();
    assert!(!says("") && !says("guest_user = \"root\"") && !says("user = \"ops\"\nidentity_file = \"k\""));
    for lines in [
        "guest_user = \"ops\"",
        "guest.identity_file = \"k\"",
        "guest.password_env = \"P\"",
        "guest_ssh_extra_args = \"-p 1\"",
    ] {
        assert!(says(lines), "{lines}");
    }
}

#[test]
fn a_rollback_without_a_snapshot_is_warned_of() {
    let warned = |lines: &str| {
        let manifest = valid(&format!("{lines}\n{HOST}"));
        manifest.warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
    };
    let both = warned("[defaults]\non_failure = \"rollback\"\nprotect = \"backup\"");
    assert!(both.len() == 1 && both[0].contains("no effect here"), "{both:?}");
    assert_eq!(warned("[defaults]\non_failure = \"rollback\""), Vec::<String>::new());
    assert_eq!(warned("[defaults]\nprotect = \"none\""), Vec::<String>::new());
}
