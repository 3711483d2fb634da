//! Files that are not what they should be: other encodings, broken syntax, junk.

use proptest::prelude::*;
use proxmaint::manifest::{ManifestError, Severity};

use crate::parse;

const HOST: &str = "[[hosts]]\nhost = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n";

fn message(bytes: impl AsRef<[u8]>) -> String {
    parse(bytes.as_ref()).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn syntax_errors_have_a_place_and_a_hint() {
    let texts = [
        "[[hosts]]\nhost = pve1\n",
        "[[hosts]]\nhost = \"pve1\n",
        "[[hosts]]\nhost = \"a\"\nhost = \"b\"\n",
        "[[hosts]\nhost = \"a\"\n",
        "[defaults]\nuser = \"a\"\n[defaults]\n",
        "[[hosts]]\nmax_parallel = 99999999999999999999\n",
        "[[hosts]]\nhost \"a\"\n",
        "[[hosts]]\nguest_inventory = { entries = [{ kind = \"vm\", password = \"HU\"SH\" }] }\n",
        "hosts = [[[",
    ];
    let messages: Vec<_> = texts.iter().map(message).collect();
    insta::assert_snapshot!("syntax", messages.join("\n"));
}

#[test]
fn a_file_without_hosts() {
    let texts = [
        "",
        "# nothing yet\n",
        "hosts = []\n",
        "[defaults]\n",
        "[hosts]\nhost = \"a\"\n",
        "hosts = 3\n",
        "hosts = [1, { host = \"\" }]\n",
        "[[host]]\nhost = \"a\"\n",
        "defaults = 3\n[[hosts]]\n",
        "[[defaults]]\n",
    ];
    let messages: Vec<_> = texts.iter().map(message).collect();
    insta::assert_snapshot!("without_hosts", messages.join("\n"));
}

#[test]
fn addresses_of_hosts() {
    for (given, host) in [
        ("pve1", "pve1"),
        ("pve_1.example.org", "pve_1.example.org"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ] {
        let manifest = parse(HOST.replace("\"a\"", &format!("\"{given}\"")).as_bytes()).unwrap();
        assert_eq!((manifest.hosts[0].host.as_str(), manifest.hosts[0].id.as_str()), (host, host));
    }
    for (given, hint) in [
        ("https://pve1", "write the name or the address alone, without https:// and path"),
        ("root@pve1", "write the login as `user`"),
        ("pve1:22", "write ports apart: `api.port`, and -p in `ssh_extra_args`"),
        ("pve 1", "write a DNS name or an IP address"),
        ("-oProxyCommand=x", "write a DNS name or an IP address"),
    ] {
        let error = parse(HOST.replace("\"a\"", &format!("\"{given}\"")).as_bytes()).unwrap_err();
        assert_eq!(error.problems()[0].hints, [hint], "{given}");
    }
}

#[test]
fn an_address_that_is_given_twice_needs_names() {
    let error = message(format!("{HOST}\n{HOST}"));
    assert!(error.starts_with("error: the name `a` is taken by an earlier host\n"), "{error}");
    assert!(error.contains("proxmox-hosts.toml:7:8\n") && error.contains("proxmox-hosts.toml:2:8: the earlier host"));
    assert!(parse(format!("{HOST}\n{HOST}name = \"b\"\n").as_bytes()).is_ok());
}

#[test]
fn windows_files_load() {
    let windows = format!("\u{feff}{HOST}").replace('\n', "\r\n");
    assert_eq!(parse(windows.as_bytes()).unwrap().hosts[0].host, "a");
    let error = parse(windows.replace("host = \"a\"", "host = 1").as_bytes()).unwrap_err();
    let place = &error.problems()[0].place;
    assert_eq!((place.line, place.column, place.excerpt.as_str()), (2, 8, "host = 1"));
    // On the very line of the byte order mark.
    let error = parse("\u{feff}hosts = 1\r\n".as_bytes()).unwrap_err();
    let place = &error.problems()[0].place;
    assert_eq!((place.line, place.column, place.marker.as_str()), (1, 9, "        ^"));
    let error = parse("\u{feff}[[hosts]]\r\nhost = a\r\n".as_bytes()).unwrap_err();
    assert_eq!((error.problems()[0].place.line, error.problems()[0].place.column), (2, 8));
}

#[test]
fn other_encodings_are_told() {
    let latin1 = b"[[hosts]]\nhost = \"a\"\nnotes = \"B\xfcro\"\n";
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(HOST.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let marked = b"\xef\xbb\xbfhost = \"\xfc\"";
    insta::assert_snapshot!("encodings", [message(latin1), message(utf16), message(marked)].join("\n"));
}

#[test]
fn a_tilde_without_a_home_is_told() {
    let text = format!("{HOST}identity_file = \"~/key\"\n");
    let path = std::path::Path::new("/etc/fleet/proxmox-hosts.toml");
    for home in [None, Some("")] {
        let error = proxmaint::manifest::Manifest::parse(path, text.as_bytes(), &|_| home.map(Into::into)).unwrap_err();
        assert_eq!(error.problems()[0].message, "`identity_file`: `~` can't be expanded: HOME is not set");
    }
    let error = parse(format!("{HOST}identity_file = \"~bob/key\"\n").as_bytes()).unwrap_err();
    assert!(error.problems()[0].message.contains("`~bob`"));
}

/// Checks what must hold of any answer.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match parse(bytes) {
        Ok(manifest) => {
            prop_assert!(!manifest.hosts.is_empty());
            prop_assert!(manifest.hosts.iter().all(|host| !host.host.is_empty() && !host.api.token_env.is_empty()));
            prop_assert!(manifest.warnings.iter().all(|warning| warning.severity == Severity::Warning));
        }
        Err(ManifestError::Invalid { problems, .. }) => {
            prop_assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            let lines = String::from_utf8_lossy(bytes).split('\n').count();
            for problem in &problems {
                prop_assert!((1..=lines).contains(&problem.place.line), "{problem}");
                prop_assert!(!problem.to_string().contains('\r'));
            }
        }
        Err(error) => return Err(TestCaseError::fail(format!("not from bytes: {error}"))),
    }
    Ok(())
}

fn fixtures() -> Vec<Vec<u8>> {
    let names = ["flat", "dotted", "wrong", "wrong_guests"];
    names.iter().map(|name| std::fs::read(format!("fixtures/manifests/{name}.toml")).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes)?;
    }

    /// Pieces of TOML in any order get further into the reader than bytes do.
    #[test]
    fn pieces_never_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "[[hosts]]\n", "[defaults]\n", "[hosts.api]\n", "host", "name", "api.token_env", "api_secret_env", "ssh.extra_args",
        "guest.ssh.extra_args", "guest_inventory", "guests", "[[hosts.guests]]\n", "match", "via", "protect", "protect.with",
        "host.reboot", "guests.include", "backup.keep_last", "lock_wait", "\"type:vm\"", "\"pct\"", "\"1h\"", "entries", "kind", "id", "password", " = ", "\"", "'", "\"a\"", "\"-p\"",
        "\"-o Port=\"", "[", "]", "{", "}", ", ", "\n", "0", "-1", "true", "1979-05-27", ".", "#", "\u{e4}", "\r\n",
    ]), 0..60)) {
        check(pieces.concat().as_bytes())?;
    }

    /// Real manifests with a stretch overwritten.
    #[test]
    fn damaged_manifests_never_panic(
        which in 0..4_usize, at in any::<prop::sample::Index>(), length in 0..60_usize,
        by in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\"'=[]{}.,\n#~-".to_vec())], 0..8),
    ) {
        let mut bytes = fixtures().swap_remove(which);
        let start = at.index(bytes.len());
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, by);
        check(&bytes)?;
    }
}
