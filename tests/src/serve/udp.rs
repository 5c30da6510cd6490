use anyhow::{Context, Result};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::Socket;
use tokio::net::UdpSocket;

use super::{Arrivals, MAX_MESSAGE, Reply, Transport, nonce};

/// Bytes. A few large datagrams at once fill what a socket has by default, and what finds no room there is lost in silence.
const ROOM: usize = 4 << 20;

pub(super) fn socket(socket: Socket) -> Result<UdpSocket> {
    set_socket_recv_buffer_size_force(&socket, ROOM).context("SO_RCVBUFFORCE")?;
    Ok(UdpSocket::from_std(socket.into())?)
}

pub(super) async fn serve(socket: UdpSocket, pod: String, arrivals: Arrivals) {
    let mut request = vec![0; MAX_MESSAGE];
    loop {
        // Errors are those of earlier answers (their client is gone); the socket stays good.
        let Ok((bytes, peer)) = socket.recv_from(&mut request).await else { continue };
        arrivals.note(Transport::Udp, peer);
        let reply = Reply { pod: pod.clone(), peer, nonce: nonce(&request[..bytes]), bytes };
        let sent = match reply.to_line(bytes) {
            Ok(line) => socket.send_to(&line, peer).await.map(drop).map_err(anyhow::Error::from),
            Err(e) => Err(e),
        };
        if let Err(e) = sent {
            tracing::debug!("{pod}: answer to {peer}: {e:#}");
        }
    }
}
