//! Connections: finding an entry and proving that it is this packet's, keeping it current.

use aya_ebpf::helpers::bpf_jiffies64;
use netpol_common::{
    conntrack::{CtEntry, Judged, Tuple, flags},
    logic::tcp,
    net::{Address, proto},
};

use crate::{atomic, case::Case, ctx::Skb, family::Family, parse::Packet, peer, progs::Hook, verifier};

/// An entry and the way this packet goes along it.
///
/// The entry stays a pointer: an insertion elsewhere may recycle it at any moment (`bpf_htab` preallocates), so it is read
/// field by field, and the worst a recycled entry does is one packet judged by another live decision.
#[derive(Clone, Copy)]
pub struct Hit {
    pub entry: *mut CtEntry,
    pub flags: u32,
    /// 1 if the packet goes from responder to initiator, else 0. A number: what is chosen by it takes no branch.
    pub reply: u32,
}

impl Hit {
    /// Whether the packet goes from responder to initiator.
    #[inline(always)]
    pub fn is_reply(&self) -> bool {
        self.reply != 0
    }

    /// All bits if the packet goes from responder to initiator, else none.
    #[inline(always)]
    pub fn swap(&self) -> u32 {
        verifier::opaque(self.reply.wrapping_neg())
    }

    /// Whether a new connection may take its place, opened from either end.
    #[inline(always)]
    pub fn over(&self) -> bool {
        flags::closed(self.flags) || self.flags & flags::MID_FLOW != 0 || self.judged().is_denied()
    }

    /// Whether a client speaks to the backend itself, from where that one answers it as a Service: by another connection, which
    /// has its entry beside this one.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        self.flags & flags::BACK & !self.swap() != 0
    }

    /// What was decided last.
    #[inline(always)]
    pub fn judged(&self) -> Judged {
        // SAFETY: a non-null pointer into a hash map; one aligned load.
        unsafe { (&raw const (*self.entry).judged).read_volatile() }
    }

    /// Whether its packets pass in `epoch`. `settled`: they were judged a moment ago, whatever the epoch is by now.
    #[inline(always)]
    pub fn may_pass(&self, epoch: u32, settled: u32) -> bool {
        let judged = self.judged();
        judged == Judged::allowed(epoch) || (settled != 0 && !judged.is_denied())
    }

    /// Interfaces of the packet's sender and receiver, 0 where the end is no pod of this node.
    #[inline(always)]
    pub fn interfaces(&self) -> (u32, u32) {
        // SAFETY: a non-null pointer into a hash map.
        let (orig, reply) = unsafe { ((*self.entry).if_orig, (*self.entry).if_reply) };
        let differ = (orig ^ reply) & self.swap();
        (orig ^ differ, reply ^ differ)
    }
}

/// The entry of a tuple, whoever it belongs to.
#[inline(always)]
pub fn find<F: Family>(tuple: &Tuple<F::Addr>) -> Option<Hit> {
    find_at::<F>(tuple, 0)
}

/// The entry of a case's packet: under its tuple, or beside that if it was found to belong there.
#[inline(always)]
pub fn find_for<F: Family>(case: &Case<F::Addr>) -> Option<Hit> {
    find_at::<F>(&case.packet.tuple, case.beside)
}

/// The entry beside a back entry of the same tuple: of a connection to the backend itself.
#[inline(always)]
pub fn find_beside<F: Family>(tuple: &Tuple<F::Addr>) -> Option<Hit> {
    find_at::<F>(tuple, 1)
}

/// The entry of a tuple if `beside` is 0, that beside it if it is 1.
#[inline(always)]
pub fn find_at<F: Family>(tuple: &Tuple<F::Addr>, beside: u32) -> Option<Hit> {
    let entry = F::ct().get_ptr_mut(F::ct_key(tuple, beside))?;
    // SAFETY: a non-null pointer into a hash map.
    let flags = unsafe { (*entry).flags };
    Some(Hit { entry, flags, reply: (tuple.order() ^ flags) & flags::FROM_HIGH })
}

/// Whether the packet comes from (goes to) the interface that the entry names for that end. A foreign packet with the
/// right addresses gets nothing of the entry.
#[inline(always)]
pub fn owns(hit: &Hit, skb: &Skb, hook: Hook) -> bool {
    let (sender, receiver) = hit.interfaces();
    match hook {
        Hook::FromPod => sender == skb.ifindex(),
        Hook::ToPod => {
            receiver == skb.ifindex()
                && match sender {
                    0 => hit.flags & flags::NODE == 0 || hit.is_reply() || skb.ingress_ifindex() == 0,
                    pod => peer::came_from(skb.ingress_ifindex(), pod),
                }
        }
    }
}

/// Counts a packet of a known connection and follows its state, which is the answer: the entry's flags as they are now.
#[inline(always)]
pub fn touch<A: Address>(hit: &Hit, len: u32, packet: &Packet<A>) -> u32 {
    let entry = hit.entry;
    // SAFETY: a non-null pointer into a hash map; counters are added to atomically, the other fields are single words of
    // which any of two concurrent writes is right: a flag lost that way only lets the entry live for its longer timeout.
    unsafe {
        let (packets, bytes) = if hit.is_reply() {
            (&raw mut (*entry).packets[1], &raw mut (*entry).bytes[1])
        } else {
            (&raw mut (*entry).packets[0], &raw mut (*entry).bytes[0])
        };
        atomic::add(packets, 1);
        atomic::add(bytes, u64::from(len));
        let now = bpf_jiffies64() as u32;
        if (*entry).last_seen != now {
            (*entry).last_seen = now;
        }
        let state = match packet.tuple.proto {
            proto::TCP => tcp::advance(hit.flags, hit.is_reply(), packet.tcp_flags),
            _ if hit.is_reply() => hit.flags | flags::REPLIED,
            _ => hit.flags,
        };
        if state != hit.flags {
            store_state(entry, state);
        }
        state
    }
}

/// Stores the state of a connection, which [`touch`] follows.
#[inline(always)]
pub fn store_state(entry: *mut CtEntry, flags: u32) {
    // SAFETY: a non-null pointer into a hash map; a single word, and only the half that holds the state: if this entry has been
    // recycled meanwhile, the other connection stays what it is.
    unsafe { (&raw mut (*entry).flags).cast::<u16>().add(1).write_volatile((flags >> 16) as u16) };
}

/// Keeps an entry that a packet needs, but does not belong to.
#[inline(always)]
pub fn keep(hit: &Hit) {
    // SAFETY: as in `touch`.
    unsafe { (&raw mut (*hit.entry).last_seen).write_volatile(bpf_jiffies64() as u32) };
}

/// Whether a packet may ask for another connection than the one whose entry it found. The first SYN of a connection to a
/// Service said nothing of the entries; another one may come from a client that begins anew.
#[inline(always)]
pub fn asks_to_open<A: Address>(packet: &Packet<A>, hit: &Hit) -> bool {
    packet.opens() && (hit.is_reply() || flags::closed(hit.flags) || hit.flags & flags::FRONT != 0)
}

/// Whether a packet asks for a connection under the addresses and ports of one that is there: that is over, or it is asked
/// for from the wrong end.
#[inline(always)]
pub fn reopens<A: Address>(packet: &Packet<A>, hit: &Hit) -> bool {
    packet.opens() && (hit.is_reply() || flags::closed(hit.flags))
}
