//! A small SSH server on the loopback interface that runs commands with the real `/bin/sh`, as sshd does: the exit status
//! is sent when the process ends, the channel is closed when nobody holds its output any more.

use std::collections::{BTreeMap, HashMap};
use std::net::{Shutdown, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{HashAlg, PrivateKey, PublicKey};
use russh::server::{Auth, Handle, Handler, Msg, Response, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type ChannelOpenHandle = russh::server::ChannelOpenHandle;

/// What a server is like.
#[derive(Default)]
pub struct Spec {
    /// Its host keys.
    pub host_keys: Vec<PrivateKey>,
    /// The keys that may log in.
    pub authorized: Vec<PublicKey>,
    /// The password that may log in.
    pub password: Option<String>,
    /// Whether the password is taken at a prompt only.
    pub prompts: bool,
    /// The names that it resolves as a jump host.
    pub names: HashMap<String, SocketAddr>,
    /// Sessions on a connection, 10 where it is 0, as with a stock sshd.
    pub max_sessions: usize,
    /// Failed tries to log in before it hangs up, 6 where it is 0, as with a stock sshd.
    pub max_tries: usize,
}

/// What a server has seen.
#[derive(Default)]
pub struct Seen {
    /// Commands that were started.
    pub commands: Mutex<Vec<String>>,
    /// Passwords that were shown to it.
    pub passwords: AtomicUsize,
    /// Connections taken.
    pub connections: AtomicUsize,
    /// Connections that are open at this moment.
    pub live: AtomicUsize,
    /// The algorithms of the user keys that logged in.
    pub key_algorithms: Mutex<Vec<String>>,
    /// The fingerprints of the user keys that were offered, each once.
    pub offered: Mutex<Vec<String>>,
    /// Names that it was asked to connect to.
    pub asked_names: Mutex<Vec<String>>,
    /// Connections that have not logged in yet, and the most of them at once.
    pub starting: AtomicUsize,
    pub most_starting: AtomicUsize,
    /// Sessions open on any connection at this moment.
    pub open: AtomicUsize,
    /// The most sessions that were open at once.
    pub most_open: AtomicUsize,
    /// Sessions that were refused for there being too many.
    pub refused: AtomicUsize,
}

struct State {
    spec: Spec,
    seen: Arc<Seen>,
    sockets: Mutex<Vec<std::net::TcpStream>>,
    groups: Mutex<Vec<Pid>>,
}

/// Listens at an address; one without a port gets a free one.
///
/// That is below those that the system gives to whoever connects or asks for any (32768 and more): a port that a server here gave
/// up is free still when another takes its place.
pub async fn listen(address: SocketAddr) -> TcpListener {
    const PORTS: std::ops::Range<u32> = 16_384..32_768;
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    if address.port() != 0 {
        return TcpListener::bind(address).await.expect("that port of the loopback interface");
    }
    // Runs of the tests beside each other begin at places of their own.
    let from = std::process::id().wrapping_mul(61);
    for _ in PORTS {
        let port = PORTS.start + from.wrapping_add(DRAWN.fetch_add(1, SeqCst)) % (PORTS.end - PORTS.start);
        match TcpListener::bind((address.ip(), u16::try_from(port).expect("a port"))).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            bound => return bound.expect("a port of the loopback interface"),
        }
    }
    panic!("no port of the loopback interface is free");
}

/// A running server; it ends, with all it started, when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port.
    pub async fn start(spec: Spec) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), spec).await
    }

    /// Starts a server at an address, to take another one's place.
    pub async fn start_at(address: SocketAddr, spec: Spec) -> Self {
        let listener = listen(address).await;
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Seen::default());
        let config = Arc::new(russh::server::Config {
            keys: spec.host_keys.clone(),
            auth_rejection_time: Duration::ZERO,
            max_auth_attempts: if spec.max_tries == 0 { 6 } else { spec.max_tries },
            ..Default::default()
        });
        let state = Arc::new(State { spec, seen: seen.clone(), sockets: Mutex::default(), groups: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, config, state.clone()));
        Self { address, seen, state, accepting: Some(accepting) }
    }

    /// Cuts all connections, as a router that drops them would; the commands go on.
    pub fn cut(&self) {
        for socket in self.state.sockets.lock().unwrap().drain(..) {
            // One that the client closed already is cut, too.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends the server and returns its address, which is free by then.
    pub async fn stop(mut self) -> SocketAddr {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // It ends as aborted, which is what was asked for.
            let _ = accepting.await;
        }
        self.address
    }

    /// Returns the commands started so far.
    pub fn commands(&self) -> Vec<String> {
        self.seen.commands.lock().unwrap().clone()
    }

    /// Returns the fingerprints of the user keys that were offered so far.
    pub fn offered(&self) -> Vec<String> {
        self.seen.offered.lock().unwrap().clone()
    }

    /// Returns how many connections were taken so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
        self.cut();
        for group in self.state.groups.lock().unwrap().drain(..) {
            // It is gone already where all its processes ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn accept(listener: TcpListener, config: Arc<russh::server::Config>, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.seen.connections.fetch_add(1, SeqCst);
        state.seen.live.fetch_add(1, SeqCst);
        let starting = state.seen.starting.fetch_add(1, SeqCst) + 1;
        state.seen.most_starting.fetch_max(starting, SeqCst);
        let stream = stream.into_std().expect("a socket of the system");
        state.sockets.lock().unwrap().push(stream.try_clone().expect("a second handle"));
        let stream = TcpStream::from_std(stream).expect("a socket of the runtime");
        stream.set_nodelay(true).expect("an option of TCP");
        let open = Arc::new(Open { seen: state.seen.clone(), sessions: Mutex::default() });
        let connection = Connection { state: state.clone(), open, starting: true };
        let config = config.clone();
        tokio::spawn(async move {
            if let Ok(session) = russh::server::run_stream(config, stream, connection).await {
                // A client that hangs up is no concern of the server's.
                let _ = session.await;
            }
        });
    }
}

struct Connection {
    state: Arc<State>,
    open: Arc<Open>,
    starting: bool,
}

/// The open sessions of a connection, each with what runs its command.
struct Open {
    seen: Arc<Seen>,
    sessions: Mutex<BTreeMap<ChannelId, Option<JoinHandle<()>>>>,
}

impl Open {
    /// Forgets a session, and returns what runs its command.
    fn end(&self, channel: ChannelId) -> Option<JoinHandle<()>> {
        let ended = self.sessions.lock().unwrap().remove(&channel)?;
        self.seen.open.fetch_sub(1, SeqCst);
        ended
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let channels: Vec<_> = self.open.sessions.lock().unwrap().keys().copied().collect();
        for task in channels.into_iter().filter_map(|channel| self.open.end(channel)) {
            task.abort();
        }
        self.state.seen.live.fetch_sub(1, SeqCst);
        self.started();
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _: &str, key: &PublicKey) -> Result<Auth, Self::Error> {
        Ok(self.judge_key(key))
    }

    async fn auth_publickey(&mut self, _: &str, key: &PublicKey) -> Result<Auth, Self::Error> {
        self.state.seen.key_algorithms.lock().unwrap().push(key.algorithm().to_string());
        Ok(self.judge_key(key))
    }

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, Self::Error> {
        self.state.seen.passwords.fetch_add(1, SeqCst);
        let spec = &self.state.spec;
        Ok(judge(!spec.prompts && spec.password.as_deref() == Some(password)))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        if !self.state.spec.prompts {
            return Ok(Auth::reject());
        }
        let Some(answers) = response else {
            let prompts = vec![("Password: ".into(), false)].into();
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        self.state.seen.passwords.fetch_add(1, SeqCst);
        let answers: Vec<_> = answers.map(|answer| String::from_utf8_lossy(&answer).into_owned()).collect();
        Ok(judge(answers.len() == 1 && self.state.spec.password.as_ref() == answers.first()))
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Self::Error> {
        self.started();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let max = if self.state.spec.max_sessions == 0 { 10 } else { self.state.spec.max_sessions };
        if self.open.sessions.lock().unwrap().len() >= max {
            self.state.seen.refused.fetch_add(1, SeqCst);
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        self.open.sessions.lock().unwrap().insert(channel.id(), None);
        let open = self.state.seen.open.fetch_add(1, SeqCst) + 1;
        self.state.seen.most_open.fetch_max(open, SeqCst);
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        if let Some(task) = self.open.end(channel) {
            task.abort();
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let command = String::from_utf8_lossy(data).into_owned();
        if command == "refuse-me" {
            return session.channel_failure(id);
        }
        self.state.seen.commands.lock().unwrap().push(command.clone());
        session.channel_success(id)?;
        let (handle, state, open) = (session.handle(), self.state.clone(), self.open.clone());
        let mut sessions = self.open.sessions.lock().unwrap();
        let task = tokio::spawn(async move {
            run(command, &handle, id, state).await;
            // Before the client hears of it: its next session must not find this one still counted.
            open.end(id);
            let _ = handle.eof(id).await;
            let _ = handle.close(id).await;
        });
        sessions.insert(id, Some(task));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        _port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.state.seen.asked_names.lock().unwrap().push(host.to_owned());
        let Some(address) = self.state.spec.names.get(host).copied() else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        reply.accept().await;
        tokio::spawn(async move {
            if let Ok(mut onward) = TcpStream::connect(address).await {
                let mut stream = channel.into_stream();
                // Either side may hang up at any time.
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            }
        });
        Ok(())
    }
}

impl Connection {
    fn started(&mut self) {
        if std::mem::take(&mut self.starting) {
            self.state.seen.starting.fetch_sub(1, SeqCst);
        }
    }

    fn judge_key(&self, key: &PublicKey) -> Auth {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let mut offered = self.state.seen.offered.lock().unwrap();
        if !offered.contains(&fingerprint) {
            offered.push(fingerprint);
        }
        judge(self.state.spec.authorized.iter().any(|known| known.key_data() == key.key_data()))
    }
}

fn judge(accepted: bool) -> Auth {
    if accepted { Auth::Accept } else { Auth::reject() }
}

/// Runs a command as sshd does. Errors of sending mean that the client is gone, which ends the copying, not the command.
async fn run(command: String, handle: &Handle, id: ChannelId, state: Arc<State>) {
    let mut child = tokio::process::Command::new("/bin/sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a shell");
    if let Some(group) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
        state.groups.lock().unwrap().push(group);
    }
    let stdout = copy(child.stdout.take().expect("a pipe"), handle.clone(), id, None);
    let stderr = copy(child.stderr.take().expect("a pipe"), handle.clone(), id, Some(1));
    let exit = async {
        let status = child.wait().await.expect("a child of ours");
        let _ = match status.code() {
            Some(code) => handle.exit_status_request(id, code as u32).await,
            None => handle.exit_signal_request(id, russh::Sig::KILL, false, String::new(), String::new()).await,
        };
    };
    tokio::join!(stdout, stderr, exit);
}

async fn copy(mut from: impl AsyncRead + Unpin, handle: Handle, id: ChannelId, ext: Option<u32>) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let data = buffer[..read].to_vec();
        let sent = match ext {
            None => handle.data(id, data).await.is_ok(),
            Some(ext) => handle.extended_data(id, ext, data).await.is_ok(),
        };
        if !sent {
            return;
        }
    }
}
