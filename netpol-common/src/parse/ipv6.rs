//! IPv6 (RFC 8200).

use bytemuck::{Pod, Zeroable};

use super::{
    Buffer, Fragments, Inner, Kind, L3, Packet,
    extension::{self, FragmentHeader, Upper},
    piece::Piece,
    transport::{self, Place},
};
use crate::{
    conntrack::Tuple,
    fragment::FragKey6,
    hook::Hook,
    net::{Be16, V6, proto},
    reason::DropReason,
};

const HEADER: u32 = 40;
/// Offset of a transport header behind a header without extensions.
pub const USUAL_L4: u32 = L3 + HEADER;

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
    let Some(header) = buffer.linear::<Header>(L3 as usize) else {
        return Err(DropReason::Malformed);
    };
    let version = header.version_flow as u8 >> 4;
    let payload_len = u32::from(header.payload_len.to_host());
    let (first, hop_limit) = (header.next, header.hop_limit);
    let (src, dst) = (V6(header.src), V6(header.dst));

    // A jumbogram (RFC 2675) and a GSO packet that is longer than the field can say, say 0.
    let end = if payload_len == 0 && buffer.length() > USUAL_L4 + 0xffff {
        buffer.length()
    } else {
        USUAL_L4 + payload_len
    };
    // RFC 4038 §4.2: an address that stands for an IPv4 one inside of programs is no address on the wire.
    if version != 6 || end > buffer.length() || src.is_mapped() || dst.is_mapped() {
        return Err(DropReason::Malformed);
    }
    let Upper { protocol, l4, fragmented, fragment } = extension::upper(buffer, first, USUAL_L4, end)?;
    if l4 > end {
        return Err(DropReason::Malformed);
    }
    let tuple = Tuple { src, dst, sport: Be16::from_raw(0), dport: Be16::from_raw(0), proto: protocol };
    let mut packet = Packet { kind: Kind::Flow, tuple, l4, has_l4: false, tcp_flags: 0, l3_check: 0 };
    let FragmentHeader { field, id, data } = fragment;
    let key = FragKey6 { src, dst, id, ifindex: buffer.ifindex() };
    let piece = Piece {
        offset: u32::from(field & !7),
        len: end - data,
        more: field & 1 != 0,
        headers: data - USUAL_L4,
    };
    // A fragment of which there is but one is a whole packet (RFC 6946).
    let whole = piece.offset == 0 && !piece.more;
    if !whole {
        piece.check()?;
    }
    if piece.offset != 0 {
        let Some(first) = fragments.get(&key) else {
            return Err(DropReason::Fragment);
        };
        if piece.overlaps(&first) {
            return Err(DropReason::Malformed);
        }
        // RFC 8200 §4.5: what the first fragment's header names counts.
        packet.tuple.proto = first.proto;
        (packet.tuple.sport, packet.tuple.dport) = (first.sport, first.dport);
        return Ok(packet);
    }
    let head = transport::read::<B, 6>(buffer, hook, protocol, Place { l4, usual: USUAL_L4, end, whole })?;
    packet.kind = head.kind();
    if protocol == proto::ICMPV6 {
        contained(head.tcp_flags(), hop_limit, fragmented)?;
    }
    if head.kind() == Kind::Pass && hook == Hook::FromPod {
        if protocol == proto::UDP && dst != DHCP_SERVERS {
            packet.kind = Kind::Flow;
        } else if is_no_source(src) {
            return Err(DropReason::Malformed);
        }
    }
    (packet.tuple.sport, packet.tuple.dport, packet.tcp_flags) =
        (head.sport(), head.dport(), head.tcp_flags());
    packet.has_l4 = transport::has_ports(protocol);
    if piece.more {
        fragments.put(&key, piece.row(&packet))?;
    }
    Ok(packet)
}

/// What passes unjudged never crosses a router, and proves it: neighbour discovery by 255 (RFC 4861 §6.1, §7.1) and by being
/// whole (RFC 6980), listener discovery by 1 (RFC 2710 §3, RFC 3810 §5).
#[inline(always)]
fn contained(kind: u8, hop_limit: u8, fragmented: bool) -> Result<(), DropReason> {
    let wrong = match kind {
        133..=137 => hop_limit != 255 || fragmented,
        130..=132 | 143 => hop_limit != 1,
        _ => false,
    };
    if wrong { Err(DropReason::Malformed) } else { Ok(()) }
}

/// Loopback and multicast: what no packet comes from (RFC 4291 §2.5.3, §2.7). Where a packet is judged, it is `spoofed` by not
/// being the pod's.
#[inline(always)]
fn is_no_source(addr: V6) -> bool {
    let [a, b, c, d] = addr.0;
    u32::from_be(a) >> 24 == 0xff || (a | b | c == 0 && u32::from_be(d) == 1)
}

/// Reads the packet that an ICMPv6 error quotes at `l3`; `None` if it is not one that a connection can be found for.
#[inline(always)]
pub fn inner<B: Buffer>(buffer: &B, l3: u32) -> Option<Inner<V6>> {
    let header: Header = buffer.load(l3).ok()?;
    let Upper { protocol, l4, fragment, .. } =
        extension::upper(buffer, header.next, l3 + HEADER, buffer.length()).ok()?;
    if header.version_flow as u8 >> 4 != 6 || fragment.field & !7 != 0 {
        return None;
    }
    let (sport, dport) = transport::quoted::<B, 6>(buffer, protocol, l4)?;
    let tuple = Tuple { src: V6(header.src), dst: V6(header.dst), sport, dport, proto: protocol };
    Some(Inner { tuple, l3, l4, l3_check: 0 })
}
