//! What an endpoint shows of itself: its certificate, looked at without sending it anything that is secret.

use std::time::Duration;

use super::http::{Limits, base_url};
use super::tls::{self, Trust};
use crate::machine::outcome::Fault;

/// A certificate as it was shown, and whether it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateLook {
    /// SHA-256 of its DER form, as `AA:BB:..`: what to pin.
    pub fingerprint: String,
    /// Whether the configured trust accepts it; the text says why not.
    pub verdict: Result<(), String>,
}

/// Looks at the certificate that a host shows, and asks the configured trust about it. No token is sent.
///
/// # Errors
/// A [`Fault`] of class `Transient` where nobody is there or no certificate was shown; of class `Permanent` where host and
/// port make no address, or a CA file is of no use.
pub async fn inspect_certificate(host: &str, port: u16, trust: &Trust) -> Result<CertificateLook, Fault> {
    // A pin that nothing has: the refusal names what was shown.
    let shown = knock(host, port, &Trust::Pin([0; 32])).await?;
    let Some(tls::Refused { fingerprint, .. }) = shown else {
        return Err(Fault::transient(format!("connecting to {host}:{port}: no certificate was shown")));
    };
    let verdict = match knock(host, port, trust).await? {
        None => Ok(()),
        Some(refused) => Err(refused.why),
    };
    Ok(CertificateLook { fingerprint, verdict })
}

/// Connects once, and returns what the verifier refused.
async fn knock(host: &str, port: u16, trust: &Trust) -> Result<Option<tls::Refused>, Fault> {
    let limit: Duration = Limits::default().connect;
    let base = base_url(host, port).map_err(|error| Fault::permanent(format!("looking at a certificate: {error}")))?;
    let config = tls::client_config(trust).map_err(|error| Fault::permanent(error.to_string()))?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .http1_only()
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(limit)
        .build()
        .map_err(|error| Fault::permanent(error.to_string()))?;
    match client.head(base).send().await {
        Ok(_) => Ok(None),
        Err(error) => match tls::refusal(&error) {
            Some(refused) => Ok(Some(refused.clone())),
            None => Err(Fault::transient(format!("connecting to {host}:{port}: {error}"))),
        },
    }
}
