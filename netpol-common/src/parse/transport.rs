//! Transport headers: ports, TCP flags, what an ICMP message is. `FAMILY` is 4 or 6: ICMP belongs to IPv4 and ICMPv6 to IPv6;
//! in the other one each is a protocol without ports.

use super::{Buffer, Kind};
use crate::{
    hook::Hook,
    net::{Be16, proto},
    reason::DropReason,
};

/// What was read of a transport header. One word: a struct of small fields goes through the stack, written byte by byte and
/// read again at once, which costs more than a lookup's hash.
#[derive(Clone, Copy)]
pub(super) struct L4(u64);

impl L4 {
    const PORTLESS: Self = Self::plain(0, 0);
    const PASS: u64 = 1 << 40;
    const ICMP_ERROR: u64 = 1 << 41;

    /// Of a flow. `ports` as they lie in the header; `tcp_flags` or the type of an ICMP message.
    #[inline(always)]
    const fn plain(ports: u32, tcp_flags: u8) -> Self {
        Self(ports as u64 | (tcp_flags as u64) << 32)
    }
    #[inline(always)]
    pub(super) const fn sport(self) -> Be16 {
        Be16::from_raw(self.0 as u16)
    }
    #[inline(always)]
    pub(super) const fn dport(self) -> Be16 {
        Be16::from_raw((self.0 >> 16) as u16)
    }
    #[inline(always)]
    pub(super) const fn tcp_flags(self) -> u8 {
        (self.0 >> 32) as u8
    }
    #[inline(always)]
    pub(super) const fn kind(self) -> Kind {
        if self.0 & Self::PASS != 0 {
            Kind::Pass
        } else if self.0 & Self::ICMP_ERROR != 0 {
            Kind::IcmpError
        } else {
            Kind::Flow
        }
    }
}

/// Where a transport header lies.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) l4: u32,
    /// Where it lies without options: there it is read in place.
    pub(super) usual: u32,
    /// Where the packet ends.
    pub(super) end: u32,
    /// Whether the datagram ends there too: the packet is no fragment.
    pub(super) whole: bool,
}

/// ICMP's number in the family.
#[inline(always)]
const fn icmp_of(family: u8) -> u8 {
    if family == 4 { proto::ICMP } else { proto::ICMPV6 }
}

/// Reads the header of `protocol`.
#[inline(always)]
pub(super) fn read<B: Buffer, const FAMILY: u8>(
    buffer: &B,
    hook: Hook,
    protocol: u8,
    place: Place,
) -> Result<L4, DropReason> {
    let Place { l4, usual, end, whole } = place;
    let need = match protocol {
        proto::TCP => 20,
        proto::SCTP => 12,
        proto::UDP => 8,
        _ if protocol == icmp_of(FAMILY) => 8,
        _ => return Ok(L4::PORTLESS),
    };
    // Of a first fragment too: RFC 1858, RFC 7112.
    if l4 + need > end {
        return Err(DropReason::Malformed);
    }
    let [ports, second] = words(buffer, l4, usual)?;
    match protocol {
        proto::TCP => {
            let [offset, flags] = tcp_bytes(buffer, l4, usual)?;
            let header = u32::from(offset >> 4) * 4;
            if header < 20 || l4 + header > end {
                return Err(DropReason::Malformed);
            }
            Ok(L4::plain(ports, flags))
        }
        proto::UDP => {
            let len = u32::from(Be16::from_raw(second as u16).to_host());
            // Less than the packet holds is RFC 9868's surplus; the length of a GSO packet is that of all segments together,
            // and does not fit if that is more than 64 KiB.
            let fits = end - l4 <= 0xffff;
            if fits && (len < 8 || (whole && l4 + len > end)) {
                return Err(DropReason::Malformed);
            }
            let header = L4::plain(ports, 0);
            let (from, to) = match hook {
                Hook::FromPod => (header.sport(), header.dport()),
                Hook::ToPod => (header.dport(), header.sport()),
            };
            // RFC 2131, RFC 8415.
            let (client, server) = if FAMILY == 4 { (68, 67) } else { (546, 547) };
            let own = from == Be16::from_host(client) && to == Be16::from_host(server) && whole;
            Ok(if own { L4(header.0 | L4::PASS) } else { header })
        }
        proto::SCTP => Ok(L4::plain(ports, 0)),
        _ if FAMILY == 4 => Ok(icmp(ports as u8, second)),
        _ => Ok(icmpv6(ports as u8, second, whole)),
    }
}

/// The ports of a quoted packet of `protocol`, whose transport header begins at `l4`. RFC 792 quotes eight bytes of it. `None`
/// if they are not there, or if it is an error itself: nobody reports on those (RFC 1122 §3.2.2, RFC 4443 §2.4).
#[inline(always)]
pub(super) fn quoted<B: Buffer, const FAMILY: u8>(buffer: &B, protocol: u8, l4: u32) -> Option<(Be16, Be16)> {
    let message = protocol == icmp_of(FAMILY);
    if !message && !has_ports(protocol) {
        return Some((Be16::from_raw(0), Be16::from_raw(0)));
    }
    let [first, second]: [u32; 2] = buffer.load(l4).ok()?;
    let head = match FAMILY {
        _ if !message => L4::plain(first, 0),
        4 => icmp(first as u8, second),
        _ => icmpv6(first as u8, second, true),
    };
    match head.kind() {
        Kind::IcmpError => None,
        Kind::Flow | Kind::Pass => Some((head.sport(), head.dport())),
    }
}

/// Whether the first four bytes behind the IP header are ports.
#[inline(always)]
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::SCTP)
}

#[inline(always)]
fn icmp(kind: u8, second: u32) -> L4 {
    // RFC 792: unreachable, time exceeded, parameter problem; 8 and 0 echo.
    message(kind, second, [8, 0], matches!(kind, 3 | 11 | 12))
}

#[inline(always)]
fn icmpv6(kind: u8, second: u32, whole: bool) -> L4 {
    // RFC 4443: 1 to 4 are errors, 128 and 129 echo. RFC 4861: 133 to 137 are neighbour discovery. RFC 3810, RFC 2710:
    // 130 to 132 and 143 are multicast listener discovery.
    let message = message(kind, second, [128, 129], matches!(kind, 1..=4));
    if matches!(kind, 130..=137 | 143) && whole { L4(message.0 | L4::PASS) } else { message }
}

/// An ICMP echo is a connection between the asking end's identifier and 0; an error quotes another packet.
#[inline(always)]
fn message(kind: u8, second: u32, [request, reply]: [u8; 2], error: bool) -> L4 {
    let identifier = second & 0xffff;
    if kind == request {
        L4::plain(identifier, kind)
    } else if kind == reply {
        L4::plain(identifier << 16, kind)
    } else {
        L4(L4::plain(0, kind).0 | if error { L4::ICMP_ERROR } else { 0 })
    }
}

/// The first eight bytes of the header.
#[inline(always)]
fn words<B: Buffer>(buffer: &B, l4: u32, usual: u32) -> Result<[u32; 2], DropReason> {
    if l4 == usual
        && let Some(words) = buffer.linear(usual as usize)
    {
        return Ok(words);
    }
    buffer.load(l4)
}

/// Bytes 12 and 13 of a TCP header: data offset, flags.
#[inline(always)]
fn tcp_bytes<B: Buffer>(buffer: &B, l4: u32, usual: u32) -> Result<[u8; 2], DropReason> {
    if l4 == usual
        && let Some(bytes) = buffer.linear(usual as usize + 12)
    {
        return Ok(bytes);
    }
    buffer.load(l4 + 12)
}
