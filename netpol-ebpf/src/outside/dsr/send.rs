//! At the node that the client came to.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::reason::DropReason;

use super::Tunnelled;
use crate::{
    case::Case,
    ctx::{Route, Skb},
    family::OUTER_L3,
    forward::{DROP, NEXT},
    outside::{
        NEW, TELL,
        answer::{FOUND, LEAST_MTU, NO_NEIGHBOUR, TOO_LARGE, route, segment},
    },
    pipeline::FAILED,
};

/// Sends the case's packet on to the node of its backend, which is `nat_dst`. What comes next.
#[inline(always)]
pub fn encapsulate<F: Tunnelled>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match send_on::<F>(&mut Skb::from_raw(raw), case) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

#[inline(always)]
fn send_on<F: Tunnelled>(skb: &mut Skb, case: &mut Case<F::Addr>) -> Result<i32, DropReason> {
    // Not any more: its connection begins anew, if it can.
    let Some(own) = F::own() else { return Ok(NEW) };
    let (packet, backend, port) = (&case.packet, case.nat_dst, case.nat_dport);
    let each = segment(skb, packet.tuple.proto, packet.l4);
    let alone = skb.len().wrapping_sub(OUTER_L3);
    let tot_len = (if each == 0 { alone } else { u32::from(each) } + F::LEN) as u16;
    if !F::count_down(skb)? {
        // The node's routing says that its time is over.
        return Ok(NEXT);
    }
    // Before 5.12 it is the packet itself that is compared with the MTU, and it must be told apart from what fits only with all that
    // it will be. A GSO packet is marked as one in a tunnel, which cannot be undone.
    let several = each != 0;
    if !several {
        F::wrap(skb, own, backend, port, several)?;
    }
    let mut way = Route { tot_len, ..route::<F>(own, backend, skb.ifindex()) };
    let said = skb.look_up_route(&mut way, 0);
    if several && (said == FOUND || said == NO_NEIGHBOUR) {
        F::wrap(skb, own, backend, port, several)?;
    }
    match said {
        NO_NEIGHBOUR => Ok(skb.redirect_by_neighbour(way.ifindex)),
        FOUND => {
            skb.store(0, &way.dmac)?;
            skb.store(6, &way.smac)?;
            Ok(skb.redirect(way.ifindex))
        }
        TOO_LARGE => {
            if !several {
                skb.cut_room(F::LEN)?;
            }
            // Before 5.12 nothing says what fits: this much always does.
            let fits = if way.tot_len == tot_len { LEAST_MTU } else { way.tot_len };
            let (client, frontend) = (packet.tuple.src, packet.tuple.dst);
            (case.nat_src, case.nat_dst, case.leave_by) = (client, frontend, case.uplink);
            (case.error, case.fits) = (F::TOO_BIG, fits.saturating_sub(F::LEN as u16));
            Ok(TELL)
        }
        _ => Err(DropReason::NoRoute),
    }
}
