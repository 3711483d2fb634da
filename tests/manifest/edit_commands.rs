//! `manifest set`, `unset`, `add-host` and `remove-host` through the program, and how a manifest is saved.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use proxmaint::manifest::edit::{Document, ManifestFile, SaveError, Scope, Spot, Value};

use crate::home;

const COMMENTED: &str = include_str!("../../fixtures/manifests/commented.toml");
const SMALL: &str =
    "# fleet\n\n[[hosts]]\nhost = \"pve1\"  # the first\napi_token_env = \"T\"\napi_secret_env = \"S\"\n";

/// A directory with a manifest in it.
struct Fleet {
    directory: tempfile::TempDir,
}

/// What the program left behind.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Fleet {
    fn new(text: &str) -> Self {
        let fleet = Self::empty();
        fs::write(fleet.path(), text).unwrap();
        fleet
    }

    fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("proxmox-hosts.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn run(&self, args: &[&str]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxmaint"));
        command.current_dir(self.directory.path()).env_clear().env("HOME", "/home/op").arg("manifest").args(args);
        let output = command.output().unwrap();
        Done {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs what must be refused with that code and those words, and must change nothing.
    fn refused(&self, args: &[&str], code: i32, words: &[&str]) {
        let (text, files) = (fs::read(self.path()).ok(), self.files());
        let done = self.run(args);
        assert_eq!((done.code, done.out.as_str()), (code, ""), "{args:?}: {}", done.err);
        for word in words {
            assert!(done.err.contains(word), "{args:?}: no {word:?} in {}", done.err);
        }
        assert_eq!((fs::read(self.path()).ok(), self.files()), (text, files), "{args:?} changed something");
    }
}

/// The lines of a difference that say something.
fn changes(diff: &str) -> Vec<&str> {
    let is_change = |line: &&str| line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---");
    diff.lines().filter(is_change).collect()
}

#[test]
fn set_changes_one_line_and_keeps_the_previous_file() {
    let fleet = Fleet::new(COMMENTED);
    let done = fleet.run(&["set", "max_parallel", "4"]);
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    let (old, new) = (
        "max_parallel = 2                            # more and",
        "max_parallel = 4                            # more and",
    );
    assert_eq!(fleet.text(), COMMENTED.replacen(old, new, 1));
    assert_eq!(fs::read_to_string(fleet.directory.path().join("proxmox-hosts.toml.bak")).unwrap(), COMMENTED);
    assert_eq!(fleet.files(), ["proxmox-hosts.toml", "proxmox-hosts.toml.bak"]);
    assert_eq!(changes(&done.err).len(), 2, "{}", done.err);
    assert!(done.err.contains("saved proxmox-hosts.toml; the previous one is ") && done.err.contains(".bak\n"));

    let again = fleet.run(&["set", "max_parallel", "4"]);
    assert_eq!((again.code, again.err.as_str()), (0, "proxmox-hosts.toml needs no change\n"));
}

#[test]
fn a_dry_run_shows_the_difference_and_saves_nothing() {
    let fleet = Fleet::new(SMALL);
    let done = fleet.run(&["set", "ssh.extra_args", "--host", "pve1", "--dry-run", "--", "-p 2222"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    insta::assert_snapshot!("edit_dry_run", done.out);
    assert_eq!((fleet.text().as_str(), fleet.files().len()), (SMALL, 1));
}

#[test]
fn both_spellings_of_a_key_mean_the_same() {
    for key in ["api.port", "api_port"] {
        let fleet = Fleet::new(SMALL);
        assert_eq!(fleet.run(&["set", key, "443", "--host", "pve1"]).code, 0);
        assert_eq!(fleet.text(), format!("{SMALL}api_port = 443\n"));
        assert_eq!(fleet.run(&["unset", key, "--host", "pve1"]).code, 0);
        assert_eq!(fleet.text(), SMALL);
    }
}

#[test]
fn unset_says_what_holds_now() {
    let fleet = Fleet::new(&SMALL.replace("# fleet\n\n", "# fleet\n\n[defaults]\nvia = \"pct\"\n\n"));
    assert_eq!(fleet.run(&["set", "via", "ssh", "--host", "pve1"]).code, 0);
    let done = fleet.run(&["unset", "via", "--host", "pve1"]);
    assert!(done.err.contains("note: `via`: what holds now is \"pct\" of [defaults]\n"), "{}", done.err);
    let done = fleet.run(&["unset", "via"]);
    assert!(done.err.contains("what holds now is the default, \"auto\"\n"), "{}", done.err);
    let done = fleet.run(&["unset", "via"]);
    assert_eq!(done.code, 0);
    assert!(done.err.contains("needs no change\nnote: `via` was not set in [defaults]\n"), "{}", done.err);
}

#[test]
fn a_guests_rule_is_made_and_changed() {
    let fleet = Fleet::new(SMALL);
    assert_eq!(fleet.run(&["set", "managed", "false", "--host", "pve1", "--guest", "104"]).code, 0);
    assert_eq!(fleet.text(), format!("{SMALL}\n[[hosts.guests]]\nid = 104\nmanaged = false\n"));
    let done = fleet.run(&["set", "protect", "[\"backup\"]", "--host", "pve1", "--guest", "104"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(fleet.text().ends_with("managed = false\nprotect = [\"backup\"]\n"), "{}", fleet.text());
    fs::write(fleet.path(), fleet.text() + "\n[[hosts.guests]]\nmatch = \"tag:x\"\nmanaged = true\n").unwrap();
    let done = fleet.run(&["set", "managed", "true", "--host", "pve1", "--guest", "104"]);
    assert!(done.err.contains("note: a later rule says `managed` of tag:x too"), "{}", done.err);
    assert_eq!(fleet.run(&["unset", "via", "--host", "pve1", "--guest", "999"]).code, 0);
}

#[test]
fn hosts_are_added_and_removed() {
    let fleet = Fleet::empty();
    let done = fleet.run(&["add-host", "pve1.example.org", "--name", "pve1", "max_parallel=4"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(
        fleet.text(),
        "[[hosts]]\nname = \"pve1\"\nhost = \"pve1.example.org\"\napi.token_env = \"PVE1_TOKEN\"\napi.secret_env = \"PVE1_SECRET\"\nmax_parallel = 4\n"
    );
    assert!(done.err.contains("variable PVE1_TOKEN\n") && done.err.contains("variable PVE1_SECRET\n"), "{}", done.err);
    assert_eq!(fs::metadata(fleet.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fleet.files(), ["proxmox-hosts.toml"], "there is no previous one");
    let one = fleet.text();
    let done = fleet.run(&["add-host", "192.0.2.2", "--token-env", "T", "api_secret_env=S"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(
        fleet.text(),
        format!("{one}\n[[hosts]]\nhost = \"192.0.2.2\"\napi.token_env = \"T\"\napi.secret_env = \"S\"\n")
    );
    fleet.refused(&["add-host", "192.0.2.2"], 2, &["the name `192.0.2.2` is taken", "nothing is saved"]);
    fleet.refused(&["add-host", "x", "host=y"], 2, &["`host` is given twice"]);
    fleet.refused(&["add-host", "x", "port=1"], 2, &["there is no key `port` in [[hosts]]"]);
    fleet.refused(&["add-host", "x", "port"], 2, &["KEY=VALUE"]);
    assert_eq!(fleet.run(&["remove-host", "192.0.2.2"]).code, 0);
    assert_eq!(fleet.text(), one);
    fleet.refused(&["remove-host", "pve1"], 2, &["there are no hosts"]);
    fleet.refused(&["remove-host", "pve9"], 2, &["the manifest has no host `pve9`", "its hosts are pve1"]);
    Fleet::new("# as yet\n").refused(&["remove-host", "pve9"], 2, &["no host `pve9`", "it has none yet"]);
}

#[test]
fn wrong_keys_and_values_are_told_with_what_is_expected() {
    let fleet = Fleet::new(SMALL);
    fleet.refused(
        &["set", "max_paralel", "4"],
        2,
        &["there is no key `max_paralel` in [defaults]", "did you mean `max_parallel`?"],
    );
    fleet.refused(&["set", "name", "x"], 2, &["name the host with --host"]);
    fleet.refused(&["set", "match", "x"], 2, &["name one with --host and --guest"]);
    fleet.refused(&["set", "resume_within", "1h", "--host", "pve1"], 2, &["leave --host out"]);
    fleet.refused(&["set", "max_parallel", "1", "--host", "pve1", "--guest", "1"], 2, &["leave --guest out"]);
    fleet.refused(&["set", "max_parallel", "many"], 2, &["`max_parallel` can't be \"many\": it takes a whole number"]);
    fleet.refused(&["set", "dry_run", "yes"], 2, &["`dry_run` can't be \"yes\": it takes true or false"]);
    fleet.refused(&["set", "protect", "[snapshot]"], 2, &["`protect` can't be \"[snapshot]\": it takes"]);
    fleet.refused(&["set", "guests", "[]", "--host", "pve1"], 2, &["edited one by one"]);
    fleet.refused(&["set", "api.port", "70000"], 2, &["must be from 1 to 65535, not 70000", "nothing is saved"]);
    fleet.refused(&["set", "protect", "snapshots"], 2, &["did you mean \"snapshot\"?"]);
    fleet.refused(&["set", "user", "x", "--host", "pve2"], 2, &["no host `pve2`", "its hosts are pve1"]);
    fleet.refused(&["set", "user", "x", "--guest", "104"], 2, &["--host"]);
    fleet.refused(&["unset", "host", "--host", "pve1"], 2, &["a host has no `host`"]);
    fleet.refused(&["set", "api.token_env", "c0ffee00-1111-2222-3333-444455556666", "--host", "pve1"], 2, &["***"]);
}

#[test]
fn a_manifest_that_was_wrong_before_is_to_blame_itself() {
    let fleet = Fleet::empty();
    fleet.refused(&["set", "user", "x"], 1, &["can't read the manifest", "--config FILE"]);
    let fleet = Fleet::new("[[hosts]]\nhost = \n");
    fleet.refused(&["set", "user", "x"], 1, &["this is not TOML", ":2:"]);
    let fleet = Fleet::new(&format!("{SMALL}api_port = 70000\nmax_parallel = -1\n"));
    fleet.refused(&["set", "max_parallel", "2", "--host", "pve1"], 1, &["not 70000", "nothing is saved"]);
    // But it can be mended.
    let fleet = Fleet::new(&format!("{SMALL}api_port = 70000 # oh\n"));
    assert_eq!(fleet.run(&["set", "api.port", "8006", "--host", "pve1"]).code, 0);
    assert_eq!(fleet.text(), format!("{SMALL}api_port = 8006 # oh\n"));
    for wrong in ["1.5", "[[1]]", "1979-05-27", "[{ a = 1 }]", "\"443\""] {
        let fleet = Fleet::new(&format!("{SMALL}api_port = {wrong} # oh\n"));
        let done = fleet.run(&["set", "api.port", "443", "--host", "pve1"]);
        assert_eq!(done.code, 0, "{wrong}: {}", done.err);
        assert_eq!(fleet.text(), format!("{SMALL}api_port = 443 # oh\n"));
    }
}

#[test]
fn passwords_are_in_no_difference() {
    let fleet = Fleet::new(COMMENTED);
    let done = fleet.run(&["set", "dry_run", "false", "--host", "north3"]);
    assert_eq!(done.code, 0, "{}", done.err);
    for args in [["remove-host", "north3", "--dry-run"], ["remove-host", "north6", "--dry-run"]] {
        let done = fleet.run(&args);
        assert!(done.out.contains("-  password = ***") && !done.out.contains("never-shown"), "{}", done.out);
    }
}

#[test]
fn every_key_of_a_long_commented_manifest_changes_in_one_line() {
    let document = Document::parse(COMMENTED).unwrap();
    assert!(COMMENTED.lines().count() > 300);
    let valid = document.manifest(Path::new("/etc/fleet/m.toml"), &home).unwrap();
    assert_eq!(valid.hosts.len(), 12);
    let mut tried = 0;
    let mut spots = vec![Spot::Defaults];
    for host in 0..document.hosts().len() {
        spots.push(Spot::Host(host));
        spots.extend(document.rules(host));
        spots.extend(document.entries(host));
    }
    for spot in spots {
        for setting in spot.scope().settings() {
            let Some((_, Value::Text(old))) = document.given(spot, &setting) else { continue };
            if setting.is_secret() {
                continue;
            }
            let mut edited = document.clone();
            edited.set(spot, &setting, &Value::text("changed")).unwrap();
            let text = edited.text();
            let differing = COMMENTED.lines().zip(text.lines()).filter(|(a, b)| a != b).count();
            // What was written over several lines takes one now.
            let is_long = text.lines().count() != COMMENTED.lines().count();
            assert!(differing == 1 || is_long, "{spot:?} {}: {old}", setting.name());
            assert_eq!(is_long, ["notes", "api_fingerprint"].contains(&setting.name()), "{}", setting.name());
            let comments = |text: &str| {
                text.lines().filter_map(|line| line.find('#').map(|at| line[at..].to_owned())).collect::<Vec<_>>()
            };
            if setting.name() != "notes" {
                assert_eq!(comments(&text), comments(COMMENTED), "{}", setting.name());
            }
            tried += 1;
        }
    }
    assert!(tried > 80, "{tried}");
}

fn opened(path: &Path) -> (ManifestFile, Document) {
    ManifestFile::open(path, &home).unwrap()
}

fn edited(document: &mut Document) {
    let user = Scope::Defaults.setting("user").unwrap();
    document.set(Spot::Defaults, &user, &Value::text("u")).unwrap();
}

#[test]
fn a_link_is_followed_and_permissions_are_kept() {
    for mode in [0o600, 0o640, 0o444, 0o664] {
        let fleet = Fleet::new(SMALL);
        let real = fleet.directory.path().join("real");
        fs::create_dir(&real).unwrap();
        fs::rename(fleet.path(), real.join("m.toml")).unwrap();
        symlink("real/m.toml", fleet.path()).unwrap();
        fs::set_permissions(real.join("m.toml"), fs::Permissions::from_mode(mode)).unwrap();
        let (mut file, mut document) = opened(&fleet.path());
        edited(&mut document);
        file.save(&document, &home).unwrap();
        assert!(fs::symlink_metadata(fleet.path()).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(real.join("m.toml")).unwrap(), document.text());
        assert_eq!(fs::read_to_string(real.join("m.toml.bak")).unwrap(), SMALL);
        for name in ["m.toml", "m.toml.bak"] {
            assert_eq!(fs::metadata(real.join(name)).unwrap().mode() & 0o7777, mode, "{name}");
        }
        assert_eq!(fs::read_dir(&real).unwrap().count(), 2);
    }
}

#[test]
fn the_owner_is_kept() {
    let fleet = Fleet::new(SMALL);
    if std::os::unix::fs::chown(fleet.path(), Some(12_345), Some(54_321)).is_err() {
        eprintln!("not run: giving files away takes root");
        return;
    }
    let (mut file, mut document) = opened(&fleet.path());
    edited(&mut document);
    file.save(&document, &home).unwrap();
    for path in [fleet.path(), file.backup()] {
        let meta = fs::metadata(path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (12_345, 54_321));
    }
}

#[test]
fn a_file_that_was_changed_meanwhile_is_left_alone() {
    let fleet = Fleet::new(SMALL);
    let (mut file, mut document) = opened(&fleet.path());
    edited(&mut document);
    let theirs = SMALL.replace("pve1", "pve7");
    fs::write(fleet.path(), &theirs).unwrap();
    let Err(SaveError::Changed { diff, .. }) = file.save(&document, &home) else { panic!("saved") };
    assert_eq!(changes(&diff), ["-host = \"pve1\"  # the first", "+host = \"pve7\"  # the first"]);
    assert_eq!((fleet.text(), fleet.files()), (theirs, vec!["proxmox-hosts.toml".to_owned()]));

    // One save after the other is no change by somebody else.
    let (mut file, mut document) = opened(&fleet.path());
    edited(&mut document);
    file.save(&document, &home).unwrap();
    document.unset(Spot::Defaults, &Scope::Defaults.setting("user").unwrap()).unwrap();
    file.save(&document, &home).unwrap();
    assert!(!fleet.text().contains("user"));

    fs::remove_file(fleet.path()).unwrap();
    assert!(matches!(file.save(&document, &home), Err(SaveError::Io { .. })), "a file that is gone is not made anew");
}

#[test]
fn a_file_that_was_made_meanwhile_is_left_alone() {
    let fleet = Fleet::empty();
    let (mut file, empty) = opened(&fleet.path());
    assert!(!file.existed() && empty.text().is_empty());
    fs::write(fleet.path(), "# theirs\n").unwrap();
    let document = Document::parse(SMALL).unwrap();
    let Err(SaveError::Changed { diff, .. }) = file.save(&document, &home) else { panic!("saved") };
    assert_eq!(changes(&diff), ["+# theirs"]);
    assert_eq!((fleet.text().as_str(), fleet.files().len()), ("# theirs\n", 1));
}

#[test]
fn what_run_would_not_take_is_not_saved() {
    let fleet = Fleet::new(SMALL);
    let (mut file, mut document) = opened(&fleet.path());
    document.set(Spot::Host(0), &Scope::Host.setting("api.port").unwrap(), &Value::Number(70_000)).unwrap();
    assert!(matches!(file.save(&document, &home), Err(SaveError::Invalid(_))));
    assert_eq!((fleet.text().as_str(), fleet.files().len()), (SMALL, 1));
}
