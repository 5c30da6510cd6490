//! IPv4 (RFC 791).

use bytemuck::{Pod, Zeroable};

use super::{
    Buffer, Fragments, Inner, Kind, L3, Packet,
    piece::Piece,
    transport::{self, Place},
};
use crate::{
    conntrack::Tuple,
    fragment::FragKey4,
    hook::Hook,
    net::{Be16, V4},
    reason::DropReason,
};

/// Offset of a transport header behind a header without options.
pub const USUAL_L4: u32 = L3 + 20;
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
    let Some(header) = buffer.linear::<Header>(L3 as usize) else {
        return Err(DropReason::Malformed);
    };
    let Some(len) = header.len() else {
        return Err(DropReason::Malformed);
    };
    let total_len = u32::from(header.total_len.to_host());
    let fragment = header.fragment.to_host();
    let (protocol, check, id) = (header.protocol, header.check, header.id);
    let (src, dst) = (V4(header.src), V4(header.dst));

    // A GSO packet that is longer than the field can say, says 0 (BIG TCP).
    let end = if total_len == 0 && buffer.length() > L3 + 0xffff { buffer.length() } else { L3 + total_len };
    let l4 = L3 + len;
    if l4 > end || end > buffer.length() {
        return Err(DropReason::Malformed);
    }
    if len > 20
        && let Some(reason) = DropReason::from_u8(buffer.options(len - 20) as u8)
    {
        return Err(reason);
    }
    let tuple = Tuple { src, dst, sport: Be16::from_raw(0), dport: Be16::from_raw(0), proto: protocol };
    let mut packet = Packet { kind: Kind::Flow, tuple, l4, has_l4: false, tcp_flags: 0, l3_check: check };
    let key = FragKey4 { src, dst, id: u32::from(id), ifindex: buffer.ifindex(), proto: u32::from(protocol) };
    let piece = Piece {
        offset: u32::from(fragment & FRAGMENT_OFFSET) * 8,
        len: end - l4,
        more: fragment & MORE_FRAGMENTS != 0,
        headers: len,
    };
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
        (packet.tuple.sport, packet.tuple.dport) = (first.sport, first.dport);
        return Ok(packet);
    }
    let head = transport::read::<B, 4>(buffer, hook, protocol, Place { l4, usual: USUAL_L4, end, whole })?;
    packet.kind = head.kind();
    if head.kind() == Kind::Pass && hook == Hook::FromPod {
        if dst != BROADCAST {
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

/// Loopback, multicast, reserved, broadcast: what no packet comes from (RFC 1122 §3.2.1.3). Where a packet is judged, it is
/// `spoofed` by not being the pod's.
#[inline(always)]
fn is_no_source(addr: V4) -> bool {
    let first = u32::from_be(addr.0) >> 24;
    first == 127 || first >= 224
}

/// Reads the packet that an ICMP error quotes at `l3`; `None` if it is not one that a connection can be found for.
#[inline(always)]
pub fn inner<B: Buffer>(buffer: &B, l3: u32) -> Option<Inner<V4>> {
    let header: Header = buffer.load(l3).ok()?;
    let l4 = l3 + header.len()?;
    if header.fragment.to_host() & FRAGMENT_OFFSET != 0 {
        return None;
    }
    let (sport, dport) = transport::quoted::<B, 4>(buffer, header.protocol, l4)?;
    let tuple = Tuple { src: V4(header.src), dst: V4(header.dst), sport, dport, proto: header.protocol };
    Some(Inner { tuple, l3, l4, l3_check: header.check })
}
