//! Whom the transport trusts, and what it says about those whom it does not.

use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::http::{EndpointError, HttpTransport};
use proxmaint::adapters::pve::tls::{Trust, TrustError, fingerprint_text};
use proxmaint::engine::port::Pve;
use proxmaint::machine::outcome::{Fault, FaultClass};

use crate::server::{Authority, Behaviour, Identity, Server, endpoint, own_authority, transport};

fn version() -> Behaviour {
    Behaviour::json("200 OK", r#"{"data":{"version":"9.2.11"}}"#)
}

/// Asks a server with this identity for its version.
async fn ask(identity: Identity, trust: Trust) -> (Result<String, Fault>, usize) {
    let server = Server::start(identity, version()).await;
    let answer = Client::new(server.transport(trust)).version().await;
    let requests = server.seen().len();
    (answer, requests)
}

/// Asserts that a connection was refused before any request was sent, naming fingerprint, reason and remedy.
fn assert_refused(outcome: (Result<String, Fault>, usize), digest: &[u8; 32], why: &str) {
    let (answer, requests) = outcome;
    let fault = answer.unwrap_err();
    assert_eq!(fault.class, FaultClass::Identity, "{fault}");
    let shown = fingerprint_text(digest);
    assert!(fault.what.contains(&format!("its certificate {shown} is not trusted: {why}")), "{fault}");
    let hint = fault.hint.unwrap();
    assert!(hint.contains(&format!("api.fingerprint = \"{shown}\"")) && hint.contains("api.ca_file"), "{hint}");
    assert_eq!(requests, 0, "nothing is sent to one who is not trusted");
}

#[tokio::test]
async fn the_ca_file_vouches_for_its_own() {
    let ca = Authority::new();
    let (answer, requests) = ask(ca.issue("127.0.0.1"), Trust::CaFile(ca.file())).await;
    assert_eq!((answer.unwrap().as_str(), requests), ("9.2.11", 1));
}

#[tokio::test]
async fn another_ca_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let identity = ca.issue("127.0.0.1");
    let digest = identity.digest();
    assert_refused(ask(identity, Trust::CaFile(other.file())).await, &digest, "");
}

#[tokio::test]
async fn the_system_knows_no_ca_of_a_cluster() {
    let identity = Authority::new().issue("127.0.0.1");
    let digest = identity.digest();
    assert_refused(ask(identity, Trust::System).await, &digest, "");
}

#[tokio::test]
async fn a_name_that_is_not_the_hosts_is_refused() {
    let ca = Authority::new();
    let identity = ca.issue("pve1.example.org");
    let digest = identity.digest();
    assert_refused(ask(identity, Trust::CaFile(ca.file())).await, &digest, "it is not made out to this host");
}

#[tokio::test]
async fn the_right_pin_needs_no_ca_and_no_name() {
    for identity in [Authority::new().issue("pve1.example.org"), own_authority("pve1.example.org")] {
        let pin = identity.digest();
        let (answer, _) = ask(identity, Trust::Pin(pin)).await;
        assert_eq!(answer.unwrap(), "9.2.11");
    }
}

#[tokio::test]
async fn a_certificate_that_is_its_own_ca_needs_a_pin() {
    let identity = own_authority("127.0.0.1");
    let digest = identity.digest();
    assert_refused(ask(identity, Trust::System).await, &digest, "");
}

#[tokio::test]
async fn the_wrong_pin_is_refused() {
    let identity = own_authority("127.0.0.1");
    let digest = identity.digest();
    let mut pin = digest;
    pin[31] ^= 1;
    let why = format!("it is not the pinned one, {}", fingerprint_text(&pin));
    assert_refused(ask(identity, Trust::Pin(pin)).await, &digest, &why);
}

#[tokio::test]
async fn insecure_takes_any_certificate() {
    let (answer, _) = ask(own_authority("elsewhere.example.org"), Trust::Insecure).await;
    assert_eq!(answer.unwrap(), "9.2.11");
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_under_every_trust() {
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let ca = Authority::new();
        let certificate = || ca.issue("127.0.0.1").with_foreign_key();
        for trust in [|_, ca| Trust::CaFile(ca), |digest, _| Trust::Pin(digest), |_, _| Trust::Insecure] {
            let identity = certificate();
            let digest = identity.digest();
            let server = Server::start_with(identity, version(), versions).await;
            let answer = Client::new(server.transport(trust(digest, ca.file()))).version().await;
            let requests = server.seen().len();
            assert_refused((answer, requests), &digest, "the proof that goes with it does not fit");
        }
    }
}

#[tokio::test]
async fn the_older_tls_is_spoken_too() {
    let identity = own_authority("127.0.0.1");
    let pin = identity.digest();
    let server = Server::start_with(identity, version(), &[&rustls::version::TLS12]).await;
    assert_eq!(Client::new(server.transport(Trust::Pin(pin))).version().await.unwrap(), "9.2.11");
}

#[tokio::test]
async fn one_who_speaks_no_tls_is_no_matter_of_trust() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Kept open until the client has read it.
        socket
    });
    let fault = Client::new(transport("127.0.0.1", port, Trust::Insecure)).version().await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    drop(plain.await.unwrap());
}

#[test]
fn a_ca_file_that_is_of_no_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, content: Option<&str>| {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = HttpTransport::new(&endpoint("h", 8006, Trust::CaFile(path.clone()))).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        error
    };
    let EndpointError::Trust(error) = make("missing.pem", None) else { panic!() };
    assert!(matches!(error, TrustError::CaFile { .. }), "{error:?}");
    let EndpointError::Trust(error) = make("empty.pem", Some("nothing in here\n")) else { panic!() };
    assert!(matches!(error, TrustError::NoCertificate(_)), "{error:?}");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let EndpointError::Trust(error) = make("bad.pem", Some(nonsense)) else { panic!() };
    assert!(matches!(error, TrustError::BadCertificate { .. }), "{error:?}");
}
