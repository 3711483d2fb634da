//! Public keys in files: read, refused, named.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use proxmaint::adapters::ssh::public_key::{KeyPair, PublicKeyProblem, candidates};
use proxmaint::adapters::ssh::{Auth, PublicKey};
use russh::keys::PrivateKey;
use russh::keys::key::safe_rng;

use crate::{Desk, ed25519, rsa};

fn line_of(key: &PrivateKey, comment: &str) -> String {
    let line = key.public_key().to_openssh().unwrap();
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    format!("{} {} {comment}", words[0], words[1]).trim_end().to_owned()
}

#[test]
fn a_key_is_read_as_it_stands() {
    let desk = Desk::new();
    let key = ed25519();
    for (text, comment) in [
        (line_of(&key, "me@desk, 2nd key"), "me@desk, 2nd key"),
        (format!("\n  {}\r\n\n", line_of(&key, "me")), "me"),
        (line_of(&key, "").replace(' ', "\t "), ""),
    ] {
        let path = desk.path("id.pub");
        fs::write(&path, &text).unwrap();
        let read = PublicKey::read(&path).unwrap();
        assert_eq!((read.kind(), read.comment()), ("ssh-ed25519", comment), "{text:?}");
        assert_eq!(read.line(), line_of(&key, comment));
        assert_eq!(read.fingerprint(), key.fingerprint(russh::keys::HashAlg::Sha256).to_string());
    }
}

#[test]
fn what_is_no_public_key_is_refused_with_its_reason() {
    let desk = Desk::new();
    let key = ed25519();
    let line = line_of(&key, "me");
    let private = fs::read_to_string(desk.write_key("id", &key)).unwrap();
    let path = desk.path("given");
    let cut = &line[..line.len() - 20];
    let cases: [(&str, &str, &str); 13] = [
        (&private, "a private key, not a public one", "ends in .pub"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "a private key", "ends in .pub"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n", "another format", "ssh-keygen -i"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "another format", "ssh-keygen -i"),
        (&format!("{line}\n{line}\n"), "holds 2 lines", "one line"),
        (&format!("no-pty {line}\n"), "has options in front", "only the key"),
        (&format!("from=\"*\" {line}\n"), "has options in front", "only the key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA me\n", "a certificate", "one line"),
        ("ssh-dss AAAAB3NzaC1kc3M= me\n", "no public key", "one line"),
        ("", "is empty", "one line"),
        ("hello world\n", "no public key", "one line"),
        (cut, "does not hold the ssh-ed25519 key", "one line"),
        (&format!("{line} \u{1b}[31m"), "control characters", "one line"),
    ];
    for (text, says, hint) in cases {
        fs::write(&path, text).unwrap();
        let error = PublicKey::read(&path).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
        assert!(error.to_string().contains(says), "{text:?}: {error}");
        assert!(error.hint().contains(hint), "{text:?}: {}", error.hint());
        assert!(!format!("{error} {error:?}").contains("AAAAB3NzaC1kc3M"), "what is in the file is not repeated");
    }
    fs::write(&path, "x".repeat(100_000)).unwrap();
    assert!(matches!(PublicKey::read(&path).unwrap_err().problem, PublicKeyProblem::TooLong));
    for none in [desk.path("missing"), desk.0.path().to_owned()] {
        let error = PublicKey::read(&none).unwrap_err();
        assert!(matches!(error.problem, PublicKeyProblem::Unreadable(_)), "{error}");
    }
}

#[test]
fn a_private_keys_file_gives_its_public_half() {
    let desk = Desk::new();
    let key = ed25519();
    let path = desk.write_key("id", &key);
    let read = PublicKey::of_private(&path).unwrap();
    assert_eq!(read.line(), line_of(&key, ""));
    // The .pub beside it names it; one of another key does not count.
    fs::write(desk.path("id.pub"), line_of(&key, "me@desk")).unwrap();
    assert_eq!(PublicKey::of_private(&path).unwrap().comment(), "me@desk");
    fs::write(desk.path("id.pub"), line_of(&ed25519(), "stale")).unwrap();
    assert_eq!(PublicKey::of_private(&path).unwrap(), read);
    // A passphrase hides no public key in OpenSSH's format.
    let locked = desk.write_key("locked", &key.encrypt(&mut safe_rng(), "a passphrase").unwrap());
    assert!(PublicKey::of_private(&locked).unwrap().is_same_key(&read));
    // Another format.
    let old = desk.path("id_rsa");
    fs::write(&old, include_str!("fixtures/rsa_test_key")).unwrap();
    assert_eq!(PublicKey::of_private(&old).unwrap().data(), line_of(&rsa(), "").split(' ').nth(1).unwrap());

    fs::write(desk.path("public"), line_of(&key, "me")).unwrap();
    let error = PublicKey::of_private(&desk.path("public")).unwrap_err();
    assert!(matches!(error.problem, PublicKeyProblem::Public), "{error}");
    fs::write(desk.path("nothing"), "no key at all").unwrap();
    let error = PublicKey::of_private(&desk.path("nothing")).unwrap_err();
    assert!(matches!(error.problem, PublicKeyProblem::NotPrivate(_)), "{error}");
}

fn ssh_keygen(args: &[&str], path: &Path) -> Option<String> {
    match Command::new("ssh-keygen").args(args).arg("-f").arg(path).output() {
        Ok(out) => {
            assert!(out.status.success(), "{out:?}");
            Some(String::from_utf8(out.stdout).unwrap())
        }
        Err(error) => {
            writeln!(std::io::stderr(), "not run: keys that the real ssh-keygen makes ({error})")
                .expect("stderr is open");
            None
        }
    }
}

#[test]
fn keys_are_named_as_the_real_ssh_keygen_names_them() {
    let desk = Desk::new();
    for (kind, more) in [
        ("ed25519", &[][..]),
        ("ecdsa", &[]),
        ("ecdsa", &["-b", "521"]),
        ("ecdsa", &["-m", "PEM"]),
        ("ecdsa", &["-m", "PKCS8"]),
        ("rsa", &["-b", "2048"]),
        ("rsa", &["-b", "2048", "-m", "PEM"]),
        ("rsa", &["-b", "2048", "-m", "PKCS8"]),
    ] {
        for phrase in ["", "a passphrase"] {
            let path = desk.path(&format!("id_{kind}_{}_{}", more.join(""), phrase.len()));
            let args = [&["-q", "-t", kind, "-N", phrase, "-C", "me@desk of mine"], more].concat();
            if ssh_keygen(&args, &path).is_none() {
                return;
            }
            let pub_file = path.with_extension("pub");
            let listed = ssh_keygen(&["-l"], &pub_file).unwrap();
            let fingerprint = listed.split(' ').nth(1).unwrap();
            for read in [PublicKey::read(&pub_file).unwrap(), PublicKey::of_private(&path).unwrap()] {
                assert_eq!(read.fingerprint(), fingerprint, "{listed}");
                assert_eq!(read.line(), fs::read_to_string(&pub_file).unwrap().trim_end());
            }
            // Without the .pub, what the private key's file shows of itself.
            fs::remove_file(&pub_file).unwrap();
            let hidden = !phrase.is_empty() && more.contains(&"-m");
            match PublicKey::of_private(&path) {
                Ok(read) => assert!(!hidden && read.fingerprint() == fingerprint, "{kind} {more:?}"),
                Err(error) => {
                    assert!(
                        hidden && matches!(error.problem, PublicKeyProblem::Locked { .. }),
                        "{kind} {more:?}: {error}"
                    );
                    assert!(
                        error.hint().contains(&format!("ssh-keygen -y -f '{}'", path.display())),
                        "{}",
                        error.hint()
                    );
                }
            }
        }
    }
}

#[test]
fn the_keys_to_offer_are_those_that_log_in() {
    let desk = Desk::new();
    let (first, second) = (ed25519(), ed25519());
    let files = vec![desk.write_key("first", &first), desk.path("missing"), desk.write_key("second", &second)];
    let auth = Auth { identity_files: files.clone(), ..Auth::default() };
    let found = candidates(&auth);
    let pair = |at: usize, key: &PrivateKey| KeyPair {
        private: files[at].clone(),
        public: PublicKey::parse(&line_of(key, "")).unwrap(),
    };
    assert_eq!(found[0].as_ref().unwrap(), &pair(0, &first));
    assert_eq!(found[1].as_ref().unwrap_err().path, files[1], "the one that is missing is named");
    assert_eq!(found[2].as_ref().unwrap(), &pair(2, &second));
    assert_eq!(found.len(), 3);
    let none = Auth { usual_files: false, ..Auth::default() };
    assert!(candidates(&none).is_empty());
}
