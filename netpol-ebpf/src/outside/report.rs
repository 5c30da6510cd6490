//! ICMP errors about connections from outside: they are translated with them, both headers.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{conntrack::flags, reason::DropReason};

use super::{RELAY, SEND_ON, STRANGE, answer::uplink, dsr::Tunnelled, hand_on};
use crate::{
    case::Case,
    config as settings, conntrack,
    ctx::Skb,
    forward::{self, DROP},
    icmp_error,
    nat::{Checks, End},
    pipeline::{FAILED, LEAVE},
};

/// An ICMP error that came in by an uplink, or from the pod that answers the connection. One about no connection from
/// outside passes.
#[inline(always)]
pub fn report<F: Tunnelled>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match translated::<F>(&mut Skb::from_raw(raw), case) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

#[inline(always)]
fn translated<F: Tunnelled>(skb: &mut Skb, case: &mut Case<F::Addr>) -> Result<i32, DropReason> {
    let packet = &case.packet;
    let Some(inner) = F::inner(skb, packet.l4 + 8) else { return Ok(STRANGE) };
    if case.uplink != 0 && inner.tuple.proto == F::TUNNEL {
        case.nat_dst = inner.tuple.dst;
        return Ok(RELAY);
    }
    let Some(mut hit) = conntrack::find::<F>(&inner.tuple) else { return Ok(STRANGE) };
    if case.uplink != 0 {
        hit = icmp_error::answer_to_client::<F>(&inner.tuple, hit);
    }
    if hit.flags & flags::OUTSIDE == 0 || hit.judged().is_denied() {
        return Ok(STRANGE);
    }
    let snat = hit.flags & flags::SNAT != 0;
    // The error goes against the quoted packet.
    let end = match (hit.flags & flags::FRONT != 0, hit.is_reply()) {
        // The client, or a router before it, reports on an answer that it saw from the service's address.
        (true, true) => End::Source,
        // The backend, or a router behind it, reports on what the client sent.
        (false, false) if snat || case.uplink == 0 => End::Destination,
        _ => return Ok(STRANGE),
    };
    if hit.flags & flags::DSR != 0 {
        // About an answer that the backend's node has made: it is told.
        (case.nat_dst, case.nat_dport) = forward::partner_destination::<F>(&hit);
        return Ok(if end == End::Source { SEND_ON } else { STRANGE });
    }
    let mut checks = Checks { outer: packet.l3_check, inner: inner.l3_check };
    let (other, origin) = (forward::partner_destination::<F>(&hit), forward::partner_source::<F>(&hit));
    icmp_error::translate::<F>(skb, packet, &inner, &mut checks, end, other)?;
    if snat {
        icmp_error::translate::<F>(skb, packet, &inner, &mut checks, end.other(), origin)?;
    }
    let (backend, _) = hit.interfaces();
    if end == End::Source && (backend != 0 || !snat) {
        // `hand_on` asks who receives what goes the connection's own way.
        return Ok(hand_on(skb, &conntrack::Hit { reply: 0, ..hit }, settings::read().flags));
    }
    case.leave_by = if end == End::Source { 0 } else { uplink(&hit) };
    Ok(LEAVE)
}
