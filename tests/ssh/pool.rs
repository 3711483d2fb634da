//! The keeper of a connection: lazy, bounded, and back after a cut.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::future::join_all;
use proxmaint::adapters::ssh::SshError;
use proxmaint::adapters::ssh::pool::{Connection, MAX_CHANNELS, MAX_HANDSHAKES};
use tokio::net::TcpListener;

use crate::server::{Server, Spec};
use crate::{Pair, limits, line, name, pair, pair_with, until};

#[tokio::test]
async fn nothing_is_connected_before_it_is_needed_and_then_once() {
    let pair = pair().await;
    let connection = Connection::new(pair.target.clone());
    assert_eq!(pair.server.connections(), 0);
    connection.exec("true", limits()).await.unwrap();
    let first = pair.server.connections();
    connection.exec("true", limits()).await.unwrap();
    assert_eq!(pair.server.connections(), first);
}

#[tokio::test]
async fn fifty_commands_at_once_complete_on_one_connection_of_eight_channels() {
    let pair = pair().await;
    let connection = Connection::new(pair.target.clone());
    // Some output and some time each, so that they overlap.
    let commands = (0..50).map(|n| format!("head -c 70000 /dev/zero; sleep 0.05; echo {n}"));
    let outputs = join_all(commands.map(|command| {
        let connection = &connection;
        async move { connection.exec(&command, limits()).await }
    }))
    .await;
    for (n, output) in outputs.into_iter().enumerate() {
        let output = output.unwrap();
        assert_eq!((output.exit, output.stdout.len()), (0, 70_000 + format!("{n}\n").len()));
        assert!(output.stdout.ends_with(format!("\0{n}\n").as_bytes()) && output.is_complete());
    }
    // One to see the key of a new host, one to log in.
    assert_eq!((pair.server.connections(), pair.server.seen.live.load(SeqCst)), (2, 1));
    assert_eq!(pair.server.seen.refused.load(SeqCst), 0);
    let most = pair.server.seen.most_open.load(SeqCst);
    assert!((2..=MAX_CHANNELS).contains(&most), "{most} at once");
}

#[tokio::test]
async fn never_more_than_eight_channels_are_asked_for() {
    let pair = pair().await;
    let connection = Arc::new(Connection::new(pair.target.clone()));
    let waiting: Vec<_> = (0..MAX_CHANNELS + 4)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.exec("sleep 600", limits()).await })
        })
        .collect();
    until("eight commands run", || pair.server.commands().len() == MAX_CHANNELS).await;
    // One that ends lets exactly one more begin, which would not wait its turn if there were no bound.
    waiting[0].abort();
    until("one more runs", || pair.server.commands().len() == MAX_CHANNELS + 1).await;
    until("eight are open", || pair.server.seen.open.load(SeqCst) == MAX_CHANNELS).await;
    assert_eq!(pair.server.seen.refused.load(SeqCst), 0);
    for task in waiting {
        task.abort();
    }
}

#[tokio::test]
async fn no_server_gets_more_handshakes_at_once_than_it_may_turn_away() {
    let pair = pair().await;
    // With the key known, each has one handshake.
    std::fs::write(pair.desk.known_hosts(), line(&name(&pair.server), &pair.host_key)).unwrap();
    let connections: Vec<_> = (0..30).map(|_| Connection::new(pair.target.clone())).collect();
    for output in join_all(connections.iter().map(|connection| connection.exec("true", limits()))).await {
        assert_eq!(output.unwrap().exit, 0);
    }
    assert_eq!(pair.server.seen.live.load(SeqCst), 30);
    let most = pair.server.seen.most_starting.load(SeqCst);
    assert!((2..=MAX_HANDSHAKES).contains(&most), "{most} at once");
}

#[tokio::test]
async fn all_that_wait_share_one_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = pair().await;
    let mut target = pair.target.clone();
    target.port = listener.local_addr().unwrap().port();
    target.connect_timeout = Duration::from_millis(300);
    // Takes connections and says nothing.
    let taken = Arc::new(AtomicUsize::new(0));
    let silent = tokio::spawn({
        let taken = taken.clone();
        async move {
            let mut held = Vec::new();
            while let Ok(accepted) = listener.accept().await {
                held.push(accepted);
                taken.fetch_add(1, SeqCst);
            }
        }
    });
    let connection = Connection::new(target);
    for result in join_all((0..MAX_CHANNELS).map(|_| connection.exec("true", limits()))).await {
        assert!(matches!(result, Err(SshError::TimedOut { .. })));
    }
    assert_eq!(taken.load(SeqCst), 1);
    // But a call that comes later has a go of its own.
    assert!(connection.exec("true", limits()).await.is_err());
    assert_eq!(taken.load(SeqCst), 2);
    silent.abort();
}

#[tokio::test]
async fn a_cut_connection_is_made_anew_for_the_next_command() {
    let pair = pair().await;
    let connection = Connection::new(pair.target.clone());
    connection.exec("echo one", limits()).await.unwrap();
    let before = pair.server.connections();
    pair.server.cut();
    // At once: whether the cut was noticed already or not, nothing was sent, so the command is sent on a new connection.
    assert_eq!(connection.exec("echo two", limits()).await.unwrap().stdout, b"two\n");
    assert_eq!(pair.server.connections() - before, 1);
    assert_eq!(pair.server.commands(), ["echo one", "echo two"]);
}

#[tokio::test]
async fn a_command_that_may_have_run_is_not_sent_again() {
    let pair = pair().await;
    let connection = Arc::new(Connection::new(pair.target.clone()));
    let waiting = tokio::spawn({
        let connection = connection.clone();
        async move { connection.exec("sleep 600", limits()).await }
    });
    until("the command runs", || pair.server.commands().len() == 1).await;
    pair.server.cut();
    assert!(matches!(waiting.await.unwrap(), Err(SshError::Lost { .. })));
    assert_eq!(connection.exec("echo on", limits()).await.unwrap().stdout, b"on\n");
    assert_eq!(pair.server.commands(), ["sleep 600", "echo on"]);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let Pair { server, target, host_key, desk: _desk } = pair().await;
    let connection = Connection::new(target.clone());
    connection.exec("true", limits()).await.unwrap();
    let key = russh::keys::load_secret_key(&target.auth.identity_files[0], None).unwrap();
    let authorized = vec![key.public_key().clone()];
    let address = server.stop().await;
    let error = connection.exec("true", limits()).await.unwrap_err();
    assert!(matches!(error, SshError::Connect { .. }), "{error}");
    let spec = Spec { host_keys: vec![host_key], authorized, ..Spec::default() };
    let back = Server::start_at(address, spec).await;
    assert_eq!(connection.exec("echo back", limits()).await.unwrap().stdout, b"back\n");
    assert_eq!(back.commands(), ["echo back"]);
}

#[tokio::test]
async fn the_identity_that_was_accepted_is_offered_first_the_next_time() {
    let mut pair = pair().await;
    let (_, wrong) = pair.desk.user_key("wrong");
    pair.target.auth.identity_files.insert(0, wrong);
    let connection = Connection::new(pair.target.clone());
    connection.exec("true", limits()).await.unwrap();
    connection.close().await;
    let before = pair.server.connections();
    connection.exec("true", limits()).await.unwrap();
    assert_eq!(pair.server.connections() - before, 1);
}

#[tokio::test]
async fn a_connection_without_a_free_channel_is_replaced() {
    // As sshd counts, a command that hangs takes up its session even after its channel was closed.
    let pair = pair_with(Spec { max_sessions: 1, ..Spec::default() }).await;
    let connection = Connection::new(pair.target.clone());
    let session = connection.session().await.unwrap();
    let hanging = tokio::spawn(async move { session.exec("sleep 600", limits()).await });
    until("the command runs", || pair.server.commands().len() == 1).await;
    assert_eq!(connection.exec("echo on", limits()).await.unwrap().stdout, b"on\n");
    assert!(!hanging.is_finished(), "what runs on the old connection goes on");
    hanging.abort();
}
