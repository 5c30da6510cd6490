//! The address and port that a backend of another node sees instead of the client's, so that its answers come here.

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED,
    },
    helpers::bpf_get_prandom_u32,
};
use netpol_common::{
    net::{Address, Be16},
    uplink::UplinkRow,
};

use super::Routed;
use super::answer::{FOUND, route};
use crate::{case::Case, ctx::Skb, maps::UPLINK};

/// Where a backend is that is no pod of this node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the node's own network: it sees the client.
    Here,
    /// Behind a route out of this node; `nat_src` is the source to use.
    Elsewhere,
    /// Behind no route that a packet can be sent by.
    Nowhere,
}

/// Where the case's backend is.
#[inline(always)]
pub fn place<F: Routed>(raw: *mut __sk_buff, case: &mut Case<F::Addr>) -> Place {
    match place_in_frame::<F>(raw, case) {
        0 => Place::Here,
        1 => Place::Elsewhere,
        _ => Place::Nowhere,
    }
}

/// Has a frame of its own on the stack, which is why its answer is a plain number.
#[inline(never)]
fn place_in_frame<F: Routed>(raw: *mut __sk_buff, case: &mut Case<F::Addr>) -> u32 {
    let skb = &Skb::from_raw(raw);
    // Nobody's address: which one is right depends on the way.
    let mut way = route::<F>(F::Addr::from_words([0; 4]), case.nat_dst, skb.ifindex());
    let said = skb.look_up_route(&mut way, 0);
    if said == i64::from(BPF_FIB_LKUP_RET_NOT_FWDED) {
        return 0;
    }
    if said != FOUND
        && said != i64::from(BPF_FIB_LKUP_RET_NO_NEIGH)
        && said != i64::from(BPF_FIB_LKUP_RET_FRAG_NEEDED)
    {
        return 2;
    }
    // The way may lead through an interface that is no uplink, such as a tunnel: the answers come to this one.
    let address = own::<F>(way.ifindex).or_else(|| own::<F>(skb.ifindex()));
    match address {
        Some(address) => {
            case.nat_src = address;
            1
        }
        None => 2,
    }
}

#[inline(always)]
fn own<F: Routed>(ifindex: u32) -> Option<F::Addr> {
    // SAFETY: copied at once; the agent replaces rows whole.
    let row = unsafe { UPLINK.get(ifindex) }?;
    let address = F::own_address(row);
    if address == F::Addr::from_words([0; 4]) { None } else { Some(address) }
}

/// A source port, at random.
#[inline(always)]
pub fn port(skb: &Skb) -> Be16 {
    // SAFETY: helper without arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    // SAFETY: as in `own`.
    let row = unsafe { UPLINK.get(skb.ifindex()) }.copied();
    let (first_port, last_port) = UplinkRow::PORTS;
    let row = row.unwrap_or(UplinkRow { first_port, last_port, ..UplinkRow::default() });
    Be16::from_host(row.port(random))
}
