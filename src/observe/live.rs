//! The control socket of a live run: how `proxmaint status` asks a run that is at work.
//!
//! A Unix socket `control.sock` in the state directory (0600). A client writes one line of JSON and gets one line back:
//!
//! | request | answer |
//! |---|---|
//! | `{"v":1,"ask":"status"}`, with `"detail":"brief"` or `"full"` and `"host":"NAME"` as wanted | `{"v":1,"status":{..}}`, a [`RunView`] |
//! | `{"v":1,"ask":"pause","hosts":["NAME"]}`, or `continue`, or `stop`; all that are not over where none is named | `{"v":1,"orders":[{"host":..,"done":true,"what":"in words"}]}`, once it is durable |
//! | anything else | `{"v":1,"error":"why"}` |
//!
//! The path of a Unix socket is limited to 107 bytes; a longer one is reached through the directory's own descriptor.
//! Clients are bounded in number, size and time: a silent or greedy one costs the run nothing.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::order::OrderReply;
use super::view::{Ask, Detail, RunView};
use crate::ids::HostId;
use crate::machine::order::Order;

/// The socket's name within the state directory.
pub const SOCKET: &str = "control.sock";
/// The version of the protocol.
const VERSION: u32 = 1;
/// The longest path that fits `sun_path` (108 bytes with its terminating zero).
const MAX_PATH: usize = 107;
/// Clients at a time; others wait in the kernel's queue.
const MAX_CLIENTS: usize = 16;
/// The longest request: three short fields and a host's name.
const MAX_REQUEST: u64 = 4096;
/// The longest answer that a client takes: 1,000 hosts with 20 guests each and all their steps are about 20 MB.
const MAX_ANSWER: u64 = 256 << 20;
/// How long a client may take to ask, or to take its answer: it is on the same machine.
const CLIENT_TIME: Duration = Duration::from_secs(5);
/// How long a run may take to answer: it answers between two steps of its loop, well within a second even when busy.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What can go wrong with the socket.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The socket could not be made.
    #[error("making the control socket {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody listens: no run is at work.
    #[error("asking the run at {path}: nobody listens there")]
    NobodyThere {
        /// The socket.
        path: PathBuf,
    },
    /// The question or its answer got lost.
    #[error("asking the run at {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("asking the run at {path}: no answer within {} s", ANSWER_TIME.as_secs())]
    TimedOut {
        /// The socket.
        path: PathBuf,
    },
    /// The run answered that it could not answer.
    #[error("asking the run: {0}")]
    Refused(String),
    /// The answer can't be understood.
    #[error("reading the run's answer")]
    Answer(#[source] serde_json::Error),
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    v: u32,
    ask: Question,
    #[serde(default)]
    detail: Detail,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<HostId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<HostId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    Status,
    Pause,
    Continue,
    Stop,
}

impl From<Order> for Question {
    fn from(order: Order) -> Self {
        match order {
            Order::Pause => Self::Pause,
            Order::Continue => Self::Continue,
            Order::Stop => Self::Stop,
        }
    }
}

/// What a live run answers.
pub trait Answers: Clone + Send + 'static {
    /// Says how the run stands.
    fn status(&self, ask: Ask) -> impl Future<Output = RunView> + Send;

    /// Takes an order for hosts, for all that are not over where none is named; answers when it is durable.
    ///
    /// # Errors
    /// Why it can't be taken.
    fn order(&self, order: Order, hosts: Vec<HostId>) -> impl Future<Output = Result<Vec<OrderReply>, String>> + Send;
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Box<RunView>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    orders: Option<Vec<OrderReply>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Answer {
    fn new() -> Self {
        Self { v: VERSION, status: None, orders: None, error: None }
    }
}

/// The socket of a live run. Dropping it takes it away.
#[derive(Debug)]
pub struct Live {
    listener: UnixListener,
    path: PathBuf,
}

impl Live {
    /// Makes the socket in the state directory, in place of one that a run left behind. The caller holds the lock of that
    /// directory, so no other run is at work there.
    ///
    /// # Errors
    /// Where the socket can't be made.
    pub fn bind(state_dir: &Path) -> Result<Self, LiveError> {
        let path = state_dir.join(SOCKET);
        match bind(state_dir) {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(LiveError::Bind { path, source }),
        }
    }

    /// Answers until `stop`. `run` is asked for each answer.
    pub async fn serve(self, run: impl Answers, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        let mut clients = JoinSet::new();
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            while clients.try_join_next().is_some() {}
            match stream {
                Ok((stream, _)) => {
                    let run = run.clone();
                    clients.spawn(async move {
                        let _place = place;
                        // A client that goes away early is its own affair.
                        let _served = timeout(CLIENT_TIME + ANSWER_TIME, answer(stream, run)).await;
                    });
                }
                // Out of descriptors, or the like: a moment later there may be some again.
                Err(error) => {
                    tracing::warn!(%error, "accepting a client of the control socket");
                    let _stopped = timeout(ACCEPT_PAUSE, stop.cancelled()).await;
                }
            }
        }
        clients.shutdown().await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "removing the control socket");
        }
    }
}

/// Binds under a temporary name, restricts it, and renames it into place: there is no moment in which others could reach
/// it, and a socket that was left behind is replaced.
fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    let dir = File::open(state_dir)?;
    let temporary = format!("{SOCKET}.{}", std::process::id());
    let path = state_dir.join(&temporary);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(short(&path, &dir, &temporary))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    fs::rename(&path, state_dir.join(SOCKET))?;
    Ok(listener)
}

/// Returns a path of a socket that fits: as it is, else through the open directory.
fn short(path: &Path, dir: &File, name: &str) -> PathBuf {
    if path.as_os_str().as_bytes().len() <= MAX_PATH {
        path.to_owned()
    } else {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
    }
}

async fn answer(stream: UnixStream, run: impl Answers) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let read = timeout(CLIENT_TIME, BufReader::new(reader.take(MAX_REQUEST)).read_line(&mut line)).await;
    let refused = |why: String| Answer { error: Some(why), ..Answer::new() };
    let answer = match read {
        Err(_) => refused(format!("no request within {} s", CLIENT_TIME.as_secs())),
        Ok(Err(error)) => refused(format!("reading the request: {error}")),
        Ok(Ok(_)) if !line.ends_with('\n') => refused(format!("a request is one line of at most {MAX_REQUEST} bytes")),
        Ok(Ok(_)) => match serde_json::from_str::<Request>(&line) {
            Err(error) => refused(format!("reading the request: {error}")),
            Ok(request) if request.v != VERSION => {
                refused(format!("version {} of the protocol is not known here, only {VERSION}", request.v))
            }
            Ok(Request { ask, detail, host, hosts, .. }) => {
                let order = match ask {
                    Question::Status => None,
                    Question::Pause => Some(Order::Pause),
                    Question::Continue => Some(Order::Continue),
                    Question::Stop => Some(Order::Stop),
                };
                match order {
                    None => {
                        let view = run.status(Ask { detail, host }).await;
                        Answer { status: Some(Box::new(view)), ..Answer::new() }
                    }
                    Some(order) => match run.order(order, hosts).await {
                        Ok(replies) => Answer { orders: Some(replies), ..Answer::new() },
                        Err(why) => refused(why),
                    },
                }
            }
        },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.shutdown().await
}

/// Asks the run that works in a state directory how it stands.
///
/// # Errors
/// [`LiveError::NobodyThere`] where no run is at work (a socket left behind included); others where the question failed.
pub async fn ask_status(state_dir: &Path, ask: &Ask) -> Result<RunView, LiveError> {
    let request =
        Request { v: VERSION, ask: Question::Status, detail: ask.detail, host: ask.host.clone(), hosts: Vec::new() };
    let answer = answer_to(state_dir, &request).await?;
    match (answer.status, answer.error) {
        (Some(view), _) => Ok(*view),
        (None, error) => Err(LiveError::Refused(error.unwrap_or_else(|| "the answer was empty".to_owned()))),
    }
}

/// Says something of hosts to the run that works in a state directory, of all that are not over where none is named.
///
/// # Errors
/// [`LiveError::NobodyThere`] where no run is at work; [`LiveError::Refused`] where it does not take that.
pub async fn ask_order(state_dir: &Path, order: Order, hosts: &[HostId]) -> Result<Vec<OrderReply>, LiveError> {
    let request = Request { v: VERSION, ask: order.into(), detail: Detail::Brief, host: None, hosts: hosts.to_vec() };
    let answer = answer_to(state_dir, &request).await?;
    match (answer.orders, answer.error) {
        (Some(replies), _) => Ok(replies),
        (None, error) => Err(LiveError::Refused(error.unwrap_or_else(|| "the answer was empty".to_owned()))),
    }
}

async fn answer_to(state_dir: &Path, request: &Request) -> Result<Answer, LiveError> {
    let path = state_dir.join(SOCKET);
    match timeout(ANSWER_TIME, exchange(state_dir, request)).await {
        Err(_) => Err(LiveError::TimedOut { path }),
        Ok(Err(source)) => Err(match source.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => LiveError::NobodyThere { path },
            _ => LiveError::Io { path, source },
        }),
        // It ended between the question and the answer.
        Ok(Ok(text)) if text.is_empty() => Err(LiveError::NobodyThere { path }),
        Ok(Ok(text)) => serde_json::from_slice(&text).map_err(LiveError::Answer),
    }
}

async fn exchange(state_dir: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let dir = File::open(state_dir)?;
    let mut stream = UnixStream::connect(short(&state_dir.join(SOCKET), &dir, SOCKET)).await?;
    let mut line = serde_json::to_vec(request)?;
    if line.len() as u64 >= MAX_REQUEST {
        let why = format!("so many hosts don't fit into a question of {MAX_REQUEST} bytes: say it of fewer, or of all");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut text = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;
    use crate::observe::project::RunHeader;
    use crate::observe::view::Standing;
    use crate::time::Timestamp;

    fn view(ask: &Ask) -> RunView {
        let run = ask.host.as_ref().map_or("20261122-222842-abcd", HostId::as_str);
        let header = RunHeader {
            run: RunId::new(run),
            opened_at: Timestamp(1),
            parallel_hosts: 1,
            standing: Standing::Running { pid: 7 },
            rollout: None,
            kept_back: Default::default(),
        };
        RunView::build(&header, [], |_| None, Timestamp(2), ask)
    }

    #[tokio::test]
    async fn a_run_that_ends_between_question_and_answer_is_not_there_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let gone = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            // The question is taken, and then the process ends.
            let mut question = [0; 256];
            let _taken = tokio::io::AsyncReadExt::read(&mut client, &mut question).await.unwrap();
        });
        assert!(matches!(ask_status(dir.path(), &Ask::default()).await, Err(LiveError::NobodyThere { .. })));
        gone.await.unwrap();
    }

    /// Answers a question for its host's view, and an order with its hosts.
    #[derive(Clone)]
    struct Echo;

    impl Answers for Echo {
        async fn status(&self, ask: Ask) -> RunView {
            view(&ask)
        }

        async fn order(&self, order: Order, hosts: Vec<HostId>) -> Result<Vec<OrderReply>, String> {
            match hosts.is_empty() {
                true => Err("nobody was named".to_owned()),
                false => Ok(hosts
                    .into_iter()
                    .map(|host| OrderReply { host, done: true, what: format!("{order:?}") })
                    .collect()),
            }
        }
    }

    #[tokio::test]
    async fn an_order_is_answered_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let served = serve(dir.path());
        let reply = |what: &str| OrderReply { host: HostId::new("pve1"), done: true, what: what.to_owned() };
        for (order, word) in [(Order::Pause, "Pause"), (Order::Continue, "Continue"), (Order::Stop, "Stop")] {
            let replies = ask_order(dir.path(), order, &[HostId::new("pve1")]).await.unwrap();
            assert_eq!(replies, [reply(word)]);
        }
        let refused = ask_order(dir.path(), Order::Stop, &[]).await.unwrap_err();
        assert_eq!(refused.to_string(), "asking the run: nobody was named");
        let many: Vec<HostId> = (0..1000).map(|n| HostId::new(format!("pve{n}"))).collect();
        assert!(matches!(ask_order(dir.path(), Order::Stop, &many).await, Err(LiveError::Io { .. })));
        served.end().await;
        assert!(matches!(ask_order(dir.path(), Order::Stop, &[]).await, Err(LiveError::NobodyThere { .. })));
    }

    struct Served {
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn serve(dir: &Path) -> Served {
        let live = Live::bind(dir).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(live.serve(Echo, stop.clone()));
        Served { stop, task }
    }

    impl Served {
        async fn end(self) {
            self.stop.cancel();
            self.task.await.unwrap();
        }
    }

    async fn raw(dir: &Path, request: &[u8]) -> serde_json::Value {
        let mut stream = UnixStream::connect(dir.join(SOCKET)).await.unwrap();
        // The server may answer and close before it has read all of a request that is too long.
        let _sent = stream.write_all(request).await;
        let mut text = String::new();
        let _all = stream.read_to_string(&mut text).await;
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn a_run_answers_and_leaves_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let served = serve(dir.path());
        let mode = fs::metadata(dir.path().join(SOCKET)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(ask_status(dir.path(), &Ask::default()).await.unwrap(), view(&Ask::default()));
        let one = Ask { detail: Detail::Full, host: Some(HostId::new("pve1")) };
        assert_eq!(ask_status(dir.path(), &one).await.unwrap(), view(&one));
        served.end().await;
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(matches!(ask_status(dir.path(), &one).await, Err(LiveError::NobodyThere { .. })));
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_nobody_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        assert!(matches!(ask_status(dir.path(), &Ask::default()).await, Err(LiveError::NobodyThere { .. })));
        let served = serve(dir.path());
        ask_status(dir.path(), &Ask::default()).await.unwrap();
        served.end().await;
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_for_a_socket_works() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        let served = serve(&deep);
        ask_status(&deep, &Ask::default()).await.unwrap();
        served.end().await;
    }

    #[tokio::test]
    async fn what_is_no_request_gets_an_error_and_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let served = serve(dir.path());
        let error = |answer: serde_json::Value| answer["error"].as_str().unwrap().to_owned();
        assert!(error(raw(dir.path(), b"hello\n").await).starts_with("reading the request"));
        assert!(error(raw(dir.path(), b"{\"v\":2,\"ask\":\"status\"}\n").await).contains("version 2"));
        assert!(error(raw(dir.path(), b"{\"v\":1,\"ask\":\"reboot\"}\n").await).contains("reboot"));
        assert!(error(raw(dir.path(), &[b'x'; 4096]).await).contains("at most 4096 bytes"));
        ask_status(dir.path(), &Ask::default()).await.unwrap();
        served.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn silent_clients_lose_their_places_to_those_who_wait() {
        let dir = tempfile::tempdir().unwrap();
        let served = serve(dir.path());
        let mut silent = Vec::new();
        for _ in 0..MAX_CLIENTS {
            silent.push(UnixStream::connect(dir.path().join(SOCKET)).await.unwrap());
        }
        let answer = raw(dir.path(), b"{\"v\":1,\"ask\":\"status\"}\n").await;
        assert_eq!(answer["status"]["standing"]["pid"], 7);
        served.end().await;
    }
}
