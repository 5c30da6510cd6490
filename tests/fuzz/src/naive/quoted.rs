//! What an ICMP error quotes.

use std::net::IpAddr;

use netpol_common::parse::Kind;

use super::layers::{Chain, be16, chain, icmp_message};

/// The packet that an ICMP error at `l4` quotes: its addresses, protocol and ports. `None` if no connection can be found by it.
#[must_use]
pub fn quoted(family: u8, frame: &[u8], l4: usize) -> Option<(IpAddr, IpAddr, u8, u16, u16)> {
    let ip = frame.get(l4 + 8..)?;
    let (src, dst, protocol, data): (IpAddr, IpAddr, u8, &[u8]) = if family == 4 {
        let fixed: &[u8; 20] = ip.first_chunk()?;
        let header = usize::from(fixed[0] % 16) * 4;
        if fixed[0] / 16 != 4 || header < 20 || !be16(fixed, 6).is_multiple_of(0x2000) {
            return None;
        }
        let addr = |at: usize| IpAddr::from([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        (addr(12), addr(16), fixed[9], ip.get(header..).unwrap_or_default())
    } else {
        let fixed: &[u8; 40] = ip.first_chunk()?;
        if fixed[0] / 16 != 6 {
            return None;
        }
        let Chain { protocol, at, fragment } = chain(ip, fixed[6]).ok()?;
        if fragment.is_some_and(|header| be16(ip, header + 2) / 8 != 0) {
            return None;
        }
        let addr = |at: usize| <[u8; 16]>::try_from(&fixed[at..at + 16]).map(IpAddr::from);
        (addr(8).ok()?, addr(24).ok()?, protocol, ip.get(at..).unwrap_or_default())
    };
    let icmp = if family == 4 { 1 } else { 58 };
    if ![6, 17, 132, icmp].contains(&protocol) {
        return Some((src, dst, protocol, 0, 0));
    }
    let start: &[u8; 8] = data.first_chunk()?;
    if protocol != icmp {
        return Some((src, dst, protocol, be16(start, 0) as u16, be16(start, 2) as u16));
    }
    let message = icmp_message(family, start, true);
    (message.kind != Kind::IcmpError).then_some((src, dst, protocol, message.sport, message.dport))
}
