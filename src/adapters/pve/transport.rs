//! The seam between what is asked of the API and how the question travels.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;

/// Bytes that stay as they are in a path segment: the unreserved characters of RFC 3986. Everything else is encoded, so that
/// a UPID (`:`, `@`, `!`) or a volume identifier (`:`, `/`) is one segment.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The HTTP method of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads; parameters go into the query.
    Get,
    /// Starts or creates something; parameters go into a form.
    Post,
    /// Sets something; parameters go into a form.
    Put,
    /// Removes something; parameters go into the query.
    Delete,
}

impl Method {
    /// Whether a call with this method may change something, so that a lost answer leaves doubt.
    pub fn changes(self) -> bool {
        self != Self::Get
    }

    /// Returns the name as HTTP writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A path segment that a URL would not carry as it is: empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("building the API path {path}: {segment:?} cannot be a path segment")]
pub struct BadSegment {
    /// The path as far as it was built, with the segment at its end.
    pub path: String,
    /// The segment.
    pub segment: String,
}

/// One call of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// The method.
    pub method: Method,
    /// The path below `/api2/json`, beginning with `/`, each segment percent-encoded.
    pub path: String,
    /// The parameters, unencoded, in the order in which they are sent; a name that is repeated is a list.
    pub params: Vec<(String, String)>,
}

impl ApiCall {
    /// Makes a call without parameters from unencoded path segments.
    ///
    /// # Errors
    /// [`BadSegment`] for a segment that would make another path of it: URL parsers drop `.` and resolve `..` even where
    /// they are percent-encoded.
    pub fn new(method: Method, segments: &[&str]) -> Result<Self, BadSegment> {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            if matches!(*segment, "" | "." | "..") {
                path.push_str(segment);
                return Err(BadSegment { path, segment: (*segment).to_owned() });
            }
            path.extend(utf8_percent_encode(segment, ENCODED));
        }
        Ok(Self { method, path, params: Vec::new() })
    }

    /// Adds a parameter. One that is added several times is a list.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.params.push((name.to_owned(), value.into()));
        self
    }

    /// Returns the path's segments, decoded.
    pub fn segments(&self) -> Vec<String> {
        self.path.split('/').skip(1).map(|s| percent_decode_str(s).decode_utf8_lossy().into_owned()).collect()
    }

    /// Returns a parameter's value.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for ApiCall {
    /// Writes method and path as people read them, decoded and without parameters: `GET /nodes/pve1/lxc`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.name())?;
        f.write_str(" ")?;
        for segment in self.segments() {
            write!(f, "/{segment}")?;
        }
        Ok(())
    }
}

/// What the API answered, whatever the status.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status; Proxmox VE uses numbers of its own as well (595 to 599: asking another node failed).
    pub status: u16,
    /// The reason phrase, in which Proxmox VE puts the error's text.
    pub reason: String,
    /// The body as JSON; `Null` where there is none, a string with its beginning where it is no JSON.
    pub body: Value,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportFault {
    /// The request was never sent: no such name, nobody listening, no connection in time, no TLS spoken there.
    #[error("{0}")]
    NotSent(String),
    /// The request was never sent, because the other side's certificate is not to be trusted.
    #[error("{what}")]
    Untrusted {
        /// What was wrong with it.
        what: String,
        /// SHA-256 of the certificate that was shown, as `AA:BB:..`, where one was.
        fingerprint: Option<String>,
    },
    /// The request went out, or may have, and no answer came back.
    #[error("{0}")]
    Lost(String),
    /// An answer came, but it is not one that is taken in (larger than the bound).
    #[error("{0}")]
    Unusable(String),
}

/// Carries calls to one host's API and its answers back.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Makes one call, once.
    ///
    /// # Errors
    /// [`TransportFault`], which tells whether the call may have been acted upon. An answer with an error's status is an
    /// [`Answer`].
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        (**self).call(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_stays_one_segment() {
        let upid = "UPID:pve1:00000AFC:00079C8C:6B036C95:vzsnapshot:103:root@pam!lab:";
        let call = ApiCall::new(Method::Get, &["nodes", "pve1", "tasks", upid, "status"]).unwrap();
        assert_eq!(
            call.path,
            "/nodes/pve1/tasks/UPID%3Apve1%3A00000AFC%3A00079C8C%3A6B036C95%3Avzsnapshot%3A103%3Aroot%40pam%21lab%3A/status"
        );
        assert_eq!(call.segments(), ["nodes", "pve1", "tasks", upid, "status"]);
        let call = ApiCall::new(Method::Delete, &["content", "local:backup/a b?c#d%2e.zst"]).unwrap();
        assert_eq!(call.path, "/content/local%3Abackup%2Fa%20b%3Fc%23d%252e.zst");
        assert_eq!(call.segments(), ["content", "local:backup/a b?c#d%2e.zst"]);
    }

    #[test]
    fn a_segment_that_changes_the_path_is_refused() {
        for segment in ["", ".", ".."] {
            let bad = ApiCall::new(Method::Get, &["nodes", segment, "lxc"]).unwrap_err();
            assert_eq!(bad.segment, segment);
            assert_eq!(bad.path, format!("/nodes/{segment}"));
        }
    }

    #[test]
    fn only_get_changes_nothing() {
        assert!(!Method::Get.changes());
        assert!(Method::Post.changes() && Method::Put.changes() && Method::Delete.changes());
    }
}
