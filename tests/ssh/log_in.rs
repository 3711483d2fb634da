//! How the user proves itself.

use std::io::Write as _;
use std::sync::atomic::Ordering::SeqCst;

use proxmaint::adapters::ssh::{Accepted, Auth, Session, SshError, SshTarget};
use proxmaint::machine::outcome::{Fault, FaultClass};
use russh::keys::HashAlg;
use russh::keys::key::safe_rng;
use secrecy::SecretString;

use crate::server::{Server, Spec};
use crate::{Desk, ed25519, limits, pair, rsa};

#[tokio::test]
async fn a_key_that_is_not_authorized_is_refused_by_name() {
    let mut pair = pair().await;
    let (_, wrong) = pair.desk.user_key("wrong");
    pair.target.auth.identity_files = vec![wrong.clone()];
    let error = Session::connect(&pair.target).await.unwrap_err();
    assert!(matches!(&error, SshError::Auth { .. }), "{error}");
    assert!(error.to_string().contains(&format!("{}: refused", wrong.display())), "{error}");
    let fault = Fault::from(error);
    assert_eq!(fault.class, FaultClass::Auth);
    assert!(fault.hint.is_some());
    assert!(pair.server.commands().is_empty());
}

#[tokio::test]
async fn keys_are_offered_in_order_until_one_is_accepted() {
    let mut pair = pair().await;
    let (_, wrong) = pair.desk.user_key("wrong");
    let right = pair.target.auth.identity_files[0].clone();
    pair.target.auth.identity_files = vec![pair.desk.path("not there"), wrong, right.clone()];
    let session = Session::connect(&pair.target).await.unwrap();
    assert_eq!(session.accepted(), Accepted::Key(right));
}

#[tokio::test]
async fn one_key_alone_is_all_that_is_offered_where_that_is_wanted() {
    let desk = Desk::new();
    let (wrong, path) = desk.user_key("wrong");
    let password = Some("correct horse".to_owned());
    let server = Server::start(Spec { host_keys: vec![ed25519()], password, ..Spec::default() }).await;
    let mut target = desk.target(&server, &desk.path("another"));
    target.auth.password = Some(SecretString::from("correct horse"));
    let only = target.proven_by(Auth::only_key(path));
    let error = Session::connect(&only).await.unwrap_err();
    assert!(matches!(error, SshError::Auth { .. }), "{error}");
    assert_eq!(server.offered(), [wrong.public_key().fingerprint(HashAlg::Sha256).to_string()]);
    assert_eq!(server.seen.passwords.load(SeqCst), 0);

    let only = target.proven_by(Auth::only_password(SecretString::from("correct horse")));
    assert_eq!(Session::connect(&only).await.unwrap().accepted(), Accepted::Password);
    assert_eq!(server.offered().len(), 1, "no key is offered beside a password");
}

#[tokio::test]
async fn an_rsa_key_is_accepted() {
    let desk = Desk::new();
    let path = desk.write_key("id_rsa", &rsa());
    let authorized = vec![rsa().public_key().clone()];
    let server = Server::start(Spec { host_keys: vec![ed25519()], authorized, ..Spec::default() }).await;
    let session = Session::connect(&desk.target(&server, &path)).await.unwrap();
    assert_eq!(session.exec("echo in", limits()).await.unwrap().stdout, b"in\n");
    assert_eq!(*server.seen.key_algorithms.lock().unwrap(), ["ssh-rsa"]);
}

#[tokio::test]
async fn a_key_with_a_passphrase_is_named_with_the_agent_as_the_way_out() {
    let mut pair = pair().await;
    let locked = ed25519().encrypt(&mut safe_rng(), "a passphrase").unwrap();
    let path = pair.desk.write_key("locked", &locked);
    // As OpenSSH writes it, and as openssl and older versions do.
    for text in [
        std::fs::read_to_string(&path).unwrap(),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIBXTBX\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,42F6\n\nMIIB\n\
         -----END EC PRIVATE KEY-----\n"
            .to_owned(),
    ] {
        std::fs::write(&path, text).unwrap();
        pair.target.auth.identity_files = vec![path.clone()];
        let error = Session::connect(&pair.target).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{} is protected by a passphrase", path.display())), "{text}");
        let hint = Fault::from(error).hint.unwrap();
        assert!(hint.contains(&format!("ssh-add {}", path.display())), "{hint}");
    }
}

#[tokio::test]
async fn files_that_are_no_keys_are_named_with_the_reason() {
    let mut pair = pair().await;
    let (missing, broken) = (pair.desk.path("missing"), pair.desk.path("broken"));
    std::fs::write(&broken, "no key at all").unwrap();
    pair.target.auth.identity_files = vec![missing.clone(), broken.clone()];
    let text = Session::connect(&pair.target).await.unwrap_err().to_string();
    assert!(text.contains(&format!("{} cannot be read", missing.display())), "{text}");
    assert!(text.contains(&format!("{} is no usable private key", broken.display())), "{text}");
}

#[tokio::test]
async fn a_password_is_taken_by_either_method_and_never_shown_in_errors() {
    for prompts in [false, true] {
        let desk = Desk::new();
        let password = Some("correct horse".to_owned());
        let server = Server::start(Spec { host_keys: vec![ed25519()], password, prompts, ..Spec::default() }).await;
        let (_, wrong_key) = desk.user_key("wrong");
        let mut target = desk.target(&server, &wrong_key);
        target.auth.password = Some(SecretString::from("correct horse"));
        let session = Session::connect(&target).await.unwrap();
        assert_eq!(session.accepted(), Accepted::Password);
        assert_eq!(session.exec("echo in", limits()).await.unwrap().stdout, b"in\n");
        target.auth.password = Some(SecretString::from("battery staple"));
        let error = Session::connect(&target).await.unwrap_err();
        assert!(matches!(error, SshError::Auth { .. }), "{error}");
        let all = format!(
            "{error} {error:?} {target:?} {session:?} {:?}",
            Fault::from(Session::connect(&target).await.unwrap_err())
        );
        assert!(!all.contains("battery") && !all.contains("horse"), "{all}");
        assert!(server.seen.passwords.load(SeqCst) >= 2);
    }
}

#[tokio::test]
async fn nothing_to_offer_is_said() {
    let mut pair = pair().await;
    pair.target.auth.identity_files = vec![pair.desk.path("missing")];
    let connections = pair.server.connections();
    let error = Session::connect(&pair.target).await.unwrap_err();
    assert!(matches!(error, SshError::Auth { .. }), "{error}");
    assert!(pair.server.connections() - connections <= 1, "there is no use in logging in with nothing");
}

#[tokio::test]
async fn ipv6_addresses_lead_to_the_host_and_its_key_is_known_by_them() {
    let desk = Desk::new();
    let (key, path) = desk.user_key("id");
    let authorized = vec![key.public_key().clone()];
    let spec = Spec { host_keys: vec![ed25519()], authorized, ..Spec::default() };
    if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
        writeln!(std::io::stderr(), "not run: connections by IPv6 (no loopback address: {error})").unwrap();
        return;
    }
    let server = Server::start_at("[::1]:0".parse().unwrap(), spec).await;
    // As it is, in the brackets of a URL, and with a zone.
    for (host, name) in [("::1", "::1"), ("[::1]", "::1"), ("::1%1", "::1%1")] {
        let mut target = SshTarget { host: String::new(), ..desk.target(&server, &path) };
        target.host = SshTarget::new(host, "root", desk.own()).host;
        for _ in 0..2 {
            let session = Session::connect(&target).await.unwrap();
            assert_eq!(session.address(), format!("root@[{name}]:{}", server.address.port()));
            assert_eq!(session.exec("echo in", limits()).await.unwrap().stdout, b"in\n");
        }
        let own = desk.text(&desk.own());
        let known = own.lines().filter(|line| line.starts_with(&format!("[{name}]:"))).count();
        assert_eq!(known, 1, "learnt once: {own}");
    }
}
