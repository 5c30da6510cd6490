//! IPv6 and its extension headers (RFC 8200).

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{
    conntrack::Tuple,
    fragment::{FragKey6, FragRow},
    net::{Be16, V6, proto},
    reason::DropReason,
};

use super::{Inner, Kind, L3, Packet, l4};
use crate::{ctx::Skb, maps::FRAG6, progs::Hook};

const HEADER: u32 = 40;
const USUAL_L4: u32 = L3 + HEADER;
/// As many as RFC 8200 §4.1 recommends a packet to have, and one more.
const MAX_EXTENSIONS: u32 = 8;

/// `ff02::1:2`, where a DHCP client finds servers; to any other address its port is as good as another.
const DHCP_SERVERS: V6 = V6([0x02ff_u32, 0, 0, 0x0200_0100]);

mod next {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// The fixed header, raw.
#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    version_flow: u32,
    payload_len: Be16,
    next: u8,
    hop_limit: u8,
    src: [u32; 4],
    dst: [u32; 4],
}

/// Where the walk over the extension headers ended.
struct Upper {
    protocol: u8,
    l4: u32,
    /// Fragment offset and flags, host order: 0 without a fragment header.
    fragment: u16,
    id: u32,
}

/// Reads a packet whose EtherType is IPv6.
#[inline(always)]
pub fn parse(skb: &mut Skb, hook: Hook) -> Result<Packet<V6>, DropReason> {
    if skb.linear::<40>(L3 as usize).is_none() {
        skb.pull(USUAL_L4)?;
    }
    let Some(bytes) = skb.linear::<40>(L3 as usize) else { return Err(DropReason::Malformed) };
    // SAFETY: forty bytes lie there; IP headers are aligned to four bytes in the kernel's buffers (NET_IP_ALIGN).
    let header = unsafe { &*bytes.cast::<Header>() };
    let version = header.version_flow as u8 >> 4;
    let payload_len = u32::from(header.payload_len.to_host());
    let (first, hop_limit) = (header.next, header.hop_limit);
    let (src, dst) = (V6(header.src), V6(header.dst));

    // A jumbogram (RFC 2675) and a GSO packet of more than 64 KiB say 0.
    let end = if payload_len == 0 && skb.len() > 0xffff { skb.len() } else { USUAL_L4 + payload_len };
    if version != 6 || end > skb.len() {
        return Err(DropReason::Malformed);
    }
    let upper = walk(skb, first, USUAL_L4)?;
    let Upper { protocol, l4, fragment, id } = upper;
    if l4 > end {
        return Err(DropReason::Malformed);
    }
    let mut tuple = Tuple { src, dst, sport: Be16::from_raw(0), dport: Be16::from_raw(0), proto: protocol };
    let key = FragKey6 { src, dst, id, ifindex: skb.ifindex(), proto: u32::from(protocol) };
    if fragment & !7 != 0 {
        // SAFETY: copied at once; a row that is replaced meanwhile belongs to a datagram that lost its place.
        let Some(ports) = (unsafe { FRAG6.get(key) }) else { return Err(DropReason::Fragment) };
        (tuple.sport, tuple.dport) = (ports.sport, ports.dport);
        return Ok(Packet { kind: Kind::Flow, tuple, l4, has_l4: false, tcp_flags: 0, l3_check: 0 });
    }
    let mut head = l4::read(skb, hook, protocol, l4, USUAL_L4, end)?;
    if head.kind == Kind::Pass && hook == Hook::FromPod && protocol == proto::UDP && dst != DHCP_SERVERS {
        head.kind = Kind::Flow;
    }
    // RFC 4861 §6.1, §7.1: neighbour discovery never crosses a router, and 255 proves it.
    if protocol == proto::ICMPV6 && matches!(head.tcp_flags, 133..=137) && hop_limit != 255 {
        return Err(DropReason::Malformed);
    }
    (tuple.sport, tuple.dport) = (head.sport, head.dport);
    if fragment & 1 != 0 {
        let row = FragRow { sport: head.sport, dport: head.dport };
        if FRAG6.insert(key, row, 0).is_err() {
            return Err(DropReason::Fragment);
        }
    }
    let has_l4 = matches!(protocol, proto::TCP | proto::UDP | proto::SCTP);
    Ok(Packet { kind: head.kind, tuple, l4, has_l4, tcp_flags: head.tcp_flags, l3_check: 0 })
}

/// Reads the packet that an ICMPv6 error quotes at `l3`; `None` if it is not one that a connection can be found for.
#[inline(always)]
pub fn inner(skb: &Skb, l3: u32) -> Option<Inner<V6>> {
    let header: Header = skb.load(l3).ok()?;
    let Upper { protocol, l4, fragment, id: _ } = walk(skb, header.next, l3 + HEADER).ok()?;
    if header.version_flow as u8 >> 4 != 6 || fragment & !7 != 0 {
        return None;
    }
    let [first, second]: [u32; 2] = skb.load(l4).ok()?;
    let (sport, dport) = if protocol == proto::ICMPV6 {
        let echo = l4::icmp(first as u8, second, [128, 129], [1, 2, 3]);
        (echo.sport, echo.dport)
    } else {
        (Be16::from_raw(first as u16), Be16::from_raw((first >> 16) as u16))
    };
    let tuple = Tuple { src: V6(header.src), dst: V6(header.dst), sport, dport, proto: protocol };
    Some(Inner { tuple, l3, l4, l3_check: 0 })
}

/// Finds the transport header behind the extension headers that begin with one of number `first` at `start`.
#[inline(always)]
fn walk(skb: &Skb, first: u8, start: u32) -> Result<Upper, DropReason> {
    if !is_extension(first) {
        return Ok(Upper { protocol: first, l4: start, fragment: 0, id: 0 });
    }
    let answer = np_walk(skb.raw(), u64::from(first), u64::from(start));
    let (protocol, l4, fragment_header) =
        (answer as u8, (answer >> 8 & 0xffff) as u32, (answer >> 24 & 0xffff) as u32);
    match answer >> 40 {
        FOUND => {}
        TOO_DEEP => return Err(DropReason::TooDeep),
        _ => return Err(DropReason::Malformed),
    }
    if fragment_header == 0 {
        return Ok(Upper { protocol, l4, fragment: 0, id: 0 });
    }
    let [offset, id_high, id_low]: [u16; 3] = skb.load(fragment_header + 2)?;
    let id = u32::from(id_low) << 16 | u32::from(id_high);
    Ok(Upper { protocol, l4, fragment: u16::from_be(offset), id })
}

const FOUND: u64 = 0;
const TOO_DEEP: u64 = 1;
const CUT: u64 = 2;

#[inline(always)]
fn is_extension(number: u8) -> bool {
    matches!(
        number,
        next::HOP_BY_HOP
            | next::ROUTING
            | next::FRAGMENT
            | next::AUTHENTICATION
            | next::DESTINATION
            | next::MOBILITY
            | next::HIP
            | next::SHIM6
    )
}

/// The walk as a global function: the verifier follows its loop once, on its own. Answers with the protocol (bits 0–7), the
/// offset of its header (8–23), that of the fragment header or 0 (24–39), and whether it got there (from bit 40 on).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_walk(raw: *mut __sk_buff, first: u64, start: u64) -> u64 {
    let skb = Skb::from_raw(raw);
    let (mut number, mut at, mut fragment_header) = (first as u8, start as u32 & 0xffff, 0u32);
    let mut walked = 0;
    while walked < MAX_EXTENSIONS {
        if !is_extension(number) {
            return u64::from(number)
                | u64::from(at & 0xffff) << 8
                | u64::from(fragment_header & 0xffff) << 24
                | FOUND << 40;
        }
        let Ok([following, units]) = skb.load::<[u8; 2]>(at) else { return CUT << 40 };
        if number == next::FRAGMENT {
            let Ok(offset) = skb.load::<u16>(at + 2) else { return CUT << 40 };
            fragment_header = at;
            at += 8;
            if u16::from_be(offset) & !7 != 0 {
                // Behind the header of a later fragment lies payload, not another header.
                return u64::from(following)
                    | u64::from(at & 0xffff) << 8
                    | u64::from(fragment_header & 0xffff) << 24
                    | FOUND << 40;
            }
        } else if number == next::AUTHENTICATION {
            // RFC 4302 §2.2: in units of four bytes, less two.
            at += (u32::from(units) + 2) * 4;
        } else {
            // RFC 8200 §4: in units of eight bytes, less one.
            at += (u32::from(units) + 1) * 8;
        }
        number = following;
        walked += 1;
    }
    TOO_DEEP << 40
}
