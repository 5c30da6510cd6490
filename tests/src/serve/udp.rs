use anyhow::Result;
use socket2::Socket;
use tokio::net::UdpSocket;

use super::{Arrivals, MAX_MESSAGE, Reply, Transport, nonce};

pub(super) fn socket(socket: Socket) -> Result<UdpSocket> {
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
