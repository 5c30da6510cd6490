//! What Services make of packets.

use std::net::SocketAddr;

use netpol_common::net::proto;

use super::{
    laws::Laws,
    read::Read,
    segment::{RST, opens},
    table::{Entry, Side},
};

/// Whether a client's packet leaves the connection that it found and asks for another. `stale`: that one is to be judged
/// anyway. `said`: where the program says that the packet was to go, if it says anything.
///
/// Datagrams may stay with a backend that gets no new ones: whether they do is only checked, not foretold.
pub(super) fn asks_anew(
    laws: &Laws,
    entry: &Entry,
    packet: &Read,
    stale: bool,
    said: Option<SocketAddr>,
) -> bool {
    let (dst, proto) = (packet.tuple.dst, packet.tuple.proto);
    let (datagram, syn) = (proto == proto::UDP, packet.tcp_flags.is_some_and(opens));
    match entry.side {
        Side::Plain => stale && (datagram || syn) && laws.backends(dst, proto).is_some(),
        Side::Back { .. } => false,
        Side::Front { backend, .. } => {
            let gets_others = laws.backends(dst, proto).is_some_and(|backends| backends.contains(&backend));
            !gets_others && (syn || (datagram && stale && said.is_some_and(|said| said != backend)))
        }
    }
}

/// Whether somebody who is asked for nothing says so: not to many at once, not to a reset, not to what says nothing of its
/// datagram (RFC 1122 §3.2.2).
pub(super) fn is_answered(frame: &[u8], packet: &Read) -> bool {
    let to_one = frame.first().is_some_and(|first| first & 1 == 0);
    let echo = if packet.tuple.src.is_ipv4() { (proto::ICMP, 8) } else { (proto::ICMPV6, 128) };
    let asks = match packet.tcp_flags {
        Some(tcp_flags) => tcp_flags & RST == 0,
        None if packet.has_header => true,
        None => !packet.later && packet.tuple.proto == echo.0 && frame.get(packet.l4) == Some(&echo.1),
    };
    to_one && asks
}
