//! The packet that an ICMP error quotes.

use std::net::SocketAddr;

use netpol_common::net::proto;

use super::read::{self, Network, Tuple};

/// What the programs need of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted {
    pub(super) tuple: Tuple,
    pub(super) l3: usize,
    pub(super) l4: usize,
}

/// Reads it behind the error's header at `l4`; it is cut off somewhere, and only its beginning counts. Nobody reports on an
/// error.
pub(super) fn quoted(frame: &[u8], l4: usize, ipv4: bool) -> Option<Quoted> {
    let l3 = l4 + 8;
    let network = match ipv4 {
        true => read::ipv4(frame, l3),
        false => read::ipv6(frame, l3, Some(frame.len())),
    };
    let network = network.ok().filter(|network| !network.is_later_fragment())?;
    let Network { src, dst, proto, l4, .. } = network;
    if read::is_error(frame, proto, ipv4, l4) {
        return None;
    }
    let icmp = if ipv4 { proto::ICMP } else { proto::ICMPV6 };
    if read::has_ports(proto) || proto == icmp {
        frame.get(l4..l4 + 8)?;
    }
    let (from, to) = read::ports(frame, proto, ipv4, l4).ok()?;
    let tuple = Tuple { src: SocketAddr::new(src, from), dst: SocketAddr::new(dst, to), proto };
    Some(Quoted { tuple, l3, l4 })
}
