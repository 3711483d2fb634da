//! Who the host is: learning, matching and refusing its key.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;

use hmac::{Hmac, KeyInit, Mac};
use proxmaint::adapters::ssh::{HostKeyError, Session, SshError, Strictness};
use proxmaint::machine::outcome::{Fault, FaultClass};
use russh::keys::HashAlg;
use secrecy::SecretString;

use crate::server::{Server, Spec};
use crate::{Pair, ed25519, limits, line, name, pair, pair_with, rsa};

/// Connects where that is expected to fail because of the host's key.
async fn refused(pair: &Pair) -> HostKeyError {
    match Session::connect(&pair.target).await {
        Err(SshError::HostKey(error)) => {
            assert!(pair.server.commands().is_empty());
            assert_eq!(pair.server.seen.passwords.load(SeqCst), 0, "a password went to a host that is not trusted");
            assert!(
                pair.server.seen.key_algorithms.lock().unwrap().is_empty(),
                "a key was used on a host that is not trusted"
            );
            error
        }
        other => panic!("not refused: {other:?}"),
    }
}

async fn works(pair: &Pair) {
    let session = Session::connect(&pair.target).await.unwrap();
    assert_eq!(session.exec("echo in", limits()).await.unwrap().stdout, b"in\n");
}

#[tokio::test]
async fn an_unknown_key_is_learnt_then_matched() {
    let pair = pair().await;
    works(&pair).await;
    assert_eq!(pair.desk.text(&pair.desk.own()), line(&name(&pair.server), &pair.host_key));
    assert_eq!(std::fs::metadata(pair.desk.own()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!pair.desk.known_hosts().exists(), "the operator's own file is not written");
    // Known now, so one connection does, and nothing is learnt twice.
    let before = pair.server.connections();
    works(&pair).await;
    assert_eq!(pair.server.connections() - before, 1);
    assert_eq!(pair.desk.text(&pair.desk.own()).lines().count(), 1);
}

#[tokio::test]
async fn a_key_is_learnt_though_no_identity_is_accepted() {
    let mut pair = pair().await;
    let (_, wrong) = pair.desk.user_key("wrong");
    pair.target.auth.identity_files = vec![wrong];
    assert!(matches!(Session::connect(&pair.target).await, Err(SshError::Auth { .. })));
    assert_eq!(pair.desk.text(&pair.desk.own()), line(&name(&pair.server), &pair.host_key));
}

#[tokio::test]
async fn a_changed_key_is_refused_with_both_fingerprints_and_the_line() {
    let pair = pair().await;
    let other = ed25519();
    std::fs::write(pair.desk.known_hosts(), format!("# mine\n{}", line(&name(&pair.server), &other))).unwrap();
    let error = refused(&pair).await;
    let text = error.to_string();
    for part in [
        format!("{}:2 ", pair.desk.known_hosts().display()),
        other.public_key().fingerprint(HashAlg::Sha256).to_string(),
        pair.host_key.public_key().fingerprint(HashAlg::Sha256).to_string(),
    ] {
        assert!(text.contains(&part), "{part} is missing: {text}");
    }
    let fault = Fault::from(SshError::from(error));
    assert_eq!(fault.class, FaultClass::Identity);
    let remedy = format!("ssh-keygen -R '{}' -f '{}'", name(&pair.server), pair.desk.known_hosts().display());
    assert!(fault.hint.unwrap().contains(&remedy));
    assert!(!pair.desk.own().exists(), "a changed key is not learnt");
}

#[tokio::test]
async fn a_learnt_key_that_changes_is_refused() {
    let pair = pair().await;
    works(&pair).await;
    let Pair { desk, server, target, .. } = pair;
    let server = Server::start_at(server.stop().await, Spec { host_keys: vec![ed25519()], ..Spec::default() }).await;
    let pair = Pair { desk, server, target, host_key: ed25519() };
    assert!(matches!(refused(&pair).await, HostKeyError::Changed { file, line: 1, .. } if file == pair.desk.own()));
}

#[tokio::test]
async fn a_host_known_by_rsa_is_asked_for_rsa() {
    let pair = both_kinds().await;
    std::fs::write(pair.desk.known_hosts(), line(&name(&pair.server), &rsa())).unwrap();
    works(&pair).await;
    assert!(!pair.desk.own().exists(), "nothing new was learnt");
    // Of two kinds known, one that the host no longer has does no harm as long as the other matches.
    let (both, gone) = (line(&name(&pair.server), &rsa()), line(&name(&pair.server), &ecdsa()));
    std::fs::write(pair.desk.known_hosts(), gone + &both).unwrap();
    works(&pair).await;
}

#[tokio::test]
async fn a_new_kind_of_key_does_not_stand_in_for_the_known_one() {
    let pair = pair().await;
    std::fs::write(pair.desk.known_hosts(), line(&name(&pair.server), &rsa())).unwrap();
    assert!(matches!(refused(&pair).await, HostKeyError::Changed { line: 1, .. }));
}

#[tokio::test]
async fn several_known_keys_of_one_kind_each_match() {
    let pair = pair().await;
    let lines = line(&name(&pair.server), &ed25519()) + &line(&name(&pair.server), &pair.host_key);
    std::fs::write(pair.desk.known_hosts(), lines).unwrap();
    works(&pair).await;
}

#[tokio::test]
async fn strict_checking_refuses_an_unknown_key_and_takes_a_known_one() {
    let mut pair = pair().await;
    pair.target.host_keys.strict = Strictness::Yes;
    let error = refused(&pair).await;
    assert!(matches!(&error, HostKeyError::Unknown { host, .. } if *host == name(&pair.server)), "{error}");
    assert!(error.hint().contains("known_hosts"));
    assert!(!pair.desk.own().exists());
    std::fs::write(pair.desk.known_hosts(), line(&name(&pair.server), &pair.host_key)).unwrap();
    works(&pair).await;
}

#[tokio::test]
async fn a_hashed_name_is_known() {
    let mut pair = pair().await;
    pair.target.host_keys.strict = Strictness::Yes;
    let salt = [7u8; 20];
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&salt).unwrap();
    mac.update(name(&pair.server).as_bytes());
    let base64 = data_encoding::BASE64;
    let hashed = format!("|1|{}|{}", base64.encode(&salt), base64.encode(&mac.finalize().into_bytes()));
    std::fs::write(pair.desk.known_hosts(), line(&hashed, &ed25519())).unwrap();
    assert!(matches!(refused(&pair).await, HostKeyError::Changed { .. }));
    std::fs::write(pair.desk.known_hosts(), line(&hashed, &pair.host_key)).unwrap();
    works(&pair).await;
}

#[tokio::test]
async fn a_line_without_the_port_vouches_for_the_key() {
    let mut pair = pair().await;
    pair.target.host_keys.strict = Strictness::Yes;
    std::fs::write(pair.desk.known_hosts(), line("127.0.0.1", &pair.host_key)).unwrap();
    works(&pair).await;
    // But another key there may be another server's, on the usual port: the host is unknown, not changed.
    std::fs::write(pair.desk.known_hosts(), line("127.0.0.1", &ed25519())).unwrap();
    assert!(matches!(Session::connect(&pair.target).await, Err(SshError::HostKey(HostKeyError::Unknown { .. }))));
}

#[tokio::test]
async fn a_revoked_key_is_refused_whatever_else_is_said() {
    for strict in [Strictness::Yes, Strictness::AcceptNew, Strictness::No] {
        let mut pair = pair().await;
        pair.target.host_keys.strict = strict;
        let known = line(&name(&pair.server), &pair.host_key);
        std::fs::write(pair.desk.known_hosts(), format!("{known}@revoked {}", line("*", &pair.host_key))).unwrap();
        assert!(matches!(refused(&pair).await, HostKeyError::Revoked { line: 2, .. }));
        // Another key of that host is not concerned.
        std::fs::write(pair.desk.known_hosts(), format!("{known}@revoked {}", line("*", &ed25519()))).unwrap();
        works(&pair).await;
    }
}

#[tokio::test]
async fn without_checking_a_changed_key_is_shown_no_password() {
    let desk_password = Some("correct horse".to_owned());
    let mut pair = pair_with(Spec { password: desk_password, ..Spec::default() }).await;
    pair.target.host_keys.strict = Strictness::No;
    pair.target.auth.password = Some(SecretString::from("correct horse"));
    std::fs::write(pair.desk.known_hosts(), line(&name(&pair.server), &ed25519())).unwrap();
    works(&pair).await;
    let (_, wrong) = pair.desk.user_key("wrong");
    pair.target.auth.identity_files = vec![wrong];
    let error = Session::connect(&pair.target).await.unwrap_err();
    assert!(error.to_string().contains("the password was not offered"), "{error}");
    assert_eq!(pair.server.seen.passwords.load(SeqCst), 0);
    // With the right key known, it is.
    std::fs::write(pair.desk.known_hosts(), line(&name(&pair.server), &pair.host_key)).unwrap();
    works(&pair).await;
}

#[tokio::test]
async fn dev_null_remembers_nothing() {
    let mut pair = pair().await;
    pair.target.host_keys.user_known_hosts = vec![PathBuf::from("/dev/null")];
    works(&pair).await;
    assert!(!pair.desk.own().exists());
}

#[tokio::test]
async fn known_hosts_that_cannot_be_read_are_an_error() {
    let pair = pair().await;
    std::fs::create_dir(pair.desk.known_hosts()).unwrap();
    let error = Session::connect(&pair.target).await.unwrap_err();
    assert!(matches!(&error, SshError::KnownHosts { path, .. } if *path == pair.desk.known_hosts()), "{error}");
    assert_eq!(pair.server.connections(), 0);
}

#[tokio::test]
async fn concurrent_first_contacts_lose_no_line() {
    let first = pair().await;
    let mut servers = Vec::new();
    let mut targets = Vec::new();
    for _ in 0..4 {
        let authorized = vec![
            russh::keys::load_secret_key(&first.target.auth.identity_files[0], None).unwrap().public_key().clone(),
        ];
        let server = Server::start(Spec { host_keys: vec![ed25519()], authorized, ..Spec::default() }).await;
        let target = first.desk.target(&server, &first.target.auth.identity_files[0]);
        // Two sessions to each at once, one of which finds the key learnt.
        targets.extend([target.clone(), target]);
        servers.push(server);
    }
    // What a crash left half written must not swallow what comes after.
    std::fs::create_dir(first.desk.path("state")).unwrap();
    std::fs::write(first.desk.own(), "torn ssh-ed25519 AAAA").unwrap();
    let sessions = targets.iter().map(Session::connect);
    for session in futures_util::future::join_all(sessions).await {
        session.unwrap();
    }
    let own = first.desk.text(&first.desk.own());
    assert_eq!(own.lines().count(), 1 + servers.len(), "{own}");
    for server in &servers {
        assert_eq!(own.lines().filter(|line| line.starts_with(&format!("{} ", name(server)))).count(), 1, "{own}");
    }
}

/// A pair whose server has an Ed25519 and an RSA key.
async fn both_kinds() -> Pair {
    let Pair { desk, server, target, host_key } = pair().await;
    let address = server.stop().await;
    let key = russh::keys::load_secret_key(&target.auth.identity_files[0], None).unwrap();
    let authorized = vec![key.public_key().clone()];
    let spec = Spec { host_keys: vec![host_key.clone(), rsa()], authorized, ..Spec::default() };
    Pair { desk, server: Server::start_at(address, spec).await, target, host_key }
}

fn ecdsa() -> russh::keys::PrivateKey {
    use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};
    let algorithm = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
    PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).unwrap()
}
