use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result};
use netpol_common::net::proto;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol as IpProtocol, Type};
use tokio::{net::UdpSocket, runtime::Handle, task::JoinHandle};

use super::{
    Protocol,
    packet::{DESTINATION_OPTIONS, ROUTING},
};
use crate::bed::Netns;

/// Watches everything that arrives in a namespace, so that "nothing reached the server" can be said of single packets:
/// a server alone would not notice a SYN whose answer is lost.
#[derive(Debug)]
pub(crate) struct Witness {
    seen: Seen,
    task: JoinHandle<()>,
}

/// When, protocol and source (the port of an ICMP echo is its identifier) of the latest packets.
type Seen = Arc<Mutex<VecDeque<(Instant, Protocol, SocketAddr)>>>;

const KEPT: usize = 8192;
/// `ETH_P_ALL` in network byte order, as `socket(2)` wants it.
const EVERY_PACKET: i32 = (libc::ETH_P_ALL as u16).to_be() as i32;
/// Bytes.
const ROOM: usize = 8 << 20;
/// Enough for the headers that are looked at.
const SNAPSHOT: usize = 128;

impl Witness {
    /// Packets that arrive from now on are seen.
    pub(crate) fn start(runtime: &Handle, netns: &Netns) -> Result<Self> {
        let socket = netns
            .socket(Domain::PACKET, Type::DGRAM, Some(IpProtocol::from(EVERY_PACKET)))
            .with_context(|| format!("packet socket in {}", netns.name()))?;
        // A packet that finds no room is one that was not seen, and each takes as much as the stream that it is part of.
        set_socket_recv_buffer_size_force(&socket, ROOM).context("SO_RCVBUFFORCE")?;
        let seen = Seen::default();
        let _guard = runtime.enter();
        // What tokio has for datagrams serves for those of a packet socket too.
        let socket = UdpSocket::from_std(socket.into())?;
        let task = runtime.spawn(watch(socket, seen.clone()));
        Ok(Self { seen, task })
    }

    /// Whether a packet from this source arrived since.
    pub(crate) fn saw(&self, protocol: Protocol, source: SocketAddr, since: Instant) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().any(|(at, p, s)| (*p, *s) == (protocol, source) && *at >= since)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(socket: UdpSocket, seen: Seen) {
    let mut packet = [0; SNAPSHOT];
    loop {
        match socket.recv(&mut packet).await {
            Ok(bytes) => {
                if let Some((protocol, source)) = parse(&packet[..bytes]) {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen.len() == KEPT {
                        seen.pop_front();
                    }
                    seen.push_back((Instant::now(), protocol, source));
                }
            }
            // The interface went down: it says so once.
            Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(e) => return tracing::debug!("witness: {e}"),
        }
    }
}

/// What a packet is told by, if it is one that a probe sends. Of fragments only the first one has the ports.
fn parse(packet: &[u8]) -> Option<(Protocol, SocketAddr)> {
    let (source, proto, options, rest) = match packet.first()? >> 4 {
        4 => {
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let length = usize::from(packet[0] & 15) * 4;
            (IpAddr::from(source), *packet.get(9)?, length > 20, packet.get(length..)?)
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let (proto, options, rest) = after_extensions(*packet.get(6)?, packet.get(40..)?)?;
            (IpAddr::from(source), proto, options, rest)
        }
        _ => return None,
    };
    let number = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    let (protocol, port) = match proto {
        proto::TCP => (Protocol::Tcp, number(0)?),
        proto::UDP if options => (Protocol::UdpOptions, number(0)?),
        proto::UDP => (Protocol::Udp, number(0)?),
        proto::ICMP | proto::ICMPV6 => (Protocol::Icmp, number(4)?),
        proto::SCTP => (Protocol::Sctp, number(0)?),
        UDP_LITE => (Protocol::UdpLite, number(0)?),
        GRE => (Protocol::Gre, number(6)?),
        ESP => (Protocol::Esp, number(2)?),
        _ => return None,
    };
    Some((protocol, SocketAddr::new(source, port)))
}

/// The protocol behind the extension headers, whether there was another one than a fragment header, and what follows.
fn after_extensions(mut next: u8, mut rest: &[u8]) -> Option<(u8, bool, &[u8])> {
    let mut options = false;
    loop {
        match next {
            FRAGMENT => (next, rest) = (*rest.first()?, rest.get(8..)?),
            DESTINATION_OPTIONS | ROUTING => {
                options = true;
                (next, rest) = (*rest.first()?, rest.get(8 + 8 * usize::from(*rest.get(1)?)..)?);
            }
            _ => return Some((next, options, rest)),
        }
    }
}

/// Next-header number of the IPv6 fragment header (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;
const GRE: u8 = 47;
const ESP: u8 = 50;
const UDP_LITE: u8 = 136;
