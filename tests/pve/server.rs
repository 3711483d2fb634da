//! A small HTTPS server on loopback that behaves well or badly, as a test wants it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxmaint::adapters::pve::http::{ApiEndpoint, HttpTransport, Limits};
use proxmaint::adapters::pve::tls::Trust;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::SupportedProtocolVersion;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The token of every test: what must never be seen anywhere but in the header.
pub const TOKEN: &str = "maint@pve!tool=5ecre7-0000-4000-8000-5ecre75ecre7";
/// The part of it that is secret.
pub const SECRET: &str = "5ecre7";

/// What a server shows and proves of itself.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    /// Returns SHA-256 of the certificate.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// Returns the certificate as it is, with a key that does not belong to it.
    pub fn with_foreign_key(self) -> Self {
        Self { key: KeyPair::generate().unwrap(), ..self }
    }
}

/// A certificate authority with its certificate in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Returns the file with the authority's certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate for a name or address.
    pub fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.der().clone(), key }
    }
}

/// Makes a certificate that is its own CA.
pub fn own_authority(name: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Identity { certificate: params.self_signed(&key).unwrap().der().clone(), key }
}

/// What a server does with each request, once it has read it.
#[derive(Clone)]
pub enum Behaviour {
    /// Sends these bytes and waits for the next request.
    Answer(Vec<u8>),
    /// Sends these bytes, perhaps none, and closes the connection.
    Cut(Vec<u8>),
    /// Sends nothing and keeps the connection.
    Silent,
}

impl Behaviour {
    /// Sends a status line and JSON.
    pub fn json(status_line: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status_line}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self::Answer([head.as_bytes(), body.as_bytes()].concat())
    }
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Counts the connections, from 0.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

/// A running server; dropping it ends it.
pub struct Server {
    /// Its port.
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server that speaks any version of TLS.
    pub async fn start(identity: Identity, behaviour: Behaviour) -> Self {
        Self::start_with(identity, behaviour, rustls::ALL_VERSIONS).await
    }

    /// Starts a server that speaks these versions of TLS.
    pub async fn start_with(
        identity: Identity,
        behaviour: Behaviour,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![identity.certificate], key));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(listener, acceptor, behaviour, Arc::clone(&seen)));
        Self { port, seen, task }
    }

    /// Returns the requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Makes a transport to this server.
    pub fn transport(&self, trust: Trust) -> HttpTransport {
        transport("127.0.0.1", self.port, trust)
    }
}

/// Limits that a busy machine does not run into, with a small bound on bodies.
pub const LIMITS: Limits = Limits {
    connect: Duration::from_secs(20),
    read: Duration::from_secs(20),
    change: Duration::from_secs(20),
    body: 1000,
};

/// Limits for waiting in vain.
pub const HASTY: Limits = Limits { read: Duration::from_millis(200), change: Duration::from_millis(300), ..LIMITS };

/// Makes a transport with the tests' token and limits.
pub fn transport(host: &str, port: u16, trust: Trust) -> HttpTransport {
    HttpTransport::with_limits(&endpoint(host, port, trust), LIMITS).unwrap()
}

/// Makes an endpoint with the tests' token.
pub fn endpoint(host: &str, port: u16, trust: Trust) -> ApiEndpoint {
    ApiEndpoint { host: host.to_owned(), port, trust, token: TOKEN.into() }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, behaviour: Behaviour, seen: Arc<Mutex<Vec<Seen>>>) {
    // Connections end with this task, which the server's drop aborts.
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let Ok((socket, _)) = listener.accept().await else { return };
        let (acceptor, behaviour, seen) = (acceptor.clone(), behaviour.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            // A client that refuses the certificate ends the handshake: that is what some tests are about.
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            while let Some((head, body)) = request(&mut stream).await {
                seen.lock().unwrap().push(Seen { connection, head, body });
                match &behaviour {
                    Behaviour::Answer(bytes) => {
                        if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                    }
                    Behaviour::Cut(bytes) => {
                        let sent = stream.write_all(bytes).await;
                        let ended = stream.shutdown().await;
                        // The client may be gone already; there is nobody else to tell.
                        drop((sent, ended));
                        return;
                    }
                    Behaviour::Silent => std::future::pending().await,
                }
            }
        });
    }
}

/// Reads one request; `None` at the end of the connection.
async fn request<S: AsyncReadExt + Unpin>(stream: &mut S) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |l| l.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some((head, String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap()));
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}
