//! Looking at a machine's key without logging in and without learning it.

use std::sync::atomic::Ordering::SeqCst;

use proxmaint::adapters::ssh::look::{HostKeyLook, KeyStanding, look, trust};
use proxmaint::adapters::ssh::{HostKeyError, Session, SshError, Strictness};
use russh::keys::{HashAlg, PrivateKey};

use crate::jump::way;
use crate::server::{Server, Spec};
use crate::{Pair, ed25519, line, name, pair, rsa, until};

fn fingerprint(key: &PrivateKey) -> String {
    key.public_key().fingerprint(HashAlg::Sha256).to_string()
}

/// Nobody logged in, and nothing was written.
fn assert_only_looked(pair: &Pair) {
    assert!(pair.server.commands().is_empty());
    assert_eq!(pair.server.seen.passwords.load(SeqCst), 0);
    assert!(pair.server.seen.key_algorithms.lock().unwrap().is_empty(), "a key was offered");
    assert!(!pair.desk.own().exists(), "something was learnt");
}

#[tokio::test]
async fn a_look_shows_the_key_and_learns_nothing() {
    // Whatever would be learnt on a login.
    for strict in [Strictness::Yes, Strictness::AcceptNew, Strictness::No] {
        let mut pair = pair().await;
        pair.target.host_keys.strict = strict;
        let seen = look(&pair.target).await.unwrap();
        assert_eq!((seen.kind().as_str(), seen.fingerprint()), ("ssh-ed25519", fingerprint(&pair.host_key)));
        assert_eq!((seen.standing, pair.server.connections()), (KeyStanding::New, 1));
        assert_only_looked(&pair);
        until("the connection ends", || pair.server.seen.live.load(SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn the_key_that_was_looked_at_is_learnt_when_it_is_trusted() {
    let mut pair = pair().await;
    pair.target.host_keys.strict = Strictness::Yes;
    let seen = look(&pair.target).await.unwrap();
    trust(&pair.target.host_keys, &seen).await.unwrap();
    let learnt = line(&name(&pair.server), &pair.host_key);
    assert_eq!(pair.desk.text(&pair.desk.own()), learnt);
    assert_eq!(look(&pair.target).await.unwrap().standing, KeyStanding::Known);
    Session::connect(&pair.target).await.unwrap();
    trust(&pair.target.host_keys, &seen).await.unwrap();
    assert_eq!(pair.desk.text(&pair.desk.own()), learnt, "once");
}

#[tokio::test]
async fn the_key_that_is_learnt_is_the_one_that_was_shown() {
    let pair = pair().await;
    let seen = look(&pair.target).await.unwrap();
    let Pair { desk, server, target, host_key } = pair;
    let server = Server::start_at(server.stop().await, Spec { host_keys: vec![ed25519()], ..Spec::default() }).await;
    trust(&target.host_keys, &seen).await.unwrap();
    assert_eq!(desk.text(&desk.own()), line(&name(&server), &host_key));
    let error = Session::connect(&target).await.unwrap_err();
    assert!(matches!(error, SshError::HostKey(HostKeyError::Changed { .. })), "{error}");
}

#[tokio::test]
async fn a_key_that_has_changed_or_is_revoked_is_told_with_the_line() {
    let pair = pair().await;
    let other = ed25519();
    std::fs::write(pair.desk.known_hosts(), format!("# mine\n{}", line(&name(&pair.server), &other))).unwrap();
    let HostKeyLook { standing: KeyStanding::Refused(error), .. } = look(&pair.target).await.unwrap() else {
        panic!("not refused")
    };
    let HostKeyError::Changed { file, line: 2, known, offered, .. } = &error else { panic!("{error}") };
    assert_eq!(*file, pair.desk.known_hosts());
    assert!(known.contains(&fingerprint(&other)) && offered.contains(&fingerprint(&pair.host_key)), "{error}");
    std::fs::write(pair.desk.known_hosts(), format!("@revoked {}", line("*", &pair.host_key))).unwrap();
    let seen = look(&pair.target).await.unwrap();
    assert!(matches!(seen.standing, KeyStanding::Refused(HostKeyError::Revoked { line: 1, .. })), "{seen:?}");
    assert_only_looked(&pair);
}

#[tokio::test]
async fn another_key_that_was_learnt_meanwhile_is_not_overruled() {
    let pair = pair().await;
    let seen = look(&pair.target).await.unwrap();
    std::fs::create_dir(pair.desk.path("state")).unwrap();
    let other = line(&name(&pair.server), &ed25519());
    std::fs::write(pair.desk.own(), &other).unwrap();
    let error = trust(&pair.target.host_keys, &seen).await.unwrap_err();
    assert!(matches!(error, SshError::HostKey(HostKeyError::Changed { .. })), "{error}");
    assert_eq!(pair.desk.text(&pair.desk.own()), other);
}

#[tokio::test]
async fn an_rsa_key_is_to_be_compared_with_the_file_of_that_kind() {
    let pair = pair().await;
    let Pair { desk, server, target, host_key } = pair;
    let server = Server::start_at(server.stop().await, Spec { host_keys: vec![rsa()], ..Spec::default() }).await;
    let seen = look(&target).await.unwrap();
    assert_eq!((seen.kind().as_str(), seen.fingerprint()), ("ssh-rsa", fingerprint(&rsa())));
    std::fs::write(desk.known_hosts(), line(&name(&server), &host_key)).unwrap();
    let KeyStanding::Refused(error) = look(&target).await.unwrap().standing else { panic!("not refused") };
    assert!(error.hint().contains("/etc/ssh/ssh_host_rsa_key.pub"), "{}", error.hint());
}

#[tokio::test]
async fn nobody_there_is_said_in_time() {
    let Pair { server, mut target, .. } = pair().await;
    server.stop().await;
    let error = look(&target).await.unwrap_err();
    assert!(matches!(error, SshError::Connect { .. }), "{error}");
    // One that takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    target.port = silent.local_addr().unwrap().port();
    target.connect_timeout = std::time::Duration::from_millis(200);
    let error = look(&target).await.unwrap_err();
    assert!(matches!(error, SshError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn files_that_cannot_be_read_are_an_error_before_anybody_is_connected_to() {
    let mut pair = pair().await;
    pair.target.host_keys.user_known_hosts = vec![pair.desk.path("")];
    let error = look(&pair.target).await.unwrap_err();
    assert!(matches!(error, SshError::KnownHosts { .. }), "{error}");
}

#[tokio::test]
async fn on_the_way_each_jump_host_is_looked_at_before_it_is_gone_through() {
    let way = way().await;
    let logins = || [&way.first, &way.second, &way.node].map(|s| !s.seen.key_algorithms.lock().unwrap().is_empty());
    let mut on_the_way = Vec::new();
    for reached in 0..3 {
        assert_eq!(logins(), [reached > 1, reached > 2, false], "before look {reached}");
        let seen = look(&way.target).await.unwrap();
        assert_eq!(seen.standing, KeyStanding::New);
        on_the_way.push(seen.address());
        trust(&way.target.host_keys, &seen).await.unwrap();
    }
    let first = format!("jump@127.0.0.1:{}", way.first.address.port());
    assert_eq!(on_the_way, [first.as_str(), "jump@second.behind.example", "root@node.behind.example"]);
    assert_eq!(way.desk.text(&way.desk.own()).lines().count(), 3);
    let seen = look(&way.target).await.unwrap();
    assert_eq!((seen.fingerprint(), seen.standing), (fingerprint(&way.node_key), KeyStanding::Known));
    assert_eq!(logins(), [true, true, false], "the target itself is never logged in to");
    until("all connections end", || way.first.seen.live.load(SeqCst) == 0).await;
}
