//! `manifest show` and `manifest check`, as they are called by the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proxmaint::cli::manifest::{ShowFormat, check, show};

use crate::home;

/// What a command left behind: exit code, stdout, stderr.
struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn ran(command: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> std::io::Result<u8>) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = command(&mut out, &mut err).unwrap();
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn run_show(path: &str, format: ShowFormat) -> Ran {
    ran(|out, err| show(Path::new(path), format, &home, out, err))
}

fn run_check(path: &str) -> Ran {
    ran(|out, err| check(Path::new(path), &home, out, err))
}

/// The output with the directory of the fixtures, which differs from machine to machine, named so.
fn portable(text: &str) -> String {
    let fixtures = Path::new("fixtures/manifests").canonicalize().unwrap();
    text.replace(fixtures.to_str().unwrap(), "<fixtures>")
}

#[test]
fn both_spellings_resolve_to_the_same_json() {
    let flat = run_show("fixtures/manifests/flat.toml", ShowFormat::Json);
    let dotted = run_show("fixtures/manifests/dotted.toml", ShowFormat::Json);
    assert_eq!((flat.code, dotted.code), (0, 0), "{}{}", flat.err, dotted.err);
    assert_eq!(flat.out, dotted.out);
    insta::assert_snapshot!("json", portable(&flat.out));
}

#[test]
fn json_has_the_keys_that_other_programs_read() {
    let output = run_show("fixtures/manifests/flat.toml", ShowFormat::Json).out;
    let json: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["hosts"]);
    // In the text: a parsed object does not keep the order of its keys.
    let mut rest = output.as_str();
    for key in [
        "name",
        "host",
        "user",
        "identity_file",
        "ssh_extra_args",
        "guest_user",
        "guest_identity_file",
        "guest_ssh_extra_args",
        "api_node",
        "api_port",
        "api_insecure",
        "api_token_env",
        "api_secret_env",
        "max_parallel",
        "dry_run",
    ] {
        let at = rest.find(&format!("\n      \"{key}\": ")).unwrap_or_else(|| panic!("no {key} in {rest}"));
        rest = &rest[at + 1..];
    }
}

#[test]
fn what_is_not_set_is_null() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.toml");
    fs::write(&path, "[[hosts]]\nhost = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n").unwrap();
    let output = run_show(path.to_str().unwrap(), ShowFormat::Json).out;
    let json: serde_json::Value = serde_json::from_str(&output).unwrap();
    let host = &json["hosts"][0];
    for key in ["identity_file", "guest_identity_file", "api_node", "api_ca_file", "api_fingerprint", "guest_inventory"]
    {
        assert!(host.as_object().unwrap().contains_key(key) && host[key].is_null(), "{key}");
    }
    assert_eq!(host["ssh_extra_args"], serde_json::json!([]));
    assert_eq!((host["user"].as_str(), host["api_port"].as_u64()), (Some("root"), Some(8006)));
}

#[test]
fn for_people() {
    let shown = run_show("fixtures/manifests/dotted.toml", ShowFormat::Human);
    assert_eq!(shown.code, 0);
    insta::assert_snapshot!("human", portable(&shown.out));
}

#[test]
fn passwords_are_never_printed() {
    for path in ["fixtures/manifests/flat.toml", "fixtures/manifests/dotted.toml"] {
        let (json, human, check) =
            (run_show(path, ShowFormat::Json), run_show(path, ShowFormat::Human), run_check(path));
        for text in [json.out, json.err, human.out, human.err, check.out, check.err] {
            assert!(!text.contains("never-shown"), "{text}");
        }
    }
    let wrong = run_check("fixtures/manifests/wrong.toml").err;
    assert!(!wrong.contains("hunter2") && !wrong.contains("c0ffee00"), "{wrong}");
}

#[test]
fn check_says_ok() {
    let checked = run_check("fixtures/manifests/flat.toml");
    assert_eq!(checked.code, 0);
    assert!(checked.err.contains("warning: `api_insecure` has no effect"), "{}", checked.err);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.toml");
    fs::write(&path, "[[hosts]]\nhost = \"::1\"\nrack = 3\napi_token_env = \"T\"\napi_secret_env = \"S\"\n").unwrap();
    let checked = run_check(path.to_str().unwrap());
    let out = checked.out.replace(directory.path().to_str().unwrap(), "<dir>");
    assert_eq!(out, "ok ::1 (root@[::1]:22), not known here: rack\nok <dir>/m.toml: 1 host\n");
    assert_eq!(checked.err, "");
}

#[test]
fn check_tells_everything_that_is_wrong() {
    let checked = run_check("fixtures/manifests/wrong.toml");
    assert_eq!((checked.code, checked.out.as_str()), (1, ""));
    insta::assert_snapshot!("wrong", checked.err);
    let shown = run_show("fixtures/manifests/wrong.toml", ShowFormat::Json);
    assert_eq!((shown.code, shown.out.as_str(), shown.err == checked.err), (1, "", true));
    let of_guests = run_check("fixtures/manifests/wrong_guests.toml");
    assert_eq!((of_guests.code, of_guests.out.as_str()), (1, ""));
    insta::assert_snapshot!("wrong_guests", of_guests.err);
}

#[test]
fn a_flood_of_errors_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.toml");
    fs::write(&path, "[[hosts]]\n".repeat(1000)).unwrap();
    let checked = run_check(path.to_str().unwrap());
    assert!(checked.err.contains("and 2950 more like these"), "{}", checked.err);
    assert!(checked.err.ends_with("m.toml: 3000 errors\n"), "{}", checked.err);
}

#[test]
fn a_file_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let missing = run_check(directory.path().join("proxmox-hosts.toml").to_str().unwrap());
    let is_directory = run_check(directory.path().to_str().unwrap());
    assert_eq!((missing.code, is_directory.code), (1, 1));
    let text = format!("{}{}", missing.err, is_directory.err).replace(directory.path().to_str().unwrap(), "<dir>");
    insta::assert_snapshot!(text, @"
    error: can't read the manifest <dir>/proxmox-hosts.toml: No such file or directory (os error 2)
    hint: name the manifest with `--config FILE`, or write one: see the sample proxmox-hosts.toml of the project
    error: can't read the manifest <dir>: Is a directory (os error 21)
    hint: name the file within it: --config <dir>/proxmox-hosts.toml
    ");
}

#[test]
fn a_password_that_others_can_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.toml");
    fs::copy("fixtures/manifests/flat.toml", &path).unwrap();
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let err = run_check(path.to_str().unwrap()).err;
        assert_eq!(err.contains("this password can be read by other users"), warned, "{mode:o}: {err}");
    }
}

#[test]
fn the_sample_loads_without_a_warning() {
    let checked = run_check("proxmox-hosts.toml");
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    // What it shows commented out must be right as well.
    let sample = fs::read_to_string("proxmox-hosts.toml").unwrap();
    let is_setting = |text: &&str| {
        let (key, _) = text.split_once(" = ").unwrap_or_default();
        !key.is_empty() && !key.contains(' ') && !text.contains("AA:BB")
    };
    let uncommented: Vec<_> =
        sample.lines().map(|line| line.strip_prefix("# ").filter(is_setting).unwrap_or(line)).collect();
    assert!(uncommented.iter().filter(|line| !line.starts_with('#')).count() > 30);
    let manifest = crate::parse(uncommented.join("\n").as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(manifest.hosts[0].ssh.parsed.port, Some(2222));
    assert_eq!(manifest.warnings.len(), 1, "a CA file and insecure together: {:?}", manifest.warnings);
}

#[test]
fn naming_something_to_check_against_goes_before_insecure() {
    use proxmaint::manifest::ApiTrust;
    const PIN: &str = "0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223242526272829";
    let pin = PIN.parse().unwrap();
    let ca = Path::new("/etc/fleet/ca.pem");
    let pin_line = format!("api.fingerprint = \"{PIN}\"\n");
    for (defaults, host, trust, warnings) in [
        ("", "", ApiTrust::SystemRoots, 0),
        ("", "api.insecure = true\n", ApiTrust::Unverified, 0),
        ("api.insecure = true\n", "", ApiTrust::Unverified, 0),
        ("api.insecure = true\n", "api.insecure = false\n", ApiTrust::SystemRoots, 0),
        ("api.insecure = true\n", "api.ca_file = \"ca.pem\"\n", ApiTrust::CaFile(ca), 0),
        ("api.insecure = true\n", &pin_line, ApiTrust::Pinned(pin), 0),
        ("api.ca_file = \"ca.pem\"\n", "api.insecure = true\n", ApiTrust::CaFile(ca), 1),
        ("api.ca_file = \"ca.pem\"\napi.insecure = true\n", "", ApiTrust::CaFile(ca), 1),
        ("api.ca_file = \"ca.pem\"\n", &pin_line, ApiTrust::Pinned(pin), 0),
    ] {
        let text = format!(
            "[defaults]\n{defaults}[[hosts]]\nhost = \"a\"\n{host}api.token_env = \"T\"\napi.secret_env = \"S\"\n"
        );
        let manifest = crate::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.hosts[0].api.trust(), trust, "{text}");
        assert_eq!(manifest.warnings.len(), warnings, "{text}");
    }
}
