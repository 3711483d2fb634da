//! Commands on a session: what comes back, and what is known when nothing does.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use proxmaint::adapters::ssh::{ExecLimits, Session, SshError};
use proxmaint::machine::outcome::{Fault, FaultClass};
use tokio::net::{TcpListener, TcpStream};

use crate::{PATIENCE, limits, pair, pair_with, server::Spec, until};

#[tokio::test]
async fn output_and_exit_status_come_back() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let output = session.exec("echo out; echo err >&2; exit 3", limits()).await.unwrap();
    assert_eq!((output.exit, &output.stdout[..], &output.stderr[..]), (3, &b"out\n"[..], &b"err\n"[..]));
    assert!(output.is_complete());
    let output = session.exec("true", limits()).await.unwrap();
    assert_eq!((output.exit, output.stdout.len(), output.stderr.len()), (0, 0, 0));
    assert!(!session.is_closed());
}

#[tokio::test]
async fn output_is_bytes_not_text() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let output = session.exec(r"printf '\377\000\200a'", limits()).await.unwrap();
    assert_eq!(output.stdout, [0xff, 0, 0x80, b'a']);
}

#[tokio::test]
async fn a_command_reads_the_end_of_its_input() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    assert_eq!(session.exec("cat; echo done", limits()).await.unwrap().stdout, b"done\n");
}

#[tokio::test]
async fn large_output_is_counted_but_not_kept() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let bounds = ExecLimits { max_output: 1000, ..limits() };
    // More than the window of a channel, so it has to be drained to end at all.
    let command = "head -c 5000000 /dev/zero; head -c 3000 /dev/zero >&2; exit 4";
    let output = session.exec(command, bounds).await.unwrap();
    assert_eq!((output.exit, output.stdout.len(), output.stderr.len()), (4, 1000, 1000));
    assert_eq!(output.dropped, 5_000_000 - 1000 + 3000 - 1000);
    assert!(!output.is_complete());
    // The limit is the last byte kept, not the first one dropped.
    let output = session.exec("head -c 1000 /dev/zero", bounds).await.unwrap();
    assert_eq!((output.stdout.len(), output.dropped), (1000, 0));
    assert!(output.is_complete());
}

#[tokio::test]
async fn a_background_child_does_not_hold_the_command_up() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let begun = Instant::now();
    let output = session.exec("echo first; sleep 600 & exit 5", limits()).await.unwrap();
    assert_eq!((output.exit, &output.stdout[..]), (5, &b"first\n"[..]));
    assert!(output.held_open && !output.is_complete());
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    until("the channel is given back", || pair.server.seen.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_command_over_its_time_is_ambiguous_and_gives_its_channel_back() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let short = ExecLimits { timeout: Duration::from_millis(200), ..limits() };
    let error = session.exec("sleep 600", short).await.unwrap_err();
    assert!(matches!(error, SshError::Deadline { .. }) && error.may_have_run(), "{error}");
    assert_eq!(Fault::from(error).class, FaultClass::Ambiguous);
    until("the channel is given back", || pair.server.seen.open.load(SeqCst) == 0).await;
    assert_eq!(session.exec("echo on", limits()).await.unwrap().stdout, b"on\n");
}

#[tokio::test]
async fn a_dropped_wait_gives_its_channel_back() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.exec("sleep 600", limits()).await }
    });
    until("the command runs", || pair.server.commands().len() == 1).await;
    waiting.abort();
    until("the channel is given back", || pair.server.seen.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_killed_command_is_ambiguous() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let error = session.exec("kill -9 $$", limits()).await.unwrap_err();
    assert!(matches!(&error, SshError::Lost { how, .. } if how.contains("KILL")), "{error}");
}

#[tokio::test]
async fn a_connection_cut_mid_command_is_ambiguous() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.exec("echo begun; sleep 600", limits()).await }
    });
    until("the command runs", || pair.server.commands().len() == 1).await;
    pair.server.cut();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, SshError::Lost { .. }) && error.may_have_run(), "{error}");
    until("the session knows", || session.is_closed()).await;
    let error = session.exec("echo again", limits()).await.unwrap_err();
    assert!(matches!(error, SshError::NotSent { .. }) && !error.may_have_run(), "{error}");
    let fault = Fault::from(error);
    assert_eq!(fault.class, FaultClass::Transient);
    assert_eq!(pair.server.commands().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_transient_for_who_only_reads() {
    let lost = || SshError::Lost { address: "pve1".to_owned(), how: "cut".to_owned() };
    assert_eq!(Fault::from(lost()).class, FaultClass::Ambiguous);
    assert_eq!(lost().into_read_fault().class, FaultClass::Transient);
}

#[tokio::test]
async fn what_the_server_refuses_has_not_run() {
    let pair = pair_with(Spec { max_sessions: 1, ..Spec::default() }).await;
    let session = Session::connect(&pair.target).await.unwrap();
    let error = session.exec("refuse-me", limits()).await.unwrap_err();
    assert!(matches!(error, SshError::Refused { .. }) && !error.may_have_run(), "{error}");
    until("the channel is given back", || pair.server.seen.open.load(SeqCst) == 0).await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.exec("sleep 600", limits()).await }
    });
    until("the command runs", || pair.server.commands().len() == 1).await;
    let error = session.exec("echo too many", limits()).await.unwrap_err();
    assert!(matches!(&error, SshError::NotSent { reason, .. } if reason.contains("channel")), "{error}");
    waiting.abort();
    assert_eq!(pair.server.commands(), ["sleep 600"]);
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = pair().await;
    let mut target = pair.target.clone();
    target.port = silent.local_addr().unwrap().port();
    target.connect_timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let error = Session::connect(&target).await.unwrap_err();
    assert!(matches!(error, SshError::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() >= target.connect_timeout && begun.elapsed() < PATIENCE);
    assert_eq!(Fault::from(error).class, FaultClass::Transient);
}

#[tokio::test]
async fn a_silent_server_with_a_known_key_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = pair().await;
    let mut target = pair.target.clone();
    target.port = silent.local_addr().unwrap().port();
    target.connect_timeout = Duration::from_millis(300);
    std::fs::write(pair.desk.known_hosts(), crate::line(&format!("[127.0.0.1]:{}", target.port), &pair.host_key))
        .unwrap();
    let error = Session::connect(&target).await.unwrap_err();
    assert!(matches!(error, SshError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_freezes_is_found_by_keepalives() {
    let pair = pair().await;
    let relay = Relay::start(pair.server.address).await;
    let mut target = pair.target.clone();
    target.port = relay.port;
    target.keepalive_interval = Duration::from_millis(100);
    let session = Session::connect(&target).await.unwrap();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.exec("sleep 1.5; echo still here", limits()).await }
    });
    // As long as the server answers, a command may be quiet for longer than unanswered keepalives are borne.
    assert_eq!(waiting.await.unwrap().unwrap().stdout, b"still here\n");
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.exec("sleep 600", limits()).await }
    });
    until("the command runs", || pair.server.commands().len() == 2).await;
    relay.freeze();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, SshError::Lost { .. }), "{error}");
    until("the session knows", || session.is_closed()).await;
}

/// Stands between client and server, and lets nothing pass any more once it is frozen, without closing anything.
struct Relay {
    port: u16,
    frozen: tokio::sync::watch::Sender<bool>,
}

impl Relay {
    async fn start(to: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (frozen, freezes) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut freezes = freezes.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let frozen = async { freezes.wait_for(|frozen| *frozen).await.is_ok() };
                    let is_frozen = tokio::select! {
                        // Either side may hang up.
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => false,
                        is_frozen = frozen => is_frozen,
                    };
                    if is_frozen {
                        // Both sockets stay open.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { port, frozen }
    }

    fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_name_are_transient() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let pair = pair().await;
    let mut target = pair.target.clone();
    target.port = port;
    let error = Session::connect(&target).await.unwrap_err();
    assert!(matches!(&error, SshError::Connect { reason, .. } if reason.contains("refused")), "{error}");
    assert_eq!(Fault::from(error).class, FaultClass::Transient);
    target.host = "no such name".to_owned();
    let error = Session::connect(&target).await.unwrap_err();
    assert!(matches!(&error, SshError::Connect { reason, .. } if reason.contains("not resolved")), "{error}");
    assert!(!pair.desk.own().exists());
}

#[tokio::test]
async fn a_session_that_is_dropped_or_closed_leaves_the_server_nothing() {
    let pair = pair().await;
    let session = Session::connect(&pair.target).await.unwrap();
    session.exec("true", limits()).await.unwrap();
    let other = session.clone();
    drop(session);
    assert_eq!(other.exec("echo on", limits()).await.unwrap().stdout, b"on\n");
    drop(other);
    until("the connection ends", || pair.server.seen.live.load(SeqCst) == 0).await;
    let session = Session::connect(&pair.target).await.unwrap();
    session.close().await;
    until("the connection ends", || pair.server.seen.live.load(SeqCst) == 0).await;
    until("the session knows", || session.is_closed()).await;
}
