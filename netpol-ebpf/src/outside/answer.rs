//! Packets whose way leads out of the node past its own routing table: to backends of other nodes, and back to clients by
//! the uplink they came from.

use aya_ebpf::bindings::{
    __sk_buff, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED,
    BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT,
};
use netpol_common::{
    conntrack::{Tuple, flags},
    net::{Address, proto},
    reason::DropReason,
};

use super::Routed;
use crate::{
    case::Case,
    conntrack::{self, Hit},
    ctx::{Route, Skb},
    family::{Family, OUTER_L3},
    forward::{self, DROP, NEXT},
    nat::{self, End},
    parse::Packet,
    pipeline::{FAILED, TOO_BIG},
    refuse,
};

/// `BPF_FIB_LKUP_RET_SUCCESS`
pub const FOUND: i64 = BPF_FIB_LKUP_RET_SUCCESS as i64;
/// `BPF_FIB_LKUP_RET_NO_NEIGH`
pub const NO_NEIGHBOUR: i64 = BPF_FIB_LKUP_RET_NO_NEIGH as i64;
/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`
pub const TOO_LARGE: i64 = BPF_FIB_LKUP_RET_FRAG_NEEDED as i64;
const NOT_FORWARDED: i64 = BPF_FIB_LKUP_RET_NOT_FWDED as i64;

/// What every link takes that takes IPv6 (RFC 8200 §5).
pub const LEAST_MTU: u16 = 1280;

/// The question how to get from `src` to `dst` by `ifindex`.
#[inline(always)]
pub fn route<F: Routed>(src: F::Addr, dst: F::Addr, ifindex: u32) -> Route {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    Route {
        family: if F::Addr::FAMILY == 4 { AF_INET } else { AF_INET6 },
        l4_protocol: 0,
        sport: 0,
        dport: 0,
        tot_len: 0,
        ifindex,
        tos: 0,
        src: src.to_words(),
        dst: dst.to_words(),
        vlan: 0,
        smac: [0; 6],
        dmac: [0; 6],
    }
}

/// Asks for a way out for `packet`, under these addresses: by `uplink` if there is one, else by whatever route the node has.
#[inline(always)]
fn ask<F: Routed>(
    skb: &Skb,
    packet: &Packet<F::Addr>,
    src: F::Addr,
    dst: F::Addr,
    uplink: u32,
) -> (Route, i64) {
    let tot_len = segment(skb, packet.tuple.proto, packet.l4);
    let mut way = Route { tot_len, ..route::<F>(src, dst, uplink) };
    if uplink != 0 {
        let said = skb.look_up_route(&mut way, BPF_FIB_LOOKUP_OUTPUT);
        if said == FOUND || said == NO_NEIGHBOUR || said == TOO_LARGE {
            return (way, said);
        }
    }
    way = Route { tot_len, ..route::<F>(src, dst, skb.ifindex()) };
    let said = skb.look_up_route(&mut way, 0);
    (way, said)
}

/// Length of each packet, from the network header on, of one that is several (GSO); else 0. `l4` is the offset of its transport header.
#[inline(always)]
pub fn segment(skb: &Skb, protocol: u8, l4: u32) -> u16 {
    const UDP_HEADER: u32 = 8;
    let payload = skb.gso_size();
    if payload == 0 {
        return 0;
    }
    let header = if protocol == proto::TCP {
        skb.load::<u8>(l4 + 12).map_or(0, |offset| u32::from(offset >> 4) * 4)
    } else {
        UDP_HEADER
    };
    (l4.wrapping_sub(OUTER_L3) + header + payload) as u16
}

/// Sends the packet, translated, by a way that was found.
#[inline(always)]
pub fn send<F: Routed>(skb: &mut Skb, way: &Route, said: i64) -> Result<i32, DropReason> {
    if !F::count_down(skb)? {
        // The node's routing says that its time is over.
        return Ok(NEXT);
    }
    if said == NO_NEIGHBOUR {
        return Ok(skb.redirect_by_neighbour(way.ifindex));
    }
    skb.store(0, &way.dmac)?;
    skb.store(6, &way.smac)?;
    Ok(skb.redirect(way.ifindex))
}

/// Translates and sends out what a pod answers to a client outside.
#[inline(always)]
pub fn answer<F: Routed>(skb: &mut Skb, packet: &Packet<F::Addr>) -> Result<i32, DropReason> {
    let Some(hit) = conntrack::find::<F>(&packet.tuple) else { return Err(DropReason::Invalid) };
    let service = forward::partner_destination::<F>(&hit);
    let client = forward::partner_source::<F>(&hit);
    let (way, said) = ask::<F>(skb, packet, service.0, client.0, uplink(&hit));
    match said {
        FOUND | NO_NEIGHBOUR => {}
        // The node's routing tells the pod, whose address it must see for that.
        TOO_LARGE => return Ok(NEXT),
        _ => return Err(DropReason::NoRoute),
    }
    nat::rewrite::<F>(skb, packet, &answer_of::<F>(&packet.tuple, &hit))?;
    send::<F>(skb, &way, said)
}

/// What a backend's answer looks like to its client.
#[inline(always)]
pub fn answer_of<F: Family>(tuple: &Tuple<F::Addr>, hit: &Hit) -> Tuple<F::Addr> {
    let to = nat::with(tuple, End::Source, forward::partner_destination::<F>(hit));
    if hit.flags & flags::SNAT == 0 {
        return to;
    }
    nat::with(&to, End::Destination, forward::partner_source::<F>(hit))
}

/// Translates both ends of what came in by an uplink.
#[inline(always)]
pub fn both_ends<F: Routed>(skb: &mut Skb, packet: &Packet<F::Addr>, hit: &Hit) -> Result<(), DropReason> {
    nat::rewrite::<F>(skb, packet, &forward::translated::<F>(packet.tuple.proto, hit))
}

/// Sends out a packet that is translated already, by its case's `leave_by`. One that is too big for its way becomes the ICMP error
/// about itself, as if a router behind this node had sent it.
#[inline(always)]
pub fn leave<F: Routed + refuse::Header>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match leave_by::<F>(&mut Skb::from_raw(raw), &case.packet, case.leave_by) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

#[inline(always)]
fn leave_by<F: Routed + refuse::Header>(
    skb: &mut Skb,
    packet: &Packet<F::Addr>,
    uplink: u32,
) -> Result<i32, DropReason> {
    let [src, dst] = F::addresses(skb)?;
    match ask::<F>(skb, packet, src, dst, uplink) {
        // For a server of the node's own.
        (_, NOT_FORWARDED) if uplink == 0 => Ok(NEXT),
        (way, said @ (FOUND | NO_NEIGHBOUR)) => send::<F>(skb, &way, said),
        (way, TOO_LARGE) => {
            // Before 5.12 nothing says what fits: this much always does.
            let mtu = if way.tot_len == 0 { LEAST_MTU } else { way.tot_len };
            Ok(if refuse::too_big::<F>(skb, mtu, src, dst) { TOO_BIG } else { DROP })
        }
        _ => Err(DropReason::NoRoute),
    }
}

/// The uplink that the connection's client came in by.
#[inline(always)]
pub fn uplink(hit: &Hit) -> u32 {
    // SAFETY: a non-null pointer into a hash map; written before the entry is inserted and never after.
    unsafe { (*hit.entry).uplink }
}
