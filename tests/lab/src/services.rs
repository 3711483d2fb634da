//! What guests do for others, on real sockets: a guest with a loopback address of its own really listens on the ports that the
//! world says, and its web server really answers. When the world says that nobody listens any more, nobody does.
//!
//! Which ports are free is not known beforehand: the system chooses them, and they take the places of those that the world
//! was made with ([`Services::port`] tells which became which).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::live::Live;
use crate::ssh::hosts::own_address;
use crate::world::{MachineId, World};

/// How often it is looked whether somebody still listens.
const LOOK: Duration = Duration::from_millis(20);
/// How much of a request is read.
const MOST_ASKED: usize = 8 * 1024;

/// The services of a world's guests.
#[derive(Debug, Default)]
pub struct Services {
    ports: BTreeMap<(MachineId, u16), u16>,
    tasks: Vec<AbortHandle>,
}

impl Services {
    /// Opens the ports of all guests that have a loopback address of their own.
    ///
    /// # Errors
    /// A socket that can't be had.
    pub async fn start(live: &Live) -> io::Result<Self> {
        let wanted: Vec<(MachineId, SocketAddr, u16)> = live.with(|world, _| {
            let ids = world.machines().into_iter();
            let of = |id: MachineId| {
                let guest = world.guest(&id)?;
                let address = own_address(&guest.addresses)?;
                let ports = guest.machine.duties.ports();
                Some(ports.into_iter().map(move |port| (id.clone(), SocketAddr::new(address, 0), port)))
            };
            ids.filter_map(of).flatten().collect()
        });
        let mut services = Self::default();
        for (id, address, port) in wanted {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            live.with(|world, _| {
                if let Some(machine) = world.machine_mut(&id) {
                    machine.duties.rename_port(port, bound.port());
                }
            });
            services.ports.insert((id.clone(), port), bound.port());
            services.tasks.push(tokio::spawn(serve(live.clone(), id, bound, listener)).abort_handle());
        }
        Ok(services)
    }

    /// Returns the port that took the place of the one that a guest was made with.
    ///
    /// # Panics
    /// A guest that has no such port is a mistake of the test.
    pub fn port(&self, id: &MachineId, made_with: u16) -> u16 {
        let found = self.ports.get(&(id.clone(), made_with)).copied();
        found.unwrap_or_else(|| panic!("{id} does not listen on {made_with} on a real socket"))
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn is_open(world: &World, id: &MachineId, port: u16) -> bool {
    world.is_up(id) && world.machine(id).is_some_and(|machine| machine.duties.listening.contains(&port))
}

/// Listens as long as the world says so, for ever.
async fn serve(live: Live, id: MachineId, at: SocketAddr, first: TcpListener) {
    let mut listener = Some(first);
    loop {
        let open = live.with(|world, _| is_open(world, &id, at.port()));
        listener = match (open, listener) {
            (true, Some(listener)) => {
                if let Ok(Ok((stream, _))) = tokio::time::timeout(LOOK, listener.accept()).await {
                    let (live, id) = (live.clone(), id.clone());
                    // Its connection is its own business; it ends with the lab's runtime, or after its time.
                    tokio::spawn(tokio::time::timeout(Duration::from_secs(10), answer(live, id, at.port(), stream)));
                }
                Some(listener)
            }
            (true, None) => match TcpListener::bind(at).await {
                Ok(listener) => Some(listener),
                Err(_) => {
                    tokio::time::sleep(LOOK).await;
                    None
                }
            },
            (false, _) => {
                tokio::time::sleep(LOOK).await;
                None
            }
        };
    }
}

async fn answer(live: Live, id: MachineId, port: u16, mut stream: TcpStream) {
    let web = live.with(|world, _| {
        let web = world.machine(&id)?.duties.web.clone()?;
        (web.port == port).then_some(web)
    });
    let Some(web) = web else { return };
    let mut asked = Vec::new();
    let mut part = [0; 1024];
    while asked.len() < MOST_ASKED && !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(read) => asked.extend_from_slice(&part[..read]),
        }
    }
    let text = format!(
        "HTTP/1.1 {} Lab\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        web.status,
        web.page.len(),
        web.page
    );
    // Who does not wait for the answer does not get it.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}
