//! From bytes to what a packet is.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use netpol_common::{net::proto, reason::DropReason};

use crate::packet::{ETHERNET, Hook};

/// Both ends as on the wire. An echo has its identifier in place of the asking end's port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Tuple {
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) proto: u8,
}

impl Tuple {
    pub(super) fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, proto: self.proto }
    }
}

/// A packet that could be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) kind: Kind,
    pub(super) tuple: Tuple,
    /// Where the transport header lies, or the data of a later fragment.
    pub(super) l4: usize,
    /// A later fragment has no header.
    pub(super) has_header: bool,
    /// It is a later fragment.
    pub(super) later: bool,
    /// Of a TCP segment with its header.
    pub(super) tcp_flags: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// No policy speaks of it.
    Below,
    Flow,
    IcmpError,
}

/// What first fragments have left.
#[derive(Debug, Default)]
pub(super) struct Fragments(HashMap<Datagram, First>);

/// The interface, and what names a datagram: source, destination, identification, and in IPv4 the protocol.
type Datagram = (u32, IpAddr, IpAddr, u32, Option<u8>);

#[derive(Clone, Copy, Debug)]
struct First {
    ports: (u16, u16),
    proto: u8,
    /// Bytes of the datagram that it held.
    len: usize,
}

impl Fragments {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What stands before the transport header.
pub(super) struct Network {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) proto: u8,
    pub(super) l4: usize,
    /// Behind the datagram's last byte.
    end: usize,
    hop_limit: u8,
    fragment: Option<Fragment>,
}

#[derive(Clone, Copy)]
struct Fragment {
    /// In bytes.
    offset: usize,
    more: bool,
    id: u32,
    /// Where its data begins.
    data: usize,
    /// Bytes of headers that count into the datagram's length.
    headers: usize,
}

impl Network {
    pub(super) fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }

    /// Neither a fragment, nor more than the only one.
    fn is_whole(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.offset == 0 && !fragment.more)
    }
}

pub(super) type Answer<T> = Result<T, DropReason>;

pub(super) fn bytes<const N: usize>(frame: &[u8], at: usize) -> Answer<[u8; N]> {
    let found = frame.get(at..at + N).and_then(|slice| slice.try_into().ok());
    found.ok_or(DropReason::Malformed)
}

pub(super) fn word(frame: &[u8], at: usize) -> Answer<u16> {
    bytes(frame, at).map(u16::from_be_bytes)
}

/// Reads a frame as the program at `hook` should; a first fragment is remembered.
pub(super) fn read(frame: &[u8], hook: Hook, fragments: &mut Fragments) -> Answer<Read> {
    let network = match word(frame, 12)? {
        0x0800 => ipv4(frame, ETHERNET)?,
        0x86dd => ipv6(frame, ETHERNET, None)?,
        0x0806 => {
            let nobody = SocketAddr::from(([0; 4], 0));
            let tuple = Tuple { src: nobody, dst: nobody, proto: 0 };
            return Ok(Read {
                kind: Kind::Below,
                tuple,
                l4: 0,
                has_header: false,
                later: true,
                tcp_flags: None,
            });
        }
        _ => return Err(DropReason::Ethertype),
    };
    if network.l4 > network.end || network.end > frame.len() {
        return Err(DropReason::Malformed);
    }
    if network.src.is_ipv4() {
        options(&frame[ETHERNET + 20..network.l4])?;
    }
    let Network { src, dst, proto, l4, end, .. } = network;
    let tuple =
        |(from, to), proto| Tuple { src: SocketAddr::new(src, from), dst: SocketAddr::new(dst, to), proto };
    let ifindex = match hook {
        Hook::FromPod(ifindex) | Hook::ToPod(ifindex, _) => ifindex,
    };
    let mut leaves = None;
    if let Some(Fragment { offset, more, id, data, headers }) = network.fragment
        && !network.is_whole()
    {
        let len = end - data;
        // RFC 791 §3.2, RFC 8200 §4.5.
        if len == 0 || (more && len % 8 != 0) || headers + offset + len > 65_535 {
            return Err(DropReason::Malformed);
        }
        let datagram = (ifindex, src, dst, id, src.is_ipv4().then_some(proto));
        if offset != 0 {
            let first = fragments.0.get(&datagram).ok_or(DropReason::Fragment)?;
            // RFC 5722: it would write over what was judged.
            if offset < first.len {
                return Err(DropReason::Malformed);
            }
            let tuple = tuple(first.ports, first.proto);
            return Ok(Read { kind: Kind::Flow, tuple, l4, has_header: false, later: true, tcp_flags: None });
        }
        leaves = Some((datagram, len));
    }
    transport(frame, &network)?;
    let ports = ports(frame, proto, src.is_ipv4(), l4)?;
    let kind = kind(frame, &network, hook, ports)?;
    if let Some((datagram, len)) = leaves {
        fragments.0.insert(datagram, First { ports, proto, len });
    }
    let tcp_flags = if proto == proto::TCP { Some(frame[l4 + 13]) } else { None };
    Ok(Read { kind, tuple: tuple(ports, proto), l4, has_header: has_ports(proto), later: false, tcp_flags })
}

pub(super) fn has_ports(proto: u8) -> bool {
    [proto::TCP, proto::UDP, proto::SCTP].contains(&proto)
}

/// In the other family the number of ICMP is nobody's.
fn is_icmp(proto: u8, ipv4: bool) -> bool {
    proto == if ipv4 { proto::ICMP } else { proto::ICMPV6 }
}

/// Whether the transport header is there, and does not contradict the datagram.
fn transport(frame: &[u8], network: &Network) -> Answer<()> {
    let Network { proto, l4, end, .. } = *network;
    let shortest = match proto {
        proto::TCP => 20,
        proto::SCTP => 12,
        proto::UDP => 8,
        _ if is_icmp(proto, network.src.is_ipv4()) => 8,
        _ => 0,
    };
    let sound = l4 + shortest <= end
        && match proto {
            proto::TCP => (20..=end - l4).contains(&(usize::from(frame[l4 + 12] >> 4) * 4)),
            // Surplus is allowed (RFC 9868), and a first fragment holds less than the datagram.
            proto::UDP => {
                let len = usize::from(word(frame, l4 + 4)?);
                len >= 8 && (l4 + len <= end || !network.is_whole())
            }
            _ => true,
        };
    if sound { Ok(()) } else { Err(DropReason::Malformed) }
}

/// RFC 791 §3.1: options of an IPv4 header. Of a source route policy knows only the next stop.
fn options(mut options: &[u8]) -> Answer<()> {
    while let [number, rest @ ..] = options {
        options = match (number, rest) {
            (0, _) => return Ok(()),
            (1, _) => rest,
            (_, [len, ..]) if (2..=options.len()).contains(&usize::from(*len)) => {
                if [131, 137].contains(number) {
                    return Err(DropReason::SourceRoute);
                }
                &options[usize::from(*len)..]
            }
            _ => return Err(DropReason::Malformed),
        };
    }
    Ok(())
}

/// RFC 791.
pub(super) fn ipv4(frame: &[u8], at: usize) -> Answer<Network> {
    let header: [u8; 20] = bytes(frame, at)?;
    let len = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || len < 20 {
        return Err(DropReason::Malformed);
    }
    let field = word(&header, 6)?;
    let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
    let id = u32::from(word(&header, 4)?);
    let fragment = Fragment { offset, more, id, data: at + len, headers: len };
    Ok(Network {
        src: bytes::<4>(&header, 12)?.into(),
        dst: bytes::<4>(&header, 16)?.into(),
        proto: header[9],
        l4: at + len,
        end: at + usize::from(word(&header, 2)?),
        hop_limit: header[8],
        fragment: (offset != 0 || more).then_some(fragment),
    })
}

/// Extension headers that are walked, at most.
const EXTENSIONS: usize = 8;

/// RFC 8200. `end` if the header's own length does not count, because only the beginning of the packet is there.
pub(super) fn ipv6(frame: &[u8], at: usize, end: Option<usize>) -> Answer<Network> {
    let header: [u8; 40] = bytes(frame, at)?;
    let (src, dst) = (Ipv6Addr::from(bytes(&header, 8)?), Ipv6Addr::from(bytes(&header, 24)?));
    // RFC 4038 §4.2: no address on the wire. Of what is quoted it is nobody's.
    let mapped = [src, dst].iter().any(|address| address.to_ipv4_mapped().is_some());
    if header[0] >> 4 != 6 || (end.is_none() && mapped) {
        return Err(DropReason::Malformed);
    }
    let end = end.unwrap_or(at + 40 + usize::from(word(&header, 4)?));
    if end > frame.len() {
        return Err(DropReason::Malformed);
    }
    let (mut next, mut l4, mut fragment) = (header[6], at + 40, None);
    let mut walked = 0;
    while [0, 43, 44, 51, 60].contains(&next) {
        if walked == EXTENSIONS {
            return Err(DropReason::TooDeep);
        }
        if l4 + 8 > end {
            return Err(DropReason::Malformed);
        }
        let [following, units, high, low, a, b, c, d] = bytes(frame, l4)?;
        let units = usize::from(units);
        match next {
            // RFC 8200 §4.1: first, or not at all.
            0 if walked != 0 => return Err(DropReason::Malformed),
            43 if low != 0 => return Err(DropReason::SourceRoute),
            44 if fragment.is_some() => return Err(DropReason::Malformed),
            44 => {
                let (field, data) = (u16::from_be_bytes([high, low]), l4 + 8);
                let (offset, more) = (usize::from(field & !7), field & 1 != 0);
                let id = u32::from_be_bytes([a, b, c, d]);
                fragment = Some(Fragment { offset, more, id, data, headers: data - at - 40 });
                l4 = data;
                if offset != 0 {
                    next = following;
                    break;
                }
            }
            51 => l4 += (units + 2) * 4,
            _ => l4 += (units + 1) * 8,
        }
        next = following;
        walked += 1;
    }
    let (src, dst) = (src.into(), dst.into());
    Ok(Network { src, dst, proto: next, l4, end, hop_limit: header[7], fragment })
}

/// Source and destination port, or what stands in their place.
pub(super) fn ports(frame: &[u8], proto: u8, ipv4: bool, l4: usize) -> Answer<(u16, u16)> {
    if has_ports(proto) {
        return Ok((word(frame, l4)?, word(frame, l4 + 2)?));
    }
    if !is_icmp(proto, ipv4) {
        return Ok((0, 0));
    }
    let (request, reply) = if ipv4 { (8, 0) } else { (128, 129) };
    let (kind, identifier) = (bytes::<1>(frame, l4)?[0], word(frame, l4 + 4)?);
    Ok(match kind {
        _ if kind == request => (identifier, 0),
        _ if kind == reply => (0, identifier),
        _ => (0, 0),
    })
}

/// Whether it is an ICMP message that reports an error.
pub(super) fn is_error(frame: &[u8], proto: u8, ipv4: bool, l4: usize) -> bool {
    let errors: &[u8] = if ipv4 { &[3, 11, 12] } else { &[1, 2, 3, 4] };
    is_icmp(proto, ipv4) && frame.get(l4).is_some_and(|kind| errors.contains(kind))
}

fn kind(frame: &[u8], network: &Network, hook: Hook, ports: (u16, u16)) -> Answer<Kind> {
    let from_pod = matches!(hook, Hook::FromPod(_));
    let Network { src, dst, proto, l4, hop_limit, .. } = *network;
    let ipv4 = src.is_ipv4();
    let mut below = false;
    if is_error(frame, proto, ipv4, l4) {
        return Ok(Kind::IcmpError);
    } else if proto == proto::ICMPV6 && !ipv4 {
        // It must not have crossed a router.
        let right = match frame[l4] {
            // RFC 4861 §7.1, RFC 6980.
            133..=137 => hop_limit == 255 && network.fragment.is_none(),
            // RFC 2710 §3, RFC 3810 §5.
            130..=132 | 143 => hop_limit == 1,
            _ => return Ok(Kind::Flow),
        };
        if !right {
            return Err(DropReason::Malformed);
        }
        below = network.is_whole();
    } else if proto == proto::UDP {
        let (from, to) = ports;
        let (client, server) = if from_pod { (from, to) } else { (to, from) };
        let (dhcp, servers): (_, IpAddr) = match ipv4 {
            true => ((68, 67), [255; 4].into()),
            false => ((546, 547), [0xff02, 0, 0, 0, 0, 0, 1, 2].into()),
        };
        below = (client, server) == dhcp && network.is_whole() && (!from_pod || dst == servers);
    }
    if !below {
        return Ok(Kind::Flow);
    }
    let nobody = match src {
        IpAddr::V4(address) => address.is_loopback() || address.octets()[0] >= 224,
        IpAddr::V6(address) => address.is_loopback() || address.is_multicast(),
    };
    if from_pod && nobody { Err(DropReason::Malformed) } else { Ok(Kind::Below) }
}
