//! Keys of an agent. `SSH_AUTH_SOCK` is a matter of the whole process, so the sessions run in one of their own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use proxmaint::adapters::ssh::{Accepted, Auth, JumpHop, Session, SshError, SshTarget};
use russh::keys::agent::client::AgentClient;
use russh::keys::key::safe_rng;
use russh::keys::{PrivateKey, PublicKey};
use secrecy::SecretString;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::server::{Server, Spec, listen};
use crate::{Desk, ed25519, limits, until};

/// Says to the process within which server to log in to, which file to learn its key into, and which key file to offer.
const INNER: &str = "PROXMAINT_TEST_AGENT_INNER";

/// Runs one of the tests below in a process with an agent.
async fn inner(test: &str, socket: &Path, desk: &Desk, server: &Server, key: Option<&Path>) {
    let key = key.map_or_else(|| "-".to_owned(), |key| key.display().to_string());
    let run = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("agent::{test}"), "--nocapture"])
        .env("SSH_AUTH_SOCK", socket)
        .env("HOME", desk.path("home"))
        .env(INNER, format!("{} {} {key}", server.address.port(), desk.own().display()))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Returns the target that the process outside names; `None` where nobody does.
fn named() -> Option<SshTarget> {
    let inner = std::env::var(INNER).ok()?;
    let [port, own, key] = inner.split(' ').collect::<Vec<_>>()[..] else { panic!("{inner}") };
    let mut target = SshTarget::new("127.0.0.1", "root", own.into());
    target.port = port.parse().unwrap();
    target.auth.identity_files = (key != "-").then(|| key.into()).into_iter().collect();
    target.host_keys.user_known_hosts = Vec::new();
    target.host_keys.global_known_hosts = Vec::new();
    Some(target)
}

/// The same target, through itself as a jump host.
fn jumped(target: &SshTarget) -> SshTarget {
    let hop = JumpHop { user: "jump".to_owned(), host: "127.0.0.1".to_owned(), port: target.port };
    SshTarget { jumps: vec![hop], ..target.clone() }
}

/// Starts an agent within this process that holds the keys.
async fn agent(socket: &Path, keys: &[PrivateKey]) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let incoming = futures_util::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let serving = tokio::spawn(async move {
        // It ends with the test, by being aborted.
        let _ = russh::keys::agent::server::serve(Box::pin(incoming), ()).await;
    });
    let mut client = AgentClient::connect(UnixStream::connect(socket).await.unwrap());
    for key in keys {
        client.add_identity(key, &[]).await.unwrap();
    }
    serving
}

/// Starts a server that leads to itself as a jump host.
async fn server(authorized: Vec<PublicKey>, password: Option<&str>) -> Server {
    let address = listen("127.0.0.1:0".parse().unwrap()).await.local_addr().unwrap();
    let names = [("127.0.0.1".to_owned(), address)].into();
    let password = password.map(str::to_owned);
    Server::start_at(address, Spec { host_keys: vec![ed25519()], authorized, names, password, ..Spec::default() }).await
}

#[tokio::test]
async fn the_agents_keys_are_offered() {
    let desk = Desk::new();
    let socket = desk.path("agent");
    let (key, other) = (ed25519(), ed25519());
    let agent = agent(&socket, &[other, key.clone()]).await;
    let server = server(vec![key.public_key().clone()], None).await;
    inner("within_the_agents_key_is_accepted", &socket, &desk, &server, None).await;
    agent.abort();
    assert_eq!(server.commands(), ["echo direct", "echo jumped"]);
}

/// Does nothing unless a test above started it.
#[tokio::test]
async fn within_the_agents_key_is_accepted() {
    let Some(target) = named() else { return };
    let session = Session::connect(&target).await.unwrap();
    assert_eq!(session.accepted(), Accepted::Agent);
    assert_eq!(session.exec("echo direct", limits()).await.unwrap().stdout, b"direct\n");
    // The way through a jump host offers the agent's keys by itself.
    let session = Session::connect(&jumped(&target)).await.unwrap();
    assert_eq!(session.accepted(), Accepted::Agent);
    assert_eq!(session.exec("echo jumped", limits()).await.unwrap().stdout, b"jumped\n");
}

/// The way that the hint names: `ssh-add` loads the key into the real agent.
#[tokio::test]
async fn a_key_with_a_passphrase_is_used_through_the_real_agent() {
    let desk = Desk::new();
    let socket = desk.path("agent");
    let starting = tokio::process::Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut real = match starting {
        Ok(real) => real,
        Err(error) => {
            writeln!(std::io::stderr(), "not run: keys of the real ssh-agent ({error})").unwrap();
            return;
        }
    };
    until("the agent listens", || socket.exists()).await;
    let key = ed25519();
    let locked = desk.write_key("locked", &key.encrypt(&mut safe_rng(), "a passphrase").unwrap());
    let ask = desk.path("ask");
    proxmaint_lab::executable::write(Path::new(&ask), "#!/bin/sh\necho 'a passphrase'\n").unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).unwrap();
    let server = server(vec![key.public_key().clone()], None).await;
    // Before it is loaded the file alone is of no use, and the empty agent is named.
    inner("within_a_locked_key_is_refused", &socket, &desk, &server, Some(&locked)).await;
    let added = tokio::process::Command::new("ssh-add")
        .arg(&locked)
        .env("SSH_AUTH_SOCK", &socket)
        .env("SSH_ASKPASS", &ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .output();
    let added =
        tokio::time::timeout(Duration::from_secs(30), added).await.unwrap().expect("ssh-add comes with ssh-agent");
    assert!(added.status.success(), "{added:?}");
    inner("within_the_agents_key_is_accepted", &socket, &desk, &server, Some(&locked)).await;
    real.kill().await.unwrap();
}

/// Does nothing unless a test above started it.
#[tokio::test]
async fn within_a_locked_key_is_refused() {
    let Some(target) = named() else { return };
    for target in [jumped(&target), target] {
        let error = Session::connect(&target).await.unwrap_err();
        let SshError::Auth { hint, .. } = &error else { panic!("{error}") };
        let text = error.to_string();
        assert!(text.contains("protected by a passphrase") && text.contains("ssh-agent holds no keys"), "{text}");
        assert!(hint.contains("ssh-add "), "{hint}");
    }
}

#[tokio::test]
async fn an_agent_that_is_gone_or_silent_is_named_and_holds_nothing_up() {
    let desk = Desk::new();
    let server = server(Vec::new(), Some("correct horse")).await;
    inner("within_the_password_serves", &desk.path("nowhere"), &desk, &server, None).await;
    let silent = desk.path("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    inner("within_the_password_serves", &silent, &desk, &server, None).await;
}

#[tokio::test]
async fn an_agent_of_many_keys_does_not_keep_from_what_is_offered_next() {
    let desk = Desk::new();
    let socket = desk.path("agent");
    let keys: Vec<PrivateKey> = (0..12).map(|_| ed25519()).collect();
    let agent = agent(&socket, &keys).await;
    let server = server(Vec::new(), Some("correct horse")).await;
    inner("within_the_password_serves", &socket, &desk, &server, None).await;
    agent.abort();
}

/// Does nothing unless a test above started it.
#[tokio::test]
async fn within_the_password_serves() {
    let Some(mut target) = named() else { return };
    target.connect_timeout = Duration::from_secs(2);
    target.auth = Auth { usual_files: false, password: Some(SecretString::from("correct horse")), ..Auth::default() };
    let session = Session::connect(&target).await.unwrap();
    assert_eq!(session.accepted(), Accepted::Password);
    // With nothing else to offer it is said what became of the agent: a matter of credentials, not of the network.
    target.auth.password = None;
    for target in [jumped(&target), target] {
        let error = Session::connect(&target).await.unwrap_err();
        assert!(matches!(error, SshError::Auth { .. }), "{error}");
        let text = error.to_string();
        let signs =
            ["ssh-agent cannot be asked", "ssh-agent does not answer", "ssh-agent: the host hung up while its 12"];
        assert!(signs.iter().any(|sign| text.contains(sign)), "{text}");
    }
}
