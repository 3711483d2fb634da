//! Which certificates are trusted, and what is said about one that is not.
//!
//! One verifier serves every kind of trust, so that whatever it refuses, the refusal carries the fingerprint of the
//! certificate that was shown: the operator compares it and writes it down, instead of switching verification off.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Whom to believe that the host is the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// A certificate that the system's root certificates vouch for, with the host's name in it.
    #[default]
    System,
    /// A certificate that one of the CAs in this PEM file vouches for, and no other, with the host's name in it.
    CaFile(PathBuf),
    /// The one certificate with this SHA-256 fingerprint of its DER form, whatever name, dates or issuer it has.
    Pin([u8; 32]),
    /// Any certificate at all.
    Insecure,
}

/// Why TLS could not be set up; nothing was sent.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The CA file cannot be read, or holds something in PEM form that cannot be.
    #[error("reading the CA certificates in {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The CA file holds no certificate.
    #[error("reading the CA certificates in {0}: there is none in it")]
    NoCertificate(PathBuf),
    /// A certificate of the CA file is not one that can vouch for others.
    #[error("using the CA certificates in {path}")]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The verifier cannot be built from those roots.
    #[error("building a verifier of certificates")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// The TLS library refuses its own settings.
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
}

/// What the verifier says about a certificate that it refuses; travels inside the TLS library's error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("its certificate {fingerprint} is not trusted: {why}")]
pub(super) struct Refused {
    /// SHA-256 of the certificate's DER form, as `AA:BB:..`.
    pub(super) fingerprint: String,
    /// Why.
    pub(super) why: String,
}

/// Makes the TLS settings for a kind of trust.
///
/// # Errors
/// [`TrustError`] where a CA file is of no use.
pub(in crate::adapters) fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    Ok(config_with(Arc::new(verifier(trust)?))?)
}

/// Makes the TLS settings for a verifier.
///
/// # Errors
/// The TLS library refuses its own settings.
pub(super) fn config_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes the verifier for a kind of trust.
///
/// # Errors
/// [`TrustError`] where a CA file is of no use.
pub(super) fn verifier(trust: &Trust) -> Result<Verifier, TrustError> {
    let provider = provider();
    let rule = match trust {
        Trust::System => match system_roots() {
            roots if roots.is_empty() => Rule::NoRoots,
            roots => chain_rule(roots, &provider)?,
        },
        Trust::CaFile(path) => chain_rule(file_roots(path)?, &provider)?,
        Trust::Pin(pin) => Rule::Pin(*pin),
        Trust::Insecure => Rule::Any,
    };
    Ok(Verifier { rule, provider })
}

/// Writes a fingerprint as Proxmox VE does: `AA:BB:..`.
pub fn fingerprint_text(digest: &[u8; 32]) -> String {
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Finds what the verifier said within the error of a failed connection.
pub(super) fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refused> {
    // Bounded, though no chain is that long: an error's source may in principle lead back to itself.
    const DEPTH: usize = 32;
    let mut next = Some(error);
    for _ in 0..DEPTH {
        let error = next?;
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused);
        }
        // An io::Error's source is that of the error it wraps: the wrapped one itself would be skipped.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let error = match wrapped {
            Some(wrapped) => wrapped as &(dyn std::error::Error + 'static),
            None => error,
        };
        // Nor does the TLS library's error name what it wraps as its source.
        next = match error.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::Other(OtherError(inner))) => Some(inner.as_ref()),
            _ if wrapped.is_some() => Some(error),
            _ => error.source(),
        };
    }
    None
}

/// Returns the system's root certificates, read once a process: every host of a fleet needs the same,
/// and a copy for each would be some 100 kB.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(target: "proxmaint::pve", %error, "reading the system's root certificates");
        }
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(target: "proxmaint::pve", added, ignored, "read the system's root certificates");
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// Reads the certificates of a PEM file as the only roots.
fn file_roots(path: &Path) -> Result<Arc<RootCertStore>, TrustError> {
    let unreadable = |source| TrustError::CaFile { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|source| TrustError::BadCertificate { path: path.to_owned(), source })?;
    }
    if roots.is_empty() { Err(TrustError::NoCertificate(path.to_owned())) } else { Ok(Arc::new(roots)) }
}

/// Makes the rule that a chain must lead to one of these roots.
fn chain_rule(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Rule, TrustError> {
    Ok(Rule::Chain(WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?))
}

/// What a certificate is judged by.
#[derive(Debug)]
enum Rule {
    /// It leads to a known root and carries the host's name.
    Chain(Arc<WebPkiServerVerifier>),
    /// The system has no root certificates: nothing can be judged.
    NoRoots,
    /// It is this one.
    Pin([u8; 32]),
    /// It is not judged.
    Any,
}

/// Judges certificates by a [`Rule`]; that the other side holds the certificate's key is checked by every rule.
pub(super) struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        let why = match &self.rule {
            Rule::Chain(chain) => {
                match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => reason(&error),
                }
            }
            Rule::NoRoots => "this system has no root certificates to judge it by".to_owned(),
            Rule::Pin(pin) if same(pin, &digest) => return Ok(ServerCertVerified::assertion()),
            Rule::Pin(pin) => format!("it is not the pinned one, {}", fingerprint_text(pin)),
            Rule::Any => return Ok(ServerCertVerified::assertion()),
        };
        let refused = Refused { fingerprint: fingerprint_text(&digest), why };
        Err(rustls::Error::Other(OtherError(Arc::new(refused))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
            .map_err(|error| bad_proof(cert, &error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
            .map_err(|error| bad_proof(cert, &error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Says that the other side did not prove to hold the key of the certificate that it showed.
fn bad_proof(cert: &CertificateDer<'_>, error: &rustls::Error) -> rustls::Error {
    let digest: [u8; 32] = Sha256::digest(cert.as_ref()).into();
    let why = format!("the proof that goes with it does not fit: {error}");
    rustls::Error::Other(OtherError(Arc::new(Refused { fingerprint: fingerprint_text(&digest), why })))
}

/// Says in plain words why a chain was refused, where it is one of the common reasons.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => "no known CA vouches for it".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("it is not made out to this host ({error})"),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("it has expired ({error})")
        }
        _ => error.to_string(),
    }
}

/// Compares two digests without stopping at the first difference.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_pin_counts() {
        let pin: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert!(same(&pin, &pin));
        for i in 0..32 {
            let mut other = pin;
            other[i] ^= 0x80;
            assert!(!same(&pin, &other), "byte {i}");
        }
    }

    #[test]
    fn a_fingerprint_is_written_as_proxmox_ve_writes_it() {
        let mut digest = [0; 32];
        digest[0] = 0xA8;
        digest[31] = 0x0F;
        let text = fingerprint_text(&digest);
        assert!(text.starts_with("A8:00:") && text.ends_with(":00:0F"), "{text}");
        assert_eq!(text.len(), 95);
    }
}
