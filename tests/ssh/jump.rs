//! Sessions through jump hosts.

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;

use proxmaint::adapters::ssh::{Accepted, Auth, HostKeyError, JumpHop, Session, SshError, SshTarget};
use russh::keys::{HashAlg, PrivateKey};
use secrecy::SecretString;

use crate::server::{Server, Spec};
use crate::{Desk, ed25519, limits, line, name, until};

/// Two bastions and a node behind them. `second` is known to the first bastion only, `node` to the second only.
struct Way {
    desk: Desk,
    first: Server,
    second: Server,
    node: Server,
    node_key: PrivateKey,
    target: SshTarget,
}

async fn way() -> Way {
    let desk = Desk::new();
    let (key, path) = desk.user_key("id");
    let node_key = ed25519();
    let spec = |host_key: PrivateKey, names: &[(&str, &Server)]| Spec {
        host_keys: vec![host_key],
        authorized: vec![key.public_key().clone()],
        names: names.iter().map(|(name, server)| ((*name).to_owned(), server.address)).collect::<HashMap<_, _>>(),
        ..Spec::default()
    };
    let node = Server::start(spec(node_key.clone(), &[])).await;
    let second = Server::start(spec(ed25519(), &[("node.behind.example", &node)])).await;
    let first = Server::start(spec(ed25519(), &[("second.behind.example", &second)])).await;
    let mut target = desk.target(&node, &path);
    target.host = "node.behind.example".to_owned();
    target.port = 22;
    target.jumps = vec![
        JumpHop { user: "jump".to_owned(), host: "127.0.0.1".to_owned(), port: first.address.port() },
        JumpHop { user: "jump".to_owned(), host: "second.behind.example".to_owned(), port: 22 },
    ];
    Way { desk, first, second, node, node_key, target }
}

#[tokio::test]
async fn names_are_resolved_by_the_hop_before() {
    let way = way().await;
    let session = Session::connect(&way.target).await.unwrap();
    assert_eq!(session.exec("echo there", limits()).await.unwrap().stdout, b"there\n");
    assert_eq!(way.node.commands(), ["echo there"]);
    assert!(way.first.commands().is_empty() && way.second.commands().is_empty());
    assert_eq!(*way.first.seen.asked_names.lock().unwrap(), ["second.behind.example"]);
    assert_eq!(*way.second.seen.asked_names.lock().unwrap(), ["node.behind.example"]);
    // Every hop's key is learnt under its own name, and matched from then on.
    let own = way.desk.text(&way.desk.own());
    let names: Vec<_> = own.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, [&name(&way.first), "second.behind.example", "node.behind.example"]);
    Session::connect(&way.target).await.unwrap();
    assert_eq!(way.desk.text(&way.desk.own()), own);
}

#[tokio::test]
async fn a_dropped_session_leaves_no_hop_connected() {
    let way = way().await;
    let session = Session::connect(&way.target).await.unwrap();
    let live = || [&way.first, &way.second, &way.node].map(|server| server.seen.live.load(SeqCst));
    assert_eq!(live(), [1, 1, 1]);
    drop(session);
    until("all connections end", || live() == [0, 0, 0]).await;
}

#[tokio::test]
async fn a_changed_key_behind_the_bastion_is_refused() {
    let way = way().await;
    std::fs::write(way.desk.known_hosts(), line("node.behind.example", &ed25519())).unwrap();
    let error = Session::connect(&way.target).await.unwrap_err();
    let SshError::HostKey(HostKeyError::Changed { host, .. }) = &error else { panic!("{error}") };
    assert_eq!(host, "node.behind.example");
    assert!(way.node.commands().is_empty());
    assert!(way.node.seen.key_algorithms.lock().unwrap().is_empty());
    std::fs::write(way.desk.known_hosts(), line("node.behind.example", &way.node_key)).unwrap();
    Session::connect(&way.target).await.unwrap();
}

#[tokio::test]
async fn a_name_that_the_bastion_does_not_know_is_said() {
    let mut way = way().await;
    way.target.host = "elsewhere.example".to_owned();
    let error = Session::connect(&way.target).await.unwrap_err();
    assert!(matches!(&error, SshError::Connect { address, .. } if address.contains("elsewhere.example")), "{error}");
}

#[tokio::test]
async fn a_jump_host_never_sees_the_password() {
    let mut way = way().await;
    let (_, wrong) = way.desk.user_key("wrong");
    way.target.auth.identity_files = vec![wrong];
    way.target.auth.password = Some(SecretString::from("correct horse"));
    let error = Session::connect(&way.target).await.unwrap_err();
    let SshError::Auth { address, .. } = &error else { panic!("{error}") };
    assert!(address.starts_with("jump@127.0.0.1"), "{address}");
    assert_eq!(way.first.seen.passwords.load(SeqCst), 0);
}

#[tokio::test]
async fn a_target_is_proven_to_by_one_key_alone_and_its_jump_hosts_as_before() {
    let way = way().await;
    let (new, path) = way.desk.user_key("new");
    let only = way.target.proven_by(Auth::only_key(path.clone()));
    let error = Session::connect(&only).await.unwrap_err();
    let SshError::Auth { address, .. } = &error else { panic!("{error}") };
    assert_eq!(address, "root@node.behind.example", "the jump hosts let it through");
    let fingerprint = new.public_key().fingerprint(HashAlg::Sha256).to_string();
    assert_eq!(way.node.offered(), std::slice::from_ref(&fingerprint));
    assert!(!way.first.offered().contains(&fingerprint) && !way.second.offered().contains(&fingerprint));
    // Said twice it is the same: what opened the way first still does.
    let old = way.target.auth.identity_files[0].clone();
    let session = Session::connect(&only.proven_by(Auth::only_key(old.clone()))).await.unwrap();
    assert_eq!(session.accepted(), Accepted::Key(old));
    // A password that the target took is still for nobody on the way.
    let mut asked = way.target.clone();
    asked.auth = Auth::only_password(SecretString::from("correct horse"));
    let error = Session::connect(&asked.proven_by(Auth::only_key(path))).await.unwrap_err();
    assert!(error.to_string().contains("jump@127.0.0.1"), "{error}");
    assert_eq!(way.first.seen.passwords.load(SeqCst), 0);
}

#[tokio::test]
async fn a_bastion_that_dies_mid_command_is_ambiguous() {
    let way = way().await;
    let session = Session::connect(&way.target).await.unwrap();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.exec("sleep 600", limits()).await }
    });
    until("the command runs", || way.node.commands().len() == 1).await;
    way.first.cut();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, SshError::Lost { .. }), "{error}");
    until("the session knows", || session.is_closed()).await;
}

#[tokio::test]
async fn a_target_behind_a_jump_host_takes_a_password_by_either_method() {
    for prompts in [false, true] {
        let desk = Desk::new();
        let (key, path) = desk.user_key("id");
        let password = Some("correct horse".to_owned());
        let node = Server::start(Spec { host_keys: vec![ed25519()], password, prompts, ..Spec::default() }).await;
        // By its IPv6 literal, which the bastion is asked for as it is.
        let names = [("2001:db8::7".to_owned(), node.address)].into();
        let authorized = vec![key.public_key().clone()];
        let bastion = Server::start(Spec { host_keys: vec![ed25519()], authorized, names, ..Spec::default() }).await;
        let mut target = desk.target(&node, &path);
        (target.host, target.port) = ("2001:db8::7".to_owned(), 22);
        target.jumps =
            vec![JumpHop { user: "jump".to_owned(), host: "127.0.0.1".to_owned(), port: bastion.address.port() }];
        target.auth.password = Some(SecretString::from("correct horse"));
        let session = Session::connect(&target).await.unwrap();
        assert_eq!(session.accepted(), Accepted::Password);
        assert_eq!(session.exec("echo there", limits()).await.unwrap().stdout, b"there\n");
        assert_eq!(*bastion.seen.asked_names.lock().unwrap(), ["2001:db8::7"]);
        assert_eq!(bastion.seen.passwords.load(SeqCst), 0, "the jump host never sees it");
        target.auth.password = Some(SecretString::from("battery staple"));
        let error = Session::connect(&target).await.unwrap_err();
        assert!(matches!(error, SshError::Auth { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("battery"), "{error}");
    }
}
