//! The API through real sockets: what a client sees on the wire.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ApiServers;
use crate::faults::{Fault, RequestFault};
use crate::ledger::Act;
use crate::live::Live;
use crate::tls;
use crate::world::{MachineId, World};

struct Stage {
    live: Live,
    servers: ApiServers,
    authorization: String,
}

impl Stage {
    async fn new() -> Self {
        let mut world =
            World::builder().cluster("lab", ["pve1", "pve2"]).standalone("edge1").ct("pve1", 101, |ct| ct).build();
        let authorization = world.realms["lab"].tokens[0].header();
        let configs = tls::issue(&mut world).expect("certificates can be made");
        let live = Live::new(world);
        let servers = ApiServers::start(&live, configs).await.expect("there are ports");
        Self { live, servers, authorization }
    }

    fn addr(&self, node: &str) -> SocketAddr {
        self.servers.addr(node).expect("every node has a server")
    }

    /// Sends a request to a node as somebody who trusts the CA of a realm, and returns everything that comes back.
    async fn talk(&self, node: &str, realm: &str, name: &str, request: &str) -> io::Result<String> {
        let ca = self.live.with(|world, _| world.realms[realm].ca.pem.clone());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(io::Error::other)?;
        roots.add(ca).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.addr(node)).await?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            // A server that hangs up does not say goodbye first.
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof && e.kind() != io::ErrorKind::ConnectionReset => Err(e),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }

    async fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> String {
        let request = format!(
            "{method} /api2/json{path} HTTP/1.1\r\nHost: pve1\r\nAuthorization: {}\r\nConnection: close\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        self.talk("pve1", "lab", "localhost", &request).await.expect("the node can be talked to")
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn errors_stand_in_the_reason_phrase_as_the_real_one_writes_them() {
    let stage = Stage::new().await;
    let answer = stage.ask("GET", "/nodes/pve1/lxc/999/config", FORM, "").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = "HTTP/1.1 500 Configuration file 'nodes/pve1/lxc/999.conf' does not exist";
    assert_eq!(head.lines().next(), Some(status));
    assert!(head.contains("Server: pve-api-daemon/3.0"), "{head}");
    assert!(head.contains("Content-Type: application/json;charset=UTF-8"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).expect("a JSON body");
    assert_eq!(body["message"], "Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n");
}

#[tokio::test]
async fn a_refused_token_gets_an_empty_401() {
    let stage = Stage::new().await;
    let answer = stage.talk("edge1", "edge1", "edge1", "GET /api2/json/nodes HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = answer.expect("the node can be talked to");
    assert!(answer.starts_with("HTTP/1.1 401 No ticket\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "there is no body: {answer}");
}

#[tokio::test]
async fn forms_and_json_bodies_are_read() {
    let stage = Stage::new().await;
    let path = "/nodes/pve1/lxc/101/snapshot";
    let answer = stage.ask("POST", path, FORM, "snapname=a-form&description=x%20%26+y").await;
    assert!(answer.contains("UPID:pve1:"), "{answer}");
    let guest = MachineId::guest("lab", 101);
    let described = |w: &mut World, _| w.guest(&guest).expect("it is there").snapshots[0].description.clone();
    assert_eq!(stage.live.with(described), "x & y");
    let answer = stage.ask("POST", path, "application/json", r#"{"snapname":"json","bogus":1}"#).await;
    assert!(answer.starts_with("HTTP/1.1 400 Parameter verification failed.\r\n"), "{answer}");
    assert!(answer.contains("bogus") && !answer.contains("snapname"), "{answer}");
}

#[tokio::test]
async fn a_lost_answer_closes_the_connection_after_the_act() {
    let stage = Stage::new().await;
    stage.live.with(|w, _| w.plant(Fault::request("POST", "*/snapshot", RequestFault::Lost)));
    let answer = stage.ask("POST", "/nodes/pve1/lxc/101/snapshot", FORM, "snapname=lost1").await;
    assert_eq!(answer, "", "not a byte came back");
    assert_eq!(stage.live.with(|w, _| w.ledger.count_key(Act::SnapshotCreate, "lost1")), 1);
}

#[tokio::test]
async fn a_late_answer_comes_late() {
    let stage = Stage::new().await;
    stage.live.with(|w, _| w.plant(Fault::request("GET", "/version", RequestFault::Late { ms: 80 })));
    let began = std::time::Instant::now();
    let answer = stage.ask("GET", "/version", FORM, "").await;
    assert!(answer.contains("9.2.11") && began.elapsed() >= Duration::from_millis(80), "{answer}");
}

#[tokio::test]
async fn a_certificate_is_trusted_by_its_own_realms_ca_only() {
    let stage = Stage::new().await;
    let request = "GET /api2/json/version HTTP/1.1\r\nHost: x\r\n\r\n";
    for name in ["localhost", "127.0.0.1", "pve2"] {
        assert!(stage.talk("pve2", "lab", name, request).await.is_ok(), "{name}");
    }
    assert!(stage.talk("pve2", "edge1", "localhost", request).await.is_err(), "another realm's CA");
    assert!(stage.talk("pve2", "lab", "pve1", request).await.is_err(), "another node's name");
}

#[tokio::test]
async fn what_the_api_says_of_certificates_is_what_it_shows() {
    let stage = Stage::new().await;
    let answer = stage.ask("GET", "/nodes/pve1/certificates/info", FORM, "").await;
    let (ca, leaf) = stage.live.with(|w, _| (w.realms["lab"].ca.clone(), w.nodes["pve1"].cert.clone()));
    let der = CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("a certificate");
    assert_eq!(tls::fingerprint(&der), ca.fingerprint);
    assert!(answer.contains(&ca.fingerprint) && answer.contains(&leaf.fingerprint));
    assert_ne!(ca.fingerprint, leaf.fingerprint);
}

#[tokio::test]
async fn nothing_listens_when_the_servers_are_dropped() {
    let stage = Stage::new().await;
    let addr = stage.addr("pve1");
    let open = TcpStream::connect(addr).await.expect("it listens");
    drop(stage);
    // Ports close when the aborted tasks have run once more; each connect gives them the turn.
    let closed = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("the port is given back");
    drop(open);
}
