//! A packet that another node has sent on, without an entry here: whether its Service and its pod belong together, and whether the
//! pod's policy lets its client in.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{
    cluster::kind,
    conntrack::{Tuple, flags},
    logic::tcp,
    net::proto,
    reason::DropReason,
    service::FrontendRow,
};

use super::Tunnelled;
use crate::{
    apart::Apart, case::Case, config as settings, ctx::Skb, forward::DROP, judge, peer, pipeline::FAILED,
    service,
};

/// Enters the connection of such a packet. What comes next.
#[inline(always)]
pub fn admit<F: Apart + Tunnelled>(raw: *mut __sk_buff) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    match let_in::<F>(&Skb::from_raw(raw), case) {
        Ok(action) => action,
        Err(reason) => FAILED | reason as i32,
    }
}

#[inline(always)]
fn let_in<F: Apart + Tunnelled>(skb: &Skb, case: &mut Case<F::Addr>) -> Result<i32, DropReason> {
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let epoch = settings::read().epoch;
    let tuple = case.packet.tuple;
    peer::look_up::<F>(&tuple.src, &mut case.ends.src);
    if case.ends.src.ifindex != 0 {
        return Err(DropReason::Spoofed);
    }
    let Some(frontend) = frontend::<F>(&tuple) else { return Err(DropReason::Encapsulation) };
    // Once more: what a node lets in is that node's to say, and this pod's clients are this one's.
    service::lets_in::<F>(&frontend, tuple.src)?;
    if !F::is_member(frontend.svc, case.chosen, case.chosen_port) {
        return Err(DropReason::Encapsulation);
    }
    let met_late = tuple.proto == proto::TCP && !case.packet.opens();
    if met_late && !tcp::goes_on(case.packet.tcp_flags) {
        return Err(DropReason::MidFlow);
    }
    (case.nat_dst, case.nat_dport) = (case.chosen, case.chosen_port);
    (case.nat_src, case.nat_sport) = (tuple.src, tuple.sport);
    peer::look_up::<F>(&case.nat_dst, &mut case.ends.dst);
    (case.ends.initiator, case.ends.responder) = (0, case.ends.dst.ifindex);
    if case.ends.responder == 0 {
        return Err(DropReason::Encapsulation);
    }
    judge::decide_client(case, met_late)?;
    case.lend();
    Ok(F::enter_arrived(skb.raw(), epoch, flags::OUTSIDE, frontend.svc))
}

/// What the client asked for. A node port of another node is one of this node too.
#[inline(always)]
fn frontend<F: Tunnelled>(tuple: &Tuple<F::Addr>) -> Option<FrontendRow> {
    F::frontend(tuple.dst, tuple.dport, tuple.proto).or_else(|| match F::cluster(tuple.dst) {
        (kind::NODE, here) => F::frontend(here, tuple.dport, tuple.proto),
        _ => None,
    })
}
