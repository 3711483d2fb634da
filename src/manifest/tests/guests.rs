//! The inventory of guests that a host may carry.

use secrecy::ExposeSecret;

use crate::ids::{GuestId, GuestKind};

use super::super::keys;
use super::{parse, valid};

const HOST: &str = "[[hosts]]\nhost = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n";

/// Every key of an entry: a value, another type's value, and what the entry says of it.
const KEYS: [(&str, &str, &str); 13] = [
    ("kind", "\"vm\"", "1"),
    ("id", "\"201\"", "201"),
    ("name", "\"db\"", "1"),
    ("status", "\"running\"", "true"),
    ("ip", "\"192.0.2.201\"", "[\"192.0.2.201\"]"),
    ("user", "\"admin\"", "0"),
    ("managed", "true", "\"true\""),
    ("ssh_verified", "false", "0"),
    ("ssh_key_path", "\"~/key\"", "{}"),
    ("last_checked", "\"2026-11-01\"", "20261101"),
    ("password_env", "\"DB_PASSWORD\"", "1"),
    ("password", "\"HUSH\"", "[\"HUSH\"]"),
    ("notes", "\"a note\"", "1.5"),
];

fn entry(pairs: impl IntoIterator<Item = (&'static str, &'static str)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn with_entries(entries: &[String]) -> String {
    format!("{HOST}guest_inventory = {{ version = 1, entries = [{}] }}", entries.join(", "))
}

#[test]
fn every_key_of_an_entry_is_read() {
    assert_eq!(KEYS.map(|(key, _, _)| key), keys::ENTRY);
    let manifest = valid(&with_entries(&[entry(KEYS.map(|(key, value, _)| (key, value)))]));
    let guest = manifest.hosts[0].guest(GuestKind::Vm, GuestId(201)).unwrap();
    assert_eq!((guest.kind, guest.id), (GuestKind::Vm, GuestId(201)));
    let texts =
        [&guest.name, &guest.status, &guest.ip, &guest.user, &guest.last_checked, &guest.password_env, &guest.notes];
    let texts = texts.map(|text| text.as_deref().unwrap());
    assert_eq!(texts, ["db", "running", "192.0.2.201", "admin", "2026-11-01", "DB_PASSWORD", "a note"]);
    assert_eq!((guest.managed, guest.ssh_verified, guest.is_excluded()), (Some(true), Some(false), false));
    assert_eq!(guest.ssh_key_path.as_deref().unwrap().to_str(), Some("/home/op/key"));
    assert_eq!(guest.password.as_ref().unwrap().expose_secret(), "HUSH");
    assert!(manifest.hosts[0].guest(GuestKind::Ct, GuestId(201)).is_none());
}

#[test]
fn a_wrong_type_is_an_error() {
    for (wrong_key, _, wrong) in KEYS {
        let pairs = KEYS.map(|(key, value, _)| (key, if key == wrong_key { wrong } else { value }));
        let error = parse(&with_entries(&[entry(pairs)])).unwrap_err();
        let [problem] = error.problems() else { panic!("{wrong_key}: {error}") };
        assert!(problem.message.starts_with(&format!("`{wrong_key}` must be ")), "{error}");
        assert!(!error.to_string().contains("HUSH"), "{error}");
    }
}

#[test]
fn only_kind_and_id_are_needed() {
    for (key, message) in
        [("kind", "an entry of `guest_inventory` has no `kind`"), ("id", "an entry of `guest_inventory` has no `id`")]
    {
        for value in [None, Some("\"\"")] {
            let others = [("kind", "\"ct\""), ("id", "\"101\"")].into_iter().filter(|(other, _)| *other != key);
            let error = parse(&with_entries(&[entry(others.chain(value.map(|v| (key, v))))])).unwrap_err();
            assert_eq!(error.problems()[0].message, message);
        }
    }
    let manifest = valid(&with_entries(&[entry([("kind", "\"ct\""), ("id", "\"101\"")])]));
    let guest = manifest.hosts[0].guest(GuestKind::Ct, GuestId(101)).unwrap();
    assert_eq!((guest.managed, guest.is_excluded(), guest.password.is_none()), (None, false, true));
}

#[test]
fn values_are_checked() {
    for (pairs, message) in [
        ([("kind", "\"lxc\""), ("id", "\"101\"")], "`kind` must be \"vm\" or \"ct\""),
        ([("kind", "\"ct\""), ("id", "\"99\"")], "`id` must be a vmid from 100 to 999999999"),
        ([("kind", "\"ct\""), ("id", "\"1000000000\"")], "`id` must be a vmid from 100 to 999999999"),
        ([("kind", "\"ct\""), ("id", "\"x\"")], "`id` must be a vmid from 100 to 999999999"),
    ] {
        let error = parse(&with_entries(&[entry(pairs)])).unwrap_err();
        assert_eq!(error.problems().len(), 1);
        assert_eq!(error.problems()[0].message, message);
    }
}

#[test]
fn the_first_entry_of_a_guest_counts() {
    let first = entry([("kind", "\"ct\""), ("id", "\"101\""), ("managed", "false")]);
    let second = entry([("kind", "\"ct\""), ("id", "\"101\""), ("managed", "true")]);
    let manifest = valid(&with_entries(&[first, second]));
    assert!(manifest.hosts[0].guest(GuestKind::Ct, GuestId(101)).unwrap().is_excluded());
    assert_eq!(manifest.hosts[0].inventory.as_ref().unwrap().entries.len(), 1);
    assert_eq!(manifest.warnings[0].message, "CT 101 has an entry already, which goes before this one");
}

#[test]
fn unknown_keys_are_no_error_and_dates_may_be_dates() {
    let text = format!(
        "{HOST}guest_inventory = {{ updated_at = 2026-11-01T03:00:00Z, by = 3, entries = [{}] }}",
        entry([("kind", "\"ct\""), ("id", "\"101\""), ("colour", "3"), ("last_checked", "2026-11-01")])
    );
    let manifest = valid(&text);
    assert_eq!(manifest.warnings, []);
    let inventory = manifest.hosts[0].inventory.as_ref().unwrap();
    assert_eq!((inventory.version, inventory.updated_at.as_deref()), (1, Some("2026-11-01T03:00:00Z")));
    assert_eq!(inventory.entries[0].last_checked.as_deref(), Some("2026-11-01"));
}
