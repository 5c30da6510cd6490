//! ICMP errors about the packets between nodes: to the client they are about its own packet in there (RFC 2003 §4).

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{conntrack::flags, net::Be16, reason::DropReason};

use super::Tunnelled;
use crate::{
    case::Case,
    conntrack,
    ctx::Skb,
    family::OUTER_L3,
    forward::{self, DROP, NEXT},
    outside::{
        TELL,
        answer::{LEAST_MTU, uplink},
    },
    pipeline::{FAILED, LEAVE},
    refuse,
};

/// Makes the case's packet, which reports on one that this node has sent to the pod `nat_dst`, a report on what was in that. What
/// comes next.
#[inline(always)]
pub fn relay<F: Tunnelled>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match tell_client::<F>(&mut Skb::from_raw(raw), case) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

#[inline(always)]
fn tell_client<F: Tunnelled>(skb: &mut Skb, case: &mut Case<F::Addr>) -> Result<i32, DropReason> {
    let l4 = case.packet.l4;
    // Type, code, checksum; what would have fitted.
    let [kind, code, _, _]: [u8; 4] = skb.load(l4)?;
    let fits: Be16 = skb.load(l4 + 6)?;
    // Of a packet with options or extension headers its client learns nothing by this way.
    let l3 = l4 + 8 + F::LEN;
    let Some(tuple) = F::plain_tuple(skb, l3) else { return Ok(NEXT) };
    let Some(hit) = conntrack::find::<F>(&tuple) else { return Ok(NEXT) };
    let sent_on = hit.flags & flags::DSR != 0 && !hit.is_reply();
    if !sent_on || forward::partner_destination::<F>(&hit).0 != case.nat_dst {
        return Ok(NEXT);
    }
    let mtu = match (F::TOO_BIG == [kind, code], fits.to_host()) {
        (false, _) => 0,
        // RFC 1191 §5: routers that do not say.
        (true, 0) => LEAST_MTU.saturating_sub(F::LEN as u16),
        (true, fits) => fits.saturating_sub(F::LEN as u16),
    };
    skb.cut_room(l3 - OUTER_L3)?;
    (case.nat_src, case.nat_dst, case.leave_by) = (tuple.src, tuple.dst, uplink(&hit));
    (case.error, case.fits) = ([kind, code], mtu);
    Ok(TELL)
}

/// Makes the case's packet, which goes from `nat_src` to `nat_dst`, the ICMP error about itself. What comes next.
#[inline(always)]
pub fn tell<F: Tunnelled>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &mut Skb::from_raw(raw);
    if !refuse::admits(skb.ifindex()) {
        return DROP;
    }
    match refuse::make_error::<F>(skb, case.error, case.fits, (case.nat_dst, case.nat_src)) {
        Ok(()) => LEAVE,
        Err(reason) => FAILED | reason as i32,
    }
}
