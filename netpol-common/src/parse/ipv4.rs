//! IPv4 (RFC 791).

use bytemuck::{Pod, Zeroable};

use super::{Buffer, Fragments, Inner, Kind, L3, Packet, transport};
use crate::{
    conntrack::Tuple,
    fragment::{FragKey4, FragRow},
    hook::Hook,
    net::{Be16, V4, proto},
    reason::DropReason,
};

const USUAL_L4: u32 = L3 + 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Where a DHCP client finds servers; to any other address its port is as good as another.
const BROADCAST: V4 = V4(u32::MAX);

/// The fixed part of the header, raw.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    version_ihl: u8,
    tos: u8,
    total_len: Be16,
    id: u16,
    fragment: Be16,
    ttl: u8,
    protocol: u8,
    check: u16,
    src: u32,
    dst: u32,
}

impl Header {
    /// Length in bytes with options; `None` if the first byte contradicts itself.
    #[inline(always)]
    fn len(&self) -> Option<u32> {
        let len = u32::from(self.version_ihl & 15) * 4;
        if self.version_ihl >> 4 == 4 && len >= 20 { Some(len) } else { None }
    }
}

/// Reads a packet whose EtherType is IPv4.
///
/// # Errors
/// Why it is to be dropped.
#[inline(always)]
pub fn parse<B: Buffer, F: Fragments<FragKey4>>(
    buffer: &mut B,
    fragments: &F,
    hook: Hook,
) -> Result<Packet<V4>, DropReason> {
    if buffer.linear::<Header>(L3 as usize).is_none() {
        buffer.pull(USUAL_L4)?;
    }
    let Some(header) = buffer.linear::<Header>(L3 as usize) else { return Err(DropReason::Malformed) };
    let Some(len) = header.len() else { return Err(DropReason::Malformed) };
    let total_len = u32::from(header.total_len.to_host());
    let fragment = header.fragment.to_host();
    let (protocol, check, id) = (header.protocol, header.check, header.id);
    let (src, dst) = (V4(header.src), V4(header.dst));

    // A GSO packet of more than 64 KiB says 0 (BIG TCP).
    let end = if total_len == 0 && buffer.length() > 0xffff { buffer.length() } else { L3 + total_len };
    let l4 = L3 + len;
    if l4 > end || end > buffer.length() {
        return Err(DropReason::Malformed);
    }
    let mut tuple = Tuple { src, dst, sport: Be16::from_raw(0), dport: Be16::from_raw(0), proto: protocol };
    let key = FragKey4 { src, dst, id: u32::from(id), ifindex: buffer.ifindex(), proto: u32::from(protocol) };
    if fragment & FRAGMENT_OFFSET != 0 {
        let Some(ports) = fragments.get(&key) else { return Err(DropReason::Fragment) };
        (tuple.sport, tuple.dport) = (ports.sport, ports.dport);
        return Ok(Packet { kind: Kind::Flow, tuple, l4, has_l4: false, tcp_flags: 0, l3_check: check });
    }
    let mut head = transport::read(buffer, hook, protocol, l4, USUAL_L4, end)?;
    if head.kind == Kind::Pass && hook == Hook::FromPod && dst != BROADCAST {
        head.kind = Kind::Flow;
    }
    (tuple.sport, tuple.dport) = (head.sport, head.dport);
    if fragment & MORE_FRAGMENTS != 0 {
        fragments.put(&key, FragRow { sport: head.sport, dport: head.dport })?;
    }
    let has_l4 = matches!(protocol, proto::TCP | proto::UDP | proto::SCTP);
    Ok(Packet { kind: head.kind, tuple, l4, has_l4, tcp_flags: head.tcp_flags, l3_check: check })
}

/// Reads the packet that an ICMP error quotes at `l3`; `None` if it is not one that a connection can be found for.
#[inline(always)]
pub fn inner<B: Buffer>(buffer: &B, l3: u32) -> Option<Inner<V4>> {
    let header: Header = buffer.load(l3).ok()?;
    let l4 = l3 + header.len()?;
    if header.fragment.to_host() & FRAGMENT_OFFSET != 0 {
        return None;
    }
    let [first, second]: [u32; 2] = buffer.load(l4).ok()?;
    let (sport, dport) = if header.protocol == proto::ICMP {
        let echo = transport::icmp(first as u8, second, [8, 0], [3, 11, 12]);
        (echo.sport, echo.dport)
    } else {
        (Be16::from_raw(first as u16), Be16::from_raw((first >> 16) as u16))
    };
    let tuple = Tuple { src: V4(header.src), dst: V4(header.dst), sport, dport, proto: header.protocol };
    Some(Inner { tuple, l3, l4, l3_check: header.check })
}
