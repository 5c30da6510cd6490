//! Next hops that the node's routing has named a moment ago: packets that follow each other closely ask it once. An answer holds for the
//! same question, on the same CPU, until the kernel's clock ticks (after 10 ms at most).

use aya_ebpf::helpers::bpf_jiffies64;

use crate::{ctx::Route, maps::HOP};

/// Rows of `np_hop` on each CPU, a power of two: so many flows may send at the same time.
pub const ROWS: u32 = 256;

/// A question in words: addresses, ports, type of service, interface, family and protocol.
type Question = [u32; 12];

/// An answer. Private to the packet that reads or writes it, as [`Scratch`](crate::case::Scratch) is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Hop {
    question: Question,
    /// When it was given: the low half of the kernel's jiffies.
    at: u32,
    /// The longest packet that it was given for, in bytes from the network header on.
    longest: u32,
    /// The interface that it names.
    ifindex: u32,
    /// The next hop's address.
    next: [u32; 4],
}

/// Where the answer to a question is, or will be.
pub struct Place {
    row: *mut Hop,
    question: Question,
    now: u32,
}

impl Place {
    #[inline(always)]
    pub fn of(asked: &Route) -> Option<Self> {
        let Route { family, l4_protocol, sport, dport, ifindex, tos, src, dst, .. } = *asked;
        let [s0, s1, s2, s3] = src;
        let [d0, d1, d2, d3] = dst;
        let ports = u32::from(sport) | u32::from(dport) << 16;
        let kind = u32::from(family) | u32::from(l4_protocol) << 8;
        let question = [s0, s1, s2, s3, d0, d1, d2, d3, ports, tos, ifindex, kind];
        // The golden ratio (Knuth, The Art of Computer Programming 3, 6.4): its product's upper bits depend on all of the sum's.
        let mixed = (s0 ^ s3 ^ (d0 ^ d3).rotate_left(16) ^ ports).wrapping_mul(0x9e37_79b1);
        let row = HOP.get_ptr_mut(mixed >> (32 - ROWS.ilog2()))?;
        // SAFETY: helper without arguments.
        let now = unsafe { bpf_jiffies64() } as u32;
        Some(Self { row, question, now })
    }

    /// Puts the answer in the question's place, if there is one that holds for a packet of this length.
    #[inline(always)]
    pub fn recall(&self, asked: &mut Route) -> bool {
        // SAFETY: a non-null pointer into an array map; nobody else has the row, see `Hop`.
        let Hop { question, at, longest, ifindex, next } = unsafe { &*self.row };
        // Without a branch for each word, which the verifier would follow.
        let pairs = question.iter().zip(&self.question);
        let difference = pairs.fold(at ^ self.now, |so_far, (there, here)| so_far | (there ^ here));
        if difference != 0 || u32::from(asked.tot_len) > *longest {
            return false;
        }
        (asked.ifindex, asked.dst) = (*ifindex, *next);
        true
    }

    /// Keeps an answer that was given for a packet of this length.
    #[inline(always)]
    pub fn keep(&self, answer: &Route, longest: u16) {
        let Self { row, question, now } = *self;
        let (ifindex, next) = (answer.ifindex, answer.dst);
        // SAFETY: as in `recall`.
        unsafe { row.write(Hop { question, at: now, longest: longest.into(), ifindex, next }) };
    }
}
