//! The HTTPS servers: one a node, on loopback, all of them showing the same world.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, PRAGMA, SERVER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::request::form;
use super::{ApiAnswer, ApiRequest};
use crate::live::Live;
use crate::tls::ServerConfigs;
use crate::world::MachineId;

/// The largest body that is read.
const BODY_LIMIT: usize = 1 << 20;
/// The largest request that is taken in: what earlier releases of PVE 8 take; later ones take eight times as much.
const POST_LIMIT: usize = 64 << 10;
/// Connections that one node serves at a time.
const CONNECTIONS: usize = 256;

/// The API servers of a lab. They stop when this is dropped.
#[derive(Debug)]
pub struct ApiServers {
    addrs: BTreeMap<String, SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl ApiServers {
    /// Starts a server for each node that there is a TLS configuration for, on ports of the system's choice.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn start(live: &Live, configs: ServerConfigs) -> io::Result<Self> {
        let mut servers = Self { addrs: BTreeMap::new(), tasks: Vec::new() };
        for (node, config) in configs {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            servers.addrs.insert(node.clone(), listener.local_addr()?);
            servers.tasks.push(tokio::spawn(serve(listener, TlsAcceptor::from(config), live.clone(), node)));
        }
        Ok(servers)
    }

    /// Returns where the API of a node is.
    pub fn addr(&self, node: &str) -> Option<SocketAddr> {
        self.addrs.get(node).copied()
    }

    /// Returns where the API of each node is.
    pub fn addrs(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addrs
    }
}

impl Drop for ApiServers {
    fn drop(&mut self) {
        // A server's connections live in a set of its own task, so they end with it.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, live: Live, node: String) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                // A connection that died before it was accepted concerns nobody.
                let Ok((stream, _)) = accepted else { continue };
                // A node that is off refuses; a listener can only hang up.
                if live.with(|world, _| world.is_up(&MachineId::node(&node))) {
                    connections.spawn(connection(stream, acceptor.clone(), live.clone(), node.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it ends. What the client does to it is the client's affair.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor, live: Live, node: String) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| handle(request, &live, &node));
    let served = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // An error is a client that hung up, or an answer that was lost on purpose.
    drop(served);
}

async fn handle(request: Request<Incoming>, live: &Live, node: &str) -> io::Result<Response<Full<Bytes>>> {
    let (request, bytes) = read(request, node).await?;
    let answer = match bytes > POST_LIMIT {
        true => ApiAnswer::empty(501, "for data too large", 0),
        false => live.with(|world, now| world.api(now, &request)),
    };
    tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
    if answer.lost {
        return Err(io::Error::other("the answer is lost on purpose"));
    }
    respond(answer)
}

/// Reads a request, and says how long its body is.
async fn read(request: Request<Incoming>, node: &str) -> io::Result<(ApiRequest, usize)> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(io::Error::other)?.to_bytes();
    let text = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned);
    let is_json = text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    let fields = match serde_json::from_slice(&body) {
        Ok(Value::Object(fields)) if is_json => fields.into_iter().collect(),
        _ => form(&String::from_utf8_lossy(&body)),
    };
    let request = ApiRequest {
        node: node.to_owned(),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        body: fields,
        authorization: text(AUTHORIZATION),
    };
    Ok((request, body.len()))
}

fn respond(answer: ApiAnswer) -> io::Result<Response<Full<Bytes>>> {
    let body = answer.body.as_ref().map(Value::to_string).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    let reason = answer.reason.replace(['\r', '\n'], " ");
    let reason = hyper::ext::ReasonPhrase::try_from(reason.into_bytes()).map_err(io::Error::other)?;
    response.extensions_mut().insert(reason);
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    if answer.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
        headers.insert(CONNECTION, HeaderValue::from_static("Keep-Alive"));
    } else {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
