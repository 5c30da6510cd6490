//! Transport headers: ports, TCP flags, what an ICMP message is.

use super::{Buffer, Kind};
use crate::{
    hook::Hook,
    net::{Be16, proto},
    reason::DropReason,
};

/// What was read of a transport header.
pub(super) struct L4 {
    pub(super) kind: Kind,
    pub(super) sport: Be16,
    pub(super) dport: Be16,
    pub(super) tcp_flags: u8,
}

impl L4 {
    #[inline(always)]
    const fn plain(sport: Be16, dport: Be16, tcp_flags: u8) -> Self {
        Self { kind: Kind::Flow, sport, dport, tcp_flags }
    }
}

/// Reads the header of `protocol` at `l4`; the datagram ends at `end`. `usual` is where it lies without options: there
/// it is read in place.
#[inline(always)]
pub(super) fn read<B: Buffer>(
    buffer: &B,
    hook: Hook,
    protocol: u8,
    l4: u32,
    usual: u32,
    end: u32,
) -> Result<L4, DropReason> {
    let need = match protocol {
        proto::TCP => 20,
        proto::SCTP => 12,
        proto::UDP | proto::ICMP | proto::ICMPV6 => 8,
        _ => return Ok(L4::plain(Be16::from_raw(0), Be16::from_raw(0), 0)),
    };
    if l4 + need > end {
        return Err(DropReason::Malformed);
    }
    let [ports, second] = words(buffer, l4, usual)?;
    let (sport, dport) = (Be16::from_raw(ports as u16), Be16::from_raw((ports >> 16) as u16));
    match protocol {
        proto::TCP => {
            let [offset, flags] = tcp_bytes(buffer, l4, usual)?;
            let header = u32::from(offset >> 4) * 4;
            if header < 20 || l4 + header > end {
                return Err(DropReason::Malformed);
            }
            Ok(L4::plain(sport, dport, flags))
        }
        proto::UDP => {
            let mut header = L4::plain(sport, dport, 0);
            // RFC 2131, RFC 8415: client 68/546, server 67/547.
            let (from, to) = match hook {
                Hook::FromPod => (sport, dport),
                Hook::ToPod => (dport, sport),
            };
            if (from == Be16::from_host(68) && to == Be16::from_host(67))
                || (from == Be16::from_host(546) && to == Be16::from_host(547))
            {
                header.kind = Kind::Pass;
            }
            Ok(header)
        }
        proto::SCTP => Ok(L4::plain(sport, dport, 0)),
        proto::ICMP => Ok(icmp(ports as u8, second, [8, 0], [3, 11, 12])),
        _ => Ok(icmpv6(ports as u8, second)),
    }
}

/// An ICMP echo is a connection between the asking end's identifier and 0; `errors` quote another packet.
#[inline(always)]
pub(super) fn icmp(kind: u8, second: u32, [request, reply]: [u8; 2], [a, b, c]: [u8; 3]) -> L4 {
    let identifier = Be16::from_raw(second as u16);
    let none = Be16::from_raw(0);
    if kind == request {
        L4::plain(identifier, none, kind)
    } else if kind == reply {
        L4::plain(none, identifier, kind)
    } else {
        let mut message = L4::plain(none, none, kind);
        if kind == a || kind == b || kind == c {
            message.kind = Kind::IcmpError;
        }
        message
    }
}

#[inline(always)]
fn icmpv6(kind: u8, second: u32) -> L4 {
    // RFC 4443: 1 to 4 are errors, 128 and 129 echo. RFC 4861: 133 to 137 are neighbour discovery. RFC 3810, RFC 2710:
    // 130 to 132 and 143 are multicast listener discovery.
    let mut message = icmp(kind, second, [128, 129], [1, 2, 3]);
    match kind {
        4 => message.kind = Kind::IcmpError,
        130..=137 | 143 => message.kind = Kind::Pass,
        _ => {}
    }
    message
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
