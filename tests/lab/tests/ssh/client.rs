//! A real SSH client, and a lab's stage to talk to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxmaint_lab::Lab;
use proxmaint_lab::world::{MachineId, World};
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{Channel, ChannelMsg};

/// A lab, and shorter ways to what the tests look at.
pub struct Site {
    pub lab: Lab,
}

impl std::ops::Deref for Site {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Site {
    pub async fn start(world: World) -> Self {
        Self { lab: Lab::start(world).await.unwrap() }
    }

    pub fn addr(&self, id: &MachineId) -> SocketAddr {
        self.ssh.server(id).unwrap().addr()
    }

    /// Logs in as root with the lab's key.
    pub async fn login(&self, id: &MachineId) -> Client {
        Client::login(self.addr(id), "root", self.ssh.client_key()).await.unwrap()
    }
}

pub struct Client {
    pub handle: Handle<Accept>,
}

/// Accepts and remembers the host key.
pub struct Accept(pub Arc<Mutex<Option<PublicKey>>>);

impl client::Handler for Accept {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKey) -> Result<bool, Self::Error> {
        *self.0.lock().unwrap() = Some(key.clone());
        Ok(true)
    }
}

/// How a command ended and what it printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<u32>,
    pub signal: Option<String>,
    pub out: String,
    pub err: String,
}

pub fn key(path: &Path) -> PrivateKey {
    russh::keys::load_secret_key(path, None).unwrap()
}

impl Client {
    pub async fn login(addr: SocketAddr, user: &str, key_path: &Path) -> Result<Self, russh::Error> {
        let handle = client::connect(config(), addr, Accept(Arc::default())).await?;
        Self::authenticate(handle, user, key_path).await
    }

    pub async fn authenticate(mut handle: Handle<Accept>, user: &str, key_path: &Path) -> Result<Self, russh::Error> {
        let key = PrivateKeyWithHashAlg::new(Arc::new(key(key_path)), None);
        match handle.authenticate_publickey(user, key).await?.success() {
            true => Ok(Self { handle }),
            false => Err(russh::Error::NotAuthenticated),
        }
    }

    pub async fn run(&self, command: &str) -> Ran {
        self.run_with(command, b"").await
    }

    pub async fn run_with(&self, command: &str, input: &[u8]) -> Ran {
        let channel = self.handle.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        if !input.is_empty() {
            channel.data(input).await.unwrap();
        }
        channel.eof().await.unwrap();
        collect(channel).await
    }
}

pub async fn collect(mut channel: Channel<Msg>) -> Ran {
    let mut ran = Ran::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => ran.out.push_str(&String::from_utf8_lossy(&data)),
            ChannelMsg::ExtendedData { data, .. } => ran.err.push_str(&String::from_utf8_lossy(&data)),
            ChannelMsg::ExitStatus { exit_status } => ran.code = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => ran.signal = Some(format!("{signal_name:?}")),
            _ => {}
        }
    }
    ran
}

pub fn config() -> Arc<client::Config> {
    Arc::new(client::Config { nodelay: true, ..client::Config::default() })
}

/// Waits until something is so, for 10 s at most.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}
