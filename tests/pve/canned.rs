//! A transport that serves prepared answers and notes what was asked.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::transport::{Answer, ApiCall, Method, Transport, TransportFault};
use serde_json::Value;

/// One prepared answer.
#[derive(Debug, Clone)]
pub struct Route {
    /// The method that it answers.
    pub method: Method,
    /// The decoded path segments that it answers; `None` for any.
    pub segments: Option<Vec<String>>,
    /// The exact parameters that it answers, sorted; `None` for any.
    pub params: Option<Vec<(String, String)>>,
    /// What it answers.
    pub reply: Result<Answer, TransportFault>,
}

impl Route {
    fn answers(&self, call: &ApiCall) -> bool {
        let mut params = call.params.clone();
        params.sort();
        self.method == call.method
            && self.segments.as_ref().is_none_or(|s| *s == call.segments())
            && self.params.as_ref().is_none_or(|p| *p == params)
    }
}

/// Serves routes; a call that no route answers fails the test.
#[derive(Debug, Default)]
pub struct Canned {
    routes: Vec<Route>,
    calls: Mutex<Vec<ApiCall>>,
}

impl Canned {
    /// Makes a client on these routes, and the transport to ask for the calls that were made.
    pub fn client(routes: Vec<Route>) -> (Client<Arc<Self>>, Arc<Self>) {
        let canned = Arc::new(Self { routes, calls: Mutex::default() });
        (Client::new(Arc::clone(&canned)), canned)
    }

    /// Returns the calls that were made.
    pub fn calls(&self) -> Vec<ApiCall> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Transport for Canned {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        self.calls.lock().unwrap().push(call.clone());
        let route = self.routes.iter().find(|route| route.answers(call));
        route.unwrap_or_else(|| panic!("nothing prepared for {call} with {:?}", call.params)).reply.clone()
    }
}

/// Makes a route that answers a method, whatever the path.
pub fn any(method: Method, status: u16, reason: &str, body: Value) -> Route {
    Route { method, segments: None, params: None, reply: Ok(Answer { status, reason: reason.to_owned(), body }) }
}

/// Reads a method's name.
pub fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        other => panic!("{other} is no method"),
    }
}

/// Splits `/a/b%2Fc?d=e` into decoded segments and sorted decoded parameters.
pub fn split(path: &str) -> (Vec<String>, Vec<(String, String)>) {
    let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8().unwrap().into_owned();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut params: Vec<_> =
        query.split('&').filter_map(|p| p.split_once('=')).map(|(n, v)| (decode(n), decode(v))).collect();
    params.sort();
    (path.trim_start_matches('/').split('/').map(decode).collect(), params)
}
