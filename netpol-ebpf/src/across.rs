//! Between pods of this node and those of others, past the node's own forwarding and netfilter: `docs/adr/0140-across-nodes.md`. On
//! only while nothing there matters, which the agent finds out.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{
    config::{Config, flags::FAST_PATH},
    conntrack::flags,
};

use crate::{
    case::Case,
    conntrack::{self, Hit},
    ctx::{Route, Skb},
    event,
    family::{Family, OUTER_L3},
    forward::{DROP, NEXT},
    hop::Place,
    maps::UPLINK,
    outside::{FOUND, NO_NEIGHBOUR, Routed, segment},
    parse::Packet,
    progs::Hook,
};

/// Whether a packet that came in by an uplink goes straight to the pod that is its receiver: whatever `to_pod` would not pass at once,
/// or would say something of, is left to it.
#[inline(always)]
pub fn comes_in<F: Family>(skb: &Skb, config: &Config, packet: &Packet<F::Addr>, hit: &Hit) -> bool {
    let (sender, receiver) = hit.interfaces();
    let needed = FAST_PATH | F::ACROSS;
    config.flags & needed == needed
        && sender == 0
        && receiver != 0
        && hit.flags & (flags::NODE | flags::NODE_NAT | flags::SNAT | flags::FRONT) == 0
        && !hit.is_shared()
        // Options are the node's own forwarding's to act on.
        && packet.l4 == F::USUAL_L4
        && packet.is_sound()
        && hit.may_pass(config.epoch, 0)
        && !conntrack::asks_to_open(packet, hit)
        && skb.is_for_the_node()
        // Somebody in front of us has marked it for rules on the node's own way.
        && skb.mark() == 0
        // What was in a packet from node to node is for a Service, or nobody's.
        && !Case::<F::Addr>::is_forwarded()
}

/// Sends a packet to a pod of another node, by the route that the node has for it at this tick of the clock if that leads out by an uplink. What the node's own
/// forwarding would do anything else with is left to that: too large for its way, at the end of its time, to be routed otherwise.
#[inline(always)]
pub fn leave<F: Routed>(raw: *mut __sk_buff) -> i32 {
    let skb = &mut Skb::from_raw(raw);
    // Rules of the routing go by marks, and the question below cannot name one.
    if !skb.is_for_one() || skb.mark() != 0 {
        return NEXT;
    }
    let Some(mut way) = F::question(skb) else { return NEXT };
    let each = segment(skb, way.l4_protocol, F::USUAL_L4);
    way.tot_len = if each == 0 { skb.len().wrapping_sub(OUTER_L3) as u16 } else { each };
    let Some(place) = Place::of(&way) else { return NEXT };
    if !place.recall(&mut way) {
        let length = way.tot_len;
        let said = skb.look_up_route(&mut way, 0);
        if (said != FOUND && said != NO_NEIGHBOUR) || !is_uplink(&way) {
            return NEXT;
        }
        place.keep(&way, length);
    }
    match F::count_down(skb) {
        Ok(true) => skb.redirect_to_next_hop(&way),
        Ok(false) => NEXT,
        Err(reason) => {
            event::unparsed(skb, Hook::FromPod, reason);
            DROP
        }
    }
}

#[inline(always)]
fn is_uplink(way: &Route) -> bool {
    // SAFETY: nothing of the row is read.
    unsafe { UPLINK.get(way.ifindex) }.is_some()
}
