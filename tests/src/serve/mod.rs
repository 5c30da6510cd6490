//! What answers in pods: small TCP and UDP servers that say who they are and whom they saw.
//!
//! The protocol, in both TCP and UDP: a request is one line, at least 16 characters (the nonce); the answer is one line
//! of JSON, [`Reply`], padded with spaces to the length of the request. A TCP connection takes any number of requests.
//! A TCP request that begins with `GET ` is answered as HTTP, so that people can use `curl`.

mod tcp;
mod udp;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use tokio::{runtime::Handle, task::JoinSet};

use crate::bed::Netns;

/// Longest request and answer.
pub const MAX_MESSAGE: usize = 65_000;
const BACKLOG: i32 = 1024;

/// A server's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Who answers: `namespace/name`.
    pub pod: String,
    /// Where the request came from.
    pub peer: SocketAddr,
    /// The first 16 characters of the request.
    pub nonce: String,
    /// Bytes of the request, its newline included.
    pub bytes: usize,
}

impl Reply {
    /// As it goes over the wire: `length` bytes, or as many as it takes.
    fn to_line(&self, length: usize) -> Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.resize(line.len().max(length.saturating_sub(1)), b' ');
        line.push(b'\n');
        Ok(line)
    }
}

/// TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// A port to serve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port {
    /// TCP or UDP.
    pub transport: Transport,
    /// Port number.
    pub number: u16,
}

/// The peers that reached a server: those that connected, and those that sent a datagram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<(Instant, Transport, SocketAddr)>>>);

impl Arrivals {
    /// Enough for every probe under way; a test asks right after it probed.
    const KEPT: usize = 8192;

    fn note(&self, transport: Transport, peer: SocketAddr) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= Self::KEPT {
            seen.drain(..Self::KEPT / 2);
        }
        seen.push((Instant::now(), transport, peer));
    }

    /// Whether this peer was seen since.
    pub(crate) fn saw(&self, transport: Transport, peer: SocketAddr, since: Instant) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().any(|(at, t, p)| (*t, *p) == (transport, peer) && *at >= since)
    }
}

/// Servers of one pod. Dropping them closes their ports and connections.
#[derive(Debug)]
pub(crate) struct Servers {
    tasks: JoinSet<()>,
    /// Who reached them.
    pub(crate) arrivals: Arrivals,
}

impl Servers {
    /// Listens on every one of `ports` at every one of `addresses` in the namespace.
    pub(crate) fn start(
        runtime: &Handle,
        netns: &Netns,
        pod: &str,
        addresses: &[IpAddr],
        ports: &[Port],
    ) -> Result<Self> {
        let arrivals = Arrivals::default();
        let mut tasks = JoinSet::new();
        let wanted: Vec<_> = ports.iter().flat_map(|p| addresses.iter().map(move |a| (*p, *a))).collect();
        let sockets = netns
            .enter(|| wanted.iter().map(|(port, addr)| listen(*port, *addr)).collect::<Result<Vec<_>>>());
        for ((port, _), socket) in wanted.iter().zip(sockets.with_context(|| format!("servers of {pod}"))?) {
            let (pod, arrivals) = (pod.to_owned(), arrivals.clone());
            // Registers the socket with the runtime's reactor, which has to be entered for it.
            let _guard = runtime.enter();
            match port.transport {
                Transport::Tcp => tasks.spawn_on(tcp::serve(tcp::listener(socket)?, pod, arrivals), runtime),
                Transport::Udp => tasks.spawn_on(udp::serve(udp::socket(socket)?, pod, arrivals), runtime),
            };
        }
        Ok(Self { tasks, arrivals })
    }

    /// Ends them; when it returns their sockets are closed.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn listen(port: Port, addr: IpAddr) -> Result<Socket> {
    let addr = SocketAddr::new(addr, port.number);
    let kind = match port.transport {
        Transport::Tcp => Type::STREAM,
        Transport::Udp => Type::DGRAM,
    };
    let at = || format!("{:?} {addr}", port.transport);
    let socket = Socket::new(Domain::for_address(addr), kind, None).with_context(at)?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if port.transport == Transport::Tcp {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&addr.into()).with_context(at)?;
    if port.transport == Transport::Tcp {
        socket.listen(BACKLOG).with_context(at)?;
    }
    Ok(socket)
}

/// Reads a request: its nonce.
fn nonce(request: &[u8]) -> String {
    String::from_utf8_lossy(request).trim_end().chars().take(16).collect()
}
