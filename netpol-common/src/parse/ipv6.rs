//! IPv6 (RFC 8200).

use bytemuck::{Pod, Zeroable};

use super::{
    Buffer, Fragments, Inner, Kind, L3, Packet,
    extension::{self, Upper},
    transport,
};
use crate::{
    conntrack::Tuple,
    fragment::{FragKey6, FragRow},
    hook::Hook,
    net::{Be16, V6, proto},
    reason::DropReason,
};

const HEADER: u32 = 40;
const USUAL_L4: u32 = L3 + HEADER;

/// `ff02::1:2`, where a DHCP client finds servers; to any other address its port is as good as another.
const DHCP_SERVERS: V6 = V6([0x02ff_u32, 0, 0, 0x0200_0100]);

/// The fixed header, raw.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    version_flow: u32,
    payload_len: Be16,
    next: u8,
    hop_limit: u8,
    src: [u32; 4],
    dst: [u32; 4],
}

/// Reads a packet whose EtherType is IPv6.
///
/// # Errors
/// Why it is to be dropped.
#[inline(always)]
pub fn parse<B: Buffer, F: Fragments<FragKey6>>(
    buffer: &mut B,
    fragments: &F,
    hook: Hook,
) -> Result<Packet<V6>, DropReason> {
    if buffer.linear::<Header>(L3 as usize).is_none() {
        buffer.pull(USUAL_L4)?;
    }
    let Some(header) = buffer.linear::<Header>(L3 as usize) else { return Err(DropReason::Malformed) };
    let version = header.version_flow as u8 >> 4;
    let payload_len = u32::from(header.payload_len.to_host());
    let (first, hop_limit) = (header.next, header.hop_limit);
    let (src, dst) = (V6(header.src), V6(header.dst));

    // A jumbogram (RFC 2675) and a GSO packet of more than 64 KiB say 0.
    let end =
        if payload_len == 0 && buffer.length() > 0xffff { buffer.length() } else { USUAL_L4 + payload_len };
    if version != 6 || end > buffer.length() {
        return Err(DropReason::Malformed);
    }
    let Upper { protocol, l4, fragment, id } = extension::upper(buffer, first, USUAL_L4)?;
    if l4 > end {
        return Err(DropReason::Malformed);
    }
    let mut tuple = Tuple { src, dst, sport: Be16::from_raw(0), dport: Be16::from_raw(0), proto: protocol };
    let key = FragKey6 { src, dst, id, ifindex: buffer.ifindex(), proto: u32::from(protocol) };
    if fragment & !7 != 0 {
        let Some(ports) = fragments.get(&key) else { return Err(DropReason::Fragment) };
        (tuple.sport, tuple.dport) = (ports.sport, ports.dport);
        return Ok(Packet { kind: Kind::Flow, tuple, l4, has_l4: false, tcp_flags: 0, l3_check: 0 });
    }
    let mut head = transport::read(buffer, hook, protocol, l4, USUAL_L4, end)?;
    if head.kind == Kind::Pass && hook == Hook::FromPod && protocol == proto::UDP && dst != DHCP_SERVERS {
        head.kind = Kind::Flow;
    }
    // RFC 4861 §6.1, §7.1: neighbour discovery never crosses a router, and 255 proves it.
    if protocol == proto::ICMPV6 && matches!(head.tcp_flags, 133..=137) && hop_limit != 255 {
        return Err(DropReason::Malformed);
    }
    (tuple.sport, tuple.dport) = (head.sport, head.dport);
    if fragment & 1 != 0 {
        fragments.put(&key, FragRow { sport: head.sport, dport: head.dport })?;
    }
    let has_l4 = matches!(protocol, proto::TCP | proto::UDP | proto::SCTP);
    Ok(Packet { kind: head.kind, tuple, l4, has_l4, tcp_flags: head.tcp_flags, l3_check: 0 })
}

/// Reads the packet that an ICMPv6 error quotes at `l3`; `None` if it is not one that a connection can be found for.
#[inline(always)]
pub fn inner<B: Buffer>(buffer: &B, l3: u32) -> Option<Inner<V6>> {
    let header: Header = buffer.load(l3).ok()?;
    let Upper { protocol, l4, fragment, id: _ } = extension::upper(buffer, header.next, l3 + HEADER).ok()?;
    if header.version_flow as u8 >> 4 != 6 || fragment & !7 != 0 {
        return None;
    }
    let [first, second]: [u32; 2] = buffer.load(l4).ok()?;
    let (sport, dport) = if protocol == proto::ICMPV6 {
        let echo = transport::icmp(first as u8, second, [128, 129], [1, 2, 3]);
        (echo.sport, echo.dport)
    } else {
        (Be16::from_raw(first as u16), Be16::from_raw((first >> 16) as u16))
    };
    let tuple = Tuple { src: V6(header.src), dst: V6(header.dst), sport, dport, proto: protocol };
    Some(Inner { tuple, l3, l4, l3_check: 0 })
}
