//! At the backend's node.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{cluster::kind, conntrack::Tuple, direction::Direction, net::Be16, reason::DropReason};

use super::Tunnelled;
use crate::{
    case::Case,
    ctx::Skb,
    family::OUTER_L3,
    forward::{DROP, NEXT},
    outside::DECAPSULATED,
    parse::{Kind, Packet},
    pipeline::FAILED,
};

/// Takes the packet out of the one that another node has put it into. What comes next.
#[inline(always)]
pub fn decapsulate<F: Tunnelled>(raw: *mut __sk_buff) -> i32 {
    let skb = &mut Skb::from_raw(raw);
    let Ok([src, dst]) = F::addresses(skb) else { return NEXT };
    // Tunnels of others end at no pod. Without rows of pods, nobody here takes such packets.
    if F::cluster(dst).0 != kind::HERE {
        return NEXT;
    }
    let none = Be16::from_raw(0);
    let tuple = Tuple { src, dst, sport: none, dport: none, proto: F::TUNNEL };
    let l4 = OUTER_L3 + F::LEN;
    let packet = Packet { kind: Kind::Flow, tuple, l4, has_l4: false, tcp_flags: 0, l3_check: 0 };
    let Some(case) = Case::open::<F>(&packet, Direction::Ingress, 0) else { return DROP };
    case.uplink = skb.ifindex();
    match take_out::<F>(skb, case) {
        Ok(()) => DECAPSULATED,
        Err(reason) => FAILED | reason as i32,
    }
}

#[inline(always)]
fn take_out<F: Tunnelled>(skb: &mut Skb, case: &mut Case<F::Addr>) -> Result<(), DropReason> {
    let tuple = case.packet.tuple;
    if F::cluster(tuple.src).0 != kind::NODE {
        return Err(DropReason::Encapsulation);
    }
    let Some(port) = F::carried_port(skb) else { return Err(DropReason::Encapsulation) };
    (case.chosen, case.chosen_port) = (tuple.dst, port);
    skb.cut_room(F::LEN).or(Err(DropReason::Encapsulation))
}
