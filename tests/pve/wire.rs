//! What goes over the wire and what comes back, on a real HTTPS connection.

use std::time::{Duration, Instant};

use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::http::{ApiEndpoint, EndpointError, HttpTransport, Limits};
use proxmaint::adapters::pve::tls::Trust;
use proxmaint::adapters::pve::transport::{ApiCall, Method, Transport, TransportFault};
use proxmaint::engine::port::{GuestRef, Pve};
use proxmaint::ids::{GuestId, GuestKind, NodeName, SnapshotName};
use proxmaint::machine::outcome::{Fault, FaultClass};
use serde_json::{Value, json};

use crate::server::{Behaviour, HASTY, LIMITS, SECRET, Server, TOKEN, endpoint, own_authority, transport};

async fn server(behaviour: Behaviour) -> Server {
    Server::start(own_authority("127.0.0.1"), behaviour).await
}

fn get(path: &[&str]) -> ApiCall {
    ApiCall::new(Method::Get, path).unwrap()
}

/// Makes one read and one change through a client.
async fn both(transport: HttpTransport) -> [Fault; 2] {
    let client = Client::new(transport);
    let guest = GuestRef { node: NodeName::new("n"), kind: GuestKind::Ct, id: GuestId(7) };
    let read = client.version().await.unwrap_err();
    [read, client.create_snapshot(&guest, &SnapshotName::new("x"), "").await.unwrap_err()]
}

/// Makes a transport that soon gives up waiting for an answer.
fn hasty(port: u16) -> HttpTransport {
    HttpTransport::with_limits(&endpoint("127.0.0.1", port, Trust::Insecure), HASTY).unwrap()
}

fn assert_classes(faults: &[Fault; 2], read: FaultClass, change: FaultClass) {
    assert_eq!(faults.each_ref().map(|f| f.class), [read, change], "{faults:?}");
}

#[tokio::test]
async fn a_call_arrives_as_it_was_meant() {
    let server = server(Behaviour::json("200 OK", r#"{"data":null}"#)).await;
    let transport = server.transport(Trust::Insecure);
    let upid = "UPID:n:1:2:3:vzdump:7:u@pam!t:";
    transport
        .call(&get(&["nodes", "n", "tasks", upid, "log"]).with("limit", "50").with("x", "a&b=c d/é"))
        .await
        .unwrap();
    let form = ApiCall::new(Method::Post, &["nodes", "n", "vzdump"]).unwrap().with("notes-template", "a\\n b&c=%+é");
    transport.call(&form).await.unwrap();
    let put = ApiCall::new(Method::Put, &["content", "local:backup/x"]).unwrap().with("protected", "0");
    transport.call(&put).await.unwrap();
    transport.call(&ApiCall::new(Method::Delete, &["a", "b c"]).unwrap().with("force", "1")).await.unwrap();
    transport.call(&get(&["version"])).await.unwrap();
    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|s| s.head.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "GET /api2/json/nodes/n/tasks/UPID%3An%3A1%3A2%3A3%3Avzdump%3A7%3Au%40pam%21t%3A/log?limit=50&x=a%26b%3Dc+d%2F%C3%A9 HTTP/1.1",
            "POST /api2/json/nodes/n/vzdump HTTP/1.1",
            "PUT /api2/json/content/local%3Abackup%2Fx HTTP/1.1",
            "DELETE /api2/json/a/b%20c?force=1 HTTP/1.1",
            "GET /api2/json/version HTTP/1.1",
        ]
    );
    let bodies: Vec<_> = seen.iter().map(|s| s.body.as_str()).collect();
    assert_eq!(bodies, ["", "notes-template=a%5Cn+b%26c%3D%25%2B%C3%A9", "protected=0", "", ""]);
    for one in &seen {
        let header = format!("authorization: PVEAPIToken={TOKEN}");
        assert_eq!(one.head.lines().filter(|line| **line == header).count(), 1, "{}", one.head);
    }
    // Reads share a connection; each change has one of its own.
    let connections: Vec<_> = seen.iter().map(|s| s.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3, 0]);
}

#[tokio::test]
async fn a_list_goes_as_json_as_the_api_was_seen_to_take_it() {
    let server = server(Behaviour::json("200 OK", r#"{"data":{"pid":7}}"#)).await;
    let call = ApiCall::new(Method::Post, &["nodes", "n", "qemu", "7", "agent", "exec"]).unwrap();
    let call =
        ["/bin/sh", "-c", "echo 'a' \"b\" &=é\nexit 3"].iter().fold(call, |call, word| call.with("command", *word));
    server.transport(Trust::Insecure).call(&call.with("input-data", "1")).await.unwrap();
    let seen = &server.seen()[0];
    assert!(seen.head.to_lowercase().contains("content-type: application/json"), "{}", seen.head);
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body, json!({"command": ["/bin/sh", "-c", "echo 'a' \"b\" &=é\nexit 3"], "input-data": "1"}));
}

#[tokio::test]
async fn status_reason_and_body_come_back() {
    let empty = b"HTTP/1.1 401 Authentication failed!\r\nContent-Length: 0\r\n\r\n".to_vec();
    let refusing = server(Behaviour::Answer(empty)).await;
    let answer = refusing.transport(Trust::Insecure).call(&get(&["nodes"])).await.unwrap();
    assert_eq!((answer.status, answer.reason.as_str(), answer.body), (401, "Authentication failed!", Value::Null));

    let odd = server(Behaviour::json("595 No route to host", r#"{"data":null,"message":"x\n"}"#)).await;
    let answer = odd.transport(Trust::Insecure).call(&get(&["nodes"])).await.unwrap();
    assert_eq!((answer.status, answer.reason.as_str()), (595, "No route to host"));
    assert_eq!(answer.body, json!({"data": null, "message": "x\n"}));

    let plain = server(Behaviour::json("200 OK", "<html>")).await;
    let answer = plain.transport(Trust::Insecure).call(&get(&["nodes"])).await.unwrap();
    assert_eq!((answer.reason.as_str(), answer.body), ("OK", json!("<html>")));
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let target = server(Behaviour::json("200 OK", r#"{"data":1}"#)).await;
    let bytes =
        format!("HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n", target.port);
    let first = server(Behaviour::Answer(bytes.into_bytes())).await;
    let answer = first.transport(Trust::Insecure).call(&get(&["version"])).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(target.seen().is_empty(), "the token went elsewhere");
}

#[tokio::test]
async fn nobody_there_is_never_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let faults = both(transport("127.0.0.1", port, Trust::Insecure)).await;
    assert_classes(&faults, FaultClass::Transient, FaultClass::Transient);
    assert!(faults[0].what.contains(&format!("connecting to 127.0.0.1:{port}")), "{}", faults[0]);
    assert!(faults[0].what.to_lowercase().contains("refused"), "{}", faults[0]);
}

#[tokio::test]
async fn one_who_never_answers_the_handshake_is_never_sent_to() {
    // The listener's backlog accepts the connection; nobody ever speaks.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = Limits { connect: Duration::from_millis(100), ..LIMITS };
    let transport = HttpTransport::with_limits(&endpoint("127.0.0.1", port, Trust::Insecure), limits).unwrap();
    let faults = both(transport).await;
    assert_classes(&faults, FaultClass::Transient, FaultClass::Transient);
    assert!(faults[1].what.contains("no connection within 100ms"), "{}", faults[1]);
}

#[tokio::test]
async fn an_answer_lost_after_the_request_leaves_doubt_about_a_change() {
    let server = server(Behaviour::Cut(Vec::new())).await;
    let faults = both(server.transport(Trust::Insecure)).await;
    assert_classes(&faults, FaultClass::Transient, FaultClass::Ambiguous);
    assert!(faults[1].what.contains("broke before the answer was there"), "{}", faults[1]);
    assert_eq!(server.seen().len(), 2, "each was sent once: nothing is repeated here");
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"data\":".to_vec();
    let server = server(Behaviour::Cut(half)).await;
    assert_classes(&both(server.transport(Trust::Insecure)).await, FaultClass::Transient, FaultClass::Ambiguous);
}

#[tokio::test]
async fn no_answer_in_time_leaves_doubt_about_a_change() {
    let server = server(Behaviour::Silent).await;
    let begun = Instant::now();
    let faults = both(hasty(server.port)).await;
    assert_classes(&faults, FaultClass::Transient, FaultClass::Ambiguous);
    assert!(faults[0].what.contains("within 200ms") && faults[1].what.contains("within 300ms"), "{faults:?}");
    assert!(begun.elapsed() >= HASTY.read + HASTY.change, "a change is given its own time");
}

#[tokio::test]
async fn an_answer_without_end_is_not_taken_in() {
    let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_vec();
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..3 {
        chunked.extend_from_slice(format!("190\r\n{}\r\n", "x".repeat(400)).as_bytes());
    }
    for bytes in [announced, chunked] {
        let server = server(Behaviour::Answer(bytes)).await;
        let fault = server.transport(Trust::Insecure).call(&get(&["version"])).await.unwrap_err();
        assert!(matches!(&fault, TransportFault::Unusable(what) if what.contains("1000 bytes")), "{fault:?}");
    }
    let full = Behaviour::json("200 OK", &format!("\"{}\"", "x".repeat(998)));
    server(full).await.transport(Trust::Insecure).call(&get(&["version"])).await.unwrap();
}

#[tokio::test]
async fn the_secret_shows_nowhere() {
    let answering = server(Behaviour::json("401 Authentication failed!", "")).await;
    let transport_to = |port| transport("127.0.0.1", port, Trust::Insecure);
    let mut texts = vec![
        format!("{:?}", endpoint("h", 8006, Trust::System)),
        format!("{:#?}", transport_to(1)),
        format!("{:?}", Client::new(transport_to(1))),
    ];
    let cut = server(Behaviour::Cut(Vec::new())).await;
    let silent = server(Behaviour::Silent).await;
    let refused = transport("127.0.0.1", 1, Trust::Insecure);
    for transport in [transport_to(answering.port), transport_to(cut.port), hasty(silent.port), refused] {
        for fault in both(transport).await {
            texts.push(format!("{fault} {fault:?} {}", serde_json::to_string(&fault).unwrap()));
        }
    }
    let broken = ApiEndpoint { token: format!("{TOKEN}\n").into(), ..endpoint("h", 8006, Trust::System) };
    let error = HttpTransport::new(&broken).unwrap_err();
    assert!(matches!(error, EndpointError::Token));
    texts.push(format!("{error} {error:?}"));
    assert!(answering.seen()[0].head.contains(SECRET), "the test's own premise: the secret was sent");
    for text in texts {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn a_host_that_is_none_is_refused() {
    for host in ["", "a/b", "user@host"] {
        let error = HttpTransport::new(&endpoint(host, 8006, Trust::Insecure)).unwrap_err();
        assert!(matches!(error, EndpointError::Host { .. }), "{error:?}");
    }
}
