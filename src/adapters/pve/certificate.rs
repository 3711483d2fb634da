//! What an endpoint shows of itself: its certificate, looked at without sending it anything that is secret.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::fault::one_line;
use super::http::{self, base_url, chain};
use super::tls::{self, Trust, Verifier, fingerprint_text};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

/// What prints, on the node, the SHA-256 fingerprint of the certificate that its API shows.
pub const FINGERPRINT_COMMAND: &str = "openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pveproxy-ssl.pem \
     (pve-ssl.pem where there is none)";

/// A certificate as it was shown, and whether it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateLook {
    /// SHA-256 of its DER form, as `AA:BB:..`: what to pin.
    pub fingerprint: String,
    /// What can be read in it; `None` where it is not one that can be read.
    pub names: Option<CertificateNames>,
    /// Whether the configured trust accepts it; the text says why not.
    pub verdict: Result<(), String>,
}

/// What stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    /// Whose it is (`CN=pve1.example.org,..`).
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The names and addresses that it is made out to.
    pub hosts: Vec<String>,
    /// The first moment at which it is valid.
    pub not_before: Timestamp,
    /// The last moment at which it is valid.
    pub not_after: Timestamp,
}

/// Looks at the certificate that a host shows, and asks the configured trust about it. No token is sent.
///
/// It takes at most as long as a connection may ([`http::Limits::connect`], 10 s).
///
/// # Errors
/// A [`Fault`] of class `Transient` where nobody is there or no certificate was shown; of class `Permanent` where host and
/// port make no address. A trust that can't be set up (a CA file that can't be read) is a verdict.
pub async fn inspect_certificate(host: &str, port: u16, trust: &Trust) -> Result<CertificateLook, Fault> {
    inspect_within(host, port, trust, http::Limits::default().connect).await
}

/// As [`inspect_certificate`], with a time of its own.
///
/// # Errors
/// As [`inspect_certificate`].
pub async fn inspect_within(host: &str, port: u16, trust: &Trust, limit: Duration) -> Result<CertificateLook, Fault> {
    let base = base_url(host, port).map_err(|error| Fault::permanent(format!("looking at a certificate: {error}")))?;
    let unusable = |why: &dyn fmt::Display| Fault::permanent(format!("looking at the certificate of {base}: {why}"));
    let watcher = Arc::new(Watcher {
        judge: tls::verifier(trust),
        // It checks the proof that goes with a certificate and takes any.
        proof: tls::verifier(&Trust::Insecure).map_err(|error| unusable(&error))?,
        seen: Mutex::default(),
    });
    let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(&watcher) as _;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config_with(verifier).map_err(|error| unusable(&error))?)
        .http1_only()
        .https_only(true)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(limit)
        .build()
        .map_err(|error| unusable(&chain(&error)))?;
    let answer = client.head(base.clone()).send().await;
    let seen = watcher.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (seen, answer) {
        // What comes of the request itself does not matter: the certificate was there before.
        (Some(look), _) => Ok(look),
        (None, Err(error)) if error.is_timeout() => Err(Fault::transient(format!(
            "connecting to {}: no certificate within {}",
            base.authority(),
            humantime::format_duration(limit)
        ))),
        (None, Err(error)) => Err(Fault::transient(format!("connecting to {}: {}", base.authority(), chain(&error)))),
        (None, Ok(_)) => Err(Fault::transient(format!("connecting to {}: no certificate was shown", base.authority()))),
    }
}

/// Notes what is shown and lets it pass.
struct Watcher {
    judge: Result<Verifier, tls::TrustError>,
    proof: Verifier,
    seen: Mutex<Option<CertificateLook>>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("judge", &self.judge).finish_non_exhaustive()
    }
}

impl Watcher {
    /// Takes back a good verdict where the proof that goes with the certificate does not fit.
    fn proven(
        &self,
        proof: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if let Err(error) = &proof
            && let Some(look) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            look.verdict = Err(why(error));
        }
        proof
    }
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = match &self.judge {
            Ok(judge) => judge
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map(drop)
                .map_err(|error| why(&error)),
            Err(error) => Err(with_causes(error)),
        };
        let digest: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        let look = CertificateLook { fingerprint: fingerprint_text(&digest), names: names(end_entity), verdict };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.proven(self.proof.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.proven(self.proof.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.proof.supported_verify_schemes()
    }
}

/// Says why a verifier refused.
fn why(error: &rustls::Error) -> String {
    tls::refusal(error).map_or_else(|| error.to_string(), |refused| refused.why.clone())
}

/// Writes an error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    // No trust's error has more layers; a bound, since a source may in principle lead back to itself.
    for _ in 0..8 {
        let Some(cause) = next else { break };
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Reads what stands in a certificate.
fn names(der: &CertificateDer<'_>) -> Option<CertificateNames> {
    let certificate = Certificate::from_der(der.as_ref()).ok()?;
    let body = certificate.tbs_certificate();
    let at =
        |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok().map(Timestamp::from_secs);
    let hosts = body.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    Some(CertificateNames {
        subject: one_line(&body.subject().to_string()),
        issuer: one_line(&body.issuer().to_string()),
        hosts: hosts.iter().filter_map(host).collect(),
        not_before: at(body.validity().not_before)?,
        not_after: at(body.validity().not_after)?,
    })
}

/// Writes a name or address that a certificate is made out to.
fn host(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(one_line(name.as_str())),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(|v4| std::net::Ipv4Addr::from(v4).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|v6| std::net::Ipv6Addr::from(v6).to_string())).ok()
        }
        _ => None,
    }
}
