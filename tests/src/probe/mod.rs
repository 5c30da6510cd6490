//! Tries out connections from any namespace of a bed, and says what came of it.

mod connection;
mod matrix;
mod packet;
mod witness;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;

pub use connection::Connection;
pub use matrix::Cell;
pub(crate) use packet::Packet;
pub(crate) use witness::Witness;

use crate::{bed::Netns, serve::Reply};

/// What a probe speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// A connection, a request, an answer.
    Tcp,
    /// A datagram and its answer.
    Udp,
    /// An echo request and its reply.
    Icmp,
    /// A single INIT, since not every kernel has SCTP.
    Sctp,
    /// A single packet of UDP-Lite (RFC 3828), which has ports, but is none of the protocols that policies name.
    UdpLite,
    /// A single packet of GRE (RFC 2784).
    Gre,
    /// A single packet of ESP (RFC 4303).
    Esp,
    /// A single UDP datagram behind IPv4 options or IPv6 extension headers.
    UdpOptions,
    /// A request over HTTP, of which only the answer's status counts.
    Http,
}

impl Protocol {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Tcp,
        Self::Udp,
        Self::Icmp,
        Self::Sctp,
        Self::UdpLite,
        Self::Gre,
        Self::Esp,
        Self::UdpOptions,
        Self::Http,
    ];

    /// By the name that scenarios have for it.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// As scenarios write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Sctp => "sctp",
            Self::UdpLite => "udplite",
            Self::Gre => "gre",
            Self::Esp => "esp",
            Self::UdpOptions => "udp-options",
            Self::Http => "http",
        }
    }

    /// Whether it is probed by single packets: there is no server, what arrives is seen by a witness.
    pub(crate) const fn is_packets(self) -> bool {
        match self {
            Self::Tcp | Self::Udp | Self::Icmp | Self::Http => false,
            Self::Sctp | Self::UdpLite | Self::Gre | Self::Esp | Self::UdpOptions => true,
        }
    }

    /// Whether its packets say which port they are from and to.
    pub(crate) const fn has_ports(self) -> bool {
        match self {
            Self::Tcp | Self::Udp | Self::Sctp | Self::UdpLite | Self::UdpOptions | Self::Http => true,
            Self::Icmp | Self::Gre | Self::Esp => false,
        }
    }
}

/// What came of a try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An answer. An echo reply does not say whose.
    Answered(Option<Reply>),
    /// An answer over HTTP: its status.
    Status(u16),
    /// A TCP reset or an ICMP error, at once; the error's text.
    Refused(String),
    /// Nothing came back in time.
    Silent,
    /// The try could not be made as such.
    Broken(String),
}

/// A try to make.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where it starts.
    pub from: Arc<Netns>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it goes; the port is ignored for ICMP.
    pub to: SocketAddr,
    /// Bytes of the request, at least [`MIN_SIZE`].
    pub size: usize,
    /// How long it may take altogether.
    pub timeout: Duration,
}

/// Length of the shortest request: a nonce and a newline.
pub const MIN_SIZE: usize = 17;

impl Attempt {
    /// Makes a fresh connection and asks once. First comes the connection's own end, if it came that far.
    pub async fn make(&self) -> (Option<SocketAddr>, Outcome) {
        let mut connection = match Connection::prepare(&self.from, self.protocol, self.to) {
            Ok(connection) => connection,
            Err(e) => return (None, outcome_of(&e)),
        };
        (Some(connection.source()), connection.exchange(self.size, self.timeout).await)
    }
}

/// A request that no other is equal to.
fn request(size: usize) -> (String, Vec<u8>) {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nonce =
        format!("{:06x}{:010x}", std::process::id() & 0xff_ffff, COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut line = nonce.clone().into_bytes();
    line.resize(size.max(MIN_SIZE) - 1, b'.');
    line.push(b'\n');
    (nonce, line)
}

/// Sorts an error: did the network refuse, or did we not even try?
pub(crate) fn outcome_of(error: &anyhow::Error) -> Outcome {
    let Some(io) = error.downcast_ref::<std::io::Error>() else {
        return Outcome::Broken(format!("{error:#}"));
    };
    match io.raw_os_error() {
        // EHOSTUNREACH and EACCES are what the remaining ICMP unreachable codes become.
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::EPIPE | libc::EHOSTUNREACH | libc::EACCES) => {
            Outcome::Refused(io.to_string())
        }
        _ => Outcome::Broken(io.to_string()),
    }
}

fn broken<T>(outcome: Result<T>) -> Result<T, Outcome> {
    outcome.map_err(|e| outcome_of(&e))
}
