//! The wire between a client's socket and the SSH server, with a gate in it: open, frozen, or cut.
//!
//! A frozen wire stays connected but carries nothing, as when a host hangs or a route is lost; a cut one is closed on
//! the client without any word of SSH, as when a host is switched off in the middle of a sentence.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Bytes that may wait between socket and server in each direction.
const WIRE_BYTES: usize = 64 * 1024;

/// Says what the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It carries everything.
    Open,
    /// It stays connected and carries nothing.
    Frozen,
    /// It is closed.
    Cut,
}

/// Puts a gate between a socket and the returned end, which is the server's; ends when either side does or when it is cut.
pub(crate) fn wire(socket: TcpStream, gate: watch::Receiver<Gate>) -> (DuplexStream, impl Future<Output = ()> + Send) {
    let (near, far) = tokio::io::duplex(WIRE_BYTES);
    (far, pump(socket, near, gate))
}

async fn pump(socket: TcpStream, near: DuplexStream, gate: watch::Receiver<Gate>) {
    let (socket_read, socket_write) = socket.into_split();
    let (near_read, near_write) = tokio::io::split(near);
    let both = async {
        tokio::join!(carry(socket_read, near_write, gate.clone()), carry(near_read, socket_write, gate.clone()));
    };
    let mut cut = gate.clone();
    tokio::select! {
        () = both => {}
        // A closed sender means that the server is gone: the wire goes with it.
        _ = cut.wait_for(|gate| *gate == Gate::Cut) => {}
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut gate: watch::Receiver<Gate>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || gate.wait_for(|gate| *gate == Gate::Open).await.is_err() {
            break;
        }
        if to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    // The other side may be gone already; then there is nobody left to tell.
    let _ = to.shutdown().await;
}
