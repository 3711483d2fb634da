//! A look at what an endpoint shows, with the verdict of each kind of trust, and without sending a token.

use std::time::Duration;

use proxmaint::adapters::pve::certificate::{CertificateLook, inspect_certificate, inspect_within};
use proxmaint::adapters::pve::tls::{Trust, fingerprint_text};
use proxmaint::machine::outcome::FaultClass;

use crate::server::{Authority, Behaviour, Identity, SECRET, Server, own_authority};

async fn look(identity: Identity, trust: &Trust) -> CertificateLook {
    let server = Server::start(identity, Behaviour::json("200 OK", "{}")).await;
    let look = inspect_certificate("127.0.0.1", server.port, trust).await.unwrap();
    for seen in server.seen() {
        assert!(!seen.head.contains(SECRET) && !seen.head.to_lowercase().contains("authorization"), "{}", seen.head);
    }
    look
}

#[tokio::test]
async fn the_fingerprint_is_told_whatever_the_verdict() {
    let (ca, other) = (Authority::new(), Authority::new());
    // What the reason of a refusal must hold; `None` where it is accepted.
    for (trust, refusal) in [
        (Trust::CaFile(ca.file()), None),
        (Trust::CaFile(other.file()), Some("")),
        (Trust::CaFile("/nowhere/ca.pem".into()), Some("/nowhere/ca.pem")),
        (Trust::System, Some("")),
        (Trust::Pin([0; 32]), Some("it is not the pinned one")),
        (Trust::Insecure, None),
    ] {
        let identity = ca.issue("127.0.0.1");
        let digest = identity.digest();
        let seen = look(identity, &trust).await;
        assert_eq!(seen.fingerprint, fingerprint_text(&digest), "{trust:?}");
        match (&seen.verdict, refusal) {
            (Ok(()), None) => {}
            (Err(why), Some(part)) => assert!(!why.is_empty() && why.contains(part), "{trust:?}: {why}"),
            (verdict, wanted) => panic!("{trust:?}: {verdict:?}, but {wanted:?} was to come"),
        }
    }
    let identity = ca.issue("elsewhere.example.org");
    let pin = identity.digest();
    assert_eq!(look(identity, &Trust::Pin(pin)).await.verdict, Ok(()));
    let why = look(ca.issue("elsewhere.example.org"), &Trust::CaFile(ca.file())).await.verdict.unwrap_err();
    assert!(why.contains("it is not made out to this host"), "{why}");
}

#[tokio::test]
async fn what_stands_in_it_is_read() {
    let names = look(own_authority("pve1.example.org"), &Trust::Insecure).await.names.unwrap();
    assert_eq!(names.hosts, ["pve1.example.org"]);
    assert_eq!(names.subject, names.issuer, "it is its own CA");
    assert!(names.subject.starts_with("CN="), "{names:?}");
    assert!(names.not_before < names.not_after);
    let names = look(Authority::new().issue("127.0.0.1"), &Trust::Insecure).await.names.unwrap();
    assert_eq!(names.hosts, ["127.0.0.1"]);
}

#[tokio::test]
async fn a_certificate_without_its_key_is_shown_and_not_believed() {
    let ca = Authority::new();
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let identity = ca.issue("127.0.0.1").with_foreign_key();
        let digest = identity.digest();
        let server = Server::start_with(identity, Behaviour::json("200 OK", "{}"), versions).await;
        let seen = inspect_certificate("127.0.0.1", server.port, &Trust::CaFile(ca.file())).await.unwrap();
        assert_eq!(seen.fingerprint, fingerprint_text(&digest));
        assert!(seen.verdict.unwrap_err().contains("the proof that goes with it does not fit"));
        assert!(server.seen().is_empty());
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_afterwards_was_seen_all_the_same() {
    for behaviour in [Behaviour::Silent, Behaviour::Cut(Vec::new())] {
        let server = Server::start(own_authority("h"), behaviour).await;
        let seen = inspect_within("127.0.0.1", server.port, &Trust::Insecure, Duration::from_secs(1)).await.unwrap();
        assert_eq!(seen.verdict, Ok(()));
    }
}

#[tokio::test]
async fn nobody_there_is_a_passing_fault() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The backlog accepts; nobody ever speaks.
    let silent = inspect_within("127.0.0.1", port, &Trust::Insecure, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(silent.class, FaultClass::Transient);
    assert!(silent.what.contains("no certificate within 100ms"), "{silent}");
    drop(listener);
    let refused = inspect_certificate("127.0.0.1", port, &Trust::Insecure).await.unwrap_err();
    assert_eq!(refused.class, FaultClass::Transient);
    assert!(refused.what.to_lowercase().contains("refused"), "{refused}");
    assert_eq!(inspect_certificate("a b", 1, &Trust::Insecure).await.unwrap_err().class, FaultClass::Permanent);
}
