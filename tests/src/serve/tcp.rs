use std::net::SocketAddr;

use anyhow::{Result, bail};
use socket2::Socket;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Arrivals, MAX_MESSAGE, Reply, Transport, nonce};

pub(super) fn listener(socket: Socket) -> Result<TcpListener> {
    Ok(TcpListener::from_std(socket.into())?)
}

pub(super) async fn serve(listener: TcpListener, pod: String, arrivals: Arrivals) {
    // Connections end with their server.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error here is the connection's (it was reset in the queue); the next one is as welcome.
                let Ok((stream, peer)) = accepted else { continue };
                arrivals.note(Transport::Tcp, peer);
                let pod = pod.clone();
                connections.spawn(async move {
                    if let Err(e) = converse(stream, peer, &pod).await {
                        tracing::debug!("{pod}: connection of {peer}: {e:#}");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, pod: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut request = Vec::new();
    loop {
        request.clear();
        let bytes = (&mut stream).take(MAX_MESSAGE as u64).read_until(b'\n', &mut request).await?;
        if bytes == 0 {
            return Ok(());
        }
        if !request.ends_with(b"\n") {
            bail!("{bytes} bytes without a newline");
        }
        let reply = Reply { pod: pod.to_owned(), peer, nonce: nonce(&request), bytes };
        if request.starts_with(b"GET ") {
            return answer_http(stream, &reply).await;
        }
        stream.write_all(&reply.to_line(bytes)?).await?;
    }
}

async fn answer_http(mut stream: BufReader<TcpStream>, reply: &Reply) -> Result<()> {
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 && line.trim() != "" {
        line.clear();
    }
    let body = reply.to_line(0)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    Ok(stream.shutdown().await?)
}
