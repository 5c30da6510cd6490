use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use netpol_tests::bed::{Bed, Netns, Node};
use serde_json::Value;
use socket2::{Domain, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    task::AbortHandle,
};

/// Where an agent has its page unless told otherwise.
pub(crate) const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9472);
const PATIENCE: Duration = Duration::from_secs(20);

/// A port of this process that leads to the page of a node's agent, as a proxy does, until it is dropped.
pub(crate) struct Forward {
    pub(crate) port: u16,
    task: AbortHandle,
}

impl Forward {
    pub(crate) fn to(bed: &Bed, node: &Node) -> Result<Self> {
        let netns = Arc::new(Netns::open(&node.name, node.netns.path())?);
        let listener = bed.runtime().block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let task = bed.runtime().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, netns.clone()));
            }
        });
        Ok(Self { port, task: task.abort_handle() })
    }

    /// The page's address.
    pub(crate) fn home(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// An answer of the API.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /api/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("cut off: {answer:?}"))?;
        serde_json::from_str(body).with_context(|| head.to_owned())
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a proxy answers where the agent is away.
const AWAY: &[u8] =
    b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n<h1>502</h1>";

/// Either end may hang up at any time: then the other is hung up on too.
async fn carry(mut client: TcpStream, netns: Arc<Netns>) -> Result<()> {
    let socket = netns.socket(Domain::IPV4, Type::STREAM, None)?;
    let Ok(mut agent) = TcpSocket::from_std_stream(socket.into()).connect(PAGE).await else {
        // Who is cut off before the question was read may not get the answer.
        let mut question = [0; 4096];
        while client.read(&mut question).await? == question.len() {}
        return Ok(client.write_all(AWAY).await?);
    };
    copy_bidirectional(&mut client, &mut agent).await?;
    Ok(())
}
