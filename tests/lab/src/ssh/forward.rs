//! `direct-tcpip`: a connection that this host makes for its client, names resolved here.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use russh::Channel;
use russh::server::Msg;
use tokio::net::TcpStream;

use super::Names;

/// Loopback answers at once; more than this means that nobody accepts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to where a client wants to go; a name that is not in the table is unknown, whatever the real resolver says.
pub(super) async fn connect(names: &Names, host: &str, port: u32) -> io::Result<TcpStream> {
    let (address, mapped) =
        names.resolve(host).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "name or service not known"))?;
    let asked = u16::try_from(port).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such port"))?;
    let to = SocketAddr::new(address, mapped.unwrap_or(asked));
    let socket = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(to)).await??;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Carries bytes both ways until both sides are done.
pub(super) async fn carry(channel: Channel<Msg>, mut socket: TcpStream) {
    let mut stream = channel.into_stream();
    // Either end may hang up at any time: that ends the forward and is no error of ours.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut socket).await;
}
