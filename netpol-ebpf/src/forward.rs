//! A packet of a known, allowed connection: translate and pass on.

use netpol_common::{
    config::{self, Config},
    conntrack::{Tuple, flags},
    net::{Address, Be16},
    reason::DropReason,
};

use crate::{
    case::Case, conntrack::Hit, ctx::Skb, family::Family, nat, parse::Packet, pipeline::ACROSS, progs::Hook,
};

/// `TC_ACT_UNSPEC`, which is also `TCX_NEXT`: go on with whatever else is attached, then as usual.
pub const NEXT: i32 = -1;
/// `TC_ACT_SHOT`
pub const DROP: i32 = 2;
/// `TC_ACT_REDIRECT`: to where `bpf_redirect_peer` was told.
pub const HAND_OVER: i32 = 7;

/// What becomes of a packet of an allowed connection.
pub enum Way {
    /// The TC action, or [`ACROSS`].
    Action(i32),
    /// Its source and its destination are translated: [`both_ends`] does that.
    BothEnds,
    /// It answers a client from outside: `outside::answer` translates it and sends it out.
    Outside,
}

/// Translates if it is this end's turn, and hands the packet over if the other end is a pod of this node.
///
/// Both translations happen at the client's end: destinations as they leave it, sources as they are handed to it. So the
/// node never routes a packet with a service's address as its source.
#[inline(always)]
pub fn established<F: Family>(
    skb: &mut Skb,
    hook: Hook,
    config: &Config,
    packet: &Packet<F::Addr>,
    hit: &Hit,
) -> Result<Way, DropReason> {
    let hand_over = hands_over(hook, config, hit);
    if hook == Hook::FromPod && hit.is_reply() && hit.flags & flags::OUTSIDE != 0 {
        return Ok(Way::Outside);
    }
    if hit.flags & (flags::FRONT | flags::BACK) != 0 && translates(hook, hit, hand_over)? {
        if hit.flags & flags::SNAT != 0 {
            return Ok(Way::BothEnds);
        }
        nat::rewrite_end::<F>(skb, packet, hit.swap(), || partner_destination::<F>(hit))?;
    }
    Ok(Way::Action(pass_on::<F>(skb, hook, config, packet, hit, hand_over)))
}

/// As `established`, for a connection whose backend sees another client.
#[inline(always)]
pub fn both_ends<F: Family>(
    skb: &mut Skb,
    hook: Hook,
    config: &Config,
    packet: &Packet<F::Addr>,
    hit: &Hit,
) -> Result<i32, DropReason> {
    let hand_over = hands_over(hook, config, hit);
    if !translates(hook, hit, hand_over)? {
        return Err(DropReason::Invalid);
    }
    nat::rewrite::<F>(skb, packet, &translated::<F>(packet.tuple.proto, hit))?;
    Ok(pass_on::<F>(skb, hook, config, packet, hit, hand_over))
}

/// Whether the packet goes straight to the pod that is its receiver.
#[inline(always)]
pub fn hands_over(hook: Hook, config: &Config, hit: &Hit) -> bool {
    let (sender, receiver) = hit.interfaces();
    // What the node translates must meet the node.
    hook == Hook::FromPod && hit.flags & flags::NODE_NAT == 0 && is_handed_over(config, sender, receiver)
}

/// Whether packets from the pod behind `sender` go straight to the one behind `receiver` (0: that is no pod of this node).
#[inline(always)]
pub fn is_handed_over(config: &Config, sender: u32, receiver: u32) -> bool {
    // Nothing else brings a pod's packet back to it under a source that no route leads to.
    receiver != 0 && (config.flags & config::flags::FAST_PATH != 0 || sender == receiver)
}

/// Translates the packet that has opened the case's connection, and hands it over: its entry says nothing that the case does not.
#[inline(always)]
pub fn first<F: Family>(skb: &mut Skb, case: &Case<F::Addr>) -> Result<i32, DropReason> {
    let from = &case.packet.tuple;
    let (src, sport, dst, dport) = (case.nat_src, case.nat_sport, case.nat_dst, case.nat_dport);
    let to = Tuple { src, dst, sport, dport, proto: from.proto };
    if to != *from {
        nat::rewrite::<F>(skb, &case.packet, &to)?;
    }
    Ok(skb.redirect_peer(case.ends.responder))
}

#[inline(always)]
fn pass_on<F: Family>(
    skb: &mut Skb,
    hook: Hook,
    config: &Config,
    packet: &Packet<F::Addr>,
    hit: &Hit,
    hand_over: bool,
) -> i32 {
    let (_, receiver) = hit.interfaces();
    if hand_over {
        skb.redirect_peer(receiver)
    } else if hook == Hook::FromPod
        && hit.flags & flags::ACROSS != 0
        && config.flags & F::ACROSS != 0
        // Options are the node's own forwarding's to act on.
        && packet.l4 == F::USUAL_L4
    {
        ACROSS
    } else {
        NEXT
    }
}

/// Whether this hook translates a packet of a translated connection: of what the client sends the destination becomes what the other
/// entry says of that, of what it is answered the source.
#[inline(always)]
fn translates(hook: Hook, hit: &Hit, hand_over: bool) -> Result<bool, DropReason> {
    let front = hit.flags & flags::FRONT != 0;
    match (hook, hit.is_reply(), front) {
        (Hook::FromPod, false, true) | (Hook::ToPod, true, false) => Ok(true),
        (Hook::FromPod, true, false) => Ok(hand_over),
        (Hook::ToPod, false, false) => Ok(false),
        // Nobody but this program sends from a service's address; what a client sends to the backend itself has an entry
        // beside this one.
        (_, true, true) | (Hook::ToPod, false, true) | (Hook::FromPod, false, false) => {
            Err(DropReason::Invalid)
        }
    }
}

/// What a packet looks like of which both ends are translated.
#[inline(always)]
pub fn translated<F: Family>(proto: u8, hit: &Hit) -> Tuple<F::Addr> {
    let ((src, sport), (dst, dport)) = (partner_source::<F>(hit), partner_destination::<F>(hit));
    Tuple { src, dst, sport, dport, proto }.swapped_if(hit.swap())
}

/// Where the connection goes by its other entry.
#[inline(always)]
pub fn partner_destination<F: Family>(hit: &Hit) -> (F::Addr, Be16) {
    // SAFETY: a non-null pointer into a hash map; both fields are written before the entry is inserted and never after.
    let (addr, port) = unsafe { ((*hit.entry).nat_addr, (*hit.entry).nat_port) };
    (F::Addr::from_words(addr), port)
}

/// Where it comes from by its other entry.
#[inline(always)]
pub fn partner_source<F: Family>(hit: &Hit) -> (F::Addr, Be16) {
    // SAFETY: as in `partner_destination`.
    let (addr, port) = unsafe { ((*hit.entry).nat_saddr, (*hit.entry).nat_sport) };
    (F::Addr::from_words(addr), port)
}
