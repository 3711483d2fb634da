//! The real transport: HTTPS with a token, on reqwest.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, Response, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use thiserror::Error;
use zeroize::Zeroizing;

use super::tls::{self, Trust, TrustError};
use super::transport::{Answer, ApiCall, Method, Transport, TransportFault};

/// How much of a body that is no JSON is kept to show, in characters.
const SHOWN: usize = 200;

/// Where a host's API is and how it is entered.
#[derive(Debug, Clone)]
pub struct ApiEndpoint {
    /// A DNS name or an address.
    pub host: String,
    /// The port, 8006 as a rule.
    pub port: u16,
    /// Which certificate is believed.
    pub trust: Trust,
    /// The whole token, `USER@REALM!ID=SECRET`.
    pub token: SecretString,
}

/// How long is waited and how much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection: name, TCP and TLS. 10 s: three lost SYNs (1 + 2 + 4 s) and a slow handshake.
    pub connect: Duration,
    /// For a read, connecting included. 30 s: ten times the slowest answer seen (3 s, which a refused token and an agent that
    /// is not up take by design); three of them, with a connection, fit in behind each other.
    pub read: Duration,
    /// For a call that changes something, connecting included. 60 s: such a call returns its UPID within 0.1 s, but may wait
    /// 10 s for a config's lock, and a lost answer costs a probe or an operator's look, so it gets twice a read's time.
    pub change: Duration,
    /// The largest body that is taken in, in bytes. 32 MiB: the largest list there is, `cluster/resources` of 10,000 guests
    /// with some 500 bytes each, is 5 MB.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            change: Duration::from_secs(60),
            body: 32 * 1024 * 1024,
        }
    }
}

/// Why a transport could not be made; nothing was sent.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// Host and port make no URL.
    #[error("making a URL of host {host:?} and port {port}")]
    Host {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The token cannot stand in a header: it holds a line end or another control character.
    #[error("writing the API token into a header: it holds a character that no token has (a line end, perhaps)")]
    Token,
    /// The kind of trust cannot be set up.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The HTTP client cannot be built.
    #[error("building the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// HTTPS to one host's API.
///
/// The host is asked directly: proxy variables of the environment are not heeded and redirections are not followed, so the
/// token goes nowhere else. A read takes a connection that is open already; a change takes a new one, so that a kept
/// connection that the server closes at that moment can't leave a change in doubt.
pub struct HttpTransport {
    base: Url,
    token: SecretString,
    limits: Limits,
    reads: reqwest::Client,
    changes: reqwest::Client,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("base", &self.base.as_str())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl HttpTransport {
    /// Makes a transport with the default [`Limits`]. Connects to nothing yet.
    ///
    /// # Errors
    /// [`EndpointError`] where the endpoint's facts cannot be used.
    pub fn new(endpoint: &ApiEndpoint) -> Result<Self, EndpointError> {
        Self::with_limits(endpoint, Limits::default())
    }

    /// Makes a transport with limits of its own.
    ///
    /// # Errors
    /// [`EndpointError`] where the endpoint's facts cannot be used.
    pub fn with_limits(endpoint: &ApiEndpoint, limits: Limits) -> Result<Self, EndpointError> {
        let config = tls::client_config(&endpoint.trust)?;
        let client = |idle: usize| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(config.clone())
                .http1_only()
                .https_only(true)
                .no_proxy()
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .tcp_nodelay(true)
                .connect_timeout(limits.connect)
                .pool_max_idle_per_host(idle)
                .build()
                .map_err(EndpointError::Client)
        };
        let transport = Self {
            base: base_url(&endpoint.host, endpoint.port)?,
            token: endpoint.token.clone(),
            limits,
            reads: client(4)?,
            changes: client(0)?,
        };
        transport.authorization()?;
        Ok(transport)
    }

    /// Makes the header that carries the token.
    fn authorization(&self) -> Result<HeaderValue, EndpointError> {
        let text = Zeroizing::new(format!("PVEAPIToken={}", self.token.expose_secret()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| EndpointError::Token)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Says what became of a request that failed.
    fn fault(&self, call: &ApiCall, error: &reqwest::Error) -> TransportFault {
        let host = self.base.authority();
        if let Some(refused) = tls::refusal(error) {
            return TransportFault::Untrusted {
                what: format!("connecting to {host}: {refused}"),
                fingerprint: Some(refused.fingerprint.clone()),
            };
        }
        if error.is_builder() {
            return TransportFault::NotSent(format!("making a request to {host}: {}", chain(error)));
        }
        if error.is_connect() {
            let why = if error.is_timeout() {
                format!("no connection within {}", humantime::format_duration(self.limits.connect))
            } else {
                chain(error)
            };
            return TransportFault::NotSent(format!("connecting to {host}: {why}"));
        }
        if error.is_timeout() {
            let span = humantime::format_duration(self.timeout(call));
            return TransportFault::Lost(format!("no answer from {host} within {span}"));
        }
        TransportFault::Lost(format!("the connection to {host} broke before the answer was there: {}", chain(error)))
    }

    /// How long this call may take.
    fn timeout(&self, call: &ApiCall) -> Duration {
        if call.method.changes() { self.limits.change } else { self.limits.read }
    }

    /// Reads a body within its bound.
    async fn body(&self, call: &ApiCall, mut response: Response) -> Result<Vec<u8>, TransportFault> {
        let limit = self.limits.body;
        let too_large = || {
            TransportFault::Unusable(format!("the answer of {} is larger than {limit} bytes", self.base.authority()))
        };
        if response.content_length().is_some_and(|announced| announced > limit as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(call, &error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        let mut url = self.base.clone();
        url.set_path(&format!("/api2/json{}", call.path));
        let client = if call.method.changes() { &self.changes } else { &self.reads };
        let request = match call.method {
            Method::Get => client.get(url).query(&call.params),
            Method::Delete => client.delete(url).query(&call.params),
            Method::Post => with_body(client.post(url), call),
            Method::Put => with_body(client.put(url), call),
        };
        let authorization = self.authorization().map_err(|error| TransportFault::NotSent(error.to_string()))?;
        let request = request.header(AUTHORIZATION, authorization).timeout(self.timeout(call));
        let response = request.send().await.map_err(|error| self.fault(call, &error))?;
        let status = response.status();
        let reason = match response.extensions().get::<hyper::ext::ReasonPhrase>() {
            Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
            None => status.canonical_reason().unwrap_or_default().to_owned(),
        };
        let body = self.body(call, response).await?;
        Ok(Answer { status: status.as_u16(), reason, body: parse(&body) })
    }
}

/// Puts the parameters into a body: a form, or JSON where a parameter is given several times and so is a list. A form says
/// the same by a name that is repeated, and older releases then hand the values on as one text.
fn with_body(request: RequestBuilder, call: &ApiCall) -> RequestBuilder {
    let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &call.params {
        fields.entry(name).or_default().push(value);
    }
    if fields.len() == call.params.len() {
        return request.form(&call.params);
    }
    let value = |values: Vec<&str>| match values.as_slice() {
        [one] => Value::from(*one),
        several => Value::from(several),
    };
    let object: serde_json::Map<String, Value> =
        fields.into_iter().map(|(name, values)| (name.to_owned(), value(values))).collect();
    request.json(&object)
}

/// Makes the URL of a host's API.
pub(super) fn base_url(host: &str, port: u16) -> Result<Url, EndpointError> {
    let bad = || EndpointError::Host { host: host.to_owned(), port };
    let authority = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    // What would end the host or begin something else in a URL is no host.
    if authority.is_empty() || authority.contains(['/', '@', '?', '#', '\\']) || authority.contains(char::is_whitespace)
    {
        return Err(bad());
    }
    Url::parse(&format!("https://{authority}:{port}/")).map_err(|_| bad())
}

/// Reads a body as JSON; keeps the beginning of one that is none, to show it.
fn parse(body: &[u8]) -> Value {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).chars().take(SHOWN).collect()))
}

/// Writes the causes of an error, innermost last, without the layers that only say that there was an error.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < 8) {
        let text = cause.to_string();
        // A layer often repeats the one below it.
        if causes.last().is_none_or(|last| !last.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_becomes_a_url_or_is_refused() {
        assert_eq!(base_url("pve1.example.org", 8006).unwrap().as_str(), "https://pve1.example.org:8006/");
        assert_eq!(base_url("fe80::1", 8006).unwrap().as_str(), "https://[fe80::1]:8006/");
        assert_eq!(base_url("[2001:db8::1]", 443).unwrap().port_or_known_default(), Some(443));
        for host in ["", "a/b", "user@host", "a b", "a?b", "a#b", "host:22"] {
            assert!(base_url(host, 8006).is_err(), "{host:?}");
        }
    }

    #[test]
    fn the_token_is_marked_for_whoever_prints_headers() {
        let endpoint =
            ApiEndpoint { host: "h".to_owned(), port: 8006, trust: Trust::Insecure, token: "u@pam!t=secret".into() };
        let header = HttpTransport::new(&endpoint).unwrap().authorization().unwrap();
        assert_eq!(header, "PVEAPIToken=u@pam!t=secret");
        assert!(header.is_sensitive());
    }

    #[test]
    fn a_body_is_json_nothing_or_shown() {
        assert_eq!(parse(b" \n"), Value::Null);
        assert_eq!(parse(b"{\"data\":1}"), serde_json::json!({"data": 1}));
        assert_eq!(parse(b"<html>"), Value::String("<html>".to_owned()));
        assert_eq!(parse(&[b'x'; 5000]).as_str().map(str::len), Some(SHOWN));
    }
}
