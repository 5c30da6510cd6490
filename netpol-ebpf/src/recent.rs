//! Judgements of a moment ago: of connections between the same ends to the same port, one after another, the first alone asks the
//! tables who they are and what policy says. Allowed or denied, a judgement holds on its CPU until a change begins:
//! `docs/adr/0155-recent-judgements.md`.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{
    net::{Address, Be16},
    reason::DropReason,
};

use crate::{
    case::{Case, Decision},
    ctx::Skb,
    family::Family,
    maps::RECENT,
    policy::Ends,
    progs::Hook,
};

/// Rows of `np_recent` on each CPU, a power of two.
pub const ROWS: u32 = 512;

/// What was asked, in words: addresses, port, protocol and way, interfaces, epoch.
type Question = [u32; 12];

// Nothing else is kept: what is pending may be ready the next time, and what has no backend may have one.
const UNKNOWN: u32 = 0;
const ALLOWED: u32 = 1;
const DENIED: u32 = 2;

/// An outcome, or that there is none. A number and no `Option`: 5.10 follows a value that is spilled on one way only, and refuses it.
#[derive(Clone, Copy)]
pub struct Said(u32);

impl Said {
    /// Nothing is known.
    pub const NOTHING: Self = Self(UNKNOWN);

    #[inline(always)]
    pub fn is_nothing(self) -> bool {
        self.0 == UNKNOWN
    }

    /// What it was, of one that is something.
    #[inline(always)]
    pub fn outcome(self) -> Result<(), DropReason> {
        if self.0 == ALLOWED { Ok(()) } else { Err(DropReason::Policy) }
    }
}

/// A judgement. Private to the packet that reads or writes it, as [`Scratch`](crate::case::Scratch) is.
#[repr(C)]
pub struct Judgement {
    question: Question,
    outcome: u32,
    ends: Ends,
    decision: Decision,
}

// Two lines of the cache.
const _: () = assert!(size_of::<Judgement>() == 128);

/// How a packet came to the destination that it is judged for.
#[derive(Clone, Copy)]
pub struct Way(u32);

impl Way {
    /// It says so itself.
    #[inline(always)]
    pub fn direct(hook: Hook) -> Self {
        Self(u32::from(hook == Hook::FromPod) << 24)
    }

    /// By a Service, whose backend it is.
    #[inline(always)]
    pub fn by_service(self) -> Self {
        Self(self.0 | 1 << 25)
    }
}

/// What was said of a connection like the case's lately: who its ends are and what policy decided are in the case then.
#[inline(always)]
pub fn recall<F: Family>(skb: &Skb, case: &mut Case<F::Addr>, epoch: u32, way: Way) -> Said {
    Said(recall_in_frame::<F>(case, skb.raw(), epoch, way.0))
}

/// Keeps what was decided, if it is a decision.
#[inline(always)]
pub fn keep<F: Family>(skb: &Skb, case: &Case<F::Addr>, epoch: u32, way: Way, said: Result<(), DropReason>) {
    let outcome = match said {
        Ok(()) => ALLOWED,
        Err(DropReason::Policy) => DENIED,
        Err(_) => return,
    };
    keep_in_frame::<F>(case, skb.raw(), epoch, way.0, outcome);
}

#[inline(never)]
fn recall_in_frame<F: Family>(case: &mut Case<F::Addr>, raw: *mut __sk_buff, epoch: u32, way: u32) -> u32 {
    let asked = question::<F>(case, &Skb::from_raw(raw), epoch, way);
    let Some(row) = RECENT.get_ptr(place(&asked)) else { return UNKNOWN };
    // SAFETY: a non-null pointer into an array map; nobody else has the row, see `Judgement`.
    let there = unsafe { (&raw const (*row).question).read() };
    // Without a branch for each word, which the verifier would follow.
    if asked.iter().zip(&there).fold(0, |so_far, (asked, there)| so_far | (asked ^ there)) != 0 {
        return UNKNOWN;
    }
    // SAFETY: as above; a row that answers a question was written by `keep`: no question is all zeros.
    unsafe {
        case.ends = (&raw const (*row).ends).read();
        case.decision = (&raw const (*row).decision).read();
        (*row).outcome
    }
}

#[inline(never)]
fn keep_in_frame<F: Family>(case: &Case<F::Addr>, raw: *mut __sk_buff, epoch: u32, way: u32, outcome: u32) {
    let question = question::<F>(case, &Skb::from_raw(raw), epoch, way);
    if let Some(row) = RECENT.get_ptr_mut(place(&question)) {
        // SAFETY: as in `recall_in_frame`.
        unsafe { row.write(Judgement { question, outcome, ends: case.ends, decision: case.decision }) };
    }
}

#[inline(always)]
fn question<F: Family>(case: &Case<F::Addr>, skb: &Skb, epoch: u32, way: u32) -> Question {
    let [s0, s1, s2, s3] = case.packet.tuple.src.to_words();
    let [d0, d1, d2, d3] = case.nat_dst.to_words();
    let port: Be16 = case.nat_dport;
    let proto = u32::from(case.packet.tuple.proto);
    let family = u32::from(F::Addr::FAMILY == 6) << 26;
    let to = u32::from(port.raw()) | proto << 16 | way | family;
    [s0, s1, s2, s3, d0, d1, d2, d3, to, skb.ifindex(), skb.ingress_ifindex(), epoch]
}

#[inline(always)]
fn place(question: &Question) -> u32 {
    let [s0, _, _, s3, d0, _, _, d3, to, here, ..] = *question;
    // As in `hop`.
    let mixed = (s0 ^ s3 ^ (d0 ^ d3).rotate_left(16) ^ to ^ here << 20).wrapping_mul(0x9e37_79b1);
    mixed >> (32 - ROWS.ilog2())
}
