//! Keys of an agent. `SSH_AUTH_SOCK` is a matter of the whole process, so the session runs in one of its own.

use std::time::Duration;

use proxmaint::adapters::ssh::{Session, SshTarget};
use russh::keys::agent::client::AgentClient;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::server::{Server, Spec};
use crate::{Desk, ed25519, limits};

/// Says to the process within which server to log in to, and which file to learn its key into.
const INNER: &str = "PROXMAINT_TEST_AGENT_INNER";

#[tokio::test]
async fn the_agents_keys_are_offered() {
    let desk = Desk::new();
    let socket = desk.path("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let incoming = futures_util::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let agent = tokio::spawn(russh::keys::agent::server::serve(Box::pin(incoming), ()));
    let (key, other) = (ed25519(), ed25519());
    let mut client = AgentClient::connect(UnixStream::connect(&socket).await.unwrap());
    client.add_identity(&other, &[]).await.unwrap();
    client.add_identity(&key, &[]).await.unwrap();
    let authorized = vec![key.public_key().clone()];
    // It leads to itself as a jump host.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let names = [("127.0.0.1".to_owned(), address)].into();
    let server =
        Server::start_at(address, Spec { host_keys: vec![ed25519()], authorized, names, ..Spec::default() }).await;

    let run = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "agent::within_the_inner_process", "--nocapture"])
        .env("SSH_AUTH_SOCK", &socket)
        .env("HOME", desk.path("home"))
        .env(INNER, format!("{} {}", server.address.port(), desk.own().display()))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
    agent.abort();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    assert_eq!(server.commands(), ["echo direct", "echo jumped"], "{text}");
}

/// Does nothing unless the test above started it.
#[tokio::test]
async fn within_the_inner_process() {
    let Ok(inner) = std::env::var(INNER) else { return };
    let (port, own) = inner.split_once(' ').unwrap();
    let mut target = SshTarget::new("127.0.0.1", "root", own.into());
    target.port = port.parse().unwrap();
    let session = Session::connect(&target).await.unwrap();
    assert_eq!(session.accepted(), "ssh-agent");
    assert_eq!(session.exec("echo direct", limits()).await.unwrap().stdout, b"direct\n");
    // The way through a jump host offers the agent's keys by itself.
    target.jumps = vec![proxmaint::adapters::ssh::JumpHop {
        user: "jump".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: target.port,
    }];
    let session = Session::connect(&target).await.unwrap();
    assert_eq!(session.accepted(), "ssh-agent");
    assert_eq!(session.exec("echo jumped", limits()).await.unwrap().stdout, b"jumped\n");
}
