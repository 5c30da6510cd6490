//! A second reader of packets, slow and plain, written from docs/packet-path.md and the RFCs: what the parser must say. It shares
//! no code with the parser but the names of reasons and kinds.

mod layers;
mod quoted;

use std::{collections::HashMap, net::IpAddr};

use netpol_common::{hook::Hook, parse::Kind, reason::DropReason};

use layers::{Chain, Transport, be16, chain, ipv4_options, transport};
pub use quoted::quoted;

/// Ethernet's header.
const L3: usize = 14;

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// What it is to the pipeline.
    pub kind: Kind,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol.
    pub protocol: u8,
    /// Source port, or what stands in its place.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Offset of the transport header.
    pub l4: usize,
    /// TCP flags or ICMP type.
    pub flags: u8,
    /// Whether it begins with a header that holds ports.
    pub has_l4: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Datagram {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// IPv4 only: in IPv6 the first fragment says it for all.
    protocol: Option<u8>,
    ifindex: u32,
}

#[derive(Clone, Copy, Debug)]
struct First {
    protocol: u8,
    sport: u16,
    dport: u16,
    len: usize,
}

/// Reads packets in the order they come: fragments need their first one.
#[derive(Debug, Default)]
pub struct Reader {
    firsts: HashMap<Datagram, First>,
}

/// Of a fragment.
struct Cut {
    datagram: Datagram,
    offset: usize,
    len: usize,
    more: bool,
    /// Headers that are not fragmented and count.
    headers: usize,
}

impl Reader {
    /// A frame whose EtherType says IPv4 or IPv6 (`family`).
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn read(
        &mut self,
        family: u8,
        frame: &[u8],
        hook: Hook,
        ifindex: u32,
    ) -> Result<Reading, DropReason> {
        let ip = frame.get(L3..).ok_or(DropReason::Malformed)?;
        if family == 4 { self.ipv4(ip, hook, ifindex) } else { self.ipv6(ip, hook, ifindex) }
    }

    fn ipv4(&mut self, ip: &[u8], hook: Hook, ifindex: u32) -> Result<Reading, DropReason> {
        let fixed: &[u8; 20] = ip.first_chunk().ok_or(DropReason::Malformed)?;
        let header = usize::from(fixed[0] % 16) * 4;
        let total = match be16(fixed, 2) {
            0 if ip.len() > 65535 => ip.len(),
            len => len,
        };
        if fixed[0] / 16 != 4 || header < 20 || header > total || total > ip.len() {
            return Err(DropReason::Malformed);
        }
        ipv4_options(&ip[20..header])?;
        let data = &ip[header..total];
        let addr = |at: usize| IpAddr::from([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let (src, dst, protocol) = (addr(12), addr(16), fixed[9]);
        let field = be16(fixed, 6);
        let id = u32::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let cut = Cut {
            datagram: Datagram { src, dst, id, protocol: Some(protocol), ifindex },
            offset: (field % 0x2000) * 8,
            len: data.len(),
            more: field & 0x2000 != 0,
            headers: header,
        };
        let reading = Reading {
            kind: Kind::Flow,
            src,
            dst,
            protocol,
            sport: 0,
            dport: 0,
            l4: L3 + header,
            flags: 0,
            has_l4: false,
        };
        if let Some(reading) = self.later(&cut, &reading)? {
            return Ok(reading);
        }
        let transport = transport(4, protocol, data, hook, !cut.more)?;
        let mut kind = transport.kind;
        if kind == Kind::Pass && hook == Hook::FromPod {
            if dst != IpAddr::from([255, 255, 255, 255]) {
                kind = Kind::Flow;
            } else if fixed[12] == 127 || fixed[12] >= 224 {
                return Err(DropReason::Malformed);
            }
        }
        Ok(self.first(&cut, reading, &transport, kind))
    }

    fn ipv6(&mut self, ip: &[u8], hook: Hook, ifindex: u32) -> Result<Reading, DropReason> {
        let fixed: &[u8; 40] = ip.first_chunk().ok_or(DropReason::Malformed)?;
        let payload = match be16(fixed, 4) {
            0 if ip.len() - 40 > 65535 => ip.len() - 40,
            len => len,
        };
        let addr = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&fixed[at..at + 16]);
            std::net::Ipv6Addr::from(octets)
        };
        let (src, dst) = (addr(8), addr(24));
        let mapped = src.to_ipv4_mapped().is_some() || dst.to_ipv4_mapped().is_some();
        if fixed[0] / 16 != 6 || 40 + payload > ip.len() || mapped {
            return Err(DropReason::Malformed);
        }
        let ip = &ip[..40 + payload];
        let chain = chain(ip, fixed[6])?;
        let Chain { protocol, at, fragment } = chain;
        let data = ip.get(at..).ok_or(DropReason::Malformed)?;
        let begin = fragment.map_or(40, |header| header + 8);
        let field = fragment.map_or(0, |header| be16(ip, header + 2));
        let id = fragment.map_or(0, |header| {
            u32::from_be_bytes([ip[header + 4], ip[header + 5], ip[header + 6], ip[header + 7]])
        });
        let cut = Cut {
            datagram: Datagram { src: src.into(), dst: dst.into(), id, protocol: None, ifindex },
            offset: field / 8 * 8,
            len: ip.len() - begin,
            more: field % 2 == 1,
            headers: begin - 40,
        };
        let reading = Reading {
            kind: Kind::Flow,
            src: src.into(),
            dst: dst.into(),
            protocol,
            sport: 0,
            dport: 0,
            l4: L3 + at,
            flags: 0,
            has_l4: false,
        };
        if let Some(reading) = self.later(&cut, &reading)? {
            return Ok(reading);
        }
        let transport = transport(6, protocol, data, hook, !cut.more)?;
        if protocol == 58 {
            let (kind, hops) = (transport.flags, fixed[7]);
            let discovery = (133..=137).contains(&kind) && (hops != 255 || fragment.is_some());
            let listener = [130, 131, 132, 143].contains(&kind) && hops != 1;
            if discovery || listener {
                return Err(DropReason::Malformed);
            }
        }
        let mut kind = transport.kind;
        if kind == Kind::Pass && hook == Hook::FromPod {
            let servers = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
            if protocol == 17 && dst != servers {
                kind = Kind::Flow;
            } else if src.is_multicast() || src.is_loopback() {
                return Err(DropReason::Malformed);
            }
        }
        Ok(self.first(&cut, reading, &transport, kind))
    }

    /// What is known of a later fragment; `None` for a first one, and for what is whole.
    fn later(&self, cut: &Cut, reading: &Reading) -> Result<Option<Reading>, DropReason> {
        if cut.offset == 0 && !cut.more {
            return Ok(None);
        }
        let uneven = cut.more && !cut.len.is_multiple_of(8);
        if cut.len == 0 || uneven || cut.headers + cut.offset + cut.len > 65535 {
            return Err(DropReason::Malformed);
        }
        if cut.offset == 0 {
            return Ok(None);
        }
        let first = self.firsts.get(&cut.datagram).ok_or(DropReason::Fragment)?;
        if cut.offset < first.len {
            return Err(DropReason::Malformed);
        }
        Ok(Some(Reading { protocol: first.protocol, sport: first.sport, dport: first.dport, ..*reading }))
    }

    fn first(&mut self, cut: &Cut, reading: Reading, transport: &Transport, kind: Kind) -> Reading {
        let Transport { kind: _, sport, dport, flags } = *transport;
        let has_l4 = [6, 17, 132].contains(&reading.protocol);
        if cut.more {
            let row = First { protocol: reading.protocol, sport, dport, len: cut.len };
            self.firsts.insert(cut.datagram, row);
        }
        Reading { kind, sport, dport, flags, has_l4, ..reading }
    }
}
