use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{Outcome, Protocol, broken, outcome_of, request};
use crate::{
    bed::Netns,
    serve::{MAX_MESSAGE, Reply},
};

/// A connection from a pod, node or outside host: one five-tuple, over any number of requests.
#[derive(Debug)]
pub struct Connection {
    source: SocketAddr,
    socket: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Under way or established; connecting ends with the first exchange.
    Tcp(BufReader<TcpStream>),
    /// The same, for one request over HTTP.
    Http(BufReader<TcpStream>),
    Udp(UdpSocket),
    /// A "ping socket": the kernel fills in the identifier and the checksum.
    Icmp(UdpSocket, u8),
}

const ECHO_HEADER: usize = 8;

impl Connection {
    /// Opens the socket and, for TCP, sends the SYN. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If there is no route, or the kernel refuses otherwise.
    pub fn prepare(from: &Netns, protocol: Protocol, to: SocketAddr) -> Result<Self> {
        let domain = Domain::for_address(to);
        let (kind, proto) = match protocol {
            Protocol::Tcp | Protocol::Http => (Type::STREAM, None),
            Protocol::Udp => (Type::DGRAM, None),
            Protocol::Icmp if to.is_ipv4() => (Type::DGRAM, Some(IpProtocol::ICMPV4)),
            Protocol::Icmp => (Type::DGRAM, Some(IpProtocol::ICMPV6)),
            _ => bail!("{} has no connections", protocol.name()),
        };
        let socket = from.socket(domain, kind, proto)?;
        if protocol != Protocol::Icmp {
            // A port that is chosen by `connect` can be that of another probe to another destination, and what arrives is told
            // by its source.
            socket.bind(&SocketAddr::new(unspecified(to), 0).into())?;
        }
        match socket.connect(&to.into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e.into()),
            _ => {}
        }
        let source = socket.local_addr()?.as_socket().context("a socket without an IP address")?;
        let socket = match protocol {
            Protocol::Tcp => Kind::Tcp(tcp(socket)?),
            Protocol::Http => Kind::Http(tcp(socket)?),
            Protocol::Udp => Kind::Udp(UdpSocket::from_std(socket.into())?),
            _ => Kind::Icmp(UdpSocket::from_std(socket.into())?, if to.is_ipv4() { ECHO_4 } else { ECHO_6 }),
        };
        Ok(Self { source, socket })
    }

    /// Address and port at this end; for ICMP the port is the identifier.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Sends a request of `size` bytes and waits for its answer. Answers to earlier requests, which may come late,
    /// are skipped.
    pub async fn exchange(&mut self, size: usize, patience: Duration) -> Outcome {
        let (nonce, line) = request(size);
        let exchange = async {
            match &mut self.socket {
                Kind::Tcp(stream) => over_tcp(stream, &nonce, &line).await.map(Outcome::Answered),
                Kind::Http(stream) => over_http(stream).await.map(Outcome::Status),
                Kind::Udp(socket) => over_udp(socket, &nonce, &line).await.map(Outcome::Answered),
                Kind::Icmp(socket, kind) => {
                    over_icmp(socket, *kind, &nonce, &line).await.map(Outcome::Answered)
                }
            }
        };
        match timeout(patience, exchange).await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_elapsed) => Outcome::Silent,
        }
    }
}

fn unspecified(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Echo request, ICMP and ICMPv6.
const ECHO_4: u8 = 8;
const ECHO_6: u8 = 128;

fn tcp(socket: Socket) -> Result<BufReader<TcpStream>> {
    socket.set_tcp_nodelay(true)?;
    Ok(BufReader::new(TcpStream::from_std(socket.into())?))
}

async fn connected(stream: &TcpStream) -> io::Result<()> {
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(()), Err)
}

async fn over_http(stream: &mut BufReader<TcpStream>) -> Result<u16, Outcome> {
    connected(stream.get_ref()).await.map_err(failed)?;
    let request = b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(request).await.map_err(failed)?;
    let mut line = String::new();
    if stream.read_line(&mut line).await.map_err(failed)? == 0 {
        return Err(Outcome::Refused("the server closed the connection".to_owned()));
    }
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| Outcome::Broken(format!("no status: {line:?}")))
}

async fn over_tcp(
    stream: &mut BufReader<TcpStream>,
    nonce: &str,
    line: &[u8],
) -> Result<Option<Reply>, Outcome> {
    connected(stream.get_ref()).await.map_err(failed)?;
    stream.get_mut().write_all(line).await.map_err(failed)?;
    let mut answer = Vec::new();
    loop {
        answer.clear();
        if stream.read_until(b'\n', &mut answer).await.map_err(failed)? == 0 {
            return Err(Outcome::Refused("the server closed the connection".to_owned()));
        }
        if let Some(reply) = read(&answer, nonce)? {
            return Ok(Some(reply));
        }
    }
}

async fn over_udp(socket: &UdpSocket, nonce: &str, line: &[u8]) -> Result<Option<Reply>, Outcome> {
    send(socket, line).await?;
    let mut answer = vec![0; MAX_MESSAGE];
    loop {
        let bytes = socket.recv(&mut answer).await.map_err(failed)?;
        if let Some(reply) = read(&answer[..bytes], nonce)? {
            return Ok(Some(reply));
        }
    }
}

async fn over_icmp(socket: &UdpSocket, kind: u8, nonce: &str, line: &[u8]) -> Result<Option<Reply>, Outcome> {
    let mut echo = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    echo.extend_from_slice(line);
    send(socket, &echo).await?;
    let mut answer = vec![0; MAX_MESSAGE];
    loop {
        let bytes = socket.recv(&mut answer).await.map_err(failed)?;
        // The kernel hands a ping socket nothing but replies to its own identifier.
        if answer[..bytes].get(ECHO_HEADER..).is_some_and(|payload| payload.starts_with(nonce.as_bytes())) {
            return Ok(None);
        }
    }
}

/// Sends a datagram. An error that an earlier datagram of the same socket left behind is not this one's.
async fn send(socket: &UdpSocket, datagram: &[u8]) -> Result<(), Outcome> {
    match socket.send(datagram).await {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            socket.send(datagram).await.map(drop).map_err(failed)
        }
        sent => sent.map(drop).map_err(failed),
    }
}

/// The reply, if it answers the request with this nonce.
fn read(answer: &[u8], nonce: &str) -> Result<Option<Reply>, Outcome> {
    let reply: Reply = broken(serde_json::from_slice(answer).with_context(|| {
        format!("an answer that is not ours: {}", String::from_utf8_lossy(&answer[..answer.len().min(80)]))
    }))?;
    Ok((reply.nonce == nonce).then_some(reply))
}

fn failed(error: io::Error) -> Outcome {
    outcome_of(&error.into())
}
